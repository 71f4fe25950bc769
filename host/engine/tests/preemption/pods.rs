//! One pod that needs room.

use model::event::Finish;
use model::plan::{EvictCause, PlanStatus};
use model::{Event, GpuRequest, JobSpec, Reason};

use crate::world::{PATIENCE_MS, World, job, node, pod, with_terms};

fn full_of_singles() -> World {
    let mut w = World::new([node("a", 8), node("b", 8)]);
    w.submit(job("low", 16, 1, 0));
    assert_eq!(w.running("low"), 16);
    w
}

#[test]
fn lower_priority_yields_after_scale_up_had_its_chance() {
    let mut w = full_of_singles();
    w.submit(job("high", 1, 4, 10));
    assert!(w.evicted().is_empty(), "not at once");
    w.wait(PATIENCE_MS - 1_000);
    assert!(w.evicted().is_empty(), "not yet");
    w.wait(1_000);
    assert_eq!(w.evicted().len(), 4, "no more than needed");
    assert!(w.evicted().iter().all(|(_, c)| *c == EvictCause::Preempted));
    assert_eq!(w.running("high"), 1);
    assert_eq!(w.running("low"), 12);
    let low = w.engine.job("low").unwrap();
    assert_eq!(low.waiting, 4, "an evicted pod waits again");
    assert_eq!(w.done_plans().len(), 1);
}

#[test]
fn capacity_that_comes_in_time_spares_everybody() {
    let mut w = full_of_singles();
    w.submit(job("high", 1, 4, 10));
    w.wait(PATIENCE_MS - 2_000);
    w.event(Event::NodePut(Box::new(node("c", 8))));
    w.wait(PATIENCE_MS);
    assert!(w.evicted().is_empty());
    assert_eq!(w.node_of("high-0").as_deref(), Some("c"));
}

#[test]
fn equals_and_the_protected_stay() {
    let mut w = World::new([node("a", 8)]);
    w.submit(with_terms(job("safe", 4, 1, 0), |t| t.preemptible = false));
    w.submit(job("equal", 4, 1, 10));
    w.submit(job("high", 1, 2, 10));
    w.wait(300_000);
    assert!(w.evicted().is_empty());
    let (attempts, _, why) = w.engine.preemption_wait("high-0").unwrap();
    assert!(attempts > 0 && !why.is_empty());
}

#[test]
fn who_does_not_ask_gets_nobody_to_yield() {
    let mut w = full_of_singles();
    w.submit(with_terms(job("meek", 1, 1, 10), |t| t.preempts = false));
    w.wait(60_000);
    assert!(w.evicted().is_empty());
}

/// kube-scheduler's DefaultPreemption: nodes A {5, 5}, B {10}, C {5, later}: the
/// highest victim rules B out, the sum of priorities then prefers C.
#[test]
fn kube_order_of_nodes() {
    let mut w = World::new([node("a", 2), node("b", 2), node("c", 2)]);
    let on = |name: &str, id: &str, gpus: u32, priority: i32| {
        let mut spec = job(id, 1, gpus, priority);
        spec.template
            .node_selector
            .insert("host".to_owned(), name.to_owned());
        spec
    };
    for name in ["a", "b", "c"] {
        let mut spec = node(name, 2);
        spec.labels.insert("host".to_owned(), name.to_owned());
        w.event(Event::NodePut(Box::new(spec)));
    }
    w.submit(on("a", "a1", 1, 5));
    w.submit(on("a", "a2", 1, 5));
    w.submit(on("b", "b1", 2, 10));
    w.now += 1_000;
    w.submit(on("c", "c1", 2, 5));
    w.submit(job("high", 1, 2, 20));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted_names(), ["c1-0"]);
    assert_eq!(w.node_of("high-0").as_deref(), Some("c"));
}

#[test]
fn notice_is_given_and_nobody_else_takes_the_place() {
    let mut w = World::new([node("a", 8)]);
    w.submit(with_terms(job("low", 2, 4, 0), |t| t.grace_ms = 30_000));
    w.submit(job("high", 1, 8, 10));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted_names(), ["low-0", "low-1"]);
    assert_eq!(w.running("high"), 0, "they still have time");
    assert_eq!(w.out.plans.last().unwrap().status, PlanStatus::Leaving);
    w.event(Event::PodEvicted {
        name: "low-0".to_owned(),
    });
    w.submit(job("thief", 1, 4, 5));
    assert_eq!(w.running("thief"), 0, "what was freed is promised");
    assert_eq!(w.running("high"), 0, "one has not left yet");
    w.wait(30_000);
    assert_eq!(w.running("high"), 1, "time is up for the other");
    assert_eq!(w.engine.job("low").unwrap().waiting, 2);
    // Progress of who wrote a checkpoint in its grace is kept, and it resumes.
    w.event(Event::PodFinished {
        name: "high-0".to_owned(),
        how: Finish::Succeeded,
    });
    w.wait(120_000);
    assert_eq!(w.running("low") + w.running("thief"), 2);
}

