//! Reading gangs, budgets and the guard: what the API, the page and the CLI show.

use std::sync::Arc;

use model::disruption::BudgetSpec;
use model::gang::{Level, TopologySpec};
use model::plan::EvictCause;
use model::{JobKind, Reason};

use crate::budget::GUARD_WINDOW_MS;
use crate::engine::Engine;
use crate::pods::Pod;

/// One role of a gang as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleView {
    /// Name.
    pub name: String,
    /// Pods wanted.
    pub count: u32,
    /// Pods without which none starts.
    pub min: u32,
    /// Pods on nodes, also those that are leaving.
    pub running: u32,
    /// Pods that wait, for quota, for the gang, or for a promised place.
    pub waiting: u32,
    /// Pods that ended well.
    pub succeeded: u32,
}

/// Where a gang is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GangState {
    /// No member runs.
    Waiting {
        /// Why.
        reason: Reason,
        /// In words, from the last attempt.
        why: String,
    },
    /// Enough members run, or will where they were promised a place.
    Running,
    /// Members are leaving; those that still run cannot go on without them.
    Leaving {
        /// Why the first of them was asked to.
        cause: EvictCause,
        /// The last of them is gone then, ms.
        until_ms: u64,
    },
}

/// A gang as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GangView {
    /// Job.
    pub job: Arc<str>,
    /// Ends by itself, or is kept running.
    pub kind: JobKind,
    /// Roles in order.
    pub roles: Vec<RoleView>,
    /// Where the pods should be, relative to each other.
    pub topology: Option<TopologySpec>,
    /// Nearest place that holds all who run: level and name. `None` while nobody
    /// runs, or when there is no such place below the cluster.
    pub domain: Option<(Level, Arc<str>)>,
    /// Where it is in its life.
    pub state: GangState,
    /// Attempts to admit or place it.
    pub attempts: u32,
    /// Arrival, ms.
    pub submitted_ms: u64,
    /// When it first started, ms.
    pub started_ms: Option<u64>,
    /// Given up then, ms, if it has not started.
    pub timeout_at_ms: Option<u64>,
    /// Looked at again at the latest then, ms, while it is parked.
    pub retry_at_ms: Option<u64>,
}

/// A disruption budget as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetView<'a> {
    /// Description.
    pub spec: &'a BudgetSpec,
    /// Pods of its application that run and were not asked to leave.
    pub available: u32,
    /// Tokens left; `None` without a bucket.
    pub tokens: Option<u32>,
    /// Pods that may be disrupted now.
    pub allowed: u32,
}

/// The guard against mass evictions as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardView {
    /// Evictions in the window.
    pub window_pods: u32,
    /// Most there may be.
    pub limit: u32,
    /// Length of the window, ms.
    pub window_ms: u64,
    /// Further ones that an operator has approved.
    pub approved: u32,
    /// When it last stopped somebody in this window, ms.
    pub tripped_ms: Option<u64>,
    /// Evictions that the system's token bucket allows now.
    pub tokens: u32,
    /// Whether nothing is taken away at all.
    pub hold: bool,
}

