//! Which pod is looked at next: priority first, then arrival.
//!
//! Pods of one class succeed or fail alike, so the queue parks whole classes.
//! When the head of a class does not fit, no other pod of it is tried until
//! something changes that could help: a row that passes the native filter, or
//! the end of the back-off. A pod that a *policy* refused is set aside alone:
//! the policy may have looked at its application, which its class does not have.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// First wait after a failed attempt, ms (kube-scheduler's default).
pub const BACKOFF_FIRST_MS: u64 = 1_000;

/// Longest wait, ms: a class is looked at again at least this often even if no
/// event seemed to help it, because a policy may have changed its mind.
pub const BACKOFF_MAX_MS: u64 = 60_000;

/// Wait of a pod that a policy refused, ms, unless a row changes before.
pub const REFUSED_MS: u64 = 5_000;

type Key = (Reverse<i32>, u64, u32);

#[derive(Debug, Default)]
struct Line {
    pods: BTreeSet<Key>,
    parked: Option<Parked>,
    attempts: u32,
}

#[derive(Debug, Clone, Copy)]
struct Parked {
    retry_at_ms: u64,
}

/// Pods waiting, by class.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: BTreeMap<u32, Line>,
    /// Heads of the classes that are not parked.
    ready: BTreeSet<(Key, u32)>,
    /// Parked classes by the time they are retried.
    timers: BTreeSet<(u64, u32)>,
    /// Pods set aside, with the time they are looked at again.
    aside: BTreeMap<u32, Aside>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Aside {
    class: u32,
    key: Key,
    retry_at_ms: u64,
}

