//! A slow second opinion that shares nothing with the policy: everything is
//! computed from what each node's own pods use, by recursion, every time.

use std::collections::{BTreeMap, BTreeSet};

use loadmaster_sdk::admission::{Cycle, Head, QuotaLine};

/// A limit that is exceeded: node, resource, by how much.
pub(super) type Broken = BTreeSet<(usize, String, i64)>;

pub(super) struct Oracle<'a> {
    pub(super) cycle: &'a Cycle,
    /// What each node's own pods use.
    own: BTreeMap<(usize, String), i64>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(cycle: &'a Cycle) -> Self {
        let mut oracle = Self {
            cycle,
            own: BTreeMap::new(),
        };
        for r in oracle.resources() {
            for n in 0..cycle.nodes.len() {
                let below: i64 = oracle.children(n).map(|c| oracle.all(c, &r)).sum();
                let own = oracle.all(n, &r) - below;
                oracle.own.insert((n, r.clone()), own);
            }
        }
        oracle
    }

    /// The same tree with nothing running.
    pub(super) fn empty(cycle: &'a Cycle) -> Self {
        Self {
            cycle,
            own: BTreeMap::new(),
        }
    }

    fn resources(&self) -> BTreeSet<String> {
        let lines = self.cycle.nodes.iter().flat_map(|n| &n.lines);
        lines.map(|l| l.resource.clone()).collect()
    }

    fn parent(&self, n: usize) -> Option<usize> {
        self.cycle.nodes[n].parent.map(|p| p as usize)
    }

    fn children(&self, n: usize) -> impl Iterator<Item = usize> {
        (0..self.cycle.nodes.len()).filter(move |c| self.parent(*c) == Some(n))
    }

    fn line(&self, n: usize, r: &str) -> Option<&QuotaLine> {
        self.cycle.nodes[n].lines.iter().find(|l| l.resource == r)
    }

    fn all(&self, n: usize, r: &str) -> i64 {
        let below = self.children(n).map(|c| self.all(c, r)).sum::<i64>();
        self.line(n, r).map_or(below, |l| l.used.max(below))
    }

    fn own(&self, n: usize, r: &str) -> i64 {
        self.own.get(&(n, r.to_owned())).copied().unwrap_or(0)
    }

    fn lending(&self, n: usize, r: &str) -> Option<i64> {
        if self.cycle.nodes[n].tier == "critical" {
            return Some(0);
        }
        self.line(n, r).and_then(|l| l.lending_limit)
    }

    /// What the node takes from its parent (positive) on balance.
    fn balance(&self, n: usize, r: &str) -> i64 {
        let below: i64 = self.children(n).map(|c| self.imports(c, r)).sum();
        self.own(n, r) + below - self.line(n, r).map_or(0, |l| l.nominal)
    }

    /// The same, giving no more than it may.
    fn imports(&self, n: usize, r: &str) -> i64 {
        let balance = self.balance(n, r);
        self.lending(n, r)
            .map_or(balance, |limit| balance.max(-limit))
    }

    pub(super) fn broken(&self) -> Broken {
        let mut broken = Broken::new();
        for r in self.resources() {
            for n in 0..self.cycle.nodes.len() {
                let limit = match self.parent(n) {
                    None => Some(0),
                    Some(_) => self.line(n, &r).and_then(|l| l.borrowing_limit),
                };
                let over = limit.map_or(0, |limit| self.balance(n, &r) - limit);
                if over > 0 {
                    broken.insert((n, r.clone(), over));
                }
            }
        }
        broken
    }

    fn limited(&self, n: usize, r: &str) -> bool {
        let above = |p| self.limited(p, r);
        self.line(n, r).is_some() || self.parent(n).is_some_and(above)
    }

    pub(super) fn add(&mut self, head: &Head, times: i64) {
        for d in &head.demand {
            let n = head.node as usize;
            if self.limited(n, &d.resource) {
                let own = self.own.entry((n, d.resource.clone())).or_default();
                *own += d.amount * times;
            }
        }
    }

    /// Limits that the head would break, or break further.
    pub(super) fn breaks(&mut self, head: &Head) -> Broken {
        let before = self.broken();
        self.add(head, 1);
        let after = self.broken();
        self.add(head, -1);
        after.difference(&before).cloned().collect()
    }

    /// Whether the paying node takes nothing from its parent with the head.
    pub(super) fn guaranteed(&mut self, head: &Head) -> bool {
        self.add(head, 1);
        let n = head.node as usize;
        let mut wanted = head.demand.iter().filter(|d| d.amount > 0);
        let within =
            wanted.all(|d| !self.limited(n, &d.resource) || self.balance(n, &d.resource) <= 0);
        self.add(head, -1);
        within
    }

    /// Whether, of each resource, the node or one above takes nothing from its
    /// parent with the head, with no borrowing limit broken further below.
    pub(super) fn entitled(&mut self, head: &Head) -> bool {
        let breaks = self.breaks(head);
        self.add(head, 1);
        let within = head.demand.iter().all(|d| {
            let payer = head.node as usize;
            let mut at = self.limited(payer, &d.resource).then_some(payer);
            while let Some(n) = at {
                if self.balance(n, &d.resource) <= 0 {
                    return true;
                }
                if breaks.iter().any(|b| b.0 == n && b.1 == d.resource) {
                    return false;
                }
                at = self.parent(n);
            }
            true
        });
        self.add(head, -1);
        within
    }

    fn subtree(&self, n: usize, r: &str) -> i64 {
        let put_in = |c| {
            let subtree = self.subtree(c, r);
            self.lending(c, r).map_or(subtree, |l| subtree.min(l))
        };
        self.line(n, r).map_or(0, |l| l.nominal) + self.children(n).map(put_in).sum::<i64>()
    }

    fn ever(&self, n: usize, r: &str) -> i64 {
        let subtree = self.subtree(n, r);
        let Some(parent) = self.parent(n) else {
            return subtree;
        };
        let lent = self.lending(n, r).map_or(subtree, |l| subtree.min(l));
        let most = subtree - lent + self.ever(parent, r);
        let limit = self.line(n, r).and_then(|l| l.borrowing_limit);
        limit.map_or(most, |limit| most.min(subtree + limit))
    }

    fn weighted(&self, over: i64, of: i64, weight: u32) -> i64 {
        match (over, i128::from(of) * i128::from(weight)) {
            (..=0, _) => 0,
            (_, 0) => i64::MAX,
            (over, under) => (i128::from(over) * 1_000_000 / under) as i64,
        }
    }

    fn share(&self, n: usize) -> i64 {
        let Some(parent) = self.parent(n) else {
            return 0;
        };
        let weight = self.cycle.nodes[n].weight;
        let shares = self.resources().into_iter().map(|r| {
            // Usage is what is left of the subtree's quota, or taken from above.
            self.weighted(self.balance(n, &r), self.ever(parent, &r), weight)
        });
        shares.max().unwrap_or(0)
    }

    /// Best of the waiting heads at or below a node: borrowing or not, share of
    /// the child that it comes from, place by age.
    fn best(&mut self, n: usize, waiting: &[usize]) -> Option<(bool, i64, usize)> {
        let mut best = None;
        for (place, h) in waiting.iter().enumerate() {
            let head = self.cycle.heads[*h].clone();
            if head.node as usize == n {
                let borrows = !self.guaranteed(&head);
                let mut shares = Vec::new();
                self.add(&head, 1);
                for d in head.demand.iter().filter(|d| d.amount > 0) {
                    if self.limited(n, &d.resource) {
                        let over = self.balance(n, &d.resource);
                        shares.push(self.weighted(over, self.ever(n, &d.resource), 1_000));
                    }
                }
                self.add(&head, -1);
                // Of the node's own, the oldest goes up, whatever its share.
                let own = (borrows, place, shares.into_iter().max().unwrap_or(0));
                best = best.map_or(Some(own), |b: (bool, usize, i64)| Some(b.min(own)));
            }
        }
        let mut best = best.map(|(borrows, place, share)| (borrows, share, place));
        for c in self.children(n).collect::<Vec<_>>() {
            if let Some((borrows, _, place)) = self.best(c, waiting) {
                let head = self.cycle.heads[waiting[place]].clone();
                self.add(&head, 1);
                let from_child = (borrows, self.share(c), place);
                self.add(&head, -1);
                best = best.map_or(Some(from_child), |b| Some(b.min(from_child)));
            }
        }
        best
    }

    /// Jobs in fair order.
    pub(super) fn fair_order(&mut self) -> Vec<String> {
        let cycle = self.cycle;
        let mut waiting: Vec<usize> = (0..cycle.heads.len()).collect();
        let age = |h: &Head| (-h.priority, h.created, h.job.clone());
        waiting.sort_by_key(|h| age(&cycle.heads[*h]));
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let roots = (0..cycle.nodes.len()).filter(|n| cycle.nodes[*n].parent.is_none());
            let best = roots
                .filter_map(|root| self.best(root, &waiting))
                .map(|(borrows, _, place)| (borrows, place));
            let (_, place) = best.min().unwrap();
            let head = &cycle.heads[waiting.remove(place)];
            if self.breaks(head).is_empty() {
                self.add(head, 1);
            }
            order.push(head.job.clone());
        }
        order
    }
}
