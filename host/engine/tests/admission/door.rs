//! At the door: changes, denials, facts, and gates that break.

use engine::port::admission::{Operation, Validation, Verdict};
use engine::{Effect, EventError};
use model::admission::CatalogEntry;
use model::event::Finish;
use model::{Event, FailMode, JobKind, JobSpec, PodSpec};

use crate::world::{Script, World, finding, job, patch, trap};

const CLOSED: FailMode = FailMode::Closed;
const OPEN: FailMode = FailMode::Open;

fn submit(job: JobSpec) -> Event {
    Event::JobSubmit(Box::new(job))
}

/// Tries to submit job `a`, and says what came of it.
fn try_a(world: &mut World) -> String {
    match world.try_step(submit(job("a", "", 1, 10))) {
        Ok(()) => {
            world.step(Event::JobDelete { id: "a".into() });
            "in".to_owned()
        }
        Err(refused) => refused.to_string(),
    }
}

#[test]
fn without_policies_nothing_is_asked_or_written() {
    let mut world = World::new();
    world.submit(job("a", "", 2, 10));
    assert!(world.out.admissions.is_empty());
    assert_eq!(world.running(), ["ax2"]);
    let unknown = world.try_step(submit(job("b", "q", 1, 10))).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no queue \"q\"; put one of that name first, with the quota that pays for it"
    );
    assert!(world.engine.job("b").is_none());
}

#[test]
fn each_policy_sees_the_changes_before_it() {
    let mut world = World::new();
    let first = Script::new("first").mutate(|r| {
        assert_eq!(
            (r.operation, r.object.roles[0].name.as_str()),
            (Operation::Create, "main")
        );
        Ok(vec![
            patch("/labels/team", "\"x\""),
            patch("/roles/main/cpu", "20"),
            patch("/app", "\"web\""),
        ])
    });
    let second = Script::new("second").mutate(|r| {
        assert_eq!(r.object.labels, [("team".to_owned(), "x".to_owned())]);
        Ok(vec![
            patch("/priority", "9"),
            patch("/labels/team", "\"x\""),
        ])
    });
    let third = Script::new("third").validate(|r| {
        assert_eq!((r.object.priority, r.object.roles[0].cpu), (9, 20));
        Ok(Validation {
            verdict: Verdict::Allow,
            warnings: vec![finding("Late")],
        })
    });
    world.install(vec![(first, CLOSED), (second, CLOSED), (third, CLOSED)]);
    world.submit(job("a", "", 2, 10));
    let record = &world.out.admissions[0];
    let fields: Vec<&str> = record.patches.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "/labels/team",
            "/roles/main/cpu",
            "/app",
            "/priority",
            "/labels/team"
        ]
    );
    assert_eq!((record.warnings.len(), record.set_revision), (1, 1));
    assert_eq!(record.fuel, 6 * 7, "six calls");
    let view = world.engine.job("a").unwrap();
    assert_eq!(view.spec.meta.labels["team"], "x");
    let pod = world.engine.pod("a-0").unwrap().spec;
    assert_eq!(
        (pod.priority, pod.requests.cpu_milli, pod.app.as_str()),
        (9, 20, "web")
    );
}

#[test]
fn one_denial_keeps_it_out_and_all_findings_are_told() {
    let mut world = World::new();
    world.install(vec![
        (
            Script::new("x").denies("OwnerMissing", |r| r.object.labels.is_empty()),
            CLOSED,
        ),
        (Script::new("y"), CLOSED),
        (
            Script::new("z").denies("TooBig", |r| r.object.roles[0].count > 1),
            CLOSED,
        ),
    ]);
    let before = world.engine.now_ms();
    world.now += 500;
    let refused = world.try_step(submit(job("a", "", 2, 10))).unwrap_err();
    let EventError::Denied { findings, .. } = &refused else {
        panic!("{refused}");
    };
    let codes: Vec<&str> = findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["OwnerMissing", "TooBig"]);
    assert_eq!(world.outcomes(), ["a denied OwnerMissing"]);
    assert!(world.engine.job("a").is_none());
    assert_eq!(world.engine.now_ms(), before, "nothing has changed");
    let mut good = job("a", "", 1, 10);
    good.meta.labels.insert("owner".into(), "me".into());
    world.submit(good);
    assert_eq!(world.outcomes(), ["a accepted"]);
}

