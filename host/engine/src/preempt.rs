//! Who yields so that somebody else fits.
//!
//! `unit` is who needs room, `request` the question, `candidates` the rows worth
//! asking about; the chain of policies answers, or the built-in (`native`);
//! `verify` checks the answer, `plan` carries it out. `what_if` asks without
//! doing anything. Steps go from least to most disruptive: allocate,
//! consolidate, reclaim, preempt.

pub(crate) mod candidates;
mod native;
mod plan;
mod request;
mod unit;
mod verify;
mod what_if;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::plan::{PlanRecord, PlanStatus};
use model::policy::PolicyId;
use model::{PolicyFault, PolicyKind, Reason};

use crate::chain::PreemptionSet;
use crate::effect::{Effect, Key, Output};
use crate::engine::Engine;
use crate::lower::Lowered;
use crate::nodes::slots_of;
use crate::pods::Allocation;
use crate::port::preemption::{Action, Plan, PreemptRequest, Proposal};

use candidates::Candidates;
use plan::Live;
use request::Asked;
pub use request::ROWS_PER_PLAN;
use unit::Unit;
use verify::{Checked, Refused};
pub use what_if::{PodOutcome, WhatIfAnswer};

/// First wait after an attempt that found nothing, ms; doubles.
pub const RETRY_FIRST_MS: u64 = 5_000;

/// Longest wait, ms.
pub const RETRY_MAX_MS: u64 = 120_000;

/// Finished plans that can still be asked about. The journal has the rest.
pub const FINISHED_PLANS_MAX: usize = 100;

/// What is remembered of somebody who asked others to yield. Kept with the pod
/// or the gang, so that a restart changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// Attempts that found nothing.
    pub attempts: u32,
    /// Not tried again before, ms.
    pub next_ms: u64,
    /// Level and name of the domain of its latest plan.
    pub nominated: Option<(u32, String)>,
    /// Why the latest attempt found nothing.
    pub why: String,
}

/// Policies, plans and attempts.
#[derive(Debug)]
pub(crate) struct Preemption {
    pub(crate) set: PreemptionSet,
    pub(crate) previous: Option<PreemptionSet>,
    pub(crate) next_plan: u64,
    live: BTreeMap<u64, Live>,
    finished: VecDeque<PlanRecord>,
    /// Somebody new could try, or something changed for those who tried.
    dirty: bool,
    /// Otherwise the next attempt is due then, ms.
    due_ms: u64,
    lowered: Lowered,
    pub(crate) candidates: Candidates,
    /// Only a question is asked: nobody's breaker trips.
    pub(crate) asking: bool,
}

impl Default for Preemption {
    fn default() -> Self {
        Self {
            set: PreemptionSet::builtin(0),
            previous: None,
            next_plan: 1,
            live: BTreeMap::new(),
            finished: VecDeque::new(),
            dirty: true,
            due_ms: u64::MAX,
            lowered: Lowered::default(),
            candidates: Candidates::default(),
            asking: false,
        }
    }
}

impl Preemption {
    pub(crate) fn plan(&self, id: u64) -> Option<&PlanRecord> {
        self.live.get(&id).map(|live| &live.record)
    }

    pub(crate) fn plan_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.live.keys().copied()
    }

    /// Whom it waits for is found again when the pods come back.
    pub(crate) fn restore_plan(&mut self, record: PlanRecord) {
        self.live.insert(record.id, Live::restored(record));
    }

    /// Somebody waits who did not before.
    pub(crate) fn notice(&mut self) {
        self.dirty = true;
    }
}

impl Engine {
    // === Policies ===

    /// Makes `set` decide who yields from the next decision on. The set before
    /// stays instantiated; the one before that is returned.
    pub fn install_preemption(&mut self, set: PreemptionSet) -> Option<PreemptionSet> {
        let old = std::mem::replace(&mut self.preemption.set, set);
        self.try_all_again();
        self.preemption.previous.replace(old)
    }

