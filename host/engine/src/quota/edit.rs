//! Changes of quota nodes and queues, and what they must not break.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::node::is_name;
use model::quantity::{self, AMOUNT_MAX, QuantityError};
use model::quota::{
    Amounts, QUEUES_MAX, QUOTA_DEPTH_MAX, QUOTAS_MAX, QueueSpec, QuotaLine, QuotaSpec,
};
use model::{JobKind, JobSpec};

use super::{QueueState, Quotas};
use crate::effect::{Key, Output};
use crate::engine::Engine;
use crate::error::EventError;

impl Quotas {
    fn check_quota(&self, spec: &QuotaSpec) -> Result<(), String> {
        if !is_name(&spec.name) {
            return Err("a name is 1 to 253 characters of [A-Za-z0-9._/-]".to_owned());
        }
        if !self.nodes.contains_key(&spec.name) && self.nodes.len() >= QUOTAS_MAX {
            return Err(format!(
                "there are {QUOTAS_MAX} quotas already, which is the limit"
            ));
        }
        let mut seen = BTreeSet::new();
        for line in &spec.lines {
            let name = line.resource.name();
            if !seen.insert(line.resource) {
                return Err(format!("two lines for {name}; give one a resource"));
            }
            check_line(line).map_err(|e| format!("{name}: {e}"))?;
        }
        let above = match &spec.parent {
            None => 0,
            Some(parent) => self.depth(parent, &spec.name)?,
        };
        let depth = above + self.height(&spec.name);
        if depth > QUOTA_DEPTH_MAX {
            return Err(format!(
                "the tree would be {depth} deep, at most {QUOTA_DEPTH_MAX} are allowed"
            ));
        }
        Ok(())
    }

    /// Nodes from `name` up to its root; an error if `child` is among them.
    fn depth(&self, name: &str, child: &str) -> Result<usize, String> {
        let (mut depth, mut at) = (0, Some(name));
        while let Some(name) = at {
            if name == child {
                return Err("it would be its own ancestor".to_owned());
            }
            let Some(spec) = self.nodes.get(name) else {
                return Err(format!("its parent {name:?} does not exist; put it first"));
            };
            depth += 1;
            at = spec.parent.as_deref();
        }
        Ok(depth)
    }

    /// Nodes from `name` down to its deepest descendant.
    fn height(&self, name: &str) -> usize {
        let Some(top) = self.tree.node(name) else {
            return 1;
        };
        // Parents come first, so one pass sees every level.
        let mut level = vec![0usize; self.tree.len()];
        level[top as usize] = 1;
        for node in top + 1..self.tree.len() as u32 {
            let above = self.tree.parent(node).map_or(0, |p| level[p as usize]);
            level[node as usize] = if above > 0 { above + 1 } else { 0 };
        }
        level.into_iter().max().unwrap_or(1)
    }

    /// Who keeps the node from being removed.
    fn users(&self, name: &str) -> Option<String> {
        let child = self
            .nodes
            .values()
            .find(|n| n.parent.as_deref() == Some(name));
        if let Some(child) = child {
            return Some(format!(
                "{:?} is below it; remove or move that first",
                child.name
            ));
        }
        let queue = self.queues.values().find(|q| q.spec.quota == name)?;
        Some(format!(
            "queue {:?} draws on it; remove it or give it another quota first",
            queue.spec.name
        ))
    }

    fn set_queue(&mut self, spec: QueueSpec) {
        let old = self.queues.get(&spec.name);
        let (used, pods) = old.map_or((Amounts::default(), 0), |q| (q.used, q.pods));
        let state = QueueState {
            node: self.tree.node(&spec.quota),
            used,
            pods,
            spec,
        };
        self.queues.insert(state.spec.name.clone(), state);
    }

    // === Restore ===

    /// Objects come back in any order; a parent may come after its child.
    pub(crate) fn restore_quota(&mut self, spec: QuotaSpec) {
        self.nodes.insert(spec.name.clone(), spec);
        self.rebuild();
    }

    pub(crate) fn restore_queue(&mut self, spec: QueueSpec) {
        self.set_queue(spec);
    }

