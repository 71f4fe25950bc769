//! Numbers of the papers, read from the summaries beside the traces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes of a summary; the published ones have under 100 KB.
const SUMMARY_BYTES_MAX: u64 = 4 << 20;

/// Why a summary that exists was not used.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// Not readable.
    #[error("{path}: cannot read the published numbers")]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// Larger than any summary.
    #[error("{path}: larger than {SUMMARY_BYTES_MAX} bytes, not a summary of published numbers")]
    TooLarge {
        /// File.
        path: PathBuf,
    },
    /// Header without a column.
    #[error("{path}:1: the header has no column {column:?}")]
    HeaderLacks {
        /// File.
        path: PathBuf,
        /// Column.
        column: &'static str,
    },
    /// A cell that is no number.
    #[error("{path}:{line}: column {column:?}: found {found:?}, expected a number")]
    Cell {
        /// File.
        path: PathBuf,
        /// Line, the header being 1.
        line: usize,
        /// Column.
        column: &'static str,
        /// What is there.
        found: String,
    },
}

/// Mean and standard deviation over the published seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanSd {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub sd: f64,
}

/// One published policy on one openb workload, by arrived percent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PublishedFill {
    /// Name in the paper.
    pub policy: String,
    /// GPUs allocated, percent.
    pub alloc: BTreeMap<u32, MeanSd>,
    /// Fragmentation ratio, percent.
    pub frag: BTreeMap<u32, MeanSd>,
}

/// One published policy on one gang trace.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedGangs {
    /// Name in the paper.
    pub policy: String,
    /// Mean completion time, s.
    pub avg_jct_s: f64,
    /// Makespan, s.
    pub makespan_s: f64,
    /// 99th percentile of the completion time, s.
    pub p99_jct_s: f64,
}

/// `published_summary.csv` beside `pods`, for the workload that the file's name
/// tells (`pods_default.csv` → `default`). Best policy first; empty when there
/// is no such file or workload.
///
/// # Errors
/// The file is there and is not such a summary.
pub fn fills(pods: &Path) -> Result<Vec<PublishedFill>, PublishedError> {
    let workload = stem(pods);
    let workload = workload
        .rsplit_once("pods_")
        .map_or(workload.as_str(), |(_, w)| w);
    let path = pods.with_file_name("published_summary.csv");
    let mut policies: BTreeMap<String, PublishedFill> = BTreeMap::new();
    for row in rows(&path, &["workload", "policy", "arrived_pct"])? {
        if row.text("workload")? != workload {
            continue;
        }
        let name = row.text("policy")?;
        let policy = policies
            .entry(name.to_owned())
            .or_insert_with(|| PublishedFill {
                policy: name.to_owned(),
                ..PublishedFill::default()
            });
        let arrived = row.number("arrived_pct")? as u32;
        let pair = |mean, sd| -> Result<MeanSd, PublishedError> {
            Ok(MeanSd {
                mean: row.number(mean)?,
                sd: row.number(sd)?,
            })
        };
        policy
            .alloc
            .insert(arrived, pair("alloc_mean", "alloc_sd")?);
        policy
            .frag
            .insert(arrived, pair("frag_ratio_mean", "frag_ratio_sd")?);
    }
    let mut policies: Vec<PublishedFill> = policies.into_values().collect();
    let at_100 = |p: &PublishedFill| p.alloc.get(&100).map_or(0.0, |m| m.mean);
    policies.sort_by(|a, b| at_100(b).total_cmp(&at_100(a)));
    Ok(policies)
}

/// `published_results.csv` beside `jobs`, for the trace of that file's name.
/// Shortest mean completion time first.
///
/// # Errors
/// The file is there and is not such a summary.
pub fn gangs(jobs: &Path) -> Result<Vec<PublishedGangs>, PublishedError> {
    let trace = stem(jobs);
    let path = jobs.with_file_name("published_results.csv");
    let mut policies = Vec::new();
    for row in rows(&path, &["policy", "trace", "avg_jct_s"])? {
        if row.text("trace")? == trace {
            policies.push(PublishedGangs {
                policy: row.text("policy")?.to_owned(),
                avg_jct_s: row.number("avg_jct_s")?,
                makespan_s: row.number("makespan_s")?,
                p99_jct_s: row.number("p99_jct_s")?,
            });
        }
    }
    policies.sort_by(|a, b| a.avg_jct_s.total_cmp(&b.avg_jct_s));
    Ok(policies)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default()
}

struct Row {
    path: PathBuf,
    line: usize,
    cells: BTreeMap<String, String>,
}

impl Row {
    fn text(&self, column: &'static str) -> Result<&str, PublishedError> {
        self.cells
            .get(column)
            .map(String::as_str)
            .ok_or_else(|| PublishedError::HeaderLacks {
                path: self.path.clone(),
                column,
            })
    }

    fn number(&self, column: &'static str) -> Result<f64, PublishedError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| PublishedError::Cell {
            path: self.path.clone(),
            line: self.line,
            column,
            found: text.to_owned(),
        })
    }
}

fn rows(path: &Path, needed: &[&'static str]) -> Result<Vec<Row>, PublishedError> {
    let failed = |source| PublishedError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
        Ok(meta) if meta.len() > SUMMARY_BYTES_MAX => {
            return Err(PublishedError::TooLarge {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut lines = text.lines().enumerate();
    let header: Vec<&str> = lines
        .next()
        .map(|(_, line)| line.split(',').map(str::trim).collect())
        .unwrap_or_default();
    if let Some(column) = needed.iter().find(|c| !header.contains(c)) {
        return Err(PublishedError::HeaderLacks {
            path: path.to_owned(),
            column,
        });
    }
    let filled = lines.filter(|(_, line)| !line.trim().is_empty());
    Ok(filled
        .map(|(at, line)| Row {
            path: path.to_owned(),
            line: at + 1,
            cells: std::iter::zip(&header, line.split(','))
                .map(|(k, v)| ((*k).to_owned(), v.trim().to_owned()))
                .collect(),
        })
        .collect())
}
