//! What a node says of itself, on the wire.

use tengyun_model::{
    BootId, Capacity, Disk, Enforcement, Inventory, MachineId, Mebibytes, Millicores, NodeFacts,
    Smt, SmtSource,
};

use super::field::{ascending, hex, keyed, list, message, parsed, share, text, texts, word};
use super::{ConvertError, ITEMS_MAX};
use crate::v1;

impl TryFrom<v1::Capacity> for Capacity {
    type Error = ConvertError;

    fn try_from(wire: v1::Capacity) -> Result<Self, ConvertError> {
        Ok(Self {
            cpu: Millicores::new(wire.cpu_millicores),
            memory: Mebibytes::new(wire.memory_mib),
            disk: Mebibytes::new(wire.disk_mib),
            pids: wire.pids,
            counted: keyed("counted", wire.counted, ITEMS_MAX)?,
        })
    }
}

impl From<&Capacity> for v1::Capacity {
    fn from(capacity: &Capacity) -> Self {
        Self {
            cpu_millicores: capacity.cpu.get(),
            memory_mib: capacity.memory.get(),
            disk_mib: capacity.disk.get(),
            pids: capacity.pids,
            counted: capacity.counted.iter().map(|(name, n)| (name.to_string(), *n)).collect(),
        }
    }
}

impl TryFrom<v1::Disk> for Disk {
    type Error = ConvertError;

    fn try_from(wire: v1::Disk) -> Result<Self, ConvertError> {
        Ok(Self {
            device: text("device", wire.device)?,
            mount: text("mount", wire.mount)?,
            total: Mebibytes::new(wire.total_mib),
            free: Mebibytes::new(wire.free_mib),
        })
    }
}

impl From<&Disk> for v1::Disk {
    fn from(disk: &Disk) -> Self {
        Self {
            device: disk.device.clone(),
            mount: disk.mount.clone(),
            total_mib: disk.total.get(),
            free_mib: disk.free.get(),
        }
    }
}

impl TryFrom<v1::Inventory> for Inventory {
    type Error = ConvertError;

    fn try_from(wire: v1::Inventory) -> Result<Self, ConvertError> {
        Ok(Self {
            machine_id: hex("machine_id", &wire.machine_id, MachineId::parse)?,
            boot_id: hex("boot_id", &wire.boot_id, BootId::parse)?,
            kernel: text("kernel", wire.kernel)?,
            architecture: text("architecture", wire.architecture)?,
            cpu_model: text("cpu_model", wire.cpu_model)?,
            sockets: wire.sockets,
            cores: wire.cores,
            threads: wire.threads,
            numa_nodes: wire.numa_nodes,
            memory: Mebibytes::new(wire.memory_mib),
            disks: list("disks", wire.disks, ITEMS_MAX)?,
            cgroup: word::<v1::CgroupVersion, _>("cgroup", wire.cgroup)?,
            psi: wire.psi,
            root: wire.root,
            smt: wire
                .smt
                .map(Smt::try_from)
                .transpose()
                .map_err(|e| e.within("smt"))?
                .unwrap_or_default(),
        })
    }
}

impl From<&Inventory> for v1::Inventory {
    fn from(inventory: &Inventory) -> Self {
        Self {
            machine_id: inventory.machine_id.to_string(),
            boot_id: inventory.boot_id.to_string(),
            kernel: inventory.kernel.clone(),
            architecture: inventory.architecture.clone(),
            cpu_model: inventory.cpu_model.clone(),
            sockets: inventory.sockets,
            cores: inventory.cores,
            threads: inventory.threads,
            numa_nodes: inventory.numa_nodes,
            memory_mib: inventory.memory.get(),
            disks: inventory.disks.iter().map(Into::into).collect(),
            cgroup: v1::CgroupVersion::from(inventory.cgroup).into(),
            psi: inventory.psi,
            root: inventory.root,
            // What nobody said is not written down either: old journals keep their bytes.
            smt: (inventory.smt != Smt::default()).then(|| inventory.smt.into()),
        }
    }
}

impl TryFrom<v1::Smt> for Smt {
    type Error = ConvertError;

    fn try_from(wire: v1::Smt) -> Result<Self, ConvertError> {
        let gain = share("gain_permille", wire.gain_permille)?;
        // A source that is not known here is none that this release could tell apart.
        let source = match wire.source() {
            v1::SmtSource::Unspecified => SmtSource::Unsaid,
            v1::SmtSource::Single => SmtSource::Single,
            v1::SmtSource::Assumed => SmtSource::Assumed,
            v1::SmtSource::Measured => SmtSource::Measured,
            v1::SmtSource::Said => SmtSource::Said,
        };
        Ok(Self { cores: wire.cores, gain, source })
    }
}

impl From<Smt> for v1::Smt {
    fn from(smt: Smt) -> Self {
        let source = match smt.source {
            SmtSource::Unsaid => v1::SmtSource::Unspecified,
            SmtSource::Single => v1::SmtSource::Single,
            SmtSource::Assumed => v1::SmtSource::Assumed,
            SmtSource::Measured => v1::SmtSource::Measured,
            SmtSource::Said => v1::SmtSource::Said,
        };
        Self { cores: smt.cores, gain_permille: smt.gain.get(), source: source.into() }
    }
}

impl TryFrom<v1::Enforcement> for Enforcement {
    type Error = ConvertError;

    fn try_from(wire: v1::Enforcement) -> Result<Self, ConvertError> {
        Ok(Self {
            control: word::<v1::Control, _>("control", wire.control)?,
            level: word::<v1::EnforcementLevel, _>("level", wire.level)?,
            reason: text("reason", wire.reason)?,
        })
    }
}

impl From<&Enforcement> for v1::Enforcement {
    fn from(enforcement: &Enforcement) -> Self {
        Self {
            control: v1::Control::from(enforcement.control).into(),
            level: v1::EnforcementLevel::from(enforcement.level).into(),
            reason: enforcement.reason.clone(),
        }
    }
}

impl TryFrom<v1::NodeFacts> for NodeFacts {
    type Error = ConvertError;

    fn try_from(wire: v1::NodeFacts) -> Result<Self, ConvertError> {
        let enforcement: Vec<Enforcement> = list("enforcement", wire.enforcement, ITEMS_MAX)?;
        Ok(Self {
            name: parsed("name", &wire.name)?,
            labels: texts("labels", wire.labels, ITEMS_MAX)?,
            capacity: message("capacity", wire.capacity)?,
            inventory: message("inventory", wire.inventory)?,
            enforcement: ascending("enforcement", enforcement, |each| each.control)?,
        })
    }
}

impl From<&NodeFacts> for v1::NodeFacts {
    fn from(facts: &NodeFacts) -> Self {
        Self {
            name: facts.name.to_string(),
            labels: facts.labels.clone(),
            capacity: Some((&facts.capacity).into()),
            inventory: Some((&facts.inventory).into()),
            enforcement: facts.enforcement.iter().map(Into::into).collect(),
        }
    }
}
