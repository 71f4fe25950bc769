//! A cluster for tests: nodes, their columns, and a policy over them.

use crate::Column;
use crate::scoring::{
    Context, DeviceSet, GPU_WHOLE, GpuModel, Mode, Native, NodeShape, Part, Pod, ScoringPolicy,
    ShapeClass, Wiring, native,
};

#[derive(Debug, Clone)]
struct TestGpu {
    milli_free: i32,
    memory_free: i32,
    numa: i32,
    healthy: bool,
}

#[derive(Debug, Clone)]
struct TestNode {
    name: String,
    cpu: (i32, i32),
    memory: (i32, i32),
    disk: (i32, i32),
    network: (i32, i32),
    pods: i32,
    model: i32,
    wiring: i32,
    zone: i32,
    rack: i32,
    price: i32,
    peers: i32,
    gpus: Vec<TestGpu>,
}

/// A cluster for tests. Rows are numbered in the order the nodes were added.
#[derive(Debug, Clone, Default)]
pub struct TestCluster {
    nodes: Vec<TestNode>,
    models: Vec<GpuModel>,
    wirings: Vec<Wiring>,
    shapes: Vec<ShapeClass>,
}

/// Free MiB of a device unless the test says otherwise.
const GPU_MEMORY: i32 = 80_000;

impl TestCluster {
    /// No nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node with plenty of everything but GPUs.
    pub fn node(self, name: &str) -> NodeBuilder {
        NodeBuilder {
            cluster: self,
            node: TestNode {
                name: name.to_owned(),
                cpu: (128_000, 128_000),
                memory: (1 << 20, 1 << 20),
                disk: (1 << 20, 1 << 20),
                network: (100_000, 100_000),
                pods: 0,
                model: -1,
                wiring: -1,
                zone: -1,
                rack: -1,
                price: 0,
                peers: 0,
                gpus: Vec::new(),
            },
        }
    }

    /// Adds a class of recent workload to the context: `count` pods like this.
    #[must_use]
    pub fn shape(mut self, pod: &Pod, count: u64) -> Self {
        self.shapes.push(ShapeClass {
            cpu: pod.cpu,
            memory: pod.memory,
            gpu_count: pod.gpu_count,
            gpu_milli: pod.gpu_milli,
            gpu_models: pod.gpu_models,
            count,
        });
        self.shapes.sort_by_key(|s| std::cmp::Reverse(s.count));
        self
    }

    /// The context a host would give for this cluster.
    #[must_use]
    pub fn context(&self) -> Context {
        Context {
            version: 1,
            mode: Mode::Normal,
            nodes: self.nodes.len() as u32,
            gpu_models: self.models.clone(),
            shapes: self.shapes.clone(),
            node_shapes: self.node_shapes(),
            wirings: self.wirings.clone(),
        }
    }

    fn node_shapes(&self) -> Vec<NodeShape> {
        let mut shapes: Vec<NodeShape> = Vec::new();
        for node in &self.nodes {
            let shape = NodeShape {
                cpu: node.cpu.1,
                memory: node.memory.1,
                gpus: node.gpus.len() as u32,
                gpu_model: node.model,
                nodes: 1,
            };
            let same = |other: &&mut NodeShape| {
                NodeShape {
                    nodes: 1,
                    ..**other
                } == shape
            };
            match shapes.iter_mut().find(same) {
                Some(known) => known.nodes += 1,
                None => shapes.push(shape),
            }
        }
        shapes.sort_by_key(|s| std::cmp::Reverse(s.nodes));
        shapes
    }

    /// A policy with these settings that has seen this cluster's context.
    ///
    /// # Panics
    /// If the policy refuses the settings.
    #[must_use]
    pub fn policy<P: ScoringPolicy>(&self, settings: &str) -> Native<P> {
        match native::<P>(settings) {
            Ok(mut policy) => {
                policy.set_context(self.context());
                policy
            }
            Err(error) => panic!("policy refused {settings}: {error}"),
        }
    }

    /// Slots a host would use for this pod: none if it wants no GPU.
    #[must_use]
    pub fn slots(&self, pod: &Pod) -> u32 {
        if pod.gpu_count == 0 {
            return 0;
        }
        self.nodes.iter().map(|n| n.gpus.len()).max().unwrap_or(0) as u32
    }

