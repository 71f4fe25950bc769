//! The play itself: world, daemon and ghost, step by step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lifecycle::{MemberRef, MemberRequest, PolicySetRequest, Set};
use model::policy::WEIGHT_ONE;
use model::{Combine, Decision, Event, PolicyKind};

use super::autoscale::Autoscale;
use super::ghost::Ghost;
use super::screen::{Line, Screen};
use super::world::{Pods, SPEED, World};
use super::{DemoOptions, story};
use crate::api::Server;
use crate::daemon::{DaemonHandle, Receipt, SubmitError};

/// Real time of a step.
const STEP: Duration = Duration::from_millis(50);

/// A line of the table is a second.
const STEPS_PER_LINE: u64 = 20;

/// The shipped policies are compiled at the first start.
const POLICIES_WAIT: Duration = Duration::from_secs(180);

/// Decides first, with its settings.
pub(super) const FIRST: (&str, &str) = ("binpack", r#"{"mode":"best-fit"}"#);
/// Decides after the swap.
pub(super) const SECOND: &str = "gpu-topology-packer";
/// Scales.
const SCALER: &str = "pre-scaler";

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Pods that arrived.
    pub arrived: u64,
    /// Pods that ran to their end.
    pub finished: u64,
    /// Pods running at the end.
    pub running: u64,
    /// Pods waiting at the end, each with a reason.
    pub waiting: u64,
    /// Pods that their owners took back.
    pub gave_up: u64,
    /// Decisions.
    pub decisions: u64,
    /// Decisions that a policy's fault answered, and changes that were refused.
    pub failed: u64,
    /// Decisions by a set that had been replaced before.
    pub mixed: u64,
    /// Pods that are neither running nor waiting nor gone.
    pub lost: i64,
    /// How long decisions were held up for the swap, µs.
    pub swap_us: Option<u64>,
    /// Decisions before the swap that the ghost made too, and all of them.
    pub same_before: (u64, u64),
    /// Mean share of GPU in use since the swap, here and in the ghost.
    pub allocated: (f64, f64),
    /// Mean number of pods waiting since the swap, here and in the ghost.
    pub queued: (f64, f64),
    /// Scaling decisions.
    pub scaled: u64,
    /// It played to its end.
    pub complete: bool,
}

impl Outcome {
    /// Nothing failed, was mixed or was lost.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.mixed == 0 && self.lost == 0
    }
}

/// Sums over the time since the swap, for means.
#[derive(Default)]
struct Since {
    lines: f64,
    allocated: (f64, f64),
    queued: (f64, f64),
}

pub(super) struct Play {
    pub(super) daemon: DaemonHandle,
    pub(super) pods: Pods,
    pub(super) world: World,
    pub(super) ghost: Option<Ghost>,
    pub(super) autoscale: Autoscale,
    pub(super) outcome: Outcome,
    /// A decision that is worth explaining.
    pub(super) example: Option<Arc<Decision>>,
    revision: u64,
    since: Since,
}

fn request(
    kind: PolicyKind,
    name: &str,
    settings: Option<&str>,
) -> anyhow::Result<PolicySetRequest> {
    Ok(PolicySetRequest {
        kind,
        members: vec![MemberRequest {
            policy: MemberRef::parse(name)?,
            weight: WEIGHT_ONE,
            tier: 0,
            settings: settings.map(str::to_owned),
            fail: model::FailMode::Closed,
        }],
        combine: Combine::Weighted,
        if_revision: None,
    })
}

/// Waits until the policies of the binary are policies of the host.
fn policies(daemon: &DaemonHandle, screen: &mut Screen, stop: &AtomicBool) -> anyhow::Result<bool> {
    let begin = Instant::now();
    loop {
        let missing = daemon.read_blocking(|v| {
            let wanted = [FIRST.0, SECOND, SCALER];
            wanted
                .into_iter()
                .find(|name| v.registry.newest(name).is_none())
        });
        match missing.map_err(SubmitError::from)? {
            None => return Ok(true),
            Some(_) if stop.load(Ordering::Acquire) => return Ok(false),
            Some(name) if begin.elapsed() > POLICIES_WAIT => {
                bail!(
                    "policy {name} was not ready within {POLICIES_WAIT:?}; `loadmaster doctor` may know why"
                )
            }
            Some(name) => screen.note(&format!("compiling {name} in the sandbox's child…")),
        }
        std::thread::sleep(STEP);
    }
}

