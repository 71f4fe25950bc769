use serde_json::json;

use super::*;

#[test]
fn why_adds_up_and_says_what_would_help() {
    let why: Why = serde_json::from_value(json!({
        "pod": "train-llm-3",
        "state": {"phase": "waiting", "reason": "FragmentedTopology", "retry_at": "1970-01-01T00:05:00.000Z"},
        "submitted": "1970-01-01T00:00:48.000Z",
        "nodes": 1213,
        "lines": [
            {"check": "Cordoned", "text": "cordoned or failed", "count": 2, "nodes": ["node-05", "node-11"]},
            {"check": "GpuModel", "text": "has no GPU of an accepted model", "count": 1000,
             "nodes": ["cpu-01", "cpu-02"]},
            {"check": "Gpu", "text": "not enough GPU free", "count": 211, "nodes": ["node-09"],
             "nearest": "node-09: need 8 GPUs, 6 free, 2 short"}
        ],
        "fixes": [
            {"way": "wait", "node": "node-09", "pods": ["eval-77"]},
            {"way": "preempt", "node": "node-09", "pods": ["a", "b", "c", "d", "e"]},
            {"way": "relax", "what": "half of the 8 GPUs", "fits": 3, "node": "node-02"},
            {"way": "grow", "like": "node-01"}
        ],
        "ahead": 2,
        "last_decision": 17
    }))
    .unwrap();
    let expected = "\
train-llm-3 has been waiting for 4 m 12 s   FragmentedTopology

    1 213 nodes
  −     2   cordoned or failed                node-05, node-11
  − 1 000   has no GPU of an accepted model   cpu-01, cpu-02 and 998 more
  −   211   not enough GPU free               nearest node-09: need 8 GPUs, 6 free, 2 short
  =     0   left

  What would let it run
   1 wait      node-09 has room when eval-77 ends
   2 preempt   lower priority on node-09: a, b, c, d and 1 more
   3 relax     without half of the 8 GPUs it fits 3 nodes, e.g. node-02 now
   4 grow      one more node like node-01 would do

  Before it in its line: 2 pods

  decision 17 · loadmaster decision explain 17
";
    assert_eq!(why_text(&why, Some(Time(300_000)), Style::PLAIN), expected);
}

#[test]
fn why_of_a_running_pod_points_to_its_decision() {
    let why: Why = serde_json::from_value(json!({
        "pod": "p", "state": {"phase": "running", "node": "n1", "devices": [0, 3],
        "since": "1970-01-01T00:00:00.000Z", "decision": 4},
        "submitted": "1970-01-01T00:00:00.000Z", "nodes": 1, "lines": [], "fixes": [], "ahead": 0
    }))
    .unwrap();
    let expected = "p runs on n1 [0 3] for 1 m\n\ndecision 4 · loadmaster decision explain 4\n";
    assert_eq!(why_text(&why, Some(Time(60_000)), Style::PLAIN), expected);
}

#[test]
fn scores_are_weighted_and_rows_add_up() {
    let member = |name: &str, weight: f64| {
        json!({"policy": {"name": name, "version": "0.1.0", "digest": "sha256:00"},
               "weight": weight, "tier": 0, "settings": {}})
    };
    let detail: DecisionDetail = serde_json::from_value(json!({
        "id": 42, "time": "1970-01-01T00:00:01.000Z", "pod": "serve-42", "set_revision": 58,
        "outcome": {"result": "bound", "node": "node-03", "devices": [1], "margin": 7_500_000},
        "filter": {"nodes": 16, "counts": {"Fits": 12, "Cpu": 3, "Cordoned": 1}},
        "candidates": [
            {"node": "node-03", "row": 2, "total": 95_000_000, "scores": [75_000, 40_000]},
            {"node": "node-07", "row": 6, "total": 87_500_000, "scores": [87_500, null]}
        ],
        "rows_scored": 2, "fuel": 41_000,
        "set": {"kind": "scoring", "revision": 58, "combine": "weighted",
                "members": [member("gpu-pack", 1.0), member("spread", 0.5)]},
        "influence": [
            {"policy": "gpu-pack@0.1.0", "winner_without": "node-12", "decisive": true},
            {"policy": "spread@0.1.0", "winner_without": "node-03", "decisive": false}
        ],
        "explanations": [{"policy": "gpu-pack@0.1.0", "node": "node-03",
            "parts": [{"name": "gpu", "value": 75_000, "text": "share used afterwards"}]}]
    }))
    .unwrap();
    let expected = "\
serve-42 → node-03 [1]      7.5 ahead of node-07      set 58
  16 nodes  − 1 cordoned or failed  − 3 not enough CPU free  = 12 left

  #   NODE      gpu-pack ×1   spread ×0.5   TOTAL
  1   node-03          75.0          20.0    95.0
  2   node-07          87.5             –    87.5
     10 more not kept      – abstained      cells are already weighted; TOTAL is their sum

  What decided it
    without gpu-pack             node-12 would win      ← decisive
    without spread               no change

  gpu-pack on node-03
         75.0   gpu                share used afterwards
";
    assert_eq!(decision_text(&detail, false, Style::PLAIN), expected);
}
