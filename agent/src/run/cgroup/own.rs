//! The limits of the agent's own control groups: a node is never larger than they allow.

use std::path::{Component, Path, PathBuf};

use tengyun_model::{Mebibytes, Millicores};

use super::GroupPath;

/// A memory limit above this is the kernel's way to say that there is none.
const UNLIMITED_BYTES: u64 = 1 << 62;

/// What the agent itself is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnLimits {
    /// CPU rate.
    pub(crate) cpu: Option<Millicores>,
    /// Memory.
    pub(crate) memory: Option<Mebibytes>,
}

/// Reads the least limits from the group that was delegated to the agent, or else from the agent's
/// own groups, up to the roots.
pub(crate) fn own_limits(
    proc_root: &Path,
    cgroup_root: &Path,
    parent: Option<&GroupPath>,
) -> OwnLimits {
    if let Some(parent) = parent {
        // What the agent itself may use says nothing about what its instances may.
        return climb_unified(cgroup_root, parent.path());
    }
    let text = std::fs::read_to_string(proc_root.join("self/cgroup")).unwrap_or_default();
    let mut limits = OwnLimits::default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        if controllers.is_empty() {
            limits = least(limits, climb_unified(cgroup_root, Path::new(path)));
        }
        for controller in controllers.split(',').filter(|c| ["cpu", "memory"].contains(c)) {
            let found = climb(&cgroup_root.join(controller), Path::new(path), |dir| OwnLimits {
                cpu: cfs_quota(dir),
                memory: memory(&dir.join("memory.limit_in_bytes")),
            });
            limits = least(limits, found);
        }
    }
    limits
}

fn climb_unified(root: &Path, path: &Path) -> OwnLimits {
    climb(root, path, |dir| OwnLimits {
        cpu: cpu_max(dir),
        memory: memory(&dir.join("memory.max")),
    })
}

/// Reads every directory from `root/path` up to `root`.
fn climb(root: &Path, path: &Path, read: impl Fn(&Path) -> OwnLimits) -> OwnLimits {
    let parts: PathBuf =
        path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    parts.ancestors().map(|part| read(&root.join(part))).fold(OwnLimits::default(), least)
}

fn least(one: OwnLimits, other: OwnLimits) -> OwnLimits {
    OwnLimits {
        cpu: one.cpu.into_iter().chain(other.cpu).min(),
        memory: one.memory.into_iter().chain(other.memory).min(),
    }
}

fn cfs_quota(dir: &Path) -> Option<Millicores> {
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).ok();
    rate(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

fn cpu_max(dir: &Path) -> Option<Millicores> {
    let text = std::fs::read_to_string(dir.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    rate(quota, period)
}

/// Divides a quota by its period; `max` and `-1` are no number and so no limit.
fn rate(quota: &str, period: &str) -> Option<Millicores> {
    let quota: u64 = quota.parse().ok()?;
    quota.saturating_mul(1000).checked_div(period.parse().ok()?).map(Millicores::new)
}

fn memory(file: &Path) -> Option<Mebibytes> {
    let bytes: u64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (bytes < UNLIMITED_BYTES).then(|| Mebibytes::new(bytes / (1024 * 1024)))
}
