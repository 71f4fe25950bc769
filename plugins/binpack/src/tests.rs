use super::*;
use loadmaster_sdk::testing::{TestCluster, check_settings_schema, cpu_pod, gpu_pod, share_pod};

/// The published formula, as published: floating point, truncated.
fn published_best_fit(pod: &Pod, cpu_free: i32, gpu_free: i32) -> f64 {
    let cpu = f64::from(cpu_free - pod.cpu) / 128_000.0;
    let gpu = (f64::from(gpu_free) - pod.gpu_request() as f64) / 8_000.0;
    100.0 * (1.0 - 0.5 * cpu - 0.5 * gpu)
}

fn published_dot_product(pod: &Pod, cpu_free: i32, gpu_free: i32) -> f64 {
    let cpu = f64::from(cpu_free) / 128_000.0 * (f64::from(pod.cpu) / 128_000.0);
    let gpu = f64::from(gpu_free) / 8_000.0 * (pod.gpu_request() as f64 / 8_000.0);
    100.0 * (1.0 - (cpu + gpu) / 2.0)
}

fn agrees_with(settings: &str, published: fn(&Pod, i32, i32) -> f64) {
    let policy = Binpack::configure(settings).unwrap();
    let pods = [
        cpu_pod(7_300, 0),
        share_pod(3_152, 0, 470),
        gpu_pod(11_908, 0, 1),
        gpu_pod(64_000, 0, 8),
    ];
    let mut compared = 0;
    for pod in &pods {
        for cpu in (pod.cpu..=128_000).step_by(997) {
            for gpu in (pod.gpu_request() as i32..=8_000).step_by(130) {
                let exact = published(pod, cpu, gpu);
                if (exact - exact.round()).abs() < 1e-9 {
                    continue; // the published code decides by its rounding error
                }
                let left = Left {
                    free: [cpu, 12_345, gpu],
                    cap: [128_000, 1 << 20, 8_000],
                };
                let points = policy.kernel(pod).points(&left);
                assert_eq!(points, exact as i64 * 1_000, "{pod:?} cpu {cpu} gpu {gpu}");
                compared += 1;
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn best_fit_is_the_published_one() {
    agrees_with("{}", published_best_fit);
}

#[test]
fn dot_product_is_the_published_one() {
    agrees_with(r#"{"mode":"dot-product"}"#, published_dot_product);
}

#[test]
fn most_allocated_is_kube_schedulers() {
    let t = TestCluster::new()
        .node("a")
        .cpu(10_000)
        .memory(10_000)
        .cpu_used(2_000)
        .memory_used(4_000)
        .done()
        .node("b")
        .cpu(10_000)
        .memory(10_000)
        .cpu_used(5_000)
        .done();
    let settings = r#"{"mode":"most-allocated","memory-weight":1,"step":1}"#;
    let policy = t.policy::<Binpack>(settings);
    let pod = cpu_pod(1_000, 1_000);
    // a: (30 + 50) / 2, b: (60 + 10) / 2; no GPU asked for, so none counts.
    assert_eq!(t.scores(&policy, &pod), [("a", 40_000), ("b", 35_000)]);
    assert_eq!(t.winner(&policy, &pod), Some("a"));
}

#[test]
fn the_fuller_node_wins_and_ties_go_to_the_first() {
    let t = TestCluster::new()
        .node("empty")
        .cpu(64_000)
        .gpus("H100", 8)
        .done()
        .node("half")
        .cpu(64_000)
        .cpu_used(30_000)
        .gpus("H100", 8)
        .gpus_free(&[0, 1, 2, 3])
        .done()
        .node("twin")
        .cpu(64_000)
        .cpu_used(30_000)
        .gpus("H100", 8)
        .gpus_free(&[4, 5, 6, 7])
        .done();
    for mode in ["best-fit", "most-allocated", "dot-product"] {
        let policy = t.policy::<Binpack>(&format!(r#"{{"mode":"{mode}"}}"#));
        for pod in [
            cpu_pod(8_000, 0),
            share_pod(8_000, 0, 500),
            gpu_pod(8_000, 0, 4),
        ] {
            assert_eq!(t.winner(&policy, &pod), Some("half"), "{mode}");
        }
        assert_eq!(t.winner(&policy, &gpu_pod(0, 0, 8)), Some("empty"));
    }
}

#[test]
fn columns_and_rows_agree() {
    let mut t = TestCluster::new();
    for i in 0..150 {
        t = t
            .node(&format!("n{i}"))
            .cpu(96_000)
            .cpu_used(i * 500)
            .memory_used(i * 1_000)
            .gpus("A100", (i % 9) as usize)
            .done();
    }
    for mode in ["best-fit", "most-allocated", "dot-product"] {
        let settings = format!(r#"{{"mode":"{mode}","memory-weight":3,"step":1}}"#);
        let policy = t.policy::<Binpack>(&settings);
        for pod in [cpu_pod(100, 100), share_pod(4_000, 8_000, 250)] {
            let rows = t.feasible(&pod);
            let slots = t.slots(&pod);
            let data = t.lay_out(&COLUMNS, &rows, slots);
            let view = Rows::new(&COLUMNS, rows.len() as u32, slots, &data);
            let one_by_one: Vec<i32> = view
                .iter()
                .map(|node| policy.policy().score(&pod, node).value())
                .collect();
            let mut at_once = Vec::new();
            policy.policy().score_all(&pod, &view, &mut at_once);
            assert_eq!(one_by_one, at_once, "{mode}");
            for row in [0, 77, 149] {
                // Panics unless the parts add up.
                let _ = t.explain(&policy, &cpu_pod(100, 100), &format!("n{row}"));
            }
        }
    }
}

#[test]
fn shares_go_to_the_tightest_device_whole_pods_to_the_first_free() {
    let t = TestCluster::new()
        .node("a")
        .gpus("A100", 4)
        .gpu_used(1, 300)
        .gpu_used(2, 600)
        .done();
    let policy = t.policy::<Binpack>("{}");
    assert_eq!(t.place(&policy, &share_pod(0, 0, 400), "a"), Some(vec![2]));
    assert_eq!(t.place(&policy, &share_pod(0, 0, 401), "a"), Some(vec![1]));
    assert_eq!(t.place(&policy, &gpu_pod(0, 0, 2), "a"), Some(vec![0, 3]));
    assert_eq!(t.place(&policy, &gpu_pod(0, 0, 3), "a"), None);
}

#[test]
fn extreme_settings_and_nodes_stay_in_range() {
    let scales = [1, 999_999_937, i64::from(i32::MAX)];
    let amounts = [0, 1, 1_000, i32::MAX];
    for mode in [Mode::BestFit, Mode::DotProduct, Mode::MostAllocated] {
        for cpu_scale in scales {
            for memory_scale in scales {
                let policy = Binpack {
                    mode,
                    weights: [1_000, 1, 999],
                    scales: [cpu_scale, memory_scale, 64_000],
                    step: 1,
                };
                for request in amounts {
                    let kernel = policy.kernel(&gpu_pod(request, request, 64));
                    for free in amounts {
                        let left = Left {
                            free: [free, free, free.min(64_000)],
                            cap: [i32::MAX, i32::MAX, 64_000],
                        };
                        let points = kernel.points(&left);
                        assert!((0..=100_000).contains(&points), "{policy:?} {left:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn settings_and_schema_agree() {
    check_settings_schema(include_str!("../settings.schema.json"), Binpack::configure);
    assert_eq!(
        Binpack::configure(r#"{"cpu-weight":0,"gpu-weight":0}"#).unwrap_err(),
        "`cpu-weight`, `memory-weight` and `gpu-weight` are all 0"
    );
}
