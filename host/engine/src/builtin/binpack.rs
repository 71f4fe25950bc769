//! Fullest node afterwards wins (kube-scheduler's `MostAllocated`), and
//! CPU-only work stays off GPU nodes while others are left.

use std::sync::Arc;

use model::PolicyFault;
use model::scaling::Part;

use crate::port::{Column, Context, Cost, Description, PodRow, Rows, ScoringPolicy};
use crate::set::SCORE_MAX;

/// The built-in scoring policy.
#[derive(Debug)]
pub struct BuiltinBinpack {
    description: Description,
}

const COLUMNS: [Column; 6] = [
    Column::CpuFree,
    Column::CpuCap,
    Column::MemoryFree,
    Column::MemoryCap,
    Column::GpuFree,
    Column::GpuCount,
];

impl BuiltinBinpack {
    /// The policy; it has no settings.
    #[must_use]
    pub fn new() -> Self {
        Self {
            description: Description {
                name: "binpack".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                summary: "Fullest node afterwards wins.".to_owned(),
                settings_schema: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
                columns: COLUMNS.to_vec(),
            },
        }
    }
}

impl Default for BuiltinBinpack {
    fn default() -> Self {
        Self::new()
    }
}

/// Share of `cap` in use after taking `need`, of [`SCORE_MAX`].
fn used_after(need: i32, free: i32, cap: i32) -> i64 {
    if cap <= 0 {
        return 0;
    }
    let used = i64::from(cap) - i64::from(free) + i64::from(need);
    (used * i64::from(SCORE_MAX) / i64::from(cap)).clamp(0, i64::from(SCORE_MAX))
}

fn score_row(pod: &PodRow, column: impl Fn(usize) -> i32) -> i32 {
    let cpu = used_after(pod.cpu, column(0), column(1));
    let memory = used_after(pod.memory, column(2), column(3));
    let gpus = column(5);
    let score = if pod.gpu_count > 0 {
        let need = (pod.gpu_count * pod.gpu_milli) as i32;
        let gpu = used_after(need, column(4), gpus.saturating_mul(1000));
        (cpu + memory + 2 * gpu) / 4
    } else if gpus > 0 {
        (cpu + memory) / 4
    } else {
        (cpu + memory) / 2
    };
    score as i32
}

impl ScoringPolicy for BuiltinBinpack {
    fn description(&self) -> &Description {
        &self.description
    }

    fn set_context(&mut self, _: &Arc<Context>) -> Result<(), PolicyFault> {
        Ok(())
    }

    fn score(
        &mut self,
        pod: &PodRow,
        rows: Rows<'_>,
        out: &mut Vec<i32>,
    ) -> Result<Cost, PolicyFault> {
        let n = rows.count as usize;
        out.extend((0..n).map(|r| score_row(pod, |c| rows.data[c * n + r])));
        Ok(Cost::default())
    }

    fn place(
        &mut self,
        _: &PodRow,
        _: Rows<'_>,
        _: &mut Vec<u32>,
    ) -> Result<(bool, Cost), PolicyFault> {
        Ok((false, Cost::default()))
    }

    fn explain(&mut self, pod: &PodRow, rows: Rows<'_>) -> Result<Vec<Vec<Part>>, PolicyFault> {
        let mut scores = Vec::new();
        self.score(pod, rows, &mut scores)?;
        Ok(scores
            .into_iter()
            .map(|s| {
                vec![Part {
                    name: "allocated".to_owned(),
                    value: i64::from(s),
                    text: "share of the node in use afterwards".to_owned(),
                }]
            })
            .collect())
    }
}
