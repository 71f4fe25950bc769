//! Scaling through the engine's own door: events in, decisions out.

mod inputs;
mod jobs;
mod policies;
mod replays;

use model::event::Mode;
use model::policy::{PolicyId, WEIGHT_ONE};
use model::scaling::{CalendarEvent, ForecastPoint, Part, ScalingDecision, ScalingSpec};
use model::{Combine, Event, Member, PolicyFault, PolicyKind, PolicySetSpec};

use super::*;
use crate::breaker::CONSECUTIVE_MAX;
use crate::engine::Config;
use crate::port::SCALE_STATE_BYTES_MAX;
use crate::port::{AutoscalingPolicy, Cost, Description, ScaleAnswer, ScaleRequest};
use crate::state::Object;

const MINUTE: u64 = 60_000;

fn spec() -> ScalingSpec {
    ScalingSpec {
        workload: "shop".to_owned(),
        min: 2,
        max: 100,
        capacity: 100.0,
        target_utilization: 700,
        start_up_ms: MINUTE,
        step_ms: MINUTE,
    }
}

/// An engine with one workload, driven a minute at a time.
struct World {
    engine: Engine,
    out: Output,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let mut w = Self {
            engine: Engine::new(Config::default()),
            out: Output::default(),
            now_ms: 0,
        };
        w.event(Event::ScalingPut(spec())).unwrap();
        w
    }

    fn under(policy: impl AutoscalingPolicy + 'static) -> Self {
        let mut w = Self::new();
        w.engine.install_autoscaling(set("fake", 7, policy));
        w
    }

    fn event(&mut self, event: Event) -> Result<(), EventError> {
        self.out.clear();
        self.engine.step(self.now_ms, event, &mut self.out)
    }

    /// A sample, a tick, and the decision of it.
    fn minute(&mut self, load: f64) -> ScalingDecision {
        self.event(Event::MetricSample {
            workload: "shop".to_owned(),
            value: load,
        })
        .unwrap();
        self.silent_minute()
    }

    fn silent_minute(&mut self) -> ScalingDecision {
        self.event(Event::Tick).unwrap();
        self.now_ms += MINUTE;
        self.out.scaling.last().unwrap().clone()
    }

    fn desired(&mut self, load: f64) -> u32 {
        self.minute(load).desired
    }

    /// Brings it to `replicas` and lets the window of the formula see only that.
    fn settled(mut self, replicas: u32) -> Self {
        for _ in 0..20 {
            self.minute(f64::from(replicas) * 70.0);
        }
        assert_eq!(
            self.engine.replicas("shop", self.now_ms),
            Some((replicas, 0))
        );
        self
    }
}

fn id(name: &str) -> PolicyId {
    PolicyId {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        digest: "sha256:00".to_owned(),
    }
}

fn set_spec(name: &str, revision: u64) -> PolicySetSpec {
    PolicySetSpec {
        kind: PolicyKind::Autoscaling,
        revision,
        members: vec![Member {
            policy: id(name),
            weight: WEIGHT_ONE,
            tier: 0,
            settings: "{}".to_owned(),
            fail: model::FailMode::Closed,
        }],
        combine: Combine::Weighted,
    }
}

fn set(name: &str, revision: u64, policy: impl AutoscalingPolicy + 'static) -> AutoscalingSet {
    AutoscalingSet::new(set_spec(name, revision), Box::new(policy)).unwrap()
}

type Answer = Result<Option<ScaleAnswer>, PolicyFault>;

/// A policy made of a function.
struct Fake<F>(Description, F);

impl<F: FnMut(&ScaleRequest<'_>) -> Answer + Send> AutoscalingPolicy for Fake<F> {
    fn description(&self) -> &Description {
        &self.0
    }

    fn scale(
        &mut self,
        request: &ScaleRequest<'_>,
    ) -> Result<(Option<ScaleAnswer>, Cost), PolicyFault> {
        Ok(((self.1)(request)?, Cost::default()))
    }
}

fn fake<F: FnMut(&ScaleRequest<'_>) -> Answer + Send>(f: F) -> Fake<F> {
    Fake(Description::default(), f)
}

fn wants(desired: u32) -> Answer {
    Ok(Some(ScaleAnswer {
        desired,
        ..ScaleAnswer::default()
    }))
}

fn trap() -> PolicyFault {
    PolicyFault::Trap {
        message: "index out of bounds".to_owned(),
    }
}

