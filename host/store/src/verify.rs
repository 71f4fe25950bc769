//! Reading everything that must never change, and comparing.

use std::path::{Path, PathBuf};

use crate::bytes::{Hash, hex};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::journal::{self, CutTail};
use crate::marks::{ClusterId, FORMAT, Format, HIGHWATER, HighWater};
use crate::replay::Replay;
use crate::snapshot::{self, SnapshotInfo};

/// What a check of the whole directory found.
#[derive(Debug)]
pub struct VerifyReport {
    /// The history the store belongs to.
    pub cluster: ClusterId,
    /// Journal files.
    pub segments: usize,
    /// First commit in the journal; 0 if there is none.
    pub first_seq: u64,
    /// Last commit that could be checked.
    pub last_seq: u64,
    /// Its hash.
    pub head: Hash,
    /// The first thing in the journal that is not what was written.
    pub fault: Option<StoreError>,
    /// An incomplete last write: harmless, and cut when the store is opened next.
    pub torn_tail: Option<CutTail>,
    /// Each snapshot, or what is wrong with it.
    pub snapshots: Vec<(PathBuf, Result<SnapshotInfo, StoreError>)>,
}

impl VerifyReport {
    /// Whether everything is as it was written.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.fault.is_none() && self.snapshots.iter().all(|(_, s)| s.is_ok())
    }

    /// The first commit that is damaged, missing or tampered with.
    #[must_use]
    pub fn first_bad_seq(&self) -> Option<u64> {
        match self.fault.as_ref()? {
            StoreError::JournalDamaged { seq, .. } => Some(*seq),
            StoreError::JournalGap { expected, .. } => Some(*expected),
            _ => Some(self.last_seq + 1),
        }
    }
}

pub(crate) fn verify(dir: &Path, heads: &[(u64, Hash)]) -> Result<VerifyReport, StoreError> {
    let disk = Disk::default();
    let format = Format::read(&disk, dir, u32::MAX)?.ok_or_else(|| StoreError::Damaged {
        path: dir.join(FORMAT),
        what: "there is no store here".to_owned(),
    })?;
    let mark = HighWater::read(&disk, dir)?.and_then(Result::ok);
    let mut report = VerifyReport {
        cluster: format.cluster,
        segments: 0,
        first_seq: 0,
        last_seq: 0,
        head: [0; 16],
        fault: None,
        torn_tail: None,
        snapshots: Vec::new(),
    };
    let mut heads = heads.to_vec();
    heads.extend(mark.as_ref().map(|m| (m.state.seq, m.state.chain)));
    if let Err(fault) = walk(&disk, dir, mark.as_ref(), &heads, &mut report) {
        report.fault = Some(fault);
    }
    for (_, path) in snapshot::list(&disk, &dir.join("snapshots"))? {
        let result = snapshot::read(&disk, &path, |_| Ok(())).map(|(info, _)| info);
        report.snapshots.push((path, result));
    }
    for seq in mark.iter().flat_map(|m| &m.snapshots) {
        let path = snapshot::path(&dir.join("snapshots"), *seq);
        if !report.snapshots.iter().any(|(p, _)| *p == path) {
            let what = "it is missing".to_owned();
            let missing = StoreError::SnapshotDamaged {
                path: path.clone(),
                what,
            };
            report.snapshots.push((path, Err(missing)));
        }
    }
    Ok(report)
}

fn walk(
    disk: &Disk,
    dir: &Path,
    mark: Option<&HighWater>,
    heads: &[(u64, Hash)],
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    let journal = dir.join("journal");
    let from = mark.map_or(0, |m| m.journal_first);
    let reached = heads.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
    // The files before the last are walked first, so that the first fault is the
    // one named; the last is walked by the scan, which may find a torn tail.
    let listing = crate::segment::list(disk, &journal, report.cluster, from)?;
    report.segments = listing.segments.len();
    let Some(first) = listing.segments.first().map(|s| s.first) else {
        return match reached {
            0 => Ok(()),
            _ => Err(gap(&journal, 1, reached + 1)),
        };
    };
    report.first_seq = first;
    if from > 0 && first > from {
        return Err(gap(&journal, from, first));
    }
    let sealed = listing.segments.last().map_or(0, |s| s.first) - 1;
    read(
        disk,
        &journal,
        &listing.segments,
        first,
        sealed,
        heads,
        report,
    )?;
    let Some(scan) = journal::scan(disk, &journal, report.cluster, from, reached)? else {
        return Err(gap(&journal, first, reached + 1));
    };
    report.torn_tail = scan.torn_tail().cloned();
    let last = scan.last;
    read(
        disk,
        &journal,
        &scan.segments,
        sealed.max(first),
        last,
        heads,
        report,
    )?;
    report.head = scan.chain;
    if last < reached {
        return Err(gap(&journal, last + 1, reached + 1));
    }
    Ok(())
}

fn read(
    disk: &Disk,
    journal: &Path,
    segments: &[crate::segment::Segment],
    from: u64,
    to: u64,
    heads: &[(u64, Hash)],
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    for entry in Replay::new(disk, journal, segments, from, to) {
        let entry = entry?;
        if let Some((_, hash)) = heads
            .iter()
            .find(|(s, h)| *s == entry.seq && *h != entry.hash)
        {
            let segment = segments.iter().rfind(|s| s.first <= entry.seq);
            return Err(StoreError::JournalDamaged {
                file: segment.map_or_else(|| journal.join(HIGHWATER), |s| s.path.clone()),
                offset: 0,
                seq: entry.seq,
                what: format!(
                    "it has hash {}, and {} was recorded elsewhere",
                    hex(&entry.hash),
                    hex(hash)
                ),
            });
        }
        report.last_seq = entry.seq;
        report.head = entry.hash;
    }
    Ok(())
}

fn gap(journal: &Path, expected: u64, found: u64) -> StoreError {
    StoreError::JournalGap {
        dir: journal.to_owned(),
        expected,
        found,
    }
}
