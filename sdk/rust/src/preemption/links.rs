//! Which whole devices of one node go together.

use crate::scoring::{DeviceSet, Wiring};

/// Device sets that are compared exactly for one choice: all sets of 4 out of 16.
/// Beyond that devices join one by one, best link first.
const SETS_MAX: u64 = 1_820;

/// The `count` devices among the usable ones with the fastest slowest link, then
/// the largest sum of links, then the lowest slots.
pub(super) fn best_linked(wiring: Option<&Wiring>, usable: u64, count: u32) -> u64 {
    let lowest = || DeviceSet::from_mask(usable).iter().take(count as usize);
    let lowest_mask = || lowest().fold(0u64, |mask, slot| mask | 1 << slot);
    let Some(wiring) = wiring.filter(|w| w.links.len() == (w.gpus * w.gpus) as usize) else {
        return lowest_mask();
    };
    let first = wiring.links.get(1).copied().unwrap_or(0);
    let n = wiring.gpus as usize;
    let uniform = (0..n * n).all(|i| i / n == i % n || wiring.links[i] == first);
    if uniform || usable >> n.min(63) > 1 || count < 2 {
        return lowest_mask();
    }
    let link = |a: u32, b: u32| wiring.links[a as usize * n + b as usize];
    let value = |set: u64| {
        let (mut slowest, mut sum) = (i32::MAX, 0);
        for a in DeviceSet::from_mask(set).iter() {
            for b in DeviceSet::from_mask(set & !((2u64 << a) - 1)).iter() {
                let l = link(a, b);
                // A pair with NVLink never uses its PCIe path.
                slowest = slowest.min(if l >= 100 { l / 100 * 100 } else { l });
                sum += l;
            }
        }
        (slowest, sum)
    };
    let slots: Vec<u32> = DeviceSet::from_mask(usable).iter().collect();
    if sets(slots.len() as u64, u64::from(count)) > SETS_MAX {
        return join_best(&slots, count, value);
    }
    let mut best = None;
    each_set(&slots, count as usize, 0, &mut |set| {
        let v = value(set);
        if best.is_none_or(|(b, _)| v > b) {
            best = Some((v, set));
        }
    });
    best.map_or_else(lowest_mask, |(_, set)| set)
}

/// Starts from each device, adds the best one until there are enough, and keeps
/// the best result.
fn join_best(slots: &[u32], count: u32, value: impl Fn(u64) -> (i32, i32)) -> u64 {
    let grow = |start: u32| {
        let mut set = 1u64 << start;
        while set.count_ones() < count {
            let others = slots.iter().filter(|s| set >> **s & 1 == 0);
            let best = others.rev().max_by_key(|s| value(set | 1 << **s));
            let Some(best) = best else { break };
            set |= 1 << best;
        }
        set
    };
    let grown = slots.iter().rev().map(|s| grow(*s));
    grown.max_by_key(|set| value(*set)).unwrap_or(0)
}

/// `n` over `k`, at most a little above [`SETS_MAX`].
fn sets(n: u64, k: u64) -> u64 {
    let k = k.min(n.saturating_sub(k));
    let mut sets = 1;
    for i in 0..k {
        sets = sets * (n - i) / (i + 1);
        if sets > SETS_MAX {
            break;
        }
    }
    sets
}

/// Sets of `count` slots, lowest slots first.
fn each_set(slots: &[u32], count: usize, set: u64, f: &mut impl FnMut(u64)) {
    if count == 0 {
        return f(set);
    }
    for i in 0..slots.len().saturating_sub(count - 1) {
        each_set(&slots[i + 1..], count - 1, set | 1 << slots[i], f);
    }
}
