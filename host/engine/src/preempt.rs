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
    /// A pod has left its place for a plan.
    pub(crate) fn plan_progress(&mut self, _plan: u64, _out: &mut Output) {}

    /// A pod that some plan waits for or has promised a place is gone, or its
    /// place is.
    pub(crate) fn plan_lost(&mut self, _slot: u32, _out: &mut Output) {}

    /// A verified place for every pod of a gang that can start now.
    pub(crate) fn place_gang(
        &mut self,
        _job: &str,
        _out: &mut Output,
    ) -> Result<Vec<(u32, crate::pods::Allocation)>, (model::Reason, String)> {
        Err((model::Reason::WaitingForCapacity, String::new()))
    }

    /// One attempt to make room for somebody who has waited long enough.
    pub(crate) fn preempt_next(&mut self, _out: &mut Output) -> bool {
        false
    }
}
