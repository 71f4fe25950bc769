//! What was lent comes back to its owner.

use model::Event;
use model::plan::EvictCause;
use model::quota::{QUOTA_WEIGHT_ONE, QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier};

use crate::world::{PATIENCE_MS, World, gang, job, node, queued};

fn quota(name: &str, parent: Option<&str>, gpus: i64) -> Event {
    Event::QuotaPut(QuotaSpec {
        name: name.to_owned(),
        parent: parent.map(str::to_owned),
        weight: QUOTA_WEIGHT_ONE,
        tier: Tier::Flex,
        lines: vec![QuotaLine {
            resource: QuotaResource::Gpu,
            nominal: gpus * 1_000,
            borrowing_limit: None,
            lending_limit: None,
        }],
    })
}

/// Two teams with ten GPUs each on twenty; team a uses fifteen.
fn lent() -> World {
    let mut w = World::new([node("n1", 10), node("n2", 10)]);
    w.event(quota("all", None, 0));
    w.event(quota("a", Some("all"), 10));
    w.event(quota("b", Some("all"), 10));
    for name in ["a", "b"] {
        w.event(Event::QueuePut(QueueSpec {
            name: name.to_owned(),
            quota: name.to_owned(),
            suspended: false,
        }));
    }
    w.submit(queued(job("old", 10, 1, 0), "a"));
    w.now += 1_000;
    w.submit(queued(job("lent", 5, 1, 0), "a"));
    w.submit(queued(job("own", 5, 1, 0), "b"));
    assert_eq!(
        (w.running("old"), w.running("lent"), w.running("own")),
        (10, 5, 5)
    );
    w
}

/// Kueue's example: A borrows five of B; B asks for five and gets exactly them.
#[test]
fn exactly_what_was_lent_is_taken_newest_first() {
    let mut w = lent();
    w.submit(queued(gang("claim", 5, 1, 0), "b"));
    assert_eq!(w.running("claim"), 0);
    w.wait(PATIENCE_MS + 5_000);
    assert_eq!(
        w.running("claim"),
        5,
        "{:?} {:?} {:?}",
        w.engine.preemption_wait("claim"),
        w.out.admissions,
        w.out.faults
    );
    let evicted = w.evicted();
    assert_eq!(evicted.len(), 5);
    assert!(evicted.iter().all(|(_, c)| *c == EvictCause::Reclaimed));
    assert!(
        evicted.iter().all(|(p, _)| p.starts_with("lent")),
        "{evicted:?}"
    );
    assert_eq!(w.running("own"), 5, "its own work is not touched");
    assert_eq!(w.engine.job("lent").unwrap().waiting, 5);
}

#[test]
fn nobody_reclaims_beyond_the_guarantee() {
    let mut w = lent();
    w.submit(queued(gang("greedy", 6, 1, 100), "b"));
    w.wait(120_000);
    assert_eq!(w.running("greedy"), 0);
    assert!(
        w.evicted().iter().all(|(_, c)| *c != EvictCause::Reclaimed),
        "eleven of ten guaranteed would be borrowing"
    );
}

/// A guarantee is not starved by others, whatever their priority: who uses more
/// than its own does not take from who does not. Without this rule the two would
/// evict each other for ever.
#[test]
fn priority_does_not_reach_into_the_guarantee_of_others() {
    let mut w = lent();
    w.submit(queued(job("claim", 5, 1, 0), "b"));
    w.wait(PATIENCE_MS + 5_000);
    assert_eq!(w.running("claim"), 5);
    // b has its ten, a has its ten; a's important work finds no lender.
    w.submit(queued(job("urgent", 5, 1, 100), "a"));
    let before = w.evicted().len();
    w.wait(300_000);
    assert_eq!(w.running("own") + w.running("claim"), 10);
    let since = &w.evicted()[before..];
    assert!(
        since
            .iter()
            .all(|(pod, _)| !pod.starts_with("own") && !pod.starts_with("claim")),
        "{since:?}"
    );
}

/// Who had to yield waits as long as a newcomer before asking others to.
#[test]
fn evictions_do_not_set_each_other_off() {
    let mut w = World::new([node("n1", 2)]);
    w.submit(job("lowest", 1, 1, 0));
    w.submit(job("low", 1, 1, 5));
    w.submit(job("high", 1, 1, 10));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted_names(), ["lowest-0"]);
    w.submit(job("higher", 1, 1, 20));
    w.wait(PATIENCE_MS);
    assert_eq!(w.evicted_names(), ["low-0", "lowest-0"]);
    w.wait(PATIENCE_MS - 2_000);
    assert_eq!(w.evicted().len(), 2);
}

/// A job that can never be paid for does not stand between a queue and what it is
/// guaranteed.
#[test]
fn an_impossible_head_does_not_cost_the_guarantee() {
    let mut w = lent();
    w.submit(queued(gang("giant", 100, 8, 100), "b"));
    w.submit(queued(gang("claim", 5, 1, 0), "b"));
    w.wait(PATIENCE_MS + 5_000);
    assert_eq!(w.running("claim"), 5);
}
