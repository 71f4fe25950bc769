//! Replicas over time, by file names: samples of the load go to `samples`; a
//! tick asks `decide`, which asks the policy of the `set`; `check` says what
//! people and policies may ask for; `replicas` stands in for pods that live
//! elsewhere. `backtest` runs a whole series through an engine.

mod backtest;
mod check;
mod decide;
mod replicas;
mod samples;
mod set;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::policy::PolicyId;
use model::scaling::{CalendarEvent, ScalingDecision, ScalingSpec};
use model::{JobKind, PolicyFault, PolicyKind};

use crate::builtin::hpa::Windows;
use crate::effect::{Effect, Key, Output};
use crate::engine::Engine;
use crate::error::EventError;

pub use backtest::{SeriesProgress, SeriesRun, drive_series, slot_ms};
pub use check::{
    CALENDAR_MAX, DESIRED_MAX, FORECAST_POINTS_MAX, LOAD_MAX, MULTIPLIER_MAX, PART_BYTES_MAX,
    PARTS_MAX, START_UP_MS_MAX, STEP_MS_MAX, STEP_MS_MIN, TARGET_UTILIZATION_MAX, WORKLOADS_MAX,
};
pub use decide::{DECISIONS_KEPT, PolicyMemory};
pub use replicas::{Replicas, Starting};
pub use samples::Samples;
pub use set::{AutoscalingSet, AutoscalingSetError};

use decide::{Moment, Workload};

/// Distance of two decisions about a workload, ms, whatever the distance of its
/// samples: calendar entries and rate rules do not wait for a slow metric. The
/// default of Kubernetes. Decisions fall on multiples of it, or on the first
/// tick after one.
pub const DECIDE_EVERY_MS: u64 = 15_000;

/// How long ended calendar entries are still shown to policies, ms.
const CALENDAR_SHOWN_MS: u64 = 86_400_000;

/// Exported state of a scaled workload.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingState {
    /// Spec.
    pub spec: ScalingSpec,
    /// Load over time.
    pub samples: Samples,
    /// Windows of the reactive formula.
    pub windows: Windows,
    /// What the policy remembers.
    pub memory: Option<PolicyMemory>,
    /// Replicas asked for, when no job of the engine backs the workload.
    pub replicas: Replicas,
    /// Time of the next decision, ms; 0 before the first.
    pub due_ms: u64,
    /// The latest decision.
    pub last: Option<ScalingDecision>,
}

/// A scaled workload as it is now.
#[derive(Debug, Clone)]
pub struct WorkloadView<'a> {
    /// Spec.
    pub spec: &'a ScalingSpec,
    /// Serving.
    pub ready: u32,
    /// Asked for, not serving yet.
    pub starting: u32,
    /// The present load; NaN when unknown.
    pub load: f64,
    /// Time of the first step, ms.
    pub series_start_ms: u64,
    /// Load step by step, NaN where missing.
    pub series: &'a [f64],
    /// The latest decision.
    pub last: Option<&'a ScalingDecision>,
}

/// Everything scaled, and who decides about it.
#[derive(Debug)]
pub(crate) struct Scaling {
    workloads: BTreeMap<String, Workload>,
    calendar: BTreeMap<String, CalendarEvent>,
    set: AutoscalingSet,
    /// The set before, still instantiated: going back compiles nothing.
    previous: Option<AutoscalingSet>,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            workloads: BTreeMap::new(),
            calendar: BTreeMap::new(),
            set: AutoscalingSet::builtin(0),
            previous: None,
        }
    }
}

impl Scaling {
    // === Events ===

