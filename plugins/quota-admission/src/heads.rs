//! What waits, in the terms of the tree: demands of all heads in one list each.

use std::ops::Range;

use loadmaster_sdk::admission::{Cycle, Head, QuotaDemand, QuotaNode};
use loadmaster_sdk::quota::{Amount, QuotaTree};

/// Resource that counts pods; with it the size of one pod can be derived.
const PODS: &str = "pods";

/// The heads of a cycle.
#[derive(Debug)]
pub(crate) struct Heads<'a> {
    cycle: &'a Cycle,
    /// What is limited of each demand, all heads one after the other.
    full: Vec<Amount>,
    /// The same resources with the minimum of every role.
    least: Vec<Amount>,
    /// Where a head's amounts end.
    ends: Vec<u32>,
}

fn sum(demand: &[QuotaDemand], resource: &str) -> Option<i64> {
    let parts = demand.iter().filter(|d| d.resource == resource);
    let amounts = parts.map(|d| d.amount.max(0));
    amounts.reduce(i64::saturating_add)
}

impl<'a> Heads<'a> {
    pub(crate) fn new(cycle: &'a Cycle, tree: &QuotaTree) -> Self {
        let mut heads = Self {
            cycle,
            full: Vec::new(),
            least: Vec::new(),
            ends: Vec::with_capacity(cycle.heads.len()),
        };
        for head in &cycle.heads {
            let start = heads.full.len();
            if (head.node as usize) < tree.nodes() {
                tree.demand(head.node as usize, &head.demand, &mut heads.full);
            }
            for full in &heads.full[start..] {
                // Without a minimum nothing of it can be left out.
                let min = sum(&head.min_demand, &tree.resources()[full.resource as usize]);
                heads.least.push(Amount {
                    resource: full.resource,
                    amount: min.map_or(full.amount, |min| min.min(full.amount)),
                });
            }
            heads.ends.push(heads.full.len() as u32);
        }
        heads
    }

    pub(crate) fn len(&self) -> usize {
        self.cycle.heads.len()
    }

    pub(crate) fn get(&self, head: usize) -> &'a Head {
        &self.cycle.heads[head]
    }

    pub(crate) fn nodes(&self) -> &'a [QuotaNode] {
        &self.cycle.nodes
    }

    /// The node that pays, if it exists.
    pub(crate) fn payer(&self, head: usize) -> Option<usize> {
        let node = self.cycle.heads[head].node as usize;
        (node < self.cycle.nodes.len()).then_some(node)
    }

    fn range(&self, head: usize) -> Range<usize> {
        let start = head.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[head] as usize
    }

    pub(crate) fn full(&self, head: usize) -> &[Amount] {
        &self.full[self.range(head)]
    }

    pub(crate) fn least(&self, head: usize) -> &[Amount] {
        &self.least[self.range(head)]
    }

    /// Pods of a job with one role: least and all. None unless `pods` is among
    /// the demands and everything else is an exact multiple of it, for only then
    /// is it known what some of the pods need.
    pub(crate) fn pods(&self, head: usize) -> Option<(u32, u32)> {
        let head = self.get(head);
        let all = sum(&head.demand, PODS).filter(|all| *all > 0)?;
        let min = sum(&head.min_demand, PODS)?;
        for part in &head.demand {
            let full = sum(&head.demand, &part.resource)?;
            let least = sum(&head.min_demand, &part.resource)?;
            if full % all != 0 || least != full / all * min {
                return None;
            }
        }
        let (min, all) = (u32::try_from(min).ok()?, u32::try_from(all).ok()?);
        (min < all).then_some((min.max(1), all))
    }
}
