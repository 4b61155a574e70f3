//! The node's identity: how a server joins, and how its certificate is renewed while it works.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tengyun_model::{At, Member, NodeName};
use tengyun_proto::identity::{Certificate, Identity};
use tengyun_proto::join::{self, Evidence, JoinError};
use tengyun_proto::token::Token;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::clock::Clock;

/// The name of the identity in the state directory.
const IDENTITY_NAME: &str = "identity";
/// Others pass through to reach the working directories of their instances, and look at nothing.
const STATE_MODE: u32 = 0o711;
/// How many times a renewal that failed is tried again until the certificate ends.
const RENEWAL_TRIES: u32 = 20;
/// The shortest pause between two tries.
const RENEWAL_PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause between two tries.
const RENEWAL_PAUSE_MAX: Duration = Duration::from_mins(10);
/// The most network cards that are looked at.
const CARDS_MAX: usize = 64;

/// Returns where the identity of a node with this state directory is.
pub fn identity_path(state_dir: &Path) -> PathBuf {
    state_dir.join(IDENTITY_NAME)
}

/// Joins as a node and keeps its identity in the state directory.
///
/// # Errors
/// The scheduler cannot be reached or says no, or the identity cannot be kept.
pub async fn join(state_dir: &Path, name: &NodeName, token: &Token) -> Result<Identity, JoinError> {
    DirBuilder::new().recursive(true).mode(STATE_MODE).create(state_dir).map_err(|source| {
        tengyun_proto::identity::IdentityError::File { path: state_dir.to_owned(), source }
    })?;
    let member = Member::Node(name.clone());
    join::join(token, &member, evidence(), &identity_path(state_dir)).await
}

fn evidence() -> Evidence {
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cards = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let addresses = cards.take(CARDS_MAX).map(|card| text(&card.path().join("address")));
    Evidence {
        machine_id: text(Path::new("/etc/machine-id")),
        product_id: text(Path::new("/sys/class/dmi/id/product_uuid")),
        hardware_addresses: addresses.filter(|a| !a.is_empty()).collect(),
    }
}

/// Renews a certificate again and again at half of its time, until it is dropped.
#[derive(Debug)]
pub(crate) struct Renewal(JoinHandle<()>);

impl Renewal {
    /// Starts over a connection that the identity opened.
    pub(crate) fn start(channel: Channel, identity: Identity, path: PathBuf) -> Self {
        Self(tokio::spawn(renew(channel, identity, path)))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        // It owns nothing but a copy of the identity; the file is written whole or not at all.
        self.0.abort();
    }
}

async fn renew(channel: Channel, mut identity: Identity, path: PathBuf) {
    let clock = Clock::start();
    loop {
        let mut pause = due(&identity.certificate, clock.now());
        loop {
            tokio::time::sleep(pause).await;
            match renew_once(&channel, &identity, &path).await {
                Ok(renewed) => {
                    let until_millis = renewed.certificate.until.millis();
                    tracing::info!(until_millis, "certificate renewed");
                    identity = renewed;
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = crate::act::chain(&error), "certificate not renewed");
                    pause = retry(&identity.certificate);
                }
            }
        }
    }
}

async fn renew_once(
    channel: &Channel,
    identity: &Identity,
    path: &Path,
) -> Result<Identity, JoinError> {
    let renewed = join::renew(channel.clone(), identity).await?;
    let (kept, path) = (renewed.clone(), path.to_owned());
    let saved = tokio::task::spawn_blocking(move || kept.save(&path)).await;
    saved.map_err(|_| cut(&renewed))??;
    Ok(renewed)
}

fn cut(identity: &Identity) -> JoinError {
    let path = PathBuf::from(identity.member.to_string());
    let source = io::Error::other("the write was cut short");
    tengyun_proto::identity::IdentityError::File { path, source }.into()
}

/// Returns how long until half of a certificate's time is over. A server whose clock is wrong waits
/// half of its time at most.
fn due(certificate: &Certificate, now: At) -> Duration {
    let half = certificate.until.since(certificate.from).get() / 2;
    let passed = now.since(certificate.from).get();
    Duration::from_millis(half.saturating_sub(passed))
}

fn retry(certificate: &Certificate) -> Duration {
    let half = certificate.until.since(certificate.from).get() / 2;
    let pause = Duration::from_millis(half) / RENEWAL_TRIES;
    pause.clamp(RENEWAL_PAUSE_MIN, RENEWAL_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: u64, until: u64) -> Certificate {
        let (from, until) = (At::from_millis(from), At::from_millis(until));
        Certificate { der: Vec::new(), from, until }
    }

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_time_whatever_the_clock() {
        let day = certificate(1_000_000, 1_000_000 + 86_400_000);
        let due = |now| due(&day, At::from_millis(now)).as_secs();
        assert_eq!(due(1_000_000), 43_200);
        assert_eq!(due(1_000_000 + 43_200_000), 0);
        assert_eq!(due(u64::MAX), 0);
        assert_eq!(due(0), 43_200, "a clock that is behind waits half of the time at most");
    }

    #[test]
    fn a_failed_renewal_is_tried_again_often_enough() {
        assert_eq!(retry(&certificate(0, 86_400_000)), RENEWAL_PAUSE_MAX);
        assert_eq!(retry(&certificate(0, 4_000)), RENEWAL_PAUSE_MIN);
    }
}
