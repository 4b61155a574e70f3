//! The sampler: reads counters from files that it keeps open, into one buffer that it keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tengyun_model::{At, Incarnation, InstanceId, Mebibytes, Millis};

use super::proc::{self, Process, TICK_NANOS};
use crate::run::cgroup::CpuUnit;

/// The most that is read of one file: `/proc/stat` of a server with 1,000 CPUs fits.
const FILE_BYTES_MAX: usize = 256 * 1024;
/// The most processes looked at in one scan; a kernel has no more ids.
const PROCESSES_MAX: usize = 4_194_304;
const MEBIBYTE: u64 = 1024 * 1024;

/// Names one start of one instance.
pub(crate) type Key = (InstanceId, Incarnation);

/// Where the use of an instance, or of the whole node, is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its control group: exact.
    Group {
        /// The cumulative CPU counter.
        cpu: PathBuf,
        /// What it counts in.
        unit: CpuUnit,
        /// Memory in use, where there is a memory controller.
        memory: Option<PathBuf>,
        /// Its parts, to leave out file cache that can be dropped.
        memory_stat: Option<PathBuf>,
    },
    /// The processes below its shim: approximate.
    Tree {
        /// The shim.
        shim: u32,
        /// Its start, so that a reused process id is not mistaken for it.
        start_ticks: u64,
    },
}

/// What was used so far, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// CPU time since the beginning.
    pub(crate) cpu_nanos: u64,
    /// Working set.
    pub(crate) memory: Mebibytes,
}

/// Raw counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// On the monotonic clock.
    pub(crate) monotonic: Millis,
    /// On the wall clock.
    pub(crate) wall: At,
    /// Busy time of all CPUs of the machine.
    pub(crate) busy_nanos: Option<u64>,
    /// Memory in use on the machine.
    pub(crate) memory_used: Mebibytes,
    /// Waiting for CPU, per mille.
    pub(crate) pressure_cpu: Option<u32>,
    /// The group that holds every instance.
    pub(crate) node: Option<Reading>,
    /// Every instance whose counters could be read.
    pub(crate) instances: BTreeMap<Key, Reading>,
}

/// Reads samples.
#[derive(Debug)]
pub(crate) struct Sampler {
    proc_root: PathBuf,
    stat: Option<File>,
    meminfo: Option<File>,
    pressure: Option<File>,
    node: Option<Open>,
    instances: BTreeMap<Key, Open>,
    buffer: Vec<u8>,
}

impl Sampler {
    /// Opens the machine's files and, if there is one, the group that holds every instance.
    pub(crate) fn new(proc_root: &Path, node: Option<&Source>) -> Self {
        let open = |name: &str| File::open(proc_root.join(name)).ok();
        Self {
            proc_root: proc_root.to_owned(),
            stat: open("stat"),
            meminfo: open("meminfo"),
            pressure: open("pressure/cpu"),
            node: node.map(Open::new),
            instances: BTreeMap::new(),
            buffer: vec![0; 4096],
        }
    }

    /// Says whether the kernel offers pressure stall information.
    pub(crate) const fn has_pressure(&self) -> bool {
        self.pressure.is_some()
    }

    /// Begins to read an instance.
    pub(crate) fn add(&mut self, key: Key, source: &Source) {
        self.instances.insert(key, Open::new(source));
    }

    /// Stops reading an instance.
    pub(crate) fn remove(&mut self, key: Key) {
        self.instances.remove(&key);
    }

    /// Reads everything once.
    pub(crate) fn sample(&mut self, monotonic: Millis, wall: At) -> Sample {
        let processes = self.scan();
        let buffer = &mut self.buffer;
        let mut read = |file: &Option<File>| text(file.as_ref()?, buffer).map(str::to_owned);
        let stat = read(&self.stat);
        let meminfo = read(&self.meminfo);
        let pressure = read(&self.pressure);
        let node = self.node.as_ref().and_then(|open| open.read(buffer, &processes));
        let mut instances = BTreeMap::new();
        for (key, open) in &self.instances {
            if let Some(reading) = open.read(buffer, &processes) {
                instances.insert(*key, reading);
            }
        }
        let used_kib = meminfo.as_deref().and_then(proc::memory_used_kib).unwrap_or(0);
        Sample {
            monotonic,
            wall,
            busy_nanos: stat.as_deref().and_then(proc::busy_nanos),
            memory_used: Mebibytes::new(used_kib / 1024),
            pressure_cpu: pressure.as_deref().and_then(proc::pressure_permille),
            node,
            instances,
        }
    }

    /// Looks at every process once, where some instance has no control group.
    fn scan(&mut self) -> Processes {
        let trees = self.instances.values().any(|open| matches!(open, Open::Tree { .. }));
        if trees {
            Processes::scan(&self.proc_root, &mut self.buffer)
        } else {
            Processes::default()
        }
    }
}

