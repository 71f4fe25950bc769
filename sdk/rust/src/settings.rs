//! Reads a policy's settings, with errors an operator can act on.

use std::ops::RangeInclusive;

use crate::json::{self, Value};

/// Settings being read: each getter takes its key, [`Settings::finish`] refuses
/// what nobody took.
#[derive(Debug)]
pub struct Settings {
    entries: Vec<(String, Value)>,
    known: Vec<&'static str>,
}

impl Settings {
    /// Starts with JSON text; empty text means no settings.
    ///
    /// # Errors
    /// Where the text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        match json::parse(text)? {
            Value::Object(entries) => Ok(Self {
                entries,
                known: Vec::new(),
            }),
            other => Err(format!("settings are {}, expected an object", other.kind())),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let at = self.entries.iter().position(|(k, _)| k == key)?;
        Some(self.entries.swap_remove(at).1)
    }

    /// An integer.
    ///
    /// # Errors
    /// Wrong type or out of range.
    pub fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        default: i64,
    ) -> Result<i64, String> {
        let (value, text) = match self.take(key) {
            None => return Ok(default),
            Some(Value::Number(text)) => (text.parse::<i64>().ok(), text),
            Some(other) => return Err(wrong(key, &other, "an integer")),
        };
        match value {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(format!(
                "`{key}` is {text}, expected an integer from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// Wrong type or out of range.
    pub fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> Result<f64, String> {
        let (value, text) = match self.take(key) {
            None => return Ok(default),
            Some(Value::Number(text)) => (text.parse::<f64>().ok(), text),
            Some(other) => return Err(wrong(key, &other, "a number")),
        };
        match value {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(format!(
                "`{key}` is {text}, expected a number from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }

    /// A yes or no.
    ///
    /// # Errors
    /// Wrong type.
    pub fn boolean(&mut self, key: &'static str, default: bool) -> Result<bool, String> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(wrong(key, &other, "true or false")),
        }
    }

    /// One of several words, each standing for a value; the first is the default.
    ///
    /// # Errors
    /// Wrong type or another word.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, String> {
        let list = || {
            let words: Vec<String> = choices.iter().map(|(w, _)| format!("\"{w}\"")).collect();
            words.join(", ")
        };
        match self.take(key) {
            None => Ok(choices[0].1),
            Some(Value::String(word)) => choices
                .iter()
                .find(|(w, _)| *w == word)
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("`{key}` is \"{word}\", expected one of {}", list())),
            Some(other) => Err(wrong(key, &other, &format!("one of {}", list()))),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Names a key that no getter asked for, and the ones that exist.
    pub fn finish(self) -> Result<(), String> {
        let Some((key, _)) = self.entries.first() else {
            return Ok(());
        };
        if self.known.is_empty() {
            return Err(format!("unknown setting `{key}`: this policy has none"));
        }
        Err(format!(
            "unknown setting `{key}`, expected one of `{}`",
            self.known.join("`, `")
        ))
    }
}

fn wrong(key: &str, value: &Value, expected: &str) -> String {
    format!("`{key}` is {}, expected {expected}", value.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Read(i64, bool, char);

    fn read(text: &str) -> Result<Read, String> {
        let mut s = Settings::parse(text)?;
        let read = Read(
            s.integer("size", 1..=10, 4)?,
            s.boolean("on", true)?,
            s.choice("mode", &[("a", 'a'), ("b", 'b')])?,
        );
        s.finish()?;
        Ok(read)
    }

    #[test]
    fn defaults_and_values() {
        assert_eq!(read(""), Ok(Read(4, true, 'a')));
        assert_eq!(
            read(r#"{"mode":"b","size":10,"on":false}"#),
            Ok(Read(10, false, 'b'))
        );
    }

    #[test]
    fn errors_name_key_and_expectation() {
        let cases = [
            ("[]", "settings are an array, expected an object"),
            (
                r#"{"sise":1}"#,
                "unknown setting `sise`, expected one of `size`, `on`, `mode`",
            ),
            (
                r#"{"size":11}"#,
                "`size` is 11, expected an integer from 1 to 10",
            ),
            (
                r#"{"size":1.5}"#,
                "`size` is 1.5, expected an integer from 1 to 10",
            ),
            (r#"{"size":"1"}"#, "`size` is a string, expected an integer"),
            (r#"{"on":1}"#, "`on` is a number, expected true or false"),
            (
                r#"{"mode":"c"}"#,
                "`mode` is \"c\", expected one of \"a\", \"b\"",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
    }
}
