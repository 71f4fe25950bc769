//! Gang jobs on one cluster, under the classical orders.

use std::time::Instant;

use cluster::gangs::{GangError, GangReport, Order, simulate};
use cluster::trace::philly::{ClusterSpec, GangJob};
use serde_json::{Value, json};

use super::cost::Spread;
use super::digest::DecisionDigest;
use super::openb::{fuel_json, rounded};

/// What one order gave.
#[derive(Debug, Clone)]
pub struct Gangs {
    /// Seed as given; nothing in this replay is random.
    pub seed: u64,
    /// Who went first.
    pub order: Order,
    /// Completion times and the rest.
    pub report: GangReport,
    /// Duration of the run, s.
    pub seconds: f64,
    /// Hash over every job's start, end and preemptions.
    pub digest: String,
}

/// Runs every job to its end. `progress` hears how many jobs more have ended.
///
/// # Errors
/// A job that never fits.
pub fn gangs(
    cluster: &ClusterSpec,
    jobs: &[GangJob],
    order: Order,
    seed: u64,
    progress: &dyn Fn(u64),
) -> Result<Gangs, GangError> {
    let began = Instant::now();
    let mut reported = 0;
    let report = simulate(cluster, jobs, order, &mut |p| {
        progress((p.finished - reported) as u64);
        reported = p.finished;
    })?;
    let mut digest = DecisionDigest::default();
    report.digest_into(|bytes| digest.bytes(bytes));
    Ok(Gangs {
        seed,
        order,
        report,
        seconds: began.elapsed().as_secs_f64(),
        digest: digest.finish(),
    })
}

impl Gangs {
    /// The published name of the same order.
    #[must_use]
    pub fn published_as(&self) -> Option<&'static str> {
        match self.order {
            Order::Fifo => None,
            Order::Srtf => Some("SRTF"),
            Order::Srsf => Some("SRSF"),
            Order::Las => Some("Tiresias-L"),
        }
    }

    /// The run as one of `runs` in the output. Native orders burn no fuel.
    #[must_use]
    pub fn to_json(&self, policies: Value) -> Value {
        let report = &self.report;
        let per_second = report.events as f64 / self.seconds.max(1e-9);
        json!({
            "policies": policies,
            "seed": self.seed,
            "jobs": report.jobs.len(),
            "jct_s": {
                "avg": rounded(report.avg_jct_s, 3),
                "p50": rounded(report.p50_jct_s, 3),
                "p99": rounded(report.p99_jct_s, 3),
            },
            "makespan_s": rounded(report.makespan_s, 3),
            "preemptions": report.preemptions,
            "gpu_util_pct": rounded(report.gpu_util_pct, 3),
            "decisions": report.events,
            "decisions_per_s": rounded(per_second, 1),
            "fuel": fuel_json(&Spread::default()),
            "faults": 0,
            "decision_digest": self.digest,
        })
    }
}
