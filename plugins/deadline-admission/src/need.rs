//! What a head needs in time: how long, by when, and with how many pods.

use std::cmp::Reverse;

use loadmaster_sdk::admission::{Finding, Head};
use loadmaster_sdk::quota::pods_of;

use crate::settings::Settings;

/// Where a head stands against the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Can finish in time, if it starts in time.
    Timed,
    /// Has no deadline, or nobody knows how long it takes: uses what is left.
    Rest,
    /// Could not finish in time even if it started now.
    Late,
}

/// A head on the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) class: Class,
    pub(crate) deadline: Option<u64>,
    /// Run time with all pods, margin included; none if nobody knows.
    run_ms: Option<u64>,
    start_up_ms: u64,
    /// Fewest and all pods, where some of them could do.
    pods: Option<(u32, u32)>,
}

/// How a head would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// So many of its pods; none for all.
    pub(crate) pods: Option<(u32, u32)>,
    /// Until it has finished; none for ever.
    pub(crate) ms: Option<u64>,
}

fn times(value: u64, by: u64, over: u64) -> u64 {
    let product = u128::from(value) * u128::from(by);
    u64::try_from(product.div_ceil(u128::from(over))).unwrap_or(u64::MAX)
}

impl Need {
    pub(crate) fn new(head: &Head, now: u64, s: &Settings) -> Self {
        let run_ms = head.expected_runtime.map(|ms| times(ms, s.safety, 1_000));
        let mut need = Self {
            class: Class::Rest,
            deadline: head.deadline,
            run_ms,
            start_up_ms: s.start_up_ms,
            pods: if s.single_role { pods_of(head) } else { None },
        };
        if let Some(deadline) = need.deadline {
            need.class = match need.fastest() {
                Some(ms) if now.saturating_add(ms) <= deadline => Class::Timed,
                None if now < deadline => Class::Rest,
                _ => Class::Late,
            };
        }
        need
    }

    /// Until it has finished with all its pods.
    pub(crate) fn fastest(&self) -> Option<u64> {
        self.run_ms.map(|ms| ms.saturating_add(self.start_up_ms))
    }

    /// Time to spare before it has to start.
    pub(crate) fn slack(&self, now: u64) -> u64 {
        self.deadline.map_or(u64::MAX, |deadline| {
            let left = deadline.saturating_sub(now);
            left.saturating_sub(self.fastest().unwrap_or(0))
        })
    }

    /// How it would run if it started then: with the fewest pods that meet the
    /// deadline. None if it would be late.
    ///
    /// Half the pods are taken to need twice the time. Real jobs lose less than
    /// that by having fewer, so that none is late by this.
    pub(crate) fn shape(&self, start: u64) -> Option<Shape> {
        let all = Shape {
            pods: None,
            ms: self.fastest(),
        };
        let (Class::Timed, Some(deadline), Some(run)) = (self.class, self.deadline, self.run_ms)
        else {
            return Some(all);
        };
        let left = deadline.checked_sub(start)?.checked_sub(self.start_up_ms)?;
        if run > left {
            return None;
        }
        let Some((min, count)) = self.pods.filter(|_| run > 0) else {
            return Some(all);
        };
        let pods = u32::try_from(times(run, u64::from(count), left)).ok()?;
        let pods = pods.max(min);
        if pods >= count {
            return Some(all);
        }
        let run = times(run, u64::from(count), u64::from(pods));
        Some(Shape {
            pods: Some((pods, count)),
            ms: Some(run.saturating_add(self.start_up_ms)),
        })
    }

    /// Earliest deadline first, what nobody waits for next, what is too late last.
    pub(crate) fn key(&self, head: &Head, now: u64) -> Vec<i64> {
        let time = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        vec![
            self.class as i64,
            self.deadline.map_or(i64::MAX, time),
            time(self.slack(now)),
            -i64::from(head.priority),
            time(head.created),
        ]
    }

    /// The same order, in which no two heads are equal.
    pub(crate) fn rank<'h>(&self, head: &'h Head, now: u64) -> impl Ord + use<'h> {
        (
            self.class,
            self.deadline.unwrap_or(u64::MAX),
            self.slack(now),
            Reverse(head.priority),
            head.created,
            head.job.as_str(),
        )
    }

    /// Why it is too late.
    pub(crate) fn too_late(&self, head: &Head, now: u64, s: &Settings) -> Finding {
        let has = self.deadline.unwrap_or(0).saturating_sub(now);
        let message = match (head.expected_runtime, self.fastest()) {
            (Some(expected), Some(needs)) => format!(
                "needs {} (expected {} x {}, start-up {}), has {}; move the deadline or ask for less work",
                seconds(needs),
                seconds(expected),
                decimal(s.safety),
                seconds(s.start_up_ms),
                seconds(has),
            ),
            _ => format!("needs some time, has {}; move the deadline", seconds(has)),
        };
        Finding::new("DeadlineUnreachable", "/deadline", &message)
    }
}

/// Thousandths as a number, without trailing zeros.
fn decimal(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(crate) fn seconds(ms: u64) -> String {
    format!("{} s", decimal(ms))
}
