//! Sweeps up after a test that failed: ends the processes that are of a stage's directory, and its control
//! groups with all that is in them. It touches nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often it is looked whether everything has ended, and how long between: a second in all.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// Ends everything, and looks until it has ended.
pub(crate) fn sweep(dir: &Path, groups: impl Fn() -> Vec<PathBuf>) {
    for _ in 0..ROUNDS {
        let mut found = of_directory(dir);
        for group in groups() {
            empty(&group, &mut found);
        }
        if found.is_empty() && groups().is_empty() {
            return;
        }
        for pid in found {
            // One that has ended meanwhile is what is wanted.
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns what is in a group or below it, and removes those in which nothing is.
fn empty(group: &Path, found: &mut Vec<i32>) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            empty(&entry.path(), found);
        }
    }
    let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(inside.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0));
    drop(fs::remove_dir(group));
}

/// Returns the processes that work in a directory or were started with its name, and their descendants.
fn of_directory(dir: &Path) -> Vec<i32> {
    let mut parents = BTreeMap::new();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let at = entry.path();
        let stat = fs::read_to_string(at.join("stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        let Some(parent) = after.and_then(|mut rest| rest.nth(1)?.parse::<i32>().ok()) else {
            continue;
        };
        parents.insert(pid, parent);
        let inside = fs::read_link(at.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        let line = fs::read(at.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if inside || line.split('\0').any(|word| Path::new(word).starts_with(dir)) {
            found.push(pid);
        }
    }
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid);
        let children: Vec<i32> = children.filter(|pid| !found.contains(pid)).collect();
        found.extend(children);
        next += 1;
    }
    let ourselves = i32::try_from(std::process::id()).unwrap_or_default();
    found.retain(|pid| *pid != ourselves && is_running(*pid));
    found
}

fn is_running(pid: i32) -> bool {
    u32::try_from(pid).is_ok_and(super::is_alive)
}
