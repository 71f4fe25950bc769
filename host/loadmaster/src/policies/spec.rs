//! `kind=name[@version]`, `kind=path.wasm` or `kind=builtin:name`, with optional
//! settings (`{"mode":"published"}` or `?mode=published`), fail mode (`!open`,
//! only for admission) and weight (`*0.5`), in this order. Several of one kind
//! are joined with `+`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use model::policy::{WEIGHT_MAX, WEIGHT_ONE};
use model::{FailMode, PolicyKind};
use serde_json::{Map, Value};

/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A policy this host knows by name.
    Named {
        /// Name.
        name: String,
        /// `None` takes the newest.
        version: Option<String>,
    },
    /// A component on disk.
    File(PathBuf),
    /// Native code of the host.
    Builtin(String),
}

/// One policy as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRef {
    /// Its kind.
    pub kind: PolicyKind,
    /// Where it comes from.
    pub source: Source,
    /// A JSON object, compact, keys in order.
    pub settings: String,
    /// Thousandths.
    pub weight: u32,
    /// What its fault means at the door. Only for admission.
    pub fail: FailMode,
}

/// Text that is not a SPEC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No kind in front.
    #[error("policy {text:?} does not say its kind")]
    NoKind {
        /// What was typed.
        text: String,
    },
    /// Not one of the four kinds.
    #[error("{kind:?} is not a kind of policy")]
    UnknownKind {
        /// What was typed.
        kind: String,
    },
    /// Nothing after the `=`.
    #[error("policy {text:?} names no policy after the =")]
    NoName {
        /// What was typed.
        text: String,
    },
    /// Characters no name has.
    #[error("{name:?} is not a policy name: a lower-case letter, then letters, digits or -")]
    Name {
        /// What was typed.
        name: String,
    },
    /// Not `1.2.3`.
    #[error("{version:?} is not a version like 1.2.3")]
    Version {
        /// What was typed.
        version: String,
    },
    /// Not a JSON object, or not `key=value`.
    #[error("settings {text:?} are not usable: {problem}")]
    Settings {
        /// What was typed.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// Neither of the two, or for a kind that has no door.
    #[error("{kind} policies have no fail mode {text:?}")]
    Fail {
        /// Kind.
        kind: PolicyKind,
        /// What was typed.
        text: String,
    },
    /// Not a number, or out of bounds.
    #[error("weight {text:?} is not a number from 0 to {max}", max = WEIGHT_MAX / WEIGHT_ONE)]
    Weight {
        /// What was typed.
        text: String,
    },
}

impl SpecError {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoKind { text } => {
                format!("put the kind in front, e.g. scoring={text} (kinds: {KINDS})")
            }
            Self::UnknownKind { kind } => {
                let known = PolicyKind::ALL.map(PolicyKind::as_str);
                match nearest(kind, known) {
                    Some(near) => format!("did you mean {near:?}? kinds are {KINDS}"),
                    None => format!("kinds are {KINDS}"),
                }
            }
            Self::NoName { text } => format!("e.g. {text}binpack or {text}builtin:binpack"),
            Self::Name { .. } => "a file has to end in .wasm or contain a /".to_owned(),
            Self::Version { .. } => "leave @version out to take the newest".to_owned(),
            Self::Settings { .. } => {
                r#"write a JSON object, 'scoring=binpack{"mode":"best-fit"}', or scoring=binpack?mode=best-fit"#
                    .to_owned()
            }
            Self::Fail {
                kind: PolicyKind::Admission,
                ..
            } => "!open lets jobs in while the policy fails, !closed keeps them out".to_owned(),
            Self::Fail { .. } => "leave it out: after a fault the built-in answers".to_owned(),
            Self::Weight { .. } => "e.g. scoring=binpack*0.5".to_owned(),
        }
    }
}

const KINDS: &str = "scoring, admission, preemption, autoscaling";

impl PolicyRef {
    /// A built-in with default settings.
    #[must_use]
    pub fn builtin(kind: PolicyKind, name: &str) -> Self {
        Self {
            kind,
            source: Source::Builtin(name.to_owned()),
            settings: "{}".to_owned(),
            weight: WEIGHT_ONE,
            fail: FailMode::Closed,
        }
    }

