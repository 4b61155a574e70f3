//! The short life of the forked process before it becomes the workload.
//!
//! It gives up everything that the workload shall not have: the shim's session, files, signals,
//! environment, groups, user and the way back to privilege. What fails is told through a pipe that
//! closes when the program starts.

use std::ffi::{CString, NulError};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, fork};

use super::output::WriteEnds;
use super::spec::ShimSpec;

/// The directory the workload starts in, below the instance's.
pub(crate) const WORK: &str = "work";
/// The search path of a workload that sets none.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most open files of a process (`reliability.md` §4.3).
const OPEN_FILES_MAX: u64 = 65_536;
/// The most memory a process may lock (`reliability.md` §4.3).
const LOCKED_BYTES_MAX: u64 = 64 * 1024;
/// The longest message from the child.
const MESSAGE_BYTES_MAX: u64 = 1024;
/// The code a child returns when it could not start; only a health check's is looked at.
pub(crate) const FAILED: i32 = 127;
/// The same as the code of a process.
pub(super) const FAILED_CODE: u8 = 127;

/// What became of a start.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The program runs.
    Running(Pid),
    /// It does not, and why.
    NotStarted(String),
}

/// What is made ready before the fork.
struct Program {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    work: CString,
}

/// Starts the workload and waits until its program runs or has failed to.
#[expect(unsafe_code, reason = "fork has no safe form")]
pub(super) fn start(spec: &ShimSpec, ends: WriteEnds) -> io::Result<Outcome> {
    let Ok(program) = Program::of(spec) else {
        let message = "the command or the environment holds a zero byte".to_owned();
        return Ok(Outcome::NotStarted(message));
    };
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    let (told, tell) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: the shim has one thread, so the child may use anything the parent could.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let failed = become_workload(spec, &program, &null, &ends);
            drop(File::from(tell).write_all(failed.to_string().as_bytes()));
            // SAFETY: ends the child at once, without running what the parent registered.
            unsafe { libc::_exit(FAILED) }
        }
        ForkResult::Parent { child } => {
            drop((tell, ends));
            let message = hear(told)?;
            if message.is_empty() {
                return Ok(Outcome::Running(child));
            }
            nix::sys::wait::waitpid(child, None)?;
            Ok(Outcome::NotStarted(message))
        }
    }
}

/// Becomes a health check, which says nothing and shares no pipe with the shim; returns only when
/// that failed.
pub(super) fn check(spec: &ShimSpec) {
    let open = || OpenOptions::new().read(true).write(true).open("/dev/null");
    if let (Ok(program), Ok(null), Ok(stdout), Ok(stderr)) =
        (Program::of(spec), open(), open(), open())
    {
        let ends = WriteEnds { stdout: stdout.into(), stderr: stderr.into() };
        drop(become_workload(spec, &program, &null, &ends));
    }
}

fn hear(told: OwnedFd) -> io::Result<String> {
    let mut message = Vec::new();
    File::from(told).take(MESSAGE_BYTES_MAX).read_to_end(&mut message)?;
    Ok(String::from_utf8_lossy(&message).into_owned())
}

impl Program {
    fn of(spec: &ShimSpec) -> Result<Self, NulError> {
        let name = spec.command.first().map_or("", String::as_str);
        let path = spec.env.iter().find(|v| v.name == "PATH").map_or(PATH, |v| v.value.as_str());
        let environment = spec.env.iter().map(|v| CString::new(format!("{}={}", v.name, v.value)));
        Ok(Self {
            candidates: candidates(name, path)
                .into_iter()
                .map(|p| CString::new(p.as_os_str().as_bytes()))
                .collect::<Result<_, _>>()?,
            arguments: spec
                .command
                .iter()
                .map(|word| CString::new(word.as_str()))
                .collect::<Result<_, _>>()?,
            environment: environment.collect::<Result<_, _>>()?,
            work: CString::new(WORK)?,
        })
    }
}

/// Returns the files that a program's name may mean, in the order of the search path.
fn candidates(name: &str, path: &str) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains('/') {
        return vec![PathBuf::from(name)];
    }
    path.split(':').filter(|dir| !dir.is_empty()).map(|dir| PathBuf::from(dir).join(name)).collect()
}

/// Why the child did not become the workload.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
    #[error("cannot join control group {path}: {source}")]
    Join { path: String, source: io::Error },
    #[error("cannot execute {name}: {errno}", errno = .errno.desc())]
    Execute { name: String, errno: Errno },
}

