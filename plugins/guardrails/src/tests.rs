use super::*;
use loadmaster_sdk::admission::{Job, Verdict, native};
use loadmaster_sdk::testing::{TestJob, TestReview, check_settings_schema};

const HOUR: u64 = 3_600_000;

/// A batch job that no rule has anything against.
fn good() -> TestJob {
    TestJob::new("train")
        .label("owner", "vision")
        .runtime_limit(HOUR)
}

/// A review whose catalogues know the image.
fn create(job: TestJob) -> TestReview {
    TestReview::create(job.done()).image_age(1, 1)
}

fn update(old: TestJob, object: TestJob) -> TestReview {
    TestReview::update(old.done(), object.done()).image_age(1, 1)
}

fn codes(findings: &[Finding]) -> String {
    let code = |f: &Finding| format!(" {}@{}", f.code, f.field);
    findings.iter().map(code).collect()
}

/// The answer in one line: `allow`, or `deny CODE@FIELD ..`, then `warn ..`.
fn answer(settings: &str, review: &Review) -> String {
    let policy = native::<Guardrails>(settings).unwrap();
    let validation = policy.validate(review);
    assert_eq!(validation, policy.validate(review), "the same answer twice");
    let mut line = match &validation.verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Abstain => "abstain".to_owned(),
        Verdict::Deny(findings) => {
            assert!(!findings.is_empty());
            format!("deny{}", codes(findings))
        }
    };
    if !validation.warnings.is_empty() {
        line += &format!(" warn{}", codes(&validation.warnings));
    }
    line
}

#[track_caller]
fn check(settings: &str, review: TestReview, expect: &str) {
    assert_eq!(answer(settings, &review.done()), expect, "{settings}");
}

fn message(settings: &str, review: TestReview) -> String {
    let policy = native::<Guardrails>(settings).unwrap();
    match policy.validate(&review.done()).verdict {
        Verdict::Deny(findings) => findings[0].message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_job_enters() {
    check("{}", create(good()), "allow");
    check("{}", create(good().service()), "allow");
}

#[test]
fn somebody_owns_it() {
    let nobody = || create(TestJob::new("train").runtime_limit(HOUR));
    check("{}", nobody(), "deny OwnerMissing@/labels/owner");
    check("{}", nobody().owner("vision"), "allow");
    check("{}", nobody().owner(" "), "deny OwnerMissing@/labels/owner");
    let warn = r#"{"owner":{"mode":"warn"}}"#;
    check(warn, nobody(), "allow warn OwnerMissing@/labels/owner");
    check(r#"{"owner":{"mode":"off"}}"#, nobody(), "allow");
    let team = r#"{"owner":{"label":"example.com/team"}}"#;
    check(
        team,
        nobody(),
        "deny OwnerMissing@/labels/example.com~1team",
    );
    check(
        team,
        create(good().label("example.com/team", "vision")),
        "allow",
    );
}

#[test]
fn tiers_are_allowed_and_those_of_the_catalogue() {
    let allowed = r#"{"tier":{"allowed":["critical","flex"]}}"#;
    check(allowed, create(good().tier("flex")), "allow");
    check(allowed, create(good()), "deny TierNotAllowed@/tier");
    check(
        allowed,
        create(good().tier("gold")),
        "deny TierNotAllowed@/tier",
    );
    let catalog = r#"{"tier":{"catalog":true}}"#;
    let critical = || create(good().tier("critical"));
    check(catalog, critical().tier("critical"), "allow");
    check(catalog, critical().tier("flex"), "deny TierMismatch@/tier");
    check(catalog, critical(), "allow warn TierUnknown@/tier");
    check(catalog, create(good()).tier("flex"), "allow");
}

#[test]
fn unknown_facts_count_as_set_but_never_more_than_their_rule() {
    let review = || TestReview::create(good().done());
    let both = "ImageAgeUnknown@/image BaseImageAgeUnknown@/image";
    check("{}", review(), &format!("allow warn {both}"));
    check(r#"{"unknown":"allow"}"#, review(), "allow");
    check(r#"{"unknown":"deny"}"#, review(), &format!("deny {both}"));
    check(
        r#"{"unknown":"deny","image-age":{"mode":"warn"},"base-image-age":{"mode":"off"}}"#,
        review(),
        "allow warn ImageAgeUnknown@/image",
    );
}

#[test]
fn namespaces_ask_for_certificates() {
    let settings = r#"{"compliance":{"required":[
        {"namespace-prefix":"pay-","tags":["pci","sox"]},
        {"namespace-prefix":"pay-eu","tags":["gdpr"]}]}}"#;
    let pay = |ns: &str| create(good().namespace(ns));
    check(settings, pay("play-pay-"), "allow");
    check(settings, pay("pay-us").compliance(&["sox", "pci"]), "allow");
    check(
        settings,
        pay("pay-us").compliance(&["pci"]),
        "deny ComplianceMissing@/app",
    );
    check(
        settings,
        pay("pay-eu").compliance(&["pci"]),
        "deny ComplianceMissing@/app ComplianceMissing@/app",
    );
    let text = message(settings, pay("pay-us").compliance(&["pci"]));
    assert!(text.contains("`sox`"), "{text}");
}

#[test]
fn root_privileged_and_seccomp_have_exemptions() {
    let bad = || good().run_as_root().privileged().seccomp(None);
    check(
        "{}",
        create(bad()),
        "deny RunsAsRoot@/run-as-root Privileged@/privileged warn SeccompMissing@/seccomp",
    );
    let by_group = r#"{"root":{"exempt-groups":["ops"]},"privileged":{"exempt-groups":["ops"]},
        "seccomp":{"exempt-groups":["sec"]}}"#;
    check(
        by_group,
        create(bad()).caller("ada", &["dev", "ops"]),
        "allow warn SeccompMissing@/seccomp",
    );
    check(
        by_group,
        create(bad()).caller("ops", &["dev"]),
        "deny RunsAsRoot@/run-as-root Privileged@/privileged warn SeccompMissing@/seccomp",
    );
    let by_namespace = r#"{"root":{"exempt-namespaces":["system"]},
        "privileged":{"exempt-namespaces":["system"]},"seccomp":{"mode":"off"}}"#;
    check(by_namespace, create(bad().namespace("system")), "allow");
    check(
        by_namespace,
        create(bad().namespace("system-2")),
        "deny RunsAsRoot@/run-as-root Privileged@/privileged",
    );
    let text = message(by_group, create(good().run_as_root()));
    assert!(
        text.ends_with("or have it submitted by group `ops`"),
        "{text}"
    );
}

