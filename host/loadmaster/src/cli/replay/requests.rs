//! `replay requests`.

use std::path::PathBuf;

use clap::Args;
use cluster::trace::series::Series;
use engine::EventError;
use model::PolicyKind;

use super::{Common, command_line, short_digest, trace_name, verdict};
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::Out;
use crate::cli::progress;
use crate::cli::table::Table;
use crate::policies::{LoadError, Loader, PolicyRef, autoscaling_set};
use crate::replay::chart::{Chart, Line};
use crate::replay::cost::Costs;
use crate::replay::report::{Report, Section};
use crate::replay::requests::{Point, Scaled, Service, scale};
use crate::replay::run::{Choice, spread};
use crate::replay::summary::{duration, grouped};

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster replay requests --series worldcup98_1min.csv --capacity 500 --min 10 --start-up 60s,300s,900s
  loadmaster replay requests --series nasa_jul95_1min.csv --capacity 10 --policy autoscaling=pre-scaler --against autoscaling=builtin:hpa -o json";

/// Replicas that the mean of the history needs when no capacity is given: a
/// service large enough to show rounding, small enough to show steps.
const MEAN_REPLICAS: f64 = 20.0;

/// Longest start-up that is simulated, s: a day.
const START_UP_S_MAX: u64 = 86_400;

/// Options of the verb.
#[derive(Debug, Args)]
pub struct Options {
    /// Series: t_seconds,value
    #[arg(long, value_name = "FILE")]
    series: PathBuf,
    /// Load of one step that one replica serves; the mean needs 20 replicas
    /// when left out
    #[arg(long, value_name = "R")]
    capacity: Option<f64>,
    /// Time until a new replica serves, e.g. 60s, 5m; several separated by
    /// commas
    #[arg(long, value_name = "TIME", default_value = "60s")]
    start_up: String,
    /// Fewest replicas
    #[arg(long, value_name = "N", default_value_t = 1)]
    min: u32,
    /// Utilisation of the replicas to aim at
    #[arg(long, value_name = "PERCENT", default_value = "70%")]
    target: String,
    /// Last part of the series that is decided; the rest is history
    #[arg(long, value_name = "PERCENT", default_value = "30%")]
    test_share: String,
    #[command(flatten)]
    common: Common,
}

enum RunError {
    Load(LoadError),
    Event(EventError),
}

struct Row {
    choice: Choice,
    run: Scaled,
}

