//! What would happen to a job if it were submitted now: through the door, past
//! the quota, to places or to a plan with victims. Everything is asked for real
//! and nothing is kept.

use std::sync::Arc;

use model::admission::{Finding, Patch};
use model::plan::{AdmissionOutcome, AdmissionRecord, PlanRecord};
use model::{JobSpec, Reason};

use crate::effect::Output;
use crate::engine::Engine;
use crate::error::EventError;
use crate::nodes::slots_of;
use crate::pods::{Allocation, Job, PerDevice};
use crate::port::preemption::Action;
use crate::preempt::unit::Unit;

use super::proposed;

/// Pods of a job that are placed one by one in an answer; the rest is counted.
pub const PODS_SHOWN: usize = 256;

/// What would become of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodOutcome {
    /// It would start here.
    Placed {
        /// Pod.
        pod: Arc<str>,
        /// Node.
        node: Arc<str>,
        /// Device slots, ascending.
        devices: Vec<u8>,
    },
    /// It would wait.
    Waiting {
        /// Pod.
        pod: Arc<str>,
        /// Why.
        reason: Reason,
    },
}

/// The whole answer.
#[derive(Debug, Clone)]
pub struct WhatIfAnswer {
    /// The job as it would enter, with the changes made to it; or why not.
    pub admitted: Result<JobSpec, EventError>,
    /// What was said at the door.
    pub review: AdmissionRecord,
    /// What its quota says; `Accepted` without a queue.
    pub quota: Option<AdmissionOutcome>,
    /// Pods in order, the first 256 of a large job.
    pub pods: Vec<PodOutcome>,
    /// Who would have to yield for the first that does not fit, and after how
    /// long a wait, ms.
    pub plan: Option<(PlanRecord, u64)>,
    /// Why nobody could be asked to.
    pub no_plan: Option<String>,
}

impl WhatIfAnswer {
    /// Changes made at the door.
    #[must_use]
    pub fn patches(&self) -> &[Patch] {
        &self.review.patches
    }

    /// Remarks that stopped nothing.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.review.warnings
    }
}

impl Engine {
    /// What would happen to the job, without doing it.
    pub fn what_if(&mut self, job: &JobSpec) -> WhatIfAnswer {
        let (admitted, review) = self.review_only(job);
        let mut answer = WhatIfAnswer {
            admitted,
            review,
            quota: None,
            pods: Vec::new(),
            plan: None,
            no_plan: None,
        };
        let Ok(job) = answer.admitted.clone() else {
            return answer;
        };
        if let Err(refused) = self.check_job(&job) {
            answer.admitted = Err(refused);
            return answer;
        }
        if !job.meta.queue.is_empty() {
            answer.quota = Some(self.quota_ruling(&job));
        }
        let paid = !matches!(
            answer.quota,
            Some(AdmissionOutcome::Waiting(_) | AdmissionOutcome::Rejected(_))
        );
        if paid {
            self.try_out(&job, &mut answer);
        }
        answer
    }

    /// Puts the job's pods in, looks, and takes them out again.
    fn try_out(&mut self, job: &JobSpec, answer: &mut WhatIfAnswer) {
        let before = (self.next_seq, self.next_arrival);
        self.pods.jobs.insert(
            job.id.clone(),
            Job {
                spec: Arc::new(job.clone()),
                submitted_ms: self.now_ms,
                pods: std::collections::BTreeSet::new(),
                succeeded: 0,
                failed: 0,
                next_index: 0,
                patches: Vec::new(),
                attempts: 0,
                started_ms: None,
                tried: None,
            },
        );
        let reclaims = matches!(answer.quota, Some(AdmissionOutcome::Reclaiming(_)));
        let shown = if job.gang.is_some() {
            job.replicas as usize
        } else {
            (job.replicas as usize).min(PODS_SHOWN)
        };
        let mut slots = Vec::with_capacity(shown);
        for i in 0..shown as u32 {
            let slot = self.insert_pod(job.pod(i), self.next_arrival, self.now_ms);
            self.next_arrival += 1;
            self.pods.get_mut(slot).admitted = !reclaims;
            slots.push(slot);
        }
        // A question must not take a policy out: breakers are as before after it.
        let asked = self.preemption.set.members.iter();
        let yielders: Vec<_> = asked.map(|m| m.breaker.clone()).collect();
        let scorers: Vec<_> = self.set.members.iter().map(|m| m.breaker.clone()).collect();
        self.preemption.asking = true;
        let mut out = Output::default();
        if job.gang.is_some() {
            self.try_gang(job, reclaims, &slots, answer, &mut out);
        } else {
            self.try_pods(&slots, reclaims, answer, &mut out);
        }
        self.preemption.asking = false;
        for (m, breaker) in self.preemption.set.members.iter_mut().zip(yielders) {
            m.breaker = breaker;
        }
        for (m, breaker) in self.set.members.iter_mut().zip(scorers) {
            m.breaker = breaker;
        }
        for slot in slots.into_iter().rev() {
            self.release(slot);
            if let Some(pod) = self.pods.remove(slot) {
                self.classes.leave(pod.class);
                self.pods.apps.leave(pod.app - 1);
            }
        }
        self.forget_freed_ids();
        self.pods.jobs.remove(&job.id);
        (self.next_seq, self.next_arrival) = before;
    }

