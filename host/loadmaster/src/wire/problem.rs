//! Saying no, as RFC 9457 `application/problem+json`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::escape;

/// A value that cannot be used, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct Invalid {
    /// JSON pointer into what was sent; empty for all of it.
    pub pointer: String,
    /// What is wrong and what is expected.
    pub detail: String,
}

impl Invalid {
    /// A value at a pointer.
    pub fn at(pointer: impl Into<String>, detail: impl ToString) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.to_string(),
        }
    }

    /// The same error seen from one level up.
    #[must_use]
    pub fn under(mut self, key: impl std::fmt::Display) -> Self {
        self.pointer = format!("/{}{}", escape(&key.to_string()), self.pointer);
        self
    }
}

macro_rules! kinds {
    ($($name:ident $slug:literal $status:literal $title:literal $text:literal;)*) => {
        /// Every way the API says no. The URL `/problems/<slug>` explains it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ProblemKind {
            $(#[doc = $title] $name,)*
        }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Name in URLs.
            #[must_use]
            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Same for every occurrence.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means and what to do, for its page.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The stable code.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

kinds! {
    InvalidRequest "invalid-request" 422 "The request contains a value that cannot be used"
        "Each entry of errors[] names a field by its JSON pointer and says what was expected. Nothing has changed.";
    MalformedJson "malformed-json" 400 "The body is not JSON"
        "The detail says where reading stopped. Nothing has changed.";
    NotFound "not-found" 404 "There is no such object"
        "The name in the URL does not exist (any more). List its collection to see what does.";
    NoRoute "no-route" 404 "There is no such path"
        "/api/docs lists every path of this host.";
    MethodNotAllowed "method-not-allowed" 405 "The path does not have this method"
        "The Allow header lists the methods it has.";
    ForeignOrigin "foreign-origin" 403 "Another site's page may not use this host"
        "A browser sent this for a page that does not come from this host, or under a name that is not this machine's. Use the page of the host itself, 127.0.0.1 or localhost, or a client that is no browser.";
    BodyTooLarge "body-too-large" 413 "The body is larger than this path takes"
        "The detail names the limit. Send less at once.";
    UnsupportedMediaType "unsupported-media-type" 415 "The body has the wrong content type"
        "JSON goes as application/json, a component as application/wasm.";
    AlreadyExists "already-exists" 409 "The name is taken"
        "Names of pods and jobs that run or wait are unique. Nothing has changed. A request that was sent twice carries the same Idempotency-Key both times, and is then answered as the first one was.";
    Conflict "conflict" 409 "The request contradicts the state"
        "The detail names what stands against it. Nothing has changed.";
    IdempotencyConflict "idempotency-conflict" 409 "The Idempotency-Key was used for another request"
        "A key stands for one request, byte for byte, for 24 hours. Use a new key for a new request.";
    RevisionRequired "revision-required" 428 "A change needs If-Match"
        "Read the object, and send its ETag as If-Match with the change, so that nobody's change is overwritten unseen. If-Match: * overwrites whatever is there.";
    RevisionConflict "revision-conflict" 412 "The object has changed since you read it"
        "The member current of the body is the object as it is now, and the ETag header is its revision. Decide again, then send the change with that.";
    TooManyRequests "too-many-requests" 429 "The host has as much to do as it accepts"
        "Queues are bounded so that the host stays quick. Send the request again after Retry-After seconds, with the same Idempotency-Key.";
    Timeout "timeout" 503 "The answer took too long"
        "Whether the change was made is not known. Send the request again with the same Idempotency-Key, or read the object.";
    HostDegraded "host-degraded" 503 "The host has stopped accepting changes"
        "Its store could not be written, so nothing it accepts would be safe. The detail names the cause. Fix it and restart the host: everything acknowledged is still there. Running pods are not affected.";
    Internal "internal" 500 "The host failed"
        "This is a defect of the host. The log has the details; nothing was acknowledged.";
    PolicyRejected "policy-rejected" 422 "The component is not a usable policy"
        "reason says which check it did not pass and detail what was found. Nothing has changed; the active policies go on deciding.";
    PolicyTooLarge "policy-too-large" 413 "The component is larger than a policy may be"
        "Strip debug information and data the policy does not need.";
    NotWebAssembly "not-webassembly" 415 "The body is not a WebAssembly component"
        "Send the component itself, as application/wasm: not text, not a core module, not precompiled code.";
    DeniedByPolicy "denied-by-policy" 403 "An admission policy said no"
        "Each entry of errors[] names a field of the job and says what is wrong with it and what to do. Nothing has changed. POST /api/v1/jobs?dry_run=true asks again without submitting.";
    Unjudged "unjudged" 503 "A policy that gates entry does not answer"
        "The policy failed, and its binding fails closed, so the job stays out. Send it again after Retry-After seconds; if it goes on, replace the policy, roll the admission hook back, or activate it with fail: open.";
    InUse "in-use" 409 "Others still use it"
        "The detail names who. Move them or remove them first. Nothing has changed.";
    EvictRefused "evict-refused" 409 "The pod may not be evicted now"
        "A disruption budget, a guard or the terms of its job forbid it; the detail names the rule with its numbers. GET /api/v1/budgets and /api/v1/guards show them.";
    Held "held" 409 "The host is on hold"
        "It does not trust its own state, so it takes nothing away. GET /api/v1/guards says why; POST /api/v1/guards/{id}/approve ends it.";
}

/// The body of every answer that is not a success. Boxed: it travels as the
/// error of functions that nearly always succeed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problem(Box<ProblemBody>);

impl std::ops::Deref for Problem {
    type Target = ProblemBody;

    fn deref(&self) -> &ProblemBody {
        &self.0
    }
}

impl std::ops::DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut ProblemBody {
        &mut self.0
    }
}

/// Fields of a [`Problem`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Page that explains it.
    #[serde(rename = "type")]
    pub type_url: String,
    /// The same for every occurrence.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This occurrence.
    pub detail: String,
    /// Path of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Stable code.
    pub reason: String,
    /// Request id, also in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Fields that cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Invalid>,
    /// The object as it is now (412).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub current: Option<serde_json::Value>,
    /// ETag of `current`; goes into the header.
    #[serde(skip)]
    #[schema(ignore)]
    pub etag: Option<String>,
    /// Seconds to wait (429, 503); goes into the header.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after_s: Option<u32>,
    /// Methods of the path (405); goes into the header.
    #[serde(skip)]
    #[schema(ignore)]
    pub allow: Option<String>,
}

