//! Components built with released SDKs keep running on this host. The files are
//! never rebuilt: a change that breaks one breaks somebody's policy.

use std::path::PathBuf;

use engine::Output;
use model::{Event, Outcome};
use sandbox::Profile;
use sha2::{Digest, Sha256};
use tests::{clusters, wasm};

fn legacy() -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("legacy");
    let sums = std::fs::read_to_string(dir.join("SHA256SUMS")).expect("SHA256SUMS");
    let mut found = Vec::new();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").expect("`sum  name` on each line");
        let bytes = std::fs::read(dir.join(name)).expect(name);
        let hash = Sha256::digest(&bytes);
        let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, sum, "{name} was rebuilt or damaged");
        found.push((name.to_owned(), bytes));
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn released_components_place_pods() {
    for (name, bytes) in legacy() {
        let prepared = wasm::sandbox()
            .prepare(&bytes, Profile::Standard)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let limits = prepared.profile().run().unhurried();
        let policy = prepared.scoring("{}", limits).expect("started");
        let mut engine = clusters::engine(40);
        engine.install_scoring(wasm::alone(1, policy));
        let mut out = Output::default();
        let pods = (0..60).map(|i| clusters::pod(i, 12)).collect();
        engine
            .step(1, Event::PodsSubmit(pods), &mut out)
            .expect("legal pods");
        assert_eq!(out.decisions.len(), 60, "{name}");
        for d in &out.decisions {
            assert!(d.faults.is_empty(), "{name}: {:?}", d.faults);
            assert!(matches!(d.outcome, Outcome::Bound { .. }), "{name}: {d:?}");
        }
    }
}
