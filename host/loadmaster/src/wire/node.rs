//! A node as people describe it.

use std::collections::BTreeMap;

use model::topology::GPUS_PER_NODE_MAX;
use model::{GpuSpec, LinkMatrix, NodeSpec, Resources, TaintEffect};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Invalid;
use super::quantity::{Cpu, Memory, Price, Rate};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Amounts of the four plain dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Amounts {
    /// CPU.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu: Cpu,
    /// Memory.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Memory,
    /// Local disk.
    #[serde(skip_serializing_if = "is_default")]
    pub disk: Memory,
    /// Network.
    #[serde(skip_serializing_if = "is_default")]
    pub network: Rate,
}

impl From<Amounts> for Resources {
    fn from(a: Amounts) -> Self {
        Self {
            cpu_milli: a.cpu.0,
            memory_mib: a.memory.0,
            disk_mib: a.disk.0,
            network_mbps: a.network.0,
        }
    }
}

impl From<Resources> for Amounts {
    fn from(r: Resources) -> Self {
        Self {
            cpu: Cpu(r.cpu_milli),
            memory: Memory(r.memory_mib),
            disk: Memory(r.disk_mib),
            network: Rate(r.network_mbps),
        }
    }
}

/// Consecutive devices that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpus {
    /// Model name; one node has one model.
    pub model: String,
    /// How many; 1 when left out.
    #[serde(default = "one")]
    pub count: u32,
    /// Memory of each; unknown when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: Memory,
    /// `false` takes them out of service.
    #[serde(default = "yes")]
    pub healthy: bool,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// How the devices are wired, in slot order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// One row a device: `100 × NVLinks + PCIe level`, 0 on the diagonal. Levels:
    /// 10 SYS, 20 NODE, 30 PHB, 40 PXB, 50 PIX, 60 same board, 0 unknown.
    pub matrix: Vec<Vec<u16>>,
    /// NUMA node of each device, -1 for unknown; all unknown when left out.
    #[serde(default)]
    pub numa: Vec<i8>,
}

/// What a taint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the names are those of Kubernetes")]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

/// Keeps pods away unless they tolerate it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect.
    pub effect: Effect,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Unique name; may be left out where the URL has it.
    #[serde(default)]
    pub name: String,
    /// Amounts pods can have.
    pub capacity: Amounts,
    /// Devices in slot order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpus>,
    /// How they are wired; unknown when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<Links>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Rack or block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Block of racks that share a fabric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// Per hour; unknown when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub price: Price,
    /// `true` keeps new pods away; running ones stay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cordoned: bool,
}

impl From<&NodeSpec> for Node {
    fn from(n: &NodeSpec) -> Self {
        let mut gpus: Vec<Gpus> = Vec::new();
        for gpu in &n.gpus {
            match gpus.last_mut() {
                Some(last)
                    if last.model == gpu.model
                        && last.memory.0 == gpu.memory_mib
                        && last.healthy == gpu.healthy =>
                {
                    last.count += 1;
                }
                _ => gpus.push(Gpus {
                    model: gpu.model.clone(),
                    count: 1,
                    memory: Memory(gpu.memory_mib),
                    healthy: gpu.healthy,
                }),
            }
        }
        Self {
            name: n.name.clone(),
            capacity: n.capacity.into(),
            gpus,
            links: n.links.as_ref().map(|links| Links {
                matrix: (0..links.gpus())
                    .map(|a| (0..links.gpus()).map(|b| links.link(a, b)).collect())
                    .collect(),
                numa: links.numa().to_vec(),
            }),
            labels: n.labels.clone(),
            taints: n
                .taints
                .iter()
                .map(|t| Taint {
                    key: t.key.clone(),
                    value: t.value.clone(),
                    effect: match t.effect {
                        TaintEffect::NoSchedule => Effect::NoSchedule,
                        TaintEffect::PreferNoSchedule => Effect::PreferNoSchedule,
                        TaintEffect::NoExecute => Effect::NoExecute,
                    },
                })
                .collect(),
            zone: n.zone.clone(),
            rack: n.rack.clone(),
            block: n.block.clone(),
            price: Price(n.price_milli),
            cordoned: n.cordoned,
        }
    }
}

impl TryFrom<Node> for NodeSpec {
    type Error = Invalid;

    fn try_from(n: Node) -> Result<Self, Invalid> {
        let mut gpus = Vec::new();
        for (i, g) in n.gpus.into_iter().enumerate() {
            // Counted before they are made: a count is a number from outside.
            if g.count == 0 || gpus.len() + g.count as usize > GPUS_PER_NODE_MAX {
                let text = format!("a node has 1 to {GPUS_PER_NODE_MAX} GPUs in all, or no entry");
                return Err(Invalid::at(format!("/gpus/{i}/count"), text));
            }
            let spec = GpuSpec {
                model: g.model,
                memory_mib: g.memory.0,
                healthy: g.healthy,
            };
            gpus.extend(std::iter::repeat_n(spec, g.count as usize));
        }
        let links = n.links.map(|l| {
            let count = l.matrix.len();
            if let Some(row) = l.matrix.iter().position(|r| r.len() != count) {
                let text = format!("has {} values, expected {count}", l.matrix[row].len());
                return Err(Invalid::at(format!("/links/matrix/{row}"), text));
            }
            let numa = if l.numa.is_empty() {
                vec![-1; count]
            } else {
                l.numa
            };
            LinkMatrix::new(count, l.matrix.concat(), numa).map_err(|e| Invalid::at("/links", e))
        });
        let spec = Self {
            name: n.name,
            capacity: n.capacity.into(),
            gpus,
            links: links.transpose()?,
            labels: n.labels,
            taints: n
                .taints
                .into_iter()
                .map(|t| model::Taint {
                    key: t.key,
                    value: t.value,
                    effect: match t.effect {
                        Effect::NoSchedule => TaintEffect::NoSchedule,
                        Effect::PreferNoSchedule => TaintEffect::PreferNoSchedule,
                        Effect::NoExecute => TaintEffect::NoExecute,
                    },
                })
                .collect(),
            zone: n.zone,
            rack: n.rack,
            block: n.block,
            price_milli: n.price.0,
            cordoned: n.cordoned,
        };
        spec.validate().map_err(|e| {
            use model::node::NodeError as E;
            let pointer = match &e {
                E::Name(_) => "/name",
                E::Amount(_) | E::TooManyGpus(_) | E::MixedModels(..) => "/gpus",
                E::Links { .. } => "/links",
            };
            Invalid::at(pointer, e)
        })?;
        Ok(spec)
    }
}
