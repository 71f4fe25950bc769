//! `loadmaster why` and `loadmaster decision`: where every node went, and what
//! decided.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Client, segment, typed};
use super::failure::{Exit, Outcome};
use super::output::{Format, Out, Style};
use super::table::Table;
use crate::replay::summary::{duration, grouped};
use crate::wire::decision::{Decision, Outcome as Result_};
use crate::wire::time::Time;
use crate::wire::usage::GangState;
use crate::wire::view::{DecisionDetail, PodState};
use crate::wire::why::{Why, WhyFix, WhyLine};

pub(super) const WHY: &str = "\
Examples:
  loadmaster why train-llm-3
  loadmaster why job/train-llm -o json";
pub(super) const DECISION: &str = "\
Examples:
  loadmaster decision list --pod train-llm-3
  loadmaster decision explain 42";
const LIST: &str = "\
Examples:
  loadmaster decision list --limit 20
  loadmaster decision list --pod train-llm-3 -o json";
const EXPLAIN: &str = "\
Examples:
  loadmaster decision explain 42
  loadmaster decision explain 42 --parts";

/// Rows of a list when nobody says how many.
const LIST_ROWS: usize = 50;

/// Options of `why`.
#[derive(Debug, Args)]
pub struct WhyOptions {
    /// Name of a pod or id of a job; pod/ or job/ in front says which
    name: String,
}

/// Verbs about decisions.
#[derive(Debug, Subcommand)]
pub enum DecisionVerb {
    /// List decisions, newest first.
    #[command(after_help = LIST)]
    List {
        /// Only about this pod
        #[arg(long, value_name = "NAME")]
        pod: Option<String>,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = LIST_ROWS)]
        limit: usize,
    },
    /// Show the score table of a decision and what decided it.
    #[command(after_help = EXPLAIN)]
    Explain {
        /// Number of the decision
        id: u64,
        /// Also ask the policies for the parts of their scores
        #[arg(long)]
        parts: bool,
    },
}

/// Why a pod is where it is.
///
/// # Errors
/// The host refuses or does not answer.
pub fn why(options: &WhyOptions, client: &Client, out: &Out) -> Outcome {
    let name = options.name.as_str();
    let of = |kind: &str, name: &str| client.get(&format!("/api/v1/{kind}/{}/why", segment(name)));
    let answer = match (name.strip_prefix("pod/"), name.strip_prefix("job/")) {
        (Some(pod), _) => of("pods", pod)?,
        (_, Some(job)) => of("jobs", job)?,
        // Pods and jobs have names of their own kinds; a pod's is the longer one.
        _ => match of("pods", name) {
            Err(failure) if failure.exit == Exit::Failed => of("jobs", name).map_err(|other| {
                if other.exit == Exit::Failed {
                    failure
                } else {
                    other
                }
            })?,
            answer => answer?,
        },
    };
    let value = answer.value;
    let why: Why = typed(&value)?;
    let name = &why.pod;
    let now = client.get("/api/v1/summary").ok();
    let now: Option<Time> = now.and_then(|a| typed(&a.value["now"]).ok());
    out.value(&value, name, |style| why_text(&why, now, style))
}

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn decision(verb: &DecisionVerb, client: &Client, out: &Out) -> Outcome {
    match verb {
        DecisionVerb::List { pod, limit } => {
            let mut url = "/api/v1/decisions".to_owned();
            if let Some(pod) = pod {
                url += &format!("?pod={}", segment(pod));
            }
            let values = client.list(&url, Some(*limit))?;
            let decisions: Vec<Decision> = values.iter().map(typed).collect::<Result<_, _>>()?;
            let name = |v: &Value| v["id"].to_string();
            out.list(
                &values,
                name,
                |_| list_table(&decisions),
                "no decisions yet",
            )
        }
        DecisionVerb::Explain { id, parts } => {
            let query = if *parts { "?explain=true" } else { "" };
            let value = client.get(&format!("/api/v1/decisions/{id}{query}"))?.value;
            let detail: DecisionDetail = typed(&value)?;
            let wide = out.format == Format::Wide;
            out.value(&value, &id.to_string(), |style| {
                decision_text(&detail, wide, style)
            })
        }
    }
}

fn list_table(decisions: &[Decision]) -> Table {
    let mut table = Table::new(&["DECISION", "TIME", "POD", "RESULT", ">SET", ">FUEL"]);
    for d in decisions {
        let result = match &d.outcome {
            Result_::Bound { node, devices, .. } => format!("{node}{}", slots(devices)),
            Result_::Unschedulable { reason } => reason.clone(),
        };
        table.row(vec![
            d.id.to_string(),
            d.time.to_string(),
            d.pod.clone(),
            result,
            d.set_revision.to_string(),
            grouped(d.fuel),
        ]);
    }
    table
}

