//! All or nothing, from the door to the end.

use engine::GangState;
use model::event::Finish;
use model::gang::{Level, Slice};
use model::quota::{QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier};
use model::{Event, JobKind, JobSpec, Outcome, Reason};

use crate::support::{World, bound, gang, in_one, job, pod, short, with_grace};

fn four() -> JobSpec {
    gang("g", &[("w", 4, 4, 4)])
}

#[test]
fn nobody_starts_before_all_fit_and_then_all_start_in_one_step() {
    let mut world = World::new(&[("a", 4, "r1"), ("b", 4, "r1"), ("c", 4, "r1")]);
    let out = world.step(Event::JobSubmit(Box::new(four())));
    assert_eq!(bound(&out), 0);
    assert_eq!(out.decisions.len(), 1, "one decision, for the first member");
    assert_eq!(&*out.decisions[0].pod, "g-w-0");
    for i in 0..4 {
        let reason = world.reason(&format!("g-w-{i}"));
        assert_eq!(reason, Reason::WaitingForCapacity);
    }
    let view = world.engine.gang_view("g").unwrap();
    assert_eq!((view.attempts, view.roles[0].waiting), (1, 4));
    assert_eq!(view.retry_at_ms, Some(engine::BACKOFF_FIRST_MS));
    // A row that helps no member wakes nobody.
    world.node("small", 2, "r1");
    assert_eq!(world.engine.gang_view("g").unwrap().attempts, 1);
    let out = world.step(Event::NodePut(Box::new(crate::support::node("d", 4, "r1"))));
    assert_eq!(bound(&out), 4, "{:?}", short(&out));
    let view = world.engine.gang_view("g").unwrap();
    assert_eq!(view.state, GangState::Running);
    assert_eq!(view.domain, Some((Level::Rack, "r1".into())));
    assert_eq!((view.roles[0].running, view.started_ms), (4, Some(0)));
}

#[test]
fn two_gangs_that_need_sixty_percent_each_never_block_each_other() {
    let nodes: Vec<(String, usize)> = (0..10).map(|i| (format!("n{i}"), 1)).collect();
    let nodes: Vec<(&str, usize, &str)> =
        nodes.iter().map(|(n, g)| (n.as_str(), *g, "r")).collect();
    let mut world = World::new(&[]);
    for id in ["one", "two"] {
        world.submit(gang(id, &[("w", 6, 6, 1)]));
    }
    // Room comes one by one, as if both could grab some of it.
    for (name, gpus, rack) in nodes {
        world.node(name, gpus, rack);
    }
    let running = |world: &World, id: &str| world.engine.job(id).unwrap().running;
    assert_eq!((running(&world, "one"), running(&world, "two")), (6, 0));
    for i in 0..6 {
        world.finish(&format!("one-w-{i}"), Finish::Succeeded);
    }
    assert_eq!(running(&world, "two"), 6);
}

#[test]
fn enough_room_in_sum_but_not_together_is_called_so() {
    let mut world = World::new(&[("a", 4, "r1"), ("b", 4, "r2")]);
    world.submit(in_one(Level::Rack, gang("g", &[("w", 2, 2, 4)])));
    assert_eq!(world.reason("g-w-0"), Reason::FragmentedTopology);
    let told = world.node("c", 4, "r2");
    assert_eq!(told, ["bind g-w-0 b", "bind g-w-1 c"]);
}

#[test]
fn a_failed_member_is_made_again_and_the_gang_starts_again_as_one() {
    let mut world = World::new(&[("a", 4, "r"), ("b", 4, "r")]);
    world.submit(with_grace(1_000, gang("g", &[("w", 2, 2, 4)])));
    world.now = 6_000;
    let name = "g-w-0".to_owned();
    world.tell(Event::PodCheckpointed { name });
    world.now = 10_000;
    let told = world.finish("g-w-0", Finish::Failed);
    let failed = world.engine.pod("g-w-0").unwrap().progress;
    assert_eq!((failed.served_ms, failed.lost_ms), (6_000, 4_000));
    assert_eq!(told, ["evict g-w-1 1000 GangBroken"]);
    assert_eq!(world.reason("g-w-0"), Reason::WaitingForGang);
    let view = world.engine.gang_view("g").unwrap();
    assert!(matches!(view.state, GangState::Leaving { .. }), "{view:?}");
    world.now += 400;
    let name = "g-w-1".to_owned();
    let told = world.tell(Event::PodEvicted { name });
    assert_eq!(
        told,
        ["requeue g-w-1 GangBroken", "bind g-w-0 a", "bind g-w-1 b"]
    );
    let view = world.engine.pod("g-w-1").unwrap();
    assert_eq!(
        (view.progress.served_ms, view.progress.lost_ms),
        (10_400, 0)
    );
    assert_eq!(world.engine.job("g").unwrap().failed, 1);
    // Its end is final once everybody has succeeded.
    world.finish("g-w-0", Finish::Succeeded);
    assert!(world.runs("g-w-1"), "a member that is done is not missed");
    world.finish("g-w-1", Finish::Succeeded);
    assert_eq!(world.engine.job("g").unwrap().succeeded, 2);
}

