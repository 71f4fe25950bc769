//! Gangs, quotas and plans, and what is special about reading them.

use std::collections::BTreeMap;

use engine::state::{self as s, Object as EngineObject};
use model::admission::{self, CatalogEntry};
use model::disruption::{BucketSpec, BudgetSpec, Terms};
use model::gang::{GangSpec, Level, RoleSpec, Slice, TopologySpec};
use model::job::JobMeta;
use model::plan::{PlanPlace, PlanRecord, PlanStatus, PlanVictim};
use model::quota::{QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier};
use model::{GpuRequest, JobSpec, PodSpec, PolicyId};

use crate::wire::{from_json, job, object};

pub(super) fn gang() -> JobSpec {
    let role = |name: &str, count, min, gpus| RoleSpec {
        name: name.to_owned(),
        count,
        min,
        template: PodSpec {
            gpu: GpuRequest::whole(gpus),
            ..PodSpec::default()
        },
    };
    JobSpec {
        id: "g".to_owned(),
        replicas: 5,
        template: PodSpec {
            app: "a".to_owned(),
            priority: 7,
            ..PodSpec::default()
        },
        gang: Some(GangSpec {
            roles: vec![role("main", 1, 1, 0), role("worker", 4, 2, 8)],
            topology: Some(TopologySpec {
                level: Level::Block,
                required: false,
                slice: Some(Slice {
                    size: 2,
                    level: Level::Rack,
                }),
            }),
            timeout_ms: Some(90_500),
        }),
        meta: JobMeta {
            namespace: "team".to_owned(),
            queue: "q".to_owned(),
            tier: "gold".to_owned(),
            image: "registry/app@sha256:00".to_owned(),
            run_as_root: true,
            privileged: true,
            seccomp: Some("default".to_owned()),
            runtime_limit_ms: Some(3_600_000),
            deadline_ms: Some(1_772_355_600_123),
            expected_runtime_ms: Some(1),
            labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        },
        terms: Terms {
            preemptible: false,
            movable: true,
            grace_ms: 30_000,
            restart_cost: 9,
            preempts: false,
        },
        ..JobSpec::default()
    }
}

pub(super) fn quota() -> QuotaSpec {
    let line = |resource, nominal, borrowing_limit, lending_limit| QuotaLine {
        resource,
        nominal,
        borrowing_limit,
        lending_limit,
    };
    QuotaSpec {
        name: "q".to_owned(),
        parent: Some("root".to_owned()),
        weight: 1_500,
        tier: Tier::Critical,
        lines: vec![
            line(QuotaResource::Cpu, 1_500, None, Some(0)),
            line(QuotaResource::Memory, 1_025, Some(7), None),
            line(QuotaResource::Disk, 0, None, None),
            line(QuotaResource::Network, 25_000, None, None),
            line(
                QuotaResource::Gpu,
                2_000_500,
                Some(i64::from(u32::MAX)),
                Some(1),
            ),
        ],
    }
}

pub(super) fn queue() -> QueueSpec {
    QueueSpec {
        name: "q".to_owned(),
        quota: "q".to_owned(),
        suspended: true,
    }
}

pub(super) fn budget() -> BudgetSpec {
    BudgetSpec {
        name: "b".to_owned(),
        app: "a".to_owned(),
        min_available: 3,
        bucket: Some(BucketSpec {
            capacity: 4,
            refill_ms: 60_000,
        }),
    }
}

pub(super) fn app() -> CatalogEntry {
    CatalogEntry::App {
        name: "a".to_owned(),
        owner: Some("team".to_owned()),
        tier: None,
        compliance: vec!["pci".to_owned()],
    }
}

pub(super) fn image() -> CatalogEntry {
    CatalogEntry::Image {
        name: "registry/app:1".to_owned(),
        signed_by: vec!["ci".to_owned()],
        built_ms: Some(1_772_355_600_000),
        base_built_ms: None,
    }
}

pub(super) fn patch(change: admission::Change) -> admission::Patch {
    admission::Patch {
        field: "/labels/a~1b".to_owned(),
        change,
        reason: "why".to_owned(),
    }
}

pub(super) fn plan(status: PlanStatus) -> PlanRecord {
    let place = |from: Option<&str>| PlanPlace {
        pod: "p".into(),
        from: from.map(Into::into),
        node: "n".into(),
        devices: vec![0, 3],
    };
    PlanRecord {
        id: 7,
        time_ms: 8,
        preemptor: "g".into(),
        gang: true,
        action: "reclaim",
        policy: PolicyId::builtin("priority"),
        domain: "rack r3".to_owned(),
        victims: vec![PlanVictim {
            pod: "v".into(),
            node: "n".into(),
            priority: -1,
            grace_ms: 5,
            reason: "least work".to_owned(),
            lost_gpu_ms: 6,
        }],
        moves: vec![place(Some("m"))],
        placements: vec![place(None)],
        cost: vec![-1, i64::MAX],
        until_ms: 9,
        status,
    }
}

