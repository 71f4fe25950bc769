//! Who yields and who starts together: plans, gangs, and pods that are asked to
//! leave.

use axum::response::Response;
use model::Event;

use super::request::Request;
use super::{respond, why, work};
use crate::daemon::{Action, Reply, Submission};
use crate::wire::plan::Plan;
use crate::wire::view::Page;
use crate::wire::{Invalid, Problem};

// === Plans ===

/// Phases a list can be narrowed to.
const PHASES: [&str; 3] = ["leaving", "done", "dissolved"];

pub(crate) async fn plans(request: Request) -> Result<Response, Problem> {
    let phase = request.query.get("phase").cloned();
    if let Some(other) = phase.as_ref().filter(|p| !PHASES.contains(&p.as_str())) {
        let text = format!("{other:?} is not one of {}", PHASES.join(", "));
        return Err(Invalid::at("?phase", text).into());
    }
    let items = request.app.daemon().read(move |v| {
        let plans = v.engine.plan_views().into_iter().map(Plan::from);
        let plans = plans.filter(|p| phase.as_deref().is_none_or(|w| p.status.name() == w));
        plans.collect::<Vec<_>>()
    });
    Ok(respond::list(&Page {
        items: items.await?,
        next_cursor: None,
    }))
}

pub(crate) async fn plan(request: Request) -> Result<Response, Problem> {
    let text = request.param("id");
    let missing = || Problem::not_found(format!("plan {text}; the journal has older ones"));
    let id: u64 = text.parse().map_err(|_| missing())?;
    let found = request.app.daemon().read(move |v| {
        let plans = v.engine.plan_views();
        plans.into_iter().find(|p| p.id == id).map(Plan::from)
    });
    Ok(respond::json(&found.await?.ok_or_else(missing)?))
}

// === Gangs ===

pub(crate) async fn gangs(request: Request) -> Result<Response, Problem> {
    let after = request.query.get("cursor").cloned();
    let limit = request.limit()?;
    let found = request.app.daemon().read(move |v| {
        let jobs = v.engine.jobs().filter(|j| j.spec.gang.is_some());
        let ids = jobs.map(|j| (j.spec.id.clone(), j.spec.id.clone()));
        // Views only of those that are shown.
        let (ids, next_cursor) = work::page(ids, after.as_deref(), limit);
        let items = ids.iter().filter_map(|id| why::gang(v.engine, id));
        Page {
            items: items.collect(),
            next_cursor,
        }
    });
    Ok(respond::list(&found.await?))
}

pub(crate) async fn gang(request: Request) -> Result<Response, Problem> {
    let id = request.param("id");
    let wanted = id.clone();
    let found = request.app.daemon();
    let found = found.read(move |v| why::gang(v.engine, &wanted)).await?;
    let found = found.ok_or_else(|| {
        let text = format!("gang {id:?}; a job is one when it has roles");
        Problem::not_found(text)
    })?;
    Ok(respond::json(&found))
}

// === Pods that leave ===

async fn about(request: Request, event: fn(String) -> Event) -> Result<Response, Problem> {
    let name = request.param("name");
    let shown = name.clone();
    let action = Action::Events(vec![event(name)]);
    let submission = Submission::new(action, move |v, _| {
        Reply::json(200, &work::pod(v.engine, &shown))
    });
    respond::perform(&request, submission).await
}

pub(crate) async fn evict(request: Request) -> Result<Response, Problem> {
    about(request, |name| Event::PodEvict { name }).await
}

pub(crate) async fn evicted(request: Request) -> Result<Response, Problem> {
    about(request, |name| Event::PodEvicted { name }).await
}

pub(crate) async fn checkpointed(request: Request) -> Result<Response, Problem> {
    about(request, |name| Event::PodCheckpointed { name }).await
}
