//! Machine code at rest.
//!
//! Loading machine code is trusting it, so nothing is loaded that this host did
//! not seal: an HMAC over the code, the component it came from, the
//! configuration it was compiled for and the host's version, with a key that
//! lives outside the cache. A file that does not verify is compiled again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use wasmtime::Engine;

/// Starts every artifact file; the digit grows with the layout.
const MAGIC: &[u8; 8] = b"LMCODE1\n";
/// Bytes of an HMAC-SHA256.
const SEAL_BYTES: usize = 32;
/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// The secret that seals artifacts. One per data directory, outside the cache.
#[derive(Clone)]
pub struct ArtifactKey([u8; KEY_BYTES]);

impl std::fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ArtifactKey(..)")
    }
}

/// The key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or made.
    #[error("cannot use the artifact key {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// It is not a key.
    #[error("the artifact key {path} has {bytes} bytes instead of {KEY_BYTES}")]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// Others can read or write it.
    #[error("the artifact key {path} has mode {mode:o}; it must not be open to group or others")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl ArtifactKey {
    /// A key from bytes kept elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A new random key, for a host without a data directory.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random() -> Result<Self, KeyError> {
        let path = PathBuf::from("/dev/urandom");
        let mut bytes = [0; KEY_BYTES];
        File::open(&path)
            .and_then(|mut f| f.read_exact(&mut bytes))
            .map_err(|source| KeyError::Io { path, source })?;
        Ok(Self(bytes))
    }

    /// Reads the key at `path`, or makes one there with mode 0600.
    ///
    /// # Errors
    /// The file cannot be read or made, is open to others, or is no key.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        match File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = Self::random()?;
                write_whole(path, &[&key.0]).map_err(io)?;
                // Read back: another process may have been first.
                Self::read(path, File::open(path).map_err(io)?)
            }
            Err(e) => Err(io(e)),
        }
    }

    fn read(path: &Path, mut file: File) -> Result<Self, KeyError> {
        use std::os::unix::fs::PermissionsExt;
        let io = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        let meta = file.metadata().map_err(io)?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode {
                path: path.to_owned(),
                mode,
            });
        }
        if meta.len() != KEY_BYTES as u64 {
            return Err(KeyError::Length {
                path: path.to_owned(),
                bytes: meta.len(),
            });
        }
        let mut bytes = [0; KEY_BYTES];
        file.read_exact(&mut bytes).map_err(io)?;
        Ok(Self(bytes))
    }
}

/// SHA-256 of a component.
pub(crate) type ComponentDigest = [u8; 32];

pub(crate) fn digest(component: &[u8]) -> ComponentDigest {
    Sha256::digest(component).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// What an engine's machine code depends on besides the component.
pub(crate) fn fingerprint(engine: &Engine) -> [u8; 32] {
    /// The runtime only offers its configuration to a `Hasher`; 64 bits of the
    /// standard one would be enough for luck and too few for a seal.
    struct Whole(Sha256);
    impl Hasher for Whole {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Whole(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// The cache directory, if there is one, and the seal.
#[derive(Debug)]
pub(crate) struct Artifacts {
    key: ArtifactKey,
    fingerprint: [u8; 32],
    dir: Option<PathBuf>,
}

impl Artifacts {
    pub(crate) fn new(
        key: ArtifactKey,
        fingerprint: [u8; 32],
        dir: Option<PathBuf>,
    ) -> io::Result<Self> {
        if let Some(dir) = &dir {
            fs::create_dir_all(dir)?;
        }
        Ok(Self {
            key,
            fingerprint,
            dir,
        })
    }

    fn path(&self, component: &ComponentDigest) -> Option<PathBuf> {
        let name = format!("{}.{}.code", hex(component), hex(&self.fingerprint[..8]));
        self.dir.as_ref().map(|dir| dir.join(name))
    }

    fn seal(&self, component: &ComponentDigest, code: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("any length");
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        // Lengths first, so that no two sets of fields read the same.
        for field in [version, &self.fingerprint, component, code] {
            mac.update(&(field.len() as u64).to_le_bytes());
            mac.update(field);
        }
        mac
    }

    /// The code of this component, if an intact copy is kept. Read whole and
    /// checked in memory: what was verified is what is loaded.
    pub(crate) fn load(&self, component: &ComponentDigest, bytes_max: u64) -> Option<Vec<u8>> {
        let path = self.path(component)?;
        let head = MAGIC.len() + SEAL_BYTES;
        let mut file = Vec::new();
        File::open(&path)
            .and_then(|f| f.take(bytes_max + head as u64 + 1).read_to_end(&mut file))
            .ok()?;
        let intact = file.len() > head
            && file.len() as u64 <= bytes_max + head as u64
            && file.starts_with(MAGIC)
            && self
                .seal(component, &file[head..])
                .verify_slice(&file[MAGIC.len()..head])
                .is_ok();
        if !intact {
            tracing::warn!(path = %path.display(), "artifact does not verify; compiling again");
            return None;
        }
        file.drain(..head);
        Some(file)
    }

    /// Removes what no component of `live` (hex digests) will ask for: other
    /// components, other configurations, files of a write that was cut off.
    pub(crate) fn prune(&self, live: &BTreeSet<String>) -> io::Result<usize> {
        let Some(dir) = &self.dir else {
            return Ok(0);
        };
        let ours = format!(".{}.code", hex(&self.fingerprint[..8]));
        let mut removed = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let wanted = name
                .to_str()
                .and_then(|name| name.strip_suffix(&ours))
                .is_some_and(|digest| live.contains(digest));
            if !wanted && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Keeps the code. Failure costs a compile later, so it is only reported.
    pub(crate) fn store(&self, component: &ComponentDigest, code: &[u8]) {
        let Some(path) = self.path(component) else {
            return;
        };
        let seal = self.seal(component, code).finalize().into_bytes();
        if let Err(error) = write_whole(&path, &[MAGIC, &seal, code]) {
            tracing::warn!(path = %path.display(), %error, "artifact not kept");
        }
    }
}

/// Writes a file that is either whole or absent after a power cut.
fn write_whole(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{number}.tmp", std::process::id()));
    let tmp = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&tmp)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::rename(&tmp, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    written
}

#[cfg(test)]
mod tests;