#[test]
fn what_older_versions_wrote_is_read_as_it_was_meant() {
    let pod = br#"{"pod":{"spec":{"name":"p"},"arrival":1,"submitted_ms":2}}"#;
    let read: object::Object = from_json(pod).unwrap();
    let EngineObject::Pod(pod) = EngineObject::try_from(read).unwrap() else {
        panic!("another object came back")
    };
    assert!(pod.admitted, "without quotas everybody was admitted");
    assert_eq!((pod.next, pod.leaving), (None, None));
    assert_eq!(pod.progress, s::Progress::default());

    let job = br#"{"job":{"spec":{"id":"j","kind":"batch","replicas":2,"template":{}},"submitted_ms":1,"succeeded":0,"failed":0,"next_index":2}}"#;
    let read: object::Object = from_json(job).unwrap();
    let EngineObject::Job(job) = EngineObject::try_from(read).unwrap() else {
        panic!("another object came back")
    };
    assert_eq!(job.spec.terms, Terms::default());
    assert_eq!((job.spec.gang, job.spec.meta), (None, JobMeta::default()));
    assert_eq!(
        (job.patches.len(), job.attempts, job.started_ms),
        (0, 0, None)
    );

    let core = br#"{"core":{"now_ms":1,"next_seq":2,"next_arrival":3,"mode":"normal","context_version":1,"arrivals":0,"publish_at":0,"learned":[],"profile":[],"gpu_models":[],"zones":[],"racks":[]}}"#;
    let read: object::Object = from_json(core).unwrap();
    let EngineObject::Core(core) = EngineObject::try_from(read).unwrap() else {
        panic!("another object came back")
    };
    assert_eq!((core.next_plan, core.evictions_approved), (1, 0));
}

#[test]
fn jobs_are_read_as_people_write_them() {
    let read = |json: &str| from_json::<job::Job>(json.as_bytes()).and_then(JobSpec::try_from);
    let spec = read(
        r#"{"id":"g","gang":{"roles":[{"name":"w","count":4,"template":{"gpu":{"count":8}}}],
            "topology":{"required":"rack"},"timeout":"10m"},"runtime_limit":"1.5h",
            "terms":{"grace":"30s"}}"#,
    )
    .unwrap();
    assert_eq!(spec.replicas, 4);
    let gang = spec.gang.unwrap();
    assert_eq!((gang.roles[0].min, gang.timeout_ms), (4, Some(600_000)));
    assert!(gang.topology.unwrap().required);
    assert_eq!(spec.meta.runtime_limit_ms, Some(5_400_000));
    assert_eq!(spec.terms.grace_ms, 30_000);
    assert!(spec.terms.preemptible && spec.terms.preempts);

    let at = |json: &str| read(json).unwrap_err().pointer;
    let role = r#"[{"name":"w","count":4,"template":{}}]"#;
    let gang = |more: &str| format!(r#"{{"id":"g","gang":{{"roles":{role}{more}}}}}"#);
    assert_eq!(at(&gang(r#","topology":{}"#)), "/gang/topology");
    assert_eq!(
        at(&gang(
            r#","topology":{"required":"rack","preferred":"zone"}"#
        )),
        "/gang/topology"
    );
    assert_eq!(
        at(&gang(r#","topology":{"required":"row"}"#)),
        "/gang/topology/required"
    );
    assert_eq!(at(r#"{"id":"g","gang":{"roles":[]}}"#), "/gang/roles");
    let few = r#"{"id":"g","gang":{"roles":[{"name":"w","count":2,"min":3,"template":{}}]}}"#;
    assert_eq!(at(few), "/gang/roles/0/min");
    let other = format!(r#"{{"id":"g","replicas":3,"gang":{{"roles":{role}}}}}"#);
    assert_eq!(at(&other), "/replicas");
    let wide = r#"{"id":"g","gang":{"roles":[{"name":"w","template":{"gpu":{"count":99}}}]}}"#;
    assert_eq!(at(wide), "/gang/roles/0/template/gpu/count");
    assert_eq!(at(r#"{"id":"g","terms":{"grace":"1h"}}"#), "/terms/grace");
    assert_eq!(at(r#"{"id":"g","runtime_limit":"soon"}"#), "/runtime_limit");
}

#[test]
fn what_a_policy_names_is_found_in_what_was_sent() {
    let job = job::Job::from(&gang());
    for (field, pointer) in [
        ("/run-as-root", "/run_as_root"),
        ("/labels/a~1b", "/labels/a~1b"),
        ("/priority", "/template/priority"),
        ("/roles/worker/cpu", "/gang/roles/1/template/requests/cpu"),
        ("/roles/worker/count", "/gang/roles/1/count"),
        ("/roles/main/gpu-milli", "/gang/roles/0/template/gpu/share"),
        ("/roles/main/gpu-count", "/gang/roles/0/template/gpu/count"),
    ] {
        assert_eq!(job.pointer(field), pointer, "{field}");
    }
}
