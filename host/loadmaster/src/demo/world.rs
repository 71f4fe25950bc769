//! What happens in the demo's cluster, second by second.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use cluster::demo::{Arrivals, Load};
use model::event::Finish;
use model::{Decision, Event, NodeSpec, Outcome, PodSpec};

/// Monday, 2 March 2026, 00:00 UTC: the load of services has days and weeks.
pub(super) const MONDAY_MS: u64 = 1_772_409_600_000;

/// The clock before anything is played.
pub(super) const BEGIN_MS: u64 = MONDAY_MS;

/// A second of the viewer is a minute of the cluster.
pub(super) const SPEED: u64 = 60;

/// Asked for in the long run, in thousandths of what the cluster has. Durations
/// are heavy-tailed, so that the long run is not reached within the demo: with
/// this much the cluster is three quarters full at the swap and full at the end,
/// with a queue in which packing matters.
const LOAD_MILLI: u32 = 2_400;

/// Pods run for a quarter of the demo on average, so that it fills and turns
/// over within it.
const MEANS_PER_DEMO: u64 = 4;

/// Owners take a pod back after waiting for this many mean durations: the queue
/// of an overloaded cluster would grow for ever.
const PATIENCE_MEANS: u64 = 3;

/// Pods that arrive, and how long each will run.
pub(super) struct World {
    arrivals: Peekable<Arrivals>,
    begin_ms: u64,
    mean_ms: u64,
    /// Whole GPUs of the cluster, in milli-GPU.
    capacity_milli: i64,
    pub(super) arrived: u64,
    pub(super) arrived_milli: i64,
}

/// A pod that arrived with how long it will run.
pub(super) struct Arrived {
    pub(super) pod: PodSpec,
    pub(super) duration_ms: u64,
}

impl World {
    pub(super) fn new(nodes: &[NodeSpec], seed: u64, begin_ms: u64, length_ms: u64) -> Self {
        let mean_ms = (length_ms / MEANS_PER_DEMO).max(1);
        let load = Load {
            gpu_milli: LOAD_MILLI,
            mean_duration_ms: mean_ms,
        };
        Self {
            arrivals: Arrivals::new(nodes, load, seed).peekable(),
            begin_ms,
            mean_ms,
            capacity_milli: nodes.iter().map(|n| n.gpus.len() as i64 * 1000).sum(),
            arrived: 0,
            arrived_milli: 0,
        }
    }

    /// Everything that arrives up to `now`.
    pub(super) fn until(&mut self, now_ms: u64) -> Vec<Arrived> {
        let mut new = Vec::new();
        while let Some(next) = self
            .arrivals
            .next_if(|a| self.begin_ms + a.time_ms <= now_ms)
        {
            self.arrived += 1;
            self.arrived_milli += next.pod.gpu.total_milli();
            new.push(Arrived {
                pod: next.pod,
                duration_ms: next.duration_ms,
            });
        }
        new
    }

    /// GPU that arrived so far as a share of what the cluster has.
    pub(super) fn arrived_share(&self) -> f64 {
        self.arrived_milli as f64 / self.capacity_milli.max(1) as f64
    }

    pub(super) fn patience_ms(&self) -> u64 {
        PATIENCE_MEANS * self.mean_ms
    }
}

/// The pods of one cluster: how long those will run that wait, and when those
/// end that run. The real cluster and the ghost have one each, because a pod
/// ends later where it began later.
#[derive(Default)]
pub(super) struct Pods {
    waiting: BTreeMap<String, u64>,
    /// Arrivals by the time patience ends.
    patience: BTreeSet<(u64, String)>,
    ends: BTreeSet<(u64, String)>,
    pub(super) placed: u64,
    pub(super) finished: u64,
    pub(super) gave_up: u64,
}

impl Pods {
    pub(super) fn arrived(&mut self, pod: &Arrived, now_ms: u64, patience_ms: u64) {
        self.waiting.insert(pod.pod.name.clone(), pod.duration_ms);
        self.patience
            .insert((now_ms + patience_ms, pod.pod.name.clone()));
    }

    /// What was decided: a pod that was placed ends after its time.
    pub(super) fn decided(&mut self, decision: &Decision, now_ms: u64) {
        if let Outcome::Bound { .. } = decision.outcome
            && let Some(duration) = self.waiting.remove(&*decision.pod)
        {
            self.placed += 1;
            self.ends
                .insert((now_ms + duration, decision.pod.to_string()));
        }
    }

    /// Pods that end up to `now`, and those that are taken back.
    pub(super) fn ending(&mut self, now_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        while self.ends.first().is_some_and(|(at, _)| *at <= now_ms) {
            let Some((_, name)) = self.ends.pop_first() else {
                break;
            };
            self.finished += 1;
            events.push(Event::PodFinished {
                name,
                how: Finish::Succeeded,
            });
        }
        while self.patience.first().is_some_and(|(at, _)| *at <= now_ms) {
            let Some((_, name)) = self.patience.pop_first() else {
                break;
            };
            if self.waiting.remove(&name).is_some() {
                self.gave_up += 1;
                events.push(Event::PodFinished {
                    name,
                    how: Finish::Deleted,
                });
            }
        }
        events
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }
}
