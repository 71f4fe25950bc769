//! A component that is compiled, linked, and has said who it is.
//!
//! Made once per upload; instances come from it in microseconds. It does not
//! change, so the active, the shadow and the previous set may share it.

use std::sync::{Arc, PoisonError};

use engine::port::admission::AdmissionPolicy;
use engine::port::preemption::PreemptionPolicy;
use engine::port::{AutoscalingPolicy, Column, Description, ScoringPolicy};
use model::{PolicyFault, PolicyId, PolicyKind};
use wasmtime::component::Component;
use wasmtime::{Engine, Store};

use crate::admission::WasmAdmission;
use crate::artifact::{ComponentDigest, hex};
use crate::autoscaling::WasmAutoscaling;
use crate::bindings::{admission, autoscaling, preemption, scoring};
use crate::compile::CompileError;
use crate::fault::Given;
use crate::guest::{self, Clock, Guest, HostState};
use crate::limits::{
    MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Profile, RunLimits, SCHEMA_BYTES_MAX, SUMMARY_BYTES_MAX,
    VERSION_BYTES_MAX,
};
use crate::log::{LogRecord, escape};
use crate::preemption::WasmPreemption;
use crate::sandbox::SharedLog;
use crate::scoring::WasmScoring;
use crate::shape::{Contract, Shape, ShapeError};

/// Why a component is not usable.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The bytes were refused before compiling.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// It did not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The machine code does not load.
    #[error("the compiled component does not load: {message}")]
    NotLoaded {
        /// The runtime's words.
        message: String,
    },
    /// Its imports or exports do not have the contract's types.
    #[error("does not have the types of {kind}@{version}: {message}")]
    WrongTypes {
        /// Kind it claims.
        kind: PolicyKind,
        /// Version it claims.
        version: String,
        /// The first difference.
        message: String,
    },
    /// It failed when asked to describe itself.
    #[error("failed to describe itself: {0}")]
    Describe(#[source] PolicyFault),
    /// What it says about itself breaks the contract.
    #[error(transparent)]
    Description(#[from] DescriptionError),
}

/// A description that breaks the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Not `[a-z][a-z0-9-]{0,62}`.
    #[error("name {name:?} is not a lower-case letter followed by up to 62 letters, digits or -")]
    Name {
        /// What it gave, cut to the allowed length.
        name: String,
    },
    /// Not a semantic version.
    #[error("version {version:?} is not a semantic version of at most {VERSION_BYTES_MAX} bytes")]
    Version {
        /// What it gave, cut to the allowed length.
        version: String,
    },
    /// Too long, or with control characters.
    #[error(
        "summary has {bytes} bytes or control characters; one line of {SUMMARY_BYTES_MAX} is allowed"
    )]
    Summary {
        /// Its length.
        bytes: usize,
    },
    /// Too long, or not a JSON object.
    #[error("settings schema is not a JSON object of at most {SCHEMA_BYTES_MAX} bytes: {message}")]
    Schema {
        /// What is wrong.
        message: String,
    },
    /// Not in `COLUMNS.md`.
    #[error("declares the column {column:?}, which this contract does not have")]
    UnknownColumn {
        /// What it gave.
        column: String,
    },
    /// Named twice.
    #[error("declares the column {column} twice")]
    DuplicateColumn {
        /// Which.
        column: &'static str,
    },
    /// A kind that gets no rows.
    #[error("declares {count} columns, but a policy of kind {kind} gets no rows")]
    ColumnsWithoutRows {
        /// Its kind.
        kind: PolicyKind,
        /// How many.
        count: usize,
    },
}

/// Why there is no policy behind the port.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Asked for another kind than the component is.
    #[error("a policy of kind {is} cannot answer for {asked}")]
    WrongKind {
        /// Its kind.
        is: PolicyKind,
        /// The port's kind.
        asked: PolicyKind,
    },
    /// The first instance failed.
    #[error(transparent)]
    Fault(#[from] PolicyFault),
}

/// The component, linked against what its world may import.
pub(crate) enum Linked {
    Scoring(scoring::ScoringPolicyPre<HostState>),
    Admission(admission::AdmissionPolicyPre<HostState>),
    Preemption(preemption::PreemptionPolicyPre<HostState>),
    Autoscaling(autoscaling::AutoscalingPolicyPre<HostState>),
}

/// Wall guard of `describe`, ms. Nothing waits for it but the upload.
const DESCRIBE_WALL_MS: u64 = 1_000;

