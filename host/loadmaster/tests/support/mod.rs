//! A host on a free port with a clock of its own, and a client for it.

#![allow(dead_code, reason = "each test binary uses its part of it")]

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
pub struct Clock(pub Arc<AtomicU64>);

pub struct Host {
    pub runtime: tokio::runtime::Runtime,
    pub server: Option<Server>,
    pub agent: ureq::Agent,
    pub dir: Option<PathBuf>,
    pub clock: Clock,
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// A problem with this status and reason.
    #[track_caller]
    pub fn no(self, status: u16, reason: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["reason"], reason, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().starts_with("/problems/"));
        problem
    }
}

pub fn options(dir: Option<&Path>, clock: &Clock) -> ServeOptions {
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
    pub fn in_memory() -> Self {
        Self::start(None)
    }

    pub fn durable() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("loadmaster-api-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self::start(Some(dir))
    }

    pub fn start(dir: Option<PathBuf>) -> Self {
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

    pub fn restart(&mut self) {
        self.runtime
            .block_on(self.server.take().unwrap().shutdown());
        let options = options(self.dir.as_deref(), &self.clock);
        self.server = Some(self.runtime.block_on(Server::start(options)).unwrap());
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.as_ref().unwrap().address)
    }

    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
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

    pub fn get(&self, path: &str) -> Answer {
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

    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], b"")
    }

    pub fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send_if(method, path, &[], body)
    }

    pub fn send_if(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.call(method, path, &all, body.to_string().as_bytes())
    }

    pub fn add_nodes(&self, count: usize) {
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

pub fn pod(name: &str, gpus: u32) -> Value {
    json!({"name": name, "requests": {"cpu": "1", "memory": "1Gi"}, "gpu": {"count": gpus}})
}

// === Every route ===
