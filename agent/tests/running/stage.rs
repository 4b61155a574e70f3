//! A stage for tests of the running half: a real agent, a scheduler that says what a test says.

#[path = "sweep.rs"]
mod sweep;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tengyun_agent::{AgentError, Config};
use tengyun_model::{
    AssignedInstance, Assignment, Band, CopyKey, Epoch, Generation, InstanceId, Kind, Mebibytes,
    Millis, Name, NodeId, NodeName, Resources, Restart, RestartMode, Revision, Stop, WorkloadSpec,
};
use tengyun_proto::v1::agent_service_server::AgentService;
use tengyun_proto::v1::{self, agent_message, scheduler_message};
use tengyun_proto::{WIRE_VERSION, limits, uds};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use sweep::sweep;

/// How long anything may take; generous, because test machines are shared.
const PATIENCE: Duration = Duration::from_secs(30);

static STAGES: AtomicU32 = AtomicU32::new(0);

/// Says that a test was skipped, or fails where a skip is not accepted.
#[expect(clippy::print_stdout, reason = "a skip must be seen")]
pub(crate) fn skip(reason: &str) {
    assert!(
        std::env::var_os("TENGYUN_TEST_NO_SKIP").is_none_or(|v| v != "1"),
        "a skip is not accepted here: {reason}"
    );
    println!("SKIPPED({reason})");
}

/// Says whether the test is root on a machine with control groups.
pub(crate) fn has_cgroups() -> bool {
    nix::unistd::geteuid().is_root()
        && (Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists()
            || std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
                .is_ok_and(|text| text.contains("memory")))
}

