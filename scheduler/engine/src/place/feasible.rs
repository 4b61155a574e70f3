//! Hard fit: what must hold whatever is measured. Durable state alone decides it, so a plan that is
//! checked again in a replay gets the same answer.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{
    Capacity, Class, InstanceId, Mebibytes, Millicores, Name, NodeId, WorkloadSpec,
};

use crate::command::Refusal;
use crate::image::{InstanceImage, NodeImage, NodeWish};
use crate::state::State;
use crate::state::VolumeNeed;

/// What is taken on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) memory: Mebibytes,
    /// Memory that is asked for and not counted.
    pub(crate) lent: Mebibytes,
    pub(crate) disk: Mebibytes,
    pub(crate) pids: u64,
    pub(crate) critical: Millicores,
    ports: BTreeSet<u16>,
    /// Ports that are still to be chosen for what a plan in the making put here.
    unchosen: usize,
    counted: BTreeMap<String, u64>,
    /// Whether anything there must not share the node with something.
    apart: bool,
}

impl Room {
    /// Sums up the instances of a node that are not passed over.
    pub(crate) fn taken(
        state: &State,
        node: NodeId,
        counts: impl Fn(&InstanceImage) -> bool,
    ) -> Self {
        let mut room = Self::default();
        for id in state.on_node(node) {
            let instance = state.instance(id).expect("the index names instances that exist");
            if !instance.status.phase.is_final() && counts(instance) {
                room.take(state.spec(instance), &instance.ports);
                room.lend(state.lent(instance));
            }
        }
        let volumes = state.homes_on(node).flat_map(|home| home.volumes.values());
        room.disk = room.disk.saturating_add(volumes.copied().sum());
        room
    }

    /// Says whether a port is occupied.
    pub(crate) fn occupies(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// Returns the occupied ports of a range.
    pub(crate) fn ports_within(&self, first: u16, last: u16) -> impl Iterator<Item = u16> {
        self.ports.range(first..=last).copied()
    }

    /// Returns how many ports are still to be chosen.
    pub(crate) const fn unchosen(&self) -> usize {
        self.unchosen
    }

    /// Takes the room of one instance, for which these ports were chosen.
    pub(crate) fn take(&mut self, spec: &WorkloadSpec, chosen: &BTreeMap<Name, u16>) {
        let resources = &spec.resources;
        self.memory = self.memory.saturating_add(resources.memory);
        self.disk = self.disk.saturating_add(resources.disk);
        self.pids = self.pids.saturating_add(resources.pids);
        if spec.class == Class::Critical {
            self.critical = self.critical.saturating_add(resources.cpu);
        }
        self.apart |= !spec.constraints.anti_affinity.is_empty();
        self.ports.extend(spec.ports.iter().filter_map(|p| p.number));
        self.ports.extend(chosen.values());
        let open = spec.ports.iter().filter(|p| p.number.is_none()).count();
        self.unchosen = self.unchosen.saturating_add(open.saturating_sub(chosen.len()));
        for (name, count) in &spec.counted {
            let taken = self.counted.entry(name.to_string()).or_default();
            *taken = taken.saturating_add(*count);
        }
    }

    /// Counts so much less memory than was asked for.
    pub(crate) fn lend(&mut self, memory: Mebibytes) {
        self.memory = self.memory.saturating_sub(memory);
        self.lent = self.lent.saturating_add(memory);
    }

    /// Returns how much of a named counter is taken.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.counted.get(name).copied().unwrap_or_default()
    }

    /// Says whether one more instance fits.
    pub(crate) fn fits(&self, spec: &WorkloadSpec, capacity: &Capacity) -> Result<(), Refusal> {
        self.fits_counting((spec, spec.resources.memory), capacity)
    }

