//! `loadmaster gang`, `plan` and `budget`: who starts together, who yields for
//! whom, and who must not.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::client::{Client, segment, typed};
use super::failure::Outcome;
use super::output::{Out, Style};
use super::quota::{name_of, or_dash, put_all, remove};
use super::table::Table;
use crate::replay::summary::duration;
use crate::wire::plan::{Plan as PlanView, Status};
use crate::wire::usage::{BudgetView, GangState, GangView};

pub(super) const GANG: &str = "\
Examples:
  loadmaster gang list
  loadmaster gang get train";
const GANG_LIST: &str = "\
Examples:
  loadmaster gang list
  loadmaster gang list -o json";
const GANG_GET: &str = "\
Examples:
  loadmaster gang get train
  loadmaster gang get train -o yaml";
pub(super) const PLAN: &str = "\
Examples:
  loadmaster plan list --phase leaving
  loadmaster plan get 7";
const PLAN_LIST: &str = "\
Examples:
  loadmaster plan list
  loadmaster plan list --phase leaving -o wide";
const PLAN_GET: &str = "\
Examples:
  loadmaster plan get 7
  loadmaster plan get 7 -o json";
pub(super) const BUDGET: &str = "\
Examples:
  loadmaster budget list
  loadmaster budget put budgets.json";
const BUDGET_PUT: &str = "\
Examples:
  loadmaster budget put budgets.json
  echo '{\"name\":\"search\",\"app\":\"search\",\"min_available\":10,\"bucket\":{\"capacity\":5,\"refill\":\"1m\"}}' | loadmaster budget put -";
const BUDGET_GET: &str = "\
Examples:
  loadmaster budget get search
  loadmaster budget get search -o yaml";
const BUDGET_LIST: &str = "\
Examples:
  loadmaster budget list
  loadmaster budget list -o json";
const BUDGET_DELETE: &str = "\
Examples:
  loadmaster budget delete search --dry-run
  loadmaster budget delete search";

/// Verbs about gangs.
#[derive(Debug, Subcommand)]
pub enum Gang {
    /// List gangs: jobs whose pods start together or not at all.
    #[command(after_help = GANG_LIST)]
    List,
    /// Show a gang: its roles, its domain, and what it waits for.
    #[command(after_help = GANG_GET, visible_alias = "show")]
    Get {
        /// Id of the job
        job: String,
    },
}

/// How far a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Victims are leaving; their places are reserved.
    Leaving,
    /// Everybody is where the plan wanted.
    Done,
    /// Given up.
    Dissolved,
}

/// Verbs about plans.
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// List plans in progress (nominations), then the latest finished ones.
    #[command(after_help = PLAN_LIST)]
    List {
        /// Only those this far
        #[arg(long, value_enum)]
        phase: Option<Phase>,
    },
    /// Show a plan: who leaves, who moves, who takes the places.
    #[command(after_help = PLAN_GET, visible_alias = "show")]
    Get {
        /// Number
        id: u64,
    },
}

