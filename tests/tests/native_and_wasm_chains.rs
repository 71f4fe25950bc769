//! As `native_and_wasm`, for the kinds that are asked in a chain: over generated
//! reviews, cycles and requests, a plugin's native build and its component give
//! the same answers, and two instances asked the same burn the same fuel.

use engine::port::admission::{
    AdmissionPolicy, Caller, Cycle, Facts, Head, JobView, Operation, QuotaDemand, QuotaLineRow,
    QuotaRow, Review, Role,
};
use engine::port::preemption::{
    Action, BudgetLeft, Constraint, Demand, Domain, LEVEL_CLUSTER, MAY_KILL, MAY_MOVE, NONE,
    PreemptRequest, PreemptionPolicy, Preemptor, Proposal, QueueShare, Running,
};
use engine::port::{Column, PodRow, Rows};
use model::JobKind;
use model::event::Mode;
use tests::clusters::Rng;
use tests::native::{NativeAdmission, NativePreemption};
use tests::wasm;

// === generated questions ===

fn one_of(rng: &mut Rng, list: &[&str]) -> String {
    list[rng.below(list.len() as u64) as usize].to_owned()
}

fn maybe<T>(rng: &mut Rng, value: T) -> Option<T> {
    (rng.below(2) == 0).then_some(value)
}

fn job(rng: &mut Rng) -> JobView {
    let role = |rng: &mut Rng, name: &str| {
        let count = 1 + rng.below(64) as u32;
        Role {
            name: name.to_owned(),
            count,
            min: 1 + rng.below(u64::from(count)) as u32,
            cpu: rng.below(64_000) as i64,
            memory: rng.below(1 << 20) as i64,
            gpu_count: rng.below(9) as u32,
            gpu_milli: 1_000,
            gpu_models: match rng.below(2) {
                0 => Vec::new(),
                _ => vec![one_of(rng, &["H100", "A100"]), "V100".to_owned()],
            },
            ..Role::default()
        }
    };
    let roles = ["worker", "ps"];
    let labels = ["owner", "seccomp", "team"];
    JobView {
        id: format!("job-{}", rng.below(1_000)),
        namespace: one_of(rng, &["team-a", "team-b", "default", ""]),
        queue: one_of(rng, &["research", "prod", ""]),
        kind: match rng.below(2) {
            0 => JobKind::Batch,
            _ => JobKind::Service,
        },
        app: one_of(rng, &["bert", "web", ""]),
        priority: rng.below(2_000) as i32 - 1_000,
        tier: one_of(rng, &["critical", "flex", ""]),
        image: one_of(
            rng,
            &[
                "registry/bert:1",
                "registry/web@sha256:00",
                "web:latest",
                "",
            ],
        ),
        run_as_root: rng.below(2) == 0,
        privileged: rng.below(4) == 0,
        seccomp: Some("runtime/default".to_owned()).filter(|_| rng.below(2) == 0),
        runtime_limit: maybe(rng, 3_600_000),
        deadline: maybe(rng, 90_000_000),
        labels: (labels[..rng.below(4) as usize].iter())
            .map(|key| ((*key).to_owned(), "a".to_owned()))
            .collect(),
        roles: (roles[..1 + rng.below(2) as usize].iter())
            .map(|name| role(rng, name))
            .collect(),
    }
}

fn review(rng: &mut Rng) -> Review {
    let object = job(rng);
    let operation = match rng.below(3) {
        0 => Operation::Update,
        1 => Operation::Delete,
        _ => Operation::Create,
    };
    let old = (operation == Operation::Update).then(|| job(rng));
    Review {
        now: 1_000_000 + rng.below(1_000_000),
        mode: Mode::Normal,
        operation,
        caller: Caller {
            name: one_of(rng, &["ana", ""]),
            groups: vec![one_of(rng, &["research", "ops"])],
        },
        object,
        old,
        facts: Facts {
            owner: Some(one_of(rng, &["team-a", ""])).filter(|_| rng.below(2) == 0),
            tier: None,
            compliance: vec![one_of(rng, &["pci", "sox"])],
            image_signed_by: vec![one_of(rng, &["release", "nobody"])],
            image_age: maybe(rng, 900),
            base_image_age: maybe(rng, 3_000),
            running: rng.below(40) as u32,
        },
    }
}

