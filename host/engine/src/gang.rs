//! Gangs: all or nothing.
//!
//! Members that their quota pays for wait here and not in the queue of single
//! pods. When enough of every role are here, the gang is decided as one: places
//! for all are found first, then all are bound in the same step. Nothing is held
//! before, so gangs cannot wait for each other. Once it runs, an elastic gang
//! grows member by member (`grow`).
//!
//! For each role, `count` minus the pods that exist have succeeded: a member that
//! ends otherwise is made again, so that what is missing can be read from what
//! is there, also after a restart.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::event::Finish;
use model::plan::EvictCause;
use model::{JobKind, Reason, Rejection};

use crate::effect::{Effect, Key, Output};
use crate::engine::Engine;
use crate::filter::Filter;
use crate::pods::{Job, Pod};
use crate::queue::{BACKOFF_FIRST_MS, BACKOFF_MAX_MS};

mod grow;
mod standing;
mod start;
pub mod view;

pub(crate) use standing::check;

/// Members of a batch gang that may fail before the job is given up
/// (Kubernetes' default for jobs).
pub const GANG_FAILURES_MAX: u32 = 6;

/// Set in the arrival of a gang that only grows, so that everybody else of its
/// priority goes first.
const GROWS: u64 = 1 << 63;

type Order = (Reverse<i32>, u64);

/// What the waiting members of a gang wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    /// For others: members without quota, members that still leave, or a plan.
    #[default]
    Gathering,
    /// For a place for all.
    Start,
    /// For room for one more.
    Grow,
}

#[derive(Debug, Default)]
struct Line {
    /// Members by arrival.
    members: BTreeSet<(u64, u32)>,
    stage: Stage,
    order: Option<Order>,
    /// Looked at again at the latest then, ms, while parked.
    retry_at_ms: Option<u64>,
    /// Failed attempts in a row.
    failures: u32,
    /// Milli-GPU that it needs at least.
    least_gpu: i64,
    /// Classes of its members.
    classes: BTreeSet<u32>,
    /// Why the last attempt failed.
    why: String,
}

/// Gangs that wait for a place.
#[derive(Debug, Default)]
pub(crate) struct Gangs {
    lines: BTreeMap<Arc<str>, Line>,
    /// Gangs that can be decided now.
    ready: BTreeSet<(Order, Arc<str>)>,
    /// Parked gangs by the time they are tried again.
    timers: BTreeSet<(u64, Arc<str>)>,
    /// Parked gangs by the classes of their members.
    parked: BTreeMap<u32, BTreeSet<Arc<str>>>,
    /// Gangs to look at before the next decision.
    looks: BTreeSet<Arc<str>>,
    /// Plans for which somebody has left, to go on with before the next decision.
    pub(crate) plans: BTreeSet<u64>,
    /// Broken gangs that are left alone while the host is held.
    held: BTreeSet<Arc<str>>,
    /// Gangs that are being taken down: who ends is not made again.
    ending: BTreeSet<Arc<str>>,
    /// Gangs that have not started, by the time they are given up.
    timeouts: BTreeSet<(u64, Arc<str>)>,
}

impl Gangs {
    /// Priority and arrival of the gang that is next.
    pub(crate) fn head_key(&self) -> Option<Order> {
        self.ready.first().map(|(order, _)| *order)
    }

    /// Something about its members has changed.
    pub(crate) fn look_at(&mut self, gang: &Arc<str>) {
        self.looks.insert(Arc::clone(gang));
    }

