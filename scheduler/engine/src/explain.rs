//! Explanations: why an instance is where it is, why not elsewhere, and what would help.
//!
//! They ask the same questions as placement and show the numbers of the answers.

mod excluded;
mod leaving;
pub mod memory;
mod outlook;
mod record;
mod rollout;
mod waiting;

use tengyun_model::{
    At, Exit, InstanceId, Millicores, MovePolicy, NodeId, NodeName, OnLost, Permille, Phase, Said,
    WorkloadKey, said,
};

use crate::command::{Past, Refusal};
use crate::event::stop_said;
use crate::image::{InstanceImage, InstanceWish, NodeImage, NodeWish};
use crate::liveness;
use crate::occupancy::{Dimension, Occupied};
use crate::place::drain::{Leave, leave};
use crate::place::feasible;
use crate::place::problem::{Guest, Problem};
use crate::predict::{self, Forecast, HorizonForecast, InstanceForecast};
use crate::state::State;

pub use excluded::Excluded;
pub use leaving::{Leaving, elsewhere, leaving, rehearsed, wished};
pub use outlook::{Outlook, outlook};
pub use record::{Decision, Decisions, RunnerUp, decided};
pub use rollout::{NoRoom, no_room};

/// Why an instance is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The instance.
    pub instance: InstanceId,
    /// Its workload.
    pub key: WorkloadKey,
    /// What became of it, in one sentence.
    pub summary: Said,
    /// What it is expected to use.
    pub expected: InstanceForecast,
    /// What is added to its mean where it is; three deviations while it is nowhere.
    pub margin: Millicores,
    /// What it counts of memory.
    pub memory: memory::Counted,
    /// What is expected of it within a window, an hour, six hours and a day; nothing of what was not
    /// measured lately.
    pub horizons: Vec<HorizonForecast>,
    /// Whether a season has a say in that.
    pub seasonal: bool,
    /// What each node says of it, by ascending id.
    pub nodes: Vec<NodeVerdict>,
    /// While it waits: how many nodes each filter keeps it from, the most first.
    pub excluded: Vec<Excluded>,
    /// The nearest change that would help; empty when nothing needs to.
    pub remedy: Said,
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
    /// What its CPU is foreseen to be used at most, with the instance there.
    pub peak: Millicores,
    /// Of that, what is above the mean.
    pub margin: Millicores,
    /// What it may be filled to by one of this class.
    pub bound: Millicores,
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
    let gang = waiting::gang(&problem, instance).filter(|_| waits);
    let remedy = match (condition_remedy(state, instance), &gang) {
        (Some(remedy), _) => remedy,
        (None, Some(gang)) => gang.remedy.clone(),
        (None, None) if waits => waiting::remedy(&problem, instance, &nodes),
        (None, None) => {
            waiting::stuck(&problem, instance).map_or(Said::NOTHING, |stuck| stuck.remedy)
        }
    };
    let excluded = if waits { excluded::excluded(&nodes) } else { Vec::new() };
    let summary = match gang {
        Some(gang) if !nodes.is_empty() => gang.said,
        Some(_) | None => summary(&problem, instance, &nodes),
    };
    let (horizons, seasonal) = predict::horizons(state, id, now).unwrap_or_default();
    Some(Explanation {
        instance: id,
        key: state.spec(instance).key.clone(),
        summary,
        expected: forecast.instance(id),
        margin: forecast.margin(id, instance.node),
        memory: memory::counted(state, id, now).unwrap_or_default(),
        horizons,
        seasonal,
        nodes,
        excluded,
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
    let (harvest, line) = line(problem, guest);
    let refusal = if here { None } else { refused(problem, at, guest) };
    let filled = if here { seat.peak() } else { seat.peak_with(guest.spec, guest.expected) };
    let score = i64::from(filled.share_of(seat.node.facts.capacity.cpu).get());
    let load = seat.crew.load;
    let load = if here || harvest { load } else { load.with(guest.expected) };
    NodeVerdict {
        node: seat.node.id,
        name: seat.node.facts.name.clone(),
        refusal,
        score,
        peak: filled,
        margin: load.peak().saturating_sub(load.mean()),
        bound: seat.line(line),
    }
}

/// Says whether a guest is harvest, and what the CPU of its node may be filled to.
fn line(problem: &Problem<'_>, guest: &Guest<'_>) -> (bool, Permille) {
    let band = problem.state.policy().band();
    let harvest = guest.spec.class == tengyun_model::Class::Harvest;
    (harvest, if harvest { band.target } else { band.ceiling })
}

/// Says why a seat cannot take a guest; nothing when it can.
fn refused(problem: &Problem<'_>, at: usize, guest: &Guest<'_>) -> Option<Refusal> {
    let (harvest, line) = line(problem, guest);
    if harvest && !problem.takes_harvest(&problem.seats[at]) {
        return Some(Refusal::Stale(Past::OthersUse));
    }
    let seat = &problem.seats[at];
    let there = if seat.connected { Ok(()) } else { Err(Refusal::NodeAway) };
    let open = feasible::open(seat.node).and(there);
    // A node that may not have it at all would not have it with more room either.
    let may = open.and_then(|()| problem.keeps_apart(at, (guest, &problem.evenness(guest))));
    may.and_then(|()| problem.fits(at, guest, line)).err()
}

fn summary(problem: &Problem<'_>, instance: &InstanceImage, nodes: &[NodeVerdict]) -> Said {
    let state = problem.state;
    let expected = problem.forecast.instance(instance.status.instance);
    let basis = if expected.measured { said!(BasisMeasured) } else { said!(BasisRequested) };
    let Some(node) = instance.node.and_then(|id| state.node(id)) else {
        return unplaced(problem, instance, nodes);
    };
    let name = &node.facts.name;
    let uses = said!(Uses, expected.peak, basis);
    match instance.wish {
        InstanceWish::Stop(reason) => said!(IsStopping, name, stop_said(reason)),
        InstanceWish::Run => {
            match (instance.replaces, state.replacement_of(instance.status.instance)) {
                (Some(old), _) => said!(IsReplacing, name, old, uses),
                (None, Some(new)) => said!(IsReplaced, name, new, uses),
                (None, None) => alone(problem, instance, node, uses),
            }
        }
    }
}

/// Says what an instance waits for that has no node.
fn unplaced(problem: &Problem<'_>, instance: &InstanceImage, nodes: &[NodeVerdict]) -> Said {
    if let Some(waits) = waiting::waiting(problem, instance) {
        return waits;
    }
    if nodes.is_empty() {
        return said!(WaitsNobody);
    }
    if let Some(home) = home(problem, instance) {
        let verdict = nodes.iter().find(|n| n.node == home);
        let refusal = verdict.and_then(|n| n.refusal.as_ref()).map(Refusal::said);
        let name = verdict.map(|n| n.name.to_string()).unwrap_or_default();
        return said!(WaitsVolumes, name, refusal.unwrap_or_else(|| said!(WaitsSoon)));
    }
    let refused = nodes.iter().filter(|n| n.refusal.is_some()).count();
    if refused < nodes.len() {
        return said!(WaitsSome, nodes.len() - refused, nodes.len());
    }
    let busy = |what| nodes.iter().filter(|node| is_occupied(node, what)).count();
    let (disks, links) = (busy(Dimension::Disk), busy(Dimension::Network));
    if disks + links > 0 {
        return said!(WaitsCalm, refused, disks, links);
    }
    let made_for = waiting::is_made_for(problem, instance);
    made_for.map_or_else(|| said!(WaitsNone, refused), |name| said!(WaitsLeaving, name))
}

/// Says whether a node takes nothing new because this of it is busy.
fn is_occupied(node: &NodeVerdict, what: Dimension) -> bool {
    matches!(node.refusal, Some(Refusal::Occupied(occupied)) if occupied.what == what)
}

/// Returns the node where the volumes of an instance are.
fn home(problem: &Problem<'_>, instance: &InstanceImage) -> Option<NodeId> {
    let state = problem.state;
    state.volume_need(instance, state.spec(instance)).and_then(|need| need.home)
}

/// Says what an instance does that neither replaces another nor is being replaced.
fn alone(problem: &Problem<'_>, instance: &InstanceImage, node: &NodeImage, uses: Said) -> Said {
    let (state, name, status) = (problem.state, &node.facts.name, &instance.status);
    if node.loss.is_some() {
        let restarts = state.spec(instance).on_lost == OnLost::Restart;
        return match state.leaves_lost(instance) {
            true => said!(LostLeaves, name),
            false if restarts => said!(LostOnly, name),
            false => said!(LostWaits, name),
        };
    }
    let silence = liveness::silence(state, node.id, problem.now);
    if silence >= state.policy().suspect_after() {
        return said!(NotHeard, name, silence.get() / 1000);
    }
    let leaves = match leave(problem, instance) {
        Leave::Stay if node.wish.is_drain() => said!(DrainedStays),
        Leave::Keep if node.wish.is_drain() => said!(DrainedKeeps),
        Leave::Window if node.wish.is_drain() => said!(DrainedWindow),
        _ if node.wish.is_drain() => said!(DrainedLeaves),
        _ => Said::NOTHING,
    };
    let over = matches!(status.phase, Phase::BackingOff | Phase::Failed);
    if over && status.exit == Some(Exit::NotStarted) && !status.message.is_empty() {
        let again = if status.phase.is_final() { Said::NOTHING } else { said!(TriedAgain) };
        let rests = waiting::rest(problem, instance).unwrap_or(again);
        return said!(CannotStart, name, &status.message, rests, leaves);
    }
    if status.phase == Phase::BackingOff {
        let exit = status.exit.map_or_else(|| said!(Ended), Said::from);
        return said!(Crashes, name, exit, status.incarnation, leaves);
    }
    let why = match status.message.as_str() {
        "" => Said::NOTHING,
        message => said!(Aside, message),
    };
    let old =
        waiting::rest(problem, instance).unwrap_or_else(|| waiting::renewal(problem, instance));
    said!(Is, Said::from(status.phase), why, name, uses, leaves, old)
}

/// Says what an operator can do for an instance that neither a node nor a change of it would help.
fn condition_remedy(state: &State, instance: &InstanceImage) -> Option<Said> {
    if instance.wish != InstanceWish::Run {
        return None;
    }
    let workload = state.workload(instance.workload)?;
    let key = &state.spec(instance).key;
    if workload.is_held() && (instance.node.is_none() || state.is_on_lost(instance)) {
        return Some(said!(HelpRelease, key));
    }
    let node = instance.node.and_then(|id| state.node(id))?;
    let name = &node.facts.name;
    if node.loss.is_some() && !state.leaves_lost(instance) {
        return Some(said!(HelpBringBack, name));
    }
    if node.wish.is_drain() && !state.spec(instance).volumes.is_empty() {
        return Some(said!(HelpStop, key));
    }
    if instance.failed.is_some() {
        return Some(said!(DoSeeLogs));
    }
    let stays = state.spec(instance).move_policy == MovePolicy::Never
        && state.spec(instance).kind != tengyun_model::Kind::PerNode;
    let insists = node.wish == NodeWish::Drain && stays;
    insists.then(|| said!(HelpForce, name))
}

/// Names the node that is nearest to taking the instance and what it lacks.
fn remedy(problem: &Problem<'_>, nodes: &[NodeVerdict]) -> Said {
    if nodes.is_empty() {
        return said!(HelpAgent);
    }
    nearest(nodes).map_or(Said::NOTHING, |(node, refusal)| {
        let foreign = problem.seats[problem.seat_of(node.node)].foreign;
        advice(&node.name, refusal, foreign)
    })
}

/// Returns the node that is nearest to taking an instance, and what keeps it out there.
fn nearest(nodes: &[NodeVerdict]) -> Option<(&NodeVerdict, &Refusal)> {
    let refusals = nodes.iter().filter_map(|n| n.refusal.as_ref().map(|refusal| (n, refusal)));
    refusals.min_by_key(|(node, refusal)| (distance(refusal), node.node))
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
        Refusal::PortTaken(_) | Refusal::NoPort { .. } => (2, 0),
        // Whatever keeps it from there, it is the only one that would do.
        Refusal::VolumesElsewhere(_) => (9, 0),
        Refusal::Spread(_) | Refusal::AntiAffinity(_) | Refusal::NoLabel { .. } => (3, 0),
        Refusal::NotOpen(_) => (4, 0),
        _ => (5, 0),
    }
}

