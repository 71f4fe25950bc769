//! What the page shows, sampled from the daemon.
//!
//! One event a decision would be too much for a browser: instead the columns of
//! the map are copied on the core thread a few times a second while somebody
//! watches, once a second otherwise, and only the rows that differ are sent. The
//! cost depends on the number of nodes, never on the number of decisions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::PolicyKind;
use serde::Serialize;
use tokio::sync::broadcast;
use utoipa::ToSchema;

use super::columns::{Fixed, Island, Now};
use crate::daemon::live::Next;
use crate::daemon::{Change, DaemonHandle, View, wall_clock};
use crate::wire::Problem;
use crate::wire::policy::{Hook, PolicySet};
use crate::wire::time::Time;
use crate::wire::view::Summary;

/// Distance of samples while somebody watches: quick enough to look live.
const SAMPLE: Duration = Duration::from_millis(200);

/// Samples to a point of the time line, and between samples nobody watches.
const SAMPLES_PER_POINT: u32 = 5;

/// Points kept: ten minutes.
const POINTS_MAX: usize = 600;

/// Marks kept: swaps are rare, faults are limited by [`FAULT_EVERY`].
const MARKS_MAX: usize = 256;

/// A policy that fails all the time is one mark in this time.
const FAULT_EVERY: Duration = Duration::from_secs(10);

/// Frames kept for a page between its snapshot and its stream: 20 s.
const FRAMES_MAX: usize = 128;

/// The cluster in numbers, with what the page shows beside them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PageSummary {
    /// The numbers.
    #[serde(flatten)]
    pub summary: Summary,
    /// Arrival of the oldest waiting pod, by reason code.
    pub oldest: BTreeMap<String, Time>,
}

/// One second of the time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Point {
    /// ms since the epoch.
    pub at: u64,
    /// Healthy GPUs.
    pub gpus: u32,
    /// Milli-GPU in use.
    pub used: i64,
    /// Decisions so far.
    pub decisions: u64,
    /// Pods running.
    pub running: u64,
    /// Pods waiting.
    pub waiting: u64,
}

/// Kinds of marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MarkKind {
    /// A set was activated.
    Swap,
    /// Somebody went back.
    Rollback,
    /// A breaker took a set out.
    Revert,
    /// A policy misbehaved.
    Fault,
}

/// Something to be seen on the time line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mark {
    /// ms since the epoch.
    pub at: u64,
    /// What happened.
    pub kind: MarkKind,
    /// Which set, by its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<crate::wire::policy::PolicyKind>,
    /// Decided before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Decides now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How long decisions were held up, µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_us: Option<u64>,
    /// In words.
    pub text: String,
}

/// Everything a page needs to begin: one request, columns instead of objects.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Map {
    /// When.
    pub time: Time,
    /// Give it as `?after=` to the stream.
    pub cursor: u64,
    /// Names of models.
    pub models: Vec<String>,
    /// Names of zones.
    pub zones: Vec<String>,
    /// Names of racks.
    pub racks: Vec<String>,
    /// Kinds of wiring.
    pub wirings: Vec<Island>,
    /// The nodes.
    pub nodes: MapNodes,
    /// The cluster in numbers.
    pub summary: PageSummary,
    /// What decides.
    pub hooks: Vec<Hook>,
}

/// Both halves of the columns.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MapNodes {
    /// What stays.
    #[serde(flatten)]
    pub fixed: Fixed,
    /// What changes; its `row` is that of `fixed`.
    #[serde(flatten)]
    pub now: Changing,
}

/// [`Now`] without its row ids.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Changing {
    /// 0 in service, 1 cordoned, 2 failed.
    pub state: Vec<u8>,
    /// Pods running.
    pub pods: Vec<u32>,
    /// Milli-cores.
    pub cpu_milli_free: Vec<i64>,
    /// MiB.
    pub memory_mib_free: Vec<i64>,
    /// Free milli-GPU of each device in slot order, -1 when unhealthy.
    pub gpu_milli_free: Vec<Vec<i32>>,
}

/// The last minutes.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Timeline {
    /// Oldest first.
    pub points: Vec<Point>,
    /// Oldest first.
    pub marks: Vec<Mark>,
}

#[derive(Serialize)]
struct ChangeFrame<'a> {
    time: Time,
    summary: &'a PageSummary,
    nodes: Option<Now>,
}

#[derive(Clone)]
struct Frame {
    number: u64,
    text: Bytes,
}

struct Sampled {
    fixed: Arc<Fixed>,
    now: Now,
    summary: PageSummary,
    hooks: Vec<Hook>,
}

#[derive(Default)]
struct State {
    number: u64,
    frames: VecDeque<Frame>,
    last: Option<(Time, Sampled)>,
    points: VecDeque<Point>,
    marks: VecDeque<Mark>,
    faults: BTreeMap<(String, String), Instant>,
    sender: Option<broadcast::Sender<Frame>>,
}

