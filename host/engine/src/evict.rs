//! How a running pod leaves before its time, and what becomes of it.
//!
//! Who is asked to leave keeps its place until it reports back or its grace is
//! over. What follows from that (plans that wait for the place, gangs that are
//! broken) is settled between two decisions and not inside the question, so that
//! everybody who leaves for one reason is known before anything follows from it.

use std::sync::Arc;

use model::Reason;
use model::disruption::GRACE_MAX_MS;
use model::event::Finish;
use model::plan::EvictCause;

use crate::effect::{Effect, Key, Output, RequeueCause};
use crate::engine::Engine;
use crate::error::EventError;
use crate::pods::{Allocation, Leaving};
use crate::preempt::Tried;

impl Engine {
    /// Asks a running pod to leave. It has left at once, in the same step, when
    /// it gets no grace; nothing happens if it was asked before.
    pub(crate) fn ask_to_leave(
        &mut self,
        slot: u32,
        cause: EvictCause,
        grace_ms: u32,
        plan: u64,
        out: &mut Output,
    ) {
        let pod = self.pods.get(slot);
        let Some(at) = pod.at else { return };
        if pod.leaving.is_some() {
            return;
        }
        let grace_ms = grace_ms.min(pod.terms.grace_ms).min(GRACE_MAX_MS);
        let name = Arc::clone(&pod.name);
        let lent = pod.queue.is_some() && pod.admitted && cause != EvictCause::Moved;
        let until_ms = self.now_ms + u64::from(grace_ms);
        let leaving = Leaving {
            cause,
            plan,
            until_ms,
        };
        self.pods.set_leaving(slot, leaving);
        if !matches!(cause, EvictCause::GangBroken | EvictCause::RuntimeLimit) {
            self.spend(slot, out);
        }
        out.effects.push(Effect::Evict {
            pod: Arc::clone(&name),
            node: Arc::clone(&self.nodes.names[at.row as usize]),
            grace_ms,
            cause,
            plan,
        });
        out.changed.push(Key::Pod(name));
        if lent {
            // Whoever reclaims it must not wait for a checkpoint to be counted.
            self.unadmit(slot, out);
        }
    }

    /// A pod that was leaving when the state was written.
    pub(crate) fn restore_leaving(&mut self, slot: u32, leaving: Leaving) {
        self.pods.set_leaving(slot, leaving);
    }

    /// A pod reports that it has stopped, as it was asked to.
    pub(crate) fn pod_left(&mut self, slot: u32, out: &mut Output) -> Result<(), EventError> {
        let pod = self.pods.get(slot);
        let name = pod.name.to_string();
        match (pod.at, pod.leaving) {
            (None, _) => Err(EventError::NotRunning(name)),
            (_, None) => Err(EventError::NotLeaving(name)),
            (Some(_), Some(leaving)) => {
                // It had time and used it: it leaves a checkpoint behind.
                let saved = self.now_ms <= leaving.until_ms;
                self.left(slot, saved, RequeueCause::Evicted(leaving.cause), out);
                Ok(())
            }
        }
    }

    /// Takes a pod off its place and puts it where it waits from now on.
    fn left(&mut self, slot: u32, saved: bool, why: RequeueCause, out: &mut Output) {
        let leaving = self.pods.get(slot).leaving;
        let Some(at) = self.pods.get(slot).at else {
            return;
        };
        self.release(slot);
        self.count_run(slot, &at, leaving, saved);
        let pod = self.pods.get_mut(slot);
        if matches!(why, RequeueCause::Evicted(_)) {
            pod.progress.evictions += 1;
        }
        pod.reason = match pod.next {
            Some(_) => Reason::WaitingForPreemption,
            None => Reason::PendingEvaluation,
        };
        let (name, promised) = (Arc::clone(&pod.name), pod.next.is_some());
        out.effects.push(Effect::Requeue {
            pod: Arc::clone(&name),
            cause: why,
        });
        out.changed.push(Key::Pod(name));
        if !promised {
            self.be_patient(slot, out);
            self.enqueue(slot);
        }
        if let Some(leaving) = leaving
            && leaving.plan != 0
        {
            self.gangs.plans.insert(leaving.plan);
        }
        self.wake_for(at.row);
    }

    /// Whoever had to yield waits as long as a newcomer before asking others to:
    /// a row of evictions that set each other off is not what anybody asked for.
    fn be_patient(&mut self, slot: u32, out: &mut Output) {
        let tried = Tried {
            next_ms: self.now_ms + self.config.preempt_after_ms,
            ..Tried::default()
        };
        let pod = self.pods.get_mut(slot);
        match pod.gang.clone() {
            None => pod.tried = Some(Box::new(tried)),
            Some(gang) => {
                if let Some(job) = self.pods.jobs.get_mut(&*gang) {
                    job.tried = Some(Box::new(tried));
                    out.changed.push(Key::Job(gang));
                }
            }
        }
    }

    /// Adds a run that has ended to what the pod has done: all of it if it was
    /// saved, else up to its latest checkpoint.
    pub(crate) fn count_run(
        &mut self,
        slot: u32,
        at: &Allocation,
        leaving: Option<Leaving>,
        saved: bool,
    ) {
        let until_ms = leaving.map_or(self.now_ms, |l| l.until_ms);
        let end = self.now_ms.min(until_ms).max(at.since_ms);
        let progress = &mut self.pods.get_mut(slot).progress;
        let kept = if saved {
            end
        } else {
            progress.checkpoint_ms.clamp(at.since_ms, end)
        };
        progress.served_ms += kept - at.since_ms;
        progress.lost_ms += end - kept;
        progress.checkpoint_ms = 0;
    }

