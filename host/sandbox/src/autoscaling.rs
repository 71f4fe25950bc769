//! A component behind the engine's autoscaling port.

use std::sync::Arc;

use engine::port::{AutoscalingPolicy, Cost, Description, ScaleAnswer, ScaleRequest};
use model::PolicyFault;
use model::scaling::ForecastPoint;

use crate::answer;
use crate::bindings::autoscaling::AutoscalingPolicy as World;
use crate::bindings::autoscaling::exports::loadmaster::policy::autoscaling as wit;
use crate::bindings::autoscaling::loadmaster::policy::types;
use crate::fault::Given;
use crate::guest::{Clock, Guest};
use crate::limits::RunLimits;
use crate::lower::lower_mode;
use crate::prepared::{Linked, Prepared};
use crate::scoring::refused;

/// One autoscaling policy with its settings. What it wants to remember goes
/// through the request's state; the instance is replaced after any fault.
pub struct WasmAutoscaling {
    prepared: Arc<Prepared>,
    settings: String,
    limits: RunLimits,
    guest: Option<Guest<World>>,
    /// Questions asked, for the audit.
    asked: u64,
}

impl WasmAutoscaling {
    pub(crate) fn start(
        prepared: &Arc<Prepared>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Self, PolicyFault> {
        let mut policy = Self {
            prepared: Arc::clone(prepared),
            settings: settings.to_owned(),
            limits,
            guest: None,
            asked: 0,
        };
        policy.guest = Some(policy.fresh(Clock::single(&limits))?);
        Ok(policy)
    }

    fn fresh(&self, clock: Clock) -> Result<Guest<World>, PolicyFault> {
        let mut guest = self.prepared.start(&self.limits, clock, |linked, store| {
            let Linked::Autoscaling(pre) = linked else {
                // `Prepared::autoscaling` checked the kind.
                return Err(wasmtime::Error::msg("not an autoscaling policy"));
            };
            pre.instantiate(store)
        })?;
        let given = Given {
            fuel: self.limits.fuel_setup,
            wall_ms: clock.left(self.limits.setup_wall_ms)?,
        };
        let (accepted, _) = guest.call(given, |world, store| {
            world
                .loadmaster_policy_autoscaling()
                .call_configure(store, &self.settings)
        })?;
        accepted.map_err(refused)?;
        Ok(guest)
    }

    /// The same request on a fresh instance must get the same answer.
    fn audit(
        &mut self,
        request: &ScaleRequest<'_>,
        said: &Option<ScaleAnswer>,
        clock: Clock,
    ) -> Result<(), PolicyFault> {
        let limits = self.limits;
        let fresh = self
            .fresh(clock)
            .and_then(|mut guest| scale_once(&mut guest, &limits, request, clock));
        let fresh = match fresh {
            Ok((fresh, _)) if fresh == *said => return Ok(()),
            Ok((fresh, _)) => short(&fresh),
            // As in `audit::compare`.
            Err(PolicyFault::NotStarted { .. } | PolicyFault::WallTimeout { .. }) => return Ok(()),
            Err(fault) => fault.to_string(),
        };
        self.guest = None;
        Err(PolicyFault::StatefulDivergence {
            fresh,
            reused: short(said),
        })
    }
}

/// Enough of an answer to see where two differ.
fn short(answer: &Option<ScaleAnswer>) -> String {
    answer.as_ref().map_or_else(
        || "abstains".to_owned(),
        |a| {
            format!(
                "{} replicas, {} parts, {} forecast points, {} bytes of state",
                a.desired,
                a.parts.len(),
                a.forecast.len(),
                a.state.len()
            )
        },
    )
}

impl AutoscalingPolicy for WasmAutoscaling {
    fn description(&self) -> &Description {
        self.prepared.description()
    }

    fn scale(
        &mut self,
        request: &ScaleRequest<'_>,
    ) -> Result<(Option<ScaleAnswer>, Cost), PolicyFault> {
        self.asked += 1;
        let clock = Clock::running(&self.limits);
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.fresh(clock)?,
        };
        guest.begin_decision();
        let (answer, fuel) = scale_once(&mut guest, &self.limits, request, clock)?;
        self.guest = Some(guest);
        let every = self.limits.audit_every;
        if every > 0 && self.asked.is_multiple_of(every) {
            self.audit(request, &answer, clock)?;
        }
        Ok((answer, Cost { fuel }))
    }
}

fn scale_once(
    guest: &mut Guest<World>,
    limits: &RunLimits,
    request: &ScaleRequest<'_>,
    clock: Clock,
) -> Result<(Option<ScaleAnswer>, u64), PolicyFault> {
    let calendar: Vec<_> = request
        .calendar
        .iter()
        .map(|e| wit::CalendarEvent {
            name: &e.name,
            start: e.start_ms,
            end: e.end_ms,
            load: e.load,
            multiplier: e.multiplier,
        })
        .collect();
    let spec = request.workload;
    let lowered = wit::Request {
        now: request.now_ms,
        mode: lower_mode!(types, request.mode),
        workload: wit::Workload {
            name: &spec.workload,
            min: spec.min,
            max: spec.max,
            capacity: spec.capacity,
            target_utilization: spec.target_utilization,
            start_up: spec.start_up_ms,
        },
        replicas: wit::Replicas {
            ready: request.ready,
            starting: request.starting,
        },
        load: wit::Series {
            start: request.series_start_ms,
            step: request.series_step_ms,
            values: request.series,
        },
        calendar: &calendar,
        reactive: request.reactive,
        state: request.state,
    };
    // Eight bytes of state are as much work as one sample.
    let samples = request.series.len() + request.state.len() / 8 + request.calendar.len();
    let given = Given {
        fuel: limits.fuel_for_samples(samples),
        wall_ms: clock.left(limits.call_wall_ms)?,
    };
    let (said, fuel) = guest.call(given, |world, store| {
        world
            .loadmaster_policy_autoscaling()
            .call_scale(store, lowered)
    })?;
    let Some(said) = said else {
        return Ok((None, fuel));
    };
    let forecast: Vec<_> = said
        .forecast
        .iter()
        .map(|p| ForecastPoint {
            at_ms: p.at,
            mean: p.mean,
            high: p.high,
        })
        .collect();
    answer::forecast(&forecast)?;
    answer::state(&said.state)?;
    let answer = ScaleAnswer {
        desired: said.desired,
        parts: answer::parts(said.parts.into_iter().map(|p| (p.name, p.value, p.text)))?,
        forecast,
        state: said.state,
    };
    Ok((Some(answer), fuel))
}
