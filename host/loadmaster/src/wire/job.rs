//! Jobs as people submit them.
//!
//! A gang takes its pods from its roles, and `replicas` is their sum.

use std::collections::BTreeMap;

use model::disruption::GRACE_MAX_MS;
use model::gang as g;
use model::job::{JobMeta, REPLICAS_MAX};
use model::{JobKind as ModelJobKind, JobSpec, PodSpec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::pod::{Pod, checked, is_default};
use super::quantity::Span;
use super::time::Time;
use super::{Invalid, escape};

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Runs to completion.
    #[default]
    Batch,
    /// Runs until deleted; may be scaled.
    Service,
}

/// A level of the topology, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "the levels are explained in `model::gang::Level`"
)]
pub enum Level {
    Node,
    Rack,
    Block,
    Zone,
}

impl From<g::Level> for Level {
    fn from(l: g::Level) -> Self {
        match l {
            g::Level::Node => Self::Node,
            g::Level::Rack => Self::Rack,
            g::Level::Block => Self::Block,
            g::Level::Zone => Self::Zone,
        }
    }
}

impl From<Level> for g::Level {
    fn from(l: Level) -> Self {
        match l {
            Level::Node => Self::Node,
            Level::Rack => Self::Rack,
            Level::Block => Self::Block,
            Level::Zone => Self::Zone,
        }
    }
}

/// Identical pods of a gang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Name; its pods are `<job>-<role>-<index>`.
    pub name: String,
    /// Pods wanted; 1 when left out.
    #[serde(default = "one")]
    pub count: u32,
    /// Pods without which none starts; all of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// What each pod asks for, without a name.
    pub template: Pod,
}

fn one() -> u32 {
    1
}

/// Groups of pods of a role that must each share a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Pods of one group; divides every role's count and min.
    pub size: u32,
    /// Where one group must be together.
    pub level: Level,
}

/// Where the pods of a gang should be: exactly one of `required` and `preferred`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// All pods in one domain of this level, or the gang waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<Level>,
    /// In as few domains of this level as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<Level>,
    /// Finer groups inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<Slice>,
}

/// Pods that start together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gang {
    /// At least one.
    pub roles: Vec<Role>,
    /// Where, relative to each other; anywhere when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// Given up when it has not started after this long; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// What a job puts up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Terms {
    /// May be stopped for the sake of others and started again; true when left
    /// out.
    pub preemptible: bool,
    /// May be stopped here and started elsewhere to make room.
    #[serde(skip_serializing_if = "is_default")]
    pub movable: bool,
    /// Time it asks for before it is stopped.
    #[serde(skip_serializing_if = "is_default")]
    pub grace: Span,
    /// What a restart costs, in GPU-seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub restart_cost: u32,
    /// May ask others to yield; true when left out.
    pub preempts: bool,
}

impl Default for Terms {
    fn default() -> Self {
        model::disruption::Terms::default().into()
    }
}

impl From<model::disruption::Terms> for Terms {
    fn from(t: model::disruption::Terms) -> Self {
        Self {
            preemptible: t.preemptible,
            movable: t.movable,
            grace: Span::of_ms(t.grace_ms.into()),
            restart_cost: t.restart_cost,
            preempts: t.preempts,
        }
    }
}

impl From<Terms> for model::disruption::Terms {
    fn from(t: Terms) -> Self {
        Self {
            preemptible: t.preemptible,
            movable: t.movable,
            grace_ms: u32::try_from(t.grace.ms()).unwrap_or(GRACE_MAX_MS),
            restart_cost: t.restart_cost,
            preempts: t.preempts,
        }
    }
}

/// A job. Its pods are named `<id>-<index>`, in a gang `<id>-<role>-<index>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Unique id.
    pub id: String,
    /// How it ends; batch when left out.
    #[serde(default)]
    pub kind: JobKind,
    /// Pods wanted; 1 when left out, the sum of the roles in a gang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// What each pod asks for, without a name. In a gang only the application
    /// and the priority of all, and it may be left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub template: Pod,
    /// Tenant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Queue that it waits in for quota; no quota when left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue: String,
    /// Tier of the application, by name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// Image reference.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Stopped after running this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_limit: Option<Span>,
    /// Should be done by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// How long it will run, if its owner knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_runtime: Option<Span>,
    /// Runs as root.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run_as_root: bool,
    /// Runs privileged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// Seccomp profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// All or nothing, when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<Gang>,
    /// What it puts up with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub terms: Terms,
}

