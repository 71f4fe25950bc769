//! The cheapest victims for one pod, over all rows.
//!
//! Each row that could beat the best so far is tried greedily; then the rows that
//! still could are searched completely, within a counted number of steps.

use std::cmp::Reverse;

use loadmaster_sdk::preemption::{Cluster, Pod, Taken, Units};

use crate::bound::Bound;

/// What a set of victims costs, compared from the left: disruptions charged to
/// budgets, highest priority, work lost, how many, and how many of them belong to
/// nobody over its share.
pub(crate) type Key = (u32, i32, i64, u32, u32);

/// Victims on one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) row: u32,
    pub(crate) units: Vec<u32>,
    pub(crate) key: Key,
}

/// One pod's look at all rows.
pub(crate) struct Scan<'s, 'a> {
    pub(crate) cluster: &'s mut Cluster<'a>,
    pub(crate) units: &'s Units,
    pub(crate) pod: &'s Pod,
    pub(crate) taken: Taken<'a>,
    /// Charge by milli-GPU moved and not by work lost.
    pub(crate) moving: bool,
    /// Whether the complete search ended at its limit.
    pub(crate) stopped: bool,
    bound: Bound,
    list: Vec<u32>,
}

impl<'s, 'a> Scan<'s, 'a> {
    /// Budgets count from what is taken already.
    pub(crate) fn new(
        cluster: &'s mut Cluster<'a>,
        units: &'s Units,
        pod: &'s Pod,
        taken: Taken<'a>,
        moving: bool,
    ) -> Self {
        Self {
            cluster,
            units,
            pod,
            taken,
            moving,
            stopped: false,
            bound: Bound::default(),
            list: Vec::new(),
        }
    }

    /// The cheapest victims on any of these rows. The first row wins ties.
    pub(crate) fn cheapest(&mut self, rows: &[u32], mut steps: u64) -> Option<Found> {
        let mut best: Option<Found> = None;
        for &row in rows {
            if self.can_beat(row, best.as_ref()) {
                let found = self.greedy(row, best.as_ref().map(|b| b.key));
                if found.as_ref().is_some_and(|f| is_better(f, best.as_ref())) {
                    best = found;
                }
            }
        }
        if steps == 0 {
            return best;
        }
        for &row in rows {
            if !self.stopped && self.can_beat(row, best.as_ref()) {
                self.exact(row, &mut best, &mut steps);
            }
        }
        best
    }

