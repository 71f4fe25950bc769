//! What must hold for every cycle.

use loadmaster_sdk::admission::{Head, QuotaDemand};
use loadmaster_sdk::quota::Usage;
use loadmaster_sdk::testing::{CycleSize, Seeded, sample_cycle};

use super::*;

fn cases(count: u64, nodes: usize, mut check: impl FnMut(u64, &mut Seeded, Cycle)) {
    for seed in 0..count {
        let mut rng = Seeded::new(seed);
        // Some with more ends than the plan has points.
        let most = if rng.one_in(10) { 60 } else { 7 };
        let size = CycleSize {
            nodes: 1 + rng.below(nodes),
            resources: 1 + rng.below(2),
            heads: 1 + rng.below(most),
        };
        let cycle = sample_cycle(&mut rng, size);
        check(seed, &mut rng, cycle);
    }
}

/// Time that a head needs with all its pods, by the default margin.
fn needs(head: &Head) -> Option<u64> {
    head.expected_runtime.map(|ms| (ms * 1_200).div_ceil(1_000))
}

fn in_time(head: &Head) -> bool {
    match (head.deadline, needs(head)) {
        (Some(deadline), Some(ms)) => NOW + ms <= deadline,
        (Some(deadline), None) => NOW < deadline,
        (None, _) => true,
    }
}

#[test]
fn nothing_is_rejected_that_could_finish_alone_and_nothing_else_is_admitted() {
    let mut rejected = 0;
    cases(4_000, 8, |seed, _, cycle| {
        for (head, ruling) in cycle.heads.iter().zip(policy("{}").admit(&cycle)) {
            let late = matches!(ruling, Ruling::Reject(_));
            assert_eq!(late, !in_time(head), "seed {seed}");
            rejected += usize::from(late);
        }
    });
    assert!(rejected > 1_000, "{rejected}");
}

/// Runs jobs of (demand, time, deadline) by earliest deadline on what is free,
/// and says whether all were in time.
fn run_by_edf(tree: &QuotaTree, usage: &Usage, mut jobs: Vec<Job>) -> bool {
    jobs.sort_by_key(|j| j.deadline);
    let mut now = NOW;
    let mut running: Vec<(u64, Job)> = Vec::new();
    while !jobs.is_empty() {
        let mut usage = usage.clone();
        for (_, job) in &running {
            tree.charge(&mut usage, job.payer, &job.demand);
        }
        jobs.retain(|job| {
            let starts = tree.fits(&usage, job.payer, &job.demand);
            if starts {
                tree.charge(&mut usage, job.payer, &job.demand);
                running.push((now + job.ms, job.clone()));
            }
            !starts
        });
        let Some(end) = running.iter().map(|r| r.0).min() else {
            return false;
        };
        if running.iter().any(|(end, job)| *end > job.deadline) {
            return false;
        }
        running.retain(|(at, _)| *at > end);
        now = end;
    }
    true
}

#[derive(Clone)]
struct Job {
    payer: usize,
    demand: Vec<Amount>,
    ms: u64,
    deadline: u64,
}

/// Together they fit at once, in whatever order the host takes them; and run by
/// earliest deadline on what was free they are all in time.
#[test]
fn the_admitted_finish_in_time() {
    let mut admitted = 0;
    cases(4_000, 8, |seed, rng, cycle| {
        let (tree, usage) = QuotaTree::new(&cycle.nodes).unwrap();
        let mut jobs = Vec::new();
        for (head, ruling) in cycle.heads.iter().zip(policy("{}").admit(&cycle)) {
            if ruling == Ruling::Admit {
                let payer = head.node as usize;
                let mut demand = Vec::new();
                tree.demand(payer, &head.demand, &mut demand);
                let (ms, deadline) = (needs(head).unwrap_or(0), head.deadline);
                let deadline = deadline.unwrap_or(u64::MAX);
                jobs.push(Job {
                    payer,
                    demand,
                    ms,
                    deadline,
                });
            }
        }
        admitted += jobs.len();
        assert!(run_by_edf(&tree, &usage, jobs.clone()), "seed {seed}");
        let mut sum = usage.clone();
        rng.shuffle(&mut jobs);
        for job in &jobs {
            assert!(tree.fits(&sum, job.payer, &job.demand), "seed {seed}");
            tree.charge(&mut sum, job.payer, &job.demand);
        }
    });
    assert!(admitted > 3_000, "{admitted}");
}

