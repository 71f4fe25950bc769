//! Pods that arrive, in the published mix.

use std::collections::BTreeSet;

use model::quantity::GPU_MILLI;
use model::{GpuRequest, NodeSpec, PodSpec, Resources};

use crate::rng::Rng;

/// A pod, when it comes and how long it runs once placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// ms since the start.
    pub time_ms: u64,
    /// What arrives.
    pub pod: PodSpec,
    /// ms from placement to its end.
    pub duration_ms: u64,
}

/// How much arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// GPU asked for at any time in the long run, in thousandths of what the
    /// cluster has. Above 1000 a queue grows.
    pub gpu_milli: u32,
    /// Mean duration, ms. The published shape is kept: half of the pods run
    /// for less than a tenth of it.
    pub mean_duration_ms: u64,
}

impl Default for Load {
    /// Slightly more than fits, with a mean of two minutes: in a minute one
    /// sees a cluster fill up and pods wait.
    fn default() -> Self {
        Self {
            gpu_milli: 1050,
            mean_duration_ms: 120_000,
        }
    }
}

/// CPU and memory of a request, weighted.
type Amounts = &'static [(u64, i64, i64)];

/// A class of pods as published.
struct Class {
    /// Pods of the class among 8152.
    pods: u64,
    gpus: u32,
    amounts: Amounts,
    /// Applications it belongs to.
    apps: &'static [&'static str],
}

const CLASSES: [Class; 6] = [
    Class {
        pods: 1088,
        gpus: 0,
        amounts: &[
            (364, 12_500, 57_344),
            (284, 32_000, 49_152),
            (163, 8_000, 30_517),
            (120, 15_400, 51_200),
            (95, 16_500, 51_200),
        ],
        apps: &["feature-store", "data-prep", "log-join"],
    },
    SHARE,
    Class {
        pods: 3911,
        gpus: 1,
        amounts: &[
            (857, 11_300, 49_152),
            (534, 11_400, 48_128),
            (470, 3_152, 5_600),
            (255, 18_708, 64_512),
            (195, 9_810, 41_560),
            (158, 12_000, 24_576),
            (104, 8_000, 16_384),
        ],
        apps: &["recommend", "vision-train", "asr-train", "llm-serve"],
    },
    Class {
        pods: 16,
        gpus: 2,
        amounts: &[
            (7, 16_200, 66_560),
            (3, 6_000, 65_536),
            (3, 30_200, 160_768),
        ],
        apps: &["nlp-train"],
    },
    Class {
        pods: 15,
        gpus: 4,
        amounts: &[
            (9, 32_200, 132_096),
            (3, 32_000, 131_072),
            (3, 60_200, 320_512),
        ],
        apps: &["nlp-train", "diffusion-train"],
    },
    Class {
        pods: 44,
        gpus: 8,
        amounts: &[
            (18, 88_000, 327_680),
            (18, 64_200, 263_168),
            (3, 64_000, 262_144),
        ],
        apps: &["llm-pretrain", "diffusion-train"],
    },
];

const SHARE: Class = Class {
    pods: 3078,
    gpus: 1,
    amounts: &[
        (1122, 3_152, 5_600),
        (625, 11_908, 47_104),
        (486, 8_000, 30_517),
        (189, 4_000, 22_888),
        (182, 4_000, 15_258),
        (152, 4_152, 10_600),
    ],
    apps: &["search-rank", "ads-infer", "ocr", "translate", "speech"],
};

/// Index of the class that shares GPUs.
const SHARED: usize = 1;

/// Shares in milli-GPU, weighted.
const SHARES: [(u64, u32); 11] = [
    (1078, 810),
    (750, 470),
    (328, 320),
    (253, 650),
    (140, 230),
    (128, 460),
    (75, 590),
    (74, 160),
    (72, 550),
    (62, 220),
    (47, 370),
];

