//! `tengyun up`: a scheduler and agents for this machine in one process, until Ctrl-C.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tengyun_agent::{CapacityOverrides, Config as AgentConfig};
use tengyun_model::{Mebibytes, Millicores, Name, NodeName};
use tengyun_proto::token::Address;
use tengyun_proto::v1;
use tengyun_scheduler::Config as SchedulerConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::describe::enforcement;
use crate::failure::{Failure, chain};
use crate::get::list_nodes;
use crate::message::Message;
use crate::options::Global;
use crate::output::{Format, cores, memory, note};
use crate::session::Session;
use crate::text::Language;

/// The most nodes on one machine; each has a thread and a directory.
const NODES_MAX: i64 = 64;
/// How long everything may take to be there.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const MIB_KEPT_FOR_SYSTEM: u64 = 256;

/// What is logged unless `TENGYUN_LOG` says otherwise. That an agent tries again to reach a scheduler
/// which starts beside it is no news.
const LOG_DEFAULT: &str = "warn,tengyun_agent::link=error";

/// What `up` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// How many nodes to make of this machine, each with an equal share
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=NODES_MAX))]
    nodes: u32,
    /// Also listen for members on other machines, with TLS 1.3 and certificates of both sides
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where members find this scheduler [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", requires = "listen")]
    advertise: Option<Address>,
    /// CPU of each node [default: an equal share of the cores]
    #[arg(long, value_name = "MILLICORES", value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    node_cpu: Option<u64>,
    /// Memory of each node [default: an equal share of the memory]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=100_000_000))]
    node_memory: Option<u64>,
    /// File that says on which days people rest and work, and in which time zone
    #[arg(long, value_name = "FILE")]
    calendar: Option<PathBuf>,
    /// Record reports and liveness in this directory, for `tengyun lab journal --replan`
    #[arg(long, value_name = "DIR")]
    record_volatile: Option<PathBuf>,
}

/// What a cloud of one machine is made of.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Holds all state.
    pub(crate) state_dir: PathBuf,
    /// Where the scheduler answers.
    pub(crate) socket: PathBuf,
    /// The control group that holds every node's.
    pub(crate) group: Name,
    /// Where others may join, and where they find it.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) advertise: Option<Address>,
    /// The nodes and what each may promise; `None` takes the whole machine.
    pub(crate) nodes: Vec<(NodeName, CapacityOverrides)>,
    /// The file of special days, if any.
    pub(crate) calendar: Option<PathBuf>,
    /// Where volatile entries are recorded, if anywhere.
    pub(crate) record_volatile: Option<PathBuf>,
}

/// Runs until Ctrl-C or SIGTERM.
pub(crate) fn run(args: &UpArgs, global: &Global) -> Result<(), Failure> {
    let start = Instant::now();
    start_log()?;
    let layout = Layout::of(args, global.state_dir(), global.socket())?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::watch()?;
        let mut cloud = Cloud::start(&layout)?;
        let ready = tokio::select! {
            ready = cloud.ready(&layout) => ready,
            () = signals.any() => Ok(None),
        };
        match ready {
            Ok(Some(nodes)) => {
                say_ready(&layout, &nodes, start.elapsed());
                tokio::select! {
                    () = signals.any() => {}
                    () = cloud.ended() => {}
                }
                note(&Message::UpStops {}.said());
            }
            Ok(None) => {}
            Err(failure) => {
                let ended = cloud.stop().await;
                return Err(ended.err().unwrap_or(failure));
            }
        }
        let stopped = tokio::select! {
            stopped = cloud.stop() => stopped,
            // Told again and again it goes on stopping: nothing may be left behind.
            () = signals.forever() => unreachable!("signals never end"),
        };
        stopped?;
        note(&Message::UpStopped {}.said());
        Ok(())
    })
}

/// Makes a runtime for a scheduler.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::internal(&error))
}

/// Starts the log of daemons that share a terminal with a person: warnings only, unless
/// `TENGYUN_LOG` says otherwise.
pub(crate) fn start_log() -> Result<(), Failure> {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let text = std::env::var("TENGYUN_LOG").unwrap_or_else(|_| LOG_DEFAULT.to_owned());
    let levels: tracing_subscriber::filter::Targets = text.parse().map_err(|_| {
        let text = format!("{text:?}");
        Failure::Usage(Message::NoLogLevels { text: &text }.said())
    })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(levels).with(layer).init();
    Ok(())
}

