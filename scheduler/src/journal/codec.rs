//! Journal messages to and from the engine's entries.

use std::collections::BTreeMap;

use prost::Message as _;
use tengyun_engine::{
    Command, Entry, Move, NodeWish, Plan, PromiseReason, Proof, ShiftReason, StopReason,
};
use tengyun_model::{At, Generation, InstanceId, Mebibytes, Millis, NodeId, OperationId, Sequence};
use tengyun_proto::convert::ConvertError;
use tengyun_proto::v1::{self, journal_entry as wire};

use super::{life, member};

/// Tells why bytes are not entries.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// They are not a message.
    #[error("the row is not a batch of entries")]
    Decode(#[from] prost::DecodeError),
    /// A field has a value that cannot be.
    #[error("{0}")]
    Convert(#[from] ConvertError),
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has an unknown value.
    #[error("{0} is not known to this version")]
    Unknown(&'static str),
}

/// Encodes one batch of entries.
pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let entries = entries.iter().map(entry_to_wire).collect();
    v1::JournalBatch { entries }.encode_to_vec()
}

/// Decodes one batch of entries.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Entry>, CodecError> {
    let batch = v1::JournalBatch::decode(bytes)?;
    batch.entries.into_iter().map(entry_from_wire).collect()
}

/// Encodes one volatile entry and the last durable one before it.
pub(crate) fn encode_volatile(after: Sequence, entry: &Entry) -> Vec<u8> {
    v1::VolatileEntry { after: after.get(), entry: Some(entry_to_wire(entry)) }.encode_to_vec()
}

/// Decodes one volatile entry and the last durable one before it.
pub(crate) fn decode_volatile(bytes: &[u8]) -> Result<(Sequence, Entry), CodecError> {
    let wire = v1::VolatileEntry::decode(bytes)?;
    let entry = entry_from_wire(wire.entry.ok_or(CodecError::Missing("entry"))?)?;
    Ok((Sequence::new(wire.after), entry))
}

fn entry_to_wire(entry: &Entry) -> v1::JournalEntry {
    v1::JournalEntry {
        at_millis: entry.at.millis(),
        command: Some(command_to_wire(&entry.command)),
        wisher: entry.by.as_ref().map(member::wisher_to_wire),
    }
}

fn command_to_wire(command: &Command) -> wire::Command {
    match command {
        Command::BeginEpoch => wire::Command::BeginEpoch(v1::BeginEpoch {}),
        Command::RegisterNode(facts) => {
            wire::Command::RegisterNode(v1::RegisterNode { facts: Some(facts.into()) })
        }
        Command::ApplyWorkload { operation, spec } => {
            wire::Command::ApplyWorkload(v1::ApplyWorkload {
                operation_id: operation.to_string(),
                spec: Some(spec.as_ref().into()),
            })
        }
        Command::SetPolicy { operation, values, label } => {
            wire::Command::SetPolicy(v1::SetPolicyCommand {
                operation_id: operation.to_string(),
                values: policy_to_wire(values),
                label: label.clone(),
            })
        }
        Command::ObserveInstances { node, generation, instances, gone } => {
            wire::Command::ObserveInstances(v1::ObserveInstances {
                node: node.get(),
                generation: generation.get(),
                instances: instances.iter().map(Into::into).collect(),
                gone: gone.iter().map(|i| i.get()).collect(),
            })
        }
        Command::CommitPlan(plan) => wire::Command::CommitPlan(v1::CommitPlan {
            base: plan.base.get(),
            moves: plan.moves.iter().map(move_to_wire).collect(),
        }),
        Command::AcknowledgeMeters { node, meters } => {
            wire::Command::AcknowledgeMeters(v1::AcknowledgeMeters {
                node: node.get(),
                meters: meters.iter().map(Into::into).collect(),
            })
        }
        Command::CreateToken { token, grant, expires } => {
            wire::Command::CreateToken(member::create_to_wire(*token, grant, *expires))
        }
        Command::RedeemToken { token, member, key } => {
            wire::Command::RedeemToken(member::redeem_to_wire(*token, member, *key))
        }
        Command::RevokeMember { operation, member } => {
            wire::Command::RevokeMember(member::revoke_to_wire(*operation, member))
        }
        Command::ReportUsage { .. }
        | Command::ReportHistory { .. }
        | Command::ConnectNode(_)
        | Command::DisconnectNode(_)
        | Command::SetNodeWish { .. }
        | Command::MoveInstance { .. }
        | Command::AcknowledgeLoss { .. }
        | Command::ReleaseWorkload { .. }
        | Command::DeclareLost(_)
        | Command::DeclareReturned(_)
        | Command::DeleteVolumes { .. }
        | Command::ForgetVolumes { .. }
        | Command::Restore { .. }
        | Command::SettleRestore(_)
        | Command::ConfirmRestore { .. }
        | Command::ForgetNode { .. }
        | Command::Watch
        | Command::StopWorkload { .. }
        | Command::DeleteWorkload { .. }
        | Command::JudgeRollout { .. }
        | Command::SteerRollout { .. }
        | Command::FireRun { .. }
        | Command::NoteWindows(_)
        | Command::NoteDays(_) => operation_to_wire(command),
    }
}

