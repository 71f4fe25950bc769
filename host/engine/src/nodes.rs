//! The cluster as columns: one row a node, one strip of slots a row for its
//! devices. Row ids are stable; a removed node's row is reused, lowest first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::quantity::GPU_MILLI;
use model::topology::GPUS_PER_NODE_MAX;
use model::{LinkMatrix, NodeSpec, Resources, Taint};

use crate::names::{Interner, NameIndex};

/// Device slots a row has in the columns.
pub(crate) const SLOTS: usize = GPUS_PER_NODE_MAX;

/// Most GPU models of one cluster: acceptable models are a 64-bit set, whose
/// last bit means "a model this cluster does not have".
pub const GPU_MODELS_MAX: usize = 63;

/// Most zones, most racks and most blocks a cluster ever has: their ids never change, so
/// the names are part of the state that every commit carries.
pub const PLACES_MAX: usize = 4_096;

/// Rows kept in the change log. A reader further behind rescans everything,
/// which then costs no more than reading the log.
const CHANGES_KEPT: usize = 1 << 16;

/// A value of a guest column: what does not fit is as good as infinite.
pub(crate) fn to_s32(v: i64) -> i32 {
    i32::try_from(v).unwrap_or(if v < 0 { i32::MIN } else { i32::MAX })
}

/// Device columns of one row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeviceChange {
    pub(crate) milli: i32,
    pub(crate) memory: i32,
}

/// Node columns. Fields are read by `filter`, `lower` and `why`.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) specs: Vec<Option<Arc<NodeSpec>>>,
    pub(crate) names: Vec<Arc<str>>,
    index: NameIndex,
    vacant: BTreeSet<u32>,
    live: u32,

    pub(crate) free: Vec<Resources>,
    pub(crate) cap: Vec<Resources>,
    pub(crate) cpu_cap: Vec<i32>,
    pub(crate) memory_cap: Vec<i32>,
    pub(crate) disk_cap: Vec<i32>,
    pub(crate) network_cap: Vec<i32>,
    pub(crate) cpu_free: Vec<i32>,
    pub(crate) memory_free: Vec<i32>,
    pub(crate) disk_free: Vec<i32>,
    pub(crate) network_free: Vec<i32>,
    pub(crate) pods: Vec<i32>,
    pub(crate) gpu_count: Vec<i32>,
    pub(crate) gpu_free: Vec<i32>,
    pub(crate) gpu_whole: Vec<i32>,
    pub(crate) gpu_model: Vec<i32>,
    pub(crate) wiring: Vec<i32>,
    pub(crate) zone: Vec<i32>,
    pub(crate) rack: Vec<i32>,
    pub(crate) block: Vec<i32>,
    pub(crate) price: Vec<i32>,
    pub(crate) labels: Vec<u32>,
    pub(crate) taints: Vec<u32>,
    /// Cordoned or failed.
    pub(crate) closed: Vec<bool>,
    pub(crate) failed: Vec<bool>,
    /// Devices described, healthy or not.
    pub(crate) device_slots: Vec<u8>,
    /// SLOTS a row; -1 where there is no healthy device.
    pub(crate) gpu_milli_free: Vec<i32>,
    pub(crate) gpu_memory_free: Vec<i32>,
    pub(crate) gpu_numa: Vec<i32>,
    /// Used share and memory a slot, healthy or not.
    gpu_used: Vec<DeviceChange>,

    pub(crate) gpu_models: Interner<Arc<str>>,
    pub(crate) wirings: Interner<Arc<LinkMatrix>>,
    pub(crate) zones: Interner<Arc<str>>,
    pub(crate) racks: Interner<Arc<str>>,
    pub(crate) blocks: Interner<Arc<str>>,
    pub(crate) label_sets: Interner<Arc<BTreeMap<String, String>>>,
    pub(crate) taint_sets: Interner<Arc<[Taint]>>,
    pub(crate) zone_rows: Vec<Vec<u32>>,

    changes: Vec<u32>,
    changes_base: u64,
}

impl<T: Clone + Eq + std::hash::Hash> Default for Interner<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl Nodes {
    /// Rows, live or not.
    pub(crate) fn rows(&self) -> u32 {
        self.specs.len() as u32
    }

