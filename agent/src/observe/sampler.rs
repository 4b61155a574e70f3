//! The sampler: reads the raw counters of the machine and of every instance.
//!
//! Files stay open and are read into one buffer. A counter that cannot be read is left out of the
//! sample and tried again with the next one; it is never made up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tengyun_model::{At, Incarnation, InstanceId, Mebibytes, Millis};

use super::file::{Buffer, Keeping, Kept};
use super::io::{self, Devices, IoReading};
use super::proc::{self, TICK_NANOS};
use super::tree::Processes;
use crate::run::cgroup::CpuUnit;

/// The most instances whose four files stay open: with the others an agent has, that is below the
/// 1024 open files that a process is commonly allowed.
const KEPT_OPEN_MAX: usize = 150;
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
        /// What it read from and wrote to disks, where there is a controller of IO.
        io: Option<PathBuf>,
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
    /// What that was when this sampler began to read it: used before, by whatever measure.
    pub(crate) base_nanos: u64,
    /// Working set.
    pub(crate) memory: Mebibytes,
    /// Bytes read from and written to disks since the beginning.
    pub(crate) io_bytes: Option<u64>,
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
    /// Time since boot in which some task waited for a CPU, in microseconds.
    pub(crate) pressure_micros: Option<u64>,
    /// The group that holds every instance.
    pub(crate) node: Option<Reading>,
    /// The machine's disks and links; nothing of them where the node is a share of it.
    pub(crate) io: IoReading,
    /// Every instance whose counters could be read.
    pub(crate) instances: BTreeMap<Key, Reading>,
}

/// Reads samples.
#[derive(Debug)]
pub(crate) struct Sampler {
    proc_root: PathBuf,
    stat: Kept,
    meminfo: Kept,
    pressure: Kept,
    devices: Option<Devices>,
    node: Option<Watched>,
    instances: BTreeMap<Key, Watched>,
    buffer: Buffer,
}

impl Sampler {
    /// Opens the machine's files and, if there is one, the group that holds every instance.
    pub(crate) fn new(proc_root: &Path, node: Option<&Source>) -> Self {
        let kept = |name: &str| Kept::new(&proc_root.join(name), Keeping::Open);
        let mut sampler = Self {
            proc_root: proc_root.to_owned(),
            stat: kept("stat"),
            meminfo: kept("meminfo"),
            pressure: kept("pressure/cpu"),
            devices: None,
            node: None,
            instances: BTreeMap::new(),
            buffer: Buffer::new(),
        };
        sampler.node = node.map(|source| sampler.watch(source, Keeping::Open));
        sampler
    }

    /// Reads the machine's disks and links too.
    pub(crate) fn with_devices(mut self, sys_root: &Path) -> Self {
        self.devices = Some(Devices::new(&self.proc_root, sys_root));
        self
    }

    /// Begins to read an instance.
    pub(crate) fn add(&mut self, key: Key, source: &Source) {
        let many = self.instances.len() >= KEPT_OPEN_MAX;
        let keeping = if many { Keeping::Closed } else { Keeping::Open };
        let watched = self.watch(source, keeping);
        self.instances.insert(key, watched);
    }

    /// Stops reading an instance.
    pub(crate) fn remove(&mut self, key: Key) {
        self.instances.remove(&key);
    }

    /// Reads everything once.
    pub(crate) fn sample(&mut self, monotonic: Millis, wall: At) -> Sample {
        let trees =
            self.instances.values().any(|watched| matches!(watched.files, Files::Tree { .. }));
        let processes = if trees { self.scan() } else { Processes::default() };
        let buffer = &mut self.buffer;
        let used_kib = self.meminfo.read(buffer).and_then(proc::memory_used_kib).unwrap_or(0);
        let instances = self.instances.iter_mut().filter_map(|(key, watched)| {
            let reading = watched.read(buffer, &processes)?;
            Some((*key, reading))
        });
        let devices = self.devices.as_mut();
        Sample {
            monotonic,
            wall,
            instances: instances.collect(),
            io: devices.map(|devices| devices.read(monotonic, buffer)).unwrap_or_default(),
            busy_nanos: self.stat.read(buffer).and_then(proc::busy_nanos),
            memory_used: Mebibytes::new(used_kib / 1024),
            pressure_micros: self.pressure.read(buffer).and_then(proc::pressure_micros),
            node: self.node.as_mut().and_then(|watched| watched.read(buffer, &processes)),
        }
    }

    /// Opens a source and takes its first reading.
    fn watch(&mut self, source: &Source, keeping: Keeping) -> Watched {
        let mut watched = Watched { files: Files::new(source, keeping), base_nanos: 0 };
        let tree = matches!(watched.files, Files::Tree { .. });
        let processes = if tree { self.scan() } else { Processes::default() };
        let first = watched.read(&mut self.buffer, &processes);
        // Nothing to read yet: all that comes is new.
        watched.base_nanos = first.map_or(0, |reading| reading.cpu_nanos);
        watched
    }

