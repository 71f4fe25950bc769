//! From whatever is in the directory to a store that has every acknowledged
//! commit, or to an error that says what is wrong.
//!
//! The marks say what there should be, the tree says where it is, the journal
//! has the rest. A tree that is missing or damaged is moved aside and built anew
//! from the newest sound snapshot and the journal, if those together are
//! complete. Nothing is deleted, and nothing missing is taken for nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bytes::hex;
use crate::disk::{Disk, Point, TEMPORARY, fail};
use crate::envelope::State;
use crate::error::StoreError;
use crate::frame::Entry;
use crate::install::{self, Source};
use crate::journal::{self, Journal, Scan};
use crate::marks::{self, ClusterId, FORMAT, Format, HIGHWATER, HighWater, HoldReason};
use crate::options::{Note, OpenOptions, Recovered};
use crate::replay::Replay;
use crate::snapshot;
use crate::tree::{Opened, Put, Tree};

/// Commits applied as one batch while catching up.
const REPLAY_BATCH: usize = 1024;

/// Where things are.
#[derive(Clone)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) tree: PathBuf,
    pub(crate) tree_new: PathBuf,
    pub(crate) journal: PathBuf,
    pub(crate) snapshots: PathBuf,
    pub(crate) aside: PathBuf,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            tree: dir.join("tree"),
            tree_new: dir.join("tree.new"),
            journal: dir.join("journal"),
            snapshots: dir.join("snapshots"),
            aside: dir.join("aside"),
        }
    }
}

/// Everything a store is made of, ready to commit.
pub(crate) struct Parts {
    pub(crate) layout: Layout,
    pub(crate) format: Format,
    pub(crate) tree: Tree,
    pub(crate) state: State,
    pub(crate) journal: Journal,
    pub(crate) checkpoint: u64,
    /// Commits of the store's own snapshots, oldest first.
    pub(crate) snapshots: Vec<u64>,
}

pub(crate) fn recover(
    disk: &Disk,
    dir: &Path,
    options: &OpenOptions,
) -> Result<(Parts, Recovered), StoreError> {
    let layout = Layout::new(dir);
    let mut found = Recovered {
        first_start: false,
        cluster: ClusterId([0; 16]),
        seq: 0,
        counts: Default::default(),
        replayed: 0,
        schema: options.schema,
        hold: None,
        notes: Vec::new(),
    };
    sweep(disk, &layout)?;
    crate::space::make_room(disk, dir, &mut found.notes)?;

    let format = match Format::read(disk, dir, options.schema)? {
        Some(format) => format,
        None => begin(disk, &layout, options)?,
    };
    found.cluster = format.cluster;
    found.schema = format.schema;
    found.hold = marks::read_hold(disk, dir)?;
    let mark = match HighWater::read(disk, dir)? {
        Some(Ok(mark)) if mark.cluster == format.cluster => Some(mark),
        Some(Ok(mark)) => {
            return Err(StoreError::Foreign {
                path: dir.join(HIGHWATER),
                what: format!(
                    "it is of cluster {}, this is {}",
                    mark.cluster, format.cluster
                ),
            });
        }
        Some(Err(why)) => {
            tracing::error!(why, "the high-water mark cannot be read");
            None
        }
        None => None,
    };

    let mut parts = assemble(disk, layout, format, mark.as_ref(), options, &mut found)?;
    if let Some(mark) = mark.as_ref().filter(|m| m.state.seq > parts.state.seq) {
        let reason = HoldReason::RolledBack {
            store_seq: parts.state.seq,
            highwater_seq: mark.state.seq,
        };
        // New commits must not take numbers that were already given out.
        let source = Source::Tree(parts.tree, parts.state, mark.state.seq);
        let (layout, format) = (parts.layout, parts.format);
        let notes = &mut found.notes;
        parts = install::install(disk, &layout, format, options, source, reason, notes)?;
    }
    settle(disk, &mut parts, mark.as_ref(), &mut found)?;
    crate::space::lay_ballast(disk, dir, options)?;
    found.seq = parts.state.seq;
    found.counts.clone_from(&parts.state.counts);
    for note in &found.notes {
        tracing::warn!("{note}");
    }
    if let Some(hold) = &found.hold {
        tracing::error!("on hold: {hold}");
    }
    Ok((parts, found))
}

