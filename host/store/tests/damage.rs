//! Files that are not what was written: found, named, and never served.

mod common;

use std::fs;
use std::path::Path;

use common::{
    Dir, Rng, assert_true_to_history, copy, files, fill, last_segment, open, setting, small,
};
use store::{Note, Store, StoreError};

const COMMITS: u64 = 400;

/// A closed store with several segments, two snapshots and a blob. Retention is
/// off, so that it can always be rebuilt from its journal.
fn golden(name: &str) -> Dir {
    let dir = Dir::new(name);
    let mut options = small();
    options.retain_bytes = 1 << 30;
    let (mut store, _) = Store::open(&dir.0, options).unwrap();
    for at in [100, 250, COMMITS] {
        fill(&mut store, at);
        if at < COMMITS {
            store.snapshot(None).unwrap();
        }
    }
    store.blobs().put(b"a component").unwrap();
    store.close().unwrap();
    dir
}

/// Damages one file; `None` if it would be no change.
fn damage(path: &Path, old: &[u8], kind: u64, rng: &mut Rng) -> Option<String> {
    let len = old.len() as u64;
    let mut bytes = old.to_vec();
    let what = match kind {
        0 => {
            let bit = rng.below(len.max(1) * 8);
            *bytes.get_mut((bit / 8) as usize)? ^= 1 << (bit % 8);
            format!("bit {bit} flipped")
        }
        1 => {
            let page = rng.below(len.div_ceil(4096).max(1)) as usize * 4096;
            let end = (page + 4096).min(bytes.len());
            bytes.get_mut(page..end)?.fill(0);
            format!("page at {page} zeroed")
        }
        2 => {
            let to = rng.below(len.max(1));
            bytes.truncate(to as usize);
            format!("cut to {to} of {len}")
        }
        3 => {
            fs::remove_file(path).unwrap();
            return Some("removed".to_owned());
        }
        _ => {
            let n = 1 + rng.below(200);
            bytes.extend((0..n).map(|_| rng.next() as u8));
            format!("{n} bytes appended")
        }
    };
    if bytes == old {
        return None;
    }
    fs::write(path, bytes).unwrap();
    Some(what)
}

#[test]
fn no_damage_is_silent() {
    let golden = golden("golden");
    let mut rng = Rng(11);
    let trials = setting("LOADMASTER_DAMAGE_TRIALS", 200);
    let (mut refused, mut repaired, mut held, mut reported, mut harmless) = (0, 0, 0, 0, 0);
    let mut done = 0;
    while done < trials {
        let dir = Dir::new("damage");
        copy(&golden.0, &dir.0);
        let all = files(&dir.0);
        let path = all[rng.below(all.len() as u64) as usize].clone();
        if path.ends_with("LOCK") {
            continue;
        }
        let old = fs::read(&path).unwrap();
        let Some(what) = damage(&path, &old, rng.below(5), &mut rng) else {
            continue;
        };
        done += 1;
        let name = path.strip_prefix(&dir.0).unwrap().display().to_string();
        let context = format!("{name}: {what}");

        // Found by the check, which only reads...
        let verified = Store::verify(&dir.0, &[]);
        let by_verify = !verified
            .as_ref()
            .is_ok_and(|r| r.sound() && r.torn_tail.is_none());
        // ...and whatever opening makes of it, the state is the history or there
        // is none.
        match Store::open(&dir.0, small()) {
            Err(error) => {
                assert!(error.exit_code() >= 70, "{context}: {error}");
                refused += 1;
                continue;
            }
            Ok((store, found)) => {
                assert_eq!(store.seq(), COMMITS, "{context}");
                let state = common::content(&store).unwrap();
                assert_eq!(state, common::expected(COMMITS), "{context}");
                let blobs = store.blobs().list().unwrap();
                let blob = blobs.first().map(|d| store.blobs().get(d));
                let by_blob = !matches!(blob, Some(Ok(_)));
                match (found.hold.is_some(), found.notes.is_empty()) {
                    (true, _) => held += 1,
                    (false, false) => repaired += 1,
                    (false, true) if by_verify || by_blob => reported += 1,
                    // sled's own bookkeeping, and free space inside its files.
                    (false, true) => {
                        assert!(name.starts_with("tree/"), "{context}: silent");
                        harmless += 1;
                    }
                }
            }
        }
    }
    println!(
        "{trials} damages: {refused} refused, {repaired} repaired, {held} held, \
         {reported} reported, {harmless} without effect, 0 silent"
    );
}

#[test]
fn damage_in_the_last_group_is_not_taken_for_a_torn_tail() {
    let dir = golden("last");
    let path = last_segment(&dir.0);
    let len = fs::metadata(&path).unwrap().len();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(len - 1)
        .unwrap();
    match Store::open(&dir.0, small()) {
        Err(StoreError::JournalDamaged {
            file, seq, offset, ..
        }) => {
            assert_eq!((file, seq), (path, COMMITS));
            assert!(offset > 0);
        }
        other => panic!("{:?}", other.map(|(_, r)| r)),
    }
}