/// A source with its files open.
#[derive(Debug)]
enum Open {
    Group { cpu: Option<File>, unit: CpuUnit, memory: Option<File>, memory_stat: Option<File> },
    Tree { shim: u32, start_ticks: u64 },
}

impl Open {
    fn new(source: &Source) -> Self {
        match source {
            Source::Group { cpu, unit, memory, memory_stat } => {
                let open = |path: &PathBuf| File::open(path).ok();
                Self::Group {
                    cpu: open(cpu),
                    unit: *unit,
                    memory: memory.as_ref().and_then(open),
                    memory_stat: memory_stat.as_ref().and_then(open),
                }
            }
            Source::Tree { shim, start_ticks } => {
                Self::Tree { shim: *shim, start_ticks: *start_ticks }
            }
        }
    }

    fn read(&self, buffer: &mut Vec<u8>, processes: &Processes) -> Option<Reading> {
        match self {
            Self::Group { cpu, unit, memory, memory_stat } => {
                let cpu_nanos = cpu_nanos(text(cpu.as_ref()?, buffer)?, *unit)?;
                let mut number =
                    |file: &Option<File>| text(file.as_ref()?, buffer)?.trim().parse::<u64>().ok();
                let used = number(memory).unwrap_or(0);
                let cache = memory_stat.as_ref().and_then(|f| droppable(text(f, buffer)?));
                let bytes = used.saturating_sub(cache.unwrap_or(0));
                Some(Reading { cpu_nanos, memory: Mebibytes::new(bytes.div_ceil(MEBIBYTE)) })
            }
            Self::Tree { shim, start_ticks } => processes.below(*shim, *start_ticks),
        }
    }
}

/// Reads a CPU counter.
pub(crate) fn cpu_nanos(text: &str, unit: CpuUnit) -> Option<u64> {
    match unit {
        CpuUnit::Nanoseconds => text.trim().parse().ok(),
        CpuUnit::MicrosecondsInStat => proc::named(text, "usage_usec")?.checked_mul(1000),
    }
}

/// File cache that the kernel drops first. Version 1 gives it for the group and all below it.
fn droppable(text: &str) -> Option<u64> {
    proc::named(text, "total_inactive_file").or_else(|| proc::named(text, "inactive_file"))
}

/// Reads a kept-open file from its beginning. Kernel files are small; one that does not fit grows
/// the buffer once.
fn text<'a>(file: &File, buffer: &'a mut Vec<u8>) -> Option<&'a str> {
    let mut filled = 0;
    loop {
        let offset = u64::try_from(filled).ok()?;
        match file.read_at(&mut buffer[filled..], offset) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        if filled == buffer.len() {
            if buffer.len() >= FILE_BYTES_MAX {
                return None;
            }
            buffer.resize(buffer.len().saturating_mul(2), 0);
        }
    }
    std::str::from_utf8(buffer.get(..filled)?).ok()
}

/// Every process by id, and the children of each.
#[derive(Debug, Default)]
struct Processes {
    all: BTreeMap<u32, Process>,
    children: BTreeMap<u32, Vec<u32>>,
    page_bytes: u64,
}

impl Processes {
    fn scan(proc_root: &Path, buffer: &mut Vec<u8>) -> Self {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        let page_bytes = page.and_then(|p| u64::try_from(p).ok()).unwrap_or(4096);
        let mut found = Self { page_bytes, ..Self::default() };
        for entry in fs::read_dir(proc_root).into_iter().flatten().flatten().take(PROCESSES_MAX) {
            let pid = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok());
            let Some(pid) = pid else { continue };
            // A process may end while it is looked at; then it is simply not there.
            let Ok(file) = File::open(entry.path().join("stat")) else { continue };
            if let Some(process) = lossy(&file, buffer).as_deref().and_then(proc::process) {
                found.children.entry(process.parent).or_default().push(pid);
                found.all.insert(pid, process);
            }
        }
        found
    }

    /// Sums up what runs, and has run, below a shim. The shim is the subreaper of its instance, so
    /// what it has waited for and what still lives below it is everything.
    fn below(&self, shim: u32, start_ticks: u64) -> Option<Reading> {
        let top = self.all.get(&shim).filter(|p| p.start_ticks == start_ticks)?;
        let (mut ticks, mut pages) = (top.children_ticks, 0_u64);
        let mut seen = BTreeSet::from([shim]);
        let mut open = vec![shim];
        while let Some(parent) = open.pop() {
            for pid in self.children.get(&parent).into_iter().flatten() {
                if !seen.insert(*pid) {
                    continue;
                }
                let process = &self.all[pid];
                ticks =
                    ticks.saturating_add(process.own_ticks).saturating_add(process.children_ticks);
                pages = pages.saturating_add(process.rss_pages);
                open.push(*pid);
            }
        }
        let bytes = pages.saturating_mul(self.page_bytes);
        let memory = Mebibytes::new(bytes.div_ceil(MEBIBYTE));
        Some(Reading { cpu_nanos: ticks.saturating_mul(TICK_NANOS), memory })
    }
}

