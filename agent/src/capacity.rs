//! What a node may promise: what the operator says, else the agent's own limits, else the machine.

use std::path::Path;

use tengyun_model::{Capacity, Inventory, Mebibytes, Millicores};

use crate::config::{CapacityOverrides, Config};
use crate::run::cgroup::OwnLimits;

/// Process ids kept for the system and the agent (`reliability.md` D14).
const PIDS_RESERVED: u64 = 1_000;
/// What a kernel allows at least.
const PIDS_DEFAULT: u64 = 32_768;

/// What of the capacity is less than the machine, and so must be enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// CPU rate of the node as a whole.
    pub(crate) cpu: Option<Millicores>,
    /// Memory of the node as a whole.
    pub(crate) memory: Option<Mebibytes>,
}

impl Bounds {
    /// Takes the operator's word before the agent's own limits, and these only where they are less
    /// than the machine.
    pub(crate) fn of(overrides: &CapacityOverrides, own: OwnLimits, inventory: &Inventory) -> Self {
        let cpu = own.cpu.filter(|cpu| *cpu < machine_cpu(inventory));
        let memory = own.memory.filter(|memory| *memory < inventory.memory);
        Self { cpu: overrides.cpu.or(cpu), memory: overrides.memory.or(memory) }
    }

    /// Returns true when the node is less than the machine.
    pub(crate) const fn is_less(self) -> bool {
        self.cpu.is_some() || self.memory.is_some()
    }
}

/// Says what the node may promise.
pub(crate) fn capacity(config: &Config, bounds: Bounds, inventory: &Inventory) -> Capacity {
    let overrides = &config.capacity;
    Capacity {
        cpu: bounds.cpu.unwrap_or_else(|| machine_cpu(inventory)),
        memory: bounds.memory.unwrap_or(inventory.memory),
        disk: overrides.disk.unwrap_or_else(|| disk_free(&config.state_dir)),
        pids: overrides.pids.unwrap_or_else(|| pids(&config.proc_root)),
        counted: overrides.counted.clone(),
    }
}

fn machine_cpu(inventory: &Inventory) -> Millicores {
    Millicores::new(u64::from(inventory.cores.max(1)).saturating_mul(1000))
}

fn disk_free(dir: &Path) -> Mebibytes {
    let Ok(stat) = nix::sys::statvfs::statvfs(dir) else { return Mebibytes::ZERO };
    let bytes = stat.blocks_available().saturating_mul(stat.fragment_size());
    Mebibytes::new(bytes / (1024 * 1024))
}

fn pids(proc_root: &Path) -> u64 {
    let text = std::fs::read_to_string(proc_root.join("sys/kernel/pid_max")).unwrap_or_default();
    text.trim().parse().unwrap_or(PIDS_DEFAULT).saturating_sub(PIDS_RESERVED)
}

#[cfg(test)]
mod tests {
    use tengyun_model::NodeName;

    use super::*;

    fn inventory() -> Inventory {
        Inventory { cores: 4, memory: Mebibytes::new(8192), ..Inventory::default() }
    }

    #[test]
    fn the_operators_word_goes_before_the_agents_limit_before_the_machine() {
        let own = OwnLimits { cpu: Some(Millicores::new(3000)), memory: None };
        let dir = tempfile::tempdir().unwrap();
        let found = |overrides: &CapacityOverrides, own| {
            let name = NodeName::new("n1").unwrap();
            let mut config = Config::new(name, dir.path(), dir.path());
            config.proc_root = dir.path().to_owned();
            config.capacity = overrides.clone();
            capacity(&config, Bounds::of(overrides, own, &inventory()), &inventory())
        };
        let said = CapacityOverrides { cpu: Some(Millicores::new(500)), ..Default::default() };
        assert_eq!(found(&said, own).cpu, Millicores::new(500));
        assert_eq!(found(&CapacityOverrides::default(), own).cpu, Millicores::new(3000));
        let free = found(&CapacityOverrides::default(), OwnLimits::default());
        assert_eq!((free.cpu, free.memory), (Millicores::new(4000), Mebibytes::new(8192)));
        let wide =
            OwnLimits { cpu: Some(Millicores::new(64_000)), memory: Some(Mebibytes::new(1 << 20)) };
        assert!(!Bounds::of(&CapacityOverrides::default(), wide, &inventory()).is_less());
        assert_eq!(free.pids, PIDS_DEFAULT - PIDS_RESERVED, "there is no pid_max in this fixture");
    }
}
