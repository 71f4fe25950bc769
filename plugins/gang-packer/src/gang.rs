//! What has to be placed, and how hard to look.

use loadmaster_sdk::preemption::{Case, Pod};
use std::cmp::Reverse;

/// One role of a gang.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role<'a> {
    /// Index into the preemptor's demands.
    pub(crate) demand: u32,
    pub(crate) pod: &'a Pod,
    pub(crate) min: u32,
    pub(crate) count: u32,
}

/// Roles with the largest members first: what is hard to place goes first.
#[must_use]
pub(crate) fn roles<'a>(case: &Case<'a>) -> Vec<Role<'a>> {
    let demands = case.request.preemptor.demands.iter().enumerate();
    let mut roles: Vec<Role<'a>> = demands
        .map(|(demand, d)| Role {
            demand: demand as u32,
            pod: &d.pod,
            min: d.min.min(d.count),
            count: d.count,
        })
        .collect();
    roles.sort_by_key(|role| {
        let pod = role.pod;
        let size = (pod.gpu_request(), pod.gpu_count, pod.cpu, pod.memory);
        (Reverse(size), role.demand)
    });
    roles
}

/// How many members of each role are wanted.
#[must_use]
pub(crate) fn minimum(roles: &[Role<'_>]) -> Vec<u32> {
    roles.iter().map(|r| r.min).collect()
}

/// A bounded search: each placement that is tried costs a step, so that the
/// answer depends on the request alone and not on a clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    left: u64,
    each: u64,
    now: u64,
    stopped: bool,
}

/// One search gets this part of all steps, so that a domain where it is hopeless
/// but cannot be seen leaves some for the others.
const PART: u64 = 10;

impl Search {
    pub(crate) fn new(steps: u64) -> Self {
        Self {
            left: steps,
            each: (steps / PART).max(1),
            now: 0,
            stopped: false,
        }
    }

    /// Begins one search.
    pub(crate) fn begin(&mut self) {
        self.now = self.each.min(self.left);
    }

    /// Whether one more placement may be tried.
    pub(crate) fn step(&mut self) -> bool {
        if self.now == 0 {
            self.stopped = true;
            return false;
        }
        self.now -= 1;
        self.left -= 1;
        true
    }

    /// Whether this search may not go on.
    pub(crate) fn is_over(&self) -> bool {
        self.now == 0
    }

    /// Notes that a search outside placements ended early.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether any search ended before it had tried everything.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }
}
