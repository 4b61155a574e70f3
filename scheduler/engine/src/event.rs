//! Events: what happened, as a person reads it, derived from an entry and what came of it.
//!
//! All of them are made here. A glance is taken before an entry is applied, because what changed can
//! only be told from both sides of it; neither costs more than the entry is large.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{
    At, CopyKey, Exit, Incarnation, InstanceId, Member, Millis, NodeId, NodeName, Phase, Said,
    Wisher, WorkloadId, WorkloadKey, said,
};

use crate::command::{Command, Effect, Entry, Outcome};
use crate::image::{InstanceImage, InstanceWish, NodeWish, Proof, WorkloadImage, WorkloadWish};
use crate::plan::{Move, PromiseReason, ShiftReason, StopReason, about};
use crate::state::State;

mod kind;
mod rollout;

pub use kind::EventKind;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: At,
    /// What.
    pub kind: EventKind,
    /// The node it is about, by name.
    pub node: Option<NodeName>,
    /// The workload it is about.
    pub workload: Option<WorkloadKey>,
    /// The instance it is about.
    pub instance: Option<InstanceId>,
    /// The rest; empty when the kind says all.
    pub message: Said,
    /// Who wished it; none of what follows by itself.
    pub by: Option<Wisher>,
}

/// What is to be known of an instance from before an entry.
#[derive(Clone, Debug)]
struct Was {
    key: WorkloadKey,
    node: Option<NodeId>,
    wish: InstanceWish,
    phase: Phase,
    incarnation: Incarnation,
}

/// What is to be known of a state before an entry changes it.
#[derive(Clone, Debug, Default)]
pub struct Glance {
    instances: BTreeMap<InstanceId, Was>,
    next_instance: InstanceId,
    suspects: BTreeSet<NodeId>,
    known: bool,
    held: BTreeSet<WorkloadId>,
    /// The name of a node that is about to be forgotten.
    forgotten: Option<NodeName>,
}

/// Looks at what an entry is about to change.
pub fn glance(state: &State, entry: &Entry) -> Glance {
    let mut glance = Glance { next_instance: state.next_instance(), ..Glance::default() };
    match &entry.command {
        Command::ObserveInstances { instances, gone, .. } => {
            let ids = instances.iter().map(|s| s.instance).chain(gone.iter().copied());
            ids.for_each(|id| glance.remember(state, id));
        }
        Command::CommitPlan(plan) => {
            plan.moves.iter().for_each(|step| glance.remember(state, about(step)));
        }
        Command::MoveInstance { instance, .. } => glance.remember(state, *instance),
        Command::StopWorkload { key, .. }
        | Command::DeleteWorkload { key, .. }
        | Command::ReleaseWorkload { key, .. } => {
            glance.known = state.workload_keyed(key).is_some_and(|w| w.wish != WorkloadWish::Stop);
        }
        Command::RegisterNode(facts) => {
            let node = state.node_named(&facts.name);
            glance.known = node.is_some();
            glance.remember_held(state, node.map(|n| n.id));
        }
        Command::DeclareLost(node) => {
            glance.known = state.node(*node).is_some_and(|n| n.loss.is_some());
            glance.remember_held(state, Some(*node));
        }
        Command::ConnectNode(node) | Command::DisconnectNode(node) => {
            glance.known = state.connected(*node);
        }
        Command::ForgetNode { node, .. } => {
            let known = state.node(*node);
            glance.forgotten = known.map(|n| n.facts.name.clone());
        }
        Command::Watch => glance.suspects.clone_from(state.suspects()),
        Command::BeginEpoch
        | Command::ApplyWorkload { .. }
        | Command::SetPolicy { .. }
        | Command::AcknowledgeMeters { .. }
        | Command::SetNodeWish { .. }
        | Command::AcknowledgeLoss { .. }
        | Command::DeclareReturned(_)
        | Command::CreateToken { .. }
        | Command::RedeemToken { .. }
        | Command::RevokeMember { .. }
        | Command::DeleteVolumes { .. }
        | Command::ForgetVolumes { .. }
        | Command::Restore { .. }
        | Command::SettleRestore(_)
        | Command::ConfirmRestore { .. }
        | Command::JudgeRollout { .. }
        | Command::SteerRollout { .. }
        | Command::FireRun { .. }
        | Command::NoteWindows(_)
        | Command::NoteDays(_)
        | Command::ReportUsage { .. }
        | Command::ReportHistory { .. } => {}
    }
    glance
}

