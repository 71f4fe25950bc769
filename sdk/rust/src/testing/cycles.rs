//! Generated quota cycles: trees and heads that reach every rule, small enough
//! for a slow oracle.

use crate::admission::{Cycle, Head, Mode, QuotaDemand, QuotaLine, QuotaNode};

/// A small generator of numbers (xorshift), the same everywhere.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// From a seed; 0 is as good as any.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        rng.next();
        rng.next();
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    /// A number from 0 up to, without, `end`.
    ///
    /// # Panics
    /// If `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// An amount from 0 to `max`.
    pub fn amount(&mut self, max: i64) -> i64 {
        self.below(max as usize + 1) as i64
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Shuffles.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// How large a generated cycle is.
#[derive(Debug, Clone, Copy)]
pub struct CycleSize {
    /// Quota nodes, at least 1.
    pub nodes: usize,
    /// Resources, up to 3.
    pub resources: usize,
    /// Heads.
    pub heads: usize,
}

const RESOURCES: [&str; 3] = ["cpu", "gpu", "memory"];

/// A generated cycle: several cohorts with limits, tiers and weights, nodes
/// without lines, usage that respects nothing (quotas change while work runs),
/// and heads on inner nodes too.
#[must_use]
pub fn sample_cycle(rng: &mut Seeded, size: CycleSize) -> Cycle {
    let nodes: Vec<QuotaNode> = (0..size.nodes).map(|i| node(rng, i, size)).collect();
    let heads = (0..size.heads).map(|i| head(rng, i, size)).collect();
    let mut cycle = Cycle {
        now: 1_000_000,
        mode: Mode::Normal,
        nodes,
        heads,
    };
    settle(&mut cycle.nodes);
    cycle
}

fn node(rng: &mut Seeded, index: usize, size: CycleSize) -> QuotaNode {
    // A tight cluster is full; a loose one is where borrowing happens.
    let load = rng.amount(12);
    let lines = RESOURCES[..size.resources].iter().filter_map(|resource| {
        if rng.one_in(8) {
            return None;
        }
        let limit = |rng: &mut Seeded| (rng.one_in(3)).then(|| rng.amount(6));
        Some(QuotaLine {
            resource: (*resource).to_owned(),
            nominal: rng.amount(10),
            used: rng.amount(load),
            borrowing_limit: limit(rng),
            lending_limit: limit(rng),
        })
    });
    let lines = lines.collect();
    QuotaNode {
        name: format!("node-{index}"),
        parent: (index > 0 && !rng.one_in(12)).then(|| rng.below(index) as u32),
        weight: [0, 200, 1_000, 1_000, 3_000][rng.below(5)],
        tier: if rng.one_in(4) { "critical" } else { "flex" }.to_owned(),
        lines,
    }
}

/// Makes `used` what it is by contract, the usage of the whole subtree: what
/// was drawn is taken as the node's own.
fn settle(nodes: &mut [QuotaNode]) {
    let mut below = vec![[0i64; RESOURCES.len()]; nodes.len()];
    for i in (0..nodes.len()).rev() {
        let parent = nodes[i].parent;
        for (r, resource) in RESOURCES.iter().enumerate() {
            let line = nodes[i].lines.iter_mut().find(|l| l.resource == *resource);
            if let Some(line) = line {
                line.used += below[i][r];
                below[i][r] = line.used;
            }
            if let Some(parent) = parent {
                below[parent as usize][r] += below[i][r];
            }
        }
    }
}

fn head(rng: &mut Seeded, index: usize, size: CycleSize) -> Head {
    let mut demand = Vec::new();
    let mut min_demand = Vec::new();
    for resource in &RESOURCES[..size.resources] {
        if rng.one_in(4) {
            continue;
        }
        let amount = rng.amount(8);
        let min = if rng.one_in(3) {
            rng.amount(amount)
        } else {
            amount
        };
        for (list, amount) in [(&mut demand, amount), (&mut min_demand, min)] {
            list.push(QuotaDemand {
                resource: (*resource).to_owned(),
                amount,
            });
        }
    }
    let created = rng.below(4) as u64 * 1_000;
    let timed = !rng.one_in(3);
    Head {
        job: format!("job-{index}"),
        queue: format!("queue-{index}"),
        node: rng.below(size.nodes) as u32,
        priority: rng.below(3) as i32,
        created,
        waited: 1_000_000 - created,
        attempts: 0,
        deadline: timed.then(|| 999_000 + rng.below(12) as u64 * 1_000),
        expected_runtime: (!rng.one_in(4)).then(|| rng.below(8) as u64 * 1_000),
        attained: 0,
        demand,
        min_demand,
    }
}