impl Engine {
    /// Gangs by job.
    pub fn gang_views(&self) -> impl Iterator<Item = GangView> + '_ {
        self.pods.jobs.keys().filter_map(|id| self.gang_view(id))
    }

    /// One gang; `None` for other jobs.
    #[must_use]
    pub fn gang_view(&self, id: &str) -> Option<GangView> {
        let job = self.pods.jobs.get(id)?;
        let gang = job.spec.gang.as_ref()?;
        let pods: Vec<&Pod> = self
            .by_arrival(id)
            .iter()
            .map(|s| self.pods.get(*s))
            .collect();
        let roles = gang.roles.iter().enumerate().map(|(i, role)| {
            let of_role = |p: &&&Pod| Self::role_of(&job.spec, &p.name) == Some(i);
            let exist = pods.iter().filter(of_role).count() as u32;
            let running = pods.iter().filter(of_role).filter(|p| p.at.is_some());
            let running = running.count() as u32;
            RoleView {
                name: role.name.clone(),
                count: role.count,
                min: role.min,
                running,
                waiting: exist - running,
                succeeded: role.count.saturating_sub(exist),
            }
        });
        let timeout = gang.timeout_ms.filter(|_| job.started_ms.is_none());
        Some(GangView {
            job: Arc::from(id),
            kind: job.spec.kind,
            roles: roles.collect(),
            topology: gang.topology,
            domain: self.common_domain(&pods),
            state: self.gang_state(id, &pods),
            attempts: job.attempts,
            submitted_ms: job.submitted_ms,
            started_ms: job.started_ms,
            timeout_at_ms: timeout.map(|t| job.submitted_ms.saturating_add(t)),
            retry_at_ms: self.gangs.retry_at(id),
        })
    }

    fn gang_state(&self, id: &str, pods: &[&Pod]) -> GangState {
        let leaving: Vec<_> = pods
            .iter()
            .filter(|p| p.next.is_none())
            .filter_map(|p| p.leaving)
            .collect();
        let goes_on = self.standing(id).is_some_and(|s| s.holds() && s.goes_on());
        match leaving.first() {
            _ if goes_on => GangState::Running,
            Some(first) => GangState::Leaving {
                cause: first.cause,
                until_ms: leaving.iter().map(|l| l.until_ms).max().unwrap_or(0),
            },
            None => GangState::Waiting {
                reason: self.members_reason(pods),
                why: self
                    .gangs
                    .lines
                    .get(id)
                    .map_or(String::new(), |l| l.why.clone()),
            },
        }
    }

    /// Quota first: without it the others cannot even gather.
    fn members_reason(&self, pods: &[&Pod]) -> Reason {
        let waiting = pods.iter().filter(|p| p.at.is_none());
        let reasons = waiting.map(|p| match p.admitted {
            true => p.reason,
            false => self.reason_at_quota(p.spec.job.as_deref()),
        });
        reasons.min().unwrap_or(Reason::PendingEvaluation)
    }

    fn common_domain(&self, pods: &[&Pod]) -> Option<(Level, Arc<str>)> {
        let rows: Vec<u32> = pods.iter().filter_map(|p| p.at.map(|at| at.row)).collect();
        let first = *rows.first()?;
        let level = Level::ALL.into_iter().find(|level| {
            let place = self.place_of(*level, first);
            place >= 0 && rows.iter().all(|row| self.place_of(*level, *row) == place)
        })?;
        let place = self.place_of(level, first) as u32;
        let name = match level {
            Level::Node => &self.nodes.names[first as usize],
            Level::Rack => self.nodes.racks.value(place),
            Level::Block => self.nodes.blocks.value(place),
            Level::Zone => self.nodes.zones.value(place),
        };
        Some((level, Arc::clone(name)))
    }

    /// Disruption budgets by name.
    pub fn budget_views(&self) -> impl Iterator<Item = BudgetView<'_>> {
        self.budgets.states().map(|budget| BudgetView {
            spec: &budget.spec,
            available: self.available(&budget.spec),
            tokens: self.budget_tokens(budget),
            allowed: self.disruptions_left(&budget.spec.name),
        })
    }

    /// The guard against mass evictions.
    #[must_use]
    pub fn guard_view(&self) -> GuardView {
        let tripped = self.budgets.tripped_ms();
        GuardView {
            window_pods: self.budgets.in_window(self.now_ms),
            limit: self.guard_limit(),
            window_ms: GUARD_WINDOW_MS,
            approved: self.budgets.approved(),
            tripped_ms: tripped.filter(|at| at + GUARD_WINDOW_MS > self.now_ms),
            tokens: self.system_tokens(),
            hold: self.hold,
        }
    }
}
