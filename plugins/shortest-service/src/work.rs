//! What a head still needs.

use loadmaster_sdk::admission::Head;

/// The resource that is scarce.
pub(crate) const GPU: &str = "gpu";

/// How run times are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Thousandths off a running job's run time.
    pub(crate) stickiness: u64,
    /// Least run time, ms, of a job nobody knows anything about.
    pub(crate) unknown_ms: u64,
}

/// Run time and GPUs of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    /// Expected remaining run time, ms, at least 1.
    pub(crate) runtime_ms: u64,
    /// Milli-GPU.
    pub(crate) gpu_milli: i64,
}

impl Work {
    pub(crate) fn of(head: &Head, settings: &Settings) -> Self {
        let gpus = head.demand.iter().find(|d| d.resource == GPU);
        let gpu_milli = gpus.map_or(0, |d| d.amount.max(0));
        // Run times are heavy-tailed: what has run for long runs on for long.
        let run_so_far = || {
            let per_gpu = u128::from(head.attained) * 1000 / gpu_milli.max(1) as u128;
            u64::try_from(per_gpu).unwrap_or(u64::MAX)
        };
        let runtime = head
            .expected_runtime
            .unwrap_or_else(|| run_so_far().max(settings.unknown_ms));
        // Who started and does not wait is running.
        let running = head.attempts > 0 && head.waited == 0;
        let off = if running { settings.stickiness } else { 0 };
        let kept = u128::from(runtime) * u128::from(1000 - off.min(1000)) / 1000;
        Self {
            runtime_ms: u64::try_from(kept).unwrap_or(u64::MAX).max(1),
            gpu_milli,
        }
    }

    /// GPU-milliseconds still to serve. Work without GPUs counts as a thousandth
    /// of one, so that it is in order too, before what competes for GPUs.
    pub(crate) fn service(self) -> i64 {
        let service = u128::from(self.runtime_ms) * self.gpu_milli.max(1) as u128 / 1000;
        i64::try_from(service).unwrap_or(i64::MAX)
    }
}
