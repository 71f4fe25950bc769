//! Why a pod or a job waits: nodes, quota, gang, preemption, and ways out in
//! the order in which they should be tried.

use axum::response::Response;
use engine::Engine;
use engine::view::PodState as EngineState;
use model::Reason;
use model::quota::QuotaResource;

use super::request::Request;
use super::respond;
use crate::wire::plan::Plan;
use crate::wire::quota::amount;
use crate::wire::time::Time;
use crate::wire::usage::GangView;
use crate::wire::why::{Why, WhyFix, WhyPreemption, WhyQuota};
use crate::wire::{Problem, ProblemKind};

/// Borrowers named among the ways out: more are in the numbers.
const BORROWERS_NAMED: usize = 5;

pub(crate) async fn pod(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let wanted = name.clone();
    let found = request.app.daemon().read(move |v| whole(v.engine, &wanted));
    let missing = || Problem::not_found(format!("pod {name:?}, or it has finished"));
    Ok(respond::list(&found.await?.ok_or_else(missing)?))
}

/// Of a job the first pod that waits speaks for all.
pub(crate) async fn job(request: Request) -> Result<Response, Problem> {
    let id = request.param("id");
    let wanted = id.clone();
    let found = request.app.daemon().read(move |v| {
        v.engine.job(&wanted)?;
        let mut pods: Vec<_> = v
            .engine
            .job_pods(&wanted)
            .map(|p| {
                let runs = matches!(p.state, EngineState::Running { .. });
                (runs, p.submitted_ms, p.spec.name.clone())
            })
            .collect();
        pods.sort();
        Some(pods.first().and_then(|(.., name)| whole(v.engine, name)))
    });
    match found.await? {
        None => Err(Problem::not_found(format!("job {id:?}"))),
        Some(Some(why)) => Ok(respond::list(&why)),
        Some(None) => {
            let text = format!("job {id:?} has no pods that wait or run");
            Err(Problem::new(ProblemKind::Conflict, text))
        }
    }
}

/// The whole answer about one pod.
fn whole(engine: &Engine, name: &str) -> Option<Why> {
    let pod = engine.pod(name)?;
    let waits = match &pod.state {
        EngineState::Waiting { reason, .. } => Some(*reason),
        EngineState::Promised { .. } => Some(Reason::WaitingForPreemption),
        EngineState::Running { .. } => None,
    };
    let owner = pod.spec.job.clone();
    let submitted_ms = pod.submitted_ms;
    let mut why = Why::from(engine.why(name)?);
    let job = owner.as_deref();
    why.gang = job.and_then(|id| gang(engine, id));
    let Some(reason) = waits else {
        return Some(why);
    };
    let asker = match (&why.gang, job) {
        (Some(_), Some(id)) => id,
        _ => name,
    };
    let quota = job.and_then(|id| engine.quota_wait(id));
    if let Some(wait) = quota {
        let suspended = reason == Reason::QueueSuspended;
        let fixes = of_quota(&wait, suspended);
        // Nodes do not matter as long as nobody pays.
        why.fixes = fixes;
        why.lines.clear();
        why.quota = Some(WhyQuota::from(&wait));
        if wait.job.reclaiming {
            why.preemption = yields(engine, asker, submitted_ms);
        }
    } else {
        why.preemption = yields(engine, asker, submitted_ms);
        let spec = job.and_then(|id| engine.job(id)).map(|j| j.spec);
        let topology = spec.and_then(|s| s.gang.as_ref()?.topology);
        if let Some(topology) = topology.filter(|t| t.required) {
            why.fixes.push(WhyFix::Spread {
                level: topology.level.into(),
            });
        }
    }
    if let Some(preemption) = &why.preemption {
        rank(&mut why.fixes, preemption);
    }
    Some(why)
}

/// Who is leaving comes first: it needs nobody's help.
fn rank(fixes: &mut Vec<WhyFix>, preemption: &WhyPreemption) {
    match (&preemption.plan, preemption.next) {
        (Some(plan), _) => {
            let gone = plan.victims.iter().map(|v| v.pod.clone());
            let moved = plan.moves.iter().map(|m| m.pod.clone());
            fixes.insert(
                0,
                WhyFix::Leave {
                    plan: plan.id,
                    pods: gone.chain(moved).collect(),
                    until: plan.until,
                },
            );
        }
        // Waiting for that only helps if somebody may have to yield.
        (None, Some(_)) if preemption.because.is_none() && !lower(fixes) => {}
        (None, Some(at)) if preemption.because.is_none() => {
            fixes.insert(
                0,
                WhyFix::Ask {
                    at,
                    because: "scale-up gets its chance first".to_owned(),
                },
            );
        }
        (None, Some(at)) => fixes.push(WhyFix::Ask {
            at,
            because: preemption.because.clone().unwrap_or_default(),
        }),
        (None, None) => {}
    }
}

/// Whether pods of lower priority hold what is missing.
fn lower(fixes: &[WhyFix]) -> bool {
    fixes.iter().any(|f| matches!(f, WhyFix::Preempt { .. }))
}

/// What would let a job past its quota, cheapest first.
fn of_quota(wait: &engine::QuotaWait, suspended: bool) -> Vec<WhyFix> {
    let mut fixes = Vec::new();
    if suspended {
        fixes.push(WhyFix::Resume {
            queue: wait.queue.to_string(),
        });
    }
    let short = |r: QuotaResource| wait.job.shortages.iter().any(|s| s.resource == r);
    let lends = wait.borrowers.iter().filter(|(queue, amounts)| {
        **queue != *wait.queue
            && QuotaResource::ALL
                .into_iter()
                .any(|r| amounts.get(r) > 0 && short(r))
    });
    for (queue, amounts) in lends.take(BORROWERS_NAMED) {
        fixes.push(WhyFix::Giveback {
            queue: queue.clone(),
            borrowed: amounts.into(),
        });
    }
    for s in &wait.job.shortages {
        fixes.push(WhyFix::Raise {
            quota: s.quota.to_string(),
            resource: s.resource.name().to_owned(),
            by: amount(s.resource, s.by),
        });
    }
    fixes
}

/// What preemption does for somebody who waits; `None` if it does not ask.
fn yields(engine: &Engine, asker: &str, submitted_ms: u64) -> Option<WhyPreemption> {
    if let Some(plan) = engine.plan_for(asker) {
        return Some(WhyPreemption {
            plan: Some(Plan::from(plan)),
            attempts: 0,
            next: None,
            because: None,
        });
    }
    match engine.preemption_wait(asker) {
        Some((attempts, next_ms, because)) => Some(WhyPreemption {
            plan: None,
            attempts,
            next: (next_ms > 0).then_some(Time(next_ms)),
            because: (!because.is_empty()).then(|| because.to_owned()),
        }),
        None => {
            let from = engine.preempts_from(submitted_ms);
            (from > engine.now_ms()).then_some(WhyPreemption {
                plan: None,
                attempts: 0,
                next: Some(Time(from)),
                because: None,
            })
        }
    }
}

// === Gangs ===

/// A gang as it is now; `None` for a job that is none.
pub(super) fn gang(engine: &Engine, id: &str) -> Option<GangView> {
    let plan = engine.plan_for(id).map(|p| p.id);
    Some(GangView::new(&engine.gang_view(id)?, plan))
}
