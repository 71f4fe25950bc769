//! Gangs that may stand anywhere: member after member, largest first, each on
//! the fullest row with room or where its victims cost least.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use loadmaster_sdk::preemption::{Action, Answer, Demand, Pod, Taken};

use crate::answer::{Decision, Put};
use crate::scan::{Found, Key, Scan};

impl<'a> Decision<'_, 'a> {
    pub(crate) fn gang(&mut self) -> Answer {
        let demands = &self.case.request.preemptor.demands;
        let mut order: Vec<u32> = (0..demands.len() as u32).collect();
        order.sort_by_key(|role| {
            let pod = &demands[*role as usize].pod;
            let size = (pod.gpu_request(), pod.gpu_count, pod.cpu, pod.memory);
            (Reverse(size), *role)
        });
        let start = self.cluster.fork();
        let mut puts = Vec::new();
        let Some(mut units) = self.enough(demands, &order, &mut puts) else {
            self.cluster.rollback(start);
            return Answer::None(format!(
                "the gang does not fit, even with {} units of work gone that may be taken and that budgets allow",
                self.units.len()
            ));
        };
        self.cluster.rollback(start);
        let rows = self.used_first(&puts);
        self.give_back(&order, &rows, &mut units);
        puts.clear();
        let placed = self.place(&order, &rows, &mut puts);
        let least: Vec<u32> = demands
            .iter()
            .map(|d| d.count - d.min.min(d.count))
            .collect();
        for role in &order {
            let more = least[*role as usize];
            self.fill(&demands[*role as usize].pod, more, *role, &mut puts);
        }
        let mut cost = vec![0, i64::from(i32::MIN), 0, 0];
        for unit in units.iter().map(|u| self.units.unit(*u)) {
            cost[0] += i64::from(unit.budgeted);
            cost[1] = cost[1].max(unit.priority.into());
            cost[2] = i64::saturating_add(cost[2], unit.loss);
            cost[3] += i64::from(unit.victims);
        }
        let plan = match placed {
            true => self.plan(&puts, &units, cost),
            false => None,
        };
        plan.map_or_else(
            || Answer::None("the gang does not fit although its victims left".to_owned()),
            Answer::Plan,
        )
    }

    /// Units whose leaving lets all members stand. The cluster holds the result.
    fn enough(
        &mut self,
        demands: &[Demand],
        order: &[u32],
        puts: &mut Vec<Put>,
    ) -> Option<Vec<u32>> {
        let mut units: Vec<u32> = Vec::new();
        let mut taken = Taken::new(&self.case.request.budgets);
        let moving = self.case.request.action == Action::Consolidate;
        for role in order {
            let demand = &demands[*role as usize];
            let mut left = demand.min;
            left -= self.fill(&demand.pod, left, *role, puts);
            // Whom a gang needs to move rarely finds room elsewhere: that is for
            // those who look at whole domains.
            if left > 0 && moving {
                return None;
            }
            let mut rows = self.by_price(&demand.pod, left, &taken);
            while left > 0 {
                let (key, id, row) = rows.pop_first()?;
                let Some(found) = self.price(&demand.pod, row, &taken) else {
                    continue;
                };
                if found.key != key {
                    // What went for other rows changed the price of this one.
                    rows.insert((found.key, id, row));
                    continue;
                }
                for unit in &found.units {
                    self.units.evict(*unit, &mut self.cluster, &mut taken);
                    units.push(*unit);
                }
                left -= self.fill(&demand.pod, left, *role, puts);
                if let Some(next) = self.price(&demand.pod, row, &taken) {
                    rows.insert((next.key, id, row));
                }
            }
        }
        Some(units)
    }

    /// Rows by what room for one pod costs there, then by stable id.
    fn by_price(&mut self, pod: &Pod, left: u32, taken: &Taken<'a>) -> BTreeSet<(Key, i32, u32)> {
        if left == 0 {
            return BTreeSet::new();
        }
        let mut scan = Scan::new(&mut self.cluster, self.units, pod, taken.clone(), false);
        let found = scan.each(&self.rows);
        let rows = found.iter();
        rows.map(|f| (f.key, self.cluster.id(f.row as usize), f.row))
            .collect()
    }

    fn price(&mut self, pod: &Pod, row: u32, taken: &Taken<'a>) -> Option<Found> {
        Scan::new(&mut self.cluster, self.units, pod, taken.clone(), false).greedy(row, None)
    }

    /// All rows, those that were of use first: looking whether all still fit then
    /// ends early.
    fn used_first(&self, puts: &[Put]) -> Vec<u32> {
        let mut used = vec![false; self.cluster.len()];
        let mut rows: Vec<u32> = puts.iter().map(|put| put.row).collect();
        rows.retain(|row| !std::mem::replace(&mut used[*row as usize], true));
        rows.extend(self.rows.iter().filter(|row| !used[**row as usize]));
        rows
    }

    /// Lets everybody stay without whom the gang still fits, the most expensive
    /// first. The cluster is left with the others gone.
    fn give_back(&mut self, order: &[u32], rows: &[u32], units: &mut Vec<u32>) {
        let mut uncounted = Taken::new(&[]);
        for unit in units.iter() {
            self.units.evict(*unit, &mut self.cluster, &mut uncounted);
        }
        let mut costly = units.clone();
        costly.sort_unstable_by_key(|u| {
            let unit = self.units.unit(*u);
            Reverse((unit.budgeted, unit.priority, unit.loss, unit.victims, *u))
        });
        for unit in costly {
            self.units.restore(unit, &mut self.cluster, &mut uncounted);
            let mark = self.cluster.fork();
            let fits = self.place(order, rows, &mut Vec::new());
            self.cluster.rollback(mark);
            if fits {
                units.retain(|u| *u != unit);
            } else {
                self.units.evict(unit, &mut self.cluster, &mut uncounted);
            }
        }
    }

    /// Places the least of each role on these rows, in order. Whether all of them
    /// could be placed; those that could are.
    fn place(&mut self, order: &[u32], rows: &[u32], puts: &mut Vec<Put>) -> bool {
        order.iter().all(|role| {
            let demand = &self.case.request.preemptor.demands[*role as usize];
            let mut left = demand.min;
            for row in rows {
                while left > 0 {
                    let devices = self.cluster.try_place(&demand.pod, *row as usize);
                    let Some(devices) = devices else { break };
                    puts.push(Put {
                        role: *role,
                        row: *row,
                        devices,
                    });
                    left -= 1;
                }
                if left == 0 {
                    break;
                }
            }
            left == 0
        })
    }

    /// Places up to `number` pods, the fullest rows first, and returns how many.
    fn fill(&mut self, pod: &Pod, number: u32, role: u32, puts: &mut Vec<Put>) -> u32 {
        let mut left = number;
        while left > 0 {
            let Some(row) = self.tightest(pod) else { break };
            while left > 0 {
                let Some(devices) = self.cluster.try_place(pod, row as usize) else {
                    break;
                };
                puts.push(Put { role, row, devices });
                left -= 1;
            }
        }
        number - left
    }
}
