//! Packs pods tightly, so that whole nodes and whole GPUs stay free.
//!
//! `kernel` turns settings and a pod into the arithmetic of one row, this file
//! is the policy around it.

mod kernel;

use kernel::{Headroom, Kernel, Left, Resource, Usage};
use loadmaster_sdk::devices;
use loadmaster_sdk::scoring::*;

/// The bin-packing policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binpack {
    mode: Mode,
    weights: [i64; 3],
    scales: [i64; 3],
    step: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    BestFit,
    MostAllocated,
    DotProduct,
}

const COLUMNS: [Column; 8] = [
    Column::CpuFree,
    Column::CpuCap,
    Column::MemoryFree,
    Column::MemoryCap,
    Column::GpuFree,
    Column::GpuCount,
    Column::GpuMilliFree,
    Column::GpuMemoryFree,
];

impl Binpack {
    fn kernel(&self, pod: &Pod) -> Kernel {
        let requests = [i64::from(pod.cpu), i64::from(pod.memory), pod.gpu_request()];
        match self.mode {
            Mode::BestFit => Kernel::Headroom(Headroom::after(
                &self.weights,
                &self.scales,
                &requests,
                self.step,
            )),
            Mode::DotProduct => Kernel::Headroom(Headroom::aligned(
                &self.weights,
                &self.scales,
                &requests,
                self.step,
            )),
            Mode::MostAllocated => Kernel::Usage(Usage::new(&self.weights, &requests, self.step)),
        }
    }
}

fn left(node: Node<'_>) -> Left {
    Left {
        free: [node.cpu_free(), node.memory_free(), node.gpu_free()],
        cap: [
            node.cpu_cap(),
            node.memory_cap(),
            node.gpu_count() * GPU_WHOLE,
        ],
    }
}

impl ScoringPolicy for Binpack {
    fn describe() -> Description {
        Description::new("binpack", env!("CARGO_PKG_VERSION"))
            .summary("Packs pods tightly, so that whole nodes and whole GPUs stay free.")
            .settings_schema(include_str!("../settings.schema.json"))
            .reads(&COLUMNS)
    }

    fn configure(settings: &str) -> Result<Self, String> {
        let mut s = Settings::parse(settings)?;
        let scale_max = i64::from(i32::MAX);
        let policy = Self {
            mode: s.choice(
                "mode",
                &[
                    ("best-fit", Mode::BestFit),
                    ("most-allocated", Mode::MostAllocated),
                    ("dot-product", Mode::DotProduct),
                ],
            )?,
            weights: [
                s.integer("cpu-weight", 0..=1_000, 1)?,
                s.integer("memory-weight", 0..=1_000, 0)?,
                s.integer("gpu-weight", 0..=1_000, 1)?,
            ],
            scales: [
                s.integer("cpu-scale", 1..=scale_max, 128_000)?,
                s.integer("memory-scale", 1..=scale_max, 1 << 20)?,
                s.integer("gpu-scale", 1..=64_000, 8_000)?,
            ],
            step: s.integer("step", 1..=i64::from(SCORE_MAX), 1_000)?,
        };
        s.finish()?;
        if policy.weights == [0; 3] {
            return Err("`cpu-weight`, `memory-weight` and `gpu-weight` are all 0".to_owned());
        }
        Ok(policy)
    }

    fn score(&self, pod: &Pod, node: Node<'_>) -> Score {
        Score::points(self.kernel(pod).points(&left(node)))
    }

    fn score_all(&self, pod: &Pod, rows: &Rows<'_>, out: &mut Vec<i32>) {
        let free = [Column::CpuFree, Column::MemoryFree, Column::GpuFree].map(|c| rows.column(c));
        match self.kernel(pod) {
            Kernel::Headroom(kernel) => kernel.score_columns(free, out),
            Kernel::Usage(kernel) => {
                let cap = [Column::CpuCap, Column::MemoryCap, Column::GpuCount];
                kernel.score_columns(free, cap.map(|c| rows.column(c)), out);
            }
        }
    }

    fn place(&self, pod: &Pod, node: Node<'_>) -> Option<DeviceSet> {
        devices::tightest(pod, node)
    }

    fn explain(&self, pod: &Pod, node: Node<'_>) -> Vec<Part> {
        let kernel = self.kernel(pod);
        let left = left(node);
        let score = i64::from(Score::points(kernel.points(&left)).value());
        let mut parts = Vec::new();
        let mut sum = 0;
        if matches!(kernel, Kernel::Headroom(_)) {
            parts.push(part("nothing-left", SCORE_MAX.into(), "a full node"));
            sum = i64::from(SCORE_MAX);
        }
        for resource in Resource::ALL {
            let value = kernel.contribution(&left, resource);
            if value != 0 {
                let free = left.free[resource as usize];
                let text = format!("{free} {} free before the pod", resource.unit());
                parts.push(part(resource.name(), value, &text));
                sum += value;
            }
        }
        if sum != score {
            let text = format!("cut to a multiple of {} from 0 to {SCORE_MAX}", self.step);
            parts.push(part("rounding", score - sum, &text));
        }
        parts
    }
}

loadmaster_sdk::export_scoring!(Binpack);

#[cfg(test)]
mod tests;
