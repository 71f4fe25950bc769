//! The arithmetic of the cohort tree: Kueue's, in exact integers, with Titus'
//! critical tier as a lending limit of 0.
//!
//! A node's **subtree quota** is its nominal plus what its children put in. What
//! of it exceeds the lending limit is **local**: usage fills that first, and only
//! the rest is charged to the parent, where siblings can see it. A root limits by
//! its subtree quota, every other node by its borrowing limit.
//!
//! A resource without a line at a node counts as nominal 0 without limits, so a
//! leaf without a GPU line draws on its cohort's. One without a line on the whole
//! way to the root is free, and leaves no trace in the tree.
//!
//! Where it differs from Kueue: a cohort that is overdrawn (its quota was cut)
//! never eats into what is local to a member. A guarantee stays one.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::quota::{Amounts, QUOTA_WEIGHT_ONE, QuotaLine, QuotaResource, QuotaSpec, Tier};

/// Parent of a root.
const NONE: u32 = u32::MAX;

const WIDTH: usize = QuotaResource::COUNT;

/// One resource of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    nominal: i64,
    /// Nominal, and what the children put in.
    pub(crate) subtree: i64,
    /// Part of it that is never lent.
    pub(crate) local: i64,
    /// Most that may be charged to the parent.
    charged_max: i64,
    /// Most that the node could use if nobody else used anything.
    pub(crate) ever: i64,
    /// This node or one above has a line.
    pub(crate) limited: bool,
}

/// Usage by node and resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Without what is local to a descendant.
    charged: Vec<[i64; WIDTH]>,
    /// Of the queues that draw on the node directly.
    own: Vec<[i64; WIDTH]>,
}

impl Usage {
    pub(crate) fn charged(&self, node: u32, r: QuotaResource) -> i64 {
        self.charged[node as usize][r as usize]
    }

    fn own(&self, node: u32, r: QuotaResource) -> i64 {
        self.own[node as usize][r as usize]
    }
}

/// The tree in dense form: parents first, siblings by name, so that an index
/// does not depend on the order in which nodes came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) names: Vec<Arc<str>>,
    index: BTreeMap<Arc<str>, u32>,
    parents: Vec<u32>,
    weights: Vec<u32>,
    cells: Vec<[Cell; WIDTH]>,
}

/// A limit that an amount breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Break {
    pub(crate) node: u32,
    pub(crate) resource: QuotaResource,
    pub(crate) by: i64,
}

impl Tree {
    /// The tree of these nodes. One whose parent is not there counts as a root;
    /// one that is its own ancestor is left out.
    pub(crate) fn new(specs: &BTreeMap<String, QuotaSpec>) -> Self {
        let mut children: BTreeMap<&str, Vec<&QuotaSpec>> = BTreeMap::new();
        let mut todo: Vec<(u32, &QuotaSpec)> = Vec::new();
        for spec in specs.values().rev() {
            match spec.parent.as_deref().filter(|p| specs.contains_key(*p)) {
                Some(parent) => children.entry(parent).or_default().push(spec),
                None => todo.push((NONE, spec)),
            }
        }
        let mut tree = Self::default();
        let mut order = Vec::with_capacity(specs.len());
        while let Some((parent, spec)) = todo.pop() {
            let node = tree.names.len() as u32;
            let name: Arc<str> = Arc::from(spec.name.as_str());
            tree.index.insert(Arc::clone(&name), node);
            tree.names.push(name);
            tree.parents.push(parent);
            tree.weights.push(spec.weight);
            order.push(spec);
            let below = children.remove(spec.name.as_str()).unwrap_or_default();
            todo.extend(below.into_iter().map(|child| (node, child)));
        }
        tree.cells = vec![Default::default(); order.len()];
        tree.fill(&order);
        tree
    }