impl Glance {
    fn remember(&mut self, state: &State, id: InstanceId) {
        let Some(instance) = state.instance(id) else { return };
        let was = Was {
            key: state.spec(instance).key.clone(),
            node: instance.node,
            wish: instance.wish,
            phase: instance.status.phase,
            incarnation: instance.status.incarnation,
        };
        self.instances.insert(id, was);
    }

    fn remember_held(&mut self, state: &State, node: Option<NodeId>) {
        let here = node.into_iter().flat_map(|node| state.on_node(node));
        let workloads = here.filter_map(|id| state.instance(id)).map(|i| i.workload);
        let held = |id: &WorkloadId| state.workload(*id).is_some_and(WorkloadImage::is_held);
        self.held = workloads.filter(held).collect();
    }
}

/// Says what an entry that was applied made happen.
pub fn happened(glance: &Glance, state: &State, entry: &Entry, outcome: &Outcome) -> Vec<Event> {
    let Outcome::Applied(effect) = outcome else { return Vec::new() };
    let by = entry.by.clone();
    let mut made = Made { state, at: entry.at, by, events: Vec::new() };
    made.from(glance, &entry.command, effect);
    made.events
}

/// The events of one entry in the making.
struct Made<'a> {
    state: &'a State,
    at: At,
    by: Option<Wisher>,
    events: Vec<Event>,
}

