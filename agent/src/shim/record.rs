//! What a shim writes down for the agent: who it is, what it started, how that ended.
//!
//! Each record appears whole or not at all. Fields are only ever added.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use nix::time::ClockId;
use nix::unistd::Pid;
use prost::Message;
use tengyun_model::{At, BootId, Exit, Millis};

/// The record of the shim itself.
pub(crate) const SHIM: &str = "shim.pid";
/// The record of a successful start.
pub(crate) const STARTED: &str = "started";
/// The record of the end.
pub(crate) const EXIT: &str = "exit";
/// The largest record.
const BYTES_MAX: u64 = 64 * 1024;
/// The longest message in a record: an error of the system with a path.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ShimPid {
    /// Its id; 0 when an agent gave the start up before a shim came to it.
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
    /// When it started, in the kernel's ticks since boot.
    #[prost(uint64, tag = "2")]
    pub(crate) start_ticks: u64,
    /// In which boot.
    #[prost(string, tag = "3")]
    pub(crate) boot: String,
}

/// A successful start.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Started {
    /// The workload's main process.
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
    /// When it started, in the kernel's ticks since boot.
    #[prost(uint64, tag = "2")]
    pub(crate) start_ticks: u64,
    /// In which boot.
    #[prost(string, tag = "3")]
    pub(crate) boot: String,
    /// When, in milliseconds since the Unix epoch.
    #[prost(uint64, tag = "4")]
    pub(crate) wall_millis: u64,
    /// When, on the monotonic clock.
    #[prost(uint64, tag = "5")]
    pub(crate) monotonic_millis: u64,
}

/// How a start ended, in the words of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum How {
    /// Not known.
    Unknown = 0,
    /// The main process returned a code.
    Code = 1,
    /// A signal ended it.
    Signal = 2,
    /// The kernel killed it for want of memory.
    OutOfMemory = 3,
    /// It could not be started.
    NotStarted = 4,
    /// Another program listens on one of its ports, the number.
    PortTaken = 5,
}

/// The end of a start: when it is written, nothing of the workload runs any more.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Ended {
    /// How the main process ended.
    #[prost(enumeration = "How", tag = "1")]
    pub(crate) how: i32,
    /// The code or the signal.
    #[prost(int32, tag = "2")]
    pub(crate) number: i32,
    /// What went wrong, in words.
    #[prost(string, tag = "3")]
    pub(crate) message: String,
    /// Whether the agent had asked for it.
    #[prost(bool, tag = "4")]
    pub(crate) asked: bool,
    /// When the main process ended, in milliseconds since the Unix epoch.
    #[prost(uint64, tag = "5")]
    pub(crate) wall_millis: u64,
    /// When, on the monotonic clock.
    #[prost(uint64, tag = "6")]
    pub(crate) monotonic_millis: u64,
    /// In which boot.
    #[prost(string, tag = "7")]
    pub(crate) boot: String,
    /// All CPU time that the workload used.
    #[prost(uint64, tag = "8")]
    pub(crate) cpu_micros: u64,
    /// Whether the kernel's counter of the group says so, or the times of reaped processes.
    #[prost(bool, tag = "9")]
    pub(crate) cpu_exact: bool,
}

impl ShimPid {
    /// Describes this process.
    pub(crate) fn own() -> Self {
        let pid = std::process::id();
        Self { pid, start_ticks: start_ticks(pid).unwrap_or_default(), boot: boot() }
    }

    /// Says that no shim shall run here.
    pub(crate) fn nobody() -> Self {
        Self { pid: 0, start_ticks: 0, boot: boot() }
    }
}

impl Started {
    /// Describes a process that started just now.
    pub(crate) fn of(main: Pid) -> Self {
        let pid = u32::try_from(main.as_raw()).unwrap_or_default();
        Self {
            pid,
            start_ticks: start_ticks(pid).unwrap_or_default(),
            boot: boot(),
            wall_millis: wall().millis(),
            monotonic_millis: monotonic().get(),
        }
    }
}

impl Ended {
    /// Describes an end that came just now.
    pub(crate) fn now(how: How, mut message: String) -> Self {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self {
            how: how.into(),
            number: 0,
            message,
            asked: false,
            wall_millis: wall().millis(),
            monotonic_millis: monotonic().get(),
            boot: boot(),
            cpu_micros: 0,
            cpu_exact: true,
        }
    }

    /// Returns how it ended in the shared words.
    pub(crate) fn exit(&self) -> Exit {
        match self.how() {
            How::Unknown => Exit::Unknown,
            How::Code => Exit::Code(self.number),
            How::Signal => Exit::Signal(self.number),
            How::OutOfMemory => Exit::OutOfMemory,
            How::NotStarted => Exit::NotStarted,
            How::PortTaken => u16::try_from(self.number).map_or(Exit::NotStarted, Exit::PortTaken),
        }
    }
}

/// Writes a record into the current directory; it is on disk when this returns.
pub(crate) fn write(name: &str, record: &impl Message) -> io::Result<()> {
    write_file(name, record)?.sync_all()?;
    fs::rename(temporary(name), name)?;
    File::open(".")?.sync_all()
}

