//! Improving: overloaded nodes are relieved, lightly filled ones are emptied.
//!
//! Both move only what is healthy, measured, movable and rested, and only while no other move is
//! under way: what is measured during a move says little of the time after it.

use tengyun_model::{Class, Kind, Phase};

use super::pack::choose;
use super::problem::{Guest, Problem, Seat, lives};
use crate::image::InstanceImage;
use crate::plan::{Move, ShiftReason, StopReason};

/// Says whether enough is known, and enough at rest, to move anything.
pub(super) fn may_rebalance(problem: &Problem<'_>) -> bool {
    let policy = problem.state.policy();
    let measured = problem.seats.iter().filter(|s| s.connected && s.measured).count();
    let all = problem.seats.iter().filter(|s| s.node.loss.is_none()).count();
    let (measured, all) = (wide(measured), wide(all));
    let reported = measured * 1000 >= all * u64::from(policy.reports_before_rebalance().get());
    reported && !problem.state.is_under_way()
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Shifts the smallest sufficient instance away from each node above the ceiling.
pub(super) fn relieve(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let policy = problem.state.policy();
    let band = policy.band();
    for at in 0..problem.seats.len() {
        let seat = &problem.seats[at];
        let over = seat.peak().checked_sub(seat.line(band.ceiling));
        let Some(over) = over.filter(|o| !o.is_zero()) else { continue };
        if !seat.measured || moves.len() >= policy.moves_per_pass() {
            continue;
        }
        let mut movable: Vec<&InstanceImage> =
            others(problem, at).filter(|i| may_move(problem, i)).collect();
        // The smallest that is enough; failing that, the largest.
        movable.sort_by_key(|i| {
            let peak = problem.forecast.instance(i.status.instance).peak;
            let enough = peak >= over;
            (!enough, if enough { peak.get() } else { u64::MAX - peak.get() }, i.status.instance)
        });
        for instance in movable {
            if shift(problem, instance, (at, ShiftReason::Overload), moves) {
                break;
            }
        }
    }
}

/// Empties the least filled node when everything on it fits elsewhere inside the band.
pub(super) fn consolidate(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let policy = problem.state.policy();
    if !policy.consolidates() {
        return;
    }
    gather_harvest(problem, moves);
    let last = problem.state.moved_last();
    let rested = last.is_none_or(|m| problem.now.since(m) >= policy.consolidate_interval());
    if !moves.is_empty() || !rested {
        return;
    }
    let mut candidates: Vec<usize> = (0..problem.seats.len())
        .filter(|at| problem.seats[*at].crew.others > 0 && problem.seats[*at].measured)
        .collect();
    candidates.sort_by_key(|at| {
        let seat = &problem.seats[*at];
        (seat.peak().share_of(seat.node.facts.capacity.cpu), seat.node.id)
    });
    for at in candidates {
        let seat = &problem.seats[at];
        if seat.peak() >= seat.line(policy.band().floor) {
            return;
        }
        let mut found = Vec::new();
        if empty(problem, at, &mut found) {
            found.truncate(policy.moves_per_pass());
            moves.extend(found);
            return;
        }
    }
}

/// Plans to move everything away from a node; false when something has to stay. The problem is
/// afterwards as it was before.
fn empty(problem: &mut Problem<'_>, at: usize, moves: &mut Vec<Move>) -> bool {
    let mut leaving: Vec<&InstanceImage> = others(problem, at).collect();
    leaving.sort_by_key(|i| {
        let peak = problem.forecast.instance(i.status.instance).peak;
        (std::cmp::Reverse(peak), i.status.instance)
    });
    if !leaving.iter().all(|instance| may_move(problem, instance)) {
        return false;
    }
    let mut before: Vec<(usize, Seat<'_>)> = Vec::new();
    let all = leaving.into_iter().all(|instance| {
        let guest = problem.guest(instance, true);
        let reason = ShiftReason::Consolidate;
        let Some(to) = destination(problem, &guest, (at, reason)) else { return false };
        if before.iter().all(|(seat, _)| *seat != to) {
            before.push((to, problem.seats[to].clone()));
        }
        go(problem, (instance, &guest), (at, to, reason), moves);
        true
    });
    for (seat, as_it_was) in before {
        problem.seats[seat] = as_it_was;
    }
    all
}

/// Moves one instance to another node in use, filled to the target at most.
fn shift<'a>(
    problem: &mut Problem<'a>,
    instance: &'a InstanceImage,
    (from, reason): (usize, ShiftReason),
    moves: &mut Vec<Move>,
) -> bool {
    let guest = problem.guest(instance, true);
    let Some(to) = destination(problem, &guest, (from, reason)) else { return false };
    go(problem, (instance, &guest), (from, to, reason), moves);
    true
}

/// Returns where an instance would go.
fn destination(
    problem: &Problem<'_>,
    guest: &Guest<'_>,
    (from, reason): (usize, ShiftReason),
) -> Option<usize> {
    let target = problem.state.policy().band().target;
    let anywhere = |p: &Problem<'_>, at: usize| at != from && p.seats[at].measured;
    let in_use = |p: &Problem<'_>, at: usize| anywhere(p, at) && p.seats[at].crew.others > 0;
    choose(problem, guest, target, in_use).or_else(|| match reason {
        ShiftReason::Overload => choose(problem, guest, target, anywhere),
        ShiftReason::Consolidate
        | ShiftReason::Revision
        | ShiftReason::Drain
        | ShiftReason::Operator => None,
    })
}

/// Puts one instance on its new node.
fn go<'a>(
    problem: &mut Problem<'a>,
    (instance, guest): (&InstanceImage, &Guest<'a>),
    (from, to, reason): (usize, usize, ShiftReason),
    moves: &mut Vec<Move>,
) {
    moves.push(Move::Shift {
        instance: instance.status.instance,
        from: problem.seats[from].node.id,
        to: problem.seats[to].node.id,
        reason,
    });
    problem.seats[to].put(guest);
}

/// Evicts harvest from nodes that nobody else uses, where it fits on one in use.
fn gather_harvest(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    let target = state.policy().band().target;
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
            let elsewhere = |p: &Problem<'_>, to: usize| to != at && p.takes_harvest(&p.seats[to]);
            if let Some(to) = choose(problem, &guest, target, elsewhere) {
                moves.push(Move::Stop { instance: id, reason: StopReason::Evicted });
                problem.seats[to].put(&guest);
            }
        }
    }
}

/// The critical and standard instances on a node.
fn others<'a>(
    problem: &Problem<'a>,
    at: usize,
) -> impl Iterator<Item = &'a InstanceImage> + use<'a> {
    let state: &'a _ = problem.state;
    state
        .on_node(problem.seats[at].node.id)
        .map(|id| state.instance(id).expect("the index names instances that exist"))
        .filter(|i| lives(i) && state.spec(i).class != Class::Harvest)
        // What is on every node makes none worth emptying.
        .filter(|i| state.spec(i).kind != Kind::PerNode)
}

/// Says whether an instance may be moved now. One of an older revision is not: it is renewed first.
fn may_move(problem: &Problem<'_>, instance: &InstanceImage) -> bool {
    let state = problem.state;
    let policy = state.policy();
    let workload = state.workload(instance.workload).expect("its workload outlives it");
    let rested =
        instance.moved.is_none_or(|moved| problem.now.since(moved) >= policy.move_cooldown());
    instance.revision == workload.revision
        && state.may_move_now(workload.id, problem.now)
        && instance.status.phase == Phase::Healthy
        && !workload.is_held()
        && !state.is_on_lost(instance)
        && problem.forecast.instance(instance.status.instance).measured
        && rested
}
