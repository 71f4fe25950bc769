//! A plan is somebody's opinion until this has looked at it: everything it names
//! exists and may be touched, groups are whole, budgets suffice, and then
//! everything fits. What turns out not to be needed is left alone.

use std::collections::{BTreeMap, BTreeSet};

use model::PolicyFault;

use crate::engine::Engine;
use crate::filter::{Filter, MatchMemo};
use crate::nodes::SLOTS;
use crate::pods::{Allocation, PerDevice};
use crate::port::preemption::{Constraint, MAY_KILL, MAY_MOVE, NONE, Plan};
use crate::whatif::WhatIf;

use super::request::{Asked, eligible};
use super::unit::Unit;

/// A plan that can be carried out as it is.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    /// Level and name.
    pub(crate) domain: (u32, String),
    /// Slot, grace in ms, reason.
    pub(crate) victims: Vec<(u32, u32, String)>,
    pub(crate) moves: Vec<(u32, Allocation)>,
    pub(crate) placements: Vec<(u32, Allocation)>,
    pub(crate) cost: Vec<i64>,
    pub(crate) hold_ms: u64,
}

impl Checked {
    /// Pods that are disturbed.
    pub(crate) fn disrupted(&self) -> u32 {
        (self.victims.len() + self.moves.len()) as u32
    }
}

/// Why a plan is not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The contract forbids it.
    Fault(PolicyFault),
    /// The policy could not know better.
    Cannot(String),
}

/// Longest reason of a victim that is kept, bytes.
const REASON_BYTES_MAX: usize = 200;

fn bad(detail: String) -> Refused {
    Refused::Fault(PolicyFault::BadAnswer { detail })
}

impl Engine {
    /// Checks a plan against the question it answers.
    pub(crate) fn check_plan(
        &self,
        unit: &Unit,
        asked: &Asked,
        plan: &Plan,
    ) -> Result<Checked, Refused> {
        let domain = asked
            .domains
            .get(plan.domain as usize)
            .ok_or_else(|| bad(format!("domain {} does not exist", plan.domain)))?;
        if unit.constraint == Constraint::Required && domain.level > unit.level {
            return Err(bad(format!(
                "domain {} is wider than the required level {}",
                domain.name, unit.level
            )));
        }
        let victims = check_victims(asked, plan)?;
        check_groups(asked, plan, &victims)?;
        check_budgets(asked, plan)?;
        let mut state = WhatIf::new(&self.nodes, &self.classes);
        for id in victims
            .iter()
            .copied()
            .chain(plan.moves.iter().map(|m| m.id))
        {
            let pod = self.pods.get(asked.slots[id as usize]);
            if let Some(at) = &pod.at {
                state.take_off(&pod.spec.requests, at);
            }
        }
        let moves = self.check_moves(asked, plan, &mut state)?;
        let placements = self.check_placements(unit, asked, plan, &mut state)?;
        let kept = self.reprieve(asked, &victims, &mut state);
        let victims = plan.victims.iter().filter(|v| !kept.contains(&v.id));
        let victims = victims.map(|v| {
            let slot = asked.slots[v.id as usize];
            let grace = v.grace.min(self.pods.get(slot).terms.grace_ms);
            (slot, grace, cut(&v.reason))
        });
        Ok(Checked {
            domain: (domain.level, domain.name.clone()),
            victims: victims.collect(),
            moves,
            placements,
            cost: plan.cost.iter().copied().take(8).collect(),
            hold_ms: plan.hold.min(u64::from(model::disruption::GRACE_MAX_MS)),
        })
    }

