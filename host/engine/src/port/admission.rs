//! The admission kind, with the shapes of `wit/v0.1.0/admission.wit`.

use model::event::Mode;
use model::{JobKind, PolicyFault};

use super::{Cost, Description};

/// What happens to the object under review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It replaces `old`.
    Update,
    /// It is to go.
    Delete,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// Name, empty when unknown.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// What catalogues say, as of the host's snapshot. `None`: unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Owner of the application.
    pub owner: Option<String>,
    /// Tier of the application.
    pub tier: Option<String>,
    /// Compliance regimes it is under.
    pub compliance: Vec<String>,
    /// Who signed the image.
    pub image_signed_by: Vec<String>,
    /// Age of the image, hours.
    pub image_age: Option<u32>,
    /// Age of the image it was built on, hours.
    pub base_image_age: Option<u32>,
    /// Pods of this application running now.
    pub running: u32,
}

/// `count` identical pods of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    /// Name, unique in the job.
    pub name: String,
    /// Pods wanted.
    pub count: u32,
    /// Pods without which none starts.
    pub min: u32,
    /// Milli-cores of one pod.
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    /// MiB.
    pub disk: i64,
    /// Mbit/s.
    pub network: i64,
    /// Devices.
    pub gpu_count: u32,
    /// Share of each.
    pub gpu_milli: u32,
    /// MiB on each, 0 for any.
    pub gpu_memory: i64,
    /// Acceptable models, empty for any.
    pub gpu_models: Vec<String>,
}

/// The object under review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Id.
    pub id: String,
    /// Tenant.
    pub namespace: String,
    /// Queue, empty for none.
    pub queue: String,
    /// How it ends.
    pub kind: JobKind,
    /// Application.
    pub app: String,
    /// Priority.
    pub priority: i32,
    /// Tier by name.
    pub tier: String,
    /// Image reference, empty when unknown.
    pub image: String,
    /// Runs as root.
    pub run_as_root: bool,
    /// Runs privileged.
    pub privileged: bool,
    /// Seccomp profile.
    pub seccomp: Option<String>,
    /// ms; `None` for no limit.
    pub runtime_limit: Option<u64>,
    /// ms since the epoch; `None` for no deadline.
    pub deadline: Option<u64>,
    /// Sorted by key.
    pub labels: Vec<(String, String)>,
    /// In order.
    pub roles: Vec<Role>,
}

/// One object at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Logical time, ms.
    pub now: u64,
    /// Declared state of the cluster.
    pub mode: Mode,
    /// What happens to it.
    pub operation: Operation,
    /// Who asks.
    pub caller: Caller,
    /// The object.
    pub object: JobView,
    /// What it replaces.
    pub old: Option<JobView>,
    /// What catalogues say.
    pub facts: Facts,
}

pub use model::admission::{Change, Finding, Patch};

/// Whether it may enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No, for these reasons (at least one).
    Deny(Vec<Finding>),
    /// No opinion.
    Abstain,
}

/// Answer of `validate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// Yes or no.
    pub verdict: Verdict,
    /// Remarks that stop nothing.
    pub warnings: Vec<Finding>,
}

/// One resource of one quota node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaLineRow {
    /// `cpu` in milli-cores, `memory`, `disk` in MiB, `network` in Mbit/s,
    /// `gpu` in milli-GPU.
    pub resource: &'static str,
    /// Guaranteed.
    pub nominal: i64,
    /// Used by the whole subtree.
    pub used: i64,
    /// Most that may be borrowed, `None` for no limit.
    pub borrowing_limit: Option<i64>,
    /// Most that may be lent, `None` for no limit.
    pub lending_limit: Option<i64>,
}

/// A node of the quota tree; parents come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaRow {
    /// Name.
    pub name: String,
    /// Index of the parent.
    pub parent: Option<u32>,
    /// Thousandths.
    pub weight: u32,
    /// `critical` or `flex`.
    pub tier: &'static str,
    /// Resources with a quota.
    pub lines: Vec<QuotaLineRow>,
}

/// An amount of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaDemand {
    /// As in [`QuotaLineRow`].
    pub resource: &'static str,
    /// Its unit there.
    pub amount: i64,
}

/// What waits at the head of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Job id.
    pub job: String,
    /// Queue.
    pub queue: String,
    /// Index of the quota node that pays.
    pub node: u32,
    /// Priority.
    pub priority: i32,
    /// Time of submission, ms.
    pub created: u64,
    /// Time waited, ms.
    pub waited: u64,
    /// Attempts so far.
    pub attempts: u32,
    /// ms since the epoch.
    pub deadline: Option<u64>,
    /// Expected remaining run time, ms.
    pub expected_runtime: Option<u64>,
    /// GPU-milliseconds served so far.
    pub attained: u64,
    /// With every pod.
    pub demand: Vec<QuotaDemand>,
    /// With the minimum of every role.
    pub min_demand: Vec<QuotaDemand>,
}

/// All queue heads and the tree that pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// Logical time, ms.
    pub now: u64,
    /// Declared state of the cluster.
    pub mode: Mode,
    /// Parents first.
    pub nodes: Vec<QuotaRow>,
    /// One a queue.
    pub heads: Vec<Head>,
}

/// Compared element by element, smaller first. Empty: no opinion.
pub type SortKey = Vec<i64>;

/// What is missing where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Index of the quota node.
    pub node: u32,
    /// Resource name; one that does not exist is a bad answer.
    pub resource: String,
    /// By how much.
    pub by: i64,
}

/// What becomes of one head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// In, with all pods.
    Admit,
    /// In, with this many pods a role.
    AdmitPartial(Vec<u32>),
    /// Not now.
    Wait(Vec<Shortage>),
    /// Would fit if others gave back what they borrowed.
    Reclaim(Vec<Shortage>),
    /// Never.
    Reject(Finding),
    /// No opinion.
    Abstain,
}

/// Most heads of one call: longer cycles are asked in several.
pub const HEADS_PER_CYCLE: usize = 4_096;

/// An admission policy. `validate` and `mutate` are pure functions of the review.
pub trait AdmissionPolicy: Send {
    /// What it is.
    fn description(&self) -> &Description;

    /// May it enter?
    ///
    /// # Errors
    /// A fault; the fail mode of the binding then decides.
    fn validate(&mut self, review: &Review) -> Result<(Validation, Cost), PolicyFault>;

    /// With which changes?
    ///
    /// # Errors
    /// A fault; the fail mode of the binding then decides.
    fn mutate(&mut self, review: &Review) -> Result<(Vec<Patch>, Cost), PolicyFault>;

    /// One key a head, in the order of the heads.
    ///
    /// # Errors
    /// A fault; the built-in order is then taken.
    fn order(&mut self, cycle: &Cycle) -> Result<(Vec<SortKey>, Cost), PolicyFault>;

    /// One ruling a head; the heads come in the order decided before.
    ///
    /// # Errors
    /// A fault; the built-in rulings are then taken.
    fn admit(&mut self, cycle: &Cycle) -> Result<(Vec<Ruling>, Cost), PolicyFault>;
}
