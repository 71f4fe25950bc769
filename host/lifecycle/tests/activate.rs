//! Sets made of uploaded policies: activation, rollback, restart.

mod support;

use std::sync::Arc;

use engine::port::{PodRow, Rows};
use engine::{Config, Engine};
use lifecycle::{
    ActivateError, Class, HookRecord, MemberRef, MemberRequest, PolicySetRequest, ReadySet,
    Registry, Restored, Set, State,
};
use model::policy::WEIGHT_ONE;
use model::{Combine, Decision, Event, FailMode, NodeSpec, PodSpec, PolicyKind, Resources};
use support::{Guest, Host};

const LAST: Guest = Guest {
    name: "constant",
    version: "1.0.0",
    schema: support::SCHEMA,
    score: "(i32.const 7)",
    contract: "0.1.0",
};

fn member(policy: &str, settings: Option<&str>) -> MemberRequest {
    MemberRequest {
        policy: MemberRef::parse(policy).expect("a reference"),
        weight: WEIGHT_ONE,
        tier: 0,
        settings: settings.map(str::to_owned),
        fail: FailMode::Closed,
    }
}

fn request(kind: PolicyKind, members: &[(&str, Option<&str>)]) -> PolicySetRequest {
    PolicySetRequest {
        kind,
        members: members.iter().map(|(p, s)| member(p, *s)).collect(),
        combine: Combine::Weighted,
        if_revision: None,
    }
}

fn scoring(members: &[(&str, Option<&str>)]) -> PolicySetRequest {
    request(PolicyKind::Scoring, members)
}

fn install(engine: &mut Engine, set: Set) {
    match set {
        Set::Scoring(set) => drop(engine.install_scoring(set)),
        Set::Autoscaling(set) => drop(engine.install_autoscaling(set)),
        other => panic!("not a set of these tests: {other:?}"),
    }
}

#[track_caller]
fn activate(host: &mut Host, engine: &mut Engine, request: &PolicySetRequest) {
    let ReadySet { made_for, set } = host
        .workshop
        .activate(request, &host.registry)
        .unwrap_or_else(|e| panic!("{e}"));
    let ready = ReadySet { made_for, set };
    let plan = host.registry.plan_activate(&ready, 5, "test");
    host.registry.apply(plan.expect("current"));
    install(engine, ready.set);
}

/// A host with two scoring policies and one for autoscaling.
fn host() -> Host {
    let mut host = Host::new();
    host.upload(&Guest::default().scoring());
    host.upload(&LAST.scoring());
    let scaler = Guest {
        name: "scaler",
        ..Guest::default()
    };
    host.upload(&scaler.autoscaling());
    host
}

/// One decision on a cluster of two nodes.
fn decide(engine: &mut Engine, pod: &str) -> Decision {
    let mut out = engine::Output::default();
    for (name, cpu_milli) in [("small", 4_000), ("large", 8_000)] {
        let node = NodeSpec {
            name: name.to_owned(),
            capacity: Resources {
                cpu_milli,
                memory_mib: 1_024,
                ..Resources::default()
            },
            ..NodeSpec::default()
        };
        engine
            .step(1, Event::NodePut(Box::new(node)), &mut out)
            .expect("a node");
    }
    let pod = PodSpec {
        name: pod.to_owned(),
        ..PodSpec::default()
    };
    engine
        .step(2, Event::PodsSubmit(vec![pod]), &mut out)
        .expect("a pod");
    out.decisions.pop().expect("decided")
}

#[test]
fn an_activated_policy_decides() {
    let mut host = host();
    let mut engine = Engine::new(Config::default());
    let before = host.workshop.prepared_count();
    activate(&mut host, &mut engine, &scoring(&[("guest", None)]));
    assert_eq!(
        host.workshop.prepared_count(),
        before,
        "kept from the upload"
    );
    let decision = decide(&mut engine, "p");
    assert_eq!(decision.set_revision, 1);
    assert!(decision.faults.is_empty(), "{decision:?}");
    assert_eq!(decision.candidates[0].scores[..], [8_000]);
    let hook = host.registry.hook(PolicyKind::Scoring).expect("served");
    assert_eq!((hook.revision, hook.reason.as_str()), (1, "test"));
    assert_eq!(hook.active.members[0].settings, "{}");
    assert_eq!(hook.previous.as_ref().map(|p| p.revision), Some(0));
}

