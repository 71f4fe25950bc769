//! What is counted, in the text format of Prometheus. Names are for ever; no
//! pod or node is ever a label.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use model::decision::FaultNote;
use model::plan::{AdmissionOutcome, AdmissionRecord, PlanRecord, PlanStatus};
use model::{Decision, Outcome, PolicyKind};

use super::View;
use shares::Waits;

mod shares;

/// Upper bounds of the duration buckets, seconds: a decision takes microseconds,
/// a commit milliseconds.
const BOUNDS: [f64; 14] = [
    0.000_001, 0.000_005, 0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5,
    1.0, 5.0,
];

/// Durations in buckets.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    pub(crate) fn observe(&mut self, time: Duration) {
        self.observe_each(time, 1);
    }

    /// `count` things that took `time` together.
    pub(crate) fn observe_each(&mut self, time: Duration, count: u64) {
        if count == 0 {
            return;
        }
        let seconds = time.as_secs_f64() / count as f64;
        let bucket = BOUNDS.partition_point(|b| *b < seconds);
        self.counts[bucket] += count;
        self.sum += time.as_secs_f64();
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        for (bound, count) in BOUNDS.iter().zip(self.counts) {
            total += count;
            let comma = if labels.is_empty() { "" } else { "," };
            let _ = writeln!(
                out,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}"
            );
        }
        total += self.counts[BOUNDS.len()];
        let comma = if labels.is_empty() { "" } else { "," };
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum{braces} {}", self.sum);
        let _ = writeln!(out, "{name}_count{braces} {total}");
    }
}

/// Counters of the core thread.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    pub(crate) scaling: u64,
    pub(crate) decide: Histogram,
    pub(crate) commit: Histogram,
    pub(crate) swap: Histogram,
    pub(crate) faults: BTreeMap<(PolicyKind, String, &'static str, &'static str), u64>,
    pub(crate) fuel: u64,
    pub(crate) commits: u64,
    pub(crate) refused: u64,
    pub(crate) replayed: u64,
    pub(crate) set_changes: BTreeMap<&'static str, u64>,
    pub(crate) admissions: BTreeMap<&'static str, u64>,
    pub(crate) fuel_admission: u64,
    pub(crate) queue_waits: BTreeMap<String, Waits>,
    pub(crate) plans: BTreeMap<(&'static str, &'static str), u64>,
    pub(crate) lost_gpu_ms: u64,
    pub(crate) evictions: BTreeMap<&'static str, u64>,
    pub(crate) guard_trips: u64,
    pub(crate) gangs_timed_out: u64,
    /// Policies that gate entry and keep failing closed: since when and when it
    /// was last said, ms.
    pub(crate) stuck: BTreeMap<String, (u64, u64)>,
}

impl Metrics {
    pub(crate) fn decision(&mut self, d: &Decision) {
        let outcome = match &d.outcome {
            Outcome::Bound { .. } => "bound",
            Outcome::Unschedulable { reason } => reason.code(),
        };
        *self.outcomes.entry(outcome).or_insert(0) += 1;
        self.fuel += d.fuel;
        for fault in &d.faults {
            self.fault(PolicyKind::Scoring, fault);
        }
    }

    pub(crate) fn fault(&mut self, kind: PolicyKind, fault: &FaultNote) {
        let key = (kind, fault.policy.to_string(), fault.call, fault.code);
        *self.faults.entry(key).or_insert(0) += 1;
    }

    pub(crate) fn admission(&mut self, record: &AdmissionRecord, waited_ms: Option<u64>) {
        let outcome = crate::wire::plan::Ruling::from(&record.outcome).name();
        *self.admissions.entry(outcome).or_insert(0) += 1;
        self.fuel_admission += record.fuel;
        for fault in &record.faults {
            self.fault(PolicyKind::Admission, fault);
        }
        if let (AdmissionOutcome::Admitted(_), Some(waited_ms)) = (&record.outcome, waited_ms) {
            let queue = self.queue_waits.entry(record.queue.to_string());
            queue.or_default().observe(waited_ms);
        }
    }

