//! Guests written by hand, so that each misbehaves in exactly one way.
//!
//! A well-behaved policy is core WAT with the canonical ABI spelled out; a test
//! replaces the part it is about.

#![allow(dead_code, reason = "each test binary uses its part of it")]

pub mod kinds;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use engine::port::{PodRow, Rows};
use sandbox::{Compiler, PrepareError, Prepared, Profile, RunLimits, Sandbox, SandboxConfig};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

/// The contract as it is released.
pub const TYPES: &str = include_str!("../../../../wit/v0.1.0/types.wit");
pub const SCORING: &str = include_str!("../../../../wit/v0.1.0/scoring.wit");
pub const ADMISSION: &str = include_str!("../../../../wit/v0.1.0/admission.wit");
pub const PREEMPTION: &str = include_str!("../../../../wit/v0.1.0/preemption.wit");
pub const AUTOSCALING: &str = include_str!("../../../../wit/v0.1.0/autoscaling.wit");

/// Core WebAssembly text to a component of `world`. `edit` may change the
/// contract first.
pub fn component(wat: &str, world: &str, edit: impl Fn(&str) -> String) -> Vec<u8> {
    let mut sources = SourceMap::new();
    for (name, text) in [
        ("types.wit", TYPES),
        ("scoring.wit", SCORING),
        ("admission.wit", ADMISSION),
        ("preemption.wit", PREEMPTION),
        ("autoscaling.wit", AUTOSCALING),
    ] {
        sources.push_str(name, edit(text));
    }
    let group = sources
        .parse()
        .map_err(|(_, e)| e)
        .expect("the contract parses");
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).expect("the contract resolves");
    let world = resolve
        .select_world(&[package], Some(world))
        .expect("the world exists");
    let mut module = wat::parse_str(wat).unwrap_or_else(|e| panic!("{e}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    ComponentEncoder::default()
        .module(&module)
        .unwrap_or_else(|e| panic!("{e:#}"))
        .validate(true)
        .encode()
        .unwrap_or_else(|e| panic!("{e:#}"))
}

/// As released.
pub fn unchanged(text: &str) -> String {
    text.to_owned()
}

/// Where the records below are in the guest's memory.
const RETURN: u32 = 64;
const TEXT: u32 = 256;
/// First byte of the bump allocator.
pub const HEAP: u32 = 4096;

/// A bump allocator that grows the memory; the global `$heap` is its state.
const ALLOC: &str = "(func $alloc (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $enough (loop $more
        (br_if $enough (i32.le_u (global.get $heap)
            (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))";

/// Parameters of `score`, `place` and `explain`: a pod and rows, flat.
const POD_AND_ROWS: &str =
    "(param $cpu i32) (param $memory i32) (param $disk i32) (param $network i32)
    (param $gpus i32) (param $milli i32) (param $gpumem i32) (param $models i64)
    (param $priority i32) (param $app i32)
    (param $count i32) (param $slots i32) (param $data i32) (param $len i32)";

/// Flat parameters of the context: version, mode, nodes, and its lists.
pub fn flat_context() -> usize {
    let record = TYPES
        .split_once("record context {")
        .and_then(|(_, rest)| rest.split_once('}'))
        .map_or("", |(fields, _)| fields);
    3 + 2 * record.matches("list<").count()
}

/// A scoring policy: declares `cpu-free` and `gpu.milli-free`, and its score of a
/// row is the row's `cpu-free`.
pub struct ScoringGuest {
    pub name: String,
    pub version: String,
    pub schema: String,
    pub columns: Vec<&'static str>,
    /// `(memory ...)`s and everything else at module level.
    pub fields: String,
    /// Imports come first in a module.
    pub imports: String,
    pub realloc: String,
    pub describe: String,
    pub configure: String,
    pub set_context: String,
    pub score: String,
    pub place: String,
    pub explain: String,
}

/// Answers with `count` values, each computed by `$value` from `$i`.
pub fn score_each(value: &str) -> String {
    format!(
        "(local $out i32) (local $i i32)
        (local.set $out (call $alloc (i32.mul (local.get $count) (i32.const 4))))
        (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
            (i32.store
                (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 4)))
                {value})
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next)))
        (i32.store (i32.const {RETURN}) (local.get $out))
        (i32.store offset=4 (i32.const {RETURN}) (local.get $count))
        (i32.const {RETURN})"
    )
}

/// The value of the first column for row `$i`.
pub const FIRST_COLUMN: &str =
    "(i32.load (i32.add (local.get $data) (i32.mul (local.get $i) (i32.const 4))))";

/// Answers with a list of `count` values at `at`, whatever is there.
pub fn answer_list(at: &str, count: &str) -> String {
    format!(
        "(i32.store (i32.const {RETURN}) {at})
        (i32.store offset=4 (i32.const {RETURN}) {count})
        (i32.const {RETURN})"
    )
}

