//! Entries: every fact, wish and decision, with the moment it was accepted; and what comes of it.

use std::collections::BTreeMap;
use std::fmt;

use tengyun_model::{
    Admission, At, CopyKey, Digest, Generation, Grant, InstanceId, InstanceStatus, Mebibytes,
    Member, MeterRecord, Millicores, Millis, NodeFacts, NodeId, NodeName, NodeUsage, OperationId,
    Revision, WorkloadId, WorkloadKey, WorkloadSpec,
};

use crate::image::{NodeWish, Proof};
use crate::plan::Plan;

/// One accepted command and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The moment; never before the previous entry's.
    pub at: At,
    /// What happened, is wished or was decided.
    pub command: Command,
}

/// A fact, a wish or a decision.
#[expect(clippy::large_enum_variant, reason = "a command is moved a few times and never kept")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Fact: a scheduler began to write.
    BeginEpoch,
    /// Fact: a node joined, or joined again with other facts.
    RegisterNode(NodeFacts),
    /// Wish: run this workload in this revision.
    ApplyWorkload {
        /// The client's id of the wish; a repeated one changes nothing.
        operation: OperationId,
        /// What to run.
        spec: WorkloadSpec,
    },
    /// Wish: stop every instance and keep the workload.
    StopWorkload {
        /// The client's id of the wish.
        operation: OperationId,
        /// Which.
        key: WorkloadKey,
    },
    /// Wish: stop every instance and forget the workload.
    DeleteWorkload {
        /// The client's id of the wish.
        operation: OperationId,
        /// Which.
        key: WorkloadKey,
    },
    /// Wish: set these knobs; others return to their defaults.
    SetPolicy {
        /// The client's id of the wish.
        operation: OperationId,
        /// Knob names and values.
        values: BTreeMap<String, u64>,
    },
    /// Fact: instances of a node changed, or are gone.
    ObserveInstances {
        /// The node.
        node: NodeId,
        /// The generation its agent worked by.
        generation: Generation,
        /// Only those that changed.
        instances: Vec<InstanceStatus>,
        /// Instances that the node no longer has.
        gone: Vec<InstanceId>,
    },
    /// Decision: carry out these moves.
    CommitPlan(Plan),
    /// Fact: these readings are kept; the agent may forget them.
    AcknowledgeMeters {
        /// The node.
        node: NodeId,
        /// Cumulative readings.
        meters: Vec<MeterRecord>,
    },
    /// Wish: cordon, drain or open a node.
    SetNodeWish {
        /// The client's id of the wish.
        operation: OperationId,
        /// Which.
        node: NodeId,
        /// What is wished of it.
        wish: NodeWish,
    },
    /// Wish: bring an instance to a node.
    MoveInstance {
        /// The client's id of the wish.
        operation: OperationId,
        /// Which.
        instance: InstanceId,
        /// Where to.
        to: NodeId,
    },
    /// Wish: count these nodes as lost.
    AcknowledgeLoss {
        /// The client's id of the wish.
        operation: OperationId,
        /// Which.
        nodes: Vec<NodeId>,
        /// How sure the operator is.
        proof: Proof,
    },
    /// Wish: let a workload start again that was held because nodes were lost under it.
    ReleaseWorkload {
        /// The client's id of the wish.
        operation: OperationId,
        /// Which.
        key: WorkloadKey,
    },
    /// Decision: a node was silent for so long that it counts as lost.
    DeclareLost(NodeId),
    /// Fact: a lost node was heard again.
    DeclareReturned(NodeId),
    /// Volatile fact: the scheduler looked whom it heard lately.
    Watch,
    /// Wish: let somebody in by this token, once, until a moment.
    CreateToken {
        /// The digest of its secret; the secret itself is never kept.
        token: Digest,
        /// Whom it lets in.
        grant: Grant,
        /// Until when.
        expires: At,
    },
    /// Fact: somebody came in by a token.
    RedeemToken {
        /// The digest of its secret.
        token: Digest,
        /// Who.
        member: Member,
        /// The digest of the public key that it speaks with.
        key: Digest,
    },
    /// Wish: nothing that a member was given holds any longer.
    RevokeMember {
        /// The client's id of the wish.
        operation: OperationId,
        /// Who.
        member: Member,
    },
    /// Fact: this journal was restored from a backup; what came after it is not known.
    Restore {
        /// How long ago its last entry was.
        elapsed: Millis,
    },
    /// Decision: what these nodes run, the restored journal knows.
    SettleRestore(Vec<NodeId>),
    /// Wish: what nodes run and the restored journal does not know may be stopped.
    ConfirmRestore {
        /// The client's id of the wish.
        operation: OperationId,
    },
    /// Volatile fact: what a node used.
    ReportUsage {
        /// The node.
        node: NodeId,
        /// What was measured.
        usage: NodeUsage,
    },
    /// Volatile fact: a node's agent is there.
    ConnectNode(NodeId),
    /// Volatile fact: a node's agent went away.
    DisconnectNode(NodeId),
    /// Wish: remove the volumes of a copy from a node, with what they hold.
    DeleteVolumes {
        /// The client's id of the wish.
        operation: OperationId,
        /// Whose.
        copy: CopyKey,
        /// From where.
        node: NodeId,
    },
    /// Fact: a node has removed the volumes of these copies.
    ForgetVolumes {
        /// The node.
        node: NodeId,
        /// Whose.
        copies: Vec<CopyKey>,
    },
}

