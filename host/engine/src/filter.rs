//! Which nodes could run a pod: native, for every policy, always.
//!
//! Checks go from what never changes to what changes all the time, and the
//! first that fails is the one that is counted, so that the counts of a
//! decision add up to the size of the cluster.

use std::collections::HashMap;

use model::quantity::GPU_MILLI;
use model::{Rejection, TaintEffect, Toleration};

use crate::class::{Class, Classes};
use crate::nodes::{Nodes, SLOTS};

/// Answers of label and taint matching, by pairs of interned ids. The strings
/// are compared once per pair.
#[derive(Debug, Default)]
pub(crate) struct MatchMemo {
    selectors: HashMap<(u32, u32), bool>,
    taints: HashMap<(u32, u32), bool>,
}

impl MatchMemo {
    fn selector(&mut self, nodes: &Nodes, classes: &Classes, class: &Class, row: usize) -> bool {
        let Some(wanted) = classes.selector(class.selector) else {
            return true;
        };
        let labels = nodes.labels[row];
        *self
            .selectors
            .entry((class.selector, labels))
            .or_insert_with(|| {
                let has = nodes.label_sets.value(labels);
                wanted.iter().all(|(k, v)| has.get(k) == Some(v))
            })
    }

    fn tolerated(&mut self, nodes: &Nodes, classes: &Classes, class: &Class, row: usize) -> bool {
        let taints = nodes.taints[row];
        if nodes.taint_sets.value(taints).is_empty() {
            return true;
        }
        *self
            .taints
            .entry((class.tolerations, taints))
            .or_insert_with(|| {
                let tolerations = classes.tolerations(class.tolerations);
                nodes
                    .taint_sets
                    .value(taints)
                    .iter()
                    .filter(|t| t.effect != TaintEffect::PreferNoSchedule)
                    .all(|t| {
                        tolerations.iter().any(|Toleration { key, value }| {
                            (key.is_empty() || *key == t.key)
                                && value.as_ref().is_none_or(|v| *v == t.value)
                        })
                    })
            })
    }
}

/// One class against the cluster, with what is the same for every row worked
/// out once.
pub(crate) struct Filter<'a> {
    pub(crate) nodes: &'a Nodes,
    pub(crate) classes: &'a Classes,
    pub(crate) class: &'a Class,
    pub(crate) models: u64,
}

impl<'a> Filter<'a> {
    pub(crate) fn new(nodes: &'a Nodes, classes: &'a Classes, class: u32) -> Self {
        let class = classes.get(class);
        Self {
            nodes,
            classes,
            class,
            models: class.model_mask(nodes),
        }
    }

    /// First check of a live row that fails.
    pub(crate) fn check(&self, memo: &mut MatchMemo, row: u32) -> Rejection {
        let (nodes, class, r) = (self.nodes, self.class, row as usize);
        if nodes.closed[r] {
            return Rejection::Cordoned;
        }
        if !memo.selector(nodes, self.classes, class, r) {
            return Rejection::Selector;
        }
        if !memo.tolerated(nodes, self.classes, class, r) {
            return Rejection::Taint;
        }
        let wants_gpu = class.gpu.count > 0;
        if wants_gpu && let Some(no) = self.check_hardware(row) {
            return no;
        }
        if !class.requests.fits(&nodes.cap[r]) {
            return Rejection::TooSmall;
        }
        if wants_gpu && (nodes.gpu_count[r] as u32) < class.gpu.count {
            return Rejection::GpuHealth;
        }
        let (need, free) = (&class.requests, &nodes.free[r]);
        if need.cpu_milli > free.cpu_milli {
            return Rejection::Cpu;
        }
        if need.memory_mib > free.memory_mib {
            return Rejection::Memory;
        }
        if need.disk_mib > free.disk_mib {
            return Rejection::Disk;
        }
        if need.network_mbps > free.network_mbps {
            return Rejection::Network;
        }
        if wants_gpu {
            return self.check_devices(row);
        }
        Rejection::Fits
    }

    /// What the machine is, whatever runs on it.
    fn check_hardware(&self, row: u32) -> Option<Rejection> {
        let (nodes, gpu, r) = (self.nodes, &self.class.gpu, row as usize);
        let model = nodes.gpu_model[r];
        if model < 0 || (self.models != 0 && self.models & (1 << model) == 0) {
            return Some(Rejection::GpuModel);
        }
        let devices = if gpu.memory_mib == 0 {
            usize::from(nodes.device_slots[r])
        } else {
            nodes.spec(row).map_or(0, |spec| {
                let gpus = spec.gpus.iter();
                gpus.filter(|g| g.memory_mib >= gpu.memory_mib).count()
            })
        };
        (devices < gpu.count as usize).then_some(Rejection::GpuShape)
    }

    fn check_devices(&self, row: u32) -> Rejection {
        let gpu = &self.class.gpu;
        if self.usable(row).count_ones() >= gpu.count {
            Rejection::Fits
        } else if i64::from(self.nodes.gpu_free[row as usize]) >= gpu.total_milli() {
            Rejection::GpuFragmented
        } else {
            Rejection::Gpu
        }
    }

    /// Devices of the row that the pod could use now, as a mask of slots.
    pub(crate) fn usable(&self, row: u32) -> u16 {
        let gpu = &self.class.gpu;
        let at = row as usize * SLOTS;
        let milli = &self.nodes.gpu_milli_free[at..at + SLOTS];
        let memory = &self.nodes.gpu_memory_free[at..at + SLOTS];
        let need_milli = gpu.milli.min(GPU_MILLI) as i32;
        let need_memory = gpu.memory_mib as i32;
        let mut mask = 0;
        for s in 0..SLOTS {
            mask |= u16::from(milli[s] >= need_milli && memory[s] >= need_memory) << s;
        }
        mask
    }
}
