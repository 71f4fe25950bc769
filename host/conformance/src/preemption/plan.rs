//! Whether a plan could be carried out, by the columns of its question alone: a
//! policy knows no more, and a host that knows more is only stricter.

use std::collections::{BTreeMap, BTreeSet};

use engine::port::PodRow;
use engine::port::preemption::{Constraint, MAY_KILL, MAY_MOVE, NONE, Plan};

use super::question::{Amounts, Gpu, Question};
use crate::law::Law;

/// A free device, milli-GPU.
const WHOLE: i32 = 1_000;

/// A law with what broke it, or nothing.
pub(super) type Checked = (Law, Result<(), String>);

type Test<'q> = fn(&Look<'q>) -> Result<(), String>;

/// The laws of a plan in an order in which each relies on those before it; the
/// first that is broken ends the look.
pub(super) fn check<'q>(q: &'q Question, slots: u32, plan: &'q Plan) -> Vec<Checked> {
    let look = Look::new(q, slots, plan);
    let laws: [(Law, Test<'q>); 7] = [
        (Law::Victims, Look::victims),
        (Law::Groups, Look::groups),
        (Law::Disruptions, Look::disruptions),
        (Law::Placements, Look::placements),
        (Law::DeviceHealth, Look::device_health),
        (Law::Room, |look| look.room(&look.gone)),
        (Law::MinimalVictims, Look::minimal),
    ];
    let mut checked = Vec::new();
    for (law, check) in laws {
        let result = check(&look);
        let broken = result.is_err();
        checked.push((law, result));
        if broken {
            break;
        }
    }
    checked
}

struct Look<'q> {
    q: &'q Question,
    slots: u32,
    plan: &'q Plan,
    /// Index in the columns, by id.
    at: BTreeMap<u32, usize>,
    /// Indices of all that leave or move.
    gone: BTreeSet<usize>,
}

/// What has to have room on one row.
#[derive(Default)]
struct Load {
    needs: Amounts,
    /// Slot, milli-GPU and MiB on it.
    devices: Vec<(u32, i32, i32)>,
}

impl Load {
    fn add(&mut self, needs: [i32; 4], slots: &[u32], milli: i32, memory: i32) {
        for (sum, need) in self.needs.iter_mut().zip(needs) {
            *sum += i64::from(need);
        }
        self.devices
            .extend(slots.iter().map(|s| (*s, milli, memory)));
    }
}

impl<'q> Look<'q> {
    fn new(q: &'q Question, slots: u32, plan: &'q Plan) -> Self {
        let ids = q.running.id.iter().enumerate();
        let at: BTreeMap<u32, usize> = ids.map(|(i, id)| (*id, i)).collect();
        let ids = plan.victims.iter().map(|v| v.id);
        let ids = ids.chain(plan.moves.iter().map(|m| m.id));
        let gone = ids.filter_map(|id| at.get(&id).copied()).collect();
        Self {
            q,
            slots,
            plan,
            at,
            gone,
        }
    }

    fn victims(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        let victims = self
            .plan
            .victims
            .iter()
            .map(|v| (v.id, MAY_KILL, "stopped"));
        let moves = self.plan.moves.iter().map(|m| (m.id, MAY_MOVE, "moved"));
        for (id, bit, verb) in victims.chain(moves) {
            let Some(at) = self.at.get(&id) else {
                return Err(format!("victim {id} does not exist"));
            };
            if self.q.running.allowed[*at] & bit == 0 {
                return Err(format!("victim {id} may not be {verb}"));
            }
            if !seen.insert(id) {
                return Err(format!("victim {id} is named twice"));
            }
        }
        Ok(())
    }

    fn groups(&self) -> Result<(), String> {
        let group = &self.q.running.group;
        let stopped: BTreeSet<u32> = self.plan.victims.iter().map(|v| v.id).collect();
        let touched: BTreeSet<u32> = self.gone.iter().map(|i| group[*i]).collect();
        for wanted in touched.into_iter().filter(|g| *g != NONE) {
            let members = (0..group.len()).filter(|i| group[*i] == wanted);
            let kinds: BTreeSet<(bool, bool)> = members
                .map(|i| {
                    let stops = stopped.contains(&self.q.running.id[i]);
                    (self.gone.contains(&i), stops)
                })
                .collect();
            if kinds.len() > 1 {
                return Err(format!("only a part of group {wanted} would leave"));
            }
        }
        Ok(())
    }

    fn disruptions(&self) -> Result<(), String> {
        for (i, budget) in self.q.budgets.iter().enumerate() {
            let of = |v: &&usize| self.q.running.budget[**v] == i as u32;
            let spent = self.gone.iter().filter(of).count();
            if spent > budget.allowed as usize {
                return Err(format!(
                    "budget {} allows {} disruptions, the plan has {spent}",
                    budget.name, budget.allowed
                ));
            }
        }
        Ok(())
    }

