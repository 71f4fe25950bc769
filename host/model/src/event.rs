//! Everything that can happen to the engine. Time comes with the event.

use crate::admission::CatalogEntry;
use crate::disruption::BudgetSpec;
use crate::job::JobSpec;
use crate::node::NodeSpec;
use crate::pod::PodSpec;
use crate::quota::{QueueSpec, QuotaSpec};
use crate::scaling::{CalendarEvent, ScalingSpec};

/// State of the whole cluster, as an operator declared it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Business as usual.
    #[default]
    Normal,
    /// Another region's work is arriving: pack.
    Evacuation,
    /// Something is broken: change little.
    Incident,
    /// Planned work.
    Maintenance,
}

/// Why a pod stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Exit code 0.
    Succeeded,
    /// Any other end of its own.
    Failed,
    /// Deleted by its owner.
    Deleted,
    /// Stopped because its job ran longer than it may.
    TimedOut,
}

/// A class of workload, for policies that look at what usually arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeClass {
    /// Milli-cores.
    pub cpu_milli: i64,
    /// MiB.
    pub memory_mib: i64,
    /// Devices.
    pub gpu_count: u32,
    /// Share of each.
    pub gpu_milli: u32,
    /// Acceptable models.
    pub gpu_models: Vec<String>,
    /// Pods counted.
    pub count: u64,
}

/// An input of the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A node appeared or its description changed.
    NodePut(Box<NodeSpec>),
    /// A node is gone; its pods are lost and requeued.
    NodeRemove {
        /// Name.
        name: String,
    },
    /// A node stopped working (`true`) or works again. Its pods are kept until
    /// the node is removed.
    NodeFailed {
        /// Name.
        name: String,
        /// Whether it failed.
        failed: bool,
    },
    /// Pods arrived, in order.
    PodsSubmit(Vec<PodSpec>),
    /// A job arrived.
    JobSubmit(Box<JobSpec>),
    /// A service should have this many pods.
    JobScale {
        /// Job id.
        id: String,
        /// Pods wanted.
        replicas: u32,
    },
    /// A job is to go, with its pods.
    JobDelete {
        /// Job id.
        id: String,
    },
    /// A pod ended.
    PodFinished {
        /// Pod name.
        name: String,
        /// How.
        how: Finish,
    },
    /// A pod that was asked to leave has stopped. It waits again, or starts at
    /// the place it was moved to.
    PodEvicted {
        /// Pod name.
        name: String,
    },
    /// A running pod has written a checkpoint: what it did until now survives
    /// an eviction.
    PodCheckpointed {
        /// Pod name.
        name: String,
    },
    /// An operator asks a pod to leave; within budgets and guards like any other
    /// eviction.
    PodEvict {
        /// Pod name.
        name: String,
    },
    /// A capacity group or cohort was added or changed.
    QuotaPut(QuotaSpec),
    /// A quota node is to go; refused while queues or children use it.
    QuotaRemove {
        /// Name.
        name: String,
    },
    /// A queue was added or changed.
    QueuePut(QueueSpec),
    /// A queue is to go; refused while jobs wait in it or draw on it.
    QueueRemove {
        /// Name.
        name: String,
    },
    /// A disruption budget was added or changed.
    BudgetPut(BudgetSpec),
    /// A disruption budget is to go.
    BudgetRemove {
        /// Name.
        name: String,
    },
    /// A catalogue entry was added or replaced.
    CatalogPut(CatalogEntry),
    /// A catalogue entry is to go.
    CatalogRemove {
        /// `app` or `image`.
        catalog: String,
        /// Name in it.
        name: String,
    },
    /// An operator allows this many more evictions than the guard would.
    ApproveEvictions {
        /// Pods.
        count: u32,
    },
    /// The operator declared a mode.
    SetMode(Mode),
    /// What usually arrives, given by people; replaces what the engine learns.
    /// Empty: learn again.
    WorkloadProfile(Vec<ShapeClass>),
    /// A workload is to be scaled.
    ScalingPut(ScalingSpec),
    /// No longer.
    ScalingRemove {
        /// Workload.
        workload: String,
    },
    /// Load of a workload, at the event's time.
    MetricSample {
        /// Workload.
        workload: String,
        /// Load; not finite means unknown.
        value: f64,
    },
    /// A calendar entry was added or replaced.
    CalendarPut(CalendarEvent),
    /// A calendar entry was removed.
    CalendarRemove {
        /// Name.
        name: String,
    },
    /// Time passed: back-offs end, scaling is looked at.
    Tick,
}
