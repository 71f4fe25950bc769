//! Pods as people submit them.

use std::collections::BTreeMap;

use model::event::{Finish as ModelFinish, Mode as ModelMode};
use model::{GpuRequest, PodSpec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Invalid;
use super::node::Amounts;
use super::quantity::{Memory, Share};

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u32 {
    1
}

/// Devices a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// How many; 1 when left out.
    #[serde(default = "one")]
    pub count: u32,
    /// Share of each, all of it when left out; less only with a count of 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Memory needed on each.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: Memory,
    /// Acceptable models; any when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// Lets a pod onto a tainted node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Toleration {
    /// Key; every taint when empty.
    #[serde(default)]
    pub key: String,
    /// Value; every value when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pod {
    /// Unique name; left out in a job's template.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Job it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Application, the key that spreading counts by; the job's id when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Amounts it asks for.
    #[serde(skip_serializing_if = "is_default")]
    pub requests: Amounts,
    /// Devices it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Labels a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints it accepts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Higher goes first.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: i32,
}

impl From<&PodSpec> for Pod {
    fn from(p: &PodSpec) -> Self {
        let whole = if p.gpu.count > 0 { 1000 } else { 0 };
        Self {
            name: p.name.clone(),
            job: p.job.clone(),
            app: p.app.clone(),
            requests: p.requests.into(),
            gpu: (p.gpu != GpuRequest::default()).then(|| Gpu {
                count: p.gpu.count,
                share: (p.gpu.milli != whole).then_some(Share(p.gpu.milli)),
                memory: Memory(p.gpu.memory_mib),
                models: p.gpu.models.clone(),
            }),
            node_selector: p.node_selector.clone(),
            tolerations: p
                .tolerations
                .iter()
                .map(|t| Toleration {
                    key: t.key.clone(),
                    value: t.value.clone(),
                })
                .collect(),
            priority: p.priority,
        }
    }
}

impl Pod {
    /// The value without checking that a name is there.
    pub(super) fn into_spec(self) -> PodSpec {
        PodSpec {
            name: self.name,
            job: self.job,
            app: self.app,
            requests: self.requests.into(),
            gpu: self.gpu.map_or_else(GpuRequest::default, |g| GpuRequest {
                count: g.count,
                milli: match (g.share, g.count) {
                    (Some(share), _) => share.0,
                    (None, 0) => 0,
                    (None, _) => 1000,
                },
                memory_mib: g.memory.0,
                models: g.models,
            }),
            node_selector: self.node_selector,
            tolerations: self
                .tolerations
                .into_iter()
                .map(|t| model::Toleration {
                    key: t.key,
                    value: t.value,
                })
                .collect(),
            priority: self.priority,
        }
    }
}

pub(super) fn checked(spec: PodSpec) -> Result<PodSpec, Invalid> {
    spec.validate().map_err(|e| {
        use model::pod::PodError as E;
        let pointer = match &e {
            E::Name(_) => "/name",
            E::Amount(_) => "/gpu/memory",
            E::TooManyGpus(_) => "/gpu/count",
            E::Share(_) | E::SharedSet { .. } => "/gpu/share",
        };
        Invalid::at(pointer, e)
    })?;
    Ok(spec)
}

impl TryFrom<Pod> for PodSpec {
    type Error = Invalid;

    fn try_from(p: Pod) -> Result<Self, Invalid> {
        checked(p.into_spec())
    }
}

/// How a pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// Exit code 0.
    Succeeded,
    /// Any other end of its own.
    Failed,
    /// Deleted by its owner.
    Deleted,
    /// Stopped because its job ran longer than it may.
    #[serde(rename = "timed-out")]
    TimedOut,
}

impl From<ModelFinish> for Finish {
    fn from(f: ModelFinish) -> Self {
        match f {
            ModelFinish::Succeeded => Self::Succeeded,
            ModelFinish::Failed => Self::Failed,
            ModelFinish::Deleted => Self::Deleted,
            ModelFinish::TimedOut => Self::TimedOut,
        }
    }
}

impl From<Finish> for ModelFinish {
    fn from(f: Finish) -> Self {
        match f {
            Finish::Succeeded => Self::Succeeded,
            Finish::Failed => Self::Failed,
            Finish::Deleted => Self::Deleted,
            Finish::TimedOut => Self::TimedOut,
        }
    }
}

/// State of the whole cluster, as an operator declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
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

impl From<ModelMode> for Mode {
    fn from(m: ModelMode) -> Self {
        match m {
            ModelMode::Normal => Self::Normal,
            ModelMode::Evacuation => Self::Evacuation,
            ModelMode::Incident => Self::Incident,
            ModelMode::Maintenance => Self::Maintenance,
        }
    }
}

impl From<Mode> for ModelMode {
    fn from(m: Mode) -> Self {
        match m {
            Mode::Normal => Self::Normal,
            Mode::Evacuation => Self::Evacuation,
            Mode::Incident => Self::Incident,
            Mode::Maintenance => Self::Maintenance,
        }
    }
}
