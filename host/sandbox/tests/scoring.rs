//! A well-behaved policy through the whole way, and what the port promises.

mod support;

use std::sync::Arc;

use engine::port::{Context, PodRow, Rows, ScoringPolicy};
use model::{PolicyFault, PolicyKind};
use sandbox::{LogLevel, StartError};
use support::*;

#[test]
fn a_component_compiled_in_the_child_scores_rows_through_the_port() {
    let prepared = prepare(&ScoringGuest::default().component()).unwrap();
    assert_eq!(prepared.kind(), PolicyKind::Scoring);
    assert_eq!(prepared.id().to_string(), "test-guest@1.2.3");
    assert!(prepared.digest().starts_with("sha256:") && prepared.digest().len() == 71);
    let columns = &prepared.description().columns;
    assert_eq!(
        columns.iter().map(|c| c.name()).collect::<Vec<_>>(),
        ["cpu-free", "gpu.milli-free"]
    );

    let mut policy = prepared.scoring("{}", unhurried()).unwrap();
    let mut out = vec![7];
    let first = policy
        .score(&pod(), rows(&[5, 0, 100_000]), &mut out)
        .unwrap();
    assert_eq!(out, [7, 5, 0, 100_000], "appended");
    assert!(first.fuel > 0);
    let again = policy
        .score(&pod(), rows(&[5, 0, 100_000]), &mut out)
        .unwrap();
    assert_eq!(again, first, "the same call burns the same fuel");
    let empty = policy.score(&pod(), rows(&[]), &mut out).unwrap();
    assert!(empty.fuel < first.fuel);
}

#[test]
fn any_split_of_a_pass_gives_the_same_scores() {
    // Two slots: the answer of a row is its cpu-free plus its second device.
    let guest = ScoringGuest::score(score_each(
        "(i32.add
            (i32.load (i32.add (local.get $data) (i32.mul (local.get $i) (i32.const 4))))
            (i32.load (i32.add (local.get $data) (i32.mul (i32.const 4)
                (i32.add (local.get $i) (i32.mul (local.get $count) (i32.const 2)))))))",
    ));
    let count = 10_000u32;
    let mut data: Vec<i32> = (0..count as i32).collect();
    data.extend((0..count as i32).map(|_| -1));
    data.extend((0..count as i32).map(|r| 50_000 - r));
    let all = Rows {
        count,
        slots: 2,
        data: &data,
    };
    let ask = |chunk_rows| {
        let mut out = Vec::new();
        let limits = sandbox::RunLimits {
            chunk_rows,
            ..unhurried()
        };
        policy(&guest, limits).score(&pod(), all, &mut out).unwrap();
        out
    };
    let whole = ask(count);
    assert_eq!(whole, vec![50_000; count as usize]);
    for chunk in [1_024, 333, 9_999] {
        assert_eq!(ask(chunk), whole, "in chunks of {chunk}");
    }
}

#[test]
fn chunks_finished_before_a_fault_are_kept() {
    // Traps on the row whose value is 99999.
    let guest = ScoringGuest::score(score_each(&format!(
        "(if (result i32) (i32.eq {FIRST_COLUMN} (i32.const 99999))
            (then unreachable) (else {FIRST_COLUMN}))"
    )));
    let limits = sandbox::RunLimits {
        chunk_rows: 100,
        ..unhurried()
    };
    let mut policy = policy(&guest, limits);
    let mut values: Vec<i32> = (0..1_000).collect();
    values[250] = 99_999;
    let mut out = Vec::new();
    let fault = policy.score(&pod(), rows(&values), &mut out).unwrap_err();
    assert!(matches!(fault, PolicyFault::Trap { .. }), "{fault}");
    assert_eq!(out, values[..200]);
    // A fresh instance answers the next question.
    out.clear();
    policy.score(&pod(), rows(&[1, 2]), &mut out).unwrap();
    assert_eq!(out, [1, 2]);
}

