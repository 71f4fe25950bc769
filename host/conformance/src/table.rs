//! A cluster as columns, made from a few lines of description.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::port::{
    Column, Context, GpuModelTotals, NodeShape, PodRow, Rows, Shape, Wiring as WiringColumn,
};
use model::event::Mode;
use model::quantity::GPU_MILLI;
use model::topology::{GPUS_PER_NODE_MAX, PcieLevel};

use crate::case::{Cluster, Nodes, Pod, Use, Wiring};

const SLOTS: usize = GPUS_PER_NODE_MAX;

/// Values of one device column, `SLOTS` a row.
type Devices = Vec<i32>;

/// A cluster.
#[derive(Debug)]
pub(crate) struct Table {
    rows: u32,
    /// By column; derived columns are in [`Question`].
    node: BTreeMap<Column, Vec<i32>>,
    device: BTreeMap<Column, Devices>,
    device_slots: Vec<u32>,
    pub(crate) context: Arc<Context>,
}

/// One pod, the rows that could run it, and what depends on both.
#[derive(Debug)]
pub(crate) struct Question<'t> {
    pub(crate) name: String,
    pub(crate) pod: PodRow,
    /// Rows that could run the pod: a host never asks about others.
    pub(crate) fits: Vec<u32>,
    pub(crate) table: &'t Table,
    peers_on_node: Vec<i32>,
    peers_in_zone: Vec<i32>,
}

/// Lowered rows with their own memory.
#[derive(Debug)]
pub(crate) struct Batch {
    count: u32,
    slots: u32,
    data: Vec<i32>,
}

impl Batch {
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows {
            count: self.count,
            slots: self.slots,
            data: &self.data,
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014), as a hash of its arguments.
pub(crate) fn draw(seed: u64, a: u64, b: u64) -> u64 {
    let mut z = seed
        .wrapping_add(a.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(b.wrapping_mul(0xD1B5_4A32_D192_ED03))
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What is left of `cap` when `milli` thousandths are taken.
fn left(cap: i32, milli: u64) -> i32 {
    let taken = i64::from(cap) * milli as i64 / 1000;
    (i64::from(cap) - taken) as i32
}

impl Use {
    /// Thousandths in use of one dimension of one row.
    fn milli(self, seed: u64, row: u64, dimension: u64) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Same => 250,
            Self::Mixed => draw(seed, row, dimension) % 1001,
            Self::Full => 1000,
        }
    }

    /// Thousandths in use of one device: shared devices are in use by twentieths.
    fn device_milli(self, seed: u64, row: u64, slot: u64) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Same => u64::from(slot == 0) * 500,
            Self::Mixed => match draw(seed, row, 100 + slot) % 4 {
                0 | 1 => 0,
                2 => 1000,
                _ => draw(seed, row, 200 + slot) % 21 * 50,
            },
            Self::Full => 1000,
        }
    }
}

