//! Quantile forecast of a load a few steps ahead.
//!
//! For each of up to [`HEADS_MAX`] horizons a head predicts the value of one
//! future step directly, without recursion:
//!
//! 1. mean: weighted ridge regression on recent averages, trend and the day's
//!    and week's profile at the present level (`features`). The penalty shrinks
//!    towards "average of the last four steps": bad data degrade to persistence.
//! 2. scale: a second ridge regression predicts the absolute error.
//! 3. margin: the empirical quantile of past errors in units of their predicted
//!    scale (split-conformal rank, newer errors weigh more).
//!
//! A [`Model`] is a pure function of the history up to its boundary, so keeping
//! it is a cache: losing it changes no answer.

mod features;
#[cfg(test)]
mod tests;

use features::{DAY, Inputs, MEAN_INPUTS, Origin, SCALE_INPUTS, Shape, WEEK, trailing};

use crate::memory::take;
use crate::ridge::{Normal, dot, upper_quantile};

/// Horizons of one model: the lead window is smooth enough for four points.
pub(crate) const HEADS_MAX: usize = 4;

/// Grows when the encoding or the features change.
const MODEL_VERSION: u32 = 1;

/// Fewest steps of history before there is a forecast.
const STEPS_MIN: usize = 240;

/// Fewest rows of a fit.
const ROWS_MIN: usize = 30;

/// Fewest steps a prediction looks back at: an hour's mean, and its lag.
const LOOK_BACK: usize = 80;

/// One day, ms.
const DAY_MS: i64 = 86_400_000;

/// Settings of the forecaster. The defaults were chosen on steps 40 to 70 % of
/// the World Cup and NASA series, not on the reported rest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Share of steps the provision should cover.
    pub(crate) quantile: f64,
    /// Distance of two fits, ms. Fits happen at multiples of it, so that every
    /// instance fits on the same history.
    pub(crate) refit_ms: i64,
    /// History used by a fit, ms.
    pub(crate) window_ms: i64,
    /// Rows of a fit; bounds its cost to half a millisecond natively.
    pub(crate) rows_max: usize,
    /// Ridge penalty relative to the mean diagonal.
    pub(crate) ridge: f64,
}

impl Default for Settings {
    fn default() -> Self {
        let refit_ms = 3_600_000;
        Self {
            quantile: 0.93,
            refit_ms,
            // Two weeks, less what a fit can be old.
            window_ms: 14 * DAY_MS - refit_ms,
            rows_max: 1_000,
            ridge: 0.003,
        }
    }
}

/// Fitted parameters of one horizon.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    /// Steps after the last known one.
    pub(crate) horizon: u32,
    mean: [f64; MEAN_INPUTS],
    scale: [f64; SCALE_INPUTS],
    /// Least predicted scale as a share of the level.
    floor: f64,
    /// Margin in units of the predicted scale.
    margin: f64,
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    /// End of the history it was fitted on, ms.
    pub(crate) boundary_ms: i64,
    pub(crate) step_ms: i64,
    /// Share of steps that the margin covers.
    pub(crate) quantile: f64,
    /// Mean of the training window.
    average: f64,
    seasons: u32,
    pub(crate) heads: Vec<Head>,
}

/// Forecast of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Steps after the last known one.
    pub(crate) horizon: u32,
    pub(crate) mean: f64,
    /// The configured quantile.
    pub(crate) upper: f64,
}

impl Head {
    fn mean_of(&self, x: &Inputs) -> f64 {
        // Bounded by level and season, whatever the coefficients say.
        (x.base + dot(&self.mean, &x.mean)).clamp(0.0, 4.0 * (x.level + x.swing()))
    }

    fn scale_of(&self, x: &Inputs) -> f64 {
        dot(&self.scale, &x.scale).max(self.floor * x.level)
    }
}

fn day_steps(step_ms: i64) -> usize {
    (DAY_MS / step_ms.max(1)).max(1) as usize
}

/// Different horizons spread evenly over `1..=last`.
pub(crate) fn horizons(last: u32) -> Vec<u32> {
    let mut out: Vec<u32> = Vec::with_capacity(HEADS_MAX);
    for k in 0..HEADS_MAX as u32 {
        let h = 1 + (last.max(1) - 1) * k / (HEADS_MAX as u32 - 1);
        if out.last() != Some(&h) {
            out.push(h);
        }
    }
    out
}

struct Row {
    x: Inputs,
    y: f64,
    weight: f64,
    /// Largest deviation that counts: one spike must not own the fit.
    limit: f64,
}

/// Fits a model on `history` (oldest first, finite, not negative), which ends
/// at `boundary_ms`. `None` when it is too short.
pub(crate) fn fit(
    history: &[f64],
    step_ms: i64,
    boundary_ms: i64,
    last_horizon: u32,
    s: &Settings,
) -> Option<Model> {
    let keep = (s.window_ms / step_ms.max(1)).max(1) as usize;
    let v = &history[history.len().saturating_sub(keep)..];
    let n = v.len();
    let far = last_horizon.max(1) as usize;
    if n < STEPS_MIN.max(64 + 2 * far) {
        return None;
    }
    let day = day_steps(step_ms);
    // A profile needs its own period plus something to learn from.
    let seasons = if n > 9 * day + far {
        DAY | WEEK
    } else if n > 2 * day + far {
        DAY
    } else {
        0
    };
    let first = match seasons {
        0 => 64,
        DAY => day + 16,
        _ => 7 * day + 16,
    };
    let shape = Shape {
        day,
        seasons,
        average: trailing(v, n, n).max(1e-9),
    };
    let rows = n - far - first;
    let stride = rows.div_ceil(s.rows_max.max(1)).max(1);
    let origins: Vec<Origin> = (0..rows / stride)
        .rev()
        .map(|k| Origin::new(v, n - far - k * stride))
        .collect();
    if origins.len() < ROWS_MIN {
        return None;
    }
    let heads = horizons(last_horizon)
        .into_iter()
        .map(|h| fit_head(v, &origins, h, &shape, s))
        .collect();
    Some(Model {
        boundary_ms,
        step_ms,
        quantile: s.quantile,
        average: shape.average,
        seasons,
        heads,
    })
}

