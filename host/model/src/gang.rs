//! Jobs whose pods start together or not at all.

use crate::pod::PodSpec;

/// Levels of the topology, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// One machine.
    Node = 0,
    /// One rack.
    Rack = 1,
    /// One block of racks.
    Block = 2,
    /// One zone.
    Zone = 3,
}

impl Level {
    /// Every level, nearest first.
    pub const ALL: [Self; 4] = [Self::Node, Self::Rack, Self::Block, Self::Zone];

    /// Name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Rack => "rack",
            Self::Block => "block",
            Self::Zone => "zone",
        }
    }

    /// The level with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.name() == name)
    }
}

/// Identical pods of a gang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSpec {
    /// Name, unique in the gang; its pods are `<job>-<role>-<index>`.
    pub name: String,
    /// Pods wanted, at least 1.
    pub count: u32,
    /// Pods without which none starts, 1..=count. Less than `count`: elastic.
    pub min: u32,
    /// One pod.
    pub template: PodSpec,
}

/// Groups of `size` pods of a role that must each share a domain of `level`
/// (a pipeline stage in one rack, say).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Pods of one slice; must divide every role's count and min.
    pub size: u32,
    /// Where one slice must be together.
    pub level: Level,
}

/// Where the pods of a gang should be, relative to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopologySpec {
    /// Level of the domain that holds the gang.
    pub level: Level,
    /// Otherwise it is preferred.
    pub required: bool,
    /// Finer groups inside.
    pub slice: Option<Slice>,
}

/// How a gang starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GangSpec {
    /// At least one.
    pub roles: Vec<RoleSpec>,
    /// `None`: anywhere.
    pub topology: Option<TopologySpec>,
    /// Given up (job failed) when it has not started after this long, ms.
    pub timeout_ms: Option<u64>,
}

/// Most roles of one gang.
pub const ROLES_MAX: usize = 16;

/// Most pods of one gang: a gang is placed in one decision and one commit.
pub const GANG_PODS_MAX: u32 = 2_048;
