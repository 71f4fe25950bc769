//! The whole state in one file that needs nothing else to be read.
//!
//! `[magic 8][format u32][schema u32][cluster 16][state len u32][state]`, then
//! `[key len u16][value len u32][key][enveloped value]` for each object in key
//! order, then the sha256 of everything before. Objects keep their envelopes, so
//! that the state root is the same wherever they are.
//!
//! A snapshot counts only after it was read back from the file system and found
//! to have the root it was written with: a backup that was never restored is a
//! hope.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::bytes::{Fields, hex, show_key};
use crate::disk::{Disk, Point, fail};
use crate::envelope::{self, State};
use crate::error::StoreError;
use crate::frame::{KEY_BYTES_MAX, VALUE_BYTES_MAX, prefix};
use crate::marks::ClusterId;
use crate::tree::Tree;

const MAGIC: [u8; 8] = *b"LMSNAP\0\0";
const FORMAT: u32 = 1;
const EXTENSION: &str = "snap";
/// Objects handed on at once while loading: one tree batch.
const BATCH_OBJECTS: usize = 1024;
/// A state has at most [`envelope::PREFIXES_MAX`] short prefixes.
const STATE_BYTES_MAX: u32 = 1 << 20;

/// A snapshot that was read back and agrees with itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The file.
    pub path: PathBuf,
    /// The commit it was taken at.
    pub seq: u64,
    /// Objects in it.
    pub objects: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its sha256, hexadecimal.
    pub sha256: String,
    /// Root over all objects, hexadecimal.
    pub root: String,
    /// Schema of the caller's objects.
    pub schema: u32,
    /// The history it belongs to.
    pub cluster: ClusterId,
}

/// The snapshots of a directory, oldest first.
pub(crate) fn list(disk: &Disk, dir: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let mut found: Vec<(u64, PathBuf)> = disk
        .list(dir)?
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == EXTENSION))
        .filter_map(|p| Some((p.file_stem()?.to_str()?.parse().ok()?, p)))
        .collect();
    found.sort();
    Ok(found)
}

pub(crate) fn path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:020}.{EXTENSION}"))
}

