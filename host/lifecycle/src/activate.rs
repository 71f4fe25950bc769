//! From a request to a set that can decide, made off the decision thread: the
//! core only moves it into place.

use std::sync::Arc;

use engine::scaling::{AutoscalingSet, AutoscalingSetError};
use engine::{AdmissionSet, ChainError, PreemptionSet, ScoringSet, SetError};
use model::policy::MEMBERS_MAX;
use model::{Combine, FailMode, Member, PolicyId, PolicyKind, PolicySetSpec};
use sandbox::{Prepared, RunLimits, StartError};

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
    /// What its fault means at the door. Only for admission.
    pub fail: FailMode,
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

/// A set of any kind, instantiated.
#[derive(Debug)]
pub enum Set {
    /// For `Engine::install_scoring`.
    Scoring(ScoringSet),
    /// For `Engine::install_admission`.
    Admission(AdmissionSet),
    /// For `Engine::install_preemption`.
    Preemption(PreemptionSet),
    /// For `Engine::install_autoscaling`.
    Autoscaling(AutoscalingSet),
}

impl Set {
    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &PolicySetSpec {
        match self {
            Self::Scoring(set) => &set.spec,
            Self::Admission(set) => &set.spec,
            Self::Preemption(set) => &set.spec,
            Self::Autoscaling(set) => &set.spec,
        }
    }

    /// The built-in set of a kind.
    #[must_use]
    pub fn builtin(kind: PolicyKind, revision: u64) -> Self {
        match kind {
            PolicyKind::Scoring => Self::Scoring(ScoringSet::builtin(revision)),
            PolicyKind::Admission => Self::Admission(AdmissionSet::builtin(revision)),
            PolicyKind::Preemption => Self::Preemption(PreemptionSet::builtin(revision)),
            PolicyKind::Autoscaling => Self::Autoscaling(AutoscalingSet::builtin(revision)),
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
    /// The built-in beside other members of a chain.
    #[error(
        "builtin:{name} answers whatever the other {kind} policies leave open; list it alone, or not at all"
    )]
    BuiltinInChain {
        /// Kind of the set.
        kind: PolicyKind,
        /// The built-in.
        name: String,
    },
    /// A fail mode where there is no door.
    #[error("fail: open is for admission; after a fault of a {kind} policy the built-in answers")]
    FailMode {
        /// Kind of the set.
        kind: PolicyKind,
    },
    /// The members do not make a chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
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
            Self::BuiltinInChain { .. }
            | Self::FailMode { .. }
            | Self::Chain(_)
            | Self::Scoring(_)
            | Self::Autoscaling(_) => "BadSet",
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
            | Self::BuiltinInChain { .. }
            | Self::FailMode { .. }
            | Self::Chain(_)
            | Self::Scoring(_)
            | Self::Autoscaling(_) => Class::Unacceptable,
        }
    }
}

/// Puts a prepared component behind one of the ports.
type Start<P> = fn(&Arc<Prepared>, &str, RunLimits) -> Result<Box<P>, StartError>;

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
        let opens = |m: &MemberRequest| m.fail == FailMode::Open;
        if kind != PolicyKind::Admission && request.members.iter().any(opens) {
            return Err(ActivateError::FailMode { kind });
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
                fail: asked.fail,
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
                let make = |m| self.instance(m, registry, builtin::scoring, Prepared::scoring);
                let instances: Result<Vec<_>, _> = spec.members.iter().map(make).collect();
                Ok(Set::Scoring(ScoringSet::new(spec, instances?)?))
            }
            PolicyKind::Admission => Ok(Set::Admission(
                match self.chain(&spec, registry, AdmissionSet::BUILTIN, Prepared::admission)? {
                    Some(instances) => AdmissionSet::new(spec, instances)?,
                    None => AdmissionSet {
                        spec,
                        ..AdmissionSet::builtin(0)
                    },
                },
            )),
            PolicyKind::Preemption => Ok(Set::Preemption(
                match self.chain(
                    &spec,
                    registry,
                    PreemptionSet::BUILTIN,
                    Prepared::preemption,
                )? {
                    Some(instances) => PreemptionSet::new(spec, instances)?,
                    None => PreemptionSet {
                        spec,
                        ..PreemptionSet::builtin(0)
                    },
                },
            )),
            PolicyKind::Autoscaling => {
                let [member] = spec.members.as_slice() else {
                    return Err(AutoscalingSetError::Size(spec.members.len()).into());
                };
                let native = builtin::autoscaling;
                let instance = self.instance(member, registry, native, Prepared::autoscaling)?;
                Ok(Set::Autoscaling(AutoscalingSet::new(spec, instance)?))
            }
        }
    }

    /// One instance a member of a chain; `None` for the built-in alone, which is
    /// in the engine and has none.
    fn chain<P: ?Sized>(
        &self,
        spec: &PolicySetSpec,
        registry: &Registry,
        builtin: &str,
        start: Start<P>,
    ) -> Result<Option<Vec<Box<P>>>, ActivateError> {
        if let [only] = spec.members.as_slice()
            && only.policy.digest == builtin::DIGEST
            && only.policy.name == builtin
        {
            return Ok(None);
        }
        let native = |m: &&Member| m.policy.digest == builtin::DIGEST;
        if let Some(native) = spec.members.iter().find(native) {
            return Err(ActivateError::BuiltinInChain {
                kind: spec.kind,
                name: native.policy.name.clone(),
            });
        }
        let make = |m| self.instance(m, registry, |_| None, start);
        spec.members
            .iter()
            .map(make)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn instance<P: ?Sized>(
        &self,
        member: &Member,
        registry: &Registry,
        native: fn(&str) -> Option<Box<P>>,
        start: Start<P>,
    ) -> Result<Box<P>, ActivateError> {
        let policy = &member.policy;
        if policy.digest == builtin::DIGEST {
            return native(&policy.name)
                .ok_or_else(|| PlanError::Unregistered(policy.clone()).into());
        }
        let prepared = self.member(policy, registry)?;
        let limits = prepared.profile().run();
        start(&prepared, &member.settings, limits).map_err(|source| ActivateError::Start {
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
