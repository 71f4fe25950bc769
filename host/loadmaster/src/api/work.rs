//! Jobs and pods.

use std::collections::BTreeMap;

use axum::response::Response;
use engine::state::Object;
use engine::view::PodState as EngineState;
use engine::{Engine, Key};
use model::event::Finish as ModelFinish;
use model::{Event, JobSpec, PodSpec, Reason};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::nodes::many;
use super::request::{Request, segment};
use super::respond;
use crate::daemon::{Action, Reply, Submission};
use crate::wire::job::Job;
use crate::wire::plan::Patch;
use crate::wire::pod::{Finish, Pod};
use crate::wire::view::{JobDetail, JobView, Page, Placed, PodView};
use crate::wire::{Invalid, Problem, ProblemKind};

/// How a pod ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Finished {
    /// `succeeded` when left out.
    #[serde(default = "well")]
    how: Finish,
}

fn well() -> Finish {
    Finish::Succeeded
}

/// The first `limit` by name after the cursor, without sorting everything.
pub(super) fn page<T>(
    all: impl Iterator<Item = (String, T)>,
    after: Option<&str>,
    limit: usize,
) -> (Vec<T>, Option<String>) {
    let mut first = BTreeMap::new();
    for (name, item) in all {
        if after.is_some_and(|a| name.as_str() <= a) {
            continue;
        }
        if first.len() > limit
            && first
                .last_key_value()
                .is_some_and(|(last, _)| name >= *last)
        {
            continue;
        }
        first.insert(name, item);
        if first.len() > limit + 1 {
            first.pop_last();
        }
    }
    let more = first.len() > limit;
    if more {
        first.pop_last();
    }
    let next = first
        .last_key_value()
        .filter(|_| more)
        .map(|(name, _)| name.clone());
    (first.into_values().collect(), next)
}

// === Jobs ===

fn job(engine: &Engine, id: &str) -> Option<JobView> {
    engine.job(id).as_ref().map(Into::into)
}

fn patches(engine: &Engine, id: &str) -> Vec<Patch> {
    match engine.export(&Key::Job(id.into())) {
        Some(Object::Job(job)) => job.patches.iter().map(Into::into).collect(),
        _ => Vec::new(),
    }
}

fn unknown_job(id: &str) -> Problem {
    Problem::not_found(format!("job {id:?}"))
}

pub(crate) async fn list_jobs(request: Request) -> Result<Response, Problem> {
    let after = request.query.get("cursor").cloned();
    let limit = request.limit()?;
    let found = request.app.daemon().read(move |v| {
        let jobs = v
            .engine
            .jobs()
            .map(|j| (j.spec.id.clone(), JobView::from(&j)));
        let (items, next_cursor) = page(jobs, after.as_deref(), limit);
        Page { items, next_cursor }
    });
    Ok(respond::list(&found.await?))
}

pub(crate) async fn submit_job(request: Request) -> Result<Response, Problem> {
    let job_body: Job = request.json()?;
    job_body.check_size()?;
    let sent = job_body.clone();
    let spec: JobSpec = job_body.try_into()?;
    if request.flag("dry_run") {
        return what_if(&request, spec).await;
    }
    let id = spec.id.clone();
    let action = Action::Events(vec![Event::JobSubmit(Box::new(spec))]);
    let submission = Submission::new(action, move |v, _| {
        let place = format!("/api/v1/jobs/{}", segment(&id));
        Reply::json(201, &job(v.engine, &id)).at(place)
    });
    let answer = respond::perform(&request, submission).await;
    answer.map_err(|problem| named(problem, &sent))
}

/// Findings of policies point into what was sent.
fn named(problem: Problem, sent: &Job) -> Problem {
    if problem.reason != ProblemKind::DeniedByPolicy.reason() {
        return problem;
    }
    problem.with(|p| {
        for error in &mut p.errors {
            error.pointer = sent.pointer(&error.pointer);
        }
    })
}

/// Asks without doing: not for its key, which stands for the real thing.
async fn what_if(request: &Request, spec: JobSpec) -> Result<Response, Problem> {
    let submission = Submission::new(Action::WhatIf(Box::new(spec)), |_, receipt| {
        Reply::json(200, &receipt.what_if.as_deref())
    });
    let (answer, _) = request.app.daemon().perform(submission).await?;
    Ok(respond::reply(answer))
}

pub(crate) async fn get_job(request: Request) -> Result<Response, Problem> {
    let id = request.param("id");
    let wanted = id.clone();
    let found = request.app.daemon().read(move |v| {
        let pods = v
            .engine
            .job_pods(&wanted)
            .map(|p| PodView::from(&p))
            .collect();
        let patches = patches(v.engine, &wanted);
        job(v.engine, &wanted).map(|job| JobDetail { job, pods, patches })
    });
    Ok(respond::json(
        &found.await?.ok_or_else(|| unknown_job(&id))?,
    ))
}

pub(crate) async fn delete_job(request: Request) -> Result<Response, Problem> {
    let id = request.param("id");
    let looked = id.clone();
    let action = Action::Events(vec![Event::JobDelete { id }]);
    let submission = Submission::new(action, |_, _| Reply::empty(204)).only_if(move |v| {
        let job = job(v.engine, &looked).ok_or_else(|| unknown_job(&looked))?;
        if v.engine.hold() && job.running > 0 {
            let text = format!(
                "the host is on hold, and {} pods of the job run",
                job.running
            );
            return Err(Problem::new(ProblemKind::Held, text));
        }
        Ok(())
    });
    respond::perform(&request, submission).await
}

