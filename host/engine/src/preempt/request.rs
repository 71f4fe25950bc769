//! The question a preemption policy is asked: rows, domains, and the work that
//! this step may touch, as columns. Also the way back from its indices.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Rejection;

use crate::engine::Engine;
use crate::filter::{Filter, MatchMemo};
use crate::pods::Pod;
use crate::port::preemption::{
    Action, BudgetLeft, Constraint, Domain, LEVEL_CLUSTER, MAY_KILL, MAY_MOVE, NONE, Preemptor,
    QueueShare, Running,
};

use super::unit::Unit;

/// Rows of a question about one pod. kube-scheduler looks at a tenth of the
/// nodes, at least 100; for 5,000 nodes that is the same number.
pub const ROWS_PER_PLAN: usize = 512;

/// A question and what its indices mean.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) action: Action,
    pub(crate) preemptor: Preemptor,
    /// Row ids of the engine, by index in the request; ascending.
    pub(crate) rows: Vec<u32>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) queues: Vec<QueueShare>,
    pub(crate) budgets: Vec<BudgetLeft>,
    pub(crate) running: Running,
    /// Pods by victim id.
    pub(crate) slots: Vec<u32>,
    /// Members of each group, as victim ids.
    pub(crate) groups: Vec<Vec<u32>>,
}

/// Which running work a step may touch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch<'a> {
    pub(crate) action: Action,
    pub(crate) priority: i32,
    /// Queue of who needs room, if that uses more than its own: priority does not
    /// reach into what is guaranteed to others then.
    pub(crate) borrower: Option<&'a str>,
}

impl<'a> Touch<'a> {
    pub(crate) fn new(engine: &Engine, unit: &'a Unit, action: Action) -> Self {
        let queue = unit.queue.as_deref();
        Self {
            action,
            priority: unit.priority,
            borrower: queue.filter(|q| engine.quotas.borrows(q)),
        }
    }

    /// What may be done to a pod, as bits of `running.allowed`.
    pub(crate) fn allowed(self, engine: &Engine, pod: &Pod) -> u8 {
        if pod.at.is_none() || pod.leaving.is_some() || pod.next.is_some() {
            return 0;
        }
        let kill = u8::from(pod.terms.preemptible) * MAY_KILL;
        let moves = u8::from(pod.terms.movable) * MAY_MOVE;
        match self.action {
            Action::Consolidate => moves,
            Action::Reclaim if engine.over_share(pod) => kill | moves,
            Action::Preempt if pod.spec.priority < self.priority && !self.guarded(engine, pod) => {
                kill | moves
            }
            Action::Reclaim | Action::Preempt => 0,
        }
    }
}

impl Touch<'_> {
    /// Whether the pod runs on its own guarantee and is wanted by a borrower.
    fn guarded(self, engine: &Engine, pod: &Pod) -> bool {
        self.borrower.is_some_and(|borrower| {
            let owner = pod.queue.as_deref();
            owner.is_some_and(|q| q != borrower && pod.admitted && !engine.quotas.borrows(q))
        })
    }
}

/// Whether what a node is, and not what runs on it, lets the class in.
pub(crate) fn eligible(filter: &Filter<'_>, memo: &mut MatchMemo, row: u32) -> bool {
    filter.nodes.spec(row).is_some()
        && !matches!(
            filter.check(memo, row),
            Rejection::Cordoned
                | Rejection::Selector
                | Rejection::Taint
                | Rejection::GpuModel
                | Rejection::GpuShape
                | Rejection::TooSmall
                | Rejection::GpuHealth
        )
}

impl Engine {
    /// Whether the pod's queue uses what others lent it.
    fn over_share(&self, pod: &Pod) -> bool {
        let queue = pod.queue.as_deref();
        queue.is_some_and(|q| pod.admitted && self.quotas.borrows(q))
    }

