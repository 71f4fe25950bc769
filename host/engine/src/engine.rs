//! The state, and the one way to change it: an event at a time.

use std::sync::Arc;

use model::disruption::{BucketSpec, Terms};
use model::event::{Finish, Mode};
use model::{Event, JobKind, NodeSpec, PodSpec, Reason};

use crate::admission::Admission;
use crate::budget::Budgets;
use crate::cache::{CACHE_BYTES_MAX, ScoreCache};
use crate::class::Classes;
use crate::context::ContextKeeper;
use crate::effect::{Key, Output};
use crate::error::EventError;
use crate::filter::Filter;
use crate::gang::Gangs;
use crate::nodes::Nodes;
use crate::peers::Peers;
use crate::pods::{Allocation, Pod, Pods, Progress, Promise};
use crate::preempt::Preemption;
use crate::queue::Queue;
use crate::quota::Quotas;
use crate::scaling::Scaling;
use crate::score::Scratch;
use crate::set::ScoringSet;

/// Settings of the core. All are inputs: the same settings and events give the
/// same decisions.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes of remembered scores.
    pub cache_bytes: usize,
    /// Work out who would win without each policy of a set of several. Costs a
    /// scan of all rows per policy and decision.
    pub leave_one_out: bool,
    /// How long somebody waits before others are asked to yield, ms: scale-up
    /// gets its chance first.
    pub preempt_after_ms: u64,
    /// Evictions that the system as a whole allows over time.
    pub eviction_bucket: BucketSpec,
    /// Pods waiting at most; further ones are refused, so that a burst cannot
    /// eat the memory of the host.
    pub pending_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES_MAX,
            leave_one_out: true,
            preempt_after_ms: 10_000,
            eviction_bucket: crate::budget::SYSTEM_BUCKET,
            pending_max: 200_000,
        }
    }
}

