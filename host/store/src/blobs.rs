//! Policy components and other large bytes: `blobs/sha256/ab/<digest>`.
//!
//! Outside the tree, because sled writes large values to files that it never
//! syncs. The name is the digest, and it is checked on every load: what is
//! compiled is what was verified.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::bytes::{hex, unhex};
use crate::disk::{Disk, Point};
use crate::error::StoreError;

/// Largest blob: an interpreter with its library is 18 MB.
pub const BLOB_BYTES_MAX: usize = 64 << 20;

/// The blobs of a store. Cheap to clone; many may read, one at a time may put.
#[derive(Clone)]
pub struct Blobs {
    disk: Disk,
    dir: PathBuf,
}

impl Blobs {
    pub(crate) fn new(disk: Disk, store: &Path) -> Self {
        Self {
            disk,
            dir: store.join("blobs").join("sha256"),
        }
    }

    /// Stores the bytes durably and returns their sha256, hexadecimal.
    pub fn put(&self, bytes: &[u8]) -> Result<String, StoreError> {
        if bytes.len() > BLOB_BYTES_MAX {
            return Err(StoreError::BadCommit {
                what: format!("a blob of {} bytes", bytes.len()),
            });
        }
        let digest = digest(bytes);
        let path = self.path(&digest);
        if let Some(there) = self.disk.read_if_any(&path)?
            && there == bytes
        {
            // It may be there and not durable: a put cut short before its end.
            let file =
                std::fs::File::open(&path).map_err(|e| crate::disk::fail("open", &path, e))?;
            self.disk.sync_all(&file, &path)?;
            self.sync_parent(&path)?;
            return Ok(digest);
        }
        if let Some(parent) = path.parent() {
            for dir in [self.dir.parent(), Some(self.dir.as_path()), Some(parent)] {
                self.disk.create_dir(dir.unwrap_or(parent))?;
            }
        }
        self.disk
            .replace(&path, bytes, Point::BlobWritten, Point::BlobRenamed)?;
        Ok(digest)
    }

    /// The bytes with this digest.
    pub fn get(&self, digest: &str) -> Result<Vec<u8>, StoreError> {
        let missing = || StoreError::BlobMissing {
            digest: digest.to_owned(),
        };
        // A digest comes from outside; only 64 hex digits become a path.
        unhex::<32>(digest).ok_or_else(missing)?;
        let bytes = self
            .disk
            .read_if_any(&self.path(digest))?
            .ok_or_else(missing)?;
        if self::digest(&bytes) != digest {
            return Err(StoreError::BlobDamaged {
                digest: digest.to_owned(),
            });
        }
        Ok(bytes)
    }

    /// All digests, sorted.
    pub fn list(&self) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for sub in self.disk.list(&self.dir)? {
            for path in self.disk.list(&sub)? {
                let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
                if unhex::<32>(name).is_some() {
                    found.push(name.to_owned());
                }
            }
        }
        Ok(found)
    }

    /// Forgets a blob that nothing refers to any more.
    pub fn remove(&self, digest: &str) -> Result<(), StoreError> {
        if unhex::<32>(digest).is_none() || !self.path(digest).exists() {
            return Err(StoreError::BlobMissing {
                digest: digest.to_owned(),
            });
        }
        let path = self.path(digest);
        self.disk.remove(&path)?;
        self.sync_parent(&path)
    }

    /// Copies every blob into the store at `dir`, checking each: a snapshot does
    /// not contain them.
    pub fn copy_to(&self, dir: &Path) -> Result<usize, StoreError> {
        let to = Self::new(self.disk.clone(), dir);
        let digests = self.list()?;
        for digest in &digests {
            to.put(&self.get(digest)?)?;
        }
        Ok(digests.len())
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(digest.get(..2).unwrap_or("")).join(digest)
    }

    fn sync_parent(&self, path: &Path) -> Result<(), StoreError> {
        path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))
    }
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
