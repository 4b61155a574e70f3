//! A second opinion: what must hold of every state and every plan, written apart from placement.
//!
//! It sums everything up again from the plain instances and trusts no index and no running total.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tengyun_model::{Class, InstanceId, NodeId, OnLost, WorkloadSpec};

use crate::image::{InstanceImage, InstanceWish, NodeWish, Proof};
use crate::plan::{Move, Plan, ShiftReason, StopReason};
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
    /// A move brings something to a node that takes nothing new.
    Closed(InstanceId, NodeId),
    /// A copy is given up for lost though its node is not lost or its workload waits.
    NotLost(InstanceId),
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
            Self::Closed(id, node) => {
                write!(f, "instance {id} is brought to node {node}, which takes nothing new")
            }
            Self::NotLost(id) => write!(f, "instance {id} is given up though it is not lost"),
        }
    }
}

/// Where each living instance is, as a flat list.
type Placed<'a> = Vec<(NodeId, &'a WorkloadSpec)>;

/// Says what of a plan must not be carried out on a state.
pub fn check(state: &State, plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut placed = placed(state);
    for step in &plan.moves {
        let id = match *step {
            Move::Start { instance, .. }
            | Move::Shift { instance, .. }
            | Move::Stop { instance, .. } => instance,
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
                placed.push((node, spec(state, instance, false)));
            }
            Move::Shift { from, to, reason, .. } => {
                if instance.node != Some(from) {
                    found.push(Violation::Stale(id));
                }
                if from == to && reason != ShiftReason::Revision {
                    found.push(Violation::Pointless(id));
                }
                found.extend(closed(state, id, to));
                placed.push((to, spec(state, instance, true)));
            }
            // What stops keeps its room until it is gone.
            Move::Stop { reason: StopReason::Lost, .. } => {
                found.extend(not_lost(state, instance));
            }
            Move::Stop { .. } => {}
        }
    }
    found.extend(capacity(state, &placed));
    found
}

/// Nothing new comes to a node that is cordoned, drained or lost.
fn closed(state: &State, id: InstanceId, node: NodeId) -> Option<Violation> {
    let open = state.node(node).is_some_and(|n| n.wish == NodeWish::Serve && n.loss.is_none());
    (!open).then_some(Violation::Closed(id, node))
}

/// Only what may run twice, or surely does not run any more, is given up for lost.
fn not_lost(state: &State, instance: &InstanceImage) -> Option<Violation> {
    let loss = instance.node.and_then(|n| state.node(n)).and_then(|n| n.loss);
    let twice = spec(state, instance, false).on_lost == OnLost::Restart;
    let sure = loss.is_some_and(|loss| twice || loss.proof == Proof::Death);
    (!sure).then_some(Violation::NotLost(instance.status.instance))
}

/// Says what of a state must not be.
pub fn check_state(state: &State) -> Vec<Violation> {
    let mut found = capacity(state, &placed(state));
    let mut copies = BTreeMap::new();
    for instance in state.instances().filter(|i| i.wish == InstanceWish::Run) {
        let copy = (instance.workload, instance.ordinal, instance.replaces.is_some());
        if let Some(other) = copies.insert(copy, instance.status.instance) {
            found.push(Violation::CopyTwice(other, instance.status.instance));
        }
    }
    found
}

fn placed(state: &State) -> Placed<'_> {
    let alive = |i: &&InstanceImage| !i.status.phase.is_final();
    let place = |i: &InstanceImage| i.node.map(|node| (node, spec(state, i, false)));
    state.instances().filter(alive).filter_map(place).collect()
}

fn spec<'a>(state: &'a State, instance: &InstanceImage, newest: bool) -> &'a WorkloadSpec {
    let workload = state.workload(instance.workload).expect("its workload outlives it");
    let revision = if newest { workload.revision } else { instance.revision };
    &workload.revisions[&revision]
}

fn capacity(state: &State, placed: &Placed<'_>) -> Vec<Violation> {
    let mut promised: BTreeMap<(NodeId, String), u64> = BTreeMap::new();
    let mut ports = BTreeSet::new();
    let mut found = Vec::new();
    let mut add = |node: NodeId, what: &str, amount: u64| {
        let sum = promised.entry((node, what.to_owned())).or_default();
        *sum = sum.saturating_add(amount);
    };
    for (node, spec) in placed {
        add(*node, "memory", spec.resources.memory.get());
        add(*node, "disk", spec.resources.disk.get());
        add(*node, "pids", spec.resources.pids);
        if spec.class == Class::Critical {
            add(*node, "critical cpu", spec.resources.cpu.get());
        }
        for (name, count) in &spec.counted {
            add(*node, &format!("counter {name}"), *count);
        }
        for port in &spec.ports {
            if !ports.insert((*node, port.number)) {
                found.push(Violation::PortTwice(*node, port.number));
            }
        }
    }
    for ((node, what), promised) in promised {
        let capacity = capacity_of(state, node, &what);
        if promised > capacity {
            found.push(Violation::Over { node, what, promised, capacity });
        }
    }
    found
}

fn capacity_of(state: &State, node: NodeId, what: &str) -> u64 {
    let Some(capacity) = state.node(node).map(|n| &n.facts.capacity) else { return 0 };
    match what {
        "memory" => capacity.memory.get(),
        "disk" => capacity.disk.get(),
        "pids" => capacity.pids,
        "critical cpu" => capacity.cpu.get(),
        counter => {
            let name = counter.strip_prefix("counter ").unwrap_or_default();
            let found = capacity.counted.iter().find(|(n, _)| n.as_str() == name);
            found.map_or(0, |(_, count)| *count)
        }
    }
}
