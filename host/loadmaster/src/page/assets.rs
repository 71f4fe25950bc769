//! Files of the page, embedded, with the headers that keep it to itself.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

use crate::replay::digest::sha256;

/// Nothing from elsewhere, nothing inline, not inside somebody else's page.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal $content_type:literal;)*) => {
        /// Every file.
        pub(super) const ASSETS: &[Asset] = &[$(Asset {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("assets/", $name)),
        },)*];
    };
}

assets! {
    "index.html" "text/html; charset=utf-8";
    "style.css" "text/css; charset=utf-8";
    "icon.svg" "image/svg+xml";
    "main.js" "text/javascript; charset=utf-8";
    "live.js" "text/javascript; charset=utf-8";
    "cluster.js" "text/javascript; charset=utf-8";
    "layout.js" "text/javascript; charset=utf-8";
    "pixels.js" "text/javascript; charset=utf-8";
    "map.js" "text/javascript; charset=utf-8";
    "timeline.js" "text/javascript; charset=utf-8";
    "panel.js" "text/javascript; charset=utf-8";
    "why.js" "text/javascript; charset=utf-8";
    "format.js" "text/javascript; charset=utf-8";
}

/// `/` and `/assets/*`.
pub fn router() -> Router {
    let mut router = Router::new();
    for asset in ASSETS {
        let tag = format!("\"{}\"", sha256(asset.bytes));
        let path = match asset.name {
            "index.html" => "/".to_owned(),
            name => format!("/assets/{name}"),
        };
        let handler = move |headers: HeaderMap| {
            let response = serve(asset, &tag, &headers);
            async move { response }
        };
        router = router.route(&path, get(handler));
    }
    router
}

fn serve(asset: &Asset, tag: &str, request: &HeaderMap) -> Response {
    let known = request.get(header::IF_NONE_MATCH);
    let same = known.is_some_and(|v| {
        v.to_str()
            .is_ok_and(|v| v.split(',').any(|t| t.trim() == tag))
    });
    let mut response = Response::new(if same {
        Body::empty()
    } else {
        Body::from(asset.bytes)
    });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, asset.content_type);
    set(header::ETAG, tag);
    // Asked for each time and mostly answered by 304: after an upgrade of the
    // host no page is made of files of two versions.
    set(header::CACHE_CONTROL, "no-cache");
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    response
}
