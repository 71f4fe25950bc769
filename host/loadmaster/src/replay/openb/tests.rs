use std::cell::Cell;

use cluster::trace::openb;

use super::*;
use crate::policies::{Loader, PolicyRef, scoring_set};

const NODES: &str = "\
sn,cpu_milli,memory_mib,gpu,model
n-0,64000,262144,2,P100
n-1,96000,393216,8,G2
n-2,104000,530000,2,T4
";

const PODS: &str = "\
name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
a,4000,1000,1,500,
b,8000,1000,1,1000,
c,8000,1000,2,1000,G2
d,2000,1000,0,0,
e,4000,1000,1,250,T4|P100
f,32000,1000,4,1000,
";

fn trace() -> Trace {
    let nodes = openb::nodes(NODES.as_bytes(), "nodes").unwrap();
    let pods = openb::pods(PODS.as_bytes(), "pods").unwrap();
    Trace::new(nodes, pods)
}

fn run(seed: u64) -> Fill {
    let loader = Loader::unhurried();
    let policy = loader
        .load(&PolicyRef::builtin(model::PolicyKind::Scoring, "binpack"))
        .unwrap();
    let costs = Costs::default();
    let set = scoring_set(&[policy], |p| costs.meter(p)).unwrap();
    let seen = Cell::new(0);
    let fill = fill(&trace(), 1300, seed, set, &costs, &|n| {
        seen.set(seen.get() + n);
    })
    .unwrap();
    assert_eq!(seen.get(), fill.arrived);
    fill
}

#[test]
fn same_seed_same_digest() {
    let (a, b, other) = (run(1), run(1), run(2));
    assert_eq!(a.digest, b.digest);
    assert_eq!(a.curve, b.curve);
    assert_ne!(a.digest, other.digest);
    assert!(a.digest.starts_with("sha256:") && a.digest.len() == 71);
}

#[test]
fn pods_without_a_place_count_as_arrived() {
    let fill = run(1);
    assert!(fill.failed() > 0, "130 % cannot fit");
    assert_eq!(fill.decisions, fill.arrived);
    assert!(fill.at(100).is_none_or(|m| m.alloc_pct <= 100.0));
    let last = fill.curve.last().unwrap();
    assert!(last.0 >= 110, "inflated to 130 %, got to {}", last.0);
    assert_eq!(fill.faults, 0);
}

#[test]
fn the_profile_keeps_every_class_in_order() {
    let trace = trace();
    assert_eq!(trace.profile.len(), 6);
    let cpus: Vec<i64> = trace.profile.iter().map(|c| c.cpu_milli).collect();
    assert_eq!(cpus, [32_000, 8_000, 8_000, 4_000, 4_000, 2_000]);
}

#[test]
fn the_json_has_exactly_the_promised_keys() {
    let json = run(1).to_json(json!({}));
    let keys: Vec<&str> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut expected = [
        "policies",
        "seed",
        "pods",
        "gpu_alloc_pct",
        "frag_ratio_pct",
        "decisions",
        "decisions_per_s",
        "evaluations_per_s",
        "policy_call_us",
        "fuel",
        "faults",
        "decision_digest",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let bins: Vec<&str> = json["gpu_alloc_pct"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(bins, ["100", "110", "130", "80", "90", "95"]);
}
