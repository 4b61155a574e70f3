//! A scheduler in this process, and agents that only pretend.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tengyun_proto::v1::agent_message::Message as Up;
use tengyun_proto::v1::operator_service_client::OperatorServiceClient;
use tengyun_proto::v1::scheduler_message::Message as Down;
use tengyun_proto::{WIRE_VERSION, limits, uds, v1};
use tengyun_scheduler::{Config, RunError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often to look again.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) type Operator = OperatorServiceClient<Channel>;

/// Makes a state directory that only we may enter.
pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A running scheduler.
pub(crate) struct Scheduler {
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), RunError>>,
    pub(crate) operator: Operator,
    pub(crate) channel: Channel,
}

impl Scheduler {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_with(Config::new(dir)).await
    }

    pub(crate) async fn start_with(config: Config) -> Self {
        let socket = config.socket.clone();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { stopped.await.unwrap_or(()) };
        let run = tokio::spawn(tengyun_scheduler::run(config, shutdown));
        let channel = until("the scheduler serves", async || {
            assert!(!run.is_finished(), "the scheduler ended");
            uds::connect(&socket).await.ok()
        })
        .await;
        Self { stop, run, operator: limits::operator_client(channel.clone()), channel }
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) {
        let Self { stop, run, operator, channel } = self;
        drop((operator, channel));
        stop.send(()).unwrap();
        timeout(PATIENCE, run).await.expect("it stops").unwrap().unwrap();
    }

    pub(crate) async fn apply(&mut self, spec: v1::WorkloadSpec) -> v1::ApplyResult {
        self.apply_as(&operation(), spec).await
    }

    pub(crate) async fn apply_as(
        &mut self,
        operation: &str,
        spec: v1::WorkloadSpec,
    ) -> v1::ApplyResult {
        let item = v1::ApplyItem { operation_id: operation.to_owned(), spec: Some(spec) };
        let request = v1::ApplyRequest { items: vec![item], dry_run: false };
        let results = self.operator.apply(request).await.unwrap().into_inner().results;
        results.into_iter().next().unwrap()
    }

    pub(crate) async fn instances(&mut self) -> Vec<v1::InstanceView> {
        let request = v1::ListInstancesRequest { key: None, all: true };
        self.operator.list_instances(request).await.unwrap().into_inner().instances
    }

    pub(crate) async fn status(&mut self) -> v1::StatusResponse {
        self.operator.status(v1::StatusRequest {}).await.unwrap().into_inner()
    }
}

/// Looks again and again until there is something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(PAUSE).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("timed out: {what}"))
}

/// The node `n1`, on which all instances of a workload were started and are healthy, as its agent reported.
pub(crate) async fn running(
    scheduler: &mut Scheduler,
    spec: v1::WorkloadSpec,
) -> (Agent, v1::Assignment) {
    let instances = usize::try_from(spec.instances).unwrap();
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    scheduler.apply(spec).await;
    let assignment = agent.assignment(instances).await;
    agent.report(report(&assignment, v1::Phase::Healthy)).await;
    (agent, assignment)
}

/// An agent that does nothing by itself.
pub(crate) struct Agent {
    up: mpsc::Sender<v1::AgentMessage>,
    down: Streaming<v1::SchedulerMessage>,
    pub(crate) welcome: v1::Welcome,
}

impl Agent {
    pub(crate) async fn attach(channel: &Channel, name: &str) -> Self {
        Self::greet(channel, hello(name)).await.unwrap()
    }