/// Removes what a crash left unfinished; none of it was ever referred to.
fn sweep(disk: &Disk, layout: &Layout) -> Result<(), StoreError> {
    for dir in [&layout.dir, &layout.snapshots] {
        for path in disk.list(dir)? {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if name.ends_with(TEMPORARY) && path.is_file() {
                disk.remove(&path)?;
            }
        }
    }
    if layout.tree_new.exists() {
        fs::remove_dir_all(&layout.tree_new).map_err(|e| fail("remove", &layout.tree_new, e))?;
    }
    Ok(())
}

/// First start. `FORMAT` comes last, so that its absence with anything else
/// present means that it was lost.
fn begin(disk: &Disk, layout: &Layout, options: &OpenOptions) -> Result<Format, StoreError> {
    let used = match HighWater::read(disk, &layout.dir)? {
        Some(Ok(mark)) => mark.journal_first > 0 || mark.state.seq > 0,
        Some(Err(_)) => true,
        None => false,
    };
    let there = [&layout.tree, &layout.journal, &layout.snapshots];
    if used || there.iter().any(|p| p.exists()) {
        return Err(StoreError::Damaged {
            path: layout.dir.join(FORMAT),
            what: "it is missing and the store is not new; if a restore was interrupted, \
                   run it again"
                .to_owned(),
        });
    }
    let cluster = ClusterId::random()?;
    HighWater {
        cluster,
        state: State::default(),
        checkpoint: 0,
        journal_first: 0,
        snapshots: Vec::new(),
    }
    .write(disk, &layout.dir)?;
    let format = Format {
        schema: options.schema,
        cluster,
    };
    format.write(disk, &layout.dir)?;
    Ok(format)
}

/// Brings tree and journal together.
fn assemble(
    disk: &Disk,
    layout: Layout,
    format: Format,
    mark: Option<&HighWater>,
    options: &OpenOptions,
    found: &mut Recovered,
) -> Result<Parts, StoreError> {
    let cluster = format.cluster;
    let reached = mark.map_or(0, |m| m.state.seq);
    let journal_from = mark.map_or(0, |m| m.journal_first);
    let opened = Tree::open(&layout.tree, options.cache_bytes)?;
    let applied = match &opened {
        Opened::Good(_, state) => state.seq,
        _ => 0,
    };
    let durable = applied.max(reached);
    let scan = journal::scan(disk, &layout.journal, cluster, journal_from, durable)?;

    if let Some(scan) = &scan
        && journal_from > 0
        && scan.first() > journal_from
    {
        return Err(StoreError::JournalGap {
            dir: layout.journal,
            expected: journal_from,
            found: scan.first(),
        });
    }
    let journal_seq = scan.as_ref().map_or(0, |s| s.last);
    let never_used = mark.is_some_and(|m| m.journal_first == 0) && durable == 0 && journal_seq == 0;
    found.first_start = never_used;

    match (opened, scan) {
        (opened, scan) if never_used => fresh(disk, &layout, format, options, opened, scan),
        (Opened::Good(tree, state), scan)
            if scan.is_none() || scan.as_ref().is_some_and(|s| s.last < state.seq) =>
        {
            if !options.accept_journal_loss {
                return Err(StoreError::JournalLost {
                    applied_seq: state.seq,
                    journal_seq,
                });
            }
            let reason = HoldReason::JournalLost {
                store_seq: state.seq,
                journal_seq,
            };
            let base = state.seq.max(reached);
            let source = Source::Tree(tree, state, base);
            let notes = &mut found.notes;
            install::install(disk, &layout, format, options, source, reason, notes)
        }
        (Opened::Good(tree, state), Some(scan)) if state.seq + 1 >= scan.first() => {
            if let Some(checkpoint_seq) = mark.map(|m| m.checkpoint).filter(|c| *c > state.seq) {
                found.notes.push(Note::TreeBehindCheckpoint {
                    tree_seq: state.seq,
                    checkpoint_seq,
                });
            }
            let mut parts = resume(disk, layout, format, options, (tree, state), scan, found)?;
            parts.checkpoint = mark.map_or(0, |m| m.checkpoint).min(parts.state.seq);
            catch_up(disk, &mut parts, mark, found)?;
            Ok(parts)
        }
        (opened, Some(scan)) => {
            let why = match opened {
                Opened::Missing => "it is missing".to_owned(),
                Opened::Bad(why) => why,
                Opened::Good(_, state) => {
                    format!("it is at commit {}, older than the journal", state.seq)
                }
            };
            rebuild(disk, layout, format, options, why, scan, mark, found)
        }
        (opened, None) => {
            drop(opened);
            let snapshot = newest_snapshot(disk, &layout, &mut found.notes, |_| true)?;
            let store_seq = snapshot.as_ref().map_or(0, |(seq, _)| *seq);
            let base = store_seq.max(reached);
            let reason = match mark {
                Some(_) => HoldReason::StateMissing {
                    store_seq,
                    highwater_seq: reached,
                },
                None => HoldReason::HighWaterLost { store_seq },
            };
            let source = match snapshot {
                Some((_, path)) => Source::Snapshot(path, base),
                None => Source::Nothing(base),
            };
            let notes = &mut found.notes;
            install::install(disk, &layout, format, options, source, reason, notes)
        }
    }
}