/// Reads a text that may hold bytes of a hostile process name.
fn lossy(file: &File, buffer: &mut [u8]) -> Option<String> {
    let read = file.read_at(buffer, 0).ok()?;
    Some(String::from_utf8_lossy(buffer.get(..read)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn key(instance: u64) -> Key {
        (InstanceId::new(instance), Incarnation::new(1))
    }

    fn stat(pid: u32, parent: u32, ticks: (u64, u64), start: u64) -> String {
        let (own, children) = ticks;
        format!(
            "{pid} (w) S {parent} 1 1 0 -1 0 0 0 0 0 {own} 0 {children} 0 20 0 1 0 {start} 9 256 0"
        )
    }

    #[test]
    fn groups_of_both_versions_are_read() {
        let dir = tree(&[
            ("proc/stat", "cpu  100 0 0 900 0 0 0 0 0 0\n"),
            ("proc/meminfo", "MemTotal: 4096 kB\nMemAvailable: 2048 kB\n"),
            ("v1/cpuacct.usage", "5000000\n"),
            ("v1/memory.usage_in_bytes", "10485760\n"),
            ("v1/memory.stat", "inactive_file 1\ntotal_inactive_file 2097152\n"),
            ("v2/cpu.stat", "usage_usec 7000\nuser_usec 1\n"),
            ("v2/memory.current", "4194304\n"),
            ("v2/memory.stat", "inactive_file 1048576\n"),
        ]);
        let group = |version: &str, cpu: &str, unit, memory: &str| Source::Group {
            cpu: dir.path().join(version).join(cpu),
            unit,
            memory: Some(dir.path().join(version).join(memory)),
            memory_stat: Some(dir.path().join(version).join("memory.stat")),
        };
        let mut sampler = Sampler::new(&dir.path().join("proc"), None);
        assert!(!sampler.has_pressure());
        let v1 = group("v1", "cpuacct.usage", CpuUnit::Nanoseconds, "memory.usage_in_bytes");
        let v2 = group("v2", "cpu.stat", CpuUnit::MicrosecondsInStat, "memory.current");
        sampler.add(key(1), &v1);
        sampler.add(key(2), &v2);
        let sample = sampler.sample(Millis::new(1), At::from_millis(2));
        assert_eq!(sample.busy_nanos, Some(1_000_000_000));
        assert_eq!(sample.memory_used, Mebibytes::new(2));
        let reading = |nanos, mib| Reading { cpu_nanos: nanos, memory: Mebibytes::new(mib) };
        assert_eq!(sample.instances[&key(1)], reading(5_000_000, 8));
        assert_eq!(sample.instances[&key(2)], reading(7_000_000, 3));
        sampler.remove(key(1));
        assert_eq!(sampler.sample(Millis::new(2), At::from_millis(3)).instances.len(), 1);
    }

    #[test]
    fn a_tree_counts_what_lives_and_what_was_waited_for() {
        let dir = tree(&[
            ("10/stat", &stat(10, 1, (7, 100), 50)),
            ("11/stat", &stat(11, 10, (20, 3), 60)),
            ("12/stat", &stat(12, 11, (4, 0), 61)),
            ("13/stat", &stat(13, 1, (1000, 0), 62)),
        ]);
        let mut sampler = Sampler::new(dir.path(), None);
        sampler.add(key(1), &Source::Tree { shim: 10, start_ticks: 50 });
        sampler.add(key(2), &Source::Tree { shim: 10, start_ticks: 51 });
        let sample = sampler.sample(Millis::ZERO, At::default());
        // The shim's own 7 ticks are not the instance's.
        let expected = Reading { cpu_nanos: 127 * TICK_NANOS, memory: Mebibytes::new(2) };
        assert_eq!(sample.instances, BTreeMap::from([(key(1), expected)]));
    }

    #[test]
    fn files_that_are_missing_or_nonsense_are_left_out() {
        let dir = tree(&[("stat", "nonsense"), ("x/stat", "no"), ("7/stat", "7 (")]);
        let mut sampler = Sampler::new(dir.path(), None);
        sampler.add(key(1), &Source::Tree { shim: 7, start_ticks: 0 });
        let gone = Source::Group {
            cpu: dir.path().join("gone"),
            unit: CpuUnit::Nanoseconds,
            memory: None,
            memory_stat: None,
        };
        sampler.add(key(2), &gone);
        let sample = sampler.sample(Millis::ZERO, At::default());
        assert_eq!(sample, Sample::default());
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let long = format!("cpu  1 1 1 1 1 1 1 0 0 0\n{}", "intr 0 0 0 0\n".repeat(2000));
        let dir = tree(&[("stat", &long)]);
        let mut sampler = Sampler::new(dir.path(), None);
        let sample = sampler.sample(Millis::ZERO, At::default());
        assert_eq!(sample.busy_nanos, Some(5 * TICK_NANOS));
    }
}