/// Samples a daemon for all pages that look at it.
pub struct Feed {
    daemon: DaemonHandle,
    state: Mutex<State>,
    /// Samples are taken one after the other, or an older one could follow.
    sampling: tokio::sync::Mutex<()>,
    watchers: Arc<AtomicUsize>,
    started: AtomicBool,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

fn wall_ms() -> u64 {
    wall_clock()()
}

fn label(set: &PolicySet) -> String {
    let names = set
        .members
        .iter()
        .map(|m| format!("{}@{}", m.policy.name, m.policy.version));
    names.collect::<Vec<_>>().join(" + ")
}

fn sample(view: &View<'_>, known: &Arc<Fixed>) -> Sampled {
    let engine = view.engine;
    let (now, same) = Now::of(engine, known);
    let fixed = if same {
        Arc::clone(known)
    } else {
        Arc::new(Fixed::of(engine))
    };
    let hook = |kind: &PolicyKind| {
        let hook = Hook::from(&**view.registry.hook(*kind).ok()?);
        let degraded = view.fallen_back.get(kind).cloned();
        Some(Hook { degraded, ..hook })
    };
    let by_code = |(reason, at): (model::Reason, u64)| (reason.code().to_owned(), Time(at));
    Sampled {
        fixed,
        now,
        summary: PageSummary {
            summary: crate::api::numbers(view),
            oldest: engine.oldest_waiting().into_iter().map(by_code).collect(),
        },
        hooks: PolicyKind::ALL.iter().filter_map(hook).collect(),
    }
}

impl State {
    fn send<T: Serialize>(&mut self, event: &str, data: &T) {
        self.number += 1;
        let data = serde_json::to_string(data).expect("frames of the page always serialise");
        let text = format!("id: {}\nevent: {event}\ndata: {data}\n\n", self.number);
        let frame = Frame {
            number: self.number,
            text: Bytes::from(text),
        };
        if self.frames.len() == FRAMES_MAX {
            self.frames.pop_front();
        }
        self.frames.push_back(frame.clone());
        if let Some(sender) = &self.sender {
            // Nobody watches: nothing to do.
            let _ = sender.send(frame);
        }
    }

    fn mark(&mut self, mark: Mark) {
        self.send("mark", &mark);
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
    }

    /// Takes a sample and tells watchers what differs.
    fn take(&mut self, sampled: Sampled) {
        let time = Time(wall_ms());
        let Some((_, last)) = &self.last else {
            self.last = Some((time, sampled));
            return;
        };
        let topology = !Arc::ptr_eq(&last.fixed, &sampled.fixed);
        let hooks = last.hooks != sampled.hooks;
        let changed = if topology {
            Now::default()
        } else {
            sampled.now.since(&last.now)
        };
        if topology {
            self.send("resync", &serde_json::json!({}));
        } else if !changed.row.is_empty()
            || last.summary.summary.decisions != sampled.summary.summary.decisions
            || last.summary.summary.waiting != sampled.summary.summary.waiting
        {
            let nodes = (!changed.row.is_empty()).then_some(changed);
            self.send(
                "change",
                &ChangeFrame {
                    time,
                    summary: &sampled.summary,
                    nodes,
                },
            );
        }
        if hooks {
            self.send("hooks", &sampled.hooks);
        }
        self.last = Some((time, sampled));
    }

    /// A point of the time line; also the sign of life between changes.
    fn point(&mut self) {
        let Some((_, last)) = &self.last else { return };
        let s = &last.summary.summary;
        let point = Point {
            at: wall_ms(),
            gpus: s.gpus,
            used: s.gpu_milli_used,
            decisions: s.decisions,
            running: s.running,
            waiting: s.waiting.values().map(|n| u64::from(*n)).sum(),
        };
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
        let frame =
            serde_json::json!({ "time": Time(point.at), "point": point, "summary": last.summary });
        self.send("point", &frame);
    }

    fn set_changed(&mut self, set: &PolicySet, kind: MarkKind, pause_us: Option<u64>, text: &str) {
        let before = self
            .last
            .as_ref()
            .and_then(|(_, l)| l.hooks.iter().find(|h| h.kind == set.kind));
        let from = before.map(|h| label(&h.active));
        self.mark(Mark {
            at: wall_ms(),
            kind,
            hook: Some(set.kind),
            from,
            to: Some(label(set)),
            pause_us,
            text: text.to_owned(),
        });
    }

