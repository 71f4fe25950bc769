//! The door: every policy may change the object, then accept or deny it.
//!
//! Changes are made in the order of the set, and each policy sees those of the
//! ones before. Then all are asked whether what came of it may enter; one denial
//! keeps it out, and the findings of all are collected. What comes of a policy's
//! changes must be a job that could have been submitted, otherwise the answer is a
//! fault. That applying them to their own result changes nothing need not be
//! checked here: no list of changes can do otherwise (`patch`).
//!
//! A scale-up is shown as an update, and only asked about, not changed: its pods
//! are of a template that others already run. Who shrinks or goes is not asked.
//!
//! A bare pod is shown as a batch job with one role of one pod. Changes to what
//! a pod does not have (labels, queue, image, …) have no effect on it.

use std::sync::Arc;

use model::admission::{Finding, Patch};
use model::disruption::GRACE_MAX_MS;
use model::plan::{AdmissionOutcome, AdmissionRecord};
use model::pod::PodError;
use model::{FailMode, JobKind, JobSpec, PodSpec, PolicyFault, quantity};

use super::patch::{apply, view_of, write_back, write_role};
use super::set::{Call, Gate};
use crate::effect::Output;
use crate::engine::Engine;
use crate::error::EventError;
use crate::port::admission::{Caller, Facts, JobView, Operation, Review, Verdict};

/// Most findings of one answer: they are written down with the record.
const FINDINGS_MAX: usize = 256;

/// What is checked after a change, besides the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entrant {
    /// Its queue must be there and its pods' names free.
    Job,
    /// Its name was checked, and it keeps it.
    Pod,
}

/// What the policies made of an object. Nothing has been counted yet.
struct Judgement {
    result: Result<JobSpec, EventError>,
    patches: Vec<Patch>,
    warnings: Vec<Finding>,
    calls: Vec<Call>,
    fuel: u64,
}

impl Engine {
    /// Asks the admission policies about a job that wants to enter.
    pub(crate) fn review(
        &mut self,
        job: JobSpec,
        out: &mut Output,
    ) -> Result<(JobSpec, Vec<Patch>), EventError> {
        self.gate_is_there(&job.id)?;
        if self.admission.members.set.is_builtin() {
            if !job.meta.queue.is_empty() {
                let record = self.accepted(&job);
                out.admissions.push(record);
            }
            return Ok((job, Vec::new()));
        }
        let (id, queue) = (job.id.clone(), job.meta.queue.clone());
        let judged = self.judge(job, Operation::Create, None, Entrant::Job);
        let record = self.record_of(&id, &queue, &judged);
        self.settle(Gate::Door, &judged.calls, out);
        out.admissions.push(record);
        judged.result.map(|job| (job, judged.patches))
    }

    /// Whether the gate that should judge newcomers could be had.
    fn gate_is_there(&self, job: &str) -> Result<(), EventError> {
        match &self.admission.members.missing {
            None => Ok(()),
            Some((policy, fault)) => Err(EventError::Unjudged {
                job: job.to_owned(),
                policy: policy.clone(),
                fault: fault.clone(),
            }),
        }
    }

    /// The same for pods without a job of their own; one denial keeps all out.
    pub(crate) fn review_pods(
        &mut self,
        mut pods: Vec<PodSpec>,
        out: &mut Output,
    ) -> Result<Vec<PodSpec>, EventError> {
        for pod in &pods {
            let owner = pod.job.as_ref().and_then(|id| self.pods.jobs.get(id));
            // A job is one workload for its quota, of pods that are all alike.
            if let Some(owner) = owner.filter(|o| !o.spec.meta.queue.is_empty()) {
                return Err(EventError::Queue {
                    name: owner.spec.meta.queue.clone(),
                    problem: format!(
                        "it pays for job {:?} as it was submitted; submit pod {:?} without it, or scale it",
                        owner.spec.id, pod.name
                    ),
                });
            }
        }
        for pod in &mut pods {
            self.gate_is_there(&pod.name)?;
            if self.admission.members.set.is_builtin() {
                break;
            }
            let job = self.job_of(pod);
            let (id, queue) = (job.id.clone(), job.meta.queue.clone());
            let judged = self.judge(job, Operation::Create, None, Entrant::Pod);
            let record = self.record_of(&id, &queue, &judged);
            self.settle(Gate::Door, &judged.calls, out);
            // Thousands of pods that nobody objects to need no record each.
            if judged.result.is_err() || !judged.patches.is_empty() {
                out.admissions.push(record);
            }
            let changed = !judged.patches.is_empty();
            let main = view_of(&judged.result?);
            if !changed {
                continue;
            }
            // A pod without an application was shown as one of its own.
            if main.app != pod.name {
                pod.app.clone_from(&main.app);
            }
            pod.priority = main.priority;
            if let Some(role) = main.roles.first() {
                write_role(pod, role);
            }
        }
        Ok(pods)
    }

