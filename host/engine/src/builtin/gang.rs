//! Native placement of gangs: default, fallback and oracle.
//!
//! As Kueue's topology-aware scheduling: the smallest domain that holds the gang,
//! nearest level first; inside it, from the widest level to the nodes, the
//! smallest child that holds what is left, else the largest one in full. Unlike
//! it, roles share the machines, so that this greedy way can fail where another
//! would not: then rows and devices are searched, within a budget of steps.

use model::gang::{Level, Slice};
use model::quantity::GPU_MILLI;

use crate::nodes::slots_of;
use crate::port::preemption::{Constraint, Domain};
use crate::whatif::WhatIf;

/// Pods that the search may place for one gang before it gives up. One takes
/// about a microsecond, so that a gang that just does not fit costs 20 ms.
pub(crate) const SEARCH_STEPS_MAX: u32 = 20_000;

/// Pods of the largest gang that is searched for: the search recurses once a pod,
/// and its budget would not get anywhere with more.
const SEARCH_PODS_MAX: u32 = 256;

/// Identical pods of a gang.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoleWish {
    pub(crate) class: u32,
    /// Without as many none starts.
    pub(crate) min: u32,
    pub(crate) count: u32,
}

/// What is to be placed, and among which rows.
pub(crate) struct Wish<'a> {
    pub(crate) roles: &'a [RoleWish],
    pub(crate) constraint: Constraint,
    /// Level of the constraint: 0 node, 1 rack, 2 block, 3 zone.
    pub(crate) level: u32,
    pub(crate) slice: Option<Slice>,
    /// Row ids that domains index.
    pub(crate) rows: &'a [u32],
    /// For each role, whether it may run on the row, whatever runs there.
    pub(crate) eligible: &'a [Vec<bool>],
}

/// A pod's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GangPlace {
    pub(crate) role: usize,
    /// Index into [`Wish::rows`].
    pub(crate) index: u32,
    pub(crate) devices: u16,
}

/// A role's rows in one domain.
struct Rows<'a> {
    wish: &'a Wish<'a>,
    role: usize,
    class: u32,
}

impl Wish<'_> {
    /// Place of a row at a level; nodes are places of their own.
    fn place_of(&self, state: &WhatIf<'_>, level: Level, index: u32) -> i64 {
        let row = self.rows[index as usize] as usize;
        match level {
            Level::Node => row as i64,
            Level::Rack => i64::from(state.nodes.rack[row]),
            Level::Block => i64::from(state.nodes.block[row]),
            Level::Zone => i64::from(state.nodes.zone[row]),
        }
    }

    /// Rows by place, in order of place and row.
    fn children(&self, state: &WhatIf<'_>, level: Level, rows: &[u32]) -> Vec<(i64, Vec<u32>)> {
        let mut keyed: Vec<(i64, u32)> = rows
            .iter()
            .map(|i| (self.place_of(state, level, *i), *i))
            .collect();
        keyed.sort_unstable();
        let mut groups: Vec<(i64, Vec<u32>)> = Vec::new();
        for (place, index) in keyed {
            match groups.last_mut() {
                Some((last, rows)) if *last == place => rows.push(index),
                _ => groups.push((place, vec![index])),
            }
        }
        groups
    }

    /// Roles by size of a member, largest first: small ones fit into what is
    /// left over.
    fn order(&self, state: &WhatIf<'_>) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.roles.len()).collect();
        order.sort_by_key(|i| {
            let class = state.classes.get(self.roles[*i].class);
            let r = &class.requests;
            let size = (class.gpu.total_milli(), r.cpu_milli, r.memory_mib);
            (std::cmp::Reverse(size), *i)
        });
        order
    }
}

/// The gang in the best domain: its index and everybody's place. What it takes
/// is charged in `state`.
pub(crate) fn place(
    state: &mut WhatIf<'_>,
    wish: &Wish<'_>,
    domains: &[Domain],
) -> Option<(usize, Vec<GangPlace>)> {
    let mut steps = SEARCH_STEPS_MAX;
    let most: Vec<u32> = wish.roles.iter().map(|r| r.count).collect();
    let least: Vec<u32> = wish.roles.iter().map(|r| r.min).collect();
    let near = |d: &Domain| wish.constraint == Constraint::None || d.level <= wish.level;
    let wide = |d: &Domain| !near(d) && wish.constraint != Constraint::Required;
    let capacity = capacities(state, wish);
    for inside in [&near as &dyn Fn(&Domain) -> bool, &wide] {
        let counts = if most == least {
            vec![&most]
        } else {
            vec![&most, &least]
        };
        for counts in counts {
            for index in fitting(wish, domains, &capacity, counts, inside) {
                let rows = &domains[index].rows;
                if let Some(mut places) = place_counts(state, wish, rows, counts, &mut steps) {
                    if *counts != most {
                        extend(state, wish, rows, &mut places);
                    }
                    // Those it needed may all be done, and nobody else fit here.
                    if !places.is_empty() {
                        return Some((index, places));
                    }
                }
            }
        }
    }
    None
}

