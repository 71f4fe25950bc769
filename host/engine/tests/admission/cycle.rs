//! The quota cycle: who enters when, who waits and why.

use engine::port::admission::{Ruling, Shortage};
use engine::state::Object;
use engine::{Config, Engine, Key};
use model::event::Finish;
use model::gang::{GangSpec, RoleSpec};
use model::plan::AdmissionOutcome;
use model::quota::{QuotaResource, Tier};
use model::{Event, FailMode, JobKind, JobSpec, PodSpec, Reason, Resources};

use crate::world::{Rng, Script, World, finding, job, queue, quota, trap};

const CPU: usize = QuotaResource::Cpu as usize;

fn prioritised(id: &str, queue: &str, priority: i32, cpu: i64) -> JobSpec {
    let mut job = job(id, queue, 1, cpu);
    job.template.priority = priority;
    job
}

#[test]
fn a_job_waits_until_its_quota_pays() {
    let mut world = World::new();
    world.queue("q", None, 100);
    world.submit(job("a", "q", 1, 80));
    assert_eq!(world.outcomes(), ["a accepted", "a admitted 1"]);
    world.now += 1_000;
    world.submit(job("b", "q", 1, 30));
    assert_eq!(world.outcomes(), ["b accepted", "b waits q cpu 10"]);
    assert_eq!(world.waiting("q"), ["bx1 WaitingForQuota"]);
    let wait = world.engine.quota_wait("b").unwrap();
    assert_eq!(
        (wait.quota.as_str(), wait.ahead, wait.job.since_ms),
        ("q", 0, world.now)
    );
    assert_eq!(world.engine.waiting(), 1);
    assert_eq!(world.engine.summary().waiting[&Reason::WaitingForQuota], 1);
    assert_eq!(
        world.engine.oldest_waiting()[&Reason::WaitingForQuota],
        world.now
    );
    world.tick(1_000);
    assert!(
        world.outcomes().is_empty(),
        "what is known is not said again"
    );
    world.finish("a-0");
    assert_eq!(world.outcomes(), ["b admitted 1"]);
    assert_eq!(world.running(), ["bx1"]);
    assert!(world.engine.quota_wait("b").is_none());
}

#[test]
fn independent_pods_enter_as_far_as_they_fit() {
    let mut world = World::new();
    world.queue("q", None, 100);
    world.submit(job("a", "q", 10, 24));
    assert_eq!(
        world.outcomes(),
        ["a accepted", "a admitted 4", "a waits q cpu 20"]
    );
    assert_eq!(
        (world.running(), world.waiting("q")),
        (vec!["ax4".into()], vec!["ax6 WaitingForQuota".into()])
    );
    world.finish("a-1");
    assert_eq!(world.outcomes(), ["a admitted 1"]);
    assert!(
        world
            .engine
            .pod("a-4")
            .is_some_and(|p| matches!(p.state, engine::view::PodState::Running { .. }))
    );
    world.step(Event::JobDelete { id: "a".into() });
    let q = &world.engine.queue_views()[0];
    assert_eq!(
        (q.admitted, q.used.is_zero(), q.waiting.len()),
        (0, true, 0)
    );
}

#[test]
fn higher_priority_first_then_who_came_first() {
    let mut world = World::new();
    world.queue("q", None, 10);
    world.submit(job("x", "q", 1, 10));
    world.submit(prioritised("low", "q", 0, 10));
    world.submit(prioritised("first", "q", 5, 10));
    world.submit(prioritised("second", "q", 5, 10));
    let line = ["first", "second", "low"].map(|j| format!("{j}x1 WaitingForQuota"));
    assert_eq!(world.waiting("q"), line);
    for (gone, next) in [("x", "first"), ("first", "second"), ("second", "low")] {
        world.finish(&format!("{gone}-0"));
        assert_eq!(world.outcomes()[0], format!("{next} admitted 1"));
    }
}