/// The core. See the crate's page for the story.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) now_ms: u64,
    /// Number of the next decision.
    pub(crate) next_seq: u64,
    pub(crate) next_arrival: u64,
    pub(crate) nodes: Nodes,
    pub(crate) pods: Pods,
    pub(crate) classes: Classes,
    pub(crate) queue: Queue,
    pub(crate) peers: Peers,
    pub(crate) context: ContextKeeper,
    pub(crate) set: ScoringSet,
    /// The set before, still instantiated: going back compiles nothing.
    pub(crate) previous: Option<ScoringSet>,
    pub(crate) cache: ScoreCache,
    /// Grows when cached scores lose their meaning.
    pub(crate) epoch: u64,
    pub(crate) context_seen: u64,
    pub(crate) scratch: Scratch,
    /// Fault of the decision in progress that tripped a breaker.
    pub(crate) tripped: Option<model::decision::FaultNote>,
    pub(crate) scaling: Scaling,
    pub(crate) quotas: Quotas,
    pub(crate) admission: Admission,
    pub(crate) gangs: Gangs,
    pub(crate) preemption: Preemption,
    pub(crate) budgets: Budgets,
    /// Set while the host does not trust its own state: nothing is taken away.
    pub(crate) hold: bool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("nodes", &self.nodes.live())
            .field("pods", &self.pods.live())
            .field("decisions", &self.next_seq)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An empty cluster under the built-in policies.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now_ms: 0,
            next_seq: 1,
            next_arrival: 1,
            nodes: Nodes::default(),
            pods: Pods::default(),
            classes: Classes::default(),
            queue: Queue::default(),
            peers: Peers::default(),
            context: ContextKeeper::default(),
            set: ScoringSet::builtin(0),
            previous: None,
            cache: ScoreCache::default(),
            epoch: 1,
            context_seen: 0,
            scratch: Scratch::default(),
            tripped: None,
            scaling: Scaling::default(),
            quotas: Quotas::default(),
            admission: Admission::default(),
            gangs: Gangs::default(),
            preemption: Preemption::default(),
            budgets: Budgets::default(),
            hold: false,
        }
    }

    /// Applies one event at logical time `now_ms` (time never goes back: an
    /// earlier one counts as the latest seen), then decides every pod that can
    /// be decided. What came of it is appended to `out`.
    ///
    /// # Errors
    /// The event contradicts the state. Nothing has changed then.
    pub fn step(&mut self, now_ms: u64, event: Event, out: &mut Output) -> Result<(), EventError> {
        self.apply(now_ms, event, out)?;
        while self.decide_next(out) {}
        Ok(())
    }

    /// Only the first half of [`Self::step`].
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn apply(&mut self, now_ms: u64, event: Event, out: &mut Output) -> Result<(), EventError> {
        let now_ms = now_ms.max(self.now_ms);
        match event {
            Event::NodePut(spec) => self.put_node(*spec, out)?,
            Event::NodeRemove { name } => {
                let row = self.row(&name)?;
                self.now_ms = now_ms;
                self.remove_node(row, out);
            }
            Event::NodeFailed { name, failed } => {
                let row = self.row(&name)?;
                self.nodes.set_failed(row, failed);
                out.changed
                    .push(Key::Node(Arc::clone(&self.nodes.names[row as usize])));
                self.wake_for(row);
            }
            Event::PodsSubmit(pods) => {
                let before = std::mem::replace(&mut self.now_ms, now_ms);
                let reviewed = self.check_pods(&pods);
                match reviewed.and_then(|()| self.review_pods(pods, out)) {
                    Ok(pods) => pods.into_iter().for_each(|pod| self.submit(pod, out)),
                    Err(refused) => {
                        self.now_ms = before;
                        return Err(refused);
                    }
                }
            }
            Event::JobSubmit(job) => {
                let before = std::mem::replace(&mut self.now_ms, now_ms);
                let reviewed = self.check_job(&job).and_then(|()| self.review(*job, out));
                match reviewed {
                    Ok((job, patches)) => self.submit_job(job, patches, out),
                    Err(refused) => {
                        self.now_ms = before;
                        return Err(refused);
                    }
                }
            }
            Event::JobScale { id, replicas } => {
                if self.waiting() + replicas as usize > self.config.pending_max {
                    return Err(EventError::QueueFull(self.config.pending_max));
                }
                let before = std::mem::replace(&mut self.now_ms, now_ms);
                let reviewed = self.review_scale(&id, replicas, out);
                let scaled = reviewed.and_then(|()| self.scale_job(&id, replicas, out));
                if let Err(refused) = scaled {
                    self.now_ms = before;
                    return Err(refused);
                }
            }
            Event::JobDelete { id } => self.delete_job(&id, out)?,
            Event::PodFinished { name, how } => {
                let slot = self.pods.slot(&name).ok_or(EventError::UnknownPod(name))?;
                self.now_ms = now_ms;
                self.finish(slot, how, out);
            }
            Event::PodEvicted { name } => {
                let slot = self.pods.slot(&name).ok_or(EventError::UnknownPod(name))?;
                let before = std::mem::replace(&mut self.now_ms, now_ms);
                if let Err(refused) = self.pod_left(slot, out) {
                    self.now_ms = before;
                    return Err(refused);
                }
            }
            Event::PodCheckpointed { name } => {
                let slot = self.pods.slot(&name);
                let slot = slot.ok_or_else(|| EventError::UnknownPod(name.clone()))?;
                let pod = self.pods.get_mut(slot);
                if pod.at.is_none() {
                    return Err(EventError::NotRunning(name));
                }
                pod.progress.checkpoint_ms = now_ms;
                out.changed.push(Key::Pod(Arc::clone(&pod.name)));
            }
            Event::PodEvict { name } => {
                let slot = self.pods.slot(&name).ok_or(EventError::UnknownPod(name))?;
                let before = std::mem::replace(&mut self.now_ms, now_ms);
                if let Err(refused) = self.evict_for_operator(slot, out) {
                    self.now_ms = before;
                    return Err(refused);
                }
            }
            Event::QuotaPut(spec) => self.put_quota(spec, out)?,
            Event::QuotaRemove { name } => self.remove_quota(&name, out)?,
            Event::QueuePut(spec) => self.put_queue(spec, out)?,
            Event::QueueRemove { name } => self.remove_queue(&name, out)?,
            Event::BudgetPut(spec) => self.put_budget(spec, now_ms, out)?,
            Event::BudgetRemove { name } => self.remove_budget(&name, out)?,
            Event::CatalogPut(entry) => self.put_catalog(entry, out)?,
            Event::CatalogRemove { catalog, name } => {
                self.remove_catalog(&catalog, &name, out)?;
            }
            Event::ApproveEvictions { count } => {
                self.budgets.approve(count);
                self.gangs.wake_all();
                out.changed.push(Key::Core);
            }
            Event::SetMode(mode) => {
                self.context.set_mode(mode);
                out.changed.push(Key::Core);
                self.queue.wake_all();
                self.gangs.wake_all();
            }
            Event::WorkloadProfile(profile) => {
                self.context.set_profile(profile);
                out.changed.push(Key::Core);
            }
            Event::ScalingPut(spec) => self.scaling.put(spec, out)?,
            Event::ScalingRemove { workload } => self.scaling.remove(&workload, out)?,
            Event::MetricSample { workload, value } => {
                self.scaling.sample(now_ms, &workload, value, out)?;
            }
            Event::CalendarPut(entry) => self.scaling.put_calendar(entry, out)?,
            Event::CalendarRemove { name } => self.scaling.remove_calendar(&name, out)?,
            Event::Tick => {
                self.now_ms = now_ms;
                self.queue.wake_due(now_ms);
                self.tick_admission(out);
                self.tick_gangs(out);
                self.tick_evictions(out);
                self.tick_scaling(out);
            }
        }
        self.now_ms = now_ms;
        Ok(())
    }

    // === Nodes ===

    fn row(&self, name: &str) -> Result<u32, EventError> {
        self.nodes
            .row(name)
            .ok_or_else(|| EventError::UnknownNode(name.to_owned()))
    }

    fn put_node(&mut self, spec: NodeSpec, out: &mut Output) -> Result<(), EventError> {
        spec.validate()?;
        if self.nodes.model_limit_reached(&spec) {
            return Err(EventError::TooManyGpuModels(spec.gpus[0].model.clone()));
        }
        if self.nodes.place_limit_reached(&spec) {
            return Err(EventError::TooManyPlaces(spec.name));
        }
        let row = self.place_node(spec, None);
        out.changed
            .push(Key::Node(Arc::clone(&self.nodes.names[row as usize])));
        Ok(())
    }

    /// Puts a node and moves the counts of its pods along with its zone.
    pub(crate) fn place_node(&mut self, spec: NodeSpec, at: Option<u32>) -> u32 {
        if let Some(row) = self.nodes.row(&spec.name) {
            self.count_peers(row, -1);
        }
        let row = self.nodes.put(spec, at);
        self.count_peers(row, 1);
        self.wake_for(row);
        row
    }

    fn count_peers(&mut self, row: u32, by: i32) {
        let zone = self.nodes.zone[row as usize];
        for slot in self.pods.on(row) {
            self.peers.add(self.pods.get(*slot).app, row, zone, by);
        }
        for slot in &self.pods.promised {
            let pod = self.pods.get(*slot);
            if pod.next.is_some_and(|next| next.at.row == row) {
                self.peers.add(pod.app, row, zone, by);
            }
        }
    }

    fn remove_node(&mut self, row: u32, out: &mut Output) {
        self.clear_node(row, out);
        out.changed
            .push(Key::Node(Arc::clone(&self.nodes.names[row as usize])));
        self.nodes.remove(row);
    }

    /// Wakes the parked classes that the row could now run.
    pub(crate) fn wake_for(&mut self, row: u32) {
        if self.nodes.spec(row).is_none() {
            return;
        }
        if self.gangs.any_parked() {
            self.wake_gangs(row);
        }
        if !self.queue.any_parked() {
            return;
        }
        let mut parked = self.queue.classes_aside();
        parked.extend(self.queue.parked());
        for class in parked {
            let filter = Filter::new(&self.nodes, &self.classes, class);
            if self.scratch.check_row(&filter, row) == model::Rejection::Fits {
                self.queue.wake(class);
            }
        }
    }

    // === Pods ===

    fn check_pods(&self, pods: &[PodSpec]) -> Result<(), EventError> {
        if self.waiting() + pods.len() > self.config.pending_max {
            return Err(EventError::QueueFull(self.config.pending_max));
        }
        let mut names = std::collections::BTreeSet::new();
        for pod in pods {
            pod.validate()?;
            if self.pods.slot(&pod.name).is_some() || !names.insert(pod.name.as_str()) {
                return Err(EventError::DuplicatePod(pod.name.clone()));
            }
            if let Some(job) = &pod.job
                && !self.pods.jobs.contains_key(job)
            {
                return Err(EventError::UnknownJob(job.clone()));
            }
            if let Some(job) = &pod.job
                && self
                    .pods
                    .jobs
                    .get(job)
                    .is_some_and(|j| j.spec.gang.is_some())
            {
                return Err(EventError::Gang {
                    job: job.clone(),
                    problem: "its pods are made from its roles; submit single pods without it"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn submit(&mut self, spec: PodSpec, out: &mut Output) {
        self.context.arrived(&spec);
        let slot = self.insert_pod(spec, self.next_arrival, self.now_ms);
        self.next_arrival += 1;
        self.enqueue(slot);
        let name = Arc::clone(&self.pods.get(slot).name);
        out.changed.push(Key::Pod(name));
    }

    pub(crate) fn insert_pod(&mut self, spec: PodSpec, arrival: u64, submitted_ms: u64) -> u32 {
        let name: Arc<str> = Arc::from(spec.name.as_str());
        let app = 1 + self.pods.apps.join(&Arc::from(spec.app.as_str()));
        let class = self.classes.join(&spec);
        let job = spec.job.as_ref().and_then(|id| self.pods.jobs.get(id));
        let queue = job.map(|job| job.spec.meta.queue.as_str());
        let queue = queue.filter(|queue| !queue.is_empty()).map(Arc::from);
        let gang = job.filter(|job| job.spec.gang.is_some());
        let gang = gang.map(|job| Arc::from(job.spec.id.as_str()));
        let terms = job.map_or_else(Terms::default, |job| job.spec.terms);
        self.pods.insert(Pod {
            spec: Arc::new(spec),
            name,
            class,
            app,
            arrival,
            submitted_ms,
            at: None,
            reason: Reason::PendingEvaluation,
            last_decision: None,
            admitted: queue.is_none(),
            next: None,
            leaving: None,
            progress: Progress::default(),
            queue,
            gang,
            terms,
            tried: None,
        })
    }

    /// Puts a waiting pod where it waits: for quota, for its gang, or for a node.
    pub(crate) fn enqueue(&mut self, slot: u32) {
        let pod = self.pods.get(slot);
        if !pod.admitted {
            self.wait_for_quota(slot);
        } else if self.in_gang(slot) {
            self.wait_for_gang(slot);
        } else {
            self.queue
                .push(pod.class, pod.spec.priority, pod.arrival, slot);
        }
    }

    /// Takes a waiting pod away from where [`Self::enqueue`] put it.
    pub(crate) fn dequeue(&mut self, slot: u32) {
        let pod = self.pods.get(slot);
        if !pod.admitted {
            self.stop_waiting_for_quota(slot);
        } else if self.in_gang(slot) {
            self.stop_waiting_for_gang(slot);
        } else {
            self.queue
                .remove(pod.class, pod.spec.priority, pod.arrival, slot);
        }
    }

    /// Whether the pod starts with others or not at all.
    pub(crate) fn in_gang(&self, slot: u32) -> bool {
        self.pods.get(slot).gang.is_some()
    }

    /// Charges a place that becomes the pod's own when its plan is done: nobody
    /// else can take it until then.
    pub(crate) fn promise(&mut self, slot: u32, promise: Promise) {
        let (app, spec) = {
            let pod = self.pods.get(slot);
            (pod.app, Arc::clone(&pod.spec))
        };
        let at = promise.at;
        self.nodes
            .charge(at.row, 1, &spec.requests, at.devices, at.per_device.into());
        self.peers
            .add(app, at.row, self.nodes.zone[at.row as usize], 1);
        self.pods.get_mut(slot).next = Some(promise);
        self.pods.promised.insert(slot);
        self.pods.note_gang(slot);
    }

    /// The reverse of [`Self::promise`].
    pub(crate) fn unpromise(&mut self, slot: u32) -> Option<Promise> {
        let promise = self.pods.get_mut(slot).next.take()?;
        self.pods.promised.remove(&slot);
        self.pods.note_gang(slot);
        let at = promise.at;
        let (app, requests) = {
            let pod = self.pods.get(slot);
            (pod.app, pod.spec.requests)
        };
        self.nodes
            .charge(at.row, -1, &requests, at.devices, at.per_device.into());
        self.peers
            .add(app, at.row, self.nodes.zone[at.row as usize], -1);
        Some(promise)
    }

    /// Charges the node and everything derived from it.
    pub(crate) fn occupy(&mut self, slot: u32, at: Allocation) {
        let pod = self.pods.get(slot);
        let (app, spec) = (pod.app, Arc::clone(&pod.spec));
        self.nodes
            .charge(at.row, 1, &spec.requests, at.devices, at.per_device.into());
        let zone = self.nodes.zone[at.row as usize];
        self.peers.add(app, at.row, zone, 1);
        self.pods.attach(slot, at);
    }

    /// The reverse of [`Self::occupy`].
    pub(crate) fn release(&mut self, slot: u32) -> Option<u32> {
        let at = self.pods.detach(slot)?;
        let pod = self.pods.get(slot);
        let zone = self.nodes.zone[at.row as usize];
        self.peers.add(pod.app, at.row, zone, -1);
        let requests = pod.spec.requests;
        self.nodes
            .charge(at.row, -1, &requests, at.devices, at.per_device.into());
        Some(at.row)
    }

    /// Forgets what is remembered by id of a selector or of tolerations, if such
    /// ids have new meanings.
    pub(crate) fn forget_freed_ids(&mut self) {
        if self.classes.take_ids_freed() {
            self.scratch.forget_matches();
            self.preemption.candidates.clear();
        }
    }

    pub(crate) fn finish(&mut self, slot: u32, how: Finish, out: &mut Output) {
        let promised = self.unpromise(slot);
        let (at, leaving) = (self.pods.get(slot).at, self.pods.get(slot).leaving);
        let freed = self.release(slot);
        if let Some(at) = at {
            self.count_run(slot, &at, leaving, false);
        }
        if freed.is_none() && promised.is_none() {
            self.dequeue(slot);
        }
        if self.pods.get(slot).admitted {
            self.charge_quota(slot, -1);
            self.quota_freed(slot);
        }
        self.plan_lost(slot, out);
        let again = self.gone(slot, how);
        let Some(pod) = self.pods.remove(slot) else {
            return;
        };
        self.classes.leave(pod.class);
        // Counts of an application without pods are zero, so what is remembered
        // of them stays true for the next application with this id.
        self.pods.apps.leave(pod.app - 1);
        self.forget_freed_ids();
        out.changed.push(Key::Pod(Arc::clone(&pod.name)));
        if let Some(id) = &pod.spec.job
            && let Some(job) = self.pods.jobs.get_mut(id)
        {
            match how {
                Finish::Succeeded => job.succeeded += 1,
                Finish::Failed | Finish::TimedOut => job.failed += 1,
                Finish::Deleted => {}
            }
            let over = job.pods.is_empty() && job.spec.kind == JobKind::Batch && !again;
            out.changed.push(Key::Job(Arc::from(id.as_str())));
            if over && how == Finish::Deleted {
                self.pods.jobs.remove(id);
            } else if over {
                self.pods.finished_jobs.push_back(id.clone());
                self.forget_jobs(out);
            }
        }
        if let Some(row) = freed {
            self.wake_for(row);
        }
        if again {
            self.make_again(&pod, out);
            return;
        }
        // A service runs until it is deleted: who ends by itself is replaced.
        if let Some(id) = &pod.spec.job
            && how != Finish::Deleted
            && pod.gang.is_none()
            && self.pods.jobs.get(id).is_some_and(|job| {
                job.spec.kind == JobKind::Service && job.pods.len() < job.spec.replicas as usize
            })
        {
            self.add_replica(&id.clone(), out);
        }
    }

    // === Policies ===

    /// Makes `set` decide from the next decision on. The set before stays
    /// instantiated for [`Self::rollback_scoring`]; the one before that is
    /// returned.
    pub fn install_scoring(&mut self, set: ScoringSet) -> Option<ScoringSet> {
        let old = std::mem::replace(&mut self.set, set);
        self.rules_changed();
        self.previous.replace(old)
    }

    /// Swaps the active and the previous set. `false` if there is none.
    pub fn rollback_scoring(&mut self) -> bool {
        let Some(previous) = self.previous.take() else {
            return false;
        };
        let failed = std::mem::replace(&mut self.set, previous);
        self.previous = Some(failed);
        self.rules_changed();
        true
    }

    pub(crate) fn rules_changed(&mut self) {
        self.epoch += 1;
        // Entries of the old epoch would be rebuilt anyway; keep their memory
        // out of the way of the new set's.
        self.cache.clear();
        self.queue.wake_all();
        self.gangs.wake_all();
    }

    /// The active scoring set.
    #[must_use]
    pub fn scoring(&self) -> &ScoringSet {
        &self.set
    }

    /// The set a rollback would bring back.
    #[must_use]
    pub fn previous_scoring(&self) -> Option<&ScoringSet> {
        self.previous.as_ref()
    }

    /// While held, the engine takes nothing away: no scale-down.
    pub fn set_hold(&mut self, hold: bool) {
        if self.hold && !hold {
            self.hold_ended();
            self.preemption.notice();
        }
        self.hold = hold;
    }

    /// Whether the engine is held.
    #[must_use]
    pub fn hold(&self) -> bool {
        self.hold
    }

    /// Forgets all cached scores. Changes no decision; for tests of just that.
    pub fn drop_cache(&mut self) {
        self.cache.clear();
    }

    /// Logical time of the last event, ms.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Declared mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.context.mode()
    }
}
