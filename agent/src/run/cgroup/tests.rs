//! Control groups against fixture trees: the right values in the right files, and nothing elsewhere.

use std::fs;
use std::path::Path;

use tengyun_model::{CgroupVersion, Class, DepartmentPath};

use super::tree::{GROUP_NAME_BYTES_MAX, department_name};
use super::*;
use crate::run::RunKey;

/// The files that a kernel makes in each group and that are written here.
const V2_FILES: [&str; 11] = [
    "cgroup.subtree_control",
    "cgroup.procs",
    "cgroup.kill",
    "cpu.weight",
    "cpu.max",
    "cpu.idle",
    "memory.max",
    "memory.swap.max",
    "memory.oom.group",
    "pids.max",
    "cpu.stat",
];

fn key(instance: u64) -> RunKey {
    RunKey {
        instance: tengyun_model::InstanceId::new(instance),
        incarnation: tengyun_model::Incarnation::new(1),
    }
}

fn department() -> DepartmentPath {
    "city/finance".parse().unwrap()
}

/// Makes the directories and files that a kernel would.
fn plant(root: &Path, groups: &[&str], files: &[&str]) {
    for group in groups {
        let dir = root.join(group);
        fs::create_dir_all(&dir).unwrap();
        for file in files {
            fs::write(dir.join(file), "").unwrap();
        }
    }
}

fn v2_tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let node = "tengyun/n1";
    let groups = ["", "tengyun", node].map(str::to_owned).into_iter();
    let classes = Class::ALL.map(|class| format!("{node}/{class}"));
    let departments = Class::ALL.map(|class| format!("{node}/{class}/city.finance"));
    let instances = Class::ALL.map(|class| format!("{node}/{class}/city.finance/7.1"));
    let all: Vec<String> = groups.chain(classes).chain(departments).chain(instances).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    plant(dir.path(), &all, &V2_FILES);
    fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
    fs::write(dir.path().join("cgroup.subtree_control"), "cpu memory pids io\n").unwrap();
    dir
}

fn probe(root: &Path) -> Cgroups {
    Cgroups::probe(root, None, &"tengyun".parse().unwrap(), &"n1".parse().unwrap())
}

fn limits() -> Limits {
    Limits {
        weight: Millicores::new(500),
        cpu: Some(Millicores::new(1500)),
        memory: Some(Mebibytes::new(64)),
        pids: Some(32),
    }
}