impl Made<'_> {
    fn from(&mut self, glance: &Glance, command: &Command, effect: &Effect) {
        match command {
            Command::BeginEpoch => {
                let message = said!(EventEpoch, self.state.epoch());
                self.push(EventKind::SchedulerStarted, message);
            }
            Command::RegisterNode(_) => self.registered(glance, effect),
            Command::ApplyWorkload { spec, .. } => self.applied(&spec.key, effect),
            Command::StopWorkload { key, .. } if glance.known => {
                self.of_key(EventKind::WorkloadStopped, key, Said::NOTHING);
            }
            Command::DeleteWorkload { key, .. } => {
                self.of_key(EventKind::WorkloadDeleted, key, Said::NOTHING);
            }
            Command::ReleaseWorkload { key, .. } => {
                self.of_key(EventKind::WorkloadReleased, key, Said::NOTHING);
            }
            Command::SetPolicy { values, label, .. } => self.policy(values, label),
            Command::ObserveInstances { node, .. } => self.observed(glance, *node),
            Command::CommitPlan(plan) => {
                plan.moves.iter().for_each(|step| self.moved(glance, step));
                self.queued(glance);
            }
            Command::MoveInstance { instance, to, .. } => self.sent(glance, *instance, *to),
            Command::SetNodeWish { node, wish, .. } => {
                self.of_node(EventKind::NodeWish, *node, wish_said(*wish));
            }
            Command::AcknowledgeLoss { nodes, proof, .. } => self.all_given_up(nodes, *proof),
            Command::DeclareLost(node) if !glance.known => {
                self.of_node(EventKind::NodeLost, *node, said!(EventSilent));
                self.newly_held(glance, *node);
            }
            Command::DeclareReturned(node) => {
                self.of_node(EventKind::NodeReturned, *node, Said::NOTHING);
            }
            Command::CreateToken { grant, .. } => {
                self.push(EventKind::TokenCreated, said!(EventFor, Said::from(grant)));
            }
            Command::RedeemToken { member, .. } => self.joined(member, effect),
            Command::RevokeMember { member, .. } => {
                self.push(EventKind::MemberRevoked, Said::from(member));
            }
            Command::Restore { elapsed } => self.restored(*elapsed),
            Command::SettleRestore(nodes) => self.settled(nodes.len()),
            Command::ForgetNode { node, .. } => self.forgotten(glance, *node),
            Command::ConfirmRestore { .. } => self.push(EventKind::RestoreConfirmed, Said::NOTHING),
            Command::Watch => self.watched(glance),
            Command::ConnectNode(node) if !glance.known => {
                self.of_node(EventKind::NodeConnected, *node, Said::NOTHING);
            }
            Command::DisconnectNode(node) if glance.known => {
                self.of_node(EventKind::NodeAway, *node, Said::NOTHING);
            }
            Command::DeleteVolumes { copy, node, .. } => self.removing(*node, copy),
            Command::ForgetVolumes { node, copies } => self.removed(*node, copies),
            Command::StopWorkload { .. }
            | Command::DeclareLost(_)
            | Command::ConnectNode(_)
            | Command::DisconnectNode(_)
            | Command::AcknowledgeMeters { .. }
            | Command::NoteWindows(_)
            | Command::NoteDays(_)
            | Command::ReportUsage { .. }
            | Command::ReportHistory { .. } => {}
            Command::JudgeRollout { .. }
            | Command::SteerRollout { .. }
            | Command::FireRun { .. } => self.of_life(glance, command),
        }
    }

    fn all_given_up(&mut self, nodes: &[NodeId], proof: Proof) {
        for node in nodes {
            self.given_up(*node, proof);
        }
    }

    /// An operator sent an instance to a node.
    fn sent(&mut self, glance: &Glance, instance: InstanceId, to: NodeId) {
        let from = glance.instances.get(&instance).and_then(|was| was.node);
        let step = from.map_or(Move::Start { instance, node: to }, |from| Move::Shift {
            instance,
            from,
            to,
            reason: ShiftReason::Operator,
        });
        self.moved(glance, &step);
    }

    fn registered(&mut self, glance: &Glance, effect: &Effect) {
        let Effect::Node(node) = effect else { return };
        let kind = if glance.known { EventKind::NodeChanged } else { EventKind::NodeRegistered };
        let capacity = self.state.node(*node).map(|n| n.facts.capacity.clone());
        let capacity = capacity.unwrap_or_default();
        let message = said!(EventCapacity, capacity.cpu, capacity.memory);
        self.of_node(kind, *node, message);
        self.newly_held(glance, *node);
    }

    /// A node was forgotten, unless the wish was carried out before.
    fn forgotten(&mut self, glance: &Glance, id: NodeId) {
        let Some(name) = glance.forgotten.clone() else { return };
        self.of_node(EventKind::NodeForgotten, id, said!(EventForgotten, id));
        if let Some(event) = self.events.last_mut() {
            event.node = Some(name);
        }
        self.queued(glance);
    }

    fn restored(&mut self, elapsed: Millis) {
        let secs = elapsed.get() / 1000;
        self.push(EventKind::Restored, said!(EventRestored, secs));
    }

    fn settled(&mut self, nodes: usize) {
        self.push(EventKind::RestoreSettled, said!(EventSettled, nodes));
    }

    fn policy(&mut self, values: &BTreeMap<String, u64>, label: &str) {
        let values: Vec<String> =
            values.iter().map(|(knob, value)| format!("{knob}={value}")).collect();
        let all = if values.is_empty() {
            said!(EventDefaults)
        } else {
            said!(Verbatim, values.join(" "))
        };
        let version = self.state.policy_version();
        let from = if label.is_empty() { Said::NOTHING } else { said!(Aside, label) };
        self.push(EventKind::PolicyChanged, said!(EventPolicy, version, from, all));
    }

    fn given_up(&mut self, node: NodeId, proof: Proof) {
        let word = match proof {
            Proof::Silence => said!(EventSaysSo),
            Proof::Death => said!(EventKnowsOff),
        };
        self.of_node(EventKind::NodeLost, node, word);
    }

    fn joined(&mut self, member: &Member, effect: &Effect) {
        if let Effect::Admitted { admission, .. } = effect {
            self.push(EventKind::MemberJoined, said!(EventAdmitted, Said::from(member), admission));
        }
    }

    fn applied(&mut self, key: &WorkloadKey, effect: &Effect) {
        match effect {
            Effect::Created(_, revision) => {
                self.of_key(EventKind::WorkloadCreated, key, said!(EventRevision, revision));
            }
            Effect::Updated(_, revision) => {
                self.of_key(EventKind::WorkloadUpdated, key, said!(EventRevision, revision));
            }
            Effect::Unchanged(..)
            | Effect::Done
            | Effect::Node(_)
            | Effect::Planned { .. }
            | Effect::Admitted { .. } => {}
        }
    }

    /// Tells how instances changed that their node spoke of.
    fn observed(&mut self, glance: &Glance, node: NodeId) {
        for (id, was) in &glance.instances {
            if was.node != Some(node) {
                continue;
            }
            let Some(is) = self.state.instance(*id) else {
                if !was.phase.is_final() {
                    self.of_was(EventKind::Stopped, *id, was, Said::NOTHING);
                }
                continue;
            };
            let status = &is.status;
            let again = status.incarnation > was.incarnation;
            if !again && status.phase == was.phase {
                continue;
            }
            // It may have been ended before its node could say so.
            if status.exit == Some(Exit::Unhealthy) && was.phase == Phase::Healthy {
                self.of_was(EventKind::Unhealthy, *id, was, Said::verbatim(status.message.clone()));
            }
            let (kind, message) = match status.phase {
                Phase::Running if was.phase != Phase::Running || again => {
                    (EventKind::Started, start(is))
                }
                Phase::Healthy => (EventKind::Healthy, Said::NOTHING),
                Phase::Unhealthy => (EventKind::Unhealthy, Said::verbatim(status.message.clone())),
                Phase::BackingOff => (EventKind::Restarting, ended(status.exit, &status.message)),
                Phase::Succeeded => (EventKind::Ended, ended(status.exit, &status.message)),
                Phase::Failed => (EventKind::Failed, ended(status.exit, &status.message)),
                Phase::Stopped => (EventKind::Stopped, ended(status.exit, &status.message)),
                Phase::Waiting | Phase::Starting | Phase::Running | Phase::Stopping => continue,
            };
            self.of_was(kind, *id, was, message);
        }
        self.queued(glance);
    }

    /// Tells of a move that holds; a stale one left no trace.
    fn moved(&mut self, glance: &Glance, step: &Move) {
        let id = about(step);
        let Some(was) = glance.instances.get(&id) else { return };
        let is = self.state.instance(id);
        match *step {
            Move::Start { node, .. } => {
                if was.node.is_none() && is.is_some_and(|i| i.node == Some(node)) {
                    let placed = Was { node: Some(node), ..was.clone() };
                    self.of_was(EventKind::Placed, id, &placed, Said::NOTHING);
                }
            }
            Move::Shift { from, to, reason, .. } => {
                if let Some(new) =
                    self.state.replacement_of(id).filter(|n| *n > glance.next_instance)
                {
                    let names = (self.name(from), self.name(to));
                    let (from, to) = (words(names.0), words(names.1));
                    let why = shift_said(reason);
                    let message = said!(EventMoving, from, to, new, why);
                    self.of_was(EventKind::Moving, id, was, message);
                }
            }
            Move::Stop { reason, .. } => {
                let stops = is.is_none_or(|i| i.wish == InstanceWish::Stop(reason));
                if was.wish == InstanceWish::Run && stops {
                    let kind = match reason {
                        StopReason::NotWanted => EventKind::Stopping,
                        StopReason::Replaced => EventKind::Moved,
                        StopReason::Evicted | StopReason::Drained => EventKind::Evicted,
                        StopReason::GivenUp => EventKind::MoveGivenUp,
                        StopReason::Lost => EventKind::InstanceLost,
                        StopReason::Renewed => EventKind::Renewing,
                        StopReason::Failed => EventKind::Retried,
                    };
                    self.of_was(kind, id, was, stop_said(reason));
                }
            }
            Move::Promise { memory, reason: PromiseReason::Missed, .. } => {
                let holds =
                    is.and_then(|i| i.promise.as_ref()).filter(|p| p.missed == Some(self.at));
                if holds.is_some() {
                    let message = said!(EventMemoryMissed, memory);
                    self.of_was(EventKind::MemoryMissed, id, was, message);
                }
            }
            // What use says changes all the time, and is shown where it is asked for.
            Move::Promise { reason: PromiseReason::Used | PromiseReason::Withdrawn, .. } => {}
        }
    }

    /// Tells of instances that were queued again.
    fn queued(&mut self, glance: &Glance) {
        let new = self.state.instances_after(glance.next_instance);
        let waiting: Vec<_> = new
            .filter(|i| i.node.is_none())
            .map(|i| (i.status.instance, self.state.spec(i).key.clone()))
            .collect();
        for (id, key) in waiting {
            self.events.push(Event {
                at: self.at,
                kind: EventKind::Queued,
                node: None,
                workload: Some(key),
                instance: Some(id),
                message: Said::NOTHING,
                by: None,
            });
        }
    }

    fn newly_held(&mut self, glance: &Glance, node: NodeId) {
        let here = self.state.on_node(node).filter_map(|id| self.state.instance(id));
        let workloads: BTreeSet<WorkloadId> = here.map(|i| i.workload).collect();
        for workload in workloads.into_iter().filter_map(|id| self.state.workload(id)) {
            if workload.is_held() && !glance.held.contains(&workload.id) {
                let key = workload.revisions[&workload.revision].key.clone();
                let message = said!(EventHarms, workload.harms.len());
                self.of_key(EventKind::WorkloadHeld, &key, message);
            }
        }
    }

    fn watched(&mut self, glance: &Glance) {
        let fresh: Vec<NodeId> =
            self.state.suspects().difference(&glance.suspects).copied().collect();
        for node in fresh {
            self.of_node(EventKind::NodeSuspect, node, said!(EventNotHeard));
        }
    }

    fn name(&self, node: NodeId) -> Option<NodeName> {
        self.state.node(node).map(|n| n.facts.name.clone())
    }

    fn push(&mut self, kind: EventKind, message: Said) {
        let (node, workload, instance) = (None, None, None);
        let by = self.by.clone();
        self.events.push(Event { at: self.at, kind, node, workload, instance, message, by });
    }

    fn of_node(&mut self, kind: EventKind, node: NodeId, message: Said) {
        let (node, workload, instance) = (self.name(node), None, None);
        let by = self.by.clone();
        self.events.push(Event { at: self.at, kind, node, workload, instance, message, by });
    }

    fn of_key(&mut self, kind: EventKind, key: &WorkloadKey, message: Said) {
        let (node, workload, instance) = (None, Some(key.clone()), None);
        let by = self.by.clone();
        self.events.push(Event { at: self.at, kind, node, workload, instance, message, by });
    }

    fn removing(&mut self, node: NodeId, copy: &CopyKey) {
        self.of_volumes(EventKind::VolumesRemoving, node, copy);
    }

    fn removed(&mut self, node: NodeId, copies: &[CopyKey]) {
        for copy in copies {
            self.of_volumes(EventKind::VolumesRemoved, node, copy);
        }
    }

    fn of_volumes(&mut self, kind: EventKind, node: NodeId, copy: &CopyKey) {
        let (node, workload) = (self.name(node), Some(copy.workload.clone()));
        let message = said!(EventOfCopy, copy.ordinal);
        let (at, instance, by) = (self.at, None, self.by.clone());
        self.events.push(Event { at, kind, node, workload, instance, message, by });
    }

    fn of_was(&mut self, kind: EventKind, id: InstanceId, was: &Was, message: Said) {
        let node = was.node.and_then(|node| self.name(node));
        let (workload, instance) = (Some(was.key.clone()), Some(id));
        let by = self.by.clone();
        self.events.push(Event { at: self.at, kind, node, workload, instance, message, by });
    }
}

