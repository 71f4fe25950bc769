//! Replicas that known events ask for.

use loadmaster_sdk::autoscaling::{CalendarEvent, Part, Request, part};

use crate::decide::{known, replicas, target};
use crate::memory::{BASES_MAX, Base};
use crate::settings::Settings;

/// Events named in an explanation; the host allows 64 parts in all.
const EVENTS_TOLD_MAX: usize = 8;

/// Steps averaged when a base has to be found again.
const BASE_STEPS: usize = 5;

/// The floor of all events that count now. Overlapping events combine by the
/// largest, never by the sum. `before` is what would be wanted without any.
pub(crate) fn floor(
    request: &Request,
    s: &Settings,
    before: u32,
    bases: &mut Vec<Base>,
    parts: &mut Vec<Part>,
) -> u32 {
    let lead_ms = s.lead_ms.max(crate::decide::lead_ms(request));
    let mut needs: Vec<(u32, String)> = Vec::new();
    let mut kept: Vec<Base> = Vec::new();
    for event in &request.calendar {
        let active_ms = event.start.saturating_sub(lead_ms);
        let over_ms = event.end.saturating_add(s.cooldown_ms);
        if request.now < active_ms || request.now >= over_ms || event.end <= event.start {
            continue;
        }
        let mut need = 0;
        if let Some(load) = event.load.filter(|load| known(*load)) {
            need = replicas(load, request.workload.capacity * target(request, 1.0));
        }
        if let Some(multiplier) = event.multiplier
            && let Some(base) = base(request, event, active_ms, before, bases, kept.len())
        {
            need = need.max(times(base.replicas, multiplier));
            kept.push(base);
        }
        needs.push((need, describe(event)));
    }
    *bases = kept;
    needs.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (need, text) in needs.iter().take(EVENTS_TOLD_MAX) {
        parts.push(part("calendar", i64::from(*need), text));
    }
    needs.first().map_or(0, |(need, _)| *need)
}

/// Replicas before the event. Frozen when its floor becomes active: otherwise
/// the event's own load would be multiplied again. None when too many events
/// run at once to remember another.
fn base(
    request: &Request,
    event: &CalendarEvent,
    active_ms: u64,
    before: u32,
    bases: &[Base],
    kept: usize,
) -> Option<Base> {
    if kept >= BASES_MAX {
        return None;
    }
    let known = bases.iter().find(|base| base.event == event.name);
    Some(known.cloned().unwrap_or_else(|| Base {
        event: event.name.clone(),
        replicas: rebuilt(request, active_ms).unwrap_or(before),
    }))
}

/// The base of an event whose beginning this memory did not see: the mean load
/// before it, if the history reaches back that far.
fn rebuilt(request: &Request, active_ms: u64) -> Option<u32> {
    let series = &request.load;
    let recent = active_ms.saturating_add(series.step);
    if series.step == 0 || request.now <= recent || active_ms < series.start {
        return None;
    }
    let end = usize::try_from((active_ms - series.start) / series.step + 1).ok()?;
    let window = series.values.get(end.checked_sub(BASE_STEPS)?..end)?;
    let sum = window.iter().fold(0.0, |sum, value| sum + value);
    let mean = sum / BASE_STEPS as f64;
    let capacity = request.workload.capacity * target(request, 1.0);
    known(mean).then(|| replicas(mean, capacity).max(request.workload.min))
}

fn times(replicas: u32, thousandths: u32) -> u32 {
    let product = u64::from(replicas) * u64::from(thousandths);
    u32::try_from(product.div_ceil(1000)).unwrap_or(u32::MAX)
}

fn describe(event: &CalendarEvent) -> String {
    let mut text = format!("event {}", event.name);
    if let Some(load) = event.load {
        text += &format!(", load {}", crate::decide::tenths(load));
    }
    if let Some(multiplier) = event.multiplier {
        text += &format!(", {}.{:03} times", multiplier / 1000, multiplier % 1000);
    }
    text
}