#[test]
fn a_torn_tail_is_cut_and_said() {
    let dir = golden("torn");
    let path = last_segment(&dir.0);
    let len = fs::metadata(&path).unwrap().len();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(&[1, 0, 0, 0, 9, 9]);
    fs::write(&path, bytes).unwrap();
    let (store, found) = open(&dir.0);
    assert!(
        matches!(&found.notes[..], [Note::TailCut(cut)] if cut.offset == len && cut.bytes == 6),
        "{:?}",
        found.notes
    );
    assert_eq!(fs::metadata(&path).unwrap().len(), len);
    assert_true_to_history(&store, "after the cut");
}

/// Alters a payload byte of record `seq` and mends its checksum, as somebody
/// would who knows the format.
fn tamper(dir: &Path, seq: u64) {
    for path in files(&dir.join("journal")) {
        let mut bytes = fs::read(&path).unwrap();
        let mut at = 64;
        while at < bytes.len() {
            let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            let found = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
            if found == seq {
                bytes[at + 60] ^= 1;
                let crc = crc32c::crc32c(&bytes[at..at + 4]);
                let crc = crc32c::crc32c_append(crc, &bytes[at + 8..at + 8 + len]);
                bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
                fs::write(&path, bytes).unwrap();
                return;
            }
            at += len + 8;
        }
    }
    panic!("no record {seq}");
}

#[test]
fn a_tampered_record_is_named() {
    let golden = golden("chain");
    let mut rng = Rng(3);
    let trials = setting("LOADMASTER_TAMPER_TRIALS", 40);
    for trial in 0..trials {
        let dir = Dir::new("tamper");
        copy(&golden.0, &dir.0);
        // The last one has no successor: the high-water mark names its hash.
        let seq = if trial == 0 {
            COMMITS
        } else {
            1 + rng.below(COMMITS)
        };
        tamper(&dir.0, seq);
        let report = Store::verify(&dir.0, &[]).unwrap();
        assert_eq!(report.first_bad_seq(), Some(seq), "{:?}", report.fault);
        assert!(!report.sound());
    }
}

#[test]
fn a_rewritten_history_does_not_match_a_head_kept_elsewhere() {
    let dir = Dir::new("rewritten");
    let (mut store, _) = open(&dir.0);
    fill(&mut store, 30);
    let head = (store.seq(), store.head());
    store.close().unwrap();
    assert!(Store::verify(&dir.0, &[head]).unwrap().sound());
    let forged = (20, [7; 16]);
    let report = Store::verify(&dir.0, &[head, forged]).unwrap();
    assert_eq!(report.first_bad_seq(), Some(20));
}

#[test]
fn missing_and_reordered_files_are_a_gap() {
    let golden = golden("gap");
    let names = files(&golden.join("journal"));
    assert!(names.len() > 3, "{} segments", names.len());
    for lost in &names {
        let dir = Dir::new("lost");
        copy(&golden.0, &dir.0);
        fs::remove_file(dir.join("journal").join(lost.file_name().unwrap())).unwrap();
        let Err(error) = Store::open(&dir.0, small()) else {
            panic!("opened without {lost:?}");
        };
        assert!(
            matches!(
                error,
                StoreError::JournalGap { .. } | StoreError::JournalLost { .. }
            ),
            "{error}"
        );
        assert!(!Store::verify(&dir.0, &[]).unwrap().sound());
    }
    // One file in another's place.
    let dir = Dir::new("swapped");
    copy(&golden.0, &dir.0);
    let file = |i: usize| dir.join("journal").join(names[i].file_name().unwrap());
    fs::copy(file(0), file(1)).unwrap();
    assert!(matches!(
        Store::open(&dir.0, small()),
        Err(StoreError::JournalDamaged { .. })
    ));
}

/// Whole and readable for sled, and still not what was written.
#[test]
fn a_tree_that_lies_is_rebuilt() {
    let golden = golden("lies");
    type Lie = fn(&sled::Db);
    let lies: [(&str, Lie); 4] = [
        ("an object is gone", |db| {
            db.remove("last/commit").unwrap();
        }),
        ("an object is too many", |db| {
            let other = db.get("last/commit").unwrap().unwrap();
            db.insert("last/other", other).unwrap();
        }),
        ("an object has another one's value", |db| {
            let (_, other) = db.scan_prefix("n/").next().unwrap().unwrap();
            db.insert("last/commit", other).unwrap();
        }),
        ("the tree does not say what it holds", |db| {
            db.remove("meta/state").unwrap();
        }),
    ];
    for (what, lie) in lies {
        let dir = Dir::new("lie");
        copy(&golden.0, &dir.0);
        let db = sled::open(dir.join("tree")).unwrap();
        lie(&db);
        db.flush().unwrap();
        drop(db);
        let (store, found) = open(&dir.0);
        let rebuilt = |n: &Note| matches!(n, Note::TreeRebuilt { aside: Some(_), .. });
        assert!(found.notes.iter().any(rebuilt), "{what}: {:?}", found.notes);
        assert_true_to_history(&store, what);
    }
}
