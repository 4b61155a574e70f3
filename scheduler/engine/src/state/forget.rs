//! Forgetting: a lost node that nobody waits for any longer leaves the register, and what it ran and is
//! still wanted starts elsewhere.
//!
//! Nothing is forgotten that may still run, unless an operator knows that the node is off. Readings of
//! its meters stay, and so do instances that had ended there: they are what happened.

use std::collections::BTreeSet;

use tengyun_model::{At, InstanceId, NodeId, WorkloadId};

use super::State;
use crate::command::{Effect, Refusal};
use crate::image::{HomeFate, InstanceImage, Proof};
use crate::plan::StopReason;

impl State {
    /// Says whether a node may be forgotten.
    pub(super) fn check_forget(&self, node: NodeId, proof: Proof) -> Result<(), Refusal> {
        let image = self.nodes.get(&node).ok_or(Refusal::UnknownNode(node))?;
        if proof == Proof::Death {
            return Ok(());
        }
        let loss = image.loss.ok_or(Refusal::NotLost(node))?;
        let here = self.on_node(node).filter_map(|id| self.instances.get(&id));
        let instances = here.filter(|i| !i.status.phase.is_final()).count();
        if instances > 0 && loss.proof != Proof::Death {
            return Err(Refusal::MayStillRun { node, instances });
        }
        let copies = self.homes_on(node).filter(|home| home.fate == HomeFate::Kept).count();
        if copies > 0 { Err(Refusal::HasVolumes { node, copies }) } else { Ok(()) }
    }

    pub(super) fn forget_node(
        &mut self,
        node: NodeId,
        proof: Proof,
        at: At,
    ) -> Result<Effect, Refusal> {
        self.check_forget(node, proof)?;
        let image = self.nodes.remove(&node).expect("it was checked a line ago");
        self.names.remove(&image.facts.name);
        self.members.forget_node(&image.facts.name, at);
        self.forget_homes(node);
        self.live.remove(&node);
        self.watch.suspects.remove(&node);
        if let Some(restored) = &mut self.restored {
            restored.unsettled.remove(&node);
            if restored.unsettled.is_empty() && !restored.observing {
                self.restored = None;
            }
        }
        let left = self.leave_node(node);
        self.derive_forgotten(node);
        for workload in left {
            if self.workloads.contains_key(&workload) {
                self.fill(workload, at);
            }
        }
        Ok(Effect::Done)
    }

    /// Takes from a node that is gone what was wanted there, and returns the workloads that lack it.
    fn leave_node(&mut self, node: NodeId) -> BTreeSet<WorkloadId> {
        for id in self.waiting_for(node) {
            self.instances.get_mut(&id).expect("it waits").home = None;
        }
        let everywhere: BTreeSet<WorkloadId> = self.everywhere().collect();
        let of_node =
            |i: &InstanceImage| everywhere.contains(&i.workload) && i.ordinal == node.get();
        let here = |i: &&InstanceImage| {
            let there = i.node == Some(node) && !i.status.phase.is_final();
            there || of_node(i)
        };
        let leaving: Vec<InstanceId> =
            self.instances.values().filter(here).map(|i| i.status.instance).collect();
        let mut left = BTreeSet::new();
        for id in leaving {
            left.insert(self.instances[&id].workload);
            self.stop_instance(id, StopReason::Lost);
            // One of which something could run still waits to be told of by its node.
            if self.instances.contains_key(&id) {
                self.remove_instance(id);
            }
        }
        left
    }
}
