use std::sync::{Arc, Mutex};

use engine::port::admission::{Patch, Review, Ruling, Validation};
use engine::port::{Cost, Description};
use proptest::prelude::*;

use super::*;
use crate::gangs::{
    GangError, GangReport, Order, Overheads, Progress, simulate, simulate_policy, simulate_with,
};

const ONE_NODE: ClusterSpec = ClusterSpec {
    nodes: 1,
    gpus_per_node: 8,
};

type Answer = Result<Vec<SortKey>, PolicyFault>;

/// A policy from a function.
struct Keys<F> {
    description: Description,
    order: F,
}

fn keys<F: FnMut(&Cycle) -> Answer + Send>(order: F) -> Keys<F> {
    Keys {
        description: Description::default(),
        order,
    }
}

impl<F: FnMut(&Cycle) -> Answer + Send> AdmissionPolicy for Keys<F> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn validate(&mut self, _: &Review) -> Result<(Validation, Cost), PolicyFault> {
        unreachable!("a replay of gangs asks for orders only")
    }

    fn mutate(&mut self, _: &Review) -> Result<(Vec<Patch>, Cost), PolicyFault> {
        unreachable!("a replay of gangs asks for orders only")
    }

    fn order(&mut self, cycle: &Cycle) -> Result<(Vec<SortKey>, Cost), PolicyFault> {
        Ok(((self.order)(cycle)?, Cost::default()))
    }

    fn admit(&mut self, _: &Cycle) -> Result<(Vec<Ruling>, Cost), PolicyFault> {
        unreachable!("a replay of gangs asks for orders only")
    }
}

/// Shortest service first, by what the heads say; by age where they say nothing.
fn shortest_service() -> Keys<impl FnMut(&Cycle) -> Answer + Send> {
    keys(|cycle| {
        let key = |h: &Head| {
            let service = h.expected_runtime.map(|ms| ms as i64 * h.demand[0].amount);
            vec![service.unwrap_or(h.attained as i64)]
        };
        Ok(cycle.heads.iter().map(key).collect())
    })
}

fn run(
    cluster: &ClusterSpec,
    jobs: &[GangJob],
    policy: &mut dyn AdmissionPolicy,
    durations: Durations,
) -> (GangReport, PolicyUse) {
    let overheads = Overheads::Published;
    simulate_policy(cluster, jobs, policy, durations, overheads, &mut |_| {}).unwrap()
}

/// (submit s, GPUs, iterations of 1 s) as jobs.
fn jobs(list: &[(u64, u32, u64)]) -> Vec<GangJob> {
    let job = |(id, (submit, gpus, iterations)): (usize, &(u64, u32, u64))| GangJob {
        id: format!("job-{id}"),
        gpus: *gpus,
        submit_ms: submit * 1000,
        iterations: *iterations,
        iteration_ms: 1000,
        model: "bert".to_owned(),
        duration_ms: None,
    };
    list.iter().enumerate().map(job).collect()
}

/// A few hundred jobs of mixed sizes, heavy-tailed, busier than the cluster.
fn crowd(n: u64) -> Vec<GangJob> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below
    };
    let list: Vec<(u64, u32, u64)> = (0..n)
        .map(|at| (at * 40, 1 << draw(4), 20 << draw(10)))
        .collect();
    jobs(&list)
}

#[test]
fn heads_say_what_is_known() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let mut policy = keys(move |cycle: &Cycle| {
        record.lock().unwrap().push(cycle.clone());
        // The newcomer first.
        Ok(cycle
            .heads
            .iter()
            .map(|h| vec![-(h.created as i64)])
            .collect())
    });
    let jobs = jobs(&[(0, 8, 200), (100, 8, 400)]);
    run(&ONE_NODE, &jobs, &mut policy, Durations::Known);
    let cycles = seen.lock().unwrap();
    assert_eq!(cycles[0].nodes[0].lines[0].nominal, 8000);
    let head = |at: usize, head: usize| {
        let h: &Head = &cycles[at].heads[head];
        (h.waited, h.attempts, h.attained, h.expected_runtime)
    };
    // 200 iterations of 1 s take 203 s; the second event costs bert 10 s.
    assert_eq!(head(0, 0), (0, 0, 0, Some(203_000)));
    assert_eq!(head(1, 0), (0, 1, 800_000, Some(113_000)));
    assert_eq!(head(1, 1), (0, 0, 0, Some(406_000)));
    assert_eq!(cycles[2].now, 506_000);
    assert_eq!(head(2, 0), (406_000, 1, 800_000, Some(113_000)));
    assert_eq!(cycles[1].heads[1].demand[0].amount, 8000);
}

