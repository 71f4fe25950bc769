//! The daemon when things go wrong under it: a disk that fails, state that is
//! gone, a crash in the middle of a group.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use loadmaster::daemon::{Action, Daemon, DaemonConfig, DaemonHandle, Reply, Submission};
use loadmaster::wire::Problem;
use model::{Event, GpuRequest, GpuSpec, JobKind, JobSpec, NodeSpec, PodSpec, Resources};
use store::{Faults, Op, OpenOptions};

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("loadmaster-daemon-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(dir: Option<&Path>, faults: Option<Arc<dyn Faults>>) -> DaemonConfig {
    DaemonConfig {
        data_dir: dir.map(Path::to_owned),
        store: OpenOptions {
            min_free_bytes: 0,
            ballast_bytes: 0,
            faults,
            ..OpenOptions::default()
        },
        clock: Arc::new(|| 1_000_000),
        tick: None,
        ..DaemonConfig::default()
    }
}

fn node(i: usize) -> Event {
    let gpu = GpuSpec {
        model: "A100".to_owned(),
        memory_mib: 40_960,
        healthy: true,
    };
    Event::NodePut(Box::new(NodeSpec {
        name: format!("n{i}"),
        capacity: Resources {
            cpu_milli: 64_000,
            memory_mib: 256 << 10,
            ..Resources::default()
        },
        gpus: vec![gpu; 8],
        ..NodeSpec::default()
    }))
}

fn pod(name: &str) -> PodSpec {
    PodSpec {
        name: name.to_owned(),
        gpu: GpuRequest::whole(1),
        ..PodSpec::default()
    }
}

fn problem(daemon: &DaemonHandle, event: Event) -> Problem {
    let submission = Submission::new(Action::Events(vec![event]), |_, _| Reply::empty(204));
    daemon.perform_blocking(submission).unwrap_err()
}

/// Writing to the disk fails from some moment on.
#[derive(Default)]
struct Broken(AtomicBool);

