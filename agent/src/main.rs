//! `tengyun-agent`: reads its options and runs the agent, or the shim of one instance.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tengyun_agent::{AgentError, CapacityOverrides, Config, GroupPath};
use tengyun_daemon::log::{self, LogFormat};
use tengyun_model::{Mebibytes, Member, Millicores, Millis, Name, NodeName, Permille};
use tengyun_proto::identity::Identity;
use tengyun_proto::supervisor::Supervisor;
use tengyun_proto::token::Token;

/// Where a scheduler of the packages is.
const SCHEDULER_SOCKET: &str = "/var/lib/tengyun/scheduler/scheduler.sock";

/// The agent of one server: measures it and runs the instances assigned to it.
#[derive(Debug, Parser)]
#[command(name = "tengyun-agent", version)]
struct Options {
    /// Name of the node, unique in the cloud [default: the host name]
    #[arg(long)]
    name: Option<NodeName>,
    /// Directory of ledger, meters and instances
    #[arg(long, default_value = "/var/lib/tengyun/agent")]
    state_dir: PathBuf,
    /// Socket of a scheduler on this machine [default: none where the node has joined, else
    /// /var/lib/tengyun/scheduler/scheduler.sock]
    #[arg(long, value_name = "PATH")]
    scheduler_socket: Option<PathBuf>,
    /// Token to join by, on the first start; later it is passed over
    #[arg(long, value_name = "TOKEN", conflicts_with = "scheduler_socket")]
    join: Option<Token>,
    /// CPU that the node may promise, enforced where there are control groups
    #[arg(long, value_name = "MILLICORES")]
    cpu_millicores: Option<u64>,
    /// What the further threads of a core add to it, in thousandths [default: measured once on an idle
    /// core; nothing until then]
    #[arg(long, value_name = "PERMILLE", value_parser = clap::value_parser!(u32).range(0..=1000))]
    smt_gain: Option<u32>,
    /// Memory that the node may promise, enforced where there are control groups
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u64>,
    /// Disk space that the node may promise
    #[arg(long, value_name = "MIB")]
    disk_mib: Option<u64>,
    /// Processes and threads that the node may promise
    #[arg(long)]
    pids: Option<u64>,
    /// Named counter of the node, such as a number of licences
    #[arg(long, value_name = "NAME=NUMBER", value_parser = counter)]
    counted: Vec<(Name, u64)>,
    /// Label of the node
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Control group below which the node's own is made
    #[arg(long, default_value = "tengyun")]
    cgroup_name: Name,
    /// Control group of version 2, delegated to the agent, in which that one is made and whose limits
    /// bound the node [default: at the top, and the agent's own limits bound]
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<GroupPath>,
    /// Stop all instances when the agent is told to end
    #[arg(long)]
    stop_instances_on_exit: bool,
    /// How often use is measured
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    sample_interval_millis: u64,
    /// How often to report [default: as the scheduler says]
    #[arg(long, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    report_interval_millis: Option<u64>,
    /// First of the user ids that instances get when the agent is root
    #[arg(long, default_value_t = 200_000)]
    uid_base: u32,
    /// Bound of the cache of artifacts
    #[arg(long, value_name = "MIB", default_value_t = 10_240, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    artifact_cache_mib: u64,
    /// Host on another machine that artifacts are fetched from in plain text
    #[arg(long, value_name = "HOST")]
    artifact_http: Vec<String>,
    /// Directory in memory for secrets [default: a tmpfs below /run/tengyun as root, else below
    /// `XDG_RUNTIME_DIR` or /dev/shm]
    #[arg(long, value_name = "DIR")]
    secrets_dir: Option<PathBuf>,
    /// Unix socket that metrics are read from [default: metrics.sock in the state directory]
    #[arg(long, value_name = "PATH")]
    metrics_socket: Option<PathBuf>,
    /// Group that may read metrics there, besides the agent's user
    #[arg(long, value_name = "GROUP")]
    metrics_group: Option<String>,
    /// How log lines look, and where they go
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

fn counter(text: &str) -> Result<(Name, u64), String> {
    let (name, number) = text.split_once('=').ok_or("expected NAME=NUMBER")?;
    let name = name.parse().map_err(|e: tengyun_model::NameError| e.to_string())?;
    Ok((name, number.parse().map_err(|_| format!("{number} is not a number"))?))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    if let Some(ended) = tengyun_agent::enter(std::env::args_os().skip(1)) {
        return ended;
    }
    let options = Options::parse();
    if let Err(error) = log::start(options.log_format, "tengyun-agent") {
        // There is no log to say it in; nobody is left to tell when this fails as well.
        drop(writeln!(std::io::stderr(), "error: {error}"));
        return ExitCode::FAILURE;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            if let Some(next) = error.downcast_ref::<AgentError>().and_then(AgentError::remedy) {
                tracing::error!("next: {next}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let mut config = config(options)?;
    // One thread carries the loop; what blocks has a few threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(tengyun_agent::BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        admit(options, &mut config).await?;
        let shutdown = told_to_end().context("cannot listen for signals")?;
        tengyun_agent::run(config, shutdown).await.context("the agent failed")
    })
}

/// Joins unless the node has joined before, and speaks with its identity then.
async fn admit(options: &Options, config: &mut Config) -> anyhow::Result<()> {
    let path = tengyun_agent::identity_path(&config.state_dir);
    if let Some(token) = options.join.as_ref().filter(|_| !path.exists()) {
        let joined = tengyun_agent::join(&config.state_dir, &config.name, token).await;
        let joined = joined.context("cannot join")?;
        tracing::info!(node = joined.node.map(tengyun_model::NodeId::get), "joined");
    }
    if options.scheduler_socket.is_some() || !path.exists() {
        return Ok(());
    }
    let identity = Identity::load(&path)
        .context("cannot use the node's identity, which `tengyun join` makes")?;
    let Member::Node(name) = identity.member else {
        anyhow::bail!("the identity in {} is a person's: join with this server", path.display());
    };
    if options.name.as_ref().is_some_and(|said| *said != name) {
        let path = path.display();
        anyhow::bail!(
            "the identity in {path} is that of node {name}: say --name {name}, or move it away and \
             join again"
        );
    }
    config.name = name;
    config.identity = Some(path);
    Ok(())
}

fn config(options: &Options) -> anyhow::Result<Config> {
    let name = options.name.clone().map_or_else(host_name, Ok)?;
    let socket = options.scheduler_socket.clone();
    let socket = socket.unwrap_or_else(|| PathBuf::from(SCHEDULER_SOCKET));
    let mut config = Config::new(name, &options.state_dir, socket);
    config.capacity = CapacityOverrides {
        cpu: options.cpu_millicores.map(Millicores::new),
        smt_gain: options.smt_gain.map(Permille::new),
        memory: options.memory_mib.map(Mebibytes::new),
        disk: options.disk_mib.map(Mebibytes::new),
        pids: options.pids,
        counted: options.counted.iter().cloned().collect(),
    };
    config.labels = options.label.iter().cloned().collect();
    config.cgroup_name = options.cgroup_name.clone();
    config.cgroup_parent.clone_from(&options.cgroup_parent);
    config.supervisor = Supervisor::of_environment();
    config.stop_instances_on_exit = options.stop_instances_on_exit;
    config.sample_interval = Millis::new(options.sample_interval_millis);
    config.report_interval = options.report_interval_millis.map(Millis::new);
    config.uid_base = options.uid_base;
    config.artifacts.cache_bytes = options.artifact_cache_mib << 20;
    config.artifacts.plain_hosts.clone_from(&options.artifact_http);
    if let Some(dir) = &options.secrets_dir {
        config.secrets_dir.clone_from(dir);
    }
    config.metrics_group.clone_from(&options.metrics_group);
    if let Some(socket) = &options.metrics_socket {
        config.metrics_socket.clone_from(socket);
    }
    Ok(config)
}

fn host_name() -> anyhow::Result<NodeName> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    let name = name.to_string_lossy().to_ascii_lowercase();
    NodeName::new(name.as_str())
        .with_context(|| format!("the host name {name:?} is no node name: say --name"))
}

/// Completes when the process is told to end.
fn told_to_end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
