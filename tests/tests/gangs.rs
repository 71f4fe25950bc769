//! The shipped gang order: in the sandbox as natively, against the published
//! results, and on jobs that nothing was tuned on.

use std::path::PathBuf;

use cluster::gangs::{
    Durations, GangReport, Order, Overheads, PolicyUse, simulate, simulate_policy,
};
use cluster::trace::philly::{self, ClusterSpec, GangJob};
use engine::port::admission::AdmissionPolicy;
use shortest_service::ShortestService;
use tests::native::NativeAdmission;
use tests::wasm;

fn native() -> Box<dyn AdmissionPolicy> {
    Box::new(NativeAdmission::<ShortestService>::new("{}"))
}

fn run(
    cluster: &ClusterSpec,
    jobs: &[GangJob],
    mut policy: Box<dyn AdmissionPolicy>,
    durations: Durations,
) -> (GangReport, PolicyUse) {
    let overheads = Overheads::Published;
    simulate_policy(
        cluster,
        jobs,
        &mut *policy,
        durations,
        overheads,
        &mut |_| {},
    )
    .expect("every job fits")
}

/// Batches of like jobs, run times over four orders of magnitude, sizes up to
/// two nodes.
fn batches(mut state: u64) -> (ClusterSpec, Vec<GangJob>) {
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below
    };
    let (mut jobs, mut now) = (Vec::new(), 0);
    for _ in 0..80 {
        let gpus = [1, 1, 1, 2, 4, 8, 8, 16][draw(8) as usize];
        let run_time = (20 << draw(13)) + draw(40);
        for _ in 0..=draw(10) {
            now += draw(600);
            jobs.push(GangJob {
                id: format!("job-{}", jobs.len()),
                gpus,
                submit_ms: now * 1000,
                iterations: run_time + draw(run_time / 4 + 1),
                iteration_ms: 1000,
                model: "bert".to_owned(),
                duration_ms: None,
            });
        }
        now += draw(7_200);
    }
    let cluster = ClusterSpec {
        nodes: 4,
        gpus_per_node: 8,
    };
    (cluster, jobs)
}

#[test]
fn the_sandbox_changes_no_order() {
    let (cluster, jobs) = batches(7);
    for (durations, name) in Durations::ALL {
        let (here, _) = run(&cluster, &jobs, native(), durations);
        let sandboxed = wasm::admission("shortest-service", "{}");
        let (there, used) = run(&cluster, &jobs, sandboxed, durations);
        assert_eq!(used.faults, 0, "{:?}", used.first_fault);
        assert_eq!(here, there, "{name}");
    }
}

#[test]
fn knowing_more_is_better_on_jobs_nothing_was_tuned_on() {
    for seed in [11, 222, 3_333, 44_444, 555_555] {
        let (cluster, jobs) = batches(seed);
        let classic = |order| {
            let report = simulate(&cluster, &jobs, order, &mut |_| {}).expect("every job fits");
            report.avg_jct_s
        };
        let ours = |durations| run(&cluster, &jobs, native(), durations).0.avg_jct_s;
        let (srsf, las) = (classic(Order::Srsf), classic(Order::Las));
        let (known, learned) = (ours(Durations::Known), ours(Durations::Learned));
        eprintln!("{seed}: srsf {srsf:.0}, known {known:.0}, learned {learned:.0}, las {las:.0}");
        assert!(known <= srsf, "{seed}: {known} {srsf}");
        assert!(learned < las, "{seed}: {learned} {las}");
    }
}

/// Mean completion time of every published policy on this trace, and its jobs.
fn published(trace: &str) -> Option<(ClusterSpec, Vec<GangJob>, impl Fn(&str) -> f64)> {
    let shared = std::env::var_os("LOADMASTER_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")),
        PathBuf::from,
    );
    let read = |name: &str| {
        let path = shared.join("traces/philly-gangs").join(name);
        std::fs::read_to_string(path).ok()
    };
    let file = format!("{trace}.csv");
    let (Some(cluster), Some(jobs), Some(results)) =
        (read("n8g8.csv"), read(&file), read("published_results.csv"))
    else {
        eprintln!("not run: gangs on {trace}: ../shared/traces/philly-gangs is absent");
        return None;
    };
    let cluster = philly::cluster(cluster.as_bytes(), "n8g8.csv").expect("a cluster");
    let jobs = philly::jobs(jobs.as_bytes(), &file).expect("jobs");
    let trace = trace.to_owned();
    let mean = move |policy: &str| {
        let start = format!("{policy},{trace},");
        let rest = results.lines().find_map(|l| l.strip_prefix(&start));
        let mean = rest.and_then(|r| r.split(',').next()?.parse().ok());
        mean.expect("a published result")
    };
    Some((cluster, jobs, mean))
}

#[test]
fn published_results_are_beaten() {
    for trace in ["trace1", "trace2", "trace3", "trace3_pr"] {
        let Some((cluster, jobs, mean)) = published(trace) else {
            continue;
        };
        let ours = |durations| {
            let (report, used) = run(&cluster, &jobs, native(), durations);
            assert_eq!(used.faults, 0);
            eprintln!("{trace} {durations:?}: {:.0} s", report.avg_jct_s);
            report.avg_jct_s
        };
        assert!(ours(Durations::Known) <= mean("SRSF"), "{trace}");
        let learned = ours(Durations::Learned);
        assert!(learned < mean("Tiresias-L").min(mean("themis")), "{trace}");
        // The longest trace says the same and takes as long as the others.
        if trace != "trace2" {
            assert!(ours(Durations::Finished) < mean("Tiresias-L"), "{trace}");
        }
    }
}
