//! Guests written by hand, small enough to compile in milliseconds, and a host
//! around a workshop that journals nowhere.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lifecycle::{BlobError, Blobs, Upload, UploadError, Uploaded, Workshop};
use lifecycle::{Plan, PlanError, PolicyRecord, Registry};
use sandbox::{Compiler, Sandbox, SandboxConfig};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

const CONTRACT: [(&str, &str); 5] = [
    (
        "types.wit",
        include_str!("../../../../wit/v0.1.0/types.wit"),
    ),
    (
        "scoring.wit",
        include_str!("../../../../wit/v0.1.0/scoring.wit"),
    ),
    (
        "admission.wit",
        include_str!("../../../../wit/v0.1.0/admission.wit"),
    ),
    (
        "preemption.wit",
        include_str!("../../../../wit/v0.1.0/preemption.wit"),
    ),
    (
        "autoscaling.wit",
        include_str!("../../../../wit/v0.1.0/autoscaling.wit"),
    ),
];

/// What differs between two guests.
#[derive(Debug, Clone)]
pub struct Guest {
    pub name: &'static str,
    pub version: &'static str,
    pub schema: &'static str,
    /// Score of row `$i`, whose `cpu-free` is on the stack under `$v`.
    pub score: &'static str,
    /// Contract version it is built for.
    pub contract: &'static str,
}

/// Settings that the guest below accepts, except 9.
pub const SCHEMA: &str = r#"{"type":"object","additionalProperties":false,"properties":{"level":{"type":"integer","minimum":0,"maximum":9}}}"#;

/// A pure function of the row.
pub const SOUND: &str = "(select (local.get $v) (i32.const 100000)
    (i32.lt_s (local.get $v) (i32.const 100000)))";

/// Every second call gives one more.
pub const STATEFUL: &str = "(i32.and (global.get $calls) (i32.const 1))";

/// One past the best score.
pub const ABOVE_RANGE: &str = "(i32.const 100001)";

impl Default for Guest {
    fn default() -> Self {
        Self {
            name: "guest",
            version: "1.0.0",
            schema: SCHEMA,
            score: SOUND,
            contract: "0.1.0",
        }
    }
}

/// Where things are in the guest's memory: returned records, the text of the
/// description, its list of columns, and what is allocated.
const RETURN: u32 = 64;
const TEXT: u32 = 256;
const COLUMNS: u32 = 3_584;
const HEAP: u32 = 4_096;

const POD_AND_ROWS: &str = "(param i32 i32 i32 i32 i32 i32 i32 i64 i32 i32)
    (param $count i32) (param $slots i32) (param $data i32) (param $len i32)";

impl Guest {
    /// A scoring policy that reads `cpu-free`.
    pub fn scoring(&self) -> Vec<u8> {
        let score = self.score;
        let body = format!(
            "(global $calls (mut i32) (i32.const 0))
            (func $value (param $data i32) (param $i i32) (result i32)
                (local $v i32)
                (local.set $v (i32.load
                    (i32.add (local.get $data) (i32.mul (local.get $i) (i32.const 4)))))
                {score})
            (func (export \"$I#set-context\")
                (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                (i32.store8 (i32.const {RETURN}) (i32.const 0))
                (i32.const {RETURN}))
            (func (export \"$I#score\") {POD_AND_ROWS} (result i32)
                (local $out i32) (local $i i32)
                (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                (local.set $out (call $alloc (i32.mul (local.get $count) (i32.const 4))))
                (block $done (loop $next
                    (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
                    (i32.store
                        (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 4)))
                        (call $value (local.get $data) (local.get $i)))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br $next)))
                (i32.store (i32.const {RETURN}) (local.get $out))
                (i32.store offset=4 (i32.const {RETURN}) (local.get $count))
                (i32.const {RETURN}))
            (func (export \"$I#place\") {POD_AND_ROWS} (result i32)
                (i32.store8 (i32.const {RETURN}) (i32.const 0))
                (i32.const {RETURN}))
            (func (export \"$I#explain\") {POD_AND_ROWS} (result i32)
                (local $out i32) (local $i i32) (local $part i32)
                (local.set $out (call $alloc (i32.mul (local.get $count) (i32.const 8))))
                (block $done (loop $next
                    (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
                    (local.set $part (call $alloc (i32.const 24)))
                    (i64.store (local.get $part) (i64.const 0))
                    (i64.store offset=8 (local.get $part) (i64.extend_i32_s
                        (call $value (local.get $data) (local.get $i))))
                    (i64.store offset=16 (local.get $part) (i64.const 0))
                    (i32.store
                        (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 8)))
                        (local.get $part))
                    (i32.store offset=4
                        (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 8)))
                        (i32.const 1))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br $next)))
                (i32.store (i32.const {RETURN}) (local.get $out))
                (i32.store offset=4 (i32.const {RETURN}) (local.get $count))
                (i32.const {RETURN}))"
        );
        let calls = [
            "describe",
            "configure",
            "set-context",
            "score",
            "place",
            "explain",
        ];
        self.component("scoring", &["cpu-free"], &body, &calls)
    }

