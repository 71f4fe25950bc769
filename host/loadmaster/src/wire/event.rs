//! Events as the journal keeps them. The journal is an audit record: names are
//! written out and every amount is readable.

use model::event::{self as m, ShapeClass};
use serde::{Deserialize, Serialize};

use super::Invalid;
use super::job::Job;
use super::node::Node;
use super::pod::{Finish, Mode, Pod};
use super::quota::{Budget, Entry, Queue, Quota};
use super::scaling::{CalendarEntry, Scaling};

/// One class of a workload profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    cpu_milli: i64,
    memory_mib: i64,
    gpu_count: u32,
    gpu_milli: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gpu_models: Vec<String>,
    count: u64,
}

impl From<&ShapeClass> for Shape {
    fn from(s: &ShapeClass) -> Self {
        Self {
            cpu_milli: s.cpu_milli,
            memory_mib: s.memory_mib,
            gpu_count: s.gpu_count,
            gpu_milli: s.gpu_milli,
            gpu_models: s.gpu_models.clone(),
            count: s.count,
        }
    }
}

impl From<Shape> for ShapeClass {
    fn from(s: Shape) -> Self {
        Self {
            cpu_milli: s.cpu_milli,
            memory_mib: s.memory_mib,
            gpu_count: s.gpu_count,
            gpu_milli: s.gpu_milli,
            gpu_models: s.gpu_models,
            count: s.count,
        }
    }
}

/// An input of the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "one variant per variant of `model::Event`, which documents them"
)]
pub enum Event {
    NodePut(Box<Node>),
    NodeRemove {
        name: String,
    },
    NodeFailed {
        name: String,
        failed: bool,
    },
    PodsSubmit(Vec<Pod>),
    JobSubmit(Box<Job>),
    JobScale {
        id: String,
        replicas: u32,
    },
    JobDelete {
        id: String,
    },
    PodFinished {
        name: String,
        how: Finish,
    },
    PodEvicted {
        name: String,
    },
    PodCheckpointed {
        name: String,
    },
    PodEvict {
        name: String,
    },
    QuotaPut(Quota),
    QuotaRemove {
        name: String,
    },
    QueuePut(Queue),
    QueueRemove {
        name: String,
    },
    BudgetPut(Budget),
    BudgetRemove {
        name: String,
    },
    CatalogPut(Entry),
    CatalogRemove {
        catalog: String,
        name: String,
    },
    ApproveEvictions {
        count: u32,
    },
    SetMode(Mode),
    WorkloadProfile(Vec<Shape>),
    ScalingPut(Scaling),
    ScalingRemove {
        workload: String,
    },
    MetricSample {
        workload: String,
        value: Option<f64>,
    },
    CalendarPut(CalendarEntry),
    CalendarRemove {
        name: String,
    },
    Tick,
}

