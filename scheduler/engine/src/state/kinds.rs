//! Kinds: which copies a workload wants, and where those must be that belong to a node.
//!
//! A service or job wants its copies by number, a per-node workload one for each matching node, a cron
//! workload one for each run under way. The ordinal of a copy is its number, its node's, its run's.

use std::collections::BTreeSet;

use tengyun_model::{At, InstanceId, Kind, NodeId, OnLost, WorkloadId, WorkloadSpec};

use super::State;
use crate::command::Refusal;
use crate::image::{InstanceImage, NodeImage, Proof, WorkloadWish};
use crate::place::feasible;
use crate::plan::StopReason;
use crate::runs::RunOutcome;

impl State {
    /// Returns the ordinals of the copies that a workload wants.
    pub(crate) fn ordinals(&self, id: WorkloadId) -> BTreeSet<u32> {
        let workload = &self.workloads[&id];
        let spec = &workload.revisions[&workload.revision];
        match spec.kind {
            Kind::Service | Kind::Job => (0..spec.instances).collect(),
            Kind::PerNode => {
                let nodes = self.nodes().filter(|node| matches(spec, node));
                nodes.map(|node| node.id.get()).collect()
            }
            Kind::Cron => {
                let live = workload.cron.runs.iter().filter(|r| r.outcome == RunOutcome::UnderWay);
                live.map(|run| run.number).collect()
            }
        }
    }

    /// Gives a node that joined, or has other labels now, what runs on every node like it.
    pub(super) fn meet_node(&mut self, node: NodeId, is_new: bool, at: At) {
        let everywhere: Vec<WorkloadId> = self.everywhere().collect();
        for id in everywhere {
            let workload = &self.workloads[&id];
            let spec = &workload.revisions[&workload.revision];
            let wanted = workload.wish == WorkloadWish::Run && matches(spec, &self.nodes[&node]);
            let revision = workload.revision;
            if is_new {
                if wanted {
                    self.add_waiting((id, node.get(), revision), Some(node), at);
                }
                continue;
            }
            let of_node = |i: &InstanceId| self.instances[i].ordinal == node.get();
            let here: Vec<InstanceId> = self.of_workload(id).filter(of_node).collect();
            if wanted {
                self.fill(id, at);
                continue;
            }
            for copy in here {
                self.stop_instance(copy, StopReason::NotWanted);
            }
        }
    }

    /// Returns the node that a waiting copy must start on; none when it may start anywhere.
    pub(crate) fn bound_to(&self, instance: &InstanceImage) -> Option<NodeId> {
        let home = instance.home.filter(|_| instance.node.is_none())?;
        let spec = self.spec(instance);
        if spec.kind == Kind::PerNode {
            return Some(home);
        }
        let loss = self.nodes.get(&home).and_then(|node| node.loss);
        let restarts = spec.on_lost == OnLost::Restart && spec.volumes.is_empty();
        let given_up = loss.is_some_and(|loss| loss.proof == Proof::Death || restarts);
        (!given_up).then_some(home)
    }

    /// Says whether a copy that stops to be renewed comes back where it is: unless the new revision
    /// may not be there.
    pub(super) fn home_after(&self, instance: &InstanceImage) -> Option<NodeId> {
        let workload = &self.workloads[&instance.workload];
        let spec: &WorkloadSpec = &workload.revisions[&workload.revision];
        let node = instance.node.and_then(|node| self.nodes.get(&node))?;
        let whom = (spec, Some(instance.status.instance));
        feasible::constraints(self, whom, node, &[]).is_ok().then_some(node.id)
    }

    /// Refuses to bring a copy anywhere but where it belongs.
    pub(super) fn check_home(&self, instance: &InstanceImage, to: NodeId) -> Result<(), Refusal> {
        let per_node = self.spec(instance).kind == Kind::PerNode;
        let bound =
            if per_node { Some(NodeId::new(instance.ordinal)) } else { self.bound_to(instance) };
        match bound {
            Some(home) if home != to => Err(Refusal::OnlyThere(home)),
            Some(_) | None => Ok(()),
        }
    }
}

/// Says whether a node has all labels that a workload asks for.
pub(super) fn matches(spec: &WorkloadSpec, node: &NodeImage) -> bool {
    spec.constraints.labels.iter().all(|(name, value)| node.facts.labels.get(name) == Some(value))
}
