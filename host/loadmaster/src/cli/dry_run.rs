//! `loadmaster job submit --dry-run`: what would happen.

use serde_json::Value;

use super::client::{Client, typed};
use super::explain::{fix_text, funnel};
use super::failure::{Exit, Failure, Outcome};
use super::output::{Out, Style};
use super::quota::shortages_text;
use super::yielding::plan_text;
use crate::wire::plan::{Finding, Patch, PatchOp, Ruling};
use crate::wire::what_if::{PodWhatIf, Verdict, WhatIf};

/// Pods shown one by one; `-o json` has all the host tells.
const PODS_SHOWN: usize = 16;

/// Asks about each job. A job that would stay out is a failed check.
pub(super) fn run(jobs: &[Value], client: &Client, out: &Out) -> Outcome {
    let mut denied = 0;
    for job in jobs {
        let path = "/api/v1/jobs?dry_run=true";
        let value = client.change("POST", path, None, Some(job))?.value;
        let answer: WhatIf = typed(&value)?;
        let id = job["id"].as_str().unwrap_or_default();
        out.value(&value, id, |style| text(id, &answer, style))?;
        denied += usize::from(answer.verdict == Verdict::Denied);
    }
    out.note("nothing was submitted");
    match denied {
        0 => Ok(()),
        n => Err(Failure::new(
            Exit::Failed,
            format!("{n} of {} jobs would stay out", jobs.len()),
        )),
    }
}

pub(super) fn patch_text(p: &Patch) -> String {
    let value = p
        .value
        .as_ref()
        .map_or_else(String::new, |v| format!(" {v}"));
    let op = match p.op {
        PatchOp::Set => "set",
        PatchOp::Add => "add",
        PatchOp::Remove => "remove",
    };
    format!("{op} {}{value}: {}", p.field, p.reason)
}

fn finding_text(f: &Finding) -> String {
    format!("{} at {}: {}", f.code, f.field, f.message)
}

fn text(id: &str, w: &WhatIf, style: Style) -> String {
    let verdict = match w.verdict {
        Verdict::Denied => style.bad("would stay out"),
        Verdict::Waits => style.bad("would wait"),
        Verdict::Preempts => style.accent("would wait, and others would be asked to yield"),
        Verdict::Runs => style.good("would run"),
    };
    let mut text = format!("{} {verdict}\n", style.bold(id));
    let mut line = |head: &str, body: String| text += &format!("  {head:<8} {body}\n");
    if w.findings.is_empty()
        && let Some(problem) = &w.problem
    {
        line("door", problem.clone());
    }
    for f in &w.findings {
        line("denied", finding_text(f));
    }
    for p in &w.patches {
        line("changed", patch_text(p));
    }
    for f in &w.warnings {
        line("warning", finding_text(f));
    }
    for f in &w.faults {
        line(
            "fault",
            format!(
                "{}@{} {}: {}",
                f.policy.name, f.policy.version, f.code, f.message
            ),
        );
    }
    if let Some(ruling) = &w.quota {
        line("quota", ruling_text(ruling));
    }
    for pod in w.pods.iter().take(PODS_SHOWN) {
        match pod {
            PodWhatIf::Running { pod, node, devices } => {
                let devices: Vec<String> = devices.iter().map(u8::to_string).collect();
                line("starts", format!("{pod} on {node} [{}]", devices.join(" ")));
            }
            PodWhatIf::Waiting { pod, reason } => line("waits", format!("{pod}   {reason}")),
        }
    }
    let more = (w.replicas as usize).saturating_sub(w.pods.len().min(PODS_SHOWN));
    if more > 0 && !w.pods.is_empty() {
        line("", format!("and {more} pods more"));
    }
    if let Some(plan) = &w.plan {
        let after = w
            .plan_after
            .map_or_else(String::new, |s| format!(", after waiting {s}"));
        text += &format!(
            "\n  {}{after}\n  {}",
            style.bold("Who would yield"),
            plan_text(plan, style)
        );
    }
    if let Some(why) = &w.no_plan {
        text += &format!("\n  nobody would be asked to yield: {why}\n");
    }
    if !w.lines.is_empty() {
        text += &format!("\n{}", funnel(&w.lines, style));
    }
    if !w.fixes.is_empty() {
        text += &format!("\n  {}\n", style.bold("What would let it run"));
        for (at, fix) in w.fixes.iter().enumerate() {
            text += &format!("   {} {}\n", at + 1, fix_text(fix));
        }
    }
    text
}

fn ruling_text(ruling: &Ruling) -> String {
    match ruling {
        Ruling::Accepted => "it needs none".to_owned(),
        Ruling::Admitted { pods } => format!("pays for {pods} pods at once"),
        Ruling::Waiting { shortages } => format!("would wait: {}", shortages_text(shortages)),
        Ruling::Reclaiming { shortages } => format!(
            "others use its guarantee and would be asked to give it back: {}",
            shortages_text(shortages)
        ),
        Ruling::Rejected { finding } => finding_text(finding),
        Ruling::Denied { findings } => {
            let list: Vec<String> = findings.iter().map(finding_text).collect();
            list.join("; ")
        }
    }
}
