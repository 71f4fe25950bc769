//! The formula of the Kubernetes horizontal pod autoscaler with its default
//! behaviour, and floors that act like a raised minimum.

use crate::memory::{Reader, Writer};

/// Relative distance from the target that changes nothing.
pub(crate) const TOLERANCE: f64 = 0.1;

/// How far back a higher recommendation holds the count, ms.
const DOWN_WINDOW_MS: i64 = 300_000;

/// Period of the rate rule, ms.
const RATE_PERIOD_MS: i64 = 15_000;

/// Replicas that may be added in a period even when doubling allows fewer.
const UP_REPLICAS: u32 = 4;

/// Entries read back from the state: more than one a second is not ours.
const ENTRIES_MAX: u32 = 1_024;

/// Load per replica to aim at, and the band around it that changes nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) per_replica: f64,
    pub(crate) tolerance_up: f64,
    pub(crate) tolerance_down: f64,
}

impl Target {
    /// With the tolerance of Kubernetes.
    pub(crate) fn new(per_replica: f64) -> Self {
        Self {
            per_replica,
            tolerance_up: TOLERANCE,
            tolerance_down: TOLERANCE,
        }
    }

    /// `ceil(load / target)`, or the current count within the band. `None` when
    /// the load is unknown.
    pub(crate) fn replicas(&self, load: f64, current: u32) -> Option<u32> {
        if !load.is_finite() || load < 0.0 || self.per_replica.is_nan() || self.per_replica <= 0.0 {
            return None;
        }
        let ratio = load / (self.per_replica * f64::from(current));
        if current > 0 && 1.0 - self.tolerance_down <= ratio && ratio <= 1.0 + self.tolerance_up {
            return Some(current);
        }
        Some(ceil(load / self.per_replica))
    }
}

/// Whole replicas; saturates, and NaN becomes 0.
pub(crate) fn ceil(x: f64) -> u32 {
    x.ceil() as u32
}

/// What the windows remember.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Windows {
    /// (when in ms, replicas), oldest first.
    recommendations: Vec<(i64, u32)>,
    /// (when in ms, replicas more or fewer), oldest first.
    changes: Vec<(i64, i64)>,
}

/// What is wanted, and within what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) now_ms: i64,
    pub(crate) current: u32,
    pub(crate) wanted: u32,
    /// Reached at once, as `minReplicas` is, not at the up rate.
    pub(crate) floor: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) stabilised: u32,
    pub(crate) limited: u32,
    pub(crate) replicas: u32,
}

impl Windows {
    /// Windows of a workload met with `current` replicas: it is not shrunk
    /// before a whole window was seen.
    pub(crate) fn seeded(now_ms: i64, current: u32) -> Self {
        Self {
            recommendations: vec![(now_ms, current)],
            changes: Vec::new(),
        }
    }

    pub(crate) fn record_change(&mut self, at_ms: i64, from: u32, to: u32) {
        if from != to {
            self.changes.push((at_ms, i64::from(to) - i64::from(from)));
        }
    }

    /// Stabilises, rate-limits and bounds a wish, and remembers it.
    pub(crate) fn grant(&mut self, w: Wish) -> Granted {
        // Half-open: an entry exactly one window old is out.
        let seen = |at_ms: i64, window: i64| at_ms > w.now_ms - window;
        self.recommendations
            .retain(|(at_ms, _)| seen(*at_ms, DOWN_WINDOW_MS));
        self.changes
            .retain(|(at_ms, _)| seen(*at_ms, RATE_PERIOD_MS));
        let max = w.max.max(w.min);
        let floor = w.floor.max(w.min).min(max);
        let wanted = w.wanted.max(floor);
        let held = self
            .recommendations
            .iter()
            .fold(wanted, |held, (_, r)| held.max(*r));
        self.recommendations.push((w.now_ms, wanted));
        let stabilised = if wanted > w.current {
            wanted
        } else {
            held.min(w.current)
        };
        let limited = stabilised.min(self.up_limit(w.current));
        Granted {
            stabilised,
            limited,
            replicas: limited.clamp(floor, max),
        }
    }

    /// From the count at the start of the period: twice as many, or
    /// [`UP_REPLICAS`] more.
    fn up_limit(&self, current: u32) -> u32 {
        let added: i64 = self.changes.iter().map(|(_, by)| by).sum();
        let start = (i64::from(current) - added).clamp(0, i64::from(u32::MAX)) as u32;
        start
            .saturating_mul(2)
            .max(start.saturating_add(UP_REPLICAS))
            .max(current)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u32(self.recommendations.len() as u32);
        for (at_ms, replicas) in &self.recommendations {
            w.i64(*at_ms);
            w.u32(*replicas);
        }
        w.u32(self.changes.len() as u32);
        for (at_ms, by) in &self.changes {
            w.i64(*at_ms);
            w.i64(*by);
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let mut windows = Self::default();
        for _ in 0..r.count(ENTRIES_MAX)? {
            windows.recommendations.push((r.i64()?, r.u32()?));
        }
        for _ in 0..r.count(ENTRIES_MAX)? {
            // Counts are 32 bits; anything else would overflow the sum.
            let (at_ms, by) = (r.i64()?, r.i64()?);
            let limit = i64::from(u32::MAX);
            windows.changes.push((at_ms, by.clamp(-limit, limit)));
        }
        Some(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_around_the_tolerance() {
        for (load, want) in [
            (9.0, 10),
            (8.9, 9),
            (11.0, 10),
            (11.1, 12),
            (15.0, 15),
            (5.0, 5),
        ] {
            assert_eq!(Target::new(1.0).replicas(load, 10), Some(want), "{load}");
        }
        assert_eq!(Target::new(1.0).replicas(f64::NAN, 10), None);
        assert_eq!(Target::new(0.0).replicas(1.0, 10), None);
    }

    #[test]
    fn up_limits_and_the_ramp() {
        for (current, want) in [(1, 5), (3, 7), (4, 8), (5, 10), (10, 20)] {
            assert_eq!(Windows::default().up_limit(current), want);
        }
        let (mut windows, mut current, mut seen) = (Windows::default(), 1, vec![1]);
        for k in 0..6 {
            let wish = Wish {
                now_ms: k * RATE_PERIOD_MS,
                current,
                wanted: 150,
                floor: 0,
                min: 1,
                max: 1_000,
            };
            let to = windows.grant(wish).replicas;
            windows.record_change(wish.now_ms, current, to);
            current = to;
            seen.push(to);
        }
        assert_eq!(seen, [1, 5, 10, 20, 40, 80, 150]);
    }

    #[test]
    fn a_floor_is_reached_at_once_and_bounded_by_the_maximum() {
        let wish = Wish {
            now_ms: 0,
            current: 10,
            wanted: 90,
            floor: 80,
            min: 1,
            max: 60,
        };
        let granted = Windows::default().grant(wish);
        assert_eq!((granted.limited, granted.replicas), (20, 60));
        let wish = Wish { max: 100, ..wish };
        assert_eq!(Windows::default().grant(wish).replicas, 80);
    }

    #[test]
    fn windows_survive_their_encoding() {
        let mut windows = Windows::seeded(5, 7);
        windows.record_change(6, 9, 4);
        let mut w = Writer::default();
        windows.write(&mut w);
        let bytes = w.finish();
        assert_eq!(Windows::read(&mut Reader::new(&bytes)), Some(windows));
        assert_eq!(Windows::read(&mut Reader::new(&bytes[1..])), None);
    }
}
