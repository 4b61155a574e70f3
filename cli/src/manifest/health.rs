//! Health checks and volumes: what an instance answers to, and what stays when it ends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use tengyun_model::{
    HealthCheck, HealthProbe, Mebibytes, Name, OnLost, OnUnhealthy, VolumeSpec, WorkloadSpec,
};

use super::amount::{Count, Seconds, Size};
use super::decode::{Decode, Place};
use super::fault::Faults;
use super::leaf::{NameText, RelativePath, RequestPath, Word};
use super::sentence::Sentence;

section! {
    /// How one learns that an instance is healthy: `http`, `tcp` or `command`, one of the three.
    HealthFields {
        /// A request that must be answered with a status from 200 to 399.
        http: Option<HttpCheck>;
        /// A port that must accept connections.
        tcp: Option<TcpCheck>;
        /// A command that must end with 0; it runs as the instance does, in its working directory.
        command: Option<Vec<Word>>;
        /// The time between two checks, in seconds.
        interval_s: Seconds = 10;
        /// How long an answer may take, in seconds.
        timeout_s: Seconds = 5;
        /// After how many successes in a row the instance is healthy.
        passes: Count = 1;
        /// After how many failures in a row the instance is not healthy.
        failures: Count = 3;
        /// What happens then: it is stopped and starts again, or it is only told.
        on_unhealthy: OnUnhealthyWord = "restart";
    }
}

section! {
    /// An HTTP request.
    HttpCheck {
        /// The name of the port.
        port: NameText;
        /// The path asked for.
        path: RequestPath = "/";
    }
}

section! {
    /// A TCP connection.
    TcpCheck {
        /// The name of the port.
        port: NameText;
    }
}

words! {
    /// What happens to an instance that is not healthy.
    OnUnhealthyWord(OnUnhealthy) {
        "restart" = OnUnhealthy::Restart;
        "report" = OnUnhealthy::Report;
    }
}

section! {
    /// A directory that stays on the node and keeps its instance there.
    Volume {
        /// What it is called.
        name: NameText;
        /// Where it appears, below the working directory.
        path: RelativePath;
        /// Its space, which counts as disk of the node; none counts when left out.
        size: Option<Size>;
    }
}

/// A health check of exactly one sort.
#[derive(Debug)]
pub(super) struct Health {
    fields: HealthFields,
    probe: HealthProbe,
}

impl Decode for Health {
    fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
        let mut fields = HealthFields::decode(place, faults)?;
        let probe = match (fields.http.take(), fields.tcp.take(), fields.command.take()) {
            (Some(http), None, None) => HealthProbe::Http { port: http.port.0, path: http.path.0 },
            (None, Some(tcp), None) => HealthProbe::Tcp { port: tcp.port.0 },
            (None, None, Some(words)) => {
                HealthProbe::Command(words.into_iter().map(|word| word.0).collect())
            }
            _ => {
                place.fault(Sentence::OneCheck {}, faults);
                return None;
            }
        };
        Some(Self { fields, probe })
    }
}

impl JsonSchema for Health {
    fn schema_name() -> Cow<'static, str> {
        "Health".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        HealthFields::json_schema(generator)
    }
}

impl Health {
    /// Makes the check of a specification.
    pub(super) fn check(self) -> HealthCheck {
        let count = |count: &Count| u32::try_from(count.0).unwrap_or(u32::MAX);
        HealthCheck {
            interval: self.fields.interval_s.0,
            timeout: self.fields.timeout_s.0,
            passes: count(&self.fields.passes),
            failures: count(&self.fields.failures),
            on_unhealthy: self.fields.on_unhealthy.0,
            probe: self.probe,
        }
    }
}

impl Volume {
    /// Makes the volume of a specification.
    pub(super) fn spec(self) -> VolumeSpec {
        let size = self.size.map_or(Mebibytes::ZERO, |size| size.0);
        VolumeSpec { name: self.name.0, path: self.path.0, size }
    }
}

/// Checks what health check and volumes must be beside the rest.
pub(super) fn check(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    if let Some(health) = &spec.health {
        check_health(health, spec, place, faults);
    }
    check_volumes(spec, place, faults);
}

fn check_health(health: &HealthCheck, spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let is_port = |name: &Name| spec.ports.iter().any(|port| port.name == *name);
    let (sort, port) = match &health.probe {
        HealthProbe::Http { port, .. } => ("http", port),
        HealthProbe::Tcp { port } => ("tcp", port),
        HealthProbe::Command(words) => {
            if words.first().is_none_or(String::is_empty) {
                let message = Sentence::BeginWithProgram { example: "[./check, --quick]" };
                place.fault_at(&["health", "command"], message, faults);
            }
            return check_times(health, place, faults);
        }
    };
    if !is_port(port) {
        place.fault_at(&["health", sort, "port"], Sentence::NameOneOfPorts {}, faults);
    }
    check_times(health, place, faults);
}

fn check_times(health: &HealthCheck, place: &Place<'_>, faults: &mut Faults) {
    for (field, time) in [("interval_s", health.interval), ("timeout_s", health.timeout)] {
        if time < tengyun_model::workload::HEALTH_TIME_MIN {
            place.fault_at(&["health", field], Sentence::AtLeast { least: "0.05" }, faults);
        }
    }
}

fn check_volumes(spec: &WorkloadSpec, place: &Place<'_>, faults: &mut Faults) {
    let mut names = BTreeMap::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let at = index.to_string();
        if let Some(first) = names.insert(&volume.name, index) {
            let message = Sentence::VolumeNameTaken { first };
            place.fault_at(&["volumes", &at], message, faults);
        }
        let files = spec.files.iter().map(|file| file.path.as_str());
        let others = spec.volumes.iter().take(index).map(|other| other.path.as_str());
        let meets = |path: &&str| tengyun_model::workload::paths_meet(path, &volume.path);
        if let Some(other) = files.chain(others).find(meets) {
            let message = Sentence::PathsMeet { other: other.to_owned() };
            place.fault_at(&["volumes", &at, "path"], message, faults);
        }
    }
    if !spec.volumes.is_empty() && spec.on_lost == OnLost::Restart {
        place.fault_at(&["on_lost"], Sentence::VolumesWait {}, faults);
    }
}
