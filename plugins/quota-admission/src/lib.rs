//! Admits the heads of all queues against a tree of quotas: borrowing, lending,
//! fair shares, and guarantees that nobody can starve.
//!
//! `heads` reads what waits, `contest` puts it in order, `rule` decides. The
//! arithmetic of the tree is the SDK's `quota`.

mod contest;
mod heads;
mod rule;
mod settings;

use loadmaster_sdk::admission::{AdmissionPolicy, Cycle, Description, Ruling, SortKey};
use loadmaster_sdk::log;
use loadmaster_sdk::quota::{QuotaTree, Usage};

use crate::heads::Heads;
use crate::rule::Desk;
use crate::settings::{Order, Settings};

/// The quota policy.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaAdmission {
    settings: Settings,
}

/// Without a tree there is nothing to say; the host's own rule then decides.
fn tree_of(cycle: &Cycle) -> Option<(QuotaTree, Usage)> {
    match QuotaTree::new(&cycle.nodes) {
        Ok(tree) => Some(tree),
        Err(error) => {
            log::write(log::Level::Warn, &format!("no ruling: {error}"));
            None
        }
    }
}

impl AdmissionPolicy for QuotaAdmission {
    fn describe() -> Description {
        Description::new("quota-admission", env!("CARGO_PKG_VERSION"))
            .summary("Admits jobs by quota: guarantees, borrowing and fair shares.")
            .settings_schema(include_str!("../settings.schema.json"))
    }

    fn configure(settings: &str) -> Result<Self, String> {
        let settings = Settings::parse(settings)?;
        Ok(Self { settings })
    }

    fn order(&self, cycle: &Cycle) -> Vec<SortKey> {
        match self.settings.order {
            Order::Priority => cycle.heads.iter().map(contest::age_key).collect(),
            Order::Fifo => cycle.heads.iter().map(|h| vec![time(h.created)]).collect(),
            Order::Fair => match tree_of(cycle) {
                Some((tree, usage)) => {
                    let heads = Heads::new(cycle, &tree);
                    let desk = Desk::new(&tree, usage, self.settings);
                    contest::fair_keys(&heads, desk)
                }
                None => vec![SortKey::new(); cycle.heads.len()],
            },
        }
    }

    fn admit(&self, cycle: &Cycle) -> Vec<Ruling> {
        let Some((tree, usage)) = tree_of(cycle) else {
            return vec![Ruling::Abstain; cycle.heads.len()];
        };
        let heads = Heads::new(cycle, &tree);
        let mut desk = Desk::new(&tree, usage, self.settings);
        let rule = |head| {
            let outcome = desk.decide(&heads, head);
            let ruling = desk.ruling(&heads, head, &outcome);
            desk.settle(&heads, head, &outcome);
            ruling
        };
        (0..heads.len()).map(rule).collect()
    }
}

/// A time as an element of a sort key.
fn time(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

loadmaster_sdk::export_admission!(QuotaAdmission);

#[cfg(test)]
mod tests;
