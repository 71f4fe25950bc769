//! Filling a GPU cluster pod by pod until far more was asked for than it has.
//!
//! The published method: pods shuffled and inflated, nodes in a random but
//! fixed order, no pod ever leaves, a pod without a place is removed at once
//! and still counts as arrived.

use std::time::Instant;

use cluster::openb::{ARRIVED_PCT_BINS, BinMeans, FillMeter, MeterError, prepare, typical_shapes};
use engine::{Config, Effect, Engine, EventError, Output, ScoringSet};
use model::event::{Finish, ShapeClass};
use model::{Event, NodeSpec, Outcome, PodSpec};
use serde_json::{Map, Value, json};

use super::cost::{Costs, Spread};
use super::digest::DecisionDigest;

/// Pods between two reports of progress: often enough for a smooth bar, rarely
/// enough to cost nothing.
const PROGRESS_EVERY: usize = 256;

/// A trace, read.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Machines.
    pub nodes: Vec<NodeSpec>,
    /// Pods of the list, before shuffling and inflation.
    pub pods: Vec<PodSpec>,
    /// Every class of pods with its count: what policies are told to expect.
    pub profile: Vec<ShapeClass>,
    /// The classes that fragmentation is measured against.
    pub typical: Vec<ShapeClass>,
}

/// What a run of one seed gave.
#[derive(Debug, Clone)]
pub struct Fill {
    /// Seed of order and inflation.
    pub seed: u64,
    /// Pods that arrived.
    pub arrived: u64,
    /// Pods that run.
    pub placed: u64,
    /// Means at every whole percent of load.
    pub curve: Vec<(u32, BinMeans)>,
    /// Placement decisions.
    pub decisions: u64,
    /// Rows scored by policies; the others came from the score cache.
    pub evaluations: u64,
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
    /// Set when the breaker took the policies out: the rest of the run was
    /// decided by the built-in.
    pub reverted: Option<String>,
    /// Hash over every decision.
    pub digest: String,
}

/// A run that cannot be finished: a bug of the engine or a trace whose objects
/// contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The engine refused an event.
    #[error("the engine refused {what}")]
    Event {
        /// Which event.
        what: String,
        /// Cause.
        #[source]
        source: Box<EventError>,
    },
    /// A placement that the cluster cannot hold.
    #[error("an impossible placement: this is a bug of the engine")]
    Meter(#[from] MeterError),
    /// The engine did not decide a pod that was next.
    #[error("pod {0:?} was submitted and not decided: this is a bug of the engine")]
    Undecided(String),
}

impl Trace {
    /// With what follows from the lists.
    #[must_use]
    pub fn new(nodes: Vec<NodeSpec>, pods: Vec<PodSpec>) -> Self {
        Self {
            profile: profile(&pods),
            typical: typical_shapes(&pods),
            nodes,
            pods,
        }
    }

    /// Healthy GPUs.
    #[must_use]
    pub fn gpus(&self) -> usize {
        let gpus = self.nodes.iter().flat_map(|n| &n.gpus);
        gpus.filter(|g| g.healthy).count()
    }
}

/// Every class of pods, largest first, ties to the larger class.
fn profile(pods: &[PodSpec]) -> Vec<ShapeClass> {
    let mut classes = std::collections::BTreeMap::<_, (u64, i128)>::new();
    for pod in pods {
        let gpu = &pod.gpu;
        let key = (pod.requests.cpu_milli, gpu.milli, gpu.count, &gpu.models);
        let class = classes.entry(key).or_default();
        class.0 += 1;
        class.1 += i128::from(pod.requests.memory_mib);
    }
    let mut profile: Vec<ShapeClass> = classes
        .into_iter()
        .rev()
        .map(
            |((cpu_milli, gpu_milli, gpu_count, models), (count, memory))| ShapeClass {
                cpu_milli,
                memory_mib: (memory / i128::from(count)) as i64,
                gpu_count,
                gpu_milli,
                gpu_models: models.clone(),
                count,
            },
        )
        .collect();
    profile.sort_by_key(|class| std::cmp::Reverse(class.count));
    profile
}

