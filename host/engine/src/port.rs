//! The port between the engine and whatever decides: native built-ins here, a
//! sandboxed component behind the same traits in `sandbox`, a plugin's native
//! build in tests and benches.
//!
//! The data has the shape of `wit/v0.1.0`, so that crossing into a guest is a
//! copy and not a conversion.

pub mod admission;
pub mod preemption;

use std::sync::Arc;

use model::PolicyFault;
use model::event::Mode;
use model::scaling::{ForecastPoint, Part};

/// What a policy says about itself. See `description` in `wit/v0.1.0/types.wit`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// Lower-case name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its settings.
    pub settings_schema: String,
    /// Columns it reads, in the order it wants them.
    pub columns: Vec<Column>,
}

/// A column of [`Rows`]. Names and units are in `wit/v0.1.0/COLUMNS.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table in COLUMNS.md documents each")]
pub enum Column {
    Row,
    CpuFree,
    CpuCap,
    MemoryFree,
    MemoryCap,
    DiskFree,
    DiskCap,
    NetworkFree,
    NetworkCap,
    Pods,
    GpuCount,
    GpuFree,
    GpuWhole,
    GpuModel,
    Wiring,
    Zone,
    Rack,
    Price,
    PeersOnNode,
    PeersInZone,
    GpuMilliFree,
    GpuMemoryFree,
    GpuNuma,
}

impl Column {
    /// Every column with its contract name.
    pub const ALL: [(Self, &'static str); 23] = [
        (Self::Row, "row"),
        (Self::CpuFree, "cpu-free"),
        (Self::CpuCap, "cpu-cap"),
        (Self::MemoryFree, "memory-free"),
        (Self::MemoryCap, "memory-cap"),
        (Self::DiskFree, "disk-free"),
        (Self::DiskCap, "disk-cap"),
        (Self::NetworkFree, "network-free"),
        (Self::NetworkCap, "network-cap"),
        (Self::Pods, "pods"),
        (Self::GpuCount, "gpu-count"),
        (Self::GpuFree, "gpu-free"),
        (Self::GpuWhole, "gpu-whole"),
        (Self::GpuModel, "gpu-model"),
        (Self::Wiring, "wiring"),
        (Self::Zone, "zone"),
        (Self::Rack, "rack"),
        (Self::Price, "price"),
        (Self::PeersOnNode, "peers-on-node"),
        (Self::PeersInZone, "peers-in-zone"),
        (Self::GpuMilliFree, "gpu.milli-free"),
        (Self::GpuMemoryFree, "gpu.memory-free"),
        (Self::GpuNuma, "gpu.numa"),
    ];

    /// The column with this contract name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(c, _)| *c)
    }

    /// The contract name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether it has one value a device instead of one a node.
    #[must_use]
    pub fn is_per_gpu(self) -> bool {
        matches!(
            self,
            Self::GpuMilliFree | Self::GpuMemoryFree | Self::GpuNuma
        )
    }

    /// Whether it depends on the pod's application and on other rows.
    #[must_use]
    pub fn is_derived(self) -> bool {
        matches!(self, Self::PeersOnNode | Self::PeersInZone)
    }
}

/// What the pod asks for, as policies see it. Equal values are one signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PodRow {
    /// Milli-cores.
    pub cpu: i32,
    /// MiB.
    pub memory: i32,
    /// MiB.
    pub disk: i32,
    /// Mbit/s.
    pub network: i32,
    /// Devices.
    pub gpu_count: u32,
    /// Share of each, 1..=1000.
    pub gpu_milli: u32,
    /// MiB on each device, 0 for any.
    pub gpu_memory: i32,
    /// Bit set over [`Context::gpu_models`], 0 for any.
    pub gpu_models: u64,
    /// Priority.
    pub priority: i32,
    /// Application id, key of the `peers-*` columns.
    pub app: u32,
}

/// A batch of rows; layout as `rows` in `wit/v0.1.0/scoring.wit`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Number of rows.
    pub count: u32,
    /// Values a GPU column has per row.
    pub slots: u32,
    /// Columns one after the other.
    pub data: &'a [i32],
}

/// One GPU model of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuModelTotals {
    /// Name.
    pub name: String,
    /// Healthy devices.
    pub devices: u32,
    /// MiB of one device, 0 when unknown.
    pub memory: i32,
}

/// One class of recent workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Milli-cores.
    pub cpu: i32,
    /// MiB, mean over the class.
    pub memory: i32,
    /// Devices.
    pub gpu_count: u32,
    /// Share of each.
    pub gpu_milli: u32,
    /// Bit set of acceptable models, 0 for any.
    pub gpu_models: u64,
    /// Pods counted.
    pub count: u64,
}

