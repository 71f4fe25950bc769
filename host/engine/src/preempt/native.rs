//! The native answer: default, fallback and oracle.
//!
//! For one pod it is kube-scheduler's DefaultPreemption: on each node take
//! everybody of lower importance off, place the pod, let them back in by
//! importance, and pick the node whose victims matter least. Budgets are hard
//! here. For a gang the same is done domain by domain. It never moves work.

use std::collections::{BTreeMap, BTreeSet};

use crate::builtin::gang::{self, GangPlace, RoleWish, Wish};
use crate::engine::Engine;
use crate::filter::{Filter, MatchMemo};
use crate::nodes::slots_of;
use crate::port::preemption::{Action, MAY_KILL, NONE, Placement, Plan, Victim};
use crate::whatif::WhatIf;

use super::request::{Asked, eligible};
use super::unit::Unit;

/// Domains looked at for one gang: beyond it the rest is not tried, smallest and
/// first by name are.
const DOMAINS_MAX: usize = 1_024;

/// How much a set of victims matters, smaller is better: highest priority, sum
/// of priorities (each above zero), number, and how long the most important has
/// run (newest first).
type Importance = (i64, i64, i64, i64);

/// Victims by what leaves together, with where they are.
struct Yielding<'a> {
    asked: &'a Asked,
    /// Victim ids of each unit; a group is one unit.
    units: Vec<Vec<u32>>,
    /// Units with a member on the row, by row of the request.
    on_row: BTreeMap<u32, Vec<usize>>,
}

impl<'a> Yielding<'a> {
    fn new(asked: &'a Asked) -> Self {
        let running = &asked.running;
        let mut units: Vec<Vec<u32>> = asked.groups.clone();
        for id in &running.id {
            if running.group[*id as usize] == NONE {
                units.push(vec![*id]);
            }
        }
        units.retain(|ids| {
            let kill = |id: &u32| running.allowed[*id as usize] & MAY_KILL != 0;
            !ids.is_empty() && ids.iter().all(kill)
        });
        let mut on_row: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (unit, ids) in units.iter().enumerate() {
            let rows: BTreeSet<u32> = ids
                .iter()
                .map(|id| running.row[*id as usize])
                .filter(|row| *row != NONE)
                .collect();
            for row in rows {
                on_row.entry(row).or_default().push(unit);
            }
        }
        Self {
            asked,
            units,
            on_row,
        }
    }

    /// Most important first.
    fn by_importance(&self, units: &mut [usize]) {
        let running = &self.asked.running;
        units.sort_by_key(|u| {
            let ids = &self.units[*u];
            let priority = ids.iter().map(|id| running.priority[*id as usize]).max();
            let started = ids.iter().map(|id| running.started[*id as usize]).min();
            (std::cmp::Reverse(priority), started, ids[0])
        });
    }

    fn importance(&self, units: &[usize]) -> Importance {
        let running = &self.asked.running;
        let ids = || units.iter().flat_map(|u| self.units[*u].iter());
        let priority = |id: &u32| i64::from(running.priority[*id as usize]);
        let highest = ids().map(priority).max().unwrap_or(i64::MIN);
        let sum = ids().map(|id| priority(id) + (1 << 31)).sum();
        let top = ids().filter(|id| priority(id) == highest);
        let earliest = top.map(|id| running.started[*id as usize]).min();
        let newest_first = -(earliest.unwrap_or(0) as i64);
        (highest, sum, ids().count() as i64, newest_first)
    }

    fn within_budgets(&self, units: &[usize]) -> bool {
        let mut spent = vec![0u32; self.asked.budgets.len()];
        for id in units.iter().flat_map(|u| self.units[*u].iter()) {
            let budget = self.asked.running.budget[*id as usize];
            if budget != NONE {
                spent[budget as usize] += 1;
            }
        }
        let budgets = self.asked.budgets.iter();
        budgets.zip(spent).all(|(b, spent)| spent <= b.allowed)
    }
}

fn wishes(unit: &Unit) -> Vec<RoleWish> {
    let roles = unit.roles.iter();
    roles
        .map(|r| RoleWish {
            class: r.class,
            min: r.min,
            count: r.slots.len() as u32,
        })
        .collect()
}

