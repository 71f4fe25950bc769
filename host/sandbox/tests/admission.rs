//! The admission kind: what it is asked reaches it, and what it says is bounded,
//! checked, and forgotten if it was said by an instance that remembers.

mod support;

use engine::port::admission::{AdmissionPolicy, Ruling, Verdict};
use model::PolicyFault;
use sandbox::{RunLimits, limits};
use support::kinds::*;
use support::*;

fn with(guest: &AdmissionGuest, limits: RunLimits) -> Box<dyn AdmissionPolicy> {
    prepare(&admission(guest))
        .unwrap_or_else(|e| panic!("{e}"))
        .admission("{}", limits)
        .unwrap_or_else(|e| panic!("{e}"))
}

fn start(guest: &AdmissionGuest) -> Box<dyn AdmissionPolicy> {
    with(guest, unhurried())
}

fn validating(body: String) -> Box<dyn AdmissionPolicy> {
    start(&AdmissionGuest {
        validate: body,
        ..AdmissionGuest::default()
    })
}

/// Where these tests put lists: zeros as long as nothing is put there.
const LIST: u32 = 16 << 10;

#[test]
fn each_question_is_answered_and_the_same_question_burns_the_same_fuel() {
    let mut policy = start(&AdmissionGuest::default());
    assert_eq!(policy.description().name, "test-guest");
    let (said, cost) = policy.validate(&review(NOW)).unwrap();
    assert_eq!((said.verdict, said.warnings.len()), (Verdict::Allow, 0));
    assert!(cost.fuel > 0);
    assert_eq!(policy.validate(&review(NOW)).unwrap().1, cost);
    assert_eq!(policy.mutate(&review(NOW)).unwrap().0, []);
    let five = cycle(NOW, 5);
    assert_eq!(policy.order(&five).unwrap().0, vec![Vec::<i64>::new(); 5]);
    assert_eq!(policy.admit(&five).unwrap().0, vec![Ruling::Admit; 5]);
}

#[test]
fn what_misbehaves_is_named_replaced_and_answers_the_next_question() {
    let mut policy = start(&AdmissionGuest::default());
    let standard = RunLimits::STANDARD;
    // Two jobs of one role and one label each, and one group of the caller.
    let of_review = PolicyFault::OutOfFuel {
        limit: standard.fuel_for_review(2, 3),
    };
    // Two quota nodes with two lines each.
    let of_cycle = PolicyFault::OutOfFuel {
        limit: standard.fuel_for_cycle(3, 6),
    };
    let memory = PolicyFault::OutOfMemory {
        limit_bytes: 16 << 20,
    };
    let trap = PolicyFault::Trap {
        message: "wasm trap: wasm `unreachable` instruction executed".to_owned(),
    };
    for _ in 0..20 {
        for (now, of_review, of_cycle) in [
            (TRAPS, &trap, &trap),
            (LOOPS, &of_review, &of_cycle),
            (GROWS, &memory, &memory),
        ] {
            assert_eq!(&policy.validate(&review(now)).unwrap_err(), of_review);
            policy.validate(&review(NOW)).unwrap();
            assert_eq!(&policy.mutate(&review(now)).unwrap_err(), of_review);
            assert_eq!(&policy.order(&cycle(now, 3)).unwrap_err(), of_cycle);
            assert_eq!(&policy.admit(&cycle(now, 3)).unwrap_err(), of_cycle);
            policy.admit(&cycle(NOW, 3)).unwrap();
        }
    }
}

#[test]
fn with_fuel_to_burn_the_wall_guard_ends_it() {
    let limits = RunLimits {
        fuel_base: u64::MAX / 2,
        call_wall_ms: 20,
        ..RunLimits::STANDARD
    };
    let mut policy = with(&AdmissionGuest::default(), limits);
    let fault = policy.validate(&review(LOOPS)).unwrap_err();
    assert_eq!(fault, PolicyFault::WallTimeout { limit_ms: 20 });
    policy.validate(&review(NOW)).unwrap();
}

