//! What follows from the instances and is kept beside them, so that a pass over a large cloud does no
//! work twice: who waits, who leaves, who moved last, and what is taken on each node.
//!
//! Invariant: it equals what the instances say; `check::check_state` sums everything up again in
//! `any_history_keeps_every_promise_and_can_be_replayed`.

use std::collections::btree_map::Iter;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use tengyun_model::{At, InstanceId, Kind, NodeId, WorkloadId};

use super::State;
use super::live::Live;
use super::register::Register;
use crate::image::{InstanceImage, InstanceWish, NodeImage, WorkloadImage};
use crate::place::feasible::Room;
use crate::predict::{DayShape, Profile};

/// What follows from the instances.
#[derive(Clone, Debug, Default)]
pub(crate) struct Derived {
    /// Instances without a node.
    waiting: BTreeSet<InstanceId>,
    /// Instances that are not wanted any more.
    leaving: BTreeSet<InstanceId>,
    /// Instances that failed for good and are to be queued again after a pause.
    failed: BTreeSet<InstanceId>,
    /// Instances whose memory was decided by their use.
    promised: BTreeSet<InstanceId>,
    /// When copies were shifted, and which.
    moved: BTreeSet<(At, InstanceId)>,
    /// What living instances take on each node.
    rooms: BTreeMap<NodeId, Box<Room>>,
    /// What forecasts need of each instance.
    profiles: Register<Profile>,
    /// Workloads that have instances of another revision than the present.
    renewing: BTreeSet<WorkloadId>,
    /// Workloads that are rolled out.
    rolling: BTreeSet<WorkloadId>,
    /// Workloads of which every node has a copy.
    everywhere: BTreeSet<WorkloadId>,
    /// Workloads with a schedule or a window.
    timed: BTreeSet<WorkloadId>,
    /// What is taken where nothing is.
    empty: Room,
    /// Who names a port by its number.
    fixed: BTreeMap<u16, BTreeSet<WorkloadId>>,
    /// Which ports a workload names by their numbers.
    fixed_of: BTreeMap<WorkloadId, BTreeSet<u16>>,
}

fn fixed_of(workload: &WorkloadImage) -> BTreeSet<u16> {
    let ports = workload.revisions.values().flat_map(|spec| &spec.ports);
    ports.filter_map(|port| port.number).collect()
}

impl State {
    /// Enters an instance that is new or was read from an image.
    pub(super) fn derive(&mut self, id: InstanceId, instance: &InstanceImage) {
        let workload = &self.workloads[&instance.workload];
        let spec = &workload.revisions[&instance.revision];
        if let Some(node) = instance.node.filter(|_| !instance.status.phase.is_final()) {
            let lent = self.lent(instance);
            let room = self.derived.rooms.entry(node).or_default();
            room.take(spec, &instance.ports);
            room.lend(lent);
        }
        if instance.promise.is_some() {
            self.derived.promised.insert(id);
        }
        if instance.node.is_none() {
            self.derived.waiting.insert(id);
        }
        if instance.wish != InstanceWish::Run {
            self.derived.leaving.insert(id);
        }
        if instance.failed.is_some() {
            self.derived.failed.insert(id);
        }
        if let Some(at) = instance.moved {
            self.derived.moved.insert((at, id));
        }
        self.derived.profiles.insert(id, Profile::of(spec));
    }

    /// Forgets an instance that was just removed.
    pub(super) fn underive(&mut self, id: InstanceId, instance: &InstanceImage) {
        self.derived.waiting.remove(&id);
        self.derived.leaving.remove(&id);
        self.derived.failed.remove(&id);
        self.derived.promised.remove(&id);
        self.derived.profiles.remove(&id);
        if let Some(at) = instance.moved {
            self.derived.moved.remove(&(at, id));
        }
        if let Some(node) = instance.node {
            self.sum_up_room(node);
        }
    }

