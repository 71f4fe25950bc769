//! The prepared score equals its definition in every score and every device.

use super::oracle::Oracle;
use super::*;

/// A small generator, the same everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn cpu(&mut self) -> i64 {
        match self.below(12) {
            0 => 0,
            1 => self.below(10) as i64,
            2 => i64::from(i32::MAX) - self.below(3) as i64,
            3..=5 => self.below(200_000) as i64,
            _ => self.pick(&[1, 2, 4, 6, 8, 12, 16, 32, 64, 96]) * 1000,
        }
    }

    fn memory(&mut self) -> i64 {
        match self.below(4) {
            0 => 0,
            1 => self.below(800_000) as i64,
            _ => self.pick(&[4, 16, 32, 64, 128, 256]) * 1024,
        }
    }

    fn milli(&mut self) -> i64 {
        match self.below(8) {
            0 => 1 + self.below(1000) as i64,
            1 => 1 + self.below(20) as i64,
            2 => 1000 - self.below(2) as i64,
            3..=5 => 1000,
            _ => self.pick(&[100, 250, 320, 470, 500, 810]),
        }
    }

    fn models(&mut self) -> u64 {
        match self.below(4) {
            0 => 1 << self.below(4),
            1 => self.below(1 << 40),
            _ => u64::MAX,
        }
    }

    fn request(&mut self) -> Request {
        let mut request = Request {
            cpu: self.cpu(),
            memory: self.memory(),
            gpu_milli: self.milli(),
            gpus: self.pick(&[0, 1, 1, 1, 1, 2, 4, 8, 16, 3]),
            models: self.models(),
        };
        if self.one_in(50) {
            request.gpu_milli = 0;
        }
        if self.one_in(50) {
            request.gpus = self.below(20) as u32;
        }
        request
    }

    /// Requests for some pods more than for others, as real ones are.
    fn shapes(&mut self) -> Vec<Shape> {
        let len = match self.below(6) {
            0 => 0,
            1 => 280,
            2 => 91,
            _ => self.below(30),
        };
        let alike = self.one_in(2);
        let shape = |r: &mut Self| {
            let mut request = r.request();
            if alike {
                request.gpu_milli = r.pick(&[1000, 1000, 500, 320]);
                request.models = r.pick(&[u64::MAX, u64::MAX, 0b10]);
            }
            let weight = match r.below(10) {
                0 => 0,
                1 => 1 + r.below(30_000) as i64,
                _ => 1 + r.below(100) as i64,
            };
            Shape { request, weight }
        };
        (0..len).map(|_| shape(self)).collect()
    }

    fn node_shapes(&mut self) -> Vec<NodeShape> {
        let len = self.below(8);
        let shape = |r: &mut Self| NodeShape {
            cpu: r.cpu(),
            memory: r.memory(),
            gpus: r.pick(&[0, 1, 2, 4, 8, 8, 16]),
            model: r.below(6) as u8,
            nodes: 1 + r.below(400) as i64,
        };
        (0..len).map(|_| shape(self)).collect()
    }

    fn tuning(&mut self) -> Tuning {
        if self.one_in(2) {
            return Tuning::default();
        }
        Tuning {
            shortage_weight: self.below(17) as i64,
            shortage_ratio: 1 + self.below(4000) as i64,
            pressure_weight: self.below(4001) as i64,
        }
    }

    fn free(&mut self) -> Vec<u16> {
        let len = self.pick(&[0, 1, 2, 4, 8, 8, 8, 16, 16, 18]);
        let style = self.below(4);
        let free = |r: &mut Self| match style {
            0 => r.below(1001) as u16,
            1 => 1000,
            2 => r.pick(&[0, 0, 1000, 1000, 190, 500, 680]),
            _ => r.pick(&[0, 1, 250, 470, 999, 1000, 1000, 1200]),
        };
        (0..len).map(|_| free(self)).collect()
    }
}

const HISTOGRAMS: u64 = 1_000;
const CASES_A_HISTOGRAM: u64 = 240;

