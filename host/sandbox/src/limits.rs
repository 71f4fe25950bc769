//! Every bound on a component, with its unit and its reason.
//!
//! Two profiles: `Standard` for compiled languages, `Interpreter` for
//! components that carry a JavaScript or Python engine, opt-in per policy.

use std::time::Duration;

/// Bytes of one WebAssembly page.
pub const PAGE_BYTES: u64 = 64 << 10;

/// Which row of the limits table applies to a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Rust, C and the like.
    #[default]
    Standard,
    /// A language engine inside the component.
    Interpreter,
}

impl Profile {
    /// Bounds on the bytes, checked before anything is compiled.
    #[must_use]
    pub fn shape(self) -> ShapeLimits {
        match self {
            Self::Standard => ShapeLimits {
                component_bytes: 8 << 20,
                modules: 8,
                nesting: 8,
                functions: 20_000,
                body_bytes: 64 << 10,
                locals: 1_000,
                block_nesting: 256,
                loops: 500,
                params: 64,
                results: 1,
                br_table_targets: 4_096,
                segments: 10_000,
                memory_bytes: MEMORY_BYTES_STANDARD,
                table_elements: 10_000,
            },
            Self::Interpreter => ShapeLimits {
                component_bytes: 32 << 20,
                modules: 64,
                nesting: 16,
                functions: 50_000,
                body_bytes: 512 << 10,
                locals: 2_000,
                block_nesting: 512,
                loops: 2_000,
                params: 64,
                results: 1,
                br_table_targets: 65_536,
                segments: 100_000,
                memory_bytes: MEMORY_BYTES_INTERPRETER,
                table_elements: TABLE_ELEMENTS_MAX,
            },
        }
    }

    /// Bounds on the compile child.
    #[must_use]
    pub fn compile(self) -> CompileLimits {
        match self {
            Self::Standard => CompileLimits {
                address_space_bytes: 2 << 30,
                cpu_seconds: 20,
                wall: Duration::from_secs(30),
                artifact_bytes: 64 << 20,
            },
            Self::Interpreter => CompileLimits {
                address_space_bytes: 4 << 30,
                cpu_seconds: 60,
                wall: Duration::from_secs(90),
                artifact_bytes: 256 << 20,
            },
        }
    }

    /// Bounds on a running instance.
    #[must_use]
    pub fn run(self) -> RunLimits {
        match self {
            Self::Standard => RunLimits::STANDARD,
            Self::Interpreter => RunLimits::INTERPRETER,
        }
    }
}

/// The cap on memory is also the cap on how late a deadline can be: bulk memory
/// instructions cannot be interrupted (16 MiB ≈ 7 ms, 64 MiB ≈ 34 ms).
const MEMORY_BYTES_STANDARD: u64 = 16 << 20;
/// Language engines need more than 16 MiB; see [`MEMORY_BYTES_STANDARD`] for why
/// not more than this.
pub(crate) const MEMORY_BYTES_INTERPRETER: u64 = 64 << 20;
/// Elements of one table: a CPython component has 13,400 functions.
pub(crate) const TABLE_ELEMENTS_MAX: u64 = 50_000;

/// Bounds on the form of a component. What was seen in real components is in
/// the comment of each field; compile time grows faster than any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeLimits {
    /// Bytes of the whole file. Rust 21–125 KiB, CPython 18 MB.
    pub component_bytes: u64,
    /// Core modules. Rust 1–3, CPython 38.
    pub modules: u64,
    /// Components inside components.
    pub nesting: u64,
    /// Functions with a body, over all modules. Rust ≤ 3,338, engines 13,400.
    pub functions: u64,
    /// Bytes of one body. Rust ≤ 56 KB, CPython 427 KB.
    pub body_bytes: u64,
    /// Locals of one function, parameters not counted. Rust ≤ 480.
    pub locals: u64,
    /// Blocks inside blocks.
    pub block_nesting: u64,
    /// Loops of one function: compile time is quadratic in them.
    pub loops: u64,
    /// Parameters of one core function type.
    pub params: u64,
    /// Results of one core function type: more than one opens the class of
    /// inputs that take gigabytes to compile (8 KB → 11.5 GB).
    pub results: u64,
    /// Targets of all `br_table`s of one function.
    pub br_table_targets: u64,
    /// Data and element segments, over all modules.
    pub segments: u64,
    /// Initial bytes of all memories together.
    pub memory_bytes: u64,
    /// Initial elements of one table.
    pub table_elements: u64,
}