/// The commands about nodes and what operators do with them.
fn operation_to_wire(command: &Command) -> wire::Command {
    match command {
        Command::ReportUsage { node, usage } => wire::Command::ReportUsage(v1::ReportUsage {
            node: node.get(),
            usage: Some(usage.into()),
        }),
        Command::ReportHistory { node, history } => {
            let history = Some(history.into());
            wire::Command::ReportHistory(v1::ReportHistory { node: node.get(), history })
        }
        Command::ConnectNode(node) => {
            wire::Command::ConnectNode(v1::ConnectNode { node: node.get() })
        }
        Command::DisconnectNode(node) => {
            wire::Command::DisconnectNode(v1::DisconnectNode { node: node.get() })
        }
        Command::SetNodeWish { operation, node, wish } => {
            wire::Command::SetNodeWish(v1::SetNodeWish {
                operation_id: operation.to_string(),
                node: node.get(),
                wish: node_wish_to_wire(*wish).into(),
            })
        }
        Command::MoveInstance { operation, instance, to } => {
            wire::Command::MoveInstance(v1::MoveInstance {
                operation_id: operation.to_string(),
                instance: instance.get(),
                to: to.get(),
            })
        }
        Command::AcknowledgeLoss { operation, nodes, proof } => {
            wire::Command::AcknowledgeLoss(v1::AcknowledgeLoss {
                operation_id: operation.to_string(),
                nodes: nodes.iter().map(|n| n.get()).collect(),
                proof: proof_to_wire(*proof).into(),
            })
        }
        Command::ReleaseWorkload { operation, key } => {
            wire::Command::ReleaseWorkload(v1::ReleaseWorkload {
                operation_id: operation.to_string(),
                key: Some(key.into()),
            })
        }
        Command::DeclareLost(node) => {
            wire::Command::DeclareLost(v1::DeclareLost { node: node.get() })
        }
        Command::DeclareReturned(node) => {
            wire::Command::DeclareReturned(v1::DeclareReturned { node: node.get() })
        }
        Command::Watch => wire::Command::Watch(v1::Watch {}),
        other => kept_to_wire(other),
    }
}

