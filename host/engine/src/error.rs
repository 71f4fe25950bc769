//! Events that contradict the state. Each says what was asked and what to do.

use model::node::NodeError;
use model::pod::PodError;

/// Why an event was refused. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EventError {
    /// No such node.
    #[error("there is no node {0:?}")]
    UnknownNode(String),
    /// No such pod.
    #[error("there is no pod {0:?}, or it has finished")]
    UnknownPod(String),
    /// No such job.
    #[error("there is no job {0:?}")]
    UnknownJob(String),
    /// Name taken.
    #[error("a pod named {0:?} already exists")]
    DuplicatePod(String),
    /// Name taken.
    #[error("a job with id {0:?} already exists")]
    DuplicateJob(String),
    /// Bad job id.
    #[error("job id {0:?} is not 1 to 240 characters of [A-Za-z0-9._/-]")]
    JobName(String),
    /// Too many pods in one job.
    #[error("{0} replicas, but a job has at most {max}", max = model::job::REPLICAS_MAX)]
    TooManyReplicas(u32),
    /// Only services are scaled.
    #[error("job {0:?} is a batch job; only services can be scaled")]
    NotAService(String),
    /// Bad node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Bad pod.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// One model too many.
    #[error("GPU model {0:?} would be one more than the {max} a cluster can have", max = crate::nodes::GPU_MODELS_MAX)]
    TooManyGpuModels(String),
    /// One zone or rack too many.
    #[error("node {0:?} names a zone, rack or block beyond the {max} a cluster can have", max = crate::nodes::PLACES_MAX)]
    TooManyPlaces(String),
    /// Back-pressure.
    #[error("{0} pods are waiting already, which is the limit; retry when some have started")]
    QueueFull(usize),
    /// No such workload.
    #[error("workload {0:?} is not scaled by this host")]
    UnknownWorkload(String),
    /// Bad scaling spec.
    #[error("scaling of {workload:?}: {problem}")]
    Scaling {
        /// Workload.
        workload: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// No such entry.
    #[error("there is no calendar entry {0:?}")]
    UnknownCalendarEntry(String),
    /// Bad entry.
    #[error("calendar entry {name:?}: {problem}")]
    Calendar {
        /// Name.
        name: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// An admission policy said no.
    #[error("job {job:?} was denied: {}", findings_text(.findings))]
    Denied {
        /// Job.
        job: String,
        /// At least one.
        findings: Vec<model::admission::Finding>,
    },
    /// A policy that gates entry failed, and its binding fails closed.
    #[error(
        "job {job:?} cannot be judged: {policy} {fault}; it stays out until the policy answers, is replaced, or its fail mode is set to open"
    )]
    Unjudged {
        /// Job.
        job: String,
        /// Which policy.
        policy: model::PolicyId,
        /// Its fault.
        fault: String,
    },
    /// Bad gang.
    #[error("gang {job:?}: {problem}")]
    Gang {
        /// Job.
        job: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// No such quota node.
    #[error("there is no quota {0:?}")]
    UnknownQuota(String),
    /// Bad quota node, or one that is in use.
    #[error("quota {name:?}: {problem}")]
    Quota {
        /// Name.
        name: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// No such queue.
    #[error("there is no queue {0:?}; put one of that name first, with the quota that pays for it")]
    UnknownQueue(String),
    /// Bad queue, or one that is in use.
    #[error("queue {name:?}: {problem}")]
    Queue {
        /// Name.
        name: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// No such budget.
    #[error("there is no disruption budget {0:?}")]
    UnknownBudget(String),
    /// Bad budget.
    #[error("disruption budget {name:?}: {problem}")]
    Budget {
        /// Name.
        name: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// No such entry.
    #[error("there is nothing named {name:?} in the {catalog} catalogue")]
    UnknownCatalogEntry {
        /// Which catalogue.
        catalog: String,
        /// Name.
        name: String,
    },
    /// Bad entry, or one too many.
    #[error("catalogue entry {name:?}: {problem}")]
    Catalog {
        /// Name.
        name: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// It has to run for this.
    #[error("pod {0:?} is not running")]
    NotRunning(String),
    /// Only who was asked to leave is reported so.
    #[error("pod {0:?} was not asked to leave; report its end as finished")]
    NotLeaving(String),
    /// A budget, a guard or its own terms forbid it.
    #[error("pod {pod:?} was not evicted: {why}")]
    EvictRefused {
        /// Pod.
        pod: String,
        /// Which rule, with numbers, and what to do.
        why: String,
    },
}

fn findings_text(findings: &[model::admission::Finding]) -> String {
    let lines = findings.iter();
    let lines = lines.map(|f| format!("{} at {}: {}", f.code, f.field, f.message));
    lines.collect::<Vec<_>>().join("; ")
}
