//! What an operator can set: one section a rule, each with its mode.

use loadmaster_sdk::settings::Settings as Reader;

/// What a finding does. Ordered by weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// It is not looked for.
    Off,
    /// It is told.
    Warn,
    /// The job stays out.
    Deny,
}

/// Longest age or run time that can be set: a century in hours, which keeps
/// milliseconds far from the end of 64 bits.
const HOURS_MAX: i64 = 876_000;

/// Largest amount that can be set, in the unit of its resource.
const AMOUNT_MAX: i64 = 1_000_000_000;

/// Most entries of one list. Every rule goes through its lists at each review.
const LIST_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What a missing fact does, at most the mode of the rule it is for.
    pub(crate) unknown: Mode,
    /// Judge edits as if the job were new.
    pub(crate) judge_unchanged: bool,
    pub(crate) owner: Owner,
    pub(crate) tier: Tier,
    pub(crate) compliance: Compliance,
    pub(crate) root: Exempt,
    pub(crate) privileged: Exempt,
    pub(crate) seccomp: Seccomp,
    pub(crate) signature: Signature,
    pub(crate) image_age: Age,
    pub(crate) base_image_age: Age,
    pub(crate) pinned: Mode,
    pub(crate) requests: Mode,
    pub(crate) gpu_ratio: GpuRatio,
    pub(crate) pod_size: PodSize,
    pub(crate) replicas: Replicas,
    pub(crate) priority: Priority,
    pub(crate) runtime_limit: RuntimeLimit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) mode: Mode,
    pub(crate) label: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) mode: Mode,
    pub(crate) allowed: Vec<String>,
    pub(crate) catalog: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compliance {
    pub(crate) mode: Mode,
    pub(crate) required: Vec<Required>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Required {
    pub(crate) prefix: String,
    pub(crate) tags: Vec<String>,
}

/// A rule with exemptions, by exact name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exempt {
    pub(crate) mode: Mode,
    pub(crate) groups: Vec<String>,
    pub(crate) namespaces: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seccomp {
    pub(crate) exempt: Exempt,
    pub(crate) allowed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) mode: Mode,
    pub(crate) trusted: Vec<String>,
}

/// Hours; 0 for no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) mode: Mode,
    pub(crate) warn: u32,
    pub(crate) deny: u32,
}

/// Least and most a whole GPU; a most of 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GpuRatio {
    pub(crate) mode: Mode,
    pub(crate) cpu: (i64, i64),
    pub(crate) memory: (i64, i64),
}

