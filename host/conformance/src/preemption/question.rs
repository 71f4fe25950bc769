//! Cases as questions: rows, domains and running work by the conventions of the
//! engine's port.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::port::preemption::{
    BudgetLeft, Constraint, Demand, Domain, LEVEL_CLUSTER, NONE, PreemptRequest, Preemptor,
    QueueShare, Running,
};
use engine::port::{Column, Context, PodRow, Rows};
use model::topology::GPUS_PER_NODE_MAX;

use crate::case::preemption::{Action, Nodes, Outcome, PreemptionCase, Want, Work};
use crate::law::Law;
use crate::table::{draw, mask, model_id, wiring_id};

/// 9 October 2025, a Thursday morning.
const NOW_MS: u64 = 1_760_000_000_000;

/// cpu, memory, disk, network.
pub(super) type Amounts = [i64; 4];

/// One device: free milli-GPU and MiB, both -1 if absent or out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gpu {
    pub(super) milli: i32,
    pub(super) memory: i32,
}

const ABSENT: Gpu = Gpu {
    milli: -1,
    memory: -1,
};

/// One machine.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Stable id; not the index.
    pub(super) id: i32,
    pub(super) name: String,
    pub(super) free: Amounts,
    cap: Amounts,
    pub(super) gpus: Vec<Gpu>,
    pub(super) model: i32,
    wiring: i32,
    zone: i32,
    rack: i32,
    pods: i32,
}

/// A question with its own memory.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) name: String,
    action: Action,
    mode: model::event::Mode,
    seed: u64,
    pub(super) preemptor: Preemptor,
    pub(super) domains: Vec<Domain>,
    queues: Vec<QueueShare>,
    pub(super) budgets: Vec<BudgetLeft>,
    pub(super) rows: Vec<Row>,
    pub(super) running: Running,
    pub(super) context: Arc<Context>,
    pub(super) expect: Vec<Outcome>,
    pub(super) laws: Vec<Law>,
}

/// Rows as the policy declared them.
#[derive(Debug)]
pub(super) struct Lowered {
    slots: u32,
    data: Vec<i32>,
}

fn to_s32(value: i64) -> i32 {
    value.clamp(0, i64::from(i32::MAX)) as i32
}

impl Row {
    fn new(id: usize, name: String, n: &Nodes, model: i32, wiring: i32) -> Self {
        let cap = [n.cpu, n.memory, n.disk, n.network].map(i64::from);
        let gpu = |slot: u32| match slot < n.gpus && !n.broken.contains(&slot) {
            true => Gpu {
                milli: 1_000,
                memory: n.gpu_memory,
            },
            false => ABSENT,
        };
        Self {
            // Not the index, so that mixing them up shows.
            id: id as i32 * 5 + 3,
            name,
            free: [cap[0] - i64::from(n.used_cpu), cap[1], cap[2], cap[3]],
            cap,
            gpus: (0..GPUS_PER_NODE_MAX as u32).map(gpu).collect(),
            model,
            wiring,
            zone: -1,
            rack: -1,
            pods: 0,
        }
    }

    fn get(&self, column: Column) -> i32 {
        let healthy = || self.gpus.iter().filter(|g| g.milli >= 0);
        match column {
            Column::Row => self.id,
            Column::CpuFree => to_s32(self.free[0]),
            Column::CpuCap => to_s32(self.cap[0]),
            Column::MemoryFree => to_s32(self.free[1]),
            Column::MemoryCap => to_s32(self.cap[1]),
            Column::DiskFree => to_s32(self.free[2]),
            Column::DiskCap => to_s32(self.cap[2]),
            Column::NetworkFree => to_s32(self.free[3]),
            Column::NetworkCap => to_s32(self.cap[3]),
            Column::Pods => self.pods,
            Column::GpuCount => healthy().count() as i32,
            Column::GpuFree => healthy().map(|g| g.milli).sum(),
            Column::GpuWhole => healthy().filter(|g| g.milli == 1_000).count() as i32,
            Column::GpuModel => self.model,
            Column::Wiring => self.wiring,
            Column::Zone => self.zone,
            Column::Rack => self.rack,
            Column::Price | Column::PeersOnNode | Column::PeersInZone => 0,
            Column::GpuMilliFree | Column::GpuMemoryFree | Column::GpuNuma => -1,
        }
    }

