use super::*;
use crate::testing::TestJob;

fn job() -> Job {
    TestJob::new("train")
        .label("team", "vision")
        .role("worker", 4)
        .cpu(8_000)
        .gpus(8)
        .role("a/b~c", 1)
        .done()
}

/// What one patch makes of the job: `field change value` to one line.
fn check(patch: Patch, expect: impl Fn(&mut Job)) {
    let before = job();
    let after = apply(&before, std::slice::from_ref(&patch)).unwrap();
    let field = Field::parse(&patch.field).unwrap();
    assert_eq!(field.same(&before, &after), before == after, "{patch:?}");
    let mut expected = before;
    expect(&mut expected);
    assert_eq!(after, expected, "{patch:?}");
    let again = apply(&after, std::slice::from_ref(&patch)).unwrap();
    assert_eq!(again, after, "{patch:?} is not idempotent");
}

fn refused(patch: Patch) -> String {
    apply(&job(), &[patch]).unwrap_err().to_string()
}

#[test]
fn set_gives_a_value() {
    check(Patch::set("/namespace", "x", ""), |j| {
        j.namespace = "x".into();
    });
    check(Patch::set("/queue", "x", ""), |j| j.queue = "x".into());
    check(Patch::set("/app", "x", ""), |j| j.app = "x".into());
    check(Patch::set("/tier", "x", ""), |j| j.tier = "x".into());
    check(Patch::set("/image", "x", ""), |j| j.image = "x".into());
    check(Patch::set("/priority", -5, ""), |j| j.priority = -5);
    check(Patch::set("/run-as-root", true, ""), |j| {
        j.run_as_root = true;
    });
    check(Patch::set("/privileged", true, ""), |j| j.privileged = true);
    check(Patch::set("/seccomp", "x", ""), |j| {
        j.seccomp = Some("x".into());
    });
    check(Patch::set("/deadline", u64::MAX, ""), |j| {
        j.deadline = Some(u64::MAX);
    });
    check(Patch::set("/runtime-limit", 7, ""), |j| {
        j.runtime_limit = Some(7);
    });
    check(Patch::set("/labels/team", "speech", ""), |j| {
        j.labels[0].value = "speech".into();
    });
    check(Patch::set("/labels/x~1y", "z", ""), |j| {
        j.labels.push(Label {
            key: "x/y".into(),
            value: "z".into(),
        });
    });
}

#[test]
fn set_reaches_every_field_of_a_role() {
    let set = |field: &str, value: i64| Patch::set(&format!("/roles/worker/{field}"), value, "");
    check(set("count", 9), |j| j.roles[0].count = 9);
    check(set("min", 9), |j| j.roles[0].min = 9);
    check(set("cpu", 9), |j| j.roles[0].cpu = 9);
    check(set("memory", 9), |j| j.roles[0].memory = 9);
    check(set("disk", 9), |j| j.roles[0].disk = 9);
    check(set("network", 9), |j| j.roles[0].network = 9);
    check(set("gpu-count", 9), |j| j.roles[0].gpu_count = 9);
    check(set("gpu-milli", 9), |j| j.roles[0].gpu_milli = 9);
    check(set("gpu-memory", 9), |j| j.roles[0].gpu_memory = 9);
    let models = Patch::set("/roles/worker/gpu-models", vec!["A100", "H100"], "");
    check(models, |j| {
        j.roles[0].gpu_models = vec!["A100".into(), "H100".into()];
    });
    check(Patch::set("/roles/a~1b~0c/cpu", 1, ""), |j| {
        j.roles[1].cpu = 1;
    });
}

#[test]
fn add_leaves_a_value_alone() {
    let unchanged = |_: &mut Job| ();
    check(Patch::add("/labels/team", "speech", ""), unchanged);
    check(Patch::add("/roles/worker/cpu", 1, ""), unchanged);
    check(Patch::add("/roles/worker/disk", 1, ""), |j| {
        j.roles[0].disk = 1;
    });
    check(Patch::add("/priority", 3, ""), |j| j.priority = 3);
    check(Patch::add("/seccomp", "x", ""), unchanged);
    check(Patch::add("/deadline", 3, ""), |j| j.deadline = Some(3));
    check(Patch::add("/labels/new", "x", ""), |j| {
        j.labels.push(Label {
            key: "new".into(),
            value: "x".into(),
        });
    });
    check(Patch::add("/roles/worker/gpu-models", "H100", ""), |j| {
        j.roles[0].gpu_models = vec!["H100".into()];
    });
}

#[test]
fn remove_takes_away_what_may_be_absent() {
    check(Patch::remove("/labels/team", ""), |j| j.labels.clear());
    check(Patch::remove("/labels/none", ""), |_| ());
    check(Patch::remove("/seccomp", ""), |j| j.seccomp = None);
    check(Patch::remove("/roles/worker/gpu-models", ""), |_| ());
    let refusal = "`/tier` always has a value: use `set`";
    assert_eq!(refused(Patch::remove("/tier", "")), refusal);
    assert!(refused(Patch::add("/privileged", true, "")).contains("use `set`"));
}

#[test]
fn everything_else_is_refused() {
    for field in [
        "",
        "tier",
        "/",
        "/id",
        "/kind",
        "/labels",
        "/labels/",
        "/labels/a~2",
        "/labels/a/b",
        "/roles",
        "/roles/worker",
        "/roles/worker/name",
        "/roles/worker/cpu/x",
    ] {
        let error = refused(Patch::set(field, "x", ""));
        assert!(error.contains("is not a field"), "{field}: {error}");
    }
    assert!(refused(Patch::set("/roles/boss/cpu", 1, "")).contains("names a role"));
    for (field, value) in [
        ("/tier", "1"),
        ("/priority", "\"1\""),
        ("/priority", "2147483648"),
        ("/deadline", "-1"),
        ("/deadline", "1.0"),
        ("/run-as-root", "1"),
        ("/seccomp", "null"),
        ("/roles/worker/cpu", "-1"),
        ("/roles/worker/count", "4294967296"),
        ("/roles/worker/gpu-models", "[1]"),
        ("/tier", "no json"),
    ] {
        let patch = Patch {
            field: field.into(),
            change: Change::Set(value.into()),
            reason: String::new(),
        };
        if let Ok(value) = json::parse(value) {
            assert!(Field::parse(field).unwrap().check(&value).is_err());
        }
        let error = refused(patch);
        assert!(error.contains(" takes "), "{field} {value}: {error}");
    }
}

#[test]
fn values_are_checked_without_a_job() {
    let role = Field::Role("any".into(), RoleField::GpuModels);
    assert_eq!(role.check(&Value::from(vec!["H100"])), Ok(()));
    assert!(role.check(&Value::from("H100")).is_err());
    assert_eq!(Field::Priority.check(&Value::from(-1)), Ok(()));
}

#[test]
fn pointers_come_back() {
    let fields = PLAIN.iter().map(|(_, f)| f.clone()).chain(
        OF_ROLE
            .iter()
            .map(|(_, f)| Field::Role("a/~1".into(), *f))
            .chain([Field::Label("~/~0".into())]),
    );
    for field in fields {
        assert_eq!(Field::parse(&field.pointer()), Some(field));
    }
}