/// Encodes what is said of volumes, backups and workloads that end.
fn kept_to_wire(command: &Command) -> wire::Command {
    match command {
        Command::DeleteVolumes { operation, copy, node } => {
            wire::Command::DeleteVolumes(v1::DeleteVolumes {
                operation_id: operation.to_string(),
                copy: Some(copy.into()),
                node: node.get(),
            })
        }
        Command::ForgetVolumes { node, copies } => {
            wire::Command::ForgetVolumes(v1::ForgetVolumes {
                node: node.get(),
                copies: copies.iter().map(Into::into).collect(),
            })
        }
        Command::Restore { elapsed } => {
            wire::Command::Restore(v1::Restore { elapsed_millis: elapsed.get() })
        }
        Command::SettleRestore(nodes) => wire::Command::SettleRestore(v1::SettleRestore {
            nodes: nodes.iter().map(|n| n.get()).collect(),
        }),
        Command::ConfirmRestore { operation } => {
            wire::Command::ConfirmRestore(v1::ConfirmRestore {
                operation_id: operation.to_string(),
            })
        }
        Command::ForgetNode { operation, node, proof } => {
            wire::Command::ForgetNode(v1::ForgetNode {
                operation_id: operation.to_string(),
                node: node.get(),
                proof: proof_to_wire(*proof).into(),
            })
        }
        Command::StopWorkload { operation, key } => wire::Command::StopWorkload(v1::StopWorkload {
            operation_id: operation.to_string(),
            key: Some(key.into()),
        }),
        Command::DeleteWorkload { operation, key } => {
            wire::Command::DeleteWorkload(v1::DeleteWorkload {
                operation_id: operation.to_string(),
                key: Some(key.into()),
            })
        }
        other => life::to_wire(other),
    }
}

fn entry_from_wire(entry: v1::JournalEntry) -> Result<Entry, CodecError> {
    let command = entry.command.ok_or(CodecError::Unknown("the command"))?;
    let by = entry.wisher.map(member::wisher_from_wire).transpose()?;
    Ok(Entry { at: At::from_millis(entry.at_millis), by, command: command_from_wire(command)? })
}

fn command_from_wire(command: wire::Command) -> Result<Command, CodecError> {
    Ok(match command {
        wire::Command::BeginEpoch(_) => Command::BeginEpoch,
        wire::Command::RegisterNode(m) => {
            Command::RegisterNode(m.facts.ok_or(CodecError::Missing("facts"))?.try_into()?)
        }
        wire::Command::ApplyWorkload(m) => Command::ApplyWorkload {
            operation: operation(&m.operation_id)?,
            spec: Box::new(m.spec.ok_or(CodecError::Missing("spec"))?.try_into()?),
        },
        wire::Command::StopWorkload(m) => Command::StopWorkload {
            operation: operation(&m.operation_id)?,
            key: m.key.ok_or(CodecError::Missing("key"))?.try_into()?,
        },
        wire::Command::DeleteWorkload(m) => Command::DeleteWorkload {
            operation: operation(&m.operation_id)?,
            key: m.key.ok_or(CodecError::Missing("key"))?.try_into()?,
        },
        wire::Command::SetPolicy(m) => Command::SetPolicy {
            operation: operation(&m.operation_id)?,
            values: policy_from_wire(m.values),
            label: m.label,
        },
        wire::Command::ObserveInstances(m) => Command::ObserveInstances {
            node: NodeId::new(m.node),
            generation: Generation::new(m.generation),
            instances: m.instances.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            gone: m.gone.into_iter().map(InstanceId::new).collect(),
        },
        wire::Command::CommitPlan(m) => Command::CommitPlan(Plan {
            base: Sequence::new(m.base),
            moves: m.moves.into_iter().map(move_from_wire).collect::<Result<_, _>>()?,
        }),
        wire::Command::AcknowledgeMeters(m) => Command::AcknowledgeMeters {
            node: NodeId::new(m.node),
            meters: m.meters.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        },
        wire::Command::CreateToken(m) => member::create_from_wire(m)?,
        wire::Command::RedeemToken(m) => member::redeem_from_wire(m)?,
        wire::Command::RevokeMember(m) => member::revoke_from_wire(m)?,
        other => operation_from_wire(other)?,
    })
}