#[test]
fn every_score_and_device_equals_the_definition() {
    let (mut placed, mut refused, mut scores) = (0u64, 0u64, 0i64);
    for seed in 0..HISTOGRAMS {
        let mut r = Random(seed);
        let mode = r.pick(&[Mode::Fill, Mode::Fill, Mode::Published]);
        let (tuning, shapes, nodes) = (r.tuning(), r.shapes(), r.node_shapes());
        let fast = Context::new(mode, tuning, &shapes, &nodes);
        let plain = Oracle::new(mode, tuning, &shapes, &nodes);
        for case in 0..CASES_A_HISTOGRAM {
            let mut pod = r.request();
            if !shapes.is_empty() && r.one_in(2) {
                pod = shapes[r.below(shapes.len() as u64) as usize].request;
            }
            let free = r.free();
            let mut row = Row {
                cpu_free: r.cpu(),
                cpu_capacity: r.cpu(),
                memory_free: r.memory(),
                memory_capacity: r.memory(),
                model: r.below(66) as u8 % 6,
                gpu_free: &free,
                healthy: if r.one_in(3) {
                    r.below(1 << 16) as u16
                } else {
                    u16::MAX
                },
                eligible: if r.one_in(3) {
                    r.below(1 << 16) as u16
                } else {
                    u16::MAX
                },
            };
            if !nodes.is_empty() && r.one_in(2) {
                let node = nodes[r.below(nodes.len() as u64) as usize];
                (row.cpu_capacity, row.memory_capacity) = (node.cpu, node.memory);
                row.model = node.model;
            }
            if !r.one_in(8) {
                // Usually the pod fits, or it would not be asked about.
                pod.models |= 1 << row.model;
                pod.gpus = pod.gpus.min(r.below(2 + free.len() as u64) as u32);
                row.cpu_free = row.cpu_free.max(pod.cpu + r.below(8_000) as i64);
                row.memory_free = row.memory_free.max(pod.memory);
            }
            let expected = plain.place(&pod, &row);
            assert_eq!(
                fast.place(&pod, &row),
                expected,
                "seed {seed} case {case}: {mode:?} {pod:?} {row:?}"
            );
            match expected {
                Some(p) => {
                    placed += 1;
                    scores ^= p.score.wrapping_mul(placed as i64);
                }
                None => refused += 1,
            }
        }
    }
    // The cases say something: most have an answer, and the answers differ.
    assert!(placed > 100_000 && refused > 10_000, "{placed} {refused}");
    assert_ne!(scores, 0);
}

/// Not a test: what one row costs, the definition beside the prepared score.
/// `cargo test -p gpu-topology-packer -- --ignored --nocapture row_costs`
#[test]
#[ignore = "prints times"]
fn row_costs() {
    const ROWS: usize = 2_000;
    const PASSES: usize = 20;
    for (mode, classes) in [
        (Mode::Fill, 7),
        (Mode::Fill, 91),
        (Mode::Fill, 280),
        (Mode::Published, 91),
    ] {
        let mut r = Random(classes);
        let shape = |r: &mut Random| Shape {
            request: Request {
                cpu: r.pick(&[1, 2, 3, 4, 6, 8, 8, 12, 16, 32]) * r.pick(&[990, 1000, 1050]),
                memory: r.memory().min(100_000),
                gpu_milli: (100 + 35 * r.below(46) as i64).min(1000),
                gpus: 1,
                models: r.pick(&[u64::MAX, u64::MAX, u64::MAX, 0b11, 0b10]),
            },
            weight: 1 + r.below(200) as i64,
        };
        let mut shapes: Vec<Shape> = (0..classes).map(|_| shape(&mut r)).collect();
        for s in shapes.iter_mut().filter(|s| s.request.gpu_milli == WHOLE) {
            s.request.gpus = r.pick(&[1, 1, 2, 4, 8]);
        }
        let nodes = [0, 1, 2, 3].map(|model| NodeShape {
            cpu: 96_000,
            memory: 786_432,
            gpus: 8,
            model,
            nodes: 300,
        });
        let free: Vec<[u16; 8]> = (0..ROWS)
            .map(|_| [0; 8].map(|_| r.pick(&[0, 0, 0, 1000, 1000, 350, 500, 180, 730])))
            .collect();
        let rows: Vec<Row<'_>> = free
            .iter()
            .map(|gpu_free| Row {
                cpu_free: 32_000 + r.below(64_000) as i64,
                cpu_capacity: 96_000,
                memory_free: 200_000 + r.below(500_000) as i64,
                memory_capacity: 786_432,
                model: r.below(4) as u8,
                gpu_free,
                healthy: u16::MAX,
                eligible: u16::MAX,
            })
            .collect();
        let fast = Context::new(mode, Tuning::default(), &shapes, &nodes);
        let plain = Oracle::new(mode, Tuning::default(), &shapes, &nodes);
        for (name, gpus, gpu_milli) in [("cpu", 0, 0), ("share", 1, 180), ("whole", 1, 1000)] {
            let pod = Request {
                cpu: 4_000,
                memory: 8_000,
                gpu_milli,
                gpus,
                models: u64::MAX,
            };
            let time = |place: &dyn Fn(&Row<'_>) -> Option<Placement>| {
                let pass = || {
                    let start = std::time::Instant::now();
                    for row in &rows {
                        std::hint::black_box(place(std::hint::black_box(row)));
                    }
                    start.elapsed().as_nanos() as usize
                };
                (0..PASSES).map(|_| pass()).min().unwrap_or(0) / ROWS
            };
            let was = time(&|row| plain.place(&pod, row));
            let is = time(&|row| fast.place(&pod, row));
            println!("{mode:?} {classes} classes, {name}: {was} ns a row plain, {is} ns prepared");
        }
    }
}
