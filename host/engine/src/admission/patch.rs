//! What a patch does to a job under review. The fields and what each takes are
//! the table in the SDK's documentation of the admission kind; a policy's author
//! checks patches with that, the host with this.
//!
//! Whatever a list of patches does, doing it again changes nothing, as the
//! contract demands: fields are independent, a field that is set or removed ends
//! the same whatever it was, and one that is only added to keeps what it has. A
//! new field or change must keep that true (`tests.rs` tries lists at random).

use std::str::FromStr;

use model::admission::{Change, Patch};
use model::{JobSpec, PodSpec};

use super::json::{self, Value};
use crate::port::admission::{JobView, Role};

/// Most patches of one answer: every field of every role once, and labels.
pub(super) const PATCHES_MAX: usize = 1_024;

/// Makes the changes in order.
///
/// # Errors
/// The first that cannot be made, in words; `job` is then half changed.
pub(super) fn apply(job: &mut JobView, patches: &[Patch]) -> Result<(), String> {
    if patches.len() > PATCHES_MAX {
        return Err(format!("{} patches, at most {PATCHES_MAX}", patches.len()));
    }
    patches.iter().try_for_each(|patch| apply_one(job, patch))
}

fn apply_one(job: &mut JobView, patch: &Patch) -> Result<(), String> {
    let step = Step {
        at: &patch.field,
        change: &patch.change,
    };
    let mut parts = patch
        .field
        .strip_prefix('/')
        .ok_or_else(|| step.unknown())?
        .split('/');
    let path = (parts.next(), parts.next(), parts.next(), parts.next());
    match path {
        (Some(name), None, ..) => plain(job, name, &step),
        (Some("labels"), Some(key), None, _) => {
            let key = unescape(key).filter(|k| !k.is_empty());
            label(job, key.ok_or_else(|| step.unknown())?, &step)
        }
        (Some("roles"), Some(name), Some(field), None) => {
            let name = unescape(name).ok_or_else(|| step.unknown())?;
            if !OF_ROLE.contains(&field) {
                return Err(step.unknown());
            }
            let role = job.roles.iter_mut().find(|r| r.name == name);
            let missing = || format!("`{}` names a role that the job does not have", step.at);
            step.role(role.ok_or_else(missing)?, field)
        }
        _ => Err(step.unknown()),
    }
}

const OF_ROLE: [&str; 10] = [
    "count",
    "min",
    "cpu",
    "memory",
    "disk",
    "network",
    "gpu-count",
    "gpu-milli",
    "gpu-memory",
    "gpu-models",
];

fn plain(job: &mut JobView, name: &str, step: &Step<'_>) -> Result<(), String> {
    match name {
        "namespace" => step.text(&mut job.namespace),
        "queue" => step.text(&mut job.queue),
        "app" => step.text(&mut job.app),
        "tier" => step.text(&mut job.tier),
        "image" => step.text(&mut job.image),
        "priority" => step.number(&mut job.priority, "an integer of 32 bits"),
        "run-as-root" => step.flag(&mut job.run_as_root),
        "privileged" => step.flag(&mut job.privileged),
        "seccomp" => step.option(&mut job.seccomp, Step::string),
        "runtime-limit" => step.option(&mut job.runtime_limit, Step::natural),
        "deadline" => step.option(&mut job.deadline, Step::natural),
        _ => Err(step.unknown()),
    }
}

/// Labels stay sorted by key.
fn label(job: &mut JobView, key: String, step: &Step<'_>) -> Result<(), String> {
    let place = job.labels.binary_search_by(|(k, _)| k.as_str().cmp(&key));
    let mut value = place.ok().map(|i| std::mem::take(&mut job.labels[i].1));
    step.option(&mut value, Step::string)?;
    match (place, value) {
        (Ok(i), Some(value)) => job.labels[i].1 = value,
        (Ok(i), None) => {
            job.labels.remove(i);
        }
        (Err(i), Some(value)) => job.labels.insert(i, (key, value)),
        (Err(_), None) => {}
    }
    Ok(())
}

