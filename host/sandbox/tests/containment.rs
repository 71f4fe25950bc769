//! A bad policy in a live engine: scheduling goes on with the built-in, the
//! fault is named, and the set goes.

mod support;

use engine::{Config, Effect, Engine, Output, ScoringSet};
use model::event::Finish;
use model::policy::{PolicyId, WEIGHT_ONE};
use model::{
    Combine, Event, GpuRequest, GpuSpec, Member, NodeSpec, Outcome, PodSpec, PolicyKind,
    PolicySetSpec, Resources,
};
use support::*;

fn node(i: u32) -> NodeSpec {
    NodeSpec {
        name: format!("n{i:02}"),
        capacity: Resources {
            cpu_milli: 64_000,
            memory_mib: 65_536,
            disk_mib: 1_000,
            network_mbps: 1_000,
        },
        gpus: vec![
            GpuSpec {
                model: "H100".to_owned(),
                memory_mib: 81_920,
                healthy: true,
            };
            8
        ],
        ..NodeSpec::default()
    }
}

fn gpu_pod(i: u32) -> PodSpec {
    PodSpec {
        name: format!("p{i}"),
        requests: Resources {
            cpu_milli: 1_000,
            memory_mib: 1_024,
            ..Resources::default()
        },
        gpu: GpuRequest::whole(2),
        ..PodSpec::default()
    }
}

fn set_of(guest: &ScoringGuest) -> ScoringSet {
    let prepared = prepare(&guest.component()).expect("looks harmless at upload");
    let policy = prepared.scoring("{}", unhurried()).expect("starts");
    let spec = PolicySetSpec {
        kind: PolicyKind::Scoring,
        revision: 7,
        members: vec![Member {
            policy: PolicyId {
                name: guest.name.clone(),
                version: guest.version.clone(),
                digest: prepared.digest().to_owned(),
            },
            weight: WEIGHT_ONE,
            tier: 0,
            settings: "{}".to_owned(),
            fail: model::FailMode::Closed,
        }],
        combine: Combine::Weighted,
    };
    ScoringSet::new(spec, vec![policy]).expect("a legal set")
}

/// Twenty pods through twenty nodes under the guest, or under the built-in.
/// Returns where each went and which faults were noted.
fn run(guest: Option<&ScoringGuest>) -> (Vec<String>, Vec<&'static str>, Vec<Effect>, Engine) {
    let mut engine = Engine::new(Config::default());
    let mut out = Output::default();
    for i in 0..20 {
        engine
            .step(0, Event::NodePut(Box::new(node(i))), &mut out)
            .unwrap();
    }
    if let Some(guest) = guest {
        engine.install_scoring(set_of(guest));
    }
    for i in 0..20 {
        engine
            .step(u64::from(i), Event::PodsSubmit(vec![gpu_pod(i)]), &mut out)
            .unwrap();
        if i % 3 == 2 {
            let event = Event::PodFinished {
                name: format!("p{}", i - 1),
                how: Finish::Succeeded,
            };
            engine.step(u64::from(i), event, &mut out).unwrap();
        }
    }
    let placed = out.decisions.iter().map(|d| match &d.outcome {
        Outcome::Bound { node, devices, .. } => format!("{} -> {node} {devices:?}", d.pod),
        Outcome::Unschedulable { reason } => format!("{}: {}", d.pod, reason.code()),
    });
    let faults = out
        .decisions
        .iter()
        .flat_map(|d| d.faults.iter().map(|f| f.code));
    let (placed, faults) = (placed.collect(), faults.collect());
    let reverts = out
        .effects
        .into_iter()
        .filter(|e| matches!(e, Effect::SetReverted { .. }));
    (placed, faults, reverts.collect(), engine)
}

/// Every decision is the built-in's, five faults are noted under `code`, and
/// then the set is gone.
fn contained(guest: &ScoringGuest, code: &str) {
    let (expected, ..) = run(None);
    let (placed, faults, reverts, engine) = run(Some(guest));
    assert_eq!(placed.len(), 20, "scheduling went on");
    assert_eq!(placed, expected, "and as the built-in would have it");
    assert_eq!(faults, [code; 5], "five in a row trip the breaker");
    match reverts.as_slice() {
        [
            Effect::SetReverted {
                policy,
                from,
                to,
                fault,
                ..
            },
        ] => {
            assert_eq!((policy.name.as_str(), *from, *to), ("test-guest", 7, 0));
            assert!(fault.starts_with(code), "{fault}");
        }
        other => panic!("{other:?}"),
    }
    assert!(engine.scoring().is_builtin());
}

#[test]
fn a_policy_that_loops() {
    let guest = ScoringGuest::score("(loop $for_ever (br $for_ever)) unreachable");
    contained(&guest, "OutOfFuel");
}

#[test]
fn a_policy_that_traps() {
    contained(&ScoringGuest::score("unreachable"), "Trap");
}

#[test]
fn a_policy_that_grows_memory() {
    let body = "(loop $more
            (drop (memory.grow (i32.const 64)))
            (br $more))
        unreachable";
    contained(&ScoringGuest::score(body), "OutOfMemory");
}

#[test]
fn a_policy_that_answers_nonsense() {
    contained(
        &ScoringGuest::score(score_each("(i32.const 123456789)")),
        "BadAnswer",
    );
    contained(
        &ScoringGuest::score(score_each("(i32.const -2)")),
        "BadAnswer",
    );
    let too_many = answer_list(
        "(i32.const 4096)",
        "(i32.add (local.get $count) (i32.const 1))",
    );
    contained(&ScoringGuest::score(too_many), "BadAnswer");
}

#[test]
fn a_policy_that_wants_devices_it_cannot_have() {
    for slots in [&[0, 0][..], &[0, 9], &[0], &[0, 1, 2]] {
        let guest = ScoringGuest {
            score: score_each("(i32.const 50000)"),
            place: answer_slots(slots),
            ..ScoringGuest::default()
        };
        let (placed, faults, reverts, _) = run(Some(&guest));
        assert_eq!(placed.len(), 20);
        assert!(placed.iter().all(|p| p.contains("->")), "{placed:?}");
        assert!(
            !faults.is_empty() && faults.iter().all(|f| *f == "BadAnswer"),
            "{faults:?}"
        );
        assert_eq!(
            reverts.len(),
            1,
            "bad answers to `place` trip the breaker too"
        );
    }
}

#[test]
fn a_refusal_is_a_verdict_and_not_a_fault() {
    let guest = ScoringGuest::score(score_each("(i32.const -1)"));
    let (placed, faults, reverts, engine) = run(Some(&guest));
    assert!(faults.is_empty() && reverts.is_empty());
    assert!(placed.iter().all(|p| !p.contains("->")), "{placed:?}");
    assert!(!engine.scoring().is_builtin());
}
