//! How much may be disrupted.

use std::collections::BTreeMap;

use model::disruption::BudgetSpec;

use crate::effect::Output;
use crate::engine::Engine;
use crate::error::EventError;
use crate::state::BudgetState;

/// Budgets, tokens, and the guard against mass evictions.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    budgets: BTreeMap<String, BudgetState>,
    approved: u32,
}

impl Budgets {
    pub(crate) fn export(&self, name: &str) -> Option<BudgetState> {
        self.budgets.get(name).cloned()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.budgets.keys().map(String::as_str)
    }

    pub(crate) fn restore(&mut self, budget: BudgetState) {
        self.budgets.insert(budget.spec.name.clone(), budget);
    }

    pub(crate) fn approve(&mut self, count: u32) {
        self.approved = self.approved.saturating_add(count);
    }

    pub(crate) fn approved(&self) -> u32 {
        self.approved
    }

    pub(crate) fn window(&self) -> Vec<(u64, u32)> {
        Vec::new()
    }

    pub(crate) fn restore_guard(&mut self, _window: Vec<(u64, u32)>, approved: u32) {
        self.approved = approved;
    }
}

impl Engine {
    pub(crate) fn put_budget(
        &mut self,
        _spec: BudgetSpec,
        _now_ms: u64,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }

    pub(crate) fn remove_budget(
        &mut self,
        _name: &str,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }
}
