//! Cases as reviews and cycles.

use engine::port::admission::{
    Caller, Cycle, Facts, Head, JobView, Operation, QuotaDemand, QuotaLineRow, QuotaRow, Review,
    Role,
};

use crate::case::admission::{
    self as case, AdmissionCases, CycleCase, Resource, ReviewCase, RulingName, Tree,
};
use crate::table::draw;

/// 9 October 2025, a Thursday morning.
const NOW_MS: u64 = 1_760_000_000_000;

/// Priorities that copies of a head have.
const PRIORITIES: u64 = 4;

/// Longest that copies of a head have waited beyond the first, ms.
const WAITED_MS: u64 = 3_600_000;

/// A cycle, and of each head what the kit knows beyond it.
#[derive(Debug, Clone)]
pub(super) struct AskedCycle {
    pub(super) cycle: Cycle,
    pub(super) known: Vec<Known>,
}

/// What a host knows of a head that its columns do not say.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Fewest and most pods of each role.
    pub(super) roles: Vec<(u32, u32)>,
    pub(super) expect: Vec<RulingName>,
}

pub(super) fn review(cases: &AdmissionCases, case: &ReviewCase) -> Option<Review> {
    let find = |name: &String| cases.job.iter().find(|j| j.name == *name);
    let object = job(find(&case.job)?);
    let old = case.old.as_ref().and_then(find).map(job);
    let facts = &case.facts;
    Some(Review {
        now: NOW_MS,
        mode: case.mode.model(),
        operation: match (&old, case.delete) {
            (_, true) => Operation::Delete,
            (Some(_), false) => Operation::Update,
            (None, false) => Operation::Create,
        },
        caller: Caller {
            name: case.caller.clone(),
            groups: case.groups.clone(),
        },
        object,
        old,
        facts: Facts {
            owner: facts.owner.clone(),
            tier: facts.tier.clone(),
            compliance: facts.compliance.clone(),
            image_signed_by: facts.image_signed_by.clone(),
            image_age: facts.image_age,
            base_image_age: facts.base_image_age,
            running: facts.running,
        },
    })
}

fn job(job: &case::Job) -> JobView {
    let labels = job.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
    JobView {
        id: job.name.clone(),
        namespace: job.namespace.clone(),
        queue: job.queue.clone(),
        kind: job.kind.model(),
        app: job.app.clone(),
        priority: job.priority,
        tier: job.tier.clone(),
        image: job.image.clone(),
        run_as_root: job.run_as_root,
        privileged: job.privileged,
        seccomp: job.seccomp.clone(),
        runtime_limit: job.runtime_limit,
        deadline: job.deadline_in.map(|ms| NOW_MS + ms),
        labels: labels.collect(),
        roles: job.roles.iter().map(role).collect(),
    }
}

fn role(role: &case::Role) -> Role {
    Role {
        name: role.name.clone(),
        count: role.count,
        min: role.min,
        cpu: role.cpu,
        memory: role.memory,
        disk: role.disk,
        network: role.network,
        gpu_count: role.gpus,
        gpu_milli: role.gpu_milli,
        gpu_memory: role.gpu_memory,
        gpu_models: role.gpu_models.clone(),
    }
}

pub(super) fn cycle(cases: &AdmissionCases, case: &CycleCase) -> Option<AskedCycle> {
    let tree = cases.tree.iter().find(|t| t.name == case.tree)?;
    let mut asked = AskedCycle {
        cycle: Cycle {
            now: NOW_MS,
            mode: case.mode.model(),
            nodes: rows(tree),
            heads: Vec::new(),
        },
        known: Vec::new(),
    };
    for head in &case.heads {
        for copy in 0..head.copies {
            asked.push(tree, case.seed, head, copy)?;
        }
    }
    Some(asked)
}

