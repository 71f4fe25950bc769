//! The same policy, compiled for this machine and for the sandbox, decides the
//! same: every candidate, score, device and reason.

use engine::port::ScoringPolicy;
use engine::{Engine, Output};
use model::event::Finish;
use model::{Decision, Event};
use tests::clusters::{Rng, pod};
use tests::native::NativeScoring;
use tests::{clusters, wasm};

fn run(policy: Box<dyn ScoringPolicy>, seed: u64) -> (Vec<Decision>, Engine) {
    let mut engine = clusters::engine(120);
    engine.install_scoring(wasm::alone(1, policy));
    let (mut rng, mut out, mut running) = (Rng::new(seed), Output::default(), Vec::new());
    for i in 0..600 {
        let mut spec = pod(i, 1 + rng.below(90));
        spec.app = format!("app-{}", rng.below(4));
        running.push(spec.name.clone());
        engine
            .step(i, Event::PodsSubmit(vec![spec]), &mut out)
            .expect("a legal pod");
        if rng.below(3) == 0 {
            let name = running.swap_remove(rng.below(running.len() as u64) as usize);
            let how = Finish::Succeeded;
            engine
                .step(i, Event::PodFinished { name, how }, &mut out)
                .expect("a known pod");
        }
    }
    (out.decisions, engine)
}

fn agree(name: &str, settings: &str, native: fn(&str) -> Box<dyn ScoringPolicy>) {
    for seed in 0..3 {
        let (wasm, _) = run(wasm::scoring(name, settings), seed);
        let (native, _) = run(native(settings), seed);
        compare(name, &wasm, &native);
    }
}

fn compare(name: &str, wasm: &[Decision], native: &[Decision]) {
    assert_eq!(wasm.len(), native.len());
    let mut fuel = 0;
    for (w, n) in wasm.iter().zip(native) {
        assert!(w.faults.is_empty(), "{name}: {:?}", w.faults);
        fuel += w.fuel;
        let without_fuel = Decision {
            fuel: 0,
            ..w.clone()
        };
        assert_eq!(without_fuel, *n, "{name}");
    }
    assert!(fuel > 0, "{name}: the sandbox did run");
}

#[test]
fn binpack_agrees() {
    for mode in ["best-fit", "most-allocated", "dot-product"] {
        let settings = format!(r#"{{"mode":"{mode}"}}"#);
        agree("binpack", &settings, |s| {
            Box::new(NativeScoring::<binpack::Binpack>::new(s))
        });
    }
}

#[test]
fn spread_agrees() {
    agree("spread", "{}", |s| {
        Box::new(NativeScoring::<spread::Spread>::new(s))
    });
}

#[test]
fn gpu_topology_packer_agrees() {
    for settings in ["{}", r#"{"mode":"published"}"#] {
        agree("gpu-topology-packer", settings, |s| {
            Box::new(NativeScoring::<gpu_topology_packer::GpuTopologyPacker>::new(s))
        });
    }
}

#[test]
fn two_runs_burn_the_same_fuel() {
    let run = || run(wasm::scoring("gpu-topology-packer", "{}"), 3).0;
    assert_eq!(run(), run());
}