    /// An instance found a node.
    pub(super) fn derive_start(&mut self, id: InstanceId, node: NodeId) {
        self.derived.waiting.remove(&id);
        let instance = &self.instances[&id];
        let workload = &self.workloads[&instance.workload];
        let spec = &workload.revisions[&instance.revision];
        let lent = self.lent(instance);
        let room = self.derived.rooms.entry(node).or_default();
        room.take(spec, &instance.ports);
        room.lend(lent);
    }

    /// The memory of an instance was decided.
    pub(super) fn derive_promise(&mut self, id: InstanceId) {
        self.derived.promised.insert(id);
        if let Some(profile) = self.derived.profiles.get_mut(&id) {
            profile.missed = false;
        }
    }

    /// Returns the instances whose memory was decided by their use, by ascending id.
    pub(crate) fn with_promises(&self) -> impl ExactSizeIterator<Item = &InstanceImage> {
        self.derived.promised.iter().map(|id| &self.instances[id])
    }

    /// An instance failed for good.
    pub(super) fn derive_failed(&mut self, id: InstanceId) {
        self.derived.failed.insert(id);
    }

    /// An instance runs after all.
    pub(super) fn derive_revived(&mut self, id: InstanceId) {
        self.derived.failed.remove(&id);
    }

    /// Returns the instances that failed for good though they are to run, by ascending id.
    pub(crate) fn failed(&self) -> impl Iterator<Item = &InstanceImage> {
        self.derived.failed.iter().map(|id| &self.instances[id])
    }

    /// An instance is not wanted any more.
    pub(super) fn derive_leaving(&mut self, id: InstanceId) {
        self.derived.leaving.insert(id);
    }

    /// An instance counts as moved at another moment.
    pub(super) fn derive_moved(&mut self, id: InstanceId, before: Option<At>, now: At) {
        if let Some(before) = before {
            self.derived.moved.remove(&(before, id));
        }
        self.derived.moved.insert((now, id));
    }

    /// A workload got or lost revisions, or is gone.
    pub(super) fn derive_revisions(&mut self, id: WorkloadId) {
        let workload = self.workload(id);
        let is = |wanted: &dyn Fn(&WorkloadImage) -> bool| workload.is_some_and(wanted);
        let old = is(&|w| self.has_old_copies(w));
        let (rolling, everywhere, timed) = (is(&is_rolling), is(&is_everywhere), is(&is_timed));
        let set = |set: &mut BTreeSet<WorkloadId>, is: bool| {
            let _changed = if is { set.insert(id) } else { set.remove(&id) };
        };
        set(&mut self.derived.renewing, old);
        set(&mut self.derived.rolling, rolling);
        set(&mut self.derived.everywhere, everywhere);
        set(&mut self.derived.timed, timed);
        let workload = self.workload(id);
        let named = workload.map(fixed_of).unwrap_or_default();
        let before = self.derived.fixed_of.remove(&id).unwrap_or_default();
        for port in before.difference(&named) {
            if let Some(by) = self.derived.fixed.get_mut(port) {
                by.remove(&id);
                if by.is_empty() {
                    self.derived.fixed.remove(port);
                }
            }
        }
        for port in &named {
            self.derived.fixed.entry(*port).or_default().insert(id);
        }
        if !named.is_empty() {
            self.derived.fixed_of.insert(id, named);
        }
    }

    /// Says whether any workload names a port by its number: it is never chosen for another.
    pub(super) fn is_fixed(&self, port: u16) -> bool {
        self.derived.fixed.contains_key(&port)
    }

    /// Returns the ports of a range that workloads name by their numbers.
    pub(super) fn fixed_ports_within(&self, first: u16, last: u16) -> impl Iterator<Item = u16> {
        self.derived.fixed.range(first..=last).map(|(port, _)| *port)
    }

    fn has_old_copies(&self, workload: &WorkloadImage) -> bool {
        let old = |id: InstanceId| self.instances[&id].revision != workload.revision;
        self.of_workload(workload.id).any(old)
    }

    /// Returns the workloads that have instances of another revision than the present.
    pub(crate) fn renewing(&self) -> impl Iterator<Item = &WorkloadImage> {
        self.derived.renewing.iter().filter_map(|id| self.workload(*id))
    }

