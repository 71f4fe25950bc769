use loadmaster_sdk::admission::{Head, Mode, Native, QuotaDemand, QuotaLine, QuotaNode, native};
use loadmaster_sdk::testing::check_settings_schema;

use super::*;

fn policy(settings: &str) -> Native<ShortestService> {
    native(settings).unwrap()
}

/// GPUs, expected run time in s.
fn head(id: usize, gpus: i64, runtime: Option<u64>) -> Head {
    let demand = vec![QuotaDemand {
        resource: "gpu".to_owned(),
        amount: gpus * 1000,
    }];
    Head {
        job: format!("job-{id}"),
        queue: format!("job-{id}"),
        node: 0,
        priority: 0,
        created: id as u64,
        waited: 1,
        attempts: 0,
        deadline: None,
        expected_runtime: runtime.map(|s| s * 1000),
        attained: 0,
        min_demand: demand.clone(),
        demand,
    }
}

fn cycle(gpus: i64, heads: Vec<Head>) -> Cycle {
    let line = QuotaLine {
        resource: "gpu".to_owned(),
        nominal: gpus * 1000,
        used: 0,
        borrowing_limit: None,
        lending_limit: None,
    };
    Cycle {
        now: 0,
        mode: Mode::Normal,
        nodes: vec![QuotaNode {
            name: "root".to_owned(),
            parent: None,
            weight: 1000,
            tier: "flex".to_owned(),
            lines: vec![line],
        }],
        heads,
    }
}

fn order(settings: &str, cycle: &Cycle) -> Vec<usize> {
    let keys = policy(settings).order(cycle);
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|at| &keys[*at]);
    order
}

const LIST: &str = r#"{"best-set":false}"#;

#[test]
fn schema_and_code_agree() {
    check_settings_schema(
        include_str!("../settings.schema.json"),
        ShortestService::configure,
    );
}

#[test]
fn service_is_time_times_gpus() {
    let c = cycle(
        64,
        vec![
            head(0, 8, Some(100)),
            head(1, 1, Some(500)),
            head(2, 2, Some(300)),
        ],
    );
    assert_eq!(order(LIST, &c), [1, 2, 0]);
}

#[test]
fn equal_service_goes_by_age_and_priority_goes_first() {
    let mut c = cycle(64, vec![head(3, 1, Some(8)), head(1, 8, Some(1))]);
    assert_eq!(order(LIST, &c), [1, 0]);
    c.heads[0].priority = 1;
    for settings in [LIST, "{}"] {
        assert_eq!(order(settings, &c), [0, 1]);
    }
}

#[test]
fn unknown_jobs_run_as_long_again_as_they_did() {
    let mut c = cycle(
        64,
        vec![head(0, 2, None), head(1, 2, None), head(2, 2, None)],
    );
    c.heads[0].attained = 2 * 9_000_000;
    c.heads[1].attained = 2 * 700_000;
    c.heads[2].expected_runtime = Some(650_000);
    assert_eq!(order(LIST, &c), [2, 1, 0]);
    // Neither ran for the assumed time, so the older goes first.
    c.heads[0].attained = 1;
    c.heads[1].attained = 0;
    assert_eq!(order(LIST, &c)[..2], [0, 1]);
}

#[test]
fn running_jobs_are_kept_within_the_stickiness() {
    let mut c = cycle(8, vec![head(0, 8, Some(95)), head(1, 8, Some(100))]);
    c.heads[1].attempts = 1;
    c.heads[1].waited = 0;
    assert_eq!(order(r#"{"stickiness":0}"#, &c), [0, 1]);
    assert_eq!(order("{}", &c), [1, 0]);
    c.heads[0].expected_runtime = Some(80_000);
    assert_eq!(order("{}", &c), [0, 1]);
    assert_eq!(order(r#"{"stickiness":300}"#, &c), [1, 0]);
}

#[test]
fn the_best_set_leaves_no_gap() {
    // Down the list: 0 takes 5 and nothing else fits beside it.
    let c = cycle(
        8,
        vec![
            head(0, 5, Some(10)),
            head(1, 4, Some(13)),
            head(2, 4, Some(13)),
        ],
    );
    assert_eq!(order(LIST, &c), [0, 1, 2]);
    assert_eq!(order("{}", &c), [1, 2, 0]);
}

/// Every subset, for few heads.
fn best_rate(c: &Cycle, works: &[Work], units: i64) -> f64 {
    (0u32..1 << c.heads.len())
        .filter_map(|set| {
            let members = || (0..works.len()).filter(move |at| set >> at & 1 == 1);
            let gpus: i64 = members().map(|at| works[at].gpu_milli).sum();
            let rate = members().map(|at| 1.0 / works[at].runtime_ms as f64).sum();
            (gpus <= units * 1000).then_some(rate)
        })
        .fold(0.0, f64::max)
}

#[test]
fn the_best_set_is_the_best_of_all_subsets() {
    let mut rng = loadmaster_sdk::testing::Seeded::new(7);
    for _ in 0..300 {
        let gpus = 1 + rng.below(16) as i64;
        let heads = (0..rng.below(9))
            .map(|id| head(id, 1 + rng.below(9) as i64, Some(1 + rng.below(50) as u64)))
            .collect();
        let c = cycle(gpus, heads);
        let settings = work::Settings {
            stickiness: 0,
            unknown_ms: 1,
        };
        let works: Vec<Work> = c.heads.iter().map(|h| Work::of(h, &settings)).collect();
        let chosen = best_set::choose(&c, &works);
        let used: i64 = chosen.iter().map(|at| works[*at].gpu_milli).sum();
        assert!(used <= gpus * 1000, "{c:?}: {chosen:?}");
        let rate: f64 = chosen
            .iter()
            .map(|at| 1.0 / works[*at].runtime_ms as f64)
            .sum();
        let best = best_rate(&c, &works, gpus);
        assert!((rate - best).abs() <= 1e-12, "{c:?}: {chosen:?}");
    }
}

#[test]
fn the_order_of_the_heads_does_not_matter() {
    let mut rng = loadmaster_sdk::testing::Seeded::new(3);
    let heads: Vec<Head> = (0..40)
        .map(|id| head(id, 1 << rng.below(5), Some(1 + rng.below(6) as u64)))
        .collect();
    let names = |c: &Cycle| -> Vec<String> {
        let order = order("{}", c);
        order.iter().map(|at| c.heads[*at].job.clone()).collect()
    };
    let expected = names(&cycle(64, heads.clone()));
    for _ in 0..20 {
        let mut shuffled = heads.clone();
        rng.shuffle(&mut shuffled);
        assert_eq!(names(&cycle(64, shuffled)), expected);
    }
}

#[test]
fn without_a_quota_it_is_a_list_and_extremes_do_no_harm() {
    let mut c = cycle(
        8,
        vec![head(0, 8, Some(9)), head(1, 1, None), head(2, 0, Some(5))],
    );
    c.nodes[0].lines.clear();
    assert_eq!(order("{}", &c), [2, 0, 1]);
    c.heads[0].expected_runtime = Some(u64::MAX);
    c.heads[0].demand[0].amount = i64::MAX;
    c.heads[1].attained = u64::MAX;
    c.heads[1].node = 7;
    c.heads[1].created = u64::MAX;
    assert_eq!(order("{}", &c).len(), 3);
    assert!(order("{}", &cycle(8, Vec::new())).is_empty());
    assert!(
        policy("{}")
            .admit(&c)
            .iter()
            .all(|r| { matches!(r, loadmaster_sdk::admission::Ruling::Abstain) })
    );
}
