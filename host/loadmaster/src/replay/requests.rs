//! Scaling a service along a request series.
//!
//! The first part of the series is history that the policy may learn from; the
//! rest is decided, one decision a step, and a new replica serves only after
//! its start-up time.

use std::time::Instant;

use cluster::elasticity::{Demand, Elasticity, ElasticityReport};
use cluster::trace::series::Series;
use engine::scaling::{AutoscalingSet, SeriesProgress, SeriesRun, drive_series, slot_ms};
use engine::{Config, Engine, EventError};
use model::scaling::ScalingSpec;
use serde_json::{Value, json};

use super::cost::{Costs, Spread};
use super::digest::DecisionDigest;
use super::openb::{fuel_json, rounded};

/// Decisions between two reports of progress.
const PROGRESS_EVERY: u64 = 64;

/// Points of a curve in the report: more than a screen is wide.
const CURVE_POINTS_MAX: usize = 1_500;

/// Steps around the largest need that the report shows one by one.
const PEAK_STEPS: usize = 360;

/// What the service is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// Load of one step that one replica serves.
    pub capacity: f64,
    /// Fewest replicas.
    pub min: u32,
    /// Utilisation aimed at, thousandths.
    pub target_milli: u32,
    /// From asked for to serving, s.
    pub start_up_s: u64,
    /// First step that is decided.
    pub decide_from: usize,
}

/// One point of the curve: a stretch of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// First step of the stretch.
    pub step: usize,
    /// Most replicas needed in it.
    pub needed: u32,
    /// Replicas that served, mean.
    pub ready: f64,
}

/// What one policy gave at one start-up time.
#[derive(Debug, Clone)]
pub struct Scaled {
    /// Seed as given; nothing in this replay is random.
    pub seed: u64,
    /// What was scaled.
    pub service: Service,
    /// Elasticity of the decided part.
    pub report: ElasticityReport,
    /// Minutes of replicas that served or were starting: what is paid for.
    pub pod_minutes: f64,
    /// Need and supply over all of the decided part.
    pub curve: Vec<Point>,
    /// The same step by step around the largest need.
    pub peak: Vec<Point>,
    /// Scaling decisions.
    pub decisions: u64,
    /// Duration of the run, s.
    pub seconds: f64,
    /// Microseconds of a policy call.
    pub call_us: Spread,
    /// Fuel of a policy call.
    pub fuel: Spread,
    /// Faults answered by the built-in.
    pub faults: u64,
    /// The first fault, in words.
    pub first_fault: Option<String>,
    /// The breaker took the policy out.
    pub reverted: bool,
    /// Hash over every decision.
    pub digest: String,
}

/// Runs the series under `set`. `progress` hears how many steps more are done.
///
/// # Errors
/// The engine refuses the service.
pub fn scale(
    series: &Series,
    service: Service,
    seed: u64,
    set: AutoscalingSet,
    costs: &Costs,
    progress: &dyn Fn(u64),
) -> Result<Scaled, EventError> {
    let spec = ScalingSpec {
        workload: "series".to_owned(),
        min: service.min,
        max: model::job::REPLICAS_MAX,
        capacity: service.capacity,
        target_utilization: service.target_milli,
        start_up_ms: service.start_up_s * 1000,
        step_ms: series.step_s * 1000,
    };
    let run = SeriesRun {
        tick_ms: spec.step_ms,
        decide_from: service.decide_from,
    };
    let demand = Demand {
        capacity: service.capacity,
        min: service.min,
    };
    let began = Instant::now();
    let revision = set.spec.revision;
    let mut engine = Engine::new(Config::default());
    engine.install_autoscaling(set);
    let mut elasticity = Elasticity::new(demand, slot_ms(&spec, run) / 1000);
    let mut digest = DecisionDigest::default();
    let mut curve = Curve::default();
    let (mut decisions, mut faults, mut pod_ms, mut reported) = (0, 0, 0, 0);
    let mut first_fault = None;
    let values = series.values.iter().copied();
    drive_series(&mut engine, &spec, values, run, |seen| match seen {
        SeriesProgress::Decision { decision, .. } => {
            decisions += 1;
            digest.bytes(&decision.time_ms.to_le_bytes());
            let counts = [
                decision.current,
                decision.reactive,
                decision.raw,
                decision.desired,
            ];
            for count in counts {
                digest.bytes(&count.to_le_bytes());
            }
            if let Some(fault) = &decision.fault {
                faults += 1;
                first_fault.get_or_insert_with(|| fault.clone());
            }
            if decisions % PROGRESS_EVERY == 0 {
                progress(decisions - reported);
                reported = decisions;
            }
        }
        SeriesProgress::Slot {
            step,
            ms,
            load,
            ready,
            starting,
        } => {
            elasticity.step(load, ready);
            pod_ms += u64::from(ready + starting) * ms;
            curve.add(step - service.decide_from, demand.replicas(load), ready);
        }
    })?;
    progress(decisions - reported);
    Ok(Scaled {
        seed,
        service,
        report: elasticity.report(),
        pod_minutes: pod_ms as f64 / 60_000.0,
        curve: curve.all(service.decide_from),
        peak: curve.peak(service.decide_from),
        decisions,
        seconds: began.elapsed().as_secs_f64(),
        call_us: costs.micros(),
        fuel: costs.fuel(),
        faults,
        first_fault,
        reverted: engine.autoscaling().spec.revision != revision,
        digest: digest.finish(),
    })
}

