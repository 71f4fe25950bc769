//! From bytes to something that can be instantiated, and keeping it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sandbox::{PrepareError, Prepared, Profile, Sandbox};

use crate::workshop::PREPARED_MAX;

/// Prepared components by digest; the one not used for longest goes first.
/// Sets hold on to theirs, so that what goes here is only the head start.
#[derive(Debug, Default)]
pub(crate) struct Prepareds {
    inner: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    clock: u64,
    by_digest: BTreeMap<String, (u64, Arc<Prepared>)>,
    compiled: u64,
}

impl Prepareds {
    pub(crate) fn get(&self, digest: &str) -> Option<Arc<Prepared>> {
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let now = kept.clock;
        kept.by_digest.get_mut(digest).map(|(used, prepared)| {
            *used = now;
            Arc::clone(prepared)
        })
    }

    /// Compiles (or takes the sandbox's sealed copy) and keeps the result. The
    /// lock is not held while it runs.
    pub(crate) fn prepare(
        &self,
        sandbox: &Sandbox,
        bytes: &[u8],
        profile: Profile,
    ) -> Result<Arc<Prepared>, PrepareError> {
        let prepared = sandbox.prepare(bytes, profile)?;
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        kept.compiled += 1;
        let now = kept.clock;
        kept.by_digest
            .insert(prepared.digest().to_owned(), (now, Arc::clone(&prepared)));
        while kept.by_digest.len() > PREPARED_MAX {
            let oldest = kept.by_digest.iter().min_by_key(|(_, (used, _))| *used);
            let Some(digest) = oldest.map(|(digest, _)| digest.clone()) else {
                break;
            };
            kept.by_digest.remove(&digest);
        }
        Ok(prepared)
    }

    /// How often the sandbox was asked to prepare a component.
    pub(crate) fn prepared(&self) -> u64 {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .compiled
    }
}
