use super::*;
use loadmaster_sdk::admission::{Finding, Head, Native, QuotaDemand, Shortage, native};
use loadmaster_sdk::testing::{CycleSize, Seeded, TestCycle, check_settings_schema, sample_cycle};

mod oracle;
mod properties;

fn policy(settings: &str) -> Native<QuotaAdmission> {
    native(settings).unwrap()
}

/// Jobs in the order decided.
fn ordered(settings: &str, cycle: &Cycle) -> Vec<String> {
    let keys = policy(settings).order(cycle);
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
    let name = |h: usize| cycle.heads[h].job.clone();
    order.into_iter().map(name).collect()
}

/// Puts the heads in the order decided, as the host does before it asks who is
/// admitted.
fn sorted(settings: &str, cycle: &Cycle) -> Cycle {
    let order = ordered(settings, cycle);
    let mut cycle = cycle.clone();
    cycle
        .heads
        .sort_by_key(|h| order.iter().position(|name| *name == h.job));
    cycle
}

fn short(list: &[Shortage], cycle: &Cycle) -> String {
    let one = |s: &Shortage| {
        let node = &cycle.nodes[s.node as usize].name;
        format!("{node} {} {}", s.resource, s.by)
    };
    list.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Rulings in the order of the heads, as text.
fn rulings(settings: &str, cycle: &Cycle) -> Vec<String> {
    let text = |(ruling, head): (Ruling, &Head)| {
        let ruling = match ruling {
            Ruling::Admit => "admit".to_owned(),
            Ruling::AdmitPartial(pods) => format!("admit {pods:?}"),
            Ruling::Wait(list) => format!("wait: {}", short(&list, cycle)),
            Ruling::Reclaim(list) => format!("reclaim: {}", short(&list, cycle)),
            Ruling::Reject(finding) => format!("reject: {}", finding.message),
            Ruling::Abstain => "abstain".to_owned(),
        };
        format!("{} {ruling}", head.job)
    };
    let rulings = policy(settings).admit(cycle);
    assert_eq!(rulings.len(), cycle.heads.len());
    rulings.into_iter().zip(&cycle.heads).map(text).collect()
}

/// A cohort of `a` and `b` with 10 GPUs each.
fn cohort(a: i64, b: i64) -> TestCycle {
    let cycle = TestCycle::new().node("all", None);
    let cycle = cycle.node("a", Some("all")).quota("gpu", 10).used(a);
    cycle.node("b", Some("all")).quota("gpu", 10).used(b)
}

#[test]
fn a_guarantee_is_reclaimed_from_who_borrowed_it() {
    let cycle = cohort(15, 5).head("b1", "b").demand("gpu", 5).done();
    assert_eq!(rulings("{}", &cycle), ["b1 reclaim: all gpu 5"]);
    let cycle = cohort(15, 5).head("a1", "a").demand("gpu", 5).done();
    assert_eq!(rulings("{}", &cycle), ["a1 wait: all gpu 5"]);
}

#[test]
fn what_is_lent_is_limited() {
    let lends_two = |used| {
        let cycle = TestCycle::new().node("all", None);
        let cycle = cycle.node("a", Some("all")).quota("gpu", 10).used(used);
        cycle
            .node("b", Some("all"))
            .quota("gpu", 10)
            .lending_limit(2)
    };
    let cycle = lends_two(0).head("a1", "a").demand("gpu", 12);
    let cycle = cycle.head("b1", "b").demand("gpu", 8).done();
    assert_eq!(rulings("{}", &cycle), ["a1 admit", "b1 admit"]);
    let cycle = lends_two(0).head("a1", "a").demand("gpu", 13).done();
    assert_eq!(
        rulings("{}", &cycle),
        [
            "a1 reject: needs 13 of gpu, and quota `a` can never use more than 12, borrowing included; ask for less or for a larger quota"
        ]
    );
    let cycle = lends_two(12).head("b1", "b").demand("gpu", 9).done();
    assert_eq!(rulings("{}", &cycle), ["b1 reclaim: all gpu 1"]);
}

#[test]
fn a_borrowing_limit_is_named() {
    let cycle = TestCycle::new().node("all", None).quota("gpu", 20);
    let cycle = cycle.node("a", Some("all")).quota("gpu", 4).used(4);
    let cycle = cycle.borrowing_limit(3).quota("cpu", 2).used(2);
    let cycle = cycle.head("a1", "a").demand("gpu", 3).demand("cpu", 0);
    let cycle = cycle.head("a2", "a").demand("gpu", 2).done();
    assert_eq!(rulings("{}", &cycle), ["a1 admit", "a2 wait: a gpu 2"]);
}

#[test]
fn shortages_come_smallest_first_and_not_too_many() {
    let mut cycle = TestCycle::new().node("n0", None).quota("gpu", 40).used(40);
    for i in 1..14 {
        let (name, parent) = (format!("n{i}"), format!("n{}", i - 1));
        cycle = cycle.node(&name, Some(&parent)).quota("gpu", 0).used(40);
        cycle = cycle.borrowing_limit(40 + i64::from(i % 2 == 0));
    }
    let cycle = cycle.head("job", "n13").demand("gpu", 3).done();
    let rulings = policy("{}").admit(&cycle);
    let [Ruling::Wait(list)] = &rulings[..] else {
        panic!("{rulings:?}")
    };
    let by: Vec<i64> = list.iter().map(|s| s.by).collect();
    assert_eq!(by, [3, 3, 3, 3, 3, 3, 3, 3]);
}

#[test]
fn usage_adds_up_within_a_cycle() {
    let cycle = cohort(0, 0).head("a1", "a").demand("gpu", 12);
    let cycle = cycle.head("b1", "b").demand("gpu", 8);
    let cycle = cycle.head("b2", "b").demand("gpu", 2).done();
    assert_eq!(
        rulings("{}", &cycle),
        ["a1 admit", "b1 admit", "b2 reclaim: all gpu 2"]
    );
    // Who stays within its quota goes first, and so all of b is in.
    let cycle = sorted("{}", &cycle);
    assert_eq!(
        rulings("{}", &cycle),
        ["b1 admit", "b2 admit", "a1 wait: all gpu 2"]
    );
}

/// What is free waits for the guarantee, and nothing is asked for twice.
#[test]
fn what_is_reclaimed_is_kept() {
    let cycle = TestCycle::new().node("all", None);
    let cycle = cycle.node("a", Some("all")).quota("gpu", 10).used(28);
    let cycle = cycle.node("b", Some("all")).quota("gpu", 10);
    let cycle = cycle.node("c", Some("all")).quota("gpu", 10);
    let cycle = cycle.head("b1", "b").demand("gpu", 5);
    let cycle = cycle.head("c1", "c").demand("gpu", 4);
    let cycle = cycle.head("a1", "a").demand("gpu", 2).done();
    assert_eq!(
        rulings("{}", &cycle),
        [
            "b1 reclaim: all gpu 3",
            "c1 reclaim: all gpu 4",
            "a1 wait: all gpu 2"
        ]
    );
    assert_eq!(
        rulings(r#"{"reserve":false}"#, &cycle),
        ["b1 reclaim: all gpu 3", "c1 reclaim: all gpu 2", "a1 admit"]
    );
}

/// Titus: a task goes if its group stays within the guarantee, or within what
/// the tier has beyond everybody's guarantee or larger use.
#[test]
fn a_tier_of_critical_groups_lends_only_what_nobody_is_promised() {
    let capacity = 30;
    for seed in 0..2_000 {
        let mut rng = Seeded::new(seed);
        let groups: Vec<(i64, i64)> = (0..3).map(|_| (rng.amount(8), rng.amount(12))).collect();
        let promised: i64 = groups.iter().map(|g| g.0).sum();
        let mut cycle = TestCycle::new().node("tier", None);
        cycle = cycle.quota("cpu", capacity - promised);
        cycle = cycle.used(groups.iter().map(|g| g.1).sum());
        for (i, (guarantee, used)) in groups.iter().enumerate() {
            let name = format!("g{i}");
            cycle = cycle.node(&name, Some("tier")).tier("critical");
            cycle = cycle.quota("cpu", *guarantee).used(*used);
        }
        let amount = 1 + rng.amount(10);
        let cycle = cycle.head("task", "g0").demand("cpu", amount).done();
        let remaining: i64 = capacity - groups.iter().map(|g| g.0.max(g.1)).sum::<i64>();
        let (guarantee, used) = groups[0];
        let beyond = used + amount - guarantee.max(used);
        let goes = used + amount <= guarantee || beyond <= remaining;
        let admitted = policy("{}").admit(&cycle) == [Ruling::Admit];
        assert_eq!(admitted, goes, "seed {seed} {cycle:?}");
    }
}

#[test]
fn critical_is_never_lent_and_flex_is() {
    for (tier, ruling) in [
        ("critical", "b1 reject"),
        ("flex", "b1 admit"),
        ("bronze", "b1 admit"),
    ] {
        let cycle = TestCycle::new().node("all", None).quota("gpu", 4);
        let cycle = cycle.node("a", Some("all")).tier(tier).quota("gpu", 10);
        let cycle = cycle.node("b", Some("all")).head("b1", "b");
        let cycle = cycle.demand("gpu", 5).done();
        assert!(rulings("{}", &cycle)[0].starts_with(ruling), "{tier}");
    }
}

#[test]
fn partial_admission_needs_to_know_the_roles() {
    let cycle = |pods: i64| {
        let cycle = cohort(3, 10).head("a1", "a").elastic_demand("gpu", 16, 4);
        match pods {
            0 => cycle.done(),
            pods => cycle.elastic_demand("pods", pods, pods / 4).done(),
        }
    };
    let single = r#"{"partial":"single-role"}"#;
    for (settings, pods, ruling) in [
        ("{}", 8, "a1 abstain"),
        (single, 8, "a1 admit [3]"),
        (single, 16, "a1 admit [7]"),
        // How large one pod is cannot be known.
        (single, 0, "a1 abstain"),
        // Not all pods are alike.
        (single, 12, "a1 abstain"),
        (r#"{"partial":"off"}"#, 8, "a1 wait: all gpu 9"),
    ] {
        assert_eq!(
            rulings(settings, &cycle(pods)),
            [ruling],
            "{settings} {pods}"
        );
    }
}

/// What the host may take for a job left to it is not given to another.
#[test]
fn what_is_left_to_the_host_is_counted() {
    let cycle = cohort(3, 10).head("a1", "a").elastic_demand("gpu", 16, 4);
    let cycle = cycle.head("a2", "a").demand("gpu", 1).done();
    assert_eq!(rulings("{}", &cycle), ["a1 abstain", "a2 wait: all gpu 1"]);
}

/// What a cohort is promised is shared by its members before others may have it.
#[test]
fn a_cohort_reclaims_as_a_whole() {
    let cycle = TestCycle::new().node("all", None);
    let cycle = cycle.node("x", Some("all")).node("y", Some("all"));
    let cycle = cycle.node("x1", Some("x")).quota("gpu", 10).used(10);
    let cycle = cycle.node("x2", Some("x")).quota("gpu", 10);
    let cycle = cycle.node("y1", Some("y")).quota("gpu", 10).used(20);
    let cycle = cycle.head("job", "x1").demand("gpu", 5).done();
    assert_eq!(rulings("{}", &cycle), ["job reclaim: all gpu 5"]);
}

/// The minimum of an elastic job is guaranteed where all of it is not.
#[test]
fn a_minimum_is_reclaimed() {
    let cycle = cohort(0, 20).head("a1", "a").elastic_demand("gpu", 16, 4);
    let cycle = cycle.done();
    assert_eq!(rulings("{}", &cycle), ["a1 reclaim: all gpu 4"]);
}

/// Fair sharing with history: p = max(w + k (w - u), 0) are the weights, and
/// the cluster is shared in their proportion.
#[test]
fn weights_from_history_share_the_cluster_in_their_proportion() {
    let (w, u, k) = ([0.5f64, 0.5], [0.8, 0.2], 1.0);
    let p: Vec<u32> = (0..2)
        .map(|i| ((w[i] + k * (w[i] - u[i])).max(0.0) * 1_000.0).round() as u32)
        .collect();
    assert_eq!(p, [200, 800]);
    let mut cycle = TestCycle::new().node("all", None).quota("gpu", 100);
    for (name, weight) in ["a", "b"].iter().zip(&p) {
        cycle = cycle.node(name, Some("all")).weight(*weight);
    }
    for i in 0..100 {
        cycle = cycle.head(&format!("a{i}"), "a").demand("gpu", 1);
        cycle = cycle.head(&format!("b{i}"), "b").demand("gpu", 1);
    }
    let cycle = sorted("{}", &cycle.done());
    let rulings = policy("{}").admit(&cycle);
    let admitted = |node| {
        let pairs = rulings.iter().zip(&cycle.heads);
        pairs
            .filter(|(r, h)| **r == Ruling::Admit && h.node == node)
            .count()
    };
    assert_eq!((admitted(1), admitted(2)), (20, 80));
}

/// Deserved quota first, however small the share and the priority of who borrows.
#[test]
fn deserved_quota_comes_before_borrowing() {
    let cycle = cohort(8, 10).head("b1", "b").priority(9).demand("gpu", 1);
    let cycle = cycle.head("a1", "a").demand("gpu", 2).done();
    assert_eq!(ordered("{}", &cycle), ["a1", "b1"]);
    assert_eq!(ordered(r#"{"order":"priority"}"#, &cycle), ["b1", "a1"]);
}

#[test]
fn smaller_shares_then_priority_then_age() {
    let cycle = TestCycle::new().node("all", None).quota("gpu", 100);
    let cycle = cycle.node("a", Some("all")).quota("gpu", 0).used(20);
    let cycle = cycle.node("b", Some("all")).quota("gpu", 0).used(10);
    let cycle = cycle.head("a1", "a").priority(9).demand("gpu", 1);
    let cycle = cycle.head("b1", "b").demand("gpu", 1).waited(5);
    let cycle = cycle.head("b2", "b").demand("gpu", 1).priority(3);
    let cycle = cycle.head("b3", "b").demand("gpu", 1).waited(9).done();
    assert_eq!(ordered("{}", &cycle), ["b2", "b3", "b1", "a1"]);
    let keys = policy("{}").order(&cycle);
    assert_eq!(keys[2][..4], [1, 0, 110, -3]);
    assert_eq!(
        ordered(r#"{"order":"fifo"}"#, &cycle),
        ["b3", "b1", "a1", "b2"]
    );
}

/// The children of the root are compared by their own shares; within a child it
/// is the leaves' that count. No pairwise order has both.
#[test]
fn shares_are_compared_where_the_ways_meet() {
    let cycle = TestCycle::new().node("all", None).quota("gpu", 1_000);
    let cycle = cycle.node("x", Some("all")).node("y", Some("all"));
    let cycle = cycle.node("x1", Some("x")).quota("gpu", 0).used(100);
    let cycle = cycle.node("x2", Some("x")).quota("gpu", 0).used(0);
    let cycle = cycle.node("y1", Some("y")).quota("gpu", 0).used(200);
    let cycle = cycle.head("x1-small", "x1").demand("gpu", 1);
    let cycle = cycle.head("x2-big", "x2").demand("gpu", 90);
    let cycle = cycle.head("y1-mid", "y1").demand("gpu", 1).done();
    // x has 100 in use: with x2's 90 it is at 190, below y's 201. Then x1 takes
    // x to 191, still below.
    assert_eq!(ordered("{}", &cycle), ["x2-big", "x1-small", "y1-mid"]);
    let mut cycle = cycle;
    cycle.nodes[5].lines[0].used = 150;
    // Now y, at 151, goes before x with 190, though x1 alone would be before y.
    assert_eq!(ordered("{}", &cycle), ["y1-mid", "x2-big", "x1-small"]);
}

#[test]
fn a_cycle_that_is_no_tree_gets_no_opinion() {
    let mut cycle = cohort(0, 0).head("a1", "a").demand("gpu", 1).done();
    cycle.heads[0].node = 9;
    assert_eq!(rulings("{}", &cycle), ["a1 abstain"]);
    assert_eq!(policy("{}").order(&cycle), [SortKey::new()]);
    cycle.heads[0].node = 1;
    cycle.nodes[0].parent = Some(2);
    assert_eq!(rulings("{}", &cycle), ["a1 abstain"]);
    assert_eq!(policy("{}").order(&cycle), [SortKey::new()]);
    cycle.nodes.clear();
    assert_eq!(rulings("{}", &cycle), ["a1 abstain"]);
}

#[test]
fn settings_and_schema_agree() {
    check_settings_schema(
        include_str!("../settings.schema.json"),
        QuotaAdmission::configure,
    );
}