/// The gang inside these rows: all of it, or as much as fits beyond the minimum.
pub(crate) fn place_in(
    state: &mut WhatIf<'_>,
    wish: &Wish<'_>,
    rows: &[u32],
    steps: &mut u32,
) -> Option<Vec<GangPlace>> {
    let most: Vec<u32> = wish.roles.iter().map(|r| r.count).collect();
    let least: Vec<u32> = wish.roles.iter().map(|r| r.min).collect();
    if let Some(places) = place_counts(state, wish, rows, &most, steps)
        && !places.is_empty()
    {
        return Some(places);
    }
    if most == least {
        return None;
    }
    let mut places = place_counts(state, wish, rows, &least, steps)?;
    extend(state, wish, rows, &mut places);
    (!places.is_empty()).then_some(places)
}

/// Pods of each role that each row could take alone.
fn capacities(state: &WhatIf<'_>, wish: &Wish<'_>) -> Vec<Vec<u32>> {
    let roles = wish.roles.iter().enumerate();
    roles
        .map(|(role, r)| {
            let rows = Rows {
                wish,
                role,
                class: r.class,
            };
            let all = 0..wish.rows.len() as u32;
            all.map(|index| rows.capacity(state, index)).collect()
        })
        .collect()
}

/// Domains that could hold as many in sum, nearest level first, then smallest.
fn fitting(
    wish: &Wish<'_>,
    domains: &[Domain],
    capacity: &[Vec<u32>],
    counts: &[u32],
    inside: &dyn Fn(&Domain) -> bool,
) -> Vec<usize> {
    let mut list: Vec<(u32, u64, usize)> = Vec::new();
    'domains: for (index, domain) in domains.iter().enumerate() {
        if !inside(domain) {
            continue;
        }
        let mut size = 0;
        for (role, count) in counts.iter().enumerate().take(wish.roles.len()) {
            let rows = domain.rows.iter();
            let fits: u64 = rows.map(|i| u64::from(capacity[role][*i as usize])).sum();
            if fits < u64::from(*count) {
                continue 'domains;
            }
            size += fits;
        }
        list.push((domain.level, size, index));
    }
    list.sort_unstable();
    list.into_iter().map(|(.., index)| index).collect()
}

/// Exactly these counts inside the rows; nothing is charged if they do not fit.
fn place_counts(
    state: &mut WhatIf<'_>,
    wish: &Wish<'_>,
    rows: &[u32],
    counts: &[u32],
    steps: &mut u32,
) -> Option<Vec<GangPlace>> {
    let mark = state.mark();
    let order = wish.order(state);
    let mut places = Vec::new();
    let greedy = order.iter().all(|role| {
        let role_rows = Rows {
            wish,
            role: *role,
            class: wish.roles[*role].class,
        };
        role_rows.distribute(state, rows, counts[*role], &mut places)
    });
    if greedy {
        return Some(places);
    }
    state.rollback(mark);
    if counts.iter().sum::<u32>() > SEARCH_PODS_MAX {
        return None;
    }
    search::search(state, wish, rows, &order, counts, steps)
}

/// Adds members beyond the minimum, whole slices at a time, where they fit.
fn extend(state: &mut WhatIf<'_>, wish: &Wish<'_>, rows: &[u32], places: &mut Vec<GangPlace>) {
    for role in wish.order(state) {
        let r = wish.roles[role];
        let role_rows = Rows {
            wish,
            role,
            class: r.class,
        };
        let fits = role_rows.capacity_of(state, Level::Zone, rows, true);
        let mut more = (r.count - r.min).min(fits);
        if let Some(slice) = wish.slice {
            more -= more % slice.size.max(1);
        }
        let (mark, before) = (state.mark(), places.len());
        if !role_rows.distribute(state, rows, more, places) {
            state.rollback(mark);
            places.truncate(before);
        }
    }
}

