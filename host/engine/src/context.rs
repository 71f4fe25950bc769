//! The slow inputs of policies, renewed in steps.
//!
//! Every new version voids the score cache, so a version is made at once only
//! for what would otherwise be wrong (a model, a wiring or a mode that policies
//! have not heard of) and in steps for what is merely old.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::event::{Mode, ShapeClass};
use model::{GpuRequest, PodSpec};

use crate::nodes::{Nodes, to_s32};
use crate::port::{Context, GpuModelTotals, NodeShape, Shape, Wiring};

/// Classes handed to policies: the largest, by count. The rare large shapes
/// matter most to fragmentation, so the tail is kept, not cut at 95 %.
pub const SHAPES_MAX: usize = 512;

/// Distinct classes counted. Beyond it the rarest half is forgotten.
const CLASSES_KEPT: usize = 4_096;

/// Arrivals before a learned histogram is first published.
const LEARN_FIRST: u64 = 64;

/// Arrivals after which all counts are halved, so that the histogram follows
/// the last weeks and not the last years.
const HALVE_AFTER: u64 = 1 << 15;

/// Nodes and devices may drift by this share (1/n) before totals are renewed.
const DRIFT: u32 = 10;

/// Counts what arrives and decides when policies hear of it.
#[derive(Debug)]
pub(crate) struct ContextKeeper {
    current: Arc<Context>,
    mode: Mode,
    /// Given by people; wins over what is learned.
    pub(crate) profile: Vec<ShapeClass>,
    pub(crate) learned: BTreeMap<ShapeKey, Seen>,
    pub(crate) arrivals: u64,
    pub(crate) publish_at: u64,
    published: Vec<(ShapeKey, Seen)>,
    dirty: bool,
}

/// Milli-cores and devices: memory differs too much to group by.
pub(crate) type ShapeKey = (i64, GpuRequest);

/// What was seen of one shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) count: u64,
    pub(crate) memory_mib: i64,
}

impl Default for ContextKeeper {
    fn default() -> Self {
        Self {
            current: Arc::new(Context::default()),
            mode: Mode::Normal,
            profile: Vec::new(),
            learned: BTreeMap::new(),
            arrivals: 0,
            publish_at: LEARN_FIRST,
            published: Vec::new(),
            dirty: true,
        }
    }
}

