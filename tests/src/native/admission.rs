//! An admission plugin, native.

use engine::port::admission::{
    self as port, AdmissionPolicy, Cycle, JobView, Review, Ruling, SortKey,
};
use engine::port::{Cost, Description};
use loadmaster_sdk::admission as sdk;
use model::{JobKind, PolicyFault};

use super::{describe, mode};

/// An admission plugin, native.
pub struct NativeAdmission<P> {
    native: sdk::Native<P>,
    description: Description,
}

impl<P: sdk::AdmissionPolicy> NativeAdmission<P> {
    /// The plugin with these settings.
    ///
    /// # Panics
    /// If it refuses them.
    #[must_use]
    pub fn new(settings: &str) -> Self {
        let native = sdk::native::<P>(settings).expect("settings");
        Self {
            description: describe(native.describe()),
            native,
        }
    }
}

impl<P: sdk::AdmissionPolicy + Send> AdmissionPolicy for NativeAdmission<P> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn validate(&mut self, asked: &Review) -> Result<(port::Validation, Cost), PolicyFault> {
        let said = self.native.validate(&review(asked));
        let said = port::Validation {
            verdict: match said.verdict {
                sdk::Verdict::Allow => port::Verdict::Allow,
                sdk::Verdict::Deny(reasons) => port::Verdict::Deny(findings(reasons)),
                sdk::Verdict::Abstain => port::Verdict::Abstain,
            },
            warnings: findings(said.warnings),
        };
        Ok((said, Cost::default()))
    }

    fn mutate(&mut self, asked: &Review) -> Result<(Vec<port::Patch>, Cost), PolicyFault> {
        let said = self.native.mutate(&review(asked)).into_iter();
        let said = said.map(|p| port::Patch {
            field: p.field,
            change: match p.change {
                sdk::Change::Set(value) => port::Change::Set(value),
                sdk::Change::Add(value) => port::Change::Add(value),
                sdk::Change::Remove => port::Change::Remove,
            },
            reason: p.reason,
        });
        Ok((said.collect(), Cost::default()))
    }

    fn order(&mut self, asked: &Cycle) -> Result<(Vec<SortKey>, Cost), PolicyFault> {
        Ok((self.native.order(&cycle(asked)), Cost::default()))
    }

    fn admit(&mut self, asked: &Cycle) -> Result<(Vec<Ruling>, Cost), PolicyFault> {
        let said = self.native.admit(&cycle(asked)).into_iter();
        let said = said.map(|ruling| match ruling {
            sdk::Ruling::Admit => Ruling::Admit,
            sdk::Ruling::AdmitPartial(pods) => Ruling::AdmitPartial(pods),
            sdk::Ruling::Wait(short) => Ruling::Wait(shortages(short)),
            sdk::Ruling::Reclaim(short) => Ruling::Reclaim(shortages(short)),
            sdk::Ruling::Reject(reason) => Ruling::Reject(finding(reason)),
            sdk::Ruling::Abstain => Ruling::Abstain,
        });
        Ok((said.collect(), Cost::default()))
    }
}

fn finding(f: sdk::Finding) -> port::Finding {
    port::Finding {
        code: f.code,
        field: f.field,
        message: f.message,
    }
}

fn findings(list: Vec<sdk::Finding>) -> Vec<port::Finding> {
    list.into_iter().map(finding).collect()
}

fn shortages(list: Vec<sdk::Shortage>) -> Vec<port::Shortage> {
    let shortage = |s: sdk::Shortage| port::Shortage {
        node: s.node,
        resource: s.resource,
        by: s.by,
    };
    list.into_iter().map(shortage).collect()
}

fn job(j: &JobView) -> sdk::Job {
    sdk::Job {
        id: j.id.clone(),
        namespace: j.namespace.clone(),
        queue: j.queue.clone(),
        kind: match j.kind {
            JobKind::Batch => sdk::JobKind::Batch,
            JobKind::Service => sdk::JobKind::Service,
        },
        app: j.app.clone(),
        priority: j.priority,
        tier: j.tier.clone(),
        image: j.image.clone(),
        run_as_root: j.run_as_root,
        privileged: j.privileged,
        seccomp: j.seccomp.clone(),
        runtime_limit: j.runtime_limit,
        deadline: j.deadline,
        labels: (j.labels.iter())
            .map(|(key, value)| sdk::Label {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        roles: (j.roles.iter())
            .map(|r| sdk::Role {
                name: r.name.clone(),
                count: r.count,
                min: r.min,
                cpu: r.cpu,
                memory: r.memory,
                disk: r.disk,
                network: r.network,
                gpu_count: r.gpu_count,
                gpu_milli: r.gpu_milli,
                gpu_memory: r.gpu_memory,
                gpu_models: r.gpu_models.clone(),
            })
            .collect(),
    }
}

fn review(r: &Review) -> sdk::Review {
    sdk::Review {
        now: r.now,
        mode: mode(r.mode),
        operation: match r.operation {
            port::Operation::Create => sdk::Operation::Create,
            port::Operation::Update => sdk::Operation::Update,
            port::Operation::Delete => sdk::Operation::Delete,
        },
        caller: sdk::Caller {
            name: r.caller.name.clone(),
            groups: r.caller.groups.clone(),
        },
        object: job(&r.object),
        old: r.old.as_ref().map(job),
        facts: sdk::Facts {
            owner: r.facts.owner.clone(),
            tier: r.facts.tier.clone(),
            compliance: r.facts.compliance.clone(),
            image_signed_by: r.facts.image_signed_by.clone(),
            image_age: r.facts.image_age,
            base_image_age: r.facts.base_image_age,
            running: r.facts.running,
        },
    }
}

fn demand(list: &[port::QuotaDemand]) -> Vec<sdk::QuotaDemand> {
    let one = |d: &port::QuotaDemand| sdk::QuotaDemand {
        resource: d.resource.to_owned(),
        amount: d.amount,
    };
    list.iter().map(one).collect()
}

fn cycle(c: &Cycle) -> sdk::Cycle {
    let line = |l: &port::QuotaLineRow| sdk::QuotaLine {
        resource: l.resource.to_owned(),
        nominal: l.nominal,
        used: l.used,
        borrowing_limit: l.borrowing_limit,
        lending_limit: l.lending_limit,
    };
    let node = |n: &port::QuotaRow| sdk::QuotaNode {
        name: n.name.clone(),
        parent: n.parent,
        weight: n.weight,
        tier: n.tier.to_owned(),
        lines: n.lines.iter().map(line).collect(),
    };
    let head = |h: &port::Head| sdk::Head {
        job: h.job.clone(),
        queue: h.queue.clone(),
        node: h.node,
        priority: h.priority,
        created: h.created,
        waited: h.waited,
        attempts: h.attempts,
        deadline: h.deadline,
        expected_runtime: h.expected_runtime,
        attained: h.attained,
        demand: demand(&h.demand),
        min_demand: demand(&h.min_demand),
    };
    sdk::Cycle {
        now: c.now,
        mode: mode(c.mode),
        nodes: c.nodes.iter().map(node).collect(),
        heads: c.heads.iter().map(head).collect(),
    }
}