    fn scan(&mut self) -> Processes {
        Processes::scan(&self.proc_root, &mut self.buffer)
    }
}

/// A source that is read again and again.
#[derive(Debug)]
struct Watched {
    files: Files,
    base_nanos: u64,
}

#[derive(Debug)]
enum Files {
    Group {
        cpu: Kept,
        unit: CpuUnit,
        memory: Option<Kept>,
        memory_stat: Option<Kept>,
        io: Option<Kept>,
    },
    Tree {
        shim: (u32, u64),
        highest_nanos: u64,
    },
}

impl Watched {
    fn read(&mut self, buffer: &mut Buffer, processes: &Processes) -> Option<Reading> {
        let (cpu_nanos, bytes, io_bytes) = self.files.read(buffer, processes)?;
        let memory = Mebibytes::new(bytes.div_ceil(MEBIBYTE));
        Some(Reading { cpu_nanos, base_nanos: self.base_nanos, memory, io_bytes })
    }
}

impl Files {
    fn new(source: &Source, keeping: Keeping) -> Self {
        match source {
            Source::Group { cpu, unit, memory, memory_stat, io } => Self::Group {
                cpu: Kept::new(cpu, keeping),
                unit: *unit,
                memory: memory.as_ref().map(|path| Kept::new(path, keeping)),
                memory_stat: memory_stat.as_ref().map(|path| Kept::new(path, keeping)),
                io: io.as_ref().map(|path| Kept::new(path, keeping)),
            },
            Source::Tree { shim, start_ticks } => {
                Self::Tree { shim: (*shim, *start_ticks), highest_nanos: 0 }
            }
        }
    }

    /// Reads nanoseconds of CPU, bytes of memory, and bytes of disks where they are counted.
    fn read(
        &mut self,
        buffer: &mut Buffer,
        processes: &Processes,
    ) -> Option<(u64, u64, Option<u64>)> {
        match self {
            Self::Group { cpu, unit, memory, memory_stat, io } => {
                let cpu_nanos = cpu_nanos(cpu.read(buffer)?, *unit)?;
                let used = memory.as_mut().and_then(|file| file.number(buffer)).unwrap_or(0);
                let cache =
                    memory_stat.as_mut().and_then(|file| file.read(buffer).and_then(droppable));
                let io = io
                    .as_mut()
                    .and_then(|file| file.read(buffer).map(|text| io_bytes(text, *unit)));
                Some((cpu_nanos, used.saturating_sub(cache.unwrap_or(0)), io))
            }
            Self::Tree { shim, highest_nanos } => {
                let used = processes.below(*shim, buffer)?;
                // A process that ends while its tree is summed up is missed until the next time.
                *highest_nanos = used.ticks.saturating_mul(TICK_NANOS).max(*highest_nanos);
                Some((*highest_nanos, used.bytes, None))
            }
        }
    }
}

/// Reads a CPU counter.
fn cpu_nanos(text: &str, unit: CpuUnit) -> Option<u64> {
    match unit {
        CpuUnit::Nanoseconds => text.trim().parse().ok(),
        CpuUnit::MicrosecondsInStat => proc::named(text, "usage_usec")?.checked_mul(1000),
    }
}

/// Reads what went to disks and came from them; each version of control groups has a form of its own.
fn io_bytes(text: &str, unit: CpuUnit) -> u64 {
    match unit {
        CpuUnit::Nanoseconds => io::bytes_serviced(text),
        CpuUnit::MicrosecondsInStat => io::bytes_in_stat(text),
    }
}

