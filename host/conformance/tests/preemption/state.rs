//! What is free while somebody is thought to have left.

use engine::port::preemption::{PreemptRequest, Running};
use engine::port::{Context, PodRow};

const WHOLE: i32 = 1_000;

pub struct State<'r> {
    running: &'r Running,
    data: &'r [i32],
    models: Vec<i32>,
    rows: usize,
    pub slots: usize,
    /// cpu, memory, disk, network by row.
    free: Vec<[i32; 4]>,
    /// Free milli-GPU by row and slot, and MiB promised to the preemptor.
    milli: Vec<i32>,
    promised: Vec<i32>,
}

impl<'r> State<'r> {
    pub fn new(r: &PreemptRequest<'r>, context: &Context) -> Self {
        let (rows, slots) = (r.rows.count as usize, r.rows.slots as usize);
        let at = |column: usize, row: usize| r.rows.data[column * rows + row];
        let free = |row| [at(2, row), at(3, row), at(4, row), at(5, row)];
        let device = |i: usize| r.rows.data[6 * rows + i % slots * rows + i / slots];
        Self {
            running: r.running,
            data: r.rows.data,
            models: context.gpu_models.iter().map(|m| m.memory).collect(),
            rows,
            slots,
            free: (0..rows).map(free).collect(),
            milli: (0..rows * slots).map(device).collect(),
            promised: vec![0; rows * slots],
        }
    }

    pub fn id(&self, row: usize) -> i32 {
        self.data[row]
    }

    pub fn model(&self, row: usize) -> i32 {
        self.data[self.rows + row]
    }

    /// Free milli-GPU and MiB of a device.
    pub fn device(&self, row: usize, slot: usize) -> (i32, i32) {
        let at = row * self.slots + slot;
        let milli = self.milli[at];
        let before = self.data[(6 + self.slots + slot) * self.rows + row];
        let memory = match milli {
            WHOLE => self.models[self.model(row) as usize],
            _ => before - self.promised[at],
        };
        (milli, memory)
    }

    pub fn has(&self, row: usize, pod: &PodRow, any_cpu: bool) -> bool {
        let [cpu, memory, disk, network] = self.free[row];
        (any_cpu || pod.cpu <= cpu)
            && pod.memory <= memory
            && pod.disk <= disk
            && pod.network <= network
    }

    pub fn put(&mut self, row: usize, pod: &PodRow, slots: &[u32]) {
        let needs = [pod.cpu, pod.memory, pod.disk, pod.network];
        for (free, need) in self.free[row].iter_mut().zip(needs) {
            *free -= need;
        }
        for slot in slots {
            let at = row * self.slots + *slot as usize;
            self.milli[at] -= pod.gpu_milli as i32;
            self.promised[at] += pod.gpu_memory;
        }
    }

    pub fn evict(&mut self, victim: usize) {
        self.shift(victim, 1);
    }

    fn shift(&mut self, victim: usize, sign: i32) {
        let row = self.running.row[victim] as usize;
        self.free[row][0] += sign * self.running.cpu[victim];
        self.free[row][1] += sign * self.running.memory[victim];
        for slot in 0..self.slots {
            let at = row * self.slots + slot;
            let healthy = self.data[(6 + slot) * self.rows + row] >= 0;
            if healthy && self.running.gpu_slots[victim] >> slot & 1 == 1 {
                self.milli[at] += sign * self.running.gpu_milli[victim];
            }
        }
    }

    /// Brings all of them back if that leaves room for what was placed.
    pub fn put_back(&mut self, members: &[usize]) -> bool {
        members.iter().for_each(|m| self.shift(*m, -1));
        let fine = members.iter().all(|m| {
            let row = self.running.row[*m] as usize;
            let amounts = self.free[row][0] >= 0 && self.free[row][1] >= 0;
            let held = self.running.gpu_slots[*m];
            let mut slots = (0..self.slots).filter(|s| held >> s & 1 == 1);
            amounts
                && slots.all(|slot| {
                    let at = row * self.slots + slot;
                    let before = self.data[(6 + self.slots + slot) * self.rows + row];
                    let broken = self.data[(6 + slot) * self.rows + row] < 0;
                    broken
                        || self.milli[at] >= 0 && self.promised[at] <= before
                        || self.promised[at] == 0 && self.milli[at] >= 0
                })
        });
        if !fine {
            members.iter().for_each(|m| self.shift(*m, 1));
        }
        fine
    }
}
