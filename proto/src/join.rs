//! Joining and renewing, as whoever joins does it.

use std::path::Path;

use tengyun_model::{Member, NodeId};
use tonic::transport::Channel;

use crate::convert::ConvertError;
use crate::identity::{Certificate, Identity, IdentityError, Key, write_private};
use crate::tls::{self, TlsError};
use crate::token::Token;
use crate::{limits, v1};

/// Tells why somebody could not join, or a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The scheduler cannot be spoken with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The scheduler said no.
    #[error("{}", .0.message())]
    Refused(#[from] tonic::Status),
    /// The answer makes no sense.
    #[error("the scheduler answered what cannot be: {0}")]
    Answer(#[from] ConvertError),
    /// The identity cannot be made or kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What a server is known by elsewhere: evidence for people, not identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// `/etc/machine-id`; images of one disk share it.
    pub machine_id: String,
    /// The product's id in its firmware.
    pub product_id: String,
    /// The addresses of its network cards.
    pub hardware_addresses: Vec<String>,
}

/// Joins by a token and keeps the identity at `path`.
///
/// The key is kept before it is shown, so that when the answer is lost the same call may be made
/// again: the scheduler knows the key and gives the same answer.
///
/// # Errors
/// See [`JoinError`]. Nothing is kept but the key, which is worth nothing alone.
pub async fn join(
    token: &Token,
    member: &Member,
    evidence: Evidence,
    path: &Path,
) -> Result<Identity, JoinError> {
    let key_path = path.with_extension("key");
    let key = pending_key(&key_path)?;
    let (channel, authority) = tls::connect_unknown(token).await?;
    let request = v1::JoinRequest {
        secret: token.secret.bytes().to_vec(),
        member: Some(member.into()),
        public_key: key.public().to_vec(),
        machine_id: evidence.machine_id,
        product_id: evidence.product_id,
        hardware_addresses: evidence.hardware_addresses,
    };
    let answer = limits::identity_client(channel).join(request).await?.into_inner();
    let identity = Identity {
        address: token.address.clone(),
        member: member.clone(),
        node: Some(NodeId::new(answer.node)).filter(|node| node.get() > 0),
        key,
        certificate: certificate(answer.certificate)?,
        authority,
    };
    identity.save(path)?;
    // A key that stays does no harm: the next joining uses it.
    std::fs::remove_file(&key_path)
        .unwrap_or_else(|error| tracing::debug!(%error, "the key of the joining stays"));
    Ok(identity)
}

/// Renews a certificate over a connection that it opened, for a new key.
///
/// # Errors
/// The scheduler cannot be reached or says no; the present certificate holds on.
pub async fn renew(channel: Channel, present: &Identity) -> Result<Identity, JoinError> {
    let key = Key::make()?;
    let request = v1::RenewRequest { public_key: key.public().to_vec() };
    let answer = limits::identity_client(channel).renew(request).await?.into_inner();
    Ok(Identity { key, certificate: certificate(answer.certificate)?, ..present.clone() })
}

fn certificate(wire: Option<v1::Certificate>) -> Result<Certificate, ConvertError> {
    wire.ok_or_else(|| ConvertError::new("certificate", "is missing"))?.try_into()
}

/// Returns the key of a joining that was cut short, or a new one that is kept.
fn pending_key(path: &Path) -> Result<Key, IdentityError> {
    if let Some(key) = std::fs::read(path).ok().and_then(Key::of) {
        return Ok(key);
    }
    let key = Key::make()?;
    write_private(path, key.private())
        .map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
    Ok(key)
}
