//! What survives: every acknowledged commit, over kill -9 and power loss.
//!
//! A commit, in call order: `store` checks it against the limits and the disk's
//! free `space`; `frame` encodes what happened and what the tree holds
//! afterwards; `journal` appends the group to its newest `segment` and calls
//! fdatasync, once for all. *That* is the commit point. Then `tree` applies the
//! puts to sled as one batch, each value in an `envelope`, and only then does
//! the caller acknowledge. sled may lose its last writes (its `flush` does not
//! fsync): the journal has them.
//!
//! A start: `lock` keeps others out; `marks` says what this directory is and how
//! far it had come; `tree` checks every object against the state root; `replay`
//! gives `recover` the commits the tree lacks. A tree that is lost or damaged is
//! moved aside and rebuilt from a `snapshot` and the journal. State that is older
//! than its high-water mark is opened on hold, by way of `install`: a scheduler
//! that took missing state for no state would kill everything it finds running.
//!
//! ```text
//! <dir>/LOCK            one process at a time
//!       FORMAT          format, schema, cluster id: written last at creation
//!       HIGHWATER       commit, counts and root known to have been reached
//!       HOLD            why nothing may be killed, until a person releases it
//!       journal/<first-seq>.log      the truth, hash-chained: audit and replay
//!       tree/           sled: the state as of its last applied commit
//!       snapshots/<seq>.snap         the state in one file, read back when made
//!       blobs/sha256/ab/<digest>     policy components
//!       aside/<n>/      what recovery replaced; never deleted by us
//!       BALLAST         disk space to give up when there is no other
//! ```
//!
//! Everything goes through `disk`, so that tests can fail or end any operation.
//! `reader` looks at objects and commits, `verify` checks a directory without
//! writing, and `blobs` keeps what is too large for a tree.

mod disk;
mod error;
mod options;

mod lock;
mod marks;
mod space;

mod bytes;
mod envelope;
mod frame;
mod journal;
mod segment;
mod tree;

mod install;
mod recover;
mod replay;
mod snapshot;

mod blobs;
mod reader;
mod store;
mod verify;

pub use blobs::{BLOB_BYTES_MAX, Blobs};
pub use bytes::Hash;
#[doc(hidden)]
pub use disk::{Faults, Op, Point};
pub use error::StoreError;
pub use frame::{
    COMMIT_BYTES_MAX, Commit, Entry, GROUP_BYTES_MAX, KEY_BYTES_MAX, Key, PREFIX_BYTES_MAX, Record,
    VALUE_BYTES_MAX, Value,
};
pub use journal::CutTail;
pub use marks::{ClusterId, FORMAT_VERSION, HoldReason};
pub use options::{Note, OpenOptions, Recovered};
pub use reader::{Object, Reader};
pub use replay::Replay;
pub use snapshot::SnapshotInfo;
pub use store::{CommitInfo, Store};
pub use verify::VerifyReport;
