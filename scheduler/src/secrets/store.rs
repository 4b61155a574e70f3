//! The store: one file a department, every value sealed with the department's key, every
//! department's key sealed with the master key. It is beside the journal and not in it, so that what
//! is deleted is gone and what is rotated leaves no older key behind.
//!
//! Invariant: a change is on disk before it is answered, whole or not at all
//! (`what_was_set_is_there_after_a_restart_and_in_no_file_in_clear`).

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use tengyun_model::{At, DepartmentPath, Said, SecretName, said};
use tengyun_proto::identity::write_private;
use tengyun_proto::secret::{SECRET_BYTES_MAX, SECRETS_MAX};
use tengyun_proto::token::sha256;
use tengyun_proto::v1;
use zeroize::Zeroizing;

use crate::view;

use super::seal::{KEY_BYTES, SealError, SealKey};

/// The master keys, the newest first; more than one only while a rotation is under way.
const MASTER_FILE: &str = "master.key";
/// How the file of a department ends; it is named by the digest of the department's path.
const SEALED: &str = "sealed";
/// The bits that let others than the owner at a file.
const OTHERS: u32 = 0o077;

/// Tells why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file of it cannot be used.
    #[error("cannot use {} of the secrets", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the master key.
    #[error("{} has mode {mode:o}: others may read the key; run `chmod 600 {0}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There are secrets and no key that opens them.
    #[error("{} is missing, and without it no secret can be opened: restore it from a backup", path.display())]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// A file holds something else.
    #[error("{} is damaged: {what}; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The system has no randomness.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// What became of a value.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It is kept as this version.
    As(u32),
    /// It was this version already.
    Same(u32),
    /// It is not kept.
    Refused(v1::Refusal),
}

/// A value in clear, for as long as it takes to hand it out.
pub(crate) struct Revealed {
    /// Its version.
    pub(crate) version: u32,
    /// The value.
    pub(crate) value: Zeroizing<Vec<u8>>,
}

/// The store; nothing of it is in clear but names.
#[derive(Debug)]
pub(crate) struct Secrets {
    dir: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The newest first; none before the first secret.
    masters: Vec<SealKey>,
    departments: BTreeMap<DepartmentPath, v1::StoredSecrets>,
}

impl Secrets {
    /// Opens the store; it is made when the first secret is set.
    pub(crate) fn open(dir: &Path) -> Result<Self, SecretsError> {
        let mut held = Held::default();
        for path in sealed_files(dir)? {
            let (department, stored) = read(&path)?;
            held.departments.insert(department, stored);
        }
        let master = dir.join(MASTER_FILE);
        if master.exists() {
            held.masters = read_masters(&master)?;
        } else if !held.departments.is_empty() {
            return Err(SecretsError::KeyMissing { path: master });
        }
        for (department, stored) in &held.departments {
            // Found now, and not when an instance waits for it.
            held.key(department, stored, &file(dir, department))?;
        }
        Ok(Self { dir: dir.to_owned(), held: Mutex::new(held) })
    }

    /// Keeps a value as the next version; the same value again changes nothing.
    pub(crate) fn set(
        &self,
        name: &SecretName,
        value: &[u8],
        now: At,
    ) -> Result<Kept, SecretsError> {
        if value.is_empty() || value.len() > SECRET_BYTES_MAX {
            let expected = said!(BadSecret, SECRET_BYTES_MAX);
            return Ok(refused("bad-secret", &expected, &said!(DoArtifact)));
        }
        let mut held = self.lock();
        self.ensure_master(&mut held)?;
        let path = file(&self.dir, &name.department);
        let (mut stored, key) = held.department(&name.department, &path)?;
        let found = stored.secrets.binary_search_by(|s| s.name.as_str().cmp(name.name.as_str()));
        let version = match found {
            Ok(at) => stored.secrets[at].version,
            Err(_) => 0,
        };
        if let Ok(at) = found {
            let before = open_one(&key, &name.department, &stored.secrets[at], &path)?;
            if before.as_slice() == value {
                return Ok(Kept::Same(version));
            }
        } else if stored.secrets.len() >= SECRETS_MAX {
            let message = said!(TooManySecrets, &name.department, SECRETS_MAX);
            return Ok(refused("too-many", &message, &said!(DoDelete)));
        }
        let version = version.saturating_add(1);
        let context = context(&name.department, name.name.as_str(), version);
        let one = v1::StoredSecret {
            name: name.name.to_string(),
            version,
            set_millis: now.millis(),
            sealed: key.seal(&context, value).map_err(|e| no_seal(e, &path))?,
        };
        match found {
            Ok(at) => stored.secrets[at] = one,
            Err(at) => stored.secrets.insert(at, one),
        }
        write(&path, &stored)?;
        held.departments.insert(name.department.clone(), stored);
        Ok(Kept::As(version))
    }

