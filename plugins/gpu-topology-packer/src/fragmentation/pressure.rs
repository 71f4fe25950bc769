//! How much picky shapes depend on a class of nodes: demand share over capacity share, summed over
//! the shapes that only part of the cluster can host and this class can.

use super::{NodeShape, ONE, Request, Row, Shape};

/// Largest pressure of one shape and of one node.
const PRESSURE_MAX: i64 = 64 * ONE;

/// A shape that only some nodes can host.
#[derive(Clone, Copy, Debug)]
struct Picky {
    request: Request,
    pressure: i64,
}

/// Model, healthy devices, CPU and memory capacity.
type Class = (u8, u32, i64, i64);

/// The pressure on every class of nodes.
#[derive(Clone, Debug)]
pub(super) struct Pressures {
    picky: Vec<Picky>,
    /// The classes of the context, ascending.
    known: Vec<(Class, i64)>,
}

impl Pressures {
    /// `demand` is the GPU milli of all shapes.
    pub(super) fn new(shapes: &[Shape], demand: i64, nodes: &[NodeShape]) -> Self {
        let capacity = |n: &NodeShape| i64::from(n.gpus) * n.nodes;
        let all: i64 = nodes.iter().map(capacity).sum();
        let pressure = |s: &Shape| {
            let r = s.request;
            let hosts = |n: &&NodeShape| {
                r.accepts(n.model) && r.gpus <= n.gpus && r.cpu <= n.cpu && r.memory <= n.memory
            };
            let host: i64 = nodes.iter().filter(hosts).map(capacity).sum();
            // Nothing if all can host it, or none.
            if host == 0 || host >= all {
                return 0;
            }
            // Share of the demand per share of the GPUs that can serve it.
            let share = r.gpu_total() * s.weight * ONE / demand;
            (share * all / host).min(PRESSURE_MAX)
        };
        let picky = shapes
            .iter()
            .filter(|s| s.weight > 0 && s.request.gpus > 0 && s.request.gpu_milli > 0)
            .map(|s| Picky {
                request: s.request,
                pressure: pressure(s),
            })
            .filter(|p| p.pressure != 0)
            .collect();
        let mut pressures = Self {
            picky,
            known: Vec::new(),
        };
        let class = |n: &NodeShape| (n.model & 63, n.gpus, n.cpu, n.memory);
        if !pressures.picky.is_empty() {
            let mut known: Vec<_> = nodes.iter().map(class).collect();
            known.sort_unstable();
            known.dedup();
            pressures.known = known.into_iter().map(|c| (c, pressures.sum(c))).collect();
        }
        pressures
    }

    /// The pressure on a node with this many healthy devices, times [`ONE`].
    pub(super) fn of(&self, row: &Row<'_>, gpus: u32) -> i64 {
        if self.picky.is_empty() {
            return 0;
        }
        let class = (row.model & 63, gpus, row.cpu_capacity, row.memory_capacity);
        match self.known.binary_search_by(|(known, _)| known.cmp(&class)) {
            Ok(found) => self.known[found].1,
            // A node with a broken device is of no class.
            Err(_) => self.sum(class),
        }
    }

    fn sum(&self, (model, gpus, cpu, memory): Class) -> i64 {
        let hosted = |p: &&Picky| {
            let r = p.request;
            r.accepts(model) && r.gpus <= gpus && r.cpu <= cpu && r.memory <= memory
        };
        let sum: i64 = self.picky.iter().filter(hosted).map(|p| p.pressure).sum();
        sum.min(PRESSURE_MAX)
    }
}
