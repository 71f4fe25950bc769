//! From bytes to a policy that may be activated.

use std::sync::PoisonError;

use conformance::Report;
use sandbox::{CompileError, PrepareError, Profile, ShapeError};
use sha2::{Digest as _, Sha256};

use crate::conform::conform;
use crate::record::PolicyRecord;
use crate::registry::{PlanError, Registry};
use crate::schema::{SchemaError, SettingsSchema};
use crate::state::{State, Transition};
use crate::workshop::{BlobError, Workshop};

/// What comes with the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upload {
    /// Limits it is to run under.
    pub profile: Profile,
    /// Who uploads, if the host knows.
    pub uploader: Option<String>,
    /// ms since the epoch.
    pub now_ms: u64,
}

/// An upload that passed. Nothing has changed yet: hand it to
/// [`Registry::plan_upload`], journal the plan, apply it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// A new policy.
    New {
        /// What to register.
        record: Box<PolicyRecord>,
        /// Its life so far.
        transitions: Vec<Transition>,
    },
    /// The host has exactly these bytes already.
    Known {
        /// Their digest.
        digest: String,
    },
}

/// How far an upload came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Bytes.
    Validate,
    /// Machine code, description, settings schema.
    Compile,
    /// Laws.
    Conformance,
    /// Place among the other policies.
    Register,
}

/// Whose fault a refusal is, as an API tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Too many bytes (413).
    TooLarge,
    /// Not a component at all (415).
    NotAComponent,
    /// A component that this host does not take (422).
    Unacceptable,
    /// In conflict with what the host has (409).
    Conflict,
    /// The host's own failure (500).
    Host,
}

/// Why an upload is refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The bytes.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Machine code or description.
    #[error(transparent)]
    Prepare(PrepareError),
    /// Its settings schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It breaks the contract's laws.
    #[error("breaks the contract: {}", first(.report))]
    NotConformant {
        /// Which laws, on which cases.
        report: Box<Report>,
    },
    /// In conflict with what the host has.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The bytes could not be kept.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

fn first(report: &Report) -> String {
    let all = report.failures().count();
    let Some(check) = report.failures().next() else {
        return "nothing could be checked".to_owned();
    };
    let detail = match &check.verdict {
        conformance::Verdict::Fail { detail } => detail.as_str(),
        conformance::Verdict::Pass | conformance::Verdict::NotRun { .. } => "",
    };
    let law = check.law;
    match all {
        1 => format!("{law}, {}: {detail}", check.case),
        _ => format!("{law}, {}: {detail} (and {} more)", check.case, all - 1),
    }
}

/// The filter and the compile child see the same bytes; what the filter finds is
/// told as the filter's.
impl From<PrepareError> for UploadError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Shape(shape) => Self::Shape(shape),
            other => Self::Prepare(other),
        }
    }
}

impl UploadError {
    /// Stable code for APIs, metrics and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Shape(shape) => match shape {
                ShapeError::TooLarge { .. } => "ComponentTooLarge",
                ShapeError::NotWasm => "NotWasm",
                ShapeError::Precompiled => "PrecompiledCode",
                ShapeError::CoreModule => "CoreModule",
                ShapeError::Malformed { .. } => "MalformedComponent",
                ShapeError::Limit { .. } => "ShapeLimit",
                ShapeError::NoPolicy { .. } => "NoPolicy",
                ShapeError::SeveralPolicies { .. } => "SeveralPolicies",
                ShapeError::UnsupportedVersion { .. } => "UnsupportedContract",
                ShapeError::UnknownImport { .. } => "ImportNotGranted",
            },
            Self::Prepare(prepare) => match prepare {
                PrepareError::Shape(_) => "MalformedComponent",
                PrepareError::Compile(CompileError::Invalid { .. }) => "InvalidComponent",
                PrepareError::Compile(CompileError::Child(_)) => "CompilerUnavailable",
                PrepareError::Compile(_) => "CompileLimit",
                PrepareError::NotLoaded { .. } => "ArtifactNotLoaded",
                PrepareError::WrongTypes { .. } => "WrongTypes",
                PrepareError::Describe(_) => "DescribeFault",
                PrepareError::Description(_) => "BadDescription",
            },
            Self::Schema(_) => "BadSettingsSchema",
            Self::NotConformant { .. } => "NotConformant",
            Self::Plan(plan) => plan.code(),
            Self::Blob(_) => "StoreFailed",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Shape(ShapeError::TooLarge { .. }) => Class::TooLarge,
            Self::Shape(ShapeError::NotWasm) => Class::NotAComponent,
            Self::Prepare(PrepareError::Compile(compile)) if !compile.is_the_components() => {
                Class::Host
            }
            Self::Prepare(PrepareError::NotLoaded { .. }) | Self::Blob(_) => Class::Host,
            Self::Shape(_) | Self::Prepare(_) | Self::Schema(_) | Self::NotConformant { .. } => {
                Class::Unacceptable
            }
            Self::Plan(PlanError::Illegal(_)) => Class::Host,
            Self::Plan(_) => Class::Conflict,
        }
    }

    /// How far it came.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Shape(_) => Stage::Validate,
            Self::Prepare(_) | Self::Schema(_) => Stage::Compile,
            Self::NotConformant { .. } => Stage::Conformance,
            Self::Plan(_) | Self::Blob(_) => Stage::Register,
        }
    }

    /// What to do about it, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Shape(ShapeError::CoreModule) => {
                Some("build it as a component: set the linker to wasm-component-ld")
            }
            Self::Shape(ShapeError::UnknownImport { .. }) => {
                Some("build for wasm32-unknown-unknown; a policy has no WASI")
            }
            Self::Plan(PlanError::VersionTaken { .. }) => {
                Some("a version names one component for ever: raise the version")
            }
            _ => None,
        }
    }

    /// The life of refused bytes, for the audit log. The registry never hears of
    /// them.
    #[must_use]
    pub fn transitions(&self, digest: &str, now_ms: u64) -> Vec<Transition> {
        let reached: &[State] = match self.stage() {
            Stage::Validate => &[State::Uploaded],
            Stage::Compile => &[State::Uploaded, State::Validated],
            Stage::Conformance => &[State::Uploaded, State::Validated, State::Compiled],
            // What passed everything is not rejected, only not taken.
            Stage::Register => return Vec::new(),
        };
        let path = reached.iter().copied().chain([State::Rejected]);
        life(digest, path, now_ms, &self.to_string())
    }
}