impl Layout {
    fn of(args: &UpArgs, state_dir: PathBuf, socket: PathBuf) -> Result<Self, Failure> {
        let shared = args.nodes > 1;
        let machine = tengyun_agent::machine();
        let share = |whole: u64| whole / u64::from(args.nodes);
        let cpu = shared.then(|| share(u64::from(machine.cores).saturating_mul(1000)));
        let left = machine.memory.get().saturating_sub(MIB_KEPT_FOR_SYSTEM);
        let mem = shared.then(|| share(left));
        let capacity = CapacityOverrides {
            cpu: args.node_cpu.or(cpu).map(Millicores::new),
            memory: args.node_memory.or(mem).map(Mebibytes::new),
            ..CapacityOverrides::default()
        };
        let nodes = (1..=args.nodes).map(|n| Ok((node_name(n, shared)?, capacity.clone())));
        let nodes = nodes.collect::<Result<_, Failure>>()?;
        let (calendar, record_volatile) = (args.calendar.clone(), args.record_volatile.clone());
        let (listen, advertise) = (args.listen, args.advertise.clone());
        let group = group_name(&state_dir);
        Ok(Self { state_dir, socket, group, listen, advertise, nodes, calendar, record_volatile })
    }
}

/// A machine that is one node has its own name; its shares are numbered.
fn node_name(number: u32, shared: bool) -> Result<NodeName, Failure> {
    if !shared && let Ok(host) = nix::unistd::gethostname() {
        let host = host.to_string_lossy().to_ascii_lowercase();
        if let Ok(name) = NodeName::new(host.as_str()) {
            return Ok(name);
        }
    }
    NodeName::new(format!("node{number}")).map_err(|error| Failure::internal(&error))
}

/// Names the control group after the state directory, so that two clouds of one machine differ.
pub(crate) fn group_name(state_dir: &Path) -> Name {
    // FNV-1a: short, stable, and no secret.
    let digest = state_dir
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    Name::new(format!("tengyun-{digest:016x}")).expect("hexadecimal digits make a name")
}

/// A running cloud of one machine.
#[derive(Debug)]
pub(crate) struct Cloud {
    scheduler: Part,
    agents: Vec<Part>,
}

/// One daemon on a thread of its own.
#[derive(Debug)]
struct Part {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    thread: Option<std::thread::JoinHandle<Result<(), Failure>>>,
}

impl Cloud {
    /// Starts the daemons; they are not there yet when this returns.
    pub(crate) fn start(layout: &Layout) -> Result<Self, Failure> {
        make_state_dir(&layout.state_dir)?;
        let mut config = SchedulerConfig::new(layout.state_dir.join("scheduler"));
        config.socket.clone_from(&layout.socket);
        config.calendar.clone_from(&layout.calendar);
        config.record_volatile.clone_from(&layout.record_volatile);
        config.listen = layout.listen;
        config.advertise.clone_from(&layout.advertise);
        let scheduler = Part::start("scheduler", false, |stop| async move {
            let run = tengyun_scheduler::run(config, stop).await;
            run.map_err(|error| Failure::Internal(chain(&error)))
        })?;
        let mut cloud = Self { scheduler, agents: Vec::new() };
        for (name, capacity) in &layout.nodes {
            let dir = layout.state_dir.join("nodes").join(name.as_str());
            let mut config = AgentConfig::new(name.clone(), dir, layout.socket.clone());
            config.capacity = capacity.clone();
            config.cgroup_name = layout.group.clone();
            config.stop_instances_on_exit = true;
            config.labels.insert("node".to_owned(), name.to_string());
            let part = Part::start(name.as_str(), true, |stop| async move {
                let run = tengyun_agent::run(config, stop).await;
                run.map_err(|error| Failure::Internal(chain(&error)))
            })?;
            cloud.agents.push(part);
        }
        Ok(cloud)
    }

