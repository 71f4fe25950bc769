//! A machine, as an operator or an agent describes it.

use std::collections::BTreeMap;

use crate::quantity::{self, QuantityError, Resources};
use crate::topology::{GPUS_PER_NODE_MAX, LinkMatrix};

/// One device of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuSpec {
    /// Model name, e.g. `H100-SXM5`. One node has one model.
    pub model: String,
    /// MiB, 0 when unknown.
    pub memory_mib: i64,
    /// Unhealthy devices take no work and leave the totals.
    pub healthy: bool,
}

/// What a taint does to a pod that does not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaintEffect {
    /// Never place here.
    NoSchedule,
    /// Place here only when nothing else is left; not used as a filter.
    PreferNoSchedule,
    /// Never place here, and running pods should leave.
    NoExecute,
}

/// Keeps pods away unless they tolerate it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, may be empty.
    pub value: String,
    /// Effect.
    pub effect: TaintEffect,
}

/// Everything known about a node before anything runs on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeSpec {
    /// Unique name.
    pub name: String,
    /// Allocatable amounts.
    pub capacity: Resources,
    /// Devices in slot order.
    pub gpus: Vec<GpuSpec>,
    /// How they are wired; `None` when unknown.
    pub links: Option<LinkMatrix>,
    /// Labels for selectors.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Failure domain.
    pub zone: Option<String>,
    /// Block of racks that share a fabric.
    pub block: Option<String>,
    /// Rack.
    pub rack: Option<String>,
    /// 1/1000 of the currency per hour, 0 when unknown.
    pub price_milli: i64,
    /// No new pods while set; running ones stay.
    pub cordoned: bool,
}

/// A node that cannot exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Empty, too long, or with characters outside `[A-Za-z0-9._/-]`.
    #[error("node name {0:?} is not 1 to 253 characters of [A-Za-z0-9._/-]")]
    Name(String),
    /// An amount out of bounds.
    #[error(transparent)]
    Amount(#[from] QuantityError),
    /// More devices than a device mask holds.
    #[error("{0} GPUs on one node, more than {GPUS_PER_NODE_MAX}")]
    TooManyGpus(usize),
    /// Devices of several models.
    #[error("GPUs of two models ({0} and {1}) on one node; describe them as two nodes")]
    MixedModels(String, String),
    /// Link matrix of another size.
    #[error("link matrix is for {links} GPUs, the node has {gpus}")]
    Links {
        /// Size of the matrix.
        links: usize,
        /// Devices.
        gpus: usize,
    },
}

/// Whether `name` may name an object.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'))
}

impl NodeSpec {
    /// Checks everything that can be checked without knowing the cluster.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn validate(&self) -> Result<(), NodeError> {
        if !is_name(&self.name) {
            return Err(NodeError::Name(self.name.clone()));
        }
        self.capacity.validate()?;
        quantity::check("price", self.price_milli, quantity::AMOUNT_MAX)?;
        if self.gpus.len() > GPUS_PER_NODE_MAX {
            return Err(NodeError::TooManyGpus(self.gpus.len()));
        }
        for gpu in &self.gpus {
            quantity::check("gpu memory", gpu.memory_mib, i64::from(i32::MAX))?;
            if gpu.model != self.gpus[0].model {
                return Err(NodeError::MixedModels(
                    self.gpus[0].model.clone(),
                    gpu.model.clone(),
                ));
            }
        }
        match &self.links {
            Some(links) if links.gpus() != self.gpus.len() => Err(NodeError::Links {
                links: links.gpus(),
                gpus: self.gpus.len(),
            }),
            _ => Ok(()),
        }
    }
}