    /// The same for a service that grows; nothing of it is changed.
    pub(crate) fn review_scale(
        &mut self,
        id: &str,
        replicas: u32,
        out: &mut Output,
    ) -> Result<(), EventError> {
        let Some(job) = self.pods.jobs.get(id).map(|job| &job.spec) else {
            return Ok(());
        };
        if job.gang.is_some() {
            return Err(EventError::Gang {
                job: id.to_owned(),
                problem: "the pods of a gang start together; submit another gang instead of scaling this one".to_owned(),
            });
        }
        let grows = job.kind == JobKind::Service && replicas > job.replicas;
        if grows {
            self.gate_is_there(id)?;
        }
        if !grows || self.admission.members.set.is_builtin() {
            return Ok(());
        }
        let old = view_of(job);
        let (id, queue) = (job.id.clone(), job.meta.queue.clone());
        let mut job = (**job).clone();
        job.replicas = replicas;
        let judged = self.judge(job, Operation::Update, Some(old), Entrant::Pod);
        let record = self.record_of(&id, &queue, &judged);
        self.settle(Gate::Door, &judged.calls, out);
        out.admissions.push(record);
        judged.result.map(|_| ())
    }

    /// What the door would say to a job, with every fault answered as it would
    /// be; nothing is counted or kept.
    pub fn review_only(&mut self, job: &JobSpec) -> (Result<JobSpec, EventError>, AdmissionRecord) {
        let mut judged = Judgement {
            result: Ok(job.clone()),
            patches: Vec::new(),
            warnings: Vec::new(),
            calls: Vec::new(),
            fuel: 0,
        };
        if let Err(problem) = self.check_job(job) {
            judged.result = Err(problem);
        } else if !self.admission.members.set.is_builtin() {
            judged = self.judge(job.clone(), Operation::Create, None, Entrant::Job);
        }
        let record = self.record_of(&job.id, &job.meta.queue, &judged);
        (judged.result, record)
    }

    /// Checks a job's terms and that its queue is there.
    pub(crate) fn check_entry(&self, job: &JobSpec) -> Result<(), EventError> {
        let (grace, most) = (job.terms.grace_ms.into(), GRACE_MAX_MS.into());
        quantity::check("grace", grace, most).map_err(PodError::from)?;
        let queue = &job.meta.queue;
        if !queue.is_empty() && self.quotas.queue(queue).is_none() {
            return Err(EventError::UnknownQueue(queue.clone()));
        }
        Ok(())
    }

    /// A pod as a job of one; a pod of a job that is here is shown with what is
    /// known of that.
    fn job_of(&self, pod: &PodSpec) -> JobSpec {
        let owner = pod.job.as_ref().and_then(|id| self.pods.jobs.get(id));
        let mut job = JobSpec {
            id: pod.name.clone(),
            kind: JobKind::Batch,
            replicas: 1,
            template: pod.clone(),
            ..JobSpec::default()
        };
        if let Some(owner) = owner {
            job.meta.clone_from(&owner.spec.meta);
        }
        job
    }

