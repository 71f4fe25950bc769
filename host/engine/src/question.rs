//! What a scoring policy would be asked now, outside any decision: for
//! explanations, which are nobody's hot path.

use std::sync::Arc;

use crate::cache::Signature;
use crate::engine::Engine;
use crate::filter::Filter;
use crate::lower::Lowered;
use crate::port::{Column, Context, PodRow, Rows};
use crate::score::{World, pod_row};

/// Everything a call of `score` or `explain` needs, detached from the engine.
#[derive(Debug, Clone)]
pub struct Question {
    /// The pod.
    pub pod: PodRow,
    /// What the policy has to be given first.
    pub context: Arc<Context>,
    /// Nodes in the order of the rows.
    pub nodes: Vec<Arc<str>>,
    slots: u32,
    data: Vec<i32>,
}

impl Question {
    /// The rows.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            count: self.nodes.len() as u32,
            slots: self.slots,
            data: &self.data,
        }
    }
}

impl Engine {
    /// The question about a pod that waits or runs and those of `nodes` that
    /// exist, for a policy that reads `columns`.
    #[must_use]
    pub fn question(&self, pod: &str, nodes: &[&str], columns: &[Column]) -> Option<Question> {
        let pod = self.pods.get(self.pods.slot(pod)?);
        let rows: Vec<u32> = nodes.iter().filter_map(|n| self.nodes.row(n)).collect();
        let signature = Signature {
            class: pod.class,
            generation: self.classes.generation(pod.class),
            priority: pod.spec.priority,
            app: if columns.iter().any(|c| c.is_derived()) {
                pod.app
            } else {
                0
            },
        };
        let world = World {
            nodes: &self.nodes,
            classes: &self.classes,
            peers: &self.peers,
        };
        let models = Filter::new(&self.nodes, &self.classes, pod.class).models;
        let pod = pod_row(&world, &signature, models);
        let mut lowered = Lowered::default();
        let wants_gpu = pod.gpu_count > 0;
        let filled = lowered.fill(&self.nodes, &self.peers, pod.app, columns, &rows, wants_gpu);
        Some(Question {
            pod,
            context: Arc::clone(self.context.shared()),
            slots: filled.slots,
            data: filled.data.to_vec(),
            nodes: rows
                .iter()
                .map(|r| Arc::clone(&self.nodes.names[*r as usize]))
                .collect(),
        })
    }
}
