use super::*;
use loadmaster_sdk::autoscaling::{
    CalendarEvent, Mode, Native, Replicas, Series, Workload, native,
};
use loadmaster_sdk::testing::check_settings_schema;

const MINUTE: u64 = 60_000;

/// A noisy daily curve made of exact arithmetic (a parabola plus an LCG).
fn series(steps: usize) -> Vec<f64> {
    let mut seed = 7u64;
    (0..steps)
        .map(|i| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let noise = (seed >> 40) as f64 / (1u64 << 24) as f64;
            let x = (i % 1_440) as f64 / 1_440.0;
            2_000.0 + 12_000.0 * x * (1.0 - x) + 600.0 * noise
        })
        .collect()
}

/// A host that applies every answer at once.
struct Host {
    policy: Native<PreScaler>,
    now: u64,
    replicas: u32,
    state: Vec<u8>,
    calendar: Vec<CalendarEvent>,
    start_up: u64,
}

impl Host {
    fn new(settings: &str, now: u64, replicas: u32) -> Self {
        Self {
            policy: native(settings).unwrap(),
            now,
            replicas,
            state: Vec::new(),
            calendar: Vec::new(),
            start_up: 300_000,
        }
    }

    fn request(&self, history: &[f64], end: u64) -> Request {
        Request {
            now: self.now,
            mode: Mode::Normal,
            workload: Workload {
                name: "shop".to_owned(),
                min: 1,
                max: 500,
                capacity: 100.0,
                target_utilization: 700,
                start_up: self.start_up,
            },
            replicas: Replicas {
                ready: self.replicas,
                starting: 0,
            },
            load: Series {
                start: (end + MINUTE).saturating_sub(history.len() as u64 * MINUTE),
                step: MINUTE,
                values: history.to_vec(),
            },
            calendar: self.calendar.clone(),
            reactive: self.replicas,
            state: self.state.clone(),
        }
    }

    /// One call a minute with a history that ends at `end`.
    fn tick(&mut self, history: &[f64], end: u64) -> Answer {
        let request = self.request(history, end);
        let answer = self.policy.scale(&request).unwrap();
        assert!((1..=500).contains(&answer.desired), "{}", answer.desired);
        assert!(answer.parts.len() <= 20);
        self.state = answer.state.clone();
        self.replicas = answer.desired;
        self.now += MINUTE;
        answer
    }

    /// One call with nothing but the present load.
    fn tick_load(&mut self, load: f64) -> u32 {
        let now = self.now;
        self.tick(&[load; 3], now).desired
    }
}

fn value(answer: &Answer, name: &str) -> Option<i64> {
    let part = answer.parts.iter().find(|p| p.name == name);
    part.map(|p| p.value)
}

fn floor(answer: &Answer) -> i64 {
    let floors = ["forecast", "forecast-quantile", "forecast-expected"];
    let values = floors.iter().filter_map(|name| value(answer, name));
    values.max().unwrap()
}

fn event(load: Option<f64>, multiplier: Option<u32>) -> CalendarEvent {
    CalendarEvent {
        name: "sale".to_owned(),
        start: 100_000_000,
        end: 103_600_000,
        load,
        multiplier,
    }
}

/// Kubernetes, written again: 70 a replica, 300 s down, twice or 4 more up.
#[derive(Default)]
struct Hpa(Vec<(u64, u32)>);

impl Hpa {
    fn decide(&mut self, now: u64, load: f64, current: u32) -> u32 {
        let ratio = load / (70.0 * f64::from(current));
        let wanted = if (0.9..=1.1).contains(&ratio) {
            current
        } else {
            (load / 70.0).ceil() as u32
        };
        if self.0.is_empty() {
            self.0.push((now, current));
        }
        self.0.retain(|(at, _)| at + 300_000 > now);
        self.0.push((now, wanted));
        let held = self.0.iter().map(|(_, replicas)| *replicas).max().unwrap();
        let stabilised = if wanted > current {
            wanted
        } else {
            held.min(current)
        };
        stabilised.min((2 * current).max(current + 4))
    }
}