#[test]
fn seccomp_profiles_are_those_allowed() {
    let with = |profile| create(good().seccomp(Some(profile)));
    let wrong = "deny SeccompNotAllowed@/seccomp";
    let any = r#"{"seccomp":{"mode":"deny"}}"#;
    check(any, with("localhost/mine"), "allow");
    check(any, with("unconfined"), wrong);
    check(any, with(""), "deny SeccompMissing@/seccomp");
    let one = r#"{"seccomp":{"mode":"deny","allowed":["runtime/default"]}}"#;
    check(one, with("runtime/default"), "allow");
    check(one, with("localhost/mine"), wrong);
    let all = r#"{"seccomp":{"mode":"deny","allowed":["unconfined"]}}"#;
    check(all, with("unconfined"), "allow");
}

#[test]
fn images_are_signed_by_somebody_trusted() {
    let any = r#"{"signature":{"mode":"deny"}}"#;
    check(any, create(good()), "deny ImageUnsigned@/image");
    check(any, create(good()).signed_by(&["me"]), "allow");
    let one = r#"{"signature":{"mode":"deny","trusted":["ci","release"]}}"#;
    check(one, create(good()), "deny ImageUnsigned@/image");
    check(one, create(good()).signed_by(&["me", "release"]), "allow");
    let wrong = "deny ImageSignerNotTrusted@/image";
    check(one, create(good()).signed_by(&["me"]), wrong);
    check(any, create(good().image("")), "deny ImageMissing@/image");
}

#[test]
fn old_images_are_told_first_and_refused_later() {
    let settings = r#"{"image-age":{"warn-hours":10,"deny-hours":20},
        "base-image-age":{"warn-hours":0,"deny-hours":30}}"#;
    let aged = |image, base| create(good()).image_age(image, base);
    check(settings, aged(10, 30), "allow");
    check(settings, aged(11, 30), "allow warn ImageTooOld@/image");
    check(settings, aged(20, 0), "allow warn ImageTooOld@/image");
    check(settings, aged(21, 0), "deny ImageTooOld@/image");
    check(settings, aged(0, 31), "deny BaseImageTooOld@/image");
    let warn = r#"{"image-age":{"mode":"warn","deny-hours":20}}"#;
    check(warn, aged(21, 0), "allow warn ImageTooOld@/image");
    let never = r#"{"image-age":{"warn-hours":0,"deny-hours":0}}"#;
    check(never, aged(u32::MAX, 0), "allow");
    let none = create(good().image("")).image_age(99, 99);
    check(settings, none, "allow");
}