    /// The buffer a host would pass for these rows.
    #[must_use]
    pub fn lay_out(&self, columns: &[Column], rows: &[usize], slots: u32) -> Vec<i32> {
        let mut data = Vec::new();
        for &column in columns {
            if column.is_per_gpu() {
                for slot in 0..slots as usize {
                    data.extend(rows.iter().map(|&row| self.device(column, row, slot)));
                }
            } else {
                data.extend(rows.iter().map(|&row| self.value(column, row)));
            }
        }
        data
    }

    fn device(&self, column: Column, row: usize, slot: usize) -> i32 {
        match (column, self.nodes[row].gpus.get(slot)) {
            (_, None) => -1,
            (Column::GpuNuma, Some(gpu)) => gpu.numa,
            (_, Some(gpu)) if !gpu.healthy => -1,
            (Column::GpuMilliFree, Some(gpu)) => gpu.milli_free,
            (_, Some(gpu)) => gpu.memory_free,
        }
    }

    fn value(&self, column: Column, row: usize) -> i32 {
        let node = &self.nodes[row];
        let healthy = || node.gpus.iter().filter(|g| g.healthy);
        match column {
            Column::Row => row as i32,
            Column::CpuFree => node.cpu.0,
            Column::CpuCap => node.cpu.1,
            Column::MemoryFree => node.memory.0,
            Column::MemoryCap => node.memory.1,
            Column::DiskFree => node.disk.0,
            Column::DiskCap => node.disk.1,
            Column::NetworkFree => node.network.0,
            Column::NetworkCap => node.network.1,
            Column::Pods => node.pods,
            Column::GpuCount => healthy().count() as i32,
            Column::GpuFree => healthy().map(|g| g.milli_free).sum(),
            Column::GpuWhole => healthy().filter(|g| g.milli_free == GPU_WHOLE).count() as i32,
            Column::GpuModel => node.model,
            Column::Wiring => node.wiring,
            Column::Zone => node.zone,
            Column::Rack => node.rack,
            Column::Price => node.price,
            Column::PeersOnNode => node.peers,
            Column::PeersInZone => {
                let zone = self.nodes.iter().filter(|n| n.zone == node.zone);
                zone.map(|n| n.peers).sum()
            }
            Column::GpuMilliFree | Column::GpuMemoryFree | Column::GpuNuma => {
                unreachable!("device columns are laid out by slot")
            }
        }
    }

    /// Rows on which the pod can run; a host passes no others to `score`.
    #[must_use]
    pub fn feasible(&self, pod: &Pod) -> Vec<usize> {
        let fits = |node: &TestNode| {
            let fitting = node.gpus.iter().filter(|g| {
                g.healthy && g.milli_free >= pod.gpu_milli as i32 && g.memory_free >= pod.gpu_memory
            });
            let model = pod.gpu_count == 0
                || pod.gpu_models == 0
                || (node.model >= 0 && pod.gpu_models >> node.model & 1 == 1);
            node.cpu.0 >= pod.cpu
                && node.memory.0 >= pod.memory
                && node.disk.0 >= pod.disk
                && node.network.0 >= pod.network
                && model
                && fitting.count() >= pod.gpu_count as usize
        };
        (0..self.nodes.len())
            .filter(|&row| fits(&self.nodes[row]))
            .collect()
    }

    fn scored<P: ScoringPolicy>(&self, policy: &Native<P>, pod: &Pod) -> Vec<(usize, i32)> {
        let rows = self.feasible(pod);
        let slots = self.slots(pod);
        let data = self.lay_out(&policy.describe().columns, &rows, slots);
        let mut out = Vec::new();
        policy.score(pod, rows.len() as u32, slots, &data, &mut out);
        rows.into_iter().zip(out).collect()
    }

    /// Name and raw score of every row on which the pod can run.
    #[must_use]
    pub fn scores<P: ScoringPolicy>(&self, policy: &Native<P>, pod: &Pod) -> Vec<(&str, i32)> {
        let scored = self.scored(policy, pod);
        scored
            .into_iter()
            .map(|(row, score)| (self.nodes[row].name.as_str(), score))
            .collect()
    }

    fn best<P: ScoringPolicy>(&self, policy: &Native<P>, pod: &Pod) -> Option<usize> {
        let scored = self.scored(policy, pod);
        let accepted = scored.into_iter().filter(|(_, score)| *score != -1);
        // The largest score; among equals the smallest row.
        accepted
            .max_by_key(|(row, score)| (*score, std::cmp::Reverse(*row)))
            .map(|(row, _)| row)
    }

