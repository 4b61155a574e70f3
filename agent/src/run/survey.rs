//! The survey: what an agent finds when it starts, from the records on disk and the kernel.
//!
//! A shim that lives is adopted as it is; a start without one has ended, known how or not. Nothing
//! that could still start is left behind: an unclaimed start is claimed, so that its shim gives up.

use std::fs;
use std::path::Path;

use prost::Message as _;
use tengyun_model::{AssignedInstance, Exit};

use super::process::{ASSIGNED, HEALTHY, KILL_PATIENCE, Kept, kill_all, pidfd_open};
use super::{RunError, RunKey, RunReply, Runner, ShimHandle};
use crate::shim::record::{self, Ended, How, ShimPid, Started};

/// One start that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Which.
    pub(crate) key: RunKey,
    /// What was assigned; `None` when that cannot be read any more.
    pub(crate) assigned: Option<AssignedInstance>,
    /// How often in a row the instance failed before this start.
    pub(crate) failures: u32,
    /// When its process started, where that is known.
    pub(crate) started: Option<Started>,
    /// Whether it was healthy by its check when it was last looked at.
    pub(crate) healthy: bool,
    /// What became of it.
    pub(crate) state: FoundState,
}

/// What became of a start.
#[derive(Debug)]
pub(crate) enum FoundState {
    /// Its shim lives.
    Alive(ShimHandle),
    /// It ended.
    Ended(Box<Ended>),
}

impl Runner {
    pub(super) fn survey(&self) -> Result<RunReply, RunError> {
        let failed = |source| RunError::Survey { path: self.dirs.root().to_owned(), source };
        let keys = self.dirs.keys().map_err(failed)?;
        self.clear_strangers(&keys);
        self.vault.sweep(&keys.iter().copied().collect());
        Ok(RunReply::Found(keys.into_iter().map(|key| self.look_at(key)).collect()))
    }

    /// Ends and removes groups in our tree that belong to no start we know.
    fn clear_strangers(&self, keys: &[RunKey]) {
        for (key, group) in self.cgroups.found() {
            if keys.binary_search(&key).is_ok() {
                continue;
            }
            let cleared = kill_all(key, &group, KILL_PATIENCE).and_then(|()| Ok(group.remove()?));
            match cleared {
                Ok(()) => tracing::warn!(%key, "removed a control group that nobody knows"),
                Err(error) => tracing::error!(%key, %error, "control group stays"),
            }
        }
    }

    fn look_at(&self, key: RunKey) -> Found {
        let dir = self.dirs.dir(key);
        let (assigned, failures) = kept(&dir.join(ASSIGNED));
        let started = record::read::<Started>(&dir.join(record::STARTED)).ok().flatten();
        let state = state(&dir);
        if let (Some(assigned), FoundState::Alive(_)) = (&assigned, &state) {
            let (class, department) = (assigned.spec.class, &assigned.spec.key.department);
            let adopted = self.cgroups.adopt(key, class, department, assigned.spec.resources.cpu);
            if let Err(error) = adopted {
                tracing::warn!(%key, %error, "cannot weigh the department of an adopted instance");
            }
        }
        let healthy = dir.join(HEALTHY).exists();
        Found { key, assigned, failures, started, healthy, state }
    }
}

fn kept(path: &Path) -> (Option<AssignedInstance>, u32) {
    let kept = fs::read(path).ok().and_then(|bytes| Kept::decode(bytes.as_slice()).ok());
    let Some(Kept { assigned, failures }) = kept else { return (None, 0) };
    (assigned.and_then(|wire| AssignedInstance::try_from(wire).ok()), failures)
}

fn state(dir: &Path) -> FoundState {
    // Nobody has claimed the start: a shim that comes now finds our claim and gives up.
    let unclaimed = record::claim_in(dir, &ShimPid::nobody()).unwrap_or(false);
    if let Some(shim) = living_shim(dir) {
        return FoundState::Alive(shim);
    }
    // Looked at last: a shim writes this record and only then ends.
    match record::read::<Ended>(&dir.join(record::EXIT)) {
        Ok(Some(record)) => FoundState::Ended(Box::new(record)),
        Ok(None) if unclaimed => ended(How::NotStarted, "the agent ended before it was started"),
        Ok(None) => ended(How::Unknown, "it ended while nobody watched"),
        Err(_) => ended(How::Unknown, "the record of its end cannot be read"),
    }
}

fn living_shim(dir: &Path) -> Option<ShimHandle> {
    let shim: ShimPid = record::read(&dir.join(record::SHIM)).ok().flatten()?;
    if !record::is_this_boot(&shim.boot) {
        return None;
    }
    // Opened first and compared then: what was opened cannot turn into another process.
    let pidfd = pidfd_open(shim.pid);
    if record::start_ticks(shim.pid) != Some(shim.start_ticks) {
        return None;
    }
    Some(ShimHandle { pid: shim.pid, start_ticks: shim.start_ticks, pidfd, ready: None })
}

fn ended(how: How, message: &str) -> FoundState {
    let record = Ended { cpu_exact: false, ..Ended::now(how, message.to_owned()) };
    debug_assert!(matches!(record.exit(), Exit::NotStarted | Exit::Unknown));
    FoundState::Ended(Box::new(record))
}
