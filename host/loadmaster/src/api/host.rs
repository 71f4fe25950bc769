//! The host itself: health, metrics, mode, guards, and the documents.

use std::sync::atomic::Ordering;

use axum::response::Response;
use model::Event;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::Request;
use super::{openapi, respond};
use crate::daemon::{Action, Reply, Submission, View, metrics};
use crate::wire::pod::Mode;
use crate::wire::time::Time;
use crate::wire::usage::Evictions;
use crate::wire::view::{Approval, Guard, Page, Summary};
use crate::wire::{Invalid, Problem, ProblemKind};

/// Whether changes are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Ready {
    /// Whether they are.
    ready: bool,
    /// Why nothing is taken away, if so. The host is ready all the same.
    hold: Option<String>,
    /// Why nothing is accepted, if so.
    degraded: Option<String>,
    /// Kinds for which the built-in decides against the record, and why.
    fallen_back: Vec<String>,
    /// The policies that come with the binary are registered.
    policies: bool,
}

/// Declared state of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeBody {
    /// State.
    mode: Mode,
}

pub(crate) async fn livez(_: Request) -> Result<Response, Problem> {
    Ok(respond::text(
        200,
        "text/plain; charset=utf-8",
        "ok\n".to_owned(),
    ))
}

pub(crate) async fn readyz(request: Request) -> Result<Response, Problem> {
    let policies = request.app.0.ready.load(Ordering::Acquire);
    let ready = request.app.daemon().read(move |v| Ready {
        ready: v.degraded.is_none() && policies,
        hold: v.hold.map(str::to_owned),
        degraded: v.degraded.map(str::to_owned),
        fallen_back: v
            .fallen_back
            .iter()
            .map(|(kind, why)| format!("{kind}: {why}"))
            .collect(),
        policies,
    });
    let ready = ready.await?;
    let status = if ready.ready { 200 } else { 503 };
    let body = serde_json::to_string(&ready).unwrap_or_default();
    Ok(respond::text(status, "application/json", body))
}

pub(crate) async fn metrics(request: Request) -> Result<Response, Problem> {
    let text = request.app.daemon().read(metrics::render).await?;
    Ok(respond::text(
        200,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    ))
}

pub(crate) async fn summary(request: Request) -> Result<Response, Problem> {
    let summary = request.app.daemon().read(numbers).await?;
    Ok(respond::list(&summary))
}

/// The cluster in numbers.
pub(crate) fn numbers(v: &View<'_>) -> Summary {
    let s = v.engine.summary();
    Summary {
        nodes: s.nodes,
        gpus: s.gpus,
        gpu_milli_used: s.gpu_milli_used,
        running: s.running as u64,
        waiting: s
            .waiting
            .iter()
            .map(|(r, n)| (r.code().to_owned(), *n))
            .collect(),
        decisions: s.decisions,
        mode: v.engine.mode().into(),
        hold: v.engine.hold(),
        now: Time(v.now_ms),
    }
}

// === Mode and guards ===

pub(crate) async fn mode(request: Request) -> Result<Response, Problem> {
    let mode = request
        .app
        .daemon()
        .read(|v| v.engine.mode().into())
        .await?;
    Ok(respond::json(&ModeBody { mode }))
}

pub(crate) async fn set_mode(request: Request) -> Result<Response, Problem> {
    let body: ModeBody = request.json()?;
    let action = Action::Events(vec![Event::SetMode(body.mode.into())]);
    let submission = Submission::new(action, move |_, _| Reply::json(200, &body));
    respond::perform(&request, submission).await
}

/// Most evictions approved at once; more is no guard.
const APPROVE_MAX: u32 = 10_000;

/// The guard against mass evictions.
fn evictions(view: &View<'_>) -> Guard {
    let guard = view.engine.guard_view();
    let numbers = Evictions::from(&guard);
    let reason = format!(
        "{} of {} evictions in the last {}{}",
        numbers.evicted,
        numbers.limit,
        numbers.window,
        match numbers.approved {
            0 => String::new(),
            more => format!(", {more} more are approved"),
        }
    );
    Guard {
        id: "evictions".to_owned(),
        active: guard.tripped_ms.is_some(),
        reason,
        prevents: "preempting, reclaiming and moving more pods".to_owned(),
        evictions: Some(numbers),
    }
}

fn hold(view: &View<'_>) -> Guard {
    Guard {
        id: "hold".to_owned(),
        active: view.hold.is_some(),
        reason: view.hold.unwrap_or("the state is trusted").to_owned(),
        prevents: "scaling down, evicting, removing nodes and deleting jobs with running pods"
            .to_owned(),
        evictions: None,
    }
}

