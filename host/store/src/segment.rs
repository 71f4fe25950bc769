//! One file of the journal: its name, its header, and walking its records.

use std::path::{Path, PathBuf};

use crate::bytes::{Fields, Hash, hex};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::frame::{self, Frame};
use crate::marks::ClusterId;

/// The header: `[magic 6][format u16][cluster 16][first seq u64][first seq of the
/// file before u64][length of the file before u32][hash before 16][crc32c u32]`.
/// It makes a file that was renamed, or copied in from another store, visible
/// before any of its records is believed, and a file that is missing or was cut
/// visible without reading it.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
const MAGIC: [u8; 6] = *b"LMJRNL";
const FORMAT: u16 = 1;

/// A file that begins like a segment, and what its header says.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) first: u64,
    /// Hash of the record before the first.
    pub(crate) prev: Hash,
    pub(crate) bytes: u64,
}

pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// What a segment's header says besides its own first sequence number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    /// First sequence number of the file before, 0 if there was none.
    pub(crate) first: u64,
    /// Its final length.
    pub(crate) bytes: u32,
    /// Hash of its last record.
    pub(crate) hash: Hash,
}

pub(crate) fn header(cluster: ClusterId, first: u64, before: &Before) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&cluster.0);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&before.first.to_le_bytes());
    out.extend_from_slice(&before.bytes.to_le_bytes());
    out.extend_from_slice(&before.hash);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Cluster, first sequence number and what came before, or why not.
fn read_header(bytes: &[u8]) -> Result<(ClusterId, u64, Before), String> {
    let Some((head, _)) = bytes.split_first_chunk::<SEGMENT_HEADER_BYTES>() else {
        return Err("the file ends inside its header".to_owned());
    };
    let mut fields = Fields(head);
    let read = (|| {
        let (magic, format): ([u8; 6], _) = (fields.array()?, fields.u16()?);
        let (cluster, first) = (ClusterId(fields.array()?), fields.u64()?);
        let before = Before {
            first: fields.u64()?,
            bytes: fields.u32()?,
            hash: fields.array()?,
        };
        Some((magic, format, cluster, first, before, fields.u32()?))
    })();
    match read {
        Some((MAGIC, _, _, _, _, crc)) if crc != crc32c::crc32c(&head[..60]) => {
            Err("header checksum does not match".to_owned())
        }
        Some((MAGIC, FORMAT, cluster, first, before, _)) => Ok((cluster, first, before)),
        Some((MAGIC, format, ..)) => Err(format!("format {format} is not known")),
        _ => Err("not a journal file".to_owned()),
    }
}

/// The segments in `dir` by first sequence number. `torn` is a last file without
/// a header and without room for a record: one whose creation was cut short.
/// `dropped` are files before `from`, which retention had decided to remove.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<Segment>,
    pub(crate) dropped: Vec<PathBuf>,
    pub(crate) torn: Option<PathBuf>,
}

pub(crate) fn list(
    disk: &Disk,
    dir: &Path,
    cluster: ClusterId,
    from: u64,
) -> Result<Listing, StoreError> {
    let mut listing = Listing::default();
    let mut paths = disk.list(dir)?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "log"));
    let last = paths.last().cloned();
    for path in paths {
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
        let damaged = |what: String| StoreError::JournalDamaged {
            file: path.clone(),
            offset: 0,
            seq: name.parse().unwrap_or(0),
            what,
        };
        let mut head = vec![0; SEGMENT_HEADER_BYTES];
        let (got, bytes) = read_head(disk, &path, &mut head)?;
        let header = read_header(&head[..got]);
        // No record can be lost with it: there is no room for one.
        let empty = bytes <= SEGMENT_HEADER_BYTES as u64;
        if empty && header.is_err() && last.as_ref() == Some(&path) {
            listing.torn = Some(path);
            break;
        }
        let (owner, first, before) = header.map_err(damaged)?;
        if owner != cluster {
            return Err(StoreError::Foreign {
                what: format!("it is of cluster {owner}, this store is {cluster}"),
                path,
            });
        }
        if name.parse() != Ok(first) {
            return Err(damaged(format!("its header says it begins with {first}")));
        }
        if first < from {
            listing.dropped.push(path);
            continue;
        }
        if let Some(last) = listing.segments.last() {
            follows(dir, last, first, &before)?;
        }
        listing.segments.push(Segment {
            path,
            first,
            prev: before.hash,
            bytes,
        });
    }
    Ok(listing)
}

