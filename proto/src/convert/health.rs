//! Health checks, volumes and copies on the wire.

use tengyun_model::workload::COMMAND_WORDS_MAX;
use tengyun_model::{
    CopyKey, HealthCheck, HealthProbe, Mebibytes, Millis, OnUnhealthy, VolumeSpec,
};

use super::ConvertError;
use super::field::{count, message, parsed, text, without_zero};
use super::workload::relative;
use crate::v1;
use crate::v1::health_check::Probe;

impl TryFrom<Probe> for HealthProbe {
    type Error = ConvertError;

    fn try_from(wire: Probe) -> Result<Self, ConvertError> {
        Ok(match wire {
            Probe::Http(http) => {
                let path = text("http.path", http.path)?;
                // It becomes a line of a request.
                if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
                    let problem = "must begin with a slash and be printable, without spaces";
                    return Err(ConvertError::new("http.path", problem));
                }
                Self::Http { port: parsed("http.port", &http.port)?, path }
            }
            Probe::Tcp(tcp) => Self::Tcp { port: parsed("tcp.port", &tcp.port)? },
            Probe::Command(command) => {
                count("command", command.command.len(), COMMAND_WORDS_MAX)?;
                let words = command.command.into_iter();
                let words: Result<_, _> = words.map(|w| without_zero("command", w)).collect();
                Self::Command(words?)
            }
        })
    }
}

impl From<&HealthProbe> for Probe {
    fn from(probe: &HealthProbe) -> Self {
        match probe {
            HealthProbe::Http { port, path } => {
                Self::Http(v1::HttpProbe { port: port.to_string(), path: path.clone() })
            }
            HealthProbe::Tcp { port } => Self::Tcp(v1::TcpProbe { port: port.to_string() }),
            HealthProbe::Command(words) => {
                Self::Command(v1::CommandProbe { command: words.clone() })
            }
        }
    }
}

impl TryFrom<v1::HealthCheck> for HealthCheck {
    type Error = ConvertError;

    fn try_from(wire: v1::HealthCheck) -> Result<Self, ConvertError> {
        let on_unhealthy = match v1::OnUnhealthy::try_from(wire.on_unhealthy) {
            Ok(v1::OnUnhealthy::Unspecified | v1::OnUnhealthy::Restart) => OnUnhealthy::Restart,
            Ok(v1::OnUnhealthy::Report) => OnUnhealthy::Report,
            Err(_) => {
                let problem = format!("{} is not known here", wire.on_unhealthy);
                return Err(ConvertError::new("on_unhealthy", problem));
            }
        };
        Ok(Self {
            probe: message("probe", wire.probe)?,
            interval: Millis::new(wire.interval_millis),
            timeout: Millis::new(wire.timeout_millis),
            passes: wire.passes,
            failures: wire.failures,
            on_unhealthy,
        })
    }
}

impl From<&HealthCheck> for v1::HealthCheck {
    fn from(check: &HealthCheck) -> Self {
        Self {
            probe: Some((&check.probe).into()),
            interval_millis: check.interval.get(),
            timeout_millis: check.timeout.get(),
            passes: check.passes,
            failures: check.failures,
            on_unhealthy: match check.on_unhealthy {
                OnUnhealthy::Restart => v1::OnUnhealthy::Restart,
                OnUnhealthy::Report => v1::OnUnhealthy::Report,
            }
            .into(),
        }
    }
}

impl TryFrom<v1::VolumeSpec> for VolumeSpec {
    type Error = ConvertError;

    fn try_from(wire: v1::VolumeSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            name: parsed("name", &wire.name)?,
            path: relative("path", wire.path)?,
            size: Mebibytes::new(wire.size_mib),
        })
    }
}

impl From<&VolumeSpec> for v1::VolumeSpec {
    fn from(volume: &VolumeSpec) -> Self {
        Self {
            name: volume.name.to_string(),
            path: volume.path.clone(),
            size_mib: volume.size.get(),
        }
    }
}

impl TryFrom<v1::CopyKey> for CopyKey {
    type Error = ConvertError;

    fn try_from(wire: v1::CopyKey) -> Result<Self, ConvertError> {
        Ok(Self { workload: message("workload", wire.workload)?, ordinal: wire.ordinal })
    }
}

impl From<&CopyKey> for v1::CopyKey {
    fn from(copy: &CopyKey) -> Self {
        Self { workload: Some((&copy.workload).into()), ordinal: copy.ordinal }
    }
}
