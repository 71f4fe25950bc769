//! How long an unfinished job will still run, from what was seen so far.
//!
//! Run times are split into buckets, four to a doubling. For every bucket the
//! estimator counts how many jobs were seen to run that long and how many of
//! them ended there, which gives the chance to end in a bucket once it is
//! reached. The counts of a job's neighbours (jobs of the same size submitted
//! just before and after it: people submit the same thing many times) are
//! shrunk towards those of all jobs of its size, these towards all jobs, these
//! towards a heavy tail. The model a job trains is not used: in the Philly
//! traces it was drawn at random and says nothing.
//!
//! Nothing else goes in: a job is known by its size and place when it arrives,
//! by the time it has held GPUs while it lives, and by its run time once it has
//! ended. There is no way to hand in a duration before.
//!
//! The constants are round numbers picked while looking at the Philly traces;
//! half or twice any of them moves a mean completion time by a few percent either
//! way, without a pattern.
//!
//! The answer is not the mean, which a rare giant spoils for everybody, but the
//! smallest run time per completion that can be had by stopping the job at the
//! best moment: the inverse of its Gittins index, which is the optimal order on
//! one machine when only the distribution is known.

use std::collections::BTreeMap;

/// End of the first bucket, s: shorter jobs are all alike.
const FIRST_SECONDS: f64 = 60.0;

/// Edges within a doubling: powers of the fourth root of two, written down so
/// that no machine's own power function decides.
const QUARTERS: [f64; 4] = [
    1.0,
    1.189_207_115_002_721,
    std::f64::consts::SQRT_2,
    1.681_792_830_507_429,
];

/// Twenty doublings of a minute are two years; the last bucket is open.
const BUCKETS: usize = 1 + 4 * 20;

/// Chance to end in a bucket before anything was seen: half of the jobs that
/// reach some age end before four times that age.
const PRIOR_RATE: f64 = 0.083;

/// Jobs' worth of belief in [`PRIOR_RATE`].
const PRIOR_JOBS: f64 = 1.0;

/// Jobs' worth of belief in all jobs against those of one size.
const ALL_JOBS: f64 = 8.0;

/// Jobs' worth of belief in jobs of the size against the neighbours.
const SIZE_JOBS: f64 = 1.0;

/// Neighbours looked at on each side: beyond, their weight is below 5 %.
const NEIGHBOURS: usize = 24;

/// Weight of a neighbour against the one before it: e^(-1/8).
const NEIGHBOUR_DECAY: f64 = 0.882_496_902_584_595_4;

/// An estimate is made again when its job or a neighbour gave news, and
/// otherwise every so many looks, since the other counts change slowly.
const LOOKS: u64 = 16;

/// What is left of a survival curve that needs no more summing.
const TAIL: f64 = 1e-4;

/// What counts as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Jobs that ended, and of those that did not how long they ran so far.
    Seen,
    /// Only jobs that ended. Short jobs end first, so it errs to the short side.
    Finished,
}

#[derive(Debug)]
struct Counts {
    /// Jobs seen to run into each bucket and out of it or to their end.
    reached: [f64; BUCKETS],
    /// Jobs that ended in each bucket.
    ended: [f64; BUCKETS],
}

impl Counts {
    const NONE: Self = Self {
        reached: [0.0; BUCKETS],
        ended: [0.0; BUCKETS],
    };

    /// Chance to end in `bucket`, with `jobs` jobs' worth of belief in `prior`.
    fn rate(&self, bucket: usize, jobs: f64, prior: f64) -> f64 {
        (self.ended[bucket] + jobs * prior) / (self.reached[bucket] + jobs)
    }
}

/// Jobs of one size.
#[derive(Debug)]
struct Size {
    /// In the order of their submission.
    jobs: Vec<usize>,
    counts: Counts,
    /// Chances to end, as of the last [`Estimator::look`].
    rates: [f64; BUCKETS],
}

