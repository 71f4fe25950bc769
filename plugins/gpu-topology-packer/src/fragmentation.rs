//! GPU-fragmentation scoring of one (pod, node row) pair; pure, deterministic, integers only.
//!
//! Two scores share one context (the histogram of pod shapes the cluster expects):
//!
//! * [`Mode::Published`] – Fragmentation Gradient Descent (FGD, USENIX ATC'23): how much the node's
//!   *fragmentation* shrinks, through a sigmoid, truncated to 0..=99. Fragmentation of a node for a
//!   shape is the free GPU milli that shape cannot use. Use it with the 95 % cut ([`typical`]).
//! * [`Mode::Fill`] – the improved score. Fragmentation looks one pod ahead; this one also asks what
//!   would be left if the node were *filled* with the shape (which sees a CPU shortage while it
//!   builds up), adds the GPUs an average pod stream would strand for lack of CPU, and charges for
//!   GPUs on nodes that picky shapes depend on. Use it with the whole histogram.
//!
//! Units: CPU in milli-cores, memory in MiB, GPU in milli-GPU (1000 = one device), scores in
//! milli-GPU (`Fill`, either sign) or percent points (`Published`). Higher is better. Ties must go to
//! the first node of an order that stays fixed: `Published` loses 5 points of allocation with random
//! ties, `Fill` none.
//!
//! Measured on the openb trace (1213 nodes, 6212 GPUs, mean of 10 seeds; share of GPUs allocated when
//! 100 % were requested): BestFit 92.9, `Published` 95.3, `Fill` 95.9.
//!
//! `histogram` reads the context; `usable` and `pressure` are prepared from it once, so that a row
//! costs little; `oracle` in the tests is the definition that this must equal.
//!
//! Ranges (so that nothing overflows an `i64`): at most 16 GPUs per node, histogram weights summing
//! to at most 10^7, at most 10^6 GPUs in all, CPU per node below 2^31 milli.

mod histogram;
#[cfg(test)]
mod oracle;
mod pressure;
mod sigmoid;
mod usable;

pub(crate) use histogram::{node_shapes, shapes, typical};
use pressure::Pressures;
use sigmoid::sigmoid_percent;
use usable::{Levels, Move, Room, View};

/// Most GPUs one node may have.
pub(crate) const MAX_GPUS: usize = 16;
/// One whole GPU, in milli.
pub(crate) const WHOLE: i64 = 1000;

/// How much the parts of [`Mode::Fill`] weigh. The defaults were chosen on openb; a wide range around
/// each measures the same there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// Weight of the CPU-shortage term. 1..=4 measure the same (±0.02 points).
    pub(crate) shortage_weight: i64,
    /// The shortage is measured against this share of the mean CPU per GPU, thousandths. 400..=850
    /// measure the same.
    pub(crate) shortage_ratio: i64,
    /// Milli-GPU charged per milli-GPU requested at pressure 1, thousandths. 750..=1500 measure about
    /// the same.
    pub(crate) pressure_weight: i64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            shortage_weight: 2,
            shortage_ratio: 700,
            pressure_weight: 750,
        }
    }
}

/// Fixed point of the per-shape pressure and of GPU milli per CPU milli.
const ONE: i64 = 1 << 20;

/// What a pod asks for. `gpus` devices with `gpu_milli` each; a CPU-only pod has `gpus == 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Milli-cores, not negative.
    pub(crate) cpu: i64,
    /// MiB, not negative.
    pub(crate) memory: i64,
    /// Milli of each device, 1000 for whole devices.
    pub(crate) gpu_milli: i64,
    /// Number of devices.
    pub(crate) gpus: u32,
    /// Bit i set: GPU model number i is acceptable. `u64::MAX`: any.
    pub(crate) models: u64,
}

impl Request {
    /// GPU milli over all devices.
    pub(crate) fn gpu_total(&self) -> i64 {
        if self.gpus == 0 {
            0
        } else {
            self.gpu_milli * i64::from(self.gpus)
        }
    }

