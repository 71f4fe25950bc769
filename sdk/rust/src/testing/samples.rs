//! Ready-made machines and clusters, and what a policy costs on them.

use std::hint::black_box;
use std::time::Instant;

use super::{TestCluster, cpu_pod, gpu_pod, share_pod};
use crate::scoring::{Native, Pod, ScoringPolicy};

/// Links of a DGX-1 with V100, a hybrid cube mesh: 100 × NVLinks + PCIe level.
#[rustfmt::skip]
pub const DGX1: [i32; 64] = [
      0, 150, 130, 230, 210,  10,  10,  10,
    150,   0, 230, 130,  10, 210,  10,  10,
    130, 230,   0, 250,  10,  10, 110,  10,
    230, 130, 250,   0,  10,  10,  10, 110,
    210,  10,  10,  10,   0, 150, 130, 230,
     10, 210,  10,  10, 150,   0, 230, 130,
     10,  10, 110,  10, 130, 230,   0, 250,
     10,  10,  10, 110, 230, 130, 250,   0,
];

/// Nodes in all states of wear: a fifth without GPU, a fifth with two, the rest
/// with eight, some of them wired as [`DGX1`]; in three zones, with peers; and a
/// workload of seven classes in the context. The same every time.
#[must_use]
pub fn worn_cluster(nodes: usize) -> TestCluster {
    let mut t = TestCluster::new();
    for i in 0..nodes {
        let wear = i as i32 % 10_000;
        let node = t
            .node(&format!("n{i}"))
            .cpu(96_000)
            .cpu_used(wear * 7_919 % 80_000)
            .memory_used(wear * 104_729 % 500_000)
            .zone(wear % 3)
            .peers(wear % 7 / 3);
        let (mut node, gpus) = match i % 5 {
            0 => (node, 0),
            1 => (node.gpus("T4", 2), 2),
            2 => (node.gpus("V100", 8).links(&DGX1), 8),
            _ => (node.gpus("A100", 8), 8),
        };
        for slot in 0..gpus {
            let used = [0, 1_000, 0, 470, 810, 320, 1_000, 0][(i * 3 + slot * 5) % 8];
            node = node.gpu_used(slot, used);
        }
        t = node.done();
    }
    let picky = Pod {
        gpu_models: 0b10,
        ..share_pod(6_000, 20_000, 320)
    };
    t.shape(&share_pod(2_000, 0, 500), 5)
        .shape(&gpu_pod(4_000, 0, 1), 3)
        .shape(&gpu_pod(8_000, 0, 2), 2)
        .shape(&share_pod(3_152, 10_000, 810), 7)
        .shape(&cpu_pod(8_000, 30_000), 4)
        .shape(&gpu_pod(64_000, 200_000, 8), 1)
        .shape(&picky, 1)
}

/// Passes over all rows; the fastest counts, as it is the one least disturbed.
const PASSES: usize = 25;

/// Prints what one row costs natively, for three kinds of pod on 5,000 worn
/// nodes. For examples: the numbers that count are those of the benches.
pub fn print_row_costs<P: ScoringPolicy>(settings: &[&str]) {
    let t = worn_cluster(5_000);
    for settings in settings {
        let policy: Native<P> = t.policy(settings);
        for (name, pod) in [
            ("cpu", cpu_pod(2_000, 4_000)),
            ("share", share_pod(2_000, 4_000, 320)),
            ("3 gpus", gpu_pod(8_000, 16_000, 3)),
        ] {
            let rows = t.feasible(&pod);
            let slots = t.slots(&pod);
            let data = t.lay_out(&policy.describe().columns, &rows, slots);
            let mut best = u128::MAX;
            for _ in 0..PASSES {
                let mut out = Vec::with_capacity(rows.len());
                let start = Instant::now();
                policy.score(&pod, rows.len() as u32, slots, black_box(&data), &mut out);
                best = best.min(start.elapsed().as_nanos());
                black_box(out);
            }
            println!(
                "{} {settings} {name}: {} rows, {:.1} us, {:.1} ns a row",
                policy.describe().name,
                rows.len(),
                best as f64 / 1_000.0,
                best as f64 / rows.len().max(1) as f64
            );
        }
    }
}
