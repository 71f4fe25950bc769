//! The clock behind the wall guard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::EngineWeak;

/// Length of an epoch. Wall guards are in whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

/// Ticks made up for at one wake-up.
const OWED_TICKS_MAX: u128 = 8;

/// How late the worst tick was. Deadlines slip by as much when the machine has
/// no time for the thread.
#[derive(Debug, Default)]
pub(crate) struct TickLag {
    worst_us: AtomicU64,
}

impl TickLag {
    pub(crate) fn worst_us(&self) -> u64 {
        self.worst_us.load(Ordering::Relaxed)
    }
}

/// Starts the thread; it ends when the engine is gone. An OS thread, because a
/// task of an async runtime does not run while that runtime is busy.
pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Arc<TickLag>> {
    let lag = Arc::new(TickLag::default());
    let shared = Arc::clone(&lag);
    thread::Builder::new()
        .name("sandbox-tick".to_owned())
        .stack_size(128 << 10)
        .spawn(move || {
            let mut last = Instant::now();
            loop {
                thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                let now = Instant::now();
                let late = now.duration_since(last).saturating_sub(TICK);
                // A starved ticker owes the ticks it slept through, else a guard
                // of 50 ms lasts for seconds on a busy machine. Not all of them:
                // when the whole host stood still, the guest did not run either,
                // and a policy is not to blame for that.
                let owed = 1 + late.as_millis().min(OWED_TICKS_MAX);
                for _ in 0..owed {
                    engine.increment_epoch();
                }
                last = now;
                let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                shared.worst_us.fetch_max(late, Ordering::Relaxed);
            }
        })?;
    Ok(lag)
}