    fn accepts(&self, model: u8) -> bool {
        self.models >> (model & 63) & 1 == 1
    }
}

/// One histogram entry: a pod shape and how many pods of the target workload have it.
/// `request.memory` is the shape's mean memory (0: ignore memory).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) request: Request,
    pub(crate) weight: i64,
}

/// Nodes of equal capacity; `nodes` of them. Only the totals matter, so this changes rarely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeShape {
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) gpus: u32,
    pub(crate) model: u8,
    pub(crate) nodes: i64,
}

/// One node as the scorer sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) cpu_free: i64,
    pub(crate) cpu_capacity: i64,
    pub(crate) memory_free: i64,
    pub(crate) memory_capacity: i64,
    /// GPU model number, below 64.
    pub(crate) model: u8,
    /// Free milli of each device, by device index.
    pub(crate) gpu_free: &'a [u16],
    /// Bit i set: device i is usable. Devices without their bit are treated as not present.
    pub(crate) healthy: u16,
    /// Bit i set: device i has the memory this pod wants. The others count as free share, but the pod
    /// cannot have them.
    pub(crate) eligible: u16,
}

/// The chosen devices and what choosing this node is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) score: i64,
    /// Bit i set: the pod gets device i.
    pub(crate) devices: u16,
}

/// Which score a [`Context`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// FGD as published.
    Published,
    /// The improved score.
    Fill,
}

/// Models are numbers below this.
const MODELS: usize = 64;

/// A prepared histogram. Build it once per context version, not per call.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    mode: Mode,
    tuning: Tuning,
    /// Weight of all shapes (`Published`) or of the GPU shapes (`Fill`).
    total: i64,
    /// GPU milli the average GPU pod uses per `shortage_ratio` of its CPU milli, times [`ONE`].
    gpu_per_cpu: i64,
    pressures: Pressures,
    /// Models that the same shapes accept share a view.
    views: Vec<View>,
    view_of: [u8; MODELS],
}

impl Context {
    /// `nodes` is used by [`Mode::Fill`] only, to find which shapes depend on few nodes.
    pub(crate) fn new(mode: Mode, tuning: Tuning, shapes: &[Shape], nodes: &[NodeShape]) -> Self {
        let demanding = || shapes.iter().filter(|s| s.request.gpu_total() > 0);
        let demand: i64 = demanding().map(|s| s.request.gpu_total() * s.weight).sum();
        let cpu: i64 = demanding().map(|s| s.request.cpu * s.weight).sum();
        // Thousandths of the largest demand need more than 64 bits.
        let supply = (i128::from(cpu) * i128::from(tuning.shortage_ratio)).max(1);
        let gpu_per_cpu =
            (i128::from(demand) * 1000 * i128::from(ONE) / supply).min(1 << 31) as i64;
        let total: i64 = match mode {
            Mode::Published => shapes.iter().map(|s| s.weight).sum(),
            Mode::Fill => demanding().map(|s| s.weight).sum(),
        };
        let (views, view_of) = views(mode, shapes);
        Self {
            mode,
            tuning,
            total: total.max(1),
            gpu_per_cpu,
            pressures: match mode {
                Mode::Published => Pressures::new(&[], 0, &[]),
                Mode::Fill => Pressures::new(shapes, demand, nodes),
            },
            views,
            view_of,
        }
    }