/// Bounds on the compile child; the kernel enforces all but `wall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// `RLIMIT_AS`: code and heap of the compiler together.
    pub address_space_bytes: u64,
    /// `RLIMIT_CPU`.
    pub cpu_seconds: u64,
    /// Enforced by the parent, for a child that sleeps.
    pub wall: Duration,
    /// Machine code accepted back. Seen: 3 to 4 times the component.
    pub artifact_bytes: u64,
}

/// Longest a policy may hold the decision thread in one call, ms. Backstop only:
/// fuel is the budget, because it gives the same answer twice.
pub const CALL_WALL_MS_MAX: u64 = 50;

/// Longest one question of the engine may take over all its calls, ms: a cold
/// pass is several, and after a fault a new instance is started and configured
/// first. Scheduling never stops for more than 100 ms; the rest is for a late
/// tick and a bulk instruction that cannot be interrupted.
pub const PASS_WALL_MS_MAX: u64 = 80;

/// Rows of one call in a cold pass. Small enough that a call's fuel burns in
/// about half of its wall guard, large enough that the 1 µs of a call is lost in
/// the work.
pub const CHUNK_ROWS: u32 = 1_024;

/// Longest a preemption policy may think about one plan, ms. It is asked at most
/// once a step, only when something has waited for room, and its question is the
/// whole cluster at once: a plan at 5,000 nodes and 20,000 pods takes tens of
/// milliseconds, so the guard of other calls would ring on the work itself.
pub const PLAN_WALL_MS_MAX: u64 = 250;

/// Bounds on a running instance. Fuel is roughly WebAssembly instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Bytes over all memories of the instance.
    pub memory_bytes: u64,
    /// Elements of each table.
    pub table_elements: u64,
    /// Fuel of a call whatever its size: dispatch, allocation, one panic.
    pub fuel_base: u64,
    /// Fuel more for each row. Plain policies use 60–240 a row; fragmentation
    /// scoring walks every class of the workload for each row and was measured at
    /// 26,000 with 91 classes and 78,000 with 280. The engine asks about 512 rows
    /// at a time, so a call is still bounded by some 10 ms.
    pub fuel_per_row: u64,
    /// Fuel more for each device slot of each row.
    pub fuel_per_device: u64,
    /// Fuel more for each sample of a series or byte of state handed over.
    pub fuel_per_sample: u64,
    /// Fuel more for each role of a reviewed job, old one included. Taking a role
    /// out of the call costs about 1,000; the rest is for rules that look at each.
    pub fuel_per_role: u64,
    /// Fuel more for each label and each fact of a reviewed job: about 500 to
    /// take out, and rules compare them with lists of their own.
    pub fuel_per_label: u64,
    /// Fuel more for each head of a cycle. A head is charged to up to eight quota
    /// nodes and five resources, then sorted; 4,096 heads stay within 0.2 s.
    pub fuel_per_head: u64,
    /// Fuel more for each quota node and each resource line of it.
    pub fuel_per_quota_line: u64,
    /// Fuel of a proposal whatever its size: the bounded search that a single
    /// hard gang may need on few rows.
    pub fuel_plan_base: u64,
    /// Fuel more for each row of a proposal: a search for a gang comes back to a
    /// row for several domains. 5,000 rows with 20,000 pods stay within 0.2 s.
    pub fuel_per_plan_row: u64,
    /// Fuel more for each device slot of each row of a proposal.
    pub fuel_per_plan_device: u64,
    /// Fuel more for each running pod in a proposal: ranked once, tried and put
    /// back a few times.
    pub fuel_per_victim: u64,
    /// Fuel for starting: instantiate, `configure`, `set-context` and `describe`
    /// each.
    pub fuel_setup: u64,
    /// Wall guard of one call into the guest, ms.
    pub call_wall_ms: u64,
    /// Wall guard of one question of the engine, ms.
    pub pass_wall_ms: u64,
    /// Wall guard of one proposal, ms, in place of the two above.
    pub plan_wall_ms: u64,
    /// Wall guard of each step of starting, ms.
    pub setup_wall_ms: u64,
    /// Rows of one call.
    pub chunk_rows: u32,
    /// Bytes the host copies out of the guest in one call. The largest legal
    /// answers are the victims of the largest gang with a reason each (2 MiB) and
    /// the rulings of the longest cycle with what each is short of (1.5 MiB).
    pub hostcall_bytes: usize,
    /// Every n-th call is repeated on a fresh instance; 0 never does.
    pub audit_every: u64,
}

