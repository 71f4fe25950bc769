//! Whole steps, told as small stories.

use std::collections::BTreeMap;

use engine::{Config, Effect, Engine, EventError, Output};
use model::event::Finish;
use model::{
    Event, GpuRequest, GpuSpec, NodeSpec, Outcome, PodSpec, Reason, Rejection, Resources, Taint,
    TaintEffect, Toleration,
};

fn node(name: &str, cores: i64, gpus: usize) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        capacity: Resources {
            cpu_milli: cores * 1000,
            memory_mib: cores * 4096,
            disk_mib: 100_000,
            network_mbps: 10_000,
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

fn pod(name: &str, cores: i64, gpu: GpuRequest) -> PodSpec {
    PodSpec {
        name: name.to_owned(),
        app: "app".to_owned(),
        requests: Resources {
            cpu_milli: cores * 1000,
            memory_mib: 1024,
            ..Resources::default()
        },
        gpu,
        ..PodSpec::default()
    }
}

struct World {
    engine: Engine,
    out: Output,
    now: u64,
}

impl World {
    fn new(nodes: Vec<NodeSpec>) -> Self {
        let mut w = Self {
            engine: Engine::new(Config::default()),
            out: Output::default(),
            now: 0,
        };
        for n in nodes {
            w.step(Event::NodePut(Box::new(n))).unwrap();
        }
        w
    }

    fn step(&mut self, event: Event) -> Result<(), EventError> {
        self.now += 1;
        self.out.clear();
        self.engine.step(self.now, event, &mut self.out)
    }

    fn submit(&mut self, pods: Vec<PodSpec>) -> Vec<String> {
        self.step(Event::PodsSubmit(pods)).unwrap();
        self.out.decisions.iter().map(story).collect()
    }
}

fn story(d: &model::Decision) -> String {
    match &d.outcome {
        Outcome::Bound { node, devices, .. } => format!("{} -> {node} {devices:?}", d.pod),
        Outcome::Unschedulable { reason } => format!("{}: {}", d.pod, reason.code()),
    }
}

#[test]
fn fullest_node_wins_and_cpu_work_stays_off_gpus() {
    let mut w = World::new(vec![node("a", 8, 0), node("b", 8, 0), node("g", 8, 4)]);
    let none = GpuRequest::default;
    assert_eq!(
        w.submit(vec![
            pod("p", 2, none()),
            pod("q", 2, none()),
            pod("r", 5, none())
        ]),
        ["p -> a []", "q -> a []", "r -> b []"]
    );
    assert_eq!(w.submit(vec![pod("s", 7, none())]), ["s -> g []"]);
}

#[test]
fn shares_fill_one_device_before_opening_another() {
    let mut w = World::new(vec![node("g", 64, 4)]);
    assert_eq!(
        w.submit(vec![
            pod("a", 1, GpuRequest::share(500)),
            pod("b", 1, GpuRequest::share(600)),
            pod("c", 1, GpuRequest::share(400)),
            pod("d", 1, GpuRequest::whole(2)),
            pod("e", 1, GpuRequest::whole(1)),
        ]),
        [
            "a -> g [0]",
            "b -> g [1]",
            "c -> g [1]",
            "d -> g [2, 3]",
            "e: WaitingForCapacity"
        ]
    );
}

#[test]
fn counts_add_up_to_the_cluster_and_name_the_first_failed_check() {
    let mut tainted = node("t", 8, 8);
    tainted.taints.push(Taint {
        key: "team".to_owned(),
        value: "x".to_owned(),
        effect: TaintEffect::NoSchedule,
    });
    let mut cordoned = node("c", 8, 8);
    cordoned.cordoned = true;
    let mut sick = node("s", 8, 8);
    sick.gpus[3].healthy = false;
    let mut w = World::new(vec![
        node("plain", 8, 0),
        tainted,
        cordoned,
        sick,
        node("g4", 8, 4),
    ]);
    let mut wish = pod("p", 4, GpuRequest::whole(8));
    w.submit(vec![wish.clone()]);
    let d = &w.out.decisions[0];
    assert_eq!(d.filter.total(), 5);
    for (rejection, count) in [
        (Rejection::GpuModel, 1),
        (Rejection::Taint, 1),
        (Rejection::Cordoned, 1),
        (Rejection::GpuHealth, 1),
        (Rejection::GpuShape, 1),
        (Rejection::Fits, 0),
    ] {
        assert_eq!(d.filter.get(rejection), count, "{rejection:?}");
    }
    let why = w.engine.why("p").unwrap();
    assert_eq!(why.lines.iter().map(|l| l.count).sum::<u32>(), why.nodes);

    wish.name = "tolerant".to_owned();
    wish.tolerations.push(Toleration {
        key: "team".to_owned(),
        value: None,
    });
    assert_eq!(
        w.submit(vec![wish])[0],
        "tolerant -> t [0, 1, 2, 3, 4, 5, 6, 7]"
    );
}

#[test]
fn impossible_is_infeasible_and_full_is_not() {
    let mut w = World::new(vec![node("g", 8, 4), node("h", 8, 4)]);
    let mut selective = pod("picky", 1, GpuRequest::default());
    selective.node_selector = BTreeMap::from([("zone".to_owned(), "mars".to_owned())]);
    assert_eq!(
        w.submit(vec![
            pod("big", 9, GpuRequest::default()),
            pod("wide", 1, GpuRequest::whole(8)),
            selective,
            pod("a", 1, GpuRequest::whole(3)),
            pod("b", 1, GpuRequest::whole(3)),
            pod("c", 1, GpuRequest::whole(2)),
        ]),
        [
            "big: Infeasible",
            "wide: Infeasible",
            "picky: Infeasible",
            "a -> g [0, 1, 2]",
            "b -> h [0, 1, 2]",
            "c: FragmentedTopology"
        ]
    );
}

#[test]
fn a_finished_pod_wakes_exactly_who_fits_now() {
    let mut w = World::new(vec![node("a", 8, 0)]);
    let none = GpuRequest::default;
    w.submit(vec![pod("x", 5, none()), pod("y", 3, none())]);
    assert_eq!(
        w.submit(vec![pod("big", 6, none()), pod("small", 3, none())]),
        ["big: WaitingForCapacity", "small: WaitingForCapacity"]
    );
    w.step(Event::PodFinished {
        name: "y".to_owned(),
        how: Finish::Succeeded,
    })
    .unwrap();
    let told: Vec<_> = w.out.decisions.iter().map(story).collect();
    assert_eq!(told, ["small -> a []"], "big is not even looked at");
}

#[test]
fn a_removed_node_gives_its_pods_back_to_the_queue() {
    let mut w = World::new(vec![node("a", 8, 0), node("b", 4, 0)]);
    w.submit(vec![
        pod("p", 4, GpuRequest::default()),
        pod("q", 4, GpuRequest::default()),
    ]);
    w.step(Event::NodeRemove {
        name: "a".to_owned(),
    })
    .unwrap();
    let bound: Vec<_> = w.out.decisions.iter().map(story).collect();
    assert_eq!(bound, ["q: WaitingForCapacity"]);
    let requeued = w
        .out
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::Requeue { .. }));
    assert_eq!(requeued.count(), 1);
    w.step(Event::NodePut(Box::new(node("c", 8, 0)))).unwrap();
    assert_eq!(story(&w.out.decisions[0]), "q -> c []");
    assert_eq!(
        w.engine.node("c").unwrap().row,
        0,
        "the lowest vacant row is used again"
    );
}

