//! Gang jobs on one cluster, event by event, under a classical order or that of
//! an admission policy.
//!
//! At every event (a job arrives or ends, or falls into a lower queue) the
//! cluster is emptied and filled again: all unfinished jobs in priority order,
//! each on all its GPUs or skipped, so that smaller jobs behind may pass it. A
//! running job that finds no place is preempted and keeps its progress. This
//! is the method of the published comparison on Philly's jobs; `tests` holds it
//! to those results: SRTF and SRSF to the printed digit (trace2 SRTF within
//! 4e-6), LAS within 2e-6, and 4e-3 on its mean where all jobs start at once,
//! because the order among simultaneous demotions is not published.
//!
//! `order` sorts, `place` finds GPUs, `overhead` says what an event costs.
//! `policy` asks a policy for the order instead, with run times that are known,
//! that `learn` estimates, or that nobody knows.

mod learn;
mod order;
mod overhead;
mod place;
mod policy;

use crate::trace::philly::{ClusterSpec, GangJob};
use engine::port::admission::AdmissionPolicy;
use order::{Queues, Ranking};
use place::Free;
use policy::ByPolicy;

pub use order::Order;
pub use overhead::Overheads;
pub use policy::{Durations, PolicyUse};

/// How much longer an iteration takes than it was profiled at: the published
/// simulator multiplies by this.
const WORK_FACTOR: f64 = 1.015;

/// How far a simulation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Jobs that ended.
    pub finished: usize,
    /// Jobs of the trace.
    pub total: usize,
    /// Virtual time, s.
    pub now_s: f64,
}

/// What became of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobOutcome {
    /// Id as in the trace.
    pub id: String,
    /// Submission, s.
    pub submit_s: f64,
    /// First start, s.
    pub start_s: f64,
    /// End, s.
    pub end_s: f64,
    /// Times it was stopped for another.
    pub preemptions: u32,
}

impl JobOutcome {
    /// Completion time, from submission to end, s.
    #[must_use]
    pub fn jct_s(&self) -> f64 {
        self.end_s - self.submit_s
    }
}

/// Result of a simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct GangReport {
    /// Mean completion time, s.
    pub avg_jct_s: f64,
    /// Median completion time, s: element ⌊n/2⌋ of the sorted list.
    pub p50_jct_s: f64,
    /// 99th percentile, s: element ⌊0.99 n⌋ of the sorted list.
    pub p99_jct_s: f64,
    /// End of the last job, s from the start of the trace.
    pub makespan_s: f64,
    /// Running jobs stopped for others.
    pub preemptions: u64,
    /// GPU time held without progress, hours: what the events cost.
    pub lost_gpu_hours: f64,
    /// Share of GPU time that a job held, in percent of the makespan.
    pub gpu_util_pct: f64,
    /// Events simulated.
    pub events: u64,
    /// Outcomes in the order of the trace.
    pub jobs: Vec<JobOutcome>,
}

impl GangReport {
    /// Feeds every outcome to `sink` as bytes that are the same on every
    /// machine, for a digest.
    pub fn digest_into(&self, mut sink: impl FnMut(&[u8])) {
        for job in &self.jobs {
            sink(&(job.id.len() as u64).to_le_bytes());
            sink(job.id.as_bytes());
            for time in [job.submit_s, job.start_s, job.end_s] {
                sink(&time.to_bits().to_le_bytes());
            }
            sink(&job.preemptions.to_le_bytes());
        }
    }
}

/// A trace that cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GangError {
    /// Waiting for it would never end.
    #[error(
        "job {id:?} needs {gpus} GPUs at once, which the empty cluster of {nodes} × {per_node} GPUs cannot give"
    )]
    NeverFits {
        /// Job.
        id: String,
        /// What it needs.
        gpus: u32,
        /// Nodes of the cluster.
        nodes: u32,
        /// GPUs of each.
        per_node: u32,
    },
}

/// Runs `jobs` on `cluster` with the overheads of the published comparison.
///
/// # Errors
/// A job that never fits.
pub fn simulate(
    cluster: &ClusterSpec,
    jobs: &[GangJob],
    order: Order,
    progress: &mut dyn FnMut(Progress),
) -> Result<GangReport, GangError> {
    simulate_with(cluster, jobs, order, Overheads::Published, progress)
}

/// [`simulate`] with other overheads.
///
/// # Errors
/// A job that never fits.
pub fn simulate_with(
    cluster: &ClusterSpec,
    jobs: &[GangJob],
    order: Order,
    overheads: Overheads,
    progress: &mut dyn FnMut(Progress),
) -> Result<GangReport, GangError> {
    let mut free = Free::new(cluster, order.counts_gpus_only());
    let states = states(cluster, jobs, &mut free, overheads)?;
    let mut ranking = Queues::new(order);
    let simulation = Simulation::new(states, free, &mut ranking);
    Ok(simulation.run(jobs, cluster, progress))
}

