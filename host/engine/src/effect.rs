//! What the world has to do because of a decision. The engine only says so;
//! the rim acts, and how it went comes back as an event.

use std::sync::Arc;

use model::policy::{PolicyId, PolicyKind};

/// Why a running pod went back into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequeueCause {
    /// Its node was removed.
    NodeRemoved,
}

impl RequeueCause {
    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NodeRemoved => "NodeRemoved",
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start the pod there, on exactly these device slots.
    Bind {
        /// Pod.
        pod: Arc<str>,
        /// Node.
        node: Arc<str>,
        /// Slots, ascending.
        devices: Vec<u8>,
    },
    /// The pod waits again.
    Requeue {
        /// Pod.
        pod: Arc<str>,
        /// Why.
        cause: RequeueCause,
    },
    /// Its owner deleted it: stop the pod.
    Stop {
        /// Pod.
        pod: Arc<str>,
        /// Node it ran on.
        node: Arc<str>,
    },
    /// A breaker took an active policy set out.
    SetReverted {
        /// Which kind of set.
        kind: PolicyKind,
        /// Who tripped it.
        policy: PolicyId,
        /// Revision taken out.
        from: u64,
        /// Revision that decides now; 0 is the built-in.
        to: u64,
        /// Fault that tripped it.
        fault: String,
    },
    /// A workload should have this many replicas.
    Scale {
        /// Workload.
        workload: Arc<str>,
        /// Replicas before.
        from: u32,
        /// Replicas wanted.
        to: u32,
    },
}

/// Part of the state that an event changed, to be written down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Counters, mode, and what was learned.
    Core,
    /// A node.
    Node(Arc<str>),
    /// A pod.
    Pod(Arc<str>),
    /// A job.
    Job(Arc<str>),
    /// A scaled workload with its policy memory.
    Scaling(Arc<str>),
    /// A calendar entry.
    Calendar(Arc<str>),
}

/// Everything that came out of a step. Cleared and used again by the caller.
#[derive(Debug, Default)]
pub struct Output {
    /// Decisions in order.
    pub decisions: Vec<model::Decision>,
    /// Scaling decisions in order.
    pub scaling: Vec<model::scaling::ScalingDecision>,
    /// What to do, in order.
    pub effects: Vec<Effect>,
    /// What to write down; may repeat.
    pub changed: Vec<Key>,
}

impl Output {
    /// Empties it, keeping the memory.
    pub fn clear(&mut self) {
        self.decisions.clear();
        self.scaling.clear();
        self.effects.clear();
        self.changed.clear();
    }
}
