//! What it meant: before and after, and answers to the questions people have.

use std::sync::Arc;

use engine::Fix;
use model::decision::ABSTAIN;
use model::{Decision, Outcome as Decided, Reason};

use super::DemoOptions;
use super::play::{FIRST, Outcome, Play, SECOND};
use super::screen::{Screen, count, micros, percent};
use crate::daemon::SubmitError;

/// Candidates shown of a decision.
const CANDIDATES_SHOWN: usize = 4;

/// Moments of the sale that are shown, minutes from its start.
const SALE_MOMENTS: [i64; 5] = [-25, -14, 0, 10, 30];

pub(super) fn tell(play: &Play, screen: &mut Screen, options: &DemoOptions) -> anyhow::Result<()> {
    screen.say("");
    counted(&play.outcome, screen);
    if let (Some(us), true) = (play.outcome.swap_us, options.swap) {
        swap(&play.outcome, us, screen);
    }
    if let Some(decision) = &play.example {
        explain(decision, screen);
    }
    why(play, screen)?;
    scaling(play, screen);
    if !options.exit && play.outcome.complete {
        screen.say("The host goes on; Ctrl-C ends it.");
        screen.say("");
    }
    Ok(())
}

fn counted(o: &Outcome, screen: &mut Screen) {
    let title = screen.bold(if o.complete {
        "What happened"
    } else {
        "What happened until it was interrupted"
    });
    screen.say(&title);
    screen.say(&format!(
        "  {} pods arrived = {} ended + {} run + {} wait + {} taken back{}",
        count(o.arrived),
        count(o.finished),
        count(o.running),
        count(o.waiting),
        count(o.gave_up),
        if o.lost == 0 {
            String::new()
        } else {
            format!(" + {} LOST", o.lost)
        },
    ));
    screen.say(&format!(
        "  {} decisions: {} failed, {} mixed",
        count(o.decisions),
        o.failed,
        o.mixed
    ));
    screen.say("");
}

fn swap(o: &Outcome, us: u64, screen: &mut Screen) {
    let title = screen.bold("What the swap changed");
    screen.say(&title);
    let (same, compared) = o.same_before;
    screen.say(&format!(
        "  A second engine got the same arrivals and kept {}. Before the swap {} of {} decisions were the same.",
        FIRST.0,
        count(same),
        count(compared)
    ));
    screen.say(&format!(
        "  {:<34}{:>22}{:>12}{:>12}",
        "since the swap, on average", SECOND, FIRST.0, "difference"
    ));
    screen.say(&format!(
        "  {:<34}{:>22}{:>12}{:>12}",
        "GPU allocated",
        percent(o.allocated.0),
        percent(o.allocated.1),
        format!("{:+.1}", 100.0 * (o.allocated.0 - o.allocated.1)),
    ));
    screen.say(&format!(
        "  {:<34}{:>22.0}{:>12.0}{:>+12.0}",
        "pods waiting",
        o.queued.0,
        o.queued.1,
        o.queued.0 - o.queued.1,
    ));
    screen.say(&format!("  The swap held up decisions for {}; going back is as quick: loadmaster policy rollback scoring", micros(us)));
    screen.say("");
}

fn explain(decision: &Arc<Decision>, screen: &mut Screen) {
    let Decided::Bound { node, devices, .. } = &decision.outcome else {
        return;
    };
    let slots: Vec<String> = devices.iter().map(ToString::to_string).collect();
    let title = screen.bold(&format!(
        "Why {} went to {node}, GPU {}",
        decision.pod,
        slots.join(", ")
    ));
    screen.say(&title);
    let left: Vec<String> = decision
        .filter
        .rejections()
        .filter(|(_, n)| *n > 0)
        .map(|(why, n)| format!("{n} {}", why.sentence()))
        .collect();
    screen.say(&format!(
        "  {} nodes: {}",
        decision.filter.total(),
        left.join(", ")
    ));
    for (rank, candidate) in decision
        .candidates
        .iter()
        .take(CANDIDATES_SHOWN)
        .enumerate()
    {
        let score = candidate
            .scores
            .iter()
            .next()
            .copied()
            .filter(|s| *s != ABSTAIN);
        let score = score.map_or("–".to_owned(), |s| {
            format!("{:.2}", f64::from(s) / 1000.0)
        });
        screen.say(&format!(
            "  {}  {:<16} {score:>8}",
            rank + 1,
            candidate.node
        ));
    }
    screen.say(&format!(
        "  every score: loadmaster decision explain {}",
        decision.seq
    ));
    screen.say("");
}

