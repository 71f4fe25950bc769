//! The live stream, as server-sent events.
//!
//! `id:` is `<boot>-<number>`; a client that comes back with it as
//! Last-Event-ID goes on where it was. When that is not kept any more, or the
//! client is too slow, `event: resync` says: read the state again.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use super::request::Request;
use crate::daemon::live::{Next, Subscription};
use crate::wire::Problem;

/// Silence after which a comment shows that the stream lives: proxies close
/// what is silent for 30 s.
const PING: Duration = Duration::from_secs(15);

fn position(text: &str) -> Option<(u64, u64)> {
    let (boot, number) = text.split_once('-')?;
    Some((boot.parse().ok()?, number.parse().ok()?))
}

pub(crate) async fn stream(request: Request) -> Result<Response, Problem> {
    // An id that cannot be read is one that is not kept.
    let after = request
        .header("last-event-id")
        .map(|id| position(id).unwrap_or((0, 0)));
    let subscription = request.app.daemon().subscribe(after);
    let greeting = Some(Bytes::from_static(b"retry: 2000\n\n"));
    let stream = stream::unfold(
        (greeting, subscription),
        |(greeting, mut events)| async move {
            let bytes = match greeting {
                Some(bytes) => bytes,
                None => next(&mut events).await?,
            };
            Some((Ok::<_, Infallible>(bytes), (None, events)))
        },
    );
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn next(events: &mut Subscription) -> Option<Bytes> {
    let text = match tokio::time::timeout(PING, events.next()).await {
        Err(_) => ": ping\n\n".to_owned(),
        Ok(Next::End) => return None,
        Ok(Next::Resync) => "event: resync\ndata: {}\n\n".to_owned(),
        Ok(Next::Event(event)) => {
            let data = serde_json::to_string(&*event).ok()?;
            let (boot, number) = (events.boot, event.number);
            format!(
                "id: {boot}-{number}\nevent: {}\ndata: {data}\n\n",
                event.change.name()
            )
        }
    };
    Some(Bytes::from(text))
}
