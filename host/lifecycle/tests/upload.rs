//! Uploads that pass and uploads that do not.

mod support;

use lifecycle::{Class, Stage, State, UploadError, Uploaded};
use model::PolicyKind;
use support::{ABOVE_RANGE, Guest, Host, STATEFUL};

#[test]
fn a_sound_policy_is_registered_with_its_report() {
    let mut host = Host::new();
    let uploaded = host.check(&Guest::default().scoring()).expect("sound");
    assert!(host.registry.is_empty(), "nothing changed yet");
    let Uploaded::New {
        record,
        transitions,
    } = &uploaded
    else {
        panic!("it was not there");
    };
    let path: Vec<_> = transitions.iter().map(|t| (t.from, t.to)).collect();
    assert_eq!(
        path,
        [
            (State::Uploaded, State::Validated),
            (State::Validated, State::Compiled),
            (State::Compiled, State::Conformant)
        ]
    );
    assert_eq!(record.id.to_string(), "guest@1.0.0");
    assert_eq!(record.kind, PolicyKind::Scoring);
    assert_eq!(record.columns, ["cpu-free"]);
    assert_eq!(record.uploader.as_deref(), Some("alice"));
    assert!(record.report.passed());
    assert!(record.report.fuel_max > 10_000, "{}", record.report);
    let digest = record.id.digest.clone();
    let plan = host.register(uploaded).expect("free");
    assert_eq!(plan.policies.len(), 1);
    assert!(host.registry.get(&digest).is_some());
    let bytes = host.shelf.blobs.lock().expect("ours")[&digest].clone();
    assert_eq!(bytes, Guest::default().scoring());
}

#[test]
fn an_autoscaling_policy_is_checked_by_its_own_laws() {
    let mut host = Host::new();
    let record = host.upload(&Guest::default().autoscaling());
    assert_eq!(record.kind, PolicyKind::Autoscaling);
    let tolerance = conformance::Law::StateTolerance;
    assert!(record.report.counts(tolerance).0 > 10);
}

#[test]
fn an_admission_policy_is_checked_by_its_own_laws() {
    let mut host = Host::new();
    let record = host.upload(&Guest::default().admission());
    assert_eq!(record.kind, PolicyKind::Admission);
    for law in [
        conformance::Law::Idempotence,
        conformance::Law::HeadOrder,
        conformance::Law::Budget,
    ] {
        assert!(record.report.counts(law).0 > 0, "{}", record.report);
    }
}

#[test]
fn a_preemption_policy_is_checked_by_its_own_laws() {
    let mut host = Host::new();
    let record = host.upload(&Guest::default().preemption());
    assert_eq!(record.kind, PolicyKind::Preemption);
    for law in [
        conformance::Law::Statelessness,
        conformance::Law::RunningOrder,
        conformance::Law::Budget,
    ] {
        assert!(record.report.counts(law).0 > 0, "{}", record.report);
    }
    let guest = Guest {
        name: "empty-plans",
        ..Guest::default()
    };
    let error = host.check(&guest.empty_plans()).expect_err("no plan");
    let UploadError::NotConformant { report } = &error else {
        panic!("{error}");
    };
    assert!(
        report.counts(conformance::Law::Placements).1 > 0,
        "{report}"
    );
}

#[test]
fn the_same_bytes_again_are_known_and_not_compiled() {
    let mut host = Host::new();
    let bytes = Guest::default().scoring();
    let record = host.upload(&bytes);
    let prepared = host.workshop.prepared_count();
    let again = host.check(&bytes).expect("known");
    let digest = record.id.digest.clone();
    assert_eq!(again, Uploaded::Known { digest });
    assert_eq!(host.workshop.prepared_count(), prepared);
    assert!(host.register(again).expect("nothing to do").is_empty());
}

#[test]
fn a_version_cannot_change_its_bytes() {
    let mut host = Host::new();
    host.upload(&Guest::default().scoring());
    let other = Guest {
        score: "(i32.const 7)",
        ..Guest::default()
    };
    let error = host.check(&other.scoring()).expect_err("taken");
    assert_eq!(
        (error.code(), error.class()),
        ("VersionTaken", Class::Conflict)
    );
    assert!(error.hint().is_some());
    let newer = Guest {
        version: "1.0.1",
        ..other
    };
    host.upload(&newer.scoring());
    assert_eq!(host.registry.len(), 2);
}