const RESOURCES: [&str; 3] = ["cpu", "memory", "gpu"];

fn cycle(rng: &mut Rng) -> Cycle {
    let mut nodes = Vec::new();
    for i in 0..2 + rng.below(12) as u32 {
        let line = |rng: &mut Rng, resource| QuotaLineRow {
            resource,
            nominal: rng.below(200_000) as i64,
            used: rng.below(150_000) as i64,
            borrowing_limit: maybe(rng, 50_000),
            lending_limit: maybe(rng, 60_000),
        };
        nodes.push(QuotaRow {
            name: format!("quota-{i}"),
            parent: (i > 0).then(|| rng.below(u64::from(i)) as u32),
            weight: 1 + rng.below(3_000) as u32,
            tier: ["critical", "flex"][rng.below(2) as usize],
            lines: RESOURCES.map(|r| line(rng, r)).to_vec(),
        });
    }
    let head = |i: u64, rng: &mut Rng| {
        let demand = RESOURCES.map(|resource| QuotaDemand {
            resource,
            amount: rng.below(40_000) as i64,
        });
        let min_demand = demand.clone().map(|d| QuotaDemand {
            amount: d.amount / 2,
            ..d
        });
        Head {
            job: format!("job-{i}"),
            queue: format!("queue-{i}"),
            node: rng.below(nodes.len() as u64) as u32,
            priority: rng.below(5) as i32,
            created: rng.below(1_000),
            waited: rng.below(10_000_000),
            attempts: rng.below(5) as u32,
            deadline: maybe(rng, 20_000_000),
            expected_runtime: maybe(rng, 7_200_000),
            attained: rng.below(1 << 30),
            demand: demand.to_vec(),
            min_demand: min_demand.to_vec(),
        }
    };
    let heads = (0..rng.below(40)).map(|i| head(i, rng)).collect();
    Cycle {
        now: 5_000_000,
        mode: Mode::Normal,
        nodes,
        heads,
    }
}

const SLOTS: usize = 8;

/// A cluster of nodes with eight devices, partly held by running work.
struct Question {
    preemptor: Preemptor,
    domains: Vec<Domain>,
    queues: Vec<QueueShare>,
    budgets: Vec<BudgetLeft>,
    rows: usize,
    data: Vec<i32>,
    running: Running,
    action: Action,
}

