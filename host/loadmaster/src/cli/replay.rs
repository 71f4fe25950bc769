//! `loadmaster replay`: what was typed, to runs, to a table, JSON or a page.

mod gangs;
mod openb;
mod requests;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use model::PolicyKind;
use serde_json::{Value, json};

use super::failure::{Exit, Failure, OrFail, Outcome};
use super::output::{Format, Out};
use crate::policies::{LoadError, Loader, PolicyRef, SpecError};
use crate::replay::report::Report;
use crate::replay::run::Choice;

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster replay openb --nodes nodes.csv --pods pods_default.csv --seed 42..51 --report fill.html
  loadmaster replay requests --series worldcup98_1min.csv --capacity 500 --start-up 60s,900s";

/// Runs of one command: a comparison that somebody will still look at.
const RUNS_MAX: usize = 1_000;

/// The traces.
#[derive(Debug, Subcommand)]
pub enum Replay {
    /// Fill a GPU cluster (openb format) and see how much of it is used.
    #[command(after_help = openb::EXAMPLES)]
    Openb(openb::Options),
    /// Run gang jobs (philly-gangs format) and see when they end.
    #[command(after_help = gangs::EXAMPLES)]
    Gangs(gangs::Options),
    /// Scale a service along a request series and see shortfall and cost.
    #[command(after_help = requests::EXAMPLES)]
    Requests(requests::Options),
}