    /// Charges a pod; its devices, which are the first with room unless told.
    fn charge(&mut self, work: &Work) -> u64 {
        self.free[0] -= i64::from(work.cpu);
        self.free[1] -= i64::from(work.memory);
        self.pods += 1;
        let roomy = |slot: &u32| self.gpus[*slot as usize].milli >= work.gpu_milli;
        let slots: Vec<u32> = match work.slots.is_empty() {
            true => (0..self.gpus.len() as u32)
                .filter(roomy)
                .take(work.gpus as usize)
                .collect(),
            false => work.slots.clone(),
        };
        for slot in &slots {
            let gpu = &mut self.gpus[*slot as usize];
            if gpu.milli >= 0 {
                // As much of the memory as of the device.
                let before = gpu.milli.max(1);
                gpu.milli -= work.gpu_milli;
                gpu.memory =
                    (i64::from(gpu.memory) * i64::from(gpu.milli) / i64::from(before)) as i32;
            }
        }
        slots.iter().fold(0, |bits, slot| bits | 1 << slot)
    }
}

impl Question {
    pub(super) fn new(case: &PreemptionCase) -> Self {
        let mut context = Context {
            version: 1,
            ..Context::default()
        };
        let (mut rows, mut places) = (Vec::new(), [Vec::new(), Vec::new()]);
        for n in &case.nodes {
            let model = model_id(&mut context, n.gpus, &n.gpu_model, n.gpu_memory);
            let wiring = wiring_id(&mut context, n.gpus, n.wiring);
            for i in 0..n.count {
                let name = match n.count {
                    1 => n.name.clone(),
                    _ => format!("{}-{i}", n.name),
                };
                rows.push(Row::new(rows.len(), name, n, model, wiring));
                places[0].push(match n.rack_size {
                    0 => n.rack.clone(),
                    size => format!("{}-{}", n.rack, i / size),
                });
                places[1].push(n.zone.clone());
            }
        }
        for (row, rack) in intern(&places[0]).into_iter().enumerate() {
            rows[row].rack = rack;
        }
        for (row, zone) in intern(&places[1]).into_iter().enumerate() {
            rows[row].zone = zone;
        }
        context.nodes = rows.len() as u32;
        for row in rows.iter().filter(|r| r.model >= 0) {
            let healthy = row.gpus.iter().filter(|g| g.milli >= 0).count();
            context.gpu_models[row.model as usize].devices += healthy as u32;
        }
        let mut question = Self {
            name: case.name.clone(),
            action: case.action,
            mode: case.mode.model(),
            seed: case.seed,
            preemptor: preemptor(case, &context),
            domains: domains(case, &rows, &places),
            queues: case
                .queues
                .iter()
                .map(|q| QueueShare {
                    name: q.name.clone(),
                    share: q.share,
                    guaranteed: q.guaranteed,
                    lent: q.lent,
                })
                .collect(),
            budgets: case
                .budgets
                .iter()
                .map(|b| BudgetLeft {
                    name: b.name.clone(),
                    allowed: b.allowed,
                })
                .collect(),
            rows,
            running: Running::default(),
            context: Arc::new(context),
            expect: case.expect.clone(),
            laws: case.laws(),
        };
        let mut groups = 0;
        for work in &case.running {
            question.run(case, work, &mut groups);
        }
        let domains = &question.domains;
        let nominated = case.nominated.as_ref();
        question.preemptor.nominated = nominated.and_then(|name| {
            let at = domains.iter().position(|d| d.name == *name);
            at.map(|i| i as u32)
        });
        question
    }

