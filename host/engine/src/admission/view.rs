//! Reading quotas, queues and who waits: what the API, the page and `why` show.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::admission::{CatalogEntry, Finding};
use model::plan::{AdmissionOutcome, QuotaShortage};
use model::quota::{Amounts, QueueSpec, QuotaResource, QuotaSpec};
use model::{JobSpec, Reason};

use super::line::{Standing, Waiting};
use super::ruling::{Decided, Owed, native, shape_of_spec};
use crate::engine::Engine;
use crate::error::EventError;

/// A quota node as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaView {
    /// Description.
    pub spec: QuotaSpec,
    /// Used by it and everything below.
    pub used: Amounts,
    /// Used by the queues that draw on it directly.
    pub own: Amounts,
    /// What more it can use now, by [`QuotaResource`]; `None` where nothing
    /// limits it.
    pub available: [Option<i64>; QuotaResource::COUNT],
    /// Used beyond its own quota.
    pub borrowed: Amounts,
    /// Usage as thousandths of its own quota, of its dominant resource; more
    /// than 1000 is borrowed.
    pub share: u32,
    /// Queues that draw on it directly.
    pub queues: Vec<String>,
}

/// A job that waits for quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingJob {
    /// Job.
    pub id: Arc<str>,
    /// Its pods that wait for quota; others may have entered already.
    pub pods: u32,
    /// Its priority.
    pub priority: i32,
    /// Arrival of the first of them, ms.
    pub since_ms: u64,
    /// Why.
    pub reason: Reason,
    /// What is missing where, as of the last cycle that looked.
    pub shortages: Vec<QuotaShortage>,
    /// Others use what is its own, and will be asked to give it back.
    pub reclaiming: bool,
    /// Why it can never enter, if so.
    pub finding: Option<Finding>,
}

/// A queue as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Description.
    pub spec: QueueSpec,
    /// Who waits, in order.
    pub waiting: Vec<WaitingJob>,
    /// Pods its quota pays for.
    pub admitted: u32,
    /// What they take.
    pub used: Amounts,
}

/// Why a job waits for quota, for `why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaWait {
    /// The job.
    pub job: WaitingJob,
    /// Its queue.
    pub queue: Arc<str>,
    /// Quota node that pays.
    pub quota: String,
    /// Jobs before it in its line.
    pub ahead: u32,
    /// The least that could enter, in the job's amounts.
    pub needs: Amounts,
    /// Queues that use more than their own quota, and by how much: what could be
    /// given back.
    pub borrowers: Vec<(String, Amounts)>,
}

impl Engine {
    /// Quota nodes, parents before children.
    #[must_use]
    pub fn quota_views(&self) -> Vec<QuotaView> {
        let tree = self.quotas.tree();
        let mut queues: BTreeMap<&str, (Amounts, Vec<String>)> = BTreeMap::new();
        for name in self.quotas.queue_names() {
            if let Some(queue) = self.quotas.queue_state(name) {
                let (own, names) = queues.entry(&queue.spec.quota).or_default();
                own.add(&queue.used, 1);
                names.push(name.to_owned());
            }
        }
        let nodes = 0..tree.len() as u32;
        let views = nodes.filter_map(|node| {
            let spec = self.quotas.spec(&tree.names[node as usize])?;
            let (own, queues) = queues.remove(spec.name.as_str()).unwrap_or_default();
            let usage = self.quotas.usage();
            Some(QuotaView {
                spec: spec.clone(),
                used: *self.quotas.used_below(node),
                own,
                available: QuotaResource::ALL.map(|r| tree.room(usage, node, r)),
                borrowed: tree.borrowed(usage, node, &Amounts::default()),
                share: tree.entitlement(usage, node),
                queues,
            })
        });
        views.collect()
    }

    /// Queues by name, with who waits in them.
    #[must_use]
    pub fn queue_views(&self) -> Vec<QueueView> {
        let names = self.quotas.queue_names();
        let queues = names.filter_map(|name| self.quotas.queue_state(name));
        let views = queues.map(|queue| {
            let line = self.admission.lines.line(&queue.spec.name);
            QueueView {
                waiting: line.map(|(id, job)| self.waiting_job(id, job)).collect(),
                admitted: queue.pods,
                used: queue.used,
                spec: queue.spec.clone(),
            }
        });
        views.collect()
    }

