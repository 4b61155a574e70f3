//! Entries: every fact, wish and decision, with the moment it was accepted; and what comes of it.

use std::collections::BTreeMap;

use tengyun_model::{
    Admission, At, CopyKey, Digest, Generation, Grant, InstanceId, InstanceStatus, Member,
    MeterRecord, Millis, NodeFacts, NodeId, NodeUsage, OperationId, Revision, Said, UsageHistory,
    Wisher, WorkloadId, WorkloadKey, WorkloadSpec,
};

use crate::days::Stretch;
use crate::image::{NodeWish, Proof};
use crate::plan::Plan;
use crate::rollout::{Steer, Verdict};

pub use crate::refusal::{Fixed, Lack, Many, Past, Refusal};

/// One accepted command and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The moment; never before the previous entry's.
    pub at: At,
    /// Who wished it; none for facts and decisions. Nothing is decided by it.
    pub by: Option<Wisher>,
    /// What happened, is wished or was decided.
    pub command: Command,
}

/// A fact, a wish or a decision.
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
        spec: Box<WorkloadSpec>,
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
        /// Where they are from, such as the name of a policy; for people.
        label: String,
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
    /// Wish: forget a lost node; nothing of it is waited for any longer.
    ForgetNode {
        /// The client's id of the wish.
        operation: OperationId,
        /// Which.
        node: NodeId,
        /// How sure the operator is that nothing runs there.
        proof: Proof,
    },
    /// Decision: a rollout is complete or has failed.
    JudgeRollout {
        /// Of which workload.
        workload: WorkloadId,
        /// Of which revision.
        revision: Revision,
        /// What is decided.
        verdict: Verdict,
        /// Why.
        why: Said,
    },
    /// Wish: pause, resume or undo a rollout.
    SteerRollout {
        /// The client's id of the wish.
        operation: OperationId,
        /// Of which workload.
        key: WorkloadKey,
        /// What is wished.
        steer: Steer,
    },
    /// Decision: a run of a cron workload is due, or was noticed too late.
    FireRun {
        /// Of which workload.
        workload: WorkloadId,
        /// For when it was scheduled.
        scheduled: At,
        /// Whether it was noticed too late to start.
        missed: bool,
    },
    /// Volatile fact: the present or next window of each workload that has any.
    NoteWindows(BTreeMap<WorkloadId, (At, At)>),
    /// Volatile fact: civil time of yesterday and the coming days, and who works then.
    NoteDays(Vec<Stretch>),
    /// Volatile fact: what a node used.
    ReportUsage {
        /// The node.
        node: NodeId,
        /// What was measured.
        usage: NodeUsage,
    },
    /// Volatile fact: what a node's agent remembers of what was used there.
    ReportHistory {
        /// The node.
        node: NodeId,
        /// What it remembers.
        history: UsageHistory,
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
            | Self::ConfirmRestore { .. }
            | Self::ForgetNode { .. }
            | Self::JudgeRollout { .. }
            | Self::SteerRollout { .. }
            | Self::FireRun { .. } => true,
            Self::ReportUsage { .. }
            | Self::ReportHistory { .. }
            | Self::ConnectNode(_)
            | Self::DisconnectNode(_)
            | Self::Watch
            | Self::NoteWindows(_)
            | Self::NoteDays(_) => false,
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
            | Self::ConfirmRestore { operation }
            | Self::ForgetNode { operation, .. }
            | Self::SteerRollout { operation, .. } => Some(*operation),
            Self::BeginEpoch
            | Self::RegisterNode(_)
            | Self::ObserveInstances { .. }
            | Self::CommitPlan(_)
            | Self::AcknowledgeMeters { .. }
            | Self::ReportUsage { .. }
            | Self::ReportHistory { .. }
            | Self::ConnectNode(_)
            | Self::DisconnectNode(_)
            | Self::DeclareLost(_)
            | Self::DeclareReturned(_)
            | Self::CreateToken { .. }
            | Self::RedeemToken { .. }
            | Self::ForgetVolumes { .. }
            | Self::Restore { .. }
            | Self::SettleRestore(_)
            | Self::Watch
            | Self::JudgeRollout { .. }
            | Self::FireRun { .. }
            | Self::NoteWindows(_)
            | Self::NoteDays(_) => None,
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
