//! The daemon's life: recover, serve, stop. It holds no logic of its own.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tengyun_daemon::metrics::{Socket, SocketError};
use tengyun_engine::{Command, State};
use tengyun_model::At;
use tengyun_proto::supervisor::Supervisor;
use tengyun_proto::token::Address;
use tengyun_proto::uds::{self, PeerStream, UdsError};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tracing::{info, warn};

use crate::almanac::{AlmanacError, AlmanacFile};
use crate::authority::{Authority, AuthorityError};
use crate::calendar::Calendar;
use crate::clock::Clock;
use crate::commit::{self, Log};
use crate::config::Config;
use crate::connections::Connections;
use crate::descriptors::member_connections_max;
use crate::desk::{Desk, QUEUE_MAX, Request};
use crate::door::{Door, DoorError};
use crate::events::Events;
use crate::identity::Admittance;
use crate::journal::{Journal, JournalError, SqliteJournal};
use crate::metrics::Scrape;
use crate::recording::Recorder;
use crate::replay::{self, ReplayError};
use crate::roster::{Publisher, Roster};
use crate::secrets::{Secrets, SecretsError};
use crate::server::{ServerError, Services, Visitors};
use crate::tasks::{Tasks, stopped};
use crate::writer::{Writer, announce};

/// How long connections may take to end at a stop; whoever is still there then is cut off.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Tells why the daemon ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The socket or its directory cannot be used.
    #[error(transparent)]
    Socket(#[from] UdsError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state cannot be made again.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The server cannot serve.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The listener for other machines cannot be opened.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The secrets cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Nobody could find the scheduler at the address it listens on.
    #[error("it listens on every address of this machine: say which with --advertise HOST:PORT")]
    NoAddress,
    /// Metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] SocketError),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The calendar cannot be used.
    #[error(transparent)]
    Almanac(#[from] AlmanacError),
    /// Volatile entries cannot be recorded.
    #[error("cannot record volatile entries in {path}")]
    Recording {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The writer met a bug.
    #[error("the writer panicked")]
    Panicked,
}

impl RunError {
    /// Returns what an operator can do about it, where the error itself does not say so.
    pub const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Socket(UdsError::Directory { .. } | UdsError::Listen { .. }) => {
                Some("choose another place with --state-dir or --socket")
            }
            Self::Journal(JournalError::Lock { .. })
            | Self::Replay(ReplayError::Journal(JournalError::Lock { .. })) => {
                Some("move it away; whoever may write to the directory can make it")
            }
            Self::Journal(JournalError::Store { .. })
            | Self::Replay(ReplayError::Journal(JournalError::Store { .. })) => Some(
                "is the disk full or the file another user's? If it is damaged, restore it from a \
                 backup",
            ),
            Self::Door(DoorError::Listen { .. }) => {
                Some("say an address of this machine and a free port with --listen")
            }
            Self::Almanac(_) => Some("mend the file of --calendar, or leave the option out"),
            Self::Metrics(_) => Some("choose another place with --metrics-socket"),
            Self::Recording { .. } => Some("choose another directory with --record-volatile"),
            Self::Authority(error) | Self::Door(DoorError::Authority(error)) => error.remedy(),
            Self::Socket(_)
            | Self::Journal(_)
            | Self::Replay(_)
            | Self::Server(_)
            | Self::Secrets(_)
            | Self::NoAddress
            | Self::Thread(_)
            | Self::Panicked => None,
        }
    }
}

/// Those of this machine who connect.
type Locals = Pin<Box<dyn Stream<Item = Result<PeerStream, io::Error>> + Send>>;

/// Listens for those of this machine who may connect.
fn incoming(config: &Config) -> Result<Locals, UdsError> {
    let own = uds::listen(&config.socket)?;
    let Some(people) = &config.people_socket else { return Ok(Box::pin(own)) };
    let users = config.locals.keys().copied().collect();
    Ok(Box::pin(own.merge(uds::listen_for(people, users)?)))
}

/// The thread of the writer.
type WriterThread = JoinHandle<Result<(), JournalError>>;

