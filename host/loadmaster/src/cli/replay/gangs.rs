//! `replay gangs`.

use std::path::{Path, PathBuf};

use clap::Args;
use cluster::gangs::Durations;
use cluster::trace::philly::GangJob;
use model::PolicyKind;
use serde_json::{Value, json};

use super::{Common, command_line, short_digest, trace_name, verdict};
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::Out;
use crate::cli::progress;
use crate::cli::table::Table;
use crate::policies::{Loader, PolicyRef, Source, admission_order};
use crate::replay::chart::{Chart, Line};
use crate::replay::gangs::{Gangs, Knows, Ranker, RunError, gangs, published_json};
use crate::replay::published::{self, PublishedGangs};
use crate::replay::report::{Report, Section};
use crate::replay::run::{Choice, spread};
use crate::replay::summary::{duration, grouped};

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster replay gangs --cluster n8g8.csv --jobs trace1.csv --jobs trace3.csv
  loadmaster replay gangs --cluster n8g8.csv --jobs trace3.csv --durations learned,none --policy admission=mine.wasm --against admission=builtin:las
  loadmaster replay gangs --cluster n8g8.csv --jobs trace3.csv --policy admission=builtin:srtf -o json";

/// Points of a distribution in the report.
const CURVE_POINTS: usize = 200;

/// Options of the verb.
#[derive(Debug, Args)]
pub struct Options {
    /// Cluster: num_switch,num_node_p_switch,num_gpu_p_node
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// Jobs: job_id,num_gpu,submit_time,iterations,model_name,iteration_time;
    /// repeatable
    #[arg(long, value_name = "FILE", required = true)]
    jobs: Vec<PathBuf>,
    /// What policies are told about run times; each is run once with each:
    /// known, learned (from jobs that ended and how long others ran so far),
    /// finished (only from jobs that ended), none. Built-in orders know what
    /// they know
    #[arg(long, value_name = "LIST", default_value = "known,learned")]
    durations: String,
    #[command(flatten)]
    common: Common,
}

/// One file of jobs.
struct Trace {
    name: String,
    heading: String,
    jobs: Vec<GangJob>,
    known: Vec<PublishedGangs>,
}

struct Row {
    choice: Choice,
    label: String,
    trace: usize,
    run: Gangs,
}

pub(super) fn run(options: &Options, out: &Out) -> Outcome {
    let common = &options.common;
    let seeds = common.seeds()?;
    if seeds.len() > 1 {
        out.note("nothing in this replay is random; only the first seed is run");
    }
    let seed = seeds.first().copied().unwrap_or_default();
    let spec = super::read(&options.cluster, cluster::trace::philly::cluster)?;
    let mut traces = Vec::new();
    for path in &options.jobs {
        let jobs = super::read(path, cluster::trace::philly::jobs)?;
        let known = published::gangs(path).unwrap_or_else(|e| {
            out.warn(&e.to_string());
            Vec::new()
        });
        traces.push(Trace {
            name: trace_name("gangs", path),
            heading: format!(
                "{}   {} jobs · {} nodes × {} GPUs",
                file_name(path),
                grouped(jobs.len() as u64),
                spec.nodes,
                spec.gpus_per_node
            ),
            jobs,
            known,
        });
    }
    let rankers = rankers(options)?;
    let tasks: Vec<(usize, &(Choice, String, Ranker))> = (0..traces.len())
        .flat_map(|trace| rankers.iter().map(move |r| (trace, r)))
        .collect();
    let total: usize = traces.iter().map(|t| t.jobs.len() * rankers.len()).sum();
    let bar = progress::bar(total as u64, "jobs");
    bar.set_message("replaying");
    let runs = spread(&tasks, common.threads(), |(trace, (_, _, ranker))| {
        gangs(&spec, &traces[*trace].jobs, ranker, seed, &|n| bar.inc(n))
    });
    bar.finish_and_clear();
    let runs = runs.map_err(|e| match e {
        RunError::Load(e) => super::not_loaded(&e),
        RunError::Gang(e) => Failure::from_error(Exit::Usage, &e).hint(format!(
            "the jobs are in {}, the cluster in {}",
            shown(&options.jobs),
            options.cluster.display()
        )),
    })?;
    let rows: Vec<Row> = std::iter::zip(tasks, runs)
        .map(|((trace, (choice, label, _)), run)| Row {
            choice: choice.clone(),
            label: label.clone(),
            trace,
            run,
        })
        .collect();
    if super::wants_table(out) {
        out.print(&table(&traces, &rows).text(out.style))?;
        out.print(&legend(&traces, &rows))?;
    } else {
        let name: Vec<&str> = traces.iter().map(|t| t.name.as_str()).collect();
        let name = name.join("+");
        out.value(&to_json(&name, &traces, &rows), &name, |_| String::new())?;
    }
    common.write_report(|| report(&traces, &rows), out)?;
    let faults: Vec<_> = rows
        .iter()
        .map(|r| {
            let first = r.run.used.first_fault.as_ref().map(ToString::to_string);
            (r.label.clone(), r.run.used.faults, first)
        })
        .collect();
    let reverted: Vec<String> = rows
        .iter()
        .filter(|r| r.run.used.taken_out)
        .map(|r| format!("{} on {}", r.label, traces[r.trace].name))
        .collect();
    verdict(out, &faults, &reverted)
}

