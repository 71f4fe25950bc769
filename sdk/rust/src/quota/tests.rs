use super::*;
use crate::admission::{Cycle, QuotaLine};
use crate::testing::{CycleSize, Seeded, TestCycle, sample_cycle};

/// Cases of the generated tests.
const CASES: u64 = 3_000;

fn cases(mut check: impl FnMut(u64, &mut Seeded, Cycle)) {
    for seed in 0..CASES {
        let mut rng = Seeded::new(seed);
        let size = CycleSize {
            nodes: 1 + rng.below(12),
            resources: 1 + rng.below(3),
            heads: 4,
        };
        let cycle = sample_cycle(&mut rng, size);
        check(seed, &mut rng, cycle);
    }
}

/// The published formulas, written as they stand, for one resource.
struct Naive<'a> {
    nodes: &'a [QuotaNode],
    resource: &'a str,
    /// What each node's own pods use.
    own: Vec<i64>,
}

impl<'a> Naive<'a> {
    fn new(nodes: &'a [QuotaNode], resource: &'a str) -> Self {
        let mut naive = Self {
            nodes,
            resource,
            own: Vec::new(),
        };
        naive.own = (0..nodes.len())
            .map(|n| naive.all(n) - naive.children(n).map(|c| naive.all(c)).sum::<i64>())
            .collect();
        naive
    }

    fn line(&self, n: usize) -> Option<&QuotaLine> {
        let mut lines = self.nodes[n].lines.iter();
        lines.find(|l| l.resource == self.resource)
    }

    fn children(&self, n: usize) -> impl Iterator<Item = usize> {
        let parents = self.nodes.iter().map(|c| c.parent).enumerate();
        parents.filter_map(move |(c, p)| (p == Some(n as u32)).then_some(c))
    }

    fn all(&self, n: usize) -> i64 {
        let below = self.children(n).map(|c| self.all(c)).sum::<i64>();
        self.line(n).map_or(below, |l| l.used.max(below))
    }

    fn lending(&self, n: usize) -> Option<i64> {
        if self.nodes[n].tier == CRITICAL {
            return Some(0);
        }
        self.line(n).and_then(|l| l.lending_limit)
    }

    fn subtree(&self, n: usize) -> i64 {
        let put_in = |c| self.subtree(c) - self.local(c);
        self.line(n).map_or(0, |l| l.nominal) + self.children(n).map(put_in).sum::<i64>()
    }

    fn local(&self, n: usize) -> i64 {
        self.lending(n)
            .map_or(0, |limit| (self.subtree(n) - limit).max(0))
    }

    fn usage(&self, n: usize) -> i64 {
        let charged = |c| (self.usage(c) - self.local(c)).max(0);
        self.own[n] + self.children(n).map(charged).sum::<i64>()
    }

    fn available(&self, n: usize) -> i64 {
        let Some(parent) = self.nodes[n].parent else {
            return (self.subtree(n) - self.usage(n)).max(0);
        };
        let local = (self.local(n) - self.usage(n)).max(0);
        let mut above = self.available(parent as usize);
        if let Some(limit) = self.line(n).and_then(|l| l.borrowing_limit) {
            let stored = self.subtree(n) - self.local(n);
            let used = (self.usage(n) - self.local(n)).max(0);
            above = above.min(stored - used + limit);
        }
        local + above.max(0)
    }

    fn ever(&self, n: usize) -> i64 {
        let Some(parent) = self.nodes[n].parent else {
            return self.subtree(n);
        };
        let most = self.local(n) + self.ever(parent as usize);
        let limit = self.line(n).and_then(|l| l.borrowing_limit);
        limit.map_or(most, |limit| most.min(self.subtree(n) + limit))
    }

