//! Policies and what decides.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::response::Response;
use lifecycle::{ActivateError, Class, PlanError, Registry, Upload, UploadError, Uploaded};
use model::PolicyKind;
use sandbox::Profile;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::{Request, segment, stale};
use super::respond;
use crate::daemon::{Action, Reply, Submission, View};
use crate::wire::policy::{Hook, HookRequest, Policy};
use crate::wire::view::Page;
use crate::wire::{Invalid, Problem, ProblemKind};

/// How long an activation waits for the policies that come with the binary, which
/// are compiled in the first seconds of a host.
const SHIPPED_WAIT: Duration = Duration::from_secs(60);

async fn registry(request: &Request) -> Result<Registry, Problem> {
    request.app.daemon().read(|v| v.registry.clone()).await
}

pub(crate) async fn list(request: Request) -> Result<Response, Problem> {
    let items = registry(&request)
        .await?
        .policies()
        .map(|p| Policy::from(&**p))
        .collect();
    Ok(respond::list(&Page {
        items,
        next_cursor: None,
    }))
}

pub(crate) async fn versions(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let items: Vec<Policy> = registry(&request)
        .await?
        .versions(&name)
        .map(|p| Policy::from(&**p))
        .collect();
    if items.is_empty() {
        return Err(Problem::not_found(format!("policy {name:?}")));
    }
    Ok(respond::list(&Page {
        items,
        next_cursor: None,
    }))
}

pub(crate) async fn get(request: Request) -> Result<Response, Problem> {
    let (name, version) = (request.param("name"), request.param("version"));
    let registry = registry(&request).await?;
    let policy = registry
        .exact(&name, &version)
        .ok_or_else(|| Problem::not_found(format!("policy {name}@{version}")))?;
    Ok(respond::json(&Policy::from(&**policy)))
}

// === Upload ===

fn rejected(error: &UploadError) -> Problem {
    let kind = match error.class() {
        Class::TooLarge => ProblemKind::PolicyTooLarge,
        Class::NotAComponent => ProblemKind::NotWebAssembly,
        Class::Unacceptable => ProblemKind::PolicyRejected,
        Class::Conflict => ProblemKind::Conflict,
        Class::Host => ProblemKind::Internal,
    };
    let text = match error.hint() {
        Some(hint) => format!("{error}; hint: {hint}"),
        None => error.to_string(),
    };
    Problem::new(kind, text).because(error.code())
}

fn broke(error: &tokio::task::JoinError) -> Problem {
    Problem::new(
        ProblemKind::Internal,
        format!("the work on the policy failed: {error}"),
    )
}

pub(crate) async fn upload(request: Request) -> Result<Response, Problem> {
    let profile = match request.query.get("profile").map(String::as_str) {
        None | Some("standard") => Profile::Standard,
        Some("interpreter") => Profile::Interpreter,
        Some(other) => {
            let text = format!("{other:?} is neither standard nor interpreter");
            return Err(Invalid::at("?profile", text).into());
        }
    };
    let registry = registry(&request).await?;
    let daemon = request.app.daemon().clone();
    let upload = Upload {
        profile,
        uploader: None,
        now_ms: daemon.now_ms(),
    };
    let bytes = request.body.clone();
    let checked =
        tokio::task::spawn_blocking(move || daemon.check_policy(&bytes, &upload, &registry));
    let uploaded = checked
        .await
        .map_err(|e| broke(&e))?
        .map_err(|e| rejected(&e))?;
    let digest = match &uploaded {
        Uploaded::New { record, .. } => record.id.digest.clone(),
        Uploaded::Known { digest } => digest.clone(),
    };
    let submission = Submission::new(Action::Upload(uploaded), move |v, receipt| {
        let status = if receipt.known { 200 } else { 201 };
        let policy = v.registry.get(&digest).map(|p| Policy::from(&**p));
        let place = policy.as_ref().map(|p| {
            format!(
                "/api/v1/policies/{}/{}",
                segment(&p.name),
                segment(&p.version)
            )
        });
        let reply = Reply::json(status, &policy).with_etag(format!("\"{digest}\""));
        match place {
            Some(place) => reply.at(place),
            None => reply,
        }
    });
    respond::perform(&request, submission).await
}

// === Hooks ===

fn kind(request: &Request) -> Result<PolicyKind, Problem> {
    let text = request.param("kind");
    PolicyKind::parse(&text).ok_or_else(|| {
        let known: Vec<&str> = PolicyKind::ALL.iter().map(|k| k.as_str()).collect();
        Problem::not_found(format!("hook {text:?}; hooks are {}", known.join(", ")))
    })
}

fn shown(view: &View<'_>, kind: PolicyKind) -> Option<Hook> {
    let hook = view.registry.hook(kind).ok()?;
    let degraded = view.fallen_back.get(&kind).cloned();
    Some(Hook {
        degraded,
        ..Hook::from(&**hook)
    })
}

fn tag(hook: &Hook) -> String {
    format!("\"{}\"", hook.revision)
}

fn not_served(kind: PolicyKind) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, PlanError::KindNotServed(kind))
        .because("KindNotServed")
}

async fn current(request: &Request, kind: PolicyKind) -> Result<Hook, Problem> {
    let hook = request.app.daemon().read(move |v| shown(v, kind)).await?;
    hook.ok_or_else(|| not_served(kind))
}

