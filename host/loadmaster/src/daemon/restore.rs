//! From a directory to a running daemon.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Engine, Output};
use lifecycle::{BlobError, Blobs, Registry, Workshop};
use model::{PolicyKind, PolicySetSpec};
use sandbox::{ArtifactKey, Sandbox};
use store::{Reader, Store};

use super::DaemonConfig;
use super::book::{Book, OBJECT_PREFIXES};
use super::core::{Answers, Core, IDEMPOTENCY_MS, Kept};
use super::handle::{DaemonHandle, Shared};
use super::lanes::Lanes;
use super::live::Hub;
use super::metrics::Metrics;
use super::recent::Recent;
use crate::wire;

/// Exit code after a panic of the core thread: the state in memory is not to be
/// trusted, what was acknowledged is on disk (`EX_SOFTWARE`).
const EXIT_PANIC: i32 = 70;

/// The daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    /// An object in the store is not what this version writes.
    #[error("stored object {key} cannot be read: {cause}")]
    Object {
        /// Its key.
        key: String,
        /// What is wrong.
        cause: String,
    },
    /// Objects contradict each other.
    #[error("the stored state contradicts itself: {0}")]
    State(String),
    /// No thread.
    #[error("cannot start the thread that decides")]
    Thread(#[source] std::io::Error),
}

impl StartError {
    /// Exit code (sysexits.h): 75 in use, 78 written by a newer version, 74 its
    /// contents cannot be trusted, 70 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) => error.exit_code(),
            Self::Object { .. } | Self::State(_) => 74,
            Self::Sandbox(_) | Self::Thread(_) => 70,
        }
    }
}

/// Components of a host without a store.
#[derive(Default)]
struct InMemory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Blobs for InMemory {
    fn put(&self, digest: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert(digest.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, digest: &str) -> Result<Vec<u8>, BlobError> {
        let blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.get(digest).cloned().ok_or_else(|| BlobError {
            action: "read",
            digest: digest.to_owned(),
            source: "it was never uploaded".into(),
        })
    }
}

struct OnDisk(store::Blobs);

impl Blobs for OnDisk {
    fn put(&self, digest: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BlobError {
            action: "keep",
            digest: digest.to_owned(),
            source,
        };
        let stored = self.0.put(bytes).map_err(|e| failed(Box::new(e)))?;
        if digest.strip_prefix("sha256:") == Some(&stored) {
            Ok(())
        } else {
            Err(failed(format!("the store calls it {stored}").into()))
        }
    }

