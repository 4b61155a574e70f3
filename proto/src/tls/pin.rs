//! A scheduler that is known only by the fingerprint of its authority, as a token carries it.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tengyun_model::Digest;

use crate::token::sha256;

/// Trusts the one authority that has this fingerprint, and tells which it was.
#[derive(Debug)]
pub(super) struct Pinned {
    fingerprint: Digest,
    provider: Arc<CryptoProvider>,
    found: Arc<OnceLock<Vec<u8>>>,
}

impl Pinned {
    pub(super) fn new(fingerprint: Digest, found: Arc<OnceLock<Vec<u8>>>) -> Self {
        Self { fingerprint, provider: super::provider(), found }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.iter().find(|c| sha256(c) == self.fingerprint);
        let authority = authority.ok_or_else(|| {
            Error::General("it is not the scheduler that the token is of".to_owned())
        })?;
        let verifier = super::verifier(authority)?;
        let verified =
            verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)?;
        // A connection that is opened again finds the same authority.
        self.found.get_or_init(|| authority.to_vec());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
