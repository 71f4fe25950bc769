//! Pods that belong together.

use std::collections::BTreeMap;

use crate::disruption::Terms;
use crate::gang::GangSpec;
use crate::pod::PodSpec;

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum JobKind {
    /// Runs to completion.
    #[default]
    Batch,
    /// Runs until deleted; may be scaled.
    Service,
}

/// Most pods of one job (Titus allows 10 000 for services).
pub const REPLICAS_MAX: u32 = 10_000;

/// What is known of a job beside its pods: who it is for, what it runs, and
/// what the door and the queue judge it by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobMeta {
    /// Tenant, empty for none.
    pub namespace: String,
    /// Queue that it waits in for quota; empty: no quota.
    pub queue: String,
    /// Tier by name, empty for none.
    pub tier: String,
    /// Image reference, empty when unknown.
    pub image: String,
    /// Runs as root.
    pub run_as_root: bool,
    /// Runs privileged.
    pub privileged: bool,
    /// Seccomp profile.
    pub seccomp: Option<String>,
    /// Stopped after running this long, ms.
    pub runtime_limit_ms: Option<u64>,
    /// Should be done by then, ms since the epoch.
    pub deadline_ms: Option<u64>,
    /// How long it will run, ms, if its owner knows.
    pub expected_runtime_ms: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A job and the template of its pods, which are named `<id>-<index>`, or
/// `<id>-<role>-<index>` in a gang.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobSpec {
    /// Unique id.
    pub id: String,
    /// How it ends.
    pub kind: JobKind,
    /// Pods wanted, up to [`REPLICAS_MAX`]. In a gang the sum over the roles.
    pub replicas: u32,
    /// `name` and `job` are filled in for each pod. In a gang the roles have
    /// their own, and this one gives the application and the priority of all.
    pub template: PodSpec,
    /// All or nothing, when given.
    pub gang: Option<GangSpec>,
    /// Who, what and until when.
    pub meta: JobMeta,
    /// What it puts up with.
    pub terms: Terms,
}

impl JobSpec {
    /// Role and index in it of pod `index`; `None` outside gangs.
    #[must_use]
    pub fn role_of(&self, index: u32) -> Option<(usize, u32)> {
        let mut left = index;
        for (i, role) in self.gang.as_ref()?.roles.iter().enumerate() {
            if left < role.count {
                return Some((i, left));
            }
            left -= role.count;
        }
        None
    }

    /// Spec of pod `index`.
    #[must_use]
    pub fn pod(&self, index: u32) -> PodSpec {
        let (mut pod, name) = match (&self.gang, self.role_of(index)) {
            (Some(gang), Some((role, i))) => {
                let role = &gang.roles[role];
                let mut pod = role.template.clone();
                pod.priority = self.template.priority;
                if pod.app.is_empty() {
                    pod.app.clone_from(&self.template.app);
                }
                (pod, format!("{}-{}-{i}", self.id, role.name))
            }
            _ => (self.template.clone(), format!("{}-{index}", self.id)),
        };
        pod.name = name;
        pod.job = Some(self.id.clone());
        if pod.app.is_empty() {
            pod.app.clone_from(&self.id);
        }
        pod
    }
}
