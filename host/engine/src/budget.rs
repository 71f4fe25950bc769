//! How much may be disrupted: budgets of applications, tokens of the whole
//! system, and the guard against mass evictions.
//!
//! Tokens refill by logical time and in whole numbers, worked out when they are
//! asked for, so that nothing has to happen while nobody asks and a restart
//! changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::disruption::{BUDGETS_MAX, BucketSpec, BudgetSpec};

use crate::effect::{Effect, Key, Output};
use crate::engine::Engine;
use crate::error::EventError;
use crate::state::BudgetState;

/// Length of the guard's window, ms: long enough that a runaway policy is seen
/// before it has emptied a cluster, short enough to wait for.
pub const GUARD_WINDOW_MS: u64 = 600_000;

/// Evictions of a window that are always fine: a small cluster must be able to
/// rearrange itself.
pub const GUARD_FLOOR: u32 = 10;

/// Share of the running pods that may be evicted in one window, percent.
pub const GUARD_PERCENT: u64 = 20;

/// Titus' system-wide bucket: 50 evictions a second, 500 at once.
pub const SYSTEM_BUCKET: BucketSpec = BucketSpec {
    capacity: 500,
    refill_ms: 20,
};

/// Tokens now, and the time up to which that is worked out. A full bucket
/// starts to refill when it is first drawn from.
fn refilled(spec: BucketSpec, tokens: u32, since_ms: u64, now_ms: u64) -> (u32, u64) {
    if tokens >= spec.capacity {
        return (spec.capacity, now_ms);
    }
    if spec.refill_ms == 0 {
        return (tokens, now_ms);
    }
    let more = now_ms.saturating_sub(since_ms) / spec.refill_ms;
    if more >= u64::from(spec.capacity - tokens) {
        (spec.capacity, now_ms)
    } else {
        (tokens + more as u32, since_ms + more * spec.refill_ms)
    }
}

/// Budgets, tokens, and the guard.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    budgets: BTreeMap<String, BudgetState>,
    /// First budget by name of each application that has one.
    by_app: BTreeMap<String, String>,
    /// Tokens taken out of the system's bucket and not refilled yet, and the
    /// time up to which that is worked out. What is missing and not what is
    /// left, so that the initial value does not depend on the configuration.
    spent: (u32, u64),
    /// Evictions by time, oldest first.
    window: VecDeque<(u64, u32)>,
    /// Evictions beyond the guard that an operator has approved.
    approved: u32,
    /// When the guard last tripped, ms; its alarm is raised once a window.
    tripped_ms: Option<u64>,
}

