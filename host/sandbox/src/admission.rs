//! A component behind the engine's admission port.

use std::sync::Arc;

use engine::port::admission::{
    AdmissionPolicy, Cycle, Facts, JobView, Operation, Patch, Review, Ruling, SortKey, Validation,
    Verdict,
};
use engine::port::{Cost, Description};
use model::{JobKind, PolicyFault};
use wasmtime::Store;

use crate::answer::admission as answer;
use crate::bindings::admission::AdmissionPolicy as Bindings;
use crate::bindings::admission::exports::loadmaster::policy::admission as wit;
use crate::bindings::scoring::loadmaster::policy::types;
use crate::guest::{Guest, HostState};
use crate::limits::RunLimits;
use crate::lower::lower_mode;
use crate::prepared::{Linked, Prepared};
use crate::reused::{Ask, Reused, World};

/// One admission policy with its settings. The instance inside is reused between
/// calls and replaced after any fault; nothing it remembers may show.
#[derive(Debug)]
pub(crate) struct WasmAdmission(Reused<Bindings>);

impl World for Bindings {
    fn instantiate(linked: &Linked, store: &mut Store<HostState>) -> wasmtime::Result<Self> {
        let Linked::Admission(pre) = linked else {
            // `Prepared::admission` checked the kind.
            return Err(wasmtime::Error::msg("not an admission policy"));
        };
        pre.instantiate(store)
    }

    fn configure(
        &self,
        store: &mut Store<HostState>,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        self.loadmaster_policy_admission()
            .call_configure(store, settings)
    }
}

