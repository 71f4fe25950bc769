//! What one decision costs natively on full clusters:
//! `cargo run -p fair-preemption --example plans`.

use std::hint::black_box;
use std::time::Instant;

use fair_preemption::FairPreemption;
use loadmaster_sdk::preemption::{
    Action, Answer, Case, Losses, Native, Pod, Rate, Units, WHAT_IF_COLUMNS, native,
};
use loadmaster_sdk::testing::{World, cpu_pod, gpu_pod, share_pod};

/// The fastest of some runs is the one least disturbed.
const RUNS: usize = 30;

/// Nodes with 8 GPUs and four pods each, two devices a pod, of all ages; every
/// eighth device is shared.
fn full(nodes: usize, alike: bool) -> World {
    let mut world = World {
        now: 10_000_000,
        ..World::default()
    };
    for node in 0..nodes {
        world = world.machine(&format!("b{}-r{}", node / 200, node / 20), 64_000, 8);
    }
    for node in 0..nodes {
        for part in 0..4 {
            let started = (node * 4 + part) as u64 * 5_347_919 % 9_000_000;
            world = world.work(node, 0b11 << (2 * part), 1).with(|w| {
                w.cpu = 15_500;
                w.priority = if alike { 1 } else { (started % 3) as i32 };
                w.started = if alike { 0 } else { started };
            });
        }
    }
    world
}

fn fastest(mut run: impl FnMut()) -> f64 {
    let mut best = u128::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_nanos());
    }
    best as f64 / 1_000.0
}

fn measure(name: &str, world: &World, settings: &str) {
    let mut policy: Native<FairPreemption> = native(settings).expect("valid settings");
    policy.set_context(world.context());
    let request = world.request(&WHAT_IF_COLUMNS);
    let micros = fastest(|| {
        black_box(policy.propose(black_box(&request)));
    });
    let said = match policy.propose(&request) {
        Answer::Plan(plan) => match world.check(&plan) {
            Ok(()) => format!("{} victims, {} moves", plan.victims.len(), plan.moves.len()),
            Err(error) => format!("illegal: {error}"),
        },
        Answer::None(why) => why,
        Answer::Abstain => "abstains".to_owned(),
    };
    println!("  {name}: {micros:.0} us, {said}");
}

fn main() {
    let urgent = |pod| Pod { priority: 9, ..pod };
    for (nodes, alike) in [(512, false), (512, true), (5_000, false), (5_000, true)] {
        let world = full(nodes, alike);
        println!(
            "{nodes} nodes, {} running{}",
            world.work.len(),
            if alike { ", all alike" } else { "" }
        );
        let request = world.request(&WHAT_IF_COLUMNS);
        let context = world.context();
        let case = Case::new(&WHAT_IF_COLUMNS, &request, &context);
        let cluster = fastest(|| {
            black_box(case.cluster());
        });
        let units = fastest(|| {
            let losses = Losses::new(&case, Rate { core_milli: 10 });
            black_box(Units::new(&case, &losses));
        });
        println!("  what-if state {cluster:.0} us, units {units:.0} us (none taken: no demand)");
        for (name, pod) in [
            ("1 GPU", gpu_pod(4_000, 0, 1)),
            ("8 GPUs", gpu_pod(60_000, 0, 8)),
            ("share", share_pod(1_000, 0, 500)),
            ("cpu", cpu_pod(20_000, 0)),
        ] {
            let world = world.clone().role(urgent(pod), 1, 1);
            measure(name, &world, "{}");
            measure(&format!("{name}, kube"), &world, r#"{"ranking":"kube"}"#);
        }
        let moving = World {
            action: Action::Consolidate,
            ..world.clone()
        };
        let moving = moving.role(gpu_pod(4_000, 0, 1), 1, 1);
        measure("1 GPU, by moving", &moving, "{}");
        let gang = world.role(urgent(gpu_pod(60_000, 0, 8)), 64, 64);
        measure("gang of 64 x 8 GPUs", &gang, "{}");
    }
}
