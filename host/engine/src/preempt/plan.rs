//! A plan from promise to bind. The preemptor's places are charged at once, so
//! that nobody else takes them; when everybody it waits for has left, all its
//! pods are bound in one step. Given up, it leaves no reservation behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::decision::FilterCounts;
use model::plan::{
    AdmissionOutcome, AdmissionRecord, EvictCause, PlanPlace, PlanRecord, PlanStatus, PlanVictim,
};
use model::policy::PolicyId;
use model::quota::Amounts;
use model::{Decision, Outcome, Reason};

use crate::effect::{Effect, Key, Output, RequeueCause};
use crate::engine::Engine;
use crate::pods::{Allocation, Pod, Promise};
use crate::port::preemption::{Action, LEVEL_CLUSTER, MAY_KILL, NONE};

use super::request::Asked;
use super::unit::Unit;
use super::verify::Checked;
use super::{FINISHED_PLANS_MAX, device_list};

/// A plan that is being carried out.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) record: PlanRecord,
    /// Pods that have not left yet.
    waits: BTreeSet<u32>,
    /// Pods that have been promised a place.
    promised: BTreeSet<u32>,
    /// Not everybody has been asked yet.
    beginning: bool,
}

impl Live {
    pub(crate) fn restored(record: PlanRecord) -> Self {
        Self {
            record,
            waits: BTreeSet::new(),
            promised: BTreeSet::new(),
            beginning: false,
        }
    }
}

impl super::Preemption {
    /// A pod that a restored plan waits for.
    pub(crate) fn restored_wait(&mut self, plan: u64, slot: u32) {
        if let Some(live) = self.live.get_mut(&plan) {
            live.waits.insert(slot);
        }
    }

    /// A pod that a restored plan has promised a place.
    pub(crate) fn restored_promise(&mut self, plan: u64, slot: u32) {
        if let Some(live) = self.live.get_mut(&plan) {
            live.promised.insert(slot);
        }
    }
}

/// GPU-milliseconds since the latest checkpoint.
pub(crate) fn unsaved_gpu_ms(pod: &Pod, now_ms: u64) -> u64 {
    let Some(at) = &pod.at else { return 0 };
    let saved = at.since_ms.max(pod.progress.checkpoint_ms);
    let milli = u64::from(at.devices.count_ones()) * at.per_device.milli.max(0) as u64;
    now_ms.saturating_sub(saved) * milli / 1_000
}

impl Engine {
    /// The record of a checked plan.
    pub(crate) fn plan_record(
        &self,
        unit: &Unit,
        asked: &Asked,
        policy: PolicyId,
        checked: &Checked,
    ) -> PlanRecord {
        let node = |at: &Allocation| Arc::clone(&self.nodes.names[at.row as usize]);
        let place = |(slot, at): &(u32, Allocation)| {
            let pod = self.pods.get(*slot);
            PlanPlace {
                pod: Arc::clone(&pod.name),
                from: pod.at.as_ref().map(node),
                node: node(at),
                devices: device_list(at),
            }
        };
        let victims: Vec<PlanVictim> = checked
            .victims
            .iter()
            .filter_map(|(slot, grace_ms, reason)| {
                let pod = self.pods.get(*slot);
                Some(PlanVictim {
                    pod: Arc::clone(&pod.name),
                    node: node(pod.at.as_ref()?),
                    priority: pod.spec.priority,
                    grace_ms: *grace_ms,
                    reason: reason.clone(),
                    lost_gpu_ms: unsaved_gpu_ms(pod, self.now_ms),
                })
            })
            .collect();
        let moving = checked.moves.iter();
        let moving = moving.map(|(slot, _)| self.pods.get(*slot).terms.grace_ms);
        let longest = victims.iter().map(|v| v.grace_ms).chain(moving).max();
        let (level, name) = &checked.domain;
        let level = match *level {
            LEVEL_CLUSTER => None,
            level => model::gang::Level::ALL.get(level as usize),
        };
        PlanRecord {
            id: 0,
            time_ms: self.now_ms,
            preemptor: Arc::clone(&unit.name),
            gang: unit.gang,
            action: asked.action.code(),
            policy,
            domain: level.map_or_else(|| name.clone(), |l| format!("{} {name}", l.name())),
            moves: checked.moves.iter().map(place).collect(),
            placements: checked.placements.iter().map(place).collect(),
            victims,
            cost: checked.cost.clone(),
            until_ms: self
                .now_ms
                .saturating_add(u64::from(longest.unwrap_or(0)).max(checked.hold_ms)),
            status: PlanStatus::Leaving,
        }
    }