/// The fewest pods with which each is in time, and all of them together fit.
#[test]
fn the_fewest_pods_that_finish_in_time() {
    let settings = r#"{"single-role":true,"start-up":1}"#;
    let mut parts = 0;
    cases(4_000, 6, |seed, rng, mut cycle| {
        let (tree, usage) = QuotaTree::new(&cycle.nodes).unwrap();
        let mut admitted = Vec::new();
        for head in &mut cycle.heads {
            let (all, each) = (2 + rng.amount(6), rng.amount(2));
            let min = 1 + rng.amount(1).min(all - 1);
            let total = |pods: i64| {
                let parts = [("cpu", each * pods), ("pods", pods)];
                let parts = parts.map(|(resource, amount)| QuotaDemand {
                    resource: resource.to_owned(),
                    amount,
                });
                parts.to_vec()
            };
            (head.demand, head.min_demand) = (total(all), total(min));
        }
        for (head, ruling) in cycle.heads.iter().zip(policy(settings).admit(&cycle)) {
            let (min, all) = (
                head.min_demand[1].amount as u64,
                head.demand[1].amount as u64,
            );
            let pods = match ruling {
                Ruling::Admit => all,
                Ruling::AdmitPartial(pods) => u64::from(pods[0]),
                _ => continue,
            };
            if let (Some(deadline), Some(run)) = (head.deadline, needs(head)) {
                let late = |pods: u64| NOW + SECOND + (run * all).div_ceil(pods) > deadline;
                assert!(!late(pods) && min <= pods && pods <= all, "seed {seed}");
                assert!(pods == min || run == 0 || late(pods - 1), "seed {seed}");
                parts += usize::from(pods < all);
            }
            let mut demand = Vec::new();
            tree.demand(head.node as usize, &head.demand, &mut demand);
            for part in &mut demand {
                part.amount = part.amount / all as i64 * pods as i64;
            }
            admitted.push((head.node as usize, demand));
        }
        rng.shuffle(&mut admitted);
        let mut sum = usage.clone();
        for (payer, demand) in admitted {
            assert!(tree.fits(&sum, payer, &demand), "seed {seed}");
            tree.charge(&mut sum, payer, &demand);
        }
    });
    assert!(parts > 500, "{parts}");
}

/// Heads of a later class or deadline change nothing for those before.
#[test]
fn who_comes_later_changes_nothing_for_who_came_first() {
    let mut seen = 0;
    cases(3_000, 8, |seed, rng, cycle| {
        let all = policy("{}").admit(&cycle);
        let keys = policy("{}").order(&cycle);
        let last = rng.below(cycle.heads.len());
        let kept: Vec<usize> = (0..keys.len()).filter(|h| keys[*h] < keys[last]).collect();
        let mut part = cycle.clone();
        part.heads = kept.iter().map(|h| cycle.heads[*h].clone()).collect();
        for (ruling, h) in policy("{}").admit(&part).into_iter().zip(kept) {
            assert_eq!(ruling, all[h], "seed {seed}");
            seen += 1;
        }
    });
    assert!(seen > 2_000, "{seen}");
}

#[test]
fn the_order_of_heads_does_not_matter() {
    cases(3_000, 8, |seed, rng, cycle| {
        let mut mixed = cycle.clone();
        rng.shuffle(&mut mixed.heads);
        let by_name = |cycle: &Cycle| {
            let names = cycle.heads.iter().map(|h| h.job.clone());
            let mut said: Vec<_> = names.zip(rulings("{}", cycle)).collect();
            said.sort();
            said
        };
        assert_eq!(by_name(&cycle), by_name(&mixed), "seed {seed}");
    });
}

