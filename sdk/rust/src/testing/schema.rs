//! Checks that a settings schema and the code that reads settings agree.

use std::fmt::Debug;

use crate::json::{self, Value};

/// Checks a settings schema against `configure`: no unknown keys on either
/// side, `{}` means the defaults written down, every enum word and both ends of
/// every range are accepted, and one step past them is refused. Objects inside
/// are checked the same way, and so are objects inside a list, in place of the
/// first of its `examples`.
///
/// # Panics
/// On the first disagreement, naming it.
pub fn check_settings_schema<P: Debug>(
    schema: &str,
    configure: impl Fn(&str) -> Result<P, String>,
) {
    let schema = match json::parse(schema) {
        Ok(schema) => schema,
        Err(error) => panic!("the schema is not JSON: {error}"),
    };
    assert_eq!(
        schema.get("$schema"),
        Some(&Value::String(
            "https://json-schema.org/draft/2020-12/schema".into()
        )),
        "draft of the schema"
    );
    let check = Check {
        configure: &|text| configure(text).map(|policy| format!("{policy:?}")),
    };
    check.object(&schema, "", &Value::Object(Vec::new()), &|value| value);
}

/// What stands around a value: from the value to all of the settings.
type Around<'a> = dyn Fn(Value) -> Value + 'a;

struct Check<'a> {
    configure: &'a dyn Fn(&str) -> Result<String, String>,
}

impl Check<'_> {
    fn accept(&self, settings: &Value) -> String {
        match (self.configure)(&settings.to_string()) {
            Ok(policy) => policy,
            Err(error) => panic!("{settings} is valid by the schema but refused: {error}"),
        }
    }

    fn refuse(&self, settings: &Value) {
        if let Ok(policy) = (self.configure)(&settings.to_string()) {
            panic!("{settings} is invalid by the schema but accepted: {policy}")
        }
    }

    /// `base` is a legal object of this schema.
    fn object(&self, schema: &Value, path: &str, base: &Value, around: &Around<'_>) {
        assert_eq!(
            schema.get("additionalProperties"),
            Some(&Value::Bool(false)),
            "additionalProperties of `{path}`"
        );
        let Some(Value::Object(properties)) = schema.get("properties") else {
            panic!("`{path}` has no properties")
        };
        let unchanged = self.accept(&around(base.clone()));
        self.refuse(&around(with(base, "no-such-setting", Value::from(1))));
        for (key, property) in properties {
            let path = format!("{path}{key}");
            assert!(
                matches!(property.get("description"), Some(Value::String(_))),
                "`{path}` has no description"
            );
            let around = |value| around(with(base, key, value));
            let required = matches!(schema.get("required"), Some(Value::Array(keys))
                if keys.contains(&Value::from(key.as_str())));
            if !required {
                let Some(default) = property.get("default") else {
                    panic!("`{path}` has no default")
                };
                if base.get(key).is_none() {
                    assert_eq!(
                        self.accept(&around(default.clone())),
                        unchanged,
                        "default of `{path}`"
                    );
                }
            }
            self.property(property, &path, &around);
        }
    }

    fn property(&self, property: &Value, path: &str, around: &Around<'_>) {
        self.refuse(&around(Value::Null));
        let Some(Value::String(kind)) = property.get("type") else {
            panic!("`{path}` has no type")
        };
        if kind != "array" {
            self.refuse(&around(Value::Array(Vec::new())));
        }
        for example in array(property.get("examples")) {
            self.accept(&around(example.clone()));
        }
        match kind.as_str() {
            "integer" => {
                for (bound, step) in [("minimum", -1), ("maximum", 1)] {
                    let edge = integer(path, property, bound);
                    self.accept(&around(Value::from(edge)));
                    self.refuse(&around(Value::from(edge + step)));
                }
                self.refuse(&around(Value::Number("0.5".to_owned())));
            }
            "boolean" => {
                self.accept(&around(Value::Bool(true)));
                self.accept(&around(Value::Bool(false)));
                self.refuse(&around(Value::from(1)));
            }
            "string" => {
                self.refuse(&around(Value::from(1)));
                let words = array(property.get("enum"));
                for word in words {
                    self.accept(&around(word.clone()));
                }
                let free = words.is_empty();
                assert!(
                    !free || property.get("examples").is_some(),
                    "`{path}` is a string with neither enum nor examples"
                );
                if !free {
                    self.refuse(&around(Value::from("no such word")));
                }
            }
            "object" => {
                self.refuse(&around(Value::from(1)));
                // A map with the operator's own keys: examples are all there is.
                if property.get("properties").is_some() {
                    let base = Value::Object(Vec::new());
                    self.object(property, &format!("{path}."), &base, around);
                }
            }
            "array" => {
                self.refuse(&around(Value::from(1)));
                self.refuse(&around(Value::Object(Vec::new())));
                self.refuse(&around(Value::Array(vec![Value::Null])));
                let examples = array(property.get("examples"));
                let Some([base, ..]) = examples.first().map(|e| array(Some(e))) else {
                    panic!("`{path}` is an array without an example that has an item")
                };
                let Some(items) = property.get("items") else {
                    panic!("`{path}` does not say what its items are")
                };
                if items.get("properties").is_some() {
                    let item = |value| around(Value::Array(vec![value]));
                    self.object(items, &format!("{path}[]."), base, &item);
                }
            }
            other => panic!("`{path}` has the type {other}"),
        }
    }
}

fn array(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(items)) => items,
        _ => &[],
    }
}

/// The object with this entry instead of its own.
fn with(object: &Value, key: &str, value: Value) -> Value {
    let Value::Object(entries) = object else {
        panic!("{} where an object is expected", object.kind())
    };
    let mut entries: Vec<_> = entries.iter().filter(|(k, _)| k != key).cloned().collect();
    entries.push((key.to_owned(), value));
    Value::Object(entries)
}

fn integer(path: &str, property: &Value, bound: &str) -> i64 {
    match property.get(bound) {
        Some(Value::Number(text)) => match text.parse() {
            Ok(value) => value,
            Err(_) => panic!("`{bound}` of `{path}` is {text}"),
        },
        _ => panic!("`{path}` has no {bound}"),
    }
}