/// Whether nothing is missing between two neighbouring files.
fn follows(dir: &Path, last: &Segment, first: u64, before: &Before) -> Result<(), StoreError> {
    if before.first != last.first {
        return Err(StoreError::JournalGap {
            dir: dir.to_owned(),
            expected: before.first,
            found: first,
        });
    }
    if u64::from(before.bytes) != last.bytes {
        return Err(StoreError::JournalDamaged {
            file: last.path.clone(),
            offset: last.bytes.min(before.bytes.into()),
            seq: first.saturating_sub(1),
            what: format!(
                "it has {} bytes, the next file says {}",
                last.bytes, before.bytes
            ),
        });
    }
    Ok(())
}

fn read_head(disk: &Disk, path: &Path, head: &mut [u8]) -> Result<(usize, u64), StoreError> {
    use std::io::Read;
    let mut read = || {
        disk.before(crate::disk::Op::Read, path)?;
        let mut file = std::fs::File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut got = 0;
        while got < head.len() {
            match file.read(&mut head[got..])? {
                0 => break,
                n => got += n,
            }
        }
        Ok((got, bytes))
    };
    read().map_err(|e| crate::disk::fail("read", path, e))
}

/// Walks the records of one segment, checking order and chain.
pub(crate) struct Walk<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    /// Offset of the next record.
    pub(crate) offset: usize,
    /// Sequence number of the next record.
    pub(crate) next: u64,
    /// Hash of the record before it.
    pub(crate) chain: Hash,
    /// Offset of the record before it.
    before: usize,
}

/// Why a walk stopped.
pub(crate) enum Stop {
    /// Nothing readable here: torn, or damaged.
    Unreadable(&'static str),
    /// Readable, and not what was written: never an accident of power.
    Tampered(StoreError),
}

impl<'a> Walk<'a> {
    pub(crate) fn new(segment: &'a Segment, bytes: &'a [u8]) -> Self {
        Self {
            path: &segment.path,
            bytes,
            offset: SEGMENT_HEADER_BYTES,
            next: segment.first,
            chain: segment.prev,
            before: SEGMENT_HEADER_BYTES,
        }
    }

    /// The next record, or `None` at the end of the file.
    pub(crate) fn step(&mut self) -> Result<Option<Frame<'a>>, Stop> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let frame = frame::decode(rest).map_err(Stop::Unreadable)?;
        if frame.seq != self.next {
            let what = format!("record {} stands here", frame.seq);
            return Err(Stop::Tampered(self.damage(self.next, what)));
        }
        if frame.prev != self.chain {
            // This record names a hash that the one before does not have: it is
            // the one before that is not what was written.
            let what = format!(
                "record {} names {} as the hash of the record before it, which has {}",
                frame.seq,
                hex(&frame.prev),
                hex(&self.chain)
            );
            self.offset = self.before;
            let seq = frame.seq.saturating_sub(1);
            return Err(Stop::Tampered(self.damage(seq, what)));
        }
        self.before = self.offset;
        self.offset += frame.bytes;
        self.next += 1;
        self.chain = frame.hash;
        Ok(Some(frame))
    }

    /// As [`Self::step`] where nothing may be torn.
    pub(crate) fn step_sealed(&mut self) -> Result<Option<Frame<'a>>, StoreError> {
        self.step().map_err(|stop| match stop {
            Stop::Unreadable(what) => self.damage(self.next, what.to_owned()),
            Stop::Tampered(error) => error,
        })
    }

    pub(crate) fn damage(&self, seq: u64, what: String) -> StoreError {
        StoreError::JournalDamaged {
            file: self.path.to_owned(),
            offset: self.offset as u64,
            seq,
            what,
        }
    }

    /// Whether what stands at the current offset was ever acknowledged, as far
    /// as this segment can tell: some later record was written when it was
    /// already durable.
    pub(crate) fn was_durable(&self) -> bool {
        (self.offset..self.bytes.len())
            .any(|at| frame::proves_durable(self.bytes.get(at..).unwrap_or_default(), self.next))
    }
}
