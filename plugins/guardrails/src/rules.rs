//! The rules. Each has one section of settings, and codes of its own that stay
//! the same for good: dashboards and exceptions name them.

mod image;
mod ownership;
mod security;
mod size;

use loadmaster_sdk::admission::{Finding, Job, Review};

use crate::Judged;
use crate::settings::{Mode, Settings};

/// All findings about a job, in the order of the rules. `review` gives the
/// caller and the facts.
pub(crate) fn judge(settings: &Settings, review: &Review, job: &Job) -> Vec<Judged> {
    let mut found = Found {
        unknown: settings.unknown,
        judged: Vec::new(),
    };
    ownership::owner(&settings.owner, review, job, &mut found);
    ownership::tier(&settings.tier, review, job, &mut found);
    ownership::compliance(&settings.compliance, review, job, &mut found);
    security::root(&settings.root, review, job, &mut found);
    security::privileged(&settings.privileged, review, job, &mut found);
    security::seccomp(&settings.seccomp, review, job, &mut found);
    image::signature(&settings.signature, review, job, &mut found);
    image::age(&settings.image_age, review, job, &mut found);
    image::base_age(&settings.base_image_age, review, job, &mut found);
    image::pinned(&settings.pinned, job, &mut found);
    size::requests(&settings.requests, job, &mut found);
    size::gpu_ratio(&settings.gpu_ratio, job, &mut found);
    size::pod_size(&settings.pod_size, job, &mut found);
    size::replicas(&settings.replicas, job, &mut found);
    size::priority(&settings.priority, job, &mut found);
    size::runtime_limit(&settings.runtime_limit, job, &mut found);
    found.judged
}

/// Collects findings.
struct Found {
    unknown: Mode,
    judged: Vec<Judged>,
}

impl Found {
    fn add(&mut self, severity: Mode, code: &str, field: &str, message: &str) {
        if severity != Mode::Off {
            self.judged.push(Judged {
                severity,
                finding: Finding::new(code, field, message),
            });
        }
    }

    /// A fact that no catalogue has: never worse than the rule it is for.
    fn unknown(&mut self, mode: Mode, code: &str, field: &str, message: &str) {
        self.add(self.unknown.min(mode), code, field, message);
    }
}
