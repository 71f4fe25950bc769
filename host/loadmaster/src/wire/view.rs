//! The present state as it is shown. Amounts appear as plain numbers here, in
//! the host's own units; the specs beside them have them as people write them.

use std::collections::BTreeMap;

use engine::view as e;
use model::Resources;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::decision::Decision;
use super::job::{Job, JobKind};
use super::node::Node;
use super::pod::Pod;
use super::policy::PolicySet;
use super::quantity::Span;
use super::scaling::{Part, Scaling, ScalingDecision};
use super::time::Time;

/// Amounts in the host's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Raw {
    /// Milli-cores.
    pub cpu_milli: i64,
    /// MiB.
    pub memory_mib: i64,
    /// MiB.
    pub disk_mib: i64,
    /// Mbit/s.
    pub network_mbps: i64,
}

impl From<Resources> for Raw {
    fn from(r: Resources) -> Self {
        Self {
            cpu_milli: r.cpu_milli,
            memory_mib: r.memory_mib,
            disk_mib: r.disk_mib,
            network_mbps: r.network_mbps,
        }
    }
}

/// A node as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// As described.
    pub spec: Node,
    /// Revision of `spec`, for If-Match.
    pub etag: String,
    /// Row id, which breaks ties.
    pub row: u32,
    /// Free amounts.
    pub free: Raw,
    /// Free milli-GPU of each device, -1 when unhealthy.
    pub gpu_milli_free: Vec<i32>,
    /// Marked failed.
    pub failed: bool,
    /// Pods running on it.
    pub pods: Vec<String>,
}

/// Where a pod is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum PodState {
    /// In the queue.
    Waiting {
        /// Reason code.
        reason: String,
        /// Looked at again at the latest then; left out while next in line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Time>,
    },
    /// Waits for a place that is being cleared for it.
    Promised {
        /// Node.
        node: String,
        /// Device slots.
        devices: Vec<u8>,
        /// Plan that clears it.
        plan: u64,
    },
    /// On a node.
    Running {
        /// Node.
        node: String,
        /// Device slots.
        devices: Vec<u8>,
        /// Since.
        since: Time,
        /// Decision that put it there.
        decision: u64,
    },
}

impl From<&e::PodState> for PodState {
    fn from(s: &e::PodState) -> Self {
        match s {
            e::PodState::Waiting {
                reason,
                retry_at_ms,
            } => Self::Waiting {
                reason: reason.code().to_owned(),
                retry_at: retry_at_ms.map(Time),
            },
            e::PodState::Promised {
                node,
                devices,
                plan,
            } => Self::Promised {
                node: node.to_string(),
                devices: devices.clone(),
                plan: *plan,
            },
            e::PodState::Running {
                node,
                devices,
                since_ms,
                decision,
            } => Self::Running {
                node: node.to_string(),
                devices: devices.clone(),
                since: Time(*since_ms),
                decision: *decision,
            },
        }
    }
}

/// A pod as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PodView {
    /// Name.
    pub name: String,
    /// As submitted.
    pub spec: Pod,
    /// Waiting or running.
    pub state: PodState,
    /// Arrived.
    pub submitted: Time,
    /// Latest decision about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<u64>,
    /// What it has done so far, once it was evicted or has written a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Asked to leave its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
    /// Node that a running pod moves to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves_to: Option<String>,
}

/// What survives an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// Run time of earlier runs that was saved.
    pub served: Span,
    /// Run time of earlier runs that was lost.
    pub lost: Span,
    /// Latest checkpoint of the run in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Time>,
    /// Times it was evicted.
    pub evictions: u32,
}

/// Why and until when a running pod is asked to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leaving {
    /// Cause.
    pub cause: String,
    /// Plan it leaves for; left out for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<u64>,
    /// It is stopped then.
    pub until: Time,
}

impl From<&e::PodView<'_>> for PodView {
    fn from(p: &e::PodView<'_>) -> Self {
        Self {
            name: p.spec.name.clone(),
            spec: p.spec.into(),
            state: (&p.state).into(),
            submitted: Time(p.submitted_ms),
            last_decision: p.last_decision,
            progress: (p.progress != engine::state::Progress::default()).then_some(Progress {
                served: Span::of_ms(p.progress.served_ms),
                lost: Span::of_ms(p.progress.lost_ms),
                checkpoint: (p.progress.checkpoint_ms > 0)
                    .then_some(Time(p.progress.checkpoint_ms)),
                evictions: p.progress.evictions,
            }),
            leaving: p.leaving.map(|l| Leaving {
                cause: l.cause.code().to_owned(),
                plan: (l.plan > 0).then_some(l.plan),
                until: Time(l.until_ms),
            }),
            moves_to: p.next.as_ref().map(|(node, _)| node.to_string()),
        }
    }
}

