//! `loadmaster policy`: the life of a policy on a host.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, segment, typed};
use super::failure::{Exit, Failure, Outcome};
use super::inspect;
use super::output::{Out, Style};
use super::table::Table;
use crate::policies::{PolicyRef, Source, nearest};
use crate::replay::summary::grouped;
use crate::wire::policy::{Hook, Policy as Shown, PolicySet};

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster policy upload my-policy.wasm
  loadmaster policy activate scoring=my-policy --if-match 3";
const UPLOAD: &str = "\
Examples:
  loadmaster policy upload my-policy.wasm
  loadmaster policy upload my-policy.wasm --profile interpreter";
const LIST: &str = "\
Examples:
  loadmaster policy list
  loadmaster policy list -o json";
const SHOW: &str = "\
Examples:
  loadmaster policy show binpack
  loadmaster policy show binpack@0.1.0 -o yaml";
const ACTIVATE: &str = "\
A SPEC is kind=name[@version] or kind=builtin:name, then settings as
{\"key\":\"value\"} or ?key=value, then for admission !open (jobs enter while the
policy fails) or !closed (they stay out, the default), then a weight as *0.5.
Several of one kind may be joined: admission=guardrails+quota-admission.

Examples:
  loadmaster policy activate scoring=gpu-topology-packer --if-match 3 --reason 'OPS-212 better packing'
  loadmaster policy activate 'scoring=binpack?mode=best-fit*0.7' 'scoring=spread*0.3' --dry-run";
const ROLLBACK: &str = "\
Examples:
  loadmaster policy rollback scoring --reason 'p99 wait up'
  loadmaster policy rollback scoring --dry-run";
const HISTORY: &str = "\
Examples:
  loadmaster policy history
  loadmaster policy history scoring -o json";

/// Verbs about policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Send a component to the host, which checks and compiles it.
    #[command(after_help = UPLOAD)]
    Upload {
        /// Component
        #[arg(value_name = "FILE.wasm")]
        file: PathBuf,
        /// Limits it runs under
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
    },
    /// List the policies of the host.
    #[command(after_help = LIST)]
    List,
    /// Show a policy: what it is, its settings, how it kept the contract.
    #[command(after_help = SHOW)]
    Show {
        /// name or name@version
        policy: String,
    },
    /// Make policies of one kind decide.
    #[command(after_help = ACTIVATE)]
    Activate {
        /// All of one kind; in order, the first that places devices wins
        #[arg(value_name = "SPEC", required = true)]
        policies: Vec<String>,
        /// Revision this was planned against; without it, the present one
        #[arg(long, value_name = "REV")]
        if_match: Option<u64>,
        /// Weight of the policy, when it is a single SPEC without *weight
        #[arg(long, value_name = "W")]
        weight: Option<f64>,
        /// Settings as JSON, when it is a single SPEC without settings
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        /// How several scores become one
        #[arg(long, value_enum, default_value_t)]
        combine: Combine,
        /// Why, for the journal
        #[arg(long, default_value = "")]
        reason: String,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Go back to the set before; it is still instantiated.
    #[command(after_help = ROLLBACK)]
    Rollback {
        /// scoring, admission, preemption or autoscaling
        kind: String,
        /// Only if the hook is at this revision
        #[arg(long, value_name = "REV")]
        if_match: Option<u64>,
        /// Why, for the journal
        #[arg(long, default_value = "")]
        reason: String,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what decides, and what decided before.
    #[command(after_help = HISTORY)]
    History {
        /// One kind; all when left out
        kind: Option<String>,
    },
}

/// Limits of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Profile {
    /// Compiled languages.
    #[default]
    Standard,
    /// A language engine inside the component.
    Interpreter,
}

/// How scores combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Combine {
    /// Sum of weight × score.
    #[default]
    Weighted,
    /// In the order given; a later one decides only between equals.
    Tiers,
}

/// Does it.
///
/// # Errors
/// The host refuses or does not answer.
pub fn run(verb: &Policy, client: &Client, out: &Out) -> Outcome {
    match verb {
        Policy::Upload { file, profile } => upload(file, *profile, client, out),
        Policy::List => list(client, out),
        Policy::Show { policy } => show(policy, client, out),
        Policy::Activate { .. } => activate(verb, client, out),
        Policy::Rollback {
            kind,
            if_match,
            reason,
            dry_run,
        } => rollback(kind, *if_match, reason, *dry_run, client, out),
        Policy::History { kind } => history(kind.as_deref(), client, out),
    }
}

