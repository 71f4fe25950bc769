//! What one review costs natively: `cargo run -p defaults --example review_cost`.

use loadmaster_sdk::testing::print_review_costs;

fn main() {
    let rule = |i: u32| {
        format!(
            r#"{{"id":"rule-{i}","version":1,"when":{{"namespaces":["vision*"]}},
                "set":{{"/labels/key-{i}":"value","/roles/*/disk":1024}},"reason":"because"}}"#
        )
    };
    for rules in [0, 1, 16, 64] {
        let rules: Vec<String> = (0..rules).map(rule).collect();
        println!("{} rules that all apply:", rules.len());
        let settings = format!(r#"{{"rules":[{}]}}"#, rules.join(","));
        let settings: String = settings.split_whitespace().collect();
        print_review_costs::<defaults::Defaults>(&[&settings]);
    }
}
