//! Answers.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use super::request::{Request, etag};
use crate::daemon::{Reply, Submission};
use crate::wire::{self, Problem};

fn build(status: u16, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A text of this type.
pub(crate) fn text(status: u16, content_type: &'static str, body: String) -> Response {
    build(status, content_type, body)
}

/// An object; its ETag is a hash of what is shown unless it has its own.
pub(crate) fn json<T: Serialize>(object: &T) -> Response {
    let mut response = build(200, "application/json", wire::to_json(object));
    set(&mut response, header::ETAG, &etag(object));
    response
}

/// An object with its own revision.
pub(crate) fn tagged<T: Serialize>(object: &T, tag: &str) -> Response {
    let mut response = build(200, "application/json", wire::to_json(object));
    set(&mut response, header::ETAG, tag);
    response
}

/// A list or anything else without a revision.
pub(crate) fn list<T: Serialize>(object: &T) -> Response {
    build(200, "application/json", wire::to_json(object))
}

/// What the core thread answered.
pub(crate) fn reply(reply: Reply) -> Response {
    let mut response = if reply.body.is_empty() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
        response
    } else {
        build(reply.status, "application/json", reply.body)
    };
    if let Some(location) = &reply.location {
        set(&mut response, header::LOCATION, location);
    }
    if let Some(tag) = &reply.etag {
        set(&mut response, header::ETAG, tag);
    }
    if reply.replayed {
        let name = header::HeaderName::from_static("idempotent-replayed");
        set(&mut response, name, "true");
    }
    response
}

/// Does it on the core thread and answers.
pub(crate) async fn perform(
    request: &Request,
    submission: Submission,
) -> Result<Response, Problem> {
    let submission = match request.method {
        "POST" => request.once(submission)?,
        _ => submission,
    };
    let (answer, _) = request.app.daemon().perform(submission).await?;
    Ok(reply(answer))
}

/// A problem.
pub(crate) fn problem(problem: &Problem) -> Response {
    let body = wire::to_json(problem);
    let mut response = build(problem.status, "application/problem+json", body);
    if let Some(tag) = &problem.etag {
        set(&mut response, header::ETAG, tag);
    }
    if let Some(seconds) = problem.retry_after_s {
        set(&mut response, header::RETRY_AFTER, &seconds.to_string());
    }
    if let Some(allow) = &problem.allow {
        set(&mut response, header::ALLOW, allow);
    }
    response
}