    /// Members that wait here.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u32> + '_ {
        let lines = self.lines.values();
        lines.flat_map(|line| line.members.iter().map(|(_, slot)| *slot))
    }

    /// Whether any gang is parked, without walking them.
    pub(crate) fn any_parked(&self) -> bool {
        !self.timers.is_empty()
    }

    /// When the gang is looked at again at the latest, if it is parked.
    pub(crate) fn retry_at(&self, gang: &str) -> Option<u64> {
        self.lines.get(gang)?.retry_at_ms
    }

    /// Parked gangs that could not start, in the order they are tried again.
    pub(crate) fn could_not_start(&self) -> impl Iterator<Item = &Arc<str>> {
        let parked = self.timers.iter().map(|(_, gang)| gang);
        parked.filter(|gang| {
            self.lines
                .get(*gang)
                .is_some_and(|l| l.stage == Stage::Start)
        })
    }

    /// Wakes everything: the rules changed, not the cluster.
    pub(crate) fn wake_all(&mut self) {
        while let Some((_, gang)) = self.timers.first().cloned() {
            self.wake(&gang);
        }
    }

    fn wake_due(&mut self, now_ms: u64) {
        while let Some((at, gang)) = self.timers.first().cloned()
            && at <= now_ms
        {
            self.wake(&gang);
        }
    }

    fn wake(&mut self, gang: &Arc<str>) {
        self.unlink(gang);
        if let Some(line) = self.lines.get(gang)
            && let Some(order) = line.order
        {
            self.ready.insert((order, Arc::clone(gang)));
        }
    }

    /// Takes a gang out of everything that points at its line.
    fn unlink(&mut self, gang: &Arc<str>) {
        let Some(line) = self.lines.get_mut(gang) else {
            return;
        };
        if let Some(order) = line.order {
            self.ready.remove(&(order, Arc::clone(gang)));
        }
        if let Some(at) = line.retry_at_ms.take() {
            self.timers.remove(&(at, Arc::clone(gang)));
            for class in &line.classes {
                if let Some(gangs) = self.parked.get_mut(class) {
                    gangs.remove(gang);
                    if gangs.is_empty() {
                        self.parked.remove(class);
                    }
                }
            }
        }
    }

    fn park(&mut self, gang: &Arc<str>, now_ms: u64, why: String) {
        self.unlink(gang);
        let Some(line) = self.lines.get_mut(gang) else {
            return;
        };
        let wait = (BACKOFF_FIRST_MS << line.failures.min(16)).min(BACKOFF_MAX_MS);
        let at = now_ms + wait;
        line.failures += 1;
        line.retry_at_ms = Some(at);
        line.why = why;
        self.timers.insert((at, Arc::clone(gang)));
        for class in &line.classes {
            let gangs = self.parked.entry(*class).or_default();
            gangs.insert(Arc::clone(gang));
        }
    }

    /// The gang's timer for giving up, if it has one.
    fn watch(&mut self, job: &Job) {
        let gang = job.spec.gang.as_ref();
        if let Some(timeout) = gang.and_then(|g| g.timeout_ms)
            && job.started_ms.is_none()
        {
            let at = job.submitted_ms.saturating_add(timeout);
            let id = Arc::from(job.spec.id.as_str());
            self.timeouts.insert((at, id));
        }
    }
}

impl Engine {
    /// Pods of a job by arrival: slots differ after a restart.
    fn by_arrival(&self, id: &str) -> Vec<u32> {
        let job = self.pods.jobs.get(id);
        let mut pods: Vec<u32> = job.map_or(Vec::new(), |j| j.pods.iter().copied().collect());
        pods.sort_unstable_by_key(|slot| self.pods.get(*slot).arrival);
        pods
    }

    /// Members that run and were not asked to leave.
    pub(crate) fn gang_running(&self, id: &str) -> Vec<u32> {
        let mut pods = self.by_arrival(id);
        pods.retain(|slot| {
            let pod = self.pods.get(*slot);
            pod.at.is_some() && pod.leaving.is_none()
        });
        pods
    }

    /// The next gang to look at.
    pub(crate) fn next_gang(&mut self) -> Option<Arc<str>> {
        let noted = std::mem::take(&mut self.pods.timers.gangs);
        self.gangs.looks.extend(noted);
        self.gangs.looks.pop_first()
    }

    /// A member that waits for the others.
    pub(crate) fn wait_for_gang(&mut self, slot: u32) {
        let pod = self.pods.get_mut(slot);
        let Some(gang) = pod.gang.clone() else { return };
        pod.reason = Reason::WaitingForGang;
        let key = (pod.arrival, slot);
        let line = self.gangs.lines.entry(Arc::clone(&gang)).or_default();
        line.members.insert(key);
        self.gangs.look_at(&gang);
    }

