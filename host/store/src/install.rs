//! Putting a state on a new base: after a restore, and whenever what is here
//! cannot be continued as if nothing had happened.
//!
//! `FORMAT` goes first and comes back last. In between the directory is not a
//! store, so that a crash leaves something that refuses to open and can be
//! restored again, never something half right.

use std::fs;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, fail};
use crate::envelope::State;
use crate::error::StoreError;
use crate::journal::Journal;
use crate::lock::Lock;
use crate::marks::{self, ClusterId, FORMAT, Format, HIGHWATER, HOLD, HighWater, HoldReason};
use crate::options::{Note, OpenOptions};
use crate::recover::{Layout, Parts, mark_of};
use crate::snapshot::{self, SnapshotInfo};
use crate::tree::{Opened, Tree};

/// What the new base holds, and the commit it is numbered with.
pub(crate) enum Source {
    Tree(Tree, State, u64),
    Snapshot(PathBuf, u64),
    Nothing(u64),
}

pub(crate) fn install(
    disk: &Disk,
    layout: &Layout,
    format: Format,
    options: &OpenOptions,
    source: Source,
    reason: HoldReason,
    notes: &mut Vec<Note>,
) -> Result<Parts, StoreError> {
    let reason = match marks::read_hold(disk, &layout.dir) {
        // The first reason is the one to look at.
        Ok(Some(standing)) => standing,
        _ => reason,
    };
    disk.create_dir(&layout.snapshots)?;
    let (snapshot, base) = match source {
        Source::Tree(tree, mut state, base) => {
            state.seq = base;
            let path = snapshot::path(&layout.snapshots, base);
            snapshot::write(disk, &path, &tree, &state, format.cluster, format.schema)?;
            (Some(path), base)
        }
        Source::Snapshot(path, base) => (Some(path), base),
        Source::Nothing(base) => (None, base),
    };
    let old = [
        layout.dir.join(FORMAT),
        layout.dir.join(HIGHWATER),
        layout.dir.join(HOLD),
        layout.journal.clone(),
        layout.tree.clone(),
    ];
    if old.iter().any(|p| p.exists()) {
        let aside = move_aside(disk, layout, &old.each_ref())?;
        notes.push(Note::MovedAside { aside });
    }

    let (mut tree, mut state) = match &snapshot {
        Some(path) => load(disk, path, &layout.tree, options, format.cluster)?,
        None => {
            let state = State::default();
            let tree = Tree::create(&layout.tree, options.cache_bytes, &state)?;
            (tree, state)
        }
    };
    state.seq = base;
    tree.put_state(&state)?;
    tree.checkpoint(disk)?;
    // The journal begins after `base`: this is what a rebuild would begin with.
    let path = snapshot::path(&layout.snapshots, base);
    snapshot::write(disk, &path, &tree, &state, format.cluster, format.schema)?;
    let journal = Journal::create(
        disk,
        &layout.journal,
        format.cluster,
        options.segment_bytes,
        base,
        state.chain,
    )?;
    let parts = Parts {
        layout: layout.clone(),
        format,
        tree,
        checkpoint: state.seq,
        state,
        journal,
        snapshots: vec![base],
    };
    mark_of(&parts).write(disk, &layout.dir)?;
    marks::write_hold(disk, &layout.dir, &reason)?;
    format.write(disk, &layout.dir)?;
    Ok(parts)
}

/// Makes a store at `dir` from a snapshot; what is there is moved aside. It comes
/// up on hold.
pub(crate) fn restore(
    snapshot: &Path,
    dir: &Path,
    options: &OpenOptions,
) -> Result<SnapshotInfo, StoreError> {
    let disk = Disk::new(options.faults.clone());
    let (info, _) = snapshot::read(&disk, snapshot, |_| Ok(()))?;
    if info.schema > options.schema {
        return Err(StoreError::NewerFormat {
            path: snapshot.to_owned(),
            what: "schema",
            found: info.schema,
            known: options.schema,
        });
    }
    disk.create_dir(dir)?;
    let lock = Lock::take(dir)?;
    let layout = Layout::new(dir);
    let reached = reached(&disk, &layout)?;
    let format = Format {
        schema: info.schema,
        cluster: info.cluster,
    };
    let reason = HoldReason::Restored {
        snapshot_seq: info.seq,
        highwater_seq: reached,
    };
    // Numbers that were given out here before must not be given out again.
    let source = Source::Snapshot(snapshot.to_owned(), info.seq.max(reached));
    install(
        &disk,
        &layout,
        format,
        options,
        source,
        reason,
        &mut Vec::new(),
    )?;
    drop(lock);
    Ok(info)
}

/// The highest commit any mark or journal file here, or set aside here, knows of.
fn reached(disk: &Disk, layout: &Layout) -> Result<u64, StoreError> {
    let mut dirs = disk.list(&layout.aside)?;
    dirs.push(layout.dir.clone());
    let mut highest = 0;
    for dir in dirs {
        if let Some(Ok(mark)) = HighWater::read(disk, &dir)? {
            highest = highest.max(mark.state.seq);
        }
        for path in disk.list(&dir.join("journal"))? {
            let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
            if let Ok(first) = name.parse::<u64>() {
                // Its last record is at most as far on as it has room for.
                let bytes = fs::metadata(&path).map_or(0, |m| m.len());
                let records = bytes / crate::frame::HEADER_BYTES as u64;
                highest = highest.max(first + records);
            }
        }
    }
    Ok(highest)
}

/// Loads a snapshot into a new tree.
pub(crate) fn load(
    disk: &Disk,
    path: &Path,
    dir: &Path,
    options: &OpenOptions,
    cluster: ClusterId,
) -> Result<(Tree, State), StoreError> {
    let mut tree = Tree::create(dir, options.cache_bytes, &State::default())?;
    let (info, state) = snapshot::read(disk, path, |objects| tree.put_sealed(objects))?;
    if info.cluster != cluster {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
            what: format!("it is of cluster {}, this store is {cluster}", info.cluster),
        });
    }
    tree.put_state(&state)?;
    Ok((tree, state))
}

/// Opens a tree that was just built, and checks that it is what was built.
pub(crate) fn reopen(dir: &Path, options: &OpenOptions, state: &State) -> Result<Tree, StoreError> {
    let what = match Tree::open(dir, options.cache_bytes)? {
        Opened::Good(tree, found) if found == *state => return Ok(tree),
        Opened::Good(..) => "it is another state".to_owned(),
        Opened::Missing => "it is missing".to_owned(),
        Opened::Bad(why) => why,
    };
    Err(StoreError::ObjectDamaged {
        key: "the tree just built".to_owned(),
        what,
    })
}

/// Moves files into a new directory under `aside`, and returns it.
pub(crate) fn move_aside(
    disk: &Disk,
    layout: &Layout,
    paths: &[&PathBuf],
) -> Result<PathBuf, StoreError> {
    disk.create_dir(&layout.aside)?;
    let number = disk
        .list(&layout.aside)?
        .iter()
        .filter_map(|p| p.file_name()?.to_str()?.parse::<u32>().ok())
        .max()
        .map_or(1, |n| n + 1);
    let to = layout.aside.join(format!("{number:04}"));
    fs::create_dir(&to).map_err(|e| fail("create", &to, e))?;
    disk.sync_dir(&layout.aside)?;
    for path in paths {
        if let (true, Some(name)) = (path.exists(), path.file_name()) {
            disk.rename(path, &to.join(name))?;
            // One at a time and in order: what comes first must be gone first.
            disk.sync_dir(&to)?;
            disk.sync_dir(&layout.dir)?;
        }
    }
    Ok(to)
}
