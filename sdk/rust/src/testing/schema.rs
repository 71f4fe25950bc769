//! Checks that a settings schema and the code that reads settings agree.

use std::fmt::Debug;

use crate::json::{self, Value};

/// Checks a settings schema against `configure`: no unknown keys on either
/// side, `{}` means the defaults written down, every enum word and both ends of
/// every range are accepted, and one step past them is refused.
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
    assert_eq!(
        schema.get("additionalProperties"),
        Some(&Value::Bool(false)),
        "additionalProperties"
    );
    let Some(Value::Object(properties)) = schema.get("properties") else {
        panic!("the schema has no properties")
    };
    let accept = |text: &str| match configure(text) {
        Ok(policy) => format!("{policy:?}"),
        Err(error) => panic!("{text} is valid by the schema but refused: {error}"),
    };
    let refuse = |text: &str| {
        if let Ok(policy) = configure(text) {
            panic!("{text} is invalid by the schema but accepted: {policy:?}")
        }
    };
    let defaults = accept("{}");
    refuse(r#"{"no-such-setting":1}"#);
    for (key, property) in properties {
        let set = |value: &str| format!("{{\"{key}\":{value}}}");
        assert!(
            matches!(property.get("description"), Some(Value::String(_))),
            "`{key}` has no description"
        );
        let Some(default) = property.get("default") else {
            panic!("`{key}` has no default")
        };
        assert_eq!(
            accept(&set(&scalar(default))),
            defaults,
            "default of `{key}`"
        );
        refuse(&set("null"));
        refuse(&set("[]"));
        match property.get("type") {
            Some(Value::String(kind)) if kind == "integer" => {
                for (bound, step) in [("minimum", -1), ("maximum", 1)] {
                    let edge = integer(key, property, bound);
                    accept(&set(&edge.to_string()));
                    refuse(&set(&(edge + step).to_string()));
                }
                refuse(&set("0.5"));
            }
            Some(Value::String(kind)) if kind == "boolean" => {
                accept(&set("true"));
                accept(&set("false"));
                refuse(&set("1"));
            }
            Some(Value::String(kind)) if kind == "string" => {
                let Some(Value::Array(words)) = property.get("enum") else {
                    panic!("`{key}` is a string without enum")
                };
                words.iter().for_each(|word| {
                    accept(&set(&scalar(word)));
                });
                refuse(&set("\"no such word\""));
            }
            other => panic!("`{key}` has the type {other:?}, expected integer, boolean or string"),
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Number(text) => text.clone(),
        Value::String(text) => format!("\"{text}\""),
        other => panic!("{} as a default", other.kind()),
    }
}

fn integer(key: &str, property: &Value, bound: &str) -> i64 {
    match property.get(bound) {
        Some(Value::Number(text)) => match text.parse() {
            Ok(value) => value,
            Err(_) => panic!("`{bound}` of `{key}` is {text}"),
        },
        _ => panic!("`{key}` has no {bound}"),
    }
}