#[test]
fn facts_are_those_of_the_catalogues_now() {
    let mut world = World::new();
    world.now = 10 * 3_600_000;
    world.step(Event::CatalogPut(CatalogEntry::App {
        name: "web".into(),
        owner: Some("team-x".into()),
        tier: Some("gold".into()),
        compliance: vec!["pci".into()],
    }));
    world.step(Event::CatalogPut(CatalogEntry::Image {
        name: "img:1".into(),
        signed_by: vec!["ci".into()],
        built_ms: Some(7 * 3_600_000 - 1),
        base_built_ms: Some(u64::MAX),
    }));
    let script = Script::new("x").validate(|r| {
        let f = &r.facts;
        let seen = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {}",
            f.owner,
            f.tier,
            f.compliance,
            f.image_signed_by,
            f.image_age,
            f.base_image_age,
            f.running
        );
        let mut seen_as = finding(&seen);
        seen_as.code = seen;
        Ok(Validation {
            verdict: Verdict::Allow,
            warnings: vec![seen_as],
        })
    });
    world.install(vec![(script, CLOSED)]);
    let mut web = job("a", "", 2, 10);
    web.template.app = "web".into();
    web.meta.image = "img:1".into();
    world.submit(web.clone());
    let seen = |world: &World| world.out.admissions[0].warnings[0].code.clone();
    let known = "Some(\"team-x\") Some(\"gold\") [\"pci\"] [\"ci\"] Some(3) Some(0)";
    assert_eq!(seen(&world), format!("{known} 0"));
    web.id = "b".into();
    world.submit(web.clone());
    assert_eq!(seen(&world), format!("{known} 2"));
    world.step(Event::CatalogRemove {
        catalog: "app".into(),
        name: "web".into(),
    });
    assert_eq!(world.engine.catalog_entries().count(), 1);
    web.id = "c".into();
    web.meta.image = "img:2".into();
    world.submit(web);
    assert_eq!(seen(&world), "None None [] [] None None 4");
    let gone = world.try_step(Event::CatalogRemove {
        catalog: "pod".into(),
        name: "web".into(),
    });
    assert!(matches!(gone, Err(EventError::UnknownCatalogEntry { .. })));
    let nameless = world.try_step(Event::CatalogPut(CatalogEntry::App {
        name: String::new(),
        owner: None,
        tier: None,
        compliance: Vec::new(),
    }));
    assert!(matches!(nameless, Err(EventError::Catalog { .. })));
}

#[test]
fn a_fault_keeps_out_or_counts_as_no_opinion() {
    for call in ["mutate", "validate"] {
        for fail in [CLOSED, OPEN] {
            let mut world = World::new();
            let mut script = Script::new("broken");
            script = match call {
                "mutate" => script.mutate(|_| Err(trap())),
                _ => script.validate(|_| Err(trap())),
            };
            let label = Script::new("label").mutate(|_| Ok(vec![patch("/tier", "\"t\"")]));
            world.install(vec![(script, fail), (label, CLOSED)]);
            let result = world.try_step(submit(job("a", "", 1, 10)));
            assert_eq!(
                world.faults(),
                [format!("broken {call} Trap: trapped: boom")]
            );
            assert_eq!(world.out.admissions[0].faults.len(), 1);
            match fail {
                OPEN => {
                    assert_eq!(result, Ok(()));
                    assert_eq!(world.engine.job("a").unwrap().spec.meta.tier, "t");
                }
                CLOSED => {
                    let text = result.unwrap_err().to_string();
                    assert!(
                        text.contains("cannot be judged: broken@1.0.0 trapped"),
                        "{text}"
                    );
                    assert_eq!(world.outcomes(), ["a denied Unjudged"]);
                    assert!(world.engine.job("a").is_none());
                }
            }
        }
    }
}

