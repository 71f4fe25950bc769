//! What a job may do on the machine that runs it.

use loadmaster_sdk::admission::{Job, Review};

use super::Found;
use crate::settings::{Exempt, Mode, Seccomp};

/// The profile that is none.
const UNCONFINED: &str = "unconfined";

fn applies(rule: &Exempt, review: &Review, job: &Job) -> bool {
    rule.mode != Mode::Off
        && !rule.namespaces.contains(&job.namespace)
        && !review.caller.groups.iter().any(|g| rule.groups.contains(g))
}

/// What else may be done about it, for the end of a message.
fn or_ask(rule: &Exempt) -> String {
    let list = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!(" or {what} `{}`", names.join("`, `")),
    };
    let groups = list("have it submitted by group", &rule.groups);
    groups + &list("run it in namespace", &rule.namespaces)
}

pub(super) fn root(rule: &Exempt, review: &Review, job: &Job, found: &mut Found) {
    if job.run_as_root && applies(rule, review, job) {
        found.add(
            rule.mode,
            "RunsAsRoot",
            "/run-as-root",
            &format!("set a user in the image that is not root{}", or_ask(rule)),
        );
    }
}

pub(super) fn privileged(rule: &Exempt, review: &Review, job: &Job, found: &mut Found) {
    if job.privileged && applies(rule, review, job) {
        found.add(
            rule.mode,
            "Privileged",
            "/privileged",
            &format!(
                "privileged jobs own their machine: set it to false{}",
                or_ask(rule)
            ),
        );
    }
}

pub(super) fn seccomp(rule: &Seccomp, review: &Review, job: &Job, found: &mut Found) {
    if !applies(&rule.exempt, review, job) {
        return;
    }
    let allowed = match &rule.allowed[..] {
        [] => "a profile, `runtime/default` for instance".to_owned(),
        allowed => format!("one of `{}`", allowed.join("`, `")),
    };
    let ask = or_ask(&rule.exempt);
    match job.seccomp.as_deref() {
        None | Some("") => found.add(
            rule.exempt.mode,
            "SeccompMissing",
            "/seccomp",
            &format!("the job runs without a seccomp profile: set {allowed}{ask}"),
        ),
        Some(profile) => {
            let listed = rule.allowed.iter().any(|a| a == profile);
            if !listed && (!rule.allowed.is_empty() || profile == UNCONFINED) {
                found.add(
                    rule.exempt.mode,
                    "SeccompNotAllowed",
                    "/seccomp",
                    &format!("seccomp profile `{profile}` is not allowed: set {allowed}{ask}"),
                );
            }
        }
    }
}
