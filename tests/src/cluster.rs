//! A scheduler and agents as real processes in a temporary directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tengyun_model::WorkloadSpec;
use tengyun_proto::v1::operator_service_client::OperatorServiceClient;
use tengyun_proto::v1::{self, ApplyItem, ApplyRequest};
use tonic::transport::Channel;

/// How long anything in a test may take; generous, because test machines are shared.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long a daemon may take to end after it was asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How often a test looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The node of an agent that is not told how large it is.
const SHARE: &[&str] = &["--cpu-millicores", "1000", "--memory-mib", "1024"];

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// A scheduler and its agents; dropped, everything it started is gone.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    tag: String,
    scheduler: Option<Child>,
    scheduler_options: Vec<String>,
    agents: BTreeMap<String, Agent>,
}

#[derive(Debug)]
struct Agent {
    child: Option<Child>,
    options: Vec<String>,
    place: Place,
}

/// Where an agent is, as seen by its scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// On the same machine: it speaks over the socket.
    Here,
    /// On another machine, for all it knows: it speaks over TLS.
    Apart,
    /// In this network namespace.
    Space(String),
}

/// The client of the operator API.
pub type Operator = OperatorServiceClient<Channel>;

impl Cluster {
    /// Starts a scheduler and no agent.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a scheduler with these further options; they are kept for restarts.
    pub fn start_with(options: &[&str]) -> Self {
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let tag = format!("t{}x{number}", std::process::id());
        let dir = tempfile::Builder::new().prefix("tengyun-e2e").tempdir().expect("a temp dir");
        open_for_instances(dir.path());
        let mut cluster = Self {
            dir,
            tag,
            scheduler: None,
            scheduler_options: options.iter().map(|o| (*o).to_owned()).collect(),
            agents: BTreeMap::new(),
        };
        cluster.start_scheduler();
        cluster
    }

    /// The directory that holds all state.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The socket of the scheduler.
    pub fn socket(&self) -> PathBuf {
        self.path().join("scheduler/scheduler.sock")
    }