    fn try_gang(
        &mut self,
        job: &JobSpec,
        reclaims: bool,
        slots: &[u32],
        answer: &mut WhatIfAnswer,
        out: &mut Output,
    ) {
        let placed = if reclaims {
            Err((Reason::WaitingForQuota, String::new()))
        } else {
            self.place_gang(&job.id, out)
        };
        match placed {
            Ok(places) => {
                let node = |at: &Allocation| Arc::clone(&self.nodes.names[at.row as usize]);
                answer.pods = places
                    .iter()
                    .take(PODS_SHOWN)
                    .map(|(slot, at)| PodOutcome::Placed {
                        pod: Arc::clone(&self.pods.get(*slot).name),
                        node: node(at),
                        devices: slots_of(at.devices).map(|s| s as u8).collect(),
                    })
                    .collect();
            }
            Err((reason, _)) => {
                answer.pods = slots
                    .iter()
                    .take(PODS_SHOWN)
                    .map(|slot| PodOutcome::Waiting {
                        pod: Arc::clone(&self.pods.get(*slot).name),
                        reason,
                    })
                    .collect();
                if let Some(unit) = self.unit_of_gang(&job.id, reclaims) {
                    self.try_plan(&unit, answer, out);
                }
            }
        }
    }

    fn try_pods(
        &mut self,
        slots: &[u32],
        reclaims: bool,
        answer: &mut WhatIfAnswer,
        out: &mut Output,
    ) {
        let mut stuck = None;
        for slot in slots {
            let pod = Arc::clone(&self.pods.get(*slot).name);
            let looked = if reclaims {
                Err(Reason::WaitingForQuota)
            } else {
                self.look(*slot)
            };
            answer.pods.push(match looked {
                Ok((row, devices)) => {
                    let class = self.pods.get(*slot).class;
                    let per = crate::whatif::WhatIf::new(&self.nodes, &self.classes)
                        .per_device(class, row, devices);
                    self.occupy(
                        *slot,
                        Allocation {
                            row,
                            devices,
                            per_device: PerDevice::from(per),
                            since_ms: self.now_ms,
                            decision: 0,
                        },
                    );
                    PodOutcome::Placed {
                        pod,
                        node: Arc::clone(&self.nodes.names[row as usize]),
                        devices: slots_of(devices).map(|s| s as u8).collect(),
                    }
                }
                Err(reason) => {
                    stuck = stuck.or(Some(*slot));
                    PodOutcome::Waiting { pod, reason }
                }
            });
        }
        if let Some(slot) = stuck {
            let unit = self.unit_of_pod(slot);
            self.try_plan(&unit, answer, out);
        }
    }

    fn try_plan(&mut self, unit: &Unit, answer: &mut WhatIfAnswer, out: &mut Output) {
        if !unit.preempts || unit.roles.iter().all(|r| r.min == 0) {
            answer.no_plan = Some("it does not ask others to yield".to_owned());
            return;
        }
        if self.hold {
            answer.no_plan = Some("the host is on hold: nobody is asked to leave".to_owned());
            return;
        }
        for action in Action::ALL {
            match self.step_plan(unit, action, out) {
                Ok(Some((asked, policy, checked))) => {
                    if let Err(why) = self.system_allows(checked.disrupted()) {
                        answer.no_plan = Some(why);
                        return;
                    }
                    let record = self.plan_record(unit, &asked, policy, &checked);
                    answer.plan = Some((proposed(record), self.config.preempt_after_ms));
                    answer.no_plan = None;
                    return;
                }
                Ok(None) => {}
                Err(why) => answer.no_plan = Some(why),
            }
        }
        if answer.no_plan.is_none() {
            answer.no_plan = Some("nothing that may be touched would make enough room".to_owned());
        }
    }
}
