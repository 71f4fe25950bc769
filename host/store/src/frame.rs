//! One journal record: `[len u32][crc32c u32][seq u64][prev 16][type u16][schema
//! u16][payload]`, little-endian.
//!
//! `len` counts everything after the checksum; the checksum covers `len` too.
//! `prev` is the hash of the record before, so that whoever alters a record must
//! alter all that follow, up to a head that was already shown to somebody else.
//!
//! The payload is a commit: the caller's records (what was decided) and the puts
//! (what the tree holds afterwards), so that recovery needs nothing but this
//! file. It begins with the first sequence number of the group it was written
//! with: everything before that number was durable when this was written, which
//! is how a torn tail is told from damage.

use crate::bytes::{Fields, Hash, hash};
use crate::error::StoreError;

/// A key in the tree: `prefix/rest`, see [`KEY_BYTES_MAX`].
pub type Key = Vec<u8>;

/// A value in the tree; opaque to the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Value {
    /// Version of the encoding of `bytes`, for the caller.
    pub schema: u16,
    /// The encoded object.
    pub bytes: Vec<u8>,
}

/// One thing that happened, for audit and replay; opaque to the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// What it is, for the caller.
    pub kind: u16,
    /// Version of the encoding of `payload`, for the caller.
    pub schema: u16,
    /// The encoded record.
    pub payload: Vec<u8>,
}

/// What is made durable together, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// What happened.
    pub records: Vec<Record>,
    /// What the tree holds afterwards; `None` deletes.
    pub puts: Vec<(Key, Option<Value>)>,
}

/// A commit as read back from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence number; the first commit of a store is 1.
    pub seq: u64,
    /// Its hash: what the next record must name.
    pub hash: Hash,
    /// The hash of the record before it.
    pub prev: Hash,
    /// What was committed.
    pub commit: Commit,
}

/// Longest key. sled keeps keys inline in pages; long ones make every page slow.
pub const KEY_BYTES_MAX: usize = 512;
/// The prefix, up to and including the first `/`, is what objects are counted by.
pub const PREFIX_BYTES_MAX: usize = 32;
/// Longest value. Above this sled writes separate files; blobs are the place.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest encoded commit: an import of 10 000 nodes fits, and a damaged length
/// field cannot make us read more.
pub const COMMIT_BYTES_MAX: usize = 16 << 20;
/// Longest group; it must fit in memory twice and in a segment once.
pub const GROUP_BYTES_MAX: usize = 32 << 20;

/// The store's own keys; refused from callers.
pub(crate) const META_PREFIX: &[u8] = b"meta/";

pub(crate) const HEADER_BYTES: usize = 36;
const TYPE_COMMIT: u16 = 1;
const SCHEMA: u16 = 1;
const DELETED: u32 = u32::MAX;

/// A record in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) seq: u64,
    pub(crate) prev: Hash,
    pub(crate) hash: Hash,
    /// Everything before this was durable when this was written.
    pub(crate) group: u64,
    body: &'a [u8],
    /// Bytes it takes in the file.
    pub(crate) bytes: usize,
}

/// Checks a commit against the limits, before anything is written.
pub(crate) fn check(commit: &Commit) -> Result<(), StoreError> {
    let refuse = |what: String| Err(StoreError::BadCommit { what });
    if commit.records.len() > usize::from(u16::MAX) {
        return refuse(format!("{} records", commit.records.len()));
    }
    let mut bytes = HEADER_BYTES + 16;
    for record in &commit.records {
        bytes += 8 + record.payload.len();
    }
    for (key, value) in &commit.puts {
        let shown = || crate::bytes::show_key(key);
        if key.len() > KEY_BYTES_MAX {
            return refuse(format!("key {} has {} bytes", shown(), key.len()));
        }
        if key.starts_with(META_PREFIX) {
            return refuse(format!("key {} is the store's own", shown()));
        }
        if prefix(key).is_none() {
            return refuse(format!("key {} has no prefix", shown()));
        }
        let len = value.as_ref().map_or(0, |v| v.bytes.len());
        if len > VALUE_BYTES_MAX {
            return refuse(format!("value of {} has {len} bytes", shown()));
        }
        bytes += 8 + key.len() + len;
    }
    if bytes > COMMIT_BYTES_MAX {
        return refuse(format!("{bytes} bytes in one commit"));
    }
    Ok(())
}

