//! Compiles the shipped policies to components and embeds them, so that the
//! binary works without a file beside it.
//!
//! The policies are built from this workspace's sources by the same cargo, into
//! a target directory of their own: the one outside is locked while we run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

/// Shipped policies and their kinds.
const POLICIES: [(&str, &str); 11] = [
    ("binpack", "Scoring"),
    ("spread", "Scoring"),
    ("gpu-topology-packer", "Scoring"),
    ("quota-admission", "Admission"),
    ("guardrails", "Admission"),
    ("defaults", "Admission"),
    ("deadline-admission", "Admission"),
    ("shortest-service", "Admission"),
    ("fair-preemption", "Preemption"),
    ("gang-packer", "Preemption"),
    ("pre-scaler", "Autoscaling"),
];

fn main() {
    let root = root();
    for watched in ["plugins", "sdk/rust", "wit", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(var("OUT_DIR"));
    ensure_target();
    let built = build(&root, &out.join("policies"));
    let mut source = String::from("&[\n");
    for (name, kind) in POLICIES {
        let wasm = built.join(format!("{}.wasm", name.replace('-', "_")));
        assert!(wasm.exists(), "cargo did not produce {}", wasm.display());
        source.push_str(&format!(
            "    Bundled {{ name: {name:?}, kind: PolicyKind::{kind}, wasm: include_bytes!({wasm:?}) }},\n"
        ));
    }
    source.push_str("]\n");
    let table = out.join("bundled.rs");
    std::fs::write(&table, source).unwrap_or_else(|e| panic!("{}: {e}", table.display()));
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}

fn root() -> PathBuf {
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    match here.ancestors().nth(2) {
        Some(root) => root.to_owned(),
        None => panic!("{} is not inside the workspace", here.display()),
    }
}

/// The wasm target is a download of 20 MB that a stock toolchain lacks. Where
/// rustup may not install things by itself (`RUSTUP_AUTO_INSTALL=0`), asking it
/// to still works.
fn ensure_target() {
    let sysroot = Command::new(var("RUSTC"))
        .args(["--print", "sysroot"])
        .output()
        .ok()
        .and_then(|o| String::from_utf8(o.stdout).ok())
        .unwrap_or_default();
    let std = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib");
    if std.exists() {
        return;
    }
    println!("cargo::warning=policies are WebAssembly: running `rustup target add {TARGET}`");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]);
    if let Ok(toolchain) = env::var("RUSTUP_TOOLCHAIN") {
        rustup.args(["--toolchain", &toolchain]);
    }
    let done = rustup.status().is_ok_and(|s| s.success());
    assert!(
        done && std.exists(),
        "the Rust target {TARGET} is missing and rustup could not add it.\n\
         hint: install it with your toolchain's package manager, or run\n\
         hint:   rustup target add {TARGET}"
    );
}

fn build(root: &Path, target_dir: &Path) -> PathBuf {
    let mut cargo = Command::new(var("CARGO"));
    cargo
        .current_dir(root)
        .args([
            "build",
            "--locked",
            "--target",
            TARGET,
            "--profile",
            "policy",
        ])
        .arg("--target-dir")
        .arg(target_dir);
    for (name, _) in POLICIES {
        cargo.args(["-p", name]);
    }
    // What was set for the host must not leak into the guest's build, and what
    // is needed there must not depend on where the sources are: panic messages
    // carry paths, and digests should not differ by machine.
    for (name, _) in env::vars() {
        let ours = name.starts_with("CARGO_")
            && !matches!(name.as_str(), "CARGO_HOME" | "CARGO_TERM_COLOR")
            && !name.starts_with("CARGO_NET_")
            && !name.starts_with("CARGO_HTTP_")
            && !name.starts_with("CARGO_REGISTR");
        if ours
            || matches!(
                name.as_str(),
                "RUSTFLAGS"
                    | "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "CLIPPY_ARGS"
                    | "TARGET"
                    | "HOST"
            )
        {
            cargo.env_remove(&name);
        }
    }
    let home = env::var("CARGO_HOME")
        .or_else(|_| env::var("HOME").map(|h| format!("{h}/.cargo")))
        .unwrap_or_default();
    let flags = [
        "-Ctarget-feature=+simd128".to_owned(),
        format!("--remap-path-prefix={home}=/cargo"),
        format!("--remap-path-prefix={}=/loadmaster", root.display()),
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let status = cargo
        .status()
        .unwrap_or_else(|e| panic!("cannot run cargo for the policies: {e}"));
    assert!(
        status.success(),
        "the policies did not build; the errors are above.\n\
         hint: cargo build -p binpack --target {TARGET} --profile policy"
    );
    target_dir.join(TARGET).join("policy")
}
