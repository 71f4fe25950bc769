//! Request rates over time: `t_seconds,value`, one row every step.

use std::io::BufRead;

use super::TraceError;
use super::table::{Column, Table, required};

/// Largest value: requests in one step, far above any published series.
pub const VALUE_MAX: f64 = 1e12;

/// Latest time, s: thirty years.
pub const TIME_S_MAX: i64 = 1_000_000_000;

/// An equidistant series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Distance of two values, s.
    pub step_s: u64,
    /// Oldest first.
    pub values: Vec<f64>,
}

/// Reads a series; at least two rows, because one has no step.
///
/// # Errors
/// The first thing wrong with the file, a missing or repeated step included.
pub fn series(input: impl BufRead, path: &str) -> Result<Series, TraceError> {
    const COLUMNS: [Column; 2] = [required("t_seconds"), required("value")];
    let mut table = Table::open(input, path, &COLUMNS)?;
    let mut values = Vec::new();
    let mut step: Option<i64> = None;
    let mut last: Option<i64> = None;
    while let Some(row) = table.next_row()? {
        let time = row.integer(0, 0..=TIME_S_MAX)?;
        match (last, step) {
            (Some(before), None) if time > before => step = Some(time - before),
            (Some(before), None) => {
                return Err(row.wrong(0, format!("a time after {before}")));
            }
            (Some(before), Some(step)) if time != before + step => {
                return Err(row.wrong(
                    0,
                    format!(
                        "{}, because the series has one value every {step} s",
                        before + step
                    ),
                ));
            }
            _ => {}
        }
        last = Some(time);
        values.push(row.number(1, 0.0..=VALUE_MAX)?);
    }
    match step {
        Some(step) => Ok(Series {
            step_s: step as u64,
            values,
        }),
        None => Err(TraceError::NoRows {
            path: path.to_owned(),
            expected: "two rows, whose distance is the step",
        }),
    }
}
