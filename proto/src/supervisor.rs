//! What a daemon tells the one who started it: that it is ready, that it lives, that it stops.
//!
//! It is systemd's protocol, one datagram a word. Nothing depends on it: where nobody listens, and
//! where a datagram is lost, the daemon goes on as without it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use tracing::debug;

/// The variable that says where the supervisor listens.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// The variable that says after how many microseconds without a word a daemon counts as hung.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// The variable that says whose silence is meant.
const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";
/// How many words are said in the time after which a silent daemon counts as hung; systemd's manual
/// asks for two.
const WORDS_PER_PATIENCE: u32 = 2;

/// Whoever started this process and wants to know how it is; nobody by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supervisor {
    socket: Option<OsString>,
    patience: Option<Duration>,
}

impl Supervisor {
    /// Finds the supervisor by what it left in the environment.
    pub fn of_environment() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_meant = number(WATCHDOG_PID_VARIABLE).is_none_or(|p| p == std::process::id().into());
        let patience = number(WATCHDOG_VARIABLE).filter(|micros| is_meant && *micros > 0);
        Self::new(std::env::var_os(SOCKET_VARIABLE), patience.map(Duration::from_micros))
    }

    /// Names a supervisor by its socket, and how long it may hear nothing.
    pub fn new(socket: Option<OsString>, patience: Option<Duration>) -> Self {
        Self { patience: patience.filter(|_| socket.is_some()), socket }
    }

    /// Says that the daemon does its work from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// Says that the daemon was told to end and does so.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says that the daemon lives.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Returns how often to say so; `None` when nobody waits for it.
    pub fn pulse(&self) -> Option<Duration> {
        self.patience.map(|patience| patience / WORDS_PER_PATIENCE)
    }

    fn tell(&self, word: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, word) {
            debug!(word, %error, "the supervisor was not told");
        }
    }
}

fn send(socket: &OsStr, word: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    // A supervisor that does not read must not hold the daemon up.
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(word.as_bytes(), &address).map(drop)
}

/// A sign of life that is given at most as often as it is waited for.
#[derive(Debug)]
pub struct Pulse {
    supervisor: Supervisor,
    given: Option<Instant>,
}

impl Pulse {
    /// Makes a pulse that was not felt yet.
    pub const fn new(supervisor: Supervisor) -> Self {
        Self { supervisor, given: None }
    }

    /// Gives the sign when it is due at `now`.
    pub fn beat(&mut self, now: Instant) {
        let Some(pause) = self.supervisor.pulse() else { return };
        if self.given.is_none_or(|given| now.saturating_duration_since(given) >= pause) {
            self.supervisor.alive();
            self.given = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut words = Vec::new();
        let mut buffer = [0; 64];
        while let Ok(length) = socket.recv(&mut buffer) {
            words.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        words
    }

    #[test]
    fn a_supervisor_hears_what_systemd_would() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::new(Some(path.into()), Some(PATIENCE));
        supervisor.ready();
        supervisor.alive();
        supervisor.stopping();
        assert_eq!(heard(&socket), ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
        assert_eq!(supervisor.pulse(), Some(PATIENCE / 2));
    }

    #[test]
    fn an_abstract_socket_is_a_socket_too() {
        let name = format!("tengyun-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Supervisor::new(Some(format!("@{name}").into()), None).ready();
        assert_eq!(heard(&socket), ["READY=1"]);
    }

    #[test]
    fn without_a_supervisor_and_with_one_that_is_gone_nothing_happens() {
        Supervisor::default().ready();
        assert_eq!(Supervisor::new(None, Some(PATIENCE)).pulse(), None);
        Supervisor::new(Some("/nowhere/notify".into()), None).ready();
    }

    #[test]
    fn a_pulse_is_given_when_it_is_due_and_not_more_often() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut pulse = Pulse::new(Supervisor::new(Some(path.into()), Some(PATIENCE)));
        let start = Instant::now();
        for second in 0..12 {
            pulse.beat(start + Duration::from_secs(second));
        }
        assert_eq!(heard(&socket).len(), 3, "at 0, 5 and 10 seconds");
    }
}
