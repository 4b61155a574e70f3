//! The open connections of members: counted, kept until their certificates end, and cut when what
//! they showed holds no longer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tengyun_model::{At, Said, said};
use tengyun_proto::limits;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::authority::claim::{Claim, Subject};
use crate::roster::Roster;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A member, by the certificate it showed.
    Member(Claim),
    /// Somebody who showed none.
    Unknown,
    /// Somebody whose certificate does not hold, and why.
    Void(Void),
}

/// Why a certificate does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Void {
    /// It names no member.
    Nobody,
    /// It is no longer its member's.
    Revoked,
}

impl Void {
    pub(crate) fn said(self) -> Said {
        match self {
            Self::Nobody => said!(CertificateNobody),
            Self::Revoked => said!(CertificateRevoked),
        }
    }
}

/// Tells one connection from the next.
pub(crate) type ConnectionId = u64;

/// What every call over a connection knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// Who is there.
    pub who: Who,
    /// From where.
    pub from: SocketAddr,
    /// Which connection of a member.
    pub connection: ConnectionId,
}

/// What came of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// A member came in.
    Member,
    /// Somebody without a certificate came in, to join.
    Unknown,
    /// Too many without a certificate are there.
    Crowded,
    /// The handshake failed, by a certificate of another authority or that has ended, or by none of TLS.
    Failed,
    /// The handshake took too long.
    Slow,
    /// The peer speaks another protocol.
    OtherProtocol,
    /// The certificate names nobody, or was revoked.
    Void,
    /// The member has too many connections.
    Full,
}

/// Every result of a handshake with its word.
const GREETINGS: [(Greeting, &str); 8] = [
    (Greeting::Member, "member"),
    (Greeting::Unknown, "unknown"),
    (Greeting::Crowded, "crowded"),
    (Greeting::Failed, "failed"),
    (Greeting::Slow, "slow"),
    (Greeting::OtherProtocol, "other-protocol"),
    (Greeting::Void, "void"),
    (Greeting::Full, "full"),
];

/// The connections of members.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Mutex<Open>,
    /// The most in all.
    max: usize,
}

#[derive(Debug, Default)]
struct Open {
    next: ConnectionId,
    connections: BTreeMap<ConnectionId, Connection>,
    of_subject: BTreeMap<Subject, usize>,
    doubles: BTreeMap<Subject, u32>,
    greetings: [u64; GREETINGS.len()],
}

#[derive(Debug)]
struct Connection {
    claim: Claim,
    from: SocketAddr,
    until: At,
    /// Dropped to cut the connection.
    _cut: oneshot::Sender<()>,
}

/// Tells why a member's connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// It has enough already.
    OfMember,
    /// There are enough in all.
    InAll,
}

/// One open connection; dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Held {
    id: ConnectionId,
    connections: Arc<Connections>,
}

impl Held {
    /// Returns which connection it is.
    pub(crate) const fn id(&self) -> ConnectionId {
        self.id
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connections.lock().remove(self.id);
    }
}

impl Connections {
    /// Makes a set of at most `max`.
    pub(crate) fn of_at_most(max: usize) -> Self {
        Self { open: Mutex::default(), max }
    }

    /// Takes a connection of a member; the receiver ends when it is to be cut.
    pub(crate) fn take(
        self: &Arc<Self>,
        claim: &Claim,
        from: SocketAddr,
    ) -> Result<(Held, oneshot::Receiver<()>), Full> {
        let mut open = self.lock();
        if open.connections.len() >= self.max {
            return Err(Full::InAll);
        }
        let of_subject = open.of_subject.get(&claim.subject).copied().unwrap_or_default();
        if of_subject >= limits::CONNECTIONS_OF_MEMBER_MAX {
            return Err(Full::OfMember);
        }
        open.of_subject.insert(claim.subject.clone(), of_subject + 1);
        open.next += 1;
        let id = open.next;
        let (sender, cut) = oneshot::channel();
        let connection =
            Connection { claim: claim.clone(), from, until: claim.until, _cut: sender };
        open.connections.insert(id, connection);
        drop(open);
        Ok((Held { id, connections: Arc::clone(self) }, cut))
    }

    /// Counts a handshake by what came of it.
    pub(crate) fn greeted(&self, greeting: Greeting) {
        let at = GREETINGS.iter().position(|(known, _)| *known == greeting);
        let mut open = self.lock();
        if let Some(count) = at.and_then(|at| open.greetings.get_mut(at)) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns how many handshakes came to each result.
    pub(crate) fn greetings(&self) -> Vec<(&'static str, u64)> {
        let counts = self.lock().greetings;
        GREETINGS.iter().map(|(_, word)| *word).zip(counts).collect()
    }

    /// Returns how many connections are open, and when the first of their certificates ends.
    pub(crate) fn standing(&self) -> (usize, Option<At>) {
        let open = self.lock();
        (open.connections.len(), open.connections.values().map(|c| c.until).min())
    }

    /// Lets a connection stay as long as a newer certificate holds.
    pub(crate) fn extend(&self, id: ConnectionId, until: At) {
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            connection.until = connection.until.max(until);
        }
    }

    /// Cuts the connections whose certificates ended or were revoked.
    pub(crate) fn sweep(&self, roster: &Roster, now: At) {
        let mut open = self.lock();
        let void = |c: &Connection| c.until <= now || roster.caller(&c.claim).is_none();
        let cut: Vec<ConnectionId> =
            open.connections.iter().filter(|(_, c)| void(c)).map(|(id, _)| *id).collect();
        for id in cut {
            if let Some(gone) = open.remove(id) {
                info!(member = gone.claim.name(), from = %gone.from, "connection cut: its certificate holds no longer");
            }
        }
    }

    /// Remembers that another tried to speak as a node while its agent did.
    pub(crate) fn note_double(&self, subject: Subject, from: Option<SocketAddr>) {
        let mut open = self.lock();
        let others = open.connections.values().filter(|c| c.claim.subject == subject);
        let others: Vec<SocketAddr> = others.map(|c| c.from).collect();
        warn!(?subject, ?from, ?others, "two agents speak as one node: the second is refused");
        let count = open.doubles.entry(subject).or_default();
        *count = count.saturating_add(1);
    }

    /// Returns how many connections a member has, and how often another tried to speak as it.
    pub(crate) fn of(&self, subject: &Subject) -> (usize, u32) {
        let open = self.lock();
        let connections = open.of_subject.get(subject).copied().unwrap_or_default();
        (connections, open.doubles.get(subject).copied().unwrap_or_default())
    }

    /// Returns how often another tried to speak as a member that was there.
    pub(crate) fn doubles(&self) -> u64 {
        self.lock().doubles.values().map(|count| u64::from(*count)).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let gone = self.connections.remove(&id)?;
        if let Some(count) = self.of_subject.get_mut(&gone.claim.subject) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_subject.remove(&gone.claim.subject);
            }
        }
        Some(gone)
    }
}
