//! Whom a browser may speak for. There are no logins yet, so a page of any site
//! could otherwise change a host on the reader's own machine.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderName, Method, Request as HttpRequest};

use crate::wire::{Problem, ProblemKind};

/// Refuses changes for another site's page, and, unless the host is public, any
/// request under a name that is not this machine's (DNS rebinding).
pub(crate) fn check<B>(request: &HttpRequest<B>, named: bool) -> Result<(), Problem> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    let host = header(HOST).unwrap_or_default();
    if !named && !host.is_empty() && !is_this_machine(host) {
        let text = format!("this host answers to 127.0.0.1 and localhost, not to {host:?}");
        return Err(Problem::new(ProblemKind::ForeignOrigin, text));
    }
    let reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    match header(ORIGIN) {
        Some(origin) if !reads && origin.split_once("://").map(|(_, at)| at) != Some(host) => {
            let text = format!("a page of {origin:?} may not change this host");
            Err(Problem::new(ProblemKind::ForeignOrigin, text))
        }
        _ => Ok(()),
    }
}

/// An address, or the name every machine has for itself.
fn is_this_machine(host: &str) -> bool {
    if host.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if bare.unwrap_or(host).parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, headers: &[(&str, &str)], named: bool) -> Option<u16> {
        let mut request = HttpRequest::builder().method(method).uri("/api/v1/nodes");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        check(&request, named).err().map(|p| p.status)
    }

    #[test]
    fn only_the_hosts_own_page_changes_it() {
        let at = ("host", "127.0.0.1:7070");
        assert_eq!(status("POST", &[at], false), None, "no browser");
        assert_eq!(
            status("POST", &[at, ("origin", "http://127.0.0.1:7070")], false),
            None
        );
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:8080"] {
            assert_eq!(status("POST", &[at, ("origin", foreign)], false), Some(403));
            assert_eq!(status("GET", &[at, ("origin", foreign)], false), None);
        }
    }

    #[test]
    fn a_rebound_name_reads_nothing_either() {
        for (host, allowed) in [
            ("localhost:7070", true),
            ("[::1]:7070", true),
            ("[::1]", true),
            ("127.0.0.1", true),
            ("evil.example:7070", false),
            ("localhost.evil.example", false),
        ] {
            let found = status("GET", &[("host", host)], false);
            assert_eq!(found, (!allowed).then_some(403), "{host}");
            assert_eq!(status("GET", &[("host", host)], true), None);
        }
    }
}
