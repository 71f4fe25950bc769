//! How much a job asks for, how urgently, and for how long.

use loadmaster_sdk::admission::{Job, JobKind, Role, pointer};

use super::Found;
use crate::settings::{GpuRatio, Mode, PodSize, Priority, Replicas, RuntimeLimit};

/// ms in an hour.
const HOUR_MS: u64 = 3_600_000;

/// Milli-GPU in a device.
const WHOLE: i64 = 1_000;

fn field(role: &Role, name: &str) -> String {
    pointer(&["roles", &role.name, name])
}

pub(super) fn requests(mode: &Mode, job: &Job, found: &mut Found) {
    if *mode == Mode::Off {
        return;
    }
    for role in &job.roles {
        let needs = [
            (role.cpu, "CpuMissing", "cpu", "CPU, in milli-cores"),
            (role.memory, "MemoryMissing", "memory", "memory, in MiB"),
        ];
        for (amount, code, name, what) in needs {
            if amount <= 0 {
                found.add(
                    *mode,
                    code,
                    &field(role, name),
                    &format!("say how much {what}, a pod of role `{}` needs", role.name),
                );
            }
        }
    }
}

pub(super) fn gpu_ratio(rule: &GpuRatio, job: &Job, found: &mut Found) {
    if rule.mode == Mode::Off {
        return;
    }
    for role in &job.roles {
        let gpus = role.gpu_request();
        if gpus <= 0 {
            continue;
        }
        let needs = [
            (role.cpu, "CpuPerGpu", "cpu", "milli-cores", rule.cpu),
            (role.memory, "MemoryPerGpu", "memory", "MiB", rule.memory),
        ];
        for (amount, code, name, unit, (min, max)) in needs {
            // In 128 bits: both factors are the caller's. Compared as products,
            // so that shares of a device round nowhere.
            let scaled = i128::from(amount) * i128::from(WHOLE);
            let bound = |per_gpu: i64| i128::from(per_gpu) * i128::from(gpus);
            let (low, high) = (scaled < bound(min), max > 0 && scaled > bound(max));
            if !low && !high {
                continue;
            }
            let per_gpu = scaled / i128::from(gpus);
            let (why, limit) = if low {
                ("too few to keep it busy: ask for at least", min)
            } else {
                (
                    "so many that other devices stay without: ask for at most",
                    max,
                )
            };
            let message = format!("{per_gpu} {unit} a GPU are {why} {limit} a GPU");
            found.add(rule.mode, code, &field(role, name), &message);
        }
    }
}

pub(super) fn pod_size(rule: &PodSize, job: &Job, found: &mut Found) {
    if rule.mode == Mode::Off {
        return;
    }
    for role in &job.roles {
        let needs = [
            (role.cpu, rule.cpu, "cpu", "milli-cores"),
            (role.memory, rule.memory, "memory", "MiB of memory"),
            (role.disk, rule.disk, "disk", "MiB of disk"),
            (role.network, rule.network, "network", "Mbit/s"),
            (role.gpu_count.into(), rule.gpus, "gpu-count", "GPUs"),
        ];
        for (amount, max, name, unit) in needs {
            if max > 0 && amount > max {
                found.add(
                    rule.mode,
                    "PodTooLarge",
                    &field(role, name),
                    &format!(
                        "a pod of role `{}` asks for {amount} {unit}, {max} are allowed: \
                         make it smaller and use more pods",
                        role.name
                    ),
                );
            }
        }
    }
}

pub(super) fn replicas(rule: &Replicas, job: &Job, found: &mut Found) {
    let (max, kind) = match job.kind {
        JobKind::Batch => (rule.batch, "batch job"),
        JobKind::Service => (rule.service, "service"),
    };
    if rule.mode != Mode::Off && job.pods() > max {
        found.add(
            rule.mode,
            "TooManyPods",
            "/roles",
            &format!(
                "{} pods, a {kind} may have {max}: split it into several",
                job.pods()
            ),
        );
    }
}

pub(super) fn priority(rule: &Priority, job: &Job, found: &mut Found) {
    if rule.mode == Mode::Off {
        return;
    }
    // The most specific range counts; of equals the one written first.
    let (mut range, mut longest) = (rule.range, None);
    for r in &rule.ranges {
        let better = longest.is_none_or(|l| r.prefix.len() > l);
        if better && job.namespace.starts_with(&r.prefix) {
            (range, longest) = (r.range, Some(r.prefix.len()));
        }
    }
    let (min, max) = range;
    if !(min..=max).contains(&i64::from(job.priority)) {
        found.add(
            rule.mode,
            "PriorityOutOfRange",
            "/priority",
            &format!(
                "priority {} is not for namespace `{}`: set one from {min} to {max}",
                job.priority, job.namespace
            ),
        );
    }
}

pub(super) fn runtime_limit(rule: &RuntimeLimit, job: &Job, found: &mut Found) {
    if rule.mode == Mode::Off || job.kind != JobKind::Batch {
        return;
    }
    let max = rule.max_hours;
    match job.runtime_limit {
        Some(limit) if max > 0 && limit > max * HOUR_MS => found.add(
            rule.mode,
            "RuntimeLimitTooLong",
            "/runtime-limit",
            &format!(
                "{limit} ms, {} are allowed ({max} hours): set less and let the job save its \
                 progress",
                max * HOUR_MS
            ),
        ),
        Some(limit) if limit > 0 => {}
        _ => found.add(
            rule.mode,
            "RuntimeLimitMissing",
            "/runtime-limit",
            &match max {
                0 => "a batch job ends: set after how many ms it is stopped".to_owned(),
                max => format!(
                    "a batch job ends: set after how many ms it is stopped, {} ({max} hours) at \
                     most",
                    max * HOUR_MS
                ),
            },
        ),
    }
}
