//! Quotas, gangs and plans as people type them, with the real binary.

mod support;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use support::Host;

/// Runs the binary against the host, with text on its standard input.
fn run(host: &Host, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadmaster"));
    for (name, _) in std::env::vars() {
        if name.starts_with("LOADMASTER_") {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args(args)
        .env("LOADMASTER_SERVER", host.url(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn check(host: &Host, args: &[&str], input: &str, exit: i32, words: &[&str]) -> String {
    let output = run(host, args, input);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = format!("{args:?}\nstdout: {stdout}\nstderr: {stderr}");
    assert_eq!(output.status.code(), Some(exit), "{said}");
    for word in words {
        assert!(
            stdout.contains(word) || stderr.contains(word),
            "no {word:?} from {said}"
        );
    }
    stdout
}

const QUOTAS: &str = r#"[
    {"name": "company"},
    {"name": "vision", "parent": "company", "resources": {"gpu": {"nominal": 4, "borrowing_limit": 0}}}
]"#;

#[test]
fn quotas_queues_and_who_waits() {
    let host = Host::in_memory();
    host.add_nodes(2);
    let ok = |args: &[&str], input: &str, words: &[&str]| check(&host, args, input, 0, words);
    ok(&["quota", "list"], "", &["loadmaster quota put FILE"]);
    ok(&["quota", "put", "-"], QUOTAS, &["company", "vision"]);
    let queue = r#"{"name": "batch", "quota": "vision"}"#;
    ok(&["queue", "put", "-"], queue, &["batch", "vision", "open"]);
    let one = |id: &str| {
        format!(r#"{{"id": "{id}", "queue": "batch", "template": {{"gpu": {{"count": 4}}}}}}"#)
    };
    ok(
        &["job", "submit", "-"],
        &one("first"),
        &["first", "running"],
    );
    let text = ok(
        &["job", "submit", "-f", "-"],
        &one("second"),
        &["loadmaster why second"],
    );
    assert!(text.contains("waiting"), "{text}");
    ok(
        &["why", "second"],
        "",
        &[
            "WaitingForQuota",
            "4 gpu short at quota vision",
            "raise     quota vision by 4 gpu",
        ],
    );
    ok(&["why", "job/second", "-o", "json"], "", &["\"shortages\""]);
    check(&host, &["why", "nobody"], "", 1, &["there is no pod"]);
    ok(
        &["quota", "tree"],
        "",
        &["company", "  vision", "gpu", "NOMINAL"],
    );
    ok(&["quota", "list", "-o", "wide"], "", &["batch", "100 %"]);
    ok(&["quota", "get", "vision", "-o", "yaml"], "", &["nominal:"]);
    ok(&["queue", "get", "batch"], "", &["second", "4 gpu short"]);
    ok(&["queue", "list", "-o", "name"], "", &["batch"]);
    ok(&["queue", "suspend", "batch"], "", &["suspended"]);
    ok(
        &["why", "second"],
        "",
        &["QueueSuspended", "loadmaster queue resume batch"],
    );
    ok(&["queue", "resume", "batch"], "", &["open"]);
    check(&host, &["queue", "delete", "batch"], "", 4, &["InUse"]);
    ok(
        &["queue", "delete", "batch", "--dry-run"],
        "",
        &["would be removed"],
    );
    check(
        &host,
        &["quota", "put", "-"],
        r#"{"parent": "x"}"#,
        2,
        &["without a name"],
    );
    check(
        &host,
        &["quota", "put", "-"],
        r#"{"name": "x", "parent": "y"}"#,
        2,
        &["y"],
    );
    check(
        &host,
        &["quota", "get", "none"],
        "",
        1,
        &["there is no quota"],
    );
    let entry = r#"{"catalog": "app", "name": "search", "owner": "team"}"#;
    ok(&["catalog", "put", "-"], entry, &["1 entries"]);
    ok(
        &["catalog", "list", "--only", "app"],
        "",
        &["search", "team"],
    );
    ok(&["catalog", "delete", "app", "search"], "", &["is removed"]);
}

#[test]
fn dry_runs_evictions_and_guards() {
    let host = Host::in_memory();
    host.add_nodes(1);
    let ok = |args: &[&str], input: &str, words: &[&str]| check(&host, args, input, 0, words);
    let low = r#"{"id": "low", "template": {"app": "low", "gpu": {"count": 4}}, "terms": {"grace": "1m"}}"#;
    ok(
        &["job", "submit", "-", "--dry-run"],
        low,
        &["would run", "low-0 on n0", "nothing was submitted"],
    );
    ok(&["job", "list"], "", &["there are no jobs"]);
    ok(&["job", "submit", "-"], low, &["running"]);
    let high = r#"{"id": "high", "template": {"priority": 5, "gpu": {"count": 4}}}"#;
    ok(
        &["job", "submit", "-", "--dry-run"],
        high,
        &[
            "others would be asked to yield",
            "low-0",
            "after waiting 10s",
        ],
    );
    ok(
        &["job", "submit", "-", "--dry-run", "-o", "json"],
        high,
        &["\"verdict\": \"preempts\""],
    );
    check(
        &host,
        &["job", "submit", "-", "--dry-run"],
        low,
        1,
        &["would stay out", "already exists"],
    );
    let gang = r#"{"id": "train", "gang": {"roles": [{"name": "w", "count": 2, "template": {"gpu": {"count": 4}}}]}}"#;
    ok(&["job", "submit", "-"], gang, &["train", "waiting"]);
    ok(&["gang", "list"], "", &["train", "waiting"]);
    ok(
        &["gang", "get", "train"],
        "",
        &["ROLE", "loadmaster why train"],
    );
    ok(
        &["why", "train"],
        "",
        &["gang train: 2 of 2 members start together"],
    );
    let budget = r#"{"name": "low", "app": "low", "min_available": 1}"#;
    ok(&["budget", "put", "-"], budget, &["low"]);
    check(&host, &["pod", "evict", "low-0"], "", 4, &["EvictRefused"]);
    ok(&["budget", "list"], "", &["ALLOWED NOW"]);
    ok(&["budget", "delete", "low"], "", &["is removed"]);
    ok(
        &["pod", "checkpoint", "low-0"],
        "",
        &["has written a checkpoint"],
    );
    ok(
        &["pod", "evict", "low-0"],
        "",
        &["leaving until", "Operator"],
    );
    ok(&["pod", "evicted", "low-0"], "", &["has left"]);
    ok(&["plan", "list"], "", &[]);
    check(
        &host,
        &["plan", "get", "77"],
        "",
        1,
        &["there is no plan 77"],
    );
    ok(
        &["guard", "get", "evictions"],
        "",
        &["evictions in the last 10m"],
    );
    let approve = [
        "guard",
        "approve",
        "evictions",
        "--by",
        "me",
        "--reason",
        "looked",
    ];
    check(&host, &approve, "", 2, &["/count"]);
    ok(
        &[&approve[..], &["--count", "3"]].concat(),
        "",
        &["3 more are approved"],
    );
}
