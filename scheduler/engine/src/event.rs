//! Events: what happened, as a person reads it, derived from an entry and what came of it.
//!
//! All of them are made here. A glance is taken before an entry is applied, because what changed can
//! only be told from both sides of it; neither costs more than the entry is large.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{
    At, CopyKey, Exit, Incarnation, InstanceId, Member, Millis, NodeId, NodeName, Phase,
    WorkloadId, WorkloadKey,
};

use crate::command::{Command, Effect, Entry, Outcome};
use crate::image::{InstanceImage, InstanceWish, Proof, WorkloadImage, WorkloadWish};
use crate::plan::{Move, ShiftReason, StopReason, about};
use crate::state::State;

mod rollout;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: At,
    /// What, as a stable word.
    pub kind: &'static str,
    /// The node it is about, by name.
    pub node: Option<NodeName>,
    /// The workload it is about.
    pub workload: Option<WorkloadKey>,
    /// The instance it is about.
    pub instance: Option<InstanceId>,
    /// The rest, in words; empty when the kind says all.
    pub message: String,
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
        | Command::ReportUsage { .. } => {}
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
    let mut made = Made { state, at: entry.at, events: Vec::new() };
    made.from(glance, &entry.command, effect);
    made.events
}

/// The events of one entry in the making.
struct Made<'a> {
    state: &'a State,
    at: At,
    events: Vec<Event>,
}

