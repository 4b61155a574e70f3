//! Renewing: copies of an older revision make place for the present one, a batch at a time; and copies
//! that belong to a node start there.
//!
//! A copy that may move is replaced: the new one is healthy before the old one stops. One that must not
//! is renewed in place: it stops, and the new one starts where it was.

use std::collections::BTreeSet;

use tengyun_model::{Class, InstanceId, Kind, MovePolicy, Permille, Phase};

use super::drain::{Leave, leave};
use super::feasible::{self, Room};
use super::pack::take_seat;
use super::problem::{Problem, lives};
use crate::image::{InstanceImage, NodeImage, WorkloadImage, WorkloadWish};
use crate::plan::{Move, ShiftReason, StopReason};
use crate::rollout::{self, Stage};

/// Renews copies of older revisions, within the batch of each workload's rollout.
pub(super) fn renew(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    for workload in state.renewing() {
        let spec = &workload.revisions[&workload.revision];
        let rests = workload.is_held() || workload.wish != WorkloadWish::Run;
        if rests || spec.kind == Kind::Cron {
            continue;
        }
        let waits = spec.move_policy == MovePolicy::Window;
        if waits && !state.may_move_now(workload.id, problem.now) {
            continue;
        }
        let mut left = rollout::budget(state, workload, problem.now);
        let old =
            |i: &&InstanceImage| i.revision != workload.revision && i.node.is_some() && lives(i);
        let all = state.of_workload(workload.id).filter_map(|id| state.instance(id));
        let mut old: Vec<&InstanceImage> = all.filter(old).collect();
        // What does not run well loses least.
        old.sort_by_key(|i| (i.status.phase == Phase::Healthy, i.status.instance));
        for instance in old {
            if left == 0 {
                break;
            }
            if let Some(step) = step(problem, instance, workload) {
                moves.push(step);
                left -= 1;
            }
        }
    }
}

/// Returns the move that renews a copy; none when it has to wait.
fn step(
    problem: &mut Problem<'_>,
    instance: &InstanceImage,
    workload: &WorkloadImage,
) -> Option<Move> {
    let state = problem.state;
    if !state.is_alone(instance) || state.is_on_lost(instance) || stays(problem, instance) {
        return None;
    }
    // One whose replacement failed is not tried again at once, nor one that was just moved, unless
    // what took its place is to go away again.
    let pause = state.policy().requeue_after();
    let moved = instance.moved.is_some_and(|moved| problem.now.since(moved) < pause);
    let returns = workload.rollout.as_ref().is_some_and(|r| r.stage == Stage::Returning);
    if rollout::tried_lately(state, instance, problem.now) || (moved && !returns) {
        return None;
    }
    let open = instance.node.and_then(|n| state.node(n)).is_some_and(NodeImage::is_open);
    if open && state.renews_in_place(instance) {
        let reason = StopReason::Renewed;
        let stops = Move::Stop { instance: instance.status.instance, reason };
        return fits_instead(problem, instance).then_some(stops);
    }
    replace(problem, instance)
}

/// Says whether an instance is not to be renewed where it is: it must not move and its node takes
/// nothing new, or the node is drained and it leaves in another way.
fn stays(problem: &Problem<'_>, instance: &InstanceImage) -> bool {
    let state = problem.state;
    let closed = instance.node.and_then(|n| state.node(n)).is_some_and(|n| !n.is_open());
    let old = rollout::in_place(state.spec(instance)) || state.renews_by_stopping(instance);
    let pinned = state.renews_in_place(instance) && old;
    let drained = state.node_wish(instance).is_drain();
    (closed && pinned) || (drained && leave(problem, instance) != Leave::Otherwise)
}

/// Says whether the new revision fits where an old copy is, once that is gone.
pub(crate) fn fits_instead(problem: &Problem<'_>, instance: &InstanceImage) -> bool {
    let state = problem.state;
    let Some(node) = instance.node else { return false };
    let seat = &problem.seats[problem.seat_of(node)];
    let guest = problem.guest(instance, true);
    let others = |i: &InstanceImage| i.status.instance != instance.status.instance;
    let mut room = Room::taken(state, node, others);
    seat.seat_guests(&mut room);
    let whom = (guest.spec, guest.replaces);
    let elsewhere = feasible::constraints(state, whom, seat.node, &seat.guests).is_err();
    let fits = room.fits(guest.spec, &seat.node.facts.capacity).is_ok()
        && feasible::ports(state, guest.spec, (node, &room)).is_ok()
        && feasible::volumes(guest.volumes, guest.spec, (seat.node, &room)).is_ok();
    fits || (elsewhere && !state.renews_by_stopping(instance))
}

/// Starts a copy of the new revision, where the old one is or elsewhere.
fn replace(problem: &mut Problem<'_>, instance: &InstanceImage) -> Option<Move> {
    let from = instance.node?;
    let mut guest = problem.guest(instance, true);
    // What the old revision used says little of the new one.
    let request = guest.spec.resources.cpu;
    guest.expected = guest.expected.at_least(request);
    let here = problem.seat_of(from);
    // A renewal in place is short: it may pass the ceiling, never the capacity.
    let stays = problem.fits(here, &guest, Permille::WHOLE).is_ok();
    let at = if stays {
        problem.seats.put(here, &guest);
        here
    } else {
        take_seat(problem, &guest)?
    };
    let (to, instance) = (problem.seats[at].node.id, instance.status.instance);
    Some(Move::Shift { instance, from, to, reason: ShiftReason::Revision })
}

/// Starts waiting copies on the nodes that they belong to, before others take the room.
pub(super) fn come_home(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    for instance in state.waiting().filter(|i| lives(i)) {
        let Some(home) = state.bound_to(instance) else { continue };
        if state.check_ready(instance).is_err() {
            continue;
        }
        let at = problem.seat_of(home);
        let guest = problem.guest(instance, false);
        if problem.fits(at, &guest, Permille::WHOLE).is_ok() {
            moves.push(Move::Start { instance: instance.status.instance, node: home });
            problem.seats.put(at, &guest);
        }
    }
}

/// Evicts the harvest that keeps a copy out of the node that it belongs to.
pub(super) fn clear_homes(problem: &Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    let mut moved: BTreeSet<InstanceId> = moves.iter().map(crate::plan::about).collect();
    for instance in state.waiting().filter(|i| lives(i)) {
        let Some(home) = state.bound_to(instance) else { continue };
        let fresh = !moved.contains(&instance.status.instance);
        if !fresh || state.check_ready(instance).is_err() {
            continue;
        }
        let seat = &problem.seats[problem.seat_of(home)];
        let spec = state.spec(instance);
        let harvest = |i: &InstanceImage| state.spec(i).class == Class::Harvest;
        let mut room = Room::taken(state, home, |i| !harvest(i));
        seat.seat_guests(&mut room);
        let leaving = Room::taken(state, home, lives);
        let (all, is_open) = (&seat.node.facts.capacity, seat.connected && seat.node.is_open());
        let helps = room.fits(spec, all).is_ok() && leaving.fits(spec, all).is_err();
        let apart = feasible::constraints(state, (spec, None), seat.node, &seat.guests).is_err();
        if !is_open || !helps || apart {
            continue;
        }
        for id in state.on_node(home) {
            let other = state.instance(id).expect("the index names instances that exist");
            if lives(other) && harvest(other) && state.is_alone(other) && moved.insert(id) {
                moves.push(Move::Stop { instance: id, reason: StopReason::Evicted });
            }
        }
    }
}
