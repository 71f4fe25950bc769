//! Every file operation of the store, in one place, so that each can be made to
//! fail, to be cut short, or to be the last thing the process does.
//!
//! A directory entry is data too: a file that was synced but whose directory was
//! not may be gone after a power cut. [`Disk::replace`] and [`Disk::create`]
//! are the only ways a name appears, and both say when it is durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StoreError;

/// A place where a test may end the process.
#[expect(missing_docs, reason = "each names the step it follows or precedes")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    BeforeAppend,
    AfterAppend,
    AfterSync,
    AfterApply,
    SegmentCreated,
    SegmentReady,
    CheckpointBegins,
    CheckpointFlushed,
    CheckpointSynced,
    HighWaterWritten,
    HighWaterRenamed,
    SnapshotWritten,
    SnapshotRenamed,
    RetentionRecorded,
    RetentionDropped,
    TailFound,
    TailCut,
    RebuildBegins,
    RebuildAside,
    RebuildDone,
    BlobWritten,
    BlobRenamed,
    Closed,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::BeforeAppend,
        Self::AfterAppend,
        Self::AfterSync,
        Self::AfterApply,
        Self::SegmentCreated,
        Self::SegmentReady,
        Self::CheckpointBegins,
        Self::CheckpointFlushed,
        Self::CheckpointSynced,
        Self::HighWaterWritten,
        Self::HighWaterRenamed,
        Self::SnapshotWritten,
        Self::SnapshotRenamed,
        Self::RetentionRecorded,
        Self::RetentionDropped,
        Self::TailFound,
        Self::TailCut,
        Self::RebuildBegins,
        Self::RebuildAside,
        Self::RebuildDone,
        Self::BlobWritten,
        Self::BlobRenamed,
        Self::Closed,
    ];
}

/// A file operation a test may refuse.
#[expect(missing_docs, reason = "the system call says it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Create,
    Write,
    SyncData,
    SyncAll,
    SyncDir,
    Rename,
    Remove,
    Truncate,
    Read,
    TreeApply,
    TreeFlush,
}

/// What a test does to the store. Production has none.
pub trait Faults: Send + Sync {
    /// The store is at `point`; not returning is a crash there.
    fn reach(&self, point: Point) {
        let _ = point;
    }
    /// Called before each file operation; an error is what the operation returns.
    fn before(&self, op: Op, path: &Path) -> io::Result<()> {
        let _ = (op, path);
        Ok(())
    }
    /// How many bytes of a write reach the file before it fails for lack of space.
    fn short_write(&self, path: &Path, len: usize) -> Option<usize> {
        let _ = (path, len);
        None
    }
    /// `path` (file or directory) is now durable as it is.
    fn synced(&self, path: &Path) {
        let _ = path;
    }
}

/// The file system, with faults.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    faults: Option<Arc<dyn Faults>>,
}

impl Disk {
    pub(crate) fn new(faults: Option<Arc<dyn Faults>>) -> Self {
        Self { faults }
    }

    pub(crate) fn reach(&self, point: Point) {
        if let Some(faults) = &self.faults {
            faults.reach(point);
        }
    }

    pub(crate) fn before(&self, op: Op, path: &Path) -> io::Result<()> {
        match &self.faults {
            Some(faults) => faults.before(op, path),
            None => Ok(()),
        }
    }

    fn synced(&self, path: &Path) {
        if let Some(faults) = &self.faults {
            faults.synced(path);
        }
    }

    /// A new file; fails if the name exists. Durable only after [`Self::sync_all`]
    /// and [`Self::sync_dir`].
    pub(crate) fn create(&self, path: &Path) -> Result<File, StoreError> {
        self.before(Op::Create, path)
            .and_then(|()| {
                File::options()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(path)
            })
            .map_err(|e| fail("create", path, e))
    }

