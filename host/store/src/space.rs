//! Room on the disk: refusing early, and a reserve to give up.
//!
//! A full disk must not take the store down for good: sled cannot even open on
//! one. So commits are refused while there is still room to work, and a ballast
//! file is given up when others have eaten that too.

use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::disk::{Disk, fail};
use crate::error::StoreError;
use crate::options::{Note, OpenOptions};

const BALLAST: &str = "BALLAST";

/// What opening may need: a new journal file, marks, sled's index.
const OPEN_BYTES: u64 = 16 << 20;

/// Bytes an ordinary process may still write here.
pub(crate) fn free(dir: &Path) -> Result<u64, StoreError> {
    let stat = statvfs(dir).map_err(|e| fail("ask for free space of", dir, e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Gives up the ballast if the store could not open without.
pub(crate) fn make_room(disk: &Disk, dir: &Path, notes: &mut Vec<Note>) -> Result<(), StoreError> {
    let path = dir.join(BALLAST);
    if path.exists() && free(dir)? < OPEN_BYTES {
        disk.remove(&path)?;
        notes.push(Note::BallastFreed);
    }
    Ok(())
}

/// Lays in the ballast when there is plenty. Its absence is no error.
pub(crate) fn lay_ballast(
    disk: &Disk,
    dir: &Path,
    options: &OpenOptions,
) -> Result<(), StoreError> {
    let path = dir.join(BALLAST);
    let wanted = options.ballast_bytes;
    if wanted == 0 || path.exists() || free(dir)? < wanted + options.min_free_bytes {
        return Ok(());
    }
    let file = disk.create(&path)?;
    if let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, wanted) {
        tracing::warn!(%error, "no disk reserve: the file system cannot allocate ahead");
        disk.remove(&path)?;
    }
    Ok(())
}
