//! The laws of the autoscaling kind.

use engine::port::{AutoscalingPolicy, SCALE_STATE_BYTES_MAX, ScaleAnswer, ScaleRequest};
use engine::scaling::DESIRED_MAX;
use model::event::Mode;
use model::scaling::{CalendarEvent, ScalingSpec};
use model::{PolicyFault, PolicyKind};

use crate::FAULTS_MAX;
use crate::case::{self, AutoscalingCase};
use crate::describe;
use crate::law::Law;
use crate::report::{Book, Broken, Report};
use crate::series;

/// Makes a fresh, configured instance. The text is its settings; settings it
/// does not accept end in [`PolicyFault::Refused`].
pub type MakeAutoscaling<'a> =
    dyn FnMut(&str) -> Result<Box<dyn AutoscalingPolicy>, PolicyFault> + 'a;

/// Decisions in a row of the state-carry law.
const STEPS: u64 = 4;

/// Puts an autoscaling policy through every law on every case.
pub fn check_autoscaling(make: &mut MakeAutoscaling<'_>) -> Report {
    let mut book = Book::default();
    let mut start = |s: &str| make(s).map(|p| p.description().clone());
    let introduced = describe::introduce(PolicyKind::Autoscaling, &mut start, &mut book);
    let Some((_, settings)) = introduced else {
        return book.report();
    };
    let mut kit = Kit {
        make,
        settings,
        book,
        faults: 0,
    };
    let questions: Vec<Question> = case::autoscaling().case.iter().map(Question::new).collect();
    for i in 0..questions.len() {
        kit.question(&questions, i);
    }
    kit.book.report()
}

/// A case with its series.
struct Question {
    name: String,
    now: u64,
    spec: ScalingSpec,
    ready: u32,
    starting: u32,
    reactive: u32,
    series: Vec<f64>,
    calendar: Vec<CalendarEvent>,
}

impl Question {
    fn new(case: &AutoscalingCase) -> Self {
        Self {
            name: case.name.clone(),
            now: case.now,
            spec: ScalingSpec {
                workload: "conformance".to_owned(),
                min: case.min,
                max: case.max,
                capacity: case.capacity,
                target_utilization: case.target_utilization,
                start_up_ms: case.start_up,
                step_ms: case.step,
            },
            ready: case.ready,
            starting: case.starting,
            reactive: case.reactive,
            series: series::values(&case.series),
            calendar: case
                .calendar
                .iter()
                .map(|e| CalendarEvent {
                    name: e.name.clone(),
                    workload: String::new(),
                    start_ms: e.start,
                    end_ms: e.end,
                    load: e.load,
                    multiplier: e.multiplier,
                })
                .collect(),
        }
    }

    /// The request `steps` samples later, as far as the series goes.
    fn request<'q>(&'q self, steps: u64, state: &'q [u8]) -> ScaleRequest<'q> {
        let cut = (STEPS - 1 - steps.min(STEPS - 1)) as usize;
        // An empty series is a case of its own.
        let known = self
            .series
            .len()
            .saturating_sub(cut)
            .max(self.series.len().min(1));
        let now_ms = self.now.saturating_sub(cut as u64 * self.spec.step_ms);
        let span = (known.max(1) as u64 - 1) * self.spec.step_ms;
        ScaleRequest {
            now_ms,
            mode: Mode::Normal,
            workload: &self.spec,
            ready: self.ready,
            starting: self.starting,
            series_start_ms: now_ms.saturating_sub(span),
            series_step_ms: self.spec.step_ms,
            series: &self.series[..known],
            calendar: &self.calendar,
            reactive: self.reactive,
            state,
        }
    }

    fn last<'q>(&'q self, state: &'q [u8]) -> ScaleRequest<'q> {
        self.request(STEPS - 1, state)
    }
}

struct Kit<'a, 'm> {
    make: &'a mut MakeAutoscaling<'m>,
    settings: String,
    book: Book,
    faults: u32,
}

impl Kit<'_, '_> {
    fn question(&mut self, all: &[Question], i: usize) {
        let q = &all[i];
        if self.faults >= FAULTS_MAX {
            self.book
                .skip(Law::Answer, &q.name, "too many faults before it");
            return;
        }
        let first = match self.fresh().and_then(|mut p| ask(&mut *p, &q.last(&[]))) {
            Ok(first) => first,
            Err(fault) => {
                self.faults += u32::from(!matches!(fault, PolicyFault::BadAnswer { .. }));
                self.book.note(Law::Answer, &q.name, Err(fault.into()));
                return;
            }
        };
        self.book.fuel(first.1);
        self.book.note(Law::Answer, &q.name, Ok(()));
        let same = self.determinism(q, &first);
        let same = self.book.note(Law::Determinism, &q.name, same);
        for law in [Law::Statelessness, Law::StateCarry] {
            if !same {
                self.book
                    .skip(law, &q.name, "two fresh instances already disagree");
                continue;
            }
            let result = match law {
                Law::Statelessness => self.statelessness(all, i, &first.0),
                _ => self.state_carry(q),
            };
            self.book.note(law, &q.name, result);
        }
        let result = self.state_tolerance(q, first.0.as_ref());
        self.book.note(Law::StateTolerance, &q.name, result);
    }

