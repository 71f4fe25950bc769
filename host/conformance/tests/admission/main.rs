//! The kit against deliberately wrong admission policies: each is caught by the
//! law named for it, and by no other.

mod mutant;

use conformance::{Law, Report, Verdict, check_admission};
use engine::port::admission::AdmissionPolicy;
use mutant::{Mutant, Wrong};

fn run(wrong: Wrong) -> Report {
    check_admission(&mut |settings| {
        let mutant = Mutant::make(wrong, settings)?;
        Ok(Box::new(mutant) as Box<dyn AdmissionPolicy>)
    })
}

#[track_caller]
fn caught(wrong: Wrong, by: Law) {
    let report = run(wrong);
    let mut broken: Vec<Law> = report.failures().map(|c| c.law).collect();
    broken.sort_unstable();
    broken.dedup();
    assert_eq!(broken, [by], "{wrong:?}\n{report}");
    assert!(!report.passed());
}

/// Laws of this kind.
const LAWS: [Law; 14] = [
    Law::Describe,
    Law::Settings,
    Law::Answer,
    Law::Budget,
    Law::Determinism,
    Law::Statelessness,
    Law::Findings,
    Law::Patches,
    Law::Idempotence,
    Law::LabelOrder,
    Law::HeadOrder,
    Law::Rulings,
    Law::Monotonicity,
    Law::Expectation,
];

#[test]
fn a_sound_policy_passes_and_so_does_one_without_opinions() {
    for wrong in [Wrong::Nothing, Wrong::Abstains] {
        let report = run(wrong);
        assert!(report.passed(), "{wrong:?}\n{report}");
        for law in Law::ALL {
            let (passed, _, not_run) = report.counts(law);
            assert_eq!(passed > 0, LAWS.contains(&law), "{law}\n{report}");
            assert_eq!(not_run, 0, "{law}\n{report}");
        }
    }
}

#[test]
fn wrong_introductions_are_caught() {
    caught(Wrong::ReadsColumns, Law::Describe);
    caught(Wrong::AcceptsAnySettings, Law::Settings);
}

#[test]
fn answers_of_another_form_are_caught_by_answer() {
    for wrong in [
        Wrong::OneKeyTooFew,
        Wrong::OneRulingTooMany,
        Wrong::KeysTooLong,
        Wrong::DeniesWithoutFinding,
        Wrong::TrapsOnNoHeads,
        Wrong::TrapsOnNoRoles,
    ] {
        caught(wrong, Law::Answer);
    }
}

#[test]
fn what_is_too_slow_at_full_size_is_caught_by_budget() {
    caught(Wrong::OutOfFuelAtFullSize, Law::Budget);
}

#[test]
fn what_differs_between_instances_is_caught_by_determinism() {
    for wrong in [Wrong::RandomKeys, Wrong::FuelFromAddress] {
        let report = run(wrong);
        assert!(report.counts(Law::Determinism).1 > 0, "{report}");
        assert_eq!(report.counts(Law::Answer).1, 0, "{report}");
    }
}

#[test]
fn what_is_remembered_between_calls_is_caught_by_statelessness() {
    for wrong in [
        Wrong::CountsReviews,
        Wrong::MutatesByLastVerdict,
        Wrong::OrdersByLastRulings,
    ] {
        caught(wrong, Law::Statelessness);
    }
}

#[test]
fn findings_that_say_too_little_are_caught_by_findings() {
    for wrong in [
        Wrong::FindsWithoutCode,
        Wrong::FindsWithoutMessage,
        Wrong::FindsInNoField,
        Wrong::RejectsWithoutCode,
    ] {
        caught(wrong, Law::Findings);
    }
}

#[test]
fn patches_that_cannot_be_applied_are_caught_by_patches() {
    for wrong in [
        Wrong::PatchesId,
        Wrong::PatchesUnknownRole,
        Wrong::PatchesToNonsense,
        Wrong::GivesNoReason,
    ] {
        caught(wrong, Law::Patches);
    }
}

#[test]
fn patches_that_never_end_are_caught_by_idempotence() {
    for wrong in [
        Wrong::AppendsToLabel,
        Wrong::AddsToPriority,
        Wrong::TakesTurns,
    ] {
        caught(wrong, Law::Idempotence);
    }
}

#[test]
fn what_depends_on_the_order_of_labels_is_caught_by_label_order() {
    caught(Wrong::JudgesFirstLabel, Law::LabelOrder);
    caught(Wrong::CopiesLastLabel, Law::LabelOrder);
}

#[test]
fn what_depends_on_the_place_of_a_head_is_caught_by_head_order() {
    caught(Wrong::KeysByPosition, Law::HeadOrder);
    caught(Wrong::BreaksTiesByPosition, Law::HeadOrder);
}

#[test]
fn rulings_about_what_is_not_there_are_caught_by_rulings() {
    for wrong in [
        Wrong::ShortAtNoNode,
        Wrong::ShortOfNonsense,
        Wrong::ShortByNothing,
        Wrong::AdmitsTooMany,
        Wrong::AdmitsTooFew,
        Wrong::AdmitsOneOfTwoRoles,
    ] {
        caught(wrong, Law::Rulings);
    }
}

#[test]
fn admissions_that_no_quota_pays_are_caught_by_expectation() {
    caught(Wrong::AdmitsAll, Law::Expectation);
    caught(Wrong::BorrowsWhatIsLent, Law::Expectation);
}

#[test]
fn waiting_because_there_is_more_is_caught_by_monotonicity() {
    caught(Wrong::WaitsWhenRich, Law::Monotonicity);
}

#[test]
fn a_policy_without_fuel_is_not_said_to_keep_its_budget() {
    struct Free(Mutant);
    use engine::port::admission as port;
    use engine::port::{Cost, Description};
    use model::PolicyFault;
    let free = Cost::default();
    impl AdmissionPolicy for Free {
        fn description(&self) -> &Description {
            self.0.description()
        }
        fn validate(&mut self, r: &port::Review) -> Result<(port::Validation, Cost), PolicyFault> {
            self.0.validate(r).map(|(said, _)| (said, Cost::default()))
        }
        fn mutate(&mut self, r: &port::Review) -> Result<(Vec<port::Patch>, Cost), PolicyFault> {
            self.0.mutate(r).map(|(said, _)| (said, Cost::default()))
        }
        fn order(&mut self, c: &port::Cycle) -> Result<(Vec<port::SortKey>, Cost), PolicyFault> {
            self.0.order(c).map(|(said, _)| (said, Cost::default()))
        }
        fn admit(&mut self, c: &port::Cycle) -> Result<(Vec<port::Ruling>, Cost), PolicyFault> {
            self.0.admit(c).map(|(said, _)| (said, Cost::default()))
        }
    }
    let report = check_admission(&mut |settings| {
        let mutant = Mutant::make(Wrong::Nothing, settings)?;
        Ok(Box::new(Free(mutant)) as Box<dyn AdmissionPolicy>)
    });
    assert!(report.passed(), "{report}");
    assert_eq!(report.fuel_max, free.fuel);
    let (passed, failed, not_run) = report.counts(Law::Budget);
    assert!(passed == 0 && failed == 0 && not_run > 0, "{report}");
    let budget = report.checks.iter().find(|c| c.law == Law::Budget);
    assert!(matches!(
        budget.map(|c| &c.verdict),
        Some(Verdict::NotRun { .. })
    ));
}
