//! What a handler gets, and how it reads it.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use axum::http::header;
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::{Digest as _, Sha256};

use super::App;
use crate::daemon::{Idempotency, Submission};
use crate::wire::{self, Invalid, Problem, ProblemKind};

/// Longest Idempotency-Key.
const KEY_BYTES_MAX: usize = 255;

/// Objects on one page.
pub(crate) const PAGE_MAX: usize = 1_000;

/// Objects on one page when nothing is said.
const PAGE_DEFAULT: usize = 100;

/// A request that passed the gate.
pub(crate) struct Request {
    pub(crate) app: App,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    /// A part of the path.
    pub(crate) fn param(&self, name: &str) -> String {
        self.params.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&self.body) {
            return Err(Problem::new(ProblemKind::MalformedJson, error));
        }
        Ok(wire::from_json(&self.body)?)
    }

    /// A number of the query.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.query.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            Invalid::at(format!("?{name}"), format!("{text:?} is not a number")).into()
        })
    }

    /// Objects wanted on the page.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        let limit = self.number("limit")?.unwrap_or(PAGE_DEFAULT as u64);
        if limit == 0 || limit > PAGE_MAX as u64 {
            let text = format!("{limit} is not between 1 and {PAGE_MAX}");
            return Err(Invalid::at("?limit", text).into());
        }
        Ok(limit as usize)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query
            .get(name)
            .is_some_and(|v| v.is_empty() || v == "true" || v == "1")
    }

    /// With the request's key, if it has one.
    pub(crate) fn once(&self, submission: Submission) -> Result<Submission, Problem> {
        let Some(key) = self.headers.get("idempotency-key") else {
            return Ok(submission);
        };
        let key = key
            .to_str()
            .ok()
            .filter(|k| !k.is_empty() && k.len() <= KEY_BYTES_MAX);
        let Some(key) = key else {
            let text = format!("Idempotency-Key is not 1 to {KEY_BYTES_MAX} visible characters");
            return Err(Problem::new(ProblemKind::InvalidRequest, text));
        };
        let mut hash = Sha256::new();
        for part in [self.method.as_bytes(), self.path.as_bytes(), &self.body] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let request = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let idempotency = Some(Idempotency {
            key: key.to_owned(),
            request,
        });
        Ok(Submission {
            idempotency,
            ..submission
        })
    }

    /// Conditions of a change.
    pub(crate) fn conditions(&self) -> Conditions {
        Conditions {
            if_match: self.header(header::IF_MATCH).map(|t| t.trim().to_owned()),
            if_none_match: self
                .header(header::IF_NONE_MATCH)
                .map(|t| t.trim().to_owned()),
        }
    }
}

/// If-Match and If-None-Match.
pub(crate) struct Conditions {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
}

impl Conditions {
    /// Whether the object may be put. Putting what is there already needs no
    /// condition: an agent that says the same again changes nothing.
    pub(crate) fn put<T: serde::Serialize>(
        &self,
        current: Option<(&T, &str)>,
        same: bool,
    ) -> Result<(), Problem> {
        let Some((object, etag)) = current else {
            return match self.if_match.as_deref() {
                None => Ok(()),
                Some(_) => Err(Problem::new(
                    ProblemKind::RevisionConflict,
                    "If-Match was given, but the object does not exist",
                )),
            };
        };
        if self.if_none_match.as_deref() == Some("*") {
            let text = "If-None-Match: * was given, but the object exists";
            return Err(stale(text, object, etag));
        }
        match self.if_match.as_deref() {
            None if same => Ok(()),
            None => {
                let text = format!("send If-Match: {etag}, the object's present ETag, or *");
                let problem = Problem::new(ProblemKind::RevisionRequired, text);
                Err(problem.with(|p| {
                    p.etag = Some(etag.to_owned());
                }))
            }
            Some("*") => Ok(()),
            Some(tag) if tag == etag => Ok(()),
            Some(tag) => {
                let text = format!("If-Match is {tag}, the object's ETag is {etag}");
                Err(stale(&text, object, etag))
            }
        }
    }

    /// Whether the object may be removed; only looks if something was said.
    pub(crate) fn delete<T: serde::Serialize>(
        &self,
        object: &T,
        etag: &str,
    ) -> Result<(), Problem> {
        match self.if_match.as_deref() {
            None | Some("*") => Ok(()),
            Some(tag) if tag == etag => Ok(()),
            Some(tag) => {
                let text = format!("If-Match is {tag}, the object's ETag is {etag}");
                Err(stale(&text, object, etag))
            }
        }
    }
}

/// 412 with the object as it is now.
pub(crate) fn stale<T: serde::Serialize>(text: &str, object: &T, etag: &str) -> Problem {
    Problem::new(ProblemKind::RevisionConflict, text).with(|p| {
        p.current = serde_json::to_value(object).ok();
        p.etag = Some(etag.to_owned());
    })
}

/// The revision of what an object says.
pub(crate) fn etag<T: serde::Serialize>(object: &T) -> String {
    let digest = Sha256::digest(wire::to_json(object));
    let hex: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    name.replace('/', "%2F")
}
