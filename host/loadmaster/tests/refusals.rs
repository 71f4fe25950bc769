//! The whole server over real sockets: every way to say no, and what survives a
//! restart.

mod support;

use std::sync::atomic::Ordering;

use loadmaster::api::{ServeOptions, Server};
use serde_json::{Value, json};
use support::*;

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
    let dry = "/api/v1/hooks/scoring?dry_run=true";
    let nobody = json!({"policies": [{"policy": "nobody"}]});
    host.send_if("PUT", dry, &tagged, nobody)
        .no(422, "UnknownPolicy");
    let checked = host.send_if("PUT", dry, &tagged, body.clone()).ok(200);
    assert_eq!(checked["revision"], 0, "a dry run changes nothing");
    let active = host.send_if("PUT", hook, &tagged, body.clone()).ok(200);
    let again = [("if-match", "\"1\"")];
    let twice = host.send_if("PUT", hook, &again, body.clone()).ok(200);
    assert_eq!(twice["revision"], 1, "sent again: the way back stays");
    assert_eq!(
        active["active"]["members"][0]["policy"]["digest"],
        policy["digest"]
    );
    let stale = host.send_if("PUT", hook, &tagged, body.clone());
    assert_eq!(stale.header("etag"), "\"1\"");
    assert_eq!(stale.no(412, "RevisionConflict")["current"]["revision"], 1);
    host.send_if("PUT", "/api/v1/hooks/admission", &tagged, body.clone())
        .no(422, "WrongKind");
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
        4
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
    // A tick may fall between the two looks, and scaling decides at ticks.
    let look = |host: &Host| -> Vec<Value> {
        let mut seen: Vec<Value> = all.iter().map(|path| host.get(path).ok(200)).collect();
        for value in &mut seen {
            if let Some(object) = value.as_object_mut() {
                object.remove("decisions");
            }
        }
        seen
    };
    let before = look(&host);
    let decisions = host.get("/api/v1/decisions").ok(200);
    let newest = decisions["items"][0]["id"].as_u64().unwrap();

    host.restart();
    assert_eq!(before, look(&host));
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

#[test]
fn another_sites_page_is_kept_out() {
    let host = Host::durable();
    let foreign = [
        ("origin", "http://evil.example"),
        ("content-type", "text/plain"),
    ];
    host.call("POST", "/api/v1/hooks/scoring/rollback", &foreign, b"")
        .no(403, "ForeignOrigin");
    host.call("POST", "/api/v1/pods/p/finished", &foreign, b"")
        .no(403, "ForeignOrigin");
}

#[test]
fn a_job_that_no_commit_could_hold_is_refused_and_the_host_goes_on() {
    let host = Host::durable();
    let label = "x".repeat(60);
    let selector: serde_json::Map<String, Value> =
        (0..40).map(|i| (format!("k{i}"), json!(label))).collect();
    let template = json!({"app": "big", "requests": {"cpu": "1"}, "node_selector": selector});
    let job = json!({"id": "big", "kind": "batch", "replicas": 10_000, "template": template});
    host.send("POST", "/api/v1/jobs", job)
        .no(413, "BodyTooLarge");
    host.send("POST", "/api/v1/pods", pod("small", 0)).ok(201);
}