/// The commands about nodes and what operators do with them.
fn operation_from_wire(command: wire::Command) -> Result<Command, CodecError> {
    Ok(match command {
        wire::Command::ReportUsage(m) => Command::ReportUsage {
            node: NodeId::new(m.node),
            usage: m.usage.ok_or(CodecError::Missing("usage"))?.try_into()?,
        },
        wire::Command::ReportHistory(m) => Command::ReportHistory {
            node: NodeId::new(m.node),
            history: m.history.ok_or(CodecError::Missing("history"))?.try_into()?,
        },
        wire::Command::ConnectNode(m) => Command::ConnectNode(NodeId::new(m.node)),
        wire::Command::DisconnectNode(m) => Command::DisconnectNode(NodeId::new(m.node)),
        wire::Command::SetNodeWish(m) => Command::SetNodeWish {
            operation: operation(&m.operation_id)?,
            node: NodeId::new(m.node),
            wish: node_wish_from_wire(m.wish())?,
        },
        wire::Command::MoveInstance(m) => Command::MoveInstance {
            operation: operation(&m.operation_id)?,
            instance: InstanceId::new(m.instance),
            to: NodeId::new(m.to),
        },
        wire::Command::AcknowledgeLoss(m) => Command::AcknowledgeLoss {
            operation: operation(&m.operation_id)?,
            proof: proof_from_wire(m.proof()).ok_or(CodecError::Missing("proof"))?,
            nodes: m.nodes.into_iter().map(NodeId::new).collect(),
        },
        wire::Command::ForgetNode(m) => Command::ForgetNode {
            operation: operation(&m.operation_id)?,
            node: NodeId::new(m.node),
            proof: proof_from_wire(m.proof()).ok_or(CodecError::Missing("proof"))?,
        },
        wire::Command::ReleaseWorkload(m) => Command::ReleaseWorkload {
            operation: operation(&m.operation_id)?,
            key: m.key.ok_or(CodecError::Missing("key"))?.try_into()?,
        },
        wire::Command::DeclareLost(m) => Command::DeclareLost(NodeId::new(m.node)),
        wire::Command::DeclareReturned(m) => Command::DeclareReturned(NodeId::new(m.node)),
        wire::Command::Watch(_) => Command::Watch,
        wire::Command::DeleteVolumes(m) => delete_volumes_from_wire(m)?,
        wire::Command::ForgetVolumes(m) => forget_volumes_from_wire(m)?,
        wire::Command::Restore(m) => Command::Restore { elapsed: Millis::new(m.elapsed_millis) },
        wire::Command::SettleRestore(m) => {
            Command::SettleRestore(m.nodes.into_iter().map(NodeId::new).collect())
        }
        wire::Command::ConfirmRestore(m) => {
            Command::ConfirmRestore { operation: operation(&m.operation_id)? }
        }
        other => life::from_wire(other)?,
    })
}

fn delete_volumes_from_wire(wire: v1::DeleteVolumes) -> Result<Command, CodecError> {
    Ok(Command::DeleteVolumes {
        operation: operation(&wire.operation_id)?,
        copy: wire.copy.ok_or(CodecError::Missing("copy"))?.try_into()?,
        node: NodeId::new(wire.node),
    })
}

fn forget_volumes_from_wire(wire: v1::ForgetVolumes) -> Result<Command, CodecError> {
    let copies = wire.copies.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
    Ok(Command::ForgetVolumes { node: NodeId::new(wire.node), copies })
}

/// Parses an operation id.
pub(crate) fn operation(text: &str) -> Result<OperationId, CodecError> {
    OperationId::parse(text).ok_or(CodecError::Missing("operation_id"))
}

/// Knobs and values for the wire.
pub(crate) fn policy_to_wire(values: &BTreeMap<String, u64>) -> Vec<v1::PolicyValue> {
    values
        .iter()
        .map(|(name, value)| v1::PolicyValue { name: name.clone(), value: *value })
        .collect()
}

/// Knobs and values from the wire.
pub(crate) fn policy_from_wire(values: Vec<v1::PolicyValue>) -> BTreeMap<String, u64> {
    values.into_iter().map(|v| (v.name, v.value)).collect()
}

