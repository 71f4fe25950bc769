//! The single writer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::blobs::Blobs;
use crate::bytes::Hash;
use crate::disk::{Disk, Point};
use crate::error::StoreError;
use crate::frame::Commit;
use crate::install;
use crate::journal::Journal;
use crate::lock::Lock;
use crate::marks::{self, ClusterId, HOLD};
use crate::options::{OpenOptions, Recovered};
use crate::reader::Reader;
use crate::recover::{self, Parts};
use crate::snapshot::{self, SnapshotInfo};
use crate::space;
use crate::tree::{Put, Tree};
use crate::verify::{self, VerifyReport};

/// Free space is asked for once per this many journal bytes: a system call a
/// group would cost more than it tells.
const SPACE_CHECK_BYTES: u64 = 1 << 20;

/// What a group of commits was numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitInfo {
    /// Number of the first commit of the group.
    pub first_seq: u64,
    /// Number of the last.
    pub last_seq: u64,
}

/// An open store. It blocks: give it a thread of its own.
pub struct Store {
    parts: Parts,
    disk: Disk,
    options: OpenOptions,
    reader: Reader,
    blobs: Blobs,
    poison: Option<String>,
    marked: u64,
    unchecked_bytes: u64,
    // Last, so that everything else is closed when it is released.
    _lock: Lock,
}

impl Store {
    /// Opens or creates the store in `dir`, recovering whatever the last process
    /// had acknowledged.
    pub fn open(
        dir: impl AsRef<Path>,
        options: OpenOptions,
    ) -> Result<(Self, Recovered), StoreError> {
        let dir = dir.as_ref();
        let disk = Disk::new(options.faults.clone());
        disk.create_dir(dir)?;
        let lock = Lock::take(dir)?;
        let (parts, recovered) = recover::recover(&disk, dir, &options)?;
        let reader = Reader {
            db: parts.tree.db.clone(),
            disk: disk.clone(),
            journal: parts.layout.journal.clone(),
            cluster: parts.format.cluster,
            last: Arc::new(AtomicU64::new(parts.state.seq)),
        };
        let mut store = Self {
            marked: parts.state.seq,
            blobs: Blobs::new(disk.clone(), dir),
            parts,
            disk,
            options,
            reader,
            poison: None,
            unchecked_bytes: SPACE_CHECK_BYTES,
            _lock: lock,
        };
        if recovered.schema < store.options.schema {
            // Before the caller migrates anything.
            store.snapshot(None)?;
        }
        Ok((store, recovered))
    }

    /// Makes the commits durable, in order, with one fsync for all, and applies
    /// them. Only after this returns may any of them be acknowledged.
    ///
    /// After an error other than [`StoreError::BadCommit`] and an unpoisoned
    /// [`StoreError::NoSpace`], whether they will be there after a reopen is not
    /// known; nothing more can be written until then.
    pub fn commit(&mut self, commits: &[Commit]) -> Result<CommitInfo, StoreError> {
        self.usable()?;
        let info = CommitInfo {
            first_seq: self.parts.state.seq + 1,
            last_seq: self.parts.state.seq + commits.len() as u64,
        };
        if commits.is_empty() {
            return Ok(info);
        }
        Journal::check(commits)?;
        let keys = commits.iter().flat_map(|c| &c.puts).map(|p| p.0.as_slice());
        Tree::check_prefixes(&self.parts.state, keys)?;
        self.room()?;
        let result = self.write(commits);
        self.poisoning(result)?;
        self.reader.last.store(info.last_seq, Ordering::Release);
        // The group is durable and applied: what follows can fail, but not
        // because of it, and the next commit will say so.
        if let Err(error) = self.upkeep() {
            tracing::error!(%error, "the store stops writing");
        }
        Ok(info)
    }

