//! A service that is scaled ahead of a sale the calendar knows about.

use cluster::demo::{DemoRequests, RequestShape, requests};
use model::Event;
use model::scaling::{ScalingDecision, ScalingSpec};

use super::world::MONDAY_MS;

/// Name of the service.
pub(super) const WORKLOAD: &str = "checkout";

const MINUTE_MS: u64 = 60_000;

/// Requests a minute that one replica serves.
const CAPACITY: f64 = 250.0;

/// Days of load known before the demo begins: a week, and what the forecast
/// compares it with.
const HISTORY_DAYS: u64 = 8;

/// Where in the demo the sale begins, percent: its lead of fifteen minutes and
/// the rise after it are both seen.
const SALE_AT_PCT: u64 = 40;

/// The series and what became of it.
pub(super) struct Autoscale {
    made: DemoRequests,
    /// Next value of the series.
    next: usize,
    pub(super) begin_ms: u64,
    pub(super) sale_ms: u64,
    pub(super) decisions: Vec<Moment>,
    load: f64,
}

/// What was decided, and under which load.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) load: f64,
    pub(super) decision: ScalingDecision,
}

impl Autoscale {
    /// A series whose sale falls into a demo of this length, in the cluster's
    /// time.
    pub(super) fn new(seed: u64, length_ms: u64) -> Self {
        let mut made = requests(RequestShape::default(), seed);
        let sale = made.sale.as_ref().map_or(0, |s| s.start_ms);
        // On a full minute, as samples are.
        let begin = (sale - length_ms * SALE_AT_PCT / 100) / MINUTE_MS * MINUTE_MS;
        if let Some(entry) = &mut made.sale {
            entry.workload = WORKLOAD.to_owned();
            entry.start_ms += MONDAY_MS;
            entry.end_ms += MONDAY_MS;
        }
        let history = HISTORY_DAYS * 1440;
        Self {
            made,
            next: (begin / MINUTE_MS).saturating_sub(history) as usize,
            begin_ms: MONDAY_MS + begin,
            sale_ms: MONDAY_MS + sale,
            decisions: Vec::new(),
            load: 0.0,
        }
    }

    /// What people say before it begins.
    pub(super) fn setup(&self) -> Vec<Event> {
        let spec = ScalingSpec {
            workload: WORKLOAD.to_owned(),
            min: 2,
            max: 400,
            capacity: CAPACITY,
            target_utilization: 700,
            start_up_ms: 5 * MINUTE_MS,
            step_ms: MINUTE_MS,
        };
        let calendar = self.made.sale.clone().map(Event::CalendarPut);
        std::iter::once(Event::ScalingPut(spec))
            .chain(calendar)
            .collect()
    }

    /// The next sample that is due, with its time.
    pub(super) fn sample(&mut self, now_ms: u64) -> Option<(u64, Event)> {
        let at = MONDAY_MS + self.next as u64 * MINUTE_MS;
        let value = *self.made.series.values.get(self.next)?;
        if at > now_ms {
            return None;
        }
        self.next += 1;
        self.load = value;
        Some((
            at,
            Event::MetricSample {
                workload: WORKLOAD.to_owned(),
                value,
            },
        ))
    }

    pub(super) fn decided(&mut self, decision: &ScalingDecision) {
        self.decisions.push(Moment {
            load: self.load,
            decision: decision.clone(),
        });
    }

    /// The last decision up to a time.
    pub(super) fn at(&self, time_ms: u64) -> Option<&Moment> {
        let end = self
            .decisions
            .partition_point(|m| m.decision.time_ms <= time_ms);
        self.decisions[..end].last()
    }
}
