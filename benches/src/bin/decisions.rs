//! Whole decisions a second on one core: filter, score in the sandbox, choose
//! devices, bind, record; the same policy native beside it.
//!
//! Closed loop: the cluster is filled, then every decision is followed by the
//! departure of the oldest pod, so that two rows change between decisions.

use std::collections::VecDeque;
use std::time::Duration;

use benches::{Timing, cpu_time};
use engine::port::ScoringPolicy;
use engine::{Engine, Output};
use model::event::Finish;
use model::{Event, Outcome};
use tests::native::NativeScoring;
use tests::{clusters, wasm};

const ROUNDS: usize = 21;
const DECISIONS_A_ROUND: u64 = 4_000;

struct Loop {
    engine: Engine,
    out: Output,
    running: VecDeque<String>,
    next: u64,
    shapes: u64,
    now: u64,
    rounds: Vec<Duration>,
    rows_scored: u64,
    digest: u64,
}

impl Loop {
    fn new(nodes: u32, shapes: u64, policy: Box<dyn ScoringPolicy>) -> Self {
        let mut engine = clusters::engine(nodes);
        engine.install_scoring(wasm::alone(1, policy));
        let mut this = Self {
            engine,
            out: Output::default(),
            running: VecDeque::new(),
            next: 0,
            shapes,
            now: 1,
            rounds: Vec::new(),
            rows_scored: 0,
            digest: 0,
        };
        for _ in 0..u64::from(nodes) * 2 {
            let event = this.arrival();
            this.decide(event);
        }
        this
    }

    fn arrival(&mut self) -> Event {
        let pod = clusters::pod(self.next, self.shapes);
        self.next += 1;
        Event::PodsSubmit(vec![pod])
    }

    fn decide(&mut self, arrival: Event) {
        self.now += 1;
        self.out.clear();
        self.engine
            .step(self.now, arrival, &mut self.out)
            .expect("a legal pod");
        for d in &self.out.decisions {
            self.rows_scored += u64::from(d.rows_scored);
            if let Outcome::Bound { row, devices, .. } = &d.outcome {
                self.running.push_back(d.pod.to_string());
                let what = devices
                    .iter()
                    .fold(u64::from(*row), |h, s| h * 31 + u64::from(*s));
                self.digest = self.digest.wrapping_mul(1_099_511_628_211) ^ what;
            }
            assert!(d.faults.is_empty(), "{:?}", d.faults);
        }
    }

    fn round(&mut self) {
        let arrivals: Vec<Event> = (0..DECISIONS_A_ROUND).map(|_| self.arrival()).collect();
        let start = cpu_time();
        for arrival in arrivals {
            self.decide(arrival);
            if let Some(name) = self.running.pop_front() {
                let how = Finish::Succeeded;
                self.out.clear();
                self.engine
                    .step(self.now, Event::PodFinished { name, how }, &mut self.out)
                    .expect("a running pod");
            }
        }
        self.rounds.push(cpu_time() - start);
    }
}

type Make = fn() -> Box<dyn ScoringPolicy>;

const BEST_FIT: &str = r#"{"mode":"best-fit"}"#;

const POLICIES: [(&str, Make, Make); 2] = [
    (
        "binpack",
        || wasm::scoring("binpack", BEST_FIT),
        || Box::new(NativeScoring::<binpack::Binpack>::new(BEST_FIT)),
    ),
    (
        "gpu-topology-packer",
        || wasm::scoring("gpu-topology-packer", "{}"),
        || Box::new(NativeScoring::<gpu_topology_packer::GpuTopologyPacker>::new("{}")),
    ),
];

fn warm() {
    println!("warm: closed loop, two rows change between decisions, one core");
    println!(
        "{:<20} {:>6} {:>6} | {:>9} {:>9} {:>11} | {:>9} {:>9} {:>11} | {:>6} {:>9} {:>9}",
        "policy",
        "nodes",
        "shapes",
        "wasm min",
        "median",
        "decisions/s",
        "nat. min",
        "median",
        "decisions/s",
        "ratio",
        "rows/dec.",
        "cache KiB"
    );
    for (name, sandboxed, native) in POLICIES {
        for (nodes, shapes) in [
            (1_000, 1),
            (5_000, 1),
            (10_000, 1),
            (1_000, 64),
            (5_000, 64),
            (10_000, 64),
        ] {
            let mut a = Loop::new(nodes, shapes, sandboxed());
            let mut b = Loop::new(nodes, shapes, native());
            for _ in 0..ROUNDS {
                a.round();
                b.round();
            }
            assert_eq!(a.digest, b.digest, "wasm and native decide the same");
            let (w, n) = (
                Timing::of(&a.rounds, DECISIONS_A_ROUND),
                Timing::of(&b.rounds, DECISIONS_A_ROUND),
            );
            println!(
                "{name:<20} {nodes:>6} {shapes:>6} | {:>6.2} us {:>6.2} us {:>11.0} | {:>6.2} us {:>6.2} us {:>11.0} | {:>6.2} {:>9.1} {:>9}",
                w.min_us,
                w.median_us,
                w.per_second(),
                n.min_us,
                n.median_us,
                n.per_second(),
                w.min_us / n.min_us,
                a.rows_scored as f64 / a.next as f64,
                a.engine.summary().cache_bytes / 1024,
            );
        }
    }
}

fn cold() {
    println!(
        "\ncold: every score forgotten before each decision (filter + score all rows + place + bind)"
    );
    println!(
        "{:<20} {:>6} | {:>10} {:>10} | {:>10} {:>10} | {:>6}",
        "policy", "nodes", "wasm min", "median", "native min", "median", "ratio"
    );
    for (name, sandboxed, native) in POLICIES {
        for nodes in [1_000, 5_000, 10_000] {
            let mut a = Loop::new(nodes, 64, sandboxed());
            let mut b = Loop::new(nodes, 64, native());
            let (mut wa, mut wb) = (Vec::new(), Vec::new());
            for _ in 0..192 {
                for (l, times) in [(&mut a, &mut wa), (&mut b, &mut wb)] {
                    l.engine.drop_cache();
                    let event = l.arrival();
                    let start = cpu_time();
                    l.decide(event);
                    times.push(cpu_time() - start);
                }
            }
            assert_eq!(a.digest, b.digest);
            // All 64 shapes cost differently: the sum over them is compared.
            let sum = |t: &[Duration]| -> Vec<Duration> {
                t.chunks(64).map(|c| c.iter().sum()).collect()
            };
            let (w, n) = (Timing::of(&sum(&wa), 64), Timing::of(&sum(&wb), 64));
            println!(
                "{name:<20} {nodes:>6} | {:>7.1} us {:>7.1} us | {:>7.1} us {:>7.1} us | {:>6.2}",
                w.min_us,
                w.median_us,
                n.min_us,
                n.median_us,
                w.min_us / n.min_us
            );
        }
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn memory() {
    println!("\nmemory of an idle instance (resident, mean of 100 alive)");
    for (name, ..) in POLICIES {
        let prepared = wasm::prepared(name);
        let limits = prepared.profile().run().unhurried();
        let start = || prepared.scoring("{}", limits).expect("started");
        drop(start());
        let before = resident_kib();
        let alive: Vec<_> = (0..100).map(|_| start()).collect();
        let after = resident_kib();
        println!(
            "{name:<20} {:>6} KiB",
            (after - before) / alive.len() as u64
        );
    }
}

fn main() {
    sandbox::compile_child::maybe_run();
    warm();
    cold();
    memory();
}
