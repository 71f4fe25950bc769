//! What is used when: the quota tree's usage as steps in time.
//!
//! What runs now is taken to run for ever, because nobody says how long it still
//! will. So room comes back only from heads admitted in this very cycle.

use loadmaster_sdk::quota::{Amount, QuotaTree, Usage};

use crate::need::{Need, Shape};

/// Points in time that are told apart. Every head is tried at each, so this
/// bounds the work for one; an end that has no point of its own is taken to be
/// at the next one, or never.
const POINTS_MAX: usize = 16;

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

/// Why a head cannot start now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocked {
    /// The first step that has no room for it.
    step: usize,
    /// A later start in time, if there is one.
    pub(crate) later: Option<Slot>,
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
    fn full(&self, from: usize, payer: usize, demand: &[Amount], shape: Shape) -> Option<usize> {
        let start = self.steps[from].start;
        let end = shape.ms.map_or(u64::MAX, |ms| start.saturating_add(ms));
        let within = |step: &Step| step.start == start || step.start < end;
        let steps = self.steps[from..].iter().take_while(|s| within(s));
        let full = |s: &Step| !self.tree.fits(&s.usage, payer, demand);
        steps
            .map(full)
            .position(|full| full)
            .map(|after| from + after)
    }

    /// Whether the head can start now, and else when.
    pub(crate) fn place(
        &mut self,
        payer: usize,
        demand: &[Amount],
        need: &Need,
    ) -> Result<Slot, Blocked> {
        let (mut from, mut blocked) = (0, None);
        while from < self.steps.len() {
            let start = self.steps[from].start;
            let Some(shape) = need.shape(start) else {
                break;
            };
            let scaled = self.scaled(demand, shape);
            let full = self.full(from, payer, &scaled, shape);
            self.scratch = scaled;
            let slot = Slot { start, shape };
            match (full, blocked) {
                (None, None) => return Ok(slot),
                (None, Some(step)) => {
                    let later = Some(slot);
                    return Err(Blocked { step, later });
                }
                // Whatever starts before the full step's end runs into it.
                (Some(full), _) => {
                    blocked = blocked.or(Some(full));
                    from = full + 1;
                }
            }
        }
        Err(Blocked {
            step: blocked.unwrap_or(0),
            later: None,
        })
    }

    /// Index of the step that begins at this time, or of the next.
    fn cut(&mut self, at: Option<u64>) -> usize {
        let Some(at) = at else {
            return self.steps.len();
        };
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

    /// What is missing where, at the step that blocks.
    pub(crate) fn shortages(
        &mut self,
        blocked: Blocked,
        payer: usize,
        demand: &[Amount],
        shape: Shape,
    ) -> Vec<(usize, u32, i64)> {
        let scaled = self.scaled(demand, shape);
        let usage = &self.steps[blocked.step].usage;
        let mut found = Vec::new();
        self.tree
            .shortages(usage, payer, &scaled, |node, resource, by| {
                found.push((node, resource, by));
            });
        self.scratch = scaled;
        found
    }
}
