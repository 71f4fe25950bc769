//! Budgets of applications, and the guard of the whole cluster.

use engine::{Engine, EventError, GUARD_WINDOW_MS};
use model::Event;
use model::disruption::{BucketSpec, BudgetSpec};

use crate::support::{World, check, gang, job, pod, with_grace};

fn budget(name: &str, min_available: u32, bucket: Option<BucketSpec>) -> Event {
    Event::BudgetPut(BudgetSpec {
        name: name.to_owned(),
        app: "app".to_owned(),
        min_available,
        bucket,
    })
}

#[test]
fn a_budget_keeps_pods_available_and_says_with_which_numbers() {
    let mut world = World::new(&[("a", 4, "r")]);
    world.submit(with_grace(60_000, job("j", 3, 1)));
    world.tell(budget("b", 2, None));
    let view = world.engine.budget_views().next().unwrap();
    assert_eq!((view.available, view.allowed, view.tokens), (3, 1, None));
    world.evict("j-0").unwrap();
    let refused = world.evict("j-1").unwrap_err();
    let says = "1 disruptions wanted, 0 allowed: disruption budget \"b\" keeps 2 pods of \"app\" running and 2 are";
    assert!(refused.contains(says), "{refused}");
    // It is back: one may go again.
    let name = "j-0".to_owned();
    world.tell(Event::PodEvicted { name });
    world.evict("j-1").unwrap();
}

#[test]
fn tokens_are_spent_come_back_and_survive_a_change() {
    let mut world = World::new(&[("a", 4, "r")]);
    world.tell(Event::PodsSubmit(
        (0..4).map(|i| pod(&format!("p{i}"), 1)).collect(),
    ));
    let bucket = |capacity| {
        Some(BucketSpec {
            capacity,
            refill_ms: 10_000,
        })
    };
    world.tell(budget("b", 0, bucket(2)));
    world.evict("p0").unwrap();
    world.evict("p1").unwrap();
    let refused = world.evict("p2").unwrap_err();
    assert!(
        refused.contains("has 0 of 2 tokens left and gains one every 10000 ms"),
        "{refused}"
    );
    world.tell(budget("b", 0, bucket(3)));
    assert_eq!(world.engine.budget_views().next().unwrap().tokens, Some(1));
    world.now = 10_000;
    world.evict("p2").unwrap();
    world.evict("p3").unwrap();
    assert!(world.evict("p0").is_err());
    // What is spent is written down.
    let objects: Vec<_> = world
        .engine
        .keys()
        .filter_map(|k| world.engine.export(&k))
        .collect();
    let mut restored = World {
        engine: Engine::restore(engine::Config::default(), objects).unwrap(),
        now: world.now,
    };
    check(&restored.engine);
    assert!(restored.evict("p0").is_err());
    assert_eq!(restored.engine.guard_view(), world.engine.guard_view());
    let name = "b".to_owned();
    world.tell(Event::BudgetRemove { name });
    world.evict("p0").unwrap();
}

#[test]
fn the_first_budget_by_name_counts_and_bad_ones_are_refused() {
    let mut world = World::new(&[("a", 4, "r")]);
    world.tell(Event::PodsSubmit(vec![pod("p", 1)]));
    world.tell(budget("strict", 1, None));
    assert!(world.evict("p").is_err());
    world.tell(budget("lax", 0, None));
    world.evict("p").unwrap();
    let name = "none".to_owned();
    let unknown = world.try_step(Event::BudgetRemove { name });
    assert!(matches!(unknown, Err(EventError::UnknownBudget(_))));
    let bad = Event::BudgetPut(BudgetSpec {
        name: "x".to_owned(),
        app: String::new(),
        min_available: 0,
        bucket: None,
    });
    assert!(matches!(
        world.try_step(bad),
        Err(EventError::Budget { .. })
    ));
    let bad = budget("no spaces", 0, None);
    assert!(matches!(
        world.try_step(bad),
        Err(EventError::Budget { .. })
    ));
}

#[test]
fn mass_evictions_stop_until_approved_or_the_window_has_moved_on() {
    let mut world = World::new(&[("a", 16, "r")]);
    world.tell(Event::PodsSubmit(
        (0..16).map(|i| pod(&format!("p{i}"), 1)).collect(),
    ));
    assert_eq!(
        world.engine.guard_view().limit,
        10,
        "20 % of 16 is less than the floor"
    );
    for i in 0..10 {
        world.evict(&format!("p{i}")).unwrap();
    }
    let refused = world.evict("p10").unwrap_err();
    assert!(
        refused.contains("10 of at most 10 were made in the last 10 minutes"),
        "{refused}"
    );
    assert!(
        refused.contains("wait until 600000 ms, or approve 1"),
        "{refused}"
    );
    world.tell(Event::ApproveEvictions { count: 2 });
    world.evict("p10").unwrap();
    world.evict("p11").unwrap();
    assert!(world.evict("p12").is_err());
    assert_eq!(world.engine.guard_view().window_pods, 10);
    world.now = GUARD_WINDOW_MS;
    world.evict("p12").unwrap();
    assert_eq!(world.engine.guard_view().window_pods, 1);
}

#[test]
fn a_gang_is_evicted_whole_or_not_at_all() {
    let mut world = World::new(&[("a", 16, "r")]);
    world.submit(gang("g", &[("w", 12, 12, 1)]));
    let refused = world.evict("g-w-3").unwrap_err();
    assert!(
        refused.contains("all 12 members of gang \"g\" leave or none"),
        "{refused}"
    );
    assert_eq!(world.engine.running(), 12);
    world.tell(Event::ApproveEvictions { count: 2 });
    assert_eq!(
        world.evict("g-w-3").unwrap().len(),
        36,
        "evict, requeue, bind"
    );
}
