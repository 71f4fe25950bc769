//! How well replicas followed a load: the elasticity metrics of the SPEC cloud
//! group, and what they cost.
//!
//! Replicas needed are the load over what one replica serves, rounded up, and
//! at least the minimum. Results go by two axes that one can trade against
//! each other: shortfall (`under`, violations) and cost (`over`, pod-minutes).

/// What a replica is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Load that one ready replica serves in one step. Not positive: nothing
    /// is ever needed beyond the minimum.
    pub capacity: f64,
    /// Fewest replicas; at least one counts, so that shares are defined.
    pub min: u32,
}

impl Demand {
    /// Replicas that `load` needs. An unknown load needs the minimum.
    #[must_use]
    pub fn replicas(&self, load: f64) -> u32 {
        let needed = (load / self.capacity).ceil();
        // The cast saturates and turns NaN into 0.
        let needed = if self.capacity > 0.0 {
            needed as u32
        } else {
            0
        };
        needed.max(self.min).max(1)
    }
}

/// Share of a series that is kept for the test, percent: its end. The rest is
/// for learning.
pub const TEST_WINDOW_PCT: usize = 30;

/// First index of the test window of a series with `len` values.
#[must_use]
pub fn test_window_start(len: usize) -> usize {
    len - (len as u128 * TEST_WINDOW_PCT as u128 / 100) as usize
}

/// Results over a window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ElasticityReport {
    /// Mean of the missing share of the needed replicas, percent (θ_U).
    pub under_pct: f64,
    /// Mean of the superfluous share, percent of the needed (θ_O).
    pub over_pct: f64,
    /// Time with too few replicas, percent (T_U).
    pub time_under_pct: f64,
    /// Time with too many, percent (T_O).
    pub time_over_pct: f64,
    /// Replicas × minutes.
    pub pod_minutes: f64,
    /// Steps whose ready replicas differ from the step before.
    pub changes: u64,
    /// Load that came in above what ready replicas could serve, percent of
    /// all load.
    pub slo_violation_pct: f64,
    /// Steps seen.
    pub steps: u64,
}

/// Sums over a window, step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Elasticity {
    demand: Demand,
    step_s: u64,
    steps: u64,
    under: f64,
    over: f64,
    steps_under: u64,
    steps_over: u64,
    pod_steps: u64,
    changes: u64,
    last: Option<u32>,
    load: f64,
    unserved: f64,
}

impl Elasticity {
    /// Nothing seen yet; a step lasts `step_s`.
    #[must_use]
    pub fn new(demand: Demand, step_s: u64) -> Self {
        Self {
            demand,
            step_s,
            steps: 0,
            under: 0.0,
            over: 0.0,
            steps_under: 0,
            steps_over: 0,
            pod_steps: 0,
            changes: 0,
            last: None,
            load: 0.0,
            unserved: 0.0,
        }
    }

    /// One step: what came in, and how many replicas were ready for it. A load
    /// that is not finite or is negative counts as none.
    pub fn step(&mut self, load: f64, ready: u32) {
        let load = if load.is_finite() { load.max(0.0) } else { 0.0 };
        let needed = self.demand.replicas(load);
        self.steps += 1;
        if ready < needed {
            self.under += f64::from(needed - ready) / f64::from(needed);
            self.steps_under += 1;
        }
        if ready > needed {
            self.over += f64::from(ready - needed) / f64::from(needed);
            self.steps_over += 1;
        }
        self.pod_steps += u64::from(ready);
        if self.last.is_some_and(|last| last != ready) {
            self.changes += 1;
        }
        self.last = Some(ready);
        self.load += load;
        if self.demand.capacity > 0.0 {
            self.unserved += (load - f64::from(ready) * self.demand.capacity).max(0.0);
        }
    }

