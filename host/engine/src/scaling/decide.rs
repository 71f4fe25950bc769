//! One scaling decision: reactive formula, policy, then what the host allows,
//! each step named in the record.

use std::collections::VecDeque;

use model::PolicyFault;
use model::event::Mode;
use model::scaling::{CalendarEvent, Part, ScalingDecision, ScalingSpec};

use crate::builtin::hpa::{Input, Reactive, Windows};
use crate::port::{ScaleAnswer, ScaleRequest};
use crate::scaling::replicas::Replicas;
use crate::scaling::samples::Samples;
use crate::scaling::set::AutoscalingSet;

/// Decisions remembered per workload: a quarter of an hour at one every
/// 15 s. Older ones are in the decision log.
pub const DECISIONS_KEPT: usize = 64;

/// What a policy remembers about one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyMemory {
    /// Name of the policy that wrote it; no other is given it.
    pub policy: String,
    /// Its own encoding.
    pub bytes: Vec<u8>,
}

/// One scaled workload.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) spec: ScalingSpec,
    pub(crate) samples: Samples,
    pub(crate) windows: Windows,
    pub(crate) memory: Option<PolicyMemory>,
    pub(crate) replicas: Replicas,
    /// Time of the next decision, ms; 0 before the first.
    pub(crate) due_ms: u64,
    pub(crate) decisions: VecDeque<ScalingDecision>,
}

/// What a decision reads besides the workload.
pub(crate) struct Moment<'a> {
    pub(crate) now_ms: u64,
    pub(crate) seq: u64,
    pub(crate) mode: Mode,
    pub(crate) hold: bool,
    pub(crate) ready: u32,
    pub(crate) starting: u32,
    pub(crate) calendar: &'a [CalendarEvent],
}

/// Steps from the raw value to the final one.
struct Trail {
    parts: Vec<Part>,
    value: u32,
}

impl Trail {
    fn note(&mut self, name: &str, value: u32, text: String) {
        self.parts.push(Part {
            name: name.to_owned(),
            value: i64::from(value),
            text,
        });
    }

    /// A constraint; leaves no trace when it changes nothing.
    fn constrain(&mut self, name: &str, value: u32, text: impl FnOnce() -> String) {
        if value != self.value {
            self.note(name, value, text());
            self.value = value;
        }
    }
}

impl Workload {
    pub(crate) fn new(spec: ScalingSpec) -> Self {
        Self {
            samples: Samples::new(spec.step_ms),
            windows: Windows::default(),
            memory: None,
            replicas: Replicas::serving(spec.min),
            due_ms: 0,
            decisions: VecDeque::new(),
            spec,
        }
    }

