//! Watches one shim: waits for what it writes down and for its end, and tells the agent.
//!
//! It reads and reaps; it never signals.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::act::Fact;
use crate::run::{RunKey, ShimHandle};
use crate::shim::record::{self, Ended, How, Started};

/// How often records are looked for where the kernel cannot wake us: before 5.3, or when an agent
/// adopts a shim in the middle of its start.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Waits for the start, unless it is known, and for the end of one shim.
pub(crate) async fn watch(
    key: RunKey,
    dir: PathBuf,
    shim: ShimHandle,
    started_known: bool,
    tell: mpsc::Sender<Fact>,
) {
    let ShimHandle { pid, start_ticks, pidfd, ready } = shim;
    let pidfd = pidfd.and_then(register);
    let end = Process { pid, start_ticks, pidfd };
    if !started_known {
        wait_for_records(&dir, ready, &end).await;
        if let Ok(Some(started)) = record::read::<Started>(&dir.join(record::STARTED)) {
            // Nobody listens only when the agent is ending.
            drop(tell.send(Fact::Started(key, started)).await);
        }
    }
    end.wait().await;
    end.reap();
    drop(tell.send(Fact::Ended(key, Box::new(read_end(&dir)))).await);
}

#[expect(unsafe_code, reason = "tokio asks for a promise about the file")]
pub(crate) fn register(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: the file is owned, stays open inside and is never replaced.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
}

async fn wait_for_records(dir: &Path, ready: Option<OwnedFd>, end: &Process) {
    if let Some(mut pipe) = ready.and_then(|fd| pipe::Receiver::from_owned_fd(fd).ok()) {
        let mut byte = [0];
        // A byte or the end of the pipe: the records are there, or will never be.
        drop(pipe.read(&mut byte).await);
        return;
    }
    while !dir.join(record::STARTED).exists() && !end.is_over() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn read_end(dir: &Path) -> Ended {
    let message = match record::read::<Ended>(&dir.join(record::EXIT)) {
        Ok(Some(ended)) => return ended,
        Ok(None) => "its shim ended without a word".to_owned(),
        Err(error) => format!("the record of its end cannot be read: {error}"),
    };
    let started = dir.join(record::STARTED).exists();
    let how = if started { How::Unknown } else { How::NotStarted };
    Ended { cpu_exact: false, ..Ended::now(how, message) }
}

/// A process that is or was the shim.
struct Process {
    pid: u32,
    start_ticks: u64,
    pidfd: Option<AsyncFd<OwnedFd>>,
}

impl Process {
    async fn wait(&self) {
        if let Some(pidfd) = &self.pidfd
            && pidfd.readable().await.is_ok()
        {
            return;
        }
        while !self.is_over() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Says whether it has ended, reaped or not.
    fn is_over(&self) -> bool {
        record::start_ticks(self.pid) != Some(self.start_ticks)
    }

    /// Frees its entry in the process table when it is our child; an adopted one is not.
    fn reap(&self) {
        let reaped: io::Result<()> = match &self.pidfd {
            Some(pidfd) => {
                let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
                waitid(Id::PIDFd(std::os::fd::AsFd::as_fd(pidfd.get_ref())), flags)
                    .map(drop)
                    .map_err(io::Error::from)
            }
            None => i32::try_from(self.pid)
                .map_err(io::Error::other)
                .and_then(|pid| {
                    waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).map_err(Into::into)
                })
                .map(drop),
        };
        if let Err(error) = reaped
            && error.raw_os_error() != Some(nix::libc::ECHILD)
        {
            let fd = self.pidfd.as_ref().map(|fd| fd.get_ref().as_raw_fd());
            tracing::warn!(pid = self.pid, ?fd, %error, "cannot reap a shim");
        }
    }
}