impl Question {
    fn new(rng: &mut Rng, columns: &[Column], rows: usize) -> Self {
        let mut held = vec![0u64; rows];
        let (mut cpu, mut memory) = (vec![96_000; rows], vec![786_432; rows]);
        let mut running = Running::default();
        for row in 0..rows {
            for slot in 0..SLOTS {
                if rng.below(5) == 0 {
                    continue;
                }
                held[row] |= 1 << slot;
                cpu[row] -= 8_000;
                memory[row] -= 65_536;
                let id = running.id.len() as u32;
                running.id.push(id);
                running.row.push(row as u32);
                running.owner.push(rng.below(3) as u32);
                // Groups of two neighbours, now and then.
                let grouped = slot % 2 == 0 && rng.below(3) == 0;
                let group = if grouped { id / 2 } else { NONE };
                running.group.push(group);
                running.priority.push(rng.below(10) as i32);
                running.cpu.push(8_000);
                running.memory.push(65_536);
                running.gpu_slots.push(1 << slot);
                running.gpu_milli.push(1_000);
                running.started.push(rng.below(4_000_000));
                running.checkpoint.push(rng.below(2) * 4_500_000);
                running.restart_cost.push(rng.below(900) as u32);
                running.budget.push(rng.below(2) as u32);
                let allowed = [MAY_KILL | MAY_MOVE, MAY_KILL, MAY_MOVE, 0];
                running.allowed.push(allowed[rng.below(4) as usize]);
                running.grace.push(30_000);
            }
        }
        let mut data = Vec::new();
        for column in columns {
            let strips = if column.is_per_gpu() { SLOTS } else { 1 };
            for slot in 0..strips {
                for row in 0..rows {
                    let free = SLOTS as i32 - held[row].count_ones() as i32;
                    let here = held[row] & (1 << slot) == 0;
                    data.push(match column {
                        Column::Row => row as i32,
                        Column::CpuFree => cpu[row],
                        Column::CpuCap => 96_000,
                        Column::MemoryFree => memory[row],
                        Column::MemoryCap => 786_432,
                        Column::GpuCount => SLOTS as i32,
                        Column::GpuFree => free * 1_000,
                        Column::GpuWhole => free,
                        Column::Zone => (row / 16) as i32,
                        Column::Rack => (row / 4) as i32,
                        Column::GpuMilliFree => i32::from(here) * 1_000,
                        Column::GpuMemoryFree => i32::from(here) * 81_920,
                        _ => 0,
                    });
                }
            }
        }
        let all = |level, name: String, rows: Vec<u32>| Domain { level, name, rows };
        let racks = (0..rows as u32).collect::<Vec<_>>();
        let mut domains: Vec<Domain> = (racks.chunks(4).enumerate())
            .map(|(i, rows)| all(1, format!("rack-{i:04}"), rows.to_vec()))
            .collect();
        domains.push(all(LEVEL_CLUSTER, "cluster".to_owned(), racks));
        let count = 1 + rng.below(6) as u32;
        let constraint = [
            Constraint::None,
            Constraint::Preferred,
            Constraint::Required,
        ];
        Self {
            preemptor: Preemptor {
                job: "train".to_owned(),
                queue: "research".to_owned(),
                owner: 0,
                waited: 600_000,
                attempts: rng.below(3) as u32,
                constraint: constraint[rng.below(3) as usize],
                level: 1,
                demands: vec![Demand {
                    role: "worker".to_owned(),
                    pod: PodRow {
                        cpu: 8_000,
                        memory: 65_536,
                        gpu_count: 1 + rng.below(8) as u32,
                        gpu_milli: 1_000,
                        priority: 5 + rng.below(10) as i32,
                        ..PodRow::default()
                    },
                    count,
                    min: 1 + rng.below(u64::from(count)) as u32,
                }],
                nominated: None,
            },
            domains,
            queues: (0..3)
                .map(|i| QueueShare {
                    name: format!("queue-{i}"),
                    share: rng.below(2_000) as u32,
                    guaranteed: rng.below(2) == 0,
                    lent: rng.below(2) == 0,
                })
                .collect(),
            budgets: vec![
                BudgetLeft {
                    name: "wide".to_owned(),
                    allowed: 1_000,
                },
                BudgetLeft {
                    name: "narrow".to_owned(),
                    allowed: 2,
                },
            ],
            rows,
            data,
            running,
            action: Action::ALL[rng.below(3) as usize],
        }
    }

    fn ask(&self) -> PreemptRequest<'_> {
        PreemptRequest {
            now: 5_000_000,
            mode: Mode::Normal,
            seed: 7,
            action: self.action,
            preemptor: &self.preemptor,
            domains: &self.domains,
            queues: &self.queues,
            budgets: &self.budgets,
            rows: Rows {
                count: self.rows as u32,
                slots: SLOTS as u32,
                data: &self.data,
            },
            running: &self.running,
        }
    }
}

// === laws ===

/// Same answers from both builds, and the same fuel from two instances: what a
/// call costs may depend on what the guest's allocator did before, but not on
/// chance.
fn agree(name: &str, native: &mut dyn AdmissionPolicy) {
    let mut wasm = wasm::admission(name, "{}");
    let mut twin = wasm::admission(name, "{}");
    assert_eq!(wasm.description(), native.description());
    let mut rng = Rng::new(11);
    for n in 0..300 {
        let review = review(&mut rng);
        let said = wasm.validate(&review).expect("an answer");
        assert_eq!(twin.validate(&review).expect("twin"), said, "{n}");
        assert_eq!(native.validate(&review).expect("native").0, said.0, "{n}");
        let said = wasm.mutate(&review).expect("an answer");
        assert_eq!(twin.mutate(&review).expect("twin"), said, "{n}");
        assert_eq!(native.mutate(&review).expect("native").0, said.0, "{n}");
    }
    for n in 0..100 {
        let cycle = cycle(&mut rng);
        let said = wasm.order(&cycle).expect("an answer");
        assert_eq!(twin.order(&cycle).expect("twin"), said, "{n}");
        assert_eq!(native.order(&cycle).expect("native").0, said.0, "{n}");
        let said = wasm.admit(&cycle).expect("an answer");
        assert_eq!(twin.admit(&cycle).expect("twin"), said, "{n}");
        assert_eq!(native.admit(&cycle).expect("native").0, said.0, "{n}");
    }
}

