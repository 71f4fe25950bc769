//! The latest decisions in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Decision;

/// Decisions kept: some 600 bytes each, 40 MB. Older ones are in the journal.
pub const RECENT_MAX: usize = 65_536;

/// In order of their numbers. Numbers have gaps where replicas were decided
/// about.
#[derive(Debug, Default)]
pub struct Recent {
    list: VecDeque<Arc<Decision>>,
}

impl Recent {
    pub(crate) fn push(&mut self, decision: Arc<Decision>) {
        if self.list.len() == RECENT_MAX {
            self.list.pop_front();
        }
        self.list.push_back(decision);
    }

    /// The decision with this number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Arc<Decision>> {
        let at = self.list.partition_point(|d| d.seq < id);
        self.list.get(at).filter(|d| d.seq == id)
    }

    /// Newest first, those numbered below `before`.
    pub fn before(&self, before: u64) -> impl Iterator<Item = &Arc<Decision>> {
        let end = self.list.partition_point(|d| d.seq < before);
        self.list.range(..end).rev()
    }

    /// Number of the oldest.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.list.front().map(|d| d.seq)
    }
}