impl Table {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let mut table = Self {
            rows: 0,
            node: BTreeMap::new(),
            device: BTreeMap::new(),
            device_slots: Vec::new(),
            context: Arc::default(),
        };
        let mut context = Context {
            version: 1,
            ..Context::default()
        };
        for nodes in &cluster.nodes {
            let model = model_id(&mut context, nodes.gpus, &nodes.gpu_model, nodes.gpu_memory);
            let wiring = wiring_id(&mut context, nodes.gpus, nodes.wiring);
            context.nodes += nodes.count;
            context.node_shapes.push(NodeShape {
                cpu: nodes.cpu,
                memory: nodes.memory,
                gpus: nodes.gpus,
                gpu_model: model,
                nodes: nodes.count,
            });
            for _ in 0..nodes.count {
                table.push(cluster.seed, nodes, model, wiring, &mut context);
            }
        }
        context
            .node_shapes
            .sort_by_key(|s| std::cmp::Reverse((s.nodes, s.cpu, s.memory, s.gpus, s.gpu_model)));
        context.shapes = cluster
            .shapes
            .iter()
            .map(|s| Shape {
                cpu: s.cpu,
                memory: s.memory,
                gpu_count: s.gpus,
                gpu_milli: s.gpu_milli,
                gpu_models: mask(&context, &s.gpu_models),
                count: s.count,
            })
            .collect();
        table.context = Arc::new(context);
        table
    }

    fn push(&mut self, seed: u64, n: &Nodes, model: i32, wiring: i32, context: &mut Context) {
        let row = u64::from(self.rows);
        let milli = |dimension| n.r#use.milli(seed, row, dimension);
        let out_of_order = draw(seed, row, 300) as u32 % (n.unhealthy + 1);
        let (mut healthy, mut free, mut whole) = (0, 0, 0);
        for slot in 0..SLOTS as u32 {
            let there = slot < n.gpus;
            // Spread over the slots, so that not always the last are missing.
            let broken = there && (slot * 3 + row as u32) % n.gpus < out_of_order;
            let used = n.r#use.device_milli(seed, row, u64::from(slot));
            let values = if there && !broken {
                let milli_free = 1000 - used as i32;
                healthy += 1;
                free += milli_free;
                whole += i32::from(used == 0);
                [milli_free, left(n.gpu_memory, used)]
            } else {
                [-1, -1]
            };
            let numa = match (there, n.wiring) {
                (false, _) | (_, Wiring::Unknown) => -1,
                _ => i32::from(slot * 2 >= n.gpus),
            };
            self.device_value(Column::GpuMilliFree, values[0]);
            self.device_value(Column::GpuMemoryFree, values[1]);
            self.device_value(Column::GpuNuma, numa);
        }
        if let Some(totals) = context.gpu_models.get_mut(model as usize) {
            totals.devices += healthy as u32;
        }
        let id = |of: u32, salt| match of {
            0 => -1,
            of => (draw(seed, row, salt) % u64::from(of)) as i32,
        };
        let pods = milli(6) as i32 / 20;
        let values = [
            (Column::Row, row as i32),
            (Column::CpuFree, left(n.cpu, milli(1))),
            (Column::CpuCap, n.cpu),
            (Column::MemoryFree, left(n.memory, milli(2))),
            (Column::MemoryCap, n.memory),
            (Column::DiskFree, left(n.disk, milli(3))),
            (Column::DiskCap, n.disk),
            (Column::NetworkFree, left(n.network, milli(4))),
            (Column::NetworkCap, n.network),
            (Column::Pods, pods),
            (Column::GpuCount, healthy),
            (Column::GpuFree, free),
            (Column::GpuWhole, whole),
            (Column::GpuModel, model),
            (Column::Wiring, wiring),
            (Column::Zone, id(n.zones, 7)),
            (Column::Rack, id(n.racks, 8)),
            (Column::Price, n.price),
        ];
        for (column, value) in values {
            self.node.entry(column).or_default().push(value);
        }
        self.device_slots.push(n.gpus);
        self.rows += 1;
    }

    fn device_value(&mut self, column: Column, value: i32) {
        self.device.entry(column).or_default().push(value);
    }

    fn get(&self, column: Column, row: u32) -> i32 {
        self.node[&column][row as usize]
    }

    fn device(&self, column: Column, row: u32, slot: usize) -> i32 {
        self.device[&column][row as usize * SLOTS + slot]
    }

    /// Slots of `row` that could give the pod its share.
    pub(crate) fn usable(&self, pod: &PodRow, row: u32) -> Vec<u32> {
        (0..self.device_slots[row as usize])
            .filter(|slot| {
                let milli = self.device(Column::GpuMilliFree, row, *slot as usize);
                let memory = self.device(Column::GpuMemoryFree, row, *slot as usize);
                milli >= pod.gpu_milli as i32 && memory >= pod.gpu_memory
            })
            .collect()
    }

    fn fits(&self, pod: &PodRow, row: u32) -> bool {
        let model = self.get(Column::GpuModel, row);
        let model_fits =
            pod.gpu_models == 0 || (model >= 0 && pod.gpu_models & (1u64 << model) != 0);
        pod.cpu <= self.get(Column::CpuFree, row)
            && pod.memory <= self.get(Column::MemoryFree, row)
            && pod.disk <= self.get(Column::DiskFree, row)
            && pod.network <= self.get(Column::NetworkFree, row)
            && (pod.gpu_count == 0
                || model_fits && self.usable(pod, row).len() >= pod.gpu_count as usize)
    }

    pub(crate) fn ask<'t>(&'t self, case: &str, pod: &Pod) -> Question<'t> {
        let row = PodRow {
            cpu: pod.cpu,
            memory: pod.memory,
            disk: pod.disk,
            network: pod.network,
            gpu_count: pod.gpus,
            gpu_milli: pod.gpu_milli,
            gpu_memory: pod.gpu_memory,
            gpu_models: mask(&self.context, &pod.gpu_models),
            priority: pod.priority,
            app: pod.app,
        };
        let peers_on_node: Vec<i32> = (0..u64::from(self.rows))
            .map(|r| match draw(u64::from(pod.app), r, 400) % 8 {
                n @ 0..3 if pod.app > 0 => n as i32,
                _ => 0,
            })
            .collect();
        let mut zones = BTreeMap::<i32, i32>::new();
        for (r, peers) in peers_on_node.iter().enumerate() {
            *zones.entry(self.get(Column::Zone, r as u32)).or_insert(0) += peers;
        }
        // Nodes without a zone have no zone peers.
        zones.remove(&-1);
        let peers_in_zone = (0..self.rows)
            .map(|r| zones.get(&self.get(Column::Zone, r)).copied().unwrap_or(0))
            .collect();
        Question {
            name: format!("{case}, {}", pod.name),
            pod: row,
            fits: (0..self.rows).filter(|r| self.fits(&row, *r)).collect(),
            table: self,
            peers_on_node,
            peers_in_zone,
        }
    }
}