impl RunLimits {
    /// For compiled languages.
    pub const STANDARD: Self = Self {
        memory_bytes: MEMORY_BYTES_STANDARD,
        table_elements: 10_000,
        fuel_base: 5_000_000,
        fuel_per_row: 100_000,
        fuel_per_device: 5_000,
        fuel_per_sample: 10_000,
        fuel_per_role: 50_000,
        fuel_per_label: 10_000,
        fuel_per_head: 50_000,
        fuel_per_quota_line: 10_000,
        fuel_plan_base: 20_000_000,
        fuel_per_plan_row: 100_000,
        fuel_per_plan_device: 1_000,
        fuel_per_victim: 20_000,
        fuel_setup: 50_000_000,
        call_wall_ms: CALL_WALL_MS_MAX,
        pass_wall_ms: PASS_WALL_MS_MAX,
        plan_wall_ms: PLAN_WALL_MS_MAX,
        setup_wall_ms: CALL_WALL_MS_MAX,
        chunk_rows: CHUNK_ROWS,
        hostcall_bytes: 4 << 20,
        audit_every: 1_000,
    };

    /// For components with a language engine: everything costs ten to a hundred
    /// times more, and starting one runs the engine's own initialisation.
    pub const INTERPRETER: Self = Self {
        memory_bytes: MEMORY_BYTES_INTERPRETER,
        table_elements: TABLE_ELEMENTS_MAX,
        fuel_base: 50_000_000,
        fuel_per_row: 100_000,
        fuel_per_device: 50_000,
        fuel_per_sample: 100_000,
        fuel_per_role: 500_000,
        fuel_per_label: 100_000,
        fuel_per_head: 100_000,
        fuel_per_quota_line: 50_000,
        fuel_plan_base: 50_000_000,
        fuel_per_plan_row: 250_000,
        fuel_per_plan_device: 5_000,
        fuel_per_victim: 80_000,
        fuel_setup: 500_000_000,
        chunk_rows: 256,
        setup_wall_ms: 500,
        ..Self::STANDARD
    };

    /// The same with wall guards so wide that fuel alone decides: for replay and
    /// tests, where nobody waits and the same input must give the same answer on
    /// a busy machine.
    #[must_use]
    pub const fn unhurried(self) -> Self {
        Self {
            call_wall_ms: 60_000,
            pass_wall_ms: 600_000,
            plan_wall_ms: 600_000,
            setup_wall_ms: 60_000,
            ..self
        }
    }

    /// Fuel for a call over this many rows.
    #[must_use]
    pub fn fuel_for_rows(&self, rows: u32, slots: u32) -> u64 {
        let devices = u64::from(rows) * u64::from(slots);
        self.fuel_base
            .saturating_add(self.fuel_per_row.saturating_mul(u64::from(rows)))
            .saturating_add(self.fuel_per_device.saturating_mul(devices))
    }

    /// Fuel for a call over this many samples.
    #[must_use]
    pub fn fuel_for_samples(&self, samples: usize) -> u64 {
        self.fuel_base
            .saturating_add(self.fuel_per_sample.saturating_mul(samples as u64))
    }

    /// Fuel for a review of jobs with this many roles, labels and facts.
    #[must_use]
    pub fn fuel_for_review(&self, roles: usize, labels: usize) -> u64 {
        self.fuel_base
            .saturating_add(self.fuel_per_role.saturating_mul(roles as u64))
            .saturating_add(self.fuel_per_label.saturating_mul(labels as u64))
    }

    /// Fuel for a cycle of this many heads and quota lines.
    #[must_use]
    pub fn fuel_for_cycle(&self, heads: usize, lines: usize) -> u64 {
        self.fuel_base
            .saturating_add(self.fuel_per_head.saturating_mul(heads as u64))
            .saturating_add(self.fuel_per_quota_line.saturating_mul(lines as u64))
    }

