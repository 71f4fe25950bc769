//! `replay openb`.

use std::path::PathBuf;

use clap::Args;
use cluster::openb::ARRIVED_PCT_BINS;
use model::PolicyKind;

use super::{Common, command_line, short_digest, trace_name, verdict};
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::{Format, Out};
use crate::cli::progress;
use crate::cli::table::Table;
use crate::policies::{LoadError, Loader, PolicyRef, scoring_set};
use crate::replay::chart::{Chart, Line};
use crate::replay::cost::Costs;
use crate::replay::openb::{Fill, FillError, Trace, fill};
use crate::replay::published::{self, PublishedFill};
use crate::replay::report::{Report, Section};
use crate::replay::run::{Choice, spread};
use crate::replay::summary::{Stat, grouped, short};

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster replay openb --nodes nodes.csv --pods pods_default.csv --seed 42..51 --policy scoring=gpu-topology-packer --against scoring=binpack
  loadmaster replay openb --nodes nodes.csv --pods pods_default.csv --policy 'scoring=gpu-topology-packer?mode=published' -o json";

/// Loads the fragmentation ratio is shown at.
const FRAG_BINS: [u32; 3] = [80, 90, 100];

/// Published columns of the table; `-o wide` and the report show all.
const PUBLISHED_SHOWN: usize = 2;

/// Most the inflation may ask for.
const INFLATE_MAX: f64 = 10.0;

/// Options of the verb.
#[derive(Debug, Args)]
pub struct Options {
    /// Node list: sn,cpu_milli,memory_mib,gpu,model
    #[arg(long, value_name = "FILE")]
    nodes: PathBuf,
    /// Pod list: name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec]
    #[arg(long, value_name = "FILE")]
    pods: PathBuf,
    /// GPUs asked for in the end, as a multiple of those there are
    #[arg(long, value_name = "TIMES", default_value_t = 1.3)]
    inflate: f64,
    #[command(flatten)]
    common: Common,
}

enum RunError {
    Load(LoadError),
    Fill(FillError),
}

struct Column {
    choice: Choice,
    runs: Vec<Fill>,
}

pub(super) fn run(options: &Options, out: &Out) -> Outcome {
    let common = &options.common;
    let inflate = options.inflate;
    if !(inflate > 0.0 && inflate <= INFLATE_MAX) {
        return Err(Failure::new(
            Exit::Usage,
            format!("--inflate {inflate} is not between 0 and {INFLATE_MAX}"),
        )
        .hint("the published runs use 1.3"));
    }
    let inflate_milli = (inflate * 1000.0).round() as u32;
    let seeds = common.seeds()?;
    let nodes = super::read(&options.nodes, cluster::trace::openb::nodes)?;
    let pods = super::read(&options.pods, cluster::trace::openb::pods)?;
    let trace = Trace::new(nodes, pods);
    let loader = Loader::unhurried();
    let packer = PolicyRef::named(PolicyKind::Scoring, "gpu-topology-packer");
    let choices = common.choices(PolicyKind::Scoring, &[packer], &[], &loader)?;

    let tasks: Vec<(usize, u64)> = (0..choices.len())
        .flat_map(|c| seeds.iter().map(move |s| (c, *s)))
        .collect();
    // Inflation changes the number of pods by seed; close enough for a bar.
    let arrivals = (trace.pods.len() as f64 * inflate.max(1.0)) as u64;
    let bar = progress::bar(arrivals * tasks.len() as u64, "pods");
    bar.set_message("replaying");
    let runs = spread(&tasks, common.threads(), |(choice, seed)| {
        let costs = Costs::default();
        let set =
            scoring_set(&choices[*choice].policies, |p| costs.meter(p)).map_err(RunError::Load)?;
        fill(&trace, inflate_milli, *seed, set, &costs, &|n| bar.inc(n)).map_err(RunError::Fill)
    });
    bar.finish_and_clear();
    let runs = runs.map_err(|e| match e {
        RunError::Load(e) => super::not_loaded(&e),
        RunError::Fill(e) => Failure::from_error(Exit::Failed, &e),
    })?;
    let mut runs = runs.into_iter();
    let columns: Vec<Column> = choices
        .into_iter()
        .map(|choice| Column {
            choice,
            runs: runs.by_ref().take(seeds.len()).collect(),
        })
        .collect();

    let known = published::fills(&options.pods).unwrap_or_else(|e| {
        out.warn(&e.to_string());
        Vec::new()
    });
    let heading = heading(options, &trace, &seeds);
    if super::wants_table(out) {
        let shown = if out.format == Format::Wide {
            known.len()
        } else {
            PUBLISHED_SHOWN.min(known.len())
        };
        out.print(&format!("{heading}\n\n"))?;
        out.print(&table(&columns, &known[..shown]).text(out.style))?;
        out.print(&remarks(&columns, shown > 0))?;
    } else {
        let runs = columns.iter().flat_map(|c| {
            let policies = c.choice.to_json();
            c.runs.iter().map(move |r| r.to_json(policies.clone()))
        });
        let name = trace_name("openb", &options.pods);
        super::print_json(out, &name, runs.collect())?;
    }
    common.write_report(|| report(&heading, &columns, &known), out)?;
    let faults: Vec<_> = columns
        .iter()
        .map(|c| {
            let first = c.runs.iter().find_map(|r| r.first_fault.clone());
            let count = c.runs.iter().map(|r| r.faults).sum();
            (c.choice.label.clone(), count, first)
        })
        .collect();
    let reverted: Vec<String> = columns
        .iter()
        .flat_map(|c| &c.runs)
        .filter_map(|r| Some(format!("seed {}: {}", r.seed, r.reverted.as_ref()?)))
        .collect();
    verdict(out, &faults, &reverted)
}

