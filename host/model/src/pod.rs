//! A unit of work that runs on one node.

use std::collections::BTreeMap;

use crate::node::is_name;
use crate::quantity::{self, GPU_MILLI, QuantityError, Resources};
use crate::topology::GPUS_PER_NODE_MAX;

/// Devices a pod asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GpuRequest {
    /// Number of devices, 0 for none.
    pub count: u32,
    /// Share of each device in milli-GPU; below 1000 only with `count` 1.
    pub milli: u32,
    /// MiB needed on each device, 0 for any.
    pub memory_mib: i64,
    /// Acceptable models; empty for any.
    pub models: Vec<String>,
}

/// Lets a pod onto a tainted node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Toleration {
    /// Key; empty tolerates every taint.
    pub key: String,
    /// `None` tolerates every value of the key.
    pub value: Option<String>,
}

/// What a pod needs and who it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSpec {
    /// Unique name.
    pub name: String,
    /// Job that owns it, if any.
    pub job: Option<String>,
    /// Application, the key that spreading counts by.
    pub app: String,
    /// Amounts.
    pub requests: Resources,
    /// Devices.
    pub gpu: GpuRequest,
    /// Labels a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints it accepts.
    pub tolerations: Vec<Toleration>,
    /// Higher goes first.
    pub priority: i32,
}

/// A pod that cannot exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    /// Empty, too long, or odd characters.
    #[error("pod name {0:?} is not 1 to 253 characters of [A-Za-z0-9._/-]")]
    Name(String),
    /// An amount out of bounds.
    #[error(transparent)]
    Amount(#[from] QuantityError),
    /// More devices than any node can have.
    #[error("{0} GPUs asked for, but no node has more than {GPUS_PER_NODE_MAX}")]
    TooManyGpus(u32),
    /// A share outside 1..=1000.
    #[error("a GPU share of {0} milli-GPU is not between 1 and 1000")]
    Share(u32),
    /// Part of several devices.
    #[error("{count} GPUs with a share of {milli} milli-GPU: only a single GPU can be shared")]
    SharedSet {
        /// Devices asked for.
        count: u32,
        /// Share asked for.
        milli: u32,
    },
}

impl GpuRequest {
    /// `count` whole devices of any model.
    #[must_use]
    pub fn whole(count: u32) -> Self {
        Self {
            count,
            milli: if count == 0 { 0 } else { GPU_MILLI },
            ..Self::default()
        }
    }

    /// Part of one device, in milli-GPU.
    #[must_use]
    pub fn share(milli: u32) -> Self {
        Self {
            count: 1,
            milli,
            ..Self::default()
        }
    }

    /// Milli-GPU over all devices.
    #[must_use]
    pub fn total_milli(&self) -> i64 {
        i64::from(self.count) * i64::from(self.milli)
    }
}

impl PodSpec {
    /// Checks everything that can be checked without knowing the cluster.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn validate(&self) -> Result<(), PodError> {
        if !is_name(&self.name) {
            return Err(PodError::Name(self.name.clone()));
        }
        self.requests.validate()?;
        quantity::check("gpu memory", self.gpu.memory_mib, i64::from(i32::MAX))?;
        let GpuRequest { count, milli, .. } = self.gpu;
        if count as usize > GPUS_PER_NODE_MAX {
            return Err(PodError::TooManyGpus(count));
        }
        if count > 0 && (milli == 0 || milli > GPU_MILLI) {
            return Err(PodError::Share(milli));
        }
        if count > 1 && milli != GPU_MILLI {
            return Err(PodError::SharedSet { count, milli });
        }
        Ok(())
    }
}
