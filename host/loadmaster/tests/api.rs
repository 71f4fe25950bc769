//! The whole server over real sockets: every route, every way to say no, and a
//! restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use loadmaster::api::{ServeOptions, Server};
use loadmaster::daemon::DaemonConfig;
use sandbox::{Compiler, SandboxConfig};
use serde_json::{Value, json};

/// Time that passes only when a test says so.
#[derive(Clone)]
struct Clock(Arc<AtomicU64>);

struct Host {
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
    agent: ureq::Agent,
    dir: Option<PathBuf>,
    clock: Clock,
}

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    #[track_caller]
    fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// A problem with this status and reason.
    #[track_caller]
    fn no(self, status: u16, reason: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["reason"], reason, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().starts_with("/problems/"));
        problem
    }
}

fn options(dir: Option<&Path>, clock: &Clock) -> ServeOptions {
    let time = clock.clone();
    ServeOptions {
        data_dir: dir.map(Path::to_owned),
        listen: ([127, 0, 0, 1], 0).into(),
        shipped: false,
        daemon: DaemonConfig {
            store: store::OpenOptions {
                min_free_bytes: 0,
                ballast_bytes: 0,
                ..Default::default()
            },
            sandbox: SandboxConfig {
                compiler: Compiler::Exe(env!("CARGO_BIN_EXE_loadmaster").into()),
                instances: 16,
                ..SandboxConfig::default()
            },
            clock: Arc::new(move || time.0.load(Ordering::Relaxed)),
            tick: Some(Duration::from_millis(5)),
            ..DaemonConfig::default()
        },
        ..ServeOptions::default()
    }
}

impl Host {
    fn in_memory() -> Self {
        Self::start(None)
    }

    fn durable() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("loadmaster-api-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self::start(Some(dir))
    }

    fn start(dir: Option<PathBuf>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let clock = Clock(Arc::new(AtomicU64::new(1_772_355_600_000)));
        let server = runtime
            .block_on(Server::start(options(dir.as_deref(), &clock)))
            .unwrap();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        Self {
            runtime,
            server: Some(server),
            agent,
            dir,
            clock,
        }
    }