/// As [`simulate`], with the order of a policy. It is asked at every event, and
/// when a job has run for long without the run times being known.
///
/// # Errors
/// A job that never fits.
pub fn simulate_policy(
    cluster: &ClusterSpec,
    jobs: &[GangJob],
    policy: &mut dyn AdmissionPolicy,
    durations: Durations,
    overheads: Overheads,
    progress: &mut dyn FnMut(Progress),
) -> Result<(GangReport, PolicyUse), GangError> {
    let mut free = Free::new(cluster, false);
    let states = states(cluster, jobs, &mut free, overheads)?;
    let mut ranking = ByPolicy::new(policy, durations, cluster, jobs);
    let simulation = Simulation::new(states, free, &mut ranking);
    let report = simulation.run(jobs, cluster, progress);
    Ok((report, ranking.finish()))
}

/// The jobs before anything happened, each of which fits the empty cluster.
fn states(
    cluster: &ClusterSpec,
    jobs: &[GangJob],
    free: &mut Free,
    overheads: Overheads,
) -> Result<Vec<JobState>, GangError> {
    let mut states = Vec::with_capacity(jobs.len());
    for job in jobs {
        free.reset();
        if !free.take(job.gpus) {
            return Err(GangError::NeverFits {
                id: job.id.clone(),
                gpus: job.gpus,
                nodes: cluster.nodes,
                per_node: cluster.gpus_per_node,
            });
        }
        states.push(JobState::new(job, overheads));
    }
    Ok(states)
}

/// A job while it is simulated. Times in s, in doubles: the arithmetic is
/// addition, multiplication and comparison in a fixed order, which IEEE 754
/// makes the same everywhere.
#[derive(Debug)]
struct JobState {
    gpus: u32,
    submit: f64,
    /// Work left, s on its GPUs.
    remaining: f64,
    /// GPU-seconds held so far.
    attained: f64,
    /// Progress lost at each event while running, s.
    overhead: f64,
    /// Since when `remaining` is true, while running.
    since: f64,
    running: bool,
    /// Mark of the pass that last placed it.
    placed_in: u64,
    /// How many limits of its ranking it has passed.
    queue: usize,
    start: Option<f64>,
    /// When it last stopped running, the submission before it ever ran.
    stopped: f64,
    end: f64,
    starts: u32,
    preemptions: u32,
}

impl JobState {
    fn new(job: &GangJob, overheads: Overheads) -> Self {
        Self {
            gpus: job.gpus,
            submit: job.submit_ms as f64 / 1000.0,
            remaining: job.iterations as f64 * job.iteration_ms as f64 * WORK_FACTOR / 1000.0,
            attained: 0.0,
            overhead: overheads.seconds(job.gpus, &job.model),
            since: 0.0,
            running: false,
            placed_in: 0,
            queue: 0,
            start: None,
            stopped: job.submit_ms as f64 / 1000.0,
            end: 0.0,
            starts: 0,
            preemptions: 0,
        }
    }

    fn ends_at(&self) -> f64 {
        self.since + self.remaining
    }
}

struct Simulation<'r> {
    states: Vec<JobState>,
    free: Free,
    ranking: &'r mut dyn Ranking,
    /// Unfinished jobs as last ranked.
    order: Vec<usize>,
    /// Jobs that hold GPUs, in the order they were placed.
    running: Vec<usize>,
    preemptions: u64,
    gpu_seconds: f64,
    lost_gpu_seconds: f64,
    events: u64,
}

impl<'r> Simulation<'r> {
    fn new(states: Vec<JobState>, free: Free, ranking: &'r mut dyn Ranking) -> Self {
        Self {
            states,
            free,
            ranking,
            order: Vec::new(),
            running: Vec::new(),
            preemptions: 0,
            gpu_seconds: 0.0,
            lost_gpu_seconds: 0.0,
            events: 0,
        }
    }

