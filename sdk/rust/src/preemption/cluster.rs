//! The what-if state: evict, place, move, and take everything back.
//!
//! Built in one pass over the request. Every change goes to a log first, so that
//! [`Cluster::rollback`] costs what was touched and nothing is ever copied. There
//! is no allocation a node.

mod room;

use std::collections::BTreeMap;

use super::links::best_linked;
use super::{Case, MAY_KILL, MAY_MOVE, Running};
use crate::Column;
use crate::scoring::{DeviceSet, GPU_WHOLE, Pod, Wiring};

/// Columns that the what-if state reads; a policy declares at least these.
pub const WHAT_IF_COLUMNS: [Column; 9] = [
    Column::Row,
    Column::CpuFree,
    Column::MemoryFree,
    Column::DiskFree,
    Column::NetworkFree,
    Column::GpuModel,
    Column::Wiring,
    Column::GpuMilliFree,
    Column::GpuMemoryFree,
];

/// A point of the log to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a mark is there to be rolled back to"]
pub struct Mark(usize);

/// What is free on one row besides its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fit {
    /// Milli-cores.
    pub cpu: i32,
    /// MiB.
    pub memory: i32,
    /// MiB.
    pub disk: i32,
    /// Mbit/s.
    pub network: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gpu {
    milli: i32,
    memory: i32,
}

/// The value before a change.
#[derive(Debug, Clone, Copy)]
enum Undo {
    Row { row: u32, free: Fit },
    Gpu { row: u32, slot: u32, gpu: Gpu },
    Gone { victim: u32, gone: bool },
}