impl Budgets {
    pub(crate) fn export(&self, name: &str) -> Option<BudgetState> {
        self.budgets.get(name).cloned()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.budgets.keys().map(String::as_str)
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &BudgetState> {
        self.budgets.values()
    }

    pub(crate) fn restore(&mut self, budget: BudgetState) {
        self.budgets.insert(budget.spec.name.clone(), budget);
        self.index();
    }

    fn index(&mut self) {
        self.by_app.clear();
        for (name, budget) in &self.budgets {
            let app = self.by_app.entry(budget.spec.app.clone());
            app.or_insert_with(|| name.clone());
        }
    }

    pub(crate) fn approve(&mut self, count: u32) {
        self.approved = self.approved.saturating_add(count);
        self.tripped_ms = None;
    }

    pub(crate) fn approved(&self) -> u32 {
        self.approved
    }

    pub(crate) fn tripped_ms(&self) -> Option<u64> {
        self.tripped_ms
    }

    pub(crate) fn window(&self) -> Vec<(u64, u32)> {
        self.window.iter().copied().collect()
    }

    /// Tokens missing in the system's bucket, and as of when.
    pub(crate) fn spent(&self) -> (u32, u64) {
        self.spent
    }

    pub(crate) fn restore_guard(
        &mut self,
        window: Vec<(u64, u32)>,
        approved: u32,
        spent: (u32, u64),
    ) {
        self.window = window.into();
        self.approved = approved;
        self.spent = spent;
    }

    /// Evictions of the window that ends now.
    pub(crate) fn in_window(&self, now_ms: u64) -> u32 {
        let recent = |(at, _): &&(u64, u32)| at + GUARD_WINDOW_MS > now_ms;
        self.window.iter().filter(recent).map(|(_, n)| n).sum()
    }

    /// When enough of the window has passed for `pods` more, ms.
    fn room_at(&self, limit: u32, pods: u32) -> Option<u64> {
        let mut sum: u32 = self.window.iter().map(|(_, n)| n).sum();
        for (at, n) in &self.window {
            sum -= n;
            if sum + pods <= limit {
                return Some(at + GUARD_WINDOW_MS);
            }
        }
        None
    }

    fn tokens(&self, system: BucketSpec, now_ms: u64) -> u32 {
        let (spent, since) = self.spent;
        let tokens = system.capacity.saturating_sub(spent);
        refilled(system, tokens, since, now_ms).0
    }

    fn pay_system(&mut self, system: BucketSpec, limit: u32, now_ms: u64) {
        let (spent, since) = self.spent;
        let tokens = system.capacity.saturating_sub(spent);
        let (tokens, since) = refilled(system, tokens, since, now_ms);
        self.spent = (system.capacity - tokens.saturating_sub(1), since);
        while let Some((at, _)) = self.window.front()
            && at + GUARD_WINDOW_MS <= now_ms
        {
            self.window.pop_front();
        }
        if self.in_window(now_ms) >= limit && self.approved > 0 {
            self.approved -= 1;
            return;
        }
        match self.window.back_mut() {
            Some((at, n)) if *at == now_ms => *n += 1,
            _ => self.window.push_back((now_ms, 1)),
        }
    }
}

impl Engine {
    pub(crate) fn put_budget(
        &mut self,
        spec: BudgetSpec,
        now_ms: u64,
        out: &mut Output,
    ) -> Result<(), EventError> {
        let bad = |problem: &str| EventError::Budget {
            name: spec.name.clone(),
            problem: problem.to_owned(),
        };
        if !model::node::is_name(&spec.name) {
            return Err(bad(
                "a name is 1 to 253 characters of [A-Za-z0-9._/-]; choose another",
            ));
        }
        if spec.app.is_empty() {
            return Err(bad(
                "it names no application; say whose pods it protects in `app`",
            ));
        }
        let before = self.budgets.budgets.get(&spec.name);
        if before.is_none() && self.budgets.budgets.len() >= BUDGETS_MAX {
            return Err(bad(&format!(
                "it would be one more than the {BUDGETS_MAX} a cluster can have; remove another first"
            )));
        }
        // What was spent stays spent, so that a change is not a way to refill.
        let spent = before.and_then(|b| {
            let bucket = b.spec.bucket?;
            let (tokens, since) = refilled(bucket, b.tokens, b.refilled_ms, now_ms);
            Some((bucket.capacity - tokens, since))
        });
        let capacity = spec.bucket.map_or(0, |b| b.capacity);
        let (spent, refilled_ms) = spent.unwrap_or((0, now_ms));
        let name = spec.name.clone();
        let budget = BudgetState {
            spec,
            tokens: capacity.saturating_sub(spent),
            refilled_ms,
        };
        self.budgets.budgets.insert(name.clone(), budget);
        self.budgets.index();
        out.changed.push(Key::Budget(Arc::from(name)));
        Ok(())
    }

    pub(crate) fn remove_budget(&mut self, name: &str, out: &mut Output) -> Result<(), EventError> {
        if self.budgets.budgets.remove(name).is_none() {
            return Err(EventError::UnknownBudget(name.to_owned()));
        }
        self.budgets.index();
        out.changed.push(Key::Budget(Arc::from(name)));
        Ok(())
    }

    /// The budget that a pod counts for.
    pub(crate) fn budget_of(&self, slot: u32) -> Option<&str> {
        if self.budgets.by_app.is_empty() {
            return None;
        }
        let app = &self.pods.get(slot).spec.app;
        self.budgets.by_app.get(app).map(String::as_str)
    }

    /// Pods of a budget's application that run and were not asked to leave.
    pub(crate) fn available(&self, budget: &BudgetSpec) -> u32 {
        let app = self.pods.apps.get(budget.app.as_str());
        app.map_or(0, |id| self.pods.available(1 + id))
    }

    /// Tokens of a budget now; `None` without a bucket.
    pub(crate) fn budget_tokens(&self, budget: &BudgetState) -> Option<u32> {
        let bucket = budget.spec.bucket?;
        Some(refilled(bucket, budget.tokens, budget.refilled_ms, self.now_ms).0)
    }

    /// Pods of this budget that may still be disrupted now.
    pub(crate) fn disruptions_left(&self, name: &str) -> u32 {
        let Some(budget) = self.budgets.budgets.get(name) else {
            return u32::MAX;
        };
        let spare = self.available(&budget.spec);
        let spare = spare.saturating_sub(budget.spec.min_available);
        self.budget_tokens(budget).map_or(spare, |t| t.min(spare))
    }