#[test]
fn who_stays_within_his_own_goes_before_who_borrows() {
    let mut world = World::new();
    world.quota(quota("all", None, None));
    for name in ["a", "b", "c"] {
        world.queue(name, Some("all"), 10);
    }
    world.submit(job("fill", "c", 3, 10));
    assert_eq!(world.running(), ["fillx3"]);
    world.submit(prioritised("a-over", "a", 9, 20));
    world.submit(prioritised("b-own", "b", 0, 10));
    assert_eq!(world.waiting("b"), ["b-ownx1 WaitingForQuota reclaims"]);
    assert_eq!(
        world.waiting("a"),
        ["a-overx1 WaitingForQuota"],
        "20 is not its own"
    );
    world.finish("fill-0");
    assert_eq!(world.outcomes()[0], "b-own admitted 1");
    // What is its own it may ask back, and only that.
    let ruling = |world: &World, cpu| world.engine.quota_ruling(&job("x", "a", 1, cpu));
    assert!(matches!(
        ruling(&world, 10),
        AdmissionOutcome::Reclaiming(_)
    ));
    assert!(matches!(ruling(&world, 11), AdmissionOutcome::Waiting(_)));
    assert!(matches!(ruling(&world, 31), AdmissionOutcome::Rejected(_)));
    world.step(Event::PodFinished {
        name: "fill-1".into(),
        how: Finish::Succeeded,
    });
    assert_eq!(ruling(&world, 10), AdmissionOutcome::Admitted(1));
}

#[test]
fn what_is_owed_is_not_lent_again() {
    let mut world = World::new();
    world.quota(quota("all", None, None));
    for name in ["a", "b", "c"] {
        world.queue(name, Some("all"), 10);
    }
    world.submit(job("fill", "c", 6, 5));
    assert_eq!(world.running(), ["fillx6"]);
    world.submit(job("owner", "a", 1, 10));
    assert_eq!(world.waiting("a"), ["ownerx1 WaitingForQuota reclaims"]);
    // Small ones would fit into each part that comes back.
    world.submit(job("small", "c", 4, 5));
    world.finish("fill-0");
    assert_eq!(world.waiting("c"), ["smallx4 WaitingForQuota"]);
    assert_eq!(
        world.engine.quota_wait("small").unwrap().job.shortages[0].by,
        20
    );
    // Who does not borrow may use it: it is owed to him as well.
    world.submit(job("own", "b", 1, 5));
    assert_eq!(world.outcomes()[..2], ["own accepted", "own admitted 1"]);
    world.finish("fill-1");
    assert_eq!(world.running(), ["fillx4", "ownx1"]);
    world.finish("fill-2");
    assert_eq!(world.outcomes()[0], "owner admitted 1");
    // Now it may be lent again.
    world.finish("fill-3");
    assert_eq!(world.outcomes(), ["small admitted 1"]);
}

#[test]
fn a_big_head_does_not_stop_its_queue() {
    let mut world = World::new();
    world.queue("q", None, 100);
    world.submit(job("x", "q", 1, 60));
    world.submit(prioritised("big", "q", 1, 90));
    world.submit(prioritised("also-big", "q", 1, 50));
    world.submit(prioritised("small", "q", 0, 30));
    assert_eq!(world.outcomes(), ["small accepted", "small admitted 1"]);
    let line = ["big", "also-big"].map(|j| format!("{j}x1 WaitingForQuota"));
    assert_eq!(world.waiting("q"), line);
    world.finish("x-0");
    assert_eq!(world.outcomes()[0], "also-big admitted 1");
}

