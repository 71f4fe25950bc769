//! Which rows are worth asking about. For one pod that is a few hundred of
//! thousands, by a number that is remembered for each row and worked out again
//! only for rows that changed.

use std::collections::HashMap;

use crate::class::Class;
use crate::engine::Engine;
use crate::filter::{Filter, MatchMemo};
use crate::port::preemption::Action;
use crate::whatif::RowLeft;

use super::request::{ROWS_PER_PLAN, Touch, eligible};
use super::unit::Unit;

/// Signatures remembered; each takes 8 bytes a row.
const SIGNATURES_MAX: usize = 64;

/// A row on which nobody's leaving would be enough.
const NEVER: i64 = i64::MAX;

/// What the pod needs, and its priority. Not the class by id: ids end with the
/// last pod that has them, and the next pod of the kind would start cold.
type Signature = (Class, i32);

/// Remembered numbers.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Only looked up, so that its order can never reach a decision.
    known: HashMap<Signature, Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    /// Position in the change log up to which the keys are true.
    seen: u64,
    /// Smaller is better: highest priority that has to go, then how many.
    keys: Vec<i64>,
}

impl Candidates {
    /// Forgets everything: ids of selectors or tolerations have new meanings.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }
}

impl Engine {
    /// Whether the step can touch anything at all, without looking at rows.
    pub(crate) fn worth_asking(&self, unit: &Unit, action: Action) -> bool {
        match action {
            Action::Consolidate => self.pods.movable() > 0,
            Action::Preempt => self
                .pods
                .lowest_priority()
                .is_some_and(|p| p < unit.priority),
            Action::Reclaim => unit.queue.as_deref().is_some_and(|queue| {
                let unpaid = unit.slots().any(|s| !self.pods.get(s).admitted);
                let lent = |name: &str| self.quotas.borrows(name);
                (unpaid || self.quotas.within_guarantee(queue))
                    && self.quotas.queue_names().any(lent)
            }),
        }
    }

    /// Rows for the question, ascending.
    pub(crate) fn candidate_rows(&mut self, unit: &Unit, action: Action) -> Vec<u32> {
        if unit.gang {
            return self.eligible_rows(unit);
        }
        let Some(role) = unit.roles.first() else {
            return Vec::new();
        };
        let class = role.class;
        let touch = Touch::new(self, unit, action);
        let mut candidates = std::mem::take(&mut self.preemption.candidates);
        let signature = (self.classes.get(class).clone(), unit.priority);
        let mut once = Keys::default();
        // Who borrows changes without the row changing, so only priorities are
        // remembered.
        let keys = if action == Action::Preempt && touch.borrower.is_none() {
            if candidates.known.len() >= SIGNATURES_MAX
                && !candidates.known.contains_key(&signature)
            {
                candidates.known.clear();
            }
            candidates.known.entry(signature).or_default()
        } else {
            &mut once
        };
        self.refresh_keys(keys, class, touch);
        let mut rows = best_rows(&keys.keys, ROWS_PER_PLAN);
        if action == Action::Consolidate && !rows.is_empty() {
            rows.extend(self.roomy_rows(class, ROWS_PER_PLAN));
        }
        self.preemption.candidates = candidates;
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    fn refresh_keys(&self, keys: &mut Keys, class: u32, touch: Touch<'_>) {
        let rows = self.nodes.rows();
        let changed = self.nodes.changed_since(keys.seen);
        let fresh = keys.keys.is_empty();
        let mut memo = MatchMemo::default();
        let filter = Filter::new(&self.nodes, &self.classes, class);
        keys.keys.resize(rows as usize, NEVER);
        let mut look = |row: u32, keys: &mut Vec<i64>| {
            keys[row as usize] = if eligible(&filter, &mut memo, row) {
                self.row_key(filter.class, row, touch)
            } else {
                NEVER
            };
        };
        match changed {
            Some(changed) if !fresh => {
                let mut changed = changed.to_vec();
                changed.sort_unstable();
                changed.dedup();
                for row in changed {
                    look(row, &mut keys.keys);
                }
            }
            _ => {
                for row in 0..rows {
                    look(row, &mut keys.keys);
                }
            }
        }
        keys.seen = self.nodes.now();
    }

    /// Takes the least important off one by one until the pod fits.
    fn row_key(&self, need: &Class, row: u32, touch: Touch<'_>) -> i64 {
        let mut pods: Vec<(i32, u64, u32)> = self
            .pods
            .on(row)
            .iter()
            .map(|slot| (self.pods.get(*slot), *slot))
            .filter(|(pod, _)| touch.allowed(self, pod) != 0)
            .map(|(pod, slot)| (pod.spec.priority, u64::MAX - pod.arrival, slot))
            .collect();
        let mut left = RowLeft::of(&self.nodes, row);
        if touch.action == Action::Reclaim && left.fits(need) {
            // Room is there; only the quota is not.
            return 0;
        }
        if pods.is_empty() {
            return NEVER;
        }
        pods.sort_unstable();
        let (mut taken, mut highest) = (0i64, i32::MIN);
        for (priority, _, slot) in pods {
            let pod = self.pods.get(slot);
            let Some(at) = &pod.at else { continue };
            left.take_off(&pod.spec.requests, at);
            let together = pod.gang.as_deref().and_then(|g| self.pods.jobs.get(g));
            taken += together.map_or(1, |job| job.pods.len() as i64);
            highest = highest.max(priority);
            if left.fits(need) {
                let rank = i64::from(highest) - i64::from(i32::MIN);
                return rank << 24 | taken.min((1 << 24) - 1);
            }
        }
        NEVER
    }

    /// Rows with most room, where moved work could go.
    fn roomy_rows(&self, class: u32, count: usize) -> Vec<u32> {
        let filter = Filter::new(&self.nodes, &self.classes, class);
        let mut memo = MatchMemo::default();
        let mut rows: Vec<(i32, i32, u32)> = self
            .nodes
            .live_rows()
            .filter(|row| eligible(&filter, &mut memo, *row))
            .map(|row| {
                let r = row as usize;
                (-self.nodes.gpu_free[r], -self.nodes.cpu_free[r], row)
            })
            .collect();
        rows.sort_unstable();
        rows.into_iter().take(count).map(|(.., row)| row).collect()
    }
}

fn best_rows(keys: &[i64], count: usize) -> Vec<u32> {
    let mut rows: Vec<(i64, u32)> = keys
        .iter()
        .enumerate()
        .filter(|(_, key)| **key != NEVER)
        .map(|(row, key)| (*key, row as u32))
        .collect();
    if rows.len() > count {
        rows.select_nth_unstable(count);
        rows.truncate(count);
    }
    rows.into_iter().map(|(_, row)| row).collect()
}