    /// The best devices on this node and their score, or `None` if the pod does not fit.
    ///
    /// A pod with whole devices or more than one gets the tightest devices that fit (for whole
    /// devices: the first free ones). A pod with a share of one device tries every device with
    /// enough left and takes the best score, the lowest index among equals.
    pub(crate) fn place(&self, pod: &Request, row: &Row<'_>) -> Option<Placement> {
        if row.cpu_free < pod.cpu || row.memory_free < pod.memory {
            return None;
        }
        let node = Devices::new(pod, row);
        if pod.gpus > 0 && (!pod.accepts(row.model) || node.usable.count_ones() < pod.gpus) {
            return None;
        }
        let mut choices = Choices::new(pod, row, &node);
        let room = |cpu: i64, memory| Room {
            cpu: cpu.min(i64::from(i32::MAX)) as u32,
            memory,
        };
        let before = room(row.cpu_free, row.memory_free);
        let after = room(row.cpu_free - pod.cpu, row.memory_free - pod.memory);
        let view = &self.views[usize::from(self.view_of[usize::from(row.model & 63)])];
        let (changes, lost) = choices.parts();
        view.add_lost(&node.levels, (before, after), changes, lost);
        let saved = self.saved(&node, pod.gpu_total(), before, after);
        let charge = self.charge(pod, row, node.healthy);
        // What is lost least wastes least. Others may round to the same score.
        let least = lost.iter().min().map_or(saved, |least| saved - least);
        let score = self.points(least);
        let equal = choices
            .all()
            .map(|(lost, devices)| (saved - lost, devices))
            .filter(|&(drop, _)| drop == least || self.reaches(drop, score));
        let devices = equal.map(|(_, d)| d).min_by_key(|d| d.trailing_zeros())?;
        Some(Placement {
            score: score - charge,
            devices,
        })
    }

    /// By how much the waste shrinks if the expected pods can use as much as before; times `total`
    /// (`Published`) or `2 * total`.
    fn saved(&self, node: &Devices, taken: i64, before: Room, after: Room) -> i64 {
        if self.mode == Mode::Published {
            return self.total * taken;
        }
        let shortage =
            |left: i64, room: Room| (left - (i64::from(room.cpu) * self.gpu_per_cpu) / ONE).max(0);
        let shortage = shortage(node.left, before) - shortage(node.left - taken, after);
        2 * self.total * (taken + self.tuning.shortage_weight * shortage)
    }

    /// The score of a drop of waste.
    fn points(&self, drop: i64) -> i64 {
        match self.mode {
            Mode::Published => sigmoid_percent(drop, self.total),
            Mode::Fill => drop.div_euclid(2 * self.total),
        }
    }

    /// Whether a drop of waste is worth at least this score.
    fn reaches(&self, drop: i64, score: i64) -> bool {
        match self.mode {
            Mode::Published => self.points(drop) >= score,
            Mode::Fill => drop >= score * 2 * self.total,
        }
    }

    /// Milli-GPU off for taking GPUs that picky shapes depend on.
    fn charge(&self, pod: &Request, row: &Row<'_>, healthy: u32) -> i64 {
        if self.mode == Mode::Published || pod.gpu_total() == 0 {
            return 0;
        }
        match self.pressures.of(row, healthy) {
            0 => 0,
            pressure => pod.gpu_total() * pressure * self.tuning.pressure_weight / (1000 * ONE),
        }
    }
}

/// One view for each set of shapes that a model can be accepted by, and which model has which.
fn views(mode: Mode, shapes: &[Shape]) -> (Vec<View>, [u8; MODELS]) {
    let mut masks: Vec<u64> = shapes.iter().map(|s| s.request.models).collect();
    masks.sort_unstable();
    masks.dedup();
    let mut views = Vec::new();
    let mut view_of = [0; MODELS];
    // The first model of each view.
    let mut firsts: Vec<usize> = Vec::new();
    for (model, number) in view_of.iter_mut().enumerate() {
        let alike = |&first: &usize| masks.iter().all(|m| (m >> first ^ m >> model) & 1 == 0);
        let known = firsts.iter().position(alike);
        *number = known.unwrap_or(firsts.len()) as u8;
        if known.is_none() {
            firsts.push(model);
            let accepted = |s: &&Shape| s.request.accepts(model as u8);
            views.push(View::new(mode, shapes.iter().filter(accepted)));
        }
    }
    (views, view_of)
}

/// The healthy devices of a row.
struct Devices {
    levels: Levels,
    /// Of each level the first device that the pod could have, as a bit; 0 if there is none.
    first: [u16; MAX_GPUS + 1],
    /// Bit i set: the pod could have device i.
    usable: u16,
    healthy: u32,
    /// Free milli of all.
    left: i64,
}

