//! Who needs room: one pod, or a gang with its roles.

use std::sync::Arc;

use model::gang::Slice;

use crate::engine::Engine;
use crate::filter::Filter;
use crate::port::PodRow;
use crate::port::preemption::{Constraint, Demand};
use crate::score::{World, pod_row};

/// Identical pods that need room.
#[derive(Debug, Clone)]
pub(crate) struct UnitRole {
    pub(crate) name: String,
    pub(crate) class: u32,
    pub(crate) pod: PodRow,
    /// Pods that wait for a place, first come first.
    pub(crate) slots: Vec<u32>,
    /// Without as many none starts.
    pub(crate) min: u32,
}

/// What has to be placed together.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// Job id of a gang, else pod name.
    pub(crate) name: Arc<str>,
    pub(crate) gang: bool,
    pub(crate) queue: Option<String>,
    pub(crate) priority: i32,
    pub(crate) submitted_ms: u64,
    pub(crate) roles: Vec<UnitRole>,
    pub(crate) constraint: Constraint,
    /// 0 node, 1 rack, 2 block, 3 zone.
    pub(crate) level: u32,
    pub(crate) slice: Option<Slice>,
    /// May ask others to yield.
    pub(crate) preempts: bool,
}

impl Unit {
    pub(crate) fn demands(&self) -> Vec<Demand> {
        let roles = self.roles.iter();
        roles
            .map(|r| Demand {
                role: r.name.clone(),
                pod: r.pod,
                count: r.slots.len() as u32,
                min: r.min,
            })
            .collect()
    }

    pub(crate) fn wants_gpu(&self) -> bool {
        self.roles.iter().any(|r| r.pod.gpu_count > 0)
    }

    /// Pods that wait, all roles.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.roles.iter().flat_map(|r| r.slots.iter().copied())
    }
}

impl Engine {
    /// One waiting pod.
    pub(crate) fn unit_of_pod(&self, slot: u32) -> Unit {
        let pod = self.pods.get(slot);
        let job = pod.spec.job.as_ref();
        let job = job.and_then(|id| self.pods.jobs.get(id));
        let queue = job.map(|j| j.spec.meta.queue.clone());
        Unit {
            name: Arc::clone(&pod.name),
            gang: false,
            queue: queue.filter(|q| !q.is_empty()),
            priority: pod.spec.priority,
            submitted_ms: pod.submitted_ms,
            roles: vec![UnitRole {
                name: "main".to_owned(),
                class: pod.class,
                pod: self.row_of_pod(slot),
                slots: vec![slot],
                min: 1,
            }],
            constraint: Constraint::None,
            level: 0,
            slice: None,
            preempts: job.is_none_or(|j| j.spec.terms.preempts),
        }
    }

    /// The members of a gang that wait; only those that their quota pays for,
    /// unless the quota is what is to be reclaimed.
    pub(crate) fn unit_of_gang(&self, id: &str, unpaid: bool) -> Option<Unit> {
        let job = self.pods.jobs.get(id)?;
        let gang = job.spec.gang.as_ref()?;
        // Members that leave without a place to go to are not there to start with.
        let leaves = |slot: &u32| {
            let pod = self.pods.get(*slot);
            pod.leaving.is_some() && pod.next.is_none()
        };
        if job.pods.iter().any(leaves) {
            return None;
        }
        let mut roles: Vec<UnitRole> = Vec::new();
        for role in &gang.roles {
            let prefix = format!("{id}-{}-", role.name);
            let (mut slots, mut placed, mut exist) = (Vec::new(), 0, 0);
            for slot in &job.pods {
                let pod = self.pods.get(*slot);
                let index = pod.name.strip_prefix(prefix.as_str());
                if !index.is_some_and(|i| i.bytes().all(|b| b.is_ascii_digit())) {
                    continue;
                }
                exist += 1;
                if pod.at.is_some() || pod.next.is_some() {
                    placed += 1;
                } else if pod.admitted || unpaid {
                    slots.push(*slot);
                }
            }
            slots.sort_by_key(|s| self.pods.get(*s).arrival);
            // Who does not exist any more has succeeded.
            let done = role.count.saturating_sub(exist);
            let min = role.min.saturating_sub(placed + done);
            if min as usize > slots.len() {
                return None;
            }
            let Some(first) = slots.first() else {
                continue;
            };
            roles.push(UnitRole {
                name: role.name.clone(),
                class: self.pods.get(*first).class,
                pod: self.row_of_pod(*first),
                min,
                slots,
            });
        }
        let (constraint, level, slice) = match gang.topology {
            None => (Constraint::None, 0, None),
            Some(t) if t.required => (Constraint::Required, t.level as u32, t.slice),
            Some(t) => (Constraint::Preferred, t.level as u32, t.slice),
        };
        let queue = &job.spec.meta.queue;
        Some(Unit {
            name: Arc::from(id),
            gang: true,
            queue: (!queue.is_empty()).then(|| queue.clone()),
            priority: job.spec.template.priority,
            submitted_ms: job.submitted_ms,
            roles,
            constraint,
            level,
            slice,
            preempts: job.spec.terms.preempts,
        })
    }

    fn row_of_pod(&self, slot: u32) -> PodRow {
        let pod = self.pods.get(slot);
        let world = World {
            nodes: &self.nodes,
            classes: &self.classes,
            peers: &self.peers,
        };
        let signature = crate::cache::Signature {
            class: pod.class,
            generation: self.classes.generation(pod.class),
            priority: pod.spec.priority,
            app: pod.app,
        };
        let models = Filter::new(&self.nodes, &self.classes, pod.class).models;
        pod_row(&world, &signature, models)
    }
}
