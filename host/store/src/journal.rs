//! The commit point: `journal/<first-seq>.log`, append and fdatasync.
//!
//! One write call and one fdatasync a group, whatever its size. A new segment is
//! synced, and its directory, before a record goes into it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::bytes::Hash;
use crate::disk::{Disk, Point};
use crate::error::StoreError;
use crate::frame::{self, Commit, GROUP_BYTES_MAX};
use crate::marks::ClusterId;
use crate::segment::{self, Before, SEGMENT_HEADER_BYTES, Segment, Stop, Walk};

/// A tail that was cut: written, never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the cut was made.
    pub offset: u64,
    /// Bytes cut off.
    pub bytes: u64,
    /// The record that was not complete.
    pub seq: u64,
}

/// What the journal's files hold, before anything is changed.
pub(crate) struct Scan {
    pub(crate) segments: Vec<Segment>,
    /// A last file that ends inside its header.
    torn_file: Option<PathBuf>,
    /// Files that retention had decided to remove when it was cut short.
    dropped: Vec<PathBuf>,
    /// Where the last segment's good records end, if not at its end.
    torn_tail: Option<CutTail>,
    pub(crate) last: u64,
    pub(crate) chain: Hash,
}

impl Scan {
    /// First record still here.
    pub(crate) fn first(&self) -> u64 {
        self.segments.first().map_or(0, |s| s.first)
    }

    pub(crate) fn torn_tail(&self) -> Option<&CutTail> {
        self.torn_tail.as_ref()
    }
}

/// Reads the headers of all segments and every record of the last. Everything up
/// to `durable` is known to have been acknowledged, so that it cannot be a torn
/// tail. Files before `from` are only removed later. `None` if there is no
/// journal at all.
pub(crate) fn scan(
    disk: &Disk,
    dir: &Path,
    cluster: ClusterId,
    from: u64,
    durable: u64,
) -> Result<Option<Scan>, StoreError> {
    let listing = segment::list(disk, dir, cluster, from)?;
    let Some(last) = listing.segments.last() else {
        return Ok(None);
    };
    let bytes = disk.read(&last.path)?;
    let mut walk = Walk::new(last, &bytes);
    let mut torn_tail = None;
    loop {
        match walk.step() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(Stop::Tampered(error)) => return Err(error),
            Err(Stop::Unreadable(what)) => {
                // A later file exists only if this one was complete and synced.
                let sealed = listing.torn.is_some();
                if sealed || walk.next <= durable || walk.was_durable() {
                    return Err(walk.damage(walk.next, what.to_owned()));
                }
                torn_tail = Some(CutTail {
                    file: last.path.clone(),
                    offset: walk.offset as u64,
                    bytes: (bytes.len() - walk.offset) as u64,
                    seq: walk.next,
                });
                break;
            }
        }
    }
    Ok(Some(Scan {
        last: walk.next.saturating_sub(1),
        chain: walk.chain,
        torn_file: listing.torn,
        dropped: listing.dropped,
        torn_tail,
        segments: listing.segments,
    }))
}

/// The journal, open for appending.
pub(crate) struct Journal {
    disk: Disk,
    dir: PathBuf,
    cluster: ClusterId,
    segment_bytes: u64,
    /// Oldest first; the last is being written.
    pub(crate) segments: Vec<Segment>,
    file: File,
    buf: Vec<u8>,
    pub(crate) last: u64,
    pub(crate) chain: Hash,
}

