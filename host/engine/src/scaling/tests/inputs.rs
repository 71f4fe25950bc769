//! Specs and calendar entries: what is refused, kept and handed on.

use super::*;

/// What an error has to say, and how to provoke it.
type Case<T> = (&'static str, fn(&mut T));

#[test]
fn impossible_specs_and_entries_are_refused_and_change_nothing() {
    let bad: [Case<ScalingSpec>; 11] = [
        ("name", |s| s.workload = "a b".to_owned()),
        ("name", |s| s.workload = String::new()),
        ("max is 0", |s| s.max = 0),
        ("max is 10001", |s| s.max = 10_001),
        ("min 101", |s| s.min = 101),
        ("capacity is NaN", |s| s.capacity = f64::NAN),
        ("capacity is 0", |s| s.capacity = 0.0),
        ("target utilization is 0", |s| s.target_utilization = 0),
        ("target utilization is 1001", |s| {
            s.target_utilization = 1_001
        }),
        ("step is 999", |s| s.step_ms = 999),
        ("start-up time", |s| s.start_up_ms = u64::MAX),
    ];
    let mut w = World::new();
    for (text, change) in bad {
        let mut s = spec();
        change(&mut s);
        let e = w.event(Event::ScalingPut(s)).unwrap_err().to_string();
        assert!(e.contains(text), "{e}");
        assert!(w.out.changed.is_empty());
    }
    assert_eq!(w.engine.workloads().collect::<Vec<_>>(), [&spec()]);
    let bad: [Case<CalendarEvent>; 6] = [
        ("name", |e| e.name = "x y".to_owned()),
        ("ends at 5", |e| e.end_ms = e.start_ms),
        ("neither", |e| e.load = None),
        ("load is inf", |e| e.load = Some(f64::INFINITY)),
        ("multiplier is 0", |e| e.multiplier = Some(0)),
        ("workload", |e| e.workload = "?".to_owned()),
    ];
    for (text, change) in bad {
        let mut e = entry("sale", "shop", 5_000);
        change(&mut e);
        let e = w.event(Event::CalendarPut(e)).unwrap_err().to_string();
        assert!(e.contains(text), "{e}");
    }
    let unknown = Event::ScalingRemove {
        workload: "x".to_owned(),
    };
    assert!(matches!(
        w.event(unknown),
        Err(EventError::UnknownWorkload(_))
    ));
    let unknown = Event::CalendarRemove {
        name: "x".to_owned(),
    };
    assert!(matches!(
        w.event(unknown),
        Err(EventError::UnknownCalendarEntry(_))
    ));
}

#[test]
fn a_changed_spec_keeps_what_was_learned_unless_the_step_changes() {
    let mut w = World::new();
    w.minute(100.0);
    w.minute(200.0);
    let wider = ScalingSpec { max: 500, ..spec() };
    w.event(Event::ScalingPut(wider)).unwrap();
    assert_eq!(w.engine.workload("shop").unwrap().series, [100.0, 200.0]);
    let slower = ScalingSpec {
        step_ms: 5 * MINUTE,
        ..spec()
    };
    w.event(Event::ScalingPut(slower)).unwrap();
    assert!(w.engine.workload("shop").unwrap().series.is_empty());
    assert_eq!(w.engine.scaling_decisions("shop").count(), 2);
}

#[test]
fn limits_on_workloads_and_entries() {
    let mut w = World::new();
    for i in 1..WORKLOADS_MAX {
        let s = ScalingSpec {
            workload: format!("w{i}"),
            ..spec()
        };
        w.event(Event::ScalingPut(s)).unwrap();
    }
    let s = ScalingSpec {
        workload: "more".to_owned(),
        ..spec()
    };
    assert!(w.event(Event::ScalingPut(s)).is_err());
    w.event(Event::ScalingPut(spec())).unwrap();
    for i in 0..CALENDAR_MAX {
        w.event(Event::CalendarPut(entry(&format!("e{i}"), "", 1)))
            .unwrap();
    }
    assert!(w.event(Event::CalendarPut(entry("more", "", 1))).is_err());
    w.event(Event::CalendarPut(entry("e0", "", 2))).unwrap();
}

#[test]
fn policies_see_the_entries_that_concern_the_workload() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut w = World::under(fake(move |r| {
        *log.lock().unwrap() = r.calendar.iter().map(|e| e.name.clone()).collect();
        Ok(None)
    }));
    for e in [
        entry("sale", "shop", 5_000),
        entry("all", "", 1 << 50),
        entry("other", "blog", 5_000),
    ] {
        w.event(Event::CalendarPut(e)).unwrap();
    }
    assert_eq!(w.out.changed, [Key::Calendar(Arc::from("other"))]);
    w.minute(1.0);
    assert_eq!(*seen.lock().unwrap(), ["all", "sale"]);
    w.now_ms = 2 * CALENDAR_SHOWN_MS;
    w.minute(1.0);
    assert_eq!(*seen.lock().unwrap(), ["all"], "over for a day");
    w.event(Event::CalendarRemove {
        name: "all".to_owned(),
    })
    .unwrap();
    w.minute(1.0);
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(w.engine.calendar().count(), 2);
}
