//! A released folder of the contract never changes again, and what was built
//! for it keeps running.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

/// Digest over the names and contents of a folder's contract files.
fn digest(folder: &Path) -> String {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)
        .expect("the folder exists")
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "wit") {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(path).expect("a readable file"));
        }
    }
    let mut hash = Sha256::new();
    for (name, text) in files {
        hash.update(name.as_bytes());
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn released_folders_do_not_move() {
    let released = std::fs::read_to_string(wit().join("RELEASED")).expect("wit/RELEASED");
    let mut count = 0;
    for line in released.lines().filter(|l| !l.starts_with('#')) {
        let (folder, expected) = line.split_once(' ').expect("`folder digest` on each line");
        let found = digest(&wit().join(folder));
        assert_eq!(
            found, expected,
            "wit/{folder} was released and must not change; \
             write the wish into wit/PENDING_CHANGES.md"
        );
        count += 1;
    }
    assert!(count > 0, "nothing is released");
}

#[test]
fn every_folder_is_either_released_or_does_not_exist() {
    let released = std::fs::read_to_string(wit().join("RELEASED")).expect("wit/RELEASED");
    for entry in std::fs::read_dir(wit()).expect("wit/").flatten() {
        if entry.path().is_dir() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let listed = released.lines().any(|l| l.starts_with(&format!("{name} ")));
            assert!(listed, "wit/{name} is not listed in wit/RELEASED");
        }
    }
}
