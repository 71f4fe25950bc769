//! Against trying everything on small worlds that look random and are the same
//! every time.

use std::collections::BTreeSet;

use loadmaster_sdk::preemption::{Budget, Domain, NONE};
use loadmaster_sdk::testing::cpu_pod;

use super::*;

struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % n
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn machines(numbers: &mut Numbers) -> World {
    let mut world = World {
        now: 1_000_000,
        ..World::default()
    };
    for _ in 0..2 + numbers.below(5) {
        let rack = numbers.of(&["x-1", "x-2", "y-1"]);
        world = world.machine(
            rack,
            numbers.of(&[8_000, 12_000, 16_000]),
            numbers.of(&[0, 2, 4]),
        );
    }
    world
}

/// Up to `most` pieces of work that fit.
fn load(numbers: &mut Numbers, mut world: World, most: usize) -> World {
    for _ in 0..most {
        let machine = numbers.below(world.machines.len());
        let gpus = world.machines[machine].gpus;
        let free = |slot: usize| {
            let used = world.work.iter().filter(|w| w.machine == machine);
            1_000
                - used
                    .filter(|w| w.slots >> slot & 1 == 1)
                    .map(|w| w.milli)
                    .sum::<i32>()
        };
        let milli = numbers.of(&[300, 500, 1_000, 1_000, 1_000]);
        let start = if gpus == 0 { 0 } else { numbers.below(gpus) };
        let wanted = if milli < 1_000 {
            1
        } else {
            1 + numbers.below(4)
        };
        let slots = (start..gpus).filter(|s| free(*s) >= milli).take(wanted);
        let slots = slots.fold(0u64, |mask, s| mask | 1 << s);
        let cpu = numbers.of(&[500, 1_000, 3_000]);
        let busy: i32 = world
            .work
            .iter()
            .filter(|w| w.machine == machine)
            .map(|w| w.cpu)
            .sum();
        if busy + cpu > world.machines[machine].cpu {
            continue;
        }
        let priority = numbers.of(&[0, 0, 1, 2, 9]);
        let group = numbers.of(&[NONE, NONE, NONE, 1, 2]);
        let budget = numbers.of(&[NONE, NONE, 0, 1]);
        let (restart, checkpoint) = (numbers.below(50) as u32, numbers.of(&[0, 900_000, 990_000]));
        let allowed = numbers.of(&[0, 1, 2, 3, 3, 3, 3]);
        world = world.work(machine, slots, priority).with(|w| {
            (w.milli, w.cpu, w.group, w.budget) = (milli, cpu, group, budget);
            (w.restart_cost, w.checkpoint, w.allowed) = (restart, checkpoint, allowed);
        });
    }
    world.budgets = vec![
        Budget {
            name: "two".to_owned(),
            allowed: 2,
        },
        Budget {
            name: "one".to_owned(),
            allowed: 1,
        },
    ];
    world
}

fn demand(numbers: &mut Numbers, mut world: World, pods: usize) -> World {
    let mut left = pods;
    for _ in 0..1 + numbers.below(3) {
        let pod = match numbers.below(4) {
            0 => cpu_pod(numbers.of(&[2_000, 5_000]), 0),
            1 => share_pod(1_000, 0, numbers.of(&[300, 400, 600]) as u32),
            _ => gpu_pod(
                numbers.of(&[1_000, 3_000, 4_000]),
                0,
                1 + numbers.below(3) as u32,
            ),
        };
        let min = 1 + numbers.below(left.min(6)) as u32;
        left = left.saturating_sub(min as usize);
        world = world.role(urgent(pod), min, min + numbers.below(2) as u32);
        if left == 0 {
            break;
        }
    }
    match numbers.below(5) {
        0 => world,
        1 => world.preferred(1 + numbers.below(2) as u32),
        n => world.required(n as u32 - 1),
    }
}

fn permitted(world: &World) -> Vec<Domain> {
    world.request(&[Column::Row]).domains
}

#[test]
fn a_gang_is_placed_whenever_there_is_a_way() {
    let mut placed = 0;
    for seed in 0..2_000 {
        let mut numbers = Numbers::new(seed);
        let world = machines(&mut numbers);
        let mut world = demand(&mut numbers, world, 12);
        world.action = Action::Consolidate;
        let nobody = BTreeSet::new();
        let possible = permitted(&world).iter().any(|d| world.fits_in(d, &nobody));
        if possible {
            plan(&world);
            placed += 1;
        } else {
            why(&world);
        }
    }
    assert!(
        placed > 400 && placed < 1_800,
        "{placed} of 2000 have a place"
    );
}

type Key = (i32, i64, u32);

