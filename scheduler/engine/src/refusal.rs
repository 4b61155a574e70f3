//! Refusals: normal answers that say no, with the numbers and the reason.

use std::fmt;

use tengyun_model::{
    CopyKey, Grant, InstanceId, Mebibytes, Member, Millicores, Millis, NodeId, NodeName,
    OperationId, Said, WorkloadKey, said,
};

use crate::image::NodeWish;
use crate::occupancy::{Dimension, Occupied};

/// A normal answer that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No workload has this key.
    UnknownWorkload(WorkloadKey),
    /// No node has this id.
    UnknownNode(NodeId),
    /// No instance has this id.
    UnknownInstance(InstanceId),
    /// The same operation id came with another wish.
    OperationReused(OperationId),
    /// The workload is being deleted.
    Deleting(WorkloadKey),
    /// A field has a value that cannot be; which, and what would be right.
    BadField {
        /// The field, as in the manifest.
        field: &'static str,
        /// What would be right.
        expected: String,
    },
    /// The kind or feature comes in a later version.
    NotSupportedYet(&'static str),
    /// A change of kind or class needs a delete first.
    Immutable(Fixed),
    /// No such knob.
    UnknownKnob(String),
    /// A knob's value is out of its range, or against another knob.
    BadKnob {
        /// The knob.
        name: String,
        /// The least or most allowed.
        expected: Said,
    },
    /// A limit of the state would be passed.
    TooMany {
        /// Of what.
        what: Many,
        /// The limit.
        limit: u64,
    },
    /// The node lacks CPU.
    NoCpu {
        /// Wanted.
        wanted: Millicores,
        /// Left.
        left: Millicores,
    },
    /// The node lacks memory.
    NoMemory {
        /// Wanted.
        wanted: Mebibytes,
        /// Left.
        left: Mebibytes,
    },
    /// The node lacks disk space.
    NoDisk {
        /// Wanted.
        wanted: Mebibytes,
        /// Left.
        left: Mebibytes,
    },
    /// The node lacks processes and threads.
    NoPids {
        /// Wanted.
        wanted: u64,
        /// Left.
        left: u64,
    },
    /// The node's port is taken.
    PortTaken(u16),
    /// The node lacks a named counter.
    NoCounter {
        /// The counter.
        name: String,
        /// Wanted.
        wanted: u64,
        /// Left.
        left: u64,
    },
    /// The node lacks a label.
    NoLabel {
        /// The label.
        name: String,
        /// The value wanted.
        value: String,
    },
    /// A workload that must not share a node is there.
    AntiAffinity(WorkloadKey),
    /// The label's value has more instances than others already.
    Spread(String),
    /// The node's disks or links are too busy for anything new.
    Occupied(Occupied),
    /// The node's agent is away.
    NodeAway,
    /// The node takes nothing new, as operators wish.
    NotOpen(NodeWish),
    /// The node is lost.
    NodeLost,
    /// The node's agent is there, so it is not lost.
    NodeThere(NodeId),
    /// No node has been silent for long enough to count as lost.
    NobodySilent,
    /// The instance is there already.
    AlreadyThere,
    /// Nodes were lost under the workload, and it is held.
    Held {
        /// Which.
        key: WorkloadKey,
        /// How many.
        nodes: usize,
    },
    /// The node's use is not known; without data there is no overcommitment.
    NoData,
    /// No token has this secret: it was never made, or it is long gone.
    UnknownToken,
    /// The token was used before.
    TokenUsed,
    /// The token's time is over.
    TokenExpired,
    /// The token lets in somebody else.
    TokenForOther(Grant),
    /// The name is another's, and only a token made for it lets in under it again.
    NameTaken(Member),
    /// Nobody of this name was let in.
    UnknownMember(Member),
    /// The certificate is not, or no longer, that of this node.
    NotThisNode(NodeName),
    /// A move refers to what is no longer so.
    Stale(Past),
    /// The node has too few free ports in the range that ports are chosen from.
    NoPort {
        /// Wanted.
        wanted: usize,
        /// Left.
        left: usize,
    },
    /// The volumes of the copy are on another node.
    VolumesElsewhere(NodeId),
    /// An instance with volumes does not move.
    KeepsVolumes,
    /// The copy has no volumes there.
    UnknownVolumes(Box<CopyKey>),
    /// This instance uses the volumes.
    VolumesInUse(InstanceId),
    /// No restore waits for an operator's word.
    NotRestored,
    /// The copy belongs to a node and starts nowhere else.
    OnlyThere(NodeId),
    /// A workload that this one depends on is not there or not ready.
    DependsOn {
        /// Which.
        key: WorkloadKey,
        /// What it lacks.
        lacks: Lack,
    },
    /// Workloads would depend on each other in a circle.
    Circle(WorkloadKey),
    /// Nothing of the workload is being rolled out.
    NoRollout(WorkloadKey),
    /// The revision is not kept, or there is none to go back to.
    NoRevision(WorkloadKey),
    /// The node is not lost, so it cannot be forgotten.
    NotLost(NodeId),
    /// Instances of a lost node may still run there.
    MayStillRun {
        /// The node.
        node: NodeId,
        /// How many.
        instances: usize,
    },
    /// The node keeps volumes.
    HasVolumes {
        /// The node.
        node: NodeId,
        /// Of how many copies.
        copies: usize,
    },
    /// The copy failed again and again, and starts after a pause.
    Rests {
        /// How often in a row.
        failures: u32,
        /// For how long still.
        left: Millis,
    },
    /// So many instances of the gang wait, and start all at once or not at all.
    InGang(usize),
    /// This version of the policy is not kept, or there never was one.
    NoPolicyVersion(u64),
}

