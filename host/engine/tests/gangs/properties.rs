//! Whatever happens, in whatever order, and however often the host restarts.

use engine::state::Object;
use engine::view::PodState;
use engine::{Engine, Output};
use model::disruption::{BucketSpec, BudgetSpec, Terms};
use model::event::Finish;
use model::gang::{Level, Slice, TopologySpec};
use model::quota::{QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier};
use model::{Event, JobKind, JobSpec};

use crate::support::{check, gang, job, node, pod};

/// Small, seeded, and the same everywhere (xorshift64*).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        let n = list.len() as u64;
        (n > 0).then(|| list[self.below(n) as usize].clone())
    }
}

fn random_job(rng: &mut Rng, i: u64) -> JobSpec {
    let id = format!("j{i}");
    let gpus = rng.below(3) as u32 * 2;
    let mut spec = match rng.below(4) {
        0 => job(&id, 1 + rng.below(4) as u32, gpus),
        1 => {
            let count = 1 + rng.below(4) as u32;
            let min = 1 + rng.below(u64::from(count)) as u32;
            gang(&id, &[("w", count, min, gpus)])
        }
        2 => gang(
            &id,
            &[("lead", 1, 1, 0), ("w", 1 + rng.below(3) as u32, 1, gpus)],
        ),
        _ => gang(&id, &[("w", 4, 2, 2)]),
    };
    if let Some(gang) = &mut spec.gang {
        if rng.below(3) == 0 {
            gang.timeout_ms = Some(5_000 + rng.below(60_000));
        }
        if rng.below(2) == 0 {
            let even = gang.roles.iter().all(|r| r.count == 4);
            gang.topology = Some(TopologySpec {
                level: Level::Rack,
                required: rng.below(2) == 0,
                slice: (even && rng.below(2) == 0).then_some(Slice {
                    size: 2,
                    level: Level::Node,
                }),
            });
        }
    }
    if rng.below(4) == 0 {
        spec.kind = JobKind::Service;
    }
    spec.template.priority = rng.below(3) as i32;
    spec.terms = Terms {
        preemptible: rng.below(4) > 0,
        movable: rng.below(3) == 0,
        grace_ms: [0, 0, 500, 5_000][rng.below(4) as usize],
        ..Terms::default()
    };
    if rng.below(3) == 0 {
        spec.meta.queue = "team".to_owned();
    }
    if rng.below(6) == 0 {
        spec.meta.runtime_limit_ms = Some(1_000 + rng.below(60_000));
    }
    spec
}

fn random_event(rng: &mut Rng, engine: &Engine, i: u64) -> Option<Event> {
    let pods: Vec<(String, PodState, bool)> = engine
        .pods()
        .map(|p| (p.spec.name.clone(), p.state.clone(), p.leaving.is_some()))
        .collect();
    let names = |keep: &dyn Fn(&(String, PodState, bool)) -> bool| -> Vec<String> {
        let mut names: Vec<String> = pods
            .iter()
            .filter(|p| keep(p))
            .map(|p| p.0.clone())
            .collect();
        names.sort_unstable();
        names
    };
    let runs = |p: &(String, PodState, bool)| matches!(p.1, PodState::Running { .. });
    let nodes: Vec<String> = engine.nodes().map(|n| n.spec.name.clone()).collect();
    let jobs: Vec<String> = engine.jobs().map(|j| j.spec.id.clone()).collect();
    Some(match rng.below(24) {
        0..=2 => {
            let name = format!("n{}", rng.below(8));
            let rack = format!("r{}", rng.below(3));
            Event::NodePut(Box::new(node(&name, 4, &rack)))
        }
        3 => Event::NodeRemove {
            name: rng.pick(&nodes)?,
        },
        4 => Event::NodeFailed {
            name: rng.pick(&nodes)?,
            failed: rng.below(2) == 0,
        },
        5 => Event::PodsSubmit(vec![pod(&format!("p{i}"), rng.below(3) as u32)]),
        6..=9 => Event::JobSubmit(Box::new(random_job(rng, i))),
        10 => Event::JobDelete {
            id: rng.pick(&jobs)?,
        },
        11..=13 => Event::PodFinished {
            name: rng.pick(&names(&runs))?,
            how: [Finish::Succeeded, Finish::Succeeded, Finish::Failed][rng.below(3) as usize],
        },
        14 => Event::PodFinished {
            name: rng.pick(&names(&|_| true))?,
            how: [Finish::Deleted, Finish::Failed][rng.below(2) as usize],
        },
        15..=16 => Event::PodEvict {
            name: rng.pick(&names(&runs))?,
        },
        17..=18 => Event::PodEvicted {
            name: rng.pick(&names(&|p| p.2))?,
        },
        19 => Event::PodCheckpointed {
            name: rng.pick(&names(&runs))?,
        },
        20 => Event::BudgetPut(BudgetSpec {
            name: format!("b{}", rng.below(3)),
            app: "app".to_owned(),
            min_available: rng.below(4) as u32,
            bucket: (rng.below(2) == 0).then_some(BucketSpec {
                capacity: 1 + rng.below(4) as u32,
                refill_ms: 1_000,
            }),
        }),
        21 => Event::QuotaPut(QuotaSpec {
            name: "team".to_owned(),
            parent: None,
            weight: 1_000,
            tier: Tier::Flex,
            lines: vec![QuotaLine {
                resource: QuotaResource::Gpu,
                nominal: 1_000 * (4 + rng.below(12) as i64),
                borrowing_limit: None,
                lending_limit: None,
            }],
        }),
        22 => Event::ApproveEvictions {
            count: rng.below(5) as u32,
        },
        _ => Event::Tick,
    })
}

