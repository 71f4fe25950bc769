//! The state as it is now: one sled tree, written in whole groups.
//!
//! sled 0.34 does not fsync on `flush` (it calls `sync_file_range`), so nothing
//! here is durable until [`Tree::checkpoint`] has synced the files itself; the
//! journal is what makes a commit durable. A tree that lost its last writes, or
//! is torn, is brought up to date or rebuilt (`recover.rs`).

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bytes::{Hash, show_key};
use crate::disk::{Disk, Op, Point};
use crate::envelope::{self, PREFIXES_MAX, State};
use crate::error::StoreError;
use crate::frame::{META_PREFIX, Value, prefix};

const STATE_KEY: &[u8] = b"meta/state";

/// How long a handle of our own that is still closing may hold sled's file lock.
/// Other processes are kept out by our own lock, long before.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// sled's own background flush. It only keeps the tail that must be replayed
/// short; durability does not depend on it.
const FLUSH_EVERY_MS: u64 = 500;

/// A put, borrowed from the commit it came with.
#[derive(Clone, Copy)]
pub(crate) struct Put<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a Value>,
    pub(crate) seq: u64,
}

pub(crate) struct Tree {
    pub(crate) db: sled::Db,
    dir: PathBuf,
    sealed: Vec<u8>,
}

/// What was found in the tree's directory.
pub(crate) enum Opened {
    Missing,
    Good(Tree, State),
    /// Files are there and are not what was written.
    Bad(String),
}

