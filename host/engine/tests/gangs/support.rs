//! A small world, and what must be true of it after every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::view::PodState;
use engine::{Effect, Engine, EventError, Output};
use model::disruption::Terms;
use model::gang::{GangSpec, Level, RoleSpec, TopologySpec};
use model::{
    Event, GpuRequest, GpuSpec, JobKind, JobSpec, NodeSpec, Outcome, PodSpec, Reason, Resources,
};

/// An engine with a clock.
pub struct World {
    pub engine: Engine,
    pub now: u64,
}

pub fn node(name: &str, gpus: usize, rack: &str) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        capacity: Resources {
            cpu_milli: 64_000,
            memory_mib: 256_000,
            disk_mib: 1_000_000,
            network_mbps: 10_000,
        },
        gpus: vec![
            GpuSpec {
                model: "A".to_owned(),
                memory_mib: 16_384,
                healthy: true,
            };
            gpus
        ],
        rack: Some(rack.to_owned()),
        ..NodeSpec::default()
    }
}

pub fn pod(name: &str, gpus: u32) -> PodSpec {
    PodSpec {
        name: name.to_owned(),
        app: "app".to_owned(),
        requests: Resources {
            cpu_milli: 1_000,
            memory_mib: 1_000,
            ..Resources::default()
        },
        gpu: GpuRequest::whole(gpus),
        ..PodSpec::default()
    }
}

pub fn job(id: &str, replicas: u32, gpus: u32) -> JobSpec {
    JobSpec {
        id: id.to_owned(),
        kind: JobKind::Batch,
        replicas,
        template: pod("", gpus),
        ..JobSpec::default()
    }
}

/// A gang of roles: name, count, min, GPUs of a member.
pub fn gang(id: &str, roles: &[(&str, u32, u32, u32)]) -> JobSpec {
    let specs = roles.iter().map(|(name, count, min, gpus)| RoleSpec {
        name: (*name).to_owned(),
        count: *count,
        min: *min,
        template: pod("", *gpus),
    });
    JobSpec {
        gang: Some(GangSpec {
            roles: specs.collect(),
            topology: None,
            timeout_ms: None,
        }),
        ..job(id, roles.iter().map(|r| r.1).sum(), 0)
    }
}

pub fn in_one(level: Level, mut job: JobSpec) -> JobSpec {
    if let Some(gang) = &mut job.gang {
        gang.topology = Some(TopologySpec {
            level,
            required: true,
            slice: None,
        });
    }
    job
}

pub fn with_grace(grace_ms: u32, mut job: JobSpec) -> JobSpec {
    job.terms = Terms {
        grace_ms,
        ..job.terms
    };
    job
}

impl World {
    pub fn new(nodes: &[(&str, usize, &str)]) -> Self {
        let mut world = Self {
            engine: Engine::new(engine::Config::default()),
            now: 0,
        };
        for (name, gpus, rack) in nodes {
            world.node(name, *gpus, rack);
        }
        world
    }

    pub fn node(&mut self, name: &str, gpus: usize, rack: &str) -> Vec<String> {
        self.tell(Event::NodePut(Box::new(node(name, gpus, rack))))
    }

    pub fn submit(&mut self, job: JobSpec) -> Vec<String> {
        self.tell(Event::JobSubmit(Box::new(job)))
    }

    pub fn try_step(&mut self, event: Event) -> Result<Output, EventError> {
        let mut out = Output::default();
        self.engine.step(self.now, event, &mut out)?;
        check(&self.engine);
        Ok(out)
    }