impl From<g::TopologySpec> for Topology {
    fn from(t: g::TopologySpec) -> Self {
        Self {
            required: t.required.then_some(t.level.into()),
            preferred: (!t.required).then_some(t.level.into()),
            slice: t.slice.map(|s| Slice {
                size: s.size,
                level: s.level.into(),
            }),
        }
    }
}

impl From<ModelJobKind> for JobKind {
    fn from(k: ModelJobKind) -> Self {
        match k {
            ModelJobKind::Batch => Self::Batch,
            ModelJobKind::Service => Self::Service,
        }
    }
}

impl From<&g::GangSpec> for Gang {
    fn from(s: &g::GangSpec) -> Self {
        Self {
            roles: s
                .roles
                .iter()
                .map(|r| Role {
                    name: r.name.clone(),
                    count: r.count,
                    min: Some(r.min),
                    template: (&r.template).into(),
                })
                .collect(),
            topology: s.topology.map(Into::into),
            timeout: s.timeout_ms.map(Span::of_ms),
        }
    }
}

impl Gang {
    fn into_spec(self) -> Result<g::GangSpec, Invalid> {
        let roles = self.roles.into_iter().map(|r| g::RoleSpec {
            name: r.name,
            count: r.count,
            min: r.min.unwrap_or(r.count),
            template: r.template.into_spec(),
        });
        let topology = match self.topology {
            None => None,
            Some(t) => {
                let (level, required) = match (t.required, t.preferred) {
                    (Some(level), None) => (level, true),
                    (None, Some(level)) => (level, false),
                    _ => {
                        let text = "names exactly one of required and preferred, each a level: node, rack, block or zone";
                        return Err(Invalid::at("/topology", text));
                    }
                };
                Some(g::TopologySpec {
                    level: level.into(),
                    required,
                    slice: t.slice.map(|s| g::Slice {
                        size: s.size,
                        level: s.level.into(),
                    }),
                })
            }
        };
        Ok(g::GangSpec {
            roles: roles.collect(),
            topology,
            timeout_ms: self.timeout.map(Span::ms),
        })
    }
}

impl From<&JobSpec> for Job {
    fn from(j: &JobSpec) -> Self {
        let m = &j.meta;
        Self {
            id: j.id.clone(),
            kind: j.kind.into(),
            replicas: Some(j.replicas),
            template: (&j.template).into(),
            namespace: m.namespace.clone(),
            queue: m.queue.clone(),
            tier: m.tier.clone(),
            image: m.image.clone(),
            labels: m.labels.clone(),
            runtime_limit: m.runtime_limit_ms.map(Span::of_ms),
            deadline: m.deadline_ms.map(Time),
            expected_runtime: m.expected_runtime_ms.map(Span::of_ms),
            run_as_root: m.run_as_root,
            privileged: m.privileged,
            seccomp: m.seccomp.clone(),
            gang: j.gang.as_ref().map(Into::into),
            terms: j.terms.into(),
        }
    }
}

impl Job {
    /// The value as it is, for one that the engine has accepted before.
    ///
    /// # Errors
    /// A gang whose topology says nothing.
    pub(super) fn into_spec(self) -> Result<JobSpec, Invalid> {
        let gang = self.gang.map(Gang::into_spec).transpose();
        let gang = gang.map_err(|e| e.under("gang"))?;
        let sum = gang.as_ref().map(|g| {
            let counts = g.roles.iter().map(|r| r.count);
            counts.fold(0, u32::saturating_add)
        });
        Ok(JobSpec {
            id: self.id,
            kind: match self.kind {
                JobKind::Batch => ModelJobKind::Batch,
                JobKind::Service => ModelJobKind::Service,
            },
            replicas: self.replicas.or(sum).unwrap_or(1),
            template: self.template.into_spec(),
            gang,
            meta: JobMeta {
                namespace: self.namespace,
                queue: self.queue,
                tier: self.tier,
                image: self.image,
                run_as_root: self.run_as_root,
                privileged: self.privileged,
                seccomp: self.seccomp,
                runtime_limit_ms: self.runtime_limit.map(Span::ms),
                deadline_ms: self.deadline.map(|t| t.0),
                expected_runtime_ms: self.expected_runtime.map(Span::ms),
                labels: self.labels,
            },
            terms: self.terms.into(),
        })
    }

