//! Who has to go.

use super::*;

/// KAI #1591: every rack is fully packed by work that may be preempted. A filter
/// that asks what is free now finds no domain and never looks for victims.
#[test]
fn a_fully_packed_rack_is_considered() {
    let mut world = World::default();
    for rack in ["b-r1", "b-r2"] {
        for _ in 0..2 {
            world = world.machine(rack, 64_000, 8);
        }
    }
    for machine in 0..4 {
        let priority = if machine < 2 { 2 } else { 1 };
        world = world
            .work(machine, 0x0f, priority)
            .work(machine, 0xf0, priority);
    }
    let world = world.role(urgent(gpu_pod(1_000, 0, 8)), 2, 2).required(1);
    let plan = plan(&world);
    assert_eq!(domain(&world, &plan), "b-r2");
    assert_eq!(plan.victims.len(), 4);
    world.check_minimal(&plan).unwrap();
}

/// Kueue #5243: taking eight devices spread over four nodes frees as many as the
/// gang wants and still leaves it without a place.
#[test]
fn victims_are_in_one_domain_where_the_gang_then_fits() {
    let mut world = World::default();
    // Two cheap devices on each of four nodes in two racks...
    for rack in ["b-r1", "b-r2"] {
        for _ in 0..2 {
            world = world.machine(rack, 64_000, 8);
        }
    }
    for machine in 0..4 {
        world = world
            .work(machine, 0b0000_0011, 1)
            .with(|w| w.started = 90_000)
            .work(machine, 0b1111_1100, 5);
        world.now = 100_000;
    }
    // ...and one node where eight devices go at a higher price.
    world = world.machine("b-r3", 64_000, 8).work(4, 0xff, 3);
    let world = world.role(urgent(gpu_pod(1_000, 0, 8)), 1, 1).required(1);
    let plan = plan(&world);
    assert_eq!(domain(&world, &plan), "b-r3");
    let victims: Vec<u32> = plan.victims.iter().map(|v| v.id).collect();
    assert_eq!(victims, [8]);
    // With that node protected the whole of another goes, never two of each.
    let mut world = world;
    world.work[8].allowed = 0;
    let plan = super::plan(&world);
    let mut machines: Vec<usize> = plan
        .victims
        .iter()
        .map(|v| world.work[v.id as usize].machine)
        .collect();
    machines.dedup();
    assert_eq!(machines, [0]);
    world.check_minimal(&plan).unwrap();
}

#[test]
fn the_least_work_lost_is_taken_and_notice_is_given() {
    let mut world = World {
        now: 1_000_000,
        ..World::default()
    }
    .machine("a-1", 8_000, 8)
    .machine("a-2", 8_000, 8)
    .machine("a-3", 8_000, 8);
    for (machine, checkpoint) in [(0, 400_000), (1, 990_000), (2, 600_000)] {
        world = world.work(machine, 0xff, 1).with(|w| {
            (w.checkpoint, w.grace) = (checkpoint, 30_000);
        });
    }
    let world = world.role(urgent(gpu_pod(0, 0, 4)), 2, 2).required(1);
    let plan = plan(&world);
    assert_eq!(domain(&world, &plan), "a-2");
    assert_eq!((plan.victims[0].grace, plan.hold), (30_000, 90_000));
    assert_eq!(plan.cost, [1, 80_000, 1, 1]);
}

#[test]
fn an_earlier_nomination_holds_unless_another_is_better_by_the_margin() {
    let world = |losses: [u32; 2], nominated: &str| {
        let mut world = World {
            nominated: Some(nominated.to_owned()),
            ..World::default()
        };
        for (machine, loss) in losses.into_iter().enumerate() {
            world = world
                .machine(&format!("a-{machine}"), 8_000, 8)
                .work(machine, 0xff, 1)
                .with(|w| w.restart_cost = loss);
        }
        world.role(urgent(gpu_pod(0, 0, 4)), 2, 2).required(1)
    };
    for (losses, nominated, winner) in [
        ([100, 90], "a-0", "a-0"),
        ([100, 80], "a-0", "a-0"),
        ([100, 79], "a-0", "a-1"),
        ([100, 90], "a-1", "a-1"),
        ([100, 90], "none", "a-1"),
    ] {
        let world = world(losses, nominated);
        assert_eq!(domain(&world, &plan(&world)), winner, "{losses:?}");
    }
}

#[test]
fn extra_members_cost_no_extra_victim() {
    let mut world = World::default()
        .machine("a", 8_000, 8)
        .machine("a", 8_000, 8);
    for slot in 0..8 {
        world = world.work(0, 1 << slot, 1);
    }
    world = world.work(1, 0x3f, 8).work(1, 0x40, 1);
    let world = world.role(urgent(gpu_pod(0, 0, 1)), 2, 6).required(1);
    let plan = plan(&world);
    assert_eq!((plan.victims.len(), plan.placements.len()), (1, 2));
}

#[test]
fn reclaim_takes_from_owners_over_their_share() {
    use loadmaster_sdk::preemption::Queue;
    let queue = |name: &str, share, guaranteed| Queue {
        name: name.to_owned(),
        share,
        guaranteed,
        lent: true,
    };
    let mut world = World {
        action: Action::Reclaim,
        owner: 0,
        queues: vec![
            queue("own", 1_200, false),
            queue("fair", 1_000, false),
            queue("safe", 1_300, true),
            queue("greedy", 1_300, false),
        ],
        ..World::default()
    };
    for owner in 0..4 {
        world = world
            .machine(&format!("a-{owner}"), 8_000, 8)
            .work(owner, 0xff, 50)
            .with(|w| w.owner = owner as u32);
    }
    let world = world.role(gpu_pod(0, 0, 4), 2, 2).required(1);
    let plan = plan(&world);
    assert_eq!(domain(&world, &plan), "a-3");
    assert!(
        plan.victims[0]
            .reason
            .starts_with("greedy is over its share")
    );
}

#[test]
fn a_group_elsewhere_goes_with_its_member_here() {
    let mut world = World::default()
        .machine("a-1", 8_000, 8)
        .machine("a-2", 8_000, 8)
        .work(0, 0xff, 1)
        .with(|w| w.group = 7)
        .work(1, 0x01, 1)
        .with(|w| w.group = 7)
        .work(1, 0xf0, 8);
    world = world.role(urgent(gpu_pod(0, 0, 4)), 2, 2).required(1);
    let plan = plan(&world);
    let victims: Vec<u32> = plan.victims.iter().map(|v| v.id).collect();
    assert_eq!(victims, [0, 1]);
    // Only the work of priority 8 is left to take, and that is not enough.
    world.work[1].allowed = 0;
    assert!(why(&world).contains("with all 1 units"));
}
