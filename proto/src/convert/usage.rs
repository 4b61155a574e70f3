//! Usage, meters and the full report, on the wire.

use tengyun_model::{
    At, BootId, CoreMillis, Epoch, Generation, Incarnation, InstanceId, InstanceUsage,
    MebibyteSeconds, Mebibytes, MeterKey, MeterRecord, Millicores, Millis, NodeIo, NodeUsage,
    Permille, Report, VolumeUsage,
};

use super::field::{ascending, hex, list, message, share};
use super::{ConvertError, METERS_MAX, NODE_INSTANCES_MAX};
use crate::v1;

impl TryFrom<v1::InstanceUsage> for InstanceUsage {
    type Error = ConvertError;

    fn try_from(wire: v1::InstanceUsage) -> Result<Self, ConvertError> {
        Ok(Self {
            instance: InstanceId::new(wire.instance),
            cpu: Millicores::new(wire.cpu_millicores),
            memory: Mebibytes::new(wire.memory_mib),
            io_bytes: wire.io_bytes_per_second,
        })
    }
}

impl From<&InstanceUsage> for v1::InstanceUsage {
    fn from(usage: &InstanceUsage) -> Self {
        Self {
            instance: usage.instance.get(),
            cpu_millicores: usage.cpu.get(),
            memory_mib: usage.memory.get(),
            io_bytes_per_second: usage.io_bytes,
        }
    }
}

impl TryFrom<v1::NodeUsage> for NodeUsage {
    type Error = ConvertError;

    fn try_from(wire: v1::NodeUsage) -> Result<Self, ConvertError> {
        let instances: Vec<InstanceUsage> = list("instances", wire.instances, NODE_INSTANCES_MAX)?;
        Ok(Self {
            at: At::from_millis(wire.at_millis),
            interval: Millis::new(wire.interval_millis),
            cpu: Millicores::new(wire.cpu_millicores),
            cpu_foreign: Millicores::new(wire.cpu_foreign_millicores),
            memory: Mebibytes::new(wire.memory_mib),
            memory_foreign: Mebibytes::new(wire.memory_foreign_mib),
            pressure_cpu: wire.pressure_cpu_permille,
            harvest_allowance: Millicores::new(wire.harvest_allowance_millicores),
            instances: ascending("instances", instances, |each| each.instance)?,
            volumes: {
                let volumes: Vec<VolumeUsage> = list("volumes", wire.volumes, NODE_INSTANCES_MAX)?;
                ascending("volumes", volumes, |each| each.copy.clone())?
            },
            io: NodeIo {
                disk_busy: busy("disk_busy_permille", wire.disk_busy_permille)?,
                network_busy: busy("network_busy_permille", wire.network_busy_permille)?,
                network_bytes: wire.network_bytes_per_second,
            },
        })
    }
}

fn busy(field: &str, wire: Option<u32>) -> Result<Option<Permille>, ConvertError> {
    wire.map(|wire| share(field, wire)).transpose()
}

impl TryFrom<v1::VolumeUsage> for VolumeUsage {
    type Error = ConvertError;

    fn try_from(wire: v1::VolumeUsage) -> Result<Self, ConvertError> {
        Ok(Self { copy: message("copy", wire.copy)?, used: Mebibytes::new(wire.used_mib) })
    }
}

impl From<&VolumeUsage> for v1::VolumeUsage {
    fn from(usage: &VolumeUsage) -> Self {
        Self { copy: Some((&usage.copy).into()), used_mib: usage.used.get() }
    }
}

impl From<&NodeUsage> for v1::NodeUsage {
    fn from(usage: &NodeUsage) -> Self {
        Self {
            at_millis: usage.at.millis(),
            interval_millis: usage.interval.get(),
            cpu_millicores: usage.cpu.get(),
            cpu_foreign_millicores: usage.cpu_foreign.get(),
            memory_mib: usage.memory.get(),
            memory_foreign_mib: usage.memory_foreign.get(),
            pressure_cpu_permille: usage.pressure_cpu,
            harvest_allowance_millicores: usage.harvest_allowance.get(),
            instances: usage.instances.iter().map(Into::into).collect(),
            volumes: usage.volumes.iter().map(Into::into).collect(),
            disk_busy_permille: usage.io.disk_busy.map(Permille::get),
            network_busy_permille: usage.io.network_busy.map(Permille::get),
            network_bytes_per_second: usage.io.network_bytes,
        }
    }
}

impl TryFrom<v1::MeterRecord> for MeterRecord {
    type Error = ConvertError;

    fn try_from(wire: v1::MeterRecord) -> Result<Self, ConvertError> {
        Ok(Self {
            key: MeterKey {
                boot: hex("boot_id", &wire.boot_id, BootId::parse)?,
                instance: InstanceId::new(wire.instance),
                incarnation: Incarnation::new(wire.incarnation),
            },
            cpu: CoreMillis::new(wire.cpu_core_millis),
            memory: MebibyteSeconds::new(wire.memory_mib_seconds),
            covered: Millis::new(wire.covered_millis),
            from: At::from_millis(wire.from_millis),
            to: At::from_millis(wire.to_millis),
            last: wire.last,
        })
    }
}

impl From<&MeterRecord> for v1::MeterRecord {
    fn from(record: &MeterRecord) -> Self {
        Self {
            boot_id: record.key.boot.to_string(),
            instance: record.key.instance.get(),
            incarnation: record.key.incarnation.get(),
            cpu_core_millis: record.cpu.get(),
            memory_mib_seconds: record.memory.get(),
            covered_millis: record.covered.get(),
            from_millis: record.from.millis(),
            to_millis: record.to.millis(),
            last: record.last,
        }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = ConvertError;

    fn try_from(wire: v1::Report) -> Result<Self, ConvertError> {
        let meters: Vec<MeterRecord> = list("meters", wire.meters, METERS_MAX)?;
        let instances = list("instances", wire.instances, NODE_INSTANCES_MAX)?;
        Ok(Self {
            boot: hex("boot_id", &wire.boot_id, BootId::parse)?,
            epoch: Epoch::new(wire.epoch),
            generation: Generation::new(wire.generation),
            usage: message("usage", wire.usage)?,
            instances: ascending("instances", instances, status_id)?,
            meters: ascending("meters", meters, |each| each.key)?,
        })
    }
}

fn status_id(status: &tengyun_model::InstanceStatus) -> InstanceId {
    status.instance
}

impl From<&Report> for v1::Report {
    fn from(report: &Report) -> Self {
        Self {
            boot_id: report.boot.to_string(),
            epoch: report.epoch.get(),
            generation: report.generation.get(),
            usage: Some((&report.usage).into()),
            instances: report.instances.iter().map(Into::into).collect(),
            meters: report.meters.iter().map(Into::into).collect(),
        }
    }
}
