//! Follows a run: what arrived, what runs, what is fragmented.

use std::collections::HashMap;

use model::event::ShapeClass;
use model::quantity::GPU_MILLI;
use model::{NodeSpec, PodSpec};

use super::fragmentation::Fragmentation;

/// Loads that results are reported at, percent of the GPU capacity arrived.
pub const ARRIVED_PCT_BINS: [u32; 6] = [80, 90, 95, 100, 110, 130];

/// Highest load kept, percent: far above any inflation that makes sense, and
/// the bound of the table of bins.
const ARRIVED_PCT_MAX: usize = 1000;

/// A placement that the cluster cannot hold: whoever placed it is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeterError {
    /// Not a node of the run.
    #[error("pod {pod:?} was placed on {node:?}, which is not a node of the run")]
    UnknownNode {
        /// Pod.
        pod: String,
        /// Node.
        node: String,
    },
    /// More CPU or memory than free.
    #[error("pod {pod:?} does not fit into the free CPU and memory of {node:?}")]
    Resources {
        /// Pod.
        pod: String,
        /// Node.
        node: String,
    },
    /// Not the devices asked for, or not free.
    #[error("pod {pod:?} cannot have the GPUs {devices:?} of {node:?}")]
    Devices {
        /// Pod.
        pod: String,
        /// Node.
        node: String,
        /// Slots.
        devices: Vec<u32>,
    },
}

/// Means over the events of one load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinMeans {
    /// GPU allocated, percent of the capacity.
    pub alloc_pct: f64,
    /// Free GPU that the typical workload cannot use, percent of the free.
    pub frag_ratio_pct: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    events: u64,
    alloc_milli: i128,
    frag_ratio: f64,
}

#[derive(Debug)]
struct Node {
    model: String,
    cpu_left: i64,
    memory_left: i64,
    left: Vec<u32>,
    fragmented: u64,
}

/// Bookkeeping of a run of the published experiment. It also checks every
/// placement, independently of the engine that made it.
#[derive(Debug)]
pub struct FillMeter {
    nodes: Vec<Node>,
    by_name: HashMap<String, usize>,
    fragmentation: Fragmentation,
    capacity_milli: i64,
    arrived_milli: i64,
    allocated_milli: i64,
    fragmented: u128,
    arrived: u64,
    placed: u64,
    bins: Vec<Bin>,
}

impl FillMeter {
    /// An empty cluster.
    #[must_use]
    pub fn new(nodes: &[NodeSpec], shapes: Vec<ShapeClass>) -> Self {
        let mut fragmentation = Fragmentation::new(shapes);
        let mut meter = Vec::with_capacity(nodes.len());
        for node in nodes {
            let left: Vec<u32> = node
                .gpus
                .iter()
                .map(|g| if g.healthy { GPU_MILLI } else { 0 })
                .collect();
            let model = node.gpus.first().map_or("", |g| &g.model).to_owned();
            let cpu_left = node.capacity.cpu_milli;
            meter.push(Node {
                fragmented: fragmentation.node(&model, cpu_left, &left),
                model,
                cpu_left,
                memory_left: node.capacity.memory_mib,
                left,
            });
        }
        Self {
            by_name: std::iter::zip(nodes, 0..)
                .map(|(n, at)| (n.name.clone(), at))
                .collect(),
            capacity_milli: meter
                .iter()
                .flat_map(|n| &n.left)
                .map(|l| i64::from(*l))
                .sum(),
            fragmented: meter.iter().map(|n| u128::from(n.fragmented)).sum(),
            nodes: meter,
            fragmentation,
            arrived_milli: 0,
            allocated_milli: 0,
            arrived: 0,
            placed: 0,
            bins: Vec::new(),
        }
    }