#[test]
fn version_two_gets_every_limit_in_its_own_file() {
    let dir = v2_tree();
    let cgroups = probe(dir.path());
    assert_eq!((cgroups.version(), cgroups.reason()), (CgroupVersion::V2, ""));
    assert!(cgroups.idle_class());
    let group = cgroups.create(key(7), Class::Standard, &department(), &limits()).unwrap().unwrap();
    let read = |path: &str| fs::read_to_string(dir.path().join("tengyun/n1").join(path)).unwrap();
    let instance = "standard/city.finance/7.1";
    assert_eq!(read(&format!("{instance}/cpu.max")), "150000 100000");
    assert_eq!(read(&format!("{instance}/cpu.weight")), "20");
    assert_eq!(read(&format!("{instance}/memory.max")), "67108864");
    assert_eq!(read(&format!("{instance}/memory.swap.max")), "0");
    assert_eq!(read(&format!("{instance}/memory.oom.group")), "1");
    assert_eq!(read(&format!("{instance}/pids.max")), "32");
    assert_eq!(read("standard/city.finance/cpu.weight"), "20", "as much as its instances");
    assert_eq!(read("harvest/cpu.idle"), "1");
    assert_eq!(read("critical/cpu.weight"), "625");
    let top = dir.path().join("tengyun/n1");
    assert_eq!(group.procs_files(), [top.join(instance).join("cgroup.procs")]);
    assert_eq!(group.cpu_usage_file(), Some(top.join(instance).join("cpu.stat")));
    assert_eq!(group.cpu_unit(), CpuUnit::MicrosecondsInStat);
    assert_eq!(group.io_file(), Some(top.join(instance).join("io.stat")));
    // Where IO is not delegated it is not counted, and nothing else is missing.
    fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
    fs::write(dir.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
    let cgroups = probe(dir.path());
    assert!(cgroups.controls(Controller::Pids) && !cgroups.controls(Controller::Io));
    assert_eq!(cgroups.node().and_then(Group::io_file), None);
}

#[test]
fn version_two_kills_by_its_own_file_and_counts_in_microseconds() {
    let dir = v2_tree();
    let cgroups = probe(dir.path());
    let group = cgroups.create(key(7), Class::Standard, &department(), &limits()).unwrap().unwrap();
    let top = dir.path().join("tengyun/n1/standard/city.finance/7.1");
    fs::write(top.join("cpu.stat"), "usage_usec 1234\nuser_usec 1\n").unwrap();
    fs::write(top.join("memory.events"), "oom 2\noom_kill 1\n").unwrap();
    group.kill_once();
    assert_eq!(fs::read_to_string(top.join("cgroup.kill")).unwrap(), "1");
    assert_eq!(group.cpu_micros(), Some(1234));
    assert_eq!(group.oom_kills(), Some(1));
}

#[test]
fn harvest_has_the_quota_of_its_class_only() {
    let dir = v2_tree();
    let cgroups = probe(dir.path());
    cgroups.create(key(7), Class::Harvest, &department(), &limits()).unwrap();
    let harvest = cgroups.class(Class::Harvest).unwrap();
    harvest.set_quota(Some(Millicores::new(250))).unwrap();
    let read =
        |path: &str| fs::read_to_string(dir.path().join("tengyun/n1/harvest").join(path)).unwrap();
    assert_eq!(read("cpu.max"), "25000 100000");
    assert_eq!(read("city.finance/7.1/cpu.max"), "");
    harvest.set_quota(Some(Millicores::ZERO)).unwrap();
    assert_eq!(read("cpu.max"), "1000 100000", "the kernel takes no less");
    harvest.set_quota(None).unwrap();
    assert_eq!(read("cpu.max"), "max 100000");
}

#[test]
fn no_instance_gets_a_quota_above_the_nodes() {
    let dir = v2_tree();
    let mut cgroups = probe(dir.path());
    cgroups.bound(Some(Millicores::new(700)), Some(Mebibytes::new(256))).unwrap();
    cgroups.create(key(7), Class::Standard, &department(), &limits()).unwrap();
    let read = |path: &str| fs::read_to_string(dir.path().join("tengyun/n1").join(path)).unwrap();
    assert_eq!((read("cpu.max"), read("memory.max")), ("70000 100000".into(), "268435456".into()));
    assert_eq!(read("standard/city.finance/7.1/cpu.max"), "70000 100000");
    assert!(Cgroups::none("no").bound(None, None).is_err());
}

#[test]
fn controllers_that_are_not_handed_down_are_not_used() {
    let dir = v2_tree();
    fs::write(dir.path().join("cgroup.controllers"), "memory\n").unwrap();
    fs::write(dir.path().join("cgroup.subtree_control"), "memory\n").unwrap();
    let cgroups = probe(dir.path());
    assert!(cgroups.controls(Controller::Memory) && cgroups.controls(Controller::Cpuacct));
    assert!(!cgroups.controls(Controller::Cpu) && !cgroups.controls(Controller::Pids));
    let group = cgroups.create(key(7), Class::Standard, &department(), &limits()).unwrap().unwrap();
    let top = dir.path().join("tengyun/n1/standard/city.finance/7.1");
    assert_eq!(fs::read_to_string(top.join("cpu.max")).unwrap(), "");
    assert_eq!(fs::read_to_string(top.join("memory.max")).unwrap(), "67108864");
    let again = Group::from_directories(true, &group.directories());
    assert_eq!(again, group, "a shim knows the group as the agent does");
}

#[test]
fn without_a_hierarchy_there_is_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let cgroups = probe(dir.path());
    assert_eq!(cgroups.version(), CgroupVersion::None);
    assert!(cgroups.reason().contains("no control group controller is mounted"));
    let made = cgroups.create(key(7), Class::Standard, &department(), &limits()).unwrap();
    assert_eq!(made, None);
    cgroups.remove(key(7), Class::Standard, &department()).unwrap();
    assert!(cgroups.found().is_empty());
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let dir = v2_tree();
    let cgroups = probe(dir.path());
    let file = dir.path().join("tengyun/n1/standard/city.finance/7.1/pids.max");
    fs::remove_file(&file).unwrap();
    let error = cgroups.create(key(7), Class::Standard, &department(), &limits()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", file.display()));
}

#[test]
fn groups_of_instances_are_found_and_nothing_else() {
    let dir = v2_tree();
    for stranger in ["not-a-key", "07.1", "7"] {
        fs::create_dir(dir.path().join("tengyun/n1/standard/city.finance").join(stranger)).unwrap();
    }
    let found: Vec<RunKey> = probe(dir.path()).found().into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, [key(7); 3], "one in each class of the fixture");
}

