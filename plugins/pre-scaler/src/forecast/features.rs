//! What the regressions see of the history at one origin.

/// Inputs of the regression of the mean.
pub(super) const MEAN_INPUTS: usize = 8;

/// Inputs of the regression of the error's scale.
pub(super) const SCALE_INPUTS: usize = 6;

/// The model knows the day before.
pub(super) const DAY: u32 = 1;

/// The model knows the week before.
pub(super) const WEEK: u32 = 2;

/// Mean of the `n` values that end just before index `end`.
pub(super) fn trailing(v: &[f64], end: usize, n: usize) -> f64 {
    let start = end.saturating_sub(n);
    let mut sum = 0.0;
    for x in &v[start..end] {
        sum += x;
    }
    sum / ((end - start).max(1) as f64)
}

/// The series a model looks at.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Steps of a day.
    pub(super) day: usize,
    /// [`DAY`] and [`WEEK`] bits.
    pub(super) seasons: u32,
    /// Mean of the training window.
    pub(super) average: f64,
}

/// Regression inputs at one origin for one horizon.
pub(super) struct Inputs {
    /// Mean of the last four steps: the forecast starts from here.
    pub(super) base: f64,
    /// Present level, above 0.
    pub(super) level: f64,
    pub(super) mean: [f64; MEAN_INPUTS],
    pub(super) scale: [f64; SCALE_INPUTS],
}

impl Inputs {
    /// Largest move of the expected seasonal change.
    pub(super) fn swing(&self) -> f64 {
        self.scale[4]
    }
}

/// A point in the history with what does not depend on the horizon.
pub(super) struct Origin {
    pub(super) end: usize,
    /// Trailing means of 1, 4, 15 and 60 steps.
    means: [f64; 4],
    /// Mean step-to-step movement of the last fifteen steps.
    rough: f64,
}

impl Origin {
    /// `end` is past the newest step known; at least one step is before it.
    pub(super) fn new(v: &[f64], end: usize) -> Self {
        let means = [
            v[end - 1],
            trailing(v, end, 4),
            trailing(v, end, 15),
            trailing(v, end, 60),
        ];
        let n = 15.min(end - 1);
        let mut rough = 0.0;
        for i in end - n..end {
            rough += (v[i] - v[i - 1]).abs();
        }
        Self {
            end,
            means,
            rough: rough / n.max(1) as f64,
        }
    }

    /// What came `h` steps later, and what was then, one `period` ago, both
    /// moved to today's level.
    fn profile(&self, v: &[f64], h: usize, period: usize) -> Option<(f64, f64)> {
        let then = self.end.checked_sub(period)?;
        let half = (h / 2).clamp(usize::from(period > 100), 7);
        if then < 15 || then + h + half > self.end {
            return None;
        }
        let recent = 15.min(period / 6).max(1);
        let future = trailing(v, then + h + half, 2 * half + 1);
        let past = trailing(v, then, recent);
        let now = trailing(v, self.end, recent);
        let ratio = if past > 0.0 {
            (now / past).clamp(0.25, 4.0)
        } else {
            1.0
        };
        Some((future * ratio, past * ratio))
    }

    pub(super) fn inputs(&self, v: &[f64], h: usize, shape: &Shape) -> Inputs {
        let [last, base, quarter, hour] = self.means;
        let average = shape.average;
        let lag = h.max(4).min(self.end.saturating_sub(4));
        let before = trailing(v, self.end - lag, 4);
        let level = (0.5 * (quarter + base)).max(0.02 * average).max(1e-9);
        let mut mean = [0.0; MEAN_INPUTS];
        mean[0] = last - base;
        mean[1] = quarter - base;
        mean[2] = hour - base;
        mean[3] = average - base;
        mean[4] = base - before;
        let mut swing = 0.0;
        if shape.seasons & DAY != 0
            && let Some((ahead, past)) = self.profile(v, h, shape.day)
        {
            mean[5] = ahead - base;
            swing = (ahead - past).abs();
        }
        if shape.seasons & WEEK != 0
            && let Some((ahead, past)) = self.profile(v, h, 7 * shape.day)
        {
            mean[6] = ahead - base;
            swing = swing.max((ahead - past).abs());
        }
        mean[7] = quarter - trailing(v, self.end - lag, 15);
        let scale = [
            level,
            (level * average).sqrt(),
            (base - before).abs(),
            self.rough,
            swing,
            (base - hour).abs(),
        ];
        Inputs {
            base,
            level,
            mean,
            scale,
        }
    }
}
