//! Snapshots: the engine's durable state to and from bytes.
//!
//! The bytes are canonical: equal states have equal bytes, so two replays are compared by them.

use std::sync::Arc;

use prost::Message as _;
use tengyun_engine::image::{InstanceWish, WorkloadWish};
use tengyun_engine::{
    Effect, HomeFate, HomeImage, Image, InstanceImage, Loss, MarginImage, MeterImage, NodeImage,
    NodeWish, OperationImage, PolicyImage, PromiseImage, RestoreImage, WorkloadImage,
};
use tengyun_model::{
    Admission, At, Epoch, Generation, InstanceId, Mebibytes, Name, NodeId, PortSpec, Revision,
    Sequence, WorkloadId, WorkloadSpec,
};
use tengyun_proto::v1;

use super::codec::{
    CodecError, node_wish_from_wire, node_wish_to_wire, operation, policy_from_wire,
    policy_to_wire, proof_from_wire, proof_to_wire, stop_reason_from_wire, stop_reason_to_wire,
};
use super::life;
use super::member::{member_from_wire, member_to_wire, token_from_wire, token_to_wire};

const RUN: u32 = 0;
const STOP: u32 = 1;
const DELETE: u32 = 2;
const KEPT: u32 = 0;
const ABANDONED: u32 = 1;
const REMOVING: u32 = 2;

/// Encodes an image.
pub(crate) fn encode(image: &Image) -> Vec<u8> {
    v1::Snapshot {
        sequence: image.sequence.get(),
        at_millis: image.at.millis(),
        epoch: image.epoch.get(),
        next_node: image.next_node.get(),
        next_workload: image.next_workload.get(),
        next_instance: image.next_instance.get(),
        moves_total: image.moves_total,
        policy_version: image.policy_version,
        policy: policy_to_wire(&image.policy),
        policies: image.policies.iter().map(kept_policy_to_wire).collect(),
        nodes: image.nodes.iter().map(node_to_wire).collect(),
        workloads: image.workloads.iter().map(workload_to_wire).collect(),
        instances: image.instances.iter().map(instance_to_wire).collect(),
        operations: image.operations.iter().map(operation_to_wire).collect(),
        meters: image.meters.iter().map(meter_to_wire).collect(),
        last_loss_millis: image.last_loss.millis(),
        tokens: image.tokens.iter().map(token_to_wire).collect(),
        members: image.members.iter().map(member_to_wire).collect(),
        homes: image.homes.iter().map(home_to_wire).collect(),
        restored: image.restored.as_ref().map(restore_to_wire),
        margin: (image.margin != MarginImage::default()).then(|| v1::SnapshotMargin {
            width: image.margin.width,
            at_millis: image.margin.at.millis(),
        }),
    }
    .encode_to_vec()
}

/// Decodes an image.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, CodecError> {
    let wire = v1::Snapshot::decode(bytes)?;
    Ok(Image {
        sequence: Sequence::new(wire.sequence),
        at: At::from_millis(wire.at_millis),
        epoch: Epoch::new(wire.epoch),
        next_node: NodeId::new(wire.next_node),
        next_workload: WorkloadId::new(wire.next_workload),
        next_instance: InstanceId::new(wire.next_instance),
        moves_total: wire.moves_total,
        policy_version: wire.policy_version,
        policy: policy_from_wire(wire.policy),
        policies: wire.policies.into_iter().map(kept_policy_from_wire).collect(),
        nodes: all(wire.nodes, node_from_wire)?,
        workloads: all(wire.workloads, workload_from_wire)?,
        instances: all(wire.instances, instance_from_wire)?,
        operations: all(wire.operations, |operation| operation_from_wire(&operation))?,
        meters: all(wire.meters, meter_from_wire)?,
        last_loss: At::from_millis(wire.last_loss_millis),
        tokens: all(wire.tokens, token_from_wire)?,
        members: all(wire.members, member_from_wire)?,
        homes: all(wire.homes, home_from_wire)?,
        restored: wire.restored.map(restore_from_wire),
        margin: wire.margin.map(margin_from_wire).unwrap_or_default(),
    })
}

fn kept_policy_to_wire(kept: &PolicyImage) -> v1::SnapshotPolicy {
    v1::SnapshotPolicy {
        version: kept.version,
        at_millis: kept.at.millis(),
        label: kept.label.clone(),
        values: policy_to_wire(&kept.values),
    }
}

fn kept_policy_from_wire(wire: v1::SnapshotPolicy) -> PolicyImage {
    PolicyImage {
        version: wire.version,
        at: At::from_millis(wire.at_millis),
        label: wire.label,
        values: policy_from_wire(wire.values),
    }
}