#[test]
fn two_uploads_of_one_version_at_once_leave_one() {
    let mut host = Host::new();
    let other = Guest {
        score: "(i32.const 7)",
        ..Guest::default()
    };
    let first = host.check(&Guest::default().scoring()).expect("free");
    let second = host.check(&other.scoring()).expect("still free");
    drop(host.register(first).expect("free"));
    let error = host.register(second).expect_err("taken meanwhile");
    assert_eq!(error.code(), "VersionTaken");
    assert_eq!(host.registry.len(), 1);
}

#[track_caller]
fn refused(bytes: &[u8], code: &str, class: Class, stage: Stage) -> UploadError {
    let host = Host::new();
    let error = host.check(bytes).expect_err(code);
    assert_eq!((error.code(), error.class()), (code, class), "{error}");
    assert_eq!(error.stage(), stage, "{error}");
    assert!(host.registry.is_empty());
    assert!(host.shelf.blobs.lock().expect("ours").is_empty());
    let life = error.transitions("sha256:00", 1);
    let last = life.last().map(|t| t.to);
    assert_eq!(last, Some(State::Rejected), "{error}");
    error
}

#[test]
fn bytes_that_are_no_policy_are_refused_each_by_name() {
    let good = Guest::default().scoring();
    let v = Stage::Validate;
    let no = Class::Unacceptable;
    refused(b"", "NotWasm", Class::NotAComponent, v);
    refused(b"MZ\x90\x00 hello", "NotWasm", Class::NotAComponent, v);
    refused(b"\x7fELF\x02\x01\x01\0", "PrecompiledCode", no, v);
    refused(b"\0asm\x01\0\0\0", "CoreModule", no, v);
    refused(&good[..good.len() / 2], "MalformedComponent", no, v);
    refused(b"\0asm\x0d\0\x01\0", "NoPolicy", no, v);
    let mut large = good;
    large.resize((8 << 20) + 1, 0);
    refused(&large, "ComponentTooLarge", Class::TooLarge, v);
    let future = Guest {
        contract: "0.9.0",
        ..Guest::default()
    };
    let error = refused(&future.scoring(), "UnsupportedContract", no, v);
    assert!(error.to_string().contains("0.9.0"), "{error}");
}

#[test]
fn a_component_that_does_not_say_who_it_is_is_refused() {
    let c = Stage::Compile;
    let no = Class::Unacceptable;
    let nameless = Guest {
        name: "No Name",
        ..Guest::default()
    };
    refused(&nameless.scoring(), "BadDescription", no, c);
    let version = Guest {
        version: "one",
        ..Guest::default()
    };
    refused(&version.scoring(), "BadDescription", no, c);
    let remote = Guest {
        schema: r#"{"$ref":"https://example.com/s.json"}"#,
        ..Guest::default()
    };
    refused(&remote.scoring(), "BadSettingsSchema", no, c);
    let nonsense = Guest {
        schema: r#"{"type":"nonsense"}"#,
        ..Guest::default()
    };
    refused(&nonsense.scoring(), "BadSettingsSchema", no, c);
}

#[test]
fn a_policy_that_breaks_a_law_is_refused_with_the_report() {
    for (score, law) in [
        (STATEFUL, conformance::Law::Statelessness),
        (ABOVE_RANGE, conformance::Law::Answer),
        ("unreachable", conformance::Law::Answer),
        (
            "(loop $for_ever (br $for_ever)) (i32.const 0)",
            conformance::Law::Answer,
        ),
    ] {
        let guest = Guest {
            score,
            ..Guest::default()
        };
        let error = refused(
            &guest.scoring(),
            "NotConformant",
            Class::Unacceptable,
            Stage::Conformance,
        );
        let UploadError::NotConformant { report } = &error else {
            panic!("{error}");
        };
        assert!(report.counts(law).1 > 0, "{score}\n{report}");
        assert!(error.to_string().contains(law.code()), "{error}");
    }
}
