//! The shared words of tengyun: units, ids, names, nodes, workloads, assignments, usage.
//!
//! Plain values with checked constructors. This package has no dependencies and does no IO; every
//! other package speaks in its words, and nothing here knows how a word is stored or sent.

pub mod almanac;
pub mod assignment;
pub mod calendar;
pub mod id;
pub mod identity;
pub mod name;
pub mod node;
pub mod peaks;
pub mod policy;
pub mod provision;
pub mod said;
pub mod template;
pub mod unit;
pub mod usage;
pub mod workload;

pub use almanac::{Almanac, AlmanacFault, Date, DayKind};
pub use assignment::{AssignedInstance, Assignment, Exit, InstanceStatus, Phase};
pub use calendar::{Concurrency, CronFault, CronField, CronTable, Days, Schedule, Window};
pub use id::{
    Admission, BootId, Epoch, Generation, Incarnation, InstanceId, MachineId, NodeId, OperationId,
    Revision, Sequence, WorkloadId,
};
pub use identity::{Digest, Grant, Member, Role, Wisher};
pub use name::{DepartmentPath, Name, NameError, NodeName, WorkloadKey};
pub use node::{
    Capacity, CgroupVersion, Control, Disk, Enforcement, EnforcementLevel, Inventory, NodeFacts,
    Smt, SmtSource,
};
pub use peaks::{PEAK_SLOTS, Peaks};
pub use policy::Band;
pub use provision::{Artifact, Origin, Provision, SecretName, SecretSpec};
pub use said::{Argument, Code, Said};
pub use unit::{At, CoreMillis, MebibyteSeconds, Mebibytes, Millicores, Millis, Permille};
pub use usage::{
    InstanceSketch, InstanceUsage, MeterKey, MeterRecord, NodeIo, NodeUsage, Report,
    SKETCH_WINDOWS_MAX, Sketch, SketchWindow, UsageHistory, VolumeUsage,
};
pub use workload::{
    Class, Constraints, CopyKey, FileSpec, HealthCheck, HealthProbe, Kind, MovePolicy, OnLost,
    OnUnhealthy, PortSpec, Resources, Restart, RestartMode, Rollout, Stop, VolumeSpec,
    WorkloadSpec,
};
