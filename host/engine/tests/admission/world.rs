//! A cluster with room for everything, so that only admission decides, and a
//! policy that says what a test tells it to.

use engine::port::Cost;
use engine::port::Description;
use engine::port::admission::{
    AdmissionPolicy, Change, Cycle, Finding, Patch, Review, Ruling, SortKey, Validation, Verdict,
};
use engine::{AdmissionSet, Config, Engine, EventError, Output};
use model::event::Finish;
use model::policy::WEIGHT_ONE;
use model::quota::{QUOTA_WEIGHT_ONE, QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier};
use model::{
    Combine, Event, FailMode, JobKind, JobSpec, Member, NodeSpec, PodSpec, PolicyFault, PolicyId,
    PolicyKind, PolicySetSpec, Resources,
};

/// Small, seeded, and the same everywhere (xorshift64*).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

pub struct World {
    pub engine: Engine,
    pub out: Output,
    pub now: u64,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            engine: Engine::new(Config::default()),
            out: Output::default(),
            now: 1_000,
        };
        let node = NodeSpec {
            name: "n".to_owned(),
            capacity: Resources {
                cpu_milli: 1 << 30,
                memory_mib: 1 << 30,
                disk_mib: 1 << 30,
                network_mbps: 1 << 30,
            },
            ..NodeSpec::default()
        };
        world.step(Event::NodePut(Box::new(node)));
        world
    }

    /// What an event is refused with; what came of it is in `out` either way.
    pub fn try_step(&mut self, event: Event) -> Result<(), EventError> {
        self.out.clear();
        self.engine.step(self.now, event, &mut self.out)
    }

    pub fn step(&mut self, event: Event) {
        if let Err(refused) = self.try_step(event) {
            panic!("{refused}");
        }
    }

    pub fn tick(&mut self, later_ms: u64) {
        self.now += later_ms;
        self.step(Event::Tick);
    }

    pub fn quota(&mut self, spec: QuotaSpec) {
        self.step(Event::QuotaPut(spec));
    }

    /// A root quota of so many milli-cores, and a queue of its name.
    pub fn queue(&mut self, name: &str, parent: Option<&str>, cpu: i64) {
        self.quota(quota(name, parent, Some(cpu)));
        self.step(Event::QueuePut(queue(name, name)));
    }

    pub fn submit(&mut self, job: JobSpec) {
        self.step(Event::JobSubmit(Box::new(job)));
    }

    pub fn finish(&mut self, pod: &str) {
        self.step(Event::PodFinished {
            name: pod.to_owned(),
            how: Finish::Succeeded,
        });
    }

    pub fn install(&mut self, members: Vec<(Script, FailMode)>) {
        let revision = self.engine.admission_set().spec.revision + 1;
        self.engine.install_admission(set(revision, members));
        // Installing is no event; whoever it lets in enters with the next one.
        self.step(Event::Tick);
    }

    /// Jobs with pods that run, as `id×pods`.
    pub fn running(&self) -> Vec<String> {
        let jobs = self.engine.jobs().filter(|j| j.running > 0);
        jobs.map(|j| format!("{}x{}", j.spec.id, j.running))
            .collect()
    }

    /// Who waits in a queue, as `id×pods Reason`.
    pub fn waiting(&self, queue: &str) -> Vec<String> {
        let views = self.engine.queue_views();
        let view = views.iter().find(|v| v.spec.name == queue).expect(queue);
        let line = view.waiting.iter().map(|w| {
            let mark = if w.reclaiming { " reclaims" } else { "" };
            format!("{}x{} {}{mark}", w.id, w.pods, w.reason.code())
        });
        line.collect()
    }

    /// Outcomes of the last event, as `job Outcome`.
    pub fn outcomes(&self) -> Vec<String> {
        use model::plan::AdmissionOutcome as O;
        let line = |r: &model::plan::AdmissionRecord| match &r.outcome {
            O::Accepted => format!("{} accepted", r.job),
            O::Denied(found) => format!("{} denied {}", r.job, found[0].code),
            O::Admitted(n) => format!("{} admitted {n}", r.job),
            O::Waiting(s) => format!("{} waits{}", r.job, short(s)),
            O::Reclaiming(s) => format!("{} reclaims{}", r.job, short(s)),
            O::Rejected(f) => format!("{} rejected {}", r.job, f.code),
        };
        self.out.admissions.iter().map(line).collect()
    }

    /// Faults of the last event, as `policy call Code: message`.
    pub fn faults(&self) -> Vec<String> {
        let line = |f: &model::decision::FaultNote| {
            format!("{} {} {}: {}", f.policy.name, f.call, f.code, f.message)
        };
        self.out.faults.iter().map(|(_, f)| line(f)).collect()
    }
}

fn short(shortages: &[model::plan::QuotaShortage]) -> String {
    let line =
        |s: &model::plan::QuotaShortage| format!(" {} {} {}", s.quota, s.resource.name(), s.by);
    shortages.iter().map(line).collect()
}

pub fn quota(name: &str, parent: Option<&str>, cpu: Option<i64>) -> QuotaSpec {
    QuotaSpec {
        name: name.to_owned(),
        parent: parent.map(str::to_owned),
        weight: QUOTA_WEIGHT_ONE,
        tier: Tier::Flex,
        lines: cpu
            .map(|n| line(QuotaResource::Cpu, n))
            .into_iter()
            .collect(),
    }
}

