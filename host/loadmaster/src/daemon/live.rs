//! What just happened, for whoever watches. Shown only after it is durable.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

use crate::wire::plan::{Ruling, Status};
use crate::wire::policy::{PolicyKind, PolicySet};
use crate::wire::time::Time;

/// Events kept for those who come back, and for those who are slow: at a
/// thousand decisions a second, four seconds.
pub const EVENTS_KEPT: usize = 4_096;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Change {
    /// A pod was put on a node.
    Bound {
        /// Decision.
        decision: u64,
        /// Pod.
        pod: String,
        /// Node.
        node: String,
        /// Device slots.
        devices: Vec<u8>,
        /// Share of each device, milli-GPU.
        gpu_milli: u32,
        /// Revision of the set that decided.
        set_revision: u64,
    },
    /// A pod could not be placed.
    Unschedulable {
        /// Decision.
        decision: u64,
        /// Pod.
        pod: String,
        /// Reason code.
        reason: String,
    },
    /// A pod ended, or was stopped.
    Finished {
        /// Pod.
        pod: String,
    },
    /// A pod lost its node or its place, and waits again.
    Requeued {
        /// Pod.
        pod: String,
        /// Why.
        cause: String,
    },
    /// A node came or changed.
    NodePut {
        /// Node.
        node: String,
    },
    /// A node is gone.
    NodeRemoved {
        /// Node.
        node: String,
    },
    /// Another set decides.
    SetChanged {
        /// Kind.
        kind: PolicyKind,
        /// What decides now.
        set: PolicySet,
        /// `activated`, `rolled-back` or `reverted`.
        cause: String,
        /// In words.
        reason: String,
        /// How long decisions were held up, µs.
        pause_us: u64,
    },
    /// A workload is to have another number of replicas.
    Scaled {
        /// Workload.
        workload: String,
        /// Before.
        from: u32,
        /// Wanted.
        to: u32,
    },
    /// A policy misbehaved and the built-in answered.
    Fault {
        /// `name@version`.
        policy: String,
        /// Code.
        code: String,
        /// In words.
        message: String,
    },
    /// A job at the door or at the head of its queue.
    Admission {
        /// Job.
        job: String,
        /// Queue, empty for none.
        queue: String,
        /// What became of it.
        outcome: Ruling,
    },
    /// Pods are asked to yield, or that is over.
    Plan {
        /// Plan.
        id: u64,
        /// Pod, or job of a gang.
        preemptor: String,
        /// `consolidate`, `reclaim` or `preempt`.
        action: String,
        /// Topology domain taken.
        domain: String,
        /// Pods that leave.
        victims: u32,
        /// Pods that move.
        moves: u32,
        /// How far it is.
        status: Status,
    },
    /// A running pod is asked to leave.
    Evicting {
        /// Pod.
        pod: String,
        /// Node it runs on.
        node: String,
        /// Time it has, ms.
        grace_ms: u32,
        /// Why.
        cause: String,
        /// Plan it leaves for, 0 for none.
        plan: u64,
    },
    /// A guard stopped disruptions.
    GuardTripped {
        /// In words, with the numbers.
        why: String,
    },
    /// A gang did not start in time and was given up.
    GangTimedOut {
        /// Job.
        job: String,
    },
    /// A policy that gates entry has kept objects out for long.
    AdmissionStuck {
        /// `name@version`.
        policy: String,
        /// Since.
        since: Time,
        /// Objects refused because of it.
        refused: u64,
    },
    /// An operator let a guard go.
    Approved {
        /// Guard.
        guard: String,
        /// Who.
        by: String,
    },
}

impl Change {
    /// The name in `event:` lines.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bound { .. } => "bound",
            Self::Unschedulable { .. } => "unschedulable",
            Self::Finished { .. } => "finished",
            Self::Requeued { .. } => "requeued",
            Self::NodePut { .. } => "node-put",
            Self::NodeRemoved { .. } => "node-removed",
            Self::SetChanged { .. } => "set-changed",
            Self::Scaled { .. } => "scaled",
            Self::Fault { .. } => "fault",
            Self::Admission { .. } => "admission",
            Self::Plan { .. } => "plan",
            Self::Evicting { .. } => "evicting",
            Self::GuardTripped { .. } => "guard-tripped",
            Self::GangTimedOut { .. } => "gang-timed-out",
            Self::AdmissionStuck { .. } => "admission-stuck",
            Self::Approved { .. } => "approved",
        }
    }
}

/// A change with its number and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveEvent {
    /// Number since this process started.
    #[serde(skip)]
    pub number: u64,
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub change: Change,
}

/// What a watcher gets next.
#[derive(Debug, Clone)]
pub enum Next {
    /// An event.
    Event(Arc<LiveEvent>),
    /// Some were missed: read the state again.
    Resync,
    /// The host stops.
    End,
}

/// A place in the stream.
#[derive(Debug)]
pub struct Subscription {
    /// Names this process in event ids: numbers begin again with the next.
    pub boot: u64,
    /// Begin with reading the state: what came after the last seen event is not
    /// kept any more.
    missed: bool,
    backlog: VecDeque<Arc<LiveEvent>>,
    receiver: broadcast::Receiver<Arc<LiveEvent>>,
}

impl Subscription {
    /// Waits for the next.
    pub async fn next(&mut self) -> Next {
        if std::mem::take(&mut self.missed) {
            return Next::Resync;
        }
        if let Some(event) = self.backlog.pop_front() {
            return Next::Event(event);
        }
        match self.receiver.recv().await {
            Ok(event) => Next::Event(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Next::Resync,
            Err(broadcast::error::RecvError::Closed) => Next::End,
        }
    }
}

struct Kept {
    next: u64,
    events: VecDeque<Arc<LiveEvent>>,
    sender: Option<broadcast::Sender<Arc<LiveEvent>>>,
}

pub(crate) struct Hub {
    boot: u64,
    kept: Mutex<Kept>,
}

impl Hub {
    pub(crate) fn new(boot: u64) -> Self {
        let kept = Kept {
            next: 1,
            events: VecDeque::new(),
            sender: Some(broadcast::channel(EVENTS_KEPT).0),
        };
        Self {
            boot,
            kept: Mutex::new(kept),
        }
    }

    pub(crate) fn publish(&self, at: Time, changes: impl Iterator<Item = Change>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let event = Arc::new(LiveEvent {
                number: kept.next,
                at,
                change,
            });
            kept.next += 1;
            if kept.events.len() == EVENTS_KEPT {
                kept.events.pop_front();
            }
            kept.events.push_back(Arc::clone(&event));
            if let Some(sender) = &kept.sender {
                // Nobody listens: nothing to do.
                let _ = sender.send(event);
            }
        }
    }

    /// Ends every subscription.
    pub(crate) fn close(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.sender = None;
    }

    /// From now on, or from just after the event with this boot and number.
    pub(crate) fn subscribe(&self, after: Option<(u64, u64)>) -> Subscription {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = match &kept.sender {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        };
        let first = kept.events.front().map_or(kept.next, |e| e.number);
        let (missed, backlog) = match after {
            None => (false, VecDeque::new()),
            Some((boot, number))
                if boot == self.boot && number + 1 >= first && number < kept.next =>
            {
                let rest = kept.events.iter().filter(|e| e.number > number);
                (false, rest.cloned().collect())
            }
            Some(_) => (true, VecDeque::new()),
        };
        Subscription {
            boot: self.boot,
            missed,
            backlog,
            receiver,
        }
    }
}
