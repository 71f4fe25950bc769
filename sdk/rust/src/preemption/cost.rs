//! What taking running work loses.

use super::{Case, GPU_WHOLE};

/// How running work is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Milli-GPU that one core of work without devices counts as. Work with
    /// devices counts its devices only.
    pub core_milli: i64,
}

/// Milli-cores of a core.
const CORE: i64 = 1_000;

/// Milliseconds of a second.
const SECOND: u64 = 1_000;

/// Work lost, by victim, in milli-GPU-seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Losses {
    loss: Vec<i64>,
}

impl Losses {
    /// Charges each victim with its work since its last checkpoint, and with its
    /// restart.
    ///
    /// Who never published a checkpoint is charged as if it had made one when the
    /// median publisher did: otherwise not publishing would protect from being
    /// taken.
    #[must_use]
    pub fn new(case: &Case<'_>, rate: Rate) -> Self {
        let running = &case.request.running;
        let now = case.request.now;
        let mut published: Vec<u64> = running.checkpoint.clone();
        published.retain(|at| *at > 0);
        let middle = published.len().saturating_sub(1) / 2;
        let median = if published.is_empty() {
            0
        } else {
            *published.select_nth_unstable(middle).1
        };
        let loss = (0..running.id.len())
            .map(|v| {
                let saved = match running.checkpoint[v] {
                    0 => median,
                    at => at,
                };
                let since = now.saturating_sub(running.started[v].max(saved));
                let per_second = milli_held(case, v, rate);
                let work = i128::from(since) * i128::from(per_second) / i128::from(SECOND);
                let restart = i128::from(running.restart_cost[v]) * i128::from(GPU_WHOLE);
                i64::try_from(work + restart).unwrap_or(i64::MAX)
            })
            .collect();
        Self { loss }
    }

    /// Milli-GPU-seconds that taking this victim loses.
    #[must_use]
    #[inline]
    pub fn of(&self, victim: usize) -> i64 {
        self.loss[victim]
    }
}

/// Milli-GPU that a victim holds.
#[inline]
fn milli_held(case: &Case<'_>, victim: usize, rate: Rate) -> i64 {
    let running = &case.request.running;
    match running.gpu_slots[victim].count_ones() {
        0 => i64::from(running.cpu[victim].max(0)) * rate.core_milli / CORE,
        devices => i64::from(devices) * i64::from(running.gpu_milli[victim].max(0)),
    }
}

/// Notice for a victim: what it asks for if it has work that a checkpoint would
/// save, none otherwise.
#[must_use]
pub fn notice(case: &Case<'_>, victim: usize) -> u32 {
    let running = &case.request.running;
    let saved = running.started[victim].max(running.checkpoint[victim]);
    if case.request.now > saved {
        running.grace[victim]
    } else {
        0
    }
}
