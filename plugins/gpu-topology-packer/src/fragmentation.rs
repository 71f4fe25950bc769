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
//! Ranges (so that nothing overflows an `i64`): at most 16 GPUs per node, histogram weights summing
//! to at most 10^7, at most 10^6 GPUs in all, CPU per node below 2^31 milli.

use loadmaster_sdk::scoring;

/// Most GPUs one node may have.
pub(crate) const MAX_GPUS: usize = 16;
/// One whole GPU, in milli.
pub(crate) const WHOLE: i64 = 1000;

/// Largest sum of histogram weights.
const WEIGHTS_MAX: u64 = 10_000_000;

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

/// `ceil(10^9 * ln(s / (100 - s)))` for s = 51..=99: the drop of fragmentation, in 10^-9 GPU, from
/// which `int(100 * sigmoid(drop in GPUs))` is at least s.
#[rustfmt::skip]
const SIGMOID: [i64; 49] = [
    40_005_335, 80_042_708, 120_144_312, 160_342_651, 200_670_696, 241_162_057, 281_851_153,
    322_773_393, 363_965_378, 405_465_109, 447_312_219, 489_548_226, 532_216_814, 575_364_145,
    619_039_209, 663_294_218, 708_185_058, 753_771_803, 800_119_301, 847_297_861, 895_384_048,
    944_461_609, 994_622_576, 1_045_968_556, 1_098_612_289, 1_152_679_510, 1_208_311_206, 1_265_666_374,
    1_324_925_415, 1_386_294_362, 1_450_010_176, 1_516_347_490, 1_585_627_264, 1_658_228_077, 1_734_601_056,
    1_815_289_967, 1_900_958_762, 1_992_430_165, 2_090_741_097, 2_197_224_578, 2_313_634_930, 2_442_347_036,
    2_586_689_345, 2_751_535_314, 2_944_438_980, 3_178_053_831, 3_476_098_690, 3_891_820_299, 4_595_119_851,
];

/// `int(100 * sigmoid(drop / 1000 / total))` exactly, for a drop in milli-GPU times `total`.
fn sigmoid_percent(drop: i64, total: i64) -> i64 {
    // x >= t  <=>  drop * 10^6 >= t * total, with both sides integers.
    let steps = SIGMOID.partition_point(|&t| drop.abs() * 1_000_000 >= t * total) as i64;
    // The sigmoid is odd around 50 and the thresholds are irrational, so no negative drop meets one.
    if drop >= 0 { 50 + steps } else { 49 - steps }
}

/// The histogram of the contract's context.
pub(crate) fn shapes(context: &scoring::Context) -> Vec<Shape> {
    // Weights are scaled down to their documented sum, never to nothing.
    let all: u64 = context.shapes.iter().map(|s| s.count).sum();
    let scale = all.div_ceil(WEIGHTS_MAX).max(1);
    let shape = |s: &scoring::ShapeClass| Shape {
        request: Request {
            cpu: s.cpu.max(0).into(),
            memory: s.memory.max(0).into(),
            gpu_milli: i64::from(s.gpu_milli.min(WHOLE as u32)),
            gpus: s.gpu_count.min(MAX_GPUS as u32),
            models: if s.gpu_models == 0 {
                u64::MAX
            } else {
                s.gpu_models
            },
        },
        weight: s.count.div_ceil(scale) as i64,
    };
    context
        .shapes
        .iter()
        .filter(|s| s.count > 0)
        .map(shape)
        .collect()
}

/// The machines of the contract's context.
pub(crate) fn node_shapes(context: &scoring::Context) -> Vec<NodeShape> {
    let shape = |n: &scoring::NodeShape| NodeShape {
        cpu: n.cpu.into(),
        memory: n.memory.into(),
        gpus: n.gpus,
        model: n.gpu_model.clamp(0, 63) as u8,
        nodes: n.nodes.into(),
    };
    context.node_shapes.iter().map(shape).collect()
}

/// The `percent` most frequent shapes (FGD uses 95), by weight; ties as in the published code:
/// larger CPU, then larger GPU milli, then more GPUs first.
pub(crate) fn typical(histogram: &[Shape], percent: i64) -> Vec<Shape> {
    let mut shapes = histogram.to_vec();
    shapes.sort_by_key(|s| {
        let r = s.request;
        (
            -s.weight,
            -r.cpu,
            -r.gpu_milli,
            -i64::from(r.gpus),
            r.models,
        )
    });
    let all: i64 = shapes.iter().map(|s| s.weight).sum();
    let mut sum = 0;
    shapes.retain(|s| {
        let more = sum * 100 < all * percent;
        sum += s.weight;
        more
    });
    shapes
}

/// Shapes with equal GPU request; what the devices offer them is computed once.
#[derive(Clone, Debug)]
struct Kind {
    gpu_milli: i64,
    gpus: i64,
    models: u64,
    /// Ascending CPU.
    items: Vec<Item>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    cpu: i64,
    memory: i64,
    weight: i64,
    pressure: i64,
}

