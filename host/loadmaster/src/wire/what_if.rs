//! What would happen to a job if it were submitted now.

use engine::{EventError, PodOutcome, WhatIfAnswer};
use model::plan::AdmissionOutcome;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::decision::Fault;
use super::job::Job;
use super::plan::{Finding, Patch, Plan, Ruling};
use super::quantity::Span;
use super::why::{WhyFix, WhyLine};

/// What would become of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "phase", rename_all = "lowercase", deny_unknown_fields)]
pub enum PodWhatIf {
    /// It would start here.
    Running {
        /// Pod.
        pod: String,
        /// Node.
        node: String,
        /// Device slots.
        devices: Vec<u8>,
    },
    /// It would wait.
    Waiting {
        /// Pod.
        pod: String,
        /// Reason code.
        reason: String,
    },
}

/// How it would end, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It stays out.
    Denied,
    /// It enters and waits.
    Waits,
    /// It enters, waits, and others are asked to yield for it.
    Preempts,
    /// It enters and all its pods start.
    Runs,
}

/// The whole answer. Nothing was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatIf {
    /// How it would end.
    pub verdict: Verdict,
    /// The job as it would enter, with the changes made to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Why it stays out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What the policies that deny it found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Changes made at the door, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
    /// Remarks that stop nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
    /// Faults of policies at the door.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// What its quota says; left out without a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Ruling>,
    /// Pods of the job.
    pub replicas: u32,
    /// Its pods, in order; of a large job the first.
    pub pods: Vec<PodWhatIf>,
    /// Who would have to yield.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// They are asked after waiting so long: scale-up gets its chance first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_after: Option<Span>,
    /// Work that is lost if none of them writes a checkpoint, GPU-seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_gpu_s: Option<f64>,
    /// Why nobody could be asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_plan: Option<String>,
    /// Where the nodes went, for the first pod that would wait; adds up to the
    /// cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<WhyLine>,
    /// What would let it run, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<WhyFix>,
}

impl WhatIf {
    /// From the engine's answer. `lines` and `fixes` are those of the first pod
    /// that would wait.
    #[must_use]
    pub fn new(answer: &WhatIfAnswer, lines: Vec<WhyLine>, fixes: Vec<WhyFix>) -> Self {
        let review = &answer.review;
        let (problem, findings) = match &answer.admitted {
            Ok(_) => (None, Vec::new()),
            Err(error @ EventError::Denied { findings, .. }) => {
                let found = findings.iter().map(Into::into).collect();
                (Some(error.to_string()), found)
            }
            Err(error) => (Some(error.to_string()), Vec::new()),
        };
        let rejected = matches!(answer.quota, Some(AdmissionOutcome::Rejected(_)));
        let pods: Vec<PodWhatIf> = answer.pods.iter().map(Into::into).collect();
        let runs = |p: &PodWhatIf| matches!(p, PodWhatIf::Running { .. });
        let paid = matches!(
            answer.quota,
            None | Some(AdmissionOutcome::Accepted | AdmissionOutcome::Admitted(_))
        );
        let verdict = if answer.admitted.is_err() {
            Verdict::Denied
        } else if answer.plan.is_some() {
            Verdict::Preempts
        } else if paid && !rejected && pods.iter().all(runs) {
            Verdict::Runs
        } else {
            Verdict::Waits
        };
        let job = answer.admitted.as_ref().ok();
        let plan = answer.plan.as_ref().map(|(plan, _)| Plan::from(plan));
        Self {
            verdict,
            replicas: job.map_or(0, |j| j.replicas),
            job: job.map(Into::into),
            problem,
            findings,
            patches: review.patches.iter().map(Into::into).collect(),
            warnings: review.warnings.iter().map(Into::into).collect(),
            faults: review.faults.iter().map(Into::into).collect(),
            quota: answer.quota.as_ref().map(Into::into),
            pods,
            plan_after: answer.plan.as_ref().map(|(_, ms)| Span::of_ms(*ms)),
            lost_gpu_s: plan.as_ref().map(Plan::lost_gpu_s),
            plan,
            no_plan: answer.no_plan.clone(),
            lines,
            fixes,
        }
    }
}

impl From<&PodOutcome> for PodWhatIf {
    fn from(p: &PodOutcome) -> Self {
        match p {
            PodOutcome::Placed { pod, node, devices } => Self::Running {
                pod: pod.to_string(),
                node: node.to_string(),
                devices: devices.clone(),
            },
            PodOutcome::Waiting { pod, reason } => Self::Waiting {
                pod: pod.to_string(),
                reason: reason.code().to_owned(),
            },
        }
    }
}