/// Every order of the comparison: built-ins once, policies once with each kind
/// of knowledge.
fn rankers(options: &Options) -> Result<Vec<(Choice, String, Ranker)>, Failure> {
    let durations = durations(&options.durations)?;
    let kind = PolicyKind::Admission;
    let against = ["fifo", "srtf", "srsf", "las"].map(|n| PolicyRef::builtin(kind, n));
    let default = [PolicyRef::named(kind, "shortest-service")];
    let loader = Loader::unhurried();
    let choices = options.common.choices(kind, &default, &against, &loader)?;
    let mut rankers = Vec::new();
    for choice in choices {
        let [policy] = choice.policies.as_slice() else {
            return Err(Failure::new(
                Exit::Usage,
                "gang jobs are ordered by exactly one admission policy",
            )
            .hint("compare several with --against"));
        };
        if let Some(order) = admission_order(policy) {
            let label = choice.label.clone();
            rankers.push((choice, label, Ranker::Builtin(order)));
            continue;
        }
        if matches!(policy.asked.source, Source::Builtin(_)) {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} cannot order gang jobs", choice.label),
            )
            .hint("built-in orders are admission=builtin:fifo, srtf, srsf and las"));
        }
        for durations in &durations {
            let label = format!("{} · {}", choice.label, durations.name());
            let ranker = Ranker::Policy(Box::new(policy.clone()), *durations);
            rankers.push((choice.clone(), label, ranker));
        }
    }
    Ok(rankers)
}

fn durations(list: &str) -> Result<Vec<Durations>, Failure> {
    let mut all = Vec::new();
    for word in list.split(',') {
        let Some(durations) = Durations::parse(word.trim()) else {
            let names = Durations::ALL.map(|(_, name)| name).join(", ");
            return Err(Failure::new(
                Exit::Usage,
                format!("--durations {list:?}: {word:?} is not known"),
            )
            .hint(format!("a list of {names}")));
        };
        if !all.contains(&durations) {
            all.push(durations);
        }
    }
    Ok(all)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    paths.join(", ")
}

fn to_json(name: &str, traces: &[Trace], rows: &[Row]) -> Value {
    let runs = rows.iter().map(|r| {
        let policies = r.choice.to_json();
        r.run.to_json(&traces[r.trace].name, policies)
    });
    let published = traces
        .iter()
        .flat_map(|t| t.known.iter().map(|p| published_json(&t.name, p)));
    json!({
        "trace": name,
        "runs": runs.collect::<Vec<_>>(),
        "published": published.collect::<Vec<_>>(),
    })
}

fn table(traces: &[Trace], rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "",
        "KNOWS",
        ">AVG JCT, s",
        ">P99, s",
        ">MAKESPAN, s",
        ">PREEMPTIONS",
        ">LOST, GPU h",
        ">GPUS USED",
        "DIGEST",
    ]);
    for (at, trace) in traces.iter().enumerate() {
        table.part(trace.heading.clone());
        let rows = || rows.iter().filter(move |r| r.trace == at);
        for row in rows() {
            let r = &row.run.report;
            table.row(vec![
                format!("  {}", row.label),
                row.run.knows.name().to_owned(),
                whole(r.avg_jct_s),
                whole(r.p99_jct_s),
                whole(r.makespan_s),
                grouped(r.preemptions),
                whole(r.lost_gpu_hours),
                format!("{:.1} %", r.gpu_util_pct),
                short_digest(&row.run.digest),
            ]);
            // The published run of the same order right below.
            let same = row.run.published_as;
            for p in trace
                .known
                .iter()
                .filter(|p| Some(p.policy.as_str()) == same)
            {
                table.row(published_row(p));
            }
        }
        for p in &trace.known {
            let shown = rows().any(|r| r.run.published_as == Some(p.policy.as_str()));
            if !shown {
                table.row(published_row(p));
            }
        }
    }
    table
}