    /// Results so far; zeros before the first step.
    #[must_use]
    pub fn report(&self) -> ElasticityReport {
        if self.steps == 0 {
            return ElasticityReport::default();
        }
        let percent = |sum: f64| 100.0 * sum / self.steps as f64;
        ElasticityReport {
            under_pct: percent(self.under),
            over_pct: percent(self.over),
            time_under_pct: percent(self.steps_under as f64),
            time_over_pct: percent(self.steps_over as f64),
            pod_minutes: self.pod_steps as f64 * self.step_s as f64 / 60.0,
            changes: self.changes,
            slo_violation_pct: if self.load > 0.0 {
                100.0 * self.unserved / self.load
            } else {
                0.0
            },
            steps: self.steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand {
        capacity: 10.0,
        min: 2,
    };

    #[test]
    fn needed_replicas() {
        let check = |load: f64, expected: u32| assert_eq!(DEMAND.replicas(load), expected);
        check(0.0, 2);
        check(20.0, 2);
        check(20.1, 3);
        check(1000.0, 100);
        check(f64::NAN, 2);
        check(f64::INFINITY, u32::MAX);
        check(-5.0, 2);
        let odd = Demand {
            capacity: 0.0,
            min: 0,
        };
        assert_eq!(odd.replicas(5.0), 1);
    }

    #[test]
    fn by_hand() {
        let mut e = Elasticity::new(DEMAND, 30);
        // Needed 2, 4, 5, 2; ready 2, 3, 4, 6.
        e.step(20.0, 2);
        e.step(40.0, 3);
        e.step(50.0, 4);
        e.step(10.0, 6);
        let r = e.report();
        assert!((r.under_pct - 100.0 * (0.25 + 0.2) / 4.0).abs() < 1e-12);
        assert!((r.over_pct - 100.0 * (4.0 / 2.0) / 4.0).abs() < 1e-12);
        assert_eq!((r.time_under_pct, r.time_over_pct), (50.0, 25.0));
        assert_eq!(r.pod_minutes, 7.5);
        assert_eq!((r.changes, r.steps), (3, 4));
        assert!((r.slo_violation_pct - 100.0 * 20.0 / 120.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_nonsense() {
        let mut e = Elasticity::new(DEMAND, 60);
        assert_eq!(e.report(), ElasticityReport::default());
        e.step(f64::NAN, 2);
        e.step(f64::NEG_INFINITY, 2);
        let r = e.report();
        assert_eq!(
            (r.under_pct, r.over_pct, r.slo_violation_pct),
            (0.0, 0.0, 0.0)
        );
        assert_eq!(r.changes, 0);
    }

    #[test]
    fn the_window_is_the_last_part() {
        assert_eq!(test_window_start(0), 0);
        assert_eq!(test_window_start(10), 7);
        assert_eq!(test_window_start(125_310), 125_310 - 37_593);
    }

    /// Published floors of the World Cup series, 500 requests a minute and
    /// replica, at least 10: oracle, last minute, highest of five minutes.
    #[test]
    fn floors_of_the_world_cup_series() {
        let Some(path) = crate::shared_data::find(
            "floors_of_the_world_cup_series",
            "requests/worldcup98_1min.csv",
        ) else {
            return;
        };
        let (file, path) = crate::trace::open(&path).unwrap();
        let loads = crate::trace::series::series(file, &path).unwrap().values;
        let demand = Demand {
            capacity: 500.0,
            min: 10,
        };
        let start = test_window_start(loads.len());
        let run = |ready: &dyn Fn(usize) -> u32| {
            let mut e = Elasticity::new(demand, 60);
            for (t, load) in loads.iter().enumerate().skip(start) {
                e.step(*load, ready(t));
            }
            e.report()
        };
        let highest = |from: usize, to: usize| {
            demand.replicas(loads[from..to].iter().copied().fold(0.0, f64::max))
        };
        let check = |r: ElasticityReport, expected: [f64; 4], changes: u64, mean: f64| {
            let found = [r.under_pct, r.over_pct, r.time_under_pct, r.time_over_pct];
            for ((found, expected), digit) in
                found.iter().zip(expected).zip([0.001, 0.01, 0.1, 0.1])
            {
                assert!((found - expected).abs() < digit, "{r:?} for {expected}");
            }
            assert!(r.changes.abs_diff(changes) <= 1, "{r:?} for {changes}");
            let pods = r.pod_minutes / r.steps as f64;
            assert!((pods - mean).abs() < 0.01, "{pods} for {mean}");
        };
        check(run(&|t| demand.replicas(loads[t])), [0.0; 4], 13_386, 22.16);
        check(
            run(&|t| highest(t - 1, t)),
            [1.038, 1.15, 17.7, 17.9],
            13_387,
            22.17,
        );
        check(
            run(&|t| highest(t - 5, t)),
            [0.300, 3.20, 6.1, 35.6],
            4494,
            22.95,
        );
    }
}
