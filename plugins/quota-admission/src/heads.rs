//! What waits, in the terms of the tree: demands of all heads in one list each.

use std::ops::Range;

use loadmaster_sdk::admission::{Cycle, Head, QuotaNode};
use loadmaster_sdk::quota::{Amount, QuotaTree, pods_of, sum_of};

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
                // A list leaves out what is 0; no list at all says nothing.
                let min = sum_of(&head.min_demand, &tree.resources()[full.resource as usize]);
                let unknown = head.min_demand.is_empty();
                let min = min.unwrap_or(if unknown { full.amount } else { 0 });
                heads.least.push(Amount {
                    resource: full.resource,
                    amount: min.min(full.amount),
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

    /// See [`pods_of`].
    pub(crate) fn pods(&self, head: usize) -> Option<(u32, u32)> {
        pods_of(self.get(head))
    }
}
