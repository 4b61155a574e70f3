//! The durable state as an image, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tengyun_model::NodeId;

use super::State;
use super::homes::Homes;
use super::members::Members;
use super::policies::Policies;
use crate::command::{Past, Refusal};
use crate::image::Image;
use crate::policy::Policy;

impl State {
    /// Returns all durable state.
    pub fn image(&self) -> Image {
        Image {
            sequence: self.sequence,
            at: self.at,
            epoch: self.epoch,
            next_node: self.next_node,
            next_workload: self.next_workload,
            next_instance: self.next_instance,
            moves_total: self.moves_total,
            policy_version: self.policy_version,
            policy: self.policy.values().clone(),
            policies: self.policies.all().cloned().collect(),
            nodes: self.nodes().cloned().collect(),
            workloads: self.workloads().cloned().collect(),
            instances: self.instances.values().cloned().collect(),
            operations: self.operations.values().cloned().collect(),
            meters: self.meters().cloned().collect(),
            last_loss: self.last_loss,
            tokens: self.members.tokens().cloned().collect(),
            members: self.members.all().cloned().collect(),
            homes: self.homes.all().cloned().collect(),
            restored: self.restored.clone(),
            margin: self.margin,
        }
    }

    /// Makes the state of an image; one that contradicts itself is refused.
    pub fn from_image(image: Image) -> Result<Self, Refusal> {
        let mut state = Self {
            sequence: image.sequence,
            at: image.at,
            epoch: image.epoch,
            next_node: image.next_node,
            next_workload: image.next_workload,
            next_instance: image.next_instance,
            moves_total: image.moves_total,
            policy_version: image.policy_version,
            last_loss: image.last_loss,
            policy: Policy::new(image.policy)?,
            policies: Policies::new(image.policies, image.policy_version)?,
            names: image.nodes.iter().map(|n| (n.facts.name.clone(), n.id)).collect(),
            nodes: image.nodes.into_iter().map(|n| (n.id, Box::new(n))).collect(),
            members: Members::new(image.tokens, image.members),
            homes: Homes::new(image.homes),
            restored: image.restored,
            margin: image.margin,
            ..Self::default()
        };
        for workload in image.workloads {
            let spec = workload.revisions.get(&workload.revision);
            let key = spec.ok_or(Refusal::Stale(Past::Revision))?.key.clone();
            state.keys.insert(Arc::new(key), workload.id);
            state.workloads.insert(workload.id, Box::new(workload));
        }
        for mut meter in image.meters {
            if let Some((key, _)) = state.keys.get_key_value(&meter.key) {
                meter.key = Arc::clone(key);
            }
            state.meters.insert((meter.node, meter.record.key), Box::new(meter));
        }
        for instance in image.instances {
            let workload = state.workloads.get(&instance.workload);
            if workload.is_none_or(|w| !w.revisions.contains_key(&instance.revision)) {
                return Err(Refusal::Stale(Past::WorkloadOf));
            }
            // What had ended on a node outlives it.
            let ended = instance.status.phase.is_final();
            if !ended && instance.node.is_some_and(|n| !state.nodes.contains_key(&n)) {
                return Err(Refusal::Stale(Past::Node));
            }
            let id = instance.status.instance;
            state.index(id, &instance);
            state.instances.insert(id, instance);
        }
        let homes: BTreeSet<NodeId> = state.homes().map(|home| home.node).collect();
        if homes.iter().any(|node| !state.nodes.contains_key(node)) {
            return Err(Refusal::Stale(Past::NodeOfVolumes));
        }
        for node in homes {
            state.sum_up_room(node);
        }
        let all: Vec<_> = state.workloads.keys().copied().collect();
        for id in all {
            state.derive_revisions(id);
        }
        if state.replacements.keys().any(|old| !state.instances.contains_key(old)) {
            return Err(Refusal::Stale(Past::Replaced));
        }
        let operations: BTreeMap<_, _> = image.operations.into_iter().map(|o| (o.id, o)).collect();
        state.operation_order = operations.values().map(|o| (o.at, o.id)).collect();
        state.operations = operations;
        Ok(state)
    }
}
