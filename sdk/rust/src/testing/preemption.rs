//! A small world for preemption policies: the request that a host would send,
//! and what a host would check in the plan. Everything is counted from scratch
//! and nothing is shared with the what-if state, so that the two can disagree.

mod check;

use std::collections::BTreeMap;

use crate::Column;
use crate::preemption::{
    Action, Budget, Constraint, Demand, Domain, GPU_WHOLE, LEVEL_CLUSTER, MAY_KILL, MAY_MOVE, NONE,
    Preemptor, Queue, Request, Running,
};
use crate::scoring::{Context, GpuModel, Mode, Pod, Wiring};

/// Memory of every device.
const DEVICE_MEMORY: i32 = 80_000;

/// An empty machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Stable id.
    pub id: i32,
    /// Milli-cores.
    pub cpu: i32,
    /// MiB.
    pub memory: i32,
    /// Devices, all of one model and wired alike.
    pub gpus: usize,
    /// Names of rack, block and zone.
    pub place: [String; 3],
}

/// Something that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the contract")]
pub struct Work {
    pub id: u32,
    pub machine: usize,
    pub cpu: i32,
    pub memory: i32,
    pub slots: u64,
    pub milli: i32,
    pub priority: i32,
    pub owner: u32,
    pub group: u32,
    pub started: u64,
    pub checkpoint: u64,
    pub restart_cost: u32,
    pub budget: u32,
    pub allowed: u8,
    pub grace: u32,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            id: 0,
            machine: 0,
            cpu: 0,
            memory: 0,
            slots: 0,
            milli: GPU_WHOLE,
            priority: 0,
            owner: NONE,
            group: NONE,
            started: 0,
            checkpoint: 0,
            restart_cost: 0,
            budget: NONE,
            allowed: MAY_KILL | MAY_MOVE,
            grace: 0,
        }
    }
}

/// Machines, what runs on them, and who wants room.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the contract")]
pub struct World {
    pub machines: Vec<Machine>,
    pub work: Vec<Work>,
    pub queues: Vec<Queue>,
    pub budgets: Vec<Budget>,
    pub demands: Vec<Demand>,
    pub action: Action,
    pub constraint: Constraint,
    pub level: u32,
    pub owner: u32,
    /// Name of the domain that an earlier attempt chose.
    pub nominated: Option<String>,
    pub now: u64,
    /// How the devices of every machine are wired; empty: in no known way.
    pub links: Vec<i32>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            machines: Vec::new(),
            work: Vec::new(),
            queues: Vec::new(),
            budgets: Vec::new(),
            demands: Vec::new(),
            action: Action::Preempt,
            constraint: Constraint::None,
            level: 0,
            owner: NONE,
            nominated: None,
            now: 0,
            links: Vec::new(),
        }
    }
}

/// What is free on one machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Left {
    cpu: i64,
    memory: i64,
    gpus: Vec<i32>,
}

impl World {
    /// Adds a machine in a rack; all racks whose name starts alike up to the
    /// first `-` are one block, and there is one zone.
    #[must_use]
    pub fn machine(mut self, rack: &str, cpu: i32, gpus: usize) -> Self {
        let block = rack.split('-').next().unwrap_or(rack);
        self.machines.push(Machine {
            id: self.machines.len() as i32,
            cpu,
            memory: 1 << 20,
            gpus,
            place: [rack.to_owned(), format!("block-{block}"), "zone".to_owned()],
        });
        self
    }

    /// Adds work that holds these slots of a machine.
    #[must_use]
    pub fn work(mut self, machine: usize, slots: u64, priority: i32) -> Self {
        self.work.push(Work {
            id: self.work.len() as u32,
            machine,
            slots,
            priority,
            ..Work::default()
        });
        self
    }

