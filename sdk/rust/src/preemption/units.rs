//! Who may be taken by an action, and who only together.

use super::{
    Action, Budget, Case, Cluster, GPU_WHOLE, Losses, MAY_KILL, MAY_MOVE, NONE, SHARE_FULL,
};

/// Running work that is taken as a whole or not at all: a group, or one victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Smallest id of its members: the order of units, whatever the order in
    /// which victims came.
    pub id: u32,
    /// Highest priority of its members.
    pub priority: i32,
    /// Milli-GPU-seconds lost.
    pub loss: i64,
    /// Milli-GPU held.
    pub milli: i64,
    /// How many members.
    pub victims: u32,
    /// How many of them have a budget.
    pub budgeted: u32,
    /// Whether every member's owner has more than its share.
    pub over_share: bool,
    first: u32,
}

/// All units of a request that its action may take, ordered by id.
#[derive(Debug, Clone)]
pub struct Units {
    list: Vec<Unit>,
    members: Vec<u32>,
    budget_of: Vec<u32>,
    starts: Vec<u32>,
    by_row: Vec<u32>,
}

impl Units {
    /// The units that the request's action permits:
    ///
    /// * `consolidate`: work on its own that may be moved. Groups stay, since all
    ///   their members would have to find a place at once;
    /// * `reclaim`: work of other queues that have more than their share and are
    ///   not guaranteed it;
    /// * `preempt`: work of lower priority.
    ///
    /// A group of which one member may not be taken is not taken.
    #[must_use]
    pub fn new(case: &Case<'_>, losses: &Losses) -> Self {
        let running = &case.request.running;
        let priority = case.priority();
        let mut order: Vec<(u32, u32, u32)> = Vec::with_capacity(running.id.len());
        for (v, id) in running.id.iter().enumerate() {
            if running.group[v] != NONE {
                order.push((running.group[v], *id, v as u32));
            }
        }
        order.sort_unstable();
        let mut units = Self {
            list: Vec::with_capacity(running.id.len()),
            members: Vec::with_capacity(running.id.len()),
            budget_of: running.budget.clone(),
            starts: Vec::new(),
            by_row: Vec::new(),
        };
        let together = case.request.action != Action::Consolidate;
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let all = group.iter().all(|m| eligible(case, m.2 as usize, priority));
            if all && (together || group.len() == 1) {
                units.add(case, losses, group.iter().map(|m| m.2));
            }
        }
        for v in 0..running.id.len() {
            if running.group[v] == NONE && eligible(case, v, priority) {
                units.add(case, losses, [v as u32].into_iter());
            }
        }
        units.list.sort_unstable_by_key(|u| u.id);
        units.index(case);
        units
    }

    fn add(&mut self, case: &Case<'_>, losses: &Losses, members: impl Iterator<Item = u32>) {
        let running = &case.request.running;
        let mut unit = Unit {
            id: u32::MAX,
            priority: i32::MIN,
            loss: 0,
            milli: 0,
            victims: 0,
            budgeted: 0,
            over_share: true,
            first: self.members.len() as u32,
        };
        for member in members {
            let v = member as usize;
            self.members.push(member);
            let share = running.gpu_milli[v].clamp(0, GPU_WHOLE);
            unit.id = unit.id.min(running.id[v]);
            unit.priority = unit.priority.max(running.priority[v]);
            unit.loss = unit.loss.saturating_add(losses.of(v));
            unit.milli += i64::from(running.gpu_slots[v].count_ones()) * i64::from(share);
            unit.victims += 1;
            unit.budgeted += u32::from(running.budget[v] != NONE);
            unit.over_share &= over_share(case, v);
        }
        self.list.push(unit);
    }

    /// Units by row, each once a row, in the order of units.
    fn index(&mut self, case: &Case<'_>) {
        let rows = case.rows.len();
        let row_of = &case.request.running.row;
        let mut last = vec![NONE; rows];
        let mut starts = vec![0u32; rows + 1];
        self.each_on_row(row_of, &mut last, |row, _| starts[row + 1] += 1);
        for r in 0..rows {
            starts[r + 1] += starts[r];
        }
        let mut next = starts.clone();
        let mut by_row = vec![0; starts[rows] as usize];
        last.fill(NONE);
        self.each_on_row(row_of, &mut last, |row, unit| {
            by_row[next[row] as usize] = unit;
            next[row] += 1;
        });
        self.starts = starts;
        self.by_row = by_row;
    }

    fn each_on_row(&self, row_of: &[u32], last: &mut [u32], mut f: impl FnMut(usize, u32)) {
        for (u, unit) in self.list.iter().enumerate() {
            for &member in self.members_of(unit) {
                let row = row_of[member as usize] as usize;
                if last.get(row).is_some_and(|l| *l != u as u32) {
                    last[row] = u as u32;
                    f(row, u as u32);
                }
            }
        }
    }

    /// How many units.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing may be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One unit.
    #[must_use]
    #[inline]
    pub fn unit(&self, unit: u32) -> &Unit {
        &self.list[unit as usize]
    }

    /// All units, by id.
    #[must_use]
    pub fn all(&self) -> &[Unit] {
        &self.list
    }

    /// Indices of a unit's victims in the request.
    #[must_use]
    #[inline]
    pub fn members(&self, unit: u32) -> &[u32] {
        self.members_of(self.unit(unit))
    }

    fn members_of(&self, unit: &Unit) -> &[u32] {
        &self.members[unit.first as usize..][..unit.victims as usize]
    }

    /// Units with a member on the row.
    #[must_use]
    #[inline]
    pub fn on_row(&self, row: usize) -> &[u32] {
        &self.by_row[self.starts[row] as usize..self.starts[row + 1] as usize]
    }

    /// Evicts all members of a unit.
    pub fn evict(&self, unit: u32, cluster: &mut Cluster<'_>, taken: &mut Taken<'_>) {
        for &member in self.members(unit) {
            cluster.evict(member as usize);
            taken.charge(self.budget_of[member as usize]);
        }
    }

    /// Brings all members of an evicted unit back.
    pub fn restore(&self, unit: u32, cluster: &mut Cluster<'_>, taken: &mut Taken<'_>) {
        for &member in self.members(unit) {
            cluster.restore(member as usize);
            taken.refund(self.budget_of[member as usize]);
        }
    }

    /// Counts a unit against its budgets.
    pub fn charge(&self, unit: u32, taken: &mut Taken<'_>) {
        for &member in self.members(unit) {
            taken.charge(self.budget_of[member as usize]);
        }
    }

    /// Takes a unit off its budgets again.
    pub fn refund(&self, unit: u32, taken: &mut Taken<'_>) {
        for &member in self.members(unit) {
            taken.refund(self.budget_of[member as usize]);
        }
    }
}

