//! One runtime for the whole process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::artifact::{self, ArtifactKey, Artifacts, ComponentDigest, KeyError};
use crate::compile::{Compile, CompileError, Compiler};
use crate::config;
use crate::limits::Profile;
use crate::prepared::{PrepareError, Prepared};
use crate::shape;
use crate::ticker::{self, TickLag};

/// Instances alive at once: eight policies of the active, the previous, the
/// shadow and the canary set for two kinds, their audits, and as many again for
/// tests of uploads. Each reserves 4 GiB of address space, and no memory.
pub const INSTANCES_MAX: u32 = 128;

/// How to build a [`Sandbox`].
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Who compiles.
    pub compiler: Compiler,
    /// Where machine code is kept between starts; `None` keeps none.
    pub cache_dir: Option<PathBuf>,
    /// Seals that code. `None` makes a key for this process only, so that a
    /// cache from before is not used.
    pub key: Option<ArtifactKey>,
    /// Instances alive at once.
    pub instances: u32,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            compiler: Compiler::CurrentExe,
            cache_dir: None,
            key: None,
            instances: INSTANCES_MAX,
        }
    }
}

/// The sandbox could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The runtime refused its configuration.
    #[error("cannot start the WebAssembly runtime: {0}")]
    Runtime(String),
    /// No thread for the wall guard.
    #[error("cannot start the thread behind the wall guard")]
    Ticker(#[source] std::io::Error),
    /// The cache directory cannot be made.
    #[error("cannot use the artifact cache {dir}")]
    Cache {
        /// The directory.
        dir: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// How instances get their memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocator {
    /// From slots reserved at the start.
    Pooling,
    /// Each on its own, because the pool was refused. Slower to start an
    /// instance, bounded by the instances the host makes.
    OnDemand {
        /// Why there is no pool.
        reason: String,
    },
}

/// Engine, wall clock, compiler and cache. Build one per process: the engine's
/// tables of types must not meet another engine's.
pub struct Sandbox {
    engine: Engine,
    allocator: Allocator,
    lag: Arc<TickLag>,
    compile: Compile,
    artifacts: Artifacts,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("allocator", &self.allocator)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Turns epochs on and starts the thread that advances them: one without the
    /// other would be a timeout that never fires.
    ///
    /// # Errors
    /// The runtime, its thread, the cache directory or the key cannot be had.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let (engine, allocator) = match Engine::new(&config::pooled(config.instances)) {
            Ok(engine) => (engine, Allocator::Pooling),
            // The pool reserves address space, which `ulimit -v` may refuse.
            Err(refused) => {
                let reason = format!("{refused:#}");
                tracing::warn!(reason, "no instance pool; allocating on demand");
                let engine = Engine::new(&config::on_demand())
                    .map_err(|e| SandboxError::Runtime(format!("{e:#}")))?;
                (engine, Allocator::OnDemand { reason })
            }
        };
        let lag = ticker::start(engine.weak()).map_err(SandboxError::Ticker)?;
        let key = match config.key {
            Some(key) => key,
            None => ArtifactKey::random()?,
        };
        let fingerprint = artifact::fingerprint(&engine);
        let artifacts =
            Artifacts::new(key, fingerprint, config.cache_dir.clone()).map_err(|source| {
                SandboxError::Cache {
                    dir: config.cache_dir.unwrap_or_default(),
                    source,
                }
            })?;
        Ok(Self {
            engine,
            allocator,
            lag,
            compile: Compile::new(config.compiler),
            artifacts,
        })
    }

    /// Takes a component all the way to something that can be instantiated:
    /// filter, compile in the child (or take the sealed copy), link, ask it who
    /// it is. Blocks for as long as the compile takes; not for the decision
    /// thread.
    ///
    /// # Errors
    /// The first reason to refuse the component.
    pub fn prepare(
        &self,
        component: &[u8],
        profile: Profile,
    ) -> Result<Arc<Prepared>, PrepareError> {
        let shape = shape::check(component, &profile.shape())?;
        let digest = artifact::digest(component);
        let loaded = self.load(component, &digest, profile)?;
        Prepared::new(&self.engine, &loaded, shape, &digest, profile).map(Arc::new)
    }

    /// Compiles within the child's limits without the filter in front, and
    /// forgets the result: how much a component would cost if the filter missed
    /// it. For tests of the second wall.
    ///
    /// # Errors
    /// As the compile ends.
    pub fn compile_unfiltered(
        &self,
        component: &[u8],
        limits: &crate::limits::CompileLimits,
    ) -> Result<usize, CompileError> {
        self.compile
            .run(&self.engine, component, limits)
            .map(|code| code.len())
    }

    fn load(
        &self,
        component: &[u8],
        digest: &ComponentDigest,
        profile: Profile,
    ) -> Result<Component, PrepareError> {
        let limits = profile.compile();
        if let Some(code) = self.artifacts.load(digest, limits.artifact_bytes) {
            match self.deserialize(&code) {
                Ok(loaded) => return Ok(loaded),
                Err(error) => {
                    tracing::warn!(error = %format!("{error:#}"), "sealed artifact not loaded; compiling again");
                }
            }
        }
        let code = self.compile.run(&self.engine, component, &limits)?;
        let loaded = self
            .deserialize(&code)
            .map_err(|error| PrepareError::NotLoaded {
                message: format!("{error:#}"),
            })?;
        // Kept only once it has loaded.
        self.artifacts.store(digest, &code);
        Ok(loaded)
    }

    #[expect(
        unsafe_code,
        reason = "the code was made by our own compile child in this call, or its seal was verified"
    )]
    fn deserialize(&self, code: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` trusts its bytes. They come from `compile`, or
        // from `artifacts`, which checked an HMAC over exactly these bytes.
        unsafe { Component::deserialize(&self.engine, code) }
    }

    /// Removes kept machine code that none of these digests (`sha256:<hex>`)
    /// will ask for, and says how many files that were. The cache directory must
    /// hold nothing else.
    ///
    /// # Errors
    /// The directory cannot be read or a file not removed.
    pub fn prune_cache<'d>(
        &self,
        live: impl IntoIterator<Item = &'d str>,
    ) -> std::io::Result<usize> {
        let live = live
            .into_iter()
            .map(|d| d.strip_prefix("sha256:").unwrap_or(d).to_owned())
            .collect();
        self.artifacts.prune(&live)
    }

    /// How instances get their memory.
    #[must_use]
    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// How late the worst tick of the wall clock was so far, µs. Deadlines slip
    /// by as much.
    #[must_use]
    pub fn tick_lag_us_max(&self) -> u64 {
        self.lag.worst_us()
    }

    /// Hex fingerprint of runtime version, configuration and target: machine
    /// code is shared between hosts that agree on it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        artifact::hex(&artifact::fingerprint(&self.engine))
    }
}

/// The shared ring of a policy's log messages.
pub(crate) type SharedLog = Arc<Mutex<crate::log::LogRing>>;
