//! Patches: how to make them, and what they do to a job. The table of fields is
//! in the documentation of [`super`].

use std::fmt;

use super::wit::{Change, Job, Label, Patch, Role};
use crate::json::{self, Value};

impl Patch {
    /// Gives a field a value, whatever it had.
    #[must_use]
    pub fn set(field: &str, value: impl Into<Value>, reason: &str) -> Self {
        Self::new(field, Change::Set(value.into().to_string()), reason)
    }

    /// Gives a field a value if it has none.
    #[must_use]
    pub fn add(field: &str, value: impl Into<Value>, reason: &str) -> Self {
        Self::new(field, Change::Add(value.into().to_string()), reason)
    }

    /// Takes a field's value away.
    #[must_use]
    pub fn remove(field: &str, reason: &str) -> Self {
        Self::new(field, Change::Remove, reason)
    }

    /// Makes this change to a job.
    ///
    /// # Errors
    /// The field or the value is not one that can be patched; the job is then as
    /// it was.
    pub fn apply_to(&self, job: &mut Job) -> Result<(), PatchError> {
        apply_one(job, self)
    }

    fn new(field: &str, change: Change, reason: &str) -> Self {
        Self {
            field: field.to_owned(),
            change,
            reason: reason.to_owned(),
        }
    }
}

/// A JSON pointer from its parts: `pointer(&["labels", "a/b"])` is
/// `/labels/a~1b`.
#[must_use]
pub fn pointer(parts: &[&str]) -> String {
    let mut out = String::new();
    for part in parts {
        out.push('/');
        out.push_str(&part.replace('~', "~0").replace('/', "~1"));
    }
    out
}

/// A field that a patch may change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the fields of the contract")]
pub enum Field {
    Namespace,
    Queue,
    App,
    Priority,
    Tier,
    Image,
    RunAsRoot,
    Privileged,
    Seccomp,
    RuntimeLimit,
    Deadline,
    /// The label with this key.
    Label(String),
    /// A field of the role with this name.
    Role(String, RoleField),
}

/// A field of a role that a patch may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the fields of the contract")]
pub enum RoleField {
    Count,
    Min,
    Cpu,
    Memory,
    Disk,
    Network,
    GpuCount,
    GpuMilli,
    GpuMemory,
    GpuModels,
}

const PLAIN: [(&str, Field); 11] = [
    ("namespace", Field::Namespace),
    ("queue", Field::Queue),
    ("app", Field::App),
    ("priority", Field::Priority),
    ("tier", Field::Tier),
    ("image", Field::Image),
    ("run-as-root", Field::RunAsRoot),
    ("privileged", Field::Privileged),
    ("seccomp", Field::Seccomp),
    ("runtime-limit", Field::RuntimeLimit),
    ("deadline", Field::Deadline),
];

const OF_ROLE: [(&str, RoleField); 10] = [
    ("count", RoleField::Count),
    ("min", RoleField::Min),
    ("cpu", RoleField::Cpu),
    ("memory", RoleField::Memory),
    ("disk", RoleField::Disk),
    ("network", RoleField::Network),
    ("gpu-count", RoleField::GpuCount),
    ("gpu-milli", RoleField::GpuMilli),
    ("gpu-memory", RoleField::GpuMemory),
    ("gpu-models", RoleField::GpuModels),
];

impl RoleField {
    /// The field of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        OF_ROLE.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
    }

    /// Its name in the contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        OF_ROLE
            .iter()
            .find(|(_, f)| *f == self)
            .map_or("", |(n, _)| n)
    }

    fn same(self, a: &Role, b: &Role) -> bool {
        match self {
            Self::Count => a.count == b.count,
            Self::Min => a.min == b.min,
            Self::Cpu => a.cpu == b.cpu,
            Self::Memory => a.memory == b.memory,
            Self::Disk => a.disk == b.disk,
            Self::Network => a.network == b.network,
            Self::GpuCount => a.gpu_count == b.gpu_count,
            Self::GpuMilli => a.gpu_milli == b.gpu_milli,
            Self::GpuMemory => a.gpu_memory == b.gpu_memory,
            Self::GpuModels => a.gpu_models == b.gpu_models,
        }
    }
}

