//! The vault: the values of secrets on this node, in memory only: a file system of the kernel that no
//! disk is behind. Nothing else of the agent keeps a value for longer than it takes to put it there.
//!
//! `held/` has what was handed to the node, for the agent alone, so that an instance can start again
//! while the scheduler is away. Beside it each start has a directory with the files that its user
//! may read. All of it is gone with a restart of the server.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::Uid;
use tengyun_model::{SecretName, SecretSpec};
use tengyun_proto::secret::SECRET_BYTES_MAX;
use tengyun_proto::token::sha256;
use zeroize::Zeroizing;

use super::RunKey;
use super::beneath::{Beneath, Owner};

/// The most memory that all values of a node take.
const BYTES_MAX: &str = "size=64m,nr_inodes=65536,mode=0711";
/// What was handed to the node.
const HELD: &str = "held";
/// The files of one start that are secrets.
const FILES: &str = "secrets";
/// The files of one start that hold secrets: templates that were filled in.
const FILLED: &str = "filled";

/// Tells why a secret cannot be kept or given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// There is no place for values that is not on a disk.
    #[error(
        "this node cannot keep secrets: {} is on a disk; mount a tmpfs there, or start the agent \
         with --secrets-dir on one", path.display()
    )]
    NotMemory {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else made the directory.
    #[error("this node cannot keep secrets: {} belongs to another user", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {what} in {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A value is not there.
    #[error("the secret {0} is not held by this node")]
    Missing(SecretName),
}

/// A value on its way into the vault.
pub(crate) struct HandedSecret {
    /// Its name.
    pub(crate) name: SecretName,
    /// The value.
    pub(crate) value: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for HandedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The vault of one node; its directory is made when the first secret comes.
#[derive(Clone, Debug)]
pub(crate) struct Vault {
    dir: PathBuf,
    root: bool,
    ready: Arc<Mutex<bool>>,
}

impl Vault {
    /// Names the directory; nothing is made yet.
    pub(crate) fn new(dir: PathBuf, root: bool) -> Self {
        Self { dir, root, ready: Arc::default() }
    }

    /// Returns the directory of one start's secrets.
    pub(super) fn files(&self, key: RunKey) -> PathBuf {
        self.dir.join(key.to_string()).join(FILES)
    }

    /// Keeps what was handed to the node.
    pub(super) fn hold(&self, secrets: &[HandedSecret]) -> Result<(), VaultError> {
        self.prepare()?;
        for secret in secrets {
            let path = self.held(&secret.name);
            let new = path.with_extension("new");
            let written = remove(&new).and_then(|()| {
                let mut options = fs::OpenOptions::new();
                let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
                file.write_all(&secret.value)?;
                fs::rename(&new, &path)
            });
            written.map_err(failed("keep a secret", &path))?;
        }
        Ok(())
    }

    /// Says which of these are not held.
    pub(super) fn missing(&self, names: Vec<SecretName>) -> Vec<SecretName> {
        names.into_iter().filter(|name| !self.held(name).exists()).collect()
    }

    /// Forgets one that the scheduler no longer has for this node.
    pub(super) fn forget(&self, name: &SecretName) {
        drop(remove(&self.held(name)));
    }

    /// Forgets all but these.
    pub(super) fn retain(&self, names: &BTreeSet<SecretName>) {
        let wanted: BTreeSet<PathBuf> = names.iter().map(|name| self.held(name)).collect();
        let entries = fs::read_dir(self.dir.join(HELD)).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| !wanted.contains(path)) {
            drop(remove(&path));
        }
    }

