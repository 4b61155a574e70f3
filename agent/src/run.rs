//! The root half of the agent: acts on typed requests, decides nothing, and has no network.
//!
//! Requests hold numbers, checked names and values, never a path. They are the seam along which the
//! agent will be split into two processes (`docs/decisions/0003-agent-runner-shim.md`).

pub(crate) mod beneath;
pub(crate) mod cgroup;
mod check;
mod files;
mod ports;
mod process;
mod provide;
mod secrets;
mod services;
mod survey;
mod volumes;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tengyun_model::{
    AssignedInstance, Class, CopyKey, DepartmentPath, Exit, Incarnation, InstanceId, Millicores,
    NodeName, SecretName, VolumeUsage,
};

use crate::artifacts::cache::Cache;
use cgroup::{CgroupError, Cgroups, Group};

pub(crate) use process::{FIRST_OF_DEPARTMENTS, InstanceDirs, UIDS};
pub(crate) use secrets::{HandedSecret, Vault};
pub(crate) use services::{Endpoint, ServiceDirs, ServiceList};
pub(crate) use survey::{Found, FoundState};
pub(crate) use volumes::{VOLUMES, VolumeDirs};

/// Names one start of one instance on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunKey {
    /// The instance.
    pub(crate) instance: InstanceId,
    /// Which start of it.
    pub(crate) incarnation: Incarnation,
}

impl RunKey {
    /// Parses the name of a directory or group; only the one way of writing a key is taken.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (instance, incarnation) = text.split_once('.')?;
        let key = Self {
            instance: InstanceId::new(instance.parse().ok()?),
            incarnation: Incarnation::new(incarnation.parse().ok()?),
        };
        (key.to_string() == text).then_some(key)
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.instance, self.incarnation)
    }
}

/// Names a start and where its control group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunTarget {
    /// The start.
    pub(crate) key: RunKey,
    /// Its class.
    pub(crate) class: Class,
    /// Its department.
    pub(crate) department: DepartmentPath,
}

impl RunTarget {
    /// Names this start of an assigned instance.
    pub(crate) fn of(assigned: &AssignedInstance, incarnation: Incarnation) -> Self {
        Self {
            key: RunKey { instance: assigned.instance, incarnation },
            class: assigned.spec.class,
            department: assigned.spec.key.department.clone(),
        }
    }
}

/// What the runner may be asked.
#[derive(Debug)]
pub(crate) enum RunRequest {
    /// Make the directory, the files and the control group of a start.
    Prepare(Box<Preparation>),
    /// Start the shim of a prepared start.
    Start(RunKey),
    /// Ask the workload to end by this signal.
    Signal(RunKey, i32),
    /// Kill every process of a start.
    KillGroup(RunTarget),
    /// Clear away what an ended start left, except its records and its output.
    Clear(RunTarget),
    /// Remove the records and the output of a cleared start.
    Remove(RunKey),
    /// Hold harvest as a whole to this CPU rate.
    SetHarvestQuota(Millicores),
    /// Say what is there; what is of no use is cleared away.
    Survey,
    /// Keep secrets that were handed to this node.
    HoldSecrets(Vec<HandedSecret>),
    /// Say which of these secrets are not held.
    MissingSecrets(Vec<SecretName>),
    /// Forget these secrets.
    ForgetSecrets(Vec<SecretName>),
    /// Forget all secrets but these.
    RetainSecrets(BTreeSet<SecretName>),
    /// Start a command that asks whether a start is healthy.
    StartCheck(RunKey, Vec<String>),
    /// Reap such a command, killed first if it is to be.
    EndCheck {
        /// Its process.
        pid: u32,
        /// Whether it did not end in time.
        kill: bool,
    },
    /// Remember whether a start is healthy, for an agent that adopts it.
    KeepHealth(RunKey, bool),
    /// Say which copies have volumes here, and how much they hold.
    SurveyVolumes,
    /// Remove the volumes of a copy and what they hold.
    RemoveVolumes(CopyKey),
    /// Write down where workloads are.
    WriteServices(Box<ServiceList>),
}

