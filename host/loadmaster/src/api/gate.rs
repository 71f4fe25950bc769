//! A request's way in: limits first, then the handler, and whatever goes wrong
//! becomes a problem.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, RawPathParams, Request as HttpRequest};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::any;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::request::Request;
use super::table::{Body as Takes, Class, Route};
use super::{App, origin, respond, table};
use crate::wire::{Problem, ProblemKind};

/// Reads at once.
const READS: usize = 256;
/// Changes at once; further ones wait in nobody's memory but the caller's.
const WRITES: usize = 128;
/// Uploads at once: each may compile for seconds.
const UPLOADS: usize = 2;
/// Watchers at once.
const WATCHERS: usize = 64;

/// Time of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time of an upload or activation, which compiles.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Counting places of the classes of requests.
pub(crate) struct Gate {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    requests: AtomicU64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            reads: Arc::new(Semaphore::new(READS)),
            writes: Arc::new(Semaphore::new(WRITES)),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            requests: AtomicU64::new(1),
        }
    }
}

impl Gate {
    /// A place, or 429. Health is always let in.
    fn enter(&self, class: Class) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let places = match class {
            Class::Health => return Ok(None),
            Class::Read => &self.reads,
            Class::Write => &self.writes,
            Class::Upload => &self.uploads,
            Class::Watch => &self.watchers,
        };
        let place = Arc::clone(places).try_acquire_owned();
        place.map(Some).map_err(|_| {
            let text = "as many requests of this class are being served as the host serves at once";
            Problem::new(ProblemKind::TooManyRequests, text)
        })
    }
}

/// One entry a path; its methods are chosen here, so that 405 can name them.
pub(crate) fn router(app: App) -> Router {
    let mut paths: BTreeMap<&'static str, Vec<Route>> = BTreeMap::new();
    for route in table::routes() {
        paths.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in paths {
        let (app, routes) = (app.clone(), Arc::new(routes));
        router = router.route(
            path,
            any(move |params: RawPathParams, request: HttpRequest| {
                let (app, routes) = (app.clone(), Arc::clone(&routes));
                async move {
                    let params = params.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
                    serve(app, &routes, params.collect(), request).await
                }
            }),
        );
    }
    let gone = app;
    router.fallback(any(move |request: HttpRequest| {
        let app = gone.clone();
        async move { serve(app, &[], BTreeMap::new(), request).await }
    }))
}

/// Most that is taken in of a refused body before the connection is closed.
const DRAINED_BYTES_MAX: usize = 16 << 20;

async fn serve(
    app: App,
    routes: &[Route],
    params: BTreeMap<String, String>,
    request: HttpRequest,
) -> Response {
    let id = format!(
        "req-{:08x}",
        app.0.gate.requests.fetch_add(1, Ordering::Relaxed)
    );
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let answer = AssertUnwindSafe(enter(app, routes, params, request))
        .catch_unwind()
        .await;
    let answer = answer.unwrap_or_else(|_| {
        tracing::error!(request = id, %method, path, "a handler panicked");
        Err(Problem::new(
            ProblemKind::Internal,
            "the handler of this request failed",
        ))
    });
    let mut response = match answer {
        Ok(response) => response,
        Err(mut problem) => {
            tracing::debug!(request = id, %method, path, reason = problem.reason, "refused");
            problem.instance = Some(path);
            problem.trace_id = Some(id.clone());
            respond::problem(&problem)
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

async fn enter(
    app: App,
    routes: &[Route],
    params: BTreeMap<String, String>,
    request: HttpRequest,
) -> Result<Response, Problem> {
    if routes.is_empty() {
        let text = format!("there is nothing at {}", request.uri().path());
        return Err(Problem::new(ProblemKind::NoRoute, text));
    }
    origin::check(&request, app.0.named.load(Ordering::Relaxed))?;
    let wanted = match request.method().as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let Some(route) = routes.iter().find(|r| r.method == wanted) else {
        let allow: Vec<&str> = routes.iter().map(|r| r.method).collect();
        let text = format!("{} has {}", request.uri().path(), allow.join(", "));
        let problem = Problem::new(ProblemKind::MethodNotAllowed, text);
        return Err(problem.with(|p| {
            p.allow = Some(allow.join(", "));
        }));
    };
    let place = app.0.gate.enter(route.class)?;
    let time = match route.class {
        Class::Upload => UPLOAD_TIMEOUT,
        _ => TIMEOUT,
    };
    let work = async {
        let head = request.method() == axum::http::Method::HEAD;
        let request = read(app, route, params, request).await?;
        let response = (route.handler)(request).await?;
        Ok(if head {
            response.map(|_| Body::empty())
        } else {
            response
        })
    };
    let timed = tokio::time::timeout(time, work).await;
    let response = timed.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", time.as_secs());
        Err(Problem::new(ProblemKind::Timeout, text))
    })?;
    Ok(match route.class {
        // The place is held for as long as somebody watches.
        Class::Watch => response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held = &place;
                frame
            }))
        }),
        _ => response,
    })
}

