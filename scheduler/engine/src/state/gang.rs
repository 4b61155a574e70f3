//! Gangs: instances of a workload with `gang: true` that wait start all at once or not at all.
//!
//! Durable state alone decides, so that a plan that is checked again in a replay has the same answer. A
//! copy that belongs to a node, because it is renewed there, comes back by itself.

use std::collections::BTreeMap;

use tengyun_model::{InstanceId, NodeId, WorkloadId, WorkloadSpec};

use super::State;
use crate::command::Refusal;
use crate::image::{InstanceImage, InstanceWish, NodeImage};
use crate::place::feasible::{self, Room};
use crate::plan::Move;

/// What the instances of a gang take on a node, beside what is there.
struct Beside<'a> {
    room: Room,
    guests: Vec<&'a WorkloadSpec>,
}

impl State {
    /// Says whether an instance waits with its gang.
    pub(crate) fn waits_in_gang(&self, instance: &InstanceImage) -> bool {
        instance.node.is_none()
            && instance.wish == InstanceWish::Run
            && self.spec(instance).gang
            && self.bound_to(instance).is_none()
    }

    /// Returns the instances that start with a waiting one, itself among them, by ascending id.
    pub(crate) fn starts_with<'a>(&'a self, instance: &'a InstanceImage) -> Vec<&'a InstanceImage> {
        if !self.waits_in_gang(instance) {
            return vec![instance];
        }
        let all = self.of_workload(instance.workload).map(|id| &self.instances[&id]);
        let mut gang: Vec<_> = all.filter(|other| self.waits_in_gang(other)).collect();
        gang.sort_unstable_by_key(|other| other.status.instance);
        gang
    }

    /// Refuses to start an instance by itself whose gang waits with it.
    pub(super) fn check_by_itself(&self, instance: &InstanceImage) -> Result<(), Refusal> {
        match self.starts_with(instance).len() {
            0 | 1 => Ok(()),
            waiting => Err(Refusal::InGang(waiting)),
        }
    }

    /// Returns how many of these moves, from the first on, are carried out together or not at all.
    pub(super) fn together(&self, moves: &[Move]) -> usize {
        let gang = |step: &Move| self.gang_of(step);
        let first = moves.first().and_then(gang);
        let rest = moves.iter().take_while(|step| first.is_some() && gang(step) == first);
        rest.count().max(1)
    }

    /// Returns the workload whose gang a move starts a part of.
    fn gang_of(&self, step: &Move) -> Option<WorkloadId> {
        let Move::Start { instance, .. } = step else { return None };
        let instance = self.instances.get(instance)?;
        self.waits_in_gang(instance).then_some(instance.workload)
    }

    /// Refuses moves that would start a part of a gang: some of it is missing, or there is no room for
    /// some. Of all else each move is checked by itself.
    pub(super) fn check_together(&self, moves: &[Move]) -> Result<(), Refusal> {
        let Some(workload) = moves.first().and_then(|step| self.gang_of(step)) else {
            return Ok(());
        };
        let start = |step: &Move| match *step {
            Move::Start { instance, node } => Some((instance, node)),
            Move::Shift { .. } | Move::Stop { .. } | Move::Promise { .. } => None,
        };
        let starts: BTreeMap<InstanceId, NodeId> = moves.iter().filter_map(start).collect();
        let all = self.of_workload(workload);
        let waiting = all.filter(|id| self.waits_in_gang(&self.instances[id])).count();
        if starts.len() < waiting {
            return Err(Refusal::InGang(waiting));
        }
        self.check_rooms(moves.iter().filter_map(start))
    }

    /// Says whether all of these may start, each beside those before it.
    fn check_rooms(
        &self,
        starts: impl Iterator<Item = (InstanceId, NodeId)>,
    ) -> Result<(), Refusal> {
        let mut nodes: BTreeMap<NodeId, Beside<'_>> = BTreeMap::new();
        for (id, node) in starts {
            let instance = self.check_may_start(id, node)?;
            let image = self.nodes.get(&node).ok_or(Refusal::UnknownNode(node))?;
            let spec = self.spec(instance);
            feasible::open(image)?;
            self.check_spread_beside(spec, image, &nodes)?;
            let beside = nodes
                .entry(node)
                .or_insert_with(|| Beside { room: self.room(node).clone(), guests: Vec::new() });
            beside.room.fits(spec, &image.facts.capacity)?;
            feasible::ports(self, spec, (node, &beside.room))?;
            feasible::constraints(self, (spec, None), image, &beside.guests)?;
            let need = self.volume_need(instance, spec);
            feasible::volumes(need, spec, (image, &beside.room))?;
            beside.room.take(spec, &BTreeMap::new());
            let space = need.map(|need| need.space).unwrap_or_default();
            beside.room.disk = beside.room.disk.saturating_add(space);
            beside.guests.push(spec);
        }
        Ok(())
    }

    /// Checks that the values of a label stay even with one more copy on a node.
    fn check_spread_beside(
        &self,
        spec: &WorkloadSpec,
        image: &NodeImage,
        nodes: &BTreeMap<NodeId, Beside<'_>>,
    ) -> Result<(), Refusal> {
        let Some(label) = &spec.constraints.spread else { return Ok(()) };
        let guests = nodes.iter().flat_map(|(node, beside)| {
            let image = self.nodes[node].as_ref();
            beside.guests.iter().map(move |guest| (image, *guest))
        });
        let values = feasible::values(self.nodes(), label);
        let copies = feasible::copies(self, (spec, None, label), &values, guests);
        feasible::evenly(label, &copies, image)
    }
}
