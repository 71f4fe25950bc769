//! What the tests share: a history that follows from its number alone, so that
//! the right content of a store at commit `n` is known without asking it.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod power;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use store::{Commit, Key, OpenOptions, Record, Recovered, Store, StoreError, Value};

/// A directory that goes away with its test, unless the test failed.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("store-{name}-{}-{n}", std::process::id()));
        std::fs::remove_dir_all(&dir).ok();
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        Self(dir)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }
}

/// splitmix64: enough for choosing, and the same everywhere.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Small enough that a few hundred commits rotate, checkpoint and drop.
pub fn small() -> OpenOptions {
    OpenOptions {
        cache_bytes: 4 << 20,
        segment_bytes: 24 << 10,
        retain_bytes: 96 << 10,
        checkpoint_commits: 150,
        highwater_commits: 40,
        snapshots_keep: 3,
        min_free_bytes: 0,
        ballast_bytes: 0,
        ..OpenOptions::default()
    }
}

/// The commit with this number.
pub fn commit(seq: u64) -> Commit {
    let mut rng = Rng(seq);
    let mut bytes = |max: u64| {
        let n = 1 + rng.below(max);
        (0..n).map(|_| rng.next() as u8).collect::<Vec<u8>>()
    };
    let record = Record {
        kind: (seq % 7) as u16,
        schema: 1,
        payload: bytes(120),
    };
    let mut puts = Vec::new();
    for i in 0..1 + seq % 3 {
        let n = (seq * 31 + i * 17) % 60;
        let key = format!("{}/{n}", ["n", "w", "g"][(n % 3) as usize]).into_bytes();
        let value = (!(seq + i).is_multiple_of(5)).then(|| Value {
            schema: 2,
            bytes: bytes(150),
        });
        puts.push((key, value));
    }
    puts.push((
        b"last/commit".to_vec(),
        Some(Value {
            schema: 1,
            bytes: seq.to_string().into_bytes(),
        }),
    ));
    Commit {
        records: vec![record],
        puts,
    }
}

pub fn commits(from: u64, n: u64) -> Vec<Commit> {
    (from..from + n).map(commit).collect()
}

pub type Content = BTreeMap<Key, (u64, Value)>;

/// What a store holds after commit `seq` of this history.
pub fn expected(seq: u64) -> Content {
    let mut content = Content::new();
    for at in 1..=seq {
        for (key, value) in commit(at).puts {
            match value {
                Some(value) => content.insert(key, (at, value)),
                None => content.remove(&key),
            };
        }
    }
    content
}

pub fn content(store: &Store) -> Result<Content, StoreError> {
    store
        .reader()
        .objects(b"")
        .map(|o| o.map(|o| (o.key, (o.seq, o.value))))
        .collect()
}

/// The store holds exactly the history up to its own commit, in tree and journal.
pub fn assert_true_to_history(store: &Store, context: &str) {
    let seq = store.seq();
    assert_eq!(
        content(store).expect("readable"),
        expected(seq),
        "{context}"
    );
    let first = store.reader().journal_first().expect("a journal");
    let mut next = first;
    for entry in store.reader().journal(first).expect("a journal") {
        let entry = entry.unwrap_or_else(|e| panic!("{context}: {e}"));
        assert_eq!(entry.seq, next, "{context}");
        assert_eq!(entry.commit, commit(next), "{context}");
        next += 1;
    }
    assert_eq!(next, seq + 1, "{context}");
}

pub fn open(dir: &Path) -> (Store, Recovered) {
    Store::open(dir, small()).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
}

/// Commits up to number `to`, in groups of up to five.
pub fn fill(store: &mut Store, to: u64) {
    while store.seq() < to {
        let n = (1 + store.seq() % 5).min(to - store.seq());
        store
            .commit(&commits(store.seq() + 1, n))
            .expect("a commit");
    }
}

/// A setting that CI may raise.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| v.parse().expect("a number"))
}

/// Every file below `dir`.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = vec![dir.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => rest.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

pub fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("created");
        std::fs::copy(&file, &target).expect("copied");
    }
}

pub fn last_segment(dir: &Path) -> PathBuf {
    files(&dir.join("journal")).pop().expect("a segment")
}
