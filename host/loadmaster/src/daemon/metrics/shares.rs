//! Who enters, who waits, who yields: quotas, queues, plans, evictions.

use std::fmt::Write as _;

use model::quota::QuotaResource;

use super::{View, family, quoted, single};

/// Upper bounds of waits for quota, seconds: Titus watches the same, because
/// above 5 min people ask and above 15 min a deployment has failed.
const WAITS: [u64; 4] = [60, 300, 600, 900];

/// Waits in buckets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits {
    counts: [u64; WAITS.len() + 1],
    sum_ms: u64,
}

impl Waits {
    pub(super) fn observe(&mut self, ms: u64) {
        let bucket = WAITS.partition_point(|b| b * 1_000 < ms);
        self.counts[bucket] += 1;
        self.sum_ms += ms;
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        for (bound, count) in WAITS.iter().zip(self.counts) {
            total += count;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        total += self.counts[WAITS.len()];
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum_ms as f64 / 1e3);
        let _ = writeln!(out, "{name}_count{{{labels}}} {total}");
    }
}

/// A quota amount in the base unit of its resource: cores, bytes, bit/s, GPUs.
fn base(resource: QuotaResource, value: i64) -> f64 {
    let value = value as f64;
    match resource {
        QuotaResource::Cpu | QuotaResource::Gpu => value / 1e3,
        QuotaResource::Memory | QuotaResource::Disk => value * f64::from(1 << 20),
        QuotaResource::Network => value * 1e6,
    }
}

/// Calls of the policies of the two kinds that are asked in chains.
pub(super) fn calls(o: &mut String, name: &str, view: &View<'_>) {
    let admission = view.engine.admission_set();
    let admission = admission
        .members
        .iter()
        .map(|m| ("admission", &m.member.policy, &m.breaker));
    let preemption = view.engine.preemption_set();
    let preemption = preemption
        .members
        .iter()
        .map(|m| ("preemption", &m.member.policy, &m.breaker));
    for (hook, policy, breaker) in admission.chain(preemption) {
        let policy = quoted(&policy.to_string());
        let (calls, faults) = (breaker.calls(), breaker.total());
        for (outcome, count) in [("ok", calls - faults), ("fault", faults)] {
            let _ = writeln!(
                o,
                "{name}{{policy=\"{policy}\",hook=\"{hook}\",outcome=\"{outcome}\"}} {count}"
            );
        }
    }
}

/// All of it, as of now.
pub(super) fn render(o: &mut String, view: &View<'_>) {
    admissions(o, view);
    quotas(o, view);
    yielding(o, view);
}

fn admissions(o: &mut String, view: &View<'_>) {
    let m = view.metrics;
    let name = "loadmaster_admissions_total";
    family(
        o,
        name,
        "counter",
        "Decisions at the door and at the heads of queues, by outcome.",
    );
    for (outcome, count) in &m.admissions {
        let _ = writeln!(o, "{name}{{outcome=\"{outcome}\"}} {count}");
    }
    let name = "loadmaster_admission_stuck_seconds";
    let help = "How long a policy that gates entry has failed closed; present only while it does.";
    family(o, name, "gauge", help);
    let spec = &view.engine.admission_set().spec;
    for (policy, (since_ms, said_ms)) in &m.stuck {
        let active = spec.members.iter().any(|m| m.policy.to_string() == *policy);
        // It is said again and again as long as it lasts.
        if active && said_ms + 2 * engine::ALARM_EVERY_MS > view.now_ms {
            let seconds = view.now_ms.saturating_sub(*since_ms) as f64 / 1e3;
            let _ = writeln!(o, "{name}{{policy=\"{}\"}} {seconds}", quoted(policy));
        }
    }
    let name = "loadmaster_queue_wait_seconds";
    family(
        o,
        name,
        "histogram",
        "From submitted to paid for, by queue.",
    );
    for (queue, waits) in &m.queue_waits {
        waits.render(o, name, &format!("queue=\"{}\"", quoted(queue)));
    }
}

