use super::*;
use crate::activate::Set;
use crate::resolve::{MemberRef, ResolveError};
use conformance::Report;
use engine::{Config, Engine, ScoringSet};
use model::policy::WEIGHT_ONE;
use model::{Combine, Member};
use sandbox::Profile;

fn id(name: &str, version: &str, digest: &str) -> PolicyId {
    PolicyId {
        name: name.to_owned(),
        version: version.to_owned(),
        digest: format!("sha256:{digest}"),
    }
}

fn record(id: PolicyId, kind: PolicyKind) -> PolicyRecord {
    PolicyRecord {
        id,
        kind,
        contract: "0.1.0".to_owned(),
        profile: Profile::Standard,
        summary: String::new(),
        settings_schema: "{}".to_owned(),
        columns: Vec::new(),
        capabilities: Vec::new(),
        size: 1,
        uploaded_at_ms: 0,
        uploader: None,
        state: State::Conformant,
        report: Report {
            kit_version: String::new(),
            wit_version: String::new(),
            checks: Vec::new(),
            fuel_max: 0,
        },
    }
}

fn uploaded(id: PolicyId, kind: PolicyKind) -> Uploaded {
    Uploaded::New {
        record: Box::new(record(id, kind)),
        transitions: Vec::new(),
    }
}

fn registry(policies: &[(&str, &str, &str)]) -> Registry {
    let mut registry = Registry::new();
    for (name, version, digest) in policies {
        let new = uploaded(id(name, version, digest), PolicyKind::Scoring);
        let plan = registry.plan_upload(new).expect("free");
        registry.apply(plan);
    }
    registry
}

/// A set of registered names, whose instances are the built-in.
fn ready(registry: &Registry, digests: &[&str]) -> ReadySet {
    let hook = registry.hook(PolicyKind::Scoring).expect("served");
    let members: Vec<Member> = digests
        .iter()
        .map(|digest| Member {
            policy: registry
                .get(&format!("sha256:{digest}"))
                .map_or_else(|| id("gone", "1.0.0", digest), |p| p.id.clone()),
            weight: WEIGHT_ONE,
            tier: 0,
            settings: "{}".to_owned(),
            fail: model::FailMode::Closed,
        })
        .collect();
    let instances = members.iter().filter_map(|_| builtin::scoring("binpack"));
    let instances: Vec<_> = instances.collect();
    let spec = PolicySetSpec {
        kind: PolicyKind::Scoring,
        revision: hook.revision + 1,
        members,
        combine: Combine::Weighted,
    };
    ReadySet {
        made_for: hook.revision,
        set: Set::Scoring(ScoringSet::new(spec, instances).expect("a set")),
    }
}

fn install(engine: &mut Engine, ready: ReadySet) {
    match ready.set {
        Set::Scoring(set) => drop(engine.install_scoring(set)),
        other => panic!("not a set of these tests: {other:?}"),
    }
}

/// Plans, applies and installs, as a host does. Returns how many policies moved.
fn activate(registry: &mut Registry, engine: &mut Engine, digests: &[&str]) -> usize {
    let ready = ready(registry, digests);
    let plan = registry.plan_activate(&ready, 7, "test").expect("current");
    let moved = plan.transitions.len();
    registry.apply(plan);
    install(engine, ready);
    moved
}

fn states(registry: &Registry) -> Vec<String> {
    let text = |p: &Arc<PolicyRecord>| format!("{} {}", p.id.name, p.state);
    registry.policies().map(text).collect()
}

/// Where the instance of the first member is.
fn instance(engine: &Engine) -> *const u8 {
    std::ptr::from_ref(&*engine.scoring().members[0].policy).cast()
}

#[test]
fn references_are_read() {
    let hex = "a".repeat(64);
    for (text, expected) in [
        ("binpack", Some("binpack".to_owned())),
        ("binpack@1.2.3-rc.1", Some("binpack@1.2.3-rc.1".to_owned())),
        ("builtin:hpa", Some("builtin:hpa".to_owned())),
        (&format!("sha256:{hex}"), Some(format!("sha256:{hex}"))),
        ("", None),
        ("Binpack", None),
        ("binpack@1", None),
        ("binpack@", None),
        ("sha256:abc", None),
        ("builtin:", None),
        ("../etc", None),
    ] {
        let read = MemberRef::parse(text).ok().map(|r| r.to_string());
        assert_eq!(read, expected, "{text}");
    }
}