fn whole(value: f64) -> String {
    grouped(value.round() as u64)
}

fn published_row(p: &PublishedGangs) -> Vec<String> {
    let mut row = vec![
        format!("    {}*", p.policy),
        Knows::of_published(&p.policy).name().to_owned(),
        whole(p.avg_jct_s),
        whole(p.p99_jct_s),
        whole(p.makespan_s),
    ];
    row.resize(9, String::new());
    row
}

/// What the words in the table mean, as far as they are in it.
fn legend(traces: &[Trace], rows: &[Row]) -> String {
    let known = || traces.iter().flat_map(|t| &t.known);
    let mut text = String::from("\n");
    for (knows, name, meaning) in Knows::ALL {
        let ours = rows.iter().any(|r| r.run.knows == knows);
        if ours || known().any(|p| Knows::of_published(&p.policy) == knows) {
            text.push_str(&format!("{name}: {meaning}.\n"));
        }
    }
    if known().next().is_some() {
        text.push_str(
            "* published simulation on the same jobs (Muri, SIGCOMM '22); Muri shares GPUs between jobs, the others do not.\n",
        );
    }
    text
}

/// Share of jobs done within a time, under every order.
fn chart(rows: &[&Row]) -> Chart {
    let mut longest: f64 = 1.0;
    let mut lines = Vec::new();
    for (colour, row) in rows.iter().enumerate() {
        let mut jcts: Vec<f64> = row.run.report.jobs.iter().map(|j| j.jct_s()).collect();
        jcts.sort_by(f64::total_cmp);
        let n = jcts.len().max(1);
        let step = n.div_ceil(CURVE_POINTS);
        let points = jcts
            .iter()
            .enumerate()
            .filter(|(at, _)| at % step == 0 || at + 1 == n)
            // Logarithm: completion times span five orders of magnitude.
            .map(|(at, jct)| ((jct.max(1.0)).log10(), 100.0 * (at + 1) as f64 / n as f64));
        longest = longest.max(jcts.last().map_or(1.0, |j| j.max(1.0).log10()));
        lines.push(Line {
            name: row.label.clone(),
            points: points.collect(),
            colour,
            ..Line::default()
        });
    }
    Chart {
        title: "Share of jobs done within a time".to_owned(),
        x_label: "completion time, s (power of ten)".to_owned(),
        y_label: "jobs done, %".to_owned(),
        x: (1.0, longest),
        y: (0.0, 100.0),
        lines,
    }
}

fn report(traces: &[Trace], rows: &[Row]) -> Report {
    let mut sections = Vec::new();
    let mut facts = Vec::new();
    for (at, trace) in traces.iter().enumerate() {
        let rows: Vec<&Row> = rows.iter().filter(|r| r.trace == at).collect();
        facts.extend(rows.iter().map(|r| {
            let what = match traces {
                [_] => format!("mean completion, {}", r.label),
                _ => format!("mean completion, {} on {}", r.label, trace.name),
            };
            (duration(r.run.report.avg_jct_s), what)
        }));
        sections.push(Section {
            heading: trace.heading.clone(),
            text: "Further left and higher is better. Completion time counts from \
                   submission to end."
                .to_owned(),
            body: chart(&rows).svg(),
        });
    }
    sections.push(Section {
        heading: "In numbers".to_owned(),
        text: format!("* marks published values.{}", legend(traces, rows)),
        body: table(traces, rows).html(),
    });
    let headings: Vec<&str> = traces.iter().map(|t| t.heading.as_str()).collect();
    Report {
        title: "Gang jobs".to_owned(),
        subtitle: headings.join(" · "),
        facts,
        sections,
        command: command_line(),
    }
}