    fn check_moves(
        &self,
        asked: &Asked,
        plan: &Plan,
        state: &mut WhatIf<'_>,
    ) -> Result<Vec<(u32, Allocation)>, Refused> {
        let mut memo = MatchMemo::default();
        let mut moves = Vec::with_capacity(plan.moves.len());
        for m in &plan.moves {
            let slot = asked.slots[m.id as usize];
            let row = row_of(asked, m.row)?;
            let devices = mask_of(&m.slots)?;
            let pod = self.pods.get(slot);
            let gang = pod.gang.as_deref().and_then(|g| self.pods.jobs.get(g));
            if gang.is_some_and(|j| j.spec.gang.as_ref().is_some_and(|g| g.topology.is_some())) {
                // The question does not say where its members must be.
                let text = format!("{} belongs to a gang with a topology", pod.name);
                return Err(Refused::Cannot(text));
            }
            let class = pod.class;
            let filter = Filter::new(&self.nodes, &self.classes, class);
            if !eligible(&filter, &mut memo, row) {
                // Selector and taints of running work are not in the question.
                let pod = &self.pods.get(slot).name;
                let node = &self.nodes.names[row as usize];
                return Err(Refused::Cannot(format!("{pod} may not run on {node}")));
            }
            if !state.place_on(class, row, devices) {
                return Err(bad(format!("the move of {} does not fit", m.id)));
            }
            moves.push((slot, self.allocation_of(state, class, row, devices)));
        }
        Ok(moves)
    }

    fn check_placements(
        &self,
        unit: &Unit,
        asked: &Asked,
        plan: &Plan,
        state: &mut WhatIf<'_>,
    ) -> Result<Vec<(u32, Allocation)>, Refused> {
        let inside: BTreeSet<u32> = asked.domains[plan.domain as usize]
            .rows
            .iter()
            .copied()
            .collect();
        let mut memo = MatchMemo::default();
        let mut next = vec![0usize; unit.roles.len()];
        let mut placements = Vec::with_capacity(plan.placements.len());
        for p in &plan.placements {
            let role = unit
                .roles
                .get(p.role as usize)
                .ok_or_else(|| bad(format!("role {} does not exist", p.role)))?;
            let slot = *role
                .slots
                .get(next[p.role as usize])
                .ok_or_else(|| bad(format!("more pods of {} than wanted", role.name)))?;
            next[p.role as usize] += 1;
            let pod = self.pods.get(slot);
            if pod.at.is_some() || pod.next.is_some() {
                return Err(Refused::Cannot(format!("{} has a place already", pod.name)));
            }
            let row = row_of(asked, p.row)?;
            if !inside.contains(&p.row) {
                return Err(bad(format!("row {} is outside the domain", p.row)));
            }
            let devices = mask_of(&p.slots)?;
            let filter = Filter::new(&self.nodes, &self.classes, role.class);
            if !eligible(&filter, &mut memo, row) {
                return Err(bad(format!("{} may not run on row {}", role.name, p.row)));
            }
            if !state.place_on(role.class, row, devices) {
                return Err(bad(format!(
                    "{} does not fit on row {} with devices {:?}",
                    role.name, p.row, p.slots
                )));
            }
            placements.push((slot, self.allocation_of(state, role.class, row, devices)));
        }
        for (role, placed) in unit.roles.iter().zip(next) {
            if (placed as u32) < role.min {
                return Err(bad(format!(
                    "{placed} pods of {} placed, at least {} needed",
                    role.name, role.min
                )));
            }
        }
        if placements.is_empty() {
            return Err(bad("a plan that places nothing".to_owned()));
        }
        Ok(placements)
    }

    /// Victims that can stay after all, whole groups only: the most important
    /// first, as kube-scheduler reprieves.
    fn reprieve(&self, asked: &Asked, victims: &[u32], state: &mut WhatIf<'_>) -> BTreeSet<u32> {
        let mut units: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut singles = Vec::new();
        for id in victims {
            match asked.running.group[*id as usize] {
                NONE => singles.push(vec![*id]),
                group => units.entry(group).or_default().push(*id),
            }
        }
        let mut units: Vec<Vec<u32>> = units.into_values().chain(singles).collect();
        units.sort_by_key(|ids| {
            let first = ids[0] as usize;
            let (priority, started) = (asked.running.priority[first], asked.running.started[first]);
            (std::cmp::Reverse(priority), started, ids[0])
        });
        let mut kept = BTreeSet::new();
        for ids in units {
            let mark = state.mark();
            let back = ids.iter().all(|id| {
                let pod = self.pods.get(asked.slots[*id as usize]);
                pod.at
                    .as_ref()
                    .is_some_and(|at| state.put_back(&pod.spec.requests, at))
            });
            if back {
                kept.extend(ids);
            } else {
                state.rollback(mark);
            }
        }
        kept
    }

