//! Who yields and who enters, sandboxed with the same policy native beside it.
//!
//! * preemption: 5,000 nodes full of 20,000 pods; every plan makes room for one
//!   pod of higher priority, which then ends, so that the next finds a full
//!   cluster again. One plan is a whole step: parked, asked, checked, everybody
//!   sent off, bound.
//! * reclaim: a full cluster of lent quota, and a gang of 64 machines that needs
//!   one block and owns the quota.
//! * admission: reviews by guardrails and defaults, and whole queue cycles.

use std::time::Duration;

use benches::{Timing, cpu_time};
use engine::port::admission::{AdmissionPolicy, Caller, Facts, JobView, Operation, Review, Role};
use engine::port::preemption::PreemptionPolicy;
use engine::{Config, Engine, Output, PreemptionSet};
use model::disruption::Terms;
use model::event::{Finish, Mode};
use model::gang::{GangSpec, Level, RoleSpec, TopologySpec};
use model::job::JobMeta;
use model::plan::PlanStatus;
use model::policy::{PolicyId, WEIGHT_ONE};
use model::quota::{QUOTA_WEIGHT_ONE, QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier};
use model::{
    Combine, Event, FailMode, GpuRequest, GpuSpec, JobKind, JobSpec, Member, NodeSpec, PodSpec,
    PolicyKind, PolicySetSpec, Resources,
};
use tests::clusters::Rng;
use tests::native::{NativeAdmission, NativePreemption};
use tests::wasm;

const BLOCK_NODES: u32 = 100;

fn node(i: u32) -> NodeSpec {
    NodeSpec {
        name: format!("node-{i:05}"),
        capacity: Resources {
            cpu_milli: 96_000,
            memory_mib: 786_432,
            disk_mib: 1 << 20,
            network_mbps: 25_000,
        },
        gpus: vec![
            GpuSpec {
                model: "H100".to_owned(),
                memory_mib: 81_920,
                healthy: true,
            };
            8
        ],
        zone: Some(format!("zone-{}", i / (10 * BLOCK_NODES))),
        block: Some(format!("block-{:03}", i / BLOCK_NODES)),
        rack: Some(format!("rack-{:04}", i / 10)),
        ..NodeSpec::default()
    }
}

fn pod(gpus: u32, priority: i32) -> PodSpec {
    PodSpec {
        app: "bench".to_owned(),
        requests: Resources {
            cpu_milli: 4_000,
            memory_mib: 16_384,
            ..Resources::default()
        },
        gpu: GpuRequest::whole(gpus),
        priority,
        ..PodSpec::default()
    }
}

fn job(id: String, replicas: u32, gpus: u32, priority: i32) -> JobSpec {
    JobSpec {
        id,
        kind: JobKind::Batch,
        replicas,
        template: pod(gpus, priority),
        terms: Terms {
            preempts: false,
            ..Terms::default()
        },
        ..JobSpec::default()
    }
}

struct World {
    engine: Engine,
    out: Output,
    now: u64,
}

impl World {
    fn new(nodes: u32, policy: Option<Box<dyn PreemptionPolicy>>) -> Self {
        let mut w = Self {
            engine: Engine::new(Config {
                preempt_after_ms: 0,
                ..Config::default()
            }),
            out: Output::default(),
            now: 1,
        };
        for i in 0..nodes {
            w.step(Event::NodePut(Box::new(node(i))));
        }
        if let Some(policy) = policy {
            w.engine.install_preemption(set(policy));
        }
        // The guard against mass evictions is not what is measured.
        w.step(Event::ApproveEvictions { count: 1 << 30 });
        w
    }

    fn step(&mut self, event: Event) {
        self.out.clear();
        self.now += 1_000;
        self.engine
            .step(self.now, event, &mut self.out)
            .expect("a legal event");
        assert!(self.out.faults.is_empty(), "{:?}", self.out.faults);
    }

    fn submit(&mut self, job: JobSpec) {
        self.step(Event::JobSubmit(Box::new(job)));
    }
}

