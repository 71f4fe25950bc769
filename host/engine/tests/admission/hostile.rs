//! A policy that lets everybody in, answers with nonsense, and never tires:
//! no quota is overdrawn, and every fault is named.

use engine::port::admission::{
    AdmissionPolicy, Change, Cycle, Patch, Review, Ruling, Shortage, SortKey, Validation, Verdict,
};
use model::quota::QuotaResource;
use model::{Event, FailMode, JobSpec, PolicyFault};

use crate::world::{Rng, Script, World, finding, job, patch, quota};

const CPU: usize = QuotaResource::Cpu as usize;

fn greedy() -> Script {
    Script::new("greedy").admit(|c| Ok(vec![Ruling::Admit; c.heads.len()]))
}

#[test]
fn letting_everybody_in_lets_in_who_fits() {
    let mut world = World::new();
    world.queue("q", None, 100);
    world.submit(job("x", "q", 1, 70));
    world.install(vec![(greedy(), FailMode::Closed)]);
    world.submit(job("a", "q", 4, 20));
    let text = "greedy admit BadAnswer: bad answer: ruling for job \"a\": it is let in, but the quota does not suffice";
    assert_eq!(world.faults()[0], text);
    // The built-in then lets in as many as fit.
    assert_eq!(world.outcomes()[..2], ["a accepted", "a admitted 1"]);
    assert_eq!(world.out.admissions[1].faults.len(), 1);
    assert_eq!(world.engine.quota_views()[0].used.0[CPU], 90);
}

#[test]
fn each_kind_of_nonsense_is_named() {
    let short = |node, resource: &str, by| {
        vec![Shortage {
            node,
            resource: resource.to_owned(),
            by,
        }]
    };
    let cases = [
        (vec![], "0 rulings for 1 heads"),
        (vec![Ruling::Admit, Ruling::Admit], "2 rulings for 1 heads"),
        (
            vec![Ruling::Wait(short(9, "cpu", 1))],
            "there is no quota node 9",
        ),
        (
            vec![Ruling::Wait(short(0, "gold", 1))],
            "there is no resource \"gold\"",
        ),
        (vec![Ruling::Wait(short(0, "cpu", 0))], "short by 0"),
        (vec![Ruling::Reclaim(short(0, "cpu", -5))], "short by -5"),
        (vec![Ruling::Reclaim(vec![])], "it reclaims, but it fits"),
        (
            vec![Ruling::AdmitPartial(vec![])],
            "counts for 0 roles, it has 1",
        ),
        (
            vec![Ruling::AdmitPartial(vec![0])],
            "0 pods of a role, allowed are 1 to 2",
        ),
        (
            vec![Ruling::AdmitPartial(vec![3])],
            "3 pods of a role, allowed are 1 to 2",
        ),
    ];
    for (answer, problem) in cases {
        let mut world = World::new();
        world.queue("q", None, 100);
        let script = Script::new("x").admit(move |_| Ok(answer.clone()));
        world.install(vec![(script, FailMode::Closed)]);
        world.submit(job("a", "q", 2, 20));
        let faults = world.faults();
        assert!(
            faults[0].starts_with("x admit BadAnswer") && faults[0].contains(problem),
            "{faults:?}"
        );
        assert_eq!(world.running(), ["ax2"], "the built-in answers");
    }
    for (keys, problem) in [
        (vec![vec![1], vec![2]], "2 sort keys for 1 heads"),
        (vec![vec![0; 17]], "a sort key of 17 elements, at most 16"),
    ] {
        let mut world = World::new();
        world.queue("q", None, 100);
        let script = Script::new("x").order(move |_| Ok(keys.clone()));
        world.install(vec![(script, FailMode::Closed)]);
        world.submit(job("a", "q", 2, 20));
        assert!(world.faults()[0].contains(problem), "{:?}", world.faults());
        assert_eq!(world.running(), ["ax2"]);
    }
}

