//! What must hold for any history: same events, same decisions; the cache and a
//! restart never show.

use engine::{Config, Engine, Output};
use model::event::Finish;
use model::{Decision, Event, GpuRequest, GpuSpec, NodeSpec, Outcome, PodSpec, Resources};

/// Small, seeded, and the same everywhere (xorshift64*).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

fn node(rng: &mut Rng, i: u64) -> NodeSpec {
    let gpus = [0, 0, 2, 4, 8][rng.below(5) as usize];
    NodeSpec {
        name: format!("n{i}"),
        capacity: Resources {
            cpu_milli: 1000 * (8 + 8 * rng.below(8) as i64),
            memory_mib: 65_536,
            disk_mib: 100_000,
            network_mbps: 10_000,
        },
        gpus: vec![
            GpuSpec {
                model: ["A", "B"][rng.below(2) as usize].to_owned(),
                memory_mib: 16_384,
                healthy: true,
            };
            gpus
        ],
        zone: Some(format!("z{}", rng.below(3))),
        cordoned: rng.below(20) == 0,
        ..NodeSpec::default()
    }
}

fn pod(rng: &mut Rng, i: u64) -> PodSpec {
    let mut gpu = match rng.below(6) {
        0 | 1 => GpuRequest::default(),
        2 | 3 => GpuRequest::share(100 + 100 * rng.below(9) as u32),
        _ => GpuRequest::whole(1 << rng.below(4)),
    };
    if gpu.count > 0 && rng.below(3) == 0 {
        gpu.models = vec![["A", "B", "C"][rng.below(3) as usize].to_owned()];
    }
    if rng.below(4) == 0 && gpu.count == 1 {
        gpu.memory_mib = 4096;
    }
    PodSpec {
        name: format!("p{i}"),
        app: format!("app{}", rng.below(5)),
        requests: Resources {
            cpu_milli: 500 * (1 + rng.below(8) as i64),
            memory_mib: 512 * (1 + rng.below(16) as i64),
            ..Resources::default()
        },
        gpu,
        priority: rng.below(3) as i32,
        ..PodSpec::default()
    }
}

/// A history of `len` events that never asks for the impossible.
fn history(seed: u64, len: u64) -> Vec<(u64, Event)> {
    let mut rng = Rng(seed.wrapping_mul(2).wrapping_add(1));
    let (mut events, mut now, mut pods, mut nodes) = (Vec::new(), 0, Vec::new(), Vec::new());
    for i in 0..len {
        now += rng.below(800);
        let event = match rng.below(20) {
            0..=2 => {
                let spec = node(&mut rng, i);
                nodes.push(spec.name.clone());
                Event::NodePut(Box::new(spec))
            }
            3 if nodes.len() > 4 => {
                let name = nodes.swap_remove(rng.below(nodes.len() as u64) as usize);
                Event::NodeRemove { name }
            }
            4 if !nodes.is_empty() => Event::NodeFailed {
                name: nodes[rng.below(nodes.len() as u64) as usize].clone(),
                failed: rng.below(2) == 0,
            },
            5..=8 if !pods.is_empty() => Event::PodFinished {
                name: pods.swap_remove(rng.below(pods.len() as u64) as usize),
                how: Finish::Succeeded,
            },
            9 => Event::Tick,
            _ => {
                let batch: Vec<_> = (0..=rng.below(3))
                    .map(|k| pod(&mut rng, i * 10 + k))
                    .collect();
                pods.extend(batch.iter().map(|p| p.name.clone()));
                Event::PodsSubmit(batch)
            }
        };
        events.push((now, event));
    }
    events
}

fn run(
    engine: &mut Engine,
    events: &[(u64, Event)],
    each: impl Fn(usize, &mut Engine),
) -> Vec<Decision> {
    let mut out = Output::default();
    for (i, (now, event)) in events.iter().enumerate() {
        engine.step(*now, event.clone(), &mut out).unwrap();
        each(i, engine);
    }
    out.decisions
}

