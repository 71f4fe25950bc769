//! The order of an admission policy: every unfinished job is the head of a queue
//! of its own, and the policy's sort keys decide who takes GPUs first.

use engine::port::admission::{
    AdmissionPolicy, Cycle, HEADS_PER_CYCLE, Head, QuotaDemand, QuotaLineRow, QuotaRow, SortKey,
};
use model::PolicyFault;
use model::event::Mode;

use super::JobState;
use super::learn::{Estimator, Evidence};
use super::order::Ranking;
use crate::trace::philly::{ClusterSpec, GangJob};

/// Faults in a row after which a policy is asked no more: what fails five times
/// will fail again, and every call costs time.
const FAULTS_IN_A_ROW: u32 = 5;

/// Time held, s, at which a job whose run time is not known is looked at again:
/// ten minutes and then eight times as long each time. Without, a wrong guess
/// would keep its GPUs until something else happens. Every look costs all
/// running jobs an overhead.
const LOOKS_HELD_SECONDS: [f64; 5] = [600.0, 4_800.0, 38_400.0, 307_200.0, 2_457_600.0];

/// The resource that gangs compete for.
const GPU: &str = "gpu";

/// What `expected-runtime` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Durations {
    /// The true remaining run time.
    Known,
    /// An estimate from jobs that ended before and from how long unfinished
    /// ones ran so far.
    Learned,
    /// An estimate from jobs that ended before, and nothing else.
    Finished,
    /// Nothing.
    None,
}

impl Durations {
    /// Each with its name.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Known, "known"),
        (Self::Learned, "learned"),
        (Self::Finished, "finished"),
        (Self::None, "none"),
    ];

    /// By name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(d, _)| *d)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How a policy was used, and how it behaved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyUse {
    /// Times it was asked for an order.
    pub calls: u64,
    /// Most jobs in one order.
    pub heads_max: usize,
    /// Calls that it failed; first come, first served was taken instead.
    pub faults: u64,
    /// The first of them.
    pub first_fault: Option<PolicyFault>,
    /// It failed too often in a row and was asked no more.
    pub taken_out: bool,
}

/// A ranking that asks.
pub(super) struct ByPolicy<'p> {
    policy: &'p mut dyn AdmissionPolicy,
    durations: Durations,
    estimator: Option<Estimator>,
    names: Vec<&'p str>,
    /// `heads[i]` is job `jobs[i]`, in the order of arrival.
    cycle: Cycle,
    jobs: Vec<usize>,
    ranked: Vec<usize>,
    failed_in_a_row: u32,
    used: PolicyUse,
}

impl<'p> ByPolicy<'p> {
    pub(super) fn new(
        policy: &'p mut dyn AdmissionPolicy,
        durations: Durations,
        cluster: &ClusterSpec,
        jobs: &'p [GangJob],
    ) -> Self {
        let evidence = match durations {
            Durations::Learned => Some(Evidence::Seen),
            Durations::Finished => Some(Evidence::Finished),
            Durations::Known | Durations::None => None,
        };
        // Nothing is used: the cluster is emptied before every pass.
        let gpus = QuotaLineRow {
            resource: GPU,
            nominal: milli(cluster.gpus()),
            used: 0,
            borrowing_limit: None,
            lending_limit: None,
        };
        let root = QuotaRow {
            name: "cluster".to_owned(),
            parent: None,
            weight: 1000,
            tier: "flex",
            lines: vec![gpus],
        };
        Self {
            policy,
            durations,
            estimator: evidence.map(|e| Estimator::new(e, jobs.len())),
            names: jobs.iter().map(|j| j.id.as_str()).collect(),
            cycle: Cycle {
                now: 0,
                mode: Mode::Normal,
                nodes: vec![root],
                heads: Vec::new(),
            },
            jobs: Vec::new(),
            ranked: Vec::new(),
            failed_in_a_row: 0,
            used: PolicyUse::default(),
        }
    }

    pub(super) fn finish(self) -> PolicyUse {
        self.used
    }

    /// Writes what is known about the jobs now into the heads.
    fn fill_in(&mut self, now: f64, states: &[JobState]) {
        if let Some(estimator) = &mut self.estimator {
            for job in self.jobs.iter().filter(|j| states[**j].running) {
                estimator.served(*job, held(&states[*job]));
            }
            estimator.look();
        }
        self.cycle.now = ms(now);
        for (head, job) in std::iter::zip(&mut self.cycle.heads, &self.jobs) {
            let state = &states[*job];
            head.attained = ms(state.attained);
            head.attempts = state.starts;
            head.waited = match state.running {
                true => 0,
                false => ms(now - state.stopped),
            };
            head.expected_runtime = match (self.durations, &mut self.estimator) {
                (Durations::Known, _) => Some(ms(state.remaining)),
                (_, Some(estimator)) => Some(ms(estimator.remaining(*job, held(state)))),
                (_, None) => None,
            };
        }
    }

