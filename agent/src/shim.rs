//! The shim: parent and reaper of one workload's processes, beside the agent and not below it.
//!
//! It starts the workload, copies its output into bounded files and writes down how it ended, so
//! that an agent may be killed or replaced at any moment. It is one thread without a runtime, knows
//! no network and no scheduler, and takes two orders only: send a signal, kill everything.

pub(crate) mod child;
pub(crate) mod control;
pub(crate) mod output;
pub(crate) mod reap;
pub(crate) mod record;
pub(crate) mod spec;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::run::cgroup::Group;
use control::{Control, Order};
use output::Output;
use reap::{Family, MainEnd};
use record::{Ended, How, ShimPid, Started};
use spec::ShimSpec;

/// How long a group may take to die after SIGKILL; only a process stuck in the kernel takes longer,
/// and waiting for it would keep the exit of the workload from being known.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// The first and the longest pause between two rounds of killing.
const KILL_PAUSE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));
/// How often the shim looks around when nothing wakes it; a lost wake-up costs at most this.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// The score by which the kernel spares the shim: the last but one to be killed.
const OOM_SCORE: &str = "-999";

/// Tells why a shim gave up.
#[derive(Debug, thiserror::Error)]
enum ShimError {
    /// A system call that cannot fail for a good reason failed.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The specification is not one.
    #[error("cannot read the specification")]
    Spec(#[from] prost::DecodeError),
    /// An agent gave this start up before the shim came to it.
    #[error("this start was given up")]
    GivenUp,
}

/// Names what was tried when a call failed.
trait Tried<T> {
    fn tried(self, what: &'static str) -> Result<T, ShimError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: &'static str) -> Result<T, ShimError> {
        self.map_err(|source| ShimError::System { what, source })
    }
}

impl<T> Tried<T> for nix::Result<T> {
    fn tried(self, what: &'static str) -> Result<T, ShimError> {
        self.map_err(|errno| ShimError::System { what, source: errno.into() })
    }
}

/// The word after the directory for a health check in place of the instance itself.
pub(crate) const CHECK: &str = "check";

/// Runs one instance to its end; `args` are the words after `shim`: the instance's directory. With
/// `check` and a command behind it, becomes that command, run as the instance is.
///
/// Must be entered before any thread is started.
pub(crate) fn main<I>(args: I) -> ExitCode
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut args = args.into_iter().map(Into::into);
    let (Some(dir), check) = (args.next(), args.next()) else {
        return ExitCode::from(2);
    };
    if std::env::set_current_dir(&dir).is_err() {
        return ExitCode::FAILURE;
    }
    match check {
        None => {}
        Some(word) if word == CHECK => return become_check(args),
        Some(_) => return ExitCode::from(2),
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            give_up(&error);
            ExitCode::FAILURE
        }
    }
}

/// Becomes a health check; returns only when that failed.
fn become_check(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Option<Vec<String>> = words.map(|word| word.into_string().ok()).collect();
    if let (Ok(Ok(spec)), Some(words)) = (ShimSpec::read(Path::new(spec::FILE)), words) {
        child::check(&ShimSpec { command: words, ..spec });
    }
    ExitCode::from(child::FAILED_CODE)
}

/// Leaves a record for the agent when there could be no start.
fn give_up(error: &ShimError) {
    if matches!(error, ShimError::GivenUp) {
        return;
    }
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message = format!("{message}: {source}");
    }
    // Nobody is left to tell when this fails too: the agent sees a shim that ended without a word.
    drop(record::write(record::EXIT, &Ended::now(How::NotStarted, message)));
}

fn run() -> Result<(), ShimError> {
    let spec = ShimSpec::read(Path::new(spec::FILE)).tried("read the specification")??;
    stand_apart()?;
    if !record::claim(&ShimPid::own()).tried("claim this start")? {
        return Err(ShimError::GivenUp);
    }
    let signals = block_signals()?;
    let control = Control::open(Path::new(control::FILE)).tried("open the control pipe")?;
    let (mut outputs, ends) = output::open(&spec).tried("open the output")?;
    let started = child::start(&spec, ends).tried("start a process")?;
    let mut shim = match started {
        child::Outcome::Running(pid) => Shim::new(&spec, pid, signals, control),
        child::Outcome::NotStarted(message) => {
            let ended = Ended::now(How::NotStarted, message);
            return record::write(record::EXIT, &ended).tried("write how it ended");
        }
    };
    let started = Started::of(shim.family.main());
    record::write_quick(record::STARTED, &started).tried("write that it started")?;
    tell_the_agent()?;
    let end = shim.watch(&mut outputs)?;
    let ended = shim.finish(end, &mut outputs);
    record::write(record::EXIT, &ended).tried("write how it ended")
}