pub(super) fn play(
    options: &DemoOptions,
    server: &Server,
    time: &AtomicU64,
    stop: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let daemon = server.daemon.clone();
    let mut screen = Screen::new();
    let nodes = cluster::demo::nodes(options.nodes, options.seed);
    screen.title(&nodes, options, server.address);
    if !policies(&daemon, &mut screen, stop)? {
        return Ok(Outcome::default());
    }
    let length_ms = options.duration.as_millis() as u64 * SPEED;
    let mut autoscale = Autoscale::new(options.seed, length_ms);
    let begin_ms = autoscale.begin_ms;

    // The cluster, and who decides.
    let first = request(PolicyKind::Scoring, FIRST.0, Some(FIRST.1))?;
    daemon.install_blocking(&first, "the demo begins")?;
    daemon.install_blocking(
        &request(PolicyKind::Autoscaling, SCALER, None)?,
        "the demo begins",
    )?;
    daemon.submit_blocking(autoscale.setup())?;
    screen.note("a week of load for the forecast…");
    while let Some((at, event)) = autoscale.sample(begin_ms) {
        time.store(at, Ordering::Release);
        daemon.submit_blocking(vec![event])?;
    }
    time.store(begin_ms, Ordering::Release);
    daemon.submit_blocking(
        nodes
            .iter()
            .map(|n| Event::NodePut(Box::new(n.clone())))
            .collect(),
    )?;
    let registry = daemon
        .read_blocking(|v| v.registry.clone())
        .map_err(SubmitError::from)?;
    let Set::Scoring(set) = daemon.prepare_set(&first, &registry)?.set else {
        bail!("{} is no scoring policy", FIRST.0);
    };
    let mut play = Play {
        world: World::new(&nodes, options.seed, begin_ms, length_ms),
        ghost: Some(Ghost::new(&nodes, set, begin_ms)?),
        pods: Pods::default(),
        outcome: Outcome::default(),
        example: None,
        revision: 0,
        since: Since::default(),
        daemon,
        autoscale,
    };
    play.run(options, &mut screen, time, stop)?;
    Ok(play.outcome)
}

impl Play {
    fn run(
        &mut self,
        options: &DemoOptions,
        screen: &mut Screen,
        time: &AtomicU64,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let begin_ms = self.autoscale.begin_ms;
        let step_ms = STEP.as_millis() as u64 * SPEED;
        let steps = (options.duration.as_millis() / STEP.as_millis()) as u64;
        let mut swap: Option<JoinHandle<Result<Receipt, SubmitError>>> = None;
        let mut step: u64 = 0;
        let begin = Instant::now();
        screen.header();
        let mut before = self.outcome.decisions;
        while !stop.load(Ordering::Acquire) {
            step += 1;
            let now_ms = begin_ms + step * step_ms;
            time.store(now_ms, Ordering::Release);
            self.step(now_ms)?;
            if options.swap && step == steps / 2 {
                // Beside the load, as an operator would do it.
                let daemon = self.daemon.clone();
                let second = request(PolicyKind::Scoring, SECOND, None)?;
                swap = Some(std::thread::spawn(move || {
                    daemon.install_blocking(&second, "half of the demo is over")
                }));
            }
            if swap.as_ref().is_some_and(JoinHandle::is_finished)
                && let Some(done) = swap.take()
            {
                let receipt = done
                    .join()
                    .map_err(|_| anyhow::anyhow!("the swap failed"))??;
                self.outcome.swap_us = receipt.swap_us.or(Some(0));
                screen.swapped(&self.outcome);
            }
            if step.is_multiple_of(STEPS_PER_LINE) {
                let line = self.line(step, before)?;
                before = self.outcome.decisions;
                screen.line(&line);
            }
            if step == steps {
                self.end(screen, options, true)?;
                if options.exit {
                    return Ok(());
                }
                screen.header();
            }
            if let Some(early) = (begin + STEP * step as u32).checked_duration_since(Instant::now())
            {
                std::thread::sleep(early);
            }
        }
        if let Some(done) = swap {
            let _ = done.join();
        }
        screen.interrupted();
        if step < steps {
            self.end(screen, options, false)?;
        }
        Ok(())
    }