    /// Where a field that a policy names is in this object: policies see jobs
    /// flattened (`/run-as-root`, `/roles/worker/cpu`).
    #[must_use]
    pub fn pointer(&self, field: &str) -> String {
        let mut parts = field.split('/').skip(1);
        let first = parts.next().unwrap_or_default();
        let role = match first {
            "roles" => parts.next().unwrap_or_default(),
            "app" | "priority" => return format!("/template/{first}"),
            _ => {
                let rest: String = parts.map(|p| format!("/{p}")).collect();
                return format!("/{}{rest}", first.replace('-', "_"));
            }
        };
        let plain = |c: &str| c.replace("~1", "/").replace("~0", "~");
        let roles = self.gang.as_ref().map_or(&[][..], |g| &g.roles);
        let at = roles.iter().position(|r| r.name == plain(role));
        let base = at.map_or_else(String::new, |i| format!("/gang/roles/{i}"));
        match (parts.next().unwrap_or_default(), at) {
            ("count", Some(_)) => format!("{base}/count"),
            ("count", None) => "/replicas".to_owned(),
            ("min", _) => format!("{base}/min"),
            (of, _) if ["cpu", "memory", "disk", "network"].contains(&of) => {
                format!("{base}/template/requests/{of}")
            }
            ("gpu-milli", _) => format!("{base}/template/gpu/share"),
            (of, _) => match of.strip_prefix("gpu-") {
                Some(of) => format!("{base}/template/gpu/{}", escape(of)),
                None => format!("{base}/template"),
            },
        }
    }
}

/// A template with the name it needs to be checked.
fn template(spec: &PodSpec) -> Result<(), Invalid> {
    let named = PodSpec {
        name: "template".to_owned(),
        ..spec.clone()
    };
    checked(named).map(drop).map_err(|e| e.under("template"))
}

impl TryFrom<Job> for JobSpec {
    type Error = Invalid;

    fn try_from(j: Job) -> Result<Self, Invalid> {
        if let Some(n) = j.replicas.filter(|n| *n > REPLICAS_MAX) {
            let text = format!("{n} replicas, but a job has at most {REPLICAS_MAX}");
            return Err(Invalid::at("/replicas", text));
        }
        if !model::node::is_name(&j.id) || j.id.len() > 240 {
            let text = format!("{:?} is not 1 to 240 characters of [A-Za-z0-9._/-]", j.id);
            return Err(Invalid::at("/id", text));
        }
        if j.terms.grace.ms() > u64::from(GRACE_MAX_MS) {
            let most = Span::of_ms(GRACE_MAX_MS.into());
            let text = format!("{} is longer than the longest grace, {most}", j.terms.grace);
            return Err(Invalid::at("/terms/grace", text));
        }
        let spec = j.into_spec()?;
        template(&spec.template)?;
        if let Some(gang) = &spec.gang {
            if gang.roles.is_empty() {
                return Err(Invalid::at("/gang/roles", "a gang has at least one role"));
            }
            let sum: u64 = gang.roles.iter().map(|r| u64::from(r.count)).sum();
            if sum > u64::from(g::GANG_PODS_MAX) {
                let text = format!("{sum} pods, but a gang has at most {}", g::GANG_PODS_MAX);
                return Err(Invalid::at("/gang/roles", text));
            }
            if sum != u64::from(spec.replicas) {
                let text = format!(
                    "is {}, but the roles have {sum} pods; leave it out",
                    spec.replicas
                );
                return Err(Invalid::at("/replicas", text));
            }
            for (i, role) in gang.roles.iter().enumerate() {
                let under = |e: Invalid| e.under(i).under("roles").under("gang");
                template(&role.template).map_err(under)?;
                if role.min == 0 || role.min > role.count {
                    let text = format!("is {}, not between 1 and {}", role.min, role.count);
                    return Err(under(Invalid::at("/min", text)));
                }
            }
        }
        Ok(spec)
    }
}