/// What a workload lacks that others depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Nobody applied it.
    Existence,
    /// It is stopped.
    Wish,
    /// None of its copies is healthy.
    HealthyCopy,
    /// It is a job that has not ended well.
    GoodEnd,
    /// None of its runs ended well.
    GoodRun,
}

impl Lack {
    /// Says it after the name of the workload.
    pub fn said(self) -> Said {
        match self {
            Self::Existence => said!(LacksExistence),
            Self::Wish => said!(LacksWish),
            Self::HealthyCopy => said!(LacksHealthyCopy),
            Self::GoodEnd => said!(LacksGoodEnd),
            Self::GoodRun => said!(LacksGoodRun),
        }
    }
}

/// What of a workload cannot change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// Its kind.
    Kind,
    /// Its class.
    Class,
}

/// What there may be only so many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Many {
    Nodes,
    Workloads,
    Instances,
    Tokens,
    Members,
}

impl Many {
    fn said(self) -> Said {
        match self {
            Self::Nodes => said!(ManyNodes),
            Self::Workloads => said!(ManyWorkloads),
            Self::Instances => said!(ManyInstances),
            Self::Tokens => said!(ManyTokens),
            Self::Members => said!(ManyMembers),
        }
    }
}

/// What a move or a decision refers to and is no longer so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "what each says stands beside its code")]
pub enum Past {
    Replaced,
    Revision,
    Node,
    WorkloadOf,
    OthersUse,
    HolderOfVolumes,
    EarlierCopy,
    EarlierRun,
    GoodRevision,
    Alone,
    Waiting,
    NodeOfVolumes,
    Place,
    ShiftReason,
    StopReason,
    Promise,
    Removal,
    Rollout,
    Scheduled,
    InstanceWish,
    WorkloadWish,
    Workload,
    PolicyVersions,
}

impl Past {
    fn said(self) -> Said {
        match self {
            Self::Replaced => said!(PastReplaced),
            Self::Revision => said!(PastRevision),
            Self::Node => said!(PastNode),
            Self::WorkloadOf => said!(PastWorkloadOf),
            Self::OthersUse => said!(PastOthersUse),
            Self::HolderOfVolumes => said!(PastHolderOfVolumes),
            Self::EarlierCopy => said!(PastEarlierCopy),
            Self::EarlierRun => said!(PastEarlierRun),
            Self::GoodRevision => said!(PastGoodRevision),
            Self::Alone => said!(PastAlone),
            Self::Waiting => said!(PastWaiting),
            Self::NodeOfVolumes => said!(PastNodeOfVolumes),
            Self::Place => said!(PastPlace),
            Self::ShiftReason => said!(PastShiftReason),
            Self::StopReason => said!(PastStopReason),
            Self::Promise => said!(PastPromise),
            Self::Removal => said!(PastRemoval),
            Self::Rollout => said!(PastRollout),
            Self::Scheduled => said!(PastScheduled),
            Self::InstanceWish => said!(PastInstanceWish),
            Self::WorkloadWish => said!(PastWorkloadWish),
            Self::Workload => said!(PastWorkload),
            Self::PolicyVersions => said!(PastPolicyVersions),
        }
    }
}

