//! Quota nodes and queues as objects: what may be put, changed and removed.

use engine::{EventError, Key};
use model::Event;
use model::quantity::AMOUNT_MAX;
use model::quota::{QUOTA_DEPTH_MAX, QUOTAS_MAX, QuotaResource, QuotaSpec};

use crate::world::{World, job, line, queue, quota};

fn refused(world: &mut World, spec: QuotaSpec) -> String {
    match world.try_step(Event::QuotaPut(spec)) {
        Err(EventError::Quota { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_quota_that_breaks_a_rule_is_refused() {
    let mut world = World::new();
    world.quota(quota("a", None, Some(10)));
    assert_eq!(world.out.changed, [Key::Quota("a".into())]);
    let problem = refused(&mut world, quota("a b", None, None));
    assert!(problem.contains("[A-Za-z0-9._/-]"), "{problem}");
    let problem = refused(&mut world, quota("b", Some("x"), None));
    assert_eq!(problem, "its parent \"x\" does not exist; put it first");
    let mut two = quota("b", None, Some(1));
    two.lines.push(line(QuotaResource::Cpu, 1));
    assert_eq!(
        refused(&mut world, two),
        "two lines for cpu; give one a resource"
    );
    for (nominal, borrowing, lending) in [
        (-1, None, None),
        (AMOUNT_MAX + 1, None, None),
        (0, Some(-1), None),
        (0, None, Some(-1)),
        (0, None, Some(AMOUNT_MAX + 1)),
    ] {
        let mut spec = quota("b", None, Some(nominal));
        spec.lines[0].borrowing_limit = borrowing;
        spec.lines[0].lending_limit = lending;
        let problem = refused(&mut world, spec);
        assert!(problem.starts_with("cpu: "), "{problem}");
    }
    assert!(world.engine.quota_views().len() == 1);
}

#[test]
fn a_tree_has_no_cycle_and_a_bounded_depth() {
    let mut world = World::new();
    for i in 0..QUOTA_DEPTH_MAX {
        let parent = i.checked_sub(1).map(|p| format!("n{p}"));
        world.quota(quota(&format!("n{i}"), parent.as_deref(), Some(1)));
    }
    let deepest = format!("n{}", QUOTA_DEPTH_MAX - 1);
    let problem = refused(&mut world, quota("x", Some(&deepest), None));
    assert!(problem.contains("9 deep, at most 8"), "{problem}");
    // A new root above all of it.
    world.quota(quota("top", None, None));
    let problem = refused(&mut world, quota("n0", Some("top"), None));
    assert!(problem.contains("9 deep"), "{problem}");
    let problem = refused(&mut world, quota("n0", Some(&deepest), None));
    assert_eq!(problem, "it would be its own ancestor");
    assert!(refused(&mut world, quota("n0", Some("n0"), None)).contains("own ancestor"));
    // Moving a branch up is fine.
    world.quota(quota("n4", Some("n0"), Some(1)));
    world.quota(quota("x", Some(&deepest), None));
}

#[test]
fn there_is_a_bound_on_their_number() {
    let mut world = World::new();
    for i in 0..QUOTAS_MAX {
        world.quota(quota(&format!("n{i}"), None, None));
    }
    assert!(refused(&mut world, quota("more", None, None)).contains("the limit"));
    world.quota(quota("n5", None, Some(3)));
}

#[test]
fn what_is_in_use_stays() {
    let mut world = World::new();
    world.queue("a", None, 100);
    world.quota(quota("b", Some("a"), Some(10)));
    let remove = |name: &str| Event::QuotaRemove { name: name.into() };
    let text = |r: Result<(), EventError>| r.unwrap_err().to_string();
    let result = world.try_step(remove("a"));
    assert_eq!(
        text(result),
        "quota \"a\": \"b\" is below it; remove or move that first"
    );
    world.step(remove("b"));
    assert!(text(world.try_step(remove("a"))).contains("queue \"a\" draws on it"));
    assert_eq!(
        world.try_step(remove("b")),
        Err(EventError::UnknownQuota("b".into()))
    );

    let unpaid = world.try_step(Event::QueuePut(queue("q", "b")));
    assert_eq!(
        text(unpaid),
        "queue \"q\": there is no quota \"b\"; put it first"
    );
    world.submit(job("j", "a", 1, 10));
    let remove = |name: &str| Event::QueueRemove { name: name.into() };
    assert!(text(world.try_step(remove("a"))).contains("job \"j\" is in it"));
    world.finish("j-0");
    world.step(remove("a"));
    assert!(matches!(
        world.try_step(remove("a")),
        Err(EventError::UnknownQueue(_))
    ));
    world.step(Event::QuotaRemove { name: "a".into() });
    assert!(world.engine.quota_views().is_empty());
}

#[test]
fn views_add_up() {
    let mut world = World::new();
    world.quota(quota("all", None, None));
    world.queue("a", Some("all"), 100);
    world.queue("b", Some("all"), 100);
    world.step(Event::QueuePut(queue("a2", "a")));
    world.submit(job("j", "a", 3, 40));
    world.submit(job("k", "a2", 1, 10));
    let views = world.engine.quota_views();
    let cpu = QuotaResource::Cpu;
    let show: Vec<_> = views
        .iter()
        .map(|v| {
            let available = v.available[cpu as usize];
            let amounts = (v.used.get(cpu), v.own.get(cpu), v.borrowed.get(cpu));
            (
                v.spec.name.as_str(),
                amounts,
                available,
                v.share,
                v.queues.join(" "),
            )
        })
        .collect();
    assert_eq!(
        show,
        [
            // The root limits nothing itself; its members share what they bring.
            ("all", (130, 0, 0), None, 0, String::new()),
            ("a", (130, 130, 30), Some(70), 1_300, "a a2".to_owned()),
            ("b", (0, 0, 0), Some(70), 0, "b".to_owned()),
        ]
    );
    let queues = world.engine.queue_views();
    let show: Vec<_> = queues
        .iter()
        .map(|q| (q.admitted, q.used.get(cpu)))
        .collect();
    assert_eq!(show, [(3, 120), (1, 10), (0, 0)]);
}

#[test]
fn a_pod_cannot_slip_into_a_job_that_a_queue_pays_for() {
    let mut world = World::new();
    world.queue("a", None, 100);
    world.submit(job("j", "a", 1, 40));
    let mut pod = job("x", "", 1, 1_000).pod(0);
    pod.job = Some("j".into());
    let refused = world.try_step(Event::PodsSubmit(vec![pod]));
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("pays for job \"j\"")
    );
}
