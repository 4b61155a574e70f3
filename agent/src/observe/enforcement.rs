//! Enforcement: what of a promise the kernel holds here, and why not more. Pure.

use std::collections::BTreeSet;

use tengyun_model::{CgroupVersion, Control, Enforcement, EnforcementLevel};

use crate::run::cgroup::Controller;

/// What was found out about the control groups and the privileges of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Which hierarchy can be written.
    pub(crate) version: CgroupVersion,
    /// Why none can be, in words; empty when one can.
    pub(crate) reason: String,
    /// The controllers that can be used.
    pub(crate) controllers: BTreeSet<Controller>,
    /// `cpu.idle`, from Linux 5.15.
    pub(crate) idle: bool,
    /// Whether the agent is root.
    pub(crate) root: bool,
    /// Whether the node is less than the machine, so that its capacity has to be held.
    pub(crate) bounded: bool,
}

/// Says how well each control holds.
pub(crate) fn enforcement(probe: &Probe) -> Vec<Enforcement> {
    let all = Control::ALL.into_iter();
    all.map(|control| {
        let (level, reason) = match missing(probe, control) {
            None => (EnforcementLevel::Enforced, String::new()),
            Some((level, reason)) => (level, reason),
        };
        Enforcement { control, level, reason }
    })
    .collect()
}

/// Returns what is less than enforced about a control, and why.
fn missing(probe: &Probe, control: Control) -> Option<(EnforcementLevel, String)> {
    use EnforcementLevel::{Approximate, NotEnforced};
    let lacks = |controller: Controller, file: &str| {
        let there = probe.controllers.contains(&controller);
        (!there).then(|| format!("{file}: {}", no_controller(probe, controller)))
    };
    let held = |why: Option<String>| why.map(|why| (NotEnforced, why));
    let metered = |why: Option<String>, instead: &str| {
        why.map(|why| (Approximate, format!("{instead}; {why}")))
    };
    let file = |v1: &'static str, v2: &'static str| match probe.version {
        CgroupVersion::V1 => v1,
        CgroupVersion::V2 | CgroupVersion::None => v2,
    };
    let quota = || lacks(Controller::Cpu, file("cpu.cfs_quota_us", "cpu.max"));
    let memory = || lacks(Controller::Memory, file("memory.limit_in_bytes", "memory.max"));
    match control {
        // The machine itself holds what is the whole of it.
        Control::NodeCapacity if !probe.bounded => None,
        Control::NodeCapacity => match (quota(), memory()) {
            (None, None) => None,
            (None, Some(why)) => {
                Some((Approximate, format!("its CPU is held, not its memory; {why}")))
            }
            (Some(why), None) => {
                Some((Approximate, format!("its memory is held, not its CPU; {why}")))
            }
            (Some(why), Some(_)) => Some((NotEnforced, why)),
        },
        Control::CpuWeight => held(lacks(Controller::Cpu, file("cpu.shares", "cpu.weight"))),
        Control::CpuLimit => held(quota()),
        Control::CpuIdle => idle(probe).map(|why| (Approximate, why)),
        Control::MemoryLimit => held(memory()),
        Control::PidsLimit => held(lacks(Controller::Pids, "pids.max")),
        Control::OwnUser => held(
            (!probe.root)
                .then(|| "the agent is not root: instances run as its own user".to_owned()),
        ),
        Control::CpuMeter => metered(
            lacks(Controller::Cpuacct, file("cpuacct.usage", "cpu.stat")),
            "summed over processes in steps of 10 ms",
        ),
        Control::MemoryMeter => metered(
            lacks(Controller::Memory, file("memory.usage_in_bytes", "memory.current")),
            "summed over processes, shared pages count more than once",
        ),
    }
}

/// Says what stands in for the idle class of a group; the shim sets it for each process.
fn idle(probe: &Probe) -> Option<String> {
    let instead = "SCHED_IDLE for each process";
    if !probe.controllers.contains(&Controller::Cpu) {
        let why = no_controller(probe, Controller::Cpu);
        return Some(format!("{instead}, without a quota for all; cpu.idle: {why}"));
    }
    let why = "this kernel does not have it (Linux 5.15 has)";
    (!probe.idle).then(|| format!("{instead}, within the quota for all; cpu.idle: {why}"))
}

