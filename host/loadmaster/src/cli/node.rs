//! `loadmaster node`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, segment, typed};
use super::failure::{Exit, Failure, Outcome};
use super::input;
use super::output::Out;
use super::table::Table;
use crate::replay::summary::grouped;
use crate::wire::view::NodeView;

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster node list
  loadmaster node put nodes.json";
const PUT: &str = "\
Examples:
  loadmaster node put nodes.json
  echo '{\"name\":\"n1\",\"capacity\":{\"cpu\":\"64\",\"memory\":\"512Gi\"},\"gpus\":[{\"model\":\"H100\",\"count\":8}]}' | loadmaster node put -";
const LIST: &str = "\
Examples:
  loadmaster node list -o wide
  loadmaster node list -o name";
const SHOW: &str = "\
Examples:
  loadmaster node show node-07
  loadmaster node show node-07 -o yaml";
const CORDON: &str = "\
Examples:
  loadmaster node cordon node-07
  loadmaster node cordon node-07 --dry-run";
const UNCORDON: &str = "\
Examples:
  loadmaster node uncordon node-07
  loadmaster node uncordon node-07 --dry-run";
const REMOVE: &str = "\
Examples:
  loadmaster node remove node-07 --dry-run
  loadmaster node remove node-07 --yes";

/// Verbs about nodes.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Add nodes or change their description.
    #[command(after_help = PUT)]
    Put {
        /// JSON (or .toml): one node or a list; - reads the standard input
        file: PathBuf,
    },
    /// List nodes with what is free on them.
    #[command(after_help = LIST)]
    List,
    /// Show one node and what runs on it.
    #[command(after_help = SHOW)]
    Show {
        /// Name
        name: String,
    },
    /// Keep new pods away; running ones stay.
    #[command(after_help = CORDON)]
    Cordon {
        /// Name
        name: String,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Let new pods come again.
    #[command(after_help = UNCORDON)]
    Uncordon {
        /// Name
        name: String,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove a node; its pods wait again.
    #[command(after_help = REMOVE)]
    Remove {
        /// Name
        name: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
        /// Do it although pods run there
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn run(verb: &Node, client: &Client, out: &Out) -> Outcome {
    match verb {
        Node::Put { file } => put(file, client, out),
        Node::List => list(client, out),
        Node::Show { name } => {
            let value = client.get(&path(name))?.value;
            let view: NodeView = typed(&value)?;
            out.value(&value, name, |_| shown(&view))
        }
        Node::Cordon { name, dry_run } => cordon(name, true, *dry_run, client, out),
        Node::Uncordon { name, dry_run } => cordon(name, false, *dry_run, client, out),
        Node::Remove { name, dry_run, yes } => remove(name, *dry_run, *yes, client, out),
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/nodes/{}", segment(name))
}

fn put(file: &std::path::Path, client: &Client, out: &Out) -> Outcome {
    let nodes = input::several(input::read(file)?);
    let names: Vec<String> = nodes
        .iter()
        .filter_map(|n| n["name"].as_str().map(str::to_owned))
        .collect();
    let answer = client.change("POST", "/api/v1/nodes:batch", None, Some(&nodes))?;
    out.value(&answer.value, &names.join("\n"), |style| {
        let n = answer.value["applied"].as_u64().unwrap_or(0);
        format!("{} {} nodes\n", style.good("put"), grouped(n))
    })
}

fn gpu_free(view: &NodeView) -> (i64, i64) {
    let healthy = view.gpu_milli_free.iter().filter(|m| **m >= 0);
    let free = healthy.clone().map(|m| i64::from(*m)).sum();
    (free, healthy.count() as i64 * 1000)
}

fn state(view: &NodeView) -> &'static str {
    match (view.failed, view.spec.cordoned) {
        (true, _) => "failed",
        (false, true) => "cordoned",
        _ => "ready",
    }
}

fn gpus(milli: i64) -> String {
    if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{:.2}", milli as f64 / 1000.0)
    }
}

fn list(client: &Client, out: &Out) -> Outcome {
    let values = client.list("/api/v1/nodes", None)?;
    let views: Vec<NodeView> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |wide| {
        let mut head = vec![
            "NODE",
            "STATE",
            ">PODS",
            "GPU",
            ">GPU FREE",
            ">CPU FREE",
            ">MEMORY FREE",
        ];
        if wide {
            head.extend(["ZONE", "RACK", ">ROW"]);
        }
        let mut table = Table::new(&head);
        for v in &views {
            let (free, all) = gpu_free(v);
            let model = v.spec.gpus.first().map_or("–", |g| &g.model);
            let mut row = vec![
                v.name.clone(),
                state(v).to_owned(),
                v.pods.len().to_string(),
                model.to_owned(),
                if all == 0 {
                    String::new()
                } else {
                    format!("{} of {}", gpus(free), gpus(all))
                },
                format!("{:.1}", v.free.cpu_milli as f64 / 1000.0),
                format!("{:.1} GiB", v.free.memory_mib as f64 / 1024.0),
            ];
            if wide {
                let or_dash = |o: &Option<String>| o.clone().unwrap_or_else(|| "–".to_owned());
                row.extend([
                    or_dash(&v.spec.zone),
                    or_dash(&v.spec.rack),
                    v.row.to_string(),
                ]);
            }
            table.row(row);
        }
        table
    };
    let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
    out.list(
        &values,
        name,
        table,
        "there are no nodes; `loadmaster node put FILE` adds some",
    )
}

fn shown(v: &NodeView) -> String {
    let (free, all) = gpu_free(v);
    let mut text = format!("{}   {}\n", v.name, state(v));
    let mut line = |name: &str, value: String| text += &format!("  {name:<8} {value}\n");
    line(
        "cpu",
        format!("{:.1} free", v.free.cpu_milli as f64 / 1000.0),
    );
    line(
        "memory",
        format!("{:.1} GiB free", v.free.memory_mib as f64 / 1024.0),
    );
    if let Some(first) = v.spec.gpus.first() {
        line(
            "gpus",
            format!("{} of {} {} free", gpus(free), gpus(all), first.model),
        );
        let slots: Vec<String> = v
            .gpu_milli_free
            .iter()
            .map(|m| match *m {
                m if m < 0 => "unhealthy".to_owned(),
                1000 => "free".to_owned(),
                0 => "used".to_owned(),
                m => format!("{:.2} free", f64::from(m) / 1000.0),
            })
            .collect();
        line("slots", slots.join(" · "));
    }
    if let Some(zone) = &v.spec.zone {
        line("zone", zone.clone());
    }
    for (key, value) in &v.spec.labels {
        line("label", format!("{key}={value}"));
    }
    for pod in &v.pods {
        line("pod", pod.clone());
    }
    text
}

fn cordon(name: &str, cordoned: bool, dry_run: bool, client: &Client, out: &Out) -> Outcome {
    let answer = client.get(&path(name))?;
    let mut spec = answer.value["spec"].clone();
    let before = spec["cordoned"].as_bool().unwrap_or(false);
    let word = if cordoned { "cordoned" } else { "ready" };
    if before == cordoned {
        out.note(&format!("{name} is {word} already"));
        return Ok(());
    }
    if dry_run {
        out.note(&format!("{name} would be {word}"));
        return Ok(());
    }
    spec["cordoned"] = json!(cordoned);
    let answer = client.change("PUT", &path(name), answer.etag.as_deref(), Some(&spec))?;
    out.value(&answer.value, name, |style| {
        format!("{name} is {}\n", style.good(word))
    })
}

fn remove(name: &str, dry_run: bool, yes: bool, client: &Client, out: &Out) -> Outcome {
    let answer = client.get(&path(name))?;
    let view: NodeView = typed(&answer.value)?;
    let pods = view.pods.len();
    if dry_run {
        out.note(&format!(
            "{name} would be removed; {pods} pods would wait again"
        ));
        return Ok(());
    }
    if pods > 0 && !yes {
        return Err(Failure::new(
            Exit::Conflict,
            format!("{pods} pods run on {name}; they would lose their place and wait again"),
        )
        .hint(format!(
            "loadmaster node cordon {name}, and wait until they end"
        ))
        .hint(format!(
            "loadmaster node remove {name} --yes removes it now"
        )));
    }
    client.change::<Value>("DELETE", &path(name), answer.etag.as_deref(), None)?;
    out.note(&format!("{name} is removed; {pods} pods wait again"));
    Ok(())
}
