//! Dependencies point one way. Reads what cargo resolved, not what people meant.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Lower numbers may not depend on higher ones, nor on their own, except where
/// [`SIBLINGS`] says so.
const LAYERS: [(&str, u32); 23] = [
    ("model", 0),
    ("engine", 1),
    ("conformance", 2),
    ("sandbox", 3),
    ("lifecycle", 4),
    ("store", 4),
    ("cluster", 4),
    ("loadmaster", 5),
    ("loadmaster-sdk", 0),
    ("binpack", 1),
    ("spread", 1),
    ("gpu-topology-packer", 1),
    ("pre-scaler", 1),
    ("guardrails", 1),
    ("defaults", 1),
    ("shortest-service", 1),
    ("quota-admission", 1),
    ("deadline-admission", 1),
    ("fair-preemption", 1),
    ("gang-packer", 1),
    ("tests", 9),
    ("benches", 10),
    ("none", 0),
];

/// Host and guest side meet only in `wit/`.
const GUEST: [&str; 12] = [
    "loadmaster-sdk",
    "binpack",
    "spread",
    "gpu-topology-packer",
    "pre-scaler",
    "shortest-service",
    "guardrails",
    "defaults",
    "quota-admission",
    "deadline-admission",
    "fair-preemption",
    "gang-packer",
];

/// Only these and what is above them may compile wasmtime.
const NO_WASMTIME: [&str; 5] = ["model", "engine", "conformance", "store", "cluster"];

/// Crates that bring a world of their own and belong to the top layer.
const TOP_ONLY: [&str; 4] = ["tokio", "axum", "clap", "anyhow"];

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).expect("cargo writes JSON")
}

/// Normal and build dependencies of every workspace member, by package name.
fn edges() -> BTreeMap<String, Vec<String>> {
    let meta = metadata();
    let members: Vec<&str> = meta["workspace_members"]
        .as_array()
        .expect("members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut edges = BTreeMap::new();
    for package in meta["packages"].as_array().expect("packages") {
        if !members.contains(&package["id"].as_str().expect("id")) {
            continue;
        }
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let names = dependencies
            .iter()
            .filter(|d| d["kind"].as_str() != Some("dev"))
            .filter_map(|d| d["name"].as_str().map(str::to_owned));
        let name = package["name"].as_str().expect("name").to_owned();
        edges.insert(name, names.collect());
    }
    edges
}

fn layer(name: &str) -> Option<u32> {
    LAYERS.iter().find(|(n, _)| *n == name).map(|(_, l)| *l)
}

#[test]
fn every_member_has_a_layer() {
    for name in edges().keys() {
        assert!(layer(name).is_some(), "{name} is missing from LAYERS");
    }
}

#[test]
fn dependencies_point_down() {
    for (from, deps) in edges() {
        for to in deps.iter().filter(|d| layer(d).is_some()) {
            assert!(
                layer(to) < layer(&from),
                "{from} (L{:?}) must not depend on {to} (L{:?})",
                layer(&from),
                layer(to)
            );
        }
    }
}

#[test]
fn host_and_guest_meet_only_in_wit() {
    for (from, deps) in edges() {
        if from == "tests" || from == "benches" {
            continue;
        }
        let guest = GUEST.contains(&from.as_str());
        for to in deps.iter().filter(|d| layer(d).is_some()) {
            assert_eq!(
                GUEST.contains(&to.as_str()),
                guest,
                "{from} depends on {to} across the sandbox wall"
            );
        }
    }
}

#[test]
fn heavy_crates_stay_in_their_layer() {
    for (from, deps) in edges() {
        for to in &deps {
            if to == "wasmtime" {
                assert!(
                    !NO_WASMTIME.contains(&from.as_str()),
                    "{from} compiles wasmtime"
                );
            }
            let top = matches!(from.as_str(), "loadmaster" | "tests" | "benches");
            // The sandbox names anyhow only to pin its features (one wasmtime build).
            let pinned = from == "sandbox" && to == "anyhow";
            if TOP_ONLY.contains(&to.as_str()) && !pinned {
                assert!(top, "{from} depends on {to}, which belongs to the binary");
            }
        }
    }
}