impl WasmAdmission {
    pub(crate) fn start(
        prepared: &Arc<Prepared>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Self, PolicyFault> {
        Reused::start(prepared, settings, limits).map(Self)
    }

    fn ask<R: PartialEq>(
        &mut self,
        question: impl Fn(&mut Guest<Bindings>, Ask<'_>) -> Result<(R, u64), PolicyFault>,
        short: impl Fn(&R) -> String,
    ) -> Result<(R, Cost), PolicyFault> {
        // Settings are all that an instance of this kind is given.
        self.0.ask(|_, _| Ok(()), question, short)
    }
}

impl AdmissionPolicy for WasmAdmission {
    fn description(&self) -> &Description {
        self.0.description()
    }

    fn validate(&mut self, review: &Review) -> Result<(Validation, Cost), PolicyFault> {
        self.ask(
            |guest, ask| {
                let given = ask.given(fuel_for(ask.limits, review))?;
                let (said, fuel) = with_review(review, |lowered| {
                    guest.call(given, |world, store| {
                        world
                            .loadmaster_policy_admission()
                            .call_validate(store, lowered)
                    })
                })?;
                Ok((answer::validation(&said)?, fuel))
            },
            |said| {
                let verdict = match &said.verdict {
                    Verdict::Allow => "allows".to_owned(),
                    Verdict::Deny(findings) => {
                        let codes: Vec<_> = findings.iter().map(|f| f.code.as_str()).collect();
                        format!("denies for {}", codes.join(", "))
                    }
                    Verdict::Abstain => "abstains".to_owned(),
                };
                format!("{verdict}, {} warnings", said.warnings.len())
            },
        )
    }

    fn mutate(&mut self, review: &Review) -> Result<(Vec<Patch>, Cost), PolicyFault> {
        self.ask(
            |guest, ask| {
                let given = ask.given(fuel_for(ask.limits, review))?;
                let (said, fuel) = with_review(review, |lowered| {
                    guest.call(given, |world, store| {
                        world
                            .loadmaster_policy_admission()
                            .call_mutate(store, lowered)
                    })
                })?;
                Ok((answer::patches(said)?, fuel))
            },
            |said| {
                let fields: Vec<_> = said.iter().map(|p| p.field.as_str()).collect();
                format!("patches [{}]", fields.join(", "))
            },
        )
    }

    fn order(&mut self, cycle: &Cycle) -> Result<(Vec<SortKey>, Cost), PolicyFault> {
        self.ask(
            |guest, ask| {
                let given = ask.given(fuel_for_cycle(ask.limits, cycle))?;
                let (keys, fuel) = with_cycle(cycle, |lowered| {
                    guest.call(given, |world, store| {
                        world
                            .loadmaster_policy_admission()
                            .call_order(store, lowered)
                    })
                })?;
                answer::keys(&keys, cycle.heads.len())?;
                Ok((keys, fuel))
            },
            |keys| format!("keys {:?}", &keys[..keys.len().min(HEADS_SHOWN)]),
        )
    }

    fn admit(&mut self, cycle: &Cycle) -> Result<(Vec<Ruling>, Cost), PolicyFault> {
        self.ask(
            |guest, ask| {
                let given = ask.given(fuel_for_cycle(ask.limits, cycle))?;
                let (said, fuel) = with_cycle(cycle, |lowered| {
                    guest.call(given, |world, store| {
                        world
                            .loadmaster_policy_admission()
                            .call_admit(store, lowered)
                    })
                })?;
                Ok((answer::rulings(said, cycle)?, fuel))
            },
            |rulings| {
                let admitted = |r: &&Ruling| matches!(r, Ruling::Admit | Ruling::AdmitPartial(_));
                format!(
                    "admits {} of {}",
                    rulings.iter().filter(admitted).count(),
                    rulings.len()
                )
            },
        )
    }
}

/// Heads of an order that a divergence shows.
const HEADS_SHOWN: usize = 4;

// === fuel ===

fn fuel_for(limits: &RunLimits, review: &Review) -> u64 {
    let jobs = || std::iter::once(&review.object).chain(&review.old);
    let facts = &review.facts;
    let labels = jobs().map(|j| j.labels.len()).sum::<usize>()
        + facts.compliance.len()
        + facts.image_signed_by.len()
        + review.caller.groups.len();
    limits.fuel_for_review(jobs().map(|j| j.roles.len()).sum(), labels)
}

fn fuel_for_cycle(limits: &RunLimits, cycle: &Cycle) -> u64 {
    let lines = cycle.nodes.iter().map(|n| 1 + n.lines.len()).sum();
    limits.fuel_for_cycle(cycle.heads.len(), lines)
}

// === reviews ===

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// Lists of a job that the engine keeps in another form.
struct Lists<'a> {
    labels: Vec<wit::Label<'a>>,
    /// Models of all roles, one after the other.
    models: Vec<&'a str>,
}

fn lists(job: &JobView) -> Lists<'_> {
    Lists {
        labels: job
            .labels
            .iter()
            .map(|(key, value)| wit::Label { key, value })
            .collect(),
        models: job
            .roles
            .iter()
            .flat_map(|r| &r.gpu_models)
            .map(String::as_str)
            .collect(),
    }
}

fn roles<'a>(job: &'a JobView, lists: &'a Lists<'a>) -> Vec<wit::Role<'a>> {
    let mut models = lists.models.as_slice();
    job.roles
        .iter()
        .map(|role| wit::Role {
            name: &role.name,
            count: role.count,
            min: role.min,
            cpu: role.cpu,
            memory: role.memory,
            disk: role.disk,
            network: role.network,
            gpu_count: role.gpu_count,
            gpu_milli: role.gpu_milli,
            gpu_memory: role.gpu_memory,
            gpu_models: take(&mut models, role.gpu_models.len()),
        })
        .collect()
}