/// The what-if state of one request. Rows and victims go by their index in it.
#[derive(Clone)]
pub struct Cluster<'a> {
    running: &'a Running,
    slots: usize,
    ids: &'a [i32],
    models: &'a [i32],
    wiring: &'a [i32],
    free: Vec<Fit>,
    /// Row-major, so that one row's devices are one cache line.
    gpus: Vec<Gpu>,
    /// Entirely free devices a row.
    whole: Vec<u32>,
    /// Memory that a device has when nothing runs on it, by model.
    model_memory: Vec<i32>,
    /// Memory that was free on each device at the start, row-major.
    memory_before: Vec<i32>,
    gone: Vec<bool>,
    /// Victims of row r: `by_row[starts[r]..starts[r + 1]]`.
    starts: Vec<u32>,
    by_row: Vec<u32>,
    wirings: &'a [Wiring],
    chosen: BTreeMap<(i32, u64, u32), u64>,
    log: Vec<Undo>,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(case: &Case<'a>) -> Self {
        let rows = &case.rows;
        let (count, slots) = (rows.len(), rows.slots());
        let column = |c| rows.column(c);
        let (cpu, memory) = (column(Column::CpuFree), column(Column::MemoryFree));
        let (disk, network) = (column(Column::DiskFree), column(Column::NetworkFree));
        let free = (0..count)
            .map(|r| Fit {
                cpu: cpu[r],
                memory: memory[r],
                disk: disk[r],
                network: network[r],
            })
            .collect();
        let absent = Gpu {
            milli: -1,
            memory: -1,
        };
        let mut gpus = vec![absent; count * slots];
        let mut whole = vec![0; count];
        for slot in 0..slots {
            let milli = rows.gpu(Column::GpuMilliFree, slot);
            let memory = rows.gpu(Column::GpuMemoryFree, slot);
            for r in 0..count {
                gpus[r * slots + slot] = Gpu {
                    milli: milli[r],
                    memory: memory[r],
                };
                whole[r] += u32::from(milli[r] >= GPU_WHOLE);
            }
        }
        let (starts, by_row) = victims_by_row(&case.request.running.row, count);
        Self {
            running: &case.request.running,
            slots,
            ids: column(Column::Row),
            models: column(Column::GpuModel),
            wiring: column(Column::Wiring),
            free,
            memory_before: gpus.iter().map(|g| g.memory).collect(),
            gpus,
            whole,
            model_memory: case.context.gpu_models.iter().map(|m| m.memory).collect(),
            gone: vec![false; case.request.running.id.len()],
            starts,
            by_row,
            wirings: &case.context.wirings,
            chosen: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// Stable id of a row's node; order by it, never by the index.
    #[must_use]
    #[inline]
    pub fn id(&self, row: usize) -> i32 {
        self.ids[row]
    }

    /// What is free now besides devices.
    #[must_use]
    #[inline]
    pub fn free(&self, row: usize) -> Fit {
        self.free[row]
    }

    /// Device slots of every row.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Free milli-GPU of a device, -1 if it is absent or unhealthy.
    #[must_use]
    #[inline]
    pub fn milli(&self, row: usize, slot: usize) -> i32 {
        self.gpus[row * self.slots + slot].milli
    }

    /// Free milli-GPU and MiB of a device, -1 if it is absent or unhealthy.
    #[must_use]
    #[inline]
    pub fn device(&self, row: usize, slot: usize) -> (i32, i32) {
        let gpu = self.gpus[row * self.slots + slot];
        (gpu.milli, gpu.memory)
    }

    /// Free milli-GPU over a row's healthy devices.
    #[must_use]
    pub fn milli_sum(&self, row: usize) -> i64 {
        let gpus = &self.gpus[row * self.slots..][..self.slots];
        gpus.iter().map(|g| i64::from(g.milli.max(0))).sum()
    }

    /// Entirely free devices of a row.
    #[must_use]
    #[inline]
    pub fn whole(&self, row: usize) -> u32 {
        self.whole[row]
    }

    /// Whether two rows offer exactly the same now, so that what failed on one
    /// need not be tried on the other.
    #[must_use]
    pub fn alike(&self, a: usize, b: usize) -> bool {
        self.free[a] == self.free[b]
            && self.models[a] == self.models[b]
            && self.gpus[a * self.slots..][..self.slots]
                == self.gpus[b * self.slots..][..self.slots]
    }

    /// Victims that were running on a row, whether or not they are gone by now.
    #[must_use]
    #[inline]
    pub fn victims(&self, row: usize) -> &[u32] {
        &self.by_row[self.starts[row] as usize..self.starts[row + 1] as usize]
    }

    /// Victims of the request.
    #[must_use]
    pub fn victim_count(&self) -> usize {
        self.gone.len()
    }

    /// Whether a victim has been evicted or moved.
    #[must_use]
    #[inline]
    pub fn is_gone(&self, victim: usize) -> bool {
        self.gone[victim]
    }

    // === changes ===

    /// A point to come back to.
    pub fn fork(&self) -> Mark {
        Mark(self.log.len())
    }

    /// Undoes everything since the mark, in time of what was touched.
    pub fn rollback(&mut self, mark: Mark) {
        while self.log.len() > mark.0 {
            match self.log.pop() {
                Some(Undo::Row { row, free }) => self.free[row as usize] = free,
                Some(Undo::Gpu { row, slot, gpu }) => {
                    self.write_gpu(row as usize, slot as usize, gpu);
                }
                Some(Undo::Gone { victim, gone }) => self.gone[victim as usize] = gone,
                None => {}
            }
        }
    }

    /// Keeps everything for good: marks taken before are void.
    pub fn commit(&mut self) {
        self.log.clear();
    }

    /// Takes a running victim away. One on a node that is not among the rows
    /// frees nothing.
    pub fn evict(&mut self, victim: usize) {
        if self.gone[victim] {
            return;
        }
        self.set_gone(victim, true);
        let Some(row) = self.row_of(victim) else {
            return;
        };
        let mut free = self.free[row];
        free.cpu = free.cpu.saturating_add(self.running.cpu[victim]);
        free.memory = free.memory.saturating_add(self.running.memory[victim]);
        self.set_free(row, free);
        let share = self.running.gpu_milli[victim];
        for slot in self.slots_of(victim).iter() {
            let slot = slot as usize;
            let mut gpu = self.gpus[row * self.slots + slot];
            if gpu.milli < 0 {
                continue;
            }
            gpu.milli = (gpu.milli + share).min(GPU_WHOLE);
            // How much memory a share used is not told. An empty device has all
            // of its own; with neighbours left nothing is assumed.
            if gpu.milli == GPU_WHOLE {
                gpu.memory = gpu.memory.max(self.full_memory(row));
            }
            self.set_gpu(row, slot, gpu);
        }
    }

    /// Brings an evicted victim back to where it was. What was placed on its row
    /// since must be rolled back before.
    pub fn restore(&mut self, victim: usize) {
        if !self.gone[victim] {
            return;
        }
        self.set_gone(victim, false);
        let Some(row) = self.row_of(victim) else {
            return;
        };
        let mut free = self.free[row];
        free.cpu -= self.running.cpu[victim];
        free.memory -= self.running.memory[victim];
        self.set_free(row, free);
        let share = self.running.gpu_milli[victim];
        for slot in self.slots_of(victim).iter() {
            let slot = slot as usize;
            let at = row * self.slots + slot;
            let mut gpu = self.gpus[at];
            if gpu.milli < 0 {
                continue;
            }
            if gpu.milli == GPU_WHOLE {
                gpu.memory = self.memory_before[at];
            }
            gpu.milli = (gpu.milli - share).max(0);
            self.set_gpu(row, slot, gpu);
        }
    }

    /// Places a pod, choosing devices; none if it does not fit. Whole devices are
    /// those with the fastest slowest link, a share goes to the fullest device
    /// that has room.
    pub fn try_place(&mut self, pod: &Pod, row: usize) -> Option<DeviceSet> {
        if !self.fits(pod, row) {
            return None;
        }
        let devices = self.choose(pod, row);
        self.place_on(pod, row, devices);
        Some(devices)
    }

    /// Places a pod on devices that have room for it (see [`Cluster::usable`]).
    pub fn place_on(&mut self, pod: &Pod, row: usize, devices: DeviceSet) {
        let mut free = self.free[row];
        free.cpu -= pod.cpu;
        free.memory -= pod.memory;
        free.disk -= pod.disk;
        free.network -= pod.network;
        self.set_free(row, free);
        for slot in devices.iter() {
            let mut gpu = self.gpus[row * self.slots + slot as usize];
            gpu.milli -= pod.gpu_milli as i32;
            gpu.memory -= pod.gpu_memory;
            self.set_gpu(row, slot as usize, gpu);
        }
    }

    /// Moves a running victim to another row; none, and nothing changes, if it
    /// does not fit there. Devices must be of the model it runs on now. Disk,
    /// network and device memory of running work are not told: it is taken to
    /// use as much of a device's memory as of its share.
    pub fn try_move(&mut self, victim: usize, row: usize) -> Option<DeviceSet> {
        let pod = self.as_pod(victim);
        let same_model = self
            .row_of(victim)
            .is_some_and(|from| self.models[from] == self.models[row]);
        if (pod.gpu_count > 0 && !same_model) || !self.fits(&pod, row) {
            return None;
        }
        self.evict(victim);
        let devices = self.choose(&pod, row);
        self.place_on(&pod, row, devices);
        Some(devices)
    }

    /// A victim as a pod that asks for what it holds.
    #[must_use]
    pub fn as_pod(&self, victim: usize) -> Pod {
        let slots = DeviceSet::from_mask(self.running.gpu_slots[victim]);
        let milli = if slots.is_empty() {
            0
        } else {
            self.running.gpu_milli[victim].clamp(0, GPU_WHOLE)
        };
        let full = self.row_of(victim).map_or(0, |row| self.full_memory(row));
        let memory = i64::from(full) * i64::from(milli) / i64::from(GPU_WHOLE);
        Pod {
            cpu: self.running.cpu[victim],
            memory: self.running.memory[victim],
            gpu_count: slots.len() as u32,
            gpu_milli: milli as u32,
            gpu_memory: memory as i32,
            priority: self.running.priority[victim],
            ..Pod::default()
        }
    }

    /// Milli-cores, MiB and device slots that a victim holds.
    #[must_use]
    #[inline]
    pub fn held(&self, victim: usize) -> (i32, i32, DeviceSet) {
        let running = self.running;
        (
            running.cpu[victim],
            running.memory[victim],
            self.slots_of(victim),
        )
    }

    /// Whether the victim may be killed, going by its `allowed` bits alone.
    #[must_use]
    pub fn may_kill(&self, victim: usize) -> bool {
        self.running.allowed[victim] & MAY_KILL != 0
    }

    /// Whether the victim may be moved, going by its `allowed` bits alone.
    #[must_use]
    pub fn may_move(&self, victim: usize) -> bool {
        self.running.allowed[victim] & MAY_MOVE != 0
    }

    /// The row a victim runs on, if it is among the rows.
    #[must_use]
    #[inline]
    pub fn row_of(&self, victim: usize) -> Option<usize> {
        let row = self.running.row[victim] as usize;
        (row < self.free.len()).then_some(row)
    }

    fn slots_of(&self, victim: usize) -> DeviceSet {
        let known = match self.slots {
            64.. => u64::MAX,
            slots => (1 << slots) - 1,
        };
        DeviceSet::from_mask(self.running.gpu_slots[victim] & known)
    }

    fn full_memory(&self, row: usize) -> i32 {
        let model = usize::try_from(self.models[row]).ok();
        model
            .and_then(|m| self.model_memory.get(m).copied())
            .unwrap_or(0)
    }

    // === the log ===

    fn set_free(&mut self, row: usize, free: Fit) {
        self.log.push(Undo::Row {
            row: row as u32,
            free: self.free[row],
        });
        self.free[row] = free;
    }

    fn set_gpu(&mut self, row: usize, slot: usize, gpu: Gpu) {
        self.log.push(Undo::Gpu {
            row: row as u32,
            slot: slot as u32,
            gpu: self.gpus[row * self.slots + slot],
        });
        self.write_gpu(row, slot, gpu);
    }

    #[inline]
    fn write_gpu(&mut self, row: usize, slot: usize, gpu: Gpu) {
        let at = row * self.slots + slot;
        let was = u32::from(self.gpus[at].milli >= GPU_WHOLE);
        self.whole[row] = self.whole[row] - was + u32::from(gpu.milli >= GPU_WHOLE);
        self.gpus[at] = gpu;
    }

    fn set_gone(&mut self, victim: usize, gone: bool) {
        self.log.push(Undo::Gone {
            victim: victim as u32,
            gone: self.gone[victim],
        });
        self.gone[victim] = gone;
    }

    // === devices ===

    /// The devices that [`Cluster::try_place`] would take on a row that fits.
    #[must_use]
    pub fn choose(&mut self, pod: &Pod, row: usize) -> DeviceSet {
        if pod.gpu_count == 0 {
            return DeviceSet::new();
        }
        let usable = self.usable(pod, row);
        if pod.is_share() {
            let fullest = DeviceSet::from_mask(usable)
                .iter()
                .min_by_key(|slot| self.gpus[row * self.slots + *slot as usize].milli);
            return fullest.map(|slot| slot as usize).into_iter().collect();
        }
        if usable.count_ones() <= pod.gpu_count {
            return DeviceSet::from_mask(usable);
        }
        let key = (self.wiring[row], usable, pod.gpu_count);
        if let Some(known) = self.chosen.get(&key) {
            return DeviceSet::from_mask(*known);
        }
        let wiring = usize::try_from(self.wiring[row]).ok();
        let wiring = wiring.and_then(|w| self.wirings.get(w));
        let set = best_linked(wiring, usable, pod.gpu_count);
        self.chosen.insert(key, set);
        DeviceSet::from_mask(set)
    }
}

/// Counting sort of the victims by row; those elsewhere are left out.
fn victims_by_row(row_of: &[u32], rows: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; rows + 1];
    for row in row_of.iter().filter(|r| (**r as usize) < rows) {
        starts[*row as usize + 1] += 1;
    }
    for r in 0..rows {
        starts[r + 1] += starts[r];
    }
    let mut next = starts.clone();
    let mut by_row = vec![0; starts[rows] as usize];
    for (victim, row) in row_of.iter().enumerate() {
        if let Some(at) = next[..rows].get_mut(*row as usize) {
            by_row[*at as usize] = victim as u32;
            *at += 1;
        }
    }
    (starts, by_row)
}
