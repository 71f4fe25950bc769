//! Two bounded queues into one thread: changes, and reads that see the state
//! between two commits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Changes waiting. At 20 000 a second this is a fifth of a second of work: what
/// waits longer had better be told to come again.
pub const WRITES_MAX: usize = 4_096;

/// Reads waiting. Each takes micro- to milliseconds of the thread that decides.
pub const READS_MAX: usize = 256;

/// The other side has all it takes, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// What the core thread is to do next.
pub(crate) struct Work<W, R> {
    pub(crate) writes: Vec<W>,
    pub(crate) reads: Vec<R>,
    /// Nothing more will come.
    pub(crate) closed: bool,
}

struct State<W, R> {
    writes: VecDeque<W>,
    reads: VecDeque<R>,
    closed: bool,
}

pub(crate) struct Lanes<W, R> {
    state: Mutex<State<W, R>>,
    wake: Condvar,
}

impl<W, R> Lanes<W, R> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                writes: VecDeque::new(),
                reads: VecDeque::new(),
                closed: false,
            }),
            wake: Condvar::new(),
        }
    }

    fn push(
        &self,
        put: impl FnOnce(&mut State<W, R>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(Refused::Closed);
        }
        put(&mut state)?;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    pub(crate) fn write(&self, item: W) -> Result<(), Refused> {
        self.push(|state| {
            if state.writes.len() >= WRITES_MAX {
                return Err(Refused::Full);
            }
            state.writes.push_back(item);
            Ok(())
        })
    }

    pub(crate) fn read(&self, item: R) -> Result<(), Refused> {
        self.push(|state| {
            if state.reads.len() >= READS_MAX {
                return Err(Refused::Full);
            }
            state.reads.push_back(item);
            Ok(())
        })
    }

    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        drop(state);
        self.wake.notify_all();
    }

    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.writes.len()
    }

    /// Everything to read and up to `max` changes; waits until there is something
    /// or the deadline has passed.
    pub(crate) fn take(&self, max: usize, deadline: Option<Instant>) -> Work<W, R> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.writes.is_empty() && state.reads.is_empty() && !state.closed {
            match deadline {
                None => {
                    state = self
                        .wake
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner)
                }
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.wake.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        let count = state.writes.len().min(max);
        Work {
            writes: state.writes.drain(..count).collect(),
            reads: state.reads.drain(..).collect(),
            closed: state.closed && state.writes.is_empty(),
        }
    }
}
