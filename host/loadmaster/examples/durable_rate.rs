//! Durable decisions a second through the daemon: callers submit one pod each
//! and wait for the acknowledgement, which comes after the group's fdatasync.
//!
//! `cargo run --release -p loadmaster --example durable_rate -- [nodes] [callers] [pods]`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use loadmaster::daemon::{Daemon, DaemonConfig, DaemonHandle};
use model::{Event, NodeSpec, PodSpec, Resources};

fn node(i: u64) -> Event {
    Event::NodePut(Box::new(NodeSpec {
        name: format!("n{i}"),
        capacity: Resources {
            cpu_milli: 1_000_000,
            memory_mib: 1 << 20,
            ..Resources::default()
        },
        ..NodeSpec::default()
    }))
}

fn pod(i: u64) -> Event {
    Event::PodsSubmit(vec![PodSpec {
        name: format!("p{i}"),
        requests: Resources {
            cpu_milli: 100,
            memory_mib: 64,
            ..Resources::default()
        },
        ..PodSpec::default()
    }])
}

/// A caller with this many requests under way.
async fn call(daemon: DaemonHandle, next: Arc<AtomicU64>, pods: u64) -> anyhow::Result<()> {
    loop {
        let i = next.fetch_add(1, Ordering::Relaxed);
        if i >= pods {
            return Ok(());
        }
        let receipt = daemon.submit(vec![pod(i)]).await?;
        anyhow::ensure!(receipt.decisions.len() == 1, "pod {i} was not decided");
    }
}

fn main() -> anyhow::Result<()> {
    sandbox::compile_child::maybe_run();
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|a| a.parse())
        .collect::<Result<_, _>>()?;
    let argument = |i: usize, default| arguments.get(i).copied().unwrap_or(default);
    let (nodes, callers, pods) = (argument(0, 1_000), argument(1, 512), argument(2, 100_000));
    let dir = std::env::temp_dir().join(format!("loadmaster-rate-{}", std::process::id()));
    for data_dir in [None, Some(dir.clone())] {
        let durable = data_dir.is_some();
        let daemon = Daemon::start(DaemonConfig {
            data_dir,
            ..DaemonConfig::default()
        })?;
        daemon.submit_blocking((0..nodes).map(node).collect())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()?;
        let next = Arc::new(AtomicU64::new(0));
        let begun = Instant::now();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..callers {
                tasks.spawn(call(daemon.clone(), Arc::clone(&next), pods));
            }
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            anyhow::Ok(())
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{}: {pods} decisions by {callers} callers over {nodes} nodes in {seconds:.2} s, {:.0}/s",
            if durable {
                "journal and fdatasync"
            } else {
                "in memory"
            },
            pods as f64 / seconds
        );
        daemon.shutdown();
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
