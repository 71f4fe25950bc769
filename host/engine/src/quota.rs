//! Who may use how much: the quota tree, the queues that draw on it, and what is
//! used of them.
//!
//! `tree` is the arithmetic, `edit` checks and makes changes. Here is the ledger:
//! every queue knows exactly what its admitted pods take, and the tree's usage
//! follows it pod by pod. A change of the tree recounts usage from the queues, so
//! it can leave usage above a limit: nothing is stopped for that, but nothing
//! more enters either.

mod edit;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::plan::QuotaShortage;
use model::quota::{Amounts, QueueSpec, QuotaResource, QuotaSpec};

use crate::engine::Engine;
use crate::port::admission::{QuotaDemand, QuotaLineRow, QuotaRow};
use crate::state::RestoreError;
pub(crate) use tree::{Tree, Usage};

/// A queue and what it has taken.
#[derive(Debug, Clone)]
pub(crate) struct QueueState {
    pub(crate) spec: QueueSpec,
    /// Node that pays; `None` only between two objects of a restore.
    pub(crate) node: Option<u32>,
    /// Of its admitted pods.
    pub(crate) used: Amounts,
    /// Number of them.
    pub(crate) pods: u32,
}

/// Quota nodes, queues, and what is used of them.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    nodes: BTreeMap<String, QuotaSpec>,
    queues: BTreeMap<String, QueueState>,
    tree: Tree,
    usage: Usage,
    /// What whole subtrees use, local or not.
    used: Vec<Amounts>,
}

impl Quotas {
    pub(crate) fn spec(&self, name: &str) -> Option<&QuotaSpec> {
        self.nodes.get(name)
    }

    pub(crate) fn queue(&self, name: &str) -> Option<&QueueSpec> {
        self.queues.get(name).map(|q| &q.spec)
    }