/// A pod that waits for something a person can do about comes first.
fn why(play: &Play, screen: &mut Screen) -> anyhow::Result<()> {
    let found = play
        .daemon
        .read_blocking(|v| {
            let waiting = v.engine.pods().filter_map(|p| match p.state {
                engine::view::PodState::Waiting { reason, .. }
                    if reason != Reason::PendingEvaluation =>
                {
                    Some((
                        reason != Reason::FragmentedTopology,
                        p.submitted_ms,
                        p.spec.name.clone(),
                    ))
                }
                _ => None,
            });
            let (_, _, name) = waiting.min()?;
            Some((v.engine.why(&name)?, v.now_ms))
        })
        .map_err(SubmitError::from)?;
    let Some((why, now_ms)) = found else {
        return Ok(());
    };
    let engine::view::PodState::Waiting { reason, .. } = &why.state else {
        return Ok(());
    };
    let minutes = now_ms.saturating_sub(why.submitted_ms) / 60_000;
    let title = screen.bold(&format!("Why {} waits", why.pod));
    screen.say(&format!("{title}  {} for {minutes} min", reason.code()));
    for line in &why.lines {
        let nearest = line
            .nearest
            .as_ref()
            .map_or(String::new(), |n| format!("; nearest: {n}"));
        screen.say(&format!(
            "  {:>6}  {}{nearest}",
            line.count,
            line.rejection.sentence()
        ));
    }
    let sum: u32 = why.lines.iter().map(|l| l.count).sum();
    screen.say(&format!(
        "  {:>6}  of {} nodes",
        format!("= {sum}"),
        why.nodes
    ));
    for fix in why.fixes.iter().take(3) {
        let pods = |pods: &[Arc<str>]| match pods {
            [one] => one.to_string(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => String::new(),
        };
        let text = match fix {
            Fix::Wait { node, pods: p } => {
                format!("wait      {node} has room when {} ended", pods(p))
            }
            Fix::Preempt { node, pods: p } => format!("preempt   {} on {node}", pods(p)),
            Fix::Relax { what, fits, .. } => {
                format!("relax     without {what}, {fits} nodes fit now")
            }
            Fix::Grow { like } => format!("grow      one more node like {like}"),
        };
        screen.say(&format!("  {text}"));
    }
    screen.say(&format!("  loadmaster why pod/{}", why.pod));
    screen.say("");
    Ok(())
}

fn scaling(play: &Play, screen: &mut Screen) {
    let scale = &play.autoscale;
    let end = scale.decisions.last().map_or(0, |m| m.decision.time_ms);
    let moments: Vec<_> = SALE_MOMENTS
        .iter()
        .filter_map(|minutes| {
            let at = scale.sale_ms.checked_add_signed(minutes * 60_000)?;
            (at <= end)
                .then(|| scale.at(at))
                .flatten()
                .map(|m| (*minutes, m))
        })
        .collect();
    let Some((_, first)) = moments.first() else {
        return;
    };
    let title = screen.bold(&format!(
        "How {} was scaled for the sale in its calendar",
        first.decision.workload
    ));
    screen.say(&title);
    screen.say(&format!(
        "  {:>12}{:>14}{:>16}{:>16}",
        "from start", "requests/min", first.decision.policy.name, "reactive alone"
    ));
    for (minutes, moment) in &moments {
        let d = &moment.decision;
        screen.say(&format!(
            "  {:>12}{:>14}{:>16}{:>16}",
            format!("{minutes:+} min"),
            count(moment.load as u64),
            d.desired,
            d.reactive
        ));
    }
    screen.say("");
}
