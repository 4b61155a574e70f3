//! A workload's specification on the wire.

use tengyun_model::workload::{COMMAND_WORDS_MAX, INSTANCES_MAX, SPEC_BYTES_MAX};
use tengyun_model::{
    Constraints, FileSpec, Mebibytes, Millicores, Millis, OnLost, PortSpec, Resources, Restart,
    Stop, WorkloadKey, WorkloadSpec,
};

use super::calendar::{rollout, rollout_to_wire};
use super::field::{count, keyed, list, message, parsed, text, texts, without_zero, word};
use super::provision::provision;
use super::{ConvertError, ITEMS_MAX};
use crate::v1;

/// The highest number of a Linux signal.
const SIGNAL_MAX: i32 = 64;
/// The permission bits a file may have: no setuid, setgid or sticky bit.
pub(super) const FILE_MODE_MAX: u32 = 0o777;

impl TryFrom<v1::WorkloadKey> for WorkloadKey {
    type Error = ConvertError;

    fn try_from(wire: v1::WorkloadKey) -> Result<Self, ConvertError> {
        Ok(Self {
            department: parsed("department", &wire.department)?,
            application: parsed("application", &wire.application)?,
            name: parsed("name", &wire.name)?,
        })
    }
}

impl From<&WorkloadKey> for v1::WorkloadKey {
    fn from(key: &WorkloadKey) -> Self {
        Self {
            department: key.department.to_string(),
            application: key.application.to_string(),
            name: key.name.to_string(),
        }
    }
}

impl TryFrom<v1::FileSpec> for FileSpec {
    type Error = ConvertError;

    fn try_from(wire: v1::FileSpec) -> Result<Self, ConvertError> {
        let path = relative("path", wire.path)?;
        if wire.mode > FILE_MODE_MAX {
            let problem = format!("{:#o} is above {FILE_MODE_MAX:#o}", wire.mode);
            return Err(ConvertError::new("mode", problem));
        }
        Ok(Self { path, content: wire.content, mode: wire.mode })
    }
}

/// Checks a path that stays below where it starts.
pub(super) fn relative(field: &str, path: String) -> Result<String, ConvertError> {
    let path = text(field, path)?;
    if path.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        return Ok(path);
    }
    let problem = format!("{path:?} is not a plain relative path");
    Err(ConvertError::new(field, problem))
}

impl From<&FileSpec> for v1::FileSpec {
    fn from(file: &FileSpec) -> Self {
        Self { path: file.path.clone(), content: file.content.clone(), mode: file.mode }
    }
}

impl TryFrom<v1::PortSpec> for PortSpec {
    type Error = ConvertError;

    fn try_from(wire: v1::PortSpec) -> Result<Self, ConvertError> {
        let number = u16::try_from(wire.number)
            .map_err(|_| ConvertError::new("number", format!("{} is not a port", wire.number)))?;
        Ok(Self { name: parsed("name", &wire.name)?, number: Some(number).filter(|n| *n != 0) })
    }
}

impl From<&PortSpec> for v1::PortSpec {
    fn from(port: &PortSpec) -> Self {
        Self { name: port.name.to_string(), number: port.number.map_or(0, u32::from) }
    }
}

impl TryFrom<v1::Resources> for Resources {
    type Error = ConvertError;

    fn try_from(wire: v1::Resources) -> Result<Self, ConvertError> {
        Ok(Self {
            cpu: Millicores::new(wire.cpu_millicores),
            cpu_limit: wire.cpu_limit_millicores.map(Millicores::new),
            memory: Mebibytes::new(wire.memory_mib),
            disk: Mebibytes::new(wire.disk_mib),
            pids: wire.pids,
        })
    }
}

impl From<&Resources> for v1::Resources {
    fn from(resources: &Resources) -> Self {
        Self {
            cpu_millicores: resources.cpu.get(),
            cpu_limit_millicores: resources.cpu_limit.map(Millicores::get),
            memory_mib: resources.memory.get(),
            disk_mib: resources.disk.get(),
            pids: resources.pids,
        }
    }
}

