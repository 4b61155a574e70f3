//! What goes down to the agents: the newest assignment of each node, and answers to its reports.
//!
//! An assignment waits in a slot that holds one: a newer one takes the place of an older one that was
//! not sent yet. Nothing here decides what an assignment holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prost::Message as _;
use tengyun_engine::State;
use tengyun_model::{At, Epoch, Generation, MeterRecord, Millis, NodeId, said};
use tengyun_proto::limits::SENT_BYTES_MAX;
use tengyun_proto::refused::status;
use tengyun_proto::v1;
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status};
use tracing::{error, info, warn};

use crate::restored::Reported;

/// How many answers may wait for one agent; all but log requests can be lost without harm, because
/// the next report brings them again.
pub(crate) const DOWN_MAX: usize = 64;
/// After how many report intervals without a report an agent counts as gone though its connection
/// stands: enough that a busy node is not mistaken.
const SILENT_INTERVALS: u64 = 5;
/// The shortest time without a report after which an agent counts as gone.
const SILENT_MIN: Millis = Millis::from_secs(30);

/// Where log lines go to; closed when nobody reads any more.
pub(crate) type LogSink = mpsc::Sender<Result<v1::LogsResponse, Status>>;

/// What goes down to one agent besides assignments.
#[derive(Debug)]
pub(crate) enum Down {
    /// These readings are durable.
    Meters(v1::MeterAcknowledgement),
    /// Nothing more: the stream was silent for so long that its node counts as gone.
    Silent(Millis),
    /// Send the output of an instance to this sink.
    Log {
        /// What is asked for; its number is given by the stream that sends it.
        request: v1::LogRequest,
        /// Where the lines go.
        sink: LogSink,
    },
}

/// Tells one attached stream of a node from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId(pub u64);

/// The scheduler's end of one attached stream.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which stream.
    pub id: LinkId,
    /// Drawn by its agent when it started; empty when it is older than this.
    pub process: Vec<u8>,
    /// The newest assignment.
    pub assignment: watch::Sender<Option<v1::Assignment>>,
    /// Everything else.
    pub down: mpsc::Sender<Down>,
    /// Where the workloads are that its instances may ask for.
    pub services: watch::Sender<Option<v1::Services>>,
    /// From where it came; the loopback for one on this machine.
    pub address: IpAddr,
}

/// What a node's agent said last; kept when it goes away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// When.
    pub at: At,
    /// The generation it worked by.
    pub generation: Generation,
}

#[derive(Debug)]
struct Attached {
    link: Link,
    since: At,
    sent: Option<(Epoch, Generation)>,
    told: Option<Vec<v1::Service>>,
}

/// All attached agents.
#[derive(Debug)]
pub(crate) struct Links {
    attached: BTreeMap<NodeId, Attached>,
    seen: BTreeMap<NodeId, Seen>,
    reported: Reported,
    metered: BTreeMap<NodeId, At>,
    silent_max: Millis,
    /// From where the agent of each node came last.
    addresses: BTreeMap<NodeId, IpAddr>,
    attachments: u64,
}

impl Links {
    /// Makes an empty set for agents that report this often.
    pub(crate) fn new(report_interval: Millis) -> Self {
        let silent_max = SILENT_MIN.max(report_interval.saturating_mul(SILENT_INTERVALS));
        Self {
            attached: BTreeMap::new(),
            seen: BTreeMap::new(),
            reported: Reported::default(),
            metered: BTreeMap::new(),
            silent_max,
            addresses: BTreeMap::new(),
            attachments: 0,
        }
    }

    /// Returns true while an agent of the node is attached.
    pub(crate) fn is_attached(&self, node: NodeId) -> bool {
        self.attached.get(&node).is_some_and(|a| !a.link.down.is_closed())
    }

    /// Returns true while another agent of the node is attached than the one of this stream, which
    /// may take the place of an earlier stream of its own that it knows to be broken.
    pub(crate) fn is_attached_by_another(&self, node: NodeId, link: &Link) -> bool {
        let own = |a: &Attached| !link.process.is_empty() && a.link.process == link.process;
        self.is_attached(node) && !self.attached.get(&node).is_some_and(own)
    }

    /// Returns what the node's agent said last since this scheduler started.
    pub(crate) fn seen(&self, node: NodeId) -> Option<Seen> {
        self.seen.get(&node).copied()
    }

    /// Returns how many agents are attached.
    pub(crate) fn len(&self) -> usize {
        self.attached.len()
    }

    /// Adds a stream; the one before it of the same node ends.
    pub(crate) fn attach(&mut self, node: NodeId, link: Link, now: At) {
        info!(%node, "agent attached");
        self.addresses.insert(node, link.address);
        self.attachments = self.attachments.saturating_add(1);
        self.attached.insert(node, Attached { link, since: now, sent: None, told: None });
    }

    /// Removes a stream; returns false when it was displaced or removed before.
    pub(crate) fn detach(&mut self, node: NodeId, link: LinkId) -> bool {
        let own = self.attached.get(&node).is_some_and(|a| a.link.id == link);
        if own {
            self.attached.remove(&node);
            warn!(%node, "agent went away");
        }
        own
    }

