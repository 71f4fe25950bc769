//! `loadmaster scaling` and `loadmaster calendar`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, segment, typed};
use super::failure::{Exit, Failure, Outcome};
use super::input;
use super::output::{Out, Style};
use super::table::Table;
use crate::wire::scaling::{CalendarEntry, ScalingDecision};
use crate::wire::view::ScalingView;

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster scaling list
  loadmaster scaling show web";
const LIST: &str = "\
Examples:
  loadmaster scaling list
  loadmaster scaling list -o json";
const SHOW: &str = "\
Examples:
  loadmaster scaling show web
  loadmaster scaling show web -o json";
const SET: &str = "\
Examples:
  loadmaster scaling set web --min 2 --max 100 --capacity 500 --start-up-ms 300000
  loadmaster scaling set web --file web-scaling.json";
const REMOVE: &str = "\
Examples:
  loadmaster scaling remove web
  loadmaster scaling remove web --dry-run";
const SAMPLE: &str = "\
Examples:
  loadmaster scaling sample web 1250
  loadmaster scaling sample web 0";
pub(super) const CALENDAR: &str = "\
Examples:
  loadmaster calendar list
  loadmaster calendar put launch.json";
const CALENDAR_LIST: &str = "\
Examples:
  loadmaster calendar list
  loadmaster calendar list -o yaml";
const CALENDAR_PUT: &str = "\
Examples:
  loadmaster calendar put launch.json
  echo '{\"name\":\"launch\",\"workload\":\"web\",\"start\":\"2026-12-01T18:00:00Z\",\"end\":\"2026-12-01T22:00:00Z\",\"multiplier\":3}' | loadmaster calendar put -";
const CALENDAR_REMOVE: &str = "\
Examples:
  loadmaster calendar remove launch
  loadmaster calendar remove launch --dry-run";