    fn run(
        mut self,
        jobs: &[GangJob],
        cluster: &ClusterSpec,
        progress: &mut dyn FnMut(Progress),
    ) -> GangReport {
        let mut arrivals: Vec<usize> = (0..jobs.len()).collect();
        arrivals.sort_by_key(|j| jobs[*j].submit_ms);
        let mut arrivals = arrivals.into_iter().peekable();
        let mut finished = 0;
        while finished < self.states.len() {
            let arrival = arrivals.peek().map(|j| self.states[*j].submit);
            let Some(now) = self.next_event(arrival) else {
                break;
            };
            self.events += 1;
            let ended = self.advance(now);
            while let Some(j) = arrivals.next_if(|j| self.states[*j].submit <= now) {
                self.ranking.arrive(j, &self.states[j]);
            }
            self.ranking.sort(now, &mut self.states);
            self.fill(now);
            if ended > 0 {
                finished += ended;
                progress(Progress {
                    finished,
                    total: self.states.len(),
                    now_s: now,
                });
            }
        }
        self.report(jobs, cluster)
    }

    /// Time of the next arrival, end or limit.
    fn next_event(&self, arrival: Option<f64>) -> Option<f64> {
        let ends = self.running.iter().map(|j| self.states[*j].ends_at());
        let limits = self
            .running
            .iter()
            .filter_map(|j| self.ranking.wakes(&self.states[*j]));
        arrival
            .into_iter()
            .chain(ends)
            .chain(limits)
            .min_by(f64::total_cmp)
    }

    /// Brings running jobs to `now` and ends those whose time has come.
    fn advance(&mut self, now: f64) -> usize {
        let mut ended = 0;
        let states = &mut self.states;
        let ranking = &mut *self.ranking;
        let (held, lost) = (&mut self.gpu_seconds, &mut self.lost_gpu_seconds);
        self.running.retain(|j| {
            let job = &mut states[*j];
            let passed = now - job.since;
            *held += passed * f64::from(job.gpus);
            let wakes = ranking.wakes(job).is_some_and(|at| at <= now);
            job.attained += passed * f64::from(job.gpus);
            if job.ends_at() <= now {
                job.end = now;
                job.running = false;
                ranking.leave(*j, job);
                ended += 1;
                return false;
            }
            if wakes {
                // Rounding may leave the job a hair short of the limit it was
                // woken for; it would be woken again without time passing.
                let limit = ranking.limit(job);
                job.attained = limit.map_or(job.attained, |l| job.attained.max(l));
            }
            let progress = (passed - job.overhead).max(0.0);
            *lost += (passed - progress) * f64::from(job.gpus);
            job.remaining -= progress;
            job.since = now;
            true
        });
        ended
    }

    /// Empties the cluster and fills it in priority order.
    fn fill(&mut self, now: f64) {
        self.free.reset();
        let before = std::mem::take(&mut self.running);
        let pass = self.events;
        self.order.clear();
        self.ranking.write(&mut self.order);
        for j in self.order.iter().copied() {
            if self.free.total() == 0 {
                break;
            }
            let job = &mut self.states[j];
            if !self.free.take(job.gpus) {
                continue;
            }
            job.placed_in = pass;
            if !job.running {
                job.running = true;
                job.since = now;
                job.starts += 1;
                job.start.get_or_insert(now);
            }
            self.running.push(j);
        }
        for j in before {
            let job = &mut self.states[j];
            if job.placed_in != pass {
                job.running = false;
                job.stopped = now;
                job.preemptions += 1;
                self.preemptions += 1;
            }
        }
        self.ranking.placed(&self.states);
    }

    fn report(self, jobs: &[GangJob], cluster: &ClusterSpec) -> GangReport {
        let mut jcts: Vec<f64> = self.states.iter().map(|s| s.end - s.submit).collect();
        let avg_jct_s = mean(&jcts);
        jcts.sort_by(f64::total_cmp);
        let makespan_s = self.states.iter().map(|s| s.end).fold(0.0, f64::max);
        let capacity = makespan_s * f64::from(cluster.gpus());
        GangReport {
            avg_jct_s,
            p50_jct_s: element(&jcts, 50),
            p99_jct_s: element(&jcts, 99),
            makespan_s,
            preemptions: self.preemptions,
            lost_gpu_hours: self.lost_gpu_seconds / 3600.0,
            gpu_util_pct: if capacity > 0.0 {
                100.0 * self.gpu_seconds / capacity
            } else {
                0.0
            },
            events: self.events,
            jobs: std::iter::zip(jobs, &self.states)
                .map(|(job, state)| JobOutcome {
                    id: job.id.clone(),
                    submit_s: state.submit,
                    start_s: state.start.unwrap_or(state.end),
                    end_s: state.end,
                    preemptions: state.preemptions,
                })
                .collect(),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// Element ⌊percent · n / 100⌋ of a sorted list, 0 of an empty one.
fn element(sorted: &[f64], percent: usize) -> f64 {
    let at = sorted.len() * percent / 100;
    sorted.get(at).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
