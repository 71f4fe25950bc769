//! Who has to go so that a gang fits into one domain.
//!
//! First the lowest priority up to which work must be taken: no choice among
//! victims can do without it. Below that only lost work counts, then heads. Two
//! ways look for a cheap set, a small domain is searched completely, and at the
//! end everybody who can stay, stays.

use std::cmp::Reverse;

use loadmaster_sdk::preemption::{Budget, Cluster, Taken, Units};

use crate::gang::{Effort, Role, Search};
use crate::place::place;
use crate::room::Room;

/// Units up to which every set of them is tried.
const EXACT_UNITS_MAX: usize = 10;

/// Sets tried in one domain: all of [`EXACT_UNITS_MAX`] units and their parts.
/// With more units this is a last resort, where budgets led the other ways astray.
const SETS_MAX: u32 = 1 << (EXACT_UNITS_MAX + 1);

/// Units up to which the second way is tried, which looks at each of them: with
/// several roles a look is a placement of the whole gang.
const RETURN_UNITS_MAX: usize = 512;

/// What a set of victims costs, compared from the left: highest priority, work
/// lost, how many.
pub(crate) type Key = (i32, i64, u32);

/// Everything needed to look into one domain after the other.
pub(crate) struct Hunt<'h, 'a> {
    pub(crate) cluster: &'h mut Cluster<'a>,
    pub(crate) units: &'h Units,
    pub(crate) budgets: &'a [Budget],
    pub(crate) roles: &'h [Role<'a>],
    pub(crate) need: &'h [u32],
    pub(crate) search: &'h mut Search,
    /// Charge by milli-GPU moved and not by work lost.
    pub(crate) moving: bool,
}

/// The state of one domain.
struct Domain<'r, 'a> {
    rows: &'r [u32],
    room: Room,
    taken: Taken<'a>,
}

/// The next units of one row, and how many more members of a role that gives.
#[derive(Debug, Clone)]
struct Step {
    units: Vec<u32>,
    loss: i64,
    victims: u32,
    gain: u64,
}

impl Step {
    /// Whether it costs less for each member gained.
    fn is_better(&self, other: &Self) -> bool {
        let cost = |s: &Self, o: &Self| i128::from(s.loss) * i128::from(o.gain);
        let heads = |s: &Self, o: &Self| u64::from(s.victims) * o.gain;
        (cost(self, other), heads(self, other)) < (cost(other, self), heads(other, self))
    }
}

