//! What must hold for every tree and every set of heads.

use super::oracle::{Broken, Oracle};
use super::*;

/// Everything comes down to admit, wait, reclaim or reject.
const PLAIN: &str = r#"{"partial":"off","reserve":false}"#;

fn cases(count: u64, heads: usize, mut check: impl FnMut(u64, &mut Seeded, Cycle)) {
    for seed in 0..count {
        let mut rng = Seeded::new(seed);
        let size = CycleSize {
            nodes: 1 + rng.below(12),
            resources: 1 + rng.below(3),
            heads: 1 + rng.below(heads),
        };
        let cycle = sample_cycle(&mut rng, size);
        check(seed, &mut rng, cycle);
    }
}

fn broken(list: &[Shortage]) -> Broken {
    let one = |s: &Shortage| (s.node as usize, s.resource.clone(), s.by);
    list.iter().map(one).collect()
}

/// Each ruling is what a check of the whole tree says: admitted iff no limit
/// breaks, rejected iff it would not fit into an empty tree, reclaiming iff the
/// node or a cohort above it would not borrow, and short exactly where limits break.
#[test]
fn rulings_agree_with_a_check_of_the_whole_tree() {
    let mut seen = [0; 4];
    cases(4_000, 8, |seed, _, cycle| {
        let rulings = policy(PLAIN).admit(&cycle);
        let mut oracle = Oracle::new(&cycle);
        for (head, ruling) in cycle.heads.iter().zip(rulings) {
            let breaks = oracle.breaks(head);
            let never = !Oracle::empty(&cycle).breaks(head).is_empty();
            let kind = match ruling {
                Ruling::Admit => {
                    assert!(breaks.is_empty(), "seed {seed} {breaks:?}");
                    oracle.add(head, 1);
                    0
                }
                Ruling::Reject(Finding { code, .. }) => {
                    assert!(never && code == "ExceedsQuota", "seed {seed}");
                    1
                }
                Ruling::Reclaim(list) => {
                    assert!(!never && oracle.entitled(head), "seed {seed}");
                    assert_eq!(broken(&list), breaks, "seed {seed}");
                    2
                }
                Ruling::Wait(list) => {
                    assert!(!never && !oracle.entitled(head), "seed {seed}");
                    assert_eq!(broken(&list), breaks, "seed {seed}");
                    assert!(list.is_sorted_by_key(|s| s.by), "seed {seed}");
                    3
                }
                other => panic!("seed {seed}: {other:?}"),
            };
            assert_eq!(kind == 0, breaks.is_empty(), "seed {seed}");
            seen[kind] += 1;
        }
    });
    assert!(seen.iter().all(|n| *n > 300), "{seen:?}");
}

/// With every setting, what is admitted breaks no limit further.
#[test]
fn quota_sums_hold() {
    let mut admitted = 0;
    cases(3_000, 10, |seed, rng, mut cycle| {
        for head in &mut cycle.heads {
            if rng.one_in(2) {
                one_role(rng, head);
            }
        }
        for settings in ["{}", r#"{"partial":"single-role"}"#] {
            let mut oracle = Oracle::new(&cycle);
            let before = oracle.broken();
            let rulings = policy(settings).admit(&cycle);
            for (head, ruling) in cycle.heads.iter().zip(rulings) {
                match ruling {
                    Ruling::Admit => oracle.add(head, 1),
                    Ruling::AdmitPartial(pods) => oracle.add(&with_pods(head, pods[0]), 1),
                    _ => continue,
                }
                admitted += 1;
            }
            let after = oracle.broken();
            assert!(after.is_subset(&before), "seed {seed}: {after:?}");
        }
    });
    assert!(admitted > 3_000, "{admitted}");
}

