//! The default ranking: least work lost.

use std::collections::BTreeSet;

use super::*;

#[test]
fn checkpoints_decide_between_equal_work() {
    let mut world = World {
        now: 1_000_000,
        ..World::default()
    };
    for (machine, checkpoint) in [(0, 400_000), (1, 990_000), (2, 600_000)] {
        world = world
            .machine("a", 8_000, 8)
            .work(machine, 0xff, 1)
            .with(|w| {
                (w.checkpoint, w.grace) = (checkpoint, 30_000);
            });
    }
    let world = world.role(urgent(gpu_pod(0, 0, 1)), 1, 1);
    let plan = plan(&world);
    assert_eq!(victims(&plan), [1]);
    assert_eq!((plan.victims[0].grace, plan.hold), (30_000, 90_000));
    assert_eq!(plan.cost, [0, 1, 80_000, 1]);
}

#[test]
fn no_notice_where_it_saves_nothing() {
    let world = World {
        now: 1_000_000,
        ..World::default()
    }
    .machine("a", 8_000, 1)
    .work(0, 1, 1)
    .with(|w| (w.checkpoint, w.grace) = (1_000_000, 30_000))
    .role(urgent(gpu_pod(0, 0, 1)), 1, 1);
    assert_eq!(plan(&world).victims[0].grace, 0);
}

#[test]
fn owners_over_their_share_break_ties() {
    use loadmaster_sdk::preemption::Queue;
    let queue = |share| Queue {
        name: String::new(),
        share,
        guaranteed: false,
        lent: false,
    };
    let world = World {
        queues: vec![queue(900), queue(1_100)],
        ..World::default()
    }
    .machine("a", 8_000, 2)
    .work(0, 0b01, 1)
    .with(|w| w.owner = 0)
    .work(0, 0b10, 1)
    .with(|w| w.owner = 1)
    .role(urgent(gpu_pod(0, 0, 1)), 1, 1);
    assert_eq!(victims(&plan(&world)), [1]);
}

#[test]
fn work_is_moved_with_the_fewest_milli() {
    let mut world = World {
        action: Action::Consolidate,
        ..World::default()
    }
    .machine("a", 8_000, 2)
    .machine("a", 8_000, 2)
    .machine("a", 8_000, 2)
    .work(0, 0b01, 1)
    .work(1, 0b01, 1)
    .with(|w| w.milli = 400)
    .work(2, 0b10, 1)
    .role(urgent(gpu_pod(0, 0, 2)), 1, 1);
    let moved = plan(&world);
    assert!(moved.victims.is_empty());
    assert_eq!(
        (moved.moves[0].id, moved.moves.len(), &*moved.cost),
        (1, 1, &[0, 0, 400, 1][..])
    );
    // Nowhere to go.
    for machine in [0, 2] {
        world = world
            .work(machine, if machine == 0 { 0b10 } else { 0b01 }, 1)
            .with(|w| w.allowed = 0);
    }
    match ask_with(&world, "{}") {
        Answer::None(why) => assert!(why.contains("nowhere to go"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn moves_keep_every_rule() {
    let mut moved = 0;
    for seed in 0..1_500 {
        let mut world = crowded(seed, 10, &[NONE, NONE, 1]);
        world.action = Action::Consolidate;
        if matches!(ask_with(&world, "{}"), Answer::Plan(_)) {
            moved += usize::from(!plan(&world).moves.is_empty());
        }
    }
    assert!(moved > 50, "{moved} plans with moves");
}

type Key = (usize, i32, i64, usize);

fn loss(world: &World, taken: &BTreeSet<u32>) -> Key {
    let mut published: Vec<u64> = world.work.iter().map(|w| w.checkpoint).collect();
    published.retain(|c| *c > 0);
    published.sort_unstable();
    let median = match published.len() {
        0 => 0,
        n => published[(n - 1) / 2],
    };
    let works = world.work.iter().filter(|w| taken.contains(&w.id));
    works.fold((0, i32::MIN, 0, 0), |key, w| {
        let saved = if w.checkpoint == 0 {
            median
        } else {
            w.checkpoint
        };
        let since = (world.now - w.started.max(saved)) as i64;
        let held = match w.slots.count_ones() {
            0 => i64::from(w.cpu) * 10 / 1_000,
            n => i64::from(n) * i64::from(w.milli),
        };
        (
            key.0 + usize::from(w.budget != NONE),
            key.1.max(w.priority),
            key.2 + since * held / 1_000 + i64::from(w.restart_cost) * 1_000,
            key.3 + 1,
        )
    })
}

/// The cheapest of all sets of units with which the pod fits somewhere.
fn cheapest(world: &World) -> Option<Key> {
    let units = world.units();
    let all = world
        .request(&[Column::Row])
        .domains
        .pop()
        .expect("the cluster");
    let mut best: Option<Key> = None;
    for set in 0u32..1 << units.len() {
        let taken: BTreeSet<u32> = (0..units.len())
            .filter(|u| set >> u & 1 == 1)
            .flat_map(|u| units[u].iter().copied())
            .collect();
        let key = loss(world, &taken);
        let over = world.budgets.iter().enumerate().any(|(b, budget)| {
            let taken = world.work.iter().filter(|w| taken.contains(&w.id));
            taken.filter(|w| w.budget == b as u32).count() > budget.allowed as usize
        });
        if !over && best.is_none_or(|b| key < b) && world.fits_in(&all, &taken) {
            best = Some(key);
        }
    }
    best
}

#[test]
fn no_cheaper_victims_exist() {
    let (mut plans, mut none) = (0, 0);
    for seed in 0..3_000 {
        let world = crowded(seed, 10, &[NONE, NONE, NONE, 1, 2]);
        match (ask_with(&world, "{}"), cheapest(&world)) {
            (Answer::None(_), None) => none += 1,
            (Answer::Plan(_), Some(best)) => {
                let found = plan(&world);
                world
                    .check_minimal(&found)
                    .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                let taken: BTreeSet<u32> = victims(&found).into_iter().collect();
                assert_eq!(
                    loss(&world, &taken),
                    best,
                    "seed {seed}: {found:?}\n{world:?}"
                );
                plans += usize::from(!taken.is_empty());
            }
            other => panic!("seed {seed}: {other:?}\n{world:?}"),
        }
    }
    assert!(plans > 500 && none > 100, "{plans} plans, {none} without");
}

#[test]
fn gangs_of_one_role_take_nobody_in_vain() {
    let mut plans = 0;
    for seed in 0..1_000 {
        let mut world = crowded(seed, 12, &[NONE, NONE, 1]);
        (world.demands[0].min, world.demands[0].count) = (2, 4);
        if let Answer::Plan(found) = ask_with(&world, "{}") {
            plan(&world);
            world
                .check_minimal(&found)
                .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            plans += usize::from(!found.victims.is_empty());
        }
    }
    assert!(plans > 100, "{plans} plans");
}
