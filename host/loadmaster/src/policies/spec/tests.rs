use super::*;

fn check(text: &str, expected: &str) {
    let found = match text.parse::<PolicyRef>() {
        Ok(p) => format!("{} {:?} {} {}", p.kind, p.source, p.settings, p.weight),
        Err(e) => format!("error: {e}; hint: {}", e.hint()),
    };
    assert_eq!(found, expected, "{text}");
}

#[test]
fn every_form_of_a_spec() {
    check(
        "scoring=gpu-topology-packer",
        r#"scoring Named { name: "gpu-topology-packer", version: None } {} 1000"#,
    );
    check(
        "scoring=binpack@1.2.3",
        r#"scoring Named { name: "binpack", version: Some("1.2.3") } {} 1000"#,
    );
    check(
        "admission=builtin:srtf",
        r#"admission Builtin("srtf") {} 1000"#,
    );
    check(
        "autoscaling=./a*b/x.wasm*0.25",
        r#"autoscaling File("./a*b/x.wasm") {} 250"#,
    );
    check(
        r#"scoring=p.wasm{"mode":"a*b","n":2}*1.5"#,
        r#"scoring File("p.wasm") {"mode":"a*b","n":2} 1500"#,
    );
    check(
        r#"scoring=binpack{ "b": [1], "a": "x" }"#,
        r#"scoring Named { name: "binpack", version: None } {"a":"x","b":[1]} 1000"#,
    );
    check(
        "scoring=binpack?mode=dot-product&step=5&exact=true",
        r#"scoring Named { name: "binpack", version: None } {"exact":true,"mode":"dot-product","step":5} 1000"#,
    );
}

#[test]
fn what_is_wrong_and_what_to_type() {
    check(
        "binpack",
        "error: policy \"binpack\" does not say its kind; hint: put the kind in front, e.g. scoring=binpack (kinds: scoring, admission, preemption, autoscaling)",
    );
    check(
        "scorin=binpack",
        "error: \"scorin\" is not a kind of policy; hint: did you mean \"scoring\"? kinds are scoring, admission, preemption, autoscaling",
    );
    check(
        "scoring=",
        "error: policy \"scoring=\" names no policy after the =; hint: e.g. scoring=binpack or scoring=builtin:binpack",
    );
    check(
        "scoring=Binpack",
        "error: \"Binpack\" is not a policy name: a lower-case letter, then letters, digits or -; hint: a file has to end in .wasm or contain a /",
    );
    check(
        "scoring=binpack@1.2",
        "error: \"1.2\" is not a version like 1.2.3; hint: leave @version out to take the newest",
    );
    check(
        "scoring=binpack*11",
        "error: weight \"11\" is not a number from 0 to 10; hint: e.g. scoring=binpack*0.5",
    );
    check(
        "scoring=binpack*heavy",
        "error: weight \"heavy\" is not a number from 0 to 10; hint: e.g. scoring=binpack*0.5",
    );
    for settings in ["{", "{]", "{\"a\":1}x", "?", "?mode", "?a=1&a=2", "?=1"] {
        let text = format!("scoring=binpack{settings}");
        assert!(
            matches!(text.parse::<PolicyRef>(), Err(SpecError::Settings { .. })),
            "{text}"
        );
    }
}

#[test]
fn specs_are_joined_with_a_plus_before_a_kind() {
    let joined = "scoring=binpack{\"a\":\"1+1\"}*0.5+scoring=spread+admission=x";
    let set = PolicyRef::parse_joined(joined).unwrap();
    let shown: Vec<String> = set.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["scoring=binpack?a=1+1*0.5", "scoring=spread", "admission=x"]
    );
    assert_eq!(
        PolicyRef::parse_joined("scoring=a+b.wasm").unwrap().len(),
        1
    );
    assert!(PolicyRef::parse_joined("scoring=a+scoring=").is_err());
}

#[test]
fn a_typo_finds_its_word_and_nonsense_does_not() {
    let known = ["binpack", "spread", "gpu-topology-packer"];
    assert_eq!(nearest("binpak", known), Some("binpack"));
    assert_eq!(
        nearest("gpu-topolgy-paker", known),
        Some("gpu-topology-packer")
    );
    assert_eq!(nearest("zebra", known), None);
    assert_eq!(nearest("", known), None);
}

#[test]
fn a_fail_mode_stands_between_settings_and_weight() {
    let fail = |text: &str| text.parse::<PolicyRef>().map(|p| (p.fail, p.to_string()));
    let ok = |fail, text: &str| Ok((fail, text.to_owned()));
    let (open, closed) = (FailMode::Open, FailMode::Closed);
    let plain = "admission=guardrails";
    assert_eq!(fail(plain), ok(closed, plain));
    assert_eq!(fail("admission=guardrails!closed"), ok(closed, plain));
    for text in [
        "admission=guardrails!open",
        "admission=guardrails@1.0.0!open",
        "admission=guardrails?max=3!open*0.5",
    ] {
        assert_eq!(fail(text), ok(open, text));
    }
    let file = r#"admission=./g.wasm{"say":"no!open"}!open"#;
    assert_eq!(fail(file).unwrap().0, open);
    let inside = r#"admission=g{"say":"no!open"}"#;
    assert_eq!(fail(inside).unwrap().0, closed);
    check(
        "admission=guardrails!opne",
        "error: admission policies have no fail mode \"opne\"; hint: !open lets jobs in while the policy fails, !closed keeps them out",
    );
    check(
        "scoring=binpack!open",
        "error: scoring policies have no fail mode \"open\"; hint: leave it out: after a fault the built-in answers",
    );
}

#[test]
fn the_kind_is_said_once_where_names_are_joined() {
    let joined = |text: &str| -> Vec<String> {
        let all = PolicyRef::parse_joined(text).unwrap();
        all.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        joined("admission=guardrails!open+quota-admission?a=1"),
        ["admission=guardrails!open", "admission=quota-admission?a=1"]
    );
    assert_eq!(
        joined(r#"admission=a{"b":"c+d"}+e"#),
        ["admission=a?b=c+d", "admission=e"]
    );
    assert_eq!(
        joined("scoring=x.wasm*0.5+builtin:binpack"),
        ["scoring=x.wasm*0.5", "scoring=builtin:binpack"]
    );
    for one in [
        "scoring=a?text=b+c",
        "scoring=a@1.0.0+build",
        "scoring=./a+b.wasm",
    ] {
        assert_eq!(PolicyRef::parse_joined(one).unwrap().len(), 1, "{one}");
    }
}
