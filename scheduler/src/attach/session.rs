//! One attached stream: its greeting, its life and its end. It owns no state of the cloud.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tengyun_engine::Refusal;
use tengyun_model::{Millis, NodeFacts, NodeId, said};
use tengyun_proto::convert::{ConvertError, NODE_INSTANCES_MAX, SKETCHES_MAX};
use tengyun_proto::refused::{of_refusal, status};
use tengyun_proto::v1::agent_message::Message as Up;
use tengyun_proto::v1::scheduler_message::Message as Out;
use tengyun_proto::{WIRE_VERSION, v1};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tonic::{Code, Status, Streaming};
use tracing::{debug, warn};

use super::logs::{Logs, READER_PATIENCE};
use super::pace::Pace;
use super::{check_version, spoken};
use crate::authority::claim::Subject;
use crate::connections::Connections;
use crate::desk::{AttachRefusal, Attached, Desk, Request, Speaker};
use crate::dispatch::{DOWN_MAX, Down, Link, LinkId};
use crate::secrets::{self, Secrets};
use crate::tasks::stopped;

/// How long an agent may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for the end of an agent's earlier stream: one that was killed and started again
/// is often faster than the end of its old connection.
const DISPLACE_PAUSE: Duration = Duration::from_millis(100);
/// How often to look whether the earlier stream ended before the new one is refused.
const DISPLACE_TRIES: u32 = 20;
/// How long an agent may leave a message unread before it counts as gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes that an agent draws when it starts.
const PROCESS_BYTES_MAX: usize = 32;
/// The most parts of what an agent remembers on one stream: those of the largest node. More would only
/// keep the writer busy.
const HISTORY_PARTS_MAX: usize = NODE_INSTANCES_MAX.div_ceil(SKETCHES_MAX);
/// How often to look for readers of logs who went away.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One stream.
#[derive(Debug)]
pub(super) struct Session {
    pub desk: Desk,
    pub stop: watch::Receiver<bool>,
    pub report_interval: Millis,
    pub id: LinkId,
    pub out: mpsc::Sender<Result<v1::SchedulerMessage, Status>>,
    pub speaker: Speaker,
    pub from: Option<SocketAddr>,
    pub connections: Arc<Connections>,
    pub secrets: Arc<Secrets>,
}

/// The session's ends of its link.
struct Ends {
    node: NodeId,
    assignment: watch::Receiver<Option<v1::Assignment>>,
    services: watch::Receiver<Option<v1::Services>>,
    down: mpsc::Receiver<Down>,
    logs: Logs,
    /// How many parts of what the agent remembers are still listened to.
    history_left: usize,
}

/// Why a stream ends without an error: the other side is gone or asked for it.
struct Ended;

impl Session {
    /// Lives the stream's life; its last message says why it ended, if the agent did not end it.
    pub(super) async fn run(self, mut inbound: Streaming<v1::AgentMessage>) {
        let greeted = tokio::select! {
            greeted = self.greet(&mut inbound) => greeted,
            () = stopped(self.stop.clone()) => Err(stopping()),
        };
        let status = match greeted {
            Ok(mut ends) => {
                let status = self.live(&mut inbound, &mut ends).await.err();
                ends.logs.close(&said!(AgentWent));
                self.desk.tell(Request::Detach { node: ends.node, link: self.id }).await;
                status
            }
            Err(status) => Some(status),
        };
        if let Some(status) = status {
            warn!(code = ?status.code(), message = status.message(), "stream of an agent ended");
            // When the agent is gone there is nobody to tell.
            self.out.try_send(Err(status)).unwrap_or_else(|e| debug!(error = %e, "agent is gone"));
        }
    }

