//! What scoring one row costs natively: `cargo run -p spread --example row_cost`.

use loadmaster_sdk::testing::print_row_costs;

fn main() {
    print_row_costs::<spread::Spread>(&["{}"]);
}