    fn happened(&mut self, change: &Change) {
        match change {
            Change::SetChanged {
                set,
                cause,
                reason,
                pause_us,
                ..
            } => {
                let kind = match cause.as_str() {
                    "rolled-back" => MarkKind::Rollback,
                    "reverted" => MarkKind::Revert,
                    _ => MarkKind::Swap,
                };
                self.set_changed(set, kind, Some(*pause_us), reason);
            }
            Change::Fault {
                policy,
                code,
                message,
            } => {
                let key = (policy.clone(), code.clone());
                if self
                    .faults
                    .get(&key)
                    .is_some_and(|at| at.elapsed() < FAULT_EVERY)
                {
                    return;
                }
                self.faults.insert(key, Instant::now());
                self.mark(Mark {
                    at: wall_ms(),
                    kind: MarkKind::Fault,
                    hook: None,
                    from: None,
                    to: None,
                    pause_us: None,
                    text: format!("{policy} {code}: {message}"),
                });
            }
            Change::Bound { .. }
            | Change::Unschedulable { .. }
            | Change::Finished { .. }
            | Change::Requeued { .. }
            | Change::NodePut { .. }
            | Change::NodeRemoved { .. }
            | Change::Scaled { .. }
            | Change::Admission { .. }
            | Change::Plan { .. }
            | Change::Evicting { .. }
            | Change::GuardTripped { .. }
            | Change::GangTimedOut { .. }
            | Change::AdmissionStuck { .. }
            | Change::Approved { .. } => {}
        }
    }
}

impl Feed {
    /// A feed of this daemon; nothing is sampled before [`Self::start`].
    #[must_use]
    pub fn new(daemon: DaemonHandle) -> Arc<Self> {
        let sender = broadcast::channel(FRAMES_MAX).0;
        Arc::new(Self {
            daemon,
            state: Mutex::new(State {
                sender: Some(sender),
                ..State::default()
            }),
            sampling: tokio::sync::Mutex::new(()),
            watchers: Arc::default(),
            started: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples until the daemon ends. Does nothing the second time.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self: &Arc<Self>) {
        if !self.started.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).run());
        }
    }

    async fn run(self: Arc<Self>) {
        let mut events = self.daemon.subscribe(None);
        let mut timer = tokio::time::interval(SAMPLE);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ticks: u32 = 0;
        loop {
            tokio::select! {
                _ = timer.tick() => {
                    let point = ticks.is_multiple_of(SAMPLES_PER_POINT);
                    ticks = ticks.wrapping_add(1);
                    if point || self.watchers.load(Ordering::Acquire) > 0 {
                        // Too much to do: the next sample shows it as well.
                        let _ = self.sample().await;
                    }
                    if point {
                        self.state().point();
                    }
                }
                next = events.next() => match next {
                    Next::Event(event) => self.state().happened(&event.change),
                    Next::Resync => {}
                    Next::End => break,
                },
            }
        }
        // Ends every watcher.
        self.state().sender = None;
    }

    async fn sample(&self) -> Result<(), Problem> {
        let _one = self.sampling.lock().await;
        let known = self
            .state()
            .last
            .as_ref()
            .map(|(_, l)| Arc::clone(&l.fixed))
            .unwrap_or_default();
        let sampled = self.daemon.read(move |view| sample(view, &known)).await?;
        self.state().take(sampled);
        Ok(())
    }

    /// The map as it was at the last sample; waits for the first.
    ///
    /// # Errors
    /// The daemon stops or is too busy to look.
    pub async fn map(&self) -> Result<Map, Problem> {
        if self.state().last.is_none() {
            self.sample().await?;
        }
        let state = self.state();
        let (time, last) = state.last.as_ref().expect("a sample was taken");
        let names = &last.fixed.names;
        let now = &last.now;
        Ok(Map {
            time: *time,
            cursor: state.number,
            models: names.models.clone(),
            zones: names.zones.clone(),
            racks: names.racks.clone(),
            wirings: names.wirings.clone(),
            nodes: MapNodes {
                fixed: Fixed::clone(&last.fixed),
                now: Changing {
                    state: now.state.clone(),
                    pods: now.pods.clone(),
                    cpu_milli_free: now.cpu_milli_free.clone(),
                    memory_mib_free: now.memory_mib_free.clone(),
                    gpu_milli_free: now.gpu_milli_free.clone(),
                },
            },
            summary: last.summary.clone(),
            hooks: last.hooks.clone(),
        })
    }

    /// The last minutes.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let state = self.state();
        Timeline {
            points: state.points.iter().copied().collect(),
            marks: state.marks.iter().cloned().collect(),
        }
    }

    /// What changes after the snapshot with this cursor.
    #[must_use]
    pub fn watch(&self, after: u64) -> Watcher {
        let state = self.state();
        let first = state.frames.front().map_or(state.number + 1, |f| f.number);
        let known = after + 1 >= first && after <= state.number;
        let backlog = match known {
            true => state
                .frames
                .iter()
                .filter(|f| f.number > after)
                .map(|f| f.text.clone())
                .collect(),
            false => VecDeque::from([resync()]),
        };
        let receiver = match &state.sender {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        };
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Watcher {
            backlog,
            receiver,
            watchers: Arc::clone(&self.watchers),
        }
    }
}

fn resync() -> Bytes {
    Bytes::from_static(b"event: resync\ndata: {}\n\n")
}

/// One page that watches.
#[derive(Debug)]
pub struct Watcher {
    backlog: VecDeque<Bytes>,
    receiver: broadcast::Receiver<Frame>,
    watchers: Arc<AtomicUsize>,
}

impl Watcher {
    /// The next frame, as it goes over the wire; `None` when the host stops.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(frame) = self.backlog.pop_front() {
            return Some(frame);
        }
        match self.receiver.recv().await {
            Ok(frame) => Some(frame.text),
            // Too slow to see every change: read everything again.
            Err(broadcast::error::RecvError::Lagged(_)) => Some(resync()),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}
