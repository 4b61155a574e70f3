//! The inventory: sockets, cores, SMT, NUMA, memory, disks, kernel, identity.
//!
//! Every source may be missing (containers hide `/sys`, ARM has no socket ids); what cannot be read
//! is counted from the next best source, and never invented.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use procfs::{CpuInfo, FromBufRead as _};
use sysinfo::Disks;
use tengyun_model::{
    BootId, CgroupVersion, Disk, Inventory, MachineId, Mebibytes, Permille, Smt, SmtSource,
};

/// The most disks named; a server with more is described by its first ones.
const DISKS_MAX: usize = 64;
/// The most characters kept of a text that the machine chose.
const TEXT_MAX: usize = 128;

/// The most threads that a core is believed to run; POWER has 8, others 2 or 4.
const THREADS_OF_CORE_MAX: usize = 8;

/// Where the kernel and the system show themselves.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    /// `/proc`.
    pub(crate) proc: PathBuf,
    /// `/sys`.
    pub(crate) sys: PathBuf,
    /// `/etc`.
    pub(crate) etc: PathBuf,
}

impl Roots {
    /// The roots of the running system.
    fn of_this_machine() -> Self {
        let root = |path: &str| PathBuf::from(path);
        Self { proc: root("/proc"), sys: root("/sys"), etc: root("/etc") }
    }
}

/// Finds out what this machine is made of, for those who share it out between nodes.
pub fn machine() -> Inventory {
    inventory(&Roots::of_this_machine(), CgroupVersion::None)
}

/// Finds out what the machine is made of whose files are below a directory.
pub fn machine_below(root: &Path) -> Inventory {
    let at = |name: &str| root.join(name);
    let roots = Roots { proc: at("proc"), sys: at("sys"), etc: at("etc") };
    inventory(&roots, CgroupVersion::None)
}

/// Finds out what the server is made of.
pub(crate) fn inventory(roots: &Roots, cgroup: CgroupVersion) -> Inventory {
    let topology = Topology::read(roots);
    let source = if topology.smt == 0 { SmtSource::Single } else { SmtSource::Assumed };
    let uname = nix::sys::utsname::uname().ok();
    let word = |text: Option<&std::ffi::OsStr>| clean(&text.unwrap_or_default().to_string_lossy());
    Inventory {
        machine_id: text(&roots.etc.join("machine-id"))
            .and_then(|t| MachineId::parse(&t))
            .unwrap_or_default(),
        boot_id: boot_id(&roots.proc),
        kernel: word(uname.as_ref().map(nix::sys::utsname::UtsName::release)),
        architecture: word(uname.as_ref().map(nix::sys::utsname::UtsName::machine)),
        cpu_model: topology.model,
        sockets: topology.sockets,
        cores: topology.cores,
        threads: topology.threads,
        numa_nodes: numa_nodes(&roots.sys),
        memory: memory(&roots.proc),
        disks: disks(),
        cgroup,
        psi: roots.proc.join("pressure/cpu").exists(),
        root: nix::unistd::Uid::effective().is_root(),
        smt: Smt { cores: topology.smt, gain: Permille::ZERO, source },
    }
}

/// Returns the online threads of each core that has several, as far as `/sys` tells.
pub(crate) fn siblings(sys: &Path) -> Vec<Vec<u32>> {
    let threads = Threads::read(sys);
    let cores = threads.into_iter().flat_map(|threads| threads.cores.into_values());
    cores.filter(|core| core.len() > 1).collect()
}

/// Reads the id of the running boot; zero where the kernel does not tell.
pub(crate) fn boot_id(proc_root: &Path) -> BootId {
    let id = text(&proc_root.join("sys/kernel/random/boot_id"));
    id.and_then(|t| BootId::parse(&t)).unwrap_or_default()
}

/// How the hardware threads hang together.
#[derive(Debug, PartialEq, Eq)]
struct Topology {
    model: String,
    sockets: u32,
    cores: u32,
    threads: u32,
    /// Cores with more than one thread.
    smt: u32,
}

