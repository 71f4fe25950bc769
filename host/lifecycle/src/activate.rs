//! From a request to a set that can decide, made off the decision thread: the
//! core only moves it into place.

use std::sync::Arc;

use engine::port::{AutoscalingPolicy, ScoringPolicy};
use engine::scaling::{AutoscalingSet, AutoscalingSetError};
use engine::{ScoringSet, SetError};
use model::policy::MEMBERS_MAX;
use model::{Combine, Member, PolicyId, PolicyKind, PolicySetSpec};
use sandbox::{Prepared, StartError};

use crate::builtin;
use crate::registry::{PlanError, Registry};
use crate::resolve::{MemberRef, ResolveError};
use crate::schema::{SchemaError, SettingsProblem, SettingsSchema};
use crate::upload::Class;
use crate::workshop::{LoadError, Workshop};

/// One member that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRequest {
    /// Which policy.
    pub policy: MemberRef,
    /// Thousandths.
    pub weight: u32,
    /// 0 decides first.
    pub tier: u8,
    /// JSON text; none for the policy's defaults.
    pub settings: Option<String>,
}

/// The set that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySetRequest {
    /// Kind of all members.
    pub kind: PolicyKind,
    /// In order.
    pub members: Vec<MemberRequest>,
    /// How scores combine.
    pub combine: Combine,
    /// Revision of the hook that the request was made for; none for "as it is
    /// when the request is looked at".
    pub if_revision: Option<u64>,
}

/// A set of any served kind, instantiated.
#[derive(Debug)]
pub enum Set {
    /// For `Engine::install_scoring`.
    Scoring(ScoringSet),
    /// For `Engine::install_autoscaling`.
    Autoscaling(AutoscalingSet),
}

impl Set {
    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &PolicySetSpec {
        match self {
            Self::Scoring(set) => &set.spec,
            Self::Autoscaling(set) => &set.spec,
        }
    }

    /// The built-in set of a kind.
    ///
    /// # Errors
    /// A kind that is not served.
    pub fn builtin(kind: PolicyKind, revision: u64) -> Result<Self, PlanError> {
        match kind {
            PolicyKind::Scoring => Ok(Self::Scoring(ScoringSet::builtin(revision))),
            PolicyKind::Autoscaling => Ok(Self::Autoscaling(AutoscalingSet::builtin(revision))),
            PolicyKind::Admission | PolicyKind::Preemption => Err(PlanError::KindNotServed(kind)),
        }
    }
}

/// A set that waits for its turn. Hand it to [`Registry::plan_activate`],
/// journal and apply the plan, then install `set`.
#[derive(Debug)]
pub struct ReadySet {
    /// Revision of the hook it was made for.
    pub made_for: u64,
    /// What will decide; its revision is the one the hook will have.
    pub set: Set,
}

/// Why there is no set. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// In conflict with what the host has.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Nothing in it, or too much.
    #[error("a set has 1 to {MEMBERS_MAX} policies, this one has {0}")]
    Size(usize),
    /// A policy that is not there or not usable.
    #[error("member {index}: {source}")]
    Resolve {
        /// Place in the request.
        index: usize,
        /// Cause.
        #[source]
        source: ResolveError,
    },
    /// Settings that its schema refuses.
    #[error("settings of {policy}: {}", all(.problems))]
    Settings {
        /// Which policy.
        policy: PolicyId,
        /// Place in the request.
        index: usize,
        /// At least one.
        problems: Vec<SettingsProblem>,
    },
    /// Its schema, which was accepted at the upload, is not any more.
    #[error("{policy}: {source}")]
    Schema {
        /// Which policy.
        policy: PolicyId,
        /// Cause.
        #[source]
        source: Box<SchemaError>,
    },
    /// Its bytes or machine code cannot be had.
    #[error("{policy} cannot be loaded: {source}")]
    Load {
        /// Which policy.
        policy: PolicyId,
        /// Cause.
        #[source]
        source: Box<LoadError>,
    },
    /// It does not start, or refuses its settings itself.
    #[error("{policy} does not start: {source}")]
    Start {
        /// Which policy.
        policy: PolicyId,
        /// Cause.
        #[source]
        source: Box<StartError>,
    },
    /// The members do not make a scoring set.
    #[error(transparent)]
    Scoring(#[from] SetError),
    /// The members do not make an autoscaling set.
    #[error(transparent)]
    Autoscaling(#[from] AutoscalingSetError),
}

fn all(problems: &[SettingsProblem]) -> String {
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl ActivateError {
    /// Stable code for APIs, metrics and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Plan(plan) => plan.code(),
            Self::Size(_) => "BadSetSize",
            Self::Resolve { source, .. } => match source {
                ResolveError::Unknown { .. } => "UnknownPolicy",
                ResolveError::OtherKind { .. } => "WrongKind",
                ResolveError::NotUsable { .. } => "PolicyNotUsable",
            },
            Self::Settings { .. } => "BadSettings",
            Self::Schema { .. } => "BadSettingsSchema",
            Self::Load { .. } => "PolicyNotLoaded",
            Self::Start { .. } => "PolicyNotStarted",
            Self::Scoring(_) | Self::Autoscaling(_) => "BadSet",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Plan(PlanError::Illegal(_)) | Self::Load { .. } => Class::Host,
            Self::Plan(PlanError::KindNotServed(_)) => Class::Unacceptable,
            Self::Plan(_) => Class::Conflict,
            Self::Size(_)
            | Self::Resolve { .. }
            | Self::Settings { .. }
            | Self::Schema { .. }
            | Self::Start { .. }
            | Self::Scoring(_)
            | Self::Autoscaling(_) => Class::Unacceptable,
        }
    }
}