#[test]
fn suspended_and_impossible_are_named() {
    let mut world = World::new();
    world.queue("q", None, 100);
    let mut stopped = queue("q", "q");
    stopped.suspended = true;
    world.step(Event::QueuePut(stopped));
    world.submit(job("a", "q", 1, 10));
    assert_eq!(world.waiting("q"), ["ax1 QueueSuspended"]);
    world.step(Event::QueuePut(queue("q", "q")));
    assert_eq!(world.outcomes(), ["a admitted 1"]);
    world.submit(job("b", "q", 1, 101));
    assert_eq!(world.outcomes(), ["b accepted", "b rejected ExceedsQuota"]);
    let finding = world.engine.quota_wait("b").unwrap().job.finding.unwrap();
    let text = "queue \"q\": it needs 101 cpu, and can never have more than 100";
    assert_eq!(finding.message, text);
    assert_eq!(world.waiting("q"), ["bx1 ExceedsQuota"]);
    world.quota(quota("q", None, Some(111)));
    assert_eq!(world.outcomes(), ["b admitted 1"]);
    // Cutting a quota stops entry and kills nobody.
    world.quota(quota("q", None, Some(50)));
    assert_eq!(world.running(), ["ax1", "bx1"]);
    world.submit(job("c", "q", 1, 1));
    assert_eq!(world.waiting("q"), ["cx1 WaitingForQuota"]);
}

#[test]
fn a_critical_guarantee_is_there_at_once() {
    let mut world = World::new();
    world.quota(quota("all", None, None));
    world.queue("flex", Some("all"), 10);
    world.queue("critical", Some("all"), 10);
    let mut critical = quota("critical", Some("all"), Some(10));
    critical.tier = Tier::Critical;
    world.quota(critical);
    world.submit(job("greedy", "flex", 30, 1));
    assert_eq!(world.running(), ["greedyx10"]);
    world.submit(job("urgent", "critical", 10, 1));
    assert_eq!(world.outcomes(), ["urgent accepted", "urgent admitted 10"]);
}

fn gang(id: &str, queue: &str, roles: &[(&str, u32, u32, i64)]) -> JobSpec {
    let mut gang = job(id, queue, roles.iter().map(|r| r.1).sum(), 0);
    let roles = roles.iter().map(|(name, count, min, cpu)| RoleSpec {
        name: (*name).to_owned(),
        count: *count,
        min: *min,
        template: PodSpec {
            requests: Resources {
                cpu_milli: *cpu,
                ..Resources::default()
            },
            ..PodSpec::default()
        },
    });
    gang.gang = Some(GangSpec {
        roles: roles.collect(),
        topology: None,
        timeout_ms: None,
    });
    gang
}

#[test]
fn a_gang_enters_with_its_minimum_or_not_at_all() {
    let mut world = World::new();
    world.queue("q", None, 100);
    world.submit(job("x", "q", 1, 50));
    world.submit(gang("g", "q", &[("boss", 1, 1, 20), ("worker", 6, 4, 10)]));
    assert_eq!(world.outcomes(), ["g accepted", "g waits q cpu 10"]);
    let needs = world.engine.quota_wait("g").unwrap().needs;
    assert_eq!(needs.0[CPU], 60, "the boss and four workers");
    world.submit(job("y", "q", 1, 25));
    world.finish("x-0");
    // One worker more than it must have; the last goes on waiting.
    assert_eq!(world.outcomes(), ["g admitted 6"]);
    assert_eq!(world.waiting("q"), ["gx1 WaitingForQuota"]);
    assert_eq!(world.engine.quota_wait("g").unwrap().needs.0[CPU], 10);
    world.finish("y-0");
    assert_eq!(world.outcomes(), ["g admitted 1"]);
    assert_eq!(world.engine.queue_views()[0].used.0[CPU], 80);
}

#[test]
fn a_service_of_a_queue_grows_and_heals_within_it() {
    let mut world = World::new();
    world.queue("q", None, 30);
    let mut service = job("s", "q", 2, 10);
    service.kind = JobKind::Service;
    world.submit(service);
    world.step(Event::JobScale {
        id: "s".into(),
        replicas: 5,
    });
    assert_eq!(
        (world.running(), world.waiting("q")),
        (vec!["sx3".into()], vec!["sx2 WaitingForQuota".into()])
    );
    world.finish("s-0");
    assert_eq!(world.running(), ["sx3"]);
    world.step(Event::JobScale {
        id: "s".into(),
        replicas: 1,
    });
    assert_eq!(world.running(), ["sx1"]);
    assert_eq!(world.engine.queue_views()[0].used.0[CPU], 10);
}

