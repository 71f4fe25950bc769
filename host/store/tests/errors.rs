//! What the store refuses, and how it comes back.

mod common;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Dir, assert_true_to_history, commit, commits, content, expected, fill, open, small};
use store::{
    Commit, Faults, HoldReason, Note, Op, OpenOptions, Point, Store, StoreError, VALUE_BYTES_MAX,
    Value,
};

/// Fails the n-th operation, once.
struct FailAt {
    left: AtomicU64,
    kind: io::ErrorKind,
    /// The last write before it is cut to half.
    short: bool,
}

impl FailAt {
    fn new(n: u64, kind: io::ErrorKind, short: bool) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(n),
            kind,
            short,
        })
    }
}

impl Faults for FailAt {
    fn before(&self, op: Op, _path: &Path) -> io::Result<()> {
        if self.short && op != Op::Write {
            return Ok(());
        }
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            1 if !self.short => Err(self.kind.into()),
            _ => Ok(()),
        }
    }

    fn short_write(&self, _path: &Path, len: usize) -> Option<usize> {
        (self.short && self.left.load(Ordering::Relaxed) == 0).then_some(len / 2)
    }
}

fn with(faults: Arc<dyn Faults>) -> OpenOptions {
    OpenOptions {
        faults: Some(faults),
        ..small()
    }
}

/// Every operation of a life fails once, in turn: nothing acknowledged is lost,
/// and after the first error nothing more is acknowledged.
#[test]
fn every_operation_may_fail() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        let step = common::setting("LOADMASTER_FAULT_STEP", 7) as usize;
        for n in (1..400).step_by(step) {
            let context = format!("operation {n}: {kind:?}");
            let dir = Dir::new("nth");
            let mut acked = 0;
            let mut failed = false;
            if let Ok((mut store, _)) = Store::open(&dir.0, with(FailAt::new(n, kind, false))) {
                while store.seq() < 120 {
                    match store.commit(&commits(store.seq() + 1, 3)) {
                        Ok(info) => {
                            assert!(!failed, "{context}: acknowledged after an error");
                            acked = info.last_seq;
                        }
                        Err(error) => {
                            failed = true;
                            assert!(error.exit_code() == 70, "{context}: {error}");
                            assert!(store.poisoned().is_some(), "{context}");
                            // Reading goes on.
                            assert_eq!(content(&store).unwrap(), expected(store.seq()));
                            if matches!(error, StoreError::Poisoned { .. }) {
                                break;
                            }
                        }
                    }
                    if store.seq() % 50 == 0 {
                        store.snapshot(None).ok();
                    }
                }
            }
            let (store, found) = open(&dir.0);
            assert!(store.seq() >= acked, "{context}: {} < {acked}", store.seq());
            assert_eq!(found.hold, None, "{context}");
            assert_true_to_history(&store, &context);
        }
    }
}

#[test]
fn a_full_disk_is_its_own_error_and_a_reopen_cures_it() {
    let dir = Dir::new("full");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 20);
    drop(store);
    // The writes of opening itself: mark. The next is a commit's.
    let (mut store, _) =
        Store::open(&dir.0, with(FailAt::new(3, io::ErrorKind::Other, true))).unwrap();
    let error = loop {
        if let Err(error) = store.commit(&[commit(store.seq() + 1)]) {
            break error;
        }
    };
    assert!(
        matches!(error, StoreError::NoSpace { poisoned: true, .. }),
        "{error}"
    );
    let acked = store.seq();
    assert!(matches!(
        store.commit(&[commit(acked + 1)]),
        Err(StoreError::Poisoned { .. })
    ));
    drop(store);
    let (mut store, found) = open(&dir.0);
    assert!(
        matches!(&found.notes[..], [Note::TailCut(_)]),
        "{:?}",
        found.notes
    );
    assert_eq!(store.seq(), acked);
    fill(&mut store, acked + 10);
    assert_true_to_history(&store, "after the disk had room again");
}