#[test]
fn a_gang_that_fails_again_and_again_is_given_up() {
    let mut world = World::new(&[("a", 4, "r"), ("b", 4, "r")]);
    world.submit(gang("g", &[("w", 2, 2, 4)]));
    for _ in 1..engine::GANG_FAILURES_MAX {
        world.finish("g-w-0", Finish::Failed);
        assert!(world.runs("g-w-0") && world.runs("g-w-1"));
    }
    let told = world.finish("g-w-0", Finish::Failed);
    assert_eq!(told, ["stop g-w-1"]);
    assert_eq!(world.engine.pods().count(), 0);
}

#[test]
fn an_elastic_gang_outlives_a_lost_member_and_grows_back_in_its_domain() {
    let mut world = World::new(&[("a", 4, "r1"), ("b", 4, "r1"), ("x", 4, "r2")]);
    world.submit(in_one(Level::Rack, gang("g", &[("w", 3, 2, 4)])));
    assert_eq!(world.engine.job("g").unwrap().running, 2);
    assert_eq!(world.reason("g-w-2"), Reason::FragmentedTopology);
    let told = world.node("c", 4, "r1");
    assert_eq!(told, ["bind g-w-2 c"]);
    // It can do without one.
    let told = world.finish("g-w-0", Finish::Failed);
    assert_eq!(told, ["bind g-w-0 a"], "the place is still free");
    let name = "b".to_owned();
    assert_eq!(
        world.tell(Event::NodeRemove { name }),
        ["requeue g-w-1 NodeRemoved"]
    );
    assert!(world.runs("g-w-0") && world.runs("g-w-2"));
    assert_eq!(world.reason("g-w-1"), Reason::FragmentedTopology);
    // Others of its priority go first.
    world.submit(job("other", 1, 4));
    assert!(world.runs("other-0"), "it takes the node of the other rack");
}

#[test]
fn a_gang_that_loses_its_node_is_requeued_as_one() {
    let mut world = World::new(&[("a", 4, "r"), ("b", 4, "r")]);
    world.submit(gang("g", &[("w", 2, 2, 4)]));
    let name = "a".to_owned();
    let told = world.tell(Event::NodeRemove { name });
    assert_eq!(
        told,
        [
            "requeue g-w-0 NodeRemoved",
            "evict g-w-1 0 GangBroken",
            "requeue g-w-1 GangBroken"
        ]
    );
    assert_eq!(world.engine.running(), 0);
    assert_eq!(world.node("c", 4, "r").len(), 2);
}

#[test]
fn a_gang_that_cannot_start_in_time_is_given_up() {
    let mut world = World::new(&[("a", 4, "r")]);
    let mut spec = gang("g", &[("w", 2, 2, 4)]);
    if let Some(gang) = &mut spec.gang {
        gang.timeout_ms = Some(60_000);
    }
    world.submit(spec.clone());
    assert_eq!(world.after(59_999), Vec::<String>::new());
    let view = world.engine.gang_view("g").unwrap();
    assert_eq!(view.timeout_at_ms, Some(60_000));
    assert_eq!(world.after(1), ["timed-out g"]);
    let job = world.engine.job("g").unwrap();
    assert_eq!((job.failed, job.waiting), (2, 0));
    // One that has started has no time-out, and another of the same name has its own.
    world.tell(Event::JobDelete { id: "g".to_owned() });
    world.now = 100_000;
    world.submit(spec);
    world.node("b", 4, "r");
    assert_eq!(world.engine.running(), 2);
    assert_eq!(world.after(100_000), Vec::<String>::new());
}

