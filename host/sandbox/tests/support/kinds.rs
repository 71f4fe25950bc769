//! Guests of the admission and preemption kinds, as WAT.
//!
//! Every question of these kinds begins with the time, so a guest can be told by
//! it what to do: at [`TRAPS`] it traps, at [`LOOPS`] it never ends, at
//! [`GROWS`] it takes memory without end. At any other time it answers.

use engine::port::Context;
use engine::port::admission::{
    Caller, Cycle, Facts, Head, JobView, Operation, QuotaDemand, QuotaLineRow, QuotaRow, Review,
    Role,
};
use engine::port::preemption::{
    Action, BudgetLeft, Constraint, Demand, Domain, NONE, PreemptRequest, Preemptor, QueueShare,
    Running,
};
use engine::port::{PodRow, Rows};
use model::JobKind;
use model::event::Mode;

use super::{HEAP, component, flat_context, other_kind, other_kind_declaring, unchanged};

pub const TRAPS: u64 = 1;
pub const LOOPS: u64 = 2;
pub const GROWS: u64 = 3;
/// Any time at which guests answer.
pub const NOW: u64 = 1_000;

/// Where the answers below are built.
const ANSWER: u32 = 64;
/// Zeros, as many as a text may need, once [`GROW`] has run.
pub const ZEROS: u32 = 128 << 10;
/// 12 MiB more.
pub const GROW: &str = "(drop (memory.grow (i32.const 192)))";

/// Does what the time says, else goes on.
fn misbehave(now: &str) -> String {
    format!(
        "(if (i64.eq {now} (i64.const {TRAPS})) (then unreachable))
        (if (i64.eq {now} (i64.const {LOOPS})) (then (loop $for_ever (br $for_ever))))
        (if (i64.eq {now} (i64.const {GROWS}))
            (then (loop $more (drop (memory.grow (i32.const 16))) (br $more))))"
    )
}

// === answers ===

fn store(offset: u32, value: &str) -> String {
    format!("(i32.store (i32.const {}) {value})\n", ANSWER + offset)
}

fn constant(value: u32) -> String {
    format!("(i32.const {value})")
}

/// A list of `count` elements of `size` bytes at `at`, in two words at `offset`.
fn list(offset: u32, at: u32, count: u32) -> String {
    store(offset, &constant(at)) + &store(offset + 4, &constant(count))
}

/// A validation: 0 allows, 1 denies with `findings`, 2 abstains.
pub fn verdict(kind: u32, findings: u32, warnings: u32, at: u32) -> String {
    store(0, &constant(kind)) + &list(4, at, findings) + &list(12, at, warnings) + &constant(ANSWER)
}

/// A list of `count` elements at `at`.
pub fn listing(at: u32, count: &str) -> String {
    store(0, &constant(at)) + &store(4, count) + &constant(ANSWER)
}

/// `words` as they lie in the guest's memory at `at`.
pub fn words(at: u32, words: &[u32]) -> String {
    let word = |(i, word): (usize, &u32)| {
        format!(
            "(i32.store (i32.const {}) (i32.const {word}))\n",
            at as usize + i * 4
        )
    };
    words.iter().enumerate().map(word).collect()
}

/// A finding with texts of these lengths, as words.
pub fn finding(code: u32, field: u32, message: u32) -> [u32; 6] {
    [ZEROS, code, ZEROS, field, ZEROS, message]
}

/// A plan in words: domain, then each list as address and count, then hold.
pub struct PlanWords {
    pub domain: u32,
    pub victims: (u32, u32),
    pub moves: (u32, u32),
    pub placements: (u32, u32),
    pub cost: (u32, u32),
}

impl Default for PlanWords {
    fn default() -> Self {
        Self {
            domain: 0,
            victims: (HEAP, 0),
            moves: (HEAP, 0),
            placements: (HEAP, 0),
            cost: (HEAP, 0),
        }
    }
}

pub fn plan(p: &PlanWords) -> String {
    store(0, &constant(0))
        + &store(8, &constant(p.domain))
        + &list(12, p.victims.0, p.victims.1)
        + &list(20, p.moves.0, p.moves.1)
        + &list(28, p.placements.0, p.placements.1)
        + &list(36, p.cost.0, p.cost.1)
        + &list(48, 60_000, 0)
        + &constant(ANSWER)
}

/// `none` with a reason of `len` bytes.
pub fn no_plan(len: u32) -> String {
    store(0, &constant(1)) + &list(8, ZEROS, len) + &constant(ANSWER)
}

pub fn abstains() -> String {
    store(0, &constant(2)) + &constant(ANSWER)
}

