//! The kit against deliberately wrong preemption policies: each is caught by the
//! law named for it, and by no other.

mod mutant;
mod state;

use conformance::{Law, Report, check_preemption};
use engine::port::preemption::PreemptionPolicy;
use mutant::{Mutant, Wrong};

fn run(wrong: Wrong) -> Report {
    check_preemption(&mut |settings| {
        let mutant = Mutant::make(wrong, settings)?;
        Ok(Box::new(mutant) as Box<dyn PreemptionPolicy>)
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

/// Laws of this kind: of any answer, and of plans.
const LAWS: [Law; 10] = [
    Law::Describe,
    Law::Settings,
    Law::Answer,
    Law::Budget,
    Law::Determinism,
    Law::Statelessness,
    Law::ContextReplay,
    Law::RowPermutation,
    Law::RunningOrder,
    Law::Expectation,
];
const OF_PLANS: [Law; 8] = [
    Law::Victims,
    Law::Groups,
    Law::Disruptions,
    Law::Placements,
    Law::DeviceHealth,
    Law::Room,
    Law::MinimalVictims,
    Law::Nomination,
];

#[test]
fn a_sound_policy_passes() {
    let report = run(Wrong::Nothing);
    assert!(report.passed(), "{report}");
    for law in Law::ALL {
        let of_kind = LAWS.contains(&law) || OF_PLANS.contains(&law);
        assert_eq!(report.counts(law).0 > 0, of_kind, "{law}\n{report}");
    }
}

#[test]
fn to_abstain_is_fine_everywhere() {
    let report = run(Wrong::Abstains);
    assert!(report.passed(), "{report}");
    for law in Law::ALL {
        let (passed, ..) = report.counts(law);
        assert_eq!(passed > 0, LAWS.contains(&law), "{law}\n{report}");
    }
}

#[test]
fn wrong_introductions_are_caught() {
    caught(Wrong::BadName, Law::Describe);
    caught(Wrong::AcceptsAnySettings, Law::Settings);
}

#[test]
fn traps_are_caught_by_answer_and_lack_of_fuel_by_budget() {
    caught(Wrong::TrapsOnNoRows, Law::Answer);
    caught(Wrong::OutOfFuelAtFullSize, Law::Budget);
}

#[test]
fn what_differs_between_instances_is_caught_by_determinism() {
    for wrong in [Wrong::RandomHold, Wrong::FuelFromAddress] {
        caught(wrong, Law::Determinism);
    }
}

#[test]
fn what_is_remembered_is_caught_by_statelessness_or_context_replay() {
    let report = run(Wrong::CountsCalls);
    assert!(report.counts(Law::Statelessness).1 > 0, "{report}");
    assert_eq!(report.counts(Law::Determinism).1, 0, "{report}");
    caught(Wrong::KeepsNewestContext, Law::ContextReplay);
}

#[test]
fn victims_that_may_not_be_taken_are_caught_by_victims() {
    for wrong in [
        Wrong::TakesProtected,
        Wrong::TakesStrangers,
        Wrong::TakesTwice,
    ] {
        caught(wrong, Law::Victims);
    }
}

#[test]
fn parts_of_groups_are_caught_by_groups() {
    caught(Wrong::SplitsGroups, Law::Groups);
}

#[test]
fn too_many_disruptions_are_caught_by_disruptions() {
    caught(Wrong::OverdrawsBudgets, Law::Disruptions);
}

#[test]
fn wrong_placements_are_caught_by_placements() {
    for wrong in [
        Wrong::PlacesOutside,
        Wrong::PlacesTooFew,
        Wrong::PlacesTooMany,
        Wrong::PlacesOnOneDevice,
        Wrong::PlacesOnNoRow,
        Wrong::IgnoresModels,
    ] {
        caught(wrong, Law::Placements);
    }
}

#[test]
fn broken_devices_are_caught_by_device_health() {
    caught(Wrong::UsesBrokenDevices, Law::DeviceHealth);
}

#[test]
fn what_does_not_fit_is_caught_by_room() {
    caught(Wrong::OverbooksCpu, Law::Room);
    caught(Wrong::OverbooksDevices, Law::Room);
}

#[test]
fn needless_victims_are_caught_by_minimal_victims() {
    caught(Wrong::TakesEverybody, Law::MinimalVictims);
}

#[test]
fn what_depends_on_order_is_caught_by_the_law_of_that_order() {
    caught(Wrong::FirstRowWins, Law::RowPermutation);
    caught(Wrong::FirstVictimStays, Law::RunningOrder);
}

#[test]
fn a_forgotten_nomination_is_caught_by_nomination() {
    caught(Wrong::ForgetsNomination, Law::Nomination);
}

#[test]
fn not_seeing_free_room_is_caught_by_expectation() {
    caught(Wrong::NeverPlaces, Law::Expectation);
}
