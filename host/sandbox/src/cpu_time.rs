//! How long this thread has really run: what a policy may be blamed for.
//!
//! Only read where a wall guard is about to end a call, so a file is fast
//! enough and needs no unsafe code.

use std::time::Duration;

/// CPU time of the calling thread; `None` where the kernel does not tell, and
/// then wall time has to do.
pub(crate) fn of_this_thread() -> Option<Duration> {
    // First field: nanoseconds on a CPU (Documentation/scheduler/sched-stats).
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = stat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_costs_nothing_and_working_does() {
        let Some(before) = of_this_thread() else {
            eprintln!("not run: cpu time: this kernel does not tell");
            return;
        };
        std::thread::sleep(Duration::from_millis(30));
        let slept = of_this_thread().unwrap() - before;
        assert!(slept < Duration::from_millis(20), "{slept:?}");
        let mut x = 1u64;
        while of_this_thread().unwrap() - before < slept + Duration::from_millis(5) {
            for _ in 0..10_000 {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005));
            }
        }
    }
}
