//! Why something is not running, in two closed vocabularies.

/// Why a pod or a job waits. Order is precedence: the first that applies is
/// shown. The same text appears in CLI, API, metrics and pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The object contradicts itself.
    Misconfigured,
    /// An admission policy said no.
    DeniedByPolicy,
    /// No node could ever run it, even an empty one.
    Infeasible,
    /// Larger than its quota can ever be.
    ExceedsQuota,
    /// Its queue is stopped.
    QueueSuspended,
    /// Other members of its gang are missing.
    WaitingForGang,
    /// Its quota is used up.
    WaitingForQuota,
    /// Nodes that could run it are full.
    WaitingForCapacity,
    /// Enough is free, but not together.
    FragmentedTopology,
    /// Victims are leaving.
    WaitingForPreemption,
    /// Nodes or replicas are on their way.
    WaitingForScaleUp,
    /// Tried a moment ago; will be tried again.
    BackingOff,
    /// Not looked at yet.
    PendingEvaluation,
    /// A policy failed and the host could not answer for it.
    HostDegraded,
}

impl Reason {
    /// Every reason, highest precedence first.
    pub const ALL: [Self; 14] = [
        Self::Misconfigured,
        Self::DeniedByPolicy,
        Self::Infeasible,
        Self::ExceedsQuota,
        Self::QueueSuspended,
        Self::WaitingForGang,
        Self::WaitingForQuota,
        Self::WaitingForCapacity,
        Self::FragmentedTopology,
        Self::WaitingForPreemption,
        Self::WaitingForScaleUp,
        Self::BackingOff,
        Self::PendingEvaluation,
        Self::HostDegraded,
    ];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Misconfigured => "Misconfigured",
            Self::DeniedByPolicy => "DeniedByPolicy",
            Self::Infeasible => "Infeasible",
            Self::ExceedsQuota => "ExceedsQuota",
            Self::QueueSuspended => "QueueSuspended",
            Self::WaitingForGang => "WaitingForGang",
            Self::WaitingForQuota => "WaitingForQuota",
            Self::WaitingForCapacity => "WaitingForCapacity",
            Self::FragmentedTopology => "FragmentedTopology",
            Self::WaitingForPreemption => "WaitingForPreemption",
            Self::WaitingForScaleUp => "WaitingForScaleUp",
            Self::BackingOff => "BackingOff",
            Self::PendingEvaluation => "PendingEvaluation",
            Self::HostDegraded => "HostDegraded",
        }
    }

    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.code() == code)
    }
}

/// Why one node cannot run one pod: the first check that failed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rejection {
    /// Nothing failed.
    Fits = 0,
    /// Cordoned, or marked failed.
    Cordoned,
    /// A label it must have is missing.
    Selector,
    /// A taint it does not tolerate.
    Taint,
    /// Another GPU model than asked for, or no GPU at all.
    GpuModel,
    /// Too few devices on the node, whatever runs there, or too small ones.
    GpuShape,
    /// The node is too small even when empty.
    TooSmall,
    /// Devices are there but unhealthy.
    GpuHealth,
    /// Not enough CPU left.
    Cpu,
    /// Not enough memory left.
    Memory,
    /// Not enough disk left.
    Disk,
    /// Not enough network bandwidth left.
    Network,
    /// Not enough devices (or share of one) left.
    Gpu,
    /// Enough GPU share is left in total, but not on enough devices.
    GpuFragmented,
    /// A policy refused the node.
    Policy,
}

impl Rejection {
    /// Number of variants, for counting.
    pub const COUNT: usize = 15;

    /// Every variant in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Fits,
        Self::Cordoned,
        Self::Selector,
        Self::Taint,
        Self::GpuModel,
        Self::GpuShape,
        Self::TooSmall,
        Self::GpuHealth,
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::Network,
        Self::Gpu,
        Self::GpuFragmented,
        Self::Policy,
    ];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Fits => "Fits",
            Self::Cordoned => "Cordoned",
            Self::Selector => "Selector",
            Self::Taint => "Taint",
            Self::GpuModel => "GpuModel",
            Self::GpuShape => "GpuShape",
            Self::TooSmall => "TooSmall",
            Self::GpuHealth => "GpuHealth",
            Self::Cpu => "Cpu",
            Self::Memory => "Memory",
            Self::Disk => "Disk",
            Self::Network => "Network",
            Self::Gpu => "Gpu",
            Self::GpuFragmented => "GpuFragmented",
            Self::Policy => "Policy",
        }
    }

    /// The sentence a person reads.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Fits => "can run it",
            Self::Cordoned => "cordoned or failed",
            Self::Selector => "a required label is missing",
            Self::Taint => "has a taint the pod does not tolerate",
            Self::GpuModel => "has no GPU of an accepted model",
            Self::GpuShape => "has too few or too small GPUs",
            Self::TooSmall => "too small even when empty",
            Self::GpuHealth => "too few healthy GPUs",
            Self::Cpu => "not enough CPU free",
            Self::Memory => "not enough memory free",
            Self::Disk => "not enough disk free",
            Self::Network => "not enough network bandwidth free",
            Self::Gpu => "not enough GPU free",
            Self::GpuFragmented => "enough GPU share free, but not on enough devices",
            Self::Policy => "refused by a policy",
        }
    }

    /// Whether no finished pod, only another node or pod spec, can help.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::Selector | Self::Taint | Self::GpuModel | Self::GpuShape | Self::TooSmall
        )
    }
}