#[test]
fn a_preemptor_that_goes_away_leaves_no_reservation() {
    let mut w = World::new([node("a", 8)]);
    w.submit(with_terms(job("low", 2, 4, 0), |t| t.grace_ms = 30_000));
    w.submit(job("high", 1, 8, 10));
    w.wait(PATIENCE_MS);
    w.event(Event::JobDelete {
        id: "high".to_owned(),
    });
    assert!(matches!(
        w.out.plans.last().unwrap().status,
        PlanStatus::Dissolved(_)
    ));
    w.wait(200_000);
    assert_eq!(w.running("low"), 2, "both run again");
    let free = w.engine.node("a").unwrap().free;
    assert_eq!(free.cpu_milli, 64_000 - 2_000, "nothing is left over");
}

#[test]
fn shares_of_a_device_yield_too() {
    let mut w = World::new([node("a", 1)]);
    let share = |id: &str, milli: u32, priority: i32| JobSpec {
        template: model::PodSpec {
            gpu: GpuRequest::share(milli),
            ..pod(0, priority)
        },
        ..job(id, 1, 0, priority)
    };
    w.submit(share("s1", 300, 0));
    w.submit(share("s2", 300, 1));
    w.submit(share("s3", 400, 2));
    w.submit(share("high", 300, 10));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted_names(), ["s1-0"], "the least important suffices");
}

#[test]
fn a_what_if_names_victims_and_changes_nothing() {
    let mut w = full_of_singles();
    let before: Vec<_> = w.engine.keys().map(|k| w.engine.export(&k)).collect();
    let answer = w.engine.what_if(&job("high", 2, 4, 10));
    let (plan, after_ms) = answer.plan.expect("a plan");
    assert_eq!(plan.victims.len(), 4);
    assert_eq!(after_ms, PATIENCE_MS);
    assert_eq!(plan.status, PlanStatus::Proposed);
    let placed = w.engine.what_if(&job("small", 1, 0, 0));
    assert!(matches!(
        placed.pods[..],
        [engine::PodOutcome::Placed { .. }]
    ));
    let stuck = w.engine.what_if(&job("equal", 1, 4, 0));
    assert!(stuck.plan.is_none() && stuck.no_plan.is_some());
    assert!(matches!(
        stuck.pods[..],
        [engine::PodOutcome::Waiting {
            reason: Reason::WaitingForCapacity | Reason::FragmentedTopology,
            ..
        }]
    ));
    let after: Vec<_> = w.engine.keys().map(|k| w.engine.export(&k)).collect();
    assert_eq!(before, after);
}

#[test]
fn hold_stops_everything() {
    let mut w = full_of_singles();
    w.engine.set_hold(true);
    w.submit(job("high", 1, 4, 10));
    w.wait(60_000);
    assert!(w.evicted().is_empty());
    w.engine.set_hold(false);
    w.wait(5_000);
    assert_eq!(w.evicted().len(), 4);
}

/// A job's pod that leaves has given its quota back but still has its place: it
/// is not who the job's claim is for.
#[test]
fn who_still_runs_is_not_the_one_that_needs_room() {
    use model::quota::{QUOTA_WEIGHT_ONE, QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier};
    let mut w = World::new([node("a", 8)]);
    for (name, parent, gpus) in [
        ("all", None, 0),
        ("q", Some("all"), 3),
        ("b", Some("all"), 0),
    ] {
        w.event(Event::QuotaPut(QuotaSpec {
            name: name.to_owned(),
            parent: parent.map(str::to_owned),
            weight: QUOTA_WEIGHT_ONE,
            tier: Tier::Flex,
            lines: vec![QuotaLine {
                resource: QuotaResource::Gpu,
                nominal: gpus * 1_000,
                borrowing_limit: None,
                lending_limit: None,
            }],
        }));
        if parent.is_some() {
            w.event(Event::QueuePut(QueueSpec {
                name: name.to_owned(),
                quota: name.to_owned(),
                suspended: false,
            }));
        }
    }
    w.submit(crate::world::queued(job("lent", 2, 1, 0), "b"));
    let slow = with_terms(job("mine", 3, 1, 0), |t| t.grace_ms = 60_000);
    w.submit(crate::world::queued(slow, "q"));
    assert_eq!(w.running("mine"), 1);
    w.event(Event::PodEvict {
        name: "mine-0".to_owned(),
    });
    w.wait(200_000);
    assert_eq!(w.running("mine"), 3);
    let free = w.engine.node("a").unwrap().free;
    assert_eq!(free.cpu_milli, 64_000 - 3_000, "nothing is charged twice");
}

