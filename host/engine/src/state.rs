//! The state as separate objects that a store can write down one by one, and
//! the way back. A restored engine takes the same decisions as the one that was
//! exported, as far as policies do not plan with what arrived since the histogram
//! was last published, which is learned again (`tests/properties.rs` compares
//! random runs).

use std::sync::Arc;

use model::admission::{CatalogEntry, Patch};
use model::disruption::BudgetSpec;
use model::event::{Mode, ShapeClass};
use model::plan::{EvictCause, PlanRecord};
use model::quota::{QueueSpec, QuotaSpec};
use model::scaling::CalendarEvent;
use model::{GpuRequest, JobSpec, NodeSpec, PodSpec};

use crate::context::Seen;
use crate::effect::Key;
use crate::engine::{Config, Engine};
pub use crate::pods::Progress;
use crate::pods::{Allocation, Job, Leaving, PerDevice, Promise};
pub use crate::preempt::Tried;
pub use crate::scaling::ScalingState;

/// One learned class of workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedShape {
    /// Milli-cores.
    pub cpu_milli: i64,
    /// Devices.
    pub gpu: GpuRequest,
    /// Pods counted.
    pub count: u64,
    /// Their memory in MiB, summed.
    pub memory_mib: i64,
}

/// Counters, mode, and what was learned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoreState {
    /// Logical time, ms.
    pub now_ms: u64,
    /// Number of the next decision.
    pub next_seq: u64,
    /// Number of the next arrival.
    pub next_arrival: u64,
    /// Declared mode.
    pub mode: Mode,
    /// Version of the policies' context.
    pub context_version: u64,
    /// Arrivals counted.
    pub arrivals: u64,
    /// Arrival at which the histogram is next published.
    pub publish_at: u64,
    /// The published histogram.
    pub learned: Vec<LearnedShape>,
    /// Given by people.
    pub profile: Vec<ShapeClass>,
    /// Names by id: policies see the ids.
    pub gpu_models: Vec<String>,
    /// Zones by id.
    pub zones: Vec<String>,
    /// Racks by id.
    pub racks: Vec<String>,
    /// Blocks by id.
    pub blocks: Vec<String>,
    /// Number of the next plan.
    pub next_plan: u64,
    /// Evictions in the guard's window, as (time in ms, pods), oldest first.
    pub evictions: Vec<(u64, u32)>,
    /// Evictions an operator has approved beyond the guard.
    pub evictions_approved: u32,
    /// Tokens missing in the system's eviction bucket.
    pub eviction_tokens_spent: u32,
    /// Time up to which that is worked out, ms.
    pub eviction_tokens_ms: u64,
}

/// A node and its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Description.
    pub spec: NodeSpec,
    /// Row id, which breaks ties.
    pub row: u32,
    /// Marked failed.
    pub failed: bool,
}

/// Where a running pod sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundState {
    /// Node.
    pub node: String,
    /// Device slots as a mask.
    pub devices: u16,
    /// Milli-GPU taken from each.
    pub milli: i32,
    /// MiB taken from each.
    pub memory_mib: i32,
    /// Since, ms.
    pub since_ms: u64,
    /// Decision.
    pub decision: u64,
}

/// A pod that waits or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRecord {
    /// Description.
    pub spec: PodSpec,
    /// Arrival number.
    pub arrival: u64,
    /// Arrival time, ms.
    pub submitted_ms: u64,
    /// Latest decision about it.
    pub last_decision: Option<u64>,
    /// Where, if running.
    pub bound: Option<BoundState>,
    /// Its quota pays for it.
    pub admitted: bool,
    /// Place it has been promised, and by which plan.
    pub next: Option<(BoundState, u64)>,
    /// Asked to leave: cause, plan (0 for none), and when it counts as gone, ms.
    pub leaving: Option<(EvictCause, u64, u64)>,
    /// What it has done so far.
    pub progress: Progress,
    /// Its attempts to make others yield.
    pub tried: Option<Tried>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// Description.
    pub spec: JobSpec,
    /// Arrival time, ms.
    pub submitted_ms: u64,
    /// Pods that ended well.
    pub succeeded: u32,
    /// Pods that ended otherwise.
    pub failed: u32,
    /// Index of the next pod made.
    pub next_index: u32,
    /// Changes that admission made to it.
    pub patches: Vec<Patch>,
    /// Attempts to admit or place it as a whole.
    pub attempts: u32,
    /// When it last started as a whole (gangs), ms.
    pub started_ms: Option<u64>,
    /// Its attempts to make others yield (gangs).
    pub tried: Option<Tried>,
}

