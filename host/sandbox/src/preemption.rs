//! A component behind the engine's preemption port.

use std::sync::Arc;

use engine::port::preemption::{
    Action, Constraint, PreemptRequest, PreemptionPolicy, Proposal, Running,
};
use engine::port::{Context, Cost, Description, PodRow};
use model::PolicyFault;
use wasmtime::Store;

use crate::answer::preemption as answer;
use crate::bindings::preemption::PreemptionPolicy as Bindings;
use crate::bindings::preemption::exports::loadmaster::policy::preemption as wit;
use crate::bindings::preemption::loadmaster::policy::scoring;
use crate::guest::{Guest, HostState};
use crate::limits::RunLimits;
use crate::lower::{lower_context, lower_mode};
use crate::prepared::{Linked, Prepared};
use crate::reused::{Ask, Reused, World};
use crate::scoring::refused;

/// The generator believes that these also come back.
mod types {
    pub(super) use crate::bindings::preemption::loadmaster::policy::types::{
        ContextParam as Context, GpuModelParam as GpuModel, Mode, NodeShape, ShapeClass,
        WiringParam as Wiring,
    };
}

/// One preemption policy with its settings. The instance inside is reused between
/// calls and replaced after any fault; nothing it remembers may show.
#[derive(Debug)]
pub(crate) struct WasmPreemption {
    reused: Reused<Bindings>,
    context: Option<Arc<Context>>,
}

impl World for Bindings {
    fn instantiate(linked: &Linked, store: &mut Store<HostState>) -> wasmtime::Result<Self> {
        let Linked::Preemption(pre) = linked else {
            // `Prepared::preemption` checked the kind.
            return Err(wasmtime::Error::msg("not a preemption policy"));
        };
        pre.instantiate(store)
    }

    fn configure(
        &self,
        store: &mut Store<HostState>,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        self.loadmaster_policy_preemption()
            .call_configure(store, settings)
    }
}

impl WasmPreemption {
    pub(crate) fn start(
        prepared: &Arc<Prepared>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Self, PolicyFault> {
        let limits = RunLimits {
            call_wall_ms: limits.plan_wall_ms,
            pass_wall_ms: limits.plan_wall_ms,
            ..limits
        };
        Ok(Self {
            reused: Reused::start(prepared, settings, limits)?,
            context: None,
        })
    }
}

impl PreemptionPolicy for WasmPreemption {
    fn description(&self) -> &Description {
        self.reused.description()
    }

    fn set_context(&mut self, context: &Arc<Context>) -> Result<(), PolicyFault> {
        // Kept first: an instance that ends here is replaced by one that has it.
        self.context = Some(Arc::clone(context));
        self.reused
            .tell(|guest, ask| set_context(guest, ask, context))
    }

