//! A power cut, at the file layer.
//!
//! Every fsync the store makes copies what it made durable: for a file its
//! bytes, for a directory its names. At a chosen operation the power goes: that
//! operation and all later ones fail. The disk that comes back is put together
//! anew. `Kind::Lost` gives exactly what was synced: all other bytes, names,
//! renames and removals are gone. `Kind::Mixed` flips a seeded coin for each
//! 4 KiB page and each directory entry between what was synced and what the
//! process had written, which is what a kernel that writes back in its own order
//! leaves. Files are followed by inode, so that a renamed file keeps its bytes.
//!
//! sled's own syncs are not seen, and so count for nothing: the disk is worse
//! than a real one in that.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use store::{Faults, Op};

use super::Rng;

const PAGE: usize = 4096;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    Lost,
    Mixed,
}

pub struct Power {
    root: PathBuf,
    inner: Mutex<Inner>,
}

type Names = BTreeMap<OsString, u64>;

#[derive(Default)]
struct Inner {
    /// Bytes as last synced. The open handle keeps the inode from being reused.
    files: BTreeMap<u64, (File, Vec<u8>)>,
    dirs: BTreeMap<u64, (File, Names)>,
    left: u64,
    off: bool,
}

impl Power {
    /// Everything now below `root` is durable; the power goes at operation `after`.
    pub fn new(root: &Path, after: u64) -> io::Result<Self> {
        let mut inner = Inner {
            left: after,
            ..Inner::default()
        };
        let mut rest = vec![root.to_owned()];
        while let Some(path) = rest.pop() {
            inner.sync(&path)?;
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    rest.push(entry?.path());
                }
            }
        }
        Ok(Self {
            root: root.to_owned(),
            inner: Mutex::new(inner),
        })
    }

    pub fn went(&self) -> bool {
        self.inner.lock().expect("not poisoned").off
    }

    /// Writes the disk that comes back to `to`. The store must have been dropped.
    pub fn come_back(&self, kind: Kind, rng: &mut Rng, to: &Path) -> io::Result<()> {
        let inner = self.inner.lock().expect("not poisoned");
        let mut now = BTreeMap::new();
        let mut rest = vec![self.root.clone()];
        while let Some(path) = rest.pop() {
            now.insert(fs::metadata(&path)?.ino(), path.clone());
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    rest.push(entry?.path());
                }
            }
        }
        inner.dir(fs::metadata(&self.root)?.ino(), &now, kind, rng, to)
    }
}

fn names(dir: &Path) -> io::Result<Names> {
    let mut names = Names::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        names.insert(entry.file_name(), entry.metadata()?.ino());
    }
    Ok(names)
}

impl Inner {
    fn sync(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let ino = file.metadata()?.ino();
        if path.is_dir() {
            self.dirs.insert(ino, (file, names(path)?));
        } else {
            self.files.insert(ino, (file, fs::read(path)?));
        }
        Ok(())
    }

    fn dir(
        &self,
        ino: u64,
        now: &BTreeMap<u64, PathBuf>,
        kind: Kind,
        rng: &mut Rng,
        to: &Path,
    ) -> io::Result<()> {
        fs::create_dir_all(to)?;
        let synced = self
            .dirs
            .get(&ino)
            .map(|(_, n)| n.clone())
            .unwrap_or_default();
        let current = match now.get(&ino) {
            Some(path) if kind == Kind::Mixed => names(path)?,
            _ => synced.clone(),
        };
        let mut all: Vec<&OsString> = synced.keys().chain(current.keys()).collect();
        all.sort();
        all.dedup();
        for name in all {
            let (old, new) = (synced.get(name), current.get(name));
            let Some(&child) = (match rng.below(2) {
                0 => old,
                _ => new,
            }) else {
                continue;
            };
            let is_dir =
                self.dirs.contains_key(&child) || now.get(&child).is_some_and(|p| p.is_dir());
            if is_dir {
                self.dir(child, now, kind, rng, &to.join(name))?;
            } else {
                fs::write(to.join(name), self.bytes(child, now, kind, rng)?)?;
            }
        }
        Ok(())
    }

    fn bytes(
        &self,
        ino: u64,
        now: &BTreeMap<u64, PathBuf>,
        kind: Kind,
        rng: &mut Rng,
    ) -> io::Result<Vec<u8>> {
        let synced = self
            .files
            .get(&ino)
            .map(|(_, b)| b.clone())
            .unwrap_or_default();
        let Some(path) = now.get(&ino).filter(|_| kind == Kind::Mixed) else {
            return Ok(synced);
        };
        let current = fs::read(path)?;
        let mut out = if rng.below(2) == 0 {
            synced.len()
        } else {
            current.len()
        };
        // Neither length may hide bytes that were synced in both.
        out = out.max(synced.len().min(current.len()));
        let mut mixed = vec![0; out];
        for (at, page) in mixed.chunks_mut(PAGE).enumerate() {
            let source = if rng.below(2) == 0 { &synced } else { &current };
            let other = if std::ptr::eq(source, &synced) {
                &current
            } else {
                &synced
            };
            let range = at * PAGE..at * PAGE + page.len();
            // A page that was never written back reads as zeros.
            let take = source.get(range.start..range.end.min(source.len()));
            page[..take.map_or(0, <[u8]>::len)].copy_from_slice(take.unwrap_or_default());
            // What was synced and not overwritten since cannot be lost.
            for (i, byte) in page.iter_mut().enumerate() {
                let at = range.start + i;
                if let (Some(s), Some(c)) = (synced.get(at), current.get(at))
                    && s == c
                {
                    *byte = *s;
                } else if source.get(at).is_none() && synced.get(at).is_some() {
                    *byte = other.get(at).copied().unwrap_or(0);
                }
            }
        }
        Ok(mixed)
    }
}

impl Faults for Power {
    fn before(&self, op: Op, _path: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock().expect("not poisoned");
        if op != Op::Read {
            inner.left = inner.left.saturating_sub(1);
        }
        inner.off |= inner.left == 0;
        match inner.off {
            true => Err(io::Error::other("the power is off")),
            false => Ok(()),
        }
    }

    fn short_write(&self, _path: &Path, _len: usize) -> Option<usize> {
        None
    }

    fn synced(&self, path: &Path) {
        let mut inner = self.inner.lock().expect("not poisoned");
        if !inner.off {
            // sled may have replaced the file between its sync and now.
            match inner.sync(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => panic!("{path:?}: {e}"),
                _ => {}
            }
        }
    }
}
