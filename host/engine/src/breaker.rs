//! What follows from a fault: first nothing but a count, then the policy set
//! goes. Counts calls, never time, so that a replay trips at the same call.

use std::collections::VecDeque;

/// Faults in a row that trip: five bad answers are not bad luck.
pub const CONSECUTIVE_MAX: u32 = 5;

/// Calls looked back at.
pub const WINDOW_CALLS: usize = 200;

/// Faults among [`WINDOW_CALLS`] that trip: more than 5 %.
pub const WINDOW_FAULTS_MAX: u32 = 10;

/// One policy's record in the active set.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    calls: u64,
    consecutive: u32,
    /// Call numbers of the faults in the window.
    faults: VecDeque<u64>,
    total: u64,
}

impl Breaker {
    /// A call that went well.
    pub fn ok(&mut self) {
        self.calls += 1;
        self.consecutive = 0;
    }

    /// A call that faulted. Returns whether the policy has to go.
    pub fn fault(&mut self) -> bool {
        self.calls += 1;
        self.total += 1;
        self.consecutive += 1;
        self.faults.push_back(self.calls);
        while let Some(first) = self.faults.front()
            && *first + WINDOW_CALLS as u64 <= self.calls
        {
            self.faults.pop_front();
        }
        self.tripped()
    }

    /// Whether the policy has to go.
    #[must_use]
    pub fn tripped(&self) -> bool {
        self.consecutive >= CONSECUTIVE_MAX || self.faults.len() as u32 > WINDOW_FAULTS_MAX
    }

    /// Faults since the set was installed.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Calls since the set was installed.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_in_a_row_trip_but_four_do_not() {
        let mut b = Breaker::default();
        assert!((0..4).all(|_| !b.fault()));
        b.ok();
        assert!((0..4).all(|_| !b.fault()));
        assert!(b.fault());
    }

    #[test]
    fn more_than_one_in_twenty_trips() {
        let mut b = Breaker::default();
        let tripped = (0..WINDOW_CALLS).any(|i| {
            if i % 18 == 0 {
                b.fault()
            } else {
                b.ok();
                false
            }
        });
        assert!(tripped);
        let mut b = Breaker::default();
        for i in 0..10 * WINDOW_CALLS {
            if i % 20 == 0 {
                assert!(!b.fault(), "exactly 5 % is tolerated");
            } else {
                b.ok();
            }
        }
    }
}
