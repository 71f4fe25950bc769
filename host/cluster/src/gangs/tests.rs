use proptest::prelude::*;

use super::*;
use crate::shared_data::find;
use crate::trace;

const ONE_NODE: ClusterSpec = ClusterSpec {
    nodes: 1,
    gpus_per_node: 8,
};

/// A job of `seconds` of work, without the profile factor.
fn job(id: usize, submit_s: u64, gpus: u32, seconds: u64) -> GangJob {
    GangJob {
        id: id.to_string(),
        gpus,
        submit_ms: submit_s * 1000,
        // 203 = 200 × 1.015: 200 iterations of 1 s are 203 s of work.
        iterations: seconds * 200,
        iteration_ms: 1000,
        model: "none".to_owned(),
        duration_ms: None,
    }
}

/// Runs jobs given as (submit, GPUs, units of 203 s) and shows their ends in
/// units and preemptions.
fn run(order: Order, jobs: &[(u64, u32, u64)]) -> Vec<(f64, u32)> {
    let jobs: Vec<GangJob> = jobs
        .iter()
        .enumerate()
        .map(|(id, (submit, gpus, units))| job(id, submit * 203, *gpus, *units))
        .collect();
    let report = simulate(&ONE_NODE, &jobs, order, &mut |_| {}).unwrap();
    report
        .jobs
        .iter()
        .map(|j| ((j.end_s / 203.0 * 1e6).round() / 1e6, j.preemptions))
        .collect()
}

#[test]
fn fifo_lets_small_jobs_pass_a_blocked_gang() {
    // The second does not fit beside the first; the third does.
    let ends = run(Order::Fifo, &[(0, 6, 10), (1, 4, 5), (2, 2, 3)]);
    assert_eq!(ends, [(10.0, 0), (15.0, 0), (5.0, 0)]);
}

#[test]
fn shortest_first_preempts_and_keeps_progress() {
    let ends = run(Order::Srtf, &[(0, 8, 10), (2, 8, 3)]);
    assert_eq!(ends, [(13.0, 1), (5.0, 0)]);
    // As long as the rest of the running one: the order is stable, it stays.
    let ends = run(Order::Srtf, &[(0, 8, 10), (2, 8, 8)]);
    assert_eq!(ends, [(10.0, 0), (18.0, 0)]);
}

#[test]
fn smallest_service_weighs_time_by_gpus() {
    let jobs = [(0, 8, 3), (0, 2, 4)];
    assert_eq!(run(Order::Srtf, &jobs), [(3.0, 0), (7.0, 0)]);
    assert_eq!(run(Order::Srsf, &jobs), [(7.0, 0), (4.0, 0)]);
}

#[test]
fn least_attained_service_prefers_newcomers() {
    // 203 s × 8 GPUs = 1624 GPU-s a unit: the first leaves the first queue
    // after two units (3250 GPU-s) and gives way to the second, which ends
    // before it would leave.
    let ends = run(Order::Las, &[(0, 8, 10), (0, 8, 1)]);
    assert_eq!(ends[1].1, 0);
    assert!(
        (ends[1].0 - (3250.0 / 8.0 / 203.0 + 1.0)).abs() < 1e-5,
        "{ends:?}"
    );
    assert_eq!(ends[0], (11.0, 1));
}

#[test]
fn overhead_is_lost_at_every_event_while_running() {
    let mut jobs = vec![job(0, 0, 4, 10), job(1, 203, 2, 1), job(2, 207, 2, 1)];
    jobs[0].model = "bert".to_owned();
    let report = simulate(&ONE_NODE, &jobs, Order::Fifo, &mut |_| {}).unwrap();
    // Arrivals at 203 and 207 cost 10 s and the 4 s between them; the ends at
    // 406 and 410 cost 10 s and 4 s again.
    let lost = report.jobs[0].end_s - 2030.0;
    assert!((lost - 28.0).abs() < 1e-9, "{lost}");
    assert_eq!(report.events, 6);
    let free = simulate_with(&ONE_NODE, &jobs, Order::Fifo, Overheads::None, &mut |_| {}).unwrap();
    assert!((free.jobs[0].end_s - 2030.0).abs() < 1e-9);
}

#[test]
fn reports_percentiles_and_utilisation() {
    let jobs: Vec<_> = (0..4).map(|id| job(id, 0, 8, 1)).collect();
    let mut seen = Vec::new();
    let report = simulate(&ONE_NODE, &jobs, Order::Fifo, &mut |p| {
        seen.push(p.finished)
    })
    .unwrap();
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
    near(report.makespan_s, 812.0);
    near(report.avg_jct_s, 507.5);
    near(report.p50_jct_s, 609.0);
    near(report.p99_jct_s, 812.0);
    assert!((report.gpu_util_pct - 100.0).abs() < 1e-9);
    assert_eq!(seen, [1, 2, 3, 4]);
    let empty = simulate(&ONE_NODE, &[], Order::Las, &mut |_| {}).unwrap();
    assert_eq!(
        (empty.avg_jct_s, empty.p99_jct_s, empty.events),
        (0.0, 0.0, 0)
    );
}