    /// The reverse.
    pub(crate) fn stop_waiting_for_gang(&mut self, slot: u32) {
        let pod = self.pods.get(slot);
        let Some(gang) = pod.gang.clone() else { return };
        let key = (pod.arrival, slot);
        // Unlinked at once: its class may be gone before the gang is looked at.
        self.gangs.unlink(&gang);
        if let Some(line) = self.gangs.lines.get_mut(&gang) {
            line.members.remove(&key);
            if line.members.is_empty() {
                self.gangs.lines.remove(&gang);
            }
        }
        self.gangs.look_at(&gang);
    }

    /// Timers of all gangs, after a restart.
    pub(crate) fn restore_gangs(&mut self) {
        for job in self.pods.jobs.values() {
            self.gangs.watch(job);
            if job.spec.gang.is_some() {
                self.gangs.looks.insert(Arc::from(job.spec.id.as_str()));
            }
        }
    }

    /// A member that ended has to be there for its gang: it waits under the same
    /// name and in the same place of the line, with the work it had saved.
    pub(crate) fn make_again(&mut self, ended: &Pod, out: &mut Output) {
        let spec = (*ended.spec).clone();
        let slot = self.insert_pod(spec, ended.arrival, ended.submitted_ms);
        let pod = self.pods.get_mut(slot);
        pod.progress = ended.progress;
        let name = Arc::clone(&pod.name);
        out.changed.push(Key::Pod(name));
        self.enqueue(slot);
    }

    /// Starts the timer of a gang that has not started yet.
    pub(crate) fn watch_gang(&mut self, id: &str) {
        if let Some(job) = self.pods.jobs.get(id) {
            self.gangs.watch(job);
        }
    }

    /// The hold is over: broken gangs are looked at again.
    pub(crate) fn hold_ended(&mut self) {
        let held = std::mem::take(&mut self.gangs.held);
        self.gangs.looks.extend(held);
    }

    /// Looks at a gang whose members changed: broken, given up, or ready?
    pub(crate) fn settle_gang(&mut self, gang: &Arc<str>, out: &mut Output) {
        let Some(job) = self.pods.jobs.get(&**gang) else {
            return;
        };
        let batch = job.spec.kind == JobKind::Batch;
        if batch && job.failed >= GANG_FAILURES_MAX && !self.hold {
            self.end_gang(gang, Finish::Failed, out);
            return;
        }
        let sliced = job.spec.gang.as_ref().and_then(|g| g.topology);
        let sliced = sliced.is_some_and(|t| t.slice.is_some());
        let priority = job.spec.template.priority;
        let Some(standing) = self.standing(gang) else {
            return;
        };
        if standing.holds() && !standing.goes_on() {
            if self.hold {
                self.gangs.held.insert(Arc::clone(gang));
            } else {
                self.break_gang(gang, out);
            }
        }
        self.gangs.unlink(gang);
        let Some(line) = self.gangs.lines.get_mut(gang) else {
            return;
        };
        let Some((first, _)) = line.members.first().copied() else {
            return;
        };
        line.stage = standing.stage(sliced);
        line.least_gpu = match line.stage {
            Stage::Gathering | Stage::Grow => 0,
            Stage::Start => standing.least_gpu,
        };
        line.order = match line.stage {
            Stage::Gathering => None,
            Stage::Start => Some((Reverse(priority), first)),
            Stage::Grow => Some((Reverse(priority), first | GROWS)),
        };
        let reason = match line.stage {
            Stage::Gathering => Reason::WaitingForGang,
            Stage::Start | Stage::Grow => Reason::PendingEvaluation,
        };
        line.classes.clear();
        for (_, slot) in &line.members {
            let pod = self.pods.get_mut(*slot);
            pod.reason = reason;
            line.classes.insert(pod.class);
        }
        if let Some(order) = line.order {
            self.gangs.ready.insert((order, Arc::clone(gang)));
        }
    }

