//! Everything the store can refuse or fail with.

use std::io;
use std::path::PathBuf;

/// Why the store refused or failed. Nothing here is ever answered by going on
/// with an empty or older state: that is how a scheduler kills a cluster.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("store {} is in use by another process", dir.display())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// A newer build wrote this. It is never opened for writing.
    #[error("{} has {what} {found}, this build knows up to {known}", path.display())]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// `format` (ours) or `schema` (the caller's).
        what: &'static str,
        /// What the file says.
        found: u32,
        /// What we can read.
        known: u32,
    },
    /// An operation on a file failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The disk is full, or below the reserve. With `poisoned` the write had
    /// begun, and the store must be reopened; without, only this commit was
    /// refused and the next may succeed.
    #[error("no space left for {}", path.display())]
    NoSpace {
        /// The file or directory.
        path: PathBuf,
        /// Whether a write had begun.
        poisoned: bool,
    },
    /// An earlier error left memory and disk possibly different. Reading goes
    /// on; writing needs a reopen.
    #[error("the store stopped writing after an earlier error: {cause}")]
    Poisoned {
        /// That error, in words.
        cause: String,
    },
    /// A journal file is not what was written.
    #[error("journal {} is damaged at byte {offset}, record {seq}: {what}", file.display())]
    JournalDamaged {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The record that is damaged or missing.
        seq: u64,
        /// How we know.
        what: String,
    },
    /// A journal file is gone.
    #[error("the journal in {} goes from record {expected} to {found}", dir.display())]
    JournalGap {
        /// The journal's directory.
        dir: PathBuf,
        /// The record that should have come next.
        expected: u64,
        /// The one that did.
        found: u64,
    },
    /// The tree has commits that the journal has lost: the state is there, its
    /// record is not. [`crate::OpenOptions::accept_journal_loss`] opens it, on hold.
    #[error("the tree is at commit {applied_seq} but the journal ends at {journal_seq}")]
    JournalLost {
        /// Last commit in the tree.
        applied_seq: u64,
        /// Last record in the journal.
        journal_seq: u64,
    },
    /// Tree and journal, or two files of one store, are not of the same history.
    #[error("{} belongs to another history: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// One of the small files that describe the store cannot be believed.
    #[error("{} cannot be used: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A stored object does not decode, or the tree as a whole is not what was
    /// written.
    #[error("stored state is damaged at {key}: {what}")]
    ObjectDamaged {
        /// The key, printable.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// The tree is lost and cannot be rebuilt completely from what is here.
    #[error("the state cannot be rebuilt: {what}; {todo}")]
    Unrecoverable {
        /// What is missing.
        what: String,
        /// What an operator can do.
        todo: &'static str,
    },
    /// The tree engine failed.
    #[error("the tree engine failed while trying to {what}")]
    Tree {
        /// The operation, as a verb.
        what: &'static str,
        /// The cause.
        #[source]
        source: sled::Error,
    },
    /// A commit that is outside the limits; nothing of its group was written.
    #[error("commit refused: {what}")]
    BadCommit {
        /// Which limit.
        what: String,
    },
    /// A snapshot is not what was written.
    #[error("snapshot {} is damaged: {what}", path.display())]
    SnapshotDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No such blob.
    #[error("no blob {digest}")]
    BlobMissing {
        /// Its sha256.
        digest: String,
    },
    /// A blob's bytes do not have its digest.
    #[error("blob {digest} is damaged")]
    BlobDamaged {
        /// The sha256 it should have.
        digest: String,
    },
}

impl StoreError {
    /// The process exit code an operator's scripts rely on (sysexits.h):
    /// 75 try again, 78 configuration, 70 the store stopped, 74 its contents
    /// cannot be trusted.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => 75,
            Self::NewerFormat { .. } => 78,
            Self::Io { .. } | Self::NoSpace { .. } | Self::Poisoned { .. } | Self::Tree { .. } => {
                70
            }
            Self::JournalDamaged { .. }
            | Self::JournalGap { .. }
            | Self::JournalLost { .. }
            | Self::Foreign { .. }
            | Self::Damaged { .. }
            | Self::ObjectDamaged { .. }
            | Self::Unrecoverable { .. }
            | Self::SnapshotDamaged { .. }
            | Self::BlobMissing { .. }
            | Self::BlobDamaged { .. } => 74,
            Self::BadCommit { .. } => 1,
        }
    }
}
