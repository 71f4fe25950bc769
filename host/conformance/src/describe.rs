//! What a policy says about itself, and how it takes settings.

use engine::port::Description;
use model::{PolicyFault, PolicyKind};
use serde_json::Value;

use crate::law::Law;
use crate::report::{Book, Broken};

/// A key no policy has.
const UNKNOWN_KEY: &str = r#"{"x-conformance-no-such-setting":1}"#;

/// Makes a fresh, configured instance and gives its description.
type Start<'a> = dyn FnMut(&str) -> Result<Description, PolicyFault> + 'a;

/// What holds for every kind: a policy describes itself in the contract's terms
/// and takes settings as its schema says. Its description and the settings to run
/// with, or nothing when nothing further can be asked.
pub(crate) fn introduce(
    kind: PolicyKind,
    start: &mut Start<'_>,
    book: &mut Book,
) -> Option<(Description, String)> {
    // The schema names the defaults, and only an instance knows the schema.
    let first = match start("{}") {
        Ok(first) => first,
        Err(fault) => {
            book.note(Law::Settings, "defaults", Err(fault.into()));
            return None;
        }
    };
    let described = twice_the_same(kind, &first, start);
    let well = book.note(Law::Describe, "description", described);
    let settings = default_settings(&first.settings_schema);
    let accepted = start(&settings).map(drop).map_err(Broken::from);
    let started = book.note(Law::Settings, "defaults", accepted);
    for (case, bad) in bad_settings(&first.settings_schema) {
        let result = refused(bad, start(bad));
        book.note(Law::Settings, case, result);
    }
    (well && started).then_some((first, settings))
}

fn twice_the_same(
    kind: PolicyKind,
    first: &Description,
    start: &mut Start<'_>,
) -> Result<(), Broken> {
    check(first, kind)?;
    if start("{}")? == *first {
        Ok(())
    } else {
        Err(Broken::Law(
            "two instances describe themselves differently".to_owned(),
        ))
    }
}

/// Settings to run with: the schema's own default, or none.
fn default_settings(schema: &str) -> String {
    let schema: Option<Value> = serde_json::from_str(schema).ok();
    let default = schema.as_ref().and_then(|s| s.get("default"));
    default.map_or_else(|| "{}".to_owned(), Value::to_string)
}

/// The contract's terms for a description.
fn check(d: &Description, kind: PolicyKind) -> Result<(), Broken> {
    let name = d.name.as_bytes();
    let letters = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let named =
        (1..=63).contains(&name.len()) && name[0].is_ascii_lowercase() && name.iter().all(letters);
    if !named {
        return Err(Broken::Law(format!(
            "the name {:?} is not [a-z][a-z0-9-]{{0,62}}",
            d.name
        )));
    }
    if let Err(error) = semver::Version::parse(&d.version) {
        return Err(Broken::Law(format!(
            "{:?} is not a semantic version: {error}",
            d.version
        )));
    }
    if d.summary.is_empty() || d.summary.contains('\n') {
        return Err(Broken::Law("the summary is not one sentence".to_owned()));
    }
    match serde_json::from_str::<Value>(&d.settings_schema) {
        Ok(Value::Object(_)) => {}
        Ok(_) => {
            return Err(Broken::Law(
                "the settings schema is not an object".to_owned(),
            ));
        }
        Err(error) => {
            return Err(Broken::Law(format!(
                "the settings schema is not JSON: {error}"
            )));
        }
    }
    for (i, column) in d.columns.iter().enumerate() {
        if d.columns[..i].contains(column) {
            return Err(Broken::Law(format!("column {} twice", column.name())));
        }
    }
    let has_rows = matches!(kind, PolicyKind::Scoring | PolicyKind::Preemption);
    if !has_rows && !d.columns.is_empty() {
        return Err(Broken::Law("it reads columns, but gets no rows".to_owned()));
    }
    Ok(())
}

/// Settings that must be refused, each with the name of its case.
fn bad_settings(schema: &str) -> Vec<(&'static str, &'static str)> {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let mut bad = vec![("not JSON", "{")];
    if schema.get("type") == Some(&Value::from("object")) {
        bad.push(("a list instead of an object", "[]"));
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            bad.push(("an unknown key", UNKNOWN_KEY));
        }
    }
    bad
}

/// How settings that are wrong were taken.
fn refused<T>(settings: &str, started: Result<T, PolicyFault>) -> Result<(), Broken> {
    match started {
        Err(PolicyFault::Refused { .. }) => Ok(()),
        Err(fault) => Err(fault.into()),
        Ok(_) => Err(Broken::Law(format!(
            "it accepted the settings {settings:?}"
        ))),
    }
}
