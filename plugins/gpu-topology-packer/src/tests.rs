use super::*;
use loadmaster_sdk::testing::{
    DGX1, TestCluster, check_settings_schema, cpu_pod, gpu_pod, share_pod, worn_cluster,
};

const MODES: [&str; 2] = ["improved", "published"];
const OBJECTIVES: [&str; 2] = ["maximin", "partition"];

fn packer(t: &TestCluster, settings: &str) -> Native<GpuTopologyPacker> {
    t.policy(settings)
}

fn dgx1(t: TestCluster, name: &str, free: &[usize]) -> TestCluster {
    t.node(name)
        .cpu(80_000)
        .gpus("V100", 8)
        .links(&DGX1)
        .gpus_free(free)
        .done()
}

/// The workload of the published example.
fn example(t: TestCluster) -> TestCluster {
    t.shape(&share_pod(2_000, 0, 500), 5)
        .shape(&gpu_pod(4_000, 0, 1), 3)
        .shape(&gpu_pod(8_000, 0, 2), 2)
}

#[test]
fn four_gpus_on_an_empty_dgx1_are_a_quad() {
    for objective in OBJECTIVES {
        let mut t = dgx1(TestCluster::new(), "dgx", &[0, 1, 2, 3, 4, 5, 6, 7]);
        let policy = packer(&t, &format!(r#"{{"objective":"{objective}"}}"#));
        let pod = gpu_pod(8_000, 0, 4);
        let mut placed = || t.schedule(&policy, &pod).map(|(_, devices)| devices);
        assert_eq!(placed(), Some(vec![0, 1, 2, 3]));
        assert_eq!(placed(), Some(vec![4, 5, 6, 7]));
        assert_eq!(placed(), None);
    }
}

#[test]
fn objectives_differ_where_they_should() {
    let t = dgx1(TestCluster::new(), "dgx", &[0, 2, 4, 5]);
    let place = |objective: &str, count| {
        let policy = packer(&t, &format!(r#"{{"objective":"{objective}"}}"#));
        t.place(&policy, &gpu_pod(0, 0, count), "dgx").unwrap()
    };
    assert_eq!(place("maximin", 2), [0, 4]);
    assert_eq!(place("partition", 2), [4, 5]);
    let t = dgx1(TestCluster::new(), "dgx", &[0, 1, 2, 3, 7]);
    let place = |objective: &str| {
        let policy = packer(&t, &format!(r#"{{"objective":"{objective}"}}"#));
        t.place(&policy, &gpu_pod(0, 0, 1), "dgx").unwrap()
    };
    assert_eq!(place("maximin"), [7]);
    assert_eq!(place("partition"), [0]);
}

#[test]
fn a_node_with_a_linked_set_beats_one_without() {
    let t = dgx1(TestCluster::new(), "scattered", &[0, 2, 5, 7]);
    let t = dgx1(t, "quad", &[4, 5, 6, 7]);
    let pod = gpu_pod(8_000, 0, 4);
    for mode in MODES {
        let policy = packer(&t, &format!(r#"{{"mode":"{mode}"}}"#));
        assert_eq!(t.winner(&policy, &pod), Some("quad"), "{mode}");
        let parts = t.explain(&policy, &pod, "scattered");
        let topology = parts.iter().find(|p| p.name == "topology").unwrap();
        assert_eq!(topology.value, -9_000);
        assert_eq!(
            topology.text,
            "slowest link of 4 free devices is SYS, on the empty machine NV1"
        );
        let blind = packer(&t, &format!(r#"{{"mode":"{mode}","topology-weight":0}}"#));
        assert_eq!(t.winner(&blind, &pod), Some("scattered"), "a tie");
    }
}

#[test]
fn the_published_example_through_columns() {
    let t = TestCluster::new().node("a").cpu(10_000);
    let t = example(t.gpus("A100", 2).gpu_used(1, 500).done());
    let policy = packer(&t, r#"{"mode":"published","typical-percent":100}"#);
    let pod = share_pod(2_000, 0, 500);
    assert_eq!(t.scores(&policy, &pod), [("a", 56_000)]);
    assert_eq!(t.place(&policy, &pod, "a"), Some(vec![1]));
    // With too little memory on device 1 only the worse device is left.
    let t = TestCluster::new().node("a").cpu(10_000);
    let t = t
        .gpus("A100", 2)
        .gpu_used(1, 500)
        .gpu_memory_used(1, 79_000);
    let t = example(t.done());
    let policy = packer(&t, r#"{"mode":"published","typical-percent":100}"#);
    let pod = Pod {
        gpu_memory: 2_000,
        ..pod
    };
    assert_eq!(t.scores(&policy, &pod), [("a", 48_000)]);
    assert_eq!(t.place(&policy, &pod, "a"), Some(vec![0]));
}

#[test]
fn parts_add_up_and_any_split_gives_the_same() {
    let t = worn_cluster(60);
    let pods = [
        cpu_pod(4_000, 1_000),
        share_pod(3_000, 1_000, 470),
        gpu_pod(8_000, 1_000, 1),
        gpu_pod(8_000, 1_000, 3),
    ];
    for mode in MODES {
        let policy = packer(&t, &format!(r#"{{"mode":"{mode}"}}"#));
        for pod in &pods {
            let rows = t.feasible(pod);
            let slots = t.slots(pod);
            assert!(rows.len() > 5);
            let batch = t.scores(&policy, pod);
            for (&row, (name, score)) in rows.iter().zip(&batch) {
                let data = t.lay_out(&COLUMNS, &[row], slots);
                let view = Rows::new(&COLUMNS, 1, slots, &data);
                let alone = policy.policy().score(pod, view.node(0)).value();
                assert_eq!(alone, *score, "{name}");
                assert!((0..=SCORE_MAX).contains(score), "{name} {score}");
                let _ = t.explain(&policy, pod, name);
                if pod.gpu_count > 0 {
                    let devices = t.place(&policy, pod, name).unwrap();
                    assert_eq!(devices.len(), pod.gpu_count as usize);
                }
            }
        }
    }
}

/// Fills a cluster until nothing fits; `bind` panics on any illegal device.
#[test]
fn a_cluster_fills_up_legally() {
    for mode in MODES {
        let mut t = worn_cluster(20);
        let policy = packer(&t, &format!(r#"{{"mode":"{mode}"}}"#));
        let pods = [share_pod(500, 100, 320), gpu_pod(500, 100, 2)];
        let mut placed = 0;
        while let Some(pod) = pods.iter().find(|p| !t.feasible(p).is_empty()) {
            assert!(t.schedule(&policy, pod).is_some());
            placed += 1;
        }
        assert!(placed > 50, "{placed}");
    }
}

#[test]
fn a_share_completes_a_device_and_leaves_whole_ones() {
    let t = TestCluster::new()
        .node("whole")
        .gpus("A100", 4)
        .done()
        .node("begun")
        .gpus("A100", 4)
        .gpu_used(2, 500)
        .done();
    let t = t.shape(&share_pod(1_000, 0, 500), 5);
    let t = t.shape(&gpu_pod(1_000, 0, 1), 5);
    for mode in MODES {
        let policy = packer(&t, &format!(r#"{{"mode":"{mode}"}}"#));
        let pod = share_pod(1_000, 0, 500);
        assert_eq!(t.winner(&policy, &pod), Some("begun"), "{mode}");
        assert_eq!(t.place(&policy, &pod, "begun"), Some(vec![2]));
    }
}

#[test]
fn cpu_pods_keep_away_from_idle_gpus() {
    let t = TestCluster::new()
        .node("idle")
        .cpu(16_000)
        .gpus("A100", 8)
        .done()
        .node("taken")
        .cpu(16_000)
        .gpus("A100", 8)
        .gpus_free(&[])
        .done();
    let t = t.shape(&gpu_pod(2_000, 0, 1), 1);
    let policy = packer(&t, "{}");
    assert_eq!(t.winner(&policy, &cpu_pod(8_000, 0)), Some("taken"));
}

#[test]
fn without_a_history_whole_devices_are_kept() {
    let t = TestCluster::new()
        .node("fresh")
        .gpus("A100", 2)
        .done()
        .node("begun")
        .gpus("A100", 2)
        .gpu_used(0, 600)
        .done();
    for mode in MODES {
        let policy = packer(&t, &format!(r#"{{"mode":"{mode}"}}"#));
        let pod = share_pod(1_000, 0, 400);
        assert_eq!(t.winner(&policy, &pod), Some("begun"), "{mode}");
        assert_eq!(t.place(&policy, &pod, "begun"), Some(vec![0]));
    }
}

#[test]
fn new_settings_keep_the_context() {
    let t = worn_cluster(30);
    let pod = share_pod(3_000, 1_000, 470);
    let mut policy = packer(&t, "{}");
    policy.configure(r#"{"mode":"published"}"#).unwrap();
    let fresh = packer(&t, r#"{"mode":"published"}"#);
    assert_eq!(t.scores(&policy, &pod), t.scores(&fresh, &pod));
}

#[test]
fn settings_and_schema_agree() {
    check_settings_schema(
        include_str!("../settings.schema.json"),
        GpuTopologyPacker::configure,
    );
}
