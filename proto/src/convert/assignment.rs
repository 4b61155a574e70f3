//! Assignments and what became of them, on the wire.

use tengyun_model::{
    AssignedInstance, Assignment, At, Band, CopyKey, Epoch, Exit, Generation, Incarnation,
    InstanceId, InstanceStatus, NodeId, Permille, Revision,
};

use super::field::{ascending, list, message, text, word};
use super::{ConvertError, NODE_INSTANCES_MAX};
use crate::v1;
use crate::v1::exit::How;

impl TryFrom<v1::Band> for Band {
    type Error = ConvertError;

    fn try_from(wire: v1::Band) -> Result<Self, ConvertError> {
        let band = Self {
            floor: Permille::new(wire.floor_permille),
            target: Permille::new(wire.target_permille),
            ceiling: Permille::new(wire.ceiling_permille),
        };
        if !band.is_valid() {
            let problem = "must have floor <= target <= ceiling <= 1000";
            return Err(ConvertError::new("", problem));
        }
        Ok(band)
    }
}

impl From<&Band> for v1::Band {
    fn from(band: &Band) -> Self {
        Self {
            floor_permille: band.floor.get(),
            target_permille: band.target.get(),
            ceiling_permille: band.ceiling.get(),
        }
    }
}

impl TryFrom<v1::AssignedInstance> for AssignedInstance {
    type Error = ConvertError;

    fn try_from(wire: v1::AssignedInstance) -> Result<Self, ConvertError> {
        Ok(Self {
            instance: InstanceId::new(wire.instance),
            ordinal: wire.ordinal,
            revision: Revision::new(wire.revision),
            spec: message("spec", wire.spec)?,
        })
    }
}

impl From<&AssignedInstance> for v1::AssignedInstance {
    fn from(assigned: &AssignedInstance) -> Self {
        Self {
            instance: assigned.instance.get(),
            ordinal: assigned.ordinal,
            revision: assigned.revision.get(),
            spec: Some((&assigned.spec).into()),
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = ConvertError;

    fn try_from(wire: v1::Assignment) -> Result<Self, ConvertError> {
        let instances: Vec<AssignedInstance> =
            list("instances", wire.instances, NODE_INSTANCES_MAX)?;
        Ok(Self {
            node: NodeId::new(wire.node),
            epoch: Epoch::new(wire.epoch),
            generation: Generation::new(wire.generation),
            band: message("band", wire.band)?,
            instances: ascending("instances", instances, |each| each.instance)?,
            removed: {
                let removed: Vec<CopyKey> = list("removed", wire.removed, NODE_INSTANCES_MAX)?;
                ascending("removed", removed, Clone::clone)?
            },
        })
    }
}

impl From<&Assignment> for v1::Assignment {
    fn from(assignment: &Assignment) -> Self {
        Self {
            node: assignment.node.get(),
            epoch: assignment.epoch.get(),
            generation: assignment.generation.get(),
            band: Some((&assignment.band).into()),
            instances: assignment.instances.iter().map(Into::into).collect(),
            removed: assignment.removed.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Exit> for Exit {
    type Error = ConvertError;

    fn try_from(wire: v1::Exit) -> Result<Self, ConvertError> {
        match wire.how {
            Some(How::Code(code)) => Ok(Self::Code(code)),
            Some(How::Signal(signal)) => Ok(Self::Signal(signal)),
            Some(How::OutOfMemory(_)) => Ok(Self::OutOfMemory),
            Some(How::NotStarted(_)) => Ok(Self::NotStarted),
            Some(How::Unknown(_)) => Ok(Self::Unknown),
            Some(How::Unhealthy(_)) => Ok(Self::Unhealthy),
            Some(How::PortTaken(port)) => u16::try_from(port)
                .map(Self::PortTaken)
                .map_err(|_| ConvertError::new("port_taken", format!("{port} is not a port"))),
            None => Err(ConvertError::new("how", "is missing")),
        }
    }
}

impl From<&Exit> for v1::Exit {
    fn from(exit: &Exit) -> Self {
        let how = match exit {
            Exit::Code(code) => How::Code(*code),
            Exit::Signal(signal) => How::Signal(*signal),
            Exit::OutOfMemory => How::OutOfMemory(true),
            Exit::NotStarted => How::NotStarted(true),
            Exit::Unknown => How::Unknown(true),
            Exit::Unhealthy => How::Unhealthy(true),
            Exit::PortTaken(port) => How::PortTaken(u32::from(*port)),
        };
        Self { how: Some(how) }
    }
}

impl TryFrom<v1::InstanceStatus> for InstanceStatus {
    type Error = ConvertError;

    fn try_from(wire: v1::InstanceStatus) -> Result<Self, ConvertError> {
        Ok(Self {
            instance: InstanceId::new(wire.instance),
            incarnation: Incarnation::new(wire.incarnation),
            phase: word::<v1::Phase, _>("phase", wire.phase)?,
            since: At::from_millis(wire.since_millis),
            pid: wire.pid,
            exit: wire.exit.map(|exit| message("exit", Some(exit))).transpose()?,
            message: text("message", wire.message)?,
        })
    }
}

impl From<&InstanceStatus> for v1::InstanceStatus {
    fn from(status: &InstanceStatus) -> Self {
        Self {
            instance: status.instance.get(),
            incarnation: status.incarnation.get(),
            phase: v1::Phase::from(status.phase).into(),
            since_millis: status.since.millis(),
            pid: status.pid,
            exit: status.exit.as_ref().map(Into::into),
            message: status.message.clone(),
        }
    }
}