    fn fresh(&mut self) -> Result<Box<dyn AutoscalingPolicy>, PolicyFault> {
        (self.make)(&self.settings)
    }

    fn determinism(
        &mut self,
        q: &Question,
        first: &(Option<ScaleAnswer>, u64),
    ) -> Result<(), Broken> {
        let (answer, fuel) = ask(&mut *self.fresh()?, &q.last(&[]))?;
        compare(&first.0, &answer, "the first", "a second instance")?;
        if fuel == first.1 {
            Ok(())
        } else {
            Err(Broken::Law(format!(
                "the same call burnt {} and then {fuel} fuel",
                first.1
            )))
        }
    }

    fn statelessness(
        &mut self,
        all: &[Question],
        i: usize,
        first: &Option<ScaleAnswer>,
    ) -> Result<(), Broken> {
        let forward: Vec<usize> = (0..all.len()).collect();
        let backward: Vec<usize> = (0..all.len()).rev().collect();
        for order in [forward, backward] {
            let mut used = self.fresh()?;
            // The answers of others have been looked at, or will be.
            for other in order.into_iter().filter(|o| *o != i).take(4) {
                let _ = used.scale(&all[other].last(&[]));
            }
            for _ in 0..2 {
                let (again, _) = ask(&mut *used, &all[i].last(&[]))?;
                compare(first, &again, "a fresh", "a used instance")?;
            }
        }
        Ok(())
    }

    /// One instance that lives on against a new one for each decision, both
    /// given back what they returned.
    fn state_carry(&mut self, q: &Question) -> Result<(), Broken> {
        let mut living = self.fresh()?;
        let (mut its, mut theirs) = (Vec::new(), Vec::new());
        for step in 0..STEPS {
            let (a, _) = ask(&mut *living, &q.request(step, &its))?;
            let (b, _) = ask(&mut *self.fresh()?, &q.request(step, &theirs))?;
            let word = format!("a new one at decision {}", step + 1);
            compare(&a, &b, "an instance that lives on", &word)?;
            its = a.map(|a| a.state).unwrap_or_default();
            theirs = b.map(|b| b.state).unwrap_or_default();
        }
        Ok(())
    }

    fn state_tolerance(
        &mut self,
        q: &Question,
        answer: Option<&ScaleAnswer>,
    ) -> Result<(), Broken> {
        let real = answer.map(|a| a.state.clone()).unwrap_or_default();
        let mut flipped = real.clone();
        if let Some(byte) = flipped.first_mut() {
            *byte ^= 0xff;
        }
        let mut longer = real.clone();
        longer.push(0);
        let states = [
            ("one byte", vec![0]),
            ("all ones", vec![0xff; 64]),
            ("zeros", vec![0; 4096]),
            ("text", b"{\"version\":999,\"x\":[1,2".to_vec()),
            ("half of its own", real[..real.len() / 2].to_vec()),
            ("its own with a byte flipped", flipped),
            ("its own and one byte more", longer),
            ("as much as is kept", vec![0x5a; SCALE_STATE_BYTES_MAX]),
        ];
        for (name, state) in states {
            let told = self.fresh().and_then(|mut p| ask(&mut *p, &q.last(&state)));
            if let Err(fault) = told {
                return Err(Broken::Law(format!("state of {name}: {fault}")));
            }
        }
        Ok(())
    }
}

fn ask(
    policy: &mut dyn AutoscalingPolicy,
    request: &ScaleRequest<'_>,
) -> Result<(Option<ScaleAnswer>, u64), PolicyFault> {
    let (answer, cost) = policy.scale(request)?;
    if let Some(answer) = &answer {
        legal(answer)?;
    }
    Ok((answer, cost.fuel))
}

fn legal(a: &ScaleAnswer) -> Result<(), PolicyFault> {
    let bad = |detail: String| Err(PolicyFault::BadAnswer { detail });
    if a.desired > DESIRED_MAX {
        return bad(format!("{} replicas, more than {DESIRED_MAX}", a.desired));
    }
    if a.state.len() > SCALE_STATE_BYTES_MAX {
        return bad(format!(
            "{} bytes of state, at most {SCALE_STATE_BYTES_MAX}",
            a.state.len()
        ));
    }
    if let Some(p) = a
        .forecast
        .iter()
        .find(|p| !p.mean.is_finite() || !p.high.is_finite())
    {
        return bad(format!("forecast {} to {} is not finite", p.mean, p.high));
    }
    if a.forecast.windows(2).any(|w| w[0].at_ms >= w[1].at_ms) {
        return bad("the forecast's times do not ascend".to_owned());
    }
    Ok(())
}

fn compare(
    a: &Option<ScaleAnswer>,
    b: &Option<ScaleAnswer>,
    one: &str,
    two: &str,
) -> Result<(), Broken> {
    if a == b {
        return Ok(());
    }
    let (Some(x), Some(y)) = (a, b) else {
        return Err(Broken::Law(format!("only one of {one} and {two} abstains")));
    };
    let what = if x.desired != y.desired {
        format!("{} and {} replicas", x.desired, y.desired)
    } else if x.state != y.state {
        "different states".to_owned()
    } else if x.forecast != y.forecast {
        "different forecasts".to_owned()
    } else {
        "different parts".to_owned()
    };
    Err(Broken::Law(format!("{what} from {one} and {two}")))
}