fn unescape(part: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

/// One patch, with the field already found.
struct Step<'a> {
    at: &'a str,
    change: &'a Change,
}

impl Step<'_> {
    fn unknown(&self) -> String {
        format!("`{}` is not a field that a patch may change", self.at)
    }

    fn wrong(&self, expected: &str) -> String {
        format!("`{}` takes {expected}", self.at)
    }

    fn no_change(&self) -> String {
        format!("`{}` always has a value: use `set`", self.at)
    }

    fn value(&self, expected: &str) -> Result<Value, String> {
        match self.change {
            Change::Set(text) | Change::Add(text) => {
                json::parse(text).ok_or_else(|| self.wrong(expected))
            }
            Change::Remove => Err(self.no_change()),
        }
    }

    fn string(&self) -> Result<String, String> {
        match self.value("a string")? {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong("a string")),
        }
    }

    fn integer<N: FromStr>(&self, expected: &str) -> Result<N, String> {
        match self.value(expected)? {
            Value::Number(text) => text.parse().map_err(|_| self.wrong(expected)),
            _ => Err(self.wrong(expected)),
        }
    }

    fn natural(&self) -> Result<u64, String> {
        self.integer("an integer of 64 bits, not negative")
    }

    /// Whether the field takes the value: always for `set`, where it has none
    /// for `add`.
    fn takes(&self, empty: bool) -> bool {
        matches!(self.change, Change::Set(_)) || empty
    }

    fn text(&self, slot: &mut String) -> Result<(), String> {
        let value = self.string()?;
        if self.takes(slot.is_empty()) {
            *slot = value;
        }
        Ok(())
    }

    fn flag(&self, slot: &mut bool) -> Result<(), String> {
        let Change::Set(_) = self.change else {
            return Err(self.no_change());
        };
        match self.value("true or false")? {
            Value::Bool(value) => *slot = value,
            _ => return Err(self.wrong("true or false")),
        }
        Ok(())
    }

    fn number<N: FromStr + Default + PartialEq>(
        &self,
        slot: &mut N,
        expected: &str,
    ) -> Result<(), String> {
        let value = self.integer(expected)?;
        if self.takes(*slot == N::default()) {
            *slot = value;
        }
        Ok(())
    }

    fn option<T>(
        &self,
        slot: &mut Option<T>,
        read: impl Fn(&Self) -> Result<T, String>,
    ) -> Result<(), String> {
        if matches!(self.change, Change::Remove) {
            *slot = None;
            return Ok(());
        }
        let value = read(self)?;
        if self.takes(slot.is_none()) {
            *slot = Some(value);
        }
        Ok(())
    }

    fn count(&self, slot: &mut u32) -> Result<(), String> {
        self.number(slot, "an integer of 32 bits, not negative")
    }

    fn amount(&self, slot: &mut i64) -> Result<(), String> {
        const EXPECTED: &str = "an integer of 63 bits, not negative";
        if self.integer::<i64>(EXPECTED)? < 0 {
            return Err(self.wrong(EXPECTED));
        }
        self.number(slot, EXPECTED)
    }

    fn role(&self, role: &mut Role, field: &str) -> Result<(), String> {
        match field {
            "count" => self.count(&mut role.count),
            "min" => self.count(&mut role.min),
            "cpu" => self.amount(&mut role.cpu),
            "memory" => self.amount(&mut role.memory),
            "disk" => self.amount(&mut role.disk),
            "network" => self.amount(&mut role.network),
            "gpu-count" => self.count(&mut role.gpu_count),
            "gpu-milli" => self.count(&mut role.gpu_milli),
            "gpu-memory" => self.amount(&mut role.gpu_memory),
            "gpu-models" => self.models(&mut role.gpu_models),
            _ => Err(self.unknown()),
        }
    }

    fn models(&self, models: &mut Vec<String>) -> Result<(), String> {
        match self.change {
            Change::Remove => models.clear(),
            Change::Add(_) => {
                let model = self.string()?;
                if !models.contains(&model) {
                    models.push(model);
                }
            }
            Change::Set(_) => match self.value("an array of strings")? {
                Value::Texts(items) => *models = items,
                _ => return Err(self.wrong("an array of strings")),
            },
        }
        Ok(())
    }
}

