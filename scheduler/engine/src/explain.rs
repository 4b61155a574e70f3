//! Explanations: why an instance is where it is, why not elsewhere, and what would help.
//!
//! They ask the same questions as placement and show the numbers of the answers.

use tengyun_model::{At, InstanceId, Millicores, NodeId, NodeName, WorkloadKey};

use crate::command::Refusal;
use crate::image::{InstanceImage, InstanceWish};
use crate::place::problem::{Guest, Problem};
use crate::plan::StopReason;
use crate::predict::Forecast;
use crate::state::State;

/// Why an instance is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The instance.
    pub instance: InstanceId,
    /// Its workload.
    pub key: WorkloadKey,
    /// What became of it, in one sentence.
    pub summary: String,
    /// What each node says of it, by ascending id.
    pub nodes: Vec<NodeVerdict>,
    /// The nearest change that would help; empty when nothing needs to.
    pub remedy: String,
}

/// What one node says of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVerdict {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Why it cannot take one; `None` when it can.
    pub refusal: Option<Refusal>,
    /// How full it would be, in thousandths of its CPU: the fullest below the target is chosen.
    pub score: i64,
}

/// Explains an instance; `None` when there is no such instance.
pub fn explain(state: &State, forecast: &Forecast, id: InstanceId, now: At) -> Option<Explanation> {
    let instance = state.instance(id)?;
    let problem = Problem::new(state, forecast, now);
    let placed = instance.node.is_some();
    let guest = problem.guest(instance, placed);
    let nodes: Vec<NodeVerdict> =
        (0..problem.seats.len()).map(|at| verdict(&problem, at, instance, &guest)).collect();
    let waits = !placed && instance.wish == InstanceWish::Run;
    let remedy = if waits { remedy(&problem, &nodes) } else { String::new() };
    let summary = summary(&problem, instance, &nodes);
    Some(Explanation {
        instance: id,
        key: state.spec(instance).key.clone(),
        summary,
        nodes,
        remedy,
    })
}

fn verdict(
    problem: &Problem<'_>,
    at: usize,
    instance: &InstanceImage,
    guest: &Guest<'_>,
) -> NodeVerdict {
    let seat = &problem.seats[at];
    let here = instance.node == Some(seat.node.id);
    let band = problem.state.policy().band();
    let harvest = guest.spec.class == tengyun_model::Class::Harvest;
    let line = if harvest { band.target } else { band.ceiling };
    let refusal = if here {
        None
    } else if harvest && !problem.takes_harvest(seat) {
        Some(Refusal::Stale("its use by others, beside whom harvest runs,"))
    } else {
        problem.fits(at, guest, line).err()
    };
    let filled = if here { seat.peak() } else { seat.peak_with(guest.spec, guest.expected) };
    let score = i64::from(filled.share_of(seat.node.facts.capacity.cpu).get());
    NodeVerdict { node: seat.node.id, name: seat.node.facts.name.clone(), refusal, score }
}

fn summary(problem: &Problem<'_>, instance: &InstanceImage, nodes: &[NodeVerdict]) -> String {
    let state = problem.state;
    let expected = problem.forecast.instance(instance.status.instance);
    let basis = if expected.measured { "measured" } else { "requested" };
    let Some(node) = instance.node.and_then(|id| state.node(id)) else {
        if nodes.is_empty() {
            return "waits: no node has joined".to_owned();
        }
        let refused = nodes.iter().filter(|n| n.refusal.is_some()).count();
        return if refused == nodes.len() {
            format!("waits: none of {refused} nodes can take it")
        } else {
            format!("waits: {} of {} nodes can take it soon", nodes.len() - refused, nodes.len())
        };
    };
    let name = &node.facts.name;
    let uses = format!("expected to use at most {} ({basis})", expected.peak);
    match instance.wish {
        InstanceWish::Stop(reason) => format!("stops on {name}: {}", stop_words(reason)),
        InstanceWish::Run => {
            match (instance.replaces, state.replacement_of(instance.status.instance)) {
                (Some(old), _) => format!("starts on {name} to replace instance {old}, {uses}"),
                (None, Some(new)) => {
                    format!("runs on {name} until instance {new} is healthy elsewhere, {uses}")
                }
                (None, None) => format!("is {} on {name}, {uses}", instance.status.phase),
            }
        }
    }
}

