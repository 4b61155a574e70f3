//! An image: the durable state as plain values, for snapshots and for comparing two states.
//!
//! Two states that were made by the same durable entries have equal images.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tengyun_model::{
    Admission, At, CopyKey, Digest, Epoch, Generation, Grant, InstanceId, InstanceStatus,
    Mebibytes, Member, MeterRecord, Name, NodeFacts, NodeId, OperationId, Revision, Role, Sequence,
    WorkloadId, WorkloadKey, WorkloadSpec,
};

use crate::command::Effect;
use crate::plan::StopReason;
use crate::rollout::{RevisionNote, RolloutImage};
use crate::runs::CronImage;

/// All durable state. Every list is in ascending order of ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The last durable entry in it.
    pub sequence: Sequence,
    /// The moment of that entry.
    pub at: At,
    /// The present reign.
    pub epoch: Epoch,
    /// The next free node id.
    pub next_node: NodeId,
    /// The next free workload id.
    pub next_workload: WorkloadId,
    /// The next free instance id.
    pub next_instance: InstanceId,
    /// Shifts ever accepted.
    pub moves_total: u64,
    /// How often the policy was set.
    pub policy_version: u64,
    /// The knobs that differ from their defaults.
    pub policy: BTreeMap<String, u64>,
    /// The last versions of the policy, the present one too, by ascending version.
    pub policies: Vec<PolicyImage>,
    /// Nodes.
    pub nodes: Vec<NodeImage>,
    /// Workloads.
    pub workloads: Vec<WorkloadImage>,
    /// Instances.
    pub instances: Vec<InstanceImage>,
    /// Operations remembered against repetition.
    pub operations: Vec<OperationImage>,
    /// Journaled meters.
    pub meters: Vec<MeterImage>,
    /// When a node was last declared lost.
    pub last_loss: At,
    /// Tokens whose time is not over, used or not.
    pub tokens: Vec<TokenImage>,
    /// Everybody who was ever let in.
    pub members: Vec<MemberImage>,
    /// The volumes of copies, by node and copy.
    pub homes: Vec<HomeImage>,
    /// What is still to be found out after a restore; `None` when nothing is.
    pub restored: Option<RestoreImage>,
    /// How wide the margin of memory is that counts by its use.
    pub margin: MarginImage,
}

/// How much wider than the policy says the margin of memory is, by what was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarginImage {
    /// In millionths of a doubling, when it was missed last.
    pub width: u64,
    /// When that was.
    pub at: At,
}

/// One version of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyImage {
    /// The how manieth it was.
    pub version: u64,
    /// When it was set.
    pub at: At,
    /// Where its values are from, such as the name of a policy.
    pub label: String,
    /// The knobs that differed from their defaults.
    pub values: BTreeMap<String, u64>,
}

/// A restore whose loose ends are not tied up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreImage {
    /// When the journal was restored.
    pub at: At,
    /// Whether the scheduler only observes: no node is told to start or stop anything.
    pub observing: bool,
    /// Nodes that may run what the journal does not know: these are told nothing.
    pub unsettled: BTreeSet<NodeId>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeImage {
    /// Its id.
    pub id: NodeId,
    /// What its agent said.
    pub facts: NodeFacts,
    /// The version of its assignment.
    pub generation: Generation,
    /// When it joined first.
    pub joined: At,
    /// What operators wish of it.
    pub wish: NodeWish,
    /// Since when it counts as lost, and how sure that is; `None` while it does not.
    pub loss: Option<Loss>,
    /// Where the search for a free port begins; 0 at the beginning of the range.
    pub next_port: u16,
    /// Ports on which other programs listened, and when that was seen.
    pub foreign_ports: BTreeMap<u16, At>,
}

impl NodeImage {
    /// Says whether something new may be placed on it.
    pub(crate) fn is_open(&self) -> bool {
        self.wish == NodeWish::Serve && self.loss.is_none()
    }
}

/// What operators wish of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeWish {
    /// Take whatever is placed there.
    #[default]
    Serve,
    /// Take nothing new.
    Cordon,
    /// Take nothing new and give up what may move.
    Drain,
    /// Give up also what must not move: it stops before it starts elsewhere.
    DrainByForce,
}

impl NodeWish {
    /// Returns the word used in tables and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Cordon => "cordon",
            Self::Drain => "drain",
            Self::DrainByForce => "drain-by-force",
        }
    }

    /// Says whether what is there is to leave.
    pub const fn is_drain(self) -> bool {
        match self {
            Self::Drain | Self::DrainByForce => true,
            Self::Serve | Self::Cordon => false,
        }
    }
}

/// A node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// Since when it counts so.
    pub at: At,
    /// How sure that is.
    pub proof: Proof,
}

/// How sure it is that a node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Nothing was heard of it; what is there may still run.
    Silence,
    /// An operator knows that it is off; nothing runs there.
    Death,
}

