//! What an agent is told when it starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use tengyun_model::{Mebibytes, Millicores, Millis, Name, NodeName, Permille};
use tengyun_proto::supervisor::Supervisor;
use tengyun_proto::token::sha256;

pub(crate) use crate::artifacts::ArtifactLimits;
pub use crate::run::OutputLimits;
pub use crate::run::cgroup::{GroupPath, GroupPathError};

/// The name of the control group below which every node of this machine has its own.
const CGROUP_NAME: &str = "tengyun";
/// The first user id given to instances: above what distributions and directories hand out.
const UID_BASE: u32 = 200_000;
/// How often use is measured.
const SAMPLE_INTERVAL: Millis = Millis::from_secs(1);
/// The socket of a scheduler in its state directory.
const SCHEDULER_SOCKET: &str = "scheduler.sock";

/// The socket of metrics in the agent's state directory.
const METRICS_SOCKET: &str = "metrics.sock";

/// What the operator says a node may promise; what is left out is found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacityOverrides {
    /// CPU; enforced by a quota on the node's control group.
    pub cpu: Option<Millicores>,
    /// What the further threads of a core add; it is measured unless it is said.
    pub smt_gain: Option<Permille>,
    /// Memory; enforced by a limit on the node's control group.
    pub memory: Option<Mebibytes>,
    /// Disk space for instances.
    pub disk: Option<Mebibytes>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Named counters, such as licences.
    pub counted: BTreeMap<Name, u64>,
}

/// What an agent is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's name, unique in the cloud.
    pub name: NodeName,
    /// Where ledger, meters and instances are; made if it is not there.
    pub state_dir: PathBuf,
    /// Where the scheduler answers.
    pub scheduler_socket: PathBuf,
    /// The node's identity, with which it speaks to a scheduler on another machine instead.
    pub identity: Option<PathBuf>,
    /// Where metrics are read from.
    pub metrics_socket: PathBuf,
    /// The group that may read them; nobody but the owner unless it is said.
    pub metrics_group: Option<String>,
    /// What the node may promise.
    pub capacity: CapacityOverrides,
    /// Labels that constraints select by.
    pub labels: BTreeMap<String, String>,
    /// The control group below which the node's own is made.
    pub cgroup_name: Name,
    /// The group of the unified hierarchy, delegated to the agent, in which that one is made; its
    /// limits bound the node. Without it they are made at the top, and the agent's own limits bound.
    pub cgroup_parent: Option<GroupPath>,
    /// Where the kernel's process files are.
    pub proc_root: PathBuf,
    /// Where the kernel's devices are.
    pub sys_root: PathBuf,
    /// Where the control group hierarchies are mounted.
    pub cgroup_root: PathBuf,
    /// Whether to stop all instances when the agent is told to end.
    pub stop_instances_on_exit: bool,
    /// How often use is measured.
    pub sample_interval: Millis,
    /// How often to report; `None` takes the scheduler's word.
    pub report_interval: Option<Millis>,
    /// The program that runs as the shim when its first argument is `shim`.
    pub shim: PathBuf,
    /// The first of the user ids that instances get when the agent is root.
    pub uid_base: u32,
    /// The bounds of each instance's output.
    pub output: OutputLimits,
    /// Who is told how the agent is.
    pub supervisor: Supervisor,
    /// The bounds of artifacts.
    pub artifacts: ArtifactLimits,
    /// Where secrets are kept, in memory.
    pub secrets_dir: PathBuf,
}

impl Config {
    /// Makes the default configuration of a node.
    pub fn new(
        name: NodeName,
        state_dir: impl Into<PathBuf>,
        scheduler_socket: impl Into<PathBuf>,
    ) -> Self {
        let state_dir = state_dir.into();
        Self {
            secrets_dir: secrets_dir(&state_dir),
            name,
            metrics_socket: state_dir.join(METRICS_SOCKET),
            metrics_group: None,
            state_dir,
            scheduler_socket: scheduler_socket.into(),
            identity: None,
            capacity: CapacityOverrides::default(),
            labels: BTreeMap::new(),
            cgroup_name: Name::new(CGROUP_NAME).expect("the constant is a name"),
            cgroup_parent: None,
            proc_root: PathBuf::from("/proc"),
            sys_root: PathBuf::from("/sys"),
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
            stop_instances_on_exit: false,
            sample_interval: SAMPLE_INTERVAL,
            report_interval: None,
            // The running program, even after an upgrade has replaced its file.
            shim: PathBuf::from("/proc/self/exe"),
            uid_base: UID_BASE,
            output: OutputLimits::default(),
            supervisor: Supervisor::default(),
            artifacts: ArtifactLimits::default(),
        }
    }

    /// Returns where a scheduler over this state directory answers unless it was told otherwise.
    pub fn default_scheduler_socket(scheduler_state_dir: impl Into<PathBuf>) -> PathBuf {
        scheduler_state_dir.into().join(SCHEDULER_SOCKET)
    }
}

/// Chooses where the secrets of an agent are kept: one place for each state directory, in memory.
fn secrets_dir(state_dir: &Path) -> PathBuf {
    let whole = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let own = sha256(whole.as_os_str().as_encoded_bytes()).to_string();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let base = match (Uid::effective(), runtime) {
        (uid, _) if uid.is_root() => PathBuf::from("/run/tengyun"),
        (_, Some(runtime)) => PathBuf::from(runtime).join("tengyun"),
        (uid, None) => PathBuf::from(format!("/dev/shm/tengyun-{uid}")),
    };
    base.join(format!("secrets-{own:.16}"))
}