/// See the module.
pub struct Prepared {
    engine: Engine,
    linked: Linked,
    id: PolicyId,
    description: Description,
    shape: Shape,
    profile: Profile,
    log: SharedLog,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("id", &self.id)
            .field("kind", &self.shape.contract.kind)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    pub(crate) fn new(
        engine: &Engine,
        component: &Component,
        shape: Shape,
        digest: &ComponentDigest,
        profile: Profile,
    ) -> Result<Self, PrepareError> {
        let linked = link(engine, component, &shape.contract)?;
        let log = SharedLog::default();
        let said = describe(engine, &linked, profile, &log)?;
        let description = validate(said, shape.contract.kind)?;
        Ok(Self {
            engine: engine.clone(),
            linked,
            id: PolicyId {
                name: description.name.clone(),
                version: description.version.clone(),
                digest: format!("sha256:{}", hex(digest)),
            },
            description,
            shape,
            profile,
            log,
        })
    }

    /// Name, version and digest.
    #[must_use]
    pub fn id(&self) -> &PolicyId {
        &self.id
    }

    /// `sha256:<hex>` of the component.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.id.digest
    }

    /// Which questions it answers.
    #[must_use]
    pub fn kind(&self) -> PolicyKind {
        self.shape.contract.kind
    }

    /// Kind and contract version.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.shape.contract
    }

    /// What it says about itself; validated.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What the filter saw.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Which limits it was let in with; `profile().run()` is the default for
    /// its instances.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// A scoring policy behind the engine's port. Its first instance is started
    /// and configured here, off the decision path.
    ///
    /// # Errors
    /// Another kind, or the instance refuses its settings or fails.
    pub fn scoring(
        self: &Arc<Self>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Box<dyn ScoringPolicy>, StartError> {
        Ok(Box::new(self.wasm_scoring(settings, limits)?))
    }

    /// As [`Self::scoring`], with the type that can be audited on request.
    ///
    /// # Errors
    /// As [`Self::scoring`].
    pub fn wasm_scoring(
        self: &Arc<Self>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<WasmScoring, StartError> {
        self.must_be(PolicyKind::Scoring)?;
        Ok(WasmScoring::start(self, settings, limits)?)
    }

    /// An autoscaling policy behind the engine's port.
    ///
    /// # Errors
    /// Another kind, or the instance refuses its settings or fails.
    pub fn autoscaling(
        self: &Arc<Self>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Box<dyn AutoscalingPolicy>, StartError> {
        self.must_be(PolicyKind::Autoscaling)?;
        Ok(Box::new(WasmAutoscaling::start(self, settings, limits)?))
    }

    /// An admission policy behind the engine's port.
    ///
    /// # Errors
    /// Another kind, or the instance refuses its settings or fails.
    pub fn admission(
        self: &Arc<Self>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Box<dyn AdmissionPolicy>, StartError> {
        self.must_be(PolicyKind::Admission)?;
        Ok(Box::new(WasmAdmission::start(self, settings, limits)?))
    }

    /// A preemption policy behind the engine's port.
    ///
    /// # Errors
    /// Another kind, or the instance refuses its settings or fails.
    pub fn preemption(
        self: &Arc<Self>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Box<dyn PreemptionPolicy>, StartError> {
        self.must_be(PolicyKind::Preemption)?;
        Ok(Box::new(WasmPreemption::start(self, settings, limits)?))
    }

    fn must_be(&self, asked: PolicyKind) -> Result<(), StartError> {
        let is = self.kind();
        if is == asked {
            Ok(())
        } else {
            Err(StartError::WrongKind { is, asked })
        }
    }

    /// Takes the log messages kept so far, oldest first, and how many were
    /// dropped before anyone took them.
    #[must_use]
    pub fn drain_log(&self) -> (Vec<LogRecord>, u64) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
    }

    /// A fresh instance, not configured.
    pub(crate) fn start<B>(
        &self,
        limits: &RunLimits,
        clock: Clock,
        instantiate: impl FnOnce(&Linked, &mut Store<HostState>) -> wasmtime::Result<B>,
    ) -> Result<Guest<B>, PolicyFault> {
        Guest::start(&self.engine, limits, &self.log, clock, |store| {
            instantiate(&self.linked, store)
        })
    }
}

fn link(
    engine: &Engine,
    component: &Component,
    contract: &Contract,
) -> Result<Linked, PrepareError> {
    let linked = (|| {
        let pre = guest::linker(engine, &contract.version)?.instantiate_pre(component)?;
        Ok(match contract.kind {
            PolicyKind::Scoring => Linked::Scoring(scoring::ScoringPolicyPre::new(pre)?),
            PolicyKind::Admission => Linked::Admission(admission::AdmissionPolicyPre::new(pre)?),
            PolicyKind::Preemption => {
                Linked::Preemption(preemption::PreemptionPolicyPre::new(pre)?)
            }
            PolicyKind::Autoscaling => {
                Linked::Autoscaling(autoscaling::AutoscalingPolicyPre::new(pre)?)
            }
        })
    })();
    linked.map_err(|error: wasmtime::Error| PrepareError::WrongTypes {
        kind: contract.kind,
        version: contract.version.clone(),
        message: escape(&format!("{error:#}"), MESSAGE_BYTES_MAX).0,
    })
}

/// What a guest said, before anyone believed it.
struct Said {
    name: String,
    version: String,
    summary: String,
    settings_schema: String,
    columns: Vec<String>,
}

/// Instantiates the world behind `$pre` and asks it; the record is the same in
/// all four, its type is not.
macro_rules! ask {
    ($pre:expr, $interface:ident, $engine:expr, $limits:expr, $log:expr, $given:expr) => {{
        let clock = Clock::single($limits);
        let mut guest = Guest::start($engine, $limits, $log, clock, |store| {
            $pre.instantiate(store)
        })?;
        let (said, _) = guest.call($given, |world, store| {
            world.$interface().call_describe(store)
        })?;
        Said {
            name: said.name,
            version: said.version,
            summary: said.summary,
            settings_schema: said.settings_schema,
            columns: said.columns,
        }
    }};
}

fn describe(
    engine: &Engine,
    linked: &Linked,
    profile: Profile,
    log: &SharedLog,
) -> Result<Said, PrepareError> {
    let limits = &RunLimits {
        setup_wall_ms: DESCRIBE_WALL_MS,
        ..profile.run()
    };
    let given = Given {
        fuel: limits.fuel_setup,
        wall_ms: DESCRIBE_WALL_MS,
    };
    let ask = || -> Result<Said, PolicyFault> {
        Ok(match linked {
            Linked::Scoring(pre) => {
                ask!(pre, loadmaster_policy_scoring, engine, limits, log, given)
            }
            Linked::Admission(pre) => {
                ask!(pre, loadmaster_policy_admission, engine, limits, log, given)
            }
            Linked::Preemption(pre) => {
                ask!(
                    pre,
                    loadmaster_policy_preemption,
                    engine,
                    limits,
                    log,
                    given
                )
            }
            Linked::Autoscaling(pre) => {
                ask!(
                    pre,
                    loadmaster_policy_autoscaling,
                    engine,
                    limits,
                    log,
                    given
                )
            }
        })
    };
    ask().map_err(PrepareError::Describe)
}

fn validate(said: Said, kind: PolicyKind) -> Result<Description, DescriptionError> {
    let name = said.name.as_bytes();
    let well_named = name.len() <= NAME_BYTES_MAX
        && name.first().is_some_and(u8::is_ascii_lowercase)
        && name
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if !well_named {
        return Err(DescriptionError::Name {
            name: said.name.chars().take(NAME_BYTES_MAX).collect(),
        });
    }
    if said.version.len() > VERSION_BYTES_MAX || semver::Version::parse(&said.version).is_err() {
        return Err(DescriptionError::Version {
            version: said.version.chars().take(VERSION_BYTES_MAX).collect(),
        });
    }
    if said.summary.len() > SUMMARY_BYTES_MAX || said.summary.chars().any(char::is_control) {
        return Err(DescriptionError::Summary {
            bytes: said.summary.len(),
        });
    }
    schema(&said.settings_schema).map_err(|message| DescriptionError::Schema { message })?;

    let has_rows = matches!(kind, PolicyKind::Scoring | PolicyKind::Preemption);
    if !has_rows && !said.columns.is_empty() {
        return Err(DescriptionError::ColumnsWithoutRows {
            kind,
            count: said.columns.len(),
        });
    }
    let mut columns = Vec::new();
    for name in &said.columns {
        let column = Column::parse(name).ok_or_else(|| DescriptionError::UnknownColumn {
            column: name.chars().take(NAME_BYTES_MAX).collect(),
        })?;
        // Also bounds their number.
        if columns.contains(&column) {
            return Err(DescriptionError::DuplicateColumn {
                column: column.name(),
            });
        }
        columns.push(column);
    }
    Ok(Description {
        name: said.name,
        version: said.version,
        summary: said.summary,
        settings_schema: said.settings_schema,
        columns,
    })
}

fn schema(text: &str) -> Result<(), String> {
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(format!("{} bytes", text.len()));
    }
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_)) => Ok(()),
        Ok(_) => Err("another kind of JSON value".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
