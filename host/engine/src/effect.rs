//! What the world has to do because of a decision. The engine only says so;
//! the rim acts, and how it went comes back as an event.

use std::sync::Arc;

use model::decision::FaultNote;
use model::plan::{AdmissionRecord, EvictCause, PlanRecord};
use model::policy::{PolicyId, PolicyKind};

/// Why a running pod went back into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequeueCause {
    /// Its node was removed.
    NodeRemoved,
    /// It was evicted, for this cause.
    Evicted(EvictCause),
    /// The plan that promised it a place was given up.
    PlanDissolved,
}

impl RequeueCause {
    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NodeRemoved => "NodeRemoved",
            Self::Evicted(cause) => cause.code(),
            Self::PlanDissolved => "PlanDissolved",
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start the pod there, on exactly these device slots.
    Bind {
        /// Pod.
        pod: Arc<str>,
        /// Node.
        node: Arc<str>,
        /// Slots, ascending.
        devices: Vec<u8>,
    },
    /// The pod waits again.
    Requeue {
        /// Pod.
        pod: Arc<str>,
        /// Why.
        cause: RequeueCause,
    },
    /// Ask the pod to leave: it has `grace_ms` to write a checkpoint and stop;
    /// then it is stopped. Its end comes back as `PodEvicted`.
    Evict {
        /// Pod.
        pod: Arc<str>,
        /// Node it runs on.
        node: Arc<str>,
        /// Time it has, ms.
        grace_ms: u32,
        /// Why.
        cause: EvictCause,
        /// Plan it leaves for, 0 for none.
        plan: u64,
    },
    /// A guard stopped disruptions until an operator approves or the window
    /// has passed.
    GuardTripped {
        /// In words, with the numbers.
        why: String,
    },
    /// A job's gang could not start in time and was given up.
    GangTimedOut {
        /// Job.
        job: Arc<str>,
    },
    /// A policy that gates entry has failed closed for this long.
    AdmissionStuck {
        /// Which policy.
        policy: PolicyId,
        /// Since, ms.
        since_ms: u64,
        /// Objects refused because of it.
        refused: u64,
    },
    /// Its owner deleted it: stop the pod.
    Stop {
        /// Pod.
        pod: Arc<str>,
        /// Node it ran on.
        node: Arc<str>,
    },
    /// A breaker took an active policy set out.
    SetReverted {
        /// Which kind of set.
        kind: PolicyKind,
        /// Who tripped it.
        policy: PolicyId,
        /// Revision taken out.
        from: u64,
        /// Revision that decides now; 0 is the built-in.
        to: u64,
        /// Fault that tripped it.
        fault: String,
    },
    /// A workload should have this many replicas.
    Scale {
        /// Workload.
        workload: Arc<str>,
        /// Replicas before.
        from: u32,
        /// Replicas wanted.
        to: u32,
    },
}

/// Part of the state that an event changed, to be written down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Counters, mode, and what was learned.
    Core,
    /// A node.
    Node(Arc<str>),
    /// A pod.
    Pod(Arc<str>),
    /// A job.
    Job(Arc<str>),
    /// A scaled workload with its policy memory.
    Scaling(Arc<str>),
    /// A calendar entry.
    Calendar(Arc<str>),
    /// A quota node.
    Quota(Arc<str>),
    /// A queue.
    Queue(Arc<str>),
    /// A disruption budget with its tokens.
    Budget(Arc<str>),
    /// A catalogue entry: which catalogue, which name.
    Catalog(&'static str, Arc<str>),
    /// A plan whose victims are leaving.
    Plan(u64),
}

/// Everything that came out of a step. Cleared and used again by the caller.
#[derive(Debug, Default)]
pub struct Output {
    /// Decisions in order.
    pub decisions: Vec<model::Decision>,
    /// Scaling decisions in order.
    pub scaling: Vec<model::scaling::ScalingDecision>,
    /// Admission decisions in order.
    pub admissions: Vec<AdmissionRecord>,
    /// Plans made, done or given up, in order.
    pub plans: Vec<PlanRecord>,
    /// Faults outside placement decisions, which carry their own.
    pub faults: Vec<(PolicyKind, FaultNote)>,
    /// What to do, in order.
    pub effects: Vec<Effect>,
    /// What to write down; may repeat.
    pub changed: Vec<Key>,
}

impl Output {
    /// Empties it, keeping the memory.
    pub fn clear(&mut self) {
        self.decisions.clear();
        self.scaling.clear();
        self.admissions.clear();
        self.plans.clear();
        self.faults.clear();
        self.effects.clear();
        self.changed.clear();
    }
}
