//! The policies that decide about placement, ready to be called.

use model::decision::ABSTAIN;
use model::policy::{MEMBERS_MAX, PolicyId, TIERS_MAX, WEIGHT_MAX, WEIGHT_ONE};
use model::{Combine, Member, PolicyKind, PolicySetSpec};

use crate::breaker::Breaker;
use crate::builtin::binpack::BuiltinBinpack;
use crate::port::{Column, ScoringPolicy};

/// Best score a policy can give.
pub const SCORE_MAX: i32 = 100_000;

/// A policy refuses the node.
pub const REFUSE: i32 = -1;

/// Total of a row that cannot win.
pub(crate) const NO_TOTAL: i64 = i64::MIN;

/// One member with its instance.
pub struct ActiveMember {
    /// Place in the set.
    pub member: Member,
    /// What is called.
    pub policy: Box<dyn ScoringPolicy>,
    /// Its record since it was installed.
    pub breaker: Breaker,
    pub(crate) context: u64,
}

/// A set of scoring policies that can be installed by moving one value.
pub struct ScoringSet {
    /// What it is.
    pub spec: PolicySetSpec,
    /// In the order of `spec.members`.
    pub members: Vec<ActiveMember>,
}

/// A set that cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Not a scoring set.
    #[error("this is a set of {0} policies, expected scoring")]
    Kind(PolicyKind),
    /// Nothing in it, or too much.
    #[error("a set has 1 to {MEMBERS_MAX} policies, this one has {0}")]
    Size(usize),
    /// Weight out of bounds.
    #[error("weight {weight} of {policy} is not between 0 and {WEIGHT_MAX} thousandths")]
    Weight {
        /// Which member.
        policy: PolicyId,
        /// What it was.
        weight: u32,
    },
    /// Tier out of bounds.
    #[error("tier {tier} of {policy}: tiers go from 0 to {}", TIERS_MAX - 1)]
    Tier {
        /// Which member.
        policy: PolicyId,
        /// What it was.
        tier: u8,
    },
    /// As many instances as members are needed.
    #[error("{instances} instances for {members} policies")]
    Instances {
        /// Instances given.
        instances: usize,
        /// Members of the spec.
        members: usize,
    },
}

impl ScoringSet {
    /// A set from its description and one instance a member, in order.
    ///
    /// # Errors
    /// A description that breaks a bound.
    pub fn new(
        spec: PolicySetSpec,
        instances: Vec<Box<dyn ScoringPolicy>>,
    ) -> Result<Self, SetError> {
        if spec.kind != PolicyKind::Scoring {
            return Err(SetError::Kind(spec.kind));
        }
        if spec.members.is_empty() || spec.members.len() > MEMBERS_MAX {
            return Err(SetError::Size(spec.members.len()));
        }
        if spec.members.len() != instances.len() {
            return Err(SetError::Instances {
                instances: instances.len(),
                members: spec.members.len(),
            });
        }
        for m in &spec.members {
            if m.weight > WEIGHT_MAX {
                return Err(SetError::Weight {
                    policy: m.policy.clone(),
                    weight: m.weight,
                });
            }
            if m.tier >= TIERS_MAX {
                return Err(SetError::Tier {
                    policy: m.policy.clone(),
                    tier: m.tier,
                });
            }
        }
        let members = spec
            .members
            .iter()
            .cloned()
            .zip(instances)
            .map(|(member, policy)| ActiveMember {
                member,
                policy,
                breaker: Breaker::default(),
                context: u64::MAX,
            })
            .collect();
        Ok(Self { spec, members })
    }

    /// The native built-in alone: default, fallback and oracle.
    #[must_use]
    pub fn builtin(revision: u64) -> Self {
        let member = Member {
            policy: PolicyId::builtin("binpack"),
            weight: WEIGHT_ONE,
            tier: 0,
            settings: "{}".to_owned(),
            fail: model::FailMode::Closed,
        };
        Self {
            spec: PolicySetSpec {
                kind: PolicyKind::Scoring,
                revision,
                members: vec![member.clone()],
                combine: Combine::Weighted,
            },
            members: vec![ActiveMember {
                member,
                policy: Box::new(BuiltinBinpack::new()),
                breaker: Breaker::default(),
                context: u64::MAX,
            }],
        }
    }

    /// Whether it is the built-in set.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.members
            .iter()
            .all(|m| m.member.policy.digest == "builtin")
    }

    pub(crate) fn reads_peers(&self) -> bool {
        let reads = |c: &Column| c.is_derived();
        self.members
            .iter()
            .any(|m| m.policy.description().columns.iter().any(reads))
    }

    pub(crate) fn reads_zone_peers(&self) -> bool {
        self.members.iter().any(|m| {
            m.policy
                .description()
                .columns
                .contains(&Column::PeersInZone)
        })
    }

    /// Combined key of one row, leaving out member `without`.
    pub(crate) fn total(&self, score: impl Fn(usize) -> i32, without: Option<usize>) -> i64 {
        let mut tiers = [0i64; TIERS_MAX as usize];
        let mut sum = 0i64;
        for (i, m) in self.members.iter().enumerate() {
            let s = score(i);
            if s == ABSTAIN || without == Some(i) {
                continue;
            }
            sum += i64::from(m.member.weight) * i64::from(s);
            tiers[usize::from(m.member.tier)] += i64::from(s);
        }
        match self.spec.combine {
            Combine::Weighted => sum,
            Combine::Tiers => tiers
                .iter()
                .fold(0, |key, t| key << 20 | (*t).clamp(0, (1 << 20) - 1)),
        }
    }
}

impl std::fmt::Debug for ScoringSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}