impl Rows<'_> {
    fn capacity(&self, state: &WhatIf<'_>, index: u32) -> u32 {
        if self.wish.eligible[self.role][index as usize] {
            state.capacity(self.class, self.wish.rows[index as usize])
        } else {
            0
        }
    }

    /// Pods that fit into the rows, which are a domain of `level` or, with
    /// `wider`, of a wider one; only whole slices count where slices are formed.
    fn capacity_of(&self, state: &WhatIf<'_>, level: Level, rows: &[u32], wider: bool) -> u32 {
        let sum = |rows: &[u32]| -> u32 { rows.iter().map(|i| self.capacity(state, *i)).sum() };
        match self.wish.slice {
            Some(slice) if wider || level >= slice.level => {
                let groups = self.wish.children(state, slice.level, rows);
                let groups = groups.iter().filter(|(place, _)| *place >= 0);
                let whole = |n: u32| n - n % slice.size.max(1);
                groups.map(|(_, rows)| whole(sum(rows))).sum()
            }
            _ => sum(rows),
        }
    }

    /// Puts `count` pods on the rows; `false` if they do not fit.
    fn distribute(
        &self,
        state: &mut WhatIf<'_>,
        rows: &[u32],
        count: u32,
        places: &mut Vec<GangPlace>,
    ) -> bool {
        self.descend(state, Level::Zone, rows, count, places)
    }

    fn descend(
        &self,
        state: &mut WhatIf<'_>,
        level: Level,
        rows: &[u32],
        mut count: u32,
        places: &mut Vec<GangPlace>,
    ) -> bool {
        let groups = self.wish.children(state, level, rows);
        let finer = Level::ALL.get((level as usize).wrapping_sub(1)).copied();
        let sliced = self.wish.slice.is_some_and(|s| s.level == level);
        if let ([(place, _)], Some(finer)) = (groups.as_slice(), finer)
            && (*place >= 0 || !sliced)
        {
            return self.descend(state, finer, rows, count, places);
        }
        let mut children: Vec<(u32, i64, Vec<u32>)> = groups
            .into_iter()
            .filter(|(place, _)| *place >= 0 || !sliced)
            .map(|(place, rows)| (self.capacity_of(state, level, &rows, false), place, rows))
            .filter(|(fits, ..)| *fits > 0)
            .collect();
        // Largest first; places break ties.
        children.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut left = children.as_slice();
        while count > 0 {
            // The last child that still holds all is the smallest that does.
            let holding = left.partition_point(|(fits, ..)| *fits >= count);
            let (take, child) = match (holding, left.first()) {
                (0, None) => return false,
                (0, Some(largest)) => {
                    left = &left[1..];
                    (largest.0, largest)
                }
                (n, _) => {
                    let size = left[n - 1].0;
                    let first = left.partition_point(|(fits, ..)| *fits > size);
                    (count, &left[first])
                }
            };
            count -= take;
            let done = match finer {
                Some(finer) => self.descend(state, finer, &child.2, take, places),
                None => self.fill(state, child.2[0], take, places),
            };
            if !done {
                return false;
            }
        }
        true
    }

    /// Puts `count` pods on one row.
    fn fill(
        &self,
        state: &mut WhatIf<'_>,
        index: u32,
        count: u32,
        places: &mut Vec<GangPlace>,
    ) -> bool {
        (0..count).all(|_| {
            let devices = state.try_place(self.class, self.wish.rows[index as usize]);
            places.extend(devices.map(|devices| GangPlace {
                role: self.role,
                index,
                devices,
            }));
            devices.is_some()
        })
    }
}

/// Devices of a row that make a difference to a pod of the class: one choice for
/// whole devices and none, one a distinct remainder for a share.
fn choices(state: &WhatIf<'_>, class: u32, row: u32) -> Vec<u16> {
    let gpu = &state.classes.get(class).gpu;
    if !state.fits(class, row) {
        return Vec::new();
    }
    let usable = state.usable(class, row);
    if gpu.count == 0 {
        return vec![0];
    }
    if gpu.milli == GPU_MILLI {
        let slots = slots_of(usable).take(gpu.count as usize);
        return vec![slots.fold(0, |mask, s| mask | 1 << s)];
    }
    let mut seen: Vec<((i32, i32), u16)> = Vec::new();
    for s in slots_of(usable) {
        let left = state.device(row, s);
        if seen.iter().all(|(l, _)| *l != left) {
            seen.push((left, 1 << s));
        }
    }
    // Fullest first, as the built-in takes them.
    seen.sort_unstable();
    seen.into_iter().map(|(_, mask)| mask).collect()
}

mod search;
#[cfg(test)]
mod tests;