#[test]
fn a_departments_group_has_a_name_that_fits_and_is_its_own() {
    let long = |end: &str| -> DepartmentPath {
        let label = "d".repeat(60);
        format!("{label}/{label}/{label}/{label}{end}").parse().unwrap()
    };
    assert_eq!(department_name(&department()), "city.finance");
    let (one, other) = (department_name(&long("a")), department_name(&long("b")));
    assert!(one.len() <= GROUP_NAME_BYTES_MAX && one.starts_with('_'));
    assert_ne!(one, other);
}

#[test]
fn version_one_writes_each_controllers_own_files() {
    let dir = tempfile::tempdir().unwrap();
    let groups = ["", "t", "t/i"];
    for controller in Controller::ALL {
        let files: &[&str] = match controller {
            Controller::Cpu => &["cgroup.procs", "cpu.shares", "cpu.cfs_quota_us", "cpu.idle"],
            Controller::Memory => &["cgroup.procs", "memory.limit_in_bytes"],
            Controller::Pids => &["cgroup.procs", "pids.max"],
            Controller::Cpuset => &["cgroup.procs", "cpuset.cpus", "cpuset.mems"],
            Controller::Cpuacct | Controller::Freezer | Controller::Io | Controller::Blkio => {
                &["cgroup.procs"]
            }
        };
        plant(&dir.path().join(controller.as_str()), &groups, files);
    }
    fs::write(dir.path().join("cpuset/cpuset.cpus"), "0-3\n").unwrap();
    fs::write(dir.path().join("cpuset/cpuset.mems"), "0\n").unwrap();
    let top = Group::V1(v1::Group::root(dir.path(), "t").unwrap()).child("t");
    let group = top.child("i");
    top.create().unwrap();
    group.create().unwrap();
    group.limit(&limits()).unwrap();
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
    assert_eq!(read("cpuset/t/i/cpuset.cpus"), "0-3", "nothing can join without CPUs");
    assert_eq!(read("cpu/t/i/cpu.shares"), "512");
    assert_eq!(read("cpu/t/i/cpu.cfs_quota_us"), "150000");
    assert_eq!(read("memory/t/i/memory.limit_in_bytes"), "67108864");
    assert_eq!(read("pids/t/i/pids.max"), "32");
    assert_eq!(group.procs_files().len(), Controller::ALL.len());
    let io = dir.path().join("blkio/t/i/blkio.throttle.io_service_bytes");
    assert_eq!(group.io_file(), Some(io));
    assert!(group.set_idle().unwrap());
    fs::write(dir.path().join("cpu/t/i/cpu.shares"), "2").unwrap();
    group.set_weight(Millicores::new(500)).unwrap();
    assert_eq!(read("cpu/t/i/cpu.shares"), "2", "an idle group keeps its least weight");
    let again = Group::from_directories(false, &group.directories());
    assert_eq!(again, group, "a shim knows the group as the agent does");
}

