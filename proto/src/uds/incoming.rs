//! The accept loop of a Unix socket: only trusted peers, only so many, and never at an end.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Permissions};
use std::future::Future as _;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::Connected;
use tracing::{error, warn};

use super::UdsError;
use super::address::{self, Address};
use super::trust::is_trusted;
use crate::limits;

/// How long to wait after a failed accept: long enough for descriptors to come free, short enough
/// that nobody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The bits that let others than the owner enter a directory.
const OTHERS: u32 = 0o077;
/// The bits that let others than the owner change what is in a directory.
const OTHERS_WRITE: u32 = 0o022;

/// Who is at the other end, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user of the process that connected.
    pub uid: u32,
    /// Its process id, where the kernel knows it.
    pub pid: Option<i32>,
}

/// A connection whose peer is trusted.
#[derive(Debug)]
pub struct PeerStream {
    stream: UnixStream,
    peer: Peer,
    _slot: Slot,
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// One of the connections that a socket may have at a time.
#[derive(Debug)]
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < max).then_some(n + 1))
            .ok()
            .map(|_| Self(Arc::clone(open)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A listening socket as a stream of trusted connections.
#[derive(Debug)]
pub(super) struct Incoming {
    listener: UnixListener,
    path: PathBuf,
    own: u32,
    /// Who is let in besides ourselves and root.
    users: BTreeSet<u32>,
    open: Arc<AtomicUsize>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Held while we listen, so that two starting at once cannot both replace a stale socket.
    _lock: File,
}

impl Incoming {
    pub(super) fn bind(path: &Path, users: BTreeSet<u32>) -> Result<Self, UdsError> {
        let (directory, _) = address::split(path)?;
        let alone = users.is_empty();
        if alone { prepare_directory(directory) } else { prepare_passage(directory) }?;
        let lock = lock(path)?;
        remove_stale(path)?;
        let listener = bind(path, if alone { 0o600 } else { 0o666 })
            .map_err(|source| UdsError::Listen { path: path.to_owned(), source })?;
        let own = nix::unistd::geteuid().as_raw();
        let open = Arc::new(AtomicUsize::new(0));
        Ok(Self { listener, path: path.to_owned(), own, users, open, pause: None, _lock: lock })
    }

    fn admit(&self, stream: UnixStream) -> Option<PeerStream> {
        let credentials = match stream.peer_cred() {
            Ok(credentials) => credentials,
            Err(e) => {
                warn!(path = %self.path.display(), error = %e, "connection of an unknown user dropped");
                return None;
            }
        };
        let peer = Peer { uid: credentials.uid(), pid: credentials.pid() };
        if !is_trusted(peer.uid, self.own) && !self.users.contains(&peer.uid) {
            warn!(path = %self.path.display(), uid = peer.uid, "connection of another user dropped");
            return None;
        }
        let Some(slot) = Slot::take(&self.open, limits::CONNECTIONS_MAX) else {
            warn!(path = %self.path.display(), max = limits::CONNECTIONS_MAX, "too many connections");
            return None;
        };
        Some(PeerStream { stream, peer, _slot: slot })
    }
}

impl Stream for Incoming {
    type Item = Result<PeerStream, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = self.pause.as_mut() {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => {
                    if let Some(peer) = self.admit(stream) {
                        return Poll::Ready(Some(Ok(peer)));
                    }
                }
                Err(e) => {
                    error!(path = %self.path.display(), error = %e, "cannot accept a connection");
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // We hold the lock, so the file is ours. That it stays after a failure does no harm: it is
        // then stale and will be replaced.
        if let Err(e) = std::fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), error = %e, "cannot remove the socket");
        }
    }
}

pub(super) fn prepare_directory(path: &Path) -> Result<(), UdsError> {
    let mode = prepare(path, 0o700)?;
    if mode & OTHERS != 0 {
        return Err(UdsError::DirectoryOpen { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Makes a directory that others pass through, or checks that they cannot change one that is there.
fn prepare_passage(path: &Path) -> Result<(), UdsError> {
    let mode = prepare(path, 0o711)?;
    if mode & OTHERS_WRITE != 0 {
        return Err(UdsError::DirectoryWritable { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Makes a directory with a mode, or checks that one that is there is ours; returns its mode.
fn prepare(path: &Path, mode: u32) -> Result<u32, UdsError> {
    let failed = |source| UdsError::Directory { path: path.to_owned(), source };
    let is_new = !path.exists();
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    if is_new {
        // Whatever mask we were started with.
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    }
    let found = std::fs::metadata(path).map_err(failed)?;
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(UdsError::DirectoryForeign { path: path.to_owned(), owner: found.uid() });
    }
    Ok(found.mode() & 0o7777)
}

fn lock(path: &Path) -> Result<File, UdsError> {
    let failed = |source| UdsError::Listen { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(UdsError::Busy { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(e)) => Err(failed(e)),
    }
}

fn remove_stale(path: &Path) -> Result<(), UdsError> {
    let failed = |source| UdsError::Listen { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(UdsError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let address = Address::of(path)?;
    match std::os::unix::net::UnixStream::connect(address.path()) {
        Ok(_) => Err(UdsError::Busy { path: path.to_owned() }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(e) => Err(failed(e)),
    }
}

/// Binds beside the path, gives the file its mode, and only then its name: at no moment could one
/// reach it who may not, and the process's umask, shared by all threads, is not touched.
fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let address = Address::of(path).map_err(io::Error::other)?;
    let mut unnamed = address.path().as_os_str().to_owned();
    unnamed.push(".new");
    let unnamed = PathBuf::from(unnamed);
    match std::fs::remove_file(&unnamed) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&unnamed)?;
    std::fs::set_permissions(&unnamed, Permissions::from_mode(mode))?;
    std::fs::rename(&unnamed, address.path())?;
    Ok(listener)
}
