//! Finds, compiles and starts the policies that SPECs name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cluster::gangs::Order;
use engine::builtin::{binpack::BuiltinBinpack, hpa::BuiltinHpa};
use engine::port::admission::AdmissionPolicy;
use engine::port::preemption::PreemptionPolicy;
use engine::port::{AutoscalingPolicy, Description, ScoringPolicy};
use engine::scaling::AutoscalingSetError;
use engine::{AdmissionSet, ChainError, PreemptionSet, SetError};
use model::{PolicyId, PolicyKind};
use sandbox::{
    ArtifactKey, KeyError, PrepareError, Prepared, Profile, RunLimits, Sandbox, SandboxConfig,
    SandboxError, StartError,
};

use super::spec::{PolicyRef, Source, nearest};
use crate::bundled;

/// Native policies by kind. `quota` and `priority` are part of the engine; the
/// other admission orders are those of the gang replay.
pub const BUILTINS: [(PolicyKind, &str); 8] = [
    (PolicyKind::Scoring, "binpack"),
    (PolicyKind::Autoscaling, "hpa"),
    (PolicyKind::Admission, AdmissionSet::BUILTIN),
    (PolicyKind::Preemption, PreemptionSet::BUILTIN),
    (PolicyKind::Admission, "fifo"),
    (PolicyKind::Admission, "srtf"),
    (PolicyKind::Admission, "srsf"),
    (PolicyKind::Admission, "las"),
];

/// A policy that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No built-in of that kind and name.
    #[error("there is no built-in {kind} policy {name:?}")]
    UnknownBuiltin {
        /// Kind.
        kind: PolicyKind,
        /// Name.
        name: String,
    },
    /// A built-in with settings.
    #[error("the built-in {name:?} has no settings, but {settings} were given")]
    BuiltinSettings {
        /// Name.
        name: String,
        /// What was given.
        settings: String,
    },
    /// Not shipped with this binary.
    #[error("there is no {kind} policy {name:?} in this binary")]
    UnknownName {
        /// Kind.
        kind: PolicyKind,
        /// Name.
        name: String,
    },
    /// A built-in that is not behind the port that was asked for.
    #[error("the built-in {name:?} orders the jobs of `replay gangs` and nothing else")]
    OnlyReplay {
        /// Name.
        name: String,
    },
    /// Another version.
    #[error("{name} {asked} is not in this binary, which has {has}")]
    OtherVersion {
        /// Name.
        name: String,
        /// Version asked for.
        asked: String,
        /// Version there is.
        has: String,
    },
    /// Another kind.
    #[error("{what} is a policy of kind {is}, but {asked} was asked for")]
    OtherKind {
        /// What.
        what: String,
        /// Its kind.
        is: PolicyKind,
        /// Kind asked for.
        asked: PolicyKind,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any policy may be.
    #[error("{path} has {bytes} bytes, more than the {max} of a policy")]
    TooLarge {
        /// File.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// The runtime does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Refused on the way from bytes to something callable.
    #[error("{what} is not a usable policy")]
    Prepare {
        /// What.
        what: String,
        /// Cause.
        #[source]
        source: PrepareError,
    },
    /// It did not accept its settings, or failed at the start.
    #[error("{what} did not start")]
    Start {
        /// What.
        what: String,
        /// Cause.
        #[source]
        source: StartError,
    },
    /// The policies do not make a set.
    #[error(transparent)]
    Set(#[from] SetError),
    /// As above, for autoscaling.
    #[error(transparent)]
    AutoscalingSet(#[from] AutoscalingSetError),
    /// As above, for admission and preemption.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The built-in beside policies of its kind.
    #[error("builtin:{name} answers whatever the other {kind} policies leave open")]
    BuiltinInChain {
        /// Kind.
        kind: PolicyKind,
        /// Name.
        name: String,
    },
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownBuiltin { kind, name } => {
                let known = BUILTINS.iter().filter(|(k, _)| k == kind).map(|(_, n)| *n);
                Some(suggestion(name, &known.collect::<Vec<_>>(), "built-in"))
            }
            Self::BuiltinSettings { name, .. } => Some(format!(
                "leave the settings out, or use the shipped policy {name:?} instead of the built-in"
            )),
            Self::UnknownName { kind, name } => {
                let known: Vec<&str> = bundled::components()
                    .iter()
                    .filter(|b| b.kind == *kind)
                    .map(|b| b.name)
                    .collect();
                Some(suggestion(name, &known, "shipped"))
            }
            Self::OtherVersion { name, .. } => Some(format!(
                "write {name} without @version, or give a .wasm file"
            )),
            Self::OtherKind { is, .. } => Some(format!("write {is}= in front")),
            Self::Prepare { .. } => {
                Some("`loadmaster inspect FILE.wasm` says what is inside".to_owned())
            }
            Self::Start { .. } => {
                Some("`loadmaster inspect` prints the schema of a policy's settings".to_owned())
            }
            Self::File { .. } | Self::TooLarge { .. } | Self::Sandbox(_) => None,
            Self::OnlyReplay { .. } => Some(format!(
                "the built-in that decides about entry is builtin:{}",
                AdmissionSet::BUILTIN
            )),
            Self::BuiltinInChain { .. } => Some("name it alone, or not at all".to_owned()),
            Self::Set(_) | Self::AutoscalingSet(_) | Self::Chain(_) => None,
        }
    }
}

fn suggestion(typed: &str, known: &[&str], what: &str) -> String {
    let list = match known {
        [] => format!("no {what} policy has this kind"),
        _ => format!("{what} are {}", known.join(", ")),
    };
    match nearest(typed, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}? {list}"),
        None => list,
    }
}

