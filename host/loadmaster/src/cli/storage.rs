//! `loadmaster journal` and `loadmaster snapshot`: looking after a data
//! directory without a host.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;
use store::{OpenOptions, SnapshotInfo, Store, StoreError};

use super::failure::{Exit, Failure, Outcome};
use super::output::Out;
use crate::replay::summary::grouped;

pub(super) const JOURNAL: &str = "\
Examples:
  loadmaster journal verify /var/lib/loadmaster
  loadmaster journal verify /var/lib/loadmaster -o json";
const VERIFY: &str = "\
Examples:
  loadmaster journal verify /var/lib/loadmaster
  loadmaster journal verify ./data -o json";
pub(super) const SNAPSHOT: &str = "\
Examples:
  loadmaster snapshot export /var/lib/loadmaster backup.snap
  loadmaster snapshot restore backup.snap /var/lib/loadmaster --dry-run";
const EXPORT: &str = "\
Examples:
  loadmaster snapshot export /var/lib/loadmaster backup.snap
  loadmaster snapshot export ./data /backups/monday.snap -o json";
const RESTORE: &str = "\
Examples:
  loadmaster snapshot restore backup.snap ./data --yes
  loadmaster snapshot restore backup.snap ./data --dry-run";

/// Verbs about the journal.
#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Check every record, the hash chain and the snapshots; also beside a
    /// running host.
    #[command(after_help = VERIFY)]
    Verify {
        /// Data directory
        dir: PathBuf,
    },
}

/// Verbs about snapshots.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Write the whole state to one file; the host must be stopped.
    #[command(after_help = EXPORT)]
    Export {
        /// Data directory
        dir: PathBuf,
        /// File to write
        file: PathBuf,
    },
    /// Make a data directory from a snapshot; what is there is moved aside and
    /// the host comes up on hold.
    #[command(after_help = RESTORE)]
    Restore {
        /// Snapshot
        file: PathBuf,
        /// Data directory
        dir: PathBuf,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
        /// Do it although there is a store already
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
///
/// # Errors
/// The store is damaged or in use.
pub fn journal(verb: &Journal, out: &Out) -> Outcome {
    let Journal::Verify { dir } = verb;
    let report = Store::verify(dir, &[]).map_err(|e| failed(&e))?;
    let head: String = report.head.iter().map(|b| format!("{b:02x}")).collect();
    let fault = report.fault.as_ref().map(ToString::to_string);
    let snapshots: Vec<_> = report
        .snapshots
        .iter()
        .map(|(path, result)| {
            let error = result.as_ref().err().map(ToString::to_string);
            json!({"file": path.display().to_string(), "error": error})
        })
        .collect();
    let value = json!({
        "sound": report.sound(),
        "cluster": report.cluster.to_string(),
        "segments": report.segments,
        "first_seq": report.first_seq,
        "last_seq": report.last_seq,
        "head": &head,
        "fault": fault,
        "first_bad_seq": report.first_bad_seq(),
        "torn_tail": report.torn_tail.is_some(),
        "snapshots": snapshots,
    });
    out.value(&value, &head, |style| {
        let mut text = format!(
            "{}   commits {} to {} in {} files   head {}\n",
            if report.sound() {
                style.good("sound")
            } else {
                style.bad("damaged")
            },
            grouped(report.first_seq),
            grouped(report.last_seq),
            report.segments,
            head
        );
        if report.torn_tail.is_some() {
            text += "an incomplete last write, harmless: it was never acknowledged\n";
        }
        for (path, result) in &report.snapshots {
            match result {
                Ok(info) => {
                    text += &format!(
                        "snapshot of commit {}   {} objects   {}\n",
                        grouped(info.seq),
                        grouped(info.objects),
                        path.display()
                    );
                }
                Err(e) => text += &format!("{} {}: {e}\n", style.bad("snapshot"), path.display()),
            }
        }
        text
    })?;
    if report.sound() {
        return Ok(());
    }
    let first = report.first_bad_seq();
    let mut failure = Failure::new(
        Exit::Failed,
        match first {
            Some(seq) => format!("the journal is not what was written from commit {seq} on"),
            None => "a snapshot is damaged".to_owned(),
        },
    );
    failure.causes.extend(fault);
    Err(failure.hint("keep a copy of the directory before anything else"))
}

/// Does it.
///
/// # Errors
/// The store is damaged or in use.
pub fn snapshot(verb: &Snapshot, out: &Out) -> Outcome {
    match verb {
        Snapshot::Export { dir, file } => {
            // Opening would make a store where there is none.
            Store::verify(dir, &[]).map_err(|e| failed(&e))?;
            if file.exists() {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!("{} exists already", file.display()),
                )
                .hint("a snapshot never overwrites another; choose a new name"));
            }
            let opened = Store::open(dir, OpenOptions::default());
            let (mut store, _) = opened.map_err(|e| failed(&e))?;
            let info = store.snapshot(Some(file)).map_err(|e| failed(&e))?;
            store.close().map_err(|e| failed(&e))?;
            written(&info, out)
        }
        Snapshot::Restore {
            file,
            dir,
            dry_run,
            yes,
        } => {
            let there = dir.read_dir().is_ok_and(|mut d| d.next().is_some());
            if *dry_run {
                out.note(&format!(
                    "{} would be made from {}{}",
                    dir.display(),
                    file.display(),
                    if there {
                        "; what is there would be moved aside"
                    } else {
                        ""
                    }
                ));
                return Ok(());
            }
            if there && !yes {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!("{} is not empty", dir.display()),
                )
                .hint("--yes moves what is there aside and restores over it"));
            }
            let options = OpenOptions::default();
            let info = Store::restore(file, dir, &options).map_err(|e| failed(&e))?;
            written(&info, out)?;
            out.next("start the host: it comes up on hold until `loadmaster guard approve hold`");
            Ok(())
        }
    }
}

fn written(info: &SnapshotInfo, out: &Out) -> Outcome {
    let value = json!({
        "file": info.path.display().to_string(),
        "seq": info.seq,
        "objects": info.objects,
        "bytes": info.bytes,
        "sha256": info.sha256,
        "root": info.root,
    });
    out.value(&value, &info.sha256, |style| {
        format!(
            "{}   commit {}   {} objects   {} bytes   sha256:{}\n",
            style.good("read back and whole"),
            grouped(info.seq),
            grouped(info.objects),
            grouped(info.bytes),
            info.sha256
        )
    })
}

fn failed(error: &StoreError) -> Failure {
    let failure = Failure::from_error(Exit::Failed, error);
    if matches!(error, StoreError::Locked { .. }) {
        return Failure {
            exit: Exit::Conflict,
            ..failure
        }
        .hint("stop the host first; `loadmaster journal verify` works beside it");
    }
    failure
}
