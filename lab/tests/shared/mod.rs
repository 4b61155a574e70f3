//! Recorded traces, which may not be shipped: they lie beside the project, or where
//! `TENGYUN_LAB_REFERENCE` names the directory that holds `traces`, which turns a skip into a failure.

use std::path::{Path, PathBuf};

use tengyun_lab::trace::{Trace, parquet};

/// Returns the directory with `traces` and `reference`, and whether it must be complete.
pub(crate) fn directory() -> (PathBuf, bool) {
    let forced = std::env::var_os("TENGYUN_LAB_REFERENCE");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let must = forced.is_some();
    (forced.map_or(beside, Into::into), must)
}

/// Reads a recorded trace; says that the test is skipped where it is not there.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn trace(name: &str) -> Option<Trace> {
    let (directory, must) = directory();
    let directory = directory.join("traces").join(name);
    if !directory.is_dir() {
        assert!(!must, "{} is missing", directory.display());
        println!("skipped: the shared traces are not here");
        return None;
    }
    Some(parquet::read(&directory).expect("a recorded trace"))
}
