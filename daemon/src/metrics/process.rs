//! What the daemon itself uses, by the names that all exporters give it.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use super::{Exposition, Kind, Value};

/// The place of each number in `/proc/self/stat`, counted from the one behind the name.
const UTIME: usize = 11;
const STIME: usize = 12;
const START: usize = 19;
const RESIDENT: usize = 21;

/// Writes what this process uses; what the kernel does not say is left out.
pub fn process(text: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name is in parentheses and may hold anything.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let numbers: Vec<u64> = rest.split(' ').map(|n| n.trim().parse().unwrap_or(0)).collect();
    let ticks = |at: usize| numbers.get(at).copied().unwrap_or(0);
    let per_second = system(SysconfVar::CLK_TCK).max(1);
    if !numbers.is_empty() {
        let used = ticks(UTIME).saturating_add(ticks(STIME));
        let cpu = Value::Thousandths(used.saturating_mul(1000) / per_second);
        let name = ("process_cpu_seconds", "seconds");
        text.one(Kind::Counter, name, "CPU time of this process.", cpu);
        let resident = ticks(RESIDENT).saturating_mul(system(SysconfVar::PAGE_SIZE));
        let name = ("process_resident_memory_bytes", "bytes");
        text.one(Kind::Gauge, name, "Resident memory of this process.", resident);
    }
    if let Some(boot) = boot_seconds() {
        let started = boot.saturating_add(ticks(START) / per_second);
        let name = ("process_start_time_seconds", "seconds");
        text.one(Kind::Gauge, name, "When this process started, since the Unix epoch.", started);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let help = "Open file descriptors of this process.";
        text.one(Kind::Gauge, ("process_open_fds", ""), help, open.count());
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let help = "File descriptors that this process may open.";
        text.one(Kind::Gauge, ("process_max_fds", ""), help, soft);
    }
}

fn system(name: SysconfVar) -> u64 {
    let said = sysconf(name).ok().flatten();
    said.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

fn boot_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let mut text = Exposition::default();
        process(&mut text);
        let text = text.finish();
        let value = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.to_owned()
        };
        assert!(value("process_resident_memory_bytes ").parse::<u64>().unwrap() > 1024 * 1024);
        assert!(value("process_open_fds ").parse::<u64>().unwrap() > 2);
        assert!(value("process_start_time_seconds ").parse::<u64>().unwrap() > 1_600_000_000);
        assert!(text.contains("# TYPE process_cpu_seconds counter"));
    }
}
