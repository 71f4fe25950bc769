//! Objects that people describe and name: quotas, queues, budgets. They are all
//! put, read and removed in the same way.

use axum::response::Response;
use engine::Engine;
use model::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::request::{Request, etag, segment};
use super::respond;
use crate::daemon::{Action, Reply, Submission};
use crate::wire::quota::{Budget, Queue, Quota};
use crate::wire::usage::{BudgetView, QueueView, QuotaView};
use crate::wire::view::Page;
use crate::wire::{Invalid, Problem};

/// Jobs shown with each queue of a list; a queue alone shows all it may.
const WAITING_LISTED: usize = 3;

/// Jobs shown with one queue.
const WAITING_SHOWN: usize = 1_000;

/// A description with a name.
pub(crate) trait Named:
    Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static
{
    /// It as it is now.
    type View: Serialize + Send + 'static;
    /// In sentences.
    const WHAT: &'static str;
    /// Its collection.
    const PATH: &'static str;

    fn name(&mut self) -> &mut String;
    fn put(self) -> Event;
    fn remove(name: String) -> Event;
    fn views(engine: &Engine) -> Vec<Self::View>;
    fn view(engine: &Engine, name: &str) -> Option<Self::View>;
    fn spec(view: &Self::View) -> &Self;
    fn tag(view: &Self::View) -> &str;

    fn unknown(name: &str) -> Problem {
        Problem::not_found(format!("{} {name:?}", Self::WHAT))
    }
}

impl Named for Quota {
    type View = QuotaView;
    const WHAT: &'static str = "quota";
    const PATH: &'static str = "/api/v1/quotas";

    fn name(&mut self) -> &mut String {
        &mut self.name
    }

    fn put(self) -> Event {
        Event::QuotaPut(self.into())
    }

    fn remove(name: String) -> Event {
        Event::QuotaRemove { name }
    }

    /// As a tree reads: every node under its parent.
    fn views(engine: &Engine) -> Vec<QuotaView> {
        let all = engine.quota_views();
        let mut order: Vec<(Vec<&str>, usize)> = (0..all.len())
            .map(|at| {
                let mut path = vec![all[at].spec.name.as_str()];
                let mut parent = all[at].spec.parent.as_deref();
                while let Some(name) = parent
                    && path.len() <= model::quota::QUOTA_DEPTH_MAX
                {
                    path.push(name);
                    let next = all.iter().find(|q| q.spec.name == name);
                    parent = next.and_then(|q| q.spec.parent.as_deref());
                }
                path.reverse();
                (path, at)
            })
            .collect();
        order.sort();
        let views = order.iter();
        let views = views.map(|(path, at)| QuotaView::new(&all[*at], etag, path.len() as u32 - 1));
        views.collect()
    }

    fn view(engine: &Engine, name: &str) -> Option<QuotaView> {
        Self::views(engine).into_iter().find(|q| q.name == name)
    }

    fn spec(view: &QuotaView) -> &Self {
        &view.spec
    }

    fn tag(view: &QuotaView) -> &str {
        &view.etag
    }
}

impl Named for Queue {
    type View = QueueView;
    const WHAT: &'static str = "queue";
    const PATH: &'static str = "/api/v1/queues";

    fn name(&mut self) -> &mut String {
        &mut self.name
    }

    fn put(self) -> Event {
        Event::QueuePut(self.into())
    }

    fn remove(name: String) -> Event {
        Event::QueueRemove { name }
    }

    fn views(engine: &Engine) -> Vec<QueueView> {
        let views = engine.queue_views();
        let views = views.iter();
        views
            .map(|q| QueueView::new(q, etag, WAITING_LISTED))
            .collect()
    }

    fn view(engine: &Engine, name: &str) -> Option<QueueView> {
        let views = engine.queue_views();
        let found = views.iter().find(|q| q.spec.name == name);
        found.map(|q| QueueView::new(q, etag, WAITING_SHOWN))
    }

    fn spec(view: &QueueView) -> &Self {
        &view.spec
    }

    fn tag(view: &QueueView) -> &str {
        &view.etag
    }
}

impl Named for Budget {
    type View = BudgetView;
    const WHAT: &'static str = "disruption budget";
    const PATH: &'static str = "/api/v1/budgets";

    fn name(&mut self) -> &mut String {
        &mut self.name
    }