#[test]
fn illegal_changes_are_faults_and_change_nothing() {
    let cases: [(&str, &[(&str, &str)]); 9] = [
        ("not a field", &[("/id", "\"b\"")]),
        ("takes an integer", &[("/priority", "high")]),
        ("names a role", &[("/roles/worker/cpu", "1")]),
        ("no queue \"lost\"", &[("/queue", "\"lost\"")]),
        (
            "no job: 99 GPUs",
            &[
                ("/roles/main/gpu-count", "99"),
                ("/roles/main/gpu-milli", "1000"),
            ],
        ),
        (
            "no job: 4000000000 replicas",
            &[("/roles/main/count", "4000000000")],
        ),
        ("one by one", &[("/roles/main/min", "2")]),
        (
            "no job: cpu is",
            &[("/roles/main/cpu", "9223372036854775807")],
        ),
        (
            "is not a field",
            &[("/tier", "\"good\""), ("/kind", "\"service\"")],
        ),
    ];
    for (problem, steps) in cases {
        let mut world = World::new();
        let steps: Vec<_> = steps.iter().map(|(f, v)| patch(f, v)).collect();
        let script = Script::new("x").mutate(move |_| Ok(steps.clone()));
        world.install(vec![(script, OPEN)]);
        world.submit(job("a", "", 1, 10));
        let faults = world.faults();
        assert!(
            faults[0].starts_with("x mutate BadAnswer") && faults[0].contains(problem),
            "{faults:?}"
        );
        assert_eq!(
            *world.engine.job("a").unwrap().spec,
            job("a", "", 1, 10),
            "{problem}"
        );
        assert!(world.out.admissions[0].patches.is_empty());
    }
}

#[test]
fn a_gate_that_stays_shut_raises_an_alarm() {
    let mut world = World::new();
    let mut calls = 0;
    let script = Script::new("gate").validate(move |_| {
        calls += 1;
        // Two failures, one good answer, and then only failures far apart.
        match calls {
            3 => Ok(Validation {
                verdict: Verdict::Allow,
                warnings: Vec::new(),
            }),
            _ => Err(trap()),
        }
    });
    world.install(vec![(script, CLOSED)]);
    let alarms = |world: &World| -> Vec<(u64, u64)> {
        let found = world.out.effects.iter().filter_map(|e| match e {
            Effect::AdmissionStuck {
                since_ms,
                refused,
                policy,
            } => {
                assert_eq!(policy.name, "gate");
                Some((*since_ms, *refused))
            }
            _ => None,
        });
        found.collect()
    };
    assert!(try_a(&mut world).contains("cannot be judged"));
    world.tick(59_999);
    assert_eq!(alarms(&world), []);
    assert!(try_a(&mut world).contains("cannot be judged"));
    assert_eq!(try_a(&mut world), "in", "the third answer is good");
    world.tick(60_000);
    assert_eq!(alarms(&world), [], "the good answer ended it");
    let since = world.now;
    assert!(try_a(&mut world).contains("cannot be judged"));
    world.tick(30_000);
    assert_eq!(alarms(&world), []);
    world.tick(30_000);
    assert_eq!(alarms(&world), [(since, 1)]);
    world.tick(299_999);
    assert_eq!(alarms(&world), [], "once in five minutes");
    world.tick(1);
    assert_eq!(alarms(&world), [(since, 1)]);
}

#[test]
fn a_closed_gate_is_not_taken_out_but_reported_at_once() {
    let mut world = World::new();
    world.install(vec![(
        Script::new("gate").validate(|_| Err(trap())),
        CLOSED,
    )]);
    for i in 1..=7 {
        assert!(try_a(&mut world).contains("cannot be judged"));
        let stuck = |e: &Effect| matches!(e, Effect::AdmissionStuck { refused: 5, .. });
        assert_eq!(world.out.effects.iter().any(stuck), i == 5, "failure {i}");
        assert!(
            !world
                .out
                .effects
                .iter()
                .any(|e| matches!(e, Effect::SetReverted { .. }))
        );
    }
    assert_eq!(world.engine.admission_set().spec.revision, 1);
}

