//! What abusers say, and the one who says it, over and over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tengyun_proto::identity::Identity;
use tengyun_proto::tls;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::frames::{self, END_HEADERS, END_STREAM, PREFACE, call, frame, header, stream};

/// How long an abuser pauses after its connection was ended.
const PAUSE: Duration = Duration::from_millis(20);
/// How slow slow is: a byte in that time.
const SLOW: Duration = Duration::from_millis(500);
/// The frames that are written together.
const TOGETHER: usize = 64;
/// The bytes of one large frame; more are not allowed unless they are asked for.
const LARGE: usize = 16_000;
/// A call that every member may make.
const CALL: &str = "/grpc.health.v1.Health/Check";

/// One kind of abuse.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// Frames without end, as fast as they are taken; what comes back is read, or never.
    Frames { frames: fn(usize) -> Vec<u8>, reads: bool },
    /// A few frames, then silence; nothing is read.
    Silence(fn() -> Vec<u8>),
    /// A greeting of HTTP/2, byte by byte.
    SlowWords,
    /// A handshake, byte by byte.
    SlowHandshake,
    /// Bytes that are no frames.
    Noise,
    /// Handshake after handshake.
    Handshakes,
}

/// Every kind.
pub const ATTACKS: &[Attack] = &[
    flood("rapid reset", rapid_reset, true),
    flood(
        "streams that never end",
        |n| frame(frames::HEADERS, END_HEADERS, stream(n), &headers()),
        true,
    ),
    flood("whole calls", whole_call, true),
    flood("headers that never end", endless_headers, false),
    flood("huge headers", huge_headers, false),
    flood("headers that swell", swelling_headers, true),
    flood("empty data", empty_data, true),
    flood("pings", |_| frame(frames::PING, 0, 0, &[7; 8]), true),
    flood("pings, answers unread", |_| frame(frames::PING, 0, 0, &[7; 8]), false),
    flood("settings", |_| frame(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]), true),
    flood("windows and priorities", windows, true),
    Attack { name: "answers unread", how: How::Silence(unread) },
    Attack { name: "slow words", how: How::SlowWords },
    Attack { name: "slow handshakes", how: How::SlowHandshake },
    Attack { name: "noise", how: How::Noise },
    Attack { name: "handshakes", how: How::Handshakes },
];

const fn flood(name: &'static str, frames: fn(usize) -> Vec<u8>, reads: bool) -> Attack {
    Attack { name, how: How::Frames { frames, reads } }
}

fn headers() -> Vec<u8> {
    call(CALL, &[])
}

fn rapid_reset(n: usize) -> Vec<u8> {
    let mut both = frame(frames::HEADERS, END_HEADERS | END_STREAM, stream(n), &headers());
    both.extend(frame(frames::RESET, 0, stream(n), &[0, 0, 0, 8]));
    both
}

fn whole_call(n: usize) -> Vec<u8> {
    let mut both = frame(frames::HEADERS, END_HEADERS, stream(n), &headers());
    both.extend(frame(frames::DATA, END_STREAM, stream(n), &[0; 5]));
    both
}

fn endless_headers(n: usize) -> Vec<u8> {
    match n {
        0 => frame(frames::HEADERS, 0, 1, &headers()),
        _ => frame(frames::CONTINUATION, 0, 1, &header("x", &[b'y'; 1000])),
    }
}

fn huge_headers(n: usize) -> Vec<u8> {
    if n > 0 {
        return frame(frames::CONTINUATION, 0, 1, &[b'y'; LARGE]);
    }
    // One header whose value never comes to its end.
    let mut endless = header("x", &vec![b'y'; 100 * LARGE]);
    endless.truncate(LARGE);
    frame(frames::HEADERS, 0, 1, &endless)
}

/// A header that is named once and then referred to by one byte, very often.
fn swelling_headers(n: usize) -> Vec<u8> {
    let mut block = headers();
    if n == 0 {
        // With incremental indexing: it has the first place in the table from now on.
        block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
        block.extend([b'y'; 4000]);
    }
    block.extend([0xbe; 3000]);
    frame(frames::HEADERS, END_HEADERS | END_STREAM, stream(n), &block)
}

fn empty_data(n: usize) -> Vec<u8> {
    match n {
        0 => frame(frames::HEADERS, END_HEADERS, 1, &headers()),
        _ => frame(frames::DATA, 0, 1, &[]),
    }
}

fn windows(n: usize) -> Vec<u8> {
    match n % 2 {
        0 => frame(frames::WINDOW, 0, 0, &[0, 0, 0, 1]),
        _ => frame(frames::PRIORITY, 0, stream(n), &[0, 0, 0, 0, 7]),
    }
}

/// As many calls as are allowed, and no window for their answers.
fn unread() -> Vec<u8> {
    let mut said = frame(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for n in 0..64 {
        said.extend(whole_call(n));
    }
    said
}

/// What the abusers counted.
#[derive(Debug, Default)]
pub(super) struct Count {
    open: AtomicUsize,
    most: AtomicUsize,
    ended: AtomicUsize,
}

/// One open connection.
#[derive(Debug)]
struct Open<'a>(&'a Count);