    /// Lent and borrowed without any of the notions above: the least that the
    /// node must import from its parent (negative: most that it can export), such
    /// that everything below it balances; and the limits that break on the way.
    fn imports(&self, n: usize, broken: &mut Vec<(usize, i64)>) -> i64 {
        let from_children: i64 = self.children(n).map(|c| self.imports(c, broken)).sum();
        let nominal = self.line(n).map_or(0, |l| l.nominal);
        let balance = self.own[n] + from_children - nominal;
        if self.nodes[n].parent.is_none() {
            if balance > 0 {
                broken.push((n, balance));
            }
            return 0;
        }
        let borrowing = self.line(n).and_then(|l| l.borrowing_limit);
        if borrowing.is_some_and(|limit| balance > limit) {
            broken.push((n, balance - borrowing.unwrap_or(0)));
        }
        self.lending(n).map_or(balance, |limit| balance.max(-limit))
    }
}

#[test]
fn two_equal_nodes_of_a_cohort() {
    let build = |a: i64, b: i64, lends: Option<i64>| {
        let cycle = TestCycle::new().node("all", None);
        let cycle = cycle.node("a", Some("all")).quota("gpu", 10).used(a);
        let cycle = cycle.node("b", Some("all")).quota("gpu", 10).used(b);
        let cycle = match lends {
            Some(limit) => cycle.lending_limit(limit),
            None => cycle,
        };
        QuotaTree::new(&cycle.done().nodes).unwrap()
    };
    let (tree, usage) = build(15, 5, None);
    assert_eq!((tree.room(&usage, 1, 0), tree.room(&usage, 2, 0)), (0, 0));
    let five = [Amount {
        resource: 0,
        amount: 5,
    }];
    assert!(tree.guaranteed(&usage, 2, &five) && !tree.guaranteed(&usage, 1, &five));
    let mut short = Vec::new();
    tree.shortages(&usage, 2, &five, |n, r, by| short.push((n, r, by)));
    assert_eq!(short, [(0, 0, 5)]);
    // 5 borrowed of the 20 that the cohort could lend.
    assert_eq!(tree.share(&usage, 1, &[0]), 250);
    assert_eq!(tree.share(&usage, 2, &[0]), 0);
    assert_eq!(tree.share(&usage, 2, &[6]), 50);

    let (tree, usage) = build(0, 0, Some(2));
    assert_eq!(tree.room(&usage, 1, 0), 12);
    let (tree, usage) = build(12, 0, Some(2));
    assert_eq!((tree.room(&usage, 1, 0), tree.room(&usage, 2, 0)), (0, 8));
}

#[test]
fn weights_divide_the_share() {
    assert_eq!(weighted(5, 20, 1_000), 250);
    assert_eq!(weighted(5, 20, 2_000), 125);
    assert_eq!(weighted(5, 20, 0), SHARE_MAX);
    assert_eq!(weighted(5, 0, 1_000), SHARE_MAX);
    assert_eq!(weighted(0, 0, 0), 0);
    assert_eq!(weighted(AMOUNT_MAX, AMOUNT_MAX, 1_000), 1_000);
    assert_eq!(weighted(AMOUNT_MAX, 1, 1), SHARE_MAX);
}

#[test]
fn it_agrees_with_the_formulas_as_published() {
    cases(|seed, _, cycle| {
        let (tree, usage) = QuotaTree::new(&cycle.nodes).unwrap();
        for r in 0..tree.resources().len() as u32 {
            let naive = Naive::new(&cycle.nodes, &tree.resources()[r as usize]);
            for n in 0..tree.nodes() {
                assert_eq!(tree.room(&usage, n, r), naive.available(n), "seed {seed}");
                assert_eq!(tree.ever(n, r), naive.ever(n), "seed {seed}");
            }
        }
    });
}