impl Refusal {
    /// Returns a stable word for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownWorkload(_) => "unknown-workload",
            Self::UnknownNode(_) => "unknown-node",
            Self::UnknownInstance(_) => "unknown-instance",
            Self::OperationReused(_) => "operation-reused",
            Self::Deleting(_) => "deleting",
            Self::BadField { .. } => "bad-field",
            Self::NotSupportedYet(_) => "not-supported-yet",
            Self::Immutable(_) => "immutable",
            Self::UnknownKnob(_) => "unknown-knob",
            Self::BadKnob { .. } => "bad-knob",
            Self::TooMany { .. } => "too-many",
            Self::NoCpu { .. } => "no-cpu",
            Self::NoMemory { .. } => "no-memory",
            Self::NoDisk { .. } => "no-disk",
            Self::NoPids { .. } => "no-pids",
            Self::PortTaken(_) => "port-taken",
            Self::NoCounter { .. } => "no-counter",
            Self::NoLabel { .. } => "no-label",
            Self::AntiAffinity(_) => "anti-affinity",
            Self::Spread(_) => "spread",
            Self::Occupied(Occupied { what: Dimension::Disk, .. }) => "disk-busy",
            Self::Occupied(Occupied { what: Dimension::Network, .. }) => "network-busy",
            Self::NodeAway => "node-away",
            Self::NotOpen(_) => "node-not-open",
            Self::NodeLost => "node-lost",
            Self::NodeThere(_) => "node-there",
            Self::NobodySilent => "nobody-silent",
            Self::AlreadyThere => "already-there",
            Self::Held { .. } => "held",
            Self::NoData => "no-data",
            Self::UnknownToken => "unknown-token",
            Self::TokenUsed => "token-used",
            Self::TokenExpired => "token-expired",
            Self::TokenForOther(_) => "token-for-other",
            Self::NameTaken(_) => "name-taken",
            Self::UnknownMember(_) => "unknown-member",
            Self::NotThisNode(_) => "not-this-node",
            Self::Stale(_) => "stale",
            Self::NoPort { .. } => "no-port",
            Self::VolumesElsewhere(_) => "volumes-elsewhere",
            Self::KeepsVolumes => "keeps-volumes",
            Self::UnknownVolumes(_) => "unknown-volumes",
            Self::VolumesInUse(_) => "volumes-in-use",
            Self::NotRestored => "not-restored",
            Self::OnlyThere(_) => "only-there",
            Self::DependsOn { .. } => "depends-on",
            Self::Circle(_) => "circle",
            Self::NoRollout(_) => "no-rollout",
            Self::NoRevision(_) => "no-revision",
            Self::NoPolicyVersion(_) => "no-policy-version",
            Self::NotLost(_) => "not-lost",
            Self::MayStillRun { .. } => "may-still-run",
            Self::HasVolumes { .. } => "has-volumes",
            Self::Rests { .. } => "rests",
            Self::InGang(_) => "in-gang",
        }
    }
}

