use super::*;
use loadmaster_sdk::admission::{Native, Shortage, native};
use loadmaster_sdk::testing::{TestCycle, TestJob, TestReview, check_settings_schema};

mod properties;

const NOW: u64 = 1_000_000;
const SECOND: u64 = 1_000;

fn policy(settings: &str) -> Native<DeadlineAdmission> {
    native(settings).unwrap()
}

/// Estimates are taken as they are, nothing is held back.
const EXACT: &str = r#"{"safety":1000,"hold-back":0}"#;

/// One quota of GPUs.
fn pool(gpus: i64, used: i64) -> TestCycle {
    let cycle = TestCycle::new().now(NOW);
    cycle.node("pool", None).quota("gpu", gpus).used(used)
}

trait Timed {
    /// A head of `pool`: GPUs, run time and time left, both in seconds.
    fn timed(self, name: &str, gpus: i64, run: u64, left: u64) -> Self;
    /// One without deadline.
    fn rest(self, name: &str, gpus: i64) -> Self;
}

impl Timed for TestCycle {
    fn timed(self, name: &str, gpus: i64, run: u64, left: u64) -> Self {
        let cycle = self.rest(name, gpus).deadline(NOW + left * SECOND);
        cycle.expected_runtime(run * SECOND)
    }

    fn rest(self, name: &str, gpus: i64) -> Self {
        self.head(name, "pool").demand("gpu", gpus)
    }
}