    pub(crate) fn put(&mut self, spec: ScalingSpec, out: &mut Output) -> Result<(), EventError> {
        check::spec(&spec)?;
        if self.workloads.len() >= WORKLOADS_MAX && !self.workloads.contains_key(&spec.workload) {
            return Err(EventError::Scaling {
                workload: spec.workload,
                problem: format!("{WORKLOADS_MAX} workloads are scaled already; remove one"),
            });
        }
        out.changed
            .push(Key::Scaling(Arc::from(spec.workload.as_str())));
        match self.workloads.get_mut(&spec.workload) {
            Some(w) => {
                if w.spec.step_ms != spec.step_ms {
                    // Steps of two lengths make no equidistant series.
                    w.samples = Samples::new(spec.step_ms);
                }
                w.spec = spec;
            }
            None => {
                self.workloads
                    .insert(spec.workload.clone(), Workload::new(spec));
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, workload: &str, out: &mut Output) -> Result<(), EventError> {
        self.workloads
            .remove(workload)
            .ok_or_else(|| EventError::UnknownWorkload(workload.to_owned()))?;
        out.changed.push(Key::Scaling(Arc::from(workload)));
        Ok(())
    }

    pub(crate) fn sample(
        &mut self,
        now_ms: u64,
        workload: &str,
        value: f64,
        out: &mut Output,
    ) -> Result<(), EventError> {
        let w = self
            .workloads
            .get_mut(workload)
            .ok_or_else(|| EventError::UnknownWorkload(workload.to_owned()))?;
        w.samples.add(now_ms, value);
        out.changed.push(Key::Scaling(Arc::from(workload)));
        Ok(())
    }

    pub(crate) fn put_calendar(
        &mut self,
        entry: CalendarEvent,
        out: &mut Output,
    ) -> Result<(), EventError> {
        check::calendar(&entry)?;
        if self.calendar.len() >= CALENDAR_MAX && !self.calendar.contains_key(&entry.name) {
            return Err(EventError::Calendar {
                name: entry.name,
                problem: format!("there are {CALENDAR_MAX} entries already; remove ended ones"),
            });
        }
        out.changed
            .push(Key::Calendar(Arc::from(entry.name.as_str())));
        self.calendar.insert(entry.name.clone(), entry);
        Ok(())
    }

    pub(crate) fn remove_calendar(
        &mut self,
        name: &str,
        out: &mut Output,
    ) -> Result<(), EventError> {
        self.calendar
            .remove(name)
            .ok_or_else(|| EventError::UnknownCalendarEntry(name.to_owned()))?;
        out.changed.push(Key::Calendar(Arc::from(name)));
        Ok(())
    }

    // === State ===

    pub(crate) fn export(&self, workload: &str) -> Option<ScalingState> {
        let w = self.workloads.get(workload)?;
        Some(ScalingState {
            spec: w.spec.clone(),
            samples: w.samples.export(),
            windows: w.windows.clone(),
            memory: w.memory.clone(),
            replicas: w.replicas.clone(),
            due_ms: w.due_ms,
            last: w.decisions.back().cloned(),
        })
    }

    pub(crate) fn restore(&mut self, s: ScalingState) {
        let w = Workload {
            spec: s.spec,
            samples: s.samples,
            windows: s.windows,
            memory: s.memory,
            replicas: s.replicas,
            due_ms: s.due_ms,
            decisions: VecDeque::from_iter(s.last),
        };
        self.workloads.insert(w.spec.workload.clone(), w);
    }

    pub(crate) fn restore_calendar(&mut self, entry: CalendarEvent) {
        self.calendar.insert(entry.name.clone(), entry);
    }

    pub(crate) fn calendar_entry(&self, name: &str) -> Option<CalendarEvent> {
        self.calendar.get(name).cloned()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.workloads.keys().map(String::as_str)
    }

    pub(crate) fn calendar(&self) -> impl Iterator<Item = &CalendarEvent> {
        self.calendar.values()
    }

    // === Decisions ===

    fn due(&self, now_ms: u64) -> Vec<String> {
        self.workloads
            .iter()
            .filter(|(_, w)| w.due_ms <= now_ms)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Calendar entries that concern the workload, those long over left out.
    fn entries(&self, workload: &str, now_ms: u64) -> Vec<CalendarEvent> {
        self.calendar
            .values()
            .filter(|e| e.workload.is_empty() || e.workload == workload)
            .filter(|e| e.end_ms.saturating_add(CALENDAR_SHOWN_MS) > now_ms)
            .cloned()
            .collect()
    }

    /// Takes the set out, for the one before it if that has never failed, else
    /// for the built-in.
    fn revert(&mut self, fault: &PolicyFault) -> Effect {
        let to = match self.previous.take() {
            Some(previous) if previous.breaker.total() == 0 => previous,
            _ => AutoscalingSet::builtin(0),
        };
        let failed = std::mem::replace(&mut self.set, to);
        Effect::SetReverted {
            kind: PolicyKind::Autoscaling,
            policy: failed.id().clone(),
            from: failed.spec.revision,
            to: self.set.spec.revision,
            fault: format!("{}: {fault}", fault.code()),
        }
    }
}

/// Workloads decided in one tick; the others are still due at the next, a
/// quarter of a second later. A refit of a forecast takes milliseconds, and pods
/// wait meanwhile.
const DECIDED_PER_TICK: usize = 16;

impl Engine {
    /// Decides about every workload that is due, in the order of their names.
    pub(crate) fn tick_scaling(&mut self, out: &mut Output) {
        for name in self
            .scaling
            .due(self.now_ms)
            .into_iter()
            .take(DECIDED_PER_TICK)
        {
            self.decide_scaling(&name, out);
        }
    }

    fn decide_scaling(&mut self, name: &str, out: &mut Output) {
        let now_ms = self.now_ms;
        let Some((ready, starting)) = self.replicas(name, now_ms) else {
            return;
        };
        let calendar = self.scaling.entries(name, now_ms);
        let moment = Moment {
            now_ms,
            seq: self.next_seq,
            mode: self.context.mode(),
            hold: self.hold,
            ready,
            starting,
            calendar: &calendar,
        };
        let scaling = &mut self.scaling;
        let Some(w) = scaling.workloads.get_mut(name) else {
            return;
        };
        let (decision, tripped) = w.decide(&mut scaling.set, &moment);
        w.due_ms = (now_ms / DECIDE_EVERY_MS + 1) * DECIDE_EVERY_MS;
        self.next_seq += 1;
        let workload: Arc<str> = Arc::from(name);
        out.changed.push(Key::Scaling(Arc::clone(&workload)));
        let (from, to) = (decision.current, decision.desired);
        out.scaling.push(decision);
        if let Some(fault) = tripped {
            let effect = self.scaling.revert(&fault);
            out.effects.push(effect);
        }
        if from != to {
            out.effects.push(Effect::Scale { workload, from, to });
            // Growth goes through the same door as anybody's; what is refused is
            // asked for again at the next decision.
            let room = self.config.pending_max.saturating_sub(self.waiting());
            let more = to.saturating_sub(from);
            let may =
                more == 0 || (more as usize <= room && self.review_scale(name, to, out).is_ok());
            if self.is_service(name) && may {
                // Refused only if the job is gone or no service any more.
                let _ = self.scale_job(name, to, out);
            }
        }
    }

    fn is_service(&self, id: &str) -> bool {
        let job = self.pods.jobs.get(id);
        job.is_some_and(|j| j.spec.kind == JobKind::Service && j.spec.gang.is_none())
    }

    /// Serving and starting replicas of a scaled workload at a time not before
    /// the latest event: pods of the service job of that name if there is one,
    /// else what was asked for. A pod serves `start_up_ms` after it was bound.
    #[must_use]
    pub fn replicas(&self, workload: &str, now_ms: u64) -> Option<(u32, u32)> {
        let w = self.scaling.workloads.get(workload)?;
        if !self.is_service(workload) {
            return Some(w.replicas.at(now_ms));
        }
        let pods = &self.pods.jobs.get(workload)?.pods;
        let serves = |slot: &&u32| {
            let at = self.pods.get(**slot).at;
            at.is_some_and(|at| at.since_ms.saturating_add(w.spec.start_up_ms) <= now_ms)
        };
        let ready = pods.iter().filter(serves).count() as u32;
        Some((ready, pods.len() as u32 - ready))
    }

    // === Policies ===

    /// Makes `set` decide about replicas from the next decision on. The set
    /// before stays instantiated for [`Self::rollback_autoscaling`]; the one
    /// before that is returned.
    pub fn install_autoscaling(&mut self, set: AutoscalingSet) -> Option<AutoscalingSet> {
        let old = std::mem::replace(&mut self.scaling.set, set);
        self.scaling.previous.replace(old)
    }

    /// Swaps the active and the previous set. `false` if there is none.
    pub fn rollback_autoscaling(&mut self) -> bool {
        let Some(previous) = &mut self.scaling.previous else {
            return false;
        };
        std::mem::swap(previous, &mut self.scaling.set);
        true
    }

    /// The active autoscaling set.
    #[must_use]
    pub fn autoscaling(&self) -> &AutoscalingSet {
        &self.scaling.set
    }

    /// The set a rollback would bring back.
    #[must_use]
    pub fn previous_autoscaling(&self) -> Option<&AutoscalingSet> {
        self.scaling.previous.as_ref()
    }

    /// Who decides about replicas.
    #[must_use]
    pub fn autoscaling_policy(&self) -> &PolicyId {
        self.scaling.set.id()
    }

    // === Reading ===

    /// Every scaled workload, by name.
    pub fn workloads(&self) -> impl Iterator<Item = &ScalingSpec> {
        self.scaling.workloads.values().map(|w| &w.spec)
    }

    /// A workload as it is now.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<WorkloadView<'_>> {
        let w = self.scaling.workloads.get(name)?;
        let (ready, starting) = self.replicas(name, self.now_ms)?;
        let (series_start_ms, series) = w.samples.window();
        Some(WorkloadView {
            spec: &w.spec,
            ready,
            starting,
            load: w.samples.load_at(self.now_ms),
            series_start_ms,
            series,
            last: w.decisions.back(),
        })
    }

    /// The latest decisions about a workload, oldest first, up to
    /// [`DECISIONS_KEPT`].
    pub fn scaling_decisions(
        &self,
        workload: &str,
    ) -> impl DoubleEndedIterator<Item = &ScalingDecision> {
        let w = self.scaling.workloads.get(workload);
        w.into_iter().flat_map(|w| &w.decisions)
    }

    /// Every calendar entry, by name.
    pub fn calendar(&self) -> impl Iterator<Item = &CalendarEvent> {
        self.scaling.calendar()
    }
}

#[cfg(test)]
mod tests;