fn over_share(case: &Case<'_>, victim: usize) -> bool {
    let owner = case.request.running.owner[victim];
    let queue = case.request.queues.get(owner as usize);
    queue.is_some_and(|q| q.share > SHARE_FULL)
}

fn eligible(case: &Case<'_>, victim: usize, priority: i32) -> bool {
    let running = &case.request.running;
    let allowed = running.allowed[victim];
    match case.request.action {
        Action::Consolidate => allowed & MAY_MOVE != 0,
        Action::Preempt => allowed & MAY_KILL != 0 && running.priority[victim] < priority,
        Action::Reclaim => {
            let owner = running.owner[victim];
            let queue = case.request.queues.get(owner as usize);
            allowed & MAY_KILL != 0
                && owner != case.request.preemptor.owner
                && queue.is_some_and(|q| q.share > SHARE_FULL && !q.guaranteed)
        }
    }
}

/// What has been taken from each budget.
#[derive(Debug, Clone)]
pub struct Taken<'a> {
    budgets: &'a [Budget],
    used: Vec<u32>,
    over: u32,
}

impl<'a> Taken<'a> {
    /// Nothing taken yet.
    #[must_use]
    pub fn new(budgets: &'a [Budget]) -> Self {
        Self {
            budgets,
            used: vec![0; budgets.len()],
            over: 0,
        }
    }

    /// Disruptions beyond what the budgets allow. A plan with any is refused.
    #[must_use]
    #[inline]
    pub fn over(&self) -> u32 {
        self.over
    }

    /// Disruptions beyond what one budget allows.
    #[must_use]
    pub fn over_in(&self, budget: u32) -> u32 {
        match self.budgets.get(budget as usize) {
            Some(b) => self.used[budget as usize].saturating_sub(b.allowed),
            None => 0,
        }
    }

    #[inline]
    fn charge(&mut self, budget: u32) {
        if let Some(b) = self.budgets.get(budget as usize) {
            let used = &mut self.used[budget as usize];
            self.over += u32::from(*used >= b.allowed);
            *used += 1;
        }
    }

    #[inline]
    fn refund(&mut self, budget: u32) {
        if let Some(b) = self.budgets.get(budget as usize) {
            let used = &mut self.used[budget as usize];
            *used -= 1;
            self.over -= u32::from(*used >= b.allowed);
        }
    }
}
