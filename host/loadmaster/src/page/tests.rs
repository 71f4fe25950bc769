//! The files of the page and what it is fed.

use std::sync::Arc;

use axum::http::{Request, StatusCode, header};
use engine::{Config, Engine, Output};
use http_body_util::BodyExt as _;
use model::Event;

use super::assets::{ASSETS, CONTENT_SECURITY_POLICY, router};
use super::columns::{Fixed, Now};
use crate::daemon::{Daemon, DaemonConfig, DaemonHandle};
use crate::page::Feed;

async fn get(path: &str, tag: Option<&str>) -> (StatusCode, axum::http::HeaderMap, bytes::Bytes) {
    use hyper::service::Service as _;
    let mut request = Request::get(path);
    if let Some(tag) = tag {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    let request = request.body(axum::body::Body::empty()).unwrap();
    let service = hyper_util::service::TowerToHyperService::new(router());
    let response = service.call(request).await.unwrap();
    let (head, body) = response.into_parts();
    (
        head.status,
        head.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

#[tokio::test]
async fn every_file_is_served_with_its_type_and_a_tag_that_saves_sending_it_twice() {
    for asset in ASSETS {
        let path = match asset.name {
            "index.html" => "/".to_owned(),
            name => format!("/assets/{name}"),
        };
        let (status, headers, body) = get(&path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(body, asset.bytes, "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], asset.content_type);
        assert_eq!(
            headers[header::CONTENT_SECURITY_POLICY],
            CONTENT_SECURITY_POLICY
        );
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
        let tag = headers[header::ETAG].to_str().unwrap();
        let (status, headers, body) = get(&path, Some(tag)).await;
        assert_eq!(status, StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(headers[header::ETAG], tag);
        assert!(body.is_empty());
        let (status, _, _) = get(&path, Some("\"another\"")).await;
        assert_eq!(status, StatusCode::OK);
    }
    assert_eq!(get("/assets/none.js", None).await.0, StatusCode::NOT_FOUND);
}

#[test]
fn nothing_of_the_page_asks_for_anything_elsewhere() {
    for asset in ASSETS {
        let text = std::str::from_utf8(asset.bytes).unwrap();
        for (at, line) in text.lines().enumerate() {
            let place = format!("{}:{}", asset.name, at + 1);
            let outside = line.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !outside.contains("http://") && !outside.contains("https://"),
                "{place}"
            );
            for absolute in [
                "src=\"/",
                "href=\"/",
                "fetch(\"/",
                "fetch(`/",
                "EventSource(\"/",
                "EventSource(`/",
                "url(/",
            ] {
                assert!(!line.contains(absolute), "{place}: an absolute path");
            }
            assert!(
                !line.contains("innerHTML") && !line.contains("eval("),
                "{place}"
            );
        }
        if asset.name.ends_with(".html") {
            assert!(
                !text.contains("<style") && !text.contains(" style="),
                "inline styles are refused by the policy"
            );
            assert!(
                !text.contains(" onclick="),
                "inline handlers are refused by the policy"
            );
            assert_eq!(
                text.matches("<script").count(),
                text.matches("<script type=\"module\" src=").count()
            );
        }
    }
}

#[test]
fn every_import_and_every_link_is_a_file_of_the_page() {
    let known = |name: &str| ASSETS.iter().any(|a| a.name == name);
    for asset in ASSETS {
        let text = std::str::from_utf8(asset.bytes).unwrap();
        for rest in text.split("from \"./").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(known(name), "{} imports {name}", asset.name);
        }
        for rest in text.split("\"assets/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(known(name), "{} links {name}", asset.name);
        }
    }
}

fn cluster(count: usize) -> (Engine, Vec<model::NodeSpec>) {
    let mut engine = Engine::new(Config::default());
    let nodes = ::cluster::demo::nodes(count, 3);
    let mut out = Output::default();
    for node in &nodes {
        engine
            .step(1, Event::NodePut(Box::new(node.clone())), &mut out)
            .unwrap();
    }
    (engine, nodes)
}

fn pods(nodes: &[model::NodeSpec], count: usize) -> Vec<model::PodSpec> {
    let arrivals = ::cluster::demo::Arrivals::new(nodes, ::cluster::demo::Load::default(), 5);
    arrivals.take(count).map(|a| a.pod).collect()
}

#[test]
fn changed_rows_and_the_rows_before_give_the_rows_after() {
    let (mut engine, nodes) = cluster(120);
    let fixed = Fixed::of(&engine);
    let (before, same) = Now::of(&engine, &fixed);
    assert!(same);
    assert!(before.since(&before).row.is_empty());
    let mut out = Output::default();
    engine
        .step(2, Event::PodsSubmit(pods(&nodes, 40)), &mut out)
        .unwrap();
    let cordoned = model::NodeSpec {
        cordoned: true,
        ..nodes[7].clone()
    };
    engine
        .step(3, Event::NodePut(Box::new(cordoned)), &mut out)
        .unwrap();
    let (after, same) = Now::of(&engine, &fixed);
    assert!(same, "a cordon changes no column that is sent once");
    let changed = after.since(&before);
    assert!(!changed.row.is_empty() && changed.row.len() <= 41);
    let mut patched = before;
    for (i, row) in changed.row.iter().enumerate() {
        let at = patched.row.iter().position(|r| r == row).unwrap();
        patched.state[at] = changed.state[i];
        patched.pods[at] = changed.pods[i];
        patched.cpu_milli_free[at] = changed.cpu_milli_free[i];
        patched.memory_mib_free[at] = changed.memory_mib_free[i];
        patched.gpu_milli_free[at].clone_from(&changed.gpu_milli_free[i]);
    }
    assert_eq!(patched, after);
}

#[test]
fn another_shape_of_the_cluster_is_noticed() {
    let (mut engine, nodes) = cluster(40);
    let fixed = Fixed::of(&engine);
    let mut out = Output::default();
    let mut check = |engine: &mut Engine, event| {
        engine.step(5, event, &mut out).unwrap();
        assert!(!Now::of(engine, &fixed).1);
        assert!(Now::of(engine, &Fixed::of(engine)).1);
    };
    let moved = model::NodeSpec {
        rack: Some("elsewhere".to_owned()),
        ..nodes[3].clone()
    };
    check(&mut engine, Event::NodePut(Box::new(moved)));
    check(
        &mut engine,
        Event::NodeRemove {
            name: nodes[9].name.clone(),
        },
    );
}

#[test]
fn nvlink_islands_are_those_of_the_machine() {
    let (engine, nodes) = cluster(300);
    let fixed = Fixed::of(&engine);
    for (at, node) in nodes.iter().enumerate() {
        let Ok(wiring) = usize::try_from(fixed.wiring[at]) else {
            assert!(node.links.is_none());
            continue;
        };
        let islands = &fixed.names.wirings[wiring].islands;
        match node.gpus.first().map(|g| g.model.as_str()) {
            Some("A100" | "H100" | "V100M16" | "V100M32") if node.gpus.len() > 1 => {
                assert_eq!(
                    islands,
                    &[(0..node.gpus.len() as u8).collect::<Vec<_>>()],
                    "{}",
                    node.name
                );
            }
            _ => assert!(islands.is_empty(), "{}", node.name),
        }
    }
}

async fn running(nodes: &[model::NodeSpec]) -> (DaemonHandle, Arc<Feed>) {
    let daemon = tokio::task::spawn_blocking(|| Daemon::start(DaemonConfig::default()))
        .await
        .unwrap()
        .unwrap();
    let put = nodes
        .iter()
        .map(|n| Event::NodePut(Box::new(n.clone())))
        .collect();
    daemon.submit(put).await.unwrap();
    let feed = Feed::new(daemon.clone());
    feed.start();
    (daemon, feed)
}

fn data(frame: &[u8]) -> (String, serde_json::Value) {
    let text = std::str::from_utf8(frame).unwrap();
    let line = |start: &str| text.lines().find_map(|l| l.strip_prefix(start)).unwrap();
    (
        line("event: ").to_owned(),
        serde_json::from_str(line("data: ")).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_begins_with_the_map_and_follows_the_stream_has_the_present_state() {
    let nodes = ::cluster::demo::nodes(60, 3);
    let (daemon, feed) = running(&nodes).await;
    let map = feed.map().await.unwrap();
    assert_eq!(map.nodes.fixed.name.len(), 60);
    let mut free = map.nodes.now.gpu_milli_free.clone();
    daemon
        .submit(vec![Event::PodsSubmit(pods(&nodes, 80))])
        .await
        .unwrap();
    // Changes between the map and the stream are kept for it.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    let mut watcher = feed.watch(map.cursor);
    let expected = daemon
        .read(|v| {
            v.engine
                .nodes()
                .map(|n| n.gpu_milli_free.to_vec())
                .collect::<Vec<_>>()
        })
        .await
        .unwrap();
    assert_ne!(free, expected);
    while free != expected {
        let (event, value) = data(&watcher.next().await.unwrap());
        assert_ne!(event, "resync");
        if event != "change" || value["nodes"].is_null() {
            continue;
        }
        let rows = value["nodes"]["row"].as_array().unwrap();
        for (i, row) in rows.iter().enumerate() {
            let at = map
                .nodes
                .fixed
                .row
                .iter()
                .position(|r| u64::from(*r) == row.as_u64().unwrap())
                .unwrap();
            free[at] = serde_json::from_value(value["nodes"]["gpu_milli_free"][i].clone()).unwrap();
        }
    }
    // A cursor from another time begins anew; a new node does so for everybody.
    let (event, _) = data(&feed.watch(map.cursor + 1_000_000).next().await.unwrap());
    assert_eq!(event, "resync");
    let new = model::NodeSpec {
        name: "new".to_owned(),
        ..nodes[0].clone()
    };
    daemon
        .submit(vec![Event::NodePut(Box::new(new))])
        .await
        .unwrap();
    while data(&watcher.next().await.unwrap()).0 != "resync" {}
    assert!(!feed.timeline().points.is_empty());
    let ended = daemon.clone();
    tokio::task::spawn_blocking(move || ended.shutdown())
        .await
        .unwrap();
    while watcher.next().await.is_some() {}
}
