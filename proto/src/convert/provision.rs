//! What an instance is given before it starts, on the wire.

use tengyun_model::{Artifact, Digest, Origin, Provision, SecretName, SecretSpec};

use super::field::{list, parsed, text};
use super::workload::FILE_MODE_MAX;
use super::{ConvertError, ITEMS_MAX};
use crate::v1;
use crate::v1::artifact::Origin as Kind;

/// Takes the three lists of a specification.
pub(super) fn provision(wire: &mut v1::WorkloadSpec) -> Result<Provision, ConvertError> {
    Ok(Provision {
        artifacts: list("artifacts", std::mem::take(&mut wire.artifacts), ITEMS_MAX)?,
        templates: list("templates", std::mem::take(&mut wire.templates), ITEMS_MAX)?,
        secrets: list("secrets", std::mem::take(&mut wire.secrets), ITEMS_MAX)?,
    })
}

impl TryFrom<v1::Artifact> for Artifact {
    type Error = ConvertError;

    fn try_from(wire: v1::Artifact) -> Result<Self, ConvertError> {
        let origin = match wire.origin {
            Some(Kind::Url(url)) => Origin::Url(text("url", url)?),
            Some(Kind::Path(path)) => Origin::Path(text("path", path)?),
            None => return Err(ConvertError::new("", "must have either url or path")),
        };
        let digest = Digest::from_slice(&wire.sha256)
            .ok_or_else(|| ConvertError::new("sha256", "has not 32 bytes"))?;
        let to = text("to", wire.to)?;
        let whole = to.is_empty() && wire.unpack;
        Ok(Self {
            origin,
            digest,
            to: if whole { to } else { relative("to", to)? },
            mode: mode(wire.mode)?,
            unpack: wire.unpack,
        })
    }
}

impl From<&Artifact> for v1::Artifact {
    fn from(artifact: &Artifact) -> Self {
        let origin = match &artifact.origin {
            Origin::Url(url) => Kind::Url(url.clone()),
            Origin::Path(path) => Kind::Path(path.clone()),
        };
        Self {
            origin: Some(origin),
            sha256: artifact.digest.bytes().to_vec(),
            to: artifact.to.clone(),
            mode: artifact.mode,
            unpack: artifact.unpack,
        }
    }
}

impl TryFrom<v1::SecretSpec> for SecretSpec {
    type Error = ConvertError;

    fn try_from(wire: v1::SecretSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            from: parsed("from", &wire.from)?,
            path: relative("path", text("path", wire.path)?)?,
            mode: mode(wire.mode)?,
        })
    }
}

impl From<&SecretSpec> for v1::SecretSpec {
    fn from(secret: &SecretSpec) -> Self {
        Self { from: secret.from.to_string(), path: secret.path.clone(), mode: secret.mode }
    }
}

impl TryFrom<v1::SecretName> for SecretName {
    type Error = ConvertError;

    fn try_from(wire: v1::SecretName) -> Result<Self, ConvertError> {
        Ok(Self {
            department: parsed("department", &wire.department)?,
            name: parsed("name", &wire.name)?,
        })
    }
}

impl From<&SecretName> for v1::SecretName {
    fn from(name: &SecretName) -> Self {
        Self { department: name.department.to_string(), name: name.name.to_string() }
    }
}

fn relative(field: &str, path: String) -> Result<String, ConvertError> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(ConvertError::new(field, format!("{path:?} is not a plain relative path")));
    }
    Ok(path)
}

fn mode(mode: u32) -> Result<u32, ConvertError> {
    if mode > FILE_MODE_MAX {
        let problem = format!("{mode:#o} is above {FILE_MODE_MAX:#o}");
        return Err(ConvertError::new("mode", problem));
    }
    Ok(mode)
}
