//! Metrics over a Unix socket, as HTTP/1.1: one request a connection, and nothing but `GET /metrics`.
//!
//! Whoever may open the socket may read; there is nothing to write. Connections are bounded in number,
//! size and time, so a reader that hangs costs its own answer only.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Group;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{CONTENT_TYPE, PATH};

/// The most connections at a time; scrapers are one or two.
const CONNECTIONS_MAX: usize = 8;
/// The longest request; ours have some hundred bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// How long a connection may take in all.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells why metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The socket cannot be made.
    #[error("cannot serve metrics on {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such group.
    #[error("no group is called {0}: make it, or leave --metrics-group out")]
    NoGroup(String),
}

/// A socket that metrics are read from.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket: for its owner, and for a group where one is named. What an earlier process
    /// left is replaced.
    pub fn open(path: &Path, group: Option<&str>) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        let group = group.map(find_group).transpose()?;
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        // It gets its name only when it has its mode.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!(".{name}.{}", std::process::id());
        let new = path.with_file_name(&name);
        let open = || -> io::Result<UnixListener> {
            remove(&new)?;
            // The kernel takes 107 bytes of a path: a longer one is reached by its opened directory.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = fs::File::open(parent.unwrap_or(Path::new(".")))?;
            let short = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
            let listener = UnixListener::bind(short)?;
            let mode = if group.is_some() { 0o660 } else { 0o600 };
            fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
            if let Some(group) = &group {
                std::os::unix::fs::chown(&new, None, Some(group.gid.as_raw()))?;
            }
            fs::rename(&new, path)?;
            Ok(listener)
        };
        let listener = open().map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until `stop`; `render` gives the text, or nothing while there is none.
    pub async fn serve<R, F>(self, render: R, stop: impl Future<Output = ()>)
    where
        R: Fn() -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Option<String>> + Send,
    {
        let mut connections = JoinSet::new();
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut stop = std::pin::pin!(stop);
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    // One too many is closed at once.
                    let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
                    let render = render.clone();
                    connections.spawn(async move {
                        let answered = timeout(CONNECTION_TIME_MAX, answer(stream, render)).await;
                        if let Ok(Err(error)) = answered {
                            tracing::debug!(%error, "a reader of metrics went away");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a reader of metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.shutdown().await;
        if let Err(error) = remove(&self.path) {
            tracing::debug!(%error, "cannot remove the socket of metrics");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) | Ok(()) => Ok(()),
    }
}

fn find_group(name: &str) -> Result<Group, SocketError> {
    let found = Group::from_name(name).ok().flatten();
    found.ok_or_else(|| SocketError::NoGroup(name.to_owned()))
}

async fn answer<R, F>(mut stream: UnixStream, render: R) -> io::Result<()>
where
    R: Fn() -> F,
    F: Future<Output = Option<String>>,
{
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await?;
        request.extend_from_slice(&chunk[..read]);
        if read == 0 || request.len() > REQUEST_BYTES_MAX {
            return respond(&mut stream, "400 Bad Request", "", true).await;
        }
    }
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET" | "HEAD", PATH) => match render().await {
            Some(text) => respond(&mut stream, "200 OK", &text, method == "GET").await,
            None => respond(&mut stream, "503 Service Unavailable", "", true).await,
        },
        ("GET" | "HEAD", _) => respond(&mut stream, "404 Not Found", "", true).await,
        _ => respond(&mut stream, "405 Method Not Allowed", "", true).await,
    }
}

async fn respond(stream: &mut UnixStream, status: &str, body: &str, whole: bool) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    if whole {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use tokio::sync::oneshot;

    use super::*;

    async fn ask(path: &Path, request: &str) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn only_metrics_are_answered_and_only_to_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        // What a process that was killed left.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::open(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let (stop, stopped) = oneshot::channel::<()>();
        let render = || async { Some("x 1\n# EOF\n".to_owned()) };
        let stopped = async move { drop(stopped.await) };
        let serving = tokio::spawn(async move { socket.serve(render, stopped).await });
        let answer = ask(&path, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(CONTENT_TYPE) && answer.ends_with("\r\n\r\nx 1\n# EOF\n"));
        for (request, status) in [
            ("GET /other HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (&"x".repeat(REQUEST_BYTES_MAX + 1), "400"),
        ] {
            let answer = ask(&path, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        }
        stop.send(()).unwrap();
        serving.await.unwrap();
        assert!(!path.exists(), "the socket is left");
    }

    #[tokio::test]
    async fn readers_that_hang_are_bounded_and_a_missing_group_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        let error = Socket::open(&path, Some("no-such-group")).unwrap_err().to_string();
        assert!(error.contains("no-such-group"), "{error}");
        let socket = Socket::open(&path, None).unwrap();
        let serving = tokio::spawn(async move {
            socket.serve(|| async { None }, std::future::pending()).await;
        });
        let mut hanging = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            hanging.push(UnixStream::connect(&path).await.unwrap());
        }
        let mut one_too_many = UnixStream::connect(&path).await.unwrap();
        let mut answer = Vec::new();
        // Closed at once, or reset with what was sent unread.
        let closed = one_too_many.read_to_end(&mut answer).await;
        assert!(closed.is_err() || answer.is_empty());
        serving.abort();
    }

    #[tokio::test]
    async fn a_directory_may_lie_deep() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("metrics.sock");
        Socket::open(&path, None).unwrap();
        assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        fs::write(&path, "precious").unwrap();
        assert!(Socket::open(&path, None).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