impl Topology {
    fn read(roots: &Roots) -> Self {
        let info = fs::File::open(roots.proc.join("cpuinfo"))
            .ok()
            .and_then(|file| CpuInfo::from_buf_read(BufReader::new(file)).ok());
        let model = info.as_ref().and_then(|i| i.model_name(0)).map(clean).unwrap_or_default();
        let listed = info.as_ref().map_or(0, CpuInfo::num_cores);
        Self::of_sys(&roots.sys, &model)
            .or_else(|| Self::of_cpuinfo(info.as_ref()?, &model))
            .unwrap_or_else(|| Self::of_threads(model, count(listed).max(1)))
    }

    fn of_sys(sys: &Path, model: &str) -> Option<Self> {
        let threads = Threads::read(sys)?;
        let sizes: Vec<usize> = threads.cores.values().map(Vec::len).collect();
        Some(Self {
            model: model.to_owned(),
            sockets: count(threads.sockets.len()),
            cores: count(sizes.len()),
            threads: count(sizes.iter().sum()),
            smt: several(sizes.into_iter()),
        })
    }

    /// A container without `/sys` sees the lines of `/proc/cpuinfo`; x86 has the ids there, ARM not.
    fn of_cpuinfo(info: &CpuInfo, model: &str) -> Option<Self> {
        let (mut cores, mut sockets) = (BTreeMap::new(), BTreeSet::new());
        for cpu in 0..info.num_cores() {
            let socket = info.get_field(cpu, "physical id")?;
            let core: &mut usize =
                cores.entry((socket, info.get_field(cpu, "core id")?)).or_default();
            *core = core.saturating_add(1);
            sockets.insert(socket);
        }
        let threads = count(info.num_cores());
        let smt = several(cores.values().copied());
        let (sockets, cores) = (count(sockets.len()), count(cores.len()));
        (threads > 0).then_some(Self { model: model.to_owned(), sockets, cores, threads, smt })
    }

    /// Without topology every thread counts as a core of one socket.
    const fn of_threads(model: String, threads: u32) -> Self {
        Self { model, sockets: 1, cores: threads, threads, smt: 0 }
    }
}

/// Counts the cores with more than one thread.
fn several(sizes: impl Iterator<Item = usize>) -> u32 {
    count(sizes.filter(|threads| *threads > 1).count())
}

/// The online threads, as `/sys` shows them.
#[derive(Debug, Default)]
struct Threads {
    /// By core.
    cores: BTreeMap<String, Vec<u32>>,
    sockets: BTreeSet<u32>,
}

impl Threads {
    /// Every online thread names its socket and the threads that share its core; `None` where there
    /// are none.
    fn read(sys: &Path) -> Option<Self> {
        let mut found = Self::default();
        for entry in fs::read_dir(sys.join("devices/system/cpu")).ok()?.flatten() {
            let name = entry.file_name();
            let cpu = name.to_str().and_then(|n| n.strip_prefix("cpu")?.parse::<u32>().ok());
            let online = text(&entry.path().join("online")).is_none_or(|t| t.trim() != "0");
            let topology = entry.path().join("topology");
            let Some(cpu) = cpu.filter(|_| online && topology.exists()) else { continue };
            let word = |name: &str| text(&topology.join(name)).map(|t| t.trim().to_owned());
            // ARM says -1 where it does not know: then all threads are in one socket.
            let socket = word("physical_package_id").and_then(|t| t.parse::<u32>().ok());
            let socket = socket.unwrap_or(0);
            // Core ids are unique in a socket, on some ARM servers only in a cluster of it; the list
            // of a core's threads is unique on the machine.
            let siblings = word("core_cpus_list").or_else(|| word("thread_siblings_list"));
            let siblings = siblings.filter(|list| is_core(list, cpu));
            let core_id = || Some(format!("{socket}/{}", word("core_id")?.parse::<u32>().ok()?));
            let core = siblings.or_else(core_id).unwrap_or_else(|| format!("cpu{cpu}"));
            found.cores.entry(core).or_default().push(cpu);
            found.sockets.insert(socket);
        }
        // No core runs so many threads: who says so knows nothing, and each counts as a core.
        let crowds: Vec<String> =
            found.cores.iter().filter(|(_, c)| is_crowd(c)).map(|(n, _)| n.clone()).collect();
        for name in crowds {
            for cpu in found.cores.remove(&name).unwrap_or_default() {
                found.cores.insert(format!("cpu{cpu}"), vec![cpu]);
            }
        }
        found.cores.values_mut().for_each(|core| core.sort_unstable());
        (!found.cores.is_empty()).then_some(found)
    }
}