/// Writes a record that is worth nothing after a power cut, because it tells of this boot only.
pub(crate) fn write_quick(name: &str, record: &impl Message) -> io::Result<()> {
    write_file(name, record)?;
    fs::rename(temporary(name), name)
}

/// Writes the record of a shim unless there is one; false when another was first.
pub(crate) fn claim(record: &ShimPid) -> io::Result<bool> {
    claim_in(Path::new("."), record)
}

/// Does the same in a directory: shim and agent race for it, and one of them wins.
pub(crate) fn claim_in(dir: &Path, record: &ShimPid) -> io::Result<bool> {
    let new = dir.join(format!("{SHIM}.{}.new", std::process::id()));
    File::create(&new)?.write_all(&record.encode_to_vec())?;
    let linked = fs::hard_link(&new, dir.join(SHIM));
    fs::remove_file(&new)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a record; one that is not there, or is empty after a power cut, is `None`.
pub(crate) fn read<R: Message + Default>(path: &Path) -> io::Result<Option<R>> {
    let bytes = match super::read_bounded(path, BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    R::decode(bytes.as_slice()).map(Some).map_err(io::Error::other)
}

fn temporary(name: &str) -> String {
    format!("{name}.new")
}

fn write_file(name: &str, record: &impl Message) -> io::Result<File> {
    let mut file = File::create(temporary(name))?;
    file.write_all(&record.encode_to_vec())?;
    Ok(file)
}

/// Returns the wall time.
pub(crate) fn wall() -> At {
    At::from_millis(clock(ClockId::CLOCK_REALTIME))
}

/// Returns the monotonic time since boot.
pub(crate) fn monotonic() -> Millis {
    Millis::new(clock(ClockId::CLOCK_MONOTONIC))
}

fn clock(id: ClockId) -> u64 {
    // Both clocks exist on every kernel; a clock before its epoch counts as the epoch.
    let time = nix::time::clock_gettime(id).unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
    let secs = u64::try_from(time.tv_sec()).unwrap_or_default();
    secs.saturating_mul(1000) + u64::try_from(time.tv_nsec()).unwrap_or_default() / 1_000_000
}

/// Returns the kernel's name of this boot, as it writes it.
pub(crate) fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Says whether a record is of the running boot.
pub(crate) fn is_this_boot(text: &str) -> bool {
    !text.is_empty() && BootId::parse(text) == BootId::parse(&boot())
}

/// Returns when a process started, in ticks since boot; `None` when it ended, even if unreaped.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = Stat::parse(&text)?;
    (!stat.ended).then_some(stat.start_ticks)
}

/// What the kernel says of a process, as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// True when it is a zombie or dead.
    pub(crate) ended: bool,
    /// Its parent.
    pub(crate) parent: i32,
    /// Its session.
    pub(crate) session: i32,
    /// When it started, in ticks since boot.
    pub(crate) start_ticks: u64,
}

impl Stat {
    /// Parses `/proc/<pid>/stat`; the name of the program may hold anything, so it is skipped from
    /// its last bracket on.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let behind = text.iter().rposition(|b| *b == b')')? + 1;
        let rest = std::str::from_utf8(text.get(behind..)?).ok()?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            ended: matches!(*words.first()?, "Z" | "X" | "x"),
            parent: words.get(1)?.parse().ok()?,
            session: words.get(3)?.parse().ok()?,
            start_ticks: words.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_cannot_forge_the_stat_of_a_process() {
        let text = b"7 (a) Z 1 (b) S 42 1 40 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 12345 9 9";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat, Stat { ended: false, parent: 42, session: 40, start_ticks: 12345 });
        assert_eq!(Stat::parse(b"7 (a"), None);
        assert_eq!(Stat::parse(b"7 (a) S 1"), None);
    }

    #[test]
    fn only_the_first_claim_wins() {
        let dir = tempfile::tempdir().unwrap();
        assert!(claim_in(dir.path(), &ShimPid::nobody()).unwrap());
        assert!(!claim_in(dir.path(), &ShimPid::own()).unwrap());
        let held: ShimPid = read(&dir.path().join(SHIM)).unwrap().unwrap();
        assert_eq!(held.pid, 0);
    }

    #[test]
    fn a_torn_or_absent_record_is_none_and_a_forged_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(EXIT);
        assert_eq!(read::<Ended>(&path).unwrap(), None);
        fs::write(&path, b"").unwrap();
        assert_eq!(read::<Ended>(&path).unwrap(), None);
        fs::write(&path, [0xff; 9]).unwrap();
        assert!(read::<Ended>(&path).is_err());
    }

    #[test]
    fn this_process_started_and_its_boot_is_this_one() {
        let own = ShimPid::own();
        assert!(is_this_boot(&own.boot));
        assert_eq!(start_ticks(own.pid), Some(own.start_ticks));
        assert!(!is_this_boot(""));
    }
}
