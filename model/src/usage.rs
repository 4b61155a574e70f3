//! Usage: what was measured now, and what was metered for good.

use crate::assignment::InstanceStatus;
use crate::id::{BootId, Epoch, Generation, Incarnation, InstanceId};
use crate::peaks::Peaks;
use crate::unit::{At, CoreMillis, MebibyteSeconds, Mebibytes, Millicores, Millis, Permille};
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
    /// Bytes a second that it read from and wrote to disks; `None` where that is not measured.
    pub io_bytes: Option<u64>,
}

/// How busy a node's disks and network links were; `None` is what was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeIo {
    /// Share of the time in which its busiest disk had something to do.
    pub disk_busy: Option<Permille>,
    /// The fullest direction of its fullest link, of those whose speed is known.
    pub network_busy: Option<Permille>,
    /// Bytes a second received and sent over all its links.
    pub network_bytes: Option<u64>,
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
    /// How busy its disks and links were.
    pub io: NodeIo,
}

/// What the volumes of one copy hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Whose.
    pub copy: CopyKey,
    /// The space they take, when they were last looked at.
    pub used: Mebibytes,
}

/// The most windows that an agent remembers of one use: half a day of five minutes each, which is what
/// a forecast remembers of its own errors.
pub const SKETCH_WINDOWS_MAX: usize = 144;

/// What an agent remembers of what its node used. Its windows are aligned to wall time: each begins at
/// a multiple of its length and holds what was measured after its beginning up to and with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageHistory {
    /// When it was put together, by the agent's clock.
    pub at: At,
    /// The length of a window.
    pub window: Millis,
    /// What is not ours; `None` where it was not measured, or comes in another part.
    pub foreign: Option<Sketch>,
    /// Instances, in ascending order of ids.
    pub instances: Vec<InstanceSketch>,
}

/// What is remembered of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSketch {
    /// Which.
    pub instance: InstanceId,
    /// What it used.
    pub sketch: Sketch,
    /// Its highest working sets.
    pub peaks: Peaks,
}

/// What was used in windows that follow each other; the newest may still be open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// When the first window began, by the agent's clock.
    pub from: At,
    /// The windows, the oldest first.
    pub windows: Vec<SketchWindow>,
    /// The newest working set.
    pub memory: Mebibytes,
}

/// What was used in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SketchWindow {
    /// The mean rate while it was measured.
    pub cpu: Millicores,
    /// How much of the window was measured; nothing is a gap, of which nothing is known.
    pub covered: Permille,
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