#[test]
fn policies_are_listed_by_name_and_version_and_found_by_either() {
    let registry = registry(&[
        ("b", "1.10.0", "3"),
        ("a", "2.0.0-rc.1", "1"),
        ("b", "1.9.0", "2"),
        ("a", "1.0.0", "4"),
        ("c", "0.1.0-dev", "5"),
    ]);
    let listed: Vec<String> = registry.policies().map(|p| p.id.to_string()).collect();
    assert_eq!(
        listed,
        [
            "a@1.0.0",
            "a@2.0.0-rc.1",
            "b@1.9.0",
            "b@1.10.0",
            "c@0.1.0-dev"
        ]
    );
    for (text, expected) in [
        ("a", Ok("a@1.0.0")),
        ("b", Ok("b@1.10.0")),
        ("c", Ok("c@0.1.0-dev")),
        ("a@2.0.0-rc.1", Ok("a@2.0.0-rc.1")),
        ("builtin:binpack", Ok("binpack@0.1.0")),
        (
            "b@1.9.1",
            Err("there is no scoring policy b@1.9.1; there is b@1.9.0, b@1.10.0"),
        ),
        (
            "nobody",
            Err("there is no scoring policy nobody; there is a, b, c"),
        ),
        (
            "builtin:hpa",
            Err("there is no scoring policy builtin:hpa; there is builtin:binpack"),
        ),
    ] {
        let reference = MemberRef::parse(text).expect("a reference");
        let found = registry.resolve(PolicyKind::Scoring, &reference);
        let found = found.map(|i| i.to_string()).map_err(|e| e.to_string());
        let found = found.as_deref().map_err(String::as_str);
        assert_eq!(found, expected, "{text}");
    }
    let scaling = registry.resolve(
        PolicyKind::Autoscaling,
        &MemberRef::parse("a").expect("a name"),
    );
    assert!(matches!(scaling, Err(ResolveError::OtherKind { .. })));
}

#[test]
fn a_version_is_one_component_for_ever() {
    let registry = registry(&[("a", "1.0.0", "1")]);
    let other = uploaded(id("a", "1.0.0", "2"), PolicyKind::Scoring);
    let error = registry.plan_upload(other).expect_err("taken");
    assert_eq!(error.code(), "VersionTaken");
    let same = uploaded(id("a", "1.0.0", "1"), PolicyKind::Scoring);
    assert!(registry.plan_upload(same).expect("known").is_empty());
    let kind = uploaded(id("a", "1.1.0", "3"), PolicyKind::Autoscaling);
    let error = registry.plan_upload(kind).expect_err("another kind");
    assert_eq!(error.code(), "NameOfOtherKind");
}

#[test]
fn there_is_a_limit_to_policies() {
    let mut registry = Registry::new();
    for i in 0..POLICIES_MAX {
        let new = id("a", &format!("1.0.{i}"), &format!("{i:064}"));
        let plan = registry.plan_upload(uploaded(new, PolicyKind::Scoring));
        registry.apply(plan.expect("room"));
    }
    let one_more = uploaded(id("a", "2.0.0", "x"), PolicyKind::Scoring);
    let error = registry.plan_upload(one_more).expect_err("full");
    assert_eq!(error, PlanError::TooManyPolicies);
}

#[test]
fn planning_changes_nothing() {
    let registry = registry(&[("a", "1.0.0", "1")]);
    let before = format!("{registry:?}");
    let ready = ready(&registry, &["1"]);
    let plan = registry.plan_activate(&ready, 1, "x").expect("current");
    assert_eq!(plan.transitions.len(), 1);
    assert_eq!(format!("{registry:?}"), before);
}

#[test]
fn states_follow_the_sets() {
    let mut registry = registry(&[
        ("a", "1.0.0", "1"),
        ("b", "1.0.0", "2"),
        ("c", "1.0.0", "3"),
    ]);
    let mut engine = Engine::new(Config::default());
    assert_eq!(activate(&mut registry, &mut engine, &["1", "2"]), 2);
    assert_eq!(states(&registry), ["a active", "b active", "c conformant"]);
    activate(&mut registry, &mut engine, &["2", "3"]);
    assert_eq!(states(&registry), ["a previous", "b active", "c active"]);
    activate(&mut registry, &mut engine, &["3"]);
    assert_eq!(states(&registry), ["a retired", "b previous", "c active"]);
    activate(&mut registry, &mut engine, &["1"]);
    assert_eq!(states(&registry), ["a active", "b retired", "c previous"]);
    let hook = registry.hook(PolicyKind::Scoring).expect("served");
    assert_eq!((hook.revision, hook.active.revision), (4, 4));
    assert_eq!(hook.previous.as_ref().map(|p| p.revision), Some(3));
}