    /// Carries a plan out: promises, then asks everybody to leave.
    pub(crate) fn commit_plan(
        &mut self,
        unit: &Unit,
        asked: &Asked,
        policy: PolicyId,
        checked: Checked,
        out: &mut Output,
    ) {
        let id = self.preemption.next_plan;
        self.preemption.next_plan += 1;
        let mut record = self.plan_record(unit, asked, policy, &checked);
        record.id = id;
        let mut tried = self.tried(unit).cloned().unwrap_or_default();
        tried.nominated = Some(checked.domain.clone());
        tried.why.clear();
        self.remember(unit, Some(tried), out);
        let cause = match asked.action {
            Action::Consolidate => EvictCause::Moved,
            Action::Reclaim => EvictCause::Reclaimed,
            Action::Preempt => EvictCause::Preempted,
        };
        out.changed.push(Key::Core);
        out.changed.push(Key::Plan(id));
        out.plans.push(record.clone());
        let slots = |list: &[(u32, Allocation)]| list.iter().map(|(s, _)| *s).collect::<Vec<_>>();
        let (moving, placed) = (slots(&checked.moves), slots(&checked.placements));
        let victims = checked.victims.iter().map(|(slot, ..)| *slot);
        let live = Live {
            record,
            waits: victims.chain(moving.iter().copied()).collect(),
            promised: moving.iter().chain(&placed).copied().collect(),
            beginning: true,
        };
        self.preemption.live.insert(id, live);
        for slot in &placed {
            self.dequeue(*slot);
        }
        for (slot, at) in checked.placements.iter().chain(&checked.moves) {
            self.promise(*slot, Promise { at: *at, plan: id });
            let pod = self.pods.get_mut(*slot);
            if pod.at.is_none() {
                pod.reason = Reason::WaitingForPreemption;
            }
            out.changed.push(Key::Pod(Arc::clone(&pod.name)));
        }
        // What was lent is back before it is given to its owner.
        for (slot, ..) in &checked.victims {
            self.unadmit(*slot, out);
        }
        self.admit_promised(unit, &placed, out);
        for (slot, grace, _) in &checked.victims {
            self.send_off(*slot, cause, *grace, id, out);
        }
        for slot in &moving {
            let grace = self.pods.get(*slot).terms.grace_ms;
            self.send_off(*slot, EvictCause::Moved, grace, id, out);
        }
        if let Some(live) = self.preemption.live.get_mut(&id) {
            live.beginning = false;
        }
        self.plan_progress(id, out);
    }

    fn send_off(&mut self, slot: u32, cause: EvictCause, grace: u32, plan: u64, out: &mut Output) {
        let row = self.pods.get(slot).at.map(|at| at.row);
        self.ask_to_leave(slot, cause, grace, plan, out);
        // Whoever leaves is no candidate any more.
        if let Some(row) = row {
            self.nodes.touch(row);
        }
    }

