//! Usage: what was measured now, and what was metered for good.

use crate::assignment::InstanceStatus;
use crate::id::{BootId, Epoch, Generation, Incarnation, InstanceId};
use crate::unit::{At, CoreMillis, MebibyteSeconds, Mebibytes, Millicores, Millis};
use crate::workload::CopyKey;

/// What one instance used over the last interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceUsage {
    /// Which.
    pub instance: InstanceId,
    /// Mean CPU rate over the interval.
    pub cpu: Millicores,
    /// Working set at its end.
    pub memory: Mebibytes,
}

/// What a node used over the last interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeUsage {
    /// The end of the interval, by the agent's clock.
    pub at: At,
    /// Its length on the monotonic clock.
    pub interval: Millis,
    /// CPU rate of everything on the node.
    pub cpu: Millicores,
    /// Of that, by processes that are not ours.
    pub cpu_foreign: Millicores,
    /// Memory in use by everything.
    pub memory: Mebibytes,
    /// Of that, by processes that are not ours.
    pub memory_foreign: Mebibytes,
    /// Share of time in which some task waited for a CPU (PSI, per mille); `None` without PSI.
    pub pressure_cpu: Option<u32>,
    /// The CPU that harvest is held to at the moment.
    pub harvest_allowance: Millicores,
    /// Each instance, in ascending order of ids.
    pub instances: Vec<InstanceUsage>,
    /// Each copy that has volumes on the node's disk, in ascending order.
    pub volumes: Vec<VolumeUsage>,
}

/// What the volumes of one copy hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Whose.
    pub copy: CopyKey,
    /// The space they take, when they were last looked at.
    pub used: Mebibytes,
}

/// Names one meter of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterKey {
    /// The boot that the kernel's counters belong to.
    pub boot: BootId,
    /// The instance.
    pub instance: InstanceId,
    /// Its start.
    pub incarnation: Incarnation,
}

/// A cumulative meter reading: all use since the incarnation began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterRecord {
    /// Which meter.
    pub key: MeterKey,
    /// CPU work since the beginning; never falls.
    pub cpu: CoreMillis,
    /// Memory held since the beginning; never falls.
    pub memory: MebibyteSeconds,
    /// Time covered on the monotonic clock.
    pub covered: Millis,
    /// When the incarnation began, by the agent's clock.
    pub from: At,
    /// When it was read, by the agent's clock.
    pub to: At,
    /// True when the incarnation has ended and this is its last reading.
    pub last: bool,
}

/// The full state of a node; nothing depends on an earlier report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The running boot.
    pub boot: BootId,
    /// The reign of the assignment that the agent works by; 0 before the first.
    pub epoch: Epoch,
    /// The generation of that assignment; 0 before the first.
    pub generation: Generation,
    /// What was used.
    pub usage: NodeUsage,
    /// Every instance the agent knows, in ascending order of ids.
    pub instances: Vec<InstanceStatus>,
    /// Meters not yet acknowledged at their present reading, in ascending order of keys.
    pub meters: Vec<MeterRecord>,
}
