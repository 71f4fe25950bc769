//! Pods that need the same things are one class: they are filtered, scored,
//! parked and woken together.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use model::quantity::GPU_MILLI;
use model::{GpuRequest, PodSpec, Resources, Toleration};

use crate::names::Counted;
use crate::nodes::{DeviceChange, Nodes, to_s32};

/// Bit of a model set that no model of the cluster has.
const NO_SUCH_MODEL: u64 = 1 << 63;

/// Models as a bit set over the cluster's models: 0 for an empty list, which
/// means any, and a bit that no model has if the cluster knows none of them.
pub(crate) fn mask_of(nodes: &Nodes, models: &[String]) -> u64 {
    let known = models
        .iter()
        .filter_map(|m| nodes.gpu_models.get(m.as_str()))
        .fold(0, |mask, id| mask | 1 << id);
    match known {
        0 if !models.is_empty() => NO_SUCH_MODEL,
        known => known,
    }
}

/// What a pod needs from a node, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    pub(crate) requests: Resources,
    pub(crate) gpu: GpuRequest,
    /// Id of the selector, 0 for none.
    pub(crate) selector: u32,
    /// Id of the toleration list, 0 for none.
    pub(crate) tolerations: u32,
}

impl Class {
    /// What one chosen device loses. A whole device takes all its memory along,
    /// whatever was asked for.
    pub(crate) fn per_device(&self, device_memory: i32) -> DeviceChange {
        if self.gpu.count == 0 {
            return DeviceChange {
                milli: 0,
                memory: 0,
            };
        }
        DeviceChange {
            milli: self.gpu.milli as i32,
            memory: if self.gpu.milli == GPU_MILLI {
                device_memory
            } else {
                to_s32(self.gpu.memory_mib)
            },
        }
    }

    /// Acceptable models as a bit set over the cluster's models, 0 for any.
    pub(crate) fn model_mask(&self, nodes: &Nodes) -> u64 {
        if self.gpu.count == 0 || self.gpu.models.is_empty() {
            return 0;
        }
        mask_of(nodes, &self.gpu.models)
    }
}

/// Every class that some pod has, by id. Ids of classes without pods are reused,
/// so that a tenant cannot grow the table by inventing sizes.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    ids: HashMap<Class, u32>,
    slots: Vec<Option<(Class, u32)>>,
    vacant: std::collections::BTreeSet<u32>,
    /// Grows when an id is given to another class; part of the cache's key.
    generations: Vec<u32>,
    selectors: Counted<Arc<BTreeMap<String, String>>>,
    tolerations: Counted<Arc<[Toleration]>>,
    /// An id of a selector or of tolerations is free again: answers remembered
    /// by id have lost their meaning.
    ids_freed: bool,
}

impl Classes {
    /// The class of a pod, with one more member.
    pub(crate) fn join(&mut self, spec: &PodSpec) -> u32 {
        let class = self.class_of(spec);
        if let Some(id) = self.ids.get(&class) {
            if let Some((_, members)) = &mut self.slots[*id as usize] {
                *members += 1;
            }
            return *id;
        }
        let id = self.vacant.pop_first().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            self.slots.len() as u32 - 1
        });
        self.ids.insert(class.clone(), id);
        self.slots[id as usize] = Some((class, 1));
        id
    }

    fn class_of(&mut self, spec: &PodSpec) -> Class {
        let mut gpu = spec.gpu.clone();
        if gpu.count == 0 {
            gpu = GpuRequest::default();
        }
        gpu.models.sort_unstable();
        gpu.models.dedup();
        // 0 stands for "none", so real ids start at 1.
        let selector = if spec.node_selector.is_empty() {
            0
        } else {
            1 + self.selectors.join(&Arc::new(spec.node_selector.clone()))
        };
        let tolerations = if spec.tolerations.is_empty() {
            0
        } else {
            let mut list = spec.tolerations.clone();
            list.sort_unstable();
            1 + self.tolerations.join(&Arc::from(list.as_slice()))
        };
        Class {
            requests: spec.requests,
            gpu,
            selector,
            tolerations,
        }
    }

    /// One member less. Returns whether the class is gone.
    pub(crate) fn leave(&mut self, id: u32) -> bool {
        let Some((class, members)) = &mut self.slots[id as usize] else {
            return false;
        };
        if class.selector > 0 {
            self.ids_freed |= self.selectors.leave(class.selector - 1);
        }
        if class.tolerations > 0 {
            self.ids_freed |= self.tolerations.leave(class.tolerations - 1);
        }
        *members -= 1;
        if *members > 0 {
            return false;
        }
        self.ids.remove(class);
        self.slots[id as usize] = None;
        self.generations[id as usize] += 1;
        self.vacant.insert(id);
        true
    }

    /// Whether ids were freed since this was last asked.
    pub(crate) fn take_ids_freed(&mut self) -> bool {
        std::mem::take(&mut self.ids_freed)
    }

    pub(crate) fn generation(&self, id: u32) -> u32 {
        self.generations[id as usize]
    }

    /// # Panics
    /// If no pod has the class, which only a bug of the engine can ask for.
    pub(crate) fn get(&self, id: u32) -> &Class {
        match &self.slots[id as usize] {
            Some((class, _)) => class,
            None => panic!("class {id} has no pods"),
        }
    }

    pub(crate) fn selector(&self, id: u32) -> Option<&BTreeMap<String, String>> {
        (id > 0).then(|| &**self.selectors.value(id - 1))
    }

    pub(crate) fn tolerations(&self, id: u32) -> &[Toleration] {
        if id == 0 {
            &[]
        } else {
            self.tolerations.value(id - 1)
        }
    }
}
