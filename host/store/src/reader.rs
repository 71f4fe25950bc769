//! Looking at what is stored, from any thread, also after the store has stopped
//! writing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bytes::show_key;
use crate::disk::Disk;
use crate::envelope;
use crate::error::StoreError;
use crate::frame::{Key, META_PREFIX, Value};
use crate::marks::ClusterId;
use crate::replay::Replay;
use crate::segment;
use crate::tree::failed;

/// An object as the tree holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// The commit that wrote it.
    pub seq: u64,
}

/// Reads objects and commits. Each call sees whole groups, but two calls may see
/// different ones. A clone keeps the tree's files open: drop all before the store
/// is opened again in the same process.
#[derive(Clone)]
pub struct Reader {
    pub(crate) db: sled::Db,
    pub(crate) disk: Disk,
    pub(crate) journal: PathBuf,
    pub(crate) cluster: ClusterId,
    pub(crate) last: Arc<AtomicU64>,
}

impl Reader {
    /// Last commit that was acknowledged.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// One object.
    pub fn get(&self, key: &[u8]) -> Result<Option<Object>, StoreError> {
        match self.db.get(key).map_err(|e| failed("read", e))? {
            Some(sealed) if !key.starts_with(META_PREFIX) => object(key, &sealed).map(Some),
            _ => Ok(None),
        }
    }

    /// All objects whose key begins with `prefix`, in key order.
    pub fn objects(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<Object, StoreError>> + use<> {
        self.db
            .scan_prefix(prefix)
            .map(|item| item.map_err(|e| failed("read", e)))
            .filter(|item| !matches!(item, Ok((key, _)) if key.starts_with(META_PREFIX)))
            .map(|item| item.and_then(|(key, sealed)| object(&key, &sealed)))
    }

    /// First commit the journal still has.
    pub fn journal_first(&self) -> Result<u64, StoreError> {
        let listing = segment::list(&self.disk, &self.journal, self.cluster, 0)?;
        Ok(listing.segments.first().map_or(0, |s| s.first))
    }

    /// Commits from `from` to the last acknowledged one, each checked against the
    /// one before. Asking for what retention has dropped is an error
    /// ([`StoreError::JournalGap`]), not a shorter answer.
    pub fn journal(&self, from: u64) -> Result<Replay, StoreError> {
        let to = self.seq();
        let listing = segment::list(&self.disk, &self.journal, self.cluster, 0)?;
        Ok(Replay::new(
            &self.disk,
            &self.journal,
            &listing.segments,
            from.max(1),
            to,
        ))
    }
}

fn object(key: &[u8], sealed: &[u8]) -> Result<Object, StoreError> {
    let (seq, value) = envelope::open_value(sealed).map_err(|what| StoreError::ObjectDamaged {
        key: show_key(key),
        what: what.to_owned(),
    })?;
    Ok(Object {
        key: key.to_vec(),
        value,
        seq,
    })
}