    /// The quota of a preemptor that reclaims pays from now on.
    fn admit_promised(&mut self, unit: &Unit, placed: &[u32], out: &mut Output) {
        let mut admitted = 0;
        for slot in placed {
            if self.pods.get(*slot).admitted {
                continue;
            }
            self.pods.get_mut(*slot).admitted = true;
            self.charge_quota(*slot, 1);
            admitted += 1;
        }
        let first = placed.first().map(|s| Arc::clone(&self.pods.get(*s).spec));
        if admitted > 0
            && let Some(job) = first.and_then(|spec| spec.job.clone())
        {
            out.admissions.push(AdmissionRecord {
                time_ms: self.now_ms,
                job: Arc::from(job.as_str()),
                queue: Arc::from(unit.queue.as_deref().unwrap_or("")),
                set_revision: self.admission_set().spec.revision,
                outcome: AdmissionOutcome::Admitted(admitted),
                patches: Vec::new(),
                warnings: Vec::new(),
                faults: Vec::new(),
                fuel: 0,
            });
        }
    }

    /// Somebody has left for a plan, or will not: binds if that was the last.
    pub(crate) fn plan_progress(&mut self, plan: u64, out: &mut Output) {
        let Some(live) = self.preemption.live.get_mut(&plan) else {
            return;
        };
        if live.beginning {
            return;
        }
        let pods = &self.pods;
        live.waits.retain(|slot| {
            let pod = pods.get(*slot);
            pod.at.is_some() && pod.leaving.is_some_and(|l| l.plan == plan)
        });
        if !live.waits.is_empty() {
            return;
        }
        // Slots differ after a restart; arrival numbers do not.
        let mut promised: Vec<u32> = live.promised.iter().copied().collect();
        promised.sort_by_key(|slot| self.pods.get(*slot).arrival);
        let closed = promised.iter().find_map(|slot| {
            let at = self.pods.get(*slot).next?.at;
            let row = at.row as usize;
            let dead = |s: usize| self.nodes.device_left(at.row, s).is_none();
            let gone = self.nodes.closed[row] || crate::nodes::slots_of(at.devices).any(dead);
            gone.then(|| Arc::clone(&self.nodes.names[row]))
        });
        if let Some(node) = closed {
            self.dissolve(
                plan,
                format!("node {node} takes no pods any more, or a device failed"),
                None,
                out,
            );
            return;
        }
        let Some(mut live) = self.preemption.live.remove(&plan) else {
            return;
        };
        for slot in promised {
            self.take_promised(slot, out);
        }
        if live.record.gang
            && let Some(job) = self.pods.jobs.get_mut(&*live.record.preemptor)
        {
            job.started_ms = job.started_ms.or(Some(self.now_ms));
            job.tried = None;
            out.changed
                .push(Key::Job(Arc::clone(&live.record.preemptor)));
        }
        live.record.status = PlanStatus::Done;
        self.close_plan(live.record, out);
    }

    /// A promised place becomes the pod's own: it is charged already.
    fn take_promised(&mut self, slot: u32, out: &mut Output) {
        let Some(promise) = self.pods.get_mut(slot).next.take() else {
            return;
        };
        let seq = self.next_seq;
        self.next_seq += 1;
        let at = Allocation {
            since_ms: self.now_ms,
            decision: seq,
            ..promise.at
        };
        self.pods.attach(slot, at);
        let pod = self.pods.get_mut(slot);
        pod.last_decision = Some(seq);
        pod.tried = None;
        let name = Arc::clone(&pod.name);
        let node = Arc::clone(&self.nodes.names[at.row as usize]);
        self.nodes.touch(at.row);
        out.decisions.push(Decision {
            seq,
            time_ms: self.now_ms,
            pod: Arc::clone(&name),
            set_revision: self.set.spec.revision,
            outcome: Outcome::Bound {
                row: at.row,
                node: Arc::clone(&node),
                devices: device_list(&at),
                margin: 0,
            },
            filter: FilterCounts::default(),
            candidates: Vec::new(),
            without: Vec::new(),
            faults: Vec::new(),
            rows_scored: 0,
            fuel: 0,
        });
        out.changed.push(Key::Pod(Arc::clone(&name)));
        out.effects.push(Effect::Bind {
            pod: name,
            node,
            devices: device_list(&at),
        });
    }

