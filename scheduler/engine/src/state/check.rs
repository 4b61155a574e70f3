//! Validation: whether a command can be accepted, asked before it is journaled.

mod calendar;

use std::collections::BTreeSet;

use tengyun_model::workload::{
    COMMAND_WORDS_MAX, HEALTH_TIME_MIN, INSTANCES_MAX, SPEC_BYTES_MAX, VOLUMES_MAX, paths_meet,
};
use tengyun_model::{FileSpec, HealthProbe, NodeFacts, NodeId, OnLost, OperationId, WorkloadSpec};

use super::policies::check_label;
use super::{NODES_MAX, State, TOTAL_INSTANCES_MAX, WORKLOADS_MAX};
use crate::command::{Command, Fixed, Many, Refusal};
use crate::days;
use crate::image::WorkloadWish;
use crate::policy::Policy;

/// The highest classic signal; real-time signals mean nothing to most programs.
const SIGNAL_MAX: i32 = 31;
/// The permission bits of a file: no set-user-id, no set-group-id, no sticky bit.
const MODE_MAX: u32 = 0o777;

impl State {
    /// Says whether the state would accept a command now.
    pub fn validate(&self, command: &Command) -> Result<(), Refusal> {
        self.check_operation(command)?;
        match command {
            Command::BeginEpoch
            | Command::CommitPlan(_)
            | Command::Watch
            | Command::Restore { .. }
            | Command::SettleRestore(_)
            | Command::JudgeRollout { .. }
            | Command::FireRun { .. }
            | Command::NoteWindows(_) => Ok(()),
            Command::NoteDays(stretches) => days::check(stretches),
            Command::ConfirmRestore { operation } => {
                let waits = || self.restored.as_ref().map(drop).ok_or(Refusal::NotRestored);
                self.check_wish(*operation, waits)
            }
            Command::ForgetNode { operation, node, proof } => {
                self.check_wish(*operation, || self.check_forget(*node, *proof))
            }
            Command::RegisterNode(facts) => self.check_facts(facts),
            Command::ApplyWorkload { spec, .. } => self.check_apply(spec),
            Command::MoveInstance { operation, instance, to } => {
                self.check_wish(*operation, || self.wished_move(*instance, *to).map(drop))
            }
            Command::AcknowledgeLoss { nodes, .. } if nodes.is_empty() => {
                Err(Refusal::NobodySilent)
            }
            Command::AcknowledgeLoss { nodes, .. } => {
                nodes.iter().try_for_each(|node| self.check_node(*node))
            }
            Command::StopWorkload { operation, key }
            | Command::DeleteWorkload { operation, key }
            | Command::ReleaseWorkload { operation, key } => {
                // A repeated wish was checked when it came first.
                let known = self.operations.contains_key(operation) || self.keys.contains_key(key);
                if known { Ok(()) } else { Err(Refusal::UnknownWorkload(key.clone())) }
            }
            Command::SetPolicy { values, label, .. } => {
                check_label(label)?;
                Policy::new(values.clone()).map(drop)
            }
            Command::CreateToken { token, .. } => self.members.check_create(*token),
            Command::RedeemToken { token, member, key } => {
                self.check_redeem(*token, member, *key).map(drop)
            }
            Command::SteerRollout { operation, key, steer } => {
                self.check_wish(*operation, || self.check_steer(key, *steer).map(drop))
            }
            Command::RevokeMember { member, .. } => self.members.check_revoke(member),
            Command::DeleteVolumes { .. } | Command::ForgetVolumes { .. } => {
                self.check_volumes(command)
            }
            Command::ObserveInstances { node, .. }
            | Command::AcknowledgeMeters { node, .. }
            | Command::ReportUsage { node, .. }
            | Command::ReportHistory { node, .. }
            | Command::SetNodeWish { node, .. }
            | Command::ConnectNode(node)
            | Command::DisconnectNode(node)
            | Command::DeclareLost(node)
            | Command::DeclareReturned(node) => self.check_node(*node),
        }
    }

    /// Checks a wish unless it was carried out before: a repeated one was checked when it came first.
    fn check_wish(
        &self,
        operation: OperationId,
        check: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if self.operations.contains_key(&operation) { Ok(()) } else { check() }
    }

