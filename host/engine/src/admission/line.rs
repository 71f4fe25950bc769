//! Who waits for quota: one line a queue, one place a job.
//!
//! A line is in order of priority, then arrival. It is best-effort first in,
//! first out (Kueue's `BestEffortFIFO`): when the head cannot enter, those
//! behind it that fit may slip past, up to [`LOOKAHEAD`] of them, so that one big
//! job does not stop its queue. Only the head may ask for what others borrowed.
//! Strict order would need no more than a look-ahead of 0, at the price of idle
//! quota; nothing here ages, so a stream of small jobs can hold up a big one for
//! as long as it stays above its guarantee.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use model::admission::Finding;
use model::plan::QuotaShortage;
use model::quota::Amounts;

/// Jobs behind the head of a line that are looked at each time something
/// changed. A look costs about 0.2 µs, and a pod that ends in a cohort of a
/// hundred full queues causes one a queue and place.
pub(super) const LOOKAHEAD: usize = 32;

/// A job that a policy held back although its quota would pay is looked at again
/// after this time, ms: the policy may look at the time.
pub(super) const RETRY_MS: u64 = 5_000;

/// Priority, arrival of its first waiting pod, id.
pub(super) type Key = (Reverse<i32>, u64, Arc<str>);

/// Why a job is still in its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not looked at since it came.
    New,
    /// Its quota does not pay, or a policy holds it.
    Waiting(Vec<QuotaShortage>),
    /// Others use its guarantee.
    Reclaiming(Vec<QuotaShortage>),
    /// It can never be paid for.
    Rejected(Finding),
}

impl Standing {
    /// Whether it says the same, amounts aside: they change with every pod.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let same = |a: &[QuotaShortage], b: &[QuotaShortage]| {
            let where_ = |s: &QuotaShortage| (Arc::clone(&s.quota), s.resource);
            a.iter().map(where_).eq(b.iter().map(where_))
        };
        match (self, other) {
            (Self::New, Self::New) => true,
            (Self::Waiting(a), Self::Waiting(b)) | (Self::Reclaiming(a), Self::Reclaiming(b)) => {
                same(a, b)
            }
            (Self::Rejected(a), Self::Rejected(b)) => a.code == b.code,
            _ => false,
        }
    }
}

/// A job with pods that wait for quota.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) queue: Arc<str>,
    pub(super) key: Key,
    /// Its waiting pods, by arrival and slot.
    pub(super) pods: BTreeSet<(u64, u32)>,
    pub(super) standing: Standing,
    /// Rejected, and nothing changed since that could make it possible: it is not
    /// looked at, and who comes behind it is the head.
    set_aside: bool,
    /// The least that could enter, where that is known without a look at its
    /// pods.
    pub(super) least: Option<Amounts>,
}

#[derive(Debug, Default)]
struct Line {
    order: BTreeSet<Key>,
    /// The last one looked at and left since something changed.
    after: Option<Key>,
    /// Jobs looked at behind the head since then.
    looked: usize,
    /// Something changed for this line that nobody has looked at.
    dirty: bool,
}

/// All lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    jobs: BTreeMap<Arc<str>, Waiting>,
    queues: BTreeMap<Arc<str>, Line>,
    pods: usize,
    /// Something changed for all, or for some of the lines.
    dirty: bool,
    some_dirty: bool,
    /// Somebody may still be looked at since the last change.
    open: bool,
    retry_at_ms: Option<u64>,
    reclaiming: Vec<Arc<str>>,
}

impl Lines {
    pub(super) fn stir(&mut self) {
        self.dirty = true;
    }

    /// The same for one line, if there is one.
    pub(super) fn stir_line(&mut self, queue: &str) {
        if let Some(line) = self.queues.get_mut(queue) {
            line.dirty = true;
            self.some_dirty = true;
        }
    }

    /// The same for lines of some queues.
    pub(super) fn stir_lines(&mut self, which: impl Fn(&str) -> bool) {
        for (queue, line) in &mut self.queues {
            if !line.dirty && which(queue) {
                line.dirty = true;
                self.some_dirty = true;
            }
        }
    }

