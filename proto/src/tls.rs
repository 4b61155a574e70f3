//! TLS 1.3 with both sides known: how anybody speaks with a scheduler on another machine.
//!
//! One authority, the scheduler's own, is trusted, and one name, whatever the address. There is no
//! way to connect without it, and no older version.

mod pin;

use std::io;
use std::sync::{Arc, OnceLock};

use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::identity::Identity;
use crate::limits;
use crate::token::{Address, Token};

/// The name in the scheduler's certificate. The authority signs for nobody else, so the address,
/// which may change, need not be in it.
pub const SCHEDULER_NAME: &str = "scheduler.tengyun.internal";
/// The protocol spoken inside.
pub const ALPN: &[u8] = b"h2";

/// Tells why a scheduler cannot be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key, the certificate or the authority cannot be used.
    #[error("the identity cannot be used: join again")]
    Identity(#[source] rustls::Error),
    /// Nobody answers, or not the one who is trusted.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where.
        address: Address,
        /// The causes, joined.
        reason: String,
    },
}

/// Returns what encrypts and verifies: one implementation, named, so that no process-wide default
/// is needed.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Trusts one authority.
///
/// # Errors
/// It is no certificate.
pub fn trust(authority: &[u8]) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.to_vec()))?;
    Ok(Arc::new(roots))
}

/// Connects as a member, and again whenever the connection is lost.
///
/// # Errors
/// Nobody answers, or the one who answers is not our scheduler. That a scheduler does not accept
/// the member is seen by the first call only.
pub async fn connect(identity: &Identity) -> Result<Channel, TlsError> {
    let verifier = verifier(&identity.authority).map_err(TlsError::Identity)?;
    let chain = vec![CertificateDer::from(identity.certificate.der.clone())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.private().to_vec()));
    let config = builder()
        .map_err(TlsError::Identity)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(TlsError::Identity)?;
    open(&identity.address, config).await
}

/// Connects for the first time, knowing the authority only by the fingerprint in a token; returns
/// the authority's certificate as well.
///
/// # Errors
/// Nobody answers, or the one who answers is not the scheduler that the token is of.
pub async fn connect_unknown(token: &Token) -> Result<(Channel, Vec<u8>), TlsError> {
    let found = Arc::new(OnceLock::new());
    let verifier = Arc::new(pin::Pinned::new(token.authority, Arc::clone(&found)));
    let config = builder()
        .map_err(TlsError::Identity)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let channel = open(&token.address, config).await?;
    let authority = found.get().cloned().ok_or_else(|| TlsError::Connect {
        address: token.address.clone(),
        reason: "the authority was not shown".to_owned(),
    })?;
    Ok((channel, authority))
}

fn verifier(authority: &[u8]) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    WebPkiServerVerifier::builder_with_provider(trust(authority)?, provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn builder() -> Result<Builder, rustls::Error> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
}

async fn open(address: &Address, mut config: ClientConfig) -> Result<Channel, TlsError> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let target = address.clone();
    // The address is not used: the connector knows it.
    Endpoint::from_static("http://tengyun.invalid")
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(limits::HEADER_BYTES_MAX)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let (target, connector) = (target.clone(), connector.clone());
            async move { dial(&target, &connector).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|error| TlsError::Connect { address: address.clone(), reason: causes(&error) })
}

async fn dial(address: &Address, connector: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address.as_str()).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(SCHEDULER_NAME).map_err(io::Error::other)?;
    connector.connect(name, stream).await
}

/// Joins the causes of an error without its own words, which say only that something failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}