/// Runs one seed under `set`. `costs` are the meters around its members, if
/// any; `progress` hears how many pods more were decided.
///
/// # Errors
/// See [`FillError`].
pub fn fill(
    trace: &Trace,
    inflate_milli: u32,
    seed: u64,
    set: ScoringSet,
    costs: &Costs,
    progress: &dyn Fn(u64),
) -> Result<Fill, FillError> {
    let workload = prepare(&trace.nodes, &trace.pods, inflate_milli, seed);
    let mut meter = FillMeter::new(&workload.nodes, trace.typical.clone());
    let mut engine = Engine::new(Config {
        leave_one_out: false,
        ..Config::default()
    });
    let mut out = Output::default();
    let began = Instant::now();
    let refused = |what: &str| {
        let what = what.to_owned();
        move |source| FillError::Event {
            what,
            source: Box::new(source),
        }
    };
    for node in workload.nodes {
        let name = node.name.clone();
        engine
            .step(0, Event::NodePut(Box::new(node)), &mut out)
            .map_err(refused(&name))?;
    }
    engine
        .step(0, Event::WorkloadProfile(trace.profile.clone()), &mut out)
        .map_err(refused("the workload profile"))?;
    engine.install_scoring(set);

    let mut digest = DecisionDigest::default();
    let mut run = Fill {
        seed,
        arrived: 0,
        placed: 0,
        curve: Vec::new(),
        decisions: 0,
        evaluations: 0,
        seconds: 0.0,
        call_us: Spread::default(),
        fuel: Spread::default(),
        faults: 0,
        first_fault: None,
        reverted: None,
        digest: String::new(),
    };
    let mut reported = 0;
    for (at, pod) in workload.pods.iter().enumerate() {
        out.clear();
        let now_ms = at as u64 + 1;
        engine
            .step(now_ms, Event::PodsSubmit(vec![pod.clone()]), &mut out)
            .map_err(refused(&pod.name))?;
        let [decision] = out.decisions.as_slice() else {
            return Err(FillError::Undecided(pod.name.clone()));
        };
        digest.decision(decision);
        run.decisions += 1;
        run.evaluations += u64::from(decision.rows_scored);
        run.faults += decision.faults.len() as u64;
        if let Some(fault) = decision.faults.first()
            && run.first_fault.is_none()
        {
            run.first_fault = Some(format!(
                "{} {}: {}: {}",
                fault.policy, fault.call, fault.code, fault.message
            ));
        }
        let failed = match &decision.outcome {
            Outcome::Bound { node, devices, .. } => {
                let devices: Vec<u32> = devices.iter().map(|d| u32::from(*d)).collect();
                meter.placed(pod, node, &devices)?;
                false
            }
            Outcome::Unschedulable { .. } => {
                meter.failed(pod);
                true
            }
        };
        for effect in &out.effects {
            if let Effect::SetReverted { policy, fault, .. } = effect {
                run.reverted = Some(format!("{policy} after {fault}"));
            }
        }
        if failed {
            out.clear();
            let gone = Event::PodFinished {
                name: pod.name.clone(),
                how: Finish::Deleted,
            };
            engine
                .step(now_ms, gone, &mut out)
                .map_err(refused(&pod.name))?;
        }
        if (at + 1).is_multiple_of(PROGRESS_EVERY) {
            progress((at + 1 - reported) as u64);
            reported = at + 1;
        }
    }
    progress((workload.pods.len() - reported) as u64);
    run.seconds = began.elapsed().as_secs_f64();
    run.arrived = meter.arrived();
    run.placed = meter.placed_pods();
    run.curve = meter.curve().collect();
    run.call_us = costs.micros();
    run.fuel = costs.fuel();
    run.digest = digest.finish();
    Ok(run)
}

impl Fill {
    /// Means at a load, if there was an event at it.
    #[must_use]
    pub fn at(&self, arrived_pct: u32) -> Option<BinMeans> {
        let bin = self.curve.iter().find(|(p, _)| *p == arrived_pct);
        bin.map(|(_, means)| *means)
    }

    /// Pods without a place.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.arrived - self.placed
    }

    /// The run as one of `runs` in the output.
    #[must_use]
    pub fn to_json(&self, policies: Value) -> Value {
        let bins = |value: fn(BinMeans) -> f64| {
            let mut object = Map::new();
            for bin in ARRIVED_PCT_BINS {
                let value = self.at(bin).map(|m| rounded(value(m), 4));
                object.insert(bin.to_string(), json!(value));
            }
            Value::Object(object)
        };
        let per_second = |count: u64| rounded(count as f64 / self.seconds.max(1e-9), 1);
        json!({
            "policies": policies,
            "seed": self.seed,
            "pods": {
                "arrived": self.arrived,
                "placed": self.placed,
                "failed": self.failed(),
            },
            "gpu_alloc_pct": bins(|m| m.alloc_pct),
            "frag_ratio_pct": bins(|m| m.frag_ratio_pct),
            "decisions": self.decisions,
            "decisions_per_s": per_second(self.decisions),
            "evaluations_per_s": per_second(self.evaluations),
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

/// Fuel as whole numbers.
#[must_use]
pub fn fuel_json(fuel: &Spread) -> Value {
    json!({
        "p50": fuel.p50 as u64,
        "p99": fuel.p99 as u64,
        "max": fuel.max as u64,
        "total": fuel.total as u64,
    })
}

/// `value` to so many digits after the point, for output only.
#[must_use]
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests;
