//! A cluster of 8-GPU machines and jobs that fill it.

use engine::{Config, Effect, Engine, Output};
use model::disruption::Terms;
use model::gang::{GangSpec, Level, RoleSpec, TopologySpec};
use model::job::JobMeta;
use model::plan::{EvictCause, PlanRecord, PlanStatus};
use model::{Event, GpuRequest, GpuSpec, JobKind, JobSpec, NodeSpec, Outcome, PodSpec, Resources};

/// Everybody has waited long enough after this.
pub const PATIENCE_MS: u64 = 10_000;

pub struct World {
    pub engine: Engine,
    pub out: Output,
    pub now: u64,
}

pub fn node(name: &str, gpus: usize) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        capacity: Resources {
            cpu_milli: 64_000,
            memory_mib: 512 << 10,
            disk_mib: 1 << 20,
            network_mbps: 100_000,
        },
        gpus: vec![
            GpuSpec {
                model: "H100".to_owned(),
                memory_mib: 81_920,
                healthy: true,
            };
            gpus
        ],
        ..NodeSpec::default()
    }
}

pub fn placed(name: &str, gpus: usize, rack: &str, block: &str) -> NodeSpec {
    NodeSpec {
        rack: Some(rack.to_owned()),
        block: Some(block.to_owned()),
        zone: Some("z".to_owned()),
        ..node(name, gpus)
    }
}

pub fn pod(gpus: u32, priority: i32) -> PodSpec {
    PodSpec {
        requests: Resources {
            cpu_milli: 1_000,
            memory_mib: 1_024,
            ..Resources::default()
        },
        gpu: GpuRequest::whole(gpus),
        priority,
        ..PodSpec::default()
    }
}

pub fn job(id: &str, replicas: u32, gpus: u32, priority: i32) -> JobSpec {
    JobSpec {
        id: id.to_owned(),
        kind: JobKind::Batch,
        replicas,
        template: pod(gpus, priority),
        ..JobSpec::default()
    }
}

pub fn gang(id: &str, members: u32, gpus: u32, priority: i32) -> JobSpec {
    JobSpec {
        gang: Some(GangSpec {
            roles: vec![RoleSpec {
                name: "worker".to_owned(),
                count: members,
                min: members,
                template: pod(gpus, priority),
            }],
            topology: None,
            timeout_ms: None,
        }),
        ..job(id, members, gpus, priority)
    }
}

pub fn inside(mut job: JobSpec, level: Level, required: bool) -> JobSpec {
    if let Some(gang) = &mut job.gang {
        gang.topology = Some(TopologySpec {
            level,
            required,
            slice: None,
        });
    }
    job
}

pub fn queued(mut job: JobSpec, queue: &str) -> JobSpec {
    job.meta = JobMeta {
        queue: queue.to_owned(),
        ..JobMeta::default()
    };
    job
}

pub fn with_terms(mut job: JobSpec, change: impl FnOnce(&mut Terms)) -> JobSpec {
    change(&mut job.terms);
    job
}

impl World {
    pub fn new(nodes: impl IntoIterator<Item = NodeSpec>) -> Self {
        let mut w = Self {
            engine: Engine::new(Config {
                preempt_after_ms: PATIENCE_MS,
                ..Config::default()
            }),
            out: Output::default(),
            now: 1_000,
        };
        for n in nodes {
            w.event(Event::NodePut(Box::new(n)));
        }
        w
    }

    pub fn event(&mut self, event: Event) {
        self.engine
            .step(self.now, event, &mut self.out)
            .expect("a legal event");
    }

    pub fn submit(&mut self, job: JobSpec) {
        self.event(Event::JobSubmit(Box::new(job)));
    }

    /// Time passes in steps of a second.
    pub fn wait(&mut self, ms: u64) {
        let until = self.now + ms;
        while self.now < until {
            self.now = (self.now + 1_000).min(until);
            self.event(Event::Tick);
        }
    }

    /// Names of evicted pods in order, with causes.
    pub fn evicted(&self) -> Vec<(String, EvictCause)> {
        let effects = self.out.effects.iter();
        effects
            .filter_map(|e| match e {
                Effect::Evict { pod, cause, .. } => Some((pod.to_string(), *cause)),
                _ => None,
            })
            .collect()
    }

    pub fn evicted_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.evicted().into_iter().map(|(n, _)| n).collect();
        names.sort();
        names
    }

    /// Node of the pod's latest bind.
    pub fn node_of(&self, pod: &str) -> Option<String> {
        let decisions = self.out.decisions.iter().rev();
        decisions
            .filter(|d| &*d.pod == pod)
            .find_map(|d| match &d.outcome {
                Outcome::Bound { node, .. } => Some(node.to_string()),
                Outcome::Unschedulable { .. } => None,
            })
    }

    pub fn running(&self, job: &str) -> u32 {
        self.engine.job(job).map_or(0, |j| j.running)
    }

    pub fn done_plans(&self) -> Vec<&PlanRecord> {
        let plans = self.out.plans.iter();
        plans.filter(|p| p.status == PlanStatus::Done).collect()
    }
}
