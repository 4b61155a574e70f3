//! The scheduler's program: reads its options, starts its log, runs the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tengyun_daemon::log::{self, LogFormat};
use tengyun_model::{Millis, Role};
use tengyun_proto::supervisor::Supervisor;
use tengyun_proto::token::Address;
use tengyun_scheduler::{Config, RunError};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the scheduler of tengyun.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Directory of the journal; made with mode 0700
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// Unix socket to serve [default: scheduler.sock in the state directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Unix socket for other users of this machine; they are named with --local
    #[arg(long, value_name = "PATH", requires = "locals")]
    people_socket: Option<PathBuf>,
    /// A user who may connect there, and as what: operator, viewer or department:PATH
    #[arg(long = "local", value_name = "UID=ROLE", requires = "people_socket", value_parser = local)]
    locals: Vec<(u32, Role)>,
    /// Listen for members on other machines, always with TLS 1.3 and certificates of both sides
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where members find this scheduler [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", requires = "listen")]
    advertise: Option<Address>,
    /// How long a node's certificate holds; it is renewed at half of that
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(4..=31_622_400))]
    certificate_seconds: u64,
    /// How long a token lets in
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    token_seconds: u64,
    /// Serve what the journal holds and change nothing
    #[arg(long)]
    read_only: bool,
    /// How often agents report, in milliseconds
    #[arg(long, value_name = "MILLIS", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    report_interval_millis: Option<u64>,
    /// File that says on which days people rest and work, and in which time zone
    #[arg(long, value_name = "FILE")]
    calendar: Option<PathBuf>,
    /// Record reports and liveness in this directory, for `tengyun lab journal --replan`
    #[arg(long, value_name = "DIR")]
    record_volatile: Option<PathBuf>,
    /// How large that recording may grow, in MiB; the oldest part goes first
    #[arg(long, value_name = "MIB", requires = "record_volatile", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    record_mib: Option<u64>,
    /// Unix socket that metrics are read from [default: metrics.sock in the state directory]
    #[arg(long, value_name = "PATH")]
    metrics_socket: Option<PathBuf>,
    /// Group that may read metrics there, besides the scheduler's user
    #[arg(long, value_name = "GROUP")]
    metrics_group: Option<String>,
    /// How log lines look, and where they go
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    log::start(options.log_format, "tengyun-scheduler")?;
    let Err(error) = run(options) else { return Ok(ExitCode::SUCCESS) };
    tracing::error!("{error:#}");
    if let Some(next) = error.downcast_ref::<RunError>().and_then(RunError::remedy) {
        tracing::error!("next: {next}");
    }
    Ok(ExitCode::FAILURE)
}

fn run(options: Options) -> anyhow::Result<()> {
    let descriptors = tengyun_scheduler::raise_descriptors();
    tracing::info!(descriptors, "limit of open files");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let shutdown = shutdown()?;
        tengyun_scheduler::run(config(options), shutdown).await.context("the scheduler stopped")
    })
}

fn config(options: Options) -> Config {
    let mut config = Config::new(options.state_dir);
    config.listen = options.listen;
    config.advertise = options.advertise;
    config.certificate_lifetime = Millis::from_secs(options.certificate_seconds);
    config.token_lifetime = Millis::from_secs(options.token_seconds);
    config.read_only = options.read_only;
    config.people_socket = options.people_socket;
    config.locals = options.locals.into_iter().collect();
    config.supervisor = Supervisor::of_environment();
    config.calendar = options.calendar;
    config.record_volatile = options.record_volatile;
    if let Some(mebibytes) = options.record_mib {
        config.record_bytes_max = mebibytes.saturating_mul(1024 * 1024);
    }
    config.metrics_group = options.metrics_group;
    if let Some(socket) = options.metrics_socket {
        config.metrics_socket = socket;
    }
    if let Some(socket) = options.socket {
        config.socket = socket;
    }
    if let Some(millis) = options.report_interval_millis {
        config.report_interval = Millis::new(millis);
    }
    config
}

/// The user that the kernel names when it cannot name one.
const NOBODY: u32 = 65_534;

fn local(text: &str) -> Result<(u32, Role), String> {
    let (uid, role) = text.split_once('=').ok_or("it must be UID=ROLE, as in 1001=viewer")?;
    let uid = uid.parse().map_err(|_| format!("{uid:?} is no number of a user"))?;
    if matches!(uid, 0 | NOBODY) {
        return Err(format!("user {uid} stands for others too"));
    }
    let role = match role.split_once(':') {
        None if role == "operator" => Role::Operator,
        None if role == "viewer" => Role::Viewer,
        Some(("department", path)) => {
            Role::Department(path.parse().map_err(|e| format!("{path:?} is no department: {e}"))?)
        }
        None | Some(_) => {
            return Err(format!("{role:?} is no role: operator, viewer or department:PATH"));
        }
    };
    Ok((uid, role))
}

/// Returns what ends when the process is asked to: by Ctrl-C or by systemd.
fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