    fn restart(&mut self) {
        self.runtime
            .block_on(self.server.take().unwrap().shutdown());
        let options = options(self.dir.as_deref(), &self.clock);
        self.server = Some(self.runtime.block_on(Server::start(options)).unwrap());
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.as_ref().unwrap().address)
    }

    fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self
            .agent
            .run(request.body(body.to_vec()).unwrap())
            .unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        let request = ureq::http::Request::builder()
            .method("GET")
            .uri(self.url(path));
        let mut response = self.agent.run(request.body(()).unwrap()).unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    }

    fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], b"")
    }

    fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send_if(method, path, &[], body)
    }

    fn send_if(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.call(method, path, &all, body.to_string().as_bytes())
    }

    fn add_nodes(&self, count: usize) {
        let nodes: Vec<Value> = (0..count)
            .map(|i| {
                json!({
                    "name": format!("n{i}"),
                    "capacity": {"cpu": 8, "memory": "32Gi"},
                    "gpus": [{"model": "A100", "count": 4, "memory": "40Gi"}],
                })
            })
            .collect();
        self.send("POST", "/api/v1/nodes:batch", json!(nodes))
            .ok(200);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
        if let Some(dir) = &self.dir {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn pod(name: &str, gpus: u32) -> Value {
    json!({"name": name, "requests": {"cpu": "1", "memory": "1Gi"}, "gpu": {"count": gpus}})
}

// === Every route ===

#[test]
fn nodes_are_put_listed_changed_and_removed() {
    let host = Host::in_memory();
    let body = json!({"capacity": {"cpu": "8", "memory": "32Gi"}, "zone": "a"});
    let put = host.send("PUT", "/api/v1/nodes/n0", body.clone());
    assert_eq!(put.header("location"), "/api/v1/nodes/n0");
    let etag = put.header("etag").to_owned();
    put.ok(201);
    host.send("PUT", "/api/v1/nodes/n0", body).ok(200);

    let changed = json!({"capacity": {"cpu": "16", "memory": "32Gi"}, "cordoned": true});
    let required = host.send("PUT", "/api/v1/nodes/n0", changed.clone());
    assert_eq!(required.header("etag"), etag);
    required.no(428, "RevisionRequired");
    let tagged = [("if-match", etag.as_str())];
    host.send_if("PUT", "/api/v1/nodes/n0", &tagged, changed.clone())
        .ok(200);
    let other = json!({"capacity": {"cpu": "1"}});
    let stale = host.send_if("PUT", "/api/v1/nodes/n0", &tagged, other.clone());
    assert_eq!(
        stale.no(412, "RevisionConflict")["current"]["spec"]["cordoned"],
        true
    );
    host.send_if("PUT", "/api/v1/nodes/n0", &[("if-match", "*")], other)
        .ok(200);
    host.send_if(
        "PUT",
        "/api/v1/nodes/n0",
        &[("if-none-match", "*")],
        changed,
    )
    .no(412, "RevisionConflict");

    host.add_nodes(5);
    let first = host.get("/api/v1/nodes?limit=2").ok(200);
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = host
        .get(&format!("/api/v1/nodes?limit=10&cursor={cursor}"))
        .ok(200);
    assert_eq!(rest["items"].as_array().unwrap().len(), 3);
    assert!(rest.get("next_cursor").is_none());

    let one = host.get("/api/v1/nodes/n3").ok(200);
    assert_eq!(one["gpu_milli_free"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(one["free"]["memory_mib"], 32_768);
    host.call("DELETE", "/api/v1/nodes/n3", &[("if-match", "\"no\"")], b"")
        .no(412, "RevisionConflict");
    host.delete("/api/v1/nodes/n3").ok(204);
    host.delete("/api/v1/nodes/n3").no(404, "NotFound");
    host.get("/api/v1/nodes/n3").no(404, "NotFound");
}

#[test]
fn jobs_and_pods_run_wait_and_explain_themselves() {
    let host = Host::in_memory();
    host.add_nodes(2);
    let job = json!({"id": "train", "replicas": 2, "template": {"requests": {"cpu": 1}, "gpu": {"count": 4}}});
    let made = host.send("POST", "/api/v1/jobs", job.clone());
    assert_eq!(made.header("location"), "/api/v1/jobs/train");
    assert_eq!(made.ok(201)["running"], 2);
    host.send("POST", "/api/v1/jobs", job)
        .no(409, "AlreadyExists");
    assert_eq!(
        host.get("/api/v1/jobs").ok(200)["items"][0]["phase"],
        "running"
    );
    let detail = host.get("/api/v1/jobs/train").ok(200);
    assert_eq!(detail["pods"].as_array().unwrap().len(), 2);

    let waits = host.send("POST", "/api/v1/pods", pod("late", 1)).ok(201);
    assert_eq!(waits["items"][0]["state"]["phase"], "waiting");
    let why = host.get("/api/v1/pods/late/why").ok(200);
    let counted: u64 = why["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, 2, "{why}");
    assert_eq!(why["fixes"][0]["way"], "wait");
    let waiting = host.get("/api/v1/pods?phase=waiting").ok(200);
    assert_eq!(waiting["items"][0]["name"], "late");
    assert_eq!(
        host.get("/api/v1/pods?job=train&limit=1").ok(200)["next_cursor"],
        "train-0"
    );
    host.get("/api/v1/pods?phase=sleeping")
        .no(422, "InvalidRequest");
    host.get("/api/v1/pods?reason=Nope")
        .no(422, "InvalidRequest");

    host.send(
        "POST",
        "/api/v1/pods/train-0/finished",
        json!({"how": "succeeded"}),
    )
    .ok(204);
    assert_eq!(
        host.get("/api/v1/pods/late").ok(200)["state"]["phase"],
        "running"
    );
    host.get("/api/v1/pods/train-0").no(404, "NotFound");
    host.call("POST", "/api/v1/pods/train-0/finished", &[], b"")
        .no(404, "NotFound");

    let list = host.get("/api/v1/decisions?limit=2").ok(200);
    assert_eq!(list["items"][0]["pod"], "late");
    assert_eq!(list["items"][0]["outcome"]["result"], "bound");
    let cursor = list["next_cursor"].as_str().unwrap();
    let older = host
        .get(&format!("/api/v1/decisions?cursor={cursor}"))
        .ok(200);
    assert!(older["items"][0]["id"].as_u64() < list["items"][1]["id"].as_u64());
    assert_eq!(
        host.get("/api/v1/decisions?pod=train-1").ok(200)["items"][0]["pod"],
        "train-1"
    );
    let id = &list["items"][0]["id"];
    let one = host
        .get(&format!("/api/v1/decisions/{id}?explain=true"))
        .ok(200);
    assert_eq!(one["set"]["members"][0]["policy"]["digest"], "builtin");
    assert_eq!(one["filter"]["nodes"], 2);
    assert_eq!(
        one["explanations"].as_array().map(Vec::len),
        one["candidates"].as_array().map(Vec::len),
        "{one}"
    );
    assert!(
        one["explanations"][0]["parts"][0]["name"].is_string(),
        "{one}"
    );
    host.get("/api/v1/decisions/99999").no(404, "NotFound");
    host.get("/api/v1/decisions/abc").no(404, "NotFound");

    host.delete("/api/v1/jobs/train").ok(204);
    host.delete("/api/v1/jobs/train").no(404, "NotFound");
}

#[test]
fn workloads_are_scaled_by_samples_and_calendar() {
    let host = Host::in_memory();
    let spec = json!({"min": 1, "max": 10, "capacity": 100.0, "step_ms": 15_000});
    let put = host.send("PUT", "/api/v1/scaling/web", spec.clone());
    assert!(!put.header("etag").is_empty());
    put.ok(201);
    host.send("PUT", "/api/v1/scaling/web", spec).ok(200);
    host.send(
        "PUT",
        "/api/v1/scaling/web",
        json!({"min": 2, "max": 10, "capacity": 1.0}),
    )
    .no(428, "RevisionRequired");
    host.send(
        "PUT",
        "/api/v1/scaling/web",
        json!({"workload": "other", "min": 2, "max": 10, "capacity": 1.0}),
    )
    .no(422, "InvalidRequest");
    let bad = json!({"min": 5, "max": 2, "capacity": 1.0});
    host.send("PUT", "/api/v1/scaling/odd", bad)
        .no(422, "InvalidRequest");

    let samples = json!({"samples": [{"workload": "web", "value": 560.0}]});
    assert_eq!(
        host.send("POST", "/api/v1/metrics/samples", samples)
            .ok(200)["applied"],
        1
    );
    let missing =
        json!({"samples": [{"workload": "web", "value": 1.0}, {"workload": "no", "value": 1.0}]});
    let problem = host
        .send("POST", "/api/v1/metrics/samples", missing)
        .no(404, "NotFound");
    assert_eq!(problem["errors"][0]["pointer"], "/samples/1/workload");

    // Time passes, and the tick looks at it.
    host.clock.0.fetch_add(20_000, Ordering::Relaxed);
    let mut view = Value::Null;
    for _ in 0..1_000 {
        view = host.get("/api/v1/scaling/web?series=5").ok(200);
        if view["decisions"][0]["desired"].as_u64() > Some(1) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(view["decisions"][0]["desired"].as_u64() > Some(1), "{view}");
    assert_eq!(
        host.get("/api/v1/scaling").ok(200)["items"][0]["workload"],
        "web"
    );

    let entry = json!({"name": "sale", "workload": "web", "start": "2026-03-02T09:00:00Z", "end": "2026-03-02T10:00:00Z", "multiplier": 2.5});
    assert_eq!(
        host.send("POST", "/api/v1/calendar", entry.clone()).ok(201)["multiplier"],
        "2.5"
    );
    host.send("POST", "/api/v1/calendar", entry).ok(200);
    assert_eq!(
        host.get("/api/v1/calendar").ok(200)["items"][0]["name"],
        "sale"
    );
    let backwards =
        json!({"name": "odd", "start": "2026-03-02T09:00:00Z", "end": "2026-03-02T08:00:00Z"});
    host.send("POST", "/api/v1/calendar", backwards)
        .no(422, "InvalidRequest");
    host.delete("/api/v1/calendar/sale").ok(204);
    host.delete("/api/v1/calendar/sale").no(404, "NotFound");
    host.delete("/api/v1/scaling/web").ok(204);
    host.get("/api/v1/scaling/web").no(404, "NotFound");
}

#[test]
fn the_host_speaks_about_itself() {
    let host = Host::in_memory();
    host.add_nodes(1);
    host.send("POST", "/api/v1/pods", pod("p", 2)).ok(201);
    assert_eq!(host.get("/livez").text, "ok\n");
    assert_eq!(host.get("/readyz").ok(200)["ready"], true);
    let metrics = host.get("/metrics").text;
    for line in [
        "loadmaster_decisions_total{hook=\"scoring\",outcome=\"bound\"} 1",
        "loadmaster_running_pods 1",
        "loadmaster_gpu_used_ratio 0.5",
        "loadmaster_policy_active_info{hook=\"scoring\",policy=\"binpack\"",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(
        !metrics.contains("\"n0\"") && !metrics.contains("\"p\""),
        "no node or pod is a label"
    );
    assert_eq!(host.get("/api/v1/summary").ok(200)["gpu_milli_used"], 2_000);
    host.send("PUT", "/api/v1/mode", json!({"mode": "evacuation"}))
        .ok(200);
    assert_eq!(host.get("/api/v1/mode").ok(200)["mode"], "evacuation");
    assert_eq!(
        host.get("/api/v1/guards").ok(200)["items"][0]["active"],
        false
    );
    let approval = json!({"by": "me", "reason": "looked"});
    host.send("POST", "/api/v1/guards/hold/approve", approval.clone())
        .no(409, "Conflict");
    host.send("POST", "/api/v1/guards/other/approve", approval)
        .no(404, "NotFound");

    let document = host.get("/api/openapi.json").ok(200);
    assert_eq!(document["openapi"], "3.1.0");
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name} is referred to and missing"
        );
    }
    let page = host.get("/api/docs");
    assert!(
        page.text.contains("/api/v1/pods/{name}/why"),
        "{}",
        page.text
    );
    for kind in loadmaster::wire::ProblemKind::ALL {
        assert_eq!(
            host.get(&format!("/problems/{}", kind.slug())).status,
            200,
            "{kind:?}"
        );
    }
    host.get("/problems/none").no(404, "NotFound");
}

#[test]
fn what_happens_is_streamed_and_can_be_resumed() {
    use std::io::{BufRead as _, BufReader};
    let host = Host::in_memory();
    let open = |last: Option<&str>| {
        let mut request = ureq::http::Request::builder().uri(host.url("/api/v1/events"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = host.agent.run(request.body(()).unwrap()).unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        BufReader::new(response.into_body().into_reader())
    };
    let mut live = open(None);
    let mut line = String::new();
    live.read_line(&mut line).unwrap();
    assert_eq!(line, "retry: 2000\n");
    host.add_nodes(1);
    host.send("POST", "/api/v1/pods", pod("p", 1)).ok(201);
    let mut lines = live.lines().map(Result::unwrap).filter(|l| !l.is_empty());
    let first = lines.next().unwrap();
    let id = first.strip_prefix("id: ").unwrap().to_owned();
    assert_eq!(lines.next().unwrap(), "event: node-put");
    assert!(lines.next().unwrap().contains("\"n0\""));
    let second = lines.next().unwrap();
    assert_eq!(lines.next().unwrap(), "event: bound");

    let mut again = open(Some(&id))
        .lines()
        .map(Result::unwrap)
        .filter(|l| !l.is_empty())
        .skip(1);
    assert_eq!(again.next().unwrap(), second, "goes on after what was seen");
    let mut lost = open(Some("1-1"))
        .lines()
        .map(Result::unwrap)
        .filter(|l| !l.is_empty())
        .skip(1);
    assert_eq!(lost.next().unwrap(), "event: resync");
}

// === Bad input ===

#[test]
fn bad_input_is_refused_precisely_and_changes_nothing() {
    let host = Host::in_memory();
    host.add_nodes(1);
    host.get("/api/v1/nothing").no(404, "NoRoute");
    let wrong = host.call("PATCH", "/api/v1/nodes/n0", &[], b"{}");
    assert_eq!(wrong.header("allow"), "GET, PUT, DELETE");
    wrong.no(405, "MethodNotAllowed");
    host.call(
        "POST",
        "/api/v1/pods",
        &[("content-type", "text/plain")],
        b"{}",
    )
    .no(415, "UnsupportedMediaType");
    host.call("POST", "/api/v1/pods", &[], b"{}")
        .no(415, "UnsupportedMediaType");
    let json_type = [("content-type", "application/json")];
    host.call("POST", "/api/v1/pods", &json_type, b"{\"name\": ")
        .no(400, "MalformedJson");
    host.call("POST", "/api/v1/jobs", &json_type, &vec![b' '; 300 << 10])
        .no(413, "BodyTooLarge");

    let at = |body: Value, pointer: &str| {
        let problem = host
            .send("POST", "/api/v1/pods", body)
            .no(422, "InvalidRequest");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    };
    at(
        json!({"name": "p", "requests": {"cpu": "-1"}}),
        "/requests/cpu",
    );
    at(
        json!({"name": "p", "requests": {"cpu": "99999999999999999999"}}),
        "/requests/cpu",
    );
    at(
        json!({"name": "p", "requests": {"memory": "1G"}}),
        "/requests/memory",
    );
    at(json!({"name": "p p"}), "/name");
    at(
        json!([pod("a", 1), {"name": "b", "gpu": {"count": 99}}]),
        "/1/gpu/count",
    );
    at(
        json!({"name": "p", "gpu": {"count": 2, "share": "500m"}}),
        "/gpu/share",
    );
    host.send("POST", "/api/v1/pods", json!([pod("a", 1), pod("a", 1)]))
        .no(409, "AlreadyExists");
    host.send("POST", "/api/v1/pods", json!({"name": "p", "job": "nope"}))
        .no(404, "NotFound");
    let job = json!({"id": "j", "replicas": 20_000, "template": {}});
    let problem = host
        .send("POST", "/api/v1/jobs", job)
        .no(422, "InvalidRequest");
    assert_eq!(problem["errors"][0]["pointer"], "/replicas");
    let twice = json!([{"name": "x", "capacity": {}}, {"name": "x", "capacity": {}}]);
    let problem = host
        .send("POST", "/api/v1/nodes:batch", twice)
        .no(422, "InvalidRequest");
    assert_eq!(problem["errors"][0]["pointer"], "/1/name");
    host.send(
        "PUT",
        "/api/v1/nodes/a",
        json!({"name": "b", "capacity": {}}),
    )
    .no(422, "InvalidRequest");
    host.get("/api/v1/nodes?limit=0").no(422, "InvalidRequest");
    host.get("/api/v1/nodes?colour=red")
        .no(422, "InvalidRequest");
    host.get("/api/v1/pods/none/why").no(404, "NotFound");
    let wide = json!({"name": "w", "capacity": {}, "labels": {"k": "x".repeat(70_000)}});
    host.send("POST", "/api/v1/nodes:batch", json!([wide]))
        .no(422, "InvalidRequest");
    let zoned = json!({"capacity": {}, "zone": "z".repeat(64)});
    let problem = host
        .send("PUT", "/api/v1/nodes/z", zoned)
        .no(422, "InvalidRequest");
    assert_eq!(problem["errors"][0]["pointer"], "/zone");

    host.send("POST", "/api/v1/pods", pod("p", 1)).ok(201);
    let taken = host.send("POST", "/api/v1/pods", json!([pod("q", 1), pod("p", 1)]));
    assert_eq!(
        taken.no(409, "AlreadyExists")["errors"][0]["pointer"],
        "/1/name"
    );
    let summary = host.get("/api/v1/summary").ok(200);
    assert_eq!(
        (&summary["nodes"], &summary["running"]),
        (&json!(1), &json!(1)),
        "{summary}"
    );
    assert_eq!(
        host.get("/api/v1/pods").ok(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn components_that_are_no_policies_are_refused_by_name() {
    let host = Host::in_memory();
    let wasm = [("content-type", "application/wasm")];
    let upload = |bytes: &[u8]| host.call("POST", "/api/v1/policies", &wasm, bytes);
    upload(b"hello").no(415, "NotWasm");
    upload(b"\0asm\x01\0\0\0").no(422, "CoreModule");
    upload(b"\0asm\x0d\0\x01\0").no(422, "NoPolicy");
    let real = loadmaster::bundled::component("binpack").unwrap().wasm;
    let cut = upload(&real[..real.len() / 2]);
    assert_eq!(cut.status, 422, "{}", cut.text);
    upload(&vec![0; (8 << 20) + 1]).no(413, "ComponentTooLarge");
    host.call(
        "POST",
        "/api/v1/policies",
        &[("content-type", "application/json")],
        b"{}",
    )
    .no(415, "UnsupportedMediaType");
    host.call("POST", "/api/v1/policies?profile=odd", &wasm, real)
        .no(422, "InvalidRequest");
    assert_eq!(host.get("/api/v1/policies").ok(200)["items"], json!([]));
}

// === Policies ===

#[test]
fn a_policy_is_uploaded_activated_rolled_back_and_survives_a_restart() {
    let mut host = Host::durable();
    host.add_nodes(3);
    let real = loadmaster::bundled::component("binpack").unwrap().wasm;
    let wasm = [("content-type", "application/wasm")];
    let made = host.call("POST", "/api/v1/policies", &wasm, real);
    assert!(
        made.header("location")
            .starts_with("/api/v1/policies/binpack/")
    );
    let place = made.header("location").to_owned();
    let policy = made.ok(201);
    host.call("POST", "/api/v1/policies", &wasm, real).ok(200);
    assert_eq!(host.get(&place).ok(200)["digest"], policy["digest"]);
    assert_eq!(
        host.get("/api/v1/policies/binpack").ok(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    host.get("/api/v1/policies/none").no(404, "NotFound");

    let hook = "/api/v1/hooks/scoring";
    let body = json!({"policies": [{"policy": "binpack"}]});
    host.send("PUT", hook, body.clone())
        .no(428, "RevisionRequired");
    let etag = host.get(hook).header("etag").to_owned();
    let tagged = [("if-match", etag.as_str())];
    let nobody = json!({"policies": [{"policy": "nobody"}]});
    let problem = host
        .send_if("PUT", hook, &tagged, nobody)
        .no(422, "UnknownPolicy");
    assert_eq!(problem["errors"][0]["pointer"], "/policies/0/policy");
    let settings = json!({"policies": [{"policy": "binpack", "settings": {"nonsense": 1}}]});
    host.send_if("PUT", hook, &tagged, settings)
        .no(422, "BadSettings");
    let active = host.send_if("PUT", hook, &tagged, body.clone()).ok(200);
    assert_eq!(
        active["active"]["members"][0]["policy"]["digest"],
        policy["digest"]
    );
    let stale = host.send_if("PUT", hook, &tagged, body.clone());
    assert_eq!(stale.header("etag"), "\"1\"");
    assert_eq!(stale.no(412, "RevisionConflict")["current"]["revision"], 1);
    host.send_if("PUT", "/api/v1/hooks/admission", &tagged, body.clone())
        .no(422, "KindNotServed");
    host.get("/api/v1/hooks/colour").no(404, "NotFound");

    host.send("POST", "/api/v1/pods", pod("p1", 1)).ok(201);
    let decided = host.get("/api/v1/decisions").ok(200);
    assert_eq!(decided["items"][0]["set_revision"], 1);
    assert!(
        decided["items"][0]["fuel"].as_u64() > Some(0),
        "a guest decided: {decided}"
    );

    host.restart();
    let again = host.get(hook).ok(200);
    assert_eq!(again["active"], active["active"]);
    assert!(again.get("degraded").is_none(), "{again}");
    host.send("POST", "/api/v1/pods", pod("p2", 1)).ok(201);
    let decided = host.get("/api/v1/decisions").ok(200);
    assert!(decided["items"][0]["fuel"].as_u64() > Some(0), "{decided}");

    let back = host
        .call("POST", &format!("{hook}/rollback"), &[], b"")
        .ok(200);
    assert_eq!(back["active"]["members"][0]["policy"]["digest"], "builtin");
    assert_eq!(
        back["previous"]["members"][0]["policy"]["digest"],
        policy["digest"]
    );
    assert_eq!(
        host.get("/api/v1/hooks").ok(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let metrics = host.get("/metrics").text;
    assert!(
        metrics.contains("loadmaster_policy_set_changes_total{cause=\"rolled-back\"} 1"),
        "{metrics}"
    );
}

// === Durability ===

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut host = Host::durable();
    host.add_nodes(2);
    let job = json!({"id": "j", "replicas": 3, "template": {"gpu": {"count": 2}}});
    host.send("POST", "/api/v1/jobs", job).ok(201);
    host.send("POST", "/api/v1/pods", pod("waits", 4)).ok(201);
    host.send(
        "PUT",
        "/api/v1/scaling/web",
        json!({"min": 1, "max": 3, "capacity": 1.5}),
    )
    .ok(201);
    let all = [
        "/api/v1/nodes",
        "/api/v1/pods?phase=running",
        "/api/v1/jobs/j",
        "/api/v1/scaling/web",
        "/api/v1/calendar",
    ];
    let before: Vec<Value> = all.iter().map(|path| host.get(path).ok(200)).collect();
    let decisions = host.get("/api/v1/decisions").ok(200);
    let newest = decisions["items"][0]["id"].as_u64().unwrap();

    host.restart();
    let after: Vec<Value> = all.iter().map(|path| host.get(path).ok(200)).collect();
    assert_eq!(before, after);
    let kept = host.get("/api/v1/decisions").ok(200);
    let kept: Vec<&Value> = kept["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|d| d["id"].as_u64() <= Some(newest))
        .collect();
    let was: Vec<&Value> = decisions["items"].as_array().unwrap().iter().collect();
    assert_eq!(kept, was, "decisions come from the journal now");
    let oldest = was.last().unwrap();
    let one = host
        .get(&format!("/api/v1/decisions/{}", oldest["id"]))
        .ok(200);
    assert_eq!(one["pod"], oldest["pod"]);
    assert_eq!(one["set"]["members"][0]["policy"]["digest"], "builtin");

    host.call("POST", "/api/v1/pods/j-0/finished", &[], b"")
        .ok(204);
    host.call("POST", "/api/v1/pods/j-1/finished", &[], b"")
        .ok(204);
    host.call("POST", "/api/v1/pods/j-2/finished", &[], b"")
        .ok(204);
    let list = host.get("/api/v1/decisions?pod=waits&limit=1").ok(200);
    assert_eq!(list["items"][0]["outcome"]["result"], "bound");
    assert!(
        list["items"][0]["id"].as_u64() > Some(newest),
        "numbers go on"
    );
}

#[test]
fn a_request_with_a_key_is_done_once_also_over_a_restart() {
    let mut host = Host::durable();
    host.add_nodes(1);
    let key = [("idempotency-key", "k-1")];
    let job = json!({"id": "once", "template": {}});
    let first = host.send_if("POST", "/api/v1/jobs", &key, job.clone());
    assert_eq!(first.header("idempotent-replayed"), "");
    let first = first.ok(201);
    let second = host.send_if("POST", "/api/v1/jobs", &key, job.clone());
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!(second.header("location"), "/api/v1/jobs/once");
    assert_eq!(second.ok(201), first);
    let other = json!({"id": "other", "template": {}});
    host.send_if("POST", "/api/v1/jobs", &key, other.clone())
        .no(409, "IdempotencyConflict");

    host.restart();
    assert_eq!(
        host.send_if("POST", "/api/v1/jobs", &key, job.clone())
            .ok(201),
        first
    );
    assert_eq!(
        host.get("/api/v1/jobs").ok(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    host.clock.0.fetch_add(25 * 3_600_000, Ordering::Relaxed);
    host.restart();
    host.send_if("POST", "/api/v1/jobs", &key, other).ok(201);
}

#[test]
fn only_one_process_has_the_directory_and_strangers_are_kept_out() {
    let host = Host::durable();
    let second = host
        .runtime
        .block_on(Server::start(options(host.dir.as_deref(), &host.clock)));
    assert_eq!(second.err().unwrap().exit_code(), 75);
    let public = ServeOptions {
        listen: ([0, 0, 0, 0], 0).into(),
        ..options(None, &host.clock)
    };
    let refused = host.runtime.block_on(Server::start(public)).err().unwrap();
    assert!(
        refused.to_string().contains("--insecure-public"),
        "{refused}"
    );
}
