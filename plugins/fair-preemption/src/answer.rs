//! From victims to a plan.

use loadmaster_sdk::preemption::{
    Action, Answer, Case, Cluster, DeviceSet, Move, Placement, Plan, Pod, Taken, Units, Victim,
    move_away, move_targets, notice,
};

use crate::scan::Scan;
use crate::{Tuning, kube};

/// Milliseconds of a second.
const SECOND: u64 = 1_000;

/// Rows tried for moving, cheapest first. Each attempt looks at all rows for each
/// piece of work that moves.
const MOVE_ROWS_MAX: usize = 64;

/// One request being answered.
pub(crate) struct Decision<'d, 'a> {
    pub(crate) case: &'d Case<'a>,
    pub(crate) tuning: &'d Tuning,
    pub(crate) units: &'d Units,
    pub(crate) cluster: Cluster<'a>,
    /// Rows of any domain, by stable id.
    pub(crate) rows: Vec<u32>,
    first: &'a Pod,
    /// Where work may move to; empty until somebody moves.
    targets: Vec<u32>,
}

/// A pod on its row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Put {
    pub(crate) role: u32,
    pub(crate) row: u32,
    pub(crate) devices: DeviceSet,
}

impl<'d, 'a> Decision<'d, 'a> {
    pub(crate) fn new(case: &'d Case<'a>, tuning: &'d Tuning, units: &'d Units) -> Self {
        let cluster = case.cluster();
        let mut permitted = vec![false; cluster.len()];
        for domain in &case.request.domains {
            domain
                .rows
                .iter()
                .for_each(|row| permitted[*row as usize] = true);
        }
        let mut rows: Vec<u32> = (0..cluster.len() as u32).collect();
        rows.retain(|row| permitted[*row as usize]);
        rows.sort_unstable_by_key(|row| cluster.id(*row as usize));
        Self {
            first: &case.request.preemptor.demands[0].pod,
            case,
            tuning,
            units,
            cluster,
            rows,
            targets: Vec::new(),
        }
    }

    /// A place that needs nobody to go: the fullest row.
    pub(crate) fn without_victims(&mut self) -> Option<Plan> {
        let row = self.tightest(self.first)?;
        self.single(row, &[], Vec::new())
    }

    /// The fullest row that has room.
    pub(crate) fn tightest(&self, pod: &Pod) -> Option<u32> {
        let fitting = self.rows.iter().copied();
        let fitting = fitting.filter(|row| self.cluster.fits(pod, *row as usize));
        fitting.min_by_key(|row| {
            let row = *row as usize;
            (
                self.cluster.milli_sum(row),
                self.cluster.free(row),
                self.cluster.id(row),
            )
        })
    }

    /// The least work lost.
    pub(crate) fn by_cost(&mut self) -> Answer {
        let taken = Taken::new(&self.case.request.budgets);
        let mut scan = Scan::new(&mut self.cluster, self.units, self.first, taken, false);
        let found = scan.cheapest(&self.rows, self.tuning.search_steps);
        let stopped = scan.stopped;
        match found {
            Some(found) => {
                let (budgeted, priority, loss, victims, _) = found.key;
                let cost = [budgeted.into(), priority.into(), loss, victims.into()];
                match self.single(found.row, &found.units, cost.to_vec()) {
                    Some(plan) => Answer::Plan(plan),
                    None => Answer::None("the pod does not fit although its victims left".into()),
                }
            }
            None => self.none(stopped),
        }
    }

    /// As kube-scheduler ranks. It overdraws budgets as a last resort; here such
    /// a plan is refused, so the best one that does not is taken.
    pub(crate) fn as_kubernetes(&mut self) -> Answer {
        let found = kube::candidates(
            self.case,
            &mut self.cluster,
            self.units,
            self.first,
            &self.rows,
        );
        let any = !found.is_empty();
        for candidate in found {
            let mut taken = Taken::new(&self.case.request.budgets);
            for unit in &candidate.units {
                self.units.charge(*unit, &mut taken);
            }
            if taken.over() > 0 {
                continue;
            }
            let (over, highest, sum, victims, latest) = candidate.rank;
            let latest = i64::try_from(latest.0).unwrap_or(i64::MAX);
            let cost = vec![over.into(), highest.into(), sum, victims.into(), -latest];
            if let Some(plan) = self.single(candidate.row, &candidate.units, cost) {
                return Answer::Plan(plan);
            }
        }
        if any {
            return Answer::None("every node would overdraw a disruption budget".to_owned());
        }
        self.none(false)
    }