    fn propose(&mut self, request: &PreemptRequest<'_>) -> Result<(Proposal, Cost), PolicyFault> {
        let context = self.context.as_deref();
        self.reused.ask(
            |guest, ask| match context {
                Some(context) => set_context(guest, ask, context),
                None => Ok(()),
            },
            |guest, ask| propose(guest, ask, request),
            |said| match said {
                Proposal::Plan(plan) => format!(
                    "domain {} with {} victims, {} moves, {} placements, cost {:?}",
                    plan.domain,
                    plan.victims.len(),
                    plan.moves.len(),
                    plan.placements.len(),
                    plan.cost
                ),
                Proposal::None(reason) => format!("none: {reason}"),
                Proposal::Abstain => "abstains".to_owned(),
            },
        )
    }
}

fn set_context(
    guest: &mut Guest<Bindings>,
    ask: Ask<'_>,
    context: &Context,
) -> Result<(), PolicyFault> {
    let given = ask.setup()?;
    let (accepted, _) = lower_context!(types, context, |lowered| guest.call(
        given,
        |world, store| world
            .loadmaster_policy_preemption()
            .call_set_context(store, lowered)
    ))?;
    accepted.map_err(refused)
}

fn propose(
    guest: &mut Guest<Bindings>,
    ask: Ask<'_>,
    request: &PreemptRequest<'_>,
) -> Result<(Proposal, u64), PolicyFault> {
    let rows = request.rows;
    let fuel = ask
        .limits
        .fuel_for_plan(rows.count, rows.slots, request.running.len());
    let given = ask.given(fuel)?;
    let (said, fuel) = with_request(request, |lowered| {
        guest.call(given, |world, store| {
            world
                .loadmaster_policy_preemption()
                .call_propose(store, lowered)
        })
    })?;
    Ok((answer::proposal(said, request)?, fuel))
}

// === requests ===

fn pod(pod: &PodRow) -> scoring::Pod {
    scoring::Pod {
        cpu: pod.cpu,
        memory: pod.memory,
        disk: pod.disk,
        network: pod.network,
        gpu_count: pod.gpu_count,
        gpu_milli: pod.gpu_milli,
        gpu_memory: pod.gpu_memory,
        gpu_models: pod.gpu_models,
        priority: pod.priority,
        app: pod.app,
    }
}

/// One copy a column: they are lists of numbers on both sides.
fn running(work: &Running) -> wit::Running<'_> {
    wit::Running {
        id: &work.id,
        row: &work.row,
        owner: &work.owner,
        group: &work.group,
        priority: &work.priority,
        cpu: &work.cpu,
        memory: &work.memory,
        gpu_slots: &work.gpu_slots,
        gpu_milli: &work.gpu_milli,
        started: &work.started,
        checkpoint: &work.checkpoint,
        restart_cost: &work.restart_cost,
        budget: &work.budget,
        allowed: &work.allowed,
        grace: &work.grace,
    }
}

fn with_request<R>(request: &PreemptRequest<'_>, call: impl FnOnce(wit::Request<'_>) -> R) -> R {
    let preemptor = request.preemptor;
    let demands: Vec<_> = preemptor
        .demands
        .iter()
        .map(|d| wit::Demand {
            role: &d.role,
            pod: pod(&d.pod),
            count: d.count,
            min: d.min,
        })
        .collect();
    let domains: Vec<_> = request
        .domains
        .iter()
        .map(|d| wit::Domain {
            level: d.level,
            name: &d.name,
            rows: &d.rows,
        })
        .collect();
    let queues: Vec<_> = request
        .queues
        .iter()
        .map(|q| wit::Queue {
            name: &q.name,
            share: q.share,
            guaranteed: q.guaranteed,
            lent: q.lent,
        })
        .collect();
    let budgets: Vec<_> = request
        .budgets
        .iter()
        .map(|b| wit::Budget {
            name: &b.name,
            allowed: b.allowed,
        })
        .collect();
    call(wit::Request {
        now: request.now,
        mode: lower_mode!(types, request.mode),
        seed: request.seed,
        action: match request.action {
            Action::Consolidate => wit::Action::Consolidate,
            Action::Reclaim => wit::Action::Reclaim,
            Action::Preempt => wit::Action::Preempt,
        },
        preemptor: wit::Preemptor {
            job: &preemptor.job,
            queue: &preemptor.queue,
            owner: preemptor.owner,
            waited: preemptor.waited,
            attempts: preemptor.attempts,
            constraint: match preemptor.constraint {
                Constraint::None => wit::Constraint::None,
                Constraint::Preferred => wit::Constraint::Preferred,
                Constraint::Required => wit::Constraint::Required,
            },
            level: preemptor.level,
            demands: &demands,
            nominated: preemptor.nominated,
        },
        domains: &domains,
        queues: &queues,
        budgets: &budgets,
        rows: scoring::RowsParam {
            count: request.rows.count,
            slots: request.rows.slots,
            data: request.rows.data,
        },
        running: running(request.running),
    })
}
