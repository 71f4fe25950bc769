//! Whole decisions, and comparison with trying everything.

mod cost;
mod kube;

use loadmaster_sdk::preemption::{
    Action, Answer, Budget, Column, NONE, Native, Plan, Pod, WHAT_IF_COLUMNS, native,
};
use loadmaster_sdk::testing::{World, check_settings_schema, cpu_pod, gpu_pod, share_pod};

use crate::FairPreemption;

const KUBE: &str = r#"{"ranking":"kube"}"#;

fn ask_with(world: &World, settings: &str) -> Answer {
    let mut policy: Native<FairPreemption> = native(settings).expect("valid settings");
    policy.set_context(world.context());
    policy.propose(&world.request(&WHAT_IF_COLUMNS))
}

/// The plan, checked as a host would.
fn plan_with(world: &World, settings: &str) -> Plan {
    match ask_with(world, settings) {
        Answer::Plan(plan) => {
            if let Err(error) = world.check(&plan) {
                panic!("{error}: {plan:?}\n{world:?}");
            }
            plan
        }
        other => panic!("{other:?}\n{world:?}"),
    }
}

fn plan(world: &World) -> Plan {
    plan_with(world, "{}")
}

fn victims(plan: &Plan) -> Vec<u32> {
    plan.victims.iter().map(|v| v.id).collect()
}

fn urgent(pod: Pod) -> Pod {
    Pod {
        priority: 100,
        ..pod
    }
}

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

/// Some machines with work on them, and one pod that wants room.
fn crowded(seed: u64, work: usize, groups: &[u32]) -> World {
    let mut numbers = Numbers::new(seed);
    let mut world = World {
        now: 1_000_000,
        ..World::default()
    };
    let machines = 1 + numbers.below(4);
    for _ in 0..machines {
        let rack = numbers.of(&["x-1", "x-2", "y-1"]);
        world = world.machine(rack, numbers.of(&[6_000, 8_000]), 4);
    }
    for _ in 0..work {
        let machine = numbers.below(machines);
        let on = || world.work.iter().filter(|w| w.machine == machine);
        let free = |slot: usize| {
            1_000
                - on()
                    .filter(|w| w.slots >> slot & 1 == 1)
                    .map(|w| w.milli)
                    .sum::<i32>()
        };
        let milli = numbers.of(&[300, 500, 1_000, 1_000, 1_000]);
        let wanted = if milli < 1_000 { 1 } else { numbers.below(4) };
        let start = numbers.below(4);
        let slots = (start..4).filter(|s| free(*s) >= milli).take(wanted);
        let slots = slots.fold(0u64, |mask, s| mask | 1 << s);
        let cpu = numbers.of(&[500, 1_000, 2_500]);
        if on().map(|w| w.cpu).sum::<i32>() + cpu > world.machines[machine].cpu {
            continue;
        }
        let values = (
            numbers.of(&[0, 1, 1, 2, 100]),
            numbers.of(groups),
            numbers.of(&[NONE, NONE, 0, 1]),
            numbers.of(&[0, 1, 2, 3, 3, 3, 3]),
        );
        let times = (
            numbers.below(900_000) as u64,
            numbers.of(&[0, 900_000, 990_000]),
            numbers.below(50) as u32,
        );
        world = world.work(machine, slots, values.0).with(|w| {
            (w.milli, w.cpu) = (milli, cpu);
            (w.group, w.budget, w.allowed) = (values.1, values.2, values.3);
            (w.started, w.checkpoint, w.restart_cost) = times;
        });
    }
    let budget = |name: &str, allowed| Budget {
        name: name.to_owned(),
        allowed,
    };
    world.budgets = vec![budget("two", 2), budget("one", 1)];
    let pod = match numbers.below(4) {
        0 => cpu_pod(numbers.of(&[2_000, 4_000]), 0),
        1 => share_pod(500, 0, numbers.of(&[300, 600])),
        _ => gpu_pod(numbers.of(&[500, 3_000]), 0, 1 + numbers.below(4) as u32),
    };
    world.role(urgent(pod), 1, 1)
}

#[test]
fn a_free_place_needs_nobody_to_go() {
    let world = World::default()
        .machine("a", 8_000, 8)
        .machine("a", 8_000, 8)
        .work(1, 0b111, 0)
        .role(urgent(gpu_pod(0, 0, 2)), 1, 1);
    for settings in ["{}", KUBE] {
        let plan = plan_with(&world, settings);
        assert_eq!((victims(&plan), plan.placements[0].row), (Vec::new(), 1));
    }
}

#[test]
fn the_order_in_which_things_are_told_changes_nothing() {
    for seed in 0..500 {
        let mut world = crowded(seed, 12, &[NONE, NONE, 1]);
        if seed % 4 == 0 {
            world.action = Action::Consolidate;
        }
        if seed % 5 == 0 {
            world.demands[0].count = 3;
            world.demands[0].min = 2;
        }
        let mut numbers = Numbers::new(seed + 77);
        let other = world.shuffled(|n| numbers.below(n));
        for settings in ["{}", KUBE] {
            let told = |world: &World| match ask_with(world, settings) {
                Answer::Plan(plan) => {
                    let id = |row: u32| world.machines[row as usize].id;
                    let placed: Vec<_> = plan
                        .placements
                        .iter()
                        .map(|p| (id(p.row), p.slots.clone()))
                        .collect();
                    let moves: Vec<_> = plan
                        .moves
                        .iter()
                        .map(|m| (m.id, id(m.row), m.slots.clone()))
                        .collect();
                    let domains = world.request(&[Column::Row]).domains;
                    let domain = &domains[plan.domain as usize].name;
                    format!("{:?} {placed:?} {moves:?} {domain}", victims(&plan))
                }
                other => format!("{other:?}"),
            };
            assert_eq!(told(&world), told(&other), "seed {seed}");
        }
    }
}

#[test]
fn settings_agree_with_their_schema() {
    check_settings_schema(include_str!("../settings.schema.json"), |settings| {
        native::<FairPreemption>(settings)
    });
}

#[test]
fn gangs_with_a_topology_are_left_to_others() {
    let world = World::default()
        .machine("a", 8_000, 8)
        .role(urgent(gpu_pod(0, 0, 2)), 2, 2);
    assert!(matches!(ask_with(&world, "{}"), Answer::Plan(_)));
    for settings in [KUBE, r#"{"gangs":false}"#] {
        assert_eq!(ask_with(&world, settings), Answer::Abstain);
    }
    assert_eq!(ask_with(&world.required(1), "{}"), Answer::Abstain);
}
