//! The parent's side of a role: starts it, hands it its order, hears it, and ends it in time.
//! Blocking; whatever happens, no role outlives the value that stands for it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{REFUSED, TRY_AGAIN};
use crate::run::beneath::Owner;

/// The most bytes of what a role says went wrong.
const WORDS_BYTES_MAX: u64 = 2048;
/// How long a role may take to end after it closed its pipes.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Variables that say where the server's certificates are.
const PASSED_ON: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// How a role is started.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// The word of the role.
    pub(crate) role: &'static str,
    /// Whom it becomes.
    pub(crate) user: Owner,
    /// What else it is told.
    pub(crate) words: &'a [&'a str],
    /// Where it works.
    pub(crate) dir: &'a Path,
    /// What it reads.
    pub(crate) input: Input<'a>,
}

/// What a role reads from standard input.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// A few words; they fit into a pipe.
    Words(&'a str),
    /// A file.
    File(File),
}

/// How a role ended that did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unwell {
    /// It may go better another time.
    Again(String),
    /// It will not.
    Refused(String),
}

/// A role at work; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Role {
    child: Child,
    over: bool,
}

impl Role {
    /// Starts a role.
    #[expect(clippy::disallowed_methods, reason = "a role is this very program")]
    pub(crate) fn start(order: Order<'_>) -> io::Result<Self> {
        let id = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let mut command = Command::new(order.program);
        command
            .arg(order.role)
            .arg(id(order.user.map(|(uid, _)| uid.as_raw())))
            .arg(id(order.user.map(|(_, gid)| gid.as_raw())))
            .args(order.words)
            .env_clear()
            .current_dir(order.dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let words = match order.input {
            Input::Words(words) => {
                command.stdin(Stdio::piped());
                Some(words)
            }
            Input::File(file) => {
                command.stdin(file);
                None
            }
        };
        let mut role = Self { child: command.spawn()?, over: false };
        if let (Some(words), Some(mut stdin)) = (words, role.child.stdin.take()) {
            stdin.write_all(words.as_bytes())?;
        }
        Ok(role)
    }

    /// Waits until there is output, at most this long; true when there is some or its end.
    pub(crate) fn wait_for_output(&self, patience: Duration) -> io::Result<bool> {
        let Some(stdout) = &self.child.stdout else { return Ok(true) };
        let millis = u16::try_from(patience.as_millis()).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads output; 0 is its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.child.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(buffer))
    }

    /// Hears how it went once its output has ended.
    pub(crate) fn end(mut self) -> Result<(), Unwell> {
        let broken = |e: io::Error| Unwell::Again(format!("the role was lost: {e}"));
        let mut words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            stderr.take(WORDS_BYTES_MAX).read_to_end(&mut words).map_err(broken)?;
        }
        let begin = Instant::now();
        let status = loop {
            match self.child.try_wait().map_err(broken)? {
                Some(status) => break status,
                None if begin.elapsed() > END_PATIENCE => {
                    return Err(Unwell::Again("it did not end".to_owned()));
                }
                None => std::thread::sleep(LOOK_AGAIN),
            }
        };
        self.over = true;
        let words = String::from_utf8_lossy(&words).into_owned();
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match code {
            Some(0) => Ok(()),
            Some(TRY_AGAIN) => Err(Unwell::Again(words)),
            Some(REFUSED) => Err(Unwell::Refused(words)),
            Some(_) | None => Err(Unwell::Again(format!("it broke its bounds ({status})"))),
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if !self.over {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
