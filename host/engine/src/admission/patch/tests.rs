use super::*;
use model::gang::{GangSpec, RoleSpec};
use model::{GpuRequest, JobKind};

fn gang() -> JobSpec {
    let role = |name: &str, count, gpus| RoleSpec {
        name: name.to_owned(),
        count,
        min: count,
        template: PodSpec {
            gpu: GpuRequest::whole(gpus),
            ..PodSpec::default()
        },
    };
    let mut job = JobSpec {
        id: "train".to_owned(),
        kind: JobKind::Batch,
        replicas: 5,
        gang: Some(GangSpec {
            roles: vec![role("worker", 4, 8), role("a/b~c", 1, 0)],
            topology: None,
            timeout_ms: None,
        }),
        ..JobSpec::default()
    };
    job.meta
        .labels
        .insert("team".to_owned(), "vision".to_owned());
    job
}

fn patch(field: &str, change: Change) -> Patch {
    Patch {
        field: field.to_owned(),
        change,
        reason: "a test".to_owned(),
    }
}

fn set(field: &str, value: &str) -> Patch {
    patch(field, Change::Set(value.to_owned()))
}

fn add(field: &str, value: &str) -> Patch {
    patch(field, Change::Add(value.to_owned()))
}

/// What the patches make of a job.
fn patched(mut job: JobSpec, patches: &[Patch]) -> Result<JobSpec, String> {
    let before = view_of(&job);
    let mut after = before.clone();
    apply(&mut after, patches)?;
    write_back(&mut job, &before, after)?;
    Ok(job)
}

#[test]
fn every_field_reaches_the_job() {
    let job = patched(
        gang(),
        &[
            set("/namespace", "\"ns\""),
            set("/queue", "\"q\""),
            set("/app", "\"app\""),
            set("/priority", "-5"),
            set("/tier", "\"gold\""),
            set("/image", "\"i\""),
            set("/run-as-root", "true"),
            set("/privileged", "true"),
            set("/seccomp", "\"default\""),
            set("/runtime-limit", "7"),
            set("/deadline", "18446744073709551615"),
            set("/labels/x~1y", "\"z\""),
            patch("/labels/team", Change::Remove),
            set("/roles/worker/cpu", "1"),
            set("/roles/worker/memory", "2"),
            set("/roles/worker/disk", "3"),
            set("/roles/worker/network", "4"),
            set("/roles/worker/gpu-count", "1"),
            set("/roles/worker/gpu-milli", "500"),
            set("/roles/worker/gpu-memory", "6"),
            set("/roles/worker/gpu-models", "[\"A100\"]"),
            add("/roles/worker/gpu-models", "\"H100\""),
            set("/roles/worker/count", "9"),
            set("/roles/worker/min", "2"),
            set("/roles/a~1b~0c/cpu", "8"),
        ],
    )
    .unwrap();
    let meta = &job.meta;
    assert_eq!(
        (&*meta.namespace, &*meta.queue, &*meta.tier, &*meta.image),
        ("ns", "q", "gold", "i")
    );
    assert_eq!((&*job.template.app, job.template.priority), ("app", -5));
    assert!(meta.run_as_root && meta.privileged);
    assert_eq!(meta.seccomp.as_deref(), Some("default"));
    assert_eq!(
        (meta.runtime_limit_ms, meta.deadline_ms),
        (Some(7), Some(u64::MAX))
    );
    assert_eq!(
        Vec::from_iter(&meta.labels),
        [(&"x/y".to_owned(), &"z".to_owned())]
    );
    let roles = &job.gang.as_ref().unwrap().roles;
    assert_eq!((roles[0].count, roles[0].min, job.replicas), (9, 2, 10));
    let pod = &roles[0].template;
    let r = pod.requests;
    assert_eq!(
        (r.cpu_milli, r.memory_mib, r.disk_mib, r.network_mbps),
        (1, 2, 3, 4)
    );
    assert_eq!(
        (pod.gpu.count, pod.gpu.milli, pod.gpu.memory_mib),
        (1, 500, 6)
    );
    assert_eq!(pod.gpu.models, ["A100", "H100"]);
    assert_eq!(roles[1].template.requests.cpu_milli, 8);
}

