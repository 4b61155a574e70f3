//! `tengyun doctor`: is this server fit for the cloud, and what to do where it is not.
//!
//! It looks and changes nothing, but for one small file whose fsync it times. What it looks at is below
//! a root, so that tests give it another machine.

mod daemon;
mod devices;
mod hardening;
mod host;
mod system;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::message::Message;
use crate::options::Global;
use crate::output::{Format, print, show, table};
use crate::session::Session;
use crate::text::Language;
use host::Host;

/// What `doctor` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Look at the machine below this directory, and at nothing that is alive
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Pass,
    Warn,
    Fail,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    next: String,
}

/// The findings in the making, in one language.
#[derive(Debug)]
struct Report {
    language: Language,
    findings: Vec<Finding>,
}

impl Report {
    const fn new(language: Language) -> Self {
        Self { language, findings: Vec::new() }
    }

    fn pass(&mut self, check: &'static str, found: &Message<'_>) {
        let (found, next) = (found.text(self.language), String::new());
        self.findings.push(Finding { check, level: Level::Pass, found, next });
    }

    fn not(&mut self, check: &'static str, level: Level, found: &Message<'_>, next: &Message<'_>) {
        let (found, next) = (found.text(self.language), next.text(self.language));
        self.findings.push(Finding { check, level, found, next });
    }

    /// Judges a value that is right or not.
    fn judge(
        &mut self,
        check: &'static str,
        (right, otherwise): (bool, Level),
        found: &Message<'_>,
        next: &Message<'_>,
    ) {
        if right { self.pass(check, found) } else { self.not(check, otherwise, found, next) }
    }

    fn worst(&self) -> Level {
        self.findings.iter().map(|f| f.level).max().unwrap_or(Level::Pass)
    }
}

/// Looks at this server and says what to do.
pub(crate) async fn run(
    session: &Session,
    global: &Global,
    args: &DoctorArgs,
) -> Result<(), Failure> {
    let mut report = Report::new(session.language);
    let host = Host::new(args.root.clone());
    system::look(&mut report, &host);
    devices::look(&mut report, &host);
    hardening::look(&mut report, &host);
    daemon::look(&mut report, &host, &global.state_dir());
    if host.is_alive() {
        daemon::ask(&mut report, session).await;
    }
    let json: Vec<Value> = report.findings.iter().map(finding_json).collect();
    show(session.format, || text(session, &report), &json!(json))?;
    if report.worst() == Level::Fail {
        return Err(Failure::Internal(Message::DoctorFailed {}.text(session.language)));
    }
    if session.format == Format::Table && report.worst() == Level::Pass {
        print(&format!("{}\n", Message::DoctorPassed {}.text(session.language)))?;
    }
    Ok(())
}