impl From<&m::Event> for Event {
    fn from(e: &m::Event) -> Self {
        use m::Event as E;
        match e {
            E::NodePut(spec) => Self::NodePut(Box::new((&**spec).into())),
            E::NodeRemove { name } => Self::NodeRemove { name: name.clone() },
            E::NodeFailed { name, failed } => Self::NodeFailed {
                name: name.clone(),
                failed: *failed,
            },
            E::PodsSubmit(pods) => Self::PodsSubmit(pods.iter().map(Into::into).collect()),
            E::JobSubmit(job) => Self::JobSubmit(Box::new((&**job).into())),
            E::JobScale { id, replicas } => Self::JobScale {
                id: id.clone(),
                replicas: *replicas,
            },
            E::JobDelete { id } => Self::JobDelete { id: id.clone() },
            E::PodFinished { name, how } => Self::PodFinished {
                name: name.clone(),
                how: (*how).into(),
            },
            E::PodEvicted { name } => Self::PodEvicted { name: name.clone() },
            E::PodCheckpointed { name } => Self::PodCheckpointed { name: name.clone() },
            E::PodEvict { name } => Self::PodEvict { name: name.clone() },
            E::QuotaPut(spec) => Self::QuotaPut(spec.into()),
            E::QuotaRemove { name } => Self::QuotaRemove { name: name.clone() },
            E::QueuePut(spec) => Self::QueuePut(spec.into()),
            E::QueueRemove { name } => Self::QueueRemove { name: name.clone() },
            E::BudgetPut(spec) => Self::BudgetPut(spec.into()),
            E::BudgetRemove { name } => Self::BudgetRemove { name: name.clone() },
            E::CatalogPut(entry) => Self::CatalogPut(entry.into()),
            E::CatalogRemove { catalog, name } => Self::CatalogRemove {
                catalog: catalog.clone(),
                name: name.clone(),
            },
            E::ApproveEvictions { count } => Self::ApproveEvictions { count: *count },
            E::SetMode(mode) => Self::SetMode((*mode).into()),
            E::WorkloadProfile(shapes) => {
                Self::WorkloadProfile(shapes.iter().map(Into::into).collect())
            }
            E::ScalingPut(spec) => Self::ScalingPut(spec.into()),
            E::ScalingRemove { workload } => Self::ScalingRemove {
                workload: workload.clone(),
            },
            E::MetricSample { workload, value } => Self::MetricSample {
                workload: workload.clone(),
                // Not finite means unknown, whichever way it is not.
                value: value.is_finite().then_some(*value),
            },
            E::CalendarPut(entry) => Self::CalendarPut(entry.into()),
            E::CalendarRemove { name } => Self::CalendarRemove { name: name.clone() },
            E::Tick => Self::Tick,
        }
    }
}

impl TryFrom<Event> for m::Event {
    type Error = Invalid;

    fn try_from(e: Event) -> Result<Self, Invalid> {
        use Event as E;
        Ok(match e {
            E::NodePut(node) => Self::NodePut(Box::new((*node).try_into()?)),
            E::NodeRemove { name } => Self::NodeRemove { name },
            E::NodeFailed { name, failed } => Self::NodeFailed { name, failed },
            E::PodsSubmit(pods) => Self::PodsSubmit(
                pods.into_iter()
                    .enumerate()
                    .map(|(i, p)| p.try_into().map_err(|e: Invalid| e.under(i)))
                    .collect::<Result<_, _>>()?,
            ),
            E::JobSubmit(job) => Self::JobSubmit(Box::new((*job).try_into()?)),
            E::JobScale { id, replicas } => Self::JobScale { id, replicas },
            E::JobDelete { id } => Self::JobDelete { id },
            E::PodFinished { name, how } => Self::PodFinished {
                name,
                how: how.into(),
            },
            E::PodEvicted { name } => Self::PodEvicted { name },
            E::PodCheckpointed { name } => Self::PodCheckpointed { name },
            E::PodEvict { name } => Self::PodEvict { name },
            E::QuotaPut(spec) => Self::QuotaPut(spec.into()),
            E::QuotaRemove { name } => Self::QuotaRemove { name },
            E::QueuePut(spec) => Self::QueuePut(spec.into()),
            E::QueueRemove { name } => Self::QueueRemove { name },
            E::BudgetPut(spec) => Self::BudgetPut(spec.into()),
            E::BudgetRemove { name } => Self::BudgetRemove { name },
            E::CatalogPut(entry) => Self::CatalogPut(entry.into()),
            E::CatalogRemove { catalog, name } => Self::CatalogRemove { catalog, name },
            E::ApproveEvictions { count } => Self::ApproveEvictions { count },
            E::SetMode(mode) => Self::SetMode(mode.into()),
            E::WorkloadProfile(shapes) => {
                Self::WorkloadProfile(shapes.into_iter().map(Into::into).collect())
            }
            E::ScalingPut(spec) => Self::ScalingPut(spec.into()),
            E::ScalingRemove { workload } => Self::ScalingRemove { workload },
            E::MetricSample { workload, value } => Self::MetricSample {
                workload,
                value: value.unwrap_or(f64::NAN),
            },
            E::CalendarPut(entry) => Self::CalendarPut(entry.into()),
            E::CalendarRemove { name } => Self::CalendarRemove { name },
            E::Tick => Self::Tick,
        })
    }
}

/// An event with the time it was given to the engine at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamped {
    /// ms since the epoch.
    pub now_ms: u64,
    /// What happened.
    pub event: Event,
}