    /// Forgets a value; false when there was none.
    pub(crate) fn delete(&self, name: &SecretName) -> Result<bool, SecretsError> {
        let mut held = self.lock();
        let Some(stored) = held.departments.get(&name.department) else { return Ok(false) };
        let mut stored = stored.clone();
        let before = stored.secrets.len();
        stored.secrets.retain(|s| s.name != name.name.as_str());
        if stored.secrets.len() == before {
            return Ok(false);
        }
        write(&file(&self.dir, &name.department), &stored)?;
        held.departments.insert(name.department.clone(), stored);
        Ok(true)
    }

    /// Says whether there is a value.
    pub(crate) fn contains(&self, name: &SecretName) -> bool {
        let held = self.lock();
        let stored = held.departments.get(&name.department);
        stored.is_some_and(|s| s.secrets.iter().any(|s| s.name == name.name.as_str()))
    }

    /// Lists all by name, without values.
    pub(crate) fn list(&self) -> Vec<v1::SecretView> {
        let overhead = 12 + 16;
        let held = self.lock();
        let departments = held.departments.values();
        let view = |stored: &v1::StoredSecrets, secret: &v1::StoredSecret| v1::SecretView {
            name: Some(v1::SecretName {
                department: stored.department.clone(),
                name: secret.name.clone(),
            }),
            version: secret.version,
            set_millis: secret.set_millis,
            bytes: u32::try_from(secret.sealed.len().saturating_sub(overhead)).unwrap_or(u32::MAX),
            workloads: Vec::new(),
        };
        departments.flat_map(|all| all.secrets.iter().map(move |one| view(all, one))).collect()
    }

    /// Opens a value, with its version.
    pub(crate) fn reveal(&self, name: &SecretName) -> Result<Option<Revealed>, SecretsError> {
        let held = self.lock();
        let Some(stored) = held.departments.get(&name.department) else { return Ok(None) };
        let found = stored.secrets.iter().find(|s| s.name == name.name.as_str());
        let Some(secret) = found else { return Ok(None) };
        let path = file(&self.dir, &name.department);
        let key = held.key(&name.department, stored, &path)?;
        let value = open_one(&key, &name.department, secret, &path)?;
        Ok(Some(Revealed { version: secret.version, value }))
    }

    /// Makes a new master key and a new key for each department, and encrypts everything with them;
    /// returns the number of departments. Cut short, it leaves all readable, and is done again.
    pub(crate) fn rotate(&self) -> Result<u32, SecretsError> {
        let mut held = self.lock();
        if held.masters.is_empty() {
            return Ok(0);
        }
        held.masters.insert(0, make_key()?);
        self.write_masters(&held.masters)?;
        let departments: Vec<DepartmentPath> = held.departments.keys().cloned().collect();
        for department in &departments {
            let path = file(&self.dir, department);
            let (stored, old) = held.department(department, &path)?;
            let (mut new, key) = held.fresh(department, &path)?;
            for secret in &stored.secrets {
                let value = open_one(&old, department, secret, &path)?;
                let context = context(department, &secret.name, secret.version);
                let sealed = key.seal(&context, &value).map_err(|e| no_seal(e, &path))?;
                new.secrets.push(v1::StoredSecret { sealed, ..secret.clone() });
            }
            write(&path, &new)?;
            held.departments.insert(department.clone(), new);
        }
        self.write_masters(held.masters.get(..1).expect("a key was put first"))?;
        held.masters.truncate(1);
        Ok(u32::try_from(departments.len()).unwrap_or(u32::MAX))
    }

