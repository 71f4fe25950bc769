//! Catalogues: what is known of applications and images.

use axum::response::Response;
use engine::Engine;
use model::Event;

use super::nodes::many;
use super::request::Request;
use super::respond;
use crate::daemon::{Action, Reply, Submission};
use crate::wire::quota::Entry;
use crate::wire::view::{Applied, Page};
use crate::wire::{Invalid, Problem};

/// Catalogues by name.
const CATALOGS: [&str; 2] = ["app", "image"];

fn key(entry: &Entry) -> (&'static str, &str) {
    match entry {
        Entry::App { name, .. } => ("app", name),
        Entry::Image { name, .. } => ("image", name),
    }
}

fn find(engine: &Engine, catalog: &str, name: &str) -> Option<Entry> {
    let mut entries = engine.catalog_entries();
    entries.find(|e| e.key() == (catalog, name)).map(Into::into)
}

fn unknown(catalog: &str, name: &str) -> Problem {
    Problem::not_found(format!("{catalog} {name:?} in the catalogue"))
}

pub(crate) async fn list(request: Request) -> Result<Response, Problem> {
    let wanted = request.query.get("catalog").cloned();
    if let Some(other) = wanted.as_ref().filter(|w| !CATALOGS.contains(&w.as_str())) {
        let text = format!("{other:?} is neither app nor image");
        return Err(Invalid::at("?catalog", text).into());
    }
    let limit = request.limit()?;
    let after = request.query.get("cursor").cloned();
    let page = request.app.daemon().read(move |v| {
        // In order of catalogue and name, which is what the cursor speaks of.
        let at = |e: &Entry| {
            let (catalog, name) = key(e);
            format!("{catalog}/{name}")
        };
        let entries = v.engine.catalog_entries();
        let entries = entries.filter(|e| wanted.as_deref().is_none_or(|w| e.key().0 == w));
        let entries = entries.map(Entry::from);
        let rest = entries.filter(|e| after.as_ref().is_none_or(|a| at(e) > *a));
        let mut items: Vec<Entry> = rest.take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(at);
        Page { items, next_cursor }
    });
    Ok(respond::list(&page.await?))
}

pub(crate) async fn get(request: Request) -> Result<Response, Problem> {
    let (catalog, name) = (request.param("catalog"), request.param("name"));
    let wanted = (catalog.clone(), name.clone());
    let found = request.app.daemon();
    let found = found.read(move |v| find(v.engine, &wanted.0, &wanted.1));
    let found = found.await?.ok_or_else(|| unknown(&catalog, &name))?;
    Ok(respond::json(&found))
}

/// One entry or a list of them; what is there is replaced.
pub(crate) async fn put(request: Request) -> Result<Response, Problem> {
    let (entries, listed) = many::<Entry>(&request)?;
    let mut seen = std::collections::BTreeSet::new();
    for (i, entry) in entries.iter().enumerate() {
        let (catalog, name) = key(entry);
        if !seen.insert((catalog, name)) {
            let error = Invalid::at("/name", format!("{name:?} is in the list twice"));
            return Err(if listed { error.under(i) } else { error }.into());
        }
    }
    let applied = entries.len() as u32;
    let events = entries.into_iter().map(|e| Event::CatalogPut(e.into()));
    let submission = Submission::new(Action::Events(events.collect()), move |_, _| {
        Reply::json(200, &Applied { applied })
    });
    respond::perform(&request, submission).await
}

pub(crate) async fn delete(request: Request) -> Result<Response, Problem> {
    let (catalog, name) = (request.param("catalog"), request.param("name"));
    let looked = (catalog.clone(), name.clone());
    let action = Action::Events(vec![Event::CatalogRemove { catalog, name }]);
    let submission = Submission::new(action, |_, _| Reply::empty(204)).only_if(move |v| {
        let (catalog, name) = &looked;
        let found = find(v.engine, catalog, name);
        found.map(drop).ok_or_else(|| unknown(catalog, name))
    });
    respond::perform(&request, submission).await
}
