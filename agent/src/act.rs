//! Carries out what was decided: one task a step, each telling how it went as a fact.
//!
//! It makes no choices. The runner's requests block, so they have threads; how many instances are
//! being started at once is bounded, so that a large assignment does not stall the server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tengyun_model::{AssignedInstance, CopyKey, Millicores, SecretName, VolumeUsage};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::health::Answer;
use crate::measure::ShimProcess;
use crate::run::cgroup::Group;
use crate::run::{
    Found, InstanceDirs, Preparation, RunError, RunKey, RunReply, RunRequest, RunTarget, Runner,
    ShimHandle,
};
use crate::shim::record::{Ended, How, Started};
use crate::supply::Supply;
use crate::watch::watch;

/// How many instances are prepared and started at once: the work is the kernel's, and more would
/// only wait for each other there.
const LAUNCHES_MAX: usize = 4;
/// The pause before clearing away is tried again: what holds it up is a process in the kernel.
const CLEAR_AGAIN: Duration = Duration::from_secs(1);
/// Facts that wait for the agent; the tasks that tell them wait when it is full.
const FACTS_MAX: usize = 256;

/// What became known of a start.
#[derive(Debug)]
pub(crate) enum Fact {
    /// What it needs is there.
    Supplied(RunKey),
    /// Its shim was started.
    Launched {
        /// The start.
        key: RunKey,
        /// Its control group, where there is one.
        group: Option<Group>,
        /// The shim's process.
        shim: ShimProcess,
    },
    /// Its process runs.
    Started(RunKey, Started),
    /// It ended, and nothing of it runs any more.
    Ended(RunKey, Box<Ended>),
    /// What it left was cleared away; the last reading of its group's CPU counter.
    Cleared(RunKey, Option<u64>),
    /// What it left could not be cleared away yet.
    NotCleared(RunKey),
    /// It was asked whether it is healthy.
    Checked(RunKey, Answer),
    /// The copies that have volumes here, and how much they hold.
    Volumes(Vec<VolumeUsage>),
    /// The volumes of a copy are removed.
    VolumesRemoved(CopyKey),
}

/// The tasks that act.
#[derive(Debug)]
pub(crate) struct Hands {
    runner: Runner,
    dirs: InstanceDirs,
    launches: Arc<Semaphore>,
    tell: mpsc::Sender<Fact>,
    tasks: JoinSet<()>,
    supply: Supply,
    /// Supplies under way.
    supplies: BTreeMap<RunKey, AbortHandle>,
}

impl Hands {
    /// Makes the hands and the place where their facts arrive.
    pub(crate) fn new(dirs: InstanceDirs, supply: Supply) -> (Self, mpsc::Receiver<Fact>) {
        let (tell, facts) = mpsc::channel(FACTS_MAX);
        let launches = Arc::new(Semaphore::new(LAUNCHES_MAX));
        let hands = Self {
            runner: supply.runner.clone(),
            dirs,
            launches,
            tell,
            tasks: JoinSet::new(),
            supply,
            supplies: BTreeMap::new(),
        };
        (hands, facts)
    }

    /// Brings what an instance needs before it is prepared.
    pub(crate) fn supply(&mut self, key: RunKey, assigned: AssignedInstance) {
        let (supply, tell) = (self.supply.clone(), self.tell.clone());
        let task = self.tasks.spawn(async move {
            let fact = match supply.bring(&assigned).await {
                Ok(()) => Fact::Supplied(key),
                Err(why) => Fact::Ended(key, Box::new(Ended::now(How::NotStarted, why))),
            };
            drop(tell.send(fact).await);
        });
        self.supplies.insert(key, task);
    }

    /// Gives up bringing what an instance needs; one that waits for the same goes on.
    pub(crate) fn abandon(&mut self, key: RunKey) {
        if let Some(task) = self.supplies.remove(&key) {
            task.abort();
        }
    }

    /// Returns where facts are told.
    pub(crate) fn tell(&self) -> mpsc::Sender<Fact> {
        self.tell.clone()
    }

    /// Prepares and starts an instance, and watches it to its end.
    pub(crate) fn launch(&mut self, preparation: Preparation) {
        let key = RunTarget::of(&preparation.assigned, preparation.incarnation).key;
        let (runner, dir, tell) = (self.runner.clone(), self.dirs.dir(key), self.tell.clone());
        let launches = Arc::clone(&self.launches);
        self.tasks.spawn(async move {
            let permit = launches.acquire().await.expect("the semaphore is never closed");
            let launched = blocking(move || launch(&runner, key, preparation)).await;
            drop(permit);
            let fact = match launched {
                Ok((group, shim)) => {
                    let process = ShimProcess { pid: shim.pid, start_ticks: shim.start_ticks };
                    let fact = Fact::Launched { key, group, shim: process };
                    drop(tell.send(fact).await);
                    return watch(key, dir, shim, false, tell).await;
                }
                Err(error @ RunError::PortTaken { port }) => {
                    let ended = Ended::now(How::PortTaken, chain(&error));
                    Fact::Ended(key, Box::new(Ended { number: i32::from(port), ..ended }))
                }
                Err(error) => {
                    Fact::Ended(key, Box::new(Ended::now(How::NotStarted, chain(&error))))
                }
            };
            drop(tell.send(fact).await);
        });
    }

    /// Watches an adopted shim to its end.
    pub(crate) fn watch(&mut self, key: RunKey, shim: ShimHandle, started_known: bool) {
        let dir: PathBuf = self.dirs.dir(key);
        self.tasks.spawn(watch(key, dir, shim, started_known, self.tell.clone()));
    }

