//! Jobs and reviews for tests of admission policies.

use std::hint::black_box;
use std::time::Instant;

use crate::admission::{
    AdmissionPolicy, Caller, Facts, Job, JobKind, Label, Mode, Native, Operation, Review, Role,
    apply, native,
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
                app: id.to_owned(),
                image: format!("registry.example/{id}@sha256:{}", "0".repeat(64)),
                seccomp: Some("runtime/default".to_owned()),
                ..Job::default()
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
            ..Role::default()
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

/// Reviews in a pass of [`print_review_costs`]; the fastest pass counts, as it
/// is the one least disturbed.
const REVIEWS: u32 = 20_000;

/// Prints what one review costs natively, of a job of two roles that has all
/// fields. For examples: the numbers that count are those of the benches.
///
/// # Panics
/// If the settings are refused.
pub fn print_review_costs<P: AdmissionPolicy>(settings: &[&str]) {
    let job = TestJob::new("train")
        .namespace("vision")
        .tier("flex")
        .runtime_limit(3_600_000)
        .label("owner", "vision")
        .label("stage", "research")
        .role("worker", 16)
        .cpu(8_000)
        .gpus(8)
        .role("driver", 1);
    let review = TestReview::create(job.done()).image_age(1, 1).done();
    for settings in settings {
        let policy = match native::<P>(settings) {
            Ok(policy) => policy,
            Err(error) => panic!("{error}"),
        };
        let ns = |review_once: &dyn Fn()| {
            let pass = || {
                let start = Instant::now();
                (0..REVIEWS).for_each(|_| review_once());
                start.elapsed().as_nanos()
            };
            let best = (0..10).map(|_| pass()).min().unwrap_or_default();
            best as f64 / f64::from(REVIEWS)
        };
        println!(
            "{} {settings}: validate {:.0} ns, mutate {:.0} ns ({} patches)",
            policy.describe().name,
            ns(&|| drop(black_box(policy.validate(black_box(&review))))),
            ns(&|| drop(black_box(policy.mutate(black_box(&review))))),
            policy.mutate(&review).len()
        );
    }
}
