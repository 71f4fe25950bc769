//! How benches measure: CPU time of the thread, alternatives interleaved, the
//! same work asserted equal before it is timed.
//!
//! On a shared machine minima repeat within a few percent and medians do not,
//! so a ratio of minima is what to compare.

use std::time::Duration;

/// CPU time this thread has used: pre-emption by others does not count.
#[must_use]
#[expect(unsafe_code, reason = "std has no clock of a thread's CPU time")]
pub fn cpu_time() -> Duration {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is valid for writes for the duration of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    Duration::new(t.tv_sec.unsigned_abs(), t.tv_nsec as u32)
}

/// Minimum and median of some rounds, per unit of work, in µs.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Fastest round.
    pub min_us: f64,
    /// Middle round.
    pub median_us: f64,
}

impl Timing {
    /// From the time of each round of `work` units.
    #[must_use]
    pub fn of(rounds: &[Duration], work: u64) -> Self {
        let mut us: Vec<f64> = rounds
            .iter()
            .map(|d| d.as_secs_f64() * 1e6 / work as f64)
            .collect();
        us.sort_by(f64::total_cmp);
        Self {
            min_us: us.first().copied().unwrap_or(f64::NAN),
            median_us: us.get(us.len() / 2).copied().unwrap_or(f64::NAN),
        }
    }

    /// Units a second at the fastest.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        1e6 / self.min_us
    }
}