impl Field {
    /// The field a JSON pointer names; none if patches may not change it.
    #[must_use]
    pub fn parse(pointer: &str) -> Option<Self> {
        let parts: Vec<&str> = pointer.strip_prefix('/')?.split('/').collect();
        match parts[..] {
            [name] => PLAIN
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, f)| f.clone()),
            ["labels", key] => unescape(key).filter(|k| !k.is_empty()).map(Self::Label),
            ["roles", role, name] => Some(Self::Role(unescape(role)?, RoleField::parse(name)?)),
            _ => None,
        }
    }

    /// Its JSON pointer.
    #[must_use]
    pub fn pointer(&self) -> String {
        match self {
            Self::Label(key) => pointer(&["labels", key]),
            Self::Role(role, field) => pointer(&["roles", role, field.name()]),
            plain => PLAIN
                .iter()
                .find(|(_, f)| f == plain)
                .map_or_else(String::new, |(n, _)| pointer(&[n])),
        }
    }

    /// Whether it has the same value in both jobs; a role that is not there has
    /// none.
    #[must_use]
    pub fn same(&self, a: &Job, b: &Job) -> bool {
        match self {
            Self::Namespace => a.namespace == b.namespace,
            Self::Queue => a.queue == b.queue,
            Self::App => a.app == b.app,
            Self::Priority => a.priority == b.priority,
            Self::Tier => a.tier == b.tier,
            Self::Image => a.image == b.image,
            Self::RunAsRoot => a.run_as_root == b.run_as_root,
            Self::Privileged => a.privileged == b.privileged,
            Self::Seccomp => a.seccomp == b.seccomp,
            Self::RuntimeLimit => a.runtime_limit == b.runtime_limit,
            Self::Deadline => a.deadline == b.deadline,
            Self::Label(key) => a.label(key) == b.label(key),
            Self::Role(name, field) => match (a.role(name), b.role(name)) {
                (Some(a), Some(b)) => field.same(a, b),
                (a, b) => a.is_none() && b.is_none(),
            },
        }
    }

    /// Whether `set` takes this value.
    ///
    /// # Errors
    /// What the field takes.
    pub fn check(&self, value: &Value) -> Result<(), PatchError> {
        let mut probe = Job::default();
        if let Self::Role(name, _) = self {
            probe.roles.push(Role {
                name: name.clone(),
                ..Role::default()
            });
        }
        Patch::set(&self.pointer(), value.clone(), "").apply_to(&mut probe)
    }
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

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchError {
    /// The field is not one that patches may change.
    Field {
        /// The pointer as given.
        field: String,
    },
    /// The job has no such role.
    Role {
        /// The pointer as given.
        field: String,
    },
    /// The value is not JSON, or of another type than the field's.
    Value {
        /// The pointer as given.
        field: String,
        /// What the field takes.
        expected: &'static str,
    },
    /// The field cannot be added to or removed.
    Change {
        /// The pointer as given.
        field: String,
    },
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field } => write!(f, "`{field}` is not a field that a patch may change"),
            Self::Role { field } => write!(f, "`{field}` names a role that the job does not have"),
            Self::Value { field, expected } => write!(f, "`{field}` takes {expected}"),
            Self::Change { field } => write!(f, "`{field}` always has a value: use `set`"),
        }
    }
}

impl std::error::Error for PatchError {}

/// The job after these patches, in order.
///
/// # Errors
/// The first patch that cannot be applied; the host applies none of them then.
pub fn apply(job: &Job, patches: &[Patch]) -> Result<Job, PatchError> {
    let mut job = job.clone();
    for patch in patches {
        apply_one(&mut job, patch)?;
    }
    Ok(job)
}

fn apply_one(job: &mut Job, patch: &Patch) -> Result<(), PatchError> {
    let at = patch.field.as_str();
    let Some(field) = Field::parse(at) else {
        return Err(PatchError::Field {
            field: at.to_owned(),
        });
    };
    let step = Step {
        at,
        change: &patch.change,
    };
    match field {
        Field::Namespace => step.text(&mut job.namespace),
        Field::Queue => step.text(&mut job.queue),
        Field::App => step.text(&mut job.app),
        Field::Tier => step.text(&mut job.tier),
        Field::Image => step.text(&mut job.image),
        Field::Priority => step.number(&mut job.priority, "an integer of 32 bits", |n| n == 0),
        Field::RunAsRoot => step.flag(&mut job.run_as_root),
        Field::Privileged => step.flag(&mut job.privileged),
        Field::Seccomp => step.option(&mut job.seccomp, |s| s.string()),
        Field::RuntimeLimit => step.option(&mut job.runtime_limit, Step::natural),
        Field::Deadline => step.option(&mut job.deadline, Step::natural),
        Field::Label(key) => {
            let slot = job.labels.iter().position(|l| l.key == key);
            let mut value = slot.map(|i| job.labels[i].value.clone());
            step.option(&mut value, |s| s.string())?;
            match (slot, value) {
                (Some(i), Some(value)) => job.labels[i].value = value,
                (None, Some(value)) => job.labels.push(Label { key, value }),
                (_, None) => job.labels.retain(|l| l.key != key),
            }
            Ok(())
        }
        Field::Role(name, field) => {
            let Some(role) = job.roles.iter_mut().find(|r| r.name == name) else {
                return Err(PatchError::Role {
                    field: at.to_owned(),
                });
            };
            step.role(role, field)
        }
    }
}

