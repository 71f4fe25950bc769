//! What was decided about many pods at once: who entered, who yields.

use model::admission as a;
use model::plan::{
    AdmissionOutcome, AdmissionRecord, EvictCause, PlanPlace, PlanRecord, PlanStatus, PlanVictim,
    QuotaShortage,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Invalid;
use super::decision::Fault;
use super::policy::PolicyId;
use super::time::Time;

/// A finding about one field of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Stable code, e.g. `OwnerMissing`.
    pub code: String,
    /// JSON pointer into the job as policies see it.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl From<&a::Finding> for Finding {
    fn from(f: &a::Finding) -> Self {
        Self {
            code: f.code.clone(),
            field: f.field.clone(),
            message: f.message.clone(),
        }
    }
}

/// What a patch does to its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PatchOp {
    /// Replace or create.
    Set,
    /// Create only if absent.
    Add,
    /// Take away.
    Remove,
}

/// A change that admission made to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// JSON pointer into the job as policies see it.
    pub field: String,
    /// What happens to it.
    pub op: PatchOp,
    /// The new value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub value: Option<Value>,
    /// Why.
    pub reason: String,
}

impl From<&a::Patch> for Patch {
    fn from(p: &a::Patch) -> Self {
        // Text that is no JSON is shown as text.
        let value = |text: &String| {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        };
        let (op, value) = match &p.change {
            a::Change::Set(text) => (PatchOp::Set, Some(value(text))),
            a::Change::Add(text) => (PatchOp::Add, Some(value(text))),
            a::Change::Remove => (PatchOp::Remove, None),
        };
        Self {
            field: p.field.clone(),
            op,
            value,
            reason: p.reason.clone(),
        }
    }
}

/// What is missing at which quota node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shortage {
    /// Quota node.
    pub quota: String,
    /// Resource.
    pub resource: String,
    /// By how much.
    pub short: String,
}

impl From<&QuotaShortage> for Shortage {
    fn from(s: &QuotaShortage) -> Self {
        Self {
            quota: s.quota.to_string(),
            resource: s.resource.name().to_owned(),
            short: super::quota::amount(s.resource, s.by),
        }
    }
}

/// What became of a job at the door or at the head of its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "result", rename_all = "lowercase", deny_unknown_fields)]
pub enum Ruling {
    /// It entered; with a queue it waits for quota now.
    Accepted,
    /// It stays out.
    Denied {
        /// Why.
        findings: Vec<Finding>,
    },
    /// Its quota pays for it.
    Admitted {
        /// Pods paid for.
        pods: u32,
    },
    /// Its quota does not suffice.
    Waiting {
        /// What is missing.
        shortages: Vec<Shortage>,
    },
    /// Others use its guarantee and will be asked to give it back.
    Reclaiming {
        /// What is missing.
        shortages: Vec<Shortage>,
    },
    /// It can never be paid for.
    Rejected {
        /// Why.
        finding: Finding,
    },
}

impl Ruling {
    /// Its name in events and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Denied { .. } => "denied",
            Self::Admitted { .. } => "admitted",
            Self::Waiting { .. } => "waiting",
            Self::Reclaiming { .. } => "reclaiming",
            Self::Rejected { .. } => "rejected",
        }
    }
}

impl From<&AdmissionOutcome> for Ruling {
    fn from(o: &AdmissionOutcome) -> Self {
        let short = |list: &Vec<QuotaShortage>| list.iter().map(Into::into).collect();
        match o {
            AdmissionOutcome::Accepted => Self::Accepted,
            AdmissionOutcome::Denied(findings) => Self::Denied {
                findings: findings.iter().map(Into::into).collect(),
            },
            AdmissionOutcome::Admitted(pods) => Self::Admitted { pods: *pods },
            AdmissionOutcome::Waiting(list) => Self::Waiting {
                shortages: short(list),
            },
            AdmissionOutcome::Reclaiming(list) => Self::Reclaiming {
                shortages: short(list),
            },
            AdmissionOutcome::Rejected(finding) => Self::Rejected {
                finding: finding.into(),
            },
        }
    }
}

/// One decision about admission, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// When.
    pub time: Time,
    /// Job.
    pub job: String,
    /// Queue, empty for none.
    pub queue: String,
    /// Revision of the admission set.
    pub set_revision: u64,
    /// What became of it.
    pub outcome: Ruling,
    /// Changes made to it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
    /// Remarks that stopped nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
    /// Faults answered by the fail mode or the built-in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Fuel burnt by policies.
    pub fuel: u64,
}

impl From<&AdmissionRecord> for Admission {
    fn from(r: &AdmissionRecord) -> Self {
        Self {
            time: Time(r.time_ms),
            job: r.job.to_string(),
            queue: r.queue.to_string(),
            set_revision: r.set_revision,
            outcome: (&r.outcome).into(),
            patches: r.patches.iter().map(Into::into).collect(),
            warnings: r.warnings.iter().map(Into::into).collect(),
            faults: r.faults.iter().map(Into::into).collect(),
            fuel: r.fuel,
        }
    }
}

/// A pod that leaves for a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Victim {
    /// Pod.
    pub pod: String,
    /// Node it leaves.
    pub node: String,
    /// Its priority.
    pub priority: i32,
    /// Time it is given, ms.
    pub grace_ms: u32,
    /// Why this one.
    pub reason: String,
    /// GPU-milliseconds of work that are lost if it writes no checkpoint before
    /// it leaves.
    pub lost_gpu_ms: u64,
}