/// A prepared histogram. Build it once per context version, not per call.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    mode: Mode,
    kinds: Vec<Kind>,
    /// Weight of all shapes (`Published`) or of the GPU shapes (`Fill`).
    total: i64,
    /// GPU milli the average GPU pod uses per `shortage_ratio` of its CPU milli, times [`ONE`].
    gpu_per_cpu: i64,
    tuning: Tuning,
}

impl Context {
    /// `nodes` is used by [`Mode::Fill`] only, to find which shapes depend on few nodes.
    pub(crate) fn new(mode: Mode, tuning: Tuning, shapes: &[Shape], nodes: &[NodeShape]) -> Self {
        let capacity = |n: &NodeShape| i64::from(n.gpus) * n.nodes;
        let all: i64 = nodes.iter().map(capacity).sum();
        let demand: i64 = shapes
            .iter()
            .map(|s| s.request.gpu_total() * s.weight)
            .sum();
        let cpu: i64 = shapes
            .iter()
            .filter(|s| s.request.gpu_total() > 0)
            .map(|s| s.request.cpu * s.weight)
            .sum();
        let mut kinds: Vec<Kind> = Vec::new();
        let mut total = 0;
        for s in shapes.iter().filter(|s| s.weight > 0) {
            let r = s.request;
            if mode == Mode::Published || r.gpu_total() > 0 {
                total += s.weight;
            }
            if r.gpus == 0 || r.gpu_milli <= 0 {
                continue; // Published: adds the free GPUs before and after, see `Context::waste`.
            }
            let hosts = |n: &&NodeShape| {
                r.accepts(n.model) && r.gpus <= n.gpus && r.cpu <= n.cpu && r.memory <= n.memory
            };
            let host: i64 = nodes.iter().filter(hosts).map(capacity).sum();
            // Share of the demand per share of the GPUs that can serve it; nothing if all can, or none.
            let share = r.gpu_total() * s.weight * ONE / demand;
            let pressure = if host == 0 || host >= all {
                0
            } else {
                (share * all / host).min(64 * ONE)
            };
            let item = Item {
                cpu: r.cpu,
                memory: r.memory,
                weight: s.weight,
                pressure,
            };
            let gpus = i64::from(r.gpus);
            match kinds
                .iter_mut()
                .find(|k| (k.gpu_milli, k.gpus, k.models) == (r.gpu_milli, gpus, r.models))
            {
                Some(k) => k.items.push(item),
                None => {
                    let items = vec![item];
                    kinds.push(Kind {
                        gpu_milli: r.gpu_milli,
                        gpus,
                        models: r.models,
                        items,
                    });
                }
            }
        }
        for k in &mut kinds {
            k.items.sort_by_key(|i| (i.cpu, i.memory));
        }
        // Thousandths of the largest demand need more than 64 bits.
        let supply = (i128::from(cpu) * i128::from(tuning.shortage_ratio)).max(1);
        let gpu_per_cpu =
            (i128::from(demand) * 1000 * i128::from(ONE) / supply).min(1 << 31) as i64;
        Context {
            mode,
            kinds,
            total: total.max(1),
            gpu_per_cpu,
            tuning,
        }
    }

    /// Free GPU milli that the expected pods cannot use, times `total` (`Published`) or `2 * total`.
    fn waste(&self, cpu: i64, memory: i64, model: u8, free: &[i64]) -> i64 {
        let left: i64 = free.iter().sum();
        let whole = free.iter().filter(|&&g| g == WHOLE).count() as i64;
        let fill = self.mode == Mode::Fill;
        let mut unhosted = self.total; // weight of the shapes the node cannot host: they waste it all
        let cpu = cpu.min(i64::from(i32::MAX));
        let mut sum = 0;
        for k in &self.kinds {
            if k.models >> (model & 63) & 1 == 0 {
                continue;
            }
            // Devices that can serve the kind, milli on the others, pods the devices alone can hold.
            let (mut able, mut rest, mut slots) = (0, 0, 0);
            if k.gpu_milli == WHOLE {
                (able, rest, slots) = (whole, left - whole * WHOLE, whole);
            } else {
                for &g in free {
                    if g >= k.gpu_milli {
                        able += 1;
                        slots += if g < 2 * k.gpu_milli {
                            1
                        } else {
                            quotient(g, k.gpu_milli)
                        };
                    } else {
                        rest += g
                    }
                }
            }
            if able < k.gpus {
                continue;
            }
            let request = k.gpu_milli * k.gpus;
            slots = if k.gpus == 1 { slots } else { slots / k.gpus };
            for i in &k.items {
                if i.cpu > cpu {
                    break;
                }
                if self.mode == Mode::Published {
                    sum += i.weight * rest;
                } else if i.memory <= memory {
                    let pods = if i.cpu * slots <= cpu {
                        slots
                    } else {
                        quotient(cpu, i.cpu)
                    };
                    sum += i.weight * (rest + left - pods * request);
                } else {
                    continue;
                }
                unhosted -= i.weight;
            }
        }
        sum += unhosted * left * if fill { 2 } else { 1 };
        if fill {
            sum += 2
                * self.tuning.shortage_weight
                * self.total
                * (left - (cpu * self.gpu_per_cpu) / ONE).max(0);
        }
        sum
    }

