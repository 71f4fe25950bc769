//! The kit against deliberately wrong autoscaling policies.

use std::sync::atomic::{AtomicU32, Ordering};

use conformance::{Law, Report, check_autoscaling};
use engine::builtin::hpa::BuiltinHpa;
use engine::port::{
    AutoscalingPolicy, Column, Cost, Description, SCALE_STATE_BYTES_MAX, ScaleAnswer, ScaleRequest,
};
use model::PolicyFault;
use model::scaling::ForecastPoint;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    ReadsColumns,
    AcceptsAnySettings,
    DesiredFromNan,
    InfiniteForecast,
    ForecastBackwards,
    StateTooLarge,
    TrapsOnEmptySeries,
    TrapsOnFarCalendar,
    Random,
    FuelFromAddress,
    CountsDecisions,
    RemembersWorkload,
    KeepsItsLastAnswer,
    TrustsItsState,
    BelievesTheLengthInItsState,
}

struct Mutant {
    wrong: Wrong,
    description: Description,
    decisions: u32,
    last: u32,
    now: u64,
}

static AMBIENT: AtomicU32 = AtomicU32::new(0);

impl Mutant {
    fn make(wrong: Wrong, settings: &str) -> Result<Self, PolicyFault> {
        if settings != "{}" && wrong != Wrong::AcceptsAnySettings {
            return Err(PolicyFault::Refused {
                message: "unknown settings".to_owned(),
            });
        }
        Ok(Self {
            wrong,
            description: Description {
                name: "mutant".to_owned(),
                version: "0.1.0".to_owned(),
                summary: "Load by capacity.".to_owned(),
                settings_schema: r#"{"type":"object"}"#.to_owned(),
                columns: match wrong {
                    Wrong::ReadsColumns => vec![Column::CpuFree],
                    _ => Vec::new(),
                },
            },
            decisions: 0,
            last: 0,
            now: 0,
        })
    }
}

fn trap(message: &str) -> PolicyFault {
    PolicyFault::Trap {
        message: message.to_owned(),
    }
}

impl AutoscalingPolicy for Mutant {
    fn description(&self) -> &Description {
        &self.description
    }

    fn scale(&mut self, q: &ScaleRequest<'_>) -> Result<(Option<ScaleAnswer>, Cost), PolicyFault> {
        self.decisions += 1;
        let known = q.series.iter().rev().copied().find(|v| v.is_finite());
        match self.wrong {
            Wrong::TrapsOnEmptySeries if q.series.is_empty() => {
                return Err(trap("index out of bounds"));
            }
            Wrong::TrapsOnFarCalendar if q.calendar.iter().any(|e| e.end_ms > 1 << 62) => {
                return Err(trap("attempt to add with overflow"));
            }
            _ => {}
        }
        let Some(load) = known else {
            return Ok((None, Cost::default()));
        };
        let wanted = load / (q.workload.capacity * 0.7);
        let mut desired = (wanted.min(1e5) as u32).clamp(q.workload.min, q.workload.max);
        // The sound policy counts its decisions where the host can see it.
        let count = match q.state {
            [1, count] => count.wrapping_add(1),
            _ => 0,
        };
        let mut state = vec![1, count];
        let mut forecast = vec![ForecastPoint {
            at_ms: q.now_ms,
            mean: load.min(1e100),
            high: load.min(1e100),
        }];
        match self.wrong {
            Wrong::DesiredFromNan if q.series.iter().any(|v| v.is_nan()) => desired = u32::MAX,
            Wrong::InfiniteForecast => forecast[0].high = load / 0.0,
            Wrong::ForecastBackwards => forecast.push(forecast[0]),
            Wrong::StateTooLarge => state = vec![0; SCALE_STATE_BYTES_MAX + 1],
            Wrong::Random => desired = AMBIENT.fetch_add(1, Ordering::Relaxed) % 1000,
            Wrong::CountsDecisions => desired = desired.saturating_add(self.decisions),
            Wrong::RemembersWorkload => {
                desired = desired.max(self.last);
                self.last = desired;
            }
            // Only while time goes on: a replayed question is answered alike.
            Wrong::KeepsItsLastAnswer => {
                if self.now > 0 && q.now_ms > self.now && q.now_ms - self.now < 3_600_000 {
                    desired += 1;
                }
                self.now = q.now_ms;
            }
            Wrong::TrustsItsState if !matches!(q.state, [] | [1, _]) => {
                return Err(trap("state of another version"));
            }
            Wrong::BelievesTheLengthInItsState => {
                let says = q.state.first().copied().map_or(0, usize::from);
                if says >= q.state.len() && !q.state.is_empty() {
                    return Err(trap("range end index out of range"));
                }
            }
            _ => {}
        }
        let fuel = match self.wrong {
            Wrong::FuelFromAddress => AMBIENT.fetch_add(1, Ordering::Relaxed).into(),
            _ => 10 + q.series.len() as u64,
        };
        let answer = ScaleAnswer {
            desired,
            parts: Vec::new(),
            forecast,
            state,
        };
        Ok((Some(answer), Cost { fuel }))
    }
}

fn run(wrong: Wrong) -> Report {
    check_autoscaling(&mut |settings| {
        let mutant = Mutant::make(wrong, settings)?;
        Ok(Box::new(mutant) as Box<dyn AutoscalingPolicy>)
    })
}

#[track_caller]
fn caught(wrong: Wrong, by: &[Law]) {
    let report = run(wrong);
    let mut broken: Vec<Law> = report.failures().map(|c| c.law).collect();
    broken.sort_unstable();
    broken.dedup();
    assert_eq!(broken, by, "{wrong:?}\n{report}");
}

#[test]
fn a_sound_policy_passes() {
    let report = run(Wrong::Nothing);
    assert!(report.passed(), "{report}");
    for law in [Law::StateCarry, Law::StateTolerance, Law::Statelessness] {
        assert!(report.counts(law).0 > 10, "{report}");
    }
    assert_eq!(report.fuel_max, 10 + 20_160);
}

#[test]
fn the_built_in_passes() {
    let report = check_autoscaling(&mut |settings| match settings {
        "{}" => Ok(Box::new(BuiltinHpa::new()) as Box<dyn AutoscalingPolicy>),
        _ => Err(PolicyFault::Refused {
            message: "the built-in has no settings".to_owned(),
        }),
    });
    assert!(report.passed(), "{report}");
}

#[test]
fn each_mutant_is_caught_by_the_law_named_for_it() {
    caught(Wrong::ReadsColumns, &[Law::Describe]);
    caught(Wrong::AcceptsAnySettings, &[Law::Settings]);
    for wrong in [
        Wrong::DesiredFromNan,
        Wrong::InfiniteForecast,
        Wrong::ForecastBackwards,
        Wrong::StateTooLarge,
        Wrong::TrapsOnEmptySeries,
        Wrong::TrapsOnFarCalendar,
    ] {
        caught(wrong, &[Law::Answer]);
    }
    caught(Wrong::FuelFromAddress, &[Law::Determinism]);
    caught(Wrong::Random, &[Law::Determinism]);
    caught(Wrong::TrustsItsState, &[Law::StateTolerance]);
    caught(Wrong::BelievesTheLengthInItsState, &[Law::StateTolerance]);
}

#[test]
fn memory_outside_the_state_is_caught() {
    caught(
        Wrong::CountsDecisions,
        &[Law::Statelessness, Law::StateCarry],
    );
    caught(Wrong::KeepsItsLastAnswer, &[Law::StateCarry]);
    let report = run(Wrong::RemembersWorkload);
    assert!(report.counts(Law::Statelessness).1 > 0, "{report}");
}
