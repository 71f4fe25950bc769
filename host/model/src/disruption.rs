//! What may be taken away from whom, and how fast.

/// What a job puts up with. The default is Kubernetes': lower priority yields,
/// nothing is moved without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// May be stopped for the sake of others and started again.
    pub preemptible: bool,
    /// May be stopped here and started elsewhere to make room.
    pub movable: bool,
    /// Time it asks for before it is stopped, ms.
    pub grace_ms: u32,
    /// What a restart costs, in GPU-seconds.
    pub restart_cost: u32,
    /// May ask others to yield.
    pub preempts: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            preemptible: true,
            movable: false,
            grace_ms: 0,
            restart_cost: 0,
            preempts: true,
        }
    }
}

/// Longest grace, ms: a victim holds up whoever waits for its place.
pub const GRACE_MAX_MS: u32 = 600_000;

/// Tokens that disruptions are paid with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSpec {
    /// Most tokens, and the number at the start.
    pub capacity: u32,
    /// One more token every so many ms; 0 never refills.
    pub refill_ms: u64,
}

/// Limits the disruptions of one application's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetSpec {
    /// Unique name.
    pub name: String,
    /// Application whose pods it protects; a pod counts for the first budget by
    /// name that names its application.
    pub app: String,
    /// Pods that must keep running.
    pub min_available: u32,
    /// Disruptions over time, `None` for no limit.
    pub bucket: Option<BucketSpec>,
}

/// Most budgets of one cluster.
pub const BUDGETS_MAX: usize = 4_096;
