//! What came out of the engine, on its way to the book, the counters, the
//! callers and the watchers.

use std::sync::Arc;
use std::time::Instant;

use engine::{Effect, Engine};
use model::decision::FaultNote;
use model::{Event, Outcome};

use super::Receipt;
use super::core::Core;
use super::live::Change;
use crate::wire::time::Time;

impl Core {
    /// Takes what came out of the engine into the book, the answers and the
    /// stream. The state is whole here.
    pub(super) fn collect(&mut self, receipt: &mut Receipt, count: u64, begun: Option<Instant>) {
        if let Some(begun) = begun {
            self.metrics.decide.observe_each(begun.elapsed(), count);
        }
        for decision in self.out.decisions.drain(..) {
            self.metrics.decision(&decision);
            self.book.decision(&decision);
            self.changes.extend(decision.faults.iter().map(fault));
            self.changes.push(decided(&self.engine, &decision));
            let decision = Arc::new(decision);
            self.recent.push(Arc::clone(&decision));
            receipt.decisions.push(decision);
        }
        for decision in self.out.scaling.drain(..) {
            self.metrics.scaling += 1;
            self.book.scaling(&decision);
            if let Some(fault) = &decision.fault {
                self.changes.push(Change::Fault {
                    policy: decision.policy.to_string(),
                    code: "Scaling".to_owned(),
                    message: fault.clone(),
                });
            }
            receipt.scaling.push(decision);
        }
        for record in self.out.admissions.drain(..) {
            let job = self.engine.job(&record.job);
            let waited = job.map(|j| record.time_ms.saturating_sub(j.submitted_ms));
            self.metrics.admission(&record, waited);
            self.book.admission(&record);
            self.changes.extend(record.faults.iter().map(fault));
            self.changes.push(Change::Admission {
                job: record.job.to_string(),
                queue: record.queue.to_string(),
                outcome: (&record.outcome).into(),
            });
        }
        for plan in self.out.plans.drain(..) {
            self.metrics.plan(&plan);
            self.book.proposal(&plan);
            self.changes.push(Change::Plan {
                id: plan.id,
                preemptor: plan.preemptor.to_string(),
                action: plan.action.to_owned(),
                domain: plan.domain.clone(),
                victims: plan.victims.len() as u32,
                moves: plan.moves.len() as u32,
                status: (&plan.status).into(),
            });
        }
        for (kind, note) in self.out.faults.drain(..) {
            self.metrics.fault(kind, &note);
            self.changes.push(fault(&note));
        }
        let effects: Vec<Effect> = self.out.effects.drain(..).collect();
        for effect in effects {
            self.effect(effect);
        }
        self.book.changed(self.out.changed.drain(..));
        self.book.maybe_seal(&self.engine);
    }

    /// What the world would do. Nothing runs here: a bound pod runs until it is
    /// said to have finished.
    fn effect(&mut self, effect: Effect) {
        match effect {
            // Shown with its decision.
            Effect::Bind { .. } => {}
            Effect::Requeue { pod, cause } => self.changes.push(Change::Requeued {
                pod: pod.to_string(),
                cause: cause.code().to_owned(),
            }),
            Effect::Evict {
                pod,
                node,
                grace_ms,
                cause,
                plan,
            } => {
                *self.metrics.evictions.entry(cause.code()).or_insert(0) += 1;
                self.changes.push(Change::Evicting {
                    pod: pod.to_string(),
                    node: node.to_string(),
                    grace_ms,
                    cause: cause.code().to_owned(),
                    plan,
                });
            }
            Effect::GuardTripped { why } => {
                tracing::error!(why, "a guard stopped evictions");
                self.metrics.guard_trips += 1;
                self.changes.push(Change::GuardTripped { why });
            }
            Effect::GangTimedOut { job } => {
                self.metrics.gangs_timed_out += 1;
                self.changes.push(Change::GangTimedOut {
                    job: job.to_string(),
                });
            }
            Effect::AdmissionStuck {
                policy,
                since_ms,
                refused,
            } => {
                tracing::error!(%policy, refused, "a policy that gates entry keeps failing closed");
                let stuck = self.metrics.stuck.entry(policy.to_string());
                *stuck.or_default() = (since_ms, self.engine.now_ms());
                self.changes.push(Change::AdmissionStuck {
                    policy: policy.to_string(),
                    since: Time(since_ms),
                    refused,
                });
            }
            Effect::Stop { pod, .. } => {
                self.changes.push(Change::Finished {
                    pod: pod.to_string(),
                });
            }
            Effect::Scale { workload, from, to } => self.changes.push(Change::Scaled {
                workload: workload.to_string(),
                from,
                to,
            }),
            Effect::SetReverted {
                kind,
                policy,
                from,
                to,
                fault,
            } => {
                tracing::error!(%kind, %policy, from, to, fault, "a policy set was taken out");
                let reason = format!("{policy}: {fault}");
                self.follow(kind, &reason);
                self.set_changed(kind, "reverted", &reason, 0);
            }
        }
    }
}

/// What watchers see of an event itself.
pub(super) fn shown(event: &Event) -> Option<Change> {
    match event {
        Event::NodePut(node) => Some(Change::NodePut {
            node: node.name.clone(),
        }),
        Event::NodeFailed { name, .. } => Some(Change::NodePut { node: name.clone() }),
        Event::NodeRemove { name } => Some(Change::NodeRemoved { node: name.clone() }),
        Event::PodFinished { name, .. } => Some(Change::Finished { pod: name.clone() }),
        _ => None,
    }
}

fn decided(engine: &Engine, decision: &model::Decision) -> Change {
    match &decision.outcome {
        Outcome::Bound { node, devices, .. } => Change::Bound {
            decision: decision.seq,
            pod: decision.pod.to_string(),
            node: node.to_string(),
            devices: devices.clone(),
            gpu_milli: engine.pod(&decision.pod).map_or(0, |p| p.spec.gpu.milli),
            set_revision: decision.set_revision,
        },
        Outcome::Unschedulable { reason } => Change::Unschedulable {
            decision: decision.seq,
            pod: decision.pod.to_string(),
            reason: reason.code().to_owned(),
        },
    }
}

fn fault(note: &FaultNote) -> Change {
    Change::Fault {
        policy: note.policy.to_string(),
        code: note.code.to_owned(),
        message: note.message.clone(),
    }
}
