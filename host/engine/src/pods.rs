//! Every pod that is waiting or running, and the jobs they belong to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::admission::Patch;
use model::disruption::Terms;
use model::plan::EvictCause;
use model::{JobSpec, PodSpec, Reason};

use crate::names::{Counted, NameIndex};
use crate::nodes::DeviceChange;
use crate::preempt::Tried;

/// Finished batch jobs that can still be asked about. The journal has the rest.
pub const FINISHED_JOBS_MAX: usize = 10_000;

/// Where a running pod sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) row: u32,
    pub(crate) devices: u16,
    pub(crate) per_device: PerDevice,
    pub(crate) since_ms: u64,
    pub(crate) decision: u64,
}

/// What was taken from each device, as it was when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PerDevice {
    pub(crate) milli: i32,
    pub(crate) memory: i32,
}

impl From<DeviceChange> for PerDevice {
    fn from(c: DeviceChange) -> Self {
        Self {
            milli: c.milli,
            memory: c.memory,
        }
    }
}

impl From<PerDevice> for DeviceChange {
    fn from(c: PerDevice) -> Self {
        Self {
            milli: c.milli,
            memory: c.memory,
        }
    }
}

/// One pod.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) spec: Arc<PodSpec>,
    pub(crate) name: Arc<str>,
    pub(crate) class: u32,
    pub(crate) app: u32,
    /// Arrival number: first come, first served inside a priority.
    pub(crate) arrival: u64,
    pub(crate) submitted_ms: u64,
    pub(crate) at: Option<Allocation>,
    /// Why it waits, as of the last look.
    pub(crate) reason: Reason,
    /// Decision of that look.
    pub(crate) last_decision: Option<u64>,
    /// Its quota pays for it; always true without a queue.
    pub(crate) admitted: bool,
    /// Place it has been promised, already charged: of a waiting pod, or of a
    /// running one that moves.
    pub(crate) next: Option<Promise>,
    /// Asked to leave the place it has.
    pub(crate) leaving: Option<Leaving>,
    /// What it has done so far.
    pub(crate) progress: Progress,
    /// Queue of its job.
    pub(crate) queue: Option<Arc<str>>,
    /// Its job, if that is a gang.
    pub(crate) gang: Option<Arc<str>>,
    /// What its job puts up with.
    pub(crate) terms: Terms,
    /// Its attempts to make others yield.
    pub(crate) tried: Option<Box<Tried>>,
}

/// A place that becomes a pod's own when a plan is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) at: Allocation,
    pub(crate) plan: u64,
}

/// A running pod that was asked to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) cause: EvictCause,
    /// Plan it leaves for, 0 for none.
    pub(crate) plan: u64,
    /// It counts as gone then, ms.
    pub(crate) until_ms: u64,
}

/// What survives an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Run time of earlier runs that was saved, ms.
    pub served_ms: u64,
    /// Run time of earlier runs that was lost, ms.
    pub lost_ms: u64,
    /// Time of the latest checkpoint of the run in progress, ms; 0 for none.
    pub checkpoint_ms: u64,
    /// Times it was evicted.
    pub evictions: u32,
}

/// One job.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) submitted_ms: u64,
    /// Pods that exist, by slot.
    pub(crate) pods: BTreeSet<u32>,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    /// Index of the next pod made.
    pub(crate) next_index: u32,
    /// Changes that admission made to it.
    pub(crate) patches: Vec<Patch>,
    /// Attempts to admit or place it as a whole.
    pub(crate) attempts: u32,
    /// When it last started as a whole (gangs), ms.
    pub(crate) started_ms: Option<u64>,
    /// Its attempts to make others yield (gangs).
    pub(crate) tried: Option<Box<Tried>>,
}

/// What comes due. Arrival numbers order what happens at one time, because slots
/// differ after a restart.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Pods that are leaving, as (when they count as gone, arrival, slot).
    pub(crate) graces: BTreeSet<(u64, u64, u32)>,
    /// Pods whose run time is limited, as (when it is over, arrival, slot).
    pub(crate) limits: BTreeSet<(u64, u64, u32)>,
    /// Gangs of which a member started, stopped or was asked to leave.
    pub(crate) gangs: BTreeSet<Arc<str>>,
}

/// Pods by slot, jobs by id.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    slots: Vec<Option<Pod>>,
    vacant: Vec<u32>,
    index: NameIndex,
    pub(crate) running_on: Vec<Vec<u32>>,
    pub(crate) apps: Counted<Arc<str>>,
    pub(crate) jobs: BTreeMap<String, Job>,
    /// Finished batch jobs, oldest first.
    pub(crate) finished_jobs: VecDeque<String>,
    /// Pods that have been promised a place.
    pub(crate) promised: BTreeSet<u32>,
    /// What comes due for pods that run.
    pub(crate) timers: Timers,
    /// By application id: pods that run and were not asked to leave.
    available: Vec<u32>,
    live: usize,
    running: usize,
    /// Running pods that may be stopped, by priority.
    stoppable: BTreeMap<i32, u32>,
    /// Running pods that may be moved.
    movable: u32,
}

impl Pods {
    /// Pods of an application that run and were not asked to leave.
    pub(crate) fn available(&self, app: u32) -> u32 {
        self.available.get(app as usize).copied().unwrap_or(0)
    }