#[test]
fn who_says_nothing_gets_first_come_first_served() {
    let crowd = crowd(120);
    let fifo = simulate(&ONE_NODE, &crowd, Order::Fifo, &mut |_| {}).unwrap();
    let mut silent = keys(|cycle: &Cycle| Ok(vec![Vec::new(); cycle.heads.len()]));
    let (report, used) = run(&ONE_NODE, &crowd, &mut silent, Durations::Known);
    assert_eq!(report, fifo);
    assert_eq!((used.faults, used.calls), (0, fifo.events - 1));
}

#[test]
fn heads_without_a_key_come_last() {
    let jobs = jobs(&[(0, 8, 10), (0, 8, 10), (0, 8, 10)]);
    let mut policy = keys(|cycle: &Cycle| {
        let key = |h: &Head| match h.job.as_str() {
            "job-0" => Vec::new(),
            "job-1" => vec![2],
            _ => vec![1],
        };
        Ok(cycle.heads.iter().map(key).collect())
    });
    let (report, _) = run(&ONE_NODE, &jobs, &mut policy, Durations::None);
    let ends: Vec<f64> = report.jobs.iter().map(|j| j.end_s).collect();
    assert!(ends[2] < ends[1] && ends[1] < ends[0], "{ends:?}");
}

#[test]
fn a_policy_that_fails_is_replaced_and_then_left_alone() {
    let crowd = crowd(60);
    let fifo = simulate(&ONE_NODE, &crowd, Order::Fifo, &mut |_| {}).unwrap();
    let mut broken = keys(|_: &Cycle| Ok(vec![vec![1]; 100_000]));
    let (report, used) = run(&ONE_NODE, &crowd, &mut broken, Durations::Known);
    assert_eq!(report, fifo);
    assert_eq!((used.calls, used.faults, used.taken_out), (5, 5, true));
    let fault = used.first_fault.unwrap().to_string();
    assert_eq!(fault, "bad answer: 100000 sort keys for 1 heads");
    // Now and then is not in a row.
    let mut calls = 0;
    let mut moody = keys(|cycle: &Cycle| {
        calls += 1;
        if calls % 3 == 0 {
            return Err(PolicyFault::OutOfFuel { limit: 1 });
        }
        Ok(vec![Vec::new(); cycle.heads.len()])
    });
    let (report, used) = run(&ONE_NODE, &crowd, &mut moody, Durations::Known);
    assert_eq!(report, fifo);
    assert_eq!((used.faults, used.taken_out), (used.calls / 3, false));
}

#[test]
fn many_heads_are_asked_for_in_parts() {
    let n = HEADS_PER_CYCLE as u64 + 500;
    let list: Vec<(u64, u32, u64)> = (0..n).map(|at| (0, 8, 1 + at % 7)).collect();
    let mut most = 0;
    let mut calls = 0_u64;
    let mut policy = keys(|cycle: &Cycle| {
        calls += 1;
        most = most.max(cycle.heads.len());
        let key = |h: &Head| vec![h.expected_runtime.unwrap() as i64];
        Ok(cycle.heads.iter().map(key).collect())
    });
    let (report, used) = run(&ONE_NODE, &jobs(&list), &mut policy, Durations::Known);
    assert_eq!((most, used.heads_max), (HEADS_PER_CYCLE, n as usize));
    assert_eq!(used.faults, 0);
    assert_eq!(calls, used.calls + 500);
    let srtf = simulate(&ONE_NODE, &jobs(&list), Order::Srtf, &mut |_| {}).unwrap();
    assert!((report.avg_jct_s / srtf.avg_jct_s - 1.0).abs() < 1e-9);
}

/// All cycles of a run up to `until`, for a policy that follows the estimates.
fn cycles_until(jobs: &[GangJob], durations: Durations, until: u64) -> Vec<Cycle> {
    let mut seen = Vec::new();
    let mut inner = shortest_service();
    let mut policy = keys(|cycle: &Cycle| {
        if cycle.now <= until {
            seen.push(cycle.clone());
        }
        inner.order(cycle).map(|(keys, _)| keys)
    });
    run(&ONE_NODE, jobs, &mut policy, durations);
    seen
}

