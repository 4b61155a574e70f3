//! Orders to a shim: a named pipe in the instance's directory, two bytes an order.
//!
//! An order names no process: the shim is the parent of the workload, so a signal cannot reach a
//! later process that was given the same id.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// The pipe in the instance's directory.
pub(crate) const FILE: &str = "control";
const SIGNAL: u8 = b's';
const KILL: u8 = b'k';
/// How many orders are read at once; more wait in the pipe.
const ORDERS_MAX: usize = 16;

/// What a shim may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Send this signal to the workload's process group.
    Signal(u8),
    /// Kill every process of the workload.
    Kill,
}

/// The shim's end of the pipe.
#[derive(Debug)]
pub(super) struct Control {
    pipe: OwnedFd,
}

impl Control {
    /// Makes the pipe and opens it for both directions, so that it never ends.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
        Ok(Self { pipe: file.into() })
    }

    /// Reads the orders that have come.
    pub(super) fn orders(&self) -> Vec<Order> {
        let mut buffer = [0; 2 * ORDERS_MAX];
        let Ok(Some(count)) = super::read_some(&self.pipe, &mut buffer) else { return Vec::new() };
        buffer[..count].chunks_exact(2).filter_map(|pair| parse([pair[0], pair[1]])).collect()
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Gives an order; false when no shim is there to take it.
pub(crate) fn send(path: &Path, order: Order) -> io::Result<bool> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = OpenOptions::new().write(true).custom_flags(flags.bits()).open(path);
    let mut pipe = match opened {
        Ok(pipe) => pipe,
        Err(error) if error.raw_os_error() == Some(nix::libc::ENXIO) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let bytes = match order {
        Order::Signal(number) => [SIGNAL, number],
        Order::Kill => [KILL, 0],
    };
    // Two bytes are below PIPE_BUF: they are written together or not at all.
    pipe.write_all(&bytes)?;
    Ok(true)
}

fn parse(bytes: [u8; 2]) -> Option<Order> {
    match bytes {
        [SIGNAL, number] => Some(Order::Signal(number)),
        [KILL, _] => Some(Order::Kill),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_in_order_and_nonsense_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert!(!send(&path, Order::Kill).unwrap(), "there is no pipe yet");
        let control = Control::open(&path).unwrap();
        assert_eq!(control.orders(), []);
        assert!(send(&path, Order::Signal(15)).unwrap());
        OpenOptions::new().write(true).open(&path).unwrap().write_all(b"??").unwrap();
        assert!(send(&path, Order::Kill).unwrap());
        assert_eq!(control.orders(), [Order::Signal(15), Order::Kill]);
        drop(control);
        assert!(!send(&path, Order::Kill).unwrap(), "nobody reads the pipe");
    }

    #[test]
    fn an_order_does_not_follow_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join(FILE)).unwrap();
        assert!(send(&dir.path().join(FILE), Order::Kill).is_err());
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"");
    }
}