    /// Swaps the active and the previous set. `false` if there is none.
    pub fn rollback_preemption(&mut self) -> bool {
        let Some(previous) = self.preemption.previous.take() else {
            return false;
        };
        let failed = std::mem::replace(&mut self.preemption.set, previous);
        self.preemption.previous = Some(failed);
        self.try_all_again();
        true
    }

    /// The active set.
    #[must_use]
    pub fn preemption_set(&self) -> &PreemptionSet {
        &self.preemption.set
    }

    /// The set a rollback would bring back.
    #[must_use]
    pub fn previous_preemption(&self) -> Option<&PreemptionSet> {
        self.preemption.previous.as_ref()
    }

    fn try_all_again(&mut self) {
        self.pods.forget_tries();
        self.preemption.dirty = true;
        self.gangs.wake_all();
    }

    // === Attempts ===

    /// One attempt to make room for somebody who has waited long enough, the most
    /// important first. `false` when nobody's attempt led to a plan.
    pub(crate) fn preempt_next(&mut self, out: &mut Output) -> bool {
        if !self.preemption.dirty && self.now_ms < self.preemption.due_ms {
            return false;
        }
        if self.hold {
            return false;
        }
        self.preemption.dirty = false;
        self.preemption.due_ms = u64::MAX;
        for unit in self.waiting_units() {
            let due = self.due_ms(&unit);
            if due > self.now_ms {
                self.preemption.due_ms = self.preemption.due_ms.min(due);
                continue;
            }
            if self.attempt(&unit, out) {
                // Who comes next is looked at in the next round.
                self.preemption.dirty = true;
                return true;
            }
        }
        false
    }

    /// When the unit may try: not before scale-up has had its chance, not right
    /// after an attempt in vain.
    fn due_ms(&self, unit: &Unit) -> u64 {
        let patience = unit.submitted_ms + self.config.preempt_after_ms;
        patience.max(self.tried(unit).map_or(0, |t| t.next_ms))
    }

    /// What is remembered of the unit's attempts.
    pub(crate) fn tried(&self, unit: &Unit) -> Option<&Tried> {
        if unit.gang {
            self.pods.jobs.get(&*unit.name)?.tried.as_deref()
        } else {
            self.pods.get(unit.slots().next()?).tried.as_deref()
        }
    }

    pub(crate) fn remember(&mut self, unit: &Unit, tried: Option<Tried>, out: &mut Output) {
        let tried = tried.map(Box::new);
        if unit.gang {
            if let Some(job) = self.pods.jobs.get_mut(&*unit.name) {
                job.tried = tried;
            }
            out.changed.push(Key::Job(Arc::clone(&unit.name)));
        } else if let Some(slot) = unit.slots().next() {
            self.pods.get_mut(slot).tried = tried;
            out.changed.push(Key::Pod(Arc::clone(&unit.name)));
        }
    }

