//! Replicas over time as people ask for them and see them.

use model::scaling::{self as m, ScalingSpec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::policy::PolicyId;
use super::quantity::Factor;
use super::time::Time;

/// A workload to be scaled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Name; the id of a service job if there is one. May be left out where the
    /// URL has it.
    #[serde(default)]
    pub workload: String,
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Load that one ready replica serves at full utilisation, in the unit of the
    /// samples.
    pub capacity: f64,
    /// Utilisation aimed at; 0.7 when left out.
    #[serde(default = "target")]
    pub target_utilization: Factor,
    /// From asked for to serving, ms; 60 000 when left out.
    #[serde(default = "minute")]
    pub start_up_ms: u64,
    /// Distance of two samples, ms; 60 000 when left out.
    #[serde(default = "minute")]
    pub step_ms: u64,
}

fn target() -> Factor {
    Factor(700)
}

fn minute() -> u64 {
    60_000
}

impl From<&ScalingSpec> for Scaling {
    fn from(s: &ScalingSpec) -> Self {
        Self {
            workload: s.workload.clone(),
            min: s.min,
            max: s.max,
            capacity: s.capacity,
            target_utilization: Factor(s.target_utilization),
            start_up_ms: s.start_up_ms,
            step_ms: s.step_ms,
        }
    }
}

impl From<Scaling> for ScalingSpec {
    fn from(s: Scaling) -> Self {
        Self {
            workload: s.workload,
            min: s.min,
            max: s.max,
            capacity: s.capacity,
            target_utilization: s.target_utilization.0,
            start_up_ms: s.start_up_ms,
            step_ms: s.step_ms,
        }
    }
}

/// Something people know in advance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarEntry {
    /// Unique name.
    pub name: String,
    /// Workload it is about; all when left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// Begins.
    pub start: Time,
    /// Ends, exclusive.
    pub end: Time,
    /// Expected load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Expected multiple of the load before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<Factor>,
}

impl From<&m::CalendarEvent> for CalendarEntry {
    fn from(c: &m::CalendarEvent) -> Self {
        Self {
            name: c.name.clone(),
            workload: c.workload.clone(),
            start: Time(c.start_ms),
            end: Time(c.end_ms),
            load: c.load,
            multiplier: c.multiplier.map(Factor),
        }
    }
}

impl From<CalendarEntry> for m::CalendarEvent {
    fn from(c: CalendarEntry) -> Self {
        Self {
            name: c.name,
            workload: c.workload,
            start_ms: c.start.0,
            end_ms: c.end.0,
            load: c.load,
            multiplier: c.multiplier.map(|f| f.0),
        }
    }
}

/// Load of a workload now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Workload.
    pub workload: String,
    /// Load; null for unknown.
    pub value: Option<f64>,
}

/// A named number of an explanation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Short name.
    pub name: String,
    /// Value.
    pub value: i64,
    /// Sentence.
    pub text: String,
}

impl From<&m::Part> for Part {
    fn from(p: &m::Part) -> Self {
        Self {
            name: p.name.clone(),
            value: p.value,
            text: p.text.clone(),
        }
    }
}

impl From<Part> for m::Part {
    fn from(p: Part) -> Self {
        Self {
            name: p.name,
            value: p.value,
            text: p.text,
        }
    }
}

/// Expected load ahead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForecastPoint {
    /// When.
    pub at: Time,
    /// Mean.
    pub mean: f64,
    /// The quantile planned for.
    pub high: f64,
}

/// One scaling decision: raw, constraints, final.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingDecision {
    /// Decision number.
    pub id: u64,
    /// When.
    pub time: Time,
    /// Workload.
    pub workload: String,
    /// Replicas before.
    pub current: u32,
    /// What the reactive formula says.
    pub reactive: u32,
    /// What the policy asked for.
    pub raw: u32,
    /// What was decided.
    pub desired: u32,
    /// Steps from raw to desired.
    pub parts: Vec<Part>,
    /// Forecast the policy gave.
    pub forecast: Vec<ForecastPoint>,
    /// Who decided.
    pub policy: PolicyId,
    /// Fault answered by the built-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl From<&m::ScalingDecision> for ScalingDecision {
    fn from(d: &m::ScalingDecision) -> Self {
        Self {
            id: d.seq,
            time: Time(d.time_ms),
            workload: d.workload.clone(),
            current: d.current,
            reactive: d.reactive,
            raw: d.raw,
            desired: d.desired,
            parts: d.parts.iter().map(Into::into).collect(),
            forecast: d
                .forecast
                .iter()
                .map(|f| ForecastPoint {
                    at: Time(f.at_ms),
                    mean: f.mean,
                    high: f.high,
                })
                .collect(),
            policy: (&d.policy).into(),
            fault: d.fault.clone(),
        }
    }
}

impl From<ScalingDecision> for m::ScalingDecision {
    fn from(d: ScalingDecision) -> Self {
        Self {
            seq: d.id,
            time_ms: d.time.0,
            workload: d.workload,
            current: d.current,
            reactive: d.reactive,
            raw: d.raw,
            desired: d.desired,
            parts: d.parts.into_iter().map(Into::into).collect(),
            forecast: d
                .forecast
                .into_iter()
                .map(|f| m::ForecastPoint {
                    at_ms: f.at.0,
                    mean: f.mean,
                    high: f.high,
                })
                .collect(),
            policy: d.policy.into(),
            fault: d.fault,
        }
    }
}
