//! Quotas, queues, budgets, gangs and the guard as they are now.

use engine as e;
use model::quota::{Amounts as ModelAmounts, QuotaResource};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::{JobKind, Topology};
use super::plan::{Finding, Shortage};
use super::pod::is_default;
use super::quantity::{Cpu, Gpus, Memory, Rate, Span};
use super::quota::{Budget, Queue, Quota};
use super::time::Time;

/// Amounts of quota resources as people write them; zeros are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Amounts {
    /// CPU.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu: Cpu,
    /// Memory.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Memory,
    /// Local disk.
    #[serde(skip_serializing_if = "is_default")]
    pub disk: Memory,
    /// Network.
    #[serde(skip_serializing_if = "is_default")]
    pub network: Rate,
    /// GPUs.
    #[serde(skip_serializing_if = "is_default")]
    pub gpu: Gpus,
}

impl From<&ModelAmounts> for Amounts {
    fn from(a: &ModelAmounts) -> Self {
        // What is borrowed, used or free is never less than nothing.
        let of = |r| a.get(r).max(0);
        Self {
            cpu: Cpu(of(QuotaResource::Cpu)),
            memory: Memory(of(QuotaResource::Memory)),
            disk: Memory(of(QuotaResource::Disk)),
            network: Rate(of(QuotaResource::Network)),
            gpu: Gpus(of(QuotaResource::Gpu)),
        }
    }
}

impl Amounts {
    /// `gpu 8, cpu 500m`; empty for nothing.
    #[must_use]
    pub fn text(&self) -> String {
        let parts = [
            ("gpu", self.gpu.0, self.gpu.to_string()),
            ("cpu", self.cpu.0, self.cpu.to_string()),
            ("memory", self.memory.0, self.memory.to_string()),
            ("disk", self.disk.0, self.disk.to_string()),
            ("network", self.network.0, self.network.to_string()),
        ];
        let shown = parts.iter().filter(|(_, value, _)| *value != 0);
        let shown = shown.map(|(name, _, text)| format!("{name} {text}"));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// One resource of a quota node as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// `cpu`, `memory`, `disk`, `network` or `gpu`.
    pub resource: String,
    /// Used by it and everything below.
    pub used: String,
    /// Guaranteed; left out where it has no quota of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal: Option<String>,
    /// Used beyond its own quota.
    pub borrowed: String,
    /// What more it can use now; left out where nothing limits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<String>,
}

/// A quota node as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QuotaView {
    /// Name.
    pub name: String,
    /// As described.
    pub spec: Quota,
    /// Revision of `spec`, for If-Match.
    pub etag: String,
    /// Resources with a quota here, and others that are used.
    pub usage: Vec<Usage>,
    /// Usage as a share of its own quota, of its dominant resource; more than 1
    /// is borrowed.
    pub share: f64,
    /// Queues that draw on it directly.
    pub queues: Vec<String>,
    /// Levels above it.
    pub depth: u32,
}

impl QuotaView {
    /// From the engine's view.
    #[must_use]
    pub fn new(v: &e::QuotaView, etag: impl Fn(&Quota) -> String, depth: u32) -> Self {
        let spec = Quota::from(&v.spec);
        let text = |r, value| super::quota::amount(r, value);
        let usage = QuotaResource::ALL.into_iter().filter_map(|r| {
            let line = v.spec.lines.iter().find(|l| l.resource == r);
            if line.is_none() && v.used.get(r) == 0 {
                return None;
            }
            Some(Usage {
                resource: r.name().to_owned(),
                used: text(r, v.used.get(r)),
                nominal: line.map(|l| text(r, l.nominal)),
                borrowed: text(r, v.borrowed.get(r).max(0)),
                available: v.available[r as usize].map(|a| text(r, a)),
            })
        });
        Self {
            name: spec.name.clone(),
            etag: etag(&spec),
            usage: usage.collect(),
            share: f64::from(v.share) / 1000.0,
            queues: v.queues.clone(),
            depth,
            spec,
        }
    }
}

/// A job that waits for quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingJob {
    /// Job.
    pub job: String,
    /// Its pods that wait; others may have entered already.
    pub pods: u32,
    /// Its priority.
    pub priority: i32,
    /// Arrived.
    pub since: Time,
    /// Reason code.
    pub reason: String,
    /// What is missing where, as of the latest look.
    pub shortages: Vec<Shortage>,
    /// Others use what is its own, and will be asked to give it back.
    pub reclaiming: bool,
    /// Why it can never enter, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
}

impl From<&e::WaitingJob> for WaitingJob {
    fn from(j: &e::WaitingJob) -> Self {
        Self {
            job: j.id.to_string(),
            pods: j.pods,
            priority: j.priority,
            since: Time(j.since_ms),
            reason: j.reason.code().to_owned(),
            shortages: j.shortages.iter().map(Into::into).collect(),
            reclaiming: j.reclaiming,
            finding: j.finding.as_ref().map(Into::into),
        }
    }
}

/// A queue as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// Name.
    pub name: String,
    /// As described.
    pub spec: Queue,
    /// Revision of `spec`, for If-Match.
    pub etag: String,
    /// Pods its quota pays for.
    pub admitted: u32,
    /// What they take.
    pub used: Amounts,
    /// Jobs that wait.
    pub waiting_jobs: u32,
    /// Who waits, in order; in lists the first few.
    pub waiting: Vec<WaitingJob>,
}

