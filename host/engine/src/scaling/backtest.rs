//! A whole series through an engine under virtual time.

use model::Event;
use model::scaling::{ScalingDecision, ScalingSpec};

use crate::effect::Output;
use crate::engine::Engine;
use crate::error::EventError;
use crate::scaling::replicas::Replicas;

/// How a series is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesRun {
    /// Distance of two ticks, ms. The engine decides at most every
    /// [`crate::scaling::DECIDE_EVERY_MS`].
    pub tick_ms: u64,
    /// First step with ticks; those before it are only history. The workload
    /// then starts with as many replicas as the formula gives.
    pub decide_from: usize,
}

/// What [`drive_series`] reports, in order of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SeriesProgress<'a> {
    /// A decision.
    Decision {
        /// Step in which it was taken, from 0.
        step: usize,
        /// It.
        decision: &'a ScalingDecision,
    },
    /// A stretch of time in which nothing changed.
    Slot {
        /// Step it belongs to, from 0.
        step: usize,
        /// Length, ms; the same for all slots of a run, and a divisor of the
        /// step.
        ms: u64,
        /// Load of the step.
        load: f64,
        /// Replicas that served it.
        ready: u32,
        /// Replicas that cost already and did not serve yet.
        starting: u32,
    },
}

/// Length of the slots of a run, ms: ticks and ends of start-ups are at their
/// borders.
#[must_use]
pub fn slot_ms(spec: &ScalingSpec, run: SeriesRun) -> u64 {
    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    gcd(gcd(spec.step_ms, run.tick_ms.max(1)), spec.start_up_ms)
}

/// Runs `values`, one a step of `spec`, through `engine`, which scales the
/// workload under whatever policy is installed. A decision at the start of a
/// step knows only steps that have ended. `each` sees everything from step
/// `run.decide_from` on.
///
/// # Errors
/// A spec the engine refuses.
pub fn drive_series(
    engine: &mut Engine,
    spec: &ScalingSpec,
    values: impl IntoIterator<Item = f64>,
    run: SeriesRun,
    mut each: impl FnMut(SeriesProgress<'_>),
) -> Result<(), EventError> {
    let mut out = Output::default();
    let start_ms = engine.now_ms();
    engine.step(start_ms, Event::ScalingPut(spec.clone()), &mut out)?;
    let tick_ms = run.tick_ms.max(1);
    let ms = slot_ms(spec, run);
    let mut ended: Option<f64> = None;
    for (step, load) in values.into_iter().enumerate() {
        let step_ms = step as u64 * spec.step_ms;
        if let Some(value) = ended.replace(load) {
            let workload = spec.workload.clone();
            let sample = Event::MetricSample { workload, value };
            out.clear();
            engine.step(start_ms + step_ms, sample, &mut out)?;
            if step == run.decide_from {
                engine.adopt(spec, value);
            }
        }
        if step < run.decide_from {
            continue;
        }
        for offset_ms in (0..spec.step_ms / ms).map(|k| k * ms) {
            let now_ms = start_ms + step_ms + offset_ms;
            if (step_ms + offset_ms).is_multiple_of(tick_ms) {
                out.clear();
                engine.step(now_ms, Event::Tick, &mut out)?;
                for decision in out.scaling.iter().filter(|d| d.workload == spec.workload) {
                    each(SeriesProgress::Decision { step, decision });
                }
            }
            let (ready, starting) = engine.replicas(&spec.workload, now_ms).unwrap_or((0, 0));
            each(SeriesProgress::Slot {
                step,
                ms,
                load,
                ready,
                starting,
            });
        }
    }
    Ok(())
}

impl Engine {
    /// Starts the workload with what the formula gives for `load`, serving.
    fn adopt(&mut self, spec: &ScalingSpec, load: f64) {
        let target = spec.capacity * f64::from(spec.target_utilization) / 1000.0;
        let wanted = crate::builtin::hpa::formula(load, target, 0).unwrap_or(spec.min);
        if let Some(w) = self.scaling.workloads.get_mut(&spec.workload) {
            w.replicas = Replicas::serving(wanted.clamp(spec.min, spec.max));
        }
    }
}
