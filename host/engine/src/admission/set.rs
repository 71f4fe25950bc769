//! The admission policies, and what follows when one of them fails.
//!
//! | fail mode | at the door | in a quota cycle | when its breaker trips |
//! |---|---|---|---|
//! | closed | the object stays out | the built-in answers | it stays, is no longer asked in cycles, and an alarm is raised at once |
//! | open | as if it had abstained | the built-in answers | the set before comes back, or the built-in |
//!
//! A set that has a member that fails closed is never taken out as a whole, since
//! that gate would go with it: there a member that fails open and trips is only
//! not asked any more.

use model::decision::FaultNote;
use model::{FailMode, PolicyFault, PolicyKind};

use crate::chain::AdmissionSet;
use crate::effect::{Effect, Output};
use crate::engine::Engine;

/// A member that fails closed for this long, without one good answer in between,
/// is reported, ms: shorter than it takes people to ask why nothing enters.
pub const ALARM_AFTER_MS: u64 = 60_000;

/// One report per member in this time, ms.
pub const ALARM_EVERY_MS: u64 = 300_000;

/// What is remembered of one member's failures.
#[derive(Debug, Clone, Default)]
struct Health {
    /// First failure at the door since the last good answer there, ms.
    since_ms: Option<u64>,
    /// Objects refused since.
    refused: u64,
    /// Its breaker tripped, and nobody was told yet.
    alarm: bool,
    alarmed_ms: Option<u64>,
    /// Not asked any more, in cycles or at all.
    cycle_off: bool,
    off: bool,
}

/// Where a policy was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Door,
    Cycle,
}

/// The active set, the one before, and how the members do.
#[derive(Debug)]
pub(crate) struct Members {
    pub(super) set: AdmissionSet,
    /// Still instantiated: going back compiles nothing.
    previous: Option<AdmissionSet>,
    health: Vec<Health>,
    /// The fault that takes the set out.
    revert: Option<FaultNote>,
    /// A gate that should be there and could not be had: whose, and why.
    pub(super) missing: Option<(model::PolicyId, String)>,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            set: AdmissionSet::builtin(0),
            previous: None,
            health: Vec::new(),
            revert: None,
            missing: None,
        }
    }
}

impl Members {
    fn replace(&mut self, set: AdmissionSet) -> AdmissionSet {
        self.health = vec![Health::default(); set.members.len()];
        self.revert = None;
        std::mem::replace(&mut self.set, set)
    }

    /// Members to ask at this gate, in order.
    pub(super) fn asked(&self, gate: Gate) -> Vec<usize> {
        let asked = self.health.iter().enumerate().filter(|(_, h)| match gate {
            Gate::Door => !h.off,
            Gate::Cycle => !h.off && !h.cycle_off,
        });
        asked.map(|(i, _)| i).collect()
    }

    pub(super) fn fail_mode(&self, member: usize) -> FailMode {
        self.set.members[member].member.fail
    }

    /// What is written down about a fault.
    pub(super) fn note(&self, member: usize, call: &'static str, fault: &PolicyFault) -> FaultNote {
        FaultNote {
            policy: self.set.members[member].member.policy.clone(),
            call,
            code: fault.code(),
            message: fault.to_string(),
        }
    }

    fn ok(&mut self, member: usize, gate: Gate) {
        self.set.members[member].breaker.ok();
        if gate == Gate::Door {
            let health = &mut self.health[member];
            health.since_ms = None;
            health.refused = 0;
        }
    }

    fn fault(&mut self, member: usize, gate: Gate, note: &FaultNote, now_ms: u64) {
        let tripped = self.set.members[member].breaker.fault();
        let closed = self.fail_mode(member) == FailMode::Closed;
        let every = &self.set.members;
        let gates = every.iter().any(|m| m.member.fail == FailMode::Closed);
        let health = &mut self.health[member];
        if closed && gate == Gate::Door {
            health.since_ms.get_or_insert(now_ms);
            health.refused += 1;
        }
        match (tripped, closed) {
            (false, _) => {}
            (true, true) => {
                health.alarm = true;
                health.cycle_off = true;
            }
            (true, false) if gates => health.off = true,
            (true, false) => {
                self.revert.get_or_insert_with(|| note.clone());
            }
        }
    }