impl QueueView {
    /// From the engine's view, with the first `most` that wait.
    #[must_use]
    pub fn new(v: &e::QueueView, etag: impl Fn(&Queue) -> String, most: usize) -> Self {
        let spec = Queue::from(&v.spec);
        Self {
            name: spec.name.clone(),
            etag: etag(&spec),
            admitted: v.admitted,
            used: (&v.used).into(),
            waiting_jobs: v.waiting.len() as u32,
            waiting: v.waiting.iter().take(most).map(Into::into).collect(),
            spec,
        }
    }
}

/// A disruption budget as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetView {
    /// Name.
    pub name: String,
    /// As described.
    pub spec: Budget,
    /// Revision of `spec`, for If-Match.
    pub etag: String,
    /// Pods of the application that run and were not asked to leave.
    pub available: u32,
    /// Tokens left; left out without a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// Pods that may be disrupted now.
    pub allowed: u32,
}

impl BudgetView {
    /// From the engine's view.
    #[must_use]
    pub fn new(v: &e::BudgetView<'_>, etag: impl Fn(&Budget) -> String) -> Self {
        let spec = Budget::from(v.spec);
        Self {
            name: spec.name.clone(),
            etag: etag(&spec),
            available: v.available,
            tokens: v.tokens,
            allowed: v.allowed,
            spec,
        }
    }
}

/// One role of a gang as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoleView {
    /// Name.
    pub name: String,
    /// Pods wanted.
    pub count: u32,
    /// Pods without which none starts.
    pub min: u32,
    /// Pods on nodes, also those that are leaving.
    pub running: u32,
    /// Pods that wait, for quota, for the gang, or for a promised place.
    pub waiting: u32,
    /// Pods that ended well.
    pub succeeded: u32,
}

/// Where a gang is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "phase", rename_all = "lowercase", deny_unknown_fields)]
pub enum GangState {
    /// No member runs.
    Waiting {
        /// Reason code.
        reason: String,
        /// In words, from the latest attempt: how many fit, and where.
        why: String,
    },
    /// Enough members run, or will where they were promised a place.
    Running,
    /// Members are leaving; those that still run cannot go on without them.
    Leaving {
        /// Why the first of them was asked to.
        cause: String,
        /// The last of them is gone then.
        until: Time,
    },
}

impl GangState {
    /// Its name in lists.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Running => "running",
            Self::Leaving { .. } => "leaving",
        }
    }
}

/// A gang as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GangView {
    /// Job.
    pub job: String,
    /// Ends by itself, or is kept running.
    pub kind: JobKind,
    /// Where it is in its life.
    pub state: GangState,
    /// Roles in order.
    pub roles: Vec<RoleView>,
    /// Where the pods should be, relative to each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// Nearest place that holds all who run, e.g. `rack r3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Attempts to admit or place it.
    pub attempts: u32,
    /// Arrived.
    pub submitted: Time,
    /// First started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// Given up then if it has not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_up: Option<Time>,
    /// Looked at again at the latest then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// Plan that makes room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<u64>,
}

impl GangView {
    /// From the engine's view and the plan it waits for.
    #[must_use]
    pub fn new(v: &e::GangView, plan: Option<u64>) -> Self {
        Self {
            job: v.job.to_string(),
            kind: v.kind.into(),
            state: match &v.state {
                e::GangState::Waiting { reason, why } => GangState::Waiting {
                    reason: reason.code().to_owned(),
                    why: why.clone(),
                },
                e::GangState::Running => GangState::Running,
                e::GangState::Leaving { cause, until_ms } => GangState::Leaving {
                    cause: cause.code().to_owned(),
                    until: Time(*until_ms),
                },
            },
            roles: v
                .roles
                .iter()
                .map(|r| RoleView {
                    name: r.name.clone(),
                    count: r.count,
                    min: r.min,
                    running: r.running,
                    waiting: r.waiting,
                    succeeded: r.succeeded,
                })
                .collect(),
            topology: v.topology.map(Into::into),
            domain: v
                .domain
                .as_ref()
                .map(|(level, name)| format!("{} {name}", level.name())),
            attempts: v.attempts,
            submitted: Time(v.submitted_ms),
            started: v.started_ms.map(Time),
            gives_up: v.timeout_at_ms.map(Time),
            retry_at: v.retry_at_ms.map(Time),
            plan,
        }
    }
}

/// The guard against mass evictions in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Evictions {
    /// Evictions in the window.
    pub evicted: u32,
    /// Most in one window.
    pub limit: u32,
    /// Length of the window.
    pub window: Span,
    /// Evictions approved beyond that.
    pub approved: u32,
    /// Evictions that the system's token bucket allows now.
    pub tokens: u32,
    /// When it last stopped somebody in this window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tripped: Option<Time>,
}

impl From<&e::GuardView> for Evictions {
    fn from(g: &e::GuardView) -> Self {
        Self {
            evicted: g.window_pods,
            limit: g.limit,
            window: Span::of_ms(g.window_ms),
            approved: g.approved,
            tokens: g.tokens,
            tripped: g.tripped_ms.map(Time),
        }
    }
}
