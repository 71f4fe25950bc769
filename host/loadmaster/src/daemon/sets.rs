//! Policy sets of every kind, in the engine and in the records.

use std::time::Instant;

use engine::Engine;
use lifecycle::Set;
use model::{PolicyKind, PolicySetSpec};

use super::Receipt;
use super::core::{Core, SETS_MAX};
use super::live::Change;
use crate::wire::Problem;

/// What decides for a kind.
pub(crate) fn active(engine: &Engine, kind: PolicyKind) -> &PolicySetSpec {
    match kind {
        PolicyKind::Scoring => &engine.scoring().spec,
        PolicyKind::Autoscaling => &engine.autoscaling().spec,
        PolicyKind::Admission => &engine.admission_set().spec,
        PolicyKind::Preemption => &engine.preemption_set().spec,
    }
}

/// What a rollback would bring back.
pub(crate) fn previous(engine: &Engine, kind: PolicyKind) -> Option<&PolicySetSpec> {
    match kind {
        PolicyKind::Scoring => engine.previous_scoring().map(|s| &s.spec),
        PolicyKind::Autoscaling => engine.previous_autoscaling().map(|s| &s.spec),
        PolicyKind::Admission => engine.previous_admission().map(|s| &s.spec),
        PolicyKind::Preemption => engine.previous_preemption().map(|s| &s.spec),
    }
}

/// Makes a set decide; returns the one that is not needed any more.
pub(crate) fn install(engine: &mut Engine, set: Set) -> Option<Set> {
    match set {
        Set::Scoring(set) => engine.install_scoring(set).map(Set::Scoring),
        Set::Autoscaling(set) => engine.install_autoscaling(set).map(Set::Autoscaling),
        Set::Admission(set) => engine.install_admission(set).map(Set::Admission),
        Set::Preemption(set) => engine.install_preemption(set).map(Set::Preemption),
    }
}

/// Swaps the active and the previous set of a kind.
pub(crate) fn rollback(engine: &mut Engine, kind: PolicyKind) -> bool {
    match kind {
        PolicyKind::Scoring => engine.rollback_scoring(),
        PolicyKind::Autoscaling => engine.rollback_autoscaling(),
        PolicyKind::Admission => engine.rollback_admission(),
        PolicyKind::Preemption => engine.rollback_preemption(),
    }
}

impl Core {
    /// Whether this very set is active, running, and has not been edited since.
    pub(super) fn decides_already(&self, spec: &PolicySetSpec) -> bool {
        let active = active(&self.engine, spec.kind);
        !self.fallen_back.contains_key(&spec.kind)
            && active.members == spec.members
            && active.combine == spec.combine
    }

    pub(super) fn swap(
        &mut self,
        kind: PolicyKind,
        cause: &'static str,
        reason: &str,
        swap: impl FnOnce(&mut Engine) -> Option<Set>,
    ) -> Result<Receipt, Problem> {
        self.fallen_back.remove(&kind);
        let begun = Instant::now();
        let gone = swap(&mut self.engine);
        let pause = begun.elapsed();
        // What leaves is dropped after decisions go on.
        drop(gone);
        self.metrics.swap.observe(pause);
        self.set_changed(kind, cause, reason, pause.as_micros() as u64);
        // What waited may be placed by the new set.
        let mut receipt = Receipt {
            swap_us: Some(pause.as_micros() as u64),
            ..Receipt::default()
        };
        self.decide(&mut receipt);
        Ok(receipt)
    }

    pub(super) fn set_changed(
        &mut self,
        kind: PolicyKind,
        cause: &'static str,
        reason: &str,
        pause_us: u64,
    ) {
        let spec = active(&self.engine, kind);
        *self.metrics.set_changes.entry(cause).or_insert(0) += 1;
        self.changes.push(Change::SetChanged {
            kind: kind.into(),
            set: spec.into(),
            cause: cause.to_owned(),
            reason: reason.to_owned(),
            pause_us,
        });
        if kind == PolicyKind::Scoring {
            let spec = spec.clone();
            let set = crate::wire::policy::PolicySet::from(&spec);
            self.book
                .put(format!("set/{:020}", spec.revision).into_bytes(), &set);
            self.sets.insert(spec.revision, spec);
            if self.sets.len() > SETS_MAX
                && let Some((revision, _)) = self.sets.pop_first()
            {
                self.book.delete(format!("set/{revision:020}").into_bytes());
            }
        }
    }

    /// The records follow the engine, whose breaker took a set out.
    pub(super) fn follow(&mut self, kind: PolicyKind, reason: &str) {
        let active = active(&self.engine, kind).clone();
        let previous = previous(&self.engine, kind).cloned();
        let now_ms = self.engine.now_ms();
        match self
            .registry
            .plan_reverted(&active, previous.as_ref(), now_ms, reason)
        {
            Ok(plan) => {
                self.book.plan(&plan);
                self.registry.apply(plan);
            }
            Err(error) => tracing::error!(%error, "the record of a reverted set was not written"),
        }
    }
}
