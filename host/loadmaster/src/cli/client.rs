//! HTTP to a host, and its refusals as failures.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Body;
use ureq::http::{Request, Response};

use super::failure::{Exit, Failure};
use crate::wire::Problem;

/// Where a host listens when nobody said otherwise.
pub const SERVER: &str = "http://127.0.0.1:7070";

/// A change that compiles a policy may take its 30 s of compile time.
const ANSWER: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes of an answer: the largest is a page of a thousand nodes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Objects asked for at once.
const PAGE: usize = 1_000;

/// A host.
#[derive(Debug)]
pub struct Client {
    server: String,
    agent: ureq::Agent,
}

/// An answer with its revision.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The object; null when there is none.
    pub value: Value,
    /// ETag.
    pub etag: Option<String>,
}

impl Client {
    /// For the address that was given.
    ///
    /// # Errors
    /// It is not an http URL.
    pub fn new(server: &str) -> Result<Self, Failure> {
        let server = server.trim_end_matches('/');
        let server = if server.contains("://") {
            server.to_owned()
        } else {
            format!("http://{server}")
        };
        if !server.starts_with("http://") {
            return Err(Failure::new(
                Exit::Usage,
                format!("{server} is not an http:// address"),
            )
            .hint("this version speaks plain HTTP to a host on the same machine or through a tunnel"));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .build();
        Ok(Self {
            server,
            agent: config.into(),
        })
    }

    /// `GET`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send("GET", path, &[], None)
    }

    /// The objects of a list that has no pages.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn items(&self, path: &str) -> Result<Vec<Value>, Failure> {
        match self.get(path)?.value["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Every page of a list, or its first `most` objects.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn list(&self, path: &str, most: Option<usize>) -> Result<Vec<Value>, Failure> {
        let most = most.unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let limit = PAGE.min(most - items.len()).max(1);
            let join = if path.contains('?') { '&' } else { '?' };
            let mut url = format!("{path}{join}limit={limit}");
            if let Some(cursor) = &cursor {
                url += &format!("&cursor={}", segment(cursor));
            }
            let mut page = self.get(&url)?.value;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || items.len() >= most {
                items.truncate(most);
                return Ok(items);
            }
        }
    }

    /// A change with a JSON body.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn change<T: Serialize>(
        &self,
        method: &str,
        path: &str,
        if_match: Option<&str>,
        body: Option<&T>,
    ) -> Result<Answer, Failure> {
        let body = match body {
            Some(body) => Some(serde_json::to_vec(body).map_err(|e| {
                Failure::new(Exit::Failed, format!("cannot write the request: {e}"))
            })?),
            None => None,
        };
        let mut headers = vec![("content-type", "application/json")];
        if let Some(tag) = if_match {
            headers.push(("if-match", tag));
        }
        self.send(method, path, &headers, body)
    }

    /// A body of another type.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn upload(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<Answer, Failure> {
        self.send("POST", path, &[("content-type", content_type)], Some(body))
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // An empty body is a body: without it no length is announced.
        let sent = match (method, body) {
            ("GET", _) => request.body(()).map(|r| self.agent.run(r)),
            (_, body) => request
                .body(body.unwrap_or_default())
                .map(|r| self.agent.run(r)),
        };
        let response = sent
            .map_err(|e| Failure::new(Exit::Usage, format!("{path:?} is not usable: {e}")))?
            .map_err(|e| self.unreachable(&e))?;
        self.answer(response)
    }

    fn answer(&self, mut response: Response<Body>) -> Result<Answer, Failure> {
        let status = response.status().as_u16();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let etag = header("etag");
        let retry_after = header("retry-after");
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|e| self.unreachable(&e))?;
        if (200..300).contains(&status) {
            let value = if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&body).map_err(|e| {
                    Failure::new(
                        Exit::Failed,
                        format!("{} did not answer with JSON: {e}", self.server),
                    )
                    .hint("is it a loadmaster host?")
                })?
            };
            return Ok(Answer { value, etag });
        }
        Err(refused(status, &body, retry_after.as_deref(), &self.server))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let mut failure =
            Failure::new(Exit::Unreachable, format!("no answer from {}", self.server));
        failure.causes.push(error.to_string());
        failure
            .hint("start a host with `loadmaster serve`, or `loadmaster demo` to look around")
            .hint("name another host with --server URL or LOADMASTER_SERVER")
    }

    /// The live stream: calls `each` with the name and the data of every event
    /// until the host ends it or `each` returns `false`. Returns the id of the
    /// last event, to go on from.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn events(
        &self,
        after: Option<&str>,
        mut each: impl FnMut(&str, &str) -> Result<bool, Failure>,
    ) -> Result<Option<String>, Failure> {
        let mut request = Request::builder()
            .method("GET")
            .uri(format!("{}/api/v1/events", self.server))
            .header("accept", "text/event-stream");
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let request = request
            .body(())
            .map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
        let response = self.agent.run(request).map_err(|e| self.unreachable(&e))?;
        if response.status().as_u16() != 200 {
            return self.answer(response).map(|_| None);
        }
        let mut last = after.map(str::to_owned);
        let (mut name, mut data) = (String::from("message"), String::new());
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let Ok(line) = line else { break };
            if line.is_empty() {
                if !data.is_empty() && !each(&name, &data)? {
                    break;
                }
                name = String::from("message");
                data.clear();
            } else if let Some(value) = line.strip_prefix("event:") {
                name = value.trim().to_owned();
            } else if let Some(value) = line.strip_prefix("data:") {
                data += value.trim_start();
            } else if let Some(value) = line.strip_prefix("id:") {
                last = Some(value.trim().to_owned());
            }
        }
        Ok(last)
    }
}