#[test]
fn images_can_have_to_be_pinned() {
    let settings = r#"{"pinned":{"mode":"deny"}}"#;
    let wrong = "deny ImageNotPinned@/image";
    check(settings, create(good()), "allow");
    let digest = "0123456789abcdef".repeat(4);
    for (image, expect) in [
        (format!("a/b@sha256:{digest}"), "allow"),
        (format!("a/b:1@sha256:{digest}"), "allow"),
        (format!("@sha256:{digest}"), wrong),
        (format!("a/b@sha256:{}", &digest[1..]), wrong),
        (format!("a/b@sha256:{digest}0"), wrong),
        (format!("a/b@sha256:{}", digest.to_uppercase()), wrong),
        ("a/b:latest".to_owned(), wrong),
    ] {
        check(settings, create(good().image(&image)), expect);
    }
    check("{}", create(good().image("a/b:latest")), "allow");
}

#[test]
fn requests_are_named_and_in_proportion() {
    let roles = || good().role("a", 1).cpu(0).role("b/c", 1).memory(0);
    check(
        "{}",
        create(roles()),
        "deny CpuMissing@/roles/a/cpu MemoryMissing@/roles/b~1c/memory",
    );
    let gpus = |n, cpu, memory| create(good().role("w", 1).gpus(n).cpu(cpu).memory(memory));
    check("{}", gpus(2, 64_000, 524_288), "allow");
    check(
        "{}",
        gpus(2, 64_001, 1),
        "allow warn CpuPerGpu@/roles/w/cpu",
    );
    check(
        "{}",
        gpus(2, 1, 524_289),
        "allow warn MemoryPerGpu@/roles/w/memory",
    );
    let share = |milli, cpu| create(good().role("w", 1).gpu_share(milli).cpu(cpu));
    check("{}", share(333, 10_656), "allow");
    check(
        "{}",
        share(333, 10_657),
        "allow warn CpuPerGpu@/roles/w/cpu",
    );
    let least = r#"{"gpu-ratio":{"mode":"deny","cpu-min":4000,"cpu-max":0}}"#;
    check(least, gpus(8, 31_999, 1), "deny CpuPerGpu@/roles/w/cpu");
    check(least, gpus(8, 96_000, 1), "allow");
}

#[test]
fn pods_jobs_and_priorities_have_limits() {
    let wide = |cpu, gpus| create(good().role("w", 1).gpus(gpus).cpu(cpu));
    check("{}", wide(96_000, 16), "allow");
    check(
        "{}",
        wide(96_001, 17),
        "deny PodTooLarge@/roles/w/cpu PodTooLarge@/roles/w/gpu-count",
    );
    let disk = r#"{"pod-size":{"disk":100}}"#;
    let job = create(good().role("w", 1).disk(101));
    check(disk, job, "deny PodTooLarge@/roles/w/disk");

    let many = |a, b| good().role("a", a).role("b", b);
    check("{}", create(many(999, 1)), "allow");
    check("{}", create(many(1_000, 1)), "deny TooManyPods@/roles");
    check("{}", create(many(9_999, 1).service()), "allow");
    check(
        "{}",
        create(many(u32::MAX, u32::MAX).service()),
        "deny TooManyPods@/roles",
    );

    let wrong = "deny PriorityOutOfRange@/priority";
    check("{}", create(good().priority(1_000_000_000)), "allow");
    check("{}", create(good().priority(i32::MIN)), wrong);
    let settings = r#"{"priority":{"max":0,"ranges":[{"namespace-prefix":"p","max":10},
        {"namespace-prefix":"prod-","min":5,"max":100}]}}"#;
    let of = |ns: &str, priority| create(good().namespace(ns).priority(priority));
    check(settings, of("dev", 0), "allow");
    check(settings, of("dev", 1), wrong);
    check(settings, of("play", 10), "allow");
    check(settings, of("play", 11), wrong);
    check(settings, of("prod-1", 100), "allow");
    check(settings, of("prod-1", 4), wrong);
}

