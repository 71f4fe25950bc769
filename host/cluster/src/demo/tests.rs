use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[test]
fn the_full_cluster_is_the_published_one() {
    let all = nodes(1213, 1);
    assert_eq!(all.len(), 1213);
    assert_eq!(all.iter().map(|n| n.gpus.len()).sum::<usize>(), 6212);
    let mut by_model: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &all {
        *by_model.entry(&node.gpus[0].model).or_default() += node.gpus.len();
    }
    let expected = [
        ("A10", 2),
        ("A100", 4392),
        ("H100", 312),
        ("P100", 265),
        ("T4", 842),
        ("V100M16", 195),
        ("V100M32", 204),
    ];
    assert_eq!(by_model.into_iter().collect::<Vec<_>>(), expected);
    let cpu: i64 = all.iter().map(|n| n.capacity.cpu_milli).sum();
    assert_eq!(cpu, 107_018_000);
    let memory: i64 = all.iter().map(|n| n.capacity.memory_mib).sum();
    assert_eq!(memory, 503_828_480);
}

#[test]
fn clusters_of_any_size_are_valid_and_repeat() {
    for count in [0, 1, 2, 7, 40, 300, 5000] {
        let cluster = nodes(count, 7);
        assert_eq!(cluster.len(), count);
        assert_eq!(cluster, nodes(count, 7));
        let names: BTreeSet<_> = cluster.iter().map(|n| &n.name).collect();
        assert_eq!(names.len(), count);
        for node in &cluster {
            node.validate().unwrap();
            assert!(node.links.is_some() && node.price_milli > 0);
        }
    }
    assert_ne!(nodes(40, 1), nodes(40, 2));
    let zones: BTreeSet<_> = nodes(100, 1).into_iter().map(|n| n.zone).collect();
    assert_eq!(zones.len(), 3);
}

#[test]
fn machines_are_wired_like_their_kind() {
    let all = nodes(1213, 1);
    let of = |model: &str, gpus: usize| {
        all.iter()
            .find(|n| n.gpus.len() == gpus && n.gpus[0].model == model)
            .and_then(|n| n.links.clone())
            .unwrap()
    };
    let cube = of("V100M32", 8);
    let set = |gpus: &[usize]| -> u16 {
        gpus.iter()
            .flat_map(|a| gpus.iter().filter(move |b| a < b).map(move |b| (*a, *b)))
            .map(|(a, b)| cube.nvlinks(a, b))
            .sum()
    };
    assert_eq!(set(&[0, 1, 2, 3]), 9);
    assert_eq!(set(&[4, 5, 6, 7]), 9);
    assert_eq!(set(&[0, 2, 5, 7]), 2);
    assert_eq!(cube.numa(), [0, 0, 0, 0, 1, 1, 1, 1]);
    let quad = of("V100M16", 4);
    assert!(quad.nvlinks(0, 3) == 2 && quad.nvlinks(0, 1) == 1);
    assert_eq!(of("A100", 8).nvlinks(0, 7), 12);
    assert_eq!(of("H100", 8).nvlinks(0, 7), 18);
    let t4 = of("T4", 4);
    assert_eq!((t4.link(0, 1), t4.link(0, 2)), (50, 10));
}

