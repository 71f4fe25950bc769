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

/// A bounded search: each row that backtracking looks at is counted, so that the
/// answer depends on the request alone and not on a clock, and stays within what
/// a host lets one decision cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    all: u64,
    left: u64,
    now: u64,
    stopped: bool,
}

/// How much of all looks one search may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A placement that becomes the plan: a tenth, so that a domain where it is
    /// hopeless but cannot be seen leaves some for the others.
    Plan,
    /// Whether the gang would fit with some victims gone: a fiftieth, as many
    /// sets of victims are looked at.
    Check,
}

impl Search {
    pub(crate) fn new(looks: u64) -> Self {
        Self {
            all: looks,
            left: looks,
            now: 0,
            stopped: false,
        }
    }

    /// Begins one search.
    pub(crate) fn begin(&mut self, effort: Effort) {
        let part = match effort {
            Effort::Plan => 10,
            Effort::Check => 50,
        };
        self.now = (self.all / part).max(1).min(self.left);
    }

    /// Counts looks at rows; false once there are too many.
    pub(crate) fn look(&mut self, rows: usize) -> bool {
        let rows = rows as u64;
        self.left = self.left.saturating_sub(rows);
        if self.now < rows {
            self.now = 0;
            self.stopped = true;
            return false;
        }
        self.now -= rows;
        true
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
