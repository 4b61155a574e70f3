//! A node: what its agent found out about one server, and what of it may be used.

use std::collections::BTreeMap;
use std::fmt;

use crate::id::{BootId, MachineId};
use crate::name::{Name, NodeName};
use crate::unit::{Mebibytes, Millicores, Permille};

/// What may be promised to instances on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// CPU, counted in cores (not in hardware threads), each with what its second thread adds.
    pub cpu: Millicores,
    /// Memory.
    pub memory: Mebibytes,
    /// Disk space for instances.
    pub disk: Mebibytes,
    /// Processes and threads.
    pub pids: u64,
    /// Named counters, such as licences or devices.
    pub counted: BTreeMap<Name, u64>,
}

/// Which control group hierarchy the kernel offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CgroupVersion {
    /// No controller can be used.
    #[default]
    None,
    /// Separate hierarchies, one a controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The device as the kernel names it.
    pub device: String,
    /// Where it is mounted.
    pub mount: String,
    /// Its size.
    pub total: Mebibytes,
    /// What is free for ordinary users.
    pub free: Mebibytes,
}

/// Where the gain of SMT is known from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SmtSource {
    /// The agent says nothing of it, as those before 0.2 did: cores are counted.
    #[default]
    Unsaid,
    /// No core runs more than one thread, or nothing tells which threads share one.
    Single,
    /// It was not measured yet, and the least is taken.
    Assumed,
    /// It was measured on this machine.
    Measured,
    /// The operator said it.
    Said,
}

impl SmtSource {
    /// Every source.
    pub const ALL: [Self; 5] =
        [Self::Unsaid, Self::Single, Self::Assumed, Self::Measured, Self::Said];

    /// Returns the word used in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsaid => "unsaid",
            Self::Single => "single",
            Self::Assumed => "assumed",
            Self::Measured => "measured",
            Self::Said => "said",
        }
    }
}

/// What the further threads of cores add (SMT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Smt {
    /// Cores that run more than one thread.
    pub cores: u32,
    /// How much more such a core does with all its threads than with one.
    pub gain: Permille,
    /// Where that is known from.
    pub source: SmtSource,
}

/// What the server is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The installation; evidence, not identity.
    pub machine_id: MachineId,
    /// The running boot.
    pub boot_id: BootId,
    /// The kernel release, such as `6.1.0-18-amd64`.
    pub kernel: String,
    /// The instruction set, such as `x86_64` or `aarch64`.
    pub architecture: String,
    /// The processor's name.
    pub cpu_model: String,
    /// Processor sockets.
    pub sockets: u32,
    /// Physical cores.
    pub cores: u32,
    /// Hardware threads; more than `cores` when SMT is on.
    pub threads: u32,
    /// Memory nodes.
    pub numa_nodes: u32,
    /// All memory.
    pub memory: Mebibytes,
    /// Mounted file systems that hold data.
    pub disks: Vec<Disk>,
    /// The control groups found.
    pub cgroup: CgroupVersion,
    /// Whether pressure stall information is there.
    pub psi: bool,
    /// Whether the agent runs as root.
    pub root: bool,
    /// What the further threads of its cores add.
    pub smt: Smt,
}

/// What a node can enforce on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Control {
    /// The capacity of the node as a whole.
    NodeCapacity,
    /// CPU weight between instances.
    CpuWeight,
    /// The CPU limit of an instance.
    CpuLimit,
    /// The idle class for harvest instances.
    CpuIdle,
    /// The memory limit of an instance.
    MemoryLimit,
    /// The limit of processes and threads.
    PidsLimit,
    /// An unprivileged user of its own for each instance.
    OwnUser,
    /// CPU metering of an instance.
    CpuMeter,
    /// Memory metering of an instance.
    MemoryMeter,
}

impl Control {
    /// Every control, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::NodeCapacity,
        Self::CpuWeight,
        Self::CpuLimit,
        Self::CpuIdle,
        Self::MemoryLimit,
        Self::PidsLimit,
        Self::OwnUser,
        Self::CpuMeter,
        Self::MemoryMeter,
    ];

    /// Returns the word used in tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeCapacity => "node-capacity",
            Self::CpuWeight => "cpu-weight",
            Self::CpuLimit => "cpu-limit",
            Self::CpuIdle => "cpu-idle",
            Self::MemoryLimit => "memory-limit",
            Self::PidsLimit => "pids-limit",
            Self::OwnUser => "own-user",
            Self::CpuMeter => "cpu-meter",
            Self::MemoryMeter => "memory-meter",
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How well a control holds on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnforcementLevel {
    /// The kernel holds it.
    Enforced,
    /// It holds nearly, or is read from a coarser counter.
    Approximate,
    /// It does not hold.
    NotEnforced,
}

impl EnforcementLevel {
    /// Returns the word used in tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Approximate => "approximate",
            Self::NotEnforced => "not enforced",
        }
    }
}

/// One control of a node, how well it holds, and why not better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcement {
    /// What is controlled.
    pub control: Control,
    /// How well.
    pub level: EnforcementLevel,
    /// Why it is not better; empty when enforced.
    pub reason: String,
}

/// All that a node says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name, unique in the cloud.
    pub name: NodeName,
    /// Labels that constraints select by.
    pub labels: BTreeMap<String, String>,
    /// What may be promised.
    pub capacity: Capacity,
    /// What it is made of.
    pub inventory: Inventory,
    /// What it can enforce.
    pub enforcement: Vec<Enforcement>,
}