#[test]
fn an_open_set_is_taken_out_for_the_one_before() {
    let mut world = World::new();
    world.install(vec![(Script::new("good").denies("No", |_| true), OPEN)]);
    world.install(vec![(Script::new("bad").mutate(|_| Err(trap())), OPEN)]);
    for _ in 0..4 {
        assert_eq!(try_a(&mut world), "in");
    }
    assert_eq!(world.try_step(submit(job("a", "", 1, 10))), Ok(()));
    let reverted = world.out.effects.iter().find_map(|e| match e {
        Effect::SetReverted {
            from, to, policy, ..
        } => Some((*from, *to, policy.name.clone())),
        _ => None,
    });
    assert_eq!(reverted, Some((2, 1, "bad".to_owned())));
    assert_eq!(world.engine.admission_set().spec.revision, 1);
    assert!(world.engine.previous_admission().is_none());
    let denied = world.try_step(submit(job("b", "", 1, 10))).unwrap_err();
    assert!(
        denied.to_string().contains("No at /labels/owner"),
        "{denied}"
    );
}

#[test]
fn an_open_member_that_breaks_does_not_take_a_closed_gate_with_it() {
    let mut world = World::new();
    world.install(vec![
        (Script::new("bad").mutate(|_| Err(trap())), OPEN),
        (
            Script::new("gate").denies("Root", |r| r.object.run_as_root),
            CLOSED,
        ),
    ]);
    for _ in 0..5 {
        assert_eq!(try_a(&mut world), "in");
    }
    assert_eq!(world.engine.admission_set().spec.revision, 1);
    world.submit(job("b", "", 1, 10));
    assert!(world.faults().is_empty(), "it is not asked any more");
    let mut root = job("c", "", 1, 10);
    root.meta.run_as_root = true;
    assert!(matches!(
        world.try_step(submit(root)),
        Err(EventError::Denied { .. })
    ));
}

#[test]
fn bare_pods_are_judged_one_by_one_and_enter_together() {
    let mut world = World::new();
    world.install(vec![(
        Script::new("x")
            .mutate(|r| {
                assert_eq!((r.object.roles.len(), r.object.kind), (1, JobKind::Batch));
                Ok(vec![
                    patch("/priority", "4"),
                    patch("/roles/main/cpu", "15"),
                    patch("/labels/team", "\"no place in a pod\""),
                ])
            })
            .denies("Bad", |r| r.object.id == "p1"),
        CLOSED,
    )]);
    let pod = |name: &str| PodSpec {
        name: name.to_owned(),
        app: "web".to_owned(),
        ..PodSpec::default()
    };
    let refused = world.try_step(Event::PodsSubmit(vec![pod("p0"), pod("p1")]));
    assert!(matches!(refused, Err(EventError::Denied { .. })));
    assert!(world.engine.pod("p0").is_none(), "one denial keeps all out");
    world.step(Event::PodsSubmit(vec![pod("p0"), pod("p2")]));
    let p0 = world.engine.pod("p0").unwrap().spec;
    assert_eq!(
        (p0.priority, p0.requests.cpu_milli, p0.app.as_str()),
        (4, 15, "web")
    );
    let many = Script::new("y").mutate(|_| Ok(vec![patch("/roles/main/count", "3")]));
    world.install(vec![(many, OPEN)]);
    world.step(Event::PodsSubmit(vec![pod("p3")]));
    assert!(
        world.faults()[0].contains("a bare pod is one pod"),
        "{:?}",
        world.faults()
    );
    assert!(world.engine.pod("p3").is_some());
}

