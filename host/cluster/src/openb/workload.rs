//! Arrivals and node order of one seed.

use model::quantity::GPU_MILLI;
use model::{NodeSpec, PodSpec};

use crate::rng::Rng;

/// Load that the published runs inflate to, in thousandths of the GPU
/// capacity.
pub const INFLATE_MILLI: u32 = 1300;

/// Seeds of the published runs.
pub const SEEDS: std::ops::RangeInclusive<u64> = 42..=51;

/// Pods after inflation: clones of tiny pods must not exhaust memory.
pub const INFLATED_PODS_MAX: usize = 2_000_000;

/// What one run works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// In the order that ties are broken by: smallest name first.
    pub nodes: Vec<NodeSpec>,
    /// In order of arrival. None of them ever leaves.
    pub pods: Vec<PodSpec>,
    /// GPU capacity, milli-GPU.
    pub gpu_capacity_milli: i64,
}

/// Prepares the run of `seed`.
///
/// 1. Pods are sorted by name and shuffled.
/// 2. Clones of uniformly drawn pods are appended while the load stays within
///    `inflate_milli` thousandths of the capacity. The published code tests
///    the share of one device of the next pod and then adds all its devices;
///    so does this. A list that is above already loses uniformly drawn pods.
/// 3. Nodes are sorted by name, and each gets a number of a random permutation
///    in front of its name, which makes a random but fixed order of ties.
///
/// The three parts draw from streams of their own ([`Rng::fork`]). The stream
/// is ours, not Go's, so single runs differ from the published ones and means
/// over seeds are compared.
#[must_use]
pub fn prepare(nodes: &[NodeSpec], pods: &[PodSpec], inflate_milli: u32, seed: u64) -> Workload {
    let gpu_capacity_milli = nodes
        .iter()
        .map(|n| n.gpus.iter().filter(|g| g.healthy).count() as i64 * i64::from(GPU_MILLI))
        .sum();
    let mut originals = pods.to_vec();
    originals.sort_by(|a, b| a.name.cmp(&b.name));
    Rng::fork(seed, "openb pods").shuffle(&mut originals);
    let mut rng = Rng::fork(seed, "openb inflation");
    Workload {
        nodes: permuted(nodes, &mut Rng::fork(seed, "openb nodes")),
        pods: inflated(originals, gpu_capacity_milli, inflate_milli, &mut rng),
        gpu_capacity_milli,
    }
}

fn inflated(
    mut pods: Vec<PodSpec>,
    capacity: i64,
    inflate_milli: u32,
    rng: &mut Rng,
) -> Vec<PodSpec> {
    let mut total: i64 = pods.iter().map(|p| p.gpu.total_milli()).sum();
    // Without GPUs on either side no clone would ever reach the limit.
    if total == 0 || capacity == 0 {
        return pods;
    }
    let limit = i128::from(capacity) * i128::from(inflate_milli);
    let above = |total: i64| i128::from(total) * 1000 > limit;
    if above(total) {
        while above(total) {
            let pod = pods.remove(rng.index(pods.len()));
            total -= pod.gpu.total_milli();
        }
        return pods;
    }
    let originals = pods.len();
    while pods.len() < INFLATED_PODS_MAX {
        let drawn = &pods[rng.index(originals)];
        if above(total + i64::from(drawn.gpu.milli)) {
            break;
        }
        let mut clone = drawn.clone();
        clone.name = format!("{}-clone-{}", drawn.name, pods.len() - originals);
        total += clone.gpu.total_milli();
        pods.push(clone);
    }
    pods
}

fn permuted(nodes: &[NodeSpec], rng: &mut Rng) -> Vec<NodeSpec> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    rng.shuffle(&mut nodes);
    // Four digits as published; more where needed, or names would not sort.
    let digits = nodes.len().saturating_sub(1).to_string().len().max(4);
    for (number, node) in nodes.iter_mut().enumerate() {
        node.name = format!("{number:0digits$}-{}", node.name);
    }
    nodes
}
