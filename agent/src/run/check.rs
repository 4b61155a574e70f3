//! Commands that ask whether an instance is healthy: they run as it does, in its control group.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tengyun_model::Exit;

use super::process::{At as _, pidfd_open};
use super::{RunError, RunKey, RunReply, Runner, ShimHandle};
use crate::shim::reap::SignalNumber;
use crate::shim::{CHECK, child, record};

/// How long a killed command may take to die; only one stuck in the kernel takes longer.
const DEATH_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Runner {
    #[expect(clippy::disallowed_methods, reason = "a check runs as the workload does")]
    pub(super) fn start_check(&self, key: RunKey, words: &[String]) -> Result<RunReply, RunError> {
        let child = Command::new(&self.config.shim)
            .arg("shim")
            .arg(self.dirs.dir(key))
            .arg(CHECK)
            .args(words)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .at(key, "start the health check")?;
        let pid = child.id();
        // It is our child until it is reaped, so its id cannot be another's here.
        let start_ticks = record::start_ticks(pid).unwrap_or_default();
        Ok(RunReply::Started(ShimHandle { pid, start_ticks, pidfd: pidfd_open(pid), ready: None }))
    }

    /// Reaps a check, after killing its process group if it is to be.
    pub(super) fn end_check(pid: u32, kill_it: bool) -> RunReply {
        let Ok(raw) = i32::try_from(pid) else { return RunReply::CheckEnded(Exit::Unknown) };
        let begin = Instant::now();
        loop {
            if kill_it {
                // Before it has a session of its own there is no such group.
                for target in [-raw, raw] {
                    kill(Pid::from_raw(target), Signal::SIGKILL).unwrap_or_default();
                }
            }
            match waitpid(Pid::from_raw(raw), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, child::FAILED)) => {
                    return RunReply::CheckEnded(Exit::NotStarted);
                }
                Ok(WaitStatus::Exited(_, code)) => return RunReply::CheckEnded(Exit::Code(code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return RunReply::CheckEnded(Exit::Signal(SignalNumber(signal).into()));
                }
                Ok(_) if begin.elapsed() < DEATH_PATIENCE => std::thread::sleep(LOOK_AGAIN),
                Ok(_) | Err(_) => return RunReply::CheckEnded(Exit::Unknown),
            }
        }
    }
}
