//! Reactive replicas: the formula of the Kubernetes horizontal pod autoscaler
//! for a load of the whole workload (`AverageValue`), with its default
//! behaviour. Default, fallback, and what a policy is told as `reactive`.
//!
//! The windows are a plain value that the host keeps per workload, whoever
//! decides, so that falling back to this formula forgets nothing.

use model::PolicyFault;

use crate::port::{AutoscalingPolicy, Cost, Description, ScaleAnswer, ScaleRequest};

/// Relative distance from the target that changes nothing (Kubernetes default).
pub const TOLERANCE: f64 = 0.1;

/// How far back a higher recommendation still holds the count, ms (Kubernetes
/// default). There is no such window upwards.
pub const DOWN_WINDOW_MS: u64 = 300_000;

/// Period of the rate rules, ms (Kubernetes default).
pub const RATE_PERIOD_MS: u64 = 15_000;

/// Replicas that may be added in a period even when doubling allows fewer
/// (Kubernetes default). The default rule downwards, all replicas in a period,
/// never binds: what protects is the window.
pub const UP_REPLICAS: u32 = 4;

/// An unstabilised recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recommendation {
    /// When, ms.
    pub at_ms: u64,
    /// Replicas.
    pub replicas: u32,
}

/// A change of the count that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When, ms.
    pub at_ms: u64,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
}

/// The windows of one workload, oldest entry first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    /// Of the last [`DOWN_WINDOW_MS`].
    pub recommendations: Vec<Recommendation>,
    /// Of the last [`RATE_PERIOD_MS`].
    pub changes: Vec<Change>,
}

/// What the formula works on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Input {
    /// Logical time, ms.
    pub now_ms: u64,
    /// Load of the workload; not finite or negative is unknown.
    pub load: f64,
    /// Load per replica to aim at, above 0.
    pub target: f64,
    /// Replicas asked for, serving or not.
    pub current: u32,
    /// Fewest replicas; a recommendation below it is not remembered as such.
    pub min: u32,
}

/// One reactive decision, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reactive {
    /// The formula; the current count while the load is unknown.
    pub formula: u32,
    /// After the stabilisation window.
    pub stabilised: u32,
    /// After the rate rule.
    pub limited: u32,
}

/// The bare formula: `ceil(load / target)`, or the current count within the
/// tolerance. `None` when the load is unknown.
#[must_use]
pub fn formula(load: f64, target: f64, current: u32) -> Option<u32> {
    if !load.is_finite() || load < 0.0 {
        return None;
    }
    let ratio = load / (target * f64::from(current));
    if current > 0 && (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio) {
        return Some(current);
    }
    // `as` saturates, and nothing here can be NaN.
    Some((load / target).ceil() as u32)
}

impl Windows {
    /// Windows of a workload that already runs `current` replicas: it is not
    /// shrunk before a whole window was seen, as in Kubernetes after a restart.
    #[must_use]
    pub fn seeded(now_ms: u64, current: u32) -> Self {
        Self {
            recommendations: vec![Recommendation {
                at_ms: now_ms,
                replicas: current,
            }],
            changes: Vec::new(),
        }
    }

    /// Notes an applied change.
    pub fn record_change(&mut self, at_ms: u64, from: u32, to: u32) {
        if from != to {
            self.changes.push(Change { at_ms, from, to });
        }
    }

    /// One decision; remembers its recommendation.
    pub fn decide(&mut self, input: Input) -> Reactive {
        let Input {
            now_ms, current, ..
        } = input;
        // Half-open: an entry exactly one window old is out.
        self.recommendations
            .retain(|r| r.at_ms + DOWN_WINDOW_MS > now_ms);
        self.changes.retain(|c| c.at_ms + RATE_PERIOD_MS > now_ms);

        let formula = formula(input.load, input.target, current)
            .unwrap_or(current)
            .max(input.min);
        let held = self
            .recommendations
            .iter()
            .map(|r| r.replicas)
            .fold(formula, u32::max);
        self.recommendations.push(Recommendation {
            at_ms: now_ms,
            replicas: formula,
        });
        let stabilised = if formula > current {
            formula
        } else {
            held.min(current)
        };
        Reactive {
            formula,
            stabilised,
            limited: stabilised.min(self.up_limit(current)),
        }
    }

    /// Highest count the rate rule allows: from the count at the start of the
    /// period, twice as many or [`UP_REPLICAS`] more, whichever is higher.
    fn up_limit(&self, current: u32) -> u32 {
        let start = self.changes.iter().fold(i64::from(current), |start, c| {
            start + i64::from(c.from) - i64::from(c.to)
        });
        let start = start.clamp(0, i64::from(u32::MAX)) as u32;
        start
            .saturating_mul(2)
            .max(start.saturating_add(UP_REPLICAS))
            .max(current)
    }
}

/// The built-in autoscaling policy: it has no opinion of its own, so the
/// reactive answer that every policy is told is taken as it is.
#[derive(Debug)]
pub struct BuiltinHpa {
    description: Description,
}

impl BuiltinHpa {
    /// Its name.
    pub const NAME: &'static str = "hpa";

    /// The policy; it has no settings.
    #[must_use]
    pub fn new() -> Self {
        Self {
            description: Description {
                name: Self::NAME.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                summary: "Load by target utilisation, as Kubernetes does.".to_owned(),
                settings_schema: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
                columns: Vec::new(),
            },
        }
    }
}

impl Default for BuiltinHpa {
    fn default() -> Self {
        Self::new()
    }
}

impl AutoscalingPolicy for BuiltinHpa {
    fn description(&self) -> &Description {
        &self.description
    }

    fn scale(&mut self, _: &ScaleRequest<'_>) -> Result<(Option<ScaleAnswer>, Cost), PolicyFault> {
        Ok((None, Cost::default()))
    }
}

#[cfg(test)]
mod tests;
