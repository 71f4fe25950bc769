//! Objects of the engine's state as the tree keeps them.

use engine::builtin::hpa::{Change, Recommendation, Windows};
use engine::scaling::{PolicyMemory, Replicas, Samples, Starting};
use engine::state::{self as s, Object as EngineObject};
use model::GpuRequest;
use model::admission as a;
use serde::{Deserialize, Serialize};

use super::event::Shape;
use super::job::Job;
use super::node::Node;
use super::plan::{self, Plan};
use super::pod::{Mode, Pod, is_default};
use super::quota::{Budget, Entry, Queue, Quota};
use super::scaling::{CalendarEntry, Scaling, ScalingDecision};
use super::{Invalid, bytes};

/// One object of the state. The key says which kind it is; so does the value,
/// so that a value under a wrong key is noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "one variant per variant of `engine::state::Object`"
)]
pub enum Object {
    Core(Core),
    Node {
        spec: Node,
        row: u32,
        failed: bool,
    },
    Pod(PodObject),
    Job {
        spec: Job,
        submitted_ms: u64,
        succeeded: u32,
        failed: u32,
        next_index: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        patches: Vec<Patch>,
        #[serde(default, skip_serializing_if = "is_default")]
        attempts: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tried: Option<Tried>,
    },
    Scaling(ScalingObject),
    Calendar(CalendarEntry),
    Quota(Quota),
    Queue(Queue),
    Budget {
        spec: Budget,
        tokens: u32,
        refilled_ms: u64,
    },
    Catalog(Entry),
    Plan(Plan),
}

/// A change that admission made. The value stays the text it was: what is read
/// back must be the same to the byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    field: String,
    op: plan::PatchOp,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    json: String,
    reason: String,
}

impl From<a::Patch> for Patch {
    fn from(p: a::Patch) -> Self {
        let (op, json) = match p.change {
            a::Change::Set(json) => (plan::PatchOp::Set, json),
            a::Change::Add(json) => (plan::PatchOp::Add, json),
            a::Change::Remove => (plan::PatchOp::Remove, String::new()),
        };
        Self {
            field: p.field,
            op,
            json,
            reason: p.reason,
        }
    }
}

impl From<Patch> for a::Patch {
    fn from(p: Patch) -> Self {
        Self {
            field: p.field,
            change: match p.op {
                plan::PatchOp::Set => a::Change::Set(p.json),
                plan::PatchOp::Add => a::Change::Add(p.json),
                plan::PatchOp::Remove => a::Change::Remove,
            },
            reason: p.reason,
        }
    }
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn first() -> u64 {
    1
}

/// Counters, mode, and what was learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    now_ms: u64,
    next_seq: u64,
    next_arrival: u64,
    mode: Mode,
    context_version: u64,
    arrivals: u64,
    publish_at: u64,
    learned: Vec<Learned>,
    profile: Vec<Shape>,
    gpu_models: Vec<String>,
    zones: Vec<String>,
    racks: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<String>,
    #[serde(default = "first")]
    next_plan: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    evictions: Vec<(u64, u32)>,
    #[serde(default, skip_serializing_if = "is_default")]
    evictions_approved: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    eviction_tokens_spent: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    eviction_tokens_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Learned {
    cpu_milli: i64,
    gpu: (u32, u32, i64, Vec<String>),
    count: u64,
    memory_mib: i64,
}

/// A pod that waits or runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodObject {
    spec: Pod,
    arrival: u64,
    submitted_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_decision: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound: Option<Bound>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    admitted: bool,
    /// Place and plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<(Bound, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaving: Option<Leaving>,
    #[serde(default, skip_serializing_if = "is_default")]
    progress: Progress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tried: Option<Tried>,
}

/// Attempts to make others yield.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    attempts: u32,
    next_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nominated: Option<(u32, String)>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    why: String,
}

impl From<s::Tried> for Tried {
    fn from(t: s::Tried) -> Self {
        Self {
            attempts: t.attempts,
            next_ms: t.next_ms,
            nominated: t.nominated,
            why: t.why,
        }
    }
}

