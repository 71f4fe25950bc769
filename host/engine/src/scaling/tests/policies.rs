//! What policies are told, and what follows when they misbehave.

use super::*;

#[test]
fn policies_see_the_series_the_replicas_and_their_own_state() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut w = World::under(fake(move |r| {
        let series = (r.series_start_ms, r.series_step_ms, r.series.to_vec());
        let row = (r.now_ms, r.ready, r.starting, r.reactive, r.state.to_vec());
        log.lock().unwrap().push((row, series));
        Ok(Some(ScaleAnswer {
            desired: 4,
            state: vec![r.state.len() as u8 + 1],
            ..ScaleAnswer::default()
        }))
    }));
    w.minute(210.0);
    w.minute(700.0);
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], ((0, 2, 0, 3, vec![]), (0, MINUTE, vec![210.0])));
    let series = (0, MINUTE, vec![210.0, 700.0]);
    assert_eq!(seen[1], ((MINUTE, 4, 0, 10, vec![1]), series));
}

#[test]
fn state_is_never_given_to_another_policy() {
    let remember = |byte| {
        fake(move |r: &ScaleRequest<'_>| {
            assert!(r.state.iter().all(|b| *b == byte), "another's state");
            Ok(Some(ScaleAnswer {
                desired: 3,
                state: vec![byte; r.state.len() + 1],
                ..ScaleAnswer::default()
            }))
        })
    };
    let mut w = World::new();
    for revision in 1..5u64 {
        let name = ["a", "b"][revision as usize % 2];
        let byte = revision as u8 % 2;
        w.engine
            .install_autoscaling(set(name, revision, remember(byte)));
        assert!(w.minute(100.0).fault.is_none());
        assert!(w.minute(100.0).fault.is_none());
    }
}

#[test]
fn faults_grow_by_the_builtin_and_do_not_shrink() {
    let mut w = World::new().settled(10);
    let mut n = 0;
    let flaky = move |_: &ScaleRequest<'_>| {
        n += 1;
        if n % 2 == 0 { wants(10) } else { Err(trap()) }
    };
    w.engine.install_autoscaling(set("fake", 1, fake(flaky)));
    for _ in 0..10 {
        assert_eq!(w.desired(100.0), 10, "the formula says 2 by now");
    }
    assert_eq!(w.desired(1_200.0), 18, "up as the formula says");
    let fault = w
        .engine
        .workload("shop")
        .unwrap()
        .last
        .unwrap()
        .fault
        .clone();
    assert_eq!(fault.unwrap(), "Trap: trapped: index out of bounds");
}

#[test]
fn nonsense_is_a_fault_and_not_an_action() {
    let answer = |change: fn(&mut ScaleAnswer)| {
        let mut a = ScaleAnswer {
            desired: 50,
            ..ScaleAnswer::default()
        };
        change(&mut a);
        a
    };
    let point = |at_ms, mean| ForecastPoint {
        at_ms,
        mean,
        high: 1.0,
    };
    let part = |bytes: usize| Part {
        name: String::new(),
        value: 0,
        text: "x".repeat(bytes),
    };
    let cases: [(&str, ScaleAnswer); 7] = [
        ("BadAnswer", answer(|a| a.desired = DESIRED_MAX + 1)),
        (
            "AnswerTooLarge",
            answer(|a| a.state = vec![0; SCALE_STATE_BYTES_MAX + 1]),
        ),
        (
            "BadAnswer",
            ScaleAnswer {
                forecast: vec![point(1, f64::NAN)],
                ..answer(|_| ())
            },
        ),
        (
            "BadAnswer",
            ScaleAnswer {
                forecast: vec![point(2, 0.0), point(2, 0.0)],
                ..answer(|_| ())
            },
        ),
        (
            "AnswerTooLarge",
            ScaleAnswer {
                forecast: (0..=FORECAST_POINTS_MAX as u64)
                    .map(|t| point(t, 0.0))
                    .collect(),
                ..answer(|_| ())
            },
        ),
        (
            "AnswerTooLarge",
            ScaleAnswer {
                parts: vec![part(1); PARTS_MAX + 1],
                ..answer(|_| ())
            },
        ),
        (
            "AnswerTooLarge",
            ScaleAnswer {
                parts: vec![part(PART_BYTES_MAX + 1)],
                ..answer(|_| ())
            },
        ),
    ];
    for (code, bad) in cases {
        let mut w = World::under(fake(move |_| Ok(Some(bad.clone()))));
        let d = w.minute(140.0);
        assert_eq!(d.desired, 2);
        assert!(d.forecast.is_empty());
        let fault = d.fault.unwrap();
        assert!(fault.starts_with(code), "{fault}");
        let Some(Object::Scaling(s)) = w.engine.export(&Key::Scaling(Arc::from("shop"))) else {
            panic!("not exported");
        };
        assert_eq!(s.memory, None, "a bad answer's state is not kept");
    }
}

#[test]
fn a_policy_that_keeps_failing_is_taken_out() {
    let mut w = World::new();
    w.engine
        .install_autoscaling(set("good", 3, fake(|_| wants(5))));
    w.engine
        .install_autoscaling(set("bad", 4, fake(|_| Err(trap()))));
    for i in 1..=CONSECUTIVE_MAX {
        let d = w.minute(140.0);
        assert_eq!(d.policy, id("bad"));
        let reverted = w
            .out
            .effects
            .iter()
            .any(|e| matches!(e, Effect::SetReverted { .. }));
        assert_eq!(reverted, i == CONSECUTIVE_MAX);
    }
    let Some(Effect::SetReverted { kind, from, to, .. }) = w.out.effects.first() else {
        panic!("no revert in {:?}", w.out.effects);
    };
    assert_eq!((*kind, *from, *to), (PolicyKind::Autoscaling, 4, 3));
    assert_eq!(w.minute(140.0).policy, id("good"));

    let mut w = World::under(fake(|_| Err(trap())));
    w.engine
        .install_autoscaling(set("bad", 8, fake(|_| Err(trap()))));
    w.engine.scaling.previous.as_mut().unwrap().breaker.fault();
    (0..CONSECUTIVE_MAX).for_each(|_| drop(w.minute(140.0)));
    assert!(
        w.engine.autoscaling().is_builtin(),
        "the one before had failed as well"
    );
    assert!(!w.engine.rollback_autoscaling());
}

#[test]
fn rollback_swaps_two_living_sets() {
    let mut w = World::under(fake(|_| wants(4)));
    w.engine
        .install_autoscaling(set("other", 8, fake(|_| wants(6))));
    assert_eq!(w.desired(200.0), 6);
    assert!(w.engine.rollback_autoscaling());
    assert_eq!(
        (w.desired(200.0), w.engine.autoscaling().spec.revision),
        (4, 7)
    );
    assert!(w.engine.rollback_autoscaling());
    assert_eq!(w.desired(200.0), 6);
    assert_eq!(w.engine.previous_autoscaling().unwrap().spec.revision, 7);
}

#[test]
fn a_set_has_one_autoscaling_policy() {
    let mut two = set_spec("a", 1);
    two.members.push(two.members[0].clone());
    let e = AutoscalingSet::new(two, Box::new(fake(|_| wants(1)))).unwrap_err();
    assert_eq!(e, AutoscalingSetError::Size(2));
    let scoring = PolicySetSpec {
        kind: PolicyKind::Scoring,
        ..set_spec("a", 1)
    };
    let e = AutoscalingSet::new(scoring, Box::new(fake(|_| wants(1)))).unwrap_err();
    assert_eq!(e, AutoscalingSetError::Kind(PolicyKind::Scoring));
}