/// Answers `result<_, string>` with an error of `len` bytes at `at`.
pub fn answer_error(at: u32, len: u32) -> String {
    format!(
        "(i32.store8 (i32.const {RETURN}) (i32.const 1))
        (i32.store offset=4 (i32.const {RETURN}) (i32.const {at}))
        (i32.store offset=8 (i32.const {RETURN}) (i32.const {len}))
        (i32.const {RETURN})"
    )
}

/// Answers `result<_, string>` with ok.
pub fn answer_ok() -> String {
    format!("(i32.store8 (i32.const {RETURN}) (i32.const 0)) (i32.const {RETURN})")
}

/// Answers `option<list<u32>>` with these slots.
pub fn answer_slots(slots: &[u32]) -> String {
    let stores: String = slots
        .iter()
        .enumerate()
        .map(|(i, s)| {
            format!(
                "(i32.store (i32.const {}) (i32.const {s}))\n",
                HEAP as usize + i * 4
            )
        })
        .collect();
    format!(
        "{stores}
        (i32.store8 (i32.const {RETURN}) (i32.const 1))
        (i32.store offset=4 (i32.const {RETURN}) (i32.const {HEAP}))
        (i32.store offset=8 (i32.const {RETURN}) (i32.const {}))
        (i32.const {RETURN})",
        slots.len()
    )
}

impl Default for ScoringGuest {
    fn default() -> Self {
        Self {
            name: "test-guest".to_owned(),
            version: "1.2.3".to_owned(),
            schema: r#"{"type":"object"}"#.to_owned(),
            columns: vec!["cpu-free", "gpu.milli-free"],
            fields: "(memory (export \"memory\") 2)".to_owned(),
            imports: String::new(),
            realloc: "(call $alloc (local.get $size))".to_owned(),
            describe: String::new(),
            configure: answer_ok(),
            set_context: answer_ok(),
            score: score_each(FIRST_COLUMN),
            place: format!("(i32.store8 (i32.const {RETURN}) (i32.const 0)) (i32.const {RETURN})"),
            explain: answer_list("(i32.const 0)", "(i32.const 0)"),
        }
    }
}

impl ScoringGuest {
    pub fn score(body: impl Into<String>) -> Self {
        Self {
            score: body.into(),
            ..Self::default()
        }
    }

    /// Text for each string of the description, and the record that points to it.
    fn description(&self) -> (String, String) {
        let escape = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
        let mut data = String::new();
        let mut at = TEXT;
        let mut place = |text: &str| {
            let here = at;
            data.push_str(&format!("(data (i32.const {here}) \"{}\")\n", escape(text)));
            at += text.len() as u32;
            (here, text.len())
        };
        let strings = [
            place(&self.name),
            place(&self.version),
            place("for a test"),
            place(&self.schema),
        ];
        let columns: Vec<_> = self.columns.iter().map(|c| place(c)).collect();
        assert!(at < HEAP - 512, "the description does not fit");
        let mut code = String::new();
        let mut store = |offset: u32, value: u64| {
            code.push_str(&format!(
                "(i32.store (i32.const {offset}) (i32.const {value}))\n"
            ));
        };
        for (i, (here, len)) in strings.into_iter().enumerate() {
            store(RETURN + i as u32 * 8, u64::from(here));
            store(RETURN + i as u32 * 8 + 4, len as u64);
        }
        let list = HEAP - 512;
        store(RETURN + 32, u64::from(list));
        store(RETURN + 36, columns.len() as u64);
        for (i, (here, len)) in columns.into_iter().enumerate() {
            store(list + i as u32 * 8, u64::from(here));
            store(list + i as u32 * 8 + 4, len as u64);
        }
        code.push_str(&format!("(i32.const {RETURN})"));
        (data, code)
    }

