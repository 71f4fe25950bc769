//! Replicas of a workload whose pods live elsewhere: the engine only knows what
//! it asked for, and how long a replica takes.

/// Replicas that were asked for and serve from some time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Starting {
    /// When they serve, ms.
    pub ready_at_ms: u64,
    /// How many.
    pub count: u32,
}

/// What was asked for, by time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replicas {
    /// Serving.
    pub ready: u32,
    /// Not serving yet, in the order asked for.
    pub starting: Vec<Starting>,
}

impl Replicas {
    pub(crate) fn serving(ready: u32) -> Self {
        Self {
            ready,
            starting: Vec::new(),
        }
    }

    /// Serving and starting replicas at a time not before the last change.
    #[must_use]
    pub fn at(&self, now_ms: u64) -> (u32, u32) {
        self.starting.iter().fold((self.ready, 0), |(r, s), x| {
            if x.ready_at_ms <= now_ms {
                (r + x.count, s)
            } else {
                (r, s + x.count)
            }
        })
    }

    /// Makes it `wanted` in total. Those asked for last leave first, because
    /// they serve nobody yet.
    pub(crate) fn ask(&mut self, now_ms: u64, start_up_ms: u64, wanted: u32) {
        let (ready, starting) = self.at(now_ms);
        self.ready = ready;
        self.starting.retain(|x| x.ready_at_ms > now_ms);
        let current = ready + starting;
        if wanted > current {
            self.starting.push(Starting {
                ready_at_ms: now_ms + start_up_ms,
                count: wanted - current,
            });
        }
        let mut surplus = current.saturating_sub(wanted);
        while surplus > 0 {
            let Some(last) = self.starting.last_mut() else {
                self.ready -= surplus;
                return;
            };
            let gone = surplus.min(last.count);
            last.count -= gone;
            surplus -= gone;
            if last.count == 0 {
                self.starting.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_serve_after_their_start_up() {
        let mut r = Replicas::serving(2);
        r.ask(1_000, 500, 5);
        assert_eq!((r.at(1_499), r.at(1_500)), ((2, 3), (5, 0)));
        r.ask(1_400, 500, 6);
        assert_eq!((r.at(1_400), r.at(1_500)), ((2, 4), (5, 1)));
    }

    #[test]
    fn the_newest_starting_ones_leave_first() {
        let mut r = Replicas::serving(4);
        r.ask(0, 500, 6);
        r.ask(100, 500, 9);
        r.ask(200, 500, 5);
        assert_eq!((r.at(499), r.at(500)), ((4, 1), (5, 0)));
        r.ask(300, 500, 1);
        assert_eq!(r, Replicas::serving(1));
    }
}