/// Nothing was ever committed: a first start, perhaps one that was cut short.
fn fresh(
    disk: &Disk,
    layout: &Layout,
    format: Format,
    options: &OpenOptions,
    opened: Opened,
    scan: Option<Scan>,
) -> Result<Parts, StoreError> {
    let state = State::default();
    let tree = match opened {
        Opened::Good(tree, _) => tree,
        Opened::Bad(_) | Opened::Missing => {
            if layout.tree.exists() {
                fs::remove_dir_all(&layout.tree).map_err(|e| fail("remove", &layout.tree, e))?;
            }
            Tree::create(&layout.tree, options.cache_bytes, &state)?
        }
    };
    tree.checkpoint(disk)?;
    let journal = match scan {
        Some(scan) => Journal::resume(
            disk,
            &layout.journal,
            format.cluster,
            options.segment_bytes,
            scan,
        )?,
        None => {
            for path in disk.list(&layout.journal)? {
                disk.remove(&path)?;
            }
            Journal::create(
                disk,
                &layout.journal,
                format.cluster,
                options.segment_bytes,
                0,
                state.chain,
            )?
        }
    };
    Ok(Parts {
        layout: layout.clone(),
        format,
        tree,
        state,
        journal,
        checkpoint: 0,
        snapshots: Vec::new(),
    })
}

fn resume(
    disk: &Disk,
    layout: Layout,
    format: Format,
    options: &OpenOptions,
    (tree, state): (Tree, State),
    scan: Scan,
    found: &mut Recovered,
) -> Result<Parts, StoreError> {
    if let Some(cut) = scan.torn_tail() {
        found.notes.push(Note::TailCut(cut.clone()));
    }
    let journal = Journal::resume(
        disk,
        &layout.journal,
        format.cluster,
        options.segment_bytes,
        scan,
    )?;
    if options.verify_journal {
        let first = journal.segments.first().map_or(1, |s| s.first);
        for entry in Replay::new(
            disk,
            &layout.journal,
            &journal.segments,
            first,
            journal.last,
        ) {
            entry?;
        }
    }
    Ok(Parts {
        layout,
        format,
        tree,
        state,
        journal,
        checkpoint: 0,
        snapshots: Vec::new(),
    })
}

