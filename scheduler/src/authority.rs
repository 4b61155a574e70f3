//! The authority: the scheduler's own key, which signs the certificates of its members and of the
//! scheduler itself. The key never leaves its file and this value; the journal has none of it.

pub(crate) mod claim;
mod validity;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tengyun_model::{At, Digest, Millis};
use tengyun_proto::identity::{Certificate, IdentityError, Key, PUBLIC_KEY_BYTES, write_private};
use tengyun_proto::tls;
use tengyun_proto::token::{Secret, sha256};

use claim::Claim;

/// The private key, PKCS #8 in DER.
const KEY_FILE: &str = "authority.key";
/// The certificate, X.509 in DER.
const CERTIFICATE_FILE: &str = "authority.crt";
/// How long the authority itself holds: longer than any server runs.
const AUTHORITY_LIFETIME: Millis = Millis::from_secs(20 * 366 * 24 * 3600);
/// How far the clocks of servers may be behind the scheduler's.
const SKEW: Millis = Millis::from_secs(3600);
/// How long the scheduler's own certificate holds; it is made anew at half of that.
const SERVER_LIFETIME: Millis = Millis::from_secs(7 * 24 * 3600);
/// The first byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

/// Tells why there is no authority, or why it cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of it cannot be used.
    #[error("cannot use {} of the authority", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read its key.
    #[error("{} has mode {mode:o}: others may read the key; run `chmod 600 {0}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The certificate is there and the key is not, so members could not be served.
    #[error("{} is missing: restore it from the backup", path.display())]
    KeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A key or a certificate cannot be made or read.
    #[error("cannot make or read a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The system gives no randomness.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl AuthorityError {
    /// Returns what an operator can do about it, where the error itself does not say so.
    pub const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::File { .. } => Some("move it away, or restore it from a backup"),
            Self::Certificate(_) | Self::Tls(_) => {
                Some("restore `authority` in the state directory from a backup")
            }
            Self::Open { .. } | Self::KeyMissing { .. } | Self::Identity(_) => None,
        }
    }
}

/// The authority of one cloud.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Until when the newest certificate of the scheduler itself holds; 0 before the first.
    server_until: AtomicU64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.fingerprint())
    }
}

impl Authority {
    /// Reads the authority of a directory, or makes it.
    ///
    /// A key without a certificate was left by a start that was cut short: its certificate is made.
    pub(crate) fn open(dir: &Path, now: At) -> Result<Self, AuthorityError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| AuthorityError::File { path: dir.to_owned(), source })?;
        let path = dir.join(CERTIFICATE_FILE);
        let certificate = read(&path)?;
        let key = key(&dir.join(KEY_FILE), certificate.is_none())?;
        let certificate = if let Some(der) = certificate {
            der
        } else {
            let der = authority(now)?.self_signed(&key)?.der().to_vec();
            write_private(&path, &der).map_err(|source| AuthorityError::File { path, source })?;
            der
        };
        // What an issuer says of itself depends on its name and key alone.
        let issuer = Issuer::new(authority(now)?, key);
        let server_until = AtomicU64::new(0);
        Ok(Self { issuer, certificate: certificate.into(), server_until })
    }

    /// Returns the digest of its certificate.
    pub(crate) fn fingerprint(&self) -> Digest {
        sha256(&self.certificate)
    }

    /// Returns until when it can sign.
    pub(crate) fn until(&self) -> Option<At> {
        validity::until(&self.certificate)
    }

    /// Returns until when the scheduler's own certificate holds.
    pub(crate) fn server_until(&self) -> Option<At> {
        let until = self.server_until.load(Ordering::Relaxed);
        (until > 0).then(|| At::from_millis(until))
    }

    /// Signs a member's certificate; `None` when the public key is none.
    pub(crate) fn issue(
        &self,
        claim: &Claim,
        public_key: &[u8],
        now: At,
    ) -> Result<Option<Certificate>, AuthorityError> {
        let Some(point) = Point::of(public_key) else { return Ok(None) };
        let mut params = params(now, claim.until, claim.name().as_str())?;
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(claim.to_string())?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let der = params.signed_by(&point, &self.issuer)?.der().to_vec();
        Ok(Some(Certificate { der, from: now, until: claim.until }))
    }

    /// Sets up the listening side of TLS with a certificate that holds from now on.
    pub(crate) fn server(&self, now: At) -> Result<rustls::ServerConfig, AuthorityError> {
        let key = Key::make()?;
        let point = Point::of(key.public()).expect("a key of ours is a point");
        let until = now.after(SERVER_LIFETIME);
        let mut params = params(now, until, "scheduler")?;
        let name = Ia5String::try_from(tls::SCHEDULER_NAME)?;
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let own = params.signed_by(&point, &self.issuer)?.der().clone();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.private().to_vec()));
        let roots = tls::trust(&self.certificate)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider())
            // Only for joining: see the table of who may call what.
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![own, self.certificate.clone()], private)?;
        config.alpn_protocols = vec![tls::ALPN.to_vec()];
        // A resumed session would not look at the certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        self.server_until.store(until.millis(), Ordering::Relaxed);
        Ok(config)
    }

    /// Returns after how long the scheduler's own certificate should be made anew.
    pub(crate) const fn server_renewal() -> Millis {
        Millis::new(SERVER_LIFETIME.get() / 2)
    }
}

