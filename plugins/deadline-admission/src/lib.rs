//! Admits only what can finish in time, earliest deadline first.
//!
//! `need` says how long a head takes and by when, `plan` what is free when. The
//! heads with deadlines are planned one after the other; the rest uses what they
//! leave.

mod need;
mod plan;
mod settings;

use loadmaster_sdk::admission::{
    AdmissionPolicy, Cycle, Description, Finding, Operation, Review, Ruling, SortKey, Validation,
};
use loadmaster_sdk::log;
use loadmaster_sdk::quota::{Amount, QuotaTree};

use crate::need::{Class, Need, seconds};
use crate::plan::{Plan, Slot};
use crate::settings::Settings;

/// Heads of a cycle that are looked at beyond now, those with the earliest
/// deadlines. A try at every point in time costs more than a head's share of the
/// fuel, and in a thousand waiting heads the last are not next.
const PLANNED_AHEAD_MAX: usize = 128;

/// The deadline policy.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadlineAdmission {
    settings: Settings,
}

impl AdmissionPolicy for DeadlineAdmission {
    fn describe() -> Description {
        Description::new("deadline-admission", env!("CARGO_PKG_VERSION"))
            .summary("Admits only what can finish in time, earliest deadline first.")
            .settings_schema(include_str!("../settings.schema.json"))
    }

    fn configure(settings: &str) -> Result<Self, String> {
        let settings = Settings::parse(settings)?;
        Ok(Self { settings })
    }

    /// A deadline has to be ahead when it is set; how long the job takes is not
    /// in the object.
    fn validate(&self, review: &Review) -> Validation {
        let Some(deadline) = review.object.deadline else {
            return Validation::abstain();
        };
        let before = review.old.as_ref().and_then(|old| old.deadline);
        if review.operation == Operation::Delete || before == Some(deadline) {
            return Validation::abstain();
        }
        if deadline <= review.now {
            let passed = seconds(review.now - deadline);
            return Validation::deny(vec![Finding::new(
                "DeadlinePassed",
                "/deadline",
                &format!("the deadline passed {passed} ago; set one that is ahead"),
            )]);
        }
        let left = deadline - review.now;
        match review.object.runtime_limit {
            Some(limit) if limit > left => Validation::abstain().warn(vec![Finding::new(
                "DeadlineBeforeLimit",
                "/runtime-limit",
                &format!(
                    "may run for {}, but its deadline is in {}",
                    seconds(limit),
                    seconds(left)
                ),
            )]),
            _ => Validation::abstain(),
        }
    }

    fn order(&self, cycle: &Cycle) -> Vec<SortKey> {
        let heads = cycle.heads.iter();
        heads
            .map(|h| Need::new(h, cycle.now, &self.settings).key(h, cycle.now))
            .collect()
    }

    /// Plans in the order of deadlines, whatever order was decided: the set that
    /// is admitted fits at once, so that the host may take it in any.
    fn admit(&self, cycle: &Cycle) -> Vec<Ruling> {
        let need = |h| Need::new(h, cycle.now, &self.settings);
        let needs: Vec<Need> = cycle.heads.iter().map(need).collect();
        let tree = QuotaTree::new(&cycle.nodes);
        if let Err(error) = &tree {
            let text = format!("no ruling on what is not too late: {error}");
            log::write(log::Level::Warn, &text);
        }
        let mut rulings = vec![Ruling::Abstain; cycle.heads.len()];
        for (i, need) in needs.iter().enumerate() {
            if need.class == Class::Late {
                let finding = need.too_late(&cycle.heads[i], cycle.now, &self.settings);
                rulings[i] = Ruling::Reject(finding);
            }
        }
        if let Ok((tree, usage)) = tree {
            let plan = Plan::new(&tree, usage, cycle.now);
            self.rule(cycle, &needs, &tree, plan, &mut rulings);
        }
        rulings
    }
}

impl DeadlineAdmission {
    fn rule(
        &self,
        cycle: &Cycle,
        needs: &[Need],
        tree: &QuotaTree,
        mut plan: Plan<'_>,
        rulings: &mut [Ruling],
    ) {
        let mut order: Vec<usize> = (0..needs.len())
            .filter(|i| needs[*i].class != Class::Late)
            .collect();
        order.sort_by(|a, b| {
            let rank = |i: usize| needs[i].rank(&cycle.heads[i], cycle.now);
            rank(*a).cmp(&rank(*b))
        });
        let mut demand: Vec<Amount> = Vec::new();
        let (mut timed, mut ahead) = (true, 0);
        for i in order {
            let (head, need) = (&cycle.heads[i], &needs[i]);
            if timed && need.class == Class::Rest {
                timed = false;
                plan.only_now();
            }
            let payer = head.node as usize;
            let Some(shape) = need.shape(cycle.now).filter(|_| payer < tree.nodes()) else {
                continue;
            };
            demand.clear();
            tree.demand(payer, &head.demand, &mut demand);
            let fewest = |d: &Amount| match shape.pods {
                Some((pods, all)) => d.amount / i64::from(all) * i64::from(pods),
                None => d.amount,
            };
            // More than its quota can ever have: not a question of time.
            if demand
                .iter()
                .any(|d| fewest(d) > tree.ever(payer, d.resource))
            {
                continue;
            }
            let Some(full) = plan.in_the_way(payer, &demand, shape) else {
                let start = cycle.now;
                plan.reserve(payer, &demand, Slot { start, shape });
                rulings[i] = match shape.pods {
                    Some((pods, _)) => Ruling::AdmitPartial(vec![pods]),
                    None => Ruling::Admit,
                };
                continue;
            };
            let short = plan.shortages(full, payer, &demand, shape);
            rulings[i] = Ruling::Wait(tree.shortage_list(short));
            let (Class::Timed, Some(deadline)) = (need.class, need.deadline) else {
                continue;
            };
            if ahead == PLANNED_AHEAD_MAX {
                continue;
            }
            ahead += 1;
            match plan.later(full, payer, &demand, need) {
                Some(slot) => plan.reserve(payer, &demand, slot),
                None if need.slack(cycle.now) < self.settings.hold_back_ms => {
                    plan.hold(payer, &demand, shape, deadline);
                }
                None => {}
            }
        }
    }
}

loadmaster_sdk::export_admission!(DeadlineAdmission);

#[cfg(test)]
mod tests;
