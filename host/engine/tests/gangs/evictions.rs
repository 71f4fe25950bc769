//! Who is asked to leave always ends in a known state, with its work counted.

use engine::view::PodState;
use model::event::Finish;
use model::plan::EvictCause;
use model::{Event, Reason};

use crate::support::{World, gang, job, pod, with_grace};

fn left(world: &mut World, name: &str) -> Vec<String> {
    let name = name.to_owned();
    world.tell(Event::PodEvicted { name })
}

#[test]
fn who_reports_in_time_keeps_its_work_and_resumes_by_itself() {
    let mut world = World::new(&[("a", 4, "r")]);
    world.submit(with_grace(5_000, job("j", 1, 4)));
    world.now = 60_000;
    assert_eq!(world.evict("j-0").unwrap(), ["evict j-0 5000 Operator"]);
    let leaving = world.engine.pod("j-0").unwrap().leaving.unwrap();
    assert_eq!(
        (leaving.cause, leaving.until_ms),
        (EvictCause::Operator, 65_000)
    );
    assert!(world.runs("j-0"), "it keeps its place while it leaves");
    let again = world.evict("j-0").unwrap_err();
    assert!(again.contains("leaving already"), "{again}");
    world.now = 65_000;
    let told = left(&mut world, "j-0");
    assert_eq!(told, ["requeue j-0 Operator", "bind j-0 a"]);
    let progress = world.engine.pod("j-0").unwrap().progress;
    assert_eq!((progress.served_ms, progress.lost_ms), (65_000, 0));
    assert_eq!(progress.evictions, 1);
}

#[test]
fn who_does_not_report_keeps_what_its_checkpoint_has() {
    let mut world = World::new(&[("a", 4, "r")]);
    world.submit(with_grace(5_000, job("j", 1, 4)));
    world.now = 20_000;
    let name = "j-0".to_owned();
    world.tell(Event::PodCheckpointed { name });
    world.now = 60_000;
    world.evict("j-0").unwrap();
    // Whatever comes next, its grace is over.
    world.now = 90_000;
    let told = world.tell(Event::PodsSubmit(vec![pod("other", 0)]));
    assert_eq!(told[0], "requeue j-0 Operator");
    let progress = world.engine.pod("j-0").unwrap().progress;
    assert_eq!((progress.served_ms, progress.lost_ms), (20_000, 45_000));
    assert_eq!(progress.checkpoint_ms, 0);
    let name = "j-0".to_owned();
    let late = world.try_step(Event::PodEvicted { name }).unwrap_err();
    assert!(late.to_string().contains("not asked to leave"), "{late}");
}

#[test]
fn a_bare_pod_has_no_grace_and_is_gone_in_the_same_step() {
    let mut world = World::new(&[("a", 4, "r")]);
    world.tell(Event::PodsSubmit(vec![pod("p", 4)]));
    world.now = 1_000;
    let told = world.evict("p").unwrap();
    assert_eq!(
        told,
        ["evict p 0 Operator", "requeue p Operator", "bind p a"]
    );
    assert_eq!(world.engine.pod("p").unwrap().progress.lost_ms, 1_000);
    let name = "q".to_owned();
    assert!(world.try_step(Event::PodEvict { name }).is_err());
    world.tell(Event::PodsSubmit(vec![pod("w", 4)]));
    assert!(world.evict("w").unwrap_err().contains("not running"));
}

#[test]
fn one_member_takes_its_gang_along() {
    let mut world = World::new(&[("a", 4, "r"), ("b", 4, "r")]);
    world.submit(with_grace(1_000, gang("g", &[("w", 2, 2, 4)])));
    let told = world.evict("g-w-1").unwrap();
    assert_eq!(
        told,
        ["evict g-w-0 1000 Operator", "evict g-w-1 1000 Operator"]
    );
    assert_eq!(left(&mut world, "g-w-1"), ["requeue g-w-1 Operator"]);
    assert_eq!(world.reason("g-w-1"), Reason::WaitingForGang);
    let told = left(&mut world, "g-w-0");
    assert_eq!(
        told,
        ["requeue g-w-0 Operator", "bind g-w-0 a", "bind g-w-1 b"]
    );
}