// === Policies ===

#[test]
fn the_first_policy_with_an_opinion_gives_the_order() {
    let mut world = World::new();
    world.quota(quota("all", None, Some(10)));
    for name in ["a", "b", "c"] {
        world.step(Event::QuotaPut(quota(name, Some("all"), None)));
        world.step(Event::QueuePut(queue(name, name)));
    }
    world.submit(job("fill", "a", 1, 10));
    let silent = Script::new("silent");
    let deadline = Script::new("deadline").order(|c| {
        let key = |h: &engine::port::admission::Head| match h.deadline {
            Some(at) => vec![at as i64],
            None => Vec::new(),
        };
        Ok(c.heads.iter().map(key).collect())
    });
    let never = Script::new("never").order(|_| panic!("the one before had an opinion"));
    let open = FailMode::Open;
    for (queue, deadline) in [("a", None), ("b", Some(9_000)), ("c", Some(5_000))] {
        let mut job = job(&format!("in-{queue}"), queue, 1, 10);
        job.meta.deadline_ms = deadline;
        world.submit(job);
    }
    // From here on there is always somebody with a deadline among the heads.
    world.install(vec![(silent, open), (deadline, open), (never, open)]);
    world.finish("fill-0");
    assert_eq!(world.outcomes(), ["in-c admitted 1"]);
    world.finish("in-c-0");
    assert_eq!(world.outcomes()[0], "in-b admitted 1");
}

#[test]
fn heads_tell_what_is_known() {
    let mut world = World::new();
    world.queue("q", None, 100);
    let script = Script::new("x").admit(|c| {
        let h = &c.heads[0];
        let n = &c.nodes[h.node as usize];
        assert_eq!(
            (n.name.as_str(), n.tier, n.lines[0].nominal),
            ("q", "flex", 100)
        );
        assert_eq!(
            (h.job.as_str(), h.queue.as_str(), h.priority),
            ("a", "q", 3)
        );
        assert_eq!((h.created, h.waited, h.attempts), (1_000, c.now - 1_000, 0));
        assert_eq!((h.deadline, h.expected_runtime), (Some(9), Some(50)));
        assert_eq!(h.demand.len(), 1, "what is not needed is left out");
        assert_eq!((h.demand[0].resource, h.demand[0].amount), ("cpu", 30));
        assert_eq!(h.min_demand[0].amount, 10, "one pod");
        Ok(vec![Ruling::AdmitPartial(vec![2])])
    });
    let mut a = job("a", "q", 3, 10);
    a.template.priority = 3;
    a.meta.deadline_ms = Some(9);
    a.meta.expected_runtime_ms = Some(50);
    let mut stopped = queue("q", "q");
    stopped.suspended = true;
    world.step(Event::QueuePut(stopped));
    world.submit(a);
    world.now += 500;
    let mut calls = 0;
    let script = Script::new("once").admit({
        let mut script = script;
        move |c| {
            calls += 1;
            match calls {
                1 => engine::port::admission::AdmissionPolicy::admit(&mut script, c).map(|a| a.0),
                _ => Ok(vec![Ruling::Wait(Vec::new()); c.heads.len()]),
            }
        }
    });
    world.install(vec![(script, FailMode::Closed)]);
    world.step(Event::QueuePut(queue("q", "q")));
    assert_eq!(world.faults(), Vec::<String>::new());
    assert_eq!(world.outcomes(), ["a admitted 2", "a waits"]);
}

