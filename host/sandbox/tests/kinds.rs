//! The autoscaling kind, and that one kind does not pass for another.

mod support;

use engine::port::{SCALE_STATE_BYTES_MAX, ScaleAnswer, ScaleRequest};
use model::event::Mode;
use model::scaling::ScalingSpec;
use model::{PolicyFault, PolicyKind};
use sandbox::{DescriptionError, PrepareError};
use support::*;

#[test]
fn a_policy_of_one_kind_does_not_answer_for_another() {
    let scoring = prepare(&ScoringGuest::default().component()).unwrap();
    let error = scoring.autoscaling("{}", unhurried()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "a policy of kind scoring cannot answer for autoscaling"
    );
    let admission = prepare(&kinds::admission(&kinds::AdmissionGuest::default())).unwrap();
    assert_eq!(admission.kind(), PolicyKind::Admission);
    let error = admission.preemption("{}", unhurried()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "a policy of kind admission cannot answer for preemption"
    );
}

/// Reads the request in memory at `$at`: `reactive` at 96, `state` at 100.
const REACTIVE: &str = "(i32.load offset=96 (local.get $at))";
const STATE: &str = "(i32.load offset=100 (local.get $at))";
const STATE_LEN: &str = "(i32.load offset=104 (local.get $at))";

fn scaler(scale: &str) -> Vec<u8> {
    let wat = other_kind(
        "autoscaling",
        &format!(
            "(func (export \"loadmaster:policy/autoscaling@0.1.0#scale\") (param $at i32) (result i32)
                {scale})"
        ),
    );
    component(&wat, "autoscaling-policy", unchanged)
}

/// An answer at 64: desired, no parts, `points` forecast points at 3000, state.
fn answering(desired: &str, points: u32, state: &str, len: &str) -> String {
    format!(
        "(i32.store8 (i32.const 64) (i32.const 1))
        (i32.store offset=4 (i32.const 64) {desired})
        (i32.store offset=8 (i32.const 64) (i32.const 0))
        (i32.store offset=12 (i32.const 64) (i32.const 0))
        (i32.store offset=16 (i32.const 64) (i32.const 3000))
        (i32.store offset=20 (i32.const 64) (i32.const {points}))
        (i32.store offset=24 (i32.const 64) {state})
        (i32.store offset=28 (i32.const 64) {len})
        (i32.const 64)"
    )
}

fn scale(component: &[u8], state: &[u8]) -> Result<Option<ScaleAnswer>, PolicyFault> {
    let workload = ScalingSpec {
        workload: "web".to_owned(),
        min: 1,
        max: 100,
        capacity: 50.0,
        target_utilization: 700,
        start_up_ms: 60_000,
        step_ms: 60_000,
    };
    let request = ScaleRequest {
        now_ms: 1_000,
        mode: Mode::Normal,
        workload: &workload,
        ready: 3,
        starting: 0,
        series_start_ms: 0,
        series_step_ms: 60_000,
        series: &[1.0, f64::NAN, 3.0],
        calendar: &[],
        reactive: 7,
        state,
    };
    let prepared = prepare(component).unwrap_or_else(|e| panic!("{e}"));
    let limits = sandbox::RunLimits {
        audit_every: 1,
        ..unhurried()
    };
    let mut policy = prepared.autoscaling("{}", limits).unwrap();
    policy.scale(&request).map(|(answer, _)| answer)
}

#[test]
fn an_autoscaling_policy_gets_its_state_back_and_answers() {
    let plus_state = format!("(i32.add {REACTIVE} {STATE_LEN})");
    let guest = scaler(&answering(&plus_state, 0, STATE, STATE_LEN));
    let answer = scale(&guest, b"abc").unwrap().unwrap();
    assert_eq!((answer.desired, answer.state.as_slice()), (10, &b"abc"[..]));
    let abstains = scaler("(i32.store8 (i32.const 64) (i32.const 0)) (i32.const 64)");
    assert_eq!(scale(&abstains, b"").unwrap(), None);
}