    /// Whether what was restored is a tree with queues on it.
    pub(crate) fn check(&self) -> Result<(), String> {
        for node in self.nodes.values() {
            if self.tree.node(&node.name).is_none() {
                return Err(format!("quota {:?} is its own ancestor", node.name));
            }
            if let Some(parent) = &node.parent
                && !self.nodes.contains_key(parent)
            {
                return Err(format!(
                    "quota {:?} is below {parent:?}, which is not there",
                    node.name
                ));
            }
        }
        let lost = self.queues.values().find(|q| q.node.is_none());
        lost.map_or(Ok(()), |queue| {
            let QueueSpec { name, quota, .. } = &queue.spec;
            Err(format!(
                "queue {name:?} draws on {quota:?}, which is not there"
            ))
        })
    }
}

fn check_line(line: &QuotaLine) -> Result<(), QuantityError> {
    let limit = |field, value: Option<i64>| {
        value.map_or(Ok(()), |value| quantity::check(field, value, AMOUNT_MAX))
    };
    quantity::check("nominal", line.nominal, AMOUNT_MAX)?;
    limit("the borrowing limit", line.borrowing_limit)?;
    limit("the lending limit", line.lending_limit)
}

impl Engine {
    pub(crate) fn put_quota(
        &mut self,
        spec: QuotaSpec,
        out: &mut Output,
    ) -> Result<(), EventError> {
        if let Err(problem) = self.quotas.check_quota(&spec) {
            let name = spec.name;
            return Err(EventError::Quota { name, problem });
        }
        out.changed.push(Key::Quota(Arc::from(spec.name.as_str())));
        self.quotas.nodes.insert(spec.name.clone(), spec);
        self.quotas.rebuild();
        self.admission.stir();
        Ok(())
    }

    pub(crate) fn remove_quota(&mut self, name: &str, out: &mut Output) -> Result<(), EventError> {
        if !self.quotas.nodes.contains_key(name) {
            return Err(EventError::UnknownQuota(name.to_owned()));
        }
        if let Some(problem) = self.quotas.users(name) {
            let name = name.to_owned();
            return Err(EventError::Quota { name, problem });
        }
        self.quotas.nodes.remove(name);
        self.quotas.rebuild();
        out.changed.push(Key::Quota(Arc::from(name)));
        self.admission.stir();
        Ok(())
    }

    pub(crate) fn put_queue(
        &mut self,
        spec: QueueSpec,
        out: &mut Output,
    ) -> Result<(), EventError> {
        let known = self.quotas.queues.contains_key(&spec.name);
        let problem = if !is_name(&spec.name) {
            "a name is 1 to 253 characters of [A-Za-z0-9._/-]".to_owned()
        } else if !known && self.quotas.queues.len() >= QUEUES_MAX {
            format!("there are {QUEUES_MAX} queues already, which is the limit")
        } else if !self.quotas.nodes.contains_key(&spec.quota) {
            format!("there is no quota {:?}; put it first", spec.quota)
        } else {
            out.changed.push(Key::Queue(Arc::from(spec.name.as_str())));
            self.quotas.set_queue(spec);
            // Its usage may be another node's from now on.
            self.quotas.rebuild();
            self.admission.stir();
            return Ok(());
        };
        let name = spec.name;
        Err(EventError::Queue { name, problem })
    }

    pub(crate) fn remove_queue(&mut self, name: &str, out: &mut Output) -> Result<(), EventError> {
        if !self.quotas.queues.contains_key(name) {
            return Err(EventError::UnknownQueue(name.to_owned()));
        }
        // A service without pods can be scaled up again.
        let unfinished = |spec: &JobSpec, pods: usize| pods > 0 || spec.kind == JobKind::Service;
        let jobs = self.pods.jobs.values();
        let mut jobs = jobs.filter(|j| j.spec.meta.queue == name);
        if let Some(job) = jobs.find(|j| unfinished(&j.spec, j.pods.len())) {
            let problem = format!("job {:?} is in it; delete the job first", job.spec.id);
            let name = name.to_owned();
            return Err(EventError::Queue { name, problem });
        }
        self.quotas.queues.remove(name);
        out.changed.push(Key::Queue(Arc::from(name)));
        Ok(())
    }
}