    /// The state directory of an agent.
    pub fn agent_dir(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The name of the control group that an agent works below.
    pub fn group(&self, name: &str) -> String {
        format!("{}{name}", self.tag)
    }

    /// Starts the scheduler on the state that is there.
    pub fn start_scheduler(&mut self) {
        let mut command = program("tengyun-scheduler");
        command.arg("--state-dir").arg(self.path().join("scheduler"));
        command.args(&self.scheduler_options);
        self.scheduler = Some(spawn(&mut command, &self.path().join("scheduler.log")));
    }

    /// Kills the scheduler as a power cut would.
    pub fn kill_scheduler(&mut self) {
        if let Some(mut child) = self.scheduler.take() {
            child.kill().expect("our child can be killed");
            child.wait().expect("our child can be waited for");
        }
    }

    /// Asks the scheduler to end, and waits until it has.
    pub fn stop_scheduler(&mut self) {
        if let Some(scheduler) = self.scheduler.take() {
            terminate(scheduler);
        }
    }

    /// Stops the scheduler's clock as a debugger or a sick machine would, or lets it go on.
    pub fn pause_scheduler(&self, pause: bool) {
        let child = self.scheduler.as_ref().expect("the scheduler was started");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits"));
        let signal = if pause { Signal::SIGSTOP } else { Signal::SIGCONT };
        kill(pid, signal).expect("our child can be signalled");
    }

    /// Returns how much memory the scheduler's process holds, in kibibytes.
    pub fn scheduler_resident_kib(&self) -> u64 {
        let child = self.scheduler.as_ref().expect("the scheduler was started");
        resident_kib(child.id())
    }

    /// Starts an agent with these further options; they are kept for restarts.
    ///
    /// Its node is a share of the machine: what other tests use meanwhile is not counted as foreign.
    pub fn start_agent(&mut self, name: &str, options: &[&str]) {
        self.start_at(Place::Here, name, options);
    }

    /// Starts an agent that has joined or joins, and speaks over TLS.
    pub fn start_member(&mut self, name: &str, options: &[&str]) {
        self.start_at(Place::Apart, name, options);
    }

    /// Starts an agent that has joined, in a network namespace (root).
    pub fn start_member_in(&mut self, space: &str, name: &str, options: &[&str]) {
        self.start_at(Place::Space(space.to_owned()), name, options);
    }

    fn start_at(&mut self, place: Place, name: &str, options: &[&str]) {
        let sized = options.contains(&"--cpu-millicores");
        let share = if sized { &[][..] } else { SHARE };
        let options = [share, options].concat().iter().map(|o| (*o).to_owned()).collect();
        self.agents.insert(name.to_owned(), Agent { child: None, options, place });
        self.restart_agent(name);
    }

    /// Starts a killed agent again.
    pub fn restart_agent(&mut self, name: &str) {
        let place = self.agents.get(name).map(|agent| agent.place.clone());
        let mut command = match &place {
            Some(Place::Space(space)) => in_space(space, "tengyun-agent"),
            Some(Place::Here | Place::Apart) | None => program("tengyun-agent"),
        };
        command.arg("--name").arg(name).arg("--state-dir").arg(self.agent_dir(name));
        if place == Some(Place::Here) {
            command.arg("--scheduler-socket").arg(self.socket());
        }
        command.arg("--cgroup-name").arg(self.group(name)).arg("--stop-instances-on-exit");
        let log = self.path().join(format!("{name}.log"));
        let agent = self.agents.get_mut(name).expect("the agent was started before");
        command.args(&agent.options);
        agent.child = Some(spawn(&mut command, &log));
    }

    /// Returns the processes of the agents that run.
    pub fn agent_pids(&self) -> Vec<u32> {
        self.agents.values().filter_map(|agent| agent.child.as_ref()).map(Child::id).collect()
    }

    /// Kills an agent as a power cut of the agent alone would; its instances run on.
    pub fn kill_agent(&mut self, name: &str) {
        let agent = self.agents.get_mut(name).expect("the agent was started before");
        if let Some(mut child) = agent.child.take() {
            child.kill().expect("our child can be killed");
            child.wait().expect("our child can be waited for");
        }
    }

    /// Connects to the scheduler, waiting until it answers.
    pub async fn operator(&self) -> Operator {
        let socket = self.socket();
        until("the scheduler answers", || async {
            let channel = tengyun_proto::uds::connect(&socket).await.ok()?;
            let mut client = OperatorServiceClient::new(channel);
            client.status(v1::StatusRequest {}).await.ok()?;
            Some(client)
        })
        .await
    }

    /// Applies workloads that must be accepted.
    pub async fn apply(&self, specs: &[WorkloadSpec]) {
        let items = specs.iter().map(|spec| item(operation(), spec)).collect();
        let request = ApplyRequest { items, dry_run: false };
        let response = self.operator().await.apply(request).await.expect("apply answers");
        for result in response.into_inner().results {
            assert_eq!(result.refusal, None, "{:?} was refused", result.key);
        }
    }

    /// Lists all instances, ended ones too.
    pub async fn instances(&self) -> Vec<v1::InstanceView> {
        let request = v1::ListInstancesRequest { key: None, all: true };
        let response = self.operator().await.list_instances(request).await;
        response.expect("list answers").into_inner().instances
    }

    /// Waits until so many instances run, and returns them.
    pub async fn until_running(&self, count: usize) -> Vec<v1::InstanceView> {
        let mut operator = self.operator().await;
        until("the instances run", async || {
            let request = v1::ListInstancesRequest { key: None, all: false };
            let views = operator.list_instances(request).await.ok()?.into_inner().instances;
            let running: Vec<_> = views.into_iter().filter(is_running).collect();
            (running.len() == count).then_some(running)
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let names: Vec<String> = self.agents.keys().cloned().collect();
        for name in &names {
            if self.agents[name].child.is_none() {
                // An agent that was killed left its instances running: only it can end them.
                self.restart_agent(name);
            }
        }
        // All are asked first: many agents end together as fast as one.
        let children: Vec<Child> =
            self.agents.values_mut().filter_map(|agent| agent.child.take()).collect();
        for child in &children {
            ask_to_end(child);
        }
        for child in children {
            terminate(child);
        }
        self.stop_scheduler();
        if std::thread::panicking() {
            print_logs(self.path());
        }
    }
}

/// Returns how much memory a process holds, in kibibytes.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("the kernel says how much memory is resident")
}

/// Says whether the instance's process runs.
pub fn is_running(view: &v1::InstanceView) -> bool {
    let phase = view.status.as_ref().map(v1::InstanceStatus::phase);
    matches!(phase, Some(v1::Phase::Running | v1::Phase::Healthy))
}

/// Says whether the instance is wanted and healthy.
pub fn is_healthy(view: &v1::InstanceView) -> bool {
    let phase = view.status.as_ref().map(v1::InstanceStatus::phase);
    view.wanted && phase == Some(v1::Phase::Healthy)
}

/// Makes one item of an apply request.
pub fn item(operation_id: String, spec: &WorkloadSpec) -> ApplyItem {
    ApplyItem { operation_id, spec: Some(spec.into()) }
}

/// Makes an operation id that no other test makes.
pub fn operation() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:024x}{count:08x}", std::process::id())
}

/// Looks again and again until the closure gives a value; panics when patience ends.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "gave up waiting until {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Returns the path of a binary of this workspace, as the tests' own build made it.
pub fn binary(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a test knows its path");
    let folder = here.ancestors().find(|a| a.join(name).is_file());
    let Some(folder) = folder else {
        panic!("{name} is not built beside the tests: run `cargo test --workspace`")
    };
    folder.join(name)
}

/// Prepares to run a binary of this workspace.
#[expect(clippy::disallowed_methods, reason = "the harness starts the daemons")]
pub fn program(name: &str) -> Command {
    Command::new(binary(name))
}

/// Prepares to run a binary of this workspace in a network namespace, in place of the command that
/// enters it.
#[expect(clippy::disallowed_methods, reason = "the harness starts the daemons")]
fn in_space(space: &str, name: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{space}")).arg(binary(name));
    command
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).expect("a log file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().expect("a binary of ours starts")
}

pub(crate) fn ask_to_end(child: &Child) -> bool {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits"));
    kill(pid, Signal::SIGTERM).is_ok()
}

pub(crate) fn terminate(mut child: Child) {
    let asked = ask_to_end(&child);
    let start = Instant::now();
    while asked && start.elapsed() < STOP_PATIENCE {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    drop(child.kill());
    drop(child.wait());
}

/// Lets instances, which run under ids of their own, reach their working directories.
fn open_for_instances(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711)).expect("our directory");
}

#[expect(clippy::print_stdout, reason = "a failing test shows what the daemons said")]
fn print_logs(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|e| e == "log") {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(60).collect();
            println!("--- {}", entry.path().display());
            for line in tail.iter().rev() {
                println!("{line}");
            }
        }
    }
}
