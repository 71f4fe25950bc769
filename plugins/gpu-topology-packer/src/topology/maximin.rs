//! The set with the fastest slowest link that does the least damage.

use std::cmp::Reverse;

use super::{Choice, GPUS_MAX, Links, bits, comes_first, each_set, has_clique};

/// What is left is worth most as sets of four: half a machine of eight, and the
/// largest full NVLink mesh of the hybrid cube.
const CLIQUE: usize = 4;

const UNKNOWN: i32 = -1;

/// Quads left, pairs left, links inside, NUMA nodes touched.
type Key = (i32, i32, i32, Reverse<usize>);

/// Values of what is left, each computed once a mask.
struct Left<'a> {
    links: &'a Links,
    near: [u16; GPUS_MAX],
    cliques: Vec<i32>,
    pairs: Vec<i32>,
}

impl Links {
    pub(super) fn best_maximin(&self, free: u16, count: usize) -> Option<Choice> {
        let class = self.reach(free, count);
        let mut candidates = Vec::new();
        each_set(free, 0, count, &mut |set| {
            if count == 1 || self.uniform || self.slowest(set) == class {
                candidates.push(set);
            }
        });
        // Behind a switch nothing is left worse than before: no tables.
        let size = if self.uniform { 0 } else { 1 << self.gpus };
        let mut left = Left {
            links: self,
            near: self.neighbours(|class| class >= 100),
            cliques: vec![UNKNOWN; size],
            pairs: vec![UNKNOWN; size],
        };
        let mut best: Option<(Key, u16)> = None;
        for set in candidates {
            let rest = free & !set;
            let damage = if self.uniform {
                (0, 0)
            } else {
                (left.cliques(rest), left.pairs(rest))
            };
            let key: Key = (damage.0, damage.1, self.sum(set), Reverse(self.spans(set)));
            let better = match best {
                None => true,
                Some((k, s)) => key > k || (key == k && comes_first(set, s)),
            };
            if better {
                best = Some((key, set));
            }
        }
        best.map(|(_, set)| self.choice(set))
    }

    /// NUMA nodes a set touches.
    fn spans(&self, set: u16) -> usize {
        let mut seen: Vec<i32> = Vec::with_capacity(GPUS_MAX);
        for device in bits(set) {
            if !seen.contains(&self.numa[device]) {
                seen.push(self.numa[device]);
            }
        }
        seen.len()
    }
}

impl Left<'_> {
    /// Most disjoint sets of four with NVLink between all of them.
    fn cliques(&mut self, mask: u16) -> i32 {
        if !has_clique(&self.near, mask, CLIQUE) {
            return 0;
        }
        let known = self.cliques[usize::from(mask)];
        if known != UNKNOWN {
            return known;
        }
        let most = mask.count_ones() as i32 / CLIQUE as i32;
        let low = mask & mask.wrapping_neg();
        let others = mask & !low & self.near[low.trailing_zeros() as usize];
        let mut sets = Vec::new();
        each_set(others, low, CLIQUE - 1, &mut |set| sets.push(set));
        let mut best = 0;
        for set in sets {
            // Full meshes meet the bound at once, so the search stays short.
            if best == most {
                break;
            }
            if has_clique(&self.near, set, CLIQUE) {
                best = best.max(1 + self.cliques(mask & !set));
            }
        }
        if best < most {
            best = best.max(self.cliques(mask & !low));
        }
        self.cliques[usize::from(mask)] = best;
        best
    }

    /// Best sum of links over splits into pairs; one device may stay alone.
    fn pairs(&mut self, mask: u16) -> i32 {
        if mask.count_ones() < 2 {
            return 0;
        }
        let known = self.pairs[usize::from(mask)];
        if known != UNKNOWN {
            return known;
        }
        let low = mask.trailing_zeros() as usize;
        let rest = mask & (mask - 1);
        let mut best = if mask.count_ones() % 2 == 1 {
            self.pairs(rest)
        } else {
            0
        };
        for other in bits(rest) {
            best = best.max(self.links.link[low][other] + self.pairs(rest & !(1 << other)));
        }
        self.pairs[usize::from(mask)] = best;
        best
    }
}
