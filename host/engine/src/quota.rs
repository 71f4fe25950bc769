//! The quota tree and the queues that draw on it.

use std::collections::BTreeMap;

use model::quota::{QueueSpec, QuotaSpec};

/// Quota nodes, queues, and what is used of them.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    nodes: BTreeMap<String, QuotaSpec>,
    queues: BTreeMap<String, QueueSpec>,
}

impl Quotas {
    pub(crate) fn spec(&self, name: &str) -> Option<&QuotaSpec> {
        self.nodes.get(name)
    }

    pub(crate) fn queue(&self, name: &str) -> Option<&QueueSpec> {
        self.queues.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    pub(crate) fn queue_names(&self) -> impl Iterator<Item = &str> {
        self.queues.keys().map(String::as_str)
    }

    /// Objects come back in any order; a parent may come after its child.
    pub(crate) fn restore_quota(&mut self, spec: QuotaSpec) {
        self.nodes.insert(spec.name.clone(), spec);
    }

    pub(crate) fn restore_queue(&mut self, spec: QueueSpec) {
        self.queues.insert(spec.name.clone(), spec);
    }
}