#[test]
fn batch_jobs_end() {
    let endless = || TestJob::new("train").label("owner", "vision");
    let missing = "allow warn RuntimeLimitMissing@/runtime-limit";
    check("{}", create(endless()), missing);
    check("{}", create(endless().runtime_limit(0)), missing);
    check("{}", create(endless().service()), "allow");
    let day = r#"{"runtime-limit":{"mode":"deny","max-hours":24}}"#;
    check(day, create(endless().runtime_limit(24 * HOUR)), "allow");
    check(
        day,
        create(endless().runtime_limit(24 * HOUR + 1)),
        "deny RuntimeLimitTooLong@/runtime-limit",
    );
    let any = r#"{"runtime-limit":{"max-hours":0}}"#;
    check(any, create(endless().runtime_limit(u64::MAX)), "allow");
}

#[test]
fn deleting_is_never_denied() {
    let worst = TestJob::new("x").privileged().role("w", 0).cpu(0);
    let review = TestReview::delete(worst.done());
    check(r#"{"unknown":"deny"}"#, review, "abstain");
}

#[test]
fn an_edit_answers_for_what_it_touches() {
    let old = || good().privileged().role("a", 1).cpu(0).role("b", 1);
    let both = "deny Privileged@/privileged CpuMissing@/roles/a/cpu";
    check("{}", create(old()), both);
    check("{}", update(old(), old()), "allow");
    check("{}", update(old(), old().priority(3)), "allow");
    check("{}", update(old(), old().label("x", "y")), "allow");
    let strict = r#"{"judge-unchanged":true}"#;
    check(strict, update(old(), old()), both);
    // Introduced.
    check(
        "{}",
        update(old(), old().run_as_root()),
        "deny RunsAsRoot@/run-as-root",
    );
    // Touched: another field of the same role.
    let touched = good()
        .privileged()
        .role("a", 1)
        .cpu(0)
        .memory(7)
        .role("b", 1);
    check("{}", update(old(), touched), "deny CpuMissing@/roles/a/cpu");
    // Moved: everything counts.
    check("{}", update(old(), old().namespace("else")), both);
    // Made better is still touched.
    let many = |n| good().role("a", n);
    let over = "deny TooManyPods@/roles";
    check("{}", update(many(3_000), many(2_000)), over);
    check("{}", update(many(3_000), many(3_000).priority(1)), "allow");
}

#[test]
fn an_edit_that_makes_a_warning_a_denial_answers_for_it() {
    // The same code and field: the severity is what is new.
    let settings = r#"{"image-age":{"warn-hours":10,"deny-hours":20}}"#;
    let image = |name: &str| good().image(name);
    let old_image = update(image("a"), image("b")).image_age(30, 0);
    check(settings, old_image, "deny ImageTooOld@/image");
    let same = update(image("a"), image("a").priority(1)).image_age(30, 0);
    check(settings, same, "allow");
}

/// A seeded generator; the jobs it makes break every rule now and then.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn job(&mut self) -> Job {
        let namespaces = ["default", "pay-a", "system", "prod-x"];
        let mut job = TestJob::new("train").namespace(namespaces[self.below(4) as usize]);
        for (key, chance) in [("owner", 2), ("a", 2), ("b", 2), ("c", 2)] {
            if self.below(chance) == 0 {
                job = job.label(key, "x");
            }
        }
        if self.below(4) == 0 {
            job = job.run_as_root();
        }
        if self.below(4) == 0 {
            job = job.privileged().seccomp(None);
        }
        if self.below(3) == 0 {
            job = job.runtime_limit(self.below(3) * 1_000 * HOUR);
        }
        if self.below(3) == 0 {
            job = job.service().image("a:latest");
        }
        for role in 0..self.below(4) {
            job = job
                .role(&format!("r{role}"), self.below(1_500) as u32)
                .cpu(self.below(3) as i64 * 60_000)
                .memory(self.below(3) as i64 * 300_000)
                .gpus(self.below(3) as u32);
        }
        job.priority(self.below(3) as i32 * 600_000_000).done()
    }

    fn review(&mut self) -> Review {
        let (object, old) = (self.job(), self.job());
        let mut review = match self.below(3) {
            0 => TestReview::create(object),
            1 => TestReview::update(object.clone(), object),
            _ => TestReview::update(old, object),
        };
        if self.below(2) == 0 {
            let age = |r: &mut Self| r.below(10_000) as u32;
            review = review.image_age(age(self), age(self));
        }
        if self.below(2) == 0 {
            review = review.compliance(&["pci"]).caller("ada", &["ops"]);
        }
        review.done()
    }
}