/// Applies what the journal has and the tree has not, after checking that both
/// tell the same history.
fn catch_up(
    disk: &Disk,
    parts: &mut Parts,
    mark: Option<&HighWater>,
    found: &mut Recovered,
) -> Result<(), StoreError> {
    let first = parts.journal.segments.first().map_or(1, |s| s.first);
    let start = parts.state.seq;
    let at_start = if start == parts.journal.last {
        parts.journal.chain
    } else if start + 1 == first {
        parts.journal.segments.first().map_or([0; 16], |s| s.prev)
    } else {
        let segments = &parts.journal.segments;
        match Replay::new(disk, &parts.layout.journal, segments, start, start).next() {
            Some(entry) => entry?.hash,
            None => [0; 16],
        }
    };
    if at_start != parts.state.chain {
        return Err(StoreError::Foreign {
            path: parts.layout.journal.clone(),
            what: format!(
                "its record {start} has hash {}, the tree was written with {}",
                hex(&at_start),
                hex(&parts.state.chain)
            ),
        });
    }
    agrees(parts, mark)?;
    let replay = Replay::new(
        disk,
        &parts.layout.journal,
        &parts.journal.segments,
        start + 1,
        parts.journal.last,
    );
    let mut batch: Vec<Entry> = Vec::with_capacity(REPLAY_BATCH);
    for entry in replay {
        batch.push(entry?);
        let at = batch.last().map_or(0, |e| e.seq);
        // Stop at the mark too: it says what the state was just there.
        if batch.len() == REPLAY_BATCH || mark.is_some_and(|m| m.state.seq == at) {
            apply(disk, parts, &batch)?;
            agrees(parts, mark)?;
            batch.clear();
        }
    }
    apply(disk, parts, &batch)?;
    found.replayed += parts.state.seq - start;
    Ok(())
}

fn apply(disk: &Disk, parts: &mut Parts, batch: &[Entry]) -> Result<(), StoreError> {
    let Some(last) = batch.last() else {
        return Ok(());
    };
    let mut puts = Vec::new();
    for entry in batch {
        puts.extend(entry.commit.puts.iter().map(|(key, value)| Put {
            key,
            value: value.as_ref(),
            seq: entry.seq,
        }));
    }
    parts
        .tree
        .apply(disk, &mut parts.state, puts, last.seq, last.hash)
}

/// Compares with the high-water mark when the state is just where it was taken.
fn agrees(parts: &Parts, mark: Option<&HighWater>) -> Result<(), StoreError> {
    match mark {
        Some(mark) if mark.state.seq == parts.state.seq && mark.state != parts.state => {
            Err(StoreError::ObjectDamaged {
                key: HIGHWATER.to_owned(),
                what: format!(
                    "at commit {} it says {} objects with root {:032x}, the state has {} with {:032x}",
                    mark.state.seq,
                    mark.state.objects(),
                    mark.state.root,
                    parts.state.objects(),
                    parts.state.root
                ),
            })
        }
        _ => Ok(()),
    }
}

