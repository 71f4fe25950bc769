//! The kit against deliberately wrong scoring policies: each is caught by the
//! law named for it, and by no other that could have a different cause.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use conformance::{Law, Report, Verdict, check_scoring};
use engine::builtin::binpack::BuiltinBinpack;
use engine::port::{Column, Context, Cost, Description, PodRow, Rows, ScoringPolicy};
use model::PolicyFault;
use model::decision::ABSTAIN;
use model::scaling::Part;

/// What is wrong with a policy. `Nothing` is the sound one they derive from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    AbstainsAndRefuses,
    BadName,
    BadVersion,
    BadSchema,
    ChangingDescription,
    AcceptsAnySettings,
    IgnoresUnknownKeys,
    RefusesDefaults,
    TrapsOnBadSettings,
    OneScoreTooFew,
    AboveRange,
    BelowRange,
    TrapsOnNoRows,
    DividesByZeroCapacity,
    OutOfFuel,
    Random,
    FuelFromAddress,
    CountsCalls,
    RemembersBestRow,
    RemembersPlacement,
    RemembersExplain,
    DependsOnBatchSize,
    Normalises,
    DependsOnOrder,
    TieByPosition,
    KeepsFirstContext,
    AddsContexts,
    TooFewDevices,
    SameDeviceTwice,
    UnhealthyDevice,
    BusyDevice,
    DeviceBeyondSlots,
    ExplainsOtherScore,
    ExplainsTooFew,
}

struct Mutant {
    wrong: Wrong,
    description: Description,
    calls: i32,
    best: i32,
    shapes: i32,
}

/// Shared by all instances, like a random source or an address would be.
static AMBIENT: AtomicI32 = AtomicI32::new(0);

const SCHEMA: &str = r#"{"type":"object","additionalProperties":false}"#;

impl Mutant {
    fn make(wrong: Wrong, settings: &str) -> Result<Self, PolicyFault> {
        let refused = |message: &str| {
            Err(PolicyFault::Refused {
                message: message.to_owned(),
            })
        };
        match (wrong, settings) {
            (Wrong::AcceptsAnySettings, _) => {}
            (Wrong::RefusesDefaults, "{}") => return refused("give me more"),
            (_, "{}") => {}
            (Wrong::IgnoresUnknownKeys, s) if s.starts_with("{\"") => {}
            (Wrong::TrapsOnBadSettings, _) => {
                return Err(PolicyFault::Trap {
                    message: "called `unwrap` on an `Err`".to_owned(),
                });
            }
            _ => return refused("unknown settings"),
        }
        let mut description = Description {
            name: "mutant".to_owned(),
            version: "1.2.3".to_owned(),
            summary: "Fullest node wins.".to_owned(),
            settings_schema: SCHEMA.to_owned(),
            columns: vec![
                Column::CpuFree,
                Column::CpuCap,
                Column::GpuCount,
                Column::GpuMilliFree,
                Column::GpuMemoryFree,
            ],
        };
        match wrong {
            Wrong::BadName => description.name = "Mutant 1".to_owned(),
            Wrong::BadVersion => description.version = "1.2".to_owned(),
            Wrong::BadSchema => description.settings_schema = "{".to_owned(),
            Wrong::ChangingDescription => {
                let n = AMBIENT.fetch_add(1, Ordering::Relaxed);
                description.summary = format!("Instance {n}.");
            }
            _ => {}
        }
        Ok(Self {
            wrong,
            description,
            calls: 0,
            best: 0,
            shapes: 0,
        })
    }

    fn sound_score(&self, pod: &PodRow, rows: Rows<'_>, row: usize) -> i32 {
        let n = rows.count as usize;
        let column = |c: usize| i64::from(rows.data[c * n + row]);
        let (free, cap) = (column(0), column(1));
        if cap == 0 && self.wrong != Wrong::DividesByZeroCapacity {
            return 0;
        }
        ((cap - free + i64::from(pod.cpu)) * 99_000 / cap) as i32
    }