    /// Asks a workload to end.
    pub(crate) fn ask(&mut self, key: RunKey, signal: i32) {
        self.request("asked to end", key, RunRequest::Signal(key, signal));
    }

    /// Kills every process of a workload.
    pub(crate) fn kill(&mut self, target: RunTarget) {
        self.request("killed", target.key, RunRequest::KillGroup(target));
    }

    /// Removes the records and the output of a start.
    pub(crate) fn remove(&mut self, key: RunKey) {
        self.request("removed", key, RunRequest::Remove(key));
    }

    /// Forgets the secrets that no instance is given any more.
    pub(crate) fn retain_secrets(&self, names: BTreeSet<SecretName>) {
        // A look at a few files in memory: not worth a thread, whose turn could come too late.
        if let Err(error) = self.runner.handle(RunRequest::RetainSecrets(names)) {
            tracing::warn!(error = chain(&error), "secrets cannot be forgotten");
        }
    }

    /// Holds harvest as a whole to a CPU rate.
    pub(crate) fn set_harvest_quota(&self, quota: Millicores) -> Result<(), RunError> {
        // One write into a file of the kernel: not worth a thread.
        self.runner.handle(RunRequest::SetHarvestQuota(quota)).map(drop)
    }

    /// Clears away what an ended start left; tells when that is done or has failed for now.
    pub(crate) fn clear(&mut self, target: RunTarget) {
        let (runner, tell) = (self.runner.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            let key = target.key;
            let cleared = blocking(move || runner.handle(RunRequest::Clear(target))).await;
            let fact = match cleared {
                Ok(RunReply::Cleared { cpu_micros }) => Fact::Cleared(key, cpu_micros),
                Ok(_) => unreachable!("clear answers cleared"),
                Err(error) => {
                    tracing::warn!(%key, error = chain(&error), "cannot clear away yet");
                    tokio::time::sleep(CLEAR_AGAIN).await;
                    Fact::NotCleared(key)
                }
            };
            drop(tell.send(fact).await);
        });
    }

    /// Remembers whether a start is healthy, for an agent that adopts it.
    pub(crate) fn keep_health(&mut self, key: RunKey, healthy: bool) {
        self.request("remembered as it is", key, RunRequest::KeepHealth(key, healthy));
    }

    /// Looks at the volumes and tells which are there.
    pub(crate) fn look_at_volumes(&mut self) {
        let (runner, tell) = (self.runner.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            match blocking(move || runner.handle(RunRequest::SurveyVolumes)).await {
                Ok(RunReply::Volumes(volumes)) => drop(tell.send(Fact::Volumes(volumes)).await),
                Ok(_) => unreachable!("a survey of volumes answers volumes"),
                Err(error) => tracing::warn!(error = chain(&error), "volumes are not looked at"),
            }
        });
    }

    /// Removes the volumes of a copy and tells when they are gone.
    pub(crate) fn remove_volumes(&mut self, copy: CopyKey) {
        let (runner, tell) = (self.runner.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            let request = RunRequest::RemoveVolumes(copy.clone());
            match blocking(move || runner.handle(request)).await {
                Ok(_) => drop(tell.send(Fact::VolumesRemoved(copy)).await),
                Err(error) => tracing::warn!(error = chain(&error), "volumes stay for now"),
            }
        });
    }

    /// Says which copies have volumes here; called once, before the first report.
    pub(crate) async fn survey_volumes(&self) -> Result<Vec<VolumeUsage>, RunError> {
        let runner = self.runner.clone();
        let found = blocking(move || runner.handle(RunRequest::SurveyVolumes)).await?;
        let RunReply::Volumes(found) = found else { unreachable!("it answers volumes") };
        Ok(found)
    }

    /// Says what is there; called once, before anything is started.
    pub(crate) async fn survey(&self) -> Result<Vec<Found>, RunError> {
        let runner = self.runner.clone();
        let found = blocking(move || runner.handle(RunRequest::Survey)).await?;
        let RunReply::Found(found) = found else { unreachable!("a survey answers found") };
        Ok(found)
    }

    /// Frees what ended tasks hold.
    pub(crate) fn tidy(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.supplies.retain(|_, task| !task.is_finished());
    }

    /// Ends the watching of what still runs, and waits for all tasks.
    pub(crate) async fn stop(mut self) {
        self.runner.leave();
        self.tasks.shutdown().await;
    }

    fn request(&mut self, what: &'static str, key: RunKey, request: RunRequest) {
        let runner = self.runner.clone();
        self.tasks.spawn(async move {
            if let Err(error) = blocking(move || runner.handle(request)).await {
                tracing::warn!(%key, error = chain(&error), "an instance cannot be {what}");
            }
        });
    }
}

/// Prepares and starts; the shim's own records tell the rest.
fn launch(
    runner: &Runner,
    key: RunKey,
    preparation: Preparation,
) -> Result<(Option<Group>, ShimHandle), RunError> {
    let prepared = runner.handle(RunRequest::Prepare(Box::new(preparation)))?;
    let RunReply::Prepared(group) = prepared else { unreachable!("prepare answers prepared") };
    let started = runner.handle(RunRequest::Start(key))?;
    let RunReply::Started(shim) = started else { unreachable!("start answers started") };
    Ok((group, shim))
}

/// Does what blocks on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("a request to the runner does not panic")
}

/// Joins an error and its sources into one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