/// One class of machine; layout as `node-shape` in `types.wit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeShape {
    /// Milli-cores of an empty node.
    pub cpu: i32,
    /// MiB of an empty node.
    pub memory: i32,
    /// Devices.
    pub gpus: u32,
    /// Index into [`Context::gpu_models`], -1 without GPU.
    pub gpu_model: i32,
    /// Nodes of the class.
    pub nodes: u32,
}

/// How one kind of node is wired; layout as `wiring` in `types.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiring {
    /// Devices.
    pub gpus: u32,
    /// gpus × gpus encoded links.
    pub links: Vec<i32>,
    /// NUMA node of each device.
    pub numa: Vec<i32>,
}

/// Slow global inputs. Changes in steps; a new version voids cached scores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// Grows with every change.
    pub version: u64,
    /// Declared state of the cluster.
    pub mode: Mode,
    /// Nodes in the cluster when the version was made.
    pub nodes: u32,
    /// Model ids are indices.
    pub gpu_models: Vec<GpuModelTotals>,
    /// Largest class first.
    pub shapes: Vec<Shape>,
    /// Largest class first.
    pub node_shapes: Vec<NodeShape>,
    /// Ids of the `wiring` column are indices.
    pub wirings: Vec<Wiring>,
}

/// What a call cost the guest. Zero for native policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Fuel burnt.
    pub fuel: u64,
}

/// A scoring policy. Implementations answer the same whatever they were asked
/// before; the engine relies on it for its cache.
pub trait ScoringPolicy: Send {
    /// What it is and reads.
    fn description(&self) -> &Description;

    /// Takes a new context.
    ///
    /// # Errors
    /// A fault; the engine then answers with the built-in.
    fn set_context(&mut self, context: &Arc<Context>) -> Result<(), PolicyFault>;

    /// A decision begins: its calls up to the next one are one question, and may
    /// be bounded together.
    fn begin_decision(&mut self) {}

    /// Appends one score a row to `out`: 0..=100 000, -1 refuses, `i32::MIN`
    /// abstains. On a fault `out` may hold the scores of rows finished before
    /// it, in order; the engine scores the rest with the built-in.
    ///
    /// # Errors
    /// A fault.
    fn score(
        &mut self,
        pod: &PodRow,
        rows: Rows<'_>,
        out: &mut Vec<i32>,
    ) -> Result<Cost, PolicyFault>;

    /// Appends the chosen slots of the single row to `out` and returns `true`,
    /// or abstains with `false`.
    ///
    /// # Errors
    /// A fault.
    fn place(
        &mut self,
        pod: &PodRow,
        row: Rows<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(bool, Cost), PolicyFault>;

    /// Parts that add up to each row's score. Not on the decision path.
    ///
    /// # Errors
    /// A fault.
    fn explain(&mut self, pod: &PodRow, rows: Rows<'_>) -> Result<Vec<Vec<Part>>, PolicyFault>;
}

/// Request of the autoscaling kind; see `autoscaling.wit`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleRequest<'a> {
    /// Logical time, ms.
    pub now_ms: u64,
    /// Declared state of the cluster.
    pub mode: Mode,
    /// What is scaled.
    pub workload: &'a model::scaling::ScalingSpec,
    /// Serving now.
    pub ready: u32,
    /// Asked for, not serving yet.
    pub starting: u32,
    /// Time of the first sample, ms.
    pub series_start_ms: u64,
    /// Distance of two samples, ms.
    pub series_step_ms: u64,
    /// Oldest first, NaN where missing.
    pub series: &'a [f64],
    /// Entries that concern this workload.
    pub calendar: &'a [model::scaling::CalendarEvent],
    /// Built-in reactive answer after stabilisation.
    pub reactive: u32,
    /// What the policy returned last time.
    pub state: &'a [u8],
}

/// Answer of the autoscaling kind.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScaleAnswer {
    /// Replicas wanted, before the host's limits.
    pub desired: u32,
    /// Steps from raw to desired.
    pub parts: Vec<Part>,
    /// Expected load ahead.
    pub forecast: Vec<ForecastPoint>,
    /// To be given back next time.
    pub state: Vec<u8>,
}

/// Most bytes of state a policy may keep per workload.
pub const SCALE_STATE_BYTES_MAX: usize = 256 << 10;

/// An autoscaling policy.
pub trait AutoscalingPolicy: Send {
    /// What it is.
    fn description(&self) -> &Description;

    /// One decision; `None` abstains.
    ///
    /// # Errors
    /// A fault; the built-in reactive answer is then taken.
    fn scale(
        &mut self,
        request: &ScaleRequest<'_>,
    ) -> Result<(Option<ScaleAnswer>, Cost), PolicyFault>;
}