/// Writes the tree to `path` and reads it back.
pub(crate) fn write(
    disk: &Disk,
    path: &Path,
    tree: &Tree,
    state: &State,
    cluster: ClusterId,
    schema: u32,
) -> Result<SnapshotInfo, StoreError> {
    let mut tree_error = None;
    let written = disk.replace_with(
        path,
        Point::SnapshotWritten,
        Point::SnapshotRenamed,
        |out| {
            let mut out = Hashing {
                out,
                sha: Sha256::new(),
            };
            out.write_all(&MAGIC)?;
            out.write_all(&FORMAT.to_le_bytes())?;
            out.write_all(&schema.to_le_bytes())?;
            out.write_all(&cluster.0)?;
            let encoded = state.encode();
            out.write_all(&(encoded.len() as u32).to_le_bytes())?;
            out.write_all(&encoded)?;
            for object in tree.sealed_objects() {
                let (key, sealed) = match object {
                    Ok(object) => object,
                    Err(e) => {
                        tree_error = Some(e);
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                };
                out.write_all(&(key.len() as u16).to_le_bytes())?;
                out.write_all(&(sealed.len() as u32).to_le_bytes())?;
                out.write_all(&key)?;
                out.write_all(&sealed)?;
            }
            let sha = out.sha.finalize();
            out.out.write_all(&sha)
        },
    );
    if let Some(error) = tree_error {
        return Err(error);
    }
    written?;
    let (info, found) = read(disk, path, |_| Ok(()))?;
    if found != *state {
        return Err(StoreError::SnapshotDamaged {
            path: path.to_owned(),
            what: "read back, it is another state".to_owned(),
        });
    }
    Ok(info)
}

struct Hashing<'a> {
    out: &'a mut dyn Write,
    sha: Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.sha.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads and checks a whole snapshot, handing on its objects in batches. The
/// caller must not believe any of them before this returns.
pub(crate) fn read(
    disk: &Disk,
    path: &Path,
    mut take: impl FnMut(&[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError>,
) -> Result<(SnapshotInfo, State), StoreError> {
    let io = |e| fail("read", path, e);
    let damaged = |what: String| StoreError::SnapshotDamaged {
        path: path.to_owned(),
        what,
    };
    disk.before(crate::disk::Op::Read, path).map_err(io)?;
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let Some(body) = bytes.checked_sub(32) else {
        return Err(damaged("it is too short".to_owned()));
    };
    let mut input = Checked {
        input: BufReader::with_capacity(1 << 20, file),
        sha: Sha256::new(),
        left: body,
    };
    let short = || damaged("it ends too early".to_owned());

    let head = input.take(36).map_err(io)?.ok_or_else(short)?;
    let mut fields = Fields(&head);
    let header = (|| {
        Some((
            fields.array()?,
            fields.u32()?,
            fields.u32()?,
            ClusterId(fields.array()?),
            fields.u32()?,
        ))
    })();
    let (schema, cluster, state_len) = match header {
        Some((MAGIC, FORMAT, schema, cluster, len)) if len <= STATE_BYTES_MAX => {
            (schema, cluster, len)
        }
        Some((MAGIC, found, ..)) if found > FORMAT => {
            return Err(StoreError::NewerFormat {
                path: path.to_owned(),
                what: "format",
                found,
                known: FORMAT,
            });
        }
        _ => return Err(damaged("it does not begin like a snapshot".to_owned())),
    };
    let encoded = input
        .take(state_len as usize)
        .map_err(io)?
        .ok_or_else(short)?;
    let state = State::decode(&encoded).ok_or_else(|| damaged("no state".to_owned()))?;

    let mut found = State {
        seq: state.seq,
        chain: state.chain,
        ..State::default()
    };
    let mut batch = Vec::with_capacity(BATCH_OBJECTS);
    while input.left > 0 {
        let lens = input.take(6).map_err(io)?.ok_or_else(short)?;
        let mut fields = Fields(&lens);
        let (key_len, len) = (fields.u16().unwrap_or(0), fields.u32().unwrap_or(0));
        if usize::from(key_len) > KEY_BYTES_MAX || len as usize > VALUE_BYTES_MAX + 64 {
            return Err(damaged("an object has an impossible length".to_owned()));
        }
        let key = input.take(key_len.into()).map_err(io)?.ok_or_else(short)?;
        let sealed = input.take(len as usize).map_err(io)?.ok_or_else(short)?;
        envelope::open(&sealed).map_err(|what| damaged(format!("{}: {what}", show_key(&key))))?;
        let Some(prefix) = prefix(&key) else {
            return Err(damaged(format!("{} has no prefix", show_key(&key))));
        };
        found.add(prefix, envelope::weight(&key, &sealed));
        batch.push((key, sealed));
        if batch.len() == BATCH_OBJECTS {
            take(&batch)?;
            batch.clear();
        }
    }
    take(&batch)?;

    let mut trailer = [0; 32];
    input.input.read_exact(&mut trailer).map_err(io)?;
    let sha: [u8; 32] = input.sha.finalize().into();
    if sha != trailer {
        return Err(damaged("its sha256 does not match".to_owned()));
    }
    if found != state {
        return Err(damaged("its objects do not have its root".to_owned()));
    }
    let info = SnapshotInfo {
        path: path.to_owned(),
        seq: state.seq,
        objects: state.objects(),
        bytes,
        sha256: hex(&sha),
        root: format!("{:032x}", state.root),
        schema,
        cluster,
    };
    Ok((info, state))
}

struct Checked {
    input: BufReader<File>,
    sha: Sha256,
    /// Bytes before the trailer.
    left: u64,
}

impl Checked {
    fn take(&mut self, n: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(left) = self.left.checked_sub(n as u64) else {
            return Ok(None);
        };
        let mut bytes = vec![0; n];
        self.input.read_exact(&mut bytes)?;
        self.sha.update(&bytes);
        self.left = left;
        Ok(Some(bytes))
    }
}