    /// A policy known by name, with default settings.
    #[must_use]
    pub fn named(kind: PolicyKind, name: &str) -> Self {
        Self {
            source: Source::Named {
                name: name.to_owned(),
                version: None,
            },
            ..Self::builtin(kind, name)
        }
    }

    /// Several SPECs of one option value, joined with `+`:
    /// `scoring=binpack+scoring=spread*0.2`. The kind may be left out where a
    /// name follows what cannot go on: `admission=guardrails+quota-admission`.
    ///
    /// # Errors
    /// The first that is not a SPEC.
    pub fn parse_joined(text: &str) -> Result<Vec<Self>, SpecError> {
        let mut all: Vec<Self> = Vec::new();
        let mut start = 0;
        let mut take = |part: &str| {
            let spec = match all.last() {
                Some(last) if !says_kind(part) => format!("{}={part}", last.kind).parse(),
                _ => part.parse(),
            };
            spec.map(|spec| all.push(spec))
        };
        for (at, _) in text.match_indices('+') {
            let (before, rest) = (&text[start..at], &text[at + 1..]);
            if says_kind(rest) || (is_complete(before) && is_bare_name(rest)) {
                take(before)?;
                start = at + 1;
            }
        }
        take(&text[start..])?;
        Ok(all)
    }

    /// Without the kind, as short as it can be: for headings.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = match &self.source {
            Source::Named { name, version } => match version {
                Some(v) => format!("{name}@{v}"),
                None => name.clone(),
            },
            Source::File(path) => path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
            Source::Builtin(name) => format!("builtin:{name}"),
        };
        if let Ok(Value::Object(settings)) = serde_json::from_str(&self.settings) {
            for (n, (key, value)) in settings.iter().enumerate() {
                let value = value.as_str().map_or(value.to_string(), str::to_owned);
                text += if n == 0 { "?" } else { "&" };
                text += &format!("{key}={value}");
            }
        }
        if self.fail == FailMode::Open {
            text += "!open";
        }
        if self.weight != WEIGHT_ONE {
            text += &format!("*{}", f64::from(self.weight) / f64::from(WEIGHT_ONE));
        }
        text
    }
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.short())
    }
}

impl FromStr for PolicyRef {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        let (kind, rest) = text.split_once('=').ok_or_else(|| SpecError::NoKind {
            text: text.to_owned(),
        })?;
        let kind = PolicyKind::parse(kind.trim()).ok_or_else(|| SpecError::UnknownKind {
            kind: kind.trim().to_owned(),
        })?;
        let (rest, weight) = split_weight(rest)?;
        let (rest, fail) = split_fail(rest, kind)?;
        let (place, settings) = split_settings(rest)?;
        if place.is_empty() {
            return Err(SpecError::NoName {
                text: text.to_owned(),
            });
        }
        Ok(Self {
            kind,
            source: source(place)?,
            settings,
            weight,
            fail,
        })
    }
}

// === joining ===

fn says_kind(text: &str) -> bool {
    let said = |kind: &PolicyKind| {
        let rest = text.strip_prefix(kind.as_str());
        rest.is_some_and(|r| r.starts_with('='))
    };
    PolicyKind::ALL.iter().any(said)
}

/// Whether a `+` behind `text` cannot be part of it: of a version, of settings,
/// or of the name of a file.
fn is_complete(text: &str) -> bool {
    let text = split_weight(text).map_or(text, |(rest, _)| rest);
    let text = ["!open", "!closed"]
        .iter()
        .find_map(|mode| text.strip_suffix(mode))
        .unwrap_or(text);
    match text.find('{') {
        Some(_) => text.ends_with('}'),
        None => text.ends_with(".wasm") || !text.contains(['?', '@', std::path::MAIN_SEPARATOR]),
    }
}

/// Whether `text` begins with a name that is not a file's.
fn is_bare_name(text: &str) -> bool {
    let name = text.strip_prefix("builtin:").unwrap_or(text);
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let rest = name.trim_start_matches(inside);
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && (rest.is_empty() || rest.starts_with(['{', '?', '@', '!', '*', '+']))
}