fn quotas(o: &mut String, view: &View<'_>) {
    let queues = view.engine.queue_views();
    let name = "loadmaster_queue_waiting_jobs";
    family(o, name, "gauge", "Jobs that wait for quota, by queue.");
    for q in &queues {
        let _ = writeln!(
            o,
            "{name}{{queue=\"{}\"}} {}",
            quoted(&q.spec.name),
            q.waiting.len()
        );
    }
    let name = "loadmaster_queue_admitted_pods";
    family(o, name, "gauge", "Pods that quota pays for, by queue.");
    for q in &queues {
        let _ = writeln!(
            o,
            "{name}{{queue=\"{}\"}} {}",
            quoted(&q.spec.name),
            q.admitted
        );
    }
    let quotas = view.engine.quota_views();
    let unit = "cores, bytes, bit/s or GPUs.";
    type Read = fn(&engine::QuotaView, QuotaResource) -> Option<i64>;
    let families: [(&str, String, Read); 3] = [
        (
            "loadmaster_quota_used",
            format!("Used by a quota node and everything below it: {unit}"),
            |q, r| Some(q.used.get(r)),
        ),
        (
            "loadmaster_quota_nominal",
            format!("Guaranteed to a quota node: {unit}"),
            |q, r| {
                q.spec
                    .lines
                    .iter()
                    .find(|l| l.resource == r)
                    .map(|l| l.nominal)
            },
        ),
        (
            "loadmaster_quota_borrowed",
            format!("Used beyond the quota of a node: {unit}"),
            |q, r| Some(q.borrowed.get(r).max(0)),
        ),
    ];
    for (name, help, of) in families {
        family(o, name, "gauge", &help);
        for q in &quotas {
            for r in QuotaResource::ALL {
                let limited = q.spec.lines.iter().any(|l| l.resource == r);
                if let Some(value) = of(q, r).filter(|_| limited) {
                    let _ = writeln!(
                        o,
                        "{name}{{quota=\"{}\",resource=\"{}\"}} {}",
                        quoted(&q.spec.name),
                        r.name(),
                        base(r, value)
                    );
                }
            }
        }
    }
}

fn yielding(o: &mut String, view: &View<'_>) {
    let m = view.metrics;
    let name = "loadmaster_plans_total";
    family(
        o,
        name,
        "counter",
        "Plans of who yields, by action and how far they got.",
    );
    for ((action, status), count) in &m.plans {
        let _ = writeln!(
            o,
            "{name}{{action=\"{action}\",status=\"{status}\"}} {count}"
        );
    }
    let name = "loadmaster_evictions_total";
    family(
        o,
        name,
        "counter",
        "Running pods that were asked to leave, by cause.",
    );
    for (cause, count) in &m.evictions {
        let _ = writeln!(o, "{name}{{cause=\"{cause}\"}} {count}");
    }
    single(
        o,
        "loadmaster_preemption_work_at_risk_gpu_seconds_total",
        "counter",
        "Work of victims of finished plans that was not saved when they were chosen.",
        m.lost_gpu_ms as f64 / 1e3,
    );
    single(
        o,
        "loadmaster_gangs_timed_out_total",
        "counter",
        "Gangs given up because they did not start in time.",
        m.gangs_timed_out,
    );
    let guard = view.engine.guard_view();
    single(
        o,
        "loadmaster_eviction_guard_evicted",
        "gauge",
        "Evictions in the guard's window.",
        guard.window_pods,
    );
    single(
        o,
        "loadmaster_eviction_guard_limit",
        "gauge",
        "Most evictions in one window of the guard, with those approved.",
        guard.limit.saturating_add(guard.approved),
    );
    single(
        o,
        "loadmaster_eviction_guard_tripped",
        "gauge",
        "1 while the guard against mass evictions stops them.",
        u8::from(guard.tripped_ms.is_some()),
    );
    single(
        o,
        "loadmaster_eviction_guard_trips_total",
        "counter",
        "Times the guard against mass evictions stopped them.",
        m.guard_trips,
    );
}