const fn stop_words(reason: StopReason) -> &'static str {
    match reason {
        StopReason::NotWanted => "its workload no longer wants it",
        StopReason::Replaced => "its replacement is healthy",
        StopReason::Evicted => "dearer work needs the room, it is queued again",
        StopReason::GivenUp => "it did not become healthy in time, the old copy stays",
    }
}

/// Names the node that is nearest to taking the instance and what it lacks.
fn remedy(problem: &Problem<'_>, nodes: &[NodeVerdict]) -> String {
    if nodes.is_empty() {
        return "start an agent: `tengyun up`, or `tengyun-agent` on a server".to_owned();
    }
    let nearest = nodes
        .iter()
        .filter_map(|n| n.refusal.as_ref().map(|r| (distance(r), n.node, &n.name, r)))
        .min_by_key(|(distance, node, ..)| (*distance, *node));
    nearest.map_or_else(String::new, |(_, node, name, refusal)| {
        let foreign = problem.seats[problem.seat_of(node)].foreign;
        advice(name, refusal, foreign)
    })
}

/// Orders refusals by how small the change is that would lift them.
fn distance(refusal: &Refusal) -> (u32, u64) {
    match refusal {
        Refusal::NoCpu { wanted, left } => (0, wanted.saturating_sub(*left).get()),
        Refusal::NoMemory { wanted, left } | Refusal::NoDisk { wanted, left } => {
            (1, wanted.saturating_sub(*left).get())
        }
        Refusal::NoPids { wanted, left } | Refusal::NoCounter { wanted, left, .. } => {
            (1, wanted.saturating_sub(*left))
        }
        Refusal::PortTaken(_) => (2, 0),
        Refusal::Spread(_) | Refusal::AntiAffinity(_) | Refusal::NoLabel { .. } => (3, 0),
        _ => (4, 0),
    }
}

fn advice(name: &NodeName, refusal: &Refusal, foreign: Millicores) -> String {
    match refusal {
        Refusal::NoCpu { left, .. } if left.is_zero() && !foreign.is_zero() => format!(
            "end what is not of this cloud on {name}, it uses up to {foreign}, or add a node"
        ),
        Refusal::NoCpu { left, .. } if left.is_zero() => "add a node".to_owned(),
        Refusal::NoCpu { left, .. } => {
            format!("lower resources.cpu to at most {left} to fit on {name}, or add a node")
        }
        Refusal::NoMemory { left, .. } => {
            format!("lower resources.memory to at most {left} to fit on {name}, or add a node")
        }
        Refusal::NoDisk { left, .. } => {
            format!("lower resources.disk to at most {left} to fit on {name}, or add a node")
        }
        Refusal::NoPids { left, .. } => {
            format!("lower resources.pids to at most {left} to fit on {name}, or add a node")
        }
        Refusal::NoCounter { name: counter, left, .. } => {
            format!("ask for at most {left} of counter {counter} to fit on {name}")
        }
        Refusal::PortTaken(port) => format!("choose another port than {port}, or add a node"),
        Refusal::NoLabel { name: label, value } => {
            format!("drop the constraint {label}={value}, or add a node that has it")
        }
        Refusal::AntiAffinity(key) => format!("drop the anti-affinity to {key}, or add a node"),
        Refusal::Spread(label) => format!("add a node with another value of {label}"),
        Refusal::NodeAway => format!("start the agent of {name} again"),
        other => format!("{name}: {other}"),
    }
}
