//! The preemption kind, with the shapes of `wit/v0.1.0/preemption.wit`.
//!
//! Conventions of this host: `rows` are the open nodes that satisfy selector and
//! taints of every demand, with what is free now (work that is leaving still
//! holds its place). `running` has only work that this step may touch. Domains are sorted by
//! level, then name; level [`LEVEL_CLUSTER`] is everything, and only a constraint
//! at level 0 has a domain of level 0 for each row. A group is listed whole; a
//! member on a node outside the rows has row [`NONE`]. A gang that only
//! needs placing is asked about as [`Action::Consolidate`] with nothing running.

use std::sync::Arc;

use model::PolicyFault;
use model::event::Mode;

use super::{Context, Cost, Description, PodRow, Rows};

/// No owner, group or budget.
pub const NONE: u32 = u32::MAX;

/// Level of the domain that holds every row.
pub const LEVEL_CLUSTER: u32 = 4;

/// [`Running::allowed`]: may be killed.
pub const MAY_KILL: u8 = 1;

/// [`Running::allowed`]: may be moved.
pub const MAY_MOVE: u8 = 2;

/// Steps from the least to the most disruptive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Move work elsewhere.
    Consolidate,
    /// Take back what was lent.
    Reclaim,
    /// Take from lower priority.
    Preempt,
}

impl Action {
    /// In the order they are tried.
    pub const ALL: [Self; 3] = [Self::Consolidate, Self::Reclaim, Self::Preempt];

    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Consolidate => "consolidate",
            Self::Reclaim => "reclaim",
            Self::Preempt => "preempt",
        }
    }
}

/// How binding the topology is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// Anywhere.
    None,
    /// Better inside one domain of the level.
    Preferred,
    /// Only inside one domain of the level.
    Required,
}

/// One role of a gang, or a single pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Name.
    pub role: String,
    /// One pod of it.
    pub pod: PodRow,
    /// Pods wanted.
    pub count: u32,
    /// Pods without which none starts.
    pub min: u32,
}

/// Who needs room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemptor {
    /// Job id, or pod name.
    pub job: String,
    /// Queue, empty for none.
    pub queue: String,
    /// Index into `queues`, [`NONE`] outside queues.
    pub owner: u32,
    /// Time waited, ms.
    pub waited: u64,
    /// Attempts so far.
    pub attempts: u32,
    /// How binding the topology is.
    pub constraint: Constraint,
    /// 0 node, 1 rack, 2 block, 3 zone.
    pub level: u32,
    /// Roles.
    pub demands: Vec<Demand>,
    /// Domain of an earlier nomination.
    pub nominated: Option<u32>,
}

/// Rows that are close to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// 1 rack, 2 block, 3 zone, 4 cluster.
    pub level: u32,
    /// Name.
    pub name: String,
    /// Indices of rows in the request.
    pub rows: Vec<u32>,
}

/// An owner of running work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueShare {
    /// Name.
    pub name: String,
    /// Usage in thousandths of its entitlement.
    pub share: u32,
    /// Its usage is within what it is guaranteed.
    pub guaranteed: bool,
    /// It uses what others lent it.
    pub lent: bool,
}

/// Running work as columns of equal length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    missing_docs,
    reason = "as `running` in preemption.wit, which documents each"
)]
pub struct Running {
    pub id: Vec<u32>,
    pub row: Vec<u32>,
    pub owner: Vec<u32>,
    pub group: Vec<u32>,
    pub priority: Vec<i32>,
    pub cpu: Vec<i32>,
    pub memory: Vec<i32>,
    pub gpu_slots: Vec<u64>,
    pub gpu_milli: Vec<i32>,
    pub started: Vec<u64>,
    pub checkpoint: Vec<u64>,
    pub restart_cost: Vec<u32>,
    pub budget: Vec<u32>,
    pub allowed: Vec<u8>,
    pub grace: Vec<u32>,
}

impl Running {
    /// Number of pods.
    #[must_use]
    pub fn len(&self) -> usize {
        self.id.len()
    }

    /// Whether nothing runs that may be touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    /// Empties it, keeping the memory.
    pub fn clear(&mut self) {
        self.id.clear();
        self.row.clear();
        self.owner.clear();
        self.group.clear();
        self.priority.clear();
        self.cpu.clear();
        self.memory.clear();
        self.gpu_slots.clear();
        self.gpu_milli.clear();
        self.started.clear();
        self.checkpoint.clear();
        self.restart_cost.clear();
        self.budget.clear();
        self.allowed.clear();
        self.grace.clear();
    }
}

/// Disruptions still allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetLeft {
    /// Name.
    pub name: String,
    /// Pods that may still be disrupted now.
    pub allowed: u32,
}

/// One question: who yields?
#[derive(Debug, Clone, Copy)]
pub struct PreemptRequest<'a> {
    /// Logical time, ms.
    pub now: u64,
    /// Declared state of the cluster.
    pub mode: Mode,
    /// For tie-breaking.
    pub seed: u64,
    /// Which step.
    pub action: Action,
    /// Who needs room.
    pub preemptor: &'a Preemptor,
    /// Candidate domains.
    pub domains: &'a [Domain],
    /// Owners.
    pub queues: &'a [QueueShare],
    /// Budgets.
    pub budgets: &'a [BudgetLeft],
    /// Columns the policy asked for.
    pub rows: Rows<'a>,
    /// Work that may be touched.
    pub running: &'a Running,
}

/// Where one pod goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    /// Index of the demand.
    pub role: u32,
    /// Row of the request.
    pub row: u32,
    /// Devices.
    pub slots: Vec<u32>,
}

/// Where running work goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// Id in [`Running`].
    pub id: u32,
    /// Row of the request.
    pub row: u32,
    /// Devices.
    pub slots: Vec<u32>,
}

/// Who leaves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Victim {
    /// Id in [`Running`].
    pub id: u32,
    /// Time it is given, ms; the host caps it at what the pod asks for.
    pub grace: u32,
    /// Why this one.
    pub reason: String,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Index of the domain.
    pub domain: u32,
    /// Who leaves.
    pub victims: Vec<Victim>,
    /// Who moves.
    pub moves: Vec<Move>,
    /// Where the preemptor's pods go.
    pub placements: Vec<Placement>,
    /// For the record, smaller is better.
    pub cost: Vec<i64>,
    /// How long the nomination should hold, ms.
    pub hold: u64,
}

/// Answer of a preemption policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// Do this.
    Plan(Plan),
    /// Nothing helps, and why.
    None(String),
    /// No opinion.
    Abstain,
}

/// A preemption policy.
pub trait PreemptionPolicy: Send {
    /// What it is and which columns it reads.
    fn description(&self) -> &Description;

    /// Takes a new context.
    ///
    /// # Errors
    /// A fault; the built-in then answers.
    fn set_context(&mut self, context: &Arc<Context>) -> Result<(), PolicyFault>;

    /// One plan.
    ///
    /// # Errors
    /// A fault; the built-in then answers.
    fn propose(&mut self, request: &PreemptRequest<'_>) -> Result<(Proposal, Cost), PolicyFault>;
}