    fn count_available(&mut self, app: u32, by: i32) {
        let app = app as usize;
        if self.available.len() <= app {
            self.available.resize(app + 1, 0);
        }
        self.available[app] = self.available[app].saturating_add_signed(by);
    }

    /// Marks a running pod as asked to leave.
    pub(crate) fn set_leaving(&mut self, slot: u32, leaving: Leaving) {
        let pod = self.get_mut(slot);
        if pod.at.is_none() || pod.leaving.is_some() {
            return;
        }
        let app = pod.app;
        pod.leaving = Some(leaving);
        let deadline = (leaving.until_ms, pod.arrival, slot);
        self.timers.graces.insert(deadline);
        self.count_available(app, -1);
        self.note_gang(slot);
    }

    /// A member of a gang starts, stops or leaves: its gang is looked at before
    /// the next decision.
    pub(crate) fn note_gang(&mut self, slot: u32) {
        if let Some(gang) = self.get(slot).gang.clone() {
            self.timers.gangs.insert(gang);
        }
    }

    /// When a running pod will have run as long as it may.
    fn runtime_end(&self, slot: u32) -> Option<(u64, u64, u32)> {
        let pod = self.get(slot);
        let at = pod.at?;
        let job = self.jobs.get(pod.spec.job.as_ref()?)?;
        let limit = job.spec.meta.runtime_limit_ms?;
        let left = limit.saturating_sub(pod.progress.served_ms);
        Some((at.since_ms.saturating_add(left), pod.arrival, slot))
    }

    pub(crate) fn slot(&self, name: &str) -> Option<u32> {
        self.index.get(name)
    }

    /// # Panics
    /// If the slot is empty, which only a bug of the engine can ask for.
    pub(crate) fn get(&self, slot: u32) -> &Pod {
        match &self.slots[slot as usize] {
            Some(pod) => pod,
            None => panic!("no pod in slot {slot}"),
        }
    }

    /// # Panics
    /// As [`Self::get`].
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Pod {
        match &mut self.slots[slot as usize] {
            Some(pod) => pod,
            None => panic!("no pod in slot {slot}"),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Pod)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(i, p)| p.as_ref().map(|p| (i as u32, p)))
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn insert(&mut self, pod: Pod) -> u32 {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.index.insert(Arc::clone(&pod.name), slot);
        if let Some(id) = &pod.spec.job
            && let Some(job) = self.jobs.get_mut(id)
        {
            job.pods.insert(slot);
        }
        self.slots[slot as usize] = Some(pod);
        self.live += 1;
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Pod> {
        let pod = self.slots[slot as usize].take()?;
        self.index.remove(&pod.name);
        self.promised.remove(&slot);
        if let Some(id) = &pod.spec.job
            && let Some(job) = self.jobs.get_mut(id)
        {
            job.pods.remove(&slot);
        }
        self.vacant.push(slot);
        self.live -= 1;
        Some(pod)
    }

    pub(crate) fn attach(&mut self, slot: u32, at: Allocation) {
        let row = at.row as usize;
        if self.running_on.len() <= row {
            self.running_on.resize(row + 1, Vec::new());
        }
        self.running_on[row].push(slot);
        let pod = self.get_mut(slot);
        pod.at = Some(at);
        let (app, stays) = (pod.app, pod.leaving.is_none());
        if stays {
            self.count_available(app, 1);
        }
        self.promised.remove(&slot);
        if let Some(end) = self.runtime_end(slot) {
            self.timers.limits.insert(end);
        }
        self.note_gang(slot);
        self.running += 1;
        self.count_terms(slot, 1);
    }

    pub(crate) fn detach(&mut self, slot: u32) -> Option<Allocation> {
        if let Some(end) = self.runtime_end(slot) {
            self.timers.limits.remove(&end);
        }
        let pod = self.get_mut(slot);
        let at = pod.at.take()?;
        let (app, leaving) = (pod.app, pod.leaving.take());
        let arrival = pod.arrival;
        match leaving {
            Some(l) => {
                let deadline = (l.until_ms, arrival, slot);
                self.timers.graces.remove(&deadline);
            }
            None => self.count_available(app, -1),
        }
        self.note_gang(slot);
        self.running_on[at.row as usize].retain(|s| *s != slot);
        self.running -= 1;
        self.count_terms(slot, -1);
        Some(at)
    }

    fn count_terms(&mut self, slot: u32, by: i32) {
        let pod = self.get(slot);
        let (terms, priority) = (pod.terms, pod.spec.priority);
        if terms.movable {
            self.movable = self.movable.saturating_add_signed(by);
        }
        if terms.preemptible {
            let count = self.stoppable.entry(priority).or_insert(0);
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.stoppable.remove(&priority);
            }
        }
    }

    /// Lets everybody who asked others to yield try again.
    pub(crate) fn forget_tries(&mut self) {
        for pod in self.slots.iter_mut().flatten() {
            pod.tried = None;
        }
        for job in self.jobs.values_mut() {
            job.tried = None;
        }
    }

    /// Lowest priority among running pods that may be stopped.
    pub(crate) fn lowest_priority(&self) -> Option<i32> {
        self.stoppable.first_key_value().map(|(p, _)| *p)
    }

    /// Running pods that may be moved.
    pub(crate) fn movable(&self) -> u32 {
        self.movable
    }

    pub(crate) fn on(&self, row: u32) -> &[u32] {
        self.running_on.get(row as usize).map_or(&[], Vec::as_slice)
    }
}