impl TryFrom<v1::Constraints> for Constraints {
    type Error = ConvertError;

    fn try_from(wire: v1::Constraints) -> Result<Self, ConvertError> {
        Ok(Self {
            labels: texts("labels", wire.labels, ITEMS_MAX)?,
            spread: wire.spread.map(|label| text("spread", label)).transpose()?,
            anti_affinity: list("anti_affinity", wire.anti_affinity, ITEMS_MAX)?,
        })
    }
}

impl From<&Constraints> for v1::Constraints {
    fn from(constraints: &Constraints) -> Self {
        Self {
            labels: constraints.labels.clone(),
            spread: constraints.spread.clone(),
            anti_affinity: constraints.anti_affinity.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Restart> for Restart {
    type Error = ConvertError;

    fn try_from(wire: v1::Restart) -> Result<Self, ConvertError> {
        Ok(Self {
            mode: word::<v1::RestartMode, _>("mode", wire.mode)?,
            backoff: Millis::new(wire.backoff_millis),
            backoff_max: Millis::new(wire.backoff_max_millis),
        })
    }
}

impl From<&Restart> for v1::Restart {
    fn from(restart: &Restart) -> Self {
        Self {
            mode: v1::RestartMode::from(restart.mode).into(),
            backoff_millis: restart.backoff.get(),
            backoff_max_millis: restart.backoff_max.get(),
        }
    }
}

impl TryFrom<v1::Stop> for Stop {
    type Error = ConvertError;

    fn try_from(wire: v1::Stop) -> Result<Self, ConvertError> {
        if !(1..=SIGNAL_MAX).contains(&wire.signal) {
            let problem = format!("{} is not a signal", wire.signal);
            return Err(ConvertError::new("signal", problem));
        }
        Ok(Self { signal: wire.signal, grace: Millis::new(wire.grace_millis) })
    }
}

impl From<&Stop> for v1::Stop {
    fn from(stop: &Stop) -> Self {
        Self { signal: stop.signal, grace_millis: stop.grace.get() }
    }
}

impl TryFrom<v1::WorkloadSpec> for WorkloadSpec {
    type Error = ConvertError;

    fn try_from(mut wire: v1::WorkloadSpec) -> Result<Self, ConvertError> {
        check_sizes(&wire)?;
        check_env(&wire)?;
        let provision = provision(&mut wire)?;
        Ok(Self {
            key: message("key", wire.key)?,
            kind: word::<v1::Kind, _>("kind", wire.kind)?,
            class: word::<v1::Class, _>("class", wire.class)?,
            command: words(wire.command)?,
            files: list("files", wire.files, ITEMS_MAX)?,
            env: wire.env,
            user: wire.user.map(|user| text("user", user)).transpose()?,
            ports: list("ports", wire.ports, ITEMS_MAX)?,
            resources: message("resources", wire.resources)?,
            counted: keyed("counted", wire.counted, ITEMS_MAX)?,
            constraints: message("constraints", wire.constraints)?,
            instances: wire.instances,
            restart: message("restart", wire.restart)?,
            stop: message("stop", wire.stop)?,
            move_policy: word::<v1::MovePolicy, _>("move_policy", wire.move_policy)?,
            startup: Millis::new(wire.startup_millis),
            on_lost: on_lost(wire.on_lost)?,
            provision,
            health: wire.health.map(|health| message("health", Some(health))).transpose()?,
            volumes: list("volumes", wire.volumes, ITEMS_MAX)?,
            rollout: rollout(wire.rollout)?,
            schedule: wire.schedule.map(|s| message("schedule", Some(s))).transpose()?,
            window: wire.window.map(|w| message("window", Some(w))).transpose()?,
            depends_on: list("depends_on", wire.depends_on, ITEMS_MAX)?,
            gang: wire.gang,
        })
    }
}

impl From<&WorkloadSpec> for v1::WorkloadSpec {
    fn from(spec: &WorkloadSpec) -> Self {
        Self {
            key: Some((&spec.key).into()),
            kind: v1::Kind::from(spec.kind).into(),
            class: v1::Class::from(spec.class).into(),
            command: spec.command.clone(),
            files: spec.files.iter().map(Into::into).collect(),
            env: spec.env.clone(),
            user: spec.user.clone(),
            ports: spec.ports.iter().map(Into::into).collect(),
            resources: Some((&spec.resources).into()),
            counted: spec.counted.iter().map(|(name, n)| (name.to_string(), *n)).collect(),
            constraints: Some((&spec.constraints).into()),
            instances: spec.instances,
            restart: Some((&spec.restart).into()),
            stop: Some((&spec.stop).into()),
            move_policy: v1::MovePolicy::from(spec.move_policy).into(),
            startup_millis: spec.startup.get(),
            on_lost: match spec.on_lost {
                // As older versions wrote it, so that equal specifications have equal bytes.
                OnLost::Wait => v1::OnLost::Unspecified,
                OnLost::Restart => v1::OnLost::Restart,
            }
            .into(),
            artifacts: spec.provision.artifacts.iter().map(Into::into).collect(),
            templates: spec.provision.templates.iter().map(Into::into).collect(),
            secrets: spec.provision.secrets.iter().map(Into::into).collect(),
            health: spec.health.as_ref().map(Into::into),
            volumes: spec.volumes.iter().map(Into::into).collect(),
            rollout: rollout_to_wire(spec.rollout),
            schedule: spec.schedule.as_ref().map(Into::into),
            window: spec.window.as_ref().map(Into::into),
            depends_on: spec.depends_on.iter().map(Into::into).collect(),
            gang: spec.gang,
        }
    }
}

/// Before there was a choice an instance waited.
fn on_lost(wire: i32) -> Result<OnLost, ConvertError> {
    match v1::OnLost::try_from(wire) {
        Ok(v1::OnLost::Unspecified | v1::OnLost::Wait) => Ok(OnLost::Wait),
        Ok(v1::OnLost::Restart) => Ok(OnLost::Restart),
        Err(_) => Err(ConvertError::new("on_lost", format!("{wire} is not known here"))),
    }
}

fn check_sizes(wire: &v1::WorkloadSpec) -> Result<(), ConvertError> {
    count("command", wire.command.len(), COMMAND_WORDS_MAX)?;
    count("env", wire.env.len(), ITEMS_MAX)?;
    if wire.instances > INSTANCES_MAX {
        let problem = format!("{} is above {INSTANCES_MAX}", wire.instances);
        return Err(ConvertError::new("instances", problem));
    }
    let command: usize = wire.command.iter().map(String::len).sum();
    let env: usize = wire.env.iter().map(|(name, value)| name.len() + value.len()).sum();
    let files = wire.files.iter().chain(&wire.templates);
    let files: usize = files.map(|file| file.content.len()).sum();
    let health = wire.health.as_ref().map_or(0, prost::Message::encoded_len);
    let bytes = command + env + files + health;
    if bytes > SPEC_BYTES_MAX {
        let problem = format!(
            "its words, environment and files have {bytes} bytes, at most {SPEC_BYTES_MAX} are \
             allowed"
        );
        return Err(ConvertError::new("command", problem));
    }
    Ok(())
}

fn check_env(wire: &v1::WorkloadSpec) -> Result<(), ConvertError> {
    for (name, value) in &wire.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(ConvertError::new("env", format!("{name:?} is not a variable's name")));
        }
        if value.contains('\0') {
            return Err(ConvertError::new("env", format!("{name:?} holds a zero byte")));
        }
    }
    Ok(())
}

fn words(wire: Vec<String>) -> Result<Vec<String>, ConvertError> {
    wire.into_iter()
        .enumerate()
        .map(|(i, each)| without_zero(&format!("command[{i}]"), each))
        .collect()
}
