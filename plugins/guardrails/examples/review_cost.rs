//! What one review costs natively: `cargo run -p guardrails --example review_cost`.

use loadmaster_sdk::testing::print_review_costs;

fn main() {
    print_review_costs::<guardrails::Guardrails>(&[
        "{}",
        r#"{"tier":{"allowed":["critical","flex"]},"pinned":{"mode":"deny"}}"#,
        r#"{"signature":{"mode":"deny","trusted":["release"]}}"#,
    ]);
}