fn restore_to_wire(restored: &RestoreImage) -> v1::SnapshotRestore {
    v1::SnapshotRestore {
        at_millis: restored.at.millis(),
        observing: restored.observing,
        unsettled: restored.unsettled.iter().map(|n| n.get()).collect(),
    }
}

fn restore_from_wire(wire: v1::SnapshotRestore) -> RestoreImage {
    RestoreImage {
        at: At::from_millis(wire.at_millis),
        observing: wire.observing,
        unsettled: wire.unsettled.into_iter().map(NodeId::new).collect(),
    }
}

fn all<W, M>(
    wire: Vec<W>,
    convert: impl Fn(W) -> Result<M, CodecError>,
) -> Result<Vec<M>, CodecError> {
    wire.into_iter().map(convert).collect()
}

fn node_to_wire(node: &NodeImage) -> v1::SnapshotNode {
    v1::SnapshotNode {
        node: node.id.get(),
        facts: Some((&node.facts).into()),
        generation: node.generation.get(),
        joined_millis: node.joined.millis(),
        wish: node_wish_to_wire(node.wish).into(),
        loss: node.loss.map_or(v1::Proof::Unspecified, |loss| proof_to_wire(loss.proof)).into(),
        lost_millis: node.loss.map_or(0, |loss| loss.at.millis()),
        next_port: u32::from(node.next_port),
        foreign_ports: node
            .foreign_ports
            .iter()
            .map(|(port, at)| v1::SnapshotPort { port: u32::from(*port), at_millis: at.millis() })
            .collect(),
    }
}

fn node_from_wire(wire: v1::SnapshotNode) -> Result<NodeImage, CodecError> {
    let at = At::from_millis(wire.lost_millis);
    Ok(NodeImage {
        id: NodeId::new(wire.node),
        wish: match wire.wish() {
            // Before there was a choice every node served.
            v1::NodeWish::Unspecified => NodeWish::Serve,
            wish => node_wish_from_wire(wish)?,
        },
        loss: proof_from_wire(wire.loss()).map(|proof| Loss { at, proof }),
        facts: wire.facts.ok_or(CodecError::Missing("facts"))?.try_into()?,
        generation: Generation::new(wire.generation),
        joined: At::from_millis(wire.joined_millis),
        next_port: port(wire.next_port)?,
        foreign_ports: wire
            .foreign_ports
            .iter()
            .map(|seen| Ok((port(seen.port)?, At::from_millis(seen.at_millis))))
            .collect::<Result<_, CodecError>>()?,
    })
}

fn port(wire: u32) -> Result<u16, CodecError> {
    u16::try_from(wire).map_err(|_| CodecError::Unknown("the number of a port"))
}

fn home_to_wire(home: &HomeImage) -> v1::SnapshotHome {
    let volume = |(name, size): (&Name, &Mebibytes)| v1::SnapshotVolume {
        name: name.to_string(),
        size_mib: size.get(),
    };
    v1::SnapshotHome {
        copy: Some((&home.copy).into()),
        node: home.node.get(),
        volumes: home.volumes.iter().map(volume).collect(),
        fate: match home.fate {
            HomeFate::Kept => KEPT,
            HomeFate::Abandoned => ABANDONED,
            HomeFate::Removing => REMOVING,
        },
        since_millis: home.since.millis(),
    }
}

fn home_from_wire(wire: v1::SnapshotHome) -> Result<HomeImage, CodecError> {
    let volume = |v: v1::SnapshotVolume| {
        let name = Name::new(v.name).map_err(|_| CodecError::Unknown("the name of a volume"))?;
        Ok::<_, CodecError>((name, Mebibytes::new(v.size_mib)))
    };
    Ok(HomeImage {
        copy: wire.copy.ok_or(CodecError::Missing("copy"))?.try_into()?,
        node: NodeId::new(wire.node),
        volumes: wire.volumes.into_iter().map(volume).collect::<Result<_, _>>()?,
        fate: match wire.fate {
            KEPT => HomeFate::Kept,
            ABANDONED => HomeFate::Abandoned,
            REMOVING => HomeFate::Removing,
            _ => return Err(CodecError::Unknown("the fate of volumes")),
        },
        since: At::from_millis(wire.since_millis),
    })
}