    fn put(self) -> Event {
        Event::BudgetPut(self.into())
    }

    fn remove(name: String) -> Event {
        Event::BudgetRemove { name }
    }

    fn views(engine: &Engine) -> Vec<BudgetView> {
        let views = engine.budget_views();
        views.map(|b| BudgetView::new(&b, etag)).collect()
    }

    fn view(engine: &Engine, name: &str) -> Option<BudgetView> {
        Self::views(engine).into_iter().find(|b| b.name == name)
    }

    fn spec(view: &BudgetView) -> &Self {
        &view.spec
    }

    fn tag(view: &BudgetView) -> &str {
        &view.etag
    }
}

pub(crate) async fn list<T: Named>(request: Request) -> Result<Response, Problem> {
    let items = request.app.daemon().read(|v| T::views(v.engine)).await?;
    Ok(respond::list(&Page {
        items,
        next_cursor: None,
    }))
}

pub(crate) async fn get<T: Named>(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let wanted = name.clone();
    let found = request
        .app
        .daemon()
        .read(move |v| T::view(v.engine, &wanted));
    let found = found.await?.ok_or_else(|| T::unknown(&name))?;
    Ok(respond::tagged(&found, T::tag(&found)))
}

pub(crate) async fn put<T: Named>(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let mut spec: T = request.json()?;
    if spec.name().is_empty() {
        spec.name().clone_from(&name);
    } else if *spec.name() != name {
        let text = format!("is {:?}, but the URL names {name:?}", spec.name());
        return Err(Invalid::at("/name", text).into());
    }
    let conditions = request.conditions();
    let before = name.clone();
    let existed = request.app.daemon();
    let existed = existed
        .read(move |v| T::view(v.engine, &before).is_some())
        .await?;
    let (looked, wanted) = (name.clone(), spec.clone());
    let action = Action::Events(vec![spec.put()]);
    let submission = Submission::new(action, move |v, _| {
        let view = T::view(v.engine, &name);
        let tag = view.as_ref().map(|v| T::tag(v).to_owned());
        let place = format!("{}/{}", T::PATH, segment(&name));
        let status = if existed { 200 } else { 201 };
        let reply = Reply::json(status, &view).at(place);
        reply.with_etag(tag.unwrap_or_default())
    })
    .only_if(move |v| {
        let current = T::view(v.engine, &looked);
        let same = current.as_ref().is_some_and(|c| *T::spec(c) == wanted);
        conditions.put(current.as_ref().map(|c| (c, T::tag(c))), same)
    });
    respond::perform(&request, submission).await
}

pub(crate) async fn delete<T: Named>(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let conditions = request.conditions();
    let looked = name.clone();
    let action = Action::Events(vec![T::remove(name)]);
    let submission = Submission::new(action, |_, _| Reply::empty(204)).only_if(move |v| {
        let current = T::view(v.engine, &looked).ok_or_else(|| T::unknown(&looked))?;
        conditions.delete(&current, T::tag(&current))
    });
    respond::perform(&request, submission).await
}

// === Queues ===

pub(crate) async fn suspend(request: Request) -> Result<Response, Problem> {
    set_suspended(request, true).await
}

pub(crate) async fn resume(request: Request) -> Result<Response, Problem> {
    set_suspended(request, false).await
}

async fn set_suspended(request: Request, suspended: bool) -> Result<Response, Problem> {
    let name = request.param("name");
    let wanted = name.clone();
    let found = request.app.daemon();
    let found = found.read(move |v| Queue::view(v.engine, &wanted)).await?;
    let found = found.ok_or_else(|| Queue::unknown(&name))?;
    let tag = found.etag;
    let spec = Queue {
        suspended,
        ..found.spec
    };
    let looked = name.clone();
    let action = Action::Events(vec![spec.put()]);
    let submission = Submission::new(action, move |v, _| {
        let view = Queue::view(v.engine, &name);
        let tag = view.as_ref().map(|v| v.etag.clone());
        Reply::json(200, &view).with_etag(tag.unwrap_or_default())
    })
    .only_if(move |v| match Queue::view(v.engine, &looked) {
        None => Err(Queue::unknown(&looked)),
        Some(now) if now.etag == tag => Ok(()),
        Some(now) => Err(super::request::stale(
            "the queue was changed in the same moment; try again",
            &now,
            &now.etag,
        )),
    });
    respond::perform(&request, submission).await
}
