//! `loadmaster status`, `mode`, `guard` and `events`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, segment, typed};
use super::failure::{Exit, Failure, Outcome};
use super::output::{Format, Out, Style};
use super::table::Table;
use crate::replay::summary::grouped;
use crate::wire::view::{Guard as GuardView, Summary};

pub(super) const STATUS: &str = "\
Examples:
  loadmaster status
  loadmaster status -o json";
pub(super) const MODE: &str = "\
Examples:
  loadmaster mode
  loadmaster mode maintenance";
pub(super) const GUARD: &str = "\
Examples:
  loadmaster guard list
  loadmaster guard approve hold --by ana --reason 'looked at every node'";
const GUARD_LIST: &str = "\
Examples:
  loadmaster guard list
  loadmaster guard list -o json";
const GUARD_GET: &str = "\
Examples:
  loadmaster guard get evictions
  loadmaster guard get hold -o json";
const GUARD_APPROVE: &str = "\
Examples:
  loadmaster guard approve hold --by ana --reason 'agents have reported'
  loadmaster guard approve evictions --count 200 --by ana --reason 'draining rack 7'
  loadmaster guard approve hold --by ops --reason 'restored on purpose, OPS-9'";
pub(super) const EVENTS: &str = "\
Examples:
  loadmaster events --follow
  loadmaster events --follow --only set-changed,fault -o json";

/// Wait before the stream is asked for again.
const AGAIN: Duration = Duration::from_secs(2);

/// Declared state of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Business as usual.
    Normal,
    /// Another region's work is arriving: pack.
    Evacuation,
    /// Something is broken: change little.
    Incident,
    /// Planned work.
    Maintenance,
}

/// Verbs about what keeps the host from acting.
#[derive(Debug, Subcommand)]
pub enum Guard {
    /// List guards.
    #[command(after_help = GUARD_LIST)]
    List,
    /// Show one guard with its numbers.
    #[command(after_help = GUARD_GET, visible_alias = "show")]
    Get {
        /// Id: hold or evictions
        id: String,
    },
    /// Let a guard go, after having looked.
    #[command(after_help = GUARD_APPROVE)]
    Approve {
        /// Id
        id: String,
        /// Who
        #[arg(long)]
        by: String,
        /// Why it is safe
        #[arg(long)]
        reason: String,
        /// For evictions: how many pods more may be evicted
        #[arg(long, value_name = "N")]
        count: Option<u32>,
    },
}

/// Options of `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Come back when the host restarts, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Only these, separated by commas: bound, unschedulable, finished, fault, set-changed, …
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
}

/// The cluster in numbers.
///
/// # Errors
/// The host does not answer.
pub fn status(client: &Client, out: &Out) -> Outcome {
    let value = client.get("/api/v1/summary")?.value;
    let s: Summary = typed(&value)?;
    out.value(&value, "summary", |style| status_text(&s, style))
}

fn status_text(s: &Summary, style: Style) -> String {
    let used = s.gpu_milli_used as f64 / 1000.0;
    let share = if s.gpus == 0 {
        0.0
    } else {
        100.0 * used / f64::from(s.gpus)
    };
    let mut text = format!(
        "{} nodes · {} GPUs, {} in use ({share:.1} %) · {} pods running · {} decisions\n",
        grouped(s.nodes.into()),
        grouped(s.gpus.into()),
        grouped(used.round() as u64),
        grouped(s.running),
        grouped(s.decisions)
    );
    let mode = format!("{:?}", s.mode).to_lowercase();
    if mode != "normal" {
        text += &format!("mode {}\n", style.accent(&mode));
    }
    if s.hold {
        text += &format!(
            "{}: nothing is taken away; loadmaster guard list says why\n",
            style.bad("on hold")
        );
    }
    if s.waiting.is_empty() {
        text += "nothing is waiting\n";
    }
    for (reason, count) in &s.waiting {
        text += &format!("{:>7} waiting   {reason}\n", grouped((*count).into()));
    }
    text
}