impl Count {
    /// Returns how many connections are open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Returns how many were open at most, and how many were ended by the other side.
    pub(super) fn result(&self) -> (usize, usize) {
        (self.most.load(Ordering::Acquire), self.ended.load(Ordering::Acquire))
    }

    fn opened(&self) -> Open<'_> {
        let open = self.open.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(open, Ordering::AcqRel);
        Open(self)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells abusers to begin, by telling them when to end.
pub(super) type Begin = watch::Receiver<Option<Instant>>;

/// One abuser; it keeps one connection up until the end.
#[derive(Debug)]
pub(super) struct Abuser {
    pub(super) identity: Identity,
    pub(super) member: bool,
    pub(super) from: Ipv4Addr,
    pub(super) attack: &'static Attack,
    pub(super) begin: Begin,
}

/// Waits for the beginning; returns when the end is.
async fn begun(mut begin: Begin) -> Instant {
    // Without anybody who could tell, it is over.
    let end = begin.wait_for(Option::is_some).await;
    end.ok().and_then(|end| *end).unwrap_or_else(Instant::now)
}

impl Attack {
    /// Says whether its connections are up before it begins.
    pub(super) const fn gathers(&self) -> bool {
        !matches!(self.how, How::SlowHandshake | How::Handshakes)
    }
}

impl Abuser {
    pub(super) async fn abuse(self, count: Arc<Count>) {
        let begin = self.begin.clone();
        let over = async { sleep_until(begun(begin).await.into()).await };
        tokio::select! {
            () = over => {}
            () = self.again_and_again(&count) => {}
        }
    }

    async fn again_and_again(&self, count: &Count) {
        if !self.member {
            // A stranger may not stay, so it comes when it begins.
            begun(self.begin.clone()).await;
        }
        loop {
            if let Ok(stream) = self.dial().await {
                // How the connection ends is not what counts.
                drop(self.over(stream, count).await);
                count.ended.fetch_add(1, Ordering::AcqRel);
            }
            sleep(PAUSE).await;
        }
    }

    async fn dial(&self) -> std::io::Result<TcpStream> {
        let to: SocketAddr =
            self.identity.address.as_str().parse().map_err(std::io::Error::other)?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(self.from), 0))?;
        socket.connect(to).await
    }

    async fn over(&self, mut stream: TcpStream, count: &Count) -> std::io::Result<()> {
        if matches!(self.attack.how, How::SlowHandshake) {
            let _open = count.opened();
            // The head of a TLS record, and then of a greeting that takes for ever.
            let hello = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 500]].concat();
            return slowly(&mut stream, &hello).await;
        }
        let identity = self.member.then_some(&self.identity);
        let mut stream = secure(stream, &self.identity.authority, identity).await?;
        let _open = count.opened();
        if self.attack.gathers() {
            begun(self.begin.clone()).await;
        }
        match self.attack.how {
            How::SlowHandshake | How::Handshakes => Ok(()),
            How::Noise => loop {
                stream.write_all(&[0xa5; 4096]).await?;
            },
            How::SlowWords => slowly(&mut stream, PREFACE).await,
            How::Silence(words) => {
                stream.write_all(&[PREFACE, &words()].concat()).await?;
                stream.flush().await?;
                std::future::pending().await
            }
            How::Frames { frames, reads } => flood_over(stream, frames, reads).await,
        }
    }
}

/// Says something byte by byte.
async fn slowly(stream: &mut (impl AsyncWrite + Unpin), words: &[u8]) -> std::io::Result<()> {
    for byte in words {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        sleep(SLOW).await;
    }
    Ok(())
}

/// Shakes hands over a connection, as a member or as nobody.
///
/// # Errors
/// The other side does not want to, or is another.
pub async fn secure(
    stream: TcpStream,
    authority: &[u8],
    member: Option<&Identity>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let roots = tls::trust(authority).map_err(std::io::Error::other)?;
    let builder = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(std::io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match member {
        Some(identity) => {
            let chain = vec![CertificateDer::from(identity.certificate.der.clone())];
            let key = PrivatePkcs8KeyDer::from(identity.key.private().to_vec());
            let shown = builder.with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key));
            shown.map_err(std::io::Error::other)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![tls::ALPN.to_vec()];
    let name = ServerName::try_from(tls::SCHEDULER_NAME).map_err(std::io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn flood_over(
    stream: TlsStream<TcpStream>,
    frames: fn(usize) -> Vec<u8>,
    reads: bool,
) -> std::io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let write = async {
        to.write_all(PREFACE).await?;
        for first in (0..usize::MAX).step_by(TOGETHER) {
            let bytes: Vec<u8> = (first..first + TOGETHER).flat_map(frames).collect();
            to.write_all(&bytes).await?;
            to.flush().await?;
        }
        Ok(())
    };
    let read = async {
        let mut bytes = [0; 4096];
        // Reading tells also that the other side has had enough.
        while reads && from.read(&mut bytes).await? > 0 {}
        if reads {
            Err(std::io::ErrorKind::UnexpectedEof.into())
        } else {
            std::future::pending().await
        }
    };
    tokio::try_join!(write, read).map(|((), ())| ())
}
