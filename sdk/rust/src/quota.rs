//! A quota tree: who may use how much, and who borrows from whom.
//!
//! The arithmetic is Kueue's cohort tree with Titus' tiers, for any admission
//! policy that has to know what is left:
//!
//! ```
//! use loadmaster_sdk::quota::QuotaTree;
//! use loadmaster_sdk::testing::TestCycle;
//!
//! let cycle = TestCycle::new()
//!     .node("all", None)
//!     .node("vision", Some("all")).quota("gpu", 10).used(4)
//!     .node("speech", Some("all")).quota("gpu", 10).used(9).lending_limit(3)
//!     .done();
//! let (tree, usage) = QuotaTree::new(&cycle.nodes).unwrap();
//! let gpu = tree.resource("gpu").unwrap();
//! // Its own 6, and 1 of the 3 that speech lends.
//! assert_eq!(tree.room(&usage, 1, gpu), 7);
//! ```
//!
//! A node's **subtree quota** is its nominal plus what its children put in. Of
//! it, what exceeds the lending limit is **local**: usage fills that first, and
//! only the rest is charged to the parent. A `critical` node lends nothing, so
//! all of its quota is local and no usage elsewhere can touch it.
//!
//! A resource without a line at a node is not limited there: the node passes
//! what it uses on to its parent. One without a line on the whole way to the root
//! is not limited at all.

use std::fmt;

use crate::admission::{Head, QuotaDemand, QuotaNode, Shortage};

/// Tier whose guarantee is never lent.
pub const CRITICAL: &str = "critical";

/// Largest amount that is counted; more is taken as this much. 2^50 MiB is a
/// zettabyte, and sums over a whole tree stay far from overflow.
pub const AMOUNT_MAX: i64 = 1 << 50;

/// Most that a sum over a tree counts to; sums of two never overflow.
const USED_MAX: i64 = 1 << 60;

/// Nodes × resources of one tree: 12 MiB of an instance's memory.
pub const CELLS_MAX: usize = 1 << 18;

/// A share that nothing exceeds: borrowing with weight 0, or of what nobody has.
pub const SHARE_MAX: i64 = i64::MAX;

/// Shortages in one ruling: what a person will read.
pub const SHORTAGES_MAX: usize = 8;

/// Parent of a root.
const NONE: u32 = u32::MAX;

/// An amount of one resource of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// See [`QuotaTree::resource`].
    pub resource: u32,
    /// How much.
    pub amount: i64,
}

/// Why a list of nodes is no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaError {
    /// A parent does not come before its child.
    ParentNotFirst {
        /// Index of the child.
        node: usize,
    },
    /// More than [`CELLS_MAX`] nodes × resources.
    TooLarge {
        /// Nodes × resources.
        cells: usize,
    },
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ParentNotFirst { node } => {
                write!(f, "the parent of quota node {node} does not come before it")
            }
            Self::TooLarge { cells } => write!(
                f,
                "{cells} nodes x resources, at most {CELLS_MAX} can be counted"
            ),
        }
    }
}

impl std::error::Error for QuotaError {}

/// One resource of one node.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// Nominal, and what the children put in.
    subtree: i64,
    /// Part of it that is never lent.
    local: i64,
    /// Most that may be charged to the parent.
    charged_max: i64,
    /// Most that the node could use if nobody else used anything.
    ever: i64,
    /// This node or one above has a line.
    limited: bool,
}

/// The quotas of a cycle.
#[derive(Debug, Clone)]
pub struct QuotaTree {
    /// Sorted, so that an index does not depend on the order of the lines.
    resources: Vec<String>,
    parents: Vec<u32>,
    weights: Vec<u32>,
    /// All resources of one node, then of the next.
    cells: Vec<Cell>,
}

/// Usage of every node: what a policy tries admissions on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Without what is local to a descendant.
    cells: Vec<i64>,
}

