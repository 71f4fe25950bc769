use super::*;
use loadmaster_sdk::testing::{TestCluster, check_settings_schema, cpu_pod, gpu_pod, share_pod};

fn shares(values: &[i32]) -> [Dimension; 3] {
    let mut dimensions = [Dimension::ABSENT; 3];
    for (d, share) in dimensions.iter_mut().zip(values) {
        *d = Dimension::after(1_000 - share, 1_000, 0);
    }
    dimensions
}

#[test]
fn balance_is_kube_schedulers() {
    // Shares in thousandths and points of 100, truncated as upstream.
    for (used, points) in [
        (&[750, 250][..], 75),
        (&[500, 500], 100),
        (&[600, 200, 100], 78),
    ] {
        assert_eq!(part::balance(&shares(used)) / 1_000, points, "{used:?}");
    }
}

#[test]
fn free_is_kube_schedulers() {
    assert_eq!(part::free(&shares(&[750, 250])), 50_000);
    assert_eq!(part::free(&shares(&[600, 200, 100])), 70_000);
    assert_eq!(part::free(&[Dimension::ABSENT; 3]), 0);
}

#[test]
fn node_part_is_fenzos() {
    let points: Vec<i64> = [0, 1, 2, 5].map(part::node).to_vec();
    assert_eq!(points, [100_000, 50_000, 25_000, 10_000]);
}

/// Three zones with these counts of peers, one node each and one spare node
/// without peers in each zone, so that only the zone decides between spares.
fn zones(counts: [i32; 3]) -> TestCluster {
    let mut t = TestCluster::new();
    for (zone, peers) in counts.iter().enumerate() {
        t = t
            .node(&format!("used-{zone}"))
            .zone(zone as i32)
            .peers(*peers)
            .done();
        t = t.node(&format!("spare-{zone}")).zone(zone as i32).done();
    }
    t
}

#[test]
fn zones_are_ordered_as_kube_scheduler_orders_them() {
    // Upstream: counts 3, 1, 2 give 40, 100, 80.
    let t = zones([3, 1, 2]);
    let policy = t.policy::<Spread>("{}");
    assert_eq!(t.winner(&policy, &cpu_pod(100, 100)), Some("spare-1"));
    let scores = t.scores(&policy, &cpu_pod(100, 100));
    let of = |name: &str| scores.iter().find(|(n, _)| *n == name).map(|(_, s)| *s);
    assert!(of("spare-1") > of("spare-2") && of("spare-2") > of("spare-0"));
    assert!(of("spare-0") > of("used-1"), "an empty node beats a zone");
}

#[test]
fn large_applications_stay_even() {
    for counts in [[100, 101, 101], [250, 249, 250]] {
        let t = zones(counts);
        let policy = t.policy::<Spread>(r#"{"zone-half":100}"#);
        let least = (0..3).min_by_key(|z| counts[*z]).unwrap();
        let winner = format!("spare-{least}");
        let pod = cpu_pod(100, 100);
        assert_eq!(t.winner(&policy, &pod), Some(winner.as_str()));
    }
}

#[test]
fn nodes_without_zone_come_last() {
    let t = TestCluster::new()
        .node("nowhere")
        .done()
        .node("somewhere")
        .zone(0)
        .done();
    let policy = t.policy::<Spread>("{}");
    assert_eq!(t.winner(&policy, &cpu_pod(100, 100)), Some("somewhere"));
}

#[test]
fn pods_of_one_application_spread_over_nodes_then_zones() {
    let mut t = TestCluster::new();
    for zone in 0..3 {
        for node in 0..2 {
            t = t.node(&format!("z{zone}n{node}")).zone(zone).done();
        }
    }
    let policy = t.policy::<Spread>("{}");
    let placed: Vec<String> = (0..6)
        .filter_map(|_| t.schedule(&policy, &cpu_pod(1_000, 1_000)))
        .map(|(node, _)| node)
        .collect();
    assert_eq!(placed, ["z0n0", "z1n0", "z2n0", "z0n1", "z1n1", "z2n1"]);
}

#[test]
fn the_limit_refuses() {
    let t = zones([2, 2, 1]);
    let settings = r#"{"max-per-node":1,"node-weight":0,"zone-weight":0}"#;
    let policy = t.policy::<Spread>(settings);
    let scores = t.scores(&policy, &cpu_pod(0, 0));
    let refused = scores.iter().filter(|(_, score)| *score == -1).count();
    assert_eq!(refused, 3);
    let parts = t.explain(&policy, &cpu_pod(0, 0), "used-0");
    assert_eq!(parts[0].name, "max-per-node");
}

#[test]
fn parts_add_up() {
    let t = zones([3, 7, 2]);
    let policy = t.policy::<Spread>(r#"{"zone-weight":37,"node-weight":11}"#);
    for node in ["used-0", "spare-1", "used-2"] {
        assert_eq!(t.explain(&policy, &cpu_pod(333, 777), node)[0].name, "zone");
    }
}

#[test]
fn devices_are_the_emptiest() {
    let t = TestCluster::new()
        .node("a")
        .gpus("A100", 4)
        .gpu_used(0, 300)
        .gpu_used(1, 600)
        .gpu_memory_used(2, 1_000)
        .done();
    let policy = t.policy::<Spread>("{}");
    assert_eq!(t.place(&policy, &share_pod(0, 0, 400), "a"), Some(vec![3]));
    assert_eq!(t.place(&policy, &gpu_pod(0, 0, 2), "a"), Some(vec![2, 3]));
    assert_eq!(t.place(&policy, &gpu_pod(0, 0, 3), "a"), None);
}

#[test]
fn gpu_load_counts_for_pods_that_ask() {
    let t = TestCluster::new()
        .node("busy")
        .gpus("A100", 4)
        .gpus_free(&[0])
        .done()
        .node("idle")
        .gpus("A100", 4)
        .done();
    let policy = t.policy::<Spread>("{}");
    assert_eq!(t.winner(&policy, &share_pod(0, 0, 500)), Some("idle"));
    assert_eq!(t.winner(&policy, &cpu_pod(0, 0)), Some("busy"), "a tie");
}

#[test]
fn settings_and_schema_agree() {
    check_settings_schema(include_str!("../settings.schema.json"), Spread::configure);
    let zeroes = r#"{"zone-weight":0,"node-weight":0,"free-weight":0,"balance-weight":0}"#;
    assert!(Spread::configure(zeroes).is_err());
}
