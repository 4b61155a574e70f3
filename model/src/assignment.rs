//! An assignment: the whole desired set of one node; and what became of it.

use std::fmt;

use crate::id::{Epoch, Generation, Incarnation, InstanceId, NodeId, Revision};
use crate::policy::Band;
use crate::unit::At;
use crate::workload::{CopyKey, WorkloadSpec};

/// All instances that one node should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The node it is for.
    pub node: NodeId,
    /// The reign that made it.
    pub epoch: Epoch,
    /// Its version.
    pub generation: Generation,
    /// The band that harvest is held to.
    pub band: Band,
    /// The instances, in ascending order of their ids.
    pub instances: Vec<AssignedInstance>,
    /// The copies whose volumes on this node are to be removed, in ascending order.
    pub removed: Vec<CopyKey>,
}

/// One instance of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedInstance {
    /// Which.
    pub instance: InstanceId,
    /// Which copy of its workload, from 0.
    pub ordinal: u32,
    /// The version of the specification.
    pub revision: Revision,
    /// What to run.
    pub spec: WorkloadSpec,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Has no node yet.
    Waiting,
    /// Is assigned; its process does not run yet.
    Starting,
    /// Its process runs and is not healthy yet.
    Running,
    /// Its health check passes, or, without one, its process has run for its start-up time.
    Healthy,
    /// Ended and will start again after a pause.
    BackingOff,
    /// Has been asked to end.
    Stopping,
    /// Ended for good with success.
    Succeeded,
    /// Ended for good, or could not start.
    Failed,
    /// Was stopped because it is no longer wanted here.
    Stopped,
    /// Its process runs and its health check fails.
    Unhealthy,
}

impl Phase {
    /// Returns the word used in tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Healthy => "healthy",
            Self::BackingOff => "backing off",
            Self::Stopping => "stopping",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// Returns true when nothing of the instance runs and nothing will.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Stopped)
    }

    /// Returns true while a process of the instance may be running.
    pub const fn may_run(self) -> bool {
        matches!(
            self,
            Self::Starting
                | Self::Running
                | Self::Healthy
                | Self::BackingOff
                | Self::Stopping
                | Self::Unhealthy
        )
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// The kernel killed it for want of memory.
    OutOfMemory,
    /// It could not be started.
    NotStarted,
    /// It ended while nobody watched, and how is not known.
    Unknown,
    /// It was stopped because its health check failed.
    Unhealthy,
    /// It was not started: another program of the server listens on this port of it.
    PortTaken(u16),
}

impl Exit {
    /// Returns true for code 0.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::OutOfMemory => write!(f, "out of memory"),
            Self::NotStarted => write!(f, "could not be started"),
            Self::Unknown => write!(f, "unknown"),
            Self::Unhealthy => write!(f, "not healthy"),
            Self::PortTaken(port) => write!(f, "port {port} is taken by another program"),
        }
    }
}

/// What an agent says of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// Which.
    pub instance: InstanceId,
    /// Which start of it; 0 before the first.
    pub incarnation: Incarnation,
    /// Where it is.
    pub phase: Phase,
    /// Since when, by the agent's clock.
    pub since: At,
    /// The main process, while it runs.
    pub pid: Option<u32>,
    /// How its last process ended.
    pub exit: Option<Exit>,
    /// What went wrong, in words; empty when nothing did.
    pub message: String,
}
