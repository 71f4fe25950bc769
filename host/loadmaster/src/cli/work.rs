//! `loadmaster job` and `loadmaster pod`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, segment, typed};
use super::dry_run;
use super::failure::{Exit, Failure, Outcome};
use super::input;
use super::output::Out;
use super::table::Table;
use crate::wire::view::{JobDetail, JobView, Placed, PodState, PodView};

pub(super) const JOB: &str = "\
Examples:
  loadmaster job submit train.json
  loadmaster job show train";
const JOB_SUBMIT: &str = "\
Examples:
  loadmaster job submit train.json --dry-run
  loadmaster job submit -f train.json
  echo '{\"id\":\"train\",\"replicas\":4,\"template\":{\"requests\":{\"cpu\":\"8\"},\"gpu\":{\"count\":2}}}' | loadmaster job submit -";
const JOB_LIST: &str = "\
Examples:
  loadmaster job list
  loadmaster job list -o json";
const JOB_SHOW: &str = "\
Examples:
  loadmaster job show train
  loadmaster job show train -o yaml";
const JOB_DELETE: &str = "\
Examples:
  loadmaster job delete train --dry-run
  loadmaster job delete train --yes";
const JOB_SCALE: &str = "\
Examples:
  loadmaster job scale web 12
  loadmaster job scale web 0";
pub(super) const POD: &str = "\
Examples:
  loadmaster pod list --phase waiting
  loadmaster pod show train-0";
const POD_SUBMIT: &str = "\
Examples:
  loadmaster pod submit pods.json
  echo '{\"name\":\"try\",\"requests\":{\"cpu\":\"500m\"},\"gpu\":{\"share\":\"0.5\"}}' | loadmaster pod submit -";
const POD_LIST: &str = "\
Examples:
  loadmaster pod list --phase waiting --reason FragmentedTopology
  loadmaster pod list --node node-07 -o name";
const POD_SHOW: &str = "\
Examples:
  loadmaster pod show train-0
  loadmaster pod show train-0 -o json";
const POD_EVICT: &str = "\
Examples:
  loadmaster pod evict train-0
  loadmaster pod evict train-0 -o json";
const POD_EVICTED: &str = "\
Examples:
  loadmaster pod evicted train-0
  loadmaster pod evicted train-0 -o json";
const POD_CHECKPOINT: &str = "\
Examples:
  loadmaster pod checkpoint train-0
  loadmaster pod checkpoint train-0 -o json";
const POD_FINISH: &str = "\
Examples:
  loadmaster pod finish train-0
  loadmaster pod finish train-0 --how failed";

/// Verbs about jobs.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// Submit a job.
    #[command(after_help = JOB_SUBMIT)]
    Submit {
        /// JSON (or .toml): one job or a list; - reads the standard input
        #[arg(required_unless_present = "from", conflicts_with = "from")]
        file: Option<PathBuf>,
        /// The same, named
        #[arg(short = 'f', long = "file", value_name = "FILE")]
        from: Option<PathBuf>,
        /// Only say what would happen: at the door, to its quota, where its pods
        /// would start, and who would have to yield
        #[arg(long)]
        dry_run: bool,
    },
    /// List jobs.
    #[command(after_help = JOB_LIST)]
    List,
    /// Show a job with its pods.
    #[command(after_help = JOB_SHOW)]
    Show {
        /// Id
        id: String,
    },
    /// Delete a job and stop its pods.
    #[command(after_help = JOB_DELETE)]
    Delete {
        /// Id
        id: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
        /// Do it although pods run
        #[arg(long)]
        yes: bool,
    },
    /// Say how many pods a service should have.
    #[command(after_help = JOB_SCALE)]
    Scale {
        /// Id
        id: String,
        /// Pods wanted
        replicas: u32,
    },
}

