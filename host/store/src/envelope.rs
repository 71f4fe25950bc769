//! What a value looks like in the tree, and the sum over all of them.
//!
//! `[magic "LV"][schema u16][seq u64][len u32][payload][crc32c u32]`. The engine
//! below has checksums of its own; these find what it cannot: a page that is
//! intact but old, a value under the wrong key, a record that is simply gone.

use std::collections::BTreeMap;

use crate::bytes::{Fields, Hash, hash};
use crate::frame::Value;

const MAGIC: [u8; 2] = *b"LV";
const STATE_MAGIC: [u8; 4] = *b"LST1";

/// Different prefixes a store may count. Callers have a dozen; a thousand means
/// that someone made prefixes out of names.
pub(crate) const PREFIXES_MAX: usize = 1024;

/// Writes the enveloped value into `out`, replacing what was there.
pub(crate) fn seal(out: &mut Vec<u8>, schema: u16, seq: u64, payload: &[u8]) {
    out.clear();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&schema.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
    let crc = crc32c::crc32c(out);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The schema, sequence number and payload of an enveloped value.
pub(crate) fn open(bytes: &[u8]) -> Result<(u16, u64, &[u8]), &'static str> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err("value is too short");
    };
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("value checksum does not match");
    }
    let mut fields = Fields(body);
    let read = (|| Some((fields.array()?, fields.u16()?, fields.u64()?, fields.u32()?)))();
    match read {
        Some((MAGIC, schema, seq, len)) if fields.0.len() == len as usize => {
            Ok((schema, seq, fields.0))
        }
        _ => Err("value has no envelope of ours"),
    }
}

/// The same, owned.
pub(crate) fn open_value(bytes: &[u8]) -> Result<(u64, Value), &'static str> {
    let (schema, seq, payload) = open(bytes)?;
    let bytes = payload.to_vec();
    Ok((seq, Value { schema, bytes }))
}

/// What an object adds to the state root. A sum and not an exclusive or: two
/// equal faults must not cancel out.
pub(crate) fn weight(key: &[u8], sealed: &[u8]) -> u128 {
    let len = (key.len() as u32).to_le_bytes();
    u128::from_le_bytes(hash(&[&len, key, sealed]))
}

/// The tree as a whole: where it is in history, and what a full scan must find.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// Last commit that is in the tree.
    pub(crate) seq: u64,
    /// Hash of that commit's journal record.
    pub(crate) chain: Hash,
    /// Sum of [`weight`] over all objects.
    pub(crate) root: u128,
    /// Objects by prefix.
    pub(crate) counts: BTreeMap<Vec<u8>, u64>,
}

impl State {
    pub(crate) fn add(&mut self, prefix: &[u8], weight: u128) {
        self.root = self.root.wrapping_add(weight);
        match self.counts.get_mut(prefix) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(prefix.to_vec(), 1);
            }
        }
    }

    pub(crate) fn subtract(&mut self, prefix: &[u8], weight: u128) {
        self.root = self.root.wrapping_sub(weight);
        if let Some(count) = self.counts.get_mut(prefix) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(prefix);
            }
        }
    }

    /// Objects in all.
    pub(crate) fn objects(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(crate) fn same_content(&self, other: &Self) -> bool {
        self.root == other.root && self.counts == other.counts
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = STATE_MAGIC.to_vec();
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.chain);
        out.extend_from_slice(&self.root.to_le_bytes());
        out.extend_from_slice(&(self.counts.len() as u32).to_le_bytes());
        for (prefix, count) in &self.counts {
            out.extend_from_slice(&(prefix.len() as u16).to_le_bytes());
            out.extend_from_slice(prefix);
            out.extend_from_slice(&count.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.array()? != STATE_MAGIC {
            return None;
        }
        let seq = fields.u64()?;
        let chain = fields.array()?;
        let root = u128::from_le_bytes(fields.array()?);
        let mut counts = BTreeMap::new();
        for _ in 0..fields.u32()? {
            let len = fields.u16()?;
            let prefix = fields.take(usize::from(len))?.to_vec();
            counts.insert(prefix, fields.u64()?);
        }
        fields.is_empty().then_some(Self {
            seq,
            chain,
            root,
            counts,
        })
    }
}
