//! What a start is given besides its process: files, artifacts, templates, secrets. What needs
//! privilege comes first, while nobody else can enter the working directory; archives come last, and
//! are unpacked by the workload's own user.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tengyun_model::{Artifact, AssignedInstance, SecretName, SecretSpec, template};
use zeroize::Zeroizing;

use super::beneath::{Beneath, Owner};
use super::files::{self, FilesError, Filling};
use super::{RunError, RunKey, Runner};
use crate::roles::UNPACK;
use crate::roles::parent::{Input, Order, Role, Unwell};
use crate::shim::spec::Variable;

/// How long unpacking one archive may take.
const UNPACK_PATIENCE: Duration = Duration::from_mins(15);
/// How often its end is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Where a start works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Its working directory.
    pub(super) work: &'a Path,
    /// Whom it belongs to.
    pub(super) owner: Owner,
    /// Links below it, and where they lead.
    pub(super) links: &'a [(String, PathBuf)],
}

impl Runner {
    /// Fills the working directory and gives it to its owner.
    pub(super) fn provide(
        &self,
        key: RunKey,
        assigned: &AssignedInstance,
        place: Place<'_>,
        env: &[Variable],
    ) -> Result<(), RunError> {
        let Place { work, owner, links } = place;
        let spec = &assigned.spec;
        let top = files::open(work)?;
        files::write_all(&top, &spec.files, owner)?;
        files::link_all(&top, links, owner)?;
        let (archives, plain): (Vec<&Artifact>, Vec<&Artifact>) =
            spec.provision.artifacts.iter().partition(|artifact| artifact.unpack);
        for artifact in plain {
            files::copy(&top, artifact, &self.cache, owner)?;
        }
        let secrets = secrets_of(assigned);
        if !secrets.is_empty() {
            self.vault.give(key, &secrets, owner)?;
        }
        self.fill_in(key, assigned, (&top, owner), env)?;
        top.give(owner).map_err(|source| FilesError::Io { path: String::from("."), source })?;
        for artifact in archives {
            self.unpack(artifact, work, owner)?;
        }
        Ok(())
    }

    fn fill_in(
        &self,
        key: RunKey,
        assigned: &AssignedInstance,
        (top, owner): (&Beneath, Owner),
        env: &[Variable],
    ) -> Result<(), RunError> {
        let value = |name: &str| -> Option<Zeroizing<Vec<u8>>> {
            let department = assigned.spec.key.department.clone();
            let name = name.parse().ok()?;
            self.vault.value(&SecretName { department, name }).ok()
        };
        let filling = Filling { assigned, env, secret: &value };
        for (number, file) in assigned.spec.provision.templates.iter().enumerate() {
            let filled = filling.fill(file)?;
            if !template::holds_secret(&file.content) {
                files::write(top, file, &filled, owner)?;
                continue;
            }
            // What holds a secret is in memory only; the working directory has a link to it.
            let place = self.vault.give_filled(key, number, (&filled, file.mode), owner)?;
            let linked = top.symlink(&place, &file.path, owner);
            linked.map_err(|source| FilesError::Io { path: file.path.clone(), source })?;
        }
        Ok(())
    }

    /// Unpacks a fetched archive as the workload's user.
    fn unpack(&self, artifact: &Artifact, work: &Path, owner: Owner) -> Result<(), FilesError> {
        let archive = files::archive(artifact, &self.cache)?;
        let refuse = |reason| FilesError::Unpack { origin: artifact.origin.to_string(), reason };
        let role = Role::start(Order {
            program: &self.config.shim,
            role: UNPACK,
            user: owner,
            words: &[&artifact.to],
            dir: work,
            input: Input::File(archive),
        });
        let mut role = role.map_err(|e| refuse(format!("the role cannot be started: {e}")))?;
        let begin = Instant::now();
        loop {
            if self.leaving.load(Ordering::Relaxed) {
                return Err(refuse("the agent ended".to_owned()));
            }
            if begin.elapsed() > UNPACK_PATIENCE {
                return Err(refuse(format!("it took {} s", UNPACK_PATIENCE.as_secs())));
            }
            // It has no output but its end.
            let ended = role.wait_for_output(LOOK_AGAIN).and_then(|ready| {
                if ready { role.read(&mut [0]).map(|count| count == 0) } else { Ok(false) }
            });
            if ended.map_err(|e| refuse(format!("the role was lost: {e}")))? {
                break;
            }
        }
        role.end().map_err(|unwell| match unwell {
            Unwell::Again(why) | Unwell::Refused(why) => refuse(why),
        })
    }
}

/// Names the secrets of an instance.
fn secrets_of(assigned: &AssignedInstance) -> Vec<(SecretName, &SecretSpec)> {
    let department = &assigned.spec.key.department;
    let named = |secret: &'_ SecretSpec| SecretName {
        department: department.clone(),
        name: secret.from.clone(),
    };
    assigned.spec.provision.secrets.iter().map(|secret| (named(secret), secret)).collect()
}