    /// Keys of all heads; none when the policy failed or may not be asked.
    fn ask(&mut self) -> Vec<SortKey> {
        if self.used.taken_out || self.cycle.heads.is_empty() {
            return Vec::new();
        }
        self.used.calls += 1;
        self.used.heads_max = self.used.heads_max.max(self.cycle.heads.len());
        match self.keys() {
            Ok(keys) => {
                self.failed_in_a_row = 0;
                keys
            }
            Err(fault) => {
                self.used.faults += 1;
                self.used.first_fault.get_or_insert(fault);
                self.failed_in_a_row += 1;
                self.used.taken_out = self.failed_in_a_row >= FAULTS_IN_A_ROW;
                Vec::new()
            }
        }
    }

    fn keys(&mut self) -> Result<Vec<SortKey>, PolicyFault> {
        let heads = self.cycle.heads.len();
        if heads <= HEADS_PER_CYCLE {
            return complete(self.policy.order(&self.cycle)?.0, heads);
        }
        let mut keys = Vec::with_capacity(heads);
        let mut part = Cycle {
            heads: Vec::new(),
            nodes: self.cycle.nodes.clone(),
            ..self.cycle
        };
        for heads in self.cycle.heads.chunks(HEADS_PER_CYCLE) {
            part.heads.clear();
            part.heads.extend_from_slice(heads);
            keys.extend(complete(self.policy.order(&part)?.0, heads.len())?);
        }
        Ok(keys)
    }
}

impl Ranking for ByPolicy<'_> {
    fn arrive(&mut self, job: usize, state: &JobState) {
        if let Some(estimator) = &mut self.estimator {
            estimator.arrived(job, state.gpus);
        }
        let demand = vec![QuotaDemand {
            resource: GPU,
            amount: milli(state.gpus),
        }];
        self.jobs.push(job);
        self.cycle.heads.push(Head {
            job: self.names[job].to_owned(),
            queue: self.names[job].to_owned(),
            node: 0,
            priority: 0,
            created: ms(state.submit),
            waited: 0,
            attempts: 0,
            deadline: None,
            expected_runtime: None,
            attained: 0,
            min_demand: demand.clone(),
            demand,
        });
    }

    fn leave(&mut self, job: usize, state: &JobState) {
        if let Some(estimator) = &mut self.estimator {
            estimator.ended(job, held(state));
        }
        if let Some(at) = self.jobs.iter().position(|j| *j == job) {
            self.jobs.remove(at);
            self.cycle.heads.remove(at);
        }
    }

    fn limit(&self, job: &JobState) -> Option<f64> {
        if self.durations == Durations::Known {
            return None;
        }
        let held = LOOKS_HELD_SECONDS.get(job.queue)?;
        Some(held * f64::from(job.gpus))
    }

    /// Smaller keys first, then who runs, then who came first. Heads without a
    /// key come after those with one.
    fn sort(&mut self, now: f64, states: &mut [JobState]) {
        for job in &self.jobs {
            let state = &mut states[*job];
            while self.limit(state).is_some_and(|l| state.attained >= l) {
                state.queue += 1;
            }
        }
        self.fill_in(now, states);
        let keys = self.ask();
        let mut places: Vec<usize> = (0..self.jobs.len()).collect();
        if keys.iter().any(|k| !k.is_empty()) {
            places.sort_by(|a, b| {
                let rank = |at: usize| {
                    let key = &keys[at];
                    (key.is_empty(), key, !states[self.jobs[at]].running, at)
                };
                rank(*a).cmp(&rank(*b))
            });
        }
        self.ranked.clear();
        self.ranked.extend(places.iter().map(|at| self.jobs[*at]));
    }

    fn write(&self, order: &mut Vec<usize>) {
        order.extend(&self.ranked);
    }
}

/// A key a head, or the policy failed.
fn complete(keys: Vec<SortKey>, heads: usize) -> Result<Vec<SortKey>, PolicyFault> {
    if keys.len() == heads {
        return Ok(keys);
    }
    Err(PolicyFault::BadAnswer {
        detail: format!("{} sort keys for {heads} heads", keys.len()),
    })
}

/// Time the job has held its GPUs, s.
fn held(state: &JobState) -> f64 {
    state.attained / f64::from(state.gpus)
}

/// Milliseconds, rounded up: what is left is never nothing, and who waits has
/// waited. At most a [`crate::trace::philly::TIME_MS_MAX`] of work times GPUs,
/// far inside what a double holds exactly.
fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0).ceil().max(0.0) as u64
}

fn milli(gpus: u32) -> i64 {
    i64::from(gpus) * 1000
}

#[cfg(test)]
mod tests;
