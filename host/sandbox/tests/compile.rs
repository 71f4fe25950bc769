//! The second wall: what the filter lets through, or would if it were not there.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sandbox::limits::CompileLimits;
use sandbox::shape::Limit;
use sandbox::{
    ArtifactKey, CompileError, Compiler, PrepareError, Profile, Sandbox, SandboxConfig, ShapeError,
};
use support::*;

/// Small, so that a bomb is over in seconds.
const TIGHT: CompileLimits = CompileLimits {
    address_space_bytes: 512 << 20,
    cpu_seconds: 2,
    // The child runs at the lowest priority: on a busy machine it waits.
    wall: Duration::from_secs(300),
    artifact_bytes: 64 << 20,
};

fn limit_of(component: &[u8]) -> Limit {
    match prepare(component).unwrap_err() {
        PrepareError::Shape(ShapeError::Limit { limit, .. }) => limit,
        other => panic!("{other}"),
    }
}

#[test]
fn the_8_kb_amplifier_stops_at_the_filter_and_at_the_configuration() {
    let module = wat::parse_str(amplifier()).unwrap();
    assert!((7_500..8_500).contains(&module.len()), "{}", module.len());
    let component = carrying(&amplifier());
    assert_eq!(limit_of(&component), Limit::Params);
    let error = sandbox()
        .compile_unfiltered(&component, &TIGHT)
        .unwrap_err();
    assert!(matches!(error, CompileError::Invalid { .. }), "{error}");
}

#[test]
fn bombs_that_are_valid_die_in_the_child_and_this_process_goes_on() {
    let loops = carrying(&loop_bomb(97_000));
    assert_eq!(limit_of(&loops), Limit::BodyBytes);
    let error = sandbox().compile_unfiltered(&loops, &TIGHT).unwrap_err();
    assert!(
        matches!(
            error,
            CompileError::CpuTime { limit_s: 2 } | CompileError::OutOfMemory { .. }
        ),
        "{error}"
    );

    // Every local is carried through every loop.
    let locals = carrying(&format!(
        "(module (func (param i32) (local {}) {} {}))",
        "i64 ".repeat(2_000),
        "(loop (br_if 0 (local.get 0)))".repeat(3_000),
        (1..=2_000)
            .map(|i| format!("(drop (local.get {i})) (local.set {i} (i64.const 1))"))
            .collect::<String>(),
    ));
    let little = CompileLimits {
        address_space_bytes: 192 << 20,
        cpu_seconds: 20,
        ..TIGHT
    };
    let error = sandbox().compile_unfiltered(&locals, &little).unwrap_err();
    assert!(matches!(error, CompileError::OutOfMemory { .. }), "{error}");

    assert!(prepare(&ScoringGuest::default().component()).is_ok());
}

#[test]
fn what_is_not_valid_comes_back_with_the_compilers_words() {
    let bad = carrying("(module (func (result i32) (i64.const 1)))");
    let PrepareError::Compile(CompileError::Invalid { message }) = prepare(&bad).unwrap_err()
    else {
        panic!("not a refusal by the compiler");
    };
    assert!(message.contains("type mismatch"), "{message}");
}

/// A sandbox whose compile child is this shell script.
fn with_child(dir: &TempDir, script: &str) -> Sandbox {
    let path = dir.0.join("child.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    Sandbox::new(SandboxConfig {
        compiler: Compiler::Exe(path),
        ..SandboxConfig::default()
    })
    .unwrap()
}

