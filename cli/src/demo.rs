//! `tengyun demo`: the city's story in about three minutes, with real processes and real limits.
//!
//! It measures by the kernel's counters and says what it could not show; it never computes a result.

mod cast;
pub mod client;
pub mod histogram;
mod kernel;
mod load;
pub mod player;
mod score;
pub mod service;
mod story;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tengyun_agent::CapacityOverrides;
use tengyun_model::{Mebibytes, NodeName};
use tengyun_proto::v1;

use crate::describe::enforcement;
use crate::failure::Failure;
use crate::get::of;
use crate::message::Message;
use crate::options::Global;
use crate::output::{Format, joined, note, show};
use crate::session::Session;
use crate::text::Language;
use crate::up::{self, Cloud, Layout, Signals};
use kernel::Kernel;
use load::Load;
use score::{Measured, Score};
use story::{NODE_CPU, NODES, Stage};

/// Memory of each node: the demo's processes need little.
const NODE_MEMORY: Mebibytes = Mebibytes::new(512);
/// Exit code when the story was told and a promise was not kept.
const NOT_SHOWN: u8 = 4;

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The recorded day to replay [default: ../shared/traces/planetlab-20110303 where it is, else a
    /// generated set]
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
}

/// What the player takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PlayerArgs {
    /// A file with a line a point, in millicores
    #[arg(long, required_unless_present = "burn")]
    series: Option<PathBuf>,
    /// How long a point lasts
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    step_millis: u64,
    /// Be as busy as it is let instead
    #[arg(long, conflicts_with = "series")]
    burn: bool,
}

/// What the service takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ServiceArgs {
    /// Where it listens
    #[arg(long)]
    socket: PathBuf,
}

/// Plays a usage series as real CPU time, or burns.
pub(crate) fn play(args: &PlayerArgs) -> Result<(), Failure> {
    let Some(file) = &args.series else { player::burn() };
    let wrong = |what: String| Failure::Usage(format!("{}: {what}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let series = player::parse_csv(&text).map_err(|error| wrong(error.to_string()))?;
    player::play(&series, Duration::from_millis(args.step_millis), 1, true);
    Ok(())
}

/// Serves requests, each of which costs a little CPU.
pub(crate) fn serve(args: &ServiceArgs) -> Result<(), Failure> {
    let iterations = service::calibrate(service::WORK);
    service::serve(&args.socket, iterations).map_err(|error| {
        let socket = args.socket.display();
        Failure::Internal(Message::CannotServe { socket: &socket, error: &error }.said())
    })
}

/// Tells the story; success only when all of it was shown.
pub(crate) fn run(args: &DemoArgs, global: &Global, format: Format) -> Result<ExitCode, Failure> {
    let language = Language::of_locale();
    let cores = can_be_shown()?;
    let load = Load::find(args.trace.as_ref())?;
    up::start_log()?;
    let layout = layout(&global.state_dir().join("demo"))?;
    let session = Session { socket: layout.socket.clone(), identity: None, format, language };
    let measured = up::runtime()?.block_on(async {
        let mut signals = Signals::watch()?;
        sweep(&layout).await?;
        let program = lay_out(&layout)?;
        let stage = |kernel| Stage { session: &session, kernel, program, load, cores };
        let mut cloud = Cloud::start(&layout)?;
        let told = tokio::select! {
            told = tell(&mut cloud, &layout, stage) => told,
            () = signals.any() => Err(Failure::Internal(Message::DemoCut {}.said())),
        };
        note(language.pick("stopping everything", "正在停止全部进程"));
        let stopped = cloud.stop().await;
        let measured = told?;
        stopped?;
        remove(&layout.state_dir)?;
        Ok::<Measured, Failure>(measured)
    })?;
    let score = Score::of(&measured);
    show(format, || table(&score, language), &score.json())?;
    let shortfalls = score.shortfalls(language);
    for line in &shortfalls {
        note(&format!("{} {line}", language.pick("not shown:", "未能展示：")));
    }
    Ok(if shortfalls.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_SHOWN) })
}

/// Says what cannot be shown on this machine at all; returns its cores.
fn can_be_shown() -> Result<f64, Failure> {
    let cannot = |why: &str| Err(Failure::Internal(Message::DemoCannot { why: &why }.said()));
    if !nix::unistd::Uid::effective().is_root() {
        return cannot(&Message::DemoNeedsRoot {}.said());
    }
    let threads = std::thread::available_parallelism().map_err(|e| Failure::internal(&e))?;
    let threads = u32::try_from(threads.get()).unwrap_or(u32::MAX);
    let needed = NODE_CPU.get() * u64::from(NODES) / 1000;
    if u64::from(threads) < needed {
        return cannot(&Message::DemoNeedsCpus { needed: &needed, threads: &threads }.said());
    }
    Ok(f64::from(threads))
}

fn layout(dir: &Path) -> Result<Layout, Failure> {
    let capacity = CapacityOverrides {
        cpu: Some(NODE_CPU),
        memory: Some(NODE_MEMORY),
        ..CapacityOverrides::default()
    };
    let node = |number: u32| {
        let name = NodeName::new(format!("node{number}")).map_err(|e| Failure::internal(&e))?;
        Ok((name, capacity.clone()))
    };
    Ok(Layout {
        listen: None,
        advertise: None,
        state_dir: dir.to_owned(),
        socket: dir.join("scheduler/scheduler.sock"),
        group: up::group_name(dir),
        nodes: (1..=NODES).map(node).collect::<Result<_, Failure>>()?,
        calendar: None,
        record_volatile: None,
    })
}

