//! The link: one bidirectional stream to the scheduler, opened again whenever it breaks.
//!
//! It carries messages and knows nothing of what they mean. Reports go through a cell where the
//! newest wins, so a slow scheduler never makes a queue; nothing is waited for on behalf of the
//! instances, which live by the ledger.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tengyun_proto::identity::{Identity, IdentityError};
use tengyun_proto::tls::{self, TlsError};
use tengyun_proto::uds::UdsError;
use tengyun_proto::v1::{self, agent_message, scheduler_message};
use tengyun_proto::{WIRE_VERSION, limits, uds};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::identity::Renewal;
use crate::jitter;
use crate::supply::SecretAsk;

/// The first pause before the stream is opened again.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause; a scheduler that comes back is found within it.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Messages from the scheduler that wait for the agent: more than it sends between two looks.
const INBOX_MAX: usize = 64;
/// Log chunks that wait for the stream; each is bounded, and the reader of the file waits.
const LOG_CHUNKS_MAX: usize = 16;
/// Instances that wait for secrets; each waits a bounded time.
const ASKS_MAX: usize = 64;
/// Parts of what is remembered that wait for the stream: those of the largest node, twice.
const HISTORY_MAX: usize = 80;
/// Messages handed to the transport ahead of its window.
const OUTBOX_MAX: usize = 8;

/// What comes from the scheduler.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The stream is open and the scheduler has answered.
    Attached(v1::Welcome),
    /// The stream broke; it is being opened again.
    Detached,
    /// A message.
    Message(scheduler_message::Message),
}

/// How the scheduler is reached.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// By the socket of a scheduler on this machine.
    Socket(PathBuf),
    /// With the identity in this file.
    Identity(PathBuf),
}

/// The agent's end of the link.
#[derive(Debug)]
pub(crate) struct Link {
    /// What comes from the scheduler.
    pub(crate) inbox: mpsc::Receiver<Incoming>,
    /// Log chunks on their way up.
    pub(crate) logs: mpsc::Sender<v1::LogChunk>,
    /// Secrets that are asked for.
    pub(crate) asks: mpsc::Sender<SecretAsk>,
    reports: watch::Sender<Option<v1::Report>>,
    history: mpsc::Sender<v1::UsageHistory>,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts to open the stream, again and again, with the newest greeting.
    pub(crate) fn start(reach: Reach, hello: watch::Receiver<v1::Hello>) -> Self {
        let (to_agent, inbox) = mpsc::channel(INBOX_MAX);
        let (logs, from_logs) = mpsc::channel(LOG_CHUNKS_MAX);
        let (reports, from_reports) = watch::channel(None);
        let (asks, from_asks) = mpsc::channel(ASKS_MAX);
        let (history, from_history) = mpsc::channel(HISTORY_MAX);
        let carrier = Carrier {
            reach,
            hello,
            to_agent,
            logs: from_logs,
            asks: from_asks,
            reports: from_reports,
            history: from_history,
        };
        Self { inbox, logs, asks, reports, history, task: tokio::spawn(carrier.run()) }
    }

    /// Hands over the newest report; one that was not sent yet is replaced.
    pub(crate) fn report(&self, report: v1::Report) {
        self.reports.send_replace(Some(report));
    }

    /// Hands over what is remembered, for the stream that was just opened; it goes before any report that
    /// is handed over later.
    pub(crate) fn remember(&self, parts: Vec<v1::UsageHistory>) {
        for part in parts {
            if self.history.try_send(part).is_err() {
                tracing::warn!("a part of what is remembered was left out");
            }
        }
    }

    /// Ends the link and waits for its task.
    pub(crate) async fn stop(self) {
        self.task.abort();
        // The task was told to end; that it says so is no news.
        drop(self.task.await);
    }
}

