//! The preemption kind: a whole cluster reaches it in one call, and what it
//! proposes is bounded, checked, and points at nothing that is not there.

mod support;

use engine::port::preemption::{PreemptionPolicy, Proposal};
use model::PolicyFault;
use sandbox::{RunLimits, limits};
use support::kinds::*;
use support::*;

fn with(propose: &str, limits: RunLimits) -> Box<dyn PreemptionPolicy> {
    prepare(&preemption(propose))
        .unwrap_or_else(|e| panic!("{e}"))
        .preemption("{}", limits)
        .unwrap_or_else(|e| panic!("{e}"))
}

fn ask(propose: &str, asked: &Asked) -> Result<Proposal, PolicyFault> {
    let said = with(propose, unhurried()).propose(&asked.at(NOW));
    said.map(|(said, _)| said)
}

/// Where these tests put lists: above what a small request takes.
const LIST: u32 = 64 << 10;

fn sums() -> String {
    add_up(128, 4, "i64.load32_s", 0)
        + &add_up(136, 4, "i64.load32_u", 1)
        + &add_up(168, 4, "i64.load32_s", 2)
        + &add_up(192, 8, "i64.load", 3)
        + &add_up(208, 8, "i64.load", 4)
        + &add_up(240, 1, "i64.load8_u", 5)
        + &add_up(248, 4, "i64.load32_u", 6)
        + &plan(&PlanWords {
            cost: (COST, 7),
            ..PlanWords::default()
        })
}

#[test]
fn five_thousand_rows_and_twenty_thousand_pods_arrive_whole() {
    let asked = Asked::new(5_000, 20_000);
    let mut policy = with(&sums(), unhurried());
    let columns = &policy.description().columns;
    assert_eq!(columns.len(), 2, "declared as for scoring");
    // The first call also grows the guest's memory.
    policy.propose(&asked.at(NOW)).unwrap();
    let (said, cost) = policy.propose(&asked.at(NOW)).unwrap();
    let Proposal::Plan(said) = said else {
        panic!("{said:?}");
    };
    let (rows, pods) = (5_000, 20_000);
    assert_eq!(
        said.cost,
        [
            3 * rows * 3,
            pods * (pods - 1) / 2,
            -5 * pods,
            pods << 33,
            pods * (pods - 1) / 2,
            3 * pods,
            30_000 * pods,
        ]
    );
    assert_eq!(said.hold, 60_000);
    assert_eq!(policy.propose(&asked.at(NOW)).unwrap().1, cost, "same fuel");
}

#[test]
fn what_misbehaves_is_named_replaced_and_told_the_context_again() {
    // The version of the context is the cost.
    let body = format!(
        "(i64.store (i32.const {COST}) (global.get $context)) {}",
        plan(&PlanWords {
            cost: (COST, 1),
            ..PlanWords::default()
        })
    );
    let mut policy = with(&body, unhurried());
    policy.set_context(&context(42)).unwrap();
    let asked = Asked::new(4, 8);
    let standard = RunLimits::STANDARD;
    for _ in 0..20 {
        for (now, expected) in [
            (
                TRAPS,
                PolicyFault::Trap {
                    message: "wasm trap: wasm `unreachable` instruction executed".to_owned(),
                },
            ),
            (
                LOOPS,
                PolicyFault::OutOfFuel {
                    limit: standard.fuel_for_plan(4, 2, 8),
                },
            ),
            (
                GROWS,
                PolicyFault::OutOfMemory {
                    limit_bytes: 16 << 20,
                },
            ),
        ] {
            assert_eq!(policy.propose(&asked.at(now)).unwrap_err(), expected);
            let (said, _) = policy.propose(&asked.at(NOW)).unwrap();
            let Proposal::Plan(said) = said else {
                panic!("{said:?}");
            };
            assert_eq!(said.cost, [42]);
        }
    }
}

#[test]
fn a_context_given_while_there_is_no_instance_reaches_the_next() {
    let body = format!(
        "(i64.store (i32.const {COST}) (global.get $context)) {}",
        plan(&PlanWords {
            cost: (COST, 1),
            ..PlanWords::default()
        })
    );
    let mut policy = with(&body, unhurried());
    let asked = Asked::new(1, 1);
    policy.propose(&asked.at(TRAPS)).unwrap_err();
    policy.set_context(&context(7)).unwrap();
    let (said, _) = policy.propose(&asked.at(NOW)).unwrap();
    assert!(matches!(said, Proposal::Plan(p) if p.cost == [7]));
}

#[test]
fn a_proposal_has_a_wall_guard_of_its_own() {
    let limits = RunLimits {
        fuel_plan_base: u64::MAX / 2,
        plan_wall_ms: 30,
        ..RunLimits::STANDARD
    };
    let mut policy = with(&abstains(), limits);
    let asked = Asked::new(1, 1);
    let fault = policy.propose(&asked.at(LOOPS)).unwrap_err();
    assert_eq!(fault, PolicyFault::WallTimeout { limit_ms: 30 });
    assert_eq!(policy.propose(&asked.at(NOW)).unwrap().0, Proposal::Abstain);
}