    /// The node that wins: highest score, ties to the lowest row.
    #[must_use]
    pub fn winner<P: ScoringPolicy>(&self, policy: &Native<P>, pod: &Pod) -> Option<&str> {
        self.best(policy, pod)
            .map(|row| self.nodes[row].name.as_str())
    }

    fn row(&self, name: &str) -> usize {
        match self.nodes.iter().position(|n| n.name == name) {
            Some(row) => row,
            None => panic!("no node is named {name}"),
        }
    }

    /// The devices the policy takes on a node.
    #[must_use]
    pub fn place<P: ScoringPolicy>(
        &self,
        policy: &Native<P>,
        pod: &Pod,
        node: &str,
    ) -> Option<Vec<u32>> {
        let slots = self.slots(pod);
        let data = self.lay_out(&policy.describe().columns, &[self.row(node)], slots);
        let set = policy.place(pod, slots, &data)?;
        Some(set.iter().collect())
    }

    /// The parts of a node's score.
    ///
    /// # Panics
    /// If they do not add up to the score.
    #[must_use]
    pub fn explain<P: ScoringPolicy>(
        &self,
        policy: &Native<P>,
        pod: &Pod,
        node: &str,
    ) -> Vec<Part> {
        let slots = self.slots(pod);
        let data = self.lay_out(&policy.describe().columns, &[self.row(node)], slots);
        let parts = policy.explain(pod, 1, slots, &data).remove(0);
        let mut score = Vec::new();
        policy.score(pod, 1, slots, &data, &mut score);
        let sum: i64 = parts.iter().map(|p| p.value).sum();
        assert!(
            sum == i64::from(score[0]) || (parts.is_empty() && score[0] == i32::MIN),
            "parts {parts:?} do not add up to {}",
            score[0]
        );
        parts
    }

    /// Takes the pod's resources on a node and its devices.
    ///
    /// # Panics
    /// If it does not fit there.
    pub fn bind(&mut self, pod: &Pod, node: &str, devices: DeviceSet) {
        let row = self.row(node);
        let node = &mut self.nodes[row];
        node.cpu.0 -= pod.cpu;
        node.memory.0 -= pod.memory;
        node.disk.0 -= pod.disk;
        node.network.0 -= pod.network;
        node.pods += 1;
        node.peers += 1;
        assert_eq!(devices.len(), pod.gpu_count as usize, "devices of the pod");
        for slot in devices.iter() {
            let gpu = &mut node.gpus[slot as usize];
            gpu.milli_free -= pod.gpu_milli as i32;
            gpu.memory_free -= pod.gpu_memory;
            assert!(
                gpu.healthy && gpu.milli_free >= 0 && gpu.memory_free >= 0,
                "slot {slot} of {} has no room",
                node.name
            );
        }
        assert!(
            node.cpu.0 >= 0 && node.memory.0 >= 0 && node.disk.0 >= 0 && node.network.0 >= 0,
            "{} has no room",
            node.name
        );
    }

    /// Lets the policy choose node and devices and binds the pod there. Where
    /// the policy abstains from devices, the first that fit are taken.
    pub fn schedule<P: ScoringPolicy>(
        &mut self,
        policy: &Native<P>,
        pod: &Pod,
    ) -> Option<(String, Vec<u32>)> {
        let row = self.best(policy, pod)?;
        let name = self.nodes[row].name.clone();
        let devices = if pod.gpu_count == 0 {
            Vec::new()
        } else {
            self.place(policy, pod, &name).unwrap_or_else(|| {
                let gpus = self.nodes[row].gpus.iter().enumerate();
                gpus.filter(|(_, g)| {
                    g.healthy
                        && g.milli_free >= pod.gpu_milli as i32
                        && g.memory_free >= pod.gpu_memory
                })
                .map(|(slot, _)| slot as u32)
                .take(pod.gpu_count as usize)
                .collect()
            })
        };
        let set = devices.iter().map(|slot| *slot as usize).collect();
        self.bind(pod, &name, set);
        Some((name, devices))
    }
}

/// One node being built; [`NodeBuilder::done`] returns to the cluster.
#[derive(Debug)]
#[must_use = "a node joins the cluster with `done`"]
pub struct NodeBuilder {
    cluster: TestCluster,
    node: TestNode,
}

impl NodeBuilder {
    /// Allocatable milli-cores, all free.
    pub fn cpu(mut self, milli: i32) -> Self {
        self.node.cpu = (milli, milli);
        self
    }