fn is_crowd(core: &[u32]) -> bool {
    core.len() > THREADS_OF_CORE_MAX
}

/// Says whether a list such as `0,64` or `0-1` names this thread and no more than a core can have.
fn is_core(list: &str, cpu: u32) -> bool {
    let (mut named, mut own) = (0_u64, false);
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else {
            return false;
        };
        let Some(more) = last.checked_sub(first) else { return false };
        named = named.saturating_add(u64::from(more).saturating_add(1));
        own |= (first..=last).contains(&cpu);
    }
    own && usize::try_from(named).is_ok_and(|named| named <= THREADS_OF_CORE_MAX)
}

fn numa_nodes(sys: &Path) -> u32 {
    let entries = fs::read_dir(sys.join("devices/system/node")).into_iter().flatten().flatten();
    let is_node = |name: &str| name.strip_prefix("node").is_some_and(|n| n.parse::<u32>().is_ok());
    let nodes = entries.filter(|e| e.file_name().to_str().is_some_and(is_node)).count();
    count(nodes).max(1)
}

fn memory(proc_root: &Path) -> Mebibytes {
    let file = fs::File::open(proc_root.join("meminfo")).ok();
    let info = file.and_then(|f| procfs::Meminfo::from_buf_read(BufReader::new(f)).ok());
    Mebibytes::new(info.map_or(0, |i| i.mem_total / (1024 * 1024)))
}

/// The mounted file systems on devices.
fn disks() -> Vec<Disk> {
    let mebibytes = |bytes: u64| Mebibytes::new(bytes / (1024 * 1024));
    let Ok(listed) = Disks::new_with_refreshed_list() else { return Vec::new() };
    let real = listed.iter().filter(|disk| {
        // A container has single files of a device mounted over its own.
        disk.name().to_string_lossy().starts_with('/') && disk.mount_point().is_dir()
    });
    let found = real.map(|disk| Disk {
        device: clean(&disk.name().to_string_lossy()),
        mount: clean(&disk.mount_point().to_string_lossy()),
        total: mebibytes(disk.total_space()),
        free: mebibytes(disk.available_space()),
    });
    each_once(found.collect())
}