/// Builds the tree anew beside the old one, and puts it in place when complete.
#[expect(clippy::too_many_arguments, reason = "all that recovery knows")]
fn rebuild(
    disk: &Disk,
    layout: Layout,
    format: Format,
    options: &OpenOptions,
    why: String,
    scan: Scan,
    mark: Option<&HighWater>,
    found: &mut Recovered,
) -> Result<Parts, StoreError> {
    disk.reach(Point::RebuildBegins);
    let (first, last) = (scan.first(), scan.last);
    let fits = |seq: u64| seq + 1 >= first && seq <= last;
    let snapshot = newest_snapshot(disk, &layout, &mut found.notes, fits)?;
    if snapshot.is_none() && first > 1 {
        return Err(StoreError::Unrecoverable {
            what: format!(
                "the tree is lost ({why}), the journal begins at {first}, and no sound snapshot \
                 reaches it"
            ),
            todo: "restore a snapshot kept elsewhere",
        });
    }
    let aside = match layout.tree.exists() {
        true => Some(install::move_aside(disk, &layout, &[&layout.tree])?),
        false => None,
    };
    disk.reach(Point::RebuildAside);
    let (tree, state) = match &snapshot {
        Some((_, path)) => install::load(disk, path, &layout.tree_new, options, format.cluster)?,
        None => {
            let state = State::default();
            (
                Tree::create(&layout.tree_new, options.cache_bytes, &state)?,
                state,
            )
        }
    };
    let mut parts = resume(disk, layout, format, options, (tree, state), scan, found)?;
    catch_up(disk, &mut parts, mark, found)?;
    parts.tree.checkpoint(disk)?;

    let Parts {
        layout,
        format,
        tree,
        state,
        journal,
        ..
    } = parts;
    drop(tree);
    disk.rename(&layout.tree_new, &layout.tree)?;
    disk.sync_dir(&layout.dir)?;
    disk.reach(Point::RebuildDone);
    let tree = install::reopen(&layout.tree, options, &state)?;
    found.notes.push(Note::TreeRebuilt {
        why,
        from_snapshot: snapshot.map(|(seq, _)| seq),
        aside,
    });
    Ok(Parts {
        layout,
        format,
        tree,
        checkpoint: state.seq,
        state,
        journal,
        snapshots: Vec::new(),
    })
}

/// The newest snapshot that fits and is sound; others are noted.
fn newest_snapshot(
    disk: &Disk,
    layout: &Layout,
    notes: &mut Vec<Note>,
    fits: impl Fn(u64) -> bool,
) -> Result<Option<(u64, PathBuf)>, StoreError> {
    for (seq, path) in snapshot::list(disk, &layout.snapshots)?.into_iter().rev() {
        if !fits(seq) {
            continue;
        }
        match snapshot::read(disk, &path, |_| Ok(())) {
            Ok((info, _)) if info.seq == seq => return Ok(Some((seq, path))),
            Ok((info, _)) => notes.push(Note::SnapshotUnusable {
                why: format!("it is of commit {}", info.seq),
                path,
            }),
            Err(error @ StoreError::SnapshotDamaged { .. }) => notes.push(Note::SnapshotUnusable {
                why: error.to_string(),
                path,
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Compares the outcome with the high-water mark, decides on a hold, and writes
/// the new mark.
fn settle(
    disk: &Disk,
    parts: &mut Parts,
    mark: Option<&HighWater>,
    found: &mut Recovered,
) -> Result<(), StoreError> {
    let dir = parts.layout.dir.clone();
    parts.snapshots = snapshot::list(disk, &parts.layout.snapshots)?
        .into_iter()
        .map(|(seq, _)| seq)
        .collect();
    for seq in mark.iter().flat_map(|m| &m.snapshots) {
        if !parts.snapshots.contains(seq) {
            found.notes.push(Note::SnapshotUnusable {
                path: snapshot::path(&parts.layout.snapshots, *seq),
                why: "it is missing".to_owned(),
            });
        }
    }
    if let Some(hold) = marks::read_hold(disk, &dir)? {
        found.hold = Some(hold);
    } else if mark.is_none() {
        let hold = HoldReason::HighWaterLost {
            store_seq: parts.state.seq,
        };
        marks::write_hold(disk, &dir, &hold)?;
        found.hold = Some(hold);
    }
    mark_of(parts).write(disk, &dir)
}

/// The high-water mark for what the parts hold now.
pub(crate) fn mark_of(parts: &Parts) -> HighWater {
    HighWater {
        cluster: parts.format.cluster,
        state: parts.state.clone(),
        checkpoint: parts.checkpoint,
        journal_first: parts.journal.segments.first().map_or(0, |s| s.first),
        snapshots: parts.snapshots.clone(),
    }
}