    pub(crate) fn plan(&mut self, plan: &PlanRecord) {
        let status = crate::wire::plan::Status::from(&plan.status).name();
        *self.plans.entry((plan.action, status)).or_insert(0) += 1;
        if plan.status == PlanStatus::Done {
            let lost: u64 = plan.victims.iter().map(|v| v.lost_gpu_ms).sum();
            self.lost_gpu_ms += lost;
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    family(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

/// A label value.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
}

/// Everything, as of now.
#[must_use]
pub fn render(view: &View<'_>) -> String {
    let (m, s) = (view.metrics, view.engine.summary());
    let mut out = String::with_capacity(8 << 10);
    let o = &mut out;
    family(o, "loadmaster_build_info", "gauge", "Version of the host.");
    let _ = writeln!(
        o,
        "loadmaster_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );

    family(
        o,
        "loadmaster_decisions_total",
        "counter",
        "Decisions by hook and outcome.",
    );
    for (outcome, count) in &m.outcomes {
        let _ = writeln!(
            o,
            "loadmaster_decisions_total{{hook=\"scoring\",outcome=\"{outcome}\"}} {count}"
        );
    }
    let _ = writeln!(
        o,
        "loadmaster_decisions_total{{hook=\"autoscaling\",outcome=\"decided\"}} {}",
        m.scaling
    );
    let name = "loadmaster_decision_duration_seconds";
    family(
        o,
        name,
        "histogram",
        "Time of one decision, without the commit.",
    );
    m.decide.render(o, name, "hook=\"scoring\"");
    let name = "loadmaster_policy_swap_duration_seconds";
    family(
        o,
        name,
        "histogram",
        "How long decisions were held up to change a policy set.",
    );
    m.swap.render(o, name, "");
    let name = "loadmaster_commit_duration_seconds";
    family(o, name, "histogram", "Time of one durable group commit.");
    m.commit.render(o, name, "");

    let name = "loadmaster_policy_faults_total";
    family(
        o,
        name,
        "counter",
        "Calls of policies that the built-in had to answer.",
    );
    for ((hook, policy, call, code), count) in &m.faults {
        let policy = quoted(policy);
        let _ = writeln!(
            o,
            "{name}{{policy=\"{policy}\",hook=\"{hook}\",call=\"{call}\",code=\"{code}\"}} {count}"
        );
    }
    let name = "loadmaster_policy_calls_total";
    family(
        o,
        name,
        "counter",
        "Calls of the active policies since they were installed.",
    );
    for member in &view.engine.scoring().members {
        let policy = quoted(&member.member.policy.to_string());
        let (calls, faults) = (member.breaker.calls(), member.breaker.total());
        for (outcome, count) in [("ok", calls - faults), ("fault", faults)] {
            let _ = writeln!(
                o,
                "{name}{{policy=\"{policy}\",hook=\"scoring\",outcome=\"{outcome}\"}} {count}"
            );
        }
    }
    let scaling = view.engine.autoscaling();
    let policy = quoted(&scaling.id().to_string());
    let (calls, faults) = (scaling.breaker.calls(), scaling.breaker.total());
    for (outcome, count) in [("ok", calls - faults), ("fault", faults)] {
        let _ = writeln!(
            o,
            "{name}{{policy=\"{policy}\",hook=\"autoscaling\",outcome=\"{outcome}\"}} {count}"
        );
    }
    shares::calls(o, name, view);
    single(
        o,
        "loadmaster_policy_fuel_consumed_total",
        "counter",
        "Fuel burnt by policies.",
        m.fuel + m.fuel_admission,
    );
    let name = "loadmaster_policy_active_info";
    family(o, name, "gauge", "Policies that decide now.");
    let specs = PolicyKind::ALL.map(|kind| super::sets::active(view.engine, kind));
    for spec in specs {
        for member in &spec.members {
            let p = &member.policy;
            let _ = writeln!(
                o,
                "{name}{{hook=\"{}\",policy=\"{}\",version=\"{}\",digest=\"{}\"}} 1",
                spec.kind,
                quoted(&p.name),
                quoted(&p.version),
                quoted(&p.digest)
            );
        }
    }
    let name = "loadmaster_policy_set_changes_total";
    family(o, name, "counter", "Changes of policy sets by cause.");
    for (cause, count) in &m.set_changes {
        let _ = writeln!(o, "{name}{{cause=\"{cause}\"}} {count}");
    }

    let name = "loadmaster_pending_pods";
    family(o, name, "gauge", "Pods waiting, by reason.");
    for (reason, count) in &s.waiting {
        let _ = writeln!(
            o,
            "{name}{{queue=\"default\",reason=\"{}\"}} {count}",
            reason.code()
        );
    }
    single(
        o,
        "loadmaster_running_pods",
        "gauge",
        "Pods running.",
        s.running,
    );
    single(o, "loadmaster_nodes", "gauge", "Nodes.", s.nodes);
    single(o, "loadmaster_gpus", "gauge", "Healthy GPUs.", s.gpus);
    single(
        o,
        "loadmaster_gpu_used_ratio",
        "gauge",
        "Share of the healthy GPUs that is in use.",
        s.gpu_milli_used as f64 / 1000.0 / f64::from(s.gpus.max(1)),
    );
    single(
        o,
        "loadmaster_score_cache_bytes",
        "gauge",
        "Bytes of remembered scores.",
        s.cache_bytes,
    );
    single(
        o,
        "loadmaster_commits_total",
        "counter",
        "Durable group commits.",
        m.commits,
    );
    single(
        o,
        "loadmaster_requests_refused_total",
        "counter",
        "Changes refused because the queue was full or the state said no.",
        m.refused,
    );
    single(
        o,
        "loadmaster_requests_replayed_total",
        "counter",
        "Changes answered from their idempotency key.",
        m.replayed,
    );
    single(
        o,
        "loadmaster_hold",
        "gauge",
        "1 while the host does not trust its own state and takes nothing away.",
        u8::from(view.engine.hold()),
    );
    single(
        o,
        "loadmaster_degraded",
        "gauge",
        "1 while the host accepts no changes.",
        u8::from(view.degraded.is_some()),
    );
    shares::render(o, view);
    out
}