// === parts ===

fn source(place: &str) -> Result<Source, SpecError> {
    if let Some(name) = place.strip_prefix("builtin:") {
        return Ok(Source::Builtin(checked_name(name)?));
    }
    if place.ends_with(".wasm") || place.contains(std::path::MAIN_SEPARATOR) {
        return Ok(Source::File(PathBuf::from(place)));
    }
    let (name, version) = match place.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (place, None),
    };
    if let Some(version) = version {
        let numbers = version.split(['-', '+']).next().unwrap_or_default();
        let three = numbers.split('.').filter(|n| n.parse::<u64>().is_ok());
        if three.count() != 3 || numbers.split('.').count() != 3 {
            return Err(SpecError::Version {
                version: version.to_owned(),
            });
        }
    }
    Ok(Source::Named {
        name: checked_name(name)?,
        version: version.map(str::to_owned),
    })
}

fn checked_name(name: &str) -> Result<String, SpecError> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(inside) {
        Ok(name.to_owned())
    } else {
        Err(SpecError::Name {
            name: name.to_owned(),
        })
    }
}

/// `*0.5` at the end. A star inside settings is not at the end, because a JSON
/// object ends with a brace.
fn split_weight(text: &str) -> Result<(&str, u32), SpecError> {
    let Some((rest, weight)) = text.rsplit_once('*') else {
        return Ok((text, WEIGHT_ONE));
    };
    if weight.contains(['}', '"']) {
        return Ok((text, WEIGHT_ONE));
    }
    let thousandths = weight
        .parse::<f64>()
        .ok()
        .map(|w| (w * f64::from(WEIGHT_ONE)).round())
        .filter(|w| (0.0..=f64::from(WEIGHT_MAX)).contains(w));
    match thousandths {
        Some(w) => Ok((rest, w as u32)),
        None => Err(SpecError::Weight {
            text: weight.to_owned(),
        }),
    }
}

/// `!open` or `!closed` at the end. What else stands behind a `!` belongs to
/// settings, if there are any.
fn split_fail(text: &str, kind: PolicyKind) -> Result<(&str, FailMode), SpecError> {
    let Some((rest, mode)) = text.rsplit_once('!') else {
        return Ok((text, FailMode::Closed));
    };
    match FailMode::parse(mode) {
        Some(fail) if kind == PolicyKind::Admission => Ok((rest, fail)),
        None if rest.contains(['?', '{']) => Ok((text, FailMode::Closed)),
        _ => Err(SpecError::Fail {
            kind,
            text: mode.to_owned(),
        }),
    }
}

fn split_settings(text: &str) -> Result<(&str, String), SpecError> {
    let wrong = |text: &str, problem: String| SpecError::Settings {
        text: text.to_owned(),
        problem,
    };
    if let Some(at) = text.find('{') {
        let json = &text[at..];
        let object: Map<String, Value> =
            serde_json::from_str(json).map_err(|e| wrong(json, e.to_string()))?;
        return Ok((&text[..at], Value::Object(object).to_string()));
    }
    let Some((place, query)) = text.split_once('?') else {
        return Ok((text, "{}".to_owned()));
    };
    let mut object = Map::new();
    for pair in query.split('&') {
        let Some((key, value)) = pair.split_once('=').filter(|(k, _)| !k.is_empty()) else {
            return Err(wrong(query, format!("{pair:?} is not key=value")));
        };
        // Numbers and booleans as such; everything else is text.
        let value = match serde_json::from_str::<Value>(value) {
            Ok(v @ (Value::Number(_) | Value::Bool(_))) => v,
            _ => Value::String(value.to_owned()),
        };
        if object.insert(key.to_owned(), value).is_some() {
            return Err(wrong(query, format!("{key} is given twice")));
        }
    }
    Ok((place, Value::Object(object).to_string()))
}

/// The candidate that was probably meant: few edits away for its length.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edits(typed, name), name))
        .filter(|(edits, name)| *edits <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