fn wish<'a>(
    unit: &Unit,
    asked: &'a Asked,
    roles: &'a [RoleWish],
    eligible: &'a [Vec<bool>],
) -> Wish<'a> {
    Wish {
        roles,
        constraint: unit.constraint,
        level: unit.level,
        slice: unit.slice,
        rows: &asked.rows,
        eligible,
    }
}

fn placements(places: &[GangPlace]) -> Vec<Placement> {
    let places = places.iter();
    places
        .map(|p| Placement {
            role: p.role as u32,
            row: p.index,
            slots: slots_of(p.devices).map(|s| s as u32).collect(),
        })
        .collect()
}

impl Engine {
    /// The built-in's plan, checked like any other by the caller.
    pub(crate) fn native_plan(&self, unit: &Unit, asked: &Asked) -> Option<Plan> {
        if asked.action == Action::Consolidate {
            return asked
                .running
                .is_empty()
                .then(|| self.native_placement(unit, asked))
                .flatten();
        }
        let yielding = Yielding::new(asked);
        if unit.gang {
            self.native_gang(unit, asked, &yielding)
        } else {
            self.native_pod(unit, asked, &yielding)
        }
    }

    fn native_pod(&self, unit: &Unit, asked: &Asked, yielding: &Yielding<'_>) -> Option<Plan> {
        let class = unit.roles.first()?.class;
        let filter = Filter::new(&self.nodes, &self.classes, class);
        let mut memo = MatchMemo::default();
        let mut state = WhatIf::new(&self.nodes, &self.classes);
        let mut best: Option<(Importance, u32, u16, Vec<usize>)> = None;
        for (index, row) in asked.rows.iter().enumerate() {
            let index = index as u32;
            let units = match yielding.on_row.get(&index) {
                Some(units) => units.as_slice(),
                // Quota may be short where room is not.
                None if asked.action == Action::Reclaim => &[],
                None => continue,
            };
            if !eligible(&filter, &mut memo, *row) {
                continue;
            }
            let mark = state.mark();
            let found = self.native_row(class, *row, units, yielding, &mut state);
            state.rollback(mark);
            if let Some((devices, victims)) = found
                && yielding.within_budgets(&victims)
            {
                let importance = yielding.importance(&victims);
                if best.as_ref().is_none_or(|b| importance < b.0) {
                    best = Some((importance, index, devices, victims));
                }
            }
        }
        let (importance, row, devices, victims) = best?;
        let placement = Placement {
            role: 0,
            row,
            slots: slots_of(devices).map(|s| s as u32).collect(),
        };
        Some(self.plan_of(asked, yielding, 0, &victims, vec![placement], importance))
    }

    /// Victims on one row, and the devices that the pod then takes.
    fn native_row(
        &self,
        class: u32,
        row: u32,
        units: &[usize],
        yielding: &Yielding<'_>,
        state: &mut WhatIf<'_>,
    ) -> Option<(u16, Vec<usize>)> {
        self.take_off(units, yielding, state);
        if !state.fits(class, row) {
            return None;
        }
        // The pod itself is placed last: who can stay is decided by whether it
        // still fits, on whichever devices.
        let fits = |state: &WhatIf<'_>| state.fits(class, row);
        let victims = self.let_back(units, yielding, state, &fits);
        Some((state.try_place(class, row)?, victims))
    }

    fn take_off(&self, units: &[usize], yielding: &Yielding<'_>, state: &mut WhatIf<'_>) {
        for id in units.iter().flat_map(|u| &yielding.units[*u]) {
            let pod = self.pods.get(yielding.asked.slots[*id as usize]);
            if let Some(at) = &pod.at {
                state.take_off(&pod.spec.requests, at);
            }
        }
    }