fn move_to_wire(step: &Move) -> v1::Move {
    use v1::r#move as kind;
    let step = match *step {
        Move::Start { instance, node } => {
            kind::Move::Start(kind::Start { instance: instance.get(), node: node.get() })
        }
        Move::Shift { instance, from, to, reason } => kind::Move::Shift(kind::Shift {
            instance: instance.get(),
            from: from.get(),
            to: to.get(),
            reason: match reason {
                ShiftReason::Consolidate => v1::ShiftReason::Consolidate,
                ShiftReason::Overload => v1::ShiftReason::Overload,
                ShiftReason::Memory => v1::ShiftReason::Memory,
                ShiftReason::Revision => v1::ShiftReason::Revision,
                ShiftReason::Drain => v1::ShiftReason::Drain,
                ShiftReason::Operator => v1::ShiftReason::Operator,
            }
            .into(),
        }),
        Move::Stop { instance, reason } => kind::Move::Stop(kind::Stop {
            instance: instance.get(),
            reason: stop_reason_to_wire(reason).into(),
        }),
        Move::Promise { instance, memory, reason } => kind::Move::Promise(kind::Promise {
            instance: instance.get(),
            memory_mib: memory.get(),
            reason: match reason {
                PromiseReason::Used => v1::PromiseReason::Used,
                PromiseReason::Missed => v1::PromiseReason::Missed,
                PromiseReason::Withdrawn => v1::PromiseReason::Withdrawn,
            }
            .into(),
        }),
    };
    v1::Move { r#move: Some(step) }
}

fn move_from_wire(step: v1::Move) -> Result<Move, CodecError> {
    use v1::r#move as kind;
    Ok(match step.r#move.ok_or(CodecError::Unknown("the move"))? {
        kind::Move::Start(m) => {
            Move::Start { instance: InstanceId::new(m.instance), node: NodeId::new(m.node) }
        }
        kind::Move::Shift(m) => Move::Shift {
            instance: InstanceId::new(m.instance),
            from: NodeId::new(m.from),
            to: NodeId::new(m.to),
            reason: match m.reason() {
                v1::ShiftReason::Consolidate => ShiftReason::Consolidate,
                v1::ShiftReason::Overload => ShiftReason::Overload,
                v1::ShiftReason::Memory => ShiftReason::Memory,
                v1::ShiftReason::Revision => ShiftReason::Revision,
                v1::ShiftReason::Drain => ShiftReason::Drain,
                v1::ShiftReason::Operator => ShiftReason::Operator,
                v1::ShiftReason::Unspecified => {
                    return Err(CodecError::Unknown("the reason of a shift"));
                }
            },
        },
        kind::Move::Stop(m) => Move::Stop {
            instance: InstanceId::new(m.instance),
            reason: stop_reason_from_wire(m.reason())?,
        },
        kind::Move::Promise(m) => Move::Promise {
            instance: InstanceId::new(m.instance),
            memory: Mebibytes::new(m.memory_mib),
            reason: match m.reason() {
                v1::PromiseReason::Used => PromiseReason::Used,
                v1::PromiseReason::Missed => PromiseReason::Missed,
                v1::PromiseReason::Withdrawn => PromiseReason::Withdrawn,
                v1::PromiseReason::Unspecified => {
                    return Err(CodecError::Unknown("the reason of a promise"));
                }
            },
        },
    })
}

/// The reason of a stop for the wire.
pub(crate) const fn stop_reason_to_wire(reason: StopReason) -> v1::StopReason {
    match reason {
        StopReason::NotWanted => v1::StopReason::NotWanted,
        StopReason::Replaced => v1::StopReason::Replaced,
        StopReason::Evicted => v1::StopReason::Evicted,
        StopReason::GivenUp => v1::StopReason::GivenUp,
        StopReason::Drained => v1::StopReason::Drained,
        StopReason::Lost => v1::StopReason::Lost,
        StopReason::Renewed => v1::StopReason::Renewed,
        StopReason::Failed => v1::StopReason::Failed,
    }
}

/// The reason of a stop from the wire.
pub(crate) const fn stop_reason_from_wire(
    reason: v1::StopReason,
) -> Result<StopReason, CodecError> {
    match reason {
        v1::StopReason::NotWanted => Ok(StopReason::NotWanted),
        v1::StopReason::Replaced => Ok(StopReason::Replaced),
        v1::StopReason::Evicted => Ok(StopReason::Evicted),
        v1::StopReason::GivenUp => Ok(StopReason::GivenUp),
        v1::StopReason::Drained => Ok(StopReason::Drained),
        v1::StopReason::Lost => Ok(StopReason::Lost),
        v1::StopReason::Renewed => Ok(StopReason::Renewed),
        v1::StopReason::Failed => Ok(StopReason::Failed),
        v1::StopReason::Unspecified => Err(CodecError::Unknown("the reason of a stop")),
    }
}

