//! Settings against the schema that the policy gave.
//!
//! The schema comes from the component: it is as little trusted as its code.
//! References are refused altogether, because a schema of a few hundred bytes
//! can otherwise recurse without end or double its work at each level, and one
//! that points elsewhere would let a policy decide what the host fetches.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use crate::SETTINGS_BYTES_MAX;

/// Keywords that make a schema more than its own text.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Levels of nesting of schema and settings; validation recurses over them.
const DEPTH_MAX: usize = 32;

/// Bytes of one compiled pattern; patterns are matched in linear time.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Problems told at once; the first few say what is wrong.
const PROBLEMS_MAX: usize = 8;

/// A settings schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not JSON.
    #[error("the settings schema is not JSON: {message}")]
    Json {
        /// The reader's words.
        message: String,
    },
    /// Points to another place.
    #[error("the settings schema uses {keyword}; a settings schema contains everything itself")]
    Reference {
        /// Which keyword.
        keyword: &'static str,
    },
    /// Nested too deeply.
    #[error("the settings schema is nested more than {DEPTH_MAX} levels deep")]
    Depth,
    /// Not a schema of draft 2020-12.
    #[error("the settings schema is not a schema of draft 2020-12: {message}")]
    Invalid {
        /// The validator's words.
        message: String,
    },
    /// Its own defaults do not fit it.
    #[error("the policy's default settings {settings} do not fit its own schema: {problem}")]
    Defaults {
        /// The defaults.
        settings: String,
        /// The first problem.
        problem: SettingsProblem,
    },
}

/// One thing that is wrong with settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", at(.pointer))]
pub struct SettingsProblem {
    /// JSON pointer to what is wrong; empty for the settings as a whole.
    pub pointer: String,
    /// What is wrong and what is expected.
    pub message: String,
}

fn at(pointer: &str) -> String {
    if pointer.is_empty() {
        String::new()
    } else {
        format!("{pointer}: ")
    }
}

/// A compiled settings schema.
#[derive(Debug)]
pub struct SettingsSchema {
    validator: Validator,
    defaults: String,
}

impl SettingsSchema {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Not a self-contained schema, or its defaults do not fit it.
    pub fn new(text: &str) -> Result<Self, SchemaError> {
        let schema: Value = serde_json::from_str(text).map_err(|e| SchemaError::Json {
            message: e.to_string(),
        })?;
        if depth(&schema) > DEPTH_MAX {
            return Err(SchemaError::Depth);
        }
        if let Some(keyword) = reference(&schema) {
            return Err(SchemaError::Reference { keyword });
        }
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
            .build(&schema)
            .map_err(|e| SchemaError::Invalid {
                message: e.to_string(),
            })?;
        let defaults = schema
            .get("default")
            .map_or_else(|| "{}".to_owned(), Value::to_string);
        let schema = Self {
            validator,
            defaults,
        };
        match schema.check(&schema.defaults) {
            Ok(_) => Ok(schema),
            Err(problems) => Err(SchemaError::Defaults {
                settings: schema.defaults,
                problem: problems.into_iter().next().unwrap_or(SettingsProblem {
                    pointer: String::new(),
                    message: "refused".to_owned(),
                }),
            }),
        }
    }

    /// Settings that nobody gave: the schema's own default, else `{}`.
    #[must_use]
    pub fn defaults(&self) -> &str {
        &self.defaults
    }

    /// The settings as the policy gets them: compact, keys in order, so that
    /// equal settings are equal text.
    ///
    /// # Errors
    /// What is wrong, at least one problem.
    pub fn check(&self, settings: &str) -> Result<String, Vec<SettingsProblem>> {
        let whole = |message: String| {
            vec![SettingsProblem {
                pointer: String::new(),
                message,
            }]
        };
        if settings.len() > SETTINGS_BYTES_MAX {
            return Err(whole(format!(
                "{} bytes of settings, at most {SETTINGS_BYTES_MAX} are allowed",
                settings.len()
            )));
        }
        let value: Value =
            serde_json::from_str(settings).map_err(|e| whole(format!("not JSON: {e}")))?;
        if depth(&value) > DEPTH_MAX {
            return Err(whole(format!("nested more than {DEPTH_MAX} levels deep")));
        }
        let problems: Vec<_> = self
            .validator
            .iter_errors(&value)
            .take(PROBLEMS_MAX)
            .map(|e| SettingsProblem {
                pointer: e.instance_path().to_string(),
                message: e.to_string(),
            })
            .collect();
        if problems.is_empty() {
            Ok(value.to_string())
        } else {
            Err(problems)
        }
    }
}