    /// Says the same of one that counts so much memory.
    pub(crate) fn fits_counting(
        &self,
        (spec, memory): (&WorkloadSpec, Mebibytes),
        capacity: &Capacity,
    ) -> Result<(), Refusal> {
        let wanted = &spec.resources;
        let left = capacity.memory.saturating_sub(self.memory);
        if memory > left {
            return Err(Refusal::NoMemory { wanted: memory, left });
        }
        let left = capacity.disk.saturating_sub(self.disk);
        if wanted.disk > left {
            return Err(Refusal::NoDisk { wanted: wanted.disk, left });
        }
        let left = capacity.pids.saturating_sub(self.pids);
        if wanted.pids > left {
            return Err(Refusal::NoPids { wanted: wanted.pids, left });
        }
        let left = capacity.cpu.saturating_sub(self.critical);
        if spec.class == Class::Critical && wanted.cpu > left {
            return Err(Refusal::NoCpu { wanted: wanted.cpu, left });
        }
        let mut fixed = spec.ports.iter().filter_map(|p| p.number);
        if let Some(port) = fixed.find(|port| self.ports.contains(port)) {
            return Err(Refusal::PortTaken(port));
        }
        for (name, wanted) in &spec.counted {
            let taken = self.counted.get(name.as_str()).copied().unwrap_or_default();
            let all = capacity.counted.get(name).copied().unwrap_or_default();
            let left = all.saturating_sub(taken);
            if *wanted > left {
                return Err(Refusal::NoCounter { name: name.to_string(), wanted: *wanted, left });
            }
        }
        Ok(())
    }
}

/// Says whether a specification may run on a node beside what is there, counting so much memory. The copy
/// it replaces keeps its room while both live, but does not count against spread and anti-affinity.
pub(crate) fn hard(
    state: &State,
    (spec, memory): (&WorkloadSpec, Mebibytes),
    node: NodeId,
    replaces: Option<InstanceId>,
) -> Result<(), Refusal> {
    let image = state.node(node).ok_or(Refusal::UnknownNode(node))?;
    open(image)?;
    state.room(node).fits_counting((spec, memory), &image.facts.capacity)?;
    ports(state, spec, (node, state.room(node)))?;
    constraints(state, (spec, replaces), image, &[])?;
    match &spec.constraints.spread {
        Some(label) => spread(state, (spec, replaces, label), image),
        None => Ok(()),
    }
}

/// Checks that enough ports are free to be chosen.
pub(crate) fn ports(
    state: &State,
    spec: &WorkloadSpec,
    (node, room): (NodeId, &Room),
) -> Result<(), Refusal> {
    let wanted = spec.ports.iter().filter(|p| p.number.is_none()).count();
    if wanted == 0 {
        return Ok(());
    }
    let left = state.free_ports(node, room);
    if wanted > left { Err(Refusal::NoPort { wanted, left }) } else { Ok(()) }
}

/// Checks that volumes are there or may be made there.
pub(crate) fn volumes(
    need: Option<VolumeNeed>,
    spec: &WorkloadSpec,
    (node, room): (&NodeImage, &Room),
) -> Result<(), Refusal> {
    let Some(need) = need else { return Ok(()) };
    if let Some(home) = need.home.filter(|home| *home != node.id) {
        return Err(Refusal::VolumesElsewhere(home));
    }
    let wanted = spec.resources.disk.saturating_add(need.space);
    let left = node.facts.capacity.disk.saturating_sub(room.disk);
    if wanted > left { Err(Refusal::NoDisk { wanted, left }) } else { Ok(()) }
}

/// Checks that a node may be given something new.
pub(crate) fn open(node: &NodeImage) -> Result<(), Refusal> {
    if node.loss.is_some() {
        return Err(Refusal::NodeLost);
    }
    match node.wish {
        NodeWish::Serve => Ok(()),
        NodeWish::Cordon | NodeWish::Drain | NodeWish::DrainByForce => {
            Err(Refusal::NotOpen(node.wish))
        }
    }
}