fn set(policy: Box<dyn PreemptionPolicy>) -> PreemptionSet {
    let d = policy.description();
    let spec = PolicySetSpec {
        kind: PolicyKind::Preemption,
        revision: 1,
        members: vec![Member {
            policy: PolicyId {
                name: d.name.clone(),
                version: d.version.clone(),
                digest: "bench".to_owned(),
            },
            weight: WEIGHT_ONE,
            tier: 0,
            settings: "{}".to_owned(),
            fail: FailMode::Closed,
        }],
        combine: Combine::Weighted,
    };
    PreemptionSet::new(spec, vec![policy]).expect("a legal set")
}

/// 20,000 pods of two GPUs, ten priorities, all of different age.
fn full(policy: Option<Box<dyn PreemptionPolicy>>) -> World {
    let mut w = World::new(5_000, policy);
    let mut rng = Rng::new(7);
    for i in 0..200 {
        w.submit(job(format!("low-{i}"), 100, 2, rng.below(10) as i32));
    }
    assert_eq!(w.engine.summary().running, 20_000);
    w
}

/// Times of single plans, and a digest over who yields where.
fn plans(mut w: World, count: u32) -> (Vec<Duration>, u64) {
    let (mut times, mut digest) = (Vec::new(), 0u64);
    for i in 0..count {
        let gpus = 1 + i % 8;
        let mut high = job(format!("high-{i}"), 1, gpus, 100);
        high.terms.preempts = true;
        let event = Event::JobSubmit(Box::new(high));
        w.out.clear();
        w.now += 1_000;
        let start = cpu_time();
        w.engine.step(w.now, event, &mut w.out).expect("legal");
        times.push(cpu_time() - start);
        assert!(w.out.faults.is_empty(), "{:?}", w.out.faults);
        let done = w.out.plans.iter().filter(|p| p.status == PlanStatus::Done);
        assert_eq!(done.clone().count(), 1, "plan {i}: {:?}", w.out.plans);
        for p in done {
            for v in &p.victims {
                for b in v.pod.bytes() {
                    digest = (digest ^ u64::from(b)).wrapping_mul(1_099_511_628_211);
                }
            }
        }
        w.step(Event::PodFinished {
            name: format!("high-{i}-0"),
            how: Finish::Succeeded,
        });
    }
    (times, digest)
}