/// Levels of arrays and objects. The reader bounded them at 128.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn reference(value: &Value) -> Option<&'static str> {
    match value {
        Value::Array(items) => items.iter().find_map(reference),
        Value::Object(map) => REFERENCES
            .into_iter()
            .find(|keyword| map.contains_key(*keyword))
            .or_else(|| map.values().find_map(reference)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "mode": {"enum": ["a", "b"]},
            "weight": {"type": "integer", "minimum": 0, "maximum": 10}
        }
    }"#;

    #[test]
    fn settings_are_checked_and_written_one_way() {
        let schema = SettingsSchema::new(SCHEMA).expect("a schema");
        assert_eq!(schema.defaults(), "{}");
        let ordered = schema.check(" {\"weight\" : 3, \"mode\":\"a\"} ");
        assert_eq!(ordered.as_deref(), Ok(r#"{"mode":"a","weight":3}"#));
        for (bad, pointer) in [
            (r#"{"weight": 11}"#, "/weight"),
            (r#"{"mode": "c"}"#, "/mode"),
            (r#"{"other": 1}"#, ""),
            ("[]", ""),
            ("{", ""),
            ("", ""),
        ] {
            let problems = schema.check(bad).expect_err(bad);
            assert_eq!(problems[0].pointer, pointer, "{bad}: {problems:?}");
            assert!(!problems[0].message.is_empty(), "{bad}");
        }
    }

    #[test]
    fn a_schema_stands_alone() {
        for text in [
            r##"{"$ref":"#"}"##,
            r##"{"allOf":[{"$ref":"#"}]}"##,
            r#"{"properties":{"a":{"$ref":"https://example.com/s.json"}}}"#,
            r#"{"properties":{"a":{"$ref":"file:///etc/passwd"}}}"#,
            r##"{"$dynamicRef":"#x"}"##,
        ] {
            let error = SettingsSchema::new(text).expect_err(text);
            assert!(matches!(error, SchemaError::Reference { .. }), "{error}");
        }
    }

    #[test]
    fn a_hostile_schema_is_refused_or_harmless() {
        let deep = format!("{}{}{}", r#"{"not":"#.repeat(60), "{}", "}".repeat(60));
        assert_eq!(SettingsSchema::new(&deep).err(), Some(SchemaError::Depth));
        let invalid = SettingsSchema::new(r#"{"type":"nonsense"}"#).err();
        assert!(matches!(invalid, Some(SchemaError::Invalid { .. })));
        // A pattern that backtracks for ages in other engines.
        let slow = r#"{"properties":{"s":{"pattern":"^(a+)+$"}}}"#;
        let schema = SettingsSchema::new(slow).expect("linear time");
        let text = format!(r#"{{"s":"{}!"}}"#, "a".repeat(5_000));
        assert_eq!(schema.check(&text).expect_err("no match")[0].pointer, "/s");
        // Patterns that need look-around are not in the linear engine.
        let look = SettingsSchema::new(r#"{"properties":{"s":{"pattern":"(?=a)(?<!b)a"}}}"#);
        assert!(matches!(look.err(), Some(SchemaError::Invalid { .. })));
        let size = SettingsSchema::new(r#"{"properties":{"s":{"pattern":"(a{999}){999}"}}}"#);
        assert!(size.is_err(), "a pattern of a million states");
    }

    #[test]
    fn defaults_that_do_not_fit_are_told() {
        let error = SettingsSchema::new(r#"{"type":"object","required":["mode"]}"#).err();
        assert!(matches!(error, Some(SchemaError::Defaults { .. })));
        let with = r#"{"required":["mode"],"default":{"mode":"a"}}"#;
        let schema = SettingsSchema::new(with).expect("its own default fits");
        assert_eq!(schema.defaults(), r#"{"mode":"a"}"#);
    }
}