    /// An autoscaling policy that abstains.
    pub fn autoscaling(&self) -> Vec<u8> {
        let body = format!(
            "(func (export \"$I#scale\") (param i32) (result i32)
                (i32.store8 (i32.const {RETURN}) (i32.const 0))
                (i32.const {RETURN}))"
        );
        let calls = ["describe", "configure", "scale"];
        self.component("autoscaling", &[], &body, &calls)
    }

    /// An admission policy without opinions.
    pub fn admission(&self) -> Vec<u8> {
        // An empty key a head: a list of 8 bytes. A ruling is 28: `abstain` is 5.
        let a_head = |size: u32, store: &str| {
            format!(
                "(param i64 i32 i32 i32) (param $heads i32) (param $count i32) (result i32)
                (local $out i32) (local $i i32)
                (local.set $out (call $alloc (i32.mul (local.get $count) (i32.const {size}))))
                (memory.fill (local.get $out) (i32.const 0)
                    (i32.mul (local.get $count) (i32.const {size})))
                (block $done (loop $next
                    (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
                    {store}
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br $next)))
                (i32.store (i32.const {RETURN}) (local.get $out))
                (i32.store offset=4 (i32.const {RETURN}) (local.get $count))
                (i32.const {RETURN})"
            )
        };
        let keys = a_head(8, "");
        let rulings = a_head(
            28,
            "(i32.store8 (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 28)))
                (i32.const 5))",
        );
        let body = format!(
            "(func (export \"$I#validate\") (param i32) (result i32)
                (memory.fill (i32.const {RETURN}) (i32.const 0) (i32.const 32))
                (i32.store8 (i32.const {RETURN}) (i32.const 2))
                (i32.const {RETURN}))
            (func (export \"$I#mutate\") (param i32) (result i32)
                (memory.fill (i32.const {RETURN}) (i32.const 0) (i32.const 8))
                (i32.const {RETURN}))
            (func (export \"$I#order\") {keys})
            (func (export \"$I#admit\") {rulings})"
        );
        let calls = [
            "describe",
            "configure",
            "validate",
            "mutate",
            "order",
            "admit",
        ];
        self.component("admission", &[], &body, &calls)
    }

    /// A preemption policy that reads `cpu-free` and answers with this case of
    /// the contract's `answer`.
    fn proposing(&self, answer: &str) -> Vec<u8> {
        let body = format!(
            "(func (export \"$I#set-context\")
                (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                (i32.store8 (i32.const {RETURN}) (i32.const 0))
                (i32.const {RETURN}))
            (func (export \"$I#propose\") (param i32) (result i32)
                {answer}
                (i32.const {RETURN}))"
        );
        let calls = ["describe", "configure", "set-context", "propose"];
        self.component("preemption", &["cpu-free"], &body, &calls)
    }

    /// A preemption policy without opinions.
    pub fn preemption(&self) -> Vec<u8> {
        self.proposing(&format!("(i32.store8 (i32.const {RETURN}) (i32.const 2))"))
    }

    /// A preemption policy whose every plan places nothing.
    pub fn empty_plans(&self) -> Vec<u8> {
        self.proposing(&format!(
            "(memory.fill (i32.const {RETURN}) (i32.const 0) (i32.const 64))"
        ))
    }

    fn component(&self, kind: &str, columns: &[&str], body: &str, calls: &[&str]) -> Vec<u8> {
        let interface = format!("loadmaster:policy/{kind}@{}", self.contract);
        let (data, describe) = self.description(columns);
        let posts: String = calls
            .iter()
            .map(|call| {
                format!(
                    "(func (export \"cabi_post_{interface}#{call}\") (param i32)
                        (global.set $heap (i32.const {HEAP})))\n"
                )
            })
            .collect();
        let body = body.replace("$I", &interface);
        let wat = format!(
            "(module
            (memory (export \"memory\") 2)
            {data}
            (global $heap (mut i32) (i32.const {HEAP}))
            (func $alloc (param $size i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                (global.set $heap (i32.add (local.get $at) (local.get $size)))
                (block $enough (loop $more
                    (br_if $enough (i32.le_u (global.get $heap)
                        (i32.mul (memory.size) (i32.const 65536))))
                    (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
                    (br $more)))
                (local.get $at))
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
                (call $alloc (local.get 3)))
            (func (export \"{interface}#describe\") (result i32) {describe})
            (func (export \"{interface}#configure\") (param $at i32) (param $len i32) (result i32)
                (local $accepted i32)
                (if (i32.and (i32.ge_u (local.get $len) (i32.const 2))
                        (i32.lt_u (local.get $len) (i32.const 20)))
                    (then (local.set $accepted (i32.and
                        (i32.eq (i32.load8_u (local.get $at)) (i32.const 123))
                        (i32.ne (i32.load8_u offset=9 (local.get $at)) (i32.const 57))))))
                (i32.store8 (i32.const {RETURN}) (i32.eqz (local.get $accepted)))
                (i32.store offset=4 (i32.const {RETURN}) (i32.const {TEXT}))
                (i32.store offset=8 (i32.const {RETURN}) (i32.const 5))
                (i32.const {RETURN}))
            {body}
            {posts})"
        );
        encode(&wat, &format!("{kind}-policy"), self.contract)
    }

    fn description(&self, columns: &[&str]) -> (String, String) {
        let mut data = String::new();
        let mut at = TEXT;
        let mut place = |text: &str| {
            let here = at;
            let text_escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            data.push_str(&format!("(data (i32.const {here}) \"{text_escaped}\")\n"));
            at += text.len() as u32;
            (here, text.len())
        };
        let strings = [self.name, self.version, "For a test.", self.schema].map(&mut place);
        let columns: Vec<_> = columns.iter().map(|c| place(c)).collect();
        assert!(at < COLUMNS, "the description does not fit");
        let mut code = String::new();
        let mut store = |at: u32, value: usize| {
            code.push_str(&format!(
                "(i32.store (i32.const {at}) (i32.const {value}))\n"
            ));
        };
        for (i, (here, len)) in strings.into_iter().enumerate() {
            store(RETURN + i as u32 * 8, here as usize);
            store(RETURN + i as u32 * 8 + 4, len);
        }
        store(RETURN + 32, COLUMNS as usize);
        store(RETURN + 36, columns.len());
        for (i, (here, len)) in columns.into_iter().enumerate() {
            store(COLUMNS + i as u32 * 8, here as usize);
            store(COLUMNS + i as u32 * 8 + 4, len);
        }
        code.push_str(&format!("(i32.const {RETURN})"));
        (data, code)
    }
}

fn encode(wat: &str, world: &str, contract: &str) -> Vec<u8> {
    let mut sources = SourceMap::new();
    for (name, text) in CONTRACT {
        let text = text.replace("policy@0.1.0", &format!("policy@{contract}"));
        sources.push_str(name, text);
    }
    let group = sources.parse().map_err(|(_, e)| e).expect("WIT parses");
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).expect("WIT resolves");
    let world = resolve
        .select_world(&[package], Some(world))
        .expect("world");
    let mut module = wat::parse_str(wat).unwrap_or_else(|e| panic!("{e}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    ComponentEncoder::default()
        .module(&module)
        .unwrap_or_else(|e| panic!("{e:#}"))
        .validate(true)
        .encode()
        .unwrap_or_else(|e| panic!("{e:#}"))
}

// === a host ===

/// A disk for components.
#[derive(Debug, Default)]
pub struct Shelf {
    pub blobs: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Blobs for Shelf {
    fn put(&self, digest: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let mut blobs = self.blobs.lock().expect("no test panics with it");
        blobs.insert(digest.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, digest: &str) -> Result<Vec<u8>, BlobError> {
        let blobs = self.blobs.lock().expect("no test panics with it");
        blobs.get(digest).cloned().ok_or_else(|| BlobError {
            action: "read",
            digest: digest.to_owned(),
            source: "no such file".into(),
        })
    }
}

/// One sandbox a process, as in the daemon. It compiles in this process: the
/// child and its limits are the sandbox's own tests.
fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: std::sync::OnceLock<Arc<Sandbox>> = std::sync::OnceLock::new();
    Arc::clone(SANDBOX.get_or_init(|| {
        let config = SandboxConfig {
            compiler: Compiler::InProcess,
            ..SandboxConfig::default()
        };
        Arc::new(Sandbox::new(config).expect("a sandbox"))
    }))
}

pub struct Host {
    pub shelf: Arc<Shelf>,
    pub workshop: Workshop,
    pub registry: Registry,
}

impl Host {
    pub fn new() -> Self {
        Self::with(Arc::default(), Registry::new())
    }

    /// After a restart: the disk is the same, nothing is prepared.
    pub fn with(shelf: Arc<Shelf>, registry: Registry) -> Self {
        Self {
            workshop: Workshop::new(sandbox(), Arc::clone(&shelf) as Arc<dyn Blobs>),
            shelf,
            registry,
        }
    }

    pub fn check(&self, bytes: &[u8]) -> Result<Uploaded, UploadError> {
        let upload = Upload {
            uploader: Some("alice".to_owned()),
            now_ms: 1_000,
            ..Upload::default()
        };
        self.workshop.upload(bytes, &upload, &self.registry)
    }

    pub fn register(&mut self, uploaded: Uploaded) -> Result<Plan, PlanError> {
        let plan = self.registry.plan_upload(uploaded)?;
        self.registry.apply(plan.clone());
        Ok(plan)
    }

    /// # Panics
    /// If the upload is refused.
    pub fn upload(&mut self, bytes: &[u8]) -> Arc<PolicyRecord> {
        let uploaded = self.check(bytes).unwrap_or_else(|e| panic!("{e}"));
        let plan = self.register(uploaded).unwrap_or_else(|e| panic!("{e}"));
        Arc::clone(
            self.registry
                .get(&plan.policies[0].id.digest)
                .expect("just registered"),
        )
    }
}