fn slots(devices: &[u8]) -> String {
    if devices.is_empty() {
        return String::new();
    }
    let list: Vec<String> = devices.iter().map(u8::to_string).collect();
    format!(" [{}]", list.join(" "))
}

// === why ===

/// The whole answer as people read it.
fn why_text(why: &Why, now: Option<Time>, style: Style) -> String {
    let age = |since: Time| match now {
        Some(now) => format!(
            " for {}",
            duration(now.0.saturating_sub(since.0) as f64 / 1000.0)
        ),
        None => format!(" since {since}"),
    };
    let reason = match &why.state {
        PodState::Running {
            node,
            devices,
            since,
            decision,
        } => {
            return format!(
                "{} runs on {}{}{}\n\ndecision {decision} · loadmaster decision explain {decision}\n",
                style.bold(&why.pod),
                style.good(node),
                slots(devices),
                age(*since)
            );
        }
        PodState::Waiting { reason, .. } => reason.as_str(),
        PodState::Promised { .. } => model::Reason::WaitingForPreemption.code(),
    };
    let head = format!("{} has been waiting{}", why.pod, age(why.submitted));
    let mut text = format!("{}   {}\n\n", style.bold(&head), style.bad(reason));
    text += &quota_text(why, style);
    text += &gang_text(why);
    text += &preemption_text(why, style);
    // Who has been promised a place does not look at nodes.
    let promised = matches!(why.state, PodState::Promised { .. });
    if !why.lines.is_empty() || (why.quota.is_none() && !promised) {
        text += &funnel(&why.lines, style);
    }
    if !why.fixes.is_empty() {
        text += &format!("\n  {}\n", style.bold("What would let it run"));
        for (at, fix) in why.fixes.iter().enumerate() {
            text += &format!("   {} {}\n", at + 1, fix_text(fix));
        }
    }
    if why.ahead > 0 {
        text += &format!(
            "\n  Before it in its line: {} {}\n",
            grouped(why.ahead.into()),
            if why.ahead == 1 { "pod" } else { "pods" }
        );
    }
    match why.last_decision {
        Some(id) => {
            text += &format!("\n  decision {id} · loadmaster decision explain {id}\n");
        }
        None => text += "\n  not looked at yet\n",
    }
    text
}

/// Counts that add up to the cluster, with names behind each.
pub(super) fn funnel(lines: &[WhyLine], style: Style) -> String {
    let nodes: u32 = lines.iter().map(|l| l.count).sum();
    let width = grouped(nodes.into()).chars().count();
    let number = |n: u32| format!("{:>width$}", grouped(n.into()));
    let mut text = format!("    {} nodes\n", number(nodes));
    let mut left = nodes;
    let sentence = lines.iter().map(|l| l.text.chars().count()).max();
    let sentence = sentence.unwrap_or(0);
    for line in lines.iter().filter(|l| l.check != "Fits") {
        left = left.saturating_sub(line.count);
        let pad = sentence - line.text.chars().count();
        text += &format!(
            "  − {}   {}{}   {}\n",
            number(line.count),
            line.text,
            " ".repeat(pad),
            style.dim(&behind(line))
        );
    }
    let fits = lines.iter().find(|l| l.check == "Fits");
    let names = fits.map_or_else(String::new, |l| format!("   {}", style.dim(&behind(l))));
    text + &format!("  = {}   left{names}\n", number(left))
}

fn behind(line: &WhyLine) -> String {
    if let Some(nearest) = &line.nearest {
        return format!("nearest {nearest}");
    }
    let more = line.count as usize - line.nodes.len().min(line.count as usize);
    let names = line.nodes.join(", ");
    if more > 0 {
        format!("{names} and {} more", grouped(more as u64))
    } else {
        names
    }
}

/// Which quota, which resource, short by how much, and who has it.
fn quota_text(why: &Why, style: Style) -> String {
    let Some(q) = &why.quota else {
        return String::new();
    };
    let mut text = format!("  queue {} · paid by quota {}", q.queue, q.quota);
    let needs = q.needs.text();
    if !needs.is_empty() {
        text += &format!(" · needs {needs}");
    }
    text.push('\n');
    if let Some(finding) = &q.finding {
        text += &format!("  {}: {}\n", style.bad(&finding.code), finding.message);
    }
    for s in &q.shortages {
        text += &format!(
            "  − {} {} short at quota {}\n",
            s.short, s.resource, s.quota
        );
    }
    if q.reclaiming {
        text += "  others use what is its own, and are asked to give it back\n";
    }
    for b in &q.borrowers {
        text += &format!("  {} uses {} beyond its own\n", b.queue, b.borrowed.text());
    }
    if q.ahead > 0 {
        let jobs = if q.ahead == 1 { "job" } else { "jobs" };
        text += &format!(
            "  {} {jobs} before it in the queue\n",
            grouped(q.ahead.into())
        );
    }
    text
}

