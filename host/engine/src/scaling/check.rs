//! What people and policies may say about scaling.

use model::PolicyFault;
use model::job::REPLICAS_MAX;
use model::scaling::{CalendarEvent, ForecastPoint, ScalingSpec};

use crate::error::EventError;
use crate::port::{SCALE_STATE_BYTES_MAX, ScaleAnswer};

/// Scaled workloads; each may hold 160 KiB of samples and a policy's state.
pub const WORKLOADS_MAX: usize = 1_000;

/// Calendar entries; each is looked at in every decision it concerns.
pub const CALENDAR_MAX: usize = 1_000;

/// Distance of two samples, ms: finer than a second measures noise.
pub const STEP_MS_MIN: u64 = 1_000;

/// One day: with longer steps no daily pattern is left.
pub const STEP_MS_MAX: u64 = 86_400_000;

/// Slowest replica, ms: one day.
pub const START_UP_MS_MAX: u64 = 86_400_000;

/// The whole capacity, in thousandths: aiming above it is asking to be late.
pub const TARGET_UTILIZATION_MAX: u32 = 1_000;

/// Largest load or capacity: sums of a whole window stay exact to a millionth.
pub const LOAD_MAX: f64 = 1e12;

/// Largest multiple of a calendar entry, thousandths.
pub const MULTIPLIER_MAX: u32 = 1_000_000;

/// Replicas a policy may wish for before limits. Beyond it is not a wish but a
/// broken number.
pub const DESIRED_MAX: u32 = 100 * REPLICAS_MAX;

/// Points of one forecast: a day of minutes.
pub const FORECAST_POINTS_MAX: usize = 1_440;

/// Parts of one explanation.
pub const PARTS_MAX: usize = 64;

/// Bytes of one part's name and text together.
pub const PART_BYTES_MAX: usize = 512;

fn load_ok(value: f64) -> bool {
    (0.0..=LOAD_MAX).contains(&value)
}

pub(crate) fn spec(s: &ScalingSpec) -> Result<(), EventError> {
    let problem = if !model::node::is_name(&s.workload) || s.workload.len() > 240 {
        "the name is not 1 to 240 characters of [A-Za-z0-9._/-]".to_owned()
    } else if s.max == 0 || s.max > REPLICAS_MAX {
        format!("max is {}, expected 1 to {REPLICAS_MAX}", s.max)
    } else if s.min > s.max {
        format!("min {} is more than max {}", s.min, s.max)
    } else if !load_ok(s.capacity) || s.capacity <= 0.0 {
        format!(
            "capacity is {}, expected above 0, to {LOAD_MAX:e}",
            s.capacity
        )
    } else if !(1..=TARGET_UTILIZATION_MAX).contains(&s.target_utilization) {
        format!(
            "target utilization is {}, expected 1 to {TARGET_UTILIZATION_MAX} thousandths",
            s.target_utilization
        )
    } else if !(STEP_MS_MIN..=STEP_MS_MAX).contains(&s.step_ms) {
        format!(
            "the step is {} ms, expected {STEP_MS_MIN} to {STEP_MS_MAX}",
            s.step_ms
        )
    } else if s.start_up_ms > START_UP_MS_MAX {
        format!(
            "the start-up time is {} ms, expected at most {START_UP_MS_MAX}",
            s.start_up_ms
        )
    } else {
        return Ok(());
    };
    Err(EventError::Scaling {
        workload: s.workload.clone(),
        problem,
    })
}

pub(crate) fn calendar(e: &CalendarEvent) -> Result<(), EventError> {
    let problem = if !model::node::is_name(&e.name) {
        "the name is not 1 to 253 characters of [A-Za-z0-9._/-]".to_owned()
    } else if !e.workload.is_empty() && !model::node::is_name(&e.workload) {
        format!("{:?} is not the name of a workload", e.workload)
    } else if e.start_ms >= e.end_ms {
        format!("it starts at {} and ends at {}", e.start_ms, e.end_ms)
    } else if e.load.is_none() && e.multiplier.is_none() {
        "it gives neither a load nor a multiplier".to_owned()
    } else if let Some(load) = e.load.filter(|l| !load_ok(*l)) {
        format!("the load is {load}, expected 0 to {LOAD_MAX:e}")
    } else if let Some(m) = e.multiplier.filter(|m| !(1..=MULTIPLIER_MAX).contains(m)) {
        format!("the multiplier is {m}, expected 1 to {MULTIPLIER_MAX} thousandths")
    } else {
        return Ok(());
    };
    Err(EventError::Calendar {
        name: e.name.clone(),
        problem,
    })
}

/// The answer, if the contract allows it.
pub(crate) fn answer(a: ScaleAnswer) -> Result<ScaleAnswer, PolicyFault> {
    let finite = |p: &ForecastPoint| p.mean.is_finite() && p.high.is_finite();
    let size = |p: &model::scaling::Part| p.name.len() + p.text.len();
    if a.state.len() > SCALE_STATE_BYTES_MAX {
        return too_large(a.state.len(), SCALE_STATE_BYTES_MAX, "bytes of state");
    }
    if a.forecast.len() > FORECAST_POINTS_MAX {
        return too_large(a.forecast.len(), FORECAST_POINTS_MAX, "forecast points");
    }
    if a.parts.len() > PARTS_MAX {
        return too_large(a.parts.len(), PARTS_MAX, "parts");
    }
    if let Some(part) = a.parts.iter().find(|p| size(p) > PART_BYTES_MAX) {
        return too_large(size(part), PART_BYTES_MAX, "bytes in one part");
    }
    let detail = if a.desired > DESIRED_MAX {
        format!("{} replicas wanted, more than {DESIRED_MAX}", a.desired)
    } else if let Some(p) = a.forecast.iter().find(|p| !finite(p)) {
        format!(
            "the forecast for {} is {} to {}, which is not finite",
            p.at_ms, p.mean, p.high
        )
    } else if a.forecast.windows(2).any(|w| w[0].at_ms >= w[1].at_ms) {
        "the forecast's times do not ascend".to_owned()
    } else {
        return Ok(a);
    };
    Err(PolicyFault::BadAnswer { detail })
}

fn too_large(got: usize, max: usize, what: &str) -> Result<ScaleAnswer, PolicyFault> {
    Err(PolicyFault::AnswerTooLarge {
        detail: format!("{got} {what}, at most {max}"),
    })
}
