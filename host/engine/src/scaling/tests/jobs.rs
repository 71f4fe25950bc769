//! A workload whose replicas are the pods of a service job.

use model::event::Finish;
use model::{JobSpec, NodeSpec, PodSpec, Resources};

use super::*;

fn node(cpu_milli: i64) -> Event {
    let capacity = Resources {
        cpu_milli,
        ..Resources::default()
    };
    Event::NodePut(Box::new(NodeSpec {
        name: "n".to_owned(),
        capacity,
        ..NodeSpec::default()
    }))
}

fn job(kind: JobKind) -> Event {
    let requests = Resources {
        cpu_milli: 1_000,
        ..Resources::default()
    };
    Event::JobSubmit(Box::new(JobSpec {
        id: "shop".to_owned(),
        kind,
        replicas: 3,
        template: PodSpec {
            requests,
            ..PodSpec::default()
        },
        ..JobSpec::default()
    }))
}

fn world(cpu_milli: i64, kind: JobKind) -> World {
    let mut w = World::new();
    w.event(node(cpu_milli)).unwrap();
    w.event(job(kind)).unwrap();
    w
}

#[test]
fn its_pods_are_the_replicas() {
    let mut w = world(100_000, JobKind::Service);
    assert_eq!(w.engine.replicas("shop", MINUTE - 1), Some((0, 3)));
    assert_eq!(w.engine.replicas("shop", MINUTE), Some((3, 0)));
    w.now_ms = 15_000;
    let d = w.minute(480.0);
    assert_eq!((d.current, d.desired), (3, 7));
    let bound = |e: &&Effect| matches!(e, Effect::Bind { .. });
    assert_eq!(w.out.effects.iter().filter(bound).count(), 4);
    assert_eq!(w.engine.replicas("shop", MINUTE), Some((3, 4)));
    assert_eq!(w.engine.replicas("shop", 2 * MINUTE), Some((7, 0)));
    let stopped = |e: &&Effect| matches!(e, Effect::Stop { .. });
    let stops = (0..6).map(|_| {
        w.minute(140.0);
        w.out.effects.iter().filter(stopped).count()
    });
    assert_eq!(stops.collect::<Vec<_>>(), [0, 0, 0, 0, 5, 0]);
    assert_eq!(w.engine.replicas("shop", w.now_ms), Some((2, 0)));
}

#[test]
fn pods_that_wait_for_room_are_starting() {
    let mut w = world(4_000, JobKind::Service);
    w.minute(490.0);
    assert_eq!(w.engine.replicas("shop", 10 * MINUTE), Some((4, 3)));
}

#[test]
fn a_lost_replica_is_replaced_at_once() {
    let mut w = world(100_000, JobKind::Service);
    w.minute(210.0);
    w.event(Event::PodFinished {
        name: "shop-1".to_owned(),
        how: Finish::Failed,
    })
    .unwrap();
    assert_eq!(
        w.engine.job("shop").unwrap().running,
        3,
        "a service keeps its size"
    );
    let d = w.minute(210.0);
    assert_eq!((d.current, d.desired), (3, 3));
    assert_eq!(w.engine.replicas("shop", w.now_ms + MINUTE), Some((3, 0)));
}

#[test]
fn a_batch_job_of_that_name_is_left_alone() {
    let mut w = world(100_000, JobKind::Batch);
    let d = w.minute(350.0);
    assert_eq!((d.current, d.desired), (2, 5));
    let scales = |e: &Effect| matches!(e, Effect::Scale { .. });
    assert!(w.out.effects.iter().all(scales), "{:?}", w.out.effects);
}

/// A service whose pods start together has a fixed size: scaling it says what is
/// wanted and touches nothing.
#[test]
fn a_gang_is_not_scaled() {
    use model::gang::{GangSpec, RoleSpec};
    let mut w = World::new();
    w.event(node(100_000)).unwrap();
    let Event::JobSubmit(mut spec) = job(JobKind::Service) else {
        panic!("a job is submitted");
    };
    spec.gang = Some(GangSpec {
        roles: vec![RoleSpec {
            name: "w".to_owned(),
            count: 3,
            min: 3,
            template: spec.template.clone(),
        }],
        topology: None,
        timeout_ms: None,
    });
    w.event(Event::JobSubmit(spec)).unwrap();
    w.now_ms = 15_000;
    for _ in 0..5 {
        w.minute(9_000.0);
    }
    assert_eq!(w.engine.job("shop").unwrap().running, 3);
}