fn workload_to_wire(workload: &WorkloadImage) -> v1::SnapshotWorkload {
    let revision = |(revision, spec): (&Revision, &Arc<WorkloadSpec>)| v1::SnapshotRevision {
        revision: revision.get(),
        spec: Some(v1::WorkloadSpec::from(&**spec)),
    };
    v1::SnapshotWorkload {
        workload: workload.id.get(),
        revisions: workload.revisions.iter().map(revision).collect(),
        revision: workload.revision.get(),
        wish: match workload.wish {
            WorkloadWish::Run => RUN,
            WorkloadWish::Stop => STOP,
            WorkloadWish::Delete => DELETE,
        },
        applied_millis: workload.applied.millis(),
        harms: workload
            .harms
            .iter()
            .map(|(node, at)| v1::SnapshotHarm { node: node.get(), at_millis: at.millis() })
            .collect(),
        ..life::workload_to_wire(workload)
    }
}

fn workload_from_wire(wire: v1::SnapshotWorkload) -> Result<WorkloadImage, CodecError> {
    let revision = |r: v1::SnapshotRevision| {
        let spec: WorkloadSpec = r.spec.ok_or(CodecError::Missing("spec"))?.try_into()?;
        Ok::<_, CodecError>((Revision::new(r.revision), Arc::new(spec)))
    };
    let good = life::good_from_wire(&wire);
    Ok(WorkloadImage {
        good,
        rollout: life::rollout_from_wire(wire.rollout)?,
        notes: wire.notes.into_iter().map(life::note_from_wire).collect::<Result<_, _>>()?,
        cron: life::cron_from_wire(wire.fired_millis, wire.runs_total, wire.runs)?,
        id: WorkloadId::new(wire.workload),
        revisions: wire.revisions.into_iter().map(revision).collect::<Result<_, _>>()?,
        revision: Revision::new(wire.revision),
        wish: match wire.wish {
            RUN => WorkloadWish::Run,
            STOP => WorkloadWish::Stop,
            DELETE => WorkloadWish::Delete,
            _ => return Err(CodecError::Unknown("the wish of a workload")),
        },
        applied: At::from_millis(wire.applied_millis),
        harms: wire
            .harms
            .into_iter()
            .map(|harm| (NodeId::new(harm.node), At::from_millis(harm.at_millis)))
            .collect(),
    })
}

fn instance_to_wire(instance: &InstanceImage) -> v1::SnapshotInstance {
    let (wish, stop_reason) = match instance.wish {
        InstanceWish::Run => (RUN, v1::StopReason::Unspecified),
        InstanceWish::Stop(reason) => (STOP, stop_reason_to_wire(reason)),
    };
    v1::SnapshotInstance {
        instance: instance.status.instance.get(),
        workload: instance.workload.get(),
        ordinal: instance.ordinal,
        revision: instance.revision.get(),
        node: instance.node.map(NodeId::get),
        wish,
        replaces: instance.replaces.map(InstanceId::get),
        status: Some((&instance.status).into()),
        stop_reason: stop_reason.into(),
        created_millis: instance.created.millis(),
        placed_millis: instance.placed.millis(),
        moved_millis: instance.moved.map(At::millis),
        ports: instance
            .ports
            .iter()
            .map(|(name, number)| v1::PortSpec {
                name: name.to_string(),
                number: u32::from(*number),
            })
            .collect(),
        home: instance.home.map(NodeId::get),
        healthy_millis: instance.healthy.map(At::millis),
        failures: instance.failures,
        failed_millis: instance.failed.map(At::millis),
        promise: instance.promise.as_deref().copied().map(promise_to_wire),
    }
}

fn instance_from_wire(wire: v1::SnapshotInstance) -> Result<InstanceImage, CodecError> {
    Ok(InstanceImage {
        workload: WorkloadId::new(wire.workload),
        ordinal: wire.ordinal,
        revision: Revision::new(wire.revision),
        node: wire.node.map(NodeId::new),
        wish: instance_wish(&wire)?,
        replaces: wire.replaces.map(InstanceId::new),
        created: At::from_millis(wire.created_millis),
        placed: At::from_millis(wire.placed_millis),
        moved: wire.moved_millis.map(At::from_millis),
        ports: wire.ports.into_iter().map(chosen_port).collect::<Result<_, _>>()?,
        home: wire.home.map(NodeId::new),
        healthy: wire.healthy_millis.map(At::from_millis),
        failures: wire.failures,
        failed: wire.failed_millis.map(At::from_millis),
        promise: wire.promise.map(promise_from_wire).map(Box::new),
        status: wire.status.ok_or(CodecError::Missing("status"))?.try_into()?,
    })
}

const fn margin_from_wire(wire: v1::SnapshotMargin) -> MarginImage {
    MarginImage { width: wire.width, at: At::from_millis(wire.at_millis) }
}

