//! The desk: what services ask of the writer, one bounded queue, and the answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tengyun_engine::{Command, Outcome, Proof, Refusal};
use tengyun_model::{
    Admission, Epoch, InstanceId, Millis, NodeFacts, NodeId, OperationId, Report, Said,
    UsageHistory, Wisher, said,
};
use tengyun_proto::refused::status;
use tengyun_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};
use tracing::debug;

use crate::dispatch::{Link, LinkId, LogSink};
use crate::view::View;

/// How many requests may wait for the writer: more than it takes in one commit, few enough that a
/// full queue is worked off within a second.
pub(crate) const QUEUE_MAX: usize = 1024;

/// A change of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PolicyChange {
    /// Sets these knobs, the others stay.
    Merge(BTreeMap<String, u64>, String),
    /// Sets these knobs, the others return to their defaults.
    Replace(BTreeMap<String, u64>, String),
    /// Returns to the values of a version.
    Rollback(u64),
}

/// What can be asked of the writer.
pub(crate) enum Request {
    /// Carry out a wish, or only say whether it would be.
    Wish {
        /// What is wished.
        command: Box<Command>,
        /// Whether to change nothing.
        dry_run: bool,
        /// Who wishes it.
        by: Option<Wisher>,
        /// What came of it.
        answer: oneshot::Sender<Outcome>,
    },
    /// Set knobs.
    SetPolicy {
        /// The client's id of the wish.
        operation: OperationId,
        /// What becomes of the others, and where the values are from.
        change: PolicyChange,
        /// Who wishes it.
        by: Option<Wisher>,
        /// What came of it.
        answer: oneshot::Sender<Outcome>,
    },
    /// An agent wants to be the one of its node.
    Attach {
        /// As whom it was let in.
        speaker: Speaker,
        /// What it says of its node.
        facts: Box<NodeFacts>,
        /// Its stream.
        link: Link,
        /// Whether it is.
        answer: oneshot::Sender<Result<Attached, AttachRefusal>>,
    },
    /// A stream ended.
    Detach {
        /// Its node.
        node: NodeId,
        /// Which stream.
        link: LinkId,
    },
    /// An agent reported.
    Report {
        /// Its node.
        node: NodeId,
        /// Its stream.
        link: LinkId,
        /// What it said.
        report: Box<Report>,
    },
    /// An agent told what it remembers.
    History {
        /// Its node.
        node: NodeId,
        /// Which stream.
        link: LinkId,
        /// What it remembers.
        history: Box<UsageHistory>,
    },
    /// Somebody wants to read the output of an instance.
    Log {
        /// Of which.
        instance: InstanceId,
        /// How much of it.
        request: v1::LogRequest,
        /// Where to.
        sink: LogSink,
        /// Whether it was asked for.
        answer: oneshot::Sender<Result<(), Status>>,
    },
    /// Bring an instance to a node; a refusal comes with what would help.
    Move {
        /// What is wished.
        command: Box<Command>,
        /// Which.
        instance: InstanceId,
        /// Where to.
        to: NodeId,
        /// Who wishes it.
        by: Option<Wisher>,
        /// What came of it.
        answer: oneshot::Sender<Moved>,
    },
    /// Count silent nodes as lost: these, or all that are silent for long enough.
    AcknowledgeLoss {
        /// The client's id of the wish.
        operation: OperationId,
        /// Which; empty means all.
        nodes: Vec<NodeId>,
        /// How sure the operator is.
        proof: Proof,
        /// Who that is.
        by: Option<Wisher>,
        /// Which nodes count as lost now.
        answer: oneshot::Sender<Result<Vec<NodeId>, Refusal>>,
    },
    /// Somebody wants to read events.
    Events {
        /// Which.
        filter: Box<v1::ListEventsRequest>,
        /// Those kept.
        answer: oneshot::Sender<v1::ListEventsResponse>,
    },
    /// Somebody wants to look at the state.
    Read(Box<dyn FnOnce(View<'_>) + Send>),
    /// Nothing more will be asked.
    Stop,
}

/// As whom an agent was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// By the Unix socket: it may speak for any node, as may whoever can be it.
    Local,
    /// By its certificate: it may speak for this node, while the admission holds.
    Node(NodeId, Admission),
}

/// A stream became the one of its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached {
    /// The node.
    pub node: NodeId,
    /// The present reign.
    pub epoch: Epoch,
    /// The windows that use is averaged over.
    pub window: Millis,
}

/// An instance may not be moved so, and what would help; or the answer comes with the commit.
pub(crate) type Moved = Result<Answer<Outcome>, Box<(Refusal, Said)>>;

/// A stream did not become the one of its node.
#[derive(Debug)]
pub(crate) enum AttachRefusal {
    /// Another stream is; here is back what was asked with.
    Busy(Box<NodeFacts>, Link),
    /// The facts are refused.
    Refused(Refusal),
}

/// A handle to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    queue: mpsc::Sender<Request>,
    /// Why nothing may be changed, if so.
    read_only: Option<Arc<str>>,
}

impl Desk {
    /// Makes a desk in front of a queue.
    pub(crate) fn new(queue: mpsc::Sender<Request>, read_only: Option<Arc<str>>) -> Self {
        Self { queue, read_only }
    }

    /// Returns why nothing may be changed, if so.
    pub(crate) fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Returns how many requests wait for the writer.
    pub(crate) fn waiting(&self) -> usize {
        QUEUE_MAX.saturating_sub(self.queue.capacity())
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Status> {
        self.submit(make).await?.wait().await
    }

    /// Asks and leaves waiting for the answer to the caller, so that several requests in order share
    /// one commit.
    pub(crate) async fn submit<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<Answer<T>, Status> {
        let (sender, answer) = oneshot::channel();
        self.queue.send(make(sender)).await.map_err(|_| stopping())?;
        Ok(Answer(answer))
    }

    /// Looks at the state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(View<'_>) -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.ask(|answer| {
            Request::Read(Box::new(move |view| {
                if answer.send(look(view)).is_err() {
                    debug!("a reader went away");
                }
            }))
        })
        .await
    }

    /// Tells without an answer.
    pub(crate) async fn tell(&self, request: Request) {
        if self.queue.send(request).await.is_err() {
            debug!("the writer has stopped");
        }
    }
}

/// An answer that is on its way.
#[derive(Debug)]
pub(crate) struct Answer<T>(oneshot::Receiver<T>);

impl<T> Answer<T> {
    /// Makes an answer that comes with a commit.
    pub(crate) fn pair() -> (oneshot::Sender<T>, Self) {
        let (sender, answer) = oneshot::channel();
        (sender, Self(answer))
    }

    /// Waits for it.
    pub(crate) async fn wait(self) -> Result<T, Status> {
        self.0.await.map_err(|_| stopping())
    }
}

/// No answer: whether the wish was kept is not known, and asking again with the same operation id
/// is safe.
fn stopping() -> Status {
    status(Code::Unavailable, &said!(SchedulerStops))
}