    fn run(&mut self, case: &PreemptionCase, work: &Work, groups: &mut u32) {
        let index = |known: Option<usize>| known.map_or(NONE, |i| i as u32);
        let owner = index(case.queues.iter().position(|q| q.name == work.queue));
        let budget = index(case.budgets.iter().position(|b| b.name == work.budget));
        let mut pods = 0;
        for row in 0..self.rows.len() {
            if !work.on.is_empty() && !work.on.contains(&self.rows[row].name) {
                continue;
            }
            for _ in 0..work.each {
                let slots = self.rows[row].charge(work);
                let r = &mut self.running;
                let id = r.id.len();
                let vary = |salt: u64, below: u64| match work.vary {
                    0 => 0,
                    _ => draw(case.seed, id as u64, salt) % below.max(1),
                };
                let (started, checkpoint) = (
                    work.started_ago + vary(2, work.started_ago),
                    work.checkpoint_ago,
                );
                r.id.push(id as u32);
                r.row.push(row as u32);
                r.owner.push(owner);
                r.group.push(match work.group {
                    0 => NONE,
                    size => *groups + (pods / size) as u32,
                });
                r.priority
                    .push(work.priority + vary(1, u64::from(work.vary)) as i32);
                r.cpu.push(work.cpu);
                r.memory.push(work.memory);
                r.gpu_slots.push(slots);
                r.gpu_milli
                    .push(if slots == 0 { 0 } else { work.gpu_milli });
                r.started.push(NOW_MS - started);
                r.checkpoint.push(match checkpoint {
                    0 => 0,
                    ago => NOW_MS - ago,
                });
                r.restart_cost.push(work.restart_cost);
                r.budget.push(budget);
                r.allowed.push(work.may.bits());
                r.grace.push(work.grace);
                pods += 1;
            }
        }
        if work.group > 0 {
            *groups += pods.div_ceil(work.group) as u32;
        }
    }

    /// Rows in the layout of `scoring.wit`.
    pub(super) fn lower(&self, columns: &[Column]) -> Lowered {
        let wanted = self.preemptor.demands.iter().any(|d| d.pod.gpu_count > 0);
        let held = self.running.gpu_slots.iter().any(|s| *s != 0);
        let widest = |row: &Row| {
            let last = row.gpus.iter().rposition(|g| g.milli >= 0);
            last.map_or(0, |slot| slot as u32 + 1)
        };
        let held_up_to = |s: &u64| u64::BITS - s.leading_zeros();
        let slots = match wanted || held {
            true => {
                let rows = self.rows.iter().map(widest).max().unwrap_or(0);
                let held = self.running.gpu_slots.iter().map(held_up_to).max();
                rows.max(held.unwrap_or(0))
            }
            false => 0,
        };
        let mut data = Vec::new();
        for column in columns {
            if !column.is_per_gpu() {
                data.extend(self.rows.iter().map(|r| r.get(*column)));
                continue;
            }
            for slot in 0..slots as usize {
                data.extend(self.rows.iter().map(|row| match column {
                    Column::GpuMilliFree => row.gpus[slot].milli,
                    Column::GpuMemoryFree => row.gpus[slot].memory,
                    _ => -1,
                }));
            }
        }
        Lowered { slots, data }
    }

    pub(super) fn request<'q>(&'q self, lowered: &'q Lowered) -> PreemptRequest<'q> {
        PreemptRequest {
            now: NOW_MS,
            mode: self.mode,
            seed: self.seed,
            action: self.action.port(),
            preemptor: &self.preemptor,
            domains: &self.domains,
            queues: &self.queues,
            budgets: &self.budgets,
            rows: Rows {
                count: self.rows.len() as u32,
                slots: lowered.slots,
                data: &lowered.data,
            },
            running: &self.running,
        }
    }