/// Makes the head a job of one elastic role.
fn one_role(rng: &mut Seeded, head: &mut Head) {
    let (pods, min) = (2 + rng.amount(6), 1 + rng.amount(1));
    let each: Vec<(&str, i64)> = ["cpu", "gpu"].map(|r| (r, rng.amount(3))).to_vec();
    let total = |pods: i64| {
        let all = each.iter().chain(std::iter::once(&("pods", 1)));
        let demand = all.map(|(r, each)| QuotaDemand {
            resource: (*r).to_owned(),
            amount: each * pods,
        });
        demand.collect()
    };
    head.demand = total(pods);
    head.min_demand = total(min);
}

fn with_pods(head: &Head, pods: u32) -> Head {
    let all = head.demand.iter().find(|d| d.resource == "pods").unwrap();
    let all = all.amount;
    let mut part = head.clone();
    for d in &mut part.demand {
        d.amount = d.amount / all * i64::from(pods);
    }
    part
}

/// As many pods as a search one by one would find, and never fewer than the
/// minimum.
#[test]
fn partial_admission_takes_all_that_fits() {
    let mut seen = 0;
    cases(3_000, 1, |seed, rng, mut cycle| {
        one_role(rng, &mut cycle.heads[0]);
        let head = cycle.heads[0].clone();
        let amount = |list: &[QuotaDemand]| list.last().map_or(0, |d| d.amount) as u32;
        let (min, all) = (amount(&head.min_demand), amount(&head.demand));
        let mut oracle = Oracle::new(&cycle);
        let fits =
            |oracle: &mut Oracle<'_>, pods| oracle.breaks(&with_pods(&head, pods)).is_empty();
        let most = (min..=all).rev().find(|pods| fits(&mut oracle, *pods));
        let ruling = policy(r#"{"partial":"single-role"}"#)
            .admit(&cycle)
            .remove(0);
        match (most, ruling) {
            (Some(most), Ruling::Admit) => assert_eq!(most, all, "seed {seed}"),
            (Some(most), Ruling::AdmitPartial(pods)) => {
                assert_eq!(pods, [most], "seed {seed}");
                assert!(most < all, "seed {seed}");
                seen += 1;
            }
            (None, Ruling::Wait(_) | Ruling::Reclaim(_) | Ruling::Reject(_)) => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    });
    assert!(seen > 200, "{seen}");
}

#[test]
fn fair_order_is_that_of_a_contest_played_in_full() {
    cases(1_500, 7, |seed, _, cycle| {
        let order = Oracle::new(&cycle).fair_order();
        let settings = r#"{"partial":"off","reserve":false}"#;
        assert_eq!(ordered(settings, &cycle), order, "seed {seed}");
    });
}

/// After everybody else took what they could, a critical leaf gets its guarantee.
#[test]
fn a_critical_guarantee_is_admitted_last_all_the_same() {
    let mut seen = 0;
    cases(3_000, 10, |seed, _, cycle| {
        let leaf = |n: usize| !cycle.nodes.iter().any(|c| c.parent == Some(n as u32));
        let critical = |n: usize| cycle.nodes[n].tier == "critical" && leaf(n);
        let Some(node) = (0..cycle.nodes.len()).find(|n| critical(*n)) else {
            return;
        };
        let mut cycle = cycle.clone();
        let mut last = cycle.heads[0].clone();
        cycle.heads.retain(|h| h.node as usize != node);
        let unused = cycle.nodes[node].lines.iter().map(|l| QuotaDemand {
            resource: l.resource.clone(),
            amount: (l.nominal - l.used).max(0),
        });
        last.node = node as u32;
        last.demand = unused.collect();
        last.min_demand = last.demand.clone();
        seen += usize::from(last.demand.iter().any(|d| d.amount > 0));
        cycle.heads.push(last);
        for settings in ["{}", PLAIN] {
            let rulings = policy(settings).admit(&cycle);
            assert_eq!(rulings.last(), Some(&Ruling::Admit), "seed {seed}");
        }
    });
    assert!(seen > 500, "{seen}");
}

#[test]
fn more_nominal_never_makes_an_admitted_set_fail() {
    let mut seen = 0;
    cases(3_000, 10, |seed, rng, mut cycle| {
        let rulings = policy("{}").admit(&cycle);
        let mut admitted = rulings.into_iter().map(|r| r == Ruling::Admit);
        cycle.heads.retain(|_| admitted.next() == Some(true));
        let node = rng.below(cycle.nodes.len());
        for line in &mut cycle.nodes[node].lines {
            line.nominal += rng.amount(4);
        }
        let rulings = policy("{}").admit(&cycle);
        assert!(rulings.iter().all(|r| *r == Ruling::Admit), "seed {seed}");
        rng.shuffle(&mut cycle.heads);
        let rulings = policy("{}").admit(&cycle);
        assert!(rulings.iter().all(|r| *r == Ruling::Admit), "seed {seed}");
        seen += cycle.heads.len();
    });
    assert!(seen > 3_000, "{seen}");
}

/// Nodes, lines and heads in another order: the same order of jobs, the same
/// rulings, word for word.
#[test]
fn the_order_of_the_input_does_not_matter() {
    cases(3_000, 10, |seed, rng, cycle| {
        let mixed = permuted(rng, &cycle);
        for settings in [
            "{}",
            PLAIN,
            r#"{"order":"priority"}"#,
            r#"{"order":"fifo"}"#,
        ] {
            let (a, b) = (sorted(settings, &cycle), sorted(settings, &mixed));
            let fair = !settings.contains("order");
            if fair {
                let names = |c: &Cycle| c.heads.iter().map(|h| h.job.clone()).collect::<Vec<_>>();
                assert_eq!(names(&a), names(&b), "seed {seed}");
                assert_eq!(rulings(settings, &a), rulings(settings, &b), "seed {seed}");
            } else {
                let keys = |c: &Cycle| policy(settings).order(c);
                assert_eq!(keys(&a), keys(&b), "seed {seed}");
            }
        }
    });
}

fn permuted(rng: &mut Seeded, cycle: &Cycle) -> Cycle {
    let nodes = &cycle.nodes;
    let mut to = vec![u32::MAX; nodes.len()];
    let mut mixed = cycle.clone();
    mixed.nodes.clear();
    while mixed.nodes.len() < nodes.len() {
        let n = rng.below(nodes.len());
        let ready = nodes[n].parent.is_none_or(|p| to[p as usize] != u32::MAX);
        if to[n] == u32::MAX && ready {
            to[n] = mixed.nodes.len() as u32;
            let mut node = nodes[n].clone();
            node.parent = node.parent.map(|p| to[p as usize]);
            rng.shuffle(&mut node.lines);
            mixed.nodes.push(node);
        }
    }
    for head in &mut mixed.heads {
        head.node = to[head.node as usize];
        rng.shuffle(&mut head.demand);
    }
    rng.shuffle(&mut mixed.heads);
    mixed
}

/// A cycle as large as the host's limits allow. The bound is far above what it
/// takes, and far below what anything quadratic would.
#[test]
fn a_large_cycle_is_quick() {
    for (nodes, heads, limit_ms) in [(200, 1_000, 200), (1_000, 4_000, 1_000)] {
        let mut rng = Seeded::new(7);
        let size = CycleSize {
            nodes,
            resources: 3,
            heads,
        };
        let cycle = sample_cycle(&mut rng, size);
        let policy = policy("{}");
        let start = std::time::Instant::now();
        let keys = policy.order(&cycle);
        let ordered = start.elapsed();
        let rulings = policy.admit(&cycle);
        let all = start.elapsed();
        println!("{heads} heads, {nodes} nodes: order {ordered:?}, with admit {all:?}");
        assert_eq!((keys.len(), rulings.len()), (heads, heads));
        assert!(all.as_millis() < limit_ms, "{all:?}");
    }
}
