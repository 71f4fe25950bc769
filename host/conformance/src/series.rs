//! Load curves, made without functions whose last bit differs by platform.

use crate::case::{Series, SeriesKind};

pub(crate) fn values(series: &Series) -> Vec<f64> {
    let at = |i: usize| match series.kind {
        SeriesKind::Empty | SeriesKind::Missing => f64::NAN,
        SeriesKind::Constant => series.base,
        SeriesKind::Ramp => series.base + series.amplitude * i as f64,
        SeriesKind::Wave => {
            let period = series.period.max(2);
            let half = period as f64 / 2.0;
            let position = (i % period) as f64;
            // -1 at the start of a period, 1 in the middle.
            let height = 1.0 - 2.0 * (position - half).abs() / half;
            series.base + series.amplitude * height
        }
    };
    let missing = |i: usize| series.missing_every > 0 && i.is_multiple_of(series.missing_every);
    let samples = if series.kind == SeriesKind::Empty {
        0
    } else {
        series.samples
    };
    (0..samples)
        .map(|i| if missing(i) { f64::NAN } else { at(i) })
        .collect()
}