#[test]
fn commits_are_refused_before_the_disk_is_full_and_resume_by_themselves() {
    let dir = Dir::new("low");
    let options = OpenOptions {
        min_free_bytes: u64::MAX / 2,
        ..small()
    };
    let (mut store, _) = Store::open(&dir.0, options).unwrap();
    let error = store.commit(&[commit(1)]).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NoSpace {
                poisoned: false,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!((store.seq(), store.poisoned()), (0, None));
}

#[test]
fn a_ballast_is_laid_in() {
    let dir = Dir::new("ballast");
    let options = OpenOptions {
        ballast_bytes: 1 << 20,
        ..small()
    };
    drop(Store::open(&dir.0, options).unwrap());
    assert_eq!(fs::metadata(dir.join("BALLAST")).unwrap().len(), 1 << 20);
}

#[test]
fn a_newer_format_or_schema_is_not_opened() {
    let dir = Dir::new("newer");
    let options = |schema| OpenOptions { schema, ..small() };
    let (mut store, _) = Store::open(&dir.0, options(3)).unwrap();
    fill(&mut store, 5);
    store.close().unwrap();
    let before = fs::read(dir.join("FORMAT")).unwrap();
    let Err(error) = Store::open(&dir.0, options(2)) else {
        panic!("opened a newer schema");
    };
    assert!(matches!(
        error,
        StoreError::NewerFormat {
            what: "schema",
            found: 3,
            known: 2,
            ..
        }
    ));
    assert_eq!(error.exit_code(), 78);

    let text = String::from_utf8(before.clone())
        .unwrap()
        .replace("format 1", "format 99");
    let body = text.rsplit_once("crc32c").unwrap().0;
    let crc = crc32c::crc32c(body.as_bytes());
    fs::write(dir.join("FORMAT"), format!("{body}crc32c {crc:08x}\n")).unwrap();
    let Err(error) = Store::open(&dir.0, options(3)) else {
        panic!("opened a newer format");
    };
    assert!(matches!(
        error,
        StoreError::NewerFormat {
            what: "format",
            found: 99,
            ..
        }
    ));

    // An older schema is opened with a snapshot taken first.
    fs::write(dir.join("FORMAT"), before).unwrap();
    let (mut store, found) = Store::open(&dir.0, options(4)).unwrap();
    assert_eq!(found.schema, 3);
    assert_eq!(fs::read_dir(dir.join("snapshots")).unwrap().count(), 1);
    store.set_schema(4).unwrap();
    drop(store);
    assert!(Store::open(&dir.0, options(3)).is_err());
}

fn wipe(dir: &Path, what: &[&str]) {
    for name in what {
        let path = dir.join(name);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
}

/// The incident this store exists for: state gone, host starts, everything that
/// runs looks unknown.
#[test]
fn lost_state_is_opened_on_hold_and_stays_so_until_released() {
    let dir = Dir::new("titus");
    let (mut store, first) = open(&dir.0);
    assert!(first.first_start && first.hold.is_none());
    fill(&mut store, 300);
    store.close().unwrap();
    wipe(&dir.0, &["tree", "journal"]);

    let reason = HoldReason::StateMissing {
        store_seq: 0,
        highwater_seq: 300,
    };
    for _ in 0..2 {
        let (store, found) = open(&dir.0);
        assert_eq!(found.hold.as_ref(), Some(&reason));
        assert!(!found.first_start);
        // Numbers go on, so that no decision has the number of a lost one.
        assert_eq!(store.seq(), 300);
        assert_eq!(content(&store).unwrap().len(), 0);
    }
    let (mut store, _) = open(&dir.0);
    store.commit(&[commit(301)]).unwrap();
    store.release_hold().unwrap();
    drop(store);
    let (store, found) = open(&dir.0);
    assert_eq!((found.hold, store.seq()), (None, 301));
}

#[test]
fn lost_state_with_a_snapshot_comes_back_from_it_on_hold() {
    let dir = Dir::new("snapshot-left");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 100);
    store.snapshot(None).unwrap();
    fill(&mut store, 130);
    store.close().unwrap();
    wipe(&dir.0, &["tree", "journal"]);
    let (store, found) = open(&dir.0);
    assert_eq!(
        found.hold,
        Some(HoldReason::StateMissing {
            store_seq: 100,
            highwater_seq: 130
        })
    );
    assert_eq!(content(&store).unwrap(), expected(100));
    assert_eq!(store.seq(), 130);
    drop(store);
    // And that base can itself be rebuilt.
    wipe(&dir.0, &["tree"]);
    let (store, _) = open(&dir.0);
    assert_eq!(content(&store).unwrap(), expected(100));
}

#[test]
fn an_older_copy_of_the_store_is_a_rollback() {
    let dir = Dir::new("rollback");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 60);
    store.close().unwrap();
    let old = Dir::new("old");
    common::copy(&dir.0, &old.0);
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 90);
    store.close().unwrap();
    wipe(&dir.0, &["tree", "journal"]);
    common::copy(&old.join("tree"), &dir.join("tree"));
    common::copy(&old.join("journal"), &dir.join("journal"));
    let (mut store, found) = open(&dir.0);
    assert_eq!(
        found.hold,
        Some(HoldReason::RolledBack {
            store_seq: 60,
            highwater_seq: 90
        })
    );
    assert_eq!(content(&store).unwrap(), expected(60));
    assert_eq!(store.seq(), 90);
    store.commit(&[commit(91)]).unwrap();
    store.close().unwrap();
    let (_, found) = open(&dir.0);
    assert!(found.hold.is_some());
}

