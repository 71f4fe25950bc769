//! What this host knows: policies, and what decides for each kind.
//!
//! A value. Every change is first a [`Plan`], which says what will be different;
//! the caller journals it, then applies it. Planning changes nothing, applying
//! cannot fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{PolicyId, PolicyKind, PolicySetSpec};

use crate::activate::ReadySet;
use crate::builtin::{self, BUILTINS};
use crate::record::{HookRecord, PolicyRecord};
use crate::state::{IllegalMove, State, Transition};
use crate::upload::Uploaded;

/// Policies of one host. Each is a few kilobytes of record and up to 32 MiB of
/// component on disk.
pub const POLICIES_MAX: usize = 1_000;

/// A change that is in conflict with what the host has. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A version names one component for ever.
    #[error("{id} is already another component, {has}")]
    VersionTaken {
        /// What was uploaded.
        id: PolicyId,
        /// Digest of what has the name and version.
        has: String,
    },
    /// A name belongs to one kind.
    #[error("{name} is a policy of kind {is} on this host, the upload is of kind {uploaded}")]
    NameOfOtherKind {
        /// Name.
        name: String,
        /// Its kind here.
        is: PolicyKind,
        /// Kind uploaded.
        uploaded: PolicyKind,
    },
    /// Full.
    #[error("the host has {POLICIES_MAX} policies, which is the limit")]
    TooManyPolicies,
    /// Somebody was faster.
    #[error("the {kind} hook is at revision {current}, the change was made for {expected}")]
    Stale {
        /// Which hook.
        kind: PolicyKind,
        /// Revision the change was made for.
        expected: u64,
        /// Revision it is at.
        current: u64,
    },
    /// Nothing to go back to.
    #[error("the {kind} hook has no previous set")]
    NoPrevious {
        /// Which hook.
        kind: PolicyKind,
    },
    /// A set of a policy that is not registered.
    #[error("{0} is not a policy of this host")]
    Unregistered(PolicyId),
    /// A kind for which nobody is asked.
    #[error("policies of kind {0} are not served by this host version")]
    KindNotServed(PolicyKind),
    /// A bug.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
}

impl PlanError {
    /// Stable code for APIs, metrics and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::VersionTaken { .. } => "VersionTaken",
            Self::NameOfOtherKind { .. } => "NameOfOtherKind",
            Self::TooManyPolicies => "TooManyPolicies",
            Self::Stale { .. } => "StaleRevision",
            Self::NoPrevious { .. } => "NoPreviousSet",
            Self::Unregistered(_) => "UnknownPolicy",
            Self::KindNotServed(_) => "KindNotServed",
            Self::Illegal(_) => "IllegalMove",
        }
    }
}

/// Records that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Two records of one component.
    #[error("two records of component {0}")]
    TwiceStored(String),
    /// Two components of one version.
    #[error("{id} is both {} and {other}", .id.digest)]
    TwoComponents {
        /// The one.
        id: PolicyId,
        /// Digest of the other.
        other: String,
    },
    /// Not a version.
    #[error("{0} has a version that is not semantic")]
    Version(PolicyId),
    /// Two hooks of one kind.
    #[error("two records of the {0} hook")]
    TwoHooks(PolicyKind),
}

/// What a change will make different. To be journalled, then applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "a plan changes nothing until it is applied"]
pub struct Plan {
    /// Steps in the life of policies, in order.
    pub transitions: Vec<Transition>,
    /// Records as they will be.
    pub policies: Vec<PolicyRecord>,
    /// Hook as it will be.
    pub hook: Option<HookRecord>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// See the module. Cheap to copy: records are shared.
#[derive(Debug, Clone)]
pub struct Registry {
    policies: BTreeMap<String, Arc<PolicyRecord>>,
    /// Digests by name and version.
    names: BTreeMap<String, BTreeMap<semver::Version, String>>,
    hooks: BTreeMap<PolicyKind, Arc<HookRecord>>,
}

impl Default for Registry {
    fn default() -> Self {
        let hooks = BUILTINS.map(|(kind, _)| (kind, Arc::new(HookRecord::initial(kind))));
        Self {
            policies: BTreeMap::new(),
            names: BTreeMap::new(),
            hooks: hooks.into_iter().collect(),
        }
    }
}

impl Registry {
    /// A host without policies: the built-ins decide.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From what was written down.
    ///
    /// # Errors
    /// Records that contradict each other: the store is not what this host
    /// wrote.
    pub fn restore(
        policies: impl IntoIterator<Item = PolicyRecord>,
        hooks: impl IntoIterator<Item = HookRecord>,
    ) -> Result<Self, RestoreError> {
        let mut registry = Self::default();
        for record in policies {
            let id = record.id.clone();
            if registry.policies.contains_key(&id.digest) {
                return Err(RestoreError::TwiceStored(id.digest));
            }
            if semver::Version::parse(&id.version).is_err() {
                return Err(RestoreError::Version(id));
            }
            if let Some(other) = registry.exact(&id.name, &id.version) {
                let other = other.id.digest.clone();
                return Err(RestoreError::TwoComponents { id, other });
            }
            registry.put(record);
        }
        let mut seen = Vec::new();
        for hook in hooks {
            if seen.contains(&hook.kind) {
                return Err(RestoreError::TwoHooks(hook.kind));
            }
            seen.push(hook.kind);
            registry.hooks.insert(hook.kind, Arc::new(hook));
        }
        Ok(registry)
    }

    // === Reading ===

    /// Every policy by name, then version, lowest first.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<PolicyRecord>> {
        let digests = self.names.values().flat_map(BTreeMap::values);
        digests.filter_map(|d| self.policies.get(d))
    }

