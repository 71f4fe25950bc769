//! A preemption plugin, native.

use std::sync::Arc;

use engine::port::preemption::{self as port, PreemptRequest, PreemptionPolicy, Proposal};
use engine::port::{Context, Cost, Description};
use loadmaster_sdk::bindings::scoring::exports::loadmaster::policy::scoring::Rows;
use loadmaster_sdk::preemption as sdk;
use model::PolicyFault;

use super::{context, describe, mode, pod};

/// A preemption plugin, native.
pub struct NativePreemption<P> {
    native: sdk::Native<P>,
    description: Description,
}

impl<P: sdk::PreemptionPolicy> NativePreemption<P> {
    /// The plugin with these settings.
    ///
    /// # Panics
    /// If it refuses them, or declares a column the contract does not have.
    #[must_use]
    pub fn new(settings: &str) -> Self {
        let native = sdk::native::<P>(settings).expect("settings");
        Self {
            description: describe(native.describe()),
            native,
        }
    }
}

impl<P: sdk::PreemptionPolicy + Send> PreemptionPolicy for NativePreemption<P> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn set_context(&mut self, c: &Arc<Context>) -> Result<(), PolicyFault> {
        self.native.set_context(context(c));
        Ok(())
    }

    fn propose(&mut self, asked: &PreemptRequest<'_>) -> Result<(Proposal, Cost), PolicyFault> {
        let said = match self.native.propose(&request(asked)) {
            sdk::Answer::Plan(said) => Proposal::Plan(plan(said)),
            sdk::Answer::None(reason) => Proposal::None(reason),
            sdk::Answer::Abstain => Proposal::Abstain,
        };
        Ok((said, Cost::default()))
    }
}

fn plan(p: sdk::Plan) -> port::Plan {
    let victims = p.victims.into_iter().map(|v| port::Victim {
        id: v.id,
        grace: v.grace,
        reason: v.reason,
    });
    let moves = p.moves.into_iter().map(|m| port::Move {
        id: m.id,
        row: m.row,
        slots: m.slots,
    });
    let placements = p.placements.into_iter().map(|p| port::Placement {
        role: p.role,
        row: p.row,
        slots: p.slots,
    });
    port::Plan {
        domain: p.domain,
        victims: victims.collect(),
        moves: moves.collect(),
        placements: placements.collect(),
        cost: p.cost,
        hold: p.hold,
    }
}

fn request(r: &PreemptRequest<'_>) -> sdk::Request {
    let demand = |d: &port::Demand| sdk::Demand {
        role: d.role.clone(),
        pod: pod(&d.pod),
        count: d.count,
        min: d.min,
    };
    let work = r.running;
    sdk::Request {
        now: r.now,
        mode: mode(r.mode),
        seed: r.seed,
        action: match r.action {
            port::Action::Consolidate => sdk::Action::Consolidate,
            port::Action::Reclaim => sdk::Action::Reclaim,
            port::Action::Preempt => sdk::Action::Preempt,
        },
        preemptor: sdk::Preemptor {
            job: r.preemptor.job.clone(),
            queue: r.preemptor.queue.clone(),
            owner: r.preemptor.owner,
            waited: r.preemptor.waited,
            attempts: r.preemptor.attempts,
            constraint: match r.preemptor.constraint {
                port::Constraint::None => sdk::Constraint::None,
                port::Constraint::Preferred => sdk::Constraint::Preferred,
                port::Constraint::Required => sdk::Constraint::Required,
            },
            level: r.preemptor.level,
            demands: r.preemptor.demands.iter().map(demand).collect(),
            nominated: r.preemptor.nominated,
        },
        domains: (r.domains.iter())
            .map(|d| sdk::Domain {
                level: d.level,
                name: d.name.clone(),
                rows: d.rows.clone(),
            })
            .collect(),
        queues: (r.queues.iter())
            .map(|q| sdk::Queue {
                name: q.name.clone(),
                share: q.share,
                guaranteed: q.guaranteed,
                lent: q.lent,
            })
            .collect(),
        budgets: (r.budgets.iter())
            .map(|b| sdk::Budget {
                name: b.name.clone(),
                allowed: b.allowed,
            })
            .collect(),
        rows: Rows {
            count: r.rows.count,
            slots: r.rows.slots,
            data: r.rows.data.to_vec(),
        },
        running: sdk::Running {
            id: work.id.clone(),
            row: work.row.clone(),
            owner: work.owner.clone(),
            group: work.group.clone(),
            priority: work.priority.clone(),
            cpu: work.cpu.clone(),
            memory: work.memory.clone(),
            gpu_slots: work.gpu_slots.clone(),
            gpu_milli: work.gpu_milli.clone(),
            started: work.started.clone(),
            checkpoint: work.checkpoint.clone(),
            restart_cost: work.restart_cost.clone(),
            budget: work.budget.clone(),
            allowed: work.allowed.clone(),
            grace: work.grace.clone(),
        },
    }
}
