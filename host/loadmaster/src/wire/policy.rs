//! Policies and the sets they form.

use conformance::Verdict;
use lifecycle::{HookRecord, PolicyRecord};
use model::PolicySetSpec;
use sandbox::Profile;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Invalid;
use super::quantity::Factor;
use super::time::Time;

/// One of the four kinds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "the kinds are explained in `model::PolicyKind`"
)]
pub enum PolicyKind {
    Scoring,
    Admission,
    Preemption,
    Autoscaling,
}

impl From<model::PolicyKind> for PolicyKind {
    fn from(k: model::PolicyKind) -> Self {
        match k {
            model::PolicyKind::Scoring => Self::Scoring,
            model::PolicyKind::Admission => Self::Admission,
            model::PolicyKind::Preemption => Self::Preemption,
            model::PolicyKind::Autoscaling => Self::Autoscaling,
        }
    }
}

impl From<PolicyKind> for model::PolicyKind {
    fn from(k: PolicyKind) -> Self {
        match k {
            PolicyKind::Scoring => Self::Scoring,
            PolicyKind::Admission => Self::Admission,
            PolicyKind::Preemption => Self::Preemption,
            PolicyKind::Autoscaling => Self::Autoscaling,
        }
    }
}

/// One exact policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyId {
    /// Name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// `sha256:<hex>` of the component, or `builtin`.
    pub digest: String,
}

impl From<&model::PolicyId> for PolicyId {
    fn from(p: &model::PolicyId) -> Self {
        Self {
            name: p.name.clone(),
            version: p.version.clone(),
            digest: p.digest.clone(),
        }
    }
}

impl From<PolicyId> for model::PolicyId {
    fn from(p: PolicyId) -> Self {
        Self {
            name: p.name,
            version: p.version,
            digest: p.digest,
        }
    }
}

/// How several scores become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Sum of weight × score.
    #[default]
    Weighted,
    /// A lower tier decides only between nodes that are equal in the higher ones.
    Tiers,
}

/// A policy and its place in the active set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Which policy.
    pub policy: PolicyId,
    /// Weight, with `weighted`.
    pub weight: Factor,
    /// Tier from 0, with `tiers`.
    #[serde(default)]
    pub tier: u8,
    /// Settings.
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
    /// What its fault means at the door; only for admission.
    #[serde(default)]
    pub fail: Fail,
}

/// What an admission policy's fault means for the object under review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fail {
    /// It stays out.
    #[default]
    Closed,
    /// It enters.
    Open,
}

impl From<model::FailMode> for Fail {
    fn from(f: model::FailMode) -> Self {
        match f {
            model::FailMode::Closed => Self::Closed,
            model::FailMode::Open => Self::Open,
        }
    }
}

impl From<Fail> for model::FailMode {
    fn from(f: Fail) -> Self {
        match f {
            Fail::Closed => Self::Closed,
            Fail::Open => Self::Open,
        }
    }
}

/// What decides for one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySet {
    /// Kind.
    pub kind: PolicyKind,
    /// Grows with every change on this host; 0 is the built-in it began with.
    pub revision: u64,
    /// How scores combine.
    pub combine: Combine,
    /// In order; the first that places devices wins.
    pub members: Vec<Member>,
}

impl From<&PolicySetSpec> for PolicySet {
    fn from(s: &PolicySetSpec) -> Self {
        Self {
            kind: s.kind.into(),
            revision: s.revision,
            combine: match s.combine {
                model::Combine::Weighted => Combine::Weighted,
                model::Combine::Tiers => Combine::Tiers,
            },
            members: s
                .members
                .iter()
                .map(|m| Member {
                    policy: (&m.policy).into(),
                    weight: Factor(m.weight),
                    tier: m.tier,
                    // Settings are checked to be JSON before a set is made.
                    settings: serde_json::from_str(&m.settings).unwrap_or_default(),
                    fail: m.fail.into(),
                })
                .collect(),
        }
    }
}

impl From<PolicySet> for PolicySetSpec {
    fn from(s: PolicySet) -> Self {
        Self {
            kind: s.kind.into(),
            revision: s.revision,
            combine: match s.combine {
                Combine::Weighted => model::Combine::Weighted,
                Combine::Tiers => model::Combine::Tiers,
            },
            members: s
                .members
                .into_iter()
                .map(|m| model::Member {
                    policy: m.policy.into(),
                    weight: m.weight.0,
                    tier: m.tier,
                    settings: m.settings.to_string(),
                    fail: m.fail.into(),
                })
                .collect(),
        }
    }
}