impl Faults for Broken {
    fn before(&self, op: Op, _: &Path) -> io::Result<()> {
        match op {
            Op::SyncData if self.0.load(Ordering::Relaxed) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn a_disk_that_fails_stops_acknowledgements_and_loses_nothing() {
    let dir = Dir::new();
    let broken = Arc::new(Broken::default());
    let faults: Arc<dyn Faults> = broken.clone();
    let daemon = Daemon::start(config(Some(&dir.0), Some(faults))).unwrap();
    daemon.submit_blocking(vec![node(0)]).unwrap();
    daemon
        .submit_blocking(vec![Event::PodsSubmit(vec![pod("kept")])])
        .unwrap();
    broken.0.store(true, Ordering::Relaxed);
    for name in ["lost", "refused"] {
        let problem = problem(&daemon, Event::PodsSubmit(vec![pod(name)]));
        assert_eq!(
            (problem.status, problem.reason.as_str()),
            (503, "HostDegraded"),
            "{name}"
        );
    }
    let degraded = daemon
        .read_blocking(|v| v.degraded.map(str::to_owned))
        .unwrap();
    assert!(degraded.is_some(), "reads go on, and say so");
    broken.0.store(false, Ordering::Relaxed);
    assert_eq!(
        problem(&daemon, node(1)).status,
        503,
        "only a restart makes disk and memory agree"
    );
    daemon.shutdown();

    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    let (kept, refused) = daemon
        .read_blocking(|v| {
            (
                v.engine.pod("kept").is_some(),
                v.engine.pod("refused").is_some(),
            )
        })
        .unwrap();
    assert!(kept && !refused);
    daemon.submit_blocking(vec![node(1)]).unwrap();
    daemon.shutdown();
}

#[test]
fn state_that_is_gone_holds_the_host_until_somebody_has_looked() {
    let dir = Dir::new();
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    daemon.submit_blocking(vec![node(0)]).unwrap();
    daemon.shutdown();
    for gone in ["tree", "journal", "snapshots"] {
        let _ = std::fs::remove_dir_all(dir.0.join(gone));
    }
    let held = |daemon: &DaemonHandle| {
        daemon
            .read_blocking(|v| (v.hold.is_some(), v.engine.hold()))
            .unwrap()
    };
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    assert_eq!(held(&daemon), (true, true));
    daemon.shutdown();
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    assert_eq!(
        held(&daemon),
        (true, true),
        "a restart is nobody's approval"
    );
    let approve = || {
        let action = Action::Approve {
            by: "me".to_owned(),
            reason: "looked".to_owned(),
            count: None,
        };
        daemon.perform_blocking(Submission::new(action, |_, _| Reply::empty(200)))
    };
    approve().unwrap();
    assert_eq!(held(&daemon), (false, false));
    assert_eq!(approve().unwrap_err().status, 409);
    daemon.shutdown();
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    assert_eq!(held(&daemon), (false, false));
    daemon.shutdown();
}

#[test]
fn a_large_job_is_several_commits_of_which_each_is_a_whole_state() {
    let dir = Dir::new();
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    daemon
        .submit_blocking((0..400).map(node).collect())
        .unwrap();
    let job = JobSpec {
        id: "big".to_owned(),
        kind: JobKind::Batch,
        replicas: 10_000,
        template: pod(""),
        ..JobSpec::default()
    };
    let receipt = daemon
        .submit_blocking(vec![Event::JobSubmit(Box::new(job))])
        .unwrap();
    let bound = |daemon: &DaemonHandle| {
        let counts = |v: &loadmaster::daemon::View<'_>| {
            v.engine
                .job("big")
                .map(|j| (j.running, j.waiting, v.engine.summary().decisions))
        };
        daemon.read_blocking(counts).unwrap().unwrap()
    };
    let before = bound(&daemon);
    assert_eq!(before.0, 3_200, "every GPU");
    assert_eq!(before.0 + before.1, 10_000);
    assert!(receipt.decisions.len() > 3_200);
    daemon.shutdown();
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    assert_eq!(bound(&daemon), before);
    daemon.shutdown();
}

#[test]
fn everything_accepted_before_the_end_is_done() {
    let dir = Dir::new();
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    daemon.submit_blocking(vec![node(0), node(1)]).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let daemon = daemon.clone();
            std::thread::spawn(move || {
                let accepted = (0..200).filter(|i| {
                    let pod = pod(&format!("p{t}-{i}"));
                    daemon
                        .submit_blocking(vec![Event::PodsSubmit(vec![pod])])
                        .is_ok()
                });
                accepted.count()
            })
        })
        .collect();
    daemon.shutdown();
    let accepted: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    let there = daemon.read_blocking(|v| v.engine.pods().count()).unwrap();
    assert_eq!(there, accepted);
    daemon.shutdown();
}

#[test]
fn a_replay_of_the_journal_decides_the_same() {
    let dir = Dir::new();
    let daemon = Daemon::start(config(Some(&dir.0), None)).unwrap();
    daemon.submit_blocking(vec![node(0)]).unwrap();
    for i in 0..10 {
        daemon
            .submit_blocking(vec![Event::PodsSubmit(vec![pod(&format!("p{i}"))])])
            .unwrap();
    }
    daemon
        .submit_blocking(vec![Event::PodFinished {
            name: "p0".to_owned(),
            how: model::event::Finish::Succeeded,
        }])
        .unwrap();
    let reader = daemon
        .read_blocking(|v| v.reader.cloned())
        .unwrap()
        .unwrap();
    let mut engine = engine::Engine::new(engine::Config::default());
    let (mut again, mut recorded) = (Vec::new(), Vec::new());
    for entry in reader.journal(1).unwrap() {
        for record in entry.unwrap().commit.records {
            if record.kind == loadmaster::daemon::RECORD_EVENT {
                let stamped: loadmaster::wire::event::Stamped =
                    loadmaster::wire::from_json(&record.payload).unwrap();
                let mut out = engine::Output::default();
                engine
                    .step(stamped.now_ms, stamped.event.try_into().unwrap(), &mut out)
                    .unwrap();
                again.extend(
                    out.decisions
                        .iter()
                        .map(loadmaster::wire::decision::Decision::from),
                );
            }
            recorded.extend(loadmaster::daemon::decision_of(&record).unwrap());
        }
    }
    let again: Vec<_> = again
        .into_iter()
        .map(loadmaster::wire::decision::AnyDecision::Placement)
        .collect();
    assert!(again.len() > 10);
    assert_eq!(again, recorded);
    daemon.shutdown();
}
