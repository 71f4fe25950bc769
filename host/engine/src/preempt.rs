//! Who yields.

use std::collections::BTreeMap;

use model::plan::PlanRecord;

use crate::effect::Output;
use crate::engine::Engine;

/// Plans in progress.
#[derive(Debug)]
pub(crate) struct Preemption {
    pub(crate) next_plan: u64,
    plans: BTreeMap<u64, PlanRecord>,
}

impl Default for Preemption {
    fn default() -> Self {
        Self {
            next_plan: 1,
            plans: BTreeMap::new(),
        }
    }
}

impl Preemption {
    pub(crate) fn plan(&self, id: u64) -> Option<&PlanRecord> {
        self.plans.get(&id)
    }

    pub(crate) fn plan_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.plans.keys().copied()
    }

    pub(crate) fn restore_plan(&mut self, plan: PlanRecord) {
        self.plans.insert(plan.id, plan);
    }
}

impl Engine {
    /// One attempt to make room for somebody who has waited long enough.
    pub(crate) fn preempt_next(&mut self, _out: &mut Output) -> bool {
        false
    }
}
