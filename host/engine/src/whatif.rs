//! What would fit if this left and that came: the columns with changes laid over
//! them, and a log to take the changes back.

use std::collections::BTreeMap;

use model::Resources;
use model::quantity::GPU_MILLI;

use crate::class::{Class, Classes};
use crate::nodes::{DeviceChange, Nodes, SLOTS, slots_of};
use crate::pods::Allocation;

/// What is left on one row. Signed: a place that is promised while its owner
/// leaves is charged twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowLeft {
    free: Resources,
    milli: [i32; SLOTS],
    memory: [i32; SLOTS],
}

impl RowLeft {
    /// What is left on a row as it is.
    pub(crate) fn of(nodes: &Nodes, row: u32) -> Self {
        let mut left = Self {
            free: nodes.free[row as usize],
            milli: [DEAD; SLOTS],
            memory: [DEAD; SLOTS],
        };
        if nodes.device_slots[row as usize] > 0 {
            for s in 0..SLOTS {
                if let Some((milli, memory)) = nodes.device_left(row, s) {
                    left.milli[s] = milli;
                    left.memory[s] = memory;
                }
            }
        }
        left
    }

    /// Devices that a pod of the class could use, as a mask.
    fn usable(&self, need: &Class) -> u16 {
        let milli = need.gpu.milli.min(GPU_MILLI) as i32;
        let memory = need.gpu.memory_mib as i32;
        (0..SLOTS).fold(0, |mask, s| {
            let ok = self.milli[s] >= milli && self.memory[s] >= memory;
            mask | u16::from(ok) << s
        })
    }

    /// Whether a pod of the class fits.
    pub(crate) fn fits(&self, need: &Class) -> bool {
        need.requests.fits(&self.free)
            && (need.gpu.count == 0 || self.usable(need).count_ones() >= need.gpu.count)
    }

    /// Whether nothing is short that was not as short before, on these devices.
    fn is_no_worse_than(&self, before: &Self, devices: u16) -> bool {
        let amounts = |f: &Resources| [f.cpu_milli, f.memory_mib, f.disk_mib, f.network_mbps];
        let rest = amounts(&self.free).into_iter().zip(amounts(&before.free));
        let mut rest = rest.map(|(now, then)| now >= then.min(0));
        rest.all(|ok| ok)
            && slots_of(devices).all(|s| {
                self.milli[s] >= before.milli[s].min(0) && self.memory[s] >= before.memory[s].min(0)
            })
    }

    /// Takes running work off.
    pub(crate) fn take_off(&mut self, requests: &Resources, at: &Allocation) {
        self.change(requests, at.devices, at.per_device.into(), -1);
    }

    fn change(&mut self, requests: &Resources, devices: u16, per: DeviceChange, sign: i32) {
        if sign > 0 {
            self.free -= *requests;
        } else {
            self.free += *requests;
        }
        for s in slots_of(devices) {
            self.milli[s] -= sign * per.milli;
            self.memory[s] -= sign * per.memory;
        }
    }
}

/// A device that takes nothing, whatever is given back to it.
const DEAD: i32 = i32::MIN / 2;

/// Most pods that a row is said to hold: more than any gang has, and few enough
/// that sums over all rows stay small.
const CAPACITY_MAX: i64 = 4_096;

/// A point to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(usize);

/// The cluster as it would be.
pub(crate) struct WhatIf<'a> {
    pub(crate) nodes: &'a Nodes,
    pub(crate) classes: &'a Classes,
    rows: BTreeMap<u32, RowLeft>,
    log: Vec<(u32, Option<RowLeft>)>,
}

impl<'a> WhatIf<'a> {
    pub(crate) fn new(nodes: &'a Nodes, classes: &'a Classes) -> Self {
        Self {
            nodes,
            classes,
            rows: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.log.len())
    }

    /// Takes back everything since the mark.
    pub(crate) fn rollback(&mut self, mark: Mark) {
        while self.log.len() > mark.0
            && let Some((row, before)) = self.log.pop()
        {
            match before {
                Some(left) => self.rows.insert(row, left),
                None => self.rows.remove(&row),
            };
        }
    }

    fn left(&self, row: u32) -> RowLeft {
        if let Some(left) = self.rows.get(&row) {
            return *left;
        }
        RowLeft::of(self.nodes, row)
    }

    fn set(&mut self, row: u32, left: RowLeft) {
        let before = self.rows.insert(row, left);
        self.log.push((row, before));
    }

    /// Devices of the row that a pod of the class could use, as a mask.
    pub(crate) fn usable(&self, class: u32, row: u32) -> u16 {
        self.left(row).usable(self.classes.get(class))
    }