    /// Asks the rest of a gang to leave that cannot go on without those it lost.
    fn break_gang(&mut self, gang: &Arc<str>, out: &mut Output) {
        for slot in self.by_arrival(gang) {
            // A place in a plan is worth nothing to a gang that starts again.
            if self.pods.get(slot).next.is_some() {
                self.break_promise(slot, out);
            }
            let grace_ms = self.pods.get(slot).terms.grace_ms;
            self.ask_to_leave(slot, EvictCause::GangBroken, grace_ms, 0, out);
        }
    }

    /// Ends every member of a gang.
    pub(crate) fn end_gang(&mut self, id: &str, how: Finish, out: &mut Output) {
        let gang: Arc<str> = Arc::from(id);
        self.gangs.ending.insert(Arc::clone(&gang));
        for slot in self.by_arrival(id) {
            self.stop_as(slot, how, out);
        }
        self.gangs.ending.remove(&gang);
    }

    /// While set, members of the gang that end are not made again.
    pub(crate) fn gang_is_ending(&mut self, id: &str, ending: bool) {
        if ending {
            self.gangs.ending.insert(Arc::from(id));
        } else {
            self.gangs.ending.remove(id);
        }
    }

    /// A pod is about to be forgotten. `true` when it is a member that its gang
    /// cannot do without and has to be made again.
    pub(crate) fn gone(&mut self, slot: u32, how: Finish) -> bool {
        let Some(gang) = self.pods.get(slot).gang.clone() else {
            return false;
        };
        self.gangs.look_at(&gang);
        let Some(job) = self.pods.jobs.get(&*gang) else {
            return false;
        };
        match how {
            _ if self.gangs.ending.contains(&gang) => false,
            Finish::Succeeded => job.spec.kind == JobKind::Service,
            Finish::Failed | Finish::Deleted | Finish::TimedOut => true,
        }
    }

    /// Time-outs and back-offs.
    pub(crate) fn tick_gangs(&mut self, out: &mut Output) {
        self.gangs.wake_due(self.now_ms);
        while !self.hold
            && let Some((at, gang)) = self.gangs.timeouts.first().cloned()
            && at <= self.now_ms
        {
            self.gangs.timeouts.remove(&(at, Arc::clone(&gang)));
            // It may have started, or be another job of the same name.
            let due = self.pods.jobs.get(&*gang).is_some_and(|job| {
                let timeout = job.spec.gang.as_ref().and_then(|g| g.timeout_ms);
                job.started_ms.is_none()
                    && !job.pods.is_empty()
                    && timeout.is_some_and(|t| job.submitted_ms.saturating_add(t) <= self.now_ms)
            });
            if due {
                out.effects.push(Effect::GangTimedOut {
                    job: Arc::clone(&gang),
                });
                self.end_gang(&gang, Finish::Failed, out);
            }
        }
    }

    /// Wakes the parked gangs that the row could now help.
    pub(crate) fn wake_gangs(&mut self, row: u32) {
        let classes: Vec<u32> = self.gangs.parked.keys().copied().collect();
        let mut free = None;
        for class in classes {
            let filter = Filter::new(&self.nodes, &self.classes, class);
            if self.scratch.check_row(&filter, row) != Rejection::Fits {
                continue;
            }
            // A search is dear: no look unless there are devices for all in sum.
            let free = *free.get_or_insert_with(|| {
                self.nodes
                    .gpu_free
                    .iter()
                    .map(|n| i64::from(*n))
                    .sum::<i64>()
            });
            let gangs = self.gangs.parked.get(&class).into_iter().flatten();
            let enough = |gang: &&Arc<str>| {
                let line = self.gangs.lines.get(*gang);
                line.is_some_and(|line| line.least_gpu <= free)
            };
            let gangs: Vec<Arc<str>> = gangs.filter(enough).cloned().collect();
            for gang in gangs {
                self.gangs.wake(&gang);
            }
        }
    }
}