/// `sha256:<hex>` of a component.
fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Steps along `path`; the last gets the reason.
fn life(
    digest: &str,
    path: impl Iterator<Item = State>,
    at_ms: u64,
    reason: &str,
) -> Vec<Transition> {
    let path: Vec<State> = path.collect();
    let steps = path.windows(2).enumerate();
    steps
        .filter_map(|(i, step)| {
            let last = i + 2 == path.len();
            let reason = if last { reason } else { "upload" };
            Transition::new(digest, step[0], step[1], at_ms, reason).ok()
        })
        .collect()
}

impl Workshop {
    /// Takes an upload all the way: validate, compile, conformance, and keeps
    /// the bytes. `registry` is any recent copy; what it knows already is not
    /// compiled again. Takes from milliseconds to minutes; never on the thread
    /// that decides.
    ///
    /// # Errors
    /// The first reason to refuse. Nothing has changed then.
    pub fn upload(
        &self,
        bytes: &[u8],
        upload: &Upload,
        registry: &Registry,
    ) -> Result<Uploaded, UploadError> {
        // Before hashing: what is too large must cost nothing.
        let allowed = upload.profile.shape().component_bytes;
        if bytes.len() as u64 > allowed {
            return Err(UploadError::Shape(ShapeError::TooLarge {
                bytes: bytes.len() as u64,
                limit: allowed,
            }));
        }
        let digest = digest(bytes);
        if registry.get(&digest).is_some() {
            // Heals a host whose disk lost the component.
            self.blobs.put(&digest, bytes)?;
            return Ok(Uploaded::Known { digest });
        }
        let inspection = sandbox::inspect(bytes, upload.profile)?;
        let prepared = self
            .prepareds
            .prepare(&self.sandbox, bytes, upload.profile)?;
        let description = prepared.description();
        SettingsSchema::new(&description.settings_schema)?;
        // Before the laws, which take longest; checked again at the end.
        registry.check_free(prepared.id(), prepared.kind())?;
        let report = {
            // One at a time, as compiling is: uploads must leave the other cores
            // to decisions.
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            conform(&prepared)
        };
        if !report.passed() {
            return Err(UploadError::NotConformant {
                report: Box::new(report),
            });
        }
        self.blobs.put(&digest, bytes)?;
        let path = [
            State::Uploaded,
            State::Validated,
            State::Compiled,
            State::Conformant,
        ];
        let record = PolicyRecord {
            id: prepared.id().clone(),
            kind: prepared.kind(),
            contract: prepared.contract().version.clone(),
            profile: upload.profile,
            summary: description.summary.clone(),
            settings_schema: description.settings_schema.clone(),
            columns: description
                .columns
                .iter()
                .map(|c| c.name().to_owned())
                .collect(),
            capabilities: inspection.capabilities,
            size: bytes.len() as u64,
            uploaded_at_ms: upload.now_ms,
            uploader: upload.uploader.clone(),
            state: State::Conformant,
            report,
        };
        Ok(Uploaded::New {
            record: Box::new(record),
            transitions: life(
                &digest,
                path.into_iter(),
                upload.now_ms,
                "keeps the contract's laws",
            ),
        })
    }
}
