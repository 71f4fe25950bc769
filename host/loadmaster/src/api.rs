//! HTTP in front of the daemon.
//!
//! `server` accepts connections, bounded and with header timeouts. `table` is
//! the one list of routes: the router, the limits and the OpenAPI document come
//! from it. `gate` takes a request through its limits and turns every failure
//! into a problem; `request` and `respond` are what handlers work with. The
//! handlers: `nodes`, `work` (jobs and pods), `why`, `named` (quotas, queues,
//! budgets), `catalog`, `yielding` (gangs, plans, evictions), `decisions`, `policies`, `scaling`,
//! `events` (the live stream), `map` (what the page reads) and `host` (health,
//! metrics, guards, documents).

mod catalog;
mod decisions;
mod events;
mod gate;
mod host;
mod map;
mod named;
mod nodes;
mod openapi;
mod origin;
mod policies;
mod request;
mod respond;
mod scaling;
pub mod server;
mod table;
mod why;
mod work;
mod yielding;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;

use crate::daemon::DaemonHandle;
use crate::page;

pub(crate) use host::numbers;
pub use openapi::document;
pub use server::{ServeOptions, Server, serve};

/// What every handler has.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) daemon: DaemonHandle,
    pub(crate) gate: gate::Gate,
    /// What the page shows.
    pub(crate) feed: Arc<page::Feed>,
    /// The policies that come with the binary are registered.
    pub(crate) ready: AtomicBool,
    /// Others may reach the host by a name of the network.
    pub(crate) named: AtomicBool,
}

impl App {
    /// An API over a daemon.
    #[must_use]
    pub fn new(daemon: DaemonHandle) -> Self {
        Self(Arc::new(Inner {
            feed: page::Feed::new(daemon.clone()),
            daemon,
            gate: gate::Gate::default(),
            ready: AtomicBool::new(true),
            named: AtomicBool::new(false),
        }))
    }

    pub(crate) fn daemon(&self) -> &DaemonHandle {
        &self.0.daemon
    }

    /// Every route, and the page.
    ///
    /// # Panics
    /// Outside a tokio runtime: the page's feed runs on it.
    pub fn router(&self) -> Router {
        self.0.feed.start();
        gate::router(self.clone()).merge(page::router())
    }
}
