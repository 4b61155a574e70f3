//! The kernel's own counters of CPU time, read by the demo itself: what it prints is not what the
//! agents say, so the one checks the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{SysconfVar, sysconf};
use tengyun_model::{Name, NodeName};

use crate::message::Message;

/// Where control groups are mounted.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// The kernel's counter of a group, version 1 and 2.
const COUNTERS: [&str; 2] = ["cpuacct.usage", "cpu.stat"];

/// Cumulative CPU time at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// When.
    pub(crate) at: Instant,
    /// Of each node's group.
    pub(crate) nodes: Vec<Duration>,
    /// Of the whole machine, and what the machine below it took away.
    pub(crate) machine: Duration,
    /// Of this process: the scheduler, the agents and the client.
    pub(crate) own: Duration,
}

/// Knows where the counters are.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    nodes: Vec<PathBuf>,
    machine: Option<PathBuf>,
}

impl Kernel {
    /// Finds the counters of these nodes' groups; nothing where one is missing.
    pub(crate) fn find(home: &Name, nodes: &[NodeName]) -> Option<Self> {
        let root = Path::new(CGROUP_ROOT);
        let of = |node: &NodeName| {
            let group = Path::new(home.as_str()).join(node.as_str());
            counter(&root.join("cpuacct").join(&group)).or_else(|| counter(&root.join(&group)))
        };
        let nodes = nodes.iter().map(of).collect::<Option<Vec<_>>>()?;
        // The root group of version 1 counts every process exactly; /proc/stat counts ticks.
        let machine = Some(root.join("cpuacct/cpuacct.usage")).filter(|file| file.exists());
        Some(Self { nodes, machine })
    }

    /// Reads every counter.
    pub(crate) fn read(&self) -> Result<Reading, String> {
        let nodes = self.nodes.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let ticks = Ticks::of(&text(Path::new("/proc/stat"))?).ok_or("/proc/stat has no totals")?;
        let used = self.machine.as_deref().map_or(Ok(ticks.busy), read)?;
        let own = getrusage(UsageWho::RUSAGE_SELF).map_err(|error| error.to_string())?;
        let micros = own.user_time().num_microseconds() + own.system_time().num_microseconds();
        Ok(Reading {
            at: Instant::now(),
            nodes,
            machine: used + ticks.stolen,
            own: Duration::from_micros(u64::try_from(micros).unwrap_or(0)),
        })
    }
}

fn counter(group: &Path) -> Option<PathBuf> {
    COUNTERS.iter().map(|name| group.join(name)).find(|file| file.exists())
}

fn read(file: &Path) -> Result<Duration, String> {
    parse(&text(file)?).ok_or_else(|| Message::NoCpuCounter { file: &file.display() }.said())
}

/// Parses a group's counter: nanoseconds alone, or microseconds after `usage_usec`.
fn parse(text: &str) -> Option<Duration> {
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    match micros {
        Some(micros) => micros.trim().parse().ok().map(Duration::from_micros),
        None => text.trim().parse().ok().map(Duration::from_nanos),
    }
}

fn text(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| {
        let what = file.display();
        Message::CannotRead { what: &what, error: &error }.said()
    })
}

/// The totals of all CPUs in /proc/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: Duration,
    stolen: Duration,
}

impl Ticks {
    fn of(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields: Vec<u64> = line.split_whitespace().map_while(|f| f.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is in user and nice already.
        let field = |at: usize| fields.get(at).copied().unwrap_or(0);
        let busy = [0, 1, 2, 5, 6].into_iter().map(field).sum();
        Some(Self { busy: ticks(busy), stolen: ticks(field(7)) })
    }
}

fn ticks(count: u64) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let per_second = per_second.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    Duration::from_millis(count.saturating_mul(1000) / per_second.unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_versions_are_read() {
        assert_eq!(parse("1500000\n"), Some(Duration::from_micros(1500)));
        let stat = "usage_usec 2500\nuser_usec 2000\nsystem_usec 500\n";
        assert_eq!(parse(stat), Some(Duration::from_micros(2500)));
        assert_eq!(parse(""), None);
        assert_eq!(parse("-1"), None);
    }

    #[test]
    fn stolen_time_is_kept_apart_and_idle_time_is_not_busy() {
        let found = Ticks::of("cpu  10 20 30 4000 500 6 7 8 9 10\ncpu0 1 2\n").unwrap();
        assert_eq!(found, Ticks { busy: ticks(73), stolen: ticks(8) });
        assert_eq!(Ticks::of("intr 5\n"), None);
    }

    #[test]
    fn a_machine_without_our_groups_has_no_counters() {
        let name = |text: &str| NodeName::new(text).unwrap();
        let home = Name::new("tengyun-nobody-made-this").unwrap();
        assert!(Kernel::find(&home, &[name("node1")]).is_none());
    }
}
