//! Pods that belong together.

use crate::pod::PodSpec;

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobKind {
    /// Runs to completion.
    Batch,
    /// Runs until deleted; may be scaled.
    Service,
}

/// Most pods of one job (Titus allows 10 000 for services).
pub const REPLICAS_MAX: u32 = 10_000;

/// A job and the template of its pods, which are named `<id>-<index>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// Unique id.
    pub id: String,
    /// How it ends.
    pub kind: JobKind,
    /// Pods wanted, up to [`REPLICAS_MAX`].
    pub replicas: u32,
    /// `name` and `job` are filled in for each pod.
    pub template: PodSpec,
}

impl JobSpec {
    /// Spec of pod `index`.
    #[must_use]
    pub fn pod(&self, index: u32) -> PodSpec {
        let mut pod = self.template.clone();
        pod.name = format!("{}-{index}", self.id);
        pod.job = Some(self.id.clone());
        if pod.app.is_empty() {
            pod.app.clone_from(&self.id);
        }
        pod
    }
}