#[test]
fn nothing_changes_by_looking() {
    assert_eq!(patched(gang(), &[]), Ok(gang()));
    let mut job = gang();
    job.gang = None;
    assert_eq!(patched(job.clone(), &[]), Ok(job.clone()));
    let scaled = patched(job, &[set("/roles/main/count", "7")]).unwrap();
    assert_eq!(scaled.replicas, 7);
}

#[test]
fn add_leaves_a_value_alone() {
    for kept in [
        add("/labels/team", "\"speech\""),
        add("/roles/worker/gpu-count", "1"),
        add("/roles/worker/count", "1"),
    ] {
        assert_eq!(
            patched(gang(), std::slice::from_ref(&kept)),
            Ok(gang()),
            "{kept:?}"
        );
    }
    let job = patched(gang(), &[add("/deadline", "3"), add("/priority", "4")]).unwrap();
    assert_eq!((job.meta.deadline_ms, job.template.priority), (Some(3), 4));
}

#[test]
fn everything_else_is_refused() {
    let refused = |p: Patch| patched(gang(), &[p]).unwrap_err();
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
        "/roles/worker/",
        "/roles/worker/cpu/",
        "/roles/boss~/cpu",
    ] {
        let error = refused(set(field, "\"x\""));
        assert!(error.contains("is not a field"), "{field}: {error}");
    }
    assert!(refused(set("/roles/boss/cpu", "1")).contains("names a role"));
    for (field, value) in [
        ("/tier", "1"),
        ("/tier", "x"),
        ("/priority", "\"1\""),
        ("/priority", "2147483648"),
        ("/deadline", "-1"),
        ("/deadline", "1.0"),
        ("/run-as-root", "1"),
        ("/seccomp", "null"),
        ("/roles/worker/cpu", "-1"),
        ("/roles/worker/count", "4294967296"),
        ("/roles/worker/gpu-models", "[1]"),
        ("/roles/worker/gpu-models", "\"A\""),
    ] {
        let error = refused(set(field, value));
        assert!(error.contains("takes"), "{field} {value}: {error}");
    }
    assert!(refused(patch("/tier", Change::Remove)).contains("use `set`"));
    assert!(refused(add("/privileged", "true")).contains("use `set`"));
    let many = vec![add("/priority", "1"); PATCHES_MAX + 1];
    assert!(patched(gang(), &many).unwrap_err().contains("at most"));
    let mut job = gang();
    job.gang = None;
    let min = patched(job, &[set("/roles/main/min", "2")]).unwrap_err();
    assert!(min.contains("one by one"), "{min}");
}

#[test]
fn no_list_of_patches_changes_its_own_result() {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut below = |n: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    };
    let fields = [
        ("/tier", ["\"\"", "\"a\"", "\"b\""]),
        ("/priority", ["0", "1", "-1"]),
        ("/run-as-root", ["true", "false", "true"]),
        ("/seccomp", ["\"\"", "\"a\"", "\"b\""]),
        ("/deadline", ["0", "1", "2"]),
        ("/labels/team", ["\"\"", "\"a\"", "\"b\""]),
        ("/labels/zone", ["\"\"", "\"a\"", "\"b\""]),
        ("/roles/worker/count", ["0", "1", "2"]),
        ("/roles/worker/cpu", ["0", "1", "2"]),
        (
            "/roles/worker/gpu-models",
            ["\"A\"", "\"B\"", "[\"A\",\"C\"]"],
        ),
    ];
    let (mut applied, mut changed) = (0, 0);
    for _ in 0..20_000 {
        let list: Vec<Patch> = (0..1 + below(5))
            .map(|_| {
                let (field, values) = fields[below(fields.len())];
                let value = values[below(3)].to_owned();
                let change = match below(3) {
                    0 => Change::Set(value),
                    1 => Change::Add(value),
                    _ => Change::Remove,
                };
                patch(field, change)
            })
            .collect();
        let before = view_of(&gang());
        let mut once = before.clone();
        if apply(&mut once, &list).is_err() {
            continue;
        }
        applied += 1;
        changed += usize::from(once != before);
        let mut twice = once.clone();
        assert_eq!(apply(&mut twice, &list), Ok(()), "{list:?}");
        assert_eq!(once, twice, "{list:?}");
    }
    assert!(applied > 2_000 && changed > 1_000, "{applied} {changed}");
}
