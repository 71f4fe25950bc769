//! What the page at `/` reads: the map in one request, then its changes.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;

use super::request::Request;
use super::respond;
use crate::wire::Problem;

pub(crate) async fn map(request: Request) -> Result<Response, Problem> {
    Ok(respond::list(&request.app.0.feed.map().await?))
}

pub(crate) async fn timeline(request: Request) -> Result<Response, Problem> {
    Ok(respond::list(&request.app.0.feed.timeline()))
}

pub(crate) async fn changes(request: Request) -> Result<Response, Problem> {
    // Without a cursor the first event says that the map has to be read.
    let after = request.number("after")?.unwrap_or(u64::MAX - 1);
    let watcher = request.app.0.feed.watch(after);
    let stream = stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.next().await?;
        Some((Ok::<_, Infallible>(frame), watcher))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