/// A gang order by the name of its built-in admission policy.
#[must_use]
pub fn admission_order(loaded: &Loaded) -> Option<Order> {
    match &loaded.made {
        Made::Builtin(name) if loaded.asked.kind == PolicyKind::Admission => Order::parse(name),
        _ => None,
    }
}

/// One sandbox for the process, started when the first component is needed.
pub struct Loader {
    limits: RunLimits,
    sandbox: OnceLock<Sandbox>,
    starting: Mutex<()>,
    prepared: Mutex<BTreeMap<String, Arc<Prepared>>>,
}

/// A policy that was found and compiled. Every call makes a new instance.
#[derive(Clone)]
pub struct Loaded {
    /// What was asked for.
    pub asked: PolicyRef,
    /// What it turned out to be.
    pub id: PolicyId,
    made: Made,
    limits: RunLimits,
}

#[derive(Clone)]
enum Made {
    Builtin(String),
    Wasm(Arc<Prepared>),
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("asked", &self.asked)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// For replays: fuel alone bounds a call, so that a busy machine changes no
    /// decision.
    #[must_use]
    pub fn unhurried() -> Self {
        Self::with_limits(RunLimits::STANDARD.unhurried())
    }

    /// With these bounds on every instance.
    #[must_use]
    pub fn with_limits(limits: RunLimits) -> Self {
        Self {
            limits,
            sandbox: OnceLock::new(),
            starting: Mutex::new(()),
            prepared: Mutex::default(),
        }
    }

    /// Finds and compiles one policy.
    ///
    /// # Errors
    /// It does not exist, is another kind, or is refused by the sandbox.
    pub fn load(&self, asked: &PolicyRef) -> Result<Loaded, LoadError> {
        let loaded = |id, made| Loaded {
            asked: asked.clone(),
            id,
            made,
            limits: self.limits,
        };
        match &asked.source {
            Source::Builtin(name) => {
                if !BUILTINS.contains(&(asked.kind, name.as_str())) {
                    return Err(LoadError::UnknownBuiltin {
                        kind: asked.kind,
                        name: name.clone(),
                    });
                }
                if asked.settings != "{}" {
                    return Err(LoadError::BuiltinSettings {
                        name: name.clone(),
                        settings: asked.settings.clone(),
                    });
                }
                Ok(loaded(PolicyId::builtin(name), Made::Builtin(name.clone())))
            }
            Source::Named { name, version } => {
                let shipped = bundled::component(name);
                let Some(shipped) = shipped else {
                    return Err(LoadError::UnknownName {
                        kind: asked.kind,
                        name: name.clone(),
                    });
                };
                let prepared = self.prepare(shipped.wasm, asked.kind, name)?;
                let has = &prepared.id().version;
                if let Some(wanted) = version
                    && wanted != has
                {
                    return Err(LoadError::OtherVersion {
                        name: name.clone(),
                        asked: wanted.clone(),
                        has: has.clone(),
                    });
                }
                Ok(loaded(prepared.id().clone(), Made::Wasm(prepared)))
            }
            Source::File(path) => {
                let bytes = read_component(path)?;
                let shown = path.display().to_string();
                let prepared = self.prepare(&bytes, asked.kind, &shown)?;
                Ok(loaded(prepared.id().clone(), Made::Wasm(prepared)))
            }
        }
    }

    /// Compiles a component, once per digest.
    ///
    /// # Errors
    /// The sandbox refuses it, or it is another kind.
    pub fn prepare(
        &self,
        wasm: &[u8],
        kind: PolicyKind,
        what: &str,
    ) -> Result<Arc<Prepared>, LoadError> {
        let prepared = self.prepare_any(wasm, what)?;
        if prepared.kind() == kind {
            Ok(prepared)
        } else {
            Err(LoadError::OtherKind {
                what: what.to_owned(),
                is: prepared.kind(),
                asked: kind,
            })
        }
    }

    /// As [`Self::prepare`], whatever its kind.
    ///
    /// # Errors
    /// The sandbox refuses it.
    pub fn prepare_any(&self, wasm: &[u8], what: &str) -> Result<Arc<Prepared>, LoadError> {
        let digest = crate::replay::digest::sha256(wasm);
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = prepared.get(&digest) {
            return Ok(Arc::clone(known));
        }
        let new = self
            .sandbox()?
            .prepare(wasm, Profile::Standard)
            .map_err(|source| LoadError::Prepare {
                what: what.to_owned(),
                source,
            })?;
        prepared.insert(digest, Arc::clone(&new));
        Ok(new)
    }

