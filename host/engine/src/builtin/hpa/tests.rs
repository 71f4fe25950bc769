//! The reference's vectors for formula and behaviour, and edges around them.

use super::*;

fn input(now_ms: u64, load: f64, current: u32) -> Input {
    Input {
        now_ms,
        load,
        target: 1.0,
        current,
        min: 1,
    }
}

#[test]
fn ratios_around_the_tolerance() {
    for (load, want) in [
        (9.0, 10),
        (8.9, 9),
        (11.0, 10),
        (11.1, 12),
        (15.0, 15),
        (5.0, 5),
        (0.0, 0),
    ] {
        assert_eq!(formula(load, 1.0, 10), Some(want), "load {load}");
    }
    assert_eq!(formula(3.0, 1.0, 0), Some(3), "from nothing");
}

#[test]
fn unknown_load_keeps_the_count() {
    for load in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(formula(load, 1.0, 4), None);
        let r = Windows::default().decide(input(0, load, 4));
        assert_eq!((r.formula, r.stabilised, r.limited), (4, 4, 4));
    }
}

#[test]
fn default_up_limits() {
    for (current, want) in [(0, 4), (1, 5), (3, 7), (4, 8), (5, 10), (10, 20)] {
        assert_eq!(Windows::default().up_limit(current), want);
    }
    assert_eq!(Windows::default().up_limit(u32::MAX), u32::MAX);
}

#[test]
fn ramp_to_a_hundred_and_fifty() {
    let (mut windows, mut current) = (Windows::default(), 1);
    let mut seen = vec![current];
    for now_ms in (0..).step_by(RATE_PERIOD_MS as usize).take(10) {
        let to = windows.decide(input(now_ms, 150.0, current)).limited;
        windows.record_change(now_ms, current, to);
        current = to;
        if seen.last() != Some(&current) {
            seen.push(current);
        }
    }
    assert_eq!(seen, [1, 5, 10, 20, 40, 80, 150]);
}

#[test]
fn changes_inside_a_period_count_against_the_limit() {
    let after = |from, to| Windows {
        changes: vec![Change {
            at_ms: 95_000,
            from,
            to,
        }],
        ..Windows::default()
    };
    let at = |mut w: Windows, now_ms, current| w.decide(input(now_ms, 1000.0, current)).limited;
    assert_eq!(at(after(10, 20), 100_000, 20), 20);
    assert_eq!(at(after(10, 15), 100_000, 15), 20);
    assert_eq!(at(after(15, 10), 100_000, 10), 30);
    assert_eq!(at(after(10, 20), 109_999, 20), 20);
    assert_eq!(at(after(10, 20), 110_000, 20), 40, "a period later");
}

#[test]
fn down_waits_for_the_whole_window() {
    let mut windows = Windows::default();
    assert_eq!(windows.decide(input(0, 20.0, 20)).limited, 20);
    for now_ms in [15_000, 150_000, 299_999] {
        let r = windows.decide(input(now_ms, 5.0, 20));
        assert_eq!((r.formula, r.stabilised), (5, 20), "at {now_ms}");
    }
    assert_eq!(windows.decide(input(300_000, 5.0, 20)).limited, 5);
}

#[test]
fn the_window_holds_no_more_than_the_current_count() {
    let mut windows = Windows::seeded(0, 50);
    assert_eq!(windows.decide(input(1_000, 5.0, 20)).limited, 20);
}

#[test]
fn an_adopted_workload_is_not_shrunk_at_once() {
    let mut windows = Windows::seeded(1_000, 8);
    assert_eq!(windows.decide(input(1_000, 2.0, 8)).limited, 8);
    assert_eq!(windows.decide(input(301_000, 2.0, 8)).limited, 2);
}

#[test]
fn the_minimum_is_part_of_the_recommendation() {
    let mut windows = Windows::default();
    let low = Input {
        min: 3,
        ..input(0, 0.0, 8)
    };
    assert_eq!(windows.decide(low).limited, 3);
}

#[test]
fn windows_stay_small() {
    let mut windows = Windows::default();
    for i in 0..10_000u64 {
        windows.decide(input(i * 1_000, 5.0 + (i % 7) as f64, 6));
        windows.record_change(i * 1_000, 6, 7);
    }
    assert!(windows.recommendations.len() <= 300);
    assert!(windows.changes.len() <= 16);
}
