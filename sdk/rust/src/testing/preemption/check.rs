//! What a host checks in a plan, and what trying everything finds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Left, Work, World};
use crate::preemption::{Action, Domain, MAY_KILL, MAY_MOVE, NONE, Plan, SHARE_FULL};
use crate::scoring::Pod;

impl World {
    /// Whether the action may take this work.
    #[must_use]
    pub fn may_take(&self, work: &Work) -> bool {
        let lowest = self.demands.iter().map(|d| d.pod.priority).min();
        let over = self.queues.get(work.owner as usize);
        match self.action {
            Action::Consolidate => work.allowed & MAY_MOVE != 0,
            Action::Preempt => {
                work.allowed & MAY_KILL != 0 && lowest.is_some_and(|p| work.priority < p)
            }
            Action::Reclaim => {
                work.allowed & MAY_KILL != 0
                    && work.owner != self.owner
                    && over.is_some_and(|q| q.share > SHARE_FULL && !q.guaranteed)
            }
        }
    }

    /// What a host checks before it acts.
    ///
    /// # Errors
    /// The first rule that the plan breaks.
    pub fn check(&self, plan: &Plan) -> Result<(), String> {
        let taken: Vec<u32> = plan.victims.iter().map(|v| v.id).collect();
        let moved: Vec<u32> = plan.moves.iter().map(|m| m.id).collect();
        let all: BTreeSet<u32> = taken.iter().chain(&moved).copied().collect();
        if all.len() != taken.len() + moved.len() {
            return Err("somebody is taken twice".to_owned());
        }
        let moves = self.action == Action::Consolidate;
        if !(if moves { &taken } else { &moved }).is_empty() {
            return Err("kills and moves do not belong to one action".to_owned());
        }
        for id in &all {
            match self.work.iter().find(|w| w.id == *id) {
                Some(work) if self.may_take(work) => {}
                _ => return Err(format!("{id} may not be taken")),
            }
        }
        let is_taken = |w: &Work| all.contains(&w.id);
        for work in self.work.iter().filter(|w| is_taken(w) && w.group != NONE) {
            let rest = self
                .work
                .iter()
                .find(|w| w.group == work.group && !is_taken(w));
            if let Some(rest) = rest {
                return Err(format!("{} goes without {} of its group", work.id, rest.id));
            }
        }
        for (b, budget) in self.budgets.iter().enumerate() {
            let used = self
                .work
                .iter()
                .filter(|w| is_taken(w) && w.budget == b as u32);
            if used.count() > budget.allowed as usize {
                return Err(format!("budget {} is overdrawn", budget.name));
            }
        }
        self.check_room(plan, &is_taken)
    }

    fn check_room(&self, plan: &Plan, is_taken: &dyn Fn(&Work) -> bool) -> Result<(), String> {
        let mut left = self.left(|w| !is_taken(w));
        let domains = self.domains();
        let Some(domain) = domains.get(plan.domain as usize) else {
            return Err("no such domain".to_owned());
        };
        let mut placed = vec![0; self.demands.len()];
        for p in &plan.placements {
            let pod = &self.demands[p.role as usize].pod;
            placed[p.role as usize] += 1;
            if !domain.rows.contains(&p.row) {
                return Err(format!("row {} is not in {}", p.row, domain.name));
            }
            if p.slots.len() != pod.gpu_count as usize {
                return Err(format!("{:?} are not {} devices", p.slots, pod.gpu_count));
            }
            subtract(
                &mut left,
                p.row,
                pod.cpu,
                pod.memory,
                &p.slots,
                pod.gpu_milli as i32,
            );
        }
        for m in &plan.moves {
            let work = self.work.iter().find(|w| w.id == m.id);
            let work = work.ok_or("no such work")?;
            if m.slots.len() != work.slots.count_ones() as usize {
                return Err(format!("{} moves to {:?}", m.id, m.slots));
            }
            subtract(
                &mut left,
                m.row,
                work.cpu,
                work.memory,
                &m.slots,
                work.milli,
            );
        }
        for (row, left) in left.iter().enumerate() {
            if left.cpu < 0 || left.memory < 0 || left.gpus.iter().any(|g| *g < 0) {
                return Err(format!("row {row} is overfull: {left:?}"));
            }
        }
        for (demand, placed) in self.demands.iter().zip(placed) {
            if placed < demand.min || placed > demand.count {
                return Err(format!("{placed} of {} placed", demand.role));
            }
        }
        Ok(())
    }

