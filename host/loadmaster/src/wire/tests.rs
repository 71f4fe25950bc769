//! What is written can be read, and what cannot be meant is refused with its
//! place.

use std::collections::BTreeMap;

use engine::builtin::hpa::{Change, Recommendation, Windows};
use engine::scaling::{PolicyMemory, Replicas, Samples, Starting};
use engine::state::{self as s, Object as EngineObject};
use model::admission;
use model::event::{Finish, Mode, ShapeClass};
use model::plan::{EvictCause, PlanStatus};
use model::scaling::{CalendarEvent, ForecastPoint, Part, ScalingDecision, ScalingSpec};
use model::{
    Event, GpuRequest, GpuSpec, JobKind, JobSpec, LinkMatrix, NodeSpec, PodSpec, PolicyId,
    Resources, Taint, TaintEffect, Toleration,
};

use super::quantity::{Cpu, Factor, Memory, Price, Rate, Share};
use super::time::Time;
use super::*;
use group::*;

mod group;

fn node() -> NodeSpec {
    let gpu = |healthy, memory_mib| GpuSpec {
        model: "H100".to_owned(),
        memory_mib,
        healthy,
    };
    NodeSpec {
        name: "rack-1/node.01".to_owned(),
        capacity: Resources {
            cpu_milli: 95_500,
            memory_mib: 786_433,
            disk_mib: 1 << 20,
            network_mbps: 25_000,
        },
        gpus: vec![
            gpu(true, 81_559),
            gpu(true, 81_559),
            gpu(false, 81_559),
            gpu(true, 0),
        ],
        links: Some(
            LinkMatrix::new(
                4,
                [
                    [0, 210, 110, 10],
                    [210, 0, 110, 10],
                    [110, 110, 0, 60],
                    [10, 10, 60, 0],
                ]
                .concat(),
                vec![0, 0, 1, -1],
            )
            .unwrap(),
        ),
        labels: BTreeMap::from([("pool".to_owned(), "a".to_owned())]),
        taints: vec![Taint {
            key: "gpu".to_owned(),
            value: String::new(),
            effect: TaintEffect::PreferNoSchedule,
        }],
        zone: Some("z".to_owned()),
        rack: None,
        block: Some("b1".to_owned()),
        price_milli: 32_770,
        cordoned: true,
    }
}

fn pod() -> PodSpec {
    PodSpec {
        name: "p".to_owned(),
        job: Some("j".to_owned()),
        app: "a".to_owned(),
        requests: Resources {
            cpu_milli: 1,
            ..Resources::default()
        },
        gpu: GpuRequest {
            memory_mib: 7,
            models: vec!["H100".to_owned()],
            ..GpuRequest::share(250)
        },
        node_selector: BTreeMap::from([("pool".to_owned(), "a".to_owned())]),
        tolerations: vec![Toleration {
            key: String::new(),
            value: Some("v".to_owned()),
        }],
        priority: -3,
    }
}

fn job() -> JobSpec {
    JobSpec {
        id: "j".to_owned(),
        kind: JobKind::Service,
        replicas: 3,
        template: PodSpec {
            name: String::new(),
            job: None,
            gpu: GpuRequest::whole(2),
            ..pod()
        },
        ..JobSpec::default()
    }
}

fn scaling() -> ScalingSpec {
    ScalingSpec {
        workload: "w".to_owned(),
        min: 1,
        max: 9,
        capacity: 0.1 + 0.2,
        target_utilization: 705,
        start_up_ms: 60_000,
        step_ms: 15_000,
    }
}

fn calendar() -> CalendarEvent {
    CalendarEvent {
        name: "sale".to_owned(),
        workload: "w".to_owned(),
        start_ms: 1_772_355_600_123,
        end_ms: 1_772_359_200_000,
        load: Some(1e-7),
        multiplier: Some(2_500),
    }
}

