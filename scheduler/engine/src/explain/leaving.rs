//! What an operator asks about moves: what is still to leave a drained node, whether an instance could
//! go where the operator wants it, and where else.

use tengyun_model::{At, InstanceId, Kind, NodeId, Said, WorkloadKey, said};

use super::record::{Decision, by_hand};
use super::{explain, remedy, verdict};
use crate::command::Refusal;
use crate::image::{InstanceImage, InstanceWish, NodeImage, NodeWish};
use crate::place::drain::{self, Leave, leave};
use crate::place::pack::best_seat;
use crate::place::problem::Problem;
use crate::predict::Forecast;
use crate::state::State;

/// An instance that is still to leave a drained node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Which.
    pub instance: InstanceId,
    /// Its workload.
    pub key: WorkloadKey,
    /// `moving`, `stopping`, `waits`, `must-not-move` or `keeps-volumes`.
    pub state: &'static str,
    /// What it waits for; empty when it is on its way.
    pub reason: Said,
    /// Where it would go, in a rehearsal.
    pub to: Option<NodeId>,
}

/// Says what is still on a node and, while the node is drained, what keeps it there.
pub fn leaving(state: &State, forecast: &Forecast, node: NodeId, now: At) -> Vec<Leaving> {
    let problem = Problem::new(state, forecast, now);
    alive(state, node).map(|instance| one(&problem, instance)).collect()
}

/// Says what would become of what is on a node if it were drained, all of it at once: the planner moves so
/// many at a time, and what is measured or wished meanwhile may lead elsewhere. Nothing is changed.
pub fn rehearsed(
    state: &State,
    forecast: &Forecast,
    (node, force): (NodeId, bool),
    now: At,
) -> Vec<Leaving> {
    let wish = if force { NodeWish::DrainByForce } else { NodeWish::Drain };
    let Some(drained) = state.node(node).map(|node| NodeImage { wish, ..node.clone() }) else {
        return Vec::new();
    };
    let mut problem = Problem::new(state, forecast, now);
    drain::rehearse(&mut problem, &drained);
    let mut would = |instance: &InstanceImage| {
        let moves = matches!(leave(&problem, instance), Leave::Replace | Leave::StopFirst);
        let to = if moves { drain::take_seat(&mut problem, instance) } else { None };
        match to {
            Some(_) => {
                let (key, reason) = (state.spec(instance).key.clone(), Said::NOTHING);
                Leaving { instance: instance.status.instance, key, state: "moving", reason, to }
            }
            None => one(&problem, instance),
        }
    };
    alive(state, node).map(&mut would).collect()
}

/// Returns what runs on a node and does not belong to it, which a drain leaves.
fn alive(state: &State, node: NodeId) -> impl Iterator<Item = &InstanceImage> {
    let here = state.on_node(node).filter_map(|id| state.instance(id));
    let leaves = |i: &&InstanceImage| state.spec(i).kind != Kind::PerNode;
    here.filter(|i| !i.status.phase.is_final()).filter(leaves)
}

fn one(problem: &Problem<'_>, instance: &InstanceImage) -> Leaving {
    let state = problem.state;
    let id = instance.status.instance;
    let (word, reason) = match (instance.wish, leave(problem, instance)) {
        (InstanceWish::Stop(_), _) if state.is_on_lost(instance) => {
            ("stopping", said!(LeaveReturns))
        }
        (InstanceWish::Stop(_), _) | (InstanceWish::Run, Leave::Evict) => {
            ("stopping", Said::NOTHING)
        }
        (InstanceWish::Run, Leave::Stay) => ("must-not-move", said!(LeaveNever)),
        (InstanceWish::Run, Leave::Keep) => ("keeps-volumes", said!(LeaveVolumes)),
        (InstanceWish::Run, Leave::Window) => ("waits", said!(LeaveWindow)),
        (InstanceWish::Run, Leave::Rest) => ("waits", said!(LeaveRests)),
        (InstanceWish::Run, Leave::Otherwise) if state.replacement_of(id).is_some() => {
            ("moving", Said::NOTHING)
        }
        (InstanceWish::Run, Leave::Otherwise) if state.is_on_lost(instance) => {
            ("waits", said!(LeaveLost))
        }
        (InstanceWish::Run, Leave::Otherwise) if instance.replaces.is_some() => {
            ("waits", said!(LeaveUnhealthy))
        }
        (InstanceWish::Run, Leave::Otherwise) => ("waits", said!(LeaveRenewed)),
        (InstanceWish::Run, Leave::Replace | Leave::StopFirst) => {
            ("waits", room(problem, instance))
        }
    };
    Leaving { instance: id, key: state.spec(instance).key.clone(), state: word, reason, to: None }
}

/// Says what an instance waits for that may move.
fn room(problem: &Problem<'_>, instance: &InstanceImage) -> Said {
    if let Err(refusal) = problem.state.check_held(instance) {
        return refusal.said();
    }
    let guest = problem.guest(instance, true);
    if best_seat(problem, &guest).is_some() {
        return said!(LeaveTurn);
    }
    let verdicts: Vec<_> =
        (0..problem.seats.len()).map(|at| verdict(problem, at, instance, &guest)).collect();
    said!(LeaveNoRoom, remedy(problem, &verdicts))
}

/// Says whether an instance may be brought to a node now, by durable state and by what is measured, and by
/// which figures.
pub fn wished(
    state: &State,
    forecast: &Forecast,
    (id, to): (InstanceId, NodeId),
    now: At,
) -> Result<Decision, Refusal> {
    let step = state.wished_move(id, to)?;
    let problem = Problem::new(state, forecast, now);
    let instance = state.instance(id).ok_or(Refusal::UnknownInstance(id))?;
    let guest = problem.guest(instance, instance.node.is_some());
    problem.fits(problem.seat_of(to), &guest, state.policy().band().ceiling)?;
    by_hand(problem, &step).ok_or(Refusal::UnknownInstance(id))
}

/// Says where else an instance could go, or what would help.
pub fn elsewhere(state: &State, forecast: &Forecast, id: InstanceId, now: At) -> Said {
    let Some(instance) = state.instance(id) else { return Said::NOTHING };
    let problem = Problem::new(state, forecast, now);
    let guest = problem.guest(instance, instance.node.is_some());
    if let Some(at) = best_seat(&problem, &guest) {
        let node = problem.seats[at].node;
        if Some(node.id) != instance.node {
            return said!(HelpMove, id, &node.facts.name);
        }
    }
    explain(state, forecast, id, now).map(|e| e.remedy).unwrap_or_default()
}