/// A scheduler's log, and why it must not be written, if so.
type Opened = (Log, Option<Arc<str>>);

/// Runs a scheduler until `shutdown`, and leaves a snapshot.
///
/// It is ready when the socket answers. Needs a tokio runtime.
///
/// # Errors
/// See [`RunError`]. When the journal cannot be written the daemon stops at once; agents go on
/// with what they have.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    uds::private_directory(&config.state_dir)?;
    forbid_core_dumps();
    let almanac = AlmanacFile::open(config.calendar.as_deref())?;
    let opening = config.clone();
    let opened = tokio::task::spawn_blocking(move || open(&opening)).await;
    let (log, read_only) = opened.map_err(|_| RunError::Panicked)??;
    let secrets = Arc::new(Secrets::open(&config.secrets())?);
    let incoming = incoming(&config)?;
    let readers = Socket::open(&config.metrics_socket, config.metrics_group.as_deref())?;
    let (queue, waiting) = mpsc::channel(QUEUE_MAX);
    let metrics = Arc::clone(log.metrics());
    let (publisher, roster) = Publisher::new(log.state());
    let publishing = (publisher, Calendar::of(almanac));
    let writer = Writer::new(log, waiting, config.report_interval, read_only.clone(), publishing);
    let (ended, mut end) = oneshot::channel();
    let (stop, stopped) = watch::channel(false);
    let tasks = Arc::new(Tasks::default());
    let connections = Arc::new(Connections::of_at_most(member_connections_max()));
    let (admittance, door, visitors) = open_door(&config, &roster, &connections).await?;
    let writer = start(writer, ended)?;
    if let Some(door) = door {
        tasks.spawn(door.serve(stopped.clone()));
    }
    let desk = Desk::new(queue, read_only);
    tasks.spawn(pulse(desk.clone(), config.supervisor.clone(), stopped.clone()));
    let scrape = Scrape {
        desk: desk.clone(),
        metrics,
        connections: Arc::clone(&connections),
        authority: admittance.as_ref().map(|a| Arc::clone(&a.authority)),
    };
    tasks.spawn(serve_metrics(readers, scrape.clone(), stopped.clone()));
    let services = Services {
        scrape,
        desk: desk.clone(),
        tasks: Arc::clone(&tasks),
        stop: stopped,
        report_interval: config.report_interval,
        roster,
        connections,
        admittance,
        secrets,
        locals: Arc::new(config.locals),
    };
    let mut server = tokio::spawn(services.serve(incoming, visitors));
    info!(socket = %config.socket.display(), "scheduler serves");
    config.supervisor.ready();
    let served = tokio::select! {
        () = shutdown => None,
        // The writer ends early only with an error, which joining it gives.
        _ = &mut end => None,
        served = &mut server => Some(served),
    };
    config.supervisor.stopping();
    stop.send_replace(true);
    let served = match served {
        Some(served) => Some(served),
        None => timeout(DRAIN_MAX, &mut server).await.ok(),
    };
    if served.is_none() {
        warn!("connections did not end and are cut off");
        server.abort();
    }
    wind_down(&tasks, &desk, writer).await?;
    match served {
        Some(served) => Ok(served.map_err(|_| RunError::Panicked)??),
        None => Ok(()),
    }
}

/// Tells the supervisor that the daemon lives, for as long as the writer answers.
async fn pulse(desk: Desk, supervisor: Supervisor, stop: watch::Receiver<bool>) {
    let Some(pause) = supervisor.pulse() else { return };
    let beat = async {
        loop {
            if desk.read(|_| ()).await.is_ok() {
                supervisor.alive();
            }
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = stopped(stop) => {}
        () = beat => {}
    }
}

/// A core dump would hold keys and secrets.
fn forbid_core_dumps() {
    use nix::sys::resource::{Resource, setrlimit};
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        warn!(%error, "core dumps are not forbidden");
    }
}

