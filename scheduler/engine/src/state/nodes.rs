//! Nodes: what they say of themselves, what operators wish of them, and whether they are lost.
//!
//! Durable state alone decides here; who was heard when is not durable and is judged elsewhere.

use std::collections::BTreeMap;

use tengyun_model::{At, Generation, InstanceId, NodeFacts, NodeId, WorkloadId, WorkloadKey};

use super::State;
use crate::command::{Command, Effect, Refusal};
use crate::image::{InstanceImage, InstanceWish, Loss, NodeImage, NodeWish, Proof};
use crate::plan::{Move, ShiftReason, StopReason};

/// How long a lost node counts against a workload that was placed there before.
const HARM_KEPT: tengyun_model::Millis = tengyun_model::Millis::from_secs(24 * 3600);

impl State {
    pub(super) fn register_node(&mut self, facts: &NodeFacts, at: At) -> Effect {
        if let Some(id) = self.names.get(&facts.name).copied() {
            let node = self.nodes.get_mut(&id).expect("a named node exists");
            let rebooted = node.facts.inventory.boot_id != facts.inventory.boot_id;
            let labelled = node.facts.labels != facts.labels;
            node.facts = facts.clone();
            if rebooted {
                // Who listened on its ports may not any more.
                node.foreign_ports.clear();
                self.blame(id, at);
            }
            if labelled {
                self.meet_node(id, false, at);
            }
            return Effect::Node(id);
        }
        let id = self.new_node_id(&facts.name);
        self.names.insert(facts.name.clone(), id);
        let node = NodeImage {
            id,
            facts: facts.clone(),
            generation: Generation::new(1),
            joined: at,
            wish: NodeWish::Serve,
            loss: None,
            next_port: 0,
            foreign_ports: BTreeMap::new(),
        };
        self.nodes.insert(id, Box::new(node));
        self.doubt(id);
        self.meet_node(id, true, at);
        Effect::Node(id)
    }

    /// Carries out what an operator wishes of nodes and of what is on them.
    pub(super) fn operate(&mut self, command: &Command, at: At) -> Result<Effect, Refusal> {
        match command {
            Command::SetNodeWish { operation, node, wish } => {
                self.once(*operation, at, |state| Ok(state.set_node_wish(*node, *wish)))
            }
            Command::MoveInstance { operation, instance, to } => {
                self.once(*operation, at, |state| state.move_instance(*instance, *to, at))
            }
            Command::AcknowledgeLoss { operation, nodes, proof } => {
                self.once(*operation, at, |state| {
                    for node in nodes {
                        state.lose(*node, *proof, at);
                    }
                    Ok(Effect::Done)
                })
            }
            Command::ReleaseWorkload { operation, key } => {
                self.once(*operation, at, |state| state.release_workload(key))
            }
            Command::DeleteVolumes { operation, copy, node } => {
                self.once(*operation, at, |state| Ok(state.delete_volumes(copy, *node)))
            }
            Command::ForgetNode { operation, node, proof } => {
                self.once(*operation, at, |state| state.forget_node(*node, *proof, at))
            }
            Command::ForgetVolumes { node, copies } => Ok(self.forget_volumes(*node, copies)),
            other => unreachable!("{other:?} is no wish of an operator about nodes"),
        }
    }