    fn placements(&self) -> Result<(), String> {
        let q = self.q;
        let Some(domain) = q.domains.get(self.plan.domain as usize) else {
            return Err(format!("domain {} does not exist", self.plan.domain));
        };
        if q.preemptor.constraint == Constraint::Required && domain.level > q.preemptor.level {
            return Err(format!(
                "domain {} is wider than the required level",
                domain.name
            ));
        }
        let mut placed = vec![0u32; q.preemptor.demands.len()];
        for p in &self.plan.placements {
            let Some(demand) = q.preemptor.demands.get(p.role as usize) else {
                return Err(format!("role {} does not exist", p.role));
            };
            if !domain.rows.contains(&p.row) {
                return Err(format!("row {} is not in domain {}", p.row, domain.name));
            }
            self.devices(&p.slots, demand.pod.gpu_count)?;
            let model = q.rows[p.row as usize].model;
            let wanted = demand.pod.gpu_models;
            if wanted != 0 && demand.pod.gpu_count > 0 && (model < 0 || wanted & 1 << model == 0) {
                return Err(format!("row {} has devices of another model", p.row));
            }
            placed[p.role as usize] += 1;
        }
        for m in &self.plan.moves {
            if m.row as usize >= q.rows.len() {
                return Err(format!("row {} does not exist", m.row));
            }
            let held = q.running.gpu_slots[self.at[&m.id]].count_ones();
            self.devices(&m.slots, held)?;
        }
        for (demand, placed) in q.preemptor.demands.iter().zip(placed) {
            if placed < demand.min || placed > demand.count {
                return Err(format!(
                    "{placed} pods of {:?} placed, allowed are {} to {}",
                    demand.role, demand.min, demand.count
                ));
            }
        }
        match self.plan.placements.is_empty() {
            true => Err("a plan that places nothing".to_owned()),
            false => Ok(()),
        }
    }

    fn devices(&self, slots: &[u32], wanted: u32) -> Result<(), String> {
        if slots.len() != wanted as usize {
            return Err(format!("{} devices instead of {wanted}", slots.len()));
        }
        for (i, slot) in slots.iter().enumerate() {
            if *slot >= self.slots || slots[..i].contains(slot) {
                return Err(format!("device {slot} twice, or not there"));
            }
        }
        Ok(())
    }

    fn device_health(&self) -> Result<(), String> {
        let placed = self.plan.placements.iter().map(|p| (p.row, &p.slots));
        let moved = self.plan.moves.iter().map(|m| (m.row, &m.slots));
        for (row, slots) in placed.chain(moved) {
            let gpus = &self.q.rows[row as usize].gpus;
            if let Some(slot) = slots.iter().find(|s| gpus[**s as usize].milli < 0) {
                return Err(format!("device {slot} of row {row} is absent or broken"));
            }
        }
        Ok(())
    }

    /// Whether everything placed has room once these have left.
    fn room(&self, gone: &BTreeSet<usize>) -> Result<(), String> {
        for (row, load) in self.loads() {
            let state = &self.q.rows[row as usize];
            let (mut free, mut gpus) = (state.free, state.gpus.clone());
            for v in gone.iter().filter(|v| self.q.running.row[**v] == row) {
                free[0] += i64::from(self.q.running.cpu[*v]);
                free[1] += i64::from(self.q.running.memory[*v]);
                for (slot, gpu) in gpus.iter_mut().enumerate() {
                    if self.q.running.gpu_slots[*v] >> slot & 1 == 1 && gpu.milli >= 0 {
                        gpu.milli = (gpu.milli + self.q.running.gpu_milli[*v]).min(WHOLE);
                    }
                }
            }
            self.empty_devices(state.model, &mut gpus);
            let names = ["cpu", "memory", "disk", "network"];
            for ((free, need), name) in free.iter().zip(load.needs).zip(names) {
                // What nobody asks for may be short for other reasons.
                if need > 0 && need > *free {
                    return Err(format!("row {row}: {need} {name} needed, {free} free"));
                }
            }
            for (slot, milli, memory) in load.devices {
                let gpu = &mut gpus[slot as usize];
                if gpu.milli < milli || gpu.memory < memory {
                    return Err(format!(
                        "row {row}: device {slot} has {} milli and {} MiB, {milli} and {memory} needed",
                        gpu.milli, gpu.memory
                    ));
                }
                gpu.milli -= milli;
                gpu.memory -= memory;
            }
        }
        Ok(())
    }

    /// How much memory a share used is not told: an empty device has all of its
    /// own, and with neighbours left nothing is assumed.
    fn empty_devices(&self, model: i32, gpus: &mut [Gpu]) {
        let models = &self.q.context.gpu_models;
        let Some(model) = models.get(model as usize).filter(|_| model >= 0) else {
            return;
        };
        for gpu in gpus.iter_mut().filter(|g| g.milli == WHOLE) {
            gpu.memory = gpu.memory.max(model.memory);
        }
    }

    /// By row: the preemptor's pods, and those that move there.
    fn loads(&self) -> BTreeMap<u32, Load> {
        let mut loads: BTreeMap<u32, Load> = BTreeMap::new();
        for p in &self.plan.placements {
            let pod: &PodRow = &self.q.preemptor.demands[p.role as usize].pod;
            loads.entry(p.row).or_default().add(
                [pod.cpu, pod.memory, pod.disk, pod.network],
                &p.slots,
                pod.gpu_milli as i32,
                pod.gpu_memory,
            );
        }
        for m in &self.plan.moves {
            let (v, r) = (self.at[&m.id], &self.q.running);
            let needs = [r.cpu[v], r.memory[v], 0, 0];
            let load = loads.entry(m.row).or_default();
            load.add(needs, &m.slots, r.gpu_milli[v], 0);
        }
        loads
    }

    /// Nobody who is stopped could have stayed, alone or with its group.
    fn minimal(&self) -> Result<(), String> {
        let mut units: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
        for v in &self.plan.victims {
            let at = self.at[&v.id];
            let key = match self.q.running.group[at] {
                NONE => (NONE, v.id),
                group => (group, 0),
            };
            units.entry(key).or_default().push(at);
        }
        for members in units.values() {
            let mut without = self.gone.clone();
            members.iter().for_each(|m| {
                without.remove(m);
            });
            if self.room(&without).is_ok() {
                return Err(format!(
                    "victim {} could have stayed",
                    self.q.running.id[members[0]]
                ));
            }
        }
        Ok(())
    }
}
