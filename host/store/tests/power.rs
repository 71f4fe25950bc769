//! Power cuts at every kind of moment: nothing acknowledged is lost, and nothing
//! that comes up is anything but the history.

mod common;

use std::sync::Arc;

use common::power::{Kind, Power};
use common::{Dir, Rng, assert_true_to_history, commits, setting, small};
use store::{OpenOptions, Store};

/// Runs until the power goes; returns the last acknowledged commit.
fn work(dir: &std::path::Path, power: &Arc<Power>, rng: &mut Rng) -> u64 {
    let options = OpenOptions {
        faults: Some(power.clone()),
        ..small()
    };
    let Ok((mut store, _)) = Store::open(dir, options) else {
        return 0;
    };
    let mut acked = 0_u64;
    while !power.went() {
        match rng.below(40) {
            0 => drop(store.checkpoint()),
            1 => drop(store.snapshot(None)),
            2 => drop(store.blobs().put(&acked.to_le_bytes())),
            _ => {
                let group = commits(store.seq() + 1, 1 + rng.below(9));
                if let Ok(info) = store.commit(&group) {
                    acked = info.last_seq;
                }
            }
        }
    }
    acked
}

fn cuts(kind: Kind, seed: u64) {
    let scratch = Dir::new("power");
    let mut rng = Rng(seed);
    let mut dir = scratch.join("0");
    std::fs::create_dir_all(&dir).unwrap();
    let (mut acked, mut rebuilt, mut cut) = (0, 0, 0);
    let cycles = setting("LOADMASTER_POWER_CYCLES", 30);
    for cycle in 1..=cycles {
        // Short lives first, so that the creation itself is cut too.
        let after = 1 + rng.below(if cycle < 10 { 25 } else { 400 });
        let context = format!("{kind:?}, seed {seed}, cycle {cycle}");
        let power = Arc::new(Power::new(&dir, after).unwrap());
        acked = acked.max(work(&dir, &power, &mut rng));
        let next = scratch.join(&cycle.to_string());
        power.come_back(kind, &mut rng, &next).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        dir = next;
        // Often the next life begins with a cut, too: recovery is cut as well.
        if rng.below(2) == 0 {
            continue;
        }
        let (store, found) =
            Store::open(&dir, small()).unwrap_or_else(|e| panic!("{context}: {e}"));
        assert!(store.seq() >= acked, "{context}: {} < {acked}", store.seq());
        assert_eq!(found.hold, None, "{context}");
        assert_true_to_history(&store, &context);
        for digest in store.blobs().list().unwrap() {
            store.blobs().get(&digest).unwrap();
        }
        acked = store.seq();
        for note in &found.notes {
            match note {
                store::Note::TreeRebuilt { .. } => rebuilt += 1,
                store::Note::TailCut(_) => cut += 1,
                _ => {}
            }
        }
    }
    println!("{kind:?}: {cycles} cuts, {acked} commits, {rebuilt} trees rebuilt, {cut} tails cut");
    assert!(acked > 0, "nothing was ever acknowledged");
    // The journal would hide it, but a checkpoint must be durable by itself.
    assert!(kind == Kind::Mixed || rebuilt == 0, "{rebuilt} trees lost");
}

#[test]
fn nothing_acknowledged_is_lost_when_all_unsynced_data_is() {
    for seed in 1..=2 {
        cuts(Kind::Lost, seed);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_pages_were_written_in_any_order() {
    for seed in 1..=2 {
        cuts(Kind::Mixed, seed);
    }
}