    fn devices(rows: Rows<'_>, slot: usize) -> (i32, i32) {
        let (n, slots) = (rows.count as usize, rows.slots as usize);
        let milli = rows.data[3 * n + slot * n];
        let memory = rows.data[3 * n + slots * n + slot * n];
        (milli, memory)
    }
}

impl ScoringPolicy for Mutant {
    fn description(&self) -> &Description {
        &self.description
    }

    fn set_context(&mut self, context: &Arc<Context>) -> Result<(), PolicyFault> {
        let shapes = context.shapes.len() as i32;
        match self.wrong {
            Wrong::KeepsFirstContext if self.shapes > 0 => {}
            Wrong::AddsContexts => self.shapes += shapes,
            _ => self.shapes = shapes,
        }
        Ok(())
    }

    fn score(
        &mut self,
        pod: &PodRow,
        rows: Rows<'_>,
        out: &mut Vec<i32>,
    ) -> Result<Cost, PolicyFault> {
        self.calls += 1;
        let n = rows.count as usize;
        let trap = |message: &str| PolicyFault::Trap {
            message: message.to_owned(),
        };
        if self.wrong == Wrong::TrapsOnNoRows && n == 0 {
            return Err(trap("index out of bounds"));
        }
        if self.wrong == Wrong::OutOfFuel {
            return Err(PolicyFault::OutOfFuel { limit: 1 });
        }
        if self.wrong == Wrong::DividesByZeroCapacity && rows.data[n..2 * n].contains(&0) {
            return Err(trap("attempt to divide by zero"));
        }
        let scores: Vec<i32> = (0..n).map(|r| self.sound_score(pod, rows, r)).collect();
        let most = scores.iter().copied().max().unwrap_or(0);
        for (r, score) in scores.iter().copied().enumerate() {
            out.push(match self.wrong {
                Wrong::AbstainsAndRefuses if score % 3 == 0 => ABSTAIN,
                Wrong::AbstainsAndRefuses if score % 3 == 1 => -1,
                Wrong::AboveRange => score + 2_000,
                Wrong::BelowRange => score - 50_000,
                Wrong::Random => AMBIENT.fetch_add(1, Ordering::Relaxed) & 0xffff,
                Wrong::CountsCalls => score / 2 + self.calls,
                Wrong::RemembersBestRow | Wrong::RemembersPlacement | Wrong::RemembersExplain => {
                    score / 2 + self.best
                }
                Wrong::DependsOnBatchSize => score / 2 + n as i32 % 7,
                Wrong::Normalises => (i64::from(score) * 1000 / i64::from(most.max(1))) as i32,
                // What comes before a row in its batch, not where the batch ends.
                Wrong::DependsOnOrder => score / 2 + scores[..r].first().map_or(0, |s| s % 5),
                Wrong::TieByPosition => score / 2 + (r as i32 & 1),
                Wrong::KeepsFirstContext | Wrong::AddsContexts => score / 2 + self.shapes,
                _ => score,
            });
        }
        if self.wrong == Wrong::OneScoreTooFew {
            out.pop();
        }
        if self.wrong == Wrong::RemembersBestRow {
            self.best = most / 100;
        }
        let fuel = match self.wrong {
            Wrong::FuelFromAddress => AMBIENT.fetch_add(1, Ordering::Relaxed) as u64,
            _ => 100 + n as u64,
        };
        Ok(Cost { fuel })
    }

