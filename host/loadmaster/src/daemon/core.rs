//! The thread that owns the engine and the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use engine::{Engine, EventError, Output};
use lifecycle::{PlanError, Registry};
use model::{Event, PolicyKind, PolicySetSpec};
use store::{Reader, Store};
use tokio::sync::oneshot;

use super::book::{Book, idempotency_key};
use super::lanes::Lanes;
use super::live::{Change, Hub};
use super::metrics::Metrics;
use super::outcome::shown;
use super::recent::Recent;
use super::sets;
use super::{Action, Clock, Idempotency, Receipt, Reply, Submission};
use crate::wire::time::Time;
use crate::wire::what_if::WhatIf;
use crate::wire::{self, Problem, ProblemKind};

/// Changes of one group: one fdatasync for all. More would make the first wait
/// for the last.
const GROUP_MAX: usize = 512;

/// Bytes of objects that one event may make: they are written in one commit, so
/// that a crash never leaves half a job behind.
const EVENT_BYTES_MAX: usize = 6 << 20;

/// How long an answer is kept for its key.
pub(crate) const IDEMPOTENCY_MS: u64 = 24 * 3_600_000;

/// Answers kept.
const IDEMPOTENCY_MAX: usize = 50_000;

/// Bytes of answers kept.
const IDEMPOTENCY_BYTES_MAX: usize = 64 << 20;

/// Longest answer that is kept word for word; a longer one is kept without its
/// body.
const IDEMPOTENCY_BODY_MAX: usize = 64 << 10;

/// Sets remembered, so that old decisions can be shown with their weights.
pub(crate) const SETS_MAX: usize = 1_000;

/// The state as a read sees it: everything in it is durable.
pub struct View<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Policies and hooks.
    pub registry: &'a Registry,
    /// Latest decisions.
    pub recent: &'a Recent,
    /// Scoring sets by revision.
    pub sets: &'a BTreeMap<u64, PolicySetSpec>,
    /// Why the built-in decides instead of a kind's active set.
    pub fallen_back: &'a BTreeMap<PolicyKind, String>,
    /// Why the host is on hold.
    pub hold: Option<&'a str>,
    /// Why the host accepts no changes.
    pub degraded: Option<&'a str>,
    /// Objects and the journal.
    pub reader: Option<&'a Reader>,
    /// Counters.
    pub metrics: &'a Metrics,
    /// The host's time, ms.
    pub now_ms: u64,
}

pub(crate) type Outgoing = Result<(Reply, Receipt), Problem>;

/// A change in its lane.
pub(crate) struct Write {
    pub(crate) submission: Submission,
    pub(crate) reply: oneshot::Sender<Outgoing>,
}

pub(crate) type Read = Box<dyn FnOnce(&View<'_>) + Send>;

/// An answer kept for its key.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) key: String,
    pub(crate) request: String,
    pub(crate) at_ms: u64,
    pub(crate) reply: Reply,
}

/// Answers by key, oldest first in `order`.
#[derive(Default)]
pub(crate) struct Answers {
    by_key: BTreeMap<String, Kept>,
    order: VecDeque<String>,
    bytes: usize,
}

impl Answers {
    pub(crate) fn insert(&mut self, kept: Kept) {
        self.bytes += kept.reply.body.len();
        self.order.push_back(kept.key.clone());
        self.by_key.insert(kept.key.clone(), kept);
    }

    /// The key of the next one that has to go.
    fn surplus(&mut self, now_ms: u64) -> Option<String> {
        let first = self.by_key.get(self.order.front()?)?;
        let full = self.by_key.len() > IDEMPOTENCY_MAX || self.bytes > IDEMPOTENCY_BYTES_MAX;
        if !full && first.at_ms + IDEMPOTENCY_MS > now_ms {
            return None;
        }
        let key = self.order.pop_front()?;
        let gone = self.by_key.remove(&key)?;
        self.bytes -= gone.reply.body.len();
        Some(key)
    }
}

pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) store: Option<Store>,
    pub(crate) reader: Option<Reader>,
    pub(crate) sets: BTreeMap<u64, PolicySetSpec>,
    pub(crate) fallen_back: BTreeMap<PolicyKind, String>,
    pub(crate) hold: Option<String>,
    pub(crate) degraded: Option<String>,
    pub(crate) recent: Recent,
    pub(crate) answers: Answers,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) tick: Option<std::time::Duration>,
    pub(crate) lanes: Arc<Lanes<Write, Read>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) book: Book,
    /// To be shown once it is durable.
    pub(crate) changes: Vec<Change>,
    pub(crate) out: Output,
}

