//! A plan: moves proposed on one state, re-checked one by one when they are applied.

use tengyun_model::{InstanceId, Mebibytes, NodeId, Sequence};

/// Moves, and the state they were made on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The number of durable entries applied to the state that the plan was made on.
    pub base: Sequence,
    /// The moves, in the order they are to be applied.
    pub moves: Vec<Move>,
}

/// One change of what runs where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A waiting instance starts on a node.
    Start {
        /// Which.
        instance: InstanceId,
        /// Where.
        node: NodeId,
    },
    /// A copy starts on another node (or in a new revision); the old one stops when it is healthy.
    Shift {
        /// The old copy.
        instance: InstanceId,
        /// Where it is.
        from: NodeId,
        /// Where the new copy starts.
        to: NodeId,
        /// Why.
        reason: ShiftReason,
    },
    /// An instance stops.
    Stop {
        /// Which.
        instance: InstanceId,
        /// Why.
        reason: StopReason,
    },
    /// An instance counts so much memory from now on. It stays where it is, and its limit what it was.
    Promise {
        /// Which.
        instance: InstanceId,
        /// How much.
        memory: Mebibytes,
        /// Why.
        reason: PromiseReason,
    },
}

/// Returns the instance that a move is about.
pub(crate) const fn about(step: &Move) -> InstanceId {
    match *step {
        Move::Start { instance, .. }
        | Move::Shift { instance, .. }
        | Move::Stop { instance, .. }
        | Move::Promise { instance, .. } => instance,
    }
}

/// Why an instance shifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShiftReason {
    /// Its node is worth emptying.
    Consolidate,
    /// Its node is above the ceiling.
    Overload,
    /// Its node promises more memory than it has, or has hardly any left.
    Memory,
    /// Its workload has a newer revision.
    Revision,
    /// Its node is drained.
    Drain,
    /// An operator said so.
    Operator,
}

/// Why an instance counts other memory than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PromiseReason {
    /// Its use says so.
    Used,
    /// It used more than it was promised: it counts its request.
    Missed,
    /// The policy no longer lets it count less than its request.
    Withdrawn,
}

/// Why an instance stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// Its workload no longer wants it.
    NotWanted,
    /// Its replacement is healthy.
    Replaced,
    /// Others need the room; it is queued again.
    Evicted,
    /// It is a replacement that did not become healthy in time.
    GivenUp,
    /// Its node is drained and it cannot be replaced first; it is queued again.
    Drained,
    /// Its node is lost; it is queued again, and stops here should the node return.
    Lost,
    /// Its workload has a newer revision that must not run beside it, and starts where it was once it
    /// is gone.
    Renewed,
    /// It failed for good though it is to run; after a pause it is queued again.
    Failed,
}
