//! Replicas over time.

use axum::response::Response;
use engine::Engine;
use model::Event;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::{Request, etag};
use super::respond;
use crate::daemon::{Action, Reply, Submission};
use crate::wire::scaling::{CalendarEntry, Sample, Scaling};
use crate::wire::time::Time;
use crate::wire::view::{Applied, Page, ScalingView};
use crate::wire::{Invalid, Problem, ProblemKind};

/// Decisions shown with a workload.
const DECISIONS_SHOWN: usize = 20;

fn shown(engine: &Engine, workload: &str, series: usize) -> Option<ScalingView> {
    let w = engine.workload(workload)?;
    let spec = Scaling::from(w.spec);
    let skip = w.series.len().saturating_sub(series);
    let decisions = engine.scaling_decisions(workload).rev();
    Some(ScalingView {
        workload: spec.workload.clone(),
        etag: etag(&spec),
        ready: w.ready,
        starting: w.starting,
        load: Some(w.load).filter(|l| l.is_finite()),
        series_start: Time(w.series_start_ms + skip as u64 * spec.step_ms),
        series: w.series[skip..]
            .iter()
            .map(|v| Some(*v).filter(|v| v.is_finite()))
            .collect(),
        decisions: decisions.take(DECISIONS_SHOWN).map(Into::into).collect(),
        spec,
    })
}

fn unknown(workload: &str) -> Problem {
    Problem::not_found(format!("scaled workload {workload:?}"))
}

pub(crate) async fn list(request: Request) -> Result<Response, Problem> {
    let items = request.app.daemon().read(|v| {
        let names = v.engine.workloads().map(|s| s.workload.clone());
        names
            .filter_map(|n| shown(v.engine, &n, 0))
            .collect::<Vec<_>>()
    });
    Ok(respond::list(&Page {
        items: items.await?,
        next_cursor: None,
    }))
}

pub(crate) async fn get(request: Request) -> Result<Response, Problem> {
    let workload = request.param("workload");
    let series = request.number("series")?.unwrap_or(0) as usize;
    let name = workload.clone();
    let found = request
        .app
        .daemon()
        .read(move |v| shown(v.engine, &name, series))
        .await?;
    let found = found.ok_or_else(|| unknown(&workload))?;
    Ok(respond::tagged(&found, &found.etag))
}

pub(crate) async fn put(request: Request) -> Result<Response, Problem> {
    let workload = request.param("workload");
    let mut body: Scaling = request.json()?;
    if body.workload.is_empty() {
        body.workload.clone_from(&workload);
    } else if body.workload != workload {
        let text = format!("is {:?}, but the URL names {workload:?}", body.workload);
        return Err(Invalid::at("/workload", text).into());
    }
    let conditions = request.conditions();
    let wanted = body.clone();
    let (looked, name) = (workload.clone(), workload.clone());
    let existed = request
        .app
        .daemon()
        .read(move |v| v.engine.workload(&name).is_some())
        .await?;
    let action = Action::Events(vec![Event::ScalingPut(body.into())]);
    let status = if existed { 200 } else { 201 };
    let submission = Submission::new(action, move |v, _| {
        let view = shown(v.engine, &workload, 0);
        let tag = view.as_ref().map(|w| w.etag.clone()).unwrap_or_default();
        Reply::json(status, &view).with_etag(tag)
    })
    .only_if(move |v| {
        let current = shown(v.engine, &looked, 0);
        let same = current.as_ref().is_some_and(|c| c.spec == wanted);
        conditions.put(current.as_ref().map(|c| (c, c.etag.as_str())), same)
    });
    respond::perform(&request, submission).await
}

pub(crate) async fn delete(request: Request) -> Result<Response, Problem> {
    let workload = request.param("workload");
    let conditions = request.conditions();
    let looked = workload.clone();
    let action = Action::Events(vec![Event::ScalingRemove { workload }]);
    let submission = Submission::new(action, |_, _| Reply::empty(204)).only_if(move |v| {
        let current = shown(v.engine, &looked, 0).ok_or_else(|| unknown(&looked))?;
        conditions.delete(&current, &current.etag)
    });
    respond::perform(&request, submission).await
}

