//! Whose it is, what it may call itself, and what it must be certified for.

use loadmaster_sdk::admission::{Job, Review, pointer};

use super::Found;
use crate::settings::{Compliance, Mode, Owner, Tier};

pub(super) fn owner(rule: &Owner, review: &Review, job: &Job, found: &mut Found) {
    let known = |owner: Option<&str>| owner.is_some_and(|o| !o.trim().is_empty());
    if rule.mode == Mode::Off
        || known(review.facts.owner.as_deref())
        || known(job.label(&rule.label))
    {
        return;
    }
    found.add(
        rule.mode,
        "OwnerMissing",
        &pointer(&["labels", &rule.label]),
        &format!(
            "nobody owns application `{}`: register an owner in the catalogue, or add the label \
             `{}` with the name of your team",
            job.app, rule.label
        ),
    );
}

pub(super) fn tier(rule: &Tier, review: &Review, job: &Job, found: &mut Found) {
    if rule.mode == Mode::Off {
        return;
    }
    if !rule.allowed.is_empty() && !rule.allowed.contains(&job.tier) {
        let allowed = rule.allowed.join("`, `");
        let message = match job.tier.as_str() {
            "" => format!("the job names no tier: set one of `{allowed}`"),
            tier => format!("tier `{tier}` is not allowed here: set one of `{allowed}`"),
        };
        found.add(rule.mode, "TierNotAllowed", "/tier", &message);
    }
    if !rule.catalog || job.tier.is_empty() {
        return;
    }
    match review.facts.tier.as_deref() {
        Some(tier) if tier == job.tier => {}
        Some(tier) => found.add(
            rule.mode,
            "TierMismatch",
            "/tier",
            &format!(
                "the catalogue has application `{}` in tier `{tier}`: set that, or have the \
                 catalogue changed to `{}`",
                job.app, job.tier
            ),
        ),
        None => found.unknown(
            rule.mode,
            "TierUnknown",
            "/tier",
            &format!(
                "the catalogue does not say that application `{}` is in tier `{}`: register it",
                job.app, job.tier
            ),
        ),
    }
}

pub(super) fn compliance(rule: &Compliance, review: &Review, job: &Job, found: &mut Found) {
    if rule.mode == Mode::Off {
        return;
    }
    for required in &rule.required {
        if !job.namespace.starts_with(&required.prefix) {
            continue;
        }
        for tag in &required.tags {
            if !review.facts.compliance.contains(tag) {
                found.add(
                    rule.mode,
                    "ComplianceMissing",
                    "/app",
                    &format!(
                        "namespace `{}` takes only what is certified `{tag}`: have application \
                         `{}` certified in the catalogue, or run it elsewhere",
                        job.namespace, job.app
                    ),
                );
            }
        }
    }
}