impl<'a> Hunt<'_, 'a> {
    /// The victims for one domain, ordered by id, and their cost. None if the
    /// gang does not fit even without everybody who may be taken. The cluster is
    /// as before.
    pub(crate) fn victims(&mut self, rows: &[u32]) -> Option<(Vec<u32>, Key)> {
        let mark = self.cluster.fork();
        let clean = Domain {
            rows,
            room: Room::new(self.cluster, self.roles, rows),
            taken: Taken::new(self.budgets),
        };
        let mut mine: Vec<u32> = rows
            .iter()
            .flat_map(|row| self.units.on_row(*row as usize))
            .copied()
            .collect();
        mine.sort_unstable();
        mine.dedup();
        let mut priorities: Vec<i32> = mine.iter().map(|u| self.priority(*u)).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let lowest = priorities.partition_point(|p| !self.fits_without(&clean, &mine, *p));
        let mut found = None;
        for &priority in &priorities[lowest..] {
            let mut among = mine.clone();
            among.retain(|u| self.priority(*u) <= priority);
            found = self.cheapest(&clean, &among);
            self.cluster.rollback(mark);
            if found.is_some() {
                break;
            }
        }
        found
    }

    fn fits_without(&mut self, clean: &Domain<'_, 'a>, mine: &[u32], priority: i32) -> bool {
        let mark = self.cluster.fork();
        let mut domain = self.copy(clean);
        for &unit in mine {
            if self.priority(unit) <= priority {
                self.evict(&mut domain, unit);
            }
        }
        let fits = self.fits(&domain);
        self.cluster.rollback(mark);
        fits
    }

    fn copy<'r>(&self, clean: &Domain<'r, 'a>) -> Domain<'r, 'a> {
        Domain {
            rows: clean.rows,
            room: clean.room.clone(),
            taken: Taken::new(self.budgets),
        }
    }

    fn cheapest(&mut self, clean: &Domain<'_, 'a>, among: &[u32]) -> Option<(Vec<u32>, Key)> {
        let mark = self.cluster.fork();
        let mut best: Option<(Key, Vec<u32>)> = None;
        let mut offer = |found: Option<Vec<u32>>, hunt: &Self| {
            let Some(mut units) = found else { return };
            units.sort_unstable();
            let key = (hunt.key(&units), units);
            if best.as_ref().is_none_or(|b| key < *b) {
                best = Some(key);
            }
        };
        let found = self.by_step(self.copy(clean), among);
        self.cluster.rollback(mark);
        offer(found, self);
        if among.len() <= RETURN_UNITS_MAX {
            let found = self.by_return(self.copy(clean), among);
            self.cluster.rollback(mark);
            offer(found, self);
        }
        let last_resort = best.is_none() && among.len() <= RETURN_UNITS_MAX;
        if among.len() <= EXACT_UNITS_MAX || last_resort {
            let mut domain = self.copy(clean);
            let mut order = among.to_vec();
            order.sort_by_key(|u| (self.loss(*u), *u));
            let mut sets = SETS_MAX;
            self.exact(&mut domain, &order, &mut Vec::new(), &mut best, &mut sets);
            self.cluster.rollback(mark);
        }
        best.map(|(key, units)| (units, key))
    }

    fn loss(&self, unit: u32) -> i64 {
        let unit = self.units.unit(unit);
        if self.moving { unit.milli } else { unit.loss }
    }

    /// Who moves keeps running, so its priority is nothing to spare.
    fn priority(&self, unit: u32) -> i32 {
        if self.moving {
            0
        } else {
            self.units.unit(unit).priority
        }
    }

    fn key(&self, units: &[u32]) -> Key {
        units.iter().fold((i32::MIN, 0, 0), |key, u| {
            let unit = self.units.unit(*u);
            let loss = i64::saturating_add(key.1, self.loss(*u));
            (key.0.max(self.priority(*u)), loss, key.2 + unit.victims)
        })
    }

    // === changes that keep the counts right ===

    fn evict(&mut self, domain: &mut Domain<'_, '_>, unit: u32) {
        self.units.evict(unit, self.cluster, &mut domain.taken);
        self.refresh(domain, unit);
    }

    fn restore(&mut self, domain: &mut Domain<'_, '_>, unit: u32) {
        self.units.restore(unit, self.cluster, &mut domain.taken);
        self.refresh(domain, unit);
    }

    fn refresh(&self, domain: &mut Domain<'_, '_>, unit: u32) {
        for &victim in self.units.members(unit) {
            if let Some(row) = self.cluster.row_of(victim as usize) {
                domain.room.refresh(self.cluster, self.roles, row);
            }
        }
    }

    fn fits(&mut self, domain: &Domain<'_, '_>) -> bool {
        if !domain.room.holds(self.need) {
            return false;
        }
        if self.roles.len() == 1 {
            return true;
        }
        let mark = self.cluster.fork();
        let mut out = Vec::new();
        let fits = place(
            self.cluster,
            self.roles,
            self.need,
            domain.rows,
            (self.search, Effort::Check),
            &mut out,
        );
        self.cluster.rollback(mark);
        fits
    }

    // === three ways to a set ===

    /// Takes, again and again, what gives room for one more member at the lowest
    /// cost a member.
    fn by_step(&mut self, mut domain: Domain<'_, '_>, among: &[u32]) -> Option<Vec<u32>> {
        let mut may = vec![false; self.units.len()];
        among.iter().for_each(|u| may[*u as usize] = true);
        let mut chosen = Vec::new();
        for role in 0..self.roles.len() {
            let rows = domain.rows;
            let mut steps: Vec<Option<Step>> = Vec::with_capacity(rows.len());
            for row in rows {
                steps.push(self.step(&mut domain, &may, role, *row));
            }
            loop {
                let enough = domain.room.total(role) >= u64::from(self.need[role]);
                // The last role goes on until all fit beside each other.
                let last = role + 1 == self.roles.len();
                if enough && (!last || self.fits(&domain)) {
                    break;
                }
                let mut best: Option<&Step> = None;
                for step in steps.iter().flatten() {
                    if best.is_none_or(|b| step.is_better(b)) {
                        best = Some(step);
                    }
                }
                let Some(step) = best.cloned() else {
                    if enough && last {
                        // Room for this role alone is exhausted; others may
                        // still be in each other's way.
                        let rest = among.iter().find(|u| may[**u as usize]).copied()?;
                        self.take(&mut domain, rest, &mut may, &mut chosen);
                        continue;
                    }
                    return None;
                };
                let mut touched = Vec::new();
                for &unit in &step.units {
                    self.take(&mut domain, unit, &mut may, &mut chosen);
                    touched.extend(self.rows_of(unit));
                }
                touched.sort_unstable();
                for (at, row) in rows.iter().enumerate() {
                    if touched.binary_search(row).is_ok() {
                        steps[at] = self.step(&mut domain, &may, role, *row);
                    }
                }
            }
        }
        self.give_back(&mut domain, &mut chosen);
        Some(chosen)
    }

    fn rows_of(&self, unit: u32) -> impl Iterator<Item = u32> {
        let members = self.units.members(unit).iter();
        members.filter_map(|v| self.cluster.row_of(*v as usize).map(|r| r as u32))
    }

    /// Takes a unit for good; one that its budgets do not allow is passed over.
    fn take(
        &mut self,
        domain: &mut Domain<'_, '_>,
        unit: u32,
        may: &mut [bool],
        chosen: &mut Vec<u32>,
    ) {
        may[unit as usize] = false;
        self.evict(domain, unit);
        if domain.taken.over() > 0 {
            self.restore(domain, unit);
        } else {
            chosen.push(unit);
        }
    }

    /// The cheapest units of one row, in order of loss, that make room for one
    /// more member there.
    fn step(
        &mut self,
        domain: &mut Domain<'_, '_>,
        may: &[bool],
        role: usize,
        row: u32,
    ) -> Option<Step> {
        let mark = self.cluster.fork();
        let before = domain.room.at(row as usize, role);
        let total = domain.room.total(role);
        let mut list = self.units.on_row(row as usize).to_vec();
        list.retain(|u| may[*u as usize]);
        list.sort_unstable_by_key(|u| (self.loss(*u), *u));
        let mut picked: Vec<u32> = Vec::new();
        for unit in list {
            self.evict(domain, unit);
            if domain.taken.over() > 0 {
                self.restore(domain, unit);
                continue;
            }
            picked.push(unit);
            if domain.room.at(row as usize, role) > before {
                break;
            }
        }
        let grew = domain.room.at(row as usize, role) > before;
        if grew {
            for at in (0..picked.len().saturating_sub(1)).rev() {
                self.restore(domain, picked[at]);
                if domain.room.at(row as usize, role) > before {
                    picked.remove(at);
                } else {
                    self.evict(domain, picked[at]);
                }
            }
        }
        let gain = domain.room.total(role) - total;
        picked.iter().for_each(|u| self.restore(domain, *u));
        // Nothing has changed; this only shortens the log.
        self.cluster.rollback(mark);
        let (_, loss, victims) = self.key(&picked);
        grew.then_some(Step {
            units: picked,
            loss,
            victims,
            gain,
        })
    }

    /// Takes everybody, then lets those stay that cost most.
    fn by_return(&mut self, mut domain: Domain<'_, '_>, among: &[u32]) -> Option<Vec<u32>> {
        let mut chosen = among.to_vec();
        chosen.iter().for_each(|u| self.evict(&mut domain, *u));
        if domain.taken.over() > 0 {
            let mut first = chosen.clone();
            first.retain(|u| self.units.unit(*u).budgeted > 0);
            self.give_back(&mut domain, &mut first);
            chosen.retain(|u| self.units.unit(*u).budgeted == 0 || first.contains(u));
        }
        if domain.taken.over() > 0 || !self.fits(&domain) {
            return None;
        }
        self.give_back(&mut domain, &mut chosen);
        Some(chosen)
    }

    /// Lets everybody stay who can, the most expensive first. Who had to go once
    /// still has to when more of the others stay, so one pass is enough.
    fn give_back(&mut self, domain: &mut Domain<'_, '_>, chosen: &mut Vec<u32>) {
        let mut order = chosen.clone();
        order.sort_unstable_by_key(|u| {
            let unit = self.units.unit(*u);
            Reverse((self.priority(*u), self.loss(*u), unit.victims, *u))
        });
        for unit in order {
            self.restore(domain, unit);
            if self.fits(domain) {
                chosen.retain(|u| *u != unit);
            } else {
                self.evict(domain, unit);
            }
        }
    }

    /// Every set of a few units, cut off where it cannot become the best.
    fn exact(
        &mut self,
        domain: &mut Domain<'_, '_>,
        rest: &[u32],
        chosen: &mut Vec<u32>,
        best: &mut Option<(Key, Vec<u32>)>,
        sets: &mut u32,
    ) {
        if *sets == 0 {
            self.search.stop();
            return;
        }
        *sets -= 1;
        let key = self.key(chosen);
        if domain.taken.over() > 0 || best.as_ref().is_some_and(|(b, _)| key >= *b) {
            return;
        }
        if self.fits(domain) {
            let mut units = chosen.clone();
            units.sort_unstable();
            *best = Some((key, units));
            return;
        }
        let Some((&unit, rest)) = rest.split_first() else {
            return;
        };
        self.evict(domain, unit);
        chosen.push(unit);
        self.exact(domain, rest, chosen, best, sets);
        chosen.pop();
        self.restore(domain, unit);
        self.exact(domain, rest, chosen, best, sets);
    }
}
