//! Members of a cluster that listens, made over its socket; and agents that only pretend.

use std::path::PathBuf;
use std::time::Duration;

use tengyun_model::{Grant, Member, Role};
use tengyun_proto::identity::Identity;
use tengyun_proto::join::{self, Evidence};
use tengyun_proto::token::Token;
use tengyun_proto::v1::agent_message::Message as Up;
use tengyun_proto::v1::agent_service_client::AgentServiceClient;
use tengyun_proto::v1::scheduler_message::Message as Down;
use tengyun_proto::{WIRE_VERSION, limits, uds, v1};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::Cluster;
use crate::cluster::{PATIENCE, operation};

/// The options of a scheduler that listens on this machine.
pub const LISTEN: &[&str] = &["--listen", "127.0.0.1:0"];
/// The boot that pretending agents speak of.
pub const BOOT: &str = "00000000000000000000000000000007";
/// Messages of a pretending agent that wait for the transport.
const UP_MAX: usize = 16;

/// Opens a connection to the scheduler's socket.
pub async fn local(cluster: &Cluster) -> Channel {
    cluster.operator().await;
    uds::connect(&cluster.socket()).await.expect("the scheduler answers")
}

/// Makes a token; an empty address takes the scheduler's own.
pub async fn token(cluster: &Cluster, grant: &Grant, address: &str) -> Token {
    let request = v1::CreateTokenRequest { grant: Some(grant.into()), address: address.to_owned() };
    let mut identities = limits::identity_client(local(cluster).await);
    let answer = identities.create_token(request).await.expect("tokens are made").into_inner();
    assert_eq!(answer.refusal, None);
    answer.token.parse().expect("what it gives is a token")
}

/// Lets a node in and returns its identity.
pub async fn node(cluster: &Cluster, name: &str) -> Identity {
    let name = name.parse().expect("test names are names");
    let token = token(cluster, &Grant::NewNode, "").await;
    let place: PathBuf = cluster.path().join(format!("identity-{}", operation()));
    let joined = join::join(&token, &Member::Node(name), Evidence::default(), &place).await;
    joined.expect("a token lets in")
}

/// Lets a person in and returns the identity.
pub async fn person(cluster: &Cluster, name: &str, role: Role) -> Identity {
    let name: tengyun_model::Name = name.parse().expect("test names are names");
    let token = token(cluster, &Grant::Person(name.clone(), role), "").await;
    let place: PathBuf = cluster.path().join(format!("identity-{}", operation()));
    let joined = join::join(&token, &Member::Person(name), Evidence::default(), &place).await;
    joined.expect("a token lets in")
}

/// An agent that does nothing by itself.
#[derive(Debug)]
pub struct Pretender {
    up: mpsc::Sender<v1::AgentMessage>,
    down: Streaming<v1::SchedulerMessage>,
    /// How it was greeted.
    pub welcome: v1::Welcome,
}

impl Pretender {
    /// Attaches with this greeting.
    ///
    /// # Errors
    /// The scheduler says no.
    pub async fn attach(channel: &Channel, hello: v1::Hello) -> Result<Self, Status> {
        let (up, messages) = mpsc::channel(UP_MAX);
        // It says what it wants, however much that is.
        let mut client = AgentServiceClient::new(channel.clone())
            .max_encoding_message_size(usize::MAX)
            .max_decoding_message_size(limits::SENT_BYTES_MAX);
        let mut down = client.attach(ReceiverStream::new(messages)).await?.into_inner();
        let hello = v1::AgentMessage { message: Some(Up::Hello(hello)) };
        up.send(hello).await.map_err(|_| Status::cancelled("the stream ended"))?;
        match next(&mut down).await? {
            Down::Welcome(welcome) => Ok(Self { up, down, welcome }),
            other => panic!("a welcome comes first, not {other:?}"),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The stream is over; [`Self::next`] says why.
    pub async fn say(&self, message: Up) -> Result<(), Status> {
        let sent = self.up.send(v1::AgentMessage { message: Some(message) });
        let sent = timeout(PATIENCE, sent).await.expect("the transport takes it");
        sent.map_err(|_| Status::cancelled("the stream ended"))
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn next(&mut self) -> Result<Down, Status> {
        next(&mut self.down).await
    }

    /// Waits until the stream is over and returns why.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    /// Waits for an assignment of this many instances.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn assignment(&mut self, instances: usize) -> Result<v1::Assignment, Status> {
        loop {
            match self.next().await? {
                Down::Assignment(found) if found.instances.len() == instances => return Ok(found),
                _ => {}
            }
        }
    }

    /// Waits for an acknowledgement of meters.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn acknowledgement(&mut self) -> Result<(), Status> {
        while !matches!(self.next().await?, Down::MeterAcknowledgement(_)) {}
        Ok(())
    }
}

async fn next(down: &mut Streaming<v1::SchedulerMessage>) -> Result<Down, Status> {
    const SILENCE_MAX: Duration = PATIENCE;
    let message = timeout(SILENCE_MAX, down.message()).await;
    let message = message.map_err(|_| Status::deadline_exceeded("nothing came"))??;
    let message = message.ok_or_else(|| Status::cancelled("the stream ended"))?;
    message.message.ok_or_else(|| Status::unknown("an empty message"))
}

/// The greeting of a node of four cores.
pub fn hello(name: &str) -> v1::Hello {
    let capacity = v1::Capacity {
        cpu_millicores: 4000,
        memory_mib: 8192,
        disk_mib: 10_000,
        pids: 100_000,
        ..v1::Capacity::default()
    };
    let inventory = v1::Inventory {
        machine_id: BOOT.to_owned(),
        boot_id: BOOT.to_owned(),
        cgroup: v1::CgroupVersion::None.into(),
        ..v1::Inventory::default()
    };
    let facts = v1::NodeFacts {
        name: name.to_owned(),
        capacity: Some(capacity),
        inventory: Some(inventory),
        ..v1::NodeFacts::default()
    };
    v1::Hello {
        wire_version: WIRE_VERSION,
        facts: Some(facts),
        process: name.as_bytes().iter().take(32).copied().collect(),
        ..v1::Hello::default()
    }
}

/// A report that every instance of an assignment runs and has used so much.
pub fn report(assignment: &v1::Assignment, core_millis: u64) -> v1::Report {
    let status = |assigned: &v1::AssignedInstance| v1::InstanceStatus {
        instance: assigned.instance,
        incarnation: 1,
        phase: v1::Phase::Healthy.into(),
        since_millis: 1,
        pid: Some(100),
        ..v1::InstanceStatus::default()
    };
    let meter = |assigned: &v1::AssignedInstance| v1::MeterRecord {
        boot_id: BOOT.to_owned(),
        instance: assigned.instance,
        incarnation: 1,
        cpu_core_millis: core_millis,
        memory_mib_seconds: core_millis,
        covered_millis: core_millis,
        from_millis: 1,
        to_millis: 1 + core_millis,
        ..v1::MeterRecord::default()
    };
    let mut report = v1::Report {
        boot_id: BOOT.to_owned(),
        epoch: assignment.epoch,
        generation: assignment.generation,
        usage: Some(v1::NodeUsage { interval_millis: 1000, ..v1::NodeUsage::default() }),
        instances: assignment.instances.iter().map(status).collect(),
        ..v1::Report::default()
    };
    report.meters = assignment.instances.iter().map(meter).collect();
    report
}