    /// Milli-cores in use.
    pub fn cpu_used(mut self, milli: i32) -> Self {
        self.node.cpu.0 = self.node.cpu.1 - milli;
        self
    }

    /// Allocatable MiB, all free.
    pub fn memory(mut self, mib: i32) -> Self {
        self.node.memory = (mib, mib);
        self
    }

    /// MiB in use.
    pub fn memory_used(mut self, mib: i32) -> Self {
        self.node.memory.0 = self.node.memory.1 - mib;
        self
    }

    /// Interned zone.
    pub fn zone(mut self, zone: i32) -> Self {
        self.node.zone = zone;
        self
    }

    /// Interned rack.
    pub fn rack(mut self, rack: i32) -> Self {
        self.node.rack = rack;
        self
    }

    /// Thousandths per hour.
    pub fn price(mut self, price: i32) -> Self {
        self.node.price = price;
        self
    }

    /// Pods of the asking application that run here.
    pub fn peers(mut self, pods: i32) -> Self {
        self.node.peers = pods;
        self.node.pods = self.node.pods.max(pods);
        self
    }

    /// Free, healthy devices of one model, wired in no known way.
    pub fn gpus(mut self, model: &str, count: usize) -> Self {
        let models = &mut self.cluster.models;
        let id = models.iter().position(|m| m.name == model);
        let id = id.unwrap_or_else(|| {
            models.push(GpuModel {
                name: model.to_owned(),
                devices: 0,
                memory: GPU_MEMORY,
            });
            models.len() - 1
        });
        models[id].devices += count as u32;
        self.node.model = id as i32;
        let gpu = TestGpu {
            milli_free: GPU_WHOLE,
            memory_free: GPU_MEMORY,
            numa: -1,
            healthy: true,
        };
        self.node.gpus = vec![gpu; count];
        self.wired(&vec![0; count * count])
    }

    /// How the devices are wired: gpus × gpus, `100 × NVLinks + PCIe level`.
    ///
    /// # Panics
    /// If the matrix does not have gpus × gpus elements.
    pub fn links(self, matrix: &[i32]) -> Self {
        assert_eq!(matrix.len(), self.node.gpus.len().pow(2), "gpus x gpus");
        self.wired(matrix)
    }

    fn wired(mut self, matrix: &[i32]) -> Self {
        let wiring = Wiring {
            gpus: self.node.gpus.len() as u32,
            links: matrix.to_vec(),
            numa: self.node.gpus.iter().map(|g| g.numa).collect(),
        };
        let wirings = &mut self.cluster.wirings;
        let id = wirings.iter().position(|w| *w == wiring);
        let id = id.unwrap_or_else(|| {
            wirings.push(wiring);
            wirings.len() - 1
        });
        self.node.wiring = id as i32;
        self
    }

    /// NUMA node of each device. Say it before [`NodeBuilder::links`].
    ///
    /// # Panics
    /// If there is not one entry a device.
    pub fn numa(mut self, nodes: &[i32]) -> Self {
        assert_eq!(nodes.len(), self.node.gpus.len(), "one entry a device");
        for (gpu, numa) in self.node.gpus.iter_mut().zip(nodes) {
            gpu.numa = *numa;
        }
        let unwired = vec![0; nodes.len() * nodes.len()];
        self.wired(&unwired)
    }

    /// Milli-GPU in use on one device.
    pub fn gpu_used(mut self, slot: usize, milli: i32) -> Self {
        self.node.gpus[slot].milli_free = GPU_WHOLE - milli;
        self
    }

    /// Only these devices are free; the others are wholly in use.
    pub fn gpus_free(mut self, free: &[usize]) -> Self {
        for (slot, gpu) in self.node.gpus.iter_mut().enumerate() {
            gpu.milli_free = if free.contains(&slot) { GPU_WHOLE } else { 0 };
        }
        self
    }

    /// Memory in use on one device, MiB.
    pub fn gpu_memory_used(mut self, slot: usize, mib: i32) -> Self {
        self.node.gpus[slot].memory_free = GPU_MEMORY - mib;
        self
    }

    /// One device is broken.
    pub fn gpu_unhealthy(mut self, slot: usize) -> Self {
        self.node.gpus[slot].healthy = false;
        self
    }

    /// The node joins the cluster.
    #[must_use]
    pub fn done(mut self) -> TestCluster {
        self.cluster.nodes.push(self.node);
        self.cluster
    }
}
