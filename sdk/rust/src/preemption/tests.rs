//! The what-if state against counting from scratch.

use super::*;
use crate::testing::{DGX1, Work, World, cpu_pod, gpu_pod, share_pod};

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

fn worn(numbers: &mut Numbers) -> World {
    let mut world = World::default();
    for _ in 0..5 {
        world = world.machine("a", 16_000, 4);
    }
    for machine in 0..5 {
        let mut used = [0; 4];
        for _ in 0..numbers.below(7) {
            let (slot, milli) = (numbers.below(4), [300, 500, 1_000][numbers.below(3)]);
            if used[slot] + milli <= GPU_WHOLE {
                used[slot] += milli;
                world = world.work(machine, 1 << slot, 0).with(|w| {
                    (w.milli, w.cpu) = (milli, 1_000);
                });
            }
        }
    }
    world
}

fn state(cluster: &Cluster<'_>) -> String {
    let rows = (0..cluster.len()).map(|r| {
        let gpus: Vec<i32> = (0..cluster.slots()).map(|s| cluster.milli(r, s)).collect();
        format!("{:?} {gpus:?} {}", cluster.free(r), cluster.whole(r))
    });
    let gone = (0..cluster.victim_count()).map(|v| cluster.is_gone(v));
    format!(
        "{:?} {:?}",
        rows.collect::<Vec<_>>(),
        gone.collect::<Vec<_>>()
    )
}

#[test]
fn rollback_undoes_any_mix_of_changes() {
    let mut numbers = Numbers(7);
    for _ in 0..200 {
        let world = worn(&mut numbers);
        let (request, context) = (world.request(&WHAT_IF_COLUMNS), world.context());
        let case = Case::new(&WHAT_IF_COLUMNS, &request, &context);
        let mut cluster = case.cluster();
        let pods = [
            gpu_pod(2_000, 0, 2),
            share_pod(500, 0, 400),
            cpu_pod(3_000, 0),
        ];
        let mut marks = Vec::new();
        for _ in 0..30 {
            let victims = world.work.len().max(1);
            match numbers.below(5) {
                0 => marks.push((cluster.fork(), state(&cluster))),
                1 if !world.work.is_empty() => cluster.evict(numbers.below(victims)),
                2 if !world.work.is_empty() => {
                    let victim = numbers.below(victims);
                    if !cluster.is_gone(victim) {
                        let _ = cluster.try_move(victim, numbers.below(5));
                    }
                }
                _ => {
                    let _ = cluster.try_place(&pods[numbers.below(3)], numbers.below(5));
                }
            }
            for row in 0..5 {
                let devices = (0..4).map(|s| cluster.milli(row, s));
                assert!(cluster.free(row).cpu >= 0 && devices.clone().all(|m| m >= 0));
                let whole = devices.filter(|m| *m == GPU_WHOLE).count();
                assert_eq!(whole as u32, cluster.whole(row));
            }
        }
        while let Some((mark, before)) = marks.pop() {
            cluster.rollback(mark);
            assert_eq!(state(&cluster), before);
        }
    }
}

#[test]
fn evicting_and_restoring_in_any_order_ends_where_it_began() {
    let mut numbers = Numbers(3);
    for _ in 0..100 {
        let world = worn(&mut numbers);
        let (request, context) = (world.request(&WHAT_IF_COLUMNS), world.context());
        let case = Case::new(&WHAT_IF_COLUMNS, &request, &context);
        let mut cluster = case.cluster();
        let before = state(&cluster);
        let usable = |c: &Cluster<'_>| -> Vec<u64> {
            let pod = Pod {
                gpu_memory: 30_000,
                ..share_pod(0, 0, 300)
            };
            (0..c.len()).map(|r| c.usable(&pod, r)).collect()
        };
        let memory = usable(&cluster);
        (0..world.work.len()).for_each(|v| cluster.evict(v));
        (0..5).for_each(|r| assert_eq!(cluster.whole(r), 4));
        let mut back: Vec<usize> = (0..world.work.len()).collect();
        while !back.is_empty() {
            cluster.restore(back.swap_remove(numbers.below(back.len())));
        }
        assert_eq!(state(&cluster), before);
        assert_eq!(usable(&cluster), memory);
    }
}

#[test]
fn room_is_how_many_can_be_placed_one_by_one() {
    let mut numbers = Numbers(11);
    for _ in 0..200 {
        let world = worn(&mut numbers);
        let (request, context) = (world.request(&WHAT_IF_COLUMNS), world.context());
        let case = Case::new(&WHAT_IF_COLUMNS, &request, &context);
        let mut cluster = case.cluster();
        let share = Pod {
            gpu_memory: 20_000,
            ..share_pod(100, 0, 200)
        };
        for pod in [
            gpu_pod(1_000, 0, 1),
            gpu_pod(0, 0, 3),
            share,
            cpu_pod(5_000, 9),
        ] {
            for row in 0..5 {
                let mark = cluster.fork();
                let room = cluster.room(&pod, row, 64);
                let mut placed = 0;
                while cluster.try_place(&pod, row).is_some() {
                    placed += 1;
                }
                assert_eq!(room, placed, "{pod:?}");
                cluster.rollback(mark);
            }
        }
    }
}