impl Core {
    /// Until the lanes are closed and empty.
    pub(crate) fn run(mut self) {
        let mut next_tick = self.tick.map(|tick| Instant::now() + tick);
        loop {
            let lanes = Arc::clone(&self.lanes);
            let work = lanes.take(GROUP_MAX, next_tick);
            // Before the group is begun everything visible is durable.
            for read in work.reads {
                read(&self.view());
            }
            let mut answers = Vec::with_capacity(work.writes.len());
            for write in work.writes {
                let answer = self.perform(write.submission);
                answers.push((write.reply, answer));
            }
            if let (Some(at), Some(tick)) = (next_tick, self.tick)
                && Instant::now() >= at
            {
                next_tick = Some(Instant::now() + tick);
                self.pass_time();
            }
            self.commit();
            for (reply, answer) in answers {
                let answer = match (&self.degraded, answer) {
                    // What was done is not known to be durable: not acknowledged.
                    (Some(cause), Ok(_)) => Err(degraded(cause)),
                    (_, answer) => answer,
                };
                // The caller may have gone away.
                let _ = reply.send(answer);
            }
            if work.closed {
                break;
            }
        }
        self.hub.close();
        if let Some(store) = self.store.take()
            && self.degraded.is_none()
            && let Err(error) = store.close()
        {
            tracing::error!(%error, "the last checkpoint failed; the journal has everything");
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            engine: &self.engine,
            registry: &self.registry,
            recent: &self.recent,
            sets: &self.sets,
            fallen_back: &self.fallen_back,
            hold: self.hold.as_deref(),
            degraded: self.degraded.as_deref(),
            reader: self.reader.as_ref(),
            metrics: &self.metrics,
            now_ms: (self.clock)().max(self.engine.now_ms()),
        }
    }

    fn perform(&mut self, submission: Submission) -> Outgoing {
        if let Some(cause) = &self.degraded {
            return Err(degraded(cause));
        }
        if let Some(asked) = &submission.idempotency
            && let Some(kept) = self.answers.by_key.get(&asked.key)
        {
            if kept.request != asked.request {
                self.metrics.refused += 1;
                let text = "this Idempotency-Key was sent with another request before";
                return Err(Problem::new(ProblemKind::IdempotencyConflict, text));
            }
            self.metrics.replayed += 1;
            let reply = Reply {
                replayed: true,
                ..kept.reply.clone()
            };
            return Ok((reply, Receipt::default()));
        }
        let checked = match submission.check {
            Some(check) => check(&self.view()),
            None => Ok(()),
        };
        let done = checked.and_then(|()| self.act(submission.action));
        let receipt = done.inspect_err(|_| self.metrics.refused += 1)?;
        let reply = (submission.answer)(&self.view(), &receipt);
        if let Some(asked) = submission.idempotency {
            self.keep(asked, &reply);
        }
        Ok((reply, receipt))
    }

    fn keep(&mut self, asked: Idempotency, reply: &Reply) {
        let mut reply = reply.clone();
        if reply.body.len() > IDEMPOTENCY_BODY_MAX {
            reply.body = String::new();
        }
        let at_ms = (self.clock)();
        let kept = Kept {
            key: asked.key,
            request: asked.request,
            at_ms,
            reply,
        };
        self.book.put(idempotency_key(&kept.key), &kept);
        self.answers.insert(kept);
        while let Some(key) = self.answers.surplus(at_ms) {
            self.book.delete(idempotency_key(&key));
        }
    }

