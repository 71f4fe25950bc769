//! The sets of a hook after a restart.

use model::{PolicyId, PolicySetSpec};

use crate::activate::{ActivateError, Set};
use crate::record::HookRecord;
use crate::registry::{PlanError, Registry};
use crate::workshop::Workshop;

/// A set of the records that does not decide after a restart.
#[derive(Debug)]
pub struct Unavailable {
    /// Its members.
    pub policies: Vec<PolicyId>,
    /// Whether it should decide; else it is the one a rollback would bring back.
    pub active: bool,
    /// What went wrong.
    pub reason: ActivateError,
}

/// What decides after a restart. Install `previous` first, then `active`, so
/// that the engine can roll back as before.
#[derive(Debug)]
pub struct Restored {
    /// As it was, or the built-in.
    pub active: Set,
    /// As it was, if it can still be had.
    pub previous: Option<Set>,
    /// What could not be restored. The records stay as they are: the next
    /// restart, or an activation, may succeed.
    pub unavailable: Vec<Unavailable>,
}

impl Workshop {
    /// Makes the sets of `hook` ready again. A set with a member that cannot be
    /// had is left out as a whole: the others were weighed together with it, and
    /// the built-in is the answer that is known.
    ///
    /// # Errors
    /// A kind that this host does not serve.
    pub fn restore(&self, hook: &HookRecord, registry: &Registry) -> Result<Restored, PlanError> {
        let mut unavailable = Vec::new();
        let mut again = |spec: &PolicySetSpec, active: bool| {
            self.instantiate(spec.clone(), registry)
                .inspect_err(|error| {
                    tracing::error!(kind = %hook.kind, active, %error, "policy set not restored");
                })
                .map_err(|reason| {
                    unavailable.push(Unavailable {
                        policies: spec.members.iter().map(|m| m.policy.clone()).collect(),
                        active,
                        reason,
                    });
                })
                .ok()
        };
        let active = again(&hook.active, true);
        let previous = hook.previous.as_ref().and_then(|spec| again(spec, false));
        let active = match active {
            Some(set) => set,
            None => Set::builtin(hook.kind, 0),
        };
        Ok(Restored {
            active,
            previous,
            unavailable,
        })
    }
}
