//! The same inputs give the same decisions, also across a restart.

use super::*;

#[test]
fn a_restored_engine_decides_the_same() {
    let mut a = World::under(peak_keeper());
    a.event(Event::CalendarPut(entry("sale", "", 77))).unwrap();
    for i in 0..500 {
        a.minute(load(i));
    }
    let objects = a
        .engine
        .keys()
        .map(|k| a.engine.export(&k).unwrap())
        .collect();
    let engine = Engine::restore(Config::default(), objects).unwrap();
    let mut b = World {
        engine,
        out: Output::default(),
        now_ms: a.now_ms,
    };
    b.engine.install_autoscaling(set("fake", 7, peak_keeper()));
    assert_eq!(b.engine.calendar().count(), 1);
    for i in 500..1_000 {
        assert_eq!(a.minute(load(i)), b.minute(load(i)), "minute {i}");
    }
    let key = Key::Scaling(Arc::from("shop"));
    assert_eq!(a.engine.export(&key), b.engine.export(&key));
}

#[test]
fn the_same_events_give_the_same_decisions() {
    let run = || {
        let mut engine = Engine::new(Config::default());
        engine.install_autoscaling(set("fake", 1, peak_keeper()));
        let (mut decisions, mut slots) = (Vec::new(), Vec::new());
        let run = SeriesRun {
            tick_ms: 15_000,
            decide_from: 60,
        };
        drive_series(
            &mut engine,
            &spec(),
            (0..1_000).map(load),
            run,
            |p| match p {
                SeriesProgress::Decision { decision, .. } => decisions.push(decision.clone()),
                SeriesProgress::Slot {
                    ready, starting, ..
                } => slots.push((ready, starting)),
            },
        )
        .unwrap();
        (decisions, slots)
    };
    let first = run();
    assert_eq!(run(), first);
    assert_eq!((first.0.len(), first.1.len()), (4 * 940, 4 * 940));
}

#[test]
fn a_series_is_decided_by_ended_steps_only() {
    let mut engine = Engine::new(Config::default());
    let run = SeriesRun {
        tick_ms: MINUTE,
        decide_from: 1,
    };
    let half = ScalingSpec {
        start_up_ms: MINUTE / 2,
        ..spec()
    };
    let (mut seen, mut served) = (Vec::new(), Vec::new());
    let loads = [210.0, 350.0, 490.0, 490.0];
    drive_series(&mut engine, &half, loads, run, |p| match p {
        SeriesProgress::Decision { step, decision } => seen.push((step, decision.desired)),
        SeriesProgress::Slot {
            step,
            ms,
            load,
            ready,
            starting,
        } => {
            assert_eq!((ms, load), (MINUTE / 2, loads[step]));
            served.push((step, ready, starting));
        }
    })
    .unwrap();
    assert_eq!(seen, [(1, 3), (2, 5), (3, 7)]);
    let expected = [
        (1, 3, 0),
        (1, 3, 0),
        (2, 3, 2),
        (2, 5, 0),
        (3, 5, 2),
        (3, 7, 0),
    ];
    assert_eq!(served, expected);
}

/// A load with a daily shape and gaps, from a small generator.
fn load(i: u64) -> f64 {
    let noise = (i.wrapping_mul(6_364_136_223_846_793_005) >> 40) % 200;
    if noise == 7 {
        return f64::NAN;
    }
    let x = (i % 1_440) as f64 / 1_440.0;
    300.0 + 8_000.0 * x * (1.0 - x) + noise as f64
}

/// Remembers the highest load it ever saw.
fn peak_keeper() -> impl AutoscalingPolicy + 'static {
    fake(|r| {
        let last = r.series.last().copied().filter(|v| v.is_finite());
        let before = r.state.try_into().map_or(0, u64::from_le_bytes);
        let peak = before.max(last.unwrap_or(0.0) as u64);
        Ok(Some(ScaleAnswer {
            desired: r.reactive.max((peak / 150) as u32),
            state: peak.to_le_bytes().to_vec(),
            ..ScaleAnswer::default()
        }))
    })
}