/// Most of one pod; 0 for no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodSize {
    pub(crate) mode: Mode,
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) disk: i64,
    pub(crate) network: i64,
    pub(crate) gpus: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replicas {
    pub(crate) mode: Mode,
    pub(crate) batch: u64,
    pub(crate) service: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Priority {
    pub(crate) mode: Mode,
    pub(crate) range: (i64, i64),
    pub(crate) ranges: Vec<Range>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) prefix: String,
    pub(crate) range: (i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuntimeLimit {
    pub(crate) mode: Mode,
    /// 0 for any limit.
    pub(crate) max_hours: u64,
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut r = Reader::parse(text)?;
        let settings = Self {
            unknown: r.choice(
                "unknown",
                &[
                    ("warn", Mode::Warn),
                    ("deny", Mode::Deny),
                    ("allow", Mode::Off),
                ],
            )?,
            judge_unchanged: r.boolean("judge-unchanged", false)?,
            owner: section(&mut r, "owner", |s| {
                Ok(Owner {
                    mode: mode(s, Mode::Deny)?,
                    label: not_empty(s, "label", "owner")?,
                })
            })?,
            tier: section(&mut r, "tier", |s| {
                Ok(Tier {
                    mode: mode(s, Mode::Deny)?,
                    allowed: list(s, "allowed")?,
                    catalog: s.boolean("catalog", false)?,
                })
            })?,
            compliance: section(&mut r, "compliance", |s| {
                Ok(Compliance {
                    mode: mode(s, Mode::Deny)?,
                    required: sections(s, "required", |s| {
                        Ok(Required {
                            prefix: s.text("namespace-prefix", "")?,
                            tags: list(s, "tags")?,
                        })
                    })?,
                })
            })?,
            root: section(&mut r, "root", |s| exempt(s, Mode::Deny))?,
            privileged: section(&mut r, "privileged", |s| exempt(s, Mode::Deny))?,
            seccomp: section(&mut r, "seccomp", |s| {
                Ok(Seccomp {
                    exempt: exempt(s, Mode::Warn)?,
                    allowed: list(s, "allowed")?,
                })
            })?,
            signature: section(&mut r, "signature", |s| {
                Ok(Signature {
                    mode: mode(s, Mode::Off)?,
                    trusted: list(s, "trusted")?,
                })
            })?,
            image_age: section(&mut r, "image-age", |s| age(s, 8_760))?,
            base_image_age: section(&mut r, "base-image-age", |s| age(s, 4_320))?,
            pinned: section(&mut r, "pinned", |s| mode(s, Mode::Off))?,
            requests: section(&mut r, "requests", |s| mode(s, Mode::Deny))?,
            gpu_ratio: section(&mut r, "gpu-ratio", |s| {
                Ok(GpuRatio {
                    mode: mode(s, Mode::Warn)?,
                    cpu: (amount(s, "cpu-min", 0)?, amount(s, "cpu-max", 32_000)?),
                    memory: (
                        amount(s, "memory-min", 0)?,
                        amount(s, "memory-max", 262_144)?,
                    ),
                })
            })?,
            pod_size: section(&mut r, "pod-size", |s| {
                Ok(PodSize {
                    mode: mode(s, Mode::Deny)?,
                    cpu: amount(s, "cpu", 96_000)?,
                    memory: amount(s, "memory", 0)?,
                    disk: amount(s, "disk", 0)?,
                    network: amount(s, "network", 0)?,
                    gpus: amount(s, "gpus", 16)?,
                })
            })?,
            replicas: section(&mut r, "replicas", |s| {
                Ok(Replicas {
                    mode: mode(s, Mode::Deny)?,
                    batch: s.integer("batch", 1..=AMOUNT_MAX, 1_000)? as u64,
                    service: s.integer("service", 1..=AMOUNT_MAX, 10_000)? as u64,
                })
            })?,
            priority: section(&mut r, "priority", |s| {
                Ok(Priority {
                    mode: mode(s, Mode::Deny)?,
                    range: range(s)?,
                    ranges: sections(s, "ranges", |s| {
                        Ok(Range {
                            prefix: s.text("namespace-prefix", "")?,
                            range: range(s)?,
                        })
                    })?,
                })
            })?,
            runtime_limit: section(&mut r, "runtime-limit", |s| {
                Ok(RuntimeLimit {
                    mode: mode(s, Mode::Warn)?,
                    max_hours: s.integer("max-hours", 0..=HOURS_MAX, 336)? as u64,
                })
            })?,
        };
        r.finish()?;
        Ok(settings)
    }
}

fn section<T>(
    r: &mut Reader,
    key: &'static str,
    read: impl FnOnce(&mut Reader) -> Result<T, String>,
) -> Result<T, String> {
    let mut s = r.section(key)?;
    let value = read(&mut s)?;
    s.finish()?;
    Ok(value)
}

fn sections<T>(
    r: &mut Reader,
    key: &'static str,
    read: impl Fn(&mut Reader) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let sections = r.sections(key)?;
    within_limit(r, key, sections.len())?;
    let one = |mut s: Reader| {
        let value = read(&mut s)?;
        s.finish()?;
        Ok(value)
    };
    sections.into_iter().map(one).collect()
}

fn list(s: &mut Reader, key: &'static str) -> Result<Vec<String>, String> {
    let texts = s.texts(key)?;
    within_limit(s, key, texts.len())?;
    Ok(texts)
}

fn within_limit(s: &Reader, key: &str, len: usize) -> Result<(), String> {
    if len > LIST_MAX {
        let key = s.name(key);
        return Err(format!("`{key}` has {len} entries, {LIST_MAX} are allowed"));
    }
    Ok(())
}

fn mode(s: &mut Reader, default: Mode) -> Result<Mode, String> {
    // The first choice is the default.
    let mut choices = [
        ("off", Mode::Off),
        ("warn", Mode::Warn),
        ("deny", Mode::Deny),
    ];
    choices.sort_by_key(|(_, mode)| *mode != default);
    s.choice("mode", &choices)
}

fn not_empty(s: &mut Reader, key: &'static str, default: &str) -> Result<String, String> {
    let text = s.text(key, default)?;
    if text.is_empty() {
        return Err(format!("`{}` is empty, expected a name", s.name(key)));
    }
    Ok(text)
}

fn exempt(s: &mut Reader, default: Mode) -> Result<Exempt, String> {
    Ok(Exempt {
        mode: mode(s, default)?,
        groups: list(s, "exempt-groups")?,
        namespaces: list(s, "exempt-namespaces")?,
    })
}

fn age(s: &mut Reader, deny: i64) -> Result<Age, String> {
    Ok(Age {
        mode: mode(s, Mode::Deny)?,
        warn: s.integer("warn-hours", 0..=HOURS_MAX, 2_160)? as u32,
        deny: s.integer("deny-hours", 0..=HOURS_MAX, deny)? as u32,
    })
}

fn amount(s: &mut Reader, key: &'static str, default: i64) -> Result<i64, String> {
    s.integer(key, 0..=AMOUNT_MAX, default)
}

fn range(s: &mut Reader) -> Result<(i64, i64), String> {
    let edge = AMOUNT_MAX;
    let min = s.integer("min", -edge..=edge, -edge)?;
    let max = s.integer("max", -edge..=edge, edge)?;
    if min > max {
        let (low, high) = (s.name("min"), s.name("max"));
        return Err(format!("`{low}` is {min}, above `{high}` with {max}"));
    }
    Ok((min, max))
}