    fn get(&self, digest: &str) -> Result<Vec<u8>, BlobError> {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        self.0.get(hex).or_else(|e| {
            // A snapshot has no components; those of this binary need none.
            shipped(digest).ok_or_else(|| BlobError {
                action: "read",
                digest: digest.to_owned(),
                source: Box::new(e),
            })
        })
    }
}

/// The component of this binary with this digest.
fn shipped(digest: &str) -> Option<Vec<u8>> {
    crate::bundled::components()
        .iter()
        .find(|b| crate::replay::digest::sha256(b.wasm) == digest)
        .map(|b| b.wasm.to_vec())
}

/// Everything below a prefix, decoded.
fn objects<T: serde::de::DeserializeOwned>(
    reader: &Reader,
    prefix: &[u8],
) -> Result<Vec<T>, StartError> {
    let mut found = Vec::new();
    for object in reader.objects(prefix) {
        let object = object?;
        let decoded = wire::from_json(&object.value.bytes);
        found.push(decoded.map_err(|e| unreadable(&object.key, &e))?);
    }
    Ok(found)
}

fn unreadable(key: &[u8], cause: &dyn std::fmt::Display) -> StartError {
    StartError::Object {
        key: String::from_utf8_lossy(key).into_owned(),
        cause: cause.to_string(),
    }
}

fn engine(config: &DaemonConfig, reader: &Reader) -> Result<Engine, StartError> {
    let mut state = Vec::new();
    for prefix in OBJECT_PREFIXES {
        for object in objects::<wire::object::Object>(reader, prefix)? {
            state.push(object.try_into().map_err(|e| unreadable(prefix, &e))?);
        }
    }
    Engine::restore(config.engine.clone(), state).map_err(|e| StartError::State(e.to_string()))
}

fn registry(reader: &Reader) -> Result<Registry, StartError> {
    let mut policies = Vec::new();
    for policy in objects::<wire::policy::Policy>(reader, b"policy/")? {
        policies.push(policy.try_into().map_err(|e| unreadable(b"policy/", &e))?);
    }
    let hooks = objects::<wire::policy::Hook>(reader, b"hook/")?;
    Registry::restore(policies, hooks.into_iter().map(Into::into))
        .map_err(|e| StartError::State(e.to_string()))
}

fn answers(reader: &Reader, now_ms: u64) -> Result<Answers, StartError> {
    let mut kept = objects::<Kept>(reader, b"idem/")?;
    kept.retain(|k| k.at_ms + IDEMPOTENCY_MS > now_ms);
    kept.sort_by(|a, b| (a.at_ms, &a.key).cmp(&(b.at_ms, &b.key)));
    let mut answers = Answers::default();
    kept.into_iter().for_each(|k| answers.insert(k));
    Ok(answers)
}

/// Puts the sets of the records into the engine, or says why not.
fn install(
    engine: &mut Engine,
    registry: &Registry,
    workshop: &Workshop,
) -> BTreeMap<PolicyKind, String> {
    let mut fallen_back = BTreeMap::new();
    for hook in registry.hooks().filter(|h| h.revision > 0) {
        let mut gate = None;
        let restored = match workshop.restore(hook, registry) {
            Ok(restored) => restored,
            Err(error) => {
                fallen_back.insert(hook.kind, error.to_string());
                continue;
            }
        };
        for gone in restored.unavailable {
            if gone.active {
                let text = format!("the built-in decides: {}", gone.reason);
                fallen_back.insert(hook.kind, text);
                let mut closed = hook.active.members.iter();
                let closed = closed.find(|m| m.fail == model::FailMode::Closed);
                if let Some(member) = closed.filter(|_| hook.kind == PolicyKind::Admission) {
                    gate = Some((member.policy.clone(), gone.reason.to_string()));
                }
            }
        }
        // In the order in which they decided.
        for set in restored.previous.into_iter().chain([restored.active]) {
            drop(super::sets::install(engine, set));
        }
        if let Some((policy, why)) = gate {
            engine.shut_gate(policy, why);
        }
    }
    fallen_back
}

pub(crate) fn start(mut config: DaemonConfig) -> Result<DaemonHandle, StartError> {
    let now_ms = (config.clock)();
    let opened = match &config.data_dir {
        Some(dir) => Some(Store::open(dir, config.store.clone())?),
        None => None,
    };
    if let Some(dir) = &config.data_dir {
        // Machine code in the cache is only believed with this key; both are the
        // daemon's own, below a directory that is only its own.
        config
            .sandbox
            .cache_dir
            .get_or_insert_with(|| dir.join("artifacts"));
        if config.sandbox.key.is_none() {
            let key = ArtifactKey::load_or_create(&dir.join("artifact.key"));
            config.sandbox.key = Some(key.map_err(sandbox::SandboxError::Key)?);
        }
    }
    let sandbox = Arc::new(Sandbox::new(config.sandbox.clone())?);
    let mut hold = None;
    let (store, reader) = match opened {
        Some((store, recovered)) => {
            for note in &recovered.notes {
                tracing::warn!("{note}");
            }
            hold = recovered.hold.map(|reason| reason.to_string());
            let reader = store.reader().clone();
            (Some(store), Some(reader))
        }
        None => (None, None),
    };
    let blobs: Arc<dyn Blobs> = match &store {
        Some(store) => Arc::new(OnDisk(store.blobs().clone())),
        None => Arc::new(InMemory::default()),
    };
    let workshop = Arc::new(Workshop::new(sandbox, blobs));

    let (mut engine, registry, answers, mut sets) = match &reader {
        Some(reader) => {
            let sets = objects::<wire::policy::PolicySet>(reader, b"set/")?;
            let sets = sets
                .into_iter()
                .map(|s| (s.revision, PolicySetSpec::from(s)));
            (
                engine(&config, reader)?,
                registry(reader)?,
                answers(reader, now_ms)?,
                sets.collect(),
            )
        }
        None => (
            Engine::new(config.engine.clone()),
            Registry::new(),
            Answers::default(),
            BTreeMap::new(),
        ),
    };
    if let Some(reason) = &hold {
        tracing::error!(
            reason,
            "on hold: nothing is taken away until an operator approves"
        );
        engine.set_hold(true);
    }
    let fallen_back = install(&mut engine, &registry, &workshop);
    let active = engine.scoring().spec.clone();
    sets.insert(active.revision, active);

    let lanes = Arc::new(Lanes::new());
    let hub = Arc::new(Hub::new(now_ms));
    let core = Core {
        engine,
        registry,
        book: Book::new(store.is_some()),
        store,
        reader,
        sets,
        fallen_back,
        hold,
        degraded: None,
        recent: Recent::default(),
        answers,
        metrics: Metrics::default(),
        clock: Arc::clone(&config.clock),
        tick: config.tick,
        lanes: Arc::clone(&lanes),
        hub: Arc::clone(&hub),
        changes: Vec::new(),
        out: Output::default(),
    };
    let thread = std::thread::Builder::new()
        .name("decide".to_owned())
        .spawn(move || {
            let run = std::panic::catch_unwind(AssertUnwindSafe(|| core.run()));
            if run.is_err() {
                // Nothing in memory can be trusted now; everything acknowledged is on
                // disk. A host that hangs on would be worse than one that restarts.
                eprintln!(
                    "loadmaster: the thread that decides panicked; stopping (exit {EXIT_PANIC})"
                );
                std::process::exit(EXIT_PANIC);
            }
        });
    Ok(DaemonHandle(Arc::new(Shared {
        lanes,
        hub,
        workshop,
        clock: config.clock,
        full: AtomicU64::new(0),
        thread: Mutex::new(Some(thread.map_err(StartError::Thread)?)),
    })))
}