// === guests ===

/// Bodies of the four questions. `$at` is a review, `$nodes` and `$heads` with
/// their lengths a cycle.
pub struct AdmissionGuest {
    pub validate: String,
    pub mutate: String,
    pub order: String,
    pub admit: String,
}

impl Default for AdmissionGuest {
    /// Allows, changes nothing, has no order, abstains.
    fn default() -> Self {
        // A key is two words, a ruling six with its case in the first byte.
        let fresh = |words: u32| {
            format!(
                "(i32.store (i32.const {ANSWER}) (call $alloc
                    (i32.mul (local.get $heads_len) (i32.const {}))))",
                words * 4
            )
        };
        let count = store(4, "(local.get $heads_len)") + &constant(ANSWER);
        Self {
            validate: verdict(0, 0, 0, HEAP),
            mutate: listing(HEAP, "(i32.const 0)"),
            order: fresh(2) + &count,
            admit: fresh(RULING_WORDS) + &count,
        }
    }
}

/// Words of a ruling: its case, and a finding as the largest of the rest.
pub const RULING_WORDS: u32 = 7;

pub fn admission(guest: &AdmissionGuest) -> Vec<u8> {
    let interface = "loadmaster:policy/admission@0.1.0";
    let review = misbehave("(i64.load (local.get $at))");
    let cycle = misbehave("(local.get $now)");
    let question = |name: &str, params: &str, first: &str, body: &str| {
        format!(
            "(func (export \"{interface}#{name}\") {params} (result i32)
                (local $i i32) (local $p i32) {first} {body})
            (func (export \"cabi_post_{interface}#{name}\") (param i32)
                (global.set $heap (i32.const {HEAP})))\n"
        )
    };
    let of_cycle = "(param $now i64) (param $mode i32) (param $nodes i32) (param $nodes_len i32)
        (param $heads i32) (param $heads_len i32)";
    let functions = question("validate", "(param $at i32)", &review, &guest.validate)
        + &question("mutate", "(param $at i32)", &review, &guest.mutate)
        + &question("order", of_cycle, &cycle, &guest.order)
        + &question("admit", of_cycle, &cycle, &guest.admit);
    let wat = other_kind("admission", &functions);
    component(&wat, "admission-policy", unchanged)
}

