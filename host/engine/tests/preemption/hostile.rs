//! Plans of a policy that wants harm: nobody is evicted, the fault is named, and
//! the built-in answers.

use std::sync::{Arc, Mutex};

use engine::PreemptionSet;
use engine::port::preemption::{
    Move, Placement, Plan, PreemptRequest, PreemptionPolicy, Proposal, Victim,
};
use engine::port::{Context, Cost, Description};
use model::policy::WEIGHT_ONE;
use model::{Combine, FailMode, Member, PolicyFault, PolicyId, PolicyKind, PolicySetSpec};

use crate::world::{PATIENCE_MS, World, gang, job, node, with_terms};

type Malice = fn(&PreemptRequest<'_>) -> Result<Proposal, PolicyFault>;

struct Hostile {
    description: Description,
    malice: Malice,
    asked: Arc<Mutex<u32>>,
}

impl PreemptionPolicy for Hostile {
    fn description(&self) -> &Description {
        &self.description
    }

    fn set_context(&mut self, _: &Arc<Context>) -> Result<(), PolicyFault> {
        Ok(())
    }

    fn propose(&mut self, request: &PreemptRequest<'_>) -> Result<(Proposal, Cost), PolicyFault> {
        *self.asked.lock().unwrap() += 1;
        Ok(((self.malice)(request)?, Cost::default()))
    }
}

pub fn set(malice: Malice) -> (PreemptionSet, Arc<Mutex<u32>>) {
    let asked = Arc::new(Mutex::new(0));
    let policy = Hostile {
        description: Description {
            name: "hostile".to_owned(),
            version: "1.0.0".to_owned(),
            ..Description::default()
        },
        malice,
        asked: Arc::clone(&asked),
    };
    let spec = PolicySetSpec {
        kind: PolicyKind::Preemption,
        revision: 7,
        members: vec![Member {
            policy: PolicyId {
                name: "hostile".to_owned(),
                version: "1.0.0".to_owned(),
                digest: "sha256:0".to_owned(),
            },
            weight: WEIGHT_ONE,
            tier: 0,
            settings: "{}".to_owned(),
            fail: FailMode::Closed,
        }],
        combine: Combine::Weighted,
    };
    (
        PreemptionSet::new(spec, vec![Box::new(policy)]).unwrap(),
        asked,
    )
}

fn victims(ids: impl IntoIterator<Item = u32>) -> Vec<Victim> {
    let victim = |id| Victim {
        id,
        grace: 0,
        reason: "because".to_owned(),
    };
    ids.into_iter().map(victim).collect()
}

fn on_row(row: u32, slots: &[u32]) -> Vec<Placement> {
    vec![Placement {
        role: 0,
        row,
        slots: slots.to_vec(),
    }]
}

fn plan(victims: Vec<Victim>, placements: Vec<Placement>) -> Result<Proposal, PolicyFault> {
    Ok(Proposal::Plan(Plan {
        victims,
        placements,
        ..Plan::default()
    }))
}

/// Two machines full of singles, one GPU each; the malice has no effect, the
/// built-in evicts the two that are needed.
fn plays_out(malice: Malice) {
    let mut w = World::new([node("a", 8), node("b", 8)]);
    w.submit(job("low", 16, 1, 0));
    let (set, asked) = set(malice);
    w.engine.install_preemption(set);
    w.submit(job("high", 1, 2, 10));
    w.wait(PATIENCE_MS);
    assert!(*asked.lock().unwrap() > 0, "it was asked");
    let (kind, fault) = &w.out.faults[0];
    assert_eq!(*kind, PolicyKind::Preemption);
    assert_eq!(
        (fault.policy.name.as_str(), fault.call),
        ("hostile", "propose")
    );
    assert_eq!(fault.code, "BadAnswer", "{}", fault.message);
    assert_eq!(w.evicted().len(), 2, "what the built-in chose");
    assert_eq!(w.running("high"), 1);
}

#[test]
fn victims_that_do_not_exist() {
    plays_out(|_| plan(victims([4_000_000_000]), on_row(0, &[0, 1])));
}

#[test]
fn the_same_victim_twice() {
    plays_out(|_| plan(victims([0, 0]), on_row(0, &[0, 1])));
}

#[test]
fn a_plan_that_does_not_fit() {
    plays_out(|_| plan(victims([0]), on_row(0, &[0, 1])));
}

#[test]
fn devices_that_are_not_there() {
    plays_out(|r| plan(victims(r.running.id.clone()), on_row(0, &[0, 77])));
}

#[test]
fn one_device_twice() {
    plays_out(|r| plan(victims(r.running.id.clone()), on_row(0, &[3, 3])));
}

#[test]
fn rows_roles_and_domains_out_of_range() {
    plays_out(|r| plan(victims(r.running.id.clone()), on_row(999, &[0, 1])));
    plays_out(|r| {
        let mut p = on_row(0, &[0, 1]);
        p[0].role = 9;
        plan(victims(r.running.id.clone()), p)
    });
    plays_out(|r| {
        Ok(Proposal::Plan(Plan {
            domain: 12,
            victims: victims(r.running.id.clone()),
            placements: on_row(0, &[0, 1]),
            ..Plan::default()
        }))
    });
}

#[test]
fn moves_of_work_that_did_not_agree() {
    plays_out(|_| {
        Ok(Proposal::Plan(Plan {
            moves: vec![Move {
                id: 0,
                row: 1,
                slots: vec![0],
            }],
            placements: on_row(0, &[0, 1]),
            ..Plan::default()
        }))
    });
}

#[test]
fn victims_for_nothing() {
    plays_out(|r| plan(victims(r.running.id.clone()), Vec::new()));
}

/// Everybody is named, but two are enough: the others stay.
#[test]
fn all_pods_for_one() {
    let mut w = World::new([node("a", 8), node("b", 8)]);
    w.submit(job("low", 16, 1, 0));
    let (set, _) = set(|r| plan(victims(r.running.id.clone()), on_row(0, &[0, 1])));
    w.engine.install_preemption(set);
    w.submit(job("high", 1, 2, 10));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted().len(), 2, "who is in nobody's way stays");
}

