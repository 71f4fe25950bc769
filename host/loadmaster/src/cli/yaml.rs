//! A JSON value as YAML. Only writing, and only what JSON can say, so it needs
//! no library: YAML 1.2 reads double-quoted JSON strings as they are.

use serde_json::Value;

/// The value as a document.
#[must_use]
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, value)) in map.iter().enumerate() {
                // The first key of a list's item stands beside the dash.
                if at > 0 || !out.ends_with("- ") {
                    indent(out, depth);
                }
                *out += &scalar(&Value::String(key.clone()));
                out.push(':');
                nested(out, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(out, depth);
                *out += "- ";
                block(out, item, depth + 1);
                if !out.ends_with('\n') {
                    out.push('\n');
                }
            }
        }
        other => *out += &scalar(other),
    }
}

fn nested(out: &mut String, value: &Value, depth: usize) {
    let empty = match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if empty {
        out.push(' ');
        *out += &scalar(value);
        out.push('\n');
    } else {
        out.push('\n');
        block(out, value, depth);
    }
}

fn indent(out: &mut String, depth: usize) {
    // A list inside a list begins beside its dash.
    if out.is_empty() || out.ends_with('\n') {
        *out += &"  ".repeat(depth);
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Text that no reader takes for something else without quotes.
fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@'))
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_can_say() {
        let value = serde_json::json!({
            "name": "a-1", "on": "on", "text": "a: b\n", "n": -1.5, "none": null,
            "list": [1, {"a": 1, "b": []}, [2, 3]], "empty": {},
        });
        let expected = "\
empty: {}
list:
  - 1
  - a: 1
    b: []
  - - 2
    - 3
\"n\": -1.5
name: a-1
none: null
\"on\": \"on\"
text: \"a: b\\n\"
";
        assert_eq!(text(&value), expected);
        assert_eq!(text(&serde_json::json!(5)), "5\n");
    }
}