/// What operators wish of a node, for the wire.
pub(crate) const fn node_wish_to_wire(wish: NodeWish) -> v1::NodeWish {
    match wish {
        NodeWish::Serve => v1::NodeWish::Serve,
        NodeWish::Cordon => v1::NodeWish::Cordon,
        NodeWish::Drain => v1::NodeWish::Drain,
        NodeWish::DrainByForce => v1::NodeWish::DrainByForce,
    }
}

/// What operators wish of a node, from the wire.
pub(crate) const fn node_wish_from_wire(wish: v1::NodeWish) -> Result<NodeWish, CodecError> {
    match wish {
        v1::NodeWish::Serve => Ok(NodeWish::Serve),
        v1::NodeWish::Cordon => Ok(NodeWish::Cordon),
        v1::NodeWish::Drain => Ok(NodeWish::Drain),
        v1::NodeWish::DrainByForce => Ok(NodeWish::DrainByForce),
        v1::NodeWish::Unspecified => Err(CodecError::Unknown("the wish of a node")),
    }
}

/// How sure a loss is, for the wire.
pub(crate) const fn proof_to_wire(proof: Proof) -> v1::Proof {
    match proof {
        Proof::Silence => v1::Proof::Silence,
        Proof::Death => v1::Proof::Death,
    }
}

/// How sure a loss is, from the wire; nothing where none was written.
pub(crate) const fn proof_from_wire(proof: v1::Proof) -> Option<Proof> {
    match proof {
        v1::Proof::Unspecified => None,
        v1::Proof::Silence => Some(Proof::Silence),
        v1::Proof::Death => Some(Proof::Death),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::STOP_REASONS;

    fn written(moves: Vec<Move>) -> Entry {
        let plan = Plan { base: Sequence::new(u64::MAX), moves };
        Entry { at: At::from_millis(7), by: None, command: Command::CommitPlan(plan) }
    }

    #[test]
    fn every_move_is_read_as_it_was_written() {
        let (instance, node) = (InstanceId::new(u64::MAX), NodeId::new(u32::MAX));
        let (from, to) = (node, NodeId::new(1));
        let shifts = [
            ShiftReason::Consolidate,
            ShiftReason::Overload,
            ShiftReason::Memory,
            ShiftReason::Revision,
            ShiftReason::Drain,
            ShiftReason::Operator,
        ];
        let promises = [PromiseReason::Used, PromiseReason::Missed, PromiseReason::Withdrawn];
        let mut moves = vec![Move::Start { instance, node }];
        moves.extend(shifts.map(|reason| Move::Shift { instance, from, to, reason }));
        moves.extend(STOP_REASONS.map(|reason| Move::Stop { instance, reason }));
        for memory in [Mebibytes::ZERO, Mebibytes::new(512), Mebibytes::MAX] {
            moves.extend(promises.map(|reason| Move::Promise { instance, memory, reason }));
        }
        let entries = [written(moves)];
        assert_eq!(decode(&encode(&entries)).unwrap(), entries);
        let [entry] = entries;
        let after = Sequence::new(3);
        assert_eq!(decode_volatile(&encode_volatile(after, &entry)).unwrap(), (after, entry));
    }

    #[test]
    fn a_promise_for_no_reason_or_one_of_a_newer_version_is_not_read() {
        use v1::r#move as kind;
        for reason in [0, 4, i32::MAX] {
            let promise = kind::Promise { instance: 1, memory_mib: 64, reason };
            let step = v1::Move { r#move: Some(kind::Move::Promise(promise)) };
            let error = move_from_wire(step).expect_err("there is no such reason");
            assert_eq!(error.to_string(), "the reason of a promise is not known to this version");
        }
        let nothing = move_from_wire(v1::Move { r#move: None });
        assert!(matches!(nothing, Err(CodecError::Unknown("the move"))), "{nothing:?}");
    }
}
