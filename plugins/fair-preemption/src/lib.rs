//! Says who yields to a pod, with the least work lost.
//!
//! `scan` looks at every row for the cheapest victims and `bound` tells which
//! rows need no look; `kube` ranks as Kubernetes does. `gang` serves gangs that may
//! stand anywhere, `answer` makes the plan.

mod answer;
mod bound;
mod gang;
mod kube;
mod scan;

#[cfg(test)]
mod tests;

use answer::Decision;
use loadmaster_sdk::preemption::{
    Action, Answer, Case, Constraint, Description, Losses, PreemptionPolicy, Rate, Settings, Units,
    WHAT_IF_COLUMNS,
};

/// How nodes and victims are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranking {
    /// Least work lost.
    Cost,
    /// Kubernetes' `DefaultPreemption`.
    Kube,
}

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuning {
    pub(crate) ranking: Ranking,
    pub(crate) gangs: bool,
    pub(crate) search_steps: u64,
    pub(crate) hold_seconds: u64,
    pub(crate) core_milli: i64,
}

/// The policy for single pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairPreemption {
    tuning: Tuning,
}

impl PreemptionPolicy for FairPreemption {
    fn describe() -> Description {
        Description::new("fair-preemption", env!("CARGO_PKG_VERSION"))
            .summary("Makes room for a pod with the least work lost, or as Kubernetes would.")
            .settings_schema(include_str!("../settings.schema.json"))
            .reads(&WHAT_IF_COLUMNS)
    }

    fn configure(settings: &str) -> Result<Self, String> {
        let mut s = Settings::parse(settings)?;
        let rankings = [("cost", Ranking::Cost), ("kube", Ranking::Kube)];
        let tuning = Tuning {
            ranking: s.choice("ranking", &rankings)?,
            gangs: s.boolean("gangs", true)?,
            search_steps: s.integer("search-steps", 0..=10_000_000, 4_096)? as u64,
            hold_seconds: s.integer("hold-seconds", 0..=86_400, 60)? as u64,
            core_milli: s.integer("core-milli", 0..=1_000, 10)?,
        };
        s.finish()?;
        Ok(Self { tuning })
    }

    fn propose(&self, case: &Case<'_>) -> Answer {
        let request = case.request;
        if request.preemptor.demands.is_empty() {
            return Answer::None("nothing is demanded".to_owned());
        }
        let single = case.is_single();
        let free = request.preemptor.constraint == Constraint::None;
        let kube = self.tuning.ranking == Ranking::Kube;
        if !single && (!free || !self.tuning.gangs || kube) {
            return Answer::Abstain;
        }
        let rate = Rate {
            core_milli: self.tuning.core_milli,
        };
        let losses = Losses::new(case, rate);
        let units = Units::new(case, &losses);
        let mut decision = Decision::new(case, &self.tuning, &units);
        if !single {
            return decision.gang();
        }
        if let Some(plan) = decision.without_victims() {
            return Answer::Plan(plan);
        }
        match request.action {
            Action::Consolidate => decision.by_moving(),
            _ if kube => decision.as_kubernetes(),
            _ => decision.by_cost(),
        }
    }
}

loadmaster_sdk::export_preemption!(FairPreemption);