/// Pods that name their models, in thousandths of those with up to one GPU
/// (list `gpuspec20`: 1436 of 6989), and the lists they name: weight among
/// sharing pods, among whole ones.
const CONSTRAINED_MILLI: u64 = 205;
const CONSTRAINTS: [(u64, u64, &[&str]); 9] = [
    (330, 388, &["T4"]),
    (0, 209, &["A100"]),
    (208, 4, &["P100"]),
    (0, 94, &["V100M16", "V100M32"]),
    (0, 54, &["P100", "V100M16", "V100M32"]),
    (0, 50, &["H100"]),
    (0, 14, &["P100", "T4", "V100M16", "V100M32"]),
    (0, 14, &["V100M32"]),
    (0, 9, &["A10", "T4"]),
];

/// Latency-sensitive pods, in thousandths (4647 of 8152). They get priority.
const SERVICE_MILLI: u64 = 570;
const SERVICE_PRIORITY: i32 = 100;

/// Seconds that pods ran, at every twentieth of the published distribution;
/// the top is its 99.5 % instead of the longest, which ran as long as the
/// trace.
const DURATIONS_S: [u64; 21] = [
    4, 70, 116, 150, 179, 210, 255, 319, 422, 545, 693, 869, 1070, 1322, 1740, 2307, 3263, 4351,
    7864, 18_296, 200_000,
];

/// A machine shape, to know what can run at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Host {
    cpu_milli: i64,
    memory_mib: i64,
    gpus: u32,
    model: String,
}

/// An endless stream of arrivals: Poisson in time, heavy-tailed in duration.
/// Every pod could run on the empty cluster.
#[derive(Debug, Clone)]
pub struct Arrivals {
    rng: Rng,
    hosts: BTreeSet<Host>,
    /// Mean time between arrivals, µs.
    gap_us: u64,
    mean_duration_ms: u64,
    now_us: u64,
    number: u64,
}

impl Arrivals {
    /// Arrivals for `nodes`. A cluster without GPUs gets a pod a second.
    #[must_use]
    pub fn new(nodes: &[NodeSpec], load: Load, seed: u64) -> Self {
        let hosts = nodes
            .iter()
            .map(|n| Host {
                cpu_milli: n.capacity.cpu_milli,
                memory_mib: n.capacity.memory_mib,
                gpus: n.gpus.len() as u32,
                model: n.gpus.first().map_or_else(String::new, |g| g.model.clone()),
            })
            .collect();
        let capacity: u64 = nodes
            .iter()
            .map(|n| n.gpus.len() as u64 * u64::from(GPU_MILLI))
            .sum();
        // Little's law: load = arrivals per time × GPU per pod × duration.
        let wanted = u128::from(capacity) * u128::from(load.gpu_milli.max(1)) / 1000;
        let offered = u128::from(mean_gpu_milli()) * u128::from(load.mean_duration_ms) * 1000;
        Self {
            rng: Rng::fork(seed, "demo arrivals"),
            hosts,
            gap_us: offered
                .checked_div(wanted)
                .map_or(1_000_000, |gap| gap.clamp(1, u128::from(u32::MAX)) as u64),
            mean_duration_ms: load.mean_duration_ms,
            now_us: 0,
            number: 0,
        }
    }

    /// Mean time between two arrivals, µs.
    #[must_use]
    pub fn mean_gap_us(&self) -> u64 {
        self.gap_us
    }

    fn draw(&mut self) -> PodSpec {
        let rng = &mut self.rng;
        let class_at = rng.weighted(CLASSES.iter().map(|c| c.pods));
        let class = &CLASSES[class_at];
        let shared = class_at == SHARED;
        let amounts = class.amounts[rng.weighted(class.amounts.iter().map(|a| a.0))];
        let milli = match class.gpus {
            0 => 0,
            _ if shared => SHARES[rng.weighted(SHARES.iter().map(|s| s.0))].1,
            _ => GPU_MILLI,
        };
        let constrained = class.gpus == 1 && rng.below(1000) < CONSTRAINED_MILLI;
        let models = if constrained {
            let weights = CONSTRAINTS.iter().map(|c| if shared { c.0 } else { c.1 });
            let list = CONSTRAINTS[rng.weighted(weights)].2;
            list.iter().map(|m| (*m).to_owned()).collect()
        } else {
            Vec::new()
        };
        let app = class.apps[rng.index(class.apps.len())];
        let service = rng.below(1000) < SERVICE_MILLI;
        PodSpec {
            name: format!("{app}-{:06}", self.number),
            app: app.to_owned(),
            requests: Resources {
                cpu_milli: amounts.1,
                memory_mib: amounts.2,
                ..Resources::default()
            },
            gpu: GpuRequest {
                count: class.gpus,
                milli,
                memory_mib: 0,
                models,
            },
            priority: if service { SERVICE_PRIORITY } else { 0 },
            ..PodSpec::default()
        }
    }