fn words(name: Option<NodeName>) -> String {
    name.map(|n| n.to_string()).unwrap_or_default()
}

fn start(instance: &InstanceImage) -> Said {
    match instance.status.incarnation.get() {
        0 | 1 => Said::NOTHING,
        again => said!(EventStart, again),
    }
}

/// Says how an instance ended.
pub(crate) fn ended(exit: Option<Exit>, message: &str) -> Said {
    match (exit, message.is_empty()) {
        (Some(exit), true) => exit.into(),
        (Some(exit), false) => said!(ErrorWith, Said::from(exit), message),
        (None, _) => Said::verbatim(message.to_owned()),
    }
}

fn wish_said(wish: NodeWish) -> Said {
    match wish {
        NodeWish::Serve => said!(WishServe),
        NodeWish::Cordon => said!(WishCordon),
        NodeWish::Drain => said!(WishDrain),
        NodeWish::DrainByForce => said!(WishDrainByForce),
    }
}

/// Says why an instance shifts.
pub fn shift_said(reason: ShiftReason) -> Said {
    match reason {
        ShiftReason::Consolidate => said!(ShiftConsolidate),
        ShiftReason::Overload => said!(ShiftOverload),
        ShiftReason::Memory => said!(ShiftMemory),
        ShiftReason::Revision => said!(ShiftRevision),
        ShiftReason::Drain => said!(ShiftDrain),
        ShiftReason::Operator => said!(ShiftOperator),
    }
}

/// Says why an instance stops.
pub fn stop_said(reason: StopReason) -> Said {
    match reason {
        StopReason::NotWanted => said!(StopNotWanted),
        StopReason::Replaced => said!(StopReplaced),
        StopReason::Evicted => said!(StopEvicted),
        StopReason::GivenUp => said!(StopGivenUp),
        StopReason::Drained => said!(StopDrained),
        StopReason::Lost => said!(StopLost),
        StopReason::Renewed => said!(StopRenewed),
        StopReason::Failed => said!(StopFailed),
    }
}
