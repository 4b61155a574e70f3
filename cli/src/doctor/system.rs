//! The system: kernel, control groups, time, limits, memory.

use super::host::Host;
use super::{Level, Report};
use crate::message::Message;

/// The oldest kernel that everything runs on.
const KERNEL_MIN: (u32, u32) = (4, 19);
/// The oldest kernel that is measured and metered.
const KERNEL_OBSERVED: (u32, u32) = (3, 10);
/// The kernel that has every call we prefer: the idle class of control groups came last.
const KERNEL_WHOLE: (u32, u32) = (5, 15);
/// The controllers that limits need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The fewest open files that a daemon works with, and how many a server should allow.
const OPEN_FILES: (u64, u64) = (1024, 65_536);
/// The user ids of instances: the agent's default base, and how many it gives.
const USER_IDS: (u64, u64) = (200_000, 100_000);
/// Enough process ids for a full server.
const PID_MAX: u64 = 262_144;

/// Looks at the system.
pub(super) fn look(report: &mut Report, host: &Host) {
    kernel(report, host);
    control_groups(report, host);
    let there = host.has("/proc/pressure/cpu");
    let found = if there { Message::PressureThere {} } else { Message::PressureMissing {} };
    report.judge("pressure", (there, Level::Warn), &found, &Message::PressureNext {});
    let files = [
        "/run/systemd/timesync/synchronized",
        "/run/chrony/chronyd.pid",
        "/run/chronyd.pid",
        "/run/ntpd.pid",
        "/var/run/ntpd.pid",
    ];
    let synchronised = files.iter().any(|file| host.has(file));
    let found = if synchronised { Message::TimeSynced {} } else { Message::TimeNotSynced {} };
    report.judge("time-sync", (synchronised, Level::Warn), &found, &Message::TimeNext {});
    open_files(report, host);
    user_ids(report, host);
    memory(report, host);
    let pids = host.number("/proc/sys/kernel/pid_max").unwrap_or(0);
    let found = Message::PidMax { pids: &pids };
    report.judge("pid-max", (pids >= PID_MAX, Level::Warn), &found, &Message::PidMaxNext {});
    machine(report, host);
}

/// Reads the first two numbers of a kernel's version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(report: &mut Report, host: &Host) {
    let text = host.read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (release, known) = (text.trim(), version(&text).unwrap_or_default());
    let found = Message::Kernel { release: &release };
    let level = if known < KERNEL_OBSERVED { Level::Fail } else { Level::Warn };
    report.judge("kernel", (known >= KERNEL_MIN, level), &found, &Message::KernelNext {});
    let found =
        if known >= KERNEL_WHOLE { Message::CallsThere {} } else { Message::CallsMissing {} };
    let next = Message::CallsNext {};
    report.judge("kernel-calls", (known >= KERNEL_WHOLE, Level::Warn), &found, &next);
}

fn control_groups(report: &mut Report, host: &Host) {
    let v2 = host.read("/sys/fs/cgroup/cgroup.controllers");
    let has = |name: &&str| match &v2 {
        Some(list) => list.split_whitespace().any(|word| word == *name),
        None => host.has(&format!("/sys/fs/cgroup/{name}")),
    };
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !has(name)).collect();
    let version = if v2.is_some() { 2 } else { 1 };
    let missing_text = missing.join(", ");
    let found = if missing.is_empty() {
        Message::ControlGroups { version: &version }
    } else {
        Message::ControlGroupsMissing { missing: &missing_text }
    };
    let next = Message::ControlGroupsNext {};
    report.judge("control-groups", (missing.is_empty(), Level::Warn), &found, &next);
}

fn open_files(report: &mut Report, host: &Host) {
    let limits = host.read("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    let count = if soft == "unlimited" { u64::MAX } else { soft.parse().unwrap_or(0) };
    let (least, enough) = OPEN_FILES;
    let level = if count < least { Level::Fail } else { Level::Warn };
    let found = Message::OpenFiles { count: &soft };
    report.judge("open-files", (count >= enough, level), &found, &Message::OpenFilesNext {});
}

/// Looks for people and ranges of people among the ids that instances get.
fn user_ids(report: &mut Report, host: &Host) {
    let (base, count) = USER_IDS;
    let end = base.saturating_add(count);
    let number = |line: &str, at: usize| line.split(':').nth(at)?.trim().parse::<u64>().ok();
    let mut taken = Vec::new();
    for line in host.read("/etc/passwd").unwrap_or_default().lines() {
        let owner = line.split(':').next().unwrap_or_default();
        if number(line, 2).is_some_and(|id| (base..end).contains(&id)) {
            taken.push(owner.to_owned());
        }
    }
    // A range of subordinate ids is in use only where somebody has containers of their own.
    let people = !taken.is_empty();
    for line in host.read("/etc/subuid").unwrap_or_default().lines() {
        if let (Some(first), Some(ids)) = (number(line, 1), number(line, 2))
            && first < end
            && first.saturating_add(ids) > base
        {
            taken.push(line.split(':').next().unwrap_or_default().to_owned());
        }
    }
    taken.dedup();
    let last = end.saturating_sub(1);
    let level = if people { Level::Fail } else { Level::Warn };
    let owners = taken.join(", ");
    let found = if taken.is_empty() {
        Message::UserIdsFree { first: &base, last: &last }
    } else {
        Message::UserIdsTaken { first: &base, last: &last, owners: &owners }
    };
    let next = Message::UserIdsNext {};
    report.judge("user-ids", (taken.is_empty(), level), &found, &next);
}

fn memory(report: &mut Report, host: &Host) {
    let mounts = host.read("/proc/mounts").unwrap_or_default();
    let run = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some("/run") && words.next() == Some("tmpfs")
    });
    let found = if run { Message::SecretsMemory {} } else { Message::SecretsDisk {} };
    report.judge("secrets-memory", (run, Level::Warn), &found, &Message::SecretsNext {});
    let swaps = host.read("/proc/swaps").unwrap_or_default();
    let count = swaps.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
    let found = if count == 0 { Message::SwapOff {} } else { Message::SwapOn { count: &count } };
    report.judge("swap", (count == 0, Level::Warn), &found, &Message::SwapNext {});
    let pages = host.read("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let always = pages.contains("[always]");
    let found = if always { Message::HugePagesAlways {} } else { Message::HugePagesAsked {} };
    report.judge("huge-pages", (!always, Level::Warn), &found, &Message::HugePagesNext {});
}

/// Names what kind of machine it is; none of them is wrong.
fn machine(report: &mut Report, host: &Host) {
    let container = host.has("/run/systemd/container") || host.has("/.dockerenv");
    let cpus = host.read("/proc/cpuinfo").unwrap_or_default();
    let guest = cpus.lines().any(|line| {
        line.starts_with("flags") && line.split_whitespace().any(|word| word == "hypervisor")
    });
    let found = if container {
        Message::MachineContainer {}
    } else if guest {
        Message::MachineVirtual {}
    } else {
        Message::MachinePhysical {}
    };
    report.pass("machine", &found);
}