    fn waiting_job(&self, id: &Arc<str>, job: &Waiting) -> WaitingJob {
        let (shortages, reclaiming, finding) = match &job.standing {
            Standing::New => (Vec::new(), false, None),
            Standing::Waiting(short) => (short.clone(), false, None),
            Standing::Reclaiming(short) => (short.clone(), true, None),
            Standing::Rejected(finding) => (Vec::new(), false, Some(finding.clone())),
        };
        let first = job.pods.first();
        WaitingJob {
            id: Arc::clone(id),
            pods: job.pods.len() as u32,
            priority: job.key.0.0,
            since_ms: first.map_or(0, |(_, slot)| self.pods.get(*slot).submitted_ms),
            reason: self.quota_reason(job),
            shortages,
            reclaiming,
            finding,
        }
    }

    fn quota_reason(&self, job: &Waiting) -> Reason {
        if self.quotas.queue(&job.queue).is_some_and(|q| q.suspended) {
            return Reason::QueueSuspended;
        }
        match job.standing {
            Standing::New => Reason::PendingEvaluation,
            Standing::Waiting(_) | Standing::Reclaiming(_) => Reason::WaitingForQuota,
            Standing::Rejected(_) => Reason::ExceedsQuota,
        }
    }

    /// Why a pod that is not admitted waits.
    pub(crate) fn reason_at_quota(&self, job: Option<&str>) -> Reason {
        let job = job.and_then(|id| self.admission.lines.job(id));
        job.map_or(Reason::PendingEvaluation, |job| self.quota_reason(job))
    }

    /// Reason, pods, and first arrival of every job that waits for quota.
    pub(crate) fn waiting_for_quota(&self) -> impl Iterator<Item = (Reason, u32, u64)> + '_ {
        self.admission.lines.jobs().map(|(_, job)| {
            let first = job.pods.iter().map(|(_, slot)| *slot);
            let first = first.map(|slot| self.pods.get(slot).submitted_ms).min();
            let pods = job.pods.len() as u32;
            (self.quota_reason(job), pods, first.unwrap_or(self.now_ms))
        })
    }

    /// Pods that wait for quota.
    #[must_use]
    pub fn pods_waiting_for_quota(&self) -> usize {
        self.admission.lines.pods()
    }

    /// Why a job waits for quota; `None` if it does not.
    #[must_use]
    pub fn quota_wait(&self, job: &str) -> Option<QuotaWait> {
        let waiting = self.admission.lines.job(job)?;
        let (.., id) = &waiting.key;
        let queue = self.quotas.queue(&waiting.queue)?;
        let line = self.admission.lines.line(&waiting.queue);
        let names = self.quotas.queue_names();
        let borrowers = names.filter_map(|name| {
            let borrowed = self.quotas.borrowed(name);
            (!borrowed.is_zero()).then(|| (name.to_owned(), borrowed))
        });
        Some(QuotaWait {
            job: self.waiting_job(id, waiting),
            queue: Arc::clone(&waiting.queue),
            quota: queue.quota.clone(),
            ahead: line.take_while(|(other, _)| *other != id).count() as u32,
            needs: self.shape_of(job)?.min_demand,
            borrowers: borrowers.collect(),
        })
    }

    /// What the host's own rules would say to a job at the head of its queue now.
    /// Who waits before it, and what policies would say, is left out.
    #[must_use]
    pub fn quota_ruling(&self, job: &JobSpec) -> AdmissionOutcome {
        let queue = &job.meta.queue;
        if queue.is_empty() || job.replicas == 0 {
            return AdmissionOutcome::Accepted;
        }
        // Sums over more pods than a job may have could overflow.
        if job.replicas > model::job::REPLICAS_MAX {
            return AdmissionOutcome::Rejected(Finding {
                code: "TooManyReplicas".to_owned(),
                field: "/replicas".to_owned(),
                message: EventError::TooManyReplicas(job.replicas).to_string(),
            });
        }
        match native(&self.quotas, queue, &shape_of_spec(job), &Owed::default()) {
            Decided::Enter(counts) => AdmissionOutcome::Admitted(counts.iter().sum()),
            Decided::Stay(Standing::Reclaiming(short)) => AdmissionOutcome::Reclaiming(short),
            Decided::Stay(Standing::Rejected(finding)) => AdmissionOutcome::Rejected(finding),
            Decided::Stay(Standing::Waiting(short)) => AdmissionOutcome::Waiting(short),
            Decided::Stay(Standing::New) => AdmissionOutcome::Waiting(Vec::new()),
        }
    }

    /// Catalogue entries: applications by name, then images.
    pub fn catalog_entries(&self) -> impl Iterator<Item = &CatalogEntry> {
        self.admission.catalog()
    }
}