fn text(session: &Session, report: &Report) -> String {
    let row = |f: &Finding| {
        let level = session.language.pick(
            f.level.as_str(),
            match f.level {
                Level::Pass => "通过",
                Level::Warn => "注意",
                Level::Fail => "不合格",
            },
        );
        vec![f.check.to_owned(), level.to_owned(), f.found.clone(), f.next.clone()]
    };
    let headings = session.headings(&["CHECK", "RESULT", "FOUND", "WHAT TO DO"]);
    table(&headings, &report.findings.iter().map(row).collect::<Vec<_>>())
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "check": finding.check,
        "result": finding.level.as_str(),
        "found": finding.found,
        "next": finding.next,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    /// Files of a good server; each test breaks one.
    const GOOD: &[(&str, &str)] = &[
        ("proc/sys/kernel/osrelease", "6.6.0-tengyun\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"),
        ("proc/pressure/cpu", "some avg10=0.00\n"),
        ("run/systemd/timesync/synchronized", ""),
        ("proc/self/limits", "Max open files            1048576              1048576   files\n"),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"),
        ("etc/subuid", "web:100000:65536\n"),
        ("proc/mounts", "tmpfs /run tmpfs rw,nosuid,nodev 0 0\n"),
        ("proc/swaps", "Filename Type Size Used Priority\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ("sys/block/vda/device/model", ""),
        ("sys/block/loop0/size", ""),
        ("proc/diskstats", "254 0 vda 1 2 3 4 5 6 7 8 9 10 11\n"),
        ("sys/class/net/eth0/device/x", ""),
        ("sys/class/net/eth0/speed", "25000\n"),
        ("sys/class/net/lo/mtu", ""),
        ("proc/net/dev", "eth0: 1\n"),
        ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0-1\n"),
        ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1\n"),
        ("proc/cpuinfo", "flags : fpu vme\n"),
        ("proc/sys/kernel/pid_max", "4194304\n"),
        ("proc/sys/kernel/yama/ptrace_scope", "1\n"),
        ("proc/sys/kernel/kptr_restrict", "1\n"),
        ("proc/sys/kernel/dmesg_restrict", "1\n"),
        ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
        ("proc/sys/fs/protected_symlinks", "1\n"),
        ("proc/sys/fs/protected_hardlinks", "1\n"),
        ("proc/sys/fs/protected_fifos", "1\n"),
        ("proc/sys/fs/protected_regular", "2\n"),
        ("sys/kernel/security/lsm", "lockdown,capability,yama,apparmor\n"),
    ];

    fn findings(changes: &[(&str, Option<&str>)], language: Language) -> Vec<Finding> {
        let dir = tempfile::tempdir().unwrap();
        let mut files: BTreeMap<&str, &str> = GOOD.iter().copied().collect();
        for (path, content) in changes {
            match content {
                Some(content) => files.insert(path, content),
                None => files.remove(path),
            };
        }
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let host = Host::new(Some(dir.path().to_owned()));
        let mut report = Report::new(language);
        system::look(&mut report, &host);
        devices::look(&mut report, &host);
        hardening::look(&mut report, &host);
        report.findings
    }

    fn level(findings: &[Finding], check: &str) -> Level {
        let found = findings.iter().find(|f| f.check == check);
        found.unwrap_or_else(|| panic!("no check is called {check}")).level
    }

    #[test]
    fn a_good_server_passes_every_check() {
        let findings = findings(&[], Language::English);
        assert!(findings.len() >= 20, "{} checks", findings.len());
        for finding in &findings {
            assert_eq!(finding.level, Level::Pass, "{finding:?}");
        }
    }

    #[test]
    fn each_fault_is_found_and_says_what_to_do() {
        use Level::{Fail, Warn};
        let cases: &[(&str, Option<&str>, &str, Level)] = &[
            ("proc/sys/kernel/osrelease", Some("3.10.0-1160.el7\n"), "kernel", Warn),
            ("proc/sys/kernel/osrelease", Some("2.6.32\n"), "kernel", Fail),
            ("proc/sys/kernel/osrelease", Some("4.19.90\n"), "kernel-calls", Warn),
            ("sys/fs/cgroup/cgroup.controllers", None, "control-groups", Warn),
            ("sys/fs/cgroup/cgroup.controllers", Some("cpu memory\n"), "control-groups", Warn),
            ("proc/pressure/cpu", None, "pressure", Warn),
            ("run/systemd/timesync/synchronized", None, "time-sync", Warn),
            ("proc/self/limits", Some("Max open files  512  512  files\n"), "open-files", Fail),
            ("proc/self/limits", Some("Max open files  4096  4096  files\n"), "open-files", Warn),
            ("etc/passwd", Some("x:x:250000:1::/:/bin/sh\n"), "user-ids", Fail),
            ("etc/subuid", Some("x:165536:65536\n"), "user-ids", Warn),
            ("proc/mounts", Some("/dev/sda1 / ext4 rw 0 0\n"), "secrets-memory", Warn),
            ("proc/swaps", Some("Filename Type\n/dev/sda2 partition 1 0 -2\n"), "swap", Warn),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                Some("[always] madvise never\n"),
                "huge-pages",
                Warn,
            ),
            ("sys/block/vda/device/model", None, "disk-use", Warn),
            ("proc/diskstats", None, "disk-use", Warn),
            ("sys/class/net/eth0/device/x", None, "network-use", Warn),
            ("proc/net/dev", None, "network-use", Warn),
            ("proc/sys/kernel/pid_max", Some("32768\n"), "pid-max", Warn),
            ("proc/sys/kernel/yama/ptrace_scope", Some("0\n"), "ptrace", Warn),
            ("proc/sys/kernel/dmesg_restrict", Some("0\n"), "dmesg", Warn),
            ("proc/sys/fs/protected_symlinks", Some("0\n"), "protected-symlinks", Warn),
            ("sys/kernel/security/lsm", Some("capability\n"), "mandatory-access", Warn),
        ];
        for (path, content, check, expected) in cases {
            let findings = findings(&[(*path, *content)], Language::English);
            assert_eq!(level(&findings, check), *expected, "{path} as {content:?}");
            let others = findings.iter().filter(|f| f.level != Level::Pass);
            for finding in others {
                assert!(!finding.next.is_empty(), "{finding:?} says nothing to do");
            }
        }
    }

    #[test]
    fn control_groups_of_version_1_pass_with_their_controllers() {
        let v1: Vec<(&str, Option<&str>)> = vec![
            ("sys/fs/cgroup/cgroup.controllers", None),
            ("sys/fs/cgroup/cpu/tasks", Some("")),
            ("sys/fs/cgroup/memory/tasks", Some("")),
            ("sys/fs/cgroup/pids/tasks", Some("")),
        ];
        assert_eq!(level(&findings(&v1, Language::English), "control-groups"), Level::Pass);
    }

    #[test]
    fn a_virtual_machine_and_a_container_are_named() {
        let said = |changes: &[(&str, Option<&str>)]| {
            let all = findings(changes, Language::English);
            all.iter().find(|f| f.check == "machine").unwrap().found.clone()
        };
        assert!(said(&[]).contains("physical"));
        let guest = [("proc/cpuinfo", Some("flags : fpu hypervisor\n"))];
        assert!(said(&guest).contains("virtual machine"));
        assert!(said(&[("run/systemd/container", Some("docker\n"))]).contains("container"));
    }

    #[test]
    fn threads_disks_and_links_are_named_with_what_is_known_of_them() {
        let said = |changes: &[(&str, Option<&str>)], check: &str| {
            let all = findings(changes, Language::English);
            all.iter().find(|f| f.check == check).unwrap().found.clone()
        };
        assert!(said(&[], "smt").starts_with("1 core(s), 2 threads"), "{}", said(&[], "smt"));
        assert!(said(&[], "smt").ends_with("add 0.0 % to their core (assumed)"));
        let topology = "sys/devices/system/cpu/cpu1/topology/thread_siblings_list";
        let off = said(&[(topology, Some("1\n"))], "smt");
        assert_eq!(off, "2 core(s) of one thread each");
        assert_eq!(said(&[], "disk-use"), "use of vda is read");
        assert_eq!(said(&[], "network-use"), "traffic of eth0 (25000 Mbit/s) is read");
        let unknown = [("sys/class/net/eth0/speed", Some("-1\n"))];
        assert_eq!(said(&unknown, "network-use"), "traffic of eth0 (of unknown speed) is read");
    }

    #[test]
    fn everything_is_said_in_chinese() {
        let broken = [("proc/swaps", Some("Filename\n/dev/sda2\n")), ("proc/pressure/cpu", None)];
        for finding in findings(&broken, Language::Chinese) {
            for text in [&finding.found, &finding.next] {
                let chinese = text.chars().any(|c| matches!(c, '\u{4e00}'..='\u{9fff}'));
                assert!(text.is_empty() || chinese, "{}: {text}", finding.check);
            }
        }
    }
}