/// What outlives the starts of this node.
#[derive(Debug)]
pub(crate) struct Stores {
    /// Fetched artifacts.
    pub(crate) cache: Cache,
    /// Secrets, in memory.
    pub(crate) vault: Vault,
    /// Volumes.
    pub(crate) volumes: VolumeDirs,
    /// Where workloads are.
    pub(crate) services: ServiceDirs,
}

/// A start to prepare.
#[derive(Clone, Debug)]
pub(crate) struct Preparation {
    /// Which start.
    pub(crate) incarnation: Incarnation,
    /// The instance.
    pub(crate) assigned: AssignedInstance,
    /// How often in a row it failed before.
    pub(crate) failures: u32,
}

/// What the runner answers.
#[derive(Debug)]
pub(crate) enum RunReply {
    /// It is done.
    Done,
    /// It is prepared; the control group, where there is one.
    Prepared(Option<Group>),
    /// The shim was started.
    Started(ShimHandle),
    /// What it left is gone; the last reading of its group's CPU counter, where there was one.
    Cleared {
        /// In microseconds since its start.
        cpu_micros: Option<u64>,
    },
    /// There is no shim to take the signal: the start has ended.
    NoShim,
    /// What is there, in the order of keys.
    Found(Vec<Found>),
    /// These are not held.
    Missing(Vec<SecretName>),
    /// How a health check ended.
    CheckEnded(Exit),
    /// The copies that have volumes here, in ascending order.
    Volumes(Vec<VolumeUsage>),
}

/// A shim that runs, or ran a moment ago.
#[derive(Debug)]
pub(crate) struct ShimHandle {
    /// Its process.
    pub(crate) pid: u32,
    /// When that process started, which tells it from a later one with its id.
    pub(crate) start_ticks: u64,
    /// A file that can be read when it has ended; absent on kernels before 5.3.
    pub(crate) pidfd: Option<OwnedFd>,
    /// A pipe that ends when the shim has written its records; absent for an adopted one.
    pub(crate) ready: Option<OwnedFd>,
}

