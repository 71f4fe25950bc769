//! Quota cycles for tests of admission policies.

use crate::admission::{Cycle, Head, Mode, QuotaDemand, QuotaLine, QuotaNode};

/// Builds a quota cycle. Methods are about the node, resource or head named last.
///
/// ```
/// use loadmaster_sdk::testing::TestCycle;
///
/// let cycle = TestCycle::new()
///     .node("all", None).quota("gpu", 64)
///     .node("vision", Some("all")).quota("gpu", 16).used(16).borrowing_limit(8)
///     .head("train", "vision").priority(5).demand("gpu", 8)
///     .done();
/// assert_eq!(cycle.heads[0].node, 1);
/// ```
#[derive(Debug, Clone)]
pub struct TestCycle {
    cycle: Cycle,
}

impl Default for TestCycle {
    fn default() -> Self {
        Self::new()
    }
}

impl TestCycle {
    /// No quota and nobody waiting.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cycle: Cycle {
                now: 1_700_000_000_000,
                mode: Mode::Normal,
                nodes: Vec::new(),
                heads: Vec::new(),
            },
        }
    }

    /// Time, ms since the epoch.
    #[must_use]
    pub fn now(mut self, ms: u64) -> Self {
        self.cycle.now = ms;
        self
    }

    /// State of the cluster.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.cycle.mode = mode;
        self
    }

    fn index(&self, name: &str) -> u32 {
        let at = self.cycle.nodes.iter().position(|n| n.name == name);
        at.unwrap_or_else(|| panic!("no quota node `{name}` so far")) as u32
    }

    /// One more quota node of weight 1 and tier `flex`, under one named before.
    #[must_use]
    pub fn node(mut self, name: &str, parent: Option<&str>) -> Self {
        let parent = parent.map(|p| self.index(p));
        self.cycle.nodes.push(QuotaNode {
            name: name.to_owned(),
            parent,
            weight: 1_000,
            tier: "flex".to_owned(),
            lines: Vec::new(),
        });
        self
    }

    fn last_node(&mut self) -> &mut QuotaNode {
        let node = self.cycle.nodes.last_mut();
        node.expect("name a node before its quota")
    }

    /// Weight of the node, thousandths.
    #[must_use]
    pub fn weight(mut self, thousandths: u32) -> Self {
        self.last_node().weight = thousandths;
        self
    }

    /// Tier of the node.
    #[must_use]
    pub fn tier(mut self, tier: &str) -> Self {
        tier.clone_into(&mut self.last_node().tier);
        self
    }

    /// Nominal quota of one resource of the node.
    #[must_use]
    pub fn quota(mut self, resource: &str, nominal: i64) -> Self {
        self.last_node().lines.push(QuotaLine {
            resource: resource.to_owned(),
            nominal,
            used: 0,
            borrowing_limit: None,
            lending_limit: None,
        });
        self
    }

    fn last_line(&mut self) -> &mut QuotaLine {
        let line = self.last_node().lines.last_mut();
        line.expect("name a resource before its use")
    }

    /// How much of it is used.
    #[must_use]
    pub fn used(mut self, amount: i64) -> Self {
        self.last_line().used = amount;
        self
    }

    /// How much may be borrowed.
    #[must_use]
    pub fn borrowing_limit(mut self, amount: i64) -> Self {
        self.last_line().borrowing_limit = Some(amount);
        self
    }

    /// How much may be lent.
    #[must_use]
    pub fn lending_limit(mut self, amount: i64) -> Self {
        self.last_line().lending_limit = Some(amount);
        self
    }

    /// One more head, of the queue with the name of the node that pays.
    #[must_use]
    pub fn head(mut self, job: &str, node: &str) -> Self {
        let index = self.index(node);
        self.cycle.heads.push(Head {
            job: job.to_owned(),
            queue: node.to_owned(),
            node: index,
            priority: 0,
            created: self.cycle.now,
            waited: 0,
            attempts: 0,
            deadline: None,
            expected_runtime: None,
            attained: 0,
            demand: Vec::new(),
            min_demand: Vec::new(),
        });
        self
    }

    fn last_head(&mut self) -> &mut Head {
        let head = self.cycle.heads.last_mut();
        head.expect("name a head before its needs")
    }

    /// Queue of the head.
    #[must_use]
    pub fn queue(mut self, queue: &str) -> Self {
        queue.clone_into(&mut self.last_head().queue);
        self
    }

    /// Priority of the head.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.last_head().priority = priority;
        self
    }

    /// How long it has waited, ms; it was created that long ago.
    #[must_use]
    pub fn waited(mut self, ms: u64) -> Self {
        let created = self.cycle.now.saturating_sub(ms);
        self.last_head().waited = ms;
        self.last_head().created = created;
        self
    }

    /// Earlier attempts.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.last_head().attempts = attempts;
        self
    }

    /// Deadline, ms since the epoch.
    #[must_use]
    pub fn deadline(mut self, ms: u64) -> Self {
        self.last_head().deadline = Some(ms);
        self
    }

    /// Expected run time, ms.
    #[must_use]
    pub fn expected_runtime(mut self, ms: u64) -> Self {
        self.last_head().expected_runtime = Some(ms);
        self
    }

    /// GPU-milliseconds served so far.
    #[must_use]
    pub fn attained(mut self, gpu_ms: u64) -> Self {
        self.last_head().attained = gpu_ms;
        self
    }

    /// What it needs of one resource, all of it at once.
    #[must_use]
    pub fn demand(self, resource: &str, amount: i64) -> Self {
        self.elastic_demand(resource, amount, amount)
    }

    /// What it needs of one resource, and the least it can start with.
    #[must_use]
    pub fn elastic_demand(mut self, resource: &str, amount: i64, min: i64) -> Self {
        let demand = |amount| QuotaDemand {
            resource: resource.to_owned(),
            amount,
        };
        self.last_head().demand.push(demand(amount));
        self.last_head().min_demand.push(demand(min));
        self
    }

    /// The cycle.
    #[must_use]
    pub fn done(self) -> Cycle {
        self.cycle
    }
}
