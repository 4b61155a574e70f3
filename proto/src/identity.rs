//! A member's own identity: its key, its certificate and the authority it trusts, in one private
//! file. Nothing here speaks with anybody.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use prost::Message as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use tengyun_model::{At, Digest, Member, NodeId};

use crate::convert::ConvertError;
use crate::token::{Address, sha256};
use crate::v1;

/// The bytes of an uncompressed point of P-256.
pub const PUBLIC_KEY_BYTES: usize = 65;
/// The largest file that is read as an identity; ours have two kilobytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The bits that let others than the owner at a file.
const OTHERS: u32 = 0o077;

/// Tells why an identity cannot be made, kept or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system has no randomness.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The file cannot be read or written.
    #[error("cannot use {} as an identity", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the private key.
    #[error("{} has mode {mode:o}: others may read the key; run `chmod 600 {0}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} is not an identity: {problem}; join again", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A private key, and the public one that goes with it.
#[derive(Clone)]
pub struct Key {
    private: Vec<u8>,
    public: Vec<u8>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.digest())
    }
}

impl Key {
    /// Makes a new key of P-256.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn make() -> Result<Self, IdentityError> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        let made = made.map_err(|_| IdentityError::NoRandomness)?;
        Self::of(made.as_ref().to_vec()).ok_or(IdentityError::NoRandomness)
    }

    /// Takes a private key in PKCS #8.
    pub fn of(private: Vec<u8>) -> Option<Self> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &private, &random);
        let public = pair.ok()?.public_key().as_ref().to_vec();
        Some(Self { private, public })
    }

    /// Returns the private key in PKCS #8.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    /// Returns the public key: an uncompressed point.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Returns the digest of the public key.
    pub fn digest(&self) -> Digest {
        sha256(&self.public)
    }
}

/// A certificate and when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// X.509 in DER.
    pub der: Vec<u8>,
    /// From when it holds, by the scheduler's clock.
    pub from: At,
    /// Until when.
    pub until: At,
}

impl From<&Certificate> for v1::Certificate {
    fn from(certificate: &Certificate) -> Self {
        Self {
            der: certificate.der.clone(),
            from_millis: certificate.from.millis(),
            until_millis: certificate.until.millis(),
        }
    }
}

impl TryFrom<v1::Certificate> for Certificate {
    type Error = ConvertError;

    fn try_from(wire: v1::Certificate) -> Result<Self, ConvertError> {
        let (from, until) = (At::from_millis(wire.from_millis), At::from_millis(wire.until_millis));
        if wire.der.is_empty() || until <= from {
            return Err(ConvertError::new("certificate", "is empty or never holds"));
        }
        Ok(Self { der: wire.der, from, until })
    }
}

/// All that a member has to show and to check.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Where the scheduler is.
    pub address: Address,
    /// Who this is.
    pub member: Member,
    /// The id of a node.
    pub node: Option<NodeId>,
    /// Its key.
    pub key: Key,
    /// What it shows.
    pub certificate: Certificate,
    /// The authority's certificate in DER.
    pub authority: Vec<u8>,
}

impl Identity {
    /// Reads an identity.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or it holds something else.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::File { path: path.to_owned(), source };
        let found = fs::metadata(path).map_err(failed)?;
        let mode = found.mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Err(IdentityError::Open { path: path.to_owned(), mode });
        }
        if found.len() > FILE_BYTES_MAX {
            return Err(bad(path, "it is too large"));
        }
        let bytes = fs::read(path).map_err(failed)?;
        let stored = v1::StoredIdentity::decode(bytes.as_slice());
        let stored = stored.map_err(|_| bad(path, "it cannot be read"))?;
        Self::of(stored).map_err(|problem| bad(path, &problem))
    }

    fn of(stored: v1::StoredIdentity) -> Result<Self, String> {
        let member = stored.member.ok_or("the member is missing")?;
        let certificate = stored.certificate.ok_or("the certificate is missing")?;
        Ok(Self {
            address: stored.address.parse().map_err(|e| format!("{e}"))?,
            member: member.try_into().map_err(|e: ConvertError| e.to_string())?,
            node: Some(NodeId::new(stored.node)).filter(|node| node.get() > 0),
            key: Key::of(stored.private_key).ok_or("the private key is none")?,
            certificate: certificate.try_into().map_err(|e: ConvertError| e.to_string())?,
            authority: stored.authority,
        })
    }

    /// Keeps the identity, whole or not at all, for its owner alone.
    ///
    /// # Errors
    /// The file cannot be written; what was there before stays.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let stored = v1::StoredIdentity {
            address: self.address.to_string(),
            member: Some((&self.member).into()),
            node: self.node.map_or(0, NodeId::get),
            private_key: self.key.private.clone(),
            certificate: Some((&self.certificate).into()),
            authority: self.authority.clone(),
        };
        write_private(path, &stored.encode_to_vec())
            .map_err(|source| IdentityError::File { path: path.to_owned(), source })
    }
}

fn bad(path: &Path, problem: &str) -> IdentityError {
    IdentityError::Content { path: path.to_owned(), problem: problem.to_owned() }
}

/// Writes a file of mode 0600, whole or not at all; its directory must be there.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(".new");
    let unnamed = PathBuf::from(unnamed);
    match fs::remove_file(&unnamed) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unnamed)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unnamed, path)?;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn identity() -> Identity {
        let (from, until) = (At::from_millis(1), At::from_millis(2));
        Identity {
            address: "a:1".parse().unwrap(),
            member: Member::Node("n1".parse().unwrap()),
            node: Some(NodeId::new(7)),
            key: Key::make().unwrap(),
            certificate: Certificate { der: vec![1], from, until },
            authority: vec![2],
        }
    }

    #[test]
    fn an_identity_is_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        let kept = identity();
        kept.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = Identity::load(&path).unwrap();
        assert_eq!((read.node, read.key.private), (kept.node, kept.key.private));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_identity_is_refused_and_names_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        assert!(matches!(Identity::load(&path), Err(IdentityError::File { .. })));
        let large = vec![0; usize::try_from(FILE_BYTES_MAX).unwrap() + 1];
        for bytes in [b"".to_vec(), b"x".to_vec(), large] {
            write_private(&path, &bytes).unwrap();
            let error = Identity::load(&path).unwrap_err().to_string();
            assert!(error.contains("join again"), "{error}");
        }
        assert!(identity().save(&dir.path().join("no/such/place")).is_err());
    }

    #[test]
    fn a_key_is_not_shown_by_accident() {
        let key = Key::make().unwrap();
        assert!(format!("{key:?}").len() < 100);
        assert!(Key::of(vec![1, 2, 3]).is_none());
    }
}