#[test]
fn a_policy_that_holds_a_job_back_is_asked_again() {
    let mut world = World::new();
    world.queue("q", None, 100);
    world.install(vec![(
        Script::new("late").admit(|c| {
            Ok(vec![match c.now {
                now if now < 7_000 => Ruling::Wait(vec![Shortage {
                    node: 0,
                    resource: "memory".into(),
                    by: 3,
                }]),
                _ => Ruling::Admit,
            }])
        }),
        FailMode::Closed,
    )]);
    world.submit(job("a", "q", 1, 10));
    assert_eq!(world.outcomes(), ["a accepted", "a waits q memory 3"]);
    world.tick(4_999);
    assert_eq!(world.running(), Vec::<String>::new());
    world.tick(1);
    assert_eq!(
        world.outcomes(),
        Vec::<String>::new(),
        "asked, and held again"
    );
    world.tick(5_000);
    assert_eq!(world.outcomes(), ["a admitted 1"]);
}

#[test]
fn rulings_of_several_policies_go_head_by_head() {
    let mut world = World::new();
    world.queue("a", None, 10);
    world.queue("b", None, 10);
    world.queue("c", None, 10);
    world.install(vec![
        (
            Script::new("x").admit(|c| {
                let rule = |h: &engine::port::admission::Head| match h.queue.as_str() {
                    "a" => Ruling::Reject(finding("NotToday")),
                    _ => Ruling::Abstain,
                };
                Ok(c.heads.iter().map(rule).collect())
            }),
            FailMode::Open,
        ),
        (
            Script::new("y").admit(|c| {
                let rule = |h: &engine::port::admission::Head| match h.queue.as_str() {
                    "c" => Ruling::Abstain,
                    _ => Ruling::Wait(Vec::new()),
                };
                Ok(c.heads.iter().map(rule).collect())
            }),
            FailMode::Open,
        ),
    ]);
    for queue in ["a", "b", "c"] {
        world.submit(job(&format!("in-{queue}"), queue, 1, 10));
    }
    assert_eq!(world.running(), ["in-cx1"]);
    assert_eq!(world.waiting("a"), ["in-ax1 ExceedsQuota"]);
    assert_eq!(world.waiting("b"), ["in-bx1 WaitingForQuota"]);
}

#[test]
fn a_fault_in_a_cycle_is_answered_by_the_built_in_whatever_the_fail_mode() {
    for fail in [FailMode::Open, FailMode::Closed] {
        let mut world = World::new();
        world.queue("q", None, 1_000);
        let script = Script::new("x");
        let script = script.order(|_| Err(trap())).admit(|_| Err(trap()));
        world.install(vec![(script, fail)]);
        world.submit(job("a", "q", 1, 10));
        assert_eq!(world.outcomes(), ["a accepted", "a admitted 1"]);
        let traps = ["order", "admit"].map(|call| format!("x {call} Trap: trapped: boom"));
        assert_eq!(world.faults(), traps);
        // Its good answers at the door count too, so it takes more than five.
        for i in 0..10 {
            world.submit(job(&format!("b{i}"), "q", 1, 10));
        }
        // Then it goes, or is not asked any more in cycles.
        world.submit(job("c", "q", 1, 10));
        assert!(world.faults().is_empty());
        let builtin = world.engine.admission_set().is_builtin();
        assert_eq!(builtin, fail == FailMode::Open);
        assert_eq!(world.running().len(), 12);
    }
}

// === Histories ===

/// A random cluster of queues under the built-in.
fn history(seed: u64, steps: u64, mut look: impl FnMut(&mut World, &mut Rng)) {
    let mut rng = Rng::new(seed);
    let mut world = World::new();
    world.quota(quota("all", None, None));
    for i in 0..4 {
        world.queue(&format!("q{i}"), Some("all"), 20 + rng.below(60) as i64);
    }
    let mut jobs = 0;
    for _ in 0..steps {
        world.now += rng.below(2_000);
        match rng.below(5) {
            0 | 1 => {
                let queue = format!("q{}", rng.below(4));
                let id = format!("j{jobs}");
                jobs += 1;
                let mut spec = match rng.below(4) {
                    0 => gang(&id, &queue, &[("w", 4, 2, 3), ("ps", 1, 1, 5)]),
                    _ => job(
                        &id,
                        &queue,
                        1 + rng.below(4) as u32,
                        1 + rng.below(30) as i64,
                    ),
                };
                spec.template.priority = rng.below(3) as i32;
                world.submit(spec);
            }
            2 => {
                let name = format!("q{}", rng.below(4));
                world.quota(quota(&name, Some("all"), Some(20 + rng.below(60) as i64)));
            }
            3 => world.step(Event::Tick),
            _ => {
                let running: Vec<String> = world
                    .engine
                    .pods()
                    .filter(|p| matches!(p.state, engine::view::PodState::Running { .. }))
                    .map(|p| p.spec.name.clone())
                    .collect();
                if !running.is_empty() {
                    let at = rng.below(running.len() as u64) as usize;
                    world.finish(&running[at]);
                }
            }
        }
        look(&mut world, &mut rng);
    }
}

