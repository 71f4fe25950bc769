//! Reads a policy's settings, with errors an operator can act on.

use std::ops::RangeInclusive;

use crate::json::{self, Value};

/// Settings being read: each getter takes its key, [`Settings::finish`] refuses
/// what nobody took.
#[derive(Debug)]
pub struct Settings {
    entries: Vec<(String, Value)>,
    known: Vec<&'static str>,
    /// What stands before a key in messages: empty, or `rules[2].`.
    path: String,
}

impl Settings {
    /// Starts with JSON text; empty text means no settings.
    ///
    /// # Errors
    /// Where the text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        match json::parse(text)? {
            Value::Object(entries) => Ok(Self::of(entries, String::new())),
            other => Err(format!("settings are {}, expected an object", other.kind())),
        }
    }

    fn of(entries: Vec<(String, Value)>, path: String) -> Self {
        Self {
            entries,
            known: Vec::new(),
            path,
        }
    }

    /// The key as an operator finds it, for messages: `rules[2].id`.
    #[must_use]
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// Whether the key is there and no getter took it yet.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _)| k == key)
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
            Some(other) => return Err(self.wrong(key, &other, "an integer")),
        };
        match value {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(format!(
                "`{}` is {text}, expected an integer from {} to {}",
                self.name(key),
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
            Some(other) => return Err(self.wrong(key, &other, "a number")),
        };
        match value {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(format!(
                "`{}` is {text}, expected a number from {} to {}",
                self.name(key),
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
            Some(other) => Err(self.wrong(key, &other, "true or false")),
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
                .ok_or_else(|| {
                    let key = self.name(key);
                    format!("`{key}` is \"{word}\", expected one of {}", list())
                }),
            Some(other) => Err(self.wrong(key, &other, &format!("one of {}", list()))),
        }
    }

    /// Any text.
    ///
    /// # Errors
    /// Wrong type.
    pub fn text(&mut self, key: &'static str, default: &str) -> Result<String, String> {
        match self.take(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(key, &other, "a string")),
        }
    }

    /// A list of texts, empty by default.
    ///
    /// # Errors
    /// Wrong type.
    pub fn texts(&mut self, key: &'static str) -> Result<Vec<String>, String> {
        let items = self.items(key, "an array of strings")?;
        let text = |(i, item)| match item {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(&format!("{key}[{i}]"), &other, "a string")),
        };
        items.into_iter().enumerate().map(text).collect()
    }

    /// Settings inside these, none of them given by default. Each has to be
    /// finished by itself.
    ///
    /// # Errors
    /// Wrong type.
    pub fn section(&mut self, key: &'static str) -> Result<Self, String> {
        let entries = self.entries(key)?;
        Ok(Self::of(entries, format!("{}.", self.name(key))))
    }

    /// A list of settings inside these, empty by default.
    ///
    /// # Errors
    /// Wrong type.
    pub fn sections(&mut self, key: &'static str) -> Result<Vec<Self>, String> {
        let items = self.items(key, "an array of objects")?;
        let section = |(i, item)| match item {
            Value::Object(entries) => Ok(Self::of(entries, self.name(&format!("{key}[{i}].")))),
            other => Err(self.wrong(&format!("{key}[{i}]"), &other, "an object")),
        };
        items.into_iter().enumerate().map(section).collect()
    }

    /// An object whose keys are the operator's, in the order written; empty by
    /// default.
    ///
    /// # Errors
    /// Wrong type.
    pub fn entries(&mut self, key: &'static str) -> Result<Vec<(String, Value)>, String> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Object(entries)) => Ok(entries),
            Some(other) => Err(self.wrong(key, &other, "an object")),
        }
    }

    fn items(&mut self, key: &'static str, expected: &str) -> Result<Vec<Value>, String> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.wrong(key, &other, expected)),
        }
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> String {
        let key = self.name(key);
        format!("`{key}` is {}, expected {expected}", value.kind())
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
            "unknown setting `{}`, expected one of `{}`",
            self.name(key),
            self.known.join("`, `")
        ))
    }
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

    fn nested(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        let mut s = Settings::parse(text)?;
        let mut out = Vec::new();
        for mut rule in s.sections("rules")? {
            let id = rule.text("id", "none")?;
            let mut when = rule.section("when")?;
            out.push((id, when.texts("kinds")?));
            when.integer("size", 0..=9, 0)?;
            when.finish()?;
            rule.finish()?;
        }
        s.finish()?;
        Ok(out)
    }

    #[test]
    fn nested_settings_are_named_by_their_path() {
        let rule = |id: &str, kinds: &[&str]| {
            let kinds = kinds.iter().map(|k| (*k).to_owned()).collect();
            (id.to_owned(), kinds)
        };
        assert_eq!(nested("{}"), Ok(Vec::new()));
        assert_eq!(
            nested(r#"{"rules":[{"id":"a","when":{"kinds":["x","y"]}},{}]}"#),
            Ok(vec![rule("a", &["x", "y"]), rule("none", &[])])
        );
        let cases = [
            (
                r#"{"rules":1}"#,
                "`rules` is a number, expected an array of objects",
            ),
            (
                r#"{"rules":[{},1]}"#,
                "`rules[1]` is a number, expected an object",
            ),
            (
                r#"{"rules":[{},{"when":{"kinds":["x",1]}}]}"#,
                "`rules[1].when.kinds[1]` is a number, expected a string",
            ),
            (
                r#"{"rules":[{"when":{"size":10}}]}"#,
                "`rules[0].when.size` is 10, expected an integer from 0 to 9",
            ),
            (
                r#"{"rules":[{"when":{"kind":[]}}]}"#,
                "unknown setting `rules[0].when.kind`, expected one of `kinds`, `size`",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(nested(text), Err(error.to_owned()), "{text}");
        }
    }
}