    pub fn step(&mut self, event: Event) -> Output {
        let text = format!("{event:?}");
        self.try_step(event)
            .unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// What came of an event, in short.
    pub fn tell(&mut self, event: Event) -> Vec<String> {
        short(&self.step(event))
    }

    pub fn after(&mut self, ms: u64) -> Vec<String> {
        self.now += ms;
        self.tell(Event::Tick)
    }

    pub fn finish(&mut self, name: &str, how: model::event::Finish) -> Vec<String> {
        let name = name.to_owned();
        self.tell(Event::PodFinished { name, how })
    }

    pub fn evict(&mut self, name: &str) -> Result<Vec<String>, String> {
        let name = name.to_owned();
        let out = self.try_step(Event::PodEvict { name });
        out.map(|o| short(&o)).map_err(|e| e.to_string())
    }

    pub fn state(&self, name: &str) -> PodState {
        self.engine.pod(name).unwrap().state
    }

    pub fn runs(&self, name: &str) -> bool {
        matches!(self.state(name), PodState::Running { .. })
    }

    pub fn reason(&self, name: &str) -> Reason {
        match self.state(name) {
            PodState::Waiting { reason, .. } => reason,
            other => panic!("{name} does not wait: {other:?}"),
        }
    }
}

pub fn short(out: &Output) -> Vec<String> {
    let line = |effect: &Effect| match effect {
        Effect::Bind { pod, node, .. } => format!("bind {pod} {node}"),
        Effect::Requeue { pod, cause } => format!("requeue {pod} {}", cause.code()),
        Effect::Evict {
            pod,
            grace_ms,
            cause,
            ..
        } => format!("evict {pod} {grace_ms} {}", cause.code()),
        Effect::Stop { pod, .. } => format!("stop {pod}"),
        Effect::GangTimedOut { job } => format!("timed-out {job}"),
        Effect::GuardTripped { .. } => "guard".to_owned(),
        other => format!("{other:?}"),
    };
    out.effects.iter().map(line).collect()
}

/// Pods bound by decisions of this output.
pub fn bound(out: &Output) -> usize {
    let bound = |d: &&model::Decision| matches!(d.outcome, Outcome::Bound { .. });
    out.decisions.iter().filter(bound).count()
}

/// What must be true after every step.
pub fn check(engine: &Engine) {
    charges_add_up(engine);
    gangs_are_whole(engine);
    let summary = engine.summary();
    let waiting: u32 = summary.waiting.values().sum();
    assert_eq!(waiting as usize, engine.waiting());
    assert_eq!(engine.pods().count(), engine.waiting() + engine.running());
    let guard = engine.guard_view();
    assert!(guard.window_pods <= guard.limit.max(engine::GUARD_FLOOR) + 500);
}

/// Counts again, from what each pod says it holds.
fn charges_add_up(engine: &Engine) {
    let mut free: BTreeMap<Arc<str>, Resources> = BTreeMap::new();
    let mut milli: BTreeMap<(Arc<str>, u8), i32> = BTreeMap::new();
    for view in engine.pods() {
        let mut places = Vec::new();
        match &view.state {
            PodState::Running { node, devices, .. } => {
                places.push((Arc::clone(node), devices.clone()));
                places.extend(view.next.clone());
            }
            PodState::Promised { node, devices, .. } => {
                places.push((Arc::clone(node), devices.clone()));
                assert!(view.leaving.is_none());
            }
            PodState::Waiting { .. } => {
                assert!(view.next.is_none() && view.leaving.is_none(), "{view:?}");
            }
        }
        for (node, devices) in places {
            assert_eq!(devices.len(), view.spec.gpu.count as usize, "{view:?}");
            *free.entry(Arc::clone(&node)).or_default() += view.spec.requests;
            for d in devices {
                *milli.entry((Arc::clone(&node), d)).or_insert(0) += view.spec.gpu.milli as i32;
            }
        }
    }
    for view in engine.nodes() {
        let name: Arc<str> = Arc::from(view.spec.name.as_str());
        let mut used = view.spec.capacity;
        used -= view.free;
        let counted = free.remove(&name).unwrap_or_default();
        assert_eq!(used, counted, "charges of {name}");
        for (s, left) in view.gpu_milli_free.iter().enumerate() {
            let held = milli.remove(&(Arc::clone(&name), s as u8)).unwrap_or(0);
            if *left >= 0 {
                assert_eq!(*left, (1_000 - held).max(0), "device {s} of {name}");
            }
        }
    }
    assert!(free.is_empty() && milli.is_empty(), "on no node: {free:?}");
}

/// At least min of each role has a place, or nobody who does not leave has one.
fn gangs_are_whole(engine: &Engine) {
    for gang in engine.gang_views() {
        let mut held = vec![0u32; gang.roles.len()];
        for view in engine.job_pods(&gang.job) {
            let name = view.spec.name.clone();
            let role = gang.roles.iter().position(|r| {
                let rest = name.strip_prefix(&format!("{}-{}-", gang.job, r.name));
                rest.is_some_and(|i| i.bytes().all(|b| b.is_ascii_digit()))
            });
            let holds = match view.state {
                PodState::Running { .. } => view.leaving.is_none() || view.next.is_some(),
                PodState::Promised { .. } => true,
                PodState::Waiting { .. } => false,
            };
            held[role.unwrap()] += u32::from(holds);
        }
        let whole = held
            .iter()
            .zip(&gang.roles)
            .all(|(n, r)| *n + r.succeeded >= r.min);
        let none = held.iter().all(|n| *n == 0);
        assert!(whole || none || engine.hold(), "{gang:?} holds {held:?}");
    }
}
