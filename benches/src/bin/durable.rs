//! Durable decisions a second: the real daemon, journal on, group-committed,
//! with the same load on a daemon without a store beside it.
//!
//! Wall time, because fsync is waited for. Clients keep a number of requests in
//! flight; each request submits one pod and ends an earlier one, and counts when
//! its answer, which means durable, is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lifecycle::{MemberRef, MemberRequest, PolicySetRequest};
use loadmaster::daemon::{Daemon, DaemonConfig, DaemonHandle};
use model::event::Finish;
use model::{Combine, Event, PolicyKind};
use tests::clusters;

const NODES: u32 = 5_000;
const CLIENTS: u64 = 384;
const SECONDS: u64 = 6;

fn start(data_dir: Option<PathBuf>) -> DaemonHandle {
    let daemon = Daemon::start(DaemonConfig {
        data_dir,
        ..DaemonConfig::default()
    })
    .expect("the daemon starts");
    let bundled = loadmaster::bundled::component("binpack").expect("shipped");
    daemon
        .upload_blocking(bundled.wasm, "bench")
        .expect("registered");
    let request = PolicySetRequest {
        kind: PolicyKind::Scoring,
        members: vec![MemberRequest {
            policy: MemberRef::parse("binpack").expect("a name"),
            weight: 1000,
            tier: 0,
            settings: None,
            fail: model::FailMode::Closed,
        }],
        combine: Combine::Weighted,
        if_revision: None,
    };
    daemon.install_blocking(&request, "bench").expect("active");
    let nodes = (0..NODES).map(|i| Event::NodePut(Box::new(clusters::node(i))));
    daemon.submit_blocking(nodes.collect()).expect("nodes");
    daemon
}

/// Decisions acknowledged in the measured time, and how long that really was.
fn load(daemon: &DaemonHandle, shapes: u64) -> (u64, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let next = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let mut clients = Vec::new();
        let until = Instant::now() + Duration::from_secs(SECONDS);
        let start = Instant::now();
        for _ in 0..CLIENTS {
            let (daemon, next, done) = (daemon.clone(), Arc::clone(&next), Arc::clone(&done));
            clients.push(tokio::spawn(async move {
                let mut mine = std::collections::VecDeque::new();
                while Instant::now() < until {
                    let pod = clusters::pod(next.fetch_add(1, Ordering::Relaxed), shapes);
                    mine.push_back(pod.name.clone());
                    let mut events = vec![Event::PodsSubmit(vec![pod])];
                    if mine.len() > 16 {
                        let how = Finish::Succeeded;
                        let name = mine.pop_front().expect("one");
                        events.push(Event::PodFinished { name, how });
                    }
                    let receipt = daemon.submit(events).await.expect("accepted");
                    let decided = receipt.decisions.len() as u64;
                    done.fetch_add(decided, Ordering::Relaxed);
                }
            }));
        }
        for client in clients {
            client.await.expect("a client");
        }
        (done.load(Ordering::Relaxed), start.elapsed())
    })
}

fn journal_bytes(dir: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(dir.join("journal")).into_iter().flatten();
    files
        .flatten()
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum()
}

fn main() {
    sandbox::compile_child::maybe_run();
    let dir = std::env::temp_dir().join(format!("loadmaster-durable-{}", std::process::id()));
    println!(
        "{NODES} nodes, binpack in the sandbox, {CLIENTS} requests in flight, {SECONDS} s each"
    );
    println!(
        "{:>6} | {:>16} {:>14} | {:>16} | {:>6}",
        "shapes", "durable/s", "journal B/dec.", "no store/s", "ratio"
    );
    for shapes in [1, 64] {
        let _ = std::fs::remove_dir_all(&dir);
        let daemon = start(Some(dir.clone()));
        let before = journal_bytes(&dir);
        let (count, took) = load(&daemon, shapes);
        let bytes = (journal_bytes(&dir) - before) / count.max(1);
        daemon.shutdown();
        let plain = start(None);
        let (plain_count, plain_took) = load(&plain, shapes);
        plain.shutdown();
        let rate = count as f64 / took.as_secs_f64();
        let plain_rate = plain_count as f64 / plain_took.as_secs_f64();
        println!(
            "{shapes:>6} | {rate:>16.0} {bytes:>14} | {plain_rate:>16.0} | {:>6.2}",
            plain_rate / rate
        );
    }
    let _ = std::fs::remove_dir_all(&dir);
}