#[test]
fn a_service_that_grows_is_asked_about() {
    let mut world = World::new();
    let mut service = job("a", "", 2, 10);
    service.kind = JobKind::Service;
    world.submit(service);
    world.install(vec![(
        Script::new("x")
            .mutate(|_| panic!("an update is not changed"))
            .denies("TooMany", |r| {
                let old = r.old.as_ref().expect("an update has an old form");
                assert_eq!((r.operation, old.roles[0].count), (Operation::Update, 2));
                r.object.roles[0].count > 4
            }),
        CLOSED,
    )]);
    let scale = |n| Event::JobScale {
        id: "a".into(),
        replicas: n,
    };
    let refused = world.try_step(scale(5));
    assert!(matches!(refused, Err(EventError::Denied { .. })));
    assert_eq!(world.running(), ["ax2"]);
    world.step(scale(4));
    assert_eq!(
        (world.running(), world.outcomes()),
        (vec!["ax4".into()], vec!["a accepted".into()])
    );
    world.step(scale(1));
    assert_eq!(
        (world.running(), world.outcomes()),
        (vec!["ax1".into()], vec![])
    );
    world.step(Event::JobDelete { id: "a".into() });
    assert!(world.out.admissions.is_empty(), "who goes is not asked");
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let mut world = World::new();
    world.install(vec![(
        Script::new("x").mutate(|r| match r.object.id.as_str() {
            "bad" => Err(trap()),
            _ => Ok(vec![patch("/tier", "\"t\"")]),
        }),
        OPEN,
    )]);
    for _ in 0..20 {
        let (result, record) = world.engine.review_only(&job("bad", "", 1, 10));
        assert_eq!((result.is_ok(), record.faults.len()), (true, 1));
        let (result, record) = world.engine.review_only(&job("a", "", 1, 10));
        assert_eq!(result.unwrap().meta.tier, "t");
        assert_eq!(record.patches.len(), 1);
    }
    let (result, _) = world.engine.review_only(&job("a", "nowhere", 1, 10));
    assert!(matches!(result, Err(EventError::UnknownQueue(_))));
    assert_eq!(world.engine.admission_set().members[0].breaker.calls(), 0);
    assert_eq!(world.engine.jobs().count(), 0);
}

#[test]
fn a_rollback_brings_the_set_before_back() {
    let mut world = World::new();
    assert!(!world.engine.rollback_admission());
    world.install(vec![(Script::new("x").denies("No", |_| true), CLOSED)]);
    assert!(try_a(&mut world).contains("denied"));
    assert!(world.engine.rollback_admission());
    assert!(world.engine.admission_set().is_builtin());
    assert_eq!(try_a(&mut world), "in");
    assert!(world.engine.rollback_admission());
    assert!(try_a(&mut world).contains("denied"));
}

#[test]
fn a_job_must_be_well_formed_before_it_is_judged() {
    let mut world = World::new();
    let mut late = job("a", "", 1, 10);
    late.terms.grace_ms = 600_001;
    let text = world.try_step(submit(late)).unwrap_err().to_string();
    assert_eq!(text, "grace is 600001, above the largest amount 600000");
    world.step(Event::PodsSubmit(vec![PodSpec {
        name: "p".into(),
        ..PodSpec::default()
    }]));
    world.step(Event::PodFinished {
        name: "p".into(),
        how: Finish::Succeeded,
    });
}

/// The host could not get its gate back after a restart: nobody enters past it,
/// until an operator installs one.
#[test]
fn a_gate_that_could_not_be_had_lets_nobody_in() {
    let mut world = World::new();
    let gate = model::PolicyId {
        name: "gate".to_owned(),
        version: "1.0.0".to_owned(),
        digest: "sha256:0".to_owned(),
    };
    world
        .engine
        .shut_gate(gate, "its component is gone".to_owned());
    assert!(try_a(&mut world).contains("its component is gone"));
    let pods = vec![job("p", "", 1, 10).pod(0)];
    let pods = pods
        .into_iter()
        .map(|p| PodSpec { job: None, ..p })
        .collect();
    let refused = world.try_step(Event::PodsSubmit(pods)).unwrap_err();
    assert!(matches!(refused, EventError::Unjudged { .. }), "{refused}");
    world.install(vec![(Script::new("gate"), CLOSED)]);
    assert_eq!(try_a(&mut world), "in");
}
