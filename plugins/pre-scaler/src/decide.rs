//! One decision: the reactive formula, the forecast floor, the calendar floor,
//! then stabilisation and rate as Kubernetes has them.
//!
//! Floors act as a raised minimum: they can only add replicas and are reached at
//! once. While a trusted forecast carries the head-room, the reactive part is a
//! safety net that aims higher, and lower again after a surprise. Without a
//! forecast the answer is exactly the reactive one.
//!
//! Floating point uses `+ - * / sqrt`, rounding and comparisons in a fixed order
//! only, so that every machine gives the same answer.

use std::borrow::Cow;

use loadmaster_sdk::autoscaling::{Answer, ForecastPoint, Part, Request, part};

use crate::calendar;
use crate::forecast::{self, Model, Point};
use crate::memory::{Memory, Wanted};
use crate::settings::Settings;

/// How often the host asks, ms: a replica asked for now must last until one
/// asked for in the next call serves.
const CALL_EVERY_MS: u64 = 15_000;

/// A higher wish within this time still holds the count (Kubernetes default).
const DOWN_WINDOW_MS: u64 = 300_000;

/// Replicas that may be added at once even when doubling allows fewer
/// (Kubernetes default, per 15 s: the distance of two calls).
const UP_REPLICAS: u32 = 4;

/// Relative distance from the target that changes nothing (Kubernetes default).
const TOLERANCE: f64 = 0.1;

/// The same for the expected load, which is smoother than a sample: chosen on
/// steps 40 to 70 % of the request series, not on the reported rest.
const EXPECTED_TOLERANCE_UP: f64 = 0.05;

/// Missing samples that still make a forecast: share of all, and how many of
/// the latest.
const GAPS_PERCENT_MAX: usize = 10;
const RECENT: usize = 15;
const RECENT_GAPS_MAX: usize = 5;

/// Minutes of release worth stepping through: no count survives them.
const RELEASE_MINUTES_MAX: u64 = 10_000;

pub(crate) fn known(load: f64) -> bool {
    load.is_finite() && load >= 0.0
}

/// Replicas for a load. `as` saturates and turns NaN into 0.
pub(crate) fn replicas(load: f64, each: f64) -> u32 {
    (load / each).ceil() as u32
}

/// Share of the capacity to use: a share of the workload's target, at most all.
pub(crate) fn target(request: &Request, share: f64) -> f64 {
    (f64::from(request.workload.target_utilization) / 1000.0 * share).min(1.0)
}

/// From a decision until what it asked for serves, and one more call.
pub(crate) fn lead_ms(request: &Request) -> u64 {
    request.workload.start_up.saturating_add(CALL_EVERY_MS)
}

/// One decimal, without the float formatting that would be a third of the
/// component.
pub(crate) fn tenths(value: f64) -> String {
    let scaled = (value * 10.0).round() as i64;
    format!("{}.{}", scaled / 10, (scaled % 10).abs())
}

/// Kubernetes' formula: within the tolerance the current count stays.
fn formula(load: f64, each: f64, current: u32, up: f64, down: f64) -> Option<u32> {
    if !known(load) || each.is_nan() || each <= 0.0 {
        return None;
    }
    let ratio = load / (each * f64::from(current));
    if current > 0 && (1.0 - down..=1.0 + up).contains(&ratio) {
        return Some(current);
    }
    Some(replicas(load, each))
}

/// Time of the newest sample, ms.
fn history_end(request: &Request) -> Option<u64> {
    let steps = request.load.values.len().checked_sub(1)? as u64;
    let length = steps.checked_mul(request.load.step)?;
    request.load.start.checked_add(length)
}

/// The present load; NaN when unknown.
fn present_load(request: &Request) -> f64 {
    let fresh = |end: u64| request.now <= end.saturating_add(request.load.step.saturating_mul(2));
    match (history_end(request), request.load.values.last()) {
        (Some(end), Some(load)) if fresh(end) => *load,
        _ => f64::NAN,
    }
}

/// Replaces missing samples by the one before; none when too many are missing.
fn filled(history: &[f64]) -> Option<Cow<'_, [f64]>> {
    let missing = |values: &[f64]| values.iter().filter(|x| !known(**x)).count();
    let gaps = missing(history);
    if gaps == 0 {
        return Some(history.into());
    }
    let recent = &history[history.len().saturating_sub(RECENT)..];
    if gaps * 100 > history.len() * GAPS_PERCENT_MAX || missing(recent) > RECENT_GAPS_MAX {
        return None;
    }
    let mut last = *history.iter().find(|x| known(**x))?;
    let fill = |x: &f64| {
        if known(*x) {
            last = *x;
        }
        last
    };
    Some(history.iter().map(fill).collect::<Vec<_>>().into())
}