/// A pod that a plan puts on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Pod.
    pub pod: String,
    /// Node it leaves, for a move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Node it goes to.
    pub node: String,
    /// Device slots.
    pub devices: Vec<u8>,
}

/// How far a plan is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "phase", rename_all = "lowercase", deny_unknown_fields)]
pub enum Status {
    /// What would happen; nothing was done.
    Proposed,
    /// Its places are reserved; victims are leaving.
    Leaving,
    /// Everybody is where the plan wanted.
    Done,
    /// Given up; reservations are gone.
    Dissolved {
        /// Why.
        why: String,
    },
}

impl Status {
    /// Its name in lists and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Leaving => "leaving",
            Self::Done => "done",
            Self::Dissolved { .. } => "dissolved",
        }
    }
}

impl From<&PlanStatus> for Status {
    fn from(s: &PlanStatus) -> Self {
        match s {
            PlanStatus::Proposed => Self::Proposed,
            PlanStatus::Leaving => Self::Leaving,
            PlanStatus::Done => Self::Done,
            PlanStatus::Dissolved(why) => Self::Dissolved { why: why.clone() },
        }
    }
}

/// Who yields so that a pod or a gang fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Grows by one a plan; 0 for one that was only proposed.
    pub id: u64,
    /// When it was made.
    pub time: Time,
    /// Pod, or job of a gang.
    pub preemptor: String,
    /// Whether `preemptor` is a job.
    pub gang: bool,
    /// `consolidate`, `reclaim` or `preempt`.
    pub action: String,
    /// Whose plan it is.
    pub policy: PolicyId,
    /// Topology domain taken; `cluster` without constraint.
    pub domain: String,
    /// Who leaves.
    pub victims: Vec<Victim>,
    /// Who moves.
    pub moves: Vec<Place>,
    /// Where the preemptor's pods go.
    pub placements: Vec<Place>,
    /// The policy's cost vector, smaller is better.
    pub cost: Vec<i64>,
    /// The nomination ends then if somebody still has not left.
    pub until: Time,
    /// How far it is.
    pub status: Status,
}

impl Plan {
    /// Work that is lost if no victim writes a checkpoint, GPU-seconds.
    #[must_use]
    pub fn lost_gpu_s(&self) -> f64 {
        let lost = self.victims.iter().map(|v| v.lost_gpu_ms as f64);
        lost.sum::<f64>() / 1000.0
    }
}

impl From<&PlanPlace> for Place {
    fn from(p: &PlanPlace) -> Self {
        Self {
            pod: p.pod.to_string(),
            from: p.from.as_ref().map(ToString::to_string),
            node: p.node.to_string(),
            devices: p.devices.clone(),
        }
    }
}

impl From<Place> for PlanPlace {
    fn from(p: Place) -> Self {
        Self {
            pod: p.pod.into(),
            from: p.from.map(Into::into),
            node: p.node.into(),
            devices: p.devices,
        }
    }
}

impl From<&PlanRecord> for Plan {
    fn from(p: &PlanRecord) -> Self {
        Self {
            id: p.id,
            time: Time(p.time_ms),
            preemptor: p.preemptor.to_string(),
            gang: p.gang,
            action: p.action.to_owned(),
            policy: (&p.policy).into(),
            domain: p.domain.clone(),
            victims: p
                .victims
                .iter()
                .map(|v| Victim {
                    pod: v.pod.to_string(),
                    node: v.node.to_string(),
                    priority: v.priority,
                    grace_ms: v.grace_ms,
                    reason: v.reason.clone(),
                    lost_gpu_ms: v.lost_gpu_ms,
                })
                .collect(),
            moves: p.moves.iter().map(Into::into).collect(),
            placements: p.placements.iter().map(Into::into).collect(),
            cost: p.cost.clone(),
            until: Time(p.until_ms),
            status: (&p.status).into(),
        }
    }
}

/// Actions by name: the engine knows no others.
const ACTIONS: [&str; 3] = ["consolidate", "reclaim", "preempt"];

impl TryFrom<Plan> for PlanRecord {
    type Error = Invalid;

    fn try_from(p: Plan) -> Result<Self, Invalid> {
        let action = ACTIONS.into_iter().find(|a| *a == p.action);
        let action = action.ok_or_else(|| {
            let text = format!("{:?} is not known to this version of the host", p.action);
            Invalid::at("/action", text)
        })?;
        Ok(Self {
            id: p.id,
            time_ms: p.time.0,
            preemptor: p.preemptor.into(),
            gang: p.gang,
            action,
            policy: p.policy.into(),
            domain: p.domain,
            victims: p
                .victims
                .into_iter()
                .map(|v| PlanVictim {
                    pod: v.pod.into(),
                    node: v.node.into(),
                    priority: v.priority,
                    grace_ms: v.grace_ms,
                    reason: v.reason,
                    lost_gpu_ms: v.lost_gpu_ms,
                })
                .collect(),
            moves: p.moves.into_iter().map(Into::into).collect(),
            placements: p.placements.into_iter().map(Into::into).collect(),
            cost: p.cost,
            until_ms: p.until.0,
            status: match p.status {
                Status::Proposed => PlanStatus::Proposed,
                Status::Leaving => PlanStatus::Leaving,
                Status::Done => PlanStatus::Done,
                Status::Dissolved { why } => PlanStatus::Dissolved(why),
            },
        })
    }
}

/// The cause with this code.
pub(super) fn cause(code: &str) -> Result<EvictCause, Invalid> {
    EvictCause::from_code(code).ok_or_else(|| {
        let text = format!("{code:?} is not a cause of eviction");
        Invalid::at("/cause", text)
    })
}
