//! Ports that a workload leaves open: the state chooses them when an instance is placed.
//!
//! The rule of choice is part of what the journal means and never changes: from where the search of
//! the node ended last, upwards and around, the first number that nothing there occupies, that no
//! workload names as its own and that no other program was seen to listen on. A number that is free
//! again is therefore the last to be chosen again.

use std::collections::BTreeMap;

use tengyun_model::{At, InstanceId, Millis, Name, NodeId, WorkloadSpec};

use super::State;
use crate::place::feasible::Room;

/// For how long a port on which another program listened is not chosen.
const FOREIGN_KEPT: Millis = Millis::from_secs(24 * 3600);
/// The most such ports remembered of a node; more says that the range is not ours.
const FOREIGN_MAX: usize = 1024;

/// Returns the ports that a specification leaves open.
pub(super) fn open_ports(spec: &WorkloadSpec) -> Vec<Name> {
    spec.ports.iter().filter(|port| port.number.is_none()).map(|port| port.name.clone()).collect()
}

impl State {
    /// Returns how many ports of a node may still be chosen, beside what is taken in a room.
    pub(crate) fn free_ports(&self, node: NodeId, room: &Room) -> usize {
        let Some(image) = self.nodes.get(&node) else { return 0 };
        let (first, last) = self.policy.ports();
        let taken = room.ports_within(first, last).filter(|port| !self.is_fixed(*port));
        let foreign = image.foreign_ports.range(first..=last).map(|(port, _)| *port);
        let foreign = foreign.filter(|port| !self.is_fixed(*port) && !room.occupies(*port));
        let fixed = self.fixed_ports_within(first, last).count();
        let all = usize::from(last.saturating_sub(first)).saturating_add(1);
        let used = taken.count().saturating_add(foreign.count()).saturating_add(fixed);
        all.saturating_sub(used).saturating_sub(room.unchosen())
    }

    /// Chooses a number for each of these ports; those that there is none for are left out, which
    /// placement has made sure is none.
    pub(super) fn choose_ports(&mut self, open: Vec<Name>, node: NodeId) -> BTreeMap<Name, u16> {
        let mut chosen: BTreeMap<Name, u16> = BTreeMap::new();
        for name in open {
            if let Some(number) = self.next_port(node, &chosen) {
                chosen.insert(name, number);
            }
        }
        chosen
    }

    fn next_port(&mut self, node: NodeId, chosen: &BTreeMap<Name, u16>) -> Option<u16> {
        let (first, last) = self.policy.ports();
        let image = self.nodes.get(&node)?;
        let within = (first..=last).contains(&image.next_port);
        let begin = if within { image.next_port } else { first };
        let room = self.room(node);
        let free = |port: &u16| {
            !room.occupies(*port)
                && !self.is_fixed(*port)
                && !image.foreign_ports.contains_key(port)
                && !chosen.values().any(|other| other == port)
        };
        let found = (begin..=last).chain(first..begin).find(free)?;
        self.nodes.get_mut(&node)?.next_port = found.saturating_add(1);
        Some(found)
    }

    /// Another program listens on a port of an instance: if it was chosen, another one is.
    pub(super) fn port_is_foreign(&mut self, id: InstanceId, port: u16, at: At) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Some(node) = instance.node else { return };
        let named = instance.ports.iter().find(|(_, number)| **number == port);
        let Some(name) = named.map(|(name, _)| name.clone()) else { return };
        if let Some(image) = self.nodes.get_mut(&node) {
            let foreign = &mut image.foreign_ports;
            foreign.retain(|_, seen| at.since(*seen) <= FOREIGN_KEPT);
            if foreign.len() >= FOREIGN_MAX {
                let oldest = foreign.iter().min_by_key(|(port, seen)| (**seen, **port));
                let oldest = oldest.map(|(port, _)| *port);
                oldest.and_then(|port| foreign.remove(&port));
            }
            foreign.insert(port, at);
        }
        // Its other ports are occupied; where no other number is free it goes on trying this one.
        if let Some(number) = self.next_port(node, &BTreeMap::new())
            && let Some(instance) = self.instances.get_mut(&id)
        {
            instance.ports.insert(name, number);
        }
        self.sum_up_room(node);
        self.touch(node);
    }
}
