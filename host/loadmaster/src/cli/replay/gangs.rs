//! `replay gangs`.

use std::path::PathBuf;

use clap::Args;
use cluster::gangs::Order;
use model::PolicyKind;

use super::{Common, command_line, short_digest, trace_name};
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::Out;
use crate::cli::progress;
use crate::cli::table::Table;
use crate::policies::{Loader, PolicyRef, admission_order};
use crate::replay::chart::{Chart, Line};
use crate::replay::gangs::{Gangs, gangs};
use crate::replay::published::{self, PublishedGangs};
use crate::replay::report::{Report, Section};
use crate::replay::run::{Choice, spread};
use crate::replay::summary::{duration, grouped};

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster replay gangs --cluster n8g8.csv --jobs trace3.csv --policy admission=builtin:srsf --against admission=builtin:las
  loadmaster replay gangs --cluster n8g8.csv --jobs trace3.csv --policy admission=builtin:srtf -o json";

/// Points of a distribution in the report.
const CURVE_POINTS: usize = 200;

/// Options of the verb.
#[derive(Debug, Args)]
pub struct Options {
    /// Cluster: num_switch,num_node_p_switch,num_gpu_p_node
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// Jobs: job_id,num_gpu,submit_time,iterations,model_name,iteration_time
    #[arg(long, value_name = "FILE")]
    jobs: PathBuf,
    #[command(flatten)]
    common: Common,
}

struct Column {
    choice: Choice,
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
    let jobs = super::read(&options.jobs, cluster::trace::philly::jobs)?;
    let loader = Loader::unhurried();
    let default = [PolicyRef::builtin(PolicyKind::Admission, "las")];
    let choices = common.choices(PolicyKind::Admission, &default, &[], &loader)?;
    let mut tasks: Vec<(Choice, Order)> = Vec::new();
    for choice in choices {
        let [policy] = choice.policies.as_slice() else {
            return Err(Failure::new(
                Exit::Usage,
                "gang jobs are ordered by exactly one admission policy",
            )
            .hint("compare several with --against"));
        };
        let Some(order) = admission_order(policy) else {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} cannot order gang jobs in this version", policy.asked),
            )
            .hint("orders are admission=builtin:fifo, srtf, srsf and las"));
        };
        tasks.push((choice, order));
    }
    let bar = progress::bar((jobs.len() * tasks.len()) as u64, "jobs");
    bar.set_message("replaying");
    let runs = spread(&tasks, common.threads(), |(_, order)| {
        gangs(&spec, &jobs, *order, seed, &|n| bar.inc(n))
    });
    bar.finish_and_clear();
    let runs = runs.map_err(|e| {
        Failure::from_error(Exit::Usage, &e).hint(format!(
            "the jobs are in {}, the cluster in {}",
            options.jobs.display(),
            options.cluster.display()
        ))
    })?;
    let columns: Vec<Column> = std::iter::zip(tasks, runs)
        .map(|((choice, _), run)| Column { choice, run })
        .collect();
    let known = published::gangs(&options.jobs).unwrap_or_else(|e| {
        out.warn(&e.to_string());
        Vec::new()
    });
    let heading = format!(
        "{}   {} jobs · {} nodes × {} GPUs",
        options
            .jobs
            .file_name()
            .unwrap_or_default()
            .to_string_lossy(),
        grouped(jobs.len() as u64),
        spec.nodes,
        spec.gpus_per_node
    );
    if super::wants_table(out) {
        out.print(&format!("{heading}\n\n"))?;
        out.print(&table(&columns, &known).text(out.style))?;
        if !known.is_empty() {
            out.print("\n* published simulation on the same jobs (Muri, SIGCOMM '22); Muri shares GPUs between jobs, the others do not.\n")?;
        }
    } else {
        let runs = columns.iter().map(|c| c.run.to_json(c.choice.to_json()));
        let name = trace_name("gangs", &options.jobs);
        super::print_json(out, &name, runs.collect())?;
    }
    common.write_report(|| report(&heading, &columns, &known), out)
}

fn table(columns: &[Column], known: &[PublishedGangs]) -> Table {
    let mut table = Table::new(&[
        "",
        ">AVG JCT, s",
        ">P50, s",
        ">P99, s",
        ">MAKESPAN, s",
        ">PREEMPTIONS",
        ">GPUS USED",
        "DIGEST",
    ]);
    let whole = |seconds: f64| grouped(seconds.round() as u64);
    for column in columns {
        let r = &column.run.report;
        table.row(vec![
            column.choice.label.clone(),
            whole(r.avg_jct_s),
            whole(r.p50_jct_s),
            whole(r.p99_jct_s),
            whole(r.makespan_s),
            grouped(r.preemptions),
            format!("{:.1} %", r.gpu_util_pct),
            short_digest(&column.run.digest),
        ]);
        // The published run of the same order right below.
        let same = column.run.published_as();
        for p in known.iter().filter(|p| Some(p.policy.as_str()) == same) {
            table.row(published_row(p, &format!("  {}*", p.policy)));
        }
    }
    let ours: Vec<_> = columns
        .iter()
        .filter_map(|c| c.run.published_as())
        .collect();
    let others: Vec<_> = known
        .iter()
        .filter(|p| !ours.contains(&p.policy.as_str()))
        .collect();
    if !others.is_empty() {
        table.part("other published policies");
    }
    for p in others {
        table.row(published_row(p, &format!("  {}*", p.policy)));
    }
    table
}

fn published_row(p: &PublishedGangs, name: &str) -> Vec<String> {
    let whole = |seconds: f64| grouped(seconds.round() as u64);
    vec![
        name.to_owned(),
        whole(p.avg_jct_s),
        String::new(),
        whole(p.p99_jct_s),
        whole(p.makespan_s),
        String::new(),
        String::new(),
        String::new(),
    ]
}

fn report(heading: &str, columns: &[Column], known: &[PublishedGangs]) -> Report {
    let mut longest: f64 = 1.0;
    let mut lines = Vec::new();
    for (colour, column) in columns.iter().enumerate() {
        let mut jcts: Vec<f64> = column.run.report.jobs.iter().map(|j| j.jct_s()).collect();
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
            name: column.choice.label.clone(),
            points: points.collect(),
            colour,
            ..Line::default()
        });
    }
    let chart = Chart {
        title: "Share of jobs done within a time".to_owned(),
        x_label: "completion time, s (power of ten)".to_owned(),
        y_label: "jobs done, %".to_owned(),
        x: (1.0, longest),
        y: (0.0, 100.0),
        lines,
    };
    let facts = columns.iter().map(|c| {
        let label = format!("mean completion, {}", c.choice.label);
        (duration(c.run.report.avg_jct_s), label)
    });
    Report {
        title: "Gang jobs".to_owned(),
        subtitle: heading.to_owned(),
        facts: facts.collect(),
        sections: vec![
            Section {
                heading: "How soon jobs are done".to_owned(),
                text: "Further left and higher is better. Completion time counts from \
                       submission to end."
                    .to_owned(),
                body: chart.svg(),
            },
            Section {
                heading: "In numbers".to_owned(),
                text: "* marks published values.".to_owned(),
                body: table(columns, known).html(),
            },
        ],
        command: command_line(),
    }
}