/// Second by second: who can start now, when everybody with an earlier deadline
/// has taken the earliest time at which it fits, and the rest only what is free.
fn by_the_second(cycle: &Cycle, hold_back: u64) -> Vec<bool> {
    const SECONDS: usize = 40;
    let pool = &cycle.nodes[0].lines[0];
    let mut used = [pool.used; SECONDS];
    let mut admitted = vec![false; cycle.heads.len()];
    let keys = policy(EXACT).order(cycle);
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|h| (keys[*h].clone(), cycle.heads[*h].job.clone()));
    for h in order {
        let head = &cycle.heads[h];
        let amount = head.demand[0].amount;
        if amount > pool.nominal {
            continue;
        }
        let left = |d: u64| (d / SECOND) as usize - (NOW / SECOND) as usize;
        let run = head.expected_runtime.map(|ms| (ms / SECOND) as usize);
        let (length, latest) = match (head.deadline, run) {
            (Some(d), _) if d <= NOW => continue,
            (Some(d), Some(run)) if run > left(d) => continue,
            (Some(d), Some(run)) => (run, left(d) - run),
            (_, Some(run)) => (run, 0),
            (_, None) => (SECONDS, 0),
        };
        let fits = |start: usize| {
            let mut span = used[start..start + length].iter();
            span.all(|u| amount == 0 || *u + amount <= pool.nominal)
        };
        let start = (0..=latest).find(|start| fits(*start));
        let timed = head.deadline.is_some() && run.is_some();
        match start {
            Some(start) => {
                admitted[h] = start == 0;
                for u in &mut used[start..start + length] {
                    *u += amount;
                }
            }
            None if timed && (latest as u64) < hold_back => {
                for u in &mut used[..left(head.deadline.unwrap())] {
                    *u += amount;
                }
            }
            None => {}
        }
    }
    admitted
}

#[test]
fn it_agrees_with_a_plan_made_second_by_second() {
    let mut seen = [0; 2];
    for seed in 0..6_000 {
        let mut rng = Seeded::new(seed);
        let nominal = 3 + rng.amount(7);
        let used = rng.amount(3);
        let mut cycle = pool(nominal, used);
        for i in 0..1 + rng.below(6) {
            let name = format!("job-{i}");
            cycle = cycle.rest(&name, rng.amount(nominal + 1));
            if !rng.one_in(4) {
                cycle = cycle.deadline(NOW - SECOND + rng.below(14) as u64 * SECOND);
            }
            if !rng.one_in(5) {
                cycle = cycle.expected_runtime((1 + rng.below(7)) as u64 * SECOND);
            }
        }
        let cycle = cycle.done();
        for hold_back in [0, 4] {
            let settings = format!(r#"{{"safety":1000,"hold-back":{hold_back}}}"#);
            let expected = by_the_second(&cycle, hold_back);
            let said = policy(&settings).admit(&cycle);
            for (h, expected) in expected.into_iter().enumerate() {
                let admitted = said[h] == Ruling::Admit;
                assert_eq!(admitted, expected, "seed {seed} {hold_back} head {h}");
                seen[usize::from(admitted)] += 1;
            }
        }
    }
    assert!(seen.iter().all(|n| *n > 5_000), "{seen:?}");
}

/// As many heads as the host gives at once, far more than there are points in
/// the plan. The bound is for what is quadratic, not for what is slow.
#[test]
fn a_large_cycle_is_quick() {
    let mut rng = Seeded::new(7);
    let size = CycleSize {
        nodes: 1_000,
        resources: 3,
        heads: 4_000,
    };
    let cycle = sample_cycle(&mut rng, size);
    let policy = policy("{}");
    let start = std::time::Instant::now();
    let keys = policy.order(&cycle);
    let rulings = policy.admit(&cycle);
    let all = start.elapsed();
    println!("4,000 heads, 1,000 nodes: order and admit {all:?}");
    assert_eq!(keys.len(), rulings.len());
    assert!(all.as_millis() < 1_000, "{all:?}");
}