/// One object of the state.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant's payload documents itself")]
pub enum Object {
    Core(CoreState),
    Node(NodeState),
    Pod(PodRecord),
    Job(JobState),
    Scaling(ScalingState),
    Calendar(CalendarEvent),
    Quota(QuotaSpec),
    Queue(QueueSpec),
    Budget(BudgetState),
    Catalog(CatalogEntry),
    Plan(PlanRecord),
}

/// A disruption budget and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetState {
    /// Description.
    pub spec: BudgetSpec,
    /// Tokens left.
    pub tokens: u32,
    /// Time up to which tokens were refilled, ms.
    pub refilled_ms: u64,
}

/// Objects that contradict each other. The host refuses to start on them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Two objects of one name, or none where one is needed.
    #[error("{0}")]
    Inconsistent(String),
}

impl Engine {
    /// The object behind a key; `None` if it is gone.
    #[must_use]
    pub fn export(&self, key: &Key) -> Option<Object> {
        match key {
            Key::Core => Some(Object::Core(self.export_core())),
            Key::Node(name) => {
                let row = self.nodes.row(name)?;
                let spec = self.nodes.spec(row)?;
                Some(Object::Node(NodeState {
                    spec: (**spec).clone(),
                    row,
                    failed: self.nodes.failed[row as usize],
                }))
            }
            Key::Pod(name) => self.export_pod(name).map(Object::Pod),
            Key::Job(id) => {
                let job = self.pods.jobs.get(&**id)?;
                Some(Object::Job(JobState {
                    spec: (*job.spec).clone(),
                    submitted_ms: job.submitted_ms,
                    succeeded: job.succeeded,
                    failed: job.failed,
                    next_index: job.next_index,
                    patches: job.patches.clone(),
                    attempts: job.attempts,
                    started_ms: job.started_ms,
                    tried: job.tried.as_deref().cloned(),
                }))
            }
            Key::Scaling(name) => self.scaling.export(name).map(Object::Scaling),
            Key::Calendar(name) => self.scaling.calendar_entry(name).map(Object::Calendar),
            Key::Quota(name) => self.quotas.spec(name).cloned().map(Object::Quota),
            Key::Queue(name) => self.quotas.queue(name).cloned().map(Object::Queue),
            Key::Budget(name) => self.budgets.export(name).map(Object::Budget),
            Key::Catalog(kind, name) => self
                .admission
                .catalog_entry(kind, name)
                .cloned()
                .map(Object::Catalog),
            Key::Plan(id) => self.preemption.plan(*id).cloned().map(Object::Plan),
        }
    }