pub(super) fn run(options: &Options, out: &Out) -> Outcome {
    let common = &options.common;
    let seeds = common.seeds()?;
    if seeds.len() > 1 {
        out.note("nothing in this replay is random; only the first seed is run");
    }
    let seed = seeds.first().copied().unwrap_or_default();
    let series = super::read(&options.series, cluster::trace::series::series)?;
    let services = services(options, &series, out)?;
    let loader = Loader::unhurried();
    let choices = common.choices(
        PolicyKind::Autoscaling,
        &[PolicyRef::named(PolicyKind::Autoscaling, "pre-scaler")],
        &[PolicyRef::builtin(PolicyKind::Autoscaling, "hpa")],
        &loader,
    )?;
    let tasks: Vec<(Service, &Choice)> = services
        .iter()
        .flat_map(|s| choices.iter().map(move |c| (*s, c)))
        .collect();
    let steps = series.values.len() - services.first().map_or(0, |s| s.decide_from);
    let bar = progress::bar((steps * tasks.len()) as u64, "steps");
    bar.set_message("replaying");
    let runs = spread(&tasks, common.threads(), |(service, choice)| {
        let costs = Costs::default();
        let set = autoscaling_set(&choice.policies, |p| costs.meter_scaling(p))
            .map_err(RunError::Load)?;
        scale(&series, *service, seed, set, &costs, &|n| bar.inc(n)).map_err(RunError::Event)
    });
    bar.finish_and_clear();
    let runs = runs.map_err(|e| match e {
        RunError::Load(e) => super::not_loaded(&e),
        RunError::Event(e) => Failure::from_error(Exit::Usage, &e),
    })?;
    let rows: Vec<Row> = std::iter::zip(&tasks, runs)
        .map(|((_, choice), run)| Row {
            choice: (*choice).clone(),
            run,
        })
        .collect();

    let service = &rows[0].run.service;
    let heading = format!(
        "{}   {} steps of {}, the last {} decided · one replica serves {} a step, aimed at {} % · at least {}",
        options
            .series
            .file_name()
            .unwrap_or_default()
            .to_string_lossy(),
        grouped(series.values.len() as u64),
        duration(series.step_s as f64),
        grouped(steps as u64),
        service.capacity,
        f64::from(service.target_milli) / 10.0,
        service.min
    );
    if super::wants_table(out) {
        out.print(&format!("{heading}\n\n"))?;
        out.print(&table(&rows, choices.len()).text(out.style))?;
        out.print(&format!("\n{}\n", remarks(&rows, choices.len())))?;
    } else {
        let runs = rows.iter().map(|r| r.run.to_json(r.choice.to_json()));
        let name = trace_name("requests", &options.series);
        super::print_json(out, &name, runs.collect())?;
    }
    common.write_report(|| report(&heading, &rows, choices.len()), out)?;
    let faults: Vec<_> = rows
        .iter()
        .map(|r| {
            let first = r.run.first_fault.clone();
            (r.choice.label.clone(), r.run.faults, first)
        })
        .collect();
    let reverted: Vec<String> = rows
        .iter()
        .filter(|r| r.run.reverted)
        .map(|r| {
            let start = duration(r.run.service.start_up_s as f64);
            format!("{} at a start-up of {start}", r.choice.label)
        })
        .collect();
    verdict(out, &faults, &reverted)
}

/// One service a start-up time.
fn services(options: &Options, series: &Series, out: &Out) -> Result<Vec<Service>, Failure> {
    let share = percent("--test-share", &options.test_share)?;
    let len = series.values.len();
    let tested = (len as f64 * share / 100.0) as usize;
    if tested == 0 || tested >= len {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--test-share {} of {len} steps leaves nothing to decide or no history",
                options.test_share
            ),
        )
        .hint("the published split is 30%"));
    }
    let target = percent("--target", &options.target)?;
    let history = &series.values[..len - tested];
    let capacity = match options.capacity {
        Some(c) if c > 0.0 && c.is_finite() => c,
        Some(c) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("--capacity {c} is not above 0"),
            ));
        }
        None => {
            let mean = history.iter().sum::<f64>() / history.len() as f64;
            let capacity = (mean / MEAN_REPLICAS).max(1e-6);
            out.note(&format!(
                "no --capacity: one replica serves {capacity:.3} a step, so that the mean of the history needs {MEAN_REPLICAS}"
            ));
            capacity
        }
    };
    options
        .start_up
        .split(',')
        .map(|text| {
            Ok(Service {
                capacity,
                min: options.min,
                target_milli: (target * 10.0).round() as u32,
                start_up_s: seconds(text)?,
                decide_from: len - tested,
            })
        })
        .collect()
}

fn percent(option: &str, text: &str) -> Result<f64, Failure> {
    let value = text.trim().trim_end_matches('%').trim().parse::<f64>();
    value
        .ok()
        .filter(|p| *p > 0.0 && *p <= 100.0)
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("{option} {text:?} is not a percentage above 0 and up to 100"),
            )
            .hint(format!("e.g. {option} 30%"))
        })
}

/// `60s`, `5m`, `1h`, or plain seconds.
fn seconds(text: &str) -> Result<u64, Failure> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    let value = digits.trim().parse::<u64>().ok();
    value
        .zip(unit)
        .and_then(|(v, u)| v.checked_mul(u))
        .filter(|s| *s <= START_UP_S_MAX)
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("--start-up {text:?} is not a time of at most {START_UP_S_MAX} s"),
            )
            .hint("e.g. --start-up 60s, --start-up 5m or --start-up 60s,300s,900s")
        })
}

