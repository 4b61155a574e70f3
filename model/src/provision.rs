//! What an instance is given before it starts, besides its files: artifacts that are fetched,
//! templates that are filled in, and secrets by their names. A value of a secret is never here.

use std::fmt;

use crate::identity::Digest;
use crate::name::{DepartmentPath, Name};
use crate::workload::FileSpec;

/// The most artifacts of one workload.
pub const ARTIFACTS_MAX: usize = 32;
/// The most secrets of one workload: what an agent asks for at once stays within one message.
pub const SECRETS_MAX: usize = 32;

/// What an instance is given before it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provision {
    /// Files fetched to the node.
    pub artifacts: Vec<Artifact>,
    /// Files filled in at the start; their content is text with variables (see [`crate::template`]).
    pub templates: Vec<FileSpec>,
    /// Secrets of the department, by name.
    pub secrets: Vec<SecretSpec>,
}

impl Provision {
    /// Returns true when nothing is given.
    pub const fn is_empty(&self) -> bool {
        self.artifacts.is_empty() && self.templates.is_empty() && self.secrets.is_empty()
    }
}

/// A file fetched to the node before the start, known by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Where its bytes come from.
    pub origin: Origin,
    /// The SHA-256 of its bytes; other bytes are refused.
    pub digest: Digest,
    /// Where it is put below the working directory; empty is the directory itself, for an archive.
    pub to: String,
    /// The permission bits of a file that is not unpacked.
    pub mode: u32,
    /// Whether it is an archive to unpack.
    pub unpack: bool,
}

/// Where the bytes of an artifact come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A server, by `http://` or `https://`.
    Url(String),
    /// An absolute path on the node, read without privilege.
    Path(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(text) | Self::Path(text) => f.pad(text),
        }
    }
}

/// A secret that an instance is given as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSpec {
    /// Its name in the department's store.
    pub from: Name,
    /// The file, below the directory of the instance's secrets.
    pub path: String,
    /// The permission bits of that file.
    pub mode: u32,
}

/// Names one secret of one department.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    /// Whose it is.
    pub department: DepartmentPath,
    /// What it is called there.
    pub name: Name,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.department, self.name)
    }
}

impl std::str::FromStr for SecretName {
    type Err = crate::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (department, name) = text.rsplit_once('/').ok_or(Self::Err::BadDepth)?;
        Ok(Self { department: department.parse()?, name: name.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_by_its_department_and_a_name() {
        let name: SecretName = "city/finance/db-password".parse().unwrap();
        assert_eq!(name.department.as_str(), "city/finance");
        assert_eq!(name.to_string(), "city/finance/db-password");
        for bad in ["", "db-password", "/a", "a/", "a/../b", "A/b"] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad:?} passed");
        }
    }
}
