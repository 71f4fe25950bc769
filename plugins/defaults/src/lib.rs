//! Pure, versioned changes to jobs, rolled out by namespace.
//!
//! `settings` reads the rules and refuses lists that could not settle, `rollout`
//! says which namespaces a rule has reached, `matcher` which jobs it is for, and
//! `rewrite` turns the rules that apply into patches.

mod matcher;
mod rewrite;
mod rollout;
mod settings;

use loadmaster_sdk::admission::{AdmissionPolicy, Description, Operation, Patch, Review};
use settings::Settings;

/// The defaults policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    settings: Settings,
}

impl AdmissionPolicy for Defaults {
    fn describe() -> Description {
        Description::new("defaults", env!("CARGO_PKG_VERSION"))
            .summary("Fills in and corrects fields of jobs by versioned rules, by namespace.")
            .settings_schema(include_str!("../settings.schema.json"))
    }

    fn configure(settings: &str) -> Result<Self, String> {
        Settings::parse(settings).map(|settings| Self { settings })
    }

    fn mutate(&self, review: &Review) -> Vec<Patch> {
        match review.operation {
            Operation::Delete => Vec::new(),
            Operation::Update if !self.settings.updates => Vec::new(),
            Operation::Create | Operation::Update => {
                rewrite::rewrite(&self.settings.rules, &review.object)
            }
        }
    }
}

loadmaster_sdk::export_admission!(Defaults);

#[cfg(test)]
mod tests;