/// A public key of P-256.
struct Point(Vec<u8>);

impl Point {
    fn of(bytes: &[u8]) -> Option<Self> {
        let good = bytes.len() == PUBLIC_KEY_BYTES && bytes.first() == Some(&UNCOMPRESSED);
        good.then(|| Self(bytes.to_vec()))
    }
}

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn authority(now: At) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(now, now.after(AUTHORITY_LIFETIME), "tengyun authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(now: At, until: At, name: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    let from = At::from_millis(now.millis().saturating_sub(SKEW.get()));
    set_validity(&mut params, from, until);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let mut serial = Secret::draw()?.bytes()[..16].to_vec();
    // A serial number is positive and has no leading zero.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// The last second that a certificate can say: the end of year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// Sets from when to when a certificate holds, in whole seconds.
fn set_validity(params: &mut CertificateParams, from: At, until: At) {
    let start = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: At| Duration::from_secs((at.millis() / 1000).min(LAST_SECOND));
    params.not_before = start + since(from);
    params.not_after = start + since(until);
}

fn key(path: &Path, may_make: bool) -> Result<KeyPair, AuthorityError> {
    if let Some(der) = read(path)? {
        let mode = fs::metadata(path).map(|found| found.mode() & 0o7777);
        let mode = mode.map_err(|source| AuthorityError::File { path: path.to_owned(), source })?;
        if mode & 0o077 != 0 {
            return Err(AuthorityError::Open { path: path.to_owned(), mode });
        }
        let der = PrivatePkcs8KeyDer::from(der);
        return Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)?);
    }
    if !may_make {
        return Err(AuthorityError::KeyMissing { path: path.to_owned() });
    }
    let made = Key::make()?;
    write_private(path, made.private())
        .map_err(|source| AuthorityError::File { path: path.to_owned(), source })?;
    let der = PrivatePkcs8KeyDer::from(made.private().to_vec());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)?)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, AuthorityError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tengyun_model::{Admission, NodeId};

    use super::*;
    use claim::Subject;

    const NOW: At = At::from_millis(1_764_000_000_000);

    fn claim(until: At) -> Claim {
        Claim { subject: Subject::Node(NodeId::new(7)), admission: Admission::new(2), until }
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("authority");
        let made = Authority::open(&dir, NOW).unwrap().fingerprint();
        assert_eq!(Authority::open(&dir, NOW).unwrap().fingerprint(), made);
        let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode(KEY_FILE), mode(".")), (0o600, 0o700));
        let until = Authority::open(&dir, NOW).unwrap().until().unwrap();
        assert_eq!(until, NOW.after(AUTHORITY_LIFETIME), "it holds for 20 years");
        fs::set_permissions(dir.join(KEY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Authority::open(&dir, NOW).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_start_that_was_cut_short_is_finished_and_a_lost_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path(), NOW).unwrap();
        fs::remove_file(dir.path().join(CERTIFICATE_FILE)).unwrap();
        Authority::open(dir.path(), NOW).unwrap();
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        let error = Authority::open(dir.path(), NOW).unwrap_err();
        assert!(matches!(error, AuthorityError::KeyMissing { .. }), "{error}");
    }

    #[test]
    fn a_broken_key_and_an_unusable_directory_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        write_private(&dir.path().join(KEY_FILE), b"x").unwrap();
        let error = Authority::open(dir.path(), NOW).unwrap_err();
        assert!(matches!(error, AuthorityError::Certificate(_)), "{error}");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Authority::open(&file, NOW).unwrap_err();
        assert!(matches!(error, AuthorityError::File { .. }), "{error}");
    }

    #[test]
    fn a_certificate_names_its_member_and_what_is_no_key_gets_none() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW).unwrap();
        let claim = claim(NOW.after(Millis::from_secs(60)));
        let key = Key::make().unwrap();
        let certificate = authority.issue(&claim, key.public(), NOW).unwrap().unwrap();
        assert_eq!(Claim::of(&certificate.der.into()), Some(claim.clone()));
        for bad in [&key.public()[1..], &[0; PUBLIC_KEY_BYTES], &[]] {
            assert!(authority.issue(&claim, bad, NOW).unwrap().is_none());
        }
    }

    #[test]
    fn certificates_are_made_on_leap_days_and_at_the_end_of_time() {
        let dir = tempfile::tempdir().unwrap();
        let leap_day = At::from_millis(1_835_395_200_000 + 86_399_000);
        for now in [At::default(), leap_day, At::from_millis(u64::MAX)] {
            let authority = Authority::open(dir.path(), now).unwrap();
            let until = now.after(Millis::from_secs(24 * 3600));
            let key = Key::make().unwrap();
            assert!(authority.issue(&claim(until), key.public(), now).unwrap().is_some());
            authority.server(now).unwrap();
        }
    }
}
