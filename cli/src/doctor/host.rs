//! The machine that is looked at: its files below a root.

use std::fs;
use std::path::{Path, PathBuf};

/// A machine.
#[derive(Clone, Debug)]
pub(super) struct Host {
    root: PathBuf,
    alive: bool,
}

impl Host {
    /// Looks at this machine, or at the files of another one.
    pub(super) fn new(root: Option<PathBuf>) -> Self {
        let alive = root.is_none();
        Self { root: root.unwrap_or_else(|| PathBuf::from("/")), alive }
    }

    /// Says whether it is the machine that we run on.
    pub(super) const fn is_alive(&self) -> bool {
        self.alive
    }

    /// Returns where a file of the machine is.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Reads a file; nothing when there is none.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.path(Path::new(path))).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads a number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }

    /// Returns the names in a directory, in order; none when there is no such directory.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(Path::new(path))).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    /// Says whether there is such a file or directory.
    pub(super) fn has(&self, path: &str) -> bool {
        self.path(Path::new(path)).exists()
    }
}