/// Shows or declares the mode.
///
/// # Errors
/// The host refuses or does not answer.
pub fn mode(mode: Option<Mode>, client: &Client, out: &Out) -> Outcome {
    let value = match mode {
        None => client.get("/api/v1/mode")?.value,
        Some(mode) => {
            let body = json!({"mode": format!("{mode:?}").to_lowercase()});
            client
                .change("PUT", "/api/v1/mode", None, Some(&body))?
                .value
        }
    };
    let name = value["mode"].as_str().unwrap_or_default().to_owned();
    out.value(&value, &name, |_| format!("{name}\n"))
}

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn guard(verb: &Guard, client: &Client, out: &Out) -> Outcome {
    let values = match verb {
        Guard::List => client.items("/api/v1/guards")?,
        Guard::Get { id } => {
            let path = format!("/api/v1/guards/{}", segment(id));
            vec![client.get(&path)?.value]
        }
        Guard::Approve {
            id,
            by,
            reason,
            count,
        } => {
            let path = format!("/api/v1/guards/{}/approve", segment(id));
            let mut body = json!({"by": by, "reason": reason});
            if let Some(count) = count {
                body["count"] = json!(count);
            }
            vec![client.change("POST", &path, None, Some(&body))?.value]
        }
    };
    let guards: Vec<GuardView> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |_| {
        let mut table = Table::new(&["GUARD", "STATE", "REASON", "PREVENTS"]);
        for g in &guards {
            let state = if g.active { "active" } else { "at rest" };
            table.row(vec![
                g.id.clone(),
                state.to_owned(),
                g.reason.clone(),
                g.prevents.clone(),
            ]);
        }
        table
    };
    let name = |v: &Value| v["id"].as_str().unwrap_or_default().to_owned();
    out.list(&values, name, table, "no guards")
}

/// Prints what happens.
///
/// # Errors
/// The host does not answer, or goes away and is not to be waited for.
pub fn events(options: &Events, client: &Client, out: &Out) -> Outcome {
    let mut last: Option<String> = None;
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|o| o == name);
    loop {
        let ended = client.events(last.as_deref(), |name, data| {
            if wanted(name) {
                out.print(&event_text(name, data, out.format, out.style))?;
            }
            Ok(true)
        });
        match ended {
            Ok(id) => last = id,
            // Only a host that was there is waited for.
            Err(failure) if last.is_none() || failure.exit != Exit::Unreachable => {
                return Err(failure);
            }
            Err(_) => {}
        }
        if !options.follow {
            return Err(Failure::new(Exit::Unreachable, "the host ended the stream")
                .hint("--follow waits until it is back"));
        }
        out.note("the stream ended; waiting for the host");
        std::thread::sleep(AGAIN);
    }
}

fn event_text(name: &str, data: &str, format: Format, style: Style) -> String {
    if matches!(format, Format::Json | Format::Yaml) {
        // One object a line, for tools that read streams.
        return format!("{data}\n");
    }
    let value: Value = serde_json::from_str(data).unwrap_or_default();
    if format == Format::Name {
        return format!("{name}\n");
    }
    let text = |key: &str| match &value[key] {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let set = || {
        let members = value["set"]["members"].as_array();
        let names = members.into_iter().flatten().map(|m| {
            let policy = &m["policy"];
            format!(
                "{} {}",
                policy["name"].as_str().unwrap_or("?"),
                policy["version"].as_str().unwrap_or("")
            )
        });
        names.collect::<Vec<_>>().join(" + ")
    };
    let what = match name {
        "bound" => format!("{} → {} {}", text("pod"), text("node"), text("devices")),
        "unschedulable" => format!("{}   {}", text("pod"), style.bad(&text("reason"))),
        "finished" => text("pod"),
        "requeued" => format!("{}   {}", text("pod"), text("cause")),
        "node-put" | "node-removed" => text("node"),
        "set-changed" => format!(
            "{}   {}   {} in {} µs   {}",
            text("kind"),
            style.accent(&set()),
            text("cause"),
            text("pause_us"),
            text("reason")
        ),
        "scaled" => format!("{}   {} → {}", text("workload"), text("from"), text("to")),
        "fault" => format!(
            "{}   {}: {}",
            style.bad(value["policy"]["name"].as_str().unwrap_or("?")),
            text("code"),
            text("message")
        ),
        "admission" => format!(
            "{}   {}   {}",
            text("job"),
            value["outcome"]["result"].as_str().unwrap_or("?"),
            text("queue")
        ),
        "plan" => format!(
            "{} {}   {} for {}   {} leave, {} move",
            text("id"),
            value["status"]["phase"].as_str().unwrap_or("?"),
            text("action"),
            text("preemptor"),
            text("victims"),
            text("moves")
        ),
        "evicting" => format!(
            "{} on {}   {}   {} ms",
            text("pod"),
            text("node"),
            text("cause"),
            text("grace_ms")
        ),
        "guard-tripped" => style.bad(&text("why")),
        "gang-timed-out" => text("job"),
        "admission-stuck" => format!(
            "{} since {}   {} refused",
            style.bad(&text("policy")),
            text("since"),
            text("refused")
        ),
        "approved" => format!("{} by {}", text("guard"), text("by")),
        "resync" => "events were missed; what is shown goes on from here".to_owned(),
        _ => data.to_owned(),
    };
    let time = text("at");
    let clock = time.get(11..23).unwrap_or("");
    format!("{clock:<12} {name:<15} {what}\n")
}
