//! A second opinion: what must hold of every state and every plan, written apart from placement.
//!
//! It sums everything up again from the plain instances and trusts no index and no running total.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tengyun_model::{
    Capacity, Class, CopyKey, InstanceId, Kind, Mebibytes, NodeId, OnLost, WorkloadSpec,
};

use crate::image::{HomeFate, InstanceImage, InstanceWish, NodeWish, Proof};
use crate::plan::{Move, Plan, PromiseReason, ShiftReason, StopReason};
use crate::state::State;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// More of something is promised on a node than it has.
    Over {
        /// The node.
        node: NodeId,
        /// Of what.
        what: String,
        /// How much is promised.
        promised: u64,
        /// How much there is.
        capacity: u64,
    },
    /// Two instances on a node have the same port.
    PortTwice(NodeId, u16),
    /// A copy of a workload runs twice without one replacing the other.
    CopyTwice(InstanceId, InstanceId),
    /// A move names what is not there or not so.
    Stale(InstanceId),
    /// Two moves of a plan are about one instance.
    MovedTwice(InstanceId),
    /// A shift that goes nowhere.
    Pointless(InstanceId),
    /// What is kept beside the instances does not follow from them; what of it.
    Drifted(&'static str),
    /// A move brings something to a node that takes nothing new.
    Closed(InstanceId, NodeId),
    /// A copy that belongs to a node is, or is brought, elsewhere.
    Astray(InstanceId),
    /// A copy is given up for lost though its node is not lost or its workload waits.
    NotLost(InstanceId),
    /// A copy is brought away from its volumes.
    Homeless(InstanceId, NodeId),
    /// Two instances hold the same volumes.
    VolumesTwice(InstanceId, InstanceId),
    /// An instance is brought to a node that lacks a label it asks for, such as its zone.
    Mislabelled(InstanceId, NodeId),
    /// Some of a gang are started while this one goes on waiting.
    LeftBehind(InstanceId),
    /// An instance is promised memory that it must not be.
    Promised(InstanceId),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over { node, what, promised, capacity } => {
                write!(f, "node {node} promises {promised} of {what} and has {capacity}")
            }
            Self::PortTwice(node, port) => write!(f, "node {node} has port {port} twice"),
            Self::CopyTwice(one, other) => {
                write!(f, "instances {one} and {other} are the same copy")
            }
            Self::Stale(id) => write!(f, "a move of instance {id} does not fit the state"),
            Self::MovedTwice(id) => write!(f, "instance {id} is moved twice"),
            Self::Pointless(id) => write!(f, "instance {id} is shifted to where it is"),
            Self::Drifted(what) => write!(f, "{what} is not what the instances say"),
            Self::Closed(id, node) => {
                write!(f, "instance {id} is brought to node {node}, which takes nothing new")
            }
            Self::Astray(id) => write!(f, "instance {id} is not on the node that it belongs to"),
            Self::NotLost(id) => write!(f, "instance {id} is given up though it is not lost"),
            Self::Homeless(id, node) => {
                write!(f, "instance {id} is brought to node {node}, and its volumes are elsewhere")
            }
            Self::VolumesTwice(one, other) => {
                write!(f, "instances {one} and {other} hold the same volumes")
            }
            Self::Mislabelled(id, node) => {
                write!(
                    f,
                    "instance {id} is brought to node {node}, which lacks a label it asks for"
                )
            }
            Self::Promised(id) => {
                write!(f, "instance {id} is promised too much or too little memory")
            }
            Self::LeftBehind(id) => {
                write!(f, "instance {id} goes on waiting while others of its gang are started")
            }
        }
    }
}

/// Where each living instance is, as a flat list, with the memory that it counts and the ports chosen for it.
type Placed<'a> = Vec<(NodeId, &'a WorkloadSpec, Mebibytes, Vec<u16>)>;

