//! Microsoft's Philly jobs as gangs, and the cluster they run on.

use std::collections::HashMap;
use std::io::BufRead;

use super::TraceError;
use super::table::{Column, Table, optional, required};

/// GPUs of one simulated cluster: every placement pass walks its nodes.
pub const CLUSTER_GPUS_MAX: i64 = 1 << 20;

/// Latest submission and longest duration, ms: thirty years, so that sums of
/// times stay exact in a double.
pub const TIME_MS_MAX: i64 = 1_000_000_000_000;

/// Iterations of one job: with [`ITERATION_MS_MAX`] still exact in a double.
pub const ITERATIONS_MAX: i64 = 1 << 40;

/// One iteration, ms: an hour.
pub const ITERATION_MS_MAX: i64 = 3_600_000;

/// Machines of the simulated cluster, all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterSpec {
    /// Nodes.
    pub nodes: u32,
    /// GPUs of each.
    pub gpus_per_node: u32,
}

impl ClusterSpec {
    /// GPUs of the cluster.
    #[must_use]
    pub fn gpus(&self) -> u32 {
        self.nodes * self.gpus_per_node
    }
}

/// A job that runs on all its GPUs or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GangJob {
    /// Unique id.
    pub id: String,
    /// GPUs it needs at once.
    pub gpus: u32,
    /// Submission, ms from the start of the trace.
    pub submit_ms: u64,
    /// Iterations to do.
    pub iterations: u64,
    /// One iteration, ms.
    pub iteration_ms: u64,
    /// What it trains.
    pub model: String,
    /// Duration in the original log, ms, when the file has it. The simulator
    /// works from the iterations.
    pub duration_ms: Option<u64>,
}

/// Reads a cluster file: one row, `num_switch,num_node_p_switch,num_gpu_p_node,…`.
///
/// # Errors
/// The first thing wrong with the file.
pub fn cluster(input: impl BufRead, path: &str) -> Result<ClusterSpec, TraceError> {
    const COLUMNS: [Column; 3] = [
        required("num_switch"),
        required("num_node_p_switch"),
        required("num_gpu_p_node"),
    ];
    let mut table = Table::open(input, path, &COLUMNS)?;
    let Some(row) = table.next_row()? else {
        return Err(TraceError::NoRows {
            path: path.to_owned(),
            expected: "one row describing the cluster",
        });
    };
    let switches = row.integer(0, 1..=CLUSTER_GPUS_MAX)?;
    let per_switch = row.integer(1, 1..=CLUSTER_GPUS_MAX)?;
    let per_node = row.integer(2, 1..=CLUSTER_GPUS_MAX)?;
    let gpus = switches.saturating_mul(per_switch).saturating_mul(per_node);
    if gpus > CLUSTER_GPUS_MAX {
        return Err(row.contradiction(format!(
            "the cluster has {gpus} GPUs, expected at most {CLUSTER_GPUS_MAX}"
        )));
    }
    let spec = ClusterSpec {
        nodes: (switches * per_switch) as u32,
        gpus_per_node: per_node as u32,
    };
    if let Some(second) = table.next_row()? {
        return Err(second.contradiction("a second row, expected one row describing the cluster"));
    }
    Ok(spec)
}

/// Reads a job file.
///
/// # Errors
/// The first thing wrong with the file.
pub fn jobs(input: impl BufRead, path: &str) -> Result<Vec<GangJob>, TraceError> {
    const COLUMNS: [Column; 7] = [
        required("job_id"),
        required("num_gpu"),
        required("submit_time"),
        required("iterations"),
        required("model_name"),
        required("iteration_time"),
        optional("duration"),
    ];
    let mut table = Table::open(input, path, &COLUMNS)?;
    let has_duration = table.has(6);
    let mut seen = HashMap::new();
    let mut jobs = Vec::new();
    while let Some(row) = table.next_row()? {
        let id = row.name(0)?;
        if let Some(first) = seen.insert(id.to_owned(), row.line()) {
            return Err(row.duplicate(0, first));
        }
        jobs.push(GangJob {
            id: id.to_owned(),
            gpus: row.integer(1, 1..=CLUSTER_GPUS_MAX)? as u32,
            submit_ms: row.integer(2, 0..=TIME_MS_MAX)? as u64,
            iterations: row.integer(3, 1..=ITERATIONS_MAX)? as u64,
            iteration_ms: row.integer(5, 1..=ITERATION_MS_MAX)? as u64,
            model: row.name(4)?.to_owned(),
            duration_ms: if has_duration {
                Some(row.integer(6, 0..=TIME_MS_MAX)? as u64)
            } else {
                None
            },
        });
    }
    if jobs.is_empty() {
        return Err(TraceError::NoRows {
            path: path.to_owned(),
            expected: "one job",
        });
    }
    Ok(jobs)
}