    pub(crate) fn open_write(&self, path: &Path) -> Result<File, StoreError> {
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| fail("open", path, e))
    }

    pub(crate) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), StoreError> {
        let result = self.before(Op::Write, path).and_then(|()| {
            let short = self
                .faults
                .as_ref()
                .and_then(|f| f.short_write(path, bytes.len()));
            match short {
                None => file.write_all_at(bytes, offset),
                Some(n) => {
                    file.write_all_at(bytes.get(..n).unwrap_or(bytes), offset)?;
                    Err(io::ErrorKind::StorageFull.into())
                }
            }
        });
        result.map_err(|e| fail("write", path, e))
    }

    pub(crate) fn sync_data(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        self.before(Op::SyncData, path)
            .and_then(|()| file.sync_data())
            .map_err(|e| fail("sync", path, e))?;
        self.synced(path);
        Ok(())
    }

    pub(crate) fn sync_all(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        self.before(Op::SyncAll, path)
            .and_then(|()| file.sync_all())
            .map_err(|e| fail("sync", path, e))?;
        self.synced(path);
        Ok(())
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.before(Op::SyncDir, dir)
            .and_then(|()| File::open(dir)?.sync_all())
            .map_err(|e| fail("sync", dir, e))?;
        self.synced(dir);
        Ok(())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.before(Op::Rename, to)
            .and_then(|()| fs::rename(from, to))
            .map_err(|e| fail("rename to", to, e))
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.before(Op::Remove, path)
            .and_then(|()| fs::remove_file(path))
            .map_err(|e| fail("remove", path, e))
    }

    pub(crate) fn truncate(&self, file: &File, path: &Path, len: u64) -> Result<(), StoreError> {
        self.before(Op::Truncate, path)
            .and_then(|()| file.set_len(len))
            .map_err(|e| fail("truncate", path, e))
    }

    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        self.before(Op::Read, path)
            .and_then(|()| fs::read(path))
            .map_err(|e| fail("read", path, e))
    }

    /// The whole file, or `None` if there is no such file: the one place where
    /// "missing" is an answer and not an error.
    pub(crate) fn read_if_any(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        match self.before(Op::Read, path).and_then(|()| fs::read(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fail("read", path, e)),
        }
    }

    pub(crate) fn create_dir(&self, dir: &Path) -> Result<(), StoreError> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(dir).map_err(|e| fail("create", dir, e))?;
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent),
            _ => Ok(()),
        }
    }

    /// Names in `dir`, sorted; none if there is no such directory.
    pub(crate) fn list(&self, dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(fail("list", dir, e)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(|e| fail("list", dir, e))?.path());
        }
        paths.sort();
        Ok(paths)
    }

    /// Puts `bytes` at `path` so that a crash leaves the old file or the new one,
    /// never a mixture: temporary file, fsync, rename, fsync of the directory.
    pub(crate) fn replace(
        &self,
        path: &Path,
        bytes: &[u8],
        written: Point,
        renamed: Point,
    ) -> Result<(), StoreError> {
        self.replace_with(path, written, renamed, |out| out.write_all(bytes))
    }

    /// As [`Self::replace`], for content too large to hold.
    pub(crate) fn replace_with(
        &self,
        path: &Path,
        written: Point,
        renamed: Point,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        // The parent of a bare name is empty, which is the current directory.
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = parent.unwrap_or(Path::new("."));
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(TEMPORARY);
        let tmp = dir.join(name);
        if tmp.exists() {
            self.remove(&tmp)?;
        }
        let file = self.create(&tmp)?;
        let mut out = io::BufWriter::with_capacity(WRITE_BUFFER_BYTES, &file);
        self.before(Op::Write, &tmp)
            .and_then(|()| fill(&mut out))
            .and_then(|()| out.flush())
            .map_err(|e| fail("write", &tmp, e))?;
        drop(out);
        self.sync_all(&file, &tmp)?;
        self.reach(written);
        self.rename(&tmp, path)?;
        self.reach(renamed);
        self.sync_dir(dir)
    }
}

/// Ends the name of a file that is not finished; such files are removed at open.
pub(crate) const TEMPORARY: &str = ".tmp";

/// One write call per MiB of a snapshot: larger gains nothing measurable.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// The typed error for a failed operation; a full disk is its own kind because
/// the remedy is different.
pub(crate) fn fail(what: &'static str, path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace {
            path: path.to_owned(),
            poisoned: true,
        },
        _ => StoreError::Io {
            what,
            path: path.to_owned(),
            source,
        },
    }
}