/// The task that holds the stream.
struct Carrier {
    reach: Reach,
    hello: watch::Receiver<v1::Hello>,
    to_agent: mpsc::Sender<Incoming>,
    logs: mpsc::Receiver<v1::LogChunk>,
    asks: mpsc::Receiver<SecretAsk>,
    reports: watch::Receiver<Option<v1::Report>>,
    history: mpsc::Receiver<v1::UsageHistory>,
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot reach the scheduler")]
    Connect(#[from] UdsError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the scheduler refused or broke the stream: {}", .0.message())]
    Stream(#[from] tonic::Status),
    #[error("the scheduler ended the stream")]
    Ended,
    #[error("what the node says of itself has changed: greeting anew")]
    Changed,
    #[error("the scheduler did not greet first")]
    NoWelcome,
    #[error("the scheduler speaks wire version {0}, this agent {WIRE_VERSION}")]
    Version(u32),
}

impl Carrier {
    async fn run(mut self) {
        let mut pause = PAUSE;
        let mut said = String::new();
        loop {
            let attached = match self.attach().await {
                Ok(open) => {
                    said.clear();
                    self.carry(open).await
                }
                Err(error) => Err((error, false)),
            };
            let Err((error, was_open)) = attached else { return };
            let text = error.to_string();
            if text != said {
                tracing::warn!(%error, "no link to the scheduler; trying again");
                said = text;
            }
            if was_open {
                pause = PAUSE;
                if self.to_agent.send(Incoming::Detached).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    async fn attach(&mut self) -> Result<Open, LinkError> {
        let (channel, renewal) = self.connect().await?;
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        let hello = self.hello.borrow_and_update().clone();
        let greeting = message(agent_message::Message::Hello(hello));
        outbox.try_send(greeting).expect("a new queue takes the greeting");
        let request = ReceiverStream::new(outgoing);
        let mut inbound = limits::agent_client(channel).attach(request).await?.into_inner();
        let first = inbound.message().await?.ok_or(LinkError::Ended)?;
        let Some(scheduler_message::Message::Welcome(welcome)) = first.message else {
            return Err(LinkError::NoWelcome);
        };
        if !is_spoken(welcome.wire_version) {
            return Err(LinkError::Version(welcome.wire_version));
        }
        tracing::info!(node = welcome.node, epoch = welcome.epoch, "attached to the scheduler");
        // What was remembered for a stream that broke is told anew.
        while self.history.try_recv().is_ok() {}
        self.to_agent.send(Incoming::Attached(welcome)).await.map_err(|_| LinkError::Ended)?;
        // A report made before is old news; the agent makes a new one now.
        self.reports.mark_unchanged();
        Ok(Open { outbox, inbound, _renewal: renewal })
    }

    async fn connect(&self) -> Result<(Channel, Option<Renewal>), LinkError> {
        match &self.reach {
            Reach::Socket(path) => Ok((uds::connect(path).await?, None)),
            Reach::Identity(path) => {
                let identity = Identity::load(path)?;
                let channel = tls::connect(&identity).await?;
                let renewal = Renewal::start(channel.clone(), identity, path.clone());
                Ok((channel, Some(renewal)))
            }
        }
    }

    /// Carries messages both ways; `Ok` when the agent is gone.
    async fn carry(&mut self, open: Open) -> Result<(), (LinkError, bool)> {
        let Open { outbox, mut inbound, _renewal } = open;
        let mut asked = Asked::default();
        loop {
            tokio::select! {
                incoming = inbound.next() => {
                    let wire = match incoming {
                        Some(Ok(wire)) => wire,
                        Some(Err(status)) => return Err((status.into(), true)),
                        None => return Err((LinkError::Ended, true)),
                    };
                    // A kind of message that this version does not know is passed over.
                    let Some(content) = wire.message else { continue };
                    let Some(content) = asked.answer(content) else { continue };
                    if self.to_agent.send(Incoming::Message(content)).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(()) = self.hello.changed() => return Err((LinkError::Changed, true)),
                Some(ask) = self.asks.recv() => {
                    let content = agent_message::Message::SecretRequest(asked.ask(ask));
                    if outbox.send(message(content)).await.is_err() {
                        return Err((LinkError::Ended, true));
                    }
                }
                slot = next_outgoing(&mut self.history, &mut self.reports, &mut self.logs) => {
                    let Some(content) = slot else { return Ok(()) };
                    if outbox.send(message(content)).await.is_err() {
                        return Err((LinkError::Ended, true));
                    }
                }
            }
        }
    }
}

/// Questions on one stream that wait for their answers; with the stream they end.
#[derive(Default)]
struct Asked {
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<v1::SecretAnswer>>,
}

impl Asked {
    fn ask(&mut self, ask: SecretAsk) -> v1::SecretRequest {
        // Who waited too long is gone.
        self.waiting.retain(|_, answer| !answer.is_closed());
        self.last += 1;
        self.waiting.insert(self.last, ask.answer);
        v1::SecretRequest { request: self.last, secrets: ask.names }
    }

    /// Passes an answer on to who waits for it, and everything else back.
    fn answer(
        &mut self,
        content: scheduler_message::Message,
    ) -> Option<scheduler_message::Message> {
        let scheduler_message::Message::SecretAnswer(answer) = content else {
            return Some(content);
        };
        if let Some(waits) = self.waiting.remove(&answer.request) {
            drop(waits.send(answer));
        }
        None
    }
}

/// An open stream.
struct Open {
    outbox: mpsc::Sender<v1::AgentMessage>,
    inbound: Streaming<v1::SchedulerMessage>,
    /// Goes on while the stream is open.
    _renewal: Option<Renewal>,
}

/// Waits for the next thing to send: what is remembered goes before a report, and this before logs.
/// `None` when the agent is gone.
async fn next_outgoing(
    history: &mut mpsc::Receiver<v1::UsageHistory>,
    reports: &mut watch::Receiver<Option<v1::Report>>,
    logs: &mut mpsc::Receiver<v1::LogChunk>,
) -> Option<agent_message::Message> {
    tokio::select! {
        biased;
        part = history.recv() => part.map(agent_message::Message::History),
        changed = reports.changed() => {
            changed.ok()?;
            let report = reports.borrow_and_update().clone();
            report.map(agent_message::Message::Report)
        }
        chunk = logs.recv() => chunk.map(agent_message::Message::LogChunk),
    }
}

fn message(message: agent_message::Message) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

/// Says whether this agent understands a scheduler of that version: its own or the one before.
fn is_spoken(version: u32) -> bool {
    version == WIRE_VERSION || version.checked_add(1) == Some(WIRE_VERSION) && version > 0
}

/// Draws a pause between half and the whole, so that agents do not come back all at once.
pub(crate) fn jittered(pause: Duration) -> Duration {
    jitter::shortened(pause, 500)
}

#[cfg(test)]
mod tests {
    use tengyun_proto::v1::agent_service_server::AgentService;

    use super::*;

    #[test]
    fn a_pause_is_between_half_and_the_whole() {
        for _ in 0..1000 {
            let pause = jittered(PAUSE_MAX);
            assert!(pause >= PAUSE_MAX / 2 && pause <= PAUSE_MAX, "{pause:?}");
        }
    }

    #[test]
    fn only_this_version_and_the_one_before_are_spoken() {
        assert!(is_spoken(WIRE_VERSION));
        assert!(!is_spoken(WIRE_VERSION + 1));
        assert!(!is_spoken(0));
    }

    /// A scheduler that greets everybody and passes on how it was greeted.
    struct Host(mpsc::Sender<v1::Hello>);

    #[tonic::async_trait]
    impl AgentService for Host {
        type AttachStream = ReceiverStream<Result<v1::SchedulerMessage, tonic::Status>>;

        async fn attach(
            &self,
            request: tonic::Request<Streaming<v1::AgentMessage>>,
        ) -> Result<tonic::Response<Self::AttachStream>, tonic::Status> {
            let (mut inbound, heard) = (request.into_inner(), self.0.clone());
            let (stream, outgoing) = mpsc::channel(1);
            let welcome = v1::Welcome { wire_version: WIRE_VERSION, ..v1::Welcome::default() };
            let message = Some(scheduler_message::Message::Welcome(welcome));
            stream.try_send(Ok(v1::SchedulerMessage { message })).expect("it is empty");
            tokio::spawn(async move {
                while let Ok(Some(message)) = inbound.message().await {
                    if let Some(agent_message::Message::Hello(hello)) = message.message {
                        heard.send(hello).await.expect("the test listens");
                    }
                }
                // The stream stays open as long as the agent's.
                drop(stream);
            });
            Ok(tonic::Response::new(ReceiverStream::new(outgoing)))
        }
    }

    #[tokio::test]
    async fn what_a_node_says_of_itself_is_said_anew_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("scheduler/scheduler.sock");
        let (heard, mut greetings) = mpsc::channel(4);
        let incoming = uds::listen(&socket).unwrap();
        let service = limits::agent_server(Host(heard));
        let server = tokio::spawn(limits::server().serve_with_incoming(service, incoming));
        let named = |name: &str| {
            let facts = v1::NodeFacts { name: name.to_owned(), ..v1::NodeFacts::default() };
            v1::Hello { facts: Some(facts), process: vec![7], ..v1::Hello::default() }
        };
        let hello = watch::Sender::new(named("before"));
        let link = Link::start(Reach::Socket(socket), hello.subscribe());
        assert_eq!(greetings.recv().await, Some(named("before")));
        hello.send_replace(named("after"));
        assert_eq!(greetings.recv().await, Some(named("after")));
        link.stop().await;
        server.abort();
    }
}