    /// Reads a value.
    pub(super) fn value(&self, name: &SecretName) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let path = self.held(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VaultError::Missing(name.clone()));
            }
            other => other.map_err(failed("read a secret", &path))?,
        };
        // As large as it can be from the start: a buffer that grew would leave copies behind.
        let mut value = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
        let bound = u64::try_from(SECRET_BYTES_MAX).expect("64 KiB fit");
        file.take(bound).read_to_end(&mut value).map_err(failed("read a secret", &path))?;
        Ok(value)
    }

    /// Gives a start its secrets, each as a file of its user.
    pub(super) fn give(
        &self,
        key: RunKey,
        secrets: &[(SecretName, &SecretSpec)],
        owner: Owner,
    ) -> Result<(), VaultError> {
        self.prepare()?;
        let dir = self.make(key, FILES)?;
        let top = Beneath::open(&dir).map_err(failed("open the directory", &dir))?;
        for (name, spec) in secrets {
            let value = self.value(name)?;
            let made = top.create(&spec.path, spec.mode, owner);
            let written = made.and_then(|mut file| file.write_all(&value));
            written.map_err(failed("write a secret", &dir))?;
        }
        close_to(&dir, owner).map_err(failed("close the directory", &dir))
    }

    /// Gives a start a file that holds secrets; returns where it is.
    pub(super) fn give_filled(
        &self,
        key: RunKey,
        number: usize,
        (content, mode): (&[u8], u32),
        owner: Owner,
    ) -> Result<PathBuf, VaultError> {
        self.prepare()?;
        let dir = self.make(key, FILLED)?;
        let top = Beneath::open(&dir).map_err(failed("open the directory", &dir))?;
        // Others may read a template; nobody else may read a secret.
        let made = top.create(&number.to_string(), mode & 0o700, owner);
        made.and_then(|mut file| file.write_all(content)).map_err(failed("write a file", &dir))?;
        close_to(&dir, owner).map_err(failed("close the directory", &dir))?;
        Ok(dir.join(number.to_string()))
    }

    /// Removes what a start was given.
    pub(super) fn remove(&self, key: RunKey) -> io::Result<()> {
        match fs::remove_dir_all(self.dir.join(key.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes what starts were given that are no more.
    pub(super) fn sweep(&self, keys: &BTreeSet<RunKey>) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| RunKey::parse(entry.file_name().to_str()?));
        for key in named.filter(|key| !keys.contains(key)) {
            if let Err(error) = self.remove(key) {
                tracing::warn!(%key, %error, "secrets of an earlier start stay");
            }
        }
    }

    /// Takes the whole vault away: the agent leaves and nothing of it runs.
    pub(crate) fn close(&self) {
        if is_mount(&self.dir) && self.root {
            if let Err(error) = umount2(&self.dir, MntFlags::MNT_DETACH) {
                tracing::warn!(%error, dir = %self.dir.display(), "the vault stays mounted");
            }
        } else {
            drop(fs::remove_dir_all(self.dir.join(HELD)));
        }
        drop(fs::remove_dir(&self.dir));
    }

    fn held(&self, name: &SecretName) -> PathBuf {
        self.dir.join(HELD).join(sha256(name.to_string().as_bytes()).to_string())
    }

    fn make(&self, key: RunKey, inner: &str) -> Result<PathBuf, VaultError> {
        let dir = self.dir.join(key.to_string());
        let failed = |source| failed("make a directory", &dir)(source);
        make_dir(&dir, 0o711).map_err(failed)?;
        let inner = dir.join(inner);
        make_dir(&inner, 0o700).map_err(failed)?;
        Ok(inner)
    }

    /// Makes the vault: a file system of its own where that is allowed, and in any case one in memory.
    fn prepare(&self) -> Result<(), VaultError> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if *ready {
            return Ok(());
        }
        let parent = self.dir.parent().unwrap_or(&self.dir);
        let made = if parent.exists() { Ok(()) } else { make_dirs(parent) };
        let made = made.and_then(|()| make_dirs(&self.dir));
        made.map_err(failed("make the vault", &self.dir))?;
        if self.root && !is_mount(&self.dir) {
            mount_memory(&self.dir);
        }
        self.check()?;
        make_dir(&self.dir.join(HELD), 0o700).map_err(failed("make the vault", &self.dir))?;
        *ready = true;
        Ok(())
    }

    fn check(&self) -> Result<(), VaultError> {
        let path = || self.dir.clone();
        let found =
            fs::symlink_metadata(&self.dir).map_err(failed("look at the vault", &self.dir))?;
        if !found.is_dir() || found.uid() != Uid::effective().as_raw() {
            return Err(VaultError::Foreign { path: path() });
        }
        let mode = fs::Permissions::from_mode(0o711);
        fs::set_permissions(&self.dir, mode).map_err(failed("close the vault", &self.dir))?;
        match statfs(&self.dir) {
            Ok(found) if found.filesystem_type() == TMPFS_MAGIC => Ok(()),
            Ok(_) | Err(_) => Err(VaultError::NotMemory { path: path() }),
        }
    }
}

/// Mounts memory that is not swapped where the kernel can promise that (6.4), and memory otherwise.
fn mount_memory(dir: &Path) {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let unswapped = format!("{BYTES_MAX},noswap");
    for options in [unswapped.as_str(), BYTES_MAX] {
        let mounted = mount(Some("tengyun-secrets"), dir, Some("tmpfs"), flags, Some(options));
        if mounted.is_ok() {
            return;
        }
    }
    tracing::info!(dir = %dir.display(), "no file system of its own for secrets can be mounted");
}

fn is_mount(dir: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let parent = dir.parent().and_then(device);
    device(dir).is_some_and(|own| parent.is_some_and(|parent| own != parent))
}

/// Makes a directory that others pass through, whatever mask the agent was started with.
fn make_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(path)?;
    if fs::symlink_metadata(path)?.uid() == Uid::effective().as_raw() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Lets the user of a start look into a directory that stays ours.
fn close_to(dir: &Path, owner: Owner) -> io::Result<()> {
    let Some((_, gid)) = owner else { return Ok(()) };
    nix::unistd::chown(dir, None, Some(gid))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o750))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> VaultError {
    let path = path.to_owned();
    move |source| VaultError::Io { what, path: path.clone(), source }
}
