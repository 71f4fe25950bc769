//! Connections, and the life of the whole process.
//!
//! The accept loop is our own: `axum::serve` installs no timer, so that a client
//! that never finishes its headers would hold its socket for ever.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::App;
use crate::bundled;
use crate::daemon::{Daemon, DaemonConfig, DaemonHandle};

/// From the first byte to the end of the headers.
const HEADERS: Duration = Duration::from_secs(5);
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// Bytes of them, and of what is read ahead.
const BUFFER_BYTES: usize = 16 << 10;
/// Connections at once; file descriptors are finite.
const CONNECTIONS: usize = 1_024;
/// A connection is closed at this age, between two requests, so that none lives
/// for ever. Watchers come back by themselves.
const CONNECTION_AGE: Duration = Duration::from_secs(600);
/// Given to requests in flight when the process ends.
const DRAIN: Duration = Duration::from_secs(10);

/// How to serve.
#[derive(Clone)]
pub struct ServeOptions {
    /// Where state is kept; `None` keeps none.
    pub data_dir: Option<PathBuf>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Listen on an address that others can reach, without encryption and
    /// without authentication.
    pub insecure_public: bool,
    /// Register the policies that come with the binary.
    pub shipped: bool,
    /// Everything else.
    pub daemon: DaemonConfig,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            insecure_public: false,
            shipped: true,
            daemon: DaemonConfig::default(),
        }
    }
}

/// It does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Anybody could send policies.
    #[error(
        "{0} can be reached from other machines, and this version has neither TLS nor logins; listen on 127.0.0.1, or say --insecure-public if the network is yours alone"
    )]
    Public(SocketAddr),
    /// The daemon.
    #[error(transparent)]
    Start(#[from] crate::daemon::StartError),
    /// The address.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

impl ServeError {
    /// Exit code: 75 when the data directory is in use, 78 for a configuration
    /// or a format this version cannot use, 5 when the address is not to be had.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Public(_) => 78,
            Self::Start(error) => error.exit_code(),
            Self::Listen { .. } => 5,
        }
    }
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The daemon behind it.
    pub daemon: DaemonHandle,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts daemon and listener.
    ///
    /// # Errors
    /// The address is public without consent or not to be had, or the daemon
    /// does not start.
    pub async fn start(options: ServeOptions) -> Result<Self, ServeError> {
        if !options.listen.ip().is_loopback() && !options.insecure_public {
            return Err(ServeError::Public(options.listen));
        }
        let listener = TcpListener::bind(options.listen).await;
        let failed = |source| ServeError::Listen {
            address: options.listen,
            source,
        };
        let listener = listener.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let config = DaemonConfig {
            data_dir: options.data_dir,
            ..options.daemon
        };
        let daemon = tokio::task::spawn_blocking(move || Daemon::start(config));
        let daemon = match daemon.await {
            Ok(daemon) => daemon?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let app = App::new(daemon.clone());
        app.0
            .named
            .store(options.insecure_public, Ordering::Relaxed);
        if options.shipped {
            app.0.ready.store(false, Ordering::Release);
            let app = app.clone();
            tokio::task::spawn_blocking(move || register_shipped(&app));
        }
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, app, stopped));
        Ok(Self {
            address,
            daemon,
            stop,
            task,
        })
    }

    /// Ends: no new connections, requests in flight are answered, the daemon
    /// writes a checkpoint.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        let daemon = self.daemon.clone();
        // Closing the daemon also ends the watchers, whom connections wait for.
        let _ = tokio::task::spawn_blocking(move || daemon.shutdown()).await;
        let _ = self.task.await;
    }
}

/// The policies of the binary become policies of the host like any other.
fn register_shipped(app: &App) {
    for policy in bundled::components() {
        if let Err(error) = app.daemon().upload_blocking(policy.wasm, "loadmaster") {
            tracing::warn!(policy = policy.name, %error, "a shipped policy is not available");
        }
    }
    app.0.ready.store(true, Ordering::Release);
}

async fn accept(listener: TcpListener, app: App, mut stop: watch::Receiver<bool>) {
    let router = app.router();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let (place, socket) = tokio::select! {
            _ = stop.changed() => break,
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        let (Ok(place), Ok((socket, _))) = (place, socket) else {
            // Out of file descriptors: it is no help to ask at full speed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let _ = socket.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let mut stop = stop.clone();
        connections.spawn(async move {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .max_headers(HEADERS_MAX)
                .max_buf_size(BUFFER_BYTES);
            let connection = builder.serve_connection(TokioIo::new(socket), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                _ = connection.as_mut() => true,
                _ = stop.changed() => false,
                () = tokio::time::sleep(CONNECTION_AGE) => false,
            };
            if !ended {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(DRAIN, connection).await;
            }
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// It does not start; [`ServeError::exit_code`] is what scripts rely on.
pub async fn serve(options: ServeOptions) -> Result<ExitCode, ServeError> {
    let server = Server::start(options).await?;
    tracing::info!(address = %server.address, "serving");
    eprintln!("loadmaster: serving on http://{}", server.address);
    wait_for_signal().await;
    tracing::info!("stopping");
    server.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without signals only a kill ends it, which loses nothing either.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
