//! Control groups: one seam over the kernel's two kinds of them.
//!
//! A group is named by numbers and checked names only, always beneath the node's own group. This
//! module does what it is told and reports what cannot be done; it decides no limit.

mod control;
mod own;
mod path;
mod tree;
mod v1;
mod v2;

use std::io;
use std::path::PathBuf;

use tengyun_model::{Mebibytes, Millicores, Resources};

pub(crate) use own::{OwnLimits, own_limits};
pub use path::{GroupPath, GroupPathError};
pub(crate) use tree::{Cgroups, group_name};

/// Tells why a control group cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// The kernel refused an access.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl CgroupError {
    /// Returns the kernel's answer in words, for a report.
    pub(crate) fn reason(&self) -> String {
        let Self::Io { source, .. } = self;
        format!("{self}: {source}")
    }
}

/// What a group can control or count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    /// Weight, quota and idle class.
    Cpu,
    /// The CPU counter.
    Cpuacct,
    /// The set of CPUs and memory nodes.
    Cpuset,
    /// Memory limit and counter.
    Memory,
    /// The number of processes and threads.
    Pids,
    /// Holding all processes still.
    Freezer,
    /// What is read from and written to disks, in version 2.
    Io,
    /// The same in version 1.
    Blkio,
}

impl Controller {
    /// Every controller, in the order in which a process joins.
    pub(crate) const ALL: [Self; 8] = [
        Self::Cpuset,
        Self::Freezer,
        Self::Memory,
        Self::Pids,
        Self::Cpuacct,
        Self::Cpu,
        Self::Io,
        Self::Blkio,
    ];

    /// Returns the kernel's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
            Self::Io => "io",
            Self::Blkio => "blkio",
        }
    }

    /// Parses the kernel's word.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == text)
    }
}

/// What the CPU counter of a group counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CpuUnit {
    /// The file is one number of nanoseconds (v1 `cpuacct.usage`).
    Nanoseconds,
    /// The file has a line `usage_usec` (v2 `cpu.stat`).
    MicrosecondsInStat,
}

/// What one group is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// CPU request: the weight among its siblings.
    pub(crate) weight: Millicores,
    /// CPU rate it must not exceed.
    pub(crate) cpu: Option<Millicores>,
    /// Memory it must not exceed.
    pub(crate) memory: Option<Mebibytes>,
    /// Processes and threads it must not exceed.
    pub(crate) pids: Option<u64>,
}

impl Limits {
    /// The most processes of an instance that asks for no number.
    pub(crate) const PIDS_DEFAULT: u64 = 4096;

    /// Takes the limits from what an instance asks for.
    pub(crate) fn of(resources: &Resources) -> Self {
        let pids = if resources.pids == 0 { Self::PIDS_DEFAULT } else { resources.pids };
        Self {
            weight: resources.cpu,
            cpu: resources.cpu_limit,
            memory: Some(resources.memory).filter(|m| !m.is_zero()),
            pids: Some(pids),
        }
    }
}

/// One control group, on whichever hierarchies it has directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// One directory a controller.
    V1(v1::Group),
    /// One directory.
    V2(v2::Group),
}

macro_rules! either {
    ($group:expr, $inner:ident => $body:expr) => {
        match $group {
            Group::V1($inner) => $body,
            Group::V2($inner) => $body,
        }
    };
}

impl Group {
    /// Rebuilds a group from its directories, as [`Group::directories`] gave them.
    pub(crate) fn from_directories(unified: bool, directories: &[(String, PathBuf)]) -> Self {
        let pairs = directories.iter().filter_map(|(name, dir)| {
            Controller::parse(name).map(|controller| (controller, dir.clone()))
        });
        if unified {
            let dir = directories.first().map(|(_, dir)| dir.clone()).unwrap_or_default();
            Self::V2(v2::Group::new(dir, pairs.map(|(c, _)| c).collect()))
        } else {
            Self::V1(v1::Group::new(pairs.collect()))
        }
    }

    /// Returns true when the group has this controller.
    pub(crate) fn controls(&self, controller: Controller) -> bool {
        either!(self, g => g.controls(controller))
    }

    /// Returns its directories with what each controls.
    pub(crate) fn directories(&self) -> Vec<(String, PathBuf)> {
        either!(self, g => g.directories())
    }

    /// Returns true on the unified hierarchy.
    pub(crate) const fn is_unified(&self) -> bool {
        matches!(self, Self::V2(_))
    }

