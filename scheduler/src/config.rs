//! What a scheduler is told when it starts; nothing in it changes afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tengyun_model::{Millis, Role};
use tengyun_proto::supervisor::Supervisor;
use tengyun_proto::token::Address;

/// The name of the socket in the state directory.
const SOCKET_NAME: &str = "scheduler.sock";
/// The name of the socket of metrics in the state directory.
const METRICS_NAME: &str = "metrics.sock";
/// The name of the journal in the state directory.
const JOURNAL_NAME: &str = "journal.db";
/// The name of the file that keeps what happened lately.
const EVENTS_NAME: &str = "events";
/// The name of the file that says which entry could not be replayed.
const MARKER_NAME: &str = "replay-at";
/// The name of the directory of the authority's key.
const AUTHORITY_NAME: &str = "authority";
const SECRETS_NAME: &str = "secrets";
/// How long a token lets in: time to walk to a server and type.
const TOKEN_LIFETIME: Millis = Millis::from_secs(600);
/// How long a node's certificate holds: short, because a stolen key is worth as much.
const CERTIFICATE_LIFETIME: Millis = Millis::from_secs(24 * 3600);
/// How often agents report: often enough for a five-minute average, rare enough to cost nothing.
const REPORT_INTERVAL: Millis = Millis::from_secs(2);
/// How many entries replay may have to read: some hundred milliseconds of it.
const SNAPSHOT_EVERY: u64 = 10_000;

/// How large a recording of volatile entries may grow: about a day of a hundred nodes.
const RECORD_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// How a scheduler runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the journal, the lock and by default the socket are; made with mode 0700.
    pub state_dir: PathBuf,
    /// Where agents and operators connect.
    pub socket: PathBuf,
    /// Where other users of this machine connect, if any do.
    pub people_socket: Option<PathBuf>,
    /// The users who may, and what each may do.
    pub locals: BTreeMap<u32, Role>,
    /// How often agents are told to report.
    pub report_interval: Millis,
    /// Where members on other machines connect; nowhere unless it is said. It is always TLS 1.3.
    pub listen: Option<SocketAddr>,
    /// Where they find it, if that is not where it listens.
    pub advertise: Option<Address>,
    /// How long a token holds.
    pub token_lifetime: Millis,
    /// How long a node's certificate holds; a person's holds 30 times as long.
    pub certificate_lifetime: Millis,
    /// Where metrics are read from.
    pub metrics_socket: PathBuf,
    /// The group that may read them; nobody but the owner unless it is said.
    pub metrics_group: Option<String>,
    /// Serve what is there and change nothing.
    pub read_only: bool,
    /// After how many entries a snapshot is kept.
    pub snapshot_every: u64,
    /// Who is told how the daemon is.
    pub supervisor: Supervisor,
    /// The file that says on which days people rest and work; weeks of five working days without one.
    pub calendar: Option<PathBuf>,
    /// Where volatile entries are recorded for the laboratory; nowhere unless it is said.
    pub record_volatile: Option<PathBuf>,
    /// How large that recording may grow; the oldest part goes first.
    pub record_bytes_max: u64,
}

impl Config {
    /// Makes the default configuration over a state directory.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        Self {
            socket: Self::default_socket(&state_dir),
            metrics_socket: state_dir.join(METRICS_NAME),
            metrics_group: None,
            people_socket: None,
            locals: BTreeMap::new(),
            state_dir,
            report_interval: REPORT_INTERVAL,
            listen: None,
            advertise: None,
            token_lifetime: TOKEN_LIFETIME,
            certificate_lifetime: CERTIFICATE_LIFETIME,
            read_only: false,
            snapshot_every: SNAPSHOT_EVERY,
            supervisor: Supervisor::default(),
            calendar: None,
            record_volatile: None,
            record_bytes_max: RECORD_BYTES_MAX,
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

    pub(crate) fn authority(&self) -> PathBuf {
        self.state_dir.join(AUTHORITY_NAME)
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.state_dir.join(SECRETS_NAME)
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.state_dir.join(MARKER_NAME)
    }
}