#[test]
fn nothing_is_taken_away_while_the_host_is_held() {
    let mut world = World::new(&[("a", 4, "r"), ("b", 4, "r")]);
    world.submit(gang("g", &[("w", 2, 2, 4)]));
    let mut limited = job("j", 1, 0);
    limited.meta.runtime_limit_ms = Some(1_000);
    world.submit(limited);
    world.engine.set_hold(true);
    assert!(world.evict("g-w-0").unwrap_err().contains("HOLD"));
    world.finish("g-w-0", Finish::Failed);
    assert!(world.runs("g-w-1"), "a broken gang is left alone");
    assert_eq!(world.after(2_000), Vec::<String>::new());
    world.engine.set_hold(false);
    let told = world.after(1);
    let expected = [
        "stop j-0",
        "evict g-w-1 0 GangBroken",
        "requeue g-w-1 GangBroken",
        "bind g-w-0 a",
        "bind g-w-1 b",
    ];
    assert_eq!(told, expected);
}

#[test]
fn run_time_that_was_saved_counts_towards_the_limit() {
    let mut world = World::new(&[("a", 4, "r")]);
    let mut spec = with_grace(1_000, job("j", 1, 4));
    spec.meta.runtime_limit_ms = Some(10_000);
    world.submit(spec);
    world.now = 6_000;
    world.evict("j-0").unwrap();
    left(&mut world, "j-0");
    assert!(world.runs("j-0"));
    assert_eq!(world.after(3_999), Vec::<String>::new());
    assert_eq!(world.after(1), ["stop j-0"]);
    assert_eq!(world.engine.job("j").unwrap().failed, 1);
}

#[test]
fn a_gang_ends_together_when_its_time_is_over() {
    let mut world = World::new(&[("a", 4, "r"), ("b", 4, "r")]);
    let mut spec = gang("g", &[("w", 2, 2, 4)]);
    spec.meta.runtime_limit_ms = Some(10_000);
    world.submit(spec);
    assert_eq!(world.after(10_000), ["stop g-w-0", "stop g-w-1"]);
    assert_eq!(world.engine.pods().count(), 0);
    assert_eq!(world.engine.job("g").unwrap().failed, 2);
}

#[test]
fn a_node_can_go_while_its_pods_are_leaving() {
    let mut world = World::new(&[("a", 4, "r")]);
    world.submit(with_grace(60_000, job("j", 2, 2)));
    world.evict("j-0").unwrap();
    world.now = 5_000;
    let name = "a".to_owned();
    let told = world.tell(Event::NodeRemove { name });
    assert_eq!(told, ["requeue j-0 NodeRemoved", "requeue j-1 NodeRemoved"]);
    assert_eq!(
        world.after(100_000),
        Vec::<String>::new(),
        "no timer is left"
    );
    assert_eq!(world.engine.pod("j-0").unwrap().progress.lost_ms, 5_000);
    assert!(matches!(world.state("j-0"), PodState::Waiting { .. }));
    world.tell(Event::JobDelete { id: "j".to_owned() });
    assert_eq!(world.engine.pods().count(), 0);
}

#[test]
fn a_pod_may_end_or_be_deleted_while_it_is_leaving() {
    let mut world = World::new(&[("a", 4, "r")]);
    world.submit(with_grace(60_000, job("j", 2, 2)));
    world.evict("j-0").unwrap();
    world.evict("j-1").unwrap();
    world.finish("j-0", Finish::Succeeded);
    assert_eq!(world.engine.job("j").unwrap().succeeded, 1);
    let id = "j".to_owned();
    assert_eq!(world.tell(Event::JobDelete { id }), ["stop j-1"]);
    assert_eq!(world.after(100_000), Vec::<String>::new());
}
