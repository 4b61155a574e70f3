//! What this process and this thread took, as the kernel counts it.

use std::fs;

/// Ticks of a second in `/proc`, whatever the kernel's own are.
const TICKS: f64 = 100.0;

/// Returns a line of the process's status in MiB: `VmRSS:` or `VmHWM:`.
pub(crate) fn mebibytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Begins to count the highest memory anew.
pub(crate) fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("the kernel lets a process do so to itself");
}

/// Returns the seconds that this thread computed, without those it waited and without the kernel's: a busy
/// machine lengthens the wall time and hardly these.
pub(crate) fn user_secs() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").expect("a thread has its statistics");
    // The name, in brackets, may hold blanks; the 12th field after it is what is wanted.
    let after = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks = after.split_whitespace().nth(11).and_then(|field| field.parse::<u32>().ok());
    f64::from(ticks.expect("ticks in user mode")) / TICKS
}