pub(crate) async fn hooks(request: Request) -> Result<Response, Problem> {
    let items = request.app.daemon().read(|v| {
        let all = PolicyKind::ALL.iter().filter_map(|kind| shown(v, *kind));
        all.collect::<Vec<_>>()
    });
    Ok(respond::list(&Page {
        items: items.await?,
        next_cursor: None,
    }))
}

pub(crate) async fn hook(request: Request) -> Result<Response, Problem> {
    let hook = current(&request, kind(&request)?).await?;
    Ok(respond::tagged(&hook, &tag(&hook)))
}

/// The revision a change was made for; none for whatever there is.
fn expected(request: &Request, hook: &Hook) -> Result<Option<u64>, Problem> {
    let present = tag(hook);
    match request.conditions().if_match.as_deref() {
        None => {
            let text = format!("send If-Match: {present}, the hook's present ETag, or *");
            let problem = Problem::new(ProblemKind::RevisionRequired, text);
            Err(problem.with(|p| {
                p.etag = Some(present);
            }))
        }
        Some("*") => Ok(None),
        Some(given) if given == present => Ok(Some(hook.revision)),
        Some(given) => {
            let text = format!("If-Match is {given}, the hook's ETag is {present}");
            Err(stale(&text, hook, &present))
        }
    }
}

fn unusable(error: &ActivateError) -> Problem {
    let kind = match (error, error.class()) {
        (ActivateError::Plan(PlanError::Stale { .. }), _) => ProblemKind::RevisionConflict,
        (_, Class::Conflict) => ProblemKind::Conflict,
        (_, Class::Host) => ProblemKind::Internal,
        (_, Class::TooLarge | Class::NotAComponent | Class::Unacceptable) => {
            ProblemKind::InvalidRequest
        }
    };
    let mut problem = Problem::new(kind, error).because(error.code());
    match error {
        ActivateError::Resolve { index, source } => {
            problem
                .errors
                .push(Invalid::at(format!("/policies/{index}/policy"), source));
        }
        ActivateError::Settings {
            index, problems, ..
        } => {
            problem.errors.extend(problems.iter().map(|p| {
                Invalid::at(
                    format!("/policies/{index}/settings{}", p.pointer),
                    &p.message,
                )
            }));
        }
        ActivateError::Size(_) => problem.errors.push(Invalid::at("/policies", error)),
        _ => {}
    }
    problem
}

fn answer(view: &View<'_>, kind: PolicyKind) -> Reply {
    let hook = shown(view, kind);
    let tag = hook.as_ref().map(tag).unwrap_or_default();
    Reply::json(200, &hook).with_etag(tag)
}

pub(crate) async fn activate(request: Request) -> Result<Response, Problem> {
    let kind = kind(&request)?;
    let hook = current(&request, kind).await?;
    let if_revision = expected(&request, &hook)?;
    let body: HookRequest = request.json()?;
    let reason = match body.reason.as_str() {
        "" => "activated over the API".to_owned(),
        given => given.chars().take(500).collect(),
    };
    let asked = body.request(kind.into(), if_revision)?;
    let asked = Arc::new(asked);
    let patience = tokio::time::Instant::now() + SHIPPED_WAIT;
    let ready = loop {
        let all_there = request.app.0.ready.load(Ordering::Acquire);
        let registry = registry(&request).await?;
        let daemon = request.app.daemon().clone();
        let asked = Arc::clone(&asked);
        let made = tokio::task::spawn_blocking(move || daemon.prepare_set(&asked, &registry));
        match made.await.map_err(|e| broke(&e))? {
            Ok(ready) => break ready,
            // It may be one that comes with the binary and is still compiled.
            Err(e) if e.code() == "UnknownPolicy" && !all_there => {
                if tokio::time::Instant::now() > patience {
                    return Err(unusable(&e));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(e) => return Err(unusable(&e)),
        }
    };
    if request.flag("dry_run") {
        // Resolved, loaded, configured and started; now forgotten.
        return Ok(respond::tagged(&hook, &tag(&hook)));
    }
    let action = Action::Activate {
        ready: Box::new(ready),
        reason,
    };
    let submission = Submission::new(action, move |v, _| answer(v, kind));
    let result = respond::perform(&request, submission).await;
    with_current(&request, kind, result).await
}

/// Somebody was faster: the answer shows what they did.
async fn with_current(
    request: &Request,
    kind: PolicyKind,
    result: Result<Response, Problem>,
) -> Result<Response, Problem> {
    match result {
        Err(problem) if problem.status == ProblemKind::RevisionConflict.status() => {
            let hook = current(request, kind).await?;
            let newer = stale(&problem.detail, &hook, &tag(&hook));
            Err(newer.because(&problem.reason))
        }
        other => other,
    }
}

/// Why to go back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RollbackRequest {
    /// For the journal.
    reason: String,
}

pub(crate) async fn rollback(request: Request) -> Result<Response, Problem> {
    let kind = kind(&request)?;
    let body: RollbackRequest = match request.body.is_empty() {
        true => RollbackRequest::default(),
        false => request.json()?,
    };
    let hook = current(&request, kind).await?;
    // Going back must be possible in a hurry: the condition is optional here.
    let if_revision = match request.conditions().if_match {
        None => None,
        Some(_) => expected(&request, &hook)?,
    };
    let reason = match body.reason.as_str() {
        "" => "rolled back over the API".to_owned(),
        given => given.chars().take(500).collect(),
    };
    let action = Action::Rollback {
        kind,
        if_revision,
        reason,
    };
    let submission = Submission::new(action, move |v, _| answer(v, kind));
    let result = respond::perform(&request, submission).await;
    with_current(&request, kind, result).await
}