fn setup() -> Vec<Event> {
    let quota = Event::QuotaPut(QuotaSpec {
        name: "team".to_owned(),
        parent: None,
        weight: 1_000,
        tier: Tier::Flex,
        lines: Vec::new(),
    });
    let queue = Event::QueuePut(QueueSpec {
        name: "team".to_owned(),
        quota: "team".to_owned(),
        suspended: false,
    });
    vec![quota, queue]
}

/// Decisions after one event, of which there are a few dozen in these worlds: a
/// thousand are two parties that take the same place from each other for ever.
const DECISIONS_MAX: usize = 1_000;

fn step(
    engine: &mut Engine,
    now: u64,
    event: Event,
    out: &mut Output,
) -> Result<(), engine::EventError> {
    let text = format!("{event:?}");
    engine.apply(now, event, out)?;
    let mut decisions = 0;
    while engine.decide_next(out) {
        decisions += 1;
        let last = out.effects.len().saturating_sub(30);
        let (effects, plans) = (&out.effects[last..], out.plans.last());
        assert!(
            decisions < DECISIONS_MAX,
            "{text} never ends: {effects:#?} {plans:#?}"
        );
    }
    Ok(())
}

fn objects(engine: &Engine) -> Vec<Object> {
    let mut list: Vec<Object> = engine.keys().filter_map(|k| engine.export(&k)).collect();
    list.sort_by_cached_key(|o| format!("{o:?}"));
    list
}

#[test]
fn every_path_ends_in_a_known_state_also_across_restarts() {
    let (mut started, mut broken, mut refused, mut left, mut timed_out) = (0, 0, 0, 0, 0);
    for seed in 0..40 {
        let mut rng = Rng(seed * 2 + 1);
        let mut engine = Engine::new(engine::Config::default());
        let mut now = 0;
        let mut out = Output::default();
        for event in setup() {
            engine.step(now, event, &mut out).unwrap();
        }
        for i in 0..300 {
            now += rng.below(3_000);
            let Some(event) = random_event(&mut rng, &engine, i) else {
                continue;
            };
            out.clear();
            let text = format!("seed {seed} step {i} at {now}: {event:?}");
            let before = objects(&engine);
            if step(&mut engine, now, event, &mut out).is_err() {
                refused += 1;
                let effects = &out.effects;
                assert!(effects.is_empty(), "{text}: refused, but {effects:?}");
                let after = objects(&engine);
                assert_eq!(before, after, "{text}: refused, but something changed");
            }
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                check(&engine);
            }));
            assert!(panicked.is_ok(), "{text}");
            for effect in &out.effects {
                let line = format!("{effect:?}");
                started += usize::from(line.starts_with("Bind"));
                broken += usize::from(line.contains("GangBroken"));
                left += usize::from(line.contains("Evicted("));
                timed_out += usize::from(line.contains("GangTimedOut"));
            }
            if rng.below(10) == 0 {
                let list = objects(&engine);
                engine = Engine::restore(engine::Config::default(), list.clone())
                    .unwrap_or_else(|e| panic!("{text}: {e}"));
                assert_eq!(objects(&engine), list, "{text}");
                check(&engine);
            }
        }
        // Everything can be taken down again, and nothing is left behind.
        let jobs: Vec<String> = engine.jobs().map(|j| j.spec.id.clone()).collect();
        for id in jobs {
            engine.step(now, Event::JobDelete { id }, &mut out).unwrap();
            check(&engine);
        }
        let pods: Vec<String> = engine.pods().map(|p| p.spec.name.clone()).collect();
        for name in pods {
            let how = Finish::Deleted;
            let event = Event::PodFinished { name, how };
            engine.step(now, event, &mut out).unwrap();
        }
        check(&engine);
        for n in engine.nodes() {
            assert_eq!(
                n.free, n.spec.capacity,
                "seed {seed}: a leak on {}",
                n.spec.name
            );
        }
    }
    assert!(
        started > 1_000 && broken > 50 && left > 100,
        "{started} {broken} {left}"
    );
    assert!(refused > 20 && timed_out > 5, "{refused} {timed_out}");
}

#[test]
fn the_same_history_gives_the_same_effects() {
    let run = |seed: u64| {
        let mut rng = Rng(seed * 2 + 1);
        let mut engine = Engine::new(engine::Config::default());
        let (mut now, mut out) = (0, Output::default());
        for i in 0..200 {
            now += rng.below(3_000);
            if let Some(event) = random_event(&mut rng, &engine, i) {
                let _ = engine.step(now, event, &mut out);
            }
        }
        format!("{:?} {:?}", out.effects, out.plans)
    };
    for seed in 100..105 {
        assert_eq!(run(seed), run(seed));
    }
}
