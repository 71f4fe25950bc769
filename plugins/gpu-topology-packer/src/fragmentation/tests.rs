//! Vectors: the published example, and by hand.

use super::oracle::Oracle;
use super::*;

const ANY: u64 = u64::MAX;

fn pod(cpu: i64, gpu_milli: i64, gpus: u32) -> Request {
    Request {
        cpu,
        memory: 0,
        gpu_milli,
        gpus,
        models: ANY,
    }
}

fn row(cpu_free: i64, gpu_free: &[u16]) -> Row<'_> {
    Row {
        cpu_free,
        cpu_capacity: 96_000,
        memory_free: 1000,
        memory_capacity: 1000,
        model: 0,
        gpu_free,
        healthy: u16::MAX,
        eligible: u16::MAX,
    }
}

fn shape(weight: i64, request: Request) -> Shape {
    Shape { request, weight }
}

fn example() -> [Shape; 3] {
    [
        shape(5, pod(2000, 500, 1)),
        shape(3, pod(4000, 1000, 1)),
        shape(2, pod(8000, 1000, 2)),
    ]
}

#[test]
fn published_vector() {
    let c = Context::new(Mode::Published, Tuning::default(), &example(), &[]);
    let o = Oracle::new(Mode::Published, Tuning::default(), &example(), &[]);
    assert_eq!(o.waste(10_000, 0, 0, &[1000, 500]), 450 * 10);
    assert_eq!(o.waste(8_000, 0, 0, &[1000, 0]), 200 * 10);
    assert_eq!(o.waste(8_000, 0, 0, &[500, 500]), 500 * 10);
    let p = pod(2000, 500, 1);
    assert_eq!(
        c.place(&p, &row(10_000, &[1000, 500])),
        Some(Placement {
            score: 56,
            devices: 0b10
        })
    );
    let mut only_first = row(10_000, &[1000, 500]);
    only_first.healthy = 0b01; // without device 1: F = 0.2 * 1000 -> 0.5 * 500
    assert_eq!(
        c.place(&p, &only_first),
        Some(Placement {
            score: 48,
            devices: 0b01
        })
    );
    assert_eq!(
        (sigmoid_percent(2500, 10), sigmoid_percent(-500, 10)),
        (56, 48)
    );
}

#[test]
fn sigmoid_is_exact() {
    for drop in -16_000i64..=16_000 {
        let float = (100.0 / (1.0 + (-(drop as f64) / 1000.0).exp())) as i64;
        assert_eq!(sigmoid_percent(drop * 7, 7), float, "{drop}");
    }
}

#[test]
fn devices() {
    for mode in [Mode::Published, Mode::Fill] {
        let c = Context::new(mode, Tuning::default(), &example(), &[]);
        let devices = |p: &Request, r: &Row<'_>| c.place(p, r).map(|x| x.devices);
        let free = [300, 1000, 0, 1000, 700, 1000];
        assert_eq!(devices(&pod(1, 1000, 2), &row(9000, &free)), Some(0b001010));
        assert_eq!(
            devices(
                &pod(1, 1000, 2),
                &Row {
                    healthy: !0b10,
                    ..row(9000, &free)
                }
            ),
            Some(0b101000)
        );
        assert_eq!(devices(&pod(1, 1000, 4), &row(9000, &free)), None);
        assert_eq!(devices(&pod(1, 600, 2), &row(9000, &free)), Some(0b010010));
        assert_eq!(devices(&pod(1, 300, 1), &row(9000, &free)), Some(0b000001));
        assert_eq!(devices(&pod(1, 0, 0), &row(9000, &[])), Some(0));
        assert_eq!(devices(&pod(9001, 0, 0), &row(9000, &[])), None);
        assert_eq!(
            devices(&pod(1, 1000, 16), &row(9000, &[1000; 16])),
            Some(u16::MAX)
        );
        assert_eq!(
            devices(
                &Request {
                    models: 0b10,
                    ..pod(1, 300, 1)
                },
                &row(9000, &free)
            ),
            None
        );
    }
}

#[test]
fn fill_keeps_cpu_for_gpus_and_picky_nodes_free() {
    let nodes = |model, gpus| NodeShape {
        cpu: 96_000,
        memory: 1000,
        gpus,
        model,
        nodes: 10,
    };
    let picky = Request {
        models: 0b10,
        ..pod(4000, 1000, 1)
    };
    let shapes = [shape(9, pod(4000, 1000, 1)), shape(1, picky)];
    let c = Context::new(
        Mode::Fill,
        Tuning::default(),
        &shapes,
        &[nodes(0, 8), nodes(1, 8)],
    );
    let score = |p: &Request, r: &Row<'_>| c.place(p, r).map(|x| x.score).unwrap();
    let plain = row(96_000, &[1000; 8]);
    assert!(
        score(&pod(4000, 1000, 1), &plain) > score(&pod(4000, 1000, 1), &Row { model: 1, ..plain })
    );
    // A CPU-only pod goes where it strands no GPU: onto the node whose GPUs are taken.
    assert_eq!(score(&pod(8000, 0, 0), &row(8000, &[0; 8])), 0);
    assert!(score(&pod(8000, 0, 0), &row(8000, &[1000, 1000, 0])) < -2000);
    // By hand: left 2000 -> 0; one = 0 -> 0; all = 0 -> 2000 lost; shortage 0 -> 2000, times 2.
    let one = Context::new(
        Mode::Fill,
        Tuning::default(),
        &[shape(1, pod(4000, 1000, 1))],
        &[],
    );
    let r = one
        .place(&pod(8000, 0, 0), &row(8000, &[1000, 1000]))
        .unwrap();
    assert_eq!(r.score, -(2000 + 2000) / 2 - 2 * 2000);
}

#[test]
fn devices_without_the_memory_count_but_are_not_taken() {
    let c = Context::new(Mode::Published, Tuning::default(), &example(), &[]);
    let free = [1000, 500, 500, 1000];
    let take = |p: &Request, eligible| {
        let row = Row {
            eligible,
            ..row(90_000, &free)
        };
        c.place(p, &row).map(|x| x.devices)
    };
    assert_eq!(take(&pod(1, 500, 1), u16::MAX), Some(0b0010));
    assert_eq!(take(&pod(1, 500, 1), 0b1101), Some(0b0100));
    assert_eq!(take(&pod(1, 1000, 1), 0b1110), Some(0b1000));
    assert_eq!(take(&pod(1, 1000, 2), 0b1110), None);
}
