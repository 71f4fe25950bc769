//! Victims and node as kube-scheduler's `DefaultPreemption` chooses them.
//!
//! On each node all that may be taken leave; then they come back in order of
//! importance, those first whose budget would be overdrawn, and who fits stays.
//! A group counts as one, with its highest priority and its earliest start; for
//! pods on their own, which is all that kube-scheduler knows, nothing differs.
//! All nodes are looked at, where kube-scheduler stops after a tenth of them from
//! a random start.

use std::cmp::Reverse;

use loadmaster_sdk::preemption::{Case, Cluster, Pod, Taken, Units};

/// Added to each priority by kube-scheduler, so that a sum over more victims is
/// larger even if priorities are negative.
const PRIORITY_OFFSET: i64 = 1 << 31;

/// Compared from the left, least first: budgets overdrawn, highest priority, sum
/// of priorities, victims, and the latest of the earliest starts.
pub(crate) type Rank = (u32, i32, i64, u32, Reverse<u64>);

/// One node's victims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) row: u32,
    pub(crate) units: Vec<u32>,
    pub(crate) rank: Rank,
}

/// Victims on each row that can be made to fit, best row first; the first row
/// given wins ties.
pub(crate) fn candidates(
    case: &Case<'_>,
    cluster: &mut Cluster<'_>,
    units: &Units,
    pod: &Pod,
    rows: &[u32],
) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = rows
        .iter()
        .filter_map(|row| victims(case, cluster, units, pod, *row))
        .collect();
    found.sort_by_key(|c| c.rank);
    found
}

fn victims(
    case: &Case<'_>,
    cluster: &mut Cluster<'_>,
    units: &Units,
    pod: &Pod,
    row: u32,
) -> Option<Candidate> {
    let mark = cluster.fork();
    let mut uncounted = Taken::new(&[]);
    let mut list = units.on_row(row as usize).to_vec();
    for unit in &list {
        units.evict(*unit, cluster, &mut uncounted);
    }
    if list.is_empty() || !cluster.fits(pod, row as usize) {
        cluster.rollback(mark);
        return None;
    }
    let started = |unit: u32| {
        let members = units.members(unit).iter();
        members
            .map(|v| case.request.running.started[*v as usize])
            .min()
    };
    list.sort_by_key(|u| (Reverse(units.unit(*u).priority), started(*u), *u));
    let (violating, others) = split(case, units, &list);
    let mut victims = Vec::new();
    let mut overdrawn = 0;
    for (unit, is_violating) in violating
        .iter()
        .map(|u| (*u, true))
        .chain(others.iter().map(|u| (*u, false)))
    {
        units.restore(unit, cluster, &mut uncounted);
        if !cluster.fits(pod, row as usize) {
            units.evict(unit, cluster, &mut uncounted);
            victims.push(unit);
            overdrawn += u32::from(is_violating);
        }
    }
    cluster.rollback(mark);
    let highest = victims.iter().map(|u| units.unit(*u).priority).max()?;
    let members = || victims.iter().flat_map(|u| units.members(*u));
    let priority = |v: &u32| case.request.running.priority[*v as usize];
    let first = members().filter(|v| priority(v) == highest);
    let first = first
        .map(|v| case.request.running.started[*v as usize])
        .min();
    let rank = (
        overdrawn,
        highest,
        members()
            .map(|v| i64::from(priority(v)) + PRIORITY_OFFSET)
            .sum(),
        members().count() as u32,
        Reverse(first.unwrap_or(0)),
    );
    victims.sort_unstable();
    Some(Candidate {
        row,
        units: victims,
        rank,
    })
}

/// Who would overdraw a budget if all before it in importance were taken too.
fn split(case: &Case<'_>, units: &Units, list: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let budgets = &case.request.budgets;
    let mut left: Vec<i64> = budgets.iter().map(|b| b.allowed.into()).collect();
    list.iter().partition(|unit| {
        let mut violates = false;
        for &victim in units.members(**unit) {
            let budget = case.request.running.budget[victim as usize];
            if let Some(left) = left.get_mut(budget as usize) {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        violates
    })
}