/// Ends what a demo that was killed has left: its agents take it over and stop it.
async fn sweep(layout: &Layout) -> Result<(), Failure> {
    if !layout.state_dir.join("nodes").exists() {
        return Ok(());
    }
    note(&Message::DemoEarlier {}.said());
    let mut cloud = Cloud::start(layout)?;
    let ready = cloud.ready(layout).await;
    let stopped = cloud.stop().await;
    ready?;
    stopped?;
    remove(&layout.state_dir)
}

/// Makes the directory, with this program where instances may run it.
fn lay_out(layout: &Layout) -> Result<PathBuf, Failure> {
    let dir = layout.state_dir.join("bin");
    let program = dir.join("tengyun");
    let failed = |error: std::io::Error| {
        let dir = dir.display();
        Failure::Internal(Message::CannotPrepare { dir: &dir, error: &error }.said())
    };
    fs::DirBuilder::new().recursive(true).mode(0o711).create(&dir).map_err(failed)?;
    fs::copy("/proc/self/exe", &program).map_err(failed)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    Ok(program)
}

fn remove(dir: &Path) -> Result<(), Failure> {
    fs::remove_dir_all(dir).map_err(|error| {
        let dir = dir.display();
        Failure::Internal(Message::CannotRemove { dir: &dir, error: &error }.said())
    })
}

async fn tell<'a>(
    cloud: &mut Cloud,
    layout: &Layout,
    stage: impl FnOnce(Kernel) -> Stage<'a>,
) -> Result<Measured, Failure> {
    let nodes = cloud.ready(layout).await?.unwrap_or_default();
    held_to_their_shares(&nodes)?;
    let names: Vec<NodeName> = layout.nodes.iter().map(|(name, _)| name.clone()).collect();
    let kernel = Kernel::find(&layout.group, &names)
        .ok_or_else(|| Failure::Internal(Message::DemoNoCounters {}.said()))?;
    let stage = stage(kernel);
    tokio::select! {
        told = stage.play() => told,
        () = cloud.ended() => Err(Failure::Internal(Message::DemoDaemonEnded {}.said())),
    }
}

/// Says which limit does not hold: without them the figures would be those of another machine.
fn held_to_their_shares(nodes: &[v1::NodeView]) -> Result<(), Failure> {
    let held = nodes.iter().filter_map(|n| n.facts.as_ref()).flat_map(|f| &f.enforcement);
    let weak = held.filter(|e| e.level() != v1::EnforcementLevel::Enforced);
    let needed = |e: &&v1::Enforcement| {
        matches!(
            e.control(),
            v1::Control::NodeCapacity | v1::Control::CpuLimit | v1::Control::CpuMeter
        )
    };
    let lines: Vec<String> = weak.filter(needed).map(enforcement).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let lines = lines.join("\n  ");
    Err(Failure::Internal(Message::DemoNotHeld { lines: &lines }.said()))
}

fn table(score: &Score, language: Language) -> String {
    let millis = |m: Option<f64>| m.map_or_else(|| "-".to_owned(), |m| format!("{m:.2} ms"));
    let slower = score.slower().map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"));
    let requests = |millis: String, count: usize| {
        Message::DemoRequests { millis: &millis, count: &count }.said()
    };
    let [alone, together] = score.requests;
    let rows = [
        (
            "nodes in use, before",
            "在用节点，整合前",
            of(&score.nodes_before.to_string(), &NODES.to_string()),
        ),
        (
            "nodes in use, after",
            "在用节点，整合后",
            of(&score.nodes_after.to_string(), &NODES.to_string()),
        ),
        (
            "utilisation of nodes in use, before",
            "在用节点利用率，整合前",
            Message::DemoBusiest {
                mean: &format!("{:.1}", score.utilisation_before),
                most: &format!("{:.1}", score.busiest_before),
            }
            .said(),
        ),
        (
            "utilisation of nodes in use, last minute",
            "在用节点利用率，最后一分钟",
            format!("{:.1} %", score.utilisation_after),
        ),
        (
            "node-time in the band of 60–80 %",
            "处于 60–80 % 区间的节点时间",
            format!("{:.1} %", score.in_band),
        ),
        (
            "critical service, p99 alone",
            "关键服务 p99，独占",
            requests(millis(score.p99_alone_millis), alone),
        ),
        (
            "critical service, p99 after",
            "关键服务 p99，整合后",
            requests(millis(score.p99_after_millis), together),
        ),
        ("p99 after / alone", "p99 整合后 / 独占", slower),
        ("moves", "迁移次数", score.moves.to_string()),
        (
            "CPU of the machine taken by others",
            "其他程序占用的本机 CPU",
            format!("{:.1} %", score.foreign),
        ),
    ];
    joined(
        rows.iter().map(|(english, chinese, value)| {
            format!("{}: {value}", language.pick(english, chinese))
        }),
    )
}