impl Command {
    /// Returns true when the command is journaled before it is applied.
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::BeginEpoch
            | Self::RegisterNode(_)
            | Self::ApplyWorkload { .. }
            | Self::StopWorkload { .. }
            | Self::DeleteWorkload { .. }
            | Self::SetPolicy { .. }
            | Self::ObserveInstances { .. }
            | Self::CommitPlan(_)
            | Self::AcknowledgeMeters { .. }
            | Self::SetNodeWish { .. }
            | Self::MoveInstance { .. }
            | Self::AcknowledgeLoss { .. }
            | Self::ReleaseWorkload { .. }
            | Self::DeclareLost(_)
            | Self::DeclareReturned(_)
            | Self::CreateToken { .. }
            | Self::RedeemToken { .. }
            | Self::RevokeMember { .. }
            | Self::DeleteVolumes { .. }
            | Self::ForgetVolumes { .. }
            | Self::Restore { .. }
            | Self::SettleRestore(_)
            | Self::ConfirmRestore { .. } => true,
            Self::ReportUsage { .. }
            | Self::ConnectNode(_)
            | Self::DisconnectNode(_)
            | Self::Watch => false,
        }
    }
}

impl Command {
    /// Returns the client's id of a wish; nothing for facts and decisions.
    pub const fn operation(&self) -> Option<OperationId> {
        match self {
            Self::ApplyWorkload { operation, .. }
            | Self::StopWorkload { operation, .. }
            | Self::DeleteWorkload { operation, .. }
            | Self::SetPolicy { operation, .. }
            | Self::SetNodeWish { operation, .. }
            | Self::MoveInstance { operation, .. }
            | Self::AcknowledgeLoss { operation, .. }
            | Self::ReleaseWorkload { operation, .. }
            | Self::RevokeMember { operation, .. }
            | Self::DeleteVolumes { operation, .. }
            | Self::ConfirmRestore { operation } => Some(*operation),
            Self::BeginEpoch
            | Self::RegisterNode(_)
            | Self::ObserveInstances { .. }
            | Self::CommitPlan(_)
            | Self::AcknowledgeMeters { .. }
            | Self::ReportUsage { .. }
            | Self::ConnectNode(_)
            | Self::DisconnectNode(_)
            | Self::DeclareLost(_)
            | Self::DeclareReturned(_)
            | Self::CreateToken { .. }
            | Self::RedeemToken { .. }
            | Self::ForgetVolumes { .. }
            | Self::Restore { .. }
            | Self::SettleRestore(_)
            | Self::Watch => None,
        }
    }
}

/// What came of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed the state so.
    Applied(Effect),
    /// It was refused and changed nothing.
    Refused(Refusal),
}

/// How an entry changed the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing more to say.
    Done,
    /// A node is known under this id.
    Node(NodeId),
    /// A workload is new.
    Created(WorkloadId, Revision),
    /// A workload has a new revision.
    Updated(WorkloadId, Revision),
    /// The wish was fulfilled already.
    Unchanged(WorkloadId, Revision),
    /// A plan was carried out: how many moves hold, and how many were stale.
    Planned {
        /// Moves that hold.
        accepted: u32,
        /// Moves that the present state refused.
        stale: u32,
    },
    /// A member was let in.
    Admitted {
        /// The id of a node; none for a person.
        node: Option<NodeId>,
        /// Which joining of the member this is.
        admission: Admission,
    },
}

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
        }
    }
}