    fn judge(
        &mut self,
        mut job: JobSpec,
        operation: Operation,
        old: Option<JobView>,
        entrant: Entrant,
    ) -> Judgement {
        let object = view_of(&job);
        let mut review = Review {
            now: self.now_ms,
            mode: self.mode(),
            operation,
            caller: Caller::default(),
            facts: self.facts(&object),
            object,
            old,
        };
        let (mut patches, mut warnings) = (Vec::new(), Vec::new());
        let (mut calls, mut fuel): (Vec<Call>, u64) = (Vec::new(), 0);
        let mut findings = Vec::new();
        let members = self.admission.members.asked(Gate::Door);
        let mut stuck = None;
        if operation == Operation::Create {
            for member in &members {
                let policy = &mut self.admission.members.set.members[*member].policy;
                let answer = policy.mutate(&review).and_then(|(steps, cost)| {
                    fuel += cost.fuel;
                    if self.change(&mut job, &mut review, &steps, entrant)? {
                        patches.extend(steps);
                    }
                    Ok(())
                });
                let failed = answer.is_err();
                calls.push((*member, "mutate", answer));
                if failed && self.admission.members.fail_mode(*member) == FailMode::Closed {
                    stuck = Some(*member);
                    break;
                }
            }
        }
        for member in members.iter().take_while(|_| stuck.is_none()) {
            let policy = &mut self.admission.members.set.members[*member].policy;
            let answer = policy.validate(&review).and_then(|(answer, cost)| {
                fuel += cost.fuel;
                let denied = match answer.verdict {
                    Verdict::Allow | Verdict::Abstain => Vec::new(),
                    Verdict::Deny(found) if found.is_empty() => {
                        return Err(bad("denied without a finding".to_owned()));
                    }
                    Verdict::Deny(found) => found,
                };
                let count = denied.len().max(answer.warnings.len());
                if count > FINDINGS_MAX {
                    let text = format!("{count} findings, at most {FINDINGS_MAX}");
                    return Err(bad(text));
                }
                findings.extend(denied);
                warnings.extend(answer.warnings);
                Ok(())
            });
            let failed = answer.is_err();
            calls.push((*member, "validate", answer));
            if failed && self.admission.members.fail_mode(*member) == FailMode::Closed {
                stuck = Some(*member);
                break;
            }
        }
        let result = match (stuck, calls.last()) {
            (Some(member), Some((.., Err(fault)))) => Err(EventError::Unjudged {
                job: job.id,
                policy: self.admission.members.set.members[member]
                    .member
                    .policy
                    .clone(),
                fault: fault.to_string(),
            }),
            _ if !findings.is_empty() => Err(EventError::Denied {
                job: job.id,
                findings,
            }),
            _ => Ok(job),
        };
        Judgement {
            result,
            patches,
            warnings,
            calls,
            fuel,
        }
    }

    /// Makes a policy's changes, if they are legal as a whole. `false` if they
    /// changed nothing.
    fn change(
        &self,
        job: &mut JobSpec,
        review: &mut Review,
        steps: &[Patch],
        entrant: Entrant,
    ) -> Result<bool, PolicyFault> {
        if steps.is_empty() {
            return Ok(false);
        }
        let mut after = review.object.clone();
        apply(&mut after, steps).map_err(bad)?;
        if after == review.object {
            return Ok(false);
        }
        let mut changed = job.clone();
        write_back(&mut changed, &review.object, after.clone()).map_err(bad)?;
        bounded(&changed, steps).map_err(bad)?;
        let broken = |e: EventError| bad(format!("what comes of the changes is no job: {e}"));
        match entrant {
            Entrant::Job => self.check_job(&changed).map_err(broken)?,
            Entrant::Pod if changed.replicas != 1 => {
                return Err(bad("a bare pod is one pod".to_owned()));
            }
            Entrant::Pod => {
                let pod = changed.template.validate();
                pod.map_err(|e| broken(e.into()))?;
            }
        }
        if (&after.app, &after.image) != (&review.object.app, &review.object.image) {
            review.facts = self.facts(&after);
        }
        review.object = after;
        *job = changed;
        Ok(true)
    }