/// A demand fits iff no limit of the whole tree that it makes worse is broken
/// afterwards, and what is short is short by exactly that much.
#[test]
fn it_agrees_with_a_balance_of_the_whole_tree() {
    let mut seen = [0; 2];
    cases(|seed, rng, cycle| {
        let (tree, usage) = QuotaTree::new(&cycle.nodes).unwrap();
        for r in 0..tree.resources().len() as u32 {
            let name = tree.resources()[r as usize].clone();
            let mut naive = Naive::new(&cycle.nodes, &name);
            let n = rng.below(tree.nodes());
            let amount = 1 + rng.amount(12);
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for root in (0..tree.nodes()).filter(|n| cycle.nodes[*n].parent.is_none()) {
                naive.imports(root, &mut before);
            }
            naive.own[n] += amount;
            for root in (0..tree.nodes()).filter(|n| cycle.nodes[*n].parent.is_none()) {
                naive.imports(root, &mut after);
            }
            let mut worse: Vec<_> = after.into_iter().filter(|b| !before.contains(b)).collect();
            worse.sort_unstable();
            let demand = [Amount {
                resource: r,
                amount,
            }];
            let fits = tree.fits(&usage, n, &demand);
            assert_eq!(fits, worse.is_empty(), "seed {seed}");
            seen[usize::from(fits)] += 1;
            let mut short = Vec::new();
            tree.shortages(&usage, n, &demand, |n, _, by| short.push((n, by)));
            short.sort_unstable();
            assert_eq!(short, worse, "seed {seed}");
        }
    });
    assert!(seen[0] > 1_000 && seen[1] > 1_000, "{seen:?}");
}

#[test]
fn charging_is_what_a_tree_with_that_usage_says() {
    let mut seen = 0;
    cases(|seed, rng, mut cycle| {
        let (tree, mut usage) = QuotaTree::new(&cycle.nodes).unwrap();
        // Usage of a node without a line is in no record of its own.
        let width = tree.resources().len();
        if cycle.nodes.iter().any(|n| n.lines.len() < width) {
            return;
        }
        for resource in 0..width as u32 {
            let (n, amount) = (rng.below(tree.nodes()), 1 + rng.amount(9));
            tree.charge(&mut usage, n, &[Amount { resource, amount }]);
            let mut next = Some(n);
            while let Some(n) = next {
                let mut lines = cycle.nodes[n].lines.iter_mut();
                let line = lines.find(|l| l.resource == tree.resources()[resource as usize]);
                line.unwrap().used += amount;
                next = tree.parent(n);
            }
        }
        let (_, fresh) = QuotaTree::new(&cycle.nodes).unwrap();
        assert_eq!(fresh, usage, "seed {seed}");
        seen += 1;
    });
    assert!(seen > 500, "{seen}");
}

#[test]
fn more_nominal_never_leaves_less_room() {
    cases(|seed, rng, mut cycle| {
        let (tree, usage) = QuotaTree::new(&cycle.nodes).unwrap();
        let node = rng.below(tree.nodes());
        for line in &mut cycle.nodes[node].lines {
            line.nominal += rng.amount(5);
        }
        let (more, more_usage) = QuotaTree::new(&cycle.nodes).unwrap();
        for n in 0..tree.nodes() {
            for r in 0..tree.resources().len() as u32 {
                let (before, after) = (tree.room(&usage, n, r), more.room(&more_usage, n, r));
                assert!(before <= after, "seed {seed}: {before} > {after}");
            }
        }
    });
}

/// Whatever others use, more than there is included.
#[test]
fn a_critical_guarantee_stays_available() {
    let mut seen = 0;
    cases(|seed, rng, cycle| {
        let (tree, mut usage) = QuotaTree::new(&cycle.nodes).unwrap();
        let leaf = |n: usize| !cycle.nodes.iter().any(|c| c.parent == Some(n as u32));
        let critical: Vec<usize> = (0..tree.nodes())
            .filter(|n| cycle.nodes[*n].tier == CRITICAL && leaf(*n))
            .collect();
        for _ in 0..20 {
            let n = rng.below(tree.nodes());
            if critical.contains(&n) {
                continue;
            }
            for resource in 0..tree.resources().len() as u32 {
                let amount = rng.amount(5);
                tree.charge(&mut usage, n, &[Amount { resource, amount }]);
            }
        }
        for n in critical {
            for line in &cycle.nodes[n].lines {
                let r = tree.resource(&line.resource).unwrap();
                let guaranteed = line.nominal - line.used;
                assert!(tree.room(&usage, n, r) >= guaranteed, "seed {seed}");
                seen += usize::from(guaranteed > 0);
            }
        }
    });
    assert!(seen > 1_000, "{seen}");
}