fn rows(tree: &Tree) -> Vec<QuotaRow> {
    let index = |name: &String| tree.nodes.iter().position(|n| n.name == *name);
    let mut rows: Vec<QuotaRow> = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes {
        let parent = node.parent.as_ref().and_then(index).map(|i| i as u32);
        rows.push(QuotaRow {
            name: node.name.clone(),
            parent,
            weight: node.weight,
            tier: if node.critical { "critical" } else { "flex" },
            lines: Vec::new(),
        });
        for line in &node.lines {
            let resource = line.resource.name();
            let at = rows.len() - 1;
            rows[at].lines.push(QuotaLineRow {
                resource,
                nominal: line.nominal,
                used: line.used,
                borrowing_limit: line.borrowing_limit,
                lending_limit: line.lending_limit,
            });
            let mut above = parent;
            while let Some(i) = above {
                let row = &mut rows[i as usize];
                let same = row.lines.iter_mut().filter(|l| l.resource == resource);
                same.for_each(|l| l.used += line.used);
                above = row.parent;
            }
        }
    }
    rows
}

impl AskedCycle {
    fn push(&mut self, tree: &Tree, seed: u64, head: &case::Head, copy: u32) -> Option<()> {
        let payer = &head.nodes[copy as usize % head.nodes.len().max(1)];
        let node = tree.nodes.iter().position(|n| n.name == *payer)? as u32;
        let several = head.copies > 1;
        let vary = |salt: u64, below: u64| match several {
            true => draw(seed, u64::from(copy), salt) % below,
            false => 0,
        };
        let mut roles = head.roles.clone();
        for (role, salt) in roles.iter_mut().zip(10..) {
            role.count += vary(salt, 8) as u32;
        }
        let sum = |count: fn(&case::Role) -> u32| -> Vec<QuotaDemand> {
            let amount = |r: Resource| -> i64 {
                let of = |role: &case::Role| r.of(role) * i64::from(count(role));
                roles.iter().map(of).sum()
            };
            let rows = Resource::ALL.into_iter().map(|r| QuotaDemand {
                resource: r.name(),
                amount: amount(r),
            });
            rows.filter(|d| d.amount != 0).collect()
        };
        let waited = head.waited + vary(2, WAITED_MS);
        let suffix = if several {
            format!("-{copy:04}")
        } else {
            String::new()
        };
        self.cycle.heads.push(Head {
            job: format!("{}{suffix}", head.job),
            queue: format!("queue-of-{}{suffix}", head.job),
            node,
            priority: head.priority + vary(1, PRIORITIES) as i32,
            created: NOW_MS - waited,
            waited,
            attempts: head.attempts,
            deadline: head.deadline_in.map(|ms| NOW_MS + ms + vary(3, ms.max(1))),
            expected_runtime: head.expected_runtime.map(|ms| ms + vary(4, ms.max(1))),
            attained: head.attained + vary(5, 1_000_000),
            demand: sum(|r| r.count),
            min_demand: sum(|r| r.min),
        });
        self.known.push(Known {
            roles: roles.iter().map(|r| (r.min, r.count)).collect(),
            expect: head.expect.clone(),
        });
        Some(())
    }

    /// The same heads in another order: the one at `order[i]` comes `i`-th.
    pub(super) fn reordered(&self, order: &[usize]) -> Self {
        let mut other = self.clone();
        other.cycle.heads = order.iter().map(|i| self.cycle.heads[*i].clone()).collect();
        other.known = order.iter().map(|i| self.known[*i].clone()).collect();
        other
    }

    /// One head, as if no other queue had any.
    pub(super) fn alone(&self, head: usize) -> Self {
        self.reordered(&[head])
    }

    /// As much again and more of every nominal.
    pub(super) fn richer(&self) -> Self {
        let mut other = self.clone();
        for line in other.cycle.nodes.iter_mut().flat_map(|n| &mut n.lines) {
            line.nominal += line.nominal / 2 + 1_000;
        }
        other
    }
}
