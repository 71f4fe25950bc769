//! Random clusters under every set of preemption policies: whatever they plan, no
//! place is given twice, gangs are whole, guarantees hold, and no victim left for
//! nothing.

use std::collections::BTreeMap;

use engine::port::preemption::PreemptionPolicy;
use engine::view::PodState;
use engine::{Config, Effect, Engine, Output, PreemptionSet};
use fair_preemption::FairPreemption;
use gang_packer::GangPacker;
use model::disruption::Terms;
use model::event::Finish;
use model::gang::{GangSpec, Level, RoleSpec, TopologySpec};
use model::plan::{PlanRecord, PlanStatus};
use model::policy::{PolicyId, WEIGHT_ONE};
use model::quota::{QUOTA_WEIGHT_ONE, QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier};
use model::{
    Combine, Event, FailMode, GpuRequest, GpuSpec, JobSpec, Member, NodeSpec, PodSpec, PolicyKind,
    PolicySetSpec, Resources,
};
use tests::clusters::Rng;
use tests::native::NativePreemption;

const GPUS: i64 = 8;

fn set(policies: Vec<Box<dyn PreemptionPolicy>>) -> PreemptionSet {
    let member = |p: &dyn PreemptionPolicy| Member {
        policy: PolicyId {
            name: p.description().name.clone(),
            version: p.description().version.clone(),
            digest: "test".to_owned(),
        },
        weight: WEIGHT_ONE,
        tier: 0,
        settings: "{}".to_owned(),
        fail: FailMode::Closed,
    };
    let spec = PolicySetSpec {
        kind: PolicyKind::Preemption,
        revision: 1,
        members: policies.iter().map(|p| member(&**p)).collect(),
        combine: Combine::Weighted,
    };
    PreemptionSet::new(spec, policies).expect("a legal set")
}