/// Checks labels and anti-affinity, also against guests that the plan in the making put there.
pub(crate) fn constraints(
    state: &State,
    (spec, replaces): (&WorkloadSpec, Option<InstanceId>),
    node: &NodeImage,
    guests: &[&WorkloadSpec],
) -> Result<(), Refusal> {
    for (name, value) in &spec.constraints.labels {
        if node.facts.labels.get(name) != Some(value) {
            return Err(Refusal::NoLabel { name: name.clone(), value: value.clone() });
        }
    }
    // Most instances share a node with anything; then nobody need be asked.
    let asks = state.room(node.id).apart || !spec.constraints.anti_affinity.is_empty();
    let there = asks.then(|| state.on_node(node.id)).into_iter().flatten();
    for id in there.filter(|id| Some(*id) != replaces) {
        let instance = state.instance(id).expect("the index names instances that exist");
        let other = state.spec(instance);
        if !instance.status.phase.is_final() && must_be_apart(spec, other) {
            return Err(Refusal::AntiAffinity(other.key.clone()));
        }
    }
    match guests.iter().find(|guest| must_be_apart(spec, guest)) {
        Some(guest) => Err(Refusal::AntiAffinity(guest.key.clone())),
        None => Ok(()),
    }
}

fn must_be_apart(one: &WorkloadSpec, other: &WorkloadSpec) -> bool {
    one.constraints.anti_affinity.contains(&other.key)
        || other.constraints.anti_affinity.contains(&one.key)
}

/// Checks that the values of a label stay even with one more copy on a node.
pub(crate) fn spread(
    state: &State,
    (spec, replaces, label): (&WorkloadSpec, Option<InstanceId>, &str),
    node: &NodeImage,
) -> Result<(), Refusal> {
    let values = values(state.nodes(), label);
    let copies = copies(state, (spec, replaces, label), &values, std::iter::empty());
    evenly(label, &copies, node)
}

/// Returns the values of a label that open nodes have. A value that only closed nodes have cannot be
/// evened out, and holds nobody up.
pub(crate) fn values<'a>(
    nodes: impl Iterator<Item = &'a NodeImage>,
    label: &str,
) -> BTreeSet<&'a str> {
    let open = nodes.filter(|n| n.is_open());
    open.filter_map(|n| n.facts.labels.get(label)).map(String::as_str).collect()
}

/// Counts the copies of a workload by these values of a label, with the guests that a plan in the making
/// put on nodes.
pub(crate) fn copies<'a>(
    state: &State,
    (spec, replaces, label): (&WorkloadSpec, Option<InstanceId>, &str),
    values: &BTreeSet<&'a str>,
    guests: impl Iterator<Item = (&'a NodeImage, &'a WorkloadSpec)>,
) -> BTreeMap<&'a str, u64> {
    let mut counts: BTreeMap<&str, u64> = values.iter().map(|value| (*value, 0)).collect();
    let mut count = |node: &NodeImage| {
        let value = node.facts.labels.get(label);
        if let Some(count) = value.and_then(|value| counts.get_mut(value.as_str())) {
            *count = count.saturating_add(1);
        }
    };
    guests.filter(|(_, guest)| guest.key == spec.key).for_each(|(node, _)| count(node));
    let workload = state.workload_keyed(&spec.key);
    for id in workload.into_iter().flat_map(|w| state.of_workload(w.id)) {
        let instance = state.instance(id).expect("the index names instances that exist");
        let gone = instance.status.phase.is_final() || state.is_left_behind(instance);
        if Some(id) != replaces && !gone {
            instance.node.and_then(|n| state.node(n)).into_iter().for_each(&mut count);
        }
    }
    counts
}

/// Checks that a node has one of the values of a label with the fewest copies.
pub(crate) fn evenly(
    label: &str,
    copies: &BTreeMap<&str, u64>,
    node: &NodeImage,
) -> Result<(), Refusal> {
    let Some(value) = node.facts.labels.get(label) else {
        return Err(Refusal::NoLabel { name: label.to_owned(), value: "any".to_owned() });
    };
    let least = copies.values().min().copied().unwrap_or_default();
    let here = copies.get(value.as_str()).copied().unwrap_or_default();
    if here > least { Err(Refusal::Spread(label.to_owned())) } else { Ok(()) }
}
