//! What the host remembers about one signature: which rows can run it, what
//! every policy said about each, and the best row of every block.
//!
//! It is a cache: dropping an entry never changes a decision, only its cost.

use std::collections::HashMap;

use model::Rejection;
use model::decision::CANDIDATES_KEPT;

use crate::set::NO_TOTAL;

/// Rows of one block of maxima. 64 rows of totals are one scan of 512 bytes.
const BLOCK: usize = 64;

/// A row that is not there.
const GONE: u8 = u8::MAX;

/// Bytes that all entries may take together. 5,000 nodes need about 70 KB a
/// signature, so this holds thousands of pod shapes.
pub const CACHE_BYTES_MAX: usize = 256 << 20;

/// What makes two pods the same to filters and policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Signature {
    pub(crate) class: u32,
    pub(crate) generation: u32,
    pub(crate) priority: i32,
    /// 0 unless the set reads counts of peers.
    pub(crate) app: u32,
}

/// Remembered rows of one signature.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Position in the nodes' change log that the entry is true for.
    pub(crate) seen: u64,
    /// Policies, context and models it was made with.
    pub(crate) epoch: u64,
    /// Made with a built-in answer after a fault: not to be trusted again.
    pub(crate) tainted: bool,
    pub(crate) zones_seen: Vec<i32>,
    last_used: u64,
    result: Vec<u8>,
    counts: [u32; Rejection::COUNT],
    /// One column a member.
    pub(crate) scores: Vec<Vec<i32>>,
    total: Vec<i64>,
    block_max: Vec<i64>,
    stale_blocks: Vec<u32>,
}

impl Entry {
    /// Forgets everything and makes room.
    pub(crate) fn reset(&mut self, rows: usize, members: usize, epoch: u64) {
        self.epoch = epoch;
        self.tainted = false;
        self.result.clear();
        self.result.resize(rows, GONE);
        self.counts = [0; Rejection::COUNT];
        self.scores.resize_with(members, Vec::new);
        for column in &mut self.scores {
            column.clear();
            column.resize(rows, 0);
        }
        self.total.clear();
        self.total.resize(rows, NO_TOTAL);
        self.block_max.clear();
        self.block_max.resize(rows.div_ceil(BLOCK), NO_TOTAL);
        self.stale_blocks.clear();
    }

    /// Makes room for rows added since.
    pub(crate) fn grow(&mut self, rows: usize) {
        if rows > self.result.len() {
            self.result.resize(rows, GONE);
            self.total.resize(rows, NO_TOTAL);
            for column in &mut self.scores {
                column.resize(rows, 0);
            }
            self.block_max.resize(rows.div_ceil(BLOCK), NO_TOTAL);
        }
    }

    pub(crate) fn counts(&self) -> &[u32; Rejection::COUNT] {
        &self.counts
    }

    pub(crate) fn result(&self, row: u32) -> Option<Rejection> {
        let code = self.result[row as usize];
        Rejection::ALL.get(usize::from(code)).copied()
    }

    pub(crate) fn total(&self, row: u32) -> i64 {
        self.total[row as usize]
    }

    pub(crate) fn rows(&self) -> u32 {
        self.result.len() as u32
    }

    /// Records the filter's answer; `None` for a row that is gone. The row has
    /// no total until [`Self::set_total`].
    pub(crate) fn set_result(&mut self, row: u32, result: Option<Rejection>) {
        let r = row as usize;
        let code = result.map_or(GONE, |x| x as u8);
        let old = self.result[r];
        if old != code {
            if old != GONE {
                self.counts[usize::from(old)] -= 1;
            }
            if code != GONE {
                self.counts[usize::from(code)] += 1;
            }
            self.result[r] = code;
        }
        self.set_total(row, NO_TOTAL);
    }

    pub(crate) fn set_total(&mut self, row: u32, total: i64) {
        let r = row as usize;
        let (old, block) = (self.total[r], r / BLOCK);
        self.total[r] = total;
        let max = &mut self.block_max[block];
        if total >= *max {
            *max = total;
        } else if old == *max {
            // The maximum may have left: looked for once, after all changes.
            self.stale_blocks.push(block as u32);
        }
    }

    /// Brings the block maxima up to date.
    pub(crate) fn settle(&mut self) {
        while let Some(block) = self.stale_blocks.pop() {
            let from = block as usize * BLOCK;
            let to = (from + BLOCK).min(self.total.len());
            let max = self.total[from..to].iter().copied().max();
            self.block_max[block as usize] = max.unwrap_or(NO_TOTAL);
        }
    }

    /// The best rows, best first, ties by row id.
    pub(crate) fn top(&self, out: &mut Vec<u32>) {
        out.clear();
        let mut worst = NO_TOTAL;
        for (block, max) in self.block_max.iter().enumerate() {
            if *max <= worst {
                continue;
            }
            let from = block * BLOCK;
            let to = (from + BLOCK).min(self.total.len());
            for (i, total) in self.total[from..to].iter().enumerate() {
                if *total <= worst {
                    continue;
                }
                // After every equal total: earlier rows keep their place.
                let at = out
                    .iter()
                    .rposition(|r| self.total[*r as usize] >= *total)
                    .map_or(0, |p| p + 1);
                if out.len() == CANDIDATES_KEPT {
                    out.pop();
                }
                out.insert(at, (from + i) as u32);
                if out.len() == CANDIDATES_KEPT {
                    worst = self.total[out[CANDIDATES_KEPT - 1] as usize];
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        self.result.capacity()
            + 8 * (self.total.capacity() + self.block_max.capacity())
            + self.scores.iter().map(|c| 4 * c.capacity()).sum::<usize>()
            + size_of::<Self>()
    }
}

/// Entries by signature, least recently used first out.
#[derive(Debug, Default)]
pub(crate) struct ScoreCache {
    entries: HashMap<Signature, Box<Entry>>,
    bytes: usize,
    uses: u64,
}

impl ScoreCache {
    /// Takes the entry out, to be put back with [`Self::put`].
    pub(crate) fn take(&mut self, signature: &Signature) -> Box<Entry> {
        match self.entries.remove(signature) {
            Some(entry) => {
                self.bytes -= entry.bytes();
                entry
            }
            None => Box::default(),
        }
    }

    pub(crate) fn put(&mut self, signature: Signature, mut entry: Box<Entry>, limit: usize) {
        self.uses += 1;
        entry.last_used = self.uses;
        self.bytes += entry.bytes();
        self.entries.insert(signature, entry);
        while self.bytes > limit && self.entries.len() > 1 {
            // `last_used` is unique, so the order of the map does not matter.
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.last_used);
            let Some(key) = oldest.map(|(k, _)| *k) else {
                break;
            };
            if let Some(entry) = self.entries.remove(&key) {
                self.bytes -= entry.bytes();
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests;