    /// The same question with its rows in another order: the one at `order[i]`
    /// comes `i`-th.
    pub(super) fn with_rows(&self, order: &[usize]) -> Self {
        let mut other = self.clone();
        other.rows = order.iter().map(|i| self.rows[*i].clone()).collect();
        let mut now = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            now[*old] = new as u32;
        }
        for row in &mut other.running.row {
            *row = now[*row as usize];
        }
        for domain in &mut other.domains {
            for row in &mut domain.rows {
                *row = now[*row as usize];
            }
            domain.rows.sort_unstable();
        }
        other
    }

    /// The same question with its running work in another order. Ids stay with
    /// their pods: a host never gives them in this order, so answers are compared
    /// and not checked.
    pub(super) fn with_running(&self, order: &[usize]) -> Self {
        fn moved<T: Copy>(column: &mut [T], order: &[usize]) {
            let before = column.to_vec();
            for (slot, old) in column.iter_mut().zip(order) {
                *slot = before[*old];
            }
        }
        let mut other = self.clone();
        let r = &mut other.running;
        for column in [
            &mut r.id,
            &mut r.row,
            &mut r.owner,
            &mut r.group,
            &mut r.restart_cost,
            &mut r.budget,
            &mut r.grace,
        ] {
            moved(column, order);
        }
        for column in [&mut r.priority, &mut r.cpu, &mut r.memory, &mut r.gpu_milli] {
            moved(column, order);
        }
        for column in [&mut r.gpu_slots, &mut r.started, &mut r.checkpoint] {
            moved(column, order);
        }
        moved(&mut r.allowed, order);
        other
    }

    /// The same question with one domain only, which is the nominated one.
    pub(super) fn only(&self, domain: u32) -> Self {
        let mut other = self.clone();
        other.domains = vec![self.domains[domain as usize].clone()];
        other.preemptor.nominated = Some(0);
        other
    }
}

fn preemptor(case: &PreemptionCase, context: &Context) -> Preemptor {
    let demand = |w: &Want| Demand {
        role: w.role.clone(),
        pod: PodRow {
            cpu: w.cpu,
            memory: w.memory,
            disk: w.disk,
            network: w.network,
            gpu_count: w.gpus,
            gpu_milli: w.gpu_milli,
            gpu_memory: w.gpu_memory,
            gpu_models: mask(context, &w.gpu_models),
            priority: w.priority,
            app: 1,
        },
        count: w.count,
        min: w.min,
    };
    let owner = case.queues.iter().position(|q| q.name == case.queue);
    Preemptor {
        job: "wants-room".to_owned(),
        queue: case.queue.clone(),
        owner: owner.map_or(NONE, |i| i as u32),
        waited: 60_000,
        attempts: u32::from(case.nominated.is_some()),
        constraint: case.constraint.port(),
        level: case.level,
        demands: case.want.iter().map(demand).collect(),
        nominated: None,
    }
}

/// Smallest level first, then by name, as the engine gives them.
fn domains(case: &PreemptionCase, rows: &[Row], places: &[Vec<String>; 2]) -> Vec<Domain> {
    let constraint = case.constraint.port();
    let single = matches!(&case.want[..], [one] if one.count == 1);
    let mut domains = Vec::new();
    let top = match constraint {
        Constraint::Required => case.level,
        Constraint::None | Constraint::Preferred => LEVEL_CLUSTER,
    };
    if constraint != Constraint::None && case.level == 0 {
        domains.extend(rows.iter().enumerate().map(|(i, row)| Domain {
            level: 0,
            name: row.name.clone(),
            rows: vec![i as u32],
        }));
    }
    let grouped = !(single && constraint == Constraint::None);
    for (level, names) in [(1, &places[0]), (3, &places[1])] {
        if level > top || !grouped {
            continue;
        }
        let mut by_name: BTreeMap<&String, Vec<u32>> = BTreeMap::new();
        for (i, name) in names.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
            by_name.entry(name).or_default().push(i as u32);
        }
        domains.extend(by_name.into_iter().map(|(name, rows)| Domain {
            level,
            name: name.clone(),
            rows,
        }));
    }
    if top == LEVEL_CLUSTER {
        domains.push(Domain {
            level: LEVEL_CLUSTER,
            name: "cluster".to_owned(),
            rows: (0..rows.len() as u32).collect(),
        });
    }
    domains
}

/// Ids of names in order of their first use; -1 for none.
fn intern(names: &[String]) -> Vec<i32> {
    let mut known: BTreeMap<&String, i32> = BTreeMap::new();
    let mut id = |name| {
        let next = known.len() as i32;
        *known.entry(name).or_insert(next)
    };
    names
        .iter()
        .map(|name| if name.is_empty() { -1 } else { id(name) })
        .collect()
}
