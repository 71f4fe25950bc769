//! What is used when: the quota tree's usage as steps in time.
//!
//! What runs now is taken to run for ever, because nobody says how long it still
//! will. So room comes back only from heads admitted in this very cycle.

use loadmaster_sdk::quota::{Amount, QuotaTree, Usage};

use crate::need::{Need, Shape};

/// Points in time that are told apart. Every head is tried at each: with more of
/// them, a head of five resources in a tree of eight levels would need more than
/// the 50,000 instructions that the host gives for one. An end that has no point
/// of its own is taken to be at the next one, or never.
const POINTS_MAX: usize = 10;

/// So many are exact. Those after are a power of two milliseconds from now, so
/// that few of them reach far and do not depend on who comes later.
const POINTS_EXACT: usize = 7;

struct Step {
    /// Until the next step's.
    start: u64,
    usage: Usage,
}

/// Usage from now on.
pub(crate) struct Plan<'a> {
    tree: &'a QuotaTree,
    steps: Vec<Step>,
    /// Something begins later than now.
    ahead: bool,
    scratch: Vec<Amount>,
}

/// Where a head would go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) start: u64,
    pub(crate) shape: Shape,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(tree: &'a QuotaTree, usage: Usage, now: u64) -> Self {
        Self {
            tree,
            steps: vec![Step { start: now, usage }],
            ahead: false,
            scratch: Vec::new(),
        }
    }

    /// What some of the pods need of a demand.
    fn scaled(&mut self, demand: &[Amount], shape: Shape) -> Vec<Amount> {
        let mut scaled = std::mem::take(&mut self.scratch);
        scaled.clear();
        scaled.extend(demand.iter().map(|d| match shape.pods {
            Some((pods, all)) => Amount {
                amount: d.amount / i64::from(all) * i64::from(pods),
                ..*d
            },
            None => *d,
        }));
        scaled
    }

    /// First step from `from` on, within the time of a run, that has no room.
    fn full(
        &mut self,
        from: usize,
        payer: usize,
        demand: &[Amount],
        shape: Shape,
    ) -> Option<usize> {
        let scaled = self.scaled(demand, shape);
        let start = self.steps[from].start;
        let end = shape.ms.map_or(u64::MAX, |ms| start.saturating_add(ms));
        let fits = |s: &Step| self.tree.fits(&s.usage, payer, &scaled);
        // When all began by now, no later step is fuller than this one.
        let many = if self.ahead { usize::MAX } else { 1 };
        let within = |s: &&Step| s.start == start || s.start < end;
        let mut steps = self.steps[from..].iter().take_while(within).take(many);
        let full = steps.position(|s| !fits(s));
        self.scratch = scaled;
        full.map(|after| from + after)
    }

    /// The step that keeps a head from starting now; none if it can.
    pub(crate) fn in_the_way(
        &mut self,
        payer: usize,
        demand: &[Amount],
        shape: Shape,
    ) -> Option<usize> {
        self.full(0, payer, demand, shape)
    }

    /// The earliest start in time after a step that has no room.
    pub(crate) fn later(
        &mut self,
        mut full: usize,
        payer: usize,
        demand: &[Amount],
        need: &Need,
    ) -> Option<Slot> {
        // Whatever starts before the end of a full step runs into it.
        while let Some(step) = self.steps.get(full + 1) {
            let start = step.start;
            let shape = need.shape(start)?;
            match self.full(full + 1, payer, demand, shape) {
                Some(next) => full = next,
                None => return Some(Slot { start, shape }),
            }
        }
        None
    }

    /// A time for which there is a point, or may be one.
    fn rounded(&self, at: u64) -> u64 {
        let there = self.steps.iter().any(|s| s.start == at);
        if there || self.steps.len() < POINTS_EXACT {
            return at;
        }
        let now = self.steps[0].start;
        let far = at.saturating_sub(now).checked_next_power_of_two();
        now.saturating_add(far.unwrap_or(u64::MAX))
    }

    /// Index of the step that begins at this time, or of the next.
    fn cut(&mut self, at: Option<u64>) -> usize {
        let Some(at) = at else {
            return self.steps.len();
        };
        let at = self.rounded(at);
        let next = self.steps.partition_point(|s| s.start < at);
        let there = self.steps.get(next).is_some_and(|s| s.start == at);
        if next > 0 && !there && self.steps.len() < POINTS_MAX {
            let usage = self.steps[next - 1].usage.clone();
            self.steps.insert(next, Step { start: at, usage });
        }
        next
    }

    /// Keeps the room of a slot.
    pub(crate) fn reserve(&mut self, payer: usize, demand: &[Amount], slot: Slot) {
        let from = self.cut(Some(slot.start));
        // Also what takes no time is there when it starts.
        let end = |ms: u64| slot.start.saturating_add(ms.max(1));
        let to = self.cut(slot.shape.ms.map(end));
        self.ahead |= from > 0;
        let scaled = self.scaled(demand, slot.shape);
        for step in &mut self.steps[from..to] {
            self.tree.charge(&mut step.usage, payer, &scaled);
        }
        self.scratch = scaled;
    }

    /// Keeps the room from now to a deadline, whether it is there or not.
    pub(crate) fn hold(&mut self, payer: usize, demand: &[Amount], shape: Shape, until: u64) {
        let now = self.steps[0].start;
        let shape = Shape {
            ms: Some(until.saturating_sub(now)),
            ..shape
        };
        self.reserve(payer, demand, Slot { start: now, shape });
    }

    /// After the last head that may start later than now: when nothing is planned
    /// ahead, no step is fuller than the first, and the first will do.
    pub(crate) fn only_now(&mut self) {
        if !self.ahead {
            self.steps.truncate(1);
        }
    }

    /// What is missing where, at one step.
    pub(crate) fn shortages(
        &mut self,
        step: usize,
        payer: usize,
        demand: &[Amount],
        shape: Shape,
    ) -> Vec<(usize, u32, i64)> {
        let scaled = self.scaled(demand, shape);
        let usage = &self.steps[step].usage;
        let mut found = Vec::new();
        self.tree
            .shortages(usage, payer, &scaled, |node, resource, by| {
                found.push((node, resource, by));
            });
        self.scratch = scaled;
        found
    }
}