#[test]
fn devices_are_the_best_linked_and_shares_go_where_it_is_fullest() {
    let world = World {
        links: DGX1.to_vec(),
        ..World::default()
    };
    let world = world
        .machine("a", 16_000, 8)
        .machine("a", 16_000, 8)
        .work(1, 0b1, 0)
        .with(|w| w.milli = 300)
        .work(1, 0b10, 0)
        .with(|w| w.milli = 600);
    let (request, context) = (world.request(&WHAT_IF_COLUMNS), world.context());
    let case = Case::new(&WHAT_IF_COLUMNS, &request, &context);
    let mut cluster = case.cluster();
    let mut place = |pod: Pod, row| {
        let devices: Option<Vec<u32>> = cluster.try_place(&pod, row).map(|d| d.iter().collect());
        devices.unwrap_or_default()
    };
    assert_eq!(place(gpu_pod(0, 0, 4), 0), [0, 1, 2, 3]);
    // 4-7 and 6-7 have double links; the second also a board.
    assert_eq!(place(gpu_pod(0, 0, 2), 0), [6, 7]);
    assert_eq!(place(share_pod(0, 0, 400), 1), [1]);
    assert_eq!(place(share_pod(0, 0, 400), 1), [0]);
    assert_eq!(place(gpu_pod(0, 0, 7), 1), Vec::<u32>::new());
}

#[test]
fn a_victim_on_a_node_that_is_not_here_frees_nothing() {
    let world = World::default().machine("a", 4_000, 2).work(0, 0b1, 0);
    let (mut request, context) = (world.request(&WHAT_IF_COLUMNS), world.context());
    request.running.row[0] = NONE;
    let case = Case::new(&WHAT_IF_COLUMNS, &request, &context);
    let mut cluster = case.cluster();
    cluster.evict(0);
    assert!(cluster.is_gone(0) && cluster.victims(0).is_empty());
    assert_eq!((cluster.whole(0), cluster.row_of(0)), (1, None));
    cluster.restore(0);
    assert!(!cluster.is_gone(0));
    let losses = Losses::new(&case, Rate { core_milli: 10 });
    assert!(Units::new(&case, &losses).on_row(0).is_empty());
}

fn units(world: &World) -> Vec<Vec<u32>> {
    let (request, context) = (world.request(&WHAT_IF_COLUMNS), world.context());
    let case = Case::new(&WHAT_IF_COLUMNS, &request, &context);
    let losses = Losses::new(&case, Rate { core_milli: 10 });
    let units = Units::new(&case, &losses);
    let ids = |u| {
        let members = units.members(u).iter();
        let mut ids: Vec<u32> = members.map(|v| request.running.id[*v as usize]).collect();
        ids.sort_unstable();
        ids
    };
    (0..units.len() as u32).map(ids).collect()
}

#[test]
fn units_follow_the_rules_of_each_action() {
    let queue = |share, guaranteed| Queue {
        name: String::new(),
        share,
        guaranteed,
        lent: false,
    };
    let mut world = World {
        queues: vec![queue(1_500, false), queue(1_500, true), queue(900, false)],
        owner: 2,
        ..World::default()
    }
    .machine("a", 16_000, 8)
    .role(
        Pod {
            priority: 5,
            ..gpu_pod(0, 0, 1)
        },
        1,
        1,
    );
    let mut add = |change: &dyn Fn(&mut Work)| {
        let slot = world.work.len();
        world = world.clone().work(0, 1 << slot, 1).with(|w| change(w));
    };
    add(&|w| (w.owner, w.allowed) = (0, MAY_KILL));
    add(&|w| (w.owner, w.priority) = (1, 5));
    add(&|w| (w.owner, w.group) = (0, 9));
    add(&|w| (w.owner, w.group, w.allowed) = (0, 9, MAY_MOVE));
    add(&|w| (w.owner, w.group) = (0, 8));
    add(&|w| (w.owner, w.group) = (0, 8));
    add(&|w| w.owner = 2);
    add(&|w| w.allowed = 0);
    assert_eq!(units(&world), [vec![0], vec![4, 5], vec![6]]);
    world.action = Action::Reclaim;
    assert_eq!(units(&world), [vec![0], vec![4, 5]]);
    world.action = Action::Consolidate;
    assert_eq!(units(&world), [vec![1], vec![6]]);
}

#[test]
fn work_since_the_last_checkpoint_is_what_is_lost() {
    let mut world = World {
        now: 100_000,
        ..World::default()
    }
    .machine("a", 64_000, 8);
    // Published at 60 and 80 s, so that the median is 60 s.
    world = world.work(0, 0b11, 0).with(|w| w.checkpoint = 60_000);
    world = world.work(0, 0b100, 0).with(|w| {
        (w.checkpoint, w.restart_cost, w.started) = (80_000, 7, 90_000);
    });
    // Never published: charged from 60 s, or from its start if that was later.
    world = world.work(0, 0b1000, 0);
    world = world.work(0, 0b1_0000, 0).with(|w| w.started = 70_000);
    world = world.work(0, 0, 0).with(|w| (w.cpu, w.grace) = (4_000, 5));
    let (request, context) = (world.request(&WHAT_IF_COLUMNS), world.context());
    let case = Case::new(&WHAT_IF_COLUMNS, &request, &context);
    let losses = Losses::new(&case, Rate { core_milli: 10 });
    let seconds: Vec<i64> = (0..5).map(|v| losses.of(v)).collect();
    assert_eq!(seconds, [80_000, 17_000, 40_000, 30_000, 1_600]);
    assert_eq!(notice(&case, 4), 5);
    assert_eq!(notice(&case, 0), 0);
}