/// Says what of a plan must not be carried out on a state. Nodes that it brings nothing to are not
/// looked at: what is wrong with them is not the plan's doing, and no plan would mend it.
pub fn check(state: &State, plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let filled: BTreeSet<NodeId> = plan.moves.iter().filter_map(destination).collect();
    let mut placed = placed(state, |node| filled.contains(&node));
    for step in &plan.moves {
        let id = match *step {
            Move::Start { instance, .. }
            | Move::Shift { instance, .. }
            | Move::Stop { instance, .. }
            | Move::Promise { instance, .. } => instance,
        };
        if !seen.insert(id) {
            found.push(Violation::MovedTwice(id));
        }
        let instance = state.instance(id).filter(|i| i.wish == InstanceWish::Run);
        let Some(instance) = instance else {
            found.push(Violation::Stale(id));
            continue;
        };
        match *step {
            Move::Start { node, .. } => {
                if instance.node.is_some() {
                    found.push(Violation::Stale(id));
                }
                found.extend(closed(state, id, node));
                found.extend(homeless(state, instance, node));
                found.extend(astray(state, instance, node));
                let spec = spec(state, instance, false);
                found.extend(mislabelled(state, (id, spec), node));
                placed.push((node, spec, memory(state, instance), Vec::new()));
            }
            Move::Shift { from, to, reason, .. } => {
                if instance.node != Some(from) {
                    found.push(Violation::Stale(id));
                }
                if from == to && reason != ShiftReason::Revision {
                    found.push(Violation::Pointless(id));
                }
                found.extend(closed(state, id, to));
                found.extend(astray(state, instance, to));
                let newest = spec(state, instance, true);
                if !newest.volumes.is_empty() {
                    found.push(Violation::Homeless(id, to));
                }
                found.extend(mislabelled(state, (id, newest), to));
                let same = instance.revision == newest_revision(state, instance);
                let asked = newest.resources.memory;
                let counted = if same { memory(state, instance) } else { asked };
                placed.push((to, newest, counted, Vec::new()));
            }
            // What stops keeps its room until it is gone.
            Move::Stop { reason: StopReason::Lost, .. } => {
                found.extend(not_lost(state, instance));
            }
            Move::Stop { .. } => {}
            Move::Promise { memory, reason, .. } => {
                found.extend(mispromised(state, instance, (memory, reason)));
            }
        }
    }
    found.extend(capacity(state, &placed));
    found.extend(left_behind(state, plan));
    found
}

/// Of a gang all that wait are started, or none. What comes back where it was is no part of it.
fn left_behind(state: &State, plan: &Plan) -> Vec<Violation> {
    let started = |step: &Move| match *step {
        Move::Start { instance, .. } => Some(instance),
        Move::Shift { .. } | Move::Stop { .. } | Move::Promise { .. } => None,
    };
    let started: BTreeSet<InstanceId> = plan.moves.iter().filter_map(started).collect();
    let free = |i: &InstanceImage| spec(state, i, false).gang && state.bound_to(i).is_none();
    let of = |id: &InstanceId| state.instance(*id).filter(|i| free(i)).map(|i| i.workload);
    let begun: BTreeSet<_> = started.iter().filter_map(of).collect();
    let waits = |i: &&InstanceImage| {
        begun.contains(&i.workload) && i.node.is_none() && i.wish == InstanceWish::Run && free(i)
    };
    if begun.is_empty() {
        return Vec::new();
    }
    let left = state
        .instances()
        .filter(waits)
        .map(|i| i.status.instance)
        .filter(|id| !started.contains(id));
    left.map(Violation::LeftBehind).collect()
}

/// Nothing new comes to a node that is cordoned, drained or lost.
fn closed(state: &State, id: InstanceId, node: NodeId) -> Option<Violation> {
    let open = state.node(node).is_some_and(|n| n.wish == NodeWish::Serve && n.loss.is_none());
    (!open).then_some(Violation::Closed(id, node))
}

/// A node has every label that what comes to it asks for: zones are never mixed.
fn mislabelled(
    state: &State,
    (id, spec): (InstanceId, &WorkloadSpec),
    node: NodeId,
) -> Option<Violation> {
    let labels = &state.node(node)?.facts.labels;
    let has = |(name, value): (&String, &String)| labels.get(name) == Some(value);
    let all = spec.constraints.labels.iter().all(has);
    (!all).then_some(Violation::Mislabelled(id, node))
}

/// A copy with volumes starts where they are.
fn homeless(state: &State, instance: &InstanceImage, node: NodeId) -> Option<Violation> {
    let spec = spec(state, instance, false);
    let own = |copy: &CopyKey| copy.workload == spec.key && copy.ordinal == instance.ordinal;
    let mut homes = state.homes().filter(|h| own(&h.copy) && h.fate == HomeFate::Kept);
    let away = !spec.volumes.is_empty() && homes.any(|home| home.node != node);
    away.then_some(Violation::Homeless(instance.status.instance, node))
}