    /// Waits until every agent is attached; gives up when a daemon ends.
    pub(crate) async fn ready(
        &mut self,
        layout: &Layout,
    ) -> Result<Option<Vec<v1::NodeView>>, Failure> {
        let session = Session {
            socket: layout.socket.clone(),
            identity: None,
            format: Format::Table,
            language: Language::of_locale(),
        };
        let names: Vec<&str> = layout.nodes.iter().map(|(name, _)| name.as_str()).collect();
        let ours =
            |n: &v1::NodeView| n.facts.as_ref().is_some_and(|f| names.contains(&f.name.as_str()));
        let look = async {
            loop {
                if let Ok(list) = list_nodes(&session).await {
                    let mut nodes = list.nodes;
                    nodes.retain(|n| n.connected && ours(n));
                    if nodes.len() == names.len() {
                        return nodes;
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::select! {
            nodes = look => Ok(Some(nodes)),
            () = self.ended() => Err(Failure::Internal(Message::DaemonEnded {}.said())),
            () = tokio::time::sleep(READY_PATIENCE) => {
                Err(Failure::Internal(Message::DaemonsLate {}.said()))
            }
        }
    }

    /// Waits until any daemon has ended by itself.
    pub(crate) async fn ended(&self) {
        let all = self.agents.iter().chain([&self.scheduler]).map(|p| p.ended.clone());
        let (first, mut any) = tokio::sync::mpsc::channel(1);
        for mut ended in all {
            let first = first.clone();
            tokio::spawn(async move {
                // A sender that is gone means that the thread is gone.
                drop(ended.wait_for(|e| *e).await);
                // A full channel has been told already.
                first.try_send(()).ok();
            });
        }
        any.recv().await;
    }

    /// Stops the agents and their instances, then the scheduler.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        for agent in &self.agents {
            agent.stop.send_replace(true);
        }
        let mut first = Ok(());
        for agent in &mut self.agents {
            first = first.and(agent.join().await);
        }
        self.scheduler.stop.send_replace(true);
        // Why the scheduler ended explains what became of the agents.
        self.scheduler.join().await.and(first)
    }
}

impl Part {
    fn start<F>(
        name: &str,
        single: bool,
        run: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F + Send + 'static,
    ) -> Result<Self, Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let (stop, mut stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let body = move || {
            let mut builder = if single {
                tokio::runtime::Builder::new_current_thread()
            } else {
                tokio::runtime::Builder::new_multi_thread()
            };
            builder.max_blocking_threads(tengyun_agent::BLOCKING_THREADS).enable_all();
            let runtime = builder.build().map_err(|error| Failure::internal(&error))?;
            let told = async move {
                drop(stopped.wait_for(|s| *s).await);
            };
            let result = runtime.block_on(run(Box::pin(told)));
            end.send_replace(true);
            result
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        let thread = thread.map_err(|error| Failure::internal(&error))?;
        Ok(Self { stop, ended, thread: Some(thread) })
    }

    async fn join(&mut self) -> Result<(), Failure> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        let panicked = || Failure::Internal(Message::DaemonPanicked {}.said());
        joined.map_err(|error| Failure::internal(&error))?.map_err(|_| panicked())?
    }
}

/// The signals that end a command, watched from its beginning.
#[derive(Debug)]
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    /// Begins to watch.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let watch = |kind| signal(kind).map_err(|error| Failure::internal(&error));
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(watch);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Waits for one of them.
    pub(crate) async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// Takes them and goes on.
    async fn forever(&mut self) {
        loop {
            self.any().await;
            note(&Message::StillStopping {}.said());
        }
    }
}

/// Makes the state directory: others pass through it to the working directories of their instances.
fn make_state_dir(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(dir);
    made.map_err(|error| {
        let dir = dir.display();
        Failure::Usage(Message::CannotMakeState { dir: &dir, error: &error }.said())
    })
}

fn say_ready(layout: &Layout, nodes: &[v1::NodeView], after: Duration) {
    let (millis, dir) = (after.as_millis(), layout.state_dir.display());
    note(&Message::UpReady { millis: &millis, dir: &dir }.said());
    for node in nodes {
        let facts = node.facts.clone().unwrap_or_default();
        let capacity = facts.capacity.unwrap_or_default();
        let (cpu, memory) = (cores(capacity.cpu_millicores), memory(capacity.memory_mib));
        note(&format!("  {}: {cpu}, {memory}", facts.name));
    }
    let held = nodes.first().and_then(|n| n.facts.clone()).unwrap_or_default().enforcement;
    let weak: Vec<String> = held
        .iter()
        .filter(|e| e.level() != v1::EnforcementLevel::Enforced)
        .map(|e| format!("  {}", enforcement(e)))
        .collect();
    if weak.is_empty() {
        note(&Message::AllEnforced {}.said());
    } else {
        note(&Message::NotAllEnforced { list: &weak.join("\n") }.said());
    }
    let say = format!("--state-dir {}", layout.state_dir.display());
    note(&Message::UpNext { say: &say }.said());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_state_directories_have_two_control_groups() {
        let one = group_name(Path::new("/var/lib/tengyun"));
        assert_eq!(one, group_name(Path::new("/var/lib/tengyun")));
        assert_ne!(one, group_name(Path::new("/tmp/tengyun")));
    }
}
