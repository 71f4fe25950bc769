//! Gang jobs on one cluster, under the classical orders and under policies.

use std::time::Instant;

use cluster::gangs::{
    Durations, GangError, GangReport, Order, Overheads, PolicyUse, Progress, simulate,
    simulate_policy,
};
use cluster::trace::philly::{ClusterSpec, GangJob};
use serde_json::{Value, json};

use super::cost::{Costs, Spread};
use super::digest::DecisionDigest;
use super::openb::{fuel_json, rounded};
use super::published::PublishedGangs;
use crate::policies::{LoadError, Loaded};

/// Who says which job goes first.
#[derive(Debug, Clone)]
pub enum Ranker {
    /// A classical order.
    Builtin(Order),
    /// An admission policy, told this about run times.
    Policy(Box<Loaded>, Durations),
}

/// What an order goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knows {
    /// Only who came first.
    Arrival,
    /// How long a job has held GPUs.
    Served,
    /// How long those jobs ran that ended before.
    Finished,
    /// That, and how long the others ran so far.
    Learned,
    /// How long every job will still run.
    RunTimes,
    /// Not run times; what else is not published.
    NotRunTimes,
}

/// A run that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The trace.
    #[error(transparent)]
    Gang(#[from] GangError),
    /// The policy.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// What one order gave.
#[derive(Debug, Clone)]
pub struct Gangs {
    /// Seed as given; nothing in this replay is random.
    pub seed: u64,
    /// What the order went by.
    pub knows: Knows,
    /// Name of the same order in the published comparison.
    pub published_as: Option<&'static str>,
    /// Completion times and the rest.
    pub report: GangReport,
    /// How the policy was used and behaved.
    pub used: PolicyUse,
    /// Duration of the run, s.
    pub seconds: f64,
    /// Microseconds of a policy call.
    pub call_us: Spread,
    /// Fuel of a policy call.
    pub fuel: Spread,
    /// Hash over every job's start, end and preemptions.
    pub digest: String,
}

/// Runs every job to its end. `progress` hears how many jobs more have ended.
///
/// # Errors
/// A job that never fits, or a policy that does not start.
pub fn gangs(
    cluster: &ClusterSpec,
    jobs: &[GangJob],
    ranker: &Ranker,
    seed: u64,
    progress: &dyn Fn(u64),
) -> Result<Gangs, RunError> {
    let costs = Costs::default();
    let mut reported = 0;
    let mut hear = |p: Progress| {
        progress((p.finished - reported) as u64);
        reported = p.finished;
    };
    let began = Instant::now();
    let (report, used) = match ranker {
        Ranker::Builtin(order) => {
            let report = simulate(cluster, jobs, *order, &mut hear)?;
            (report, PolicyUse::default())
        }
        Ranker::Policy(loaded, durations) => {
            let mut policy = costs.meter_admission(loaded.admission()?);
            let overheads = Overheads::Published;
            simulate_policy(
                cluster,
                jobs,
                &mut *policy,
                *durations,
                overheads,
                &mut hear,
            )?
        }
    };
    let mut digest = DecisionDigest::default();
    report.digest_into(|bytes| digest.bytes(bytes));
    Ok(Gangs {
        seed,
        knows: ranker.knows(),
        published_as: ranker.published_as(),
        report,
        used,
        seconds: began.elapsed().as_secs_f64(),
        call_us: costs.micros(),
        fuel: costs.fuel(),
        digest: digest.finish(),
    })
}

impl Ranker {
    fn knows(&self) -> Knows {
        match self {
            Self::Builtin(Order::Fifo) => Knows::Arrival,
            Self::Builtin(Order::Las) => Knows::Served,
            Self::Builtin(Order::Srtf | Order::Srsf) => Knows::RunTimes,
            Self::Policy(_, Durations::Known) => Knows::RunTimes,
            Self::Policy(_, Durations::Learned) => Knows::Learned,
            Self::Policy(_, Durations::Finished) => Knows::Finished,
            Self::Policy(_, Durations::None) => Knows::Served,
        }
    }

    fn published_as(&self) -> Option<&'static str> {
        match self {
            Self::Builtin(Order::Srtf) => Some("SRTF"),
            Self::Builtin(Order::Srsf) => Some("SRSF"),
            Self::Builtin(Order::Las) => Some("Tiresias-L"),
            Self::Builtin(Order::Fifo) | Self::Policy(..) => None,
        }
    }
}