    fn set_node_wish(&mut self, node: NodeId, wish: NodeWish) -> Effect {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.wish = wish;
        }
        Effect::Done
    }

    fn move_instance(&mut self, id: InstanceId, to: NodeId, at: At) -> Result<Effect, Refusal> {
        let step = self.wished_move(id, to)?;
        self.carry_out_move(&step, at)?;
        Ok(Effect::Done)
    }

    /// Returns the move that brings an instance to a node, if durable state allows it.
    pub fn wished_move(&self, id: InstanceId, to: NodeId) -> Result<Move, Refusal> {
        let instance = self.instances.get(&id).ok_or(Refusal::UnknownInstance(id))?;
        let step = match instance.node {
            None => Move::Start { instance: id, node: to },
            Some(from) if from == to => return Err(Refusal::AlreadyThere),
            Some(from) => Move::Shift { instance: id, from, to, reason: ShiftReason::Operator },
        };
        self.check_move(&step)?;
        Ok(step)
    }

    fn release_workload(&mut self, key: &WorkloadKey) -> Result<Effect, Refusal> {
        let id = self.keys.get(key).ok_or_else(|| Refusal::UnknownWorkload(key.clone()))?;
        self.workloads.get_mut(id).expect("a keyed workload exists").harms.clear();
        Ok(Effect::Done)
    }

    /// Counts a node as lost from now on; proof of death is never taken back by mere silence.
    pub(super) fn lose(&mut self, id: NodeId, proof: Proof, at: At) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let (since, known) = node.loss.map_or((at, proof), |loss| (loss.at, loss.proof));
        node.loss = Some(Loss { at: since, proof: known.max(proof) });
        if proof == Proof::Death {
            self.abandon(id);
        }
    }

    /// A lost node was heard again: what still is wanted there simply goes on.
    pub(super) fn take_back(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.loss = None;
        }
    }

    /// Blames the workloads that were placed on a node shortly before it was lost or started again.
    pub(super) fn blame(&mut self, node: NodeId, at: At) {
        let window = self.policy.harm_window();
        let fresh = |i: &&InstanceImage| {
            i.wish == InstanceWish::Run
                && !i.status.phase.is_final()
                && at.since(i.placed) <= window
        };
        let here = self.on_node(node).filter_map(|id| self.instances.get(&id));
        let blamed: Vec<WorkloadId> = here.filter(fresh).map(|i| i.workload).collect();
        for id in blamed {
            let workload = self.workloads.get_mut(&id).expect("an instance's workload exists");
            // One that is held stays so until it is released.
            if !workload.is_held() {
                workload.harms.retain(|_, when| at.since(*when) <= HARM_KEPT);
                workload.harms.insert(node, at);
            }
        }
    }

    /// Says whether an instance starts elsewhere because its node is lost: one of several copies when
    /// its department lets it, any when its node is known to be off.
    ///
    /// Invariant: the only copy never starts elsewhere without that proof
    /// (`the_only_copy_starts_elsewhere_with_proof_alone`).
    pub(crate) fn leaves_lost(&self, instance: &InstanceImage) -> bool {
        let several = self.spec(instance).instances > 1;
        self.may_leave_lost(instance) && (several || self.is_surely_off(instance))
    }

    /// Says whether a decision holds that an instance starts elsewhere because its node is lost.
    ///
    /// Journals hold decisions about only copies, made before these waited for proof.
    pub(super) fn may_leave_lost(&self, instance: &InstanceImage) -> bool {
        let spec = self.spec(instance);
        if spec.kind == tengyun_model::Kind::PerNode || !self.is_on_lost(instance) {
            return false;
        }
        // What has volumes waits for them, or for proof that its node is dead.
        let restarts = spec.on_lost == tengyun_model::OnLost::Restart && spec.volumes.is_empty();
        restarts || self.is_surely_off(instance)
    }

    /// Says whether the node of an instance is lost.
    pub(crate) fn is_on_lost(&self, instance: &InstanceImage) -> bool {
        let node = instance.node.and_then(|n| self.nodes.get(&n));
        node.is_some_and(|n| n.loss.is_some())
    }

    /// Says whether an instance cannot run any more because its node is known to be off.
    pub(crate) fn is_surely_off(&self, instance: &InstanceImage) -> bool {
        let loss = instance.node.and_then(|n| self.nodes.get(&n)).and_then(|n| n.loss);
        loss.is_some_and(|loss| loss.proof == Proof::Death)
    }

    /// Says what operators wish of the node of an instance.
    pub(crate) fn node_wish(&self, instance: &InstanceImage) -> NodeWish {
        let node = instance.node.and_then(|n| self.nodes.get(&n));
        node.map_or(NodeWish::Serve, |n| n.wish)
    }

    /// Says whether an instance runs on its own where its node was lost, until it returns.
    pub fn is_left_behind(&self, instance: &InstanceImage) -> bool {
        instance.wish == InstanceWish::Stop(StopReason::Lost)
    }

    /// Returns how many copies are on their way to another node.
    pub(crate) fn moves_under_way(&self) -> usize {
        self.replacements.len().saturating_add(self.turns.len())
    }
}