#[test]
fn without_forecast_and_events_it_is_the_reactive_formula() {
    let mut a = Host::new("{}", 0, 20);
    let mut b = Host::new(r#"{"predictive":false}"#, 0, 20);
    let (mut hpa, mut replicas) = (Hpa::default(), 20);
    for (i, load) in series(3_000).into_iter().enumerate() {
        // Jumps as well, so that window and rate bind.
        let load = if i % 97 < 9 { load * 4.0 } else { load };
        replicas = hpa.decide(a.now, load, replicas);
        assert_eq!((a.tick_load(load), b.tick_load(load)), (replicas, replicas));
    }
}

#[test]
fn an_event_is_ready_fifteen_minutes_ahead() {
    let start = 100_000_000;
    let mut host = Host::new("{}", start - 900_000 - 120_000, 10);
    host.calendar = vec![event(None, Some(4_000))];
    assert_eq!(host.tick_load(700.0), 10);
    assert_eq!(host.tick_load(700.0), 10);
    assert_eq!(host.now, start - 900_000);
    assert_eq!(host.tick_load(700.0), 40);
    // The event's own load is not multiplied again.
    for _ in 0..30 {
        assert_eq!(host.tick_load(2_800.0), 40);
    }
}

#[test]
fn slow_replicas_are_asked_for_earlier() {
    let start = 100_000_000;
    let mut host = Host::new("{}", start - 1_815_000, 10);
    host.start_up = 1_800_000;
    host.calendar = vec![event(Some(2_800.0), None)];
    assert_eq!(host.tick_load(700.0), 40);
}

#[test]
fn the_base_is_found_again_after_the_memory_is_lost() {
    // The floor became active at 99 100 s; the load was 700 then, 2800 now.
    let active = 99_100_000 / MINUTE;
    let mut history = vec![700.0; active as usize + 1];
    history.extend([2_800.0; 20]);
    let end = (history.len() as u64 - 1) * MINUTE;
    let mut host = Host::new("{}", end, 40);
    host.calendar = vec![event(None, Some(4_000))];
    let answer = host.tick(&history, end);
    assert_eq!(value(&answer, "calendar"), Some(40));
}

#[test]
fn a_lost_forecast_releases_its_floor_gradually() {
    let history = series(3 * 1_440 + 700);
    let end = history.len() as u64 * MINUTE;
    let mut host = Host::new("{}", end, 60);
    let first = host.tick(&history, end);
    assert!(!first.forecast.is_empty());
    let mut last = floor(&first);
    assert!(last > 40, "{last}");
    // No new samples: the forecast is trusted for 5 minutes, then its floor
    // goes step by step. The count itself stays: the load is unknown.
    for _ in 0..60 {
        let answer = host.tick(&history, end);
        let now = floor(&answer);
        if answer.forecast.is_empty() {
            assert!(last - now <= last / 10 + 1, "{last} to {now}");
        }
        assert!(i64::from(answer.desired) >= now);
        last = now;
    }
    assert_eq!(last, 0);
    // With a load again the reactive part takes over.
    for _ in 0..8 {
        host.tick_load(100.0);
    }
    assert_eq!(host.replicas, 2);
}

#[test]
fn gaps_and_nonsense_in_the_history_are_no_forecast() {
    let history = series(3 * 1_440);
    let end = history.len() as u64 * MINUTE;
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let mut gaps = history.clone();
        let len = gaps.len();
        gaps[len - 8..].fill(bad);
        let answer = Host::new("{}", end, 60).tick(&gaps, end);
        assert!(answer.forecast.is_empty());
        assert_eq!(answer.desired, 60, "the load is unknown");
        let mut one = history.clone();
        one[len - 8] = bad;
        assert!(!Host::new("{}", end, 60).tick(&one, end).forecast.is_empty());
    }
}

#[test]
fn an_ended_event_is_stabilised_downwards() {
    let end = 103_600_000;
    let mut host = Host::new("{}", end - MINUTE, 40);
    host.calendar = vec![event(Some(2_800.0), None)];
    while host.now < end - MINUTE + 300_000 {
        assert_eq!(host.tick_load(700.0), 40);
    }
    assert_eq!(host.tick_load(700.0), 10);
}

#[test]
fn events_combine_by_the_largest() {
    let mut host = Host::new("{}", 100_000_000, 10);
    let smaller = CalendarEvent {
        name: "other".to_owned(),
        ..event(Some(1_400.0), None)
    };
    let broken = CalendarEvent {
        name: "broken".to_owned(),
        ..event(Some(f64::NAN), None)
    };
    host.calendar = vec![smaller, broken, event(Some(2_800.0), Some(1_500))];
    let now = host.now;
    let answer = host.tick(&[700.0; 3], now);
    assert_eq!(value(&answer, "calendar"), Some(40));
    assert_eq!(answer.desired, 40);
}

#[test]
fn a_thousand_events_stay_within_the_hosts_limits() {
    let mut host = Host::new("{}", 100_000_000, 10);
    host.calendar = (0..1_000)
        .map(|i| CalendarEvent {
            name: format!("{i:0>253}"),
            ..event(None, Some(2_000))
        })
        .collect();
    for _ in 0..5 {
        let now = host.now;
        let answer = host.tick(&[700.0; 3], now);
        assert_eq!(answer.desired, 20);
        assert!(answer.state.len() <= 256 << 10, "{}", answer.state.len());
        assert!(answer.parts.len() <= 64);
        let size = |p: &loadmaster_sdk::autoscaling::Part| p.name.len() + p.text.len();
        assert!(answer.parts.iter().all(|p| size(p) <= 512));
    }
}

