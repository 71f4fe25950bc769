//! What scoring one row costs natively: `cargo run -p gpu-topology-packer --example row_cost`.

use loadmaster_sdk::testing::print_row_costs;

fn main() {
    print_row_costs::<gpu_topology_packer::GpuTopologyPacker>(&["{}", r#"{"mode":"published"}"#]);
}
