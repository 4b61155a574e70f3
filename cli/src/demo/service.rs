//! The critical service of the demo: a fixed amount of CPU work for each request on a Unix socket.
//! It keeps no queue of its own, so what the client measures is the node.

use std::fs;
use std::hint::black_box;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::demo::player::thread_cpu;

/// The most connections served at a time; the demo's client holds [`crate::demo::client::LANES`].
pub const CONNECTIONS_MAX: usize = 64;

/// The size of a request and of a response: one number.
pub const MESSAGE_BYTES: usize = 8;

/// The CPU time of one request in the demo.
pub const WORK: Duration = Duration::from_micros(100);

/// The iterations of one calibration run, and how many runs there are: some milliseconds in all.
const CALIBRATION: (u64, u32) = (200_000, 9);

/// Serves on `socket` until the listener fails: each request costs `work_iterations` rounds.
///
/// A stale socket file is replaced; any user of its directory may connect.
pub fn serve(socket: &Path, work_iterations: u64) -> io::Result<()> {
    accept(&listen(socket)?, work_iterations)
}

/// Returns the number of iterations that cost `work` CPU time here, at least one.
pub fn calibrate(work: Duration) -> u64 {
    let (iterations, runs) = CALIBRATION;
    let fastest = (0..runs)
        .map(|seed| {
            let before = thread_cpu();
            black_box(toil(u64::from(seed), iterations));
            thread_cpu().saturating_sub(before)
        })
        .min();
    let nanos = fastest.map_or(1, |cost| cost.as_nanos().max(1));
    u64::try_from(work.as_nanos() * u128::from(iterations) / nanos).unwrap_or(u64::MAX).max(1)
}

/// Does the work of one request: a chain of rounds, each of which needs the one before.
pub fn toil(request: u64, iterations: u64) -> u64 {
    (0..iterations).fold(request, |state, round| {
        let mixed = black_box(state ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    })
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(socket) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(socket)?,
        Ok(_) => return Err(io::Error::from(io::ErrorKind::AlreadyExists)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

fn accept(listener: &UnixListener, work_iterations: u64) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept()?;
        if open.load(Ordering::SeqCst) >= CONNECTIONS_MAX {
            // Closing is the refusal: the client sees the end of the stream.
            drop(stream);
            continue;
        }
        open.fetch_add(1, Ordering::SeqCst);
        let slot = Slot(Arc::clone(&open));
        thread::Builder::new().name("connection".to_owned()).spawn(move || {
            let _held = slot;
            // A client that goes away, even mid-request, ends its connection and nothing else.
            answer(stream, work_iterations).ok();
        })?;
    }
}

/// One of the connections; gives its place back when it ends.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn answer(mut stream: UnixStream, work_iterations: u64) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    loop {
        stream.read_exact(&mut message)?;
        let result = toil(u64::from_le_bytes(message), work_iterations);
        stream.write_all(&result.to_le_bytes())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_calibrated_in_cpu_time() {
        let iterations = calibrate(Duration::from_millis(2));
        let cost = (0..5)
            .map(|seed| {
                let before = thread_cpu();
                black_box(toil(seed, iterations));
                thread_cpu().saturating_sub(before)
            })
            .min()
            .unwrap();
        let range = Duration::from_millis(1)..Duration::from_millis(4);
        assert!(range.contains(&cost), "{cost:?}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_any_other_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        drop(listen(&socket).unwrap());
        let listener = listen(&socket).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
        drop(listener);
        let file = directory.path().join("f");
        fs::write(&file, "kept").unwrap();
        assert_eq!(listen(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    }

    #[test]
    fn connections_beyond_the_bound_are_closed() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = listen(&socket).unwrap();
        thread::spawn(move || accept(&listener, 1));
        let ask = |stream: &mut UnixStream| {
            let mut reply = [0; MESSAGE_BYTES];
            stream.write_all(&[1; MESSAGE_BYTES])?;
            stream.read_exact(&mut reply)
        };
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut stream = UnixStream::connect(&socket).unwrap();
            ask(&mut stream).unwrap();
            held.push(stream);
        }
        ask(&mut UnixStream::connect(&socket).unwrap()).unwrap_err();
        ask(&mut held[0]).unwrap();
    }
}
