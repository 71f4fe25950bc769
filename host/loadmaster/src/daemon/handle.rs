//! Everybody's way to the core thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use lifecycle::{
    ActivateError, PolicySetRequest, Registry, Upload, UploadError, Uploaded, Workshop,
};
use model::Event;
use store::Reader;
use tokio::sync::oneshot;

use super::core::{Outgoing, Read, View, Write};
use super::lanes::{Lanes, Refused};
use super::live::{Hub, Subscription};
use super::{Action, Clock, Receipt, Reply, Submission};
use crate::wire::decision::AnyDecision;
use crate::wire::{Problem, ProblemKind};

/// Why an embedder's change was not made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SubmitError(pub String);

impl From<Problem> for SubmitError {
    fn from(problem: Problem) -> Self {
        Self(problem.detail.clone())
    }
}

pub(crate) struct Shared {
    pub(crate) lanes: Arc<Lanes<Write, Read>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) clock: Clock,
    pub(crate) full: AtomicU64,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
}

/// A way to the daemon; cheap to clone. The daemon runs until
/// [`DaemonHandle::shutdown`].
#[derive(Clone)]
pub struct DaemonHandle(pub(crate) Arc<Shared>);

impl std::fmt::Debug for DaemonHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonHandle").finish_non_exhaustive()
    }
}

fn stopping() -> Problem {
    Problem::new(ProblemKind::HostDegraded, "the host is stopping")
}

impl DaemonHandle {
    fn enqueue(&self, submission: Submission) -> Result<oneshot::Receiver<Outgoing>, Problem> {
        let (reply, answer) = oneshot::channel();
        self.0
            .lanes
            .write(Write { submission, reply })
            .map_err(|r| self.refused(r))?;
        Ok(answer)
    }

    fn refused(&self, refused: Refused) -> Problem {
        match refused {
            Refused::Full => {
                self.0.full.fetch_add(1, Ordering::Relaxed);
                let text = "the queue of the thread that decides is full";
                Problem::new(ProblemKind::TooManyRequests, text)
            }
            Refused::Closed => stopping(),
        }
    }

    /// Gives a change to the core thread and waits until it is durable.
    ///
    /// # Errors
    /// The queue is full, the state says no, or the store does not write.
    pub async fn perform(&self, submission: Submission) -> Outgoing {
        let answer = self.enqueue(submission)?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// [`Self::perform`] for a thread outside the async runtime.
    ///
    /// # Errors
    /// As there.
    pub fn perform_blocking(&self, submission: Submission) -> Outgoing {
        let answer = self.enqueue(submission)?;
        answer.blocking_recv().unwrap_or_else(|_| Err(stopping()))
    }

    fn plain(events: Vec<Event>) -> Submission {
        Submission::new(Action::Events(events), |_, _| Reply::empty(204))
    }

    /// Events in order; returns what was decided, durably.
    ///
    /// # Errors
    /// As [`Self::perform`].
    pub async fn submit(&self, events: Vec<Event>) -> Result<Receipt, SubmitError> {
        Ok(self.perform(Self::plain(events)).await?.1)
    }

    /// [`Self::submit`] for a thread outside the async runtime.
    ///
    /// # Errors
    /// As [`Self::perform`].
    pub fn submit_blocking(&self, events: Vec<Event>) -> Result<Receipt, SubmitError> {
        Ok(self.perform_blocking(Self::plain(events))?.1)
    }

    /// Runs a closure on the core thread, between two commits.
    ///
    /// # Errors
    /// Too many reads wait, or the host stops.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.look(read)?.await.map_err(|_| stopping())
    }