fn job<'a>(job: &'a JobView, lists: &'a Lists<'a>, roles: &'a [wit::Role<'a>]) -> wit::Job<'a> {
    wit::Job {
        id: &job.id,
        namespace: &job.namespace,
        queue: &job.queue,
        kind: match job.kind {
            JobKind::Batch => wit::JobKind::Batch,
            JobKind::Service => wit::JobKind::Service,
        },
        app: &job.app,
        priority: job.priority,
        tier: &job.tier,
        image: &job.image,
        run_as_root: job.run_as_root,
        privileged: job.privileged,
        seccomp: job.seccomp.as_deref(),
        runtime_limit: job.runtime_limit,
        deadline: job.deadline,
        labels: &lists.labels,
        roles,
    }
}

fn with_review<R>(review: &Review, call: impl FnOnce(wit::Review<'_>) -> R) -> R {
    let object_lists = lists(&review.object);
    let object_roles = roles(&review.object, &object_lists);
    let old_lists = review.old.as_ref().map(lists);
    let old = review.old.as_ref().zip(old_lists.as_ref());
    let old_roles = old.map_or_else(Vec::new, |(job, lists)| roles(job, lists));
    let groups = texts(&review.caller.groups);
    let compliance = texts(&review.facts.compliance);
    let signed_by = texts(&review.facts.image_signed_by);
    let Facts {
        owner,
        tier,
        image_age,
        base_image_age,
        running,
        ..
    } = &review.facts;
    call(wit::Review {
        now: review.now,
        mode: lower_mode!(types, review.mode),
        operation: match review.operation {
            Operation::Create => wit::Operation::Create,
            Operation::Update => wit::Operation::Update,
            Operation::Delete => wit::Operation::Delete,
        },
        caller: wit::Caller {
            name: &review.caller.name,
            groups: &groups,
        },
        object: job(&review.object, &object_lists, &object_roles),
        old: old.map(|(view, lists)| job(view, lists, &old_roles)),
        facts: wit::Facts {
            owner: owner.as_deref(),
            tier: tier.as_deref(),
            compliance: &compliance,
            image_signed_by: &signed_by,
            image_age: *image_age,
            base_image_age: *base_image_age,
            running: *running,
        },
    })
}

// === cycles ===

fn with_cycle<R>(cycle: &Cycle, call: impl FnOnce(wit::Cycle<'_>) -> R) -> R {
    let lines: Vec<_> = cycle
        .nodes
        .iter()
        .flat_map(|n| &n.lines)
        .map(|l| wit::QuotaLine {
            resource: l.resource,
            nominal: l.nominal,
            used: l.used,
            borrowing_limit: l.borrowing_limit,
            lending_limit: l.lending_limit,
        })
        .collect();
    let demands: Vec<_> = cycle
        .heads
        .iter()
        .flat_map(|h| h.demand.iter().chain(&h.min_demand))
        .map(|d| wit::QuotaDemand {
            resource: d.resource,
            amount: d.amount,
        })
        .collect();
    let (mut lines, mut demands) = (lines.as_slice(), demands.as_slice());
    let nodes: Vec<_> = cycle
        .nodes
        .iter()
        .map(|n| wit::QuotaNode {
            name: &n.name,
            parent: n.parent,
            weight: n.weight,
            tier: n.tier,
            lines: take(&mut lines, n.lines.len()),
        })
        .collect();
    let heads: Vec<_> = cycle
        .heads
        .iter()
        .map(|h| wit::Head {
            job: &h.job,
            queue: &h.queue,
            node: h.node,
            priority: h.priority,
            created: h.created,
            waited: h.waited,
            attempts: h.attempts,
            deadline: h.deadline,
            expected_runtime: h.expected_runtime,
            attained: h.attained,
            demand: take(&mut demands, h.demand.len()),
            min_demand: take(&mut demands, h.min_demand.len()),
        })
        .collect();
    call(wit::Cycle {
        now: cycle.now,
        mode: lower_mode!(types, cycle.mode),
        nodes: &nodes,
        heads: &heads,
    })
}

/// The next `len` of a list that was built in the same order.
fn take<'a, T>(list: &mut &'a [T], len: usize) -> &'a [T] {
    let (its, rest) = list.split_at(len);
    *list = rest;
    its
}