fn table(rows: &[Row], choices: usize) -> Table {
    let mut table = Table::new(&[
        "",
        ">SHORTFALL",
        ">TIME SHORT",
        ">UNSERVED",
        ">SURPLUS",
        ">TIME OVER",
        ">POD-MINUTES",
        ">CHANGES",
        ">CALL P50/P99 µs",
        "DIGEST",
    ]);
    for group in rows.chunks(choices.max(1)) {
        let start = duration(group[0].run.service.start_up_s as f64);
        table.part(format!("start-up {start}"));
        let least = |value: fn(&Scaled) -> f64| {
            group
                .iter()
                .map(|r| value(&r.run))
                .fold(f64::INFINITY, f64::min)
        };
        let short = least(|r| r.report.under_pct);
        let cost = least(|r| r.pod_minutes);
        for row in group {
            let r = &row.run.report;
            let several = group.len() > 1;
            let mark = |best: bool| if best && several { "◂ " } else { "" };
            let shortest = r.under_pct <= short;
            let cheapest = row.run.pod_minutes <= cost;
            let mut best = Vec::new();
            if several && shortest {
                best.push(1);
            }
            if several && cheapest {
                best.push(6);
            }
            table.best(
                vec![
                    format!("  {}", row.choice.label),
                    format!("{}{:.3} %", mark(shortest), r.under_pct),
                    format!("{:.2} %", r.time_under_pct),
                    format!("{:.3} %", r.slo_violation_pct),
                    format!("{:.2} %", r.over_pct),
                    format!("{:.2} %", r.time_over_pct),
                    format!(
                        "{}{}",
                        mark(cheapest),
                        grouped(row.run.pod_minutes.round() as u64)
                    ),
                    grouped(r.changes),
                    format!("{:.0} / {:.0}", row.run.call_us.p50, row.run.call_us.p99),
                    short_digest(&row.run.digest),
                ],
                best,
            );
        }
    }
    table
}

/// Both axes against each other, in words.
fn remarks(rows: &[Row], choices: usize) -> String {
    let mut text = String::from(
        "◂ marks the better on each axis: shortfall (mean missing share of the replicas needed) and cost (pod-minutes, starting replicas included).",
    );
    for group in rows.chunks(choices.max(1)) {
        let [first, others @ ..] = group else {
            continue;
        };
        for other in others {
            let (a, b) = (&first.run, &other.run);
            let less_short = b.report.under_pct - a.report.under_pct;
            let dearer = 100.0 * (a.pod_minutes / b.pod_minutes.max(1e-9) - 1.0);
            let sense = match (less_short >= 0.0, dearer <= 0.0) {
                (true, true) if less_short == 0.0 && dearer == 0.0 => "the same on both",
                (true, true) => "better on both",
                (true, false) => "less shortfall for more money",
                (false, true) => "cheaper for more shortfall",
                (false, false) => "worse on both",
            };
            text += &format!(
                "\nstart-up {}: {} has {:.1} % {} shortfall and costs {:+.1} % against {}: {sense}.",
                duration(a.service.start_up_s as f64),
                first.choice.label,
                100.0 * less_short.abs() / b.report.under_pct.max(1e-9),
                if less_short >= 0.0 { "less" } else { "more" },
                dearer,
                other.choice.label
            );
        }
    }
    text
}