pub(crate) async fn guards(request: Request) -> Result<Response, Problem> {
    let guards = request.app.daemon();
    let guards = guards.read(|v| vec![hold(v), evictions(v)]).await?;
    Ok(respond::list(&Page {
        items: guards,
        next_cursor: None,
    }))
}

fn unknown_guard(id: &str) -> Problem {
    Problem::not_found(format!("guard {id:?}; guards are hold and evictions"))
}

pub(crate) async fn guard(request: Request) -> Result<Response, Problem> {
    let id = request.param("id");
    let wanted = id.clone();
    let guards = request.app.daemon();
    let guards = guards.read(move |v| [hold(v), evictions(v)].into_iter().find(|g| g.id == wanted));
    Ok(respond::json(
        &guards.await?.ok_or_else(|| unknown_guard(&id))?,
    ))
}

pub(crate) async fn approve(request: Request) -> Result<Response, Problem> {
    let id = request.param("id");
    if id != "hold" && id != "evictions" {
        return Err(unknown_guard(&id));
    }
    let approval: Approval = request.json()?;
    let count = match (id.as_str(), approval.count) {
        ("hold", Some(_)) => {
            let text = "is only for the guard evictions; a hold is let go as a whole";
            return Err(Invalid::at("/count", text).into());
        }
        ("hold", None) => None,
        (_, Some(count @ 1..=APPROVE_MAX)) => Some(count),
        (_, _) => {
            let text = format!("says how many pods more may be evicted, 1 to {APPROVE_MAX}");
            return Err(Invalid::at("/count", text).into());
        }
    };
    for (pointer, text) in [("/by", &approval.by), ("/reason", &approval.reason)] {
        if text.trim().is_empty() {
            return Err(
                Invalid::at(pointer, "must say something: it is kept for the audit").into(),
            );
        }
    }
    let action = Action::Approve {
        by: approval.by,
        reason: approval.reason,
        count,
    };
    let submission = Submission::new(action, move |v, _| {
        Reply::json(
            200,
            &if count.is_some() {
                evictions(v)
            } else {
                hold(v)
            },
        )
    });
    respond::perform(&request, submission).await
}

// === Documents ===

pub(crate) async fn openapi(_: Request) -> Result<Response, Problem> {
    Ok(respond::text(
        200,
        "application/json",
        openapi::document().to_string(),
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A page that needs nothing from elsewhere.
fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title} – Loadmaster</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         code,pre{{font:14px/1.5 ui-monospace,monospace}}td,th{{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}}\
         @media(prefers-color-scheme:dark){{body{{background:#111;color:#ddd}}a{{color:#8bf}}}}</style>\
         <h1>{title}</h1>{body}</html>"
    );
    respond::text(200, "text/html; charset=utf-8", html)
}

pub(crate) async fn docs(_: Request) -> Result<Response, Problem> {
    let document = openapi::document();
    let mut rows = String::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let takes = operation["requestBody"]["content"].as_object();
            let takes = takes
                .and_then(|c| c.keys().next())
                .map_or("", String::as_str);
            rows += &format!(
                "<tr><td><code>{}</code></td><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                method.to_uppercase(),
                escape(path),
                escape(operation["summary"].as_str().unwrap_or_default()),
                escape(takes),
            );
        }
    }
    let mut problems = String::new();
    for kind in ProblemKind::ALL {
        problems += &format!(
            "<tr><td>{}</td><td><a href=\"../problems/{}\">{}</a></td></tr>",
            kind.status(),
            kind.slug(),
            escape(kind.title()),
        );
    }
    let body = format!(
        "<p>The whole of it, for tools: <a href=\"openapi.json\">openapi.json</a> (OpenAPI 3.1).</p>\
         <table><tr><th>Method<th>Path<th>What it does<th>Takes</tr>{rows}</table>\
         <h2>Problems</h2><table>{problems}</table>"
    );
    Ok(page("HTTP API", &body))
}

pub(crate) async fn problem_page(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let kind = ProblemKind::ALL.iter().find(|k| k.slug() == name);
    let kind = kind.ok_or_else(|| Problem::not_found(format!("problem {name:?}")))?;
    let body = format!(
        "<p>Status {}, reason <code>{}</code> or one more specific.</p><p>{}</p>",
        kind.status(),
        kind.reason(),
        escape(kind.text()),
    );
    Ok(page(kind.title(), &body))
}