    fn facts(&self, object: &JobView) -> Facts {
        let catalog = &self.admission.catalog;
        let mut facts = catalog.facts(&object.app, &object.image, self.now_ms);
        let app = self.pods.apps.get(object.app.as_str());
        facts.running = app.map_or(0, |app| self.peers.running(1 + app));
        facts
    }

    fn accepted(&self, job: &JobSpec) -> AdmissionRecord {
        AdmissionRecord {
            time_ms: self.now_ms,
            job: Arc::from(job.id.as_str()),
            queue: Arc::from(job.meta.queue.as_str()),
            set_revision: self.admission.members.set.spec.revision,
            outcome: AdmissionOutcome::Accepted,
            patches: Vec::new(),
            warnings: Vec::new(),
            faults: Vec::new(),
            fuel: 0,
        }
    }

    fn record_of(&self, id: &str, queue: &str, judged: &Judgement) -> AdmissionRecord {
        let members = &self.admission.members;
        let faults = judged.calls.iter().filter_map(|(member, call, result)| {
            let fault = result.as_ref().err()?;
            Some(members.note(*member, call, fault))
        });
        let outcome = match &judged.result {
            Ok(_) => AdmissionOutcome::Accepted,
            Err(EventError::Denied { findings, .. }) => AdmissionOutcome::Denied(findings.clone()),
            Err(problem) => AdmissionOutcome::Denied(vec![Finding {
                code: match problem {
                    EventError::Unjudged { .. } => "Unjudged".to_owned(),
                    _ => "Invalid".to_owned(),
                },
                field: String::new(),
                message: problem.to_string(),
            }]),
        };
        let queue = judged.result.as_ref().map_or(queue, |j| &j.meta.queue);
        AdmissionRecord {
            time_ms: self.now_ms,
            job: Arc::from(id),
            queue: Arc::from(queue),
            set_revision: members.set.spec.revision,
            outcome,
            patches: judged.patches.clone(),
            warnings: judged.warnings.clone(),
            faults: faults.collect(),
            fuel: judged.fuel,
        }
    }
}

pub(super) fn bad(detail: String) -> PolicyFault {
    PolicyFault::BadAnswer { detail }
}

/// Most bytes of labels, and of the changes kept with a job: a job is one object
/// of the store, which takes 1 MiB.
const MUTATION_BYTES_MAX: usize = 256 << 10;

/// Most bytes of pods that a changed job may come to: they are written at once.
const PODS_BYTES_MAX: usize = 4 << 20;

/// Most GPU models a role may accept, and bytes of one name, as for anybody who
/// submits a job.
const MODELS: (usize, usize) = (8, 63);

/// Whether what came of a policy's changes can be written down.
fn bounded(job: &JobSpec, steps: &[Patch]) -> Result<(), String> {
    let labels: usize = job.meta.labels.iter().map(|(k, v)| k.len() + v.len()).sum();
    let changes: usize = steps
        .iter()
        .map(|p| p.field.len() + p.reason.len() + 64)
        .sum();
    if labels + changes > MUTATION_BYTES_MAX {
        return Err(format!(
            "{} bytes of labels and changes, at most {MUTATION_BYTES_MAX}",
            labels + changes
        ));
    }
    let roles = job.gang.iter().flat_map(|g| g.roles.iter());
    let roles = roles.map(|r| (&r.template, r.count));
    let mut bytes = 0usize;
    for (pod, count) in roles.chain([(&job.template, job.replicas)]) {
        let models = &pod.gpu.models;
        if models.len() > MODELS.0 || models.iter().any(|m| m.len() > MODELS.1) {
            return Err(format!(
                "more than {} GPU models, or a name of more than {} bytes",
                MODELS.0, MODELS.1
            ));
        }
        let selector: usize = pod
            .node_selector
            .iter()
            .map(|(k, v)| k.len() + v.len() + 8)
            .sum();
        let tolerations = pod.tolerations.len() * 600;
        bytes += (512 + selector + tolerations) * count as usize;
    }
    if bytes > PODS_BYTES_MAX.max(512 * job.replicas as usize * 2) {
        return Err(format!(
            "about {bytes} bytes of pods, at most {PODS_BYTES_MAX}"
        ));
    }
    Ok(())
}