fn report(heading: &str, rows: &[Row], choices: usize) -> Report {
    let mut sections = Vec::new();
    let of = |value: fn(&Scaled) -> f64| {
        let most = rows.iter().map(|r| value(&r.run)).fold(0.0, f64::max);
        (0.0, (most * 1.1).max(1e-3))
    };
    let costs: Vec<f64> = rows.iter().map(|r| r.run.pod_minutes).collect();
    let low = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = costs.iter().copied().fold(0.0, f64::max);
    let margin = ((high - low) * 0.15).max(high * 0.01);
    let marks = rows.iter().enumerate().map(|(at, row)| Line {
        name: format!(
            "{} {}",
            row.choice.label,
            duration(row.run.service.start_up_s as f64)
        ),
        points: vec![(row.run.pod_minutes, row.run.report.under_pct)],
        colour: at % choices.max(1),
        marks: true,
        ..Line::default()
    });
    sections.push(Section {
        heading: "Shortfall against cost".to_owned(),
        text: "Each mark is a policy at a start-up time; nearer to the lower left is better on \
               both axes."
            .to_owned(),
        body: Chart {
            title: "Shortfall against cost".to_owned(),
            x_label: "cost, pod-minutes".to_owned(),
            y_label: "shortfall, %".to_owned(),
            x: (low - margin, high + margin),
            y: of(|r| r.report.under_pct),
            lines: marks.collect(),
        }
        .svg(),
    });
    for group in rows.chunks(choices.max(1)) {
        let Some(first) = group.first() else {
            continue;
        };
        let start = duration(first.run.service.start_up_s as f64);
        sections.push(Section {
            heading: format!("The largest peak, start-up {start}"),
            text: "Replicas needed and replicas serving, step by step.".to_owned(),
            body: replicas(group, |r| &r.peak).svg(),
        });
    }
    if let Some(group) = rows.chunks(choices.max(1)).next_back() {
        let start = duration(group[0].run.service.start_up_s as f64);
        sections.push(Section {
            heading: format!("All of the decided part, start-up {start}"),
            text: "Replicas serving (mean of each stretch) and most replicas needed in it."
                .to_owned(),
            body: replicas(group, |r| &r.curve).svg(),
        });
    }
    sections.push(Section {
        heading: "In numbers".to_owned(),
        text: "◂ marks the better on each axis.".to_owned(),
        body: table(rows, choices).html(),
    });
    let facts = rows.iter().map(|row| {
        let start = duration(row.run.service.start_up_s as f64);
        let label = format!("shortfall, {}, start-up {start}", row.choice.label);
        (format!("{:.2} %", row.run.report.under_pct), label)
    });
    Report {
        title: "Scaling along a request series".to_owned(),
        subtitle: heading.to_owned(),
        facts: facts.collect(),
        sections,
        command: command_line(),
    }
}

/// Need and supply of the policies at one start-up time.
fn replicas(group: &[Row], points: fn(&Scaled) -> &Vec<Point>) -> Chart {
    let mut lines = Vec::new();
    if let Some(first) = group.first() {
        lines.push(Line {
            name: "needed".to_owned(),
            points: points(&first.run)
                .iter()
                .map(|p| (p.step as f64, f64::from(p.needed)))
                .collect(),
            colour: 6,
            reference: true,
            ..Line::default()
        });
    }
    lines.extend(group.iter().enumerate().map(|(colour, row)| {
        Line {
            name: row.choice.label.clone(),
            points: points(&row.run)
                .iter()
                .map(|p| (p.step as f64, p.ready))
                .collect(),
            colour,
            ..Line::default()
        }
    }));
    let all = || lines.iter().flat_map(|l| &l.points);
    let top = all().map(|(_, y)| *y).fold(1.0, f64::max);
    let from = all().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let to = all().map(|(x, _)| *x).fold(0.0, f64::max);
    Chart {
        title: "Replicas needed and serving".to_owned(),
        x_label: "step of the series".to_owned(),
        y_label: "replicas".to_owned(),
        x: (from.min(to), to.max(from + 1.0)),
        y: (0.0, top * 1.05),
        lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares() {
        assert_eq!(seconds("60s").unwrap(), 60);
        assert_eq!(seconds(" 5m").unwrap(), 300);
        assert_eq!(seconds("0").unwrap(), 0);
        for wrong in ["", "s", "-1", "1d", "25h", "99999999999999999999h"] {
            let failure = seconds(wrong).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{wrong}");
        }
        assert_eq!(percent("--x", "30%").unwrap(), 30.0);
        for wrong in ["0", "-3", "101%", "NaN", "all"] {
            assert!(percent("--x", wrong).is_err(), "{wrong}");
        }
    }
}