impl QuotaTree {
    /// The tree of a cycle, and its present usage.
    ///
    /// # Errors
    /// The list is no tree, or too large.
    pub fn new(nodes: &[QuotaNode]) -> Result<(Self, Usage), QuotaError> {
        let mut resources: Vec<String> = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            if node.parent.is_some_and(|p| p as usize >= i) {
                return Err(QuotaError::ParentNotFirst { node: i });
            }
            for line in &node.lines {
                if let Err(at) = resources.binary_search(&line.resource) {
                    resources.insert(at, line.resource.clone());
                }
            }
        }
        let cells = nodes.len().saturating_mul(resources.len());
        if cells > CELLS_MAX {
            return Err(QuotaError::TooLarge { cells });
        }
        let mut tree = Self {
            resources,
            parents: nodes.iter().map(|n| n.parent.unwrap_or(NONE)).collect(),
            weights: nodes.iter().map(|n| n.weight).collect(),
            cells: vec![Cell::default(); cells],
        };
        let usage = tree.fill(nodes);
        Ok((tree, usage))
    }

    /// Children before parents for what goes up, then parents before children.
    fn fill(&mut self, nodes: &[QuotaNode]) -> Usage {
        let width = self.resources.len();
        // What the children used in all, and charged to this node.
        let mut below = vec![(0i64, 0i64); self.cells.len()];
        let mut usage = vec![0i64; self.cells.len()];
        let mut lines = vec![None; width];
        for (i, node) in nodes.iter().enumerate().rev() {
            lines.fill(None);
            for line in &node.lines {
                if let Some(r) = self.resource(&line.resource) {
                    lines[r as usize] = Some(line);
                }
            }
            for (r, line) in lines.iter().enumerate() {
                let at = i * width + r;
                let (used_below, charged) = below[at];
                let cell = &mut self.cells[at];
                let mut lending = (node.tier == CRITICAL).then_some(0);
                let mut used = used_below;
                if let Some(line) = line {
                    cell.limited = true;
                    cell.subtree = cell
                        .subtree
                        .saturating_add(bounded(line.nominal))
                        .min(USED_MAX);
                    lending = lending.or(line.lending_limit.map(bounded));
                    used = used.max(bounded(line.used));
                }
                cell.local = lending.map_or(0, |most| (cell.subtree - most).max(0));
                let lent = cell.subtree - cell.local;
                cell.charged_max = line
                    .and_then(|l| l.borrowing_limit)
                    .map_or(i64::MAX, |most| lent.saturating_add(bounded(most)));
                // Pods that pay here directly are in `used`, but in no child's.
                usage[at] = (used - used_below + charged).min(USED_MAX);
                let up = (usage[at] - cell.local).max(0);
                if let Some(parent) = node.parent {
                    let to = parent as usize * width + r;
                    self.cells[to].subtree = (self.cells[to].subtree + lent).min(USED_MAX);
                    below[to].0 = (below[to].0 + used).min(USED_MAX);
                    below[to].1 = (below[to].1 + up).min(USED_MAX);
                }
            }
        }
        for at in 0..self.cells.len() {
            let cell = self.cells[at];
            let Some(parent) = self.parent(at / width) else {
                self.cells[at].ever = cell.subtree;
                continue;
            };
            let above = self.cells[parent * width + at % width];
            let ever = cell.local.saturating_add(above.ever.min(cell.charged_max));
            self.cells[at].ever = ever;
            self.cells[at].limited |= above.limited;
        }
        Usage { cells: usage }
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.parents.len()
    }

    /// Names of the resources with a quota somewhere, sorted.
    #[must_use]
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// Index of a resource; none if no node has a quota of it.
    #[must_use]
    pub fn resource(&self, name: &str) -> Option<u32> {
        let at = self.resources.binary_search_by(|r| r.as_str().cmp(name));
        at.ok().map(|at| at as u32)
    }

    /// The node above.
    #[must_use]
    pub fn parent(&self, node: usize) -> Option<usize> {
        let parent = self.parents[node];
        (parent != NONE).then_some(parent as usize)
    }

    /// Appends what is limited of a demand on a node: positive amounts, each
    /// resource once, by index.
    pub fn demand(&self, node: usize, demand: &[QuotaDemand], into: &mut Vec<Amount>) {
        let start = into.len();
        for part in demand {
            let Some(resource) = self.resource(&part.resource) else {
                continue;
            };
            if part.amount <= 0 || !self.cell(node, resource).limited {
                continue;
            }
            let amount = bounded(part.amount);
            match into[start..].iter_mut().find(|a| a.resource == resource) {
                Some(same) => same.amount = bounded(same.amount.saturating_add(amount)),
                None => into.push(Amount { resource, amount }),
            }
        }
        into[start..].sort_unstable_by_key(|a| a.resource);
    }

    fn at(&self, node: usize, resource: u32) -> usize {
        node * self.resources.len() + resource as usize
    }

    fn cell(&self, node: usize, resource: u32) -> &Cell {
        &self.cells[self.at(node, resource)]
    }

    /// What more the node can use: what is left of its local quota, and of what
    /// its parent can still give, up to the borrowing limit. Debts further up
    /// never eat into local quota, so this is not negative.
    #[must_use]
    pub fn room(&self, usage: &Usage, node: usize, resource: u32) -> i64 {
        let (mut node, mut own, mut room) = (node, 0i64, i64::MAX);
        loop {
            let at = self.at(node, resource);
            let (cell, used) = (&self.cells[at], usage.cells[at]);
            let Some(parent) = self.parent(node) else {
                return room.min(own.saturating_add((cell.subtree - used).max(0)));
            };
            own = own.saturating_add((cell.local - used).max(0));
            let charged = (used - cell.local).max(0);
            let more = (cell.charged_max - charged).max(0);
            room = room.min(own.saturating_add(more));
            node = parent;
        }
    }

    /// Whether all of it fits at once.
    #[must_use]
    pub fn fits(&self, usage: &Usage, node: usize, demand: &[Amount]) -> bool {
        demand.iter().all(|part| {
            let (mut node, mut amount) = (node, bounded(part.amount));
            // Only as far up as it is charged.
            while amount > 0 {
                let at = self.at(node, part.resource);
                let (cell, used) = (&self.cells[at], usage.cells[at]);
                let after = used + amount;
                let parent = self.parents[node];
                if parent == NONE {
                    return after <= cell.subtree;
                }
                let charged = (after - cell.local).max(0);
                amount = charged - (used - cell.local).max(0);
                if amount > 0 && charged > cell.charged_max {
                    return false;
                }
                node = parent as usize;
            }
            true
        })
    }

    /// What of an additional amount would be charged to the node's parent.
    #[must_use]
    pub fn charged(&self, usage: &Usage, node: usize, resource: u32, amount: i64) -> i64 {
        let at = self.at(node, resource);
        let (local, used) = (self.cells[at].local, usage.cells[at]);
        (used + bounded(amount) - local).max(0) - (used - local).max(0)
    }

    /// Adds a demand to a node and, beyond what is local, to those above. Does
    /// not ask whether it fits.
    pub fn charge(&self, usage: &mut Usage, node: usize, demand: &[Amount]) {
        for part in demand {
            let (mut node, mut amount) = (node, bounded(part.amount));
            while amount > 0 {
                let at = self.at(node, part.resource);
                let (local, used) = (self.cells[at].local, usage.cells[at]);
                let after = used + amount;
                usage.cells[at] = after.min(USED_MAX);
                amount = (after - local).max(0) - (used - local).max(0);
                let parent = self.parents[node];
                if parent == NONE {
                    break;
                }
                node = parent as usize;
            }
        }
    }

    /// Calls `found(node, resource, by)` for every limit that the demand would
    /// exceed, from the node upwards. No call: it fits.
    pub fn shortages(
        &self,
        usage: &Usage,
        node: usize,
        demand: &[Amount],
        mut found: impl FnMut(usize, u32, i64),
    ) {
        for part in demand {
            let (mut node, mut amount) = (node, part.amount);
            while amount > 0 {
                let at = self.at(node, part.resource);
                let (cell, used) = (&self.cells[at], usage.cells[at]);
                let after = used.saturating_add(amount);
                let Some(parent) = self.parent(node) else {
                    if after > cell.subtree {
                        found(node, part.resource, after - cell.subtree);
                    }
                    break;
                };
                amount = self.charged(usage, node, part.resource, amount);
                let charged = (after - cell.local).max(0);
                if amount > 0 && charged > cell.charged_max {
                    found(node, part.resource, charged - cell.charged_max);
                }
                node = parent;
            }
        }
    }

    /// What [`Self::shortages`] found as an answer: smallest first, at most
    /// [`SHORTAGES_MAX`]. If there are more, the smallest are left out: they are
    /// not what the job waits for.
    #[must_use]
    pub fn shortage_list(&self, mut found: Vec<(usize, u32, i64)>) -> Vec<Shortage> {
        // Stable: among equals the node that is nearer.
        found.sort_by_key(|(_, _, by)| *by);
        let most = found.len().saturating_sub(SHORTAGES_MAX);
        let listed = found[most..].iter().map(|(node, resource, by)| Shortage {
            node: *node as u32,
            resource: self.resources[*resource as usize].clone(),
            by: *by,
        });
        listed.collect()
    }

    /// Most that the node could use if nobody else used anything.
    #[must_use]
    pub fn ever(&self, node: usize, resource: u32) -> i64 {
        self.cell(node, resource).ever
    }

    /// Whether the node stays within its own quota with this demand.
    #[must_use]
    pub fn guaranteed(&self, usage: &Usage, node: usize, demand: &[Amount]) -> bool {
        demand.iter().all(|d| {
            let at = self.at(node, d.resource);
            usage.cells[at].saturating_add(d.amount) <= self.cells[at].subtree
        })
    }

    /// Whether it would fit if others gave back what they borrowed: of each
    /// resource, the node or a cohort above it stays within its own quota, and no
    /// borrowing limit breaks below that.
    #[must_use]
    pub fn entitled(&self, usage: &Usage, node: usize, demand: &[Amount]) -> bool {
        demand.iter().all(|d| {
            let (mut node, mut amount) = (node, d.amount);
            while amount > 0 {
                let at = self.at(node, d.resource);
                let cell = &self.cells[at];
                let after = usage.cells[at].saturating_add(amount);
                if after <= cell.subtree {
                    return true;
                }
                let Some(parent) = self.parent(node) else {
                    return false;
                };
                amount = self.charged(usage, node, d.resource, amount);
                if amount > 0 && after - cell.local > cell.charged_max {
                    return false;
                }
                node = parent;
            }
            true
        })
    }

    /// Dominant resource share with `more` (an amount for every resource) added:
    /// the largest part, in thousandths, that the node borrows of what its parent
    /// could lend, divided by its weight. 0 while it does not borrow.
    ///
    /// # Panics
    /// If `more` has fewer amounts than the tree has resources.
    #[must_use]
    pub fn share(&self, usage: &Usage, node: usize, more: &[i64]) -> i64 {
        let Some(parent) = self.parent(node) else {
            return 0;
        };
        let (from, above) = (self.at(node, 0), self.at(parent, 0));
        let mut share = 0;
        for (r, more) in more[..self.resources.len()].iter().enumerate() {
            let used = usage.cells[from + r].saturating_add(*more);
            let borrowed = used - self.cells[from + r].subtree;
            let lendable = self.cells[above + r].ever;
            share = share.max(weighted(borrowed, lendable, self.weights[node]));
        }
        share
    }

    /// The same for pods that pay at an inner node directly, as a child without
    /// weight of its own would have it.
    #[must_use]
    pub fn share_at(&self, usage: &Usage, node: usize, demand: &[Amount]) -> i64 {
        let borrowed = demand.iter().map(|d| {
            let at = self.at(node, d.resource);
            let cell = &self.cells[at];
            let over = usage.cells[at].saturating_add(d.amount) - cell.subtree;
            weighted(over, cell.ever, WEIGHT_ONE)
        });
        borrowed.max().unwrap_or(0)
    }
}

