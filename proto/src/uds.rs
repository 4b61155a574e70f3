//! Unix sockets: the only way anything speaks to anything on one machine.
//!
//! The directory is 0700, the socket 0600, and a peer's user is checked by the kernel's word before
//! a byte of HTTP/2 is read; a socket for named users can be reached by all and lets in none but them.
//! Nothing here knows what is said over a connection.

mod address;
mod incoming;
mod trust;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_stream::Stream;
use tonic::transport::{Channel, Endpoint, Uri};

pub use incoming::{Peer, PeerStream};

use crate::limits;

/// Tells why a socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UdsError {
    /// The path does not end in a file name of usable length.
    #[error("{path} cannot be a socket: its last part must be a name of 1 to {max} bytes")]
    BadName {
        /// The path asked for.
        path: PathBuf,
        /// The most bytes of its last part.
        max: usize,
    },
    /// The directory cannot be made or read.
    #[error("cannot use directory {path} for a socket")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may enter the directory.
    #[error("directory {path} has mode {mode:o}: others may enter it; run `chmod 700 {path}`")]
    DirectoryOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others than the owner may change what is in the directory.
    #[error("directory {path} has mode {mode:o}: others may change it; run `chmod 711 {path}`")]
    DirectoryWritable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory belongs to somebody else.
    #[error("directory {path} belongs to user {owner}; choose another with --state-dir")]
    DirectoryForeign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Somebody answers on the socket.
    #[error("another process serves {path}: stop it or choose another --state-dir")]
    Busy {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket is in the way.
    #[error("{path} is not a socket: move it away")]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answers on the socket.
    #[error("cannot connect to {path}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system or the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Listens on a socket at `path`, in a directory that is made if it is not there.
///
/// A stale socket file is replaced; one that somebody answers on is not. The file is removed when
/// the stream is dropped. The stream never ends and never yields an error: a failed accept is
/// logged and tried again after a pause. Needs a tokio runtime.
///
/// # Errors
/// See [`UdsError`].
pub fn listen(
    path: &Path,
) -> Result<impl Stream<Item = Result<PeerStream, io::Error>> + Send + Unpin + use<>, UdsError> {
    incoming::Incoming::bind(path, BTreeSet::new())
}

/// Listens as [`listen`] does, for these users too: the directory may be entered by others and changed
/// by none, the socket has mode 0666, and whoever is not one of the users is turned away.
///
/// # Errors
/// See [`UdsError`].
pub fn listen_for(
    path: &Path,
    users: BTreeSet<u32>,
) -> Result<impl Stream<Item = Result<PeerStream, io::Error>> + Send + Unpin + use<>, UdsError> {
    incoming::Incoming::bind(path, users)
}

/// Makes a directory with mode 0700, or checks that one that is there is ours and ours alone.
///
/// # Errors
/// Says who else owns it or may enter it.
pub fn private_directory(path: &Path) -> Result<(), UdsError> {
    incoming::prepare_directory(path)
}

/// Connects to the socket at `path`, and again whenever the connection is lost.
///
/// # Errors
/// Fails when nobody answers, or when the one who answers is neither root, nor this user, nor the one
/// to whom root gave the socket's directory.
pub async fn connect(path: &Path) -> Result<Channel, UdsError> {
    let failed = |source| UdsError::Connect { path: path.to_owned(), source };
    let target = path.to_owned();
    // The address is not used: the connector knows the socket.
    Endpoint::from_static("http://tengyun.invalid")
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(limits::HEADER_BYTES_MAX)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let target = target.clone();
            async move { dial(&target).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|e| failed(Box::new(e)))
}

async fn dial(path: &Path) -> io::Result<UnixStream> {
    let address = address::Address::of(path).map_err(io::Error::other)?;
    let stream = UnixStream::connect(address.path()).await?;
    let owner = stream.peer_cred()?.uid();
    let own = nix::unistd::geteuid().as_raw();
    if trust::is_trusted(owner, own) || trust::is_given(path, owner) {
        return Ok(stream);
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} is served by user {owner}, not by this user or root", path.display()),
    ))
}