fn gang_text(why: &Why) -> String {
    let Some(g) = &why.gang else {
        return String::new();
    };
    let (min, count) = g
        .roles
        .iter()
        .fold((0, 0), |(min, count), r| (min + r.min, count + r.count));
    let mut text = format!(
        "  gang {}: {min} of {count} members start together\n",
        g.job
    );
    if let GangState::Waiting { why, .. } = &g.state
        && !why.is_empty()
    {
        text += &format!("  {why}\n");
    }
    if let Some(at) = g.gives_up {
        text += &format!("  given up at {at} if it has not started\n");
    }
    text
}

fn preemption_text(why: &Why, style: Style) -> String {
    let Some(p) = &why.preemption else {
        return String::new();
    };
    if let Some(plan) = &p.plan {
        return format!(
            "  plan {}: {}\n",
            plan.id,
            super::yielding::plan_text(plan, style)
        );
    }
    let mut text = String::new();
    if let Some(because) = &p.because {
        let times = if p.attempts == 1 { "time" } else { "times" };
        text += &format!(
            "  nobody can be asked to yield: {because} (tried {} {times})\n",
            p.attempts
        );
    }
    text
}

pub(super) fn fix_text(fix: &WhyFix) -> String {
    let list = |pods: &[String]| {
        let shown: Vec<&str> = pods.iter().take(4).map(String::as_str).collect();
        let more = pods.len() - shown.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{more}", shown.join(", "))
    };
    match fix {
        WhyFix::Wait { node, pods } => {
            let end = if pods.len() == 1 { "ends" } else { "end" };
            format!("wait      {node} has room when {} {end}", list(pods))
        }
        WhyFix::Preempt { node, pods } => {
            format!("preempt   lower priority on {node}: {}", list(pods))
        }
        WhyFix::Relax { what, fits, node } => {
            let where_ = match fits {
                1 => node.clone(),
                more => format!("{} nodes, e.g. {node}", grouped((*more).into())),
            };
            format!("relax     without {what} it fits {where_} now")
        }
        WhyFix::Grow { like } => format!("grow      one more node like {like} would do"),
        WhyFix::Leave { plan, pods, until } => {
            format!("wait      plan {plan}: {} leave until {until}", list(pods))
        }
        WhyFix::Ask { at, because } => {
            format!("wait      others are asked to yield at {at}: {because}")
        }
        WhyFix::Resume { queue } => format!("resume    loadmaster queue resume {queue}"),
        WhyFix::Giveback { queue, borrowed } => {
            format!(
                "wait      until {queue} gives back some of {}",
                borrowed.text()
            )
        }
        WhyFix::Raise {
            quota,
            resource,
            by,
        } => format!("raise     quota {quota} by {by} {resource}"),
        WhyFix::Spread { level } => format!(
            "spread    its topology requires one {}; preferred would let it spread",
            format!("{level:?}").to_lowercase()
        ),
    }
}

// === decision explain ===

/// A total or score in points: thousandths are the unit of scores.
fn points(score: i64) -> String {
    format!("{:.1}", score as f64 / 1_000.0)
}