/// Names each device once, by its shortest mount: its space is there once, however often mounted.
fn each_once(mut disks: Vec<Disk>) -> Vec<Disk> {
    disks.sort_by(|a, b| {
        let key = |disk: &Disk| (disk.device.clone(), disk.mount.len(), disk.mount.clone());
        key(a).cmp(&key(b))
    });
    disks.dedup_by(|later, first| later.device == first.device);
    disks.sort_by(|a, b| a.mount.cmp(&b.mount));
    disks.truncate(DISKS_MAX);
    disks
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Keeps what can be printed of a text, up to a limit.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(String, &str)]) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let root = |name: &str| dir.path().join(name);
        let roots = Roots { proc: root("proc"), sys: root("sys"), etc: root("etc") };
        (dir, roots)
    }

    fn cpu(number: u32, socket: &'static str, core: &'static str) -> Vec<(String, &'static str)> {
        let folder = format!("sys/devices/system/cpu/cpu{number}/topology");
        vec![(format!("{folder}/physical_package_id"), socket), (format!("{folder}/core_id"), core)]
    }

    fn shape(roots: &Roots) -> (u32, u32, u32, u32) {
        let found = inventory(roots, CgroupVersion::V1);
        (found.sockets, found.cores, found.threads, found.numa_nodes)
    }

    #[test]
    fn two_sockets_with_two_threads_a_core_are_counted() {
        let mut files =
            [cpu(0, "0", "0"), cpu(1, "0", "0"), cpu(2, "1", "0"), cpu(3, "1", "0")].concat();
        files.push(("sys/devices/system/node/node0/cpulist".to_owned(), "0-1"));
        files.push(("sys/devices/system/node/node1/cpulist".to_owned(), "2-3"));
        files.push(("sys/devices/system/cpu/cpufreq/x".to_owned(), ""));
        let (_dir, roots) = machine(&files);
        assert_eq!(shape(&roots), (2, 2, 4, 2));
    }

    fn listed(cores: &[&str]) -> Vec<(String, String)> {
        let file = |(number, list): (usize, &&str)| {
            let name = format!("sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list");
            (name, format!("{list}\n"))
        };
        cores.iter().enumerate().map(file).collect()
    }

    fn smt(cores: &[&str]) -> ((u32, u32), Smt, Vec<Vec<u32>>) {
        let files = listed(cores);
        let files: Vec<(String, &str)> =
            files.iter().map(|(n, c)| (n.clone(), c.as_str())).collect();
        let (_dir, roots) = machine(&files);
        let found = inventory(&roots, CgroupVersion::None);
        ((found.cores, found.threads), found.smt, siblings(&roots.sys))
    }

    #[test]
    fn threads_that_share_a_core_are_found_and_their_gain_is_not_known() {
        let (counts, found, siblings) = smt(&["0,2", "1,3", "0,2", "1,3"]);
        assert_eq!(counts, (2, 4));
        let assumed = Smt { cores: 2, gain: Permille::ZERO, source: SmtSource::Assumed };
        assert_eq!(found, assumed);
        assert_eq!(siblings, [[0, 2], [1, 3]]);
        let power = ["0-7"; 8];
        assert_eq!(smt(&power).1.cores, 1);
    }

    #[test]
    fn a_machine_of_both_kinds_of_cores_counts_those_with_several_threads() {
        let (counts, found, siblings) = smt(&["0-1", "0-1", "2", "3"]);
        assert_eq!((counts, found.cores), ((3, 4), 1));
        assert_eq!(siblings, [[0, 1]]);
    }

    #[test]
    fn where_smt_is_off_or_unknown_there_is_none() {
        for cores in [&["0", "1"][..], &["nonsense", ""], &["0-", "-1"], &["7-0", "1-0"]] {
            let (counts, found, siblings) = smt(cores);
            assert_eq!((counts, found.cores), ((2, 2), 0), "{cores:?}");
            assert_eq!(found.source, SmtSource::Single, "{cores:?}");
            assert!(siblings.is_empty(), "{cores:?}");
        }
    }

    #[test]
    fn a_list_that_no_core_can_have_is_not_believed() {
        for list in ["0-4294967295", "0-8", "1-2", "0,1,2,3,4,5,6,7,8", "99999999999999999999"] {
            let (counts, found, _) = smt(&[list]);
            assert_eq!((counts, found.cores), ((1, 1), 0), "{list}");
        }
        let one_core: Vec<_> = (0..9).flat_map(|number| cpu(number, "0", "0")).collect();
        let (_dir, roots) = machine(&one_core);
        assert_eq!(shape(&roots), (1, 9, 9, 1), "nine threads on one core are nine cores");
    }

    #[test]
    fn arm_without_socket_ids_is_one_socket() {
        let (_dir, roots) = machine(&[cpu(0, "-1", "0"), cpu(1, "-1", "1")].concat());
        assert_eq!(shape(&roots), (1, 2, 2, 1));
    }

    #[test]
    fn arm_cores_that_are_numbered_in_clusters_are_told_apart() {
        let mut files = [cpu(0, "36", "0"), cpu(1, "36", "0")].concat();
        for (number, list) in [(0, "0\n"), (1, "1\n")] {
            let folder = format!("sys/devices/system/cpu/cpu{number}/topology");
            files.push((format!("{folder}/thread_siblings_list"), list));
        }
        let (_dir, roots) = machine(&files);
        assert_eq!(shape(&roots), (1, 2, 2, 1));
    }

    #[test]
    fn threads_of_one_core_are_told_by_their_list_or_by_their_ids() {
        let mut files = [cpu(0, "0", "7"), cpu(1, "0", "7")].concat();
        let (_dir, roots) = machine(&files);
        assert_eq!(shape(&roots), (1, 1, 2, 1));
        for number in 0..2 {
            let folder = format!("sys/devices/system/cpu/cpu{number}/topology");
            files.push((format!("{folder}/core_cpus_list"), "0-1\n"));
        }
        let (_dir, roots) = machine(&files);
        assert_eq!(shape(&roots), (1, 1, 2, 1));
    }

    #[test]
    fn a_container_without_sys_tells_threads_from_cores_where_it_can() {
        let thread = |number: u32, socket: u32, core: u32| {
            format!("processor\t: {number}\nphysical id\t: {socket}\ncore id\t\t: {core}\n\n")
        };
        let text = [thread(0, 0, 0), thread(1, 0, 0), thread(2, 1, 0), thread(3, 1, 0)].concat();
        let (_dir, roots) = machine(&[("proc/cpuinfo".to_owned(), &text)]);
        assert_eq!(shape(&roots), (2, 2, 4, 1));
    }

    #[test]
    fn arm_lines_without_ids_are_cores() {
        let text = "processor\t: 0\nBogoMIPS\t: 100.00\nCPU part\t: 0xd0c\n\n\
                    processor\t: 1\nBogoMIPS\t: 100.00\nCPU part\t: 0xd0c\n";
        let (_dir, roots) = machine(&[("proc/cpuinfo".to_owned(), text)]);
        assert_eq!(shape(&roots), (1, 2, 2, 1));
    }

    #[test]
    fn a_device_that_is_mounted_twice_counts_once() {
        let disk = |device: &str, mount: &str| Disk {
            device: device.to_owned(),
            mount: mount.to_owned(),
            total: Mebibytes::new(10),
            free: Mebibytes::new(5),
        };
        let found = each_once(vec![
            disk("/dev/b", "/srv/data"),
            disk("/dev/a", "/var/lib/x"),
            disk("/dev/a", "/"),
        ]);
        assert_eq!(found, [disk("/dev/a", "/"), disk("/dev/b", "/srv/data")]);
    }

    #[test]
    fn an_old_kernel_has_no_pressure_and_its_memory_is_read() {
        // The lines that every kernel since 2.6 has; newer ones have more.
        let names = [
            "MemFree",
            "Buffers",
            "Cached",
            "SwapCached",
            "Active",
            "Inactive",
            "SwapTotal",
            "SwapFree",
            "Dirty",
            "Writeback",
            "Mapped",
            "Slab",
            "Committed_AS",
            "VmallocTotal",
            "VmallocUsed",
            "VmallocChunk",
        ];
        let text = names
            .iter()
            .fold("MemTotal: 4194304 kB\n".to_owned(), |text, name| text + name + ": 1 kB\n");
        let (_dir, roots) = machine(&[("proc/meminfo".to_owned(), &text)]);
        let found = inventory(&roots, CgroupVersion::V1);
        assert_eq!((found.psi, found.memory), (false, Mebibytes::new(4096)));
    }

    #[test]
    fn an_offline_thread_does_not_count() {
        let mut files = [cpu(0, "0", "0"), cpu(1, "0", "1")].concat();
        files.push(("sys/devices/system/cpu/cpu1/online".to_owned(), "0\n"));
        let (_dir, roots) = machine(&files);
        assert_eq!(shape(&roots), (1, 1, 1, 1));
    }

    #[test]
    fn a_container_without_sys_counts_the_threads_it_is_told() {
        let text = "processor\t: 0\nmodel name\t: Some \u{1b}CPU\n\nprocessor\t: 1\nmodel name\t: Some CPU\n";
        let (_dir, roots) = machine(&[("proc/cpuinfo".to_owned(), text)]);
        assert_eq!(shape(&roots), (1, 2, 2, 1));
        assert_eq!(inventory(&roots, CgroupVersion::None).cpu_model, "Some CPU");
    }

    #[test]
    fn nothing_at_all_is_one_core_and_no_identity() {
        let (_dir, roots) = machine(&[]);
        let found = inventory(&roots, CgroupVersion::None);
        assert_eq!((found.cores, found.memory, found.psi), (1, Mebibytes::ZERO, false));
        assert_eq!((found.boot_id.get(), found.machine_id.get()), (0, 0));
    }

    #[test]
    fn identity_and_pressure_are_read() {
        let id = "0f1e2d3c4b5a69788796a5b4c3d2e1f0\n";
        let (_dir, roots) = machine(&[
            ("etc/machine-id".to_owned(), id),
            ("proc/sys/kernel/random/boot_id".to_owned(), id),
            ("proc/pressure/cpu".to_owned(), "some avg10=0.00\n"),
        ]);
        let found = inventory(&roots, CgroupVersion::V2);
        assert_eq!(found.machine_id.to_string(), id.trim());
        assert_eq!(found.boot_id.to_string(), id.trim());
        assert!(found.psi);
    }
}
