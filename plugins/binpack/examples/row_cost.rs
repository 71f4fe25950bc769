//! What scoring one row costs natively: `cargo run -p binpack --example row_cost`.

use loadmaster_sdk::testing::print_row_costs;

fn main() {
    print_row_costs::<binpack::Binpack>(&[
        "{}",
        r#"{"mode":"most-allocated"}"#,
        r#"{"mode":"dot-product"}"#,
    ]);
}