// === Between a job and what policies see of it ===

/// Name of the only role of a job that is no gang.
pub(super) const MAIN: &str = "main";

/// The job as policies see it.
pub(super) fn view_of(job: &JobSpec) -> JobView {
    let meta = &job.meta;
    let app = match job.template.app.as_str() {
        "" => &job.id,
        app => app,
    };
    let roles = match &job.gang {
        None => vec![role_of(MAIN, job.replicas, 1, &job.template)],
        Some(gang) => gang
            .roles
            .iter()
            .map(|r| role_of(&r.name, r.count, r.min, &r.template))
            .collect(),
    };
    JobView {
        id: job.id.clone(),
        namespace: meta.namespace.clone(),
        queue: meta.queue.clone(),
        kind: job.kind,
        app: app.to_owned(),
        priority: job.template.priority,
        tier: meta.tier.clone(),
        image: meta.image.clone(),
        run_as_root: meta.run_as_root,
        privileged: meta.privileged,
        seccomp: meta.seccomp.clone(),
        runtime_limit: meta.runtime_limit_ms,
        deadline: meta.deadline_ms,
        labels: meta
            .labels
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        roles,
    }
}

fn role_of(name: &str, count: u32, min: u32, pod: &PodSpec) -> Role {
    Role {
        name: name.to_owned(),
        count,
        min,
        cpu: pod.requests.cpu_milli,
        memory: pod.requests.memory_mib,
        disk: pod.requests.disk_mib,
        network: pod.requests.network_mbps,
        gpu_count: pod.gpu.count,
        gpu_milli: pod.gpu.milli,
        gpu_memory: pod.gpu.memory_mib,
        gpu_models: pod.gpu.models.clone(),
    }
}

/// Writes what changed from `before` to `after` into the job.
///
/// # Errors
/// A change that a job of its form cannot have.
pub(super) fn write_back(
    job: &mut JobSpec,
    before: &JobView,
    after: JobView,
) -> Result<(), String> {
    let meta = &mut job.meta;
    meta.namespace = after.namespace;
    meta.queue = after.queue;
    meta.tier = after.tier;
    meta.image = after.image;
    meta.run_as_root = after.run_as_root;
    meta.privileged = after.privileged;
    meta.seccomp = after.seccomp;
    meta.runtime_limit_ms = after.runtime_limit;
    meta.deadline_ms = after.deadline;
    meta.labels = after.labels.into_iter().collect();
    if after.app != before.app {
        job.template.app = after.app;
    }
    job.template.priority = after.priority;
    match &mut job.gang {
        None => {
            let main = &after.roles[0];
            if main.min != 1 {
                return Err(format!(
                    "`/roles/{MAIN}/min` is {}, but the pods of a job without gang start one by one",
                    main.min
                ));
            }
            job.replicas = main.count;
            write_role(&mut job.template, main);
        }
        Some(gang) => {
            for (role, new) in gang.roles.iter_mut().zip(&after.roles) {
                role.count = new.count;
                role.min = new.min;
                write_role(&mut role.template, new);
            }
            let pods = gang.roles.iter().map(|r| u64::from(r.count)).sum::<u64>();
            job.replicas = u32::try_from(pods).unwrap_or(u32::MAX);
        }
    }
    Ok(())
}

/// Writes a role's amounts into a pod or its template.
pub(super) fn write_role(pod: &mut PodSpec, role: &Role) {
    pod.requests.cpu_milli = role.cpu;
    pod.requests.memory_mib = role.memory;
    pod.requests.disk_mib = role.disk;
    pod.requests.network_mbps = role.network;
    pod.gpu.count = role.gpu_count;
    pod.gpu.milli = role.gpu_milli;
    pod.gpu.memory_mib = role.gpu_memory;
    pod.gpu.models.clone_from(&role.gpu_models);
}

#[cfg(test)]
mod tests;
