//! The patches of the kit, on the table in the SDK's documentation.

use engine::port::admission::{Change, JobView, Patch};

use super::{About, asked, patch};
use crate::case::admission::admission;

fn job() -> JobView {
    let cases = admission();
    let case = cases.review.first().expect("there are reviews");
    asked::review(&cases, case).expect("its job exists").object
}

fn change(field: &str, change: Change) -> Result<JobView, String> {
    let patch = Patch {
        field: field.to_owned(),
        change,
        reason: "because".to_owned(),
    };
    patch::apply(&job(), &[patch])
}

fn set(field: &str, value: &str) -> Result<JobView, String> {
    change(field, Change::Set(value.to_owned()))
}

fn add(field: &str, value: &str) -> Result<JobView, String> {
    change(field, Change::Add(value.to_owned()))
}

#[test]
fn fields_take_what_the_table_says() {
    assert_eq!(set("/queue", "\"a\"").map(|j| j.queue), Ok("a".to_owned()));
    assert_eq!(set("/priority", "-5").map(|j| j.priority), Ok(-5));
    assert_eq!(set("/privileged", "true").map(|j| j.privileged), Ok(true));
    assert_eq!(set("/deadline", "7").map(|j| j.deadline), Ok(Some(7)));
    let labelled = set("/labels/a~1b~0c", "\"x\"").expect("a label");
    assert!(
        labelled
            .labels
            .contains(&("a/b~c".to_owned(), "x".to_owned()))
    );
    let role = job().roles[0].name.clone();
    let field = |f: &str| format!("/roles/{role}/{f}");
    assert_eq!(set(&field("cpu"), "9").map(|j| j.roles[0].cpu), Ok(9));
    let models = set(&field("gpu-models"), "[\"T4\"]").map(|j| j.roles[0].gpu_models.clone());
    assert_eq!(models, Ok(vec!["T4".to_owned()]));
}

#[test]
fn add_leaves_what_is_there() {
    let before = job();
    assert_eq!(
        add("/queue", "\"other\"").map(|j| j.queue),
        Ok(before.queue)
    );
    let (key, value) = before.labels[0].clone();
    let after = add(&format!("/labels/{key}"), "\"other\"").expect("a label");
    assert!(after.labels.contains(&(key, value)));
    assert_eq!(add("/deadline", "7").map(|j| j.deadline), Ok(Some(7)));
}

#[test]
fn everything_else_is_refused() {
    let role = job().roles[0].name.clone();
    for (field, value) in [
        ("/id", "\"x\""),
        ("/kind", "\"service\""),
        ("/labels", "{}"),
        ("/labels/", "\"x\""),
        ("/labels/a~2", "\"x\""),
        ("/roles/nobody/cpu", "1"),
        ("queue", "\"x\""),
        ("/queue", "1"),
        ("/queue", "nonsense"),
        ("/priority", "3000000000"),
        ("/priority", "1.5"),
        ("/deadline", "-1"),
        ("/run-as-root", "\"yes\""),
    ] {
        assert!(set(field, value).is_err(), "{field} {value}");
    }
    assert!(set(&format!("/roles/{role}/name"), "\"x\"").is_err());
    assert!(set(&format!("/roles/{role}/count"), "-1").is_err());
    assert!(add("/privileged", "true").is_err());
    assert!(change("/queue", Change::Remove).is_err());
    assert!(change("/seccomp", Change::Remove).is_ok());
}

#[test]
fn a_patch_without_a_reason_is_refused() {
    let patch = Patch {
        field: "/queue".to_owned(),
        change: Change::Set("\"a\"".to_owned()),
        reason: " ".to_owned(),
    };
    assert!(patch::apply(&job(), &[patch]).is_err());
}

#[test]
fn every_case_becomes_questions() {
    let cases = admission();
    let questions = super::questions(&cases);
    assert_eq!(
        questions.len(),
        2 * (cases.review.len() + cases.cycle.len())
    );
    let heads = |q: &super::Question| match &q.about {
        About::Cycle(asked) => Some(asked.cycle.heads.len()),
        About::Review(_) => None,
    };
    for size in [0, 1, super::FULL_SIZE] {
        assert!(questions.iter().any(|q| heads(q) == Some(size)), "{size}");
    }
}

#[test]
fn what_a_node_uses_counts_for_those_above() {
    let cases = admission();
    for case in &cases.cycle {
        let asked = asked::cycle(&cases, case).expect("its tree exists");
        for node in &asked.cycle.nodes {
            let Some(parent) = node.parent else { continue };
            let parent = &asked.cycle.nodes[parent as usize];
            for line in &node.lines {
                let above = parent.lines.iter().find(|l| l.resource == line.resource);
                assert!(above.is_none_or(|l| l.used >= line.used), "{}", case.name);
            }
        }
    }
}