/// An agent and the scheduler it hears.
pub(crate) struct Stage {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    pub(crate) scheduler: Scheduler,
    generation: u64,
    agent: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Stage {
    /// Starts a scheduler and an agent on a fresh directory.
    pub(crate) fn start() -> Self {
        let mut stage = Self::without_agent();
        stage.start_agent();
        stage
    }

    /// Starts a scheduler only, so that the configuration can be changed first.
    pub(crate) fn without_agent() -> Self {
        let dir = tempfile::Builder::new().prefix("tengyun-run").tempdir().expect("a temp dir");
        // Instances run under ids of their own and pass through it.
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(dir.path(), passable).expect("our directory");
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let socket = dir.path().join("scheduler/scheduler.sock");
        let name = NodeName::new("n1").expect("a name");
        let mut config = Config::new(name, dir.path().join("agent"), &socket);
        config.cgroup_name =
            Name::new(format!("run{}x{number}", std::process::id())).expect("a name");
        config.shim = PathBuf::from(env!("CARGO_BIN_EXE_tengyun-agent"));
        config.stop_instances_on_exit = true;
        config.sample_interval = Millis::new(100);
        let scheduler = Scheduler::start(&socket);
        Self { dir, config, scheduler, generation: 0, agent: None }
    }

    /// Starts the agent.
    pub(crate) fn start_agent(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let run = tengyun_agent::run(self.config.clone(), async {
            drop(stopped.await);
        });
        self.agent = Some(Running { stop, task: tokio::spawn(run) });
    }

    /// Starts the agent as a process of its own.
    #[expect(clippy::disallowed_methods, reason = "the harness starts the agent")]
    pub(crate) fn agent_process(&self) -> Child {
        let mut command = Command::new(&self.config.shim);
        command.arg("--name").arg(self.config.name.as_str());
        command.arg("--state-dir").arg(&self.config.state_dir);
        command.arg("--scheduler-socket").arg(&self.config.scheduler_socket);
        command.arg("--cgroup-name").arg(self.config.cgroup_name.as_str());
        if let Some(interval) = self.config.report_interval {
            command.arg("--report-interval-millis").arg(interval.get().to_string());
        }
        let sample = self.config.sample_interval.get().to_string();
        command.arg("--sample-interval-millis").arg(sample);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the agent starts")
    }

    /// Ends the agent as kill -9 would: it gets no chance to do anything.
    pub(crate) async fn kill_agent(&mut self) {
        let Running { stop, task } = self.agent.take().expect("the agent was started");
        task.abort();
        drop(task.await);
        drop(stop);
    }

    /// Tells the agent to end and waits until it has.
    pub(crate) async fn stop_agent(&mut self) -> Result<(), AgentError> {
        let Running { stop, task } = self.agent.take().expect("the agent was started");
        drop(stop);
        task.await.expect("the agent does not panic")
    }

    /// Ends everything and asserts that nothing is left.
    pub(crate) async fn end(mut self) {
        if self.agent.is_none() {
            self.start_agent();
        }
        self.stop_agent().await.expect("the agent ends well");
        assert_eq!(self.groups(), Vec::<PathBuf>::new(), "control groups are left");
    }

    /// Assigns these instances and no others.
    pub(crate) fn assign(&mut self, instances: &[AssignedInstance]) {
        self.generation += 1;
        self.send_assignment(1, self.generation, instances);
    }

    /// Assigns nothing and has these volumes removed.
    pub(crate) fn remove_volumes(&mut self, removed: Vec<CopyKey>) {
        self.generation += 1;
        self.send_with(1, self.generation, &[], removed);
    }

    /// Sends an assignment as it is.
    pub(crate) fn send_assignment(
        &self,
        epoch: u64,
        generation: u64,
        instances: &[AssignedInstance],
    ) {
        self.send_with(epoch, generation, instances, Vec::new());
    }

    fn send_with(
        &self,
        epoch: u64,
        generation: u64,
        instances: &[AssignedInstance],
        removed: Vec<CopyKey>,
    ) {
        let assignment = Assignment {
            node: NodeId::new(1),
            epoch: Epoch::new(epoch),
            generation: Generation::new(generation),
            band: Band::DEFAULT,
            instances: instances.to_vec(),
            removed,
        };
        self.scheduler.send(scheduler_message::Message::Assignment((&assignment).into()));
    }

    /// Waits for a report that this finds something in.
    pub(crate) async fn report<T>(
        &mut self,
        what: &str,
        find: impl Fn(&v1::Report) -> Option<T>,
    ) -> T {
        let mut reports = self.scheduler.reports.subscribe();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = reports.borrow_and_update().as_ref().and_then(&find) {
                    return found;
                }
                reports.changed().await.expect("the stage keeps the sender");
            }
        });
        let seen = self.scheduler.reports.borrow().clone();
        found.await.unwrap_or_else(|_| panic!("gave up waiting until {what}; last {seen:?}"))
    }

    /// Waits until an instance is in one of these phases.
    pub(crate) async fn until(
        &mut self,
        instance: u64,
        phases: &[v1::Phase],
    ) -> v1::InstanceStatus {
        let find = |report: &v1::Report| {
            let mut statuses = report.instances.iter();
            statuses.find(|s| s.instance == instance && phases.contains(&s.phase())).cloned()
        };
        self.report(&format!("instance {instance} is in {phases:?}"), find).await
    }

    /// Waits until an instance runs, and returns its process.
    pub(crate) async fn pid(&mut self, instance: u64) -> u32 {
        let status = self.until(instance, &[v1::Phase::Running, v1::Phase::Healthy]).await;
        status.pid.expect("what runs has a pid")
    }

    /// Waits until an instance is no longer reported.
    pub(crate) async fn until_gone(&mut self, instance: u64) {
        let find = |report: &v1::Report| {
            report.instances.iter().all(|s| s.instance != instance).then_some(())
        };
        self.report(&format!("instance {instance} is gone"), find).await;
    }

    /// The directory of one start.
    pub(crate) fn instance_dir(&self, instance: u64, incarnation: u32) -> PathBuf {
        self.config.state_dir.join(format!("instances/{instance}.{incarnation}"))
    }

    /// What one start wrote to standard output so far.
    pub(crate) fn stdout(&self, instance: u64, incarnation: u32) -> String {
        let file = self.instance_dir(instance, incarnation).join("stdout.log");
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// The control groups of this stage that are there.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let name = self.config.cgroup_name.as_str();
        let hierarchies = ["", "cpu", "cpuacct", "cpuset", "memory", "pids", "freezer", "blkio"];
        let groups = hierarchies.iter().map(|h| Path::new("/sys/fs/cgroup").join(h).join(name));
        groups.filter(|group| group.exists()).collect()
    }
}

impl Drop for Stage {
    /// A test that failed has ended nothing: what it started would run on, and disturb the others.
    fn drop(&mut self) {
        if let Some(Running { task, .. }) = self.agent.take() {
            task.abort();
        }
        sweep(self.dir.path(), || self.groups());
    }
}