#[test]
fn devices_are_checked_before_anyone_binds_them() {
    let wants = PodRow {
        gpu_count: 2,
        ..pod()
    };
    let row = Rows {
        count: 1,
        slots: 4,
        data: &[0, 1000, 1000, 1000, 1000],
    };
    let place = |slots: &[u32]| {
        let guest = ScoringGuest {
            place: answer_slots(slots),
            ..ScoringGuest::default()
        };
        let mut out = Vec::new();
        let answer = policy(&guest, unhurried()).place(&wants, row, &mut out);
        answer.map(|(placed, _)| (placed, out))
    };
    assert_eq!(place(&[3, 1]).unwrap(), (true, vec![3, 1]));
    for wrong in [&[1][..], &[1, 1], &[1, 4], &[0, 1, 2], &[]] {
        let fault = place(wrong).unwrap_err();
        assert!(
            matches!(fault, PolicyFault::BadAnswer { .. }),
            "{wrong:?}: {fault}"
        );
    }
    let mut out = Vec::new();
    let (placed, _) = policy(&ScoringGuest::default(), unhurried())
        .place(&wants, row, &mut out)
        .unwrap();
    assert!(!placed && out.is_empty(), "abstained");
}

#[test]
fn settings_and_context_are_given_again_to_an_instance_that_replaces_another() {
    // Scores only after configure and set-context, each counted once.
    let guest = ScoringGuest {
        fields: "(memory (export \"memory\") 2)
            (global $configured (mut i32) (i32.const 0))
            (global $context (mut i32) (i32.const 0))"
            .to_owned(),
        configure: format!(
            "(global.set $configured (i32.add (global.get $configured) (local.get $len))) {}",
            answer_ok()
        ),
        set_context: format!(
            "(global.set $context (i32.wrap_i64 (local.get 0))) {}",
            answer_ok()
        ),
        score: score_each(&format!(
            "(if (result i32) (i32.eq {FIRST_COLUMN} (i32.const 99999))
                (then unreachable)
                (else (i32.add (global.get $configured) (global.get $context))))"
        )),
        ..ScoringGuest::default()
    };
    let mut policy = policy(&guest, unhurried());
    let context = Context {
        version: 40,
        ..Context::default()
    };
    policy.set_context(&Arc::new(context)).unwrap();
    let ask = |policy: &mut dyn ScoringPolicy, value| {
        let mut out = Vec::new();
        policy.score(&pod(), rows(&[value]), &mut out).map(|_| out)
    };
    assert_eq!(ask(&mut policy, 0).unwrap(), [42]);
    assert!(ask(&mut policy, 99_999).is_err());
    assert_eq!(
        ask(&mut policy, 0).unwrap(),
        [42],
        "settings of 2 bytes, context 40"
    );
}

#[test]
fn refused_settings_say_why_and_give_no_policy() {
    let guest = ScoringGuest {
        fields:
            "(memory (export \"memory\") 2) (data (i32.const 3000) \"alpha must be below 5\\n\")"
                .to_owned(),
        configure: answer_error(3000, 22),
        ..ScoringGuest::default()
    };
    let prepared = prepare(&guest.component()).unwrap();
    let error = prepared.scoring("{}", unhurried()).err().unwrap();
    let StartError::Fault(PolicyFault::Refused { message }) = error else {
        panic!("{error}");
    };
    assert_eq!(message, "alpha must be below 5\\n");
}

const LOG: &str =
    "(import \"loadmaster:policy/log@0.1.0\" \"log\" (func $log (param i32 i32 i32)))";