impl Journal {
    /// A new journal that continues after commit `last`.
    pub(crate) fn create(
        disk: &Disk,
        dir: &Path,
        cluster: ClusterId,
        segment_bytes: u64,
        last: u64,
        chain: Hash,
    ) -> Result<Self, StoreError> {
        disk.create_dir(dir)?;
        let before = Before {
            first: 0,
            bytes: 0,
            hash: chain,
        };
        let (segment, file) = new_segment(disk, dir, cluster, last + 1, &before)?;
        Ok(Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            cluster,
            segment_bytes,
            segments: vec![segment],
            file,
            buf: Vec::new(),
            last,
            chain,
        })
    }

    /// Continues what was scanned; cuts what was torn first.
    pub(crate) fn resume(
        disk: &Disk,
        dir: &Path,
        cluster: ClusterId,
        segment_bytes: u64,
        scan: Scan,
    ) -> Result<Self, StoreError> {
        if let Some(path) = &scan.torn_file {
            disk.reach(Point::TailFound);
            disk.remove(path)?;
        }
        for path in &scan.dropped {
            disk.remove(path)?;
        }
        if scan.torn_file.is_some() || !scan.dropped.is_empty() {
            disk.sync_dir(dir)?;
        }
        let mut segments = scan.segments;
        let Some(last) = segments.last_mut() else {
            return Self::create(disk, dir, cluster, segment_bytes, scan.last, scan.chain);
        };
        let file = disk.open_write(&last.path)?;
        if let Some(cut) = &scan.torn_tail {
            disk.reach(Point::TailFound);
            disk.truncate(&file, &last.path, cut.offset)?;
            disk.sync_all(&file, &last.path)?;
            disk.reach(Point::TailCut);
            last.bytes = cut.offset;
        } else {
            // What was read may be in memory only: the process that wrote it may
            // have died between write and fdatasync. It will be acknowledged by
            // being read, so it is made durable first.
            disk.sync_all(&file, &last.path)?;
        }
        Ok(Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            cluster,
            segment_bytes,
            segments,
            file,
            buf: Vec::new(),
            last: scan.last,
            chain: scan.chain,
        })
    }

    /// Makes the commits durable. After an error nothing is known about the
    /// file, and this must not be called again.
    pub(crate) fn append(&mut self, commits: &[Commit]) -> Result<(), StoreError> {
        self.disk.reach(Point::BeforeAppend);
        self.buf.clear();
        let (mut seq, mut chain) = (self.last, self.chain);
        let group = seq + 1;
        for commit in commits {
            seq += 1;
            chain = frame::encode(&mut self.buf, seq, &chain, group, commit);
        }
        self.rotate_if_full()?;
        let Some(segment) = self.segments.last_mut() else {
            return Err(StoreError::Poisoned {
                cause: "the journal has no segment".to_owned(),
            });
        };
        self.disk
            .write_at(&self.file, &segment.path, &self.buf, segment.bytes)?;
        self.disk.reach(Point::AfterAppend);
        self.disk.sync_data(&self.file, &segment.path)?;
        self.disk.reach(Point::AfterSync);
        segment.bytes += self.buf.len() as u64;
        self.last = seq;
        self.chain = chain;
        Ok(())
    }

    /// Refuses a group that would not fit in memory twice.
    pub(crate) fn check(commits: &[Commit]) -> Result<(), StoreError> {
        let mut bytes = 0;
        for commit in commits {
            frame::check(commit)?;
            bytes += commit
                .records
                .iter()
                .map(|r| r.payload.len())
                .sum::<usize>();
            for (key, value) in &commit.puts {
                bytes += key.len() + value.as_ref().map_or(0, |v| v.bytes.len());
            }
        }
        if bytes > GROUP_BYTES_MAX {
            return Err(StoreError::BadCommit {
                what: format!("{bytes} bytes in one group"),
            });
        }
        Ok(())
    }

    fn rotate_if_full(&mut self) -> Result<(), StoreError> {
        let Some(current) = self.segments.last() else {
            return Ok(());
        };
        let used = current.bytes;
        let fits = used + self.buf.len() as u64 <= self.segment_bytes;
        if fits || used <= SEGMENT_HEADER_BYTES as u64 {
            return Ok(());
        }
        let before = Before {
            first: current.first,
            bytes: used as u32,
            hash: self.chain,
        };
        let (segment, file) =
            new_segment(&self.disk, &self.dir, self.cluster, self.last + 1, &before)?;
        self.segments.push(segment);
        self.file = file;
        Ok(())
    }

    /// How many of the oldest segments may go: whole ones, all before `covered`,
    /// and more than the policy keeps.
    pub(crate) fn droppable(
        &self,
        covered: u64,
        keep_bytes: u64,
        keep_age: Option<Duration>,
    ) -> usize {
        let mut bytes: u64 = self.segments.iter().map(|s| s.bytes).sum();
        let mut n = 0;
        for pair in self.segments.windows(2) {
            let [old, next] = pair else { break };
            let too_old = keep_age.is_some_and(|age| {
                let modified = std::fs::metadata(&old.path).and_then(|m| m.modified());
                modified.is_ok_and(|at| {
                    SystemTime::now()
                        .duration_since(at)
                        .is_ok_and(|passed| passed > age)
                })
            });
            if next.first > covered + 1 || !(bytes > keep_bytes || too_old) {
                break;
            }
            bytes -= old.bytes;
            n += 1;
        }
        n
    }

    /// First sequence number that stays when the `n` oldest segments go.
    pub(crate) fn first_after(&self, n: usize) -> u64 {
        self.segments.get(n).map_or(0, |s| s.first)
    }

    /// Last sequence number of the `n` oldest segments.
    pub(crate) fn last_of(&self, n: usize) -> u64 {
        self.first_after(n).saturating_sub(1)
    }

    pub(crate) fn drop_oldest(&mut self, n: usize) -> Result<(), StoreError> {
        for segment in self.segments.drain(..n) {
            self.disk.remove(&segment.path)?;
        }
        self.disk.sync_dir(&self.dir)
    }
}

fn new_segment(
    disk: &Disk,
    dir: &Path,
    cluster: ClusterId,
    first: u64,
    before: &Before,
) -> Result<(Segment, File), StoreError> {
    let path = segment::path(dir, first);
    let file = disk.create(&path)?;
    let header = segment::header(cluster, first, before);
    disk.write_at(&file, &path, &header, 0)?;
    disk.reach(Point::SegmentCreated);
    disk.sync_all(&file, &path)?;
    disk.sync_dir(dir)?;
    disk.reach(Point::SegmentReady);
    let bytes = header.len() as u64;
    Ok((
        Segment {
            path,
            first,
            prev: before.hash,
            bytes,
        },
        file,
    ))
}
