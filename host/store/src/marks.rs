//! The small files that say what this directory is: `FORMAT`, `HIGHWATER`, `HOLD`.
//!
//! Text, so that an operator can read them at three in the morning; a checksum in
//! the last line, so that a half-written or edited one is not believed.

use std::fmt;
use std::path::Path;

use crate::bytes::{hex, unhex};
use crate::disk::{Disk, Point};
use crate::envelope::State;
use crate::error::StoreError;

/// Layout of the directory, journal, tree and snapshots. A change that an older
/// build would misread raises it.
pub const FORMAT_VERSION: u32 = 1;

pub(crate) const FORMAT: &str = "FORMAT";
pub(crate) const HIGHWATER: &str = "HIGHWATER";
pub(crate) const HOLD: &str = "HOLD";

/// Names one history. Agents echo it, so that a disk swapped for an empty one is
/// noticed even when nothing on it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl ClusterId {
    /// 128 bits from the kernel.
    pub(crate) fn random() -> Result<Self, StoreError> {
        use std::io::Read;
        let path = Path::new("/dev/urandom");
        let mut id = [0; 16];
        std::fs::File::open(path)
            .and_then(|mut f| f.read_exact(&mut id))
            .map_err(|e| crate::disk::fail("read", path, e))?;
        Ok(Self(id))
    }
}

/// What is on disk must not be acted upon before a person has looked. It stays
/// over restarts, until [`crate::Store::release_hold`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldReason {
    /// The high-water mark says there was state; there is none, or only what the
    /// newest snapshot holds.
    StateMissing {
        /// Commit that was opened with; 0 is empty.
        store_seq: u64,
        /// Commit that had been reached.
        highwater_seq: u64,
    },
    /// The state is older than the high-water mark.
    RolledBack {
        /// Last commit that is still there.
        store_seq: u64,
        /// Commit that had been reached.
        highwater_seq: u64,
    },
    /// The high-water mark itself is gone or unreadable: nobody can say whether
    /// the state is the newest.
    HighWaterLost {
        /// Commit that was opened with.
        store_seq: u64,
    },
    /// The tree was opened although its journal had lost commits.
    JournalLost {
        /// Commit that was opened with.
        store_seq: u64,
        /// Where the journal ended.
        journal_seq: u64,
    },
    /// The state comes from a snapshot.
    Restored {
        /// The snapshot's commit.
        snapshot_seq: u64,
        /// Commit that had been reached here before, if any.
        highwater_seq: u64,
    },
}

impl HoldReason {
    fn parts(&self) -> (&'static str, u64, u64) {
        match *self {
            Self::StateMissing {
                store_seq,
                highwater_seq,
            } => ("state-missing", store_seq, highwater_seq),
            Self::RolledBack {
                store_seq,
                highwater_seq,
            } => ("rolled-back", store_seq, highwater_seq),
            Self::HighWaterLost { store_seq } => ("high-water-lost", store_seq, 0),
            Self::JournalLost {
                store_seq,
                journal_seq,
            } => ("journal-lost", store_seq, journal_seq),
            Self::Restored {
                snapshot_seq,
                highwater_seq,
            } => ("restored", snapshot_seq, highwater_seq),
        }
    }

    fn from_parts(name: &str, a: u64, b: u64) -> Option<Self> {
        Some(match name {
            "state-missing" => Self::StateMissing {
                store_seq: a,
                highwater_seq: b,
            },
            "rolled-back" => Self::RolledBack {
                store_seq: a,
                highwater_seq: b,
            },
            "high-water-lost" => Self::HighWaterLost { store_seq: a },
            "journal-lost" => Self::JournalLost {
                store_seq: a,
                journal_seq: b,
            },
            "restored" => Self::Restored {
                snapshot_seq: a,
                highwater_seq: b,
            },
            _ => return None,
        })
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateMissing {
                store_seq: 0,
                highwater_seq,
            } => write!(
                f,
                "the state is missing: it had reached commit {highwater_seq}, this one is empty"
            ),
            Self::StateMissing {
                store_seq,
                highwater_seq,
            } => write!(
                f,
                "the state is missing: it had reached commit {highwater_seq}, the newest snapshot has {store_seq}"
            ),
            Self::RolledBack {
                store_seq,
                highwater_seq,
            } => write!(
                f,
                "the state was rolled back: it had reached commit {highwater_seq}, this one ends at {store_seq}"
            ),
            Self::HighWaterLost { store_seq } => write!(
                f,
                "the high-water mark was lost: nothing proves that commit {store_seq} is the newest"
            ),
            Self::JournalLost {
                store_seq,
                journal_seq,
            } => write!(
                f,
                "the journal was lost after commit {journal_seq}: the state at commit {store_seq} was accepted without it"
            ),
            Self::Restored { snapshot_seq, .. } => {
                write!(
                    f,
                    "the state was restored from a snapshot of commit {snapshot_seq}"
                )
            }
        }
    }
}

/// `FORMAT`: written last of all when a store is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) schema: u32,
    pub(crate) cluster: ClusterId,
}

/// `HIGHWATER`: what this store is known to have reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HighWater {
    pub(crate) cluster: ClusterId,
    pub(crate) state: State,
    /// The tree is durable up to here without the journal.
    pub(crate) checkpoint: u64,
    /// The journal begins here; 0 while it has not been created.
    pub(crate) journal_first: u64,
    /// Commits of the store's own snapshots, so that a missing one is noticed
    /// before it is needed.
    pub(crate) snapshots: Vec<u64>,
}

