//! Why something waits, and what would let it run.

use engine::{Fix, NodeLine, Why as EngineWhy};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plan::{Finding, Plan, Shortage};
use super::time::Time;
use super::usage::{Amounts, GangView};
use super::view::PodState;

/// Nodes that failed the same check first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyLine {
    /// Code of the check.
    pub check: String,
    /// In words.
    pub text: String,
    /// How many.
    pub count: u32,
    /// Some of them, nearest to fitting first.
    pub nodes: Vec<String>,
    /// The nearest in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// A way to let a pod run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "way", rename_all = "lowercase")]
pub enum WhyFix {
    /// These pods on this node would have to end.
    Wait {
        /// Node.
        node: String,
        /// Pods.
        pods: Vec<String>,
    },
    /// Pods of lower priority hold enough.
    Preempt {
        /// Node.
        node: String,
        /// Pods.
        pods: Vec<String>,
    },
    /// Without this demand some nodes would fit now.
    Relax {
        /// What to give up.
        what: String,
        /// Nodes that fit then.
        fits: u32,
        /// One of them.
        node: String,
    },
    /// One more node like this would do.
    Grow {
        /// The model.
        like: String,
    },
    /// Those who leave for its plan have to be gone.
    Leave {
        /// Plan.
        plan: u64,
        /// Pods.
        pods: Vec<String>,
        /// At the latest.
        until: Time,
    },
    /// Others are asked to yield then.
    Ask {
        /// When.
        at: Time,
        /// Why not before: the latest attempt, or that scale-up comes first.
        because: String,
    },
    /// Its queue has to be resumed.
    Resume {
        /// Queue.
        queue: String,
    },
    /// This queue uses more than its own quota and would have to give it back.
    Giveback {
        /// Queue.
        queue: String,
        /// What it has borrowed.
        borrowed: Amounts,
    },
    /// A quota would have to be larger.
    Raise {
        /// Quota node.
        quota: String,
        /// Resource.
        resource: String,
        /// By so much.
        by: String,
    },
    /// Its topology is required; preferred would let it spread.
    Spread {
        /// Level that is required.
        level: super::job::Level,
    },
}

/// Why a pod is where it is. The counts add up to the number of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// Pod.
    pub pod: String,
    /// Waiting or running.
    pub state: PodState,
    /// Arrived.
    pub submitted: Time,
    /// Nodes in the cluster.
    pub nodes: u32,
    /// Where they went, for a pod that waits.
    pub lines: Vec<WhyLine>,
    /// Best first.
    pub fixes: Vec<WhyFix>,
    /// Pods before it in its line.
    pub ahead: u32,
    /// Latest decision about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<u64>,
    /// What its quota lacks, if it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<WhyQuota>,
    /// Who has to start with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<GangView>,
    /// Who yields for it, or why nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemption: Option<WhyPreemption>,
}

/// Why a job's quota does not pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyQuota {
    /// Queue it waits in.
    pub queue: String,
    /// Quota node that pays.
    pub quota: String,
    /// Jobs before it in its queue.
    pub ahead: u32,
    /// The least that could enter.
    pub needs: Amounts,
    /// What is missing where.
    pub shortages: Vec<Shortage>,
    /// Who uses more than its own quota.
    pub borrowers: Vec<Borrower>,
    /// Others use what is its own, and will be asked to give it back.
    pub reclaiming: bool,
    /// Why it can never enter, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
}

/// A queue that uses more than its own quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Borrower {
    /// Queue.
    pub queue: String,
    /// Beyond its own.
    pub borrowed: Amounts,
}

impl From<&engine::QuotaWait> for WhyQuota {
    fn from(w: &engine::QuotaWait) -> Self {
        Self {
            queue: w.queue.to_string(),
            quota: w.quota.clone(),
            ahead: w.ahead,
            needs: (&w.needs).into(),
            shortages: w.job.shortages.iter().map(Into::into).collect(),
            borrowers: w
                .borrowers
                .iter()
                .map(|(queue, amounts)| Borrower {
                    queue: queue.clone(),
                    borrowed: amounts.into(),
                })
                .collect(),
            reclaiming: w.job.reclaiming,
            finding: w.job.finding.as_ref().map(Into::into),
        }
    }
}

/// What preemption does for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyPreemption {
    /// The plan that makes room for it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Attempts in vain.
    pub attempts: u32,
    /// The next is due then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Time>,
    /// Why the latest found nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

fn names(list: Vec<std::sync::Arc<str>>) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

impl From<EngineWhy> for Why {
    fn from(w: EngineWhy) -> Self {
        Self {
            pod: w.pod.to_string(),
            state: (&w.state).into(),
            submitted: Time(w.submitted_ms),
            nodes: w.nodes,
            lines: w.lines.into_iter().map(Into::into).collect(),
            fixes: w.fixes.into_iter().map(Into::into).collect(),
            ahead: w.ahead,
            last_decision: w.last_decision,
            quota: None,
            gang: None,
            preemption: None,
        }
    }
}

impl From<NodeLine> for WhyLine {
    fn from(l: NodeLine) -> Self {
        Self {
            check: l.rejection.code().to_owned(),
            text: l.rejection.sentence().to_owned(),
            count: l.count,
            nodes: names(l.nodes),
            nearest: l.nearest,
        }
    }
}

impl From<Fix> for WhyFix {
    fn from(f: Fix) -> Self {
        match f {
            Fix::Wait { node, pods } => Self::Wait {
                node: node.to_string(),
                pods: names(pods),
            },
            Fix::Preempt { node, pods } => Self::Preempt {
                node: node.to_string(),
                pods: names(pods),
            },
            Fix::Relax { what, fits, node } => Self::Relax {
                what,
                fits,
                node: node.to_string(),
            },
            Fix::Grow { like } => Self::Grow {
                like: like.to_string(),
            },
        }
    }
}
