//! The contract's laws, checked on instances in the sandbox.

use std::sync::Arc;

use conformance::Report;
use model::{PolicyFault, PolicyKind};
use sandbox::{Prepared, RunLimits, StartError};

/// Runs the kit. Fuel decides, not the clock: the host may be busy, and the same
/// component must get the same report everywhere. The sandbox's own audits are
/// off, because the kit has a law of its own for what they find.
pub(crate) fn conform(prepared: &Arc<Prepared>) -> Report {
    let limits = RunLimits {
        audit_every: 0,
        ..prepared.profile().run().unhurried()
    };
    let report = match prepared.kind() {
        PolicyKind::Scoring => {
            conformance::check_scoring(&mut |s| prepared.scoring(s, limits).map_err(fault))
        }
        PolicyKind::Autoscaling => {
            conformance::check_autoscaling(&mut |s| prepared.autoscaling(s, limits).map_err(fault))
        }
        PolicyKind::Admission => {
            conformance::check_admission(&mut |s| prepared.admission(s, limits).map_err(fault))
        }
        PolicyKind::Preemption => {
            conformance::check_preemption(&mut |s| prepared.preemption(s, limits).map_err(fault))
        }
    };
    // What it said while it was tried is not news of production.
    let _ = prepared.drain_log();
    report
}

fn fault(error: StartError) -> PolicyFault {
    match error {
        StartError::Fault(fault) => fault,
        other => PolicyFault::NotStarted {
            message: other.to_string(),
        },
    }
}