    /// A place on exactly these devices, as it is charged.
    pub(crate) fn allocation_of(
        &self,
        state: &WhatIf<'_>,
        class: u32,
        row: u32,
        devices: u16,
    ) -> Allocation {
        Allocation {
            row,
            devices,
            per_device: PerDevice::from(state.per_device(class, row, devices)),
            since_ms: self.now_ms,
            decision: 0,
        }
    }
}

fn check_victims(asked: &Asked, plan: &Plan) -> Result<Vec<u32>, Refused> {
    let mut seen = BTreeSet::new();
    let mut may = |id: u32, bit: u8, verb: &str| {
        let Some(allowed) = asked.running.allowed.get(id as usize) else {
            return Err(bad(format!("victim {id} does not exist")));
        };
        if allowed & bit == 0 {
            return Err(bad(format!("victim {id} may not be {verb}")));
        }
        if !seen.insert(id) {
            return Err(bad(format!("victim {id} is named twice")));
        }
        Ok(())
    };
    for v in &plan.victims {
        may(v.id, MAY_KILL, "stopped")?;
    }
    for m in &plan.moves {
        may(m.id, MAY_MOVE, "moved")?;
    }
    Ok(plan.victims.iter().map(|v| v.id).collect())
}

fn check_groups(asked: &Asked, plan: &Plan, victims: &[u32]) -> Result<(), Refused> {
    let taken: BTreeSet<u32> = victims.iter().copied().collect();
    let moved: BTreeSet<u32> = plan.moves.iter().map(|m| m.id).collect();
    let groups: BTreeSet<u32> = taken
        .iter()
        .chain(&moved)
        .map(|id| asked.running.group[*id as usize])
        .filter(|g| *g != NONE)
        .collect();
    for group in groups {
        let members = &asked.groups[group as usize];
        let whole = |set: &BTreeSet<u32>| members.iter().all(|m| set.contains(m));
        if !whole(&taken) && !whole(&moved) {
            return Err(bad(format!("only a part of group {group} would leave")));
        }
    }
    Ok(())
}

fn check_budgets(asked: &Asked, plan: &Plan) -> Result<(), Refused> {
    let mut spent = vec![0u32; asked.budgets.len()];
    let ids = plan.victims.iter().map(|v| v.id);
    for id in ids.chain(plan.moves.iter().map(|m| m.id)) {
        let budget = asked.running.budget[id as usize];
        if budget != NONE {
            spent[budget as usize] += 1;
        }
    }
    for (budget, spent) in asked.budgets.iter().zip(spent) {
        if spent > budget.allowed {
            return Err(bad(format!(
                "budget {} allows {} disruptions, the plan has {spent}",
                budget.name, budget.allowed
            )));
        }
    }
    Ok(())
}

fn row_of(asked: &Asked, row: u32) -> Result<u32, Refused> {
    let found = asked.rows.get(row as usize).copied();
    found.ok_or_else(|| bad(format!("row {row} does not exist")))
}

fn mask_of(slots: &[u32]) -> Result<u16, Refused> {
    let mut mask = 0u16;
    for slot in slots {
        if *slot >= SLOTS as u32 || mask & (1 << slot) != 0 {
            return Err(bad(format!("device {slot} twice, or not there")));
        }
        mask |= 1 << slot;
    }
    Ok(mask)
}

fn cut(reason: &str) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