    /// Rows that every role of the unit may run on, whatever runs there now. A
    /// row that lacks devices for one role may still take another, so hardware is
    /// left to the policy unless no role can use it.
    pub(crate) fn eligible_rows(&self, unit: &Unit) -> Vec<u32> {
        let mut memo = MatchMemo::default();
        let filters: Vec<Filter<'_>> = unit
            .roles
            .iter()
            .map(|r| Filter::new(&self.nodes, &self.classes, r.class))
            .collect();
        let placed = |filter: &Filter<'_>, memo: &mut MatchMemo, row: u32| {
            !matches!(
                filter.check(memo, row),
                Rejection::Cordoned | Rejection::Selector | Rejection::Taint
            )
        };
        self.nodes
            .live_rows()
            .filter(|row| {
                filters.iter().all(|f| placed(f, &mut memo, *row))
                    && filters.iter().any(|f| eligible(f, &mut memo, *row))
            })
            .collect()
    }

    /// The question for one step. `rows` ascending.
    pub(crate) fn ask(&self, unit: &Unit, action: Action, rows: Vec<u32>, touch: bool) -> Asked {
        let mut asked = Asked {
            action,
            preemptor: Preemptor {
                job: unit.name.to_string(),
                queue: unit.queue.clone().unwrap_or_default(),
                owner: NONE,
                waited: self.now_ms.saturating_sub(unit.submitted_ms),
                attempts: self.tried(unit).map_or(0, |t| t.attempts),
                constraint: unit.constraint,
                level: unit.level,
                demands: unit.demands(),
                nominated: None,
            },
            rows,
            domains: Vec::new(),
            queues: Vec::new(),
            budgets: Vec::new(),
            running: Running::default(),
            slots: Vec::new(),
            groups: Vec::new(),
        };
        if touch {
            self.collect_running(&mut asked, Touch::new(self, unit, action));
        }
        if let Some(queue) = &unit.queue {
            asked.preemptor.owner = self.owner(&mut asked.queues, queue);
        }
        asked.domains = self.domains(unit, &asked.rows);
        let nominated = self.tried(unit).and_then(|t| t.nominated.as_ref());
        asked.preemptor.nominated = nominated.and_then(|(level, name)| {
            let found = asked.domains.iter();
            let mut found = found.enumerate();
            found
                .find(|(_, d)| d.level == *level && d.name == *name)
                .map(|(i, _)| i as u32)
        });
        asked
    }

    fn collect_running(&self, asked: &mut Asked, touch: Touch<'_>) {
        let mut groups: BTreeMap<&str, u32> = BTreeMap::new();
        let mut pods: Vec<u32> = Vec::new();
        for row in &asked.rows {
            let first = pods.len();
            for slot in self.pods.on(*row) {
                let pod = self.pods.get(*slot);
                if touch.allowed(self, pod) == 0 {
                    continue;
                }
                if let Some(gang) = &pod.gang {
                    groups.entry(gang).or_insert(NONE);
                } else {
                    pods.push(*slot);
                }
            }
            // Slots differ after a restart; arrival numbers do not.
            pods[first..].sort_by_key(|s| self.pods.get(*s).arrival);
        }
        if touch.action == Action::Reclaim {
            // What was lent may run where the owner could not: it has no row in the
            // question, but its quota counts.
            let first = pods.len();
            for row in self.nodes.live_rows() {
                if asked.rows.binary_search(&row).is_ok() {
                    continue;
                }
                for slot in self.pods.on(row) {
                    let pod = self.pods.get(*slot);
                    if pod.gang.is_none() && touch.allowed(self, pod) != 0 {
                        pods.push(*slot);
                    }
                }
            }
            pods[first..].sort_by_key(|s| self.pods.get(*s).arrival);
        }
        // A gang goes as a whole or not at all: its members on other rows come
        // along, and a member that may not be touched protects the others.
        let mut members: Vec<Vec<u32>> = Vec::new();
        for (gang, index) in &mut groups {
            let Some(job) = self.pods.jobs.get(*gang) else {
                continue;
            };
            let here: Vec<u32> = job.pods.iter().copied().collect();
            let held = here.iter().map(|s| self.pods.get(*s));
            let mut held = held.filter(|p| p.at.is_some() || p.next.is_some());
            if held.all(|p| touch.allowed(self, p) != 0) {
                *index = members.len() as u32;
                let running = |s: &u32| self.pods.get(*s).at.is_some();
                members.push(here.into_iter().filter(running).collect());
            }
        }
        pods.extend(members.iter().flatten());
        if !members.is_empty() {
            pods.sort_by_cached_key(|s| {
                let pod = self.pods.get(*s);
                (pod.at.map(|at| at.row), pod.arrival)
            });
        }
        let mut budgets: BTreeMap<&str, u32> = BTreeMap::new();
        asked.groups = vec![Vec::new(); members.len()];
        for slot in pods {
            let pod = self.pods.get(slot);
            let Some(at) = pod.at else { continue };
            let id = asked.slots.len() as u32;
            let group = pod.gang.as_deref().and_then(|g| groups.get(g).copied());
            if let Some(group) = group {
                asked.groups[group as usize].push(id);
            }
            let budget = self.budget_of(slot).map(|name| {
                *budgets.entry(name).or_insert_with(|| {
                    asked.budgets.push(BudgetLeft {
                        name: name.to_owned(),
                        allowed: self.disruptions_left(name),
                    });
                    asked.budgets.len() as u32 - 1
                })
            });
            let owner = match &pod.queue {
                Some(queue) => self.owner(&mut asked.queues, queue),
                None => NONE,
            };
            // A member elsewhere has no row in the question.
            let row = asked.rows.binary_search(&at.row).map_or(NONE, |i| i as u32);
            let r = &mut asked.running;
            r.id.push(id);
            r.row.push(row);
            r.owner.push(owner);
            r.group.push(group.unwrap_or(NONE));
            r.priority.push(pod.spec.priority);
            r.cpu
                .push(crate::nodes::to_s32(pod.spec.requests.cpu_milli));
            r.memory
                .push(crate::nodes::to_s32(pod.spec.requests.memory_mib));
            r.gpu_slots.push(u64::from(at.devices));
            r.gpu_milli.push(at.per_device.milli);
            r.started.push(at.since_ms);
            r.checkpoint.push(pod.progress.checkpoint_ms);
            r.restart_cost.push(pod.terms.restart_cost);
            r.budget.push(budget.unwrap_or(NONE));
            r.allowed.push(touch.allowed(self, pod));
            r.grace.push(pod.terms.grace_ms);
            asked.slots.push(slot);
        }
    }

    fn owner(&self, queues: &mut Vec<QueueShare>, name: &str) -> u32 {
        if let Some(i) = queues.iter().position(|q| q.name == name) {
            return i as u32;
        }
        queues.push(QueueShare {
            name: name.to_owned(),
            share: self.quotas.share(name),
            guaranteed: self.quotas.within_guarantee(name),
            lent: self.quotas.borrows(name),
        });
        queues.len() as u32 - 1
    }

    /// Domains that may hold the unit, smallest level first.
    fn domains(&self, unit: &Unit, rows: &[u32]) -> Vec<Domain> {
        let all = || (0..rows.len() as u32).collect::<Vec<u32>>();
        let cluster = || Domain {
            level: LEVEL_CLUSTER,
            name: "cluster".to_owned(),
            rows: all(),
        };
        if !unit.gang {
            return vec![cluster()];
        }
        let top = match unit.constraint {
            Constraint::Required => unit.level,
            Constraint::None | Constraint::Preferred => LEVEL_CLUSTER,
        };
        let mut domains = Vec::new();
        if unit.constraint != Constraint::None && unit.level == 0 {
            domains.extend(rows.iter().enumerate().map(|(i, row)| Domain {
                level: 0,
                name: self.nodes.names[*row as usize].to_string(),
                rows: vec![i as u32],
            }));
        }
        let places = [
            (1, &self.nodes.rack, &self.nodes.racks),
            (2, &self.nodes.block, &self.nodes.blocks),
            (3, &self.nodes.zone, &self.nodes.zones),
        ];
        for (level, column, names) in places.into_iter().filter(|(l, ..)| *l <= top) {
            let mut by_name: BTreeMap<&Arc<str>, Vec<u32>> = BTreeMap::new();
            for (i, row) in rows.iter().enumerate() {
                let place = column[*row as usize];
                if place >= 0 {
                    let name = names.value(place as u32);
                    by_name.entry(name).or_default().push(i as u32);
                }
            }
            domains.extend(by_name.into_iter().map(|(name, rows)| Domain {
                level,
                name: name.to_string(),
                rows,
            }));
        }
        if top == LEVEL_CLUSTER {
            domains.push(cluster());
        }
        domains
    }
}