#[test]
fn members_without_quota_hold_the_others_back() {
    let mut world = World::new(&[("a", 8, "r")]);
    let quota = |gpus: i64| {
        Event::QuotaPut(QuotaSpec {
            name: "team".to_owned(),
            parent: None,
            weight: 1_000,
            tier: Tier::Flex,
            lines: vec![QuotaLine {
                resource: QuotaResource::Gpu,
                nominal: gpus * 1_000,
                borrowing_limit: None,
                lending_limit: None,
            }],
        })
    };
    world.tell(quota(2));
    world.tell(Event::QueuePut(QueueSpec {
        name: "team".to_owned(),
        quota: "team".to_owned(),
        suspended: false,
    }));
    let mut spec = gang("g", &[("w", 3, 3, 1)]);
    spec.meta.queue = "team".to_owned();
    world.step(Event::JobSubmit(Box::new(spec)));
    assert_eq!(world.engine.running(), 0);
    let told = world.tell(quota(3));
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn a_service_gang_restarts_whoever_ends() {
    let mut world = World::new(&[("a", 4, "r"), ("b", 4, "r")]);
    let mut spec = gang("g", &[("lead", 1, 1, 4), ("w", 1, 1, 4)]);
    spec.kind = JobKind::Service;
    world.submit(spec);
    let told = world.finish("g-lead-0", Finish::Succeeded);
    let restarted = [
        "evict g-w-0 0 GangBroken",
        "requeue g-w-0 GangBroken",
        "bind g-lead-0 a",
        "bind g-w-0 b",
    ];
    assert_eq!(told, restarted);
    let id = "g".to_owned();
    let refused = world.try_step(Event::JobScale { id, replicas: 3 });
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("start together"), "{refused}");
    world.tell(Event::JobDelete { id: "g".to_owned() });
    assert_eq!(world.engine.pods().count(), 0);
}

#[test]
fn gangs_that_contradict_themselves_stay_out() {
    let mut world = World::new(&[("a", 4, "r")]);
    let mut refused = |spec: JobSpec, says: &str| {
        let error = world
            .try_step(Event::JobSubmit(Box::new(spec)))
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(gang("g", &[]), "0 roles");
    refused(gang("g", &[("w", 2, 3, 1)]), "starts with 3 of 2");
    refused(gang("g", &[("w", 2, 0, 1)]), "starts with 0 of 2");
    refused(gang("g", &[("w", 1, 1, 1), ("w", 1, 1, 1)]), "twice");
    refused(gang("g", &[("w", 1, 1, 99)]), "99 GPUs");
    let mut short = gang("g", &[("w", 2, 2, 1)]);
    short.replicas = 3;
    refused(short, "add up to 2");
    let mut sliced = in_one(Level::Rack, gang("g", &[("w", 4, 2, 1)]));
    let slice = |size, level| Some(Slice { size, level });
    let topology = |job: &mut JobSpec, to| {
        if let Some(t) = job.gang.as_mut().and_then(|g| g.topology.as_mut()) {
            t.slice = to;
        }
    };
    topology(&mut sliced, slice(4, Level::Node));
    refused(sliced.clone(), "do not divide");
    topology(&mut sliced, slice(2, Level::Rack));
    refused(sliced.clone(), "nearer level");
    topology(&mut sliced, slice(2, Level::Node));
    world.submit(sliced);
    assert_eq!(world.engine.running(), 4);
    let mut stranger = pod("stranger", 1);
    stranger.job = Some("g".to_owned());
    let error = world
        .try_step(Event::PodsSubmit(vec![stranger]))
        .unwrap_err();
    assert!(error.to_string().contains("made from its roles"), "{error}");
}

#[test]
fn gangs_take_turns_with_pods_by_priority_then_arrival() {
    let mut world = World::new(&[]);
    world.submit(gang("early", &[("w", 2, 2, 2)]));
    world.submit(job("pod", 1, 2));
    let mut urgent = gang("urgent", &[("w", 2, 2, 2)]);
    urgent.template.priority = 5;
    urgent.terms.preempts = false;
    world.submit(urgent);
    let out = world.step(Event::NodePut(Box::new(crate::support::node("a", 6, "r"))));
    let order: Vec<&str> = out
        .decisions
        .iter()
        .filter(|d| matches!(d.outcome, Outcome::Bound { .. }))
        .map(|d| &*d.pod)
        .collect();
    assert_eq!(order, ["urgent-w-0", "urgent-w-1", "pod-0"]);
}