    /// Names a group directly below this one; nothing is made.
    pub(crate) fn child(&self, name: &str) -> Self {
        match self {
            Self::V1(g) => Self::V1(g.child(name)),
            Self::V2(g) => Self::V2(g.child(name)),
        }
    }

    /// Makes the group if it is not there; its parent must be.
    pub(crate) fn create(&self) -> Result<(), CgroupError> {
        either!(self, g => g.create())
    }

    /// Lets groups below this one have limits.
    pub(crate) fn open_to_children(&self) -> Result<(), CgroupError> {
        match self {
            Self::V1(_) => Ok(()),
            Self::V2(g) => g.open_to_children(),
        }
    }

    /// Sets every limit that the group's controllers can hold.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        self.set_weight(limits.weight)?;
        if limits.cpu.is_some() {
            self.set_quota(limits.cpu)?;
        }
        if let Some(memory) = limits.memory {
            either!(self, g => g.set_memory(memory))?;
        }
        limits.pids.map_or(Ok(()), |pids| either!(self, g => g.set_pids(pids)))
    }

    /// Sets the weight among siblings by the CPU asked for.
    pub(crate) fn set_weight(&self, weight: Millicores) -> Result<(), CgroupError> {
        either!(self, g => g.set_weight(weight))
    }

    /// Sets or lifts the CPU quota; the period stays at 100 ms.
    pub(crate) fn set_quota(&self, quota: Option<Millicores>) -> Result<(), CgroupError> {
        either!(self, g => g.set_quota(quota))
    }

    /// Sets the memory limit.
    pub(crate) fn set_memory(&self, limit: Mebibytes) -> Result<(), CgroupError> {
        either!(self, g => g.set_memory(limit))
    }

    /// Makes the group run only when nothing else wants the CPU; false when the kernel cannot.
    pub(crate) fn set_idle(&self) -> Result<bool, CgroupError> {
        either!(self, g => g.set_idle())
    }

    /// Returns the files into which a process writes its id to join.
    pub(crate) fn procs_files(&self) -> Vec<PathBuf> {
        either!(self, g => g.procs_files())
    }

    /// Returns the processes in the group.
    pub(crate) fn members(&self) -> Vec<i32> {
        either!(self, g => g.members())
    }

    /// Kills every process that is in the group at the moment.
    ///
    /// One round; the caller reaps, looks at [`Group::members`] and calls again while some are left.
    pub(crate) fn kill_once(&self) {
        either!(self, g => g.kill_once());
    }

    /// Removes the group; it must have no process. A group that is not there is removed.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        either!(self, g => g.remove())
    }

    /// Returns how many processes of the group the kernel killed for want of memory.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        either!(self, g => g.oom_kills())
    }

    /// Returns the file of the CPU counter.
    pub(crate) fn cpu_usage_file(&self) -> Option<PathBuf> {
        match self {
            Self::V1(g) => g.cpu_usage_file(),
            Self::V2(g) => Some(g.cpu_usage_file()),
        }
    }

    /// Returns what the CPU counter counts in.
    pub(crate) const fn cpu_unit(&self) -> CpuUnit {
        match self {
            Self::V1(_) => CpuUnit::Nanoseconds,
            Self::V2(_) => CpuUnit::MicrosecondsInStat,
        }
    }

    /// Returns the file of the memory in use, in bytes.
    pub(crate) fn memory_usage_file(&self) -> Option<PathBuf> {
        either!(self, g => g.memory_usage_file())
    }

    /// Returns the file that divides the memory in use.
    pub(crate) fn memory_stat_file(&self) -> Option<PathBuf> {
        either!(self, g => g.memory_stat_file())
    }

    /// Returns the file of what is read from and written to disks, in bytes.
    pub(crate) fn io_file(&self) -> Option<PathBuf> {
        either!(self, g => g.io_file())
    }

    /// Reads the CPU counter in microseconds.
    pub(crate) fn cpu_micros(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.cpu_usage_file()?).ok()?;
        match self.cpu_unit() {
            CpuUnit::Nanoseconds => text.trim().parse::<u64>().ok().map(|n| n / 1000),
            CpuUnit::MicrosecondsInStat => {
                text.lines().find_map(|l| l.strip_prefix("usage_usec "))?.trim().parse().ok()
            }
        }
    }

    fn any_directory(&self) -> Option<PathBuf> {
        self.directories().into_iter().next().map(|(_, dir)| dir)
    }
}

#[cfg(test)]
mod tests;
