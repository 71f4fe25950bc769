//! Values as JSON and back: what the API speaks and what the store keeps.
//!
//! `quantity` reads amounts like `500m` and `16Gi` exactly, `time` reads and
//! writes RFC 3339. `node`, `pod`, `job`, `quota` (with queues, budgets and
//! catalogues), `scaling` and `policy` describe what people send, `limits` how large
//! it may be; `decision`, `plan`, `view`, `usage`, `why` and `what_if` what they get back; `problem` says no. `event`
//! and `object` are what the journal and the tree hold: JSON as well, because
//! an audit must be able to read it without this program, and because a field
//! can be added without a migration.
//!
//! Unknown fields are refused everywhere: a misspelt limit must not be a limit
//! that silently does not exist.

mod bytes;
pub mod decision;
pub mod event;
pub mod job;
pub mod limits;
pub mod node;
pub mod object;
pub mod plan;
pub mod pod;
pub mod policy;
pub mod problem;
pub mod quantity;
pub mod quota;
pub mod scaling;
pub mod time;
pub mod usage;
pub mod view;
pub mod what_if;
pub mod why;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use problem::{Invalid, Problem, ProblemKind};

/// Reads JSON; the error names the field by its JSON pointer.
///
/// # Errors
/// Malformed JSON, an unknown or missing field, a value out of bounds.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Invalid> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        Invalid::at(pointer, error.into_inner().to_string())
    })?;
    reader
        .end()
        .map_err(|error| Invalid::at(String::new(), error.to_string()))?;
    Ok(value)
}

/// Writes JSON.
///
/// # Panics
/// Never for the types of this module: none has a map with keys that are not
/// text, and none fails by itself.
#[must_use]
pub fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("wire types always serialise")
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out += &format!("/{index}"),
            Segment::Map { key } => out += &format!("/{}", escape(key)),
            // The tag of an enum is a key in JSON too.
            Segment::Enum { variant } => out += &format!("/{}", escape(variant)),
            Segment::Unknown => {}
        }
    }
    out
}

/// A key inside a JSON pointer (RFC 6901).
#[must_use]
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests;