impl Queue {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, class: u32, priority: i32, arrival: u64, pod: u32) {
        self.edit(class, |line| {
            line.pods.insert((Reverse(priority), arrival, pod))
        });
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, class: u32, priority: i32, arrival: u64, pod: u32) {
        let key = (Reverse(priority), arrival, pod);
        if self.aside.remove(&pod).is_some() {
            self.len -= 1;
            return;
        }
        if self.edit(class, |line| line.pods.remove(&key)) {
            self.len -= 1;
        }
    }

    /// The pod to look at now. It stays in the queue until bound or removed.
    pub(crate) fn head(&self) -> Option<(u32, u32)> {
        self.ready
            .first()
            .map(|((_, _, pod), class)| (*class, *pod))
    }

    /// Priority and arrival of the head, in the order heads are compared.
    pub(crate) fn head_key(&self) -> Option<(Reverse<i32>, u64)> {
        let ((priority, arrival, _), _) = self.ready.first()?;
        Some((*priority, *arrival))
    }

    /// The head of this class did not fit.
    pub(crate) fn park(&mut self, class: u32, now_ms: u64) {
        let Some(line) = self.lines.get_mut(&class) else {
            return;
        };
        if let Some(head) = line.pods.first() {
            self.ready.remove(&(*head, class));
        }
        let wait = (BACKOFF_FIRST_MS << line.attempts.min(16)).min(BACKOFF_MAX_MS);
        line.attempts += 1;
        let parked = Parked {
            retry_at_ms: now_ms + wait,
        };
        line.parked = Some(parked);
        self.timers.insert((parked.retry_at_ms, class));
    }

    /// A policy refused every node that this pod fits on.
    pub(crate) fn set_aside(&mut self, class: u32, pod: u32, now_ms: u64) {
        let line = self.lines.get(&class);
        let key = line.and_then(|l| l.pods.iter().copied().find(|(.., p)| *p == pod));
        if let Some(key) = key {
            self.edit(class, |line| line.pods.remove(&key));
            let retry_at_ms = now_ms + REFUSED_MS;
            self.aside.insert(
                pod,
                Aside {
                    class,
                    key,
                    retry_at_ms,
                },
            );
        }
    }

    /// Puts pods set aside back into their lines.
    fn take_back(&mut self, which: impl Fn(&Aside) -> bool) {
        let back: Vec<(u32, Aside)> = self
            .aside
            .iter()
            .filter(|(_, a)| which(a))
            .map(|(pod, a)| (*pod, *a))
            .collect();
        for (pod, a) in back {
            self.aside.remove(&pod);
            self.edit(a.class, |line| line.pods.insert(a.key));
        }
    }

    /// Classes of pods set aside.
    pub(crate) fn classes_aside(&self) -> BTreeSet<u32> {
        self.aside.values().map(|a| a.class).collect()
    }

    /// Pods set aside.
    pub(crate) fn aside(&self) -> impl Iterator<Item = u32> + '_ {
        self.aside.keys().copied()
    }

    /// When a pod set aside is looked at again; `None` for others.
    pub(crate) fn aside_until(&self, pod: u32) -> Option<u64> {
        self.aside.get(&pod).map(|a| a.retry_at_ms)
    }

    /// Something changed that may help this class.
    pub(crate) fn wake(&mut self, class: u32) {
        self.take_back(|a| a.class == class);
        let Some(line) = self.lines.get_mut(&class) else {
            return;
        };
        if let Some(parked) = line.parked.take() {
            self.timers.remove(&(parked.retry_at_ms, class));
            if let Some(head) = line.pods.first() {
                self.ready.insert((*head, class));
            }
        }
    }

    /// A pod of this class was bound: its next failure backs off from the start.
    pub(crate) fn succeeded(&mut self, class: u32) {
        if let Some(line) = self.lines.get_mut(&class) {
            line.attempts = 0;
        }
    }

    /// Wakes every class whose back-off is over.
    pub(crate) fn wake_due(&mut self, now_ms: u64) {
        while let Some((at, class)) = self.timers.first().copied()
            && at <= now_ms
        {
            self.wake(class);
        }
        self.take_back(|a| a.retry_at_ms <= now_ms);
    }

    /// Wakes everything: the rules changed, not the cluster.
    pub(crate) fn wake_all(&mut self) {
        for class in self.parked().collect::<Vec<_>>() {
            self.wake(class);
        }
        self.take_back(|_| true);
    }

    /// Parked classes in order of id.
    pub(crate) fn parked(&self) -> impl Iterator<Item = u32> + '_ {
        self.lines
            .iter()
            .filter(|(_, line)| line.parked.is_some())
            .map(|(class, _)| *class)
    }

    /// Whether any class is parked, without walking them.
    pub(crate) fn any_parked(&self) -> bool {
        !self.timers.is_empty() || !self.aside.is_empty()
    }

    /// When this class is looked at again at the latest; `None` if it is not
    /// parked.
    pub(crate) fn retry_at(&self, class: u32) -> Option<u64> {
        self.lines
            .get(&class)?
            .parked
            .map(|parked| parked.retry_at_ms)
    }

    /// Pods waiting, in the order they will be looked at inside each class.
    pub(crate) fn line(&self, class: u32) -> impl Iterator<Item = u32> + '_ {
        let line = self.lines.get(&class);
        line.into_iter()
            .flat_map(|l| l.pods.iter().map(|(_, _, pod)| *pod))
    }

    /// Pods waiting in each class.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let lines = self.lines.iter();
        lines.map(|(class, line)| (*class, line.pods.len() as u32))
    }

    /// Changes a line and keeps `ready` pointing at its head.
    fn edit(&mut self, class: u32, change: impl FnOnce(&mut Line) -> bool) -> bool {
        let line = self.lines.entry(class).or_default();
        let before = line.pods.first().copied();
        let changed = change(line);
        let after = line.pods.first().copied();
        if line.parked.is_none() && before != after {
            if let Some(key) = before {
                self.ready.remove(&(key, class));
            }
            if let Some(key) = after {
                self.ready.insert((key, class));
            }
        }
        if line.pods.is_empty() {
            if let Some(parked) = line.parked {
                self.timers.remove(&(parked.retry_at_ms, class));
            }
            self.lines.remove(&class);
        }
        changed
    }
}

#[cfg(test)]
mod tests;