#[test]
fn every_event_comes_back() {
    let events = vec![
        Event::NodePut(Box::new(node())),
        Event::NodeRemove {
            name: "n".to_owned(),
        },
        Event::NodeFailed {
            name: "n".to_owned(),
            failed: true,
        },
        Event::PodsSubmit(vec![
            pod(),
            PodSpec {
                name: "q".to_owned(),
                ..PodSpec::default()
            },
        ]),
        Event::JobSubmit(Box::new(job())),
        Event::JobScale {
            id: "j".to_owned(),
            replicas: 7,
        },
        Event::JobDelete { id: "j".to_owned() },
        Event::PodFinished {
            name: "p".to_owned(),
            how: Finish::Failed,
        },
        Event::JobSubmit(Box::new(gang())),
        Event::PodFinished {
            name: "p".to_owned(),
            how: Finish::TimedOut,
        },
        Event::PodEvicted {
            name: "p".to_owned(),
        },
        Event::PodCheckpointed {
            name: "p".to_owned(),
        },
        Event::PodEvict {
            name: "p".to_owned(),
        },
        Event::QuotaPut(quota()),
        Event::QuotaRemove {
            name: "q".to_owned(),
        },
        Event::QueuePut(queue()),
        Event::QueueRemove {
            name: "q".to_owned(),
        },
        Event::BudgetPut(budget()),
        Event::BudgetRemove {
            name: "b".to_owned(),
        },
        Event::CatalogPut(app()),
        Event::CatalogPut(image()),
        Event::CatalogRemove {
            catalog: "image".to_owned(),
            name: "i".to_owned(),
        },
        Event::ApproveEvictions { count: 9 },
        Event::SetMode(Mode::Evacuation),
        Event::WorkloadProfile(vec![ShapeClass {
            cpu_milli: 1,
            memory_mib: 2,
            gpu_count: 1,
            gpu_milli: 500,
            gpu_models: vec!["H100".to_owned()],
            count: 9,
        }]),
        Event::ScalingPut(scaling()),
        Event::ScalingRemove {
            workload: "w".to_owned(),
        },
        Event::MetricSample {
            workload: "w".to_owned(),
            value: 1.0 / 3.0,
        },
        Event::CalendarPut(calendar()),
        Event::CalendarRemove {
            name: "sale".to_owned(),
        },
        Event::Tick,
    ];
    for event in events {
        let stamped = event::Stamped {
            now_ms: 5,
            event: (&event).into(),
        };
        let read: event::Stamped = from_json(&to_json(&stamped)).unwrap();
        assert_eq!(Event::try_from(read.event).unwrap(), event);
    }
    let unknown = Event::MetricSample {
        workload: "w".to_owned(),
        value: f64::NEG_INFINITY,
    };
    let read: event::Event = from_json(&to_json(&event::Event::from(&unknown))).unwrap();
    let Event::MetricSample { value, .. } = Event::try_from(read).unwrap() else {
        panic!("another event came back")
    };
    assert!(value.is_nan());
}

