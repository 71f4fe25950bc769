//! The job that needs least service goes first: expected remaining run time
//! times GPUs.
//!
//! `work` says what a head still needs, `best_set` which heads fill the quota
//! and finish fastest. Keys depend on the cycle alone.

mod best_set;
mod work;

use loadmaster_sdk::admission::{AdmissionPolicy, Cycle, Description, Settings, SortKey};

use work::Work;

/// Longest `unknown-runtime`, s: a day.
const UNKNOWN_SECONDS_MAX: i64 = 86_400;

/// The ordering policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortestService {
    best_set: bool,
    work: work::Settings,
}

impl AdmissionPolicy for ShortestService {
    fn describe() -> Description {
        Description::new("shortest-service", env!("CARGO_PKG_VERSION"))
            .summary("Lets the job that needs least GPU time go first.")
            .settings_schema(include_str!("../settings.schema.json"))
    }

    fn configure(settings: &str) -> Result<Self, String> {
        let mut s = Settings::parse(settings)?;
        let policy = Self {
            best_set: s.boolean("best-set", true)?,
            work: work::Settings {
                stickiness: s.integer("stickiness", 0..=900, 100)? as u64,
                unknown_ms: 1000
                    * s.integer("unknown-runtime", 1..=UNKNOWN_SECONDS_MAX, 600)? as u64,
            },
        };
        s.finish()?;
        Ok(policy)
    }

    /// Priority, then the best set with its largest gangs first, because whole
    /// nodes are hardest to find, then service.
    fn order(&self, cycle: &Cycle) -> Vec<SortKey> {
        let works = cycle.heads.iter().map(|h| Work::of(h, &self.work));
        let works: Vec<Work> = works.collect();
        let mut keys: Vec<SortKey> = std::iter::zip(&cycle.heads, &works)
            .map(|(head, work)| {
                let below = -i64::from(head.priority);
                vec![below, 1, 0, work.service(), clamped(head.created)]
            })
            .collect();
        if self.best_set {
            for at in best_set::choose(cycle, &works) {
                keys[at][1] = 0;
                keys[at][2] = -works[at].gpu_milli;
            }
        }
        keys
    }
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

loadmaster_sdk::export_admission!(ShortestService);

#[cfg(test)]
mod tests;
