use super::*;
use loadmaster_sdk::admission::{Change, Job, apply, native};
use loadmaster_sdk::testing::{TestJob, TestReview, check_mutation, check_settings_schema};

/// The job as these rules (the inside of the list) would have it; the laws of
/// mutation are checked on the way, and that nothing is left to do.
fn mutate(rules: &str, job: Job) -> Job {
    let policy = native::<Defaults>(&format!(r#"{{"rules":[{rules}]}}"#)).unwrap();
    let result = check_mutation(&policy, &TestReview::create(job).done());
    let again = policy.mutate(&TestReview::create(result.clone()).done());
    assert_eq!(again, [], "nothing is left to do");
    result
}

fn patches(rules: &str, job: &Job) -> Vec<Patch> {
    let policy = native::<Defaults>(&format!(r#"{{"rules":[{rules}]}}"#)).unwrap();
    policy.mutate(&TestReview::create(job.clone()).done())
}

/// A rule with this inside.
fn rule(id: &str, inside: &str) -> String {
    format!(r#"{{"id":"{id}","version":1,"reason":"because",{inside}}}"#)
}

fn refused(rules: &str) -> String {
    Defaults::configure(&format!(r#"{{"rules":[{rules}]}}"#)).unwrap_err()
}

#[test]
fn what_is_absent_is_filled_in() {
    let rules = rule(
        "a",
        r#""set":{"/runtime-limit":5,"/tier":"flex","/labels/x~1y":"z","/roles/w/gpu-models":["H100"],
        "/roles/*/disk":7,"/roles/none/cpu":9}"#,
    );
    let job = TestJob::new("train").role("w", 2).role("v", 1).disk(3);
    let result = mutate(&rules, job.clone().done());
    assert_eq!(result.runtime_limit, Some(5));
    assert_eq!(result.tier, "flex");
    assert_eq!(result.label("x/y"), Some("z"));
    assert_eq!(result.roles[0].gpu_models, ["H100"]);
    assert_eq!((result.roles[0].disk, result.roles[1].disk), (7, 3));

    let given = job
        .runtime_limit(1)
        .tier("critical")
        .label("x/y", "")
        .done();
    let result = mutate(&rules, given);
    assert_eq!(result.runtime_limit, Some(1));
    assert_eq!(result.tier, "critical");
    assert_eq!(result.label("x/y"), Some(""), "an empty label is a label");
}

#[test]
fn force_replaces() {
    let rules = rule(
        "a",
        r#""force":true,"set":{"/run-as-root":false,"/tier":"flex","/roles/*/gpu-models":[]}"#,
    );
    let job = TestJob::new("x").run_as_root().tier("critical");
    let result = mutate(&rules, job.role("w", 1).gpu_models(&["A100"]).done());
    assert!(!result.run_as_root && result.roles[0].gpu_models.is_empty());
    assert_eq!(result.tier, "flex");
    let settled = patches(&rules, &result);
    assert_eq!(settled, [], "what is right is not patched");
}

#[test]
fn reasons_name_rule_version_and_bucket() {
    let job = TestJob::new("x").namespace("vision").done();
    let rules = r#"{"id":"shm","version":7,"reason":"why not","set":{"/tier":"flex"}}"#;
    let patches = patches(rules, &job);
    assert_eq!(patches.len(), 1);
    let bucket = rollout::bucket("shm", "vision");
    assert_eq!(
        patches[0].reason,
        format!("shm@7: why not (bucket {bucket} of 100, rolled out below 100)")
    );
    assert_eq!(patches[0].change, Change::Add("\"flex\"".into()));
}

#[test]
fn conditions_have_to_hold() {
    let tier = |when: &str, job: TestJob| {
        let inside = format!(r#""when":{when},"set":{{"/queue":"q"}},"force":true"#);
        mutate(&rule("a", &inside), job.done()).queue == "q"
    };
    let job = || TestJob::new("x").namespace("vision-1").tier("flex");
    assert!(tier("{}", job()));
    assert!(tier(r#"{"kind":"batch"}"#, job()));
    assert!(!tier(r#"{"kind":"service"}"#, job()));
    assert!(tier(r#"{"kind":"service"}"#, job().service()));
    assert!(tier(r#"{"namespaces":["x","vision-*"]}"#, job()));
    assert!(!tier(r#"{"namespaces":["x","vision"]}"#, job()));
    assert!(tier(r#"{"tiers":["fl*"],"kind":"any"}"#, job()));
    assert!(!tier(r#"{"tiers":["critical"]}"#, job()));
    let labels = r#"{"labels":{"team":"v*","stage":"*"}}"#;
    assert!(!tier(labels, job().label("team", "vision")));
    let both = job().label("stage", "").label("team", "vision");
    assert!(tier(labels, both));
    assert!(!tier(labels, job().label("stage", "x").label("team", "w")));
}

#[test]
fn gpus_are_asked_of_each_role() {
    let mixed = || TestJob::new("x").role("w", 1).gpus(8).role("ps", 1).done();
    let of = |gpu: &str| {
        let inside = format!(r#""when":{{"gpu":"{gpu}"}},"set":{{"/roles/*/disk":7,"/tier":"t"}}"#);
        let job = mutate(&rule("a", &inside), mixed());
        (job.roles[0].disk, job.roles[1].disk, job.tier)
    };
    assert_eq!(of("any"), (7, 7, "t".into()));
    assert_eq!(of("yes"), (7, 0, "t".into()));
    assert_eq!(of("no"), (0, 7, String::new()), "the job has GPUs");
}

#[test]
fn later_rules_see_earlier_ones_and_have_the_last_word() {
    let flex = rule("flex", r#""set":{"/tier":"flex"}"#);
    let cheap = rule(
        "cheap",
        r#""when":{"tiers":["flex"]},"set":{"/priority":-5}"#,
    );
    let force =
        |id: &str, tier: &str| rule(id, &format!(r#""force":true,"set":{{"/tier":"{tier}"}}"#));
    let job = || TestJob::new("x").done();
    assert_eq!(mutate(&format!("{flex},{cheap}"), job()).priority, -5);
    let last = format!("{},{flex},{}", force("a", "one"), force("b", "two"));
    assert_eq!(mutate(&last, job()).tier, "two");
    let only = patches(&last, &job());
    assert_eq!(only.len(), 1, "one patch a field");
    assert!(only[0].reason.starts_with("b@1"));
    // There and back again is nothing.
    let back = format!("{},{}", force("a", "one"), force("b", "two"));
    assert_eq!(patches(&back, &TestJob::new("x").tier("two").done()), []);
}

#[test]
fn lists_that_could_not_settle_are_refused() {
    let flex = rule("flex", r#""set":{"/tier":"flex"}"#);
    let cheap = rule("cheap", r#""when":{"tiers":["f*"]},"set":{"/priority":1}"#);
    assert_eq!(
        refused(&format!("{cheap},{flex}")),
        "`rules[0]` (cheap) is for jobs with `/tier` \"flex\", which `rules[1]` (flex) sets \
         after it: put the second before the first"
    );
    let labelled = rule("l", r#""when":{"labels":{"a":"*"}},"set":{"/priority":1}"#);
    let label = rule("m", r#""set":{"/labels/a":"x"}"#);
    assert!(refused(&format!("{labelled},{label}")).contains("`/labels/a`"));
    let gpu = rule("g", r#""when":{"gpu":"yes"},"set":{"/priority":1}"#);
    let more = rule("h", r#""set":{"/roles/*/gpu-count":1}"#);
    assert!(refused(&format!("{gpu},{more}")).contains("`/roles/*/gpu-count`"));
    let again = format!("{flex},{flex}");
    assert!(refused(&again).contains("both flex@1"), "{again}");
    // The second undoes its own condition: next time the first would win.
    let zero = rule("zero", r#""force":true,"set":{"/priority":0}"#);
    let rename = |set: &str| {
        let inside = format!(r#""when":{{"tiers":["old"]}},"force":true,"set":{{{set}}}"#);
        rule("rename", &inside)
    };
    let both = rename(r#""/tier":"new","/priority":4"#);
    assert!(refused(&format!("{zero},{both}")).contains("both set `/priority`"));
    assert!(
        !patches(
            &format!("{both},{zero}"),
            &TestJob::new("x").tier("old").done()
        )
        .is_empty()
    );
    // What is usual goes: a new name for a tier, and a tier for who has none.
    let renamed = format!("{},{flex}", rename(r#""/tier":"new""#));
    assert_eq!(
        mutate(&renamed, TestJob::new("x").tier("old").done()).tier,
        "new"
    );
    assert_eq!(mutate(&renamed, TestJob::new("x").done()).tier, "flex");
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let set = |inside: &str| refused(&rule("a", &format!(r#""set":{{{inside}}}"#)));
    assert!(set("").contains("`rules[0].set` is empty"));
    assert!(set(r#""/namespace":"x""#).contains("not a field that rules may set"));
    assert!(set(r#""/id":"x""#).contains("not a field that rules may set"));
    assert!(set(r#""/privileged":true"#).contains("needs `force`"));
    assert!(set(r#""/priority":"high""#).contains("`/priority` takes an integer"));
    assert!(set(r#""/tier":"""#).contains("cannot be emptied"));
    assert!(set(r#""/roles/w/gpu-count":0"#).contains("cannot be emptied"));
    assert!(set(r#""/roles/*/cpu":-1"#).contains("`/roles/*/cpu` takes"));
    assert!(set(r#""/roles/*/cpu":1,"/roles/w/cpu":2"#).contains("for one field"));
    assert!(refused(r#"{"id":"A","version":1}"#).contains("`rules[0].id` is \"A\""));
    assert!(refused(r#"{"id":"a","version":1}"#).contains("`rules[0].reason`"));
    let no_version = r#"{"id":"a","reason":"r","set":{"/tier":"t"}}"#;
    assert_eq!(refused(no_version), "`rules[0].version` is missing");
    let many = vec![rule("a", r#""set":{"/tier":"t"}"#); 129].join(",");
    assert!(refused(&many).contains("129 entries"));
}

/// Namespaces whose jobs this rollout of this version reaches.
fn reached(rules: &str, tier: &str) -> Vec<usize> {
    let settings = format!(r#"{{"rules":[{rules}]}}"#);
    let policy = native::<Defaults>(&settings).unwrap();
    let hit = |i: &usize| {
        let job = TestJob::new("x").namespace(&format!("ns-{i}")).done();
        let review = TestReview::create(job).done();
        let patches = policy.mutate(&review);
        apply(&review.object, &patches).unwrap().tier == tier
    };
    (0..400).filter(hit).collect()
}

#[test]
fn raising_the_percentage_never_takes_a_namespace_out() {
    let at = |percent: u32| {
        let inside = format!(r#""set":{{"/tier":"flex"}},"rollout":{percent}"#);
        reached(&rule("a", &inside), "flex")
    };
    assert!(at(0).is_empty());
    assert_eq!(at(100).len(), 400);
    let mut before = Vec::new();
    for percent in 0..=100 {
        let now = at(percent);
        assert!(before.iter().all(|i| now.contains(i)), "{percent} %");
        let expect = 4 * percent as usize;
        assert!(
            now.len().abs_diff(expect) < 40,
            "{percent} %: {}",
            now.len()
        );
        before = now;
    }
}

#[test]
fn a_new_version_takes_over_namespace_by_namespace() {
    let rules = r#"{"id":"a","version":2,"reason":"r","set":{"/tier":"new"},"rollout":30},
        {"id":"a","version":1,"reason":"r","set":{"/tier":"old"},"rollout":80}"#;
    let (new, old) = (reached(rules, "new"), reached(rules, "old"));
    let none = reached(rules, "");
    assert!(new.iter().all(|i| !old.contains(i)));
    assert_eq!(new.len() + old.len() + none.len(), 400);
    assert!(new.len().abs_diff(120) < 40 && old.len().abs_diff(200) < 40);
    let only_new = r#"{"id":"a","version":2,"reason":"r","set":{"/tier":"new"},"rollout":30}"#;
    assert_eq!(reached(only_new, "new"), new, "the bucket is the id's");
}

#[test]
fn edits_and_deletions() {
    let rules = rule("a", r#""set":{"/tier":"flex"}"#);
    let job = || TestJob::new("x").done();
    let count = |updates: bool, review: TestReview| {
        let settings = format!(r#"{{"updates":{updates},"rules":[{rules}]}}"#);
        let policy = native::<Defaults>(&settings).unwrap();
        policy.mutate(&review.done()).len()
    };
    assert_eq!(count(true, TestReview::update(job(), job())), 1);
    assert_eq!(count(false, TestReview::update(job(), job())), 0);
    assert_eq!(count(false, TestReview::create(job())), 1);
    assert_eq!(count(true, TestReview::delete(job())), 0);
}

/// A seeded generator of rules and jobs that meet often.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn rule(&mut self) -> String {
        let when = match self.below(6) {
            0 => r#""tiers":["a"]"#,
            1 => r#""tiers":["b*",""]"#,
            2 => r#""labels":{"k":"a"}"#,
            3 => r#""gpu":"yes""#,
            4 => r#""gpu":"no","kind":"batch""#,
            _ => "",
        };
        let mut set = Vec::new();
        let fields = [
            r#""/tier":"a""#,
            r#""/tier":"b""#,
            r#""/labels/k":"a""#,
            r#""/labels/k":"b""#,
            r#""/priority":0"#,
            r#""/priority":4"#,
            r#""/roles/*/gpu-count":1"#,
            r#""/roles/w/gpu-count":2"#,
            r#""/roles/*/gpu-models":["A100","H100"]"#,
            r#""/runtime-limit":9"#,
        ];
        for _ in 0..=self.below(3) {
            set.push(self.of(&fields));
        }
        format!(
            r#"{{"id":"{}","version":{},"reason":"r","when":{{{when}}},"set":{{{}}},"force":{},"rollout":{}}}"#,
            self.of(&["p", "q", "r", "s"]),
            1 + self.below(3),
            set.join(","),
            self.below(2) == 0,
            self.below(101)
        )
    }

    fn job(&mut self) -> Job {
        let ns = self.below(50);
        let mut job = TestJob::new("x")
            .namespace(&format!("ns-{ns}"))
            .tier(self.of(&["", "a", "b"]))
            .label("z", "z");
        for (key, value) in [("k", "a"), ("k", "b"), ("l", "c")] {
            if self.below(3) == 0 && job.clone().done().label(key).is_none() {
                job = job.label(key, value);
            }
        }
        for name in ["v", "w"] {
            job = job.role(name, 1).gpus(self.below(2) as u32);
        }
        job.done()
    }
}

#[test]
fn every_list_that_is_accepted_settles_at_once() {
    let mut rng = Rng(1);
    let (mut accepted, mut changed) = (0, 0);
    for _ in 0..20_000 {
        let rules: Vec<String> = (0..=rng.below(3)).map(|_| rng.rule()).collect();
        let rules = rules.join(",");
        if Defaults::configure(&format!(r#"{{"rules":[{rules}]}}"#)).is_err() {
            continue;
        }
        accepted += 1;
        for _ in 0..3 {
            let job = rng.job();
            changed += usize::from(mutate(&rules, job.clone()) != job);
        }
    }
    assert!(accepted > 4_000 && changed > 4_000, "{accepted} {changed}");
}

#[test]
fn order_of_labels_and_roles_changes_nothing() {
    let mut rng = Rng(2);
    for _ in 0..5_000 {
        let rules = rng.rule();
        if Defaults::configure(&format!(r#"{{"rules":[{rules}]}}"#)).is_err() {
            continue;
        }
        let job = rng.job();
        let mut turned = job.clone();
        turned.labels.reverse();
        turned.roles.reverse();
        let sorted = |job: &Job| {
            let mut patches = patches(&rules, job);
            patches.sort_by(|a, b| a.field.cmp(&b.field));
            patches
        };
        assert_eq!(sorted(&job), sorted(&turned), "{rules}");
    }
}

#[test]
fn settings_and_schema_agree() {
    check_settings_schema(include_str!("../settings.schema.json"), Defaults::configure);
}
