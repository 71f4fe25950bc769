//! What takes time: reading, compiling, checking, instantiating.

use std::sync::{Arc, Mutex};

use sandbox::{Prepared, Sandbox};

use crate::compile::Prepareds;
use crate::record::PolicyRecord;

/// Prepared components kept besides those of the sets: about 1 MB of machine
/// code each, and an activation of one that is not kept costs a load from disk.
pub const PREPARED_MAX: usize = 64;

/// The store of components said no.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} component {digest}")]
pub struct BlobError {
    /// `read` or `keep`.
    pub action: &'static str,
    /// `sha256:<hex>`.
    pub digest: String,
    /// Cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Components by digest, durable. Implemented by whoever owns the disk.
pub trait Blobs: Send + Sync {
    /// Keeps `bytes`, whose digest is `sha256:<hex>`, durably.
    ///
    /// # Errors
    /// They could not be kept.
    fn put(&self, digest: &str, bytes: &[u8]) -> Result<(), BlobError>;

    /// The bytes with this digest, verified.
    ///
    /// # Errors
    /// They are not there, or not intact.
    fn get(&self, digest: &str) -> Result<Vec<u8>, BlobError>;
}

/// Shared by all threads that upload and activate; never by the one that
/// decides.
pub struct Workshop {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) prepareds: Prepareds,
    /// Held while the laws are checked.
    pub(crate) turn: Mutex<()>,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop")
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}

impl Workshop {
    /// A workshop over the process's one sandbox.
    #[must_use]
    pub fn new(sandbox: Arc<Sandbox>, blobs: Arc<dyn Blobs>) -> Self {
        Self {
            sandbox,
            blobs,
            prepareds: Prepareds::default(),
            turn: Mutex::new(()),
        }
    }

    /// The sandbox behind it.
    #[must_use]
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// How often a component was prepared (compiled, or loaded as sealed code)
    /// since the start.
    #[must_use]
    pub fn prepared_count(&self) -> u64 {
        self.prepareds.prepared()
    }

    /// The prepared component of a record: kept, or read and prepared again.
    ///
    /// # Errors
    /// Its bytes are gone, or are refused now.
    pub fn prepared(&self, record: &PolicyRecord) -> Result<Arc<Prepared>, LoadError> {
        let digest = &record.id.digest;
        if let Some(prepared) = self.prepareds.get(digest) {
            return Ok(prepared);
        }
        let bytes = self.blobs.get(digest)?;
        let prepared = self
            .prepareds
            .prepare(&self.sandbox, &bytes, record.profile)?;
        // The blobs verify their digests; this catches a mix-up of records.
        if prepared.digest() == digest {
            Ok(prepared)
        } else {
            Err(LoadError::Mixed {
                found: prepared.digest().to_owned(),
            })
        }
    }
}

/// A registered policy that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its bytes.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Its machine code.
    #[error(transparent)]
    Prepare(#[from] sandbox::PrepareError),
    /// Other bytes.
    #[error("the store answers with another component, {found}")]
    Mixed {
        /// Digest of what it gave.
        found: String,
    },
}