/// A job as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Id.
    pub id: String,
    /// As submitted; `replicas` is what is wanted now.
    pub spec: Job,
    /// Arrived.
    pub submitted: Time,
    /// Pods in the queue.
    pub waiting: u32,
    /// Pods on nodes.
    pub running: u32,
    /// Pods that ended well.
    pub succeeded: u32,
    /// Pods that ended otherwise.
    pub failed: u32,
    /// `waiting`, `running` or `finished`.
    pub phase: String,
}

impl From<&e::JobView<'_>> for JobView {
    fn from(j: &e::JobView<'_>) -> Self {
        let spec = Job::from(j.spec);
        let phase = match (j.waiting, j.running) {
            (0, 0) if spec.kind == JobKind::Batch => "finished",
            (_, 0) => "waiting",
            _ => "running",
        };
        Self {
            id: spec.id.clone(),
            spec,
            submitted: Time(j.submitted_ms),
            waiting: j.waiting,
            running: j.running,
            succeeded: j.succeeded,
            failed: j.failed,
            phase: phase.to_owned(),
        }
    }
}

/// A job with its pods and what was done to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobDetail {
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
    /// Its pods that wait or run.
    pub pods: Vec<PodView>,
    /// Changes that admission made to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<super::plan::Patch>,
}

/// A policy's word on one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Influence {
    /// `name@version`.
    pub policy: String,
    /// Winner without it; none if nothing would have won.
    pub winner_without: Option<String>,
    /// Whether the pod would be elsewhere.
    pub decisive: bool,
}

/// Parts of one policy's score for one candidate, as of now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// `name@version`.
    pub policy: String,
    /// Node.
    pub node: String,
    /// Parts that add up to the score.
    pub parts: Vec<Part>,
}

/// A decision with what is needed to read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecisionDetail {
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// The set that decided: the columns of the score table, with weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<PolicySet>,
    /// What decided it: leave one policy out.
    pub influence: Vec<Influence>,
    /// With `?explain=true`: parts of the scores, asked of the active set about
    /// the state as it is now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explanations: Vec<Explanation>,
}

/// What happened to a pod that was submitted, by the time it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placed {
    /// Pod.
    pub pod: String,
    /// Decision about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<u64>,
    /// Waiting or running.
    pub state: PodState,
}

/// A scaled workload as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScalingView {
    /// Workload.
    pub workload: String,
    /// As asked for.
    pub spec: Scaling,
    /// Revision of `spec`, for If-Match.
    pub etag: String,
    /// Serving.
    pub ready: u32,
    /// On their way.
    pub starting: u32,
    /// Present load; null when unknown.
    pub load: Option<f64>,
    /// Start of the series.
    pub series_start: Time,
    /// Load step by step, null where missing; with `?series=N` the last N.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Option<f64>>,
    /// Latest decisions, newest first.
    pub decisions: Vec<ScalingDecision>,
}

/// The cluster in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// Nodes.
    pub nodes: u32,
    /// Healthy GPUs.
    pub gpus: u32,
    /// Milli-GPU in use on them.
    pub gpu_milli_used: i64,
    /// Pods running.
    pub running: u64,
    /// Pods waiting, by reason code.
    pub waiting: BTreeMap<String, u32>,
    /// Decisions so far.
    pub decisions: u64,
    /// Declared mode.
    pub mode: super::pod::Mode,
    /// Whether the host takes nothing away.
    pub hold: bool,
    /// The clock of the engine.
    pub now: Time,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// Objects.
    pub items: Vec<T>,
    /// Give it as `?cursor=` for the next page; left out on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Something that keeps the host from acting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Guard {
    /// Name in `/guards/{id}/approve`.
    pub id: String,
    /// Whether it holds the host back now.
    pub active: bool,
    /// Why.
    pub reason: String,
    /// What it prevents.
    pub prevents: String,
    /// For the guard `evictions`: the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evictions: Option<super::usage::Evictions>,
}

/// Lets a guard go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// Why it is safe.
    pub reason: String,
    /// For the guard `evictions`: how many pods more may be evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// Result of one object of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Objects applied.
    pub applied: u32,
}
