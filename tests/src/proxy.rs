//! A TCP proxy that misbehaves on command: what a network does to two ends that are both well.
//!
//! It never changes a byte. As with real TCP, a connection that was open when the wires were cut stays
//! open: what was sent meanwhile arrives after the cut, and an end that came meanwhile is told then. A
//! connection that begins in a cut never was.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// The bytes that are carried at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// The chunks that are on their way in one direction; after that the sender waits, as with TCP.
const CHUNKS_MAX: usize = 64;

/// What one direction of the wires does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// It carries.
    Whole,
    /// It carries, later.
    Slow(Duration),
    /// It carries nothing.
    Cut,
}

/// What both directions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wires {
    /// From the one who connects.
    pub up: Wire,
    /// Back to it.
    pub down: Wire,
}

impl Wires {
    /// Both carry.
    pub const WHOLE: Self = Self { up: Wire::Whole, down: Wire::Whole };
    /// Neither carries.
    pub const CUT: Self = Self { up: Wire::Cut, down: Wire::Cut };
    /// What is said back is heard, and nobody hears the one who connected.
    pub const DEAF: Self = Self { up: Wire::Cut, down: Wire::Whole };
    /// The one who connected is heard, and hears nothing.
    pub const MUTE: Self = Self { up: Wire::Whole, down: Wire::Cut };

    /// Both carry, each with this delay.
    pub const fn slow(delay: Duration) -> Self {
        Self { up: Wire::Slow(delay), down: Wire::Slow(delay) }
    }

    /// A handshake needs both directions.
    fn lets_begin(self) -> bool {
        self.up != Wire::Cut && self.down != Wire::Cut
    }
}

/// One proxy in front of one target; dropped, it and its connections are gone.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    wires: watch::Sender<Wires>,
    resets: watch::Sender<u64>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port; the target sees connections come from `from`.
    pub async fn start(target: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (wires, resets) = (watch::Sender::new(Wires::WHOLE), watch::Sender::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let target = watch::Sender::new(target);
        let carrier = Carrier {
            target: target.subscribe(),
            from: IpAddr::V4(from),
            wires: wires.subscribe(),
            resets: resets.subscribe(),
            open: Arc::clone(&open),
        };
        let task = tokio::spawn(accept(listener, carrier));
        Ok(Self { address, target, wires, resets, open, task })
    }

    /// Returns where to connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to another target: it was started again, at another port.
    pub fn aim(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Says what the wires do from now on.
    pub fn set(&self, wires: Wires) {
        self.wires.send_replace(wires);
    }

    /// Resets every open connection, at both ends.
    pub fn reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, carrier: Carrier) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        // Out of descriptors or the like: whoever connects sees it and tries again.
        let Ok((client, _)) = listener.accept().await else { continue };
        carried.spawn(carrier.clone().carry(client));
    }
}

/// Carries one connection.
#[derive(Clone)]
struct Carrier {
    target: watch::Receiver<SocketAddr>,
    from: IpAddr,
    wires: watch::Receiver<Wires>,
    resets: watch::Receiver<u64>,
    open: Arc<AtomicUsize>,
}

impl Carrier {
    async fn carry(mut self, mut client: TcpStream) {
        self.resets.mark_unchanged();
        if !self.wires.borrow().lets_begin() {
            until(&mut self.wires, Wires::lets_begin).await;
            return reset(&client);
        }
        let Ok(mut server) = self.dial().await else { return reset(&client) };
        self.open.fetch_add(1, Ordering::AcqRel);
        let ended = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let up = Direction { wires: self.wires.clone(), wire: |wires| wires.up };
            let down = Direction { wires: self.wires.clone(), wire: |wires| wires.down };
            let both = async {
                tokio::try_join!(up.pump(from_client, to_server), down.pump(from_server, to_client))
            };
            tokio::select! {
                ended = both => ended.is_ok(),
                _ = self.resets.changed() => false,
            }
        };
        self.open.fetch_sub(1, Ordering::AcqRel);
        if !ended {
            reset(&client);
            reset(&server);
        }
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let target = *self.target.borrow();
        let server = socket.connect(target).await?;
        server.set_nodelay(true)?;
        Ok(server)
    }
}

/// Lets the end of a connection be a reset.
fn reset(stream: &TcpStream) {
    // Without it the end is an ordinary one, which the tests of the proxy would see.
    drop(stream.set_zero_linger());
}

/// One direction of one connection.
struct Direction {
    wires: watch::Receiver<Wires>,
    wire: fn(Wires) -> Wire,
}

/// What was read, and when it is due; nothing is the end.
type Chunk = (Instant, io::Result<Vec<u8>>);

impl Direction {
    async fn pump(
        mut self,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let (chunks, queue) = mpsc::channel(CHUNKS_MAX);
        let (wires, wire) = (self.wires.clone(), self.wire);
        let delay = move || match wire(*wires.borrow()) {
            Wire::Slow(delay) => delay,
            Wire::Whole | Wire::Cut => Duration::ZERO,
        };
        let mut writing = std::pin::pin!(self.write(queue, to));
        tokio::select! {
            written = &mut writing => written,
            () = read(from, chunks, delay) => writing.await,
        }
    }

    async fn write(
        &mut self,
        mut queue: mpsc::Receiver<Chunk>,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let wire = self.wire;
        while let Some((due, chunk)) = queue.recv().await {
            sleep_until(due).await;
            until(&mut self.wires, |wires| wire(wires) != Wire::Cut).await;
            let bytes = chunk?;
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&bytes).await?;
        }
        Ok(())
    }
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<Chunk>,
    delay: impl Fn() -> Duration,
) {
    loop {
        let mut bytes = vec![0; CHUNK_BYTES];
        let read = from.read(&mut bytes).await.map(|count| {
            bytes.truncate(count);
            bytes
        });
        let over = read.as_ref().map_or(true, Vec::is_empty);
        if chunks.send((Instant::now() + delay(), read)).await.is_err() || over {
            return;
        }
    }
}

/// Waits until the wires are so; a proxy that is gone is never waited for.
async fn until(wires: &mut watch::Receiver<Wires>, so: impl Fn(Wires) -> bool) {
    // An error says that the proxy was dropped, and this task ends with it.
    drop(wires.wait_for(|wires| so(*wires)).await);
}
