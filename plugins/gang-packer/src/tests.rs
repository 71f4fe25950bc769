//! Whole decisions: vectors, the two public failure cases, and comparison with
//! trying everything.

mod differential;
mod victims;

use loadmaster_sdk::preemption::{
    Action, Answer, Column, MAY_KILL, MAY_MOVE, Native, Plan, Pod, WHAT_IF_COLUMNS, native,
};
use loadmaster_sdk::testing::{World, check_settings_schema, gpu_pod, share_pod};

use crate::GangPacker;

fn ask_with(world: &World, settings: &str) -> Answer {
    let mut policy: Native<GangPacker> = native(settings).expect("valid settings");
    policy.set_context(world.context());
    policy.propose(&world.request(&WHAT_IF_COLUMNS))
}

fn ask(world: &World) -> Answer {
    ask_with(world, r#"{"single-pods":true}"#)
}

/// The plan, checked as a host would.
fn plan(world: &World) -> Plan {
    match ask(world) {
        Answer::Plan(plan) => {
            if let Err(error) = world.check(&plan) {
                panic!("{error}: {plan:?}\n{world:?}");
            }
            plan
        }
        other => panic!("{other:?}\n{world:?}"),
    }
}

fn domain(world: &World, plan: &Plan) -> String {
    let request = world.request(&[Column::Row]);
    request.domains[plan.domain as usize].name.clone()
}

fn why(world: &World) -> String {
    match ask(world) {
        Answer::None(why) => why,
        other => panic!("{other:?}"),
    }
}

fn urgent(pod: Pod) -> Pod {
    Pod { priority: 9, ..pod }
}

/// Racks with 5, 4 and 3 free places for one pod each.
fn kueue_racks() -> World {
    let mut world = World {
        action: Action::Consolidate,
        ..World::default()
    };
    for (rack, machines) in [("b-r1", 5), ("b-r2", 4), ("b-r3", 3)] {
        for _ in 0..machines {
            world = world.machine(rack, 8_000, 1);
        }
    }
    world
}

fn racks_used(world: &World, plan: &Plan) -> Vec<(String, usize)> {
    let mut used: Vec<(String, usize)> = Vec::new();
    for p in &plan.placements {
        let rack = &world.machines[p.row as usize].place[0];
        match used.iter_mut().find(|(r, _)| r == rack) {
            Some((_, n)) => *n += 1,
            None => used.push((rack.clone(), 1)),
        }
    }
    used.sort();
    used
}

#[test]
fn the_smallest_rack_that_fits_is_taken() {
    for (count, rack) in [(3, "b-r3"), (4, "b-r2"), (5, "b-r1")] {
        let world = kueue_racks()
            .role(gpu_pod(0, 0, 1), count, count)
            .required(1);
        let plan = plan(&world);
        assert_eq!(domain(&world, &plan), rack);
    }
    let world = kueue_racks().role(gpu_pod(0, 0, 1), 6, 6).required(1);
    assert_eq!(
        why(&world),
        "no domain holds the gang: best is b-r1 with room for 5 of 6 pods, each role on its own"
    );
}

#[test]
fn a_gang_that_no_rack_holds_goes_up_and_leaves_the_middle_rack_whole() {
    let world = kueue_racks().role(gpu_pod(0, 0, 1), 6, 6).preferred(1);
    let plan = plan(&world);
    assert_eq!(domain(&world, &plan), "block-b");
    assert_eq!(
        racks_used(&world, &plan),
        [("b-r1".to_owned(), 5), ("b-r3".to_owned(), 1)]
    );
}

#[test]
fn equal_domains_go_by_name() {
    let mut world = World {
        action: Action::Consolidate,
        ..World::default()
    };
    for rack in ["b-z", "b-a", "b-m"] {
        world = world.machine(rack, 8_000, 2);
    }
    let world = world.role(gpu_pod(0, 0, 1), 2, 2).required(1);
    assert_eq!(domain(&world, &plan(&world)), "b-a");
}

#[test]
fn roles_share_nodes_and_devices_without_overlap() {
    // As they come the two large ones would leave no device for a whole one.
    let world = World {
        action: Action::Consolidate,
        ..World::default()
    }
    .machine("a", 10_000, 2)
    .machine("a", 6_000, 2)
    .role(gpu_pod(5_000, 0, 1), 3, 3)
    .role(share_pod(100, 0, 600), 1, 1)
    .required(1);
    assert_eq!(plan(&world).placements.len(), 4);
}

#[test]
fn backtracking_finds_what_the_first_fit_misses() {
    // The large role fills the first row by devices; only with one of it on each
    // row is there CPU left for the second role.
    let world = World {
        action: Action::Consolidate,
        ..World::default()
    }
    .machine("a", 10_000, 4)
    .machine("a", 10_000, 2)
    .role(gpu_pod(4_000, 0, 2), 2, 2)
    .role(gpu_pod(6_000, 0, 0), 2, 2)
    .required(1);
    assert_eq!(plan(&world).placements.len(), 4);
    // Without looks it gives up, and says so.
    match ask_with(&world, r#"{"search-looks":1}"#) {
        Answer::None(why) => assert!(why.ends_with("so a plan may exist"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_elastic_gang_grows_to_what_is_there() {
    let world = kueue_racks().role(gpu_pod(0, 0, 1), 2, 4).required(1);
    let plan_of_four = plan(&world);
    assert_eq!(plan_of_four.placements.len(), 4);
    assert_eq!(domain(&world, &plan_of_four), "b-r2");
    // Nowhere all: where most fit.
    let world = kueue_racks().role(gpu_pod(0, 0, 1), 2, 9).required(1);
    let most = plan(&world);
    assert_eq!(
        (most.placements.len(), domain(&world, &most)),
        (5, "b-r1".to_owned())
    );
}

#[test]
fn a_node_level_constraint_keeps_the_gang_on_one_node() {
    let world = World {
        action: Action::Consolidate,
        ..World::default()
    }
    .machine("a", 8_000, 2)
    .machine("a", 8_000, 8)
    .role(gpu_pod(100, 0, 2), 2, 2)
    .required(0);
    let plan = plan(&world);
    assert_eq!(domain(&world, &plan), "node-1");
}

#[test]
fn single_pods_are_left_to_others_unless_asked_for() {
    let world =
        World::default()
            .machine("a", 8_000, 1)
            .work(0, 1, 0)
            .role(urgent(gpu_pod(0, 0, 1)), 1, 1);
    assert_eq!(ask_with(&world, "{}"), Answer::Abstain);
    assert_eq!(plan(&world).victims.len(), 1);
}

#[test]
fn work_moves_to_make_room_for_a_gang() {
    let mut world = World {
        action: Action::Consolidate,
        ..World::default()
    }
    .machine("a-1", 8_000, 2)
    .machine("a-1", 8_000, 2)
    .machine("a-2", 8_000, 2)
    .work(0, 0b01, 5)
    .work(1, 0b10, 5)
    .work(2, 0b01, 5)
    .role(gpu_pod(0, 0, 2), 1, 1)
    .role(gpu_pod(100, 0, 1), 1, 1)
    .required(1);
    let moved = plan(&world);
    assert!(moved.victims.is_empty());
    assert_eq!(
        (moved.moves.len(), domain(&world, &moved)),
        (1, "a-1".to_owned())
    );
    assert_eq!(world.machines[moved.moves[0].row as usize].place[0], "a-2");
    // Nobody moves who may only be killed.
    world.work.iter_mut().for_each(|w| w.allowed = MAY_KILL);
    assert!(why(&world).contains("with all 0 units"));
    world.work.iter_mut().for_each(|w| w.allowed = MAY_MOVE);
    plan(&world);
}

#[test]
fn settings_agree_with_their_schema() {
    check_settings_schema(include_str!("../settings.schema.json"), |settings| {
        native::<GangPacker>(settings)
    });
}