/// How many pods a service should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scale {
    /// Pods wanted.
    replicas: u32,
}

pub(crate) async fn scale_job(request: Request) -> Result<Response, Problem> {
    let id = request.param("id");
    let Scale { replicas } = request.json()?;
    let looked = id.clone();
    let shown = id.clone();
    let action = Action::Events(vec![Event::JobScale { id, replicas }]);
    let submission = Submission::new(action, move |v, _| Reply::json(200, &job(v.engine, &shown)))
        .only_if(move |v| {
            let job = job(v.engine, &looked).ok_or_else(|| unknown_job(&looked))?;
            if v.engine.hold() && job.running > replicas {
                let text = format!(
                    "the host is on hold, and {} pods of the job run",
                    job.running
                );
                return Err(Problem::new(ProblemKind::Held, text));
            }
            Ok(())
        });
    respond::perform(&request, submission).await
}

// === Pods ===

fn unknown_pod(name: &str) -> Problem {
    Problem::not_found(format!("pod {name:?}, or it has finished"))
}

pub(crate) async fn list_pods(request: Request) -> Result<Response, Problem> {
    let asked = |name: &str| request.query.get(name).cloned();
    let (after, phase, node, owner) =
        (asked("cursor"), asked("phase"), asked("node"), asked("job"));
    let limit = request.limit()?;
    if let Some(phase) = &phase
        && phase != "waiting"
        && phase != "running"
    {
        let text = format!("{phase:?} is neither waiting nor running");
        return Err(Invalid::at("?phase", text).into());
    }
    let reason = match asked("reason") {
        None => None,
        Some(code) => Some(Reason::from_code(&code).ok_or_else(|| {
            let text = format!("{code:?} is not a reason code");
            Problem::from(Invalid::at("?reason", text))
        })?),
    };
    let found = request.app.daemon().read(move |v| {
        let wanted = v.engine.pods().filter(|p| {
            let (waits, at, why) = match &p.state {
                EngineState::Waiting { reason, .. } => (true, None, Some(*reason)),
                EngineState::Promised { .. } => (true, None, Some(Reason::WaitingForPreemption)),
                EngineState::Running { node, .. } => (false, Some(&**node), None),
            };
            phase
                .as_deref()
                .is_none_or(|phase| (phase == "waiting") == waits)
                && node.as_deref().is_none_or(|n| at == Some(n))
                && reason.is_none_or(|r| why == Some(r))
                && owner
                    .as_ref()
                    .is_none_or(|j| p.spec.job.as_ref() == Some(j))
        });
        // Views only of those that are shown.
        let names = wanted.map(|p| (p.spec.name.clone(), p.spec.name.clone()));
        let (names, next_cursor) = page(names, after.as_deref(), limit);
        let items = names
            .iter()
            .filter_map(|n| v.engine.pod(n))
            .map(|p| PodView::from(&p));
        Page {
            items: items.collect(),
            next_cursor,
        }
    });
    Ok(respond::list(&found.await?))
}

pub(super) fn pod(engine: &Engine, name: &str) -> Option<PodView> {
    engine.pod(name).as_ref().map(Into::into)
}

pub(crate) async fn submit_pods(request: Request) -> Result<Response, Problem> {
    let (pods, listed) = many::<Pod>(&request)?;
    let mut specs = Vec::with_capacity(pods.len());
    for (i, pod) in pods.into_iter().enumerate() {
        let checked = pod.check_size().and_then(|()| PodSpec::try_from(pod));
        let spec = checked.map_err(|e| if listed { e.under(i) } else { e })?;
        specs.push(spec);
    }
    let names: Vec<String> = specs.iter().map(|p| p.name.clone()).collect();
    let looked = names.clone();
    let submission = Submission::new(
        Action::Events(vec![Event::PodsSubmit(specs)]),
        move |v, _| {
            let items = names
                .iter()
                .filter_map(|name| pod(v.engine, name))
                .map(|p| Placed {
                    pod: p.name,
                    decision: p.last_decision,
                    state: p.state,
                });
            let reply = Reply::json(
                201,
                &Page {
                    items: items.collect(),
                    next_cursor: None,
                },
            );
            match names.as_slice() {
                [one] => reply.at(format!("/api/v1/pods/{}", segment(one))),
                _ => reply,
            }
        },
    )
    .only_if(move |v| {
        let taken = looked.iter().position(|n| v.engine.pod(n).is_some());
        taken.map_or(Ok(()), |i| {
            let text = format!("a pod named {:?} already exists", looked[i]);
            let pointer = if listed {
                format!("/{i}/name")
            } else {
                "/name".to_owned()
            };
            let problem = Problem::new(ProblemKind::AlreadyExists, &text);
            Err(problem.with(|p| {
                p.errors = vec![Invalid::at(pointer, text)];
            }))
        })
    });
    respond::perform(&request, submission).await
}

pub(crate) async fn get_pod(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let wanted = name.clone();
    let found = request
        .app
        .daemon()
        .read(move |v| pod(v.engine, &wanted))
        .await?;
    Ok(respond::json(&found.ok_or_else(|| unknown_pod(&name))?))
}

pub(crate) async fn finished(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let how = match request.body.is_empty() {
        true => ModelFinish::Succeeded,
        false => request.json::<Finished>()?.how.into(),
    };
    let action = Action::Events(vec![Event::PodFinished { name, how }]);
    respond::perform(&request, Submission::new(action, |_, _| Reply::empty(204))).await
}