impl Tree {
    /// Opens what is there and checks all of it against its root.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Opened, StoreError> {
        if !dir.join("db").is_file() {
            // sled would create an empty one: "missing" must not look like "new".
            return Ok(match dir.exists() {
                false => Opened::Missing,
                true => Opened::Bad("its main file is missing".to_owned()),
            });
        }
        // Damaged files have made sled panic; that is one more way to be damaged.
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let tree = Self::open_files(dir, cache_bytes)?;
            let state = tree.scan()?;
            Ok((tree, state))
        }));
        match attempt {
            Ok(Ok((tree, state))) => Ok(Opened::Good(tree, state)),
            Ok(Err(StoreError::ObjectDamaged { key, what })) => {
                Ok(Opened::Bad(format!("{key}: {what}")))
            }
            Ok(Err(StoreError::Tree { source, .. })) if !environmental(&source) => {
                Ok(Opened::Bad(source.to_string()))
            }
            Ok(Err(StoreError::Tree {
                source: sled::Error::Io(e),
                ..
            })) => Err(crate::disk::fail("open", dir, e)),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(Opened::Bad(
                "the engine panicked while reading it".to_owned(),
            )),
        }
    }

    /// An empty tree at `state`'s place in history.
    pub(crate) fn create(dir: &Path, cache_bytes: u64, state: &State) -> Result<Self, StoreError> {
        let mut tree = Self::open_files(dir, cache_bytes)?;
        tree.put_state(state)?;
        Ok(tree)
    }

    fn open_files(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let begun = Instant::now();
        let db = loop {
            match config.open() {
                Err(sled::Error::Io(e)) if locked(&e) && begun.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(LOCK_RETRY);
                }
                other => break other.map_err(|e| failed("open", e))?,
            }
        };
        Ok(Self {
            db,
            dir: dir.to_owned(),
            sealed: Vec::new(),
        })
    }

    /// Reads every object, and compares the sum with what the tree says of itself.
    pub(crate) fn scan(&self) -> Result<State, StoreError> {
        let mut found = State::default();
        let mut claimed = None;
        for item in self.db.iter() {
            let (key, bytes) = item.map_err(|e| failed("read", e))?;
            let damaged = |what: &str| StoreError::ObjectDamaged {
                key: show_key(&key),
                what: what.to_owned(),
            };
            let (_, seq, payload) = envelope::open(&bytes).map_err(damaged)?;
            if key == STATE_KEY {
                let state = State::decode(payload).ok_or_else(|| damaged("does not decode"))?;
                if state.seq != seq {
                    return Err(damaged("is of another commit"));
                }
                claimed = Some(state);
                continue;
            }
            let prefix = prefix(&key).ok_or_else(|| damaged("has no prefix"))?;
            found.add(prefix, envelope::weight(&key, &bytes));
        }
        let whole = |what: String| StoreError::ObjectDamaged {
            key: "meta/state".to_owned(),
            what,
        };
        let claimed = claimed.ok_or_else(|| whole("is missing".to_owned()))?;
        if !claimed.same_content(&found) {
            return Err(whole(format!(
                "the tree holds {} objects with root {:032x}, it should hold {} with {:032x}",
                found.objects(),
                found.root,
                claimed.objects(),
                claimed.root
            )));
        }
        Ok(claimed)
    }

    /// Applies the puts of one or more commits as one batch, and moves the state
    /// to `seq`.
    pub(crate) fn apply(
        &mut self,
        disk: &Disk,
        state: &mut State,
        mut puts: Vec<Put<'_>>,
        seq: u64,
        chain: Hash,
    ) -> Result<(), StoreError> {
        // Of several puts to one key only the last can be seen afterwards.
        puts.sort_by(|a, b| a.key.cmp(b.key));
        let mut next = state.clone();
        let mut batch = sled::Batch::default();
        for (i, put) in puts.iter().enumerate() {
            if puts.get(i + 1).is_some_and(|later| later.key == put.key) {
                continue;
            }
            let prefix = prefix(put.key).unwrap_or_default();
            let old = self.db.get(put.key).map_err(|e| failed("read", e))?;
            if let Some(old) = &old {
                next.subtract(prefix, envelope::weight(put.key, old));
            }
            match put.value {
                Some(value) => {
                    envelope::seal(&mut self.sealed, value.schema, put.seq, &value.bytes);
                    next.add(prefix, envelope::weight(put.key, &self.sealed));
                    batch.insert(put.key, self.sealed.as_slice());
                }
                None if old.is_some() => batch.remove(put.key),
                None => {}
            }
        }
        next.seq = seq;
        next.chain = chain;
        envelope::seal(&mut self.sealed, 0, seq, &next.encode());
        batch.insert(STATE_KEY, self.sealed.as_slice());
        disk.before(Op::TreeApply, &self.dir)
            .map_err(sled::Error::Io)
            .and_then(|()| self.db.apply_batch(batch))
            .map_err(|e| failed("apply a commit", e))?;
        *state = next;
        Ok(())
    }

    /// Refuses a group that would make more prefixes than are counted.
    pub(crate) fn check_prefixes<'a>(
        state: &State,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), StoreError> {
        if state.counts.len() < PREFIXES_MAX / 2 {
            // Far from the limit, and a group cannot be checked cheaper than this.
            return Ok(());
        }
        let new: std::collections::BTreeSet<&[u8]> = keys
            .filter_map(prefix)
            .filter(|p| !state.counts.contains_key(*p))
            .collect();
        if state.counts.len() + new.len() > PREFIXES_MAX {
            return Err(StoreError::BadCommit {
                what: format!("more than {PREFIXES_MAX} different key prefixes"),
            });
        }
        Ok(())
    }

    /// Puts an object as it was enveloped before: for snapshots.
    pub(crate) fn put_sealed(&mut self, objects: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, sealed) in objects {
            batch.insert(key.as_slice(), sealed.as_slice());
        }
        self.db
            .apply_batch(batch)
            .map_err(|e| failed("load a snapshot", e))
    }

    pub(crate) fn put_state(&mut self, state: &State) -> Result<(), StoreError> {
        envelope::seal(&mut self.sealed, 0, state.seq, &state.encode());
        self.db
            .insert(STATE_KEY, self.sealed.as_slice())
            .map(drop)
            .map_err(|e| failed("write its state", e))
    }

    /// Every object with its envelope, without the store's own.
    pub(crate) fn sealed_objects(
        &self,
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StoreError>> + use<> {
        self.db
            .iter()
            .map(|item| item.map_err(|e| failed("read", e)))
            .filter(|item| !matches!(item, Ok((key, _)) if key.starts_with(META_PREFIX)))
    }

    /// Makes the tree durable without the journal.
    pub(crate) fn checkpoint(&self, disk: &Disk) -> Result<(), StoreError> {
        disk.before(Op::TreeFlush, &self.dir)
            .map_err(sled::Error::Io)
            .and_then(|()| self.db.flush())
            .map_err(|e| failed("flush", e))?;
        disk.reach(Point::CheckpointFlushed);
        for sub in [self.dir.clone(), self.dir.join("blobs")] {
            for path in disk.list(&sub)? {
                if !path.is_file() {
                    continue;
                }
                match File::open(&path) {
                    Ok(file) => disk.sync_all(&file, &path)?,
                    // sled replaces its own index files whenever it likes.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(crate::disk::fail("open", &path, e)),
                }
            }
            if sub.is_dir() {
                disk.sync_dir(&sub)?;
            }
        }
        match self.dir.parent() {
            Some(parent) => disk.sync_dir(parent),
            None => Ok(()),
        }
    }
}

pub(crate) fn failed(what: &'static str, source: sled::Error) -> StoreError {
    match source {
        sled::Error::Io(e)
            if matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            StoreError::NoSpace {
                path: PathBuf::from("tree"),
                poisoned: true,
            }
        }
        source => StoreError::Tree { what, source },
    }
}

fn locked(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock || e.to_string().contains("could not acquire lock")
}

/// Errors of the machine and not of the files: the tree may be perfectly good,
/// and must not be moved aside.
fn environmental(e: &sled::Error) -> bool {
    let sled::Error::Io(e) = e else {
        return false;
    };
    locked(e)
        || matches!(
            e.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
        )
        || e.raw_os_error().is_some_and(|code| {
            use rustix::io::Errno;
            [Errno::MFILE, Errno::NFILE, Errno::IO]
                .iter()
                .any(|errno| errno.raw_os_error() == code)
        })
}