    /// Whether the least that is demanded fits into a domain once this work is
    /// gone. Tries everything; for small worlds.
    #[must_use]
    pub fn fits_in(&self, domain: &Domain, gone: &BTreeSet<u32>) -> bool {
        let left = self.left(|w| !gone.contains(&w.id));
        let rows = domain.rows.iter();
        let mut left: Vec<Left> = rows.map(|r| left[*r as usize].clone()).collect();
        let pods: Vec<&Pod> = self
            .demands
            .iter()
            .flat_map(|d| std::iter::repeat_n(&d.pod, d.min as usize))
            .collect();
        place_all(&pods, &mut left, &mut BTreeSet::new())
    }

    /// Work that is taken together, by smallest id.
    #[must_use]
    pub fn units(&self) -> Vec<BTreeSet<u32>> {
        let mut units: BTreeMap<(u32, u32), BTreeSet<u32>> = BTreeMap::new();
        for work in &self.work {
            let own = if work.group == NONE { work.id } else { NONE };
            units.entry((work.group, own)).or_default().insert(work.id);
        }
        let mut units: Vec<_> = units.into_values().collect();
        units.retain(|unit| {
            let members = self.work.iter().filter(|w| unit.contains(&w.id));
            members.into_iter().all(|w| self.may_take(w))
        });
        units.sort();
        units
    }

    /// Checks that nobody in the plan could have stayed: without any one unit of
    /// its victims the domain does not hold the least that is demanded.
    ///
    /// # Errors
    /// Who could have stayed.
    pub fn check_minimal(&self, plan: &Plan) -> Result<(), String> {
        let taken: BTreeSet<u32> = plan.victims.iter().map(|v| v.id).collect();
        let domains = self.domains();
        let domain = &domains[plan.domain as usize];
        for unit in self.units() {
            if !unit.is_subset(&taken) {
                continue;
            }
            let rest = taken.difference(&unit).copied().collect();
            if self.fits_in(domain, &rest) {
                return Err(format!("{unit:?} of {taken:?} could have stayed"));
            }
        }
        Ok(())
    }
}

fn subtract(left: &mut [Left], row: u32, cpu: i32, memory: i32, slots: &[u32], milli: i32) {
    let left = &mut left[row as usize];
    left.cpu -= i64::from(cpu);
    left.memory -= i64::from(memory);
    for slot in slots {
        match left.gpus.get_mut(*slot as usize) {
            Some(gpu) => *gpu -= milli,
            // A device that does not exist is never free.
            None => left.cpu = i64::MIN / 2,
        }
    }
}

/// Every pod on every row and every device, remembering what failed. Rows and
/// the devices of a row are sorted, which does not change what fits.
fn place_all(pods: &[&Pod], left: &mut [Left], failed: &mut BTreeSet<(usize, Vec<Left>)>) -> bool {
    let Some((pod, rest)) = pods.split_first() else {
        return true;
    };
    let mut state = left.to_vec();
    state.iter_mut().for_each(|l| l.gpus.sort_unstable());
    state.sort();
    if failed.contains(&(pods.len(), state.clone())) {
        return false;
    }
    for row in 0..left.len() {
        let before = left[row].clone();
        if before.cpu < i64::from(pod.cpu) || before.memory < i64::from(pod.memory) {
            continue;
        }
        let milli = pod.gpu_milli as i32;
        let usable: Vec<usize> = (0..before.gpus.len())
            .filter(|s| before.gpus[*s] >= milli)
            .collect();
        // Whole devices are alike; a share may go to any device.
        let choices: Vec<Vec<usize>> = match pod.gpu_count as usize {
            0 => vec![Vec::new()],
            1 => usable.iter().map(|s| vec![*s]).collect(),
            n if usable.len() >= n => vec![usable[..n].to_vec()],
            _ => Vec::new(),
        };
        for slots in choices {
            left[row].cpu -= i64::from(pod.cpu);
            left[row].memory -= i64::from(pod.memory);
            slots.iter().for_each(|s| left[row].gpus[*s] -= milli);
            if place_all(rest, left, failed) {
                return true;
            }
            left[row] = before.clone();
        }
    }
    failed.insert((pods.len(), state));
    false
}