/// Takes in some more of a body that is refused: a connection closed on unread
/// bytes is reset, and the client would never see why.
async fn drain(body: &mut Body) {
    let mut left = DRAINED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

async fn read(
    app: App,
    route: &Route,
    params: BTreeMap<String, String>,
    request: HttpRequest,
) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let query = Query::<BTreeMap<String, String>>::try_from_uri(&parts.uri)
        .map_err(|e| Problem::new(ProblemKind::InvalidRequest, e.body_text()))?
        .0;
    if let Some(unknown) = query
        .keys()
        .find(|k| !route.query.iter().any(|(name, _)| name == k))
    {
        let known: Vec<&str> = route.query.iter().map(|(name, _)| *name).collect();
        let text = match known.as_slice() {
            [] => format!("?{unknown}: this path has no parameters"),
            _ => format!(
                "?{unknown} is not a parameter of this path; it has {}",
                known.join(", ")
            ),
        };
        return Err(Problem::new(ProblemKind::InvalidRequest, text));
    }
    let body = match route.body {
        Takes::None => bytes::Bytes::new(),
        Takes::Json(..) | Takes::MaybeJson(_) | Takes::Wasm => {
            let mut body = body;
            let read = Limited::new(&mut body, route.body_bytes).collect().await;
            if read.as_ref().is_err_and(|e| e.is::<LengthLimitError>()) {
                drain(&mut body).await;
            }
            let body = read.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    let kind = match route.body {
                        Takes::Wasm => ProblemKind::PolicyTooLarge,
                        _ => ProblemKind::BodyTooLarge,
                    };
                    let text = format!("the body has more than {} bytes", route.body_bytes);
                    Problem::new(kind, text)
                } else {
                    let text = format!("the body could not be read: {error}");
                    Problem::new(ProblemKind::MalformedJson, text).because("BodyNotRead")
                }
            })?;
            body.to_bytes()
        }
    };
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let essence =
        content_type.map(|t| t.split(';').next().unwrap_or(t).trim().to_ascii_lowercase());
    let (fits, wanted) = match (route.body, essence.as_deref()) {
        (Takes::None, _) => (true, ""),
        (Takes::MaybeJson(_), _) if body.is_empty() => (true, ""),
        (Takes::Json(..) | Takes::MaybeJson(_), Some(t)) => (
            t == "application/json" || t.ends_with("+json"),
            "application/json",
        ),
        (Takes::Json(..) | Takes::MaybeJson(_), None) => (false, "application/json"),
        (Takes::Wasm, Some(t)) => (
            t == "application/wasm" || t == "application/octet-stream",
            "application/wasm",
        ),
        (Takes::Wasm, None) => (false, "application/wasm"),
    };
    if !fits {
        let got = content_type.unwrap_or("nothing");
        let text = format!("Content-Type is {got}, expected {wanted}");
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, text));
    }
    Ok(Request {
        app,
        method: route.method,
        path: parts.uri.path().to_owned(),
        params,
        query,
        headers: parts.headers,
        body,
    })
}
