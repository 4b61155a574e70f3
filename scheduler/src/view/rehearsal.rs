//! What would become of copies that somebody is about to ask for, as far as whoever asks may see it.

use std::collections::BTreeMap;

use tengyun_engine::place::rehearse::rehearse;
use tengyun_model::{InstanceId, NodeId, WorkloadSpec};
use tengyun_proto::v1;

use super::{View, small};
use crate::caller::Scope;

impl View<'_> {
    /// Rehearses a specification that was found valid. Harvest of departments beyond the scope is counted
    /// and not named.
    pub(crate) fn rehearsal(&self, spec: &WorkloadSpec, scope: &Scope) -> v1::Rehearsal {
        let told = rehearse(self.state, &self.forecast(), spec, self.now);
        let mut victims: Vec<v1::Victim> =
            told.victims.iter().filter_map(|id| self.victim(*id)).collect();
        let all = victims.len();
        let seen = |victim: &v1::Victim| {
            victim.key.as_ref().is_some_and(|key| scope.covers(&key.department))
        };
        victims.retain(seen);
        v1::Rehearsal {
            starts: self.nodes_of(&told.starts),
            after: self.nodes_of(&told.after),
            victims_hidden: small(all - victims.len()),
            victims,
            waits: told.waits,
            untold: told.untold,
        }
    }

    fn nodes_of(&self, copies: &BTreeMap<NodeId, u32>) -> Vec<v1::RehearsedNode> {
        let node = |(node, copies): (&NodeId, &u32)| v1::RehearsedNode {
            node: node.get(),
            name: self.node_name(*node),
            copies: *copies,
        };
        copies.iter().map(node).collect()
    }

    fn victim(&self, id: InstanceId) -> Option<v1::Victim> {
        let instance = self.state.instance(id)?;
        let node = instance.node?;
        Some(v1::Victim {
            instance: id.get(),
            key: Some((&self.state.spec(instance).key).into()),
            node: node.get(),
            node_name: self.node_name(node),
        })
    }
}