impl Question<'_> {
    /// The declared columns of `rows`, in the layout of `scoring.wit`.
    pub(crate) fn lower(&self, columns: &[Column], rows: &[u32]) -> Batch {
        let slots = if self.pod.gpu_count == 0 {
            0
        } else {
            let of = |r: &u32| self.table.device_slots[*r as usize];
            rows.iter().map(of).max().unwrap_or(0)
        };
        let mut data = Vec::new();
        for column in columns {
            match column {
                Column::PeersOnNode => {
                    data.extend(rows.iter().map(|r| self.peers_on_node[*r as usize]));
                }
                Column::PeersInZone => {
                    data.extend(rows.iter().map(|r| self.peers_in_zone[*r as usize]));
                }
                gpu if gpu.is_per_gpu() => {
                    for slot in 0..slots as usize {
                        data.extend(rows.iter().map(|r| self.table.device(*gpu, *r, slot)));
                    }
                }
                node => data.extend(rows.iter().map(|r| self.table.get(*node, *r))),
            }
        }
        Batch {
            count: rows.len() as u32,
            slots,
            data,
        }
    }
}

/// The same cluster in another step: what a policy may not carry over.
pub(crate) fn other_context(context: &Context) -> Arc<Context> {
    Arc::new(Context {
        version: context.version + 1,
        mode: Mode::Evacuation,
        nodes: context.nodes + 1,
        gpu_models: context.gpu_models.clone(),
        shapes: vec![Shape {
            cpu: 1000,
            memory: 1024,
            gpu_count: 1,
            gpu_milli: GPU_MILLI,
            gpu_models: 0,
            count: 1,
        }],
        node_shapes: Vec::new(),
        wirings: context.wirings.clone(),
    })
}

// === context ===

/// The bit set of these models; those that nobody has are left out.
pub(crate) fn mask(context: &Context, models: &[String]) -> u64 {
    let id = |m: &String| context.gpu_models.iter().position(|g| g.name == *m);
    models
        .iter()
        .filter_map(id)
        .fold(0, |bits, i| bits | 1 << i)
}

/// The id of a model, which is new if nobody had it.
pub(crate) fn model_id(context: &mut Context, gpus: u32, name: &str, memory: i32) -> i32 {
    if gpus == 0 {
        return -1;
    }
    let models = &mut context.gpu_models;
    let known = models.iter().position(|m| m.name == name);
    let id = known.unwrap_or_else(|| {
        models.push(GpuModelTotals {
            name: name.to_owned(),
            devices: 0,
            memory: 0,
        });
        models.len() - 1
    });
    models[id].memory = models[id].memory.max(memory);
    id as i32
}

/// The id of how a machine is wired, which is new if no other was like it.
pub(crate) fn wiring_id(context: &mut Context, count: u32, wired: Wiring) -> i32 {
    if count == 0 {
        return -1;
    }
    let gpus = count as usize;
    let link = |a: usize, b: usize| {
        let (nvlinks, level) = match wired {
            _ if a == b => return 0,
            Wiring::Unknown => (0, PcieLevel::Unknown),
            Wiring::Pcie => (0, PcieLevel::Phb),
            Wiring::Pairs if a / 2 == b / 2 => (2, PcieLevel::Pix),
            Wiring::Pairs => (0, PcieLevel::Sys),
            Wiring::Full => (12, PcieLevel::Sys),
        };
        100 * nvlinks + level as i32
    };
    let numa = |slot: usize| match wired {
        Wiring::Unknown => -1,
        _ => i32::from(slot * 2 >= gpus),
    };
    let wiring = WiringColumn {
        gpus: count,
        links: (0..gpus * gpus).map(|i| link(i / gpus, i % gpus)).collect(),
        numa: (0..gpus).map(numa).collect(),
    };
    let wirings = &mut context.wirings;
    let known = wirings.iter().position(|w| *w == wiring);
    known.unwrap_or_else(|| {
        wirings.push(wiring);
        wirings.len() - 1
    }) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case;

    #[test]
    fn every_case_but_the_empty_ones_asks_about_rows() {
        let cases = case::scoring();
        let empty = ["none", "full"];
        for case in &cases.case {
            let cluster = cases.cluster.iter().find(|c| c.name == case.cluster);
            let table = Table::new(cluster.expect("named in the case"));
            for name in &case.pods {
                let pod = cases.pod.iter().find(|p| p.name == *name);
                let question = table.ask(&case.name, pod.expect("named in the case"));
                let none = empty.contains(&case.cluster.as_str()) && name != "nothing";
                assert_eq!(question.fits.is_empty(), none, "{}", question.name);
            }
        }
    }

    #[test]
    fn device_totals_agree_with_the_devices() {
        let cases = case::scoring();
        let mixed = cases.cluster.iter().find(|c| c.name == "unhealthy");
        let table = Table::new(mixed.expect("the cases have it"));
        let mut broken = 0;
        for row in 0..table.rows {
            let free: Vec<i32> = (0..SLOTS)
                .map(|s| table.device(Column::GpuMilliFree, row, s))
                .filter(|m| *m >= 0)
                .collect();
            assert_eq!(table.get(Column::GpuCount, row), free.len() as i32);
            assert_eq!(table.get(Column::GpuFree, row), free.iter().sum::<i32>());
            let whole = free.iter().filter(|m| **m == 1000).count() as i32;
            assert_eq!(table.get(Column::GpuWhole, row), whole);
            broken += 8 - free.len();
        }
        assert!(broken > 10, "{broken} devices out of order");
    }
}
