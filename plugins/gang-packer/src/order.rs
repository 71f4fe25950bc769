//! In which order a domain's rows are filled: level by level, whole children
//! first, and for the last part the smallest child that holds it.
//!
//! This is the third phase of Kueue's topology-aware scheduling; it keeps large
//! holes for those who need them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use loadmaster_sdk::preemption::{Cluster, Domain};

/// Which domain each row is in, by level, lowest level first. Domains come by
/// level and name, so that a smaller index is an earlier name.
#[derive(Debug)]
pub(crate) struct Levels {
    levels: Vec<(u32, Vec<u32>)>,
}

/// In no domain of a level.
const NOWHERE: u32 = u32::MAX;

struct Child {
    room: u64,
    /// Index of the domain, or the row's stable id.
    order: i64,
    rows: Vec<u32>,
}

impl Levels {
    pub(crate) fn new(domains: &[Domain], rows: usize) -> Self {
        let mut levels: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (index, domain) in domains.iter().enumerate() {
            let of = levels.entry(domain.level);
            let of = of.or_insert_with(|| vec![NOWHERE; rows]);
            for row in &domain.rows {
                of[*row as usize] = index as u32;
            }
        }
        levels.remove(&0);
        Self {
            levels: levels.into_iter().collect(),
        }
    }

    /// The rows in the order in which `need` members fill them, where row r has
    /// room for `room[r]`.
    pub(crate) fn order(
        &self,
        cluster: &Cluster<'_>,
        rows: &[u32],
        below: u32,
        need: u64,
        room: &[u32],
    ) -> Vec<u32> {
        let mut out = Vec::with_capacity(rows.len());
        self.descend(cluster, rows, below, need, room, &mut out);
        out
    }

    fn descend(
        &self,
        cluster: &Cluster<'_>,
        rows: &[u32],
        below: u32,
        need: u64,
        room: &[u32],
        out: &mut Vec<u32>,
    ) {
        let lower = self.levels.iter().rev().find(|(level, _)| *level < below);
        let Some((level, of)) = lower else {
            let rows = rows.iter().map(|row| Child {
                room: room[*row as usize].into(),
                order: cluster.id(*row as usize).into(),
                rows: vec![*row],
            });
            let picked = pick(rows.collect(), need);
            out.extend(picked.iter().map(|(child, _)| child.rows[0]));
            return;
        };
        let mut children: BTreeMap<u32, Child> = BTreeMap::new();
        for &row in rows {
            let domain = of[row as usize];
            let child = children.entry(domain).or_insert_with(|| Child {
                room: 0,
                order: domain.into(),
                rows: Vec::new(),
            });
            child.room += u64::from(room[row as usize]);
            child.rows.push(row);
        }
        for (child, part) in pick(children.into_values().collect(), need) {
            self.descend(cluster, &child.rows, *level, part, room, out);
        }
    }
}

/// Children in the order of use, each with its part.
fn pick(mut children: Vec<Child>, mut need: u64) -> Vec<(Child, u64)> {
    children.sort_by_key(|c| (Reverse(c.room), c.order));
    let mut picked = Vec::with_capacity(children.len());
    let mut rest = Vec::new();
    let mut children = children.into_iter().peekable();
    while let Some(child) = children.peek() {
        if need == 0 {
            break;
        }
        if child.room < need {
            let part = child.room;
            need -= part;
            picked.extend(children.next().map(|child| (child, part)));
            continue;
        }
        // The largest holds what is left, so the last that does is the tightest;
        // among equals the first by name.
        let mut fitting: Vec<Child> = Vec::new();
        while children.peek().is_some_and(|c| c.room >= need) {
            fitting.extend(children.next());
        }
        let tightest = fitting.last().map_or(0, |c| c.room);
        let at = fitting.iter().position(|c| c.room == tightest);
        if let Some(at) = at {
            picked.push((fitting.remove(at), need));
        }
        rest = fitting;
        need = 0;
    }
    rest.extend(children);
    picked.extend(rest.into_iter().map(|child| (child, 0)));
    picked
}