    /// Returns true when this stream is the node's present one.
    pub(crate) fn is_present(&self, node: NodeId, link: LinkId) -> bool {
        self.attached.get(&node).is_some_and(|a| a.link.id == link)
    }

    /// Remembers that a node reported, and by which generation it works.
    pub(crate) fn report(&mut self, node: NodeId, generation: Generation, now: At) {
        self.seen.insert(node, Seen { at: now, generation });
    }

    /// Remembers that the meters of a node were journaled.
    pub(crate) fn note_metered(&mut self, node: NodeId, now: At) {
        self.metered.insert(node, now);
    }

    /// Returns when the meters of a node were journaled, or since when they could have been.
    pub(crate) fn metered(&self, node: NodeId) -> Option<At> {
        let attached = self.attached.get(&node).map(|a| a.since);
        self.metered.get(&node).copied().max(attached)
    }

    /// Returns what nodes said after a restore.
    pub(crate) fn reported(&self) -> &Reported {
        &self.reported
    }

    /// Remembers what nodes say after a restore.
    pub(crate) fn reported_mut(&mut self) -> &mut Reported {
        &mut self.reported
    }

    /// Removes the streams of agents that have been silent for too long while this scheduler
    /// listened, and returns their nodes.
    pub(crate) fn drop_silent(&mut self, now: At, listening: At) -> Vec<NodeId> {
        let heard = |node: &NodeId, a: &Attached| {
            let attached = a.since.max(listening);
            self.seen.get(node).map_or(attached, |seen| seen.at.max(attached))
        };
        let silent: Vec<NodeId> = self
            .attached
            .iter()
            .filter(|(node, a)| now.since(heard(node, a)) > self.silent_max)
            .map(|(node, _)| *node)
            .collect();
        for node in &silent {
            warn!(%node, "agent is silent and counts as gone");
            let Some(gone) = self.attached.remove(node) else { continue };
            if gone.link.down.try_send(Down::Silent(self.silent_max)).is_err() {
                warn!(%node, "a silent agent is not told that it counts as gone");
            }
        }
        silent
    }

    /// Gives every agent whose assignment changed the new one, unless it is to be told nothing.
    pub(crate) fn refresh(&mut self, state: &State) {
        for (node, attached) in &mut self.attached {
            let version = state.node(*node).map(|n| (state.epoch(), n.generation));
            let told = version.is_none() || version == attached.sent;
            if told || state.withholds(*node) {
                continue;
            }
            if let Some(assignment) = state.assignment(*node) {
                attached.send(&(&assignment).into());
                attached.sent = version;
            }
        }
    }

    /// Returns how many streams were ever attached.
    pub(crate) const fn attachments(&self) -> u64 {
        self.attachments
    }

    /// Returns the nodes whose agents are attached.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.attached.keys().copied().collect()
    }

    /// Returns from where the agent of a node came last since this scheduler started.
    pub(crate) fn address(&self, node: NodeId) -> Option<IpAddr> {
        self.addresses.get(&node).copied()
    }

    /// Tells an agent where the workloads are, unless it was told the same before.
    pub(crate) fn tell_services(&mut self, node: NodeId, services: Vec<v1::Service>, now: At) {
        let Some(attached) = self.attached.get_mut(&node) else { return };
        if attached.told.as_ref() == Some(&services) {
            return;
        }
        let list = v1::Services { at_millis: now.millis(), services: services.clone() };
        if list.encoded_len() > SENT_BYTES_MAX {
            error!(%node, "list of services is too large to be sent");
            return;
        }
        attached.link.services.send_replace(Some(list));
        attached.told = Some(services);
    }

    /// Tells an agent that these readings are durable.
    pub(crate) fn acknowledge(&self, node: NodeId, marks: &[MeterRecord]) {
        if marks.is_empty() {
            return;
        }
        let meters = marks.iter().map(Into::into).collect();
        if let Some(attached) = self.attached.get(&node) {
            let acknowledgement = Down::Meters(v1::MeterAcknowledgement { meters });
            if attached.link.down.try_send(acknowledgement).is_err() {
                warn!(%node, "acknowledgement of meters not sent; the next report brings another");
            }
        }
    }

    /// Asks an agent for the output of an instance.
    pub(crate) fn ask_log(
        &self,
        node: NodeId,
        request: v1::LogRequest,
        sink: LogSink,
    ) -> Result<(), Status> {
        let away = || status(Code::Unavailable, &said!(AgentAway, node));
        let attached = self.attached.get(&node).ok_or_else(away)?;
        attached.link.down.try_send(Down::Log { request, sink }).map_err(|_| away())
    }
}

impl Attached {
    fn send(&self, assignment: &v1::Assignment) {
        let bytes = assignment.encoded_len();
        let (node, generation) = (assignment.node, assignment.generation);
        if bytes > SENT_BYTES_MAX {
            error!(node, generation, bytes, "assignment is too large to be sent: stop a workload");
            return;
        }
        info!(node, generation, instances = assignment.instances.len(), "assignment sent");
        self.link.assignment.send_replace(Some(assignment.clone()));
    }
}