    /// Units that cannot be let back in, tried by importance; those that would
    /// break a budget first, as kube-scheduler does.
    fn let_back(
        &self,
        units: &[usize],
        yielding: &Yielding<'_>,
        state: &mut WhatIf<'_>,
        still: &dyn Fn(&WhatIf<'_>) -> bool,
    ) -> Vec<usize> {
        let mut order = units.to_vec();
        yielding.by_importance(&mut order);
        let mut left: Vec<u32> = yielding.asked.budgets.iter().map(|b| b.allowed).collect();
        let mut violates = |unit: &usize| {
            yielding.units[*unit].iter().any(|id| {
                let budget = yielding.asked.running.budget[*id as usize];
                if budget == NONE {
                    return false;
                }
                let left = &mut left[budget as usize];
                let none = *left == 0;
                *left = left.saturating_sub(1);
                none
            })
        };
        let (violating, others): (Vec<usize>, Vec<usize>) =
            order.into_iter().partition(|u| violates(u));
        let mut victims = Vec::new();
        for unit in violating.into_iter().chain(others) {
            let mark = state.mark();
            let back = yielding.units[unit].iter().all(|id| {
                let pod = self.pods.get(yielding.asked.slots[*id as usize]);
                pod.at
                    .as_ref()
                    .is_some_and(|at| state.put_back(&pod.spec.requests, at))
            });
            if !back || !still(state) {
                state.rollback(mark);
                victims.push(unit);
            }
        }
        victims
    }

    /// Places for a gang with nobody disturbed.
    fn native_placement(&self, unit: &Unit, asked: &Asked) -> Option<Plan> {
        let eligible = self.eligibility(unit, asked);
        let roles = wishes(unit);
        let wish = wish(unit, asked, &roles, &eligible);
        let mut state = WhatIf::new(&self.nodes, &self.classes);
        let (domain, places) = gang::place(&mut state, &wish, &asked.domains)?;
        if places.is_empty() {
            return None;
        }
        Some(Plan {
            domain: domain as u32,
            placements: placements(&places),
            ..Plan::default()
        })
    }

    /// For each role, whether it may run on the row, whatever runs there.
    fn eligibility(&self, unit: &Unit, asked: &Asked) -> Vec<Vec<bool>> {
        let mut memo = MatchMemo::default();
        let roles = unit.roles.iter();
        roles
            .map(|role| {
                let filter = Filter::new(&self.nodes, &self.classes, role.class);
                let rows = asked.rows.iter();
                rows.map(|row| eligible(&filter, &mut memo, *row)).collect()
            })
            .collect()
    }

    fn native_gang(&self, unit: &Unit, asked: &Asked, yielding: &Yielding<'_>) -> Option<Plan> {
        let eligible = self.eligibility(unit, asked);
        let mut roles = wishes(unit);
        // Nobody leaves for members that the gang can start without.
        for role in &mut roles {
            role.count = role.min;
        }
        let wish = wish(unit, asked, &roles, &eligible);
        let mut steps = gang::SEARCH_STEPS_MAX;
        let mut state = WhatIf::new(&self.nodes, &self.classes);
        let mut best: Option<(Importance, usize, Vec<usize>, Vec<Placement>)> = None;
        for (index, domain) in asked.domains.iter().enumerate().take(DOMAINS_MAX) {
            let units: BTreeSet<usize> = domain
                .rows
                .iter()
                .filter_map(|row| yielding.on_row.get(row))
                .flatten()
                .copied()
                .collect();
            if units.is_empty() {
                continue;
            }
            let units: Vec<usize> = units.into_iter().collect();
            let mark = state.mark();
            self.take_off(&units, yielding, &mut state);
            let placed = gang::place_in(&mut state, &wish, &domain.rows, &mut steps);
            let found = placed.map(|p| {
                (
                    self.let_back(&units, yielding, &mut state, &|_| true),
                    placements(&p),
                )
            });
            state.rollback(mark);
            let Some((victims, placements)) = found else {
                continue;
            };
            let importance = yielding.importance(&victims);
            if yielding.within_budgets(&victims) && best.as_ref().is_none_or(|b| importance < b.0) {
                best = Some((importance, index, victims, placements));
            }
        }
        let (importance, domain, victims, placements) = best?;
        let domain = domain as u32;
        Some(self.plan_of(asked, yielding, domain, &victims, placements, importance))
    }

    fn plan_of(
        &self,
        asked: &Asked,
        yielding: &Yielding<'_>,
        domain: u32,
        units: &[usize],
        placements: Vec<Placement>,
        importance: Importance,
    ) -> Plan {
        let reason = match asked.action {
            Action::Reclaim => "runs on lent quota",
            Action::Consolidate | Action::Preempt => "lower priority",
        };
        let ids = units.iter().flat_map(|u| &yielding.units[*u]);
        Plan {
            domain,
            victims: ids
                .map(|id| Victim {
                    id: *id,
                    grace: asked.running.grace[*id as usize],
                    reason: reason.to_owned(),
                })
                .collect(),
            moves: Vec::new(),
            placements,
            cost: vec![importance.0, importance.1, importance.2, importance.3],
            hold: 0,
        }
    }
}
