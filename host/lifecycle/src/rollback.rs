//! Back to the set that decided before.
//!
//! The engine kept it instantiated and swaps two pointers; here only the record
//! of it changes. Nothing is compiled, read or validated: there is no workshop
//! in this file.

use model::{PolicyKind, PolicySetSpec};

use crate::registry::{Plan, PlanError, Registry};

impl Registry {
    /// The active and the previous set change places. To be journalled, applied,
    /// and followed by the engine's own rollback of this kind.
    ///
    /// # Errors
    /// There is no previous set, or the hook is not at `if_revision`.
    pub fn plan_rollback(
        &self,
        kind: PolicyKind,
        if_revision: Option<u64>,
        at_ms: u64,
        reason: &str,
    ) -> Result<Plan, PlanError> {
        let hook = self.hook(kind)?;
        if let Some(expected) = if_revision.filter(|r| *r != hook.revision) {
            return Err(PlanError::Stale {
                kind,
                expected,
                current: hook.revision,
            });
        }
        let previous = hook
            .previous
            .clone()
            .ok_or(PlanError::NoPrevious { kind })?;
        self.change(hook, previous, Some(hook.active.clone()), at_ms, reason)
    }

    /// The hook follows the engine, whose breaker took a set out: `active` and
    /// `previous` are what the engine has now.
    ///
    /// # Errors
    /// A kind that is not served.
    pub fn plan_reverted(
        &self,
        active: &PolicySetSpec,
        previous: Option<&PolicySetSpec>,
        at_ms: u64,
        reason: &str,
    ) -> Result<Plan, PlanError> {
        let hook = self.hook(active.kind)?;
        self.change(hook, active.clone(), previous.cloned(), at_ms, reason)
    }
}