    /// Heads of what is parked, and jobs whose guarantee others use; highest
    /// priority first, then who came first.
    fn waiting_units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        for class in self.queue.parked() {
            // Who does not ask does not speak for those behind.
            let asks = |slot: &u32| self.pods.get(*slot).terms.preempts;
            if let Some(slot) = self.queue.line(class).find(asks) {
                units.push(self.unit_of_pod(slot));
            }
        }
        for job in self.gangs.could_not_start() {
            units.extend(self.unit_of_gang(job, false));
        }
        for job in self.admission.reclaiming() {
            let Some(spec) = self.pods.jobs.get(job) else {
                continue;
            };
            if spec.spec.gang.is_some() {
                units.extend(self.unit_of_gang(job, true));
            } else {
                // Who is leaving has given its quota back and still has its place.
                let waits = |s: &&u32| {
                    let pod = self.pods.get(**s);
                    !pod.admitted && pod.at.is_none() && pod.next.is_none()
                };
                let first = spec.pods.iter().filter(waits);
                let first = first.min_by_key(|s| self.pods.get(**s).arrival);
                units.extend(first.map(|slot| self.unit_of_pod(*slot)));
            }
        }
        // Nobody yields for members that a gang runs without.
        units.retain(|u| u.preempts && u.roles.iter().any(|r| r.min > 0));
        units.sort_by_key(|u| {
            let arrival = u.slots().map(|s| self.pods.get(s).arrival).min();
            (std::cmp::Reverse(u.priority), arrival)
        });
        units
    }

    /// Tries one step after the other. Returns whether a plan was made.
    fn attempt(&mut self, unit: &Unit, out: &mut Output) -> bool {
        let mut why = String::from("nothing that may be touched would make enough room");
        for action in Action::ALL {
            match self.step_plan(unit, action, out) {
                Ok(Some((asked, policy, checked))) => {
                    if let Err(text) = self.may_disrupt(checked.disrupted(), out) {
                        // What is more disruptive would not be allowed either.
                        why = text;
                        break;
                    }
                    self.commit_plan(unit, &asked, policy, checked, out);
                    return true;
                }
                Ok(None) => {}
                Err(text) => why = text,
            }
        }
        let mut tried = self.tried(unit).cloned().unwrap_or_default();
        let wait = (RETRY_FIRST_MS << tried.attempts.min(16)).min(RETRY_MAX_MS);
        tried.attempts += 1;
        tried.next_ms = self.now_ms + wait;
        tried.why = why;
        self.preemption.due_ms = self.preemption.due_ms.min(tried.next_ms);
        self.remember(unit, Some(tried), out);
        false
    }

    /// A checked plan for one step, without doing it. The error says why a plan
    /// there was could not be taken.
    fn step_plan(
        &mut self,
        unit: &Unit,
        action: Action,
        out: &mut Output,
    ) -> Result<Option<(Asked, PolicyId, Checked)>, String> {
        let unpaid = unit.slots().any(|s| !self.pods.get(s).admitted);
        if unpaid && action != Action::Reclaim {
            return Ok(None);
        }
        if !self.worth_asking(unit, action) {
            return Ok(None);
        }
        let mut rows = self.candidate_rows(unit, action);
        // Columns say at least nothing of a device, so that a policy would count
        // with room that a device promised to somebody does not have.
        rows.retain(|row| !self.nodes.is_overcharged(*row));
        if rows.is_empty() {
            return Ok(None);
        }
        let asked = self.ask(unit, action, rows, true);
        if asked.running.is_empty() {
            return Ok(None);
        }
        let Some((policy, checked)) = self.propose(unit, &asked, out)? else {
            return Ok(None);
        };
        if action == Action::Reclaim {
            let checked = self.reclaim_quota(unit, &asked, checked)?;
            return Ok(Some((asked, policy, checked)));
        }
        Ok(Some((asked, policy, checked)))
    }

    /// Asks the chain, then the built-in. `Ok(None)`: nothing helps.
    fn propose(
        &mut self,
        unit: &Unit,
        asked: &Asked,
        out: &mut Output,
    ) -> Result<Option<(PolicyId, Checked)>, String> {
        let mut set = std::mem::replace(&mut self.preemption.set, PreemptionSet::builtin(0));
        let answer = self.propose_with(&mut set, unit, asked, out);
        let tripped = set.members.iter().any(|m| m.breaker.tripped());
        self.preemption.set = set;
        if tripped && !self.preemption.asking {
            self.revert_preemption(out);
        }
        answer
    }

    fn propose_with(
        &mut self,
        set: &mut PreemptionSet,
        unit: &Unit,
        asked: &Asked,
        out: &mut Output,
    ) -> Result<Option<(PolicyId, Checked)>, String> {
        let context = Arc::clone(self.context.current(&self.nodes));
        // The contract has no slices yet; the built-in places them.
        let members = if unit.slice.is_some() {
            &mut []
        } else {
            set.members.as_mut_slice()
        };
        for m in members {
            if m.context != context.version {
                m.context = context.version;
                if let Err(fault) = m.policy.set_context(&context) {
                    note(m, "set-context", &fault, out);
                    continue;
                }
            }
            let columns = &m.policy.description().columns;
            let mut lowered = std::mem::take(&mut self.preemption.lowered);
            let app = unit.roles.first().map_or(0, |r| r.pod.app);
            let rows = lowered.fill(
                &self.nodes,
                &self.peers,
                app,
                columns,
                &asked.rows,
                unit.wants_gpu() || asked.running.gpu_slots.iter().any(|s| *s != 0),
            );
            let answer = m.policy.propose(&PreemptRequest {
                now: self.now_ms,
                mode: self.context.mode(),
                seed: self.next_seq,
                action: asked.action,
                preemptor: &asked.preemptor,
                domains: &asked.domains,
                queues: &asked.queues,
                budgets: &asked.budgets,
                rows,
                running: &asked.running,
            });
            self.preemption.lowered = lowered;
            match answer {
                Ok((Proposal::Abstain, _)) => m.breaker.ok(),
                Ok((Proposal::None(why), _)) => {
                    m.breaker.ok();
                    return Err(format!("{}: {why}", m.member.policy));
                }
                Ok((Proposal::Plan(plan), _)) => match self.check_plan(unit, asked, &plan) {
                    Ok(checked) => {
                        m.breaker.ok();
                        return Ok(Some((m.member.policy.clone(), checked)));
                    }
                    Err(Refused::Cannot(why)) => {
                        m.breaker.ok();
                        return Err(why);
                    }
                    Err(Refused::Fault(fault)) => note(m, "propose", &fault, out),
                },
                Err(fault) => note(m, "propose", &fault, out),
            }
        }
        let Some(plan) = self.native_plan(unit, asked) else {
            return Ok(None);
        };
        self.checked_native(unit, asked, &plan)
    }

    fn checked_native(
        &self,
        unit: &Unit,
        asked: &Asked,
        plan: &Plan,
    ) -> Result<Option<(PolicyId, Checked)>, String> {
        match self.check_plan(unit, asked, plan) {
            Ok(checked) => Ok(Some((PolicyId::builtin(PreemptionSet::BUILTIN), checked))),
            Err(Refused::Cannot(why)) => Err(why),
            Err(Refused::Fault(fault)) => {
                debug_assert!(false, "the built-in broke the contract: {fault}");
                Err(fault.to_string())
            }
        }
    }

    /// Takes a set out that a breaker tripped on, for the one before it if that
    /// is clean, else for the built-in.
    fn revert_preemption(&mut self, out: &mut Output) {
        let previous = self.preemption.previous.take();
        let to = previous
            .filter(|p| p.members.iter().all(|m| m.breaker.total() == 0))
            .unwrap_or_else(|| PreemptionSet::builtin(0));
        let revision = to.spec.revision;
        let from = std::mem::replace(&mut self.preemption.set, to);
        let fault = out.faults.iter().rev();
        let mut fault = fault.filter(|(kind, _)| *kind == PolicyKind::Preemption);
        if let Some((_, fault)) = fault.next().cloned() {
            out.effects.push(Effect::SetReverted {
                kind: PolicyKind::Preemption,
                policy: fault.policy,
                from: from.spec.revision,
                to: revision,
                fault: format!("{}: {}", fault.code, fault.message),
            });
        }
        self.try_all_again();
    }

    /// A verified place for every pod of a gang that can start now, with nobody
    /// disturbed: the question is a consolidation in which nothing may be touched.
    pub(crate) fn place_gang(
        &mut self,
        job: &str,
        out: &mut Output,
    ) -> Result<Vec<(u32, Allocation)>, (Reason, String)> {
        let wait = |why: &str| (Reason::WaitingForCapacity, why.to_owned());
        let unit = self.unit_of_gang(job, false);
        let unit = unit.filter(|u| !u.roles.is_empty());
        let mut unit = unit.ok_or_else(|| wait("no member waits"))?;
        // Of members that it can do without one must still find a place, or nothing
        // was started.
        if unit.roles.iter().all(|r| r.min == 0) {
            unit.roles[0].min = 1;
        }
        let rows = self.eligible_rows(&unit);
        if rows.is_empty() {
            let reason = if self.nodes.live() == 0 {
                Reason::WaitingForCapacity
            } else {
                Reason::Infeasible
            };
            return Err((reason, "no node could run it, even empty".to_owned()));
        }
        let asked = self.ask(&unit, Action::Consolidate, rows, false);
        let answer = self.propose(&unit, &asked, out);
        match answer {
            Ok(Some((_, checked))) => Ok(checked.placements),
            Ok(None) => {
                self.preemption.notice();
                let reason = self.gang_reason(&unit, &asked);
                Err((reason, "no domain has room for all its members".to_owned()))
            }
            Err(why) => {
                self.preemption.notice();
                Err((self.gang_reason(&unit, &asked), why))
            }
        }
    }

    /// Full, or free but not together.
    fn gang_reason(&self, unit: &Unit, asked: &Asked) -> Reason {
        let state = crate::whatif::WhatIf::new(&self.nodes, &self.classes);
        let fits = |class: u32| {
            let rows = asked.rows.iter();
            rows.filter(|row| state.fits(class, **row)).count() as u32
        };
        let need_milli: i64 = unit
            .roles
            .iter()
            .map(|r| i64::from(r.min) * i64::from(r.pod.gpu_count) * i64::from(r.pod.gpu_milli))
            .sum();
        let free_milli: i64 = asked
            .rows
            .iter()
            .map(|row| i64::from(self.nodes.gpu_free[*row as usize]))
            .sum();
        let enough_nodes = unit.roles.iter().all(|r| fits(r.class) >= r.min.min(1));
        if (need_milli > 0 && free_milli >= need_milli) || (need_milli == 0 && enough_nodes) {
            Reason::FragmentedTopology
        } else {
            Reason::WaitingForCapacity
        }
    }

    // === Views ===

    /// Plans in progress, then finished ones, newest first.
    #[must_use]
    pub fn plan_views(&self) -> Vec<&PlanRecord> {
        let live = self.preemption.live.values().map(|l| &l.record);
        live.chain(self.preemption.finished.iter().rev()).collect()
    }

    /// What preemption has to say about somebody who waits: attempts so far, when
    /// the next one is due (ms), and why the latest found nothing.
    #[must_use]
    pub fn preemption_wait(&self, name: &str) -> Option<(u32, u64, &str)> {
        let pod = self.pods.slot(name).map(|slot| self.pods.get(slot));
        let job = self.pods.jobs.get(name);
        let tried = pod.and_then(|p| p.tried.as_deref());
        let tried = tried.or_else(|| job.and_then(|j| j.tried.as_deref()))?;
        Some((tried.attempts, tried.next_ms, &tried.why))
    }

    /// The plan that has promised a pod a place, or that a gang waits for.
    #[must_use]
    pub fn plan_for(&self, name: &str) -> Option<&PlanRecord> {
        let slot = self.pods.slot(name);
        let plan = slot.and_then(|slot| self.pods.get(slot).next);
        if let Some(promise) = plan {
            return self.preemption.plan(promise.plan);
        }
        let live = self.preemption.live.values().map(|l| &l.record);
        live.into_iter().find(|p| &*p.preemptor == name)
    }
}

fn note(
    m: &mut crate::chain::ChainMember<dyn crate::port::preemption::PreemptionPolicy>,
    call: &'static str,
    fault: &PolicyFault,
    out: &mut Output,
) {
    m.breaker.fault();
    out.faults.push((
        PolicyKind::Preemption,
        model::decision::FaultNote {
            policy: m.member.policy.clone(),
            call,
            code: fault.code(),
            message: fault.to_string(),
        },
    ));
}

/// Devices of an allocation, ascending.
fn device_list(at: &Allocation) -> Vec<u8> {
    slots_of(at.devices).map(|s| s as u8).collect()
}

/// The status of a plan that nobody carries out.
fn proposed(mut record: PlanRecord) -> PlanRecord {
    record.status = PlanStatus::Proposed;
    record
}