    /// How much picky shapes depend on nodes like this one: demand share over capacity share, summed
    /// over the shapes that only part of the cluster can host and this node can; times [`ONE`].
    fn pressure(&self, row: &Row<'_>, gpus: i64) -> i64 {
        let sum: i64 = self
            .kinds
            .iter()
            .filter(|k| k.models >> (row.model & 63) & 1 == 1 && k.gpus <= gpus)
            .flat_map(|k| &k.items)
            .filter(|i| {
                i.pressure != 0 && i.cpu <= row.cpu_capacity && i.memory <= row.memory_capacity
            })
            .map(|i| i.pressure)
            .sum();
        sum.min(64 * ONE)
    }

    /// The best devices on this node and their score, or `None` if the pod does not fit.
    ///
    /// A pod with whole devices or more than one gets the tightest devices that fit (for whole
    /// devices: the first free ones). A pod with a share of one device tries every device with
    /// enough left and takes the best score, the lowest index among equals.
    pub(crate) fn place(&self, pod: &Request, row: &Row<'_>) -> Option<Placement> {
        let (mut free, mut id, mut n) = ([0i64; MAX_GPUS], [0u8; MAX_GPUS], 0);
        for (i, &g) in row.gpu_free.iter().take(MAX_GPUS).enumerate() {
            if row.healthy >> i & 1 == 1 {
                (free[n], id[n]) = (i64::from(g).min(WHOLE), i as u8);
                n += 1;
            }
        }
        let free = &mut free[..n];
        if row.cpu_free < pod.cpu || row.memory_free < pod.memory {
            return None;
        }
        let mut usable = [false; MAX_GPUS];
        for i in 0..n {
            usable[i] = free[i] >= pod.gpu_milli && row.eligible >> id[i] & 1 == 1;
        }
        let able = usable.iter().filter(|&&u| u).count();
        if pod.gpus > 0 && (!pod.accepts(row.model) || able < pod.gpus as usize) {
            return None;
        }
        let (cpu, memory) = (row.cpu_free - pod.cpu, row.memory_free - pod.memory);
        let before = self.waste(row.cpu_free, row.memory_free, row.model, free);
        let charge = match self.mode {
            Mode::Published => 0, // in milli-GPU
            Mode::Fill if pod.gpu_total() == 0 => 0,
            Mode::Fill => {
                pod.gpu_total() * self.pressure(row, n as i64) * self.tuning.pressure_weight
                    / (1000 * ONE)
            }
        };
        let score = |after: i64| match self.mode {
            Mode::Published => sigmoid_percent(before - after, self.total),
            Mode::Fill => (before - after).div_euclid(2 * self.total) - charge,
        };
        if pod.gpus != 1 || pod.gpu_milli >= WHOLE {
            let devices = take_tightest(pod, free, &usable, &id);
            return Some(Placement {
                score: score(self.waste(cpu, memory, row.model, free)),
                devices,
            });
        }
        let mut best: Option<Placement> = None;
        for i in 0..n {
            let g = free[i];
            if !usable[i] || (0..i).any(|j| usable[j] && free[j] == g) {
                continue; // no room, or equal to a device already tried
            }
            free[i] = g - pod.gpu_milli;
            let s = score(self.waste(cpu, memory, row.model, free));
            free[i] = g;
            if best.is_none_or(|b| s > b.score) {
                best = Some(Placement {
                    score: s,
                    devices: 1 << id[i],
                });
            }
        }
        best
    }
}

/// `a / b` in 32 bits, which is faster; both are non-negative and below 2^31.
fn quotient(a: i64, b: i64) -> i64 {
    i64::from(a as u32 / b as u32)
}

/// Takes the pod's devices out of `free`, smallest sufficient remainder first; returns their mask.
fn take_tightest(pod: &Request, free: &mut [i64], usable: &[bool], id: &[u8]) -> u16 {
    let mut mask = 0u16;
    for _ in 0..pod.gpus {
        let fitting = (0..free.len()).filter(|&i| usable[i] && mask >> id[i] & 1 == 0);
        if let Some(i) = fitting.min_by_key(|&i| free[i]) {
            free[i] -= pod.gpu_milli;
            mask |= 1 << id[i];
        }
    }
    mask
}

#[cfg(test)]
mod tests;