/// One policy of a set somebody wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberRequest {
    /// `name`, `name@version`, `sha256:<hex>` or `builtin:name`.
    pub policy: String,
    /// Weight; 1 when left out.
    #[serde(default = "full")]
    pub weight: Factor,
    /// Tier; 0 when left out.
    #[serde(default)]
    pub tier: u8,
    /// Settings; the policy's defaults when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub settings: Option<serde_json::Value>,
    /// What its fault means at the door, closed when left out; only for
    /// admission.
    #[serde(default)]
    pub fail: Fail,
}

fn full() -> Factor {
    Factor(model::policy::WEIGHT_ONE)
}

/// The set somebody wants to decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookRequest {
    /// How scores combine; weighted when left out.
    #[serde(default)]
    pub combine: Combine,
    /// In order; the first that places devices wins.
    pub policies: Vec<MemberRequest>,
    /// Why, for the journal.
    #[serde(default)]
    pub reason: String,
}

impl HookRequest {
    /// As the lifecycle takes it.
    ///
    /// # Errors
    /// Text that names no policy.
    pub fn request(
        self,
        kind: PolicyKind,
        if_revision: Option<u64>,
    ) -> Result<lifecycle::PolicySetRequest, Invalid> {
        let members = self.policies.into_iter().enumerate().map(|(i, m)| {
            Ok(lifecycle::MemberRequest {
                policy: lifecycle::MemberRef::parse(&m.policy)
                    .map_err(|e| Invalid::at(format!("/policies/{i}/policy"), e))?,
                weight: m.weight.0,
                tier: m.tier,
                settings: m.settings.map(|s| s.to_string()),
                fail: m.fail.into(),
            })
        });
        Ok(lifecycle::PolicySetRequest {
            kind: kind.into(),
            members: members.collect::<Result<_, Invalid>>()?,
            combine: match self.combine {
                Combine::Weighted => model::Combine::Weighted,
                Combine::Tiers => model::Combine::Tiers,
            },
            if_revision,
        })
    }
}

/// What decides for one kind, and what a rollback would bring back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Kind.
    pub kind: PolicyKind,
    /// Grows with every change, also a rollback; the ETag.
    pub revision: u64,
    /// Decides now.
    pub active: PolicySet,
    /// Stays instantiated for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PolicySet>,
    /// Changed last; 1970 for never.
    pub changed: Time,
    /// Why it was changed last.
    pub reason: String,
    /// Why the built-in decides instead of `active`, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
}

impl From<&HookRecord> for Hook {
    fn from(h: &HookRecord) -> Self {
        Self {
            kind: h.kind.into(),
            revision: h.revision,
            active: (&h.active).into(),
            previous: h.previous.as_ref().map(Into::into),
            changed: Time(h.changed_at_ms),
            reason: h.reason.clone(),
            degraded: None,
        }
    }
}

impl From<Hook> for HookRecord {
    fn from(h: Hook) -> Self {
        Self {
            kind: h.kind.into(),
            revision: h.revision,
            active: h.active.into(),
            previous: h.previous.map(Into::into),
            changed_at_ms: h.changed.0,
            reason: h.reason,
        }
    }
}

/// One law of the contract on one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LawCheck {
    /// Law.
    pub law: String,
    /// Case.
    pub case: String,
    /// `pass`, `fail` or `not-run`.
    pub verdict: String,
    /// How it failed, or why it was not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How a policy kept the contract's laws.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Conformance {
    /// Version of the kit that looked.
    pub kit_version: String,
    /// Version of its cases.
    pub wit_version: String,
    /// In the order in which they ran.
    pub checks: Vec<LawCheck>,
    /// Most fuel of one call.
    pub fuel_max: u64,
}