    /// Nodes.
    pub(crate) fn live(&self) -> u32 {
        self.live
    }

    pub(crate) fn row(&self, name: &str) -> Option<u32> {
        self.index.get(name)
    }

    pub(crate) fn spec(&self, row: u32) -> Option<&Arc<NodeSpec>> {
        self.specs[row as usize].as_ref()
    }

    pub(crate) fn live_rows(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.rows()).filter(|r| self.specs[*r as usize].is_some())
    }

    /// Position in the change log right now.
    pub(crate) fn now(&self) -> u64 {
        self.changes_base + self.changes.len() as u64
    }

    /// Rows changed since `seen`, with repetitions; `None` when the log no
    /// longer reaches back that far.
    pub(crate) fn changed_since(&self, seen: u64) -> Option<&[u32]> {
        let skip = seen.checked_sub(self.changes_base)?;
        self.changes.get(skip as usize..)
    }

    pub(crate) fn touch(&mut self, row: u32) {
        if self.changes.len() == CHANGES_KEPT {
            let drop = CHANGES_KEPT / 2;
            self.changes.drain(..drop);
            self.changes_base += drop as u64;
        }
        self.changes.push(row);
    }

    /// Whether a description would need one zone or rack name too many.
    pub(crate) fn place_limit_reached(&self, spec: &NodeSpec) -> bool {
        let over = |name: &Option<String>, known: &Interner<Arc<str>>| {
            name.as_deref()
                .is_some_and(|n| known.get(n).is_none() && known.len() == PLACES_MAX)
        };
        over(&spec.zone, &self.zones)
            || over(&spec.rack, &self.racks)
            || over(&spec.block, &self.blocks)
    }

    /// Whether a description would need more GPU models than a cluster has.
    pub(crate) fn model_limit_reached(&self, spec: &NodeSpec) -> bool {
        spec.gpus.first().is_some_and(|g| {
            self.gpu_models.get(g.model.as_str()).is_none()
                && self.gpu_models.len() == GPU_MODELS_MAX
        })
    }

    fn grow(&mut self) -> u32 {
        let row = self.rows();
        self.specs.push(None);
        self.names.push(Arc::from(""));
        self.free.push(Resources::default());
        self.cap.push(Resources::default());
        for column in [
            &mut self.cpu_cap,
            &mut self.memory_cap,
            &mut self.disk_cap,
            &mut self.network_cap,
            &mut self.cpu_free,
            &mut self.memory_free,
            &mut self.disk_free,
            &mut self.network_free,
            &mut self.pods,
            &mut self.gpu_count,
            &mut self.gpu_free,
            &mut self.gpu_whole,
            &mut self.price,
        ] {
            column.push(0);
        }
        for column in [
            &mut self.gpu_model,
            &mut self.wiring,
            &mut self.zone,
            &mut self.rack,
            &mut self.block,
        ] {
            column.push(-1);
        }
        self.labels.push(0);
        self.taints.push(0);
        self.device_slots.push(0);
        self.closed.push(true);
        self.failed.push(false);
        let slots = self.rows() as usize * SLOTS;
        self.gpu_milli_free.resize(slots, -1);
        self.gpu_memory_free.resize(slots, -1);
        self.gpu_numa.resize(slots, -1);
        self.gpu_used.resize(
            slots,
            DeviceChange {
                milli: 0,
                memory: 0,
            },
        );
        row
    }

    /// Adds a node, or changes its description and keeps what runs on it.
    /// `at` asks for an exact row when state is restored.
    pub(crate) fn put(&mut self, spec: NodeSpec, at: Option<u32>) -> u32 {
        let row = match self.index.get(&spec.name) {
            Some(row) => row,
            None => self.claim(&spec.name, at),
        };
        let r = row as usize;
        let used = {
            let (cap, free) = (self.cap[r], self.free[r]);
            let mut used = cap;
            used -= free;
            used
        };
        self.leave_zone(row);
        self.set_capacity(row, spec.capacity);
        self.free[r] = spec.capacity;
        self.free[r] -= used;
        self.gpu_model[r] = spec.gpus.first().map_or(-1, |g| {
            self.gpu_models.intern(&Arc::from(g.model.as_str())) as i32
        });
        self.wiring[r] = if spec.gpus.is_empty() {
            -1
        } else {
            let links = spec
                .links
                .clone()
                .unwrap_or_else(|| LinkMatrix::unknown(spec.gpus.len()));
            let numa = links.numa().to_vec();
            for (s, n) in numa.iter().enumerate() {
                self.gpu_numa[r * SLOTS + s] = i32::from(*n);
            }
            self.wirings.intern(&Arc::new(links)) as i32
        };
        self.zone[r] = match &spec.zone {
            Some(z) => self.zones.intern(&Arc::from(z.as_str())) as i32,
            None => -1,
        };
        self.rack[r] = match &spec.rack {
            Some(z) => self.racks.intern(&Arc::from(z.as_str())) as i32,
            None => -1,
        };
        self.block[r] = match &spec.block {
            Some(b) => self.blocks.intern(&Arc::from(b.as_str())) as i32,
            None => -1,
        };
        self.price[r] = to_s32(spec.price_milli);
        self.labels[r] = self.label_sets.intern(&Arc::new(spec.labels.clone()));
        self.taints[r] = self.taint_sets.intern(&Arc::from(spec.taints.as_slice()));
        self.specs[r] = Some(Arc::new(spec));
        self.enter_zone(row);
        self.refresh_closed(row);
        self.refresh_devices(row);
        self.refresh_scaled(row);
        self.touch(row);
        row
    }

    fn claim(&mut self, name: &str, at: Option<u32>) -> u32 {
        let row = match at {
            Some(row) => {
                while self.rows() <= row {
                    let new = self.grow();
                    self.vacant.insert(new);
                }
                self.vacant.remove(&row);
                row
            }
            None => match self.vacant.pop_first() {
                Some(row) => row,
                None => self.grow(),
            },
        };
        let name: Arc<str> = Arc::from(name);
        self.names[row as usize] = Arc::clone(&name);
        self.index.insert(name, row);
        self.live += 1;
        row
    }

    /// Takes a node out. The caller has already taken its pods off.
    pub(crate) fn remove(&mut self, row: u32) {
        let r = row as usize;
        self.leave_zone(row);
        self.index.remove(&Arc::clone(&self.names[r]));
        self.specs[r] = None;
        self.set_capacity(row, Resources::default());
        self.free[r] = Resources::default();
        self.failed[r] = false;
        self.gpu_model[r] = -1;
        self.wiring[r] = -1;
        self.zone[r] = -1;
        self.rack[r] = -1;
        self.block[r] = -1;
        self.price[r] = 0;
        self.live -= 1;
        self.vacant.insert(row);
        self.refresh_closed(row);
        self.refresh_devices(row);
        self.refresh_scaled(row);
        self.touch(row);
    }

    /// Lets nobody onto a node that is about to be removed.
    pub(crate) fn close(&mut self, row: u32) {
        self.closed[row as usize] = true;
        self.touch(row);
    }

    pub(crate) fn set_failed(&mut self, row: u32, failed: bool) {
        self.failed[row as usize] = failed;
        self.refresh_closed(row);
        self.touch(row);
    }

    /// Takes (`sign` 1) or gives back (`sign` -1) what a pod uses.
    pub(crate) fn charge(
        &mut self,
        row: u32,
        sign: i64,
        requests: &Resources,
        devices: u16,
        per_device: DeviceChange,
    ) {
        let r = row as usize;
        let free = &mut self.free[r];
        free.cpu_milli -= sign * requests.cpu_milli;
        free.memory_mib -= sign * requests.memory_mib;
        free.disk_mib -= sign * requests.disk_mib;
        free.network_mbps -= sign * requests.network_mbps;
        self.pods[r] += sign as i32;
        self.refresh_scaled(row);
        if devices != 0 {
            for s in slots_of(devices) {
                let used = &mut self.gpu_used[r * SLOTS + s];
                used.milli += sign as i32 * per_device.milli;
                used.memory += sign as i32 * per_device.memory;
            }
            self.refresh_devices(row);
        }
        self.touch(row);
    }

    /// Share and memory left on a healthy device, below zero while a place is
    /// promised that its owner has not left yet.
    pub(crate) fn device_left(&self, row: u32, slot: usize) -> Option<(i32, i32)> {
        let gpu = self.specs[row as usize].as_ref()?.gpus.get(slot)?;
        let used = &self.gpu_used[row as usize * SLOTS + slot];
        gpu.healthy.then(|| {
            let milli = GPU_MILLI as i32 - used.milli;
            (milli, to_s32(gpu.memory_mib) - used.memory)
        })
    }

    /// Whether a device of the row is charged twice: promised while its holder
    /// leaves.
    pub(crate) fn is_overcharged(&self, row: u32) -> bool {
        (0..usize::from(self.device_slots[row as usize])).any(|slot| {
            let left = self.device_left(row, slot);
            left.is_some_and(|(milli, memory)| milli < 0 || memory < 0)
        })
    }

    /// Memory of a device, MiB; 0 when unknown.
    pub(crate) fn device_memory(&self, row: u32, slot: usize) -> i32 {
        let spec = self.specs[row as usize].as_ref();
        let gpu = spec.and_then(|spec| spec.gpus.get(slot));
        gpu.map_or(0, |gpu| to_s32(gpu.memory_mib))
    }

    fn set_capacity(&mut self, row: u32, capacity: Resources) {
        let r = row as usize;
        self.cap[r] = capacity;
        self.cpu_cap[r] = to_s32(capacity.cpu_milli);
        self.memory_cap[r] = to_s32(capacity.memory_mib);
        self.disk_cap[r] = to_s32(capacity.disk_mib);
        self.network_cap[r] = to_s32(capacity.network_mbps);
    }

    fn refresh_scaled(&mut self, row: u32) {
        let r = row as usize;
        let free = self.free[r];
        self.cpu_free[r] = to_s32(free.cpu_milli);
        self.memory_free[r] = to_s32(free.memory_mib);
        self.disk_free[r] = to_s32(free.disk_mib);
        self.network_free[r] = to_s32(free.network_mbps);
    }

    fn refresh_closed(&mut self, row: u32) {
        let r = row as usize;
        self.closed[r] = match &self.specs[r] {
            Some(spec) => spec.cordoned || self.failed[r],
            None => true,
        };
    }

    fn refresh_devices(&mut self, row: u32) {
        let r = row as usize;
        let (mut count, mut free, mut whole) = (0, 0, 0);
        let spec = self.specs[r].as_ref();
        self.device_slots[r] = spec.map_or(0, |s| s.gpus.len() as u8);
        for s in 0..SLOTS {
            let i = r * SLOTS + s;
            let gpu = spec.and_then(|spec| spec.gpus.get(s));
            (self.gpu_milli_free[i], self.gpu_memory_free[i]) = match gpu {
                Some(gpu) if gpu.healthy => {
                    let milli = GPU_MILLI as i32 - self.gpu_used[i].milli;
                    count += 1;
                    free += milli.max(0);
                    whole += i32::from(milli == GPU_MILLI as i32);
                    let memory = to_s32(gpu.memory_mib) - self.gpu_used[i].memory;
                    (milli.max(0), memory.max(0))
                }
                _ => (-1, -1),
            };
            if gpu.is_none() {
                self.gpu_numa[i] = -1;
            }
        }
        self.gpu_count[r] = count;
        self.gpu_free[r] = free;
        self.gpu_whole[r] = whole;
    }

    fn enter_zone(&mut self, row: u32) {
        let zone = self.zone[row as usize];
        if zone >= 0 {
            let zone = zone as usize;
            if self.zone_rows.len() <= zone {
                self.zone_rows.resize(zone + 1, Vec::new());
            }
            self.zone_rows[zone].push(row);
        }
    }

    fn leave_zone(&mut self, row: u32) {
        let zone = self.zone[row as usize];
        if zone >= 0 {
            self.zone_rows[zone as usize].retain(|r| *r != row);
        }
    }
}

/// Slots of a device mask, ascending.
pub(crate) fn slots_of(mask: u16) -> impl Iterator<Item = usize> {
    (0..SLOTS).filter(move |s| mask & (1 << s) != 0)
}
