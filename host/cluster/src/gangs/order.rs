//! Who goes first.

use super::JobState;

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

    pub(super) fn arrive(&mut self, job: usize) {
        self.queues[0].push(job);
    }

    pub(super) fn leave(&mut self, job: usize, queue: usize) {
        self.queues[queue].retain(|j| *j != job);
    }

    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> {
        self.queues.iter().flatten().copied()
    }

    /// When a running job will fall into the next queue, if it ever will.
    ///
    /// Attained service counts time held, not progress: counting progress
    /// could halt the simulation, because an overhead longer than the time
    /// between two events leaves none.
    pub(super) fn demotion(&self, job: &JobState) -> Option<f64> {
        let limit = self.limit(job)?;
        let left = (limit - job.attained) / f64::from(job.gpus);
        Some(job.since + left.max(0.0))
    }

    /// Attained service at which the job leaves its queue.
    pub(super) fn limit(&self, job: &JobState) -> Option<f64> {
        match self.order {
            Order::Las => DEMOTION_GPU_SECONDS.get(job.queue).copied(),
            Order::Fifo | Order::Srtf | Order::Srsf => None,
        }
    }

    /// Restores the order after jobs arrived, left or made progress. Ties keep
    /// their order.
    pub(super) fn sort(&mut self, states: &mut [JobState]) {
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

    /// Inside a LAS queue running jobs stay ahead of waiting ones, so that a
    /// pass does not preempt for an equal.
    pub(super) fn keep_running_first(&mut self, states: &[JobState]) {
        if self.order == Order::Las {
            for queue in &mut self.queues {
                queue.sort_by_key(|j| !states[*j].running);
            }
        }
    }
}
