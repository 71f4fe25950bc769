//! The policy that decides about replicas, ready to be called.

use model::policy::{PolicyId, WEIGHT_ONE};
use model::{Combine, Member, PolicyFault, PolicyKind, PolicySetSpec};

use crate::breaker::Breaker;
use crate::builtin::hpa::BuiltinHpa;
use crate::port::{AutoscalingPolicy, ScaleAnswer, ScaleRequest};
use crate::scaling::check;

/// The active autoscaling policy with its place in the host's records.
pub struct AutoscalingSet {
    /// What it is; has exactly one member.
    pub spec: PolicySetSpec,
    /// What is called.
    pub policy: Box<dyn AutoscalingPolicy>,
    /// Its record since it was installed.
    pub breaker: Breaker,
}

/// A set that cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AutoscalingSetError {
    /// Not an autoscaling set.
    #[error("this is a set of {0} policies, expected autoscaling")]
    Kind(PolicyKind),
    /// Two opinions about one number have no meaning yet.
    #[error("an autoscaling set has exactly one policy, this one has {0}")]
    Size(usize),
}

impl AutoscalingSet {
    /// A set from its description and the instance of its only member.
    ///
    /// # Errors
    /// A description that breaks a rule.
    pub fn new(
        spec: PolicySetSpec,
        policy: Box<dyn AutoscalingPolicy>,
    ) -> Result<Self, AutoscalingSetError> {
        if spec.kind != PolicyKind::Autoscaling {
            return Err(AutoscalingSetError::Kind(spec.kind));
        }
        if spec.members.len() != 1 {
            return Err(AutoscalingSetError::Size(spec.members.len()));
        }
        Ok(Self {
            spec,
            policy,
            breaker: Breaker::default(),
        })
    }

    /// The native built-in: default and fallback.
    #[must_use]
    pub fn builtin(revision: u64) -> Self {
        Self {
            spec: PolicySetSpec {
                kind: PolicyKind::Autoscaling,
                revision,
                members: vec![Member {
                    policy: PolicyId::builtin(BuiltinHpa::NAME),
                    weight: WEIGHT_ONE,
                    tier: 0,
                    settings: "{}".to_owned(),
                    fail: model::FailMode::Closed,
                }],
                combine: Combine::Weighted,
            },
            policy: Box::new(BuiltinHpa::new()),
            breaker: Breaker::default(),
        }
    }

    /// Whether it is the built-in.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.id().digest == "builtin"
    }

    /// Who decides.
    #[must_use]
    pub fn id(&self) -> &PolicyId {
        &self.spec.members[0].policy
    }

    /// Asks and checks the answer. The flag says that the set has to go.
    pub(crate) fn ask(
        &mut self,
        request: &ScaleRequest<'_>,
    ) -> Result<Option<ScaleAnswer>, (PolicyFault, bool)> {
        let answer = self
            .policy
            .scale(request)
            .and_then(|(answer, _)| answer.map(check::answer).transpose());
        match answer {
            Ok(answer) => {
                self.breaker.ok();
                Ok(answer)
            }
            Err(fault) => {
                let tripped = self.breaker.fault();
                Err((fault, tripped))
            }
        }
    }
}

impl std::fmt::Debug for AutoscalingSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}