    fn could_run(&self, pod: &PodSpec) -> bool {
        self.hosts.iter().any(|h| {
            h.cpu_milli >= pod.requests.cpu_milli
                && h.memory_mib >= pod.requests.memory_mib
                && h.gpus >= pod.gpu.count
                && (pod.gpu.models.is_empty() || pod.gpu.models.contains(&h.model))
        })
    }

    /// Draws until a pod could run on the empty cluster. Small clusters lack
    /// models, and a pod that waits for ever teaches nothing.
    fn runnable(&mut self) -> PodSpec {
        const DRAWS: usize = 64;
        for _ in 0..DRAWS {
            let pod = self.draw();
            if self.could_run(&pod) {
                return pod;
            }
        }
        let mut least = self.draw();
        least.requests = Resources::default();
        least.gpu = GpuRequest::default();
        least
    }

    fn duration_ms(&mut self) -> u64 {
        let steps = DURATIONS_S.len() as u64 - 1;
        let step = self.rng.index(steps as usize);
        let (low, high) = (DURATIONS_S[step], DURATIONS_S[step + 1]);
        let ms = low * 1000 + self.rng.below((high - low) * 1000);
        let scaled = u128::from(ms) * u128::from(self.mean_duration_ms);
        (scaled / u128::from(published_mean_duration_ms())).max(1) as u64
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let gap = exponential_micro(&mut self.rng);
        self.now_us += (u128::from(gap) * u128::from(self.gap_us) / 1_000_000) as u64;
        let arrival = Arrival {
            time_ms: self.now_us / 1000,
            pod: self.runnable(),
            duration_ms: self.duration_ms(),
        };
        self.number += 1;
        Some(arrival)
    }
}

/// Milli-GPU of a mean pod.
fn mean_gpu_milli() -> u64 {
    let shares: u64 = SHARES.iter().map(|s| s.0).sum();
    let mean_share = SHARES.iter().map(|s| s.0 * u64::from(s.1)).sum::<u64>() / shares;
    let pods: u64 = CLASSES.iter().map(|c| c.pods).sum();
    let milli: u64 = CLASSES
        .iter()
        .enumerate()
        .map(|(at, c)| match at {
            SHARED => c.pods * mean_share,
            _ => c.pods * u64::from(c.gpus * GPU_MILLI),
        })
        .sum();
    milli / pods
}

fn published_mean_duration_ms() -> u64 {
    let steps = DURATIONS_S.len() as u64 - 1;
    let twice: u64 = DURATIONS_S.windows(2).map(|w| w[0] + w[1]).sum();
    twice * 1000 / (2 * steps)
}

/// An exponential variate of mean 1, in millionths, from comparisons of
/// uniforms alone (von Neumann, 1951): a logarithm may differ in its last bit
/// between machines.
fn exponential_micro(rng: &mut Rng) -> u64 {
    let mut whole = 0;
    loop {
        let first = rng.next_u64();
        let mut last = first;
        let mut run = 1;
        loop {
            let next = rng.next_u64();
            if next > last {
                break;
            }
            last = next;
            run += 1;
        }
        // A falling run from x has odd length with probability e^-x.
        if run % 2 == 1 {
            return whole * 1_000_000 + ((u128::from(first) * 1_000_000) >> 64) as u64;
        }
        whole += 1;
    }
}
