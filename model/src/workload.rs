//! A workload: what a department wants to run, as the scheduler and the agents understand it.

use std::collections::BTreeMap;
use std::fmt;

use crate::calendar::{Schedule, Window};
use crate::name::{Name, WorkloadKey};
use crate::unit::{Mebibytes, Millicores, Millis};

/// The most instances of one workload; a bound on what one document can ask.
pub const INSTANCES_MAX: u32 = 10_000;
/// The most words of a command.
pub const COMMAND_WORDS_MAX: usize = 256;
/// The most bytes of all words of a command, all environment and all files together.
pub const SPEC_BYTES_MAX: usize = 512 * 1024;

/// What kind of life a workload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Runs until it is stopped.
    Service,
    /// Runs to its end.
    Job,
    /// Runs to its end at set times.
    Cron,
    /// One copy on every node.
    PerNode,
}

/// What is promised to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Its reservation is never promised to another critical or standard.
    Critical,
    /// Packed by its predicted peak; may burst.
    Standard,
    /// Fills what the others leave in the band; slowed and evicted first.
    Harvest,
}

impl Class {
    /// Every class, dearest first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Standard, Self::Harvest];

    /// Returns the word used in manifests, paths and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Standard => "standard",
            Self::Harvest => "harvest",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Kind {
    /// Returns the word used in manifests and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Job => "job",
            Self::Cron => "cron",
            Self::PerNode => "per-node",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// When an instance may be moved to another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MovePolicy {
    /// Never.
    Never,
    /// In its maintenance window only.
    Window,
    /// At any time, within the budget of moves.
    #[default]
    Any,
}

impl MovePolicy {
    /// Returns the word used in manifests and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Window => "window",
            Self::Any => "any",
        }
    }
}

/// What happens to an instance whose node is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnLost {
    /// It waits for its node, for proof that the node is dead, or for an operator's word.
    #[default]
    Wait,
    /// Another copy starts elsewhere, though the lost one may still run.
    Restart,
}

impl OnLost {
    /// Returns the word used in manifests and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Restart => "restart",
        }
    }
}

/// A file put into the working directory before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// A relative path without `..`, below the working directory.
    pub path: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Its permission bits, at most `0o777`.
    pub mode: u32,
}

/// A TCP or UDP port that an instance occupies on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// What it is called in the workload.
    pub name: Name,
    /// Its number.
    pub number: u16,
}

/// What one instance asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU request.
    pub cpu: Millicores,
    /// CPU limit, if it must not burst beyond it.
    pub cpu_limit: Option<Millicores>,
    /// Memory request and limit.
    pub memory: Mebibytes,
    /// Disk space.
    pub disk: Mebibytes,
    /// The most processes and threads.
    pub pids: u64,
}

/// Where instances may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Labels that the node must have, with these values.
    pub labels: BTreeMap<String, String>,
    /// A label whose values instances spread over evenly (difference at most one).
    pub spread: Option<String>,
    /// Workloads that must not share a node with this one; its own key keeps its instances apart.
    pub anti_affinity: Vec<WorkloadKey>,
}

/// Whether an ended instance starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartMode {
    /// Always.
    Always,
    /// When it ended with a failure.
    OnFailure,
    /// Never.
    Never,
}

impl RestartMode {
    /// Returns the word used in manifests and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::Never => "never",
        }
    }
}

/// How an ended instance starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Whether.
    pub mode: RestartMode,
    /// The pause before the first restart; it doubles with each failure.
    pub backoff: Millis,
    /// The longest pause.
    pub backoff_max: Millis,
}

/// How an instance is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The signal that asks it to end.
    pub signal: i32,
    /// How long it may take before its whole group is killed.
    pub grace: Millis,
}

/// How a new revision replaces the copies that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// How many copies are replaced at a time.
    pub batch: u32,
    /// How long a new copy must stay healthy before its old one stops and the next follows.
    pub healthy: Millis,
    /// How long, beyond its start-up time, a new copy may take to become healthy.
    pub deadline: Millis,
    /// After how many failures of new copies the rollout has failed.
    pub failure_limit: u32,
    /// Whether a failed rollout returns to the last good revision; otherwise it halts.
    pub auto_return: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            batch: 1,
            healthy: Millis::from_secs(10),
            deadline: Millis::from_secs(120),
            failure_limit: 1,
            auto_return: true,
        }
    }
}

/// One revision of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// Its name.
    pub key: WorkloadKey,
    /// Its kind of life.
    pub kind: Kind,
    /// What is promised to it.
    pub class: Class,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Files put into the working directory.
    pub files: Vec<FileSpec>,
    /// Environment, besides what the agent adds.
    pub env: BTreeMap<String, String>,
    /// The user to run as; `None` gives each instance an unprivileged id of its own.
    pub user: Option<String>,
    /// Ports it occupies.
    pub ports: Vec<PortSpec>,
    /// What each instance asks for.
    pub resources: Resources,
    /// Named counters each instance takes.
    pub counted: BTreeMap<Name, u64>,
    /// Where instances may be.
    pub constraints: Constraints,
    /// How many copies.
    pub instances: u32,
    /// How it restarts.
    pub restart: Restart,
    /// How it stops.
    pub stop: Stop,
    /// When it may move.
    pub move_policy: MovePolicy,
    /// How long after its start an instance counts as healthy.
    pub startup: Millis,
    /// What happens when its node is lost.
    pub on_lost: OnLost,
    /// How a new revision replaces the copies that run.
    pub rollout: Rollout,
    /// When it starts; of a cron workload only.
    pub schedule: Option<Schedule>,
    /// When its instances may be moved; with the policy to move in a window only.
    pub window: Option<Window>,
    /// Workloads that must be healthy, or have ended well, before an instance of this one starts.
    pub depends_on: Vec<WorkloadKey>,
}