#[test]
fn a_denial_has_reasons_that_are_bounded_and_escaped() {
    let denies = |count: u32, finding: [u32; 6]| {
        let repeated = finding.repeat(count as usize);
        validating(GROW.to_owned() + &words(LIST, &repeated) + &verdict(1, count, count, LIST))
            .validate(&review(NOW))
            .map(|(said, _)| said)
    };
    let said = denies(2, finding(4, 3, 8)).unwrap();
    let Verdict::Deny(findings) = &said.verdict else {
        panic!("{said:?}");
    };
    assert_eq!((findings.len(), said.warnings.len()), (2, 2));
    assert_eq!(findings[1].code, "\\u{0}".repeat(4), "escaped");
    assert_eq!(findings[1].field, "\\u{0}".repeat(3));

    let fault = denies(0, finding(1, 1, 1)).unwrap_err();
    assert!(matches!(fault, PolicyFault::BadAnswer { .. }), "{fault}");
    let fault = denies(1, finding(0, 1, 1)).unwrap_err();
    assert!(matches!(fault, PolicyFault::BadAnswer { .. }), "{fault}");
    let max = |bytes: usize| bytes as u32;
    for (count, texts) in [
        (max(limits::FINDINGS_MAX) + 1, finding(1, 1, 1)),
        (1, finding(max(limits::CODE_BYTES_MAX) + 1, 1, 1)),
        (1, finding(1, max(limits::FIELD_BYTES_MAX) + 1, 1)),
        (1, finding(1, 1, max(limits::FINDING_BYTES_MAX) + 1)),
        // One text of 8 MiB, or one of 1 MiB many times: more than is copied.
        (1, finding(1, 1, 8 << 20)),
        (60, finding(1, 1, 1 << 20)),
    ] {
        let fault = denies(count, texts).unwrap_err();
        assert!(
            matches!(fault, PolicyFault::AnswerTooLarge { .. }),
            "{count} of {texts:?}: {fault}"
        );
    }
}

#[test]
fn an_answer_that_says_it_is_huge_is_not_copied() {
    for count in ["(i32.const 900000)", "(i32.const -1)"] {
        let body = || format!("{GROW} {}", listing(LIST, count));
        let mut policy = start(&AdmissionGuest {
            mutate: body(),
            order: body(),
            admit: body(),
            ..AdmissionGuest::default()
        });
        for fault in [
            policy.mutate(&review(NOW)).unwrap_err(),
            policy.order(&cycle(NOW, 3)).unwrap_err(),
            policy.admit(&cycle(NOW, 3)).unwrap_err(),
        ] {
            assert!(
                matches!(
                    fault,
                    PolicyFault::AnswerTooLarge { .. } | PolicyFault::BadAnswer { .. }
                ),
                "{fault}"
            );
        }
        policy.validate(&review(NOW)).unwrap();
    }
}

#[test]
fn patches_are_bounded() {
    // Field, change (2 removes, 0 sets a text), reason.
    let patch = |field: u32, change: u32, value: u32, reason: u32| {
        [ZEROS, field, change, ZEROS, value, ZEROS, reason]
    };
    let mutating = |patches: &[[u32; 7]]| {
        let mut policy = start(&AdmissionGuest {
            mutate: GROW.to_owned()
                + &words(LIST, &patches.concat())
                + &listing(LIST, &format!("(i32.const {})", patches.len())),
            ..AdmissionGuest::default()
        });
        policy.mutate(&review(NOW)).map(|(said, _)| said)
    };
    assert_eq!(mutating(&[patch(3, 2, 0, 3); 2]).unwrap().len(), 2);
    let max = |bytes: usize| bytes as u32;
    for wrong in [
        &[patch(max(limits::FIELD_BYTES_MAX) + 1, 2, 0, 3)][..],
        &[patch(3, 0, max(limits::PATCH_VALUE_BYTES_MAX) + 1, 3)],
        &[patch(3, 2, 0, max(limits::REASON_BYTES_MAX) + 1)],
        &[patch(3, 2, 0, 3); limits::PATCHES_MAX + 1],
    ] {
        let fault = mutating(wrong).unwrap_err();
        assert!(
            matches!(fault, PolicyFault::AnswerTooLarge { .. }),
            "{fault}"
        );
    }
}

#[test]
fn there_is_one_key_and_one_ruling_a_head() {
    let ordering = |body: String| {
        let mut policy = start(&AdmissionGuest {
            order: body,
            ..AdmissionGuest::default()
        });
        policy.order(&cycle(NOW, 2)).map(|(keys, _)| keys)
    };
    // Two keys of one number each, at LIST + 64.
    let keys = |len: u32| words(LIST, &[LIST + 64, len, LIST + 64, len]) + &words(LIST + 64, &[7]);
    let two = listing(LIST, "(i32.const 2)");
    assert_eq!(ordering(keys(1) + &two).unwrap(), [[7], [7]]);
    for wrong in ["(i32.const 1)", "(i32.const 3)"] {
        let fault = ordering(listing(LIST, wrong)).unwrap_err();
        assert!(matches!(fault, PolicyFault::BadAnswer { .. }), "{fault}");
    }
    let long = keys(limits::KEY_NUMBERS_MAX as u32 + 1);
    let fault = ordering(long + &two).unwrap_err();
    assert!(
        matches!(fault, PolicyFault::AnswerTooLarge { .. }),
        "{fault}"
    );
}