    /// [`Self::read`] for a thread outside the async runtime.
    ///
    /// # Errors
    /// As there.
    pub fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.look(read)?.blocking_recv().map_err(|_| stopping())
    }

    fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Problem> {
        let (sender, receiver) = oneshot::channel();
        let read: Read = Box::new(move |view| {
            let _ = sender.send(read(view));
        });
        self.0.lanes.read(read).map_err(|r| self.refused(r))?;
        Ok(receiver)
    }

    // === Policies ===

    /// Takes a component as far as a policy that may be registered: filter,
    /// compile, laws. Blocks for milliseconds to minutes, not the core thread.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn check_policy(
        &self,
        bytes: &[u8],
        upload: &Upload,
        registry: &Registry,
    ) -> Result<Uploaded, UploadError> {
        self.0.workshop.upload(bytes, upload, registry)
    }

    /// Makes a set ready to decide. Blocks, not the core thread.
    ///
    /// # Errors
    /// The first reason why it cannot decide.
    pub fn prepare_set(
        &self,
        request: &PolicySetRequest,
        registry: &Registry,
    ) -> Result<lifecycle::ReadySet, ActivateError> {
        self.0.workshop.activate(request, registry)
    }

    /// Asks a policy for the parts of its scores. On an instance of its own, so
    /// that the one that decides is not disturbed. Blocks, not the core thread.
    ///
    /// # Errors
    /// It cannot be had, or it faults.
    pub fn explain(
        &self,
        member: &model::Member,
        question: &engine::Question,
        registry: &Registry,
    ) -> Result<Vec<Vec<model::scaling::Part>>, SubmitError> {
        let failed = |e: &dyn std::fmt::Display| SubmitError(format!("{}: {e}", member.policy));
        let mut policy: Box<dyn engine::port::ScoringPolicy> =
            match registry.get(&member.policy.digest) {
                None => Box::new(engine::builtin::binpack::BuiltinBinpack::new()),
                Some(record) => {
                    let prepared = self.0.workshop.prepared(record).map_err(|e| failed(&e))?;
                    let limits = prepared.profile().run();
                    prepared
                        .scoring(&member.settings, limits)
                        .map_err(|e| failed(&e))?
                }
            };
        policy
            .set_context(&question.context)
            .and_then(|()| policy.explain(&question.pod, question.rows()))
            .map_err(|e| failed(&e))
    }

    /// Uploads a component and waits until it is registered, durably. Blocks.
    ///
    /// # Errors
    /// It is refused; the text says why.
    pub fn upload_blocking(&self, bytes: &[u8], uploader: &str) -> Result<Receipt, SubmitError> {
        let registry = self.read_blocking(|v| v.registry.clone())?;
        let upload = Upload {
            uploader: Some(uploader.to_owned()),
            now_ms: self.now_ms(),
            ..Upload::default()
        };
        let uploaded = self
            .check_policy(bytes, &upload, &registry)
            .map_err(|e| SubmitError(e.to_string()))?;
        let submission = Submission::new(Action::Upload(uploaded), |_, _| Reply::empty(201));
        Ok(self.perform_blocking(submission)?.1)
    }

    /// Makes a set decide and waits until that is durable. Blocks.
    ///
    /// # Errors
    /// The set cannot be had; the text says why.
    pub fn install_blocking(
        &self,
        request: &PolicySetRequest,
        reason: &str,
    ) -> Result<Receipt, SubmitError> {
        let registry = self.read_blocking(|v| v.registry.clone())?;
        let ready = self
            .prepare_set(request, &registry)
            .map_err(|e| SubmitError(e.to_string()))?;
        let action = Action::Activate {
            ready: Box::new(ready),
            reason: reason.to_owned(),
        };
        Ok(self
            .perform_blocking(Submission::new(action, |_, _| Reply::empty(200)))?
            .1)
    }

    // === Watching ===

    /// What happens from now on, or from just after an event seen before.
    #[must_use]
    pub fn subscribe(&self, after: Option<(u64, u64)>) -> Subscription {
        self.0.hub.subscribe(after)
    }

    /// Decisions from the journal, newest first. Blocks on the disk.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn older_decisions(
        reader: &Reader,
        before: u64,
        limit: usize,
        wanted: impl Fn(&AnyDecision) -> bool,
    ) -> Result<Vec<AnyDecision>, store::StoreError> {
        super::book::older(reader, before, limit, wanted)
    }

    /// The host's time, ms since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.0.clock)()
    }

    /// Changes that wait for the core thread.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.lanes.waiting()
    }

    /// Does what is queued, writes a checkpoint, and ends the core thread. A
    /// second call waits for nothing.
    pub fn shutdown(&self) {
        self.0.lanes.close();
        let thread = self
            .0
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It ends the process if it panics.
            let _ = thread.join();
        }
    }
}