impl Refusal {
    /// Says it.
    pub fn said(&self) -> Said {
        match self {
            Self::UnknownWorkload(key) => said!(UnknownWorkload, key),
            Self::UnknownNode(node) => said!(UnknownNode, node),
            Self::UnknownInstance(instance) => said!(UnknownInstance, instance),
            Self::OperationReused(id) => said!(OperationReused, id),
            Self::Deleting(key) => said!(Deleting, key),
            Self::BadField { field, expected } => said!(BadField, *field, expected),
            Self::NotSupportedYet(what) => said!(NotSupportedYet, *what),
            Self::Immutable(Fixed::Kind) => said!(ImmutableKind),
            Self::Immutable(Fixed::Class) => said!(ImmutableClass),
            Self::UnknownKnob(name) => said!(UnknownKnob, name),
            Self::BadKnob { name, expected } => said!(BadKnob, name, expected.clone()),
            Self::TooMany { what, limit } => said!(TooMany, limit, what.said()),
            Self::NoCpu { wanted, left } => said!(NoCpu, *wanted, *left),
            Self::NoMemory { wanted, left } => said!(NoMemory, *wanted, *left),
            Self::NoDisk { wanted, left } => said!(NoDisk, *wanted, *left),
            Self::NoPids { wanted, left } => said!(NoPids, wanted, left),
            Self::PortTaken(port) => said!(PortTaken, port),
            Self::NoCounter { name, wanted, left } => said!(NoCounter, name, wanted, left),
            Self::NoLabel { name, value } => said!(NoLabel, name, value),
            Self::AntiAffinity(key) => said!(AntiAffinity, key),
            Self::Spread(label) => said!(Spread, label),
            Self::Occupied(occupied) => occupied.said(),
            Self::NodeAway => said!(NodeAway),
            Self::NotOpen(NodeWish::Cordon) => said!(NodeCordoned),
            Self::NotOpen(NodeWish::Serve) => said!(NodeOpen),
            Self::NotOpen(NodeWish::Drain | NodeWish::DrainByForce) => said!(NodeDrained),
            Self::NodeLost => said!(NodeLost),
            Self::NodeThere(node) => said!(NodeThere, node),
            Self::NobodySilent => said!(NobodySilent),
            Self::AlreadyThere => said!(AlreadyThere),
            Self::Held { key, nodes } => said!(Held, key, nodes),
            Self::NoData => said!(NoData),
            Self::UnknownToken
            | Self::TokenUsed
            | Self::TokenExpired
            | Self::TokenForOther(_)
            | Self::NameTaken(_)
            | Self::UnknownMember(_)
            | Self::NotThisNode(_) => self.said_of_members(),
            Self::Stale(past) => said!(Stale, past.said()),
            Self::NoPort { wanted, left } => said!(NoPort, wanted, left),
            Self::VolumesElsewhere(node) => said!(VolumesElsewhere, node),
            Self::KeepsVolumes => said!(KeepsVolumes),
            Self::UnknownVolumes(copy) => said!(UnknownVolumes, Said::from(copy.as_ref())),
            Self::VolumesInUse(instance) => said!(VolumesInUse, instance),
            Self::NotRestored => said!(NotRestored),
            Self::OnlyThere(node) => said!(OnlyThere, node),
            Self::DependsOn { key, lacks } => said!(DependsOn, key, lacks.said()),
            Self::Circle(key) => said!(Circle, key),
            Self::NoRollout(key) => said!(NoRollout, key),
            Self::NoRevision(key) => said!(NoRevision, key),
            Self::NoPolicyVersion(version) => said!(NoPolicyVersion, version),
            Self::NotLost(node) => said!(NotLost, node),
            Self::MayStillRun { node, instances } => said!(MayStillRun, node, instances),
            Self::HasVolumes { node, copies } => said!(HasVolumes, node, copies),
            Self::Rests { failures, left } => {
                said!(RestsAfterFailure, failures, left.get().div_ceil(1000))
            }
            Self::InGang(waiting) => said!(InGang, waiting),
        }
    }

    fn said_of_members(&self) -> Said {
        match self {
            Self::UnknownToken => said!(UnknownToken),
            Self::TokenUsed => said!(TokenUsed),
            Self::TokenExpired => said!(TokenExpired),
            Self::TokenForOther(grant) => said!(TokenForOther, Said::from(grant)),
            Self::NameTaken(member) => said!(NameTaken, Said::from(member)),
            Self::UnknownMember(member) => said!(UnknownMember, Said::from(member)),
            Self::NotThisNode(name) => said!(NotThisNode, name),
            other => unreachable!("{other:?} is said with the others"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said().fmt(f)
    }
}
