//! The one thread that decides, and everybody else's way to it.
//!
//! A [`DaemonHandle`] puts work into the `lanes`: changes in one, reads in the
//! other, both bounded. The `core` takes what is there, gives each event to the
//! engine, and `outcome` writes event, decisions and changed objects into the `book`,
//! which makes one durable commit of the whole group. Only then are the callers
//! answered, and what happened is shown on the `live` stream: an answer that
//! says accepted means durable. `restore` is the way back from a store.
//! `sets` swaps policies, `recent` remembers the latest decisions, `metrics`
//! counts.

mod book;
mod core;
mod handle;
mod lanes;
pub mod live;
pub mod metrics;
mod outcome;
mod recent;
mod restore;
mod sets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifecycle::{ReadySet, Uploaded};
use model::scaling::ScalingDecision;
use model::{Decision, Event, PolicyKind};

pub use self::core::View;
pub use book::{
    RECORD_ADMISSION, RECORD_DECISION, RECORD_EVENT, RECORD_PLAN, RECORD_SCALING, decision_of,
};
pub use handle::{DaemonHandle, SubmitError};
pub use lanes::{READS_MAX, WRITES_MAX};
pub use live::{Change, LiveEvent, Subscription};
pub use restore::StartError;

use crate::wire::Problem;

/// Real time passes in steps of this: the engine's back-offs and scaling periods
/// are multiples of a second, and an idle host should sleep.
pub const TICK: Duration = Duration::from_millis(250);

/// Milliseconds since the epoch. A function, so that tests and the demo can
/// make time pass.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The clock of this machine.
#[must_use]
pub fn wall_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| d.as_millis() as u64)
    })
}

/// How to start a daemon.
#[derive(Clone)]
pub struct DaemonConfig {
    /// Where state is kept; `None` keeps none.
    pub data_dir: Option<PathBuf>,
    /// How the store is opened.
    pub store: store::OpenOptions,
    /// Settings of the engine.
    pub engine: engine::Config,
    /// Where policies run.
    pub sandbox: sandbox::SandboxConfig,
    /// What time it is.
    pub clock: Clock,
    /// Distance of ticks; `None` for a host whose time only events move.
    pub tick: Option<Duration>,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            data_dir: None,
            store: store::OpenOptions::default(),
            engine: engine::Config::default(),
            sandbox: sandbox::SandboxConfig::default(),
            clock: wall_clock(),
            tick: Some(TICK),
        }
    }
}

/// Something to be done on the core thread and made durable.
pub enum Action {
    /// Inputs of the engine, in order. An error leaves those before it applied.
    Events(Vec<Event>),
    /// A policy that passed.
    Upload(Uploaded),
    /// A set that is ready to decide.
    Activate {
        /// The set.
        ready: Box<ReadySet>,
        /// Why.
        reason: String,
    },
    /// Back to the set before.
    Rollback {
        /// Of this kind.
        kind: PolicyKind,
        /// Only if the hook is at this revision.
        if_revision: Option<u64>,
        /// Why.
        reason: String,
    },
    /// An operator lets a guard go.
    Approve {
        /// Who.
        by: String,
        /// Why it is safe.
        reason: String,
        /// Evictions beyond the guard against too many; `None` ends a hold.
        count: Option<u32>,
    },
    /// What would happen to a job. Changes nothing.
    WhatIf(Box<model::JobSpec>),
}

/// Looks at the state just before the action; an error stops it.
pub type Check = Box<dyn FnOnce(&View<'_>) -> Result<(), Problem> + Send>;

/// Makes the answer from the state just after the action.
pub type Answer = Box<dyn FnOnce(&View<'_>, &Receipt) -> Reply + Send>;

/// A request that may be sent twice and is done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's name for it.
    pub key: String,
    /// Hash of what was asked.
    pub request: String,
}

/// One change, as the core thread takes it.
pub struct Submission {
    /// What to do.
    pub action: Action,
    /// Condition.
    pub check: Option<Check>,
    /// Whether it may come again.
    pub idempotency: Option<Idempotency>,
    /// How to answer.
    pub answer: Answer,
}

impl Submission {
    /// An action without conditions.
    #[must_use]
    pub fn new(
        action: Action,
        answer: impl FnOnce(&View<'_>, &Receipt) -> Reply + Send + 'static,
    ) -> Self {
        Self {
            action,
            check: None,
            idempotency: None,
            answer: Box::new(answer),
        }
    }

    /// Only if `check` says so.
    #[must_use]
    pub fn only_if(
        mut self,
        check: impl FnOnce(&View<'_>) -> Result<(), Problem> + Send + 'static,
    ) -> Self {
        self.check = Some(Box::new(check));
        self
    }
}

/// What came of an action. Once a caller has it, it is durable.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// Decisions about pods, in order.
    pub decisions: Vec<Arc<Decision>>,
    /// Decisions about replicas, in order.
    pub scaling: Vec<ScalingDecision>,
    /// How long the decisions were held up to swap a set, µs.
    pub swap_us: Option<u64>,
    /// The upload was known already.
    pub known: bool,
    /// What would happen, if that was asked.
    pub what_if: Option<Arc<crate::wire::what_if::WhatIf>>,
}

/// An answer, kept for requests with a key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Where the object is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// JSON.
    pub body: String,
    /// Kept from the first time.
    #[serde(skip)]
    pub replayed: bool,
}

impl Reply {
    /// A status and a body.
    #[must_use]
    pub fn json<T: serde::Serialize>(status: u16, body: &T) -> Self {
        let body = serde_json::to_string(body).expect("wire types always serialise");
        Self {
            status,
            location: None,
            etag: None,
            body,
            replayed: false,
        }
    }

    /// Done, with nothing to say.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            location: None,
            etag: None,
            body: String::new(),
            replayed: false,
        }
    }

    /// With the object's revision.
    #[must_use]
    pub fn with_etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = Some(etag.into());
        self
    }

    /// With the object's place.
    #[must_use]
    pub fn at(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }
}

/// Starts and owns the core thread. Use [`Daemon::start`].
#[derive(Debug)]
pub struct Daemon;

impl Daemon {
    /// Recovers the state and starts deciding. Blocks for as long as recovery
    /// takes.
    ///
    /// # Errors
    /// The store or the sandbox cannot be opened. A policy that cannot be had is
    /// no error: the built-in decides then, and says so.
    pub fn start(config: DaemonConfig) -> Result<DaemonHandle, StartError> {
        restore::start(config)
    }
}

#[cfg(test)]
mod tests;