#[test]
fn lost_memory_changes_no_forecast() {
    let history = series(10 * 1_440);
    let from = 9 * 1_440;
    let start = (from as u64 - 1) * MINUTE;
    let mut kept = Host::new("{}", start, 50);
    let mut lost = Host::new("{}", start, 50);
    for i in from..from + 150 {
        let end = (i as u64 - 1) * MINUTE;
        lost.state.clear();
        lost.replicas = kept.replicas;
        let a = kept.tick(&history[..i], end);
        let b = lost.tick(&history[..i], end);
        assert!(!a.forecast.is_empty());
        assert_eq!(a.forecast, b.forecast);
        assert_eq!(floor(&a), floor(&b));
    }
}

#[test]
fn foreign_state_is_ignored() {
    let history = series(3 * 1_440);
    let end = history.len() as u64 * MINUTE;
    let clean = Host::new("{}", end, 40).tick(&history, end);
    let long = [1u32.to_le_bytes().to_vec(), vec![255; 300]].concat();
    for state in [vec![1], vec![9; 400], long] {
        let mut host = Host::new("{}", end, 40);
        host.state = state;
        assert_eq!(host.tick(&history, end), clean);
    }
}

#[test]
fn strict_is_never_below_the_reactive_answer() {
    let history = series(3 * 1_440);
    let mut host = Host::new(r#"{"strict":true}"#, 0, 40);
    let mut hpa = Hpa::default();
    for i in 2 * 1_440..3 * 1_440 {
        let end = (i as u64 - 1) * MINUTE;
        host.now = end;
        let mut request = host.request(&history[..i], end);
        request.reactive = hpa.decide(end, history[i - 1], host.replicas);
        let answer = host.policy.scale(&request).unwrap();
        assert!(answer.desired >= request.reactive);
        host.state = answer.state;
        host.replicas = answer.desired;
    }
}

/// Replicas start after 15 minutes on a load that climbs every day.
#[test]
fn it_is_short_less_often_than_the_reactive_formula() {
    let history = series(6 * 1_440);
    let shortfall = |predictive: bool| {
        let settings = format!(r#"{{"predictive":{predictive}}}"#);
        let mut host = Host::new(&settings, 0, 30);
        host.start_up = 900_000;
        let mut asked = vec![30u32; 15];
        let (mut short, mut cost) = (0.0, 0u64);
        for i in 5 * 1_440..6 * 1_440 {
            let end = (i as u64 - 1) * MINUTE;
            host.now = end;
            let desired = host.tick(&history[..i], end).desired;
            asked.push(desired);
            // Serving now: asked for 15 minutes ago and not given up since.
            let serving = asked[asked.len() - 16..].iter().min().copied();
            let serving = f64::from(serving.unwrap_or(0));
            short += (history[i] - serving * 100.0).max(0.0);
            cost += u64::from(desired);
        }
        (short, cost)
    };
    let (predicted, reactive) = (shortfall(true), shortfall(false));
    assert!(predicted.0 <= reactive.0, "{predicted:?} {reactive:?}");
    assert!(predicted.1 <= reactive.1, "{predicted:?} {reactive:?}");
}

#[test]
fn extreme_requests_do_not_panic() {
    for (capacity, target, start_up, step) in [
        (1e-12, 1, u64::MAX, 1),
        (1e-12, 1, u64::MAX, MINUTE),
        (1e12, 1_000, 0, u64::MAX),
        (f64::NAN, 0, 1, 0),
        (0.0, 700, 86_400_000, 86_400_000),
    ] {
        let mut host = Host::new("{}", u64::MAX, u32::MAX);
        host.calendar = vec![CalendarEvent {
            start: 0,
            end: u64::MAX,
            ..event(Some(1e12), Some(u32::MAX))
        }];
        let mut request = host.request(&series(500), u64::MAX - MINUTE);
        request.workload.capacity = capacity;
        request.workload.target_utilization = target;
        request.workload.start_up = start_up;
        request.load.step = step;
        for (start, now) in [(0, u64::MAX), (u64::MAX, u64::MAX), (0, 499 * MINUTE)] {
            request.load.start = start;
            request.now = now;
            let answer = host.policy.scale(&request).unwrap();
            assert!((1..=500).contains(&answer.desired));
        }
    }
}

#[test]
fn settings_and_schema_agree() {
    check_settings_schema(
        include_str!("../settings.schema.json"),
        PreScaler::configure,
    );
}