fn decision_text(detail: &DecisionDetail, wide: bool, style: Style) -> String {
    let d = &detail.decision;
    let mut text = match &d.outcome {
        Result_::Bound {
            node,
            devices,
            margin,
        } => {
            let ahead = match d.candidates.get(1) {
                Some(second) if *margin == 0 => {
                    format!("tied with {}, taken by row order", second.node)
                }
                Some(second) => format!("{} ahead of {}", points(margin / 1_000), second.node),
                None => "the only node".to_owned(),
            };
            format!(
                "{} → {}{}      {ahead}      set {}\n",
                style.bold(&d.pod),
                style.good(node),
                slots(devices),
                d.set_revision
            )
        }
        Result_::Unschedulable { reason } => format!(
            "{} → {}      set {}\n",
            style.bold(&d.pod),
            style.bad(reason),
            d.set_revision
        ),
    };
    text += &filter_line(d);
    if !d.candidates.is_empty() {
        text += "\n";
        text += &scores(detail, style);
    }
    if detail.influence.len() > 1 {
        text += &format!("\n  {}\n", style.bold("What decided it"));
        for i in &detail.influence {
            let (name, _) = i.policy.split_once('@').unwrap_or((&i.policy, ""));
            let outcome = match (&i.winner_without, i.decisive) {
                (Some(node), true) => format!("{node} would win      ← decisive"),
                (Some(_), false) => "no change".to_owned(),
                (None, _) => "no node would have a score".to_owned(),
            };
            text += &format!("    without {name:<20} {outcome}\n");
        }
    }
    for e in &detail.explanations {
        let (name, _) = e.policy.split_once('@').unwrap_or((&e.policy, ""));
        text += &format!("\n  {name} on {}\n", e.node);
        for part in &e.parts {
            text += &format!(
                "    {:>9}   {:<18} {}\n",
                points(part.value),
                part.name,
                style.dim(&part.text)
            );
        }
    }
    for fault in &d.faults {
        text += &format!(
            "\n  {} {} {}: {} (the built-in answered)\n",
            style.bad("fault"),
            fault.policy.name,
            fault.call,
            fault.message
        );
    }
    if wide {
        text += &format!(
            "\n  {} · {} rows scored, the others remembered · {} fuel\n",
            d.time,
            grouped(d.rows_scored.into()),
            grouped(d.fuel)
        );
    }
    text
}

fn filter_line(d: &Decision) -> String {
    let mut parts = vec![format!("{} nodes", grouped(d.filter.nodes.into()))];
    for rejection in model::Rejection::ALL {
        let count = d.filter.counts.get(rejection.code()).copied().unwrap_or(0);
        if count > 0 && rejection != model::Rejection::Fits {
            parts.push(format!(
                "− {} {}",
                grouped(count.into()),
                rejection.sentence()
            ));
        }
    }
    let fits = d.filter.counts.get("Fits").copied().unwrap_or(0);
    if parts.len() == 1 && fits == 0 && d.candidates.is_empty() && d.filter.nodes == 0 {
        return "  placed by a plan or with its gang: domains were compared, not nodes\n"
            .to_owned();
    }
    parts.push(format!("= {} left", grouped(fits.into())));
    format!("  {}\n", parts.join("  "))
}

/// Weights in the header, cells already weighted, so that each row adds up.
fn scores(detail: &DecisionDetail, style: Style) -> String {
    let d = &detail.decision;
    let members = detail.set.as_ref().map_or(&[][..], |s| &s.members);
    let tiers = detail
        .set
        .as_ref()
        .is_some_and(|s| s.combine == crate::wire::policy::Combine::Tiers);
    let columns = d
        .candidates
        .iter()
        .map(|c| c.scores.len())
        .max()
        .unwrap_or(0);
    let mut head = vec![">#".to_owned(), "NODE".to_owned()];
    for at in 0..columns {
        head.push(match members.get(at) {
            Some(m) if tiers => format!(">{} tier {}", m.policy.name, m.tier),
            Some(m) => format!(">{} ×{}", m.policy.name, f64::from(m.weight.0) / 1_000.0),
            None => format!(">policy {}", at + 1),
        });
    }
    if !tiers {
        head.push(">TOTAL".to_owned());
    }
    let names: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(&names);
    for (rank, candidate) in d.candidates.iter().enumerate() {
        let mut row = vec![(rank + 1).to_string(), candidate.node.clone()];
        for at in 0..columns {
            let weight = match members.get(at) {
                Some(m) if !tiers => i64::from(m.weight.0),
                _ => 1_000,
            };
            row.push(match candidate.scores.get(at).copied().flatten() {
                Some(score) => points(i64::from(score) * weight / 1_000),
                None => "–".to_owned(),
            });
        }
        if !tiers {
            row.push(points(candidate.total / 1_000));
        }
        let best = if rank == 0 { vec![1] } else { Vec::new() };
        table.best(row, best);
    }
    let text: String = table
        .text(style)
        .lines()
        .map(|line| format!("  {line}\n"))
        .collect();
    let fits = d.filter.counts.get("Fits").copied().unwrap_or(0);
    let more = (fits as usize).saturating_sub(d.candidates.len());
    let more = if more > 0 {
        format!("{} more not kept      ", grouped(more as u64))
    } else {
        String::new()
    };
    let meaning = if tiers {
        "– abstained      a lower tier counts only between equals"
    } else {
        "– abstained      cells are already weighted; TOTAL is their sum"
    };
    text + &format!("     {}\n", style.dim(&format!("{more}{meaning}")))
}

#[cfg(test)]
mod tests;