const EVERYTHING: &str = r#"{"unknown":"deny","seccomp":{"mode":"deny"},"pinned":{"mode":"warn"},
    "signature":{"mode":"warn"},"runtime-limit":{"mode":"deny"},"root":{"exempt-groups":["ops"]},
    "tier":{"allowed":["flex"]},
    "compliance":{"required":[{"namespace-prefix":"pay-","tags":["pci"]}]}}"#;

#[test]
fn order_of_labels_changes_nothing() {
    let mut rng = Rng(1);
    let mut denied = 0;
    for _ in 0..2_000 {
        let review = rng.review();
        let expect = answer(EVERYTHING, &review);
        denied += usize::from(expect.starts_with("deny"));
        let mut turned = review.clone();
        turned.object.labels.reverse();
        if let Some(old) = &mut turned.old {
            old.labels.reverse();
        }
        assert_eq!(answer(EVERYTHING, &turned), expect, "{review:?}");
    }
    assert!((1_000..1_999).contains(&denied), "{denied} of 2000 denied");
}

#[test]
fn an_edit_is_judged_no_harder_than_a_new_job() {
    let mut rng = Rng(2);
    let split = |line: String| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    for _ in 0..2_000 {
        let mut review = rng.review();
        let edited = split(answer(EVERYTHING, &review));
        let unchanged = review.old.as_ref() == Some(&review.object);
        assert!(!unchanged || edited == ["allow"], "{edited:?}");
        review.operation = Operation::Create;
        let new = split(answer(EVERYTHING, &review));
        let finding = |w: &&String| w.contains('@');
        for word in edited.iter().filter(finding) {
            assert!(new.contains(word), "{word} of {edited:?} not in {new:?}");
        }
    }
}

#[test]
fn a_weaker_mode_never_adds_a_denial() {
    let weaker = EVERYTHING.replace("deny", "warn");
    let mut rng = Rng(3);
    for _ in 0..1_000 {
        let review = rng.review();
        let (strict, weak) = (answer(EVERYTHING, &review), answer(&weaker, &review));
        assert!(weak.starts_with("allow") || strict.starts_with("deny"));
        let count = |line: &str| line.matches('@').count();
        assert_eq!(count(&strict), count(&weak), "{strict} / {weak}");
    }
}

#[test]
fn every_message_says_what_to_do() {
    let policy = native::<Guardrails>(EVERYTHING).unwrap();
    let mut rng = Rng(4);
    let verbs = [
        "set ",
        "add ",
        "use ",
        "say ",
        "split ",
        "register ",
        "build ",
        "publish ",
    ]
    .into_iter()
    .chain(["have ", "make ", "name it", "ask for"]);
    let verbs: Vec<&str> = verbs.collect();
    for _ in 0..1_000 {
        let validation = policy.validate(&rng.review());
        let mut findings = validation.warnings;
        if let Verdict::Deny(denials) = validation.verdict {
            findings.extend(denials);
        }
        for f in findings {
            assert!(verbs.iter().any(|v| f.message.contains(v)), "{f:?}");
            assert!(!f.code.is_empty() && f.field.starts_with('/'), "{f:?}");
        }
    }
}

#[test]
fn settings_and_schema_agree() {
    check_settings_schema(
        include_str!("../settings.schema.json"),
        Guardrails::configure,
    );
    let error = Guardrails::configure(r#"{"priority":{"ranges":[{"min":2,"max":1}]}}"#);
    assert_eq!(
        error.unwrap_err(),
        "`priority.ranges[0].min` is 2, above `priority.ranges[0].max` with 1"
    );
    let long = format!(
        r#"{{"signature":{{"trusted":[{}"x"]}}}}"#,
        r#""x","#.repeat(256)
    );
    assert!(Guardrails::configure(&long).is_err());
    assert!(Guardrails::configure(r#"{"owner":{"label":""}}"#).is_err());
}
