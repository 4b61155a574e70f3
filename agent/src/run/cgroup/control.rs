//! The files of a control group: how they are written and read, and what numbers they take.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tengyun_model::Millicores;

use super::CgroupError;

/// The weight of the critical class among the classes: its reservations are never promised twice,
/// so it may take all it asks for.
pub(super) const CRITICAL_WEIGHT: Millicores = Millicores::new(16_000);
/// The weight of the standard class among the classes.
pub(super) const STANDARD_WEIGHT: Millicores = Millicores::new(1_000);
/// The period of every CPU quota: the kernel's default, long enough not to throttle short bursts.
pub(super) const PERIOD_MICROS: u64 = 100_000;
/// The least quota the kernel takes.
const QUOTA_MICROS_MIN: u64 = 1_000;
/// The least and the greatest share of a v1 group.
const SHARES: (u64, u64) = (2, 262_144);

/// Writes one value into a file that the kernel made.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let open = || fs::OpenOptions::new().write(true).truncate(true).open(path);
    let write = || open()?.write_all(value.as_bytes());
    write().map_err(|source| CgroupError::Io { verb: "write", path: path.to_owned(), source })
}

/// Makes a directory; one that is there is taken as it is.
pub(super) fn make(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => {
            other.map_err(|source| CgroupError::Io { verb: "make", path: path.to_owned(), source })
        }
    }
}

/// Removes a directory; one that is not there is removed.
pub(super) fn remove(path: &Path) -> Result<(), CgroupError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| CgroupError::Io {
            verb: "remove",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Reads a file of ids, one a line.
pub(super) fn ids(path: &Path) -> Vec<i32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A process that is not in our pid namespace reads as 0 and cannot be signalled by us.
    text.lines().filter_map(|line| line.parse().ok()).filter(|id| *id > 0).collect()
}

/// Reads the number behind a word in a file of `word number` lines.
pub(super) fn counter(path: &Path, word: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Sends SIGKILL to each process; one that ended meanwhile is no error.
pub(super) fn kill_each(ids: &[i32]) {
    for id in ids {
        kill(Pid::from_raw(*id), Signal::SIGKILL).unwrap_or_default();
    }
}

/// Turns a CPU rate into microseconds in each period.
pub(super) fn quota_micros(rate: Millicores) -> u64 {
    rate.get().saturating_mul(PERIOD_MICROS / 1000).max(QUOTA_MICROS_MIN)
}

/// Turns a CPU request into v1 shares, 1024 a core.
pub(super) fn shares(weight: Millicores) -> u64 {
    (weight.get().saturating_mul(1024) / 1000).clamp(SHARES.0, SHARES.1)
}

/// Turns a CPU request into a v2 weight, by the same map as systemd and the container runtimes.
pub(super) fn weight(request: Millicores) -> u64 {
    1 + (shares(request) - SHARES.0) * 9_999 / (SHARES.1 - SHARES.0)
}