fn upload(file: &std::path::Path, profile: Profile, client: &Client, out: &Out) -> Outcome {
    let wasm = crate::policies::read_component(file).map_err(|e| super::replay::not_loaded(&e))?;
    let profile = format!("{profile:?}").to_lowercase();
    let path = format!("/api/v1/policies?profile={profile}");
    let value = client.upload(&path, "application/wasm", wasm)?.value;
    let p: Shown = typed(&value)?;
    out.value(&value, &full(&p), |style| {
        let passed = p.conformance.checks.iter().filter(|c| c.verdict == "pass");
        let run = p
            .conformance
            .checks
            .iter()
            .filter(|c| c.verdict != "not-run");
        format!(
            "{} {} {}   {} bytes   conformance {}/{}   most fuel of a call {}\n  {}   {}\n",
            style.good("stored"),
            style.bold(&p.name),
            p.version,
            grouped(p.bytes),
            passed.count(),
            run.count(),
            grouped(p.conformance.fuel_max),
            p.digest,
            match p.state.as_str() {
                "active" => "active already",
                _ => "not active",
            }
        )
    })?;
    let kind = model::PolicyKind::from(p.kind);
    out.next(&format!(
        "loadmaster policy activate {kind}={}@{} --dry-run",
        p.name, p.version
    ));
    Ok(())
}

fn full(p: &Shown) -> String {
    format!("{}@{}", p.name, p.version)
}

fn list(client: &Client, out: &Out) -> Outcome {
    let values = client.items("/api/v1/policies")?;
    let policies: Vec<Shown> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |wide: bool| {
        let mut head = vec!["KIND", "POLICY", "VERSION", "STATE", ">BYTES", "DIGEST"];
        if wide {
            head.extend(["CONTRACT", "UPLOADED", "SUMMARY"]);
        }
        let mut table = Table::new(&head);
        for p in &policies {
            let digest: String = p.digest.chars().take(19).collect();
            let mut row = vec![
                model::PolicyKind::from(p.kind).to_string(),
                p.name.clone(),
                p.version.clone(),
                p.state.clone(),
                grouped(p.bytes),
                digest,
            ];
            if wide {
                row.extend([
                    p.contract.clone(),
                    p.uploaded.to_string(),
                    p.summary.clone(),
                ]);
            }
            table.row(row);
        }
        table
    };
    let name = |v: &Value| {
        let text = |key: &str| v[key].as_str().unwrap_or_default().to_owned();
        format!("{}@{}", text("name"), text("version"))
    };
    out.list(
        &values,
        name,
        table,
        "the host has no policies but its built-ins",
    )
}

fn show(policy: &str, client: &Client, out: &Out) -> Outcome {
    let value = match policy.split_once('@') {
        Some((name, version)) => {
            let path = format!("/api/v1/policies/{}/{}", segment(name), segment(version));
            client.get(&path)?.value
        }
        None => {
            let path = format!("/api/v1/policies/{}", segment(policy));
            // The host lists versions; the newest upload is what is meant.
            let versions = client.items(&path)?;
            versions
                .into_iter()
                .max_by_key(|v| v["uploaded"].as_str().unwrap_or_default().to_owned())
                .unwrap_or_default()
        }
    };
    let p: Shown = typed(&value)?;
    out.value(&value, &full(&p), |style| shown(&p, style))
}

fn shown(p: &Shown, style: Style) -> String {
    let mut text = format!(
        "{} {}   {}   {}\n{}\n\n",
        style.bold(&p.name),
        p.version,
        model::PolicyKind::from(p.kind),
        p.state,
        p.summary
    );
    let mut line = |name: &str, value: &str| text += &format!("  {name:<12} {value}\n");
    line("digest", &p.digest);
    line("contract", &format!("loadmaster:policy@{}", p.contract));
    line("limits", &p.profile);
    line("size", &format!("{} bytes", grouped(p.bytes)));
    line("uploaded", &p.uploaded.to_string());
    for (at, can) in p.capabilities.iter().enumerate() {
        line(if at == 0 { "it" } else { "" }, can);
    }
    if !p.columns.is_empty() {
        line("reads", &p.columns.join(" "));
    }
    let failed = p.conformance.checks.iter().filter(|c| c.verdict == "fail");
    let total = p.conformance.checks.len();
    line(
        "conformance",
        &format!("{total} checks, {} failed", failed.clone().count()),
    );
    for check in failed {
        line(
            "",
            &format!("{} {}: {}", check.law, check.case, check.detail),
        );
    }
    let schema: Value = serde_json::from_str(&p.settings_schema).unwrap_or_default();
    text + &inspect::settings_text(&schema, style)
}