/// Verbs about pods.
#[derive(Debug, Subcommand)]
pub enum Pod {
    /// Submit pods without a job.
    #[command(after_help = POD_SUBMIT)]
    Submit {
        /// JSON (or .toml): one pod or a list; - reads the standard input
        file: PathBuf,
    },
    /// List pods that wait or run.
    #[command(after_help = POD_LIST)]
    List {
        /// Only waiting or running ones
        #[arg(long, value_enum)]
        phase: Option<Phase>,
        /// Only those waiting for this reason
        #[arg(long, value_name = "CODE")]
        reason: Option<String>,
        /// Only those on this node
        #[arg(long)]
        node: Option<String>,
        /// Only those of this job
        #[arg(long)]
        job: Option<String>,
        /// At most this many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show one pod.
    #[command(after_help = POD_SHOW)]
    Show {
        /// Name
        name: String,
    },
    /// Ask a running pod to leave, within budgets and guards; it waits again.
    #[command(after_help = POD_EVICT)]
    Evict {
        /// Name
        name: String,
    },
    /// Report that a pod that was asked to leave has stopped (for agents).
    #[command(after_help = POD_EVICTED)]
    Evicted {
        /// Name
        name: String,
    },
    /// Report that a running pod has written a checkpoint (for agents).
    #[command(after_help = POD_CHECKPOINT)]
    Checkpoint {
        /// Name
        name: String,
    },
    /// Report that a pod ended; what it held is free again.
    #[command(after_help = POD_FINISH)]
    Finish {
        /// Name
        name: String,
        /// How it ended
        #[arg(long, value_enum, default_value_t)]
        how: How,
    },
}

/// Where a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// In the queue.
    Waiting,
    /// On a node.
    Running,
}

/// How a pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum How {
    /// Exit code 0.
    #[default]
    Succeeded,
    /// Any other end of its own.
    Failed,
    /// Deleted by its owner.
    Deleted,
    /// Stopped because its job ran longer than it may.
    TimedOut,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
            Self::TimedOut => "timed-out",
        }
    }
}

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn job(verb: &Job, client: &Client, out: &Out) -> Outcome {
    let path = |id: &str| format!("/api/v1/jobs/{}", segment(id));
    match verb {
        Job::Submit {
            file,
            from,
            dry_run,
        } => {
            let file = file.as_ref().or(from.as_ref());
            let file = file.ok_or_else(|| Failure::new(Exit::Usage, "no file was given"))?;
            let wanted = input::several(input::read(file)?);
            if *dry_run {
                return dry_run::run(&wanted, client, out);
            }
            let mut made = Vec::new();
            for job in wanted {
                made.push(
                    client
                        .change("POST", "/api/v1/jobs", None, Some(&job))?
                        .value,
                );
            }
            jobs(&made, out)?;
            if let [one] = made.as_slice()
                && let Some(id) = one["id"].as_str()
                && one["waiting"].as_u64().unwrap_or(0) > 0
            {
                out.next(&format!("loadmaster why {id}"));
            }
            Ok(())
        }
        Job::List => jobs(&client.list("/api/v1/jobs", None)?, out),
        Job::Show { id } => {
            let value = client.get(&path(id))?.value;
            let detail: JobDetail = typed(&value)?;
            out.value(&value, id, |style| {
                let j = &detail.job;
                let changed: String = detail
                    .patches
                    .iter()
                    .map(|p| format!("  {}\n", dry_run::patch_text(p)))
                    .collect();
                format!(
                    "{}   {}\n  {} wanted · {} running · {} waiting · {} succeeded · {} failed\n{changed}\n{}",
                    style.bold(&j.id),
                    j.phase,
                    j.spec.replicas.unwrap_or(0),
                    j.running,
                    j.waiting,
                    j.succeeded,
                    j.failed,
                    pod_table(&detail.pods).text(style)
                )
            })
        }
        Job::Delete { id, dry_run, yes } => {
            let answer = client.get(&path(id))?;
            let j: JobView = typed(&answer.value)?;
            if *dry_run {
                out.note(&format!(
                    "{id} would be deleted: {} pods would stop, {} would leave the queue",
                    j.running, j.waiting
                ));
                return Ok(());
            }
            if j.running > 0 && !yes {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!(
                        "{} pods of {id} are running and would be stopped",
                        j.running
                    ),
                )
                .hint(format!("loadmaster job delete {id} --yes")));
            }
            client.change::<Value>("DELETE", &path(id), None, None)?;
            out.note(&format!("{id} is deleted; {} pods were stopped", j.running));
            Ok(())
        }
        Job::Scale { id, replicas } => {
            let url = format!("{}/scale", path(id));
            let body = json!({"replicas": replicas});
            let value = client.change("POST", &url, None, Some(&body))?.value;
            jobs(&[value], out)
        }
    }
}

