//! What a host writes down about policies and sets.

use conformance::Report;
use model::{PolicyId, PolicyKind, PolicySetSpec};
use sandbox::Profile;

use crate::builtin;
use crate::state::State;

/// A policy of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// Name, version, digest.
    pub id: PolicyId,
    /// Which questions it answers.
    pub kind: PolicyKind,
    /// Version of the contract it was built for.
    pub contract: String,
    /// Limits it runs under.
    pub profile: Profile,
    /// One sentence of its own.
    pub summary: String,
    /// JSON Schema of its settings.
    pub settings_schema: String,
    /// Columns it reads, by contract name.
    pub columns: Vec<String>,
    /// What it can do, in words.
    pub capabilities: Vec<String>,
    /// Bytes of the component.
    pub size: u64,
    /// ms since the epoch.
    pub uploaded_at_ms: u64,
    /// Who uploaded it, if the host knows.
    pub uploader: Option<String>,
    /// Where it is in its life.
    pub state: State,
    /// How it kept the contract's laws.
    pub report: Report,
}

/// What decides for one kind, and what did before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRecord {
    /// Kind.
    pub kind: PolicyKind,
    /// Grows with every change, also with a rollback; the ETag of the hook. A
    /// set keeps the revision with which it was activated.
    pub revision: u64,
    /// The set that decides.
    pub active: PolicySetSpec,
    /// The set a rollback brings back, still instantiated.
    pub previous: Option<PolicySetSpec>,
    /// ms since the epoch; 0 before the first change.
    pub changed_at_ms: u64,
    /// Why it was changed last.
    pub reason: String,
}

impl HookRecord {
    /// A kind about which nobody has said anything: the built-in decides.
    #[must_use]
    pub fn initial(kind: PolicyKind) -> Self {
        Self {
            kind,
            revision: 0,
            active: builtin::set(kind, 0),
            previous: None,
            changed_at_ms: 0,
            reason: "the host's default".to_owned(),
        }
    }

    /// Whether a set of it has this policy; the active one counts first.
    pub(crate) fn state_of(&self, digest: &str) -> Option<State> {
        let has = |set: &PolicySetSpec| set.members.iter().any(|m| m.policy.digest == digest);
        if has(&self.active) {
            Some(State::Active)
        } else if self.previous.as_ref().is_some_and(has) {
            Some(State::Previous)
        } else {
            None
        }
    }
}