/// Need and supply of every decided step.
#[derive(Default)]
struct Curve {
    /// Needed, sum of ready, slots.
    steps: Vec<(u32, u64, u64)>,
}

impl Curve {
    fn add(&mut self, step: usize, needed: u32, ready: u32) {
        if self.steps.len() <= step {
            self.steps.resize(step + 1, (0, 0, 0));
        }
        let at = &mut self.steps[step];
        at.0 = at.0.max(needed);
        at.1 += u64::from(ready);
        at.2 += 1;
    }

    /// Everything, gathered into at most [`CURVE_POINTS_MAX`] stretches.
    fn all(&self, first: usize) -> Vec<Point> {
        let stretch = self.steps.len().div_ceil(CURVE_POINTS_MAX).max(1);
        let chunks = self.steps.chunks(stretch).enumerate();
        chunks
            .map(|(at, steps)| point(first + at * stretch, steps))
            .collect()
    }

    /// [`PEAK_STEPS`] around the largest need, two thirds of them before it.
    fn peak(&self, first: usize) -> Vec<Point> {
        // The earliest of equals: `max_by_key` takes the last.
        let largest = self.steps.iter().enumerate().rev().max_by_key(|(_, s)| s.0);
        let peak = largest.map_or(0, |(at, _)| at);
        let from = peak.saturating_sub(PEAK_STEPS * 2 / 3);
        let to = (from + PEAK_STEPS).min(self.steps.len());
        (from..to)
            .map(|at| point(first + at, &self.steps[at..=at]))
            .collect()
    }
}

fn point(step: usize, steps: &[(u32, u64, u64)]) -> Point {
    let ready: u64 = steps.iter().map(|s| s.1).sum();
    let slots: u64 = steps.iter().map(|s| s.2).sum();
    Point {
        step,
        needed: steps.iter().map(|s| s.0).max().unwrap_or(0),
        ready: ready as f64 / slots.max(1) as f64,
    }
}

impl Scaled {
    /// The run as one of `runs` in the output.
    #[must_use]
    pub fn to_json(&self, policies: Value) -> Value {
        let r = &self.report;
        json!({
            "policies": policies,
            "seed": self.seed,
            "start_up_s": self.service.start_up_s,
            "capacity": self.service.capacity,
            "min": self.service.min,
            "under_pct": rounded(r.under_pct, 4),
            "over_pct": rounded(r.over_pct, 4),
            "time_under_pct": rounded(r.time_under_pct, 4),
            "time_over_pct": rounded(r.time_over_pct, 4),
            "pod_minutes": rounded(self.pod_minutes, 1),
            "changes": r.changes,
            "slo_violation_pct": rounded(r.slo_violation_pct, 4),
            "decisions": self.decisions,
            "decisions_per_s": rounded(self.decisions as f64 / self.seconds.max(1e-9), 1),
            "policy_call_us": {
                "p50": rounded(self.call_us.p50, 3),
                "p99": rounded(self.call_us.p99, 3),
                "max": rounded(self.call_us.max, 3),
            },
            "fuel": fuel_json(&self.fuel),
            "faults": self.faults,
            "decision_digest": self.digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start_up_s: u64) -> Scaled {
        let values = (0..200).map(|t| if t % 40 < 20 { 100.0 } else { 400.0 });
        let series = Series {
            step_s: 60,
            values: values.collect(),
        };
        let service = Service {
            capacity: 10.0,
            min: 2,
            target_milli: 1000,
            start_up_s,
            decide_from: 100,
        };
        let set = AutoscalingSet::builtin(1);
        scale(&series, service, 42, set, &Costs::default(), &|_| {}).unwrap()
    }

    #[test]
    fn slower_start_up_is_more_shortfall_and_the_same_input_the_same_digest() {
        let (quick, again, slow) = (run(60), run(60), run(900));
        assert_eq!(quick.digest, again.digest);
        assert_eq!((quick.decisions, quick.faults), (100, 0));
        assert!(slow.report.under_pct > quick.report.under_pct);
        assert!(!quick.reverted);
        assert!(quick.pod_minutes > quick.report.pod_minutes);
    }

    #[test]
    fn long_series_have_short_curves_and_their_peak_in_full() {
        let mut curve = Curve::default();
        for step in 0..10_000 {
            let needed = if step == 5_000 { 9 } else { step % 7 };
            curve.add(step, needed as u32, 3);
        }
        let points = curve.all(5);
        assert!(points.len() <= CURVE_POINTS_MAX);
        assert!(points.iter().all(|p| p.ready == 3.0));
        assert_eq!((points[0].step, points[1].step), (5, 12));
        let peak = curve.peak(5);
        assert_eq!((peak.len(), peak[0].step), (PEAK_STEPS, 5 + 5_000 - 240));
        assert_eq!(peak[240].needed, 9);
        assert_eq!(Curve::default().peak(5), []);
    }
}