    async fn greet(&self, inbound: &mut Streaming<v1::AgentMessage>) -> Result<Ends, Status> {
        let first = timeout(HELLO_TIMEOUT, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the agent did not say hello"))??;
        let Some(Up::Hello(hello)) = first.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("the first message must be hello"));
        };
        check_version(WIRE_VERSION, hello.wire_version)?;
        let facts = facts(hello.facts).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let (assignment_sender, assignment) = watch::channel(None);
        let (down_sender, down) = mpsc::channel(DOWN_MAX);
        let process = process(hello.process)?;
        let (services_sender, services) = watch::channel(None);
        let link = Link {
            id: self.id,
            process,
            assignment: assignment_sender,
            down: down_sender,
            services: services_sender,
            address: self.from.map_or(Ipv4Addr::LOCALHOST.into(), |from| from.ip().to_canonical()),
        };
        let attached = self.attach(facts, link).await?;
        let welcome = v1::Welcome {
            wire_version: spoken(hello.wire_version),
            node: attached.node.get(),
            epoch: attached.epoch.get(),
            report_interval_millis: self.report_interval.get(),
            window_millis: attached.window.get(),
        };
        let logs = Logs::new(READER_PATIENCE);
        let history_left = HISTORY_PARTS_MAX;
        let ends = Ends { node: attached.node, assignment, services, down, logs, history_left };
        if self.send(Out::Welcome(welcome)).await.is_err() {
            self.desk.tell(Request::Detach { node: ends.node, link: self.id }).await;
            return Err(Status::cancelled("the agent went away before it was welcomed"));
        }
        Ok(ends)
    }

    /// Asks to be the stream of the node; an earlier stream is given time to end.
    async fn attach(&self, facts: NodeFacts, link: Link) -> Result<Attached, Status> {
        let name = facts.name.clone();
        let mut asked = (facts, link);
        for _ in 0..DISPLACE_TRIES {
            let (facts, link) = asked;
            let answer = self
                .desk
                .ask(|answer| Request::Attach {
                    speaker: self.speaker,
                    facts: Box::new(facts),
                    link,
                    answer,
                })
                .await?;
            match answer {
                Ok(attached) => return Ok(attached),
                Err(AttachRefusal::Busy(facts, link)) => asked = (*facts, link),
                Err(AttachRefusal::Refused(refusal @ Refusal::NotThisNode(_))) => {
                    let refusal = crate::view::refusal(&refusal);
                    return Err(of_refusal(Code::PermissionDenied, &refusal));
                }
                Err(AttachRefusal::Refused(refusal)) => {
                    return Err(status(Code::InvalidArgument, &refusal.said()));
                }
            }
            sleep(DISPLACE_PAUSE).await;
        }
        if let Speaker::Node(node, _) = self.speaker {
            self.connections.note_double(Subject::Node(node), self.from);
        }
        Err(Status::already_exists(format!(
            "another agent is attached as {name}: give each agent its own --name"
        )))
    }

    async fn live(
        &self,
        inbound: &mut Streaming<v1::AgentMessage>,
        ends: &mut Ends,
    ) -> Result<(), Status> {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pace = Pace::new(Instant::now());
        loop {
            let waits = pace.opens_at() > Instant::now();
            let next = tokio::select! {
                message = inbound.message(), if !waits => match message? {
                    Some(message) => {
                        pace.charge(&message, Instant::now());
                        self.take(message, ends).await?
                    }
                    None => return Ok(()),
                },
                () = sleep_until(pace.opens_at()), if waits => Vec::new(),
                changed = ends.assignment.changed() => {
                    changed.map_err(|_| left(&mut ends.down))?;
                    let newest = ends.assignment.borrow_and_update().clone();
                    newest.map(Out::Assignment).into_iter().collect()
                }
                changed = ends.services.changed() => {
                    changed.map_err(|_| left(&mut ends.down))?;
                    let newest = ends.services.borrow_and_update().clone();
                    newest.map(Out::Services).into_iter().collect()
                }
                down = ends.down.recv() => match down.ok_or_else(displaced)? {
                    Down::Meters(meters) => vec![Out::MeterAcknowledgement(meters)],
                    Down::Log { request, sink } => ends.logs.open(request, sink),
                    Down::Silent(time) => return Err(silent(time)),
                },
                _ = sweep.tick() => ends.logs.sweep(),
                () = stopped(self.stop.clone()) => return Err(stopping()),
            };
            for message in next {
                if self.send(message).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn take(&self, message: v1::AgentMessage, ends: &mut Ends) -> Result<Vec<Out>, Status> {
        match message.message {
            Some(Up::Report(report)) => {
                let report = report.try_into().map_err(|e: ConvertError| {
                    Status::invalid_argument(e.within("report").to_string())
                })?;
                let request =
                    Request::Report { node: ends.node, link: self.id, report: Box::new(report) };
                self.desk.tell(request).await;
                Ok(Vec::new())
            }
            Some(Up::History(history)) => {
                if let Some(left) = ends.history_left.checked_sub(1) {
                    ends.history_left = left;
                    self.recall(ends.node, history).await?;
                }
                Ok(Vec::new())
            }
            Some(Up::LogChunk(chunk)) => Ok(ends.logs.pass(chunk).await),
            Some(Up::SecretRequest(request)) => {
                let handed = secrets::hand_out(&self.desk, &self.secrets, ends.node, request);
                Ok(vec![Out::SecretAnswer(handed.await?)])
            }
            Some(Up::Hello(_)) => Err(Status::invalid_argument("hello may come once only")),
            // A message of a newer agent: what it says is not needed by this version.
            None => Ok(Vec::new()),
        }
    }

    async fn recall(&self, node: NodeId, history: v1::UsageHistory) -> Result<(), Status> {
        let history = history
            .try_into()
            .map_err(|e: ConvertError| Status::invalid_argument(e.within("history").to_string()))?;
        let request = Request::History { node, link: self.id, history: Box::new(history) };
        self.desk.tell(request).await;
        Ok(())
    }

    async fn send(&self, message: Out) -> Result<(), Ended> {
        let message = v1::SchedulerMessage { message: Some(message) };
        tokio::select! {
            sent = timeout(SEND_TIMEOUT, self.out.send(Ok(message))) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Ended),
            },
            () = stopped(self.stop.clone()) => Err(Ended),
        }
    }
}

fn facts(wire: Option<v1::NodeFacts>) -> Result<NodeFacts, ConvertError> {
    let wire = wire.ok_or_else(|| ConvertError::new("facts", "is missing"))?;
    NodeFacts::try_from(wire).map_err(|e| e.within("facts"))
}

/// Checks what an agent drew when it started.
fn process(drawn: Vec<u8>) -> Result<Vec<u8>, Status> {
    if drawn.len() > PROCESS_BYTES_MAX {
        let problem = format!("process: has more than {PROCESS_BYTES_MAX} bytes");
        return Err(Status::invalid_argument(problem));
    }
    Ok(drawn)
}

fn stopping() -> Status {
    Status::unavailable("the scheduler is stopping")
}

/// Says why the writer gave up a stream.
fn left(down: &mut mpsc::Receiver<Down>) -> Status {
    loop {
        match down.try_recv() {
            Ok(Down::Silent(time)) => return silent(time),
            Ok(Down::Meters(_) | Down::Log { .. }) => {}
            Err(_) => return displaced(),
        }
    }
}

fn silent(time: Millis) -> Status {
    let secs = time.get() / 1000;
    Status::aborted(format!(
        "no report came for {secs} s, so the node counts as away: attach again"
    ))
}

fn displaced() -> Status {
    Status::aborted("a newer stream took the place of this one: attach again")
}
