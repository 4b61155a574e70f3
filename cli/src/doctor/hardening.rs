//! Hardening: what a server that runs other people's programs should have switched on
//! (`reliability.md` §4.8).

use super::host::Host;
use super::{Level, Report};
use crate::message::Message;

/// A setting of the kernel and the least that it should be.
const SETTINGS: [(&str, &str, u64); 8] = [
    ("ptrace", "kernel/yama/ptrace_scope", 1),
    ("kernel-pointers", "kernel/kptr_restrict", 1),
    ("dmesg", "kernel/dmesg_restrict", 1),
    ("bpf", "kernel/unprivileged_bpf_disabled", 1),
    ("protected-symlinks", "fs/protected_symlinks", 1),
    ("protected-hardlinks", "fs/protected_hardlinks", 1),
    ("protected-fifos", "fs/protected_fifos", 1),
    ("protected-regular", "fs/protected_regular", 1),
];
/// The modules that hold programs to what they may do.
const MANDATORY: [&str; 3] = ["selinux", "apparmor", "smack"];

/// Looks at the settings.
pub(super) fn look(report: &mut Report, host: &Host) {
    for (check, path, least) in SETTINGS {
        let value = host.number(&format!("/proc/sys/{path}"));
        let name = path.replace('/', ".");
        let shown = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let found = Message::Setting { name: &name, value: &shown };
        let next = Message::SettingNext { name: &name, value: &least };
        let right = value.is_some_and(|value| value >= least);
        report.judge(check, (right, Level::Warn), &found, &next);
    }
    let modules = host.read("/sys/kernel/security/lsm").unwrap_or_default();
    let modules = modules.trim();
    let held = modules.split(',').any(|module| MANDATORY.contains(&module));
    let found = Message::Modules { modules: &modules };
    report.judge("mandatory-access", (held, Level::Warn), &found, &Message::ModulesNext {});
}
