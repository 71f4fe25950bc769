//! The shipped components in a real sandbox.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use engine::ScoringSet;
use engine::port::{AutoscalingPolicy, ScoringPolicy};
use model::policy::{PolicyId, WEIGHT_ONE};
use model::{Combine, Member, PolicyKind, PolicySetSpec};
use sandbox::{Compiler, Prepared, Profile, Sandbox, SandboxConfig};

/// Who compiles: a test's own binary belongs to the harness, so the product's
/// binary beside it does; a bench's `main` answers the verb itself.
fn compiler() -> Compiler {
    let exe = std::env::current_exe().expect("own path");
    let in_harness = exe.parent().is_some_and(|d| d.ends_with("deps"));
    if in_harness {
        Compiler::Exe(binary())
    } else {
        Compiler::CurrentExe
    }
}

/// The product's binary beside the running test.
///
/// # Panics
/// If it has not been built; `cargo test --workspace` builds it.
#[must_use]
pub fn binary() -> PathBuf {
    let exe = std::env::current_exe().expect("own path");
    let beside = |dir: &Path| dir.join("loadmaster");
    exe.ancestors()
        .skip(1)
        .map(beside)
        .find(|p| p.is_file())
        .expect("the loadmaster binary is not built: run cargo build first")
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
    let limits = prepared.profile().run();
    prepared.scoring(settings, limits).expect("started")
}

/// A shipped autoscaling policy.
///
/// # Panics
/// If it cannot be started with these settings.
#[must_use]
pub fn autoscaling(name: &str, settings: &str) -> Box<dyn AutoscalingPolicy> {
    let prepared = prepared(name);
    let limits = prepared.profile().run();
    prepared.autoscaling(settings, limits).expect("started")
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
    };
    let spec = PolicySetSpec {
        kind: PolicyKind::Scoring,
        revision,
        members: vec![member],
        combine: Combine::Weighted,
    };
    ScoringSet::new(spec, vec![policy]).expect("a legal set")
}