#[test]
fn a_lost_high_water_mark_is_a_hold_and_a_lost_format_an_error() {
    let dir = Dir::new("marks");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 10);
    store.close().unwrap();
    wipe(&dir.0, &["HIGHWATER"]);
    let (store, found) = open(&dir.0);
    assert_eq!(
        found.hold,
        Some(HoldReason::HighWaterLost { store_seq: 10 })
    );
    assert_true_to_history(&store, "only the mark was lost");
    drop(store);
    wipe(&dir.0, &["FORMAT"]);
    assert!(matches!(
        Store::open(&dir.0, small()),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn a_lost_journal_is_refused_unless_accepted() {
    let dir = Dir::new("journal-lost");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 80);
    store.close().unwrap();
    wipe(&dir.0, &["journal"]);
    assert!(matches!(
        Store::open(&dir.0, small()),
        Err(StoreError::JournalLost {
            applied_seq: 80,
            journal_seq: 0
        })
    ));
    let options = OpenOptions {
        accept_journal_loss: true,
        ..small()
    };
    let (mut store, found) = Store::open(&dir.0, options).unwrap();
    assert!(matches!(
        found.hold,
        Some(HoldReason::JournalLost { store_seq: 80, .. })
    ));
    assert_eq!(content(&store).unwrap(), expected(80));
    store.commit(&[commit(81)]).unwrap();
    drop(store);
    let (store, _) = open(&dir.0);
    assert_eq!(content(&store).unwrap(), expected(81));
}

#[test]
fn retention_drops_what_two_snapshots_cover_and_recovery_still_works() {
    let dir = Dir::new("retention");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 1500);
    let first = store.reader().journal_first().unwrap();
    assert!(first > 1, "nothing was dropped");
    let bytes: u64 = common::files(&dir.join("journal"))
        .iter()
        .map(|p| fs::metadata(p).unwrap().len())
        .sum();
    assert!(bytes < 400 << 10, "{bytes} bytes kept");
    let gone = store.reader().journal(first - 1).unwrap().next();
    assert!(matches!(gone, Some(Err(StoreError::JournalGap { .. }))));
    assert_true_to_history(&store, "after dropping");
    let seq = store.seq();
    drop(store);

    // Without the tree, and with the newest snapshot damaged.
    wipe(&dir.0, &["tree"]);
    let newest = common::files(&dir.join("snapshots")).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&newest, bytes).unwrap();
    let (store, found) = open(&dir.0);
    assert_eq!((store.seq(), found.hold), (seq, None));
    assert!(
        found
            .notes
            .iter()
            .any(|n| matches!(n, Note::SnapshotUnusable { .. }))
    );
    assert!(found.notes.iter().any(|n| matches!(
        n,
        Note::TreeRebuilt {
            from_snapshot: Some(_),
            ..
        }
    )));
    assert_true_to_history(&store, "rebuilt from the older snapshot");
    drop(store);

    // Without any: said, not guessed.
    wipe(&dir.0, &["tree", "snapshots"]);
    assert!(matches!(
        Store::open(&dir.0, small()),
        Err(StoreError::Unrecoverable { .. })
    ));
}

#[test]
fn a_snapshot_restores_elsewhere_and_over_a_broken_store() {
    let dir = Dir::new("restore-from");
    let to = Dir::new("restore-to");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 200);
    let file = dir.join("out.snap");
    let info = store.snapshot(Some(&file)).unwrap();
    assert_eq!((info.seq, info.objects), (200, expected(200).len() as u64));
    let root = store.root();
    let digest = store.blobs().put(b"a component").unwrap();
    store.blobs().copy_to(&to.0).unwrap();
    fill(&mut store, 250);
    store.close().unwrap();

    Store::restore(&file, &to.0, &small()).unwrap();
    let (store, found) = open(&to.0);
    assert!(matches!(
        found.hold,
        Some(HoldReason::Restored {
            snapshot_seq: 200,
            ..
        })
    ));
    assert_eq!((store.root(), store.seq()), (root, 200));
    assert_eq!(content(&store).unwrap(), expected(200));
    assert_eq!(store.blobs().get(&digest).unwrap(), b"a component");
    drop(store);

    // In place: what was there is kept aside, and its numbers are not reused.
    fs::write(common::last_segment(&dir.0), b"gone").unwrap();
    assert!(Store::open(&dir.0, small()).is_err());
    Store::restore(&file, &dir.0, &small()).unwrap();
    let (mut store, _) = open(&dir.0);
    assert_eq!(content(&store).unwrap(), expected(200));
    assert!(store.seq() >= 250, "{}", store.seq());
    assert!(dir.join("aside").join("0001").join("journal").exists());
    store.commit(&[commit(1)]).unwrap();
    store.close().unwrap();
    assert!(Store::verify(&dir.0, &[]).unwrap().sound());

    let mut bytes = fs::read(&file).unwrap();
    bytes[200] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(matches!(
        Store::restore(&file, to.join("x"), &small()),
        Err(StoreError::SnapshotDamaged { .. })
    ));
    assert!(!to.join("x").exists());
}

