//! The processes below a shim: what they used, where there is no control group to ask.
//!
//! The shim is the subreaper of its instance, so what it has waited for, and what still lives below
//! it, is everything. Parents are read before their children: a process that ends in between is then
//! missed for a moment, and never counted twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::file::Buffer;
use super::proc::{self, Process};

/// The most processes looked at in one scan; a kernel has no more ids.
const PROCESSES_MAX: usize = 4_194_304;
/// The size of a page where the system does not tell.
const PAGE_BYTES: u64 = 4096;

/// What a tree of processes used so far, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TreeUse {
    /// CPU time in clock ticks.
    pub(super) ticks: u64,
    /// Resident memory; pages shared by two processes count twice.
    pub(super) bytes: u64,
}

/// Who descends from whom, at one moment.
#[derive(Debug, Default)]
pub(super) struct Processes {
    root: PathBuf,
    children: BTreeMap<u32, Vec<(u32, u64)>>,
}

impl Processes {
    /// Looks at every process once.
    pub(super) fn scan(proc_root: &Path, buffer: &mut Buffer) -> Self {
        let mut found = Self { root: proc_root.to_owned(), children: BTreeMap::new() };
        for entry in fs::read_dir(proc_root).into_iter().flatten().flatten().take(PROCESSES_MAX) {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            // A process may end while it is looked at; then it is simply not there.
            if let Some(pid) = pid
                && let Some(process) = found.look(pid, buffer)
            {
                let child = (pid, process.start_ticks);
                found.children.entry(process.parent).or_default().push(child);
            }
        }
        found
    }

    /// Sums up what runs, and has run, below a shim; `None` when the shim is gone.
    pub(super) fn below(&self, shim: (u32, u64), buffer: &mut Buffer) -> Option<TreeUse> {
        // The shim's own time is the agent's business.
        let top = self.same(shim, buffer)?;
        let mut used = TreeUse { ticks: top.children_ticks, bytes: 0 };
        let mut seen = BTreeSet::from([shim.0]);
        let mut parents = VecDeque::from([shim.0]);
        while let Some(parent) = parents.pop_front() {
            for child in self.children.get(&parent).into_iter().flatten() {
                if !seen.insert(child.0) {
                    continue;
                }
                parents.push_back(child.0);
                let Some(process) = self.same(*child, buffer) else { continue };
                let ticks = process.own_ticks.saturating_add(process.children_ticks);
                used.ticks = used.ticks.saturating_add(ticks);
                let bytes = process.rss_pages.saturating_mul(page_bytes());
                used.bytes = used.bytes.saturating_add(bytes);
            }
        }
        Some(used)
    }

    /// Reads a process, unless its id belongs to a later one by now.
    fn same(&self, (pid, start_ticks): (u32, u64), buffer: &mut Buffer) -> Option<Process> {
        self.look(pid, buffer).filter(|process| process.start_ticks == start_ticks)
    }

    fn look(&self, pid: u32, buffer: &mut Buffer) -> Option<Process> {
        let file = File::open(self.root.join(format!("{pid}/stat"))).ok()?;
        proc::process(&String::from_utf8_lossy(buffer.fill(&file).ok()?))
    }
}

fn page_bytes() -> u64 {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    page.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, parent: u32, ticks: (u64, u64), start: u64) -> String {
        let (own, children) = ticks;
        format!(
            "{pid} (w) S {parent} 1 1 0 -1 0 0 0 0 0 {own} 0 {children} 0 20 0 1 0 {start} 9 2 0"
        )
    }

    fn machine(processes: &[String]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for text in processes {
            let pid = text.split(' ').next().unwrap();
            fs::create_dir(dir.path().join(pid)).unwrap();
            fs::write(dir.path().join(pid).join("stat"), text).unwrap();
        }
        dir
    }

    #[test]
    fn what_lives_and_what_was_waited_for_is_counted() {
        let dir = machine(&[
            stat(10, 1, (7, 100), 50),
            stat(11, 10, (20, 3), 60),
            stat(12, 11, (4, 0), 61),
            stat(13, 1, (1000, 0), 62),
        ]);
        let mut buffer = Buffer::new();
        let processes = Processes::scan(dir.path(), &mut buffer);
        let used = processes.below((10, 50), &mut buffer);
        assert_eq!(used, Some(TreeUse { ticks: 127, bytes: 4 * page_bytes() }));
        assert_eq!(processes.below((10, 51), &mut buffer), None, "another process has its id");
        assert_eq!(processes.below((99, 1), &mut buffer), None);
    }

    #[test]
    fn a_process_that_ends_during_the_scan_is_never_counted_twice() {
        let dir = machine(&[
            stat(10, 1, (0, 0), 50),
            stat(11, 10, (500, 0), 60),
            stat(12, 11, (9, 0), 61),
        ]);
        let mut buffer = Buffer::new();
        let processes = Processes::scan(dir.path(), &mut buffer);
        // Between the look at all processes and the sum, 11 ends and the shim waits for it.
        fs::remove_dir_all(dir.path().join("11")).unwrap();
        fs::write(dir.path().join("10/stat"), stat(10, 1, (0, 500), 50)).unwrap();
        let used = processes.below((10, 50), &mut buffer).unwrap();
        assert_eq!(used.ticks, 509, "its child lives on and is counted");
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let dir = machine(&[stat(10, 11, (0, 5), 50), stat(11, 10, (1, 0), 60)]);
        let mut buffer = Buffer::new();
        let processes = Processes::scan(dir.path(), &mut buffer);
        assert_eq!(processes.below((10, 50), &mut buffer).unwrap().ticks, 6);
    }
}
