//! Reading commits back, in order, across segments.

use std::path::{Path, PathBuf};

use crate::bytes::Hash;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::frame::Entry;
use crate::segment::{Segment, Walk};

/// Commits `from..=to`, each checked against the one before. Loads one segment
/// at a time.
pub struct Replay {
    disk: Disk,
    dir: PathBuf,
    segments: std::vec::IntoIter<Segment>,
    current: Option<Loaded>,
    /// Where the chain must continue when the next segment begins.
    end: Option<(u64, Hash)>,
    from: u64,
    to: u64,
    failed: bool,
}

struct Loaded {
    segment: Segment,
    bytes: Vec<u8>,
    offset: usize,
    next: u64,
    chain: Hash,
}

impl Replay {
    pub(crate) fn new(disk: &Disk, dir: &Path, segments: &[Segment], from: u64, to: u64) -> Self {
        // Begin with the last segment that starts at or before `from`.
        let skip = segments.iter().rposition(|s| s.first <= from).unwrap_or(0);
        let rest: Vec<Segment> = segments.iter().skip(skip).cloned().collect();
        Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            segments: rest.into_iter(),
            current: None,
            end: None,
            from,
            to,
            failed: false,
        }
    }

    fn advance(&mut self) -> Result<Option<Entry>, StoreError> {
        loop {
            let Some(loaded) = &mut self.current else {
                match self.load()? {
                    true => continue,
                    false => return self.finish(),
                }
            };
            if loaded.next > self.to {
                return Ok(None);
            }
            let mut walk = Walk::new(&loaded.segment, &loaded.bytes);
            walk.offset = loaded.offset;
            walk.next = loaded.next;
            walk.chain = loaded.chain;
            let frame = walk.step_sealed()?;
            (loaded.offset, loaded.next, loaded.chain) = (walk.offset, walk.next, walk.chain);
            match frame {
                Some(frame) if frame.seq < self.from => {}
                Some(frame) => {
                    let entry = frame.entry().ok_or_else(|| {
                        walk.damage(frame.seq, "its payload does not decode".to_owned())
                    })?;
                    return Ok(Some(entry));
                }
                None => {
                    self.end = Some((loaded.next, loaded.chain));
                    self.current = None;
                }
            }
        }
    }

    /// Loads the next segment and checks that it continues the one before.
    fn load(&mut self) -> Result<bool, StoreError> {
        let Some(segment) = self.segments.next() else {
            return Ok(false);
        };
        match self.end {
            None if segment.first > self.from => {
                return Err(self.gap(self.from, segment.first));
            }
            Some((next, _)) if segment.first != next => {
                return Err(self.gap(next, segment.first));
            }
            Some((next, chain)) if segment.prev != chain => {
                return Err(StoreError::JournalDamaged {
                    file: segment.path,
                    offset: 0,
                    seq: next.saturating_sub(1),
                    what: "the file names another hash for the record before it".to_owned(),
                });
            }
            _ => {}
        }
        let bytes = self.disk.read(&segment.path)?;
        self.current = Some(Loaded {
            offset: crate::segment::SEGMENT_HEADER_BYTES,
            next: segment.first,
            chain: segment.prev,
            segment,
            bytes,
        });
        Ok(true)
    }

    /// No more files: that is the end only if `to` was reached.
    fn finish(&self) -> Result<Option<Entry>, StoreError> {
        let next = self.end.map_or(self.from, |(next, _)| next);
        if next <= self.to {
            return Err(self.gap(next, self.to + 1));
        }
        Ok(None)
    }

    fn gap(&self, expected: u64, found: u64) -> StoreError {
        StoreError::JournalGap {
            dir: self.dir.clone(),
            expected,
            found,
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}