/// One copy of a per-node workload belongs to each node, by its ordinal.
fn astray(state: &State, instance: &InstanceImage, node: NodeId) -> Option<Violation> {
    let per_node = spec(state, instance, false).kind == Kind::PerNode;
    let strays = per_node && instance.ordinal != node.get();
    strays.then_some(Violation::Astray(instance.status.instance))
}

/// Only one of several copies that may run twice, or what surely does not run any more, is given up for
/// lost.
fn not_lost(state: &State, instance: &InstanceImage) -> Option<Violation> {
    let loss = instance.node.and_then(|n| state.node(n)).and_then(|n| n.loss);
    let spec = spec(state, instance, false);
    let twice = spec.on_lost == OnLost::Restart && spec.instances > 1;
    let sure = loss.is_some_and(|loss| twice || loss.proof == Proof::Death);
    (!sure).then_some(Violation::NotLost(instance.status.instance))
}

/// Says what of a state must not be.
pub fn check_state(state: &State) -> Vec<Violation> {
    let mut found = capacity(state, &placed(state, |_| true));
    found.retain(|violation| !is_raised(state, violation));
    found.extend(overpromised(state));
    found.extend(state.drift().map(Violation::Drifted));
    let mut holders = BTreeMap::new();
    for instance in state.instances().filter(|i| !i.status.phase.is_final()) {
        let (Some(node), false) = (instance.node, spec(state, instance, false).volumes.is_empty())
        else {
            continue;
        };
        let copy = (node, instance.workload, instance.ordinal);
        if let Some(other) = holders.insert(copy, instance.status.instance) {
            found.push(Violation::VolumesTwice(other, instance.status.instance));
        }
    }
    let placed = state.instances().filter_map(|i| Some((i, i.node?)));
    found.extend(placed.filter_map(|(i, node)| astray(state, i, node)));
    let mut copies = BTreeMap::new();
    for instance in state.instances().filter(|i| i.wish == InstanceWish::Run) {
        let copy = (instance.workload, instance.ordinal, instance.replaces.is_some());
        if let Some(other) = copies.insert(copy, instance.status.instance) {
            found.push(Violation::CopyTwice(other, instance.status.instance));
        }
    }
    found
}

/// Says whether a node promises too much memory because what was promised by use was raised: then it has to
/// be relieved, and nobody did wrong. One whose instances all count their requests never does.
fn is_raised(state: &State, violation: &Violation) -> bool {
    let Violation::Over { node, what, .. } = violation else { return false };
    let here = || state.instances().filter(|i| i.node == Some(*node));
    what == "memory" && here().any(|i| i.promise.is_some() && !i.status.phase.is_final())
}

/// Nothing is promised more memory than it asks for, and critical never less.
fn overpromised(state: &State) -> impl Iterator<Item = Violation> + '_ {
    let wrong = |i: &&InstanceImage| {
        let (asks, promise) =
            (spec(state, i, false), i.promise.as_ref().map(|promise| promise.memory));
        let asked = asks.resources.memory;
        promise.is_some_and(|p| {
            p > asked || p.is_zero() || (asks.class == Class::Critical && p != asked)
        })
    };
    state.instances().filter(wrong).map(|i| Violation::Promised(i.status.instance))
}

/// Returns the node that a move brings an instance to.
const fn destination(step: &Move) -> Option<NodeId> {
    match *step {
        Move::Start { node, .. } | Move::Shift { to: node, .. } => Some(node),
        Move::Stop { .. } | Move::Promise { .. } => None,
    }
}

fn placed(state: &State, counts: impl Fn(NodeId) -> bool) -> Placed<'_> {
    let place = |i: &InstanceImage| i.node.filter(|n| !i.status.phase.is_final() && counts(*n));
    let there = state.instances().filter_map(|i| Some((place(i)?, i)));
    let ports = |i: &InstanceImage| i.ports.values().copied().collect();
    there.map(|(node, i)| (node, spec(state, i, false), memory(state, i), ports(i))).collect()
}