    pub(crate) async fn greet(channel: &Channel, hello: v1::Hello) -> Result<Self, Status> {
        let (up, messages) = mpsc::channel(16);
        let mut client = limits::agent_client(channel.clone());
        let mut down = client.attach(ReceiverStream::new(messages)).await?.into_inner();
        up.send(v1::AgentMessage { message: Some(Up::Hello(hello)) }).await.unwrap();
        match next(&mut down).await? {
            Down::Welcome(welcome) => Ok(Self { up, down, welcome }),
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Down, Status> {
        next(&mut self.down).await
    }

    /// Waits for what the agent is asked to do beside its assignment.
    pub(crate) async fn request(&mut self) -> Down {
        loop {
            match self.next().await.unwrap() {
                Down::Assignment(_) | Down::MeterAcknowledgement(_) | Down::Services(_) => {}
                asked => return asked,
            }
        }
    }

    /// Waits for an assignment of this many instances.
    pub(crate) async fn assignment(&mut self, instances: usize) -> v1::Assignment {
        loop {
            match self.next().await.unwrap() {
                Down::Assignment(found) if found.instances.len() == instances => return found,
                Down::Assignment(_) | Down::MeterAcknowledgement(_) | Down::Services(_) => {}
                other => panic!("expected an assignment, got {other:?}"),
            }
        }
    }

    /// Waits for an acknowledgement of meters.
    pub(crate) async fn acknowledgement(&mut self) -> Vec<v1::MeterRecord> {
        loop {
            match self.next().await.unwrap() {
                Down::MeterAcknowledgement(found) => return found.meters,
                Down::Assignment(_) | Down::Services(_) => {}
                other => panic!("expected an acknowledgement, got {other:?}"),
            }
        }
    }

    pub(crate) async fn say(&self, message: Up) {
        self.up.send(v1::AgentMessage { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn report(&self, report: v1::Report) {
        self.say(Up::Report(report)).await;
    }
}

async fn next(down: &mut Streaming<v1::SchedulerMessage>) -> Result<Down, Status> {
    let message = timeout(PATIENCE, down.message()).await.expect("a message comes")?;
    let message = message.ok_or_else(|| Status::unknown("the stream ended"))?;
    Ok(message.message.expect("the scheduler sends what we know"))
}

pub(crate) fn operation() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:032x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn hello(name: &str) -> v1::Hello {
    let id = format!("{:032x}", 7);
    v1::Hello {
        wire_version: WIRE_VERSION,
        software_version: "test".to_owned(),
        facts: Some(v1::NodeFacts {
            name: name.to_owned(),
            capacity: Some(v1::Capacity {
                cpu_millicores: 4000,
                memory_mib: 8192,
                disk_mib: 10_000,
                pids: 100_000,
                ..v1::Capacity::default()
            }),
            inventory: Some(v1::Inventory {
                machine_id: id.clone(),
                boot_id: id,
                cgroup: v1::CgroupVersion::None.into(),
                ..v1::Inventory::default()
            }),
            ..v1::NodeFacts::default()
        }),
        process: Vec::new(),
    }
}

pub(crate) fn spec(name: &str, instances: u32) -> v1::WorkloadSpec {
    v1::WorkloadSpec {
        key: Some(key(name)),
        kind: v1::Kind::Service.into(),
        class: v1::Class::Standard.into(),
        command: vec!["/bin/sleep".to_owned(), "1000".to_owned()],
        resources: Some(v1::Resources {
            cpu_millicores: 10,
            memory_mib: 8,
            pids: 16,
            ..v1::Resources::default()
        }),
        constraints: Some(v1::Constraints::default()),
        instances,
        restart: Some(v1::Restart {
            mode: v1::RestartMode::Always.into(),
            backoff_millis: 100,
            backoff_max_millis: 1000,
        }),
        stop: Some(v1::Stop { signal: 15, grace_millis: 1000 }),
        move_policy: v1::MovePolicy::Any.into(),
        ..v1::WorkloadSpec::default()
    }
}

pub(crate) fn key(name: &str) -> v1::WorkloadKey {
    v1::WorkloadKey {
        department: "city/finance".to_owned(),
        application: "ledger".to_owned(),
        name: name.to_owned(),
    }
}

/// A report that all instances of an assignment are in a phase.
pub(crate) fn report(assignment: &v1::Assignment, phase: v1::Phase) -> v1::Report {
    let status = |assigned: &v1::AssignedInstance| v1::InstanceStatus {
        instance: assigned.instance,
        incarnation: 1,
        phase: phase.into(),
        since_millis: 1,
        pid: Some(100),
        ..v1::InstanceStatus::default()
    };
    v1::Report {
        boot_id: format!("{:032x}", 7),
        epoch: assignment.epoch,
        generation: assignment.generation,
        usage: Some(v1::NodeUsage { interval_millis: 1000, ..v1::NodeUsage::default() }),
        instances: assignment.instances.iter().map(status).collect(),
        meters: Vec::new(),
    }
}

pub(crate) fn meter(instance: u64, cpu: u64, last: bool) -> v1::MeterRecord {
    v1::MeterRecord {
        boot_id: format!("{:032x}", 7),
        instance,
        incarnation: 1,
        cpu_core_millis: cpu,
        memory_mib_seconds: cpu,
        covered_millis: cpu,
        from_millis: 1,
        to_millis: 1 + cpu,
        last,
    }
}
