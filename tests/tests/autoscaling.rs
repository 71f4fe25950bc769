//! The pre-scaler under the engine: the reactive formula when it has nothing to
//! predict from, and on published request series both axes, shortfall and cost.

use std::path::PathBuf;

use cluster::elasticity::{Demand, Elasticity, ElasticityReport, test_window_start};
use engine::scaling::{AutoscalingSet, SeriesProgress, SeriesRun, drive_series, slot_ms};
use engine::{Config, Engine};
use model::policy::{PolicyId, WEIGHT_ONE};
use model::scaling::{ScalingDecision, ScalingSpec};
use model::{Combine, Member, PolicyKind, PolicySetSpec};
use pre_scaler::PreScaler;
use tests::native::NativeAutoscaling;

fn pre_scaler(settings: &str) -> AutoscalingSet {
    let member = Member {
        policy: PolicyId {
            name: "pre-scaler".to_owned(),
            version: "0.1.0".to_owned(),
            digest: "native".to_owned(),
        },
        weight: WEIGHT_ONE,
        tier: 0,
        settings: settings.to_owned(),
        fail: model::FailMode::Closed,
    };
    let spec = PolicySetSpec {
        kind: PolicyKind::Autoscaling,
        revision: 1,
        members: vec![member],
        combine: Combine::Weighted,
    };
    let policy = Box::new(NativeAutoscaling::<PreScaler>::new(settings));
    AutoscalingSet::new(spec, policy).expect("one autoscaling policy")
}

fn spec(capacity: f64, min: u32, start_up_s: u64) -> ScalingSpec {
    ScalingSpec {
        workload: "series".to_owned(),
        min,
        max: 10_000,
        capacity,
        target_utilization: 700,
        start_up_ms: start_up_s * 1_000,
        step_ms: 60_000,
    }
}

/// What a run over the last 30 % of a series came to.
struct Outcome {
    elasticity: ElasticityReport,
    /// Starting replicas included: they cost as well.
    pod_minutes: f64,
    changes: u64,
    decisions: u64,
}

fn run(spec: &ScalingSpec, loads: &[f64], policy: Option<AutoscalingSet>) -> Outcome {
    let mut engine = Engine::new(Config::default());
    if let Some(set) = policy {
        engine.install_autoscaling(set);
    }
    let from = test_window_start(loads.len());
    let run = SeriesRun {
        tick_ms: 60_000,
        // Six hours to leave the beginning behind.
        decide_from: from - 360,
    };
    let demand = Demand {
        capacity: spec.capacity,
        min: spec.min,
    };
    let mut elasticity = Elasticity::new(demand, slot_ms(spec, run) / 1_000);
    let (mut pod_minutes, mut changes, mut decisions) = (0.0, 0, 0);
    drive_series(&mut engine, spec, loads.iter().copied(), run, |p| match p {
        SeriesProgress::Decision { step, decision } if step >= from => {
            assert_eq!(decision.fault, None);
            changes += u64::from(decision.current != decision.desired);
            decisions += 1;
        }
        SeriesProgress::Slot {
            step,
            ms,
            load,
            ready,
            starting,
        } if step >= from => {
            elasticity.step(load, ready);
            pod_minutes += f64::from(ready + starting) * ms as f64 / 60_000.0;
        }
        _ => {}
    })
    .expect("a valid workload");
    Outcome {
        elasticity: elasticity.report(),
        pod_minutes,
        changes,
        decisions,
    }
}

/// A published request series, if it is there.
fn series(file: &str) -> Option<Vec<f64>> {
    let shared = std::env::var_os("LOADMASTER_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")),
        PathBuf::from,
    );
    let path = shared.join("traces/requests").join(file);
    if !path.exists() {
        eprintln!("not run: ../shared/traces/requests/{file} is absent");
        return None;
    }
    let (reader, path) = cluster::trace::open(&path).expect("readable");
    let series = cluster::trace::series::series(reader, &path).expect("well-formed");
    Some(series.values)
}

/// Under %, SLO violation %, pod-minutes of a run, as first measured on an
/// independent harness of the same rules.
type Reference = (f64, f64, f64);

/// One start-up time: reactive and pre-scaled.
type Cell = (u64, Reference, Reference);

