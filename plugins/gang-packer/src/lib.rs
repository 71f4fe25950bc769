//! Places gangs into topology domains, nodes and devices together, and says who
//! has to go where no domain has room.
//!
//! `choose` looks at the domains and makes the plan. `order` says in which order
//! the rows of a domain are filled, `place` fills them, `room` counts what they
//! hold. Where nothing fits, `hunt` finds who has to go. `gang` has the roles and
//! the bound on all searching.

mod choose;
mod gang;
mod hunt;
mod order;
mod place;
mod room;

#[cfg(test)]
mod tests;

use loadmaster_sdk::preemption::{
    Answer, Case, Description, PreemptionPolicy, Settings, WHAT_IF_COLUMNS,
};

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuning {
    pub(crate) single_pods: bool,
    pub(crate) search_looks: u64,
    pub(crate) margin_percent: i64,
    pub(crate) hold_seconds: u64,
    pub(crate) core_milli: i64,
}

/// The gang policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GangPacker {
    tuning: Tuning,
}

impl PreemptionPolicy for GangPacker {
    fn describe() -> Description {
        Description::new("gang-packer", env!("CARGO_PKG_VERSION"))
            .summary("Places gangs into the smallest topology domain that holds them, with the least work lost where somebody has to go.")
            .settings_schema(include_str!("../settings.schema.json"))
            .reads(&WHAT_IF_COLUMNS)
    }

    fn configure(settings: &str) -> Result<Self, String> {
        let mut s = Settings::parse(settings)?;
        let tuning = Tuning {
            single_pods: s.boolean("single-pods", false)?,
            search_looks: s.integer("search-looks", 1..=10_000_000, 500_000)? as u64,
            margin_percent: s.integer("margin-percent", 0..=100, 20)?,
            hold_seconds: s.integer("hold-seconds", 0..=86_400, 60)? as u64,
            core_milli: s.integer("core-milli", 0..=1_000, 10)?,
        };
        s.finish()?;
        Ok(Self { tuning })
    }

    fn propose(&self, case: &Case<'_>) -> Answer {
        if case.is_single() && !self.tuning.single_pods {
            return Answer::Abstain;
        }
        choose::Packing::new(case, &self.tuning).answer()
    }
}

loadmaster_sdk::export_preemption!(GangPacker);
