//! What was decided about a group of pods at once: who enters, who yields.

use std::sync::Arc;

use crate::admission::{Finding, Patch};
use crate::decision::FaultNote;
use crate::policy::PolicyId;
use crate::quota::QuotaResource;

/// Why a running pod is asked to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EvictCause {
    /// Higher priority needs its place.
    Preempted,
    /// It ran on quota that was lent.
    Reclaimed,
    /// It runs elsewhere from then on.
    Moved,
    /// An operator asked.
    Operator,
    /// Its gang lost a member and cannot go on.
    GangBroken,
    /// It ran as long as it may.
    RuntimeLimit,
}

impl EvictCause {
    /// Every cause.
    pub const ALL: [Self; 6] = [
        Self::Preempted,
        Self::Reclaimed,
        Self::Moved,
        Self::Operator,
        Self::GangBroken,
        Self::RuntimeLimit,
    ];

    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Preempted => "Preempted",
            Self::Reclaimed => "Reclaimed",
            Self::Moved => "Moved",
            Self::Operator => "Operator",
            Self::GangBroken => "GangBroken",
            Self::RuntimeLimit => "RuntimeLimit",
        }
    }

    /// The cause with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.code() == code)
    }
}

/// A pod that leaves for the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanVictim {
    /// Pod.
    pub pod: Arc<str>,
    /// Node it leaves.
    pub node: Arc<str>,
    /// Its priority.
    pub priority: i32,
    /// Time it is given, ms.
    pub grace_ms: u32,
    /// Why this one, in the policy's words.
    pub reason: String,
    /// GPU-milliseconds of work that are lost if it does not write a checkpoint
    /// before it leaves.
    pub lost_gpu_ms: u64,
}

/// A pod that the plan puts on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanPlace {
    /// Pod.
    pub pod: Arc<str>,
    /// Node it leaves, for a move.
    pub from: Option<Arc<str>>,
    /// Node it goes to.
    pub node: Arc<str>,
    /// Device slots, ascending.
    pub devices: Vec<u8>,
}

/// How far a plan is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanStatus {
    /// What would happen; nothing was done.
    Proposed,
    /// Its places are reserved; victims are leaving.
    Leaving,
    /// Everybody is where the plan wanted.
    Done,
    /// Given up, and why; reservations are gone.
    Dissolved(String),
}

/// Who yields so that a pod or a gang fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRecord {
    /// Grows by one a plan; 0 for one that was only proposed.
    pub id: u64,
    /// Logical time, ms.
    pub time_ms: u64,
    /// Pod name, or job id of a gang.
    pub preemptor: Arc<str>,
    /// Whether `preemptor` is a job.
    pub gang: bool,
    /// `consolidate`, `reclaim` or `preempt`.
    pub action: &'static str,
    /// Whose plan it is.
    pub policy: PolicyId,
    /// Topology domain taken, e.g. `rack r3`; `cluster` without constraint.
    pub domain: String,
    /// Who leaves.
    pub victims: Vec<PlanVictim>,
    /// Who moves.
    pub moves: Vec<PlanPlace>,
    /// Where the preemptor's pods go.
    pub placements: Vec<PlanPlace>,
    /// The policy's cost vector, smaller is better.
    pub cost: Vec<i64>,
    /// The nomination ends then, ms, if somebody still has not left.
    pub until_ms: u64,
    /// How far it is.
    pub status: PlanStatus,
}

/// What is missing at which quota node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaShortage {
    /// Quota node.
    pub quota: Arc<str>,
    /// Resource.
    pub resource: QuotaResource,
    /// By how much, in its unit.
    pub by: i64,
}

/// What became of an object at the door or at the head of its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmissionOutcome {
    /// It entered; with a queue it waits for quota now.
    Accepted,
    /// It stays out.
    Denied(Vec<Finding>),
    /// Its quota pays for this many pods from now on.
    Admitted(u32),
    /// Its quota does not suffice.
    Waiting(Vec<QuotaShortage>),
    /// Others use its guarantee and will be asked to give it back.
    Reclaiming(Vec<QuotaShortage>),
    /// It can never be paid for.
    Rejected(Finding),
}

/// One decision about admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionRecord {
    /// Logical time, ms.
    pub time_ms: u64,
    /// Job id.
    pub job: Arc<str>,
    /// Queue, empty for none.
    pub queue: Arc<str>,
    /// Revision of the admission set.
    pub set_revision: u64,
    /// What became of it.
    pub outcome: AdmissionOutcome,
    /// Changes made to it, in order.
    pub patches: Vec<Patch>,
    /// Remarks that stopped nothing.
    pub warnings: Vec<Finding>,
    /// Faults answered by the fail mode or the built-in.
    pub faults: Vec<FaultNote>,
    /// Fuel burnt by guests.
    pub fuel: u64,
}
