//! Which jobs a rule is for.

use loadmaster_sdk::admission::{Job, JobKind, Role};

/// Whether something has a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gpu {
    Any,
    Yes,
    No,
}

/// All conditions have to hold; an empty list holds for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) kind: Option<JobKind>,
    pub(crate) gpu: Gpu,
    /// Patterns, one of which has to fit.
    pub(crate) namespaces: Vec<String>,
    /// Patterns, one of which has to fit.
    pub(crate) tiers: Vec<String>,
    /// Labels that have to be there, with patterns of their values.
    pub(crate) labels: Vec<(String, String)>,
}

impl When {
    /// Whether the rule is for this job; about GPUs the two below are asked.
    pub(crate) fn fits(&self, job: &Job) -> bool {
        let one_of = |patterns: &[String], text: &str| {
            patterns.is_empty() || patterns.iter().any(|p| glob(p, text))
        };
        self.kind.is_none_or(|kind| kind == job.kind)
            && one_of(&self.namespaces, &job.namespace)
            && one_of(&self.tiers, &job.tier)
            && self
                .labels
                .iter()
                .all(|(key, pattern)| job.label(key).is_some_and(|value| glob(pattern, value)))
    }

    /// Whether fields of the job as a whole are meant.
    pub(crate) fn fits_roles(&self, job: &Job) -> bool {
        match self.gpu {
            Gpu::Any => true,
            Gpu::Yes => job.roles.iter().any(has_gpu),
            Gpu::No => !job.roles.iter().any(has_gpu),
        }
    }

    /// Whether fields of this role are meant.
    pub(crate) fn fits_role(&self, role: &Role) -> bool {
        match self.gpu {
            Gpu::Any => true,
            Gpu::Yes => has_gpu(role),
            Gpu::No => !has_gpu(role),
        }
    }
}

fn has_gpu(role: &Role) -> bool {
    role.gpu_count > 0
}

/// Whether the pattern fits all of the text; `*` stands for any text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    // The earliest place leaves most for the pieces after it.
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "a/b"], &[]),
            ("a", &["a"], &["", "aa", "b"]),
            ("a*", &["a", "ab"], &["", "ba"]),
            ("*a", &["a", "ba"], &["", "ab"]),
            ("a*a", &["aa", "aba", "aaa"], &["a", "ab"]),
            ("a*b*c", &["abc", "axbxc", "abbcc"], &["ac", "acb", "abcd"]),
            ("*-eu-*", &["pay-eu-1", "-eu-"], &["pay-eu", "eu"]),
            ("ü*ß", &["üß", "ü*ß"], &["ü", "uß"]),
        ] {
            for text in yes {
                assert!(glob(pattern, text), "{pattern} {text}");
            }
            for text in no {
                assert!(!glob(pattern, text), "{pattern} {text}");
            }
        }
    }
}