    pub(super) fn check_node(&self, node: NodeId) -> Result<(), Refusal> {
        if self.nodes.contains_key(&node) { Ok(()) } else { Err(Refusal::UnknownNode(node)) }
    }

    fn check_facts(&self, facts: &NodeFacts) -> Result<(), Refusal> {
        if !self.names.contains_key(&facts.name) {
            at_most(Many::Nodes, NODES_MAX, self.nodes.len())?;
        }
        if facts.capacity.cpu.is_zero() || facts.capacity.memory.is_zero() {
            return Err(bad("capacity", "more than nothing"));
        }
        Ok(())
    }

    fn check_apply(&self, spec: &WorkloadSpec) -> Result<(), Refusal> {
        check_spec(spec)?;
        self.check_circle(spec)?;
        let Some(held) = self.workload_keyed(&spec.key) else {
            at_most(Many::Workloads, WORKLOADS_MAX, self.workloads.len())?;
            return at_most(Many::Instances, TOTAL_INSTANCES_MAX, self.instances.len());
        };
        if held.wish == WorkloadWish::Delete {
            return Err(Refusal::Deleting(spec.key.clone()));
        }
        let before = &held.revisions[&held.revision];
        if before.kind != spec.kind {
            return Err(Refusal::Immutable(Fixed::Kind));
        }
        if before.class != spec.class {
            return Err(Refusal::Immutable(Fixed::Class));
        }
        at_most(Many::Instances, TOTAL_INSTANCES_MAX, self.instances.len())
    }
}

fn at_most(what: Many, limit: u64, present: usize) -> Result<(), Refusal> {
    let present = u64::try_from(present).unwrap_or(u64::MAX);
    if present < limit { Ok(()) } else { Err(Refusal::TooMany { what, limit }) }
}

pub(super) fn bad(field: &'static str, expected: &str) -> Refusal {
    Refusal::BadField { field, expected: expected.to_owned() }
}

/// Checks everything about a specification that needs no state.
fn check_spec(spec: &WorkloadSpec) -> Result<(), Refusal> {
    calendar::check(spec)?;
    if spec.instances > INSTANCES_MAX {
        return Err(bad("instances", &format!("at most {INSTANCES_MAX}")));
    }
    check_command(spec)?;
    check_env(spec)?;
    check_files(&spec.files)?;
    super::provision::check(spec)?;
    check_resources(spec)?;
    check_size(spec)?;
    check_health(spec)?;
    check_volumes(spec)?;
    if !(1..=SIGNAL_MAX).contains(&spec.stop.signal) {
        return Err(bad("stop.signal", "a signal from 1 to 31"));
    }
    if spec.user.as_ref().is_some_and(|u| u.is_empty() || u.contains(['\0', ':', '\n'])) {
        return Err(bad("user", "the name of a user"));
    }
    Ok(())
}

fn check_command(spec: &WorkloadSpec) -> Result<(), Refusal> {
    let words = &spec.command;
    if words.first().is_none_or(String::is_empty) {
        return Err(bad("command", "a program and its arguments"));
    }
    if words.len() > COMMAND_WORDS_MAX {
        return Err(bad("command", &format!("at most {COMMAND_WORDS_MAX} words")));
    }
    if words.iter().any(|w| w.contains('\0')) {
        return Err(bad("command", "free of NUL characters"));
    }
    Ok(())
}

fn check_env(spec: &WorkloadSpec) -> Result<(), Refusal> {
    for (name, value) in &spec.env {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !first || !rest {
            return Err(bad("env", "named by letters, digits and underscores"));
        }
        if name.starts_with("LD_") || name.starts_with("TENGYUN_") {
            return Err(bad("env", "free of LD_* and TENGYUN_*"));
        }
        if value.contains('\0') {
            return Err(bad("env", "free of NUL characters"));
        }
    }
    Ok(())
}