// === Hooks ===

fn hook_path(kind: &str) -> Result<String, Failure> {
    let known = model::PolicyKind::ALL.map(model::PolicyKind::as_str);
    if known.contains(&kind) {
        return Ok(format!("/api/v1/hooks/{kind}"));
    }
    let near = nearest(kind, known).map(|near| format!("did you mean {near:?}?"));
    Err(
        Failure::new(Exit::Usage, format!("{kind:?} is not a kind of policy"))
            .maybe_hint(near)
            .hint(format!("kinds are {}", known.join(", "))),
    )
}

fn set_text(set: &PolicySet) -> String {
    let members: Vec<String> = set
        .members
        .iter()
        .map(|m| {
            let mut text = format!("{} {}", m.policy.name, m.policy.version);
            if m.policy.digest == "builtin" {
                text = format!("builtin:{}", m.policy.name);
            }
            if m.settings.as_object().is_some_and(|s| !s.is_empty()) {
                text += &format!(" {}", m.settings);
            }
            if set.members.len() > 1 {
                text += &format!(" ×{}", f64::from(m.weight.0) / 1000.0);
            }
            text
        })
        .collect();
    members.join(" + ")
}

fn activate(verb: &Policy, client: &Client, out: &Out) -> Outcome {
    let Policy::Activate {
        policies,
        if_match,
        weight,
        settings,
        combine,
        reason,
        dry_run,
    } = verb
    else {
        return Ok(());
    };
    let usage = |text: String| Failure::new(Exit::Usage, text);
    let mut asked: Vec<PolicyRef> = Vec::new();
    for text in policies {
        let parsed =
            PolicyRef::parse_joined(text).map_err(|e| usage(e.to_string()).hint(e.hint()))?;
        asked.extend(parsed);
    }
    let kind = asked[0].kind;
    if let Some(other) = asked.iter().find(|p| p.kind != kind) {
        return Err(
            usage(format!("{} and {} are of two kinds", asked[0], other))
                .hint("activate each kind by itself"),
        );
    }
    if let [one] = asked.as_mut_slice() {
        if let Some(w) = weight {
            one.weight = (w * 1000.0).round().clamp(0.0, f64::from(u32::MAX)) as u32;
        }
        if let Some(text) = settings {
            let object: serde_json::Map<String, Value> = serde_json::from_str(text)
                .map_err(|e| usage(format!("--settings is not a JSON object: {e}")))?;
            one.settings = Value::Object(object).to_string();
        }
    } else if weight.is_some() || settings.is_some() {
        return Err(
            usage("--weight and --settings are for a single SPEC".to_owned())
                .hint("write them behind each SPEC: 'scoring=binpack?mode=best-fit*0.5'"),
        );
    }
    let mut members = Vec::new();
    for (tier, policy) in asked.iter().enumerate() {
        let name = match &policy.source {
            Source::Named {
                name,
                version: None,
            } => name.clone(),
            Source::Named {
                name,
                version: Some(v),
            } => format!("{name}@{v}"),
            Source::Builtin(name) => format!("builtin:{name}"),
            Source::File(path) => {
                return Err(usage(format!(
                    "{} is a file, not a policy of the host",
                    path.display()
                ))
                .hint(format!("loadmaster policy upload {}", path.display())));
            }
        };
        let mut member = json!({
            "policy": name,
            "weight": f64::from(policy.weight) / 1000.0,
        });
        if *combine == Combine::Tiers {
            member["tier"] = json!(tier);
        }
        let object: Value = serde_json::from_str(&policy.settings).unwrap_or_default();
        if object != json!({}) {
            member["settings"] = object;
        }
        if policy.fail == model::FailMode::Open {
            member["fail"] = json!(policy.fail.as_str());
        }
        members.push(member);
    }
    let path = hook_path(kind.as_str())?;
    let hook: Hook = typed(&client.get(&path)?.value)?;
    let revision = if_match.unwrap_or(hook.revision);
    let planned: Vec<String> = asked.iter().map(PolicyRef::short).collect();
    let plan = format!(
        "{kind}   {}  →  {}",
        set_text(&hook.active),
        planned.join(" + ")
    );
    let combine = format!("{combine:?}").to_lowercase();
    let body = json!({"combine": combine, "policies": members, "reason": reason});
    let tag = format!("\"{revision}\"");
    if *dry_run {
        let checked = format!("{path}?dry_run=true");
        client.change("PUT", &checked, Some(&tag), Some(&body))?;
        out.print(&format!(
            "{plan}      checked against revision {revision}\n"
        ))?;
        out.next(&format!(
            "repeat it with --if-match {revision} and without --dry-run"
        ));
        return Ok(());
    }
    let began = Instant::now();
    let value = client.change("PUT", &path, Some(&tag), Some(&body))?.value;
    swapped(&value, &hook, began, client, out)
}