/// Two worlds that differ only in how long the jobs run that have not ended by
/// some moment: up to then a policy must see the same in both.
#[test]
fn no_estimate_knows_the_future() {
    let jobs = crowd(200);
    for durations in [Durations::Learned, Durations::Finished, Durations::None] {
        let mut policy = shortest_service();
        let (report, _) = run(&ONE_NODE, &jobs, &mut policy, durations);
        for until in [1_000_u64, 8_000, 30_000] {
            let mut other = jobs.clone();
            for (job, outcome) in std::iter::zip(&mut other, &report.jobs) {
                if outcome.end_s > until as f64 {
                    job.iterations = job.iterations * 3 + 100;
                }
            }
            assert_ne!(other, jobs);
            let here = cycles_until(&jobs, durations, until * 1000);
            let there = cycles_until(&other, durations, until * 1000);
            assert!(here.len() > 10);
            assert_eq!(here, there, "{durations:?} before {until} s");
        }
    }
    // The same check sees through a policy that is told.
    let mut other = jobs.clone();
    other[0].iterations *= 3;
    let told = |jobs: &[GangJob]| cycles_until(jobs, Durations::Known, 0);
    assert_ne!(told(&jobs), told(&other));
}

#[test]
fn two_runs_are_one() {
    let crowd = crowd(150);
    for (durations, _) in Durations::ALL {
        let digest = || {
            let mut bytes = Vec::new();
            let mut policy = shortest_service();
            let (report, used) = run(&ONE_NODE, &crowd, &mut policy, durations);
            report.digest_into(|b| bytes.extend_from_slice(b));
            (bytes, used)
        };
        assert_eq!(digest(), digest());
    }
}

#[test]
fn what_is_lost_is_what_was_held_beyond_the_work() {
    let crowd = crowd(150);
    let mut policy = shortest_service();
    let (report, _) = run(&ONE_NODE, &crowd, &mut policy, Durations::Learned);
    let work: f64 = crowd
        .iter()
        .map(|j| f64::from(j.gpus) * j.iterations as f64 * 1.015)
        .sum();
    let held = report.gpu_util_pct / 100.0 * report.makespan_s * 8.0;
    assert!(report.lost_gpu_hours > 0.0);
    assert!((held - work - report.lost_gpu_hours * 3600.0).abs() < 1e-3);
}

#[test]
fn durations_have_names() {
    for (durations, name) in Durations::ALL {
        assert_eq!(durations.name(), name);
        assert_eq!(Durations::parse(name), Some(durations));
    }
    assert_eq!(Durations::parse("guessed"), None);
}

proptest! {
    /// Whatever a policy answers: all jobs end, none before its work is done.
    #[test]
    fn no_order_does_harm(
        drawn in proptest::collection::vec((0u64..200, 1u32..=8, 1u64..300), 1..20),
        salt in any::<i64>(),
        durations in prop::sample::select(Durations::ALL.map(|d| d.0).to_vec()),
    ) {
        let jobs = jobs(&drawn);
        let mut at = salt;
        let mut policy = keys(move |cycle: &Cycle| {
            let mut key = || {
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                vec![at; (at >> 60).unsigned_abs() as usize % 3]
            };
            Ok(cycle.heads.iter().map(|_| key()).collect())
        });
        let progress: &mut dyn FnMut(Progress) = &mut |_| {};
        let report: Result<_, GangError> =
            simulate_policy(&ONE_NODE, &jobs, &mut policy, durations, Overheads::None, progress);
        let (report, _) = report.unwrap();
        for (outcome, (_, _, iterations)) in report.jobs.iter().zip(&drawn) {
            let work = *iterations as f64 * 1.015;
            prop_assert!(outcome.end_s + 1e-6 >= outcome.start_s + work);
        }
        let fifo = simulate_with(&ONE_NODE, &jobs, Order::Fifo, Overheads::None, &mut |_| {}).unwrap();
        let held = |r: &GangReport| r.gpu_util_pct * r.makespan_s;
        prop_assert!((held(&report) / held(&fifo) - 1.0).abs() < 1e-9);
    }
}
