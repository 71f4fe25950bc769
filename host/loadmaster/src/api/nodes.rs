//! Nodes.

use axum::response::Response;
use engine::Engine;
use engine::view::NodeView as EngineView;
use model::{Event, NodeSpec};

use super::request::{Request, etag, segment};
use super::respond;
use crate::daemon::{Action, Reply, Submission};
use crate::wire::node::Node;
use crate::wire::view::{Applied, NodeView, Page};
use crate::wire::{Invalid, Problem, ProblemKind};

fn view(node: &EngineView<'_>) -> NodeView {
    let spec = Node::from(node.spec);
    NodeView {
        name: spec.name.clone(),
        etag: etag(&spec),
        spec,
        row: node.row,
        free: node.free.into(),
        gpu_milli_free: node.gpu_milli_free.to_vec(),
        failed: node.failed,
        pods: node.pods.iter().map(ToString::to_string).collect(),
    }
}

fn shown(engine: &Engine, name: &str) -> Option<NodeView> {
    engine.node(name).as_ref().map(view)
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("node {name:?}"))
}

pub(crate) async fn list(request: Request) -> Result<Response, Problem> {
    let after = request.number("cursor")?;
    let limit = request.limit()?;
    let page = request.app.daemon().read(move |v| {
        let rest = v
            .engine
            .nodes()
            .filter(|n| after.is_none_or(|a| u64::from(n.row) > a));
        let mut items: Vec<NodeView> = rest.take(limit + 1).map(|n| view(&n)).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|n| n.row.to_string());
        Page { items, next_cursor }
    });
    Ok(respond::list(&page.await?))
}

pub(crate) async fn get(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let wanted = name.clone();
    let found = request
        .app
        .daemon()
        .read(move |v| shown(v.engine, &wanted))
        .await?;
    let found = found.ok_or_else(|| unknown(&name))?;
    Ok(respond::tagged(&found, &found.etag))
}

pub(crate) async fn put(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let mut node: Node = request.json()?;
    if node.name.is_empty() {
        node.name.clone_from(&name);
    } else if node.name != name {
        let text = format!("is {:?}, but the URL names {name:?}", node.name);
        return Err(Invalid::at("/name", text).into());
    }
    node.check_size()?;
    let spec: NodeSpec = node.try_into()?;
    let conditions = request.conditions();
    let wanted = spec.clone();
    let before = name.clone();
    let existed = request
        .app
        .daemon()
        .read(move |v| v.engine.node(&before).is_some())
        .await?;
    let status = if existed { 200 } else { 201 };
    let action = Action::Events(vec![Event::NodePut(Box::new(spec))]);
    let looked = name.clone();
    let submission = Submission::new(action, move |v, _| {
        let node = shown(v.engine, &name);
        let tag = node.as_ref().map(|n| n.etag.clone()).unwrap_or_default();
        let place = format!("/api/v1/nodes/{}", segment(&name));
        Reply::json(status, &node).with_etag(tag).at(place)
    })
    .only_if(move |v| {
        let current = shown(v.engine, &looked);
        let same = v.engine.node(&looked).is_some_and(|n| *n.spec == wanted);
        conditions.put(current.as_ref().map(|n| (n, n.etag.as_str())), same)
    });
    respond::perform(&request, submission).await
}

pub(crate) async fn delete(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let conditions = request.conditions();
    let looked = name.clone();
    let action = Action::Events(vec![Event::NodeRemove { name }]);
    let submission = Submission::new(action, |_, _| Reply::empty(204)).only_if(move |v| {
        let current = shown(v.engine, &looked).ok_or_else(|| unknown(&looked))?;
        if v.engine.hold() && !current.pods.is_empty() {
            let text = format!(
                "the host is on hold, and {} pods run there",
                current.pods.len()
            );
            return Err(Problem::new(ProblemKind::Held, text));
        }
        conditions.delete(&current, &current.etag)
    });
    respond::perform(&request, submission).await
}

/// One object or a list of them.
pub(crate) fn many<T: serde::de::DeserializeOwned>(
    request: &Request,
) -> Result<(Vec<T>, bool), Problem> {
    let first = request.body.iter().find(|b| !b.is_ascii_whitespace());
    match first {
        Some(b'[') => Ok((request.json()?, true)),
        _ => Ok((vec![request.json()?], false)),
    }
}

pub(crate) async fn batch(request: Request) -> Result<Response, Problem> {
    let (nodes, listed) = many::<Node>(&request)?;
    let mut names = std::collections::BTreeSet::new();
    let mut events = Vec::with_capacity(nodes.len());
    for (i, node) in nodes.into_iter().enumerate() {
        let under = |e: Invalid| if listed { e.under(i) } else { e };
        node.check_size().map_err(under)?;
        let spec = NodeSpec::try_from(node).map_err(under)?;
        if !names.insert(spec.name.clone()) {
            let text = format!("{:?} is in the batch twice", spec.name);
            return Err(under(Invalid::at("/name", text)).into());
        }
        events.push(Event::NodePut(Box::new(spec)));
    }
    let applied = events.len() as u32;
    let submission = Submission::new(Action::Events(events), move |_, _| {
        Reply::json(200, &Applied { applied })
    });
    respond::perform(&request, submission).await
}
