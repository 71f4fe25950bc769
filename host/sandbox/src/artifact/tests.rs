use super::*;

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("sandbox-artifact-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn artifacts(dir: &Path, key: u8, fingerprint: u8) -> Artifacts {
    Artifacts::new(
        ArtifactKey([key; 32]),
        [fingerprint; 32],
        Some(dir.to_owned()),
    )
    .unwrap()
}

#[test]
fn only_the_same_key_component_and_configuration_open_the_seal() {
    let dir = dir("seal");
    let ours = artifacts(&dir, 1, 2);
    ours.store(&[3; 32], b"code");
    assert_eq!(ours.load(&[3; 32], 100).as_deref(), Some(&b"code"[..]));
    assert_eq!(ours.load(&[4; 32], 100), None, "another component");
    assert_eq!(artifacts(&dir, 9, 2).load(&[3; 32], 100), None, "key");
    assert_eq!(artifacts(&dir, 1, 9).load(&[3; 32], 100), None, "config");
    assert_eq!(ours.load(&[3; 32], 3), None, "longer than allowed");
    // A file moved to another component's name is still the old component's.
    let (from, to) = (ours.path(&[3; 32]).unwrap(), ours.path(&[4; 32]).unwrap());
    fs::copy(from, to).unwrap();
    assert_eq!(ours.load(&[4; 32], 100), None, "renamed");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn pruning_keeps_what_is_live_and_ours() {
    let dir = dir("prune");
    let ours = artifacts(&dir, 1, 2);
    ours.store(&[3; 32], b"live");
    ours.store(&[4; 32], b"gone");
    artifacts(&dir, 1, 9).store(&[3; 32], b"of another configuration");
    fs::write(dir.join("x.code.1.0.tmp"), b"cut off").unwrap();
    let live = BTreeSet::from([hex(&[3; 32])]);
    assert_eq!(ours.prune(&live).unwrap(), 3);
    assert_eq!(ours.load(&[3; 32], 100).as_deref(), Some(&b"live"[..]));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let dir = dir("flip");
    let ours = artifacts(&dir, 1, 2);
    ours.store(&[3; 32], b"machine code");
    let path = ours.path(&[3; 32]).unwrap();
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bent = whole.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bent).unwrap();
        assert_eq!(ours.load(&[3; 32], 100), None, "bit {bit}");
    }
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(ours.load(&[3; 32], 100), None, "cut at {end}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(ours.load(&[3; 32], 100).is_some());
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_key_is_made_once_and_refused_when_others_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = dir("key");
    let path = dir.join("artifact.key");
    let first = ArtifactKey::load_or_create(&path).unwrap();
    let second = ArtifactKey::load_or_create(&path).unwrap();
    assert_eq!(first.0, second.0);
    assert_ne!(first.0, [0; 32]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = ArtifactKey::load_or_create(&path).unwrap_err();
    assert!(matches!(error, KeyError::Mode { mode: 0o640, .. }));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, b"short").unwrap();
    let error = ArtifactKey::load_or_create(&path).unwrap_err();
    assert!(matches!(error, KeyError::Length { bytes: 5, .. }));
    fs::remove_dir_all(dir).unwrap();
}
