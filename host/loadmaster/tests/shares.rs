//! Who enters, who waits, who starts together and who yields, over real sockets.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use loadmaster::daemon::{Action, Daemon, DaemonConfig, DaemonHandle, Reply, Submission};
use model::{Event, JobSpec};
use serde_json::{Value, json};
use support::*;

/// A job of pods with `gpus` each.
fn job(id: &str, replicas: u32, gpus: u32, more: Value) -> Value {
    let mut job = json!({
        "id": id, "replicas": replicas,
        "template": {"requests": {"cpu": 1, "memory": "1Gi"}, "gpu": {"count": gpus}},
    });
    for (key, value) in more.as_object().unwrap() {
        match key.as_str() {
            "priority" | "app" => job["template"][key] = value.clone(),
            _ => job[key] = value.clone(),
        }
    }
    job
}

fn gang(id: &str, count: u32, more: Value) -> Value {
    let role = json!({"name": "w", "count": count, "template": {"requests": {"cpu": 1, "memory": "1Gi"}, "gpu": {"count": 4}}});
    let mut job = json!({"id": id, "gang": {"roles": [role]}});
    for (key, value) in more.as_object().unwrap() {
        job["gang"][key] = value.clone();
    }
    job
}

impl Host {
    /// Time passes until the answer is as wanted.
    #[track_caller]
    fn wait(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..2_000 {
            last = self.get(path).ok(200);
            if wanted(&last) {
                return last;
            }
            self.clock.0.fetch_add(100, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("{path} stayed {last}");
    }

    fn vision(&self) {
        let put = |path: &str, body: Value| self.send("PUT", path, body);
        put("/api/v1/quotas/company", json!({})).ok(201);
        let vision = json!({"parent": "company", "resources": {"gpu": {"nominal": 4, "borrowing_limit": 0}}});
        put("/api/v1/quotas/vision", vision).ok(201);
        put("/api/v1/queues/batch", json!({"quota": "vision"})).ok(201);
    }
}

#[test]
fn quotas_form_a_tree_that_is_changed_with_care() {
    let host = Host::in_memory();
    let put = |name: &str, body: Value| host.send("PUT", &format!("/api/v1/quotas/{name}"), body);
    put("company", json!({})).ok(201);
    let vision = json!({"parent": "company", "tier": "critical", "weight": "1.5", "resources": {
        "gpu": {"nominal": 4, "borrowing_limit": "2"}, "memory": {"nominal": "64Gi"}}});
    let made = put("vision", vision.clone());
    assert_eq!(made.header("location"), "/api/v1/quotas/vision");
    let etag = made.header("etag").to_owned();
    let made = made.ok(201);
    assert_eq!(made["spec"]["resources"]["gpu"]["nominal"], "4");
    assert_eq!(made["spec"]["weight"], "1.5");
    put("vision", vision.clone()).ok(200);
    put("audio", json!({"parent": "company"})).ok(201);

    let changed = json!({"parent": "company", "resources": {"gpu": {"nominal": 8}}});
    put("vision", changed.clone()).no(428, "RevisionRequired");
    let path = "/api/v1/quotas/vision";
    host.send_if("PUT", path, &[("if-match", "\"no\"")], changed.clone())
        .no(412, "RevisionConflict");
    host.send_if("PUT", path, &[("if-match", &etag)], changed)
        .ok(200);

    for (name, wrong) in [
        ("x", json!({"parent": "nobody"})),
        ("x", json!({"parent": "x"})),
        ("x", json!({"name": "y"})),
        ("x", json!({"resources": {"gpus": {"nominal": 1}}})),
        ("x", json!({"resources": {"gpu": {"nominal": "-1"}}})),
        ("x", json!({"tier": "gold"})),
    ] {
        put(name, wrong).no(422, "InvalidRequest");
    }
    let star = [("if-match", "*")];
    host.send_if(
        "PUT",
        "/api/v1/quotas/company",
        &star,
        json!({"parent": "vision"}),
    )
    .no(422, "InvalidRequest");

    let list = host.get("/api/v1/quotas").ok(200);
    let tree: Vec<(&str, u64)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|q| (q["name"].as_str().unwrap(), q["depth"].as_u64().unwrap()))
        .collect();
    assert_eq!(tree, [("company", 0), ("audio", 1), ("vision", 1)]);
    host.delete("/api/v1/quotas/company").no(409, "InUse");
    host.delete("/api/v1/quotas/audio").ok(204);
    host.delete("/api/v1/quotas/audio").no(404, "NotFound");
    host.get("/api/v1/quotas/audio").no(404, "NotFound");
}

#[test]
fn who_waits_for_quota_is_told_what_is_short_also_after_a_restart() {
    let mut host = Host::durable();
    host.add_nodes(3);
    host.vision();
    host.send("PUT", "/api/v1/queues/odd", json!({"quota": "nobody"}))
        .no(422, "InvalidRequest");
    let queued = json!({"queue": "batch"});
    host.send(
        "POST",
        "/api/v1/jobs",
        job("a", 1, 4, json!({"queue": "nowhere"})),
    )
    .no(404, "NotFound");
    let first = host.send("POST", "/api/v1/jobs", job("first", 1, 4, queued.clone()));
    assert_eq!(first.ok(201)["running"], 1);
    let second = host.send("POST", "/api/v1/jobs", job("second", 1, 4, queued.clone()));
    assert_eq!(second.ok(201)["waiting"], 1);
    // A gang needs all of it at once, which is more than there will ever be.
    let mut large = gang("large", 2, json!({}));
    large["queue"] = json!("batch");
    host.send("POST", "/api/v1/jobs", large).ok(201);

    let look = |host: &Host| {
        let why = host.get("/api/v1/jobs/second/why").ok(200);
        assert_eq!(why["state"]["reason"], "WaitingForQuota", "{why}");
        let short = &why["quota"]["shortages"][0];
        assert_eq!(
            *short,
            json!({"quota": "vision", "resource": "gpu", "short": "4"}),
            "{why}"
        );
        let raise = json!({"way": "raise", "quota": "vision", "resource": "gpu", "by": "4"});
        assert!(why["fixes"].as_array().unwrap().contains(&raise), "{why}");
        assert_eq!(why["lines"], json!([]), "nodes do not matter yet");
        let same = host.get("/api/v1/pods/second-0/why").ok(200);
        assert_eq!(same["quota"], why["quota"]);
        let queue = host.get("/api/v1/queues/batch").ok(200);
        assert_eq!(queue["admitted"], 1);
        assert_eq!(queue["used"]["gpu"], "4");
        assert_eq!(queue["waiting"][0]["job"], "second", "{queue}");
        assert_eq!(queue["waiting"][1]["reason"], "ExceedsQuota", "{queue}");
        let quota = host.get("/api/v1/quotas/vision").ok(200);
        assert_eq!(
            quota["usage"][2],
            json!({"resource": "gpu", "used": "4", "nominal": "4", "borrowed": "0", "available": "0"}),
            "{quota}"
        );
    };
    look(&host);
    let metrics = host.get("/metrics").text;
    for line in [
        "loadmaster_admissions_total{outcome=\"admitted\"} 1",
        "loadmaster_queue_wait_seconds_bucket{queue=\"batch\",le=\"60\"} 1",
        "loadmaster_queue_waiting_jobs{queue=\"batch\"} 2",
        "loadmaster_quota_used{quota=\"vision\",resource=\"gpu\"} 4",
        "loadmaster_quota_nominal{quota=\"vision\",resource=\"gpu\"} 4",
        "loadmaster_policy_active_info{hook=\"admission\"",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    host.restart();
    host.wait("/api/v1/queues/batch", |q| {
        q["waiting"][1]["reason"] == "ExceedsQuota"
    });
    look(&host);

    host.call("POST", "/api/v1/queues/batch/suspend", &[], b"")
        .ok(200);
    let why = host.get("/api/v1/jobs/second/why").ok(200);
    assert_eq!(why["state"]["reason"], "QueueSuspended");
    assert_eq!(why["fixes"][0], json!({"way": "resume", "queue": "batch"}));
    host.delete("/api/v1/jobs/first").ok(204);
    assert_eq!(host.get("/api/v1/jobs/second").ok(200)["running"], 0);
    let resumed = host.call("POST", "/api/v1/queues/batch/resume", &[], b"");
    assert_eq!(resumed.ok(200)["spec"].get("suspended"), None);
    assert_eq!(host.get("/api/v1/jobs/second").ok(200)["running"], 1);
    host.call("POST", "/api/v1/queues/none/suspend", &[], b"")
        .no(404, "NotFound");

    host.delete("/api/v1/queues/batch").no(409, "InUse");
    host.delete("/api/v1/quotas/vision").no(409, "InUse");
    for id in ["second", "large"] {
        host.delete(&format!("/api/v1/jobs/{id}")).ok(204);
    }
    host.delete("/api/v1/queues/batch").ok(204);
    host.delete("/api/v1/quotas/vision").ok(204);
}

#[test]
fn gangs_start_whole_or_wait() {
    let host = Host::in_memory();
    host.add_nodes(2);
    let made = host.send("POST", "/api/v1/jobs", gang("big", 3, json!({})));
    let made = made.ok(201);
    assert_eq!((&made["running"], &made["waiting"]), (&json!(0), &json!(3)));
    let view = host.get("/api/v1/gangs/big").ok(200);
    assert_eq!(view["state"]["phase"], "waiting", "{view}");
    assert_eq!(view["roles"][0]["waiting"], 3);
    let why = host.get("/api/v1/jobs/big/why").ok(200);
    assert_eq!(why["gang"]["job"], "big", "{why}");
    assert!(!why["fixes"].as_array().unwrap().is_empty(), "{why}");

    let small = gang(
        "small",
        2,
        json!({"topology": {"required": "zone"}, "timeout": "10m"}),
    );
    let answer = host
        .send("POST", "/api/v1/jobs?dry_run=true", small.clone())
        .ok(200);
    assert_eq!(
        answer["job"]["gang"]["topology"]["required"], "zone",
        "{answer}"
    );
    let plain = gang("small", 2, json!({"timeout": "10m"}));
    assert_eq!(
        host.send("POST", "/api/v1/jobs", plain).ok(201)["running"],
        2
    );
    let view = host.get("/api/v1/gangs/small").ok(200);
    assert_eq!(view["state"]["phase"], "running", "{view}");
    let list = host.get("/api/v1/gangs?limit=1").ok(200);
    assert_eq!(list["items"][0]["job"], "big");
    assert_eq!(list["next_cursor"], "big");
    host.send("POST", "/api/v1/jobs", job("plain", 1, 0, json!({})))
        .ok(201);
    host.get("/api/v1/gangs/plain").no(404, "NotFound");
    let wrong = gang("odd", 2, json!({"topology": {}}));
    let problem = host
        .send("POST", "/api/v1/jobs", wrong)
        .no(422, "InvalidRequest");
    assert_eq!(problem["errors"][0]["pointer"], "/gang/topology");
}

#[test]
fn a_dry_run_names_who_would_yield_and_then_they_do() {
    let mut host = Host::durable();
    host.add_nodes(1);
    let low = job("low", 1, 4, json!({"terms": {"grace": "30s"}}));
    assert_eq!(host.send("POST", "/api/v1/jobs", low).ok(201)["running"], 1);
    host.call("POST", "/api/v1/pods/low-0/checkpointed", &[], b"")
        .ok(200);
    host.call("POST", "/api/v1/pods/low-0/evicted", &[], b"")
        .no(409, "Conflict");

    let high = job("high", 1, 4, json!({"priority": 10}));
    let before = host.get("/api/v1/pods").ok(200);
    let answer = host.send("POST", "/api/v1/jobs?dry_run=true", high.clone());
    let answer = answer.ok(200);
    assert_eq!(answer["verdict"], "preempts", "{answer}");
    assert_eq!(answer["plan"]["victims"][0]["pod"], "low-0");
    assert_eq!(answer["plan"]["status"]["phase"], "proposed");
    assert_eq!(answer["plan_after"], "10s");
    // Misspelt, it must not become a real one.
    host.send("POST", "/api/v1/jobs?dryRun=true", high.clone())
        .no(422, "InvalidRequest");
    assert_eq!(host.get("/api/v1/pods").ok(200), before);
    host.get("/api/v1/jobs/high").no(404, "NotFound");
    let same = job("same", 1, 4, json!({}));
    let answer = host.send("POST", "/api/v1/jobs?dry_run=true", same).ok(200);
    assert_eq!(answer["verdict"], "waits", "{answer}");
    assert!(answer["no_plan"].is_string(), "{answer}");
    assert_eq!(answer["fixes"][0]["way"], "wait", "{answer}");
    let wrong = json!({"id": "x", "template": {"gpu": {"count": 99}}});
    host.send("POST", "/api/v1/jobs?dry_run=true", wrong)
        .no(422, "InvalidRequest");
    let taken = job("low", 1, 4, json!({}));
    let answer = host
        .send("POST", "/api/v1/jobs?dry_run=true", taken)
        .ok(200);
    assert_eq!(answer["verdict"], "denied", "{answer}");

    host.send("POST", "/api/v1/jobs", high).ok(201);
    let why = host.get("/api/v1/pods/high-0/why").ok(200);
    assert_eq!(why["fixes"][0]["way"], "ask", "{why}");
    let plans = host.wait("/api/v1/plans", |p| {
        !p["items"].as_array().unwrap().is_empty()
    });
    let plan = &plans["items"][0];
    assert_eq!(plan["status"]["phase"], "leaving", "{plan}");
    let low = host.get("/api/v1/pods/low-0").ok(200);
    assert_eq!(low["leaving"]["cause"], "Preempted", "{low}");
    assert_eq!(low["leaving"]["plan"], plan["id"]);
    let promised = host.get("/api/v1/pods/high-0").ok(200);
    assert_eq!(promised["state"]["phase"], "promised", "{promised}");
    let why = host.get("/api/v1/pods/high-0/why").ok(200);
    assert_eq!(why["fixes"][0]["way"], "leave", "{why}");
    assert_eq!(why["preemption"]["plan"]["id"], plan["id"]);

    host.restart();
    assert_eq!(host.get("/api/v1/pods/low-0").ok(200), low);
    assert_eq!(host.get("/api/v1/pods/high-0").ok(200), promised);
    let id = plan["id"].as_u64().unwrap();
    let path = format!("/api/v1/plans/{id}");
    assert_eq!(host.get(&path).ok(200), *plan);
    host.call("POST", "/api/v1/pods/low-0/evicted", &[], b"")
        .ok(200);
    assert_eq!(host.get("/api/v1/jobs/high").ok(200)["running"], 1);
    assert_eq!(host.get(&path).ok(200)["status"]["phase"], "done");
    let low = host.get("/api/v1/pods/low-0").ok(200);
    assert_eq!(low["state"]["phase"], "waiting");
    assert_eq!(low["progress"]["evictions"], 1, "{low}");
    assert_eq!(
        host.get("/api/v1/plans?phase=leaving").ok(200)["items"],
        json!([])
    );
    host.get("/api/v1/plans?phase=odd")
        .no(422, "InvalidRequest");
    host.get("/api/v1/plans/99").no(404, "NotFound");
    host.get("/api/v1/plans/x").no(404, "NotFound");
}

/// Everything the engine would write down.
fn state(daemon: &DaemonHandle) -> Vec<Vec<u8>> {
    let read = daemon.read_blocking(|v| {
        let objects = v.engine.keys().filter_map(|key| v.engine.export(&key));
        let objects = objects.map(loadmaster::wire::object::Object::from);
        objects.map(|o| loadmaster::wire::to_json(&o)).collect()
    });
    read.unwrap()
}

#[test]
fn a_dry_run_leaves_no_trace_in_the_state() {
    let daemon = Daemon::start(DaemonConfig {
        clock: std::sync::Arc::new(|| 1_000_000),
        tick: None,
        ..DaemonConfig::default()
    })
    .unwrap();
    let read = |text: Value| -> JobSpec {
        let wire: loadmaster::wire::job::Job = serde_json::from_value(text).unwrap();
        wire.try_into().unwrap()
    };
    let node: loadmaster::wire::node::Node = serde_json::from_value(json!({
        "name": "n", "capacity": {"cpu": 8, "memory": "32Gi"}, "rack": "r",
        "gpus": [{"model": "A100", "count": 8}],
    }))
    .unwrap();
    let quota: loadmaster::wire::quota::Quota =
        serde_json::from_value(json!({"name": "q", "resources": {"gpu": {"nominal": 2}}})).unwrap();
    let queue: loadmaster::wire::quota::Queue =
        serde_json::from_value(json!({"name": "q", "quota": "q"})).unwrap();
    daemon
        .submit_blocking(vec![
            Event::NodePut(Box::new(node.try_into().unwrap())),
            Event::QuotaPut(quota.into()),
            Event::QueuePut(queue.into()),
            Event::JobSubmit(Box::new(read(job("low", 2, 4, json!({}))))),
            Event::JobSubmit(Box::new(read(job("waits", 2, 2, json!({"queue": "q"}))))),
        ])
        .unwrap();
    let before = state(&daemon);
    for (wanted, verdict) in [
        (job("high", 3, 4, json!({"priority": 5})), "preempts"),
        (job("even", 3, 4, json!({})), "waits"),
        (job("queued", 2, 2, json!({"queue": "q"})), "waits"),
        (job("light", 2, 0, json!({})), "runs"),
        (job("low", 1, 0, json!({})), "denied"),
        (
            gang("train", 2, json!({"topology": {"required": "rack"}})),
            "waits",
        ),
    ] {
        let action = Action::WhatIf(Box::new(read(wanted.clone())));
        let asked = Submission::new(action, |_, receipt| {
            Reply::json(200, &receipt.what_if.as_deref())
        });
        let (reply, _) = daemon.perform_blocking(asked).unwrap();
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(answer["verdict"], verdict, "{wanted} {answer}");
        assert!(state(&daemon) == before, "{wanted} left a trace");
    }
    daemon.shutdown();
}

#[test]
fn budgets_and_guards_stand_before_evictions() {
    let mut host = Host::durable();
    host.add_nodes(1);
    host.send(
        "POST",
        "/api/v1/jobs",
        job("web", 1, 1, json!({"app": "web"})),
    )
    .ok(201);
    let budget =
        json!({"app": "web", "min_available": 1, "bucket": {"capacity": 3, "refill": "1m"}});
    host.send("PUT", "/api/v1/budgets/web", budget.clone())
        .ok(201);
    host.send("PUT", "/api/v1/budgets/web", budget).ok(200);
    host.send("PUT", "/api/v1/budgets/odd", json!({"min_available": 1}))
        .no(422, "InvalidRequest");
    let refused = host.call("POST", "/api/v1/pods/web-0/evict", &[], b"");
    let refused = refused.no(409, "EvictRefused");
    assert!(
        refused["detail"].as_str().unwrap().contains("web"),
        "{refused}"
    );
    host.restart();
    let view = host.get("/api/v1/budgets/web").ok(200);
    assert_eq!(
        (&view["available"], &view["allowed"], &view["tokens"]),
        (&json!(1), &json!(0), &json!(3)),
        "{view}"
    );
    assert_eq!(host.get("/api/v1/budgets").ok(200)["items"][0], view);
    host.delete("/api/v1/budgets/web").ok(204);
    host.delete("/api/v1/budgets/web").no(404, "NotFound");
    host.call("POST", "/api/v1/pods/web-0/evict", &[], b"")
        .ok(200);
    host.call("POST", "/api/v1/pods/none/evict", &[], b"")
        .no(404, "NotFound");
    let metrics = host.get("/metrics").text;
    let line = "loadmaster_evictions_total{cause=\"Operator\"} 1";
    assert!(metrics.contains(line), "{metrics}");

    let guards = host.get("/api/v1/guards").ok(200);
    assert_eq!(guards["items"][0]["id"], "hold");
    assert_eq!(guards["items"][1]["evictions"]["evicted"], 1, "{guards}");
    let approve = |body: Value| host.send("POST", "/api/v1/guards/evictions/approve", body);
    let by = |count: Value| json!({"by": "me", "reason": "looked", "count": count});
    approve(json!({"by": "me", "reason": "looked"})).no(422, "InvalidRequest");
    approve(by(json!(0))).no(422, "InvalidRequest");
    approve(json!({"by": "", "reason": "x", "count": 1})).no(422, "InvalidRequest");
    assert_eq!(approve(by(json!(5))).ok(200)["evictions"]["approved"], 5);
    host.restart();
    let guard = host.get("/api/v1/guards/evictions").ok(200);
    assert_eq!(guard["evictions"]["approved"], 5, "{guard}");
    host.get("/api/v1/guards/other").no(404, "NotFound");
}

#[test]
fn catalogues_are_filled_and_kept() {
    let mut host = Host::durable();
    let entries = json!([
        {"catalog": "app", "name": "search", "owner": "team-search", "compliance": ["pci"]},
        {"catalog": "image", "name": "reg.example/search:1", "signed_by": ["ci"], "built": "2026-03-01T00:00:00Z"},
    ]);
    let put = host.send("POST", "/api/v1/catalog", entries.clone());
    assert_eq!(put.ok(200)["applied"], 2);
    let twice = json!([entries[0], entries[0]]);
    let problem = host
        .send("POST", "/api/v1/catalog", twice)
        .no(422, "InvalidRequest");
    assert_eq!(problem["errors"][0]["pointer"], "/1/name");
    host.send(
        "POST",
        "/api/v1/catalog",
        json!({"catalog": "app", "nome": "x"}),
    )
    .no(422, "InvalidRequest");
    host.restart();
    let images = host.get("/api/v1/catalog?catalog=image").ok(200);
    assert_eq!(images["items"][0]["signed_by"], json!(["ci"]));
    assert_eq!(images["items"].as_array().unwrap().len(), 1);
    host.get("/api/v1/catalog?catalog=gpu")
        .no(422, "InvalidRequest");
    let page = host.get("/api/v1/catalog?limit=1").ok(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = host
        .get(&format!("/api/v1/catalog?cursor={cursor}"))
        .ok(200);
    assert_eq!(rest["items"][0]["catalog"], "image");
    let image = "/api/v1/catalog/image/reg.example%2Fsearch:1";
    assert_eq!(host.get(image).ok(200)["built"], "2026-03-01T00:00:00.000Z");
    host.delete(image).ok(204);
    host.delete(image).no(404, "NotFound");
    host.get(image).no(404, "NotFound");
}

#[test]
fn what_a_gate_says_no_to_points_into_what_was_sent() {
    let host = Host::in_memory();
    host.add_nodes(1);
    let gate = loadmaster::bundled::components();
    let gate = gate.iter().find(|b| b.name == "guardrails").unwrap();
    let wasm = [("content-type", "application/wasm")];
    host.call("POST", "/api/v1/policies", &wasm, gate.wasm)
        .ok(201);
    let set = json!({"policies": [{"policy": "guardrails", "fail": "closed"}], "reason": "test"});
    host.send_if("PUT", "/api/v1/hooks/admission", &[("if-match", "*")], set)
        .ok(200);
    let root = job(
        "root",
        1,
        1,
        json!({"run_as_root": true, "labels": {"owner": "me"}}),
    );
    let problem = host
        .send("POST", "/api/v1/jobs", root.clone())
        .no(403, "DeniedByPolicy");
    let at: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    assert!(at.contains(&"/run_as_root"), "{problem}");
    let answer = host.send("POST", "/api/v1/jobs?dry_run=true", root).ok(200);
    assert_eq!(answer["verdict"], "denied", "{answer}");
    let codes: Vec<&str> = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"RunsAsRoot"), "{answer}");
    host.get("/api/v1/jobs/root").no(404, "NotFound");
    let metrics = host.get("/metrics").text;
    let line = "loadmaster_admissions_total{outcome=\"denied\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    host.call("POST", "/api/v1/hooks/admission/rollback", &[], b"")
        .ok(200);
    let again = job("root", 1, 1, json!({"run_as_root": true}));
    host.send("POST", "/api/v1/jobs", again).ok(201);
}
