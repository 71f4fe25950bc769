//! Decisions as they are shown and kept in the journal.

use std::collections::BTreeMap;

use model::decision::ABSTAIN;
use model::{FilterCounts, Rejection};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::policy::PolicyId;
use super::time::Time;

/// How a decision ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "result", rename_all = "lowercase", deny_unknown_fields)]
pub enum Outcome {
    /// On a node, on exactly these devices.
    Bound {
        /// Node.
        node: String,
        /// Device slots.
        devices: Vec<u8>,
        /// Lead over the runner-up, in the unit of `total`.
        margin: i64,
    },
    /// Not placed.
    Unschedulable {
        /// Why: a reason code.
        reason: String,
    },
}

/// One line of the score table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Node.
    pub node: String,
    /// Row id of the node, which breaks ties.
    pub row: u32,
    /// Combined score; weighted: the sum of weight × score in thousandths.
    pub total: i64,
    /// Score of each policy of the set; null where it abstained.
    pub scores: Vec<Option<i32>>,
}

/// A fault answered by the built-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Who.
    pub policy: PolicyId,
    /// Which call.
    pub call: String,
    /// Stable code.
    pub code: String,
    /// In words.
    pub message: String,
}

impl From<&model::decision::FaultNote> for Fault {
    fn from(f: &model::decision::FaultNote) -> Self {
        Self {
            policy: (&f.policy).into(),
            call: f.call.to_owned(),
            code: f.code.to_owned(),
            message: f.message.clone(),
        }
    }
}

/// Where the nodes went: how many, by the first check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Nodes in the cluster.
    pub nodes: u32,
    /// Nodes by result (`Fits`, `Cordoned`, `Cpu`, …); adds up to `nodes`.
    pub counts: BTreeMap<String, u32>,
}

impl From<&FilterCounts> for Filter {
    fn from(f: &FilterCounts) -> Self {
        Self {
            nodes: f.total(),
            counts: Rejection::ALL
                .into_iter()
                .filter(|r| f.get(*r) > 0)
                .map(|r| (r.code().to_owned(), f.get(r)))
                .collect(),
        }
    }
}

/// One decision about one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Grows by one a decision.
    pub id: u64,
    /// When.
    pub time: Time,
    /// Pod.
    pub pod: String,
    /// Revision of the scoring set that decided.
    pub set_revision: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Where the nodes went.
    pub filter: Filter,
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// Winner if one policy of the set were left out, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Option<String>>,
    /// Faults answered by the built-in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Rows scored for it; the other scores were remembered.
    pub rows_scored: u32,
    /// Fuel burnt by policies.
    pub fuel: u64,
}

impl From<&model::Decision> for Decision {
    fn from(d: &model::Decision) -> Self {
        Self {
            id: d.seq,
            time: Time(d.time_ms),
            pod: d.pod.to_string(),
            set_revision: d.set_revision,
            outcome: match &d.outcome {
                model::Outcome::Bound {
                    node,
                    devices,
                    margin,
                    ..
                } => Outcome::Bound {
                    node: node.to_string(),
                    devices: devices.clone(),
                    margin: *margin,
                },
                model::Outcome::Unschedulable { reason } => Outcome::Unschedulable {
                    reason: reason.code().to_owned(),
                },
            },
            filter: (&d.filter).into(),
            candidates: d
                .candidates
                .iter()
                .map(|c| Candidate {
                    node: c.node.to_string(),
                    row: c.row,
                    total: c.total,
                    scores: c
                        .scores
                        .iter()
                        .map(|s| (*s != ABSTAIN).then_some(*s))
                        .collect(),
                })
                .collect(),
            without: d
                .without
                .iter()
                .map(|w| w.as_ref().map(ToString::to_string))
                .collect(),
            faults: d.faults.iter().map(Into::into).collect(),
            rows_scored: d.rows_scored,
            fuel: d.fuel,
        }
    }
}

/// Anything that was decided, in one sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum AnyDecision {
    /// About a pod.
    Placement(Decision),
    /// About a workload.
    Scaling(super::scaling::ScalingDecision),
}

impl AnyDecision {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        match self {
            Self::Placement(d) => d.id,
            Self::Scaling(d) => d.id,
        }
    }
}