fn sets() -> Vec<(&'static str, Option<PreemptionSet>)> {
    vec![
        ("built-in", None),
        (
            "packer, then fair",
            Some(set(vec![
                Box::new(NativePreemption::<GangPacker>::new("{}")),
                Box::new(NativePreemption::<FairPreemption>::new("{}")),
            ])),
        ),
        (
            "fair as kube",
            Some(set(vec![Box::new(
                NativePreemption::<FairPreemption>::new(r#"{"ranking":"kube"}"#),
            )])),
        ),
    ]
}

struct World {
    engine: Engine,
    out: Output,
    rng: Rng,
    now: u64,
    jobs: Vec<String>,
    plans: usize,
}

impl World {
    fn new(seed: u64, set: Option<PreemptionSet>) -> Self {
        let mut engine = Engine::new(Config {
            preempt_after_ms: 2_000,
            ..Config::default()
        });
        if let Some(set) = set {
            engine.install_preemption(set);
        }
        let mut w = Self {
            engine,
            out: Output::default(),
            rng: Rng::new(seed),
            now: 1_000,
            jobs: Vec::new(),
            plans: 0,
        };
        let nodes = 2 + w.rng.below(8);
        for i in 0..nodes {
            w.event(Event::NodePut(Box::new(NodeSpec {
                name: format!("n{i}"),
                capacity: Resources {
                    cpu_milli: 32_000,
                    memory_mib: 128 << 10,
                    disk_mib: 1 << 20,
                    network_mbps: 10_000,
                },
                gpus: vec![
                    GpuSpec {
                        model: "H100".to_owned(),
                        memory_mib: 81_920,
                        healthy: true,
                    };
                    GPUS as usize
                ],
                rack: Some(format!("r{}", i / 2)),
                block: Some(format!("b{}", i / 4)),
                ..NodeSpec::default()
            })));
        }
        for (name, parent, gpus) in [
            ("all", None, 0),
            ("a", Some("all"), nodes as i64 * GPUS / 2),
            ("b", Some("all"), nodes as i64 * GPUS / 2),
        ] {
            w.event(Event::QuotaPut(QuotaSpec {
                name: name.to_owned(),
                parent: parent.map(str::to_owned),
                weight: QUOTA_WEIGHT_ONE,
                tier: Tier::Flex,
                lines: vec![QuotaLine {
                    resource: QuotaResource::Gpu,
                    nominal: gpus * 1_000,
                    borrowing_limit: None,
                    lending_limit: None,
                }],
            }));
            if parent.is_some() {
                w.event(Event::QueuePut(QueueSpec {
                    name: name.to_owned(),
                    quota: name.to_owned(),
                    suspended: false,
                }));
            }
        }
        w.event(Event::ApproveEvictions { count: 1 << 20 });
        w
    }

    fn event(&mut self, event: Event) {
        self.out.clear();
        // A job that is gone already is nobody's fault here.
        let _ = self.engine.step(self.now, event, &mut self.out);
        self.check();
    }

    fn job(&mut self, n: usize) -> JobSpec {
        let share = self.rng.below(4) == 0;
        let gpu = if share {
            GpuRequest::share(100 * (1 + self.rng.below(9) as u32))
        } else {
            GpuRequest::whole(1 + self.rng.below(8) as u32)
        };
        let priority = self.rng.below(4) as i32 * 10;
        let template = PodSpec {
            requests: Resources {
                cpu_milli: 1_000 * (1 + self.rng.below(3) as i64),
                memory_mib: 1_024,
                ..Resources::default()
            },
            gpu,
            priority,
            ..PodSpec::default()
        };
        let members = 1 + self.rng.below(4) as u32;
        let gang = (self.rng.below(3) == 0).then(|| GangSpec {
            roles: vec![RoleSpec {
                name: "w".to_owned(),
                count: members,
                min: 1 + self.rng.below(u64::from(members)) as u32,
                template: template.clone(),
            }],
            topology: (self.rng.below(2) == 0).then(|| TopologySpec {
                level: Level::ALL[self.rng.below(3) as usize],
                required: self.rng.below(2) == 0,
                slice: None,
            }),
            timeout_ms: None,
        });
        let mut job = JobSpec {
            id: format!("j{n}"),
            replicas: members,
            template,
            gang,
            terms: Terms {
                preemptible: self.rng.below(6) > 0,
                movable: self.rng.below(3) == 0,
                grace_ms: if self.rng.below(3) == 0 { 5_000 } else { 0 },
                ..Terms::default()
            },
            ..JobSpec::default()
        };
        job.meta.queue = ["", "a", "b"][self.rng.below(3) as usize].to_owned();
        job
    }

    fn turn(&mut self, n: usize) {
        self.now += 500 + self.rng.below(2_000);
        match self.rng.below(10) {
            0..=5 => {
                let job = self.job(n);
                self.jobs.push(job.id.clone());
                self.event(Event::JobSubmit(Box::new(job)));
            }
            6 | 7 => self.event(Event::Tick),
            _ => {
                let running: Vec<String> = self
                    .engine
                    .pods()
                    .filter(|p| matches!(p.state, PodState::Running { .. }))
                    .map(|p| p.spec.name.clone())
                    .collect();
                if !running.is_empty() {
                    let i = self.rng.below(running.len() as u64) as usize;
                    self.event(Event::PodFinished {
                        name: running[i].clone(),
                        how: Finish::Succeeded,
                    });
                }
            }
        }
    }

    fn check(&mut self) {
        assert!(self.out.faults.is_empty(), "{:?}", self.out.faults);
        self.no_place_is_given_twice();
        self.gangs_are_whole();
        for plan in self.out.plans.clone() {
            if plan.status == PlanStatus::Leaving {
                self.plans += 1;
                self.victims_are_needed(&plan);
            }
        }
        for effect in &self.out.effects {
            assert!(!matches!(effect, Effect::SetReverted { .. }));
        }
    }

    /// What runs fits, and so does what will run once everybody has left.
    fn no_place_is_given_twice(&self) {
        let mut cpu = BTreeMap::<String, (i64, i64)>::new();
        let mut gpu = BTreeMap::<(String, u8), (u32, u32)>::new();
        for p in self.engine.pods() {
            let milli = p.spec.gpu.milli;
            let mut now = None;
            if let PodState::Running { node, devices, .. } = &p.state {
                now = Some((node.to_string(), devices.clone()));
            }
            let promised = match &p.state {
                PodState::Promised { node, devices, .. } => Some((node, devices)),
                _ => p.next.as_ref().map(|(node, devices)| (node, devices)),
            };
            let after = match (promised, p.leaving.is_some()) {
                (Some((node, devices)), _) => Some((node.to_string(), devices.clone())),
                (None, true) => None,
                (None, false) => now.clone(),
            };
            for (place, later) in [(now, false), (after, true)] {
                let Some((node, devices)) = place else {
                    continue;
                };
                let c = cpu.entry(node.clone()).or_default();
                let c = if later { &mut c.1 } else { &mut c.0 };
                *c += p.spec.requests.cpu_milli;
                for d in devices {
                    let g = gpu.entry((node.clone(), d)).or_default();
                    let g = if later { &mut g.1 } else { &mut g.0 };
                    *g += milli;
                }
            }
        }
        for (node, (now, later)) in cpu {
            assert!(now <= 32_000 && later <= 32_000, "{node}: {now}, {later}");
        }
        for (device, (now, later)) in gpu {
            assert!(now <= 1_000 && later <= 1_000, "{device:?}: {now}, {later}");
        }
    }

    /// Either enough of every role hold a place, or nobody is about to start.
    fn gangs_are_whole(&self) {
        for g in self.engine.gang_views() {
            for role in &g.roles {
                let holds = role.running;
                let partial = holds > 0 && holds < role.min;
                let ending = self
                    .engine
                    .pods()
                    .any(|p| p.spec.job.as_deref() == Some(&*g.job) && p.leaving.is_some());
                let done = self
                    .engine
                    .job(&g.job)
                    .is_some_and(|j| j.succeeded + j.failed > 0);
                assert!(!partial || ending || done, "{g:?}");
            }
        }
    }

    /// With the plan's places fixed, no victim on the nodes it takes could stay.
    fn victims_are_needed(&self, plan: &PlanRecord) {
        let nodes: Vec<&str> = plan.placements.iter().map(|p| &*p.node).collect();
        let reclaims = plan.action == "reclaim";
        for victim in &plan.victims {
            let gang = self
                .engine
                .pod(&victim.pod)
                .and_then(|p| p.spec.job.clone());
            let whole = gang.is_some_and(|job| self.engine.gang_view(&job).is_some());
            assert!(
                whole || reclaims || nodes.contains(&&*victim.node),
                "{} leaves {} for nothing: {plan:?}",
                victim.pod,
                victim.node
            );
        }
    }
}

#[test]
fn whatever_is_planned_the_rules_hold() {
    for (i, name) in sets().iter().map(|(n, _)| *n).enumerate() {
        let mut plans = 0;
        for seed in 0..60 {
            let set = sets().swap_remove(i).1;
            let mut w = World::new(seed, set);
            for n in 0..60 {
                w.turn(n);
            }
            plans += w.plans;
        }
        println!("{name}: {plans} plans");
        assert!(
            plans > 100,
            "{name}: only {plans} plans, so little was tested"
        );
    }
}

/// The kube ranking and the built-in are two writings of one algorithm: asked the
/// same, they name victims of the same importance and age.
#[test]
fn the_kube_ranking_agrees_with_the_built_in() {
    let mut compared = 0;
    for seed in 0..60 {
        let mut builtin = World::new(seed, None);
        let kube = NativePreemption::<FairPreemption>::new(r#"{"ranking":"kube"}"#);
        let mut plugin = World::new(seed, Some(set(vec![Box::new(kube)])));
        // Filled the same way, with nobody yielding yet.
        for n in 0..40 {
            let mut job = builtin.job(n);
            job.gang = None;
            job.meta.queue.clear();
            job.terms.preempts = false;
            for w in [&mut builtin, &mut plugin] {
                w.now += 1_000;
                w.event(Event::JobSubmit(Box::new(job.clone())));
            }
        }
        for gpus in 1..=8 {
            let mut high = builtin.job(1_000 + gpus as usize);
            high.gang = None;
            high.meta.queue.clear();
            high.replicas = 1;
            high.template.gpu = GpuRequest::whole(gpus);
            high.template.priority = 100;
            let victims = |w: &mut World| {
                let plan = w.engine.what_if(&high).plan.map(|(plan, _)| plan);
                let plan = plan.filter(|plan| plan.action == "preempt");
                plan.map(|plan| {
                    // Who is as important and as old is as good a victim.
                    let age = |pod: &str| match w.engine.pod(pod).map(|p| p.state) {
                        Some(PodState::Running { since_ms, .. }) => since_ms,
                        _ => 0,
                    };
                    let victims = plan.victims.iter();
                    let mut who: Vec<(i32, u64)> =
                        victims.map(|v| (v.priority, age(&v.pod))).collect();
                    who.sort_unstable();
                    who
                })
            };
            let (a, b) = (victims(&mut builtin), victims(&mut plugin));
            assert_eq!(a, b, "seed {seed}, {gpus} GPUs");
            compared += usize::from(a.is_some());
        }
    }
    assert!(compared > 100, "only {compared} plans compared");
}