impl Knows {
    /// Every kind of knowledge, in words for a table and for the line below it.
    pub const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Arrival, "arrival", "only who came first"),
        (
            Self::Served,
            "served",
            "how long a job has held GPUs so far",
        ),
        (
            Self::Finished,
            "finished",
            "how long those jobs ran that ended before",
        ),
        (
            Self::Learned,
            "learned",
            "how long those jobs ran that ended before, and how long the others ran so far",
        ),
        (
            Self::RunTimes,
            "run times",
            "how long every job will still run",
        ),
        (Self::NotRunTimes, "no run times", "anything but run times"),
    ];

    /// In a word or two.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// In a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        Self::ALL[self as usize].2
    }

    /// What a published policy goes by.
    #[must_use]
    pub fn of_published(policy: &str) -> Self {
        match policy {
            "SRTF" | "SRSF" | "Muri-S" => Self::RunTimes,
            "Tiresias-L" | "Muri-L" => Self::Served,
            _ => Self::NotRunTimes,
        }
    }
}

impl Gangs {
    /// The run as one of `runs` in the output. Native orders burn no fuel.
    #[must_use]
    pub fn to_json(&self, trace: &str, policies: Value) -> Value {
        let report = &self.report;
        let per_second = report.events as f64 / self.seconds.max(1e-9);
        json!({
            "trace": trace,
            "policies": policies,
            "knows": self.knows.name(),
            "seed": self.seed,
            "jobs": report.jobs.len(),
            "jct_s": {
                "avg": rounded(report.avg_jct_s, 3),
                "p50": rounded(report.p50_jct_s, 3),
                "p99": rounded(report.p99_jct_s, 3),
            },
            "makespan_s": rounded(report.makespan_s, 3),
            "preemptions": report.preemptions,
            "lost_gpu_hours": rounded(report.lost_gpu_hours, 3),
            "gpu_util_pct": rounded(report.gpu_util_pct, 3),
            "decisions": report.events,
            "decisions_per_s": rounded(per_second, 1),
            "call_us": {
                "p50": rounded(self.call_us.p50, 1),
                "p99": rounded(self.call_us.p99, 1),
            },
            "fuel": fuel_json(&self.fuel),
            "faults": self.used.faults,
            "decision_digest": self.digest,
        })
    }
}

/// A published result as it stands beside the runs.
#[must_use]
pub fn published_json(trace: &str, p: &PublishedGangs) -> Value {
    json!({
        "trace": trace,
        "policy": p.policy,
        "knows": Knows::of_published(&p.policy).name(),
        "jct_s": { "avg": p.avg_jct_s, "p99": p.p99_jct_s },
        "makespan_s": p.makespan_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knowledge_has_names() {
        for (knows, name, meaning) in Knows::ALL {
            assert_eq!((knows.name(), knows.meaning()), (name, meaning));
        }
        assert_eq!(Knows::of_published("Muri-S"), Knows::RunTimes);
        assert_eq!(Knows::of_published("themis"), Knows::NotRunTimes);
    }

    #[test]
    fn classical_orders_say_what_they_go_by() {
        let of = |order| {
            let ranker = Ranker::Builtin(order);
            (ranker.knows(), ranker.published_as())
        };
        assert_eq!(of(Order::Fifo), (Knows::Arrival, None));
        assert_eq!(of(Order::Srsf), (Knows::RunTimes, Some("SRSF")));
        assert_eq!(of(Order::Las), (Knows::Served, Some("Tiresias-L")));
    }
}
