//! Replicas over time.

use crate::policy::PolicyId;

/// Largest number of samples handed to a policy: two weeks at one a minute.
pub const SAMPLES_MAX: usize = 20_160;

/// A scaled workload. Loads are in any unit, the same for `capacity` and the
/// samples.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingSpec {
    /// Unique name; the id of a service job when one exists.
    pub workload: String,
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Load that one ready replica serves at full utilisation.
    pub capacity: f64,
    /// Utilisation aimed at, in thousandths.
    pub target_utilization: u32,
    /// From asked for to serving, p95, ms.
    pub start_up_ms: u64,
    /// Distance of two samples, ms.
    pub step_ms: u64,
}

/// Something people know in advance.
#[derive(Debug, Clone, PartialEq)]
pub struct CalendarEvent {
    /// Unique name.
    pub name: String,
    /// Workload it is about; empty for all.
    pub workload: String,
    /// ms since the epoch.
    pub start_ms: u64,
    /// ms since the epoch, exclusive.
    pub end_ms: u64,
    /// Expected load, if known.
    pub load: Option<f64>,
    /// Expected multiple of the load before the event, in thousandths.
    pub multiplier: Option<u32>,
}

/// A named number of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Short name.
    pub name: String,
    /// Value.
    pub value: i64,
    /// Sentence.
    pub text: String,
}

/// Expected load ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForecastPoint {
    /// ms since the epoch.
    pub at_ms: u64,
    /// Mean.
    pub mean: f64,
    /// The quantile planned for.
    pub high: f64,
}

/// One scaling decision, raw → constraints → final.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingDecision {
    /// Decision number.
    pub seq: u64,
    /// Logical time, ms.
    pub time_ms: u64,
    /// Workload.
    pub workload: String,
    /// Replicas before.
    pub current: u32,
    /// What the reactive formula says.
    pub reactive: u32,
    /// What the policy asked for (the reactive value if it abstained).
    pub raw: u32,
    /// What was decided.
    pub desired: u32,
    /// Every step from raw to desired, in order.
    pub parts: Vec<Part>,
    /// Forecast the policy gave.
    pub forecast: Vec<ForecastPoint>,
    /// Who decided.
    pub policy: PolicyId,
    /// Fault answered by the built-in, if any.
    pub fault: Option<String>,
}