pub fn line(resource: QuotaResource, nominal: i64) -> QuotaLine {
    QuotaLine {
        resource,
        nominal,
        borrowing_limit: None,
        lending_limit: None,
    }
}

pub fn queue(name: &str, quota: &str) -> QueueSpec {
    QueueSpec {
        name: name.to_owned(),
        quota: quota.to_owned(),
        suspended: false,
    }
}

/// A batch job of equal pods.
pub fn job(id: &str, queue: &str, pods: u32, cpu: i64) -> JobSpec {
    let mut job = JobSpec {
        id: id.to_owned(),
        kind: JobKind::Batch,
        replicas: pods,
        template: PodSpec {
            requests: Resources {
                cpu_milli: cpu,
                ..Resources::default()
            },
            ..PodSpec::default()
        },
        ..JobSpec::default()
    };
    job.meta.queue = queue.to_owned();
    job
}

pub fn set(revision: u64, members: Vec<(Script, FailMode)>) -> AdmissionSet {
    let spec = PolicySetSpec {
        kind: PolicyKind::Admission,
        revision,
        members: members
            .iter()
            .map(|(script, fail)| Member {
                policy: PolicyId {
                    name: script.description.name.clone(),
                    version: "1.0.0".to_owned(),
                    digest: format!("sha256:{}", script.description.name),
                },
                weight: WEIGHT_ONE,
                tier: 0,
                settings: "{}".to_owned(),
                fail: *fail,
            })
            .collect(),
        combine: Combine::Weighted,
    };
    let boxed = |(script, _)| Box::new(script) as Box<dyn AdmissionPolicy>;
    AdmissionSet::new(spec, members.into_iter().map(boxed).collect()).expect("a legal set")
}

type Answer<I, O> = Box<dyn FnMut(&I) -> Result<O, PolicyFault> + Send>;

/// A policy that answers as told, and abstains from the rest.
pub struct Script {
    description: Description,
    validate: Answer<Review, Validation>,
    mutate: Answer<Review, Vec<Patch>>,
    order: Answer<Cycle, Vec<SortKey>>,
    admit: Answer<Cycle, Vec<Ruling>>,
}

impl Script {
    pub fn new(name: &str) -> Self {
        let abstain = |_: &Review| {
            Ok(Validation {
                verdict: Verdict::Abstain,
                warnings: Vec::new(),
            })
        };
        Self {
            description: Description {
                name: name.to_owned(),
                ..Description::default()
            },
            validate: Box::new(abstain),
            mutate: Box::new(|_| Ok(Vec::new())),
            order: Box::new(|c| Ok(vec![Vec::new(); c.heads.len()])),
            admit: Box::new(|c| Ok(vec![Ruling::Abstain; c.heads.len()])),
        }
    }

    pub fn validate(
        mut self,
        answer: impl FnMut(&Review) -> Result<Validation, PolicyFault> + Send + 'static,
    ) -> Self {
        self.validate = Box::new(answer);
        self
    }

    pub fn mutate(
        mut self,
        answer: impl FnMut(&Review) -> Result<Vec<Patch>, PolicyFault> + Send + 'static,
    ) -> Self {
        self.mutate = Box::new(answer);
        self
    }

    pub fn order(
        mut self,
        answer: impl FnMut(&Cycle) -> Result<Vec<SortKey>, PolicyFault> + Send + 'static,
    ) -> Self {
        self.order = Box::new(answer);
        self
    }

    pub fn admit(
        mut self,
        answer: impl FnMut(&Cycle) -> Result<Vec<Ruling>, PolicyFault> + Send + 'static,
    ) -> Self {
        self.admit = Box::new(answer);
        self
    }

    /// Denies with this code whenever `wrong` says so.
    pub fn denies(self, code: &str, wrong: fn(&Review) -> bool) -> Self {
        let code = code.to_owned();
        self.validate(move |review| {
            let found = vec![finding(&code)];
            Ok(Validation {
                verdict: match wrong(review) {
                    true => Verdict::Deny(found),
                    false => Verdict::Allow,
                },
                warnings: Vec::new(),
            })
        })
    }
}

const COST: Cost = Cost { fuel: 7 };

impl AdmissionPolicy for Script {
    fn description(&self) -> &Description {
        &self.description
    }

    fn validate(&mut self, review: &Review) -> Result<(Validation, Cost), PolicyFault> {
        (self.validate)(review).map(|answer| (answer, COST))
    }

    fn mutate(&mut self, review: &Review) -> Result<(Vec<Patch>, Cost), PolicyFault> {
        (self.mutate)(review).map(|answer| (answer, COST))
    }

    fn order(&mut self, cycle: &Cycle) -> Result<(Vec<SortKey>, Cost), PolicyFault> {
        (self.order)(cycle).map(|answer| (answer, COST))
    }

    fn admit(&mut self, cycle: &Cycle) -> Result<(Vec<Ruling>, Cost), PolicyFault> {
        (self.admit)(cycle).map(|answer| (answer, COST))
    }
}

pub fn finding(code: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        field: "/labels/owner".to_owned(),
        message: "say who owns it".to_owned(),
    }
}

pub fn patch(field: &str, value: &str) -> Patch {
    Patch {
        field: field.to_owned(),
        change: Change::Set(value.to_owned()),
        reason: "a test".to_owned(),
    }
}

pub fn trap() -> PolicyFault {
    PolicyFault::Trap {
        message: "boom".to_owned(),
    }
}