    /// The fewest milli-GPU moved.
    pub(crate) fn by_moving(&mut self) -> Answer {
        let taken = Taken::new(&self.case.request.budgets);
        let mut scan = Scan::new(&mut self.cluster, self.units, self.first, taken, true);
        let found = scan.each(&self.rows);
        let rows = found.len();
        self.targets = move_targets(&self.cluster);
        for found in found.into_iter().take(MOVE_ROWS_MAX) {
            let (budgeted, _, milli, victims, _) = found.key;
            let cost = vec![budgeted.into(), 0, milli, victims.into()];
            if let Some(plan) = self.single(found.row, &found.units, cost) {
                return Answer::Plan(plan);
            }
        }
        if rows == 0 {
            return self.none(false);
        }
        Answer::None(format!(
            "moving work would make room on {rows} nodes, but it has nowhere to go (the {} cheapest were tried)",
            rows.min(MOVE_ROWS_MAX)
        ))
    }

    fn none(&self, stopped: bool) -> Answer {
        let stopped = if stopped {
            "; the search ended at its step limit, so victims may exist"
        } else {
            ""
        };
        Answer::None(format!(
            "no node has room, even with all {} units of work gone that may be taken and that budgets allow{stopped}",
            self.units.len()
        ))
    }

    // === the plan ===

    /// One pod on a row that these units leave. The cluster is as before.
    fn single(&mut self, row: u32, units: &[u32], cost: Vec<i64>) -> Option<Plan> {
        let mark = self.cluster.fork();
        for victim in self.members(units) {
            self.cluster.evict(victim as usize);
        }
        let devices = self.cluster.try_place(self.first, row as usize);
        let put = devices.map(|devices| Put {
            role: 0,
            row,
            devices,
        });
        let plan = put.and_then(|put| self.plan(&[put], units, cost));
        self.cluster.rollback(mark);
        plan
    }

    pub(crate) fn members(&self, units: &[u32]) -> Vec<u32> {
        let members = units.iter().flat_map(|u| self.units.members(*u));
        members.copied().collect()
    }

    /// The plan for pods that are placed and units that are gone.
    pub(crate) fn plan(&mut self, puts: &[Put], units: &[u32], cost: Vec<i64>) -> Option<Plan> {
        let mut gone = self.members(units);
        gone.sort_unstable_by_key(|v| self.case.request.running.id[*v as usize]);
        let moving = self.case.request.action == Action::Consolidate;
        let moves: Vec<Move> = match moving {
            true => move_away(self.case, &mut self.cluster, &gone, &self.targets)?,
            false => Vec::new(),
        };
        let victims = if moving { &[] } else { gone.as_slice() };
        let longest = victims.iter().map(|v| notice(self.case, *v as usize)).max();
        let mut placements: Vec<Placement> = puts
            .iter()
            .map(|put| Placement {
                role: put.role,
                row: put.row,
                slots: put.devices.iter().collect(),
            })
            .collect();
        let id = |row: u32| self.cluster.id(row as usize);
        placements.sort_by_cached_key(|p| (p.role, id(p.row), p.slots.clone()));
        Some(Plan {
            domain: self.domain(puts)?,
            victims: victims.iter().map(|v| self.victim(*v)).collect(),
            moves,
            placements,
            cost,
            hold: self.tuning.hold_seconds * SECOND + u64::from(longest.unwrap_or(0)),
        })
    }

    /// The first domain, so the one of the lowest level, that holds them all.
    fn domain(&self, puts: &[Put]) -> Option<u32> {
        let mut held = vec![false; self.cluster.len()];
        let at = self.case.request.domains.iter().position(|domain| {
            domain.rows.iter().for_each(|r| held[*r as usize] = true);
            let all = puts.iter().all(|put| held[put.row as usize]);
            domain.rows.iter().for_each(|r| held[*r as usize] = false);
            all
        });
        at.map(|at| at as u32)
    }

    fn victim(&self, victim: u32) -> Victim {
        let request = self.case.request;
        let v = victim as usize;
        let reason = match request.action {
            Action::Reclaim => {
                let owner = request.queues.get(request.running.owner[v] as usize);
                let owner = owner.map_or("its owner", |q| q.name.as_str());
                format!("{owner} is over its share")
            }
            _ => format!(
                "priority {} yields to {}",
                request.running.priority[v],
                self.case.priority()
            ),
        };
        Victim {
            id: request.running.id[v],
            grace: notice(self.case, v),
            reason,
        }
    }
}