#[test]
fn every_object_comes_back() {
    let decision = ScalingDecision {
        seq: 4,
        time_ms: 5,
        workload: "w".to_owned(),
        current: 1,
        reactive: 2,
        raw: 3,
        desired: 4,
        parts: vec![Part {
            name: "p".to_owned(),
            value: -1,
            text: "t".to_owned(),
        }],
        forecast: vec![ForecastPoint {
            at_ms: 1,
            mean: 0.1,
            high: 1e300,
        }],
        policy: PolicyId::builtin("hpa"),
        fault: Some("Trap".to_owned()),
    };
    let bound = s::BoundState {
        node: "n".to_owned(),
        devices: 5,
        milli: 250,
        memory_mib: 7,
        since_ms: 8,
        decision: 9,
    };
    let objects = vec![
        EngineObject::Core(s::CoreState {
            now_ms: 1,
            next_seq: 2,
            next_arrival: 3,
            mode: Mode::Incident,
            context_version: 4,
            arrivals: 5,
            publish_at: 6,
            learned: vec![s::LearnedShape {
                cpu_milli: 1,
                gpu: pod().gpu,
                count: 2,
                memory_mib: 3,
            }],
            profile: Vec::new(),
            gpu_models: vec!["H100".to_owned()],
            zones: vec!["z".to_owned()],
            racks: Vec::new(),
            blocks: vec!["b1".to_owned()],
            next_plan: 8,
            evictions: vec![(7, 2), (9, 1)],
            evictions_approved: 3,
            eviction_tokens_spent: 4,
            eviction_tokens_ms: 5,
        }),
        EngineObject::Node(s::NodeState {
            spec: node(),
            row: 7,
            failed: true,
        }),
        EngineObject::Pod(s::PodRecord {
            spec: pod(),
            arrival: 1,
            submitted_ms: 2,
            last_decision: Some(3),
            bound: Some(bound.clone()),
            admitted: false,
            next: Some((bound, 7)),
            leaving: Some((EvictCause::Reclaimed, 7, 99)),
            progress: s::Progress {
                served_ms: 1,
                lost_ms: 2,
                checkpoint_ms: 3,
                evictions: 4,
            },
            tried: Some(s::Tried {
                attempts: 2,
                next_ms: 3,
                nominated: Some((1, "r3".to_owned())),
                why: "nobody yields".to_owned(),
            }),
        }),
        EngineObject::Job(s::JobState {
            spec: job(),
            submitted_ms: 1,
            succeeded: 2,
            failed: 3,
            next_index: 4,
            patches: vec![
                patch(admission::Change::Set("1.50".to_owned())),
                patch(admission::Change::Add("\"a\"".to_owned())),
                patch(admission::Change::Remove),
            ],
            attempts: 5,
            started_ms: Some(6),
            tried: Some(s::Tried::default()),
        }),
        EngineObject::Job(s::JobState {
            spec: gang(),
            submitted_ms: 1,
            succeeded: 0,
            failed: 0,
            next_index: 0,
            patches: Vec::new(),
            attempts: 0,
            started_ms: None,
            tried: None,
        }),
        EngineObject::Scaling(s::ScalingState {
            spec: scaling(),
            samples: Samples {
                first_ms: 15_000,
                step_ms: 15_000,
                values: vec![0.1, -0.0, f64::MAX, 1e-320],
                in_last: 2,
            },
            windows: Windows {
                recommendations: vec![Recommendation {
                    at_ms: 1,
                    replicas: 2,
                }],
                changes: vec![Change {
                    at_ms: 1,
                    from: 2,
                    to: 3,
                }],
            },
            memory: Some(PolicyMemory {
                policy: "p".to_owned(),
                bytes: vec![0, 255, 7],
            }),
            replicas: Replicas {
                ready: 1,
                starting: vec![Starting {
                    ready_at_ms: 2,
                    count: 3,
                }],
            },
            due_ms: 30_000,
            last: Some(decision),
        }),
        EngineObject::Calendar(calendar()),
        EngineObject::Quota(quota()),
        EngineObject::Queue(queue()),
        EngineObject::Budget(s::BudgetState {
            spec: budget(),
            tokens: 2,
            refilled_ms: 3,
        }),
        EngineObject::Catalog(app()),
        EngineObject::Catalog(image()),
        EngineObject::Plan(plan(PlanStatus::Leaving)),
        EngineObject::Plan(plan(PlanStatus::Dissolved("why".to_owned()))),
    ];
    for object in objects {
        let stored = to_json(&object::Object::from(object.clone()));
        let read: object::Object = from_json(&stored).unwrap();
        assert_eq!(EngineObject::try_from(read).unwrap(), object);
    }
}

#[test]
fn bytes_come_back_whatever_their_length() {
    for len in 0..70usize {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 37) as u8).collect();
        assert_eq!(bytes::decode(&bytes::encode(&bytes)), Some(bytes));
    }
    for bad in ["A", "AB==C", "A===", "AB*=", "AAB="] {
        assert_eq!(bytes::decode(bad), None, "{bad}");
    }
}