impl Devices {
    fn new(pod: &Request, row: &Row<'_>) -> Self {
        let mut devices = Self {
            levels: Levels::new(),
            first: [0; MAX_GPUS + 1],
            usable: 0,
            healthy: 0,
            left: 0,
        };
        // A device without anything left matters only to a pod that wants nothing of one.
        let least = if pod.gpus > 0 && pod.gpu_milli == 0 {
            0
        } else {
            1
        };
        for (i, &free) in row.gpu_free.iter().take(MAX_GPUS).enumerate() {
            let bit = 1u16 << i;
            if row.healthy & bit == 0 {
                continue;
            }
            devices.healthy += 1;
            let free = u32::from(free).min(WHOLE as u32);
            if free < least {
                continue;
            }
            devices.left += i64::from(free);
            let level = devices.levels.add(free);
            if row.eligible & bit != 0 && i64::from(free) >= pod.gpu_milli {
                devices.usable |= bit;
                if devices.first[level] == 0 {
                    devices.first[level] = bit;
                }
            }
        }
        devices
    }

    /// The `count` lowest usable devices.
    fn lowest(&self, count: u32) -> u16 {
        let (mut rest, mut mask) = (self.usable, 0);
        for _ in 0..count {
            mask |= rest & rest.wrapping_neg();
            rest &= rest.wrapping_sub(1);
        }
        mask
    }
}

/// What a pod can take of a node: either one of several devices, or one set of them.
struct Choices {
    changes: [Move; MAX_GPUS],
    change_count: usize,
    devices: [u16; MAX_GPUS],
    /// Of each choice; see [`View::add_lost`].
    lost: [i64; MAX_GPUS],
    count: usize,
}

impl Choices {
    fn new(pod: &Request, row: &Row<'_>, node: &Devices) -> Self {
        let mut choices = Self {
            changes: [Move::default(); MAX_GPUS],
            change_count: 0,
            devices: [0; MAX_GPUS],
            lost: [0; MAX_GPUS],
            count: 1,
        };
        let milli = pod.gpu_milli as u32;
        match pod.gpus {
            0 => {}
            1 if pod.gpu_milli < WHOLE => {
                choices.count = 0;
                for (&from, &first) in node.levels.values().iter().zip(&node.first) {
                    if first != 0 {
                        choices.change(from, milli, 1);
                        choices.devices[choices.count] = first;
                        choices.count += 1;
                    }
                }
            }
            gpus if pod.gpu_milli >= WHOLE => {
                choices.change(WHOLE as u32, milli, gpus);
                choices.devices[0] = node.lowest(gpus);
            }
            gpus => choices.take_tightest(milli, gpus, row, node.usable),
        }
        choices
    }

    fn change(&mut self, from: u32, milli: u32, count: u32) {
        self.changes[self.change_count] = Move {
            from,
            to: from - milli,
            count,
        };
        self.change_count += 1;
    }

    /// One set of several shares, smallest sufficient remainder first.
    fn take_tightest(&mut self, milli: u32, gpus: u32, row: &Row<'_>, mut usable: u16) {
        let free = |i: usize| u32::from(row.gpu_free[i]).min(WHOLE as u32);
        for _ in 0..gpus {
            let fitting = (0..row.gpu_free.len().min(MAX_GPUS)).filter(|i| usable >> i & 1 == 1);
            if let Some(i) = fitting.min_by_key(|&i| free(i)) {
                self.change(free(i), milli, 1);
                usable &= !(1 << i);
                self.devices[0] |= 1 << i;
            }
        }
    }

    fn parts(&mut self) -> (&[Move], &mut [i64]) {
        (
            &self.changes[..self.change_count],
            &mut self.lost[..self.count],
        )
    }

    /// What is lost and which devices the pod gets, choice by choice.
    fn all(&self) -> impl Iterator<Item = (i64, u16)> {
        let choices = self.lost.iter().zip(&self.devices).take(self.count);
        choices.map(|(lost, devices)| (*lost, *devices))
    }
}

#[cfg(test)]
mod equality;
#[cfg(test)]
mod tests;
