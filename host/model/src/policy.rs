//! Which policies decide, and how their opinions are combined.

use std::fmt;

/// The four kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyKind {
    /// Which node, which devices.
    Scoring,
    /// Who may enter, in which order.
    Admission,
    /// Who must yield.
    Preemption,
    /// How many replicas.
    Autoscaling,
}

impl PolicyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::Scoring,
        Self::Admission,
        Self::Preemption,
        Self::Autoscaling,
    ];

    /// The name used in SPECs, URLs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scoring => "scoring",
            Self::Admission => "admission",
            Self::Preemption => "preemption",
            Self::Autoscaling => "autoscaling",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == s)
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One exact policy: name, version, and the digest of its component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId {
    /// Lower-case name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// `sha256:<hex>` of the component, or `builtin`.
    pub digest: String,
}

impl PolicyId {
    /// A native built-in of this host.
    #[must_use]
    pub fn builtin(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: "builtin".to_owned(),
        }
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// Weight of 1.0.
pub const WEIGHT_ONE: u32 = 1000;

/// Largest weight, 10.0: eight members of it still add up in 33 bits.
pub const WEIGHT_MAX: u32 = 10_000;

/// Most members of one set.
pub const MEMBERS_MAX: usize = 8;

/// Most tiers of one set; three totals of 20 bits pack into one 64-bit key.
pub const TIERS_MAX: u8 = 3;

/// What an admission policy's fault means for the object under review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FailMode {
    /// It stays out until the policy answers again. The default: a gate that
    /// opens when it breaks is no gate.
    #[default]
    Closed,
    /// It enters as if the policy had abstained.
    Open,
}

impl FailMode {
    /// The name used in SPECs and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }

    /// The mode with this name.
    #[must_use]
    pub fn parse(s: &str) -> Option<Self> {
        [Self::Closed, Self::Open]
            .into_iter()
            .find(|m| m.as_str() == s)
    }
}

/// One policy's place in a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which policy.
    pub policy: PolicyId,
    /// Thousandths, 0..=[`WEIGHT_MAX`]. Only with [`Combine::Weighted`].
    pub weight: u32,
    /// 0 decides first. Only with [`Combine::Tiers`].
    pub tier: u8,
    /// Settings as JSON text.
    pub settings: String,
    /// What its fault means at the door. Only for admission.
    pub fail: FailMode,
}

/// How several scores become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// Sum of weight × score; an abstention adds nothing and is shown as such.
    Weighted,
    /// Lexicographic over tiers, plain sum inside a tier: no lower tier can
    /// overturn a higher one.
    Tiers,
}

/// What decides for one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySetSpec {
    /// Kind of all members.
    pub kind: PolicyKind,
    /// Grows with every change of this kind's set on this host.
    pub revision: u64,
    /// In order; the first that places devices wins.
    pub members: Vec<Member>,
    /// How scores combine.
    pub combine: Combine,
}
