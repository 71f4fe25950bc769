//! The native policies of this host.

use engine::builtin::binpack::BuiltinBinpack;
use engine::builtin::hpa::BuiltinHpa;
use engine::port::{AutoscalingPolicy, ScoringPolicy};
use engine::{AdmissionSet, PreemptionSet};
use model::policy::WEIGHT_ONE;
use model::{Combine, Member, PolicyId, PolicyKind, PolicySetSpec};

/// Name of the built-in scoring policy.
const BINPACK: &str = "binpack";

/// Built-ins by kind, the default of a kind first.
pub const BUILTINS: [(PolicyKind, &str); 4] = [
    (PolicyKind::Scoring, BINPACK),
    (PolicyKind::Admission, AdmissionSet::BUILTIN),
    (PolicyKind::Preemption, PreemptionSet::BUILTIN),
    (PolicyKind::Autoscaling, BuiltinHpa::NAME),
];

/// Settings of the built-ins that are part of the engine and behind no port.
const NO_SETTINGS: &str = r#"{"type":"object","additionalProperties":false}"#;

/// Digest of every built-in.
pub(crate) const DIGEST: &str = "builtin";

/// The built-in of this kind and name.
pub(crate) fn id(kind: PolicyKind, name: &str) -> Option<PolicyId> {
    BUILTINS
        .contains(&(kind, name))
        .then(|| PolicyId::builtin(name))
}

/// An instance; `None` if there is none of this name.
pub(crate) fn scoring(name: &str) -> Option<Box<dyn ScoringPolicy>> {
    (name == BINPACK).then(|| Box::new(BuiltinBinpack::new()) as Box<dyn ScoringPolicy>)
}

/// As [`scoring`].
pub(crate) fn autoscaling(name: &str) -> Option<Box<dyn AutoscalingPolicy>> {
    (name == BuiltinHpa::NAME).then(|| Box::new(BuiltinHpa::new()) as Box<dyn AutoscalingPolicy>)
}

/// The set with the default built-in of a kind.
pub(crate) fn set(kind: PolicyKind, revision: u64) -> PolicySetSpec {
    PolicySetSpec {
        kind,
        revision,
        members: BUILTINS
            .iter()
            .filter(|(k, _)| *k == kind)
            .map(|(_, name)| Member {
                policy: PolicyId::builtin(name),
                weight: WEIGHT_ONE,
                tier: 0,
                settings: "{}".to_owned(),
                fail: model::FailMode::Closed,
            })
            .collect(),
        combine: Combine::Weighted,
    }
}

/// Settings schema of a built-in.
pub(crate) fn settings_schema(kind: PolicyKind, name: &str) -> Option<String> {
    let description = match kind {
        PolicyKind::Scoring => scoring(name)?.description().clone(),
        PolicyKind::Autoscaling => autoscaling(name)?.description().clone(),
        PolicyKind::Admission | PolicyKind::Preemption => {
            return id(kind, name).map(|_| NO_SETTINGS.to_owned());
        }
    };
    Some(description.settings_schema)
}
