//! Which lists of rules settle: a job that has been through them stays as it is
//! when it goes through them again. Found here, an operator sees it at upload and
//! not in a job that flips with every edit.
//!
//! Two things could go wrong the second time, and each is refused:
//! - a rule applies that did not, because a later one set what it is for;
//! - a rule no longer applies, because it or a later one changed what it looks
//!   at, and a rule before it now has the last word on a field of both.
//!
//! Versions of one rule are not held against each other: only one is in force.

use loadmaster_sdk::admission::{Field, RoleField, Value};

use super::{Rule, Target};
use crate::matcher::{Gpu, When, glob};

/// # Errors
/// Which rules, and what to do about them.
pub(super) fn check(rules: &[Rule]) -> Result<(), String> {
    for (i, rule) in rules.iter().enumerate() {
        let twin = |r: &Rule| r.id == rule.id && r.version == rule.version;
        if let Some(j) = rules[..i].iter().position(twin) {
            return Err(format!(
                "`rules[{j}]` and `rules[{i}]` are both {}@{}: give the newer one a higher version",
                rule.id, rule.version
            ));
        }
        applies_later(rules, i)?;
        applies_no_more(rules, i)?;
    }
    Ok(())
}

/// Rules of other ids with their places.
fn others<'a>(rules: &'a [Rule], id: &'a str) -> impl Iterator<Item = (usize, &'a Rule)> {
    rules.iter().enumerate().filter(move |(_, r)| r.id != id)
}

fn applies_later(rules: &[Rule], i: usize) -> Result<(), String> {
    let rule = &rules[i];
    for (j, later) in others(rules, &rule.id).filter(|(j, _)| *j > i) {
        let wakes = |(t, v): &&(Target, Value)| rule.when.looks_at(t) && rule.when.likes(t, v);
        if let Some((target, value)) = later.set.iter().find(wakes) {
            return Err(format!(
                "`rules[{i}]` ({}) is for jobs with `{}` {value}, which `rules[{j}]` ({}) sets \
                 after it: put the second before the first",
                rule.id,
                target.pointer(),
                later.id
            ));
        }
    }
    Ok(())
}

fn applies_no_more(rules: &[Rule], i: usize) -> Result<(), String> {
    let rule = &rules[i];
    let changed = |r: &Rule| r.set.iter().any(|(t, _)| rule.when.looks_at(t));
    let later = others(rules, &rule.id).any(|(j, r)| j > i && changed(r));
    if !later && !changed(rule) {
        return Ok(());
    }
    for (j, earlier) in others(rules, &rule.id).filter(|(j, _)| *j < i) {
        let both = |(t, _): &&(Target, Value)| earlier.set.iter().any(|(e, _)| e.overlaps(t));
        if let Some((target, _)) = rule.set.iter().find(both) {
            return Err(format!(
                "`rules[{j}]` ({}) and `rules[{i}]` ({}) both set `{}`, and what the second \
                 looks at is changed by it or a rule after it: give the field to one of them",
                earlier.id,
                rule.id,
                target.pointer()
            ));
        }
    }
    Ok(())
}

impl When {
    fn looks_at(&self, target: &Target) -> bool {
        match target {
            Target::Field(Field::Tier) => !self.tiers.is_empty(),
            Target::Field(Field::Label(key)) => self.labels.iter().any(|(k, _)| k == key),
            Target::Field(Field::Role(_, RoleField::GpuCount))
            | Target::EveryRole(RoleField::GpuCount) => self.gpu != Gpu::Any,
            _ => false,
        }
    }

    /// Whether the condition on a field that it looks at holds for this value.
    fn likes(&self, target: &Target, value: &Value) -> bool {
        match (target, value) {
            (Target::Field(Field::Tier), Value::String(tier)) => {
                self.tiers.iter().any(|pattern| glob(pattern, tier))
            }
            (Target::Field(Field::Label(key)), Value::String(text)) => {
                let mut patterns = self.labels.iter().filter(|(k, _)| k == key);
                patterns.all(|(_, pattern)| glob(pattern, text))
            }
            // Rules set GPUs only to more than none.
            _ => self.gpu == Gpu::Yes,
        }
    }
}
