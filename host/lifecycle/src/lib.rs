//! The life of a policy on a host, from bytes to deciding and back.
//!
//! An `upload` is followed by file names: the sandbox reads the bytes, `compile`
//! makes machine code of them in the sandbox's child, `schema` reads what
//! settings it takes, `conform` puts it through the contract's laws. What passes
//! is written into the `registry`, where `resolve` finds it. To `activate` is to
//! make a whole set ready off the decision thread; what the core does then is to
//! move one value. To `rollback` is to move it back: nothing is compiled, read or
//! validated. `restore` makes the sets ready again after a restart.
//!
//! `state` has the one rule of what may follow what. Nothing here writes
//! anything down: each change is a [`Plan`] that the caller journals first and
//! applies afterwards. [`Workshop`] does what takes time and may run on any
//! thread; [`Registry`] is a value that belongs to the thread that decides.

mod activate;
mod builtin;
mod compile;
mod conform;
mod record;
mod registry;
mod resolve;
mod restore;
mod rollback;
mod schema;
mod state;
mod upload;
mod workshop;

pub use activate::{ActivateError, MemberRequest, PolicySetRequest, ReadySet, Set};
pub use builtin::BUILTINS;
pub use record::{HookRecord, PolicyRecord};
pub use registry::{POLICIES_MAX, Plan, PlanError, Registry, RestoreError};
pub use resolve::{MemberRef, RefError, ResolveError};
pub use restore::{Restored, Unavailable};
pub use schema::{SchemaError, SettingsProblem, SettingsSchema};
pub use state::{IllegalMove, State, Transition};
pub use upload::{Class, Stage, Upload, UploadError, Uploaded};
pub use workshop::{BlobError, Blobs, LoadError, PREPARED_MAX, Workshop};

/// Longest settings text of one member, bytes: a page of knobs, not a data set.
pub const SETTINGS_BYTES_MAX: usize = 64 << 10;