    /// A pod arrived and was placed on these devices of a node.
    ///
    /// # Errors
    /// A placement that the cluster cannot hold; nothing is counted then.
    pub fn placed(&mut self, pod: &PodSpec, node: &str, devices: &[u32]) -> Result<(), MeterError> {
        let Some(at) = self.by_name.get(node).copied() else {
            return Err(MeterError::UnknownNode {
                pod: pod.name.clone(),
                node: node.to_owned(),
            });
        };
        let state = &mut self.nodes[at];
        if pod.requests.cpu_milli > state.cpu_left || pod.requests.memory_mib > state.memory_left {
            return Err(MeterError::Resources {
                pod: pod.name.clone(),
                node: node.to_owned(),
            });
        }
        let mut left = state.left.clone();
        let mut legal = devices.len() == pod.gpu.count as usize;
        legal &= pod.gpu.models.is_empty()
            || pod.gpu.count == 0
            || pod.gpu.models.contains(&state.model);
        for (at, device) in devices.iter().enumerate() {
            let repeated = devices[..at].contains(device);
            match left.get_mut(*device as usize) {
                Some(free) if *free >= pod.gpu.milli && !repeated => *free -= pod.gpu.milli,
                _ => legal = false,
            }
        }
        if !legal {
            return Err(MeterError::Devices {
                pod: pod.name.clone(),
                node: node.to_owned(),
                devices: devices.to_vec(),
            });
        }
        state.left = left;
        state.cpu_left -= pod.requests.cpu_milli;
        state.memory_left -= pod.requests.memory_mib;
        let fragmented = self
            .fragmentation
            .node(&state.model, state.cpu_left, &state.left);
        self.fragmented -= u128::from(state.fragmented);
        self.fragmented += u128::from(fragmented);
        state.fragmented = fragmented;
        self.allocated_milli += pod.gpu.total_milli();
        self.placed += 1;
        self.arrive(pod);
        Ok(())
    }

    /// A pod arrived and found no place. Its request counts as arrived.
    pub fn failed(&mut self, pod: &PodSpec) {
        self.arrive(pod);
    }

    fn arrive(&mut self, pod: &PodSpec) {
        self.arrived += 1;
        self.arrived_milli += pod.gpu.total_milli();
        if self.capacity_milli == 0 {
            return;
        }
        // Rounded to the nearest whole percent in integers.
        let percent = (self.arrived_milli * 200 + self.capacity_milli) / (2 * self.capacity_milli);
        let percent = (percent as usize).min(ARRIVED_PCT_MAX);
        if self.bins.len() <= percent {
            self.bins.resize(percent + 1, Bin::default());
        }
        let ratio = self.frag_ratio();
        let bin = &mut self.bins[percent];
        bin.events += 1;
        bin.alloc_milli += i128::from(self.allocated_milli);
        bin.frag_ratio += ratio;
    }

    /// Free GPU that the typical workload cannot use, as a share of the free;
    /// 0 when nothing is free.
    #[must_use]
    pub fn frag_ratio(&self) -> f64 {
        let free = (self.capacity_milli - self.allocated_milli) as f64;
        let weight = self.fragmentation.weight() as f64;
        if free > 0.0 && weight > 0.0 {
            self.fragmented as f64 / weight / free
        } else {
            0.0
        }
    }

    /// Means of the events whose load rounds to `arrived_pct`; `None` when
    /// there was none.
    #[must_use]
    pub fn at(&self, arrived_pct: u32) -> Option<BinMeans> {
        let bin = self
            .bins
            .get(arrived_pct as usize)
            .filter(|b| b.events > 0)?;
        let events = bin.events as f64;
        Some(BinMeans {
            alloc_pct: 100.0 * bin.alloc_milli as f64 / events / self.capacity_milli as f64,
            frag_ratio_pct: 100.0 * bin.frag_ratio / events,
        })
    }

    /// Every load that had events, ascending.
    pub fn curve(&self) -> impl Iterator<Item = (u32, BinMeans)> {
        (0..self.bins.len() as u32).filter_map(|p| Some((p, self.at(p)?)))
    }

    /// Pods that arrived.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Pods that were placed.
    #[must_use]
    pub fn placed_pods(&self) -> u64 {
        self.placed
    }

    /// GPU allocated now, percent of the capacity.
    #[must_use]
    pub fn alloc_pct(&self) -> f64 {
        if self.capacity_milli == 0 {
            return 0.0;
        }
        100.0 * self.allocated_milli as f64 / self.capacity_milli as f64
    }
}