    fn write(&mut self, commits: &[Commit]) -> Result<(), StoreError> {
        let parts = &mut self.parts;
        let first = parts.journal.last + 1;
        let before = parts.journal.segments.last().map_or(0, |s| s.bytes);
        parts.journal.append(commits)?;
        let after = parts.journal.segments.last().map_or(0, |s| s.bytes);
        self.unchecked_bytes += after.saturating_sub(before);
        let mut puts = Vec::with_capacity(commits.iter().map(|c| c.puts.len()).sum());
        for (seq, commit) in (first..).zip(commits) {
            puts.extend(commit.puts.iter().map(|(key, value)| Put {
                key,
                value: value.as_ref(),
                seq,
            }));
        }
        let (seq, chain) = (parts.journal.last, parts.journal.chain);
        parts
            .tree
            .apply(&self.disk, &mut parts.state, puts, seq, chain)?;
        self.disk.reach(Point::AfterApply);
        Ok(())
    }

    fn upkeep(&mut self) -> Result<(), StoreError> {
        let seq = self.parts.state.seq;
        if seq - self.parts.checkpoint >= self.options.checkpoint_commits {
            return self.checkpoint();
        }
        if seq - self.marked >= self.options.highwater_commits {
            let result = self.mark();
            return self.poisoning(result);
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<(), StoreError> {
        recover::mark_of(&self.parts).write(&self.disk, &self.parts.layout.dir)?;
        self.marked = self.parts.state.seq;
        Ok(())
    }

    /// Makes the tree durable by itself, moves the high-water mark, and drops
    /// what the retention policy no longer keeps.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.usable()?;
        let result = self.checkpoint_now();
        self.poisoning(result)
    }

    fn checkpoint_now(&mut self) -> Result<(), StoreError> {
        self.disk.reach(Point::CheckpointBegins);
        self.parts.tree.checkpoint(&self.disk)?;
        self.disk.reach(Point::CheckpointSynced);
        self.parts.checkpoint = self.parts.state.seq;
        self.mark()?;
        self.retain()
    }

    /// Drops old journal files. The two newest snapshots must each reach what
    /// stays, so that one damaged snapshot does not make the tree irreplaceable.
    fn retain(&mut self) -> Result<(), StoreError> {
        let keep = self.options.retain_bytes;
        let age = self.options.retain_age;
        let surplus = self
            .parts
            .journal
            .droppable(self.parts.checkpoint, keep, age);
        if surplus == 0 {
            return Ok(());
        }
        let wanted = self.parts.journal.last_of(surplus);
        let snapshots = snapshot::list(&self.disk, &self.parts.layout.snapshots)?;
        if snapshots.last().is_none_or(|(seq, _)| *seq < wanted) {
            self.snapshot_now(None)?;
        }
        let snapshots = snapshot::list(&self.disk, &self.parts.layout.snapshots)?;
        let covered = snapshots.iter().rev().nth(1).map_or(0, |(seq, _)| *seq);
        let n = self
            .parts
            .journal
            .droppable(covered.min(self.parts.checkpoint), keep, age);
        if n == 0 {
            return Ok(());
        }
        // Said before it is done: otherwise a missing file could not be told from
        // a dropped one.
        let mut mark = recover::mark_of(&self.parts);
        mark.journal_first = self.parts.journal.first_after(n);
        mark.write(&self.disk, &self.parts.layout.dir)?;
        self.disk.reach(Point::RetentionRecorded);
        self.parts.journal.drop_oldest(n)?;
        self.disk.reach(Point::RetentionDropped);
        Ok(())
    }

    /// Writes the whole state to `path`, or to a file of the store's own, and
    /// reads it back. The writer waits meanwhile (some 2 µs an object).
    pub fn snapshot(&mut self, path: Option<&Path>) -> Result<SnapshotInfo, StoreError> {
        self.usable()?;
        // Nothing of the store itself is at stake, so a failure does not poison.
        self.snapshot_now(path)
    }

    fn snapshot_now(&mut self, path: Option<&Path>) -> Result<SnapshotInfo, StoreError> {
        let Parts {
            layout,
            format,
            tree,
            state,
            ..
        } = &self.parts;
        let own = snapshot::path(&layout.snapshots, state.seq);
        if path.is_none() {
            self.disk.create_dir(&layout.snapshots)?;
        }
        let info = snapshot::write(
            &self.disk,
            path.unwrap_or(&own),
            tree,
            state,
            format.cluster,
            format.schema,
        )?;
        if path.is_none() {
            let all = snapshot::list(&self.disk, &layout.snapshots)?;
            let keep = self.options.snapshots_keep.max(2);
            let (old, kept) = all.split_at(all.len().saturating_sub(keep));
            self.parts.snapshots = kept.iter().map(|(seq, _)| *seq).collect();
            self.mark()?;
            for (_, path) in old {
                self.disk.remove(path)?;
            }
        }
        Ok(info)
    }

    /// Checkpoints and closes. A store that is only dropped loses nothing, but
    /// has more to replay and an older high-water mark.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.checkpoint()?;
        self.disk.reach(Point::Closed);
        Ok(())
    }