    /// The cheapest victims found greedily on each row, cheapest row first.
    pub(crate) fn each(&mut self, rows: &[u32]) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        for &row in rows {
            if self.can_beat(row, None) {
                found.extend(self.greedy(row, None));
            }
        }
        // Stable: rows come by id.
        found.sort_by_key(|f| f.key);
        found
    }

    fn loss(&self, unit: u32) -> i64 {
        let unit = self.units.unit(unit);
        if self.moving { unit.milli } else { unit.loss }
    }

    pub(crate) fn key(&self, units: &[u32]) -> Key {
        units.iter().fold((0, i32::MIN, 0, 0, 0), |key, u| {
            let unit = self.units.unit(*u);
            (
                key.0 + unit.budgeted,
                key.1.max(self.priority(*u)),
                i64::saturating_add(key.2, self.loss(*u)),
                key.3 + unit.victims,
                key.4 + u32::from(!unit.over_share),
            )
        })
    }

    /// Who moves keeps running, so its priority is nothing to spare.
    fn priority(&self, unit: u32) -> i32 {
        if self.moving {
            0
        } else {
            self.units.unit(unit).priority
        }
    }

    fn can_beat(&mut self, row: u32, best: Option<&Found>) -> bool {
        let limit = best.map(|b| b.key);
        let units = self.units;
        self.list.clear();
        for &unit in units.on_row(row as usize) {
            let gone = self.cluster.is_gone(units.members(unit)[0] as usize);
            let dear = limit.is_some_and(|key| {
                units.unit(unit).budgeted > key.0 || (key.0 == 0 && self.priority(unit) > key.1)
            });
            if !gone && !dear {
                self.list.push(unit);
            }
        }
        if self.list.is_empty() {
            return false;
        }
        let of = |unit: u32| {
            let unit = units.unit(unit);
            if self.moving { unit.milli } else { unit.loss }
        };
        let Some((loss, victims)) =
            self.bound
                .least(self.cluster, units, self.pod, row, &self.list, of)
        else {
            return false;
        };
        // With budgets in use, fewer of them may be worth any loss.
        limit
            .is_none_or(|key| key.0 > 0 || self.lower(row, key) || (loss, victims) < (key.2, key.3))
    }

    /// Whether some of the listed units have a lower priority than the best set:
    /// a set of those alone would win whatever it loses.
    fn lower(&mut self, row: u32, key: Key) -> bool {
        let units = self.units;
        let mut list = std::mem::take(&mut self.list);
        list.retain(|u| self.priority(*u) < key.1);
        let possible = !list.is_empty()
            && self
                .bound
                .least(self.cluster, units, self.pod, row, &list, |_| 0)
                .is_some();
        self.list = list;
        possible
    }

    /// Takes the least important until the pod fits, then lets those stay who
    /// can. The state is as before.
    pub(crate) fn greedy(&mut self, row: u32, best: Option<Key>) -> Option<Found> {
        let mark = self.cluster.fork();
        let mut list = self.alive(row);
        list.sort_unstable_by_key(|u| {
            let unit = self.units.unit(*u);
            (
                unit.budgeted,
                self.priority(*u),
                !unit.over_share,
                self.loss(*u),
                unit.victims,
                *u,
            )
        });
        let at = row as usize;
        let mut picked: Vec<u32> = Vec::with_capacity(list.len());
        let mut fits = false;
        for unit in list {
            let budgeted = self.units.unit(unit).budgeted;
            let too_dear = best
                .is_some_and(|key| budgeted > key.0 || (key.0 == 0 && self.priority(unit) > key.1));
            if too_dear {
                break;
            }
            self.units.evict(unit, self.cluster, &mut self.taken);
            picked.push(unit);
            fits = self.cluster.fits(self.pod, at);
            if fits {
                break;
            }
        }
        if fits {
            // Budgets are counted after this and not while taking: who overdraws
            // one may turn out not to be needed.
            for i in (0..picked.len()).rev() {
                self.units.restore(picked[i], self.cluster, &mut self.taken);
                if self.cluster.fits(self.pod, at) {
                    picked.remove(i);
                } else {
                    self.units.evict(picked[i], self.cluster, &mut self.taken);
                }
            }
        }
        let legal = fits && self.taken.over() == 0;
        for unit in &picked {
            self.units.refund(*unit, &mut self.taken);
        }
        self.cluster.rollback(mark);
        let key = self.key(&picked);
        picked.sort_unstable();
        legal.then_some(Found {
            row,
            units: picked,
            key,
        })
    }

    fn alive(&self, row: u32) -> Vec<u32> {
        let mut list = self.units.on_row(row as usize).to_vec();
        list.retain(|u| !self.cluster.is_gone(self.units.members(*u)[0] as usize));
        list
    }

    /// Every set of the row's units, cut off where it cannot become the best.
    fn exact(&mut self, row: u32, best: &mut Option<Found>, steps: &mut u64) {
        let mark = self.cluster.fork();
        let mut list = self.alive(row);
        list.sort_unstable_by_key(|u| Reverse((self.loss(*u), *u)));
        self.search(row, &mut list, &mut Vec::new(), best, steps);
        self.cluster.rollback(mark);
    }

    fn search(
        &mut self,
        row: u32,
        rest: &mut Vec<u32>,
        chosen: &mut Vec<u32>,
        best: &mut Option<Found>,
        steps: &mut u64,
    ) {
        let key = self.key(chosen);
        let cut = best.as_ref().is_some_and(|b| key >= b.key) && !chosen.is_empty();
        if cut || self.taken.over() > 0 {
            return;
        }
        if *steps == 0 {
            self.stopped = true;
            return;
        }
        *steps -= 1;
        if !chosen.is_empty() && self.cluster.fits(self.pod, row as usize) {
            let mut units = chosen.clone();
            units.sort_unstable();
            *best = Some(Found { row, units, key });
            return;
        }
        // The cheapest is last.
        let Some(unit) = rest.pop() else { return };
        let mark = self.cluster.fork();
        self.units.evict(unit, self.cluster, &mut self.taken);
        chosen.push(unit);
        self.search(row, rest, chosen, best, steps);
        chosen.pop();
        self.units.refund(unit, &mut self.taken);
        self.cluster.rollback(mark);
        self.search(row, rest, chosen, best, steps);
        rest.push(unit);
    }
}

fn is_better(found: &Found, best: Option<&Found>) -> bool {
    best.is_none_or(|b| found.key < b.key)
}