#[test]
fn a_gang_that_never_fits_is_refused() {
    let two = ClusterSpec {
        nodes: 2,
        gpus_per_node: 8,
    };
    let error = simulate(&two, &[job(7, 0, 17, 1)], Order::Srtf, &mut |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "job \"7\" needs 17 GPUs at once, which the empty cluster of 2 × 8 GPUs cannot give"
    );
}

#[test]
fn orders_have_names() {
    for (order, name) in Order::ALL {
        assert_eq!(order.name(), name);
        assert_eq!(Order::parse(name), Some(order));
    }
    assert_eq!(Order::parse("random"), None);
}

/// Largest relative error of mean, makespan and 99th percentile against the
/// published results. Numbers are printed to ten digits.
#[test]
fn published_results_come_out() {
    const DIGIT: f64 = 1e-9;
    let exact = [DIGIT; 3];
    let expected = [
        ("trace1", Order::Srtf, "SRTF", exact),
        ("trace1", Order::Srsf, "SRSF", exact),
        ("trace1", Order::Las, "Tiresias-L", [1e-6, DIGIT, DIGIT]),
        ("trace2", Order::Srtf, "SRTF", [4e-6, 2e-6, 4e-6]),
        ("trace2", Order::Srsf, "SRSF", exact),
        ("trace2", Order::Las, "Tiresias-L", [1e-6, 2e-6, 1e-6]),
        ("trace3", Order::Srtf, "SRTF", exact),
        ("trace3", Order::Srsf, "SRSF", exact),
        ("trace3", Order::Las, "Tiresias-L", [2e-6, DIGIT, 1e-6]),
        ("trace3_pr", Order::Srtf, "SRTF", exact),
        ("trace3_pr", Order::Srsf, "SRSF", exact),
        ("trace3_pr", Order::Las, "Tiresias-L", [4e-3, 1e-4, 1e-5]),
    ];
    let open = |name: &str| {
        let path = find(
            "published_results_come_out",
            &format!("philly-gangs/{name}.csv"),
        )?;
        Some(trace::open(&path).unwrap())
    };
    let (Some((file, path)), Some((published, _))) = (open("n8g8"), open("published_results"))
    else {
        return;
    };
    let cluster = trace::philly::cluster(file, &path).unwrap();
    let published = std::io::read_to_string(published).unwrap();
    for (name, order, policy, limits) in expected {
        let Some((file, path)) = open(name) else {
            continue;
        };
        let jobs = trace::philly::jobs(file, &path).unwrap();
        let found = simulate(&cluster, &jobs, order, &mut |_| {}).unwrap();
        let line = published
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{policy},{name},")))
            .unwrap();
        let numbers = line.split(',').map(|n| n.parse::<f64>().unwrap());
        let found = [found.avg_jct_s, found.makespan_s, found.p99_jct_s];
        let errors: Vec<f64> = found
            .iter()
            .zip(numbers)
            .map(|(f, p)| f / p - 1.0)
            .collect();
        eprintln!("{name} {policy}: {found:?}, relative errors {errors:?}");
        for (error, limit) in errors.iter().zip(limits) {
            assert!(error.abs() < limit, "{name} {policy}: {errors:?}");
        }
    }
}

proptest! {
    /// Whatever the jobs: all end, none before its work is done, and the
    /// cluster never gives more than it has.
    #[test]
    fn every_job_ends(
        drawn in proptest::collection::vec((0u64..20, 1u32..=16, 1u64..5, 0usize..3), 0..25),
        order in prop::sample::select(Order::ALL.map(|o| o.0).to_vec()),
    ) {
        let cluster = ClusterSpec { nodes: 2, gpus_per_node: 8 };
        let jobs: Vec<GangJob> = drawn
            .iter()
            .enumerate()
            .map(|(id, (submit, gpus, units, model))| GangJob {
                model: ["none", "a2c", "vgg16"][*model].to_owned(),
                ..job(id, submit * 10, *gpus, *units)
            })
            .collect();
        let report = simulate(&cluster, &jobs, order, &mut |_| {}).unwrap();
        let again = simulate(&cluster, &jobs, order, &mut |_| {}).unwrap();
        prop_assert_eq!(&report, &again);
        for (outcome, (_, _, units, _)) in report.jobs.iter().zip(&drawn) {
            prop_assert!(outcome.start_s >= outcome.submit_s);
            let work = *units as f64 * 203.0;
            prop_assert!(outcome.end_s + 1e-6 >= outcome.start_s + work);
        }
        prop_assert!(report.gpu_util_pct <= 100.0 + 1e-9);
    }
}
