//! What the engine decided, with everything needed to explain it.

use std::sync::Arc;

use crate::policy::{MEMBERS_MAX, PolicyId};
use crate::reason::{Reason, Rejection};

/// Rows of the score table kept with every decision.
pub const CANDIDATES_KEPT: usize = 8;

/// A value of [`Candidate::scores`] meaning that the policy abstained.
pub const ABSTAIN: i32 = i32::MIN;

/// Nodes by the first check that failed. Sums to the number of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilterCounts(pub [u32; Rejection::COUNT]);

impl FilterCounts {
    /// Number of nodes with this result.
    #[must_use]
    pub fn get(&self, r: Rejection) -> u32 {
        self.0[r as usize]
    }

    /// Number of nodes in all.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }

    /// Results that occur, in order of checking, without `Fits`.
    pub fn rejections(&self) -> impl Iterator<Item = (Rejection, u32)> + '_ {
        Rejection::ALL
            .into_iter()
            .filter(|r| *r != Rejection::Fits)
            .map(|r| (r, self.get(r)))
            .filter(|(_, n)| *n > 0)
    }
}

/// One line of the score table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Row id of the node.
    pub row: u32,
    /// Node name.
    pub node: Arc<str>,
    /// Combined key, larger is better. Weighted: sum of weight × score in
    /// thousandths.
    pub total: i64,
    /// Raw score of each member, [`ABSTAIN`] where it abstained.
    pub scores: Scores,
}

/// One score a member, inline: a decision allocates nothing per candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scores {
    values: [i32; MEMBERS_MAX],
    len: u8,
}

impl Scores {
    /// No scores.
    #[must_use]
    pub fn new() -> Self {
        Self {
            values: [0; MEMBERS_MAX],
            len: 0,
        }
    }

    /// Adds the score of the next member.
    ///
    /// # Panics
    /// With more than [`MEMBERS_MAX`] members, which no set has.
    pub fn push(&mut self, score: i32) {
        self.values[usize::from(self.len)] = score;
        self.len += 1;
    }
}

impl Default for Scores {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for Scores {
    type Target = [i32];

    fn deref(&self) -> &[i32] {
        &self.values[..usize::from(self.len)]
    }
}

/// A fault that happened while deciding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultNote {
    /// Who.
    pub policy: PolicyId,
    /// Which call: `score`, `place`, `scale`, …
    pub call: &'static str,
    /// Stable code of the fault.
    pub code: &'static str,
    /// In words.
    pub message: String,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Bound to a node and exactly these device slots.
    Bound {
        /// Row id.
        row: u32,
        /// Node name.
        node: Arc<str>,
        /// Slots in ascending order.
        devices: Vec<u8>,
        /// Margin over the runner-up, in the unit of `Candidate::total`.
        margin: i64,
    },
    /// Not placed.
    Unschedulable {
        /// Why.
        reason: Reason,
    },
}

/// One decision about one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Grows by one a decision.
    pub seq: u64,
    /// Logical time, ms.
    pub time_ms: u64,
    /// Pod name.
    pub pod: Arc<str>,
    /// Revision of the scoring set that decided; a decision is pinned to it.
    pub set_revision: u64,
    /// What happened.
    pub outcome: Outcome,
    /// Where the nodes went; sums to the cluster size. All zero where a plan or
    /// a gang was placed as a whole: domains were compared then, not nodes.
    pub filter: FilterCounts,
    /// Best first, at most [`CANDIDATES_KEPT`].
    pub candidates: Vec<Candidate>,
    /// Winner if member i were left out of the set; only for sets of several.
    pub without: Vec<Option<Arc<str>>>,
    /// Faults answered by the built-in.
    pub faults: Vec<FaultNote>,
    /// Rows scored for this decision (the others came from the cache).
    pub rows_scored: u32,
    /// Fuel burnt by guests.
    pub fuel: u64,
}
