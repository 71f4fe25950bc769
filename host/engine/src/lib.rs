//! One decision, from pending pod to effect.
//!
//! [`Engine::step`] takes an event and says what follows. `queue` picks the
//! pod; `filter` says which nodes could run it; `score` asks the policies of
//! the `set` about the rows that changed and `cache` remembers the rest;
//! `place` chooses devices; `decide` binds and writes the decision down.
//! `why` explains what waits. `scaling` is the same story for replicas.
//!
//! Nothing here reads a clock, a file, a random source, a thread or the order
//! of a hash map: the same events under the same policies give the same
//! decisions on any machine.

mod admission;
mod budget;
mod cache;
mod class;
mod decide;
mod engine; // the state and its events, in reading order from here
mod evict;
mod filter;
mod gang;
mod jobs;
mod lower;
mod place;
mod preempt;
mod queue;
mod quota;
mod score;
mod whatif;
mod why;

pub mod breaker;
pub mod builtin;
mod chain;
mod context;
mod effect;
mod error;
mod names;
mod nodes;
mod peers;
mod pods;
pub mod port;
mod question;
pub mod scaling;
mod set;
pub mod state;
pub mod view;

pub use admission::{ALARM_AFTER_MS, ALARM_EVERY_MS, QueueView, QuotaView, QuotaWait, WaitingJob};
pub use budget::{GUARD_FLOOR, GUARD_PERCENT, GUARD_WINDOW_MS, SYSTEM_BUCKET};
pub use cache::CACHE_BYTES_MAX;
pub use chain::{AdmissionSet, Chain, ChainError, ChainMember, PreemptionSet};
pub use context::SHAPES_MAX;
pub use effect::{Effect, Key, Output, RequeueCause};
pub use engine::{Config, Engine};
pub use error::EventError;
pub use gang::GANG_FAILURES_MAX;
pub use gang::view::{BudgetView, GangState, GangView, GuardView, RoleView};
pub use nodes::GPU_MODELS_MAX;
pub use pods::FINISHED_JOBS_MAX;
pub use preempt::{
    FINISHED_PLANS_MAX, PodOutcome, RETRY_FIRST_MS, RETRY_MAX_MS, ROWS_PER_PLAN, WhatIfAnswer,
};
pub use question::Question;
pub use queue::{BACKOFF_FIRST_MS, BACKOFF_MAX_MS, REFUSED_MS};
pub use score::{DECISION_FUEL_MAX, ROWS_PER_CALL};
pub use set::{ActiveMember, REFUSE, SCORE_MAX, ScoringSet, SetError};
pub use why::{Fix, NodeLine, Why, WhyState};
