//! Rules about the text of the repository itself.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("a workspace around us").to_owned()
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let skip = ["target", ".git", "node_modules"];
        if skip.iter().any(|s| name.to_str() == Some(s)) {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn sources(extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .filter_map(|p| {
            let text = std::fs::read_to_string(&p).ok()?;
            Some((p.strip_prefix(root()).ok()?.to_owned(), text))
        })
        .collect()
}

/// The engine's promise, as absences: none of these words may occur in it.
#[test]
fn the_core_touches_nothing_outside() {
    let forbidden = [
        "std::time",
        "Instant::now",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "std::process",
        "rand::",
        "thread_rng",
        ".keys().next()",
    ];
    let core = ["host/model/src", "host/engine/src"];
    let mut seen = 0;
    for (path, text) in sources("rs") {
        let name = path.display().to_string();
        if !core.iter().any(|c| name.contains(c)) || name.contains("tests") {
            continue;
        }
        seen += 1;
        for word in forbidden {
            assert!(!text.contains(word), "{name} uses {word}");
        }
    }
    assert!(seen > 20, "only {seen} files of the core were found");
}

/// Hash maps may be looked up in, never walked: their order differs by run.
#[test]
fn the_core_never_walks_a_hash_map() {
    for (path, text) in sources("rs") {
        let name = path.display().to_string();
        if !name.contains("host/engine/src") || name.contains("tests") {
            continue;
        }
        let maps: Vec<&str> = text
            .lines()
            .filter(|l| l.contains(": HashMap<"))
            .filter_map(|l| l.trim().trim_start_matches("pub(crate) ").split(':').next())
            .collect();
        for map in maps {
            for walk in [".iter()", ".keys()", ".values()", ".drain(", ".into_iter()"] {
                let text = text.replace("\n            ", "").replace("\n        ", "");
                let found = text.matches(&format!("self.{map}{walk}")).count();
                // `cache` evicts by a unique number, so order cannot show.
                let allowed = usize::from(name.ends_with("cache.rs"));
                assert!(found <= allowed, "{name} walks the hash map {map}");
            }
        }
    }
}

#[test]
fn no_machine_paths_and_no_leftovers() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/fa", "rm/"),
        concat!("/ro", "ot/"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("unimple", "mented!("),
        concat!("to", "do!("),
    ];
    for extension in ["rs", "toml", "md", "wit", "js", "html", "css", "sh"] {
        for (path, text) in sources(extension) {
            for word in words {
                let line = text.lines().position(|l| l.contains(word));
                if let Some(line) = line {
                    panic!("{}:{} contains {word}", path.display(), line + 1);
                }
            }
        }
    }
}

/// A file that needs "and" to describe it should be two.
#[test]
fn files_stay_readable() {
    for (path, text) in sources("rs") {
        let lines = text.lines().count();
        assert!(lines <= 700, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_plugin_reads_alike() {
    for plugin in [
        "binpack",
        "spread",
        "gpu-topology-packer",
        "pre-scaler",
        "shortest-service",
        "guardrails",
        "defaults",
        "quota-admission",
        "deadline-admission",
        "fair-preemption",
        "gang-packer",
    ] {
        let dir = root().join("plugins").join(plugin);
        let readme = std::fs::read_to_string(dir.join("README.md")).expect(plugin);
        let mut at = 0;
        for heading in [
            "## Overview",
            "## Typical use case",
            "## Production ready?",
            "## Tuning",
        ] {
            let found = readme[at..].find(heading);
            at += found
                .unwrap_or_else(|| panic!("{plugin}/README.md: {heading} missing or out of order"));
        }
        let schema = std::fs::read_to_string(dir.join("settings.schema.json")).expect(plugin);
        let schema: serde_json::Value = serde_json::from_str(&schema).expect(plugin);
        assert_eq!(schema["additionalProperties"], false, "{plugin}");
    }
}