#[test]
fn the_agents_own_limits_are_the_least_on_the_way_up() {
    let dir = tempfile::tempdir().unwrap();
    let (proc_root, root) = (dir.path().join("proc"), dir.path().join("cg"));
    fs::create_dir_all(proc_root.join("self")).unwrap();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    fs::write(proc_root.join("self/cgroup"), "4:memory:/a/b\n1:cpu,cpuacct:/a\n0::/u\n").unwrap();
    write("memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    write("memory/a/memory.limit_in_bytes", "1073741824\n");
    write("cpu/a/cpu.cfs_quota_us", "-1\n");
    write("cpu/a/cpu.cfs_period_us", "100000\n");
    write("u/cpu.max", "150000 100000\n");
    write("u/memory.max", "max\n");
    let found = own_limits(&proc_root, &root, None);
    let expected =
        OwnLimits { cpu: Some(Millicores::new(1500)), memory: Some(Mebibytes::new(1024)) };
    assert_eq!(found, expected);
    fs::write(proc_root.join("self/cgroup"), "nonsense\n0::/../../etc\n").unwrap();
    assert_eq!(own_limits(&proc_root, &root, None), OwnLimits::default());
}

#[test]
fn groups_are_made_in_the_one_that_was_delegated_and_its_limits_bound_the_node() {
    let delegated = "tengyun.slice/tengyun-instances.service";
    let outer = tempfile::tempdir().unwrap();
    plant(outer.path(), &["", "tengyun.slice"], &V2_FILES);
    fs::write(outer.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
    let inner = v2_tree();
    fs::rename(inner.path(), outer.path().join(delegated)).unwrap();
    let parent: GroupPath = delegated.parse().unwrap();
    let names = ("tengyun".parse().unwrap(), "n1".parse().unwrap());
    let cgroups = Cgroups::probe(outer.path(), Some(&parent), &names.0, &names.1);
    assert_eq!((cgroups.version(), cgroups.reason()), (CgroupVersion::V2, ""));
    let node = outer.path().join(delegated).join("tengyun/n1");
    assert_eq!(cgroups.node().and_then(Group::any_directory), Some(node.clone()));
    assert!(!outer.path().join("tengyun").exists(), "nothing is made at the top");

    fs::write(node.join("shims/cgroup.procs"), "").unwrap();
    cgroups.house_shim(42).unwrap();
    assert_eq!(fs::read_to_string(node.join("shims/cgroup.procs")).unwrap(), "42");
    let error = Cgroups::none("no").house_shim(42);
    assert!(error.is_ok(), "without groups there is nowhere to go");

    // The limits of the agent's own service are not those of its instances.
    let proc_root = outer.path().join("proc");
    fs::create_dir_all(proc_root.join("self")).unwrap();
    fs::write(proc_root.join("self/cgroup"), "0::/system.slice/tengyun-agent.service\n").unwrap();
    plant(outer.path(), &["system.slice/tengyun-agent.service"], &[]);
    let write = |path: &str, text: &str| fs::write(outer.path().join(path), text).unwrap();
    write("system.slice/tengyun-agent.service/memory.max", "67108864\n");
    write("tengyun.slice/memory.max", "4294967296\n");
    let found = own_limits(&proc_root, outer.path(), Some(&parent));
    assert_eq!(found, OwnLimits { cpu: None, memory: Some(Mebibytes::new(4096)) });
    let found = own_limits(&proc_root, outer.path(), None);
    assert_eq!(found.memory, Some(Mebibytes::new(64)));

    let missing: GroupPath = "not.slice".parse().unwrap();
    let cgroups = Cgroups::probe(outer.path(), Some(&missing), &names.0, &names.1);
    assert_eq!(cgroups.version(), CgroupVersion::None);
    assert!(cgroups.reason().contains("not.slice"), "{}", cgroups.reason());
}