/// File cache that the kernel drops first. Version 1 gives it for the group and all below it.
fn droppable(text: &str) -> Option<u64> {
    proc::named(text, "total_inactive_file").or_else(|| proc::named(text, "inactive_file"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::tree;

    fn key(instance: u64) -> Key {
        (InstanceId::new(instance), Incarnation::new(1))
    }

    fn counter(path: PathBuf) -> Source {
        let unit = CpuUnit::Nanoseconds;
        Source::Group { cpu: path, unit, memory: None, memory_stat: None, io: None }
    }

    fn take(sampler: &mut Sampler) -> Sample {
        sampler.sample(Millis::ZERO, At::default())
    }

    #[test]
    fn groups_of_both_versions_are_read() {
        let dir = tree(&[
            ("proc/stat", "cpu  100 0 0 900 0 0 0 0 0 0\n"),
            ("proc/meminfo", "MemTotal: 4096 kB\nMemAvailable: 2048 kB\n"),
            ("proc/pressure/cpu", "some avg10=1.00 avg60=0.00 avg300=0.00 total=77\n"),
            ("v1/cpuacct.usage", "5000000\n"),
            ("v1/memory.usage_in_bytes", "10485760\n"),
            ("v1/memory.stat", "inactive_file 1\ntotal_inactive_file 2097152\n"),
            ("v2/cpu.stat", "usage_usec 7000\nuser_usec 1\n"),
            ("v2/memory.current", "4194304\n"),
            ("v2/memory.stat", "inactive_file 1048576\n"),
            ("v1/io", "8:0 Read 900\n8:0 Write 50\nTotal 950\n"),
            ("v2/io", "8:0 rbytes=300 wbytes=70 rios=1 wios=1\n"),
        ]);
        let group = |version: &str, cpu: &str, unit, memory: &str| Source::Group {
            cpu: dir.path().join(version).join(cpu),
            unit,
            memory: Some(dir.path().join(version).join(memory)),
            memory_stat: Some(dir.path().join(version).join("memory.stat")),
            io: Some(dir.path().join(version).join("io")),
        };
        let mut sampler = Sampler::new(&dir.path().join("proc"), None);
        let v1 = group("v1", "cpuacct.usage", CpuUnit::Nanoseconds, "memory.usage_in_bytes");
        let v2 = group("v2", "cpu.stat", CpuUnit::MicrosecondsInStat, "memory.current");
        sampler.add(key(1), &v1);
        sampler.add(key(2), &v2);
        let sample = sampler.sample(Millis::new(1), At::from_millis(2));
        assert_eq!(sample.busy_nanos, Some(1_000_000_000));
        assert_eq!(sample.memory_used, Mebibytes::new(2));
        assert_eq!(sample.pressure_micros, Some(77));
        let reading = |nanos, mib, io| Reading {
            cpu_nanos: nanos,
            base_nanos: nanos,
            memory: Mebibytes::new(mib),
            io_bytes: Some(io),
        };
        assert_eq!(sample.instances[&key(1)], reading(5_000_000, 8, 950));
        assert_eq!(sample.instances[&key(2)], reading(7_000_000, 3, 370));
        sampler.remove(key(1));
        assert_eq!(take(&mut sampler).instances.len(), 1);
    }

    #[test]
    fn what_was_used_before_the_first_reading_is_known_as_such() {
        let dir = tree(&[("old", "500\n")]);
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let mut sampler = Sampler::new(dir.path(), Some(&counter(old.clone())));
        sampler.add(key(1), &counter(old.clone()));
        sampler.add(key(2), &counter(new.clone()));
        fs::write(&old, "700\n").unwrap();
        fs::write(&new, "30\n").unwrap();
        let sample = take(&mut sampler);
        let counters = |reading: Reading| (reading.base_nanos, reading.cpu_nanos);
        assert_eq!(sample.node.map(counters), Some((500, 700)));
        assert_eq!(counters(sample.instances[&key(1)]), (500, 700));
        assert_eq!(counters(sample.instances[&key(2)]), (0, 30), "its group came later");
    }

    #[test]
    fn a_tree_of_processes_never_falls() {
        let stat =
            |ticks: u64| format!("10 (w) S 1 1 1 0 -1 0 0 0 0 0 0 0 {ticks} 0 20 0 1 0 5 9 2");
        let dir = tree(&[("10/stat", &stat(8))]);
        let mut sampler = Sampler::new(dir.path(), None);
        sampler.add(key(1), &Source::Tree { shim: 10, start_ticks: 5 });
        sampler.add(key(2), &Source::Tree { shim: 10, start_ticks: 6 });
        for (ticks, expected) in [(8, 8), (7, 8), (9, 9)] {
            fs::write(dir.path().join("10/stat"), stat(ticks)).unwrap();
            let sample = take(&mut sampler);
            assert_eq!(sample.instances.len(), 1, "a reused id is not the shim");
            assert_eq!(sample.instances[&key(1)].cpu_nanos, expected * TICK_NANOS);
        }
    }

    #[test]
    fn files_that_are_missing_or_nonsense_are_left_out() {
        let dir = tree(&[("stat", "nonsense"), ("x/stat", "no"), ("7/stat", "7 (")]);
        let mut sampler = Sampler::new(dir.path(), None);
        sampler.add(key(1), &Source::Tree { shim: 7, start_ticks: 0 });
        sampler.add(key(2), &counter(dir.path().join("gone")));
        assert_eq!(take(&mut sampler), Sample::default());
    }

    #[test]
    fn more_instances_than_may_keep_files_open_are_read_all_the_same() {
        let dir = tree(&[("usage", "1\n")]);
        let mut sampler = Sampler::new(dir.path(), None);
        for instance in 0..=u64::try_from(KEPT_OPEN_MAX).unwrap() {
            sampler.add(key(instance), &counter(dir.path().join("usage")));
        }
        assert_eq!(take(&mut sampler).instances.len(), KEPT_OPEN_MAX + 1);
    }
}
