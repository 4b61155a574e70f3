//! The output of a workload: copied from pipes into files of bounded size and number.
//!
//! A workload that writes faster than its share is slowed by its pipe; a full disk loses output and
//! never stops the workload. Lines mean nothing here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::spec::ShimSpec;

/// The names of the two streams' newest files.
pub(crate) const FILES: [&str; 2] = ["stdout.log", "stderr.log"];
/// What is copied at once: a quarter of a pipe, so that it fits on the stack of a small process.
const BUFFER_BYTES: usize = 16 * 1024;
/// How many seconds of its rate a quiet stream may write at once, such as a start-up banner.
const BURST_SECONDS: u64 = 8;
/// How many buffers are copied before other work has its turn.
const COPIES_MAX: usize = 16;
/// How many buffers are left to copy after the end: more than a pipe can be made to hold (1 MiB).
const DRAINS_MAX: usize = 80;

/// The ends of the pipes that the workload writes to.
#[derive(Debug)]
pub(super) struct WriteEnds {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Opens both streams.
pub(super) fn open(spec: &ShimSpec) -> io::Result<([Output; 2], WriteEnds)> {
    let (stdout, stdout_end) = Output::open(FILES[0], spec)?;
    let (stderr, stderr_end) = Output::open(FILES[1], spec)?;
    Ok(([stdout, stderr], WriteEnds { stdout: stdout_end, stderr: stderr_end }))
}

/// One stream.
#[derive(Debug)]
pub(super) struct Output {
    pipe: Option<OwnedFd>,
    files: Rotating,
    share: Bucket,
}

impl Output {
    fn open(name: &'static str, spec: &ShimSpec) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let files = Rotating::open(name, spec.output_file_bytes, spec.output_files)?;
        let share = Bucket::new(spec.output_bytes_per_second, Instant::now());
        Ok((Self { pipe: Some(read), files, share }, write))
    }

    /// Returns the pipe while it is open.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(OwnedFd::as_fd)
    }

    /// Returns when more may be copied; `None` when the stream has ended.
    pub(super) fn ready_in(&self, now: Instant) -> Option<Duration> {
        self.pipe.as_ref().map(|_| self.share.ready_in(now))
    }

    /// Copies what is there, within the stream's share.
    pub(super) fn copy(&mut self) {
        for _ in 0..COPIES_MAX {
            if self.share.ready_in(Instant::now()) > Duration::ZERO || !self.copy_once() {
                return;
            }
        }
    }

    /// Copies what is left; the writers are gone, so the share does not matter.
    pub(super) fn drain(&mut self) {
        for _ in 0..DRAINS_MAX {
            if !self.copy_once() {
                break;
            }
        }
        self.files.sync();
    }

    /// Copies one buffer; false when there is nothing to copy for now.
    fn copy_once(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut buffer = [0; BUFFER_BYTES];
        match super::read_some(pipe, &mut buffer) {
            Ok(None) => false,
            Ok(Some(0)) | Err(_) => {
                self.pipe = None;
                false
            }
            Ok(Some(count)) => {
                self.share.take(count, Instant::now());
                self.files.write(&buffer[..count]);
                true
            }
        }
    }
}

/// A share of bytes over time: fills at a rate, holds a burst.
#[derive(Debug)]
struct Bucket {
    rate: u64,
    level: i64,
    at: Instant,
}

impl Bucket {
    const fn new(rate: u64, now: Instant) -> Self {
        let rate = if rate == 0 { 1 } else { rate };
        Self { rate, level: Self::burst(rate), at: now }
    }

    const fn burst(rate: u64) -> i64 {
        rate.saturating_mul(BURST_SECONDS).cast_signed()
    }

    fn ready_in(&self, now: Instant) -> Duration {
        let debt = -self.level_at(now);
        let Ok(debt) = u64::try_from(debt) else { return Duration::ZERO };
        Duration::from_micros(debt.saturating_mul(1_000_000) / self.rate)
    }

    fn level_at(&self, now: Instant) -> i64 {
        let passed = u64::try_from(now.duration_since(self.at).as_micros()).unwrap_or(u64::MAX);
        let filled = passed.saturating_mul(self.rate) / 1_000_000;
        let filled = i64::try_from(filled).unwrap_or(i64::MAX);
        self.level.saturating_add(filled).min(Self::burst(self.rate))
    }

    fn take(&mut self, bytes: usize, now: Instant) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.level = self.level_at(now).saturating_sub(bytes);
        self.at = now;
    }
}

/// Files that are renamed away when they are full; the oldest is dropped.
#[derive(Debug)]
struct Rotating {
    name: &'static str,
    bytes_max: u64,
    files_max: u32,
    file: Option<File>,
    bytes: u64,
}

impl Rotating {
    fn open(name: &'static str, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        let (bytes_max, files_max) = (bytes_max.max(1), files_max.max(1));
        Ok(Self { name, bytes_max, files_max, file: Some(create(name)?), bytes: 0 })
    }

    /// Writes all of it, or loses what the disk does not take.
    fn write(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.bytes >= self.bytes_max {
                self.rotate();
            }
            let room = usize::try_from(self.bytes_max - self.bytes).unwrap_or(usize::MAX);
            let (now, later) = data.split_at(room.min(data.len()));
            if let Some(file) = &mut self.file {
                // A full disk loses output; the workload is not to be stopped by it.
                drop(file.write_all(now));
            }
            self.bytes = self.bytes.saturating_add(u64::try_from(now.len()).unwrap_or(u64::MAX));
            data = later;
        }
    }

    fn rotate(&mut self) {
        for number in (1..self.files_max.saturating_sub(1)).rev() {
            let (from, to) = (numbered(self.name, number), numbered(self.name, number + 1));
            drop(fs::rename(from, to));
        }
        if self.files_max > 1 {
            drop(fs::rename(self.name, numbered(self.name, 1)));
        } else {
            drop(fs::remove_file(self.name));
        }
        self.file = create(self.name).ok();
        self.bytes = 0;
    }

    fn sync(&self) {
        if let Some(file) = &self.file {
            drop(file.sync_data());
        }
    }
}

/// Names a full file; number 1 is the newest of them.
pub(crate) fn numbered(name: &str, number: u32) -> String {
    format!("{name}.{number}")
}

fn create(name: &str) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_burst_and_then_keeps_to_its_rate() {
        let start = Instant::now();
        let mut share = Bucket::new(1000, start);
        share.take(8000, start);
        assert_eq!(share.ready_in(start), Duration::ZERO);
        share.take(500, start);
        assert_eq!(share.ready_in(start), Duration::from_millis(500));
        let later = start + Duration::from_millis(500);
        assert_eq!(share.ready_in(later), Duration::ZERO);
        assert_eq!(share.level_at(start + Duration::from_hours(1)), 8000);
    }
}