    fn act(&mut self, action: Action) -> Result<Receipt, Problem> {
        let now_ms = (self.clock)();
        match action {
            Action::Events(events) => {
                let mut receipt = Receipt::default();
                let several = events.len() > 1;
                for (i, event) in events.into_iter().enumerate() {
                    self.step(now_ms, event, &mut receipt)
                        .map_err(|problem| match several {
                            true => after(problem, i),
                            false => problem,
                        })?;
                }
                Ok(receipt)
            }
            Action::Upload(uploaded) => {
                let plan = self.registry.plan_upload(uploaded).map_err(conflict)?;
                let receipt = Receipt {
                    known: plan.is_empty(),
                    ..Receipt::default()
                };
                self.book.plan(&plan);
                self.registry.apply(plan);
                Ok(receipt)
            }
            Action::Activate { ready, reason } if self.decides_already(ready.set.spec()) => {
                // Sent again: the way back stays what it was.
                tracing::info!(reason, "the set that decides was activated again");
                Ok(Receipt::default())
            }
            Action::Activate { ready, reason } => {
                let plan = self
                    .registry
                    .plan_activate(&ready, now_ms, &reason)
                    .map_err(conflict)?;
                self.book.plan(&plan);
                self.registry.apply(plan);
                let kind = ready.set.spec().kind;
                self.swap(kind, "activated", &reason, |engine| {
                    sets::install(engine, ready.set)
                })
            }
            Action::Rollback {
                kind,
                if_revision,
                reason,
            } => {
                let plan = self
                    .registry
                    .plan_rollback(kind, if_revision, now_ms, &reason)
                    .map_err(conflict)?;
                // The record may have a previous set that did not survive a restart.
                let recorded = self.registry.hook(kind).map_err(conflict)?.previous.clone();
                let instantiated = sets::previous(&self.engine, kind);
                let there = instantiated.is_some() && instantiated == recorded.as_ref();
                if !there || self.fallen_back.contains_key(&kind) {
                    let text = "the previous set could not be started again after the restart; activate a set instead";
                    return Err(Problem::new(ProblemKind::Conflict, text).because("NoPreviousSet"));
                }
                self.book.plan(&plan);
                self.registry.apply(plan);
                self.swap(kind, "rolled-back", &reason, |engine| {
                    sets::rollback(engine, kind);
                    None
                })
            }
            Action::Approve { by, reason, count } => self.approve(by, reason, count),
            Action::WhatIf(job) => Ok(self.what_if(&job)),
        }
    }

    /// Asks the engine, and why the first pod that would wait does.
    fn what_if(&mut self, job: &model::JobSpec) -> Receipt {
        let answer = self.engine.what_if(job);
        let waits = |p: &engine::PodOutcome| matches!(p, engine::PodOutcome::Waiting { .. });
        let (lines, fixes) = match (&answer.admitted, answer.pods.iter().position(waits)) {
            (Ok(job), Some(at)) => self.engine.fixes_for(&job.pod(at as u32)),
            _ => (Vec::new(), Vec::new()),
        };
        let what_if = WhatIf::new(
            &answer,
            lines.into_iter().map(Into::into).collect(),
            fixes.into_iter().map(Into::into).collect(),
        );
        Receipt {
            what_if: Some(Arc::new(what_if)),
            ..Receipt::default()
        }
    }

    fn approve(
        &mut self,
        by: String,
        reason: String,
        count: Option<u32>,
    ) -> Result<Receipt, Problem> {
        let approval = crate::wire::view::Approval {
            by: by.clone(),
            reason: reason.clone(),
            count,
        };
        if let Some(count) = count {
            self.book.approval(&approval);
            self.changes.push(Change::Approved {
                guard: "evictions".to_owned(),
                by,
            });
            let mut receipt = Receipt::default();
            let event = Event::ApproveEvictions { count };
            self.step((self.clock)(), event, &mut receipt)?;
            return Ok(receipt);
        }
        if self.hold.is_none() {
            let text = "the host is not on hold";
            return Err(Problem::new(ProblemKind::Conflict, text));
        }
        self.book.approval(&approval);
        self.changes.push(Change::Approved {
            guard: "hold".to_owned(),
            by,
        });
        // The record of who and why is durable before the hold is gone.
        self.commit();
        if let Some(cause) = &self.degraded {
            return Err(degraded(cause));
        }
        if let Some(store) = &mut self.store {
            store
                .release_hold()
                .map_err(|e| Problem::new(ProblemKind::HostDegraded, e))?;
        }
        self.hold = None;
        self.engine.set_hold(false);
        Ok(Receipt::default())
    }

    // === Events ===

    fn pass_time(&mut self) {
        if self.degraded.is_some() {
            return;
        }
        let now_ms = (self.clock)();
        let mut receipt = Receipt::default();
        // A tick contradicts nothing.
        if let Err(problem) = self.step(now_ms, Event::Tick, &mut receipt) {
            tracing::error!(detail = problem.detail, "a tick was refused");
        }
    }