    fn ensure_master(&self, held: &mut Held) -> Result<(), SecretsError> {
        if held.masters.is_empty() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
            made.map_err(|source| SecretsError::File { path: self.dir.clone(), source })?;
            let master = make_key()?;
            self.write_masters(std::slice::from_ref(&master))?;
            held.masters.push(master);
        }
        Ok(())
    }

    fn write_masters(&self, masters: &[SealKey]) -> Result<(), SecretsError> {
        let path = self.dir.join(MASTER_FILE);
        let bytes: Zeroizing<Vec<u8>> =
            Zeroizing::new(masters.iter().flat_map(|key| key.bytes().iter().copied()).collect());
        write_private(&path, &bytes).map_err(|source| SecretsError::File { path, source })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Returns what is stored of a department and its key; new ones where there is nothing.
    fn department(
        &self,
        department: &DepartmentPath,
        path: &Path,
    ) -> Result<(v1::StoredSecrets, SealKey), SecretsError> {
        match self.departments.get(department) {
            Some(stored) => Ok((stored.clone(), self.key(department, stored, path)?)),
            None => self.fresh(department, path),
        }
    }

    fn fresh(
        &self,
        department: &DepartmentPath,
        path: &Path,
    ) -> Result<(v1::StoredSecrets, SealKey), SecretsError> {
        let master = self.masters.first().expect("there is a master key before there is another");
        let key = make_key()?;
        let wrapped_key = master.seal(key_context(department).as_bytes(), key.bytes());
        let stored = v1::StoredSecrets {
            department: department.to_string(),
            master: master.id(),
            wrapped_key: wrapped_key.map_err(|e| no_seal(e, path))?,
            secrets: Vec::new(),
        };
        Ok((stored, key))
    }

    fn key(
        &self,
        department: &DepartmentPath,
        stored: &v1::StoredSecrets,
        path: &Path,
    ) -> Result<SealKey, SecretsError> {
        let damaged = |what| SecretsError::Damaged { path: path.to_owned(), what };
        let master = self.masters.iter().find(|key| key.id() == stored.master);
        let master = master.ok_or_else(|| damaged("another master key sealed it"))?;
        let opened = master.open(key_context(department).as_bytes(), &stored.wrapped_key);
        let bytes = opened.map_err(|_| damaged("its key does not open"))?;
        SealKey::from_slice(&bytes).ok_or_else(|| damaged("its key has another length"))
    }
}

fn open_one(
    key: &SealKey,
    department: &DepartmentPath,
    secret: &v1::StoredSecret,
    path: &Path,
) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    let context = context(department, &secret.name, secret.version);
    let what = "a value does not open";
    let opened = key.open(&context, &secret.sealed);
    opened.map_err(|_| SecretsError::Damaged { path: path.to_owned(), what })
}

/// Ties a sealed value to what it is: put elsewhere, it does not open.
fn context(department: &DepartmentPath, name: &str, version: u32) -> Vec<u8> {
    // Neither a path nor a name holds a zero byte.
    format!("tengyun secret\0{department}\0{name}\0{version}").into_bytes()
}

fn key_context(department: &DepartmentPath) -> String {
    format!("tengyun department key\0{department}")
}

fn make_key() -> Result<SealKey, SecretsError> {
    SealKey::make().map_err(|_| SecretsError::NoRandomness)
}

fn no_seal(error: SealError, path: &Path) -> SecretsError {
    match error {
        SealError::NoRandomness => SecretsError::NoRandomness,
        SealError::NotOurs => {
            SecretsError::Damaged { path: path.to_owned(), what: "it cannot be sealed" }
        }
    }
}

fn refused(code: &str, message: &Said, remedy: &Said) -> Kept {
    Kept::Refused(view::refused(code, message, remedy))
}

fn file(dir: &Path, department: &DepartmentPath) -> PathBuf {
    dir.join(format!("{}.{SEALED}", sha256(department.as_str().as_bytes())))
}