#[derive(Debug, Clone, Copy)]
struct Known {
    gpus: u32,
    /// Index among the jobs of its size.
    place: usize,
    /// Bucket of the time held so far.
    bucket: usize,
    ended: bool,
    /// There is news since the estimate.
    stale: bool,
    held: f64,
    remaining: f64,
}

/// Learns from what happens and estimates from what it learnt.
#[derive(Debug)]
pub(super) struct Estimator {
    evidence: Evidence,
    /// Upper edges of the buckets; the last has none.
    edges: [f64; BUCKETS - 1],
    weights: [f64; NEIGHBOURS],
    all: Counts,
    sizes: BTreeMap<u32, Size>,
    jobs: Vec<Option<Known>>,
    looks: u64,
}

impl Estimator {
    /// For jobs with numbers below `jobs`.
    pub(super) fn new(evidence: Evidence, jobs: usize) -> Self {
        let mut edges = [0.0; BUCKETS - 1];
        let mut doubling = FIRST_SECONDS;
        for (at, edge) in edges.iter_mut().enumerate() {
            *edge = doubling * QUARTERS[at % 4];
            if at % 4 == 3 {
                doubling *= 2.0;
            }
        }
        let mut weights = [1.0; NEIGHBOURS];
        for at in 1..NEIGHBOURS {
            weights[at] = weights[at - 1] * NEIGHBOUR_DECAY;
        }
        Self {
            evidence,
            edges,
            weights,
            all: Counts::NONE,
            sizes: BTreeMap::new(),
            jobs: vec![None; jobs],
            looks: 0,
        }
    }

    /// A job was submitted.
    pub(super) fn arrived(&mut self, job: usize, gpus: u32) {
        let size = self.sizes.entry(gpus).or_insert_with(|| Size {
            jobs: Vec::new(),
            counts: Counts::NONE,
            rates: [PRIOR_RATE; BUCKETS],
        });
        self.jobs[job] = Some(Known {
            gpus,
            place: size.jobs.len(),
            bucket: 0,
            ended: false,
            stale: true,
            held: 0.0,
            remaining: 0.0,
        });
        size.jobs.push(job);
    }

    /// An unfinished job has held its GPUs for `held` seconds.
    pub(super) fn served(&mut self, job: usize, held: f64) {
        let bucket = self.bucket(held);
        let Some(known) = &mut self.jobs[job] else {
            return;
        };
        let (gpus, before) = (known.gpus, known.bucket);
        if bucket == before {
            return;
        }
        known.bucket = bucket;
        if self.evidence == Evidence::Seen {
            self.count(gpus, before..bucket, None);
            self.news(job);
        }
    }

    /// A job ended after it held its GPUs for `held` seconds.
    pub(super) fn ended(&mut self, job: usize, held: f64) {
        let bucket = self.bucket(held);
        let Some(known) = &mut self.jobs[job] else {
            return;
        };
        let gpus = known.gpus;
        let counted = match self.evidence {
            Evidence::Seen => known.bucket,
            Evidence::Finished => 0,
        };
        known.bucket = bucket;
        known.ended = true;
        self.count(gpus, counted..bucket, Some(bucket));
        self.news(job);
    }

    fn count(&mut self, gpus: u32, passed: std::ops::Range<usize>, ended: Option<usize>) {
        let size = self.sizes.get_mut(&gpus).map(|s| &mut s.counts);
        for counts in std::iter::once(&mut self.all).chain(size) {
            for bucket in passed.clone() {
                counts.reached[bucket] += 1.0;
            }
            if let Some(bucket) = ended {
                counts.reached[bucket] += 1.0;
                counts.ended[bucket] += 1.0;
            }
        }
    }