#[test]
fn the_order_of_nodes_and_lines_does_not_matter() {
    cases(|seed, rng, cycle| {
        let (tree, usage) = QuotaTree::new(&cycle.nodes).unwrap();
        let (mixed, to) = permuted(rng, &cycle.nodes);
        let (other, other_usage) = QuotaTree::new(&mixed).unwrap();
        for (n, to) in to.iter().enumerate() {
            for r in 0..tree.resources().len() as u32 {
                let rooms = (
                    tree.room(&usage, n, r),
                    other.room(&other_usage, *to as usize, r),
                );
                assert_eq!(rooms.0, rooms.1, "seed {seed}");
            }
        }
    });
}

/// The nodes in another order, parents first, and where each went.
fn permuted(rng: &mut Seeded, nodes: &[QuotaNode]) -> (Vec<QuotaNode>, Vec<u32>) {
    let mut to = vec![u32::MAX; nodes.len()];
    let mut mixed: Vec<QuotaNode> = Vec::new();
    while mixed.len() < nodes.len() {
        let n = rng.below(nodes.len());
        let ready = nodes[n].parent.is_none_or(|p| to[p as usize] != u32::MAX);
        if to[n] == u32::MAX && ready {
            to[n] = mixed.len() as u32;
            let mut node = nodes[n].clone();
            node.parent = node.parent.map(|p| to[p as usize]);
            rng.shuffle(&mut node.lines);
            mixed.push(node);
        }
    }
    (mixed, to)
}

#[test]
fn what_no_line_limits_is_not_asked_about() {
    let cycle = TestCycle::new();
    let cycle = cycle.node("all", None).quota("cpu", 10);
    let cycle = cycle
        .node("a", Some("all"))
        .head("job", "a")
        .demand("cpu", 4);
    let cycle = cycle.demand("gpu", 400).demand("cpu", 1).demand("disk", -1);
    let cycle = cycle.node("b", Some("all")).quota("gpu", 8).done();
    let (tree, usage) = QuotaTree::new(&cycle.nodes).unwrap();
    let mut demand = Vec::new();
    tree.demand(1, &cycle.heads[0].demand, &mut demand);
    let cpu = tree.resource("cpu").unwrap();
    let five = Amount {
        resource: cpu,
        amount: 5,
    };
    assert_eq!(demand, [five]);
    assert_eq!(tree.room(&usage, 1, cpu), 10);
}

#[test]
fn impossible_trees_and_amounts() {
    let cycle = TestCycle::new().node("a", None).quota("gpu", i64::MAX);
    let cycle = cycle.used(i64::MIN).borrowing_limit(-1);
    let mut nodes = cycle.node("b", Some("a")).quota("gpu", -5).done().nodes;
    let (tree, mut usage) = QuotaTree::new(&nodes).unwrap();
    assert_eq!(tree.room(&usage, 1, 0), AMOUNT_MAX);
    let all = [Amount {
        resource: 0,
        amount: i64::MAX,
    }];
    tree.charge(&mut usage, 1, &all);
    tree.charge(&mut usage, 1, &all);
    assert_eq!(tree.room(&usage, 1, 0), 0);
    nodes.swap(0, 1);
    nodes[0].parent = Some(1);
    let error = QuotaTree::new(&nodes).unwrap_err();
    assert_eq!(error, QuotaError::ParentNotFirst { node: 0 });
    assert_eq!(
        error.to_string(),
        "the parent of quota node 0 does not come before it"
    );
    let line = |i: usize| QuotaLine {
        resource: format!("r{i:06}"),
        ..nodes[1].lines[0].clone()
    };
    let wide = QuotaNode {
        lines: (0..=CELLS_MAX / 2).map(line).collect(),
        ..nodes[1].clone()
    };
    let narrow = QuotaNode {
        parent: None,
        ..nodes[0].clone()
    };
    let error = QuotaTree::new(&[narrow, wide]).unwrap_err();
    assert!(matches!(error, QuotaError::TooLarge { .. }), "{error}");
}
