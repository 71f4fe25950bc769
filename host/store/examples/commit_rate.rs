//! How many commits a second are durable, and how near that is to the disk.
//!
//! `cargo run -p store --example commit_rate -- [groups]`

use std::io::Write;
use std::time::{Duration, Instant};

use store::{Commit, OpenOptions, Record, Store, Value};

/// Commits a fsync, as the host groups them under load.
const GROUP: usize = 256;

fn commit(i: u64) -> Commit {
    // A decision: a record of 400 bytes for audit and replay, the pod, its node.
    let payload = vec![(i % 251) as u8; 400];
    let value = |n: usize| {
        Some(Value {
            schema: 1,
            bytes: vec![(i % 253) as u8; n],
        })
    };
    Commit {
        records: vec![Record {
            kind: 1,
            schema: 1,
            payload,
        }],
        puts: vec![
            (format!("w/pod-{:08}", i % 50_000).into_bytes(), value(160)),
            (
                format!("n/node-{:05}", i * 7 % 5_000).into_bytes(),
                value(120),
            ),
            (format!("d/{:012}", i % 20_000).into_bytes(), value(60)),
        ],
    }
}

fn main() -> anyhow::Result<()> {
    let groups: u64 = std::env::args().nth(1).map_or(Ok(400), |a| a.parse())?;
    let dir = std::env::temp_dir().join(format!("commit-rate-{}", std::process::id()));
    let options = OpenOptions {
        ballast_bytes: 0,
        ..OpenOptions::default()
    };
    let (mut store, _) = Store::open(&dir, options)?;

    let mut next = 0;
    let mut busy = Duration::ZERO;
    let mut times = Vec::new();
    for _ in 0..groups {
        let batch: Vec<Commit> = (0..GROUP as u64).map(|i| commit(next + i)).collect();
        next += GROUP as u64;
        let begun = Instant::now();
        store.commit(&batch)?;
        times.push(begun.elapsed());
        busy += begun.elapsed();
    }
    times.sort();
    let journal: u64 = std::fs::read_dir(dir.join("journal"))?
        .filter_map(|e| e.ok()?.metadata().ok())
        .map(|m| m.len())
        .sum();

    // The same bytes, in the same groups, with nothing around them.
    let bytes = (journal / groups) as usize;
    let mut raw = std::fs::File::create(dir.join("raw"))?;
    let block = vec![7; bytes];
    let begun = Instant::now();
    for _ in 0..groups {
        raw.write_all(&block)?;
        raw.sync_data()?;
    }
    let floor = begun.elapsed();

    let commits = groups * GROUP as u64;
    let each = |d: Duration| d.as_secs_f64() * 1e6 / commits as f64;
    println!(
        "commits/s            {:.0}",
        commits as f64 / busy.as_secs_f64()
    );
    println!("per commit           {:.2} us", each(busy));
    println!(
        "raw append+fdatasync {:.2} us for the same bytes",
        each(floor)
    );
    println!("besides the disk     {:.2} us", each(busy) - each(floor));
    println!(
        "ratio to raw         {:.2}",
        busy.as_secs_f64() / floor.as_secs_f64()
    );
    println!(
        "group of {GROUP}         p50 {:?}, p99 {:?}, max {:?}; {bytes} journal bytes",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
    );
    let begun = Instant::now();
    drop(store);
    println!("drop                 {:?}", begun.elapsed());
    let begun = Instant::now();
    let (store, found) = Store::open(
        &dir,
        OpenOptions {
            ballast_bytes: 0,
            ..OpenOptions::default()
        },
    )?;
    println!(
        "reopen               {:?}, {} commits replayed, {} objects",
        begun.elapsed(),
        found.replayed,
        found.counts.values().sum::<u64>()
    );
    drop(store);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