    /// Everything of one step in one durable group, and the same for the ghost.
    fn step(&mut self, now_ms: u64) -> anyhow::Result<()> {
        let mut events = self.pods.ending(now_ms);
        let arrived = self.world.until(now_ms);
        let patience = self.world.patience_ms();
        if !arrived.is_empty() {
            for pod in &arrived {
                self.pods.arrived(pod, now_ms, patience);
            }
            events.push(Event::PodsSubmit(
                arrived.iter().map(|a| a.pod.clone()).collect(),
            ));
        }
        while let Some((_, sample)) = self.autoscale.sample(now_ms) {
            events.push(sample);
        }
        events.push(Event::Tick);
        let mut decided = Vec::new();
        match self.daemon.submit_blocking(events.clone()) {
            Ok(receipt) => self.take(receipt, now_ms, &mut decided),
            Err(_) => {
                // Somebody uses the API as well, and one event contradicts what
                // they did: the others still count. Those applied already are
                // refused now, which changes nothing.
                self.outcome.failed += 1;
                for event in events {
                    if let Ok(receipt) = self.daemon.submit_blocking(vec![event]) {
                        self.take(receipt, now_ms, &mut decided);
                    }
                }
            }
        }
        let alike = self.outcome.swap_us.is_none() && !self.swapped();
        if let Some(ghost) = &mut self.ghost {
            ghost.step(now_ms, &arrived, patience)?;
            if alike {
                ghost.compare(&decided);
            }
        }
        Ok(())
    }

    /// Whether the second set has decided.
    fn swapped(&self) -> bool {
        self.example.is_some()
    }

    fn take(&mut self, receipt: Receipt, now_ms: u64, decided: &mut Vec<Arc<Decision>>) {
        for decision in receipt.decisions {
            self.outcome.decisions += 1;
            self.outcome.failed += u64::from(!decision.faults.is_empty());
            if decision.set_revision < self.revision {
                self.outcome.mixed += 1;
            }
            let newer = self.revision > 0 && decision.set_revision > self.revision;
            self.revision = self.revision.max(decision.set_revision);
            self.pods.decided(&decision, now_ms);
            let good = matches!(&decision.outcome, model::Outcome::Bound { devices, .. } if !devices.is_empty())
                && decision.candidates.len() > 2;
            if newer || self.swapped() && good {
                self.example = Some(Arc::clone(&decision));
            }
            decided.push(decision);
        }
        for decision in &receipt.scaling {
            self.outcome.scaled += 1;
            self.outcome.failed += u64::from(decision.fault.is_some());
            self.autoscale.decided(decision);
        }
    }

    fn line(&mut self, step: u64, decisions_before: u64) -> anyhow::Result<Line> {
        let (summary, set) = self
            .daemon
            .read_blocking(|v| (v.engine.summary(), v.engine.scoring().spec.clone()))
            .map_err(SubmitError::from)?;
        let allocated = summary.gpu_milli_used as f64 / (f64::from(summary.gpus) * 1000.0).max(1.0);
        let waiting = self.pods.waiting();
        if let (Some(ghost), true) = (&self.ghost, self.outcome.swap_us.is_some()) {
            self.since.lines += 1.0;
            self.since.allocated.0 += allocated;
            self.since.allocated.1 += ghost.allocated();
            self.since.queued.0 += waiting as f64;
            self.since.queued.1 += ghost.pods.waiting() as f64;
        }
        Ok(Line {
            seconds: step / STEPS_PER_LINE,
            arrived: self.world.arrived_share(),
            allocated,
            ghost: self
                .ghost
                .as_ref()
                .filter(|_| self.outcome.swap_us.is_some())
                .map(Ghost::allocated),
            running: summary.running as u64,
            waiting: summary
                .waiting
                .iter()
                .map(|(r, n)| (r.code(), *n))
                .collect(),
            rate: self.outcome.decisions - decisions_before,
            policy: set
                .members
                .first()
                .map(|m| m.policy.to_string())
                .unwrap_or_default(),
        })
    }

    /// Counts, and says what it meant.
    fn end(
        &mut self,
        screen: &mut Screen,
        options: &DemoOptions,
        complete: bool,
    ) -> anyhow::Result<()> {
        let (running, waiting) = self
            .daemon
            .read_blocking(|v| (v.engine.running() as u64, v.engine.waiting() as u64))
            .map_err(SubmitError::from)?;
        let lines = self.since.lines.max(1.0);
        let mean = |sum: (f64, f64)| (sum.0 / lines, sum.1 / lines);
        self.outcome = Outcome {
            arrived: self.world.arrived,
            finished: self.pods.finished,
            running,
            waiting,
            gave_up: self.pods.gave_up,
            lost: self.world.arrived as i64
                - (self.pods.finished + self.pods.gave_up + running + waiting) as i64,
            same_before: self.ghost.as_ref().map_or((0, 0), |g| (g.same, g.compared)),
            allocated: mean(self.since.allocated),
            queued: mean(self.since.queued),
            complete,
            ..self.outcome.clone()
        };
        story::tell(self, screen, options).context("the summary could not be made")?;
        // From here on nobody compares.
        self.ghost = None;
        Ok(())
    }
}
