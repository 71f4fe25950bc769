//! From rules to patches.
//!
//! The rules are applied to a copy, in order, each seeing what those before it
//! did. Then each field that ended up different gets one patch, of the rule that
//! had the last word. So a job that has been through here needs no patch, and a
//! patch says what is, not how it came to be.

use std::borrow::Cow;

use loadmaster_sdk::admission::{Field, Job, Patch, Role, RoleField, Value};

use crate::rollout;
use crate::settings::{Rule, Target};

/// The patches that `rules` want for `job`.
pub(crate) fn rewrite(rules: &[Rule], job: &Job) -> Vec<Patch> {
    // Most jobs need nothing: then nothing is copied.
    let mut result = Cow::Borrowed(job);
    let mut writes: Vec<(Field, Patch)> = Vec::new();
    for rule in rules {
        let Some(bucket) = rollout::reached(rules, rule, &job.namespace) else {
            continue;
        };
        if !rule.when.fits(&result) {
            continue;
        }
        // All of a rule sees the job as it was when its turn came.
        let mut fields: Vec<(Field, &Value)> = Vec::new();
        for (target, value) in &rule.set {
            targets(rule, target, &result, |field| {
                if rule.force || absent(&field, &result) {
                    fields.push((field, value));
                }
            });
        }
        for (field, value) in fields {
            let patch = patch(rule, bucket, &field, value);
            // `configure` has checked every value against its field.
            if patch.apply_to(result.to_mut()).is_ok() {
                writes.retain(|(f, _)| *f != field);
                writes.push((field, patch));
            }
        }
    }
    writes.retain(|(field, _)| !field.same(job, &result));
    writes.into_iter().map(|(_, patch)| patch).collect()
}

/// The fields of this job that a target stands for.
fn targets(rule: &Rule, target: &Target, job: &Job, mut each: impl FnMut(Field)) {
    let mut role = |role: &Role, field: RoleField| {
        if rule.when.fits_role(role) {
            each(Field::Role(role.name.clone(), field));
        }
    };
    match target {
        Target::EveryRole(field) => job.roles.iter().for_each(|r| role(r, *field)),
        Target::Field(Field::Role(name, field)) => {
            if let Some(r) = job.role(name) {
                role(r, *field);
            }
        }
        Target::Field(field) => {
            if rule.when.fits_roles(job) {
                each(field.clone());
            }
        }
    }
}

fn patch(rule: &Rule, bucket: u64, field: &Field, value: &Value) -> Patch {
    let Rule {
        id,
        version,
        rollout,
        reason,
        ..
    } = rule;
    let reason = format!(
        "{id}@{version}: {reason} (bucket {bucket} of {}, rolled out below {rollout})",
        rollout::BUCKETS
    );
    let pointer = field.pointer();
    // `add` takes one model, not the list; here the list is known to be empty.
    let list = matches!(field, Field::Role(_, RoleField::GpuModels));
    if rule.force || list {
        Patch::set(&pointer, value.clone(), &reason)
    } else {
        Patch::add(&pointer, value.clone(), &reason)
    }
}

/// Whether the field has no value that somebody chose.
fn absent(field: &Field, job: &Job) -> bool {
    match field {
        Field::Namespace => job.namespace.is_empty(),
        Field::Queue => job.queue.is_empty(),
        Field::App => job.app.is_empty(),
        Field::Tier => job.tier.is_empty(),
        Field::Image => job.image.is_empty(),
        Field::Priority => job.priority == 0,
        // Neither answer is "not said", so only `force` changes them.
        Field::RunAsRoot | Field::Privileged => false,
        Field::Seccomp => job.seccomp.is_none(),
        Field::RuntimeLimit => job.runtime_limit.is_none(),
        Field::Deadline => job.deadline.is_none(),
        Field::Label(key) => job.label(key).is_none(),
        Field::Role(name, field) => job.role(name).is_some_and(|role| match field {
            RoleField::Count => role.count == 0,
            RoleField::Min => role.min == 0,
            RoleField::Cpu => role.cpu == 0,
            RoleField::Memory => role.memory == 0,
            RoleField::Disk => role.disk == 0,
            RoleField::Network => role.network == 0,
            RoleField::GpuCount => role.gpu_count == 0,
            RoleField::GpuMilli => role.gpu_milli == 0,
            RoleField::GpuMemory => role.gpu_memory == 0,
            RoleField::GpuModels => role.gpu_models.is_empty(),
        }),
    }
}