fn rulings(settings: &str, cycle: &Cycle) -> Vec<String> {
    let short = |list: Vec<Shortage>| {
        let one = |s: &Shortage| format!("{} {}", s.resource, s.by);
        list.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let text = |ruling| match ruling {
        Ruling::Admit => "admit".to_owned(),
        Ruling::AdmitPartial(pods) => format!("admit {pods:?}"),
        Ruling::Wait(list) => format!("wait: {}", short(list)),
        Ruling::Reclaim(list) => format!("reclaim: {}", short(list)),
        Ruling::Reject(f) => format!("{} {}: {}", f.code, f.field, f.message),
        Ruling::Abstain => "abstain".to_owned(),
    };
    let rulings = policy(settings).admit(cycle);
    assert_eq!(rulings.len(), cycle.heads.len());
    rulings.into_iter().map(text).collect()
}

#[test]
fn what_cannot_finish_in_time_is_rejected_with_numbers() {
    let cycle = pool(8, 0).timed("late", 1, 125, 100).done();
    assert_eq!(
        rulings("{}", &cycle),
        [
            "DeadlineUnreachable /deadline: needs 150 s (expected 125 s x 1.2, start-up 0 s), has 100 s; move the deadline or ask for less work"
        ]
    );
    for (settings, left, in_time) in [
        ("{}", 149, false),
        ("{}", 150, true),
        (r#"{"safety":1000}"#, 125, true),
        (r#"{"safety":1000,"start-up":30}"#, 154, false),
        (r#"{"safety":1000,"start-up":30}"#, 155, true),
    ] {
        let cycle = pool(8, 0).timed("job", 1, 125, left).done();
        let admitted = policy(settings).admit(&cycle) == [Ruling::Admit];
        assert_eq!(admitted, in_time, "{settings} {left}");
    }
}

#[test]
fn without_an_estimate_only_a_deadline_that_passed_is_too_late() {
    let cycle = pool(8, 0).rest("a", 1).deadline(NOW + 1);
    let cycle = cycle.rest("b", 1).deadline(NOW).done();
    assert_eq!(
        rulings("{}", &cycle),
        [
            "admit",
            "DeadlineUnreachable /deadline: needs some time, has 0 s; move the deadline"
        ]
    );
}

#[test]
fn earliest_deadline_goes_first_and_what_is_too_late_last() {
    let cycle = pool(8, 0).rest("rest", 1).timed("late", 1, 100, 50);
    let cycle = cycle.timed("b", 1, 10, 90).timed("a", 1, 10, 60);
    let cycle = cycle.timed("a-tight", 1, 40, 60);
    let cycle = cycle.rest("unknown", 1).deadline(NOW + SECOND).done();
    let keys = policy("{}").order(&cycle);
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|h| keys[*h].clone());
    let names: Vec<&str> = order.iter().map(|h| &*cycle.heads[*h].job).collect();
    assert_eq!(names, ["a-tight", "a", "b", "unknown", "rest", "late"]);
    let deadline = (NOW + 60 * SECOND) as i64;
    assert_eq!(keys[4][..3], [0, deadline, 12_000]);
}

#[test]
fn work_without_a_deadline_uses_what_is_left() {
    let cycle = pool(8, 1).rest("first", 3).timed("a", 5, 10, 60);
    let cycle = cycle.rest("second", 2).done();
    assert_eq!(
        rulings(EXACT, &cycle),
        ["wait: gpu 1", "admit", "admit"],
        "it is planned last, and never rejected"
    );
}

/// `b` could start now, and `a` would then be late.
#[test]
fn a_later_deadline_never_makes_an_earlier_one_late() {
    let cycle = pool(8, 0).timed("now", 6, 30, 40);
    let cycle = cycle.timed("a", 8, 20, 50).timed("b", 2, 40, 100);
    let cycle = cycle.timed("c", 2, 30, 100).rest("rest", 1).done();
    assert_eq!(
        rulings(EXACT, &cycle),
        // `a` starts in 30 s on everything; `c` is through by then.
        [
            "admit",
            "wait: gpu 6",
            "wait: gpu 2",
            "admit",
            "wait: gpu 1"
        ]
    );
    // With `a` gone there is room for `b`.
    let mut cycle = cycle;
    cycle.heads.remove(1);
    assert_eq!(
        rulings(EXACT, &cycle),
        ["admit", "admit", "wait: gpu 2", "wait: gpu 1"]
    );
}

/// What runs now may never end: nothing can be planned on it.
#[test]
fn a_tight_job_that_cannot_be_planned_holds_others_back() {
    let cycle = |left| {
        let cycle = pool(8, 2).timed("a", 8, 100, left);
        cycle.timed("b", 4, 10, 2_000).rest("rest", 6).done()
    };
    let hold = r#"{"safety":1000,"hold-back":900}"#;
    let free = ["wait: gpu 2", "admit", "wait: gpu 4"];
    let held = ["wait: gpu 2", "wait: gpu 6", "wait: gpu 8"];
    assert_eq!(rulings(hold, &cycle(999)), held);
    assert_eq!(rulings(hold, &cycle(1_000)), free);
    assert_eq!(rulings(EXACT, &cycle(999)), free);
}

#[test]
fn more_than_the_quota_can_have_is_no_question_of_time() {
    let cycle = pool(8, 0).timed("huge", 9, 10, 60).rest("huger", 10);
    let cycle = cycle.timed("late", 9, 70, 60).done();
    let said = rulings(EXACT, &cycle);
    assert_eq!(said[..2], ["abstain", "abstain"]);
    assert!(said[2].starts_with("DeadlineUnreachable"), "{said:?}");
}

/// The smallest share that is satisfactory: 8 pods for 60 s are 480 pod-seconds.
#[test]
fn an_elastic_job_gets_the_fewest_pods_that_meet_its_deadline() {
    let single = r#"{"safety":1000,"hold-back":0,"single-role":true}"#;
    let job = |left, min| {
        let cycle = pool(8, 0).head("job", "pool");
        let cycle = cycle.elastic_demand("gpu", 8, min);
        let cycle = cycle.elastic_demand("pods", 8, min);
        let cycle = cycle.deadline(NOW + left * SECOND);
        cycle.expected_runtime(60 * SECOND).done()
    };
    for (left, min, ruling) in [
        (60, 1, "admit"),
        (61, 1, "admit"),
        (69, 1, "admit [7]"),
        (120, 1, "admit [4]"),
        (160, 1, "admit [3]"),
        (480, 1, "admit [1]"),
        (480, 2, "admit [2]"),
        (480, 8, "admit"),
    ] {
        assert_eq!(rulings(single, &job(left, min)), [ruling], "{left} {min}");
        assert_eq!(rulings(EXACT, &job(left, min)), ["admit"], "{left} {min}");
    }
    let mut full = job(160, 1);
    full.nodes[0].lines[0].used = 6;
    assert_eq!(rulings(single, &full), ["wait: gpu 1"]);
}

#[test]
fn a_deadline_is_ahead_when_it_is_set() {
    let job = |deadline| TestJob::new("train").deadline(deadline).done();
    let validate = |review: TestReview| policy("{}").validate(&review.now(NOW).done());
    let code = |v: Validation| match v.verdict {
        loadmaster_sdk::admission::Verdict::Deny(findings) => findings[0].code.clone(),
        other => format!("{other:?} {}", v.warnings.len()),
    };
    let cases = [
        (TestReview::create(job(NOW)), "DeadlinePassed"),
        (TestReview::create(job(NOW + 1)), "Verdict::Abstain 0"),
        (
            TestReview::create(TestJob::new("train").done()),
            "Verdict::Abstain 0",
        ),
        // It was set in time; what changes now is something else.
        (TestReview::update(job(5), job(5)), "Verdict::Abstain 0"),
        (TestReview::update(job(5), job(6)), "DeadlinePassed"),
        (TestReview::delete(job(5)), "Verdict::Abstain 0"),
        (
            TestReview::create(TestJob::new("t").deadline(NOW + 5).runtime_limit(6).done()),
            "Verdict::Abstain 1",
        ),
    ];
    for (review, said) in cases {
        assert_eq!(code(validate(review.clone())), said, "{review:?}");
    }
}

#[test]
fn a_cycle_that_is_no_tree_still_has_deadlines() {
    let cycle = pool(8, 0).timed("late", 1, 70, 60).timed("ok", 1, 10, 60);
    let mut cycle = cycle.done();
    cycle.nodes[0].parent = Some(0);
    let said = rulings(EXACT, &cycle);
    assert!(said[0].starts_with("DeadlineUnreachable"), "{said:?}");
    assert_eq!(said[1], "abstain");
    cycle.nodes.clear();
    assert_eq!(rulings(EXACT, &cycle)[1], "abstain");
}

#[test]
fn extreme_times_do_not_panic() {
    for (deadline, runtime) in [(u64::MAX, u64::MAX), (0, 0), (u64::MAX, 0), (0, u64::MAX)] {
        for now in [0, u64::MAX] {
            let cycle = pool(8, 0).now(now).rest("a", 1).deadline(deadline);
            let cycle = cycle.expected_runtime(runtime).rest("b", 8).done();
            assert_eq!(policy("{}").order(&cycle).len(), 2);
            assert_eq!(policy("{}").admit(&cycle).len(), 2);
        }
    }
}

#[test]
fn settings_and_schema_agree() {
    check_settings_schema(
        include_str!("../settings.schema.json"),
        DeadlineAdmission::configure,
    );
}
