//! The compliance gate: owned, allowed, safe and sane, or it says what to do.
//!
//! `settings` is what an operator can set, `rules` judge one job, `update` says
//! which findings an edit answers for.

mod rules;
mod settings;
mod update;

use loadmaster_sdk::admission::{
    AdmissionPolicy, Description, Finding, Operation, Review, Validation,
};
use settings::{Mode, Settings};

/// The gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guardrails {
    settings: Settings,
}

/// What a rule found, and how much it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judged {
    severity: Mode,
    finding: Finding,
}

impl AdmissionPolicy for Guardrails {
    fn describe() -> Description {
        Description::new("guardrails", env!("CARGO_PKG_VERSION"))
            .summary("Lets jobs in that are owned, allowed, safe and sane; says what to change.")
            .settings_schema(include_str!("../settings.schema.json"))
    }

    fn configure(settings: &str) -> Result<Self, String> {
        Settings::parse(settings).map(|settings| Self { settings })
    }

    fn validate(&self, review: &Review) -> Validation {
        // What breaks the rules must be removable by everybody who may.
        if review.operation == Operation::Delete {
            return Validation::abstain();
        }
        let mut judged = rules::judge(&self.settings, review, &review.object);
        if let (Operation::Update, Some(old), false) =
            (review.operation, &review.old, judged.is_empty())
            && !self.settings.judge_unchanged
        {
            let before = rules::judge(&self.settings, review, old);
            judged.retain(|j| update::answers_for(&review.object, old, &before, j));
        }
        let (denials, warnings): (Vec<_>, Vec<_>) =
            judged.into_iter().partition(|j| j.severity == Mode::Deny);
        let findings = |judged: Vec<Judged>| judged.into_iter().map(|j| j.finding).collect();
        let validation = if denials.is_empty() {
            Validation::allow()
        } else {
            Validation::deny(findings(denials))
        };
        validation.warn(findings(warnings))
    }
}

loadmaster_sdk::export_admission!(Guardrails);

#[cfg(test)]
mod tests;