    /// The neighbours of `job` have something new to go by.
    fn news(&mut self, job: usize) {
        let Some(known) = self.jobs[job] else { return };
        let Some(size) = self.sizes.get(&known.gpus) else {
            return;
        };
        for other in neighbours(&size.jobs, known.place) {
            if let Some(other) = &mut self.jobs[*other] {
                other.stale = true;
            }
        }
    }

    /// Call before a round of [`Self::remaining`].
    pub(super) fn look(&mut self) {
        self.looks += 1;
        for bucket in 0..BUCKETS {
            let all = self.all.rate(bucket, PRIOR_JOBS, PRIOR_RATE);
            for size in self.sizes.values_mut() {
                size.rates[bucket] = size.counts.rate(bucket, ALL_JOBS, all);
            }
        }
    }

    /// Run time to expect of a job that has held its GPUs for `held` seconds, s.
    pub(super) fn remaining(&mut self, job: usize, held: f64) -> f64 {
        let Some(known) = self.jobs[job] else {
            return FIRST_SECONDS;
        };
        let due = (self.looks + job as u64).is_multiple_of(LOOKS);
        if !known.stale && !due && known.held.total_cmp(&held).is_eq() {
            return known.remaining;
        }
        let remaining = self.estimate(&known, held);
        self.jobs[job] = Some(Known {
            stale: false,
            held,
            remaining,
            ..known
        });
        remaining
    }

    fn estimate(&self, known: &Known, held: f64) -> f64 {
        let size = &self.sizes[&known.gpus];
        let near = self.near(known, &size.jobs);
        let first = self.bucket(held);
        let (mut alive, mut time, mut best) = (1.0, 0.0, f64::INFINITY);
        for bucket in first..BUCKETS {
            let rate = near.rate(bucket, SIZE_JOBS, size.rates[bucket]);
            let width = self.width(bucket);
            let (rate, width) = if bucket == first {
                let left = self.left(bucket, held);
                (rate * (left / width).min(1.0), left)
            } else {
                (rate, width)
            };
            // Who ends in a bucket ends in its middle.
            time += alive * width * (1.0 - 0.5 * rate);
            alive *= 1.0 - rate;
            best = f64::min(best, time / (1.0 - alive));
            if alive < TAIL {
                break;
            }
        }
        best
    }

    /// What the neighbours say.
    fn near(&self, known: &Known, jobs: &[usize]) -> Counts {
        let mut counts = Counts::NONE;
        for other in neighbours(jobs, known.place) {
            let Some(other) = &self.jobs[*other] else {
                continue;
            };
            let distance = other.place.abs_diff(known.place);
            if distance == 0 {
                continue;
            }
            let weight = self.weights[distance - 1];
            if other.ended {
                counts.ended[other.bucket] += weight;
                counts.reached[other.bucket] += weight;
            } else if self.evidence == Evidence::Seen && other.bucket > 0 {
                counts.reached[other.bucket - 1] += weight;
            }
        }
        // Who reached a bucket reached all before it.
        for bucket in (0..BUCKETS - 1).rev() {
            counts.reached[bucket] += counts.reached[bucket + 1];
        }
        counts
    }

    fn bucket(&self, held: f64) -> usize {
        self.edges.partition_point(|edge| *edge <= held)
    }

    fn width(&self, bucket: usize) -> f64 {
        match bucket {
            0 => self.edges[0],
            _ if bucket < BUCKETS - 1 => self.edges[bucket] - self.edges[bucket - 1],
            // Open: as long again.
            _ => self.edges[BUCKETS - 2],
        }
    }

    /// Time from `held` to the end of its bucket.
    fn left(&self, bucket: usize, held: f64) -> f64 {
        self.edges.get(bucket).map_or(held, |edge| edge - held)
    }
}

fn neighbours(jobs: &[usize], place: usize) -> &[usize] {
    let from = place.saturating_sub(NEIGHBOURS);
    let to = (place + NEIGHBOURS + 1).min(jobs.len());
    &jobs[from..to]
}

#[cfg(test)]
mod tests;
