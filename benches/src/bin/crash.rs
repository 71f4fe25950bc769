//! Kill -9 at any moment: nothing acknowledged is lost.
//!
//! A child process serves the real HTTP API over a store, with a WebAssembly
//! policy active. Clients submit jobs and pods and finish some of them, and keep
//! what was acknowledged. The child is killed at a random moment and started
//! again on the same directory, cycle after cycle, and everything ever
//! acknowledged is looked up: jobs are there, pods run where the answer said they
//! run, on the same devices, and finished ones stay finished. Every gang there is
//! runs whole or not at all, and what nodes have left adds up with what runs: no
//! reservation leaks.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loadmaster::api::{ServeOptions, Server};
use serde_json::{Value, json};
use tests::clusters::Rng;

const CLIENTS: u64 = 4;
const NODES: u64 = 64;

fn serve(dir: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let server = Server::start(ServeOptions {
            data_dir: Some(dir.to_owned()),
            listen: ([127, 0, 0, 1], 0).into(),
            shipped: false,
            ..ServeOptions::default()
        })
        .await
        .expect("the daemon starts again");
        println!("{}", server.address);
        std::future::pending::<()>().await;
    });
    unreachable!("served until killed")
}

fn start(dir: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .arg("serve")
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut line = String::new();
    let out = child.stdout.as_mut().expect("piped");
    std::io::BufReader::new(out)
        .read_line(&mut line)
        .expect("an address");
    assert!(
        !line.is_empty(),
        "the daemon did not come back; its reason is above"
    );
    (child, format!("http://{}/api/v1", line.trim()))
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into()
}

fn post(agent: &ureq::Agent, url: &str, body: &Value) -> Option<(u16, Value)> {
    let mut answer = agent.post(url).send_json(body).ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.body_mut().read_json().unwrap_or(Value::Null)))
}

fn get(agent: &ureq::Agent, url: &str) -> (u16, Value) {
    let mut answer = agent.get(url).call().expect("the daemon answers");
    let status = answer.status().as_u16();
    (status, answer.body_mut().read_json().unwrap_or(Value::Null))
}

fn pod(name: &str, rng: &mut Rng) -> Value {
    let gpu = match rng.below(3) {
        0 => json!({"count": 1}),
        1 => json!({"count": 1, "share": "300m"}),
        _ => json!({"count": 0}),
    };
    json!({"name": name, "app": "crash", "requests": {"cpu": "1", "memory": "1Gi"}, "gpu": gpu})
}

/// What was acknowledged: a pod's state (`null` once its end was), and jobs.
#[derive(Default)]
struct Acknowledged {
    pods: BTreeMap<String, Value>,
    jobs: BTreeMap<String, u64>,
}

fn client(base: &str, seed: u64, cycle: usize, dead: &AtomicBool, acks: &Mutex<Acknowledged>) {
    let (agent, mut rng) = (agent(), Rng::new(seed));
    let mut mine: Vec<String> = Vec::new();
    for i in 0.. {
        if dead.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("c{cycle}-s{seed}-{i}");
        match rng.below(4) {
            0 => {
                let replicas = 1 + rng.below(3);
                let job = json!({
                    "id": name, "kind": "batch", "replicas": replicas,
                    "template": {"app": "crash", "requests": {"cpu": "250m", "memory": "128Mi"}},
                });
                if let Some((201, _)) = post(&agent, &format!("{base}/jobs"), &job) {
                    acks.lock().expect("lock").jobs.insert(name, replicas);
                }
            }
            1 if i % 3 == 0 => {
                let id = format!("g-{name}");
                let members = 2 + rng.below(7);
                let gpus = 1 + rng.below(4);
                let gang = json!({
                    "id": id, "kind": "batch", "replicas": members,
                    "template": {"app": "crash", "requests": {"cpu": "250m", "memory": "128Mi"}},
                    "gang": {"roles": [{"name": "w", "count": members, "min": members, "template":
                        {"requests": {"cpu": "250m", "memory": "128Mi"}, "gpu": {"count": gpus}}}]},
                });
                if let Some((201, _)) = post(&agent, &format!("{base}/jobs"), &gang) {
                    acks.lock().expect("lock").jobs.insert(id, members);
                }
            }
            1 if mine.len() > 4 => {
                let pod = mine.swap_remove(rng.below(mine.len() as u64) as usize);
                let url = format!("{base}/pods/{pod}/finished");
                // Until the answer is there, both outcomes are right.
                acks.lock().expect("lock").pods.remove(&pod);
                if let Some((204, _)) = post(&agent, &url, &json!({})) {
                    acks.lock().expect("lock").pods.insert(pod, Value::Null);
                }
            }
            _ => {
                let answer = post(&agent, &format!("{base}/pods"), &pod(&name, &mut rng));
                if let Some((201, body)) = answer {
                    let state = body["items"][0]["state"].clone();
                    mine.push(name.clone());
                    acks.lock().expect("lock").pods.insert(name, state);
                }
            }
        }
    }
}