/// Looks again and again until the closure gives a value.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Says whether a process is there and has not ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Makes an assigned service that runs this shell script.
pub(crate) fn shell(instance: u64, script: &str) -> AssignedInstance {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let plain = WorkloadSpec::service("city/tests/run/script".parse().expect("a key"), command);
    let spec = WorkloadSpec {
        resources: Resources { memory: Mebibytes::new(64), pids: 64, ..plain.resources },
        restart: Restart {
            backoff: Millis::new(100),
            backoff_max: Millis::new(400),
            ..plain.restart
        },
        stop: Stop { grace: Millis::from_secs(20), ..plain.stop },
        startup: Millis::new(50),
        ..plain
    };
    AssignedInstance {
        instance: InstanceId::new(instance),
        ordinal: 0,
        revision: Revision::new(1),
        spec,
    }
}

/// Makes an assigned job that runs this shell script once.
pub(crate) fn once(instance: u64, script: &str) -> AssignedInstance {
    let mut assigned = shell(instance, script);
    assigned.spec.kind = Kind::Job;
    assigned.spec.restart.mode = RestartMode::Never;
    assigned
}

/// A scheduler that says what a test says and remembers what it hears.
pub(crate) struct Scheduler {
    pub(crate) reports: watch::Sender<Option<v1::Report>>,
    pub(crate) hello: watch::Sender<Option<v1::Hello>>,
    pub(crate) chunks: mpsc::Receiver<v1::LogChunk>,
    said: Arc<Mutex<Said>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Said {
    streams: Vec<mpsc::Sender<Result<v1::SchedulerMessage, Status>>>,
    assignment: Option<v1::SchedulerMessage>,
}

impl Scheduler {
    fn start(socket: &Path) -> Self {
        let (reports, hello) = (watch::Sender::new(None), watch::Sender::new(None));
        let (to_chunks, chunks) = mpsc::channel(1024);
        let said = Arc::new(Mutex::new(Said::default()));
        let service = Service {
            reports: reports.clone(),
            hello: hello.clone(),
            chunks: to_chunks,
            said: Arc::clone(&said),
        };
        let incoming = uds::listen(socket).expect("a socket");
        let server = tokio::spawn(async move {
            let service = limits::agent_server(service);
            limits::server()
                .serve_with_incoming(service, incoming)
                .await
                .expect("the server serves");
        });
        Self { reports, hello, chunks, said, server }
    }

    /// Sends a message to the agent, and the last assignment to each that comes later.
    pub(crate) fn send(&self, message: scheduler_message::Message) {
        let is_assignment = matches!(message, scheduler_message::Message::Assignment(_));
        let message = v1::SchedulerMessage { message: Some(message) };
        let mut said = self.said.lock().expect("nobody panicked");
        for stream in &said.streams {
            drop(stream.try_send(Ok(message.clone())));
        }
        if is_assignment {
            said.assignment = Some(message);
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Service {
    reports: watch::Sender<Option<v1::Report>>,
    hello: watch::Sender<Option<v1::Hello>>,
    chunks: mpsc::Sender<v1::LogChunk>,
    said: Arc<Mutex<Said>>,
}

#[tonic::async_trait]
impl AgentService for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::SchedulerMessage, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut inbound = request.into_inner();
        let (stream, outgoing) = mpsc::channel(64);
        let welcome = v1::Welcome {
            wire_version: WIRE_VERSION,
            node: 1,
            epoch: 1,
            report_interval_millis: 100,
            window_millis: 0,
        };
        let welcome = scheduler_message::Message::Welcome(welcome);
        let welcome = v1::SchedulerMessage { message: Some(welcome) };
        stream.try_send(Ok(welcome)).expect("a new stream has room");
        {
            let mut said = self.said.lock().expect("nobody panicked");
            if let Some(assignment) = said.assignment.clone() {
                stream.try_send(Ok(assignment)).expect("a new stream has room");
            }
            said.streams.push(stream);
        }
        let (reports, hello) = (self.reports.clone(), self.hello.clone());
        let chunks = self.chunks.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                match message.message {
                    Some(agent_message::Message::Hello(said)) => {
                        hello.send_replace(Some(said));
                    }
                    Some(agent_message::Message::Report(report)) => {
                        reports.send_replace(Some(report));
                    }
                    Some(agent_message::Message::LogChunk(chunk)) => {
                        drop(chunks.send(chunk).await);
                    }
                    // Here nobody has secrets, and nobody forecasts.
                    Some(
                        agent_message::Message::SecretRequest(_)
                        | agent_message::Message::History(_),
                    )
                    | None => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}