#[test]
fn nobody_reclaims_what_is_not_his() {
    let mut world = World::new();
    world.quota(quota("all", None, None));
    world.queue("a", Some("all"), 10);
    world.queue("b", Some("all"), 10);
    world.submit(job("x", "b", 2, 10));
    let script = Script::new("x").admit(|c| Ok(vec![Ruling::Reclaim(Vec::new()); c.heads.len()]));
    world.install(vec![(script, FailMode::Closed)]);
    world.submit(job("j", "a", 1, 11));
    assert!(
        world.faults()[0].contains("not its own to reclaim"),
        "{:?}",
        world.faults()
    );
    assert_eq!(world.waiting("a"), ["jx1 WaitingForQuota"]);
    world.step(Event::JobDelete { id: "j".into() });
    world.submit(job("k", "a", 1, 10));
    assert!(world.faults().is_empty());
    assert_eq!(world.waiting("a"), ["kx1 WaitingForQuota reclaims"]);
}

#[test]
fn who_was_overtaken_is_not_blamed() {
    let mut world = World::new();
    world.quota(quota("all", None, Some(10)));
    for name in ["a", "b"] {
        world.step(Event::QuotaPut(quota(name, Some("all"), None)));
        world.step(Event::QueuePut(crate::world::queue(name, name)));
    }
    world.submit(job("fill", "a", 1, 10));
    // Two policies, each lets in another queue's head, and cannot know of the
    // other's.
    let only = |name: &str, queue: &'static str| {
        Script::new(name).admit(move |c| {
            let rule = |h: &engine::port::admission::Head| match h.queue == queue {
                true => Ruling::Admit,
                false => Ruling::Abstain,
            };
            Ok(c.heads.iter().map(rule).collect())
        })
    };
    world.submit(job("in-a", "a", 1, 10));
    world.submit(job("in-b", "b", 1, 10));
    let closed = FailMode::Closed;
    world.engine.install_admission(crate::world::set(
        9,
        vec![(only("x", "a"), closed), (only("y", "b"), closed)],
    ));
    world.finish("fill-0");
    assert_eq!(world.faults(), Vec::<String>::new());
    assert_eq!(world.running(), ["in-ax1"]);
}

/// Answers at random, mostly wrong.
struct Chaos(Rng);

impl Chaos {
    fn ruling(&mut self, heads: usize) -> Ruling {
        let rng = &mut self.0;
        let mut shortages = || {
            (0..rng.below(3))
                .map(|_| Shortage {
                    node: rng.below(8) as u32,
                    resource: ["cpu", "gpu", "", "time"][rng.below(4) as usize].to_owned(),
                    by: rng.below(5) as i64 - 1,
                })
                .collect::<Vec<_>>()
        };
        let list = shortages();
        match rng.below(8) {
            0..3 => Ruling::Admit,
            3 => Ruling::AdmitPartial((0..rng.below(3)).map(|_| rng.below(9) as u32).collect()),
            4 => Ruling::Wait(list),
            5 => Ruling::Reclaim(list),
            6 if heads > 1 => Ruling::Reject(finding("Chaos")),
            _ => Ruling::Abstain,
        }
    }
}