fn sealed_files(dir: &Path) -> Result<Vec<PathBuf>, SecretsError> {
    let failed = |source| SecretsError::File { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == SEALED) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn read(path: &Path) -> Result<(DepartmentPath, v1::StoredSecrets), SecretsError> {
    let damaged = |what| SecretsError::Damaged { path: path.to_owned(), what };
    let bytes = fs::read(path);
    let bytes = bytes.map_err(|source| SecretsError::File { path: path.to_owned(), source })?;
    let stored = v1::StoredSecrets::decode(bytes.as_slice());
    let stored = stored.map_err(|_| damaged("it is no list of secrets"))?;
    let department = DepartmentPath::new(stored.department.as_str());
    let department = department.map_err(|_| damaged("it names no department"))?;
    let named = path.parent().map(|dir| file(dir, &department));
    if named.as_deref() != Some(path) {
        return Err(damaged("it is of another department"));
    }
    Ok((department, stored))
}

fn write(path: &Path, stored: &v1::StoredSecrets) -> Result<(), SecretsError> {
    let written = write_private(path, &stored.encode_to_vec());
    written.map_err(|source| SecretsError::File { path: path.to_owned(), source })
}

fn read_masters(path: &Path) -> Result<Vec<SealKey>, SecretsError> {
    let failed = |source| SecretsError::File { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(SecretsError::Open { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(failed)?);
    if bytes.is_empty() || bytes.len() % KEY_BYTES != 0 {
        return Err(SecretsError::Damaged { path: path.to_owned(), what: "it holds no keys" });
    }
    let keys = bytes.chunks_exact(KEY_BYTES).filter_map(SealKey::from_slice);
    Ok(keys.collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const VALUE: &[u8] = b"canary-0f3b-value";

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    fn set(secrets: &Secrets, text: &str, value: &[u8]) -> u32 {
        match secrets.set(&name(text), value, At::from_millis(7)).unwrap() {
            Kept::As(version) | Kept::Same(version) => version,
            Kept::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    fn value(secrets: &Secrets, text: &str) -> Option<Vec<u8>> {
        secrets.reveal(&name(text)).unwrap().map(|revealed| revealed.value.to_vec())
    }

    fn holds(dir: &Path, needle: &[u8]) -> bool {
        let files = fs::read_dir(dir).unwrap().map(|e| fs::read(e.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(needle.len()).any(|w| w == needle))
    }

    #[test]
    fn what_was_set_is_there_after_a_restart_and_in_no_file_in_clear() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("secrets");
        let secrets = Secrets::open(&dir).unwrap();
        assert!(!dir.exists(), "an empty store is not made");
        assert_eq!(set(&secrets, "city/a/db", VALUE), 1);
        assert_eq!(set(&secrets, "city/a/db", VALUE), 1, "the same again is no new version");
        assert_eq!(set(&secrets, "city/b/db", b"other"), 1);
        assert_eq!(set(&secrets, "city/a/db", b"second"), 2);
        assert_eq!(set(&secrets, "city/a/db", VALUE), 3);
        drop(secrets);
        let secrets = Secrets::open(&dir).unwrap();
        assert_eq!(value(&secrets, "city/a/db").as_deref(), Some(VALUE));
        assert_eq!(value(&secrets, "city/b/db").as_deref(), Some(&b"other"[..]));
        assert_eq!(value(&secrets, "city/a/xx"), None);
        assert!(!holds(&dir, VALUE));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(MASTER_FILE))), (0o700, 0o600));
        let list = secrets.list();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].version, list[0].bytes, list[0].set_millis), (3, 17, 7));
    }

    #[test]
    fn what_was_deleted_is_gone_from_the_disk_too() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(dir.path()).unwrap();
        set(&secrets, "city/a/db", VALUE);
        let path = file(dir.path(), &"city/a".parse().unwrap());
        let before = v1::StoredSecrets::decode(fs::read(&path).unwrap().as_slice()).unwrap();
        assert!(secrets.delete(&name("city/a/db")).unwrap());
        assert!(!secrets.delete(&name("city/a/db")).unwrap());
        assert!(!holds(dir.path(), &before.secrets[0].sealed), "the ciphertext is left");
        assert_eq!(value(&Secrets::open(dir.path()).unwrap(), "city/a/db"), None);
    }

    #[test]
    fn a_rotation_leaves_no_older_key_and_one_that_was_cut_short_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(dir.path()).unwrap();
        assert_eq!(secrets.rotate().unwrap(), 0);
        for department in ["a", "b", "c"] {
            set(&secrets, &format!("city/{department}/db"), VALUE);
        }
        let master = dir.path().join(MASTER_FILE);
        let old = fs::read(&master).unwrap();
        let path = file(dir.path(), &"city/a".parse().unwrap());
        let stored = fs::read(&path).unwrap();
        assert_eq!(secrets.rotate().unwrap(), 3);
        let new = fs::read(&master).unwrap();
        assert_eq!(new.len(), KEY_BYTES);
        assert_ne!(new, old);
        assert_eq!(value(&Secrets::open(dir.path()).unwrap(), "city/a/db").as_deref(), Some(VALUE));
        // Cut short: one department is still of the old key, and both keys are there.
        fs::write(&path, &stored).unwrap();
        fs::write(&master, [new, old.clone()].concat()).unwrap();
        let secrets = Secrets::open(dir.path()).unwrap();
        for department in ["a", "b", "c"] {
            let text = format!("city/{department}/db");
            assert_eq!(value(&secrets, &text).as_deref(), Some(VALUE));
        }
        assert_eq!(secrets.rotate().unwrap(), 3);
        assert_eq!(fs::read(&master).unwrap().len(), KEY_BYTES);
        assert!(!holds(dir.path(), &old), "the old key is left");
    }

    #[test]
    fn a_lost_foreign_or_open_key_is_an_error_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        set(&Secrets::open(dir.path()).unwrap(), "city/a/db", VALUE);
        let master = dir.path().join(MASTER_FILE);
        let key = fs::read(&master).unwrap();
        let said = |dir: &Path| Secrets::open(dir).unwrap_err().to_string();
        fs::set_permissions(&master, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(said(dir.path()).contains("chmod 600"));
        fs::remove_file(&master).unwrap();
        assert!(said(dir.path()).contains("restore it from a backup"));
        write_private(&master, &[7; KEY_BYTES]).unwrap();
        assert!(said(dir.path()).contains("another master key sealed it"));
        write_private(&master, &[7; 3]).unwrap();
        assert!(said(dir.path()).contains("holds no keys"));
        write_private(&master, &key).unwrap();
        assert!(Secrets::open(dir.path()).is_ok());
    }

    #[test]
    fn a_sealed_value_or_file_put_elsewhere_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(dir.path()).unwrap();
        set(&secrets, "city/a/db", VALUE);
        set(&secrets, "city/a/other", b"x");
        let department = "city/a".parse().unwrap();
        let path = file(dir.path(), &department);
        let mut stored = v1::StoredSecrets::decode(fs::read(&path).unwrap().as_slice()).unwrap();
        stored.secrets[1].sealed = stored.secrets[0].sealed.clone();
        write(&path, &stored).unwrap();
        let swapped = Secrets::open(dir.path()).unwrap();
        let error = swapped.reveal(&name("city/a/other")).err().unwrap();
        assert!(matches!(error, SecretsError::Damaged { .. }), "{error}");
        fs::rename(&path, file(dir.path(), &"city/b".parse().unwrap())).unwrap();
        assert!(Secrets::open(dir.path()).unwrap_err().to_string().contains("another department"));
    }

    #[test]
    fn values_have_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(dir.path()).unwrap();
        for bad in [0, SECRET_BYTES_MAX + 1] {
            let kept = secrets.set(&name("city/a/db"), &vec![1; bad], At::default()).unwrap();
            assert!(matches!(kept, Kept::Refused(_)), "{bad} bytes passed");
        }
        set(&secrets, "city/a/db", &vec![1; SECRET_BYTES_MAX]);
    }
}