fn fit_head(v: &[f64], origins: &[Origin], horizon: u32, shape: &Shape, s: &Settings) -> Head {
    let ahead = horizon as usize;
    let total = origins.len() as f64;
    let mut normal = Normal::<MEAN_INPUTS>::new();
    let mut rows = Vec::with_capacity(origins.len());
    for o in origins {
        let x = o.inputs(v, ahead, shape);
        let y = v[o.end + ahead - 1];
        let weight = 1.0 / (x.level * (x.level + shape.average));
        let limit = 3.0 * (x.level + x.swing()) + shape.average;
        normal.add(&x.mean, (y - x.base).clamp(-limit, limit), weight);
        rows.push(Row {
            x,
            y,
            weight,
            limit,
        });
    }
    let mut head = Head {
        horizon,
        mean: normal.solve(s.ridge),
        scale: [0.0; SCALE_INPUTS],
        floor: 0.0,
        margin: 0.0,
    };
    let mut normal = Normal::<SCALE_INPUTS>::new();
    let mut relative = 0.0;
    let mut errors = Vec::with_capacity(rows.len());
    for r in &rows {
        let e = r.y - head.mean_of(&r.x);
        normal.add(&r.x.scale, e.abs().min(r.limit), r.weight);
        relative += e.abs() / (r.x.level + shape.average);
        errors.push(e);
    }
    head.scale = normal.solve(s.ridge);
    head.floor = (0.25 * relative / total).max(1e-6);
    let mut scaled: Vec<(f64, f64)> = rows
        .iter()
        .zip(&errors)
        .enumerate()
        // The newest row weighs three times as much as the oldest.
        .map(|(i, (r, e))| (e / head.scale_of(&r.x), 1.0 + 2.0 * i as f64 / total))
        .collect();
    head.margin = upper_quantile(&mut scaled, s.quantile);
    head
}

/// Forecast of every head from the end of `history`. `None` when that is too
/// short or a result is not finite.
pub(crate) fn predict(model: &Model, history: &[f64]) -> Option<Vec<Point>> {
    predict_heads(model, &model.heads, history)
}

/// Forecast of the nearest horizon, the next step, only.
pub(crate) fn predict_one(model: &Model, history: &[f64]) -> Option<Point> {
    let points = predict_heads(model, model.heads.get(..1)?, history)?;
    points.first().copied()
}

fn predict_heads(model: &Model, heads: &[Head], history: &[f64]) -> Option<Vec<Point>> {
    if history.len() < LOOK_BACK {
        return None;
    }
    let shape = Shape {
        day: day_steps(model.step_ms),
        seasons: model.seasons,
        average: model.average,
    };
    let origin = Origin::new(history, history.len());
    let point = |head: &Head| {
        let x = origin.inputs(history, head.horizon as usize, &shape);
        let mean = head.mean_of(&x);
        let upper = (mean + head.margin * head.scale_of(&x)).max(0.0);
        (mean.is_finite() && upper.is_finite()).then_some(Point {
            horizon: head.horizon,
            mean,
            upper,
        })
    };
    heads.iter().map(point).collect()
}

impl Model {
    /// Little-endian bytes, beginning with a version.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(MODEL_VERSION.to_le_bytes());
        out.extend(self.boundary_ms.to_le_bytes());
        out.extend(self.step_ms.to_le_bytes());
        out.extend(self.quantile.to_le_bytes());
        out.extend(self.average.to_le_bytes());
        out.extend(self.seasons.to_le_bytes());
        out.extend((self.heads.len() as u32).to_le_bytes());
        for h in &self.heads {
            out.extend(h.horizon.to_le_bytes());
            for x in h.mean.iter().chain(&h.scale).chain([&h.floor, &h.margin]) {
                out.extend(x.to_le_bytes());
            }
        }
    }

    /// What [`Self::write`] wrote; `None` for anything else.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Self> {
        if u32::from_le_bytes(take(bytes)?) != MODEL_VERSION {
            return None;
        }
        let boundary_ms = i64::from_le_bytes(take(bytes)?);
        let step_ms = i64::from_le_bytes(take(bytes)?);
        let quantile = f64::from_le_bytes(take(bytes)?);
        let average = f64::from_le_bytes(take(bytes)?);
        let seasons = u32::from_le_bytes(take(bytes)?);
        let count = u32::from_le_bytes(take(bytes)?) as usize;
        if count > HEADS_MAX {
            return None;
        }
        let mut heads = Vec::with_capacity(count);
        for _ in 0..count {
            let horizon = u32::from_le_bytes(take(bytes)?);
            let mut number = || Some(f64::from_le_bytes(take(bytes)?));
            let (mut mean, mut scale) = ([0.0; MEAN_INPUTS], [0.0; SCALE_INPUTS]);
            for x in mean.iter_mut().chain(&mut scale) {
                *x = number()?;
            }
            heads.push(Head {
                horizon,
                mean,
                scale,
                floor: number()?,
                margin: number()?,
            });
        }
        Some(Self {
            boundary_ms,
            step_ms,
            quantile,
            average,
            seasons,
            heads,
        })
    }
}
