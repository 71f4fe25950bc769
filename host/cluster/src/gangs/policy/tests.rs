use std::sync::{Arc, Mutex};

use engine::port::admission::{Patch, Review, Ruling, Validation};
use engine::port::{Cost, Description};
use loadmaster_sdk::admission as sdk;
use proptest::prelude::*;
use shortest_service::ShortestService;

use super::*;
use crate::gangs::{
    GangError, GangReport, Order, Overheads, Progress, simulate, simulate_policy, simulate_with,
};
use crate::shared_data::find;
use crate::trace;

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

/// The shipped policy without a sandbox.
fn shortest_service(settings: &str) -> Keys<impl FnMut(&Cycle) -> Answer + Send> {
    let policy = sdk::native::<ShortestService>(settings).unwrap();
    keys(move |cycle| Ok(policy.order(&guest(cycle))))
}

fn guest(cycle: &Cycle) -> sdk::Cycle {
    let demand = |list: &[QuotaDemand]| {
        let one = |d: &QuotaDemand| sdk::QuotaDemand {
            resource: d.resource.to_owned(),
            amount: d.amount,
        };
        list.iter().map(one).collect::<Vec<_>>()
    };
    let line = |l: &QuotaLineRow| sdk::QuotaLine {
        resource: l.resource.to_owned(),
        nominal: l.nominal,
        used: l.used,
        borrowing_limit: l.borrowing_limit,
        lending_limit: l.lending_limit,
    };
    let node = |n: &QuotaRow| sdk::QuotaNode {
        name: n.name.clone(),
        parent: n.parent,
        weight: n.weight,
        tier: n.tier.to_owned(),
        lines: n.lines.iter().map(line).collect(),
    };
    let head = |h: &Head| sdk::Head {
        job: h.job.clone(),
        queue: h.queue.clone(),
        node: h.node,
        priority: h.priority,
        created: h.created,
        waited: h.waited,
        attempts: h.attempts,
        deadline: h.deadline,
        expected_runtime: h.expected_runtime,
        attained: h.attained,
        demand: demand(&h.demand),
        min_demand: demand(&h.min_demand),
    };
    sdk::Cycle {
        now: cycle.now,
        mode: sdk::Mode::Normal,
        nodes: cycle.nodes.iter().map(node).collect(),
        heads: cycle.heads.iter().map(head).collect(),
    }
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
    let mut inner = shortest_service("{}");
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
        let mut policy = shortest_service("{}");
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
            let mut policy = shortest_service("{}");
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
    let mut policy = shortest_service("{}");
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

/// The shipped policy against the published numbers, on the real traces.
#[test]
fn the_shipped_policy_beats_the_published_ones() {
    const TEST: &str = "the_shipped_policy_beats_the_published_ones";
    let open =
        |name: &str| Some(trace::open(&find(TEST, &format!("philly-gangs/{name}.csv"))?).unwrap());
    let (Some((file, path)), Some((published, _))) = (open("n8g8"), open("published_results"))
    else {
        return;
    };
    let cluster = trace::philly::cluster(file, &path).unwrap();
    let published = std::io::read_to_string(published).unwrap();
    for name in ["trace1", "trace2", "trace3", "trace3_pr"] {
        let Some((file, path)) = open(name) else {
            continue;
        };
        let jobs = trace::philly::jobs(file, &path).unwrap();
        let mean = |policy: &str| {
            let start = format!("{policy},{name},");
            let line = published
                .lines()
                .find_map(|l| l.strip_prefix(&start))
                .unwrap();
            line.split(',').next().unwrap().parse::<f64>().unwrap()
        };
        let ours = |durations| {
            let mut policy = shortest_service("{}");
            let (report, used) = run(&cluster, &jobs, &mut policy, durations);
            assert_eq!(used.faults, 0);
            eprintln!("{name} {durations:?}: {:.0} s, {used:?}", report.avg_jct_s);
            report.avg_jct_s
        };
        assert!(ours(Durations::Known) <= mean("SRSF"), "{name}");
        let learned = ours(Durations::Learned);
        assert!(learned < mean("Tiresias-L").min(mean("themis")), "{name}");
        // The longest trace says the same and takes as long as the others.
        if name != "trace2" {
            assert!(ours(Durations::Finished) < mean("Tiresias-L"), "{name}");
        }
    }
}

/// Jobs nobody tuned anything on: batches of like jobs, run times over five
/// orders of magnitude, sizes up to two nodes.
fn batches(mut state: u64) -> Vec<GangJob> {
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below
    };
    let (mut list, mut now) = (Vec::new(), 0);
    for _ in 0..80 {
        let gpus = [1, 1, 1, 2, 4, 8, 8, 16][draw(8) as usize];
        let run_time = (20 << draw(13)) + draw(40);
        for _ in 0..=draw(10) {
            now += draw(600);
            list.push((now, gpus, run_time + draw(run_time / 4 + 1)));
        }
        now += draw(7_200);
    }
    jobs(&list)
}

#[test]
fn on_jobs_nobody_tuned_for_knowing_more_is_better() {
    let cluster = ClusterSpec {
        nodes: 4,
        gpus_per_node: 8,
    };
    for seed in [11, 222, 3_333, 44_444, 555_555] {
        let jobs = batches(seed);
        let classic = |order| {
            let report = simulate(&cluster, &jobs, order, &mut |_| {}).unwrap();
            report.avg_jct_s
        };
        let ours = |durations| {
            let mut policy = shortest_service("{}");
            run(&cluster, &jobs, &mut policy, durations).0.avg_jct_s
        };
        let (srsf, las) = (classic(Order::Srsf), classic(Order::Las));
        let (known, learned) = (ours(Durations::Known), ours(Durations::Learned));
        eprintln!("{seed}: srsf {srsf:.0}, known {known:.0}, learned {learned:.0}, las {las:.0}");
        assert!(known <= srsf, "{seed}: {known} {srsf}");
        assert!(learned < las, "{seed}: {learned} {las}");
    }
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