struct Ahead {
    points: Vec<Point>,
    end_ms: u64,
    surprised: bool,
}

/// The forecast over the lead window, or why there is none.
fn look_ahead(
    request: &Request,
    s: &Settings,
    cached: &mut Option<Model>,
) -> Result<Ahead, &'static str> {
    if !s.predictive {
        return Err("switched off");
    }
    let end_ms = history_end(request).ok_or("there is no history")?;
    let (Ok(step), Ok(end)) = (i64::try_from(request.load.step), i64::try_from(end_ms)) else {
        return Err("its times are impossible");
    };
    if step == 0 {
        return Err("its times are impossible");
    }
    if request.now.saturating_sub(end_ms) > s.stale_ms.max(request.load.step.saturating_mul(2)) {
        return Err("the history is stale");
    }
    let history = filled(&request.load.values).ok_or("the history has too many gaps")?;
    let steps = lead_ms(request) as f64 / request.load.step as f64;
    // A tenth of a step is not worth looking one step further.
    let horizon = (steps - 0.1).ceil().max(1.0) as u32;
    if horizon as usize > history.len() {
        return Err("the history is short");
    }
    let refit = s.forecast.refit_ms.max(step);
    let boundary = end.div_euclid(refit) * refit;
    let usable = cached.take().filter(|model| {
        model.boundary_ms == boundary
            && model.step_ms == step
            && model.quantile == s.forecast.quantile
            && model
                .heads
                .iter()
                .map(|head| head.horizon)
                .eq(forecast::horizons(horizon))
    });
    let model = match usable {
        Some(model) => model,
        None => {
            // The fit sees nothing newer than the boundary, so that a lost
            // cache changes nothing.
            let newer = ((end - boundary) / step) as usize;
            let until = history.len().saturating_sub(newer);
            forecast::fit(&history[..until], step, boundary, horizon, &s.forecast)
                .ok_or("the history is short")?
        }
    };
    let points = forecast::predict(&model, &history).ok_or("it is not finite");
    let surprised = is_surprised(&model, &history, s);
    *cached = Some(model);
    Ok(Ahead {
        points: points?,
        end_ms,
        surprised,
    })
}

/// Whether one of the last steps lay far above the forecast made just before it.
fn is_surprised(model: &Model, history: &[f64], s: &Settings) -> bool {
    (1..=s.surprise_steps.min(history.len())).any(|back| {
        let end = history.len() - back;
        forecast::predict_one(model, &history[..end])
            .is_some_and(|p| history[end] > p.mean + s.surprise_margins * (p.upper - p.mean))
    })
}

/// Replicas for the forecast: the quantile at full capacity or the expected load
/// at its target, whichever is more.
fn forecast_floor(
    request: &Request,
    s: &Settings,
    points: &[Point],
    current: u32,
    parts: &mut Vec<Part>,
) -> u32 {
    let capacity = request.workload.capacity;
    let (mut top, mut peak) = (points[0], points[0]);
    for point in &points[1..] {
        if point.upper > top.upper {
            top = *point;
        }
        if point.mean > peak.mean {
            peak = *point;
        }
    }
    let quantile = replicas(top.upper, capacity);
    let each = capacity * target(request, s.expected_target);
    let expected = formula(peak.mean, each, current, EXPECTED_TOLERANCE_UP, TOLERANCE).unwrap_or(0);
    let text = format!(
        "load {} at the planned quantile, {} steps ahead",
        tenths(top.upper),
        top.horizon
    );
    parts.push(part("forecast-quantile", quantile.into(), &text));
    let text = format!(
        "load {} expected {} steps ahead, {} a replica",
        tenths(peak.mean),
        peak.horizon,
        tenths(each)
    );
    parts.push(part("forecast-expected", expected.into(), &text));
    quantile.max(expected)
}

/// What is left of the floor of a lost forecast: it goes minute by minute, so
/// that a broken collector does not take the replicas away at once.
fn release(memory: &mut Memory, now_ms: u64, percent: u32) -> u32 {
    let minutes = now_ms.saturating_sub(memory.floor_at_ms) / 60_000;
    for _ in 0..minutes.min(RELEASE_MINUTES_MAX) {
        let floor = memory.floor;
        if floor == 0 {
            break;
        }
        let share = (u64::from(floor) * u64::from(percent)).div_ceil(100) as u32;
        memory.floor -= share.clamp(1, floor);
    }
    memory.floor_at_ms += 60_000 * minutes;
    memory.floor
}

