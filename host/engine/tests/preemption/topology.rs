//! Gangs that need a whole domain.

use model::Event;
use model::gang::Level;

use crate::world::{PATIENCE_MS, World, gang, inside, job, placed, with_terms};

/// Two racks of two machines in one block.
fn racks() -> World {
    World::new([
        placed("r1a", 8, "r1", "b1"),
        placed("r1b", 8, "r1", "b1"),
        placed("r2a", 8, "r2", "b1"),
        placed("r2b", 8, "r2", "b1"),
    ])
}

/// KAI-Scheduler #1591: the required domain is fully packed by work that may
/// yield, so a filter on free capacity would never look at it.
#[test]
fn a_domain_full_of_preemptible_work_is_considered() {
    let mut w = racks();
    w.submit(job("low", 32, 1, 0));
    assert_eq!(w.running("low"), 32);
    w.submit(inside(gang("train", 2, 8, 10), Level::Rack, true));
    w.wait(PATIENCE_MS);
    assert!(
        w.evicted().is_empty(),
        "half of all pods is a mass eviction"
    );
    let (_, _, why) = w.engine.preemption_wait("train").unwrap();
    assert!(why.contains("approve"), "{why}");
    w.event(Event::ApproveEvictions { count: 16 });
    w.wait(PATIENCE_MS);
    assert_eq!(w.running("train"), 2);
    let rack = |pod: &str| w.node_of(pod).unwrap()[..2].to_owned();
    assert_eq!(rack("train-worker-0"), rack("train-worker-1"));
    assert_eq!(w.evicted().len(), 16, "one rack's worth, no more");
}

/// Kueue #5243: eight GPUs were freed over four machines, and the gang still did
/// not fit. Victims must be where the gang then goes.
#[test]
fn victims_are_all_in_the_domain_that_is_taken() {
    let mut w = racks();
    for i in 0..4 {
        w.submit(with_terms(job(&format!("safe{i}"), 1, 6, 50), |t| {
            t.preemptible = false;
        }));
    }
    // Two GPUs are left on each machine; only rack 2 can be cleared far enough.
    w.submit(job("low", 8, 1, 0));
    assert_eq!(w.running("low"), 8);
    w.submit(inside(gang("train", 4, 1, 10), Level::Rack, true));
    w.wait(PATIENCE_MS);
    assert_eq!(w.running("train"), 4);
    assert_eq!(w.evicted().len(), 4);
    let racks: std::collections::BTreeSet<String> = (0..4)
        .map(|i| w.node_of(&format!("train-worker-{i}")).unwrap()[..2].to_owned())
        .collect();
    assert_eq!(racks.len(), 1);
}

#[test]
fn what_cannot_fit_evicts_nobody() {
    let mut w = racks();
    w.submit(job("low", 32, 1, 0));
    // Three machines, but a rack has two.
    w.submit(inside(gang("train", 3, 8, 10), Level::Rack, true));
    w.wait(120_000);
    assert!(w.evicted().is_empty());
    assert_eq!(w.running("train"), 0);
}

#[test]
fn a_gang_yields_as_a_whole() {
    let mut w = racks();
    w.submit(gang("old", 4, 8, 0));
    assert_eq!(
        w.running("old"),
        4,
        "{:?} {:?}",
        w.out.decisions,
        w.out.faults
    );
    w.submit(job("high", 1, 1, 10));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted().len(), 4, "all or none");
    assert_eq!(w.running("old"), 0);
    assert_eq!(w.running("high"), 1);
}

#[test]
fn the_cheaper_domain_is_taken() {
    let mut w = racks();
    w.submit(inside(gang("important", 2, 8, 5), Level::Rack, true));
    w.submit(inside(gang("lesser", 2, 8, 1), Level::Rack, true));
    assert_eq!((w.running("important"), w.running("lesser")), (2, 2));
    w.submit(inside(gang("train", 2, 8, 10), Level::Rack, true));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted_names(), ["lesser-worker-0", "lesser-worker-1"]);
    assert_eq!((w.running("train"), w.running("important")), (2, 2));
}

/// The host is killed after each step of a gang's way from submission over notice
/// to its start, and comes back with what was written down by then: the gang runs
/// whole or not at all, and in the end nothing is reserved that nobody holds.
#[test]
fn killed_at_any_step_no_gang_is_partial_and_nothing_leaks() {
    let story = |killed_at: Option<usize>| {
        let mut w = racks();
        w.event(Event::ApproveEvictions { count: 100 });
        w.submit(with_terms(job("low", 32, 1, 0), |t| t.grace_ms = 5_000));
        let mut steps: Vec<Event> = vec![Event::JobSubmit(Box::new(inside(
            gang("train", 2, 8, 10),
            Level::Rack,
            true,
        )))];
        steps.resize(13, Event::Tick);
        // Some leave early, one by one; the rest when their time is over.
        for i in 0..40 {
            let name = format!("low-{i}");
            steps.push(Event::PodEvicted { name });
        }
        steps.resize(70, Event::Tick);
        for (at, step) in steps.into_iter().enumerate() {
            if killed_at == Some(at) {
                let keys: Vec<_> = w.engine.keys().collect();
                let kept = keys.iter().filter_map(|k| w.engine.export(k)).collect();
                let config = engine::Config {
                    preempt_after_ms: PATIENCE_MS,
                    ..engine::Config::default()
                };
                w.engine = engine::Engine::restore(config, kept).expect("it comes back");
            }
            w.now += if matches!(step, Event::Tick) {
                1_000
            } else {
                0
            };
            // Who was not asked to leave has not left.
            let _ = w.engine.step(w.now, step, &mut w.out);
            let running = w.running("train");
            assert!(running == 0 || running == 2, "killed at {killed_at:?}");
        }
        let used: i64 = ["r1a", "r1b", "r2a", "r2b"]
            .iter()
            .map(|n| 64_000 - w.engine.node(n).unwrap().free.cpu_milli)
            .sum();
        let runs = w.running("train") + w.running("low");
        assert_eq!(used, i64::from(runs) * 1_000, "killed at {killed_at:?}");
        (w.running("train"), w.running("low"))
    };
    let undisturbed = story(None);
    assert_eq!(undisturbed, (2, 16));
    for at in 0..70 {
        assert_eq!(story(Some(at)), undisturbed, "killed at {at}");
    }
}
