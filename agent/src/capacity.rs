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
    /// than the machine: than the time of all its threads, which is what a quota is about. What SMT is
    /// counted with bounds what is promised and never what runs.
    pub(crate) fn of(overrides: &CapacityOverrides, own: OwnLimits, inventory: &Inventory) -> Self {
        let cpu = own.cpu.filter(|cpu| *cpu < thread_time(inventory));
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
        cpu: cpu(overrides, bounds, inventory),
        memory: bounds.memory.unwrap_or(inventory.memory),
        disk: overrides.disk.unwrap_or_else(|| disk_free(&config.state_dir)),
        pids: overrides.pids.unwrap_or_else(|| pids(&config.proc_root)),
        counted: overrides.counted.clone(),
    }
}

/// Says what CPU the node may promise. A share of the machine is never promised more of than the machine
/// has in whole cores and what their further threads add.
pub(crate) fn cpu(
    overrides: &CapacityOverrides,
    bounds: Bounds,
    inventory: &Inventory,
) -> Millicores {
    let machine = machine_cpu(inventory);
    let found = bounds.cpu.map_or(machine, |own| own.min(machine));
    overrides.cpu.unwrap_or(found)
}

/// Counts cores, and what the further threads of those that have any add.
fn machine_cpu(inventory: &Inventory) -> Millicores {
    let (cores, smt) = (inventory.cores.max(1), inventory.smt);
    let gain = u64::from(smt.cores.min(cores)).saturating_mul(u64::from(smt.gain.get()));
    Millicores::new(u64::from(cores).saturating_mul(1000).saturating_add(gain))
}

/// Returns the time that all threads have together.
fn thread_time(inventory: &Inventory) -> Millicores {
    let threads = inventory.threads.max(inventory.cores).max(1);
    Millicores::new(u64::from(threads).saturating_mul(1000))
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
    use tengyun_model::{NodeName, Permille, Smt, SmtSource};

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

    fn with_smt(cores: u32, smt: u32, gain: u32) -> Inventory {
        let source = SmtSource::Measured;
        let smt = Smt { cores: smt, gain: Permille::new(gain), source };
        Inventory { cores, threads: cores.saturating_add(smt.cores), smt, ..Inventory::default() }
    }

    #[test]
    fn a_core_counts_once_and_its_further_threads_by_what_they_add() {
        let promised = |inventory: &Inventory| {
            let none = CapacityOverrides::default();
            let bounds = Bounds::of(&none, OwnLimits::default(), inventory);
            assert!(!bounds.is_less(), "what SMT is counted with is not enforced");
            cpu(&none, bounds, inventory).get()
        };
        assert_eq!(promised(&with_smt(16, 16, 250)), 20_000);
        assert_eq!(promised(&with_smt(16, 0, 0)), 16_000);
        assert_eq!(promised(&with_smt(12, 4, 250)), 13_000, "four of both kinds of cores have two");
        assert_eq!(promised(&with_smt(16, 16, 0)), 16_000, "nothing was measured yet");
        assert_eq!(promised(&with_smt(2, u32::MAX, 1000)), 4_000, "no more than there are cores");
    }

    #[test]
    fn a_quota_is_about_the_time_of_threads_and_a_promise_about_cores() {
        let (machine, none) = (with_smt(4, 4, 250), CapacityOverrides::default());
        let own = |cpu| OwnLimits { cpu: Some(Millicores::new(cpu)), memory: None };
        let bounds = |own| Bounds::of(&none, own, &machine);
        assert_eq!(cpu(&none, bounds(own(3000)), &machine), Millicores::new(3000));
        // Six of eight threads: a share of the machine, held to six, and promised as five cores.
        let six = bounds(own(6000));
        assert_eq!(six.cpu, Some(Millicores::new(6000)));
        assert_eq!(cpu(&none, six, &machine), Millicores::new(5000));
        assert!(!bounds(own(8000)).is_less());
        let said = CapacityOverrides { cpu: Some(Millicores::new(8000)), ..none.clone() };
        let word = Bounds::of(&said, OwnLimits::default(), &machine);
        assert_eq!(cpu(&said, word, &machine), Millicores::new(8000), "the operator's word");
    }
}