#[test]
fn an_autoscaling_policy_is_activated_alone() {
    let mut host = host();
    let mut engine = Engine::new(Config::default());
    let one = request(PolicyKind::Autoscaling, &[("scaler", None)]);
    activate(&mut host, &mut engine, &one);
    assert_eq!(engine.autoscaling_policy().name, "scaler");
    let two = request(
        PolicyKind::Autoscaling,
        &[("scaler", None), ("builtin:hpa", None)],
    );
    let error = host.workshop.activate(&two, &host.registry);
    assert_eq!(error.expect_err("two opinions").code(), "BadSet");
}

#[track_caller]
fn refused(host: &Host, request: &PolicySetRequest, code: &str, says: &str) {
    let error = host
        .workshop
        .activate(request, &host.registry)
        .expect_err(code);
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn settings_are_refused_by_the_schema_before_the_policy_sees_them() {
    let host = host();
    let set = |settings| scoring(&[("guest", Some(settings))]);
    refused(&host, &set(r#"{"level":11}"#), "BadSettings", "/level");
    refused(&host, &set(r#"{"other":1}"#), "BadSettings", "other");
    refused(&host, &set("{"), "BadSettings", "not JSON");
    let builtin = scoring(&[("builtin:binpack", Some(r#"{"a":1}"#))]);
    refused(&host, &builtin, "BadSettings", "a");
    let second = scoring(&[("constant", None), ("guest", Some("[]"))]);
    let error = host.workshop.activate(&second, &host.registry);
    match error.expect_err("a list") {
        ActivateError::Settings { policy, index, .. } => {
            assert_eq!((policy.name.as_str(), index), ("guest", 1));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn settings_that_only_the_policy_refuses_are_refused_too() {
    let host = host();
    let nine = scoring(&[("guest", Some(r#"{"level":9}"#))]);
    refused(&host, &nine, "PolicyNotStarted", "guest");
}

#[test]
fn accepted_settings_are_kept_in_one_form() {
    let mut host = host();
    let mut engine = Engine::new(Config::default());
    let spaced = scoring(&[("guest@1.0.0", Some(" { \"level\" : 3 } "))]);
    activate(&mut host, &mut engine, &spaced);
    let hook = host.registry.hook(PolicyKind::Scoring).expect("served");
    assert_eq!(hook.active.members[0].settings, r#"{"level":3}"#);
}

#[test]
fn sets_that_cannot_be_are_refused() {
    let host = host();
    refused(&host, &scoring(&[]), "BadSetSize", "0");
    let nine = scoring(&[("guest", None); 9]);
    refused(&host, &nine, "BadSetSize", "9");
    refused(
        &host,
        &scoring(&[("nobody", None)]),
        "UnknownPolicy",
        "nobody",
    );
    let version = scoring(&[("guest@2.0.0", None)]);
    refused(&host, &version, "UnknownPolicy", "guest@1.0.0");
    refused(
        &host,
        &scoring(&[("scaler", None)]),
        "WrongKind",
        "autoscaling",
    );
    let admission = request(PolicyKind::Admission, &[("guest", None)]);
    refused(&host, &admission, "WrongKind", "scoring");
    let mut heavy = scoring(&[("guest", None)]);
    heavy.members[0].weight = 1_000_000;
    refused(&host, &heavy, "BadSet", "1000000");
    let mut stale = scoring(&[("guest", None)]);
    stale.if_revision = Some(41);
    refused(&host, &stale, "StaleRevision", "41");
    let error = host.workshop.activate(&stale, &host.registry);
    assert_eq!(error.expect_err("stale").class(), Class::Conflict);
}

#[test]
fn rollback_prepares_nothing_and_decides_as_before() {
    let mut host = host();
    let mut engine = Engine::new(Config::default());
    activate(&mut host, &mut engine, &scoring(&[("guest", None)]));
    activate(&mut host, &mut engine, &scoring(&[("constant", None)]));
    assert_eq!(decide(&mut engine, "p").candidates[0].scores[..], [7]);
    let prepared = host.workshop.prepared_count();
    // The components are gone: a rollback must not need them.
    host.shelf.blobs.lock().expect("ours").clear();
    let plan = host
        .registry
        .plan_rollback(PolicyKind::Scoring, Some(2), 9, "worse");
    host.registry.apply(plan.expect("there is a previous set"));
    assert!(engine.rollback_scoring());
    let decision = decide(&mut engine, "q");
    assert_eq!(decision.candidates[0].scores[..], [8_000]);
    assert_eq!(decision.set_revision, 1, "the set of the first activation");
    assert_eq!(host.workshop.prepared_count(), prepared);
    let state = |name| host.registry.newest(name).map(|p| p.state);
    assert_eq!(state("guest"), Some(State::Active));
    assert_eq!(state("constant"), Some(State::Previous));
}

fn restart(host: &Host) -> Host {
    let policies = host.registry.policies().map(|p| (**p).clone());
    let hooks = host.registry.hooks().map(|h| (**h).clone());
    let registry = Registry::restore(policies, hooks).expect("as written");
    Host::with(Arc::clone(&host.shelf), registry)
}

fn hook(host: &Host) -> Arc<HookRecord> {
    Arc::clone(host.registry.hook(PolicyKind::Scoring).expect("served"))
}

#[test]
fn a_restart_brings_both_sets_back() {
    let mut host = host();
    let mut engine = Engine::new(Config::default());
    activate(&mut host, &mut engine, &scoring(&[("guest", None)]));
    let set = scoring(&[
        ("constant", Some(r#"{"level":2}"#)),
        ("builtin:binpack", None),
    ]);
    activate(&mut host, &mut engine, &set);

    let host = restart(&host);
    let restored = host.workshop.restore(&hook(&host), &host.registry);
    let Restored {
        active,
        previous,
        unavailable,
    } = restored.expect("served");
    assert!(unavailable.is_empty(), "{unavailable:?}");
    assert_eq!(active.spec(), &hook(&host).active);
    let mut engine = Engine::new(Config::default());
    install(&mut engine, previous.expect("there was one"));
    install(&mut engine, active);
    assert_eq!(decide(&mut engine, "p").set_revision, 2);
    assert!(engine.rollback_scoring());
    assert_eq!(decide(&mut engine, "q").candidates[0].scores[..], [8_000]);
}

#[test]
fn what_cannot_be_loaded_after_a_restart_leaves_the_built_in_and_is_told() {
    let mut host = host();
    let mut engine = Engine::new(Config::default());
    activate(&mut host, &mut engine, &scoring(&[("constant", None)]));
    let both = scoring(&[("constant", None), ("guest", None)]);
    activate(&mut host, &mut engine, &both);
    let lost = host.registry.newest("guest").expect("uploaded").id.clone();
    let mut blobs = host.shelf.blobs.lock().expect("ours");
    blobs.remove(&lost.digest);
    drop(blobs);

    let mut host = restart(&host);
    let restored = host.workshop.restore(&hook(&host), &host.registry);
    let restored = restored.expect("served");
    let Set::Scoring(active) = &restored.active else {
        panic!("another kind");
    };
    assert!(active.is_builtin());
    assert!(restored.previous.is_some(), "it does not need what is lost");
    let [told] = restored.unavailable.as_slice() else {
        panic!("{:?}", restored.unavailable);
    };
    assert!(told.active);
    assert!(told.policies.contains(&lost));
    assert_eq!(told.reason.code(), "PolicyNotLoaded");
    assert!(
        told.reason.to_string().contains(&lost.digest),
        "{}",
        told.reason
    );
    assert_eq!(
        hook(&host).active.members.len(),
        2,
        "the wish is not forgotten"
    );

    // Uploading the same bytes again is enough.
    let known = host.check(&Guest::default().scoring()).expect("known");
    assert!(host.register(known).expect("nothing new").is_empty());
    let again = host.workshop.restore(&hook(&host), &host.registry);
    assert!(again.expect("served").unavailable.is_empty());
}

#[test]
fn an_instance_answers_like_the_policy_that_was_checked() {
    let mut host = Host::new();
    host.upload(&Guest::default().scoring());
    let ready = host
        .workshop
        .activate(&scoring(&[("guest", None)]), &host.registry)
        .expect("ready");
    let Set::Scoring(mut set) = ready.set else {
        panic!("another kind");
    };
    let policy = &mut set.members[0].policy;
    policy.set_context(&Arc::default()).expect("a context");
    let mut scores = Vec::new();
    let rows = Rows {
        count: 3,
        slots: 0,
        data: &[1, 200_000, 50],
    };
    let cost = policy.score(&PodRow::default(), rows, &mut scores);
    assert!(cost.expect("scores").fuel > 0);
    assert_eq!(scores, [1, 100_000, 50]);
}

/// A host with a policy of each kind that is asked in a chain.
fn chains() -> Host {
    let mut host = Host::new();
    host.upload(&Guest::default().admission());
    let packer = Guest {
        name: "packer",
        ..Guest::default()
    };
    host.upload(&packer.preemption());
    host
}

#[test]
fn admission_policies_are_a_chain_with_a_fail_mode_each() {
    let mut host = chains();
    let mut both = request(
        PolicyKind::Admission,
        &[("guest", Some(r#"{"level":2}"#)), ("guest", None)],
    );
    both.members[1].fail = FailMode::Open;
    let ready = host.workshop.activate(&both, &host.registry);
    let mut ready = ready.unwrap_or_else(|e| panic!("{e}"));
    let plan = host.registry.plan_activate(&ready, 5, "test");
    host.registry.apply(plan.expect("current"));
    let Set::Admission(set) = &mut ready.set else {
        panic!("another kind");
    };
    assert_eq!(set.members.len(), 2);
    assert_eq!(set.members[0].member.settings, r#"{"level":2}"#);
    assert_eq!(set.members[0].member.fail, FailMode::Closed);
    assert_eq!(set.members[1].member.fail, FailMode::Open);
    assert_eq!(set.members[1].policy.description().name, "guest");

    let hook = host.registry.hook(PolicyKind::Admission).expect("a hook");
    let restored = host.workshop.restore(hook, &host.registry).expect("ready");
    assert!(
        restored.unavailable.is_empty(),
        "{:?}",
        restored.unavailable
    );
    assert_eq!(restored.active.spec(), &hook.active);
    let Some(Set::Admission(previous)) = restored.previous else {
        panic!("the built-in decided before");
    };
    assert!(previous.is_builtin());
    let plan = host
        .registry
        .plan_rollback(PolicyKind::Admission, Some(1), 9, "worse");
    host.registry.apply(plan.expect("there is a previous set"));
    let state = host.registry.newest("guest").map(|p| p.state);
    assert_eq!(state, Some(State::Previous));
}

#[test]
fn a_preemption_policy_is_activated_and_the_built_in_comes_back() {
    let host = chains();
    let of = |name| request(PolicyKind::Preemption, &[(name, None)]);
    let ready = host.workshop.activate(&of("packer"), &host.registry);
    let Set::Preemption(set) = ready.expect("ready").set else {
        panic!("another kind");
    };
    let columns = &set.members[0].policy.description().columns;
    assert_eq!(columns.len(), 1);
    let ready = host
        .workshop
        .activate(&of("builtin:priority"), &host.registry);
    let Set::Preemption(set) = ready.expect("ready").set else {
        panic!("another kind");
    };
    assert!(set.is_builtin());
    assert_eq!(set.spec.revision, 1);
}

#[test]
fn chains_that_cannot_be_are_refused() {
    let host = chains();
    let beside = request(
        PolicyKind::Admission,
        &[("guest", None), ("builtin:quota", None)],
    );
    refused(&host, &beside, "BadSet", "builtin:quota answers whatever");
    let unknown = request(PolicyKind::Preemption, &[("builtin:quota", None)]);
    refused(&host, &unknown, "UnknownPolicy", "builtin:priority");
    let settings = request(
        PolicyKind::Admission,
        &[("builtin:quota", Some(r#"{"a":1}"#))],
    );
    refused(&host, &settings, "BadSettings", "a");
    let mut open = request(PolicyKind::Preemption, &[("packer", None)]);
    open.members[0].fail = FailMode::Open;
    refused(&host, &open, "BadSet", "the built-in answers");
}
