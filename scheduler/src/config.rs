//! What a scheduler is told when it starts; nothing in it changes afterwards.

use std::path::{Path, PathBuf};

use tengyun_model::Millis;

/// The name of the socket in the state directory.
const SOCKET_NAME: &str = "scheduler.sock";
/// The name of the journal in the state directory.
const JOURNAL_NAME: &str = "journal.db";
/// The name of the file that keeps what happened lately.
const EVENTS_NAME: &str = "events";
/// The name of the file that says which entry could not be replayed.
const MARKER_NAME: &str = "replay-at";
/// How often agents report: often enough for a five-minute average, rare enough to cost nothing.
const REPORT_INTERVAL: Millis = Millis::from_secs(2);
/// How many entries replay may have to read: some hundred milliseconds of it.
const SNAPSHOT_EVERY: u64 = 10_000;

/// How a scheduler runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the journal, the lock and by default the socket are; made with mode 0700.
    pub state_dir: PathBuf,
    /// Where agents and operators connect.
    pub socket: PathBuf,
    /// How often agents are told to report.
    pub report_interval: Millis,
    /// Serve what is there and change nothing.
    pub read_only: bool,
    /// After how many entries a snapshot is kept.
    pub snapshot_every: u64,
}

impl Config {
    /// Makes the default configuration over a state directory.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        Self {
            socket: Self::default_socket(&state_dir),
            state_dir,
            report_interval: REPORT_INTERVAL,
            read_only: false,
            snapshot_every: SNAPSHOT_EVERY,
        }
    }

    /// Returns where the socket of a scheduler over this state directory is, unless it was told
    /// otherwise.
    pub fn default_socket(state_dir: &Path) -> PathBuf {
        state_dir.join(SOCKET_NAME)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.state_dir.join(JOURNAL_NAME)
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.state_dir.join(EVENTS_NAME)
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.state_dir.join(MARKER_NAME)
    }
}