fn advice(name: &NodeName, refusal: &Refusal, foreign: Millicores) -> Said {
    match refusal {
        Refusal::NoCpu { left, .. } if left.is_zero() && !foreign.is_zero() => {
            said!(HelpForeign, name, foreign)
        }
        Refusal::NoCpu { left, .. } if left.is_zero() => said!(HelpNode),
        Refusal::NoCpu { left, .. } => said!(HelpLowerCpu, *left, name),
        Refusal::NoMemory { left, .. } => said!(HelpLowerMemory, *left, name),
        Refusal::NoDisk { left, .. } => said!(HelpLowerDisk, *left, name),
        Refusal::NoPids { left, .. } => said!(HelpLowerPids, left, name),
        Refusal::NoCounter { name: counter, left, .. } => {
            said!(HelpLowerCounter, counter, left, name)
        }
        Refusal::PortTaken(port) => said!(HelpPort, port),
        Refusal::NoPort { .. } => said!(HelpPorts),
        Refusal::NoLabel { name: label, value } => said!(HelpLabel, label, value),
        Refusal::AntiAffinity(key) => said!(HelpAntiAffinity, key),
        Refusal::Spread(label) => said!(HelpSpread, label),
        Refusal::Occupied(Occupied { what: Dimension::Disk, .. }) => said!(HelpDiskBusy, name),
        Refusal::Occupied(Occupied { what: Dimension::Network, .. }) => {
            said!(HelpNetworkBusy, name)
        }
        Refusal::NodeAway => said!(HelpAgentOf, name),
        Refusal::NodeLost => said!(HelpBack, name),
        Refusal::NotOpen(_) => said!(HelpUncordon, name),
        Refusal::Stale(Past::OthersUse) => said!(HelpHarvest),
        other => said!(ErrorWith, name, other.said()),
    }
}