#[test]
fn a_child_that_hangs_crashes_floods_or_lies_is_named() {
    let component = ScoringGuest::default().component();
    let dir = TempDir::new("child");
    let fast = CompileLimits {
        wall: Duration::from_millis(300),
        artifact_bytes: 1 << 20,
        ..TIGHT
    };
    let compile =
        |script: &str, limits| with_child(&dir, script).compile_unfiltered(&component, limits);
    let error = compile("exec sleep 60", &fast).unwrap_err();
    assert!(
        matches!(error, CompileError::WallTime { limit_ms: 300 }),
        "{error}"
    );
    let error = compile("echo 'cannot go on' >&2; exit 101", &TIGHT).unwrap_err();
    assert!(
        matches!(&error, CompileError::Crashed { message, .. } if message == "cannot go on"),
        "{error}"
    );
    let error = compile("kill -SEGV $$", &TIGHT).unwrap_err();
    assert!(matches!(error, CompileError::Crashed { .. }), "{error}");
    let flood = CompileLimits {
        wall: Duration::from_secs(30),
        ..fast
    };
    let error = compile("exec cat /dev/zero", &flood).unwrap_err();
    assert!(
        matches!(error, CompileError::ArtifactTooLarge { .. }),
        "{error}"
    );

    let liar = with_child(&dir, "cat >/dev/null; echo not machine code");
    let error = liar.prepare(&component, Profile::Standard).unwrap_err();
    assert!(matches!(error, PrepareError::NotLoaded { .. }), "{error}");
}

#[test]
fn a_missing_child_is_our_failure_not_the_components() {
    let sandbox = no_compiler(None, ArtifactKey::from_bytes([1; 32]));
    let component = ScoringGuest::default().component();
    let PrepareError::Compile(error) = sandbox.prepare(&component, Profile::Standard).unwrap_err()
    else {
        panic!("compiled without a compiler");
    };
    assert!(!error.is_the_components(), "{error}");
}

fn no_compiler(cache: Option<&TempDir>, key: ArtifactKey) -> Sandbox {
    Sandbox::new(SandboxConfig {
        compiler: Compiler::Exe("/nonexistent/compiler".into()),
        cache_dir: cache.map(|dir| dir.0.clone()),
        key: Some(key),
        ..SandboxConfig::default()
    })
    .unwrap()
}

#[test]
fn a_cached_artifact_loads_only_intact_and_under_our_key() {
    let dir = TempDir::new("cache");
    let key = ArtifactKey::from_bytes([7; 32]);
    let component = ScoringGuest::default().component();
    let first = Sandbox::new(SandboxConfig {
        compiler: Compiler::Exe(compile_child()),
        cache_dir: Some(dir.0.clone()),
        key: Some(key.clone()),
        ..SandboxConfig::default()
    })
    .unwrap();
    first.prepare(&component, Profile::Standard).unwrap();
    let files: Vec<_> = std::fs::read_dir(&dir.0)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    let [file] = files.as_slice() else {
        panic!("one artifact, no temporary file: {files:?}");
    };
    let whole = std::fs::read(file).unwrap();

    // Without a compiler, prepare succeeds exactly when the file is loaded.
    let later = no_compiler(Some(&dir), key);
    later.prepare(&component, Profile::Standard).unwrap();
    let stranger = no_compiler(Some(&dir), ArtifactKey::from_bytes([8; 32]));
    assert!(stranger.prepare(&component, Profile::Standard).is_err());

    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut loaded = 0;
    for _ in 0..200 {
        // xorshift64: the same bits on every run.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let bit = (seed % (whole.len() as u64 * 8)) as usize;
        let mut bent = whole.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(file, bent).unwrap();
        loaded += usize::from(later.prepare(&component, Profile::Standard).is_ok());
    }
    assert_eq!(loaded, 0, "of 200 files with one bit flipped");

    // Compiled again, and whole again.
    first.prepare(&component, Profile::Standard).unwrap();
    later.prepare(&component, Profile::Standard).unwrap();
}

#[test]
fn compiling_in_process_gives_the_same_machine_code() {
    let component = ScoringGuest::default().component();
    let inside = Sandbox::new(SandboxConfig {
        compiler: Compiler::InProcess,
        ..SandboxConfig::default()
    })
    .unwrap();
    let limits = Profile::Standard.compile();
    assert_eq!(
        inside.compile_unfiltered(&component, &limits).unwrap(),
        sandbox().compile_unfiltered(&component, &limits).unwrap(),
    );
    assert_eq!(inside.fingerprint(), sandbox().fingerprint());
    inside.prepare(&component, Profile::Standard).unwrap();
}
