//! The first wall: every reason to refuse a file, by name.

mod support;

use model::PolicyKind;
use sandbox::shape::{Limit, Place};
use sandbox::{DescriptionError, PrepareError, Profile, ShapeError, inspect};
use support::*;

fn refusal(bytes: &[u8]) -> ShapeError {
    match prepare(bytes) {
        Err(PrepareError::Shape(error)) => error,
        Err(other) => panic!("not refused by the filter: {other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn what_is_no_component_is_told_apart() {
    for bytes in [&b""[..], b"\0as", b"hello world", &[0xff; 100]] {
        assert_eq!(refusal(bytes), ShapeError::NotWasm, "{bytes:?}");
    }
    let core = wat::parse_str("(module)").unwrap();
    assert_eq!(refusal(&core), ShapeError::CoreModule);
    let policy = wat::parse_str(ScoringGuest::default().wat()).unwrap();
    assert_eq!(refusal(&policy), ShapeError::CoreModule);
    assert_eq!(
        refusal(b"\x7fELF\x02\x01\x01 and so on"),
        ShapeError::Precompiled
    );
    let unknown = b"\0asm\x63\x00\x07\x00";
    assert!(matches!(refusal(unknown), ShapeError::Malformed { .. }));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = ScoringGuest::default().component();
    assert!(prepare(&whole).is_ok());
    for end in (0..whole.len()).step_by(97) {
        let error = prepare(&whole[..end]).expect_err("a cut file was accepted");
        assert!(
            matches!(
                error,
                PrepareError::Shape(
                    ShapeError::NotWasm
                        | ShapeError::Malformed { .. }
                        | ShapeError::NoPolicy { .. }
                )
            ),
            "cut at {end}: {error}"
        );
    }
}

#[test]
fn a_file_with_any_byte_changed_does_not_crash_the_filter() {
    let whole = ScoringGuest::default().component();
    for at in 0..whole.len() {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut bent = whole.clone();
            bent[at] = value;
            let _ = inspect(&bent, Profile::Standard);
        }
    }
}

#[test]
fn too_long_a_file_is_refused_by_length_alone() {
    let bytes = vec![0; (8 << 20) + 1];
    let error = refusal(&bytes);
    assert_eq!(
        error,
        ShapeError::TooLarge {
            bytes: (8 << 20) + 1,
            limit: 8 << 20
        }
    );
    assert_eq!(
        error.to_string(),
        "component has 8388609 bytes, the limit is 8388608"
    );
}

/// A policy built against the contract after `edit`.
fn edited(from: &'static str, to: &'static str, wat: &str) -> Vec<u8> {
    component(&wat.replace(from, to), "scoring-policy", |text| {
        text.replace(from, to)
    })
}

#[test]
fn another_version_of_the_contract_is_named() {
    for version in ["0.2.0", "0.0.9", "1.0.0", "0.1.0-rc.1"] {
        let to: &'static str = format!("@{version}").leak();
        let bytes = edited("@0.1.0", to, &ScoringGuest::default().wat());
        let found = version.to_owned();
        assert_eq!(refusal(&bytes), ShapeError::UnsupportedVersion { found });
    }
    let bytes = edited("@0.1.0", "@0.2.0", &ScoringGuest::default().wat());
    assert_eq!(
        refusal(&bytes).to_string(),
        "built for loadmaster:policy@0.2.0; this host serves 0.1.0"
    );
}

#[test]
fn an_import_that_is_not_granted_is_named() {
    for (interface, nested) in [
        (
            "wasi:clocks/monotonic-clock@0.2.0",
            "package wasi:clocks@0.2.0 { interface monotonic-clock { now: func() -> u64; } }",
        ),
        (
            "wasi:random/random@0.2.0",
            "package wasi:random@0.2.0 { interface random { now: func() -> u64; } }",
        ),
        (
            "wasi:sockets/tcp@0.2.0",
            "package wasi:sockets@0.2.0 { interface tcp { now: func() -> u64; } }",
        ),
    ] {
        let guest = ScoringGuest {
            imports: format!("(import \"{interface}\" \"now\" (func $now (result i64)))"),
            score: "(drop (call $now)) unreachable".to_owned(),
            ..ScoringGuest::default()
        };
        let bytes = component(&guest.wat(), "scoring-policy", |text| {
            if text.contains("world scoring-policy") {
                let text = text.replace("import log;", &format!("import log; import {interface};"));
                format!("{text}\n{nested}")
            } else {
                text.to_owned()
            }
        });
        let import = interface.to_owned();
        assert_eq!(refusal(&bytes), ShapeError::UnknownImport { import });
    }
}

#[test]
fn a_component_without_or_with_two_policy_interfaces_is_refused() {
    let empty = wat::parse_str("(component)").unwrap();
    assert_eq!(refusal(&empty), ShapeError::NoPolicy { exports: vec![] });
    let other =
        wat::parse_str("(component (instance $i) (export \"wasi:cli/run@0.2.0\" (instance $i)))")
            .unwrap();
    let exports = vec!["wasi:cli/run@0.2.0".to_owned()];
    assert_eq!(refusal(&other), ShapeError::NoPolicy { exports });
    let two = wat::parse_str(
        "(component (instance $i)
            (export \"loadmaster:policy/scoring@0.1.0\" (instance $i))
            (export \"loadmaster:policy/admission@0.1.0\" (instance $i)))",
    )
    .unwrap();
    assert!(matches!(refusal(&two), ShapeError::SeveralPolicies { .. }));
    // The right name without the right functions.
    let hollow = wat::parse_str(
        "(component (instance $i) (export \"loadmaster:policy/scoring@0.1.0\" (instance $i)))",
    )
    .unwrap();
    let error = prepare(&hollow).unwrap_err();
    assert!(
        matches!(
            error,
            PrepareError::WrongTypes {
                kind: PolicyKind::Scoring,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn exports_that_interpreter_tool_chains_add_are_tolerated() {
    let bytes = component(
        &ScoringGuest::default()
            .wat()
            .replace("(global $heap", "(func (export \"init\")) (global $heap"),
        "scoring-policy",
        |text| text.replace("export scoring;", "export scoring; export init: func();"),
    );
    let report = inspect(&bytes, Profile::Standard).unwrap();
    assert!(report.shape.exports.contains(&"init".to_owned()));
    assert!(prepare(&bytes).is_ok());
}

#[test]
fn every_limit_names_itself_and_the_place() {
    let many = |n: usize, text: &str| text.repeat(n);
    let nested = |n: usize| format!("{}{}", many(n, "(block "), many(n, ")"));
    let cases = [
        (
            Limit::Params,
            format!("(module (type (func (param {}))))", many(65, "i32 ")),
        ),
        (
            Limit::Results,
            "(module (type (func (result i32 i32))))".to_owned(),
        ),
        (
            Limit::Locals,
            format!("(module (func (local {})))", many(1_001, "i32 ")),
        ),
        (Limit::Loops, loop_bomb(501)),
        (
            Limit::BlockNesting,
            format!("(module (func {}))", nested(257)),
        ),
        (
            Limit::BrTableTargets,
            format!(
                "(module (func (br_table {} 0 (i32.const 0))))",
                many(4_097, "0 ")
            ),
        ),
        (
            Limit::BodyBytes,
            format!("(module (func {}))", many(65 << 10, "(nop)")),
        ),
        (
            Limit::Functions,
            format!("(module {})", many(20_001, "(func)")),
        ),
        (
            Limit::Segments,
            format!(
                "(module (memory 1) {})",
                many(10_001, "(data (i32.const 0) \"\")")
            ),
        ),
        (Limit::MemoryBytes, "(module (memory 255))".to_owned()),
        (
            Limit::TableElements,
            "(module (table 10001 funcref))".to_owned(),
        ),
    ];
    for (expected, core) in cases {
        let bytes = carrying(&core);
        match refusal(&bytes) {
            ShapeError::Limit {
                limit, value, max, ..
            } => {
                assert_eq!(limit, expected);
                assert!(value > max, "{limit}: {value} of {max}");
            }
            other => panic!("{expected}: {other}"),
        }
    }
    // Nothing but the amount is wrong with them.
    for core in [loop_bomb(500), format!("(module (func {}))", nested(255))] {
        assert!(inspect(&carrying(&core), Profile::Standard).is_ok());
    }

    let bytes = carrying("(module (func) (func (loop)) (func (local i64)))");
    let base = inspect(&bytes, Profile::Standard).unwrap().shape.amounts;
    let bomb = carrying(&format!("(module (func) (func {}))", many(501, "(loop)")));
    let error = refusal(&bomb);
    let place = Place {
        module: base.modules - 1,
        function: Some(1),
    };
    assert!(
        matches!(&error, ShapeError::Limit { place: p, .. } if *p == place),
        "{error}"
    );
}

#[test]
fn too_many_modules_and_too_deep_a_nest_are_refused() {
    let empty = wat::parse_str("(module)").unwrap();
    let bytes = append(&ScoringGuest::default().component(), &vec![empty; 9], 0);
    assert!(matches!(
        refusal(&bytes),
        ShapeError::Limit {
            limit: Limit::Modules,
            ..
        }
    ));
    let deep = wat::parse_str(format!(
        "(component {}{})",
        "(component ".repeat(9),
        ")".repeat(9)
    ))
    .unwrap();
    assert!(matches!(
        refusal(&deep),
        ShapeError::Limit {
            limit: Limit::Nesting,
            ..
        }
    ));
}

#[test]
fn a_description_that_breaks_the_contract_is_refused_with_its_rule() {
    use DescriptionError as E;
    let refused = |guest: ScoringGuest| match prepare(&guest.component()).unwrap_err() {
        PrepareError::Description(error) => error,
        other => panic!("{other}"),
    };
    for name in ["", "Upper", "9lives", "a_b", "a b", &"x".repeat(64)] {
        let guest = ScoringGuest {
            name: name.to_owned(),
            ..ScoringGuest::default()
        };
        assert!(matches!(refused(guest), E::Name { .. }), "{name:?}");
    }
    for version in ["", "1", "1.2", "v1.2.3", "1.2.3.4"] {
        let guest = ScoringGuest {
            version: version.to_owned(),
            ..ScoringGuest::default()
        };
        assert!(matches!(refused(guest), E::Version { .. }), "{version:?}");
    }
    for schema in ["", "[]", "{", "true"] {
        let guest = ScoringGuest {
            schema: schema.to_owned(),
            ..ScoringGuest::default()
        };
        assert!(matches!(refused(guest), E::Schema { .. }), "{schema:?}");
    }
    let guest = ScoringGuest {
        columns: vec!["cpu-free", "cpu-phree"],
        ..ScoringGuest::default()
    };
    let column = "cpu-phree".to_owned();
    assert_eq!(refused(guest), E::UnknownColumn { column });
    let guest = ScoringGuest {
        columns: vec!["row", "zone", "row"],
        ..ScoringGuest::default()
    };
    assert_eq!(refused(guest), E::DuplicateColumn { column: "row" });
}

#[test]
fn inspection_says_what_a_component_may_do() {
    let report = inspect(&ScoringGuest::default().component(), Profile::Standard).unwrap();
    assert_eq!(report.shape.contract.kind, PolicyKind::Scoring);
    assert_eq!(report.shape.contract.version, "0.1.0");
    assert_eq!(report.shape.exports, ["loadmaster:policy/scoring@0.1.0"]);
    assert_eq!(
        report.capabilities,
        [
            "scores nodes for a pod and chooses devices",
            "has no file, network, clock, random source or environment",
        ]
    );
    assert!(
        report
            .limits
            .iter()
            .all(|(_, found, allowed)| found <= allowed)
    );
}