fn chaos(seed: u64) -> Script {
    let mut a = Chaos(Rng::new(seed));
    let mut b = Rng::new(seed + 1);
    let mut c = Rng::new(seed + 2);
    Script::new("chaos")
        .admit(move |cycle: &Cycle| {
            let more = a.0.below(10) / 8;
            let count = cycle.heads.len() as u64 + more;
            Ok((0..count).map(|_| a.ruling(cycle.heads.len())).collect())
        })
        .order(move |cycle: &Cycle| {
            let keys = cycle.heads.iter().map(|_| -> SortKey {
                (0..b.below(20)).map(|_| b.below(u64::MAX) as i64).collect()
            });
            Ok(keys.collect())
        })
        .mutate(move |review: &Review| {
            let fields = [
                "/id",
                "/priority",
                "/queue",
                "/roles/main/cpu",
                "/roles/main/count",
                "/labels/x",
            ];
            let values = ["1", "-1", "\"q1\"", "\"", "99999999999", "[]"];
            let steps = (0..c.below(3)).map(|_| Patch {
                field: fields[c.below(6) as usize].to_owned(),
                change: match c.below(3) {
                    0 => Change::Remove,
                    1 => Change::Add(values[c.below(6) as usize].to_owned()),
                    _ => Change::Set(values[c.below(6) as usize].to_owned()),
                },
                reason: review.object.id.clone(),
            });
            Ok(steps.collect())
        })
        .validate(|_| -> Result<Validation, PolicyFault> {
            Ok(Validation {
                verdict: Verdict::Abstain,
                warnings: Vec::new(),
            })
        })
}

#[test]
fn chaos_overdraws_nothing() {
    let (mut faults, mut entered) = (0, 0);
    for seed in 0..40 {
        let mut world = World::new();
        let mut rng = Rng::new(seed);
        world.quota(quota("all", None, Some(15)));
        for i in 0..3 {
            let name = format!("q{i}");
            world.queue(&name, Some("all"), 20 + 10 * i);
            let mut spec = quota(&name, Some("all"), Some(20 + 10 * i));
            spec.lines[0].borrowing_limit = Some(12);
            world.quota(spec);
        }
        for i in 0..80u64 {
            // A breaker would end the party.
            let set = crate::world::set(i, vec![(chaos(seed * 1_000 + i), FailMode::Open)]);
            world.engine.install_admission(set);
            world.now += rng.below(3_000);
            let event = match rng.below(4) {
                0..3 => {
                    let queue = format!("q{}", rng.below(3));
                    let pods = 1 + rng.below(5) as u32;
                    let spec: JobSpec =
                        job(&format!("j{i}"), &queue, pods, 1 + rng.below(12) as i64);
                    Event::JobSubmit(Box::new(spec))
                }
                _ => match world.engine.jobs().find(|j| j.running > 0) {
                    Some(job) => Event::JobDelete {
                        id: job.spec.id.clone(),
                    },
                    None => Event::Tick,
                },
            };
            world.step(event);
            for fault in world.faults() {
                assert!(
                    fault.starts_with("chaos ") && fault.contains(" BadAnswer: "),
                    "{fault}"
                );
                faults += 1;
            }
            let outcomes = world.outcomes();
            entered += outcomes.iter().filter(|o| o.contains("admitted")).count();
            let views = world.engine.quota_views();
            assert!(
                views[0].used.0[CPU] <= 15 + 20 + 30 + 40,
                "seed {seed} step {i}"
            );
            for v in &views[1..] {
                let most = v.spec.lines[0].nominal + 12;
                assert!(
                    v.used.0[CPU] <= most,
                    "seed {seed} step {i} {}",
                    v.spec.name
                );
            }
        }
    }
    assert!(
        faults > 500 && entered > 500,
        "{faults} faults, {entered} entered"
    );
}

#[test]
fn the_same_answers_give_the_same_history() {
    let run = || {
        let mut world = World::new();
        world.queue("q0", None, 50);
        world.queue("q1", None, 20);
        world.install(vec![
            (chaos(7), FailMode::Closed),
            (greedy(), FailMode::Closed),
        ]);
        let mut log = Vec::new();
        for i in 0..40 {
            world.now += 700;
            let spec = job(&format!("j{i}"), if i % 3 == 0 { "q1" } else { "q0" }, 2, 3);
            let refused = world.try_step(Event::JobSubmit(Box::new(spec))).err();
            log.push((
                refused.map(|e| e.to_string()),
                world.outcomes(),
                world.faults(),
            ));
        }
        log
    };
    assert_eq!(run(), run());
    let _: &dyn AdmissionPolicy = &greedy();
    assert_eq!(patch("/tier", "1").field, "/tier");
}
