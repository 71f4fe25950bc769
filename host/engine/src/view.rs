//! Reading the state: what the API, the page and the CLI show.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::plan::EvictCause;
use model::quantity::GPU_MILLI;
use model::{JobSpec, NodeSpec, PodSpec, Reason, Resources};

use crate::engine::Engine;
use crate::nodes::{SLOTS, slots_of};
use crate::pods::{Pod, Progress};

/// A node as it is now.
#[derive(Debug, Clone)]
pub struct NodeView<'a> {
    /// Row id.
    pub row: u32,
    /// Description.
    pub spec: &'a NodeSpec,
    /// Free amounts.
    pub free: Resources,
    /// Marked failed.
    pub failed: bool,
    /// Free milli-GPU by slot, -1 for an unhealthy device.
    pub gpu_milli_free: &'a [i32],
    /// Pods running on it.
    pub pods: Vec<Arc<str>>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodState {
    /// In the queue.
    Waiting {
        /// Why.
        reason: Reason,
        /// Looked at again at the latest then; `None` while it is next in line.
        retry_at_ms: Option<u64>,
    },
    /// Waits for a place that is being cleared for it and that nobody else gets.
    Promised {
        /// Node.
        node: Arc<str>,
        /// Device slots.
        devices: Vec<u8>,
        /// Plan that clears it.
        plan: u64,
    },
    /// On a node.
    Running {
        /// Node.
        node: Arc<str>,
        /// Device slots.
        devices: Vec<u8>,
        /// Since when, ms.
        since_ms: u64,
        /// Decision that put it there.
        decision: u64,
    },
}

/// A pod as it is now.
#[derive(Debug, Clone)]
pub struct PodView<'a> {
    /// Description.
    pub spec: &'a PodSpec,
    /// Waiting or running.
    pub state: PodState,
    /// Arrival, ms.
    pub submitted_ms: u64,
    /// Latest decision about it.
    pub last_decision: Option<u64>,
    /// Its quota pays for it; always true without a queue.
    pub admitted: bool,
    /// Asked to leave its place.
    pub leaving: Option<LeavingView>,
    /// Node and device slots that a running pod moves to.
    pub next: Option<(Arc<str>, Vec<u8>)>,
    /// What it has done so far.
    pub progress: Progress,
}

/// Why and until when a running pod is asked to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeavingView {
    /// Why.
    pub cause: EvictCause,
    /// Plan it leaves for, 0 for none.
    pub plan: u64,
    /// It counts as gone then, ms.
    pub until_ms: u64,
}

/// A job as it is now.
#[derive(Debug, Clone)]
pub struct JobView<'a> {
    /// Description.
    pub spec: &'a JobSpec,
    /// Arrival, ms.
    pub submitted_ms: u64,
    /// Pods in the queue.
    pub waiting: u32,
    /// Pods on nodes.
    pub running: u32,
    /// Pods that ended well.
    pub succeeded: u32,
    /// Pods that ended otherwise.
    pub failed: u32,
}

/// The cluster in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Nodes.
    pub nodes: u32,
    /// Healthy devices.
    pub gpus: u32,
    /// Milli-GPU in use on healthy devices.
    pub gpu_milli_used: i64,
    /// Running pods.
    pub running: usize,
    /// Waiting pods by reason.
    pub waiting: BTreeMap<Reason, u32>,
    /// Decisions so far.
    pub decisions: u64,
    /// Signatures remembered.
    pub cache_entries: usize,
    /// Bytes they take.
    pub cache_bytes: usize,
}

