//! The cases of the admission kind, as they are written.

use std::collections::BTreeMap;

use model::JobKind;
use model::event::Mode;
use serde::Deserialize;

const ADMISSION: &str = include_str!("../../../../wit/v0.1.0/conformance/admission.toml");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AdmissionCases {
    pub(crate) job: Vec<Job>,
    pub(crate) review: Vec<ReviewCase>,
    pub(crate) tree: Vec<Tree>,
    pub(crate) cycle: Vec<CycleCase>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) queue: String,
    pub(crate) kind: Kind,
    pub(crate) app: String,
    pub(crate) priority: i32,
    pub(crate) tier: String,
    pub(crate) image: String,
    pub(crate) run_as_root: bool,
    pub(crate) privileged: bool,
    pub(crate) seccomp: Option<String>,
    pub(crate) runtime_limit: Option<u64>,
    /// ms after the review.
    pub(crate) deadline_in: Option<u64>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) roles: Vec<Role>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    #[default]
    Batch,
    Service,
}

impl Kind {
    pub(crate) fn model(self) -> JobKind {
        match self {
            Self::Batch => JobKind::Batch,
            Self::Service => JobKind::Service,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) count: u32,
    pub(crate) min: u32,
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) disk: i64,
    pub(crate) network: i64,
    pub(crate) gpus: u32,
    pub(crate) gpu_milli: u32,
    pub(crate) gpu_memory: i64,
    pub(crate) gpu_models: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ReviewCase {
    pub(crate) name: String,
    pub(crate) job: String,
    /// What it replaces; the operation is then an update.
    #[serde(default)]
    pub(crate) old: Option<String>,
    #[serde(default)]
    pub(crate) delete: bool,
    #[serde(default)]
    pub(crate) mode: ModeName,
    #[serde(default)]
    pub(crate) caller: String,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    #[serde(default)]
    pub(crate) facts: Facts,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Facts {
    pub(crate) owner: Option<String>,
    pub(crate) tier: Option<String>,
    pub(crate) compliance: Vec<String>,
    pub(crate) image_signed_by: Vec<String>,
    pub(crate) image_age: Option<u32>,
    pub(crate) base_image_age: Option<u32>,
    pub(crate) running: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ModeName {
    #[default]
    Normal,
    Evacuation,
    Incident,
    Maintenance,
}

impl ModeName {
    pub(crate) fn model(self) -> Mode {
        match self {
            Self::Normal => Mode::Normal,
            Self::Evacuation => Mode::Evacuation,
            Self::Incident => Mode::Incident,
            Self::Maintenance => Mode::Maintenance,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Tree {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) nodes: Vec<QuotaNode>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct QuotaNode {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) parent: Option<String>,
    #[serde(default = "thousand")]
    pub(crate) weight: u32,
    #[serde(default)]
    pub(crate) critical: bool,
    #[serde(default)]
    pub(crate) lines: Vec<QuotaLine>,
}

fn thousand() -> u32 {
    1_000
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct QuotaLine {
    pub(crate) resource: Resource,
    pub(crate) nominal: i64,
    /// By the node's own jobs: the kit adds it to the nodes above.
    #[serde(default)]
    pub(crate) used: i64,
    #[serde(default)]
    pub(crate) borrowing_limit: Option<i64>,
    #[serde(default)]
    pub(crate) lending_limit: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Resource {
    Cpu,
    Memory,
    Disk,
    Network,
    Gpu,
}

impl Resource {
    pub(crate) const ALL: [Self; 5] = [
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::Network,
        Self::Gpu,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Gpu => "gpu",
        }
    }

    /// What one pod of the role counts for.
    pub(crate) fn of(self, role: &Role) -> i64 {
        match self {
            Self::Cpu => role.cpu,
            Self::Memory => role.memory,
            Self::Disk => role.disk,
            Self::Network => role.network,
            Self::Gpu => i64::from(role.gpus) * i64::from(role.gpu_milli),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct CycleCase {
    pub(crate) name: String,
    pub(crate) tree: String,
    #[serde(default)]
    pub(crate) mode: ModeName,
    /// For heads that vary.
    #[serde(default)]
    pub(crate) seed: u64,
    #[serde(default)]
    pub(crate) heads: Vec<Head>,
    /// Codes of laws; empty for all.
    #[serde(default)]
    pub(crate) laws: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) job: String,
    /// Quota nodes that pay: copies take them in turn.
    pub(crate) nodes: Vec<String>,
    #[serde(default)]
    pub(crate) priority: i32,
    #[serde(default)]
    pub(crate) waited: u64,
    #[serde(default)]
    pub(crate) attempts: u32,
    #[serde(default)]
    pub(crate) deadline_in: Option<u64>,
    #[serde(default)]
    pub(crate) expected_runtime: Option<u64>,
    #[serde(default)]
    pub(crate) attained: u64,
    pub(crate) roles: Vec<Role>,
    /// Heads like this one, each of its own job and queue; more than one vary
    /// in priority, times and numbers of pods.
    #[serde(default = "one")]
    pub(crate) copies: u32,
    /// Rulings that the contract leaves; empty for any. To abstain is always one.
    #[serde(default)]
    pub(crate) expect: Vec<RulingName>,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RulingName {
    Admit,
    AdmitPartial,
    Wait,
    Reclaim,
    Reject,
}

/// # Panics
/// As [`super::scoring`].
pub(crate) fn admission() -> AdmissionCases {
    toml::from_str(ADMISSION)
        .unwrap_or_else(|e| panic!("wit/v0.1.0/conformance/admission.toml: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::Law;

    #[test]
    fn every_name_in_the_cases_exists() {
        let cases = admission();
        let job = |name: &String| cases.job.iter().any(|j| j.name == *name);
        for review in &cases.review {
            assert!(job(&review.job), "{}", review.name);
            assert!(review.old.as_ref().is_none_or(job), "{}", review.name);
        }
        for cycle in &cases.cycle {
            let tree = cases.tree.iter().find(|t| t.name == cycle.tree);
            let tree = tree.unwrap_or_else(|| panic!("{}", cycle.name));
            for node in cycle.heads.iter().flat_map(|h| &h.nodes) {
                assert!(tree.nodes.iter().any(|n| n.name == *node), "{node}");
            }
            for law in &cycle.laws {
                assert!(Law::parse(law).is_some(), "{law}");
            }
        }
    }

    #[test]
    fn parents_come_before_their_children() {
        for tree in admission().tree {
            for (i, node) in tree.nodes.iter().enumerate() {
                let before = &tree.nodes[..i];
                let known = |p: &String| before.iter().any(|n| n.name == *p);
                assert!(node.parent.as_ref().is_none_or(known), "{}", node.name);
            }
        }
    }

    #[test]
    fn minima_are_such_as_a_host_would_ask() {
        let cases = admission();
        let of_jobs = cases.job.iter().flat_map(|j| &j.roles);
        let of_heads = cases.cycle.iter().flat_map(|c| &c.heads);
        for role in of_jobs.chain(of_heads.flat_map(|h| &h.roles)) {
            assert!(role.min <= role.count, "{}", role.name);
        }
    }
}
