//! The walls of the house, checked by reading its manifests and sources.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).unwrap().parse().unwrap()
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let table = manifest(folder);
    table
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .map_or_else(BTreeSet::new, |deps| deps.keys().cloned().collect())
}

fn members() -> Vec<String> {
    let table = manifest(".");
    let members = table["workspace"]["members"].as_array().unwrap();
    members.iter().map(|m| m.as_str().unwrap().to_owned()).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn dependencies_point_inward() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", [].as_slice()),
        ("scheduler/engine", &["tengyun-model"]),
        ("proto", &["tengyun-model"]),
        ("daemon", &[]),
        ("scheduler", &["tengyun-model", "tengyun-engine", "tengyun-proto", "tengyun-daemon"]),
        ("agent", &["tengyun-model", "tengyun-proto", "tengyun-daemon"]),
        ("lab", &["tengyun-model", "tengyun-engine"]),
    ]);
    for (folder, allowed) in allowed {
        let ours: BTreeSet<String> =
            dependencies(folder).into_iter().filter(|d| d.starts_with("tengyun")).collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|s| (*s).to_owned()).collect();
        assert!(ours.is_subset(&allowed), "{folder} depends on {:?}", ours.difference(&allowed));
    }
}

#[test]
fn the_model_depends_on_nothing() {
    assert_eq!(dependencies("model"), BTreeSet::new());
}

#[test]
fn the_engine_depends_on_no_crate_that_does_io() {
    let short_list = ["tengyun-model", "slotmap", "hashbrown", "fixedbitset", "smallvec"];
    for dependency in dependencies("scheduler/engine") {
        assert!(short_list.contains(&dependency.as_str()), "the engine depends on {dependency}");
    }
}

#[test]
fn every_member_takes_the_lints_of_the_workspace() {
    for member in members() {
        let table = manifest(&member);
        let inherits = table.get("lints").and_then(|l| l.get("workspace"));
        assert_eq!(inherits, Some(&toml::Value::Boolean(true)), "{member} has its own lints");
    }
}

#[test]
fn every_source_says_what_it_is_and_stays_readable() {
    const LINES_MAX: usize = 600;
    for member in members() {
        let mut files = Vec::new();
        sources(&root().join(&member).join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//!"), "{} does not open with //!", file.display());
            assert_ne!(file.file_name().unwrap(), "mod.rs", "{}", file.display());
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let lines = code.lines().count();
            assert!(lines <= LINES_MAX, "{} has {lines} lines: split it", file.display());
        }
    }
}

#[test]
fn only_commit_applies_entries_to_the_state() {
    let mut files = Vec::new();
    sources(&root().join("scheduler/src"), &mut files);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(
            name == "commit.rs" || !code.contains(".apply(&"),
            "{} applies entries; only commit.rs may",
            file.display()
        );
    }
}

/// The words in backquotes that look like names of tests.
fn named_tests(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let named = quoted.filter(|word| {
        word.matches('_').count() >= 3
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    named.map(str::to_owned).collect()
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let mut files = Vec::new();
    for member in members() {
        sources(&root().join(&member), &mut files);
    }
    // This file speaks of claims without making one.
    files.retain(|file| !file.ends_with("tests/tests/architecture.rs"));
    let texts: Vec<String> = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    let mut named = named_tests(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    assert!(named.len() >= 20, "the table of invariants was not found");
    for text in &texts {
        for (at, _) in text.match_indices("Invariant: ") {
            // A claim and the name of its test are a few lines.
            let claim: String = text[at..].lines().take(4).collect::<Vec<_>>().join(" ");
            let tests = named_tests(&claim);
            let by_file = claim.contains(".rs`");
            assert!(by_file || !tests.is_empty(), "names no test: {claim}");
            named.extend(tests);
        }
    }
    let own = include_str!("architecture.rs").to_owned();
    for name in named {
        let marker = format!("fn {name}(");
        let found = texts.iter().chain([&own]).any(|text| text.contains(&marker));
        assert!(found, "no test is called {name}");
    }
}

/// The packages of the lock file that depend on one.
fn users_of<'a>(lock: &'a toml::Table, name: &'a str) -> impl Iterator<Item = &'a str> {
    let packages = lock["package"].as_array().unwrap().iter();
    let uses = move |package: &&toml::Value| {
        let dependencies = package.get("dependencies").and_then(toml::Value::as_array);
        let named = |d: &toml::Value| d.as_str().is_some_and(|d| d.split(' ').next() == Some(name));
        dependencies.is_some_and(|d| d.iter().any(named))
    };
    packages.filter(uses).filter_map(|package| package["name"].as_str())
}

#[test]
fn banned_and_unregistered_crates_stay_out() {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let users: Vec<&str> = users_of(&lock, name).collect();
        if name == "chrono" && users == ["parquet"] {
            // For its record types, which nobody uses: decision 0007.
            continue;
        }
        for banned in ["openssl", "openssl-sys", "tokio-tar", "serde_yaml", "chrono"] {
            assert_ne!(name, banned, "see deny.toml");
        }
        if let Some(source) = package.get("source").and_then(toml::Value::as_str) {
            assert!(source.starts_with("registry+"), "{name} comes from {source}");
        }
    }
}