#[test]
fn a_plan_points_at_nothing_that_is_not_there() {
    let asked = Asked::new(4, 8);
    // Two slots at LIST + 1024; a placement on row 3, a move of pod 7, a victim.
    let prologue = |slots: [u32; 2], role: u32, row: u32| {
        words(LIST + 1_024, &slots)
            + &words(LIST, &[role, row, LIST + 1_024, 2])
            + &words(LIST + 64, &[7, row, LIST + 1_024, 2])
            + &words(LIST + 128, &[5, 30_000, ZEROS - 64, 4])
    };
    let whole = |domain| {
        plan(&PlanWords {
            domain,
            placements: (LIST, 1),
            moves: (LIST + 64, 1),
            victims: (LIST + 128, 1),
            ..PlanWords::default()
        })
    };
    let said = ask(&(prologue([1, 0], 0, 3) + &whole(0)), &asked).unwrap();
    let Proposal::Plan(said) = said else {
        panic!("{said:?}");
    };
    assert_eq!((said.victims[0].id, said.victims[0].grace), (5, 30_000));
    assert_eq!(said.victims[0].reason, "\\u{0}".repeat(4), "escaped");
    assert_eq!((said.moves[0].id, said.moves[0].row), (7, 3));
    assert_eq!(said.placements[0].slots, [1, 0]);

    for (what, body) in [
        ("domain", prologue([1, 0], 0, 3) + &whole(1)),
        ("role", prologue([1, 0], 1, 3) + &whole(0)),
        ("row", prologue([1, 0], 0, 4) + &whole(0)),
        ("slot", prologue([1, 2], 0, 3) + &whole(0)),
        ("one slot twice", prologue([1, 1], 0, 3) + &whole(0)),
    ] {
        let fault = ask(&body, &asked).unwrap_err();
        assert!(
            matches!(fault, PolicyFault::BadAnswer { .. }),
            "{what}: {fault}"
        );
    }
}

#[test]
fn a_plan_is_bounded() {
    let asked = Asked::new(4, 8);
    let none = |len| ask(&(GROW.to_owned() + &no_plan(len)), &asked);
    assert_eq!(none(4).unwrap(), Proposal::None("\\u{0}".repeat(4)));
    let reason = limits::REASON_BYTES_MAX as u32;
    let fault = none(reason + 1).unwrap_err();
    assert!(
        matches!(fault, PolicyFault::AnswerTooLarge { .. }),
        "{fault}"
    );
    // Zeros are victims without a reason, moves and placements without devices.
    let victims = limits::VICTIMS_MAX as u32;
    let gang = model::gang::GANG_PODS_MAX;
    let of = |victims, moves, placements, cost| {
        let body = GROW.to_owned()
            + &plan(&PlanWords {
                victims: (LIST, victims),
                moves: (LIST, moves),
                placements: (LIST, placements),
                cost: (LIST, cost),
                ..PlanWords::default()
            });
        ask(&body, &asked)
    };
    assert!(of(victims, victims, gang, 16).is_ok(), "the largest plan");
    for (victims, moves, placements, cost) in [
        (victims + 1, 0, 0, 0),
        (0, victims + 1, 0, 0),
        (0, 0, gang + 1, 0),
        (0, 0, 0, 17),
        (400_000, 0, 0, 0),
        (0, 0, 0, 900_000),
    ] {
        let fault = of(victims, moves, placements, cost).unwrap_err();
        assert!(
            matches!(fault, PolicyFault::AnswerTooLarge { .. }),
            "{victims} {moves} {placements} {cost}: {fault}"
        );
    }
    let nonsense = of(u32::MAX, 0, 0, 0).unwrap_err();
    assert!(
        matches!(nonsense, PolicyFault::BadAnswer { .. }),
        "{nonsense}"
    );
}

#[test]
fn a_policy_that_remembers_is_caught_at_the_same_question_every_time() {
    let counts = format!(
        "(i64.store (i32.const {COST})
            (i64.add (i64.const 1) (i64.load (i32.const {COST})))) {}",
        plan(&PlanWords {
            cost: (COST, 1),
            ..PlanWords::default()
        })
    );
    for _ in 0..2 {
        let limits = RunLimits {
            audit_every: 5,
            ..unhurried()
        };
        let mut policy = with(&counts, limits);
        let asked = Asked::new(2, 2);
        let faults: Vec<_> = (1..=10)
            .filter_map(|n| policy.propose(&asked.at(NOW)).err().map(|f| (n, f)))
            .collect();
        let said = |n: u32| format!("domain 0 with 0 victims, 0 moves, 0 placements, cost [{n}]");
        let divergence = PolicyFault::StatefulDivergence {
            fresh: said(1),
            reused: said(5),
        };
        assert_eq!(faults, [(5, divergence.clone()), (10, divergence)]);
    }
}