/// What every trace has.
#[derive(Debug, Args)]
pub struct Common {
    /// Policy to run: kind=name[@version], kind=path.wasm or kind=builtin:name,
    /// with settings as {"key":"value"} or ?key=value, a fail mode of admission
    /// as !open or !closed, and a weight as *0.5. Several of one kind decide
    /// together
    #[arg(long = "policy", value_name = "SPEC")]
    policies: Vec<String>,
    /// Policy to compare with, run on the same trace; repeatable. Policies that
    /// decide together are joined with +
    #[arg(long, value_name = "SPEC")]
    against: Vec<String>,
    /// Seeds: numbers and ranges, e.g. 42,43 or 42..51
    #[arg(long, value_name = "LIST", default_value = "42")]
    seed: String,
    /// Also write a self-contained HTML page
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Runs at the same time; the machine's cores when left out
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Runs it.
///
/// # Errors
/// A file, policy or option that is wrong, or a policy that was taken out.
pub fn run(replay: &Replay, out: &Out) -> Outcome {
    match replay {
        Replay::Openb(options) => openb::run(options, out),
        Replay::Gangs(options) => gangs::run(options, out),
        Replay::Requests(options) => requests::run(options, out),
    }
}

impl Common {
    /// The columns of the comparison: `--policy` together, then each
    /// `--against`. All must be of `kind`.
    fn choices(
        &self,
        kind: PolicyKind,
        default: &[PolicyRef],
        default_against: &[PolicyRef],
        loader: &Loader,
    ) -> Result<Vec<Choice>, Failure> {
        let mut first = Vec::new();
        for text in &self.policies {
            first.extend(PolicyRef::parse_joined(text).map_err(bad_spec)?);
        }
        if first.is_empty() {
            first.extend_from_slice(default);
        }
        let mut all = vec![first];
        for text in &self.against {
            all.push(PolicyRef::parse_joined(text).map_err(bad_spec)?);
        }
        if self.against.is_empty() {
            all.extend(default_against.iter().map(|p| vec![p.clone()]));
        }
        for policy in all.iter().flatten() {
            if policy.kind != kind {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{policy} cannot decide here: this trace asks policies of kind {kind}"),
                )
                .hint(format!("write {kind}=… instead")));
            }
        }
        // The same policy twice is one column.
        let mut seen = Vec::new();
        all.retain(|choice| {
            let new = !seen.contains(choice);
            seen.push(choice.clone());
            new
        });
        all.iter()
            .map(|asked| Choice::load(loader, asked).map_err(|e| not_loaded(&e)))
            .collect()
    }

    fn seeds(&self) -> Result<Vec<u64>, Failure> {
        let wrong = || {
            Failure::new(
                Exit::Usage,
                format!("--seed {:?} is not a list of seeds", self.seed),
            )
            .hint("numbers and ranges, e.g. --seed 42, --seed 42,43 or --seed 42..51")
        };
        let mut seeds: Vec<u64> = Vec::new();
        for part in self.seed.split(',') {
            let (from, to) = part.trim().split_once("..").unwrap_or((part, part));
            let from: u64 = from.trim().parse().map_err(|_| wrong())?;
            let to: u64 = to
                .trim_start_matches('=')
                .trim()
                .parse()
                .map_err(|_| wrong())?;
            if to < from || to - from >= RUNS_MAX as u64 {
                return Err(wrong());
            }
            seeds.extend(from..=to);
        }
        let mut seen = std::collections::BTreeSet::new();
        seeds.retain(|s| seen.insert(*s));
        if seeds.len() > RUNS_MAX {
            return Err(wrong().hint(format!("at most {RUNS_MAX} seeds")));
        }
        Ok(seeds)
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(cores, NonZeroUsize::get)
    }

    fn write_report(&self, report: impl FnOnce() -> Report, out: &Out) -> Outcome {
        let Some(path) = &self.report else {
            return Ok(());
        };
        write(path, &report().html())?;
        out.note(&format!("the report is in {}", path.display()));
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Outcome {
    std::fs::write(path, text).map_err(|e| {
        Failure::new(
            Exit::Failed,
            format!("cannot write the report to {}", path.display()),
        )
        .hint(e.to_string())
    })
}

fn bad_spec(error: SpecError) -> Failure {
    Failure::new(Exit::Usage, error.to_string()).hint(error.hint())
}

/// A policy that cannot be had: ours or the user's mistake, never the host's.
pub(super) fn not_loaded(error: &LoadError) -> Failure {
    let exit = match error {
        LoadError::Start { .. } => Exit::PolicyFault,
        LoadError::Sandbox(_) => Exit::Failed,
        _ => Exit::Usage,
    };
    Failure::from_error(exit, error).maybe_hint(error.hint())
}

/// Prints the runs as the one JSON object that scripts read.
fn print_json(out: &Out, trace: &str, runs: Vec<Value>) -> Outcome {
    out.value(&json!({"trace": trace, "runs": runs}), trace, |_| {
        String::new()
    })
}

fn wants_table(out: &Out) -> bool {
    matches!(out.format, Format::Table | Format::Wide)
}

/// `openb:pods_default`: the kind of trace and the file that makes the
/// difference.
fn trace_name(kind: &str, file: &Path) -> String {
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    format!("{kind}:{}", stem.to_string_lossy())
}

/// The command line as it was typed.
fn command_line() -> String {
    let mut words = std::env::args();
    words.next();
    let quoted = words.map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    std::iter::once("loadmaster".to_owned())
        .chain(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

/// First digits of a digest.
fn short_digest(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.chars().take(12).collect()
}

/// Reads a trace file with one of the parsers.
fn read<T>(
    path: &Path,
    parse: impl FnOnce(std::io::BufReader<std::fs::File>, &str) -> Result<T, cluster::trace::TraceError>,
) -> Result<T, Failure> {
    let (input, shown) = cluster::trace::open(path).or_fail(Exit::Usage)?;
    parse(input, &shown).or_fail(Exit::Usage)
}

/// Says what went wrong inside the runs; the worst decides the exit code.
fn verdict(out: &Out, faults: &[(String, u64, Option<String>)], reverted: &[String]) -> Outcome {
    for (label, count, first) in faults.iter().filter(|(_, count, _)| *count > 0) {
        let first = first.as_deref().unwrap_or("no text");
        out.warn(&format!(
            "{label}: {count} faults were answered by the built-in; the first: {first}"
        ));
    }
    if reverted.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        Exit::PolicyFault,
        "a policy was taken out by the breaker; the rest of its run was decided by the built-in",
    );
    failure.causes = reverted.to_vec();
    Err(failure.hint("the numbers above are not those of the policy"))
}
