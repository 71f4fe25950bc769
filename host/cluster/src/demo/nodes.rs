//! Machines in the published mix.

use std::collections::BTreeMap;

use model::{GpuSpec, LinkMatrix, NodeSpec, PcieLevel, Resources};

use crate::rng::Rng;

/// Nodes of one generated cluster: the largest cell that is designed for is
/// 7,500; beyond this the names would not sort.
pub const NODES_MAX: usize = 100_000;

/// Nodes that share a rack and its switch.
const NODES_PER_RACK: usize = 16;

/// Zones that racks are dealt to.
const ZONES: usize = 3;

/// One published node shape.
struct Shape {
    /// How many the published cluster has.
    nodes: u64,
    cpu_milli: i64,
    memory_mib: i64,
    gpus: usize,
    model: &'static Model,
}

/// A GPU model.
struct Model {
    name: &'static str,
    /// Stem of node names.
    stem: &'static str,
    memory_mib: i64,
    /// 1/1000 of a dollar per GPU and hour: the order of public list prices.
    price_milli: i64,
    wiring: Wiring,
}

enum Wiring {
    /// PCIe only.
    Pcie,
    /// The hybrid cube mesh of a DGX-1.
    CubeMesh,
    /// Every pair over a switch with so many links.
    NvSwitch(u16),
}

const T4: Model = Model {
    name: "T4",
    stem: "t4",
    memory_mib: 15_360,
    price_milli: 350,
    wiring: Wiring::Pcie,
};
const P100: Model = Model {
    name: "P100",
    stem: "p100",
    memory_mib: 16_384,
    price_milli: 1_460,
    wiring: Wiring::Pcie,
};
const A10: Model = Model {
    name: "A10",
    stem: "a10",
    memory_mib: 23_028,
    price_milli: 1_000,
    wiring: Wiring::Pcie,
};
const V100M16: Model = Model {
    name: "V100M16",
    stem: "v100-16g",
    memory_mib: 16_384,
    price_milli: 2_480,
    wiring: Wiring::CubeMesh,
};
const V100M32: Model = Model {
    name: "V100M32",
    stem: "v100-32g",
    memory_mib: 32_768,
    price_milli: 3_000,
    wiring: Wiring::CubeMesh,
};
/// Called G2 in the trace.
const A100: Model = Model {
    name: "A100",
    stem: "a100",
    memory_mib: 40_960,
    price_milli: 3_670,
    wiring: Wiring::NvSwitch(12),
};
/// Called G3 in the trace.
const H100: Model = Model {
    name: "H100",
    stem: "h100",
    memory_mib: 81_559,
    price_milli: 8_000,
    wiring: Wiring::NvSwitch(18),
};

const fn shape(
    nodes: u64,
    cpu_milli: i64,
    memory_mib: i64,
    gpus: usize,
    model: &'static Model,
) -> Shape {
    Shape {
        nodes,
        cpu_milli,
        memory_mib,
        gpus,
        model,
    }
}

/// The fifteen published shapes, most frequent first.
const SHAPES: [Shape; 15] = [
    shape(549, 96_000, 393_216, 8, &A100),
    shape(387, 104_000, 524_288, 2, &T4),
    shape(107, 16_000, 122_880, 2, &P100),
    shape(39, 128_000, 786_432, 8, &H100),
    shape(28, 32_000, 131_072, 4, &V100M16),
    shape(22, 64_000, 262_144, 2, &P100),
    shape(21, 96_000, 786_432, 8, &V100M32),
    shape(19, 8_000, 32_768, 1, &V100M16),
    shape(17, 96_000, 393_216, 4, &T4),
    shape(9, 48_000, 376_832, 4, &V100M32),
    shape(7, 64_000, 262_144, 8, &V100M16),
    shape(3, 8_000, 61_440, 1, &P100),
    shape(2, 128_000, 1_048_576, 1, &A10),
    shape(2, 8_000, 61_440, 2, &P100),
    shape(1, 82_000, 344_064, 8, &V100M16),
];

