//! The binary as people and scripts use it: what it prints where, and what it
//! exits with.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

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

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("loadmaster-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn loadmaster(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadmaster"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("LOADMASTER_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(args: &[&str]) -> Output {
    loadmaster(args).output().unwrap()
}

#[track_caller]
fn check(args: &[&str], exit: i32, words: &[&str]) -> String {
    let output = run(args);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(exit),
        "{args:?}\nstdout: {stdout}\nstderr: {stderr}"
    );
    for word in words {
        assert!(
            stdout.contains(word) || stderr.contains(word),
            "no {word:?} from {args:?}\nstdout: {stdout}\nstderr: {stderr}"
        );
    }
    if exit != 0 {
        assert!(stderr.contains("error:"), "{stderr}");
    }
    stdout
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn replay_is_the_same_twice_and_has_the_promised_form() {
    let dir = Dir::new("replay");
    let (nodes, pods) = (
        dir.file("nodes.csv", NODES),
        dir.file("pods_tiny.csv", PODS),
    );
    let report = dir.0.join("report.html");
    let args = [
        "replay",
        "openb",
        "--nodes",
        text(&nodes),
        "--pods",
        text(&pods),
        "--policy",
        "scoring=builtin:binpack",
        "--seed",
        "1,2..3",
    ];
    let json = |more: &[&str]| -> serde_json::Value {
        let stdout = check(&[&args[..], &["-o", "json"], more].concat(), 0, &[]);
        serde_json::from_str(&stdout).unwrap()
    };
    let (one, other) = (json(&["--threads", "1"]), json(&["--threads", "3"]));
    assert_eq!(one["trace"], "openb:pods_tiny");
    let digests = |v: &serde_json::Value| -> Vec<String> {
        let runs = v["runs"].as_array().unwrap().iter();
        runs.map(|r| r["decision_digest"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(digests(&one).len(), 3);
    assert_eq!(digests(&one), digests(&other));
    assert_eq!(one["runs"][0]["policies"]["scoring"]["digest"], "builtin");

    let with_report = [&args[..], &["--report", text(&report)]].concat();
    check(
        &with_report,
        0,
        &["GPUs in use", "builtin:binpack", "the report is in"],
    );
    let html = std::fs::read_to_string(&report).unwrap();
    assert!(html.contains("<svg") && html.contains("builtin:binpack"));
    for outside in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside} in the report");
    }
}

#[test]
fn a_malformed_trace_is_named_by_file_line_and_column() {
    let dir = Dir::new("malformed");
    let nodes = dir.file("nodes.csv", NODES);
    let pods = dir.file("pods.csv", PODS);
    let replay = |nodes: &Path, pods: &Path, words: &[&str]| {
        let args = [
            "replay",
            "openb",
            "--nodes",
            text(nodes),
            "--pods",
            text(pods),
        ];
        let policy = ["--policy", "scoring=builtin:binpack"];
        check(&[&args[..], &policy].concat(), 2, words);
    };
    let bad = dir.file("bad.csv", &PODS.replace("c,8000", "c,eight"));
    replay(
        &nodes,
        &bad,
        &["bad.csv:4", "column 2 (cpu_milli)", "\"eight\"", "expected"],
    );
    let negative = dir.file("negative.csv", &PODS.replace("b,8000", "b,-1"));
    replay(&nodes, &negative, &["negative.csv:3", "\"-1\""]);
    let huge = dir.file(
        "huge.csv",
        &NODES.replace("64000,", "99999999999999999999,"),
    );
    replay(&huge, &pods, &["huge.csv:2", "column 2"]);
    let twice = dir.file("twice.csv", &PODS.replace("\nb,", "\na,"));
    replay(&nodes, &twice, &["twice.csv:3", "line 2 already has"]);
    let short = dir.file("short.csv", "name,cpu_milli\na,1\n");
    replay(&nodes, &short, &["short.csv:1", "no column"]);
    replay(
        &nodes,
        &dir.0.join("absent.csv"),
        &["absent.csv", "cannot read"],
    );
}

#[test]
fn mistakes_say_what_to_type_instead() {
    let dir = Dir::new("mistakes");
    let (nodes, pods) = (dir.file("nodes.csv", NODES), dir.file("pods.csv", PODS));
    let replay = |more: &[&str], exit: i32, words: &[&str]| {
        let args = [
            "replay",
            "openb",
            "--nodes",
            text(&nodes),
            "--pods",
            text(&pods),
        ];
        check(&[&args[..], more].concat(), exit, words);
    };
    replay(
        &["--policy", "scoring=binpak"],
        2,
        &["hint: did you mean \"binpack\"?"],
    );
    replay(
        &["--policy", "scorin=binpack"],
        2,
        &["did you mean \"scoring\"?"],
    );
    replay(
        &["--policy", "scoring=builtin:spread"],
        2,
        &["built-in are binpack"],
    );
    replay(
        &["--policy", "scoring=./none.wasm"],
        2,
        &["cannot read ./none.wasm"],
    );
    replay(
        &["--policy", "autoscaling=builtin:hpa"],
        2,
        &["asks policies of kind scoring"],
    );
    replay(&["--seed", "51..42"], 2, &["is not a list of seeds"]);
    replay(&["--inflate", "-1"], 2, &[]);
    let text_file = dir.file("not.wasm", "hello");
    let spec = format!("scoring={}", text_file.display());
    replay(
        &["--policy", &spec],
        2,
        &["is not a usable policy", "loadmaster inspect"],
    );
    check(&["replay", "openb"], 2, &["--nodes"]);
    check(&["inspect", "binpak"], 2, &["did you mean \"binpack\"?"]);
    check(
        &["serve", "--set", "pending-mx=1"],
        2,
        &["did you mean \"pending-max\"?"],
    );
    check(&["nod"], 2, &["node"]);
}

#[test]
fn a_bad_setting_of_a_policy_is_the_policys_refusal() {
    let dir = Dir::new("settings");
    let (nodes, pods) = (dir.file("nodes.csv", NODES), dir.file("pods.csv", PODS));
    let spec = "scoring=binpack?mode=worst-fit";
    let args = [
        "replay",
        "openb",
        "--nodes",
        text(&nodes),
        "--pods",
        text(&pods),
        "--policy",
        spec,
    ];
    check(&args, 6, &["did not start", "mode"]);
}

#[test]
fn an_absent_host_is_exit_5() {
    // Port 1 is reserved and nobody's.
    let args = ["--server", "http://127.0.0.1:1", "node", "list"];
    check(
        &args,
        5,
        &["no answer from http://127.0.0.1:1", "loadmaster serve"],
    );
    let args = ["--server", "https://example", "node", "list"];
    check(&args, 2, &["is not an http:// address"]);
}

#[test]
fn no_colour_unless_asked_for() {
    let plain = run(&["node", "list", "--server", "http://127.0.0.1:1"]);
    assert!(!plain.stderr.contains(&0x1b));
    let args = [
        "--color",
        "always",
        "node",
        "list",
        "--server",
        "http://127.0.0.1:1",
    ];
    assert!(run(&args).stderr.contains(&0x1b));
}

/// A host of the binary, stopped with the test.
struct Host {
    child: Child,
    url: String,
}

impl Host {
    fn start(data_dir: &str) -> Self {
        let mut child = loadmaster(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            data_dir,
            "--set",
            "shipped-policies=false",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the host ended").unwrap();
            if let Some(at) = line.find("http://") {
                break line[at..].trim().to_owned();
            }
        };
        // Keep reading: a full pipe would stop the host.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    #[track_caller]
    fn check(&self, args: &[&str], exit: i32, words: &[&str]) -> String {
        check(&[&["--server", &self.url], args].concat(), exit, words)
    }

    #[track_caller]
    fn feed(&self, args: &[&str], input: &str) -> String {
        let mut child = loadmaster(&[&["--server", &self.url], args].concat())
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
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// As an operator stops it.
    fn stop(mut self) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(killed.success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_session_with_a_host() {
    let dir = Dir::new("session");
    let data = dir.0.join("data");
    let host = Host::start(text(&data));
    let nodes = r#"[
        {"name":"n1","capacity":{"cpu":"64","memory":"256Gi"},"gpus":[{"model":"H100","count":8}]},
        {"name":"n2","capacity":{"cpu":"64","memory":"256Gi"},"gpus":[{"model":"H100","count":4}]}
    ]"#;
    host.feed(&["node", "put", "-"], nodes);
    host.check(&["node", "list"], 0, &["n1", "8 of 8", "ready"]);
    assert_eq!(
        host.check(&["node", "list", "-o", "name"], 0, &[]),
        "n1\nn2\n"
    );
    host.check(
        &["node", "cordon", "n2", "--dry-run"],
        0,
        &["would be cordoned"],
    );
    host.check(&["node", "cordon", "n2"], 0, &["cordoned"]);

    let job =
        r#"{"id":"train","replicas":2,"template":{"requests":{"cpu":"8"},"gpu":{"count":8}}}"#;
    let out = host.feed(&["job", "submit", "-"], job);
    assert!(out.contains("train"), "{out}");
    host.check(
        &["pod", "list", "--phase", "running"],
        0,
        &["train-0", "n1 [0 1 2 3 4 5 6 7]"],
    );
    let why = host.check(
        &["why", "train-1"],
        0,
        &["WaitingForCapacity", "2 nodes", "= 0", "1 wait"],
    );
    assert!(why.contains("cordoned or failed"), "{why}");
    let id = host.check(
        &["decision", "list", "--pod", "train-0", "-o", "name"],
        0,
        &[],
    );
    host.check(
        &["decision", "explain", id.trim()],
        0,
        &["train-0 → n1", "binpack", "TOTAL"],
    );
    host.check(&["pod", "finish", "train-0"], 0, &["has ended"]);
    host.check(&["why", "pod/train-1"], 0, &["runs on n1"]);
    host.check(
        &["status"],
        0,
        &["2 nodes", "12 GPUs", "nothing is waiting"],
    );

    host.check(
        &["policy", "history", "scoring"],
        0,
        &["builtin:binpack", "active"],
    );
    let planned = ["policy", "activate", "scoring=builtin:binpack", "--dry-run"];
    host.check(&planned, 0, &["→", "checked against revision"]);
    let stale = [
        "policy",
        "activate",
        "scoring=builtin:binpack",
        "--if-match",
        "77",
    ];
    host.check(&stale, 4, &["RevisionConflict"]);
    host.check(&["policy", "show", "nobody"], 1, &["NotFound"]);
    host.check(
        &["policy", "upload", text(&dir.file("x.wasm", "hello"))],
        2,
        &["error:"],
    );
    host.check(&["mode", "maintenance"], 0, &["maintenance"]);

    let set = [
        "scaling",
        "set",
        "web",
        "--min",
        "2",
        "--max",
        "9",
        "--capacity",
        "10",
    ];
    host.check(&set, 0, &["web", "2 to 9 replicas"]);
    host.check(&["scaling", "list"], 0, &["web"]);
    let service =
        r#"{"id":"web","kind":"service","replicas":1,"template":{"requests":{"cpu":"1"}}}"#;
    host.feed(&["job", "submit", "-"], service);
    let scaled = host.check(&["job", "scale", "web", "3", "-o", "json"], 0, &[]);
    let scaled: serde_json::Value = serde_json::from_str(&scaled).unwrap();
    assert_eq!(scaled[0]["running"], 3);
    host.check(&["job", "scale", "train", "3"], 4, &["batch"]);
    host.check(&["job", "delete", "train"], 4, &["--yes"]);
    host.check(&["job", "delete", "train", "--yes"], 0, &["deleted"]);
    host.check(&["node", "remove", "n1"], 4, &["3 pods run on n1"]);
    host.check(
        &["node", "remove", "n1", "--yes"],
        0,
        &["3 pods wait again"],
    );
    host.stop();

    let sound = check(&["journal", "verify", text(&data), "-o", "json"], 0, &[]);
    let sound: serde_json::Value = serde_json::from_str(&sound).unwrap();
    assert_eq!(sound["sound"], true);
    let file = dir.0.join("backup.snap");
    check(
        &["snapshot", "export", text(&data), text(&file)],
        0,
        &["read back and whole"],
    );
    check(
        &["snapshot", "restore", text(&file), text(&data)],
        4,
        &["is not empty"],
    );
    let fresh = dir.0.join("fresh");
    check(
        &["snapshot", "restore", text(&file), text(&fresh)],
        0,
        &["guard approve hold"],
    );
    let host = Host::start(text(&fresh));
    host.check(&["status"], 0, &["on hold"]);
    let approve = [
        "guard",
        "approve",
        "hold",
        "--by",
        "test",
        "--reason",
        "restored on purpose",
    ];
    host.check(&approve, 0, &["at rest"]);
}
