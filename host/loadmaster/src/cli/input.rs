//! Objects from files and from the standard input.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::failure::{Exit, Failure};

/// Bytes of a file of objects: the API takes no larger batch.
const BYTES_MAX: u64 = 16 << 20;

/// Reads JSON, or TOML from a file that ends in `.toml`; `-` is the standard
/// input.
///
/// # Errors
/// The file cannot be read, or is not what it should be; line and column say
/// where.
pub fn read(path: &Path) -> Result<Value, Failure> {
    let shown = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(BYTES_MAX + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|f| f.take(BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.map_err(|e| {
        let mut failure = Failure::new(Exit::Usage, format!("cannot read {shown}"));
        failure.causes.push(e.to_string());
        failure
    })?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::new(
            Exit::Usage,
            format!("{shown} is larger than {BYTES_MAX} bytes"),
        )
        .hint("send it in parts"));
    }
    let wrong = |problem: String| {
        Failure::new(Exit::Usage, format!("{shown}: {problem}"))
            .hint("`loadmaster node show NAME -o json` and `pod show` print objects in this form")
    };
    if path.extension().is_some_and(|e| e == "toml") {
        return toml::from_str(&text).map_err(|e| wrong(e.to_string()));
    }
    serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))
}

/// The objects of a file that holds one or a list.
#[must_use]
pub fn several(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        one => vec![one],
    }
}