#[test]
fn panic_text_reaches_the_fault_and_the_log() {
    let guest = ScoringGuest {
        imports: LOG.to_owned(),
        fields:
            "(memory (export \"memory\") 2) (data (i32.const 3000) \"panicked at \\1b[31mlib.rs\")"
                .to_owned(),
        score: "(call $log (i32.const 4) (i32.const 3000) (i32.const 23)) unreachable".to_owned(),
        ..ScoringGuest::default()
    };
    let prepared = prepare(&guest.component()).unwrap();
    let mut policy = prepared.scoring("{}", unhurried()).unwrap();
    let fault = policy
        .score(&pod(), rows(&[1]), &mut Vec::new())
        .unwrap_err();
    let message = "panicked at \\u{1b}[31mlib.rs".to_owned();
    assert_eq!(
        fault,
        PolicyFault::Trap {
            message: message.clone()
        }
    );
    let (records, dropped) = prepared.drain_log();
    assert_eq!((records.len(), dropped), (1, 0));
    assert_eq!(
        (records[0].level, &records[0].text),
        (LogLevel::Error, &message)
    );
}

#[test]
fn a_guest_that_only_logs_is_bounded_in_bytes_and_fuel() {
    let guest = ScoringGuest {
        imports: LOG.to_owned(),
        score: "(loop $for_ever
                (call $log (i32.const 2) (i32.const 4096) (i32.const 100000))
                (br $for_ever)) unreachable"
            .to_owned(),
        ..ScoringGuest::default()
    };
    let prepared = prepare(&guest.component()).unwrap();
    let mut policy = prepared.scoring("{}", unhurried()).unwrap();
    let fault = policy
        .score(&pod(), rows(&[1]), &mut Vec::new())
        .unwrap_err();
    assert!(matches!(fault, PolicyFault::OutOfFuel { .. }), "{fault}");
    let (records, dropped) = prepared.drain_log();
    let kept: usize = records.iter().map(|r| r.text.len()).sum();
    assert!(kept <= sandbox::limits::LOG_DECISION_BYTES_MAX, "{kept}");
    assert!(dropped > 1_000, "the rest is counted: {dropped}");
}

#[test]
fn explanations_are_chunked_and_must_add_up() {
    // One part a row: name and text at 3000, value = the row's cpu-free.
    let explain = |value: &str| {
        format!(
            "(local $list i32) (local $part i32) (local $i i32)
            (local.set $list (call $alloc (i32.mul (local.get $count) (i32.const 8))))
            (block $done (loop $next
                (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
                (local.set $part (call $alloc (i32.const 24)))
                (i32.store (local.get $part) (i32.const 3000))
                (i32.store offset=4 (local.get $part) (i32.const 4))
                (i64.store offset=8 (local.get $part) (i64.extend_i32_s {value}))
                (i32.store offset=16 (local.get $part) (i32.const 3000))
                (i32.store offset=20 (local.get $part) (i32.const 4))
                (i32.store (i32.add (local.get $list) (i32.mul (local.get $i) (i32.const 8)))
                    (local.get $part))
                (i32.store offset=4
                    (i32.add (local.get $list) (i32.mul (local.get $i) (i32.const 8)))
                    (i32.const 1))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next)))
            {}",
            answer_list("(local.get $list)", "(local.get $count)")
        )
    };
    let guest = |value: &str| ScoringGuest {
        fields: "(memory (export \"memory\") 2) (data (i32.const 3000) \"fits\")".to_owned(),
        explain: explain(value),
        ..ScoringGuest::default()
    };
    let values: Vec<i32> = (0..50).collect();
    let parts = policy(&guest(FIRST_COLUMN), unhurried())
        .explain(&pod(), rows(&values))
        .unwrap();
    assert_eq!(parts.len(), 50);
    assert_eq!(
        (parts[49][0].name.as_str(), parts[49][0].value),
        ("fits", 49)
    );

    let off = format!("(i32.add (i32.const 1) {FIRST_COLUMN})");
    let fault = policy(&guest(&off), unhurried())
        .explain(&pod(), rows(&values))
        .unwrap_err();
    let PolicyFault::BadAnswer { detail } = fault else {
        panic!("{fault}");
    };
    assert!(detail.contains("add up to 1, its score is 0"), "{detail}");
}