    pub(super) fn rolling_ids(&self) -> impl Iterator<Item = WorkloadId> + '_ {
        self.derived.rolling.iter().copied()
    }

    pub(super) fn everywhere(&self) -> impl Iterator<Item = WorkloadId> + '_ {
        self.derived.everywhere.iter().copied()
    }

    pub(super) fn timed_ids(&self) -> impl Iterator<Item = WorkloadId> + '_ {
        self.derived.timed.iter().copied()
    }

    /// Sums up a node anew: what leaves cannot be subtracted where sums were held at the largest.
    pub(super) fn sum_up_room(&mut self, node: NodeId) {
        let room = Room::taken(self, node, |_| true);
        self.derived.rooms.insert(node, Box::new(room));
    }

    /// Returns the instances that wait for a node to start on.
    pub(super) fn waiting_for(&self, node: NodeId) -> Vec<InstanceId> {
        self.waiting().filter(|i| i.home == Some(node)).map(|i| i.status.instance).collect()
    }

    /// A node is gone: nothing is taken there.
    pub(super) fn derive_forgotten(&mut self, node: NodeId) {
        self.derived.rooms.remove(&node);
    }

    /// Returns the measured profile of an instance.
    pub(crate) fn profile(&self, id: InstanceId) -> Option<&Profile> {
        self.derived.profiles.get(&id)
    }

    /// Returns the measured profile of an instance, to be added to.
    pub(super) fn profile_mut(&mut self, id: InstanceId) -> Option<&mut Profile> {
        self.derived.profiles.get_mut(&id)
    }

    /// Returns how an instance's day goes, where a season has a say.
    pub(crate) fn day_shape(&self, id: InstanceId) -> Option<DayShape> {
        self.profile(id)?.track.as_ref()?.day_shape()
    }

    /// Returns every instance with its profile by ascending id.
    pub(crate) fn profiled(&self) -> impl Iterator<Item = (&InstanceImage, &Profile)> {
        self.instances.values().zip(self.derived.profiles.values())
    }

    /// Returns the instances without a node by ascending id.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &InstanceImage> {
        self.derived.waiting.iter().map(|id| &self.instances[id])
    }

    /// Returns the instances that are not wanted any more, by ascending id.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = &InstanceImage> {
        self.derived.leaving.iter().map(|id| &self.instances[id])
    }

    /// Returns the copies that are to replace others, by ascending id.
    pub(crate) fn replacing(&self) -> impl Iterator<Item = &InstanceImage> {
        let ids: BTreeSet<InstanceId> = self.replacements.values().copied().collect();
        ids.into_iter().filter_map(|id| self.instances.get(&id))
    }

    /// Says whether any instance is being replaced or stopped. What stops on a lost node stops when
    /// the node returns, which may be never.
    pub(crate) fn is_under_way(&self) -> bool {
        let leaves = |id: &InstanceId| !self.is_on_lost(&self.instances[id]);
        !self.replacements.is_empty() || self.derived.leaving.iter().any(leaves)
    }

    /// Returns when an instance that is still there was shifted last.
    pub(crate) fn moved_last(&self) -> Option<At> {
        self.derived.moved.last().map(|(at, _)| *at)
    }

    /// Returns when relief last opened a node, in this reign.
    pub(crate) fn opened_last(&self) -> Option<At> {
        self.opened
    }

    /// Returns every node by ascending id, with what is known of it in this reign and what is taken.
    pub(crate) fn surveyed(&self) -> impl Iterator<Item = (&NodeImage, Option<&Live>, &Room)> {
        let mut live = self.live.iter().peekable();
        let mut rooms = self.derived.rooms.iter().peekable();
        self.nodes().map(move |node| {
            let room = beside(&mut rooms, node.id).unwrap_or(&self.derived.empty);
            (node, beside(&mut live, node.id), room)
        })
    }

    /// Returns what living instances take on a node.
    pub(crate) fn room(&self, node: NodeId) -> &Room {
        self.derived.rooms.get(&node).map_or(&self.derived.empty, Box::as_ref)
    }

    /// Returns what is kept beside the instances but does not follow from them, in words.
    pub(crate) fn drift(&self) -> Option<&'static str> {
        let of = |wanted: &dyn Fn(&InstanceImage) -> bool| -> BTreeSet<InstanceId> {
            let ids = self.instances.values().filter(|i| wanted(i));
            ids.map(|i| i.status.instance).collect()
        };
        let moved = |i: &InstanceImage| i.moved.map(|at| (at, i.status.instance));
        if self.derived.waiting != of(&|i| i.node.is_none()) {
            return Some("who waits");
        }
        if self.derived.leaving != of(&|i| i.wish != InstanceWish::Run) {
            return Some("who leaves");
        }
        if self.derived.failed != of(&|i| i.failed.is_some()) {
            return Some("who failed");
        }
        if self.derived.promised != of(&|i| i.promise.is_some()) {
            return Some("who is promised memory");
        }
        if self.derived.moved != self.instances.values().filter_map(moved).collect() {
            return Some("who moved");
        }
        if !self.derived.profiles.keys().eq(self.instances.keys()) {
            return Some("who is measured");
        }
        let differs = |set: &BTreeSet<WorkloadId>, wanted: &dyn Fn(&WorkloadImage) -> bool| {
            let all = self.workloads().filter(|w| wanted(w));
            !set.iter().copied().eq(all.map(|w| w.id))
        };
        if differs(&self.derived.renewing, &|w| self.has_old_copies(w)) {
            return Some("which workloads have old copies");
        }
        if differs(&self.derived.rolling, &is_rolling) {
            return Some("which workloads are rolled out");
        }
        if differs(&self.derived.everywhere, &is_everywhere) {
            return Some("which workloads are on every node");
        }
        if differs(&self.derived.timed, &is_timed) {
            return Some("which workloads have a calendar");
        }
        let named = self.workloads().map(|w| (w.id, fixed_of(w)));
        let named: BTreeMap<_, _> = named.filter(|(_, ports)| !ports.is_empty()).collect();
        if self.derived.fixed_of != named {
            return Some("which ports workloads name");
        }
        let pairs = named.iter().flat_map(|(id, ports)| ports.iter().map(|port| (*port, *id)));
        let fixed = self.derived.fixed.iter();
        let fixed = fixed.flat_map(|(port, by)| by.iter().map(|id| (*port, *id)));
        if fixed.collect::<BTreeSet<_>>() != pairs.collect() {
            return Some("who names a port");
        }
        if self.homes_drift() {
            return Some("where copies have their homes");
        }
        let differs = |node: &NodeId| *self.room(*node) != Room::taken(self, *node, |_| true);
        self.nodes.keys().any(differs).then_some("what is taken on a node")
    }
}

/// Returns what belongs to a node; what belongs to nodes before it is passed over.
fn beside<'a, T>(rest: &mut Peekable<Iter<'a, NodeId, Box<T>>>, node: NodeId) -> Option<&'a T> {
    while rest.next_if(|(id, _)| **id < node).is_some() {}
    rest.next_if(|(id, _)| **id == node).map(|(_, value)| value.as_ref())
}

fn is_rolling(workload: &WorkloadImage) -> bool {
    workload.rollout.is_some()
}

fn is_everywhere(workload: &WorkloadImage) -> bool {
    workload.revisions[&workload.revision].kind == Kind::PerNode
}

fn is_timed(workload: &WorkloadImage) -> bool {
    let spec = &workload.revisions[&workload.revision];
    spec.schedule.is_some() || spec.window.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are a million instances, and a gibibyte for all that is known of a cloud.
    #[test]
    fn what_is_kept_of_an_instance_is_small() {
        assert!(size_of::<InstanceImage>() <= 192, "{}", size_of::<InstanceImage>());
        assert!(size_of::<Profile>() <= 40, "{}", size_of::<Profile>());
    }
}