    /// Whether a pod of the class fits on what is left. Says nothing about
    /// labels, taints and models, which do not change with what runs.
    pub(crate) fn fits(&self, class: u32, row: u32) -> bool {
        let need = self.classes.get(class);
        let free = match self.rows.get(&row) {
            Some(left) => left.free,
            None => self.nodes.free[row as usize],
        };
        need.requests.fits(&free)
            && (need.gpu.count == 0 || self.usable(class, row).count_ones() >= need.gpu.count)
    }

    /// What is left on a device: milli-GPU and MiB.
    pub(crate) fn device(&self, row: u32, slot: usize) -> (i32, i32) {
        let left = self.left(row);
        (left.milli[slot], left.memory[slot])
    }

    /// Pods of the class that fit on what is left, if they come alone.
    pub(crate) fn capacity(&self, class: u32, row: u32) -> u32 {
        let need = self.classes.get(class);
        let left = self.left(row);
        let (r, f) = (&need.requests, &left.free);
        let mut most = CAPACITY_MAX;
        for (need, free) in [
            (r.cpu_milli, f.cpu_milli),
            (r.memory_mib, f.memory_mib),
            (r.disk_mib, f.disk_mib),
            (r.network_mbps, f.network_mbps),
        ] {
            if need > 0 {
                most = most.min(free.max(0) / need);
            } else if free < 0 {
                // A negative remainder lets nobody in, as in `fits`.
                most = 0;
            }
        }
        if need.gpu.count > 0 {
            let milli = need.gpu.milli.clamp(1, GPU_MILLI) as i32;
            let share = |s: usize| {
                let by_milli = left.milli[s].max(0) / milli;
                match need.gpu.memory_mib as i32 {
                    0 if left.memory[s] < 0 => 0,
                    0 => by_milli,
                    // A whole device takes all its memory along.
                    memory => by_milli.min(left.memory[s].max(0) / memory),
                }
            };
            let devices: i64 = if milli == GPU_MILLI as i32 {
                (0..SLOTS).map(|s| i64::from(share(s).min(1))).sum()
            } else {
                (0..SLOTS).map(|s| i64::from(share(s))).sum()
            };
            most = most.min(devices / i64::from(need.gpu.count));
        }
        most as u32
    }

    /// Puts a pod of the class on the row, on devices chosen as the built-in
    /// does: a share on the fullest device with room, whole ones in slot order.
    pub(crate) fn try_place(&mut self, class: u32, row: u32) -> Option<u16> {
        if !self.fits(class, row) {
            return None;
        }
        let count = self.classes.get(class).gpu.count as usize;
        let mut devices = 0;
        if count > 0 {
            let left = self.left(row);
            let mut slots: Vec<usize> = slots_of(self.usable(class, row)).collect();
            slots.sort_by_key(|s| (left.milli[*s], *s));
            devices = slots.into_iter().take(count).fold(0, |m, s| m | 1 << s);
        }
        self.charge(class, row, devices, 1);
        Some(devices)
    }

    /// Puts a pod of the class on exactly these devices, if they are free.
    pub(crate) fn place_on(&mut self, class: u32, row: u32, devices: u16) -> bool {
        let need = self.classes.get(class);
        let left = self.left(row);
        let fits = need.requests.fits(&left.free)
            && devices.count_ones() == need.gpu.count
            && devices & !self.usable(class, row) == 0;
        if fits {
            self.charge(class, row, devices, 1);
        }
        fits
    }

    /// Takes running work off its place.
    pub(crate) fn take_off(&mut self, requests: &Resources, at: &Allocation) {
        self.change(at.row, requests, at.devices, at.per_device.into(), -1);
    }

    /// Puts work back where it runs, if nothing was put there meanwhile. A place
    /// that is promised to somebody while others leave it is charged twice as it
    /// is; staying on such a row makes nothing worse.
    pub(crate) fn put_back(&mut self, requests: &Resources, at: &Allocation) -> bool {
        let left = self.left(at.row);
        let mut back = left;
        let per: DeviceChange = at.per_device.into();
        back.change(requests, at.devices, per, 1);
        let fits = back.is_no_worse_than(&RowLeft::of(self.nodes, at.row), at.devices);
        if fits {
            self.change(at.row, requests, at.devices, per, 1);
        }
        fits
    }

    /// What one device of the row loses to a pod of the class.
    pub(crate) fn per_device(&self, class: u32, row: u32, devices: u16) -> DeviceChange {
        let memory = slots_of(devices)
            .map(|s| self.nodes.device_memory(row, s))
            .max()
            .unwrap_or(0);
        self.classes.get(class).per_device(memory)
    }

    fn charge(&mut self, class: u32, row: u32, devices: u16, sign: i32) {
        let requests = self.classes.get(class).requests;
        let per = self.per_device(class, row, devices);
        self.change(row, &requests, devices, per, sign);
    }

    fn change(
        &mut self,
        row: u32,
        requests: &Resources,
        devices: u16,
        per: DeviceChange,
        sign: i32,
    ) {
        let mut left = self.left(row);
        left.change(requests, devices, per, sign);
        self.set(row, left);
    }
}