    /// Decides. The flag says that the policy set has to go, with its fault.
    pub(crate) fn decide(
        &mut self,
        set: &mut AutoscalingSet,
        moment: &Moment<'_>,
    ) -> (ScalingDecision, Option<PolicyFault>) {
        let current = moment.ready + moment.starting;
        if self.due_ms == 0 {
            self.windows = Windows::seeded(moment.now_ms, current);
        }
        let load = self.samples.load_at(moment.now_ms);
        let target = self.spec.capacity * f64::from(self.spec.target_utilization) / 1000.0;
        let reactive = self.windows.decide(Input {
            now_ms: moment.now_ms,
            load,
            target,
            current,
            min: self.spec.min,
        });
        let answer = self.ask(set, moment, reactive.stabilised);

        let mut trail = Trail {
            parts: Vec::new(),
            value: 0,
        };
        let mut forecast = Vec::new();
        let (mut fault_text, mut tripped) = (None, None);
        let raw = match answer {
            Ok(Some(a)) => {
                forecast = a.forecast;
                trail.parts = a.parts;
                trail.value = a.desired;
                trail.note("raw", a.desired, format!("{} asks for it", set.id()));
                self.memory = Some(PolicyMemory {
                    policy: set.id().name.clone(),
                    bytes: a.state,
                });
                a.desired
            }
            Ok(None) => {
                explain_reactive(&mut trail, reactive, load, target, current);
                trail.note("raw", reactive.stabilised, "the reactive answer".to_owned());
                trail.constrain("rate-limit", reactive.limited, || {
                    "at most twice as many, or 4 more, in 15 s".to_owned()
                });
                reactive.stabilised
            }
            Err((fault, trips)) => {
                explain_reactive(&mut trail, reactive, load, target, current);
                trail.value = reactive.limited.max(current);
                let text = format!(
                    "{} failed ({}): grows by the built-in, does not shrink",
                    set.id(),
                    fault.code()
                );
                trail.note("raw", trail.value, text);
                fault_text = Some(format!("{}: {fault}", fault.code()));
                tripped = trips.then_some(fault);
                trail.value
            }
        };
        self.constrain(&mut trail, moment, current, load);
        let desired = trail.value;
        let text = format!("{current} replicas become {desired}");
        trail.note("final", desired, text);

        self.windows.record_change(moment.now_ms, current, desired);
        self.replicas
            .ask(moment.now_ms, self.spec.start_up_ms, desired);
        let decision = ScalingDecision {
            seq: moment.seq,
            time_ms: moment.now_ms,
            workload: self.spec.workload.clone(),
            current,
            reactive: reactive.stabilised,
            raw,
            desired,
            parts: trail.parts,
            forecast,
            policy: set.id().clone(),
            fault: fault_text,
        };
        self.keep(decision.clone());
        (decision, tripped)
    }

    fn ask(
        &self,
        set: &mut AutoscalingSet,
        moment: &Moment<'_>,
        reactive: u32,
    ) -> Result<Option<ScaleAnswer>, (PolicyFault, bool)> {
        let (series_start_ms, series) = self.samples.window();
        let own = |m: &&PolicyMemory| m.policy == set.id().name;
        let state = self.memory.as_ref().filter(own).map(|m| m.bytes.as_slice());
        set.ask(&ScaleRequest {
            now_ms: moment.now_ms,
            mode: moment.mode,
            workload: &self.spec,
            ready: moment.ready,
            starting: moment.starting,
            series_start_ms,
            series_step_ms: self.spec.step_ms,
            series,
            calendar: moment.calendar,
            reactive,
            state: state.unwrap_or_default(),
        })
    }

    /// What no policy can override.
    fn constrain(&self, trail: &mut Trail, moment: &Moment<'_>, current: u32, load: f64) {
        let (min, max) = (self.spec.min, self.spec.max);
        // A silent workload is more often a broken collector than an idle one.
        let keep = |value: u32| value.max(current);
        if !load.is_finite() {
            trail.constrain("load-unknown", keep(trail.value), || {
                "the load is unknown: no scale-down".to_owned()
            });
        }
        trail.constrain("minimum", trail.value.max(min), || {
            format!("never below {min}")
        });
        trail.constrain("maximum", trail.value.min(max), || {
            format!("never above {max}")
        });
        if moment.hold {
            trail.constrain("hold", keep(trail.value), || {
                "the host is on hold: no scale-down".to_owned()
            });
        }
        if moment.mode == Mode::Incident {
            trail.constrain("incident", keep(trail.value), || {
                "an incident is declared: no scale-down".to_owned()
            });
        }
    }

    fn keep(&mut self, decision: ScalingDecision) {
        if self.decisions.len() == DECISIONS_KEPT {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision);
    }
}

fn explain_reactive(trail: &mut Trail, r: Reactive, load: f64, target: f64, current: u32) {
    let text = if load.is_finite() {
        format!("load {load:.1} at {target:.1} a replica")
    } else {
        format!("load unknown: {current} replicas kept")
    };
    trail.note("formula", r.formula, text);
    trail.value = r.formula;
    trail.constrain("stabilisation", r.stabilised, || {
        "more were needed in the last 5 minutes".to_owned()
    });
    trail.value = r.stabilised;
}