/// A refusal in the words of the host.
fn refused(status: u16, body: &[u8], retry_after: Option<&str>, server: &str) -> Failure {
    let exit = match status {
        401 | 403 => Exit::Refused,
        409 | 412 | 428 => Exit::Conflict,
        429 | 502 | 503 | 504 => Exit::Unreachable,
        404 | 500 => Exit::Failed,
        _ => Exit::Usage,
    };
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return Failure::new(exit, format!("{server} answered with status {status}"))
            .hint("is it a loadmaster host of this version?");
    };
    // A component that was judged and failed is a failed check.
    let exit = if problem.type_url.contains("policy-rejected") {
        Exit::Failed
    } else if problem.type_url.contains("unjudged") {
        Exit::PolicyFault
    } else {
        exit
    };
    let mut detail = problem.detail.as_str();
    let mut hints = Vec::new();
    // The host's own hints come inside the text.
    if let Some((text, hint)) = detail.split_once("; hint: ") {
        detail = text;
        hints.push(hint.to_owned());
    }
    let mut failure = Failure::new(exit, format!("{detail} ({})", problem.reason));
    failure.hints = hints;
    for e in &problem.errors {
        let place = if e.pointer.is_empty() {
            "/"
        } else {
            &e.pointer
        };
        failure.causes.push(format!("{place}: {}", e.detail));
    }
    if let Some(seconds) = retry_after {
        failure = failure.hint(format!("try again in {seconds} s"));
    }
    if exit == Exit::Conflict && status == 412 {
        failure = failure.hint("look at it again, then repeat the command with the new revision");
    }
    if let Some(id) = &problem.trace_id {
        failure = failure.hint(format!("request {id} in the host's log"));
    }
    failure
}

/// The value as one of the API's types.
///
/// # Errors
/// The host is of another version.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    serde_json::from_value(value.clone()).map_err(|e| {
        Failure::new(Exit::Failed, format!("the answer is not understood: {e}")).hint(
            "host and command line are of different versions; -o json shows the answer as it is",
        )
    })
}

/// A name inside a path or a query.
#[must_use]
pub fn segment(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Style;

    #[test]
    fn names_survive_a_path() {
        assert_eq!(segment("a-b_c.d"), "a-b_c.d");
        assert_eq!(segment("team/a b?"), "team%2Fa%20b%3F");
    }

    #[test]
    fn a_problem_becomes_words_and_an_exit_code() {
        let body = br#"{"type":"/problems/revision-conflict","title":"t","status":412,
            "detail":"If-Match is \"3\", the hook's ETag is \"4\"","reason":"RevisionConflict","trace_id":"ab12"}"#;
        let failure = refused(412, body, None, "http://x");
        assert_eq!(failure.exit, Exit::Conflict);
        let expected = "\
error: If-Match is \"3\", the hook's ETag is \"4\" (RevisionConflict)
hint: look at it again, then repeat the command with the new revision
hint: request ab12 in the host's log
";
        assert_eq!(failure.text(Style::PLAIN), expected);
        let body = br#"{"type":"/problems/policy-rejected","title":"t","status":422,
            "detail":"imports wasi:clocks; hint: build for wasm32-unknown-unknown","reason":"UngrantedImport",
            "errors":[{"pointer":"","detail":"x"}]}"#;
        let failure = refused(422, body, None, "http://x");
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(failure.hints, ["build for wasm32-unknown-unknown"]);
        assert_eq!(failure.causes, ["/: x"]);
        assert_eq!(
            refused(503, b"<html>", None, "http://x").exit,
            Exit::Unreachable
        );
        assert_eq!(refused(403, b"", None, "http://x").exit, Exit::Refused);
    }
}