/// The store moves to a thread of its own, readers go to many.
#[test]
fn stores_move_and_readers_spread() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync + Clone>() {}
    send::<Store>();
    share::<store::Reader>();
    share::<store::Blobs>();
}

/// Stops an install half-way.
struct StopAt(Point, AtomicU64);

impl Faults for StopAt {
    fn reach(&self, point: Point) {
        if point == self.0 {
            self.1.store(1, Ordering::Relaxed);
        }
    }

    fn before(&self, _op: Op, _path: &Path) -> io::Result<()> {
        match self.1.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(io::ErrorKind::Other.into()),
        }
    }
}

#[test]
fn an_interrupted_restore_is_not_a_store_and_can_be_repeated() {
    let dir = Dir::new("interrupted");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 50);
    let file = dir.join("out.snap");
    store.snapshot(Some(&file)).unwrap();
    store.close().unwrap();
    for point in [
        Point::SnapshotRenamed,
        Point::SegmentReady,
        Point::HighWaterWritten,
    ] {
        let faults = Arc::new(StopAt(point, AtomicU64::new(0)));
        assert!(Store::restore(&file, &dir.0, &with(faults)).is_err());
        assert!(matches!(
            Store::open(&dir.0, small()),
            Err(StoreError::Damaged { .. })
        ));
    }
    Store::restore(&file, &dir.0, &small()).unwrap();
    let (store, _) = open(&dir.0);
    assert_eq!(content(&store).unwrap(), expected(50));
}

#[test]
fn commits_outside_the_limits_are_refused_whole() {
    let dir = Dir::new("limits");
    let (mut store, _) = open(&dir.0);
    let put = |key: &[u8], n: usize| Commit {
        records: Vec::new(),
        puts: vec![(
            key.to_vec(),
            Some(Value {
                schema: 1,
                bytes: vec![0; n],
            }),
        )],
    };
    for bad in [
        put(b"no-prefix", 1),
        put(b"meta/state", 1),
        put(&[b'a'; 600], 1),
        put(b"a/b", VALUE_BYTES_MAX + 1),
    ] {
        let error = store.commit(&[commit(1), bad]).unwrap_err();
        assert!(matches!(error, StoreError::BadCommit { .. }), "{error}");
    }
    assert_eq!((store.seq(), store.poisoned()), (0, None));
    store.commit(&[put(b"a/b", VALUE_BYTES_MAX)]).unwrap();
    for n in 0..1023 {
        store
            .commit(&[put(format!("p{n}/x").as_bytes(), 1)])
            .unwrap();
    }
    let error = store.commit(&[put(b"one-more/x", 1)]).unwrap_err();
    assert!(matches!(error, StoreError::BadCommit { .. }), "{error}");
}

#[test]
fn blobs_are_what_their_name_says() {
    let dir = Dir::new("blobs");
    let (store, _) = open(&dir.0);
    let blobs = store.blobs();
    let digest = blobs.put(b"component").unwrap();
    assert_eq!(blobs.put(b"component").unwrap(), digest);
    assert_eq!(blobs.list().unwrap(), std::slice::from_ref(&digest));
    assert_eq!(blobs.get(&digest).unwrap(), b"component");
    for bad in ["", "../../FORMAT", &"0".repeat(64)] {
        assert!(matches!(
            blobs.get(bad),
            Err(StoreError::BlobMissing { .. })
        ));
    }
    let path = dir.join("blobs/sha256").join(&digest[..2]).join(&digest);
    fs::write(&path, b"c0mponent").unwrap();
    assert!(matches!(
        blobs.get(&digest),
        Err(StoreError::BlobDamaged { .. })
    ));
    // The right bytes, put again, mend it.
    blobs.put(b"component").unwrap();
    assert_eq!(blobs.get(&digest).unwrap(), b"component");
    blobs.remove(&digest).unwrap();
    assert!(blobs.list().unwrap().is_empty());
}