/// Tells why a request could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The file system refused.
    #[error("cannot {what} of instance {key}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// For which start.
        key: RunKey,
        /// What the system said.
        source: io::Error,
    },
    /// The list of instances cannot be read.
    #[error("cannot read {}", path.display())]
    Survey {
        /// The directory of all instances.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a control group.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A file of the workload cannot be put where it asks.
    #[error(transparent)]
    Files(#[from] files::FilesError),
    /// A secret cannot be kept or given.
    #[error(transparent)]
    Secrets(#[from] secrets::VaultError),
    /// The workload asks for a user that it cannot have.
    #[error("cannot run as user {user}: {reason}")]
    User {
        /// The user asked for.
        user: String,
        /// Why not.
        reason: &'static str,
    },
    /// A variable of the environment cannot be passed on.
    #[error("environment variable {0:?} has no valid name")]
    Variable(String),
    /// Another program listens on a port.
    #[error("another program of this server listens on port {port}")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The volumes of a copy cannot be used.
    #[error("cannot {what} the volumes of {copy}")]
    Volumes {
        /// What was tried.
        what: &'static str,
        /// Whose.
        copy: Box<CopyKey>,
        /// What the system said.
        source: io::Error,
    },
    /// Volumes or services cannot be looked at or written.
    #[error("cannot {what}")]
    Node {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Processes of the group did not die.
    #[error("{left} processes of instance {key} cannot be killed")]
    StillAlive {
        /// The start.
        key: RunKey,
        /// How many are left.
        left: usize,
    },
}

/// The bounds of a workload's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// The most bytes of one file.
    pub file_bytes: u64,
    /// The most files of one stream.
    pub files: u32,
    /// The most bytes a second of one stream, over time.
    pub bytes_per_second: u64,
}

impl Default for OutputLimits {
    /// 5 files of 10 MiB for each of two streams, at 1 MiB a second (`reliability.md` §4.3).
    fn default() -> Self {
        Self { file_bytes: 10 * 1024 * 1024, files: 5, bytes_per_second: 1024 * 1024 }
    }
}

/// What a runner needs to know.
#[derive(Clone, Debug)]
pub(crate) struct RunnerConfig {
    /// The node it runs on.
    pub(crate) node: NodeName,
    /// The program that is the shim.
    pub(crate) shim: PathBuf,
    /// The first user id given to instances.
    pub(crate) uid_base: u32,
    /// Whether it is root.
    pub(crate) root: bool,
    /// The bounds of output.
    pub(crate) output: OutputLimits,
}

/// Carries out requests; blocking, so it is called from threads that may wait.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    config: Arc<RunnerConfig>,
    cgroups: Arc<Cgroups>,
    dirs: InstanceDirs,
    cache: Cache,
    vault: Vault,
    /// Set when the agent ends: what takes long is given up.
    leaving: Arc<AtomicBool>,
    volumes: VolumeDirs,
    services: ServiceDirs,
}

impl Runner {
    /// Makes a runner.
    pub(crate) fn new(
        config: RunnerConfig,
        cgroups: Arc<Cgroups>,
        dirs: InstanceDirs,
        stores: Stores,
    ) -> Self {
        let Stores { cache, vault, volumes, services } = stores;
        let leaving = Arc::default();
        Self { config: Arc::new(config), cgroups, dirs, cache, vault, volumes, services, leaving }
    }

    /// Gives up what takes long: the agent ends.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Carries out one request.
    pub(crate) fn handle(&self, request: RunRequest) -> Result<RunReply, RunError> {
        match request {
            RunRequest::Prepare(preparation) => self.prepare(&preparation),
            RunRequest::Start(key) => self.start(key),
            RunRequest::Signal(key, signal) => self.signal(key, signal),
            RunRequest::KillGroup(target) => self.kill_group(&target),
            RunRequest::Clear(target) => self.clear(&target),
            RunRequest::Remove(key) => self.remove(key),
            RunRequest::SetHarvestQuota(quota) => self.set_harvest_quota(quota),
            RunRequest::Survey => self.survey(),
            RunRequest::HoldSecrets(secrets) => {
                self.vault.hold(&secrets)?;
                Ok(RunReply::Done)
            }
            RunRequest::MissingSecrets(names) => Ok(RunReply::Missing(self.vault.missing(names))),
            RunRequest::ForgetSecrets(names) => {
                for name in &names {
                    self.vault.forget(name);
                }
                Ok(RunReply::Done)
            }
            RunRequest::RetainSecrets(names) => {
                self.vault.retain(&names);
                Ok(RunReply::Done)
            }
            RunRequest::StartCheck(key, words) => self.start_check(key, &words),
            RunRequest::EndCheck { pid, kill } => Ok(Self::end_check(pid, kill)),
            RunRequest::KeepHealth(key, healthy) => self.keep_health(key, healthy),
            RunRequest::SurveyVolumes => {
                let survey = self.volumes.survey();
                let failed = |source| RunError::Node { what: "look at the volumes", source };
                survey.map(RunReply::Volumes).map_err(failed)
            }
            RunRequest::RemoveVolumes(copy) => match self.volumes.remove(&copy) {
                Ok(()) => Ok(RunReply::Done),
                Err(source) => {
                    Err(RunError::Volumes { what: "remove", copy: Box::new(copy), source })
                }
            },
            RunRequest::WriteServices(list) => {
                let failed = |source| RunError::Node { what: "write where services are", source };
                self.services.write(&list).map_err(failed)?;
                Ok(RunReply::Done)
            }
        }
    }

    fn set_harvest_quota(&self, quota: Millicores) -> Result<RunReply, RunError> {
        if let Some(harvest) = self.cgroups.class(Class::Harvest) {
            harvest.set_quota(Some(quota))?;
        }
        Ok(RunReply::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_way_of_being_written() {
        let key = RunKey { instance: InstanceId::new(7), incarnation: Incarnation::new(2) };
        assert_eq!(RunKey::parse("7.2"), Some(key));
        for bad in ["", "7", "7.", ".2", "07.2", "+7.2", "7.2.3", "7.2/..", "-7.2", "7.99999999999"]
        {
            assert_eq!(RunKey::parse(bad), None, "{bad:?} passed");
        }
    }
}