fn heading(options: &Options, trace: &Trace, seeds: &[u64]) -> String {
    let file = options.pods.file_name().unwrap_or_default();
    format!(
        "{}   {} pods, inflated to {} × the GPUs · {} nodes · {} GPUs · {}",
        file.to_string_lossy(),
        grouped(trace.pods.len() as u64),
        options.inflate,
        grouped(trace.nodes.len() as u64),
        grouped(trace.gpus() as u64),
        seeds_text(seeds)
    )
}

fn seeds_text(seeds: &[u64]) -> String {
    match seeds {
        [one] => format!("seed {one}"),
        [first, .., last] if last - first + 1 == seeds.len() as u64 => {
            format!("seeds {first}..{last}")
        }
        many => {
            let texts: Vec<String> = many.iter().map(u64::to_string).collect();
            format!("seeds {}", texts.join(","))
        }
    }
}

fn stat(column: &Column, value: impl Fn(&Fill) -> Option<f64>) -> Option<Stat> {
    Stat::of(column.runs.iter().filter_map(value))
}

fn table(columns: &[Column], known: &[PublishedFill]) -> Table {
    let mut head = vec![String::new()];
    head.extend(columns.iter().map(|c| c.choice.label.clone()));
    head.extend(known.iter().map(|p| format!("{}*", p.policy)));
    let mut table = Table::numeric(head);
    let shown = |mean: f64, sd: Option<f64>| {
        Stat {
            mean,
            sd,
            min: mean,
            max: mean,
        }
        .shown(2)
    };

    table.part("GPUs in use, % of all");
    for bin in ARRIVED_PCT_BINS {
        let ours = columns
            .iter()
            .map(|c| stat(c, |r| r.at(bin).map(|m| m.alloc_pct)));
        let theirs = known.iter().map(|p| p.alloc.get(&bin));
        let means: Vec<Option<(f64, Option<f64>)>> = ours
            .map(|s| s.map(|s| (s.mean, s.sd)))
            .chain(theirs.map(|m| m.map(|m| (m.mean, Some(m.sd)))))
            .collect();
        let best = best_of(means.iter().map(|m| m.map(|m| m.0)), true);
        let mut cells = vec![format!("  at {bin} % asked for")];
        cells.extend(
            means
                .iter()
                .map(|m| m.map_or("–".to_owned(), |(m, sd)| shown(m, sd))),
        );
        table.best(cells, best);
    }
    table.part("Free GPU that usual pods cannot use, % of the free");
    for bin in FRAG_BINS {
        let ours = columns
            .iter()
            .map(|c| stat(c, |r| r.at(bin).map(|m| m.frag_ratio_pct)));
        let theirs = known.iter().map(|p| p.frag.get(&bin));
        let means: Vec<Option<(f64, Option<f64>)>> = ours
            .map(|s| s.map(|s| (s.mean, s.sd)))
            .chain(theirs.map(|m| m.map(|m| (m.mean, Some(m.sd)))))
            .collect();
        let best = best_of(means.iter().map(|m| m.map(|m| m.0)), false);
        let mut cells = vec![format!("  at {bin} % asked for")];
        cells.extend(
            means
                .iter()
                .map(|m| m.map_or("–".to_owned(), |(m, sd)| shown(m, sd))),
        );
        table.best(cells, best);
    }
    table.part("Pods, mean of a run");
    let mut line = |name: &str, value: &dyn Fn(&Column) -> String| {
        let mut cells = vec![format!("  {name}")];
        cells.extend(columns.iter().map(value));
        cells.resize(1 + columns.len() + known.len(), String::new());
        table.row(cells);
    };
    let mean = |c: &Column, value: fn(&Fill) -> u64| {
        stat(c, |r| Some(value(r) as f64)).map_or(0.0, |s| s.mean)
    };
    line("arrived", &|c| grouped(mean(c, |r| r.arrived) as u64));
    line(
        "without a place",
        &|c| grouped(mean(c, Fill::failed) as u64),
    );
    line("faults, all runs", &|c| {
        grouped(c.runs.iter().map(|r| r.faults).sum())
    });
    let mut line = |name: &str, value: &dyn Fn(&Column) -> String| {
        let mut cells = vec![name.to_owned()];
        cells.extend(columns.iter().map(value));
        cells.resize(1 + columns.len() + known.len(), String::new());
        table.row(cells);
    };
    line("Decisions/s", &|c| {
        let rate = stat(c, |r| Some(r.decisions as f64 / r.seconds.max(1e-9)));
        rate.map_or_else(String::new, |s| short(s.mean))
    });
    line("Policy call p50 / p99, µs", &|c| {
        let p50 = stat(c, |r| Some(r.call_us.p50)).map_or(0.0, |s| s.mean);
        let p99 = stat(c, |r| Some(r.call_us.p99)).map_or(0.0, |s| s.mean);
        format!("{p50:.1} / {p99:.1}")
    });
    line("Fuel of a call p50 / p99", &|c| {
        let p50 = stat(c, |r| Some(r.fuel.p50)).map_or(0.0, |s| s.mean);
        let p99 = stat(c, |r| Some(r.fuel.p99)).map_or(0.0, |s| s.mean);
        if p99 == 0.0 {
            "native".to_owned()
        } else {
            format!("{} / {}", short(p50.round()), short(p99.round()))
        }
    });
    line("Decision digest, first seed", &|c| {
        c.runs
            .first()
            .map_or_else(String::new, |r| short_digest(&r.digest))
    });
    table
}