#[test]
fn amounts_are_read_exactly_and_written_shortly() {
    let good: &[(&str, i64, &str)] = &[
        ("2", 2_000, "2"),
        ("1.5", 1_500, "1500m"),
        ("500m", 500, "500m"),
        ("0.001", 1, "1m"),
        ("0", 0, "0"),
        (".5", 500, "500m"),
    ];
    for (text, value, short) in good {
        let cpu: Cpu = text.parse().unwrap();
        assert_eq!(
            (cpu.0, cpu.to_string().as_str()),
            (*value, *short),
            "{text}"
        );
    }
    assert_eq!("16Gi".parse::<Memory>().unwrap(), Memory(16_384));
    assert_eq!("1.5Gi".parse::<Memory>().unwrap(), Memory(1_536));
    assert_eq!("1048576".parse::<Memory>().unwrap(), Memory(1));
    assert_eq!("1048576k".parse::<Memory>().unwrap(), Memory(1_000));
    assert_eq!(Memory(1 << 20).to_string(), "1Ti");
    assert_eq!("25G".parse::<Rate>().unwrap(), Rate(25_000));
    assert_eq!("0.25".parse::<Share>().unwrap(), Share(250));
    assert_eq!(Price(32_770).to_string(), "32.77");
    assert_eq!(Factor(700).to_string(), "0.7");
}

#[test]
fn amounts_that_cannot_be_meant_say_why() {
    let cpu = |text: &str| text.parse::<Cpu>().unwrap_err();
    assert!(cpu("-1").contains("negative"), "{}", cpu("-1"));
    assert!(cpu("0.0001").contains("whole number of milli-cores"));
    assert!(cpu("99999999999999999999").contains("largest amount"));
    assert!(cpu("1099511627777m").contains("largest amount"));
    for bad in [
        "", "m", "1 core", "1e3", "1.", "1.2.3", "0x10", "inf", "--1",
    ] {
        assert!(cpu(bad).contains("not an amount"), "{bad}: {}", cpu(bad));
    }
    let memory = "1G".parse::<Memory>().unwrap_err();
    assert!(memory.contains("whole number of MiB"), "{memory}");
}

#[test]
fn a_wrong_field_is_named_by_its_pointer() {
    let at = |json: &str| {
        from_json::<node::Node>(json.as_bytes())
            .unwrap_err()
            .pointer
    };
    assert_eq!(at(r#"{"capacity":{"cpu":"-1"}}"#), "/capacity/cpu");
    assert_eq!(
        at(r#"{"capacity":{},"gpus":[{"model":"a"},{"model":"a","memory":"1e9"}]}"#),
        "/gpus/1/memory"
    );
    assert_eq!(
        at(r#"{"capacity":{},"taints":[{"key":"k","effect":"Never"}]}"#),
        "/taints/0/effect"
    );
    let misspelt = from_json::<pod::Pod>(br#"{"name":"p","requets":{}}"#).unwrap_err();
    assert!(misspelt.detail.contains("requets"), "{misspelt}");
    let spec = |json: &str| NodeSpec::try_from(from_json::<node::Node>(json.as_bytes()).unwrap());
    let many = spec(r#"{"name":"n","capacity":{},"gpus":[{"model":"a","count":4000000000}]}"#);
    assert_eq!(many.unwrap_err().pointer, "/gpus/0/count");
    let links = spec(r#"{"name":"n","capacity":{},"links":{"matrix":[[0,1],[0]]}}"#);
    assert_eq!(links.unwrap_err().pointer, "/links/matrix/1");
}

#[test]
fn times_are_those_of_the_calendar() {
    let cases = [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2000-02-29T12:00:00.000Z", 951_825_600_000),
        ("2026-03-01T09:00:00.123Z", 1_772_355_600_123),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ];
    for (text, ms) in cases {
        assert_eq!(text.parse::<Time>(), Ok(Time(ms)), "{text}");
        assert_eq!(Time(ms).to_string(), text);
    }
    assert_eq!(
        "2026-03-01T10:30:00+01:30".parse::<Time>(),
        "2026-03-01T09:00:00Z".parse()
    );
    for bad in [
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-03-01",
        "2026-03-01T24:00:00Z",
        "2026-03-01T09:00:00",
        "1969-12-31T23:59:59Z",
        "yesterday",
    ] {
        assert!(bad.parse::<Time>().is_err(), "{bad}");
    }
}