/// Ends the tasks, then the writer, so that nothing asked of it is left unanswered.
async fn wind_down(tasks: &Tasks, desk: &Desk, writer: WriterThread) -> Result<(), RunError> {
    tasks.join().await;
    desk.tell(Request::Stop).await;
    let written = tokio::task::spawn_blocking(move || writer.join()).await;
    let written = written.map_err(|_| RunError::Panicked)?;
    Ok(written.map_err(|_| RunError::Panicked)??)
}

/// Answers whoever reads metrics on this machine.
async fn serve_metrics(readers: Socket, scrape: Scrape, stop: watch::Receiver<bool>) {
    let render = move || {
        let scrape = scrape.clone();
        async move { scrape.text().await }
    };
    readers.serve(render, stopped(stop)).await;
}

type Doors = (Option<Admittance>, Option<Door>, Visitors);

/// Opens the door where the configuration asks for it.
async fn open_door(
    config: &Config,
    roster: &watch::Receiver<Arc<Roster>>,
    connections: &Arc<Connections>,
) -> Result<Doors, RunError> {
    let Some(listen) = config.listen else { return Ok((None, None, None)) };
    let now = Clock::start(At::default()).now();
    let authority = Arc::new(Authority::open(&config.authority(), now)?);
    let (roster, connections) = (roster.clone(), Arc::clone(connections));
    let (door, visitors) = Door::open(listen, Arc::clone(&authority), roster, connections).await?;
    let address = address(config, &door)?;
    info!(%listen, %address, authority = %authority.fingerprint(), "scheduler listens");
    let admittance = Admittance {
        authority,
        address,
        token_lifetime: config.token_lifetime,
        certificate_lifetime: config.certificate_lifetime,
    };
    Ok((Some(admittance), Some(door), Some(visitors)))
}

/// Says where members find the door.
fn address(config: &Config, door: &Door) -> Result<Address, RunError> {
    if let Some(address) = &config.advertise {
        return Ok(address.clone());
    }
    let own = door.address().map_err(|_| RunError::NoAddress)?;
    if own.ip().is_unspecified() {
        return Err(RunError::NoAddress);
    }
    own.to_string().parse().map_err(|_| RunError::NoAddress)
}

fn start(writer: Writer, ended: oneshot::Sender<()>) -> Result<WriterThread, RunError> {
    let runtime = Handle::current();
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            // Dropped when the thread ends, however it ends.
            let _ended = ended;
            writer.run(&runtime)
        })
        .map_err(RunError::Thread)
}

fn open(config: &Config) -> Result<Opened, RunError> {
    let mut journal = SqliteJournal::open(&config.journal())?;
    if config.read_only {
        return Ok(open_read_only(&mut journal, config)?);
    }
    let recovered = replay::recover(&mut journal, &config.marker(), commit::apply)?;
    let log = begin(recovered.state, recovered.at, Box::new(journal), config.snapshot_every);
    let mut log = log.telling(Events::open(&config.events())).recording(recorder(config)?);
    log.commit(vec![Command::BeginEpoch])?;
    announce(log.state());
    Ok((log, None))
}

fn recorder(config: &Config) -> Result<Option<Recorder>, RunError> {
    let Some(path) = &config.record_volatile else { return Ok(None) };
    let opened = Recorder::open(path, config.record_bytes_max);
    opened.map(Some).map_err(|source| RunError::Recording { path: path.clone(), source })
}

fn begin(state: State, at: At, journal: Box<dyn Journal>, snapshot_every: u64) -> Log {
    Log::new(state, Clock::start(at), Some(journal), snapshot_every)
}

fn open_read_only(journal: &mut SqliteJournal, config: &Config) -> Result<Opened, ReplayError> {
    let recovered = replay::recover_prefix(journal, &config.marker(), commit::apply)?;
    let reason = match recovered.fault {
        Some(fault) => format!("it serves what stands before a fault: {fault}"),
        None => "it was started with --read-only".to_owned(),
    };
    warn!(%reason, sequence = %recovered.state.sequence(), "scheduler only reads");
    let clock = Clock::start(recovered.at);
    let log = Log::new(recovered.state, clock, None, config.snapshot_every);
    let log = log.telling(Events::read(&config.events()));
    Ok((log, Some(reason.into())))
}