fn jobs(values: &[Value], out: &Out) -> Outcome {
    let views: Vec<JobView> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |_| {
        let mut table = Table::new(&[
            "JOB",
            "KIND",
            "PHASE",
            ">WANTED",
            ">RUNNING",
            ">WAITING",
            ">SUCCEEDED",
            ">FAILED",
        ]);
        for j in &views {
            table.row(vec![
                j.id.clone(),
                format!("{:?}", j.spec.kind).to_lowercase(),
                j.phase.clone(),
                j.spec.replicas.unwrap_or(0).to_string(),
                j.running.to_string(),
                j.waiting.to_string(),
                j.succeeded.to_string(),
                j.failed.to_string(),
            ]);
        }
        table
    };
    let name = |v: &Value| v["id"].as_str().unwrap_or_default().to_owned();
    out.list(values, name, table, "there are no jobs")
}

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn pod(verb: &Pod, client: &Client, out: &Out) -> Outcome {
    let path = |name: &str| format!("/api/v1/pods/{}", segment(name));
    match verb {
        Pod::Submit { file } => {
            let pods = input::several(input::read(file)?);
            let answer = client.change("POST", "/api/v1/pods", None, Some(&pods))?;
            placed(&answer.value, out)
        }
        Pod::List {
            phase,
            reason,
            node,
            job,
            limit,
        } => {
            let phase = phase.map(|p| format!("{p:?}").to_lowercase());
            let filters = [
                ("phase", &phase),
                ("reason", reason),
                ("node", node),
                ("job", job),
            ];
            let query: Vec<String> = filters
                .into_iter()
                .filter_map(|(k, v)| v.as_ref().map(|v| format!("{k}={}", segment(v))))
                .collect();
            let mut url = "/api/v1/pods".to_owned();
            if !query.is_empty() {
                url += &format!("?{}", query.join("&"));
            }
            let values = client.list(&url, *limit)?;
            let views: Vec<PodView> = values.iter().map(typed).collect::<Result<_, _>>()?;
            let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
            out.list(&values, name, |_| pod_table(&views), "no such pods")
        }
        Pod::Show { name } => {
            let value = client.get(&path(name))?.value;
            let view: PodView = typed(&value)?;
            out.value(&value, name, |style| {
                format!(
                    "{}\n  {}\n  asks for {}\n{}",
                    style.bold(name),
                    state_of(&view),
                    asks(&view),
                    progress(&view)
                )
            })?;
            if matches!(view.state, PodState::Waiting { .. }) {
                out.next(&format!("loadmaster why {name}"));
            }
            Ok(())
        }
        Pod::Evict { name } => told(name, "evict", "is asked to leave", client, out),
        Pod::Evicted { name } => told(name, "evicted", "has left", client, out),
        Pod::Checkpoint { name } => told(
            name,
            "checkpointed",
            "has written a checkpoint",
            client,
            out,
        ),
        Pod::Finish { name, how } => {
            let body = json!({"how": how.name()});
            client.change(
                "POST",
                &format!("{}/finished", path(name)),
                None,
                Some(&body),
            )?;
            out.note(&format!("{name} has ended; what it held is free"));
            Ok(())
        }
    }
}