    /// Keys of everything there is.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let nodes = self.nodes.live_rows();
        let jobs = self.pods.jobs.keys();
        let pods = self.pods.iter();
        [Key::Core]
            .into_iter()
            .chain(nodes.map(|r| Key::Node(Arc::clone(&self.nodes.names[r as usize]))))
            .chain(jobs.map(|id| Key::Job(Arc::from(id.as_str()))))
            .chain(pods.map(|(_, p)| Key::Pod(Arc::clone(&p.name))))
            .chain(self.scaling.names().map(|n| Key::Scaling(Arc::from(n))))
            .chain(
                self.scaling
                    .calendar()
                    .map(|e| Key::Calendar(Arc::from(e.name.as_str()))),
            )
            .chain(self.quotas.names().map(|n| Key::Quota(Arc::from(n))))
            .chain(self.quotas.queue_names().map(|n| Key::Queue(Arc::from(n))))
            .chain(self.budgets.names().map(|n| Key::Budget(Arc::from(n))))
            .chain(self.admission.catalog().map(|e| {
                let (kind, name) = e.key();
                Key::Catalog(kind, Arc::from(name))
            }))
            .chain(self.preemption.plan_ids().map(Key::Plan))
    }

    fn export_core(&self) -> CoreState {
        let names = |list: &[Arc<str>]| list.iter().map(|n| n.to_string()).collect();
        CoreState {
            now_ms: self.now_ms,
            next_seq: self.next_seq,
            next_arrival: self.next_arrival,
            mode: self.context.mode(),
            context_version: self.context.shared().version,
            arrivals: self.context.arrivals,
            publish_at: self.context.publish_at,
            learned: self
                .context
                .published()
                .iter()
                .map(|((cpu_milli, gpu), seen)| LearnedShape {
                    cpu_milli: *cpu_milli,
                    gpu: gpu.clone(),
                    count: seen.count,
                    memory_mib: seen.memory_mib,
                })
                .collect(),
            profile: self.context.profile.clone(),
            gpu_models: names(self.nodes.gpu_models.values()),
            zones: names(self.nodes.zones.values()),
            racks: names(self.nodes.racks.values()),
            blocks: names(self.nodes.blocks.values()),
            next_plan: self.preemption.next_plan,
            evictions: self.budgets.window(),
            evictions_approved: self.budgets.approved(),
            eviction_tokens_spent: self.budgets.spent().0,
            eviction_tokens_ms: self.budgets.spent().1,
        }
    }

    fn export_pod(&self, name: &str) -> Option<PodRecord> {
        let pod = self.pods.get(self.pods.slot(name)?);
        Some(PodRecord {
            spec: (*pod.spec).clone(),
            arrival: pod.arrival,
            submitted_ms: pod.submitted_ms,
            last_decision: pod.last_decision,
            bound: pod.at.map(|at| self.bound_state(&at)),
            admitted: pod.admitted,
            next: pod.next.map(|n| (self.bound_state(&n.at), n.plan)),
            leaving: pod.leaving.map(|l| (l.cause, l.plan, l.until_ms)),
            progress: pod.progress,
            tried: pod.tried.as_deref().cloned(),
        })
    }

    fn bound_state(&self, at: &Allocation) -> BoundState {
        BoundState {
            node: self.nodes.names[at.row as usize].to_string(),
            devices: at.devices,
            milli: at.per_device.milli,
            memory_mib: at.per_device.memory,
            since_ms: at.since_ms,
            decision: at.decision,
        }
    }

    /// The place a record speaks of.
    fn allocation(&self, pod: &str, bound: &BoundState) -> Result<Allocation, RestoreError> {
        let Some(row) = self.nodes.row(&bound.node) else {
            let text = format!("pod {pod:?} runs on {:?}, which is not there", bound.node);
            return Err(RestoreError::Inconsistent(text));
        };
        Ok(Allocation {
            row,
            devices: bound.devices,
            per_device: PerDevice {
                milli: bound.milli,
                memory: bound.memory_mib,
            },
            since_ms: bound.since_ms,
            decision: bound.decision,
        })
    }

    /// An engine with this state, in any order of objects, under the built-in
    /// policies. Waiting pods are looked at again at the next step.
    ///
    /// # Errors
    /// Objects that contradict each other; nothing partial is returned.
    pub fn restore(config: Config, objects: Vec<Object>) -> Result<Self, RestoreError> {
        let mut engine = Self::new(config);
        let (mut core, mut nodes, mut pods, mut jobs) = (None, Vec::new(), Vec::new(), Vec::new());
        let (mut scaling, mut quotas, mut queues) = (Vec::new(), Vec::new(), Vec::new());
        let mut plans = Vec::new();
        for object in objects {
            match object {
                Object::Core(c) => core = Some(c),
                Object::Node(n) => nodes.push(n),
                Object::Pod(p) => pods.push(p),
                Object::Job(j) => jobs.push(j),
                Object::Scaling(s) => scaling.push(s),
                Object::Calendar(c) => engine.scaling.restore_calendar(c),
                Object::Quota(q) => quotas.push(q),
                Object::Queue(q) => queues.push(q),
                Object::Budget(b) => engine.budgets.restore(b),
                Object::Catalog(c) => engine.admission.restore_catalog(c),
                Object::Plan(p) => plans.push(p),
            }
        }
        let Some(core) = core else {
            if nodes.is_empty() && pods.is_empty() && jobs.is_empty() && scaling.is_empty() {
                return Ok(engine);
            }
            let text = "there are nodes or pods, but the counters of the core are missing";
            return Err(RestoreError::Inconsistent(text.to_owned()));
        };
        engine.restore_core(core);
        for spec in quotas {
            engine.quotas.restore_quota(spec);
        }
        for spec in queues {
            engine.quotas.restore_queue(spec);
        }
        for plan in plans {
            engine.preemption.restore_plan(plan);
        }
        nodes.sort_by_key(|n| n.row);
        for node in nodes {
            engine.restore_node(node)?;
        }
        for job in jobs {
            engine.pods.jobs.insert(
                job.spec.id.clone(),
                Job {
                    spec: Arc::new(job.spec),
                    submitted_ms: job.submitted_ms,
                    pods: std::collections::BTreeSet::new(),
                    succeeded: job.succeeded,
                    failed: job.failed,
                    next_index: job.next_index,
                    patches: job.patches,
                    attempts: job.attempts,
                    started_ms: job.started_ms,
                    tried: job.tried.map(Box::new),
                },
            );
        }
        pods.sort_by_key(|p| p.arrival);
        for pod in pods {
            engine.restore_pod(pod)?;
        }
        engine.restore_finished_jobs();
        engine.restore_gangs();
        engine.check_quotas()?;
        for s in scaling {
            engine.scaling.restore(s);
        }
        Ok(engine)
    }

    /// In order of arrival, which is all that is known after a restart.
    fn restore_finished_jobs(&mut self) {
        let batch = |job: &&Job| job.spec.kind == model::JobKind::Batch && job.pods.is_empty();
        let jobs = self.pods.jobs.values().filter(batch);
        let mut done: Vec<_> = jobs.map(|j| (j.submitted_ms, j.spec.id.clone())).collect();
        done.sort_unstable();
        self.pods.finished_jobs = done.into_iter().map(|(_, id)| id).collect();
    }

    fn restore_core(&mut self, core: CoreState) {
        self.now_ms = core.now_ms;
        self.next_seq = core.next_seq;
        self.next_arrival = core.next_arrival;
        for name in &core.gpu_models {
            self.nodes.gpu_models.intern(&Arc::from(name.as_str()));
        }
        for name in &core.zones {
            self.nodes.zones.intern(&Arc::from(name.as_str()));
        }
        for name in &core.racks {
            self.nodes.racks.intern(&Arc::from(name.as_str()));
        }
        for name in &core.blocks {
            self.nodes.blocks.intern(&Arc::from(name.as_str()));
        }
        self.preemption.next_plan = core.next_plan.max(1);
        self.budgets.restore_guard(
            core.evictions,
            core.evictions_approved,
            (core.eviction_tokens_spent, core.eviction_tokens_ms),
        );
        let learned = core.learned.into_iter().map(|s| {
            let seen = Seen {
                count: s.count,
                memory_mib: s.memory_mib,
            };
            ((s.cpu_milli, s.gpu), seen)
        });
        self.context.restore(
            core.mode,
            core.context_version,
            core.arrivals,
            core.publish_at,
            learned.collect(),
        );
        self.context.set_profile(core.profile);
    }

    fn restore_node(&mut self, node: NodeState) -> Result<(), RestoreError> {
        let name = &node.spec.name;
        if node.row < self.nodes.rows() && self.nodes.spec(node.row).is_some() {
            let text = format!("node {name:?} wants row {}, which is taken", node.row);
            return Err(RestoreError::Inconsistent(text));
        }
        if self.nodes.row(name).is_some() {
            let text = format!("there are two nodes named {name:?}");
            return Err(RestoreError::Inconsistent(text));
        }
        let row = self.place_node(node.spec, Some(node.row));
        self.nodes.set_failed(row, node.failed);
        Ok(())
    }

    fn restore_pod(&mut self, pod: PodRecord) -> Result<(), RestoreError> {
        if self.pods.slot(&pod.spec.name).is_some() {
            let text = format!("there are two pods named {:?}", pod.spec.name);
            return Err(RestoreError::Inconsistent(text));
        }
        let name = pod.spec.name.clone();
        let slot = self.insert_pod(pod.spec, pod.arrival, pod.submitted_ms);
        self.pods.get_mut(slot).last_decision = pod.last_decision;
        {
            let restored = self.pods.get_mut(slot);
            restored.admitted = pod.admitted;
            restored.progress = pod.progress;
            restored.tried = pod.tried.map(Box::new);
        }
        if pod.admitted {
            self.charge_quota(slot, 1);
        }
        // A promise of a plan that is over is nobody's.
        let next = pod
            .next
            .filter(|(_, plan)| self.preemption.plan(*plan).is_some());
        if let Some((next, plan)) = next {
            let at = self.allocation(&name, &next)?;
            self.promise(slot, Promise { at, plan });
            self.preemption.restored_promise(plan, slot);
        }
        if let Some(bound) = pod.bound {
            let at = self.allocation(&name, &bound)?;
            self.occupy(slot, at);
            if let Some((cause, plan, until_ms)) = pod.leaving {
                let leaving = Leaving {
                    cause,
                    plan,
                    until_ms,
                };
                self.restore_leaving(slot, leaving);
                self.preemption.restored_wait(plan, slot);
            }
        } else if self.pods.get(slot).next.is_none() {
            self.enqueue(slot);
        }
        Ok(())
    }
}