/// Leaves the agent's session, becomes the one that orphans of the workload fall to, and is spared
/// by the kernel when memory runs out.
fn stand_apart() -> Result<(), ShimError> {
    match nix::unistd::setsid() {
        // The agent made it the leader of a process group: it has no terminal to lose either way.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno).tried("start a session"),
    }
    nix::sys::prctl::set_child_subreaper(true).tried("become the reaper")?;
    // Refused without root: then it is as likely to be killed as any process of its user.
    drop(std::fs::write("/proc/self/oom_score_adj", OOM_SCORE));
    Ok(())
}

/// Blocks every signal that can be blocked; the end of a child is read from the returned file.
fn block_signals() -> Result<SignalFd, ShimError> {
    SigSet::all().thread_block().tried("block signals")?;
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .tried("watch for ends of processes")
}

/// Tells the agent, if it still listens, that the records are written.
fn tell_the_agent() -> Result<(), ShimError> {
    // A pipe without a reader is no fault: the agent was killed meanwhile and reads the records.
    drop(io::stdout().write_all(b".").and_then(|()| io::stdout().flush()));
    let null = File::options().read(true).write(true).open("/dev/null").tried("open /dev/null")?;
    nix::unistd::dup2_stdout(&null).tried("close the pipe to the agent")
}

struct Shim {
    family: Family,
    group: Option<Group>,
    signals: SignalFd,
    control: Control,
    asked: bool,
}

impl Shim {
    fn new(spec: &ShimSpec, main: Pid, signals: SignalFd, control: Control) -> Self {
        Self { family: Family::new(main), group: spec.group(), signals, control, asked: false }
    }

    /// Copies output and takes orders until the workload's main process ends.
    fn watch(&mut self, outputs: &mut [Output; 2]) -> Result<MainEnd, ShimError> {
        loop {
            self.wait(outputs)?;
            for output in outputs.iter_mut() {
                output.copy();
            }
            for order in self.control.orders() {
                self.obey(order);
            }
            while let Ok(Some(_)) = self.signals.read_signal() {}
            if let Some(end) = self.family.reap() {
                return Ok(end);
            }
        }
    }

    /// Sleeps until there is output, an order or an end.
    fn wait(&self, outputs: &[Output; 2]) -> Result<(), ShimError> {
        let now = Instant::now();
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(4);
        let mut pause = LOOK_AROUND;
        for output in outputs {
            match output.ready_in(now) {
                Some(Duration::ZERO) => fds.extend(output.fd().map(readable)),
                Some(later) => pause = pause.min(later),
                None => {}
            }
        }
        fds.push(readable(self.control.as_fd()));
        fds.push(readable(self.signals.as_fd()));
        let millis = u16::try_from(pause.as_millis()).unwrap_or(u16::MAX).max(1);
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).tried("wait"),
        }
    }

    fn obey(&mut self, order: Order) {
        self.asked = true;
        match order {
            Order::Signal(signal) => self.family.signal(signal),
            Order::Kill => self.kill_round(),
        }
    }

    fn kill_round(&self) {
        match &self.group {
            Some(group) => group.kill_once(),
            None => self.family.kill_once(),
        }
    }

    /// Ends what the main process left behind and says how it all went.
    fn finish(&mut self, end: MainEnd, outputs: &mut [Output; 2]) -> Ended {
        let left = self.end_the_rest(outputs);
        for output in outputs.iter_mut() {
            output.drain();
        }
        let out_of_memory = self.group.as_ref().and_then(Group::oom_kills).is_some_and(|n| n > 0);
        let mut ended = end.record(out_of_memory);
        ended.asked = self.asked;
        let counter = self.group.as_ref().and_then(Group::cpu_micros);
        ended.cpu_exact = counter.is_some();
        ended.cpu_micros = counter.unwrap_or_else(reap::children_micros);
        if left > 0 {
            ended.message = format!("{left} of its processes could not be killed");
        }
        ended
    }

    /// Kills the group round by round until it is empty; returns how many processes stayed.
    fn end_the_rest(&mut self, outputs: &mut [Output; 2]) -> usize {
        let start = Instant::now();
        let mut pause = KILL_PAUSE.0;
        loop {
            self.family.reap();
            let left = match &self.group {
                Some(group) => group.members().len(),
                None => self.family.descendants().len(),
            };
            if left == 0 || start.elapsed() > KILL_PATIENCE {
                return left;
            }
            self.kill_round();
            for output in outputs.iter_mut() {
                output.copy();
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(KILL_PAUSE.1);
        }
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

/// Reads what there is, up to the size of the buffer; `None` when there is nothing for now.
fn read_some(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match nix::unistd::read(fd, buffer) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads a whole small file; a larger one is an error.
fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= bytes_max) {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {bytes_max} bytes")))
}
