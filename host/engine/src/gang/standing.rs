//! What a gang asks for, and how it stands.

use std::collections::BTreeSet;

use model::JobSpec;
use model::gang::{GANG_PODS_MAX, ROLES_MAX};

use crate::engine::Engine;
use crate::error::EventError;

use super::Stage;

/// How a gang stands: one number a role.
#[derive(Debug, Default, Clone)]
pub(crate) struct Standing {
    /// Members without which it cannot go on.
    pub(crate) need: Vec<u32>,
    /// Have a place: running and not asked to leave, moving, or promised.
    pub(crate) held: Vec<u32>,
    /// Wait, paid for.
    pub(crate) ready: Vec<u32>,
    /// Wait for quota.
    pub(crate) unpaid: u32,
    /// Leave without a place to go to.
    pub(crate) leaving: u32,
    /// Wait for a place that was promised.
    pub(crate) promised: u32,
    /// Milli-GPU without which it cannot start.
    pub(crate) least_gpu: i64,
}

impl Standing {
    /// Whether any member has a place.
    pub(crate) fn holds(&self) -> bool {
        self.held.iter().any(|n| *n > 0)
    }

    /// Whether enough members have a place to go on.
    pub(crate) fn goes_on(&self) -> bool {
        self.held.iter().zip(&self.need).all(|(n, need)| n >= need)
    }

    pub(crate) fn stage(&self, sliced: bool) -> Stage {
        let waits = self.ready.iter().any(|n| *n > 0);
        let whole = self.ready.iter().zip(&self.need).all(|(n, need)| n >= need);
        if !waits || self.promised > 0 || self.leaving > 0 {
            Stage::Gathering
        } else if self.holds() {
            // Slices are groups of their own; a lone member would be in none.
            if sliced || !self.goes_on() {
                Stage::Gathering
            } else {
                Stage::Grow
            }
        } else if whole {
            Stage::Start
        } else {
            Stage::Gathering
        }
    }
}

/// Checks everything about a gang that can be checked without the cluster.
pub(crate) fn check(job: &JobSpec) -> Result<(), EventError> {
    let Some(gang) = &job.gang else {
        return Ok(());
    };
    let bad = |problem: String| EventError::Gang {
        job: job.id.clone(),
        problem,
    };
    let roles = gang.roles.len();
    if roles == 0 || roles > ROLES_MAX {
        return Err(bad(format!(
            "it has {roles} roles, expected 1 to {ROLES_MAX}"
        )));
    }
    let (mut names, mut pods) = (BTreeSet::new(), 0u64);
    for role in &gang.roles {
        let name = &role.name;
        if !model::node::is_name(name) || name.contains('/') || !names.insert(name) {
            return Err(bad(format!(
                "role name {name:?} is used twice or is not [A-Za-z0-9._-]; rename it"
            )));
        }
        if role.min == 0 || role.min > role.count {
            return Err(bad(format!(
                "role {name:?} starts with {} of {} pods, expected 1 to {}",
                role.min, role.count, role.count
            )));
        }
        pods += u64::from(role.count);
        let slice = gang.topology.and_then(|t| t.slice);
        if let Some(slice) = slice
            && (slice.size == 0
                || !role.count.is_multiple_of(slice.size)
                || !role.min.is_multiple_of(slice.size))
        {
            return Err(bad(format!(
                "slices of {} pods do not divide the {} pods (at least {}) of role {name:?}",
                slice.size, role.count, role.min
            )));
        }
    }
    if pods > u64::from(GANG_PODS_MAX) {
        return Err(bad(format!(
            "{pods} pods, but a gang is placed in one decision and has at most {GANG_PODS_MAX}"
        )));
    }
    if pods != u64::from(job.replicas) {
        return Err(bad(format!(
            "its roles add up to {pods} pods, but the job says {}",
            job.replicas
        )));
    }
    if let Some(t) = gang.topology
        && let Some(slice) = t.slice
        && slice.level >= t.level
    {
        return Err(bad(format!(
            "slices in one {} cannot be finer groups inside one {}; choose a nearer level",
            slice.level.name(),
            t.level.name()
        )));
    }
    // Members of a role differ in nothing but their index.
    let mut first = 0;
    for role in &gang.roles {
        job.pod(first).validate()?;
        first += role.count;
    }
    Ok(())
}

impl Engine {
    /// Index of a member's role.
    pub(crate) fn role_of(job: &JobSpec, pod: &str) -> Option<usize> {
        let rest = pod.strip_prefix(job.id.as_str())?.strip_prefix('-')?;
        let (role, _) = rest.rsplit_once('-')?;
        let roles = &job.gang.as_ref()?.roles;
        roles.iter().position(|r| r.name == role)
    }

    /// How a gang stands now; `None` for other jobs.
    pub(crate) fn standing(&self, id: &str) -> Option<Standing> {
        let job = self.pods.jobs.get(id)?;
        let roles = &job.spec.gang.as_ref()?.roles;
        let mut s = Standing {
            need: vec![0; roles.len()],
            held: vec![0; roles.len()],
            ready: vec![0; roles.len()],
            ..Standing::default()
        };
        let mut exist = vec![0; roles.len()];
        for slot in &job.pods {
            let pod = self.pods.get(*slot);
            let Some(role) = Self::role_of(&job.spec, &pod.name) else {
                continue;
            };
            exist[role] += 1;
            match (pod.at, pod.next) {
                (Some(_), None) if pod.leaving.is_some() => s.leaving += 1,
                (Some(_), _) => s.held[role] += 1,
                (None, Some(_)) => {
                    s.held[role] += 1;
                    s.promised += 1;
                }
                (None, None) if pod.admitted => s.ready[role] += 1,
                (None, None) => s.unpaid += 1,
            }
        }
        for (i, role) in roles.iter().enumerate() {
            s.need[i] = role.min.saturating_sub(role.count.saturating_sub(exist[i]));
            s.least_gpu += i64::from(s.need[i]) * role.template.gpu.total_milli();
        }
        Some(s)
    }
}
