//! Policies of one kind that are asked one after the other, ready to be called.

use model::policy::{MEMBERS_MAX, PolicyId, WEIGHT_ONE};
use model::{Combine, FailMode, Member, PolicyKind, PolicySetSpec};

use crate::breaker::Breaker;
use crate::port::admission::AdmissionPolicy;
use crate::port::preemption::PreemptionPolicy;

/// One policy of a chain.
pub struct ChainMember<P: ?Sized> {
    /// Place in the set.
    pub member: Member,
    /// What is called.
    pub policy: Box<P>,
    /// Its record since it was installed.
    pub breaker: Breaker,
    /// Version of the context it has.
    pub(crate) context: u64,
}

/// Policies in order. What all of them abstain from, the native built-in
/// answers; a chain without members is the built-in alone.
pub struct Chain<P: ?Sized> {
    /// What it is.
    pub spec: PolicySetSpec,
    /// In the order of `spec.members`; empty for the built-in.
    pub members: Vec<ChainMember<P>>,
}

/// Who decides about entry, order and quota.
pub type AdmissionSet = Chain<dyn AdmissionPolicy>;

/// Who decides about victims and gangs.
pub type PreemptionSet = Chain<dyn PreemptionPolicy>;

/// A chain that cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A set of another kind.
    #[error("this is a set of {got} policies, expected {want}")]
    Kind {
        /// What it is.
        got: PolicyKind,
        /// What is needed.
        want: PolicyKind,
    },
    /// Nothing in it, or too much.
    #[error("a set has 1 to {MEMBERS_MAX} policies, this one has {0}")]
    Size(usize),
    /// As many instances as members are needed.
    #[error("{instances} instances for {members} policies")]
    Instances {
        /// Instances given.
        instances: usize,
        /// Members of the spec.
        members: usize,
    },
}

impl<P: ?Sized> Chain<P> {
    fn of_kind(
        want: PolicyKind,
        spec: PolicySetSpec,
        instances: Vec<Box<P>>,
    ) -> Result<Self, ChainError> {
        if spec.kind != want {
            let got = spec.kind;
            return Err(ChainError::Kind { got, want });
        }
        if spec.members.is_empty() || spec.members.len() > MEMBERS_MAX {
            return Err(ChainError::Size(spec.members.len()));
        }
        if spec.members.len() != instances.len() {
            return Err(ChainError::Instances {
                instances: instances.len(),
                members: spec.members.len(),
            });
        }
        let members = spec.members.iter().cloned().zip(instances);
        let members = members
            .map(|(member, policy)| ChainMember {
                member,
                policy,
                breaker: Breaker::default(),
                context: u64::MAX,
            })
            .collect();
        Ok(Self { spec, members })
    }

    fn native(kind: PolicyKind, name: &str, revision: u64) -> Self {
        Self {
            spec: PolicySetSpec {
                kind,
                revision,
                members: vec![Member {
                    policy: PolicyId::builtin(name),
                    weight: WEIGHT_ONE,
                    tier: 0,
                    settings: "{}".to_owned(),
                    fail: FailMode::Closed,
                }],
                combine: Combine::Weighted,
            },
            members: Vec::new(),
        }
    }

    /// Whether it is the built-in alone.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.members.is_empty()
    }
}

impl AdmissionSet {
    /// Name of the native built-in.
    pub const BUILTIN: &'static str = "quota";

    /// A set from its description and one instance a member, in order.
    ///
    /// # Errors
    /// A description that breaks a bound.
    pub fn new(
        spec: PolicySetSpec,
        instances: Vec<Box<dyn AdmissionPolicy>>,
    ) -> Result<Self, ChainError> {
        Self::of_kind(PolicyKind::Admission, spec, instances)
    }

    /// The native built-in alone: default, fallback and oracle.
    #[must_use]
    pub fn builtin(revision: u64) -> Self {
        Self::native(PolicyKind::Admission, Self::BUILTIN, revision)
    }
}

impl PreemptionSet {
    /// Name of the native built-in.
    pub const BUILTIN: &'static str = "priority";

    /// A set from its description and one instance a member, in order.
    ///
    /// # Errors
    /// A description that breaks a bound.
    pub fn new(
        spec: PolicySetSpec,
        instances: Vec<Box<dyn PreemptionPolicy>>,
    ) -> Result<Self, ChainError> {
        Self::of_kind(PolicyKind::Preemption, spec, instances)
    }

    /// The native built-in alone: default, fallback and oracle.
    #[must_use]
    pub fn builtin(revision: u64) -> Self {
        Self::native(PolicyKind::Preemption, Self::BUILTIN, revision)
    }
}

impl<P: ?Sized> std::fmt::Debug for Chain<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}
