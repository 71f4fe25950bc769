//! Clusters and pods to decide about: seeded, plain, the same everywhere.

use engine::{Config, Engine, Output};
use model::{Event, GpuRequest, GpuSpec, NodeSpec, PodSpec, Resources};

/// xorshift64*: small, seeded, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator; any seed will do.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

/// A node: three of four have 8 GPUs, as in the measurements of the design.
#[must_use]
pub fn node(i: u32) -> NodeSpec {
    let gpus = if i % 4 == 3 { 0 } else { 8 };
    NodeSpec {
        name: format!("node-{i:05}"),
        capacity: Resources {
            cpu_milli: if gpus == 0 { 64_000 } else { 96_000 },
            memory_mib: 786_432,
            disk_mib: 1 << 20,
            network_mbps: 25_000,
        },
        gpus: vec![
            GpuSpec {
                model: if i.is_multiple_of(2) { "H100" } else { "A100" }.to_owned(),
                memory_mib: 81_920,
                healthy: true,
            };
            gpus
        ],
        zone: Some(format!("zone-{}", i % 3)),
        rack: Some(format!("rack-{}", i / 32)),
        ..NodeSpec::default()
    }
}

/// An engine that knows `n` nodes.
///
/// # Panics
/// Never: the nodes are legal.
#[must_use]
pub fn engine(n: u32) -> Engine {
    let mut engine = Engine::new(Config::default());
    let mut out = Output::default();
    for i in 0..n {
        engine
            .step(0, Event::NodePut(Box::new(node(i))), &mut out)
            .expect("a legal node");
    }
    engine
}

/// Pod number `i` of one of `shapes` shapes: a third CPU only, a third part of
/// a GPU, a third whole GPUs.
#[must_use]
pub fn pod(i: u64, shapes: u64) -> PodSpec {
    let shape = i % shapes;
    let gpu = match shape % 3 {
        0 => GpuRequest::whole(1 + (shape % 4) as u32),
        1 => GpuRequest::share(100 + (shape * 53 % 800) as u32),
        _ => GpuRequest::default(),
    };
    PodSpec {
        name: format!("pod-{i}"),
        app: "bench".to_owned(),
        requests: Resources {
            cpu_milli: 1_000 + (shape as i64 * 250) % 8_000,
            memory_mib: 4_096 + (shape as i64 * 512) % 16_384,
            ..Resources::default()
        },
        gpu,
        ..PodSpec::default()
    }
}
