//! The published openb experiment, native and in the sandbox: one digest.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use engine::port::ScoringPolicy;
use loadmaster::replay::cost::Costs;
use loadmaster::replay::openb::{Trace, fill};
use tests::native::NativeScoring;
use tests::wasm;

fn trace() -> Option<Trace> {
    let shared = std::env::var_os("LOADMASTER_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")),
        PathBuf::from,
    );
    let open = |name: &str| File::open(shared.join("traces/openb").join(name)).map(BufReader::new);
    let (Ok(nodes), Ok(pods)) = (open("nodes.csv"), open("pods_default.csv")) else {
        eprintln!("not run: openb digest: ../shared/traces/openb is absent");
        return None;
    };
    let nodes = cluster::trace::openb::nodes(nodes, "nodes.csv").expect("nodes");
    let pods = cluster::trace::openb::pods(pods, "pods_default.csv").expect("pods");
    Some(Trace::new(nodes, pods))
}

fn digest(trace: &Trace, policy: Box<dyn ScoringPolicy>) -> String {
    let set = wasm::alone(1, policy);
    fill(trace, 1_300, 42, set, &Costs::default(), &|_| ())
        .expect("filled")
        .digest
}

#[test]
fn native_wasm_and_a_second_run_have_one_digest() {
    let Some(trace) = trace() else { return };
    let native: [(&str, Box<dyn ScoringPolicy>); 2] = [
        (
            "gpu-topology-packer",
            Box::new(NativeScoring::<gpu_topology_packer::GpuTopologyPacker>::new("{}")),
        ),
        (
            "binpack",
            Box::new(NativeScoring::<binpack::Binpack>::new("{}")),
        ),
    ];
    for (name, native) in native {
        let first = digest(&trace, wasm::scoring(name, "{}"));
        let second = digest(&trace, wasm::scoring(name, "{}"));
        let native = digest(&trace, native);
        eprintln!("{name}: {first}");
        assert_eq!(first, second, "{name}: two runs");
        assert_eq!(first, native, "{name}: native and sandboxed");
    }
}