    /// Fuel for a proposal over this many rows and running pods.
    #[must_use]
    pub fn fuel_for_plan(&self, rows: u32, slots: u32, victims: usize) -> u64 {
        let devices = u64::from(rows) * u64::from(slots);
        self.fuel_plan_base
            .saturating_add(self.fuel_per_plan_row.saturating_mul(u64::from(rows)))
            .saturating_add(self.fuel_per_plan_device.saturating_mul(devices))
            .saturating_add(self.fuel_per_victim.saturating_mul(victims as u64))
    }
}

impl Default for RunLimits {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// Core instances, memories and tables of one store. A component is several
/// core instances (main, shim, fix-up); a composed one a few more.
pub(crate) const INSTANCES_PER_STORE: usize = 64;
/// Memories of one store, over which [`RunLimits::memory_bytes`] is summed.
pub(crate) const MEMORIES_PER_STORE: usize = 4;
/// Tables of one store.
pub(crate) const TABLES_PER_STORE: usize = 16;

/// Stack of a guest, bytes: deep recursion traps long before the host's own
/// stack (2 MiB for a spawned thread) is in danger.
pub(crate) const WASM_STACK_BYTES: usize = 512 << 10;

/// Bytes of one log message that are kept (contract, `log` in `types.wit`).
pub const LOG_CALL_BYTES_MAX: usize = 16 << 10;
/// Bytes of log kept per decision (contract).
pub const LOG_DECISION_BYTES_MAX: usize = 64 << 10;
/// Bytes of log kept per policy until someone reads them.
pub const LOG_RING_BYTES_MAX: usize = 256 << 10;
/// Fuel charged for each log call, so that a guest that only logs runs out of
/// fuel like one that only computes: a host call costs about 200 instructions.
pub const LOG_CALL_FUEL: u64 = 1_000;

/// Bytes of a policy's summary.
pub const SUMMARY_BYTES_MAX: usize = 500;
/// Bytes of a settings schema.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Bytes of a version string.
pub const VERSION_BYTES_MAX: usize = 64;
/// Bytes of a policy's name (contract).
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of a refusal or panic text that are kept.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Parts of one explanation.
pub const PARTS_MAX: usize = 64;
/// Bytes of a part's name.
pub const PART_NAME_BYTES_MAX: usize = 64;
/// Bytes of a part's text.
pub const PART_TEXT_BYTES_MAX: usize = 256;
/// Rows of one `explain` call: nobody reads more, and its answer must fit
/// [`RunLimits::hostcall_bytes`].
pub const EXPLAIN_ROWS_PER_CALL: u32 = 16;
/// Points of a forecast: a week at five minutes.
pub const FORECAST_POINTS_MAX: usize = 2_048;

/// Rows compared by one audit. The answer of a row may not depend on the others,
/// so a few rows prove as much as all of them and cost less.
pub const AUDIT_ROWS_MAX: u32 = 64;

/// Findings of one validation, and warnings beside them: nobody reads more.
pub const FINDINGS_MAX: usize = 64;
/// Bytes of a finding's code.
pub const CODE_BYTES_MAX: usize = 64;
/// Bytes of a field's JSON pointer: a label's key has up to 317, more if escaped.
pub const FIELD_BYTES_MAX: usize = 512;
/// Bytes of a finding's message.
pub const FINDING_BYTES_MAX: usize = 1_024;
/// Patches of one mutation: every field of a job of sixteen roles, and labels.
pub const PATCHES_MAX: usize = 256;
/// Bytes of a patch's value.
pub const PATCH_VALUE_BYTES_MAX: usize = 4 << 10;
/// Bytes of the reason of a patch, a victim, or of there being no plan.
pub const REASON_BYTES_MAX: usize = 512;
/// Numbers of one sort key, and of a plan's cost.
pub const KEY_NUMBERS_MAX: usize = 16;
/// Shortages of one ruling: five resources on each of eight levels of quota, and
/// some room.
pub const SHORTAGES_MAX: usize = 64;
/// Victims of one plan, and moves of one: the largest gang of pods with eight
/// devices each, all taken from pods with one.
pub const VICTIMS_MAX: usize = 8 * model::gang::GANG_PODS_MAX as usize;
