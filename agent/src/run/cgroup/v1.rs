//! Version 1: one hierarchy a controller, and a group is a directory in each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tengyun_model::{Mebibytes, Millicores};

use super::{CgroupError, Controller, control};

/// How often the state of a freezing group is looked at; freezing takes microseconds to
/// milliseconds, and a group that does not freeze in this many is killed all the same.
const FREEZE_LOOKS_MAX: u32 = 50;
/// The pause between two looks.
const FREEZE_PAUSE: Duration = Duration::from_millis(1);

/// A group of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    dirs: BTreeMap<Controller, PathBuf>,
}

impl Group {
    pub(super) const fn new(dirs: BTreeMap<Controller, PathBuf>) -> Self {
        Self { dirs }
    }

    /// Finds the hierarchies that are mounted below `root` and in which `name` can be made.
    pub(super) fn root(root: &Path, name: &str) -> Result<Self, String> {
        let mut dirs = BTreeMap::new();
        let mut reason = format!("no control group controller is mounted below {}", root.display());
        for controller in Controller::ALL {
            // `cpu` is often a link to `cpu,cpuacct`: two names of one directory do no harm.
            let dir = root.join(controller.as_str());
            if !dir.join("cgroup.procs").exists() {
                continue;
            }
            match control::make(&dir.join(name)) {
                Ok(()) => {
                    dirs.insert(controller, dir);
                }
                Err(error) => reason = error.reason(),
            }
        }
        if dirs.is_empty() { Err(reason) } else { Ok(Self { dirs }) }
    }

    pub(super) fn directories(&self) -> Vec<(String, PathBuf)> {
        self.dirs.iter().map(|(c, dir)| (c.as_str().to_owned(), dir.clone())).collect()
    }

    pub(super) fn controls(&self, controller: Controller) -> bool {
        self.dirs.contains_key(&controller)
    }

    pub(super) fn child(&self, name: &str) -> Self {
        Self { dirs: self.dirs.iter().map(|(c, dir)| (*c, dir.join(name))).collect() }
    }

    pub(super) fn create(&self) -> Result<(), CgroupError> {
        for (controller, dir) in &self.dirs {
            control::make(dir)?;
            match controller {
                Controller::Cpuset => inherit_cpuset(dir)?,
                Controller::Memory => count_children(dir),
                Controller::Cpu
                | Controller::Cpuacct
                | Controller::Pids
                | Controller::Freezer
                | Controller::Io
                | Controller::Blkio => {}
            }
        }
        Ok(())
    }

    pub(super) fn set_weight(&self, weight: Millicores) -> Result<(), CgroupError> {
        let Some(dir) = self.dirs.get(&Controller::Cpu) else { return Ok(()) };
        if is_idle(dir) {
            // The kernel keeps the weight of an idle group at its least and refuses another.
            return Ok(());
        }
        control::write(&dir.join("cpu.shares"), &control::shares(weight).to_string())
    }

    pub(super) fn set_quota(&self, quota: Option<Millicores>) -> Result<(), CgroupError> {
        let Some(dir) = self.dirs.get(&Controller::Cpu) else { return Ok(()) };
        let quota = quota.map_or_else(|| "-1".to_owned(), |q| control::quota_micros(q).to_string());
        control::write(&dir.join("cpu.cfs_quota_us"), &quota)
    }

    pub(super) fn set_memory(&self, limit: Mebibytes) -> Result<(), CgroupError> {
        let Some(dir) = self.dirs.get(&Controller::Memory) else { return Ok(()) };
        let bytes = limit.get().saturating_mul(1024 * 1024).to_string();
        let swap = dir.join("memory.memsw.limit_in_bytes");
        let memory = dir.join("memory.limit_in_bytes");
        // The limit with swap may never be below the one without: which goes first depends on
        // whether the limit grows or shrinks.
        if control::write(&memory, &bytes).is_ok() {
            return if swap.exists() { control::write(&swap, &bytes) } else { Ok(()) };
        }
        if swap.exists() {
            control::write(&swap, &bytes)?;
        }
        control::write(&memory, &bytes)
    }