fn spec<'a>(state: &'a State, instance: &InstanceImage, newest: bool) -> &'a WorkloadSpec {
    let workload = state.workload(instance.workload).expect("its workload outlives it");
    let revision = if newest { workload.revision } else { instance.revision };
    &workload.revisions[&revision]
}

fn newest_revision(state: &State, instance: &InstanceImage) -> tengyun_model::Revision {
    state.workload(instance.workload).expect("its workload outlives it").revision
}

/// What an instance counts of memory: what it was promised, else what it asks for.
fn memory(state: &State, instance: &InstanceImage) -> Mebibytes {
    let asked = spec(state, instance, false).resources.memory;
    instance.promise.as_ref().map_or(asked, |promise| promise.memory.min(asked))
}

/// Memory is promised to what runs, up to its request; less than before where the policy lets its class, and
/// all of the request to what used more than it was promised.
fn mispromised(
    state: &State,
    instance: &InstanceImage,
    (promise, reason): (Mebibytes, PromiseReason),
) -> Option<Violation> {
    let (asks, before) = (spec(state, instance, false), memory(state, instance));
    let asked = asks.resources.memory;
    let lends = state.policy().value("memory_by_use") == Some(1) && asks.class != Class::Critical;
    let runs = instance.node.is_some() && !instance.status.phase.is_final();
    let fits = match reason {
        PromiseReason::Used => promise <= asked && (promise > before || lends),
        PromiseReason::Missed | PromiseReason::Withdrawn => promise == asked,
    };
    let changes = promise != before && !promise.is_zero();
    (!(runs && fits && changes)).then_some(Violation::Promised(instance.status.instance))
}

/// What is promised on one node.
#[derive(Default)]
struct Promised<'a> {
    counters: BTreeMap<&'a str, u64>,
    critical: u64,
    disk: u64,
    memory: u64,
    pids: u64,
}

impl<'a> Promised<'a> {
    fn add(&mut self, spec: &'a WorkloadSpec, memory: Mebibytes) {
        let add = |sum: &mut u64, amount: u64| *sum = sum.saturating_add(amount);
        add(&mut self.memory, memory.get());
        add(&mut self.disk, spec.resources.disk.get());
        add(&mut self.pids, spec.resources.pids);
        if spec.class == Class::Critical {
            add(&mut self.critical, spec.resources.cpu.get());
        }
        for (name, count) in &spec.counted {
            add(self.counters.entry(name.as_str()).or_default(), *count);
        }
    }

    /// Says what is promised beyond a node's capacity.
    fn over(&self, state: &State, node: NodeId, found: &mut Vec<Violation>) {
        let none = Capacity::default();
        let capacity = state.node(node).map_or(&none, |n| &n.facts.capacity);
        let mut compare = |what: &str, promised: u64, capacity: u64| {
            if promised > capacity {
                let what = what.to_owned();
                found.push(Violation::Over { node, what, promised, capacity });
            }
        };
        for (name, promised) in &self.counters {
            let counted = capacity.counted.iter().find(|(n, _)| n.as_str() == *name);
            let all = counted.map_or(0, |(_, count)| *count);
            compare(&format!("counter {name}"), *promised, all);
        }
        compare("critical cpu", self.critical, capacity.cpu.get());
        compare("disk", self.disk, capacity.disk.get());
        compare("memory", self.memory, capacity.memory.get());
        compare("pids", self.pids, capacity.pids);
    }
}

fn capacity(state: &State, placed: &Placed<'_>) -> Vec<Violation> {
    let mut promised: BTreeMap<NodeId, Promised<'_>> = BTreeMap::new();
    let mut ports = BTreeSet::new();
    let mut found = Vec::new();
    for (node, spec, memory, chosen) in placed {
        promised.entry(*node).or_default().add(spec, *memory);
        for port in spec.ports.iter().filter_map(|p| p.number).chain(chosen.iter().copied()) {
            if !ports.insert((*node, port)) {
                found.push(Violation::PortTwice(*node, port));
            }
        }
    }
    for home in state.homes() {
        if let Some(promised) = promised.get_mut(&home.node) {
            let sum: Mebibytes = home.volumes.values().copied().sum();
            promised.disk = promised.disk.saturating_add(sum.get());
        }
    }
    for (node, promised) in promised {
        promised.over(state, node, &mut found);
    }
    found
}