/// Protected and equal work is not even shown.
#[test]
fn the_protected_are_not_in_the_question() {
    let mut w = World::new([node("a", 8)]);
    w.submit(with_terms(job("safe", 3, 1, 0), |t| t.preemptible = false));
    w.submit(job("equal", 3, 1, 10));
    w.submit(job("low", 2, 1, 0));
    let (set, _) = set(|r| {
        assert_eq!(r.running.len(), 2);
        plan(victims([0, 1, 2, 3]), on_row(0, &[0, 1]))
    });
    w.engine.install_preemption(set);
    w.submit(job("high", 1, 2, 10));
    w.wait(PATIENCE_MS);
    assert_eq!(w.out.faults[0].1.code, "BadAnswer");
    assert_eq!(w.evicted_names(), ["low-0", "low-1"], "by the built-in");
}

#[test]
fn half_a_gang() {
    let mut w = World::new([node("a", 8), node("b", 8)]);
    w.submit(gang("old", 2, 8, 0));
    let (set, _) = set(|_| plan(victims([0]), on_row(0, &[0, 1])));
    w.engine.install_preemption(set);
    w.submit(job("high", 1, 2, 10));
    w.wait(PATIENCE_MS);
    assert!(w.out.faults[0].1.message.contains("part of group"));
    assert_eq!(w.evicted().len(), 2, "the built-in takes it whole");
}

/// Five bad plans in a row, and the set is out, loudly.
#[test]
fn the_breaker_takes_it_out() {
    let mut w = World::new([node("a", 8)]);
    w.submit(with_terms(job("safe", 8, 1, 0), |t| t.preemptible = false));
    w.submit(job("low", 1, 0, 0));
    let (set, asked) = set(|_| plan(victims([9]), on_row(0, &[0])));
    w.engine.install_preemption(set);
    w.submit(job("high", 1, 1, 10));
    w.wait(600_000);
    let asked = *asked.lock().unwrap();
    assert!(asked <= engine::breaker::CONSECUTIVE_MAX, "{asked}");
    if asked == engine::breaker::CONSECUTIVE_MAX {
        assert!(w.engine.preemption_set().is_builtin());
    }
}