    pub(super) fn set_least(&mut self, id: &str, least: Amounts) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.least = Some(least);
        }
    }

    /// Pods waiting.
    pub(crate) fn pods(&self) -> usize {
        self.pods
    }

    pub(super) fn job(&self, id: &str) -> Option<&Waiting> {
        self.jobs.get(id)
    }

    pub(super) fn set_standing(&mut self, id: &str, standing: Standing) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.set_aside = matches!(standing, Standing::Rejected(_));
            job.standing = standing;
        }
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = (&Arc<str>, &Waiting)> {
        self.jobs.iter()
    }

    /// Jobs of one queue in order.
    pub(super) fn line(&self, queue: &str) -> impl Iterator<Item = (&Arc<str>, &Waiting)> {
        let line = self.queues.get(queue).into_iter();
        let ids = line.flat_map(|l| l.order.iter().map(|(.., id)| id));
        ids.filter_map(|id| self.jobs.get_key_value(id))
    }

    pub(super) fn reclaiming(&self) -> impl Iterator<Item = &str> {
        self.reclaiming.iter().map(|id| &**id)
    }

    pub(super) fn reclaim(&mut self, id: &Arc<str>) {
        if !self.reclaiming.contains(id) {
            self.reclaiming.push(Arc::clone(id));
        }
    }

    /// One more waiting pod of a job.
    pub(super) fn insert(
        &mut self,
        (job, queue): (&str, &Arc<str>),
        priority: i32,
        pod: (u64, u32),
    ) {
        let id = match self.jobs.get_key_value(job) {
            Some((id, _)) => Arc::clone(id),
            None => Arc::from(job),
        };
        let entry = self.jobs.entry(Arc::clone(&id));
        let waiting = entry.or_insert_with(|| Waiting {
            queue: Arc::clone(queue),
            key: (Reverse(priority), u64::MAX, id),
            pods: BTreeSet::new(),
            standing: Standing::New,
            set_aside: false,
            least: None,
        });
        if !waiting.pods.insert(pod) {
            return;
        }
        self.pods += 1;
        waiting.least = None;
        self.rekey(job);
    }

    /// One less. `false` if it did not wait.
    pub(super) fn remove(&mut self, job: &str, pod: (u64, u32)) -> bool {
        let Some(waiting) = self.jobs.get_mut(job) else {
            return false;
        };
        if !waiting.pods.remove(&pod) {
            return false;
        }
        self.pods -= 1;
        waiting.least = None;
        self.rekey(job);
        true
    }

    /// Puts the job where its first pod belongs, or takes it out with its last.
    fn rekey(&mut self, job: &str) {
        let Some(waiting) = self.jobs.get_mut(job) else {
            return;
        };
        let line = self.queues.entry(Arc::clone(&waiting.queue)).or_default();
        match waiting.pods.first() {
            Some((arrival, _)) if *arrival == waiting.key.1 => {}
            Some((arrival, _)) => {
                line.order.remove(&waiting.key);
                waiting.key.1 = *arrival;
                line.order.insert(waiting.key.clone());
            }
            None => {
                line.order.remove(&waiting.key);
                if line.order.is_empty() {
                    self.queues.remove(&waiting.queue);
                }
                let owed = self.reclaiming.len();
                self.reclaiming.retain(|id| **id != *job);
                self.dirty |= self.reclaiming.len() < owed;
                self.jobs.remove(job);
            }
        }
    }

    /// Whether there is anybody to look at. Lines that something changed for are
    /// looked at from the start.
    pub(super) fn begin(&mut self) -> bool {
        if self.dirty || self.some_dirty {
            self.open = true;
            let (queues, jobs) = (&mut self.queues, &self.jobs);
            let line_of = |id: &Arc<str>| queues.get(&jobs.get(id)?.queue);
            let owed = |id: &Arc<str>| line_of(id).is_some_and(|line| line.dirty);
            // What was kept for somebody may be anybody's now.
            let all = std::mem::take(&mut self.dirty) || self.reclaiming.iter().any(owed);
            self.some_dirty = false;
            if all {
                self.reclaiming.clear();
                for job in self.jobs.values_mut() {
                    job.set_aside = false;
                }
            }
            for line in queues.values_mut().filter(|line| all || line.dirty) {
                line.after = None;
                line.looked = 0;
                line.dirty = false;
            }
        }
        self.open &= !self.jobs.is_empty();
        self.open
    }

    /// Nobody is left to look at until something changes.
    pub(super) fn end(&mut self) {
        self.open = false;
    }

    /// Queues with somebody waiting, by name.
    pub(super) fn queues(&self) -> Vec<Arc<str>> {
        self.queues.keys().cloned().collect()
    }

    /// The next job of a queue to look at, and whether it is the head of its
    /// line. Who comes behind a head counts as looked at and left.
    pub(super) fn next(&mut self, queue: &str) -> Option<(Key, bool)> {
        let jobs = &self.jobs;
        let possible = |key: &&Key| !jobs.get(&key.2).is_some_and(|job| job.set_aside);
        let line = self.queues.get_mut(queue)?;
        let Some(after) = &line.after else {
            return Some((line.order.iter().find(possible)?.clone(), true));
        };
        if line.looked >= LOOKAHEAD {
            return None;
        }
        let from = (Bound::Excluded(after), Bound::Unbounded);
        let next = line.order.range(from).find(possible)?.clone();
        line.looked += 1;
        line.after = Some(next.clone());
        Some((next, false))
    }

    /// Looked at, and nothing of it entered.
    pub(super) fn leave(&mut self, queue: &str, key: &Key) {
        if let Some(line) = self.queues.get_mut(queue)
            && line.after.as_ref().is_none_or(|after| after < key)
        {
            line.after = Some(key.clone());
        }
    }

    /// Looks again after a while, although nothing may have changed.
    pub(super) fn retry(&mut self, now_ms: u64) {
        let at = now_ms + RETRY_MS;
        self.retry_at_ms = Some(self.retry_at_ms.map_or(at, |then| then.min(at)));
    }

    pub(super) fn wake_due(&mut self, now_ms: u64) {
        if self.retry_at_ms.is_some_and(|at| at <= now_ms) {
            self.retry_at_ms = None;
            self.stir();
        }
    }
}