#[test]
fn arrivals_have_the_published_mix_and_repeat() {
    let cluster = nodes(1213, 1);
    let load = Load::default();
    let stream: Vec<Arrival> = Arrivals::new(&cluster, load, 3).take(40_000).collect();
    let again: Vec<Arrival> = Arrivals::new(&cluster, load, 3).take(40_000).collect();
    assert_eq!(stream, again);
    assert!(stream.is_sorted_by_key(|a| a.time_ms));
    let share = |f: &dyn Fn(&Arrival) -> bool| {
        100.0 * stream.iter().filter(|a| f(a)).count() as f64 / stream.len() as f64
    };
    let near = |found: f64, published: f64, within: f64| {
        assert!(
            (found - published).abs() < within,
            "{found} for {published}"
        );
    };
    near(share(&|a| a.pod.gpu.count == 0), 13.3, 0.7);
    near(
        share(&|a| a.pod.gpu.count == 1 && a.pod.gpu.milli < 1000),
        37.8,
        1.0,
    );
    near(
        share(&|a| a.pod.gpu.count == 1 && a.pod.gpu.milli == 1000),
        48.0,
        1.0,
    );
    near(share(&|a| a.pod.gpu.count == 8), 0.54, 0.2);
    near(share(&|a| a.pod.gpu.milli == 810), 13.2, 1.2);
    near(share(&|a| !a.pod.gpu.models.is_empty()), 17.6, 1.0);
    near(share(&|a| a.pod.priority > 0), 57.0, 1.0);
    let mut durations: Vec<u64> = stream.iter().map(|a| a.duration_ms).collect();
    durations.sort_unstable();
    let mean = durations.iter().sum::<u64>() as f64 / durations.len() as f64;
    near(mean, 120_000.0, 12_000.0);
    assert!(durations[20_000] < 120_000 / 8, "half are short");
    assert!(durations[39_900] > 120_000 * 5, "a few are very long");
    // Little's law gives the load that was asked for.
    let span = stream.last().unwrap().time_ms as f64;
    let gpu: f64 = stream
        .iter()
        .map(|a| a.pod.gpu.total_milli() as f64 * a.duration_ms as f64)
        .sum();
    near(gpu / span / 6_212_000.0, 1.05, 0.12);
    for arrival in &stream {
        arrival.pod.validate().unwrap();
        assert!(arrival.duration_ms > 0);
    }
    let names: BTreeSet<_> = stream.iter().map(|a| &a.pod.name).collect();
    assert_eq!(names.len(), stream.len());
}

#[test]
fn every_pod_could_run_on_a_small_cluster() {
    for count in [1, 3, 10] {
        let cluster = nodes(count, 5);
        for arrival in Arrivals::new(&cluster, Load::default(), 5).take(2000) {
            let pod = arrival.pod;
            assert!(
                cluster.iter().any(|n| pod.requests.fits(&n.capacity)
                    && pod.gpu.count as usize <= n.gpus.len()
                    && (pod.gpu.models.is_empty() || pod.gpu.models.contains(&n.gpus[0].model))),
                "{pod:?}"
            );
        }
    }
    // Nothing to run on: pods ask for nothing, and time still passes.
    let last = Arrivals::new(&[], Load::default(), 5)
        .take(100)
        .last()
        .unwrap();
    assert!(last.time_ms > 50_000 && last.pod.gpu.count == 0);
}

#[test]
fn gaps_are_exponential() {
    let cluster = nodes(40, 1);
    let arrivals = Arrivals::new(&cluster, Load::default(), 9);
    let gap = arrivals.mean_gap_us() as f64 / 1000.0;
    let times: Vec<u64> = arrivals.take(20_000).map(|a| a.time_ms).collect();
    let gaps: Vec<f64> = times
        .windows(2)
        .map(|w| (w[1] - w[0]) as f64 / gap)
        .collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    let above_two = gaps.iter().filter(|g| **g > 2.0).count() as f64 / gaps.len() as f64;
    assert!((mean - 1.0).abs() < 0.03, "{mean}");
    assert!((variance - 1.0).abs() < 0.08, "{variance}");
    assert!((above_two - (-2.0f64).exp()).abs() < 0.01, "{above_two}");
}

#[test]
fn requests_have_days_weeks_and_one_sale() {
    let made = requests(RequestShape::default(), 1);
    assert_eq!(made, requests(RequestShape::default(), 1));
    let values = &made.series.values;
    assert_eq!((made.series.step_s, values.len()), (60, 14 * 1440));
    let at = |day: usize, minute: usize| {
        let from = day * 1440 + minute;
        values[from..from + 30].iter().sum::<f64>() / 30.0
    };
    assert!(at(1, 20 * 60) > 4.0 * at(1, 4 * 60), "evening over night");
    assert!(at(1, 20 * 60) > 1.1 * at(6, 20 * 60), "Tuesday over Sunday");
    let sale = made.sale.unwrap();
    let start = (sale.start_ms / 60_000) as usize;
    assert_eq!((start / 1440, start % 1440), (12, 20 * 60));
    let ratio = at(12, 20 * 60 + 10) / at(5, 20 * 60 + 10);
    assert!((3.4..4.2).contains(&ratio), "{ratio}");
    let after = at(12, 22 * 60 + 5) / at(5, 22 * 60 + 5);
    assert!((0.95..1.05).contains(&after), "{after}");
    assert!(values.iter().all(|v| v.is_finite() && *v >= 0.0));
    let short = requests(
        RequestShape {
            days: 2,
            ..RequestShape::default()
        },
        1,
    );
    assert_eq!(short.sale, None);
}