/// Present loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Samples {
    /// In order.
    samples: Vec<Sample>,
}

/// Largest load of a sample; series files have the same bound.
const SAMPLE_MAX: f64 = 1e12;

pub(crate) async fn samples(request: Request) -> Result<Response, Problem> {
    let samples = request.json::<Samples>()?.samples;
    for (i, sample) in samples.iter().enumerate() {
        let legal = |v: &f64| (0.0..=SAMPLE_MAX).contains(v);
        if let Some(value) = sample.value.filter(|v| !legal(v)) {
            let text = format!(
                "{value} is not a load between 0 and {SAMPLE_MAX:e}; send null for unknown"
            );
            let problem = Problem::new(ProblemKind::InvalidRequest, &text);
            return Err(problem.with(|p| {
                p.errors = vec![Invalid::at(format!("/samples/{i}/value"), &text)];
            }));
        }
    }
    let workloads: Vec<String> = samples.iter().map(|s| s.workload.clone()).collect();
    let applied = samples.len() as u32;
    let events = samples.into_iter().map(|s| Event::MetricSample {
        workload: s.workload,
        value: s.value.unwrap_or(f64::NAN),
    });
    let submission = Submission::new(Action::Events(events.collect()), move |_, _| {
        Reply::json(200, &Applied { applied })
    })
    .only_if(move |v| {
        let missing = workloads
            .iter()
            .position(|w| v.engine.workload(w).is_none());
        missing.map_or(Ok(()), |i| {
            let problem = unknown(&workloads[i]);
            let pointer = format!("/samples/{i}/workload");
            Err(problem.with(|p| {
                p.errors = vec![Invalid::at(pointer, &p.detail)];
            }))
        })
    });
    respond::perform(&request, submission).await
}

// === Calendar ===

fn entry(engine: &Engine, name: &str) -> Option<CalendarEntry> {
    engine.calendar().find(|e| e.name == name).map(Into::into)
}

pub(crate) async fn calendar(request: Request) -> Result<Response, Problem> {
    let items = request.app.daemon().read(|v| {
        v.engine
            .calendar()
            .map(CalendarEntry::from)
            .collect::<Vec<_>>()
    });
    Ok(respond::list(&Page {
        items: items.await?,
        next_cursor: None,
    }))
}

pub(crate) async fn put_entry(request: Request) -> Result<Response, Problem> {
    let body: CalendarEntry = request.json()?;
    let conditions = request.conditions();
    let (wanted, name) = (body.clone(), body.name.clone());
    let existing = name.clone();
    let existed = request
        .app
        .daemon()
        .read(move |v| entry(v.engine, &existing).is_some())
        .await?;
    let status = if existed { 200 } else { 201 };
    let action = Action::Events(vec![Event::CalendarPut(body.into())]);
    let looked = name.clone();
    let submission = Submission::new(action, move |v, _| {
        let stored = entry(v.engine, &name);
        let tag = stored.as_ref().map(etag).unwrap_or_default();
        Reply::json(status, &stored).with_etag(tag)
    })
    .only_if(move |v| {
        let current = entry(v.engine, &looked);
        let tag = current.as_ref().map(etag).unwrap_or_default();
        let same = current.as_ref() == Some(&wanted);
        conditions.put(current.as_ref().map(|c| (c, tag.as_str())), same)
    });
    respond::perform(&request, submission).await
}

pub(crate) async fn delete_entry(request: Request) -> Result<Response, Problem> {
    let name = request.param("name");
    let action = Action::Events(vec![Event::CalendarRemove { name }]);
    respond::perform(&request, Submission::new(action, |_, _| Reply::empty(204))).await
}