fn told(name: &str, verb: &str, done: &str, client: &Client, out: &Out) -> Outcome {
    let url = format!("/api/v1/pods/{}/{verb}", segment(name));
    let value = client.change::<Value>("POST", &url, None, None)?.value;
    let view: PodView = typed(&value)?;
    out.value(&value, name, |style| {
        format!("{} {}\n", style.bold(name), state_of(&view))
    })?;
    out.note(&format!("{name} {done}"));
    Ok(())
}

/// Where it is, and until when if it has to leave.
fn state_of(view: &PodView) -> String {
    match &view.leaving {
        Some(l) => format!(
            "{}, leaving until {} ({})",
            state(&view.state),
            l.until,
            l.cause
        ),
        None => state(&view.state),
    }
}

fn placed(answer: &Value, out: &Out) -> Outcome {
    let values: Vec<Value> = match answer["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![answer.clone()],
    };
    let placed: Vec<Placed> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |_| {
        let mut table = Table::new(&["POD", "STATE", ">DECISION"]);
        for p in &placed {
            let decision = p.decision.map_or_else(String::new, |d| d.to_string());
            table.row(vec![p.pod.clone(), state(&p.state), decision]);
        }
        table
    };
    let name = |v: &Value| v["pod"].as_str().unwrap_or_default().to_owned();
    out.list(&values, name, table, "nothing was submitted")?;
    let waits = placed
        .iter()
        .find(|p| matches!(p.state, PodState::Waiting { .. }));
    if let Some(pod) = waits {
        out.next(&format!("loadmaster why {}", pod.pod));
    }
    Ok(())
}

fn pod_table(views: &[PodView]) -> Table {
    let mut table = Table::new(&["POD", "STATE", "ASKS FOR", ">PRIORITY", ">DECISION"]);
    for v in views {
        table.row(vec![
            v.name.clone(),
            state(&v.state),
            asks(v),
            v.spec.priority.to_string(),
            v.last_decision.map_or_else(String::new, |d| d.to_string()),
        ]);
    }
    table
}

/// `running on node-03 [0 1]` or `waiting: WaitingForCapacity`.
fn state(state: &PodState) -> String {
    match state {
        PodState::Waiting { reason, .. } => format!("waiting: {reason}"),
        PodState::Promised { node, plan, .. } => {
            format!("waiting: promised a place on {node} by plan {plan}")
        }
        PodState::Running { node, devices, .. } if devices.is_empty() => {
            format!("running on {node}")
        }
        PodState::Running { node, devices, .. } => {
            let slots: Vec<String> = devices.iter().map(u8::to_string).collect();
            format!("running on {node} [{}]", slots.join(" "))
        }
    }
}

fn progress(view: &PodView) -> String {
    let Some(p) = view.progress else {
        return String::new();
    };
    let mut text = format!(
        "  evicted {} times, {} of work kept, {} lost",
        p.evictions, p.served, p.lost
    );
    if let Some(at) = p.checkpoint {
        text += &format!(", checkpoint at {at}");
    }
    text + "\n"
}

fn asks(view: &PodView) -> String {
    let spec: model::Resources = view.spec.requests.into();
    let mut parts = Vec::new();
    if let Some(gpu) = &view.spec.gpu
        && gpu.count > 0
    {
        let share = gpu.share.map_or_else(String::new, |s| {
            format!(" × {:.2}", f64::from(s.0) / 1000.0)
        });
        let models = if gpu.models.is_empty() {
            String::new()
        } else {
            format!(" ({})", gpu.models.join(" or "))
        };
        parts.push(format!("{} GPU{share}{models}", gpu.count));
    }
    parts.push(format!("{:.1} CPU", spec.cpu_milli as f64 / 1000.0));
    parts.push(format!("{:.1} GiB", spec.memory_mib as f64 / 1024.0));
    parts.join(", ")
}