impl Engine {
    fn node_view(&self, row: u32) -> Option<NodeView<'_>> {
        let spec = self.nodes.spec(row)?;
        let at = row as usize * SLOTS;
        let pods = self.pods.on(row).iter();
        Some(NodeView {
            row,
            spec,
            free: self.nodes.free[row as usize],
            failed: self.nodes.failed[row as usize],
            gpu_milli_free: &self.nodes.gpu_milli_free[at..at + spec.gpus.len()],
            pods: pods.map(|s| Arc::clone(&self.pods.get(*s).name)).collect(),
        })
    }

    /// Nodes in order of row id.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes.live_rows().filter_map(|row| self.node_view(row))
    }

    /// One node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<NodeView<'_>> {
        self.node_view(self.nodes.row(name)?)
    }

    pub(crate) fn pod_state(&self, pod: &Pod) -> PodState {
        if let (None, Some(next)) = (pod.at, pod.next) {
            return PodState::Promised {
                node: Arc::clone(&self.nodes.names[next.at.row as usize]),
                devices: slots_of(next.at.devices).map(|s| s as u8).collect(),
                plan: next.plan,
            };
        }
        match pod.at {
            Some(at) => PodState::Running {
                node: Arc::clone(&self.nodes.names[at.row as usize]),
                devices: slots_of(at.devices).map(|s| s as u8).collect(),
                since_ms: at.since_ms,
                decision: at.decision,
            },
            None if !pod.admitted => PodState::Waiting {
                reason: self.reason_at_quota(pod.spec.job.as_deref()),
                retry_at_ms: None,
            },
            None if pod.gang.is_some() => PodState::Waiting {
                reason: pod.reason,
                retry_at_ms: pod
                    .gang
                    .as_deref()
                    .and_then(|gang| self.gangs.retry_at(gang)),
            },
            None => {
                let aside = self
                    .pods
                    .slot(&pod.name)
                    .and_then(|slot| self.queue.aside_until(slot));
                match aside {
                    Some(_) => PodState::Waiting {
                        reason: pod.reason,
                        retry_at_ms: aside,
                    },
                    None => PodState::Waiting {
                        reason: self.waiting_reason(pod.class),
                        retry_at_ms: self.queue.retry_at(pod.class),
                    },
                }
            }
        }
    }

    /// Pods of a parked class wait for what its head waits for.
    fn waiting_reason(&self, class: u32) -> Reason {
        let head = self.queue.line(class).next();
        match head {
            Some(head) if self.queue.retry_at(class).is_some() => self.pods.get(head).reason,
            _ => Reason::PendingEvaluation,
        }
    }

    fn pod_view<'a>(&'a self, pod: &'a Pod) -> PodView<'a> {
        PodView {
            spec: &pod.spec,
            state: self.pod_state(pod),
            submitted_ms: pod.submitted_ms,
            last_decision: pod.last_decision,
            admitted: pod.admitted,
            leaving: pod.leaving.map(|l| LeavingView {
                cause: l.cause,
                plan: l.plan,
                until_ms: l.until_ms,
            }),
            next: pod.at.and(pod.next).map(|next| {
                let devices = slots_of(next.at.devices).map(|s| s as u8);
                let node = &self.nodes.names[next.at.row as usize];
                (Arc::clone(node), devices.collect())
            }),
            progress: pod.progress,
        }
    }

    /// Pods that wait or run.
    pub fn pods(&self) -> impl Iterator<Item = PodView<'_>> {
        self.pods.iter().map(|(_, pod)| self.pod_view(pod))
    }

    /// One pod that waits or runs.
    #[must_use]
    pub fn pod(&self, name: &str) -> Option<PodView<'_>> {
        let slot = self.pods.slot(name)?;
        Some(self.pod_view(self.pods.get(slot)))
    }

    /// Jobs by id.
    pub fn jobs(&self) -> impl Iterator<Item = JobView<'_>> {
        self.pods.jobs.keys().filter_map(|id| self.job(id))
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: &str) -> Option<JobView<'_>> {
        let job = self.pods.jobs.get(id)?;
        let on_node = |slot: &&u32| self.pods.get(**slot).at.is_some();
        let running = job.pods.iter().filter(on_node).count() as u32;
        Some(JobView {
            spec: &job.spec,
            submitted_ms: job.submitted_ms,
            waiting: job.pods.len() as u32 - running,
            running,
            succeeded: job.succeeded,
            failed: job.failed,
        })
    }

    /// Names of a job's pods that wait or run.
    pub fn job_pods(&self, id: &str) -> impl Iterator<Item = PodView<'_>> {
        let job = self.pods.jobs.get(id);
        job.into_iter()
            .flat_map(|j| j.pods.iter())
            .map(|slot| self.pod_view(self.pods.get(*slot)))
    }

    /// Pods waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pods.live() - self.pods.running()
    }

    /// Admitted pods that wait outside of the queue: for their gang, or for a
    /// place that they were promised.
    fn waiting_elsewhere(&self) -> impl Iterator<Item = &Pod> {
        let promised = self.pods.promised.iter().copied();
        let slots = self.gangs.waiting().chain(promised);
        slots
            .map(|slot| self.pods.get(slot))
            .filter(|p| p.at.is_none())
    }

    /// Pods running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.pods.running()
    }

    /// Healthy devices and the milli-GPU in use on them.
    #[must_use]
    pub fn gpu_usage(&self) -> (u32, i64) {
        let (mut gpus, mut used) = (0, 0);
        for row in self.nodes.live_rows() {
            let count = self.nodes.gpu_count[row as usize];
            gpus += count as u32;
            used += i64::from(count) * i64::from(GPU_MILLI)
                - i64::from(self.nodes.gpu_free[row as usize]);
        }
        (gpus, used)
    }

    /// Arrival of the oldest waiting pod by reason, ms.
    #[must_use]
    pub fn oldest_waiting(&self) -> BTreeMap<Reason, u64> {
        let mut oldest = BTreeMap::new();
        for (class, _) in self.queue.lengths() {
            // The head of a line has the highest priority, not the longest wait.
            let line = self.queue.line(class);
            let Some(first) = line.map(|slot| self.pods.get(slot).submitted_ms).min() else {
                continue;
            };
            oldest
                .entry(self.waiting_reason(class))
                .and_modify(|o: &mut u64| *o = first.min(*o))
                .or_insert(first);
        }
        for slot in self.queue.aside() {
            let pod = self.pods.get(slot);
            oldest
                .entry(pod.reason)
                .and_modify(|o| *o = pod.submitted_ms.min(*o))
                .or_insert(pod.submitted_ms);
        }
        for pod in self.waiting_elsewhere() {
            oldest
                .entry(pod.reason)
                .and_modify(|o| *o = pod.submitted_ms.min(*o))
                .or_insert(pod.submitted_ms);
        }
        for (reason, _, first) in self.waiting_for_quota() {
            oldest
                .entry(reason)
                .and_modify(|o| *o = first.min(*o))
                .or_insert(first);
        }
        oldest
    }

    /// The cluster in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (gpus, gpu_milli_used) = self.gpu_usage();
        let mut waiting = BTreeMap::new();
        for (class, count) in self.queue.lengths() {
            *waiting.entry(self.waiting_reason(class)).or_insert(0) += count;
        }
        for pod in self.queue.aside() {
            *waiting.entry(self.pods.get(pod).reason).or_insert(0) += 1;
        }
        for pod in self.waiting_elsewhere() {
            *waiting.entry(pod.reason).or_insert(0) += 1;
        }
        for (reason, pods, _) in self.waiting_for_quota() {
            *waiting.entry(reason).or_insert(0) += pods;
        }
        Summary {
            nodes: self.nodes.live(),
            gpus,
            gpu_milli_used,
            running: self.pods.running(),
            waiting,
            decisions: self.next_seq - 1,
            cache_entries: self.cache.len(),
            cache_bytes: self.cache.bytes(),
        }
    }
}
