//! Jobs, reviews and quota cycles for tests of admission policies.

use crate::admission::{
    AdmissionPolicy, Caller, Cycle, Facts, Head, Job, JobKind, Label, Mode, Native, Operation,
    QuotaDemand, QuotaLine, QuotaNode, Review, Role, apply,
};

/// Builds a job. Methods about roles are about the one named last.
///
/// ```
/// use loadmaster_sdk::testing::TestJob;
///
/// let job = TestJob::new("train").namespace("vision")
///     .role("worker", 16).min(8).cpu(16_000).memory(64_000).gpus(8)
///     .role("driver", 1).cpu(2_000)
///     .done();
/// assert_eq!(job.roles[1].name, "driver");
/// ```
#[derive(Debug, Clone)]
pub struct TestJob {
    job: Job,
}

impl TestJob {
    /// A batch job in namespace `default` that nothing can be said against:
    /// an image pinned by digest, not root, a seccomp profile.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            job: Job {
                id: id.to_owned(),
                namespace: "default".to_owned(),
                queue: "default".to_owned(),
                kind: JobKind::Batch,
                app: id.to_owned(),
                priority: 0,
                tier: String::new(),
                image: format!("registry.example/{id}@sha256:{}", "0".repeat(64)),
                run_as_root: false,
                privileged: false,
                seccomp: Some("runtime/default".to_owned()),
                runtime_limit: None,
                deadline: None,
                labels: Vec::new(),
                roles: Vec::new(),
            },
        }
    }

    /// A service instead of a batch job.
    #[must_use]
    pub fn service(mut self) -> Self {
        self.job.kind = JobKind::Service;
        self
    }

    /// Namespace.
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        name.clone_into(&mut self.job.namespace);
        self
    }

    /// Queue.
    #[must_use]
    pub fn queue(mut self, name: &str) -> Self {
        name.clone_into(&mut self.job.queue);
        self
    }

    /// Priority.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.job.priority = priority;
        self
    }

    /// Tier.
    #[must_use]
    pub fn tier(mut self, tier: &str) -> Self {
        tier.clone_into(&mut self.job.tier);
        self
    }

    /// Image.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.job.image);
        self
    }

    /// Runs as root.
    #[must_use]
    pub fn run_as_root(mut self) -> Self {
        self.job.run_as_root = true;
        self
    }

    /// Runs privileged.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        self.job.privileged = true;
        self
    }

    /// Seccomp profile.
    #[must_use]
    pub fn seccomp(mut self, profile: Option<&str>) -> Self {
        self.job.seccomp = profile.map(str::to_owned);
        self
    }

    /// Longest run time, ms.
    #[must_use]
    pub fn runtime_limit(mut self, ms: u64) -> Self {
        self.job.runtime_limit = Some(ms);
        self
    }

    /// Deadline, ms since the epoch.
    #[must_use]
    pub fn deadline(mut self, ms: u64) -> Self {
        self.job.deadline = Some(ms);
        self
    }

    /// One more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.job.labels.push(Label {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    /// One more role: `count` pods, all at once, of one core and 1 GiB.
    #[must_use]
    pub fn role(mut self, name: &str, count: u32) -> Self {
        self.job.roles.push(Role {
            name: name.to_owned(),
            count,
            min: count,
            cpu: 1_000,
            memory: 1_024,
            disk: 0,
            network: 0,
            gpu_count: 0,
            gpu_milli: 0,
            gpu_memory: 0,
            gpu_models: Vec::new(),
        });
        self
    }

    fn last(&mut self) -> &mut Role {
        let role = self.job.roles.last_mut();
        role.expect("name a role before its needs")
    }

    /// Fewest pods at once.
    #[must_use]
    pub fn min(mut self, min: u32) -> Self {
        self.last().min = min;
        self
    }

    /// CPU of a pod, milli-cores.
    #[must_use]
    pub fn cpu(mut self, milli: i64) -> Self {
        self.last().cpu = milli;
        self
    }

    /// Memory of a pod, MiB.
    #[must_use]
    pub fn memory(mut self, mib: i64) -> Self {
        self.last().memory = mib;
        self
    }

    /// Disk of a pod, MiB.
    #[must_use]
    pub fn disk(mut self, mib: i64) -> Self {
        self.last().disk = mib;
        self
    }

    /// Whole devices of a pod.
    #[must_use]
    pub fn gpus(mut self, count: u32) -> Self {
        self.last().gpu_count = count;
        self.last().gpu_milli = 1_000;
        self
    }

    /// Part of one device, milli-GPU.
    #[must_use]
    pub fn gpu_share(mut self, milli: u32) -> Self {
        self.last().gpu_count = 1;
        self.last().gpu_milli = milli;
        self
    }

    /// Acceptable GPU models.
    #[must_use]
    pub fn gpu_models(mut self, models: &[&str]) -> Self {
        self.last().gpu_models = owned(models);
        self
    }

    /// The job; without any role, one pod in a role `main`.
    #[must_use]
    pub fn done(self) -> Job {
        if self.job.roles.is_empty() {
            self.role("main", 1).job
        } else {
            self.job
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// Builds a review; without more, catalogues know nothing.
#[derive(Debug, Clone)]
pub struct TestReview {
    review: Review,
}

impl TestReview {
    fn new(operation: Operation, object: Job, old: Option<Job>) -> Self {
        Self {
            review: Review {
                now: 1_700_000_000_000,
                mode: Mode::Normal,
                operation,
                caller: Caller {
                    name: "ada".to_owned(),
                    groups: Vec::new(),
                },
                object,
                old,
                facts: Facts {
                    owner: None,
                    tier: None,
                    compliance: Vec::new(),
                    image_signed_by: Vec::new(),
                    image_age: None,
                    base_image_age: None,
                    running: 0,
                },
            },
        }
    }

    /// A new job.
    #[must_use]
    pub fn create(object: Job) -> Self {
        Self::new(Operation::Create, object, None)
    }

    /// A changed job.
    #[must_use]
    pub fn update(old: Job, object: Job) -> Self {
        Self::new(Operation::Update, object, Some(old))
    }

    /// A job to be deleted.
    #[must_use]
    pub fn delete(object: Job) -> Self {
        let old = Some(object.clone());
        Self::new(Operation::Delete, object, old)
    }

    /// Time, ms since the epoch.
    #[must_use]
    pub fn now(mut self, ms: u64) -> Self {
        self.review.now = ms;
        self
    }

    /// State of the cluster.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.review.mode = mode;
        self
    }

    /// Who asks.
    #[must_use]
    pub fn caller(mut self, name: &str, groups: &[&str]) -> Self {
        self.review.caller = Caller {
            name: name.to_owned(),
            groups: owned(groups),
        };
        self
    }

    /// Fact: owner.
    #[must_use]
    pub fn owner(mut self, owner: &str) -> Self {
        self.review.facts.owner = Some(owner.to_owned());
        self
    }

    /// Fact: tier.
    #[must_use]
    pub fn tier(mut self, tier: &str) -> Self {
        self.review.facts.tier = Some(tier.to_owned());
        self
    }

    /// Fact: compliance tags.
    #[must_use]
    pub fn compliance(mut self, tags: &[&str]) -> Self {
        self.review.facts.compliance = owned(tags);
        self
    }

    /// Fact: who signed the image.
    #[must_use]
    pub fn signed_by(mut self, signers: &[&str]) -> Self {
        self.review.facts.image_signed_by = owned(signers);
        self
    }

    /// Facts: ages of the image and its base, hours.
    #[must_use]
    pub fn image_age(mut self, image: u32, base: u32) -> Self {
        self.review.facts.image_age = Some(image);
        self.review.facts.base_image_age = Some(base);
        self
    }

    /// Fact: pods running now.
    #[must_use]
    pub fn running(mut self, pods: u32) -> Self {
        self.review.facts.running = pods;
        self
    }

    /// The review.
    #[must_use]
    pub fn done(self) -> Review {
        self.review
    }
}

/// Builds a quota cycle. Methods are about the node, resource or head named last.
///
/// ```
/// use loadmaster_sdk::testing::TestCycle;
///
/// let cycle = TestCycle::new()
///     .node("all", None).quota("gpu", 64)
///     .node("vision", Some("all")).quota("gpu", 16).used(16).borrowing_limit(8)
///     .head("train", "vision").priority(5).demand("gpu", 8)
///     .done();
/// assert_eq!(cycle.heads[0].node, 1);
/// ```
#[derive(Debug, Clone)]
pub struct TestCycle {
    cycle: Cycle,
}

impl Default for TestCycle {
    fn default() -> Self {
        Self::new()
    }
}

impl TestCycle {
    /// No quota and nobody waiting.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cycle: Cycle {
                now: 1_700_000_000_000,
                mode: Mode::Normal,
                nodes: Vec::new(),
                heads: Vec::new(),
            },
        }
    }

    /// Time, ms since the epoch.
    #[must_use]
    pub fn now(mut self, ms: u64) -> Self {
        self.cycle.now = ms;
        self
    }

    /// State of the cluster.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.cycle.mode = mode;
        self
    }

    fn index(&self, name: &str) -> u32 {
        let at = self.cycle.nodes.iter().position(|n| n.name == name);
        at.unwrap_or_else(|| panic!("no quota node `{name}` so far")) as u32
    }

    /// One more quota node of weight 1 and tier `flex`, under one named before.
    #[must_use]
    pub fn node(mut self, name: &str, parent: Option<&str>) -> Self {
        let parent = parent.map(|p| self.index(p));
        self.cycle.nodes.push(QuotaNode {
            name: name.to_owned(),
            parent,
            weight: 1_000,
            tier: "flex".to_owned(),
            lines: Vec::new(),
        });
        self
    }

    fn last_node(&mut self) -> &mut QuotaNode {
        let node = self.cycle.nodes.last_mut();
        node.expect("name a node before its quota")
    }

    /// Weight of the node, thousandths.
    #[must_use]
    pub fn weight(mut self, thousandths: u32) -> Self {
        self.last_node().weight = thousandths;
        self
    }

    /// Tier of the node.
    #[must_use]
    pub fn tier(mut self, tier: &str) -> Self {
        tier.clone_into(&mut self.last_node().tier);
        self
    }

    /// Nominal quota of one resource of the node.
    #[must_use]
    pub fn quota(mut self, resource: &str, nominal: i64) -> Self {
        self.last_node().lines.push(QuotaLine {
            resource: resource.to_owned(),
            nominal,
            used: 0,
            borrowing_limit: None,
            lending_limit: None,
        });
        self
    }

    fn last_line(&mut self) -> &mut QuotaLine {
        let line = self.last_node().lines.last_mut();
        line.expect("name a resource before its use")
    }

    /// How much of it is used.
    #[must_use]
    pub fn used(mut self, amount: i64) -> Self {
        self.last_line().used = amount;
        self
    }

    /// How much may be borrowed.
    #[must_use]
    pub fn borrowing_limit(mut self, amount: i64) -> Self {
        self.last_line().borrowing_limit = Some(amount);
        self
    }

    /// How much may be lent.
    #[must_use]
    pub fn lending_limit(mut self, amount: i64) -> Self {
        self.last_line().lending_limit = Some(amount);
        self
    }

    /// One more head, of the queue with the name of the node that pays.
    #[must_use]
    pub fn head(mut self, job: &str, node: &str) -> Self {
        let index = self.index(node);
        self.cycle.heads.push(Head {
            job: job.to_owned(),
            queue: node.to_owned(),
            node: index,
            priority: 0,
            created: self.cycle.now,
            waited: 0,
            attempts: 0,
            deadline: None,
            expected_runtime: None,
            attained: 0,
            demand: Vec::new(),
            min_demand: Vec::new(),
        });
        self
    }

    fn last_head(&mut self) -> &mut Head {
        let head = self.cycle.heads.last_mut();
        head.expect("name a head before its needs")
    }

    /// Queue of the head.
    #[must_use]
    pub fn queue(mut self, queue: &str) -> Self {
        queue.clone_into(&mut self.last_head().queue);
        self
    }

    /// Priority of the head.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.last_head().priority = priority;
        self
    }

    /// How long it has waited, ms; it was created that long ago.
    #[must_use]
    pub fn waited(mut self, ms: u64) -> Self {
        let created = self.cycle.now.saturating_sub(ms);
        self.last_head().waited = ms;
        self.last_head().created = created;
        self
    }

    /// Earlier attempts.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.last_head().attempts = attempts;
        self
    }

    /// Deadline, ms since the epoch.
    #[must_use]
    pub fn deadline(mut self, ms: u64) -> Self {
        self.last_head().deadline = Some(ms);
        self
    }

    /// Expected run time, ms.
    #[must_use]
    pub fn expected_runtime(mut self, ms: u64) -> Self {
        self.last_head().expected_runtime = Some(ms);
        self
    }

    /// GPU-milliseconds served so far.
    #[must_use]
    pub fn attained(mut self, gpu_ms: u64) -> Self {
        self.last_head().attained = gpu_ms;
        self
    }

    /// What it needs of one resource, all of it at once.
    #[must_use]
    pub fn demand(self, resource: &str, amount: i64) -> Self {
        self.elastic_demand(resource, amount, amount)
    }

    /// What it needs of one resource, and the least it can start with.
    #[must_use]
    pub fn elastic_demand(mut self, resource: &str, amount: i64, min: i64) -> Self {
        let demand = |amount| QuotaDemand {
            resource: resource.to_owned(),
            amount,
        };
        self.last_head().demand.push(demand(amount));
        self.last_head().min_demand.push(demand(min));
        self
    }

    /// The cycle.
    #[must_use]
    pub fn done(self) -> Cycle {
        self.cycle
    }
}

/// The job as the policy would have it, with the laws of mutation checked: the
/// same answer twice, patches that can be applied, that change nothing when
/// applied again, and that the policy does not want to change any further.
///
/// # Panics
/// On the first law that does not hold, naming it.
pub fn check_mutation<P: AdmissionPolicy>(policy: &Native<P>, review: &Review) -> Job {
    let patches = policy.mutate(review);
    assert_eq!(patches, policy.mutate(review), "the same answer twice");
    let applied = |job: &Job, patches| match apply(job, patches) {
        Ok(job) => job,
        Err(error) => panic!("{error}: {patches:?}"),
    };
    let job = applied(&review.object, &patches);
    assert_eq!(job, applied(&job, &patches), "idempotent: {patches:?}");
    let mut changed = review.clone();
    changed.object = job.clone();
    let more = policy.mutate(&changed);
    assert_eq!(job, applied(&job, &more), "settled at once: {more:?}");
    for patch in &patches {
        assert!(!patch.reason.is_empty(), "a reason for {}", patch.field);
    }
    job
}
