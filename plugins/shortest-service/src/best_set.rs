//! The heads that fill the quota and finish fastest.
//!
//! Going down a list and skipping what does not fit leaves GPUs idle that
//! another choice would fill. Here the choice is a knapsack: a job is worth the
//! inverse of its run time, the rate at which it turns GPUs into finished jobs.

use std::collections::BTreeMap;

use loadmaster_sdk::admission::Cycle;

use crate::work::{GPU, Work};

/// Units of capacity, each the largest amount that divides all demands. Above,
/// one gang is so small against the whole that skipping loses next to nothing,
/// and the cost would grow with the square.
const UNITS_MAX: usize = 512;

/// Indices of the chosen heads. None where heads differ in priority or in who
/// pays, because then the best set for one is not the best for all.
pub(crate) fn choose(cycle: &Cycle, works: &[Work]) -> Vec<usize> {
    let Some(first) = cycle.heads.first() else {
        return Vec::new();
    };
    let alike = |h: &_| {
        let h: &loadmaster_sdk::admission::Head = h;
        h.node == first.node && h.priority == first.priority
    };
    let node = cycle.nodes.get(first.node as usize);
    let line = node.and_then(|n| n.lines.iter().find(|l| l.resource == GPU));
    let Some(line) = line.filter(|_| cycle.heads.iter().all(alike)) else {
        return Vec::new();
    };
    let capacity = line.nominal.saturating_sub(line.used);
    let mut classes: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (at, work) in works.iter().enumerate() {
        if (1..=capacity).contains(&work.gpu_milli) {
            classes.entry(work.gpu_milli).or_default().push(at);
        }
    }
    let unit = classes.keys().fold(0, |a, b| divisor(a, *b));
    if unit == 0 || capacity / unit > UNITS_MAX as i64 {
        return Vec::new();
    }
    let units = (capacity / unit) as usize;
    let classes: Vec<(usize, Vec<usize>)> = classes
        .into_iter()
        .map(|(milli, mut members)| {
            let size = (milli / unit) as usize;
            members.sort_by_key(|at| {
                let head = &cycle.heads[*at];
                (works[*at].runtime_ms, head.created, &head.job)
            });
            // More than fit will not be chosen.
            members.truncate(units / size);
            (size, members)
        })
        .collect();
    let taken = fill(&classes, units, works);
    let chosen = std::iter::zip(&classes, taken);
    chosen.flat_map(|((_, m), n)| m[..n].to_vec()).collect()
}

/// How many of each class to take, best first: a knapsack whose items come in
/// classes of one size.
fn fill(classes: &[(usize, Vec<usize>)], units: usize, works: &[Work]) -> Vec<usize> {
    let mut best = vec![0.0_f64; units + 1];
    let mut counts = Vec::with_capacity(classes.len());
    for (size, members) in classes {
        let mut better = best.clone();
        let mut taken = vec![0; units + 1];
        let mut rate = 0.0;
        for (more, at) in members.iter().enumerate() {
            rate += 1.0 / works[*at].runtime_ms as f64;
            for room in (more + 1) * size..=units {
                let value = best[room - (more + 1) * size] + rate;
                if value > better[room] {
                    better[room] = value;
                    taken[room] = more + 1;
                }
            }
        }
        best = better;
        counts.push(taken);
    }
    let mut room = units;
    let mut answer = vec![0; classes.len()];
    for at in (0..classes.len()).rev() {
        answer[at] = counts[at][room];
        room -= answer[at] * classes[at].0;
    }
    answer
}

fn divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { divisor(b, a % b) }
}
