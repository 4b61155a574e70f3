//! Improving: as few nodes as their foreseen peaks need, and those level.
//!
//! What is healthy, measured, movable and rested is moved, and only while no other move is under way:
//! what is measured during a move says little of the time after it.

use tengyun_model::{Class, Kind, Millis, NodeId, Phase};

use super::fleet::Fleet;
use super::level;
use super::pack::take_seat;
use super::problem::{Problem, lives};
use crate::image::InstanceImage;
use crate::plan::{Move, StopReason};

/// Says whether enough is known, and enough at rest, to move anything.
pub(super) fn may_rebalance(problem: &Problem<'_>) -> bool {
    has_reported(problem) && !problem.state.is_under_way()
}

/// Says whether enough nodes have reported to move anything by what they said.
pub(super) fn has_reported(problem: &Problem<'_>) -> bool {
    let policy = problem.state.policy();
    let measured = problem.seats.iter().filter(|s| s.connected && s.measured).count();
    let all = problem.seats.iter().filter(|s| s.node.loss.is_none()).count();
    let (measured, all) = (wide(measured), wide(all));
    measured * 1000 >= all * u64::from(policy.reports_before_rebalance().get())
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Opens a node when all in use together are above the ceiling, empties nodes while the others have
/// room for everything below it, and levels what is in use. Afterwards the next round waits.
pub(super) fn rebalance(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let policy = problem.state.policy();
    if policy.consolidates() {
        gather_harvest(problem, moves);
    }
    let last = problem.state.moved_last();
    let rested = last.is_none_or(|m| problem.now.since(m) >= policy.consolidate_interval());
    if !moves.is_empty() || !rested {
        return;
    }
    let mut fleet = Fleet::new(problem);
    let opened = fleet.open(problem, moves);
    if policy.consolidates() && !opened {
        fleet.empty_some(problem, moves);
    }
    level::level(&mut fleet, problem, moves);
}

/// Evicts harvest from nodes that nobody else uses, where it fits on one in use.
fn gather_harvest(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    for at in 0..problem.seats.len() {
        if problem.takes_harvest(&problem.seats[at]) {
            continue;
        }
        for id in state.on_node(problem.seats[at].node.id) {
            let instance = state.instance(id).expect("the index names instances that exist");
            let harvest = state.spec(instance).class == Class::Harvest;
            if !lives(instance) || !harvest || moves.len() >= state.policy().moves_per_pass() {
                continue;
            }
            let guest = problem.guest(instance, false);
            // This seat takes no harvest itself, so another one was found.
            if take_seat(problem, &guest).is_some() {
                moves.push(Move::Stop { instance: id, reason: StopReason::Evicted });
            }
        }
    }
}

/// The critical and standard instances on a node.
pub(super) fn others<'a>(
    problem: &Problem<'a>,
    at: usize,
) -> impl Iterator<Item = &'a InstanceImage> + use<'a> {
    let state: &'a _ = problem.state;
    state
        .on_node(problem.seats[at].node.id)
        .map(|id| state.instance(id).expect("the index names instances that exist"))
        .filter(|i| lives(i))
        // What is on every node makes none worth emptying.
        .filter(|i| {
            let spec = state.spec(i);
            spec.class != Class::Harvest && spec.kind != Kind::PerNode
        })
}

/// Says whether an instance may be moved now. One of an older revision is not: it is renewed first.
pub(super) fn may_move(problem: &Problem<'_>, instance: &InstanceImage) -> bool {
    let state = problem.state;
    let workload = state.workload(instance.workload).expect("its workload outlives it");
    problem.forecast.instance(instance.status.instance).measured
        && instance.status.phase == Phase::Healthy
        && instance.revision == workload.revision
        && workload.revisions[&workload.revision].volumes.is_empty()
        && state.may_move_now(workload.id, problem.now)
        && !workload.is_held()
        && !state.is_on_lost(instance)
}

/// What was moved to make nodes level pays by being level for this long: it does not go back before.
const PAYBACK: Millis = Millis::from_secs(24 * 3600);

/// Says whether an instance would only undo its last move on a node.
pub(super) fn would_undo(problem: &Problem<'_>, instance: &InstanceImage, to: NodeId) -> bool {
    let lately = instance.moved.is_some_and(|moved| problem.now.since(moved) < PAYBACK);
    lately && problem.state.came_from(instance.status.instance) == Some(to)
}

/// Says whether an instance rested long enough since its last move to be moved again.
pub(super) fn is_rested(problem: &Problem<'_>, instance: &InstanceImage) -> bool {
    let pause = problem.state.policy().move_cooldown();
    instance.moved.is_none_or(|moved| problem.now.since(moved) >= pause)
}