    fn place(
        &mut self,
        pod: &PodRow,
        row: Rows<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(bool, Cost), PolicyFault> {
        if self.wrong == Wrong::RemembersPlacement {
            self.best += 1;
        }
        let takes = |slot: usize| {
            let (milli, memory) = Self::devices(row, slot);
            let wants = match self.wrong {
                Wrong::UnhealthyDevice => -1,
                Wrong::BusyDevice => 0,
                _ => pod.gpu_milli as i32,
            };
            milli >= wants && (memory >= pod.gpu_memory || wants < 0)
        };
        let count = pod.gpu_count as usize;
        let chosen = (0..row.slots as usize).filter(|s| takes(*s)).take(count);
        let mut chosen: Vec<u32> = chosen.map(|s| s as u32).collect();
        match self.wrong {
            Wrong::TooFewDevices => {
                chosen.pop();
            }
            Wrong::SameDeviceTwice => {
                let first = chosen[0];
                chosen.fill(first);
            }
            Wrong::DeviceBeyondSlots => chosen[0] = row.slots,
            _ => {}
        }
        out.extend(chosen);
        Ok((true, Cost::default()))
    }

    fn explain(&mut self, pod: &PodRow, rows: Rows<'_>) -> Result<Vec<Vec<Part>>, PolicyFault> {
        if self.wrong == Wrong::RemembersExplain {
            self.best += 1;
        }
        let calls = self.calls;
        let mut scores = Vec::new();
        let best = self.best;
        self.score(pod, rows, &mut scores)?;
        (self.calls, self.best) = (calls, best);
        let off = i64::from(self.wrong == Wrong::ExplainsOtherScore);
        let part = |value: i64| Part {
            name: "used".to_owned(),
            value,
            text: String::new(),
        };
        let mut all: Vec<_> = scores
            .iter()
            .map(|s| vec![part(i64::from(*s) - 7), part(7 + off)])
            .collect();
        if self.wrong == Wrong::ExplainsTooFew {
            all.pop();
        }
        Ok(all)
    }
}

fn run(wrong: Wrong) -> Report {
    check_scoring(&mut |settings| {
        let mutant = Mutant::make(wrong, settings)?;
        Ok(Box::new(mutant) as Box<dyn ScoringPolicy>)
    })
}

#[track_caller]
fn caught(wrong: Wrong, by: &[Law]) {
    let report = run(wrong);
    let mut broken: Vec<Law> = report.failures().map(|c| c.law).collect();
    broken.sort_unstable();
    broken.dedup();
    assert_eq!(broken, by, "{wrong:?}\n{report}");
    assert!(!report.passed());
}

const OF_SCORING: [Law; 11] = [
    Law::Describe,
    Law::Settings,
    Law::Answer,
    Law::Determinism,
    Law::Statelessness,
    Law::BatchSplit,
    Law::RowPermutation,
    Law::EqualRows,
    Law::ContextReplay,
    Law::Place,
    Law::Explain,
];

#[test]
fn a_sound_policy_passes() {
    for wrong in [Wrong::Nothing, Wrong::AbstainsAndRefuses] {
        let report = run(wrong);
        assert!(report.passed(), "{wrong:?}\n{report}");
        for law in Law::ALL {
            let (passed, _, _) = report.counts(law);
            let of_scoring = OF_SCORING.contains(&law);
            assert_eq!(passed > 0, of_scoring, "{law}: nothing was looked at");
        }
        assert_eq!(report.fuel_max, 100 + 10_000);
    }
}

#[test]
fn the_built_in_passes() {
    let report = check_scoring(&mut |settings| match settings {
        "{}" => Ok(Box::new(BuiltinBinpack::new()) as Box<dyn ScoringPolicy>),
        _ => Err(PolicyFault::Refused {
            message: "the built-in has no settings".to_owned(),
        }),
    });
    assert!(report.passed(), "{report}");
}

#[test]
fn wrong_descriptions_are_caught_by_describe() {
    for wrong in [
        Wrong::BadName,
        Wrong::BadVersion,
        Wrong::BadSchema,
        Wrong::ChangingDescription,
    ] {
        caught(wrong, &[Law::Describe]);
    }
}

#[test]
fn wrong_handling_of_settings_is_caught_by_settings() {
    for wrong in [
        Wrong::AcceptsAnySettings,
        Wrong::IgnoresUnknownKeys,
        Wrong::RefusesDefaults,
        Wrong::TrapsOnBadSettings,
    ] {
        caught(wrong, &[Law::Settings]);
    }
}

#[test]
fn illegal_answers_are_caught_by_answer() {
    for wrong in [
        Wrong::OneScoreTooFew,
        Wrong::AboveRange,
        Wrong::BelowRange,
        Wrong::TrapsOnNoRows,
        Wrong::DividesByZeroCapacity,
        Wrong::OutOfFuel,
    ] {
        caught(wrong, &[Law::Answer]);
    }
}

#[test]
fn what_differs_between_instances_is_caught_by_determinism() {
    for wrong in [Wrong::Random, Wrong::FuelFromAddress] {
        let report = run(wrong);
        let first = report.failures().next().map(|c| c.law);
        assert_eq!(first, Some(Law::Determinism), "{report}");
    }
}

#[test]
fn what_is_remembered_between_calls_is_caught_by_statelessness() {
    for wrong in [
        Wrong::CountsCalls,
        Wrong::RemembersBestRow,
        Wrong::RemembersPlacement,
        Wrong::RemembersExplain,
    ] {
        let report = run(wrong);
        let (_, failed, _) = report.counts(Law::Statelessness);
        assert!(failed > 0, "{wrong:?}\n{report}");
        let others = [Law::Answer, Law::Determinism, Law::BatchSplit];
        for law in others {
            assert_eq!(report.counts(law).1, 0, "{wrong:?} {law}\n{report}");
        }
    }
}

#[test]
fn what_depends_on_the_other_rows_is_caught_by_batch_split() {
    caught(Wrong::DependsOnBatchSize, &[Law::BatchSplit]);
    caught(Wrong::Normalises, &[Law::BatchSplit]);
}

#[test]
fn what_depends_on_the_order_is_caught_by_row_permutation() {
    for (wrong, also) in [
        (Wrong::DependsOnOrder, Law::BatchSplit),
        (Wrong::TieByPosition, Law::EqualRows),
    ] {
        let report = run(wrong);
        assert!(report.counts(Law::RowPermutation).1 > 0, "{report}");
        assert!(report.counts(also).1 > 0, "{wrong:?} {also}\n{report}");
    }
}

#[test]
fn what_is_kept_of_a_context_is_caught_by_context_replay() {
    for wrong in [Wrong::KeepsFirstContext, Wrong::AddsContexts] {
        caught(wrong, &[Law::ContextReplay]);
    }
}

#[test]
fn illegal_devices_are_caught_by_place() {
    for wrong in [
        Wrong::TooFewDevices,
        Wrong::SameDeviceTwice,
        Wrong::UnhealthyDevice,
        Wrong::BusyDevice,
        Wrong::DeviceBeyondSlots,
    ] {
        caught(wrong, &[Law::Place]);
    }
}

#[test]
fn explanations_that_do_not_add_up_are_caught_by_explain() {
    caught(Wrong::ExplainsOtherScore, &[Law::Explain]);
    caught(Wrong::ExplainsTooFew, &[Law::Explain]);
}

#[test]
fn a_policy_that_burns_its_budget_is_not_asked_to_the_end() {
    let report = run(Wrong::OutOfFuel);
    assert_eq!(report.counts(Law::Answer).1, 3, "{report}");
    let skipped = |v: &Verdict| matches!(v, Verdict::NotRun { .. });
    assert!(report.checks.iter().filter(|c| skipped(&c.verdict)).count() > 10);
}

#[test]
fn the_text_names_the_law_the_case_and_the_row() {
    let text = run(Wrong::DependsOnBatchSize).to_string();
    assert!(text.contains("batch-split      FAIL"), "{text}");
    assert!(
        text.contains("batch-split: mixed cluster, small: row "),
        "{text}"
    );
    assert!(text.contains("statelessness    ok"), "{text}");
}