impl Problem {
    /// One occurrence.
    pub fn new(kind: ProblemKind, detail: impl ToString) -> Self {
        Self(Box::new(ProblemBody {
            type_url: format!("/problems/{}", kind.slug()),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.to_string(),
            instance: None,
            reason: kind.reason().to_owned(),
            trace_id: None,
            errors: Vec::new(),
            current: None,
            etag: None,
            retry_after_s: matches!(
                kind,
                ProblemKind::TooManyRequests | ProblemKind::Timeout | ProblemKind::HostDegraded
            )
            .then_some(1),
            allow: None,
        }))
    }

    /// Changed by `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut ProblemBody)) -> Self {
        change(&mut self);
        self
    }

    /// With a more specific code.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = reason.to_owned();
        self
    }

    /// No such object.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(ProblemKind::NotFound, format!("there is no {what}"))
    }
}

impl From<Invalid> for Problem {
    fn from(error: Invalid) -> Self {
        let at = match error.pointer.as_str() {
            "" => error.detail.clone(),
            pointer => format!("{pointer}: {}", error.detail),
        };
        Self::new(ProblemKind::InvalidRequest, at).with(|p| p.errors.push(error))
    }
}

impl From<engine::EventError> for Problem {
    fn from(error: engine::EventError) -> Self {
        use engine::EventError as E;
        let kind = match &error {
            E::UnknownNode(_)
            | E::UnknownPod(_)
            | E::UnknownJob(_)
            | E::UnknownWorkload(_)
            | E::UnknownQuota(_)
            | E::UnknownQueue(_)
            | E::UnknownBudget(_)
            | E::UnknownCatalogEntry { .. }
            | E::UnknownCalendarEntry(_) => ProblemKind::NotFound,
            E::DuplicatePod(_) | E::DuplicateJob(_) => ProblemKind::AlreadyExists,
            E::NotAService(_) | E::NotRunning(_) | E::NotLeaving(_) => ProblemKind::Conflict,
            E::EvictRefused { .. } => ProblemKind::EvictRefused,
            E::Denied { .. } => ProblemKind::DeniedByPolicy,
            E::Unjudged { .. } => ProblemKind::Unjudged,
            E::QueueFull(_) => ProblemKind::TooManyRequests,
            E::JobName(_)
            | E::TooManyReplicas(_)
            | E::Node(_)
            | E::Pod(_)
            | E::TooManyGpuModels(_)
            | E::TooManyPlaces(_)
            | E::Gang { .. }
            | E::Quota { .. }
            | E::Queue { .. }
            | E::Budget { .. }
            | E::Catalog { .. }
            | E::Scaling { .. }
            | E::Calendar { .. } => ProblemKind::InvalidRequest,
        };
        let pointer = match &error {
            E::JobName(_) => "/id",
            E::TooManyReplicas(_) => "/replicas",
            E::TooManyGpuModels(_) => "/gpus",
            E::Gang { .. } => "/gang",
            _ => "",
        };
        let mut problem = Self::new(kind, &error);
        if kind == ProblemKind::InvalidRequest {
            problem.errors.push(Invalid::at(pointer, &error));
        }
        if let E::Denied { findings, .. } = &error {
            let lines = findings.iter();
            problem.errors = lines
                .map(|f| Invalid::at(&f.field, format!("{}: {}", f.code, f.message)))
                .collect();
        }
        if kind == ProblemKind::Unjudged {
            // A breaker takes the set out, or somebody replaces the policy, in seconds.
            problem.retry_after_s = Some(5);
        }
        problem
    }
}
