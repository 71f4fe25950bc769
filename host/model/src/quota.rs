//! Who may use how much: a tree of quota nodes, and the queues that draw on it.
//!
//! The vocabulary is Kueue's (nominal, borrowing and lending limit, weight) with
//! Titus' tiers.

use crate::quantity::Resources;

/// A resource with a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum QuotaResource {
    /// Milli-cores.
    Cpu,
    /// MiB.
    Memory,
    /// MiB.
    Disk,
    /// Mbit/s.
    Network,
    /// Milli-GPU.
    Gpu,
}

impl QuotaResource {
    /// Number of resources.
    pub const COUNT: usize = 5;

    /// Every resource, in order of index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::Network,
        Self::Gpu,
    ];

    /// Name in the contract and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Gpu => "gpu",
        }
    }

    /// The resource with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }
}

/// One amount a resource, in the units of [`QuotaResource`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Amounts(pub [i64; QuotaResource::COUNT]);

impl Amounts {
    /// What one pod counts for.
    #[must_use]
    pub fn of(requests: &Resources, gpu_milli: i64) -> Self {
        Self([
            requests.cpu_milli,
            requests.memory_mib,
            requests.disk_mib,
            requests.network_mbps,
            gpu_milli,
        ])
    }

    /// Amount of one resource.
    #[must_use]
    pub fn get(&self, r: QuotaResource) -> i64 {
        self.0[r as usize]
    }

    /// Adds `times` × `other`.
    pub fn add(&mut self, other: &Self, times: i64) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a += times * b;
        }
    }

    /// Whether every amount is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|v| *v == 0)
    }
}

/// What a guarantee is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Tier {
    /// Launches without waiting: what it does not use is never lent.
    Critical,
    /// What it does not use may be lent, and is reclaimed with notice.
    #[default]
    Flex,
}

impl Tier {
    /// Name in the contract and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Flex => "flex",
        }
    }

    /// The tier with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Critical, Self::Flex]
            .into_iter()
            .find(|t| t.name() == name)
    }
}

/// Quota of one resource at one node. A resource without a line is not limited
/// at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLine {
    /// Which.
    pub resource: QuotaResource,
    /// Guaranteed.
    pub nominal: i64,
    /// Most that may be borrowed from the cohort, `None` for no limit.
    pub borrowing_limit: Option<i64>,
    /// Most that may be lent to the cohort, `None` for no limit.
    pub lending_limit: Option<i64>,
}

/// Weight of 1.0, thousandths.
pub const QUOTA_WEIGHT_ONE: u32 = 1_000;

/// Most quota nodes of one cluster; every cycle carries the tree.
pub const QUOTAS_MAX: usize = 1_024;

/// Deepest tree: every admission walks from leaf to root.
pub const QUOTA_DEPTH_MAX: usize = 8;

/// A capacity group or a cohort of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaSpec {
    /// Unique name.
    pub name: String,
    /// Cohort it belongs to.
    pub parent: Option<String>,
    /// Share of what is lent, thousandths.
    pub weight: u32,
    /// What its guarantee is for.
    pub tier: Tier,
    /// At most one a resource.
    pub lines: Vec<QuotaLine>,
}

/// Most queues of one cluster; a cycle has one head of each.
pub const QUEUES_MAX: usize = 4_096;

/// Where jobs wait for quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Unique name.
    pub name: String,
    /// Quota node that pays.
    pub quota: String,
    /// Nothing of it is admitted while set.
    pub suspended: bool,
}
