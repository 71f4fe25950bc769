//! `loadmaster inspect`: what is inside a component, before anyone trusts it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Exit, Failure, OrFail, Outcome};
use super::output::{Out, Style};
use super::replay::not_loaded;
use crate::bundled;
use crate::policies::{Loader, nearest, read_component};
use crate::replay::summary::grouped;

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster inspect my-policy.wasm
  loadmaster inspect gpu-topology-packer -o json";

/// Options of the verb.
#[derive(Debug, Args)]
pub struct Options {
    /// A .wasm file, or the name of a shipped policy
    #[arg(value_name = "FILE.wasm")]
    component: String,
}

/// Shows it.
///
/// # Errors
/// The component cannot be read or is no policy.
pub fn run(options: &Options, out: &Out) -> Outcome {
    let (wasm, what) = component(&options.component)?;
    let seen = sandbox::inspect(&wasm, sandbox::Profile::Standard).map_err(|e| {
        Failure::from_error(Exit::Failed, &e)
            .hint(format!("{what} is not a component this host can read"))
    })?;
    let prepared = Loader::unhurried()
        .prepare_any(&wasm, &what)
        .map_err(|e| not_loaded(&e))?;
    let d = prepared.description();
    let contract = prepared.contract();
    let columns: Vec<&str> = d.columns.iter().map(|c| c.name()).collect();
    let schema: Value = serde_json::from_str(&d.settings_schema).or_fail(Exit::Failed)?;
    let value = json!({
        "name": d.name,
        "version": d.version,
        "kind": prepared.kind().as_str(),
        "summary": d.summary,
        "contract": contract.version,
        "digest": prepared.digest(),
        "bytes": wasm.len(),
        "imports": seen.shape.imports,
        "exports": seen.shape.exports,
        "capabilities": seen.capabilities,
        "limits": seen.limits.iter().map(|(name, found, allowed)| {
            json!({"name": name, "found": found, "allowed": allowed})
        }).collect::<Vec<_>>(),
        "columns": columns,
        "settings_schema": schema,
    });
    out.value(&value, &d.name, |style| text(&value, style))
}

fn component(asked: &str) -> Result<(Vec<u8>, String), Failure> {
    let path = Path::new(asked);
    if let Some(shipped) = bundled::component(asked)
        && !path.exists()
    {
        return Ok((shipped.wasm.to_vec(), asked.to_owned()));
    }
    if !path.exists() && !asked.ends_with(".wasm") && !asked.contains('/') {
        let known = bundled::components().iter().map(|b| b.name);
        let list: Vec<&str> = known.clone().collect();
        let near = nearest(asked, known).map(|near| format!("did you mean {near:?}?"));
        return Err(Failure::new(
            Exit::Usage,
            format!("{asked:?} is neither a file nor a shipped policy"),
        )
        .maybe_hint(near)
        .hint(format!("shipped policies are {}", list.join(", "))));
    }
    let wasm = read_component(&PathBuf::from(asked)).map_err(|e| not_loaded(&e))?;
    Ok((wasm, asked.to_owned()))
}

fn strings(value: &Value) -> Vec<&str> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect()
}

fn text(v: &Value, style: Style) -> String {
    let field = |key: &str| v[key].as_str().unwrap_or_default();
    let mut text = format!(
        "{} {}   {}\n{}\n\n",
        style.bold(field("name")),
        field("version"),
        field("kind"),
        field("summary")
    );
    let mut line = |name: &str, value: &str| {
        text += &format!("  {name:<10} {value}\n");
    };
    line(
        "contract",
        &format!("loadmaster:policy@{}", field("contract")),
    );
    line("digest", field("digest"));
    line(
        "size",
        &format!("{} bytes", grouped(v["bytes"].as_u64().unwrap_or(0))),
    );
    for (at, can) in strings(&v["capabilities"]).iter().enumerate() {
        line(if at == 0 { "it" } else { "" }, can);
    }
    let limits = v["limits"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for (at, limit) in limits.iter().enumerate() {
        let number = |key: &str| grouped(limit[key].as_u64().unwrap_or(0));
        let share = format!(
            "{} of {} {}",
            number("found"),
            number("allowed"),
            limit["name"].as_str().unwrap_or_default()
        );
        line(if at == 0 { "limits" } else { "" }, &share);
    }
    let columns = strings(&v["columns"]);
    if !columns.is_empty() {
        line("reads", &columns.join(" "));
    }
    text + &settings_text(&v["settings_schema"], style)
}

/// The settings of a schema, one with its default and meaning after the other.
pub(super) fn settings_text(schema: &Value, style: Style) -> String {
    let properties = schema["properties"].as_object();
    let Some(properties) = properties.filter(|p| !p.is_empty()) else {
        return format!("  {:<10} none\n", "settings");
    };
    let mut text = String::from("\n  settings\n");
    for (name, schema) in properties {
        let choices = strings(&schema["enum"]).join(" | ");
        let kind = if choices.is_empty() {
            schema["type"].as_str().unwrap_or("").to_owned()
        } else {
            choices
        };
        let default = match &schema["default"] {
            Value::Null => String::new(),
            Value::String(text) => format!(" = {text}"),
            other => format!(" = {other}"),
        };
        text += &format!("    {}{default}   {}\n", style.bold(name), style.dim(&kind));
        if let Some(about) = schema["description"].as_str() {
            text += &format!("      {about}\n");
        }
    }
    text
}