/// Verbs about disruption budgets.
#[derive(Debug, Subcommand)]
pub enum Budget {
    /// Add disruption budgets or change them.
    #[command(after_help = BUDGET_PUT)]
    Put {
        /// JSON (or .toml): one budget or a list; - reads the standard input
        file: PathBuf,
    },
    /// Show one budget.
    #[command(after_help = BUDGET_GET, visible_alias = "show")]
    Get {
        /// Name
        name: String,
    },
    /// List budgets with what they allow now.
    #[command(after_help = BUDGET_LIST)]
    List,
    /// Remove a budget.
    #[command(after_help = BUDGET_DELETE, visible_alias = "remove")]
    Delete {
        /// Name
        name: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

// === Gangs ===

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn gang(verb: &Gang, client: &Client, out: &Out) -> Outcome {
    match verb {
        Gang::List => {
            let values = client.list("/api/v1/gangs", None)?;
            let views: Vec<GangView> = values.iter().map(typed).collect::<Result<_, _>>()?;
            let table = |_| {
                let mut table = Table::new(&[
                    "JOB", "PHASE", ">RUNNING", ">MIN", ">COUNT", "DOMAIN", "REASON",
                ]);
                for v in &views {
                    let sum = |of: fn(&crate::wire::usage::RoleView) -> u32| {
                        v.roles.iter().map(of).sum::<u32>().to_string()
                    };
                    table.row(vec![
                        v.job.clone(),
                        v.state.name().to_owned(),
                        sum(|r| r.running),
                        sum(|r| r.min),
                        sum(|r| r.count),
                        or_dash(v.domain.clone()),
                        reason(&v.state),
                    ]);
                }
                table
            };
            let name = |v: &serde_json::Value| v["job"].as_str().unwrap_or_default().to_owned();
            out.list(&values, name, table, "there are no gangs")
        }
        Gang::Get { job } => {
            let value = client
                .get(&format!("/api/v1/gangs/{}", segment(job)))?
                .value;
            let view: GangView = typed(&value)?;
            out.value(&value, job, |style| gang_text(&view, style))?;
            if matches!(view.state, GangState::Waiting { .. }) {
                out.next(&format!("loadmaster why {job}"));
            }
            Ok(())
        }
    }
}

fn reason(state: &GangState) -> String {
    match state {
        GangState::Waiting { reason, .. } => reason.clone(),
        GangState::Running => String::new(),
        GangState::Leaving { cause, .. } => cause.clone(),
    }
}

fn gang_text(v: &GangView, style: Style) -> String {
    let reason = match reason(&v.state) {
        none if none.is_empty() => none,
        reason => format!("   {}", style.bad(&reason)),
    };
    let mut text = format!("{}   {}{reason}\n", style.bold(&v.job), v.state.name());
    if let Some(domain) = &v.domain {
        text += &format!("  in {domain}\n");
    }
    match &v.state {
        GangState::Waiting { why, .. } if !why.is_empty() => text += &format!("  {why}\n"),
        GangState::Leaving { until, .. } => text += &format!("  members leave until {until}\n"),
        _ => {}
    }
    if let Some(plan) = v.plan {
        text += &format!("  plan {plan} makes room · loadmaster plan get {plan}\n");
    }
    if let Some(at) = v.gives_up {
        text += &format!("  given up at {at} if it has not started\n");
    }
    let mut table = Table::new(&["ROLE", ">RUNNING", ">WAITING", ">MIN", ">COUNT"]);
    for r in &v.roles {
        table.row(vec![
            r.name.clone(),
            r.running.to_string(),
            r.waiting.to_string(),
            r.min.to_string(),
            r.count.to_string(),
        ]);
    }
    text + "\n" + &table.text(style)
}

// === Plans ===

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn plan(verb: &Plan, client: &Client, out: &Out) -> Outcome {
    match verb {
        Plan::List { phase } => {
            let query = phase.map_or_else(String::new, |p| {
                format!("?phase={}", format!("{p:?}").to_lowercase())
            });
            let values = client.items(&format!("/api/v1/plans{query}"))?;
            let views: Vec<PlanView> = values.iter().map(typed).collect::<Result<_, _>>()?;
            let table = |wide| {
                let mut head = vec![
                    ">PLAN", "FOR", "ACTION", "DOMAIN", ">LEAVE", ">MOVE", "STATUS", "UNTIL",
                ];
                if wide {
                    head.extend(["POLICY", ">LOST GPU-S"]);
                }
                let mut table = Table::new(&head);
                for p in &views {
                    let mut row = vec![
                        p.id.to_string(),
                        p.preemptor.clone(),
                        p.action.clone(),
                        p.domain.clone(),
                        p.victims.len().to_string(),
                        p.moves.len().to_string(),
                        p.status.name().to_owned(),
                        p.until.to_string(),
                    ];
                    if wide {
                        row.push(format!("{} {}", p.policy.name, p.policy.version));
                        row.push(format!("{:.0}", p.lost_gpu_s()));
                    }
                    table.row(row);
                }
                table
            };
            let name = |v: &serde_json::Value| v["id"].to_string();
            out.list(&values, name, table, "nobody is asked to yield")
        }
        Plan::Get { id } => {
            let value = client.get(&format!("/api/v1/plans/{id}"))?.value;
            let view: PlanView = typed(&value)?;
            out.value(&value, &id.to_string(), |style| {
                let head = format!("plan {id}");
                format!("{}   {}", style.bold(&head), plan_text(&view, style))
            })
        }
    }
}

/// Who leaves, who moves, who comes; also of a plan that was only proposed.
pub(super) fn plan_text(p: &PlanView, style: Style) -> String {
    let what = if p.gang { "gang" } else { "pod" };
    let mut text = format!("{} for {what} {} · {}", p.action, p.preemptor, p.domain);
    text += &match &p.status {
        Status::Dissolved { why } => format!(" · {}: {why}\n", style.bad("dissolved")),
        Status::Leaving => format!(" · leaving until {}\n", p.until),
        other => format!(" · {}\n", other.name()),
    };
    text += &format!("  by {} {}\n", p.policy.name, p.policy.version);
    if !p.victims.is_empty() {
        let mut table = Table::new(&[
            "  LEAVES",
            "NODE",
            ">PRIORITY",
            ">GRACE",
            ">LOST AT WORST",
            "BECAUSE",
        ]);
        for v in &p.victims {
            table.row(vec![
                format!("  {}", v.pod),
                v.node.clone(),
                v.priority.to_string(),
                duration(f64::from(v.grace_ms) / 1000.0),
                format!("{:.0} GPU-s", v.lost_gpu_ms as f64 / 1000.0),
                v.reason.clone(),
            ]);
        }
        text += &format!("\n{}", table.text(style));
        text += &format!("  {:.0} GPU-s are lost at worst\n", p.lost_gpu_s());
    }
    let places = [("MOVES", &p.moves), ("STARTS", &p.placements)];
    for (head, list) in places.into_iter().filter(|(_, l)| !l.is_empty()) {
        let mut table = Table::new(&[&format!("  {head}"), "FROM", "TO", "DEVICES"]);
        for place in list {
            let devices: Vec<String> = place.devices.iter().map(u8::to_string).collect();
            table.row(vec![
                format!("  {}", place.pod),
                or_dash(place.from.clone()),
                place.node.clone(),
                devices.join(" "),
            ]);
        }
        text += &format!("\n{}", table.text(style));
    }
    text
}

// === Budgets ===

const BUDGETS: &str = "/api/v1/budgets";

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn budget(verb: &Budget, client: &Client, out: &Out) -> Outcome {
    let values = match verb {
        Budget::Put { file } => put_all(BUDGETS, file, client)?,
        Budget::List => client.items(BUDGETS)?,
        Budget::Get { name } => {
            let value = client.get(&format!("{BUDGETS}/{}", segment(name)))?.value;
            let view: BudgetView = typed(&value)?;
            let views = [view];
            return out.value(&value, name, |style| budget_table(&views).text(style));
        }
        Budget::Delete { name, dry_run } => return remove(BUDGETS, name, *dry_run, client, out),
    };
    let views: Vec<BudgetView> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let empty = "there are no budgets; `loadmaster budget put FILE` adds some";
    out.list(&values, name_of, |_| budget_table(&views), empty)
}

fn budget_table(views: &[BudgetView]) -> Table {
    let mut table = Table::new(&[
        "BUDGET",
        "APP",
        ">AVAILABLE",
        ">KEEP",
        ">TOKENS",
        ">REFILL",
        ">ALLOWED NOW",
    ]);
    for v in views {
        let bucket = v.spec.bucket;
        table.row(vec![
            v.name.clone(),
            v.spec.app.clone(),
            v.available.to_string(),
            v.spec.min_available.to_string(),
            or_dash(
                v.tokens
                    .zip(bucket)
                    .map(|(t, b)| format!("{t} of {}", b.capacity)),
            ),
            or_dash(bucket.map(|b| match b.refill.0 {
                0 => "never".to_owned(),
                _ => format!("1 in {}", b.refill),
            })),
            v.allowed.to_string(),
        ]);
    }
    table
}
