//! The score written down as it is defined: every device and every shape looked
//! at again for every placement. Slow and plain, so that the fast way has
//! something to be equal to.

use super::sigmoid::sigmoid_percent;
use super::*;

/// Fixed point of the per-shape pressure and of GPU milli per CPU milli.
const ONE: i64 = 1 << 20;

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

/// The prepared histogram of the straightforward implementation.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    mode: Mode,
    kinds: Vec<Kind>,
    /// Weight of all shapes (`Published`) or of the GPU shapes (`Fill`).
    total: i64,
    /// GPU milli the average GPU pod uses per `shortage_ratio` of its CPU milli, times [`ONE`].
    gpu_per_cpu: i64,
    tuning: Tuning,
}

impl Oracle {
    /// `nodes` is used by [`Mode::Fill`] only, to find which shapes depend on few nodes.
    pub(super) fn new(mode: Mode, tuning: Tuning, shapes: &[Shape], nodes: &[NodeShape]) -> Self {
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
                continue; // Published: adds the free GPUs before and after, see `Oracle::waste`.
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
        Oracle {
            mode,
            kinds,
            total: total.max(1),
            gpu_per_cpu,
            tuning,
        }
    }

    /// Free GPU milli that the expected pods cannot use, times `total` (`Published`) or `2 * total`.
    pub(super) fn waste(&self, cpu: i64, memory: i64, model: u8, free: &[i64]) -> i64 {
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
    pub(super) fn place(&self, pod: &Request, row: &Row<'_>) -> Option<Placement> {
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
