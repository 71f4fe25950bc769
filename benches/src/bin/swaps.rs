//! A thousand policy swaps while decisions run: none fails, none mixes two sets.
//!
//! One thread submits pods and keeps what it was told; the main thread swaps
//! `binpack` and `spread`, from components, as an operator would. Afterwards a
//! twin engine gets the same events with the sets changed exactly where the
//! decisions say they changed: if any decision had used anything of the other
//! set, a score of its table would differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::{Config, Engine, Output};
use lifecycle::{MemberRef, MemberRequest, PolicySetRequest};
use loadmaster::daemon::{Daemon, DaemonConfig, DaemonHandle};
use model::event::Finish;
use model::{Combine, Decision, Event, PolicyKind};
use tests::{clusters, wasm};

const NODES: u32 = 1_000;

/// Distance of two swaps: time for decisions under each set.
const BETWEEN: Duration = Duration::from_millis(2);

/// What was sent, in order, and what was decided about it.
type History = Vec<(u64, Vec<Event>, Vec<Arc<Decision>>)>;

fn request(name: &str) -> PolicySetRequest {
    PolicySetRequest {
        kind: PolicyKind::Scoring,
        members: vec![MemberRequest {
            policy: MemberRef::parse(name).expect("a name"),
            weight: 1000,
            tier: 0,
            settings: None,
            fail: model::FailMode::Closed,
        }],
        combine: Combine::Weighted,
        if_revision: None,
    }
}

/// History, failures, and how long each answer took in µs.
fn submit(daemon: &DaemonHandle, stop: &AtomicBool) -> (History, u64, Vec<u64>) {
    let (mut history, mut failed, mut waits) = (Vec::new(), 0, Vec::new());
    let mut running = std::collections::VecDeque::new();
    for i in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let pod = clusters::pod(i, 64);
        running.push_back(pod.name.clone());
        let mut events = vec![Event::PodsSubmit(vec![pod])];
        if running.len() > 2_000 {
            let name = running.pop_front().expect("one");
            let how = Finish::Succeeded;
            events.push(Event::PodFinished { name, how });
        }
        let start = Instant::now();
        let answer = daemon.submit_blocking(events.clone());
        waits.push(start.elapsed().as_micros() as u64);
        match answer {
            Ok(receipt) => {
                failed += receipt
                    .decisions
                    .iter()
                    .filter(|d| !d.faults.is_empty())
                    .count() as u64;
                let at = receipt.decisions.first().map_or(0, |d| d.time_ms);
                history.push((at, events, receipt.decisions));
            }
            Err(_) => failed += 1,
        }
    }
    (history, failed, waits)
}

/// Decisions that a twin with cleanly separated sets does not repeat.
fn mixed(history: &History, first: u64) -> u64 {
    let mut twin = Engine::new(Config::default());
    let mut out = Output::default();
    for i in 0..NODES {
        twin.step(0, Event::NodePut(Box::new(clusters::node(i))), &mut out)
            .expect("a node");
    }
    let sets = ["binpack", "spread"].map(wasm::prepared);
    let start = |i: usize| {
        let limits = sets[i].profile().run();
        sets[i].scoring("{}", limits).expect("started")
    };
    let (mut active, mut mixed) = (0, 0);
    for (at, events, decisions) in history {
        for event in events {
            if let (Event::PodsSubmit(_), Some(d)) = (event, decisions.first())
                && d.set_revision != active
            {
                active = d.set_revision;
                let which = (active - first) as usize % 2;
                twin.install_scoring(wasm::alone(active, start(which)));
            }
            out.clear();
            twin.step(*at, event.clone(), &mut out).expect("as before");
            for (ours, theirs) in out.decisions.iter().zip(decisions) {
                let same = ours.outcome == theirs.outcome
                    && ours.candidates == theirs.candidates
                    && ours.filter == theirs.filter;
                mixed += u64::from(!same);
            }
        }
    }
    mixed
}

fn main() {
    sandbox::compile_child::maybe_run();
    let count: usize = std::env::args()
        .nth(1)
        .map_or(1_000, |n| n.parse().expect("a number of swaps"));
    let daemon = Daemon::start(DaemonConfig {
        tick: None,
        ..DaemonConfig::default()
    })
    .expect("the daemon starts");
    for name in ["binpack", "spread"] {
        let bundled = loadmaster::bundled::component(name).expect("shipped");
        daemon
            .upload_blocking(bundled.wasm, "bench")
            .expect("registered");
    }
    let nodes = (0..NODES).map(|i| Event::NodePut(Box::new(clusters::node(i))));
    daemon.submit_blocking(nodes.collect()).expect("nodes");
    daemon
        .install_blocking(&request("binpack"), "first")
        .expect("active");
    let first = daemon
        .read_blocking(|v| v.engine.scoring().spec.revision)
        .expect("a revision");
    let stop = Arc::new(AtomicBool::new(false));
    let submitter = {
        let (daemon, stop) = (daemon.clone(), Arc::clone(&stop));
        std::thread::spawn(move || submit(&daemon, &stop))
    };
    let mut pauses = Vec::with_capacity(count);
    for i in 0..count {
        let name = ["spread", "binpack"][i % 2];
        let receipt = daemon
            .install_blocking(&request(name), "swap")
            .expect("swapped");
        pauses.push(receipt.swap_us.expect("a swap took place"));
        std::thread::sleep(BETWEEN);
    }
    stop.store(true, Ordering::Relaxed);
    let (history, failed, mut waits) = submitter.join().expect("the submitter");
    daemon.shutdown();
    pauses.sort_unstable();
    waits.sort_unstable();
    let sets = history
        .iter()
        .flat_map(|(.., d)| d.iter().map(|d| d.set_revision));
    let mut seen: Vec<u64> = sets.collect();
    let decisions = seen.len();
    seen.dedup();
    println!("swaps             {count}");
    println!("decisions         {decisions}, under {} sets", seen.len());
    println!("failed            {failed}");
    println!("mixed             {}", mixed(&history, first));
    println!(
        "pause             longest {} us, p99 {} us, median {} us",
        pauses[count - 1],
        pauses[count * 99 / 100],
        pauses[count / 2]
    );
    println!(
        "answer            longest {} us, p99 {} us, median {} us (cold passes after swaps included)",
        waits[waits.len() - 1],
        waits[waits.len() * 99 / 100],
        waits[waits.len() / 2]
    );
}