/// Links of a DGX-1, `nvidia-smi topo -m` order: NVLinks of each pair, 0 where
/// the path crosses the sockets.
const CUBE_MESH: [[u16; 8]; 8] = [
    [0, 1, 1, 2, 2, 0, 0, 0],
    [1, 0, 2, 1, 0, 2, 0, 0],
    [1, 2, 0, 2, 0, 0, 1, 0],
    [2, 1, 2, 0, 0, 0, 0, 1],
    [2, 0, 0, 0, 0, 1, 1, 2],
    [0, 2, 0, 0, 1, 0, 2, 1],
    [0, 0, 1, 0, 1, 2, 0, 2],
    [0, 0, 0, 1, 2, 1, 2, 0],
];

/// A cluster of `count` nodes (at most [`NODES_MAX`]): the published mix,
/// dealt by largest remainder so that small clusters keep it too; racks mix
/// shapes at random.
#[must_use]
pub fn nodes(count: usize, seed: u64) -> Vec<NodeSpec> {
    let mut kinds: Vec<&Shape> = Vec::new();
    for (shape, n) in std::iter::zip(&SHAPES, dealt(count.min(NODES_MAX))) {
        kinds.extend(std::iter::repeat_n(shape, n));
    }
    Rng::fork(seed, "demo nodes").shuffle(&mut kinds);
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    kinds
        .iter()
        .enumerate()
        .map(|(at, shape)| {
            let number = numbers.entry(shape.model.stem).or_default();
            *number += 1;
            node(shape, *number, at / NODES_PER_RACK)
        })
        .collect()
}

/// Nodes of each shape, adding up to `count`.
fn dealt(count: usize) -> [usize; SHAPES.len()] {
    let total: u64 = SHAPES.iter().map(|s| s.nodes).sum();
    let exact = SHAPES.each_ref().map(|s| s.nodes * count as u64);
    let mut dealt = exact.map(|e| (e / total) as usize);
    let mut by_remainder: Vec<usize> = (0..SHAPES.len()).collect();
    by_remainder.sort_by_key(|s| std::cmp::Reverse(exact[*s] % total));
    let missing = count - dealt.iter().sum::<usize>();
    for s in by_remainder.into_iter().take(missing) {
        dealt[s] += 1;
    }
    dealt
}

fn node(shape: &Shape, number: usize, rack: usize) -> NodeSpec {
    let model = shape.model;
    let zone = format!("zone-{}", char::from(b'a' + (rack % ZONES) as u8));
    let labels = [
        ("gpu.model", model.name.to_owned()),
        ("gpu.count", shape.gpus.to_string()),
        ("topology.kubernetes.io/zone", zone.clone()),
    ];
    NodeSpec {
        name: format!("{}-{number:04}", model.stem),
        capacity: Resources {
            cpu_milli: shape.cpu_milli,
            memory_mib: shape.memory_mib,
            ..Resources::default()
        },
        gpus: vec![
            GpuSpec {
                model: model.name.to_owned(),
                memory_mib: model.memory_mib,
                healthy: true,
            };
            shape.gpus
        ],
        links: links(model, shape.gpus),
        labels: labels.map(|(k, v)| (k.to_owned(), v)).into(),
        zone: Some(zone),
        rack: Some(format!("rack-{rack:03}")),
        price_milli: model.price_milli * shape.gpus as i64,
        ..NodeSpec::default()
    }
}

/// Half of the GPUs hang on each of two sockets, except on small machines.
fn links(model: &Model, gpus: usize) -> Option<LinkMatrix> {
    let socket = |gpu: usize| if gpus > 2 { gpu * 2 / gpus } else { 0 };
    let mut encoded = vec![0; gpus * gpus];
    for a in 0..gpus {
        for b in (0..gpus).filter(|b| *b != a) {
            let across = socket(a) != socket(b);
            encoded[a * gpus + b] = match model.wiring {
                // Four of a cube mesh are one of its two fully linked quads.
                Wiring::CubeMesh if CUBE_MESH[a % 8][b % 8] > 0 => 100 * CUBE_MESH[a % 8][b % 8],
                Wiring::NvSwitch(bonded) => 100 * bonded,
                Wiring::CubeMesh | Wiring::Pcie if across => PcieLevel::Sys as u16,
                Wiring::CubeMesh | Wiring::Pcie => PcieLevel::Pix as u16,
            };
        }
    }
    let numa = (0..gpus).map(|g| socket(g) as i8).collect();
    LinkMatrix::new(gpus, encoded, numa).ok()
}
