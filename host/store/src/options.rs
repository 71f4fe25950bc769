//! How a store is opened, and what opening found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::Faults;
use crate::journal::CutTail;
use crate::marks::{ClusterId, HoldReason};

/// How a store is opened. The defaults are for production.
#[derive(Clone)]
pub struct OpenOptions {
    /// Newest schema of objects and records the caller can read.
    pub schema: u32,
    /// Bytes of the tree kept in memory.
    pub cache_bytes: u64,
    /// A journal file is closed at this size. At most 1 GiB.
    pub segment_bytes: u64,
    /// Journal bytes kept for audit and replay beyond what recovery needs.
    pub retain_bytes: u64,
    /// Journal files older than this may go even if there is room.
    pub retain_age: Option<Duration>,
    /// Commits between checkpoints: bounds the journal tail replayed at start
    /// (some 10 µs a commit).
    pub checkpoint_commits: u64,
    /// Commits between high-water marks: bounds how much can vanish with tree and
    /// journal and not be noticed here (agents notice the rest).
    pub highwater_commits: u64,
    /// Snapshots kept in the store; never fewer than two.
    pub snapshots_keep: usize,
    /// Commits are refused below this much free disk, while there is still room
    /// to reopen, checkpoint and log.
    pub min_free_bytes: u64,
    /// Size of a file that is given up when the disk is so full that the store
    /// cannot open; 0 for none.
    pub ballast_bytes: u64,
    /// Check every record of every journal file, not only those recovery needs.
    pub verify_journal: bool,
    /// Open a sound tree whose journal is lost or shorter, on hold.
    pub accept_journal_loss: bool,
    /// For tests: what goes wrong, and when.
    #[doc(hidden)]
    pub faults: Option<Arc<dyn Faults>>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            schema: 1,
            cache_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            retain_bytes: 1 << 30,
            retain_age: None,
            checkpoint_commits: 100_000,
            highwater_commits: 10_000,
            snapshots_keep: 24,
            min_free_bytes: 512 << 20,
            ballast_bytes: 64 << 20,
            verify_journal: false,
            accept_journal_loss: false,
            faults: None,
        }
    }
}

/// What opening found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// There was nothing here, and no sign that there ever was.
    pub first_start: bool,
    /// The history this store belongs to.
    pub cluster: ClusterId,
    /// Last commit in the store.
    pub seq: u64,
    /// Objects by key prefix.
    pub counts: BTreeMap<Vec<u8>, u64>,
    /// Commits taken from the journal because the tree did not have them.
    pub replayed: u64,
    /// Schema the store was written with. If it is older than
    /// [`OpenOptions::schema`], migrate by commits, then call
    /// [`crate::Store::set_schema`]; a snapshot was taken before.
    pub schema: u32,
    /// Nothing may be killed, evicted or scaled down until a person has released it.
    pub hold: Option<HoldReason>,
    /// What else an operator should know.
    pub notes: Vec<Note>,
}

/// Something recovery did that is worth a line in the log and an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The journal's last write was not complete, and not acknowledged.
    TailCut(CutTail),
    /// The tree was built anew.
    TreeRebuilt {
        /// What was wrong with it.
        why: String,
        /// Commit of the snapshot it began with, if any.
        from_snapshot: Option<u64>,
        /// Where the old one is.
        aside: Option<PathBuf>,
    },
    /// The tree was older than its last checkpoint; the journal had the rest.
    TreeBehindCheckpoint {
        /// Commit it was at.
        tree_seq: u64,
        /// Commit of the checkpoint.
        checkpoint_seq: u64,
    },
    /// A snapshot was passed over.
    SnapshotUnusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The reserve was given up so that the store could open.
    BallastFreed,
    /// The state was put on a new base; what was here is kept.
    MovedAside {
        /// Where.
        aside: PathBuf,
    },
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TailCut(cut) => write!(
                f,
                "cut {} bytes of unacknowledged record {} from {} at byte {}",
                cut.bytes,
                cut.seq,
                cut.file.display(),
                cut.offset
            ),
            Self::TreeRebuilt {
                why,
                from_snapshot,
                aside,
            } => {
                write!(f, "rebuilt the tree ({why}) from ")?;
                match from_snapshot {
                    Some(seq) => write!(f, "the snapshot of commit {seq} and the journal")?,
                    None => write!(f, "the journal")?,
                }
                match aside {
                    Some(aside) => write!(f, "; the old one is {}", aside.display()),
                    None => Ok(()),
                }
            }
            Self::TreeBehindCheckpoint {
                tree_seq,
                checkpoint_seq,
            } => write!(
                f,
                "the tree was at commit {tree_seq}, before its checkpoint {checkpoint_seq}"
            ),
            Self::SnapshotUnusable { path, why } => {
                write!(f, "passed over snapshot {}: {why}", path.display())
            }
            Self::BallastFreed => write!(f, "gave up the disk reserve in order to open"),
            Self::MovedAside { aside } => {
                write!(f, "what was here is kept in {}", aside.display())
            }
        }
    }
}
