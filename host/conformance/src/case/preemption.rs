//! The cases of the preemption kind, as they are written.

use engine::port::preemption as port;
use serde::Deserialize;

use super::Wiring;
use super::admission::ModeName;
use crate::law::Law;

const PREEMPTION: &str = include_str!("../../../../wit/v0.1.0/conformance/preemption.toml");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PreemptionCases {
    pub(crate) case: Vec<PreemptionCase>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PreemptionCase {
    pub(crate) name: String,
    pub(crate) action: Action,
    #[serde(default)]
    pub(crate) mode: ModeName,
    /// For work that varies.
    #[serde(default)]
    pub(crate) seed: u64,
    /// The queue that asks, empty for none.
    #[serde(default)]
    pub(crate) queue: String,
    #[serde(default)]
    pub(crate) constraint: Constraint,
    /// Level of the constraint.
    #[serde(default)]
    pub(crate) level: u32,
    /// Domain of an earlier nomination, by name.
    #[serde(default)]
    pub(crate) nominated: Option<String>,
    pub(crate) want: Vec<Want>,
    #[serde(default)]
    pub(crate) nodes: Vec<Nodes>,
    #[serde(default)]
    pub(crate) running: Vec<Work>,
    #[serde(default)]
    pub(crate) queues: Vec<Queue>,
    #[serde(default)]
    pub(crate) budgets: Vec<Budget>,
    /// Answers that the case leaves; empty for any. To abstain is always one.
    #[serde(default)]
    pub(crate) expect: Vec<Outcome>,
    /// Codes of laws that compare answers; empty for all.
    #[serde(default)]
    pub(crate) laws: Vec<String>,
}

impl PreemptionCase {
    pub(crate) fn laws(&self) -> Vec<Law> {
        self.laws.iter().filter_map(|c| Law::parse(c)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    Consolidate,
    Reclaim,
    Preempt,
}

impl Action {
    pub(crate) fn port(self) -> port::Action {
        match self {
            Self::Consolidate => port::Action::Consolidate,
            Self::Reclaim => port::Action::Reclaim,
            Self::Preempt => port::Action::Preempt,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Constraint {
    #[default]
    None,
    Preferred,
    Required,
}

impl Constraint {
    pub(crate) fn port(self) -> port::Constraint {
        match self {
            Self::None => port::Constraint::None,
            Self::Preferred => port::Constraint::Preferred,
            Self::Required => port::Constraint::Required,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// A plan that disturbs nobody.
    Placement,
    /// Any plan.
    Plan,
    None,
}

/// One role.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Want {
    pub(crate) role: String,
    pub(crate) count: u32,
    pub(crate) min: u32,
    pub(crate) cpu: i32,
    pub(crate) memory: i32,
    pub(crate) disk: i32,
    pub(crate) network: i32,
    pub(crate) gpus: u32,
    pub(crate) gpu_milli: u32,
    pub(crate) gpu_memory: i32,
    pub(crate) gpu_models: Vec<String>,
    pub(crate) priority: i32,
}

/// Machines of one kind. One is called `name`, several `name-0`, `name-1`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Nodes {
    pub(crate) name: String,
    #[serde(default = "one")]
    pub(crate) count: u32,
    pub(crate) cpu: i32,
    #[serde(default = "memory")]
    pub(crate) memory: i32,
    #[serde(default)]
    pub(crate) disk: i32,
    #[serde(default)]
    pub(crate) network: i32,
    #[serde(default)]
    pub(crate) gpus: u32,
    #[serde(default)]
    pub(crate) gpu_model: String,
    #[serde(default)]
    pub(crate) gpu_memory: i32,
    #[serde(default)]
    pub(crate) wiring: Wiring,
    /// Slots out of order.
    #[serde(default)]
    pub(crate) broken: Vec<u32>,
    #[serde(default)]
    pub(crate) rack: String,
    /// Machines of one rack when there are several: `rack-0`, `rack-1`.
    #[serde(default)]
    pub(crate) rack_size: u32,
    #[serde(default)]
    pub(crate) zone: String,
    /// Taken by work that nobody may touch.
    #[serde(default)]
    pub(crate) used_cpu: i32,
}

fn one() -> u32 {
    1
}

fn memory() -> i32 {
    1_048_576
}

/// Running work of one kind, `each` pods on every machine of `on`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Work {
    /// Names of machines; empty for all.
    #[serde(default)]
    pub(crate) on: Vec<String>,
    #[serde(default = "one")]
    pub(crate) each: u32,
    #[serde(default)]
    pub(crate) cpu: i32,
    #[serde(default)]
    pub(crate) memory: i32,
    #[serde(default)]
    pub(crate) gpus: u32,
    #[serde(default = "whole")]
    pub(crate) gpu_milli: i32,
    /// Devices; without them the first that have room.
    #[serde(default)]
    pub(crate) slots: Vec<u32>,
    /// That many pods in a row are one group; 0 for none.
    #[serde(default)]
    pub(crate) group: usize,
    #[serde(default)]
    pub(crate) queue: String,
    #[serde(default)]
    pub(crate) budget: String,
    #[serde(default)]
    pub(crate) priority: i32,
    pub(crate) may: May,
    #[serde(default = "hour")]
    pub(crate) started_ago: u64,
    /// 0: it never published one.
    #[serde(default)]
    pub(crate) checkpoint_ago: u64,
    #[serde(default)]
    pub(crate) restart_cost: u32,
    #[serde(default)]
    pub(crate) grace: u32,
    /// Priority up to this much more, and other times, by the case's seed.
    #[serde(default)]
    pub(crate) vary: u32,
}

fn whole() -> i32 {
    1_000
}

fn hour() -> u64 {
    3_600_000
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum May {
    Nothing,
    Kill,
    Move,
    Both,
}

impl May {
    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Kill => port::MAY_KILL,
            Self::Move => port::MAY_MOVE,
            Self::Both => port::MAY_KILL | port::MAY_MOVE,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) share: u32,
    #[serde(default)]
    pub(crate) guaranteed: bool,
    #[serde(default)]
    pub(crate) lent: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Budget {
    pub(crate) name: String,
    pub(crate) allowed: u32,
}

/// # Panics
/// As [`super::scoring`].
pub(crate) fn preemption() -> PreemptionCases {
    toml::from_str(PREEMPTION)
        .unwrap_or_else(|e| panic!("wit/v0.1.0/conformance/preemption.toml: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_cases_exists() {
        for case in preemption().case {
            let queue = |q: &String| q.is_empty() || case.queues.iter().any(|o| o.name == *q);
            let budget = |b: &String| b.is_empty() || case.budgets.iter().any(|o| o.name == *b);
            assert!(queue(&case.queue), "{}", case.name);
            for work in &case.running {
                assert!(queue(&work.queue) && budget(&work.budget), "{}", case.name);
                for node in &work.on {
                    assert!(case.nodes.iter().any(|n| n.name == *node), "{node}");
                }
            }
            for law in &case.laws {
                assert!(Law::parse(law).is_some(), "{law}");
            }
            for want in &case.want {
                let devices = (want.gpus == 0) == (want.gpu_milli == 0);
                assert!(want.min <= want.count && devices, "{}", case.name);
            }
        }
    }
}