/// As [`agree`]; also how many plans there were, so that a policy that never
/// finds one does not pass.
fn agree_on_plans(name: &str, native: &mut dyn PreemptionPolicy) -> usize {
    let mut wasm = wasm::preemption(name, "{}");
    let mut twin = wasm::preemption(name, "{}");
    assert_eq!(wasm.description(), native.description());
    let columns = native.description().columns.clone();
    let mut rng = Rng::new(12);
    let mut plans = 0;
    for n in 0..150 {
        let rows = 4 + rng.below(24) as usize;
        let question = Question::new(&mut rng, &columns, rows);
        let request = question.ask();
        let said = wasm.propose(&request).expect("an answer");
        assert_eq!(twin.propose(&request).expect("twin"), said, "{n}");
        assert_eq!(native.propose(&request).expect("native").0, said.0, "{n}");
        plans += usize::from(matches!(said.0, Proposal::Plan(_)));
    }
    plans
}

#[test]
fn guardrails_agrees() {
    agree(
        "guardrails",
        &mut NativeAdmission::<guardrails::Guardrails>::new("{}"),
    );
}

#[test]
fn defaults_agrees() {
    agree(
        "defaults",
        &mut NativeAdmission::<defaults::Defaults>::new("{}"),
    );
}

#[test]
fn quota_admission_agrees() {
    agree(
        "quota-admission",
        &mut NativeAdmission::<quota_admission::QuotaAdmission>::new("{}"),
    );
}

#[test]
fn deadline_admission_agrees() {
    agree(
        "deadline-admission",
        &mut NativeAdmission::<deadline_admission::DeadlineAdmission>::new("{}"),
    );
}

#[test]
fn shortest_service_agrees() {
    agree(
        "shortest-service",
        &mut NativeAdmission::<shortest_service::ShortestService>::new("{}"),
    );
}

#[test]
fn fair_preemption_agrees() {
    let mut native = NativePreemption::<fair_preemption::FairPreemption>::new("{}");
    assert!(agree_on_plans("fair-preemption", &mut native) > 0);
}

#[test]
fn gang_packer_agrees() {
    let mut native = NativePreemption::<gang_packer::GangPacker>::new("{}");
    assert!(agree_on_plans("gang-packer", &mut native) > 0);
}

/// Prints what the sandbox makes of the two bounds of the kinds; run with
/// `--ignored --nocapture`.
#[test]
#[ignore = "prints a measurement"]
fn how_many_a_second() {
    let mut rng = Rng::new(3);
    let reviews: Vec<_> = (0..256).map(|_| review(&mut rng)).collect();
    for name in ["guardrails", "defaults", "quota-admission"] {
        let mut wasm = wasm::admission(name, "{}");
        let begin = std::time::Instant::now();
        let mut asked = 0;
        while begin.elapsed().as_millis() < 1_000 {
            for review in &reviews {
                wasm.validate(review).expect("an answer");
                wasm.mutate(review).expect("an answer");
                asked += 1;
            }
        }
        let per_second = f64::from(asked) / begin.elapsed().as_secs_f64();
        println!("{name}: {per_second:.0} reviews/s (validate and mutate)");
    }
    for (name, rows) in [
        ("fair-preemption", 64),
        ("fair-preemption", 2_500),
        ("gang-packer", 64),
        ("gang-packer", 2_500),
    ] {
        let mut wasm = wasm::preemption(name, "{}");
        let columns = wasm.description().columns.clone();
        let mut waits = Vec::new();
        let (mut plans, mut fuel) = (0, 0);
        for _ in 0..16 {
            let question = Question::new(&mut rng, &columns, rows);
            let begin = std::time::Instant::now();
            match wasm.propose(&question.ask()) {
                Ok((said, cost)) => {
                    plans += usize::from(matches!(said, Proposal::Plan(_)));
                    fuel = fuel.max(cost.fuel);
                }
                Err(fault) => println!("{name}: {fault}"),
            }
            waits.push(begin.elapsed().as_micros());
        }
        waits.sort_unstable();
        println!(
            "{name}, {rows} rows: median {} us, worst {} us, {plans} plans, most fuel {fuel}",
            waits[8], waits[15]
        );
    }
}
