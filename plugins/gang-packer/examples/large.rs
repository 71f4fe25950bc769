//! What one decision costs natively on full clusters of nodes with 8 GPUs:
//! `cargo run -p gang-packer --example large`.

use std::hint::black_box;
use std::time::Instant;

use gang_packer::GangPacker;
use loadmaster_sdk::preemption::{Answer, Native, Pod, WHAT_IF_COLUMNS, native};
use loadmaster_sdk::testing::{World, cpu_pod, gpu_pod};

const RACK: usize = 20;
const BLOCK: usize = 200;

/// The fastest of some runs is the one least disturbed.
const RUNS: usize = 5;

/// Every device in use: a third of the nodes by one job each, a third by gangs of
/// four nodes, a third by eight jobs with one device each.
fn full(nodes: usize, gangs: bool) -> World {
    let mut world = World {
        now: 10_000_000,
        ..World::default()
    };
    for node in 0..nodes {
        let rack = format!("b{:02}-r{:02}", node / BLOCK, node / RACK);
        world = world.machine(&rack, 128_000, 8);
    }
    for node in 0..nodes {
        let started = (node as u64 * 5_347_919) % 9_000_000;
        match node % 3 {
            0 => world = world.work(node, 0xff, 1).with(|w| w.started = started),
            1 if gangs => {
                world = world.work(node, 0xff, 2).with(|w| {
                    (w.started, w.group) = (started, node as u32 / 12);
                });
            }
            _ => {
                for slot in 0..8 {
                    world = world.work(node, 1 << slot, 1).with(|w| {
                        (w.started, w.checkpoint) = (started, started + slot * 1_000);
                    });
                }
            }
        }
    }
    world
        .work
        .iter_mut()
        .for_each(|w| w.cpu = 15_000 * w.slots.count_ones() as i32);
    world
}

fn measure(name: &str, world: &World) {
    let mut policy: Native<GangPacker> = native("{}").expect("the defaults are valid");
    policy.set_context(world.context());
    let request = world.request(&WHAT_IF_COLUMNS);
    let mut best = u128::MAX;
    let mut answer = Answer::Abstain;
    for _ in 0..RUNS {
        let start = Instant::now();
        answer = policy.propose(black_box(&request));
        best = best.min(start.elapsed().as_micros());
    }
    let said = match answer {
        Answer::Plan(plan) => match world.check(&plan) {
            Ok(()) => format!(
                "{}, {} victims, {} moves, {} placed, cost {:?}",
                request.domains[plan.domain as usize].name,
                plan.victims.len(),
                plan.moves.len(),
                plan.placements.len(),
                plan.cost
            ),
            Err(error) => format!("illegal: {error}"),
        },
        Answer::None(why) => why,
        Answer::Abstain => "abstains".to_owned(),
    };
    let victims = world.work.len();
    println!(
        "{name}: {:.1} ms, {victims} running; {said}",
        best as f64 / 1_000.0
    );
}

fn main() {
    let worker = Pod {
        priority: 9,
        ..gpu_pod(96_000, 0, 8)
    };
    let driver = Pod {
        priority: 9,
        ..cpu_pod(30_000, 0)
    };
    for (nodes, gangs) in [(1_000, false), (1_000, true), (5_000, false), (5_000, true)] {
        let world = full(nodes, gangs);
        let one = world.clone().role(worker, 64, 64);
        let two = world.clone().role(worker, 63, 63).role(driver, 4, 4);
        let kind = format!(
            "{nodes} nodes, {}",
            if gangs { "groups" } else { "no groups" }
        );
        measure(
            &format!("64 x 8 GPUs, required block, {kind}"),
            &one.clone().required(2),
        );
        measure(&format!("64 x 8 GPUs, anywhere, {kind}"), &one.clone());
        measure(
            &format!("two roles, required block, {kind}"),
            &two.clone().required(2),
        );
        measure(&format!("two roles, anywhere, {kind}"), &two);
        measure(&format!("does not fit a rack, {kind}"), &one.required(1));
        let small = world.role(worker, 4, 4).required(1);
        measure(&format!("4 x 8 GPUs, required rack, {kind}"), &small);
    }
    // Two roles that fit each on its own but never together: all searches run
    // into their limits.
    let mut world = full(200, false);
    let halves = |gpus| Pod {
        priority: 9,
        ..gpu_pod(70_000, 0, gpus)
    };
    world = world.role(halves(1), 101, 101).role(halves(0), 100, 100);
    measure("hopeless, required block", &world.clone().required(2));
    world.work.clear();
    measure("hopeless without anybody running", &world.required(2));
}