/// What its department wishes of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadWish {
    /// Run.
    Run,
    /// Stop and keep.
    Stop,
    /// Stop and forget.
    Delete,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadImage {
    /// Its id.
    pub id: WorkloadId,
    /// The revisions in use and the newest ones, the present one among them.
    pub revisions: BTreeMap<Revision, Arc<WorkloadSpec>>,
    /// The present revision.
    pub revision: Revision,
    /// What is wished.
    pub wish: WorkloadWish,
    /// When it was applied last.
    pub applied: At,
    /// Nodes that were lost soon after an instance started there, and when.
    pub harms: BTreeMap<NodeId, At>,
    /// The newest revision whose copies all proved healthy.
    pub good: Option<Revision>,
    /// The rollout under way.
    pub rollout: Option<RolloutImage>,
    /// What became of the revisions that are kept.
    pub notes: BTreeMap<Revision, Box<RevisionNote>>,
    /// The runs of a cron workload.
    pub cron: CronImage,
}

impl WorkloadImage {
    /// Says whether so many nodes were lost under it that it starts nowhere until an operator
    /// releases it.
    pub fn is_held(&self) -> bool {
        self.harms.len() >= HARMS_MAX
    }
}

/// How many nodes a workload may harm before it is held; Borg, too, avoids what crashed with it.
pub const HARMS_MAX: usize = 3;

/// What the scheduler wants of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceWish {
    /// Run.
    Run,
    /// Stop, for this reason.
    Stop(StopReason),
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceImage {
    /// Its workload.
    pub workload: WorkloadId,
    /// Which copy, from 0.
    pub ordinal: u32,
    /// The revision it runs.
    pub revision: Revision,
    /// Where it is, once placed.
    pub node: Option<NodeId>,
    /// What is wanted of it.
    pub wish: InstanceWish,
    /// The copy it replaces, while that one lives.
    pub replaces: Option<InstanceId>,
    /// What its agent said last; `status.instance` is its id.
    pub status: InstanceStatus,
    /// When it was created.
    pub created: At,
    /// When it was placed; 0 while it waits.
    pub placed: At,
    /// When its copy of the workload was last shifted, through whatever instances.
    pub moved: Option<At>,
    /// The numbers that were chosen for ports which its specification leaves open.
    pub ports: BTreeMap<Name, u16>,
    /// The node that it must start on, if it waits for one.
    pub home: Option<NodeId>,
    /// Since when it is healthy, by the scheduler's clock.
    pub healthy: Option<At>,
    /// How often its copy failed for good in a row, this instance included.
    pub failures: u32,
    /// When it failed for good though it is to run, by the scheduler's clock.
    pub failed: Option<At>,
    /// The memory that it counts where that was decided by its use; `None` counts its request.
    pub promise: Option<Box<PromiseImage>>,
}

/// The memory that an instance was promised by its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromiseImage {
    /// What it counts on its node, at most what it asks for.
    pub memory: Mebibytes,
    /// Since when.
    pub since: At,
    /// How often in a row it used more than that, or was killed for want of memory.
    pub misses: u32,
    /// When it did last.
    pub missed: Option<At>,
}

/// The volumes of one copy on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeImage {
    /// Whose they are.
    pub copy: CopyKey,
    /// Where they are.
    pub node: NodeId,
    /// Which, with the space that they count.
    pub volumes: BTreeMap<Name, Mebibytes>,
    /// What becomes of them.
    pub fate: HomeFate,
    /// When the first was made.
    pub since: At,
}

/// What becomes of volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HomeFate {
    /// They stay, and their copy starts nowhere else.
    Kept,
    /// They stay, and their copy may start elsewhere: an operator said that the node is off.
    Abandoned,
    /// An operator said that they are to be removed.
    Removing,
}

impl HomeFate {
    /// Returns the word used in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Abandoned => "abandoned",
            Self::Removing => "removing",
        }
    }
}

/// One remembered operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationImage {
    /// Its id.
    pub id: OperationId,
    /// What came of it.
    pub effect: Effect,
    /// When.
    pub at: At,
}

/// One journaled meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterImage {
    /// The node.
    pub node: NodeId,
    /// The workload that pays, by its name: it may be deleted before the bill is written.
    pub key: Arc<WorkloadKey>,
    /// The cumulative reading.
    pub record: MeterRecord,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenImage {
    /// The digest of its secret.
    pub digest: Digest,
    /// Whom it lets in.
    pub grant: Grant,
    /// Until when.
    pub expires: At,
    /// Who came in by it.
    pub used: Option<TokenUse>,
}

/// One use of a token, kept until its time is over so that a lost answer can be asked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// Who came in.
    pub member: Member,
    /// The digest of its public key.
    pub key: Digest,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberImage {
    /// Who.
    pub member: Member,
    /// The id of a node; none for a person.
    pub node: Option<NodeId>,
    /// The role of a person; none for a node.
    pub role: Option<Role>,
    /// The present joining; what an earlier one was given is void.
    pub admission: Admission,
    /// When that was.
    pub admitted: At,
    /// When it was revoked, if so.
    pub revoked: Option<At>,
}