/// The part of a key that objects are counted by.
pub(crate) fn prefix(key: &[u8]) -> Option<&[u8]> {
    let slash = key.iter().take(PREFIX_BYTES_MAX).position(|b| *b == b'/')?;
    key.get(..=slash)
}

/// Appends the record to `out` and returns its hash.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    seq: u64,
    prev: &Hash,
    group: u64,
    commit: &Commit,
) -> Hash {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(prev);
    out.extend_from_slice(&TYPE_COMMIT.to_le_bytes());
    out.extend_from_slice(&SCHEMA.to_le_bytes());
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&(commit.records.len() as u32).to_le_bytes());
    for record in &commit.records {
        out.extend_from_slice(&record.kind.to_le_bytes());
        out.extend_from_slice(&record.schema.to_le_bytes());
        out.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&record.payload);
    }
    out.extend_from_slice(&(commit.puts.len() as u32).to_le_bytes());
    for (key, value) in &commit.puts {
        out.extend_from_slice(&(key.len() as u16).to_le_bytes());
        let (schema, len, bytes) = match value {
            Some(v) => (v.schema, v.bytes.len() as u32, v.bytes.as_slice()),
            None => (0, DELETED, [].as_slice()),
        };
        out.extend_from_slice(&schema.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(bytes);
    }
    let len = ((out.len() - start - 8) as u32).to_le_bytes();
    let body = &out[start + 8..];
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), body).to_le_bytes();
    let hash = hash(&[body]);
    out[start..start + 4].copy_from_slice(&len);
    out[start + 4..start + 8].copy_from_slice(&crc);
    hash
}

/// The record at the start of `bytes`, or why there is none.
pub(crate) fn decode(bytes: &[u8]) -> Result<Frame<'_>, &'static str> {
    let mut fields = Fields(bytes);
    let (Some(len), Some(crc)) = (fields.u32(), fields.u32()) else {
        return Err("the file ends inside a record header");
    };
    let size = len as usize;
    if !(HEADER_BYTES - 8 + 8..=COMMIT_BYTES_MAX).contains(&size) {
        return Err("impossible record length");
    }
    let Some(body) = fields.take(size) else {
        return Err("the file ends inside a record");
    };
    if crc32c::crc32c_append(crc32c::crc32c(&len.to_le_bytes()), body) != crc {
        return Err("record checksum does not match");
    }
    let mut inner = Fields(body);
    let read = (|| {
        Some((
            inner.u64()?,
            inner.array()?,
            inner.u16()?,
            inner.u16()?,
            inner.u64()?,
        ))
    })();
    let Some((seq, prev, kind, schema, group)) = read else {
        return Err("record is too short");
    };
    if kind != TYPE_COMMIT || schema != SCHEMA {
        return Err("record of an unknown type or schema");
    }
    Ok(Frame {
        seq,
        prev,
        hash: hash(&[body]),
        group,
        body: inner.0,
        bytes: size + 8,
    })
}

/// Whether a record that was written after `seq` was durable starts at `bytes`.
/// Cheap enough to ask at every byte of a segment.
pub(crate) fn proves_durable(bytes: &[u8], seq: u64) -> bool {
    let mut fields = Fields(bytes);
    let plausible = (|| {
        let len = fields.u32()? as usize;
        fields.u32()?;
        let at = fields.u64()?;
        Some(len <= COMMIT_BYTES_MAX && len + 8 <= bytes.len() && at > seq)
    })();
    plausible == Some(true) && decode(bytes).is_ok_and(|f| f.group > seq)
}

impl Frame<'_> {
    /// The commit, copied out.
    pub(crate) fn entry(&self) -> Option<Entry> {
        let mut fields = Fields(self.body);
        let mut commit = Commit::default();
        for _ in 0..fields.u32()? {
            let (kind, schema, len) = (fields.u16()?, fields.u16()?, fields.u32()?);
            let payload = fields.take(len as usize)?.to_vec();
            commit.records.push(Record {
                kind,
                schema,
                payload,
            });
        }
        for _ in 0..fields.u32()? {
            let (key_len, schema, len) = (fields.u16()?, fields.u16()?, fields.u32()?);
            let key = fields.take(usize::from(key_len))?.to_vec();
            let value = match len {
                DELETED => None,
                _ => Some(Value {
                    schema,
                    bytes: fields.take(len as usize)?.to_vec(),
                }),
            };
            commit.puts.push((key, value));
        }
        fields.is_empty().then_some(Entry {
            seq: self.seq,
            hash: self.hash,
            prev: self.prev,
            commit,
        })
    }
}