fn names(d: &ScalingDecision) -> Vec<(&str, i64)> {
    d.parts.iter().map(|p| (p.name.as_str(), p.value)).collect()
}

fn entry(name: &str, workload: &str, start_ms: u64) -> CalendarEvent {
    CalendarEvent {
        name: name.to_owned(),
        workload: workload.to_owned(),
        start_ms,
        end_ms: start_ms + 1_000,
        load: Some(400.0),
        multiplier: None,
    }
}

#[test]
fn the_builtin_follows_the_load() {
    let mut w = World::new();
    assert_eq!(w.desired(140.0), 2);
    assert_eq!(w.desired(700.0), 6, "2 + 4 in a period");
    assert_eq!(w.desired(700.0), 10);
    let d = w.minute(100.0);
    assert_eq!(d.desired, 10, "held by the window");
    assert_eq!(
        names(&d),
        [
            ("formula", 2),
            ("stabilisation", 10),
            ("raw", 10),
            ("final", 10)
        ]
    );
    assert_eq!(d.policy, PolicyId::builtin("hpa"));
    let last: Vec<u32> = (0..5).map(|_| w.desired(100.0)).collect();
    assert_eq!(last, [10, 10, 10, 2, 2]);
}

#[test]
fn every_step_that_changes_the_number_is_named() {
    let mut w = World::new();
    let d = w.minute(50_000.0);
    assert_eq!(
        names(&d),
        [
            ("formula", 715),
            ("raw", 715),
            ("rate-limit", 6),
            ("final", 6)
        ]
    );
    assert_eq!((d.reactive, d.raw, d.current), (715, 715, 2));
    let mut w = World::under(fake(|_| wants(500)));
    assert_eq!(
        names(&w.minute(100.0)),
        [("raw", 500), ("maximum", 100), ("final", 100)]
    );
    let mut w = World::under(fake(|_| wants(0)));
    assert_eq!(
        names(&w.minute(100.0)),
        [("raw", 0), ("minimum", 2), ("final", 2)]
    );
}

#[test]
fn it_decides_every_fifteen_seconds_of_event_time() {
    let mut w = World::new();
    let mut times = Vec::new();
    for now_ms in (1_000..100_000).step_by(7_000) {
        w.now_ms = now_ms;
        w.event(Event::Tick).unwrap();
        times.extend(w.out.scaling.iter().map(|d| d.time_ms));
    }
    assert_eq!(
        times,
        [1_000, 15_000, 36_000, 50_000, 64_000, 78_000, 92_000]
    );
}

#[test]
fn changes_are_effects_with_numbered_decisions() {
    let mut w = World::new();
    let before = w.minute(140.0).seq;
    assert!(w.out.effects.is_empty());
    let d = w.minute(400.0);
    assert_eq!(d.seq, before + 1);
    let scale = Effect::Scale {
        workload: Arc::from("shop"),
        from: 2,
        to: 6,
    };
    assert_eq!(w.out.effects, [scale]);
    assert_eq!(w.out.changed, [Key::Scaling(Arc::from("shop"))]);
    assert_eq!(w.engine.scaling_decisions("shop").count(), 2);
    assert_eq!(w.engine.workload("shop").unwrap().last, Some(&d));
}

#[test]
fn a_silent_workload_is_not_shrunk_whatever_the_policy_says() {
    let mut w = World::new().settled(10);
    w.engine
        .install_autoscaling(set("fake", 1, fake(|_| wants(3))));
    w.now_ms += 2 * MINUTE;
    let d = w.silent_minute();
    assert_eq!(names(&d), [("raw", 3), ("load-unknown", 10), ("final", 10)]);
}

#[test]
fn hold_and_incident_forbid_to_shrink_but_not_to_grow() {
    let mut w = World::under(fake(|r| wants((r.series.last().unwrap() / 100.0) as u32)));
    assert_eq!(w.desired(1_000.0), 10);
    w.engine.set_hold(true);
    let d = w.minute(500.0);
    assert_eq!(names(&d), [("raw", 5), ("hold", 10), ("final", 10)]);
    assert_eq!(w.desired(1_200.0), 12);
    w.engine.set_hold(false);
    w.event(Event::SetMode(Mode::Incident)).unwrap();
    let d = w.minute(500.0);
    assert_eq!(names(&d), [("raw", 5), ("incident", 12), ("final", 12)]);
    assert_eq!(w.desired(1_300.0), 13);
    w.event(Event::SetMode(Mode::Normal)).unwrap();
    assert_eq!(w.desired(500.0), 5);
}
