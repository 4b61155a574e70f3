//! What a start is given: files, filled-in templates and fetched artifacts, written beneath its
//! working directory and nowhere else, before the directory is given to the workload's user.
//!
//! Invariant: whatever others do to the directory meanwhile, nothing is written outside
//! (`a_racer_in_the_working_directory_gets_nothing_written_outside`).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tengyun_model::{Artifact, AssignedInstance, FileSpec, WorkloadKey, template};
use zeroize::Zeroizing;

use super::beneath::{Beneath, Owner, parts};
use crate::artifacts::cache::Cache;
use crate::shim::spec::Variable;

/// How much of an artifact is copied at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Tells why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// The path does not stay beneath the working directory, or is no path.
    #[error("file path {path:?} is refused: {reason}")]
    Path {
        /// The path asked for.
        path: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The file system refused.
    #[error("cannot write file {path:?}")]
    Io {
        /// The path asked for.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A template names what the instance does not have.
    #[error("cannot fill in template {path:?}: {reason}")]
    Template {
        /// The path asked for.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// An artifact is not what it was when it was fetched.
    #[error("the copy of {origin} on this node was damaged; it is fetched again")]
    Damaged {
        /// Where it came from.
        origin: String,
    },
    /// An artifact was removed between fetching and starting.
    #[error("the copy of {origin} on this node is gone; it is fetched again")]
    Gone {
        /// Where it came from.
        origin: String,
        /// What the system said.
        source: io::Error,
    },
    /// An archive was not unpacked.
    #[error("cannot unpack {origin}: {reason}")]
    Unpack {
        /// Where it came from.
        origin: String,
        /// Why not.
        reason: String,
    },
}

/// Writes every file beneath an open directory.
pub(super) fn write_all(top: &Beneath, files: &[FileSpec], owner: Owner) -> Result<(), FilesError> {
    files.iter().try_for_each(|file| write(top, file, &file.content, owner))
}

/// Puts every link beneath an open directory.
pub(super) fn link_all(
    top: &Beneath,
    links: &[(String, PathBuf)],
    owner: Owner,
) -> Result<(), FilesError> {
    for (path, target) in links {
        check(path)?;
        top.symlink(target, path, owner).map_err(at(path))?;
    }
    Ok(())
}

/// Writes one file with this content.
pub(super) fn write(
    top: &Beneath,
    file: &FileSpec,
    content: &[u8],
    owner: Owner,
) -> Result<(), FilesError> {
    check(&file.path)?;
    let made = top.create(&file.path, file.mode, owner);
    made.and_then(|mut made| made.write_all(content)).map_err(at(&file.path))
}

/// Copies a fetched artifact to its place; its bytes are checked on the way.
pub(super) fn copy(
    top: &Beneath,
    artifact: &Artifact,
    cache: &Cache,
    owner: Owner,
) -> Result<(), FilesError> {
    check(&artifact.to)?;
    let mut from = fetched(artifact, cache)?;
    let mut to = top.create(&artifact.to, artifact.mode, owner).map_err(at(&artifact.to))?;
    pass(artifact, cache, &mut from, &mut to)
}

/// Opens a fetched archive whose bytes are right.
pub(super) fn archive(artifact: &Artifact, cache: &Cache) -> Result<File, FilesError> {
    let mut file = fetched(artifact, cache)?;
    pass(artifact, cache, &mut file, &mut io::sink())?;
    file.rewind().map_err(at(&artifact.to))?;
    Ok(file)
}

fn fetched(artifact: &Artifact, cache: &Cache) -> Result<File, FilesError> {
    let origin = || artifact.origin.to_string();
    cache.open_file(artifact.digest).map_err(|source| FilesError::Gone { origin: origin(), source })
}

/// Passes bytes on; when they are not those of the digest the copy is removed, so that the next start
/// fetches it again.
fn pass(
    artifact: &Artifact,
    cache: &Cache,
    from: &mut File,
    to: &mut impl io::Write,
) -> Result<(), FilesError> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut chunk).map_err(at(&artifact.to))?;
        let read = chunk.get(..count).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        digest.update(read);
        to.write_all(read).map_err(at(&artifact.to))?;
    }
    if digest.finalize().as_slice() == artifact.digest.bytes() {
        return Ok(());
    }
    cache.remove(artifact.digest);
    Err(FilesError::Damaged { origin: artifact.origin.to_string() })
}

/// Where the parts of a filled-in template come from.
pub(super) struct Filling<'a> {
    /// The instance.
    pub(super) assigned: &'a AssignedInstance,
    /// Its environment.
    pub(super) env: &'a [Variable],
    /// The values of its secrets, by their names in the department.
    pub(super) secret: &'a dyn Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
}

impl Filling<'_> {
    /// Fills in a template.
    pub(super) fn fill(&self, file: &FileSpec) -> Result<Zeroizing<Vec<u8>>, FilesError> {
        let wrong = |reason| FilesError::Template { path: file.path.clone(), reason };
        let parts = template::parts(&file.content).map_err(|e| wrong(e.to_string()))?;
        // A buffer that grew would leave copies behind that nobody overwrites.
        let mut pieces = Vec::with_capacity(parts.len());
        for part in parts {
            let piece = match part {
                template::Part::Text(text) => Zeroizing::new(text.as_bytes().to_vec()),
                template::Part::Variable(variable) => self
                    .value(variable)
                    .ok_or_else(|| wrong(format!("nothing is known of {variable:?}")))?,
            };
            pieces.push(piece);
        }
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        let mut filled = Zeroizing::new(Vec::with_capacity(bytes));
        for piece in &pieces {
            filled.extend_from_slice(piece);
        }
        Ok(filled)
    }

    fn value(&self, variable: template::Variable<'_>) -> Option<Zeroizing<Vec<u8>>> {
        use template::Variable as V;
        let key: &WorkloadKey = &self.assigned.spec.key;
        let text = match variable {
            V::Secret(name) => return (self.secret)(name),
            V::Port(name) => {
                let name = name.to_ascii_uppercase().replace('-', "_");
                return self.variable(&format!("PORT_{name}"));
            }
            V::Secrets => return self.variable("TENGYUN_SECRETS"),
            V::Node => return self.variable("TENGYUN_NODE"),
            V::Instance => self.assigned.instance.to_string(),
            V::Ordinal => self.assigned.ordinal.to_string(),
            V::Workload => key.to_string(),
            V::Name => key.name.to_string(),
            V::Application => key.application.to_string(),
            V::Department => key.department.to_string(),
        };
        Some(Zeroizing::new(text.into_bytes()))
    }

    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let found = self.env.iter().find(|variable| variable.name == name);
        found.map(|variable| Zeroizing::new(variable.value.clone().into_bytes()))
    }
}

fn check(path: &str) -> Result<(), FilesError> {
    let refuse = |reason| FilesError::Path { path: path.to_owned(), reason };
    parts(path).map(drop).map_err(refuse)
}

fn at(path: &str) -> impl Fn(io::Error) -> FilesError + '_ {
    move |source| FilesError::Io { path: path.to_owned(), source }
}

/// Opens a working directory to write beneath it.
pub(super) fn open(work: &Path) -> Result<Beneath, FilesError> {
    Beneath::open(work).map_err(at("."))
}

#[cfg(test)]
mod tests;