fn no_controller(probe: &Probe, controller: Controller) -> String {
    if probe.version == CgroupVersion::None {
        probe.reason.clone()
    } else {
        let name = controller.as_str();
        format!("no {name} controller is delegated; run as root or delegate it")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_root_agent_with_every_controller_enforces_everything() {
        let probe = Probe {
            version: CgroupVersion::V2,
            reason: String::new(),
            controllers: Controller::ALL.into(),
            idle: true,
            root: true,
            bounded: true,
        };
        for held in enforcement(&probe) {
            assert_eq!((held.level, held.reason.as_str()), (EnforcementLevel::Enforced, ""));
        }
    }

    fn table(probe: &Probe) -> String {
        let line = |held: Enforcement| {
            let Enforcement { control, level, reason } = held;
            format!("{control:<14} {:<13} {reason}", level.as_str()).trim_end().to_owned() + "\n"
        };
        enforcement(probe).into_iter().map(line).collect()
    }

    #[test]
    fn an_ordinary_user_without_control_groups_is_told_why_nothing_holds() {
        let reason = "cannot make /sys/fs/cgroup/tengyun: permission denied".to_owned();
        let probe = Probe { reason, bounded: true, ..Probe::default() };
        expect![[r"
            node-capacity  not enforced  cpu.max: cannot make /sys/fs/cgroup/tengyun: permission denied
            cpu-weight     not enforced  cpu.weight: cannot make /sys/fs/cgroup/tengyun: permission denied
            cpu-limit      not enforced  cpu.max: cannot make /sys/fs/cgroup/tengyun: permission denied
            cpu-idle       approximate   SCHED_IDLE for each process, without a quota for all; cpu.idle: cannot make /sys/fs/cgroup/tengyun: permission denied
            memory-limit   not enforced  memory.max: cannot make /sys/fs/cgroup/tengyun: permission denied
            pids-limit     not enforced  pids.max: cannot make /sys/fs/cgroup/tengyun: permission denied
            own-user       not enforced  the agent is not root: instances run as its own user
            cpu-meter      approximate   summed over processes in steps of 10 ms; cpu.stat: cannot make /sys/fs/cgroup/tengyun: permission denied
            memory-meter   approximate   summed over processes, shared pages count more than once; memory.current: cannot make /sys/fs/cgroup/tengyun: permission denied
        "]]
        .assert_eq(&table(&probe));
    }

    #[test]
    fn an_old_kernel_without_a_memory_controller_names_what_is_missing() {
        let probe = Probe {
            version: CgroupVersion::V1,
            controllers: [Controller::Cpu, Controller::Cpuacct, Controller::Pids].into(),
            root: true,
            bounded: true,
            ..Probe::default()
        };
        expect![[r"
            node-capacity  approximate   its CPU is held, not its memory; memory.limit_in_bytes: no memory controller is delegated; run as root or delegate it
            cpu-weight     enforced
            cpu-limit      enforced
            cpu-idle       approximate   SCHED_IDLE for each process, within the quota for all; cpu.idle: this kernel does not have it (Linux 5.15 has)
            memory-limit   not enforced  memory.limit_in_bytes: no memory controller is delegated; run as root or delegate it
            pids-limit     enforced
            own-user       enforced
            cpu-meter      enforced
            memory-meter   approximate   summed over processes, shared pages count more than once; memory.usage_in_bytes: no memory controller is delegated; run as root or delegate it
        "]]
        .assert_eq(&table(&probe));
    }

    #[test]
    fn the_whole_machine_needs_no_group_to_hold_its_capacity() {
        let held = enforcement(&Probe::default());
        assert_eq!(held[0].control, Control::NodeCapacity);
        assert_eq!(held[0].level, EnforcementLevel::Enforced);
    }
}
