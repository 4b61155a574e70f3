//! Version 2: the unified hierarchy, and a group is one directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tengyun_model::{Mebibytes, Millicores};

use super::{CgroupError, Controller, control};

/// The controllers that groups of ours use, what limits before what only counts; the freezer and the CPU
/// counter are always there.
const WANTED: [Controller; 4] =
    [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Io];
/// The file that says what is handed down.
const SUBTREE: &str = "cgroup.subtree_control";
/// How often a freezing group is looked at where the kernel has no `cgroup.kill`.
const FREEZE_LOOKS_MAX: u32 = 50;
/// The pause between two looks.
const FREEZE_PAUSE: Duration = Duration::from_millis(1);

/// A group of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    dir: PathBuf,
    controllers: BTreeSet<Controller>,
}

impl Group {
    pub(super) const fn new(dir: PathBuf, controllers: BTreeSet<Controller>) -> Self {
        Self { dir, controllers }
    }

    /// Finds which controllers the unified hierarchy at `root` hands down to groups of ours.
    pub(super) fn root(root: &Path) -> Result<Self, String> {
        let offered = words(&root.join("cgroup.controllers"))?;
        let mut top = Self { dir: root.to_owned(), controllers: offered };
        // What cannot be handed down is missing from the list that is read next.
        drop(top.open_to_children());
        top.controllers = words(&root.join(SUBTREE))?;
        // Both are part of every group of this version.
        top.controllers.extend([Controller::Cpuacct, Controller::Freezer]);
        Ok(top)
    }

    pub(super) fn directories(&self) -> Vec<(String, PathBuf)> {
        self.controllers.iter().map(|c| (c.as_str().to_owned(), self.dir.clone())).collect()
    }

    pub(super) fn controls(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }

    pub(super) fn child(&self, name: &str) -> Self {
        Self { dir: self.dir.join(name), controllers: self.controllers.clone() }
    }

    pub(super) fn create(&self) -> Result<(), CgroupError> {
        control::make(&self.dir)
    }

    /// Hands the controllers down, as far as they are not yet; the kernel forbids it while the group
    /// itself has processes.
    pub(super) fn open_to_children(&self) -> Result<(), CgroupError> {
        let file = self.dir.join(SUBTREE);
        let open = words(&file).unwrap_or_default();
        for controller in WANTED.iter().filter(|c| self.controls(**c) && !open.contains(c)) {
            control::write(&file, &format!("+{}", controller.as_str()))?;
        }
        Ok(())
    }

    pub(super) fn set_weight(&self, request: Millicores) -> Result<(), CgroupError> {
        if !self.controls(Controller::Cpu) || self.is_idle() {
            // The kernel refuses a weight for an idle group.
            return Ok(());
        }
        self.set("cpu.weight", &control::weight(request).to_string())
    }

    pub(super) fn set_quota(&self, quota: Option<Millicores>) -> Result<(), CgroupError> {
        if !self.controls(Controller::Cpu) {
            return Ok(());
        }
        let quota =
            quota.map_or_else(|| "max".to_owned(), |q| control::quota_micros(q).to_string());
        self.set("cpu.max", &format!("{quota} {}", control::PERIOD_MICROS))
    }

    pub(super) fn set_memory(&self, limit: Mebibytes) -> Result<(), CgroupError> {
        if !self.controls(Controller::Memory) {
            return Ok(());
        }
        self.set("memory.max", &limit.get().saturating_mul(1024 * 1024).to_string())?;
        for (file, value) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
            // Absent on kernels without swap accounting or older than 4.19.
            if self.dir.join(file).exists() {
                self.set(file, value)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_pids(&self, limit: u64) -> Result<(), CgroupError> {
        if !self.controls(Controller::Pids) {
            return Ok(());
        }
        self.set("pids.max", &limit.to_string())
    }

    pub(super) fn set_idle(&self) -> Result<bool, CgroupError> {
        if !self.dir.join("cpu.idle").exists() {
            return Ok(false);
        }
        self.set("cpu.idle", "1")?;
        Ok(true)
    }

    pub(super) fn procs_files(&self) -> Vec<PathBuf> {
        vec![self.dir.join("cgroup.procs")]
    }

    pub(super) fn members(&self) -> Vec<i32> {
        control::ids(&self.dir.join("cgroup.procs"))
    }

    pub(super) fn kill_once(&self) {
        let kill = self.dir.join("cgroup.kill");
        if kill.exists() && control::write(&kill, "1").is_ok() {
            return;
        }
        self.freeze();
        control::kill_each(&self.members());
        // Fatal signals end frozen processes here; thawing is for those that joined meanwhile.
        drop(self.set("cgroup.freeze", "0"));
    }

    pub(super) fn remove(&self) -> Result<(), CgroupError> {
        control::remove(&self.dir)
    }

    pub(super) fn oom_kills(&self) -> Option<u64> {
        control::counter(&self.dir.join("memory.events"), "oom_kill")
    }

    pub(super) fn cpu_usage_file(&self) -> PathBuf {
        self.dir.join("cpu.stat")
    }

    pub(super) fn memory_usage_file(&self) -> Option<PathBuf> {
        self.controls(Controller::Memory).then(|| self.dir.join("memory.current"))
    }

    pub(super) fn memory_stat_file(&self) -> Option<PathBuf> {
        self.controls(Controller::Memory).then(|| self.dir.join("memory.stat"))
    }

    pub(super) fn io_file(&self) -> Option<PathBuf> {
        self.controls(Controller::Io).then(|| self.dir.join("io.stat"))
    }

    fn set(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        control::write(&self.dir.join(file), value)
    }

    fn is_idle(&self) -> bool {
        std::fs::read_to_string(self.dir.join("cpu.idle")).is_ok_and(|text| text.trim() == "1")
    }

    fn freeze(&self) {
        if self.set("cgroup.freeze", "1").is_err() {
            return;
        }
        for _ in 0..FREEZE_LOOKS_MAX {
            if control::counter(&self.dir.join("cgroup.events"), "frozen") == Some(1) {
                return;
            }
            std::thread::sleep(FREEZE_PAUSE);
        }
    }
}

/// Reads the controllers that a file names, as far as groups of ours use them.
fn words(file: &Path) -> Result<BTreeSet<Controller>, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let named = text.split_whitespace().filter_map(Controller::parse);
    Ok(named.filter(|controller| WANTED.contains(controller)).collect())
}
