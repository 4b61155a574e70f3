//! Enforcement: what of a promise the kernel holds here, and why not more. Pure.

use tengyun_model::{CgroupVersion, Control, Enforcement, EnforcementLevel};

/// What was found out about the control groups and the privileges of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Which hierarchy can be written.
    pub(crate) version: CgroupVersion,
    /// Why none can be, in words; empty when one can.
    pub(crate) reason: String,
    /// The controllers that can be used.
    pub(crate) cpu: bool,
    /// CPU accounting by group.
    pub(crate) cpu_account: bool,
    /// Memory limits and accounting by group.
    pub(crate) memory: bool,
    /// Limits of processes.
    pub(crate) pids: bool,
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
    let controller =
        |there: bool, name: &str| (!there).then(|| (NotEnforced, no_controller(probe, name)));
    match control {
        Control::NodeCapacity if !probe.bounded => None,
        Control::NodeCapacity => controller(probe.cpu && probe.memory, "cpu or memory"),
        Control::CpuWeight => (!probe.cpu)
            .then(|| (Approximate, format!("nice levels only: {}", no_controller(probe, "cpu")))),
        Control::CpuLimit => controller(probe.cpu, "cpu"),
        Control::CpuIdle if probe.cpu && probe.idle => None,
        Control::CpuIdle => {
            let why = if probe.cpu {
                "this kernel has no cpu.idle (Linux 5.15 has)".to_owned()
            } else {
                no_controller(probe, "cpu")
            };
            Some((Approximate, format!("SCHED_IDLE for each process: {why}")))
        }
        Control::MemoryLimit => controller(probe.memory, "memory"),
        Control::PidsLimit => controller(probe.pids, "pids"),
        Control::OwnUser => (!probe.root).then(|| {
            (NotEnforced, "the agent is not root: instances run as its own user".to_owned())
        }),
        Control::CpuMeter => (!probe.cpu_account).then(|| {
            let why = no_controller(probe, "cpuacct");
            (Approximate, format!("summed over processes in steps of 10 ms: {why}"))
        }),
        Control::MemoryMeter => (!probe.memory).then(|| {
            let why = no_controller(probe, "memory");
            (Approximate, format!("summed over processes, shared pages count twice: {why}"))
        }),
    }
}

fn no_controller(probe: &Probe, name: &str) -> String {
    if probe.version == CgroupVersion::None {
        probe.reason.clone()
    } else {
        format!("the {name} controller is not delegated to the agent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_agent_with_every_controller_enforces_everything() {
        let probe = Probe {
            version: CgroupVersion::V2,
            reason: String::new(),
            cpu: true,
            cpu_account: true,
            memory: true,
            pids: true,
            idle: true,
            root: true,
            bounded: true,
        };
        for held in enforcement(&probe) {
            assert_eq!((held.level, held.reason.as_str()), (EnforcementLevel::Enforced, ""));
        }
    }

    #[test]
    fn what_does_not_hold_says_why() {
        let reason = "control groups cannot be written: run as root".to_owned();
        let probe = Probe { reason, bounded: true, ..Probe::default() };
        let held = enforcement(&probe);
        assert_eq!(held.len(), Control::ALL.len());
        for held in held {
            assert_ne!(held.level, EnforcementLevel::Enforced, "{}", held.control);
            assert!(held.reason.contains("root"), "{}: {}", held.control, held.reason);
        }
    }

    #[test]
    fn the_whole_machine_needs_no_group_to_hold_its_capacity() {
        let held = enforcement(&Probe::default());
        assert_eq!(held[0].control, Control::NodeCapacity);
        assert_eq!(held[0].level, EnforcementLevel::Enforced);
    }
}
