//! The load of one workload as equidistant steps.

use model::scaling::SAMPLES_MAX;

/// Steps kept past [`SAMPLES_MAX`] before the oldest are dropped together, so
/// that dropping costs nothing per sample.
const SLACK: usize = SAMPLES_MAX / 8;

/// A load older than this many steps is unknown: one sample may come late, two
/// may not be missing.
const STALE_STEPS: u64 = 2;

/// Loads step by step, oldest first; NaN where nothing is known.
///
/// A sample is the load of the step that ends when it is taken. The first one
/// sets the phase of the grid; later ones belong to the nearest grid time, so
/// that a late collector shifts nothing. Several samples of one step count with
/// their mean.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Time of the first value, ms.
    pub first_ms: u64,
    /// Distance of two values, ms.
    pub step_ms: u64,
    /// At most [`SAMPLES_MAX`] when exported.
    pub values: Vec<f64>,
    /// Known samples in the last value's mean.
    pub in_last: u32,
}

impl Samples {
    pub(crate) fn new(step_ms: u64) -> Self {
        Self {
            first_ms: 0,
            step_ms,
            values: Vec::new(),
            in_last: 0,
        }
    }

    pub(crate) fn add(&mut self, now_ms: u64, value: f64) {
        let known = value.is_finite() && value >= 0.0;
        let value = if known { value } else { f64::NAN };
        if self.values.is_empty() {
            self.first_ms = now_ms;
            self.push(value, known);
            return;
        }
        let last = self.values.len() as u64 - 1;
        let index = (now_ms.saturating_sub(self.first_ms) + self.step_ms / 2) / self.step_ms;
        if index <= last {
            self.merge(value, known);
            return;
        }
        let gap = index - last - 1;
        if gap >= SAMPLES_MAX as u64 {
            self.first_ms += index * self.step_ms;
            self.values.clear();
        } else {
            self.values
                .resize(self.values.len() + gap as usize, f64::NAN);
        }
        self.push(value, known);
        self.trim(SAMPLES_MAX + SLACK);
    }

    fn push(&mut self, value: f64, known: bool) {
        self.values.push(value);
        self.in_last = u32::from(known);
    }

    fn merge(&mut self, value: f64, known: bool) {
        if let Some(last) = self.values.last_mut()
            && known
        {
            self.in_last += 1;
            *last = if self.in_last == 1 {
                value
            } else {
                *last + (value - *last) / f64::from(self.in_last)
            };
        }
    }

    /// Drops the oldest steps down to [`SAMPLES_MAX`] once there are more than
    /// `limit`.
    fn trim(&mut self, limit: usize) {
        if self.values.len() > limit {
            let gone = self.values.len() - SAMPLES_MAX;
            self.values.drain(..gone);
            self.first_ms += gone as u64 * self.step_ms;
        }
    }

    /// Time of the first step and the steps that policies see.
    #[must_use]
    pub fn window(&self) -> (u64, &[f64]) {
        let hidden = self.values.len().saturating_sub(SAMPLES_MAX);
        (
            self.first_ms + hidden as u64 * self.step_ms,
            &self.values[hidden..],
        )
    }

    /// The present load, NaN when unknown.
    #[must_use]
    pub fn load_at(&self, now_ms: u64) -> f64 {
        let Some(last) = self.values.last() else {
            return f64::NAN;
        };
        let at_ms = self.first_ms + (self.values.len() as u64 - 1) * self.step_ms;
        if at_ms.saturating_add(STALE_STEPS * self.step_ms) < now_ms {
            return f64::NAN;
        }
        *last
    }

    /// A copy of what policies see, for the store.
    pub(crate) fn export(&self) -> Self {
        let (first_ms, values) = self.window();
        Self {
            first_ms,
            values: values.to_vec(),
            ..*self
        }
    }
}

/// Equal when every value has the same bits: a missing step equals a missing
/// step.
impl PartialEq for Samples {
    fn eq(&self, o: &Self) -> bool {
        let bits = |s: &Self| s.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        (self.first_ms, self.step_ms, self.in_last) == (o.first_ms, o.step_ms, o.in_last)
            && bits(self) == bits(o)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(samples: &[(u64, f64)]) -> Samples {
        let mut s = Samples::new(60_000);
        for (at_ms, value) in samples {
            s.add(*at_ms, *value);
        }
        s
    }

    #[test]
    fn samples_go_to_the_nearest_step_of_the_first_ones_phase() {
        let s = filled(&[(7_000, 1.0), (67_400, 2.0), (126_100, 3.0)]);
        assert_eq!(s.window(), (7_000, [1.0, 2.0, 3.0].as_slice()));
    }

    #[test]
    fn several_samples_of_a_step_count_with_their_mean() {
        let s = filled(&[(0, 1.0), (50_000, 2.0), (60_000, f64::NAN), (70_000, 6.0)]);
        assert_eq!(s.window().1, [1.0, 4.0]);
    }

    #[test]
    fn missing_and_impossible_values_are_nan() {
        let s = filled(&[(0, 1.0), (180_000, -3.0)]);
        let (_, values) = s.window();
        assert_eq!(values.len(), 4);
        assert!(values[1..].iter().all(|v| v.is_nan()));
    }

    #[test]
    fn the_load_goes_stale() {
        let s = filled(&[(0, 1.0), (60_000, 2.0)]);
        assert_eq!(s.load_at(180_000), 2.0);
        assert!(s.load_at(180_001).is_nan());
        assert!(Samples::new(1_000).load_at(0).is_nan());
    }

    #[test]
    fn the_past_is_bounded_and_export_hides_the_slack() {
        let mut s = Samples::new(1_000);
        for i in 0..(2 * SAMPLES_MAX as u64 + 77) {
            s.add(i * 1_000, i as f64);
            assert!(s.values.len() <= SAMPLES_MAX + SLACK);
        }
        let (first_ms, values) = s.window();
        assert_eq!(values.len(), SAMPLES_MAX);
        assert_eq!(values[0] * 1_000.0, first_ms as f64);
        assert_eq!(s.export().window(), s.window());
    }

    #[test]
    fn a_gap_longer_than_the_window_starts_over_in_phase() {
        let s = filled(&[(5_000, 1.0), (60_000 * 40_000 + 5_100, 2.0)]);
        assert_eq!(s.window(), (60_000 * 40_000 + 5_000, [2.0].as_slice()));
        let far = filled(&[(0, 1.0), (u64::MAX / 2, 2.0)]);
        assert_eq!(far.window().1, [2.0]);
    }
}
