//! The door: the one TCP listener, which speaks nothing but TLS 1.3. It lets connections in, bounds
//! them, and finds out who they are; what they may do is not its business.

mod unknown;
mod visitor;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tengyun_model::At;
use tengyun_proto::{limits, tls};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, warn};

use crate::authority::claim::Claim;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Clock;
use crate::connections::{Connections, Greeting, Visit, Void, Who};
use crate::roster::Roster;
use crate::tasks::stopped;
use unknown::{Slot, UnknownPeers};
pub(crate) use visitor::Visitor;

/// How many connections may wait for the server to take them.
const WAITING_MAX: usize = 64;
/// How long to wait after a failed accept: long enough for descriptors to come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often connections are looked at whose certificates may have ended.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How many handshakes may come at once after a quiet moment.
const BURST: u32 = 50;

/// Tells why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// An open door.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    renew_at: Instant,
    authority: Arc<Authority>,
    greeter: Greeter,
}

/// What finds out who came.
#[derive(Clone, Debug)]
struct Greeter {
    roster: watch::Receiver<Arc<Roster>>,
    connections: Arc<Connections>,
    unknown: Arc<UnknownPeers>,
    out: mpsc::Sender<io::Result<Visitor>>,
}

impl Door {
    /// Listens; the receiver gives those who came in.
    pub(crate) async fn open(
        address: SocketAddr,
        authority: Arc<Authority>,
        roster: watch::Receiver<Arc<Roster>>,
        connections: Arc<Connections>,
    ) -> Result<(Self, mpsc::Receiver<io::Result<Visitor>>), DoorError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| DoorError::Listen { address, source })?;
        let (tls, renew_at) = configure(&authority)?;
        let (out, visitors) = mpsc::channel(WAITING_MAX);
        let greeter = Greeter { roster, connections, unknown: Arc::default(), out };
        Ok((Self { listener, tls, renew_at, authority, greeter }, visitors))
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Lets connections in until the stop.
    pub(crate) async fn serve(mut self, stop: watch::Receiver<bool>) {
        let mut handshakes = JoinSet::new();
        let mut pace = Pace::new(Instant::now());
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut clock = wall();
        let mut roster = self.greeter.roster.clone();
        let mut end = std::pin::pin!(stopped(stop));
        loop {
            while handshakes.try_join_next().is_some() {}
            tokio::select! {
                () = &mut end => break,
                // The writer has ended when this fails; the stop is near.
                Ok(()) = roster.changed() => self.sweep(clock.now()),
                _ = sweep.tick() => self.sweep(clock.now()),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        self.renew();
                        let slot = self.greeter.unknown.take(from.ip());
                        if slot.is_none() {
                            self.greeter.connections.greeted(Greeting::Crowded);
                        }
                        if let Some(slot) = slot {
                            let greeter = self.greeter.clone();
                            let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
                            handshakes.spawn(greeter.greet(acceptor, stream, from, slot));
                            // Those that are turned away do not make others wait.
                            pace.wait().await;
                        }
                    }
                    Err(error) => {
                        error!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        handshakes.shutdown().await;
    }

    fn sweep(&self, now: At) {
        let roster = Arc::clone(&self.greeter.roster.borrow());
        self.greeter.connections.sweep(&roster, now);
    }

    /// Makes the scheduler's own certificate anew when half of its time is over.
    fn renew(&mut self) {
        if Instant::now() < self.renew_at {
            return;
        }
        match configure(&self.authority) {
            Ok((tls, renew_at)) => (self.tls, self.renew_at) = (tls, renew_at),
            Err(error) => error!(%error, "cannot renew the scheduler's own certificate"),
        }
    }
}

impl Greeter {
    async fn greet(self, acceptor: TlsAcceptor, stream: TcpStream, from: SocketAddr, slot: Slot) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%from, %error, "connection has gone");
            return;
        }
        let stream = match timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                debug!(%from, %error, "handshake failed");
                self.connections.greeted(Greeting::Failed);
                return;
            }
            Err(_) => {
                debug!(%from, "handshake took too long");
                self.connections.greeted(Greeting::Slow);
                return;
            }
        };
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(tls::ALPN) {
            debug!(%from, "peer speaks another protocol");
            self.connections.greeted(Greeting::OtherProtocol);
            return;
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let visitor = match certificate.map(Claim::of) {
            None => {
                self.connections.greeted(Greeting::Unknown);
                Visitor::unknown(stream, visit(Who::Unknown, from), slot)
            }
            Some(None) => {
                self.connections.greeted(Greeting::Void);
                let void = Who::Void(Void::Nobody);
                Visitor::unknown(stream, visit(void, from), slot)
            }
            Some(Some(claim)) if self.roster.borrow().caller(&claim).is_none() => {
                warn!(member = claim.name(), %from, "certificate was revoked");
                self.connections.greeted(Greeting::Void);
                let void = Who::Void(Void::Revoked);
                Visitor::unknown(stream, visit(void, from), slot)
            }
            Some(Some(claim)) => match self.connections.take(&claim, from) {
                Ok((held, cut)) => {
                    self.connections.greeted(Greeting::Member);
                    let visit = Visit { connection: held.id(), ..visit(Who::Member(claim), from) };
                    Visitor::member(stream, visit, held, cut)
                }
                Err(full) => {
                    warn!(member = claim.name(), %from, ?full, "too many connections");
                    self.connections.greeted(Greeting::Full);
                    return;
                }
            },
        };
        if self.out.send(Ok(visitor)).await.is_err() {
            debug!(%from, "the server has ended");
        }
    }
}

fn visit(who: Who, from: SocketAddr) -> Visit {
    Visit { who, from, connection: 0 }
}

/// A clock for certificates, which hold by wall time.
fn wall() -> Clock {
    Clock::start(At::default())
}

fn configure(authority: &Authority) -> Result<(Arc<ServerConfig>, Instant), AuthorityError> {
    let config = authority.server(wall().now())?;
    let renewal = Duration::from_millis(Authority::server_renewal().get());
    Ok((Arc::new(config), Instant::now() + renewal))
}

/// Spaces handshakes out.
#[derive(Debug)]
struct Pace {
    next: Instant,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// Waits until the next handshake may begin.
    async fn wait(&mut self) {
        let now = Instant::now();
        self.next = self.due(now);
        if self.next > now {
            sleep_until(self.next).await;
        }
    }

    fn due(&self, now: Instant) -> Instant {
        let spacing = Duration::from_secs(1) / limits::HANDSHAKES_PER_SECOND_MAX;
        let earliest = now.checked_sub(spacing * BURST).unwrap_or(now);
        self.next.max(earliest) + spacing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_handshakes_begin_in_a_second_than_allowed() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut pace = Pace::new(start);
        let (mut now, mut begun) = (start + Duration::from_secs(5), 0);
        let end = now + Duration::from_secs(1);
        while now < end {
            begun += 1;
            pace.next = pace.due(now);
            now = now.max(pace.next);
        }
        let allowed = limits::HANDSHAKES_PER_SECOND_MAX + BURST;
        assert!((limits::HANDSHAKES_PER_SECOND_MAX..=allowed).contains(&begun), "{begun}");
    }
}
