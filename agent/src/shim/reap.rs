//! The processes of a workload as seen by their reaper: how the main one ended, and who is left.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::record::{Ended, How, Stat};

/// The signal and the shell's code by which a death for want of memory shows itself.
const KILLED: (i32, i32) = (9, 137);
/// How many levels of descendants are followed; a chain grows by forking only, and each round of
/// killing cuts it from the top.
const GENERATIONS_MAX: usize = 4096;

/// How the main process ended.
#[derive(Debug)]
pub(super) struct MainEnd {
    how: How,
    number: i32,
    ended: Ended,
}

impl MainEnd {
    fn new(how: How, number: i32) -> Self {
        Self { how, number, ended: Ended::now(how, String::new()) }
    }

    /// Makes the record; the kernel's own count says whether memory was the reason.
    pub(super) fn record(self, out_of_memory: bool) -> Ended {
        let killed = match self.how {
            How::Signal => self.number == KILLED.0,
            How::Code => self.number == KILLED.1,
            How::Unknown | How::OutOfMemory | How::NotStarted | How::PortTaken => false,
        };
        let how = if killed && out_of_memory { How::OutOfMemory } else { self.how };
        Ended { how: how.into(), number: self.number, ..self.ended }
    }
}

/// The main process and all that descend from it.
#[derive(Debug)]
pub(super) struct Family {
    main: Pid,
    reaped: bool,
}

impl Family {
    pub(super) const fn new(main: Pid) -> Self {
        Self { main, reaped: false }
    }

    pub(super) const fn main(&self) -> Pid {
        self.main
    }

    /// Reaps every process that ended; returns how the main one did, once.
    pub(super) fn reap(&mut self) -> Option<MainEnd> {
        let mut end = None;
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.main => {
                    end = Some(MainEnd::new(How::Code, code));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.main => {
                    let number = nix::libc::c_int::from(SignalNumber(signal));
                    end = Some(MainEnd::new(How::Signal, number));
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(_) => {}
            }
        }
        self.reaped |= end.is_some();
        end
    }

    /// Signals the workload's process group; a main process that left its group is signalled alone.
    pub(super) fn signal(&self, number: u8) {
        let Ok(signal) = Signal::try_from(i32::from(number)) else { return };
        if self.reaped {
            // Its id may belong to another process by now.
            return;
        }
        if killpg(self.main, signal).is_err() {
            kill(self.main, signal).unwrap_or_default();
        }
    }

    /// Kills every descendant that is there at the moment.
    pub(super) fn kill_once(&self) {
        for pid in self.descendants() {
            // Ours until we reap it, so the id is not another's.
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
        }
    }

    /// Returns every descendant that has not ended; orphans among them are children of the shim.
    #[expect(clippy::unused_self, reason = "only a shim with a family asks for descendants")]
    pub(super) fn descendants(&self) -> Vec<i32> {
        descendants_of(nix::unistd::getpid().as_raw(), &processes())
    }
}

/// A signal as a number.
pub(crate) struct SignalNumber(pub(crate) Signal);

impl From<SignalNumber> for i32 {
    #[expect(clippy::as_conversions, reason = "the enum's values are the kernel's numbers")]
    fn from(signal: SignalNumber) -> Self {
        signal.0 as Self
    }
}

/// Returns the CPU time of all children that were reaped.
pub(super) fn children_micros() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return 0 };
    [usage.user_time(), usage.system_time()].iter().fold(0_u64, |sum, time| {
        let secs = u64::try_from(time.tv_sec()).unwrap_or_default();
        let micros = u64::try_from(time.tv_usec()).unwrap_or_default();
        sum.saturating_add(secs.saturating_mul(1_000_000)).saturating_add(micros)
    })
}

/// Reads every process of the machine.
pub(crate) fn processes() -> BTreeMap<i32, Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let stats = pids.filter_map(|pid| {
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, Stat::parse(&text)?))
    });
    stats.collect()
}

/// Returns the living descendants of a process.
pub(crate) fn descendants_of(ancestor: i32, processes: &BTreeMap<i32, Stat>) -> Vec<i32> {
    let mut family = BTreeSet::from([ancestor]);
    for _ in 0..GENERATIONS_MAX {
        let before = family.len();
        let next = processes.iter().filter(|(_, stat)| family.contains(&stat.parent));
        let next: Vec<i32> = next.map(|(pid, _)| *pid).collect();
        family.extend(next);
        if family.len() == before {
            break;
        }
    }
    family.remove(&ancestor);
    family.retain(|pid| processes.get(pid).is_some_and(|stat| !stat.ended));
    family.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(parent: i32, ended: bool) -> Stat {
        Stat { ended, parent, session: 1, start_ticks: 1 }
    }

    #[test]
    fn descendants_are_found_over_generations_and_strangers_are_not() {
        let processes = BTreeMap::from([
            (1, process(0, false)),
            (2, process(1, false)),
            (5, process(9, false)),
            (9, process(2, true)),
            (7, process(1, false)),
        ]);
        assert_eq!(descendants_of(2, &processes), [5], "9 ended, 7 is another's");
    }

    #[test]
    fn memory_is_the_reason_only_when_the_kernel_says_so() {
        let record = |how, number, oom| MainEnd::new(how, number).record(oom).how();
        assert_eq!(record(How::Signal, 9, true), How::OutOfMemory);
        assert_eq!(record(How::Signal, 9, false), How::Signal);
        assert_eq!(record(How::Code, 137, true), How::OutOfMemory);
        assert_eq!(record(How::Code, 0, true), How::Code);
        assert_eq!(record(How::Signal, 15, true), How::Signal);
    }
}
