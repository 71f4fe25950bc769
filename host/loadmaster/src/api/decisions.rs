//! Decisions: the latest from memory, older ones from the journal.

use axum::response::Response;
use engine::builtin::binpack::BuiltinBinpack;
use engine::port::{Column, ScoringPolicy as _};

use super::request::Request;
use super::respond;
use crate::daemon::{DaemonHandle, View};
use crate::wire::decision::{AnyDecision, Decision, Outcome};
use crate::wire::policy::PolicySet;
use crate::wire::view::{DecisionDetail, Explanation, Influence, Page};
use crate::wire::{Problem, ProblemKind};

pub(crate) async fn list(request: Request) -> Result<Response, Problem> {
    let limit = request.limit()?;
    let before = request.number("cursor")?.unwrap_or(u64::MAX);
    let pod = request.query.get("pod").cloned();
    let about = pod.clone();
    let recent = request.app.daemon().read(move |v| {
        let wanted = v
            .recent
            .before(before)
            .filter(|d| about.as_deref().is_none_or(|p| *d.pod == *p));
        let found: Vec<_> = wanted.take(limit + 1).cloned().collect();
        (
            found,
            v.recent.first().unwrap_or(u64::MAX),
            v.reader.cloned(),
        )
    });
    let (found, oldest, reader) = recent.await?;
    let mut items: Vec<Decision> = found.iter().map(|d| Decision::from(&**d)).collect();
    if items.len() <= limit
        && let Some(reader) = reader
    {
        let missing = limit + 1 - items.len();
        let older = older(reader, before.min(oldest), missing, move |d| {
            pod.as_deref().is_none_or(|p| d.pod == p)
        });
        items.extend(older.await?);
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|d| d.id.to_string());
    Ok(respond::list(&Page { items, next_cursor }))
}

/// Blocks on the disk, so on a thread of its own.
async fn older(
    reader: store::Reader,
    before: u64,
    limit: usize,
    wanted: impl Fn(&Decision) -> bool + Send + 'static,
) -> Result<Vec<Decision>, Problem> {
    let found = tokio::task::spawn_blocking(move || {
        DaemonHandle::older_decisions(&reader, before, limit, |d| match d {
            AnyDecision::Placement(d) => wanted(d),
            AnyDecision::Scaling(_) => false,
        })
    });
    let failed = |e: &dyn std::fmt::Display| {
        Problem::new(
            ProblemKind::Internal,
            format!("the journal cannot be read: {e}"),
        )
    };
    let found = found
        .await
        .map_err(|e| failed(&e))?
        .map_err(|e| failed(&e))?;
    Ok(found
        .into_iter()
        .filter_map(|d| match d {
            AnyDecision::Placement(d) => Some(d),
            AnyDecision::Scaling(_) => None,
        })
        .collect())
}

fn set_of(view: &View<'_>, revision: u64) -> Option<PolicySet> {
    view.sets.get(&revision).map(Into::into)
}

pub(crate) async fn get(request: Request) -> Result<Response, Problem> {
    let text = request.param("id");
    let missing = || Problem::not_found(format!("decision {text}"));
    let id: u64 = text.parse().map_err(|_| missing())?;
    let recent = request.app.daemon().read(move |v| {
        let found = v
            .recent
            .get(id)
            .map(|d| (Decision::from(&**d), set_of(v, d.set_revision)));
        (found, v.reader.cloned())
    });
    let (decision, set) = match recent.await? {
        (Some(found), _) => found,
        (None, Some(reader)) => {
            let mut found = older(reader, id.saturating_add(1), 1, move |d| d.id == id).await?;
            let decision = found.pop().ok_or_else(missing)?;
            let revision = decision.set_revision;
            let set = request
                .app
                .daemon()
                .read(move |v| set_of(v, revision))
                .await?;
            (decision, set)
        }
        (None, None) => return Err(missing()),
    };
    let influence = influence(&decision, set.as_ref());
    let explanations = match request.flag("explain") {
        true => explain(&request, &decision).await?,
        false => Vec::new(),
    };
    Ok(respond::json(&DecisionDetail {
        decision,
        set,
        influence,
        explanations,
    }))
}

/// Asks every policy of the set that decided about the candidates as they are
/// now. Of a pod that is gone there is nothing left to ask about.
async fn explain(request: &Request, decision: &Decision) -> Result<Vec<Explanation>, Problem> {
    let (revision, pod) = (decision.set_revision, decision.pod.clone());
    let nodes: Vec<String> = decision.candidates.iter().map(|c| c.node.clone()).collect();
    let asked = request.app.daemon().read(move |v| {
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let members = v.sets.get(&revision).map_or(&[][..], |s| &s.members);
        let questions = members.iter().filter_map(|member| {
            let columns: Vec<Column> = match v.registry.get(&member.policy.digest) {
                Some(record) => record
                    .columns
                    .iter()
                    .filter_map(|c| Column::parse(c))
                    .collect(),
                None => BuiltinBinpack::new().description().columns.clone(),
            };
            let question = v.engine.question(&pod, &nodes, &columns)?;
            Some((member.clone(), question))
        });
        (questions.collect::<Vec<_>>(), v.registry.clone())
    });
    let (questions, registry) = asked.await?;
    let daemon = request.app.daemon().clone();
    let asking = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        for (member, question) in questions {
            let policy = member.policy.to_string();
            // One policy that cannot explain itself does not silence the others.
            let parts = match daemon.explain(&member, &question, &registry) {
                Ok(parts) => parts,
                Err(error) => {
                    tracing::warn!(policy, %error, "no explanation");
                    continue;
                }
            };
            all.extend(
                std::iter::zip(&question.nodes, parts).map(|(node, parts)| Explanation {
                    policy: policy.clone(),
                    node: node.to_string(),
                    parts: parts.iter().map(Into::into).collect(),
                }),
            );
        }
        all
    });
    asking
        .await
        .map_err(|e| Problem::new(ProblemKind::Internal, e))
}

fn influence(decision: &Decision, set: Option<&PolicySet>) -> Vec<Influence> {
    let winner = match &decision.outcome {
        Outcome::Bound { node, .. } => Some(node),
        Outcome::Unschedulable { .. } => None,
    };
    let members = set.map_or(&[][..], |s| &s.members);
    std::iter::zip(members, &decision.without)
        .map(|(member, without)| Influence {
            policy: format!("{}@{}", member.policy.name, member.policy.version),
            winner_without: without.clone(),
            decisive: without.as_ref() != winner,
        })
        .collect()
}
