//! The shipped components in a real sandbox.

use std::sync::{Arc, OnceLock};

use engine::ScoringSet;
use engine::port::admission::AdmissionPolicy;
use engine::port::preemption::PreemptionPolicy;
use engine::port::{AutoscalingPolicy, ScoringPolicy};
use model::policy::{PolicyId, WEIGHT_ONE};
use model::{Combine, Member, PolicyKind, PolicySetSpec};
use sandbox::{Compiler, Prepared, Profile, Sandbox, SandboxConfig};

/// Who compiles: a bench's `main` answers the verb itself; a test's belongs to
/// the harness, so `compile-child` beside it does.
fn compiler() -> Compiler {
    let exe = std::env::current_exe().expect("own path");
    let dir = exe.parent().expect("a directory");
    if dir.ends_with("deps") {
        Compiler::Exe(dir.with_file_name("compile-child"))
    } else {
        Compiler::CurrentExe
    }
}

/// One sandbox a process, as in production.
///
/// # Panics
/// If the sandbox cannot be made.
pub fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        Sandbox::new(SandboxConfig {
            compiler: compiler(),
            ..SandboxConfig::default()
        })
        .expect("sandbox")
    })
}

/// A shipped component, compiled once a process.
///
/// # Panics
/// If there is none of this name or it does not compile.
#[must_use]
pub fn prepared(name: &str) -> Arc<Prepared> {
    let bundled = loadmaster::bundled::component(name).expect("shipped");
    sandbox()
        .prepare(bundled.wasm, Profile::Standard)
        .expect("prepared")
}

/// A shipped scoring policy.
///
/// # Panics
/// If it cannot be started with these settings.
#[must_use]
pub fn scoring(name: &str, settings: &str) -> Box<dyn ScoringPolicy> {
    let prepared = prepared(name);
    let limits = prepared.profile().run().unhurried();
    prepared.scoring(settings, limits).expect("started")
}

/// A shipped autoscaling policy.
///
/// # Panics
/// If it cannot be started with these settings.
#[must_use]
pub fn autoscaling(name: &str, settings: &str) -> Box<dyn AutoscalingPolicy> {
    let prepared = prepared(name);
    let limits = prepared.profile().run().unhurried();
    prepared.autoscaling(settings, limits).expect("started")
}

/// A shipped admission policy.
///
/// # Panics
/// If it cannot be started with these settings.
#[must_use]
pub fn admission(name: &str, settings: &str) -> Box<dyn AdmissionPolicy> {
    let prepared = prepared(name);
    let limits = prepared.profile().run().unhurried();
    prepared.admission(settings, limits).expect("started")
}

/// A shipped preemption policy.
///
/// # Panics
/// If it cannot be started with these settings.
#[must_use]
pub fn preemption(name: &str, settings: &str) -> Box<dyn PreemptionPolicy> {
    let prepared = prepared(name);
    let limits = prepared.profile().run().unhurried();
    prepared.preemption(settings, limits).expect("started")
}

/// A set of one policy.
///
/// # Panics
/// Never for one member of weight 1.
#[must_use]
pub fn alone(revision: u64, policy: Box<dyn ScoringPolicy>) -> ScoringSet {
    let d = policy.description();
    let member = Member {
        policy: PolicyId {
            name: d.name.clone(),
            version: d.version.clone(),
            digest: "test".to_owned(),
        },
        weight: WEIGHT_ONE,
        tier: 0,
        settings: "{}".to_owned(),
        fail: model::FailMode::Closed,
    };
    let spec = PolicySetSpec {
        kind: PolicyKind::Scoring,
        revision,
        members: vec![member],
        combine: Combine::Weighted,
    };
    ScoringSet::new(spec, vec![policy]).expect("a legal set")
}