    /// A pod is gone, or the place it was promised is: whoever waits for it need
    /// not, and whoever was promised it has to ask again.
    pub(crate) fn plan_lost(&mut self, slot: u32, out: &mut Output) {
        let live = self.preemption.live.iter_mut();
        let found: Vec<u64> = live
            .filter(|(_, l)| l.waits.contains(&slot) || l.promised.contains(&slot))
            .map(|(id, _)| *id)
            .collect();
        for id in found {
            let Some(live) = self.preemption.live.get_mut(&id) else {
                continue;
            };
            let placed = {
                let name = &self.pods.get(slot).name;
                live.record.placements.iter().any(|p| p.pod == *name)
            };
            let moved = live.promised.contains(&slot) && !placed;
            // Only its target is lost while it still runs: it is still waited for.
            if self.pods.get(slot).at.is_none() {
                live.waits.remove(&slot);
            }
            live.promised.remove(&slot);
            if placed {
                let name = Arc::clone(&self.pods.get(slot).name);
                self.dissolve(id, format!("{name} or its place is gone"), Some(slot), out);
            } else {
                if moved {
                    self.withdraw(slot, out);
                }
                self.plan_progress(id, out);
            }
        }
    }

    /// Gives a plan up. Whoever was asked to leave still does.
    pub(crate) fn dissolve(
        &mut self,
        plan: u64,
        why: String,
        except: Option<u32>,
        out: &mut Output,
    ) {
        let Some(mut live) = self.preemption.live.remove(&plan) else {
            return;
        };
        let mut slots: Vec<u32> = live.promised.iter().copied().collect();
        // `except` is not in `promised` any more; it waits again too, unless it is
        // about to be forgotten, in which case its promise is gone already.
        slots.extend(except.filter(|s| self.pods.get(*s).next.is_some()));
        slots.sort_by_key(|slot| self.pods.get(*slot).arrival);
        for slot in slots {
            self.withdraw(slot, out);
        }
        live.record.status = PlanStatus::Dissolved(why);
        self.preemption.notice();
        self.close_plan(live.record, out);
    }

    /// Takes a promise back; who has no place waits again.
    fn withdraw(&mut self, slot: u32, out: &mut Output) {
        if self.unpromise(slot).is_none() {
            return;
        }
        if self.pods.get(slot).at.is_none() {
            self.wait_again(slot, out);
        } else {
            out.changed
                .push(Key::Pod(Arc::clone(&self.pods.get(slot).name)));
        }
    }

    fn wait_again(&mut self, slot: u32, out: &mut Output) {
        let pod = self.pods.get_mut(slot);
        pod.reason = Reason::PendingEvaluation;
        let name = Arc::clone(&pod.name);
        out.changed.push(Key::Pod(Arc::clone(&name)));
        out.effects.push(Effect::Requeue {
            pod: name,
            cause: RequeueCause::PlanDissolved,
        });
        self.enqueue(slot);
    }

    fn close_plan(&mut self, record: PlanRecord, out: &mut Output) {
        out.changed.push(Key::Plan(record.id));
        out.plans.push(record.clone());
        self.preemption.finished.push_back(record);
        while self.preemption.finished.len() > FINISHED_PLANS_MAX {
            self.preemption.finished.pop_front();
        }
    }

    // === Quota ===