#[test]
fn a_set_made_for_an_older_revision_is_refused() {
    let mut registry = registry(&[("a", "1.0.0", "1"), ("b", "1.0.0", "2")]);
    let mut engine = Engine::new(Config::default());
    let slow = ready(&registry, &["1"]);
    activate(&mut registry, &mut engine, &["2"]);
    let error = registry.plan_activate(&slow, 9, "slow").expect_err("stale");
    assert_eq!(
        error,
        PlanError::Stale {
            kind: PolicyKind::Scoring,
            expected: 0,
            current: 1
        }
    );
    assert_eq!(states(&registry), ["a conformant", "b active"]);
}

#[test]
fn a_set_of_strangers_is_refused() {
    let registry = registry(&[]);
    let ready = ready(&registry, &["1"]);
    let error = registry.plan_activate(&ready, 1, "x").expect_err("unknown");
    assert_eq!(error.code(), "UnknownPolicy");
}

#[test]
fn rollback_brings_the_very_same_instances_back() {
    let mut registry = registry(&[("a", "1.0.0", "1"), ("b", "1.0.0", "2")]);
    let mut engine = Engine::new(Config::default());
    let builtin = instance(&engine);
    let none = registry.plan_rollback(PolicyKind::Scoring, None, 1, "x");
    let kind = PolicyKind::Scoring;
    assert_eq!(none, Err(PlanError::NoPrevious { kind }));

    activate(&mut registry, &mut engine, &["1"]);
    let first = instance(&engine);
    activate(&mut registry, &mut engine, &["2"]);
    let second = instance(&engine);
    for (expected, revision) in [(first, 3), (second, 4), (first, 5)] {
        let stale = registry.plan_rollback(kind, Some(1), 1, "x");
        assert!(matches!(stale, Err(PlanError::Stale { current, .. }) if current == revision - 1));
        let plan = registry.plan_rollback(kind, Some(revision - 1), 1, "bad decisions");
        registry.apply(plan.expect("there is one"));
        assert!(engine.rollback_scoring());
        assert_eq!(instance(&engine), expected);
        let hook = registry.hook(kind).expect("served");
        assert_eq!(hook.revision, revision);
        assert_eq!(hook.active, engine.scoring().spec);
        assert_eq!(
            hook.previous.as_ref(),
            engine.previous_scoring().map(|s| &s.spec)
        );
    }
    assert_eq!(states(&registry), ["a active", "b previous"]);
    assert_ne!(first, builtin);
}

#[test]
fn what_a_breaker_took_out_is_retired() {
    let mut registry = registry(&[("a", "1.0.0", "1")]);
    let mut engine = Engine::new(Config::default());
    activate(&mut registry, &mut engine, &["1"]);
    let builtin = ScoringSet::builtin(0);
    let plan = registry.plan_reverted(&builtin.spec, None, 5, "Trap: unreachable");
    let plan = plan.expect("served");
    assert_eq!(plan.transitions[0].reason, "Trap: unreachable");
    registry.apply(plan);
    assert_eq!(states(&registry), ["a retired"]);
    let hook = registry.hook(PolicyKind::Scoring).expect("served");
    assert_eq!((hook.revision, hook.active.revision), (2, 0));
    assert_eq!(hook.previous, None);
    activate(&mut registry, &mut engine, &["1"]);
    assert_eq!(states(&registry), ["a active"]);
}

#[test]
fn records_make_the_same_registry_again() {
    let mut registry = registry(&[("a", "1.0.0", "1"), ("b", "1.0.0", "2")]);
    let mut engine = Engine::new(Config::default());
    activate(&mut registry, &mut engine, &["1"]);
    activate(&mut registry, &mut engine, &["2"]);
    let policies: Vec<_> = registry.policies().map(|p| (**p).clone()).collect();
    let hooks: Vec<_> = registry.hooks().map(|h| (**h).clone()).collect();
    let again = Registry::restore(policies.clone(), hooks.clone()).expect("as written");
    assert_eq!(format!("{again:?}"), format!("{registry:?}"));

    let twice = policies.iter().chain(&policies).cloned();
    let error = Registry::restore(twice, Vec::new()).expect_err("twice");
    assert!(matches!(error, RestoreError::TwiceStored(_)));
    let mut other = policies[0].clone();
    other.id.digest = "sha256:9".to_owned();
    let error = Registry::restore([policies[0].clone(), other], Vec::new());
    assert!(matches!(error, Err(RestoreError::TwoComponents { .. })));
    let two = hooks.iter().chain(&hooks).cloned();
    let error = Registry::restore(Vec::new(), two).expect_err("two hooks");
    assert_eq!(error, RestoreError::TwoHooks(PolicyKind::Scoring));
}
