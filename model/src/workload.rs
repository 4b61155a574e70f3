//! A workload: what a department wants to run, as the scheduler and the agents understand it.

use std::collections::BTreeMap;
use std::fmt;

use crate::calendar::{Schedule, Window};
use crate::name::{Name, WorkloadKey};
use crate::provision::Provision;
use crate::unit::{Mebibytes, Millicores, Millis};

/// The most instances of one workload; a bound on what one document can ask.
pub const INSTANCES_MAX: u32 = 10_000;
/// The fewest instances of a workload whose instances start all at once or not at all.
pub const GANG_MIN: u32 = 2;
/// The most words of a command.
pub const COMMAND_WORDS_MAX: usize = 256;
/// The most bytes of all words of a command, all environment, all files and templates together.
pub const SPEC_BYTES_MAX: usize = 512 * 1024;

/// The shortest interval and patience of a health check; shorter ones would be most of the work.
pub const HEALTH_TIME_MIN: Millis = Millis::new(50);
/// The most volumes of one copy; each is a directory that somebody looks after.
pub const VOLUMES_MAX: usize = 16;

/// Says whether two relative paths are one or one lies below the other.
pub fn paths_meet(one: &str, other: &str) -> bool {
    let below = |path: &str, top: &str| {
        path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

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
    /// Its number; without one the scheduler chooses a free port of the node.
    pub number: Option<u16>,
}

/// What is asked to learn whether an instance is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthProbe {
    /// A request for a path, which must be answered with a status from 200 to 399.
    Http {
        /// The port, by its name in the workload.
        port: Name,
        /// The path; begins with a slash.
        path: String,
    },
    /// A TCP connection, which must be accepted.
    Tcp {
        /// The port, by its name in the workload.
        port: Name,
    },
    /// A command, which must end with 0; it runs as the instance does.
    Command(Vec<String>),
}

/// What happens to an instance that is not healthy any more, or never became so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnUnhealthy {
    /// It is stopped and starts again after a pause.
    #[default]
    Restart,
    /// Nothing but that it is told.
    Report,
}

impl OnUnhealthy {
    /// Returns the word used in manifests and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Report => "report",
        }
    }
}

/// How one learns whether an instance is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: HealthProbe,
    /// The time between two checks.
    pub interval: Millis,
    /// How long an answer may take.
    pub timeout: Millis,
    /// After how many successes in a row the instance is healthy; at least 1.
    pub passes: u32,
    /// After how many failures in a row it is not; at least 1. What fails within the start-up time
    /// of an instance that was not healthy yet is not counted.
    pub failures: u32,
    /// What happens then.
    pub on_unhealthy: OnUnhealthy,
}

/// A directory that stays on the node and keeps its copy there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// What it is called in the workload.
    pub name: Name,
    /// Where it appears: a relative path without `..`, below the working directory.
    pub path: String,
    /// Its space, which counts as the node's disk for as long as the volume is there.
    pub size: Mebibytes,
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
    /// What each instance is given before it starts.
    pub provision: Provision,
    /// How one learns whether an instance is healthy; without one it is after its start-up time.
    pub health: Option<HealthCheck>,
    /// Directories that stay on the node; a workload that has any never moves.
    pub volumes: Vec<VolumeSpec>,
    /// How a new revision replaces the copies that run.
    pub rollout: Rollout,
    /// When it starts; of a cron workload only.
    pub schedule: Option<Schedule>,
    /// When its instances may be moved; with the policy to move in a window only.
    pub window: Option<Window>,
    /// Workloads that must be healthy, or have ended well, before an instance of this one starts.
    pub depends_on: Vec<WorkloadKey>,
    /// Whether the instances that wait start all at once or not at all.
    pub gang: bool,
}

impl WorkloadSpec {
    /// Makes a service that runs a command; all else is as in a manifest that does not speak of it.
    pub fn service(key: WorkloadKey, command: Vec<String>) -> Self {
        Self {
            key,
            kind: Kind::Service,
            class: Class::Standard,
            command,
            files: Vec::new(),
            env: BTreeMap::new(),
            user: None,
            ports: Vec::new(),
            resources: Resources {
                cpu: Millicores::new(100),
                cpu_limit: None,
                memory: Mebibytes::new(128),
                disk: Mebibytes::ZERO,
                pids: 256,
            },
            counted: BTreeMap::new(),
            constraints: Constraints::default(),
            instances: 1,
            restart: Restart {
                mode: RestartMode::Always,
                backoff: Millis::from_secs(1),
                backoff_max: Millis::from_secs(60),
            },
            stop: Stop { signal: 15, grace: Millis::from_secs(10) },
            move_policy: MovePolicy::Any,
            startup: Millis::from_secs(5),
            on_lost: OnLost::Wait,
            provision: Provision::default(),
            health: None,
            volumes: Vec::new(),
            rollout: Rollout::default(),
            schedule: None,
            window: None,
            depends_on: Vec::new(),
            gang: false,
        }
    }
}

/// Names one copy of a workload, whichever instance it is at the time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyKey {
    /// The workload.
    pub workload: WorkloadKey,
    /// Which copy, from 0.
    pub ordinal: u32,
}

impl fmt::Display for CopyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copy {} of {}", self.ordinal, self.workload)
    }
}