    /// Adds to a reclaim plan whoever else has to give quota back: who borrows
    /// most first, lowest priority, newest; then whoever need not is let off, in
    /// reverse (Kueue's order).
    pub(crate) fn reclaim_quota(
        &mut self,
        unit: &Unit,
        asked: &Asked,
        mut checked: Checked,
    ) -> Result<Checked, String> {
        let Some(queue) = unit.queue.clone() else {
            return Ok(checked);
        };
        let mut need = Amounts::default();
        for (slot, _) in &checked.placements {
            let pod = self.pods.get(*slot);
            if !pod.admitted {
                need.add(&amounts(pod), 1);
            }
        }
        let chosen: BTreeSet<u32> = checked.victims.iter().map(|(s, ..)| *s).collect();
        let mut lent = true;
        for slot in &chosen {
            let owner = self.pods.get(*slot).queue.as_deref();
            lent &= owner.is_some_and(|q| self.quotas.borrows(q));
            self.charge_quota(*slot, -1);
        }
        if !lent {
            for slot in &chosen {
                self.charge_quota(*slot, 1);
            }
            return Err("more would be taken back than was lent".to_owned());
        }
        let moved = checked.moves.iter().map(|(slot, _)| *slot);
        let untouched: BTreeSet<u32> = chosen.iter().copied().chain(moved).collect();
        let mut units = self.lent_units(asked, &untouched);
        let mut taken: Vec<Vec<u32>> = Vec::new();
        while !self.quotas.fits(&queue, &need)
            && let Some(slots) = units.pop()
        {
            let lent = slots.iter().all(|s| {
                let owner = self.pods.get(*s).queue.as_deref();
                owner.is_some_and(|q| self.quotas.borrows(q))
            });
            if lent {
                for slot in &slots {
                    self.charge_quota(*slot, -1);
                }
                taken.push(slots);
            }
        }
        let enough = self.quotas.fits(&queue, &need);
        let mut kept = Vec::new();
        for slots in taken.into_iter().rev() {
            for slot in &slots {
                self.charge_quota(*slot, 1);
            }
            if enough && !self.quotas.fits(&queue, &need) {
                for slot in &slots {
                    self.charge_quota(*slot, -1);
                }
                kept.push(slots);
            }
        }
        let more: Vec<u32> = kept.into_iter().flatten().collect();
        for slot in more.iter().chain(&chosen) {
            self.charge_quota(*slot, 1);
        }
        if !enough {
            return Err("even with everything back that was lent, its quota is short".to_owned());
        }
        for slot in more {
            let grace = self.pods.get(slot).terms.grace_ms;
            let reason = "lent quota is taken back".to_owned();
            checked.victims.push((slot, grace, reason));
        }
        self.check_budgets_of(&checked)?;
        Ok(checked)
    }

    /// Work on lent quota that is not chosen yet, by what leaves together; the
    /// first to go last, for popping.
    fn lent_units(&self, asked: &Asked, chosen: &BTreeSet<u32>) -> Vec<Vec<u32>> {
        let running = &asked.running;
        let mut units: Vec<Vec<u32>> = asked.groups.clone();
        let single = |id: &&u32| running.group[**id as usize] == NONE;
        units.extend(running.id.iter().filter(single).map(|id| vec![*id]));
        units.retain(|ids| {
            !ids.is_empty()
                && ids.iter().all(|id| {
                    running.allowed[*id as usize] & MAY_KILL != 0
                        && !chosen.contains(&asked.slots[*id as usize])
                })
        });
        units.sort_by_key(|ids| {
            let first = ids[0] as usize;
            let share = match running.owner[first] {
                NONE => 0,
                owner => asked.queues[owner as usize].share,
            };
            let priority = ids.iter().map(|id| running.priority[*id as usize]).max();
            (
                share,
                std::cmp::Reverse(priority),
                running.started[first],
                std::cmp::Reverse(first),
            )
        });
        let slots = |ids: Vec<u32>| ids.iter().map(|id| asked.slots[*id as usize]).collect();
        units.into_iter().map(slots).collect()
    }

    fn check_budgets_of(&self, checked: &Checked) -> Result<(), String> {
        let mut spent = std::collections::BTreeMap::<&str, u32>::new();
        let victims = checked.victims.iter().map(|(s, ..)| *s);
        for slot in victims.chain(checked.moves.iter().map(|(s, _)| *s)) {
            if let Some(name) = self.budget_of(slot) {
                *spent.entry(name).or_insert(0) += 1;
            }
        }
        for (name, spent) in spent {
            let left = self.disruptions_left(name);
            if spent > left {
                return Err(format!(
                    "budget {name} allows {left} disruptions, {spent} would be needed"
                ));
            }
        }
        Ok(())
    }
}

/// What a pod takes from its quota.
fn amounts(pod: &Pod) -> Amounts {
    Amounts::of(&pod.spec.requests, pod.spec.gpu.total_milli())
}