impl Made<'_> {
    fn from(&mut self, glance: &Glance, command: &Command, effect: &Effect) {
        match command {
            Command::BeginEpoch => {
                let message = format!("epoch {}", self.state.epoch());
                self.push("scheduler-started", message);
            }
            Command::RegisterNode(_) => self.registered(glance, effect),
            Command::ApplyWorkload { spec, .. } => self.applied(&spec.key, effect),
            Command::StopWorkload { key, .. } if glance.known => {
                self.of_key("workload-stopped", key, String::new());
            }
            Command::DeleteWorkload { key, .. } => {
                self.of_key("workload-deleted", key, String::new());
            }
            Command::ReleaseWorkload { key, .. } => {
                self.of_key("workload-released", key, String::new());
            }
            Command::SetPolicy { values, label, .. } => self.policy(values, label),
            Command::ObserveInstances { node, .. } => self.observed(glance, *node),
            Command::CommitPlan(plan) => {
                plan.moves.iter().for_each(|step| self.moved(glance, step));
                self.queued(glance);
            }
            Command::MoveInstance { instance, to, .. } => self.sent(glance, *instance, *to),
            Command::SetNodeWish { node, wish, .. } => {
                self.of_node("node-wish", *node, wish.as_str().to_owned());
            }
            Command::AcknowledgeLoss { nodes, proof, .. } => {
                for node in nodes {
                    self.given_up(*node, *proof);
                }
            }
            Command::DeclareLost(node) if !glance.known => {
                self.of_node("node-lost", *node, "it was silent for too long".to_owned());
                self.newly_held(glance, *node);
            }
            Command::DeclareReturned(node) => {
                self.of_node("node-returned", *node, String::new());
            }
            Command::CreateToken { grant, .. } => {
                self.push("token-created", format!("for {grant}"));
            }
            Command::RedeemToken { member, .. } => self.joined(member, effect),
            Command::RevokeMember { member, .. } => {
                self.push("member-revoked", member.to_string());
            }
            Command::Restore { elapsed } => self.restored(*elapsed),
            Command::SettleRestore(nodes) => self.settled(nodes.len()),
            Command::ConfirmRestore { .. } => self.push("restore-confirmed", String::new()),
            Command::Watch => self.watched(glance),
            Command::ConnectNode(node) if !glance.known => {
                self.of_node("node-connected", *node, String::new());
            }
            Command::DisconnectNode(node) if glance.known => {
                self.of_node("node-away", *node, String::new());
            }
            Command::DeleteVolumes { copy, node, .. } => self.removing(*node, copy),
            Command::ForgetVolumes { node, copies } => self.removed(*node, copies),
            Command::StopWorkload { .. }
            | Command::DeclareLost(_)
            | Command::ConnectNode(_)
            | Command::DisconnectNode(_)
            | Command::AcknowledgeMeters { .. }
            | Command::NoteWindows(_)
            | Command::ReportUsage { .. } => {}
            Command::JudgeRollout { .. }
            | Command::SteerRollout { .. }
            | Command::FireRun { .. } => self.of_life(glance, command),
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
        let kind = if glance.known { "node-changed" } else { "node-registered" };
        let capacity = self.state.node(*node).map(|n| n.facts.capacity.clone());
        let capacity = capacity.unwrap_or_default();
        let message = format!("{} CPU, {} memory", capacity.cpu, capacity.memory);
        self.of_node(kind, *node, message);
        self.newly_held(glance, *node);
    }

    fn restored(&mut self, elapsed: Millis) {
        let secs = elapsed.get() / 1000;
        self.push("restored", format!("from a backup that ends {secs} s before"));
    }

    fn settled(&mut self, nodes: usize) {
        self.push("restore-settled", format!("{nodes} nodes run what is known"));
    }

    fn policy(&mut self, values: &BTreeMap<String, u64>, label: &str) {
        let values: Vec<String> =
            values.iter().map(|(knob, value)| format!("{knob}={value}")).collect();
        let all = if values.is_empty() { "defaults".to_owned() } else { values.join(" ") };
        let version = self.state.policy_version();
        let from = if label.is_empty() { String::new() } else { format!(" ({label})") };
        self.push("policy-changed", format!("version {version}{from}: {all}"));
    }

    fn given_up(&mut self, node: NodeId, proof: Proof) {
        let word = match proof {
            Proof::Silence => "an operator says so",
            Proof::Death => "an operator knows that it is off",
        };
        self.of_node("node-lost", node, word.to_owned());
    }

    fn joined(&mut self, member: &Member, effect: &Effect) {
        if let Effect::Admitted { admission, .. } = effect {
            self.push("member-joined", format!("{member}, admission {admission}"));
        }
    }

    fn applied(&mut self, key: &WorkloadKey, effect: &Effect) {
        match effect {
            Effect::Created(_, revision) => {
                self.of_key("workload-created", key, format!("revision {revision}"));
            }
            Effect::Updated(_, revision) => {
                self.of_key("workload-updated", key, format!("revision {revision}"));
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
                    self.of_was("stopped", *id, was, String::new());
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
                self.of_was("unhealthy", *id, was, status.message.clone());
            }
            let (kind, message) = match status.phase {
                Phase::Running if was.phase != Phase::Running || again => ("started", start(is)),
                Phase::Healthy => ("healthy", String::new()),
                Phase::Unhealthy => ("unhealthy", status.message.clone()),
                Phase::BackingOff => ("restarting", ended(status.exit, &status.message)),
                Phase::Succeeded => ("ended", ended(status.exit, &status.message)),
                Phase::Failed => ("failed", ended(status.exit, &status.message)),
                Phase::Stopped => ("stopped", ended(status.exit, &status.message)),
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
                    self.of_was("placed", id, &placed, String::new());
                }
            }
            Move::Shift { from, to, reason, .. } => {
                if let Some(new) =
                    self.state.replacement_of(id).filter(|n| *n > glance.next_instance)
                {
                    let names = (self.name(from), self.name(to));
                    let (from, to) = (words(names.0), words(names.1));
                    let why = shift_words(reason);
                    let message = format!("from {from} to {to} as instance {new}: {why}");
                    self.of_was("moving", id, was, message);
                }
            }
            Move::Stop { reason, .. } => {
                let stops = is.is_none_or(|i| i.wish == InstanceWish::Stop(reason));
                if was.wish == InstanceWish::Run && stops {
                    let kind = match reason {
                        StopReason::NotWanted => "stopping",
                        StopReason::Replaced => "moved",
                        StopReason::Evicted | StopReason::Drained => "evicted",
                        StopReason::GivenUp => "move-given-up",
                        StopReason::Lost => "instance-lost",
                        StopReason::Renewed => "renewing",
                    };
                    self.of_was(kind, id, was, stop_words(reason).to_owned());
                }
            }
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
                kind: "queued",
                node: None,
                workload: Some(key),
                instance: Some(id),
                message: String::new(),
            });
        }
    }

    fn newly_held(&mut self, glance: &Glance, node: NodeId) {
        let here = self.state.on_node(node).filter_map(|id| self.state.instance(id));
        let workloads: BTreeSet<WorkloadId> = here.map(|i| i.workload).collect();
        for workload in workloads.into_iter().filter_map(|id| self.state.workload(id)) {
            if workload.is_held() && !glance.held.contains(&workload.id) {
                let key = workload.revisions[&workload.revision].key.clone();
                let message = format!("{} nodes were lost under it", workload.harms.len());
                self.of_key("workload-held", &key, message);
            }
        }
    }

    fn watched(&mut self, glance: &Glance) {
        let fresh: Vec<NodeId> =
            self.state.suspects().difference(&glance.suspects).copied().collect();
        for node in fresh {
            self.of_node("node-suspect", node, "it was not heard for some time".to_owned());
        }
    }

    fn name(&self, node: NodeId) -> Option<NodeName> {
        self.state.node(node).map(|n| n.facts.name.clone())
    }

    fn push(&mut self, kind: &'static str, message: String) {
        let (node, workload, instance) = (None, None, None);
        self.events.push(Event { at: self.at, kind, node, workload, instance, message });
    }

    fn of_node(&mut self, kind: &'static str, node: NodeId, message: String) {
        let (node, workload, instance) = (self.name(node), None, None);
        self.events.push(Event { at: self.at, kind, node, workload, instance, message });
    }

    fn of_key(&mut self, kind: &'static str, key: &WorkloadKey, message: String) {
        let (node, workload, instance) = (None, Some(key.clone()), None);
        self.events.push(Event { at: self.at, kind, node, workload, instance, message });
    }

    fn removing(&mut self, node: NodeId, copy: &CopyKey) {
        self.of_volumes("volumes-removing", node, copy);
    }

    fn removed(&mut self, node: NodeId, copies: &[CopyKey]) {
        for copy in copies {
            self.of_volumes("volumes-removed", node, copy);
        }
    }

    fn of_volumes(&mut self, kind: &'static str, node: NodeId, copy: &CopyKey) {
        let (node, workload) = (self.name(node), Some(copy.workload.clone()));
        let message = format!("of copy {}", copy.ordinal);
        let (at, instance) = (self.at, None);
        self.events.push(Event { at, kind, node, workload, instance, message });
    }

    fn of_was(&mut self, kind: &'static str, id: InstanceId, was: &Was, message: String) {
        let node = was.node.and_then(|node| self.name(node));
        let (workload, instance) = (Some(was.key.clone()), Some(id));
        self.events.push(Event { at: self.at, kind, node, workload, instance, message });
    }
}