    /// Takes off a node that goes away whoever runs on it or was promised a
    /// place on it. Nobody is woken for places on it.
    pub(crate) fn clear_node(&mut self, row: u32, out: &mut Output) {
        let promised: Vec<u32> = self.pods.promised.iter().copied().collect();
        let there = |engine: &Self, slot: u32| {
            let next = engine.pods.get(slot).next;
            next.is_some_and(|next| next.at.row == row)
        };
        let mut promised: Vec<u32> = promised.into_iter().filter(|s| there(self, *s)).collect();
        promised.sort_by_key(|slot| self.pods.get(*slot).arrival);
        for slot in promised {
            // A plan that is given up takes back all of its promises.
            if there(self, slot) {
                self.break_promise(slot, out);
            }
        }
        self.nodes.close(row);
        let mut lost: Vec<u32> = self.pods.on(row).to_vec();
        lost.sort_by_key(|slot| self.pods.get(*slot).arrival);
        for slot in lost {
            self.left(slot, false, RequeueCause::NodeRemoved, out);
        }
    }

    /// A promised place is not to be had any more: the plan is given up, and the
    /// pod waits again unless it still runs.
    pub(crate) fn break_promise(&mut self, slot: u32, out: &mut Output) {
        self.plan_lost(slot, out);
        let withdrawn = self.unpromise(slot).is_some();
        if withdrawn {
            out.changed
                .push(Key::Pod(Arc::clone(&self.pods.get(slot).name)));
        }
        if withdrawn && self.pods.get(slot).at.is_none() {
            let name = Arc::clone(&self.pods.get(slot).name);
            out.effects.push(Effect::Requeue {
                pod: Arc::clone(&name),
                cause: RequeueCause::PlanDissolved,
            });
            out.changed.push(Key::Pod(name));
            self.enqueue(slot);
        }
    }

    /// An operator asks a pod to leave. Its terms protect it from policies, not
    /// from people; budgets and guards hold for both.
    pub(crate) fn evict_for_operator(
        &mut self,
        slot: u32,
        out: &mut Output,
    ) -> Result<(), EventError> {
        let pod = self.pods.get(slot);
        let name = pod.name.to_string();
        if pod.at.is_none() {
            return Err(EventError::NotRunning(name));
        }
        let refused = |why: String| EventError::EvictRefused {
            pod: name.clone(),
            why,
        };
        if let Some(leaving) = pod.leaving {
            let (cause, until) = (leaving.cause.code(), leaving.until_ms);
            return Err(refused(format!(
                "it is leaving already ({cause}), until {until} ms at the latest; nothing is left to do"
            )));
        }
        let mut all = vec![slot];
        if let Some(gang) = pod.gang.clone() {
            all = self.gang_running(&gang);
        }
        let many = all.len() as u32;
        let whole = match &pod.gang {
            Some(gang) if many > 1 => {
                format!(" (all {many} members of gang {gang:?} leave or none)")
            }
            _ => String::new(),
        };
        if let Err(why) = self.system_allows(many) {
            return Err(refused(format!("{why}{whole}")));
        }
        let mut wanted = std::collections::BTreeMap::<&str, u32>::new();
        for slot in &all {
            if let Some(budget) = self.budget_of(*slot) {
                *wanted.entry(budget).or_insert(0) += 1;
            }
        }
        for (budget, pods) in wanted {
            let left = self.disruptions_left(budget);
            if pods > left {
                let says = self.budget_says(budget);
                return Err(refused(format!(
                    "{pods} disruptions wanted, {left} allowed: {says}{whole}"
                )));
            }
        }
        for slot in all {
            let grace_ms = self.pods.get(slot).terms.grace_ms;
            self.ask_to_leave(slot, EvictCause::Operator, grace_ms, 0, out);
        }
        Ok(())
    }

    /// What has to follow before anything else is decided: who has run out of
    /// grace has left, plans whose places are free go on, broken gangs stop.
    /// `false` when nothing did.
    pub(crate) fn follow_up(&mut self, out: &mut Output) -> bool {
        let mut any = false;
        loop {
            if let Some(grace) = self.pods.timers.graces.first().copied()
                && grace.0 <= self.now_ms
            {
                self.pods.timers.graces.remove(&grace);
                let slot = grace.2;
                if let Some(leaving) = self.pods.get(slot).leaving {
                    self.left(slot, false, RequeueCause::Evicted(leaving.cause), out);
                }
            } else if let Some(plan) = self.gangs.plans.pop_first() {
                self.plan_progress(plan, out);
            } else if let Some(gang) = self.next_gang() {
                self.settle_gang(&gang, out);
            } else {
                return any;
            }
            any = true;
        }
    }

    /// Run times that are over. Graces are [`Self::follow_up`]'s.
    pub(crate) fn tick_evictions(&mut self, out: &mut Output) {
        // Nothing is taken away from anybody while the state is in doubt.
        while !self.hold
            && let Some(limit) = self.pods.timers.limits.first().copied()
            && limit.0 <= self.now_ms
        {
            self.pods.timers.limits.remove(&limit);
            let slot = limit.2;
            let pod = self.pods.get(slot);
            match pod.gang.clone() {
                Some(gang) => self.end_gang(&gang, Finish::TimedOut, out),
                None => self.stop_as(slot, Finish::TimedOut, out),
            }
        }
    }

    /// Stops a pod, wherever it is in its life.
    pub(crate) fn stop_as(&mut self, slot: u32, how: Finish, out: &mut Output) {
        let pod = self.pods.get(slot);
        if let Some(at) = pod.at {
            out.effects.push(Effect::Stop {
                pod: Arc::clone(&pod.name),
                node: Arc::clone(&self.nodes.names[at.row as usize]),
            });
        }
        self.finish(slot, how, out);
    }
}