/// Columns with the best value, by table column; none if all are alike.
fn best_of(values: impl Iterator<Item = Option<f64>>, largest: bool) -> Vec<usize> {
    let values: Vec<Option<f64>> = values.collect();
    let known = values.iter().copied().flatten();
    let best = if largest {
        known.fold(f64::NEG_INFINITY, f64::max)
    } else {
        known.fold(f64::INFINITY, f64::min)
    };
    // Shown with two digits: what looks the same is the same.
    let is_best = |v: &Option<f64>| v.is_some_and(|v| (v - best).abs() < 0.005);
    let hits: Vec<usize> = (0..values.len())
        .filter(|at| is_best(&values[*at]))
        .collect();
    if hits.len() == values.len() {
        return Vec::new();
    }
    hits.into_iter().map(|at| at + 1).collect()
}

fn at_100(column: &Column) -> Option<f64> {
    stat(column, |r| r.at(100).map(|m| m.alloc_pct)).map(|s| s.mean)
}

fn remarks(columns: &[Column], published: bool) -> String {
    let mut text = String::new();
    if let [first, others @ ..] = columns
        && let Some(ours) = at_100(first)
    {
        for other in others {
            if let Some(theirs) = at_100(other) {
                text += &format!(
                    "\n{} uses {:+.2} points of the GPUs more than {} when 100 % are asked for.",
                    first.choice.label,
                    ours - theirs,
                    other.choice.label
                );
            }
        }
    }
    if published {
        text += "\n* published means of 10 seeds (Weng et al., USENIX ATC '23); their shuffles differ from ours.";
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn report(heading: &str, columns: &[Column], known: &[PublishedFill]) -> Report {
    let charted = |value: fn(cluster::openb::BinMeans) -> f64,
                   theirs: fn(&PublishedFill) -> Vec<(f64, f64)>| {
        let mut lines: Vec<Line> = known
            .iter()
            .enumerate()
            .map(|(at, p)| Line {
                name: format!("{}*", p.policy),
                points: theirs(p),
                colour: columns.len() + at,
                reference: true,
                ..Line::default()
            })
            .collect();
        for (colour, column) in columns.iter().enumerate() {
            let mut line = Line {
                name: column.choice.label.clone(),
                colour,
                ..Line::default()
            };
            for percent in 1..=200u32 {
                if let Some(s) = stat(column, |r| r.at(percent).map(value)) {
                    line.points.push((percent.into(), s.mean));
                    if column.runs.len() > 1 {
                        line.band.push((percent.into(), s.min, s.max));
                    }
                }
            }
            lines.push(line);
        }
        lines
    };
    let last = columns
        .iter()
        .flat_map(|c| &c.runs)
        .filter_map(|r| r.curve.last().map(|(p, _)| f64::from(*p)))
        .fold(100.0, f64::max);
    let alloc = Chart {
        title: "GPUs in use by load".to_owned(),
        x_label: "GPUs asked for, % of all".to_owned(),
        y_label: "GPUs in use, %".to_owned(),
        x: (70.0, last),
        y: (70.0, 100.0),
        lines: charted(
            |m| m.alloc_pct,
            |p| {
                p.alloc
                    .iter()
                    .map(|(x, m)| (f64::from(*x), m.mean))
                    .collect()
            },
        ),
    };
    let frag = Chart {
        title: "Unusable share of the free GPUs by load".to_owned(),
        x_label: "GPUs asked for, % of all".to_owned(),
        y_label: "unusable for usual pods, % of the free GPU".to_owned(),
        x: (0.0, last),
        y: (0.0, 100.0),
        lines: charted(
            |m| m.frag_ratio_pct,
            |p| {
                p.frag
                    .iter()
                    .map(|(x, m)| (f64::from(*x), m.mean))
                    .collect()
            },
        ),
    };
    let mut facts = Vec::new();
    for column in columns {
        if let Some(value) = at_100(column) {
            let label = format!("of the GPUs in use, {}", column.choice.label);
            facts.push((format!("{value:.2} %"), label));
        }
    }
    if let Some(best) = known.first()
        && let Some(m) = best.alloc.get(&100)
    {
        let label = format!("of the GPUs in use, {} as published", best.policy);
        facts.push((format!("{:.2} %", m.mean), label));
    }
    Report {
        title: "Filling a GPU cluster".to_owned(),
        subtitle: heading.to_owned(),
        facts,
        sections: vec![
            Section {
                heading: "How much of the cluster is used".to_owned(),
                text: "Pods arrive until more is asked for than there is. A policy that leaves \
                       usable gaps stays near the diagonal longer. Bands span the seeds."
                    .to_owned(),
                body: alloc.svg(),
            },
            Section {
                heading: "How fragmented the rest is".to_owned(),
                text: "Share of the free GPU capacity that the usual pods could not use where \
                       it is. Lower is better while there is still room."
                    .to_owned(),
                body: frag.svg(),
            },
            Section {
                heading: "In numbers".to_owned(),
                text: "Mean and standard deviation over the seeds; * marks published values."
                    .to_owned(),
                body: table(columns, known).html(),
            },
        ],
        command: command_line(),
    }
}
