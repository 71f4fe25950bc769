//! Where the image is from and how old it is.

use loadmaster_sdk::admission::{Job, Review};

use super::Found;
use crate::settings::{Age, Mode, Signature};

pub(super) fn signature(rule: &Signature, review: &Review, job: &Job, found: &mut Found) {
    let signers = &review.facts.image_signed_by;
    let trusted = |signer| rule.trusted.is_empty() || rule.trusted.contains(signer);
    if rule.mode == Mode::Off || signers.iter().any(trusted) {
        return;
    }
    let by = match &rule.trusted[..] {
        [] => "your build pipeline".to_owned(),
        trusted => format!("one of `{}`", trusted.join("`, `")),
    };
    // An image that no catalogue has counts as unsigned: whoever builds outside
    // the pipeline is exactly whom this rule is about.
    let (code, what) = match &signers[..] {
        _ if job.image.is_empty() => ("ImageMissing", "the job names no image".to_owned()),
        [] => ("ImageUnsigned", "nobody signed the image".to_owned()),
        signers => (
            "ImageSignerNotTrusted",
            format!("the image is signed by `{}` only", signers.join("`, `")),
        ),
    };
    found.add(
        rule.mode,
        code,
        "/image",
        &format!("{what}: use one signed by {by}"),
    );
}

pub(super) fn age(rule: &Age, review: &Review, job: &Job, found: &mut Found) {
    let words = Words {
        old: "ImageTooOld",
        unknown: "ImageAgeUnknown",
        what: "the image",
        todo: "build it again",
    };
    judge_age(rule, review.facts.image_age, job, &words, found);
}

pub(super) fn base_age(rule: &Age, review: &Review, job: &Job, found: &mut Found) {
    let words = Words {
        old: "BaseImageTooOld",
        unknown: "BaseImageAgeUnknown",
        what: "the image's base",
        todo: "build it again on a current base",
    };
    judge_age(rule, review.facts.base_image_age, job, &words, found);
}

struct Words {
    old: &'static str,
    unknown: &'static str,
    what: &'static str,
    todo: &'static str,
}

fn judge_age(rule: &Age, age: Option<u32>, job: &Job, words: &Words, found: &mut Found) {
    // What is not run from an image has no age.
    if rule.mode == Mode::Off || job.image.is_empty() || (rule.warn == 0 && rule.deny == 0) {
        return;
    }
    let Words { what, todo, .. } = words;
    let Some(age) = age else {
        return found.unknown(
            rule.mode,
            words.unknown,
            "/image",
            &format!("the age of {what} is not known: publish it through your build pipeline"),
        );
    };
    let over = |limit: u32| limit > 0 && age > limit;
    let (severity, limit) = if over(rule.deny) {
        (rule.mode, rule.deny)
    } else if over(rule.warn) {
        (Mode::Warn, rule.warn)
    } else {
        return;
    };
    found.add(
        severity,
        words.old,
        "/image",
        &format!("{what} is {age} hours old, {limit} are allowed: {todo}"),
    );
}

pub(super) fn pinned(mode: &Mode, job: &Job, found: &mut Found) {
    if *mode != Mode::Off && !job.image.is_empty() && !has_digest(&job.image) {
        found.add(
            *mode,
            "ImageNotPinned",
            "/image",
            &format!(
                "`{}` can become another image at any time: name it by digest, \
                 `name@sha256:<64 hexadecimal digits>`",
                job.image
            ),
        );
    }
}

/// `name@sha256:` and 64 digits in lower case, as registries write them.
fn has_digest(image: &str) -> bool {
    image.split_once("@sha256:").is_some_and(|(name, digest)| {
        !name.is_empty()
            && digest.len() == 64
            && digest
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}