fn promise_to_wire(promise: PromiseImage) -> v1::SnapshotPromise {
    v1::SnapshotPromise {
        memory_mib: promise.memory.get(),
        since_millis: promise.since.millis(),
        misses: promise.misses,
        missed_millis: promise.missed.map(At::millis),
    }
}

fn promise_from_wire(wire: v1::SnapshotPromise) -> PromiseImage {
    PromiseImage {
        memory: Mebibytes::new(wire.memory_mib),
        since: At::from_millis(wire.since_millis),
        misses: wire.misses,
        missed: wire.missed_millis.map(At::from_millis),
    }
}

fn chosen_port(wire: v1::PortSpec) -> Result<(Name, u16), CodecError> {
    let port = PortSpec::try_from(wire)?;
    Ok((port.name, port.number.ok_or(CodecError::Missing("the number of a port"))?))
}

fn instance_wish(wire: &v1::SnapshotInstance) -> Result<InstanceWish, CodecError> {
    match wire.wish {
        RUN => Ok(InstanceWish::Run),
        STOP => stop_reason_from_wire(wire.stop_reason()).map(InstanceWish::Stop),
        _ => Err(CodecError::Unknown("the wish of an instance")),
    }
}

fn operation_to_wire(operation: &OperationImage) -> v1::SnapshotOperation {
    let (effect, first, second) = match operation.effect {
        Effect::Done => ("done", 0, 0),
        Effect::Node(node) => ("node", node.get(), 0),
        Effect::Created(workload, revision) => ("created", workload.get(), revision.get()),
        Effect::Updated(workload, revision) => ("updated", workload.get(), revision.get()),
        Effect::Unchanged(workload, revision) => ("unchanged", workload.get(), revision.get()),
        Effect::Planned { accepted, stale } => ("planned", accepted, stale),
        Effect::Admitted { node, admission } => {
            ("admitted", node.map_or(0, NodeId::get), admission.get())
        }
    };
    v1::SnapshotOperation {
        operation_id: operation.id.to_string(),
        effect: effect.to_owned(),
        workload: first,
        revision: second,
        at_millis: operation.at.millis(),
    }
}

fn operation_from_wire(wire: &v1::SnapshotOperation) -> Result<OperationImage, CodecError> {
    let (workload, revision) = (WorkloadId::new(wire.workload), Revision::new(wire.revision));
    let effect = match wire.effect.as_str() {
        "done" => Effect::Done,
        "node" => Effect::Node(NodeId::new(wire.workload)),
        "created" => Effect::Created(workload, revision),
        "updated" => Effect::Updated(workload, revision),
        "unchanged" => Effect::Unchanged(workload, revision),
        "planned" => Effect::Planned { accepted: wire.workload, stale: wire.revision },
        "admitted" => Effect::Admitted {
            node: Some(NodeId::new(wire.workload)).filter(|node| node.get() > 0),
            admission: Admission::new(wire.revision),
        },
        _ => return Err(CodecError::Unknown("the effect of an operation")),
    };
    Ok(OperationImage {
        id: operation(&wire.operation_id)?,
        effect,
        at: At::from_millis(wire.at_millis),
    })
}

fn meter_to_wire(meter: &MeterImage) -> v1::SnapshotMeter {
    v1::SnapshotMeter {
        node: meter.node.get(),
        key: Some((&*meter.key).into()),
        record: Some((&meter.record).into()),
    }
}

fn meter_from_wire(wire: v1::SnapshotMeter) -> Result<MeterImage, CodecError> {
    Ok(MeterImage {
        node: NodeId::new(wire.node),
        key: Arc::new(wire.key.ok_or(CodecError::Missing("key"))?.try_into()?),
        record: wire.record.ok_or(CodecError::Missing("record"))?.try_into()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::STOP_REASONS;

    #[test]
    fn every_reason_to_stop_survives() {
        for reason in STOP_REASONS {
            assert_eq!(stop_reason_from_wire(stop_reason_to_wire(reason)).unwrap(), reason);
        }
        assert!(stop_reason_from_wire(v1::StopReason::Unspecified).is_err());
    }

    #[test]
    fn promises_of_memory_and_their_margin_survive() {
        let at = At::from_millis(5_000);
        for missed in [None, Some(at)] {
            let memory = Mebibytes::new(700);
            let promise = PromiseImage { memory, since: at, misses: 3, missed };
            assert_eq!(promise_from_wire(promise_to_wire(promise)), promise);
        }
        let margin = MarginImage { width: 2_500_000, at };
        for margin in [margin, MarginImage::default()] {
            let image = Image { margin, ..Image::default() };
            assert_eq!(decode(&encode(&image)).unwrap().margin, margin);
        }
    }
}