fn words(name: Option<NodeName>) -> String {
    name.map(|n| n.to_string()).unwrap_or_default()
}

fn start(instance: &InstanceImage) -> String {
    match instance.status.incarnation.get() {
        0 | 1 => String::new(),
        again => format!("start {again}"),
    }
}

fn ended(exit: Option<Exit>, message: &str) -> String {
    match (exit, message.is_empty()) {
        (Some(exit), true) => exit.to_string(),
        (Some(exit), false) => format!("{exit}: {message}"),
        (None, _) => message.to_owned(),
    }
}

/// Says why an instance shifts.
pub const fn shift_words(reason: ShiftReason) -> &'static str {
    match reason {
        ShiftReason::Consolidate => "its node is worth emptying",
        ShiftReason::Overload => "its node is above the ceiling",
        ShiftReason::Revision => "its workload has a newer revision",
        ShiftReason::Drain => "its node is drained",
        ShiftReason::Operator => "an operator said so",
    }
}

/// Says why an instance stops.
pub const fn stop_words(reason: StopReason) -> &'static str {
    match reason {
        StopReason::NotWanted => "its workload no longer wants it",
        StopReason::Replaced => "its replacement is healthy",
        StopReason::Evicted => "others need the room or its node is drained, it is queued again",
        StopReason::GivenUp => "it did not become healthy in time, the old copy stays",
        StopReason::Drained => "its node is drained, it is queued again",
        StopReason::Lost => "its node is lost, it is queued again",
        StopReason::Renewed => "its workload has a newer revision, which starts in its place",
    }
}