    fn step(&mut self, now_ms: u64, event: Event, receipt: &mut Receipt) -> Result<(), Problem> {
        self.out.clear();
        let quiet = event == Event::Tick;
        // The engine's time never goes back; the journal has the time it used.
        let now_ms = now_ms.max(self.engine.now_ms());
        let encoded = self.book.encode(now_ms, &event);
        self.check_size(&event, encoded.as_ref().map_or(0, Vec::len))?;
        let change = shown(&event);
        let removes = matches!(
            event,
            Event::QuotaRemove { .. } | Event::QueueRemove { .. } | Event::BudgetRemove { .. }
        );
        let applied = self.engine.apply(now_ms, event, &mut self.out);
        if let Err(error) = applied {
            // What was said at the door is kept also of those who stay out.
            self.collect(receipt, 0, None);
            return Err(refusal(error, removes));
        }
        let decided = self.engine.decide_next(&mut self.out);
        // A tick that did nothing is not worth a write: without it a replay does
        // the same.
        let idle = self.out.changed.is_empty()
            && self.out.effects.is_empty()
            && self.out.scaling.is_empty()
            && self.out.admissions.is_empty()
            && self.out.plans.is_empty()
            && !decided;
        if !(quiet && idle) {
            self.book.event(encoded);
        }
        self.changes.extend(change);
        self.collect(receipt, u64::from(decided), None);
        if decided {
            self.decide(receipt);
        }
        Ok(())
    }

    /// Refuses an event whose objects would not fit into one commit.
    fn check_size(&self, event: &Event, encoded: usize) -> Result<(), Problem> {
        let bytes = match event {
            Event::JobSubmit(job) => match &job.gang {
                None => encoded.saturating_mul(job.replicas.max(1) as usize),
                Some(gang) => gang.roles.iter().fold(encoded, |sum, role| {
                    let pod = wire::to_json(&wire::pod::Pod::from(&role.template)).len();
                    sum.saturating_add(pod.saturating_mul(role.count as usize))
                }),
            },
            Event::JobScale { id, replicas } => {
                let have = self.engine.job(id).map_or(0, |j| j.waiting + j.running);
                let template = self.engine.job(id).map_or(0, |j| {
                    self.book
                        .encode(0, &Event::JobSubmit(Box::new(j.spec.clone())))
                        .map_or(0, |e| e.len())
                });
                template.saturating_mul(replicas.saturating_sub(have) as usize)
            }
            _ => encoded,
        };
        if bytes <= EVENT_BYTES_MAX {
            return Ok(());
        }
        let text = format!(
            "this is {bytes} bytes of pods to write at once, more than {EVENT_BYTES_MAX}; send fewer at a time"
        );
        Err(Problem::new(ProblemKind::BodyTooLarge, text))
    }

    /// Decides everything that can be decided, a slice at a time, so that a
    /// commit can be closed in between.
    pub(super) fn decide(&mut self, receipt: &mut Receipt) {
        loop {
            let begun = Instant::now();
            let mut count = 0;
            while count < 256 && self.engine.decide_next(&mut self.out) {
                count += 1;
            }
            self.collect(receipt, count, Some(begun));
            if count < 256 {
                return;
            }
        }
    }

    /// Makes the group durable and shows it.
    fn commit(&mut self) {
        let groups = self.book.take(&self.engine);
        if let Some(store) = &mut self.store {
            for commits in groups {
                let begun = Instant::now();
                if let Err(error) = store.commit(&commits) {
                    // Memory is ahead of the disk now, so no later commit may
                    // succeed either: only a restart makes them agree again.
                    tracing::error!(%error, "nothing more is accepted: the store does not write");
                    self.degraded = Some(error.to_string());
                    self.changes.clear();
                    return;
                }
                self.metrics.commits += 1;
                self.metrics.commit.observe(begun.elapsed());
            }
        }
        if !self.changes.is_empty() {
            let at = Time(self.engine.now_ms());
            self.hub.publish(at, self.changes.drain(..));
        }
    }
}

/// What must not be removed is in use; nobody sent anything wrong.
fn refusal(error: EventError, removes: bool) -> Problem {
    let problem = Problem::from(error);
    match removes && problem.reason == ProblemKind::InvalidRequest.reason() {
        true => Problem::new(ProblemKind::InUse, &problem.detail),
        false => problem,
    }
}

fn degraded(cause: &str) -> Problem {
    let text = format!("the host stopped accepting changes: {cause}");
    Problem::new(ProblemKind::HostDegraded, text)
}

fn after(mut problem: Problem, applied: usize) -> Problem {
    problem.detail = format!(
        "{} (entry {applied}; the {applied} before it were applied)",
        problem.detail
    );
    for error in &mut problem.errors {
        *error = error.clone().under(applied);
    }
    problem
}

pub(crate) fn conflict(error: PlanError) -> Problem {
    let code = error.code();
    let kind = match &error {
        PlanError::Stale { .. } => ProblemKind::RevisionConflict,
        PlanError::KindNotServed(_) => ProblemKind::InvalidRequest,
        PlanError::Illegal(_) => ProblemKind::Internal,
        _ => ProblemKind::Conflict,
    };
    Problem::new(kind, error).because(code)
}
