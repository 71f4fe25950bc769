//! The rules as an operator writes them. `settle` says which lists of them go
//! together.

mod settle;

use loadmaster_sdk::admission::{Field, JobKind, RoleField, Value, pointer};
use loadmaster_sdk::settings::Settings as Reader;

use crate::matcher::{Gpu, When};
use crate::rollout::BUCKETS;

/// Most rules. `configure` compares the fields of each with those of each other.
const RULES_MAX: usize = 128;

/// Most fields of one rule, patterns of one list, and labels of one matcher.
const ENTRIES_MAX: usize = 32;

/// Longest id, in bytes; it is part of every reason.
const ID_MAX: usize = 63;

/// Longest reason, in bytes; it is written down with every job.
const REASON_MAX: usize = 512;

/// Highest version.
const VERSION_MAX: i64 = 1_000_000;

/// The name that stands for every role.
const EVERY_ROLE: &str = "*";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Also change jobs that are edited.
    pub(crate) updates: bool,
    /// In the order in which they apply.
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) when: When,
    /// Each value is of the type of its field.
    pub(crate) set: Vec<(Target, Value)>,
    /// Also where there is a value.
    pub(crate) force: bool,
    pub(crate) reason: String,
    /// Buckets below this are reached.
    pub(crate) rollout: u64,
}

/// What a rule gives a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Field(Field),
    /// A field of every role that the rule is for.
    EveryRole(RoleField),
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut r = Reader::parse(text)?;
        let updates = r.boolean("updates", true)?;
        let sections = r.sections("rules")?;
        within("rules", sections.len(), RULES_MAX)?;
        let rules: Vec<Rule> = sections.into_iter().map(rule).collect::<Result<_, _>>()?;
        r.finish()?;
        settle::check(&rules)?;
        Ok(Self { updates, rules })
    }
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        match Field::parse(text)? {
            // The rollout goes by namespace: a job must not move under it.
            Field::Namespace => None,
            Field::Role(name, field) if name == EVERY_ROLE => Some(Self::EveryRole(field)),
            field => Some(Self::Field(field)),
        }
    }

    /// Whether both can stand for the same field of a job.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::EveryRole(x), Self::Field(Field::Role(_, y)))
            | (Self::Field(Field::Role(_, y)), Self::EveryRole(x)) => x == y,
            (a, b) => a == b,
        }
    }

    pub(crate) fn pointer(&self) -> String {
        match self {
            Self::Field(field) => field.pointer(),
            Self::EveryRole(field) => pointer(&["roles", EVERY_ROLE, field.name()]),
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        let field = match self {
            Self::Field(field) => field.clone(),
            Self::EveryRole(field) => Field::Role(EVERY_ROLE.to_owned(), *field),
        };
        field.check(value).map_err(|error| error.to_string())?;
        // Conditions look at these: if a rule could empty them, one before it
        // could fill them again for the next way through.
        let zero = Value::from(0);
        let empties = match field {
            Field::Tier => *value == Value::from(""),
            Field::Role(_, RoleField::GpuCount) => *value == zero,
            _ => false,
        };
        if empties {
            return Err(format!("`{}` cannot be emptied by a rule", self.pointer()));
        }
        Ok(())
    }
}

fn within(what: &str, len: usize, max: usize) -> Result<(), String> {
    if len > max {
        return Err(format!("`{what}` has {len} entries, {max} are allowed"));
    }
    Ok(())
}

fn rule(mut s: Reader) -> Result<Rule, String> {
    let id = s.text("id", "")?;
    let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if id.is_empty() || id.len() > ID_MAX || !id.bytes().all(legal) {
        return Err(format!(
            "`{}` is \"{id}\", expected 1 to {ID_MAX} of a-z, 0-9 and -",
            s.name("id")
        ));
    }
    let reason = s.text("reason", "")?;
    if reason.trim().is_empty() || reason.len() > REASON_MAX {
        return Err(format!(
            "`{}` has {} bytes, expected a sentence of up to {REASON_MAX}",
            s.name("reason"),
            reason.len()
        ));
    }
    if !s.has("version") {
        return Err(format!("`{}` is missing", s.name("version")));
    }
    let mut w = s.section("when")?;
    let when = when(&mut w)?;
    w.finish()?;
    let force = s.boolean("force", false)?;
    let rule = Rule {
        id,
        version: s.integer("version", 1..=VERSION_MAX, 1)? as u32,
        when,
        set: set(&mut s, force)?,
        force,
        reason,
        rollout: s.integer("rollout", 0..=BUCKETS as i64, BUCKETS as i64)? as u64,
    };
    s.finish()?;
    Ok(rule)
}

fn when(w: &mut Reader) -> Result<When, String> {
    let kind = [
        ("any", None),
        ("batch", Some(JobKind::Batch)),
        ("service", Some(JobKind::Service)),
    ];
    let gpu = [("any", Gpu::Any), ("yes", Gpu::Yes), ("no", Gpu::No)];
    let mut patterns = |key: &'static str| {
        let patterns = w.texts(key)?;
        within(&w.name(key), patterns.len(), ENTRIES_MAX)?;
        Ok::<_, String>(patterns)
    };
    Ok(When {
        namespaces: patterns("namespaces")?,
        tiers: patterns("tiers")?,
        kind: w.choice("kind", &kind)?,
        gpu: w.choice("gpu", &gpu)?,
        labels: labels(w)?,
    })
}

fn labels(w: &mut Reader) -> Result<Vec<(String, String)>, String> {
    let entries = w.entries("labels")?;
    within(&w.name("labels"), entries.len(), ENTRIES_MAX)?;
    let mut labels = Vec::new();
    for (key, value) in entries {
        let Value::String(pattern) = value else {
            let at = w.name("labels");
            return Err(format!(
                "`{at}.{key}` is {}, expected a string",
                value.kind()
            ));
        };
        labels.push((key, pattern));
    }
    Ok(labels)
}

fn set(s: &mut Reader, force: bool) -> Result<Vec<(Target, Value)>, String> {
    let entries = s.entries("set")?;
    let at = s.name("set");
    if entries.is_empty() {
        return Err(format!("`{at}` is empty, expected fields and their values"));
    }
    within(&at, entries.len(), ENTRIES_MAX)?;
    let mut set: Vec<(Target, Value)> = Vec::new();
    for (key, value) in entries {
        let Some(target) = Target::parse(&key) else {
            return Err(format!(
                "`{at}` has `{key}`, which is not a field that rules may set"
            ));
        };
        target.check(&value).map_err(|e| format!("`{at}`: {e}"))?;
        let flag = [Field::RunAsRoot, Field::Privileged].map(Target::Field);
        if !force && flag.contains(&target) {
            return Err(format!(
                "`{at}` has `{key}`, which always has a value: it needs `force`"
            ));
        }
        // Two ways to name one field would need a word on which one counts.
        let twice = set.iter().find(|(t, _)| t.overlaps(&target));
        if let Some((other, _)) = twice {
            let other = other.pointer();
            return Err(format!("`{at}` has `{other}` and `{key}` for one field"));
        }
        set.push((target, value));
    }
    Ok(set)
}
