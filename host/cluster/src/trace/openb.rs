//! Alibaba's GPU cluster (openb): node list and pod lists.
//!
//! ```text
//! sn,cpu_milli,memory_mib,gpu,model
//! openb-node-0000,64000,262144,2,P100
//!
//! name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,…
//! openb-pod-0001,6000,12288,1,460,V100M16|V100M32,…
//! ```
//!
//! Wiring is not published, so nodes have no link matrix; device memory is not
//! published either.

use std::collections::HashMap;
use std::io::BufRead;

use model::quantity::AMOUNT_MAX;
use model::topology::GPUS_PER_NODE_MAX;
use model::{GpuRequest, GpuSpec, NodeSpec, PodSpec, Resources};

use super::TraceError;
use super::table::{Column, Table, optional, required};

const GPUS_MAX: i64 = GPUS_PER_NODE_MAX as i64;

/// Reads a node list.
///
/// # Errors
/// The first thing wrong with the file.
pub fn nodes(input: impl BufRead, path: &str) -> Result<Vec<NodeSpec>, TraceError> {
    const COLUMNS: [Column; 5] = [
        required("sn"),
        required("cpu_milli"),
        required("memory_mib"),
        required("gpu"),
        required("model"),
    ];
    let mut table = Table::open(input, path, &COLUMNS)?;
    let mut seen = HashMap::new();
    let mut nodes = Vec::new();
    while let Some(row) = table.next_row()? {
        let name = row.name(0)?;
        if let Some(first) = seen.insert(name.to_owned(), row.line()) {
            return Err(row.duplicate(0, first));
        }
        let gpus = row.integer(3, 0..=GPUS_MAX)?;
        let model = row.text(4);
        if gpus > 0 && model.is_empty() {
            return Err(row.wrong(4, format!("the model of the node's {gpus} GPUs")));
        }
        let gpu = GpuSpec {
            model: model.to_owned(),
            memory_mib: 0,
            healthy: true,
        };
        let node = NodeSpec {
            name: name.to_owned(),
            capacity: Resources {
                cpu_milli: row.integer(1, 0..=AMOUNT_MAX)?,
                memory_mib: row.integer(2, 0..=AMOUNT_MAX)?,
                ..Resources::default()
            },
            gpus: vec![gpu; gpus as usize],
            ..NodeSpec::default()
        };
        node.validate().map_err(|e| row.contradiction(e))?;
        nodes.push(node);
    }
    if nodes.is_empty() {
        return Err(TraceError::NoRows {
            path: path.to_owned(),
            expected: "one node",
        });
    }
    Ok(nodes)
}

/// Reads a pod list. Columns after `gpu_milli` may be missing, as in the
/// published `multigpu` lists.
///
/// # Errors
/// The first thing wrong with the file.
pub fn pods(input: impl BufRead, path: &str) -> Result<Vec<PodSpec>, TraceError> {
    const COLUMNS: [Column; 6] = [
        required("name"),
        required("cpu_milli"),
        required("memory_mib"),
        required("num_gpu"),
        required("gpu_milli"),
        optional("gpu_spec"),
    ];
    let mut table = Table::open(input, path, &COLUMNS)?;
    let mut seen = HashMap::new();
    let mut pods = Vec::new();
    while let Some(row) = table.next_row()? {
        let name = row.name(0)?;
        if let Some(first) = seen.insert(name.to_owned(), row.line()) {
            return Err(row.duplicate(0, first));
        }
        let count = row.integer(3, 0..=GPUS_MAX)? as u32;
        let milli = row.integer(4, 0..=1000)? as u32;
        if count == 0 && milli != 0 {
            return Err(row.wrong(4, "0, because num_gpu is 0"));
        }
        let models = match row.text(5) {
            "" => Vec::new(),
            list => list.split('|').map(str::to_owned).collect(),
        };
        if models.iter().any(String::is_empty) {
            return Err(row.wrong(5, "GPU models separated by |"));
        }
        let pod = PodSpec {
            name: name.to_owned(),
            requests: Resources {
                cpu_milli: row.integer(1, 0..=AMOUNT_MAX)?,
                memory_mib: row.integer(2, 0..=AMOUNT_MAX)?,
                ..Resources::default()
            },
            gpu: GpuRequest {
                count,
                milli,
                memory_mib: 0,
                models,
            },
            ..PodSpec::default()
        };
        pod.validate().map_err(|e| row.contradiction(e))?;
        pods.push(pod);
    }
    if pods.is_empty() {
        return Err(TraceError::NoRows {
            path: path.to_owned(),
            expected: "one pod",
        });
    }
    Ok(pods)
}