impl ContextKeeper {
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.dirty |= self.mode != mode;
        self.mode = mode;
    }

    pub(crate) fn set_profile(&mut self, profile: Vec<ShapeClass>) {
        self.profile = profile;
        self.dirty = true;
    }

    /// Counts one arrival.
    pub(crate) fn arrived(&mut self, pod: &PodSpec) {
        let mut gpu = pod.gpu.clone();
        if gpu.count == 0 {
            gpu = GpuRequest::default();
        }
        let seen = self
            .learned
            .entry((pod.requests.cpu_milli, gpu))
            .or_default();
        seen.count += 1;
        seen.memory_mib += pod.requests.memory_mib;
        self.arrivals += 1;
        if self.learned.len() > CLASSES_KEPT || self.arrivals.is_multiple_of(HALVE_AFTER) {
            self.learned.retain(|_, seen| {
                seen.count /= 2;
                seen.memory_mib /= 2;
                seen.count > 0
            });
        }
        if self.arrivals >= self.publish_at {
            self.publish();
        }
    }

    fn publish(&mut self) {
        // Half as many again each time: steps, ever rarer, up to the halving.
        self.publish_at = self.arrivals + (self.arrivals / 2).min(HALVE_AFTER);
        let mut list: Vec<_> = self.learned.iter().map(|(k, n)| (k.clone(), *n)).collect();
        // Rule of the FGD artifact: by count, ties to the larger shape.
        list.sort_by(|a, b| (b.1.count, &b.0).cmp(&(a.1.count, &a.0)));
        list.truncate(SHAPES_MAX);
        self.published = list;
        self.dirty |= self.profile.is_empty();
    }

    /// State that must survive a restart beside `learned`.
    pub(crate) fn restore(
        &mut self,
        mode: Mode,
        version: u64,
        arrivals: u64,
        publish_at: u64,
        published: Vec<(ShapeKey, Seen)>,
    ) {
        self.learned = published.iter().cloned().collect();
        self.mode = mode;
        self.arrivals = arrivals;
        self.publish_at = publish_at;
        self.published = published;
        self.current = Arc::new(Context {
            version,
            ..Context::default()
        });
        self.dirty = true;
    }

    pub(crate) fn published(&self) -> &[(ShapeKey, Seen)] {
        &self.published
    }

    /// The context as policies should see it now. Cheap when nothing changed.
    pub(crate) fn current(&mut self, nodes: &Nodes) -> &Arc<Context> {
        if self.dirty || self.outdated(nodes) {
            self.dirty = false;
            let next = self.build(nodes);
            let same = Context {
                version: self.current.version,
                ..next.clone()
            } == *self.current;
            if !same {
                self.current = Arc::new(next);
            }
        }
        &self.current
    }

    /// The context last handed out.
    pub(crate) fn shared(&self) -> &Arc<Context> {
        &self.current
    }

    fn outdated(&self, nodes: &Nodes) -> bool {
        let (then, now) = (self.current.nodes, nodes.live());
        self.current.gpu_models.len() != nodes.gpu_models.len()
            || self.current.wirings.len() != nodes.wirings.len()
            || then.abs_diff(now) * DRIFT > then
    }

    fn build(&self, nodes: &Nodes) -> Context {
        let mut gpu_models: Vec<_> = nodes
            .gpu_models
            .values()
            .iter()
            .map(|name| GpuModelTotals {
                name: name.to_string(),
                devices: 0,
                memory: 0,
            })
            .collect();
        for row in nodes.live_rows() {
            let model = nodes.gpu_model[row as usize];
            if let (Some(m), Some(spec)) = (gpu_models.get_mut(model as usize), nodes.spec(row)) {
                m.devices += nodes.gpu_count[row as usize] as u32;
                let memory = spec.gpus.first().map_or(0, |g| to_s32(g.memory_mib));
                m.memory = m.memory.max(memory);
            }
        }
        let mask = |models: &[String]| crate::class::mask_of(nodes, models);
        let shapes = if self.profile.is_empty() {
            self.published
                .iter()
                .map(|((cpu_milli, gpu), seen)| Shape {
                    cpu: to_s32(*cpu_milli),
                    memory: to_s32(seen.memory_mib / seen.count.max(1) as i64),
                    gpu_count: gpu.count,
                    gpu_milli: gpu.milli,
                    gpu_models: mask(&gpu.models),
                    count: seen.count,
                })
                .collect()
        } else {
            self.profile
                .iter()
                .take(SHAPES_MAX)
                .map(|s| Shape {
                    cpu: to_s32(s.cpu_milli),
                    memory: to_s32(s.memory_mib),
                    gpu_count: s.gpu_count,
                    gpu_milli: s.gpu_milli,
                    gpu_models: mask(&s.gpu_models),
                    count: s.count,
                })
                .collect()
        };
        let wirings = nodes.wirings.values().iter().map(|w| Wiring {
            gpus: w.gpus() as u32,
            links: w.links().iter().map(|l| i32::from(*l)).collect(),
            numa: w.numa().iter().map(|n| i32::from(*n)).collect(),
        });
        Context {
            version: self.current.version + 1,
            mode: self.mode,
            nodes: nodes.live(),
            gpu_models,
            shapes,
            node_shapes: node_shapes(nodes),
            wirings: wirings.collect(),
        }
    }
}

/// Classes of machines, largest first, ties to the larger machine.
fn node_shapes(nodes: &Nodes) -> Vec<NodeShape> {
    let mut classes = BTreeMap::<(i32, i32, u32, i32), u32>::new();
    for row in nodes.live_rows() {
        let r = row as usize;
        let gpus = u32::from(nodes.device_slots[r]);
        let key = (
            nodes.cpu_cap[r],
            nodes.memory_cap[r],
            gpus,
            nodes.gpu_model[r],
        );
        *classes.entry(key).or_insert(0) += 1;
    }
    let mut list: Vec<_> = classes
        .into_iter()
        .map(|((cpu, memory, gpus, gpu_model), nodes)| NodeShape {
            cpu,
            memory,
            gpus,
            gpu_model,
            nodes,
        })
        .collect();
    list.sort_by_key(|s| std::cmp::Reverse((s.nodes, s.cpu, s.memory, s.gpus, s.gpu_model)));
    list.truncate(SHAPES_MAX);
    list
}
