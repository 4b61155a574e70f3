//! Refusals: normal answers that say no, with the numbers and the reason.

use std::fmt;

use tengyun_model::{
    CopyKey, Grant, InstanceId, Mebibytes, Member, Millicores, NodeId, NodeName, OperationId,
    WorkloadKey,
};

use crate::image::NodeWish;

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
    Immutable(&'static str),
    /// No such knob.
    UnknownKnob(String),
    /// A knob's value is out of its range, or against another knob.
    BadKnob {
        /// The knob.
        name: String,
        /// The least or most allowed, in words.
        expected: String,
    },
    /// A limit of the state would be passed.
    TooMany {
        /// Of what.
        what: &'static str,
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
    Stale(&'static str),
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
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Existence => "is not there",
            Self::Wish => "is stopped",
            Self::HealthyCopy => "has no healthy copy",
            Self::GoodEnd => "has not ended well",
            Self::GoodRun => "has had no run that ended well",
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
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownWorkload(key) => write!(f, "no workload is called {key}"),
            Self::UnknownNode(node) => write!(f, "no node has the id {node}"),
            Self::UnknownInstance(instance) => write!(f, "no instance has the id {instance}"),
            Self::OperationReused(id) => write!(f, "operation {id} was another wish before"),
            Self::Deleting(key) => write!(f, "workload {key} is being deleted"),
            Self::BadField { field, expected } => write!(f, "{field} must be {expected}"),
            Self::NotSupportedYet(what) => write!(f, "{what} is not supported yet"),
            Self::Immutable(what) => write!(f, "{what} of a workload cannot change"),
            Self::UnknownKnob(name) => write!(f, "no knob is called {name}"),
            Self::BadKnob { name, expected } => write!(f, "knob {name} must be {expected}"),
            Self::TooMany { what, limit } => write!(f, "there may be at most {limit} {what}"),
            Self::NoCpu { wanted, left } => write!(f, "wants {wanted} CPU, {left} left"),
            Self::NoMemory { wanted, left } => write!(f, "wants {wanted} memory, {left} left"),
            Self::NoDisk { wanted, left } => write!(f, "wants {wanted} disk, {left} left"),
            Self::NoPids { wanted, left } => write!(f, "wants {wanted} processes, {left} left"),
            Self::PortTaken(port) => write!(f, "port {port} is taken"),
            Self::NoCounter { name, wanted, left } => {
                write!(f, "wants {wanted} of counter {name}, {left} left")
            }
            Self::NoLabel { name, value } => write!(f, "has no label {name}={value}"),
            Self::AntiAffinity(key) => write!(f, "runs {key}, which must not share a node with it"),
            Self::Spread(label) => write!(f, "would make {label} uneven by more than one"),
            Self::NodeAway => write!(f, "its agent is away"),
            Self::NotOpen(NodeWish::Cordon) => write!(f, "is cordoned"),
            Self::NotOpen(NodeWish::Serve) => write!(f, "is open"),
            Self::NotOpen(NodeWish::Drain | NodeWish::DrainByForce) => write!(f, "is drained"),
            Self::NodeLost => write!(f, "is lost"),
            Self::NodeThere(node) => write!(f, "the agent of node {node} is there"),
            Self::NobodySilent => write!(f, "no node has been silent for long enough"),
            Self::AlreadyThere => write!(f, "the instance is there already"),
            Self::Held { key, nodes } => {
                write!(f, "{key} is held: {nodes} nodes were lost soon after it started there")
            }
            Self::NoData => write!(f, "its use is not known yet"),
            Self::UnknownToken => write!(f, "no such token is known"),
            Self::TokenUsed => write!(f, "the token was used before"),
            Self::TokenExpired => write!(f, "the token's time is over"),
            Self::TokenForOther(grant) => write!(f, "the token is for {grant}"),
            Self::NameTaken(member) => write!(f, "{member} is there already"),
            Self::UnknownMember(member) => write!(f, "{member} was never let in"),
            Self::NotThisNode(name) => {
                write!(f, "the certificate is not, or no longer, that of node {name}")
            }
            Self::Stale(what) => write!(f, "{what} is no longer so"),
            Self::NoPort { wanted, left } => {
                write!(f, "wants {wanted} chosen ports, {left} are left in the range")
            }
            Self::VolumesElsewhere(node) => write!(f, "its volumes are on node {node}"),
            Self::KeepsVolumes => write!(f, "its volumes stay on its node, and it with them"),
            Self::UnknownVolumes(copy) => write!(f, "{copy} has no volumes there"),
            Self::VolumesInUse(instance) => write!(f, "instance {instance} uses the volumes"),
            Self::NotRestored => write!(f, "no restore waits for a word"),
            Self::OnlyThere(node) => write!(f, "it belongs to node {node} and starts only there"),
            Self::DependsOn { key, lacks } => {
                write!(f, "it depends on {key}, which {}", lacks.as_str())
            }
            Self::Circle(key) => write!(f, "it would depend on itself, by way of {key}"),
            Self::NoRollout(key) => write!(f, "nothing of {key} is being rolled out"),
            Self::NoRevision(key) => {
                write!(f, "no such revision of {key} is kept, or none to go back to")
            }
            Self::NoPolicyVersion(version) => {
                write!(f, "version {version} of the policy is not kept")
            }
        }
    }
}