/// Verbs about scaled workloads.
#[derive(Debug, Subcommand)]
pub enum Scaling {
    /// List scaled workloads.
    #[command(after_help = LIST)]
    List,
    /// Show a workload and its latest decisions: raw, constraints, final.
    #[command(after_help = SHOW)]
    Show {
        /// Workload
        workload: String,
    },
    /// Scale a workload, or change how.
    #[command(after_help = SET)]
    Set {
        /// Workload
        workload: String,
        /// The whole description as JSON; the options below are then left out
        #[arg(long, value_name = "FILE", conflicts_with_all = ["min", "max", "capacity", "target", "start_up_ms", "step_ms"])]
        file: Option<PathBuf>,
        /// Fewest replicas
        #[arg(long)]
        min: Option<u32>,
        /// Most replicas
        #[arg(long)]
        max: Option<u32>,
        /// Load that one ready replica serves
        #[arg(long)]
        capacity: Option<f64>,
        /// Utilisation aimed at, 0 to 1
        #[arg(long)]
        target: Option<f64>,
        /// From asked for to serving
        #[arg(long, value_name = "MS")]
        start_up_ms: Option<u64>,
        /// Distance of two samples
        #[arg(long, value_name = "MS")]
        step_ms: Option<u64>,
    },
    /// Scale a workload no longer.
    #[command(after_help = REMOVE)]
    Remove {
        /// Workload
        workload: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Report the present load of a workload.
    #[command(after_help = SAMPLE)]
    Sample {
        /// Workload
        workload: String,
        /// Load
        value: f64,
    },
}

/// Verbs about what people know in advance.
#[derive(Debug, Subcommand)]
pub enum Calendar {
    /// List entries.
    #[command(after_help = CALENDAR_LIST)]
    List,
    /// Add or replace entries.
    #[command(after_help = CALENDAR_PUT)]
    Put {
        /// JSON (or .toml): one entry or a list; - reads the standard input
        file: PathBuf,
    },
    /// Remove an entry.
    #[command(after_help = CALENDAR_REMOVE)]
    Remove {
        /// Name
        name: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

fn path(workload: &str) -> String {
    format!("/api/v1/scaling/{}", segment(workload))
}

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn run(verb: &Scaling, client: &Client, out: &Out) -> Outcome {
    match verb {
        Scaling::List => list(client, out),
        Scaling::Show { workload } => {
            let value = client.get(&path(workload))?.value;
            let view: ScalingView = typed(&value)?;
            out.value(&value, workload, |style| shown(&view, style))
        }
        Scaling::Set { .. } => set(verb, client, out),
        Scaling::Remove { workload, dry_run } => {
            let answer = client.get(&path(workload))?;
            if *dry_run {
                out.note(&format!(
                    "{workload} would keep its replicas and be scaled no longer"
                ));
                return Ok(());
            }
            let tag = answer.etag.as_deref();
            client.change::<Value>("DELETE", &path(workload), tag, None)?;
            out.note(&format!("{workload} is scaled no longer"));
            Ok(())
        }
        Scaling::Sample { workload, value } => {
            let body = json!({"samples": [{"workload": workload, "value": value}]});
            client.change("POST", "/api/v1/metrics/samples", None, Some(&body))?;
            out.note(&format!("load of {workload} is {value}"));
            Ok(())
        }
    }
}

fn list(client: &Client, out: &Out) -> Outcome {
    let values = client.items("/api/v1/scaling")?;
    let views: Vec<ScalingView> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |_| {
        let mut table = Table::new(&[
            "WORKLOAD",
            ">READY",
            ">STARTING",
            ">WANTED",
            ">MIN",
            ">MAX",
            ">LOAD",
            "POLICY",
        ]);
        for v in &views {
            let last = v.decisions.first();
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
            table.row(vec![
                v.workload.clone(),
                v.ready.to_string(),
                v.starting.to_string(),
                or_dash(last.map(|d| d.desired.to_string())),
                v.spec.min.to_string(),
                v.spec.max.to_string(),
                or_dash(v.load.map(|l| format!("{l:.1}"))),
                or_dash(last.map(|d| d.policy.name.clone())),
            ]);
        }
        table
    };
    let name = |v: &Value| v["workload"].as_str().unwrap_or_default().to_owned();
    out.list(
        &values,
        name,
        table,
        "nothing is scaled; see loadmaster scaling set --help",
    )
}

fn shown(v: &ScalingView, style: Style) -> String {
    let load = v.load.map_or("unknown".to_owned(), |l| format!("{l:.1}"));
    let mut text = format!(
        "{}   {} ready, {} starting   load {load}\n  {} to {} replicas · one serves {} · start-up {} s\n",
        style.bold(&v.workload),
        v.ready,
        v.starting,
        v.spec.min,
        v.spec.max,
        v.spec.capacity,
        v.spec.start_up_ms / 1000
    );
    for d in &v.decisions {
        text += &decision(d, style);
    }
    text
}

/// raw → constraints → final.
fn decision(d: &ScalingDecision, style: Style) -> String {
    let mut text = format!(
        "\n  {}   {} → {}   {}\n    {:<22} {:>6}\n    {:<22} {:>6}\n",
        d.time,
        d.current,
        style.bold(&d.desired.to_string()),
        style.dim(&format!("by {} {}", d.policy.name, d.policy.version)),
        "reactive formula",
        d.reactive,
        "raw, by the policy",
        d.raw
    );
    for part in &d.parts {
        text += &format!(
            "    {:<22} {:>6}   {}\n",
            part.name,
            part.value,
            style.dim(&part.text)
        );
    }
    if let Some(ahead) = d.forecast.last() {
        text += &format!(
            "    {:<22} {:>6.0}   at {}, up to {:.0}\n",
            "forecast", ahead.mean, ahead.at, ahead.high
        );
    }
    if let Some(fault) = &d.fault {
        text += &format!(
            "    {} {fault} (the built-in answered)\n",
            style.bad("fault")
        );
    }
    text
}

fn set(verb: &Scaling, client: &Client, out: &Out) -> Outcome {
    let Scaling::Set {
        workload,
        file,
        min,
        max,
        capacity,
        target,
        start_up_ms,
        step_ms,
    } = verb
    else {
        return Ok(());
    };
    let before = match client.get(&path(workload)) {
        Ok(answer) => Some(answer),
        Err(failure) if failure.exit == Exit::Failed => None,
        Err(failure) => return Err(failure),
    };
    let body = match file {
        Some(file) => input::read(file)?,
        None => {
            let mut spec = before
                .as_ref()
                .map_or_else(|| json!({}), |a| a.value["spec"].clone());
            let given = [
                ("min", min.map(|v| json!(v))),
                ("max", max.map(|v| json!(v))),
                ("capacity", capacity.map(|v| json!(v))),
                ("target_utilization", target.map(|v| json!(v))),
                ("start_up_ms", start_up_ms.map(|v| json!(v))),
                ("step_ms", step_ms.map(|v| json!(v))),
            ];
            for (key, value) in given {
                if let Some(value) = value {
                    spec[key] = value;
                }
            }
            let missing: Vec<&str> = ["min", "max", "capacity"]
                .into_iter()
                .filter(|key| spec[*key].is_null())
                .collect();
            if !missing.is_empty() {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{workload} is new: {} must be given", missing.join(", ")),
                )
                .hint(format!(
                    "loadmaster scaling set {workload} --min 2 --max 100 --capacity 500"
                )));
            }
            spec
        }
    };
    let tag = before.and_then(|a| a.etag);
    let value = client
        .change("PUT", &path(workload), tag.as_deref(), Some(&body))?
        .value;
    let view: ScalingView = typed(&value)?;
    out.value(&value, workload, |style| shown(&view, style))
}

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn calendar(verb: &Calendar, client: &Client, out: &Out) -> Outcome {
    match verb {
        Calendar::List => entries(&client.items("/api/v1/calendar")?, out),
        Calendar::Put { file } => {
            let known = client.items("/api/v1/calendar")?;
            let mut made = Vec::new();
            for entry in input::several(input::read(file)?) {
                // Replacing by name is what the verb says.
                let there = known.iter().any(|k| k["name"] == entry["name"]);
                let tag = there.then_some("*");
                made.push(
                    client
                        .change("POST", "/api/v1/calendar", tag, Some(&entry))?
                        .value,
                );
            }
            entries(&made, out)
        }
        Calendar::Remove { name, dry_run } => {
            if *dry_run {
                out.note(&format!("{name} would be removed"));
                return Ok(());
            }
            let path = format!("/api/v1/calendar/{}", segment(name));
            client.change::<Value>("DELETE", &path, None, None)?;
            out.note(&format!("{name} is removed"));
            Ok(())
        }
    }
}

fn entries(values: &[Value], out: &Out) -> Outcome {
    let entries: Vec<CalendarEntry> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |_| {
        let mut table = Table::new(&["NAME", "WORKLOAD", "START", "END", ">LOAD", ">TIMES"]);
        for e in &entries {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
            table.row(vec![
                e.name.clone(),
                if e.workload.is_empty() {
                    "all".to_owned()
                } else {
                    e.workload.clone()
                },
                e.start.to_string(),
                e.end.to_string(),
                or_dash(e.load.map(|l| l.to_string())),
                or_dash(e.multiplier.map(|m| (f64::from(m.0) / 1000.0).to_string())),
            ]);
        }
        table
    };
    let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
    out.list(values, name, table, "the calendar is empty")
}