/// One patch, with the field already found.
struct Step<'a> {
    at: &'a str,
    change: &'a Change,
}

impl Step<'_> {
    fn wrong(&self, expected: &'static str) -> PatchError {
        PatchError::Value {
            field: self.at.to_owned(),
            expected,
        }
    }

    fn no_change(&self) -> PatchError {
        PatchError::Change {
            field: self.at.to_owned(),
        }
    }

    /// The value of `set` or `add`.
    fn value(&self) -> Result<Value, PatchError> {
        match self.change {
            Change::Set(text) | Change::Add(text) => {
                json::parse(text).map_err(|_| self.wrong("JSON text"))
            }
            Change::Remove => Err(self.no_change()),
        }
    }

    fn string(&self) -> Result<String, PatchError> {
        match self.value()? {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong("a string")),
        }
    }

    fn integer<N: std::str::FromStr>(&self, expected: &'static str) -> Result<N, PatchError> {
        match self.value()? {
            Value::Number(text) => text.parse().map_err(|_| self.wrong(expected)),
            _ => Err(self.wrong(expected)),
        }
    }

    fn natural(&self) -> Result<u64, PatchError> {
        self.integer("an integer of 64 bits, not negative")
    }

    /// Whether the field takes the value: always for `set`, where it has none
    /// for `add`.
    fn takes(&self, empty: bool) -> bool {
        matches!(self.change, Change::Set(_)) || empty
    }

    fn text(&self, slot: &mut String) -> Result<(), PatchError> {
        let value = self.string()?;
        if self.takes(slot.is_empty()) {
            *slot = value;
        }
        Ok(())
    }

    fn flag(&self, slot: &mut bool) -> Result<(), PatchError> {
        match (self.change, self.value()?) {
            (Change::Set(_), Value::Bool(value)) => {
                *slot = value;
                Ok(())
            }
            (Change::Set(_), _) => Err(self.wrong("true or false")),
            _ => Err(self.no_change()),
        }
    }

    fn number<N: std::str::FromStr + Copy>(
        &self,
        slot: &mut N,
        expected: &'static str,
        zero: impl Fn(N) -> bool,
    ) -> Result<(), PatchError> {
        let value = self.integer(expected)?;
        if self.takes(zero(*slot)) {
            *slot = value;
        }
        Ok(())
    }

    fn option<T>(
        &self,
        slot: &mut Option<T>,
        read: impl Fn(&Self) -> Result<T, PatchError>,
    ) -> Result<(), PatchError> {
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

    fn count(&self, slot: &mut u32) -> Result<(), PatchError> {
        self.number(slot, "an integer of 32 bits, not negative", |n| n == 0)
    }

    fn amount(&self, slot: &mut i64) -> Result<(), PatchError> {
        const EXPECTED: &str = "an integer of 63 bits, not negative";
        if self.integer::<i64>(EXPECTED)? < 0 {
            return Err(self.wrong(EXPECTED));
        }
        self.number(slot, EXPECTED, |n| n == 0)
    }

    fn role(&self, role: &mut Role, field: RoleField) -> Result<(), PatchError> {
        match field {
            RoleField::Count => self.count(&mut role.count),
            RoleField::Min => self.count(&mut role.min),
            RoleField::Cpu => self.amount(&mut role.cpu),
            RoleField::Memory => self.amount(&mut role.memory),
            RoleField::Disk => self.amount(&mut role.disk),
            RoleField::Network => self.amount(&mut role.network),
            RoleField::GpuCount => self.count(&mut role.gpu_count),
            RoleField::GpuMilli => self.count(&mut role.gpu_milli),
            RoleField::GpuMemory => self.amount(&mut role.gpu_memory),
            RoleField::GpuModels => self.models(&mut role.gpu_models),
        }
    }

    fn models(&self, models: &mut Vec<String>) -> Result<(), PatchError> {
        match self.change {
            Change::Remove => models.clear(),
            Change::Add(_) => {
                let model = self.string()?;
                if !models.contains(&model) {
                    models.push(model);
                }
            }
            Change::Set(_) => {
                let wrong = || self.wrong("an array of strings");
                let Value::Array(items) = self.value()? else {
                    return Err(wrong());
                };
                let text = |item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(wrong()),
                };
                *models = items.into_iter().map(text).collect::<Result<_, _>>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