impl Workshop {
    /// Makes the set of a request ready: resolves, checks settings, loads,
    /// starts one instance a member. `registry` is any recent copy; the revision
    /// is checked again when the set is planned. Never on the thread that
    /// decides.
    ///
    /// # Errors
    /// The first reason why it cannot decide.
    pub fn activate(
        &self,
        request: &PolicySetRequest,
        registry: &Registry,
    ) -> Result<ReadySet, ActivateError> {
        let kind = request.kind;
        let hook = registry.hook(kind)?;
        if let Some(expected) = request.if_revision.filter(|r| *r != hook.revision) {
            return Err(ActivateError::Plan(PlanError::Stale {
                kind,
                expected,
                current: hook.revision,
            }));
        }
        let count = request.members.len();
        if count == 0 || count > MEMBERS_MAX {
            return Err(ActivateError::Size(count));
        }
        let mut members = Vec::with_capacity(count);
        for (index, asked) in request.members.iter().enumerate() {
            let policy = registry
                .resolve(kind, &asked.policy)
                .map_err(|source| ActivateError::Resolve { index, source })?;
            let schema = self.settings_schema(kind, &policy, registry)?;
            let settings = asked.settings.as_deref().unwrap_or(schema.defaults());
            let settings = schema
                .check(settings)
                .map_err(|problems| ActivateError::Settings {
                    policy: policy.clone(),
                    index,
                    problems,
                })?;
            members.push(Member {
                policy,
                weight: asked.weight,
                tier: asked.tier,
                settings,
                fail: model::FailMode::Closed,
            });
        }
        let spec = PolicySetSpec {
            kind,
            revision: hook.revision + 1,
            members,
            combine: request.combine,
        };
        Ok(ReadySet {
            made_for: hook.revision,
            set: self.instantiate(spec, registry)?,
        })
    }

    fn settings_schema(
        &self,
        kind: PolicyKind,
        policy: &PolicyId,
        registry: &Registry,
    ) -> Result<SettingsSchema, ActivateError> {
        let text = match registry.get(&policy.digest) {
            Some(record) => record.settings_schema.clone(),
            None => builtin::settings_schema(kind, &policy.name)
                .ok_or_else(|| PlanError::Unregistered(policy.clone()))?,
        };
        SettingsSchema::new(&text).map_err(|source| ActivateError::Schema {
            policy: policy.clone(),
            source: Box::new(source),
        })
    }

    /// The set of a spec with fresh instances. Settings are those of the spec.
    pub(crate) fn instantiate(
        &self,
        spec: PolicySetSpec,
        registry: &Registry,
    ) -> Result<Set, ActivateError> {
        match spec.kind {
            PolicyKind::Scoring => {
                let members = spec.members.iter();
                let instances: Result<Vec<_>, _> =
                    members.map(|m| self.scoring(m, registry)).collect();
                Ok(Set::Scoring(ScoringSet::new(spec, instances?)?))
            }
            PolicyKind::Autoscaling => {
                let [member] = spec.members.as_slice() else {
                    return Err(AutoscalingSetError::Size(spec.members.len()).into());
                };
                let instance = self.autoscaling(member, registry)?;
                Ok(Set::Autoscaling(AutoscalingSet::new(spec, instance)?))
            }
            kind @ (PolicyKind::Admission | PolicyKind::Preemption) => {
                Err(PlanError::KindNotServed(kind).into())
            }
        }
    }

    fn scoring(
        &self,
        member: &Member,
        registry: &Registry,
    ) -> Result<Box<dyn ScoringPolicy>, ActivateError> {
        let policy = &member.policy;
        if policy.digest == builtin::DIGEST {
            return builtin::scoring(&policy.name)
                .ok_or_else(|| PlanError::Unregistered(policy.clone()).into());
        }
        let prepared = self.member(policy, registry)?;
        let limits = prepared.profile().run();
        prepared
            .scoring(&member.settings, limits)
            .map_err(|source| ActivateError::Start {
                policy: policy.clone(),
                source: Box::new(source),
            })
    }

    fn autoscaling(
        &self,
        member: &Member,
        registry: &Registry,
    ) -> Result<Box<dyn AutoscalingPolicy>, ActivateError> {
        let policy = &member.policy;
        if policy.digest == builtin::DIGEST {
            return builtin::autoscaling(&policy.name)
                .ok_or_else(|| PlanError::Unregistered(policy.clone()).into());
        }
        let prepared = self.member(policy, registry)?;
        let limits = prepared.profile().run();
        prepared
            .autoscaling(&member.settings, limits)
            .map_err(|source| ActivateError::Start {
                policy: policy.clone(),
                source: Box::new(source),
            })
    }

    fn member(
        &self,
        policy: &PolicyId,
        registry: &Registry,
    ) -> Result<Arc<Prepared>, ActivateError> {
        let record = registry
            .get(&policy.digest)
            .ok_or_else(|| PlanError::Unregistered(policy.clone()))?;
        self.prepared(record).map_err(|source| ActivateError::Load {
            policy: policy.clone(),
            source: Box::new(source),
        })
    }
}