    /// Versions of one name, lowest first.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = &Arc<PolicyRecord>> {
        let digests = self.names.get(name).into_iter().flat_map(BTreeMap::values);
        digests.filter_map(|d| self.policies.get(d))
    }

    /// The policy with this digest.
    #[must_use]
    pub fn get(&self, digest: &str) -> Option<&Arc<PolicyRecord>> {
        self.policies.get(digest)
    }

    /// The policy with this name and version.
    #[must_use]
    pub fn exact(&self, name: &str, version: &str) -> Option<&Arc<PolicyRecord>> {
        let version = semver::Version::parse(version).ok()?;
        self.get(self.names.get(name)?.get(&version)?)
    }

    /// The policy with this name and the highest version; one that is no
    /// pre-release if there is any.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<&Arc<PolicyRecord>> {
        let versions = self.names.get(name)?;
        let released = versions.iter().rev().find(|(v, _)| v.pre.is_empty());
        let (_, digest) = released.or_else(|| versions.iter().next_back())?;
        self.get(digest)
    }

    /// Number of policies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// What decides for `kind`.
    ///
    /// # Errors
    /// A kind that is not served.
    pub fn hook(&self, kind: PolicyKind) -> Result<&Arc<HookRecord>, PlanError> {
        self.hooks.get(&kind).ok_or(PlanError::KindNotServed(kind))
    }

    /// Every hook, in the order of kinds.
    pub fn hooks(&self) -> impl Iterator<Item = &Arc<HookRecord>> {
        self.hooks.values()
    }

    // === Planning ===

    /// Whether a policy of this name, version and kind may be registered.
    pub(crate) fn check_free(&self, id: &PolicyId, kind: PolicyKind) -> Result<(), PlanError> {
        if let Some(has) = self.exact(&id.name, &id.version) {
            return Err(PlanError::VersionTaken {
                id: id.clone(),
                has: has.id.digest.clone(),
            });
        }
        if let Some(other) = self.newest(&id.name)
            && other.kind != kind
        {
            return Err(PlanError::NameOfOtherKind {
                name: id.name.clone(),
                is: other.kind,
                uploaded: kind,
            });
        }
        if self.policies.len() >= POLICIES_MAX {
            return Err(PlanError::TooManyPolicies);
        }
        Ok(())
    }

    /// Registers an upload. Empty when the host has it already.
    ///
    /// # Errors
    /// Another component took its name and version meanwhile, or there is no
    /// room.
    pub fn plan_upload(&self, uploaded: Uploaded) -> Result<Plan, PlanError> {
        let Uploaded::New {
            record,
            transitions,
        } = uploaded
        else {
            return Ok(Plan::default());
        };
        if self.get(&record.id.digest).is_some() {
            return Ok(Plan::default());
        }
        self.check_free(&record.id, record.kind)?;
        Ok(Plan {
            transitions,
            policies: vec![*record],
            hook: None,
        })
    }

    /// Makes a set decide that was made ready for the hook as it is now. What
    /// decided becomes the previous set.
    ///
    /// # Errors
    /// The hook changed since the set was made ready.
    pub fn plan_activate(
        &self,
        ready: &ReadySet,
        at_ms: u64,
        reason: &str,
    ) -> Result<Plan, PlanError> {
        let spec = ready.set.spec();
        let hook = self.hook(spec.kind)?;
        if hook.revision != ready.made_for {
            return Err(PlanError::Stale {
                kind: spec.kind,
                expected: ready.made_for,
                current: hook.revision,
            });
        }
        let stranger = spec
            .members
            .iter()
            .map(|m| &m.policy)
            .find(|p| p.digest != builtin::DIGEST && self.get(&p.digest).is_none());
        if let Some(policy) = stranger {
            return Err(PlanError::Unregistered(policy.clone()));
        }
        let previous = Some(hook.active.clone());
        self.change(hook, spec.clone(), previous, at_ms, reason)
    }

    /// The hook follows `active` and `previous`.
    pub(crate) fn change(
        &self,
        hook: &HookRecord,
        active: PolicySetSpec,
        previous: Option<PolicySetSpec>,
        at_ms: u64,
        reason: &str,
    ) -> Result<Plan, PlanError> {
        let next = HookRecord {
            kind: hook.kind,
            revision: hook.revision + 1,
            active,
            previous,
            changed_at_ms: at_ms,
            reason: reason.to_owned(),
        };
        let mut plan = Plan::default();
        for record in self.policies().filter(|p| p.kind == hook.kind) {
            let was = record.state;
            let will = match next.state_of(&record.id.digest) {
                Some(state) => state,
                None if matches!(was, State::Active | State::Previous) => State::Retired,
                None => was,
            };
            if will == was {
                continue;
            }
            let step = Transition::new(&record.id.digest, was, will, at_ms, reason)?;
            plan.transitions.push(step);
            plan.policies.push(PolicyRecord {
                state: will,
                ..(**record).clone()
            });
        }
        plan.hook = Some(next);
        Ok(plan)
    }

    // === Applying ===

    /// Makes a plan of this registry true, after it was journalled.
    pub fn apply(&mut self, plan: Plan) {
        for record in plan.policies {
            self.put(record);
        }
        if let Some(hook) = plan.hook {
            self.hooks.insert(hook.kind, Arc::new(hook));
        }
    }

    fn put(&mut self, record: PolicyRecord) {
        if let Ok(version) = semver::Version::parse(&record.id.version) {
            self.names
                .entry(record.id.name.clone())
                .or_default()
                .insert(version, record.id.digest.clone());
        }
        self.policies
            .insert(record.id.digest.clone(), Arc::new(record));
    }
}

#[cfg(test)]
mod tests;