    /// Children before parents for what goes up, then parents before children.
    fn fill(&mut self, specs: &[&QuotaSpec]) {
        for (i, spec) in specs.iter().enumerate().rev() {
            for r in QuotaResource::ALL {
                let line = line_of(spec, r);
                let cell = &mut self.cells[i][r as usize];
                cell.limited = line.is_some();
                cell.nominal = line.map_or(0, |l| l.nominal);
                cell.subtree += cell.nominal;
                let lending = match spec.tier {
                    Tier::Critical => Some(0),
                    Tier::Flex => line.and_then(|l| l.lending_limit),
                };
                cell.local = lending.map_or(0, |most| (cell.subtree - most).max(0));
                let lent = cell.subtree - cell.local;
                cell.charged_max = line
                    .and_then(|l| l.borrowing_limit)
                    .map_or(i64::MAX, |most| lent + most);
                if let Some(parent) = self.parent(i as u32) {
                    self.cells[parent as usize][r as usize].subtree += lent;
                }
            }
        }
        for i in 0..self.cells.len() {
            let above = self.parent(i as u32).map(|p| self.cells[p as usize]);
            for (r, cell) in self.cells[i].iter_mut().enumerate() {
                match above.map(|cells| cells[r]) {
                    None => cell.ever = cell.subtree,
                    Some(above) => {
                        cell.ever = cell.local + above.ever.min(cell.charged_max);
                        cell.limited |= above.limited;
                    }
                }
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn node(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    pub(crate) fn parent(&self, node: u32) -> Option<u32> {
        let parent = self.parents[node as usize];
        (parent != NONE).then_some(parent)
    }

    pub(crate) fn root(&self, node: u32) -> u32 {
        let mut root = node;
        while let Some(parent) = self.parent(root) {
            root = parent;
        }
        root
    }

    pub(crate) fn cell(&self, node: u32, r: QuotaResource) -> &Cell {
        &self.cells[node as usize][r as usize]
    }

    /// No usage.
    pub(crate) fn unused(&self) -> Usage {
        Usage {
            charged: vec![[0; WIDTH]; self.len()],
            own: vec![[0; WIDTH]; self.len()],
        }
    }

    /// Adds an amount (or takes it away, if negative) at a node and, beyond what
    /// is local, at those above. Does not ask whether it fits.
    pub(crate) fn charge(&self, usage: &mut Usage, node: u32, amounts: &Amounts, sign: i64) {
        for r in QuotaResource::ALL {
            let (mut node, mut amount) = (node, sign * amounts.get(r));
            usage.own[node as usize][r as usize] += amount;
            if !self.cell(node, r).limited {
                continue;
            }
            while amount != 0 {
                let local = self.cell(node, r).local;
                let used = &mut usage.charged[node as usize][r as usize];
                let before = (*used - local).max(0);
                *used += amount;
                amount = (*used - local).max(0) - before;
                match self.parent(node) {
                    Some(parent) => node = parent,
                    None => break,
                }
            }
        }
    }

    /// Calls `found` for every limit that the amounts would break, from the node
    /// upwards. No call: they fit.
    pub(crate) fn breaks(
        &self,
        usage: &Usage,
        node: u32,
        amounts: &Amounts,
        mut found: impl FnMut(Break),
    ) {
        for r in QuotaResource::ALL {
            let (mut node, mut amount) = (node, amounts.get(r));
            if !self.cell(node, r).limited {
                continue;
            }
            while amount > 0 {
                let cell = self.cell(node, r);
                let used = usage.charged(node, r);
                let after = used + amount;
                let charged = (after - cell.local).max(0);
                let (over, up) = match self.parent(node) {
                    None => (after - cell.subtree, None),
                    Some(parent) => (charged.saturating_sub(cell.charged_max), Some(parent)),
                };
                amount = charged - (used - cell.local).max(0);
                // What stays local is nobody else's business: a node that is over
                // its borrowing limit still has its guarantee.
                if over > 0 && (up.is_none() || amount > 0) {
                    found(Break {
                        node,
                        resource: r,
                        by: over,
                    });
                }
                match up {
                    Some(parent) => node = parent,
                    None => break,
                }
            }
        }
    }

    pub(crate) fn fits(&self, usage: &Usage, node: u32, amounts: &Amounts) -> bool {
        let mut fits = true;
        self.breaks(usage, node, amounts, |_| fits = false);
        fits
    }

    /// What more of one resource the node can use; `None` if it is not limited.
    pub(crate) fn room(&self, usage: &Usage, node: u32, r: QuotaResource) -> Option<i64> {
        if !self.cell(node, r).limited {
            return None;
        }
        let (mut node, mut own, mut room) = (node, 0i64, i64::MAX);
        loop {
            let cell = self.cell(node, r);
            let used = usage.charged(node, r);
            let Some(parent) = self.parent(node) else {
                return Some(room.min(own + (cell.subtree - used).max(0)));
            };
            own += (cell.local - used).max(0);
            let charged = (used - cell.local).max(0);
            let more = cell.charged_max.saturating_sub(charged).max(0);
            room = room.min(own.saturating_add(more));
            node = parent;
        }
    }

    /// Whether the amounts would fit if everybody gave back what they borrowed:
    /// of each resource that is short, the node or a cohort above it stays within
    /// its own quota, and no borrowing limit breaks below that.
    pub(crate) fn entitled(&self, usage: &Usage, node: u32, amounts: &Amounts) -> bool {
        QuotaResource::ALL.into_iter().all(|r| {
            let (mut node, mut amount) = (node, amounts.get(r));
            let own = usage.own(node, r).saturating_add(amount);
            if !self.cell(node, r).limited || own <= self.cell(node, r).nominal {
                return true;
            }
            while amount > 0 {
                let cell = self.cell(node, r);
                let used = usage.charged(node, r);
                if used + amount <= cell.subtree {
                    return true;
                }
                let Some(parent) = self.parent(node) else {
                    return false;
                };
                let charged = (used + amount - cell.local).max(0);
                amount = charged - (used - cell.local).max(0);
                if amount > 0 && charged > cell.charged_max {
                    return false;
                }
                node = parent;
            }
            true
        })
    }

    /// Whether the node could ever use this much, if nobody else used anything.
    pub(crate) fn possible(&self, node: u32, amounts: &Amounts) -> bool {
        QuotaResource::ALL.into_iter().all(|r| {
            let cell = self.cell(node, r);
            !cell.limited || amounts.get(r) <= cell.ever
        })
    }

    /// What the node uses beyond its own quota, with `more` on top. Queues of a
    /// cohort itself have its nominal, and borrow what its members put in.
    pub(crate) fn borrowed(&self, usage: &Usage, node: u32, more: &Amounts) -> Amounts {
        let mut borrowed = Amounts::default();
        for r in QuotaResource::ALL {
            let cell = self.cell(node, r);
            if cell.limited {
                let used = usage.charged(node, r) - cell.subtree;
                let own = usage.own(node, r) - cell.nominal;
                borrowed.0[r as usize] = (used.max(own) + more.get(r)).max(0);
            }
        }
        borrowed
    }

    /// Dominant resource share with `more` added: the largest part, in
    /// thousandths, that the node borrows of what its parent could lend, divided
    /// by its weight. 0 while it does not borrow.
    pub(crate) fn dominant_share(&self, usage: &Usage, node: u32, more: &Amounts) -> i64 {
        let Some(parent) = self.parent(node) else {
            return 0;
        };
        let borrowed = self.borrowed(usage, node, more);
        let weight = self.weights[node as usize];
        let shares = QuotaResource::ALL
            .into_iter()
            .map(|r| weighted(borrowed.get(r), self.cell(parent, r).ever, weight));
        shares.max().unwrap_or(0)
    }

    /// Usage as thousandths of the node's own quota, of its dominant resource.
    pub(crate) fn entitlement(&self, usage: &Usage, node: u32) -> u32 {
        let parts = QuotaResource::ALL.into_iter().map(|r| {
            let cell = self.cell(node, r);
            if !cell.limited {
                return 0;
            }
            let all = part_of(usage.charged(node, r), cell.subtree);
            all.max(part_of(usage.own(node, r), cell.nominal))
        });
        parts.max().unwrap_or(0)
    }
}

/// Thousandths; above 1000 if and only if more is used than there is.
fn part_of(used: i64, quota: i64) -> u32 {
    if used <= 0 {
        return 0;
    }
    if quota <= 0 {
        return u32::MAX;
    }
    // Rounded down, what is borrowed could look like exactly enough.
    let part = i128::from(used) * 1_000 / i128::from(quota);
    let part = part + i128::from(used > quota && part == 1_000);
    u32::try_from(part).unwrap_or(u32::MAX)
}

/// 1000 × borrowed / lendable / (weight / 1000), rounded down. Borrowing with
/// weight 0, or of what nobody has, is more than anything.
fn weighted(borrowed: i64, lendable: i64, weight: u32) -> i64 {
    if borrowed <= 0 {
        return 0;
    }
    if lendable <= 0 || weight == 0 {
        return i64::MAX;
    }
    let one = i128::from(QUOTA_WEIGHT_ONE);
    let share = i128::from(borrowed) * 1_000 * one / (i128::from(lendable) * i128::from(weight));
    i64::try_from(share).unwrap_or(i64::MAX)
}

pub(crate) fn line_of(spec: &QuotaSpec, r: QuotaResource) -> Option<&QuotaLine> {
    spec.lines.iter().find(|l| l.resource == r)
}