/// What a change of the set did.
fn swapped(value: &Value, before: &Hook, began: Instant, client: &Client, out: &Out) -> Outcome {
    let took = began.elapsed();
    let after: Hook = typed(value)?;
    let kind = model::PolicyKind::from(after.kind);
    let pause = pause_us(kind.as_str(), after.changed.0, client);
    out.value(value, &after.revision.to_string(), |style| {
        let pause = pause.map_or_else(String::new, |us| {
            format!("   swapped in {:.3} ms", us as f64 / 1000.0)
        });
        format!(
            "{kind}   {}  →  {}   revision {}{pause}   answered in {} ms\n",
            set_text(&before.active),
            style.good(&set_text(&after.active)),
            after.revision,
            took.as_millis()
        )
    })?;
    out.next(&format!(
        "loadmaster policy rollback {kind} brings the other back at once"
    ));
    Ok(())
}

/// Times the time line is asked for the mark of a change, which it shows a
/// moment after the change is answered.
const MARK_ASKED: u32 = 4;
const MARK_AGAIN: Duration = Duration::from_millis(150);

/// How long decisions were held up by the change at `changed_ms`.
fn pause_us(kind: &str, changed_ms: u64, client: &Client) -> Option<u64> {
    for _ in 0..MARK_ASKED {
        let timeline = client.get("/api/v1/timeline").ok()?.value;
        let mark = timeline["marks"].as_array()?.iter().rev().find(|m| {
            m["hook"] == kind && m["at"].as_u64() >= Some(changed_ms) && m["pause_us"].is_u64()
        });
        if let Some(mark) = mark {
            return mark["pause_us"].as_u64();
        }
        std::thread::sleep(MARK_AGAIN);
    }
    None
}

fn rollback(
    kind: &str,
    if_match: Option<u64>,
    reason: &str,
    dry_run: bool,
    client: &Client,
    out: &Out,
) -> Outcome {
    let path = hook_path(kind)?;
    let hook: Hook = typed(&client.get(&path)?.value)?;
    if dry_run {
        let Some(previous) = &hook.previous else {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{kind} has no set before the present one"),
            ));
        };
        return out.print(&format!(
            "{kind}   {}  →  {}      from revision {}\n",
            set_text(&hook.active),
            set_text(previous),
            hook.revision
        ));
    }
    let tag = if_match.map(|r| format!("\"{r}\""));
    let body = json!({"reason": reason});
    let began = Instant::now();
    let url = format!("{path}/rollback");
    let value = client
        .change("POST", &url, tag.as_deref(), Some(&body))?
        .value;
    swapped(&value, &hook, began, client, out)
}

fn history(kind: Option<&str>, client: &Client, out: &Out) -> Outcome {
    let values = match kind {
        Some(kind) => vec![client.get(&hook_path(kind)?)?.value],
        None => client.items("/api/v1/hooks")?,
    };
    let hooks: Vec<Hook> = values.iter().map(typed).collect::<Result<_, _>>()?;
    let table = |_| {
        let mut table = Table::new(&["KIND", ">REVISION", "", "SET", "CHANGED", "REASON"]);
        for h in &hooks {
            let kind = model::PolicyKind::from(h.kind).to_string();
            let changed = if h.changed.0 == 0 {
                "never".to_owned()
            } else {
                h.changed.to_string()
            };
            table.best(
                vec![
                    kind.clone(),
                    h.revision.to_string(),
                    "active".to_owned(),
                    set_text(&h.active),
                    changed,
                    h.reason.clone(),
                ],
                vec![3],
            );
            if let Some(previous) = &h.previous {
                table.row(vec![
                    kind,
                    previous.revision.to_string(),
                    "before".to_owned(),
                    set_text(previous),
                    String::new(),
                    String::new(),
                ]);
            }
            if let Some(why) = &h.degraded {
                table.part(format!("  the built-in decides instead: {why}"));
            }
        }
        table
    };
    let name = |v: &Value| v["kind"].as_str().unwrap_or_default().to_owned();
    out.list(&values, name, table, "no hooks")
}