#[test]
fn a_ruling_names_a_quota_and_an_amount_that_there_are() {
    // One head; case in the first byte, payload from the second word.
    let ruling = |case: u32, payload: &[u32], rest: &str| {
        let mut all = vec![case];
        all.extend_from_slice(payload);
        let body = format!(
            "{} {rest} {}",
            words(LIST, &all),
            listing(LIST, "(i32.const 1)")
        );
        let mut policy = start(&AdmissionGuest {
            admit: body,
            ..AdmissionGuest::default()
        });
        policy
            .admit(&cycle(NOW, 1))
            .map(|(mut said, _)| said.remove(0))
    };
    // A shortage: node, resource, (padding,) amount of 64 bits.
    let shortage = |node: u32, resource: &str, by: i64| {
        let text: String = (resource.bytes().enumerate())
            .map(|(i, b)| {
                let at = LIST + 512 + i as u32;
                format!("(i32.store8 (i32.const {at}) (i32.const {b}))")
            })
            .collect();
        words(
            LIST + 256,
            &[
                node,
                LIST + 512,
                resource.len() as u32,
                0,
                by as u32,
                (by >> 32) as u32,
            ],
        ) + &text
    };
    let waits = |node, resource, by| ruling(2, &[LIST + 256, 1], &shortage(node, resource, by));
    let Ruling::Wait(short) = waits(1, "gpu", 5).unwrap() else {
        panic!("not waiting");
    };
    assert_eq!((short[0].node, short[0].by), (1, 5));
    assert_eq!(short[0].resource, "gpu");
    for (node, resource, by) in [(2, "gpu", 5), (1, "gold", 5), (1, "gpu", 0), (1, "gpu", -1)] {
        let fault = waits(node, resource, by).unwrap_err();
        assert!(
            matches!(fault, PolicyFault::BadAnswer { .. }),
            "{node} {resource} {by}: {fault}"
        );
    }
    assert_eq!(ruling(0, &[], "").unwrap(), Ruling::Admit);
    let partial = ruling(1, &[LIST + 256, 2], &words(LIST + 256, &[3, 4])).unwrap();
    assert_eq!(partial, Ruling::AdmitPartial(vec![3, 4]));
    assert!(
        ruling(1, &[LIST + 256, 17], "").is_err(),
        "more roles than a job has"
    );
    assert_eq!(ruling(5, &[], "").unwrap(), Ruling::Abstain);
    let fault = ruling(6, &[], "").unwrap_err();
    assert!(matches!(fault, PolicyFault::BadAnswer { .. }), "{fault}");
}

#[test]
fn a_policy_that_remembers_is_caught_at_the_same_question_every_time() {
    // Denies from its second question on.
    let remembers = "(i32.store (i32.const 3500)
        (i32.add (i32.const 1) (i32.load (i32.const 3500))))
        (i32.store8 (i32.const 16384) (i32.const 97))";
    let point = words(LIST + 64, &[LIST, 1, LIST, 1, LIST, 1]);
    let body = format!(
        "{remembers} {point} {}",
        verdict(0, 1, 0, LIST + 64).replacen(
            "(i32.const 0)",
            "(i32.gt_u (i32.load (i32.const 3500)) (i32.const 1))",
            1
        )
    );
    for _ in 0..2 {
        let limits = RunLimits {
            audit_every: 10,
            ..unhurried()
        };
        let guest = AdmissionGuest {
            validate: body.clone(),
            ..AdmissionGuest::default()
        };
        let mut policy = with(&guest, limits);
        let faults: Vec<_> = (1..=20)
            .filter_map(|n| policy.validate(&review(NOW)).err().map(|f| (n, f)))
            .collect();
        let divergence = PolicyFault::StatefulDivergence {
            fresh: "allows, 0 warnings".to_owned(),
            reused: "denies for a, 0 warnings".to_owned(),
        };
        assert_eq!(faults, [(10, divergence.clone()), (20, divergence)]);
    }
}
