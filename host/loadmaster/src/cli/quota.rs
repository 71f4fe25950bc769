//! `loadmaster quota`, `queue` and `catalog`: who may use how much, and what is
//! known of whom.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::client::{Client, segment, typed};
use super::failure::{Exit, Failure, Outcome};
use super::input;
use super::output::{Out, Style};
use super::table::Table;
use crate::replay::summary::grouped;
use crate::wire::plan::Shortage;
use crate::wire::usage::{QueueView, QuotaView, Usage};

pub(super) const QUOTA: &str = "\
Examples:
  loadmaster quota tree
  loadmaster quota put quotas.json";
const QUOTA_PUT: &str = "\
Examples:
  loadmaster quota put quotas.json
  echo '{\"name\":\"vision\",\"parent\":\"research\",\"tier\":\"flex\",\"resources\":{\"gpu\":{\"nominal\":64,\"borrowing_limit\":32}}}' | loadmaster quota put -";
const QUOTA_GET: &str = "\
Examples:
  loadmaster quota get vision
  loadmaster quota get vision -o yaml";
const QUOTA_LIST: &str = "\
Examples:
  loadmaster quota list
  loadmaster quota list -o json";
const QUOTA_TREE: &str = "\
Examples:
  loadmaster quota tree
  loadmaster quota tree -o wide";
const QUOTA_DELETE: &str = "\
Examples:
  loadmaster quota delete vision --dry-run
  loadmaster quota delete vision";
pub(super) const QUEUE: &str = "\
Examples:
  loadmaster queue list
  loadmaster queue get vision-batch";
const QUEUE_PUT: &str = "\
Examples:
  loadmaster queue put queues.json
  echo '{\"name\":\"vision-batch\",\"quota\":\"vision\"}' | loadmaster queue put -";
const QUEUE_GET: &str = "\
Examples:
  loadmaster queue get vision-batch
  loadmaster queue get vision-batch -o json";
const QUEUE_LIST: &str = "\
Examples:
  loadmaster queue list
  loadmaster queue list -o name";
const QUEUE_DELETE: &str = "\
Examples:
  loadmaster queue delete vision-batch --dry-run
  loadmaster queue delete vision-batch";
const QUEUE_SUSPEND: &str = "\
Examples:
  loadmaster queue suspend vision-batch
  loadmaster queue suspend vision-batch -o json";
const QUEUE_RESUME: &str = "\
Examples:
  loadmaster queue resume vision-batch
  loadmaster queue resume vision-batch -o json";
pub(super) const CATALOG: &str = "\
Examples:
  loadmaster catalog list
  loadmaster catalog put apps.json";
const CATALOG_PUT: &str = "\
Examples:
  loadmaster catalog put apps.json
  echo '{\"catalog\":\"app\",\"name\":\"search\",\"owner\":\"team-search\",\"tier\":\"critical\"}' | loadmaster catalog put -";
const CATALOG_LIST: &str = "\
Examples:
  loadmaster catalog list
  loadmaster catalog list --only image -o json";
const CATALOG_DELETE: &str = "\
Examples:
  loadmaster catalog delete app search --dry-run
  loadmaster catalog delete image registry.example/search:1.4";

/// Verbs about quotas.
#[derive(Debug, Subcommand)]
pub enum Quota {
    /// Add capacity groups and cohorts, or change them; parents first.
    #[command(after_help = QUOTA_PUT)]
    Put {
        /// JSON (or .toml): one quota or a list; - reads the standard input
        file: PathBuf,
    },
    /// Show one quota.
    #[command(after_help = QUOTA_GET, visible_alias = "show")]
    Get {
        /// Name
        name: String,
    },
    /// List quotas, one line a resource.
    #[command(after_help = QUOTA_LIST)]
    List,
    /// Show quotas as a tree: used, nominal, borrowed, available.
    #[command(after_help = QUOTA_TREE)]
    Tree,
    /// Remove a quota that no queue and no other quota uses.
    #[command(after_help = QUOTA_DELETE, visible_alias = "remove")]
    Delete {
        /// Name
        name: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

/// Verbs about queues.
#[derive(Debug, Subcommand)]
pub enum Queue {
    /// Add queues or change them.
    #[command(after_help = QUEUE_PUT)]
    Put {
        /// JSON (or .toml): one queue or a list; - reads the standard input
        file: PathBuf,
    },
    /// Show a queue and who waits in it, in order.
    #[command(after_help = QUEUE_GET, visible_alias = "show")]
    Get {
        /// Name
        name: String,
    },
    /// List queues.
    #[command(after_help = QUEUE_LIST)]
    List,
    /// Remove a queue that no job uses.
    #[command(after_help = QUEUE_DELETE, visible_alias = "remove")]
    Delete {
        /// Name
        name: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Admit nothing more; what runs goes on.
    #[command(after_help = QUEUE_SUSPEND)]
    Suspend {
        /// Name
        name: String,
    },
    /// Admit again.
    #[command(after_help = QUEUE_RESUME)]
    Resume {
        /// Name
        name: String,
    },
}

/// Which catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Applications.
    App,
    /// Images.
    Image,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Image => "image",
        }
    }
}