    pub fn wat(&self) -> String {
        let (data, description) = self.description();
        let describe = if self.describe.is_empty() {
            &description
        } else {
            &self.describe
        };
        let scoring = "loadmaster:policy/scoring@0.1.0";
        let posts: String = [
            "describe",
            "configure",
            "set-context",
            "score",
            "place",
            "explain",
        ]
        .map(|f| {
            format!(
                "(func (export \"cabi_post_{scoring}#{f}\") (param i32)
                        (global.set $heap (i32.const {HEAP})))\n"
            )
        })
        .concat();
        format!(
            "(module
            {imports}
            {fields}
            {data}
            (global $heap (mut i32) (i32.const {HEAP}))
            {ALLOC}
            (func (export \"cabi_realloc\")
                (param $old i32) (param $oldsize i32) (param $align i32) (param $size i32)
                (result i32)
                {realloc})
            (func (export \"{scoring}#describe\") (result i32) {describe})
            (func (export \"{scoring}#configure\") (param $ptr i32) (param $len i32) (result i32)
                {configure})
            (func (export \"{scoring}#set-context\")
                (param i64{context}) (result i32)
                {set_context})
            (func $score (export \"{scoring}#score\") {POD_AND_ROWS} (result i32) {score})
            (func (export \"{scoring}#place\") {POD_AND_ROWS} (result i32) {place})
            (func (export \"{scoring}#explain\") {POD_AND_ROWS} (result i32) {explain})
            {posts})",
            context = " i32".repeat(flat_context() - 1),
            imports = self.imports,
            fields = self.fields,
            realloc = self.realloc,
            configure = self.configure,
            set_context = self.set_context,
            score = self.score,
            place = self.place,
            explain = self.explain,
        )
    }

    pub fn component(&self) -> Vec<u8> {
        component(&self.wat(), "scoring-policy", unchanged)
    }
}

/// The program that answers the compile verb for these tests.
pub fn compile_child() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_sandbox-compile-child"))
}

/// One for the process, as in the daemon.
pub fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        Sandbox::new(SandboxConfig {
            compiler: Compiler::Exe(compile_child()),
            ..SandboxConfig::default()
        })
        .expect("a sandbox")
    })
}

pub fn prepare(component: &[u8]) -> Result<Arc<Prepared>, PrepareError> {
    sandbox().prepare(component, Profile::Standard)
}

/// Fuel decides: these tests also run on busy machines.
pub fn unhurried() -> RunLimits {
    RunLimits {
        audit_every: 0,
        ..RunLimits::STANDARD.unhurried()
    }
}

pub fn policy(guest: &ScoringGuest, limits: RunLimits) -> sandbox::WasmScoring {
    prepare(&guest.component())
        .unwrap_or_else(|e| panic!("{e}"))
        .wasm_scoring("{}", limits)
        .unwrap_or_else(|e| panic!("{e}"))
}

/// Rows with these values of `cpu-free` and no devices.
pub fn rows(values: &[i32]) -> Rows<'_> {
    Rows {
        count: values.len() as u32,
        slots: 0,
        data: values,
    }
}

pub fn pod() -> PodRow {
    PodRow {
        cpu: 1_000,
        ..PodRow::default()
    }
}

/// An empty directory that is removed at the end.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sandbox-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `component` with more sections behind its own: further core modules, and
/// `instances` instances of the last of them.
pub fn append(component: &[u8], modules: &[Vec<u8>], instances: u32) -> Vec<u8> {
    let mut out = component.to_vec();
    for module in modules {
        out.push(1);
        leb(&mut out, module.len() as u32);
        out.extend_from_slice(module);
    }
    if instances > 0 {
        let inside = core_modules(component) + modules.len() as u32 - 1;
        let mut section = Vec::new();
        leb(&mut section, instances);
        for _ in 0..instances {
            section.push(0);
            leb(&mut section, inside);
            leb(&mut section, 0);
        }
        out.push(2);
        leb(&mut out, section.len() as u32);
        out.extend_from_slice(&section);
    }
    out
}

fn core_modules(component: &[u8]) -> u32 {
    let amounts = sandbox::inspect(component, Profile::Standard)
        .expect("a valid component")
        .shape
        .amounts;
    amounts.modules as u32
}

fn leb(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        out.push(if value == 0 { byte } else { byte | 0x80 });
        if value == 0 {
            return;
        }
    }
}

/// A policy whose file also holds this core module.
pub fn carrying(core: &str) -> Vec<u8> {
    let module = wat::parse_str(core).unwrap_or_else(|e| panic!("{e}"));
    append(&ScoringGuest::default().component(), &[module], 0)
}

/// `loops` empty loops in one body: compile time is quadratic in them.
pub fn loop_bomb(loops: usize) -> String {
    format!("(module (func {}))", "(loop)".repeat(loops))
}

/// About 8 KB, valid with multi-value: 1,000 values into and out of each of
/// 1,000 blocks. An unlimited compiler takes gigabytes and aborts.
pub fn amplifier() -> String {
    let types = "i32 ".repeat(1_000);
    let push: String = (0..1_000).map(|i| format!("(local.get {i})")).collect();
    let loops = "(loop (type $wide))".repeat(1_000);
    format!(
        "(module (type $wide (func (param {types}) (result {types})))
            (func (type $wide) {push} {loops}))"
    )
}

/// A guest of another kind: it describes itself; `functions` are the rest.
pub fn other_kind(interface: &str, functions: &str) -> String {
    other_kind_declaring(interface, Vec::new(), functions)
}

/// The same, with columns. `$alloc` and the global `$heap` are there to be used.
pub fn other_kind_declaring(
    interface: &str,
    columns: Vec<&'static str>,
    functions: &str,
) -> String {
    let guest = ScoringGuest {
        columns,
        ..ScoringGuest::default()
    };
    let (data, description) = guest.description();
    let ok = answer_ok();
    format!(
        "(module
        (memory (export \"memory\") 2)
        {data}
        (global $heap (mut i32) (i32.const {HEAP}))
        {ALLOC}
        (func (export \"cabi_realloc\")
            (param $old i32) (param $oldsize i32) (param $align i32) (param $size i32)
            (result i32)
            (call $alloc (local.get $size)))
        (func (export \"loadmaster:policy/{interface}@0.1.0#describe\") (result i32) {description})
        (func (export \"loadmaster:policy/{interface}@0.1.0#configure\") (param i32 i32) (result i32)
            {ok})
        {functions})"
    )
}