fn check(file: &str, capacity: f64, min: u32, cells: [Cell; 3]) {
    let Some(loads) = series(file) else {
        return;
    };
    println!("series, start-up s, policy: under %, over %, SLO violation %, pod-minutes, changes");
    for (start_up_s, reactive, predicted) in cells {
        let spec = spec(capacity, min, start_up_s);
        let runs = [
            ("hpa", run(&spec, &loads, None), reactive),
            (
                "pre-scaler",
                run(&spec, &loads, Some(pre_scaler("{}"))),
                predicted,
            ),
        ];
        for (name, outcome, (under, slo, pod_minutes)) in &runs {
            let e = &outcome.elasticity;
            println!(
                "{file}, {start_up_s}, {name}: {:.3}, {:.2}, {:.4}, {:.0}, {}",
                e.under_pct, e.over_pct, e.slo_violation_pct, outcome.pod_minutes, outcome.changes
            );
            // The reference is printed to three and four digits.
            let near = |found: f64, expected: f64, digit: f64| {
                let error = (found - expected).abs();
                let allowed = 0.001 * expected + digit;
                assert!(error <= allowed, "{found} is not {expected}");
            };
            near(e.under_pct, *under, 0.0005);
            near(e.slo_violation_pct, *slo, 0.0001);
            near(outcome.pod_minutes, *pod_minutes, 1.0);
            let steps = (loads.len() - test_window_start(loads.len())) as u64;
            assert_eq!(outcome.decisions, steps);
        }
        let [(_, hpa, _), (_, pre, _)] = &runs;
        let falls_short = pre.elasticity.slo_violation_pct > hpa.elasticity.slo_violation_pct;
        let costs_more = pre.pod_minutes > hpa.pod_minutes;
        assert!(!(falls_short && costs_more), "{file}: worse on both axes");
    }
}

#[test]
fn world_cup() {
    check(
        "worldcup98_1min.csv",
        500.0,
        10,
        [
            (
                60,
                (0.008, 0.0106, 1_145_762.0),
                (0.007, 0.0084, 1_102_855.0),
            ),
            (
                300,
                (0.024, 0.0526, 1_145_762.0),
                (0.026, 0.0623, 1_111_500.0),
            ),
            (
                900,
                (0.092, 0.4898, 1_145_762.0),
                (0.081, 0.3995, 1_133_133.0),
            ),
        ],
    );
}

#[test]
fn nasa_july() {
    check(
        "nasa_jul95_1min.csv",
        10.0,
        1,
        [
            (60, (0.790, 0.6109, 95_332.0), (0.381, 0.4134, 87_500.0)),
            (300, (1.673, 1.3368, 95_332.0), (0.461, 0.4997, 89_500.0)),
            (900, (3.557, 2.9547, 95_332.0), (0.589, 0.6969, 92_110.0)),
        ],
    );
}

#[test]
fn nasa_august() {
    check(
        "nasa_aug95_1min.csv",
        10.0,
        1,
        [
            (60, (0.637, 0.5240, 108_796.0), (0.342, 0.4059, 98_603.0)),
            (300, (1.323, 1.0965, 108_796.0), (0.414, 0.4754, 100_533.0)),
            (900, (2.934, 2.4113, 108_796.0), (0.572, 0.6690, 101_003.0)),
        ],
    );
}

#[test]
fn without_a_forecast_it_is_the_builtin() {
    let loads: Vec<f64> = (0..2_000u64)
        .map(|i| {
            let noise = (i.wrapping_mul(6_364_136_223_846_793_005) >> 40) % 400;
            let base = if i % 97 < 9 { 3_000.0 } else { 700.0 };
            base + noise as f64
        })
        .collect();
    let decided = |policy: Option<AutoscalingSet>| {
        let mut engine = Engine::new(Config::default());
        if let Some(set) = policy {
            engine.install_autoscaling(set);
        }
        let mut seen = Vec::new();
        let run = SeriesRun {
            tick_ms: 15_000,
            decide_from: 1,
        };
        let values = loads.iter().copied();
        drive_series(&mut engine, &spec(100.0, 2, 60), values, run, |p| {
            if let SeriesProgress::Decision { decision, .. } = p {
                let ScalingDecision {
                    time_ms, desired, ..
                } = *decision;
                seen.push((time_ms, desired));
            }
        })
        .expect("a valid workload");
        seen
    };
    let builtin = decided(None);
    assert!(builtin.iter().any(|(_, desired)| *desired > 40));
    assert_eq!(
        decided(Some(pre_scaler(r#"{"predictive":false}"#))),
        builtin
    );
}
