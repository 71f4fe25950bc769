//! kill -9, at random and at every named point.
//!
//! The child is this same test binary: `child` does nothing unless its
//! environment says what to do. It prints a line for each group after `commit`
//! returned; that line is the acknowledgement.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Dir, Rng, assert_true_to_history, commits, fill, open, setting, small};
use store::{Faults, OpenOptions, Point, Store};

const DIR: &str = "LOADMASTER_STORE_CHILD_DIR";
const POINT: &str = "LOADMASTER_STORE_CHILD_POINT";
const SEED: &str = "LOADMASTER_STORE_CHILD_SEED";

/// Ends the process at the n-th time a point is reached, without any farewell.
struct DieAt {
    point: String,
    left: AtomicU64,
}

impl Faults for DieAt {
    fn reach(&self, point: Point) {
        if format!("{point:?}") == self.point && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let mut rng = Rng(setting(SEED, 0));
    let mut options = small();
    if let Ok(point) = std::env::var(POINT) {
        options.faults = Some(Arc::new(DieAt {
            point,
            left: AtomicU64::new(1 + rng.below(2)),
        }));
    }
    let (mut store, _) = Store::open(&dir, options.clone()).unwrap();
    let mut out = std::io::stdout();
    loop {
        match rng.below(60) {
            0 => store.checkpoint().unwrap(),
            1 => drop(store.snapshot(None).unwrap()),
            2 => drop(store.blobs().put(&rng.next().to_le_bytes()).unwrap()),
            3 => {
                store.close().unwrap();
                (store, _) = Store::open(&dir, options.clone()).unwrap();
            }
            _ => {
                let group = commits(store.seq() + 1, 1 + rng.below(9));
                let info = store.commit(&group).unwrap();
                writeln!(out, "ack {}", info.last_seq).unwrap();
                out.flush().unwrap();
            }
        }
    }
}

fn spawn(dir: &Path, seed: u64, point: Option<Point>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(point) = point {
        command.env(POINT, format!("{point:?}"));
    }
    command.spawn().unwrap()
}

/// The last acknowledgement that was completely written, after the child died.
fn last_ack(child: &mut Child) -> u64 {
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut last = 0;
    for line in out.split(b'\n') {
        let line = String::from_utf8(line.unwrap()).unwrap();
        if let Some(seq) = line.strip_prefix("ack ").and_then(|s| s.parse().ok()) {
            last = seq;
        }
    }
    last
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed_at_random() {
    let dir = Dir::new("kill");
    let mut rng = Rng(7);
    let mut acked = 0;
    let cycles = setting("LOADMASTER_CRASH_CYCLES", 40);
    for cycle in 0..cycles {
        let mut child = spawn(&dir.0, cycle, None);
        std::thread::sleep(Duration::from_millis(15 + rng.below(120)));
        child.kill().unwrap();
        // A line cut in two by the kill has no newline but would still parse: the
        // child flushes whole lines, and a pipe write this short is one piece.
        let last = last_ack(&mut child);
        child.wait().unwrap();
        acked = acked.max(last);
        let (store, found) = open(&dir.0);
        let context = format!("cycle {cycle}");
        assert!(store.seq() >= acked, "{context}: {} < {acked}", store.seq());
        assert_eq!(found.hold, None, "{context}");
        assert_true_to_history(&store, &context);
        acked = store.seq();
    }
    println!("{cycles} kills, {acked} commits, none lost");
    assert!(acked > 0);
}

/// Points that are reached only when recovery has something to do.
fn prepare(dir: &Path, point: Point) {
    let append = |bytes: &[u8]| {
        let path = common::last_segment(dir);
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    };
    match point {
        Point::TailFound | Point::TailCut => append(&[0x5a; 70]),
        Point::RebuildBegins | Point::RebuildAside | Point::RebuildDone => {
            std::fs::write(dir.join("tree").join("db"), b"not a tree").unwrap();
        }
        _ => {}
    }
}

#[test]
fn nothing_acknowledged_is_lost_at_any_named_point() {
    for point in Point::ALL {
        for round in 0..setting("LOADMASTER_POINT_ROUNDS", 2) {
            let context = format!("{point:?}, round {round}");
            let dir = Dir::new("point");
            // The store of before has 200 commits.
            let (mut store, _) = open(&dir.0);
            fill(&mut store, 200);
            store.close().unwrap();
            prepare(&dir.0, point);
            let recovery = matches!(
                point,
                Point::TailFound
                    | Point::TailCut
                    | Point::RebuildBegins
                    | Point::RebuildAside
                    | Point::RebuildDone
            );
            // Points of recovery come once a start: choose a seed that dies there.
            let seed = (0..).find(|s| !recovery || Rng(*s).below(2) == 0).unwrap();
            let seed = if recovery { seed } else { round };
            let mut child = spawn(&dir.0, seed, Some(point));
            let acked = last_ack(&mut child).max(200);
            let status = child.wait().unwrap();
            assert_eq!(
                status.signal(),
                Some(9),
                "{context}: the point was not reached"
            );
            let (store, found) = open(&dir.0);
            assert!(store.seq() >= acked, "{context}: {} < {acked}", store.seq());
            assert_eq!(found.hold, None, "{context}");
            assert_true_to_history(&store, &context);
            store.close().unwrap();
            assert!(Store::verify(&dir.0, &[]).unwrap().sound(), "{context}");
        }
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = Dir::new("lock");
    let (store, _) = open(&dir.0);
    let Err(error) = Store::open(&dir.0, OpenOptions::default()) else {
        panic!("two stores in one directory");
    };
    assert_eq!(error.exit_code(), 75);
    drop(store);
    open(&dir.0);
}
