//! Who goes first.

use super::JobState;

/// Unfinished jobs in the order in which they may take GPUs.
pub(super) trait Ranking {
    /// A job was submitted.
    fn arrive(&mut self, job: usize, state: &JobState);

    /// A job ended.
    fn leave(&mut self, job: usize, state: &JobState);

    /// Attained service, GPU-seconds, at which the order is to be made again
    /// because of this job.
    fn limit(&self, job: &JobState) -> Option<f64>;

    /// Makes the order again after jobs arrived, left or made progress.
    fn sort(&mut self, now: f64, states: &mut [JobState]);

    /// Writes the order.
    fn write(&self, order: &mut Vec<usize>);

    /// Jobs were placed and stopped.
    fn placed(&mut self, _states: &[JobState]) {}

    /// When a running job reaches its limit, if it ever will.
    ///
    /// Attained service counts time held, not progress: counting progress
    /// could halt the simulation, because an overhead longer than the time
    /// between two events leaves none.
    fn wakes(&self, job: &JobState) -> Option<f64> {
        let left = (self.limit(job)? - job.attained) / f64::from(job.gpus);
        Some(job.since + left.max(0.0))
    }
}

/// Priority order of unfinished jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Order {
    /// First submitted first.
    Fifo,
    /// Shortest remaining time first; knows durations.
    Srtf,
    /// Smallest remaining service (time × GPUs) first; knows durations.
    Srsf,
    /// Least attained service in discrete queues (2D-LAS, Tiresias); knows
    /// nothing. Counts GPUs and does not look at nodes.
    Las,
}

impl Order {
    /// Every order with its name.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Fifo, "fifo"),
        (Self::Srtf, "srtf"),
        (Self::Srsf, "srsf"),
        (Self::Las, "las"),
    ];

    /// The order with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(o, _)| *o)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    pub(super) fn counts_gpus_only(self) -> bool {
        self == Self::Las
    }
}

/// Attained service, GPU-seconds, at which a job falls out of each queue but
/// the last: the thresholds of the published runs.
const DEMOTION_GPU_SECONDS: [f64; 2] = [3250.0, 7200.0];

/// Unfinished jobs in priority order. Only LAS has more than one queue.
#[derive(Debug)]
pub(super) struct Queues {
    order: Order,
    queues: [Vec<usize>; 3],
}

impl Queues {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            queues: [const { Vec::new() }; 3],
        }
    }

    fn demote(&mut self, states: &mut [JobState]) {
        for (from, limit) in DEMOTION_GPU_SECONDS.into_iter().enumerate() {
            let mut fallen = Vec::new();
            self.queues[from].retain(|j| {
                let falls = states[*j].running && states[*j].attained >= limit;
                if falls {
                    fallen.push(*j);
                }
                !falls
            });
            for j in fallen {
                states[j].queue = from + 1;
                self.queues[from + 1].push(j);
            }
        }
    }
}

impl Ranking for Queues {
    fn arrive(&mut self, job: usize, _state: &JobState) {
        self.queues[0].push(job);
    }

    fn leave(&mut self, job: usize, state: &JobState) {
        self.queues[state.queue].retain(|j| *j != job);
    }

    fn limit(&self, job: &JobState) -> Option<f64> {
        match self.order {
            Order::Las => DEMOTION_GPU_SECONDS.get(job.queue).copied(),
            Order::Fifo | Order::Srtf | Order::Srsf => None,
        }
    }

    /// Ties keep their order.
    fn sort(&mut self, _now: f64, states: &mut [JobState]) {
        match self.order {
            Order::Fifo => {}
            Order::Srtf => {
                self.queues[0].sort_by(|a, b| states[*a].remaining.total_cmp(&states[*b].remaining))
            }
            Order::Srsf => self.queues[0].sort_by(|a, b| {
                let service = |j: usize| states[j].remaining * f64::from(states[j].gpus);
                service(*a).total_cmp(&service(*b))
            }),
            Order::Las => self.demote(states),
        }
    }

    fn write(&self, order: &mut Vec<usize>) {
        order.extend(self.queues.iter().flatten());
    }

    /// Inside a LAS queue running jobs stay ahead of waiting ones, so that a
    /// pass does not preempt for an equal.
    fn placed(&mut self, states: &[JobState]) {
        if self.order == Order::Las {
            for queue in &mut self.queues {
                queue.sort_by_key(|j| !states[*j].running);
            }
        }
    }
}