#[test]
fn contradictions_are_refused_and_change_nothing() {
    let mut w = World::new(vec![node("a", 8, 0)]);
    w.submit(vec![pod("p", 1, GpuRequest::default())]);
    let before: Vec<_> = w.engine.keys().map(|k| w.engine.export(&k)).collect();
    let negative = PodSpec {
        requests: Resources {
            cpu_milli: -1,
            ..Resources::default()
        },
        ..pod("n", 1, GpuRequest::default())
    };
    let overflow = pod("o", i64::MAX / 1000, GpuRequest::default());
    let shared_pair = pod(
        "s",
        1,
        GpuRequest {
            count: 2,
            milli: 500,
            ..GpuRequest::default()
        },
    );
    let fresh = pod("q", 1, GpuRequest::default());
    for (event, code) in [
        (
            Event::PodsSubmit(vec![fresh.clone(), pod("p", 1, GpuRequest::default())]),
            "already exists",
        ),
        (
            Event::PodsSubmit(vec![fresh.clone(), fresh.clone()]),
            "already exists",
        ),
        (
            Event::PodsSubmit(vec![fresh.clone(), negative]),
            "cannot be negative",
        ),
        (
            Event::PodsSubmit(vec![overflow]),
            "above the largest amount",
        ),
        (
            Event::PodsSubmit(vec![shared_pair]),
            "only a single GPU can be shared",
        ),
        (
            Event::NodeRemove {
                name: "zz".to_owned(),
            },
            "no node \"zz\"",
        ),
        (
            Event::PodFinished {
                name: "zz".to_owned(),
                how: Finish::Failed,
            },
            "no pod \"zz\"",
        ),
    ] {
        let error = w.step(event).unwrap_err().to_string();
        assert!(error.contains(code), "{error:?} should say {code:?}");
        let after: Vec<_> = w.engine.keys().map(|k| w.engine.export(&k)).collect();
        assert_eq!(before, after);
    }
    assert_eq!(w.engine.pod("p").unwrap().spec.name, "p");
}

#[test]
fn infeasible_becomes_feasible_when_the_machine_arrives() {
    let mut w = World::new(vec![node("a", 8, 0)]);
    w.submit(vec![pod("p", 1, GpuRequest::whole(1))]);
    let state = w.engine.summary();
    assert_eq!(state.waiting.get(&Reason::Infeasible), Some(&1));
    w.step(Event::NodePut(Box::new(node("g", 8, 1)))).unwrap();
    assert_eq!(story(&w.out.decisions[0]), "p -> g [0]");
}

#[test]
fn finished_jobs_are_remembered_up_to_a_bound() {
    let mut w = World::new(vec![node("a", 8, 0)]);
    let extra = 5;
    for i in 0..engine::FINISHED_JOBS_MAX + extra {
        w.step(Event::JobSubmit(Box::new(model::JobSpec {
            id: format!("j{i}"),
            kind: model::JobKind::Batch,
            replicas: 1,
            template: pod("template", 1, GpuRequest::default()),
            ..model::JobSpec::default()
        })))
        .unwrap();
        w.step(Event::PodFinished {
            name: format!("j{i}-0"),
            how: Finish::Succeeded,
        })
        .unwrap();
    }
    assert_eq!(w.engine.jobs().count(), engine::FINISHED_JOBS_MAX);
    assert!(w.engine.job("j4").is_none() && w.engine.job("j5").is_some());
}