/// A plan that is given up while a moved pod still has its grace takes the promise
/// back, and writes that down: a host that comes back must not wait for it.
#[test]
fn a_withdrawn_move_is_written_down() {
    use engine::port::preemption::{Action, Move, Placement, Plan, Proposal};
    let on = |host: &str, gpus: u32, id: &str| {
        let mut spec = job(id, 1, gpus, 0);
        let wanted = (String::from("host"), host.to_owned());
        spec.template.node_selector.extend([wanted]);
        spec
    };
    let labelled = |name: &str| {
        let mut spec = node(name, 8);
        spec.labels.insert("host".to_owned(), name.to_owned());
        spec
    };
    let mut w = World::new([labelled("a"), labelled("b")]);
    w.submit(with_terms(on("a", 2, "stays"), |t| t.preemptible = false));
    w.submit(with_terms(job("left", 1, 4, 0), |t| {
        t.movable = true;
        t.preemptible = false;
        t.grace_ms = 60_000;
    }));
    let from = w.node_of("left-0").expect("it runs");
    assert_eq!(from, "a", "the fuller node");
    // Two are free here and five there; six would be here without `left`.
    w.submit(with_terms(on("b", 3, "safe"), |t| t.preemptible = false));
    let (set, _) = crate::hostile::set(|r| {
        if r.action != Action::Consolidate {
            return Ok(Proposal::Abstain);
        }
        Ok(Proposal::Plan(Plan {
            moves: vec![Move {
                id: 0,
                row: 1,
                slots: vec![3, 4, 5, 6],
            }],
            placements: vec![Placement {
                role: 0,
                row: 0,
                slots: vec![2, 3, 4, 5, 6, 7],
            }],
            ..Plan::default()
        }))
    });
    w.engine.install_preemption(set);
    w.submit(job("high", 1, 6, 10));
    w.wait(PATIENCE_MS);
    assert!(w.out.faults.is_empty(), "{:?}", w.out.faults);
    assert!(w.engine.pod("left-0").unwrap().next.is_some(), "it moves");
    w.out.clear();
    w.event(Event::JobDelete {
        id: "high".to_owned(),
    });
    assert!(w.engine.pod("left-0").unwrap().next.is_none());
    let key = engine::Key::Pod("left-0".into());
    assert!(w.out.changed.contains(&key), "{:?}", w.out.changed);
    w.wait(120_000);
    assert_eq!(w.running("left"), 1, "it runs again");
}

/// A device that fails while its holder leaves is not bound to whoever was
/// promised it.
#[test]
fn a_promised_device_that_fails_ends_the_plan() {
    let mut w = World::new([node("a", 2)]);
    w.submit(with_terms(job("low", 2, 1, 0), |t| t.grace_ms = 30_000));
    w.submit(job("high", 1, 2, 10));
    w.wait(PATIENCE_MS);
    let mut broken = node("a", 2);
    broken.gpus[1].healthy = false;
    w.event(Event::NodePut(Box::new(broken)));
    w.wait(31_000);
    assert_eq!(w.running("high"), 0);
    let dissolved = |p: &&model::plan::PlanRecord| matches!(p.status, PlanStatus::Dissolved(_));
    assert_eq!(w.out.plans.iter().filter(dissolved).count(), 1);
    assert_eq!(w.running("low"), 1, "one device is left");
}

/// The first of a line may be too meek to ask; the next one is not.
#[test]
fn a_meek_head_does_not_speak_for_its_line() {
    let mut w = World::new([node("a", 2)]);
    w.submit(job("low", 2, 1, 0));
    w.submit(with_terms(job("meek", 1, 1, 10), |t| t.preempts = false));
    w.submit(job("bold", 1, 1, 10));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted().len(), 1);
    assert_eq!(w.running("bold"), 1);
}