    /// Why a budget allows no more, with the numbers.
    pub(crate) fn budget_says(&self, name: &str) -> String {
        let Some(budget) = self.budgets.budgets.get(name) else {
            return String::new();
        };
        let (spec, available) = (&budget.spec, self.available(&budget.spec));
        let tokens = self.budget_tokens(budget);
        match (tokens, spec.bucket) {
            (Some(tokens), Some(bucket)) if available > spec.min_available => format!(
                "disruption budget {name:?} has {tokens} of {} tokens left and gains one every {} ms; wait, or raise its bucket",
                bucket.capacity, bucket.refill_ms
            ),
            _ => format!(
                "disruption budget {name:?} keeps {} pods of {:?} running and {available} are; start more of them, or lower min_available",
                spec.min_available, spec.app
            ),
        }
    }

    /// Most evictions in the guard's window.
    pub(crate) fn guard_limit(&self) -> u32 {
        let share = self.pods.running() as u64 * GUARD_PERCENT / 100;
        GUARD_FLOOR.max(share.min(u64::from(u32::MAX)) as u32)
    }

    /// Tokens of the system's bucket now.
    pub(crate) fn system_tokens(&self) -> u32 {
        self.budgets
            .tokens(self.config.eviction_bucket, self.now_ms)
    }

    /// Whether the system as a whole allows this many evictions now.
    pub(crate) fn system_allows(&self, pods: u32) -> Result<(), String> {
        if self.hold {
            return Err(
                "the host is on HOLD and takes nothing away; check its state and release it"
                    .to_owned(),
            );
        }
        if let Some(why) = self.guard_says(pods) {
            return Err(why);
        }
        let bucket = self.config.eviction_bucket;
        let tokens = self.system_tokens();
        if pods > tokens {
            return Err(format!(
                "{pods} evictions wanted, but the system's bucket has {tokens} of {} tokens left and gains one every {} ms; wait",
                bucket.capacity, bucket.refill_ms
            ));
        }
        Ok(())
    }

    /// Why the guard against mass evictions stops this many, if it does.
    fn guard_says(&self, pods: u32) -> Option<String> {
        let (limit, approved) = (self.guard_limit(), self.budgets.approved);
        let used = self.budgets.in_window(self.now_ms);
        let left = limit.saturating_sub(used).saturating_add(approved);
        if pods <= left {
            return None;
        }
        let wait = match self.budgets.room_at(limit, pods) {
            Some(at) => format!("wait until {at} ms, or approve {}", pods - left),
            None => format!("approve {}", pods - left),
        };
        Some(format!(
            "{pods} evictions wanted, but {used} of at most {limit} were made in the last {} minutes ({GUARD_PERCENT} % of {} running pods, at least {GUARD_FLOOR}; {approved} more approved); {wait}",
            GUARD_WINDOW_MS / 60_000,
            self.pods.running()
        ))
    }

    /// As [`Self::system_allows`], and raises the guard's alarm, once a window.
    pub(crate) fn may_disrupt(&mut self, pods: u32, out: &mut Output) -> Result<(), String> {
        if !self.hold
            && let Some(why) = self.guard_says(pods)
        {
            let quiet = self.budgets.tripped_ms.map(|at| at + GUARD_WINDOW_MS);
            if quiet.is_none_or(|until| until <= self.now_ms) {
                self.budgets.tripped_ms = Some(self.now_ms);
                out.effects.push(Effect::GuardTripped { why: why.clone() });
            }
            return Err(why);
        }
        self.system_allows(pods)
    }

    /// Pays for the eviction of a pod that has been asked to leave.
    pub(crate) fn spend(&mut self, slot: u32, out: &mut Output) {
        let (now, limit) = (self.now_ms, self.guard_limit());
        let bucket = self.config.eviction_bucket;
        self.budgets.pay_system(bucket, limit, now);
        out.changed.push(Key::Core);
        let Some(name) = self.budget_of(slot).map(str::to_owned) else {
            return;
        };
        if let Some(budget) = self.budgets.budgets.get_mut(&name)
            && let Some(bucket) = budget.spec.bucket
        {
            let (tokens, since) = refilled(bucket, budget.tokens, budget.refilled_ms, now);
            budget.tokens = tokens.saturating_sub(1);
            budget.refilled_ms = since;
            out.changed.push(Key::Budget(Arc::from(name)));
        }
    }
}

#[cfg(test)]
mod tests;