/// Acknowledged things that are not as they were acknowledged.
fn lost(base: &str, acks: &Acknowledged) -> Vec<String> {
    let agent = agent();
    let mut lost = Vec::new();
    for (name, state) in &acks.pods {
        let (status, body) = get(&agent, &format!("{base}/pods/{name}"));
        let same = match state["phase"].as_str() {
            None => status == 404,
            Some("running") => status == 200 && body["state"] == *state,
            // A pod that waited may have been placed since.
            Some(_) => status == 200,
        };
        if !same {
            lost.push(format!(
                "pod {name}: told {state}, found {status} {}",
                body["state"]
            ));
        }
    }
    for (id, replicas) in &acks.jobs {
        let (status, body) = get(&agent, &format!("{base}/jobs/{id}"));
        let pods = body["pods"].as_array().map_or(0, Vec::len) as u64;
        if status != 200 || pods != *replicas {
            lost.push(format!(
                "job {id}: {replicas} replicas told, found {status} {pods}"
            ));
        }
    }
    lost
}

/// Everything of a paged list.
fn all(agent: &ureq::Agent, url: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, mut page) = get(agent, &format!("{url}?limit=500{cursor}"));
        assert_eq!(status, 200, "{url}: {page}");
        if let Some(list) = page["items"].as_array_mut() {
            items.append(list);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// Gangs that run in part, and milli-GPU that nobody holds and nobody has free.
fn broken(base: &str) -> (Vec<String>, i64, usize) {
    let agent = agent();
    let gangs = all(&agent, &format!("{base}/gangs"));
    let whole = |g: &Value| {
        let roles = g["roles"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        let running = |r: &Value| r["running"].as_u64().unwrap_or(0);
        let started = roles.iter().any(|r| running(r) > 0);
        !started
            || roles
                .iter()
                .all(|r| running(r) >= r["min"].as_u64().unwrap_or(1))
    };
    let partial = gangs.iter().filter(|g| !whole(g));
    let partial = partial.map(|g| g["job"].to_string()).collect();
    let nodes = all(&agent, &format!("{base}/nodes"));
    let free: i64 = nodes
        .iter()
        .flat_map(|n| n["gpu_milli_free"].as_array().into_iter().flatten())
        .filter_map(Value::as_i64)
        .sum();
    let held: i64 = all(&agent, &format!("{base}/pods"))
        .iter()
        .filter(|p| p["state"]["phase"] == "running")
        .map(|p| {
            let devices = p["state"]["devices"].as_array().map_or(0, Vec::len) as i64;
            let share = p["spec"]["gpu"]["share"].as_str().unwrap_or("1");
            let milli = share
                .strip_suffix('m')
                .map_or(1_000, |m| m.parse().unwrap_or(0));
            devices * milli
        })
        .sum();
    (partial, NODES as i64 * 8_000 - free - held, gangs.len())
}

fn prepare(base: &str) {
    let agent = agent();
    let nodes: Vec<Value> = (0..NODES)
        .map(|i| {
            json!({
                "name": format!("n{i:03}"),
                "capacity": {"cpu": "4096", "memory": "64Ti", "disk": "1Ti", "network": "100G"},
                "gpus": [{"model": "H100", "count": 8, "memory": "80Gi"}],
            })
        })
        .collect();
    let (status, body) =
        post(&agent, &format!("{base}/nodes:batch"), &json!(nodes)).expect("nodes");
    assert_eq!(status, 200, "{body}");
    let wasm = loadmaster::bundled::component("binpack")
        .expect("shipped")
        .wasm;
    let upload = agent
        .post(format!("{base}/policies"))
        .content_type("application/wasm")
        .send(wasm)
        .expect("an answer");
    assert_eq!(upload.status().as_u16(), 201);
    let (_, hook) = get(&agent, &format!("{base}/hooks/scoring"));
    let set =
        json!({"combine": "weighted", "policies": [{"policy": "binpack"}], "reason": "crash"});
    let active = agent
        .put(format!("{base}/hooks/scoring"))
        .header("if-match", format!("\"{}\"", hook["revision"]))
        .send_json(set)
        .expect("an answer");
    assert_eq!(active.status().as_u16(), 200);
}

fn main() {
    sandbox::compile_child::maybe_run();
    let args: Vec<String> = std::env::args().collect();
    if let [_, verb, dir] = args.as_slice()
        && verb == "serve"
    {
        serve(Path::new(dir));
    }
    let cycles: usize = args
        .get(1)
        .map_or(200, |n| n.parse().expect("a number of cycles"));
    let dir = std::env::temp_dir().join(format!("loadmaster-crash-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let acks = Arc::new(Mutex::new(Acknowledged::default()));
    let (mut rng, mut checked, mut ever) = (Rng::new(9), 0, 0);
    let mut gangs = 0;
    for cycle in 0..=cycles {
        let (mut child, base) = start(&dir);
        if cycle == 0 {
            prepare(&base);
        }
        let (_, hook) = get(&agent(), &format!("{base}/hooks/scoring"));
        let active = &hook["active"]["members"][0]["policy"]["name"];
        assert_eq!(active, "binpack", "the active set came back: {hook}");
        assert_ne!(hook["active"]["members"][0]["policy"]["digest"], "builtin");
        {
            let mut acks = acks.lock().expect("lock");
            let lost = lost(&base, &acks);
            if !lost.is_empty() {
                eprintln!("{}", lost.join("\n"));
                eprintln!(
                    "cycle {cycle}: {} acknowledged writes lost; {}",
                    lost.len(),
                    dir.display()
                );
                let _ = child.kill();
                std::process::exit(1);
            }
            checked += acks.pods.len() + acks.jobs.len();
            let (partial, leaked, looked_at) = broken(&base);
            gangs += looked_at;
            if !partial.is_empty() || leaked != 0 {
                eprintln!("cycle {cycle}: partial gangs {partial:?}, {leaked} milli-GPU leaked");
                let _ = child.kill();
                std::process::exit(1);
            }
            // What was found is not looked for in every later cycle, or cycles
            // would grow without end; the newest are looked at a few times.
            if cycle % 4 == 3 && cycle < cycles {
                ever += acks.pods.len() + acks.jobs.len();
                *acks = Acknowledged::default();
            }
        }
        let dead = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let (base, dead, acks) = (base.clone(), Arc::clone(&dead), Arc::clone(&acks));
                std::thread::spawn(move || client(&base, seed, cycle, &dead, &acks))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(5 + rng.below(120)));
        child.kill().expect("SIGKILL");
        dead.store(true, Ordering::Relaxed);
        child.wait().expect("the child ends");
        for c in clients {
            c.join().expect("a client");
        }
    }
    let acks = acks.lock().expect("lock");
    ever += acks.pods.len() + acks.jobs.len();
    println!("kill -9 cycles        {cycles}");
    println!("acknowledged writes   {ever}");
    println!("looked up             {checked}");
    println!("lost                  0");
    println!("gangs looked at       {gangs}");
    println!("partial gangs         0");
    println!("leaked reservations   0");
    let _ = std::fs::remove_dir_all(&dir);
}