    /// Lifts a hold, after whoever is responsible has looked. The caller commits
    /// a record of who and why first.
    pub fn release_hold(&mut self) -> Result<(), StoreError> {
        self.usable()?;
        let path = self.parts.layout.dir.join(HOLD);
        if path.exists() {
            self.disk.remove(&path)?;
            self.disk.sync_dir(&self.parts.layout.dir)?;
        }
        Ok(())
    }

    /// Puts the store on hold by the caller's own judgement (for instance because
    /// agents have seen a later commit), so that it stays over a restart.
    pub fn hold(&mut self, reason: &marks::HoldReason) -> Result<(), StoreError> {
        self.usable()?;
        match marks::read_hold(&self.disk, &self.parts.layout.dir)? {
            Some(_) => Ok(()),
            None => marks::write_hold(&self.disk, &self.parts.layout.dir, reason),
        }
    }

    /// Says that all objects are of this schema now: the end of a migration.
    pub fn set_schema(&mut self, schema: u32) -> Result<(), StoreError> {
        self.usable()?;
        self.parts.format.schema = schema;
        let result = self.parts.format.write(&self.disk, &self.parts.layout.dir);
        self.poisoning(result)
    }

    /// Reads; clones of it may go to other threads.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Policy components and other large bytes.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Last commit.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.parts.state.seq
    }

    /// Hash of the last commit: the head of the audit chain, to be kept elsewhere.
    #[must_use]
    pub fn head(&self) -> Hash {
        self.parts.state.chain
    }

    /// Sum over all objects; two stores with the same root hold the same.
    #[must_use]
    pub fn root(&self) -> u128 {
        self.parts.state.root
    }

    /// The history this store belongs to.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.parts.format.cluster
    }

    /// Why the store has stopped writing, if it has.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.as_deref()
    }

    /// Makes a store at `dir` from a snapshot; what is there is moved aside, and
    /// numbers it had given out are not given out again. The store comes up on
    /// hold. Blobs are not in a snapshot: see [`Blobs::copy_to`].
    pub fn restore(
        snapshot: impl AsRef<Path>,
        dir: impl AsRef<Path>,
        options: &OpenOptions,
    ) -> Result<SnapshotInfo, StoreError> {
        install::restore(snapshot.as_ref(), dir.as_ref(), options)
    }

    /// Checks journal and snapshots without writing, also beside a running store.
    /// `heads` are commits whose hash was kept elsewhere.
    pub fn verify(
        dir: impl AsRef<Path>,
        heads: &[(u64, Hash)],
    ) -> Result<VerifyReport, StoreError> {
        verify::verify(dir.as_ref(), heads)
    }

    fn usable(&self) -> Result<(), StoreError> {
        match &self.poison {
            Some(cause) => Err(StoreError::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    fn poisoning<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            // An fsync that failed may have dropped the data and will not say so
            // again: the only safe thing is to read the disk anew.
            self.poison = Some(error.to_string());
        }
        result
    }

    fn room(&mut self) -> Result<(), StoreError> {
        if self.unchecked_bytes < SPACE_CHECK_BYTES || self.options.min_free_bytes == 0 {
            return Ok(());
        }
        let dir = &self.parts.layout.dir;
        if space::free(dir)? < self.options.min_free_bytes {
            return Err(StoreError::NoSpace {
                path: dir.clone(),
                poisoned: false,
            });
        }
        self.unchecked_bytes = 0;
        Ok(())
    }
}