/// A policy this host has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// Kind.
    pub kind: PolicyKind,
    /// Version of the contract it was built for.
    pub contract: String,
    /// `standard` or `interpreter`: the limits it runs under.
    pub profile: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its settings.
    pub settings_schema: String,
    /// Columns it reads.
    pub columns: Vec<String>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Size of the component.
    pub bytes: u64,
    /// When it came.
    pub uploaded: Time,
    /// Who sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploader: Option<String>,
    /// `conformant`, `active`, `previous` or `retired`.
    pub state: String,
    /// How it kept the contract's laws.
    pub conformance: Conformance,
}

impl From<&PolicyRecord> for Policy {
    fn from(p: &PolicyRecord) -> Self {
        Self {
            name: p.id.name.clone(),
            version: p.id.version.clone(),
            digest: p.id.digest.clone(),
            kind: p.kind.into(),
            contract: p.contract.clone(),
            profile: match p.profile {
                Profile::Standard => "standard",
                Profile::Interpreter => "interpreter",
            }
            .to_owned(),
            summary: p.summary.clone(),
            settings_schema: p.settings_schema.clone(),
            columns: p.columns.clone(),
            capabilities: p.capabilities.clone(),
            bytes: p.size,
            uploaded: Time(p.uploaded_at_ms),
            uploader: p.uploader.clone(),
            state: p.state.as_str().to_owned(),
            conformance: Conformance {
                kit_version: p.report.kit_version.clone(),
                wit_version: p.report.wit_version.clone(),
                checks: p.report.checks.iter().map(check).collect(),
                fuel_max: p.report.fuel_max,
            },
        }
    }
}

fn check(c: &conformance::Check) -> LawCheck {
    let (verdict, detail) = match &c.verdict {
        Verdict::Pass => ("pass", ""),
        Verdict::Fail { detail } => ("fail", detail.as_str()),
        Verdict::NotRun { because } => ("not-run", because.as_str()),
    };
    LawCheck {
        law: c.law.code().to_owned(),
        case: c.case.clone(),
        verdict: verdict.to_owned(),
        detail: detail.to_owned(),
    }
}

impl TryFrom<Policy> for PolicyRecord {
    type Error = Invalid;

    fn try_from(p: Policy) -> Result<Self, Invalid> {
        let unknown = |pointer: &str, text: &str| {
            Invalid::at(
                pointer,
                format!("{text:?} is not known to this version of the host"),
            )
        };
        let checks = p.conformance.checks.into_iter().enumerate().map(|(i, c)| {
            let pointer = format!("/conformance/checks/{i}");
            Ok(conformance::Check {
                law: conformance::Law::parse(&c.law).ok_or_else(|| unknown(&pointer, &c.law))?,
                case: c.case,
                verdict: match c.verdict.as_str() {
                    "pass" => Verdict::Pass,
                    "fail" => Verdict::Fail { detail: c.detail },
                    "not-run" => Verdict::NotRun { because: c.detail },
                    other => return Err(unknown(&pointer, other)),
                },
            })
        });
        Ok(Self {
            kind: p.kind.into(),
            contract: p.contract,
            profile: match p.profile.as_str() {
                "standard" => Profile::Standard,
                "interpreter" => Profile::Interpreter,
                other => return Err(unknown("/profile", other)),
            },
            summary: p.summary,
            settings_schema: p.settings_schema,
            columns: p.columns,
            capabilities: p.capabilities,
            size: p.bytes,
            uploaded_at_ms: p.uploaded.0,
            uploader: p.uploader,
            state: lifecycle::State::parse(&p.state).ok_or_else(|| unknown("/state", &p.state))?,
            report: conformance::Report {
                kit_version: p.conformance.kit_version,
                wit_version: p.conformance.wit_version,
                checks: checks.collect::<Result<_, Invalid>>()?,
                fuel_max: p.conformance.fuel_max,
            },
            id: model::PolicyId {
                name: p.name,
                version: p.version,
                digest: p.digest,
            },
        })
    }
}

/// One step of a policy's life, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// Digest.
    pub policy: String,
    /// From.
    pub from: String,
    /// To.
    pub to: String,
    /// When.
    pub at: Time,
    /// Why.
    pub reason: String,
}

impl From<&lifecycle::Transition> for Transition {
    fn from(t: &lifecycle::Transition) -> Self {
        Self {
            policy: t.policy.clone(),
            from: t.from.as_str().to_owned(),
            to: t.to.as_str().to_owned(),
            at: Time(t.at_ms),
            reason: t.reason.clone(),
        }
    }
}
