//! What patches do to a job, after the table in the SDK's documentation of the
//! admission kind. The host has its own; two that agree are how the kit knows.

use engine::port::admission::{Change, JobView, Patch, Role};
use serde_json::Value;

/// The job after these patches, in order.
///
/// # Errors
/// The first that cannot be applied, in words.
pub(super) fn apply(job: &JobView, patches: &[Patch]) -> Result<JobView, String> {
    let mut job = job.clone();
    for patch in patches {
        if patch.reason.trim().is_empty() {
            return Err(format!("the patch of `{}` has no reason", patch.field));
        }
        one(&mut job, patch).map_err(|why| format!("`{}`: {why}", patch.field))?;
    }
    Ok(job)
}

fn one(job: &mut JobView, patch: &Patch) -> Result<(), String> {
    let path = patch.field.strip_prefix('/').unwrap_or_default();
    let parts: Option<Vec<String>> = path.split('/').map(unescape).collect();
    let parts = parts.unwrap_or_default();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let to = To::new(&patch.change)?;
    match parts[..] {
        ["namespace"] => to.text(&mut job.namespace),
        ["queue"] => to.text(&mut job.queue),
        ["app"] => to.text(&mut job.app),
        ["tier"] => to.text(&mut job.tier),
        ["image"] => to.text(&mut job.image),
        ["priority"] => to.number(&mut job.priority, i64::from(i32::MIN)..=i64::from(i32::MAX)),
        ["run-as-root"] => to.flag(&mut job.run_as_root),
        ["privileged"] => to.flag(&mut job.privileged),
        ["seccomp"] => to.option(&mut job.seccomp, string),
        ["runtime-limit"] => to.option(&mut job.runtime_limit, natural),
        ["deadline"] => to.option(&mut job.deadline, natural),
        ["labels", key] if !key.is_empty() => label(job, key, &to),
        ["roles", name, field] => match job.roles.iter_mut().find(|r| r.name == name) {
            Some(role) => of_role(role, field, &to),
            None => Err("the job has no such role".to_owned()),
        },
        _ => Err("no field that a patch may change".to_owned()),
    }
}

fn unescape(part: &str) -> Option<String> {
    let rest = part.replace("~0", "").replace("~1", "");
    (!rest.contains('~')).then(|| part.replace("~1", "/").replace("~0", "~"))
}

fn label(job: &mut JobView, key: &str, to: &To) -> Result<(), String> {
    let at = job.labels.iter().position(|(k, _)| k == key);
    let mut value = at.map(|i| job.labels[i].1.clone());
    to.option(&mut value, string)?;
    job.labels.retain(|(k, _)| k != key);
    if let Some(value) = value {
        job.labels.push((key.to_owned(), value));
    }
    job.labels.sort_unstable();
    Ok(())
}

fn of_role(role: &mut Role, field: &str, to: &To) -> Result<(), String> {
    const NATURAL_32: std::ops::RangeInclusive<i64> = 0..=u32::MAX as i64;
    const NATURAL_63: std::ops::RangeInclusive<i64> = 0..=i64::MAX;
    match field {
        "count" => to.number(&mut role.count, NATURAL_32),
        "min" => to.number(&mut role.min, NATURAL_32),
        "cpu" => to.number(&mut role.cpu, NATURAL_63),
        "memory" => to.number(&mut role.memory, NATURAL_63),
        "disk" => to.number(&mut role.disk, NATURAL_63),
        "network" => to.number(&mut role.network, NATURAL_63),
        "gpu-count" => to.number(&mut role.gpu_count, NATURAL_32),
        "gpu-milli" => to.number(&mut role.gpu_milli, NATURAL_32),
        "gpu-memory" => to.number(&mut role.gpu_memory, NATURAL_63),
        "gpu-models" => to.models(&mut role.gpu_models),
        _ => Err("no field of a role that a patch may change".to_owned()),
    }
}

/// A change with its value read.
enum To {
    Set(Value),
    Add(Value),
    Remove,
}

impl To {
    fn new(change: &Change) -> Result<Self, String> {
        let read = |text: &str| {
            serde_json::from_str(text).map_err(|e| format!("{text:?} is not JSON: {e}"))
        };
        Ok(match change {
            Change::Set(text) => Self::Set(read(text)?),
            Change::Add(text) => Self::Add(read(text)?),
            Change::Remove => Self::Remove,
        })
    }

    fn option<T>(&self, slot: &mut Option<T>, read: fn(&Value) -> Option<T>) -> Result<(), String> {
        match self {
            Self::Set(value) => *slot = Some(read(value).ok_or_else(|| no(value))?),
            Self::Add(value) => {
                let value = read(value).ok_or_else(|| no(value))?;
                slot.get_or_insert(value);
            }
            Self::Remove => *slot = None,
        }
        Ok(())
    }

    /// For a field that always has a value, and may have one that says nothing.
    fn plain<T>(
        &self,
        slot: &mut T,
        empty: bool,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<(), String> {
        let (value, takes) = match self {
            Self::Set(value) => (value, true),
            Self::Add(value) => (value, empty),
            Self::Remove => return Err("it cannot be removed".to_owned()),
        };
        let value = read(value).ok_or_else(|| no(value))?;
        if takes {
            *slot = value;
        }
        Ok(())
    }

    fn text(&self, slot: &mut String) -> Result<(), String> {
        let empty = slot.is_empty();
        self.plain(slot, empty, string)
    }

    fn number<T>(&self, slot: &mut T, range: std::ops::RangeInclusive<i64>) -> Result<(), String>
    where
        T: TryFrom<i64> + Default + PartialEq,
    {
        let empty = *slot == T::default();
        self.plain(slot, empty, |v| {
            let number = v.as_i64().filter(|n| range.contains(n))?;
            T::try_from(number).ok()
        })
    }

    fn flag(&self, slot: &mut bool) -> Result<(), String> {
        match self {
            Self::Set(_) => self.plain(slot, true, Value::as_bool),
            _ => Err("it is true or false, and can only be set".to_owned()),
        }
    }

    fn models(&self, slot: &mut Vec<String>) -> Result<(), String> {
        match self {
            Self::Set(value) => {
                let list = value.as_array().ok_or_else(|| no(value))?;
                let list: Option<Vec<String>> = list.iter().map(string).collect();
                *slot = list.ok_or_else(|| no(value))?;
            }
            Self::Add(value) => {
                let model = string(value).ok_or_else(|| no(value))?;
                if !slot.contains(&model) {
                    slot.push(model);
                }
            }
            Self::Remove => slot.clear(),
        }
        Ok(())
    }
}

fn no(value: &Value) -> String {
    format!("it does not take {value}")
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn natural(value: &Value) -> Option<u64> {
    value.as_u64()
}