    fn sandbox(&self) -> Result<&Sandbox, LoadError> {
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sandbox) = self.sandbox.get() {
            return Ok(sandbox);
        }
        // A home that cannot be written is no reason not to run: without a
        // cache every start compiles again.
        let (cache_dir, key) = match cache() {
            Some((dir, Ok(key))) => (Some(dir), Some(key)),
            _ => (None, None),
        };
        let sandbox = Sandbox::new(SandboxConfig {
            cache_dir,
            key,
            ..SandboxConfig::default()
        })?;
        Ok(self.sandbox.get_or_init(|| sandbox))
    }
}

/// Machine code below the user's cache directory, its key below the data
/// directory: who can write the one need not be able to write the other.
fn cache() -> Option<(PathBuf, Result<ArtifactKey, KeyError>)> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let base = |variable: &str, below_home: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
            .or_else(|| home.as_ref().map(|h| h.join(below_home)))
            .map(|p| p.join("loadmaster"))
    };
    let code = base("XDG_CACHE_HOME", ".cache")?.join("artifacts");
    let data = base("XDG_DATA_HOME", ".local/share")?;
    let writable = [&code, &data]
        .iter()
        .all(|dir| std::fs::create_dir_all(dir).is_ok());
    writable.then(|| {
        (
            code,
            ArtifactKey::load_or_create(&data.join("artifact.key")),
        )
    })
}

/// Reads a component, refusing what no profile would take before reading it.
///
/// # Errors
/// The file cannot be read or is too large.
pub fn read_component(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::File {
        path: path.to_owned(),
        source,
    };
    let max = Profile::Interpreter.shape().component_bytes;
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > max {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
            bytes,
            max,
        });
    }
    std::fs::read(path).map_err(failed)
}

impl Loaded {
    /// What the policy says about itself; `None` for a gang order, which is
    /// not behind a port.
    #[must_use]
    pub fn description(&self) -> Option<Description> {
        match (&self.made, self.asked.kind) {
            (Made::Wasm(p), _) => Some(p.description().clone()),
            (Made::Builtin(_), PolicyKind::Scoring) => {
                Some(BuiltinBinpack::new().description().clone())
            }
            (Made::Builtin(_), PolicyKind::Autoscaling) => {
                Some(BuiltinHpa::new().description().clone())
            }
            _ => None,
        }
    }

    /// A new scoring instance.
    ///
    /// # Errors
    /// Another kind, or it refuses its settings.
    pub fn scoring(&self) -> Result<Box<dyn ScoringPolicy>, LoadError> {
        match &self.made {
            Made::Builtin(_) if self.asked.kind == PolicyKind::Scoring => {
                Ok(Box::new(BuiltinBinpack::new()))
            }
            Made::Builtin(_) => Err(self.other_kind(PolicyKind::Scoring)),
            Made::Wasm(p) => p
                .scoring(&self.asked.settings, self.limits)
                .map_err(|e| self.not_started(e)),
        }
    }

    /// A new autoscaling instance.
    ///
    /// # Errors
    /// Another kind, or it refuses its settings.
    pub fn autoscaling(&self) -> Result<Box<dyn AutoscalingPolicy>, LoadError> {
        match &self.made {
            Made::Builtin(_) if self.asked.kind == PolicyKind::Autoscaling => {
                Ok(Box::new(BuiltinHpa::new()))
            }
            Made::Builtin(_) => Err(self.other_kind(PolicyKind::Autoscaling)),
            Made::Wasm(p) => p
                .autoscaling(&self.asked.settings, self.limits)
                .map_err(|e| self.not_started(e)),
        }
    }

    /// A new admission instance.
    ///
    /// # Errors
    /// A built-in, another kind, or it refuses its settings.
    pub fn admission(&self) -> Result<Box<dyn AdmissionPolicy>, LoadError> {
        match &self.made {
            Made::Builtin(name) if self.asked.kind == PolicyKind::Admission => {
                Err(LoadError::OnlyReplay { name: name.clone() })
            }
            Made::Builtin(_) => Err(self.other_kind(PolicyKind::Admission)),
            Made::Wasm(p) => p
                .admission(&self.asked.settings, self.limits)
                .map_err(|e| self.not_started(e)),
        }
    }

    /// A new preemption instance.
    ///
    /// # Errors
    /// The built-in, which is behind no port, another kind, or it refuses its
    /// settings.
    pub fn preemption(&self) -> Result<Box<dyn PreemptionPolicy>, LoadError> {
        match &self.made {
            Made::Builtin(_) => Err(self.other_kind(PolicyKind::Preemption)),
            Made::Wasm(p) => p
                .preemption(&self.asked.settings, self.limits)
                .map_err(|e| self.not_started(e)),
        }
    }

    /// Whether it is the native built-in of this name.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        matches!(&self.made, Made::Builtin(is) if is == name)
    }

    fn other_kind(&self, asked: PolicyKind) -> LoadError {
        LoadError::OtherKind {
            what: self.asked.short(),
            is: self.asked.kind,
            asked,
        }
    }

    fn not_started(&self, source: StartError) -> LoadError {
        LoadError::Start {
            what: self.asked.short(),
            source,
        }
    }
}