/// Weight of 1.
const WEIGHT_ONE: u32 = 1_000;

/// 1000 × borrowed / lendable / (weight / 1000), rounded down.
fn weighted(borrowed: i64, lendable: i64, weight: u32) -> i64 {
    if borrowed <= 0 {
        return 0;
    }
    if lendable <= 0 || weight == 0 {
        return SHARE_MAX;
    }
    let (over, under) = (1_000_000i64, i64::from(weight));
    // 128-bit division is slow in the sandbox and almost never needed.
    match (borrowed.checked_mul(over), lendable.checked_mul(under)) {
        (Some(borrowed), Some(lendable)) => borrowed / lendable,
        _ => {
            let share = i128::from(borrowed) * i128::from(over)
                / (i128::from(lendable) * i128::from(under));
            i64::try_from(share).unwrap_or(SHARE_MAX)
        }
    }
}

fn bounded(amount: i64) -> i64 {
    amount.clamp(0, AMOUNT_MAX)
}

/// Resource that counts pods: with it the size of one pod can be derived.
const PODS: &str = "pods";

/// What a demand has of one resource; none if it does not name it.
#[must_use]
pub fn sum_of(demand: &[QuotaDemand], resource: &str) -> Option<i64> {
    let parts = demand.iter().filter(|d| d.resource == resource);
    let amounts = parts.map(|d| d.amount.max(0));
    amounts.reduce(i64::saturating_add)
}

/// Pods of a head whose job has one role: fewest and all, fewest being less. None
/// unless `pods` is among the demands and everything else is an exact multiple of
/// it, for only then is it known what some of the pods need. That there is one
/// role only cannot be seen here.
#[must_use]
pub fn pods_of(head: &Head) -> Option<(u32, u32)> {
    let all = sum_of(&head.demand, PODS).filter(|all| *all > 0)?;
    let min = sum_of(&head.min_demand, PODS)?;
    for part in &head.demand {
        let full = sum_of(&head.demand, &part.resource)?;
        let least = sum_of(&head.min_demand, &part.resource).unwrap_or(0);
        if full % all != 0 || (full / all).checked_mul(min) != Some(least) {
            return None;
        }
    }
    let (min, all) = (u32::try_from(min).ok()?, u32::try_from(all).ok()?);
    (min < all).then_some((min.max(1), all))
}

#[cfg(test)]
mod tests;
