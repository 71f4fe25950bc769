//! `loadmaster demo`: the whole thing on a laptop, without any file.
//!
//! `world` makes a cluster and its load with the published distributions, `play`
//! gives them to a real daemon, minute by minute, and swaps its policy half-way.
//! `ghost` is what would have happened without the swap: a second engine with
//! the same input that goes on with the first policy. `autoscale` has a service
//! scaled ahead of a sale. `screen` prints while it runs, `story` what it meant.

mod autoscale;
mod ghost;
mod play;
mod screen;
mod story;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use sandbox::SandboxConfig;

use crate::api::server::ServeError;
use crate::api::{ServeOptions, Server};
use crate::daemon::DaemonConfig;

pub use play::Outcome;

/// Nodes when nothing else is asked for: a thousand GPUs fit a screen, and fill
/// up in a minute.
pub const NODES: usize = 200;

/// How long it plays when nothing else is asked for.
pub const DURATION: Duration = Duration::from_secs(75);

/// Shortest play: the swap has to find a loaded cluster on either side.
pub const DURATION_MIN: Duration = Duration::from_secs(2);

/// Where it listens when nothing else is asked for.
pub const PORT: u16 = 7070;

/// Ports tried after [`PORT`] when it is taken.
const PORTS_TRIED: u16 = 20;

/// How to play.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Nodes of the cluster.
    pub nodes: usize,
    /// The same seed gives the same cluster and load.
    pub seed: u64,
    /// Real time it plays; the policy is swapped half-way.
    pub duration: Duration,
    /// Where to listen; [`PORT`] or the next free one when left out, 0 for any.
    pub port: Option<u16>,
    /// End after the summary instead of serving on.
    pub exit: bool,
    /// Swap the policy half-way.
    pub swap: bool,
    /// Where policies run.
    pub sandbox: SandboxConfig,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            nodes: NODES,
            seed: 42,
            duration: DURATION,
            port: None,
            exit: false,
            swap: true,
            sandbox: SandboxConfig::default(),
        }
    }
}

/// Plays until it is over or interrupted. The exit code is 1 when a decision
/// failed, was mixed or was lost.
///
/// # Errors
/// It cannot start: no port, no sandbox, or options out of bounds.
pub fn run(options: DemoOptions) -> anyhow::Result<ExitCode> {
    let outcome = play(options)?;
    Ok(ExitCode::from(u8::from(!outcome.is_clean())))
}

/// [`run`] that returns what was counted.
///
/// # Errors
/// As [`run`].
pub fn play(options: DemoOptions) -> anyhow::Result<Outcome> {
    if options.nodes == 0 || options.nodes > cluster::demo::NODES_MAX {
        bail!(
            "{} nodes: a demo has 1 to {}",
            options.nodes,
            cluster::demo::NODES_MAX
        );
    }
    if options.duration < DURATION_MIN {
        bail!(
            "{:?} is too short: a demo takes at least {DURATION_MIN:?}",
            options.duration
        );
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the server's threads")?;
    let stop = Arc::new(AtomicBool::new(false));
    runtime.spawn(interrupted(Arc::clone(&stop)));
    let time = Arc::new(AtomicU64::new(world::BEGIN_MS));
    let server = runtime.block_on(start(&options, &time))?;
    let played = play::play(&options, &server, &time, &stop);
    runtime.block_on(server.shutdown());
    played
}

/// Raises the flag at Ctrl-C or SIGTERM.
async fn interrupted(stop: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    stop.store(true, Ordering::Release);
}

/// A host whose clock the demo turns.
async fn start(options: &DemoOptions, time: &Arc<AtomicU64>) -> anyhow::Result<Server> {
    let time = Arc::clone(time);
    let daemon = DaemonConfig {
        clock: Arc::new(move || time.load(Ordering::Acquire)),
        tick: None,
        sandbox: options.sandbox.clone(),
        ..DaemonConfig::default()
    };
    let (first, tries) = match options.port {
        Some(port) => (port, 0),
        None => (PORT, PORTS_TRIED),
    };
    for port in first..=first.saturating_add(tries) {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let serve = ServeOptions {
            listen,
            daemon: daemon.clone(),
            ..ServeOptions::default()
        };
        match Server::start(serve).await {
            Err(ServeError::Listen { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && port < first + tries => {}
            other => return other.context("the demo cannot serve"),
        }
    }
    bail!(
        "ports {first} to {} are taken; choose one with --port",
        first + tries
    )
}