    /// Reports that are due.
    fn alarms(&mut self, now_ms: u64, out: &mut Output) {
        for (health, member) in self.health.iter_mut().zip(&self.set.members) {
            let long = |since: u64| now_ms.saturating_sub(since) >= ALARM_AFTER_MS;
            let due = health.alarm || health.since_ms.is_some_and(long);
            let silent = |at: u64| now_ms.saturating_sub(at) < ALARM_EVERY_MS;
            if !due || health.alarmed_ms.is_some_and(silent) {
                continue;
            }
            health.alarm = false;
            health.alarmed_ms = Some(now_ms);
            out.effects.push(Effect::AdmissionStuck {
                policy: member.member.policy.clone(),
                since_ms: health.since_ms.unwrap_or(now_ms),
                refused: health.refused,
            });
        }
    }
}

/// How one call went.
pub(super) type Call = (usize, &'static str, Result<(), PolicyFault>);

impl Engine {
    /// Counts what was asked, and draws the consequences. All calls of a member
    /// about one object or cycle count as one: a gate that always fails at its
    /// second question is no better than one that fails at the first.
    pub(super) fn settle(&mut self, gate: Gate, calls: &[Call], out: &mut Output) {
        let now_ms = self.now_ms;
        let members = &mut self.admission.members;
        for member in 0..members.health.len() {
            let mut own = calls.iter().filter(|c| c.0 == member).peekable();
            if own.peek().is_none() {
                continue;
            }
            let mut first = None;
            for (_, call, result) in own {
                if let Err(fault) = result {
                    let note = members.note(member, call, fault);
                    first.get_or_insert_with(|| note.clone());
                    out.faults.push((PolicyKind::Admission, note));
                }
            }
            match first {
                None => members.ok(member, gate),
                Some(note) => members.fault(member, gate, &note, now_ms),
            }
        }
        if calls.iter().any(|(.., result)| result.is_err()) {
            members.alarms(now_ms, out);
        }
        if let Some(fault) = members.revert.take() {
            self.revert_admission(&fault, out);
        }
    }

    /// Alarms and retries that wait for time.
    pub(crate) fn tick_admission(&mut self, out: &mut Output) {
        self.admission.members.alarms(self.now_ms, out);
        self.admission.lines.wake_due(self.now_ms);
    }

    /// Takes a set out that a breaker tripped on, for the one before it if that
    /// never failed, else for the built-in.
    fn revert_admission(&mut self, fault: &FaultNote, out: &mut Output) {
        let members = &mut self.admission.members;
        let clean = |set: &AdmissionSet| set.members.iter().all(|m| m.breaker.total() == 0);
        let to = members.previous.take().filter(clean);
        let to = to.unwrap_or_else(|| AdmissionSet::builtin(0));
        let revision = to.spec.revision;
        let from = members.replace(to);
        self.admission.stir();
        out.effects.push(Effect::SetReverted {
            kind: PolicyKind::Admission,
            policy: fault.policy.clone(),
            from: from.spec.revision,
            to: revision,
            fault: format!("{}: {}", fault.code, fault.message),
        });
    }

    /// Makes `set` decide about admission from now on. The set before stays
    /// instantiated for [`Self::rollback_admission`]; the one before that is
    /// returned. What was accepted stays accepted.
    pub fn install_admission(&mut self, set: AdmissionSet) -> Option<AdmissionSet> {
        let old = self.admission.members.replace(set);
        self.admission.members.missing = None;
        self.admission.stir();
        self.admission.members.previous.replace(old)
    }

    /// Swaps the active and the previous admission set. `false` if there is none.
    pub fn rollback_admission(&mut self) -> bool {
        let members = &mut self.admission.members;
        let Some(previous) = members.previous.take() else {
            return false;
        };
        members.previous = Some(members.replace(previous));
        members.missing = None;
        self.admission.stir();
        true
    }

    /// Keeps everybody out until an admission set is installed: the gate that should
    /// be here could not be had, and a gate must not open because of that.
    pub fn shut_gate(&mut self, policy: model::PolicyId, why: String) {
        self.admission.members.missing = Some((policy, why));
    }

    /// The active admission set.
    #[must_use]
    pub fn admission_set(&self) -> &AdmissionSet {
        &self.admission.members.set
    }

    /// The set a rollback would bring back.
    #[must_use]
    pub fn previous_admission(&self) -> Option<&AdmissionSet> {
        self.admission.members.previous.as_ref()
    }
}
