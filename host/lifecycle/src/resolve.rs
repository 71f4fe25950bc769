//! From what somebody wrote to the policy that is meant.

use std::fmt;

use model::{PolicyId, PolicyKind};

use crate::builtin::{self, BUILTINS};
use crate::registry::Registry;
use crate::state::State;

/// Names offered when there is none of the name asked for.
const SIMILAR_MAX: usize = 8;

/// Which policy somebody means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberRef {
    /// By name; the highest version when none is given.
    Name {
        /// Name.
        name: String,
        /// Exact version.
        version: Option<String>,
    },
    /// By `sha256:<hex>`.
    Digest(String),
    /// A native policy of this host.
    Builtin(String),
}

/// Not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not name, name@version, sha256:<64 hex digits> or builtin:name")]
pub struct RefError(pub String);

impl MemberRef {
    /// Reads `name`, `name@version`, `sha256:<hex>` or `builtin:name`.
    ///
    /// # Errors
    /// None of these.
    pub fn parse(text: &str) -> Result<Self, RefError> {
        let bad = || RefError(text.to_owned());
        let is_name = |s: &str| {
            s.starts_with(|c: char| c.is_ascii_lowercase())
                && s.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if let Some(hex) = text.strip_prefix("sha256:") {
            let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            let whole = hex.len() == 64 && hex.bytes().all(digits);
            return if whole {
                Ok(Self::Digest(text.to_owned()))
            } else {
                Err(bad())
            };
        }
        if let Some(name) = text.strip_prefix("builtin:") {
            return if is_name(name) {
                Ok(Self::Builtin(name.to_owned()))
            } else {
                Err(bad())
            };
        }
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let versioned = version.is_none_or(|v| semver::Version::parse(v).is_ok());
        if is_name(name) && versioned {
            Ok(Self::Name {
                name: name.to_owned(),
                version: version.map(str::to_owned),
            })
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for MemberRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name {
                name,
                version: Some(version),
            } => write!(f, "{name}@{version}"),
            Self::Name {
                name,
                version: None,
            } => f.write_str(name),
            Self::Digest(digest) => f.write_str(digest),
            Self::Builtin(name) => write!(f, "builtin:{name}"),
        }
    }
}

/// A reference to nothing that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No such policy.
    #[error("there is no {kind} policy {policy}{}", near(.similar))]
    Unknown {
        /// Kind asked for.
        kind: PolicyKind,
        /// What was asked for.
        policy: MemberRef,
        /// What there is of this kind and name, or of this kind.
        similar: Vec<String>,
    },
    /// Another kind.
    #[error("{policy} is a policy of kind {is}, but {asked} was asked for")]
    OtherKind {
        /// Which.
        policy: PolicyId,
        /// Its kind.
        is: PolicyKind,
        /// Kind asked for.
        asked: PolicyKind,
    },
    /// Not in a state to be used.
    #[error("{policy} is {state} and cannot be used")]
    NotUsable {
        /// Which.
        policy: PolicyId,
        /// Its state.
        state: State,
    },
}

fn near(similar: &[String]) -> String {
    if similar.is_empty() {
        String::new()
    } else {
        format!("; there is {}", similar.join(", "))
    }
}

impl Registry {
    /// The policy somebody means, ready to be put into a set of `kind`.
    ///
    /// # Errors
    /// There is none, or it cannot be used for this.
    pub fn resolve(&self, kind: PolicyKind, policy: &MemberRef) -> Result<PolicyId, ResolveError> {
        let found = match policy {
            MemberRef::Builtin(name) => {
                return builtin::id(kind, name).ok_or_else(|| ResolveError::Unknown {
                    kind,
                    policy: policy.clone(),
                    similar: BUILTINS
                        .iter()
                        .filter(|(k, _)| *k == kind)
                        .map(|(_, name)| format!("builtin:{name}"))
                        .collect(),
                });
            }
            MemberRef::Digest(digest) => self.get(digest),
            MemberRef::Name {
                name,
                version: Some(version),
            } => self.exact(name, version),
            MemberRef::Name {
                name,
                version: None,
            } => self.newest(name),
        };
        let record = found.ok_or_else(|| ResolveError::Unknown {
            kind,
            policy: policy.clone(),
            similar: self.similar(kind, policy),
        })?;
        if record.kind != kind {
            Err(ResolveError::OtherKind {
                policy: record.id.clone(),
                is: record.kind,
                asked: kind,
            })
        } else if record.state.is_usable() {
            Ok(record.id.clone())
        } else {
            Err(ResolveError::NotUsable {
                policy: record.id.clone(),
                state: record.state,
            })
        }
    }

    fn similar(&self, kind: PolicyKind, policy: &MemberRef) -> Vec<String> {
        let same_name: Vec<String> = match policy {
            MemberRef::Name { name, .. } => self.versions(name).map(|p| p.id.to_string()).collect(),
            MemberRef::Digest(_) | MemberRef::Builtin(_) => Vec::new(),
        };
        if !same_name.is_empty() {
            return same_name;
        }
        let of_kind = self.policies().filter(|p| p.kind == kind);
        let mut names: Vec<String> = of_kind.map(|p| p.id.name.clone()).collect();
        names.dedup();
        names.truncate(SIMILAR_MAX);
        names
    }
}