#[test]
fn its_answers_are_bounded_and_checked() {
    let big = SCALE_STATE_BYTES_MAX + 1;
    let grow = "(drop (memory.grow (i32.const 8)))";
    let state = answering(
        "(i32.const 1)",
        0,
        "(i32.const 0)",
        &format!("(i32.const {big})"),
    );
    let fault = scale(&scaler(&format!("{grow} {state}")), b"").unwrap_err();
    assert!(
        matches!(fault, PolicyFault::AnswerTooLarge { .. }),
        "{fault}"
    );

    let points = answering("(i32.const 1)", 2_049, "(i32.const 0)", "(i32.const 0)");
    let fault = scale(&scaler(&points), b"").unwrap_err();
    assert!(
        matches!(fault, PolicyFault::AnswerTooLarge { .. }),
        "{fault}"
    );

    // One point at 3000: time, mean, high; the mean is not a number.
    let nan = format!(
        "(f64.store offset=8 (i32.const 3000) (f64.const nan)) {}",
        answering("(i32.const 1)", 1, "(i32.const 0)", "(i32.const 0)")
    );
    let fault = scale(&scaler(&nan), b"").unwrap_err();
    assert!(matches!(fault, PolicyFault::BadAnswer { .. }), "{fault}");
}

#[test]
fn an_autoscaling_policy_that_remembers_outside_its_state_is_caught() {
    let counts = format!(
        "(i32.store (i32.const 3500) (i32.add (i32.const 1) (i32.load (i32.const 3500)))) {}",
        answering(
            "(i32.load (i32.const 3500))",
            0,
            "(i32.const 0)",
            "(i32.const 0)"
        )
    );
    // Pure on its first call, and that is all an audit of the first call sees.
    let answer = scale(&scaler(&counts), b"").unwrap().unwrap();
    assert_eq!(answer.desired, 1);
    let workload = ScalingSpec {
        workload: String::new(),
        min: 0,
        max: 9,
        capacity: 1.0,
        target_utilization: 1_000,
        start_up_ms: 0,
        step_ms: 1,
    };
    let request = ScaleRequest {
        now_ms: 0,
        mode: Mode::Normal,
        workload: &workload,
        ready: 0,
        starting: 0,
        series_start_ms: 0,
        series_step_ms: 1,
        series: &[],
        calendar: &[],
        reactive: 0,
        state: b"",
    };
    let limits = sandbox::RunLimits {
        audit_every: 2,
        ..unhurried()
    };
    let prepared = prepare(&scaler(&counts)).unwrap();
    let mut policy = prepared.autoscaling("{}", limits).unwrap();
    policy.scale(&request).unwrap();
    let fault = policy.scale(&request).unwrap_err();
    assert!(
        matches!(fault, PolicyFault::StatefulDivergence { .. }),
        "{fault}"
    );
}

#[test]
fn kinds_without_rows_may_not_declare_columns() {
    let guest = ScoringGuest::default();
    let wat = guest.wat();
    assert!(wat.contains("cpu-free"));
    let autoscaling = scaler("unreachable");
    assert!(prepare(&autoscaling).is_ok());
    let with_columns = other_kind_with_columns();
    let error = prepare(&with_columns).unwrap_err();
    assert!(
        matches!(
            error,
            PrepareError::Description(DescriptionError::ColumnsWithoutRows { count: 2, .. })
        ),
        "{error}"
    );
}

fn other_kind_with_columns() -> Vec<u8> {
    let wat = other_kind_declaring(
        "autoscaling",
        vec!["cpu-free", "zone"],
        "(func (export \"loadmaster:policy/autoscaling@0.1.0#scale\") (param i32) (result i32) unreachable)",
    );
    component(&wat, "autoscaling-policy", unchanged)
}