trait Tried<T> {
    fn tried(self, what: &'static str) -> Result<T, ChildError>;
}

impl<T, E: Into<io::Error>> Tried<T> for Result<T, E> {
    fn tried(self, what: &'static str) -> Result<T, ChildError> {
        self.map_err(|error| ChildError::System(what, error.into()))
    }
}

/// Returns only when it failed.
fn become_workload(
    spec: &ShimSpec,
    program: &Program,
    null: &File,
    ends: &WriteEnds,
) -> ChildError {
    let prepare = || {
        nix::unistd::setsid().tried("start a session")?;
        join(spec)?;
        nix::unistd::dup2_stdin(null).tried("close standard input")?;
        nix::unistd::dup2_stdout(&ends.stdout).tried("redirect standard output")?;
        nix::unistd::dup2_stderr(&ends.stderr).tried("redirect standard error")?;
        limit()?;
        take_place(spec);
        nix::unistd::chdir(program.work.as_c_str()).tried("enter the working directory")?;
        drop_privilege(spec)?;
        hide_files()?;
        reset_signals()
    };
    match prepare() {
        Ok(()) => execute(spec, program),
        Err(error) => error,
    }
}

/// Joins the control group: before the first instruction of the workload runs.
fn join(spec: &ShimSpec) -> Result<(), ChildError> {
    let Some(group) = spec.group() else { return Ok(()) };
    for file in group.procs_files() {
        let joined = OpenOptions::new().write(true).open(&file).and_then(|mut f| f.write_all(b"0"));
        joined.map_err(|source| ChildError::Join { path: file.display().to_string(), source })?;
    }
    Ok(())
}

fn limit() -> Result<(), ChildError> {
    crate::roles::no_core_dumps().tried("forbid core dumps")?;
    for (resource, most) in
        [(Resource::RLIMIT_NOFILE, OPEN_FILES_MAX), (Resource::RLIMIT_MEMLOCK, LOCKED_BYTES_MAX)]
    {
        let (_, hard) = getrlimit(resource).tried("read a limit")?;
        // Without root a limit can only fall.
        let most = most.min(hard);
        setrlimit(resource, most, most).tried("set a limit")?;
    }
    Ok(())
}

/// Takes the workload's place among others for memory and CPU; best effort, the agent says so.
#[expect(unsafe_code, reason = "the scheduling calls have no safe form in nix")]
fn take_place(spec: &ShimSpec) {
    drop(std::fs::write("/proc/self/oom_score_adj", spec.oom_score_adj.to_string()));
    if !spec.idle {
        return;
    }
    // SAFETY: plain numbers and a pointer to a value that lives through the call.
    unsafe {
        let parameter: libc::sched_param = std::mem::zeroed();
        if libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) != 0 {
            libc::nice(19);
        }
    }
}

/// Becomes the workload's own user, without groups, capabilities or a way back.
fn drop_privilege(spec: &ShimSpec) -> Result<(), ChildError> {
    crate::roles::become_user(spec.uid, spec.gid, &spec.groups).tried("change the user")
}

/// Closes every other file when the program starts.
#[expect(unsafe_code, reason = "close_range has no safe form in nix")]
fn hide_files() -> Result<(), ChildError> {
    // SAFETY: plain numbers; files are only marked, not closed.
    let marked = unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if marked == 0 {
        return Ok(());
    }
    // Kernels before 5.11: one by one.
    let entries = std::fs::read_dir("/proc/self/fd").tried("list open files")?;
    let numbers: Vec<i32> =
        entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|n| *n > 2) {
        // SAFETY: plain numbers; a number that was closed meanwhile fails harmlessly.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Gives the workload the signals as the kernel gives them to a new process.
#[expect(unsafe_code, reason = "setting a disposition has no safe form")]
fn reset_signals() -> Result<(), ChildError> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { sigaction(signal, &default) }.tried("reset a signal")?;
    }
    SigSet::all().thread_unblock().tried("unblock signals")
}

/// Tries each file that the program's name may mean; returns why none started.
fn execute(spec: &ShimSpec, program: &Program) -> ChildError {
    let mut reason = Errno::ENOENT;
    for candidate in &program.candidates {
        let Err(errno) =
            nix::unistd::execve(candidate.as_c_str(), &program.arguments, &program.environment);
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // A file that may not be executed does not hide a later one that may.
            Errno::EACCES => reason = errno,
            other => {
                reason = other;
                break;
            }
        }
    }
    ChildError::Execute { name: spec.command.first().cloned().unwrap_or_default(), errno: reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_not_searched_for() {
        assert_eq!(candidates("./run", PATH), [PathBuf::from("./run")]);
        assert_eq!(
            candidates("sh", "/a::/b"),
            [PathBuf::from("/a/sh"), PathBuf::from("/b/sh")],
            "an empty part does not mean the current directory"
        );
        assert!(candidates("", PATH).is_empty());
    }
}