/// One decision.
pub(crate) fn decide(request: &Request, s: &Settings) -> Answer {
    let workload = &request.workload;
    let current = request
        .replicas
        .ready
        .saturating_add(request.replicas.starting);
    let max = workload.max.max(workload.min);
    let mut memory = Memory::read(&request.state).unwrap_or_else(|| Memory {
        // As Kubernetes after a restart: not shrunk before a window was seen.
        wanted: vec![Wanted {
            at_ms: request.now,
            replicas: current,
        }],
        ..Memory::default()
    });
    let mut parts = Vec::new();

    let ahead = look_ahead(request, s, &mut memory.model);
    let share = match &ahead {
        Ok(ahead) if ahead.surprised => s.surprise_target,
        Ok(_) => s.trusted_target,
        Err(_) => 1.0,
    };
    let (load, each) = (
        present_load(request),
        workload.capacity * target(request, share),
    );
    let formula = formula(load, each, current, TOLERANCE, TOLERANCE);
    let reactive = formula.unwrap_or(current);
    let text = match formula {
        Some(_) => format!("load {} at {} a replica", tenths(load), tenths(each)),
        None => "load unknown: the count stays".to_owned(),
    };
    parts.push(part("reactive", reactive.into(), &text));

    let from_forecast = match &ahead {
        Ok(ahead) => {
            let floor = forecast_floor(request, s, &ahead.points, current, &mut parts).min(max);
            (memory.floor, memory.floor_at_ms) = (floor, request.now);
            floor
        }
        Err(why) => {
            let floor = release(&mut memory, request.now, s.release_percent);
            let text = format!("no forecast, {why}: an earlier floor goes gradually");
            parts.push(part("forecast", floor.into(), &text));
            floor
        }
    };

    let before = reactive.max(from_forecast).max(workload.min);
    let from_calendar = calendar::floor(request, s, before, &mut memory.bases, &mut parts);
    let floor = from_forecast.max(from_calendar).max(workload.min).min(max);
    let wanted = before.max(floor);
    let desired = behave(request, current, wanted, floor, &mut memory, &mut parts);
    let strict = if s.strict {
        desired.max(request.reactive)
    } else {
        desired
    };
    let desired = strict.clamp(workload.min.min(max), max);
    if desired != strict {
        parts.push(part(
            "limits",
            desired.into(),
            "minimum and maximum of the workload",
        ));
    }

    Answer {
        desired,
        parts,
        forecast: ahead.map_or_else(|_| Vec::new(), |ahead| forecast_points(request, &ahead)),
        state: memory.write(),
    }
}

/// Stabilisation and rate. The floor is exempt, like a minimum.
fn behave(
    request: &Request,
    current: u32,
    wanted: u32,
    floor: u32,
    memory: &mut Memory,
    parts: &mut Vec<Part>,
) -> u32 {
    // Half-open: a wish exactly one window old is out.
    memory
        .wanted
        .retain(|w| w.at_ms.saturating_add(DOWN_WINDOW_MS) > request.now);
    let held = memory.wanted.iter().map(|w| w.replicas);
    let held = held.fold(wanted, u32::max);
    memory.wanted.push(Wanted {
        at_ms: request.now,
        replicas: wanted,
    });
    let stabilised = if wanted > current {
        wanted
    } else {
        held.min(current)
    };
    if stabilised != wanted {
        let text = "more were wanted in the last 5 minutes";
        parts.push(part("stabilisation", stabilised.into(), text));
    }
    let allowed = current
        .saturating_mul(2)
        .max(current.saturating_add(UP_REPLICAS));
    let limited = stabilised.min(allowed).max(floor);
    if limited != stabilised {
        let text = "at most twice as many or 4 more at once, floors excepted";
        parts.push(part("rate-limit", limited.into(), text));
    }
    limited
}

fn forecast_points(request: &Request, ahead: &Ahead) -> Vec<ForecastPoint> {
    let at = |steps: u32| {
        let ms = u64::from(steps).saturating_mul(request.load.step);
        ahead.end_ms.saturating_add(ms)
    };
    let points = ahead.points.iter().map(|p| ForecastPoint {
        at: at(p.horizon),
        mean: p.mean,
        high: p.upper,
    });
    points.collect()
}