/// Without what is allowed to differ: how many rows had to be scored.
fn answers(decisions: &[Decision]) -> Vec<Decision> {
    let strip = |d: &Decision| Decision {
        rows_scored: 0,
        ..d.clone()
    };
    decisions.iter().map(strip).collect()
}

#[test]
fn the_cache_never_shows_in_a_decision() {
    for seed in 0..20 {
        let events = history(seed, 400);
        let plain = run(&mut Engine::new(Config::default()), &events, |_, _| ());
        let dropped = run(&mut Engine::new(Config::default()), &events, |i, e| {
            if (i as u64 * 7 + seed).is_multiple_of(5) {
                e.drop_cache();
            }
        });
        assert_eq!(answers(&plain), answers(&dropped), "seed {seed}");
        let tiny = Config {
            cache_bytes: 1,
            ..Config::default()
        };
        let evicting = run(&mut Engine::new(tiny), &events, |_, _| ());
        assert_eq!(answers(&plain), answers(&evicting), "seed {seed}");
        assert!(
            plain
                .iter()
                .any(|d| matches!(d.outcome, Outcome::Bound { .. }))
        );
    }
}

#[test]
fn counts_add_up_and_nothing_is_overcommitted() {
    for seed in 100..115 {
        let mut engine = Engine::new(Config::default());
        let mut out = Output::default();
        for (now, event) in history(seed, 400) {
            out.clear();
            engine.step(now, event, &mut out).unwrap();
            for n in engine.nodes() {
                assert!(n.free.cpu_milli >= 0 && n.free.memory_mib >= 0, "{n:?}");
                assert!(n.gpu_milli_free.iter().all(|m| (-1..=1000).contains(m)));
            }
            if let Some(last) = out.decisions.last() {
                // A plan compares domains and victims, not nodes.
                let planned = last.candidates.is_empty() && last.filter.total() == 0;
                assert!(planned || last.filter.total() == engine.summary().nodes);
            }
        }
        let summary = engine.summary();
        assert_eq!(
            summary.waiting.values().sum::<u32>() as usize,
            engine.waiting()
        );
        for pod in engine.pods() {
            let why = engine.why(&pod.spec.name).unwrap();
            let shown: u32 = why.lines.iter().map(|l| l.count).sum();
            assert!(shown == 0 || shown == why.nodes);
        }
    }
}

#[test]
fn a_restored_engine_goes_on_as_the_one_it_was_saved_from() {
    for seed in 200..220 {
        let events = history(seed, 500);
        let (before, after) = events.split_at(300);
        let mut first = Engine::new(Config::default());
        run(&mut first, before, |_, _| ());
        let objects: Vec<_> = first.keys().filter_map(|k| first.export(&k)).collect();
        let mut second = Engine::restore(Config::default(), objects.clone()).unwrap();
        let again: Vec<_> = second.keys().filter_map(|k| second.export(&k)).collect();
        let sorted = |mut list: Vec<engine::state::Object>| {
            list.sort_by_key(|o| format!("{o:?}"));
            list
        };
        assert_eq!(sorted(objects), sorted(again), "seed {seed}");
        // Back-offs start again after a restart, so both look at all that waits.
        let mut out = Output::default();
        let later = before.last().unwrap().0 + 10 * engine::BACKOFF_MAX_MS;
        first.step(later, Event::Tick, &mut out).unwrap();
        let (mut a, mut b) = (out.decisions, Output::default());
        second.step(later, Event::Tick, &mut b).unwrap();
        let mut b = b.decisions;
        let shift = |events: &[(u64, Event)]| -> Vec<_> {
            events.iter().map(|(t, e)| (t + later, e.clone())).collect()
        };
        a.extend(run(&mut first, &shift(after), |_, _| ()));
        b.extend(run(&mut second, &shift(after), |_, _| ()));
        let bound = |list: &[Decision]| -> Vec<_> {
            let bound = list
                .iter()
                .filter(|d| matches!(d.outcome, Outcome::Bound { .. }));
            bound.map(|d| (d.pod.clone(), d.outcome.clone())).collect()
        };
        assert_eq!(bound(&a), bound(&b), "seed {seed}");
    }
}