impl From<Tried> for s::Tried {
    fn from(t: Tried) -> Self {
        Self {
            attempts: t.attempts,
            next_ms: t.next_ms,
            nominated: t.nominated,
            why: t.why,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaving {
    cause: String,
    plan: u64,
    until_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Progress {
    served_ms: u64,
    lost_ms: u64,
    checkpoint_ms: u64,
    evictions: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    node: String,
    devices: u16,
    milli: i32,
    memory_mib: i32,
    since_ms: u64,
    decision: u64,
}

/// A scaled workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalingObject {
    spec: Scaling,
    first_ms: u64,
    step_ms: u64,
    #[serde(with = "bytes::floats")]
    values: Vec<f64>,
    in_last: u32,
    recommendations: Vec<(u64, u32)>,
    changes: Vec<(u64, u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    ready: u32,
    starting: Vec<(u64, u32)>,
    due_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<ScalingDecision>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    policy: String,
    #[serde(with = "bytes::text")]
    bytes: Vec<u8>,
}

impl From<EngineObject> for Object {
    fn from(object: EngineObject) -> Self {
        match object {
            EngineObject::Core(c) => Self::Core(core(c)),
            EngineObject::Node(n) => Self::Node {
                spec: (&n.spec).into(),
                row: n.row,
                failed: n.failed,
            },
            EngineObject::Pod(p) => Self::Pod(PodObject {
                spec: (&p.spec).into(),
                arrival: p.arrival,
                submitted_ms: p.submitted_ms,
                last_decision: p.last_decision,
                bound: p.bound.map(Into::into),
                admitted: p.admitted,
                next: p.next.map(|(at, plan)| (at.into(), plan)),
                leaving: p.leaving.map(|(cause, plan, until_ms)| Leaving {
                    cause: cause.code().to_owned(),
                    plan,
                    until_ms,
                }),
                progress: Progress {
                    served_ms: p.progress.served_ms,
                    lost_ms: p.progress.lost_ms,
                    checkpoint_ms: p.progress.checkpoint_ms,
                    evictions: p.progress.evictions,
                },
                tried: p.tried.map(Into::into),
            }),
            EngineObject::Job(j) => Self::Job {
                spec: (&j.spec).into(),
                submitted_ms: j.submitted_ms,
                succeeded: j.succeeded,
                failed: j.failed,
                next_index: j.next_index,
                patches: j.patches.into_iter().map(Into::into).collect(),
                attempts: j.attempts,
                started_ms: j.started_ms,
                tried: j.tried.map(Into::into),
            },
            EngineObject::Scaling(w) => Self::Scaling(scaling(w)),
            EngineObject::Calendar(c) => Self::Calendar((&c).into()),
            EngineObject::Quota(q) => Self::Quota((&q).into()),
            EngineObject::Queue(q) => Self::Queue((&q).into()),
            EngineObject::Budget(b) => Self::Budget {
                spec: (&b.spec).into(),
                tokens: b.tokens,
                refilled_ms: b.refilled_ms,
            },
            EngineObject::Catalog(c) => Self::Catalog((&c).into()),
            EngineObject::Plan(p) => Self::Plan((&p).into()),
        }
    }
}

fn core(c: s::CoreState) -> Core {
    Core {
        now_ms: c.now_ms,
        next_seq: c.next_seq,
        next_arrival: c.next_arrival,
        mode: c.mode.into(),
        context_version: c.context_version,
        arrivals: c.arrivals,
        publish_at: c.publish_at,
        learned: c
            .learned
            .into_iter()
            .map(|l| Learned {
                cpu_milli: l.cpu_milli,
                gpu: (l.gpu.count, l.gpu.milli, l.gpu.memory_mib, l.gpu.models),
                count: l.count,
                memory_mib: l.memory_mib,
            })
            .collect(),
        profile: c.profile.iter().map(Into::into).collect(),
        gpu_models: c.gpu_models,
        zones: c.zones,
        racks: c.racks,
        blocks: c.blocks,
        next_plan: c.next_plan,
        evictions: c.evictions,
        evictions_approved: c.evictions_approved,
        eviction_tokens_spent: c.eviction_tokens_spent,
        eviction_tokens_ms: c.eviction_tokens_ms,
    }
}

impl From<s::BoundState> for Bound {
    fn from(b: s::BoundState) -> Self {
        Self {
            node: b.node,
            devices: b.devices,
            milli: b.milli,
            memory_mib: b.memory_mib,
            since_ms: b.since_ms,
            decision: b.decision,
        }
    }
}

impl From<Bound> for s::BoundState {
    fn from(b: Bound) -> Self {
        Self {
            node: b.node,
            devices: b.devices,
            milli: b.milli,
            memory_mib: b.memory_mib,
            since_ms: b.since_ms,
            decision: b.decision,
        }
    }
}

fn scaling(w: s::ScalingState) -> ScalingObject {
    ScalingObject {
        spec: (&w.spec).into(),
        first_ms: w.samples.first_ms,
        step_ms: w.samples.step_ms,
        values: w.samples.values,
        in_last: w.samples.in_last,
        recommendations: w
            .windows
            .recommendations
            .iter()
            .map(|r| (r.at_ms, r.replicas))
            .collect(),
        changes: w
            .windows
            .changes
            .iter()
            .map(|c| (c.at_ms, c.from, c.to))
            .collect(),
        memory: w.memory.map(|m| Memory {
            policy: m.policy,
            bytes: m.bytes,
        }),
        ready: w.replicas.ready,
        starting: w
            .replicas
            .starting
            .iter()
            .map(|s| (s.ready_at_ms, s.count))
            .collect(),
        due_ms: w.due_ms,
        last: w.last.as_ref().map(Into::into),
    }
}

impl TryFrom<Object> for EngineObject {
    type Error = Invalid;

    fn try_from(object: Object) -> Result<Self, Invalid> {
        Ok(match object {
            Object::Core(c) => Self::Core(s::CoreState {
                now_ms: c.now_ms,
                next_seq: c.next_seq,
                next_arrival: c.next_arrival,
                mode: c.mode.into(),
                context_version: c.context_version,
                arrivals: c.arrivals,
                publish_at: c.publish_at,
                learned: c
                    .learned
                    .into_iter()
                    .map(|l| s::LearnedShape {
                        cpu_milli: l.cpu_milli,
                        gpu: GpuRequest {
                            count: l.gpu.0,
                            milli: l.gpu.1,
                            memory_mib: l.gpu.2,
                            models: l.gpu.3,
                        },
                        count: l.count,
                        memory_mib: l.memory_mib,
                    })
                    .collect(),
                profile: c.profile.into_iter().map(Into::into).collect(),
                gpu_models: c.gpu_models,
                zones: c.zones,
                racks: c.racks,
                blocks: c.blocks,
                next_plan: c.next_plan,
                evictions: c.evictions,
                evictions_approved: c.evictions_approved,
                eviction_tokens_spent: c.eviction_tokens_spent,
                eviction_tokens_ms: c.eviction_tokens_ms,
            }),
            Object::Node { spec, row, failed } => Self::Node(s::NodeState {
                spec: spec.try_into()?,
                row,
                failed,
            }),
            Object::Pod(p) => Self::Pod(s::PodRecord {
                spec: p.spec.try_into()?,
                arrival: p.arrival,
                submitted_ms: p.submitted_ms,
                last_decision: p.last_decision,
                bound: p.bound.map(Into::into),
                admitted: p.admitted,
                next: p.next.map(|(at, plan)| (at.into(), plan)),
                leaving: match p.leaving {
                    None => None,
                    Some(l) => Some((plan::cause(&l.cause)?, l.plan, l.until_ms)),
                },
                progress: s::Progress {
                    served_ms: p.progress.served_ms,
                    lost_ms: p.progress.lost_ms,
                    checkpoint_ms: p.progress.checkpoint_ms,
                    evictions: p.progress.evictions,
                },
                tried: p.tried.map(Into::into),
            }),
            Object::Job {
                spec,
                submitted_ms,
                succeeded,
                failed,
                next_index,
                patches,
                attempts,
                started_ms,
                tried,
            } => Self::Job(s::JobState {
                // Admission and scaling may have made it what nobody could send.
                spec: spec.into_spec()?,
                submitted_ms,
                succeeded,
                failed,
                next_index,
                patches: patches.into_iter().map(Into::into).collect(),
                attempts,
                started_ms,
                tried: tried.map(Into::into),
            }),
            Object::Scaling(w) => Self::Scaling(s::ScalingState {
                spec: w.spec.into(),
                samples: Samples {
                    first_ms: w.first_ms,
                    step_ms: w.step_ms,
                    values: w.values,
                    in_last: w.in_last,
                },
                windows: Windows {
                    recommendations: w
                        .recommendations
                        .into_iter()
                        .map(|(at_ms, replicas)| Recommendation { at_ms, replicas })
                        .collect(),
                    changes: w
                        .changes
                        .into_iter()
                        .map(|(at_ms, from, to)| Change { at_ms, from, to })
                        .collect(),
                },
                memory: w.memory.map(|m| PolicyMemory {
                    policy: m.policy,
                    bytes: m.bytes,
                }),
                replicas: Replicas {
                    ready: w.ready,
                    starting: w
                        .starting
                        .into_iter()
                        .map(|(ready_at_ms, count)| Starting { ready_at_ms, count })
                        .collect(),
                },
                due_ms: w.due_ms,
                last: w.last.map(Into::into),
            }),
            Object::Calendar(c) => Self::Calendar(c.into()),
            Object::Quota(q) => Self::Quota(q.into()),
            Object::Queue(q) => Self::Queue(q.into()),
            Object::Budget {
                spec,
                tokens,
                refilled_ms,
            } => Self::Budget(s::BudgetState {
                spec: spec.into(),
                tokens,
                refilled_ms,
            }),
            Object::Catalog(c) => Self::Catalog(c.into()),
            Object::Plan(p) => Self::Plan(p.try_into()?),
        })
    }
}