/// The body of `propose`; `$at` is the request.
pub fn preemption(propose: &str) -> Vec<u8> {
    let interface = "loadmaster:policy/preemption@0.1.0";
    let context = "i64".to_owned() + &" i32".repeat(flat_context() - 1);
    let ok = super::answer_ok();
    let request = misbehave("(i64.load (local.get $at))");
    let wat = other_kind_declaring(
        "preemption",
        vec!["cpu-free", "gpu.milli-free"],
        &format!(
            "(global $context (mut i64) (i64.const 0))
            (func (export \"{interface}#set-context\") (param {context}) (result i32)
                (global.set $context (local.get 0)) {ok})
            (func (export \"{interface}#propose\") (param $at i32) (result i32)
                (local $i i32) (local $sum i64) {request} {propose})
            (func (export \"cabi_post_{interface}#propose\") (param i32)
                (global.set $heap (i32.const {HEAP})))"
        ),
    );
    component(&wat, "preemption-policy", unchanged)
}

/// Adds up the list whose address and length are at `offset` of the request, by
/// `load` of `size` bytes an element, into the cost's `number`.
pub fn add_up(offset: u32, size: u32, load: &str, number: u32) -> String {
    format!(
        "(local.set $i (i32.const 0)) (local.set $sum (i64.const 0))
        (block $done{number} (loop $next{number}
            (br_if $done{number} (i32.ge_u (local.get $i)
                (i32.load offset={len} (local.get $at))))
            (local.set $sum (i64.add (local.get $sum) ({load} (i32.add
                (i32.load offset={offset} (local.get $at))
                (i32.mul (local.get $i) (i32.const {size}))))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next{number})))
        (i64.store (i32.const {}) (local.get $sum))\n",
        COST + number * 8,
        len = offset + 4,
    )
}

/// Where [`add_up`] puts its sums.
pub const COST: u32 = 3_200;

// === questions ===

pub fn job() -> JobView {
    JobView {
        id: "train".to_owned(),
        namespace: "team-a".to_owned(),
        queue: "research".to_owned(),
        kind: JobKind::Batch,
        app: "bert".to_owned(),
        priority: 10,
        tier: "flex".to_owned(),
        image: "registry/bert:1".to_owned(),
        run_as_root: false,
        privileged: false,
        seccomp: Some("runtime/default".to_owned()),
        runtime_limit: None,
        deadline: Some(99),
        labels: vec![("owner".to_owned(), "a".to_owned())],
        roles: vec![Role {
            name: "worker".to_owned(),
            count: 4,
            min: 2,
            gpu_count: 8,
            gpu_milli: 1_000,
            gpu_models: vec!["H100".to_owned(), "A100".to_owned()],
            ..Role::default()
        }],
    }
}

pub fn review(now: u64) -> Review {
    Review {
        now,
        mode: Mode::Normal,
        operation: Operation::Update,
        caller: Caller {
            name: "ana".to_owned(),
            groups: vec!["research".to_owned()],
        },
        object: job(),
        old: Some(job()),
        facts: Facts::default(),
    }
}

pub fn cycle(now: u64, heads: u32) -> Cycle {
    let line = |resource| QuotaLineRow {
        resource,
        nominal: 1_000,
        used: 10,
        borrowing_limit: Some(5),
        lending_limit: None,
    };
    let head = |i: u32| Head {
        job: format!("job-{i}"),
        queue: "research".to_owned(),
        node: 1,
        priority: 0,
        created: 1,
        waited: 2,
        attempts: 3,
        deadline: None,
        expected_runtime: Some(4),
        attained: 5,
        demand: vec![QuotaDemand {
            resource: "gpu",
            amount: 8_000,
        }],
        min_demand: Vec::new(),
    };
    let node = |name: &str, parent| QuotaRow {
        name: name.to_owned(),
        parent,
        weight: 1_000,
        tier: "flex",
        lines: vec![line("gpu"), line("cpu")],
    };
    Cycle {
        now,
        mode: Mode::Normal,
        nodes: vec![node("all", None), node("research", Some(0))],
        heads: (0..heads).map(head).collect(),
    }
}

/// A question with all that it borrows from.
pub struct Asked {
    pub preemptor: Preemptor,
    pub domains: Vec<Domain>,
    pub queues: Vec<QueueShare>,
    pub budgets: Vec<BudgetLeft>,
    pub data: Vec<i32>,
    pub rows: u32,
    pub slots: u32,
    pub running: Running,
}

impl Asked {
    /// Rows with two slots each, and as many pods spread over them.
    pub fn new(rows: u32, victims: u32) -> Self {
        let slots = 2;
        let each = || 0..victims;
        let running = Running {
            id: each().collect(),
            row: each().map(|i| i % rows.max(1)).collect(),
            owner: each().map(|_| 0).collect(),
            group: each().map(|_| NONE).collect(),
            priority: each().map(|_| -5).collect(),
            cpu: each().map(|_| 100).collect(),
            memory: each().map(|_| 200).collect(),
            gpu_slots: each().map(|_| 1 << 33).collect(),
            gpu_milli: each().map(|_| 1_000).collect(),
            started: each().map(u64::from).collect(),
            checkpoint: each().map(|_| 0).collect(),
            restart_cost: each().map(|_| 7).collect(),
            budget: each().map(|_| NONE).collect(),
            allowed: each().map(|_| 3).collect(),
            grace: each().map(|_| 30_000).collect(),
        };
        Self {
            preemptor: Preemptor {
                job: "train".to_owned(),
                queue: String::new(),
                owner: NONE,
                waited: 1,
                attempts: 0,
                constraint: Constraint::Required,
                level: 1,
                demands: vec![Demand {
                    role: "worker".to_owned(),
                    pod: PodRow {
                        gpu_count: 2,
                        ..PodRow::default()
                    },
                    count: 4,
                    min: 4,
                }],
                nominated: None,
            },
            domains: vec![Domain {
                level: 4,
                name: "cluster".to_owned(),
                rows: (0..rows).collect(),
            }],
            queues: Vec::new(),
            budgets: vec![BudgetLeft {
                name: "web".to_owned(),
                allowed: 1,
            }],
            data: vec![3; rows as usize * (1 + slots as usize)],
            rows,
            slots,
            running,
        }
    }

    pub fn at(&self, now: u64) -> PreemptRequest<'_> {
        PreemptRequest {
            now,
            mode: Mode::Normal,
            seed: 0,
            action: Action::Preempt,
            preemptor: &self.preemptor,
            domains: &self.domains,
            queues: &self.queues,
            budgets: &self.budgets,
            rows: Rows {
                count: self.rows,
                slots: self.slots,
                data: &self.data,
            },
            running: &self.running,
        }
    }
}

pub fn context(version: u64) -> std::sync::Arc<Context> {
    std::sync::Arc::new(Context {
        version,
        ..Context::default()
    })
}