#[test]
fn usage_is_the_sum_of_the_admitted_pods_and_never_grows_above_the_quota() {
    for seed in 0..60 {
        let mut before = 0;
        history(seed, 120, |world, _| {
            let views = world.engine.quota_views();
            let used: i64 = views[1..].iter().map(|v| v.own.0[CPU]).sum();
            let nominal: i64 = views[1..].iter().map(|v| v.spec.lines[0].nominal).sum();
            let records = world.engine.pods();
            let admitted = records.filter_map(|p| {
                let key = Key::Pod(p.spec.name.as_str().into());
                match world.engine.export(&key) {
                    Some(Object::Pod(r)) if r.admitted => Some(r.spec.requests.cpu_milli),
                    _ => None,
                }
            });
            assert_eq!(admitted.sum::<i64>(), used, "seed {seed}");
            assert_eq!(views[0].used.0[CPU], used, "seed {seed}");
            // A cut may leave it above; nothing enters then.
            assert!(
                used <= nominal.max(before),
                "seed {seed}: {used} of {nominal}"
            );
            before = used;
        });
    }
}

#[test]
fn nobody_waits_whose_quota_would_pay() {
    let mut calm = 0;
    for seed in 0..60 {
        history(seed, 120, |world, _| {
            let views = world.engine.queue_views();
            // While a guarantee is owed, others may not borrow.
            if views.iter().flat_map(|v| &v.waiting).any(|w| w.reclaiming) {
                return;
            }
            calm += 1;
            for view in views {
                // As far as it is looked ahead.
                for job in view.waiting.iter().take(16) {
                    let wait = world.engine.quota_wait(&job.id).unwrap();
                    let mut least = crate::world::job("probe", &view.spec.name, 1, 0);
                    least.template.requests.cpu_milli = wait.needs.0[CPU];
                    let ruling = world.engine.quota_ruling(&least);
                    let enters = matches!(ruling, AdmissionOutcome::Admitted(_));
                    assert!(!enters, "seed {seed}: {} waits", job.id);
                }
            }
        });
    }
    assert!(calm > 1_000, "{calm}");
}

#[test]
fn a_restart_does_not_show() {
    for seed in 0..40 {
        history(seed, 60, |world, rng| {
            if rng.below(10) > 0 {
                return;
            }
            let mut objects: Vec<Object> = world
                .engine
                .keys()
                .filter_map(|key| world.engine.export(&key))
                .collect();
            for i in (1..objects.len()).rev() {
                objects.swap(i, rng.below(i as u64 + 1) as usize);
            }
            let mut again = Engine::restore(Config::default(), objects).expect("a whole state");
            assert_eq!(
                again.quota_views(),
                world.engine.quota_views(),
                "seed {seed}"
            );
            // Standings are looked up again with the first step.
            let mut out = engine::Output::default();
            again
                .step(world.now, Event::Tick, &mut out)
                .expect("a tick");
            let line = |e: &Engine| -> Vec<_> {
                let views = e.queue_views();
                let jobs = views.iter().flat_map(|v| &v.waiting);
                jobs.map(|w| (w.id.clone(), w.pods, w.since_ms)).collect()
            };
            assert_eq!(line(&again), line(&world.engine), "seed {seed}");
            world.engine = again;
        });
    }
}