    /// Changes the work added last.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Work)) -> Self {
        change(self.work.last_mut().expect("work was added before"));
        self
    }

    /// Adds a role.
    #[must_use]
    pub fn role(mut self, pod: Pod, min: u32, count: u32) -> Self {
        self.demands.push(Demand {
            role: format!("role-{}", self.demands.len()),
            pod,
            count,
            min,
        });
        self
    }

    /// Demands that one domain of at most this level holds everything.
    #[must_use]
    pub fn required(mut self, level: u32) -> Self {
        (self.constraint, self.level) = (Constraint::Required, level);
        self
    }

    /// Prefers one domain of at most this level.
    #[must_use]
    pub fn preferred(mut self, level: u32) -> Self {
        (self.constraint, self.level) = (Constraint::Preferred, level);
        self
    }

    fn slots(&self) -> usize {
        self.machines.iter().map(|m| m.gpus).max().unwrap_or(0)
    }

    fn left(&self, stays: impl Fn(&Work) -> bool) -> Vec<Left> {
        let mut left: Vec<Left> = self
            .machines
            .iter()
            .map(|m| Left {
                cpu: m.cpu.into(),
                memory: m.memory.into(),
                gpus: vec![GPU_WHOLE; m.gpus],
            })
            .collect();
        for work in self.work.iter().filter(|w| stays(w)) {
            let left = &mut left[work.machine];
            left.cpu -= i64::from(work.cpu);
            left.memory -= i64::from(work.memory);
            for slot in 0..64 {
                if work.slots >> slot & 1 == 1 {
                    left.gpus[slot] -= work.milli;
                }
            }
        }
        left
    }

    /// The context that goes with [`World::request`].
    #[must_use]
    pub fn context(&self) -> Context {
        let gpus = self.slots();
        let links = if self.links.is_empty() {
            vec![0; gpus * gpus]
        } else {
            self.links.clone()
        };
        Context {
            version: 1,
            mode: Mode::Normal,
            nodes: self.machines.len() as u32,
            gpu_models: vec![GpuModel {
                name: "gpu".to_owned(),
                devices: self.machines.iter().map(|m| m.gpus as u32).sum(),
                memory: DEVICE_MEMORY,
            }],
            shapes: Vec::new(),
            node_shapes: Vec::new(),
            wirings: vec![Wiring {
                gpus: gpus as u32,
                links,
                numa: vec![-1; gpus],
            }],
        }
    }

    fn domains(&self) -> Vec<Domain> {
        let mut domains: BTreeMap<(u32, String), Vec<u32>> = BTreeMap::new();
        for (row, machine) in self.machines.iter().enumerate() {
            let mut join = |level: u32, name: &str| {
                let domain = domains.entry((level, name.to_owned())).or_default();
                domain.push(row as u32);
            };
            for (level, name) in (1..).zip(&machine.place) {
                join(level, name);
            }
            join(LEVEL_CLUSTER, "cluster");
            if self.constraint == Constraint::Required && self.level == 0 {
                join(0, &format!("node-{}", machine.id));
            }
        }
        let top = match self.constraint {
            Constraint::Required => self.level,
            _ => LEVEL_CLUSTER,
        };
        domains
            .into_iter()
            .filter(|((level, _), _)| *level <= top)
            .map(|((level, name), rows)| Domain { level, name, rows })
            .collect()
    }

    /// The request a host would send to a policy that declares these columns.
    #[must_use]
    pub fn request(&self, columns: &[Column]) -> Request {
        let domains = self.domains();
        let nominated = self.nominated.as_ref();
        let nominated = nominated.and_then(|n| domains.iter().position(|d| d.name == *n));
        let slots = self.slots();
        let mut rows = crate::bindings::scoring::exports::loadmaster::policy::scoring::Rows {
            count: self.machines.len() as u32,
            slots: slots as u32,
            data: Vec::new(),
        };
        let left = self.left(|_| true);
        for column in columns {
            for slot in 0..if column.is_per_gpu() { slots } else { 1 } {
                for (machine, left) in self.machines.iter().zip(&left) {
                    rows.data.push(value(*column, slot, machine, left));
                }
            }
        }
        let work = &self.work;
        Request {
            now: self.now,
            mode: Mode::Normal,
            seed: 0,
            action: self.action,
            preemptor: Preemptor {
                job: "job".to_owned(),
                queue: "queue".to_owned(),
                owner: self.owner,
                waited: 0,
                attempts: 0,
                constraint: self.constraint,
                level: self.level,
                demands: self.demands.clone(),
                nominated: nominated.map(|n| n as u32),
            },
            domains,
            queues: self.queues.clone(),
            budgets: self.budgets.clone(),
            rows,
            running: Running {
                id: work.iter().map(|w| w.id).collect(),
                row: work.iter().map(|w| w.machine as u32).collect(),
                owner: work.iter().map(|w| w.owner).collect(),
                group: work.iter().map(|w| w.group).collect(),
                priority: work.iter().map(|w| w.priority).collect(),
                cpu: work.iter().map(|w| w.cpu).collect(),
                memory: work.iter().map(|w| w.memory).collect(),
                gpu_slots: work.iter().map(|w| w.slots).collect(),
                gpu_milli: work.iter().map(|w| w.milli).collect(),
                started: work.iter().map(|w| w.started).collect(),
                checkpoint: work.iter().map(|w| w.checkpoint).collect(),
                restart_cost: work.iter().map(|w| w.restart_cost).collect(),
                budget: work.iter().map(|w| w.budget).collect(),
                allowed: work.iter().map(|w| w.allowed).collect(),
                grace: work.iter().map(|w| w.grace).collect(),
            },
        }
    }

    /// The same world, told in another order.
    #[must_use]
    pub fn shuffled(&self, mut random: impl FnMut(usize) -> usize) -> Self {
        let mut world = self.clone();
        let n = world.machines.len();
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, random(i + 1));
        }
        world.machines = order.iter().map(|i| self.machines[*i].clone()).collect();
        for work in &mut world.work {
            let at = order.iter().position(|i| *i == work.machine);
            work.machine = at.expect("every machine is still there");
        }
        for i in (1..world.work.len()).rev() {
            world.work.swap(i, random(i + 1));
        }
        world
    }
}

fn value(column: Column, slot: usize, machine: &Machine, left: &Left) -> i32 {
    let whole = || left.gpus.iter().filter(|g| **g == GPU_WHOLE).count() as i32;
    match column {
        Column::Row => machine.id,
        Column::CpuFree => left.cpu as i32,
        Column::CpuCap => machine.cpu,
        Column::MemoryFree => left.memory as i32,
        Column::MemoryCap => machine.memory,
        Column::DiskFree | Column::DiskCap | Column::NetworkFree | Column::NetworkCap => 1 << 20,
        Column::GpuCount => machine.gpus as i32,
        Column::GpuFree => left.gpus.iter().sum(),
        Column::GpuWhole => whole(),
        Column::GpuModel | Column::Wiring => {
            if machine.gpus == 0 {
                -1
            } else {
                0
            }
        }
        Column::Zone | Column::Rack | Column::GpuNuma => -1,
        Column::Pods | Column::Price | Column::PeersOnNode | Column::PeersInZone => 0,
        Column::GpuMilliFree => left.gpus.get(slot).copied().unwrap_or(-1),
        // Work takes as much of a device's memory as of its share.
        Column::GpuMemoryFree => left.gpus.get(slot).map_or(-1, |milli| {
            (i64::from(DEVICE_MEMORY) * i64::from(*milli) / i64::from(GPU_WHOLE)) as i32
        }),
    }
}