    pub(crate) fn queue_state(&self, name: &str) -> Option<&QueueState> {
        self.queues.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    pub(crate) fn queue_names(&self) -> impl Iterator<Item = &str> {
        self.queues.keys().map(String::as_str)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Used by the whole subtree of a node.
    pub(crate) fn used_below(&self, node: u32) -> &Amounts {
        &self.used[node as usize]
    }

    fn node_of(&self, queue: &str) -> Option<u32> {
        self.queues.get(queue)?.node
    }

    /// Whether the queue's quota pays for this on top. `false` for a queue that
    /// is not there.
    pub(crate) fn fits(&self, queue: &str, amounts: &Amounts) -> bool {
        self.node_of(queue)
            .is_some_and(|node| self.tree.fits(&self.usage, node, amounts))
    }

    /// Limits that stand in the way, from the paying node upwards.
    pub(crate) fn shortages(&self, queue: &str, amounts: &Amounts) -> Vec<QuotaShortage> {
        let mut shortages = Vec::new();
        if let Some(node) = self.node_of(queue) {
            self.tree.breaks(&self.usage, node, amounts, |b| {
                shortages.push(QuotaShortage {
                    quota: Arc::clone(&self.tree.names[b.node as usize]),
                    resource: b.resource,
                    by: b.by,
                });
            });
        }
        shortages
    }

    /// Whether it would fit if others gave back what they borrowed.
    pub(crate) fn would_fit_if_reclaimed(&self, queue: &str, amounts: &Amounts) -> bool {
        self.node_of(queue)
            .is_some_and(|node| self.tree.entitled(&self.usage, node, amounts))
    }

    /// Whether it could ever fit.
    pub(crate) fn possible(&self, queue: &str, amounts: &Amounts) -> bool {
        self.node_of(queue)
            .is_some_and(|node| self.tree.possible(node, amounts))
    }

    /// Most the queue could use if nobody else used anything, by
    /// [`QuotaResource`]; `None` where nothing limits it.
    pub(crate) fn max_ever(&self, queue: &str) -> [Option<i64>; QuotaResource::COUNT] {
        let node = self.node_of(queue);
        QuotaResource::ALL.map(|r| {
            let cell = self.tree.cell(node?, r);
            cell.limited.then_some(cell.ever)
        })
    }

    /// Usage of the paying node as thousandths of what it is entitled to: 1000 is
    /// exactly its quota, more is borrowed.
    pub(crate) fn share(&self, queue: &str) -> u32 {
        self.node_of(queue)
            .map_or(0, |node| self.tree.entitlement(&self.usage, node))
    }

    /// What the paying node uses beyond its own quota.
    pub(crate) fn borrowed(&self, queue: &str) -> Amounts {
        self.node_of(queue).map_or(Amounts::default(), |node| {
            self.tree.borrowed(&self.usage, node, &Amounts::default())
        })
    }

    /// Whether it uses more than its own quota of something.
    pub(crate) fn borrows(&self, queue: &str) -> bool {
        !self.borrowed(queue).is_zero()
    }

    /// The opposite of [`Self::borrows`].
    pub(crate) fn within_guarantee(&self, queue: &str) -> bool {
        !self.borrows(queue)
    }

    fn charge(&mut self, queue: &str, amounts: &Amounts, sign: i64) {
        let Some(state) = self.queues.get_mut(queue) else {
            return;
        };
        state.used.add(amounts, sign);
        state.pods = state.pods.saturating_add_signed(sign as i32);
        let Some(node) = state.node else {
            return;
        };
        self.tree.charge(&mut self.usage, node, amounts, sign);
        let mut at = Some(node);
        while let Some(node) = at {
            self.used[node as usize].add(amounts, sign);
            at = self.tree.parent(node);
        }
    }

    /// Makes the tree what the specs say, and counts usage anew.
    fn rebuild(&mut self) {
        self.tree = Tree::new(&self.nodes);
        self.usage = self.tree.unused();
        self.used = vec![Amounts::default(); self.tree.len()];
        for queue in self.queues.values_mut() {
            queue.node = self.tree.node(&queue.spec.quota);
            let Some(node) = queue.node else {
                continue;
            };
            self.tree.charge(&mut self.usage, node, &queue.used, 1);
            let mut at = Some(node);
            while let Some(node) = at {
                self.used[node as usize].add(&queue.used, 1);
                at = self.tree.parent(node);
            }
        }
    }

    // === For policies ===

    /// The tree as policies see it. Every limited resource has a line, so that a
    /// guest knows where untold usage was charged.
    pub(crate) fn rows(&self) -> Vec<QuotaRow> {
        let nodes = 0..self.tree.len() as u32;
        nodes.filter_map(|node| self.row(node)).collect()
    }

    fn row(&self, node: u32) -> Option<QuotaRow> {
        let spec = self.nodes.get(&*self.tree.names[node as usize])?;
        let limited = QuotaResource::ALL.into_iter();
        let limited = limited.filter(|r| self.tree.cell(node, *r).limited);
        let lines = limited.map(|r| {
            let line = tree::line_of(spec, r);
            QuotaLineRow {
                resource: r.name(),
                nominal: line.map_or(0, |l| l.nominal),
                used: self.used[node as usize].get(r),
                borrowing_limit: line.and_then(|l| l.borrowing_limit),
                lending_limit: line.and_then(|l| l.lending_limit),
            }
        });
        Some(QuotaRow {
            name: spec.name.clone(),
            parent: self.tree.parent(node),
            weight: spec.weight,
            tier: spec.tier.name(),
            lines: lines.collect(),
        })
    }
}

/// What a policy asks for, resources that it does not need left out.
pub(crate) fn demand_rows(amounts: &Amounts) -> Vec<QuotaDemand> {
    let rows = QuotaResource::ALL.into_iter().map(|r| QuotaDemand {
        resource: r.name(),
        amount: amounts.get(r),
    });
    rows.filter(|d| d.amount != 0).collect()
}

impl Engine {
    /// What the pod counts for.
    pub(crate) fn amounts_of(&self, slot: u32) -> Amounts {
        let spec = &self.pods.get(slot).spec;
        Amounts::of(&spec.requests, spec.gpu.total_milli())
    }

    /// Charges (1) or frees (-1) what the pod takes from its queue's quota. Who
    /// frees for good says so to the lines, see `stir`.
    pub(crate) fn charge_quota(&mut self, slot: u32, sign: i64) {
        let Some(queue) = self.pods.get(slot).queue.clone() else {
            return;
        };
        let amounts = self.amounts_of(slot);
        self.quotas.charge(&queue, &amounts, sign);
    }

    /// Checks what was restored: nodes, queues and jobs came in any order.
    pub(crate) fn check_quotas(&self) -> Result<(), RestoreError> {
        self.quotas.check().map_err(RestoreError::Inconsistent)?;
        for job in self.pods.jobs.values().filter(|j| !j.pods.is_empty()) {
            let queue = &job.spec.meta.queue;
            if !queue.is_empty() && self.quotas.queue(queue).is_none() {
                let text = format!(
                    "job {:?} is in queue {queue:?}, which is not there",
                    job.spec.id
                );
                return Err(RestoreError::Inconsistent(text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
