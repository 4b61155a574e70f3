//! Sockets: private, checked, replaced only when nobody answers.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tengyun_proto::limits;
use tengyun_proto::uds::{self, UdsError};
use tokio::io::AsyncReadExt as _;
use tokio_stream::StreamExt as _;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

struct Place {
    _dir: tempfile::TempDir,
    socket: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("state/x.sock");
    Place { _dir: dir, socket }
}

#[track_caller]
fn refused(path: &Path) -> UdsError {
    match uds::listen(path) {
        Ok(_) => panic!("listens on {}", path.display()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn the_directory_and_the_socket_are_private() {
    let place = place();
    let _incoming = uds::listen(&place.socket).unwrap();
    assert_eq!(mode(place.socket.parent().unwrap()), 0o700);
    assert_eq!(mode(&place.socket), 0o600);
}

#[tokio::test]
async fn a_directory_that_others_may_enter_is_refused_with_the_remedy() {
    let place = place();
    let directory = place.socket.parent().unwrap();
    fs::create_dir(directory).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refused(&place.socket);
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn a_socket_for_users_is_passed_to_and_nobody_else_may_change_its_directory() {
    let place = place();
    let users = std::collections::BTreeSet::from([1001]);
    drop(uds::listen_for(&place.socket, users.clone()).unwrap());
    let directory = place.socket.parent().unwrap();
    assert_eq!(mode(directory), 0o711);
    let _incoming = uds::listen_for(&place.socket, users.clone()).unwrap();
    assert_eq!(mode(&place.socket), 0o666);
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    let other = directory.join("y.sock");
    let error = uds::listen_for(&other, users).map(drop).unwrap_err();
    assert!(error.to_string().contains("chmod 711"), "{error}");
}

#[tokio::test]
async fn a_socket_that_somebody_answers_on_is_not_replaced() {
    let place = place();
    let _incoming = uds::listen(&place.socket).unwrap();
    let error = refused(&place.socket);
    assert!(matches!(error, UdsError::Busy { .. }), "{error}");
    assert!(error.to_string().contains("--state-dir"), "{error}");
    // Also when whoever answers does not know our lock.
    fs::remove_file(place.socket.with_extension("sock.lock")).unwrap();
    assert!(matches!(refused(&place.socket), UdsError::Busy { .. }));
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_other_files_are_not() {
    let place = place();
    fs::create_dir(place.socket.parent().unwrap()).unwrap();
    fs::set_permissions(place.socket.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&place.socket).unwrap());
    let incoming = uds::listen(&place.socket).unwrap();
    drop(incoming);
    assert!(!place.socket.exists(), "the socket outlived its listener");
    fs::write(&place.socket, "precious").unwrap();
    assert!(matches!(refused(&place.socket), UdsError::NotASocket { .. }));
    assert_eq!(fs::read(&place.socket).unwrap(), b"precious");
}

#[tokio::test]
async fn a_path_longer_than_a_socket_address_works() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("d".repeat(120)).join("e".repeat(120)).join("x.sock");
    let mut incoming = uds::listen(&socket).unwrap();
    let dialled = tokio::spawn(async move { uds::connect(&socket).await });
    assert!(incoming.next().await.unwrap().is_ok());
    dialled.abort();
}

#[tokio::test]
async fn a_socket_without_a_usable_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [dir.path().join("n".repeat(65)), PathBuf::from("/"), PathBuf::from("..")] {
        assert!(matches!(refused(&bad), UdsError::BadName { .. }), "{}", bad.display());
    }
}

#[tokio::test]
async fn connecting_to_nobody_fails_with_the_path() {
    let place = place();
    let error = uds::connect(&place.socket).await.unwrap_err();
    assert!(error.to_string().contains("x.sock"), "{error}");
}

#[tokio::test]
async fn more_connections_than_allowed_are_dropped_and_room_comes_back() {
    let place = place();
    let mut incoming = uds::listen(&place.socket).unwrap();
    let mut kept = Vec::new();
    for _ in 0..limits::CONNECTIONS_MAX {
        let client = UnixStream::connect(&place.socket).unwrap();
        kept.push((client, incoming.next().await.unwrap().unwrap()));
    }
    let mut refused = tokio::net::UnixStream::connect(&place.socket).await.unwrap();
    let mut end = [0; 1];
    tokio::select! {
        _ = incoming.next() => panic!("a connection beyond the limit was admitted"),
        read = refused.read(&mut end) => assert_eq!(read.unwrap(), 0, "it was kept open"),
    }
    kept.pop();
    let _client = UnixStream::connect(&place.socket).unwrap();
    assert!(incoming.next().await.unwrap().is_ok());
}

/// The user `nobody` on every distribution.
const NOBODY: u32 = 65_534;

/// Connects as another user in a child process; returns true when it was dropped unanswered.
#[expect(unsafe_code, reason = "only a process of its own can have another user")]
fn dropped_as_nobody(socket: &Path) -> bool {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, Uid, fork, setuid};
    // SAFETY: the child makes system calls on memory made before the fork, and ends with _exit.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let connected = setuid(Uid::from_raw(NOBODY)).is_ok();
            let stream = connected.then(|| UnixStream::connect(socket).ok()).flatten();
            let read = stream.and_then(|mut s| std::io::Read::read(&mut s, &mut [0; 1]).ok());
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { nix::libc::_exit(i32::from(read != Some(0))) }
        }
        ForkResult::Parent { child } => {
            waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0)
        }
    }
}

#[tokio::test]
async fn another_user_is_dropped_before_a_word_is_said() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("TENGYUN_TEST_NO_SKIP").is_none(), "needs root");
        println!("SKIPPED(needs root to become another user)");
        return;
    }
    let dir = tempfile::Builder::new().prefix("uds").tempdir_in("/tmp").unwrap();
    let socket = dir.path().join("state/x.sock");
    let mut incoming = uds::listen(&socket).unwrap();
    // An administrator's mistake: the modes no longer keep others out.
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(dir.path(), 0o755).unwrap();
    open(socket.parent().unwrap(), 0o755).unwrap();
    open(&socket, 0o666).unwrap();
    let child = tokio::task::spawn_blocking(move || dropped_as_nobody(&socket));
    tokio::select! {
        _ = incoming.next() => panic!("another user was admitted"),
        dropped = child => assert!(dropped.unwrap(), "another user was not dropped"),
    }
}

#[tokio::test]
async fn the_kernel_says_who_is_there() {
    use tonic::transport::server::Connected as _;
    let place = place();
    let mut incoming = uds::listen(&place.socket).unwrap();
    let _client = UnixStream::connect(&place.socket).unwrap();
    let peer = incoming.next().await.unwrap().unwrap().connect_info();
    assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(peer.pid, i32::try_from(std::process::id()).ok());
}
