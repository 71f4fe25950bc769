//! The split of all free devices that is best as a whole.

use super::{Choice, Links, bits, comes_first, each_set};

/// The best split and the set taken from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The set taken.
    pub choice: Choice,
    /// Sum over all sets of the split.
    pub total: i32,
}

/// One split being searched, over the free devices renumbered from 0.
struct Search {
    count: usize,
    required: u16,
    /// Sum of links inside each mask.
    sums: Vec<i32>,
    /// Best total of each mask that still has to be split, or [`UNKNOWN`].
    best: Vec<i32>,
}

const UNKNOWN: i32 = -1;
/// No legal split. Totals are at most 120 pairs × 10 000, so this never overflows.
const IMPOSSIBLE: i32 = i32::MIN / 4;

impl Links {
    /// The best split of `free` into sets of `count`, one of which (the last may
    /// be short) holds all `required` devices; ties go to the split that comes
    /// first in the order of the upstream enumeration.
    #[must_use]
    pub fn best_partition(&self, free: u16, required: u16, count: usize) -> Option<Partition> {
        let free = free & self.all();
        let devices: Vec<usize> = bits(free).collect();
        if count == 0
            || devices.len() < count
            || required & !free != 0
            || required.count_ones() > count as u32
        {
            return None;
        }
        let wanted = |device: &usize| required >> device & 1 == 1;
        let required = devices
            .iter()
            .enumerate()
            .filter(|(_, device)| wanted(device))
            .fold(0, |mask, (i, _)| mask | 1 << i);
        let mut search = Search {
            count,
            required,
            sums: self.sums(&devices),
            best: vec![UNKNOWN; 1 << devices.len()],
        };
        let all = search.best.len() - 1;
        let total = search.total(all as u16);
        if total < 0 {
            return None;
        }
        let set = search.best_set(all as u16);
        let original = bits(set).fold(0, |mask, i| mask | 1 << devices[i]);
        Some(Partition {
            choice: self.choice(original),
            total,
        })
    }

    /// Sum of links inside every mask over these devices.
    fn sums(&self, devices: &[usize]) -> Vec<i32> {
        let mut sums = vec![0; 1 << devices.len()];
        for mask in 1..sums.len() {
            let low = mask.trailing_zeros() as usize;
            let rest = mask & (mask - 1);
            let to_low = bits(rest as u16).map(|i| self.link[devices[low]][devices[i]]);
            sums[mask] = sums[rest] + to_low.sum::<i32>();
        }
        sums
    }
}

impl Search {
    /// Whether the split may contain this set.
    fn legal(&self, set: u16) -> bool {
        match set & self.required {
            0 => true,
            held => held == self.required && set.count_ones() as usize == self.count,
        }
    }

    /// Sets for the lowest device of what is left, in the upstream order: full
    /// ones, and the short one as long as it is still to come.
    fn each_first_set(&self, left: u16, visit: &mut impl FnMut(u16)) {
        let low = left & left.wrapping_neg();
        each_set(left & !low, low, self.count - 1, visit);
        let short = left.count_ones() as usize % self.count;
        if short > 0 {
            each_set(left & !low, low, short - 1, visit);
        }
    }

    fn total(&mut self, left: u16) -> i32 {
        if left == 0 {
            return 0;
        }
        let known = self.best[usize::from(left)];
        if known != UNKNOWN {
            return known;
        }
        let mut sets = Vec::new();
        self.each_first_set(left, &mut |set| sets.push(set));
        let mut best = IMPOSSIBLE;
        for set in sets {
            if self.legal(set) {
                best = best.max(self.sums[usize::from(set)] + self.total(left & !set));
            }
        }
        // A total below zero means impossible, at any depth.
        let best = if best < 0 { IMPOSSIBLE } else { best };
        self.best[usize::from(left)] = best;
        best
    }

    /// Walks the first best split and returns its best full set.
    fn best_set(&mut self, all: u16) -> u16 {
        let mut left = all;
        let mut taken = 0;
        let mut taken_sum = -1;
        while left != 0 {
            let total = self.total(left);
            let mut sets = Vec::new();
            self.each_first_set(left, &mut |set| sets.push(set));
            let mut first: Option<u16> = None;
            for set in sets {
                let sum = self.sums[usize::from(set)];
                if self.legal(set)
                    && sum + self.total(left & !set) == total
                    && first.is_none_or(|f| comes_first(set, f))
                {
                    first = Some(set);
                }
            }
            let Some(set) = first else { break };
            let sum = self.sums[usize::from(set)];
            let full = set.count_ones() as usize == self.count;
            if full && set & self.required == self.required && sum > taken_sum {
                (taken, taken_sum) = (set, sum);
            }
            left &= !set;
        }
        taken
    }
}