fn percentile(times: &[Duration], p: f64) -> f64 {
    let mut ms: Vec<f64> = times.iter().map(|d| d.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    ms[((ms.len() - 1) as f64 * p) as usize]
}

fn preemption() {
    const PLANS: u32 = 2_000;
    println!("preemption: 5,000 nodes, 20,000 running pods, one pod of 1 to 8 GPUs a plan");
    println!(
        "{:<28} {:>10} {:>10} {:>10} {:>10}",
        "policy", "plans/s", "p50", "p99", "max"
    );
    let line = |name: &str, times: &[Duration]| {
        let total: Duration = times.iter().sum();
        println!(
            "{name:<28} {:>10.0} {:>7.2} ms {:>7.2} ms {:>7.2} ms",
            times.len() as f64 / total.as_secs_f64(),
            percentile(times, 0.5),
            percentile(times, 0.99),
            percentile(times, 1.0),
        );
        total.as_secs_f64()
    };
    let (times, _) = plans(full(None), PLANS);
    line("built-in (kube's order)", &times);
    for (label, settings) in [("cost", "{}"), ("kube", r#"{"ranking":"kube"}"#)] {
        let sandboxed = wasm::preemption("fair-preemption", settings);
        let (wasm_times, a) = plans(full(Some(sandboxed)), PLANS);
        let w = line(&format!("fair-preemption {label}, wasm"), &wasm_times);
        let native = NativePreemption::<fair_preemption::FairPreemption>::new(settings);
        let (native_times, b) = plans(full(Some(Box::new(native))), PLANS);
        let n = line(&format!("fair-preemption {label}, native"), &native_times);
        assert_eq!(a, b, "wasm and native choose the same victims");
        println!("{:<28} {:>10.2} times native", "", w / n);
    }
}

/// A full cluster on lent quota, and the owner's gang of 64 machines.
fn reclaim_once(nodes: u32, policy: Option<Box<dyn PreemptionPolicy>>) -> (Duration, usize) {
    let mut w = World::new(nodes, policy);
    w.step(Event::QuotaPut(QuotaSpec {
        name: "all".to_owned(),
        parent: None,
        weight: QUOTA_WEIGHT_ONE,
        tier: Tier::Flex,
        lines: Vec::new(),
    }));
    for (name, gpus) in [("owner", i64::from(nodes) * 8), ("lender", 0)] {
        w.step(Event::QuotaPut(QuotaSpec {
            name: name.to_owned(),
            parent: Some("all".to_owned()),
            weight: QUOTA_WEIGHT_ONE,
            tier: Tier::Flex,
            lines: vec![QuotaLine {
                resource: QuotaResource::Gpu,
                nominal: gpus * 1_000,
                borrowing_limit: None,
                lending_limit: None,
            }],
        }));
        w.step(Event::QueuePut(QueueSpec {
            name: name.to_owned(),
            quota: name.to_owned(),
            suspended: false,
        }));
    }
    let queued = |mut job: JobSpec, queue: &str| {
        job.meta = JobMeta {
            queue: queue.to_owned(),
            ..JobMeta::default()
        };
        job
    };
    // A third each of whole machines, halves, and singles.
    for i in 0..nodes {
        let (pods, gpus) = [(1, 8), (2, 4), (8, 1)][i as usize % 3];
        w.submit(queued(job(format!("lent-{i}"), pods, gpus, 0), "lender"));
    }
    assert_eq!(w.engine.summary().waiting.values().sum::<u32>(), 0);
    let mut gang = job("claim".to_owned(), 64, 8, 0);
    gang.terms.preempts = true;
    gang.gang = Some(GangSpec {
        roles: vec![RoleSpec {
            name: "worker".to_owned(),
            count: 64,
            min: 64,
            template: pod(8, 0),
        }],
        topology: Some(TopologySpec {
            level: Level::Block,
            required: true,
            slice: None,
        }),
        timeout_ms: None,
    });
    let gang = queued(gang, "owner");
    w.out.clear();
    w.now += 1_000;
    let start = cpu_time();
    w.engine
        .step(w.now, Event::JobSubmit(Box::new(gang)), &mut w.out)
        .expect("legal");
    let took = cpu_time() - start;
    assert!(w.out.faults.is_empty(), "{:?}", w.out.faults);
    let running = w.engine.job("claim").map_or(0, |j| j.running);
    assert_eq!(
        running,
        64,
        "{:?} {:?}",
        w.out.admissions,
        w.engine.preemption_wait("claim")
    );
    let victims = w.out.plans.iter().map(|p| p.victims.len()).max();
    (took, victims.unwrap_or(0))
}

fn reclaim() {
    println!(
        "\nreclaim: full cluster on lent quota, gang of 64 x 8 GPUs, one block of {BLOCK_NODES} nodes required"
    );
    println!(
        "{:>6} {:>14} {:>14} {:>14} {:>8} {:>8}",
        "nodes", "built-in", "packer wasm", "packer native", "ratio", "victims"
    );
    for nodes in [500, 1_000, 2_000, 5_000] {
        let best = |make: &dyn Fn() -> Option<Box<dyn PreemptionPolicy>>| {
            let runs: Vec<_> = (0..3).map(|_| reclaim_once(nodes, make())).collect();
            let took = runs.iter().map(|(t, _)| *t).min().unwrap_or_default();
            (took.as_secs_f64() * 1e3, runs[0].1)
        };
        let (builtin, _) = best(&|| None);
        let (wasm, victims) = best(&|| Some(wasm::preemption("gang-packer", "{}")));
        let (native, same) = best(&|| {
            Some(Box::new(NativePreemption::<gang_packer::GangPacker>::new(
                "{}",
            )))
        });
        assert_eq!(victims, same, "wasm and native choose the same");
        println!(
            "{nodes:>6} {builtin:>11.1} ms {wasm:>11.1} ms {native:>11.1} ms {:>8.2} {victims:>8}",
            wasm / native
        );
    }
}

fn review(i: u64) -> Review {
    Review {
        now: 1_700_000_000_000,
        mode: Mode::Normal,
        operation: Operation::Create,
        caller: Caller {
            name: "ci".to_owned(),
            groups: vec!["deployers".to_owned()],
        },
        object: JobView {
            id: format!("job-{i}"),
            namespace: format!("team-{}", i % 50),
            queue: "batch".to_owned(),
            kind: JobKind::Batch,
            app: "trainer".to_owned(),
            priority: (i % 10) as i32,
            tier: "flex".to_owned(),
            image: "registry.example/trainer:1.4".to_owned(),
            run_as_root: false,
            privileged: false,
            seccomp: Some("runtime/default".to_owned()),
            runtime_limit: Some(3_600_000),
            deadline: None,
            labels: vec![("owner".to_owned(), "ml".to_owned())],
            roles: vec![Role {
                name: "worker".to_owned(),
                count: 4,
                min: 4,
                cpu: 8_000,
                memory: 65_536,
                gpu_count: 1,
                gpu_milli: 1_000,
                ..Role::default()
            }],
        },
        old: None,
        facts: Facts {
            owner: Some("ml".to_owned()),
            tier: Some("flex".to_owned()),
            image_signed_by: vec!["ci".to_owned()],
            image_age: Some(24),
            base_image_age: Some(240),
            running: 3,
            ..Facts::default()
        },
    }
}

const DEFAULTS: &str = r#"{"rules":[{"id":"limit","version":1,"when":{"kind":"batch"},"set":{"/runtime-limit":86400000,"/labels/cost-centre":"unknown"},"reason":"nothing runs for ever"}]}"#;

fn admission() {
    const REVIEWS: u64 = 20_000;
    const ROUNDS: usize = 9;
    println!("\nadmission: one job a review, one core");
    println!(
        "{:<24} {:>12} {:>12} {:>8}",
        "call", "wasm", "native", "ratio"
    );
    let reviews: Vec<Review> = (0..REVIEWS).map(review).collect();
    let time = |policy: &mut dyn AdmissionPolicy,
                ask: &dyn Fn(&mut dyn AdmissionPolicy, &Review) -> usize| {
        let mut answers = 0;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let start = cpu_time();
            answers = reviews.iter().map(|r| ask(policy, r)).sum();
            rounds.push(cpu_time() - start);
        }
        (Timing::of(&rounds, REVIEWS), answers)
    };
    let validate =
        |p: &mut dyn AdmissionPolicy, r: &Review| p.validate(r).expect("no fault").0.warnings.len();
    let mutate = |p: &mut dyn AdmissionPolicy, r: &Review| p.mutate(r).expect("no fault").0.len();
    let line = |name: &str, w: (Timing, usize), n: (Timing, usize)| {
        assert_eq!(w.1, n.1, "wasm and native answer the same");
        println!(
            "{name:<24} {:>9.0}/s {:>9.0}/s {:>8.2}",
            w.0.per_second(),
            n.0.per_second(),
            w.0.min_us / n.0.min_us
        );
    };
    let w = time(&mut *wasm::admission("guardrails", "{}"), &validate);
    let n = time(
        &mut NativeAdmission::<guardrails::Guardrails>::new("{}"),
        &validate,
    );
    line("guardrails validate", w, n);
    let w = time(&mut *wasm::admission("defaults", DEFAULTS), &mutate);
    let n = time(
        &mut NativeAdmission::<defaults::Defaults>::new(DEFAULTS),
        &mutate,
    );
    line("defaults mutate", w, n);
}

fn main() {
    sandbox::compile_child::maybe_run();
    let only = std::env::args().nth(1);
    let parts: [(&str, fn()); 3] = [
        ("preemption", preemption),
        ("reclaim", reclaim),
        ("admission", admission),
    ];
    for (name, run) in parts {
        if only.as_deref().is_none_or(|o| o == name) {
            run();
        }
    }
}
