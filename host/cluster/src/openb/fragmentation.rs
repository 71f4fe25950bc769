//! How much of a node's free GPU the typical workload could not use (FGD,
//! ATC '23).

use std::collections::HashMap;

use model::event::ShapeClass;
use model::quantity::GPU_MILLI;

/// Remembered nodes states. Some thousand occur in a published run; the bound
/// keeps a long-lived meter small. Forgetting costs time, never the answer.
const MEMO_ENTRIES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    model: u32,
    /// How many of the distinct CPU amounts still fit: all that matters of the
    /// free CPU.
    cpu_rank: u32,
    /// Free milli-GPU of each device, ascending.
    left: Vec<u32>,
}

/// Fragmentation of node states against a fixed workload. A pure function with
/// a memory.
#[derive(Debug, Clone)]
pub struct Fragmentation {
    shapes: Vec<ShapeClass>,
    weight: u64,
    cpus: Vec<i64>,
    models: HashMap<String, u32>,
    memo: HashMap<Key, u64>,
}

impl Fragmentation {
    /// Against `shapes`, weighted by their counts.
    #[must_use]
    pub fn new(shapes: Vec<ShapeClass>) -> Self {
        let mut cpus: Vec<i64> = shapes.iter().map(|s| s.cpu_milli).collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self {
            weight: shapes.iter().map(|s| s.count).sum(),
            shapes,
            cpus,
            models: HashMap::new(),
            memo: HashMap::new(),
        }
    }

    /// Sum of the classes' counts: what [`node`](Self::node) is a multiple of.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// `F_n × weight`, in milli-GPU: exact, so that sums do not depend on
    /// their order. `left` is the free milli-GPU of each device.
    pub fn node(&mut self, model: &str, cpu_left: i64, left: &[u32]) -> u64 {
        if left.is_empty() {
            return 0;
        }
        let next = self.models.len() as u32;
        let model_id = match self.models.get(model) {
            Some(id) => *id,
            None => {
                self.models.insert(model.to_owned(), next);
                next
            }
        };
        let mut left = left.to_vec();
        left.sort_unstable();
        let key = Key {
            model: model_id,
            cpu_rank: self.cpus.partition_point(|c| *c <= cpu_left) as u32,
            left,
        };
        if let Some(known) = self.memo.get(&key) {
            return *known;
        }
        let value = self
            .shapes
            .iter()
            .map(|shape| shape.count * u64::from(unusable(shape, model, cpu_left, &key.left)))
            .sum();
        if self.memo.len() >= MEMO_ENTRIES_MAX {
            self.memo.clear();
        }
        self.memo.insert(key, value);
        value
    }
}

/// Milli-GPU of the node that pods of `shape` cannot use.
fn unusable(shape: &ShapeClass, model: &str, cpu_left: i64, left: &[u32]) -> u32 {
    let all = left.iter().sum();
    let wants_gpu = shape.gpu_count > 0 && shape.gpu_milli > 0;
    let matches = shape.gpu_models.is_empty() || shape.gpu_models.iter().any(|m| m == model);
    // A share is asked of each device, never more than a device has.
    let milli = shape.gpu_milli.min(GPU_MILLI);
    let usable = left.iter().filter(|l| **l >= milli).count();
    let fits = shape.cpu_milli <= cpu_left && usable >= shape.gpu_count as usize;
    if !(wants_gpu && matches && fits) {
        return all;
    }
    left.iter().filter(|l| **l < milli).sum()
}