fn check_files(files: &[FileSpec]) -> Result<(), Refusal> {
    let mut paths = BTreeSet::new();
    for file in files {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !file.path.split('/').all(plain) || file.path.contains('\0') {
            return Err(bad("files.path", "relative, below the working directory, without .."));
        }
        if !paths.insert(file.path.as_str()) {
            return Err(bad("files.path", "different for each file"));
        }
        if file.mode > MODE_MAX {
            return Err(bad("files.mode", "at most 0777"));
        }
    }
    let inside = |path: &&str| {
        path.match_indices('/').any(|(at, _)| path.get(..at).is_some_and(|p| paths.contains(p)))
    };
    if paths.iter().any(inside) {
        return Err(bad("files.path", "a file or a folder, not both"));
    }
    Ok(())
}

fn check_resources(spec: &WorkloadSpec) -> Result<(), Refusal> {
    let resources = &spec.resources;
    if resources.memory.is_zero() {
        return Err(bad("resources.memory", "at least 1 MiB"));
    }
    if resources.pids == 0 {
        return Err(bad("resources.pids", "at least 1"));
    }
    if resources.cpu_limit.is_some_and(|limit| limit.is_zero() || limit < resources.cpu) {
        return Err(bad("resources.cpu_limit", "at least resources.cpu and more than nothing"));
    }
    let mut numbers = BTreeSet::new();
    let mut names = BTreeSet::new();
    for port in &spec.ports {
        let fresh = port.number.is_none_or(|number| number != 0 && numbers.insert(number));
        if !fresh || !names.insert(&port.name) {
            return Err(bad("ports", "different numbers from 1 to 65535 with different names"));
        }
    }
    Ok(())
}

fn check_health(spec: &WorkloadSpec) -> Result<(), Refusal> {
    let Some(health) = &spec.health else { return Ok(()) };
    match &health.probe {
        HealthProbe::Http { port, .. } | HealthProbe::Tcp { port } => {
            if spec.ports.iter().all(|known| known.name != *port) {
                return Err(bad("health", "about a port of the workload"));
            }
        }
        HealthProbe::Command(words) => {
            if words.first().is_none_or(String::is_empty) || words.len() > COMMAND_WORDS_MAX {
                return Err(bad("health.command", "a program and its arguments"));
            }
        }
    }
    if health.interval < HEALTH_TIME_MIN || health.timeout < HEALTH_TIME_MIN {
        return Err(bad("health.interval_s and health.timeout_s", "at least 0.05"));
    }
    if health.passes == 0 || health.failures == 0 {
        return Err(bad("health.passes and health.failures", "at least 1"));
    }
    Ok(())
}

fn check_volumes(spec: &WorkloadSpec) -> Result<(), Refusal> {
    if spec.volumes.len() > VOLUMES_MAX {
        return Err(bad("volumes", &format!("at most {VOLUMES_MAX}")));
    }
    let mut names = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        if !names.insert(&volume.name) {
            return Err(bad("volumes.name", "different for each volume"));
        }
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !volume.path.split('/').all(plain) || volume.path.contains('\0') {
            return Err(bad("volumes.path", "relative, below the working directory, without .."));
        }
        let files = spec.files.iter().map(|file| &file.path);
        let mut others = files.chain(spec.volumes.iter().take(index).map(|other| &other.path));
        if others.any(|path| paths_meet(path, &volume.path)) {
            return Err(bad("volumes.path", "different from other volumes and from files"));
        }
    }
    if !spec.volumes.is_empty() && spec.on_lost == OnLost::Restart {
        return Err(bad("on_lost", "wait: what has volumes starts nowhere else"));
    }
    Ok(())
}

fn check_size(spec: &WorkloadSpec) -> Result<(), Refusal> {
    let words: usize = spec.command.iter().map(String::len).sum();
    let env: usize = spec.env.iter().map(|(n, v)| n.len() + v.len()).sum();
    let files = spec.files.iter().chain(&spec.provision.templates);
    let files: usize = files.map(|f| f.path.len() + f.content.len()).sum();
    if words + env + files > SPEC_BYTES_MAX {
        let expected = format!("at most {SPEC_BYTES_MAX} bytes together");
        return Err(Refusal::BadField { field: "command, env and files", expected });
    }
    Ok(())
}