impl Format {
    pub(crate) fn write(&self, disk: &Disk, dir: &Path) -> Result<(), StoreError> {
        write(
            disk,
            &dir.join(FORMAT),
            &[
                ("format", FORMAT_VERSION.to_string()),
                ("schema", self.schema.to_string()),
                ("cluster", self.cluster.to_string()),
            ],
        )
    }

    /// Refuses what a newer build wrote.
    pub(crate) fn read(disk: &Disk, dir: &Path, known: u32) -> Result<Option<Self>, StoreError> {
        let path = dir.join(FORMAT);
        let Some(fields) = read(disk, &path)? else {
            return Ok(None);
        };
        let fields = fields.map_err(|what| damaged(&path, what))?;
        let newer = |what, found, known| StoreError::NewerFormat {
            path: path.clone(),
            what,
            found,
            known,
        };
        let format: u32 = fields.number("format").ok_or_else(|| bad(&path))?;
        if format > FORMAT_VERSION {
            return Err(newer("format", format, FORMAT_VERSION));
        }
        let schema = fields.number("schema").ok_or_else(|| bad(&path))?;
        if schema > known {
            return Err(newer("schema", schema, known));
        }
        let cluster = fields.cluster().ok_or_else(|| bad(&path))?;
        Ok(Some(Self { schema, cluster }))
    }
}

impl HighWater {
    pub(crate) fn write(&self, disk: &Disk, dir: &Path) -> Result<(), StoreError> {
        write(
            disk,
            &dir.join(HIGHWATER),
            &[
                ("cluster", self.cluster.to_string()),
                ("seq", self.state.seq.to_string()),
                ("objects", self.state.objects().to_string()),
                ("checkpoint", self.checkpoint.to_string()),
                ("journal-first", self.journal_first.to_string()),
                (
                    "snapshots",
                    self.snapshots.iter().map(|s| format!("{s} ")).collect(),
                ),
                ("state", hex(&self.state.encode())),
            ],
        )
    }

    /// `None` if missing, `Err` inside if it cannot be believed.
    pub(crate) fn read(
        disk: &Disk,
        dir: &Path,
    ) -> Result<Option<Result<Self, String>>, StoreError> {
        let Some(fields) = read(disk, &dir.join(HIGHWATER))? else {
            return Ok(None);
        };
        Ok(Some(fields.and_then(|fields| {
            (|| {
                let text = fields.get("state")?;
                let mut bytes = Vec::with_capacity(text.len() / 2);
                for pair in text.as_bytes().chunks(2) {
                    let [byte] = unhex::<1>(std::str::from_utf8(pair).ok()?)?;
                    bytes.push(byte);
                }
                Some(Self {
                    cluster: fields.cluster()?,
                    state: State::decode(&bytes)?,
                    checkpoint: fields.number("checkpoint")?,
                    journal_first: fields.number("journal-first")?,
                    snapshots: fields
                        .get("snapshots")?
                        .split_whitespace()
                        .map(|s| s.parse().ok())
                        .collect::<Option<_>>()?,
                })
            })()
            .ok_or_else(|| "a field is missing".to_owned())
        })))
    }
}

/// Writes `HOLD` unless one stands: the first reason is the one to look at.
pub(crate) fn write_hold(disk: &Disk, dir: &Path, reason: &HoldReason) -> Result<(), StoreError> {
    let (name, a, b) = reason.parts();
    write(
        disk,
        &dir.join(HOLD),
        &[
            ("reason", name.to_owned()),
            ("a", a.to_string()),
            ("b", b.to_string()),
            ("text", reason.to_string()),
        ],
    )
}

pub(crate) fn read_hold(disk: &Disk, dir: &Path) -> Result<Option<HoldReason>, StoreError> {
    let path = dir.join(HOLD);
    let Some(fields) = read(disk, &path)? else {
        return Ok(None);
    };
    let fields = fields.map_err(|what| damaged(&path, what))?;
    let reason = (|| {
        HoldReason::from_parts(
            fields.get("reason")?,
            fields.number("a")?,
            fields.number("b")?,
        )
    })();
    reason.map(Some).ok_or_else(|| bad(&path))
}

fn damaged(path: &Path, what: String) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        what,
    }
}

fn bad(path: &Path) -> StoreError {
    damaged(path, "a field is missing".to_owned())
}

struct Lines(Vec<(String, String)>);

impl Lines {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    fn cluster(&self) -> Option<ClusterId> {
        unhex(self.get("cluster")?).map(ClusterId)
    }
}

fn write(disk: &Disk, path: &Path, fields: &[(&str, String)]) -> Result<(), StoreError> {
    let mut text = String::new();
    for (name, value) in fields {
        text.push_str(&format!("{name} {value}\n"));
    }
    text.push_str(&format!("crc32c {:08x}\n", crc32c::crc32c(text.as_bytes())));
    disk.replace(
        path,
        text.as_bytes(),
        Point::HighWaterWritten,
        Point::HighWaterRenamed,
    )
}

fn read(disk: &Disk, path: &Path) -> Result<Option<Result<Lines, String>>, StoreError> {
    let Some(bytes) = disk.read_if_any(path)? else {
        return Ok(None);
    };
    Ok(Some((|| {
        let text = String::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
        let (body, crc) = text
            .strip_suffix('\n')
            .and_then(|t| t.rsplit_once('\n'))
            .and_then(|(body, last)| Some((body, last.strip_prefix("crc32c ")?)))
            .ok_or("the last line is not a checksum")?;
        let found = format!("{:08x}", crc32c::crc32c(format!("{body}\n").as_bytes()));
        if found != crc {
            return Err("checksum does not match".to_owned());
        }
        let fields = body
            .lines()
            .filter_map(|l| l.split_once(' '))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        Ok(Lines(fields))
    })()))
}