/// Verbs about catalogues.
#[derive(Debug, Subcommand)]
pub enum Catalog {
    /// Add or replace entries.
    #[command(after_help = CATALOG_PUT)]
    Put {
        /// JSON (or .toml): one entry or a list; - reads the standard input
        file: PathBuf,
    },
    /// List entries.
    #[command(after_help = CATALOG_LIST)]
    List {
        /// Only this catalogue
        #[arg(long, value_enum)]
        only: Option<Which>,
        /// At most this many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Remove an entry.
    #[command(after_help = CATALOG_DELETE, visible_alias = "remove")]
    Delete {
        /// Catalogue
        #[arg(value_enum)]
        catalog: Which,
        /// Name
        name: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

/// Puts every object of a file to `<collection>/<name>`, over what is there.
pub(super) fn put_all(
    collection: &str,
    file: &Path,
    client: &Client,
) -> Result<Vec<Value>, Failure> {
    let mut made = Vec::new();
    for object in input::several(input::read(file)?) {
        let Some(name) = object["name"].as_str() else {
            let text = format!("{}: an object without a name", file.display());
            return Err(Failure::new(Exit::Usage, text));
        };
        let path = format!("{collection}/{}", segment(name));
        let tag = match client.get(&path) {
            Ok(answer) => answer.etag,
            // It is new.
            Err(failure) if failure.exit == Exit::Failed => None,
            Err(failure) => return Err(failure),
        };
        let tag = tag.as_deref();
        made.push(client.change("PUT", &path, tag, Some(&object))?.value);
    }
    Ok(made)
}

/// Removes an object, or says so.
pub(super) fn remove(
    collection: &str,
    name: &str,
    dry_run: bool,
    client: &Client,
    out: &Out,
) -> Outcome {
    let path = format!("{collection}/{}", segment(name));
    let answer = client.get(&path)?;
    if dry_run {
        out.note(&format!("{name} would be removed if nobody uses it"));
        return Ok(());
    }
    client.change::<Value>("DELETE", &path, answer.etag.as_deref(), None)?;
    out.note(&format!("{name} is removed"));
    Ok(())
}

pub(super) fn name_of(v: &Value) -> String {
    v["name"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

// === Quotas ===

const QUOTAS: &str = "/api/v1/quotas";

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn quota(verb: &Quota, client: &Client, out: &Out) -> Outcome {
    match verb {
        Quota::Put { file } => quotas(&put_all(QUOTAS, file, client)?, false, out),
        Quota::Get { name } => {
            let value = client.get(&format!("{QUOTAS}/{}", segment(name)))?.value;
            let view: QuotaView = typed(&value)?;
            out.value(&value, name, |style| quota_text(&view, style))
        }
        Quota::List => quotas(&client.items(QUOTAS)?, false, out),
        Quota::Tree => quotas(&client.items(QUOTAS)?, true, out),
        Quota::Delete { name, dry_run } => remove(QUOTAS, name, *dry_run, client, out),
    }
}

fn quotas(values: &[Value], tree: bool, out: &Out) -> Outcome {
    let views: Vec<QuotaView> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |wide| quota_table(&views, tree, wide);
    let empty = "there are no quotas; `loadmaster quota put FILE` adds some";
    out.list(values, name_of, table, empty)
}

/// One line a resource; the name of a node stands on its first.
fn quota_table(views: &[QuotaView], tree: bool, wide: bool) -> Table {
    let mut head = vec![
        "QUOTA",
        "TIER",
        "RESOURCE",
        ">USED",
        ">NOMINAL",
        ">BORROWED",
        ">AVAILABLE",
    ];
    if wide {
        head.extend([
            ">WEIGHT",
            ">BORROW UP TO",
            ">LEND UP TO",
            ">SHARE",
            "QUEUES",
        ]);
    }
    let mut table = Table::new(&head);
    for v in views {
        let indent = if tree {
            "  ".repeat(v.depth as usize)
        } else {
            String::new()
        };
        let tier = format!("{:?}", v.spec.tier).to_lowercase();
        let none = Usage {
            resource: "–".to_owned(),
            used: String::new(),
            nominal: None,
            borrowed: String::new(),
            available: None,
        };
        let lines = if v.usage.is_empty() {
            std::slice::from_ref(&none)
        } else {
            &v.usage
        };
        for (at, line) in lines.iter().enumerate() {
            let first = |text: String| if at == 0 { text } else { String::new() };
            let mut row = vec![
                first(format!("{indent}{}", v.name)),
                first(tier.clone()),
                line.resource.clone(),
                line.used.clone(),
                or_dash(line.nominal.clone()),
                line.borrowed.clone(),
                or_dash(line.available.clone()),
            ];
            if wide {
                let (borrow, lend) = limits(v, &line.resource);
                row.extend([
                    first(v.spec.weight.to_string()),
                    or_dash(borrow),
                    or_dash(lend),
                    first(format!("{:.0} %", v.share * 100.0)),
                    first(v.queues.join(", ")),
                ]);
            }
            table.row(row);
        }
    }
    table
}

fn limits(v: &QuotaView, resource: &str) -> (Option<String>, Option<String>) {
    let all = serde_json::to_value(v.spec.resources).unwrap_or_default();
    let text = |key: &str| all[resource][key].as_str().map(str::to_owned);
    (text("borrowing_limit"), text("lending_limit"))
}

fn quota_text(v: &QuotaView, style: Style) -> String {
    let parent = v.spec.parent.as_ref();
    let parent = parent.map_or("at the top".to_owned(), |p| format!("in {p}"));
    let mut text = format!(
        "{}   {} · {parent} · weight {} · {:.0} % of its own\n\n{}",
        style.bold(&v.name),
        format!("{:?}", v.spec.tier).to_lowercase(),
        v.spec.weight,
        v.share * 100.0,
        quota_table(std::slice::from_ref(v), false, false).text(style)
    );
    if !v.queues.is_empty() {
        text += &format!("\nqueues: {}\n", v.queues.join(", "));
    }
    text
}

// === Queues ===

const QUEUES: &str = "/api/v1/queues";

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn queue(verb: &Queue, client: &Client, out: &Out) -> Outcome {
    match verb {
        Queue::Put { file } => queues(&put_all(QUEUES, file, client)?, out),
        Queue::Get { name } => {
            let value = client.get(&format!("{QUEUES}/{}", segment(name)))?.value;
            let view: QueueView = typed(&value)?;
            out.value(&value, name, |style| queue_text(&view, style))
        }
        Queue::List => queues(&client.items(QUEUES)?, out),
        Queue::Delete { name, dry_run } => remove(QUEUES, name, *dry_run, client, out),
        Queue::Suspend { name } => set(name, "suspend", client, out),
        Queue::Resume { name } => set(name, "resume", client, out),
    }
}

fn set(name: &str, verb: &str, client: &Client, out: &Out) -> Outcome {
    let path = format!("{QUEUES}/{}/{verb}", segment(name));
    let value = client.change::<Value>("POST", &path, None, None)?.value;
    queues(&[value], out)
}

fn queues(values: &[Value], out: &Out) -> Outcome {
    let views: Vec<QueueView> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |wide| {
        let mut head = vec!["QUEUE", "QUOTA", "STATE", ">ADMITTED", ">WAITING", "USED"];
        if wide {
            head.extend(["NEXT", "REASON"]);
        }
        let mut table = Table::new(&head);
        for v in &views {
            let next = v.waiting.first();
            let mut row = vec![
                v.name.clone(),
                v.spec.quota.clone(),
                state(v).to_owned(),
                v.admitted.to_string(),
                v.waiting_jobs.to_string(),
                v.used.text(),
            ];
            if wide {
                row.push(or_dash(next.map(|j| j.job.clone())));
                row.push(or_dash(next.map(|j| j.reason.clone())));
            }
            table.row(row);
        }
        table
    };
    let empty = "there are no queues; `loadmaster queue put FILE` adds some";
    out.list(values, name_of, table, empty)
}

fn state(v: &QueueView) -> &'static str {
    if v.spec.suspended {
        "suspended"
    } else {
        "open"
    }
}

pub(super) fn shortages_text(shortages: &[Shortage]) -> String {
    let list = shortages.iter();
    let list = list.map(|s| format!("{} {} short at {}", s.short, s.resource, s.quota));
    list.collect::<Vec<_>>().join(", ")
}

fn queue_text(v: &QueueView, style: Style) -> String {
    let mut text = format!(
        "{}   {} · paid by {} · {} pods admitted{}\n",
        style.bold(&v.name),
        state(v),
        v.spec.quota,
        grouped(v.admitted.into()),
        match v.used.text() {
            used if used.is_empty() => String::new(),
            used => format!(" ({used})"),
        }
    );
    if v.waiting.is_empty() {
        return text + "nobody waits\n";
    }
    let mut table = Table::new(&[
        ">#",
        "JOB",
        ">PODS",
        ">PRIORITY",
        "SINCE",
        "REASON",
        "MISSING",
    ]);
    for (at, j) in v.waiting.iter().enumerate() {
        let missing = match &j.finding {
            Some(finding) => finding.message.clone(),
            None if j.reclaiming => {
                format!("{} (being given back)", shortages_text(&j.shortages))
            }
            None => shortages_text(&j.shortages),
        };
        table.row(vec![
            (at + 1).to_string(),
            j.job.clone(),
            j.pods.to_string(),
            j.priority.to_string(),
            j.since.to_string(),
            j.reason.clone(),
            missing,
        ]);
    }
    text += &format!("\n{}", table.text(style));
    let more = v.waiting_jobs as usize - v.waiting.len().min(v.waiting_jobs as usize);
    if more > 0 {
        text += &format!("and {} more\n", grouped(more as u64));
    }
    text
}

// === Catalogues ===

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn catalog(verb: &Catalog, client: &Client, out: &Out) -> Outcome {
    match verb {
        Catalog::Put { file } => {
            let entries = input::several(input::read(file)?);
            let names: Vec<String> = entries.iter().map(name_of).collect();
            let answer = client.change("POST", "/api/v1/catalog", None, Some(&entries))?;
            out.value(&answer.value, &names.join("\n"), |style| {
                let n = answer.value["applied"].as_u64().unwrap_or(0);
                format!("{} {} entries\n", style.good("put"), grouped(n))
            })
        }
        Catalog::List { only, limit } => {
            let query = only.map_or_else(String::new, |w| format!("?catalog={}", w.name()));
            let values = client.list(&format!("/api/v1/catalog{query}"), *limit)?;
            let table = |_| {
                let mut table = Table::new(&["CATALOG", "NAME", "OWNER", "TIER", "KNOWN"]);
                for v in &values {
                    let text = |key: &str| or_dash(v[key].as_str().map(str::to_owned));
                    table.row(vec![
                        text("catalog"),
                        text("name"),
                        text("owner"),
                        text("tier"),
                        known(v),
                    ]);
                }
                table
            };
            let empty = "the catalogue is empty; `loadmaster catalog put FILE` fills it";
            out.list(&values, name_of, table, empty)
        }
        Catalog::Delete {
            catalog,
            name,
            dry_run,
        } => remove(
            &format!("/api/v1/catalog/{}", catalog.name()),
            name,
            *dry_run,
            client,
            out,
        ),
    }
}

fn known(v: &Value) -> String {
    let list = |key: &str| {
        let items = v[key].as_array().into_iter().flatten();
        items
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut parts = Vec::new();
    if v["compliance"].is_array() {
        parts.push(list("compliance"));
    }
    if v["signed_by"].is_array() {
        parts.push(format!("signed by {}", list("signed_by")));
    }
    if let Some(built) = v["built"].as_str() {
        parts.push(format!("built {built}"));
    }
    if let Some(base) = v["base_built"].as_str() {
        parts.push(format!("base built {base}"));
    }
    parts.join(" · ")
}