    pub(super) fn set_pids(&self, limit: u64) -> Result<(), CgroupError> {
        let Some(dir) = self.dirs.get(&Controller::Pids) else { return Ok(()) };
        control::write(&dir.join("pids.max"), &limit.to_string())
    }

    pub(super) fn set_idle(&self) -> Result<bool, CgroupError> {
        let Some(dir) = self.dirs.get(&Controller::Cpu) else { return Ok(false) };
        let file = dir.join("cpu.idle");
        if !file.exists() {
            return Ok(false);
        }
        control::write(&file, "1")?;
        Ok(true)
    }

    pub(super) fn procs_files(&self) -> Vec<PathBuf> {
        let order = Controller::ALL.iter().filter_map(|c| self.dirs.get(c));
        order.map(|dir| dir.join("cgroup.procs")).collect()
    }

    pub(super) fn members(&self) -> Vec<i32> {
        // All hierarchies hold the same processes; the first that answers is enough.
        self.procs_files().first().map(|file| control::ids(file)).unwrap_or_default()
    }

    /// Holds the group still, so that nothing can fork away, and kills what is in it.
    pub(super) fn kill_once(&self) {
        let state = self.dirs.get(&Controller::Freezer).map(|dir| dir.join("freezer.state"));
        if let Some(state) = &state {
            freeze(state);
        }
        control::kill_each(&self.members());
        if let Some(state) = &state {
            // A frozen process does not die before it is thawed.
            drop(control::write(state, "THAWED"));
        }
    }

    pub(super) fn remove(&self) -> Result<(), CgroupError> {
        self.dirs.values().try_for_each(|dir| control::remove(dir))
    }

    pub(super) fn oom_kills(&self) -> Option<u64> {
        let dir = self.dirs.get(&Controller::Memory)?;
        control::counter(&dir.join("memory.oom_control"), "oom_kill")
    }

    pub(super) fn cpu_usage_file(&self) -> Option<PathBuf> {
        self.dirs.get(&Controller::Cpuacct).map(|dir| dir.join("cpuacct.usage"))
    }

    pub(super) fn memory_usage_file(&self) -> Option<PathBuf> {
        self.dirs.get(&Controller::Memory).map(|dir| dir.join("memory.usage_in_bytes"))
    }

    pub(super) fn memory_stat_file(&self) -> Option<PathBuf> {
        self.dirs.get(&Controller::Memory).map(|dir| dir.join("memory.stat"))
    }

    pub(super) fn io_file(&self) -> Option<PathBuf> {
        self.dirs.get(&Controller::Blkio).map(|dir| dir.join("blkio.throttle.io_service_bytes"))
    }
}

/// Gives a new group the CPUs and memory nodes of its parent: without them nothing can join.
fn inherit_cpuset(dir: &Path) -> Result<(), CgroupError> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        if own.trim().is_empty() {
            let value = std::fs::read_to_string(parent.join(file)).unwrap_or_default();
            control::write(&dir.join(file), value.trim())?;
        }
    }
    Ok(())
}

/// Makes a group on an old kernel count its children; newer ones always do.
fn count_children(dir: &Path) {
    let file = dir.join("memory.use_hierarchy");
    if std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == "0") {
        // Refused once the group has children, which then were made under the same setting.
        drop(control::write(&file, "1"));
    }
}

fn is_idle(dir: &Path) -> bool {
    std::fs::read_to_string(dir.join("cpu.idle")).is_ok_and(|text| text.trim() == "1")
}

fn freeze(state: &Path) {
    if control::write(state, "FROZEN").is_err() {
        return;
    }
    for _ in 0..FREEZE_LOOKS_MAX {
        if std::fs::read_to_string(state).is_ok_and(|text| text.trim() == "FROZEN") {
            return;
        }
        std::thread::sleep(FREEZE_PAUSE);
    }
}
