//! The whole server over real sockets: every route, as it is meant to be used.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use support::*;

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