/// The cheapest set of units with which some domain of these holds the gang.
fn cheapest(world: &World, domains: &[&Domain]) -> Option<Key> {
    let units = world.units();
    let mut best: Option<Key> = None;
    for set in 0u32..1 << units.len() {
        let taken: BTreeSet<u32> = (0..units.len())
            .filter(|u| set >> u & 1 == 1)
            .flat_map(|u| units[u].iter().copied())
            .collect();
        let works = || world.work.iter().filter(|w| taken.contains(&w.id));
        let over = world.budgets.iter().enumerate().any(|(b, budget)| {
            works().filter(|w| w.budget == b as u32).count() > budget.allowed as usize
        });
        let mut published: Vec<u64> = world.work.iter().map(|w| w.checkpoint).collect();
        published.retain(|c| *c > 0);
        published.sort_unstable();
        let median = match published.len() {
            0 => 0,
            n => published[(n - 1) / 2],
        };
        let key = works().fold((i32::MIN, 0, 0), |key: Key, w| {
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
            let loss = since * held / 1_000 + i64::from(w.restart_cost) * 1_000;
            (key.0.max(w.priority), key.1 + loss, key.2 + 1)
        });
        if over || best.is_some_and(|b| key >= b) {
            continue;
        }
        if domains.iter().any(|d| world.fits_in(d, &taken)) {
            best = Some(key);
        }
    }
    best
}

fn crowded(seed: u64) -> World {
    let mut numbers = Numbers::new(seed);
    let world = machines(&mut numbers);
    let world = load(&mut numbers, world, 10);
    demand(&mut numbers, world, 6)
}

#[test]
fn no_cheaper_victims_exist() {
    let (mut plans, mut none) = (0, 0);
    for seed in 0..1_500 {
        let world = crowded(seed);
        let domains = permitted(&world);
        let near = |d: &&Domain| d.level <= world.level;
        let mut rounds: Vec<Vec<&Domain>> = vec![domains.iter().collect()];
        if world.constraint == loadmaster_sdk::preemption::Constraint::Preferred {
            rounds.insert(0, domains.iter().filter(near).collect());
        }
        let best = rounds.iter().find_map(|round| cheapest(&world, round));
        let Some(best) = best else {
            why(&world);
            none += 1;
            continue;
        };
        let found = plan(&world);
        world
            .check_minimal(&found)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        if found.victims.is_empty() {
            // Room without victims, possibly in a wider domain than preferred.
            assert!(domains.iter().any(|d| world.fits_in(d, &BTreeSet::new())));
            continue;
        }
        plans += 1;
        let cost = (found.cost[0] as i32, found.cost[1], found.cost[2] as u32);
        assert_eq!(cost, best, "seed {seed}: {found:?}\n{world:?}");
    }
    assert!(plans > 200 && none > 100, "{plans} plans, {none} without");
}

#[test]
fn the_order_in_which_things_are_told_changes_nothing() {
    for seed in 0..400 {
        let world = crowded(seed);
        let mut numbers = Numbers::new(seed + 77);
        let other = world.shuffled(|n| numbers.below(n));
        let told = |world: &World| match ask(world) {
            Answer::Plan(plan) => {
                let mut placed: Vec<(u32, i32, Vec<u32>)> = plan
                    .placements
                    .iter()
                    .map(|p| (p.role, world.machines[p.row as usize].id, p.slots.clone()))
                    .collect();
                placed.sort();
                let victims: Vec<u32> = plan.victims.iter().map(|v| v.id).collect();
                format!(
                    "{victims:?} {} {placed:?} {:?}",
                    domain(world, &plan),
                    plan.cost
                )
            }
            other => format!("{other:?}"),
        };
        assert_eq!(told(&world), told(&other), "seed {seed}");
    }
}

#[test]
fn larger_worlds_keep_every_rule() {
    for seed in 0..300 {
        let mut numbers = Numbers::new(seed);
        let mut world = World {
            now: 1_000_000,
            ..World::default()
        };
        for i in 0..12 {
            world = world.machine(["x-1", "x-2", "y-1", "y-2"][i / 3], 16_000, 4);
        }
        let world = load(&mut numbers, world, 60);
        let world = demand(&mut numbers, world, 8);
        if let Answer::Plan(plan) = ask(&world) {
            world
                .check(&plan)
                .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            world
                .check_minimal(&plan)
                .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
    }
}

#[test]
fn moves_keep_every_rule() {
    let mut moved = 0;
    for seed in 0..400 {
        let mut world = crowded(seed);
        world.action = Action::Consolidate;
        if let Answer::Plan(plan) = ask(&world) {
            world
                .check(&plan)
                .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            moved += usize::from(!plan.moves.is_empty());
        }
    }
    assert!(moved > 10, "{moved} plans with moves");
}
