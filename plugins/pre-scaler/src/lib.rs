//! Has replicas ready before the load arrives: a forecast and known events raise
//! the floor under the reactive formula.
//!
//! `decide` makes a decision from `forecast` and `calendar`, `memory` is what it
//! remembers, `ridge` the regression under the forecast.

mod calendar;
mod decide;
mod forecast;
mod memory;
mod ridge;
mod settings;

use loadmaster_sdk::autoscaling::{Answer, AutoscalingPolicy, Description, Request};

/// The pre-scaling policy.
#[derive(Debug, Clone, PartialEq)]
pub struct PreScaler {
    settings: settings::Settings,
}

impl AutoscalingPolicy for PreScaler {
    fn describe() -> Description {
        Description::new("pre-scaler", env!("CARGO_PKG_VERSION"))
            .summary("Has replicas ready before the load arrives, by forecast and calendar.")
            .settings_schema(include_str!("../settings.schema.json"))
    }

    fn configure(settings: &str) -> Result<Self, String> {
        let settings = settings::Settings::parse(settings)?;
        Ok(Self { settings })
    }

    fn scale(&self, request: &Request) -> Option<Answer> {
        Some(decide::decide(request, &self.settings))
    }
}

loadmaster_sdk::export_autoscaling!(PreScaler);

#[cfg(test)]
mod tests;
